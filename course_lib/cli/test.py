"""The command `test`: everything that must pass."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

import click

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS
from course_lib.cli.doctor import usable_cores
from course_lib.cli.environment import REQUIREMENTS, unmet
from course_lib.cli.install import SetupError, pip_install, say
from course_lib.cli.process import clean_environment
from course_lib.cli.progress import clock

SANITISE = ROOT / "tests" / "notebooks" / "nbval_sanitize.cfg"
CELL_SECONDS = 600  # a kernel that died is noticed only then; the longest cell trains two minutes


@click.command(
    context_settings={"ignore_unknown_options": True}, epilog=f"Example: {COMMANDS['test'].example}"
)
@click.option("--quick", is_flag=True, help="Leave out the notebooks.")
@click.option(
    "--long", "everything", is_flag=True, help="Also the slow tests, such as a chapter in a browser."
)
@click.argument("arguments", metavar="[PYTEST ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(context: click.Context, quick: bool, everything: bool, arguments: Sequence[str]) -> None:
    """Run everything that must pass: library, exercises, commands, then the notebooks by nbval.

    What only the tests need (tests/requirements.txt) is installed first. Tests on real data run where
    COURSE_DATA names a folder that has them, and are skipped with a reason elsewhere. With arguments for
    pytest, such as a path or -k NAME, only what they select is run; a notebook's path runs that notebook.

    Ends with exit code 1 if anything fails.
    """
    try:
        install_for_tests()
    except SetupError as error:
        say(str(error))
        context.exit(2)
    books = [argument for argument in arguments if argument.endswith(".ipynb")]
    others = [argument for argument in arguments if argument not in books]
    parts = {}
    if others or not books:
        parts["tests"] = unit_command(others, everything)
    if books or not (others or quick):
        parts["notebooks"] = notebook_command(books or sorted(map(str, NOTEBOOKS.glob("*.ipynb"))))
    codes, lines = [], []
    for name, command in parts.items():
        start = time.monotonic()
        codes.append(subprocess.run(command, cwd=ROOT, env=variables(name)).returncode)
        lines.append(f"{'✓' if codes[-1] == 0 else '✗'} {name}: {clock(time.monotonic() - start)}")
    click.echo("\n" + "\n".join(lines))
    context.exit(1 if any(codes) else 0)


def install_for_tests() -> None:
    """Install tests/requirements.txt beside requirements.txt, unless it is all there. Raises SetupError."""
    wanted = ROOT / "tests" / REQUIREMENTS
    if unmet(wanted):
        say("installing what only the tests need (once; about a minute)")
        pip_install(sys.executable, [ROOT / REQUIREMENTS, wanted], ROOT / "out" / "setup.log")


def unit_command(arguments: Sequence[str], everything: bool) -> list[str]:
    """pytest on tests/, on up to four processes."""
    chosen = [] if everything else ["-m", "not slow"]
    processes = max(1, min(4, int(usable_cores())))
    return [sys.executable, "-m", "pytest", *chosen, "-n", str(processes), *arguments]


def notebook_command(paths: Sequence[str]) -> list[str]:
    """nbval on notebooks, a file to a process, two cores each."""
    processes = min(len(paths), int(usable_cores()) // 2)
    parallel = ["-n", str(processes), "--dist", "loadfile"] if processes > 1 else []
    return [
        sys.executable,
        "-m",
        "pytest",
        "--nbval",
        "--nbval-current-env",
        f"--nbval-sanitize-with={SANITISE}",
        f"--nbval-cell-timeout={CELL_SECONDS}",
        "--nbval-kernel-startup-timeout=120",
        *parallel,
        *(paths or [str(NOTEBOOKS)]),
    ]


def variables(part: str) -> dict[str, str]:
    """The environment for one part: unit tests share the cores as processes, so each has one thread."""
    inherited = clean_environment()
    inherited.pop("MPLBACKEND", None)
    inherited.pop("COURSE_OUTCOMES", None)
    own = {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"} if part == "tests" else {}
    return {**inherited, **own, "IPYTHONDIR": os.path.join(ROOT, "out", "ipython")}
