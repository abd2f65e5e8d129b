"""Four kinds of fine-tuning on one encoder (Devlin et al. 2019, figure 4): what is new is one linear layer (chapter 08)."""

from collections.abc import Sequence
from itertools import pairwise

from figures._draw import BLUE, DEEP_ORANGE, GREY, LIGHT, ORANGE, Drawing
from figures._tokens import Column, columns, token

PAIR = ["[CLS]", "tom", "took", "the", "key", "[SEP]", "max", "has", "the", "key", "[SEP]"]
SINGLE = ["[CLS]", "mia", "lost", "the", "ball", "[SEP]"]
SPAN = ["[CLS]", "where", "is", "tom", "[SEP]", "tom", "went", "to", "the", "park", "[SEP]"]
START, END = (0.03, 0.02, 0.08, 0.8, 0.07), (0.02, 0.01, 0.02, 0.05, 0.9)       # of the context's five tokens
TAGGED = ["[CLS]", "mia", "took", "the", "clo", "##ck", "to", "the", "park", "[SEP]"]
TAGS = ["", "person", "O", "O", "thing", "–", "O", "O", "place", ""]
CLASSES = ("person", "thing", "place", "O")
PAIRED = {"follows": 0.05, "contradicts": 0.85, "open": 0.1}
FELT = {"positive": 0.04, "negative": 0.9, "neutral": 0.06}
WIDE, HEAD, BAND, TOKENS, NAMES = 412, 92, 152, 204, 238        # a panel's width, and heights below its title


def draw() -> Drawing:
    """Two by two panels: texts and words, one label and a label for each place."""
    d = Drawing(900, 612, "Fine-tuning: four tasks on one encoder",
                "Four panels, in each the tokens below, the pre-trained encoder above them and on top a new linear layer. A pair: from "
                "[CLS] the layer says that max has the key contradicts tom took the key, and not that it follows or is open. A text: "
                "from [CLS] it says that mia lost the ball is negative. An answer: over the words of the context it says where the "
                "answer to where is tom starts and ends, at the and at park. Tags: over the first piece of each word it says person, "
                "O, O, thing, O, O, place; the second piece of clock, which falls into clo and ck, has no label.")
    d.text(24, 34, "Four tasks, one encoder", size=20, face="b", anchor="start")
    for x, colour, what in ((400, BLUE, "pre-trained: the encoder"), (640, ORANGE, "new: one linear layer")):
        d.rect(x, 25, 30, 18, fill=LIGHT[colour], stroke=colour, radius=3)
        d.text(x + 40, 34, what, size=14, anchor="start")
    d.line((450, 64), (450, 594), colour="#D0D0D0", width=1.2)
    d.line((24, 332), (876, 332), colour="#D0D0D0", width=1.2)
    one_label(d, 24, 78, "A pair of texts", PAIR, PAIRED, ("premise", "hypothesis"))
    one_label(d, 464, 78, "One text", SINGLE, FELT, ("text",))
    span(d, 24, 352)
    tags(d, 464, 352)
    return d


def encoder(d: Drawing, x: float, y: float, title: str, words: Sequence[str], names: Sequence[str], size: float = 13) -> list[Column]:
    """Title, tokens with the names of their texts below, and the encoder they go into; returns the tokens' places."""
    d.text(x, y, title, size=16, face="b", anchor="start")
    places = columns(words, x, x + WIDE, size, pad=6)
    d.rect(x, y + BAND - 16, WIDE, 32, fill=LIGHT[BLUE], stroke=BLUE)
    d.text(x + WIDE / 2, y + BAND, "BERT", size=15)
    for place, word in zip(places, words, strict=True):
        d.line((place.x, y + TOKENS - 14), (place.x, y + BAND + 16), arrow=True, width=1.2)
        token(d, place, y + TOKENS, word, tall=28, size=size)
    ends = [k for k, word in enumerate(words) if word in ("[CLS]", "[SEP]")]
    for name, (a, b) in zip(names, pairwise(ends), strict=True):
        left, end = (places[k].x + sign * places[k].wide / 2 for k, sign in ((a + 1, -1), (b - 1, 1)))
        d.line((left, y + NAMES - 15), (end, y + NAMES - 15), width=1.2)
        d.text((left + end) / 2, y + NAMES, name, size=13, colour=GREY)
    return places


def one_label(d: Drawing, x: float, y: float, title: str, words: Sequence[str], chances: dict[str, float], names: Sequence[str]) -> None:
    """[CLS] alone goes into the head, which says how likely each class is."""
    places = encoder(d, x, y, title, words, names)
    head = y + HEAD - 22
    d.box(x + 60, head, 120, 30, f"linear: {len(chances)} logits", ORANGE, size=13)
    d.line((places[0].x, y + BAND - 16), (places[0].x, head + 15), width=2, arrow=True)
    d.line((x + 120, head), (x + 144, head), width=2, arrow=True)
    for k, (name, chance) in enumerate(chances.items()):
        row, best = head - 22 + 22 * k, chance == max(chances.values())
        d.text(x + 240, row, name, size=14, anchor="end", face="b" if best else "r")
        bar(d, x + 248, row - 7, 130 * chance, 14, best)


def bar(d: Drawing, x: float, y: float, wide: float, tall: float, best: bool) -> None:
    """How likely something is; the likeliest is filled."""
    d.rect(x, y, wide, tall, fill=ORANGE if best else LIGHT[ORANGE], stroke=ORANGE, width=1, radius=1)


def wide_head(d: Drawing, y: float, places: Sequence[Column], asked: Sequence[int], text: str) -> None:
    """One head over a stretch of tokens; the same layer reads each of those asked."""
    left, right = places[asked[0]].x - 24, places[asked[-1]].x + 24
    d.rect(left, y + HEAD - 15, right - left, 30, fill=LIGHT[ORANGE], stroke=ORANGE)
    d.text((left + right) / 2, y + HEAD, text, size=13)
    for k in asked:
        d.line((places[k].x, y + BAND - 16), (places[k].x, y + HEAD + 15), width=2, arrow=True)


def span(d: Drawing, x: float, y: float) -> None:
    """Two numbers for each token of the context: how likely the answer starts there, and ends there."""
    places = encoder(d, x, y, "The answer in a text", SPAN, ("question", "context"))
    asked = range(len(SPAN) - 1 - len(START), len(SPAN) - 1)
    wide_head(d, y, places, asked, "linear: 2 logits a place")
    first, last = (asked[chances.index(max(chances))] for chances in (START, END))
    d.text(x, y + 54, f"answer: {' '.join(SPAN[first:last + 1])}", size=14, anchor="start")
    for name, chances, base in (("start", START, y + 38), ("end", END, y + 70)):
        d.text(places[asked[0]].x - 26, base - 8, name, size=14, anchor="end", colour=DEEP_ORANGE, face="b")
        for k, chance in zip(asked, chances, strict=True):
            bar(d, places[k].x - 9, base - 26 * chance, 18, 26 * chance, chance == max(chances))


def tags(d: Drawing, x: float, y: float) -> None:
    """A label for each word, at its first piece."""
    places = encoder(d, x, y, "A label for each word", TAGGED, ("words; the second piece of clock has no label",))
    asked = [k for k, tag in enumerate(TAGS) if tag not in ("", "–")]
    wide_head(d, y, places, asked, f"linear: {len(CLASSES)} logits at each word's first piece")
    for place, tag in zip(places, TAGS, strict=True):
        if tag:
            d.text(place.x, y + 46, tag, size=14, face="r" if tag in "O–" else "b")
        if tag not in ("", "–"):
            d.line((place.x, y + HEAD - 15), (place.x, y + 58), width=1.4, arrow=True)
