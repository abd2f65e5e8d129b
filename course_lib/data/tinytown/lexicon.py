"""The words of Tinytown but for the verbs, each with its German counterpart.

Every table is plain text, one entry a line, columns separated by two or more spaces, `-` for "none".
The correspondence is one to one: no English word has two German ones in the same place of a sentence.
"""

from typing import NamedTuple


def rows(table: str) -> list[list[str]]:
    """Split a text table into rows of columns.

    >>> rows("ball   der Ball\\ncup    die Tasse")
    [['ball', 'der Ball'], ['cup', 'die Tasse']]
    """
    lines = (line.strip() for line in table.strip().splitlines())
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines if line]


def words(text: str) -> tuple[str, ...]:
    """words("to be or") is ("to", "be", "or")."""
    return tuple(text.split())


class Noun(NamedTuple):
    """A noun: English and German singular and plural, German gender, the kinds of thing it names."""

    en: str
    en_plural: str | None
    de: str
    de_plural: str | None
    gender: str  # "m", "f", "n"
    oblique: str  # accusative and dative singular (differs for weak masculines: der Junge, den Jungen)
    tags: frozenset[str]


# Kinds: portable, colour (comes in colours), lay (lies: legen), stand (stands: stellen), read, write, wash,
# break, machine, open (can be opened), lock, container, surface, build, paint, food, mass (no "a"), cut,
# cook, bake.
THINGS = """
ball       balls      der Ball           Bälle       portable colour lay
book       books      das Buch           Bücher      portable read lay
key        keys       der Schlüssel      Schlüssel   portable lay
cup        cups       die Tasse          Tassen      portable colour stand break wash
letter     letters    der Brief          Briefe      portable read write lay
door       doors      die Tür            Türen       open lock colour paint
picture    pictures   das Bild           Bilder      portable lay
hat        hats       der Hut            Hüte        portable colour lay
chair      chairs     der Stuhl          Stühle      break colour paint stand furniture
lamp       lamps      die Lampe          Lampen      portable stand machine break
bike       bikes      das Fahrrad        Fahrräder   break wash colour paint vehicle
flower     flowers    die Blume          Blumen      portable
coat       coats      der Mantel         Mäntel      portable colour lay wash
box        -          die Kiste          -           container open portable stand
window     windows    das Fenster        Fenster     open wash
bottle     bottles    die Flasche        Flaschen    portable stand break open
plate      plates     der Teller         Teller      portable stand break wash
knife      -          das Messer         -           portable lay wash
bag        -          die Tasche         -           container open portable colour
radio      -          das Radio          -           machine break stand portable
table      -          der Tisch          -           break surface paint furniture
clock      -          die Uhr            -           break stand portable
shirt      shirts     das Hemd           Hemden      portable colour lay wash
suitcase   -          der Koffer         -           container open lock portable stand
newspaper  -          die Zeitung        -           portable read lay
bed        -          das Bett           -           break surface furniture
ring       rings      der Ring           Ringe       portable lay
boat       boats      das Boot           Boote       break build colour paint vehicle
umbrella   -          der Regenschirm    -           portable colour lay
coin       coins      die Münze          Münzen      portable lay
dress      dresses    das Kleid          Kleider     portable colour lay wash
basket     -          der Korb           -           container portable stand
phone      -          das Telefon        -           machine break portable
cupboard   -          der Schrank        -           container open lock paint furniture
bench      -          die Bank           -           surface build paint furniture
apple      apples     der Apfel          Äpfel       food cut
bread      -          das Brot           -           food mass cut bake
pear       pears      die Birne          Birnen      food cut
cake       cakes      der Kuchen         Kuchen      food cut bake
egg        eggs       das Ei             Eier        food cook
soup       -          die Suppe          -           food mass cook
cheese     -          der Käse           -           food mass cut
sausage    sausages   die Wurst          Würste      food cut cook
biscuit    biscuits   der Keks           Kekse       food bake
tomato     tomatoes   die Tomate         Tomaten     food cut cook
"""

# "kin" nouns mostly stand with a possessive: my brother.
PEOPLE = """
brother      brothers   der Bruder       Brüder       kin
sister       sisters    die Schwester    Schwestern   kin
baker        -          der Bäcker       -            job
teacher      -          die Lehrerin     -            job
mother       -          die Mutter       -            kin
father       -          der Vater        -            kin
doctor       -          die Ärztin       -            job
boy          boys       der Junge/Jungen  Jungen    child
aunt         -          die Tante        -            kin
uncle        -          der Onkel        -            kin
gardener     -          der Gärtner      -            job
neighbour    -          die Nachbarin    -            job
grandmother  -          die Großmutter   -            kin
painter      -          der Maler        -            job
"""

ANIMALS = """
dog     dogs     der Hund       Hunde
cat     cats     die Katze      Katzen
horse   horses   das Pferd      Pferde
bird    birds    der Vogel      Vögel
duck    ducks    die Ente       Enten
rabbit  -        das Kaninchen  -
donkey  -        der Esel       -
cow     -        die Kuh        -
goat    -        die Ziege      -
"""

# With the preposition of place, English and German; "room" can be tidied, "enter" takes into / in +
# accusative.
PLACES = """
garden    der Garten        in/in    room enter
kitchen   die Küche         in/in    room enter
house     das Haus          in/in    room enter
school    die Schule        in/in    town
market    der Markt         at/auf   town
park      der Park          in/in    town enter
shop      der Laden         in/in    town enter
library   die Bibliothek    in/in    town enter
lake      der See           at/an    town
station   der Bahnhof       at/an    town
forest    der Wald          in/in    town enter
bridge    die Brücke        on/auf   town
museum    das Museum        in/in    town enter
street    die Straße        on/auf   town
cellar    der Keller        in/in    room enter
church    die Kirche        in/in    town enter
bathroom  das Badezimmer    in/in    room enter
barn      die Scheune       in/in    room enter
"""

WOMEN = words("Mia Anna Emma Lena Clara Nora Ida Julia Marie Sophie")
MEN = words("Tom Ben Paul Max Leo Finn Jan Oskar Felix Emil")

# English, German stem, the kinds of noun it can describe, the kinds it is said of ("the lamp is old").
ADJECTIVES = """
red        rot        colour                        -
blue       blau       colour                        -
green      grün       colour                        -
black      schwarz    colour                        -
white      weiß       colour                        -
big        groß       thing place animal            thing place animal
small      klein      thing place animal child      thing place animal
old        alt        object place animal job       object place animal job
new        neu        object place job              object
beautiful  schön      object place                  object place
nice       nett       job child                     -     
clever     klug       job child                     -
heavy      schwer     portable furniture            portable furniture
dirty      schmutzig  wash                          wash
broken     kaputt     break                         break
empty      leer       container                     container
open       offen      -                             open
closed     geschlossen  -                           open
fresh      frisch     food                          food
cold       kalt       food                          food
tired      müde       job child animal              person animal
hungry     hungrig    job child animal              person animal
happy      glücklich  job child                     person
sad        traurig    job child                     person
angry      wütend     job child                     person
sick       krank      job child animal              person animal
"""

# When something happens, by the tenses it agrees with.
TIMES = {
    "past": ["yesterday/gestern", "this morning/heute Morgen", "last week/letzte Woche",
             "on Monday/am Montag", "today/heute"],
    "present": ["now/jetzt", "today/heute"],
    "future": ["tomorrow/morgen", "soon/bald", "next week/nächste Woche", "later/später", "today/heute"],
}

# How it is done, and the verbs it goes with.
MANNERS = {
    "quickly/schnell": "eat read write open close repair tidy wash clean cook paint run",
    "slowly/langsam": "eat read open close wash dance cut",
    "carefully/vorsichtig": "open close carry wash repair paint cut hide",
    "quietly/leise": "sing cry laugh open close wait",
    "loudly/laut": "sing laugh cry",
    "alone/allein": "sleep work play dance sing wait eat",
}

# Where a thing can be, beside the places themselves: English, German, the kinds of noun it goes with.
POSITIONS = [("in", "in", "container"), ("on", "auf", "surface"), ("under", "unter", "furniture"),
             ("behind", "hinter", "furniture"), ("next to", "neben", "furniture")]
