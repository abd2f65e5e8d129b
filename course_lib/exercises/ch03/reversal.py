"""Exercise 3.6, reversing sentences of a padded batch: a planted bug that moves the padding."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, same
from course_lib.exercises.spec import Case, Exercise, Property


def reference(x: Tensor, lengths: Tensor) -> Tensor:
    """The expected value of 3.6: each row's first lengths[b] steps reversed, the rest as it was."""
    rows = [torch.cat([row[:n].flip(0), row[n:]]) for row, n in zip(x, lengths.tolist(), strict=True)]
    return torch.stack(rows)


def _reversal_case(
    rng: np.random.Generator,
    group: str,
    lengths: Sequence[int],
    note: str = "",
    dtype: str = "float32",
    layout: str = "C",
    padded: bool = True,
    extra: int = 0,
) -> Case:
    x = np.asarray(
        rng.standard_normal((len(lengths), max(lengths) + extra, int(rng.integers(2, 5)))), dtype, layout
    )
    if padded:
        x *= (np.arange(x.shape[1]) < np.array(lengths)[:, None])[..., None]
    return Case(group, {"x": x, "lengths": np.array(lengths)}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    lengths = [int(n) for n in rng.permutation((2, 3, 5, 6))]
    return [
        _reversal_case(rng, "order", lengths),
        _reversal_case(rng, "order", (4, 4), "padding after every row", extra=2),
        _reversal_case(rng, "order", (1, 4), "a sentence of one word"),
        _reversal_case(rng, "padding", (2, 5, 3), "padding that is not 0", padded=False),
        _reversal_case(rng, "padding", (0, 3), "a row with no word at all", padded=False),
        _reversal_case(
            rng, "padding", (4, 2), "float64, not contiguous", dtype="float64", layout="F", padded=False
        ),
    ]


def _rows_by(take: Callable[[Tensor, int], Tensor]) -> Callable:
    return lambda x, lengths: torch.stack([take(row, n) for row, n in zip(x, lengths.tolist(), strict=True)])


def _flipped_message(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: the symptom in numbers; the cure is the student's."""
    steps, length = case.args["x"].shape[1], int(case.args["lengths"].min())
    return (
        f"The whole rows are flipped, padding included: a sentence of {length} in rows of {steps} now starts "
        f"with {steps - length} steps of padding, and what the backward reader makes of it depends on how "
        "long its neighbours in the batch are."
    )


def _overwritten(row: Tensor, n: int) -> Tensor:
    for step in range(n):
        row[step] = row[n - 1 - step]
    return row


def _padding_lost(case: Case, got: Arrays) -> bool:
    """True if every word is right and something else is not."""
    x, lengths = (torch.from_numpy(value) for value in case.args.values())
    due = reference(x, lengths).numpy()
    words = np.arange(x.shape[1]) < case.args["lengths"][:, None]
    return got[0].shape == due.shape and same((got[0][words],), (due[words],)) and not same(got, (due,))


WRONGS = (
    Wrong("whole row flipped", lambda x, n: x.flip(1), _flipped_message),
    Wrong(
        "off by one",
        _rows_by(lambda row, n: row.flip(0).roll(n + 1 - len(row), 0)),
        "Off by one: the last word of a row is word lengths[b] − 1, so step t reads word lengths[b] − 1 − t.",
    ),
    Wrong(
        "off by one",
        _rows_by(lambda row, n: row.flip(0).roll(n - 1 - len(row), 0)),
        "Off by one: the last word of a row is word lengths[b] − 1, so step t reads word lengths[b] − 1 − t.",
    ),
    Wrong(
        "padding reversed, too",
        _rows_by(lambda row, n: row.flip(0).roll(n - len(row), 0)),
        "The words are right, but the padding is reversed as well: steps from lengths[b] on stay as they "
        "are.",
    ),
    Symptom(
        "padding lost",
        _padding_lost,
        "The words are right, but what stood at the padding is gone: steps from lengths[b] on stay as "
        "they are.",
    ),
    Wrong(
        "overwritten while read",
        _rows_by(_overwritten),
        "You write into the row that you still read from: the second half of a sentence finds the first half "
        "already overwritten. Read from a copy.",
    ),
    Wrong(
        "whole row flipped, then masked",
        lambda x, n: x.flip(1) * (torch.arange(x.shape[1]) < n[:, None])[..., None],
        "You flip the whole rows and then cut off what lies beyond the lengths. The words of a short "
        "sentence are at the end of the flipped row, and that is what you cut.",
    ),
    Wrong(
        "first length for all",
        lambda x, n: reference(x, n[:1].expand(len(n))),
        "Every row is reversed within the length of the first one.",
    ),
    Wrong(
        "longest length for all",
        lambda x, n: reference(x, n.max().expand(len(n))),
        "Every row is reversed within the longest length; shorter ones begin with padding now.",
    ),
    Wrong(
        "features reversed",
        lambda x, n: x.flip(2),
        "You reverse the features of each word (dim 2). The order of the words is dim 1.",
    ),
    Wrong(
        "batch reversed",
        lambda x, n: x.flip(0),
        "You reverse the order of the sentences (dim 0), not of the words.",
    ),
    Wrong("nothing reversed", lambda x, n: x, "Nothing is reversed: the output is the input."),
)


EXERCISE = Exercise(
    "3.6",
    "Reading backwards",
    "debug",
    2,
    10,
    "build annotations that do not depend on the batch",
    (
        Property("order", "each sentence reversed within its own length"),
        Property("padding", "padding where and as it was, at any length"),
    ),
    draw,
    ArrayExaminer(("reversed",), WRONGS),
    reference,
)
