"""Scores of answers and entities as their shared tasks count them: SQuAD's exact match and F1, CoNLL's F1. Accuracy is `exact_match`."""

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

_ARTICLES, _SIGNS = re.compile(r"\b(a|an|the)\b"), str.maketrans("", "", string.punctuation)


class AnswerScores(NamedTuple):
    """Shares over questions: answers that equal a right one, and mean F1 of their words."""

    exact: float
    f1: float


def plain_answer(text: str) -> list[str]:
    """The words that SQuAD compares: lower case, without punctuation and without a, an, the.

        plain_answer("The  Red-Box.")  →  ["redbox"]
    """
    return _ARTICLES.sub(" ", text.lower().translate(_SIGNS)).split()


def answer_scores(predicted: Sequence[str], right: Sequence[Sequence[str]]) -> AnswerScores:
    """Exact match and F1 of a text for each question against its right answers, of which the best counts (Rajpurkar et al. 2016,
    section 6.1). No right answer at all: only "" is right (Rajpurkar et al. 2018).

        answer_scores(["the red ball"], [["ball", "blue ball"]])  →  exact 0, f1 0.667
    """
    _check(predicted, right)
    exact = f1 = 0.0
    for text, texts in zip(predicted, right):
        mine, theirs = plain_answer(text), [plain_answer(other) for other in texts or ("",)]
        exact += mine in theirs
        f1 += max(_word_f1(mine, other) for other in theirs)
    return AnswerScores(exact / len(right), f1 / len(right))


def _word_f1(mine: list[str], theirs: list[str]) -> float:
    if not mine or not theirs:
        return float(mine == theirs)
    return 2 * (Counter(mine) & Counter(theirs)).total() / (len(mine) + len(theirs))


class EntityScores(NamedTuple):
    """The share of predicted entities that are right, the share of right ones that are found, and their harmonic mean."""

    precision: float
    recall: float
    f1: float


def entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Tags "O", "B-type", "I-type" of a sentence → its entities (start, end, type), words [start, end).

    As CoNLL's evaluation reads what is ill-formed: an I- after O or after another type begins an entity.

        entities(["B-person", "I-person", "O", "I-place"])  →  {(0, 2, "person"), (3, 4, "place")}
    """
    found, start, kind = set(), 0, ""
    for n, tag in enumerate([*tags, "O"]):
        mark, dash, new = tag.partition("-")
        if (mark, dash) not in (("O", ""), ("B", "-"), ("I", "-")) or bool(dash) != bool(new):
            raise ValueError(f"tags: got {tag!r}, expected O, B- or I- with a type")
        if kind and (mark != "I" or new != kind):
            found.add((start, n, kind))
        if mark == "B" or new != kind:
            start = n
        kind = new
    return found


def entity_scores(predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> EntityScores:
    """Precision, recall and F1 over all entities of all sentences (Tjong Kim Sang & De Meulder 2003): right are those with exactly
    the right words and type. A share of nothing is 0."""
    _check(predicted, right)
    both = mine = theirs = 0
    for n, (tags, truth) in enumerate(zip(predicted, right)):
        if len(tags) != len(truth):
            raise ValueError(f"predicted: got {len(tags)} tags in sentence {n}, expected {len(truth)}")
        a, b = entities(tags), entities(truth)
        both, mine, theirs = both + len(a & b), mine + len(a), theirs + len(b)
    return EntityScores(both / max(1, mine), both / max(1, theirs), 2 * both / max(1, mine + theirs))


def _check(predicted: Sequence, right: Sequence) -> None:
    if len(predicted) != len(right) or not right:
        raise ValueError(f"predicted, right: got {len(predicted)} and {len(right)} items, expected equally many and at least one")
