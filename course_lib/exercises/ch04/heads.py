"""Exercise 4.4, cut the features of every word into heads, and put heads together again."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import MultiHeadAttention
from course_lib.exercises.judging import ArrayExaminer, Arrays, Reader, Wrong, difference, run, same
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("heads", "merged")
PARTS = {"split": 0, "merge": 1}


def reference(x: Tensor, y: Tensor, n_heads: int) -> tuple[Tensor, Tensor]:
    """The expected value of 4.4: heads (B, H, T, C/H) by the course's MultiHeadAttention, and y put together."""
    return MultiHeadAttention(x.shape[2], n_heads).split(x), y.transpose(1, 2).flatten(2)


def draw(rng: np.random.Generator) -> list[Case]:
    def case(
        group: str, batch: int, steps: int, heads: int, sizes: tuple, note: str, dtype="float32", layout="C"
    ) -> Case:
        width, other = sizes  # of a head of x and of a head of y
        x = np.asarray(rng.standard_normal((batch, steps, heads * width)), dtype, layout)
        y = np.asarray(rng.standard_normal((batch, heads, steps, other)), dtype, layout)
        return Case(group, {"x": x, "y": y, "n_heads": heads}, note)

    b, t, h, d, e = (int(n) for n in rng.permutation((2, 3, 4, 5, 6)))
    return [
        case("split", b, t, h, (d, e), ""),
        case("split", 2, 4, 4, (4, 4), "words, heads and their width all 4"),
        case("merge", b, t, h, (d, e), ""),
        case("merge", 2, 4, 4, (4, 4), "words, heads and their width all 4"),
        case("hard", 3, 4, 1, (5, 3), "one head"),
        case("hard", 2, 1, 3, (2, 4), "one word"),
        case("hard", 1, 5, 3, (1, 2), "heads of width 1"),
        case("hard", 2, 3, 2, (4, 3), "float64, not contiguous", "float64", "F"),
    ]


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """Each half of the answer earns its own point; the hard cases look at both."""
    if got[0].shape == expected[1].shape != expected[0].shape == got[1].shape:
        return "you return (merged, heads), expected (heads, merged)"
    part = PARTS.get(case.group)
    chosen = slice(None) if part is None else slice(part, part + 1)
    return difference(names[chosen], got[chosen], expected[chosen])


@dataclass(frozen=True)
class Half(Wrong):
    """A misconception about one of the two arrays, whatever the other one is."""

    part: int = 0

    def explains(self, read: Reader, case: Case, got: Arrays) -> bool:
        """True if this misconception gives that array on the case."""
        try:
            mine = read(run(self.answer, case))[self.part]
        except (RuntimeError, ValueError, IndexError, TypeError, ZeroDivisionError):
            return False
        return same((got[self.part],), (mine,))


def _placed(said: str, part: int) -> Callable[[Case, Arrays, Arrays], str]:
    """A message with the first place where that half of the answer is off."""

    def message(case: Case, got: Arrays, expected: Arrays) -> str:
        where = difference((NAMES[part],), (got[part],), (expected[part],))
        return f"{said} ({f'{case.note}: ' if case.note else ''}{where})"

    return message


def _splits(name: str, cut: Callable[[Tensor, int], Tensor], message: str) -> Half:
    return Half(name, lambda x, y, n: (cut(x, n), y), _placed(message, 0), 0)


def _merges(name: str, join: Callable[[Tensor], Tensor], message: str) -> Half:
    return Half(name, lambda x, y, n: (x, join(y)), _placed(message, 1), 1)


_STACKED = (
    "The heads lie on the batch axis, B·H rows: some programs do that inside, but here the heads have an "
    "axis of their own, (B, H, T, D)."
)
_VIEWED = (
    "Your split only looks at the same memory in another shape, without moving an axis: a head gets all "
    "features of some words instead of some features of all words."
)
WRONGS = (
    _splits("split without transpose", lambda x, n: x.reshape(len(x), n, x.shape[1], -1), _VIEWED),
    _splits(
        "features interleaved",
        lambda x, n: x.unflatten(2, (-1, n)).permute(0, 3, 1, 2),
        "Your heads take every H-th feature. The first head is to take the first D features, the second the "
        "next D: cut into (H, D), not (D, H).",
    ),
    _splits(
        "words and heads not exchanged",
        lambda x, n: x.unflatten(2, (n, -1)),
        "Your split is (B, T, H, D): words before heads. Attention multiplies the last two axes, so each head "
        "needs its words there: (B, H, T, D).",
    ),
    _splits(
        "words and features exchanged",
        lambda x, n: x.unflatten(2, (n, -1)).permute(0, 2, 3, 1),
        "Your split is (B, H, D, T): the last axis of a head is to hold the features of one word.",
    ),
    _splits(
        "heads on the batch axis",
        lambda x, n: x.unflatten(2, (n, -1)).transpose(1, 2).flatten(0, 1),
        _STACKED,
    ),
    _splits("heads on the batch axis", lambda x, n: torch.cat(x.chunk(n, dim=2)), _STACKED),
    _splits("heads on the batch axis", lambda x, n: x.reshape(len(x) * n, x.shape[1], -1), _STACKED),
    _splits(
        "heads first",
        lambda x, n: x.unflatten(2, (n, -1)).permute(2, 0, 1, 3),
        "Your heads come before the sentences: (H, B, T, D).",
    ),
    _merges(
        "merge without transpose",
        lambda y: y.reshape(len(y), y.shape[2], -1),
        "Your merge does not move the axes back before it joins them: a word gets the features of several "
        "words of one head, not its own features of all heads.",
    ),
    _merges(
        "features interleaved in the merge",
        lambda y: y.permute(0, 2, 3, 1).flatten(2),
        "Your merge takes one feature of each head in turn. All D features of the first head come first.",
    ),
    _merges(
        "heads added up",
        lambda y: y.sum(1),
        "Your merge adds the heads up. They are laid side by side: H·D features for each word.",
    ),
    _merges(
        "heads averaged",
        lambda y: y.mean(1),
        "Your merge takes the mean of the heads. They are laid side by side: H·D features for each word.",
    ),
    _merges(
        "words side by side",
        lambda y: y.flatten(2),
        "Your merge is (B, H, T·D): it joins the words of a head. What belongs together is one word's features "
        "of all heads.",
    ),
    _merges(
        "heads laid behind each other",
        lambda y: y.flatten(1, 2),
        "Your merge is (B, H·T, D): it lays the heads behind each other as if they were more words.",
    ),
    _merges(
        "words and heads not exchanged in the merge",
        lambda y: y.transpose(1, 2),
        "Your merge is (B, T, H, D): the last two axes still have to become one.",
    ),
)


EXERCISE = Exercise(
    "4.4",
    "Split and merge",
    "implement",
    2,
    10,
    "split, run and merge heads, and count their parameters",
    (
        Property("split", "split: each head has its own features of every word"),
        Property("merge", "merge: each word has its features of all heads side by side"),
        Property("hard", "both: one head, one word, width 1, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, _differs),
    reference,
)
