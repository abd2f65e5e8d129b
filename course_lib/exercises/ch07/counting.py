"""Exercise 7.4, predict what BERT-base has, what masking hides, and what its numbers can be compared with."""

import numpy as np

from course_lib.data.masking import Masking
from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.models.bert import BERTS, BERTConfig


def parameters(config: BERTConfig) -> int:
    """The parameters of BERT with its pooler and without heads, from its sizes: post-norm, biases everywhere."""
    width, hidden = config.d_model, config.d_ff
    norm = 2 * width
    tables = (config.vocab_size + config.max_len + config.n_segments) * width + norm
    block = 4 * (width * width + width) + 2 * width * hidden + hidden + width + 2 * norm
    return tables + config.n_layers * block + width * width + width


def reference(model: str, tokens: int, specials: int, candidates: int) -> dict[str, str | float]:
    """The answers of 7.4, from a published BERT's sizes and the shares of Masking.

    Nobody puts [MASK] into a text that is to be classified. A loss that never counts class 0 is least for who always says 1, which is
    half of balanced pairs. A masked model has read what comes behind the blank as well, so it was asked something easier. To compare
    candidates by whole texts, each of them has to be put in and read.
    """
    config, masking = BERTS[model], Masking(103, (0, 100, 101, 102, 103), BERTS[model].vocab_size)
    return {
        "bert_parameters": parameters(config),
        "share_of_words": config.vocab_size * config.d_model / parameters(config),
        "chosen": max(1, round(masking.rate * (tokens - specials))),
        "shown_as_mask": masking.rate * masking.shown_as[0],
        "masks_later": 0,
        "pairs_right": 0.5,
        "better_model": "no",
        "texts_read": candidates,
    }


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"model": "bert-base-uncased", "tokens": 512, "specials": 3, "candidates": 90})]


_V, _C, _F = 30_522, 768, 3072
_ALL = parameters(BERTS["bert-base-uncased"])
_BLOCK = 12 * _C * _C + 13 * _C
ITEMS = (
    Item(
        "bert_parameters",
        0,
        (
            (110_000_000, "That is what the paper prints, and it is rounded. Count."),
            (110, "Give the whole number, not millions."),
            (109, "Give the whole number, not millions."),
            (_ALL - _C * _C - _C, "The pooler is missing, a linear layer of its own on [CLS]."),
            (_ALL - 2 * _C, "One pair of tables or norms is missing: two segments have a row each, and a norm stands behind the tables."),
            (_ALL - 512 * _C, "The positions are missing: they are learned, a row for each."),
            (_ALL - 514 * _C, "Positions and segments are missing: they are learned, a row for each."),
            (_ALL - _V * _C, "The table of words is missing."),
            (12 * _BLOCK, "These are the twelve blocks. What stands before them, and behind?"),
            (_ALL - 12 * 4 * _C, "The norms in the blocks are missing, two in each, with gain and bias."),
            (_ALL - 12 * 9 * _C, "In the blocks the biases are missing: one number for each output of a linear layer."),
            (_ALL + _V, "A bias for every word belongs to the head that guesses them. It is no part of this."),
            (_ALL + _V * _C, "The table of words counts once. Heads are no part of this."),
            (_ALL + 2 * _C, "There is a norm too much, or one table. Post-norm blocks end in a norm already, none stands behind the last."),
            (124_439_808, "That is GPT-2 small."),
        ),
    ),
    Item(
        "share_of_words",
        0.0051,
        (
            (_V * _C / (12 * _BLOCK), "That is in proportion to the blocks. Asked is the share of all parameters."),
            (1 - _V * _C / _ALL, "That is the share of all the rest."),
            (_V / _ALL, "Each word has a row of 768 numbers, and asked are the words, not the positions."),
        ),
    ),
    Item(
        "chosen",
        0,
        (
            (77, "That is 15 % of all 512. Three of them are special, and these are never chosen."),
            (61, "These are the ones that become [MASK]. Chosen are more."),
            (8, "That is one of the tenths."),
            (433, "These are the ones that are not chosen."),
            (436, "These are the ones that are not chosen, special tokens among them."),
            (509, "These are all ordinary tokens. Not all are chosen."),
        ),
    ),
    Item(
        "shown_as_mask",
        0.0051,
        (
            (0.15, "That many are chosen. Not all of them become [MASK]."),
            (0.8, "That is the share of the chosen ones. Of all tokens it is less."),
            (0.95, "Shares of shares multiply."),
            (0.1, "That is the share of the chosen ones that become random, or stay."),
            (0.015, "That is how many become random, or are chosen and stay."),
            (0.135, "So many are no longer what they were. A random token is not [MASK]."),
        ),
    ),
    Item(
        "masks_later",
        0,
        (
            (1, "Nobody hides a word of a text that is to be classified. (That is why some chosen words are not hidden in pre-training.)"),
            (15, "Masking belongs to pre-training. What hides words when a text is to be classified?"),
            (12, "Masking belongs to pre-training. What hides words when a text is to be classified?"),
            (18, "Masking belongs to pre-training. What hides words when a text is to be classified?"),
            (19, "Masking belongs to pre-training. What hides words when a text is to be classified?"),
            (127, "[CLS] is another token than [MASK]."),
            (128, "A text without any word would be hard to classify."),
        ),
    ),
    Item(
        "pairs_right",
        0.0051,
        (
            (0, "Whatever it says to all pairs, it says to some of them rightly. How many are of class 1?"),
            (1, "Why should it learn to say 0? Nothing in its loss asks it to."),
            (0.25, "It does not guess: one answer costs it nothing, whatever the pair. How many pairs is that answer right for?"),
            (0.75, "It does not guess: one answer costs it nothing, whatever the pair. How many pairs is that answer right for?"),
        ),
    ),
    Item(
        "better_model",
        0,
        (("yes", "Were both asked the same? Count what each of them had read when it was asked for that word."),),
    ),
    Item(
        "texts_read",
        0,
        (
            (1, "One reading is what a masked model needs. One that reads left to right has not seen what comes behind when it guesses."),
            (2, "What comes behind the blank is scored with a candidate in it. How many candidates are there?"),
            (8100, "One blank is to be filled, with one word."),
            (180, "Each text is read once: every place's log-probability comes with it."),
            (89, "Each candidate has to be compared, the last one, too."),
            (91, "The text with the blank in it need not be read."),
        ),
    ),
)


EXERCISE = Exercise(
    "7.4",
    "Count before you train",
    "predict",
    3,
    15,
    "say what both directions buy, beside counting and a one-sided model",
    (
        Property("bert_parameters", "the parameters of BERT-base"),
        Property("share_of_words", "the share of them that is the table of words"),
        Property("chosen", "how many of 512 tokens are chosen"),
        Property("shown_as_mask", "the share of ordinary tokens that is shown as [MASK]"),
        Property("masks_later", "how many [MASK] a classified text holds"),
        Property("pairs_right", "what is right if class 0 never counts"),
        Property("better_model", "whether nats at a blank and nats of the next word compare models"),
        Property("texts_read", "what a left-to-right model reads to fill a blank"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
