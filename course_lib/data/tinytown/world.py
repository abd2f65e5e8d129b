"""The state of the town: what sentences do to it, and whether what they say is true.

A fact is (kind, who or what) → value, for example
    ("where", "ball") → ("held", "Mia") or ("in", "on table") or ("at", "garden") or ("gone", None)
    ("at", "Mia") → "garden"    ("mood", "Mia") → "happy"    ("open", "box") → True    ("age", "ball") → "new"
What was never said is unknown, and the first sentence about it is believed.

>>> from course_lib.data.tinytown.parse import parse
>>> world = World()
>>> told = [parse(text) for text in ("Mia gave Tom the ball.", "Tom has the ball.", "Mia has the ball.")]
>>> [world.tell(sentence).consistent for sentence in told]
[True, True, False]
"""

from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.lexicon import MEN, WOMEN
from course_lib.data.tinytown.phrases import ATTRIBUTIVE, NOUNS, NP, PLACE_PREPOSITIONS, Phrase
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.rules import COMPILED, Event

MOODS = ("happy", "sad", "angry")
OF_PEOPLE = ("at", "mood", "hungry", "tired", "sick")
ADJECTIVE_FACTS = {"open": ("open", True), "closed": ("open", False), "big": ("size", "big"),
                   "small": ("size", "small"),
                   "old": ("age", "old"), "new": ("age", "new"), **{mood: ("mood", mood) for mood in MOODS},
                   **{a: ("colour", a) for a, kinds in ATTRIBUTIVE.items() if kinds == ["colour"]}}
UNKNOWN = ("unknown", None)
PERSON_WORDS = frozenset(word for word, n in NOUNS.items() if "person" in n.tags)
GENDER = {**{n: "he" for n in MEN}, **{n: "she" for n in WOMEN},
          **{word: "he" if NOUNS[word].gender == "m" else "she" for word in PERSON_WORDS}}

Fact = tuple[str, str]


class Verdict(NamedTuple):
    """What a sentence did to the world.

    consistent  it fits what is known
    asserted    True: a known truth, False: a known falsehood, None: news or no claim
    """

    consistent: bool
    asserted: bool | None = None


@cache
def spot_of(phrase: Phrase) -> tuple[str, str]:
    """Where an adverbial of place is: ("at", "garden") or ("in", "on table")."""
    word = next(w for w in reversed(phrase.en) if w in NOUNS)
    preposition = " ".join("in" if w == "into" else w for w in phrase.en if w in _PREPOSITIONS)
    return ("at", word) if word in PLACE_PREPOSITIONS else ("in", f"{preposition} {word}")


_PREPOSITIONS = frozenset(("in", "into", "on", "under", "behind", "next", "to", "at"))


class World:
    """Facts, and how sentences change them. `changed` lists the facts that the last sentence set."""

    def __init__(self, facts: dict[Fact, object] | None = None):
        self.facts: dict[Fact, object] = dict(facts or {})
        self.last: dict[str, str] = {}  # whom he and she stand for
        self.changed: list[Fact] = []

    def get(self, kind: str, what: str) -> object:
        """The value of a fact, None when it is unknown."""
        return self.facts.get((kind, what))

    def where(self, thing: str) -> tuple[str, object]:
        """("held", "Mia"), ("in", "on table"), ("at", "garden"), ("gone", None) or ("unknown", None)."""
        return self.facts.get(("where", thing), UNKNOWN)

    def holder(self, thing: str) -> str | None:
        """Who has the thing, None when nobody or nobody known has it."""
        kind, who = self.where(thing)
        return who if kind == "held" else None

    def place_of(self, who: str) -> object:
        """The place of a person or a thing, None when it is unknown."""
        kind, value = self.facts.get(("where", who), ("held", who))
        return self.facts.get(("at", value)) if kind == "held" else value if kind == "at" else None

    def same_place(self, a: str, b: str) -> bool:
        """Whether two can meet: in the same place, as far as is known."""
        here, there = self.place_of(a), self.place_of(b)
        return here is None or there is None or here == there

    def set(self, fact: Fact, value: object) -> None:
        """Make a fact so."""
        self.facts[fact] = value
        self.changed.append(fact)

    def believe(self, fact: Fact, value: object) -> bool:
        """Whether a fact is so; an unknown one is so from now on."""
        known = self.facts.get(fact)
        if known is None:
            self.set(fact, value)
            return True
        return known == value

    def entity(self, np: NP | None) -> str:
        """The name of a noun phrase in the facts: the ball → ball, Mia and Tom → Mia and Tom, she → Mia."""
        if np is None:
            return ""
        key = np.key
        if key[0] == "name":
            return key[1]
        if key[0] == "noun":
            return NOUNS[key[3]].en_plural if key[4] else key[3]
        if key[0] == "and":
            return f"{key[1][1]} and {key[2][1]}"
        return self.last.get(key[1], key[1])

    # --- sentences --------------------------------------------------------------------------------------

    def tell(self, sentence: Sentence) -> Verdict:
        """Take in what a sentence says; a clause that contradicts the facts changes nothing."""
        self.changed = []
        if sentence.end == "?" or sentence.orders[0] in ("imperative", "please"):
            return Verdict(True)
        clauses = list(sentence.clauses)
        if sentence.joins[:1] in (("after",), ("because",)):  # what is said later came first
            clauses[:2] = clauses[1::-1]
        verdicts = [self.clause(c) for c in clauses]
        claims = [v.asserted for v in verdicts if v.asserted is not None]
        return Verdict(all(v.consistent for v in verdicts), all(claims) if claims else None)

    def clause(self, c: Clause) -> Verdict:
        """Take in one clause."""
        subjects = [self.entity(c.subj)]
        if c.subj.key[0] == "and" and (c.verb == "be" or c.verb in ("go", "run", "sleep", "laugh", "cry")):
            subjects = subjects[0].split(" and ")  # each of them is, went, slept
        described = self._describe(c)
        verdicts = [self._one(c, subject) for subject in subjects]
        for who in [self.entity(np) for np in (c.rec, c.obj, c.subj)]:  # all before any is changed
            if who in GENDER:
                self.last[GENDER[who]] = who
        claims = [v.asserted for v in verdicts]
        asserted = False if False in claims else None if None in claims else True
        return Verdict(described and all(v.consistent for v in verdicts), asserted)

    def _one(self, c: Clause, subject: str) -> Verdict:
        if c.verb == "know2" and c.comp is not None and not c.negated:
            return self.clause(c.comp)
        if c.tense in ("be", "was", "state", "state past"):
            truth = self.truth(c, subject)
            if truth is None and not c.negated:
                self._learn(c, subject)
            return Verdict(truth is not False, truth)
        if c.tense in ("past", "perfect") and not c.negated:
            return Verdict(self.happen(c, subject))
        return Verdict(True)

    def _describe(self, c: Clause) -> bool:
        """Believe the adjectives of the noun phrases; False when one contradicts the facts."""
        fits = True
        for np in (c.subj, c.obj, c.rec):
            if np is not None and np.key[0] == "noun" and np.key[2]:
                for adjective in np.key[2]:
                    kind, value = ADJECTIVE_FACTS.get(adjective, (adjective, True))
                    fits = self.believe((kind, self.entity(np)), value) and fits
        return fits

    def happen(self, c: Clause, subject: str) -> bool:
        """Let an event happen, if it can; True when it could."""
        mark = len(self.changed)
        if self._happens(c, subject):
            return True
        for fact in self.changed[mark:]:  # only believed until now
            del self.facts[fact]
        del self.changed[mark:]
        return False

    def _happens(self, c: Clause, subject: str) -> bool:
        rule = COMPILED.get(c.verb)
        where = spot_of(c.where) if c.where is not None else None
        here = where and where[0] == "at" and c.verb not in ("go", "run")
        if here and not self.believe(("at", subject), where[1]):
            return False
        if rule is None:
            return True
        event = Event(subject, self.entity(c.obj), self.entity(c.rec), where)
        for need in rule.needs:
            if not need(self, event):
                return False
        before = self.holder(event.obj) if rule.feeler else None
        for make in rule.makes:
            make(self, event)
        if rule.feeler:
            who = rule.feeler(self, event, before)
            if who:
                self.set(("mood", who), rule.mood)
        return True

    def claim(self, c: Clause, subject: str) -> tuple[Fact, object] | None:
        """The fact that a clause about a state claims, or None when it claims none (liking, thinking)."""
        if c.verb == "have":
            return ("where", self.entity(c.obj)), ("held", subject)
        if c.verb != "be":
            return None
        if c.how is not None:
            adjective = c.how.en[0]
            kind, value = ADJECTIVE_FACTS.get(adjective, (adjective, True))
            return (kind, subject), value
        kind, value = spot_of(c.where)
        if kind == "at":
            return ("place", subject), value
        return ("where", subject), (kind, value)

    def truth(self, c: Clause, subject: str) -> bool | None:
        """Whether a clause about a state is true; None when that is unknown."""
        claim = self.claim(c, subject)
        if claim is None:
            return None
        (kind, what), value = claim
        known = self.place_of(what) if kind == "place" else self.facts.get((kind, what))
        if known is None:
            return None
        return (known == value) != c.negated

    def _learn(self, c: Clause, subject: str) -> None:
        claim = self.claim(c, subject)
        if claim is None:
            return
        (kind, what), value = claim
        if kind != "place":
            self.set((kind, what), value)
        elif what in GENDER or what in PERSON_WORDS:
            self.set(("at", what), value)
        else:
            self.set(("where", what), ("at", value))
