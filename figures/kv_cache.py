"""Saying the next word with and without saved keys and values (chapter 09)."""

from figures._draw import DEEP_GREEN, DEEP_ORANGE, GREEN, LIGHT, ORANGE, PALE, Drawing

WORDS = ["Mia", "gave", "Tom", "the", "ball"]           # the last one is new
WIDE, TALL, TOP = 62, 40, 170
LEFT, RIGHT = 84, 540


def computed(cached: bool) -> list[list[bool]]:
    """Which scores are computed when the last word has been said: [query][key], causal."""
    n = len(WORDS)
    return [[key <= query and (not cached or query == n - 1) for key in range(n)] for query in range(n)]


def draw() -> Drawing:
    """Two grids of scores under the keys and values they need."""
    again, once = (sum(map(sum, computed(cached))) for cached in (False, True))
    n = len(WORDS)
    d = Drawing(900, 470, "The cache of keys and values",
                f"Two grids of scores for the text {' '.join(WORDS)}, of which the last word is new. Without a cache the keys and "
                f"values of all {n} words and all {again} causal scores are computed again. With a cache the keys and values of "
                f"the first {n - 1} words are read from memory; computed are those of the new word, and its {once} scores.")
    d.text(24, 34, "What is behind does not change: keep it", size=20, face="b", anchor="start")
    grid(d, LEFT, "again from the start", computed(False), [False] * n)
    grid(d, RIGHT, "with a cache", computed(True), [True] * (n - 1) + [False])
    y = TOP + TALL * n + 30
    d.text(LEFT, y, f"{n} words pass through the model, {again} scores", size=15, anchor="start", colour=DEEP_ORANGE)
    d.text(RIGHT, y, f"1 word passes through the model, {once} scores", size=15, anchor="start", colour=DEEP_GREEN)
    for x, colour, what in ((24, ORANGE, "computed now"), (190, GREEN, "saved, and read again"), (410, "", "never needed again")):
        d.rect(x, 430, 30, 20, fill=LIGHT[colour] if colour else PALE, stroke=colour or "#B8B8B8", radius=3)
        d.text(x + 40, 440, what, size=14, anchor="start")
    return d


def grid(d: Drawing, x: float, title: str, scores: list[list[bool]], saved: list[bool]) -> None:
    """Keys and values as two rows of boxes, below them the scores by query."""
    d.text(x, 74, title, size=16, face="b", anchor="start")
    for k, (word, kept) in enumerate(zip(WORDS, saved, strict=True)):
        colour = GREEN if kept else ORANGE
        d.text(x + WIDE * (k + 0.5), 98, word, size=14)
        d.rect(x + WIDE * k + 2, 112, WIDE - 4, 34, fill=LIGHT[colour], stroke=colour, radius=4)
        d.text(x + WIDE * (k + 0.5), 129, "k, v", size=14)
    for q, row in enumerate(scores):
        y = TOP + TALL * q
        d.text(x - 10, y + TALL / 2, WORDS[q], size=14, anchor="end", face="b" if q == len(WORDS) - 1 else "r")
        for k, now in enumerate(row):
            if k > q:
                continue
            d.rect(x + WIDE * k + 2, y + 2, WIDE - 4, TALL - 4, fill=LIGHT[ORANGE] if now else PALE,
                   stroke=ORANGE if now else "#B8B8B8", radius=3)
            if now:
                d.text(x + WIDE * (k + 0.5), y + TALL / 2, "q · k", size=13)
