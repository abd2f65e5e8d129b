"""Exercise 13.3, PPO's clipped surrogate (Schulman et al. 2017, equation 7): a planted ratio to the wrong one of two old policies."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property


def reference(new: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor, epsilon: float) -> Tensor:
    """The expected value of 13.3. The reference policy plays no part: it belongs to the KL term, not to the ratio."""
    ratio, advantage = (new - old)[mask].exp(), advantages[mask]
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage).mean()


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, lengths: list[int], epsilon: float, note: str, *, garbage: bool = False, far: float = 0.5,
          dtype: str = "float32", layout: str = "C") -> Case:
    """`far`: how far the new policy has moved from the old one, both ways; the reference is another one again."""
    mask = np.arange(max(lengths) + (len(lengths) > 1)) < np.array(lengths)[:, None]
    old = -rng.exponential(2.0, mask.shape) - 0.1
    moved = far * rng.permutation(np.resize([1, -1], mask.size)).reshape(mask.shape) * rng.uniform(0.4, 1.6, mask.shape)
    arrays = {
        "new": old + moved,
        "old": old,
        "reference": old - 0.6 * rng.standard_normal(mask.shape) - 0.4,
        "advantages": rng.permutation(np.resize([1, -1, 1], mask.size)).reshape(mask.shape) * rng.uniform(0.3, 2, mask.shape) + 0.2,
    }
    for value in arrays.values():
        value[~mask] = np.resize([np.nan, np.inf, -1e4], (~mask).sum()) if garbage else value[~mask]
    args = {name: np.asarray(value, dtype, layout) for name, value in arrays.items()}
    return Case(group, args | {"mask": mask, "epsilon": epsilon}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(5, 8))
    return [
        _case(rng, "values", [more, 3, 5], 0.2, f"responses of {more}, 3, 5 words"),
        _case(rng, "values", [2, more + 1], 0.3, f"responses of 2, {more + 1} words"),
        _case(rng, "values", [4, 6, 1, 5], 0.1, "responses of 4, 6, 1, 5 words"),
        _case(rng, "padding", [more, 2], 0.2, "NaN and ∞ in the padding", garbage=True),
        _case(rng, "padding", [3, 5, 4], 0.2, "NaN and ∞ in the padding, 3, 5, 4 words", garbage=True),
        _case(rng, "hard", [4, 0, 3], 0.2, "a response without words"),
        _case(rng, "hard", [6, 3], 0.2, "a policy that has moved far", far=1.2),
        _case(rng, "hard", [4, 2], 0.2, "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes

Combined = Callable[[Tensor, Tensor, float], Tensor]    # ratio, advantage, ε → a number for each word


def _clipped(ratio: Tensor, epsilon: float) -> Tensor:
    return ratio.clamp(1 - epsilon, 1 + epsilon)


def _surrogate(ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    return torch.minimum(ratio * advantage, _clipped(ratio, epsilon) * advantage)


def _masked(each: Tensor, mask: Tensor) -> Tensor:
    return each[mask].mean()


def _row_means(each: Tensor, mask: Tensor) -> Tensor:
    return torch.stack([row[real].mean() for row, real in zip(each, mask) if real.any()]).mean()


def _with(combine: Combined = _surrogate, mean: Callable[[Tensor, Tensor], Tensor] = _masked, *,
          log_ratio: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda new, old, reference: new - old, sign: float = -1,
          ratio_of: Callable[[Tensor, float], Tensor] = lambda log_ratio, epsilon: log_ratio.exp()) -> Callable:
    """A wrong answer: another way from ratio and advantage to a number, another mean, another ratio, another sign."""

    def answer(new, old, reference, advantages, mask, epsilon):
        return sign * mean(combine(ratio_of(log_ratio(new, old, reference), epsilon), advantages, epsilon), mask)

    return answer


def _to_reference(new: Tensor, old: Tensor, reference: Tensor) -> Tensor:
    return new - reference


def _all(each: Tensor, mask: Tensor) -> Tensor:
    return each.mean()


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: what the number depends on; the cure is the student's."""
    return (
        f"{case.note}: set new = old, as before the first step. The ratio is 1 then for each word; yours is not. There are two old "
        "policies here. Which of them has said these words, and which is only to be stayed near?"
    )


_BOTH = "PPO takes the smaller of both, r A and the clipped r times A."
_MEAN = "It is the mean over all words that count."
WRONGS = (
    Wrong("ratio to the reference", _with(mean=_all, log_ratio=_to_reference), _planted),
    Wrong("ratio to the reference", _with(log_ratio=_to_reference), _planted),
    Wrong(
        "ratio to the reference, max for min",
        _with(lambda r, a, e: torch.maximum(r * a, _clipped(r, e) * a), log_ratio=_to_reference),
        "Your ratio is to the reference, and you take the larger of both numbers.",
    ),
    Wrong(
        "old and reference mixed",
        _with(log_ratio=lambda new, old, reference: old - reference),
        "Your ratio is of old to reference: the policy that is trained plays no part in it.",
    ),
    Wrong("padding counted", _with(mean=_all), f"Padding is in your mean. {_MEAN}"),
    Wrong(
        "divided by all places",
        _with(mean=lambda each, mask: each[mask].sum() / mask.numel()),
        f"You divide by all places, padding included. {_MEAN}",
    ),
    Wrong("mean of the rows' means", _with(mean=_row_means), f"You average each response, and then these. {_MEAN}"),
    Wrong("divided by the rows", _with(mean=lambda each, mask: each[mask].sum() / len(mask)), f"You divide by the responses. {_MEAN}"),
    Wrong("sum", _with(mean=lambda each, mask: each[mask].sum()), f"You return a sum. {_MEAN}"),
    Wrong(
        "max for min",
        _with(lambda r, a, e: torch.maximum(r * a, _clipped(r, e) * a)),
        f"You take the larger of both. {_BOTH} It is to promise no more than is sure.",
    ),
    Wrong(
        "only clipped",
        _with(lambda r, a, e: _clipped(r, e) * a),
        f"You use the clipped ratio alone. A step that made things worse could not be taken back then. {_BOTH}",
    ),
    Wrong("not clipped", _with(lambda r, a, e: r * a), f"Nothing is clipped: epsilon plays no part. {_BOTH}"),
    Wrong("clipped above only", _with(lambda r, a, e: torch.minimum(r * a, r.clamp(max=1 + e) * a)), "You clip above 1 + ε only."),
    Wrong("clipped below only", _with(lambda r, a, e: torch.minimum(r * a, r.clamp(min=1 - e) * a)), "You clip below 1 − ε only."),
    Wrong(
        "product clipped",
        _with(lambda r, a, e: torch.minimum(r * a, (r * a).clamp(1 - e, 1 + e))),
        "You clip ratio times advantage. It is the ratio that is to stay near 1.",
    ),
    Wrong(
        "log ratio clipped",
        _with(lambda d, a, e: torch.minimum(d.exp() * a, d.clamp(-e, e).exp() * a), ratio_of=lambda d, e: d),
        "You clip the logarithm of the ratio to ±ε. It is the ratio that is clipped, to 1 ± ε.",
    ),
    Wrong(
        "log ratio for ratio",
        _with(ratio_of=lambda d, e: d),
        "You use the difference of log-probabilities as if it were the ratio. The ratio is its exponential.",
    ),
    Wrong(
        "ratio upside down",
        _with(log_ratio=lambda new, old, reference: old - new),
        "Your ratio is upside down: of old to new. Then a word that became likelier would count less.",
    ),
    Wrong("gain", _with(sign=1), "That is the gain, which is to grow. A loss is to fall."),
    Wrong("one for all", _with(lambda r, a, e: r.mean() * a), "You average the ratio over all words. Each word has its own."),
    Symptom(
        "multiplied by 0",
        lambda case, got: case.group == "padding" and bool(np.isnan(got[0]).all()),
        "NaN came in from the padding. 0 · NaN is NaN: select the words that count before anything else.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    mask = case.args["mask"]
    return f"{mask.sum()} of {mask.size} places count. Print for each its ratio, its advantage, and which of the two numbers you take"


EXERCISE = Exercise(
    "13.3",
    "Two old policies",
    "debug",
    4,
    20,
    "say what each part of PPO does",
    (
        Property("values", "the clipped surrogate, over the words that count", 2),
        Property("padding", "anything at all in the padding, even NaN", 2),
        Property("hard", "a response without words, a policy far away, float64"),
    ),
    draw,
    ArrayExaminer(("loss",), WRONGS, advice=_advice),
    reference,
)
