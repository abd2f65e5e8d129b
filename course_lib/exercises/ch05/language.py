"""Exercise 5.7, a made-up language: pairs to learn from, blind sources to translate, whole answers counted.

The language is said backwards, and letters change: a letter said right after one of six hard letters takes its
second form. Which letters are hard, and all forms, are drawn anew. No letter has a counterpart in its own place,
none has a single one, and what was said before matters.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.judging import kind, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property

Row = list[int]
Pairs = Sequence[tuple[Row, Row]]

N_TRAIN, N_BLIND = 5000, 500
FIRST, LETTERS, HARD = 4, 12, 6  # ids 0 to 3 are left to <pad>, <unk>, <bos> and <eos>
SHORTEST, LONGEST = 3, 8
FIRST_MARK, MARK = 0.3, 0.9
POOR = 1 / 3  # of all letters; a small Transformer: 0.12–0.16 after 50 steps, 0.21–0.29 after 100, 0.40–0.54 without <eos>


@dataclass(frozen=True)
class Language:
    """The two forms of every letter (0 … 11), and which letters are hard."""

    forms: np.ndarray
    hard: np.ndarray

    def translate(self, source: Row) -> Row:
        letters = [n - FIRST for n in reversed(source)]
        said = [int(self.forms[0, letters[0]])]
        said += [int(self.forms[int(self.hard[before]), n]) for before, n in pairwise(letters)]
        return [FIRST + n for n in said]


def _invent(rng: np.random.Generator) -> Language:
    """A language in which no letter keeps its form after a hard one."""
    circle, first = rng.permutation(LETTERS), rng.permutation(LETTERS)
    second = np.empty_like(first)
    second[circle] = first[np.roll(circle, 1)]
    hard = np.zeros(LETTERS, dtype=bool)
    hard[rng.choice(LETTERS, HARD, replace=False)] = True
    return Language(np.stack([first, second]), hard)


def draw(rng: np.random.Generator) -> list[Case]:
    """5000 pairs and 500 other sources; the targets of these stay with the judge."""
    language = _invent(rng)
    sources: dict[tuple[int, ...], None] = {}
    while len(sources) < N_TRAIN + N_BLIND:
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        sources[tuple((FIRST + rng.integers(LETTERS, size=length)).tolist())] = None
    rows = [list(source) for source in sources]
    rows = [rows[n] for n in rng.permutation(len(rows))]
    pairs = [(row, language.translate(row)) for row in rows]
    args = {"train_pairs": pairs[:N_TRAIN], "blind_sources": rows[N_TRAIN:]}
    return [Case("", args, hidden={"truth": [target for _, target in pairs[N_TRAIN:]]})]


# ---------------------------------------------------------------- by counting


def _counted(pairs: Pairs, context: Callable[[Row, int], tuple]) -> dict[tuple, int]:
    """What is most often said for each context(source, place of the target)."""
    counts: dict[tuple, Counter] = defaultdict(Counter)
    for source, target in pairs:
        for t, said in enumerate(target):
            counts[context(source, t)][said] += 1
    return {key: found.most_common(1)[0][0] for key, found in counts.items()}


def _by_counting(context: Callable[[Row, int], tuple]) -> Callable[[Pairs, Sequence[Row]], list[Row]]:
    """An answer that says for each place what is most often said in this context."""

    def translate(train_pairs: Pairs, blind_sources: Sequence[Row]) -> list[Row]:
        best = _counted(train_pairs, context)
        return [[best.get(context(source, t), 0) for t in range(len(source))] for source in blind_sources]

    return translate


def _same_place(source: Row, t: int) -> tuple:
    return (source[t],)


def _mirrored(source: Row, t: int) -> tuple:
    return (source[-1 - t],)


def _mirrored_after(source: Row, t: int) -> tuple:
    return (source[-1 - t], source[-t] if t else 0)


def _mirrored_before(source: Row, t: int) -> tuple:
    return (source[-1 - t], source[-2 - t] if t + 1 < len(source) else 0)


def reference(train_pairs: Pairs, blind_sources: Sequence[Row]) -> list[Row]:
    """A right answer to 5.7 by counting, for those who know the rule: a letter, and the one said before it."""
    return _by_counting(_mirrored_after)(train_pairs, blind_sources)


# ---------------------------------------------------------------- judging

# Exact match over 40 draws: letter by letter at most 0.01 in place, 0.10 backwards, 0.09 by the wrong neighbour.
WRONGS: tuple[tuple[str, Callable[[Pairs, Sequence[Row]], list[Row]], str], ...] = (
    (
        "letter by letter",
        _by_counting(_same_place),
        "Every letter is replaced by what most often stands in its own place: a dictionary, and no order. Write "
        "a source and its target below each other and look where its letters have gone.",
    ),
    (
        "neighbours play no part",
        _by_counting(_mirrored),
        "The order is right, and each letter always becomes the same one. But a letter has two counterparts: look "
        "at what stands next to it.",
    ),
    (
        "the wrong neighbour",
        _by_counting(_mirrored_before),
        "The order is right. Which of its two counterparts a letter takes, you decide by a neighbour, and it is the "
        "one on the other side that counts.",
    ),
    ("source returned", lambda pairs, blind: [list(row) for row in blind], "You return the sources as they are."),
    ("source returned", lambda pairs, blind: [row[::-1] for row in blind], "You return the sources backwards."),
)


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by the share of blind sources whose whole target is right; under the mark, the reason."""
    case, output = cases[0], outputs[0]
    if output.status != "value":
        return Finding({}, output.message or "your function returned nothing")
    rows, problem = _rows_of(output.value)
    if problem:
        return Finding({}, problem)
    truth = case.hidden["truth"]
    right = sum(mine == due for mine, due in zip(rows, truth, strict=True)) / N_BLIND
    holds = {"first": right >= FIRST_MARK, "mark": right >= MARK}
    message, name = ("", "") if holds["mark"] else _reason(rows, right, case)
    return Finding(holds, f"Exact match {number(right)} on {N_BLIND} blind sources. {message}".strip(), name)


def _rows_of(value: object) -> tuple[list[Row], str]:
    """An answer as lists of whole numbers, or what is wrong with its form."""
    if isinstance(value, np.ndarray) and value.ndim == 2:
        return [], f"expected a list of {N_BLIND} lists, got one array of shape {value.shape}: rows differ in length"
    if not isinstance(value, (list, tuple)) or len(value) != N_BLIND:
        came = f"{len(value)}" if isinstance(value, (list, tuple)) else kind(value)
        return [], f"expected a list of {N_BLIND} lists of ids, one for each blind source, got {came}"
    rows: list[Row] = []
    for n, given in enumerate(value):
        ids = given.tolist() if isinstance(given, np.ndarray) and given.ndim == 1 else given
        if not isinstance(ids, (list, tuple)):
            return [], f"target {n}: expected a list of ids, got {kind(given)}"
        if any(isinstance(id, bool) or not isinstance(id, (int, float)) or id != id // 1 for id in ids):
            return [], f"target {n}: expected whole numbers, got {str(ids)[:60]}"
        rows.append([int(id) for id in ids])
    return rows, ""


def _reason(rows: list[Row], right: float, case: Case) -> tuple[str, str]:
    truth = case.hidden["truth"]
    if not any(rows):
        return "All your targets are empty: does the model say <eos> at once?", "empty"
    for name, changed, message in _other_readings(rows):
        better = sum(mine == due for mine, due in zip(changed, truth, strict=True)) / N_BLIND
        if better > right + 0.1:
            return f"{message}, {number(better)} would be right.", name
    for name, wrong, message in WRONGS:
        theirs = wrong(*case.args.values())
        if sum(mine == their for mine, their in zip(rows, theirs, strict=True)) >= 0.95 * N_BLIND:
            return message, name
    starts, letters = _agreement(rows, truth)
    shares = f"{100 * starts:.0f} % of the first letters are right, and {100 * letters:.0f} % of all"
    if letters < POOR:
        return (
            f"{shares}. If you train a model, does its loss still fall at the end? Then train longer before you look for "
            "a mistake."
        ), "trained too little"
    if sum(len(mine) != len(due) for mine, due in zip(rows, truth, strict=True)) > 0.5 * N_BLIND:
        return (
            "Most have another length than the targets, which are as long as their sources: is <eos> learned, do the "
            "blind sources end in it as those in training do, and is it where you stop?"
        ), "other lengths"
    return f"The mark is {MARK}. {shares}, each counted at its place.", ""


def _other_readings(rows: list[Row]) -> tuple[tuple[str, list[Row], str], ...]:
    """The same rows without special symbols, cut at <eos>, or backwards."""
    bare = [[id for id in row if id >= FIRST] for row in rows]
    until = [row[: row.index(3)] if 3 in row else row for row in rows]
    until = [[id for id in row if id >= FIRST] for row in until]
    special = "Your targets hold special symbols (ids 0 to 3)"
    return (
        ("special symbols", until, f"{special} and what follows <eos>; up to it, and without them"),
        ("special symbols", bare, f"{special}. Without them"),
        ("backwards", [row[::-1] for row in rows], "Your targets are the right ones from back to front. Turned round"),
    )


def _agreement(rows: list[Row], truth: list[Row]) -> tuple[float, float]:
    """Shares of right first letters, and of right letters at their places."""
    first = sum(mine[:1] == due[:1] for mine, due in zip(rows, truth, strict=True)) / len(truth)
    hits = sum(a == b for mine, due in zip(rows, truth, strict=True) for a, b in zip(mine, due, strict=False))
    return first, hits / sum(map(len, truth))


EXERCISE = Exercise(
    "5.7",
    "Reach the mark",
    "measure",
    4,
    25,
    "assemble, mask and shift an encoder–decoder, and find the bugs in another's",
    (
        Property("first", f"the first mark: {FIRST_MARK} of the targets right, more than letter by letter"),
        Property("mark", f"the second mark: {MARK} of the targets right", 2),
    ),
    draw,
    examine,
    reference,
)
