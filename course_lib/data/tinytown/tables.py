"""Which words go together, as weighted lists to draw from: objects of verbs, adjectives of nouns, and what is held out.

Held-out combinations (a verb with an object noun, an adjective with a noun) appear in no split but "unseen".
"""

from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from course_lib.data.tinytown.lexicon import MANNERS, MEN, POSITIONS, TIMES, WOMEN
from course_lib.data.tinytown.phrases import ATTRIBUTIVE, NOUNS, PLACE_PREPOSITIONS, PREDICATIVE
from course_lib.data.tinytown.verbs import VERBS

HELD_OUT_ONE_IN = 12


@lru_cache(maxsize=None)
def held_out(a: str, b: str) -> bool:
    """Whether the combination of two words is kept for the split "unseen", by a hash that is the same everywhere."""
    return crc32(f"{a} {b}".encode()) % HELD_OUT_ONE_IN == 0


def skewed(words: list) -> tuple:
    """A list in which earlier words stand more often (4, 3, 2 or 1 times by quarter), so that frequencies differ mildly."""
    return tuple(w for i, w in enumerate(words) for _ in range(4 - 4 * i // len(words)))


class Tables(NamedTuple):
    """Everything the sampler draws from."""

    objects: dict[str, tuple[str, ...]]      # verb → nouns
    colours: dict[str, tuple[str, ...]]      # noun → colour adjectives
    qualities: dict[str, tuple[str, ...]]    # noun → other adjectives
    predicates: dict[str, tuple[str, ...]]   # noun or "person" → adjectives said of it


def _fits(tags: frozenset[str], kinds) -> bool:
    return any(k in tags for k in kinds)


@lru_cache(maxsize=None)
def tables(with_held_out: bool) -> Tables:
    """The tables with or without the held-out combinations."""
    keep = lambda a, b: with_held_out or not held_out(a, b)
    objects = {v.key: skewed([n for n in NOUNS if _fits(NOUNS[n].tags, v.object) and keep(v.key, n)])
               for v in VERBS.values() if v.object}
    describing = {n: [a for a in ATTRIBUTIVE if _fits(NOUNS[n].tags, ATTRIBUTIVE[a]) and keep(a, n)] for n in NOUNS}
    colours = {n: tuple(a for a in found if ATTRIBUTIVE[a] == ["colour"]) for n, found in describing.items()}
    qualities = {n: tuple(a for a in found if ATTRIBUTIVE[a] != ["colour"]) for n, found in describing.items()}
    predicates = {n: tuple(a for a in PREDICATIVE if _fits(NOUNS[n].tags, PREDICATIVE[a]) and keep(a, n)) for n in NOUNS}
    predicates["person"] = tuple(a for a in PREDICATIVE if "person" in PREDICATIVE[a])
    predicates["trouble"] = tuple(a for a in predicates["person"] if a != "happy")
    # "it was …" must not be sayable of a person: the German pronoun alone would not tell she from it.
    said_of_people = {a for a in PREDICATIVE if {"person", "job"} & set(PREDICATIVE[a])}
    predicates |= {"it " + n: tuple(a for a in predicates[n] if a not in said_of_people) for n in NOUNS}
    return Tables(objects, colours, qualities, predicates)


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
ON_PEOPLE = tuple(v.key for v in VERBS.values() if v.object == ("person",))
THAT_VERBS = ("say", "say", "think", "know2", "believe")
UNWANTED = frozenset("lose break arrive wake disappear break2".split())  # nobody must, wants to, or can
TO_VERBS = ("begin", "try", "forget")
TO_DO = tuple(v for v in by_frame("itr acc give return", "person")
              if v in ("open close read repair clean sell take write wash cook paint sing work tidy feed give return "
                       "eat wait call dance").split())
WITH_PLACE = frozenset("find lose see buy eat read sleep work sing cry play wait laugh dance hide sell help show "
                       "write cook wake paint repair".split())
NAMES = tuple(n for pair in zip(WOMEN, MEN) for n in pair)
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
