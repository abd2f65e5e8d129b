"""Exercise 3.1, additive attention with a mask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from course_lib.attention import AdditiveAttention, Memory, masked_softmax
from course_lib.exercises.answers import Output
from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, difference, number
from course_lib.exercises.spec import Case, Exercise, Property

LARGE = "scores up to 120"


def reference(
    query: Tensor, keys: Tensor, mask: Tensor, W: Tensor, U: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """The expected value of 3.1, by the course's AdditiveAttention (whose key map has a bias: here 0)."""
    module = AdditiveAttention(query.shape[1], keys.shape[2], 0, len(v)).to(keys.dtype)
    weights = {"query.weight": W, "key.weight": U, "key.bias": torch.zeros_like(v), "score": v}
    memory = Memory(keys @ U.T, keys, mask)
    return functional_call(module, weights, (query, memory))


def _additive_case(
    rng: np.random.Generator,
    group: str,
    lengths: Sequence[int],
    note: str = "",
    dtype: str = "float32",
    square: bool = False,
    largest: float = 4.0,
    layout: str = "C",
) -> Case:
    a, q, e = (5, 5, 5) if square else (int(n) for n in rng.permutation(range(3, 8))[:3])
    batch, longest = len(lengths), max(lengths)
    shapes = {"query": (batch, q), "keys": (batch, longest, e), "W": (a, q), "U": (a, e), "v": (a,)}
    args = {
        name: np.asarray(rng.standard_normal(shape), dtype=dtype, order=layout)
        for name, shape in shapes.items()
    }
    mask = np.arange(longest) < np.array(lengths)[:, None]
    scores = _scores(args) * mask
    args["v"] *= largest / scores.flat[np.abs(scores).argmax()]
    order = ("query", "keys", "mask", "W", "U", "v")
    return Case(group, {name: mask if name == "mask" else args[name] for name in order}, note)


def _scores(args: dict[str, np.ndarray]) -> np.ndarray:
    return np.tanh((args["query"] @ args["W"].T)[:, None] + args["keys"] @ args["U"].T) @ args["v"]


def _outshone(rng: np.random.Generator) -> Case:
    """Large scores, and a row whose only word would get exactly 0 beside its padding in float32."""
    while True:
        case = _additive_case(rng, "hard", (5, 3, 1), LARGE, largest=120)
        word, *padding = _scores(case.args)[2]
        if max(padding) - word > 110:  # exp(−104) is below the smallest float32
            return case


def draw(rng: np.random.Generator) -> list[Case]:
    longest = int(rng.integers(5, 8))
    return [
        _additive_case(rng, "values", (longest,) * 3),
        _additive_case(rng, "values", (6,) * 4, "all widths equal", square=True),
        _additive_case(rng, "padding", (longest, 2, longest - 2)),
        _additive_case(rng, "padding", (3, 6, 1, 4), "all widths equal", square=True),
        _additive_case(rng, "empty", (4, 0, 2), "a row with no word at all"),
        _additive_case(rng, "hard", (1,), "one sentence of one word"),
        _outshone(rng),
        _additive_case(rng, "hard", (4, 6, 2), "float64, not contiguous", dtype="float64", layout="F"),
    ]


def _additive_differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but padding must get exactly 0, and the weights are looked at first."""
    shapes, due = [g.shape for g in got], [e.shape for e in expected]
    if shapes == due[::-1] != due:
        return "you return (weights, context), expected (context, weights)"
    if shapes == due:
        weights, padding = got[1], ~case.args["mask"]
        if np.isnan(weights).any():
            row = int(np.argwhere(np.isnan(weights))[0, 0])
            due = ": a row without a word must give zeros" if padding[row].all() else ""
            return f"row {row} of the weights is NaN{due}"
        if (leak := np.where(padding, np.abs(weights), 0)).any():
            b, s = np.unravel_index(leak.argmax(), leak.shape)
            return f"row {b} attends to padding: weight {number(weights[b, s])} at key {s}, not exactly 0"
        sums = weights.sum(1)
        off = np.argwhere(np.abs(sums - expected[1].sum(1)) > 1e-3)
        if off.size:
            b = int(off[0, 0])
            return f"the weights of row {b} sum to {number(sums[b])}, expected {number(expected[1][b].sum())}"
    return difference(names[::-1], got[::-1], expected[::-1])


def _energy(query, keys, W, U, v):
    return torch.tanh((query @ W.T)[:, None] + keys @ U.T) @ v


def _additive_with(
    weigh: Callable[[Tensor, Tensor], Tensor] = masked_softmax,
    energy: Callable[..., Tensor] = _energy,
    read: Callable[[Tensor, Tensor], Tensor] = lambda keys, U: keys,
) -> Callable:
    """A wrong attention: another way from scores to weights, another score, or another value read."""

    def attend(query, keys, mask, W, U, v):
        weights = weigh(energy(query, keys, W, U, v), mask)
        return (weights[:, None] @ read(keys, U)).squeeze(1), weights

    return attend


def _normalised_then_masked(scores, mask):
    return scores.softmax(1) * mask


def _renormalised(scores, mask):
    weights = scores.softmax(1) * mask
    return weights / weights.sum(1, keepdim=True)


def _zero_score(scores, mask):
    return (scores * mask).softmax(1)


def _padding_alone(case: Case, got: Arrays) -> bool:
    """True if rows of words and padding give all their weight to the padding."""
    mask = case.args["mask"]
    mixed = mask.any(1) & ~mask.all(1)
    if got[1].shape != mask.shape or not mixed.any():
        return False
    weights, words = got[1][mixed], mask[mixed]
    return bool((np.abs(weights.sum(1) - 1) < 1e-3).all() and np.abs(weights[words]).max() < 1e-3)


def _sums_message(case: Case, got: Arrays, expected: Arrays) -> str:
    sums = got[1].sum(1)
    b = int(np.abs(sums - 1).argmax())
    return (
        f"The mask comes after the softmax and nobody renormalises: the weights of row {b} sum to "
        f"{number(sums[b])}. Mask the scores with −∞ before the softmax."
    )


def _leak_message(start: str) -> Callable[[Case, Arrays, Arrays], str]:
    def message(case: Case, got: Arrays, expected: Arrays) -> str:
        leak = np.where(case.args["mask"], 0, got[1])
        b, s = np.unravel_index(leak.argmax(), leak.shape)
        return f"{start} Row {b} attends to padding: weight {number(leak[b, s])} at key {s}."

    return message


def _batch_message(case: Case, got: Arrays, expected: Arrays) -> str:
    return (
        f"Your softmax runs over the batch (dim 0): the sentences compete for a place, and row 0 sums to "
        f"{number(got[1][0].sum())}. The words of one sentence compete: dim 1."
    )


_RENORMALISED = (
    "You mask after the softmax and divide by the new sum. Where padding takes all the weight that sum is 0, and "
    "always in a row without a word: mask the scores with −∞ before the softmax."
)

WRONGS = (
    Wrong(
        "softmax over the batch",
        _additive_with(lambda s, m: s.masked_fill(~m, -torch.inf).softmax(0)),
        _batch_message,
    ),
    Wrong(
        "softmax over the batch",
        _additive_with(lambda s, m: s.masked_fill(~m, -torch.inf).softmax(0).nan_to_num()),
        _batch_message,
    ),
    Wrong("masked after the softmax", _additive_with(_normalised_then_masked), _sums_message),
    Wrong(
        "masked score set to 0",
        _additive_with(_zero_score),
        _leak_message(
            "A masked score of 0 (or −1e-9, which is 0 as well) still gets weight exp(0) = 1 "
            "before it is normalised; it has to be −∞."
        ),
    ),
    Wrong("no mask", _additive_with(lambda s, m: s.softmax(1)), _leak_message("The mask is not used.")),
    Symptom(
        "mask turned round",
        _padding_alone,
        "The mask is turned round: True means may attend, and you attend to the padding alone.",
    ),
    Wrong(
        "empty row is NaN",
        _additive_with(lambda s, m: s.masked_fill(~m, -torch.inf).softmax(1)),
        "A row without a word leaves nothing to divide by, and 0/0 is NaN, in a softmax of nothing but −∞ as "
        "well. Nothing to attend to means weights 0 and context 0: fill them in after the softmax.",
    ),
    Wrong(
        "empty row is uniform",
        _additive_with(lambda s, m: s.masked_fill(~m, -1e9).softmax(1)),
        _leak_message(
            "A row without a word got equal weights; it has to get zeros. That comes, for instance, from "
            "filling with one large negative number: in such a row all places are equal again."
        ),
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and bool(np.isnan(got[1]).any()),
        "exp of a large score overflows. Take off the row's maximum first, as softmax does; nothing else "
        "changes.",
    ),
    Wrong("masked, then renormalised", _additive_with(_renormalised), _RENORMALISED),
    Wrong("masked, then renormalised", _additive_with(lambda s, m: _renormalised(s, m).nan_to_num()), _RENORMALISED),
    Wrong(
        "tanh of the score",
        _additive_with(energy=lambda q, k, W, U, v: torch.tanh(((q @ W.T)[:, None] + k @ U.T) @ v)),
        "The tanh stands outside the product with v. It acts on the A numbers of W s + U h; then v makes one "
        "score of them.",
    ),
    Wrong(
        "no tanh",
        _additive_with(energy=lambda q, k, W, U, v: ((q @ W.T)[:, None] + k @ U.T) @ v),
        "There is no tanh. Without it the query's part of the score is the same for every word, and the "
        "softmax drops it: the decoder could not ask for anything.",
    ),
    Wrong(
        "query not used",
        _additive_with(energy=lambda q, k, W, U, v: torch.tanh(k @ U.T) @ v),
        "The query plays no part in your scores, so every step of the decoder would attend to the same "
        "words.",
    ),
    Wrong(
        "W and U swapped",
        _additive_with(energy=lambda q, k, W, U, v: _energy(q, k, U, W, v)),
        "W and U are swapped: W projects the query, U the keys. Only where Q = E this goes unnoticed.",
    ),
    Wrong(
        "query projected with U",
        _additive_with(energy=lambda q, k, W, U, v: _energy(q, k, U, U, v)),
        "You project the query with U, the map of the keys; W is never used.",
    ),
    Wrong(
        "multiplied instead of added",
        _additive_with(energy=lambda q, k, W, U, v: torch.tanh((q @ W.T)[:, None] * (k @ U.T)) @ v),
        "You multiply the two projections. In additive attention they are added inside the tanh.",
    ),
    Wrong(
        "projections not transposed",
        _additive_with(energy=lambda q, k, W, U, v: _energy(q, k, W.T, U.T, v)),
        "W and U act from the wrong side: W s for a row vector s is s @ W.T. Only square maps let this pass.",
    ),
    Wrong(
        "context from projected keys",
        _additive_with(read=lambda k, U: k @ U.T),
        "Your context averages the projected keys U h. U is there to compare; what is read is the "
        "annotation h itself.",
    ),
    Wrong(
        "scores divided by √A",
        _additive_with(energy=lambda q, k, W, U, v: _energy(q, k, W, U, v) / len(v) ** 0.5),
        "You divide the scores by √A. That belongs to dot products (chapter 04); the tanh already bounds "
        "these scores.",
    ),
)


@dataclass(frozen=True)
class AdditiveExaminer(ArrayExaminer):
    """Says to shapes that do not fit what the exercise says to them, too."""

    def parse(self, output: Output) -> tuple[Arrays, str]:
        got, problem = super().parse(output)
        unfit = "must match the size of tensor" in problem or "shapes cannot be multiplied" in problem
        return got, f"{problem}. Print the shapes of the two projections before you add them" if unfit else problem


EXERCISE = Exercise(
    "3.1",
    "Additive attention",
    "implement",
    3,
    20,
    "compute attention weights that sum to 1 over real words",
    (
        Property("values", "weights and context", 2),
        Property("padding", "padding gets exactly 0, the rest sums to 1"),
        Property("empty", "a row with no word gives zeros, not NaN"),
        Property("hard", "one word, large scores, float64, non-contiguous"),
    ),
    draw,
    AdditiveExaminer(("context", "weights"), WRONGS, _additive_differs),
    reference,
)
