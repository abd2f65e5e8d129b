"""One look for every plotted figure: colour-blind safe, legible on a projector, on white, with alt text."""

import base64
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from IPython.display import HTML, display
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

# Okabe & Ito (2008) in the order of use; their yellow is left out, a line of it is lost on white
COLOURS = {"blue": "#0072B2", "vermillion": "#D55E00", "green": "#009E73", "purple": "#CC79A7",
           "orange": "#E69F00", "sky": "#56B4E9", "black": "#000000"}
GREY, INK = "#6B6B6B", "#222222"
# colour is never the only difference: marker and dash change with it
MARKERS = "osD^vPX"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))
MAX_BYTES = 60_000                                      # of a picture inside a notebook

STYLE: dict[str, Any] = {
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 11, "text.color": INK,
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 10,
    "axes.labelsize": 11, "axes.labelcolor": INK, "axes.edgecolor": GREY, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#DDDDDD", "grid.linewidth": 0.7,
    "axes.prop_cycle": plt.cycler(color=list(COLOURS.values())),
    "xtick.labelsize": 10, "ytick.labelsize": 10, "xtick.color": INK, "ytick.color": INK,
    "legend.fontsize": 10, "legend.frameon": False, "lines.linewidth": 2, "lines.markersize": 6,
    "figure.figsize": (7.2, 4.0), "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09, "figure.constrained_layout.h_pad": 0.09,
    "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "image.cmap": "cividis", "image.interpolation": "nearest",
}


def use_style() -> None:
    """Make the course's look matplotlib's default; the plot functions of this file have it anyway."""
    plt.rcParams.update(STYLE)


def show(fig: Figure, alt: str) -> None:
    """Display a figure as an HTML image with alt text, at most 60 kB, and close it.

    Raises ValueError when the alt text has under 20 characters or the figure has no title.
    """
    if not isinstance(alt, str) or len(alt.strip()) < 20:
        raise ValueError(f"alt: got {alt!r}, expected at least 20 characters that say what the figure shows")
    titles = [fig.get_suptitle(), *(ax.get_title(place) for ax in fig.axes for place in ("left", "center"))]
    if not any(titles):
        raise ValueError("fig: got a figure without a title, expected one that says what to see")
    width, data = round(96 * fig.get_figwidth()), base64.b64encode(png(fig)).decode("ascii")
    plt.close(fig)
    display(HTML(f'<img alt="{html.escape(" ".join(alt.split()))}" width="{width}" '
                 f'style="max-width:100%;background:#ffffff" src="data:image/png;base64,{data}">'))


def png(fig: Figure, max_bytes: int = MAX_BYTES) -> bytes:
    """The figure as a PNG of at most `max_bytes`: 256 colours, at the sharpest resolution that fits."""
    for dpi in (168, 144, 120, 96, 72):
        raw, small = io.BytesIO(), io.BytesIO()
        fig.savefig(raw, format="png", dpi=dpi)
        picture = Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(small, "PNG", optimize=True)
        if small.tell() <= max_bytes:
            return small.getvalue()
    raise ValueError(f"fig: its picture takes {small.tell()} bytes at 72 dpi, expected at most {max_bytes}")


def plot_attention(weights: Any, source: Sequence[str], target: Sequence[str],
                   gold: Iterable[tuple[int, int]] | None = None, title: str = "Attention weights",
                   ax: Axes | None = None) -> Figure:
    """An attention map: source words along x, target words along y, weights (T, S), 0 dark to 1 light.

    `gold`: true links (target place, source place), drawn as open squares. With `ax` the map joins a larger
    figure and brings no colour bar.
    """
    weights = np.asarray(weights.detach().cpu() if hasattr(weights, "detach") else weights, dtype=float)
    if weights.shape != (len(target), len(source)) or not weights.size:
        raise ValueError(f"weights: got shape {weights.shape}, expected {(len(target), len(source))}, "
                         f"one row for each target word and one column for each source word")
    with plt.rc_context(STYLE):
        own = ax is None
        if own:
            cell, margin = min(0.46, 7.5 / max(len(source), len(target))), 0.1 * max(map(len, target)) + 2.0
            fig = Figure((max(4.4, cell * len(source) + margin), cell * len(target) + 2.2))
            ax = fig.subplots()
        image = ax.imshow(weights, vmin=0, vmax=1, cmap="cividis")
        ax.set_xticks(range(len(source)), source, rotation=50, ha="left", rotation_mode="anchor")
        ax.set_yticks(range(len(target)), target)
        ax.xaxis.tick_top()
        ax.xaxis.set_label_position("top")
        ax.tick_params(length=0)
        ax.grid(False)
        ax.spines[:].set_visible(False)
        for i, j in gold or ():
            for colour, width in (("white", 3.4), (COLOURS["vermillion"], 2.0)):
                ax.add_patch(Rectangle((j - 0.38, i - 0.38), 0.76, 0.76, fill=False, edgecolor=colour,
                                       linewidth=width))
        ax.set(xlabel="source word" + ("   (squares: true links)" if gold else ""), ylabel="target word")
        if own:
            bar = fig.colorbar(image, ax=ax, shrink=0.8, ticks=np.linspace(0, 1, 5), label="weight")
            bar.outline.set_visible(False)
            _headline(fig, title)
        else:
            ax.set_title(title)
    return ax.figure


def plot_curves(x: Sequence[float], curves: Mapping[str, Any], xlabel: str, ylabel: str, title: str, *,
                ylim: tuple[float, float] | None = None, log_y: bool = False, log_x: bool = False,
                hline: tuple[float, str] | None = None) -> Figure:
    """One line a label, with a band where curves[label] is (y, low, high); `hline`: (height, label)."""
    if not curves:
        raise ValueError("curves: got none, expected at least one")
    with plt.rc_context(STYLE):
        fig = Figure()
        ax = fig.subplots()
        ax.set(xscale="log" if log_x else "linear", yscale="log" if log_y else "linear")
        for n, (label, values) in enumerate(curves.items()):
            y, *band = values if isinstance(values, tuple) and len(values) == 3 else (values,)
            if len(y) != len(x):
                raise ValueError(f"curves: got {len(y)} values for {label!r}, expected {len(x)} as in x")
            ax.plot(x, y, **_look(n, marked=len(x) <= 40), label=label)
            if band:
                ax.fill_between(x, *band, color=_look(n)["color"], alpha=0.18, linewidth=0)
        if hline is not None:
            ax.axhline(hline[0], color=GREY, linewidth=1.5, linestyle=(0, (2, 2)), label=hline[1])
        ax.set(xlabel=xlabel, ylabel=ylabel, ylim=ylim)
        if not log_x and all(float(value).is_integer() for value in x):
            ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        _legend(ax)
        _headline(fig, title)
    return fig


def plot_bars(bars: Mapping[str, Any], xlabel: str, title: str, *, xlim: tuple[float, float] | None = None,
              digits: int = 2) -> Figure:
    """One bar a label, its value beside it; whiskers where bars[label] is (value, low, high)."""
    if not bars:
        raise ValueError("bars: got none, expected at least one")
    rows = [value if isinstance(value, tuple) else (value, value, value) for value in bars.values()]
    with plt.rc_context(STYLE):
        fig = Figure((7.2, 1.6 + 0.45 * len(rows)))
        ax = fig.subplots()
        for n, (value, low, high) in enumerate(rows):
            ax.barh(n, value, height=0.62, color=_look(n)["color"])
            if low != high:
                ax.plot([low, high], [n, n], color=INK, linewidth=1.6, marker="|", markersize=9)
            ax.annotate(f"{value:.{digits}f}", (max(value, high, 0), n), xytext=(7, 0),
                        textcoords="offset points", va="center")
        ax.set_yticks(range(len(rows)), list(bars))
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="y", visible=False)
        ax.invert_yaxis()
        span = max(*(max(row) for row in rows), 0) - min(*(min(row) for row in rows), 0)
        ax.set_xlim(xlim or (min(0, *map(min, rows)), max(0, *map(max, rows)) + 0.12 * (span or 1)))
        ax.set_xlabel(xlabel)
        _headline(fig, title)
    return fig


def plot_history(histories: Any, title: str = "Training", metric: str | None = None,
                 metric_label: str | None = None) -> Figure:
    """Loss against the step (faint: as it was, bold: smoothed); beside it one `metric` of the evaluations.

    `histories`: what `train` returned, or {label: history}; its `loss` is in nats a token, its `evaluations`
    are dicts that hold "step" and the metric.
    """
    runs = histories if isinstance(histories, Mapping) else {"": histories}
    with plt.rc_context(STYLE):
        fig = Figure((7.2, 3.6) if metric is None else (9.4, 3.8))
        axes = np.atleast_1d(fig.subplots(1, 1 if metric is None else 2))
        for n, (label, history) in enumerate(runs.items()):
            steps = np.arange(1, len(history.loss) + 1)
            axes[0].plot(steps, history.loss, color=_look(n)["color"], alpha=0.25, linewidth=0.8)
            smooth = _smooth(history.loss, len(steps) // 80)
            axes[0].plot(steps, smooth, **_look(n, marked=False), label=label)
            if metric is not None:
                found = [(e["step"], e[metric]) for e in history.evaluations if metric in e]
                if not found:
                    raise ValueError(f"metric: got {metric!r}, which no evaluation holds")
                axes[1].plot(*zip(*found, strict=True), **_look(n), label=label)
                axes[1].set(xlabel="step", ylabel=metric_label or metric)
        axes[0].set(xlabel="step", ylabel="loss (nats per token)")
        axes[0].set_ylim(bottom=0)
        for ax in axes:
            _legend(ax)
        _headline(fig, title)
    return fig


def _look(n: int, marked: bool = True) -> dict[str, Any]:
    """Colour, dash and marker of the n-th line."""
    return {"color": list(COLOURS.values())[n % 7], "linestyle": DASHES[n % 7],
            "marker": MARKERS[n % 7] if marked else None}


def _smooth(values: Sequence[float], width: int) -> np.ndarray:
    """The mean of the values up to `width` places before and behind each."""
    total = np.cumsum(np.concatenate([[0.0], np.asarray(values, dtype=float)]))
    places = np.arange(len(total) - 1)
    starts, ends = np.maximum(places - width, 0), np.minimum(places + width + 1, len(total) - 1)
    return (total[ends] - total[starts]) / (ends - starts)


def _legend(ax: Axes) -> None:
    if len(ax.get_legend_handles_labels()[1]) > 1:
        ax.legend()


def _headline(fig: Figure, text: str) -> None:
    """A title over the whole figure, wrapped to its width: a long sentence is not cut off."""
    fig.suptitle(textwrap.fill(text, max(16, int(9.2 * fig.get_figwidth()))), x=0.02, ha="left", fontsize=12,
                 fontweight="bold")
