"""Exercise 8.1, labels of words on the pieces that they are cut into: a planted count that follows the places, not the words."""

from collections.abc import Callable
from typing import Any

import numpy as np

from course_lib.exercises.ch06.lists import told_apart
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference, first_off
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("ids", "labels", "counts")
Pieces = dict[str, list[int]]
Aligned = tuple[list[int], list[int], list[bool]]


def reference(words: list[str], labels: list[int], pieces: Pieces, cls_id: int, sep_id: int) -> Aligned:
    """The expected value of 8.1: the first piece of a word carries its label, what else there is does not count."""
    parts = [([cls_id], 0, False), *((pieces[word], label, True) for word, label in zip(words, labels)), ([sep_id], 0, False)]
    ids = [(id, label, counts and n == 0) for cut, label, counts in parts for n, id in enumerate(cut)]
    return tuple(list(part) for part in zip(*ids))


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, cuts: list[int], note: str, again: bool = False) -> Case:
    """Words that fall into so many pieces each; `again`: the last word is the second one once more, with another label."""
    names = ["".join(rng.choice(list("aeioubdfgklmnprst"), 4)) + str(n) for n in range(len(cuts))]
    ids = (10 + rng.permutation(90)).tolist()
    pieces = {word: [ids.pop() for _ in range(n)] for word, n in zip(names, cuts)}
    labels = rng.permutation(np.arange(len(cuts)) % 5).tolist()
    if again:
        names[-1], labels[-1] = names[1], (labels[1] + 1) % 5
        pieces = {word: pieces[word] for word in names}
    cls_id, sep_id = (1 + rng.permutation(8)[:2]).tolist()
    return Case(group, {"words": names, "labels": labels, "pieces": pieces, "cls_id": cls_id, "sep_id": sep_id}, note)


def _told(cuts: list[int]) -> str:
    return f"words of {', '.join(map(str, cuts))} piece{'' if cuts == [1] else 's'}"


def _draw(rng: np.random.Generator) -> list[Case]:
    mixed = [1, *rng.permutation([3, 1, 2]).tolist(), 1, 2, 1]
    empty = rng.permutation([1, 2, 0, 3]).tolist()
    return [
        _case(rng, "values", mixed, _told(mixed)),
        _case(rng, "values", [2, 1, 3, 1], _told([2, 1, 3, 1])),
        _case(rng, "values", [1, 2, 2, 1, 1], "a word that comes twice, with another label", again=True),
        _case(rng, "empty", [1, *empty, 1, 2], _told([1, *empty, 1, 2])),
        _case(rng, "empty", [0, 2, 1, 0, 0, 1, 3], _told([0, 2, 1, 0, 0, 1, 3])),
        _case(rng, "hard", [4], "one word of 4 pieces"),
        _case(rng, "hard", [1, 1, 1, 5, 1], _told([1, 1, 1, 5, 1])),
    ]


# ---------------------------------------------------------------- mistakes

Mark = Callable[[list[int], int, int], list[tuple[int, int]]]      # pieces of a word, its label, its number → label and counts of each


def _first(cut: list[int], label: int, number: int) -> list[tuple[int, int]]:
    return [(label, int(n == 0)) for n in range(len(cut))]


def _with(mark: Mark = _first, special: int = 0, cut: Callable[[list[int]], list[int]] = lambda cut: cut,
          said: Callable[[list[str], list[int], Pieces], list[int]] = lambda words, labels, pieces: labels) -> Callable[..., Any]:
    """A wrong answer: other pieces count, special tokens do, pieces are lost, or words have other labels."""

    def answer(words, labels, pieces, cls_id, sep_id):
        ids, marks = [cls_id], [(0, special)]
        for number, (word, label) in enumerate(zip(words, said(words, labels, pieces))):
            ids += cut(pieces[word])
            marks += mark(cut(pieces[word]), label, number)
        return [*ids, sep_id], *(list(part) for part in zip(*marks, (0, special)))

    return answer


def _by_place(words: list[str], labels: list[int], pieces: Pieces, cls_id: int, sep_id: int) -> Aligned:
    ids = [cls_id, *(id for word in words for id in pieces[word]), sep_id]
    rest = len(ids) - 1 - len(labels)
    return ids, [0, *labels, *[0] * rest][: len(ids)], [False, *[True] * len(labels), *[False] * rest][: len(ids)]


def _label_of_word(words: list[str], labels: list[int], pieces: Pieces) -> list[int]:
    known = dict(zip(words, labels))
    return [known[word] for word in words]


def _past_empty(words: list[str], labels: list[int], pieces: Pieces) -> list[int]:
    """The next label goes to the next word that has a piece."""
    left = iter(labels)
    return [next(left) if pieces[word] else 0 for word in words]


def _changed(change: Callable[[list[int], list[int], list[bool]], tuple]) -> Callable[..., Any]:
    return lambda *args: change(*reference(*args))


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: where a label sits, and whose piece that is; the cure is the student's."""
    words, pieces = case.args["words"], case.args["pieces"]
    owners = [word for word in words for _ in pieces[word]]
    at = next((n for n, word in enumerate(words) if owners[n : n + 1] != [word]), 0)
    where = f"at the end, behind all pieces of {words[at]!r}" if at >= len(owners) else f"at a piece of {owners[at]!r}"
    return f"{case.note}: the label of word {at}, {words[at]!r}, sits {where}. Which word does place {at + 1} of ids belong to?"


WRONGS = (
    Wrong("labels by place", _by_place, _planted),
    Wrong(
        "every piece counts",
        _with(lambda cut, label, number: [(label, 1)] * len(cut)),
        "Every piece counts. A long word would be asked for several times, and an entity of one word would look like several.",
    ),
    Wrong(
        "the last piece",
        _with(lambda cut, label, number: [(label, int(n == len(cut) - 1)) for n in range(len(cut))]),
        "The label sits on a word's last piece. It is the first that carries it.",
    ),
    Wrong("special tokens counted", _with(special=1), "[CLS] and [SEP] count. They are no words, and nobody has labelled them."),
    Wrong(
        "special tokens counted",
        _with(lambda cut, label, number: [(label, 1)] * len(cut), special=1),
        "Everything counts, [CLS], [SEP] and the later pieces of words too.",
    ),
    Wrong(
        "[CLS] forgotten",
        _changed(lambda ids, labels, counts: (ids, [*labels[1:], 0], [*counts[1:], False])),
        "Labels and counts are one place too early: [CLS] has a place, too.",
    ),
    Wrong(
        "words without a piece shift the labels",
        _with(said=_past_empty),
        "A word without any piece takes its label with it. Here the next word gets it, and all behind it get the wrong ones.",
    ),
    Wrong(
        "label 0 does not count",
        _changed(lambda ids, labels, counts: (ids, labels, [bool(label) and c for label, c in zip(labels, counts)])),
        "Words with the label 0 do not count. 0 is a label like others: a word that is no entity has to be learned as well.",
    ),
    Wrong(
        "one label for a word",
        _with(said=_label_of_word),
        "A word that comes twice gets the same label both times. Labels belong to places in the text, not to words.",
    ),
    Wrong(
        "later pieces lost",
        _with(cut=lambda cut: cut[:1]),
        "Only the first piece of each word is in ids. The others do not count, but the model reads them.",
    ),
    Wrong("counts turned round", _changed(lambda ids, labels, counts: (ids, labels, [not c for c in counts])), "counts is turned round."),
    Wrong(
        "counts turned round",
        _with(lambda cut, label, number: [(label, int(n > 0)) for n in range(len(cut))]),
        "The later pieces count, and the first one does not.",
    ),
    Wrong(
        "split words do not count",
        _with(lambda cut, label, number: [(label, int(len(cut) == 1))] * len(cut)),
        "A word that falls into pieces does not count at all. Its first piece does.",
    ),
    Wrong("no [SEP]", _changed(lambda *parts: tuple(part[:-1] for part in parts)), "There is no [SEP] at the end."),
    Wrong("no [CLS]", _changed(lambda *parts: tuple(part[1:] for part in parts)), "There is no [CLS] at the beginning."),
    Wrong(
        "neither [CLS] nor [SEP]",
        _changed(lambda *parts: tuple(part[1:-1] for part in parts)),
        "[CLS] and [SEP] are missing.",
    ),
)


class LabelsExaminer(ArrayExaminer):
    """Labels where counts is False play no part."""

    def read(self, value: Any) -> Arrays:
        ids, labels, counts = super().read(value)
        return ids, np.where(counts != 0, labels, 0) if labels.shape == counts.shape else labels, counts


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    for name, part, due in zip(names, got, expected):
        if part.ndim == 1 and len(part) != len(due):
            return f"{name} has {len(part)} entries, expected {len(due)}: one for each id"
    return difference(names, got, expected)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    part = next(n for n in range(3) if difference(NAMES[n : n + 1], got[n : n + 1], expected[n : n + 1]))
    owners = ["[CLS]", *(word for word in case.args["words"] for _ in case.args["pieces"][word]), "[SEP]"]
    at = first_off(got[part], expected[part])[0]
    return f"Place {at} belongs to {owners[at]!r}: write under each id its word"


EXERCISE = Exercise(
    "8.1",
    "Labels that slip",
    "debug",
    3,
    15,
    "keep labels on the right tokens: pieces, padding, cut-off answers",
    (
        Property("values", "each label on the first piece of its word, nothing else counts", 2),
        Property("empty", "words that leave no piece at all"),
        Property("hard", "one word alone, a word of many pieces"),
    ),
    told_apart(_draw, [("", reference, ""), *((wrong.name, wrong.answer, "") for wrong in WRONGS)]),
    LabelsExaminer(NAMES, WRONGS, _differs, _advice),
    reference,
)
