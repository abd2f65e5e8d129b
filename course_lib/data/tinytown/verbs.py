"""The verbs of Tinytown and their forms, one a line.

Events take the simple past in English and the perfect in German (Mia found the ball, Mia hat den Ball gefunden);
states take the simple past in both (Mia was tired, Mia war müde). `|` marks a separable prefix.

Frames: itr (no object) · acc, dat (object and its case) · give (someone something) · return (something to someone) ·
put (something somewhere) · go (somewhere) · be (how or where) · that (a clause) · to (an infinitive).
"""

from typing import NamedTuple

from course_lib.data.tinytown.lexicon import rows


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


EVENTS = """
find    found     found     finding    -     finden        findet      gefunden        haben  acc     person            portable
lose    lost      lost      losing     -     verlieren     verliert    verloren        haben  acc     person            portable
see     saw       seen      seeing     -     sehen         sieht       gesehen         haben  acc     person+animal     person+animal+portable
take    took      taken     taking     -     mit|nehmen    nimmt       mitgenommen     haben  acc     person            portable
open    opened    opened    opening    -     auf|machen    macht       aufgemacht      haben  acc     person            open
buy     bought    bought    buying     -     kaufen        kauft       gekauft         haben  acc     person            portable+food+vehicle
eat     ate       eaten     eating     -     essen         isst        gegessen        haben  acc     person            food
give    gave      given     giving     -     geben         gibt        gegeben         haben  give    person            portable
close   closed    closed    closing    -     zu|machen     macht       zugemacht       haben  acc     person            open
read    read      read      reading    -     lesen         liest       gelesen         haben  acc     person            read
call    called    called    calling    -     an|rufen      ruft        angerufen       haben  acc     person            person
put     put       put       putting    -     legen         legt        gelegt          haben  put     person            lay
sleep   slept     slept     sleeping   -     schlafen      schläft     geschlafen      haben  itr     person+animal     -
go      went      gone      going      -     gehen         geht        gegangen        sein   go      person            -
visit   visited   visited   visiting   -     besuchen      besucht     besucht         haben  acc     person            person
help    helped    helped    helping    -     helfen        hilft       geholfen        haben  dat     person            person
sell    sold      sold      selling    -     verkaufen     verkauft    verkauft        haben  acc     person            portable+vehicle
repair  repaired  repaired  repairing  -     reparieren    repariert   repariert       haben  acc     person            break
clean   cleaned   cleaned   cleaning   -     putzen        putzt       geputzt         haben  acc     person            stand+open
break   broke     broken    breaking   -     kaputt|machen macht       kaputtgemacht   haben  acc     person            break
break2  broke     broken    breaking   -     kaputt|gehen  geht        kaputtgegangen  sein   itr     break             -
show    showed    shown     showing    -     zeigen        zeigt       gezeigt         haben  give    person            portable
throw   threw     thrown    throwing   away  weg|werfen    wirft       weggeworfen     haben  acc     person            portable+food
pick    picked    picked    picking    up    ab|holen      holt        abgeholt        haben  acc     person            person
laugh   laughed   laughed   laughing   -     lachen        lacht       gelacht         haben  itr     person            -
work    worked    worked    working    -     arbeiten      arbeitet    gearbeitet      haben  itr     person            -
carry   carried   carried   carrying   -     tragen        trägt       getragen        haben  acc     person            portable
hide    hid       hidden    hiding     -     verstecken    versteckt   versteckt       haben  acc     person            portable
wash    washed    washed    washing    -     waschen       wäscht      gewaschen       haben  acc     person            wash
bring   brought   brought   bringing   -     bringen       bringt      gebracht        haben  give    person            portable+food
return  returned  returned  returning  -     zurück|geben  gibt        zurückgegeben   haben  return  person            portable
place   placed    placed    placing    -     stellen       stellt      gestellt        haben  put     person            stand
run     ran       run       running    -     laufen        läuft       gelaufen        sein   go      person+animal     -
follow  followed  followed  following  -     folgen        folgt       gefolgt         sein   dat     person+animal     person+animal
borrow  borrowed  borrowed  borrowing  -     aus|leihen    leiht       ausgeliehen     haben  acc     person            portable+vehicle
tidy    tidied    tidied    tidying    -     auf|räumen    räumt       aufgeräumt      haben  acc     person            room
invite  invited   invited   inviting   -     ein|laden     lädt        eingeladen      haben  acc     person            person
arrive  arrived   arrived   arriving   -     an|kommen     kommt       angekommen      sein   itr     person            -
cook    cooked    cooked    cooking    -     kochen        kocht       gekocht         haben  acc     person            cook
paint   painted   painted   painting   -     an|malen      malt        angemalt        haben  acc     person            paint
sing    sang      sung      singing    -     singen        singt       gesungen        haben  itr     person            -
cry     cried     cried     crying     -     weinen        weint       geweint         haben  itr     person            -
play    played    played    playing    -     spielen       spielt      gespielt        haben  itr     person+animal     -
wake    woke      woken     waking     up    auf|wachen    wacht       aufgewacht      sein   itr     person+animal     -
write   wrote     written   writing    -     schreiben     schreibt    geschrieben     haben  acc     person            write
feed    fed       fed       feeding    -     füttern       füttert     gefüttert       haben  acc     person            animal
cut     cut       cut       cutting    -     schneiden     schneidet   geschnitten     haben  acc     person            cut
say     said      said      saying     -     sagen         sagt        gesagt          haben  that    person            -
begin   began     begun     beginning  -     an|fangen     fängt       angefangen      haben  to      person            -
try     tried     tried     trying     -     versuchen     versucht    versucht        haben  to      person            -
forget  forgot    forgotten forgetting -     vergessen     vergisst    vergessen       haben  to      person            -
wait    waited    waited    waiting    -     warten        wartet      gewartet        haben  itr     person            -
dance   danced    danced    dancing    -     tanzen        tanzt       getanzt         haben  itr     person            -
disappear disappeared disappeared disappearing - verschwinden verschwindet verschwunden sein itr portable+animal -
"""

STATES = """
be      was       is       sein      ist      war       be    person+animal+thing  -
have    had       has      haben     hat      hatte     acc   person               portable+vehicle+food+animal
like    liked     likes    mögen     mag      mochte    acc   person               person+animal+food+portable
need    needed    needs    brauchen  braucht  brauchte  acc   person               portable+vehicle+food
know    knew      knows    kennen    kennt    kannte    acc   person               person
know2   knew      knows    wissen    weiß     wusste    that  person               -
think   thought   thinks   denken    denkt    dachte    that  person               -
believe believed  believes glauben   glaubt   glaubte   that  person               -
"""

# The German imperative (du) of what one asks of people.
IMPERATIVES = dict(pair.split("/") for pair in (
    "open/mach close/mach take/nimm give/gib show/zeig bring/bring read/lies wash/wasch clean/putz repair/reparier "
    "call/ruf help/hilf throw/wirf put/leg place/stell eat/iss feed/fütter tidy/räum return/gib buy/kauf cook/koch "
    "visit/besuch invite/lad").split())

_KINDS = {"-": ()}


def _verb(row: list[str], state: bool) -> Verb:
    if state:
        base, past, third, infinitive, present3, preterite, frame, subject, obj = row
        pp = ing = participle = particle = "-"
        aux = "haben"
    else:
        base, past, pp, ing, particle, infinitive, present3, participle, aux, frame, subject, obj = row
        third = preterite = "-"
    prefix, _, stem = infinitive.rpartition("|")
    kinds = [() if cell == "-" else tuple(cell.split("+")) for cell in (subject, obj)]
    key, base = base, base.rstrip("2")
    return Verb(key, base, past, pp, ing, third, None if particle == "-" else particle, prefix or None, stem,
                present3, preterite, participle, aux, frame, kinds[0], kinds[1], state, IMPERATIVES.get(key))


VERBS: dict[str, Verb] = {}
for _line in EVENTS.strip().splitlines():
    VERBS[_line.split()[0]] = _verb(_line.split(), state=False)
for _line in STATES.strip().splitlines():
    VERBS[_line.split()[0]] = _verb(_line.split(), state=True)
