"""Exercise 13.7, predict what preference training starts from, what it can do, and what it does to those who measure it."""

import math

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(gap: float, n: int) -> dict[str, str | float]:
    """The answers of 13.7.

    DPO raises a margin: both log-probabilities may fall, if the rejected one falls further. What is optimised is the proxy; beyond some
    point it rises by what the judge does not share (Gao et al. 2023).
    """
    return {
        "dpo_at_the_start": math.log(2),
        "preferred": 1 / (1 + math.exp(-gap)),
        "best_of_n_kl": math.log(n) - (n - 1) / n,
        "equal_group": 0,
        "chosen_rises": "no",
        "judge_follows": "no",
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"gap": 1.0, "n": 8})]


ITEMS = (
    Item(
        "dpo_at_the_start",
        0.0051,
        (
            (0, "A margin of 0 is no certainty: what is σ(0), and −log of it?"),
            (0.5, "That is σ(0). The loss is −log of it."),
            (1, "In bits it would be so. Here it is nats."),
            (math.log(2) * 0.1, "β is inside of σ, where it multiplies a margin of 0."),
            (-math.log(2), "The sign is wrong: a loss of a probability is never negative."),
            (0.3, "That is with a logarithm of base 10. Here it is nats."),
        ),
    ),
    Item(
        "preferred",
        0.0051,
        (
            (1 / (1 + math.e), "That is how often the worse one is preferred."),
            (1, "People are not that sure: a gap of 1 is one step on the scale of log-odds."),
            (0.5, "That is for a gap of 0."),
            (math.e, "That is the odds. A probability lies between 0 and 1."),
            (0.76, "That is a tanh. Bradley and Terry have σ."),
            (0.84, "That is the normal distribution's, Thurstone's model. Bradley and Terry have σ."),
            (0.67, "That is for odds of 2 to 1. Scores are natural logarithms of strengths."),
            (0.91, "That is for odds of 10 to 1. Scores are natural logarithms of strengths."),
            (1 - math.exp(-1), "1 − 1/e is another function. Bradley and Terry have σ."),
            (math.log(1 + math.exp(-1)), "That is the loss, −log p. Asked is p."),
        ),
    ),
    Item(
        "best_of_n_kl",
        0.0051,
        (
            (math.log(8), "That is the first term. Being the best of 8 rules nobody out for sure: something comes off."),
            (7 / 8, "That is what comes off the logarithm."),
            (3 - 7 / 8, "Your logarithm has base 2. Here it is nats."),
            (3, "These are bits, and the second term is missing."),
            (math.log(8) - 1 / 8, "(n − 1)/n is subtracted, not 1/n."),
            (math.log(8) + 7 / 8, "(n − 1)/n is subtracted."),
            (math.log(7), "The bound is made of log n and (n − 1)/n."),
            (8, "That is n. How far the best of n may be from one of them, in nats?"),
            (0, "Whoever picks the best of 8 says other things than before."),
        ),
    ),
    Item(
        "equal_group",
        1e-9,
        (
            (1, "Which of the four would you praise, and which blame?"),
            (0.25, "Which of the four would you praise, and which blame?"),
            (4, "Which of the four would you praise, and which blame?"),
        ),
    ),
    Item(
        "chosen_rises",
        0,
        (("yes", "DPO's loss sees one margin, of chosen over rejected. In how many ways can a difference grow?"),),
    ),
    Item(
        "judge_follows",
        0,
        (("yes", "The policy climbs what is measured. Where reward model and judge disagree, which of the two does it find?"),),
    ),
)


EXERCISE = Exercise(
    "13.7",
    "Before you optimise",
    "predict",
    3,
    15,
    "measure how far a policy has moved; notice when a reward is being gamed",
    (
        Property("dpo_at_the_start", "what DPO's loss is before the first step"),
        Property("preferred", "how often the better one is preferred"),
        Property("best_of_n_kl", "how far the best of eight may be from one of them"),
        Property("equal_group", "what a group teaches that scores the same"),
        Property("chosen_rises", "whether the chosen answer has to become likelier"),
        Property("judge_follows", "whether the judge has to follow the reward"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
