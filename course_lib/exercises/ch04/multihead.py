"""Exercise 4.6, a whole layer of multi-head attention from its four matrices."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from course_lib.attention import MultiHeadAttention
from course_lib.exercises.ch04.multihead_mistakes import WRONGS, compare_first
from course_lib.exercises.judging import ArrayExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(
    x: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, W_o: Tensor, n_heads: int, causal: bool
) -> Tensor:
    """The expected value of 4.6, by the course's MultiHeadAttention (whose maps have biases: here 0)."""
    width = x.shape[2]
    zero = x.new_zeros(width)
    weights = {
        "query.weight": W_q,
        "query.bias": zero,
        "key_value.weight": torch.cat([W_k, W_v]),
        "key_value.bias": torch.cat([zero, zero]),
        "out.weight": W_o,
        "out.bias": zero,
    }
    return functional_call(MultiHeadAttention(width, n_heads), weights, (x,), {"causal": causal})


def _case(
    rng: np.random.Generator,
    group: str,
    sizes: Sequence[int],
    causal: bool,
    note: str = "",
    dtype: str = "float32",
    layout: str = "C",
) -> Case:
    batch, steps, heads, width = sizes
    d_model = heads * width
    args: dict = {"x": np.asarray(rng.standard_normal((batch, steps, d_model)), dtype, layout)}
    for name in ("W_q", "W_k", "W_v", "W_o"):
        matrix = 1.5 * rng.standard_normal((d_model, d_model)) / d_model**0.5
        args[name] = np.asarray(matrix, dtype, layout)
    full = f"{note}, causal={causal}" if note else f"causal={causal}"
    return Case(group, {**args, "n_heads": heads, "causal": causal}, full)


def draw(rng: np.random.Generator) -> list[Case]:
    steps, heads, width = (int(n) for n in rng.permutation((3, 4, 5)))
    same = "as many words as heads"
    return [
        _case(rng, "values", (2, steps, heads, width), False),
        _case(rng, "values", (3, 4, 4, 2), False, same),
        _case(rng, "causal", (2, steps, heads, width), True),
        _case(rng, "causal", (3, 4, 4, 2), True, same),
        _case(rng, "hard", (2, 5, 1, 6), True, "one head"),
        _case(rng, "hard", (2, 1, 3, 2), True, "one word"),
        _case(rng, "hard", (1, 4, 3, 4), False, "float64, not contiguous", dtype="float64", layout="F"),
    ]


EXERCISE = Exercise(
    "4.6",
    "Multi-head attention, whole",
    "implement",
    3,
    20,
    "split, run and merge heads, and count their parameters",
    (
        Property("values", "several heads, every word sees every word", 2),
        Property("causal", "several heads, no word sees a later one", 2),
        Property("hard", "one head, one word, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(("output",), WRONGS, advice=compare_first),
    reference,
)
