"""How far a run is: chapter, cell, time so far and time left."""

import sys
import time

import click
from tqdm import tqdm

from course_lib.cli.chapters import Chapter
from course_lib.cli.execution import Execution
from course_lib.cli.report import Result


class Display:
    """Chapter, cell, time so far and time left: one line on a terminal, a line per chapter elsewhere."""

    def __init__(self, expected: dict[str, list[float]]) -> None:
        self.expected, self.chapter = expected, None
        self.total = sum(map(sum, expected.values()))
        self.bar = (
            tqdm(
                total=max(round(self.total), 1),
                disable=None,
                leave=False,
                dynamic_ncols=True,
                file=sys.stdout,
                bar_format="{desc} |{bar}| {elapsed}{postfix}",
            )
            if expected
            else None
        )

    def begin(self, chapter: Chapter, execution: Execution) -> None:
        """A chapter starts."""
        self.chapter, self.execution = chapter, execution
        if self.bar.disable:
            click.echo(
                f"{chapter.name}: {execution.cells} cells, about {clock(sum(self.expected[chapter.name]))}"
            )
        self.update()

    def left(self) -> float:
        """Seconds that are expected to remain, of this chapter and of those after it."""
        ended, names = len(self.execution.cell_seconds), list(self.expected)
        now, *rest = self.expected[self.chapter.name][ended:] or [0.0]
        later = names[names.index(self.chapter.name) + 1:]
        spent = time.monotonic() - self.execution.cell_started
        return max(now - spent, 0.0) + sum(rest) + sum(sum(self.expected[name]) for name in later)

    def update(self) -> None:
        """Draw the line anew."""
        left, ended = self.left(), len(self.execution.cell_seconds)
        self.bar.set_description_str(f"{self.chapter.name} cell {min(ended + 1, self.execution.cells)}/"
                                     f"{self.execution.cells}", refresh=False)
        self.bar.set_postfix_str(f"about {clock(left)} left", refresh=False)
        self.bar.n = min(max(self.total - left, 0), self.bar.total)
        self.bar.refresh()

    def end(self, result: Result) -> None:
        """A chapter has ended: one line that stays, and what went wrong."""
        sign, good = "✓" if result.status == "ok" else "✗", sum(o.ok for o in result.outcomes)
        lines = [f"{sign} {result.chapter}: {result.status}, {clock(result.seconds)}, {result.peak_mb} MB, "
                 f"{good} of {len(result.outcomes)} outcomes in band"]
        lines += [f"    {o.name}: {o.shown} is not {o.band}" for o in result.outcomes if not o.ok]
        if result.error:
            lines += [
                f"    cell {result.error.cell} failed with {result.error.name}: {result.error.message}",
                "",
                *(f"    | {line}" for line in result.error.source.splitlines()),
                "",
                *(f"    {line}" for line in result.error.traceback.splitlines()[-12:]),
            ]
        tqdm.write("\n".join(lines), file=sys.stdout)

    def where(self) -> str:
        """Where an interrupted run stands."""
        if self.chapter is None:
            return "stopped before the first chapter"
        cell = min(len(self.execution.cell_seconds) + 1, self.execution.cells)
        return f"stopped in {self.chapter.name}, cell {cell} of {self.execution.cells}"

    def close(self) -> None:
        """Take the line away."""
        if self.bar is not None:
            self.bar.close()


def clock(seconds: float) -> str:
    """97 → "1:37"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
