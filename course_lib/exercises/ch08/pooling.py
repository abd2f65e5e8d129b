"""Exercise 8.4, one vector for a text: the mean over its words, and nothing of its padding."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, first_off
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.losses import masked_mean


def reference(x: Tensor, mask: Tensor) -> Tensor:
    """The expected value of 8.4, by the course's masked_mean; zeros for a text without a word."""
    return masked_mean(x, mask[..., None].expand_as(x), 1)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, lengths: list[int], width: int, note: str, *, dtype: str = "float32", layout: str = "C",
          longest: int = 0) -> Case:
    """Rows of so many words; padding holds vectors like any other."""
    mask = np.arange(max(longest, *lengths)) < np.array(lengths)[:, None]
    x = rng.standard_normal((*mask.shape, width)) + rng.uniform(-1, 1, (len(lengths), 1, width)) + 0.5
    return Case(group, {"x": np.asarray(x, dtype, layout), "mask": mask}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    ragged = rng.permutation([2, 5, 7]).tolist()
    broken = _case(rng, "padding", [3, 5, 1], 4, "NaN and ±∞ in the padding")
    broken.args["x"][~broken.args["mask"]] = np.array([np.nan, np.inf, -np.inf, np.nan])
    scattered = _case(rng, "padding", [4, 4], 3, "padding on the left and between words", longest=7)
    scattered.args["mask"] = np.array([[0, 0, 0, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0, 1]], dtype=bool)
    return [
        _case(rng, "values", ragged, 4, f"rows of {', '.join(map(str, ragged))} words"),
        _case(rng, "values", [1, 6], 5, "rows of 1 and 6 words"),
        _case(rng, "values", [4, 2, 3, 1], 4, "rows of 4, 2, 3, 1 words, width 4"),
        broken,
        scattered,
        _case(rng, "hard", [3, 0, 2], 3, "a row without a word"),
        _case(rng, "hard", [2], 6, "one row, all of it words"),
        _case(rng, "hard", [5, 2], 3, "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes


def _with(total: Callable[[Tensor, Tensor], Tensor] = lambda x, mask: x.masked_fill(~mask[..., None], 0).sum(1),
          count: Callable[[Tensor], Tensor] = lambda mask: mask.sum(1, keepdim=True)) -> Callable[[Tensor, Tensor], Tensor]:
    """A wrong answer: another sum (B, d), another divisor."""
    return lambda x, mask: total(x, mask) / count(mask).clamp(min=1)


def _all_words(x: Tensor, mask: Tensor) -> Tensor:
    return x[mask].mean(0).expand(len(x), -1)


def _largest(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask[..., None], -torch.inf).amax(1).nan_to_num(0, neginf=0)


def _place(last: bool) -> Callable[[Tensor, Tensor], Tensor]:
    def answer(x, mask):
        at = mask.shape[1] - 1 - mask.flip(1).int().argmax(1) if last else mask.int().argmax(1)
        return torch.where(mask.any(1)[:, None], x[torch.arange(len(x)), at], 0)

    return answer


_DIVISOR = "The sum is right. Divide it by the number of words of its own row."
WRONGS = (
    Wrong(
        "padding counted",
        lambda x, mask: x.mean(1),
        "The mask plays no part: padding is averaged as if it were words, and the vector depends on how long the other texts are.",
    ),
    Wrong(
        "divided by all places",
        lambda x, mask: x.masked_fill(~mask[..., None], 0).mean(1),
        f"Padding adds zeros, but it is counted: short texts get short vectors. {_DIVISOR}",
    ),
    Wrong(
        "padding in the sum",
        _with(lambda x, mask: x.sum(1)),
        "You divide by the number of words, but padding is still in the sum.",
    ),
    Wrong(
        "divided by the batch's words",
        _with(count=lambda mask: mask.sum().expand(len(mask), 1)),
        f"You divide by the number of words in the whole batch. {_DIVISOR}",
    ),
    Wrong(
        "divided by the mean length",
        _with(count=lambda mask: (mask.sum() / len(mask)).expand(len(mask), 1)),
        f"You divide every row by the same number. {_DIVISOR}",
    ),
    Wrong("sum", lambda x, mask: x.masked_fill(~mask[..., None], 0).sum(1), f"You return the sum: long texts get long vectors. {_DIVISOR}"),
    Wrong("the whole batch", _all_words, "All rows get the same vector, the mean of all words of the batch. Each text has one of its own."),
    Wrong("the whole batch", lambda x, mask: x[mask].mean(0), "You average all words of the batch into one vector. Each text has its own."),
    Wrong("mask turned round", lambda x, mask: reference(x, ~mask), "You average the padding, and no word: the mask is turned round."),
    Wrong("first word", _place(False), "You return the vector of the first word. That is how [CLS] is read; here it is the mean."),
    Wrong("first word", lambda x, mask: x[:, 0], "You return what stands first. That is how [CLS] is read; here it is the mean."),
    Wrong("last word", _place(True), "You return the vector of the last word. All of them count."),
    Wrong("last word", lambda x, mask: x[:, -1], "You return the vector at the last place, which may be padding. All words count."),
    Wrong("maximum", _largest, "You take the largest of each column. It is their mean that is asked for."),
    Wrong(
        "mean over the batch",
        lambda x, mask: reference(x.transpose(0, 1), mask.T),
        "You average over the texts of the batch, a vector for each place. It is over the words of each text.",
    ),
    Wrong(
        "mean over the width",
        lambda x, mask: x.masked_fill(~mask[..., None], 0).mean(2),
        "You average the numbers within each vector. It is over the words: (B, d) is left.",
    ),
    Wrong("of length 1", lambda x, mask: torch.nn.functional.normalize(reference(x, mask), dim=1), "Your vectors are scaled to length 1."),
    Symptom(
        "multiplied by 0",
        lambda case, got: case.note.startswith("NaN") and bool(np.isnan(got[0]).any()),
        "Padding is multiplied by 0, and 0 · NaN is NaN, as is 0 · ∞. Fill it instead, before you add.",
    ),
    Symptom(
        "mean of nothing",
        lambda case, got: case.note == "a row without a word" and bool(np.isnan(got[0]).any()),
        "The mean of no word is 0/0. A text without a word gets zeros.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = first_off(got[0], expected[0])[0]
    return f"Row {row} has {case.args['mask'][row].sum()} words: print its sum and your divisor"


EXERCISE = Exercise(
    "8.4",
    "One vector for a text",
    "implement",
    2,
    12,
    "put the four heads on one encoder",
    (
        Property("values", "the mean over the words of each row", 2),
        Property("padding", "padding anywhere, holding anything, even NaN"),
        Property("hard", "a row without a word, a row without padding, float64"),
    ),
    draw,
    ArrayExaminer(("vectors",), WRONGS, advice=_advice),
    reference,
)
