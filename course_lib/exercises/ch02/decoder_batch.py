"""Exercise 2.3, what a decoder reads and what it has to say: a planted bug in the shift."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.data.batching import collate_pairs
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference
from course_lib.exercises.spec import Case, Exercise, Property


def reference(targets: list[list[int]], bos: int, eos: int, pad: int) -> tuple[Tensor, Tensor, Tensor]:
    """The expected value of 2.3, by the course's collate_pairs."""
    batch = collate_pairs([([0], row) for row in targets], bos_id=bos, eos_id=eos, pad_id=pad)
    return batch.target_in, batch.target_out, batch.target_mask


def _batch_case(
    rng: np.random.Generator,
    group: str,
    lengths: Sequence[int],
    note: str = "",
    special: Sequence[int] = (2, 3, 0),
) -> Case:
    rows = [[int(i) for i in rng.integers(10, 90, n)] for n in lengths]
    return Case(group, {"targets": rows, "bos": special[0], "eos": special[1], "pad": special[2]}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    lengths = [int(n) for n in rng.permutation((2, 4, 5))]
    return [
        _batch_case(rng, "shift", (3, 3), "sentences of the same length"),
        _batch_case(rng, "ragged", lengths),
        _batch_case(rng, "hard", (1,), "one sentence of one word"),
        _batch_case(rng, "hard", (4, 1), "other special ids", (95, 91, 93)),
        _batch_case(rng, "hard", (2, 3), "pad and eos are the same id", (1, 2, 2)),
    ]


def _batch_differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but where nothing is asked the decoder may read <pad>, <eos> or <bos>."""
    target_in, target_out, mask = got
    free = ~expected[2].astype(bool)
    special = [case.args[name] for name in ("bos", "eos", "pad")]
    if target_in.shape == expected[0].shape:
        target_in = np.where(free & np.isin(target_in, special), expected[0], target_in)
    return difference(names, (target_in, target_out, mask), expected)


def _rows(rows: Sequence[Sequence[int]], pad: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])


def _batch_with(
    first: Callable[..., list[int]], second: Callable[..., list[int]], short: int = 0
) -> Callable:
    """A wrong batch: first(row, bos, eos) in, second(row, bos, eos) out; the mask is `short` tokens short."""

    def make(targets, bos, eos, pad):
        out = [second(row, bos, eos) for row in targets]
        mask = _rows([[1] * (len(row) - short) + [0] * short for row in out], 0).bool()
        return _rows([first(row, bos, eos) for row in targets], pad), _rows(out, pad), mask

    return make


def _padded_with_0(targets, bos, eos, pad):
    return reference(targets, bos, eos, 0)


def _padded_left(targets, bos, eos, pad):
    def left(rows: list[list[int]], fill: int) -> Tensor:
        return _rows([row[::-1] for row in rows], fill).flip(1)

    target_in, target_out = [[bos, *row] for row in targets], [[*row, eos] for row in targets]
    return left(target_in, pad), left(target_out, pad), left([[1] * len(row) for row in target_in], 0).bool()


def _mask_turned(targets, bos, eos, pad):
    target_in, target_out, mask = reference(targets, bos, eos, pad)
    return target_in, target_out, ~mask


def _eos_after_padding(targets, bos, eos, pad):
    target_in, _, mask = reference(targets, bos, eos, pad)
    words = _rows(targets, pad)
    return target_in, torch.cat([words, torch.full_like(words[:, :1], eos)], dim=1), mask


def _mask_by_id(targets, bos, eos, pad):
    target_in, target_out, _ = reference(targets, bos, eos, pad)
    return target_in, target_out, target_out != pad


def _unshifted_message(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: the symptom in numbers; the cure is the student's."""
    return (
        f"Input and output are the same: at step 0 the decoder reads {int(got[0][0, 0])} and has to "
        f"say {int(got[1][0, 0])}. It only learns to copy, so the loss goes to 0, and running free it "
        "has nothing to copy."
    )


WRONGS = (
    Wrong(
        "input not shifted",
        _batch_with(lambda row, b, e: [*row, e], lambda row, b, e: [*row, e]),
        _unshifted_message,
    ),
    Wrong(
        "input not shifted, with <bos>",
        _batch_with(lambda row, b, e: [b, *row, e], lambda row, b, e: [b, *row, e]),
        _unshifted_message,
    ),
    Wrong(
        "shifted the wrong way",
        _batch_with(lambda row, b, e: [*row, e], lambda row, b, e: [b, *row]),
        "The shift goes the wrong way: your decoder reads a word and has to say the one before it. "
        "The input starts with <bos>, the output ends with <eos>.",
    ),
    Wrong(
        "<eos> missing",
        _batch_with(lambda row, b, e: [b, *row[:-1]], lambda row, b, e: row),
        "The output never holds <eos>, so the model never learns to stop.",
    ),
    Wrong(
        "<eos> missing, padded",
        _batch_with(lambda row, b, e: [b, *row], lambda row, b, e: row),
        "The output never holds <eos>, so the model never learns to stop; it also has one step fewer "
        "than the input.",
    ),
    Wrong(
        "<bos> in the output",
        _batch_with(lambda row, b, e: [b, *row, e], lambda row, b, e: [*row, e]),
        "Your input still holds <eos> and has one step more than the output: after <eos> nothing is left "
        "to say.",
    ),
    Wrong(
        "<eos> after the padding",
        _eos_after_padding,
        "In short rows <eos> stands after the padding. It belongs right behind the last word; append it, "
        "then pad.",
    ),
    Wrong(
        "mask turned round",
        _mask_turned,
        "The mask is turned round: True is where target_out is real, a word or <eos>.",
    ),
    Wrong(
        "padded with 0",
        _padded_with_0,
        "You pad with 0. Which id <pad> has is for the argument pad to say.",
    ),
    Wrong(
        "padded on the left",
        _padded_left,
        "You pad on the left. A sentence starts at step 0, and the padding comes after it.",
    ),
    Wrong(
        "mask drops <eos>",
        _batch_with(lambda row, b, e: [b, *row], lambda row, b, e: [*row, e], short=1),
        "Your mask leaves <eos> out, so stopping is never trained and the model runs on.",
    ),
    Wrong(
        "mask from the ids",
        _mask_by_id,
        "Your mask is output != pad. Where <pad> and <eos> are the same id it drops <eos>, and the model "
        "never stops: make the mask from the lengths.",
    ),
)


EXERCISE = Exercise(
    "2.3",
    "Too good to be true",
    "debug",
    2,
    10,
    "tell teacher forcing from free running",
    (
        Property("shift", "what the decoder reads and has to say"),
        Property("ragged", "<eos> and mask in sentences of different lengths"),
        Property("hard", "one word, other special ids, pad = eos"),
    ),
    draw,
    ArrayExaminer(
        ("target_in", "target_out", "mask"),
        WRONGS,
        _batch_differs,
        kinds={"target_in": "int64", "target_out": "int64", "mask": "bool"},
    ),
    reference,
)
