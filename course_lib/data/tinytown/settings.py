"""How large stories are, and the words they are made from."""

from dataclasses import dataclass

from course_lib.data.tinytown.lexicon import MEN, WOMEN, words
from course_lib.data.tinytown.phrases import NOUNS, PLACE_PREPOSITIONS

# The events of stories, how often each is tried.
EVENTS = words("give give give take take take lose lose lose find find put put go go show return return hide "
               "break break repair open close throw laugh cry cry")
PEOPLE = tuple(n for pair in zip(WOMEN, MEN, strict=True) for n in pair)
THINGS = tuple(word for word, n in NOUNS.items() if "portable" in n.tags and "container" not in n.tags)
OPENABLE = ("box", "bag", "suitcase", "door", "window", "cupboard")
PLACES = tuple(PLACE_PREPOSITIONS)
SURFACES = (("on", "auf", "table"), ("on", "auf", "bed"), ("under", "unter", "table"),
            ("under", "unter", "bed"), ("next to", "neben", "chair"), ("behind", "hinter", "cupboard"))
CONTAINERS = ("box", "bag", "suitcase", "basket")


@dataclass(frozen=True, slots=True)
class Settings:
    """How large a story is and from how many words it is made; ranges are (least, most)."""

    people: tuple[int, int] = (2, 3)
    things: tuple[int, int] = (1, 2)
    events: tuple[int, int] = (2, 3)
    closing: tuple[int, int] = (1, 2)
    names: int = 8           # of 20
    nouns: int = 10          # of the portable things
    places: int = 6          # of 18
    adjectives: float = 0.2  # chance that a thing has one
    pronouns: float = 0.0    # chance of he or she for the subject of the sentence before
    false_closing: float = 0.0

    def __post_init__(self):
        for field, low, high in (("people", 1, 4), ("things", 1, 4), ("events", 0, 12), ("closing", 0, 4)):
            least, most = getattr(self, field)
            if not low <= least <= most <= high:
                raise ValueError(f"{field}: got {(least, most)}, expected (least, most) in {low} … {high}")
        for field, low, high in (("names", self.people[1], len(PEOPLE)),
                                 ("nouns", self.things[1], len(THINGS)),
                                 ("places", 2, len(PLACES))):
            if not low <= getattr(self, field) <= high:
                raise ValueError(f"{field}: got {getattr(self, field)}, expected {low} … {high}")
        for field in ("adjectives", "pronouns", "false_closing"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"{field}: got {getattr(self, field)}, expected a chance between 0 and 1")


SMALL = Settings()
