"""Stories that are consistent with the simulated town, with the truth about everything a task could ask.

>>> story = stories(1, seed=2)[0]
>>> 4 <= len(story.en) <= 10 and all(check.consistent for check in check_story(story.text))
True
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import NamedTuple
from zlib import crc32

from course_lib.data.tinytown.chunks import NAMES
from course_lib.data.tinytown.pairs import SPLITS, Pair, detokenise, garbage_collection_paused, pair_of
from course_lib.data.tinytown.parse import parse
from course_lib.data.tinytown.phrases import NOUNS
from course_lib.data.tinytown.realise import Sentence, Text, realise
from course_lib.data.tinytown.settings import SMALL, Settings
from course_lib.data.tinytown.telling import Teller
from course_lib.data.tinytown.world import Fact, World

MIN_SENTENCES = 4
POSITIVE, NEGATIVE = ("happy",), ("sad", "angry")


@dataclass(frozen=True, slots=True)
class Story:
    """A story: what its sentences mean and say, and the state of the world after each of them.

    states    the facts after each sentence (see world.py)       changes   the facts each sentence has set
    closing   (number of the sentence, whether it is true) for the lines at the end that say how things are
    """

    sentences: tuple[Sentence, ...]
    said: tuple[Text, ...]
    states: tuple[dict[Fact, object], ...]
    changes: tuple[tuple[Fact, ...], ...]
    closing: tuple[tuple[int, bool], ...]
    people: tuple[str, ...]
    things: tuple[str, ...]

    @property
    def en(self) -> tuple[tuple[str, ...], ...]:
        """The tokens of the English sentences."""
        return tuple(tuple(text.en) for text in self.said)

    @property
    def de(self) -> tuple[tuple[str, ...], ...]:
        """The tokens of the German sentences."""
        return tuple(tuple(text.de) for text in self.said)

    @property
    def text(self) -> str:
        """The story in English."""
        return " ".join(detokenise(text.en) for text in self.said)

    @property
    def text_de(self) -> str:
        """The story in German."""
        return " ".join(detokenise(text.de) for text in self.said)

    @property
    def pairs(self) -> list[Pair]:
        """The sentences as translation pairs with alignment."""
        return [pair_of(sentence, text) for sentence, text in zip(self.sentences, self.said, strict=True)]

    @property
    def sentiments(self) -> tuple[str, ...]:
        """What each sentence does to people's moods: "positive", "negative" or "neutral"."""
        told = zip(self.states, self.changes, strict=True)
        return tuple(_sentiment([state[fact] for fact in new if fact[0] == "mood"]) for state, new in told)

    @property
    def sentiment(self) -> str:
        """How the people feel in the end, by majority."""
        return _sentiment([mood for (kind, _), mood in self.states[-1].items() if kind == "mood"])

    @property
    def tags(self) -> tuple[tuple[str, ...], ...]:
        """For each English token "person", "thing", "animal", "place" or "O"."""
        return tuple(tuple(TAGS.get(token, "O") for token in text.en) for text in self.said)


def _sentiment(moods: list) -> str:
    score = sum((mood in POSITIVE) - (mood in NEGATIVE) for mood in moods)
    return "positive" if score > 0 else "negative" if score < 0 else "neutral"


TAGS = {name: "person" for name in sorted(NAMES)}
for _noun in NOUNS.values():
    for _form in (_noun.en, _noun.en_plural):
        if _form:
            TAGS[_form] = next(kind for kind in ("person", "thing", "animal", "place") if kind in _noun.tags)


def iterate_stories(seed: int = 0, split: str = "train", settings: Settings = SMALL) -> Iterator[Story]:
    """Draw stories for ever; the splits "train", "valid" and "test" are disjoint by a hash of the text.

    Raises ValueError for another split or a negative seed.
    """
    if split not in SPLITS[:3]:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS[:3])}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
    random = Random(seed).random
    while True:
        story = _tell(Teller(random, settings))
        if len(story.said) < MIN_SENTENCES:
            continue
        bucket = crc32(" ".join([" ".join(text.en) for text in story.said]).encode()) & 15
        if ("test", "valid")[bucket] == split if bucket < 2 else split == "train":
            yield story


def stories(n: int, seed: int = 0, split: str = "train", settings: Settings = SMALL) -> list[Story]:
    """`n` stories, of 4 to 10 sentences by default. See Settings for their size and vocabulary."""
    if n < 0:
        raise ValueError(f"n: got {n}, expected at least 0")
    with garbage_collection_paused():
        return list(islice(iterate_stories(seed, split, settings), n))


def _tell(teller: Teller) -> Story:
    """Let a teller tell one story to its world, and write everything down."""
    sentences, said, states, changes, closing = [], [], [], [], []
    world = teller.world
    for clause, asserted in teller.lines():
        sentence = Sentence((clause,), ("main",))
        world.changed = []
        if asserted is not False:
            world.clause(clause)
        if asserted is not None:
            closing.append((len(sentences), asserted))
        sentences.append(sentence)
        said.append(realise(sentence))
        states.append(dict(world.facts))
        changes.append(tuple(world.changed))
    return Story(tuple(sentences), tuple(said), tuple(states), tuple(changes), tuple(closing),
                 tuple(teller.people), tuple(teller.things))


class Check(NamedTuple):
    """One sentence of a text: can Tinytown say it, does it fit what was said before, is what it asserts true?

    asserted  True: a known truth; False: a known falsehood; None: news, an event, or not grammatical
    """

    sentence: str
    grammatical: bool
    consistent: bool
    asserted: bool | None


def split_sentences(text: str) -> list[str]:
    """Cut a text after . ! and ?."""
    return [part.strip() for part in re.findall(r"[^.!?]*[.!?]|[^.!?]+$", text) if part.strip()]


def check_story(text: str, language: str = "en", world: World | None = None) -> list[Check]:
    """Replay any text through parser and world: which of its sentences are grammatical, which consistent?

    An ungrammatical sentence counts as not consistent and changes nothing. `world` holds what is known before.

    >>> [c.consistent for c in check_story("Mia had the ball. Mia gave Tom the ball. Mia has the ball.")]
    [True, True, False]
    """
    world = World() if world is None else world
    checks = []
    for part in split_sentences(text):
        sentence = parse(part, language)
        if sentence is None:
            checks.append(Check(part, False, False, None))
        else:
            checks.append(Check(part, True, *world.tell(sentence)))
    return checks
