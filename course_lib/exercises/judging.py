"""Compare an answer with the expected values; where they differ, find the misconception that gives the same.

A named misconception is a wrong function. It runs on the same draws; when its result is the student's result,
the judge knows what the student thought and says so. Otherwise it says where the answer first differs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from course_lib.exercises.answers import Output, handed, plain
from course_lib.exercises.spec import Case, Exercise, Finding, in_part

RTOL = 5e-4  # of the largest expected value: float32 passes, a 1 % error does not

Arrays = tuple[np.ndarray, ...]
Message = str | Callable[[Case, Arrays, Arrays], str]
Reader = Callable[[Any], Arrays]  # plain data → arrays; ValueError in words for another form


@dataclass(frozen=True)
class Wrong:
    """A named misconception: what it would answer, and what to say to it, text or f(case, got, expected)."""

    name: str
    answer: Callable[..., Any]
    message: Message

    def explains(self, read: Reader, case: Case, got: Arrays) -> bool:
        """True if this misconception gives `got` on the case."""
        try:
            return same(got, read(run(self.answer, case)))
        except (RuntimeError, ValueError, IndexError, TypeError, ZeroDivisionError):
            return False  # it cannot answer this case at all


@dataclass(frozen=True)
class Symptom:
    """A misconception of many forms, known by a sign, `shows(case, got)`, not by its numbers."""

    name: str
    shows: Callable[[Case, Arrays], bool]
    message: Message

    def explains(self, read: Reader, case: Case, got: Arrays) -> bool:
        return self.shows(case, got)


@dataclass(frozen=True)
class Answered:
    """A case, what the student's function and the reference gave on it, and whether they agree."""

    case: Case
    got: Arrays
    expected: Arrays
    right: bool


@dataclass(frozen=True)
class ArrayExaminer:
    """Examine functions that return the arrays `names`; `differs` may replace the plain comparison.

    `advice` says what to look at next where no misconception is known and only numbers differ; `kinds` are
    the dtypes that the text asks for, "bool" or "int64", by name: another one with the values is a remark.
    """

    names: tuple[str, ...]
    wrongs: tuple[Wrong | Symptom, ...]
    differs: Callable[[tuple[str, ...], Case, Arrays, Arrays], str] | None = None
    advice: Callable[[Case, Arrays, Arrays], str] | None = None
    kinds: dict[str, str] = field(default_factory=dict)

    def read(self, value: Any) -> Arrays:
        """Plain data → arrays; a place to read another form than numbers. Raises ValueError in words."""
        return arrays_of(value, self.names)

    def __call__(self, exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
        differs = self.differs or (lambda names, case, got, expected: difference(names, got, expected))
        problems, parsed = [], []
        for case, output in zip(cases, outputs, strict=True):
            got, problem = self.parse(output)
            if not problem:
                expected = self.read(run(exercise.reference, case, widen=True))
                problem = differs(self.names, case, got, expected)
                parsed.append(Answered(case, got, expected, not problem))
            problems.append(problem)
        holds = {case.group: True for case in cases}
        for case, problem in zip(cases, problems, strict=True):
            holds[case.group] &= not problem
        if not any(problems):
            return Finding(holds, next(filter(None, map(self.remark, outputs)), ""))
        if found := self.diagnose(parsed):
            return Finding(holds, found[0] + in_part(exercise.properties, cases, problems), found[1])
        case, problem = next((c, p) for c, p in zip(cases, problems, strict=True) if p)
        start = f"{case.note}: " if case.note else ""
        return Finding(holds, start + problem + self.next_step(case, parsed))

    def remark(self, output: Output) -> str:
        """What to say about an output whose values are right."""
        if output.message:
            return output.message
        items = (output.value,) if len(self.names) == 1 else output.value
        for name, item in zip(self.names, items, strict=True):
            due = self.kinds.get(name)
            if due and (came := np.asarray(item).dtype).kind not in {"bool": "b", "int64": "iu"}[due]:
                return f"the values are right, but {name} has dtype {came}, where the text asks for {due}"
        return ""

    def next_step(self, case: Case, answers: Sequence[Answered]) -> str:
        """The advice on a case, as an addition to a message, if the answer has the shapes that are due."""
        answer = next((answer for answer in answers if answer.case is case), None)
        if not self.advice or answer is None or [g.shape for g in answer.got] != [
            e.shape for e in answer.expected
        ]:
            return ""
        advice = self.advice(case, answer.got, answer.expected)
        return f". {advice}" if advice else ""

    def parse(self, output: Output) -> tuple[Arrays, str]:
        """The arrays of an output, or what is wrong with it."""
        if output.status == "nothing":
            return (), "your function returned nothing here"
        if output.status != "value":
            return (), output.message
        try:
            return self.read(output.value), ""
        except ValueError as error:
            return (), str(error)

    def diagnose(self, answers: Sequence[Answered]) -> tuple[str, str] | None:
        """(message, name) of the misconception that gives the student's result most often.

        It has to do so on at least half of what the student has wrong, or it may be chance: with the gates
        wide open many a wrong cell gives the same. Cases that the student has right count, too: a wrong
        function that gives something else on most of all cases is not this student's.
        """
        off = sum(not answer.right for answer in answers)
        best: tuple[int, Wrong | Symptom | None, Answered | None] = (0, None, None)
        for wrong in self.wrongs:
            explained = [answer for answer in answers if wrong.explains(self.read, answer.case, answer.got)]
            failing = [answer for answer in explained if not answer.right]
            few = 2 * len(failing) < off or (isinstance(wrong, Wrong) and 2 * len(explained) < len(answers))
            if failing and not few and len(explained) > best[0]:
                best = (len(explained), wrong, failing[0])
        _, wrong, answer = best
        if wrong is None or answer is None:
            return None
        if callable(wrong.message):
            return wrong.message(answer.case, answer.got, answer.expected), wrong.name
        where = difference(self.names, answer.got, answer.expected)
        place = f"{answer.case.note}: {where}" if answer.case.note and where else where
        return f"{wrong.message} ({place})" if place else wrong.message, wrong.name


def run(function: Callable, case: Case, widen: bool = False) -> Any:
    """What one of our own answers gives on a case, as plain data; with `widen` computed in float64."""
    args = [handed(value) for value in case.args.values()]
    if widen:
        args = [arg.double() if torch.is_tensor(arg) and arg.is_floating_point() else arg for arg in args]
    with torch.no_grad():
        return plain(function(*args))


def arrays_of(value: Any, names: tuple[str, ...]) -> Arrays:
    """Plain data → one float array per name. Raises ValueError in words for anything that is not numbers."""
    if len(names) == 1:
        try:
            return (_array(value, names[0]),)
        except ValueError:
            if isinstance(value, tuple) and len(value) > 1:
                raise ValueError(f"you return {len(value)} values, expected {names[0]} alone") from None
            raise
    if not isinstance(value, (tuple, list)) or len(value) != len(names):
        came = f"{len(value)} values" if isinstance(value, (tuple, list)) else kind(value)
        raise ValueError(f"expected {len(names)} values, ({', '.join(names)}), got {came}")
    return tuple(_array(item, name) for item, name in zip(value, names, strict=True))


def _array(value: Any, name: str) -> np.ndarray:
    if value is None:
        raise ValueError(f"{name} is missing: your function returned None for it")
    if isinstance(value, (str, dict, set)):
        raise ValueError(f"{name} is {kind(value)}, expected numbers")
    try:
        array = np.asarray(value)
    except ValueError:
        raise ValueError(f"{name} is a list whose rows have different lengths, expected a rectangular array") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds something that is not a number")
    return array.astype(np.float64)


def kind(value: Any) -> str:
    """What plain data is, with its article, for a message."""
    if isinstance(value, np.ndarray):
        return f"one array of shape {value.shape}"
    article = "an" if isinstance(value, int) and not isinstance(value, bool) else "a"
    return f"{article} {type(value).__name__}"


def same(got: Arrays, other: Arrays) -> bool:
    """Equal shapes, and values within the tolerance of `other`; NaN and ∞ must stand in the same places."""
    return all(g.shape == o.shape and not _off(g, o).any() for g, o in zip(got, other, strict=True))


def _off(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    if expected.dtype == object:  # texts
        return np.asarray(got != expected)
    finite = np.isfinite(expected)
    tolerance = RTOL * max(np.abs(expected[finite]).max(initial=0), 1e-6)
    with np.errstate(invalid="ignore"):
        equal = (got == expected) | (np.isnan(got) & np.isnan(expected))
        return ~(equal | (np.abs(got - expected) <= tolerance))


def first_off(got: np.ndarray, expected: np.ndarray) -> tuple[int, ...]:
    """The first index at which two arrays of one shape differ; there has to be one."""
    return tuple(int(i) for i in np.argwhere(_off(got, expected))[0])


def difference(names: tuple[str, ...], got: Arrays, expected: Arrays) -> str:
    """Where `got` first differs from `expected`, in words; "" if nowhere."""
    for name, g, e in zip(names, got, expected, strict=True):
        if e.ndim == 0 and g.size == 1:
            g = g.reshape(())
        if g.shape != e.shape:
            several = len(names) == 1 and e.ndim and g.ndim and len(g) > 1 and g.shape[1:] == e.shape
            more = f": do you return {len(g)} values?" if several else "" if e.ndim else ", a single number"
            return f"{name} has shape {g.shape}, expected {e.shape}{more}"
        if _off(g, e).any():
            at = first_off(g, e)
            place = f"{name}[{', '.join(map(str, at))}]" if at else name
            said, due = number(g[at]), number(e[at])
            if said == due:
                said, due = f"{g[at]:.6g}", f"{e[at]:.6g}"
            return f"{place} is {said}, expected {due}"
    return ""


def number(value: float) -> str:
    """A number for a message, short enough to be the same on every machine."""
    value = float(value)
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "∞" if value > 0 else "-∞"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}" if abs(value) >= 1e4 else str(int(value))
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e4 else f"{value:.2g}"
