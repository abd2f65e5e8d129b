"""The folder .venv/: made from a bare checkout, kept in step with requirements.txt. Standard library only."""

import errno
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from course_lib.cli import ROOT
from course_lib.cli.install import SetupError, pip_install, say
from course_lib.cli.process import clean_environment, lock, replace_process

REQUIREMENTS = "requirements.txt"
STAMP, MARKER = "course_lib.ready", "course_lib.unfinished"
HANDED = "COURSE_LIB_HANDED_OVER"  # set for the process that hand_over starts, so that it cannot loop
FULL = "the disk is full: free about 2 GB and start the same command again"
ROOM = 2_000_000_000                        # bytes; 1.5 GB measured with PyTorch's CPU build, more with CUDA


def pins(path: Path) -> dict[str, str]:
    """The exact versions that a requirements file asks for: "torch==2.13.0  # why" gives {"torch": "2.13.0"}.

    Raises SetupError for a missing file or a line that is no exact pin.
    """
    if not path.is_file():
        raise SetupError(f"{path} is missing; run this from a complete checkout")
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+)", line)
        if not match:
            raise SetupError(f"{path.name}: {line!r} is not of the form NAME==VERSION")
        found[match[1]] = match[2]
    return found


def installed_version(name: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def unmet(path: Path, version: Callable[[str], str | None] = installed_version) -> list[str]:
    """The pins of a requirements file that this interpreter does not satisfy.

    A local build counts as its version: torch 2.13.0+cpu satisfies torch==2.13.0.
    """
    return [f"{name}=={wanted}" for name, wanted in pins(path).items()
            if (version(name) or "").split("+")[0] != wanted]


def satisfied(root: Path = ROOT) -> bool:
    """True if the running interpreter has all that requirements.txt asks for."""
    try:
        return not unmet(root / REQUIREMENTS)
    except SetupError:
        return False                        # set_up says what is wrong


def venv_python(venv: Path) -> Path:
    """The interpreter inside a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def digest(path: Path) -> str:
    """What the stamp holds: requirements.txt by content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def state(venv: Path, wanted: str) -> str:
    """What is at .venv: "absent", "unfinished", "broken" (its Python does not run), "outdated" or "ready"."""
    if not venv.exists() and not venv.is_symlink():
        return "absent"
    if venv.is_symlink() or not venv.is_dir():
        raise SetupError(f"{venv} is a link or a file, not a folder of ours; move it away and start again")
    if (venv / MARKER).exists():
        return "unfinished"
    check = [str(venv_python(venv)), "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        runs = subprocess.run(check, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except OSError:
        runs = False
    if not runs:
        return "broken"
    stamp = venv / STAMP
    return "ready" if stamp.is_file() and stamp.read_text().strip() == wanted else "outdated"


def set_up(root: Path = ROOT) -> None:
    """Make .venv/ satisfy requirements.txt, or raise SetupError and leave nothing half done."""
    pins(root / REQUIREMENTS)               # say at once if the file is not there
    venv, wanted = root / ".venv", digest(root / REQUIREMENTS)
    inside, handed = Path(sys.prefix).resolve() == venv.resolve(), os.environ.pop(HANDED, "")
    try:
        (root / "out").mkdir(exist_ok=True)
        with lock(root / "out" / "setup.lock") as held:
            found = state(venv, wanted)
            if handed == "installed" or (handed and not inside):
                raise SetupError(
                    f"after the set-up .venv still lacks {', '.join(unmet(root / REQUIREMENTS))}; "
                    "delete the folder .venv and start again"
                )
            if inside and found == "ready":     # the stamp is right, the packages are not: changed by hand
                found = "outdated"
            if found != "ready":
                _install(root, found, held)
                (venv / STAMP).write_text(wanted + "\n")
                (venv / MARKER).unlink(missing_ok=True)
        os.environ[HANDED] = "ready" if found == "ready" else "installed"
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise SetupError(FULL) from error
        raise SetupError(f"cannot write in {root}: {error.strerror or error}; "
                         "the course needs a checkout that it may write to") from error


def _install(root: Path, found: str, held: int) -> None:
    """Install into a new .venv, or into the one that is there; the marker stands while it is not whole."""
    venv, log = root / ".venv", root / "out" / "setup.log"
    fresh = found != "outdated"
    if fresh:
        _room(root)
        if found != "absent":
            say(f"the folder .venv is {found}; it is made anew")
            _remove(venv)
        say("setting up .venv (once; about 2 GB and 3 to 10 minutes, more where pip takes PyTorch with CUDA)")
        venv.mkdir()
    else:
        say("bringing .venv in step with requirements.txt")
    before = _packages(venv)
    (venv / MARKER).touch()
    (venv / STAMP).unlink(missing_ok=True)
    try:
        if fresh:
            make_venv(venv)
        pip_install(venv_python(venv), [root / REQUIREMENTS], log, keep_open=held)
    except BaseException:
        if fresh:
            _remove(venv)
        elif before == _packages(venv):         # it failed before anything was changed
            (venv / MARKER).unlink()
        raise


def make_venv(venv: Path) -> None:
    """A new virtual environment with pip; SetupError says what the system lacks."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([base, "-I", "-m", "venv", str(venv)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    if made.returncode:
        raise SetupError(venv_fault(made.stdout))


def venv_fault(output: str) -> str:
    """What to do when `python -m venv` failed, from what it printed."""
    release = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if re.search(r"ensurepip|No module named '?venv", output):
        return (f"this Python cannot make virtual environments; on Debian and Ubuntu: "
                f"sudo apt install python{release}-venv (elsewhere: install Python from python.org)")
    if re.search(r"No space left|Errno 28|not enough space", output):
        return FULL
    words = output.strip().splitlines()
    return f"python -m venv failed: {words[-1] if words else 'no message'}"


def _room(root: Path) -> None:
    free = shutil.disk_usage(root).free
    if free < ROOM:
        raise SetupError(
            f"the disk is too full: about {ROOM / 1e9:.0f} GB are needed in {root}, {free / 1e9:.1f} GB "
            "are free; free some space and start the same command again"
        )


def _remove(venv: Path) -> None:
    """Delete .venv; renamed first, so that being killed half-way leaves no .venv that looks whole."""
    aside = venv.parent / "out" / "venv.old"
    try:
        if aside.exists():
            shutil.rmtree(aside)
        venv.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise SetupError(f"cannot remove {venv} ({error.strerror or error}); "
                         "close programs that use it, delete the folder and start again") from error


def _packages(venv: Path) -> set[str]:
    return {path.name for pattern in ("lib/python*/site-packages/*", "Lib/site-packages/*")
            for path in venv.glob(pattern)}


def hand_over(arguments: list[str], root: Path = ROOT) -> None:
    """Go on in .venv's Python with the same arguments; does not return."""
    replace_process(
        [str(venv_python(root / ".venv")), "-m", "course_lib", *arguments], clean_environment(root)
    )
