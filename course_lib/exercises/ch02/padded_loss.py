"""Exercise 2.2, the mean loss over real tokens."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.losses import token_cross_entropy

LARGE = "logits of size 200"


def reference(logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """The expected value of 2.2, by the course's token_cross_entropy."""
    loss, count = token_cross_entropy(logits, targets, mask)
    return loss / count


def _loss_case(
    rng: np.random.Generator,
    group: str,
    lengths: Sequence[int],
    note: str = "",
    dtype: str = "float32",
    scale: float = 2.0,
) -> Case:
    batch, longest, words = len(lengths), max(lengths), int(rng.integers(5, 9))
    mask = np.arange(longest) < np.array(lengths)[:, None]
    targets = np.where(mask, rng.integers(0, words, (batch, longest)), 0)
    logits = (rng.standard_normal((batch, longest, words)) * scale).astype(dtype)
    return Case(group, {"logits": logits, "targets": targets, "mask": mask}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    filled = _loss_case(rng, "values", (6, 6, 6), "no padding")
    ragged = [_loss_case(rng, "padding", tuple(int(n) for n in rng.permutation((2, 4, 7)))) for _ in range(2)]
    infinite = _loss_case(rng, "hard", (3, 6), "logits of ±∞ at the padding")
    infinite.args["logits"][0, 3:] = -np.inf
    infinite.args["logits"][0, 3:, 0] = np.inf
    return [
        filled,
        *ragged,
        infinite,
        _loss_case(rng, "hard", (1, 5, 0), "a row with no token at all"),
        _loss_case(rng, "hard", (1,), "one token", dtype="float64"),
        _loss_case(rng, "hard", (5, 2), LARGE, scale=200),
    ]


def _nll(logits: Tensor, targets: Tensor, dim: int = -1) -> Tensor:
    return -logits.log_softmax(dim).gather(-1, targets[..., None]).squeeze(-1)  # (B, T)


def _nan_at_padding(case: Case, got: Arrays) -> bool:
    mask = case.args["mask"]
    other_reason = case.note == LARGE or not mask.any(1).all()  # a row's own mean of nothing
    return not mask.all() and not other_reason and bool(np.isnan(got[0]).any())


def _compare_sums(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the sum or the count?"""
    count = int(case.args["mask"].sum())
    total = number(expected[0] * count)
    return f"There −log p adds up to {total} over {count} real words: print your sum and count"


def _over_all_message(case: Case, got: Arrays, expected: Arrays) -> str:
    mask = case.args["mask"]
    return (
        f"Your mean runs over all {mask.size} positions; {mask.size - int(mask.sum())} of them are "
        f"padding, and what the model says there counts as much as a word: {number(got[0])} instead of "
        f"{number(expected[0])} nats."
    )


def _divided_message(case: Case, got: Arrays, expected: Arrays) -> str:
    mask = case.args["mask"]
    return (
        f"The padding is masked, but you still divide by all {mask.size} positions instead of the "
        f"{int(mask.sum())} real tokens: {number(got[0])} instead of {number(expected[0])} nats. "
        "Longer padding would look like learning."
    )


_TURNED = "The mask is turned round: you average over the padding, not over the words. True means: counts."

WRONGS = (
    Wrong("padding counted", lambda l, t, m: _nll(l, t).mean(), _over_all_message),
    Wrong("divided by B·T", lambda l, t, m: (_nll(l, t) * m).sum() / m.numel(), _divided_message),
    Wrong(
        "mean of sentence means",
        lambda l, t, m: ((_nll(l, t) * m).sum(1) / m.sum(1)).mean(),
        "You average each sentence and then the sentences, so a word in a short sentence weighs more. "
        "Every real token has the same weight: one sum, one count.",
    ),
    Wrong(
        "summed, not averaged",
        lambda l, t, m: (_nll(l, t) * m).sum(),
        "You return the sum over the real tokens, not their mean, so the loss grows with the batch.",
    ),
    Wrong(
        "bits",
        lambda l, t, m: _nll(l, t)[m].mean() / np.log(2),
        "Your logarithm has base 2: these are bits. One nat is 1.44 bits; the loss here is in nats.",
    ),
    Wrong(
        "softmax twice",
        lambda l, t, m: F.cross_entropy(l.softmax(-1)[m], t[m]),
        "Softmax is taken twice: F.cross_entropy expects logits and takes the softmax itself. "
        "Of probabilities it makes a nearly flat distribution, so this loss can never come near 0.",
    ),
    Wrong(
        "probability, not its logarithm",
        lambda l, t, m: (1 - (-_nll(l, t)[m]).exp()).mean(),
        "You average 1 − p(target); the loss is −log p(target).",
    ),
    Wrong(
        "wrong sign",
        lambda l, t, m: -_nll(l, t)[m].mean(),
        "The sign is wrong: you return the mean log-probability, which training would push down.",
    ),
    Wrong(
        "softmax over time",
        lambda l, t, m: _nll(l, t, dim=1)[m].mean(),
        "Your softmax runs over the T positions (dim 1); at each position it has to run over the V words.",
    ),
    Wrong(
        "log-sum-exp forgotten",
        lambda l, t, m: -l.gather(-1, t[..., None]).squeeze(-1)[m].mean(),
        "You average the raw logits of the targets; a log-probability is the logit minus the logsumexp "
        "over all words.",
    ),
    Wrong(
        "padding multiplied by 0",
        lambda l, t, m: (_nll(l, t) * m).sum() / m.sum(),
        "You multiply the loss at the padding by 0. Usually that is enough, but 0 · ∞ is NaN. Select the "
        "real tokens first, logits[mask] and targets[mask], and take the softmax of these: to drop the "
        "padding after it mends the loss, but can leave NaN in the gradient.",
    ),
    Symptom(
        "NaN at the padding",
        _nan_at_padding,
        "Where there is padding your loss is NaN: 0 · NaN is NaN, too. Select the real tokens first, "
        "logits[mask] and targets[mask], and take the softmax of these.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[0]).all(),
        "exp of a large logit overflows, and the logarithm of a probability that is 0 is −∞: log_softmax or "
        "logsumexp do both without leaving the logarithms.",
    ),
    Wrong("mask turned round", lambda l, t, m: _nll(l, t)[~m].mean(), _TURNED),
    Wrong("mask turned round", lambda l, t, m: _nll(l, t).masked_fill(m, 0).sum() / (~m).sum(), _TURNED),
    Wrong("mask turned round", lambda l, t, m: _nll(l, t).masked_fill(m, 0).sum() / m.sum(), _TURNED),
    Wrong(
        "divided by the sentences",
        lambda l, t, m: _nll(l[m], t[m]).sum() / len(m),
        "You divide by the number of sentences; the loss is a mean over words, so divide by the number of "
        "real words.",
    ),
    Wrong(
        "perplexity",
        lambda l, t, m: _nll(l[m], t[m]).mean().exp(),
        "You return the perplexity, exp of the loss.",
    ),
    Wrong(
        "target 0 taken for padding",
        lambda l, t, m: F.cross_entropy(l[t != 0], t[t != 0]),
        "You take every target 0 for padding. Whether a position is real is for the mask to say.",
    ),
)


EXERCISE = Exercise(
    "2.2",
    "A loss that cannot see padding",
    "implement",
    2,
    10,
    "compute a loss over real tokens only",
    (
        Property("values", "mean over tokens, in nats"),
        Property("padding", "padding counts nowhere"),
        Property("hard", "infinite logits at the padding, empty rows, one token, large logits"),
    ),
    draw,
    ArrayExaminer(("loss",), WRONGS, advice=_compare_sums),
    reference,
)
