"""Processes: one at a time, with an environment of our own, one becoming another. Standard library only."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from course_lib.cli import ROOT
from course_lib.cli.install import say


class Busy(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[int]:
    """Hold a file lock, or raise Busy where `wait` is False; yields its descriptor.

    The system lets go of it when its holders end, however they end; a child that is to hold it gets the
    descriptor.
    """
    with open(path, "a+b") as file:
        if os.name == "nt":
            import msvcrt
            take = lambda: msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)    # noqa: E731
        else:
            import fcntl
            take = lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)     # noqa: E731
        told = False
        while True:
            try:
                take()
                break
            except (BlockingIOError, PermissionError):      # taken; other errors are the disk's
                if not wait:
                    raise Busy from None
                if not told:
                    told = True
                    say("another course_lib is setting up .venv; waiting for it")
                time.sleep(0.5)
        yield file.fileno()


def clean_environment(root: Path = ROOT) -> dict[str, str]:
    """The environment for our own processes: course_lib importable from anywhere, no other Python paths.

    Nothing of the user's own Jupyter and IPython either: it could start another Python or change cells.
    """
    unwanted = {
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "IPYTHONDIR",
        "JUPYTER_PATH",
        "JUPYTER_CONFIG_PATH",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTERLAB_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
    }
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONPATH": str(root), "JUPYTER_PREFER_ENV_PATH": "1"}


def replace_process(command: list[str], variables: dict[str, str]) -> None:
    """Become another program, as exec does; does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        os.execve(command[0], command, variables)
    child = subprocess.Popen(command, env=variables)        # Windows' exec would not wait
    while True:
        try:
            sys.exit(child.wait())
        except KeyboardInterrupt:               # the child got it as well and ends by itself
            continue
