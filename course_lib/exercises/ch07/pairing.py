"""Exercise 7.5, the nats of next-sentence prediction: a planted ignore_index that belongs to the other loss."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.losses import token_cross_entropy

LARGE, NO_PAIR = "logits of size 200", -1


def reference(logits: Tensor, follows: Tensor) -> Tensor:
    """The expected value of 7.5, by the course's token_cross_entropy on the rows that are pairs; 0 where none is."""
    pairs = follows != NO_PAIR
    total, count = token_cross_entropy(logits[pairs], follows[pairs], None)
    return total / count.clamp(min=1)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, n: tuple[int, int, int], note: str, *, scale: float = 1.5, dtype: str = "float32",
          layout: str = "C") -> Case:
    """`n` rows that are no pair, of which the second text does not follow, of which it does."""
    follows = rng.permutation(np.repeat([NO_PAIR, 0, 1], n))
    logits = rng.standard_normal((len(follows), 2)) * scale + np.array([-0.4, 0.4]) + rng.uniform(-0.5, 0.5)
    return Case(group, {"logits": np.asarray(logits, dtype, layout), "follows": follows}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(4, 7))
    return [
        _case(rng, "values", (0, 3, more), f"3 pairs of class 0, {more} of class 1"),
        _case(rng, "values", (0, more, 2), f"{more} pairs of class 0, 2 of class 1"),
        _case(rng, "values", (0, 3, 0), "3 pairs of class 0"),
        _case(rng, "single", (2, 3, 1), "2 rows that are no pair, 3 of class 0, 1 of class 1"),
        _case(rng, "single", (4, 1, 3), "4 rows that are no pair, 1 of class 0, 3 of class 1"),
        _case(rng, "hard", (3, 0, 0), "no pair at all"),
        _case(rng, "hard", (0, 1, 0), "a single pair"),
        _case(rng, "hard", (1, 2, 3), "float64, not contiguous", dtype="float64", layout="F"),
        _case(rng, "hard", (1, 4, 4), LARGE, scale=200),
    ]


# ---------------------------------------------------------------- mistakes


def _nll(logits: Tensor, follows: Tensor, dim: int = -1) -> Tensor:
    return -logits.log_softmax(dim).gather(-1, follows[:, None])[:, 0]


def _with(each: Callable[[Tensor, Tensor], Tensor] = _nll, counts: Callable[[Tensor], Tensor] = lambda follows: follows != NO_PAIR,
          read: Callable[[Tensor], Tensor] = lambda follows: follows,
          finish: Callable[[Tensor, Tensor], Tensor] = lambda each, follows: each.mean(), none: float = 0.0) -> Callable:
    """A wrong answer: `counts` picks rows, `read` their classes, `each` scores them, `finish` makes one number, or `none` of none."""

    def answer(logits, follows):
        some = counts(follows)
        return finish(each(logits[some], read(follows)[some]), follows) if some.any() else logits.new_tensor(none)

    return answer


def _ignored(which: int) -> dict[str, Callable[[Tensor], Tensor]]:
    return {"counts": lambda follows: (follows != NO_PAIR) & (follows != which)}


def _by_class(logits: Tensor, follows: Tensor) -> Tensor:
    means = [_nll(logits[follows == k], follows[follows == k]).mean() for k in (0, 1) if (follows == k).any()]
    return torch.stack(means).mean() if means else logits.new_tensor(0.0)


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    counts = [int((case.args["follows"] == k).sum()) for k in (0, 1)]
    return (
        f"{case.note}: {sum(counts)} pairs are there, and {counts[1]} of them {'is' if counts[1] == 1 else 'are'} in your mean. What could "
        "a model say to every pair, and be praised by this loss?"
    )


_ALL_COUNT = "Rows with −1 are no pairs. They take part in nothing, not in the divisor either."
WRONGS = (
    Wrong("class 0 ignored", _with(**_ignored(0)), _planted),
    Wrong("class 0 ignored", _with(**_ignored(0), none=float("nan")), _planted),
    Wrong(
        "class 0 ignored",
        _with(finish=lambda each, follows: each[follows[follows != NO_PAIR] != 0].sum() / (follows != NO_PAIR).sum()),
        _planted,
    ),
    Wrong(
        "class 1 ignored",
        _with(**_ignored(1)),
        "Pairs of class 1 are left out of your mean. A model that always says 0 would be praised by this loss.",
    ),
    Wrong(
        "−1 is the last class",
        _with(counts=lambda follows: follows > -2, read=lambda follows: follows % 2),
        f"An index of −1 means the last one: rows that are no pair are scored as if they followed. {_ALL_COUNT}",
    ),
    Wrong(
        "−1 taken for 0",
        _with(counts=lambda follows: follows > -2, read=lambda follows: follows.clamp(min=0)),
        f"Rows that are no pair are scored as if they did not follow. {_ALL_COUNT}",
    ),
    Wrong("divided by all rows", _with(finish=lambda each, follows: each.sum() / len(follows)), f"You divide by all B rows. {_ALL_COUNT}"),
    Wrong("sum", _with(finish=lambda each, follows: each.sum()), "You return the sum over the pairs. Their mean is asked for."),
    Wrong("not averaged", _with(finish=lambda each, follows: each), "You return a number for each pair. Their mean is asked for."),
    Wrong("mean of the classes' means", _by_class, "You average each class, and then the two. Every pair weighs the same."),
    Wrong(
        "classes exchanged",
        _with(read=lambda follows: 1 - follows),
        "The classes are exchanged: here 1 means that the second text follows, logits[:, 1] speaks for it. (In the published BERT 0 does.)",
    ),
    Wrong(
        "one logit alone",
        _with(lambda l, f: torch.nn.functional.binary_cross_entropy_with_logits(l[:, 1], f.to(l), reduction="none")),
        "You take the sigmoid of the second logit alone. The two compete: softmax over both, or the sigmoid of their difference.",
    ),
    Wrong("softmax over the rows", _with(lambda l, f: _nll(l, f, 0)), "Your softmax runs over the rows (dim 0). The two classes compete."),
    Wrong("softmax twice", _with(lambda l, f: _nll(l.softmax(-1), f)), "Softmax is taken twice: F.cross_entropy takes logits."),
    Wrong("raw logits", _with(lambda l, f: -l.gather(-1, f[:, None])[:, 0]), "You take raw logits. log p is the logit minus a logsumexp."),
    Wrong("probabilities", _with(lambda l, f: (-_nll(l, f)).exp()), "You average probabilities. Asked for are nats, −log p."),
    Wrong("probabilities", _with(lambda l, f: 1 - (-_nll(l, f)).exp()), "You average 1 − p. Asked for are nats, −log p."),
    Wrong(
        "wrong guesses counted",
        _with(lambda l, f: (l.argmax(-1) != f).double()),
        "You count the pairs that are guessed wrongly. How probable the right class was is what is asked.",
    ),
    Wrong("bits", _with(lambda l, f: _nll(l, f) / np.log(2)), "These are bits: your logarithm has base 2. Asked for are nats."),
    Wrong("wrong sign", _with(lambda l, f: -_nll(l, f)), "The sign is wrong: log p is at most 0, and nats lost are −log p."),
    Symptom(
        "mean of nothing",
        lambda case, got: case.note == "no pair at all" and bool(np.isnan(got[0]).all()),
        "Where no row is a pair, the mean of nothing is 0/0. Nothing is lost there: 0.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[0]).all(),
        "exp of a large logit overflows, and the logarithm of a p that is 0 is −∞: log_softmax never leaves the logarithms.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    counts = [int((case.args["follows"] == k).sum()) for k in (0, 1)]
    return f"There are {counts[0]} pairs of class 0 and {counts[1]} of class 1: print what each of them adds, and your divisor"


EXERCISE = Exercise(
    "7.5",
    "Half of the pairs",
    "debug",
    3,
    15,
    "compute BERT's loss: over the blanks only, and for pairs",
    (
        Property("values", "the mean over all pairs, of both classes", 2),
        Property("single", "rows that are no pair count nowhere"),
        Property("hard", "no pair at all, one alone, float64, large logits"),
    ),
    draw,
    ArrayExaminer(("nats",), WRONGS, advice=_advice),
    reference,
)
