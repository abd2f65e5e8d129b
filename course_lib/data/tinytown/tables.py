"""Which words go together, as weighted lists to draw from, and which combinations are held out.

Held-out combinations (a verb with an object noun, an adjective with a noun) appear in no split but "unseen".
"""

from functools import cache
from typing import NamedTuple
from zlib import crc32

from course_lib.data.tinytown.lexicon import MANNERS, MEN, POSITIONS, TIMES, WOMEN, words
from course_lib.data.tinytown.phrases import ATTRIBUTIVE, NOUNS, PLACE_PREPOSITIONS, PREDICATIVE
from course_lib.data.tinytown.verbs import VERBS

HELD_OUT_ONE_IN = 12


@cache
def held_out(a: str, b: str) -> bool:
    """Whether the combination of two words is kept for the split "unseen", by a hash."""
    return crc32(f"{a} {b}".encode()) % HELD_OUT_ONE_IN == 0


def skewed(words: list) -> tuple:
    """Earlier words stand more often (4, 3, 2 or 1 times by quarter), so that frequencies differ mildly."""
    return tuple(w for i, w in enumerate(words) for _ in range(4 - 4 * i // len(words)))


class Tables(NamedTuple):
    """Everything the sampler draws from."""

    objects: dict[str, tuple[str, ...]]     # verb → nouns
    used_on: dict[str, tuple[str, ...]]     # noun → verbs that are said of things alone
    colours: dict[str, tuple[str, ...]]     # noun → colour adjectives
    qualities: dict[str, tuple[str, ...]]   # noun → other adjectives
    predicates: dict[str, tuple[str, ...]]  # said of a noun; of "person", "person baker", "it lamp"


def _fits(tags: frozenset[str], kinds) -> bool:
    return any(k in tags for k in kinds)


@cache
def tables(with_held_out: bool) -> Tables:
    """The tables with or without the held-out combinations."""
    def keep(a: str, b: str) -> bool:
        return with_held_out or not held_out(a, b)

    objects = {v.key: skewed([n for n in NOUNS if _fits(NOUNS[n].tags, v.object) and keep(v.key, n)])
               for v in VERBS.values() if v.object}
    used_on = {n: tuple(v for v in ON_THINGS if n in objects[v]) for n in NOUNS}
    describing = {n: [a for a in ATTRIBUTIVE if _fits(NOUNS[n].tags, ATTRIBUTIVE[a]) and keep(a, n)]
                  for n in NOUNS}
    colours = {n: tuple(a for a in found if ATTRIBUTIVE[a] == ["colour"]) for n, found in describing.items()}
    qualities = {n: tuple(a for a in found if a not in colours[n]) for n, found in describing.items()}
    predicates = {n: tuple(a for a in PREDICATIVE if _fits(NOUNS[n].tags, PREDICATIVE[a]) and keep(a, n))
                  for n in NOUNS}
    predicates["person"] = tuple(a for a in PREDICATIVE if "person" in PREDICATIVE[a])
    predicates |= {"person " + n: tuple(a for a in predicates["person"] if keep(a, n)) for n in NOUNS}
    predicates["trouble"] = tuple(a for a in predicates["person"] if a != "happy")
    # "it was …" must not be sayable of a person: the German pronoun alone would not tell she from it.
    said_of_people = {a for a in PREDICATIVE if {"person", "job"} & set(PREDICATIVE[a])}
    predicates |= {"it " + n: tuple(a for a in predicates[n] if a not in said_of_people) for n in NOUNS}
    return Tables(objects, used_on, colours, qualities, predicates)


def by_frame(frames: str, subject: str | None = None) -> tuple[str, ...]:
    """Events with one of the frames, skewed by their place in the table."""
    wanted = frames.split()
    return skewed([v.key for v in VERBS.values()
                   if not v.state and v.frame in wanted and (subject is None or subject in v.subject)])


EVENTS_OF_PEOPLE = by_frame("itr acc dat give return put go", "person")
SHORT_EVENTS = by_frame("itr", "person")
EVENTS_OF_ANIMALS = by_frame("itr acc dat go", "animal")
STATES = ("have", "have", "like", "like", "need")  # "know" in the present only
ON_THINGS = tuple(v.key for v in VERBS.values() if v.frame == "acc" and not v.state
                  and not {"person", "animal", "room"} & set(v.object))
ON_PEOPLE = tuple(v.key for v in VERBS.values() if v.object == ("person",) and not v.state)
THAT_VERBS = ("say", "say", "think", "know2", "believe")
UNWANTED = frozenset(words("lose break arrive wake disappear break2"))  # nobody must, wants to, or can
MOMENTARY = frozenset(words("see find lose disappear break2"))  # nobody is seeing, is finding
TO_VERBS = ("begin", "try", "forget")
_BEGUN = words("open close read repair clean sell take write wash cook paint sing work tidy feed give return "
               "eat wait call dance")
TO_DO = tuple(v for v in by_frame("itr acc give return", "person") if v in _BEGUN)
WITH_PLACE = frozenset(words("find lose see buy eat read sleep work sing cry play wait laugh dance hide sell "
                             "help show write cook wake paint repair"))
NAMES = tuple(n for pair in zip(WOMEN, MEN, strict=True) for n in pair)
SKEWED_NAMES = skewed(list(NAMES))
PEOPLE = skewed([n for n in NOUNS if "person" in NOUNS[n].tags])
ANIMALS = skewed([n for n in NOUNS if "animal" in NOUNS[n].tags])
PLACES = skewed(list(PLACE_PREPOSITIONS))
GOALS = skewed([n for n in PLACE_PREPOSITIONS if not _fits(NOUNS[n].tags, ("room",))])
ENTERED = skewed([n for n in PLACE_PREPOSITIONS if "enter" in NOUNS[n].tags])
POSITION_NOUNS = {kind: skewed([n for n in NOUNS if kind in NOUNS[n].tags]) for _, _, kind in POSITIONS}
HOW = {v: tuple(m for m, verbs in MANNERS.items() if v in verbs.split()) for v in VERBS}
WHEN = {tense: tuple(times) for tense, times in TIMES.items()}
THINGS_TO_BE = skewed([n for n in NOUNS if "thing" in NOUNS[n].tags])
