"""Exercise 4.2, predict what the division by √d does to scores and weights."""

import math

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(width: int, std: float, keys: int, weight: float) -> dict[str, float]:
    """The answers of 4.2. A sum of d products of independent numbers of mean 0 has variance d · σ_q² · σ_k²."""
    spread = math.sqrt(width)
    return {
        "std_of_scores": spread,
        "std_after_root": spread / math.sqrt(width),
        "std_if_doubled": spread * std * std,
        "bits_uniform": math.log2(keys),
        "largest_weight": 1.0,
        "bits_then": 0.0,
        "slope_at_0_9": weight * (1 - weight),
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"width": 64, "std": 2.0, "keys": 16, "weight": 0.9})]


ITEMS = (
    Item(
        "std_of_scores",
        0.051,
        (
            (64.0, "64 is the variance, a sum of 64 variances of 1 each. Its root is the standard deviation."),
            (1.0, "That is the standard deviation of one product; 64 of them are added up."),
            (4096.0, "Variances add up; they are not squared again."),
            (0.0, "0 is the mean of q·k. The question is how far it strays from there."),
        ),
    ),
    Item(
        "std_after_root",
        0.0051,
        (
            (8.0, "That is before the division: dividing numbers by √d divides their standard deviation by √d."),
            (0.125, "That is a division by d. The paper divides by its root."),
            (64.0, "That is the variance before the division."),
            (0.0, "A division shrinks the spread, but not to nothing."),
        ),
    ),
    Item(
        "std_if_doubled",
        0.051,
        (
            (16.0, "Only one factor is doubled in that: both q and k have standard deviation 2."),
            (1024.0, "1024 is the variance, 64 products of variance 2² · 2² each. Take its root."),
            (8.0, "The scores do not stay as they were: every product is of larger numbers now."),
            (4.0, "That is after the division by √d; asked is q·k itself."),
            (128.0, "You multiply by 16. That is what the variance grows by; the standard deviation grows by its root."),
            (256.0, "64 standard deviations of 4 do not add up; variances do. Then take the root."),
        ),
    ),
    Item(
        "bits_uniform",
        0.0051,
        (
            (math.log(16), "That is in nats, with the natural logarithm. Bits take the logarithm to base 2."),
            (math.log10(16), "That is with the logarithm to base 10. Bits take the logarithm to base 2."),
            (16.0, "16 is the number of keys; its logarithm to base 2 is the number of bits."),
            (1 / 16, "That is one weight. The entropy is the mean of −log₂ of the weights."),
            (0.25, "That is a single term, −(1/16) log₂(1/16); there are 16 of them."),
            (0.0, "0 bits is for a choice that is certain; here nothing is."),
            (1.0, "1 bit is the choice between two; here it is among 16."),
            (-4.0, "The sign: an entropy is −Σ p log₂ p, and the logarithm of a share is negative."),
        ),
    ),
    Item(
        "largest_weight",
        0.0051,
        (
            (1 / 16, "That is what happens when the scores shrink to 0. Without the root they grow, like √d."),
            (0.0, "The weights still sum to 1, whatever d is: the largest of 16 is at least 1/16."),
            (0.5, "Two keys could share like that only with equal scores; the gap between the first two grows."),
        ),
    ),
    Item(
        "bits_then",
        1e-6,
        (
            (4.0, "4 bits is for equal weights. Here one key takes nearly everything."),
            (math.log(16), "That is for equal weights, and in nats. Here one key takes nearly everything."),
            (1.0, "1 bit would be two keys with half the weight each. Here one key takes nearly everything."),
        ),
    ),
    Item(
        "slope_at_0_9",
        0.0051,
        (
            (0.9, "That is the weight itself. The sum below it grows with the score, too: the slope is less."),
            (0.1, "That is 1 − p. Raising the score also raises p in proportion to p."),
            (0.81, "That is p². What limits the growth of p is what the others still hold, 1 − p."),
            (-0.09, "The sign: raising a key's own score raises its weight."),
            (0.25, "That is at p = 0.5, the steepest place."),
            (1.0, "The slope of a softmax is nowhere more than 1/4."),
            (0.0, "Nearly: but at 0.9 the others still hold a tenth, and something can still move."),
        ),
    ),
)


EXERCISE = Exercise(
    "4.2",
    "What the root is for",
    "predict",
    2,
    10,
    "explain what the root of d_k prevents, with numbers",
    (
        Property("std_of_scores", "spread of q·k for d = 64"),
        Property("std_after_root", "spread of q·k / √d"),
        Property("std_if_doubled", "spread of q·k if q and k spread twice as far"),
        Property("bits_uniform", "entropy of equal weights"),
        Property("largest_weight", "the largest weight without the root, as d grows"),
        Property("bits_then", "the entropy of the weights in that limit"),
        Property("slope_at_0_9", "what a weight of 0.9 still learns from"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
