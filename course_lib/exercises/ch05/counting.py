"""Exercise 5.6, predict the parameters of the paper's base model, part by part."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from course_lib.attention import MultiHeadAttention
from course_lib.blocks import Block, DecoderBlock, FeedForward, PostNorm
from course_lib.exercises.predicting import Item, PredictionExaminer, Said
from course_lib.exercises.spec import Case, Exercise, Property


def reference(d_model: int, n_heads: int, d_ff: int, n_layers: int, vocab: int) -> dict[str, int]:
    """The answers of 5.6, counted on the course's own parts, built without memory."""
    with torch.device("meta"):
        encoder = _count(Block(d_model, n_heads, d_ff, residual=PostNorm))
        decoder = _count(DecoderBlock(d_model, n_heads, d_ff, residual=PostNorm))
        attention, feed_forward = _count(MultiHeadAttention(d_model, n_heads)), _count(FeedForward(d_model, d_ff))
    stacks, matrix = n_layers * (encoder + decoder), vocab * d_model
    return {
        "attention": attention,
        "feed_forward": feed_forward,
        "encoder_block": encoder,
        "decoder_block": decoder,
        "shared": stacks + matrix,
        "three_matrices": stacks + 3 * matrix,
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def draw(rng: np.random.Generator) -> list[Case]:
    return [Case("", {"d_model": 512, "n_heads": 8, "d_ff": 2048, "n_layers": 6, "vocab": 37_000})]


_C, _F, _N, _V = 512, 2048, 6, 37_000
_ATTENTION, _FEED, _NORM = 4 * (_C * _C + _C), 2 * _C * _F + _F + _C, 2 * _C
_ENCODER, _DECODER = _ATTENTION + _FEED + 2 * _NORM, 2 * _ATTENTION + _FEED + 3 * _NORM
_STACKS, _MATRIX = _N * (_ENCODER + _DECODER), _V * _C
_WEIGHTS = 4 * _C * _C, 2 * _C * _F  # of attention and feed-forward, without biases
_NO_BIAS = "The biases are missing: every linear layer has one number more for each of its outputs."
_NO_OUTPUT_BIAS = (
    "The bias of an output map is missing. Which linear layers have no bias? Only the last one of the model, that "
    "scores the vocabulary."
)
_NO_NORM = "The norms are missing: each has a gain and a bias for every one of its 512 numbers."
_NO_GAIN = "A norm has a gain and a bias, 512 numbers each."
_HEADS = "Heads do not multiply: each of the 8 has maps to 64 numbers, and together they are maps to 512."


def _whole(encoder: int, decoder: int, matrices: int = 1) -> int:
    return _N * (encoder + decoder) + matrices * _MATRIX


def _or_output_bias(message: str) -> Callable[[Said], str]:
    """A message to a number that missing biases of output maps give as well, if they were missing before."""
    return lambda said: _NO_OUTPUT_BIAS if _NO_OUTPUT_BIAS in said.values() else message


ITEMS = (
    Item(
        "attention",
        0,
        (
            (_WEIGHTS[0], _NO_BIAS),
            (8 * _ATTENTION, _HEADS),
            (8 * _WEIGHTS[0], _HEADS),
            (3 * (_C * _C + _C), "That is queries, keys and values. The heads' output goes through a map, too."),
            (3 * _C * _C, "That is queries, keys and values. The heads' output goes through a map, too."),
            (_ATTENTION + _NORM, "The norm is not part of the layer; it comes with the block."),
            (_ATTENTION - _C, _NO_OUTPUT_BIAS),
            (_C * _C + _C, "That is one map; queries, keys, values and output have one each."),
            (
                4 * (_C * 64 + 64),
                "That is one head, with an output map of its own. There are 8 heads, and the output map reads them all.",
            ),
        ),
    ),
    Item(
        "feed_forward",
        0,
        (
            (_WEIGHTS[1], _NO_BIAS),
            (_C * _F + _F, "That is the way up, from 512 to 2048. There is one down again."),
            (_C * _F, "That is the way up, from 512 to 2048. There is one down again, and both have biases."),
            (_WEIGHTS[1] + 2 * _F, "The second bias has as many numbers as that layer has outputs: 512."),
            (_WEIGHTS[1] + 2 * _C, "The first bias has as many numbers as that layer has outputs: 2048."),
            (_WEIGHTS[1] + _F, _NO_OUTPUT_BIAS),
            (_WEIGHTS[1] + _C, "One of the two biases is missing."),
            (_FEED + _NORM, "The norm is not part of the layer; it comes with the block."),
            (_C * _F + _F * _F + 2 * _F, "The second layer leads from 2048 back to 512."),
        ),
    ),
    Item(
        "encoder_block",
        0,
        (
            (_ATTENTION + _FEED, _NO_NORM),
            (
                _ATTENTION + _FEED + _NORM,
                _or_output_bias(
                    "That is one norm with gain and bias, or two without biases: both parts of the block have one, "
                    "with both."
                ),
            ),
            (_ENCODER - _C, _NO_OUTPUT_BIAS),
            (_ATTENTION + _FEED + 3 * _NORM, "That is one norm too many: the block has two parts."),
            (sum(_WEIGHTS), "Biases and norms are missing."),
            (sum(_WEIGHTS) + 2 * _NORM, _NO_BIAS),
            (_DECODER, "That is a block with cross-attention, one of the decoder's."),
            (_N * _ENCODER, "That is the whole encoder of 6 blocks; asked is one."),
            (8 * _ATTENTION + _FEED + 2 * _NORM, _HEADS),
        ),
    ),
    Item(
        "decoder_block",
        0,
        (
            (_ENCODER, "Cross-attention is missing: a decoder block has two attention layers, and three norms."),
            (
                2 * _ATTENTION + _FEED + 2 * _NORM,
                _or_output_bias("Cross-attention is a part like the others, with a norm of its own."),
            ),
            (2 * _ATTENTION + _FEED, _NO_NORM),
            (2 * _ATTENTION + _FEED + 3 * _C, _or_output_bias(_NO_GAIN)),
            (2 * _WEIGHTS[0] + _WEIGHTS[1], "Biases and norms are missing."),
            (2 * _WEIGHTS[0] + _WEIGHTS[1] + 3 * _NORM, _NO_BIAS),
            (_ATTENTION + _FEED + 3 * _NORM, "The norms are three, but cross-attention itself is missing."),
            (
                _ATTENTION + 2 * (_C * _C + _C) + _FEED + 3 * _NORM,
                "Cross-attention has maps of its own for keys and values, too, though they read the encoder's memory.",
            ),
            (_N * _DECODER, "That is the whole decoder of 6 blocks; asked is one."),
        ),
    ),
    Item(
        "shared",
        0,
        (
            (_whole(_ENCODER, _DECODER, 3), "Here one matrix of 37000 · 512 reads both languages and scores the output."),
            (
                _whole(_ENCODER, _DECODER, 2),
                "One matrix serves three times: it reads the source, reads the target and scores the output.",
            ),
            (_STACKS, "The embedding matrix is missing."),
            (_whole(_ENCODER, _ENCODER), "The decoder's blocks are larger: they have cross-attention."),
            (_whole(sum(_WEIGHTS), _WEIGHTS[0] + sum(_WEIGHTS)), "Biases and norms are missing."),
            (_whole(_ATTENTION + _FEED, 2 * _ATTENTION + _FEED), _NO_NORM),
            (_whole(sum(_WEIGHTS) + 2 * _NORM, _WEIGHTS[0] + sum(_WEIGHTS) + 3 * _NORM), _NO_BIAS),
            (_whole(_ENCODER - _C, _DECODER - 2 * _C), _NO_OUTPUT_BIAS),
            (_whole(_ENCODER - 2 * _C, _DECODER - 3 * _C), _or_output_bias(_NO_GAIN)),
            (
                _whole(_ENCODER, _DECODER) + 2 * _NORM,
                "A norm at the end of each stack is what pre-norm needs; post-norm blocks end in one already.",
            ),
            (_whole(_ENCODER, _DECODER) + _V, "The output has no bias here."),
            (_ENCODER + _DECODER + _MATRIX, "There are 6 blocks on either side."),
            (
                _whole(_ENCODER, _DECODER) + 512 * _C,
                "Sinusoids are computed, not learned: positions bring no parameters.",
            ),
            (65_000_000, "That is what Table 3 prints. Count: the table's vocabulary was not quite 37000."),
        ),
    ),
    Item(
        "three_matrices",
        0,
        (
            (_whole(_ENCODER, _DECODER), "That is with one shared matrix. Asked is one for each of the three jobs."),
            (_whole(_ENCODER, _DECODER, 2), "That is two matrices. The output has one of its own now, too."),
            (_STACKS, "The three matrices are missing."),
            (_whole(_ENCODER, _ENCODER, 3), "The decoder's blocks are larger: they have cross-attention."),
            (_whole(sum(_WEIGHTS), _WEIGHTS[0] + sum(_WEIGHTS), 3), "Biases and norms are missing."),
            (_whole(_ATTENTION + _FEED, 2 * _ATTENTION + _FEED, 3), _NO_NORM),
            (_whole(sum(_WEIGHTS) + 2 * _NORM, _WEIGHTS[0] + sum(_WEIGHTS) + 3 * _NORM, 3), _NO_BIAS),
            (_whole(_ENCODER - _C, _DECODER - 2 * _C, 3), _NO_OUTPUT_BIAS),
            (_whole(_ENCODER - 2 * _C, _DECODER - 3 * _C, 3), _or_output_bias(_NO_GAIN)),
            (_whole(_ENCODER, _DECODER, 3) + _V, "The output has no bias here."),
        ),
    ),
)


EXERCISE = Exercise(
    "5.6",
    "65 million",
    "predict",
    3,
    12,
    "count parameters",
    (
        Property("attention", "one attention layer"),
        Property("feed_forward", "one position-wise network"),
        Property("encoder_block", "one block of the encoder"),
        Property("decoder_block", "one block of the decoder"),
        Property("shared", "the whole model, one embedding matrix for everything"),
        Property("three_matrices", "the whole model, three matrices"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
