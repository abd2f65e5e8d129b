"""What goes wrong in exercise 4.1: named mistakes as functions and signs, and what to say to each."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import masked_softmax
from course_lib.exercises.judging import Arrays, Symptom, Wrong, number
from course_lib.exercises.spec import Case

LARGE = "scaled scores up to 200"


def hidden_of(case: Case, shape: tuple[int, ...]) -> np.ndarray:
    """True where a query must not look, in the full shape (B, H, T, S)."""
    mask = case.args["mask"]
    return np.zeros(shape, dtype=bool) if mask is None else np.broadcast_to(~mask, shape)


def say_leak(leak: np.ndarray) -> str:
    """The largest weight on a hidden key, in words."""
    b, h, t, s = np.unravel_index(leak.argmax(), leak.shape)
    return (
        f"sentence {b}, head {h}: query {t} attends to key {s}, which the mask hides: "
        f"weight {number(leak[b, h, t, s])}, not exactly 0"
    )


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
        found = say_leak(leak)
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
    *(
        Wrong("softmax over the heads", _with(weigh), "Your softmax runs over the heads (dim 1); the keys compete: dim −1.")
        for weigh in (lambda s, m: _filled(s, m, -torch.inf, 1), lambda s, m: _filled(s, m, -torch.inf, 1).nan_to_num())
    ),
    Wrong(
        "mask added",
        _with(lambda s, m: (s if m is None else s + m).softmax(-1)),
        "The mask is added to the scores, where True counts 1: hidden keys only fall back a little.",
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
