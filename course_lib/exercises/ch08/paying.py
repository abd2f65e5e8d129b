"""Exercise 8.5, predict what fine-tuning adds, what its scores are, and when a gain is one."""

import math
from collections import Counter

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property

Entity = tuple[str, int, int]       # kind, first word, last word


def overlap(said: list, due: list) -> float:
    """F1 of two lists as bags: 2 · shared / (said + due)."""
    shared = sum((Counter(said) & Counter(due)).values())
    return 2 * shared / (len(said) + len(due))


def reference(width: int, classes: int, labels: list[int], said: list[str], due: list[str], found: list[Entity], true: list[Entity],
              right: float, n: int, interval: tuple[float, float]) -> dict[str, str | float]:
    """The answers of 8.5.

    A head is one linear layer with biases. An entity counts if kind, beginning and end are right, all three. The standard error is that
    of a share of n independent answers; an interval of gains that holds 0 does not tell a gain from none.
    """
    return {
        "head_parameters": width * classes + classes,
        "always_the_same": max(labels) / sum(labels),
        "token_f1": overlap(said, due),
        "entity_f1": overlap(found, true),
        "standard_error": math.sqrt(right * (1 - right) / n),
        "gain_shown": "yes" if interval[0] > 0 else "no",
    }


def draw(rng: np.random.Generator) -> list[Case]:
    asked = {
        "width": 768,
        "classes": 3,
        "labels": [190, 110, 100],
        "said": ["Mia", "and", "Tom"],
        "due": ["Mia"],
        "found": [("person", 0, 1), ("place", 5, 6), ("place", 9, 9)],
        "true": [("person", 0, 1), ("place", 5, 7), ("place", 9, 9)],
        "right": 0.9,
        "n": 400,
        "interval": (-0.01, 0.05),
    }
    return [Case("", asked)]


_BOUNDARY = "An entity counts if its kind and both of its ends are right. How many of those said are true, and of the true said?"
ITEMS = (
    Item(
        "head_parameters",
        0,
        (
            (2304, "The biases are missing, one for each class."),
            (768, "That is one row of the matrix. There is one for each class."),
            (771, "There is a row of 768 numbers for each class, and a bias."),
            (1538, "That is for two classes. There are three."),
            (2307 + 768 * 768 + 768, "The pooler is BERT's already. Asked is what is added."),
            (109_484_547, "That is all of it. Asked is what is added."),
            (109_482_240, "These are BERT's own. Asked is what is added."),
            (3, "These are the biases. Each class has a row of weights as well."),
        ),
    ),
    Item(
        "always_the_same",
        0.0051,
        (
            (1 / 3, "The classes are not equally frequent: one of them is said every time, the best one."),
            (0.5, "There are three classes, and none of them has half of the pairs."),
            (0.275, "The class that is said every time is the most frequent one."),
            (0.25, "The class that is said every time is the most frequent one."),
            (1, "It is right on the pairs of one class alone."),
            (0.525, "That is the share that it gets wrong."),
            ((190**2 + 110**2 + 100**2) / 400**2, "It does not draw its answers as often as the classes come: it always says the same."),
        ),
    ),
    Item(
        "token_f1",
        0.0051,
        (
            (1 / 3, "That is the precision: of the words said, one is right. F1 is between it and the recall."),
            (1, "That is the recall: the word that was due is there. Two others are, too."),
            (0, "That is the exact match. F1 gives something for words that are shared."),
            (2 / 3, "That is the plain mean of precision and recall. F1 is their harmonic mean, nearer to the smaller one."),
            (0.25, "F1 is twice precision times recall, by their sum."),
        ),
    ),
    Item(
        "entity_f1",
        0.0051,
        (
            (1, f"New York is not New York City. {_BOUNDARY}"),
            (5 / 6, f"There is nothing for half an entity. {_BOUNDARY}"),
            (0.8, "That is one of three counted in another way: of the three said two are right, of the three true ones two are said."),
            (0.5, _BOUNDARY),
            (1 / 3, _BOUNDARY),
            (10 / 11, f"That counts words. {_BOUNDARY}"),
            (0, f"Some are right from end to end. {_BOUNDARY}"),
        ),
    ),
    Item(
        "standard_error",
        0.00051,
        (
            (0.09, "That is the variance of one answer. The standard error of a mean is the root of it by n."),
            (0.3, "That is the standard deviation of one answer. The mean of many varies less."),
            (0.09 / 400, "That is the variance of the mean. Its root is asked for."),
            (0.05, "1/√n takes each answer's standard deviation to be 1. It is less when 90 % are right."),
            (0.025, "That is for an accuracy of one half, where it is largest."),
            (0.0294, "That is 1.96 of them, half of a 95 % interval. One is asked for."),
            (0.03, "These are two of them. One is asked for."),
            (0.3 / 400, "The standard deviation of one answer is divided by √n, not by n."),
            (0.1, "That is the share of wrong answers."),
        ),
    ),
    Item(
        "gain_shown",
        0,
        (("yes", "What gain do numbers like these come from, if the true one is 0? Is 0 among what the interval allows?"),),
    ),
)


EXERCISE = Exercise(
    "8.5",
    "Where does it pay?",
    "predict",
    3,
    12,
    "judge a gain by an interval over seeds",
    (
        Property("head_parameters", "the parameters that a head adds"),
        Property("always_the_same", "the accuracy of one answer to everything"),
        Property("token_f1", "F1 of an answer with words too many"),
        Property("entity_f1", "F1 of entities, one with a wrong end"),
        Property("standard_error", "the standard error of an accuracy"),
        Property("gain_shown", "whether an interval shows a gain"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
