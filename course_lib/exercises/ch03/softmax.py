"""Exercise 3.3, predict what a mask, a shift and a factor do to a softmax."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(exponentials: Sequence[int], masked: int, shift: float) -> dict[str, tuple[float, ...]]:
    """The answers of 3.3. The softmax of ln n is n / Σ n."""

    def softmax(scores: Sequence[float]) -> tuple[float, ...]:
        return tuple(torch.tensor(scores, dtype=torch.float64).softmax(0).tolist())

    scores = [math.log(n) for n in exponentials]
    hidden = [-math.inf if j == masked else s for j, s in enumerate(scores)]
    zeroed = [0.0 if j == masked else s for j, s in enumerate(scores)]
    return {
        "weights": softmax(scores),
        "third_masked": softmax(hidden),
        "plus_100": softmax([s + shift for s in scores]),
        "doubled": softmax([2 * s for s in scores]),
        "masked_with_0": softmax(zeroed),
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"exponentials": [1, 3, 4], "masked": 2, "shift": 100.0})]


_PLAIN, _QUARTERS = (1 / 8, 3 / 8, 4 / 8), (1 / 4, 3 / 4, 0.0)
_LOGS = tuple(math.log(n) / math.log(12) for n in (1, 3, 4))
_THIRDS = (1 / 3, 1 / 3, 1 / 3)
ITEMS = (
    Item(
        "weights",
        0.0051,
        (
            (_LOGS, "You divide the scores by their sum. A softmax exponentiates first, and exp(ln n) = n."),
            ((1.0, 3.0, 4.0), "That is exp of each score; divide by their sum."),
            (_THIRDS, "Equal weights come from equal scores; these differ."),
            ((0.0, 0.0, 1.0), "That is the hard maximum. A softmax leaves something to every score."),
        ),
    ),
    Item(
        "third_masked",
        0.0051,
        (
            (
                (1 / 8, 3 / 8, 0.0),
                "The third weight is gone, but its share has not been given to the others: "
                "they sum to 0.5. The mask acts before the softmax.",
            ),
            (
                (1 / 5, 3 / 5, 1 / 5),
                "That is a score of 0, and exp(0) = 1 is not nothing. Masked means a score of −∞.",
            ),
            (_PLAIN, "The third word still has half the weight."),
            ((0.5, 0.5, 0.0), "The first two scores still differ: ln 1 and ln 3."),
        ),
    ),
    Item(
        "plus_100",
        0.0051,
        (
            (
                (0.331, 0.334, 0.335),  # (ln n + 100) / (ln 12 + 300); three thirds are as near
                "You divide the scores by their sum, where 100 swamps the rest. A softmax sees differences, "
                "not ratios: exp(s + 100) = e¹⁰⁰ · exp(s), above and below the line.",
            ),
            ((0.0, 0.0, 1.0), "The differences between the scores have not grown."),
        ),
    ),
    Item(
        "doubled",
        0.0051,
        (
            (
                _PLAIN,
                "A softmax does not change when all scores are shifted; it does when they are multiplied: "
                "exp(2 s) is exp(s) squared, not doubled.",
            ),
        ),
    ),
    Item(
        "masked_with_0",
        0.0051,
        (
            (_QUARTERS, "A score of 0 is not a weight of 0: exp(0) = 1."),
            ((1 / 8, 3 / 8, 0.0), "The score is set to 0, not the weight."),
            (_PLAIN, "The third score was ln 4 and is now 0: something changes."),
        ),
    ),
)


EXERCISE = Exercise(
    "3.3",
    "Softmax by hand",
    "predict",
    2,
    8,
    "say what a mask, a shift and a factor do to the weights",
    (
        Property("weights", "weights of the scores ln 1, ln 3, ln 4"),
        Property("third_masked", "the third word masked"),
        Property("plus_100", "all scores plus 100"),
        Property("doubled", "all scores doubled"),
        Property("masked_with_0", "the third score set to 0 instead"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
