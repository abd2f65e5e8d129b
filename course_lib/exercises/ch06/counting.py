"""Exercise 6.4, predict what pairs, bytes and tokens come to, before counting them."""

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.metrics import bits_per_byte
from course_lib.tokenizers import count_pairs, merge


def reference(run: str, repeated: str, umlaut: str, korean: str, nats: float, bytes_per_token: float) -> dict[str, str | float]:
    """The answers of 6.4, counted by the course's own parts.

    Encoding replays the merges in their order, so that a long token loses a byte to an earlier merge ("abc" to
    "b"+"c", say). Ids stand for bytes, and encoding spells every byte, so a text always comes back. Ids may stand for
    their bytes in many ways, of which encoding gives one, and may stand for bytes that are no text.
    """
    letters, text = list(run.encode()), list(repeated.encode())
    replaced = merge(letters, (letters[0], letters[1]), 256)
    return {
        "counted": count_pairs({tuple(letters): 1})[letters[0], letters[1]],
        "replaced": replaced.count(256),
        "tokens": len(merge(merge(text, (text[0], text[1]), 256), (256, 256), 257)),
        "bytes_of_umlaut": len(umlaut.encode()),
        "bytes_of_korean": len(korean.encode()),
        "longest": "no",
        "text_back": "yes",
        "ids_back": "no",
        "bits_per_byte": bits_per_byte(nats, bytes_per_token),
    }


def draw(rng: np.random.Generator) -> list[Case]:
    asked = {"run": "aaaaa", "repeated": "abababab", "umlaut": "ä", "korean": "배고파", "nats": 2.0, "bytes_per_token": 4.0}
    return [Case("", asked)]


_LN2 = 0.6931471805599453
_USED = "Once replaced, both letters are used up: the next pair starts behind them."
_TWO_MERGES = "A merge is made wherever its pair stands, not at one place."
_CHARACTERS = "Characters are not bytes: UTF-8 takes more than one for each letter beyond ASCII."
_BITS = "A nat is more than a bit, not less: divide by ln 2."
ITEMS = (
    Item(
        "counted",
        0,
        (
            (5, "There are 5 letters. How many gaps are there between them?"),
            (2, "Places overlap while they are counted: the second a ends one pair and begins the next."),
            (3, "Write the five letters down and mark every place where a stands beside a."),
            (10, "Only neighbours are a pair, not any two of the five letters."),
            (1, "There is one kind of pair. How often does it stand there?"),
        ),
    ),
    Item(
        "replaced",
        0,
        (
            (4, _USED),
            (3, "That is how many ids are left. Asked is how many of them are new."),
            (1, "Every occurrence is replaced, from left to right, not the first alone."),
            (5, _USED),
        ),
    ),
    Item(
        "tokens",
        0,
        (
            (4, "That is after the first merge. The second one has not been made yet."),
            (8, "That is how many letters there are. What is left of them after each merge?"),
            (1, "That takes a third merge, of the two tokens that are left."),
            (7, _TWO_MERGES),
            (6, _TWO_MERGES),
            (3, "The second merge is made wherever its pair stands, from the left on: does it leave a token over?"),
            (5, "The first merge is made wherever its pair stands: does it leave a letter over?"),
        ),
    ),
    Item(
        "bytes_of_umlaut",
        0,
        (
            (1, f"{_CHARACTERS} One byte is what Latin-1 takes."),
            (4, "That is what UTF-32 takes for any character. Here it is UTF-8."),
            (3, "That is what a and a combining ¨ take together. Here ä is a single character, U+00E4."),
            (8, "8 is how many bits a byte has."),
            (16, "That is in bits. How many bytes is it?"),
        ),
    ),
    Item(
        "bytes_of_korean",
        0,
        (
            (3, _CHARACTERS),
            (6, "Two bytes a letter reach as far as U+07FF: Latin, Greek, Cyrillic, Hebrew, Arabic. Korean letters are behind it."),
            (12, "Four bytes a letter are needed behind U+FFFF, as for emoji. Korean letters are before it."),
            (1, "There are three letters, and each takes bytes of its own."),
            (18, "That is with each letter taken apart into its jamo. Here a letter is a single character."),
            (24, "That is in bits, of one byte a letter. How many bytes?"),
        ),
    ),
    Item(
        "longest",
        0,
        (
            (
                "yes",
                "Encoding never asks for lengths. It makes the merge that was learned first: can that take a byte away from a "
                "longer token?",
            ),
        ),
    ),
    Item(
        "text_back",
        0,
        (
            (
                "no",
                "Which text should not come back? Each token is a piece of the text's bytes, side by side they are all of "
                "them, and every byte there is has an id.",
            ),
        ),
    ),
    Item(
        "ids_back",
        0,
        (
            (
                "yes",
                "Take the ids of the bytes of a word that has a token of its own. What do they decode to, and what does that "
                "encode to?",
            ),
        ),
    ),
    Item(
        "bits_per_byte",
        0.0051,
        (
            (0.5, "That is nats per byte. Bits are asked for."),
            (2 / _LN2, "That is bits per token. A token is 4 bytes."),
            (2.0, "That is nats per token: neither bits nor per byte."),
            (2 * _LN2 / 4, _BITS),
            (2 * _LN2, f"{_BITS} And a token is 4 bytes."),
            (8.0, "A token costs 2 nats, and its 4 bytes share them. And bits are asked for."),
            (8 / _LN2, "A token costs 2 nats, and its 4 bytes share them."),
            (8 * _LN2, f"{_BITS} And the 4 bytes of a token share what it costs."),
        ),
    ),
)


EXERCISE = Exercise(
    "6.4",
    "Before you count",
    "predict",
    2,
    12,
    "encode any text as the merges say",
    (
        Property("counted", "how often the pair a a is counted in aaaaa"),
        Property("replaced", "how often it is replaced"),
        Property("tokens", "the tokens of abababab after two merges"),
        Property("bytes_of_umlaut", "the bytes of ä"),
        Property("bytes_of_korean", "the bytes of 배고파"),
        Property("longest", "whether encoding takes the longest token that fits next"),
        Property("text_back", "whether each text comes back"),
        Property("ids_back", "whether each list of ids comes back"),
        Property("bits_per_byte", "bits per byte from nats per token"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
