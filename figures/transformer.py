"""The Transformer (Vaswani et al. 2017): encoder, decoder, and two ways of a residual (chapter 05)."""

from figures._draw import (
    BLUE,
    DEEP_ORANGE,
    DEEP_PURPLE,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PALE,
    PURPLE,
    VERMILLION,
    WHITE,
    Drawing,
)

SOURCE, TARGET = ["Mia hat", "den Ball", "gefunden .", "<eos>"], ["Mia", "found", "the", "ball", "."]
UPPER, LOWER, BETWEEN = 146, 400, 270                   # heights: encoder, decoder, memory
FRAME, PART, WIDE, TALL, SUM = 258, 160, 106, 52, 10    # blocks' left; step, size of a part; radius of +
ENCODER = ["self-\nattention", "feed-\nforward"]
DECODER = ["causal self-\nattention", "cross-\nattention", "feed-\nforward"]
CROSS = FRAME + 22 + PART + WIDE / 2                    # the middle of cross-attention


def draw() -> Drawing:
    """Two rows of blocks from left to right, the memory between them, the inset in the corner."""
    d = Drawing(900, 504, "The Transformer",
                "Above, the encoder: the German words become embeddings, positions are added, and N blocks "
                "follow, each of self-attention and a feed-forward network, with a residual past each. Its "
                "output, the memory, goes down to the decoder: the English words shifted right, embedded, "
                "with positions, then N blocks of causal self-attention, cross-attention, whose keys and "
                "values come from the memory, and feed-forward; at the end a linear map and a softmax say "
                "the next words. The inset shows post-norm, LayerNorm(x + f(x)), as in the paper, and pre-norm, "
                "x + f(LayerNorm(x)).")
    d.text(24, 34, "The Transformer: in training, all positions at once", size=20, face="b", anchor="start")
    read(d, UPPER, "source", SOURCE, BLUE)
    end = stack(d, UPPER, "Encoder: N blocks", ENCODER, BLUE, BLUE)
    memory(d, end)
    read(d, LOWER, "target, shifted right", lines(["<bos>", *TARGET]), VERMILLION)
    end = stack(d, LOWER, "Decoder: N blocks", DECODER, VERMILLION, DEEP_ORANGE)
    say(d, end)
    inset(d, 640, 58)
    d.text(FRAME, LOWER + 79, "+ adds the input of a part to its output: the residual. LayerNorm is left "
           "out: see above.", size=13, colour=GREY, anchor="start")
    return d


def lines(words: list[str]) -> list[str]:
    """Two words a line."""
    return [" ".join(words[k:k + 2]) for k in range(0, len(words), 2)]


def add(d: Drawing, x: float, y: float) -> None:
    """A sum."""
    d.circle(x, y, SUM, fill=WHITE, stroke=GREY)
    d.text(x, y, "+", size=15, face="b")


def two_lines(d: Drawing, x: float, y: float, text: str, colour: str, wide: float = WIDE) -> None:
    """A box with its text on two lines."""
    d.rect(x - wide / 2, y - TALL / 2, wide, TALL, fill=WHITE, stroke=colour, width=2)
    for k, part in enumerate(text.split("\n")):
        d.text(x, y - 9 + 18 * k, part, size=14)


def read(d: Drawing, y: float, name: str, words: list[str], colour: str) -> None:
    """Words, their embeddings, and the positions added to them."""
    d.text(24, y - 10 * len(words) - 14, name, size=13, colour=GREY, anchor="start")
    for k, line in enumerate(words):
        d.text(24, y + 20 * (k - (len(words) - 1) / 2), line, size=14, anchor="start")
    d.line((104, y), (122, y), arrow=True)
    d.box(166, y, 88, 40, "embedding", colour, size=14)
    d.line((210, y), (232 - SUM, y), arrow=True, width=1.5)
    d.line((232, y + 48), (232, y + SUM), arrow=True)
    d.box(202, y + 63, 76, 30, "positions", colour, size=14)
    add(d, 232, y)


def stack(d: Drawing, y: float, name: str, parts: list[str], colour: str, letters: str) -> float:
    """N blocks, the first one open, a residual past each of its parts; returns where they end."""
    wide = 14 + PART * len(parts)
    for shift in (12, 6, 0):
        d.rect(FRAME + shift, y - 44 - shift, wide, 102, fill=LIGHT[colour], stroke=colour, width=1.4)
    d.text(FRAME, y - 71, name, size=17, colour=letters, face="b", anchor="start")
    d.line((232 + SUM, y), (FRAME + 22, y), arrow=True)
    for k, text in enumerate(parts):
        x = FRAME + 22 + PART * k
        total = x + WIDE + 12 + SUM
        d.line((x - 12, y), (x - 12, y + 42), (total, y + 42), (total, y + SUM), arrow=True)
        two_lines(d, x + WIDE / 2, y, text, GREEN if "forward" in text else PURPLE)
        d.line((x + WIDE, y), (total - SUM, y), width=1.5)
        if k + 1 < len(parts):
            d.line((total + SUM, y), (x + PART, y), arrow=True)
        add(d, total, y)
    return total + SUM


def memory(d: Drawing, end: float) -> None:
    """The encoder's output, and its way to every cross-attention."""
    d.line((end, UPPER), (616, UPPER), (616, BETWEEN), (CROSS + 44, BETWEEN), colour=BLUE, width=2.4,
           arrow=True)
    d.box(CROSS, BETWEEN, 88, 34, "memory", BLUE, size=15, face="b")


def say(d: Drawing, end: float) -> None:
    """Memory into cross-attention; the last map, and the words that follow those read."""
    d.line((CROSS, BETWEEN + 17), (CROSS, LOWER - TALL / 2), colour=BLUE, width=2.4, arrow=True)
    d.text(CROSS + 10, BETWEEN + 38, "keys and values", size=14, colour=BLUE, anchor="start")
    d.line((end, LOWER), (784, LOWER), arrow=True)
    two_lines(d, 830, LOWER, "linear,\nsoftmax", VERMILLION, wide=92)
    d.line((830, LOWER - TALL / 2), (830, LOWER - 52), arrow=True)
    for k, line in enumerate(lines([*TARGET, "<eos>"])):
        d.text(830, LOWER - 104 + 20 * k, line, size=14, face="b")


def inset(d: Drawing, x: float, y: float) -> None:
    """Post-norm and pre-norm."""
    d.rect(x, y, 244, 216, fill=PALE, radius=10)
    for k, (name, formula) in enumerate((("post-norm (the paper)", "LayerNorm(x + f(x))"),
                                         ("pre-norm (most models since)", "x + f(LayerNorm(x))"))):
        top = y + 18 + 106 * k
        d.text(x + 14, top, name, size=13, face="b", anchor="start")
        d.text(x + 14, top + 21, formula, size=14, colour=DEEP_PURPLE, anchor="start")
        row, total = top + 50, x + (198 if k else 96)
        norm, f = (x + 86, x + 160) if k else (x + 166, x + 56)
        d.text(x + 14, row, "x", size=15, face="i")
        d.line((x + 22, row), (x + 226, row), arrow=True)
        d.line((x + 32, row), (x + 32, row + 24), (total, row + 24), (total, row + SUM), arrow=True)
        d.box(norm, row, 84, 30, "LayerNorm", ORANGE, size=13)
        d.box(f, row, 30, 30, "f", GREEN, size=15, face="i")
        add(d, total, row)
