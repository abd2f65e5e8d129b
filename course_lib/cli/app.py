"""The command line as one click group; a command's file is imported only when that command is called."""

import importlib
import os

import click

from course_lib.cli import CALL, COMMANDS, environment


class Commands(click.Group):
    """The table of course_lib.cli as commands: `doctor` need not load what `run` needs."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The click object NAME of course_lib/cli/NAME.py."""
        if name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"course_lib.cli.{name}"), name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of `--help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]},
               epilog=f"Example: {CALL} run")
def cli() -> None:
    """A course on language models, from recurrent networks to aligned chat models.

    COMMAND --help says more and gives an example.
    """


def main() -> None:
    """Run the command line; ends the process."""
    os.environ.pop(environment.HANDED, None)
    cli(prog_name=CALL)
