"""The command `release`: an assignment for students, without solutions, the same bytes every time."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import nbformat

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS, Chapter, find_chapters, select
from course_lib.cli.edition import STRIPPED, edition_of
from course_lib.cli.notebooks import as_text, write_whole
from course_lib.cli.student import stub
from course_lib.exercises import exercise
from course_lib.grading.assignment import Assignment, of_notebooks
from course_lib.grading.handback import zipped

README = """\
# {title}

**{points} points.** Work in `{name}.ipynb`; answer where a cell says `# your code here`. The cell below each answer checks it at
once, on public inputs.

| exercise | | kind | minutes | points |
|---|---|---|---:|---:|
{rows}

## How to work

Put the notebook and the folder `figures` into the folder `my_course` of the course and start `python3 -m course_lib lab {number}`.
Run All works at any time: an exercise that you have not tried yet says so and stops nothing.

## What to hand in

The notebook `{name}.ipynb`, saved, and nothing else. Keep the names of functions and the numbers of exercises. A function of yours
that an answer uses may stand in a cell of its own; an answer may not need a model that you trained elsewhere in the notebook.

## How it is graded

Your functions are run again, each for itself, on inputs that you have not seen, in a closed room: no files, no network, limits on
time and memory. Points are given by property, so a part that is right counts. What the notebook shows as output counts for nothing,
and neither do the check cells, changed or not.
"""

COURSE = """\
# The course, without solutions

`python3 -m course_lib lab` makes an environment of its own (Python 3.11 or newer, 2 GB of disk, minutes) and opens your copy of the
notebooks in `my_course`. The cell below each answer checks it at once.
"""


@click.command(epilog=f"Example: {COMMANDS['release'].example}")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")
@click.option("--out", default=ROOT / "out" / "release", show_default="out/release", help="Folder to write to.",
              type=click.Path(file_okay=False, path_type=Path))
@click.option("--notebooks", "source", default=NOTEBOOKS, show_default="notebooks", help="Folder of the instructor's chapters.",
              type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--course", is_flag=True, help="Write course.zip, too: the library and these notebooks, for students to start from.")
def release(chapters: Sequence[str], out: Path, source: Path, course: bool) -> None:
    """Write an assignment for students: a folder for each CHAPTER, such as 03, or for all of them.

    Each has the notebook without solutions, outputs and speaker notes, its checks locked, a README with points and what to hand
    in, and the figures. assignment.json beside them says what is asked; `grade` reads it. The same course gives the same bytes.
    """
    try:
        chosen = select(find_chapters(source.resolve()), chapters)
        files = dict(released(chosen))  # all made before the first is written
        if course:
            files["course.zip"] = zipped(course_files(files))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name, content in files.items():
        write_whole(out / name, content)
    assignment = Assignment.from_json(files["assignment.json"].decode())
    for chapter in chosen:
        mine = [asked for asked in assignment.exercises if asked.chapter == chapter.name]
        click.echo(f"{out / chapter.name}: {len(mine)} exercises, {sum(asked.points for asked in mine)} points")
    if course:
        click.echo(f"{out / 'course.zip'}: the course for students, without solutions in its notebooks")


def released(chapters: Sequence[Chapter]) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file. Raises ValueError for a chapter that asks nothing or cannot be released."""
    assignment = of_notebooks([chapter.path for chapter in chapters], stub)
    yield "assignment.json", assignment.as_json().encode()
    for chapter in chapters:
        if not any(asked.chapter == chapter.name for asked in assignment.exercises):
            raise ValueError(f"{chapter.path.name}: got no exercise in it, expected at least one")
        text = edition_of(chapter.path)
        yield f"{chapter.name}/{chapter.path.name}", text.encode()
        yield f"{chapter.name}/README.md", readme(chapter, assignment).encode()
        for name in sorted(set(re.findall(r"\]\((figures/[\w./-]+\.(?:svg|png))\)", text))):
            yield f"{chapter.name}/{name}", (chapter.path.parents[1] / name).read_bytes()


def course_files(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """What a student needs: the library with its judges, and of the released files the notebooks and figures."""
    yield "README.md", COURSE.encode()
    for name in ("LICENSE", "requirements.txt"):
        yield name, (ROOT / name).read_bytes()
    for path in sorted((ROOT / "course_lib").rglob("*")):
        inside = path.relative_to(ROOT)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside.parts):
            yield inside.as_posix(), path.read_bytes()
    figures = {name.partition("/")[2]: content for name, content in files.items() if "/figures/" in name}
    yield from sorted(figures.items())
    for name, content in files.items():
        if name.endswith(".ipynb"):
            book = nbformat.reads(content.decode(), as_version=4)
            book.metadata[STRIPPED] = True
            yield f"notebooks/{name.partition('/')[2]}", as_text(book).encode()


def readme(chapter: Chapter, assignment: Assignment) -> str:
    """What a student reads first."""
    mine = [asked for asked in assignment.exercises if asked.chapter == chapter.name]
    asked = [exercise(one.id) for one in mine]
    rows = "\n".join(f"| {one.id} | {one.title} | {one.kind} | {one.minutes} | {one.points} |" for one in asked)
    return README.format(title=chapter.title, name=chapter.name, number=chapter.number, rows=rows,
                         points=sum(one.points for one in mine))
