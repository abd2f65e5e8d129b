"""One step of additive attention (Bahdanau et al. 2015): compare, weigh, sum, speak (chapter 03)."""

import math

from figures._draw import (
    BLUE,
    DEEP_GREEN,
    DEEP_ORANGE,
    DEEP_PURPLE,
    GREEN,
    GREY,
    LIGHT,
    PALE,
    PURPLE,
    VERMILLION,
    WHITE,
    Drawing,
)

WORDS = ["Mia", "hat", "gelacht", "."]
SCORES = [-0.6, 1.4, 2.3, -1.1]                         # e_ij, chosen for the picture; the weights follow
PLACES = [188, 292, 396, 500]
BEFORE, AFTER, CENTRE = 72, PLACES[-1], (PLACES[1] + PLACES[2]) / 2
SAID, STATES, CONTEXT, WEIGHT, SCORE, NOTES, READ = 78, 138, 220, 318, 412, 506, 578    # heights of the rows
FORMULAS = 612                                          # where the column of equations begins


def softmax(scores: list[float]) -> list[float]:
    """exp(e_j) / Σ_k exp(e_k)."""
    powers = [math.exp(e) for e in scores]
    return [p / sum(powers) for p in powers]


def draw() -> Drawing:
    """From the words at the bottom to the word said at the top; the equations beside each row."""
    weights = softmax(SCORES)
    shares = ", ".join(f"{w:.2f} on {word}" for w, word in zip(weights, WORDS, strict=True))
    d = Drawing(900, 610, "One step of additive attention",
                "The decoder has said Mia and compares its state with the annotation of each German word. "
                f"A softmax turns the four scores into weights ({shares}). The weighted sum of the "
                "annotations is the context, and with it the next state says laughed.")
    d.text(24, 34, "The decoder looks back at every word before it speaks", size=20, face="b", anchor="start")
    annotations(d)
    scores(d)
    weigh(d, weights)
    states(d)
    equations(d)
    return d


def annotations(d: Drawing) -> None:
    """h_1 … h_4, each read from both sides."""
    for k, (x, word) in enumerate(zip(PLACES, WORDS, strict=True)):
        d.line((x, READ - 14), (x, NOTES + 24), arrow=True)
        if k:
            d.line((PLACES[k - 1] + 27, NOTES - 10), (x - 27, NOTES - 10), colour=BLUE, arrow=True)
            d.line((x - 27, NOTES + 10), (PLACES[k - 1] + 27, NOTES + 10), colour=BLUE, arrow=True)
        d.box(x, NOTES, 54, 48, f"h_{k + 1}", BLUE, size=17)
        d.text(x, READ, word, size=15)


def scores(d: Drawing) -> None:
    """e_ij = a(s_{i−1}, h_j) for each word."""
    d.line((BEFORE, STATES + 25), (BEFORE, SCORE + 38), (PLACES[-1] - 14, SCORE + 38),
           (PLACES[-1] - 14, SCORE + 19), colour=VERMILLION, arrow=True)
    for x in PLACES[:-1]:
        d.line((x - 14, SCORE + 38), (x - 14, SCORE + 19), colour=VERMILLION, arrow=True)
    for x, e in zip(PLACES, SCORES, strict=True):
        d.line((x + 8, NOTES - 24), (x + 8, SCORE + 19), colour=BLUE, arrow=True)
        d.box(x, SCORE, 62, 38, f"{e:.1f}".replace("-", "−"), PURPLE, size=15)
    d.text(BEFORE + 9, SCORE - 32, "asks", size=14, colour=DEEP_ORANGE, anchor="start")


def weigh(d: Drawing, weights: list[float]) -> None:
    """The softmax over the words, and the weighted sum of the annotations."""
    left, right = PLACES[0] - 44, PLACES[-1] + 44
    for x in PLACES:
        d.line((x, SCORE - 19), (x, WEIGHT + 38), colour=PURPLE, arrow=True)
    d.rect(left, WEIGHT + 14, right - left, 24, fill=LIGHT[PURPLE], stroke=PURPLE)
    d.text(CENTRE, WEIGHT + 26, "softmax over the words: the weights sum to 1", size=13)
    for x, w in zip(PLACES, weights, strict=True):
        tall = 46 * w / max(weights)
        d.rect(x - 17, WEIGHT + 9 - tall, 34, tall, fill=GREEN, radius=1)
        d.line((x, WEIGHT + 5 - tall), (CENTRE + (x - CENTRE) * 0.1, CONTEXT + 21), colour=GREEN,
               width=0.8 + 5 * w)
        d.text(x + 22, WEIGHT - 1, f"{w:.2f}", size=14, anchor="start", colour=DEEP_GREEN, face="b")
    d.line((CENTRE + 29, CONTEXT), (AFTER, CONTEXT), (AFTER, STATES + 25), colour=GREEN, arrow=True,
           width=2.6)
    d.box(CENTRE, CONTEXT, 58, 42, "c_i", GREEN, size=18, face="b")


def states(d: Drawing) -> None:
    """s_{i−1} on the left, s_i on the right; the word that was said and the one that is said now."""
    d.line((BEFORE + 35, STATES), (AFTER - 35, STATES), colour=VERMILLION, arrow=True)
    d.line((BEFORE + 24, SAID), (AFTER - 27, SAID), (AFTER - 27, STATES - 25), arrow=True, dash="4 4",
           width=1.5)
    for x, name, word, face in ((BEFORE, "s_{i−1}", "Mia", "r"), (AFTER, "s_i", "laughed", "b")):
        d.line((x, STATES - 25), (x, SAID + 13), arrow=True)
        d.box(x, STATES, 70, 50, name, VERMILLION, size=18)
        d.text(x + (21 if x == AFTER else 0), SAID, word, size=15, face=face)


def equations(d: Drawing) -> None:
    """What each row computes, numbered in the order of computation."""
    rows = [(NOTES, BLUE, "h_j = [→h_j ; ←h_j]", "annotations, read from both sides"),
            (SCORE, DEEP_PURPLE, "e_{ij} = v^{T} tanh(W s_{i−1} + U h_j)", "scores: does word j fit?"),
            (WEIGHT, DEEP_PURPLE, "α_{ij} = exp(e_{ij}) / Σ_k exp(e_{ik})", "weights: shares of attention"),
            (CONTEXT, DEEP_GREEN, "c_i = Σ_j α_{ij} h_j", "context: the weighted sum"),
            (STATES - 24, DEEP_ORANGE, "s_i = f(s_{i−1}, y_{i−1}, c_i)", "the next state; from it the word")]
    d.line((FORMULAS - 34, 66), (FORMULAS - 34, 590), colour=PALE)
    for n, (y, colour, formula, meaning) in enumerate(rows, start=1):
        d.circle(FORMULAS, y, 13, fill=colour)
        d.text(FORMULAS, y, str(n), size=14, colour=WHITE, face="b")
        d.text(FORMULAS + 22, y, formula, size=15, anchor="start")
        d.text(FORMULAS + 22, y + 25, meaning, size=13, colour=GREY, anchor="start")
    d.text(FORMULAS + 22, READ, "here i = 2, and Mia has been said", size=13, colour=GREY, anchor="start")
