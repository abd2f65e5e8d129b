"""What goes wrong in exercise 9.2: other sets of words, other ways from their probabilities to the answer, and what to say to each."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case
from course_lib.generation import filter_logits

LARGE = "logits around 200"
Keep = Callable[[Tensor, float], Tensor]    # probabilities (N, V), p → which words stay


def _by_rank(stays: Callable[[Tensor, float], Tensor], descending: bool = True) -> Keep:
    """`stays` says it of the sorted probabilities; this puts it back where the words are."""

    def keep(probs, p):
        best, order = probs.sort(dim=-1, descending=descending, stable=True)
        return torch.zeros_like(probs, dtype=torch.bool).scatter_(-1, order, stays(best, p))

    return keep


def _before(best: Tensor) -> Tensor:
    return best.cumsum(-1) - best


def _normal(probs: Tensor) -> Tensor:
    return probs / probs.sum(-1, keepdim=True)


def _with(keep: Keep, finish: Callable[[Tensor], Tensor] = _normal, dim: int = -1) -> Callable:
    """A wrong answer: another set of words, another way from their probabilities to the answer."""

    def answer(logits, p):
        probs = logits.softmax(dim)
        return finish(probs.masked_fill(~keep(probs, p), 0))

    return answer


_nucleus = _by_rank(lambda best, p: _before(best) < p)


def _top_k(rounded: Callable[[float], int]) -> Keep:
    return _by_rank(lambda best, p: (torch.arange(best.shape[-1]) < max(rounded(p * best.shape[-1]), 1)).expand_as(best))


def _dropped_but_the_best(best: Tensor, p: float) -> Tensor:
    return (best.cumsum(-1) < p) | (torch.arange(best.shape[-1]) == 0)


def _shifted_and_forgotten(best: Tensor, p: float) -> Tensor:
    """The mask of what goes is shifted by one place, and the first place keeps what stood there."""
    goes = best.cumsum(-1) > p
    return ~torch.cat([goes[:, :1], goes[:, :-1]], dim=1)


def _in_order(logits: Tensor, p: float) -> Tensor:
    best = logits.softmax(-1).sort(-1, descending=True).values
    return _normal(best.masked_fill(_before(best) >= p, 0))


def _order_read_backwards(logits: Tensor, p: float) -> Tensor:
    return _in_order(logits, p).gather(-1, logits.argsort(dim=-1, descending=True, stable=True))


def _by_logits(logits: Tensor, p: float) -> Tensor:
    """The logits themselves are added up until they reach p."""
    kept = _nucleus(logits, p)
    return _normal(logits.softmax(-1).masked_fill(~kept, 0))


def _all_rows_at_once(probs: Tensor, p: float) -> Tensor:
    best, order = probs.flatten().sort(descending=True)
    return torch.zeros(probs.numel(), dtype=torch.bool).scatter_(0, order, _before(best) < p).view_as(probs)


def _dropped(case: Case, got: Arrays, expected: Arrays) -> str:
    row = next(n for n, (g, e) in enumerate(zip(got[0], expected[0])) if not np.allclose(g, e, atol=1e-3))
    probs = torch.from_numpy(case.args["logits"][row]).double().softmax(-1).numpy()
    reached = probs[np.nan_to_num(got[0][row]) > 0].sum()
    said = f"the words you keep have {reached:.2f} of the probability" if reached else "you keep no word at all"
    return f"The word that carries the sum over p belongs to the set: in row {row} {said}, and p = {case.args['p']} is to be reached."


_PLACES = "The sum of sorted probabilities says how many stay. But you return them sorted: word w belongs in column w."
_SINGLE = "You judge each word by its own probability. A word belongs to the set because of what the better ones add up to."
_AGAIN = "What you return is a softmax of probabilities, much flatter than they are. They only lack a divisor: their sum."
WRONGS = (
    Wrong("crossing word dropped", _with(_by_rank(lambda best, p: best.cumsum(-1) < p)), _dropped),
    Wrong("crossing word dropped", _with(_by_rank(lambda best, p: best.cumsum(-1) < p), lambda x: _normal(x).nan_to_num()), _dropped),
    Wrong("crossing word dropped", _with(_by_rank(_dropped_but_the_best)), _dropped),
    Wrong(
        "best word dropped",
        _with(_by_rank(_shifted_and_forgotten)),
        "Where the best word alone has more than p, nothing is left. The word that carries the sum over p stays, if it is the first, too.",
    ),
    Wrong(
        "best word dropped",
        _with(_by_rank(_shifted_and_forgotten), lambda x: _normal(x).nan_to_num()),
        "Where the best word alone has more than p, nothing is left: all 0 is no distribution.",
    ),
    Wrong(
        "one word too many",
        _with(_by_rank(lambda best, p: (_before(best) - best.roll(1, -1) < p) | (torch.arange(best.shape[-1]) < 2))),
        "You keep one word too many: the set is as small as it can be, and p is reached without its last word.",
    ),
    Wrong("not renormalised", _with(_nucleus, lambda x: x), "The right words, but what stays no longer sums to 1."),
    Wrong("softmax again", _with(_nucleus, lambda x: x.masked_fill(x == 0, -torch.inf).softmax(-1)), _AGAIN),
    Wrong("softmax again", _with(_nucleus, lambda x: x.softmax(-1)), f"{_AGAIN} And exp(0) is 1: the words that were dropped are back."),
    Wrong(
        "softmax again",
        _with(_nucleus, lambda x: _normal(x).softmax(-1)),
        f"{_AGAIN} And exp(0) is 1: the words that were dropped are back.",
    ),
    Wrong(
        "top-k",
        _with(_top_k(int)),
        "You keep the same number of words in every row, p · V of them. How many it takes is for each row's probabilities to say.",
    ),
    Wrong(
        "top-k",
        _with(_top_k(lambda n: int(np.ceil(n)))),
        "You keep p · V words in every row. How many it takes is for each row's probabilities to say.",
    ),
    Wrong("single probabilities", _with(lambda probs, p: probs > 1 - p), f"{_SINGLE} Yours is kept if it has more than 1 − p."),
    Wrong("single probabilities", _with(lambda probs, p: probs >= p), f"{_SINGLE} Yours is kept if it has p."),
    Wrong(
        "single probabilities",
        _with(lambda probs, p: probs >= p * probs.amax(-1, keepdim=True)),
        f"{_SINGLE} Yours is kept if it has p times the best one's.",
    ),
    Wrong("still sorted", _in_order, _PLACES),
    Wrong(
        "order read backwards",
        _order_read_backwards,
        "The words are put back to the wrong places. order[n, r] is the word of rank r: there its probability has to be written to, "
        "not read from.",
    ),
    Wrong(
        "least probable first",
        _with(_by_rank(lambda best, p: _before(best) < p, descending=False)),
        "You add up from the least probable word on: sort says the smallest first unless it is told otherwise.",
    ),
    Wrong(
        "first row's words for all",
        _with(lambda probs, p: _nucleus(probs[:1], p).expand_as(probs)),
        "All rows keep the words of the first. Each has a set of its own.",
    ),
    Wrong(
        "first row's number for all",
        _with(lambda probs, p: _by_rank(lambda best, p: (_before(best[:1]) < p).expand_as(best))(probs, p)),
        "All rows keep as many words as the first. How many it takes differs from row to row.",
    ),
    Wrong("all rows at once", _with(_all_rows_at_once), "You rank the words of all rows together. Each row is a distribution of its own."),
    Wrong("logits added up", _by_logits, "You add up logits. It is their softmax that sums to 1, and whose sum is to reach p."),
    Wrong(
        "1 − p",
        _with(lambda probs, p: _nucleus(probs, 1 - p)),
        "Your set reaches 1 − p. The words that are kept have p, those that are dropped the rest.",
    ),
    Wrong(
        "log-probabilities",
        lambda logits, p: filter_logits(logits, top_p=p),
        "You return logarithms. Probabilities are asked for, 0 for the words that are dropped.",
    ),
    Wrong(
        "logits",
        lambda logits, p: logits.masked_fill(~_nucleus(logits.softmax(-1), p), -torch.inf),
        "You return logits, −∞ for the words that are dropped. One step is missing from there to probabilities.",
    ),
    Wrong(
        "only the best",
        _with(_by_rank(lambda best, p: (torch.arange(best.shape[-1]) < 1).expand_as(best))),
        "You keep the best word only, in every row. That is greedy decoding.",
    ),
    Wrong("nothing dropped", lambda logits, p: logits.softmax(-1), "Nothing is dropped: that is the model's own distribution."),
    Wrong(
        "softmax over the rows",
        _with(_nucleus, dim=0),
        "Your softmax runs over the rows (dim 0). The words of one row compete: the last axis.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note.startswith(LARGE) and bool(np.isnan(got[0]).any()),
        "exp of a large logit overflows. softmax takes the largest one away first; a function of your own has to do that, too.",
    ),
)
