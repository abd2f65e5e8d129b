"""Exercise 12.5, predict what LoRA trains, what packing saves, what the loss counts, and how sure eighty of a hundred is."""

import math

import numpy as np

from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.models.gpt import GPT2

GPT2_PARAMETERS = 124_439_808       # counted in exercise 9.4
Z = 1.96                            # 95 % of a normal distribution lie within so many standard deviations


def lora_weights(model: str, rank: int, projections: int) -> int:
    """A (rank, d) and B (d, rank) beside so many square projections in every layer."""
    config = GPT2[model]
    return config.n_layers * projections * rank * 2 * config.d_model


def rows_needed(lengths: list[int], room: int) -> int:
    """The fewest rows of `room` places that hold all, tried one by one."""
    for rows in range(1, len(lengths) + 1):
        if _fits(sorted(lengths, reverse=True), [room] * rows):
            return rows
    raise ValueError(f"lengths: got {max(lengths)}, expected at most {room}")


def _fits(lengths: list[int], left: list[int]) -> bool:
    if not lengths:
        return True
    first, *others = lengths
    return any(_fits(others, [*left[:k], free - first, *left[k + 1 :]]) for k, free in enumerate(left) if first <= free)


def reference(model: str, rank: int, projections: int, lengths: list[int], room: int, turns: list[tuple[str, int]], right: int,
              asked: int) -> dict[str, float]:
    """The answers of 12.5. With B = 0 the side road adds nothing: the first loss is that of the model as it was."""
    weights, real = lora_weights(model, rank, projections), sum(lengths)
    p = right / asked
    return {
        "lora_parameters": weights,
        "lora_per_mille": 1000 * weights / GPT2_PARAMETERS,
        "padding_alone": 1 - real / (len(lengths) * max(lengths)),
        "padding_packed": 1 - real / (rows_needed(lengths, room) * room),
        "counted": sum(words + 1 for role, words in turns if role == "assistant"),
        "first_loss_difference": 0,
        "half_width": Z * math.sqrt(p * (1 - p) / asked),
    }


LENGTHS, ROOM = [120, 40, 15, 65, 10, 50], 128
TURNS = [("user", 4), ("assistant", 3), ("user", 2), ("assistant", 2)]


def draw(rng: np.random.Generator) -> list[Case]:
    asked = {"model": "gpt2", "rank": 8, "projections": 2, "lengths": LENGTHS, "room": ROOM, "turns": TURNS, "right": 80, "asked": 100}
    return [Case("", asked)]


_L = lora_weights("gpt2", 8, 2)
_SHARE = 1000 * _L / GPT2_PARAMETERS
_REAL = sum(LENGTHS)
_MILLE = "Per mille: of a thousand weights, so many."
_PADDING = "Padding is what is left over, of all places."
ITEMS = (
    Item(
        "lora_parameters",
        0,
        (
            (_L // 2, "A factor of 2 is missing: there are A and B, beside the queries and beside the values."),
            (_L // 4, "Two factors of 2 are missing: there are A and B, beside the queries and beside the values."),
            (_L // 12, "That is one layer. There are 12."),
            (_L * 2, "That is four projections in each layer, or rank 16. Two are adapted, with rank 8."),
            (_L // 2 * 3, "That is three projections in each layer: the keys have no side road."),
            (12 * 2 * 768 * 768, "These are the projections themselves. They stay as they are; A and B are counted."),
            (12 * 2 * (768 * 768 + 768), "These are the projections themselves. They stay as they are; A and B are counted."),
            (12 * 2 * (768 * 768 + 768) + _L, "The projections stay as they are. Only A and B are trained."),
            (12 * 2 * 8 * 768 * 8, "A has 8 rows of 768, B has 768 rows of 8. 8 is in each of them once."),
            (_L + 12 * 2 * (768 + 8), "A and B have no biases."),
            (_L + 12 * 2 * 768, "A and B have no biases."),
            (12 * 2 * 8 * 8, "A and B lead from 768 to 8, and back."),
            (12 * _L, "768 is all 12 heads together. They do not multiply once more."),
        ),
    ),
    Item(
        "lora_per_mille",
        0.0051,
        (
            (_SHARE / 10, f"That is in per cent. {_MILLE}"),
            (_SHARE / 1000, f"That is a share between 0 and 1. {_MILLE}"),
            (1000 * _L / (GPT2_PARAMETERS - 50_257 * 768), "That is of the model without its words. Asked is of all its weights."),
            (1000 * _L / 85_054_464, "That is of the blocks alone. Asked is of all its weights."),
            (1000 / _SHARE, "That is how many times the side roads fit into the model. Asked is their share."),
            (1000 * _L / 117_000_000, "117 million is what the paper printed. Exercise 9.4 counted another number."),
        ),
    ),
    Item(
        "padding_alone",
        0.0051,
        (
            (_REAL / (len(LENGTHS) * max(LENGTHS)), f"That is the share of real words. {_PADDING}"),
            (1 - _REAL / (len(LENGTHS) * ROOM), "That is with rows of 128. Alone, the batch is as wide as its longest conversation."),
            (len(LENGTHS) * max(LENGTHS) - _REAL, "That is how many places. Asked is their share."),
            ((len(LENGTHS) * max(LENGTHS) - _REAL) / _REAL, f"That is padding for each real word. {_PADDING}"),
            (0, "Six conversations of different lengths make a rectangle. What fills it?"),
        ),
    ),
    Item(
        "padding_packed",
        0.0051,
        (
            (_REAL / 384, f"That is the share of real words. {_PADDING}"),
            (1 - _REAL / 512, "That is with four rows. It can be done in fewer."),
            (1 - _REAL / 640, "That is with five rows. It can be done in fewer."),
            (1 - _REAL / 768, "That is a row for each. Several fit into one."),
            (1 - _REAL / 360, "The rows have 128 places, also where 120 are used."),
            (384 - _REAL, "That is how many places. Asked is their share."),
            ((384 - _REAL) / _REAL, f"That is padding for each real word. {_PADDING}"),
            (0, "300 words do not fill whole rows of 128."),
        ),
    ),
    Item(
        "counted",
        0,
        (
            (5, "These are the assistant's words. What tells it to stop?"),
            (6, "One <end> of the assistant's is missing: it closes two turns."),
            (9, "The role tokens are not the assistant's to say."),
            (3, "That is the last turn alone, with its end. All turns of the assistant count."),
            (2, "These are the words of the last turn. All turns of the assistant count, with their ends."),
            (4, "That is the first turn alone. All turns of the assistant count."),
            (10, "The user's words, with their ends, and the tokens around: which of them does the assistant say?"),
            (8, "These are the user's words with their ends. The assistant's count."),
            (11, "These are all the words of both. The user's do not count, and the assistant's ends do."),
            (15, "The user's words and ends do not count."),
            (20, "That is everything. The assistant is not to learn to ask."),
            (19, "That is everything that is guessed. The assistant is not to learn to ask."),
        ),
    ),
    Item(
        "first_loss_difference",
        0.0051,
        (
            (math.log(50_257), "That is the loss of a model that knows nothing. This one knows what it knew: what does B A x add?"),
            (1, "What does B A x add, when B is 0?"),
        ),
    ),
    Item(
        "half_width",
        0.0051,
        (
            (math.sqrt(0.8 * 0.2 / 100), "That is one standard error. 95 % lie within about two."),
            (2 * Z * math.sqrt(0.8 * 0.2 / 100), "That is the whole width. Asked is half of it."),
            (0.8 * 0.2 / 100, "That is the variance. Its root is the standard error."),
            (Z * math.sqrt(0.25 / 100), "That is for 50 of 100, the widest there is. For 80 it is narrower."),
            (0.4, "That is the deviation of one answer. A mean of 100 deviates less."),
            (Z * 0.4, "That is for a single answer. A mean of 100 deviates less."),
            (0.05, "5 % is how often such an interval misses. How wide is it?"),
            (0.95, "95 % is how often such an interval is right. How wide is it?"),
            (0.2, "That is the share of wrong answers."),
            (0.8, "That is the share itself. By how much may it be off?"),
        ),
    ),
)


EXERCISE = Exercise(
    "12.5",
    "Count before you tune",
    "predict",
    2,
    12,
    "fine-tune a thousandth of the weights, and count them; judge an assistant, and the demonstrations it learned from",
    (
        Property("lora_parameters", "the weights of the side roads"),
        Property("lora_per_mille", "their share of the model"),
        Property("padding_alone", "padding with a row for each conversation"),
        Property("padding_packed", "and with several in a row"),
        Property("counted", "how many ids the loss counts"),
        Property("first_loss_difference", "what the side roads change before the first step"),
        Property("half_width", "how sure 80 of 100 is"),
    ),
    draw,
    PredictionExaminer(ITEMS),
    reference,
)
