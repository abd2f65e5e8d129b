"""Beam search of width 2 in which greedy search loses (chapter 02)."""

from typing import NamedTuple

from figures._draw import DEEP_GREEN, DEEP_ORANGE, GREEN, GREY, INK, LIGHT, VERMILLION, WHITE, Drawing

# log p(next word | words so far): chosen for the picture; what is not listed shares the rest
MODEL = {
    (): {"She": -0.7, "Mia": -0.9, "The": -2.8},
    ("She",): {"has": -0.9, "found": -1.2},
    ("Mia",): {"found": -0.1, "saw": -3.0},
    ("She", "has"): {"it": -1.2, "him": -1.6},
    ("Mia", "found"): {"it": -0.2, "him": -2.3},
}
WIDTH = 2
COLUMNS = (84, 270, 496, 722)                           # <bos> and the three steps
HEIGHTS = {(): 232, ("She",): 158, ("Mia",): 292, ("The",): 372,
           ("She", "has"): 128, ("She", "found"): 196, ("Mia", "found"): 276, ("Mia", "saw"): 344,
           ("She", "has", "it"): 102, ("She", "has", "him"): 158,
           ("Mia", "found", "it"): 250, ("Mia", "found", "him"): 306}
WIDE, TALL = 122, 40                                    # of a hypothesis


class Node(NamedTuple):
    """A hypothesis: its words, its log-probability, whether the beam keeps it."""

    words: tuple[str, ...]
    score: float
    kept: bool


def search() -> list[list[Node]]:
    """The candidates of each step, best first, the first WIDTH of them kept."""
    beam, steps = [Node((), 0.0, True)], []
    while beam[0].words in MODEL:
        found = [((*node.words, word), node.score + log_p)
                 for node in beam for word, log_p in MODEL[node.words].items()]
        found.sort(key=lambda candidate: -candidate[1])
        steps.append([Node(words, score, rank < WIDTH) for rank, (words, score) in enumerate(found)])
        beam = steps[-1][:WIDTH]
    return steps


def greedy() -> tuple[str, ...]:
    """The words that are best one at a time."""
    words: tuple[str, ...] = ()
    while words in MODEL:
        words += (max(MODEL[words], key=MODEL[words].get),)
    return words


def signed(value: float) -> str:
    """One decimal with a true minus sign."""
    return f"{value:.1f}".replace("-", "−")


def draw() -> Drawing:
    """The tree from left to right, one column a step."""
    steps, chosen = search(), greedy()
    best, loser = steps[-1][0], next(node for node in steps[-1] if node.words == chosen)
    d = Drawing(900, 456, "Beam search of width 2",
                "A search tree over three steps. Greedy search takes the best first word and ends with "
                f"{' '.join(chosen)}, log-probability {signed(loser.score)}. A beam of two hypotheses also "
                f"keeps the second best first word and finds {' '.join(best.words)}, {signed(best.score)}.")
    d.text(24, 34, "Greedy takes the best first word and loses", size=20, face="b", anchor="start")
    for x, label in zip(COLUMNS[1:], ("step 1", "step 2", "step 3"), strict=True):
        d.text(x, 68, label, size=14, colour=GREY)
    edges(d, steps, chosen, best)
    d.box(COLUMNS[0], HEIGHTS[()], 74, TALL, "<bos>", WHITE, size=15)
    d.rect(COLUMNS[0] - 37, HEIGHTS[()] - TALL / 2, 74, TALL, fill="none", stroke=GREY)
    for step in steps:
        for node in step:
            hypothesis(d, node, node is best)
    for node, label, colour in ((best, "beam", DEEP_GREEN), (loser, "greedy", DEEP_ORANGE)):
        d.text(COLUMNS[3] + WIDE / 2 + 14, HEIGHTS[node.words], label, size=17, colour=colour, face="b",
               anchor="start")
    legend(d)
    return d


def edges(d: Drawing, steps: list[list[Node]], chosen: tuple[str, ...], best: Node) -> None:
    """A line from each hypothesis to what continues it, with the log-probability of the word."""
    for column, step in enumerate(steps, start=1):
        for node in step:
            past = node.words[:-1]
            start = (COLUMNS[column - 1] + (37 if column == 1 else WIDE / 2), HEIGHTS[past])
            end = (COLUMNS[column] - WIDE / 2, HEIGHTS[node.words])
            on_best, on_greedy = best.words[:column] == node.words, chosen[:column] == node.words
            colour = GREEN if on_best else VERMILLION if on_greedy else "#B8B8B8"
            d.line(start, end, colour=colour, width=4 if on_best or on_greedy else 1.8,
                   dash="9 4" if on_greedy and not on_best else "")
            x, y = start[0] * 0.42 + end[0] * 0.58, start[1] * 0.42 + end[1] * 0.58
            d.rect(x - 18, y - 9, 36, 18, fill=WHITE, radius=4)
            d.text(x, y, signed(MODEL[past][node.words[-1]]), size=13, colour=INK if node.kept else GREY)


def hypothesis(d: Drawing, node: Node, wins: bool) -> None:
    """The last word and the sum of log-probabilities: tinted: kept, dashed: dropped, solid: best."""
    x, y = COLUMNS[len(node.words)], HEIGHTS[node.words]
    fill, stroke = (LIGHT[GREEN], GREEN) if node.kept else (WHITE, "#8A8A8A")
    if wins:
        fill = stroke = DEEP_GREEN
    d.rect(x - WIDE / 2, y - TALL / 2, WIDE, TALL, fill=fill, stroke=stroke, dash="" if node.kept else "4 3")
    colour = WHITE if wins else INK if node.kept else GREY
    d.text(x - WIDE / 2 + 12, y, node.words[-1], size=15, face="b", colour=colour, anchor="start")
    d.text(x + WIDE / 2 - 12, y, signed(node.score), size=14, colour=colour, anchor="end")


def legend(d: Drawing) -> None:
    """What boxes, numbers and lines mean."""
    y = 424
    d.rect(30, y - 11, 34, 22, fill=LIGHT[GREEN], stroke=GREEN)
    d.text(74, y, f"kept: the {WIDTH} best of the step", size=14, anchor="start")
    d.rect(298, y - 11, 34, 22, fill=WHITE, stroke="#8A8A8A", dash="4 3")
    d.text(342, y, "dropped", size=14, anchor="start")
    d.text(430, y, "on a line: log p of the word;  in a box: the sum so far", size=14, anchor="start")
