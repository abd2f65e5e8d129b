"""Grading many submissions, in this process or in several; what is done is stored at once and not done again."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from course_lib.grading.sandbox import Isolation, isolation
from course_lib.grading.store import Store, course_version, keys_of
from course_lib.grading.submissions import Submission, is_open
from course_lib.grading.tasks import Graded, Settings, Task, Unavailable, marks_of

LIBRARY = Path(__file__).resolve().parents[1]
MODULE = "course_lib.grading.job"


Runner = Callable[[Sequence[Task], Settings], Iterator[Graded]]


def grade(submissions: Sequence[Submission], store: Store, settings: Settings, run: Runner,
          told: Callable[[Graded], None] = lambda graded: None, began: Callable[[int], None] = lambda done: None) -> list[Graded]:
    """Mark what has not been marked under the same conditions; every mark is stored before the next one is awaited.

    `began` is told how many marks there are already, `told` each new one. `run` is `here`, `jobs(n)` or
    `cluster.dask(address)`. Returns the submissions that could not be marked to their end.
    """
    course, tasks, faults, kept = course_version(LIBRARY), [], [], 0
    keys = {one.student: keys_of(one, settings.assignment, settings.seed, course) for one in submissions}
    missing = {one.student: one.missing for one in submissions}
    for one in submissions:
        store.enrol(one)
        done = store.done(one.student, keys[one.student])
        kept += len(done)
        if len(done) < len(settings.assignment.exercises):
            tasks.append(Task(one.student, one.to_judge(), tuple(sorted(done))))
    began(kept)
    for graded in run(tasks, settings) if tasks else ():
        if graded.mark is None:
            faults.append(graded)
        else:
            why = missing[graded.student].get(graded.mark.id)
            mark = replace(graded.mark, reason=why, attempted=not is_open(why)) if why else graded.mark
            store.add(graded.student, mark, keys[graded.student][mark.id])
        told(graded)
    return faults


def here(tasks: Sequence[Task], settings: Settings) -> Iterator[Graded]:
    """One submission after the other, in this process."""
    with sandbox(settings) as isolated:
        for task in tasks:
            yield from marks_of(task, settings, isolated)


def sandbox(settings: Settings) -> Isolation:
    """Where answers run. Raises Unavailable with what is then not protected if there is no sandbox to be had."""
    try:
        return isolation(settings.unsandboxed)
    except ValueError as error:
        raise Unavailable(str(error)) from error


def jobs(count: int) -> Runner:
    """A runner on `count` processes, each with a sandboxed worker of its own."""

    def run(tasks: Sequence[Task], settings: Settings) -> Iterator[Graded]:
        sandbox(settings).close()  # say at once that there is none, and not for every submission
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
                if self.stopped:  # stop() came too early to see it
                    raise OSError
            self.process.stdin.write(task.as_json() + "\n")
            self.process.stdin.flush()
            while (line := self.process.stdout.readline()).endswith("\n"):
                if line == "end\n":
                    return tuple(done), True
                graded = Graded.from_json(line)
                done += [graded.mark.id] if graded.mark else []
                self.found.put(graded)
        except (OSError, ValueError, KeyError, TypeError):  # a dead process, or one that says nothing sensible
            pass
        self._end()
        return tuple(done), False

    def _end(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(OSError):  # it may be dead already
                process.stdin.close()
            process.wait()
            process.stdout.close()

    def stop(self) -> None:
        """End the process, in the middle of a submission if need be."""
        self.stopped = True
        if (process := self.process) is not None:
            process.kill()
        self.join()


def _started(settings: Settings) -> subprocess.Popen[str]:
    variables = {**os.environ, "PYTHONPATH": str(LIBRARY.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", MODULE], env=variables, text=True, encoding="utf-8",
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)  # Ctrl-C is for us
    process.stdin.write(settings.as_json() + "\n")
    return process
