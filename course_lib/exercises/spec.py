"""What an exercise is, what inputs it draws, and what a judge says about an answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from course_lib.exercises.answers import Output

KINDS = ("implement", "debug", "predict", "measure")


@dataclass(frozen=True)
class Case:
    """One drawn input: `args` for the answer, `note` in words for messages, `hidden` for the judge alone."""

    group: str
    args: dict[str, Any]
    note: str = ""
    hidden: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Property:
    """One thing an answer must get right: its points are earned when every case of `group` is."""

    group: str
    text: str
    points: int = 1


@dataclass(frozen=True)
class Finding:
    """What an examiner found: which groups hold, a message, and the misconception's name if it has one."""

    holds: dict[str, bool]
    message: str = ""
    misconception: str = ""


@dataclass(frozen=True)
class Result:
    """One property in a verdict."""

    text: str
    points: int
    maximum: int

    @property
    def ok(self) -> bool:
        return self.points == self.maximum


@dataclass(frozen=True)
class Verdict:
    """Points by property, and what to tell the student. `str(verdict)` is what `check` prints."""

    id: str
    title: str
    attempted: bool
    results: tuple[Result, ...]
    message: str = ""
    misconception: str = ""

    @property
    def points(self) -> int:
        return sum(result.points for result in self.results)

    @property
    def maximum(self) -> int:
        return sum(result.maximum for result in self.results)

    @property
    def ok(self) -> bool:
        return self.attempted and self.points == self.maximum

    def __str__(self) -> str:
        if not self.attempted:
            return f"– {self.id} · {self.title} · not attempted yet"
        lines = [
            f"{'✓' if self.ok else '✗'} {self.id} · {self.title} · {self.points} of {self.maximum} points"
        ]
        lines += [f"  {'✓' if result.ok else '✗'} {result.text}" for result in self.results]
        return "\n".join(lines + ([f"  → {self.message}"] if self.message else []))


Examiner = Callable[["Exercise", Sequence[Case], Sequence[Output]], Finding]


@dataclass(frozen=True)
class Exercise:
    """One exercise of a chapter: how inputs are drawn, how outputs are judged, and what its header says.

    `draw(rng)` gives the cases; `examine` compares outputs with expected values from course_lib; `reference`
    is a right answer (for "predict": a function from the case's args to it). `judge` sees plain data only.
    """

    id: str
    title: str
    kind: str
    difficulty: int
    minutes: int
    objective: str
    properties: tuple[Property, ...]
    draw: Callable[[np.random.Generator], list[Case]]
    examine: Examiner
    reference: Callable[..., Any]

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind: got {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not 1 <= self.difficulty <= 5:
            raise ValueError(f"difficulty: got {self.difficulty}, expected 1 to 5")

    @property
    def points(self) -> int:
        return sum(prop.points for prop in self.properties)

    @property
    def is_function(self) -> bool:
        """True if the answer is a function to be run on the cases, False if it is a value."""
        return self.kind != "predict"

    @property
    def header(self) -> str:
        """The line above the exercise: number, title, difficulty, minutes, points, kind."""
        dots = "●" * self.difficulty + "○" * (5 - self.difficulty)
        return f"{self.id} · {self.title}   {dots} · {self.minutes} min · {self.points} points · {self.kind}"

    def inputs(self, rng: np.random.Generator) -> list[Case]:
        """Draw the cases: the ordinary ones first, then the hard ones."""
        return self.draw(rng)

    def judge(self, cases: Sequence[Case], outputs: Sequence[Output]) -> Verdict:
        """Points and message for `outputs`, one per case. Any plain data gives a verdict."""
        if len(outputs) != len(cases):
            raise ValueError(f"outputs: got {len(outputs)}, expected one for each of the {len(cases)} cases")
        attempted = any(output.status != "nothing" for output in outputs)
        found = self.examine(self, cases, outputs) if attempted else Finding({})
        earned = [prop.points if found.holds.get(prop.group) else 0 for prop in self.properties]
        results = tuple(
            Result(prop.text, n, prop.points) for prop, n in zip(self.properties, earned, strict=True)
        )
        return Verdict(self.id, self.title, attempted, results, found.message, found.misconception)


def in_part(properties: Sequence[Property], cases: Sequence[Case], problems: Sequence[str]) -> str:
    """Which cases are wrong of a property that names several, each with its note, if others are right; "" if none."""
    told = ""
    for prop in properties:
        mine = [(case.note, bool(problem)) for case, problem in zip(cases, problems, strict=True) if case.group == prop.group]
        wrong = [note for note, off in mine if off]
        if all(0 < len(note) <= 40 for note, _ in mine) and 0 < len(wrong) < len(mine):  # a longer note is the input itself
            told += f" Of “{prop.text}” this is wrong: {'; '.join(dict.fromkeys(wrong))}."
    return told
