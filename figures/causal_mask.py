"""The causal mask: no word looks at what comes after it (chapter 04)."""

import math

from figures._draw import BLUE, DEEP_GREEN, GREEN, GREY, INK, LIGHT, PALE, Drawing, Point
from figures._grid import shade
from figures.additive_attention import softmax

WORDS = ["Mia", "found", "the", "red", "ball"]
SCORES = [                                              # chosen for the picture; the weights follow
    [0.9, 1.6, -0.4, 0.3, 1.2],
    [1.4, 0.5, 0.2, -0.6, 1.8],
    [-0.3, 0.8, 0.4, 1.1, 1.5],
    [-0.8, 0.1, 0.6, 1.0, 2.1],
    [0.1, 1.3, -0.5, 2.0, 0.6],
]
WIDE, TALL, TOP = 57, 48, 138                           # of a cell; where the grids begin
LEFT, RIGHT = 92, 532
HATCH = "#B8B8B8"


def masked(scores: list[list[float]]) -> list[list[float]]:
    """Row i keeps columns 0 … i; the rest becomes −∞."""
    return [[s if j <= i else -math.inf for j, s in enumerate(row)] for i, row in enumerate(scores)]


def weights() -> list[list[float]]:
    """The softmax of each masked row."""
    return [softmax(row) for row in masked(SCORES)]


def draw() -> Drawing:
    """Scores on the left, weights on the right."""
    rows = "; ".join(f"{word}: " + ", ".join(f"{w:.2f}" for w in row[:i + 1])
                     for i, (word, row) in enumerate(zip(WORDS, weights(), strict=True)))
    d = Drawing(900, 470, "The causal mask",
                "Two grids of five rows and five columns for the sentence Mia found the red ball. In the "
                "left one, row i holds the scores of word i with itself and the words before it; all cells "
                "to the right of the diagonal are −∞. In the right one, the softmax of each row: the "
                f"forbidden cells are exactly 0 and each row sums to 1. Weights by row: {rows}.")
    d.text(24, 34, "No word looks at what comes after it", size=20, face="b", anchor="start")
    frame(d, LEFT, "scores q · k / √D, masked")
    frame(d, RIGHT, "weights: softmax of each row")
    bottom = TOP + TALL * len(WORDS)
    for i, (scores, shares) in enumerate(zip(masked(SCORES), weights(), strict=True)):
        y = TOP + TALL * i
        for j, (score, share) in enumerate(zip(scores, shares, strict=True)):
            forbidden = score == -math.inf
            cell(d, LEFT + WIDE * j, y, "−∞" if forbidden else f"{score:.1f}".replace("-", "−"),
                 None if forbidden else LIGHT[BLUE])
            cell(d, RIGHT + WIDE * j, y, "0" if forbidden else f"{share:.2f}",
                 None if forbidden else shade(GREEN, 0.06 + 0.8 * share))
        d.text(RIGHT + WIDE * len(WORDS) + 12, y + TALL / 2, f"Σ = {sum(shares):.0f}", size=15, face="b",
               colour=DEEP_GREEN, anchor="start")
    arrow(d)
    d.rect(LEFT, bottom + 22, 30, 22, fill=PALE, stroke=HATCH, width=1.2, radius=1)
    hatch(d, LEFT, bottom + 22, 30, 22)
    d.text(LEFT + 40, bottom + 33, "forbidden: a later word", size=14, anchor="start")
    d.text(RIGHT, bottom + 33, "−∞ before the softmax: exactly 0 after it", size=14, anchor="start")
    d.text(LEFT, bottom + 61, "All five rows are computed at once, and still none has seen the word it is "
           "trained to predict: the next one.", size=14, colour=GREY, anchor="start")
    return d


def frame(d: Drawing, x: float, title: str) -> None:
    """A grid's title, its words across (looked at) and its words down (who looks)."""
    d.text(x, 76, title, size=16, face="b", anchor="start")
    d.text(x - 12, TOP - 38, "looked at →", size=12, colour=GREY, anchor="end")
    d.text(x - 12, TOP - 16, "looks ↓", size=12, colour=GREY, anchor="end")
    for k, word in enumerate(WORDS):
        d.text(x + WIDE * (k + 0.5), TOP - 16, word, size=15)
        d.text(x - 12, TOP + TALL * (k + 0.5), word, size=15, anchor="end", face="b")


def cell(d: Drawing, x: float, y: float, text: str, fill: str | None) -> None:
    """One number; a forbidden one (no fill) stands on a hatched cell."""
    d.rect(x + 1.5, y + 1.5, WIDE - 3, TALL - 3, fill=fill or PALE, radius=1 if fill is None else 3,
           stroke="none" if fill else HATCH, width=1.2)
    if fill is None:
        hatch(d, x + 1.5, y + 1.5, WIDE - 3, TALL - 3)
        d.rect(x + WIDE / 2 - 15, y + TALL / 2 - 11, 30, 22, fill=PALE, radius=4)
    d.text(x + WIDE / 2, y + TALL / 2, text, size=15, colour=GREY if fill is None else INK)


def hatch(d: Drawing, x: float, y: float, w: float, h: float, step: float = 9) -> None:
    """Slanted lines across a rectangle, one stroke that turns at its edges."""
    path: list[Point] = []
    for k in range(1, math.ceil((w + h) / step)):
        t = k * step
        ends = [(x + max(0, t - h), y + min(t, h)), (x + min(t, w), y + max(0, t - w))]
        path += ends if k % 2 else ends[::-1]
    d.line(*path, colour=HATCH, width=1.2)


def arrow(d: Drawing) -> None:
    """From the scores to the weights."""
    y, start = TOP + TALL * 2.5, LEFT + WIDE * 5 + 8
    d.line((start, y), (start + 62, y), colour=GREEN, width=2.6, arrow=True)
    d.text(start + 28, y - 16, "softmax", size=14, colour=DEEP_GREEN)
