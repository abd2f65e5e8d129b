"""A small SVG writer: shapes, arrows and text as outlines, the same bytes on every machine.

Letters are outlines of DejaVu Sans, the font inside matplotlib, so no picture depends on a viewer's fonts.
Coordinates grow to the right and downwards; one unit is one pixel at the size shown, so 12 units are 9 pt.
What is drawn is also kept as plain data (`texts`, `shapes`, `strokes`), so a test can see what overlaps.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path

import matplotlib
from fontTools.pens.svgPathPen import SVGPathPen
from fontTools.ttLib import TTFont

# Okabe & Ito (2008), and a light tint of each for surfaces
BLUE, ORANGE, GREEN, VERMILLION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
LIGHT = {BLUE: "#DCECF6", ORANGE: "#FCF0D6", GREEN: "#D7F1E8", VERMILLION: "#FBE3D4", PURPLE: "#F7E6EF"}
DEEP_PURPLE, DEEP_GREEN, DEEP_ORANGE = "#8C3F6C", "#00694D", "#A84800"      # for letters
INK, GREY, PALE, WHITE = "#222222", "#5A5A5A", "#ECECEC", "#FFFFFF"
EM, CAPITAL = 2048, 0.729                               # font units per em; height of a capital in em
FACES = {"r": "DejaVuSans", "b": "DejaVuSans-Bold", "i": "DejaVuSans-Oblique", "m": "DejaVuSansMono"}
Point = tuple[float, float]


@cache
def _font(face: str) -> tuple:
    font = TTFont(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FACES[face]}.ttf")
    return font.getBestCmap(), font.getGlyphSet()


def _glyph(face: str, character: str) -> tuple[str, int]:
    """The outline of a character in font units, and how far it moves the pen."""
    names, glyphs = _font(face)
    if ord(character) not in names:
        raise ValueError(f"text: got {character!r}, which {FACES[face]} does not hold")
    pen = SVGPathPen(glyphs)
    glyphs[names[ord(character)]].draw(pen)
    return pen.getCommands(), glyphs[names[ord(character)]].width


def _runs(text: str) -> list[tuple[str, float, float]]:
    """"s_{i−1}" → [("s", 1, 0), ("i−1", 0.8, 0.2)]: text, size and drop of each part; ^ raises."""
    parts = re.split(r"([_^])(?:\{([^}]*)\}|(.))", text)
    runs = [(parts[0], 1.0, 0.0)]
    for sign, group, single, rest in zip(*(parts[k::4] for k in (1, 2, 3, 4)), strict=True):
        runs += [(group or single, 0.8, 0.2 if sign == "_" else -0.36), (rest, 1.0, 0.0)]
    return [run for run in runs if run[0]]


def width_of(text: str, size: float, face: str = "r") -> float:
    """The width of a text in pixels."""
    return sum(_glyph(face, c)[1] * scale for part, scale, _ in _runs(text) for c in part) * size / EM


def number(value: float) -> str:
    """At most two decimals, no trailing zeros, no minus zero."""
    return f"{round(value, 2) + 0.0:.2f}".rstrip("0").rstrip(".")


@dataclass
class Box:
    """Where something stands: left, top, right, bottom; what it is; its colour; when it was drawn."""

    left: float
    top: float
    right: float
    bottom: float
    what: str
    colour: str
    order: int
    size: float = 0.0

    @property
    def fill_visible(self) -> bool:
        """Whether it hides what is below it."""
        return self.colour != "none"


@dataclass
class Drawing:
    """A white card of `width` × `height` pixels; title and description are for those who cannot see it."""

    width: float
    height: float
    title: str
    description: str
    texts: list[Box] = field(default_factory=list)
    shapes: list[Box] = field(default_factory=list)
    strokes: list[tuple[list[Point], int]] = field(default_factory=list)
    _glyphs: dict[str, str] = field(default_factory=dict)
    _body: list[str] = field(default_factory=list)

    def rect(self, x: float, y: float, w: float, h: float, fill: str = WHITE, stroke: str = "none",
             width: float = 1.6, radius: float = 7, dash: str = "") -> None:
        """A rectangle with its upper left corner at (x, y)."""
        self._shape(Box(x, y, x + w, y + h, "rect", fill, len(self._body)),
                    f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}" '
                    f'rx="{number(radius)}"', fill, stroke, width, dash)

    def circle(self, x: float, y: float, r: float, fill: str = WHITE, stroke: str = "none",
               width: float = 1.6) -> None:
        """A circle around (x, y)."""
        self._shape(Box(x - r, y - r, x + r, y + r, "circle", fill, len(self._body)),
                    f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(r)}"', fill, stroke, width, "")

    def polygon(self, points: Sequence[Point], fill: str, stroke: str = "none", width: float = 1.6) -> None:
        """A closed shape through the points."""
        xs, ys = zip(*points, strict=True)
        corners = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._shape(Box(min(xs), min(ys), max(xs), max(ys), "polygon", fill, len(self._body)),
                    f'<polygon points="{corners}"', fill, stroke, width, "")

    def line(self, *points: Point, colour: str = GREY, width: float = 1.8, arrow: bool = False,
             dash: str = "") -> None:
        """A line through the points, with an arrow head at its end when asked for."""
        path = " L".join(f"{number(x)} {number(y)}" for x, y in _short(points, width, arrow))
        self._stroke(list(points), f"M{path}", colour, width, dash, points[-2:] if arrow else None)

    def curve(self, a: Point, b: Point, c: Point, d: Point, colour: str = GREY, width: float = 1.8,
              arrow: bool = False, dash: str = "") -> None:
        """A cubic curve from a to d that leaves towards b and arrives from c."""
        end = _short((c, d), width, arrow)[-1]
        path = ", ".join(f"{number(x)} {number(y)}" for x, y in (b, c, end))
        points, start = [_bezier(a, b, c, d, n / 24) for n in range(25)], f"M{number(a[0])} {number(a[1])}"
        self._stroke(points, f"{start} C{path}", colour, width, dash, (c, d) if arrow else None)

    def text(self, x: float, y: float, text: str, size: float = 15, colour: str = INK, anchor: str = "middle",
             face: str = "r") -> None:
        """Text centred on the height y; `_` and `^` lower and raise the next sign or {group}."""
        wide = width_of(text, size, face)
        left = x - wide * {"start": 0, "middle": 0.5, "end": 1}[anchor]
        base, pen, uses = y + CAPITAL * size / 2, 0.0, []
        for part, scale, drop in _runs(text):
            for c in part:
                outline, advance = _glyph(face, c)
                if outline:
                    key = f"{face}{ord(c):x}"
                    self._glyphs[key] = outline
                    small = "" if scale == 1 else f" scale({scale})"
                    place = f"translate({round(pen)} {round(-drop * EM)}){small}"
                    uses.append(f'<use href="#{key}" x="{round(pen)}"/>' if scale == 1 else
                                f'<use href="#{key}" transform="{place}"/>')
                pen += advance * scale
        k = f"{size / EM:.6f}"
        self.texts.append(Box(left, base - 0.76 * size, left + wide, base + 0.24 * size, text, colour,
                              len(self._body), size * min(run[1] for run in _runs(text))))
        self._body.append(f'<g fill="{colour}" transform="translate({number(left)} {number(base)}) '
                          f'scale({k} -{k})">{"".join(uses)}</g>')

    def box(self, x: float, y: float, w: float, h: float, text: str, colour: str, size: float = 15,
            face: str = "r") -> None:
        """A tinted rectangle with a coloured edge, centred on (x, y), and text in it."""
        self.rect(x - w / 2, y - h / 2, w, h, fill=LIGHT.get(colour, WHITE), stroke=colour)
        self.text(x, y, text, size=size, face=face)

    def svg(self) -> str:
        """The file: title and description for screen readers, a white card, one definition a letter."""
        glyphs = "".join(f'<path id="{key}" d="{self._glyphs[key]}"/>\n' for key in sorted(self._glyphs))
        w, h = number(self.width), number(self.height)
        body = "\n".join(self._body)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" '
                f'role="img" aria-labelledby="title description">\n'
                f'<title id="title">{escape(self.title)}</title>\n'
                f'<desc id="description">{escape(self.description)}</desc>\n<defs>\n{glyphs}</defs>\n'
                f'<rect x="0.5" y="0.5" width="{number(self.width - 1)}" height="{number(self.height - 1)}" '
                f'rx="10" fill="{WHITE}" stroke="#D0D0D0"/>\n{body}\n</svg>\n')

    def _shape(self, box: Box, start: str, fill: str, stroke: str, width: float, dash: str) -> None:
        self.shapes.append(box)
        edge = "" if stroke == "none" else f' stroke="{stroke}" stroke-width="{number(width)}"'
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._body.append(f'{start} fill="{fill}"{edge}{dashes}/>')

    def _stroke(self, points: list[Point], path: str, colour: str, width: float, dash: str,
                head: Sequence[Point] | None) -> None:
        self.strokes.append((points, len(self._body)))
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self._body.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{number(width)}" '
                          f'stroke-linejoin="round"{dashes}/>')
        if head is not None:
            (x0, y0), (x, y) = head
            length, long, wide = math.hypot(x - x0, y - y0), 5 + 2.2 * width, 2.2 + 1.3 * width
            cos, sin = (x - x0) / length, (y - y0) / length
            corners = [(x, y), *((x - long * cos + s * sin, y - long * sin - s * cos) for s in (wide, -wide))]
            points = " ".join(f"{number(a)},{number(b)}" for a, b in corners)
            self._body.append(f'<polygon points="{points}" fill="{colour}"/>')


def _short(points: Sequence[Point], width: float, arrow: bool) -> list[Point]:
    """The points with the last one drawn back, so that a line ends inside its arrow head."""
    if not arrow:
        return list(points)
    (x0, y0), (x, y) = points[-2:]
    length = math.hypot(x - x0, y - y0)
    back = min(4 + width, length) / length
    return [*points[:-1], (x - back * (x - x0), y - back * (y - y0))]


def _bezier(a: Point, b: Point, c: Point, d: Point, t: float) -> Point:
    """The point of a cubic curve at t from 0 to 1."""
    shares = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
    x, y = (sum(share * point[k] for share, point in zip(shares, (a, b, c, d), strict=True)) for k in (0, 1))
    return x, y
