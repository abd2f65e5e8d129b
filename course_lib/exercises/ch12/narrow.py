"""Exercise 12.4, a linear layer with a side road of low rank (LoRA, Hu et al. 2022, section 4.1)."""

from collections.abc import Callable

import numpy as np
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("output", "merged")


def reference(x: Tensor, W: Tensor, A: Tensor, B: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """The expected value of 12.4: h = W x + (α/r) B A x, and W + (α/r) B A, which gives the same."""
    scale = alpha / len(A)
    return x @ W.T + scale * (x @ A.T) @ B.T, W + scale * B @ A


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, sizes: tuple[int, int, int], alpha: float, note: str, *, dtype: str = "float32",
          layout: str = "C", shape: tuple[int, int] = (2, 3), fresh: bool = False) -> Case:
    """`sizes`: width in, width out, rank. `fresh`: B = 0, as before the first step."""
    width, out, rank = sizes
    W, A = rng.standard_normal((out, width)), rng.standard_normal((rank, width))
    B = rng.standard_normal((out, rank)) * (0 if fresh else 1)
    arrays = {"x": rng.standard_normal((*shape, width)), "W": W, "A": A, "B": B}
    return Case(group, {name: np.asarray(value, dtype, layout) for name, value in arrays.items()} | {"alpha": alpha}, note)


def _sizes(sizes: tuple[int, int, int], alpha: float) -> str:
    return f"{sizes[0]} in, {sizes[1]} out, rank {sizes[2]}, alpha {alpha:g}"


def draw(rng: np.random.Generator) -> list[Case]:
    rank = int(rng.integers(2, 5))
    values = [((6, 5, rank), 16.0), ((4, 7, 3), 8.0), ((5, 6, 2), 1.0)]
    square = [((rank, rank, rank), 12.0), ((4, 4, 4), 6.0)]
    return [
        *(_case(rng, "values", sizes, alpha, _sizes(sizes, alpha)) for sizes, alpha in values),
        *(_case(rng, "square", sizes, alpha, "widths and rank all " + str(sizes[0]), shape=(1, 5)) for sizes, alpha in square),
        _case(rng, "hard", (4, 6, 1), 2.0, "rank 1"),
        _case(rng, "hard", (5, 3, 2), 32.0, "B is 0, as before the first step", fresh=True),
        _case(rng, "hard", (6, 4, 3), 5.0, "float64, not contiguous", dtype="float64", layout="F", shape=(1, 2)),
    ]


# ---------------------------------------------------------------- mistakes

Scale = Callable[[float, int, int], float]      # alpha, rank, width in → what the side road is multiplied by


def _right(alpha: float, rank: int, width: int) -> float:
    return alpha / rank


def _with(scale: Scale = _right, merging: Scale | None = None, *, road: Callable = lambda x, A, B: (x @ A.T) @ B.T,
          product: Callable = lambda A, B: B @ A, base: float = 1, merged_base: float = 1, main: Callable = lambda x, W: x @ W.T,
          finish: Callable = lambda merged: merged) -> Callable:
    """A wrong answer: another scale in the output, in the merged weight, another road or product, a main road left out or changed."""

    def answer(x, W, A, B, alpha):
        sizes = (alpha, len(A), W.shape[1])
        out = base * main(x, W) + scale(*sizes) * road(x, A, B)
        return out, finish(merged_base * W + (merging or scale)(*sizes) * product(A, B))

    return answer


def _scaled_all(x, W, A, B, alpha):
    scale = alpha / len(A)
    return scale * (x @ W.T + x @ A.T @ B.T), scale * (W + B @ A)


def _weights_added(x, W, A, B, alpha):
    """The merged weight used, and the side road once more."""
    merged = reference(x, W, A, B, alpha)[1]
    return x @ merged.T + alpha / len(A) * x @ A.T @ B.T, merged


def _none(alpha: float, rank: int, width: int) -> float:
    return 0.0


def _one(alpha: float, rank: int, width: int) -> float:
    return 1.0


_SCALE = "The side road is scaled by alpha over the rank."
_NO_BASE = "The main road is missing: W x, to which the side road is added."
WRONGS = (
    Wrong("not divided by the rank", _with(lambda a, r, w: a), f"You multiply by alpha alone. {_SCALE}"),
    Wrong("scale turned round", _with(lambda a, r, w: r / a), f"You multiply by the rank over alpha. {_SCALE}"),
    Wrong("divided by alpha", _with(lambda a, r, w: 1 / a), f"You divide by alpha. {_SCALE}"),
    Wrong("divided by the rank alone", _with(lambda a, r, w: 1 / r), f"You divide by the rank, and alpha plays no part. {_SCALE}"),
    Wrong("divided by the width", _with(lambda a, r, w: a / w), f"You divide alpha by the width of the input. {_SCALE}"),
    Wrong(
        "divided by the root",
        _with(lambda a, r, w: a / r**0.5),
        f"You divide alpha by the root of the rank. That has been proposed, too; here it is the paper's. {_SCALE}",
    ),
    Wrong("no scale", _with(_one), f"There is no scale: alpha plays no part. {_SCALE}"),
    Wrong("scaled twice", _with(lambda a, r, w: (a / r) ** 2), f"The scale is there twice, at A and at B. {_SCALE}"),
    Wrong("merged without scale", _with(merging=_one), f"The output is right, but the merged weight has B A without its scale. {_SCALE}"),
    Wrong(
        "merged with alpha alone",
        _with(merging=lambda a, r, w: a),
        f"The output is right, but the merged weight has alpha B A. {_SCALE}",
    ),
    Wrong("output without scale", _with(_one, _right), f"The merged weight is right, but the output has the side road unscaled. {_SCALE}"),
    Wrong("nothing merged", _with(merging=_none), "Your merged weight is W. A layer with that weight alone is to give your output."),
    Wrong("no side road in the output", _with(_none, _right), "Your output is that of W alone: the side road is missing."),
    Wrong("no side road", _with(_none), "Neither output nor merged weight has a side road."),
    Wrong("main road missing", _with(base=0, merged_base=0), _NO_BASE),
    Wrong("main road missing", _with(base=0), f"The merged weight is right. In the output: {_NO_BASE}"),
    Wrong("W missing in the merge", _with(merged_base=0), "Your merged weight is the side road alone. W belongs to it."),
    Wrong("everything scaled", _scaled_all, "You scale W, too. The scale belongs to the side road: without a detour, W is as it was."),
    Wrong("added twice", _weights_added, "The side road is in your output twice: in the merged weight, and once more."),
    Wrong("subtracted", _with(lambda a, r, w: -a / r), "You subtract the side road. It is added."),
    Wrong(
        "merged turned round",
        _with(finish=lambda merged: merged.T),
        "Your merged weight is transposed: like W, it has a row for each output.",
    ),
    Wrong(
        "A and B exchanged",
        _with(road=lambda x, A, B: (x @ B) @ A, product=lambda A, B: (B @ A).T),
        "A and B have changed places or are transposed, which works where all sizes are equal. First A, from in to r; then B, to out.",
    ),
    Wrong(
        "A and B exchanged",
        _with(road=lambda x, A, B: (x @ B.T) @ A.T, product=lambda A, B: A @ B),
        "You go through B first, which works where all sizes are equal. First A, from in to r; then B, to out.",
    ),
    Wrong("merged A B", _with(product=lambda A, B: A @ B), "Your merged weight has A B, which fits where all sizes are equal. It is B A."),
    Wrong(
        "W transposed",
        _with(main=lambda x, W: x @ W),
        "You multiply by W as it is, which fits where widths are equal. W has a row for each output: x @ W.T.",
    ),
    Wrong(
        "nothing transposed",
        _with(main=lambda x, W: x @ W, road=lambda x, A, B: (x @ A) @ B),
        "No matrix is transposed, which fits where all sizes are equal. They have a row for each output.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    x, W, A, _, alpha = case.args.values()
    low = (x.reshape(-1, W.shape[1]) @ A.T)[0]
    return f"The scale is made of alpha = {alpha:g} and r = {len(A)}. Between A and B, the first word begins {number(low[0])}"


EXERCISE = Exercise(
    "12.4",
    "A narrow side road",
    "implement",
    2,
    12,
    "fine-tune a thousandth of the weights, and count them",
    (
        Property("values", "the output with the side road, and the merged weight", 2),
        Property("square", "widths and rank that are equal"),
        Property("hard", "rank 1, a side road that is 0, float64"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, advice=_advice),
    reference,
)
