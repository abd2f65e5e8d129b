"""Plans for whole sentences, from three words to twenty-five: questions, requests, that-clauses, relatives, joins.

A pronoun that stands for something in an earlier clause is only used where both languages leave no choice: one
candidate that agrees, and a predicate that is said of people alone or of things alone.
"""

from course_lib.data.tinytown import tables as T
from course_lib.data.tinytown.grammar import JOINS
from course_lib.data.tinytown.phrases import NOUNS, NP, both, fixed, noun_phrase, pronoun, question_word, relative_pronoun
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.templates import COMP, OBJ, OREL, SUBJ
from course_lib.data.tinytown.sampler import FRAMES, MODALS, NEVER_NEGATED, Sampler
from course_lib.data.tinytown.verbs import VERBS

REQUESTS = tuple(v for v in T.EVENTS_OF_PEOPLE if VERBS[v].imperative)
WHERE_QUESTIONS = ("find", "lose", "see", "buy", "hide", "eat", "sleep", "play", "wait")


def front(s: Sampler, c: Clause) -> str:
    """The order of a main clause: sometimes an adverbial of time or place comes first."""
    if c.when is not None and s.random() < 0.5:
        return "front when"
    if c.where is not None and c.when is None and c.verb in T.WITH_PLACE and s.random() < 0.25:
        return "front where"
    return "main"


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
        c = s.event(verb, s.pick(("past", "past", "present", "future")), s.person(speakers=False), "past", False, True)
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


ANIMALS = frozenset(T.ANIMALS)
REASONS = ("because", "although", "that")


def _can_refer(c: Clause, np: NP | None) -> bool:
    """Whether `np`, a part of the clause, is the only one its pronoun can stand for."""
    if np is None or np.agreement not in ("3s", "3p") or np.key[0] not in ("name", "noun", "and"):
        return False
    if np.key[0] == "noun" and (np.key[3] in ANIMALS or np.key[1] in ("no", "")):
        return False
    start = np.pronoun[:2]
    for other in (c.subj, c.obj, c.rec):
        if other is not None and other is not np and (
                other.pronoun[:2] == start or other.key[0] == "noun" and other.key[3] in ANIMALS):
            return False
    return True


def follow_up(s: Sampler, a: Clause, frame: str, join: str) -> tuple[Clause, tuple[int, ...] | None, int | None]:
    """A clause that goes on from `a`: (clause, path of its pronoun within it, slot of the antecedent in `a`)."""
    past, reason, happening = frame == "past", join in REASONS, join in ("before", "after")
    person = _can_refer(a, a.subj) and a.subj.pronoun in ("he", "she", "they") and (
        a.subj.key[0] != "noun" or "person" in NOUNS[a.subj.key[3]].tags)
    thing = (_can_refer(a, a.obj) and a.where is None and a.obj.key[0] == "noun" and "thing" in NOUNS[a.obj.key[3]].tags)
    r = s.random()
    if thing and r < 0.5:
        word, it = a.obj.key[3], pronoun(a.obj.pronoun)
        fitting = s.tables.predicates["it " + word] if not a.obj.key[2] else ()
        if reason and r < 0.35 and fitting:
            return s.being(it, "it " + word, past, s.random() < 0.12), (SUBJ,), OBJ
        tags = NOUNS[word].tags
        if join in ("and", "but", "before") and past and r < 0.25 and ("break" in tags or "portable" in tags):
            verb = "break2" if "break" in tags else "disappear"
            return s.event(verb, "past", it, None, False, True), (SUBJ,), OBJ
        verbs = [v for v in T.ON_THINGS if v != a.verb and any(k in tags for k in VERBS[v].object)]
        if verbs and not reason:
            subject = s.named() if s.random() < 0.8 else s.person(False, False)
            tense = "past" if past else s.pick(MODALS["modal"]) if frame == "modal" else frame
            c = Clause(s.pick(verbs), tense, not happening and s.random() < 0.1 and tense not in NEVER_NEGATED, subject, it)
            return c, (OBJ,), OBJ
    if person and r < 0.85:
        who = pronoun(a.subj.pronoun)
        if frame in ("past", "present") and (reason or a.verb != "be") and s.random() < (0.6 if reason else 0.0 if happening else 0.2):
            mood = "trouble" if join == "although" else "person"
            return s.being(who, mood, past, mood == "person" and s.random() < 0.1), (SUBJ,), SUBJ
        if s.random() < 0.3 and a.obj is None and a.rec is None:
            tense = "past" if past else s.pick(MODALS["modal"]) if frame == "modal" else frame
            c = Clause(s.pick(T.ON_PEOPLE), tense, False, s.named(), who)
            if c.verb != "know":
                return c, (OBJ,), SUBJ
        tense = s.pick(MODALS["modal"]) if frame == "modal" else frame
        negated = not happening and s.random() < 0.12 and tense not in NEVER_NEGATED
        return s.event(s.pick(T.EVENTS_OF_PEOPLE), tense, who, "past" if past else None, False, False, negated), (SUBJ,), SUBJ
    return s.free(frame, third=False, happening=happening), None, None


SUBORDINATES = ("because", "because", "because", "although", "when", "before", "after")


def _joined(s: Sampler, a: Clause, join: str, frame: str) -> tuple[Clause, tuple[int, ...] | None, int | None]:
    c, path, slot = follow_up(s, a, frame, join)
    if join == "after" and c.tense == "past":
        c = c._replace(tense="perfect")
    if c.when is not None and JOINS[join][2] != "main":  # one time for both
        c = c._replace(when=None)
    return c, path, slot


def _order(s: Sampler, join: str, c: Clause) -> str:
    order = JOINS[join][2]
    return front(s, c) if order == "main" else order


def pair(s: Sampler) -> Sentence:
    """Two main clauses, or a main clause and a subordinate one after it."""
    join = s.pick(("and", "but", "so", *SUBORDINATES))
    frame = "past" if join in ("when", "before", "after", "so") or s.random() < 0.8 else s.pick(("present", "future", "modal"))
    a = s.free(frame, third=False, happening=join in ("before", "after"))
    b_frame = "past" if frame == "past" else "present" if join in ("because", "although") else frame
    b, path, slot = _joined(s, a, join, b_frame)
    links = (((1, *path), (0, slot)),) if path else ()
    return Sentence((a, b), (front(s, a), _order(s, join, b)), (join,), coreference=links)


def clause_first(s: Sampler) -> Sentence:
    """A subordinate clause first, so that the German main clause starts with its verb."""
    first = s.pick(("because", "although", "when", "before", "after", "if", "if"))
    if first == "if":
        a = s.state(False, False, True) if s.random() < 0.6 else s.event(
            s.pick(T.EVENTS_OF_PEOPLE), s.pick(("can", "want")), s.person(False), None, False, True)
        b, path, slot = follow_up(s, a, s.pick(("future", "modal")), "if")
    else:
        a = s.state(True, False, True) if first == "because" and s.random() < 0.5 else s.free(
            "past", False, True, first in ("before", "after"))
        if first == "after" and a.tense == "past":
            a = a._replace(tense="perfect")
        b, path, slot = follow_up(s, a, "past", "")
    if b.when is not None:
        b = b._replace(when=None)
    links = (((1, *path), (0, slot)),) if path else ()
    return Sentence((a, b), ("sub", "inverted"), ("",), first=first, coreference=links)


def that(s: Sampler) -> Sentence:
    """Mia thinks that …"""
    verb, past = s.pick(T.THAT_VERBS), s.random() < 0.5
    past = past or verb == "say"
    tense = "past" if verb == "say" else "state past" if past else "state"
    subject = s.person(False, speakers=verb == "say")
    a = Clause(verb, tense, False, subject)
    comp, path, slot = follow_up(s, a, "past" if past or s.random() < 0.5 else s.pick(("present", "future")), "that")
    if past and comp.tense == "past":
        comp = comp._replace(tense="perfect", when=None)
    links = (((0, COMP, *path), (0, slot)),) if path else ()
    return Sentence((a._replace(comp=comp),), ("main",), coreference=links)


def infinitive(s: Sampler) -> Sentence:
    """Mia began to read the book | Mia hat angefangen, das Buch zu lesen."""
    a = Clause(s.pick(T.TO_VERBS), s.pick(("past", "past", "future")), False, s.person(), when=None)
    if s.random() < s.rich * 0.6 and a.tense == "past":
        a = a._replace(when=fixed(s.pick(T.WHEN["past"])))
    inner = s.event(s.pick(T.TO_DO), "infinitive", a.subj, None, False)._replace(subj=None)
    return Sentence((a._replace(comp=inner),), ("front when" if a.when else "main",))


def add_relative(s: Sampler, c: Clause, fronted: bool = False) -> tuple[Clause, tuple | None, tuple | None]:
    """Describe the object by a relative clause: (clause, path of a pronoun in it, path of its antecedent)."""
    if c.obj is None or c.where or c.how or c.when and not fronted or c.comp or c.obj.key[:2] != ("noun", "the"):
        return c, None, None
    word = c.obj.key[3]
    tags = NOUNS[word].tags
    if "thing" not in tags or c.verb in ("put", "place", "return"):
        return c, None, None
    verbs = [v for v in T.ON_THINGS if v != c.verb and any(k in tags for k in VERBS[v].object)]
    if not verbs:
        return c, None, None
    own = c.subj is not None and _can_refer(c, c.subj) and c.subj.pronoun in ("he", "she", "they") and s.random() < 0.3
    subject = pronoun(c.subj.pronoun) if own else s.named() if s.random() < 0.8 else s.person(False)
    relative = Clause(s.pick(verbs), "perfect" if s.random() < 0.4 else "past", False, subject,
                      relative_pronoun("that", c.obj.gender))
    if s.random() < s.rich:
        relative = relative._replace(when=fixed(s.pick(T.WHEN["past"])))
    return c._replace(orel=relative), (OREL, SUBJ) if own else None, (SUBJ,)


def person_with_relative(s: Sampler) -> NP | None:
    word = s.fresh(T.PEOPLE)
    return None if "kin" in NOUNS[word].tags else noun_phrase("the", s.adjectives(word), word, False)


def with_relative(s: Sampler) -> Sentence:
    """The boy who …; Mia found the ball that …"""
    c = s.free("past", third=False)
    r = s.random()
    if r < 0.55:
        c, path, antecedent = add_relative(s, c._replace(when=None, where=None if VERBS[c.verb].frame == "acc" else c.where,
                                                         how=c.how if c.verb == "be" else None))
        return Sentence((c,), ("main",), coreference=(((0, *path), (0, *antecedent)),) if path else ())
    subject = person_with_relative(s)
    if subject is None or c.verb not in T.EVENTS_OF_PEOPLE or c.tense != "past" or c.negated:
        return Sentence((c,), (front(s, c),))
    who = s.event(s.pick(T.EVENTS_OF_PEOPLE), s.pick(("past", "past", "perfect")), relative_pronoun("who", subject.gender),
                  None, False, s.random() < 0.5)
    c = c._replace(subj=subject, srel=who, obj=_no_owner(c.obj), rec=_no_owner(c.rec))
    return Sentence((c,), (front(s, c),))


def _no_owner(np: NP | None) -> NP | None:
    """The noun phrase with "the" for a possessive that no longer has its owner."""
    if np is not None and np.key[0] == "noun" and np.key[1] in ("his", "her", "their"):
        return noun_phrase("my" if "kin" in NOUNS[np.key[3]].tags else "the", *np.key[2:])
    return np


def triple(s: Sampler) -> Sentence:
    """Three clauses: main, subordinate or main, main."""
    j1 = s.pick(SUBORDINATES)
    j2 = s.pick(("and", "but", "so"))
    if s.random() < 0.3:
        j1, j2 = s.pick(("and", "but")), s.pick(SUBORDINATES)
    a = s.free("past", third=False, happening=j1 in ("before", "after"))
    b, path, slot = _joined(s, a, j1, "past")
    c = s.free("past", third=False, happening=j2 in ("before", "after"))
    if j2 == "after" and c.tense == "past":
        c = c._replace(tense="perfect")
    if c.when is not None and JOINS[j2][2] != "main":
        c = c._replace(when=None)
    links = (((1, *path), (0, slot)),) if path else ()
    return Sentence((a, b, c), (front(s, a), _order(s, j1, b), _order(s, j2, c)), (j1, j2), coreference=links)


def pair_with_relative(s: Sampler) -> Sentence:
    """Two clauses, the first with a relative clause where one fits."""
    p = pair(s)
    if p.coreference:
        return p
    a, fronted = p.clauses[0], p.orders[0] == "front when"
    if a.when is not None and not fronted:
        a = a._replace(when=None)
    a, path, antecedent = add_relative(s, a, fronted)
    links = (((0, *path), (0, *antecedent)),) if path else ()
    return p._replace(clauses=(a, p.clauses[1]), coreference=links)


# For each band of lengths (English tokens): its weight, how rich it is, and the plans with their weights.
BANDS = (
    (3, 6, 4, 0.08, ((statement, 12), (question, 4), (request, 2))),
    (7, 10, 3, 0.40, ((statement, 9), (question, 2), (request, 1), (that, 2), (infinitive, 2), (with_relative, 1), (pair, 3))),
    (11, 14, 3, 0.40, ((pair, 10), (clause_first, 3), (that, 1), (with_relative, 3), (infinitive, 1))),
    (15, 18, 5, 0.70, ((pair, 6), (clause_first, 2), (pair_with_relative, 4), (triple, 4), (with_relative, 2))),
    (19, 25, 5, 0.80, ((triple, 8), (pair_with_relative, 2))),
)
PLANS = tuple((low, high, rich, tuple(plan for plan, times in plans for _ in range(times)))
              for low, high, weight, rich, plans in BANDS for _ in range(weight))
