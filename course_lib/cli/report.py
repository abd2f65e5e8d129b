"""What a run found: out/report.json, from which the next run resumes, and the page out/report.html."""

import html
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from string import Template

import nbformat
from nbconvert import HTMLExporter

from course_lib.cli.chapters import Chapter
from course_lib.cli.doctor import usable_cores, usable_memory
from course_lib.cli.execution import Failure
from course_lib.cli.notebooks import write_whole

PACKAGES = ("torch", "numpy", "jupyterlab", "nbclient")


@dataclass(frozen=True)
class Outcome:
    """A result beside its band; `value` is None for NaN and infinity."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    ok: bool
    headline: bool = False

    @property
    def shown(self) -> str:
        """The value with three digits after the point."""
        return "not a number" if self.value is None else f"{self.value:.3f}"

    @property
    def band(self) -> str:
        """The band in words: "at most 0.25"."""
        if self.low is None:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Result:
    """One chapter's run; status is "ok", "out of band" or "failed"."""

    chapter: str
    number: str
    title: str
    status: str
    seconds: float
    peak_mb: int
    cells: int
    outcomes: list[Outcome]
    error: Failure | None
    finished: str
    key: str
    cell_seconds: list[float]

    def as_json(self) -> dict:
        """Plain data; each outcome also gets its band in words."""
        return {**asdict(self), "outcomes": [{**asdict(o), "band": o.band} for o in self.outcomes]}

    @staticmethod
    def from_json(data: Mapping) -> "Result":
        """The inverse of as_json."""
        outcomes = [Outcome(*(o[name] for name in ("name", "value", "low", "high", "ok")), o.get("headline", False))
                    for o in data["outcomes"]]
        error = Failure(**data["error"]) if data["error"] else None
        return Result(**{**data, "outcomes": outcomes, "error": error})


def read_outcomes(path: Path) -> list[Outcome]:
    """The JSON lines that metrics.outcome wrote; a line cut off by a killed kernel is left out."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(Outcome(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def read_report(path: Path) -> dict[str, Result]:
    """The chapters of an earlier report by name; none if there is none or it cannot be read."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {entry["chapter"]: Result.from_json(entry) for entry in data["chapters"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def report_card(results: Sequence[Result]) -> str:
    """The headlines of the chapters that were run, with what each took: a line for each, "" where there are none."""
    lines = []
    for result in results:
        found = [outcome for outcome in result.outcomes if outcome.headline]
        if found:
            lines.append(f"{result.title}: {result.seconds / 60:.1f} minutes, {result.peak_mb} MB")
            lines += [f"  {'✓' if o.ok else '✗'} {o.name:60} {o.shown:>8}   ({o.band})" for o in found]
    total = sum(result.seconds for result in results)
    return "\n".join([*lines, f"together {total / 60:.1f} minutes, at most {max(r.peak_mb for r in results)} MB"]) if lines else ""


def write_report(chapters: Sequence[Chapter], results: Mapping[str, Result], out: Path) -> None:
    """Write report.json and report.html; chapters without a result are named as not run."""
    found = [results[c.name] for c in chapters if c.name in results]
    data = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "ok": len(found) == len(chapters) and all(r.status == "ok" for r in found),
        "machine": {"system": f"{platform.system()} {platform.release()}", "processor": platform.machine(),
                    "cores": usable_cores(), "memory_gb": round(usable_memory() / 1e9, 1)},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "chapters": [r.as_json() for r in found],
        "not_run": [c.name for c in chapters if c.name not in results],
    }
    write_whole(out / "report.json", json.dumps(data, indent=1, ensure_ascii=False).encode() + b"\n")
    write_whole(out / "report.html", page(chapters, results, data).encode())


def write_page(notebook: Path, folder: Path) -> None:
    """The executed notebook as a page beside it; pictures are taken from `folder` and put inside."""
    exporter = HTMLExporter(embed_images=True)
    body, _ = exporter.from_notebook_node(
        nbformat.read(notebook, as_version=4),
        resources={"metadata": {"path": str(folder), "name": notebook.stem}},
    )
    write_whole(notebook.with_suffix(".html"), body.encode())


def page(chapters: Sequence[Chapter], results: Mapping[str, Result], data: Mapping) -> str:
    """report.html: no script, no font, nothing fetched."""
    found = [results[c.name] for c in chapters if c.name in results]
    longest = max((r.seconds for r in found), default=1.0) or 1.0
    outcomes = [o for r in found for o in r.outcomes]
    machine = data["machine"]
    template = Template(Path(__file__).with_name("report_template.html").read_text(encoding="utf-8"))
    return template.substitute(
        verdict="good" if data["ok"] else "bad" if any(r.status != "ok" for r in found) else "open",
        chapters_ok=sum(r.status == "ok" for r in found), chapters=len(chapters),
        outcomes_ok=sum(o.ok for o in outcomes), outcomes=len(outcomes),
        minutes=f"{sum(r.seconds for r in found) / 60:.1f}", peak=max((r.peak_mb for r in found), default=0),
        rows="\n".join(row(c, results.get(c.name), longest) for c in chapters),
        date=html.escape(data["date"][:16].replace("T", " ")),
        machine=html.escape(f"{machine['system']} · {machine['processor']} · {machine['cores']:g} cores · "
                            f"{machine['memory_gb']} GB"),
        versions=html.escape(" · ".join(f"{name} {number}" for name, number in data["versions"].items())))


def row(chapter: Chapter, result: Result | None, longest: float) -> str:
    """One chapter of the table."""
    title = html.escape(chapter.title)
    if result is None:
        return (f'<tr><th scope="row">{title}<small>{html.escape(chapter.path.name)}</small></th>'
                '<td><span class="open">not run</span></td><td></td><td></td><td></td></tr>')
    mark = {"ok": "good", "out of band": "bad", "failed": "bad"}[result.status]
    links = (f'<small><a href="notebooks/{chapter.name}.html">read it</a> · '
             f'<a href="notebooks/{chapter.name}.ipynb">notebook</a></small>')
    share = 100 * result.seconds / longest
    return (f'<tr><th scope="row">{title}{links}</th><td><span class="{mark}">{result.status}</span></td>'
            f'<td class="number">{result.seconds:.0f} s<i style="width:{share:.0f}%"></i></td>'
            f'<td class="number">{result.peak_mb} MB</td>'
            f'<td>{"".join(map(line, result.outcomes))}{trouble(result.error)}</td></tr>')


def line(outcome: Outcome) -> str:
    """One outcome: sign, name, value, band, and where in the band it lies."""
    sign, mark = ("✓", "good") if outcome.ok else ("✗", "bad")
    return (f'<p><b class="{mark}">{sign}</b> {html.escape(outcome.name)}'
            f'<span class="value">{outcome.shown}</span>'
            f'{gauge(outcome)}<small>{html.escape(outcome.band)}</small></p>')


def gauge(outcome: Outcome) -> str:
    """A small picture: the band shaded, the value as a tick."""
    limits = [limit for limit in (outcome.low, outcome.high) if limit is not None]
    if outcome.value is None:
        return ""
    low, high = min([*limits, outcome.value, 0.0]), max([*limits, outcome.value])
    if len(limits) == 1 and outcome.high is None and 0 <= high <= 1:
        high = 1.0
    room = (high - low or 1.0) * 1.15

    def at(value: float) -> float:
        return 100 * (value - low) / room + 3

    left = 0 if outcome.low is None else at(outcome.low)
    right = 118 if outcome.high is None else at(outcome.high)
    return (
        f'<svg width="118" height="12" role="img" aria-label="value {outcome.shown}, band {outcome.band}">'
        f'<rect class="track" y="4" width="118" height="4" rx="2"/>'
        f'<rect class="band" x="{left:.1f}" y="4" width="{max(right - left, 2):.1f}" height="4" rx="2"/>'
        f'<rect class="tick" x="{at(outcome.value) - 1.5:.1f}" width="3" height="12" rx="1"/></svg>'
    )


def trouble(error: Failure | None) -> str:
    """The cell that failed, with its source and the end of its traceback."""
    if error is None:
        return ""
    text = html.escape("\n".join(error.traceback.splitlines()[-25:]))
    message = html.escape(f"{error.name}: {error.message[:200]}")
    return (f'<details open><summary>cell {error.cell}: {message}'
            f'</summary><pre>{html.escape(error.source)}</pre><pre>{text}</pre></details>')
