"""Exercise 7.2, the nats of a masked language model on its blanks: a planted mean that comes before the mask."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.losses import token_cross_entropy

LARGE = "logits of size 200"


def reference(logits: Tensor, targets: Tensor, chosen: Tensor) -> Tensor:
    """The expected value of 7.2, by the course's token_cross_entropy on the chosen places."""
    total, count = token_cross_entropy(logits, targets, chosen)
    return total / count


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, blanks: list[int], sizes: tuple[int, int], note: str, *, scale: float = 2.0,
          dtype: str = "float32", layout: str = "C", easy: float = 0.0) -> Case:
    """`blanks` of each row, `sizes` T and V. Right words have `easy` more: where they are shown, a model knows them."""
    length, words = sizes
    shape = (len(blanks), length)
    chosen = np.stack([rng.permutation(length) < n for n in blanks])
    targets = rng.integers(words, size=shape)
    targets[tuple(np.argwhere(chosen)[0])] = 0          # any id may be a word, 0 too
    targets[tuple(np.argwhere(~chosen)[0])] = words - 1
    logits = rng.standard_normal((*shape, words)) * scale
    logits += np.where(chosen, 0, easy)[..., None] * (np.arange(words) == targets[..., None])
    return Case(group, {"logits": np.asarray(logits, dtype, layout), "targets": targets, "chosen": chosen}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    uneven = rng.permutation([1, 2, 4]).tolist()
    broken = _case(rng, "garbage", [2, 1, 2], (7, 6), "NaN and ±∞ among the logits of places that are not chosen")
    broken.args["logits"][~broken.args["chosen"]] = np.array([np.nan, np.inf, -np.inf, 3, np.nan, -np.inf])
    return [
        _case(rng, "values", uneven, (8, 7), f"rows with {', '.join(map(str, uneven))} blanks"),
        _case(rng, "values", [1, 3], (9, 5), "rows with 1 and 3 blanks", easy=6),
        _case(rng, "values", [2, 1, 1, 2], (4, 4), "rows, places, words: all 4"),
        broken,
        _case(rng, "hard", [3, 0, 1], (5, 6), "a row without a blank"),
        _case(rng, "hard", [1], (6, 9), "one row, one blank", easy=4),
        _case(rng, "hard", [2, 5], (6, 8), "float64, not contiguous", dtype="float64", layout="F"),
        _case(rng, "hard", [1, 3], (5, 6), LARGE, scale=200),
    ]


# ---------------------------------------------------------------- mistakes

Each = Callable[[Tensor, Tensor], Tensor]       # logits, targets → a number for each place


def _nll(logits: Tensor, targets: Tensor, dim: int = -1) -> Tensor:
    return -logits.log_softmax(dim).gather(-1, targets[..., None]).squeeze(-1)


def _with(each: Each = _nll, finish: Callable[[Tensor, Tensor], Tensor] = lambda each, chosen: each[chosen].mean()) -> Callable:
    """A wrong answer: another number for each place, another way to one number for all."""
    return lambda logits, targets, chosen: finish(each(logits, targets), chosen)


def _row_means(each: Tensor, chosen: Tensor) -> Tensor:
    return torch.stack([row[some].mean() for row, some in zip(each, chosen) if some.any()]).mean()


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: what moves its number; the cure is the student's."""
    chosen = case.args["chosen"]
    return (
        f"{case.note}: {chosen.sum()} of {chosen.size} places are chosen, and your number is made of all {chosen.size}. Exchange the True "
        "and False of chosen: what changes? How many numbers are left when the mask is multiplied in?"
    )


_DIVISOR = "Divide by the number of chosen tokens, True in chosen."
WRONGS = (
    Wrong("the mask does nothing", _with(finish=lambda each, chosen: each.mean()), _planted),
    Wrong("the mask does nothing", _with(finish=lambda each, chosen: (each.mean() * chosen).sum() / chosen.sum()), _planted),
    Wrong(
        "divided by all places",
        _with(finish=lambda each, chosen: each[chosen].sum() / chosen.numel()),
        f"The sum is right, but you divide by B · T. With few blanks the loss would look small. {_DIVISOR}",
    ),
    Wrong(
        "divided by the rows",
        _with(finish=lambda each, chosen: each[chosen].sum() / len(chosen)),
        f"The sum is right, but you divide by the number of rows. {_DIVISOR}",
    ),
    Wrong(
        "mean of all over the blanks",
        _with(finish=lambda each, chosen: each.sum() / chosen.sum()),
        "The divisor is right, but you add up all places. What was shown to the model is no blank.",
    ),
    Wrong("sum", _with(finish=lambda each, chosen: each[chosen].sum()), f"You return the sum. {_DIVISOR}"),
    Wrong("mean of the rows' means", _with(finish=_row_means), "You average each row, and then the rows: a blank among few weighs more."),
    Wrong(
        "mask turned round",
        _with(finish=lambda each, chosen: each[~chosen].mean()),
        "You ask for what was shown, and for no blank: the mask is turned round.",
    ),
    Wrong(
        "0 taken for padding",
        lambda logits, targets, chosen: _nll(logits, targets)[targets != 0].mean(),
        "You count the places whose target is not 0. Which places count is for chosen to say, and id 0 is a word like others.",
    ),
    Wrong(
        "0 taken for padding",
        lambda logits, targets, chosen: _nll(logits, targets)[chosen & (targets != 0)].mean(),
        "A chosen token with the id 0 is left out. Which places count is for chosen to say alone.",
    ),
    Wrong(
        "guessed rightly already",
        _with(lambda logits, targets: (logits.argmax(-1) != targets).double()),
        "You count the blanks whose best word is not the right one. How probable the right one was is what is asked.",
    ),
    Wrong(
        "the best word's probability",
        _with(lambda logits, targets: -logits.log_softmax(-1).amax(-1)),
        "You take −log p of the word that the model likes best. What counts is the word that was hidden.",
    ),
    Wrong("softmax over the places", _with(lambda l, t: _nll(l, t, 1)), "Your softmax runs over the places (dim 1). The words compete."),
    Wrong("softmax over the rows", _with(lambda l, t: _nll(l, t, 0)), "Your softmax runs over the rows (dim 0). The words compete."),
    Wrong("softmax twice", _with(lambda l, t: _nll(l.softmax(-1), t)), "Softmax is taken twice: F.cross_entropy takes logits."),
    Wrong("raw logits", _with(lambda l, t: -l.gather(-1, t[..., None])[..., 0]), "Raw logits. log p is a logit minus the logsumexp."),
    Wrong("probabilities", _with(lambda l, t: (-_nll(l, t)).exp()), "You average probabilities. Asked for are nats, −log p."),
    Wrong("probabilities", _with(lambda l, t: 1 - (-_nll(l, t)).exp()), "You average 1 − p. Asked for are nats, −log p."),
    Wrong("wrong sign", _with(lambda l, t: -_nll(l, t)), "The sign is wrong: log p is at most 0, and nats lost are −log p."),
    Wrong("bits", _with(lambda l, t: _nll(l, t) / np.log(2)), "These are bits: your logarithm has base 2. Asked for are nats."),
    Wrong("perplexity", _with(finish=lambda each, chosen: each[chosen].mean().exp()), "You return the perplexity; asked for are its nats."),
    Wrong("not averaged", _with(finish=lambda each, chosen: each[chosen]), "You return a number for each blank. Their mean is asked for."),
    Symptom(
        "multiplied by 0",
        lambda case, got: case.group == "garbage" and bool(np.isnan(got[0]).all()),
        "What is not chosen is multiplied by 0, and 0 · NaN is NaN, as is 0 · ∞. Select the chosen places instead of the others' zeros.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[0]).all(),
        "exp of a large logit overflows, and the logarithm of a p that is 0 is −∞: log_softmax never leaves the logarithms.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = int(case.args["chosen"].sum(1).argmax())
    return f"Row {row} has {case.args['chosen'][row].sum()} chosen tokens: print what each of them adds, and your divisor"


EXERCISE = Exercise(
    "7.2",
    "Padding that is learned",
    "debug",
    2,
    12,
    "compute BERT's loss: over the blanks only, and for pairs",
    (
        Property("values", "the mean over the chosen tokens, wherever they are", 2),
        Property("garbage", "anything at all in the other places, even NaN"),
        Property("hard", "a row without a blank, one blank alone, float64, large logits"),
    ),
    draw,
    ArrayExaminer(("nats",), WRONGS, advice=_advice),
    reference,
)
