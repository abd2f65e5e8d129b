"""Multi-head attention (Vaswani et al. 2017, section 3.2.2) as shapes, in six steps (chapter 04)."""

from figures._draw import (
    BLUE,
    DEEP_ORANGE,
    DEEP_PURPLE,
    GREEN,
    GREY,
    INK,
    LIGHT,
    ORANGE,
    PALE,
    PURPLE,
    WHITE,
    Drawing,
)
from figures._grid import cells, shade
from figures.additive_attention import softmax
from figures.causal_mask import masked

T, H, D = 4, 3, 2                                       # words, heads, numbers a head; d_model = H · D
SCORES = [                                              # by head, chosen for the picture; the weights follow
    [[1, 0, 0, 0], [2, 0, 1, 1], [0, 3, 0, 1], [0, 0, 3, 1]],       # the word before
    [[1, 1, 2, 0], [0, 2, 0, 1], [0, 0, 3, 1], [1, 0, 0, 3]],       # itself
    [[0, 1, 0, 2], [3, 1, 1, 0], [3, 1, 0, 0], [2, 1, 1, 0]],       # the first word
]
COLOURS = (BLUE, ORANGE, PURPLE)                        # a colour for each head
LETTERS = (BLUE, DEEP_ORANGE, DEEP_PURPLE)
CELL, ONE, ALL, TALL = 12, 12 * D, 12 * D * H, 12 * T   # widths of a head and of d_model, height of T rows
CARD, HIGH, LANE = 278, 278, 56                         # of a step; from one head to the next
LEFT, TOP, ACROSS, DOWN = 16, 54, 295, 300
STEPS = [
    ("create", "Q = X W_q,  K = X W_k,  V = X W_v", "each T × d_{model}"),
    ("split", "d_{model} = H · D", "each head T × D"),
    ("score", "weights = softmax(Q K^{T} / √D)", "dark: masked; each head T × T"),
    ("sum", "context = weights · V", "each head T × D"),
    ("merge", "H · D = d_{model}", "side by side: T × d_{model}"),
    ("project", "output = merged · W_o", "T × d_{model}, like X"),
]


def weights() -> list[list[list[float]]]:
    """H × T × T: the softmax of each masked row."""
    return [[softmax(row) for row in masked(head)] for head in SCORES]


def draw() -> Drawing:
    """Three steps above, three below."""
    d = Drawing(900, TOP + DOWN + HIGH + 14, "Multi-head attention as shapes",
                "Six steps. Create: X, with T rows and d_model columns, goes through the maps W_q, W_k and "
                "W_v and gives Q, K and V of the same shape. Split: the columns of each go to H = 3 heads of "
                "D columns. Score: in each head Q times K transposed over the root of D, masked, and a "
                "softmax: T × T weights. Sum: the weights times V, T × D for each head. Merge: the heads "
                "side by side, T × d_model. Project: the map W_o mixes the heads; the output is "
                "shaped like X.")
    d.text(24, 32, "Three heads look in three ways; the shape comes back", size=20, face="b",
           anchor="start")
    pictures = (create, split, score, add, merge, project)
    for k, (picture, step) in enumerate(zip(pictures, STEPS, strict=True)):
        x, y = LEFT + ACROSS * (k % 3), TOP + DOWN * (k // 3)
        card(d, x, y, k + 1, *step)
        picture(d, x, y + 64)
        if k % 3 < 2:
            d.line((x + CARD, y + HIGH / 2), (x + ACROSS, y + HIGH / 2), arrow=True, colour=INK, width=2.4)
    middle = TOP + HIGH + 8
    d.line((LEFT + 2 * ACROSS + CARD / 2, TOP + HIGH), (LEFT + 2 * ACROSS + CARD / 2, middle),
           (LEFT + CARD / 2, middle), (LEFT + CARD / 2, TOP + DOWN), arrow=True, colour=INK, width=2.4)
    return d


def card(d: Drawing, x: float, y: float, n: int, name: str, formula: str, meaning: str) -> None:
    """A step's number and name, and below the picture what is computed and the shape."""
    d.rect(x, y, CARD, HIGH, fill=WHITE, stroke="#C4C4C4", width=1.2)
    d.circle(x + 22, y + 22, 13, fill=INK)
    d.text(x + 22, y + 22, str(n), size=14, face="b", colour=WHITE)
    d.text(x + 42, y + 22, name, size=17, face="b", anchor="start")
    d.text(x + CARD / 2, y + 242, formula, size=15)
    d.text(x + CARD / 2, y + 264, meaning, size=15, colour=GREY)


def lane(k: int) -> float:
    """How far below a picture's top the k-th matrix starts."""
    return LANE * k


def whole(d: Drawing, x: float, y: float, name: str = "") -> None:
    """T × d_model, not yet split."""
    cells(d, x, y, H * D, T, CELL, GREY, PALE)
    if name:
        d.text(x + ALL + 8, y + TALL / 2, name, size=16, face="b", anchor="start")


def coloured(d: Drawing, x: float, y: float, gap: float = 0) -> None:
    """T × d_model in the colours of the heads, side by side or apart."""
    for k in range(H):
        one(d, x + (ONE + gap) * k, y, k)


def one(d: Drawing, x: float, y: float, k: int, across: bool = False) -> None:
    """T × D of head k, or D × T."""
    columns, rows = (T, D) if across else (D, T)
    cells(d, x, y, columns, rows, CELL, COLOURS[k], LIGHT[COLOURS[k]])


def create(d: Drawing, x: float, y: float) -> None:
    """X, three maps, and Q, K, V."""
    whole(d, x + 14, y + lane(1))
    d.text(x + 14 + ALL / 2, y + lane(1) - 14, "X", size=16, face="b")
    d.text(x + 14 + ALL / 2, y + lane(1) + TALL + 16, "T × d_{model}", size=15)
    for k, name in enumerate("qkv"):
        row = y + lane(k) + TALL / 2
        d.line((x + 17 + ALL, y + lane(1) + TALL / 2), (x + 110, row), arrow=True, width=1.5)
        d.line((x + 150, row), (x + 168, row), arrow=True, width=1.5)
        d.box(x + 130, row, 40, 30, f"W_{name}", GREEN, size=16)
        whole(d, x + 168, y + lane(k), name.upper())


def split(d: Drawing, x: float, y: float) -> None:
    """Q, K, V: the columns of each go to the three heads."""
    for k in range(H):
        d.text(x + 158 + ONE / 2 + (ONE + 18) * k, y - 13, str(k + 1), size=15, face="b", colour=LETTERS[k])
    d.text(x + 142, y - 13, "head", size=14, anchor="end")
    for k, name in enumerate("QKV"):
        d.text(x + 14, y + lane(k) + TALL / 2, name, size=16, face="b", anchor="start")
        coloured(d, x + 38, y + lane(k))
        row = y + lane(k) + TALL / 2
        d.line((x + 44 + ALL, row), (x + 152, row), arrow=True, width=1.5)
        coloured(d, x + 158, y + lane(k), gap=18)


def score(d: Drawing, x: float, y: float) -> None:
    """Q Kᵀ of each head, the mask over it, and the weights."""
    for place, name in ((22, "Q"), (75, "K^{T}"), (151, "scores"), (234, "weights")):
        d.text(x + place, y - 13, name, size=15 if place < 100 else 13)
    for k in range(H):
        top = y + lane(k)
        one(d, x + 10, top, k)
        d.text(x + 42.5, top + TALL / 2, "×", size=15)
        one(d, x + 51, top + ONE / 2, k, across=True)
        d.line((x + 103, top + TALL / 2), (x + 124, top + TALL / 2), arrow=True, width=1.5)
        cells(d, x + 127, top, T, T, CELL, COLOURS[k], LIGHT[COLOURS[k]])
        shut(d, x + 127, top)
        d.line((x + 179, top + TALL / 2), (x + 207, top + TALL / 2), arrow=True, width=1.5)
        pattern(d, x + 210, top, k)


def shut(d: Drawing, x: float, y: float) -> None:
    """The cells above the diagonal, closed by the mask."""
    for i in range(T - 1):
        d.rect(x + CELL * (i + 1), y + CELL * i, CELL * (T - 1 - i), CELL, fill=GREY, radius=0)


def pattern(d: Drawing, x: float, y: float, k: int) -> None:
    """The weights of head k, the darker the greater."""
    for i, row in enumerate(weights()[k]):
        for j, share in enumerate(row[:i + 1]):
            fill = shade(LETTERS[k], 0.07 + 0.93 * share)
            d.rect(x + CELL * j, y + CELL * i, CELL, CELL, fill=fill, radius=0)
    d.rect(x, y, CELL * T, CELL * T, fill="none", stroke=COLOURS[k], width=1.4, radius=1)


def add(d: Drawing, x: float, y: float) -> None:
    """Weights times V of each head."""
    for place, name in ((74, "weights"), (132, "V"), (212, "context")):
        d.text(x + place, y - 13, name, size=15 if name == "V" else 13)
    for k in range(H):
        top = y + lane(k)
        pattern(d, x + 50, top, k)
        d.text(x + 109, top + TALL / 2, "×", size=15)
        one(d, x + 120, top, k)
        d.line((x + 152, top + TALL / 2), (x + 192, top + TALL / 2), arrow=True, width=1.5)
        one(d, x + 200, top, k)


def merge(d: Drawing, x: float, y: float) -> None:
    """The heads' contexts, side by side."""
    for k in range(H):
        one(d, x + 50, y + lane(k), k)
        d.line((x + 80, y + lane(k) + TALL / 2), (x + 146, y + lane(1) + TALL / 2 + (k - 1) * 14), arrow=True,
               colour=LETTERS[k])
    coloured(d, x + 150, y + lane(1))
    d.text(x + 150 + ALL / 2, y + lane(1) - 14, "merged", size=13)


def project(d: Drawing, x: float, y: float) -> None:
    """The last map."""
    row = y + lane(1) + TALL / 2
    coloured(d, x + 16, y + lane(1))
    d.line((x + 22 + ALL, row), (x + 119, row), arrow=True)
    d.line((x + 159, row), (x + 184, row), arrow=True)
    d.box(x + 139, row, 40, 44, "W_o", GREEN, size=16)
    whole(d, x + 188, y + lane(1))
    d.text(x + 16 + ALL / 2, y + lane(1) - 14, "merged", size=13)
    d.text(x + 188 + ALL / 2, y + lane(1) - 14, "output", size=13)
