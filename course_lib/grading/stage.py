"""What a worker finds on disk: the course without its judges, in a folder that goes with the grader that laid it out."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]
HIDDEN = ("exercises", "grading", "cli", "__main__.py", "__pycache__")
SHOWN = ("exercises/answers.py", "exercises/wire.py", "grading/worker.py", "grading/confine.py", "grading/frames.py")
NO_CHECK = '"""Empty where answers run, but for a check that says nothing."""\n\n\ndef check(*_):\n    pass\n'
PREFIX = "course-worker-"


class Stage:
    """A folder with the course as answers may see it: the library without exercises, grading and commands."""

    def __init__(self) -> None:
        sweep()
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.held = os.open(self.path / "new", os.O_CREAT | os.O_RDWR, 0o600)
        _lock(self.held)  # until close, or until this process has ended
        (self.path / "new").rename(self.path / "lock")  # only now, locked, may a sweep see it
        self.path.chmod(0o755)
        here = self.path / "course_lib"
        shutil.copytree(LIBRARY, here, ignore=lambda folder, names: [name for name in names if name in HIDDEN])
        for name in ("exercises", "grading"):
            (here / name).mkdir()
            (here / name / "__init__.py").write_text(NO_CHECK)
        for name in SHOWN:
            shutil.copy(LIBRARY / name, here / name)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.held)


def sweep() -> None:
    """Remove what killed graders left; what is in use is locked, and what is another user's cannot be opened."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), open(left, "r+b") as lock:
            _lock(lock.fileno())
            shutil.rmtree(left.parent, ignore_errors=True)


def _lock(file: int) -> None:
    """Take the lock of an open file, or raise BlockingIOError."""
    import fcntl  # not on Windows, where nothing is graded
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
