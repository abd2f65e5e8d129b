"""What a grading process is told and what it tells, as lines of JSON: nothing is pickled between our own processes either."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from course_lib.grading.assignment import Assignment
from course_lib.grading.marking import Mark, mark
from course_lib.grading.sandbox import Isolation


class Unavailable(RuntimeError):
    """Grading cannot go on at all; the message says what to do."""


@dataclass(frozen=True)
class Settings:
    """What all submissions of a run share."""

    assignment: Assignment
    seed: int
    unsandboxed: bool = False

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps({"assignment": self.assignment.as_json(), "seed": self.seed, "unsandboxed": self.unsandboxed})

    @staticmethod
    def from_json(text: str) -> "Settings":
        """The inverse of as_json."""
        data = json.loads(text)
        return Settings(Assignment.from_json(data["assignment"]), data["seed"], data["unsandboxed"])


@dataclass(frozen=True)
class Task:
    """One submission to be marked, without the exercises in `done`."""

    student: str
    answers: dict[str, str]
    done: tuple[str, ...] = ()

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Task":
        """The inverse of as_json."""
        data = json.loads(text)
        return Task(data["student"], data["answers"], tuple(data["done"]))


@dataclass(frozen=True)
class Graded:
    """One mark of one student; or, with `fault`, why this submission could not be marked to its end."""

    student: str
    mark: Mark | None = None
    fault: str = ""

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Graded":
        """The inverse of as_json."""
        data = json.loads(text)
        mark = data["mark"] and Mark(**{**data["mark"], "review": tuple(data["mark"]["review"]),
                                        "properties": tuple(map(tuple, data["mark"]["properties"]))})
        return Graded(data["student"], mark, data["fault"])


def marks_of(task: Task, settings: Settings, isolated: Isolation) -> Iterator[Graded]:
    """The marks of one submission, as they come; a fault of ours ends it and costs the others nothing."""
    try:
        for found in mark(task.answers, settings.assignment, settings.seed, isolated, frozenset(task.done)):
            yield Graded(task.student, found)
    except Exception as error:
        yield Graded(task.student, fault=f"{type(error).__name__}: {error}"[:300])
