"""Grading on a Dask cluster: the same sandboxed worker on each node, a submission to a task."""

import atexit
import importlib
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from course_lib.grading.running import LIBRARY, Runner
from course_lib.grading.sandbox import Isolation, isolation
from course_lib.grading.store import course_version
from course_lib.grading.tasks import Graded, Settings, Task, Unavailable, marks_of

_mine = threading.local()  # a thread of a node keeps its worker from one submission to the next


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
            for future in distributed.as_completed(futures, loop=client.loop):
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
    shared = Settings.from_json(settings)
    return [graded.as_json() for graded in marks_of(Task.from_json(task), shared, _isolated(shared.unsandboxed))]


def _isolated(unsandboxed: bool) -> Isolation:
    """This thread's isolation, made when first needed and ended with the process."""
    held: dict[str, Isolation] = _mine.__dict__
    key = str(unsandboxed)
    if key not in held:
        held[key] = isolation(unsandboxed)
        atexit.register(held[key].close)
    return held[key]
