"""Responses of every quality, and a simulated person who prefers one of two with noise.

>>> from course_lib.data.tinytown.instructions import instructions
>>> asked = instructions(1, seed=1, kinds=("answer",))[0]
>>> Labeller(seed=0).prefer(asked, asked.reference, "Find out yourself!")
0
"""

import math
from collections.abc import Callable, Mapping
from random import Random

from course_lib.data.tinytown.instructions import Instruction, listed, said
from course_lib.data.tinytown.judge import POLITE_ENDINGS, POLITE_OPENINGS, RUDE, Scores, judge
from course_lib.data.tinytown.pairs import detokenise
from course_lib.data.tinytown.phrases import (
    PLACE_PREPOSITIONS,
    PREDICATES,
    Phrase,
    name,
    noun_phrase,
    prepositional,
)
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.settings import PEOPLE, PLACES, THINGS
from course_lib.data.tinytown.world import MOODS

_OTHER_MOOD = {mood: MOODS[(k + 1) % len(MOODS)] for k, mood in enumerate(MOODS)}


class Responder:
    """Writes responses that are true or not, polite or rude or neither, brief or not."""

    def __init__(self, seed: int = 0):
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
        self.random: Callable[[], float] = Random(seed).random

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def respond(self, instruction: Instruction, true: bool = True, polite: bool | None = None,
                brief: bool = True) -> str:
        """One response; polite None has no manners, False is rude."""
        parts = [instruction.reference if true else self.wrong(instruction)]
        if not brief:
            parts += self.chatter(instruction)
        if polite:
            if self.random() < 0.5:
                parts.insert(0, self.pick(POLITE_OPENINGS))
            else:
                parts.append(self.pick(POLITE_ENDINGS))
        elif polite is False:
            parts.insert(0, self.pick(RUDE))
        return " ".join(parts)

    def candidates(self, instruction: Instruction, n: int, true: float = 0.6, polite: float = 0.6,
                   brief: float = 0.6) -> list[str]:
        """`n` responses that are true, polite and brief with the given chances, independently."""
        found = []
        for _ in range(n):
            manners = True if self.random() < polite else None if self.random() < 0.7 else False
            found.append(self.respond(instruction, self.random() < true, manners, self.random() < brief))
        return found

    def chatter(self, instruction: Instruction) -> list[str]:
        """True sentences that nobody asked for."""
        if instruction.story is None:
            return [instruction.reference] * 2
        if instruction.kind == "continue":  # what is so in the end goes with how it ended
            told = [detokenise(instruction.story.said[k].en) for k, true in instruction.story.closing if true]
            waits = Clause("wait", "past", False, name(self.pick(instruction.story.people)))
            return [*told, said(_main(waits)), said(_main(waits._replace(verb="work")))]
        told = [detokenise(text.en) for text in instruction.story.said[:4]]
        return [self.pick(told) for _ in range(2)]

    def wrong(self, instruction: Instruction) -> str:
        """A well-formed response that is not true."""
        return getattr(self, "_wrong_" + instruction.kind.replace("continue", "story"))(instruction)

    def _other_person(self, *names: str) -> str:
        return self.pick([p for p in PEOPLE[:8] if p not in names])

    def _wrong_translate(self, instruction: Instruction) -> str:
        """Somebody else, or the opposite."""
        s = instruction.sentence
        c = s.clauses[0]
        if c.subj is not None and c.subj.agreement == "3s" and c.subj.key[0] in ("name", "noun") and not (
                c.comp or c.srel):
            other = c._replace(subj=name(self._other_person(str(c.subj.key[1]))))
            return said(s._replace(clauses=(other, *s.clauses[1:])), instruction.language)
        return said(_main(Clause("sleep", "past", False, name(self._other_person()))), instruction.language)

    def _wrong_answer(self, instruction: Instruction) -> str:
        """The opposite, another person, or another place."""
        question, story = instruction.question, instruction.story
        full = question.full.clauses[0]
        if question.kind == "yes/no":
            word = "No" if question.answer == ("Yes",) else "Yes"
            return f"{word}. {said(_main(full._replace(negated=not full.negated)))}"
        if question.kind in ("who has", "who did"):
            who = full.subj.key[1]
            others = [p for p in story.people if p != who] or [self._other_person(who)]
            return said(_main(full._replace(subj=name(self.pick(others)))))
        return said(_main(full._replace(negated=True)))

    def _wrong_refuse(self, instruction: Instruction) -> str:
        """Claims what the story does not say."""
        asked, story = instruction.question.asked.clauses[0], instruction.story
        if asked.subj.key[0] == "wh":
            return said(_main(asked._replace(subj=name(self.pick(story.people)))))
        return said(_main(asked._replace(where=_at(self.pick(PLACES[:6])))))

    def _wrong_polite(self, instruction: Instruction) -> str:
        """The request as rude as it was."""
        return said(instruction.sentence._replace(orders=("imperative",), end="!"))

    def _wrong_list(self, instruction: Instruction) -> str:
        """One too many."""
        people, things = instruction.story.people, instruction.story.things
        if instruction.detail == "list: people":
            return listed((*people, self._other_person(*people)))
        another = self.pick([t for t in THINGS if t not in things])
        return listed(tuple(f"the {t}" for t in (*things, another)))

    def _wrong_story(self, instruction: Instruction) -> str:
        """A sentence that contradicts the story."""
        world, story = instruction.world, instruction.story
        for (kind, who), value in sorted(world.facts.items(), key=str):
            if kind == "mood":
                return said(_main(Clause("be", "was", False, name(who), how=PREDICATES[_OTHER_MOOD[value]])))
            if kind == "where":
                others = [p for p in story.people if ("held", p) != value]
                if others:
                    thing = noun_phrase("the", (), who, False)
                    return said(_main(Clause("have", "state past", False, name(self.pick(others)), thing)))
            if kind == "open":
                it, word = noun_phrase("the", (), who, False), "closed" if value else "open"
                return said(_main(Clause("be", "was", False, it, how=PREDICATES[word])))
            if kind == "at" and who in story.people:
                place = self.pick([p for p in PLACES[:6] if p != value])
                return said(_main(Clause("be", "was", False, name(who), where=_at(place))))
        return said(_main(Clause("sleep", "past", False, name(self._other_person(*story.people)))))


def _at(place: str) -> Phrase:
    return prepositional(*PLACE_PREPOSITIONS[place], "dat", noun_phrase("the", (), place, False))


def _main(c: Clause) -> Sentence:
    return Sentence((c,), ("main",))


DEFAULT_WEIGHTS = Scores(true=3.0, relevant=1.0, polite=1.5, brief=1.0, well_formed=1.0)


class Labeller:
    """A simulated person: P(first preferred) = σ((u₁ − u₂) / temperature), flipped with probability `noise`.

    The utility u is the weighted sum of the judge's scores (Bradley and Terry 1952), plus `likes`: so much
    for every occurrence of a string, for example {"!": 0.3} for a person who is taken in by exclamation
    marks.
    """

    def __init__(self, noise: float = 0.0, weights: Scores = DEFAULT_WEIGHTS, seed: int = 0,
                 temperature: float = 0.5, likes: Mapping[str, float] | None = None):
        if not 0 <= noise <= 0.5:
            raise ValueError(f"noise: got {noise}, expected a probability between 0 and 0.5")
        if temperature < 0:
            raise ValueError(f"temperature: got {temperature}, expected at least 0")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
        self.noise, self.weights, self.temperature = noise, weights, temperature
        self.likes = dict(likes or {})
        self.random = Random(seed).random

    def utility(self, instruction: Instruction, response: str) -> float:
        """How much this person likes a response."""
        extra = sum(bonus * response.count(text) for text, bonus in self.likes.items())
        return judge(instruction, response).total(self.weights) + extra

    def probability(self, instruction: Instruction, first: str, second: str) -> float:
        """The probability that the first response is preferred, noise included."""
        difference = self.utility(instruction, first) - self.utility(instruction, second)
        if self.temperature == 0:
            p = 0.5 if difference == 0 else float(difference > 0)
        else:
            x = difference / self.temperature
            p = 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
        return self.noise + (1 - 2 * self.noise) * p

    def prefer(self, instruction: Instruction, first: str, second: str) -> int:
        """0 when the first response is preferred, 1 when the second."""
        return 0 if self.random() < self.probability(instruction, first, second) else 1
