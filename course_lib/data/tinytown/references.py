"""Which phrase a pronoun stands for: the one rule that generation keeps and parsing applies.

A pronoun of the third person in a later or a nested clause stands for the object of the first clause when
it is said of a thing, for the subject of the first clause when it is said of a person. A pronoun in the first
clause itself stands for somebody outside the sentence.
"""

from course_lib.data.tinytown.phrases import PREDICATIVE
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


Path = tuple[int, ...]


def coreference(s: Sentence) -> list[tuple[Path, Path]]:
    """Pairs (path of the pronoun, path of its antecedent); a path is the number of a clause, then slots."""
    first = s.clauses[0]
    found: list[tuple[Path, Path]] = []
    for k, c in enumerate(s.clauses):
        if k:
            _look(c, (k,), first, found)
        for slot in (COMP, SREL, OREL):
            nested = c[slot + 3]
            if nested is not None:
                _look(nested, (k, slot), first, found)
    return found


def _look(c: Clause, path: Path, first: Clause, found: list[tuple[Path, Path]]) -> None:
    """Add the pronouns of a clause that stand for something in the first one."""
    for slot in (SUBJ, OBJ, REC):
        np = c[slot + 3]
        if np is not None and np.kind == "pron" and np.key[1] in THIRD_PERSON:
            thing = said_of_things(c.verb, slot, c.how.en[0] if c.how is not None and c.verb == "be" else None)
            antecedent = first.obj if thing else first.subj
            if antecedent is not None and antecedent.pronoun == np.key[1]:
                found.append(((*path, slot), (0, OBJ if thing else SUBJ)))
