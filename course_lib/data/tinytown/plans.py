"""Plans for sentences from three words to twenty-five: how often each kind is drawn for each length."""

from course_lib.data.tinytown import tables as T
from course_lib.data.tinytown.joins import (
    clause_first,
    front,
    infinitive,
    pair,
    pair_with_relative,
    that,
    triple,
    with_relative,
)
from course_lib.data.tinytown.phrases import NP, fixed, noun_phrase, pronoun, question_word
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.sampler import FRAMES, Sampler
from course_lib.data.tinytown.verbs import VERBS

REQUESTS = tuple(v for v in T.EVENTS_OF_PEOPLE if VERBS[v].imperative)
WHERE_QUESTIONS = ("find", "lose", "see", "buy", "hide", "eat", "sleep", "play", "wait")


def statement(s: Sampler) -> Sentence:
    c = s.free(s.pick(FRAMES))
    return Sentence((c,), (front(s, c),))


def question(s: Sampler) -> Sentence:
    """Yes/no questions and who, what, where, when."""
    r = s.random()
    if r < 0.35:
        frame = s.pick(("past", "past", "state", "future", "modal"))
        c = s.state(s.random() < 0.5, third=True) if frame == "state" else s.free(frame, third=False)
        return Sentence((c._replace(negated=False, obj=_plain(c)),), ("question",), end="?")
    if r < 0.55:
        verb = s.pick(T.EVENTS_OF_PEOPLE)
        c = s.event(verb, s.pick(("past", "past", "future", "present")), question_word("who"), None, False)
        return Sentence((c,), ("main",), end="?")
    if r < 0.75:
        verb = s.pick(T.ON_THINGS)
        tense = s.pick(("past", "past", "present", "future"))
        c = s.event(verb, tense, s.person(speakers=False), "past", False, True)
        return Sentence((c._replace(obj=question_word("what")),), ("wh object",), end="?")
    if r < 0.87:
        subject = s.thing_as_subject()[0] if s.random() < 0.6 else s.person(speakers=False)
        c = Clause("be", s.pick(("be", "was")), False, subject, where=fixed("where/wo"))
        return Sentence((c,), ("wh where",), end="?")
    verb = s.pick(WHERE_QUESTIONS if r < 0.94 else T.EVENTS_OF_PEOPLE)
    c = s.event(verb, s.pick(("past", "future")), s.person(), None, False, True)
    if r < 0.94:
        return Sentence((c._replace(where=fixed("where/wo")),), ("wh where",), end="?")
    return Sentence((c._replace(when=fixed("when/wann")),), ("wh when",), end="?")


def _plain(c: Clause) -> NP | None:
    """The object of a clause as it is without the negation."""
    if c.obj is not None and c.obj.key[:2] == ("noun", "no"):
        _, _, adjectives, word, plural = c.obj.key
        return noun_phrase("" if plural else "a", adjectives, word, plural)
    return c.obj


def request(s: Sampler) -> Sentence:
    c = s.event(s.pick(REQUESTS), "imperative", pronoun("you"), None, False)._replace(subj=None)
    polite = s.random() < 0.5
    return Sentence((c,), ("please" if polite else "imperative",), end="." if polite else "!")


# For each band of lengths (English tokens): its weight, how rich it is, and the plans with their weights.
BANDS = (
    (3, 6, 4, 0.08, ((statement, 12), (question, 4), (request, 2))),
    (7, 10, 3, 0.40,
     ((statement, 9), (question, 2), (request, 1), (pair, 3), (that, 2), (infinitive, 2),
      (with_relative, 1))),
    (11, 14, 3, 0.40, ((pair, 10), (clause_first, 3), (that, 1), (with_relative, 3), (infinitive, 1))),
    (15, 18, 5, 0.70,
     ((pair, 6), (clause_first, 2), (pair_with_relative, 4), (triple, 4), (with_relative, 2))),
    (19, 25, 5, 0.80, ((triple, 8), (pair_with_relative, 2))),
)
PLANS = tuple((low, high, rich, tuple(plan for plan, times in plans for _ in range(times)))
              for low, high, weight, rich, plans in BANDS for _ in range(weight))
