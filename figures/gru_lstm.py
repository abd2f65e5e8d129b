"""Elman, GRU and LSTM cells side by side, as torch.nn computes them (chapter 02)."""

from figures._draw import BLUE, DEEP_GREEN, GREEN, GREY, INK, ORANGE, VERMILLION, WHITE, Drawing

PANELS = (14, 309, 604)                                 # where each cell begins
TOP, MIXED, GATES, BUS, INPUT = 142, 208, 278, 330, 376     # heights: memory line, mixing, gates, inputs, x_t
LEFT, RIGHT = 10, 272                                   # of the lines that enter and leave, within a panel
HIGHWAY = 4.5                                           # width of the line along which memory is kept


def draw() -> Drawing:
    """Three panels: drawing above, equations below."""
    d = Drawing(900, 520, "Elman, GRU and LSTM cells",
                "Three recurrent cells. The Elman cell rewrites its state in every step through a tanh. "
                "The GRU mixes its old state and a candidate by the update gate z. The LSTM carries a "
                "cell c past a forget gate f, an input gate i and an output gate o. In the GRU and the "
                "LSTM a line without tanh runs from step to step, along which memory and gradient are "
                "kept.")
    d.text(24, 34, "Gates open a way through time", size=20, face="b", anchor="start")
    d.line((560, 34), (600, 34), colour=GREEN, width=HIGHWAY)
    d.text(610, 34, "memory passes, scaled by gates alone", size=14, colour=DEEP_GREEN, anchor="start")
    cells = ((elman, "Elman (1990)", "rewrites its state in every step", ["h_t = tanh(W x_t + U h_{t−1})"]),
             (gru, "GRU (2014)", "keeps as much as z lets it keep",
              ["r, z = σ(W x_t + U h_{t−1})", "n = tanh(W x_t + r ⊙ U h_{t−1})",
               "h_t = z ⊙ h_{t−1} + (1 − z) ⊙ n"]),
             (lstm, "LSTM (1997)", "carries a cell c past the gates",
              ["i, f, o = σ(W x_t + U h_{t−1})", "g = tanh(W x_t + U h_{t−1})", "c_t = f ⊙ c_{t−1} + i ⊙ g",
               "h_t = o ⊙ tanh(c_t)"]))
    for x, (cell, name, motto, lines) in zip(PANELS, cells, strict=True):
        d.rect(x + 32, 100, 214, 262, fill="#F7F7F7", stroke="#CFCFCF", radius=12)
        d.text(x + 139, 76, name, size=17, face="b")
        cell(d, x)
        d.text(x + 139, 400, motto, size=14, colour=GREY)
        for k, line in enumerate(lines):
            d.text(x + 22, 428 + 23 * k, line, size=15, anchor="start")
    d.text(PANELS[0] + 22, 497, "biases are left out", size=13, colour=GREY, anchor="start")
    return d


def gate(d: Drawing, x: float, y: float, name: str, inside: str) -> None:
    """A layer: σ in orange, tanh in blue, its name to the left above."""
    d.box(x, y, 40 if inside == "tanh" else 34, 30, inside, BLUE if inside == "tanh" else ORANGE, size=14)
    if name:
        d.text(x - 9, y - 27, name, size=14, face="i", anchor="end")


def node(d: Drawing, x: float, y: float, sign: str) -> None:
    """An operation entry by entry: × or +."""
    d.circle(x, y, 12, fill=WHITE, stroke=INK)
    d.text(x, y, sign, size=16)


def inputs(d: Drawing, x: float, readers: list[float], from_left: bool) -> None:
    """x_t from below and h_{t−1} join, and go to every layer."""
    last = x + readers[-1]
    d.line((x + 56, INPUT - 12), (x + 56, BUS), (last, BUS), (last, GATES + 15), arrow=True)
    for reader in readers[:-1]:
        d.line((x + reader, BUS), (x + reader, GATES + 15), arrow=True)
    if from_left:
        d.line((x + LEFT, BUS), (x + 56, BUS))
        d.text(x + 38, BUS - 16, "h_{t−1}", size=15, anchor="start")
    d.circle(x + 56, BUS, 3.5, fill=GREY)
    d.text(x + 56, INPUT, "x_t", size=15)


def elman(d: Drawing, x: float) -> None:
    """One tanh."""
    inputs(d, x, [139], from_left=True)
    d.line((x + 139, GATES - 15), (x + 139, MIXED), (x + RIGHT, MIXED), colour=VERMILLION, arrow=True)
    gate(d, x + 139, GATES, "", "tanh")
    d.text(x + RIGHT - 8, MIXED - 18, "h_t", size=15)


def gru(d: Drawing, x: float) -> None:
    """Update gate z on the memory line, reset gate r before the candidate n."""
    inputs(d, x, [100, 155, 214], from_left=False)
    d.line((x + LEFT, TOP), (x + RIGHT, TOP), colour=GREEN, width=HIGHWAY, arrow=True)
    d.line((x + 56, TOP), (x + 56, BUS))
    d.circle(x + 56, TOP, 3.5, fill=GREY)
    d.line((x + 100, GATES - 15), (x + 100, TOP + 12), arrow=True, colour=ORANGE)
    d.line((x + 100, MIXED), (x + 202, MIXED), arrow=True, colour=ORANGE)
    d.line((x + 172, GATES), (x + 194, GATES), arrow=True, colour=ORANGE)
    d.line((x + 214, GATES - 15), (x + 214, MIXED + 12), arrow=True, colour=BLUE)
    d.line((x + 214, MIXED - 12), (x + 214, TOP + 12), arrow=True, colour=BLUE)
    d.text(x + 152, MIXED - 14, "1 − z", size=14, face="i")
    gate(d, x + 100, GATES, "z", "σ")
    gate(d, x + 155, GATES, "r", "σ")
    gate(d, x + 214, GATES, "n", "tanh")
    for place, height, sign in ((100, TOP, "×"), (214, TOP, "+"), (214, MIXED, "×")):
        node(d, x + place, height, sign)
    d.text(x + 38, TOP - 20, "h_{t−1}", size=15, anchor="start")
    d.text(x + RIGHT - 8, TOP - 20, "h_t", size=15)


def lstm(d: Drawing, x: float) -> None:
    """The cell line above, four layers below, the state read off by the output gate."""
    inputs(d, x, [78, 124, 172, 220], from_left=True)
    d.line((x + LEFT, TOP), (x + RIGHT, TOP), colour=GREEN, width=HIGHWAY, arrow=True)
    d.line((x + 78, GATES - 15), (x + 78, TOP + 12), arrow=True, colour=ORANGE)
    d.line((x + 124, GATES - 15), (x + 124, MIXED), (x + 136, MIXED), arrow=True, colour=ORANGE)
    d.line((x + 172, GATES - 15), (x + 172, MIXED), (x + 160, MIXED), arrow=True, colour=BLUE)
    d.line((x + 148, MIXED - 12), (x + 148, TOP + 12), arrow=True, colour=BLUE)
    d.line((x + 220, TOP), (x + 220, MIXED + 9), arrow=True, colour=VERMILLION)
    d.line((x + 220, GATES - 15), (x + 220, MIXED + 33), arrow=True, colour=ORANGE)
    d.line((x + 232, MIXED + 21), (x + RIGHT, MIXED + 21), arrow=True, colour=VERMILLION)
    d.box(x + 220, MIXED - 26, 40, 26, "tanh", BLUE, size=13)
    for place, name, inside in ((78, "f", "σ"), (124, "i", "σ"), (172, "g", "tanh"), (220, "o", "σ")):
        gate(d, x + place, GATES, name, inside)
    for place, height, sign in ((78, TOP, "×"), (148, TOP, "+"), (148, MIXED, "×"), (220, MIXED + 21, "×")):
        node(d, x + place, height, sign)
    d.text(x + 38, TOP - 20, "c_{t−1}", size=15, anchor="start")
    d.text(x + RIGHT - 8, TOP - 20, "c_t", size=15)
    d.text(x + RIGHT - 8, MIXED + 3, "h_t", size=15)

