"""Three merges of aaabdaaabac, and the tie that decides between two vocabularies (chapter 06)."""

from collections import Counter
from itertools import pairwise

from figures._draw import BLUE, DEEP_ORANGE, GREEN, GREY, INK, LIGHT, ORANGE, WHITE, Drawing

TEXT = "aaabdaaabac"
NAMES = ("Z", "Y", "X")
COLOURS = (BLUE, GREEN, ORANGE)
CELL, LEFT, TOP, STEP = 44, 196, 96, 74                 # of a letter; where the rows begin; from row to row


def merge(tokens: list[str], pair: tuple[str, str], name: str) -> list[str]:
    """Every occurrence of the pair, from the left, becomes `name`."""
    out: list[str] = []
    for token in tokens:
        if out and (out[-1], token) == pair:
            out[-1] = name
        else:
            out.append(token)
    return out


def steps() -> list[tuple[list[str], tuple[str, str], int]]:
    """Before each merge: the tokens, the most frequent pair (ties: the first in the alphabet, new names last), its count."""
    tokens, found = list(TEXT), []
    for name in NAMES:
        counts = Counter(pairwise(tokens))
        pair = min(counts, key=lambda p: (-counts[p], [(c.isupper(), c) for c in p]))
        found.append((tokens, pair, counts[pair]))
        tokens = merge(tokens, pair, name)
    return [*found, (tokens, ("", ""), 1)]


def letters(token: str, pairs: dict[str, tuple[str, str]]) -> str:
    """What a token stands for."""
    return "".join(letters(part, pairs) for part in pairs[token]) if token in pairs else token


def draw() -> Drawing:
    """One row a step: boxes as wide as the letters they stand for."""
    found = steps()
    pairs = {name: pair for name, (_, pair, _) in zip(NAMES, found)}
    rows = "; ".join(" ".join(tokens) for tokens, _, _ in found)
    d = Drawing(900, 416, "Byte-pair encoding by hand",
                f"The text {TEXT} in four rows, before and after each of three merges: {rows}. The pair a a is counted four "
                "times but replaced twice, because the pairs overlap.")
    d.text(24, 34, "The most frequent pair gets a name, again and again", size=20, face="b", anchor="start")
    d.text(LEFT + CELL * len(TEXT) + 24, 68, "most frequent pair", size=14, colour=GREY, anchor="start")
    for row, (tokens, pair, count) in enumerate(found):
        y = TOP + STEP * row
        label = "letters" if row == 0 else f"{NAMES[row - 1]} = {''.join(found[row - 1][1])}"
        d.text(LEFT - 24, y + 21, label, size=16, face="b", anchor="end")
        x = LEFT
        for token in tokens:
            wide = CELL * len(letters(token, pairs))
            colour = COLOURS[NAMES.index(token)] if token in NAMES else ""
            d.rect(x + 2, y, wide - 4, 42, fill=LIGHT[colour] if colour else WHITE, stroke=colour or "#8A8A8A", radius=4)
            d.text(x + wide / 2, y + 21, token, size=17, face="b" if colour else "r", colour=INK)
            x += wide
        said = f"{pair[0]} {pair[1]}, counted {count} times" if count > 1 else "each once: stop"
        d.text(LEFT + CELL * len(TEXT) + 24, y + 21, said, size=15, anchor="start",
               colour=DEEP_ORANGE if row == 0 else INK)
    d.text(24, 398, f"{len(TEXT)} letters, {len(found[-1][0])} tokens. The first pair is counted 4 times and replaced 2 times: "
           "counts overlap, replacements do not.", size=14, colour=GREY, anchor="start")
    return d
