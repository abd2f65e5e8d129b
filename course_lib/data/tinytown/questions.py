"""Questions about a story, their answers and where these stand, and questions that it does not answer."""

from typing import NamedTuple
from zlib import crc32

from course_lib.data.tinytown.lexicon import POSITIONS
from course_lib.data.tinytown.pairs import detokenise
from course_lib.data.tinytown.phrases import (
    NP,
    PLACE_PREPOSITIONS,
    PREDICATES,
    Phrase,
    fixed,
    name,
    noun_phrase,
    prepositional,
    question_word,
)
from course_lib.data.tinytown.realise import Clause, Sentence, Text, realise
from course_lib.data.tinytown.settings import PEOPLE, THINGS
from course_lib.data.tinytown.stories import Story
from course_lib.data.tinytown.templates import OBJ, REC, SUBJ, WHERE
from course_lib.data.tinytown.verbs import VERBS
from course_lib.data.tinytown.world import MOODS, World


class Span(NamedTuple):
    """Tokens [start, end) of one sentence of the story."""

    sentence: int
    start: int
    end: int


class Question(NamedTuple):
    """A question about a story.

    kind      "who has", "where", "who did", "did what", "yes/no" or "unanswerable"
    answer    the shortest answer, in English and German tokens; () when the story does not say
    full      what a whole sentence would answer, None when the story does not say
    span, span_de   where the answer stands in the story, None for yes, no and what the story does not say
    """

    kind: str
    asked: Sentence
    answer: tuple[str, ...]
    answer_de: tuple[str, ...]
    full: Sentence | None
    span: Span | None = None
    span_de: Span | None = None

    @property
    def text(self) -> str:
        """The question in English."""
        return detokenise(realise(self.asked).en)

    @property
    def text_de(self) -> str:
        """The question in German."""
        return detokenise(realise(self.asked).de)


def span_of(text: Text, sentence: int, slot: int) -> tuple[Span, Span]:
    """Where the phrase in a slot of a story's sentence stands, in English and in German."""
    template, at_en, at_de, parts = text.starts[0]
    run_en, run_de = next((a, b) for filled, a, b in template.slots if filled == slot)
    i, j, phrase = at_en[run_en], at_de[run_de], parts[slot]
    return Span(sentence, i, i + len(phrase.en)), Span(sentence, j, j + len(phrase.de))


def questions(story: Story) -> list[Question]:
    """All questions that Tinytown knows to ask about the end of a story, in a fixed order.

    >>> from course_lib.data.tinytown.stories import stories
    >>> story = stories(1, seed=8)[0]
    >>> question = next(q for q in questions(story) if q.span is not None)
    >>> story.en[question.span.sentence][question.span.start:question.span.end] == question.answer
    True
    """
    asker = _Asker(story)
    return [*asker.possessions(), *asker.places(), *asker.events(), *asker.yes_no(), *asker.unanswerable()]


def _the(thing: str) -> NP:
    return noun_phrase("the", (), thing, False)


class _Asker:
    def __init__(self, story: Story):
        self.story, self.world = story, World(story.states[-1])

    def last_set(self, fact: tuple[str, str]) -> int | None:
        """The last sentence that set a fact."""
        changes = self.story.changes
        return next((k for k in reversed(range(len(changes))) if fact in changes[k]), None)

    def found(self, kind: str, asked: Clause, order: str, full: Clause, k: int, slot: int) -> Question:
        """A question whose answer stands in a slot of sentence k."""
        span, span_de = span_of(self.story.said[k], k, slot)
        text = self.story.said[k]
        return Question(kind, Sentence((asked,), (order,), end="?"), tuple(text.en[span.start:span.end]),
                        tuple(text.de[span_de.start:span_de.end]), Sentence((full,), ("main",)),
                        span, span_de)

    def possessions(self):
        """Who has the ball?"""
        for thing in self.story.things:
            who, k = self.world.holder(thing), self.last_set(("where", thing))
            if who is None or k is None:
                continue
            c = self.story.sentences[k].clauses[0]
            slot = REC if c.rec is not None else SUBJ
            if (c.rec if slot == REC else c.subj).key != ("name", who):
                continue
            asked = Clause("have", "state", False, question_word("who"), _the(thing))
            yield self.found("who has", asked, "main", asked._replace(subj=name(who)), k, slot)

    def places(self):
        """Where is the ball? Where is Mia?"""
        things = [(_the(thing), ("where", thing)) for thing in self.story.things]
        people = [(name(person), ("at", person)) for person in self.story.people]
        for np, fact in things + people:
            k = self.last_set(fact)
            if k is None or self.world.holder(fact[1]):
                continue
            c = self.story.sentences[k].clauses[0]
            if c.where is None or VERBS[c.verb].frame in ("put", "go"):  # put into the box: now in the box
                full = self._place(fact)
                if full is None:
                    continue
                asked = Clause("be", "be", False, np, where=fixed("where/wo"))
                yield Question("where", Sentence((asked,), ("wh where",), end="?"), tuple(full.en),
                               tuple(full.de), Sentence((asked._replace(where=full),), ("main",)))
            else:
                asked = Clause("be", "be", False, np, where=fixed("where/wo"))
                yield self.found("where", asked, "wh where", asked._replace(where=c.where), k, WHERE)

    def _place(self, fact: tuple[str, str]) -> Phrase | None:
        value = self.world.facts.get(fact)
        kind, value = ("at", value) if fact[0] == "at" else value
        if kind == "at" and value:
            return prepositional(*PLACE_PREPOSITIONS[value], "dat", _the(value))
        if kind != "in":
            return None
        preposition, _, word = value.rpartition(" ")
        german = next(de for en, de, _ in POSITIONS if en == preposition)
        return prepositional(preposition, german, "dat", _the(word))



    def events(self):
        """Who lost the ball? What did Mia lose? Only when one sentence answers."""
        told = [(k, s.clauses[0]) for k, s in enumerate(self.story.sentences)]
        happened = [(k, c) for k, c in told if not VERBS[c.verb].state and c.subj.key[0] == "name"]
        for k, c in happened:
            if sum(o.verb == c.verb for _, o in happened) > 1:
                continue
            who = c._replace(subj=question_word("who"))
            yield self.found("who did", who, "main", c, k, SUBJ)
            if c.obj is not None and c.rec is None and c.where is None:
                yield self.found("did what", c._replace(obj=question_word("what")), "wh object", c, k, OBJ)

    def yes_no(self):
        """Does Mia have the ball? Is Tom sad? Is the box open?"""
        for thing in self.story.things:
            holder = self.world.holder(thing)
            for person in self.story.people if holder else ():
                has = Clause("have", "state", False, name(person), _the(thing))
                yield self._decided(has, person == holder)
            for kind in ("open", "broken"):
                value = self.world.get(kind, thing)
                if value is not None:
                    it_is = Clause("be", "be", False, _the(thing), how=PREDICATES[kind])
                    yield self._decided(it_is, bool(value))
        for person in self.story.people:
            mood = self.world.get("mood", person)
            for word in MOODS if mood else ():
                feels = Clause("be", "be", False, name(person), how=PREDICATES[word])
                yield self._decided(feels, word == mood)

    @staticmethod
    def _decided(c: Clause, yes: bool) -> Question:
        return Question("yes/no", Sentence((c,), ("question",), end="?"), ("Yes",) if yes else ("No",),
                        ("Ja",) if yes else ("Nein",), Sentence((c._replace(negated=not yes),), ("main",)))

    def unanswerable(self):
        """Who has …? Where is …? about things and people of Tinytown that are not in the story."""
        story, words = self.story, {word for sentence in self.story.en for word in sentence}
        things = [t for t in THINGS[:10] if t not in words]
        people = [p for p in PEOPLE[:8] if p not in words]
        start = crc32(story.text.encode())
        for thing in [things[(start + k) % len(things)] for k in range(2)]:
            asked = Clause("have", "state", False, question_word("who"), _the(thing))
            yield Question("unanswerable", Sentence((asked,), ("main",), end="?"), (), (), None)
        person = people[start % len(people)]
        asked = Clause("be", "be", False, name(person), where=fixed("where/wo"))
        yield Question("unanswerable", Sentence((asked,), ("wh where",), end="?"), (), (), None)
