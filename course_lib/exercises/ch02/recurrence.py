"""Exercise 2.4, predict how far back a gradient reaches."""

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(decay: float, growth: float, distance: int, share: float) -> dict[str, float | str]:
    """The answers of 2.4. h_T = Σ_k a^k x_{T−k}: the derivative at distance k is a^k, whatever the data."""
    below = 1
    while decay**below >= share:
        below += 1
    return {
        "decay_at_20": decay**distance,
        "first_below_1_percent": below,
        "growth_at_20": growth**distance,
        "more_data_helps": "no",
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"decay": 0.9, "growth": 1.1, "distance": 20, "share": 0.01})]


ITEMS = (
    Item(
        "decay_at_20",
        0.0051,
        (
            (
                18.0,
                "0.9 · 20 is what adding gives. Each step multiplies by 0.9 once more: a power, not a "
                "product.",
            ),
            (
                0.1**20,
                "(1 − 0.9)²⁰ is what would be left if each step kept a tenth. Each step keeps 0.9 of the "
                "state.",
            ),
            (0.9**19, "That is 19 steps. From T − 20 to T the state is multiplied 20 times."),
            (0.9**21, "That is 21 steps. From T − 20 to T the state is multiplied 20 times."),
            (
                -1.0,
                "1 − 0.1 · 20 assumes that each step takes away the same amount; it takes away the same "
                "share.",
            ),
        ),
    ),
    Item(
        "first_below_1_percent",
        0.0,
        (
            (43.0, "Off by one: 0.9⁴³ = 0.0108 is still above 1 %."),
            (45.0, "Off by one: you are already a step past the first distance under 1 %."),
            (
                10.0,
                "After 10 steps 0.9¹⁰ = 0.35 is left. The loss is not a tenth of the whole at each step, "
                "but of the rest.",
            ),
            (22.0, "0.9²² = 0.098: that is under 10 %, not under 1 %."),
            (29.0, "0.9²⁹ = 0.047: that is under 5 %, not under 1 %."),
        ),
    ),
    Item(
        "growth_at_20",
        0.06,
        (
            (22.0, "1.1 · 20 is what adding gives. Each step multiplies by 1.1 once more."),
            (3.0, "1 + 0.1 · 20 leaves out the interest on the interest: the growth is a power."),
            (1.1**19, "That is 19 steps. From T − 20 to T the state is multiplied 20 times."),
            (1.1**21, "That is 21 steps. From T − 20 to T the state is multiplied 20 times."),
            (0.9**-20, "That is 1 / 0.9²⁰; 1.1 is not the inverse of 0.9."),
            (0.9**20, "With a > 1 the derivative grows with the distance; this one shrinks."),
        ),
    ),
    Item(
        "more_data_helps",
        0.0,
        (
            (
                "yes",
                "The derivative is a²⁰ and holds no x at all: more examples send more gradients of the "
                "same vanishing size. What has to change is a, the path through time.",
            ),
        ),
    ),
)


EXERCISE = Exercise(
    "2.4",
    "How far back can it learn?",
    "predict",
    2,
    8,
    "explain why gradients vanish and explode",
    (
        Property("decay_at_20", "|∂h_T/∂h_{T−20}| for a = 0.9"),
        Property("first_below_1_percent", "first distance under 1 %"),
        Property("growth_at_20", "|∂h_T/∂h_{T−20}| for a = 1.1"),
        Property("more_data_helps", "what more data changes"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
