"""Where foreign code runs: a worker process behind bubblewrap, or by name without it. What comes back is checked bytes.

One worker serves many answers, each in a copy that ends with it; whatever an answer does to its copy, to the worker or
to the reply is a reason in a `Reply`, never an exception here.
"""

import gc
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading import confine, frames
from course_lib.grading.box import Box
from course_lib.grading.replies import Limits, Reply, read_reply
from course_lib.grading.stage import Stage

START_SECONDS, GRACE_SECONDS = 120.0, 5.0
SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache")  # shared libraries


@dataclass(frozen=True)
class Task:
    """One answer to run: `prelude` is the course's own source, `source` the student's, `name` what to call on the inputs.

    `inputs` is a list of argument dicts, packed by `wire.pack`, and `due` its length.
    """

    name: str
    source: str
    inputs: tuple[str, list[bytes]]
    due: int
    prelude: str = ""
    is_function: bool = True
    watched: tuple[str, ...] = ()


@dataclass
class Isolation:
    """Runs tasks in a worker that is started when first needed, and again after it was lost. Close it, or use `with`."""

    protects = ""
    shared = False  # may one worker serve several students?
    alone: bool = field(default=False, init=False)
    box: Box | None = field(default=None, init=False)
    stage: Stage | None = field(default=None, init=False)

    def command(self, stage: Path) -> list[str]:
        """The command line of a worker that finds the course at `stage`."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the worker and remove what was laid out for it."""
        self.drop()
        if self.stage:
            self.stage.close()
            self.stage = None

    def drop(self) -> None:
        """End the worker; the next task starts another."""
        if self.box:
            self.box.close()
            self.box = None

    def next_student(self) -> None:
        """Call between two submissions: a worker that cannot shield them from each other is replaced."""
        if not (self.shared and self.alone):
            self.drop()

    def start(self) -> None:
        """Start a worker if none runs. Raises ValueError with what the system said if it cannot."""
        if self.box:
            return
        self.stage = self.stage or Stage()
        place = self.stage.path
        self.box = Box(self.command(place), place, environment(place))
        ready, _ = self.box.exchange(b"", START_SECONDS, 0)
        if not (ready and ready.get("ready") is True):
            said = self.box.last_words()
            self.drop()
            raise ValueError(f"isolation: the worker does not start: {said or 'no word from it'}")
        self.alone = bool(ready["alone"])
        gc.freeze()  # the collector need not look through torch again: replies are read in a third of the time

    def run(self, task: Task, limits: Limits) -> Reply:
        """Run one task; once more if the worker vanishes, which need not be the answer's doing. ValueError if none can be started."""
        for again in (False, True):
            self.start()
            ended, content = self.box.exchange(self._request(task, limits), limits.seconds + GRACE_SECONDS, limits.reply)
            vanished = ended is None and self.box.has_ended()
            if ended is None:
                self.drop()
            if not vanished or again:
                break
        return read_reply(ended, content, task.due, limits)

    def _request(self, task: Task, limits: Limits) -> bytes:
        inputs, blobs = task.inputs
        return frames.frame({"name": task.name, "source": task.source, "prelude": task.prelude, "inputs": inputs, "alone": self.alone,
                             "is_function": task.is_function, "watched": task.watched, "seconds": limits.seconds,
                             "cpu_seconds": limits.cpu_seconds, "memory": limits.memory}, blobs)


def environment(stage: Path) -> dict[str, str]:
    """All that a worker knows of the world's variables."""
    return {"PYTHONPATH": str(stage), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1",
            "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg", "LC_ALL": "C.UTF-8",
            "HOME": "/tmp", "MPLCONFIGDIR": "/tmp"}


class Bubblewrap(Isolation):
    """A worker that sees interpreter, libraries and the course, read-only, no network, no other process; each answer alone."""

    protects = "answers see no file but the libraries, no network, no process but their own"
    shared = True

    def command(self, stage: Path) -> list[str]:
        program = shutil.which("bwrap")
        if program is None:
            raise ValueError("isolation: got a system without bubblewrap (bwrap), expected one with it")
        command = [program, "--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
                   "--unshare-cgroup-try", "--cap-drop", "ALL"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"] if os.geteuid() == 0 else ["--unshare-user"]
        command += ["--proc", "/proc", "--dev", "/dev"]
        for place in confine.SCRATCH:  # before what is shown: Python itself may lie under one of them
            command += ["--perms", "1777", "--size", str(64 << 20), "--tmpfs", place]
        shown = tuple(dict.fromkeys((*SYSTEM, sys.base_prefix, sys.prefix)))
        for parent in dict.fromkeys(parent for place in shown for parent in reversed(Path(place).parents[:-1])):
            command += ["--perms", "0755", "--dir", str(parent)]
        for place in shown:
            command += ["--ro-bind-try", place, place]
        command += ["--ro-bind", str(stage), "/course", "--remount-ro", "/", "--chdir", "/tmp", "--setenv", "PYTHONPATH", "/course"]
        return [*command, sys.executable, "-sP", "-m", "course_lib.grading.worker", "--sandboxed"]


class Unsandboxed(Isolation):
    """A worker with its own process, limits and variables, and nothing else between it and this machine."""

    protects = ("without a sandbox an answer can read and write every file that you can, your gradebook and other submissions "
                "among them, use the network, and leave processes running; points still come from returned values alone")

    def command(self, stage: Path) -> list[str]:
        return [sys.executable, "-sP", "-m", "course_lib.grading.worker"]


def isolation(unsandboxed: bool = False) -> Isolation:
    """The sandbox, or by name none. Raises ValueError, saying what is then not protected, if there is no sandbox to be had."""
    if not hasattr(os, "fork"):
        raise ValueError("isolation: got a system without fork, expected Linux, macOS, or Linux under Windows (WSL)")
    if unsandboxed:
        return Unsandboxed()
    box = Bubblewrap()
    try:
        box.start()
    except ValueError as error:
        box.close()
        raise ValueError(f"{error}; to grade all the same ask for --unsandboxed: {Unsandboxed.protects}") from None
    return box
