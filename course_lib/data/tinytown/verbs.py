"""The verbs of Tinytown and their forms, one a line.

Events take the simple past in English and the perfect in German (Mia found the ball, Mia hat den Ball
gefunden); states take the simple past in both (Mia was tired, Mia war müde). `|` marks a separable prefix,
`-` stands for none, "alive" for people and animals. A 2 tells apart two verbs that look the same in
English.

Frames: itr (no object) · acc, dat (an object and its case) · give (someone something) · return (something
to someone) · put (something somewhere) · go (somewhere) · be (how or where) · that (a clause) · to (an
infinitive).
"""

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb with its English and German forms, its frame, and the kinds of subject and object it takes."""

    key: str
    base: str
    past: str
    pp: str
    ing: str
    third: str
    particle: str | None
    prefix: str | None
    infinitive: str
    present3: str
    preterite: str
    participle: str
    aux: str
    frame: str
    subject: tuple[str, ...]
    object: tuple[str, ...]
    state: bool
    imperative: str | None = None


# English base, past, participle, particle; German infinitive, third person, perfect; frame, subject, object.
EVENTS = """
find   found    found     -    finden        findet    hat gefunden       acc    person portable
lose   lost     lost      -    verlieren     verliert  hat verloren       acc    person portable
see    saw      seen      -    sehen         sieht     hat gesehen        acc    alive  alive+portable
take   took     taken     -    mit|nehmen    nimmt     hat mitgenommen    acc    person portable
open   opened   opened    -    auf|machen    macht     hat aufgemacht     acc    person open
buy    bought   bought    -    kaufen        kauft     hat gekauft        acc    person portable+food+vehicle
eat    ate      eaten     -    essen         isst      hat gegessen       acc    person food
give   gave     given     -    geben         gibt      hat gegeben        give   person portable
close  closed   closed    -    zu|machen     macht     hat zugemacht      acc    person open
read   read     read      -    lesen         liest     hat gelesen        acc    person read
call   called   called    -    an|rufen      ruft      hat angerufen      acc    person person
put    put      put       -    legen         legt      hat gelegt         put    person lay
sleep  slept    slept     -    schlafen      schläft   hat geschlafen     itr    alive  -
go     went     gone      -    gehen         geht      ist gegangen       go     person -
visit  visited  visited   -    besuchen      besucht   hat besucht        acc    person person
help   helped   helped    -    helfen        hilft     hat geholfen       dat    person person
sell   sold     sold      -    verkaufen     verkauft  hat verkauft       acc    person portable+vehicle
repair repaired repaired  -    reparieren    repariert hat repariert      acc    person break
clean  cleaned  cleaned   -    putzen        putzt     hat geputzt        acc    person stand+open
break  broke    broken    -    kaputt|machen macht     hat kaputtgemacht  acc    person break
break2 broke    broken    -    kaputt|gehen  geht      ist kaputtgegangen itr    break  -
show   showed   shown     -    zeigen        zeigt     hat gezeigt        give   person portable
throw  threw    thrown    away weg|werfen    wirft     hat weggeworfen    acc    person portable+food
pick   picked   picked    up   ab|holen      holt      hat abgeholt       acc    person person
laugh  laughed  laughed   -    lachen        lacht     hat gelacht        itr    person -
work   worked   worked    -    arbeiten      arbeitet  hat gearbeitet     itr    person -
carry  carried  carried   -    tragen        trägt     hat getragen       acc    person portable
hide   hid      hidden    -    verstecken    versteckt hat versteckt      acc    person portable
wash   washed   washed    -    waschen       wäscht    hat gewaschen      acc    person wash
bring  brought  brought   -    bringen       bringt    hat gebracht       give   person portable+food
return returned returned  -    zurück|geben  gibt      hat zurückgegeben  return person portable
place  placed   placed    -    stellen       stellt    hat gestellt       put    person stand
run    ran      run       -    laufen        läuft     ist gelaufen       go     alive  -
follow followed followed  -    folgen        folgt     ist gefolgt        dat    alive  alive
borrow borrowed borrowed  -    aus|leihen    leiht     hat ausgeliehen    acc    person portable+vehicle
tidy   tidied   tidied    -    auf|räumen    räumt     hat aufgeräumt     acc    person room
invite invited  invited   -    ein|laden     lädt      hat eingeladen     acc    person person
arrive arrived  arrived   -    an|kommen     kommt     ist angekommen     itr    person -
cook   cooked   cooked    -    kochen        kocht     hat gekocht        acc    person cook
paint  painted  painted   -    an|malen      malt      hat angemalt       acc    person paint
sing   sang     sung      -    singen        singt     hat gesungen       itr    person -
cry    cried    cried     -    weinen        weint     hat geweint        itr    person -
play   played   played    -    spielen       spielt    hat gespielt       itr    alive  -
wake   woke     woken     up   auf|wachen    wacht     ist aufgewacht     itr    alive  -
write  wrote    written   -    schreiben     schreibt  hat geschrieben    acc    person write
feed   fed      fed       -    füttern       füttert   hat gefüttert      acc    person animal
cut    cut      cut       -    schneiden     schneidet hat geschnitten    acc    person cut
say    said     said      -    sagen         sagt      hat gesagt         that   person -
begin  began    begun     -    an|fangen     fängt     hat angefangen     to     person -
try    tried    tried     -    versuchen     versucht  hat versucht       to     person -
forget forgot   forgotten -    vergessen     vergisst  hat vergessen      to     person -
wait   waited   waited    -    warten        wartet    hat gewartet       itr    person -
dance  danced   danced    -    tanzen        tanzt     hat getanzt        itr    person -
disappear disappeared disappeared -    verschwinden  verschwindet ist verschwunden   itr    portable+animal -
"""

# English base, past, third person; German infinitive, third person, preterite; frame, subject, object.
STATES = """
be       was       is        sein      ist      war       be    alive+thing  -
have     had       has       haben     hat      hatte     acc   person       portable+vehicle+food+animal
like     liked     likes     mögen     mag      mochte    acc   person       alive+food+portable
need     needed    needs     brauchen  braucht  brauchte  acc   person       portable+vehicle+food
know     knew      knows     kennen    kennt    kannte    acc   person       person
know2    knew      knows     wissen    weiß     wusste    that  person       -
think    thought   thinks    denken    denkt    dachte    that  person       -
believe  believed  believes  glauben   glaubt   glaubte   that  person       -
"""

# The German imperative (du) of what one asks of people.
_IMPERATIVES = """ open/mach close/mach take/nimm give/gib show/zeig bring/bring read/lies wash/wasch
clean/putz repair/reparier call/ruf help/hilf throw/wirf put/leg place/stell eat/iss feed/fütter tidy/räum
return/gib buy/kauf cook/koch visit/besuch invite/lad
"""
IMPERATIVES = dict(pair.split("/") for pair in _IMPERATIVES.split())

DOUBLING = ("put", "run", "begin", "forget", "cut")  # putting


def ing_form(base: str) -> str:
    """ing_form("give") is giving, ing_form("run") is running."""
    if base in DOUBLING:
        return base + base[-1] + "ing"
    return (base[:-1] if base.endswith("e") and not base.endswith("ee") else base) + "ing"


def _kinds(cell: str) -> tuple[str, ...]:
    return () if cell == "-" else tuple(cell.replace("alive", "person+animal").split("+"))


def _verb(row: list[str], state: bool) -> Verb:
    if state:
        base, past, third, infinitive, present3, preterite, frame, subject, obj = row
        pp = particle = participle = "-"
        aux = "hat"
    else:
        base, past, pp, particle, infinitive, present3, aux, participle, frame, subject, obj = row
        third = preterite = "-"
    prefix, _, stem = infinitive.rpartition("|")
    key, base = base, base.rstrip("2")
    return Verb(key, base, past, pp, ing_form(base), third, None if particle == "-" else particle,
                prefix or None, stem, present3, preterite, participle, "sein" if aux == "ist" else "haben",
                frame, _kinds(subject), _kinds(obj), state, IMPERATIVES.get(key))


VERBS: dict[str, Verb] = {}
for _table, _state in ((EVENTS, False), (STATES, True)):
    VERBS |= {line.split()[0]: _verb(line.split(), _state) for line in _table.strip().splitlines()}
