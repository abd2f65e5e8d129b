"""Exercise 9.7, a gradient gathered over micro-batches: a planted mean of means."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property


def reference(x: Tensor, y: Tensor, mask: Tensor, w: Tensor, n_micro: int) -> Tensor:
    """The expected value of 9.7: Σ 2 (x·w − y) x over the places that count, by their number. How the rows are divided plays no part."""
    return 2 * ((x @ w - y)[..., None] * x)[mask].mean(0)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, lengths: list[int], n_micro: int, note: str, *, width: int = 3, dtype: str = "float32",
          layout: str = "C") -> Case:
    """Rows of so many words; padding holds numbers like any other."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    x = rng.standard_normal((*mask.shape, width)) + rng.uniform(-1, 1, (len(lengths), 1, width))
    w, y = rng.standard_normal(width), 2 * rng.standard_normal(mask.shape)
    args = {"x": x, "y": y, "mask": mask, "w": w}
    args = {name: value if value is mask else np.asarray(value, dtype, layout) for name, value in args.items()}
    return Case(group, args | {"n_micro": n_micro}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    ragged = rng.permutation(np.array([[9, 7], [1, 2]])).flatten().tolist()
    return [
        _case(rng, "values", ragged, 2, f"rows of {', '.join(map(str, ragged))} words, 2 micro-batches of 2 rows", width=4),
        _case(rng, "values", [8, 3, 1], 3, "rows of 8, 3, 1 words, a micro-batch for each"),
        _case(rng, "values", [3, 2, 8, 7, 5, 1], 3, "rows of 3, 2, 8, 7, 5, 1 words, 3 micro-batches of 2 rows"),
        _case(rng, "empty", [5, 7, 0, 0, 2, 1], 3, "rows of 5, 7, 0, 0, 2, 1 words, 3 micro-batches, the second padding alone"),
        _case(rng, "hard", [4, 4, 4, 4], 4, "rows of 4 words each"),
        _case(rng, "hard", [6, 2], 1, "everything in one micro-batch"),
        _case(rng, "hard", [2, 2, 7, 6], 2, "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes

Micro = tuple[Tensor, Tensor]     # of one micro-batch: the gradients of its places (rows, T, D), and which of them count (rows, T)


def _micro(x: Tensor, y: Tensor, mask: Tensor, w: Tensor, n_micro: int) -> list[Micro]:
    return list(zip((2 * (x @ w - y)[..., None] * x).chunk(n_micro), mask.chunk(n_micro)))


def _with(finish: Callable[[list[Tensor], list[Tensor], list[Micro]], Tensor]) -> Callable:
    """A wrong answer: `finish` makes it of the micro-batches' sums, counts, and themselves."""

    def answer(x, y, mask, w, n_micro):
        parts = _micro(x, y, mask, w, n_micro)
        return finish([each[real].sum(0) for each, real in parts], [real.sum() for _, real in parts], parts)

    return answer


def _means(sums: list[Tensor], counts: list[Tensor], least: int = 0) -> Tensor:
    return torch.stack([total / count.clamp(min=least) for total, count in zip(sums, counts)])


def _row_means(sums: list[Tensor], counts: list[Tensor], parts: list[Micro]) -> Tensor:
    rows = [(row[real].sum(0) / real.sum().clamp(min=1), bool(real.any())) for each, some in parts for row, real in zip(each, some)]
    return torch.stack([mean for mean, counts_at_all in rows if counts_at_all]).mean(0)


def _all_places(parts: list[Micro]) -> Tensor:
    return torch.cat([each.flatten(0, 1) for each, _ in parts])


def _loss(x: Tensor, y: Tensor, mask: Tensor, w: Tensor, n_micro: int) -> Tensor:
    return (x @ w - y)[mask].square().mean()


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: what a word weighs, here and there; the cure is the student's."""
    counts = [int(part.sum()) for part in np.split(case.args["mask"], case.args["n_micro"])]
    few, many = min(n for n in counts if n), max(counts)
    return (
        f"{case.note}: a word of the micro-batch with {few} weighs {many / few:.3g} times as much as one of that with {many}. In one "
        "large batch all words weigh the same. What would you have to know before the first of them is read?"
    )


_DIVISOR = "Divide by the number of places that count, in all micro-batches together."
WRONGS = (
    Wrong("mean of means", _with(lambda sums, counts, parts: _means(sums, counts).mean(0)), _planted),
    Wrong("mean of means", _with(lambda sums, counts, parts: _means(sums, counts, 1).mean(0)), _planted),
    Wrong("mean of means", _with(lambda sums, counts, parts: _means(sums, counts).nanmean(0)), _planted),
    Wrong(
        "means added",
        _with(lambda sums, counts, parts: _means(sums, counts).sum(0)),
        "You add up the micro-batches' means. More micro-batches would make longer steps. " + _DIVISOR,
    ),
    Wrong(
        "means added",
        _with(lambda sums, counts, parts: _means(sums, counts, 1).sum(0)),
        "You add up the micro-batches' means. More micro-batches would make longer steps. " + _DIVISOR,
    ),
    Wrong(
        "mean of the rows' means",
        _with(_row_means),
        "You average each row, and then the rows. A word in a short row weighs more then than one in a long row.",
    ),
    Wrong("not divided", _with(lambda sums, counts, parts: sum(sums)), f"You return the sum over all words, not their mean. {_DIVISOR}"),
    Wrong(
        "divided by the micro-batches",
        _with(lambda sums, counts, parts: sum(sums) / len(sums)),
        f"You divide a sum over words by the number of micro-batches. {_DIVISOR}",
    ),
    Wrong(
        "divided by the rows",
        _with(lambda sums, counts, parts: sum(sums) / sum(len(real) for _, real in parts)),
        f"You divide by the number of rows. {_DIVISOR}",
    ),
    Wrong(
        "divided by all places",
        _with(lambda sums, counts, parts: sum(sums) / sum(real.numel() for _, real in parts)),
        f"The sum is right, but its divisor counts padding. {_DIVISOR}",
    ),
    Wrong(
        "divided twice",
        _with(lambda sums, counts, parts: sum(sums) / sum(counts) / len(sums)),
        "You divide by the number of words, and by the number of micro-batches as well. The first makes it a mean.",
    ),
    Wrong(
        "divided by the last one's words",
        _with(lambda sums, counts, parts: sum(sums) / counts[-1]),
        f"You divide by the words of the last micro-batch. {_DIVISOR}",
    ),
    Wrong(
        "padding counted",
        _with(lambda sums, counts, parts: _all_places(parts).mean(0)),
        "The mask plays no part: padding is learned from as if it were words.",
    ),
    Wrong(
        "padding counted",
        _with(lambda sums, counts, parts: _all_places(parts).sum(0) / sum(counts)),
        "The divisor counts words, but padding is still among what you add up.",
    ),
    Wrong(
        "mask turned round",
        _with(lambda sums, counts, parts: torch.cat([each[~real] for each, real in parts]).mean(0)),
        "You learn from the padding, and from no word. True means: counts.",
    ),
    Wrong(
        "only the last",
        _with(lambda sums, counts, parts: sums[-1] / counts[-1]),
        "Only the last micro-batch is left. Gradients gather by themselves, unless they are set to zero between.",
    ),
    Wrong(
        "only the last",
        _with(lambda sums, counts, parts: sums[-1] / sum(counts)),
        "The divisor is right, but only the last micro-batch is left of the sum. Is the gradient set to zero between?",
    ),
    Wrong(
        "only the last",
        _with(lambda sums, counts, parts: sums[-1] / counts[-1] / len(sums)),
        "Only the last micro-batch is left, and it is divided by the number of all.",
    ),
    Wrong("only the first", _with(lambda sums, counts, parts: sums[0] / counts[0]), "You return after the first micro-batch."),
    Wrong(
        "half",
        _with(lambda sums, counts, parts: sum(sums) / sum(counts) / 2),
        "That is half of it: the derivative of a square has a factor 2.",
    ),
    Wrong(
        "wrong sign",
        _with(lambda sums, counts, parts: -sum(sums) / sum(counts)),
        "The sign is wrong: that is the way down, where training goes. The gradient points up.",
    ),
    Wrong("the loss", _loss, "You return the loss. Asked for is its gradient, one number for each entry of w."),
    Symptom(
        "no word, no mean",
        lambda case, got: case.group == "empty" and bool(np.isnan(got[0]).all()),
        "A micro-batch without a word has no mean: 0/0 is NaN. It adds nothing to a sum.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    counts = [int(part.sum()) for part in np.split(case.args["mask"], case.args["n_micro"])]
    return f"The micro-batches hold {', '.join(map(str, counts))} words: print what you add up for each of them, and your divisor"


EXERCISE = Exercise(
    "9.7",
    "Mean of means",
    "debug",
    3,
    15,
    "build GPT from chapter 05's blocks, and its loss",
    (
        Property("values", "the gradient of the mean over all words, however they are divided", 2),
        Property("empty", "a micro-batch of padding alone"),
        Property("hard", "as many words in each, all in one micro-batch, float64"),
    ),
    draw,
    ArrayExaminer(("gradient",), WRONGS, advice=_advice),
    reference,
)
