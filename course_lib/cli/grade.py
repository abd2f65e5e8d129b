"""The command `grade`: from what students handed in to points, feedback and a page of the class."""

import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import click
from tqdm import tqdm

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS, find_chapters, select
from course_lib.cli.install import say
from course_lib.cli.notebooks import write_whole
from course_lib.cli.process import Busy, lock
from course_lib.cli.run import stoppable
from course_lib.cli.student import stub
from course_lib.grading import pages, tables
from course_lib.grading.assignment import Assignment, of_notebooks
from course_lib.grading.cluster import dask
from course_lib.grading.handback import canvas_zip, moodle_zip
from course_lib.grading.manual import read_manual
from course_lib.grading.running import Runner, here
from course_lib.grading.running import grade as grade_all
from course_lib.grading.running import jobs as on_jobs
from course_lib.grading.sandbox import Unsandboxed
from course_lib.grading.similarity import similar
from course_lib.grading.store import Store
from course_lib.grading.submissions import Submission, read
from course_lib.grading.tasks import Graded, Settings, Unavailable

NAMED = 12  # students named in one line on the console

@click.command(epilog=f"Example: {COMMANDS['grade'].example}")
@click.argument("submissions", type=click.Path(exists=True, path_type=Path))
@click.option("--assignment", "wanted", multiple=True, metavar="CHAPTER|FILE",
              help="What was asked: a chapter, such as 03 (may be given several times), or release's assignment.json.  "
                   "[default: the chapters that the submissions answer]")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the secret inputs.  [default: drawn once, kept in --out]")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes that grade at the same time.")
@click.option("--scheduler", metavar="ADDRESS", help="Grade on the workers of this Dask scheduler, such as tcp://10.0.0.1:8786.")
@click.option("--manual", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="CSV with the columns student, exercise, points, comment: points and comments by hand, kept from then on; "
                   "ok in place of points: looked at, the automatic ones stand.")
@click.option("--unsandboxed", is_flag=True, help="Run answers without a sandbox. " + Unsandboxed.protects.capitalize() + ".")
@click.option("--out", default=ROOT / "out" / "grades", show_default="out/grades", help="Folder of the results.",
              type=click.Path(file_okay=False, path_type=Path))
@click.option("--notebooks", "source", default=NOTEBOOKS, show_default="notebooks", help="Folder of the instructor's chapters.",
              type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.pass_context
def grade(context: click.Context, submissions: Path, wanted: Sequence[str], seed: int | None, jobs: int, scheduler: str | None,
          manual: Path | None, unsandboxed: bool, out: Path, source: Path) -> None:
    """Grade SUBMISSIONS: a folder, a notebook, or the zip in which Moodle or Canvas hands them out.

    Answers run in a sandbox on secret inputs and are judged outside of it. In --out: grades.csv, columns for Moodle and Canvas,
    class.html, a feedback page for each student and zips of them to upload, review.csv with what somebody should look at, and
    grades.db, which remembers: the same command, started again, goes on where it was stopped, and grades anew only what has changed.

    Ends with exit code 1 if a submission could not be graded to its end.
    """
    try:
        with stoppable():
            assignment = asked_for(wanted, source.resolve(), submissions)
            everyone = list(read(submissions, assignment))
            check_answered(everyone, assignment, source.resolve(), submissions)
            out.mkdir(parents=True, exist_ok=True)
            with lock(out / "grade.lock", wait=False), closing(Store(out / "grades.db", assignment, seed)) as store:
                earlier = [one.student for one in store.submissions()]
                known = {*(one.student for one in everyone), *earlier}
                by_hand = read_manual(manual.read_bytes(), known, assignment) if manual else []  # before hours of grading
                if unsandboxed:
                    say(Unsandboxed.protects)
                runner = dask(scheduler) if scheduler else on_jobs(jobs) if jobs > 1 else here
                faults = run(everyone, store, Settings(assignment, store.seed, unsandboxed), runner)
                store.set_manual(by_hand)
                write_results(store, assignment, out)
                summary(everyone, earlier, assignment, len(faults))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except Unavailable as error:
        say(str(error))
        context.exit(2)
    except Busy:
        raise click.ClickException(f"another grade is writing to {out}; wait for it or give another --out") from None
    except KeyboardInterrupt:
        say("stopped; what is graded is kept, and the same command goes on from there")
        context.exit(130)
    for fault in faults:
        click.echo(f"✗ {fault.student}: {fault.fault}")
    click.echo(f"{out / 'class.html'}")
    context.exit(1 if faults else 0)


def asked_for(wanted: Sequence[str], notebooks: Path, submissions: Path) -> Assignment:
    """The assignment that the options mean; without any, the chapters of which at least one answer was handed in."""
    if len(wanted) == 1 and wanted[0].endswith(".json"):
        try:
            return Assignment.from_json(Path(wanted[0]).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"assignment: cannot read {wanted[0]} ({error.strerror})") from error
    chapters = find_chapters(notebooks)
    if not wanted:
        wanted = answered(notebooks, submissions)
        if not wanted:
            raise ValueError(f"submissions: got no answer to any exercise in {submissions}, expected some")
        click.echo(f"assignment: {', '.join(wanted)} (found in the submissions)")
    return of_notebooks([chapter.path for chapter in select(chapters, wanted)], stub)


def answered(notebooks: Path, submissions: Path) -> list[str]:
    """The chapters of which at least one answer was handed in."""
    everything = of_notebooks([chapter.path for chapter in find_chapters(notebooks)], stub)
    return chapters_held(list(read(submissions, everything)), everything)


def chapters_held(everyone: Sequence[Submission], assignment: Assignment) -> list[str]:
    """The chapters of the assignment of which at least one answer was handed in."""
    return sorted({asked.chapter for asked in assignment.exercises if any(one.holds(asked.id) for one in everyone)})


def check_answered(everyone: Sequence[Submission], assignment: Assignment, notebooks: Path, submissions: Path) -> None:
    """Say which chapters nobody answers. Raises ValueError if that is all of them and the answers are to others."""
    held = chapters_held(everyone, assignment)
    lacking = ", ".join(sorted({asked.chapter for asked in assignment.exercises} - {*held}))
    if not held and (others := answered(notebooks, submissions)):
        raise ValueError(f"assignment: got {lacking}, to which {submissions} has no answer, expected {', '.join(others)}, to which it has")
    if lacking:
        click.echo(f"nobody answers {lacking}")


def run(everyone: Sequence[Submission], store: Store, settings: Settings, runner: Runner) -> list[Graded]:
    """Grade with a progress bar by exercise and the student at hand."""
    total = len(everyone) * len(settings.assignment.exercises)
    with tqdm(total=total, disable=None, leave=False, dynamic_ncols=True, file=sys.stdout,
              bar_format="{n_fmt}/{total_fmt} answers |{bar}| {elapsed}, about {remaining} left{postfix}") as bar:
        begun: set[str] = set()

        def told(graded: Graded) -> None:
            if bar.disable and graded.student not in begun:  # a log: a line per student
                begun.add(graded.student)
                number = bar.initial // len(settings.assignment.exercises) + len(begun)
                click.echo(f"{number} of {len(everyone)}: {graded.student}")
            bar.set_postfix_str(f" · {graded.student[:30]}", refresh=False)
            bar.update(1 if graded.mark else 0)

        def began(done: int) -> None:
            bar.update(done)
            bar.initial = done
        return grade_all(everyone, store, settings, runner, told, began)


def summary(everyone: Sequence[Submission], earlier: Sequence[str], assignment: Assignment, faults: int) -> None:
    """What was graded, who handed in nothing that can be graded, and who else is in the results."""
    counts = f"{_count(len(everyone), 'submission')}, {_count(len(assignment.exercises), 'exercise')} each"
    click.echo(f"{counts}, {faults} not graded to the end")
    if empty := [one.student for one in everyone if one.nothing]:
        click.echo(f"to look at: {len(empty)} handed in nothing that can be graded: {_named(empty)}")
    now = {one.student for one in everyone}
    if others := [student for student in earlier if student not in now]:
        click.echo(f"{_count(len(others), 'more student')} graded into this folder earlier: {_named(others)}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _named(students: Sequence[str]) -> str:
    more = len(students) - NAMED
    return ", ".join(students[:NAMED]) + (f" and {more} more" if more > 0 else "")


def write_results(store: Store, assignment: Assignment, out: Path) -> None:
    """All tables and pages, from what is stored."""
    rows, everyone, date = store.rows(), store.submissions(), datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    pairs = similar(everyone, assignment)
    texts = {"assignment.json": assignment.as_json(), "grades.csv": tables.grades(rows), "review.csv": tables.to_review(rows),
             "moodle.csv": tables.moodle(rows, everyone, assignment), "canvas.csv": tables.canvas(rows, everyone, assignment),
             "class.html": pages.class_page(everyone, rows, pairs, assignment, date, f"seed of the secret inputs: {store.seed}")}
    files = {name: text.encode("utf-8-sig" if name in tables.FOR_PEOPLE else "utf-8", "replace") for name, text in texts.items()}
    feedback = {one.student: pages.student_page(one, [row for row in rows if row.student == one.student], assignment, date)
                .encode("utf-8", "replace") for one in everyone}
    files |= {f"feedback/{tables.page_name(student)}": page for student, page in feedback.items()}
    zips = {"feedback_moodle.zip": moodle_zip(everyone, feedback), "feedback_canvas.zip": canvas_zip(everyone, feedback)}
    for name, content in (files | zips).items():
        if content:
            write_whole(out / name, content)
        else:
            (out / name).unlink(missing_ok=True)  # a platform's file in which nobody is left
