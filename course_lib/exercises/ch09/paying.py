"""Exercise 9.4, predict what GPT-2 and its cache cost, and what decoding can and cannot do."""

import math

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.metrics import perplexity
from course_lib.models.gpt import GPT2, GPTConfig


def parameters(config: GPTConfig) -> int:
    """The parameters of a GPT with biases, learned positions, layer norms and tied embeddings, from its sizes."""
    width, hidden = config.d_model, config.d_ff
    attention, feed_forward, norm = 4 * (width * width + width), 2 * width * hidden + hidden + width, 2 * width
    block = attention + feed_forward + 2 * norm
    return (config.vocab_size + config.max_len) * width + config.n_layers * block + norm


def cache_bytes(config: GPTConfig, words: int, bytes_per_number: int, kv_heads: int) -> int:
    """Keys and values of all words, in all layers."""
    return 2 * config.n_layers * words * kv_heads * (config.d_model // config.n_heads) * bytes_per_number


def reference(model: str, words: int, bytes_per_number: int, kv_heads: int, said: int, vocabulary: int) -> dict[str, str | float]:
    """The answers of 9.4, from the sizes of a GPT-2.

    A cache holds what would be computed again: in exact arithmetic the scores are the same, and so is every choice. The word that is
    best now may lead to words that are all unlikely, so that choosing it each time need not end at the most probable text.
    """
    config = GPT2[model]
    return {
        "gpt2_parameters": parameters(config),
        "gpt2_untied_extra": config.vocab_size * config.d_model,
        "cache_bytes": cache_bytes(config, words, bytes_per_number, config.n_heads),
        "cache_bytes_grouped": cache_bytes(config, words, bytes_per_number, kv_heads),
        "reads_without_cache": said * (said + 1) // 2,
        "reads_with_cache": said,
        "same_text": "no",
        "greedy_best": "no",
        "perplexity_uniform": perplexity(math.log(vocabulary), 1),
    }


def draw(rng: np.random.Generator) -> list[Case]:
    asked = {"model": "gpt2", "words": 1024, "bytes_per_number": 2, "kv_heads": 4, "said": 100, "vocabulary": 90}
    return [Case("", asked)]


_V, _C, _F, _N, _L = 50_257, 768, 3072, 12, 1024
_ALL = parameters(GPT2["gpt2"])
_BLOCK = 12 * _C * _C + 13 * _C
_CACHE = cache_bytes(GPT2["gpt2"], _L, 2, 12)
_NO_BIAS = "The biases are missing: every linear layer but the output has one number more for each of its outputs."
_NO_NORM = "Norms are missing: two in each block, and one at the end, with gain and bias."
_TWICE = "One factor of 2 is missing. Keys and values are both kept, and a number of float16 has two bytes."
_FOUR_TIMES = "Two factors of 2 are missing: keys and values are both kept, and a number of float16 has two bytes."
_TWELVE = "A factor of 12 is missing: there are 12 layers, and 12 heads of 64 numbers in each."
_HEADS = "768 is all 12 heads together. They do not multiply once more."
_MIB = "That is in MiB, 1024 · 1024 bytes. Asked for are bytes."
_SPEAKS = "Before each word that is said, the model reads the whole text so far, the prompt included."
ITEMS = (
    Item(
        "gpt2_parameters",
        0,
        (
            (117_000_000, "That is what the paper prints, and it is not what its model has. Count."),
            (124, "Give the whole number, not millions."),
            (124_000_000, "That is rounded. Give the whole number."),
            (_ALL + _V * _C, "One matrix reads the words and scores them; it is counted once."),
            (_ALL - _L * _C, "The positions are missing. They are learned here, a vector for each of 1024 places."),
            (_ALL - _V * _C, "The matrix of the words is missing."),
            (_ALL - (_V + _L) * _C, "That is without words and positions: each word and each place has a vector, too."),
            (_N * _BLOCK, "These are the blocks. Words and positions have vectors, and a norm is at the end."),
            (_ALL - 2 * _C, "A norm is missing: pre-norm blocks need one more at the end."),
            (_ALL - 2 * _C - _N * 4 * _C, _NO_NORM),
            (_ALL - _N * 4 * _C, "The norms of the blocks are missing, two in each."),
            (_ALL - _N * 9 * _C, _NO_BIAS),
            (_ALL - _N * 13 * _C - 2 * _C, "Biases and norms are missing."),
            (_ALL - _N * 2 * _C, "A block has two norms, one before each of its parts."),
            (_ALL + _V, "The output has no bias."),
            (_ALL + _N * (4 * (_C * _C + _C) + 2 * _C), "There is no cross-attention: GPT has nobody else to look at."),
            (_ALL - (_N - 1) * _BLOCK, "There are 12 blocks."),
        ),
    ),
    Item(
        "gpt2_untied_extra",
        0,
        (
            (0, "An output layer of its own has a matrix of its own: a row for each word."),
            (_V * _C + _V, "The output layer has no bias."),
            (_ALL + _V * _C, "That is the whole model. Asked is what is added."),
            (_ALL, "That is the whole model. Asked is what is added."),
            (2 * _V * _C, "That is both matrices. One of them was there before."),
            (_V * _L, "A row of the matrix is as long as the model is wide, not as long as its window."),
            (_V * _F, "The output reads what comes out of a block, not what is inside its feed-forward network."),
            (_C * _C, "The output scores words: it has a row for each."),
            (_V, "That is one number for each word. Each is scored by a row of numbers."),
        ),
    ),
    Item(
        "cache_bytes",
        0,
        (
            (_CACHE // 2, _TWICE),
            (_CACHE // 4, _FOUR_TIMES),
            (2 * _CACHE, "Numbers of float32 have four bytes. These are float16."),
            (_CACHE // 12, _TWELVE),
            (_CACHE // 24, f"{_TWELVE} And so is one of 2."),
            (_CACHE // 144, "That is one head of one layer."),
            (12 * _CACHE, _HEADS),
            (_CACHE // 2 * 3, "Queries are not kept: each is asked once."),
            (8 * _CACHE, "These are bits, or else the weights of attention, which no cache keeps. Asked are the bytes of keys and values."),
            (_CACHE // _L, "That is what one word takes. There are 1024."),
            (36, _MIB),
            (2 * _ALL, "These are the parameters. What a cache holds grows with the text."),
        ),
    ),
    Item(
        "cache_bytes_grouped",
        0,
        (
            (_CACHE, "With fewer heads there are fewer keys and values to keep: a head does not become wider, it has 64 numbers."),
            (_CACHE // 4, "That is 3 heads. Asked is how many are kept, not how many share one."),
            (_CACHE // 3 * 2, "Keys and values both become fewer, and a number of float16 has two bytes."),
            (_CACHE // 12, "That is one head for keys and values. There are 4."),
            (_CACHE // 6, _TWICE),
            (_CACHE // 36, _TWELVE),
            (4 * _CACHE, "Each of the 4 heads has 64 numbers, not 768."),
            (12, _MIB),
        ),
    ),
    Item(
        "reads_without_cache",
        0,
        (
            (100, "That is with a cache. Without one nothing is left of what was read for the word before."),
            (101, f"That is each word once. {_SPEAKS}"),
            (10_000, "The text is not 100 words long from the start: it grows by a word at a time."),
            (5_000, "That is half of 100 · 100. Add up exactly: how many words are read for the first word, how many for the last?"),
            (4_950, f"That is without the prompt. {_SPEAKS}"),
            (5_151, "The last word that is said is never read: nothing is said after it."),
            (5_150, "For the first word one word is read, the prompt."),
            (199, _SPEAKS),
        ),
    ),
    Item(
        "reads_with_cache",
        0,
        (
            (5_050, "That is without a cache. With one no word is read twice."),
            (101, "The last word that is said is never read: nothing is said after it."),
            (99, "The prompt has to be read, too."),
            (1, "The model reads a word for each word that it says."),
            (10_000, "With a cache a word is read once. It looks at all before it, but these are not read again."),
            (200, "A word that is said is read once, not twice."),
        ),
    ),
    Item(
        "same_text",
        0,
        (
            (
                "yes",
                "What is in the cache, and what would be computed if it were not there? Under a causal mask, can a later word change it?",
            ),
        ),
    ),
    Item(
        "greedy_best",
        0,
        (("yes", "The best first word may lead to many words that are all unlikely. Draw a tree with two words at its first branch."),),
    ),
    Item(
        "perplexity_uniform",
        0.0051,
        (
            (math.log(90), "These are nats for each word. Perplexity is their exponential."),
            (math.log2(90), "These are bits for each word. Perplexity is among how many words the model hesitates."),
            (1 / 90, "That is what it gives each word. Perplexity is among how many words it hesitates."),
            (1, "A perplexity of 1 has who knows every word in advance."),
            (45, "On average it would have to guess half of them, one by one. Perplexity counts otherwise: exp of the nats it loses."),
            (89, "All words are possible, the right one among them."),
            (0, "Perplexity is never below 1: no model hesitates among fewer words."),
        ),
    ),
)


EXERCISE = Exercise(
    "9.4",
    "Before you pay",
    "predict",
    3,
    15,
    "judge a language model against counting and against the truth",
    (
        Property("gpt2_parameters", "the parameters of GPT-2 small"),
        Property("gpt2_untied_extra", "what an output layer of its own would add"),
        Property("cache_bytes", "the bytes of a full cache"),
        Property("cache_bytes_grouped", "the same with fewer heads for keys and values"),
        Property("reads_without_cache", "words that pass through the model without a cache"),
        Property("reads_with_cache", "and with one"),
        Property("same_text", "whether a cache changes the text"),
        Property("greedy_best", "whether the best word each time makes the best text"),
        Property("perplexity_uniform", "the perplexity of knowing nothing"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
