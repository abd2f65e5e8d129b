"""The commands. Standard library only, so that `--help` answers before anything is installed."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CALL = "python3 -m course_lib"


class Command(NamedTuple):
    """What the list of commands says of one: a line, and one example."""

    summary: str
    example: str


# Each command NAME is the click object NAME in course_lib/cli/NAME.py; without that file it is not listed.
_TABLE = {
    "run": Command("Execute the chapters in order and write out/report.html.", f"{CALL} run 03"),
    "test": Command("Run everything that must pass: library, exercises, notebooks.", f"{CALL} test --quick"),
    "lab": Command("Write the student edition to my_course/ and open JupyterLab on it.", f"{CALL} lab 03"),
    "release": Command("Write an assignment for students: notebook, README, points.", f"{CALL} release 03"),
    "grade": Command("Grade what students handed in, in a sandbox.", f"{CALL} grade submissions.zip --assignment 03"),
    "train": Command("Train a recipe on real data, alone or under torchrun.", f"{CALL} train multi30k"),
    "bench": Command("Measure speed and memory beside peers and the machine's ceiling.", f"{CALL} bench gpt --quick"),
    "data": Command("List, download and check the real data sets.", f"{CALL} data fetch multi30k"),
    "doctor": Command("Check this computer and say how to fix what is missing.", f"{CALL} doctor"),
}
COMMANDS = {name: command for name, command in _TABLE.items()
            if Path(__file__).with_name(f"{name}.py").is_file()}


def first_help(arguments: list[str]) -> str | None:
    """The help that can be given before the environment exists; None if none was asked for."""
    if arguments and arguments[0] in COMMANDS and {"--help", "-h"} & set(arguments):
        command = COMMANDS[arguments[0]]
        return (f"{command.summary}\n\n  Example: {command.example}\n\n"
                "Its options are listed once the environment is set up, which the first command does.")
    if arguments and not {"--help", "-h"} & set(arguments):
        return None
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return (
        f"Usage: {CALL} COMMAND [ARGUMENTS]\n\nCommands:\n"
        + "\n".join(lines)
        + f"\n\n  Example: {CALL} run\n\nThe first command sets up everything in .venv/ (once, some minutes)."
    )
