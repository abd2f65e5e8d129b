"""Exercise 4.5, predict the parameters of one layer of attention, and the scores it computes."""

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property


def reference(width: int, heads: int, shared: int, words: int) -> dict[str, int]:
    """The answers of 4.5: four maps of width × width, of which keys and values may shrink to `shared` heads."""
    narrow = width // heads * shared
    return {
        "one_head": 4 * width**2,
        "eight_heads": 4 * width**2,
        "with_biases": 4 * width**2 + 4 * width,
        "two_kv_heads": 2 * width**2 + 2 * width * narrow,
        "scores": heads * words**2,
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"width": 512, "heads": 8, "shared": 2, "words": 1000})]


_SQUARE = 512 * 512
ITEMS = (
    Item(
        "one_head",
        0,
        (
            (3 * _SQUARE, "That is queries, keys and values. The heads' output goes through a map, too."),
            (_SQUARE, "That is a single map of 512 · 512; queries, keys, values and the output have one each."),
            (2 * _SQUARE, "That is two maps; queries, keys, values and the output have one each."),
            (5 * _SQUARE, "That is one map too many: queries, keys, values, output."),
            (4 * _SQUARE + 4 * 512, "The biases are not to be counted yet."),
            (4 * 512, "A map from 512 numbers to 512 is a matrix of 512 · 512."),
        ),
    ),
    Item(
        "eight_heads",
        0,
        (
            (32 * _SQUARE, "More heads are not more parameters here: each head's maps lead to 64 numbers, not to 512."),
            (
                _SQUARE // 2,
                "An eighth of a single head's: that is what one head's maps hold, or eight heads that read 64 "
                "numbers each. But all eight read all 512 numbers of a word.",
            ),
            (3 * _SQUARE, "The output map is missing: it mixes what the eight heads have found."),
            (25 * _SQUARE, "Each head's maps lead to 64 numbers, not to 512, and the output map is there once."),
            (
                3 * _SQUARE + 64 * 512,
                "The output map reads what all eight heads have found, 8 · 64 numbers, not those of one.",
            ),
            (4 * _SQUARE + 4 * 512, "The biases are not to be counted yet."),
        ),
    ),
    Item(
        "with_biases",
        0,
        (
            (4 * _SQUARE, "That is without biases. Every map adds one number to each of its outputs."),
            (4 * _SQUARE + 512, "That is 512 biases; each of the four maps has so many."),
            (4 * _SQUARE + 3 * 512, "One bias is missing: queries, keys, values and the output have one each."),
            (4 * _SQUARE + 4, "A bias has a number for each output of the map, not one for the whole map."),
            (4 * _SQUARE + 4 * 64, "All heads together have 512 outputs per map, and each has its bias."),
            (4 * _SQUARE + 32 * 512, "A bias is 512 numbers for all eight heads of a map together: 64 for each head."),
        ),
    ),
    Item(
        "two_kv_heads",
        0,
        (
            (4 * _SQUARE, "Sharing saves something: the maps of keys and values lead to 2 · 64 numbers now."),
            (
                _SQUARE,
                "You shrink all four maps to a quarter. The queries keep their eight heads, and the output map "
                "reads eight heads.",
            ),
            (
                2 * _SQUARE + 512 * 128,
                "Keys and values have a map each, and each leads to two heads of 64; half of that is missing.",
            ),
            (3 * _SQUARE + 512 * 128, "You shrink one of the two: keys and values are both shared."),
            (_SQUARE + 2 * 512 * 128, "The output map is missing, or that of the queries: both have 512 · 512."),
            (
                3 * _SQUARE,
                "Too many: from 8 heads to 2 the maps of keys and of values shrink to a quarter each.",
            ),
            (2 * _SQUARE + 2 * 128 * 128, "Keys and values are made from all 512 numbers of a word."),
            (
                2 * _SQUARE + 2 * 512 * 128 + 2 * 512 + 2 * 128,
                "The biases are not to be counted in this one.",
            ),
        ),
    ),
    Item(
        "scores",
        0,
        (
            (8_000, "Every word asks every word: the number of pairs grows with the square of the length."),
            (1_000_000, "That is one head's table. Every head has its own."),
            (64_000_000, "That is 64 tables of words by words; there is one for each of the eight heads."),
            (512_000_000, "Those are the multiplications behind the scores: 64 for each. Asked is how many scores."),
            (512_000, "Those are the numbers that the words bring, T · 512; a score belongs to a pair of words."),
            (
                8 * 500_500,
                "That is the half below a causal mask. There is no mask here.",
            ),
            (8 * 499_500, "A word also scores itself, and both orders of a pair count: q·k is not symmetric."),
            (8 * 999_000, "A word also scores itself."),
        ),
    ),
)


EXERCISE = Exercise(
    "4.5",
    "Count",
    "predict",
    2,
    8,
    "split, run and merge heads, and count their parameters",
    (
        Property("one_head", "parameters of one head of size 512"),
        Property("eight_heads", "parameters of eight heads of size 64"),
        Property("with_biases", "eight heads with biases"),
        Property("two_kv_heads", "eight query heads that share two heads of keys and values"),
        Property("scores", "scores in one layer for 1000 words"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
