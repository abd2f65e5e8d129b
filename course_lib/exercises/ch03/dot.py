"""Exercise 3.2, dot attention of many queries: a planted bug in the axis of the softmax."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import DotAttention, Memory
from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property

LARGE = "scores up to 120"


def reference(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The expected value of 3.2, by the course's DotAttention, one query at a time."""
    everywhere = torch.ones(keys.shape[:2], dtype=torch.bool)
    score = DotAttention(keys.shape[2], keys.shape[2], 0, 0)
    memory = Memory(keys, values, everywhere)
    return torch.stack([score(query, memory)[0] for query in queries.unbind(1)], dim=1)


def _dot_case(
    rng: np.random.Generator,
    group: str,
    sizes: Sequence[int],
    note: str = "",
    dtype: str = "float32",
    largest: float = 0.0,
    layout: str = "C",
) -> Case:
    batch, steps, words, d, e = sizes
    shapes = {"queries": (batch, steps, d), "keys": (batch, words, d), "values": (batch, words, e)}
    args = {
        name: np.asarray(rng.standard_normal(shape), dtype=dtype, order=layout)
        for name, shape in shapes.items()
    }
    if largest:
        scores = args["queries"] @ args["keys"].swapaxes(1, 2)
        args["queries"] *= largest / scores.flat[np.abs(scores).argmax()]
    return Case(group, args, note)


def _ones(case: Case) -> Case:
    """The same with values of 1: whatever a query asks, its mean is 1."""
    return replace(case, args={**case.args, "values": np.ones_like(case.args["values"])})


def _decided(rng: np.random.Generator) -> Case:
    """Every query has one key 60 ahead of the others: whoever competes is seen at any usual scale of the scores."""
    case = _dot_case(rng, "axis", (2, 5, 3, 4, 3), "one key far ahead")
    keys = np.linalg.qr(rng.standard_normal((2, 4, 4)))[0][:, :3] * 60**0.5  # orthogonal, and 60 with itself
    queries = np.stack([row[rng.integers(3, size=5)] for row in keys])
    return replace(case, args={**case.args, "queries": queries.astype("float32"), "keys": keys.astype("float32")})


def draw(rng: np.random.Generator) -> list[Case]:
    steps, words = (int(n) for n in rng.permutation(range(3, 8))[:2])
    return [
        _dot_case(rng, "values", (2, 4, 4, 3, 3), "as many queries as keys"),
        _dot_case(rng, "values", (3, steps, words, 4, 6), f"{steps} queries, {words} keys"),
        _dot_case(rng, "values", (3, 1, 5, 4, 2), "a single query"),
        _dot_case(rng, "values", (2, 4, 1, 3, 5), "a single key"),
        _ones(_dot_case(rng, "axis", (2, steps, words, 3, 4), "values of 1")),
        _decided(rng),
        _dot_case(rng, "values", (2, 5, 6, 4, 3), LARGE, largest=120),
        _dot_case(rng, "values", (2, 3, 5, 4, 2), "float64, not contiguous", dtype="float64", layout="F"),
    ]


def _dot_with(weigh: Callable[[Tensor], Tensor], read: Callable | None = None) -> Callable:
    def attend(queries, keys, values):
        return weigh(queries @ keys.transpose(1, 2)) @ (read(keys, values) if read else values)

    return attend


def _axis_message(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: the symptom in numbers; the cure is the student's."""
    scores = case.args["queries"].astype(np.float64) @ case.args["keys"].astype(np.float64).swapaxes(1, 2)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    sums = (weights / weights.sum(1, keepdims=True)).sum(2)
    return (
        f"The weights that query 0 gives to the keys sum to {number(sums[0, 0])}, not to 1: here it is not "
        "the keys that compete. It trains all the same, since later layers learn to live with any scale."
    )


def _compare_weights(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: are the weights others, or what is read?"""
    b, t, _ = first_off(got[0], expected[0])
    queries, keys = (case.args[name].astype(np.float64) for name in ("queries", "keys"))
    scores = keys[b] @ queries[b, t]
    weights = np.exp(scores - scores.max())
    row = ", ".join(map(number, weights / weights.sum()))
    return f"There query {t} of sentence {b} gives the keys the weights {row}: print yours"


WRONGS = (
    Wrong("softmax over the queries", _dot_with(lambda s: s.softmax(1)), _axis_message),
    Wrong(
        "softmax over the batch",
        _dot_with(lambda s: s.softmax(0)),
        "Your softmax runs over the batch (dim 0), so a sentence's weights depend on its neighbours. Use "
        "the last axis.",
    ),
    Wrong(
        "no softmax",
        _dot_with(lambda s: s),
        "There is no softmax: raw scores can be negative and sum to anything.",
    ),
    Wrong(
        "softmax over both",
        _dot_with(lambda s: s.flatten(1).softmax(1).view_as(s)),
        "Your softmax runs over queries and keys together: all T · S weights sum to 1, each query's should.",
    ),
    Wrong(
        "normalised over the queries",
        _dot_with(lambda s: (w := s.softmax(2)) / w.sum(1, keepdim=True)),
        "After the softmax you divide by the sum over the queries, and the rows no longer sum to 1.",
    ),
    Wrong(
        "hard choice",
        _dot_with(lambda s: torch.nn.functional.one_hot(s.argmax(2), s.shape[2]).to(s.dtype)),
        "You take the value of the best key alone. Attention is a weighted mean, or no gradient could pass.",
    ),
    Wrong(
        "scaled",
        lambda q, k, v: (q @ k.transpose(1, 2) / k.shape[2] ** 0.5).softmax(2) @ v,
        "You divide the scores by √D. That comes in chapter 04; this is Luong's dot product as it stands.",
    ),
    Wrong(
        "scaled over the queries",
        lambda q, k, v: (q @ k.transpose(1, 2) / k.shape[2] ** 0.5).softmax(1) @ v,
        "Scaling does not help: your softmax still runs over the queries (dim 1) instead of the keys "
        "(dim 2).",
    ),
    Wrong(
        "divided by D",
        lambda q, k, v: (q @ k.transpose(1, 2) / k.shape[2]).softmax(2) @ v,
        "You divide the scores by D; this is Luong's dot product as it stands.",
    ),
    Wrong(
        "sigmoid",
        _dot_with(lambda s: s.sigmoid()),
        "You weigh with a sigmoid, so the keys do not compete and a row sums to anything: softmax.",
    ),
    Wrong(
        "log_softmax",
        _dot_with(lambda s: s.log_softmax(2)),
        "You weigh with log-probabilities, which are negative: weights are softmax, not log_softmax.",
    ),
    Wrong(
        "keys read",
        _dot_with(lambda s: s.softmax(2), lambda keys, values: keys),
        "You average the keys. Keys are for comparing; what is read are the values.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[0]).all(),
        "exp of a large score overflows. Take off the row's maximum first, as softmax does; nothing else "
        "changes.",
    ),
    Wrong(
        "uniform",
        _dot_with(lambda s: torch.full_like(s, 1 / s.shape[2])),
        "All your weights are equal: the queries play no part.",
    ),
    Wrong(
        "smallest score wins",
        _dot_with(lambda s: (-s).softmax(2)),
        "The sign is wrong: the least similar key wins.",
    ),
)


EXERCISE = Exercise(
    "3.2",
    "Who competes with whom?",
    "debug",
    2,
    10,
    "name the axis on which a softmax normalises",
    (
        Property("axis", "each query divides its attention among the keys, at any scale", 2),
        Property("values", "the means: one or many queries and keys, large scores, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(("output",), WRONGS, advice=_compare_weights),
    reference,
)
