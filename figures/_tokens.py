"""Tokens as boxes side by side, each as wide as what stands in it."""

from collections.abc import Sequence
from typing import NamedTuple

from figures._draw import WHITE, Drawing, width_of

EDGE, NARROW = "#9A9A9A", 24


class Column(NamedTuple):
    """The place of a token: its centre and its width."""

    x: float
    wide: float


def columns(texts: Sequence[str], left: float, right: float, size: float, pad: float = 8) -> list[Column]:
    """A column for each of two or more texts from `left` to `right`, the gaps alike; ValueError where they do not fit.

        columns(["the", "."], 0, 100, 14)  →  "the" a little wider than "." (24), which ends at 100
    """
    wide = [max(NARROW, width_of(text, size) + pad) for text in texts]
    gap, x, found = (right - left - sum(wide)) / (len(texts) - 1), left, []
    if gap < 1:
        raise ValueError(f"texts: got {sum(wide):.0f} pixels of boxes, expected at most {right - left - len(texts) + 1:.0f}")
    for w in wide:
        found.append(Column(x + w / 2, w))
        x += w + gap
    return found


def token(d: Drawing, column: Column, y: float, text: str, tall: float = 30, size: float = 14, fill: str = WHITE,
          stroke: str = EDGE) -> None:
    """A box of the column's width around the height y, and its text."""
    d.rect(column.x - column.wide / 2, y - tall / 2, column.wide, tall, fill=fill, stroke=stroke, width=1.2, radius=4)
    d.text(column.x, y, text, size=size)
