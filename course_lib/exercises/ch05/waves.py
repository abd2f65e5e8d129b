"""Exercise 5.1, the table of sinusoids: a planted bug, a frequency of its own for every column."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.positional import sinusoids


def reference(T: int, d_model: int) -> Tensor:
    """The expected value of 5.1, by the course's sinusoids."""
    return sinusoids(T, d_model)


def draw(rng: np.random.Generator) -> list[Case]:
    steps, width = int(rng.integers(6, 13)), int(2 * rng.integers(3, 7))
    odd = int(2 * rng.integers(2, 5)) + 1
    sizes = [
        ("values", steps, width),
        ("values", int(rng.integers(40, 80)), int(2 * rng.integers(8, 13))),
        ("values", 5, 2),
        ("values", 1, 4),
        ("odd", steps, odd),
        ("odd", int(rng.integers(3, 6)), 3),
        ("odd", 1, 7),
        ("odd", 4, 1),
    ]
    return [Case(group, {"T": t, "d_model": d}, f"T = {t}, d_model = {d}") for group, t, d in sizes]


def _column(d: int) -> Tensor:
    return torch.arange(d, dtype=torch.float64)


def _even(d: int) -> Tensor:
    """For each column the even number 2i of its pair: 0, 0, 2, 2, …"""
    return _column(d) // 2 * 2


def _with(
    exponent: Callable[[int], Tensor] = lambda d: _even(d) / d,
    base: float = 10_000.0,
    first: int = 0,
    factor: float = 1.0,
    cosines: int | None = 1,
) -> Callable[[int, int], Tensor]:
    """A wrong table: another exponent, base, first position or unit, or cosines in the even columns or in none."""

    def table(T: int, d: int) -> Tensor:
        angle = factor * (_column(T)[:, None] + first) / base ** exponent(d)
        return torch.where(_column(d) % 2 == cosines, angle.cos(), angle.sin()) if cosines is not None else angle.sin()

    return table


def _halves(T: int, d: int) -> Tensor:
    pair = torch.arange(0, d, 2, dtype=torch.float64)
    angle = torch.arange(T, dtype=torch.float64)[:, None] / 10_000 ** (pair / d)
    return torch.cat([angle.sin(), angle.cos()], dim=1)[:, :d]


def _last_empty(T: int, d: int, exponent: Callable[[int], Tensor] = lambda d: _even(d) / d) -> Tensor:
    table = _with(exponent)(T, d)
    table[:, d - d % 2 :] = 0
    return table


def _narrower(d: int) -> Tensor:
    return _even(d) / max(d - d % 2, 1)


def _unpaired(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: the symptom in numbers; the cure is the student's."""
    table = got[0][:, : got[0].shape[1] // 2 * 2]
    sums = table[:, 0::2] ** 2 + table[:, 1::2] ** 2
    pos, pair = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
    return (
        f"Columns {2 * pair} and {2 * pair + 1} are the two coordinates of one hand of a clock, yet at position "
        f"{pos} their squares sum to {number(sums[pos, pair])}, not to 1: the two do not turn together "
        f"({case.note})."
    )


def _angle_there(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the angle behind the first entry that is off."""
    pos, column = first_off(got[0], expected[0])
    angle = number(pos / 10_000 ** (column // 2 * 2 / case.args["d_model"]))
    return f"There the {'cosine' if column % 2 else 'sine'} is of the angle {angle}: print yours"


_DOUBLED = (
    "Your waves slow down twice as fast as they should: the exponent reaches 2, where the formula stays below "
    "1. Is something doubled that was even already?"
)
_NARROWER = (
    "At an odd width your waves are those of a table one column narrower, with the exponent 2i/(d − 1): divide by the "
    "d that is asked for."
)
WRONGS = (
    Wrong("a frequency for every column", _with(lambda d: _column(d) / d), _unpaired),
    Wrong("exponent doubled", _with(lambda d: 2 * _even(d) / d), _DOUBLED),
    Wrong("exponent doubled", _with(lambda d: 2 * _column(d) / d), _DOUBLED),
    Wrong(
        "exponent halved",
        _with(lambda d: _even(d) / 2 / d),
        "Your waves slow down half as fast as they should. That comes from an exponent of i/d for pair i, which has "
        "2i/d, or from a base of 100 in place of 10000.",
    ),
    Wrong(
        "halves, not pairs",
        _halves,
        "All sines come first, then all cosines. Some code has it that way; the formula has sine and cosine of "
        "one angle side by side, in columns 2i and 2i + 1.",
    ),
    Wrong(
        "cosine first",
        _with(cosines=0),
        "Sines and cosines have changed places: position 0 is (1, 0, 1, 0, …), expected (0, 1, 0, 1, …).",
    ),
    Wrong("no cosine", _with(cosines=None), "There are only sines."),
    Wrong(
        "starts at 1",
        _with(first=1),
        "Your first row is that of position 1. Positions count from 0, and sin 0 = 0, cos 0 = 1.",
    ),
    Wrong(
        "another base",
        _with(base=1000.0),
        "Your waves slow down from pair to pair, but too little: they fit a base of 1000, and the formula has 10000.",
    ),
    Wrong(
        "degrees",
        _with(factor=np.pi / 180),
        "Your angles are taken for degrees. The formula's are radians, as math.sin and torch.sin expect.",
    ),
    Wrong(
        "positions without waves",
        _with(lambda d: 0 * _column(d)),
        "All your pairs turn equally fast. Is the exponent 0, from a whole-number division?",
    ),
    Wrong(
        "slowest wave reached",
        _with(lambda d: _even(d) / (d - 2)),
        "Your last pair has the exponent 1. Some code divides so that it does; the formula divides 2i by d, and "
        "the last pair stays short of it.",
    ),
    Wrong(
        "multiplied by the power",
        _with(lambda d: -_even(d) / d),
        "Your waves get faster from pair to pair: the position is to be divided by 10000^(2i/d).",
    ),
    Wrong(
        "width rounded up",
        lambda T, d: _with()(T, d + d % 2)[:, :d],
        "At an odd width you cut a column from a table that is one wider, and its waves are those of that width: "
        "the exponent is 2i/d with the d that is asked for.",
    ),
    Wrong("width rounded down", _with(_narrower), _NARROWER),
    Wrong(
        "divided by d − 1",
        _with(lambda d: _even(d) / max(d - 1, 1)),
        "Your exponent is 2i/(d − 1); the formula divides by d.",
    ),
    Wrong(
        "last column empty",
        _last_empty,
        "At an odd width your last column is 0. It has a sine; only the cosine that would follow is missing.",
    ),
    Wrong("width rounded down", lambda T, d: _last_empty(T, d, _narrower), _NARROWER),
)


EXERCISE = Exercise(
    "5.1",
    "A wave too many",
    "debug",
    2,
    12,
    "give attention a sense of order and say what happens without",
    (
        Property("values", "sine and cosine of one angle in each pair of columns", 2),
        Property("odd", "odd widths, too: the last sine has no cosine"),
    ),
    draw,
    ArrayExaminer(("table",), WRONGS, advice=_angle_there),
    reference,
)
