"""Which phrase a pronoun stands for: the one rule that generation keeps and parsing applies.

A pronoun of the third person in a later or a nested clause stands for the object of the first clause when
it is said of a thing, for the subject of the first clause when it is said of a person. A pronoun in the
first clause itself stands
for somebody outside the sentence.
"""

from collections.abc import Iterator

from course_lib.data.tinytown.phrases import NP, PREDICATIVE
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.templates import COMP, OBJ, OREL, REC, SREL, SUBJ
from course_lib.data.tinytown.verbs import VERBS

THIRD_PERSON = frozenset(("he", "she", "they", "it.m", "it.f", "it.n"))


def said_of_things(verb: str, slot: int, adjective: str | None) -> bool:
    """Whether a thing stands in this slot: "it broke", "took it", "it was heavy", not "she was tired"."""
    v = VERBS[verb]
    if slot == OBJ:
        return bool(v.object) and "person" not in v.object
    if adjective is not None:
        return "person" not in PREDICATIVE.get(adjective, ("person",))
    return slot == SUBJ and v.key != "be" and "person" not in v.subject


def pronouns_in(c: Clause) -> Iterator[tuple[tuple[int, ...], NP, bool]]:
    """The pronouns of the third person in a clause: (path, pronoun, said of a thing)."""
    adjective = c.how.en[0] if c.how is not None and c.verb == "be" else None
    for slot, np in ((SUBJ, c.subj), (OBJ, c.obj), (REC, c.rec)):
        if np is not None and np.kind == "pron" and np.key[1] in THIRD_PERSON:
            yield (slot,), np, said_of_things(c.verb, slot, adjective)
    for slot, nested in ((COMP, c.comp), (SREL, c.srel), (OREL, c.orel)):
        if nested is not None:
            for path, np, thing in pronouns_in(nested):
                yield (slot, *path), np, thing


def coreference(s: Sentence) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Pairs (path of the pronoun, path of its antecedent); a path is the number of a clause, then slots."""
    first, found = s.clauses[0], []
    for k, c in enumerate(s.clauses):
        for path, np, thing in pronouns_in(c):
            antecedent = first.obj if thing else first.subj
            if (k or len(path) > 1) and antecedent is not None and antecedent.pronoun == np.key[1]:
                found.append(((k, *path), (0, OBJ if thing else SUBJ)))
    return found
