"""The command `run`: every chapter from top to bottom, and a report of what came out."""

import contextlib
import shutil
import signal
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import click

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.chapters import NOTEBOOKS, Chapter, find_chapters, keys, select
from course_lib.cli.execution import Execution
from course_lib.cli.notebooks import write_notebook
from course_lib.cli.process import Busy, lock
from course_lib.cli.progress import Display
from course_lib.cli.report import Result, read_outcomes, read_report, report_card, write_page, write_report

TICK = 0.5                              # seconds between two looks at memory and clock
GUESS = 120.0                           # seconds for a chapter of which nothing is known


@click.command(epilog=f"Example: {COMMANDS['run'].example}")
@click.argument("names", metavar="[CHAPTER]...", nargs=-1)
@click.option("--fresh", is_flag=True, help="Start over: run chapters again that are done and unchanged.")
@click.option("--in-place", is_flag=True, help="For authors: write the outputs back into the notebooks.")
@click.option(
    "--notebooks",
    "folder",
    default=NOTEBOOKS,
    show_default="notebooks",
    help="Folder of the chapters.",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option("--out", default=ROOT / "out", show_default="out", help="Folder for all that is written.",
              type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def run(
    context: click.Context, names: Sequence[str], fresh: bool, in_place: bool, folder: Path, out: Path
) -> None:
    """Execute chapters without a browser, in order, and write out/report.html.

    CHAPTER is a number such as 03 or a notebook's name; without one, all are run. A chapter that is done is
    kept as long as neither its code nor the library changes: stopped and started again, the command goes on
    at the first unfinished chapter. Chapters that are named are always run.

    Ends with exit code 1 if a cell fails or an outcome is outside its band.
    """
    try:
        chapters = find_chapters(folder.resolve())
        asked = select(chapters, names)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not chapters:
        raise click.UsageError(f"there are no notebooks in {folder}")
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with lock(out / "run.lock", wait=False), stoppable():
            context.exit(Course(chapters, out, in_place).run(asked, fresh or bool(names) or in_place))
    except Busy:
        raise click.ClickException(
            f"another run is writing to {out}; wait for it or give another --out"
        ) from None


class Course:
    """All chapters of a folder and what is known of them from earlier runs in `out`."""

    def __init__(self, chapters: Sequence[Chapter], out: Path, in_place: bool = False) -> None:
        self.chapters, self.out, self.in_place = chapters, out, in_place
        self.keys = keys(chapters)
        self.history = read_report(out / "report.json")
        self.results = {
            name: result for name, result in self.history.items() if result.key == self.keys.get(name)
        }

    def run(self, asked: Sequence[Chapter], again: bool) -> int:
        """Run what is asked and not done, or all if `again`; the exit code: 0, 1, or 130 if interrupted."""
        done = [
            c for c in asked if not again and c.name in self.results and self.results[c.name].status == "ok"
        ]
        todo = [c for c in asked if c not in done]
        for chapter in todo:
            self.results.pop(chapter.name, None)
        display = Display({c.name: self.expected(c) for c in todo})
        try:
            self._copy_figures()
            for chapter in done:
                click.echo(
                    f"{chapter.name}: done on {self.results[chapter.name].finished[:16].replace('T', ' ')}, "
                    "kept (--fresh runs it again)"
                )
                self._write_page(chapter)
            for chapter in todo:
                self._execute(chapter, display)
        except KeyboardInterrupt:
            display.close()
            self._report()
            click.echo(f"\n{display.where()}; the same command goes on with this chapter", err=True)
            return 130
        display.close()
        self._report()
        bad = [c for c in asked if self.results[c.name].status != "ok"]
        if card := report_card([self.results[c.name] for c in asked]):
            click.echo(f"\n{card}")
        click.echo(f"\n{len(asked) - len(bad)} of {len(asked)} chapters as promised; "
                   f"report: {self.out / 'report.html'}")
        return 1 if bad else 0

    def expected(self, chapter: Chapter) -> list[float]:
        """Seconds that each cell is expected to take: as last time, or equal parts of the badge's."""
        last, cells = self.history.get(chapter.name), len(chapter.code)
        if last and len(last.cell_seconds) == cells:
            return last.cell_seconds
        total = last.seconds if last and last.status == "ok" else (chapter.minutes or GUESS / 60) * 60
        return [total / max(cells, 1)] * cells

    def _execute(self, chapter: Chapter, display: Display) -> None:
        execution = Execution(chapter.path, chapter.path.parent, self.out / "work" / f"{chapter.name}.jsonl")
        display.begin(chapter, execution)
        try:
            execution.start()
            while not execution.wait(TICK):
                display.update()
        except KeyboardInterrupt:
            execution.stop()
            raise
        result = self._result(chapter, execution)
        write_notebook(execution.notebook, self.out / "notebooks" / chapter.path.name)
        if self.in_place and result.status == "ok":
            write_notebook(execution.notebook, chapter.path)
        self.results[chapter.name] = result
        self._report()                          # from here on the chapter is done, even if the page is not
        display.end(result)
        (self.out / "notebooks" / f"{chapter.name}.html").unlink(missing_ok=True)
        self._write_page(chapter)

    def _result(self, chapter: Chapter, execution: Execution) -> Result:
        outcomes = read_outcomes(execution.outcomes)
        status = "failed" if execution.failure else "ok" if all(o.ok for o in outcomes) else "out of band"
        return Result(chapter.name, chapter.number, chapter.title, status, round(execution.seconds, 1),
                      round(execution.peak_bytes / 1e6), execution.cells, outcomes, execution.failure,
                      datetime.now().astimezone().isoformat(timespec="seconds"), self.keys[chapter.name],
                      [round(seconds, 2) for seconds in execution.cell_seconds])

    def _write_page(self, chapter: Chapter) -> None:
        notebook = self.out / "notebooks" / chapter.path.name
        if not notebook.with_suffix(".html").exists():
            write_page(notebook, chapter.path.parent)

    def _report(self) -> None:
        write_report(self.chapters, self.results, self.out)

    def _copy_figures(self) -> None:
        """Beside the executed notebooks, where their links ../figures/… point."""
        figures = self.chapters[0].path.parent.parent / "figures"
        if figures.is_dir():
            shutil.copytree(
                figures,
                self.out / "figures",
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("*.py", "__*"),
            )


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Take being terminated or losing the terminal like Ctrl-C, so that no kernel is left running."""
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            before[name] = signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
