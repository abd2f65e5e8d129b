"""Exercise 9.3, causal attention over a cache: a planted mask that is right only before anything was read."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import causal_mask, scaled_dot_product_attention
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property


def reference(query: Tensor, keys: Tensor, values: Tensor, past: int) -> Tensor:
    """The expected value of 9.3, by the course's causal_mask, which ends at the bottom right."""
    return scaled_dot_product_attention(query, keys, values, causal_mask(len(query), past + len(query)))[0]


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, sizes: Sequence[int], note: str, dtype: str = "float32", layout: str = "C") -> Case:
    """`sizes`: new words, words read before, width."""
    new, past, width = sizes
    query = 1.5 * rng.standard_normal((new, width))
    keys, values = rng.standard_normal((2, past + new, width))
    args = {"query": query, "keys": keys, "values": values}
    return Case(group, {name: np.asarray(value, dtype, layout) for name, value in args.items()} | {"past": past}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(5, 8))
    return [
        _case(rng, "values", (3, more, 4), f"3 words after {more}"),
        _case(rng, "values", (5, 2, 6), "5 words after 2"),
        _case(rng, "values", (4, 4, 4), "4 words after 4, width 4"),
        _case(rng, "one", (1, more, 4), f"1 word after {more}"),
        _case(rng, "one", (1, 3, 7), "1 word after 3"),
        _case(rng, "hard", (5, 0, 3), "5 words after none"),
        _case(rng, "hard", (2, 1, 5), "2 words after 1"),
        _case(rng, "hard", (3, 6, 2), "float64, not contiguous", "float64", "F"),
    ]


# ---------------------------------------------------------------- mistakes

Mask = Callable[[int, int], Tensor]     # new words T, words before them → (T, S), True = seen


def _right(new: int, past: int) -> Tensor:
    return causal_mask(new, past + new)


def _corner(diagonal: Callable[[int, int], int]) -> Mask:
    """A triangle whose first row ends at key `diagonal`."""
    return lambda new, past: torch.ones(new, past + new, dtype=torch.bool).tril(diagonal(new, past))


def _outside(scores: Tensor, seen: Tensor) -> Tensor:
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


def _with(mask: Mask = _right, weigh: Callable[[Tensor, Tensor], Tensor] = _outside,
          root: Callable[[int, int, int], float] = lambda width, new, past: width**0.5, read: str = "values") -> Callable:
    """A wrong answer: another mask, another way from scores to weights, another divisor, other values."""

    def answer(query, keys, values, past):
        new, width = query.shape
        weights = weigh(query @ keys.T / root(width, new, past), mask(new, past))
        return weights @ (keys if read == "keys" else values)

    return answer


def _blind(mask: Mask) -> Callable:
    """The same with zeros where a query sees nothing."""
    return _with(mask, lambda scores, seen: _outside(scores, seen).nan_to_num())


def _only_itself_and_past(new: int, past: int) -> Tensor:
    return torch.cat([torch.ones(new, past, dtype=torch.bool), torch.eye(new, dtype=torch.bool)], dim=1)


def _seen_by(mask: Mask) -> Callable[[Case, Arrays, Arrays], tuple[int, int, int]]:
    """Of the first output that is off: which word it is, how many keys it sees under `mask`, and at which place it stands."""

    def seen(case, got, expected):
        row, past = first_off(got[0], expected[0])[0], case.args["past"]
        return row, int(mask(len(expected[0]), past)[row].sum()), past + row

    return seen


_TOP_LEFT = _corner(lambda new, past: 0)


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: what a query sees, and where it stands; the cure is the student's."""
    row, keys, place = _seen_by(_TOP_LEFT)(case, got, expected)
    return (
        f"{case.note}: query {row} stands at place {place} of the text, and its output is made of {keys} "
        f"{'word' if keys == 1 else 'words'}, the oldest. At which place does your mask believe it to stand?"
    )


_AHEAD = "A query sees further than its own place. The words behind it are there already, but it is to do without them."
_ITSELF = "A query does not see its own word. It stands at place past + t, and that key is the last it may see."
_NEW = "Your queries look at the new words only. What was read before is in the cache for them to see."
_PAST = "Your queries look at what was read before, and at none of the new words, not even their own."
_ROOT = "It is √D, the root of the width, that keeps the spread of the scores at 1."
_NEW_AHEAD = f"{_NEW} And they see those behind them, too."
_INVERTED = "Your mask hides what it should show: masked_fill fills where the mask is True."
WRONGS = (
    Wrong("mask from the top left", _with(_TOP_LEFT), _planted),
    Wrong("no mask", _with(_corner(lambda new, past: past + new)), "There is no mask. " + _AHEAD),
    Wrong("one word too far", _with(_corner(lambda new, past: past + 1)), f"{_AHEAD} By one word."),
    Wrong("not itself", _with(_corner(lambda new, past: past - 1)), _ITSELF),
    Wrong("not itself", _blind(_corner(lambda new, past: past - 1)), _ITSELF),
    Wrong("only the new words", _with(lambda new, past: _right(new, past) & (torch.arange(past + new) >= past)), _NEW),
    Wrong("only the new words", _with(lambda new, past: (torch.arange(past + new) >= past).expand(new, -1)), _NEW_AHEAD),
    Wrong("only the past", _with(lambda new, past: (torch.arange(past + new) < past).expand(new, -1)), _PAST),
    Wrong("only the past", _blind(lambda new, past: (torch.arange(past + new) < past).expand(new, -1)), _PAST),
    Wrong(
        "new words blind to each other",
        _with(_only_itself_and_past),
        "Each query sees the past and its own word, but none of the new words between. To the second new word the first is past.",
    ),
    Wrong(
        "a window that moves",
        _with(lambda new, past: _right(new, past) & ~torch.ones(new, past + new, dtype=torch.bool).tril(-1)),
        "Query t loses the first t keys: your triangle is cut off at both sides. Nothing read is ever forgotten here.",
    ),
    Wrong(
        "all see what the first may",
        _with(lambda new, past: _right(new, past)[:1].expand(new, -1)),
        "All queries see what the first of them may. Each new word has one more key than the one before it.",
    ),
    Wrong(
        "moved by T",
        _with(_corner(lambda new, past: new)),
        "Your triangle is moved to the right by T, the number of new words. It is another number that says where the first of them stands.",
    ),
    Wrong(
        "transposed",
        _with(lambda new, past: torch.ones(new, past + new, dtype=torch.bool).triu(past)),
        "Your mask is turned round: a query sees its own word and those behind it, where it is to see those before.",
    ),
    Wrong(
        "scaled by √S", _with(root=lambda width, new, past: (past + new) ** 0.5), f"You divide by the root of the number of keys. {_ROOT}"
    ),
    Wrong("scaled by √T", _with(root=lambda width, new, past: new**0.5), f"You divide by the root of the number of queries. {_ROOT}"),
    Wrong("not scaled", _with(root=lambda width, new, past: 1.0), f"The scores are not divided. {_ROOT}"),
    Wrong("divided by D", _with(root=lambda width, new, past: width), f"You divide by D itself. {_ROOT}"),
    Wrong(
        "mask after the softmax",
        _with(weigh=lambda scores, seen: scores.softmax(-1) * seen),
        "The mask comes after the softmax: what is hidden has had its share already, and the weights left no longer sum to 1.",
    ),
    Wrong(
        "scores of 0",
        _with(weigh=lambda scores, seen: (scores * seen).softmax(-1)),
        "You set hidden scores to 0. That is a score like any other, and exp(0) is 1.",
    ),
    Wrong("mask inverted", _with(weigh=lambda scores, seen: scores.masked_fill(seen, -torch.inf).softmax(-1)), _INVERTED),
    Wrong("mask inverted", _with(weigh=lambda scores, seen: scores.masked_fill(seen, -1e9).softmax(-1)), _INVERTED),
    Wrong(
        "softmax over the queries",
        _with(weigh=lambda scores, seen: scores.masked_fill(~seen, -torch.inf).softmax(0)),
        "Your softmax runs over the queries (dim 0). It is the keys that compete for a query.",
    ),
    Wrong(
        "no softmax",
        _with(weigh=lambda scores, seen: scores * seen),
        "There is no softmax: raw scores can be negative and sum to anything.",
    ),
    Wrong("keys read", _with(read="keys"), "You average the keys. Keys are for comparing; what is read are the values."),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row, _, place = _seen_by(_right)(case, got, expected)
    query, keys = (torch.from_numpy(case.args[name]).double() for name in ("query", "keys"))
    weight = _outside(query @ keys.T / query.shape[1] ** 0.5, _right(len(query), case.args["past"]))[row, 0]
    return f"Query {row} stands at place {place}, and gives the oldest word a weight of {number(float(weight))}: print yours"


EXERCISE = Exercise(
    "9.3",
    "A cache that forgets where it is",
    "debug",
    4,
    20,
    "decode with a cache and say what it saves",
    (
        Property("values", "several words at once, after others", 3),
        Property("one", "one word at a time"),
        Property("hard", "nothing read before, one word read before, float64"),
    ),
    draw,
    ArrayExaminer(("outputs",), WRONGS, advice=_advice),
    reference,
)
