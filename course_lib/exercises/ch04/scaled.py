"""Exercise 4.1, scaled dot-product attention with a mask that broadcasts."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from course_lib.attention import scaled_dot_product_attention
from course_lib.exercises.ch04.scaled_mistakes import LARGE, WRONGS, hidden_of, say_leak
from course_lib.exercises.judging import ArrayExaminer, Arrays, difference, number
from course_lib.exercises.spec import Case, Exercise, Property


def reference(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The expected value of 4.1, by the course's scaled_dot_product_attention."""
    return scaled_dot_product_attention(query, key, value, mask)


def _case(
    rng: np.random.Generator,
    group: str,
    sizes: Sequence[int],
    mask: np.ndarray | None,
    note: str,
    dtype: str = "float32",
    layout: str = "C",
) -> Case:
    batch, heads, queries, keys, d, e = sizes
    shapes = {
        "query": (batch, heads, queries, d),
        "key": (batch, heads, keys, d),
        "value": (batch, heads, keys, e),
    }
    args = {
        name: np.asarray(rng.standard_normal(shape), dtype=dtype, order=layout)
        for name, shape in shapes.items()
    }
    scores = args["query"] @ args["key"].swapaxes(2, 3) / d**0.5
    args["query"] *= 4 / np.abs(scores).max()
    return Case(group, {**args, "mask": mask}, note)


def _large_case(rng: np.random.Generator) -> Case:
    """Query 0 has a score of 200 with a key that it may not see, the others one of 200 with a key they may."""
    case = _case(rng, "hard", (2, 2, 4, 6, 5, 3), _random_mask(rng, 2, 2, 4, 6), LARGE)
    query, key, mask = (case.args[name] for name in ("query", "key", "mask"))
    norms = np.linalg.norm(key, axis=3)
    key[:, :, 0] *= (3 * norms.max(2) / norms[:, :, 0])[..., None]  # so that no other key comes near
    query[:, :, 0] = key[:, :, 0]
    mask[:, :, 0, :2] = False, True
    scores = query @ key.swapaxes(2, 3) / query.shape[3] ** 0.5
    mask[:, :, 1:] |= scores[:, :, 1:] == scores[:, :, 1:].max(3, keepdims=True)
    query *= 200 / scores.max(3, keepdims=True)
    return case


def _random_mask(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """About half True; every row has a True and a False."""
    mask = rng.random(shape) < 0.5
    mask[..., 0] = rng.random(shape[:-1]) < 0.5
    mask[..., 1] = ~mask[..., 0]
    return mask


def draw(rng: np.random.Generator) -> list[Case]:
    queries, keys, d, e = (int(n) for n in rng.permutation((3, 5, 6, 7)))
    padding = np.arange(6) < np.array([6, 2, 4])[:, None, None, None]
    empty = _random_mask(rng, 2, 1, 5, 4)
    empty[0, 0, 3] = empty[1, 0, 0] = False
    return [
        _case(rng, "values", (2, 3, queries, keys, d, e), None, "mask=None"),
        _case(rng, "values", (2, 2, 4, 4, 4, 4), None, "mask=None, all sizes equal"),
        _case(rng, "mask", (2, 3, 5, 6, 3, 4), _random_mask(rng, 2, 1, 5, 6), "a mask (B, 1, T, S)"),
        _case(rng, "mask", (3, 2, 4, 6, 5, 3), padding, "a padding mask (B, 1, 1, S)"),
        _case(rng, "mask", (2, 2, 5, 5, 4, 3), np.tri(5, dtype=bool), "a causal mask (T, T)"),
        _case(rng, "empty", (2, 2, 5, 4, 3, 6), empty, "a query that may see no key"),
        _large_case(rng),
        _case(
            rng,
            "hard",
            (1, 2, 3, 5, 4, 6),
            _random_mask(rng, 1, 1, 3, 5),
            "float64, not contiguous",
            dtype="float64",
            layout="F",
        ),
        _case(rng, "hard", (2, 1, 1, 4, 3, 5), None, "a single query"),
    ]


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but hidden keys must get exactly 0, and the weights are looked at first."""
    shapes, due = [g.shape for g in got], [e.shape for e in expected]
    if shapes == due[::-1] != due:
        return "you return (weights, output), expected (output, weights)"
    if shapes == due:
        weights, hidden = got[1], hidden_of(case, got[1].shape)
        if np.isnan(weights).any():
            row = tuple(int(i) for i in np.argwhere(np.isnan(weights))[0, :3])
            cause = ": a query that may see no key gets zeros" if hidden[row].all() else ""
            return f"weights[{', '.join(map(str, row))}] is NaN{cause}"
        if (leak := np.where(hidden, np.abs(weights), 0)).any():
            return say_leak(leak)
        sums, right = weights.sum(3), expected[1].sum(3)
        if (off := np.argwhere(np.abs(sums - right) > 1e-3)).size:
            row = tuple(int(i) for i in off[0])
            return f"weights[{', '.join(map(str, row))}] sum to {number(sums[row])}, expected {number(right[row])}"
    return difference(names[::-1], got[::-1], expected[::-1])


EXERCISE = Exercise(
    "4.1",
    "Scaled dot-product attention",
    "implement",
    3,
    20,
    "compute scaled dot-product attention by hand and in code",
    (
        Property("values", "output and weights without a mask", 2),
        Property("mask", "hidden keys get exactly 0, the rest sums to 1, at any shape that broadcasts"),
        Property("empty", "a query that may see no key gets zeros, not NaN"),
        Property("hard", "large scores, float64, non-contiguous, a single query"),
    ),
    draw,
    ArrayExaminer(("output", "weights"), WRONGS, _differs),
    reference,
)
