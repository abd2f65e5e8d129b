"""Plots: no text clipped or too small, no picture without alt text or over 60 kB, data in its place."""

import base64
import io
import re
from html.parser import HTMLParser
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from course_lib import plotting
from course_lib.plotting import (
    COLOURS,
    plot_attention,
    plot_bars,
    plot_curves,
    plot_history,
    png,
    show,
    use_style,
)

words = str.split
GERMAN = words("Die Großmutter hat gestern dem kleinen Jungen das schöne Fahrrad zurückgegeben .")
ENGLISH = words("The grandmother gave the little boy back the beautiful bike yesterday .")
LONG = "Without attention long sentences are lost; with it the curve stays flat to the end of the range"


def attention_map(n_target, n_source, sharp=0.3):
    return np.random.default_rng(0).dirichlet([sharp] * n_source, n_target)


def history(steps=300):
    loss = 5 * np.exp(-np.arange(steps) / 60) + 0.2
    evaluations = [{"step": s, "exact": 1 - np.exp(-s / 90)} for s in range(50, steps, 50)]
    return SimpleNamespace(loss=list(loss), evaluations=evaluations)


def curves(n, length=23):
    x = np.arange(3, 3 + length)
    return x, {f"model number {k}": (x / 30 + k / 20, x / 30, x / 25) for k in range(n)}


FIGURES = {
    "map": lambda: plot_attention(attention_map(12, 12), GERMAN, ENGLISH, {(0, 0), (2, 11), (6, 11)}, LONG),
    "long map": lambda: plot_attention(attention_map(25, 25), ["Straßenbahn"] * 25, ["neighbour"] * 25),
    "tiny map": lambda: plot_attention([[1.0]], ["Regenschirm"], ["umbrella"], title="One word"),
    "map without truth": lambda: plot_attention(attention_map(4, 9), GERMAN[:9], ENGLISH[:4]),
    "curves": lambda: plot_curves(*curves(3), "length (words)", "exact match", LONG, ylim=(0, 1.02),
                                  hline=(0.5, "half")),
    "one curve": lambda: plot_curves([1, 2, 3], {"only": [1, 2, 3]}, "distance (words)", "norm", "It grows"),
    "log": lambda: plot_curves(np.arange(30), {"a": np.exp(-np.arange(30.0)), "b": np.ones(30)}, "k", "norm",
                               "It fades", log_y=True),
    "seven": lambda: plot_curves(*curves(7), "length (words)", "score", "Seven"),
    "bars": lambda: plot_bars({"diagonal": (0.55, 0.5, 0.6), "IBM Model 1": 0.12, "attention, both": 0.15},
                              "alignment error rate (lower is better)", LONG),
    "bars below 0": lambda: plot_bars({"worse": (-0.4, -0.5, -0.3), "better": 0.6}, "gain", "Gains"),
    "history": lambda: plot_history(history(), LONG),
    "histories": lambda: plot_history({"with attention": history(), "without": history(200)}, "Both learn",
                                      "exact", "exact match"),
}


@pytest.fixture(params=FIGURES, scope="module")
def figure(request):
    fig = FIGURES[request.param]()
    FigureCanvasAgg(fig).draw()
    return fig


def texts(fig):
    return [t for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible()]


def drawn(fig):
    """The texts that are in the picture: tick labels beyond the axis limits exist but are not drawn."""
    hidden = set()
    for ax in fig.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            outside = [tick for tick in (*axis.majorTicks, *axis.minorTicks)
                       if not min(limits) <= tick.get_loc() <= max(limits)]
            hidden |= {label for tick in outside for label in (tick.label1, tick.label2)}
    return [t for t in texts(fig) if t not in hidden]


def test_no_text_is_clipped_or_too_small(figure):
    low, high = figure.bbox.min, figure.bbox.max
    for text in drawn(figure):
        box = text.get_window_extent()
        assert text.get_fontsize() >= 9, text
        assert (box.min >= low - 0.5).all() and (box.max <= high + 0.5).all(), text
    assert figure.get_figwidth() <= 12                                  # a notebook would shrink a wider one


def test_no_label_covers_another(figure):
    straight = [t for t in drawn(figure) if t.get_rotation() in (0, 90)]
    for a, b in combinations(straight, 2):
        box, other = a.get_window_extent(), b.get_window_extent()
        overlap = np.minimum(box.max, other.max) - np.maximum(box.min, other.min)
        assert not (overlap > 1).all(), (a, b)


def test_every_figure_has_a_title_and_labelled_axes(figure):
    assert figure.get_suptitle()
    for ax in figure.axes:
        named_rows = any(t.get_text()[:1].isalpha() for t in ax.get_yticklabels())
        assert ax.get_ylabel() or named_rows                            # bars name themselves
        assert ax.get_xlabel() or ax.get_label() == "<colorbar>"


def test_the_picture_is_small_and_white(figure):
    data = png(figure)
    assert len(data) <= 60_000
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    assert picture.getpixel((1, 1)) == (255, 255, 255)
    assert picture.width >= 96 * figure.get_figwidth()


class Images(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        assert tag == "img"
        self.found.append(dict(attributes))


def shown(fig, alt, monkeypatch):
    out = []
    monkeypatch.setattr(plotting, "display", out.append)
    assert show(fig, alt) is None
    (image,) = Images(out[0]._repr_html_()).found
    return image


def test_show_displays_one_image_with_escaped_alt_text(monkeypatch):
    alt = 'The map of "Mia\'s <hat>" & a ball:\n  the diagonal is bright.'
    image = shown(FIGURES["tiny map"](), alt, monkeypatch)
    assert image["alt"] == 'The map of "Mia\'s <hat>" & a ball: the diagonal is bright.'
    kind, data = image["src"].split(",")
    assert kind == "data:image/png;base64" and Image.open(io.BytesIO(base64.b64decode(data))).format == "PNG"
    assert re.fullmatch(r"\d+", image["width"]) and "max-width:100%" in image["style"]


def test_show_closes_the_figure_and_leaves_what_varies_to_the_picture(monkeypatch):
    first = shown(FIGURES["bars"](), "Bars of three alignment error rates.", monkeypatch)
    second = shown(FIGURES["bars"](), "Bars of three alignment error rates.", monkeypatch)
    assert first == second
    with plt.rc_context():
        use_style()
        fig, ax = plt.subplots()
        ax.set_title("It grows")
        shown(fig, "A line that grows from left to right.", monkeypatch)
        assert not plt.fignum_exists(fig.number)


@pytest.mark.parametrize("alt", ["", "a map", None, " " * 30])
def test_alt_text_is_required(alt):
    with pytest.raises(ValueError, match="alt: got"):
        show(FIGURES["bars"](), alt)


def test_a_title_is_required():
    with pytest.raises(ValueError, match="fig: got a figure without a title"):
        fig = Figure()
        fig.subplots().plot([1, 2])
        show(fig, "A line that grows from left to right.")


def test_a_picture_that_cannot_fit_is_refused():
    fig = Figure((2, 2))
    fig.subplots().imshow(np.random.default_rng(0).random((90, 90)))
    with pytest.raises(ValueError, match=r"fig: its picture takes \d+ bytes"):
        png(fig, 2_000)


def test_attention_maps_put_source_along_x_target_along_y_and_gold_where_it_belongs():
    weights = torch.tensor(attention_map(2, 3)).requires_grad_()
    fig = plot_attention(weights, ["der", "rote", "Ball"], ["red", "ball"], gold={(0, 1), (1, 2)}, title="t")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["der", "rote", "Ball"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["red", "ball"]
    assert np.array_equal(ax.images[0].get_array(), weights.detach().numpy())
    assert ax.get_ylim() == (1.5, -0.5)                                 # the first target word on top
    centres = {tuple(np.round(np.array(p.get_center())[::-1]).astype(int)) for p in ax.patches}
    assert centres == {(0, 1), (1, 2)} and not any(p.get_fill() for p in ax.patches)
    assert ax.images[0].get_cmap().name == "cividis" and ax.images[0].get_clim() == (0, 1)


def test_attention_maps_join_a_larger_figure():
    fig = Figure((10, 5), layout="constrained")
    for ax, words in zip(fig.subplots(1, 2), (GERMAN[:3], GERMAN[:4]), strict=True):
        assert plot_attention(np.eye(3, len(words)), words, ENGLISH[:3], title="half", ax=ax) is fig
    assert [ax.get_title(loc="left") for ax in fig.axes] == ["half", "half"]


def test_bars_and_curves_show_their_values():
    ax = plot_bars({"a": (0.5, 0.4, 0.7), "b": 0.25}, "x", "t").axes[0]
    assert [bar.get_width() for bar in ax.patches] == [0.5, 0.25]
    assert {"0.50", "0.25"} <= {t.get_text() for t in ax.texts}
    assert list(ax.lines[0].get_xdata()) == [0.4, 0.7] and len(ax.lines) == 1
    ax = plot_curves([1, 2], {"a": ([3, 4], [2, 3], [4, 5]), "b": [5, 6]}, "x", "y", "t").axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[3, 4], [5, 6]] and len(ax.collections) == 1
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"a", "b"}


def test_lines_differ_by_more_than_colour():
    ax = FIGURES["seven"]().axes[0]
    looks = {(line.get_marker(), str(line._unscaled_dash_pattern)) for line in ax.lines}
    assert len({marker for marker, _ in looks}) == len({dash for _, dash in looks}) == 7


def test_smoothing_keeps_the_mean_and_a_line():
    line = np.arange(50.0)
    assert np.allclose(plotting._smooth(line, 5)[5:-5], line[5:-5])
    assert np.allclose(plotting._smooth(line, 0), line) and plotting._smooth([3.0], 4) == [3.0]


def test_colours_keep_apart_when_red_and_green_look_alike():
    # Viénot, Brettel & Mollon (1999): what a deuteranope sees, in linear RGB
    blind = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    seen = [(blind @ np.array(to_rgb(colour)) ** 2.2).clip(0, 1) ** (1 / 2.2) for colour in COLOURS.values()]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 0.15


def test_the_style_changes_nothing_outside(figure):
    assert plt.rcParams["axes.spines.top"] is True


@pytest.mark.parametrize("call, named", [
    (lambda: plot_attention(np.eye(3), GERMAN, ENGLISH), r"weights: got shape \(3, 3\), expected \(12, 12\)"),
    (lambda: plot_attention(np.ones((0, 0)), [], []), r"weights: got shape \(0, 0\)"),
    (lambda: plot_curves([1, 2], {}, "x", "y", "t"), "curves: got none"),
    (lambda: plot_curves([1, 2], {"a": [1]}, "x", "y", "t"), "curves: got 1 values for 'a', expected 2"),
    (lambda: plot_bars({}, "x", "t"), "bars: got none"),
    (lambda: plot_history(history(), metric="BLEU"), "metric: got 'BLEU'"),
])
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match="^" + named):
        call()
