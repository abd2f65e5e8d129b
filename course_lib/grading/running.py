"""Grading many submissions: in this process, in several, or on Dask; what is done is stored at once and not done again."""

import importlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from course_lib.grading.assignment import Assignment
from course_lib.grading.marking import Mark, mark
from course_lib.grading.sandbox import isolation
from course_lib.grading.store import Store, course_version, keys_of
from course_lib.grading.submissions import Submission

LIBRARY = Path(__file__).resolve().parents[1]
MODULE = "course_lib.grading.job"


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
        mark = data["mark"] and Mark(**{**data["mark"], "review": tuple(data["mark"]["review"])})
        return Graded(data["student"], mark, data["fault"])


Runner = Callable[[Sequence[Task], Settings], Iterator[Graded]]


def grade(submissions: Sequence[Submission], store: Store, settings: Settings, run: Runner,
          told: Callable[[Graded], None] = lambda graded: None) -> list[Graded]:
    """Mark what has not been marked under the same conditions; every mark is stored before the next one is awaited.

    `run` is `here`, `jobs(n)` or `dask(address)`. Returns the submissions that could not be marked to their end.
    """
    course, tasks, faults = course_version(LIBRARY), [], []
    keys = {one.student: keys_of(one, settings.assignment, settings.seed, course) for one in submissions}
    missing = {one.student: one.missing for one in submissions}
    for one in submissions:
        store.enrol(one)
        done = store.done(one.student, keys[one.student])
        if len(done) < len(settings.assignment.exercises):
            tasks.append(Task(one.student, dict(one.answers), tuple(sorted(done))))
    for graded in run(tasks, settings) if tasks else ():
        if graded.mark is None:
            faults.append(graded)
        else:
            why = missing[graded.student].get(graded.mark.id)
            mark = replace(graded.mark, reason=why) if why else graded.mark
            store.add(graded.student, mark, keys[graded.student][mark.id])
        told(graded)
    return faults


def here(tasks: Sequence[Task], settings: Settings) -> Iterator[Graded]:
    """One submission after the other, in this process."""
    isolated = isolation(settings.unsandboxed)
    for task in tasks:
        try:
            for found in mark(task.answers, settings.assignment, settings.seed, isolated, frozenset(task.done)):
                if found.id not in task.done:
                    yield Graded(task.student, found)
        except Exception as error:  # a fault of ours must not cost the others their marks
            yield Graded(task.student, fault=f"{type(error).__name__}: {error}"[:300])


def jobs(count: int) -> Runner:
    """A runner on `count` processes, each with a sandboxed worker of its own."""

    def run(tasks: Sequence[Task], settings: Settings) -> Iterator[Graded]:
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        found: queue.SimpleQueue[Graded | None] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        members = [_Job(settings, waiting, found) for _ in range(min(count, len(tasks)))]
        try:
            for member in members:
                member.start()
            running = len(members)
            while running:
                graded = found.get()
                if graded is None:
                    running -= 1
                else:
                    yield graded
        finally:  # also when the caller stops in the middle
            for member in members:
                member.stop()

    return run


class _Job(threading.Thread):
    """One process and the thread that feeds it; a process that dies is replaced, its submission tried once more."""

    def __init__(self, settings: Settings, waiting: queue.SimpleQueue, found: queue.SimpleQueue) -> None:
        super().__init__(daemon=True)
        self.settings, self.waiting, self.found = settings, waiting, found
        self.process: subprocess.Popen[str] | None = None
        self.stopped = False

    def run(self) -> None:
        """Hand out submissions until none is left; ends with None in the queue of results."""
        try:
            while not self.stopped:
                try:
                    task = self.waiting.get_nowait()
                except queue.Empty:
                    break
                done, ended = self._mark(task)
                if not ended and not self.stopped:
                    done, ended = self._mark(replace(task, done=done))
                    if not ended and not self.stopped:
                        self.found.put(Graded(task.student, fault="the grading process died twice on it"))
        finally:
            self._end()
            self.found.put(None)

    def _mark(self, task: Task) -> tuple[tuple[str, ...], bool]:
        """(exercises that are done, whether the end was reached)."""
        done = list(task.done)
        try:
            if self.process is None:
                self.process = _started(self.settings)
            self.process.stdin.write(task.as_json() + "\n")
            self.process.stdin.flush()
            while (line := self.process.stdout.readline()).endswith("\n"):
                if line == "end\n":
                    return tuple(done), True
                graded = Graded.from_json(line)
                done += [graded.mark.id] if graded.mark else []
                self.found.put(graded)
        except OSError:
            pass
        self._end()
        return tuple(done), False

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill() if self.stopped else process.stdin.close()
            process.wait()

    def stop(self) -> None:
        """End the process, in the middle of a submission if need be."""
        self.stopped = True
        if (process := self.process) is not None:
            process.kill()
        self.join()


def _started(settings: Settings) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(LIBRARY.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", MODULE], env=variables, text=True, encoding="utf-8",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdin.write(settings.as_json() + "\n")
    return process


def dask(address: str) -> Runner:
    """A runner on the workers of a Dask scheduler; a submission whose worker dies goes to another one."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise Unavailable("--scheduler needs Dask, which the course does not install: "
                          f"{sys.executable} -m pip install distributed") from None

    def run(tasks: Sequence[Task], settings: Settings) -> Iterator[Graded]:
        try:
            client = distributed.Client(address, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise Unavailable(f"no Dask scheduler answers at {address}: {error}") from None
        with client:
            course, shared = course_version(LIBRARY), settings.as_json()  # not scattered: that dies with its worker
            futures = {client.submit(on_node, shared, task.as_json(), course, pure=False): task for task in tasks}
            for future in distributed.as_completed(futures):
                if future.status == "finished":
                    yield from map(Graded.from_json, future.result())
                else:
                    yield Graded(futures[future].student, fault=f"on Dask: {future.exception()}"[:300])
                future.release()

    return run


def on_node(settings: str, task: str, course: str) -> list[str]:
    """What a Dask worker runs: one submission. Raises Unavailable if its checkout is not the caller's."""
    if course_version(LIBRARY) != course:
        raise Unavailable(f"the course in {LIBRARY.parent} on this node is another version")
    return [graded.as_json() for graded in here([Task.from_json(task)], Settings.from_json(settings))]
