"""The arc of the course: fourteen chapters, each repairing what the one before could not do (README)."""

import math
from typing import NamedTuple

from figures._draw import (
    BLUE,
    DEEP_GREEN,
    DEEP_ORANGE,
    DEEP_PURPLE,
    GREY,
    LIGHT,
    PALE,
    PURPLE,
    VERMILLION,
    WHITE,
    Drawing,
    width_of,
)

READY = (2, 3, 4, 5, 6, 7, 8, 9, 12, 13)                        # chapters that run


class Chapter(NamedTuple):
    """Number, title, and what it cannot do, which leads to the next."""

    number: int
    title: str
    gap: str


class Act(NamedTuple):
    """A stretch of the arc: its name, its colour, the chapters in it."""

    name: str
    colour: str
    tint: str
    chapters: list[Chapter]


ACTS = [
    Act("words", GREY, PALE, [
        Chapter(0, "Start here", "counts words, knows no meaning"),
        Chapter(1, "Word vectors", "one vector a word, whatever the sentence")]),
    Act("translation", BLUE, LIGHT[BLUE], [
        Chapter(2, "RNN sequence to sequence", "one vector for the whole sentence"),
        Chapter(3, "Bahdanau attention", "still reads one step after the other"),
        Chapter(4, "Self-attention", "knows no order, has no depth"),
        Chapter(5, "The Transformer", "stumbles over words it never saw")]),
    Act("pre-training", DEEP_GREEN, "#D7F1E8", [
        Chapter(6, "Byte-pair encoding", "labelled text is scarce"),
        Chapter(7, "BERT: pre-training", "knows language, but no task"),
        Chapter(8, "BERT: fine-tuning", "understands, but does not speak"),
        Chapter(9, "GPT", "fluent, but small")]),
    Act("scale", DEEP_PURPLE, LIGHT[PURPLE], [
        Chapter(10, "From GPT-1 to today", "knows nothing but text"),
        Chapter(11, "Pictures as sequences", "continues, but does not answer")]),
    Act("alignment", DEEP_ORANGE, LIGHT[VERMILLION], [
        Chapter(12, "Supervised fine-tuning", "copies answers, good and bad"),
        Chapter(13, "Learning from human preferences", "")]),
]
BOTTOM, RISE = 562, 39                                  # height of chapter 00; from one chapter to the next


def place(number: float) -> tuple[float, float]:
    """Where a chapter stands on the arc, which rises steadily and turns upwards."""
    return 84 + 432 * math.sin(number / 13 * math.pi / 2), BOTTOM - RISE * number


def draw(ready: tuple[int, ...] = READY) -> Drawing:
    """The arc from 00 to 13; the chapters in `ready` are filled in."""
    chapters = [chapter for act in ACTS for chapter in act.chapters]
    names = "; ".join(f"{n:02d} {title}" + (" (ready)" if n in ready else "") for n, title, _ in chapters)
    d = Drawing(900, 606, "The arc of the course",
                "Fourteen chapters on one rising line, each of which repairs what the one before could "
                f"not do, from counting words to an assistant aligned with preferences: {names}.")
    d.text(24, 42, "From counting words", size=25, face="b", anchor="start")
    d.text(24, 74, "to an aligned assistant", size=25, face="b", anchor="start")
    d.text(24, 110, "Each chapter repairs what the one", size=15, colour=GREY, anchor="start")
    d.text(24, 131, "before could not do.", size=15, colour=GREY, anchor="start")
    legend(d)
    line(d)
    for act in ACTS:
        for chapter in act.chapters:
            stop(d, chapter, act, chapter.number in ready)
    return d


def legend(d: Drawing) -> None:
    """What filled and open stops and the grey lines mean."""
    x, y = 664, 462
    d.circle(x, y, 13, fill=BLUE, stroke=BLUE)
    d.text(x + 26, y, "ready to run", size=14, anchor="start")
    d.circle(x, y + 38, 13, fill=WHITE, stroke=BLUE, width=2.4)
    d.text(x + 26, y + 38, "to come", size=14, anchor="start")
    d.text(x - 13, y + 78, "grey:", size=13, colour=GREY, anchor="start")
    d.text(x + 26, y + 78, "what is still missing", size=14, anchor="start")


def line(d: Drawing) -> None:
    """The line, a colour for each act, and the acts' names to its left."""
    for act in ACTS:
        first, last = act.chapters[0].number, act.chapters[-1].number
        ends = (first - 0.5 if first else 0.0, last + 0.5 if last < 13 else 13.0)
        points = [place(ends[0] + (ends[1] - ends[0]) * k / 16) for k in range(17)]
        d.line(*points, colour=act.colour, width=5)
        x, y = place((first + last) / 2)
        d.text(x - 28, y - 8, act.name, size=16, colour=act.colour, face="b", anchor="end")


def stop(d: Drawing, chapter: Chapter, act: Act, ready: bool) -> None:
    """A stop of the line: number, title, and what is still missing."""
    x, y = place(chapter.number)
    if ready:
        wide = max(width_of(chapter.title, 15, "b"), width_of(chapter.gap, 13))
        d.rect(x, y - 18, wide + 38, 37, fill=act.tint, radius=18)
    d.circle(x, y, 15, fill=act.colour if ready else WHITE, stroke=act.colour, width=2.4)
    d.text(x, y, f"{chapter.number:02d}", size=13, face="b", colour=WHITE if ready else act.colour)
    d.text(x + 25, y - (8 if chapter.gap else 0), chapter.title, size=15, face="b", anchor="start")
    if chapter.gap:
        d.text(x + 25, y + 9, chapter.gap, size=13, colour=GREY, anchor="start")
