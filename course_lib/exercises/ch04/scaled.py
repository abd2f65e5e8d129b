"""Exercise 4.1, scaled dot-product attention with a mask that broadcasts."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import masked_softmax, scaled_dot_product_attention
from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, difference, number
from course_lib.exercises.spec import Case, Exercise, Property

LARGE = "scaled scores up to 200"


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


def hidden_of(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """True where a query must not look, in the full shape (B, H, T, S)."""
    mask = case.args["mask"]
    return np.zeros(shape, dtype=bool) if mask is None else np.broadcast_to(~mask, shape)


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
            return _leak(leak)
        sums, right = weights.sum(3), expected[1].sum(3)
        if (off := np.argwhere(np.abs(sums - right) > 1e-3)).size:
            row = tuple(int(i) for i in off[0])
            return f"weights[{', '.join(map(str, row))}] sum to {number(sums[row])}, expected {number(right[row])}"
    return difference(names[::-1], got[::-1], expected[::-1])


def _leak(leak: np.ndarray) -> str:
    b, h, t, s = np.unravel_index(leak.argmax(), leak.shape)
    return (
        f"sentence {b}, head {h}: query {t} attends to key {s}, which the mask hides: "
        f"weight {number(leak[b, h, t, s])}, not exactly 0"
    )


# ---------------------------------------------------------------- misconceptions


def _by_root(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q @ k.mT / q.shape[-1] ** 0.5


def _weigh(scores: Tensor, mask: Tensor | None) -> Tensor:
    return scores.softmax(-1) if mask is None else masked_softmax(scores, mask)


def _with(
    weigh: Callable[[Tensor, Tensor | None], Tensor] = _weigh,
    score: Callable[[Tensor, Tensor, Tensor], Tensor] = _by_root,
) -> Callable:
    """A wrong attention: another way from scores to weights, or another score."""

    def attend(query, key, value, mask):
        weights = weigh(score(query, key, value), mask)
        return weights @ value, weights

    return attend


def _over(power: Callable[[Tensor, Tensor, Tensor], float]) -> Callable:
    """Dot products divided by something else than √D."""
    return _with(score=lambda q, k, v: q @ k.mT / power(q, k, v))


def _filled(scores: Tensor, mask: Tensor | None, fill: float, dim: int = -1) -> Tensor:
    return (scores if mask is None else scores.masked_fill(~mask, fill)).softmax(dim)


def _times(weights: Tensor, mask: Tensor | None) -> Tensor:
    return weights if mask is None else weights * mask


def _renormalised(scores: Tensor, mask: Tensor | None) -> Tensor:
    weights = _times(scores.softmax(-1), mask)
    return weights / weights.sum(-1, keepdim=True)


def _hidden_alone(case: Case, got: Arrays) -> bool:
    """True if queries that may see some keys and not others give all their weight to the others."""
    if case.args["mask"] is None or got[1].shape != (*case.args["query"].shape[:3], case.args["key"].shape[2]):
        return False
    hidden = hidden_of(case, got[1].shape)
    mixed = hidden.any(3) & ~hidden.all(3)
    weights, away = got[1][mixed], hidden[mixed]
    return bool((np.abs(weights.sum(1) - 1) < 1e-3).all() and np.abs(weights[~away]).max() < 1e-3)


def _after(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    weights = _weigh(q @ k.mT, mask) / q.shape[-1] ** 0.5
    return weights @ v, weights


def _root_message(said: str) -> Callable[[Case, Arrays, Arrays], str]:
    """What was done to the dot products, with the largest weight of one query beside the due one."""

    def message(case: Case, got: Arrays, expected: Arrays) -> str:
        row = np.unravel_index(np.abs(got[1] - expected[1]).max(3).argmax(), got[1].shape[:3])
        mine, due = number(got[1][row].max()), number(expected[1][row].max())
        place = f"sentence {row[0]}, head {row[1]}, query {row[2]}"
        return f"{said} ({place}: the largest weight is {mine}, expected {due})"

    return message


def _sums_message(case: Case, got: Arrays, expected: Arrays) -> str:
    sums = got[1].sum(3)
    row = tuple(int(i) for i in np.unravel_index(np.abs(sums - 1).argmax(), sums.shape))
    return (
        "The mask comes after the softmax and nobody renormalises: "
        f"weights[{', '.join(map(str, row))}] sum to {number(sums[row])}. Hide the scores, before the softmax."
    )


def _leak_message(start: str) -> Callable[[Case, Arrays, Arrays], str]:
    def message(case: Case, got: Arrays, expected: Arrays) -> str:
        leak = np.where(hidden_of(case, got[1].shape), got[1], 0)
        found = _leak(leak)
        return f"{start} ({case.note}: {found})"

    return message


def _column_message(case: Case, got: Arrays, expected: Arrays) -> str:
    return (
        f"Your softmax runs over the queries (dim −2): weights[0, 0, 0] sum to {number(got[1][0, 0, 0].sum())}. "
        "The keys compete for one query's attention: dim −1."
    )


WRONGS = (
    Wrong(
        "not scaled",
        _over(lambda q, k, v: 1.0),
        _root_message(
            "The root is missing: the dot products are not divided by √D, so the weights are too sharp, the "
            "more the wider the heads"
        ),
    ),
    Wrong(
        "divided by D",
        _over(lambda q, k, v: q.shape[-1]),
        _root_message(
            "You divide by D. A sum of D products has standard deviation √D: divided by D the scores shrink "
            "towards 0 and the weights towards equal ones"
        ),
    ),
    Wrong(
        "divided by √S",
        _over(lambda q, k, v: k.shape[-2] ** 0.5),
        _root_message(
            "You divide by √S, the number of keys. What is added up in a dot product are the D features of a "
            "query and a key: √D"
        ),
    ),
    Wrong(
        "divided by √T",
        _over(lambda q, k, v: q.shape[-2] ** 0.5),
        _root_message("You divide by √T, the number of queries; a dot product adds up D features: √D"),
    ),
    Wrong(
        "divided by √E",
        _over(lambda q, k, v: v.shape[-1] ** 0.5),
        _root_message(
            "You divide by √E, the width of the values. The dot product adds up the D features of query and "
            "key: √D"
        ),
    ),
    Wrong(
        "divided by √(H·D)",
        _over(lambda q, k, v: (q.shape[1] * q.shape[-1]) ** 0.5),
        _root_message(
            "You divide by √(H·D), the width of all heads together. Each head's dot product adds up its own D "
            "features: √D"
        ),
    ),
    Wrong(
        "multiplied by √D",
        _over(lambda q, k, v: q.shape[-1] ** -0.5),
        _root_message("You multiply by √D instead of dividing by it"),
    ),
    Wrong(
        "divided after the softmax",
        _after,
        "You divide the weights by √D, after the softmax, so that they no longer sum to 1. Divide the scores",
    ),
    Wrong("softmax over the queries", _with(lambda s, m: _filled(s, m, -torch.inf, -2)), _column_message),
    Wrong(
        "softmax over the queries",
        _with(lambda s, m: _filled(s, m, -torch.inf, -2).nan_to_num()),
        _column_message,
    ),
    Wrong("masked after the softmax", _with(lambda s, m: _times(s.softmax(-1), m)), _sums_message),
    Wrong(
        "masked score set to 0",
        _with(lambda s, m: _filled(s, m, 0.0)),
        _leak_message(
            "A hidden score of 0 (or −1e-9, which is as good as 0) still gets exp(0) = 1 before it is "
            "normalised; only −∞ gets nothing."
        ),
    ),
    Wrong("no mask", _with(lambda s, m: s.softmax(-1)), _leak_message("The mask is not used.")),
    Symptom(
        "mask turned round",
        _hidden_alone,
        "The mask is turned round: True means may attend, and your queries attend to the hidden keys alone.",
    ),
    Wrong(
        "empty row is NaN",
        _with(lambda s, m: _filled(s, m, -torch.inf)),
        "A query that may see no key leaves the softmax nothing but −∞, and 0/0 is NaN. Nothing to attend to "
        "means weights 0 and output 0: fill them in after the softmax.",
    ),
    Wrong(
        "empty row is uniform",
        _with(lambda s, m: _filled(s, m, -1e9)),
        _leak_message(
            "A query that may see no key got equal weights; it has to get zeros. That comes, for instance, from "
            "filling with one large negative number: in such a row all keys are equal again."
        ),
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[1]).all(),
        "exp of a large score overflows. Take off the row's maximum first, as softmax does; nothing else changes.",
    ),
    Wrong(
        "masked, then renormalised",
        _with(_renormalised),
        "You mask after the softmax and divide by the new sum. Where hidden keys take all the weight that sum is "
        "0, and always for a query that may see no key: hide the scores with −∞ before the softmax.",
    ),
    Wrong(
        "no softmax",
        _with(lambda s, m: _times(s, m)),
        "There is no softmax: raw scores can be negative and sum to anything.",
    ),
    Wrong(
        "keys read",
        lambda q, k, v, m: ((w := _weigh(_by_root(q, k, v), m)) @ k, w),
        "You average the keys. Keys are for comparing; what is read are the values.",
    ),
)


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
