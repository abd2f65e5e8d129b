"""What a bench found: rows of ours beside a peer, the machine's ceilings, a table and a figure of both."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from course_lib.plotting import COLOURS, GREY, INK, STYLE

CEILINGS = {"matmul": "FLOP/s", "memory": "B/s"}
HEADINGS = ("part", "what", "ours", "peer", "its", "ratio (range)", "wanted", "of ceiling")
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class Row:
    """Ours and a peer, one number for each round. Raises ValueError for numbers that are no measurements, or not paired.

    The ratio says how much better ours is, so above 1 is good of memory, too; its rounds are compared one by one, since what
    disturbs a round disturbs both. Without a peer there is no ratio, only a goal.

        Row("gpt", "training", "tokens/s", [300, 200], "Hugging Face", [200, 100]).ratio  →  (1.75, 1.5, 2.0)
    """

    part: str
    what: str
    unit: str
    ours: Sequence[float]
    peer: str = ""
    theirs: Sequence[float] = field(default_factory=list)
    wanted: float | None = None         # of the ratio, at least
    goal: float | None = None           # of ours in its unit: at least, or at most where less is better
    less_is_better: bool = False
    work: float = 0.0                   # what one unit takes of the ceiling's: operations, or bytes read; 0: not countable
    ceiling: str = ""                   # which of CEILINGS that is

    def __post_init__(self):
        for name, values in (("ours", self.ours), ("theirs", self.theirs)):
            if not all(isinstance(value, (int, float)) and 0 < value < math.inf for value in values):
                raise ValueError(f"{name}: got {values!r:.80}, expected positive numbers")
        if not self.ours or len(self.theirs) != bool(self.peer) * len(self.ours):
            raise ValueError(f"ours, theirs: got {len(self.ours)} and {len(self.theirs)} rounds of {self.what!r}, expected as many, "
                             "or none of theirs without a peer")
        if bool(self.work) != (self.ceiling in CEILINGS):
            raise ValueError(f"ceiling: got {self.ceiling!r} for work {self.work}, expected one of {', '.join(CEILINGS)} where work counts")

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """How much better ours is: median, lowest and highest of the rounds' own ratios."""
        pairs = zip(self.theirs, self.ours) if self.less_is_better else zip(self.ours, self.theirs)
        ratios = [a / b for a, b in pairs]
        return (median(ratios), min(ratios), max(ratios)) if ratios else None

    @property
    def verdict(self) -> bool | None:
        """Whether the medians are as wanted; None where nothing was."""
        found = [] if self.wanted is None or not self.ratio else [self.ratio[0] >= self.wanted]
        if self.goal is not None:
            ours = median(self.ours)
            found.append(ours <= self.goal if self.less_is_better else ours >= self.goal)
        return all(found) if found else None

    def share(self, ceilings: Mapping[str, float]) -> float | None:
        """The best round's part of the machine's ceiling; None where nothing is countable. Above 1: a ceiling cannot be passed,
        so its measurement was disturbed."""
        return self.work * max(self.ours) / ceilings[self.ceiling] if self.ceiling in ceilings else None


class Findings:
    """What a bench tells while it goes on: events {"row": …}, {"ceilings": …} and {"note": …}, of any number of parts."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.notes: list[str] = []
        self.measured: dict[str, list[float]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Keep what an event tells; others, such as {"measure": …}, are passed over."""
        if "row" in event:
            self.rows.append(Row(**event["row"]))
        if "note" in event:
            self.notes.append(event["note"])
        for name, rate in event.get("ceilings", {}).items():
            self.measured.setdefault(name, []).append(rate)

    @property
    def ceilings(self) -> dict[str, float]:
        """The best of all measurements: other load can only make them lower."""
        return {name: max(rates) for name, rates in self.measured.items()}

    def table(self) -> str:
        """All rows, aligned, and below them what the last column refers to."""
        lines = [HEADINGS, *(cells(row, self.ceilings) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines)]
        text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
        text += ["", "ratio: above 1 ours is better; median of the rounds' own, and their range; wanted: of the ratio (×) or of ours"]
        text += [f"ceiling {name}: {self.ceilings[name] / 1e9:,.1f} G{unit}, the best of {len(self.measured[name])} measurements "
                 f"from {min(self.measured[name]) / 1e9:,.1f}" for name, unit in CEILINGS.items() if name in self.measured]
        return "\n".join([*text, *self.notes])


def cells(row: Row, ceilings: Mapping[str, float]) -> tuple[str, ...]:
    """One line of the table."""
    wanted = "–"
    if row.wanted is not None:
        wanted = f"≥ {row.wanted:g} ×"
    if row.goal is not None:
        wanted = f"{'≤' if row.less_is_better else '≥'} {row.goal:g}"
    mark = {True: " ✓", False: " ✗", None: ""}[row.verdict]
    ratio = "{:.2f} ({:.2f} – {:.2f})".format(*row.ratio) if row.ratio else "–"
    return (row.part, row.what, f"{short(median(row.ours))} {row.unit}", row.peer or "–",
            short(median(row.theirs)) if row.theirs else "–", ratio, wanted + mark, reached(row.share(ceilings), row.ceiling))


def reached(share: float | None, ceiling: str) -> str:
    """A share in words; what is more than a ceiling says that the ceiling was measured too low."""
    return "–" if share is None else "ceiling disturbed" if share > 1 else f"{share:.0%} {ceiling}"


def short(value: float) -> str:
    """Three digits or more: 1234.5 → "1,234", 12.34 → "12.3"."""
    return f"{value:,.{max(0, 2 - int(math.log10(max(value, 1))))}f}"


def plot_ratios(rows: Sequence[Row], title: str) -> Figure:
    """One bar a ratio from 1 to its median, a whisker over its range, a mark at what is wanted; the axis is logarithmic.

    Raises ValueError where no row has a ratio.
    """
    rows = [row for row in rows if row.ratio]
    if not rows:
        raise ValueError("rows: got none with a ratio, expected at least one")
    parts = list(dict.fromkeys(row.part for row in rows))
    with plt.rc_context(STYLE):
        fig = Figure((10.5, 1.7 + 0.27 * len(rows)))
        ax = fig.subplots()
        ax.set_xscale("log")
        for n, row in enumerate(rows):
            middle, low, high = row.ratio
            ax.barh(n, middle - 1, left=1, height=0.66, color=list(COLOURS.values())[parts.index(row.part)])
            ax.plot([low, high], [n, n], color=INK, linewidth=1.2, marker="|", markersize=6)
            if row.wanted is not None:
                ax.plot([row.wanted] * 2, [n - 0.46, n + 0.46], color=INK, linewidth=2.4, linestyle=(0, (1.2, 0.7)), zorder=3)
            ax.annotate(f"{middle:.2f}", (max(high, row.wanted or 0, 1), n), xytext=(6, 0), textcoords="offset points", va="center",
                        fontsize=9)
        ax.axvline(1, color=GREY, linewidth=1.4)
        ax.set_yticks(range(len(rows)), [f"{row.part}: {row.what}, beside {row.peer}" for row in rows], fontsize=9)
        ax.set_ylim(len(rows) - 0.4, -0.6)
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        _scale(ax, [value for row in rows for value in (*row.ratio, row.wanted or 1, 1)])
        handles = [Line2D([], [], color=INK, linewidth=1.2, marker="|", label="range of the rounds"),
                   Line2D([], [], color=INK, linewidth=2.4, linestyle=":", label="wanted")]
        fig.legend(handles=handles, loc="outside lower right", ncols=2)
        fig.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    return fig


def _scale(ax: plt.Axes, values: Sequence[float]) -> None:
    """Limits with room for the numbers, and ticks that are read at a glance."""
    low, high = min(values) / 1.08, max(values) * 1.25
    ax.set_xlim(low, high)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks([tick for tick in TICKS if low <= tick <= high])
    ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g} ×"))
    ax.set_xlabel("how many times better ours is (logarithmic)")
