"""Sentences of several clauses: joined, nested in each other, describing a noun phrase.

A pronoun that stands for something in the first clause is only used where both languages leave no choice: one
candidate that agrees, and a predicate that is said of people alone or of things alone (see references.py).
"""

from course_lib.data.tinytown import tables as T
from course_lib.data.tinytown.grammar import JOINS
from course_lib.data.tinytown.phrases import NOUNS, NP, fixed, noun_phrase, pronoun, relative_pronoun
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.references import coreference
from course_lib.data.tinytown.sampler import MODALS, NEVER_NEGATED, Sampler
from course_lib.data.tinytown.verbs import VERBS

ANIMALS = frozenset(T.ANIMALS)
PEOPLE = ("he", "she", "they")
REASONS = ("because", "although", "that")
SEQUENCES = ("before", "after")  # they join what really happened
SUBORDINATES = ("because", "because", "because", "although", "when", "before", "after")


def front(s: Sampler, c: Clause) -> str:
    """The order of a main clause: sometimes an adverbial of time or place comes first."""
    if c.when is not None and s.random() < 0.5:
        return "front when"
    if c.where is not None and c.when is None and c.verb in T.WITH_PLACE and s.random() < 0.25:
        return "front where"
    return "main"


# --- a clause that goes on from another -----------------------------------------------------------------

def _can_refer(c: Clause, np: NP | None) -> bool:
    """Whether `np`, a part of the clause, is the only one its pronoun can stand for."""
    if np is None or np.agreement not in ("3s", "3p") or np.key[0] not in ("name", "noun", "and"):
        return False
    if np.key[0] == "noun" and (np.key[3] in ANIMALS or np.key[1] in ("no", "")):
        return False
    start = np.pronoun[:2]
    for other in (c.subj, c.obj, c.rec):
        if other is not None and other is not np and (
                other.pronoun[:2] == start or (other.key[0] == "noun" and other.key[3] in ANIMALS)):
            return False
    return True


def _is_person(np: NP) -> bool:
    return np.pronoun in PEOPLE and (np.key[0] != "noun" or "person" in NOUNS[np.key[3]].tags)


def _is_thing(np: NP) -> bool:
    return np.key[0] == "noun" and "thing" in NOUNS[np.key[3]].tags


def _tense(s: Sampler, frame: str) -> str:
    return s.pick(MODALS["modal"]) if frame == "modal" else frame


def about_thing(s: Sampler, a: Clause, frame: str, join: str, r: float) -> Clause | None:
    """It was heavy, it broke, Tom took it: a clause about the object of `a`; None when none fits."""
    word, it = a.obj.key[3], pronoun(a.obj.pronoun)
    tags, fitting = NOUNS[word].tags, s.tables.predicates["it " + word] if not a.obj.key[2] else ()
    if join in REASONS:
        return s.being(it, "it " + word, frame == "past", s.random() < 0.12) if r < 0.35 and fitting else None
    ends = join in ("and", "but", "before") and frame == "past" and r < 0.25
    if ends and ("break" in tags or "portable" in tags):
        return s.event("break2" if "break" in tags else "disappear", "past", it, None, False, True)
    verbs = [v for v in T.ON_THINGS if v != a.verb and any(k in tags for k in VERBS[v].object)]
    if not verbs:
        return None
    subject = s.named() if s.random() < 0.8 else s.person(False, False)
    tense = _tense(s, frame)
    negated = join not in SEQUENCES and s.random() < 0.1 and tense not in NEVER_NEGATED
    return Clause(s.pick(verbs), tense, negated, subject, it)


def about_person(s: Sampler, a: Clause, frame: str, join: str) -> Clause:
    """She was tired, Tom called her, she opened the door: a clause about the subject of `a`."""
    who, reason, sequence = pronoun(a.subj.pronoun), join in REASONS, join in SEQUENCES
    feels = 0.6 if reason else 0.0 if sequence or a.verb == "be" else 0.2
    if frame in ("past", "present") and s.random() < feels:
        mood = "trouble" if join == "although" else "person"
        return s.being(who, mood, frame == "past", mood == "person" and s.random() < 0.1)
    tense = _tense(s, frame)
    if s.random() < 0.3 and a.obj is None and a.rec is None:
        return Clause(s.pick(T.ON_PEOPLE), tense, False, s.named(), who)
    negated = not sequence and s.random() < 0.12 and tense not in NEVER_NEGATED
    when = "past" if frame == "past" else None
    return s.event(s.pick(T.EVENTS_OF_PEOPLE), tense, who, when, False, False, negated)


def follow_up(s: Sampler, a: Clause, frame: str, join: str) -> Clause:
    """A clause that goes on from `a`, perhaps with a pronoun for its object or its subject."""
    r = s.random()
    if r < 0.5 and a.where is None and _can_refer(a, a.obj) and _is_thing(a.obj):
        c = about_thing(s, a, frame, join, r)
        if c is not None:
            return c
    if r < 0.85 and _can_refer(a, a.subj) and _is_person(a.subj):
        return about_person(s, a, frame, join)
    return s.free(frame, third=False, happening=join in SEQUENCES)


# --- joined clauses -------------------------------------------------------------------------------------

def _fitted(s: Sampler, c: Clause, join: str) -> tuple[Clause, str]:
    """The clause as it stands after the join, and its order; two clauses share one time."""
    order = JOINS[join][2]
    if join == "after" and c.tense == "past":
        c = c._replace(tense="perfect")
    if c.when is not None and order != "main":
        c = c._replace(when=None)
    return c, front(s, c) if order == "main" else order


def pair(s: Sampler) -> Sentence:
    """Two main clauses, or a main clause and a subordinate one after it."""
    join = s.pick(("and", "but", "so", *SUBORDINATES))
    past = join in ("when", "before", "after", "so") or s.random() < 0.8
    frame = "past" if past else s.pick(("present", "future", "modal"))
    a = s.free(frame, third=False, happening=join in SEQUENCES)
    second = "past" if past else "present" if join in ("because", "although") else frame
    b, order = _fitted(s, follow_up(s, a, second, join), join)
    return Sentence((a, b), (front(s, a), order), (join,))


def triple(s: Sampler) -> Sentence:
    """Three clauses; the third goes its own way."""
    joins = (s.pick(SUBORDINATES), s.pick(("and", "but", "so")))
    if s.random() < 0.3:
        joins = (s.pick(("and", "but")), s.pick(SUBORDINATES))
    a = s.free("past", third=False, happening=joins[0] in SEQUENCES)
    b, second = _fitted(s, follow_up(s, a, "past", joins[0]), joins[0])
    c, third = _fitted(s, s.free("past", third=False, happening=joins[1] in SEQUENCES), joins[1])
    return Sentence((a, b, c), (front(s, a), second, third), joins)


def clause_first(s: Sampler) -> Sentence:
    """A subordinate clause first, so that the German main clause starts with its verb."""
    first = s.pick(("because", "although", "when", "before", "after", "if", "if"))
    if first == "if" and s.random() < 0.4:
        tense = s.pick(("can", "want"))
        a = s.event(s.pick(T.EVENTS_OF_PEOPLE), tense, s.person(False), None, False, True)
    elif first == "if" or (first == "because" and s.random() < 0.5):
        a = s.state(first != "if", False, True)
    else:
        a = s.free("past", False, True, first in SEQUENCES)
        if first == "after" and a.tense == "past":
            a = a._replace(tense="perfect")
    frame, join = (s.pick(("future", "modal")), "if") if first == "if" else ("past", "")
    b = follow_up(s, a, frame, join)
    return Sentence((a, b._replace(when=None) if b.when else b), ("sub", "inverted"), ("",), first)


# --- nested clauses -------------------------------------------------------------------------------------

def that(s: Sampler) -> Sentence:
    """Mia thinks that …"""
    verb = s.pick(T.THAT_VERBS)
    past = verb == "say" or s.random() < 0.5
    tense = "past" if verb == "say" else "state past" if past else "state"
    a = Clause(verb, tense, False, s.person(False, speakers=verb == "say"))
    frame = "past" if past or s.random() < 0.5 else s.pick(("present", "future"))
    comp = follow_up(s, a, frame, "that")
    if past and comp.tense == "past":
        comp = comp._replace(tense="perfect", when=None)
    return Sentence((a._replace(comp=comp),), ("main",))


def infinitive(s: Sampler) -> Sentence:
    """Mia began to read the book | Mia hat angefangen, das Buch zu lesen."""
    a = Clause(s.pick(T.TO_VERBS), s.pick(("past", "past", "future")), False, s.person())
    if a.tense == "past" and s.random() < s.rich * 0.6:
        a = a._replace(when=fixed(s.pick(T.WHEN["past"])))
    inner = s.event(s.pick(T.TO_DO), "infinitive", a.subj, None, False)._replace(subj=None)
    return Sentence((a._replace(comp=inner),), ("front when" if a.when else "main",))


def with_object_relative(s: Sampler, c: Clause, fronted: bool = False) -> Clause:
    """The clause, its object described by a relative clause where one fits: the ball that Tom had lost."""
    if c.where or c.how or (c.when and not fronted) or c.comp:
        return c  # the relative clause ends the English sentence
    if c.obj is None or c.obj.key[:2] != ("noun", "the"):
        return c
    word = c.obj.key[3]
    verbs = [v for v in s.tables.used_on.get(word, ()) if v != c.verb]
    if not _is_thing(c.obj) or c.verb in ("put", "place", "return") or not verbs:
        return c
    own = _can_refer(c, c.subj) and c.subj.pronoun in PEOPLE and s.random() < 0.3
    subject = pronoun(c.subj.pronoun) if own else s.named() if s.random() < 0.8 else s.person(False)
    when = fixed(s.pick(T.WHEN["past"])) if s.random() < s.rich else None
    return c._replace(orel=Clause(s.pick(verbs), "perfect" if s.random() < 0.4 else "past", False, subject,
                                  relative_pronoun("that", c.obj.gender), when=when))


def with_relative(s: Sampler) -> Sentence:
    """The boy who called Mia slept; Mia found the ball that Tom had lost."""
    c = s.free("past", third=False)
    if s.random() < 0.55:
        where = None if VERBS[c.verb].frame == "acc" else c.where
        c = c._replace(when=None, where=where, how=c.how if c.verb == "be" else None)
        return Sentence((with_object_relative(s, c),), ("main",))
    word = s.fresh(T.PEOPLE)
    if "kin" in NOUNS[word].tags or c.verb not in T.EVENTS_OF_PEOPLE or c.tense != "past" or c.negated:
        return Sentence((c,), (front(s, c),))
    subject = noun_phrase("the", s.adjectives(word), word, False)
    verb, tense = s.pick(T.EVENTS_OF_PEOPLE), s.pick(("past", "past", "perfect"))
    who = s.event(verb, tense, relative_pronoun("who", subject.gender), None, False, s.random() < 0.5)
    c = c._replace(subj=subject, srel=who, obj=_no_owner(c.obj), rec=_no_owner(c.rec))
    return Sentence((c,), (front(s, c),))


def _no_owner(np: NP | None) -> NP | None:
    """The noun phrase without a possessive that has lost its owner."""
    if np is not None and np.key[0] == "noun" and np.key[1] in ("his", "her", "their"):
        return noun_phrase("my" if "kin" in NOUNS[np.key[3]].tags else "the", *np.key[2:])
    return np


def pair_with_relative(s: Sampler) -> Sentence:
    """Two clauses, the first with a relative clause where one fits."""
    p = pair(s)
    if coreference(p):
        return p
    a, fronted = p.clauses[0], p.orders[0] == "front when"
    if a.when is not None and not fronted:
        a = a._replace(when=None)
    return p._replace(clauses=(with_object_relative(s, a, fronted), p.clauses[1]))
