"""The step of exercise 5.3 by the course's own parts, and its draws."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from course_lib.attention import KVCache, MultiHeadAttention
from course_lib.exercises.spec import Case


def reference(
    x: Tensor, keys: Tensor, values: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, W_o: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The expected value of 5.3, by the course's MultiHeadAttention and KVCache (the maps' biases are 0 here)."""
    width, cache, zero = x.shape[1], KVCache(), x.new_zeros(x.shape[1])
    cache.append(keys, values)
    weights = {
        "query.weight": W_q,
        "query.bias": zero,
        "key_value.weight": torch.cat([W_k, W_v]),
        "key_value.bias": torch.cat([zero, zero]),
        "out.weight": W_o,
        "out.bias": zero,
    }
    layer = MultiHeadAttention(width, keys.shape[1])
    y = functional_call(layer, weights, (x[:, None],), {"causal": True, "cache": cache})
    return y[:, 0], *cache.read()


def _case(
    rng: np.random.Generator,
    group: str,
    sizes: Sequence[int],
    note: str = "",
    dtype: str = "float32",
    layout: str = "C",
) -> Case:
    """`sizes`: sentences, heads, words so far, width of a head. The cache holds what earlier words brought."""
    batch, heads, past, width = sizes
    d_model = heads * width
    args = {
        "x": rng.standard_normal((batch, d_model)),
        "keys": 1.5 * rng.standard_normal((batch, heads, past, width)),
        "values": rng.standard_normal((batch, heads, past, width)),
    }
    for name in ("W_q", "W_k", "W_v", "W_o"):
        args[name] = 1.5 * rng.standard_normal((d_model, d_model)) / d_model**0.5
    args = {name: np.asarray(value, dtype, layout) for name, value in args.items()}
    return Case(group, args, note or f"{past} words so far")


def draw(rng: np.random.Generator) -> list[Case]:
    heads, past, width = (int(n) for n in rng.permutation((3, 4, 5)))
    return [
        _case(rng, "values", (2, heads, past, width)),
        _case(rng, "values", (3, 3, 3, 3), "sentences, heads, words so far, width: all 3"),
        _case(rng, "values", (2, 2, 7, 6)),
        _case(rng, "empty", (2, 3, 0, 4), "an empty cache"),
        _case(rng, "empty", (1, 2, 0, 3), "an empty cache, one sentence"),
        _case(rng, "hard", (3, 1, 4, 5), "one head"),
        _case(rng, "hard", (2, 4, 1, 2), "one word so far"),
        _case(rng, "hard", (1, 2, 5, 3), "float64, not contiguous", dtype="float64", layout="F"),
    ]
