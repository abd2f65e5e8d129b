"""Exercise 5.4, predict what a Transformer without positions can tell, and what sinusoids bring."""

import math

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(letters: int, width: int) -> dict[str, str | float]:
    """The answers of 5.4.

    Without a mask, attention commutes with every permutation of its words. Under a causal mask the last word's
    first look is at a set; the words before it have seen different sets, so a second look finds the order. What
    crosses from an encoder without positions is a set: of the n! orders of n different letters one can be right.
    Rows of sinusoids have products that depend on their distance only, as rotating both by one angle per pair
    changes nothing; with a matrix between them it does. A row is d/2 points on circles of radius 1.
    """
    return {
        "shuffled_encoder": "yes",
        "mean_of_outputs": "no",
        "one_causal_layer": "no",
        "two_causal_layers": "yes",
        "copies_right": 1 / math.factorial(letters),
        "sorting": "yes",
        "product_after_maps": "no",
        "length_of_row": (width / 2) ** 0.5,
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"letters": 3, "width": 128})]


ITEMS = (
    Item(
        "shuffled_encoder",
        0,
        (
            (
                "no",
                "Follow one word: its query, its keys and values come from its vector alone, and a weighted mean "
                "does not ask in which order its terms stand. Which part of an encoder would notice?",
            ),
        ),
    ),
    Item(
        "mean_of_outputs",
        0,
        (
            (
                "yes",
                "The two sentences are one another's shuffle. What does shuffling do to the outputs, and what to "
                "their mean?",
            ),
        ),
    ),
    Item(
        "one_causal_layer",
        0,
        (
            (
                "yes",
                "The query of c comes from c alone, and it looks at a, b and c in both. In a single layer keys and "
                "values come from the words alone, too: where could the order enter?",
            ),
        ),
    ),
    Item(
        "two_causal_layers",
        0,
        (
            (
                "no",
                "After the first layer the vector at a is not the same in both: in one sentence a has seen nothing "
                "but itself, in the other it has seen b as well. The mask tells early from late.",
            ),
        ),
    ),
    Item(
        "copies_right",
        0.0051,
        (
            (0.0, "Never is too little: it may always give the letters in one order, and now and then that is right."),
            (
                1.0,
                "The decoder finds the source through attention, whatever it has said so far, and attention to an "
                "encoder without positions finds a set. Two sources with the same letters get the same answer.",
            ),
            (1 / 3, "That is for the first letter alone. How many orders do three different letters have?"),
            (0.5, "With two letters left it is one half; but the letter before them has to be right, too."),
            (1 / 27, "The decoder does know which three letters there are; only their order is lost."),
            (1 / 9, "The decoder does know which three letters there are; only their order is lost."),
            (1 / 2**3, "Count the orders in which three different letters can stand."),
            (6.0, "There are 6 orders. What share of the answers can be right?"),
        ),
    ),
    Item(
        "sorting",
        0,
        (
            (
                "no",
                "Does the sorted answer depend on the order of the source? What the decoder needs is which letters "
                "there are, and what it has said itself.",
            ),
        ),
    ),
    Item(
        "product_after_maps",
        0,
        (
            (
                "yes",
                "Without the maps it does, since going one place further rotates both rows, and a product of vectors "
                "does not mind. Now the matrix W_qᵀ W_k stands between the rows: does that not mind either?",
            ),
        ),
    ),
    Item(
        "length_of_row",
        0.051,
        (
            (64.0, "64 is the square of the length."),
            (128.0, "Not every number is 1: what do the squares of a sine and its cosine add up to?"),
            (math.sqrt(128), "Not every number is ±1: what do the squares of a sine and its cosine add up to?"),
            (1.0, "1 is the length of one pair, sine and cosine; there are more of them, and their squares add up."),
            (math.sqrt(2), "Sine and cosine of one angle: their squares add up to 1, not to 2. And there are more pairs."),
            (2.0, "Sine and cosine of one angle: their squares add up to 1, not to 2. And there are more pairs."),
        ),
    ),
)


EXERCISE = Exercise(
    "5.4",
    "Without positions",
    "predict",
    2,
    12,
    "give attention a sense of order and say what happens without",
    (
        Property("shuffled_encoder", "the encoder's outputs for a shuffled sentence"),
        Property("mean_of_outputs", "dog bites man, man bites dog"),
        Property("one_causal_layer", "one causal layer"),
        Property("two_causal_layers", "two causal layers"),
        Property("copies_right", "the best share of right copies"),
        Property("sorting", "sorting instead of copying"),
        Property("product_after_maps", "query times key, made from rows of sinusoids"),
        Property("length_of_row", "the length of a row of sinusoids"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
