"""The command `release`: an assignment for students, without solutions, the same bytes every time."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS, Chapter, find_chapters, select
from course_lib.cli.edition import edition_of
from course_lib.cli.notebooks import write_whole
from course_lib.cli.student import stub
from course_lib.exercises import exercise
from course_lib.grading.assignment import Assignment, of_notebooks

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


@click.command(epilog=f"Example: {COMMANDS['release'].example}")
@click.argument("chapters", nargs=-1, metavar="[CHAPTER]...")
@click.option("--out", default=ROOT / "out" / "release", show_default="out/release", help="Folder to write to.",
              type=click.Path(file_okay=False, path_type=Path))
@click.option("--notebooks", "source", default=NOTEBOOKS, show_default="notebooks", help="Folder of the instructor's chapters.",
              type=click.Path(exists=True, file_okay=False, path_type=Path))
def release(chapters: Sequence[str], out: Path, source: Path) -> None:
    """Write an assignment for students: a folder for each CHAPTER, such as 03, or for all of them.

    Each has the notebook without solutions, outputs and speaker notes, its checks locked, a README with points and what to hand
    in, and the figures. assignment.json beside them says what is asked; `grade` reads it. The same course gives the same bytes.
    """
    try:
        chosen = select(find_chapters(source.resolve()), chapters)
        files = dict(released(chosen))  # all made before the first is written
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    for name, content in files.items():
        write_whole(out / name, content)
    assignment = Assignment.from_json(files["assignment.json"].decode())
    for chapter in chosen:
        mine = [asked for asked in assignment.exercises if asked.chapter == chapter.name]
        click.echo(f"{out / chapter.name}: {len(mine)} exercises, {sum(asked.points for asked in mine)} points")


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


def readme(chapter: Chapter, assignment: Assignment) -> str:
    """What a student reads first."""
    mine = [asked for asked in assignment.exercises if asked.chapter == chapter.name]
    asked = [exercise(one.id) for one in mine]
    rows = "\n".join(f"| {one.id} | {one.title} | {one.kind} | {one.minutes} | {one.points} |" for one in asked)
    return README.format(title=chapter.title, name=chapter.name, number=chapter.number, rows=rows,
                         points=sum(one.points for one in mine))
