"""The command `bench`: how fast and how small, beside what others use and beside what the machine can do."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import click
import torch
from tqdm import tqdm

from course_lib.cli import COMMANDS, ROOT
from course_lib.cli.comparison import Findings, Row, plot_ratios, reached
from course_lib.cli.environment import REQUIREMENTS, installed_version, unmet
from course_lib.cli.install import SetupError, end, say
from course_lib.cli.notebooks import write_whole
from course_lib.cli.process import Busy, clean_environment, lock
from course_lib.cli.run import stoppable
from course_lib.cli.test import install_for_tests
from course_lib.plotting import png
from course_lib.recipes.results import machine

# Each part NAME is the program NAME.py; with it the packages that its peers are in.
PROGRAMS = ROOT / "tests" / "bench"
PARTS = {"seq2seq": (), "transformer": (), "tokenizers": ("tokenizers", "tiktoken"), "gpt": ("transformers",), "bert": ("transformers",),
         "alignment": ("trl", "datasets", "transformers", "tokenizers")}
FIGURE_BYTES = 300_000


@click.command(epilog=f"Example: {COMMANDS['bench'].example}")
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)), metavar="[PART]...")
@click.option("--quick", is_flag=True, help="Fewer and shorter rounds: three minutes or less on two cores.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of PyTorch.  [default: what PyTorch takes]")
@click.option("--out", default=ROOT / "out", show_default="out", help="Folder for bench.json, bench.png and bench.log.",
              type=click.Path(file_okay=False, path_type=Path))
@click.pass_context
def bench(context: click.Context, parts: Sequence[str], quick: bool, threads: int | None, out: Path) -> None:
    """Measure ours beside its peers, in turns in the same run, and print one table.

    PART is seq2seq, transformer, tokenizers, gpt, bert or alignment; without one, all are measured. What only the peers need is
    installed first.
    Meanwhile the machine's own rates are measured, of matrix products and of reading memory: the last column says how much of
    them training and decoding reach. Everything is also in out/bench.json and, the ratios, in out/bench.png.

    Ends with exit code 1 if a part cannot be measured; a ratio below what is wanted is marked ✗, and no error.
    """
    chosen = [part for part in PARTS if part in parts] or list(PARTS)
    try:
        failed = unmeasurable(chosen)
        out.mkdir(parents=True, exist_ok=True)
        with lock(out / "bench.lock", wait=False), stoppable(), open(out / "bench.log", "w+", encoding="utf-8") as log:
            context.exit(Bench(chosen, failed, quick, threads, out.resolve(), log).run())
    except SetupError as error:
        say(str(error))
        context.exit(2)
    except Busy:
        raise click.ClickException(f"another bench is writing to {out}; wait for it or give another --out") from None


def missing(part: str) -> list[str]:
    """The pins of tests/requirements.txt that the peers of a part need and that are not here. Raises SetupError."""
    return [pin for pin in unmet(ROOT / "tests" / REQUIREMENTS) if pin.partition("==")[0] in PARTS[part]]


def unmeasurable(parts: Sequence[str]) -> dict[str, str]:
    """Install what the peers of these parts need; the parts that lack something still, and why. Raises SetupError."""
    if any(map(missing, parts)):
        try:
            install_for_tests()
        except SetupError as error:
            say(str(error))
    return {part: f"its peer is not installed: {', '.join(pins)}" for part in parts if (pins := missing(part))}


class Bench:
    """The parts one after the other, each a process of its own that tells what it finds, line by line."""

    def __init__(self, parts: Sequence[str], failed: Mapping[str, str], quick: bool, threads: int | None, out: Path, log: TextIO) -> None:
        self.parts, self.failed, self.quick, self.out, self.log = parts, dict(failed), quick, out, log
        self.options = [*["--quick"] * quick, *(["--threads", str(threads)] if threads else [])]
        if threads:
            torch.set_num_threads(threads)                  # so that `machine` tells of them
        self.findings = Findings()
        self.bar = tqdm(total=len(parts), disable=None, leave=False, dynamic_ncols=True, file=sys.stdout,
                        bar_format="{desc} |{bar}| {elapsed}")

    def run(self) -> int:
        """Measure, write and print; the exit code: 0, 1 if a part failed, 130 if interrupted."""
        stopped = False
        try:
            for part in self.parts:
                if part not in self.failed:
                    self.measure(part)
        except KeyboardInterrupt:
            stopped = True
        self.bar.close()
        if self.findings.rows:
            click.echo(f"{self.findings.table()}\n{machine(torch.device('cpu'))}")
            written = write(self.as_json(complete=not stopped and not self.failed), self.findings.rows, self.out)
            click.echo(f"{' and '.join(written)} in {self.out}")
        for part, reason in self.failed.items():
            click.echo(f"✗ {part}: {reason}", err=True)
        if stopped:
            click.echo(f"\nstopped; {len(self.findings.rows)} rows were measured", err=True)
        return 130 if stopped else 1 if self.failed else 0

    def measure(self, part: str) -> None:
        """Run one part and keep what it tells; what it says besides goes to the log."""
        command, begun, others = [sys.executable, str(PROGRAMS / f"{part}.py"), "--events", *self.options], self.log.seek(0, 2), []
        with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=self.log, text=True, encoding="utf-8", start_new_session=True) as child:
            try:
                for line in child.stdout:
                    if not self.take(part, line):
                        others.append(line)
            except BaseException:
                end(child)                                  # the terminal's Ctrl-C does not reach it
                raise
        self.log.seek(begun)
        words = self.log.read().strip().splitlines()        # what it said of an error, its last line
        self.log.writelines(others)
        if child.returncode:
            self.failed[part] = f"{words[-1] if words else f'exit code {child.returncode}'} (all it said: {self.out / 'bench.log'})"

    def take(self, part: str, line: str) -> bool:
        """Keep an event and show it, in the bar on a terminal, a line elsewhere; False for what a library printed."""
        try:
            event = json.loads(line)
        except ValueError:
            return False
        if not isinstance(event, dict):
            return False
        self.findings.take(event)
        text = "measure" in event and f"{part} {event['number']}/{event['of']}: {event['measure']}"
        if text and self.bar.disable:
            click.echo(text)
        elif text:
            self.bar.set_description_str(text, refresh=False)
            self.bar.n = self.parts.index(part) + (event["number"] - 1) / event["of"]
            self.bar.refresh()
        return True

    def as_json(self, complete: bool) -> dict[str, Any]:
        """All that was found, as plain data; `complete`: all that was asked for."""
        found, packages = self.findings, {"torch"}.union(*(PARTS[part] for part in self.parts))
        return {
            "date": datetime.now().astimezone().isoformat(timespec="seconds"),
            "machine": machine(torch.device("cpu")),
            "quick": self.quick,
            "complete": complete,
            "peers": {name: installed_version(name) for name in sorted(packages)},
            "ceilings": {name: {"best": max(rates), "measured": rates} for name, rates in found.measured.items()},
            "notes": found.notes,
            "failed": self.failed,
            "rows": [{**asdict(row), "ratio": row.ratio, "as_wanted": row.verdict, "share": row.share(found.ceilings),
                      "of_ceiling": reached(row.share(found.ceilings), row.ceiling)} for row in found.rows],
        }


def write(data: Mapping[str, Any], rows: Sequence[Row], out: Path) -> list[str]:
    """Write bench.json and, of rows with a ratio, bench.png, each whole or as it was before; the names of what was written."""
    write_whole(out / "bench.json", json.dumps(data, indent=1, ensure_ascii=False).encode() + b"\n")
    if not any(row.ratio for row in rows):
        return ["bench.json"]
    title = f"Ours beside its peers ({data['machine']}{', quick' * data['quick']})"
    write_whole(out / "bench.png", png(plot_ratios(rows, title), FIGURE_BYTES))
    return ["bench.json", "bench.png"]
