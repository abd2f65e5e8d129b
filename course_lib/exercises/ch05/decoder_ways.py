"""The decoder's sub-layer of exercise 5.2 in the ways in which it may go wrong, and the answers compared with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import masked_softmax
from course_lib.exercises.ch05.decoder_pass import VOCAB, reference
from course_lib.exercises.judging import Arrays, same
from course_lib.exercises.spec import Case


@dataclass(frozen=True)
class Seen:
    """One case with what the answer gave on it."""

    case: Case
    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def expected(self) -> Arrays:
        return tuple(part.numpy() for part in reference(*_tensors(self.case)))

    def read(self) -> Iterator[np.ndarray]:
        """The word ids that the answer may have worked with: those it returned, the targets, the right ones."""
        target, due = self.case.args["target"], self.expected[0].astype(int)
        given = self.inputs.astype(int) if np.isin(self.inputs, np.arange(VOCAB)).all() else due
        yield from {ids.tobytes(): ids for ids in (given, due, target)}.values()


def _tensors(case: Case) -> list:
    given = [torch.from_numpy(np.array(v)) if isinstance(v, np.ndarray) else v for v in case.args.values()]
    return [v.double() if torch.is_tensor(v) and v.is_floating_point() else v for v in given]


def _plain(x: Tensor) -> Tensor:
    return x


def norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


# What goes into the layer, what is carried past it, and what becomes of the sum.
SUMS: dict[str, tuple[Callable, Callable, Callable]] = {
    "pre-norm": (norm, _plain, _plain),
    "normalised first": (norm, norm, _plain),
    "post-norm": (_plain, _plain, norm),
    "norms on both sides": (norm, _plain, norm),
    "no norm": (_plain, _plain, _plain),
    "nothing carried": (norm, torch.zeros_like, _plain),
}
SCALES: dict[str, Callable[[int, int], float]] = {
    "scaled": lambda head, width: head**-0.5,
    "not scaled": lambda head, width: 1.0,
    "divided by D": lambda head, width: 1 / head,
    "divided by √C": lambda head, width: width**-0.5,
}


@dataclass(frozen=True)
class Odd:
    """Attention itself in another way: which of query, key, value read `raw` words, and another causal `diagonal`."""

    raw: str = ""
    diagonal: int = 0
    message: str = ""


_RAW = "made from the words as they come in, not from the normalised ones"
ODDS = {
    "value not normalised": Odd("v", message=f"the values are {_RAW}"),
    "query not normalised": Odd("q", message=f"the queries are {_RAW}"),
    "key not normalised": Odd("k", message=f"the keys are {_RAW}"),
    "only the value normalised": Odd("qk", message=f"queries and keys are {_RAW}"),
    "does not see itself": Odd(diagonal=-1, message="no word sees itself; a causal mask hides only what comes after it"),
    "sees its successor": Odd(diagonal=1, message="a word sees its successor: its mask begins one place too late"),
}


def candidate(seen: Seen, ids: np.ndarray, sum_: str, scale: str, odd: Odd = Odd()) -> tuple[np.ndarray, np.ndarray]:
    """The outputs of one way to go wrong (or none), and the weights inside, both for words `ids`."""
    before, past, after = SUMS[sum_]
    _, embedding, W_q, W_k, W_v, W_o, _ = _tensors(seen.case)
    x = embedding[torch.from_numpy(ids.copy())]
    maps = {"q": W_q, "k": W_k, "v": W_v}
    query, key, value = ((x if role in odd.raw else before(x)) @ W.T for role, W in maps.items())
    mask = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).tril(odd.diagonal)
    weights = masked_softmax(query @ key.mT * SCALES[scale](*W_q.shape), mask)
    return after(past(x) + weights @ value @ W_o.T).numpy(), weights.numpy()


def matches(seen: Seen, scale: str, sums: tuple[str, ...] = tuple(SUMS), odd: Odd = Odd()) -> bool:
    """True if one of these ways gives the outputs, from the first place on at which a word sees anything."""
    start = max(0, -odd.diagonal)
    return any(
        same((seen.outputs[:, start:],), (candidate(seen, ids, sum_, scale, odd)[0][:, start:],))
        for sum_ in sums
        for ids in seen.read()
    )


def oddity(given: list[Seen]) -> tuple[str, str]:
    """What is odd about the attention in all answers, and its name; two empty texts if nothing known is."""
    for name, odd in ODDS.items():
        if any(all(matches(seen, scale, odd=odd) for seen in given) for scale in SCALES):
            return odd.message, name
    return "", ""
