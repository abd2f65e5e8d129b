"""Exercise 13.6, advantages within a group of answers to one question (GRPO, Shao et al. 2024): a planted mean over everybody."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property


def _alike(scores: Tensor) -> Tensor:
    return scores.amax(1, keepdim=True) == scores.amin(1, keepdim=True)


def reference(scores: Tensor) -> Tensor:
    """The expected value of 13.6: how many standard deviations above the group's mean, and 0 where all score the same."""
    centred = scores - scores.mean(1, keepdim=True)
    spread = centred.square().mean(1, keepdim=True).sqrt()
    return torch.where(_alike(scores), 0, centred / spread.where(~_alike(scores), 1))


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, size: tuple[int, int], note: str, *, alike: tuple[tuple[int, float], ...] = (),
          dtype: str = "float32", layout: str = "C") -> Case:
    """Easy and difficult questions, with small and large differences; `alike`: the number of a group, and what all of it scores."""
    centre = 3 * rng.permutation(np.linspace(-1, 1, size[0]))[:, None] + 0.3
    spread = rng.permutation(np.geomspace(0.5, 3, size[0]))[:, None]
    scores = centre + spread * rng.permuted(np.tile(np.linspace(-1, 1, size[1]), (size[0], 1)) ** 3, axis=1)
    scores += 0.1 * spread * rng.standard_normal(size)
    for row, value in alike:
        scores[row] = value
    return Case(group, {"scores": np.asarray(scores, dtype, layout)}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(5, 8))
    tenth = float(rng.choice([0.1, 0.7, 1.1]))
    return [
        _case(rng, "values", (3, more), f"3 questions, {more} answers each"),
        _case(rng, "values", (4, 4), "4 questions, 4 answers each"),
        _case(rng, "values", (2, 8), "2 questions, 8 answers each"),
        _case(rng, "equal", (3, more), "a group of zeros", alike=((1, 0.0),)),
        _case(rng, "equal", (4, 7), f"a group in which all score {tenth}", alike=((2, tenth),)),
        _case(rng, "equal", (3, 5), "two groups without a difference", alike=((0, 1.0), (2, -2.3))),
        _case(rng, "hard", (1, 6), "a single question"),
        _case(rng, "hard", (3, 2), "two answers each"),
        _case(rng, "hard", (4, 5), "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes


def _std(x: Tensor, correction: int = 0) -> Tensor:
    return x.std(1, keepdim=True, correction=correction)


def _with(less: Callable[[Tensor], Tensor] = lambda x: x.mean(1, keepdim=True), over: Callable[[Tensor], Tensor] = _std,
          guard: bool = True) -> Callable:
    """A wrong answer: something else subtracted or divided by, with zeros for groups that are alike, or without."""

    def answer(scores):
        found = (scores - less(scores)) / over(scores)
        return torch.where(_alike(scores), 0, found) if guard else found

    return answer


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: who is compared with whom; the cure is the student's."""
    scores = case.args["scores"]
    rows = scores.mean(1)
    hard, easy = int(rows.argmin()), int(rows.argmax())
    return (
        f"{case.note}: answers to question {easy} score {number(rows[easy])} on average, and you give them {number(got[0][easy].mean())}; "
        f"to question {hard} {number(rows[hard])}, and {number(got[0][hard].mean())}. Is an answer good because its question was easy?"
    )


def _rounding(scores: np.ndarray, got: np.ndarray) -> bool:
    """True if a group that is alike has something else than zeros, and all others a mean of 0."""
    if got.shape != scores.shape:
        return False
    alike = np.ptp(scores, axis=1) == 0
    return bool((np.abs(got[alike]).max() > 1e-3) & (np.abs(got[alike]).max() < 10) & (np.abs(got[~alike].mean(1)) < 1e-3).all())


_GROUP = "An answer is compared with the others to the same question."
WRONGS = (
    Wrong("over the whole batch", _with(lambda x: x.mean(), lambda x: x.std(), False), _planted),
    Wrong("over the whole batch", _with(lambda x: x.mean(), lambda x: x.std(correction=0), False), _planted),
    Wrong("over the whole batch", _with(lambda x: x.mean(), lambda x: x.std()), _planted),
    Wrong("over the whole batch", _with(lambda x: x.mean(), lambda x: x.std(correction=0)), _planted),
    Wrong("mean over the batch", _with(lambda x: x.mean()), f"The mean is of the whole batch. {_GROUP}"),
    Wrong("mean over the batch", _with(lambda x: x.mean(), guard=False), f"The mean is of the whole batch. {_GROUP}"),
    Wrong("deviation over the batch", _with(over=lambda x: x.std()), f"The standard deviation is of the whole batch. {_GROUP}"),
    Wrong("deviation over the batch", _with(over=lambda x: x.std(correction=0)), f"The standard deviation is of the whole batch. {_GROUP}"),
    Wrong(
        "columns for rows",
        _with(lambda x: x.mean(0), lambda x: x.std(0, correction=0).clamp(min=1e-30)),
        f"You compare down the columns, the first answers to all questions. {_GROUP}",
    ),
    Wrong(
        "columns for rows",
        _with(lambda x: x.mean(0), lambda x: x.std(0, correction=0).clamp(min=1e-30), False),
        f"You compare down the columns, the first answers to all questions. {_GROUP}",
    ),
    Wrong(
        "deviation of a sample",
        _with(over=lambda x: _std(x, 1)),
        "Your standard deviation divides by G − 1, as torch's does unless told otherwise. The group is all there is: divide by G.",
    ),
    Wrong("deviation of a sample", _with(over=lambda x: _std(x, 1) + 1e-8), "Your standard deviation divides by G − 1. Divide by G."),
    Wrong("not divided", _with(over=lambda x: 1), "The mean is subtracted, and nothing divided: the standard deviation is missing."),
    Wrong("divided by the variance", _with(over=lambda x: _std(x) ** 2), "You divide by the variance. It is its root."),
    Wrong("divided by the range", _with(over=lambda x: x.amax(1, True) - x.amin(1, True)), "You divide by the range, largest less least."),
    Wrong("mean not subtracted", _with(lambda x: 0), "The mean is not subtracted: a good and a bad answer may both be praised."),
    Wrong(
        "mean of the others",
        _with(lambda x: (x.sum(1, keepdim=True) - x) / (x.shape[1] - 1)),
        "You subtract the mean of the other answers, as RLOO does. Here it is the mean of the group.",
    ),
    Wrong("median", _with(lambda x: x.quantile(0.5, dim=1, keepdim=True)), "You subtract the median. It is the mean."),
    Wrong("least for mean", _with(lambda x: x.amin(1, keepdim=True)), "You subtract the least score: nobody is below 0. It is the mean."),
    Wrong(
        "ranks",
        lambda scores: reference(scores.argsort(1).argsort(1).to(scores)).where(~_alike(scores), 0),
        "You use ranks. How much better an answer is counts, too.",
    ),
    Wrong("softmax", lambda scores: scores.softmax(1), "You return a softmax: weights that sum to 1, where advantages sum to 0."),
    Wrong("wrong sign", lambda scores: -reference(scores), "The signs are exchanged: the better answer is to be above 0."),
    Wrong(
        "1 added",
        _with(over=lambda x: _std(x) + 1),
        "Adding 1 to the standard deviation keeps it from 0, and makes every advantage too small.",
    ),
    Symptom(
        "divided by 0",
        lambda case, got: case.group == "equal" and not np.isfinite(got[0]).all(),
        "In a group without a difference, 0 is divided by 0, and the NaN would be in every weight after the next step. There it is 0.",
    ),
    Symptom(
        "rounding blown up",
        lambda case, got: case.group == "equal" and _rounding(case.args["scores"], got[0]),
        "In a group in which all score the same, the mean is off by rounding, and the deviation as small: their ratio is not.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = case.args["scores"][0]
    return f"Question 0 has a mean of {number(row.mean())}, and advantages in a group have mean 0 and deviation 1: print yours"


EXERCISE = Exercise(
    "13.6",
    "Graded on a curve",
    "debug",
    3,
    15,
    "train on preferences without a reward model",
    (
        Property("values", "advantages within each group", 2),
        Property("equal", "zeros where all answers score the same"),
        Property("hard", "a single question, two answers each, float64"),
    ),
    draw,
    ArrayExaminer(("advantages",), WRONGS, advice=_advice),
    reference,
)
