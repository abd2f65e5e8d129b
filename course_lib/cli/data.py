"""The command `data`: which real data the course knows, where it is, and how it gets here."""

from collections.abc import Sequence

import click

from course_lib.data.datasets import (
    REGISTRY,
    DataError,
    FileStatus,
    cache_folder,
    data_folder,
    fetch,
    lookup,
    verify,
)


class Failure(click.ClickException):
    """An error told in one paragraph, without a traceback; exit code 2."""

    exit_code = 2


@click.group(epilog="Example: python3 -m course_lib data fetch multi30k")
def data() -> None:
    """List, download and check the real data sets (the chapters also run without them)."""


def where(statuses: Sequence[FileStatus]) -> str:
    """One word on a whole set: "COURSE_DATA", "cache", "absent", "incomplete" or "damaged".

        two files in the cache, one of them half  →  "damaged"
    """
    places = {status.where for status in statuses}
    if any(status.where != "absent" and not status.ok for status in statuses):
        return "damaged"
    if "absent" in places:
        return "absent" if len(places) == 1 else "incomplete"
    return " and ".join(sorted(places))


def size(count: int) -> str:
    """A number of bytes for people: 2951390 → "3.0 MB"."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _names(names: Sequence[str]) -> list[str]:
    """The names without repeats; Failure if one is unknown."""
    try:
        return [lookup(name).name for name in dict.fromkeys(names)]
    except ValueError as error:
        raise Failure(str(error)) from error


def _statuses(name: str) -> list[FileStatus]:
    try:
        return verify(name)
    except DataError as error:
        raise Failure(str(error)) from error


@data.command("list", epilog="Example: python3 -m course_lib data list")
def list_() -> None:
    """Show every data set: its size, where it is now, its licence."""
    rows = [("name", "files", "size", "now", "licence")]
    for name, entry in REGISTRY.items():
        rows.append((name, str(len(entry.files)), size(entry.bytes), where(_statuses(name)), entry.licence))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for name, files, length, now, licence in rows:
        click.echo(f"{name:<{widths[0]}}  {files:>{widths[1]}}  {length:>{widths[2]}}  {now:<{widths[3]}}  "
                   f"{licence}")
    click.echo(f"\nCOURSE_DATA: {data_folder() or 'not set'}\ncache: {cache_folder()}")


@data.command("fetch", short_help="Download data sets into the cache.",
              epilog="Example: python3 -m course_lib data fetch multi30k kor-eng")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everything", is_flag=True, help="Fetch every data set.")
def fetch_(names: tuple[str, ...], everything: bool) -> None:
    """Download the named data sets into the cache, unless they are here already."""
    if bool(names) == everything:
        raise click.UsageError(f"Give the names of data sets, or --all. Names: {', '.join(REGISTRY)}")
    failures = []
    for name in _names(tuple(REGISTRY) if everything else names):
        before = where(_statuses(name))
        try:
            fetch(name)
        except DataError as error:
            failures.append(str(error))
            continue
        now = where(_statuses(name))
        click.echo(f"{name}: {'already in' if now == before else 'downloaded to'} {_place(name)}")
    if failures:
        raise Failure("\n\n".join(failures))


def _place(name: str) -> str:
    return " and ".join(dict.fromkeys(str(status.path.parent) for status in _statuses(name)))


@data.command("verify", short_help="Check the size and SHA-256 of every file.",
              epilog="Example: python3 -m course_lib data verify multi30k")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_context
def verify_(context: click.Context, names: tuple[str, ...]) -> None:
    """Check size and SHA-256 of the named data sets (of all that are here, if no name is given).

    Ends with exit code 1 if a file is not the right one, or if a named set is absent.
    """
    wrong = False
    for name in _names(names or tuple(REGISTRY)):
        statuses = _statuses(name)
        absent = [status for status in statuses if status.where == "absent"]
        damaged = [status for status in statuses if status.where != "absent" and not status.ok]
        for status in damaged:
            click.echo(f"{name}: DAMAGED {status.difference()}")
        if damaged:
            click.echo(f"{name}: {_remedy(name, damaged)}")
        elif len(absent) == len(statuses):
            click.echo(f"{name}: absent (python3 -m course_lib data fetch {name})")
        elif absent:
            click.echo(f"{name}: incomplete, {len(absent)} of {len(statuses)} files absent "
                       f"(python3 -m course_lib data fetch {name})")
        else:
            click.echo(f"{name}: ok, {len(statuses)} file{'s'[:len(statuses) > 1]} in {_place(name)}")
        wrong = wrong or bool(damaged) or (bool(absent) and (name in names or len(absent) < len(statuses)))
    if wrong:
        context.exit(1)


def _remedy(name: str, damaged: Sequence[FileStatus]) -> str:
    if any(status.where == "COURSE_DATA" for status in damaged):
        return "copy the files to COURSE_DATA again without any conversion, or unset COURSE_DATA"
    return f"replace with: python3 -m course_lib data fetch {name}"
