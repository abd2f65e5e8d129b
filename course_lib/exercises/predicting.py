"""Judge predictions: a dict of numbers, short vectors or words, given before the cell that shows them is run.

The messages name a misconception or say in which direction to look; they never print the answer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.judging import kind, number
from course_lib.exercises.spec import Case, Exercise, Finding

Wanted = float | str | tuple[float, ...]
Said = dict[str, str]  # item → what was said to it; "" if it is right
Message = str | Callable[[Said], str]


@dataclass(frozen=True)
class Item:
    """One question: its key in the dict, how far off a number may be, and the known wrong values.

    Wrong values are further than the tolerance from each other and from the right one, or one could not be said.
    What is said to a wrong value is text, or depends on what was said to the items before: two mistakes may
    give one number, and those items tell which it was.
    """

    key: str
    tolerance: float
    wrongs: tuple[tuple[Wanted, Message], ...] = ()


@dataclass(frozen=True)
class PredictionExaminer:
    """Examine a dict of predictions, every item a property; `exercise.reference(**args)` has the answers.

    The misconception is that of the first item with a known wrong value, named by its property.
    """

    items: tuple[Item, ...]

    def __call__(self, exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
        output = outputs[0]
        if output.status != "value" or not isinstance(output.value, dict):
            keys = ", ".join(item.key for item in self.items)
            return Finding(
                {}, output.message or f"expected a dict with the keys {keys}, got {kind(output.value)}"
            )
        expected = exercise.reference(**cases[0].args)
        given = output.value
        said: Said = {}
        known = []
        for item in self.items:
            wrongs = tuple((value, text(said) if callable(text) else text) for value, text in item.wrongs)
            said[item.key] = self._say(replace(item, wrongs=wrongs), given.get(item.key), expected[item.key])
            known += [item.key] if said[item.key] in [text for _, text in wrongs] else []
        messages = [f"{key}: {message}" for key, message in said.items() if message]
        if odd := [str(key) for key in given if key not in said]:
            messages.append(f"{odd[0][:40]!r} is none of the keys {', '.join(said)}")
        texts = {prop.group: prop.text for prop in exercise.properties}
        names = [texts.get(key, key) for key in known]  # in words, as the verdict has them
        return Finding({key: not message for key, message in said.items()}, "\n  → ".join(messages), *names[:1])

    def _say(self, item: Item, given: Any, wanted: Wanted) -> str:
        if given is None:
            return "no prediction yet"
        if isinstance(wanted, str):
            given = {True: "yes", False: "no"}.get(given) if isinstance(given, bool) else given
            if not isinstance(given, str):
                return 'expected a word, "yes" or "no"'
            given = given.strip().strip(".!").lower()
            known = dict(item.wrongs)
            return "" if given == wanted else known.get(given, f'{given[:40]!r} is not one of "yes" and "no"')
        got = _numbers(given)
        if got is None or got.shape != np.shape(wanted):
            due = f"{len(wanted)} numbers" if isinstance(wanted, tuple) else "a number"
            single = got is not None and not got.ndim
            return f"expected {due}, got {'one number' if single else _shown(given)}"
        if _near(got, wanted, item.tolerance):
            return ""
        if not item.tolerance and np.isfinite(got).all() and (got % 1).any():
            return f"{_shown(given)} is not a whole number; a whole number is asked"
        for value, message in item.wrongs:
            if _near(got, value, max(item.tolerance, 1e-9)):
                return message
        exact = np.asarray(wanted)
        return _rounded_wrongly(got, exact, item.tolerance) or _direction(got, exact, item.tolerance)


def _numbers(given: Any) -> np.ndarray | None:
    if isinstance(given, (str, dict, set)):
        return None
    try:
        array = np.asarray(given)
    except ValueError:
        return None
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None


def _near(got: np.ndarray, wanted: Wanted, tolerance: float) -> bool:
    return bool((np.abs(got - np.asarray(wanted)) <= tolerance).all())


def _rounded_wrongly(got: np.ndarray, wanted: np.ndarray, tolerance: float) -> str:
    """What to say to the right numbers in per cent, cut off, or with too few digits; "" to others."""
    if not tolerance:
        return ""
    decimals = math.floor(-math.log10(tolerance))
    if (np.abs(wanted) <= 1).all() and wanted.any() and _near(got, 100 * wanted, 100 * tolerance):
        return "that is in per cent; asked are shares, between 0 and 1"
    right = np.abs(got - wanted) <= tolerance
    cut = np.trunc(wanted * 10**decimals) / 10**decimals
    if (right | (np.abs(got - cut) < 1e-6)).all():
        return f"that is cut off after {_digits(decimals)}: round, do not truncate"
    coarse = np.round(wanted, decimals - 1)
    if (right | (np.abs(got - coarse) < 1e-6) & (coarse != 0)).all():
        return f"that is rounded to fewer digits than asked: give {_digits(decimals)}"
    return ""


def _digits(decimals: int) -> str:
    return f"{decimals} decimal{'s' if decimals > 1 else ''}"


def _direction(got: np.ndarray, wanted: np.ndarray, tolerance: float) -> str:
    if not np.isfinite(got).all():
        return "NaN and ∞ are no predictions"
    if got.ndim and abs(got.sum() - wanted.sum()) > 2 * tolerance:
        return f"your numbers sum to {number(got.sum())}, weights sum to {number(wanted.sum())}"
    at = tuple(np.argwhere(np.abs(got - wanted) > tolerance)[0])
    told = _visibly_off(float(got[at]), float(wanted[at]), tolerance)
    return f"{f'entry {at[0]}, {told},' if at else told} is too {'large' if got[at] > wanted[at] else 'small'}"


def _visibly_off(value: float, wanted: float, tolerance: float) -> str:
    """A number that is off, with as many digits as it takes to be off when it is read."""
    if value.is_integer() and abs(value) < 1e15:
        return f"{int(value):,}" if abs(value) >= 1e4 else number(value)
    texts = (number(value), *(f"{value:.{digits}g}" for digits in range(3, 17)), repr(value))
    return next(text for text in texts if text == texts[-1] or abs(float(text) - wanted) > tolerance)


def _shown(given: Any) -> str:
    if isinstance(given, (int, float, str)):
        return repr(given)[:40]
    return kind(given)
