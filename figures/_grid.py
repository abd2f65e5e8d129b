"""Matrices as grids of small cells, and shades for numbers from 0 to 1."""

from figures._draw import WHITE, Drawing, Point


def cells(d: Drawing, x: float, y: float, columns: int, rows: int, cell: float, colour: str, fill: str,
          width: float = 1.0) -> None:
    """A matrix of at least 2 × 2 cells, its upper left corner at (x, y): one surface, one stroke."""
    w, h = columns * cell, rows * cell
    d.rect(x, y, w, h, fill=fill, stroke=colour, width=width + 0.4, radius=1)
    path: list[Point] = []                              # down, along the edge, up …
    for n in range(1, columns):
        path += [(x + n * cell, y), (x + n * cell, y + h)][::1 if n % 2 else -1]
    corner = (x + w, path[-1][1])                       # … and from there from side to side
    path.append(corner)
    for n, b in enumerate(sorted((y + k * cell for k in range(1, rows)), key=lambda b: abs(b - corner[1]))):
        path += [(x + w, b), (x, b)][::-1 if n % 2 else 1]
    d.line(*path, colour=colour, width=width)


def shade(colour: str, share: float) -> str:
    """White at 0, the colour at 1."""
    pairs = ((int(WHITE[k:k + 2], 16), int(colour[k:k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)
