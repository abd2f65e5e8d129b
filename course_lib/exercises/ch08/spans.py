"""Exercise 8.2, the best span of an answer: first and last token chosen together (Devlin et al. 2019, section 4.2)."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.ch06.lists import told_apart
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("first", "last")
MARGIN = 0.05       # by which the best span is better than the second, so that rounding decides nothing
Span = tuple[Tensor, Tensor] | tuple[int, int]


def _ordered(T: int, longest: int) -> Tensor:
    """(T, T), True where i ≤ j < i + longest."""
    return torch.ones(T, T, dtype=torch.bool).triu() & torch.ones(T, T, dtype=torch.bool).tril(longest - 1)


def reference(start: Tensor, end: Tensor, allowed: Tensor, longest: int) -> Span:
    """The expected value of 8.2: the largest start[i] + end[j] over all spans that may be, (T, T) of them at most."""
    may = allowed[:, None] & allowed & _ordered(len(start), longest)
    best = (start[:, None] + end).masked_fill(~may, -torch.inf).argmax()
    return best // len(start), best % len(start)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, T: int, longest: int, note: str, *, shift: float = 0.0, peaks: bool = False,
          dtype: str = "float32") -> Case:
    """A question that is not allowed, words that are, padding that is not. `peaks`: the best end lies before the best start."""
    question, text = T // 5, T - T // 5 - (T // 8 if T > 3 else 0)
    allowed = (np.arange(T) >= question) & (np.arange(T) < text + question - T // 8)
    while True:
        start, end = 2 * rng.standard_normal((2, T)) + shift
        if peaks:
            i, j = sorted(rng.permutation(np.flatnonzero(allowed))[:2])
            start[j], end[i] = start.max() + 1, end.max() + 1
        may = allowed[:, None] & allowed & _ordered(T, longest).numpy()
        sums = np.sort((start[:, None] + end)[may])
        if len(sums) == 1 or sums[-1] - sums[-2] > MARGIN:
            break
    return Case(group, {"start": start.astype(dtype), "end": end.astype(dtype), "allowed": allowed, "longest": longest}, note)


def _draw(rng: np.random.Generator) -> list[Case]:
    T = int(rng.integers(14, 20))
    outside = _case(rng, "values", 16, 5, "16 tokens, spans up to 5, the highest scores where none is allowed")
    for name in ("start", "end"):
        outside.args[name][~outside.args["allowed"]] += 9
    return [
        _case(rng, "values", T, 4, f"{T} tokens, spans up to 4"),
        _case(rng, "values", 20, 3, "20 tokens, spans up to 3"),
        _case(rng, "values", 12, 12, "12 tokens, spans of any length"),
        outside,
        _case(rng, "order", 15, 15, "15 tokens, the best end before the best start", peaks=True),
        _case(rng, "order", 18, 6, "18 tokens, spans up to 6, the best end before the best start", peaks=True),
        _case(rng, "order", 12, 4, "12 tokens, spans up to 4, the best end before the best start", peaks=True),
        _case(rng, "hard", 13, 5, "all scores below 0", shift=-9),
        _case(rng, "hard", 17, 1, "spans of one token"),
        _case(rng, "hard", 1, 3, "a single token"),
        _case(rng, "hard", 14, 6, "float64", dtype="float64"),
    ]


# ---------------------------------------------------------------- mistakes


def _with(add: Callable[[Tensor, Tensor], Tensor] = lambda s, e: s[:, None] + e,
          may: Callable[[Tensor, int], Tensor] = lambda allowed, longest: allowed[:, None] & allowed & _ordered(len(allowed), longest),
          hide: Callable[[Tensor, Tensor], Tensor] = lambda sums, may: sums.masked_fill(~may, -torch.inf)) -> Callable[..., Span]:
    """A wrong answer: other scores of spans, other spans, another way to leave the rest out."""

    def answer(start, end, allowed, longest):
        best = hide(add(start, end), may(allowed, longest)).argmax()
        return best // len(start), best % len(start)

    return answer


def _inside(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -torch.inf)


def _apart(start: Tensor, end: Tensor, allowed: Tensor, longest: int) -> Span:
    return _inside(start, allowed).argmax(), _inside(end, allowed).argmax()


def _swapped(*args) -> Span:
    i, j = _apart(*args)
    return min(i, j), max(i, j)


def _start_first(start: Tensor, end: Tensor, allowed: Tensor, longest: int) -> Span:
    i = int(_inside(start, allowed).argmax())
    place = torch.arange(len(end))
    return i, _inside(end, allowed & (place >= i) & (place < i + longest)).argmax()


def _end_first(start: Tensor, end: Tensor, allowed: Tensor, longest: int) -> Span:
    j = int(_inside(end, allowed).argmax())
    place = torch.arange(len(end))
    return _inside(start, allowed & (place <= j) & (place > j - longest)).argmax(), j


def _places(both: Callable[[Tensor], Tensor], less: int = 0) -> Callable[[Tensor, int], Tensor]:
    """Which spans may be, if `both` says it of the allowed places and spans may be `less` longer."""
    return lambda allowed, longest: both(allowed) & _ordered(len(allowed), longest - less)


def _square(allowed: Tensor) -> Tensor:
    return allowed[:, None] & allowed


_TOGETHER = "The two are chosen together: it is the sum of both scores that has to be the largest."
WRONGS = (
    Wrong("chosen apart", _apart, f"You take the best start and the best end. The answer may end before it begins. {_TOGETHER}"),
    Wrong("chosen apart", _swapped, f"You take the best start and the best end, and exchange them if need be. {_TOGETHER}"),
    Wrong("start first", _start_first, f"You take the best start, and then an end. A better span may begin elsewhere. {_TOGETHER}"),
    Wrong("end first", _end_first, f"You take the best end, and then a start. A better span may end elsewhere. {_TOGETHER}"),
    Wrong(
        "end before start",
        _with(may=lambda allowed, longest: _square(allowed) & _ordered(len(allowed), longest).T),
        "Your span goes backwards: j may not be below i.",
    ),
    Wrong(
        "end before start",
        _with(may=lambda allowed, longest: _square(allowed) & torch.ones(len(allowed), len(allowed), dtype=torch.bool).tril(longest - 1)),
        "The end may lie before the start: i ≤ j is missing.",
    ),
    Wrong(
        "length ignored",
        _with(may=lambda allowed, longest: _square(allowed).triu()),
        "Your spans may have any length. `longest` tokens are the most.",
    ),
    Wrong("one token too long", _with(may=_places(_square, -1)), "A span of yours is one token too long. From i to j there are j − i + 1."),
    Wrong(
        "one token too short",
        _with(may=_places(_square, 1)),
        "Your spans end one token too early. From i to j there are j − i + 1 tokens, so that one token has i = j.",
    ),
    Wrong(
        "at least two tokens",
        _with(may=lambda allowed, longest: _square(allowed) & _ordered(len(allowed), longest).triu(1)),
        "You leave out spans of one token, i = j.",
    ),
    Wrong(
        "allowed ignored",
        _with(may=_places(lambda allowed: torch.ones_like(_square(allowed)))),
        "Your span may lie in the question or in the padding. Where it may lie is for `allowed` to say.",
    ),
    Wrong(
        "allowed of one end alone",
        _with(may=_places(lambda allowed: allowed[:, None].expand(-1, len(allowed)))),
        "You look at `allowed` where a span begins, and not where it ends.",
    ),
    Wrong(
        "allowed of one end alone",
        _with(may=_places(lambda allowed: allowed.expand(len(allowed), -1))),
        "You look at `allowed` where a span ends, and not where it begins.",
    ),
    Wrong(
        "allowed turned round",
        _with(may=_places(lambda allowed: _square(~allowed) | ~allowed.any())),
        "Your span lies where none is allowed: the mask is turned round.",
    ),
    Wrong("product", _with(lambda s, e: s[:, None] * e), "You multiply scores. They are logits: their sum is a product's logarithm."),
    Wrong(
        "probabilities added",
        _with(lambda s, e: s.softmax(0)[:, None] + e.softmax(0)),
        "You add probabilities. Those of start and end multiply, which adds up their logits.",
    ),
    Wrong(
        "mask by 0",
        _with(hide=lambda sums, may: sums * may),
        "What is not allowed is multiplied by 0. Where all sums are below 0, a forbidden 0 is the largest.",
    ),
    Wrong("start alone", _with(lambda s, e: s[:, None].expand(-1, len(e))), "The end's scores play no part in your sum."),
    Wrong("end alone", _with(lambda s, e: e.expand(len(s), -1)), "The start's scores play no part in your sum."),
    Wrong("the worst", _with(lambda s, e: -s[:, None] - e), "You take the smallest sum. It is the largest that is asked for."),
    Wrong(
        "end behind the last",
        lambda *args: (reference(*args)[0], reference(*args)[1] + 1),
        "Your second number is the place behind the span. Asked for is that of its last token.",
    ),
    Wrong("last first", lambda *args: reference(*args)[::-1], "You return (j, i), expected (i, j): first token, last token."),
    Wrong(
        "start and length",
        lambda *args: (reference(*args)[0], reference(*args)[1] - reference(*args)[0] + 1),
        "Your second number is the length of the span. Asked for is the place of its last token.",
    ),
)


class SpanExaminer(ArrayExaminer):
    """An array of two places is as good as a pair."""

    def read(self, value: Any) -> Arrays:
        return super().read(tuple(value) if isinstance(value, np.ndarray) and value.shape == (2,) else value)


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    if any(part.size != 1 for part in got):
        return "expected two places, (i, j)"
    span, due = (tuple(int(part.item()) if part.item() % 1 == 0 else -1 for part in parts) for parts in (got, expected))
    if span == due:
        return ""
    if min(span) < 0 or max(span) >= len(case.args["start"]):
        return f"({', '.join(number(part.item()) for part in got)}) are no two places of {len(case.args['start'])} tokens"
    start, end = case.args["start"], case.args["end"]
    mine, best = (float(start[i]) + float(end[j]) for i, j in (span, due))
    return f"the span {span} has {mine:.2f} in all" + (f", and one that is allowed has {best:.2f}" if best > mine else ", and may not be")


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return "Print the sums of all spans that may be, as a square"


EXERCISE = Exercise(
    "8.2",
    "The best span",
    "implement",
    3,
    20,
    "put the four heads on one encoder",
    (
        Property("values", "the allowed span with the largest sum, of `longest` tokens at most", 3),
        Property("order", "where the best end lies before the best start"),
        Property("hard", "scores below 0, spans of one token, one token alone, float64"),
    ),
    told_apart(_draw, [("", reference, ""), *((wrong.name, wrong.answer, "") for wrong in WRONGS)]),
    SpanExaminer(NAMES, WRONGS, _differs, _advice),
    reference,
)
