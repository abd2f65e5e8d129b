"""Exercise 13.5, direct preference optimisation (Rafailov et al. 2023, equation 7)."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property

FAR = "a rejected answer that the policy likes far better"


def _sum(log_p: Tensor, mask: Tensor) -> Tensor:
    return log_p.masked_fill(~mask, 0).sum(1)


def _margin(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor) -> Tensor:
    return (chosen - ref_chosen) - (rejected - ref_rejected)


def _with(margin: Callable = _margin, *, each: Callable[[Tensor, Tensor], Tensor] = _sum,
          loss: Callable[[Tensor, float], Tensor] = lambda m, beta: softplus(-beta * m), mean: Callable = torch.mean) -> Callable:
    """The loss with another margin, another number for each response, another loss of the margin, another mean."""

    def answer(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta):
        parts = (each(chosen, chosen_mask), each(rejected, rejected_mask), each(ref_chosen, chosen_mask), each(ref_rejected, rejected_mask))
        return mean(loss(margin(*parts), beta))

    return answer


def reference(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, chosen_mask: Tensor, rejected_mask: Tensor,
              beta: float) -> Tensor:
    """The expected value of 13.5: the mean of −log σ(β ((c − c₀) − (r − r₀))), of log-probabilities of whole responses."""
    return _with()(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta)


# ---------------------------------------------------------------- draws


def _response(rng: np.random.Generator, lengths: list[int], spare: int, moved: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-probabilities of each word under the policy and the reference, and the mask."""
    mask = np.arange(max(lengths) + spare) < np.array(lengths)[:, None]
    ref = -rng.exponential(1.5, mask.shape) - 0.05
    return ref + moved * rng.standard_normal(mask.shape), ref, mask


def _case(rng: np.random.Generator, group: str, lengths: tuple[list[int], list[int]], beta: float, note: str, *, moved: float = 0.8,
          garbage: bool = False, dtype: str = "float32", layout: str = "C", shift: float = 0.0) -> Case:
    """`lengths` of chosen and rejected; `shift`: so much more does the policy give each word of the rejected one."""
    width = max(map(max, lengths)) + 1
    (chosen, ref_chosen, first), (rejected, ref_rejected, second) = (_response(rng, n, width - max(n), moved) for n in lengths)
    args = {"chosen": chosen, "rejected": rejected + shift, "ref_chosen": ref_chosen, "ref_rejected": ref_rejected}
    for (name, value), mask in zip(args.items(), (first, second, first, second)):
        if garbage:
            value[~mask] = np.resize([np.nan, -np.inf, 1e4], (~mask).sum())
        args[name] = np.asarray(value, dtype, layout)
    return Case(group, args | {"chosen_mask": first, "rejected_mask": second, "beta": beta}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(4, 7))
    return [
        _case(rng, "values", ([more, 3, 6], [2, 5, 4]), 0.5, "three pairs, β = 0.5"),
        _case(rng, "values", ([2, 7], [more, 4]), 0.3, "two pairs, β = 0.3"),
        _case(rng, "values", ([5, 3, 1, 4], [3, more, 2, 6]), 0.8, "four pairs, β = 0.8"),
        _case(rng, "padding", ([more, 2], [3, 6]), 0.4, "NaN and ∞ in the padding", garbage=True),
        _case(rng, "padding", ([3, 5, 4], [6, 1, more]), 0.6, "NaN and ∞ in the padding, three pairs", garbage=True),
        _case(rng, "hard", ([4, 3], [2, 5]), 0.1, "a policy that is still its reference", moved=0.0),
        _case(rng, "hard", ([6, 5], [7, 8]), 1.0, FAR, shift=20.0),
        _case(rng, "hard", ([3], [5]), 0.7, "one pair"),
        _case(rng, "hard", ([2, 4], [5, 3]), 0.7, "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes


def _mean(log_p: Tensor, mask: Tensor) -> Tensor:
    return log_p.masked_fill(~mask, 0).sum(1) / mask.sum(1)


def _margin_of_probabilities(chosen, rejected, ref_chosen, ref_rejected):
    return chosen.exp() / ref_chosen.exp() - rejected.exp() / ref_rejected.exp()


_REWARD = "What counts is how much more likely each answer is than under the reference: log-probability less the reference's."
WRONGS = (
    Wrong("means per word", _with(each=_mean), "You average over the words of a response. The probability of a response is their product."),
    Wrong(
        "padding counted",
        _with(each=lambda log_p, mask: log_p.sum(1)),
        "Padding is in your sums. The masks say which words are the responses'.",
    ),
    Wrong("padding counted", _with(each=lambda log_p, mask: log_p.mean(1)), "You average over all places, padding among them. Sum words."),
    Wrong("divided by the width", _with(each=lambda log_p, mask: _sum(log_p, mask) / mask.shape[1]), "You divide by T. Sum the words."),
    Wrong("mask turned round", _with(each=lambda log_p, mask: _sum(log_p, ~mask)), "You sum the padding. True means: a word is there."),
    Wrong("no reference", _with(lambda c, r, c0, r0: c - r), f"The reference plays no part. {_REWARD}"),
    Wrong("reference of one", _with(lambda c, r, c0, r0: c - c0 - r), f"The rejected answer's reference plays no part. {_REWARD}"),
    Wrong("reference of one", _with(lambda c, r, c0, r0: c - (r - r0)), f"The chosen answer's reference plays no part. {_REWARD}"),
    Wrong("reference added", _with(lambda c, r, c0, r0: (c + c0) - (r + r0)), f"The references are added. {_REWARD}"),
    Wrong("policy and reference exchanged", _with(lambda c, r, c0, r0: (c0 - c) - (r0 - r)),
          f"A sign is turned round: policy less reference, chosen less rejected. {_REWARD}"),
    Wrong("reference alone", _with(lambda c, r, c0, r0: c0 - r0), f"The policy plays no part: nothing could be learned. {_REWARD}"),
    Wrong(
        "both added",
        _with(lambda c, r, c0, r0: (c - c0) + (r - r0)),
        "You add chosen and rejected. It is their difference that says which is preferred.",
    ),
    Wrong("chosen alone", _with(lambda c, r, c0, r0: c - c0), "The rejected answer plays no part. A preference is between two."),
    Wrong(
        "wrong sign",
        _with(loss=lambda m, beta: -softplus(-beta * m)),
        "The sign is wrong: log σ is at most 0, and what it lacks is the loss.",
    ),
    Wrong(
        "β outside",
        _with(loss=lambda m, beta: softplus(-m) * beta),
        "β is outside of σ, where it only makes steps longer. Inside it says how far the policy may go.",
    ),
    Wrong("β outside", _with(loss=lambda m, beta: softplus(-m) / beta), "You divide the loss by β. β belongs to the margin, inside of σ."),
    Wrong("divided by β", _with(loss=lambda m, beta: softplus(-m / beta)), "You divide the margin by β. It is multiplied."),
    Wrong("no β", _with(loss=lambda m, beta: softplus(-m)), "β plays no part. It multiplies the margin."),
    Wrong("no logarithm", _with(loss=lambda m, beta: -(beta * m).sigmoid()), "The logarithm is missing: the loss is −log σ of the margin."),
    Wrong("no logarithm", _with(loss=lambda m, beta: (-beta * m).sigmoid()), "You take 1 − σ. The loss is −log σ of the margin."),
    Wrong("no sigmoid", _with(loss=lambda m, beta: -beta * m), "σ and logarithm are missing: that margin would grow without end."),
    Wrong("squared", _with(loss=lambda m, beta: (m - 1 / (2 * beta)) ** 2), "That is IPO's square, another loss. DPO has −log σ."),
    Wrong("hinge", _with(loss=lambda m, beta: (1 - beta * m).clamp(min=0)), "That is a hinge. DPO has −log σ, which is never quite 0."),
    Wrong("sum over the pairs", _with(mean=torch.sum), "You return the sum over the pairs. Their mean is asked for."),
    Wrong(
        "one margin for all",
        lambda *args: softplus(-args[-1] * _margin(*(_sum(x, m) for x, m in zip(args[:4], (args[4], args[5]) * 2))).mean()),
        "You average the margins before σ. Each pair has its own loss.",
    ),
    Wrong("probabilities", _with(_margin_of_probabilities), "You take differences of probabilities. They are logarithms, and stay so."),
    Symptom(
        "multiplied by 0",
        lambda case, got: case.group == "padding" and bool(np.isnan(got[0]).all()),
        "NaN came in from the padding. 0 · NaN is NaN: set what is no word to 0 with masked_fill or where, and then sum.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == FAR and not np.isfinite(got[0]).all(),
        "σ of a large negative number is 0, and its logarithm −∞: logsigmoid never leaves the logarithms.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    total = case.args["chosen"][0][case.args["chosen_mask"][0]].sum()
    return f"The policy's log-probability of the first chosen answer is {number(total)}: print yours, and the other three"


EXERCISE = Exercise(
    "13.5",
    "Preference without reward",
    "implement",
    3,
    15,
    "train on preferences without a reward model",
    (
        Property("values", "the loss of several pairs, of different lengths", 2),
        Property("padding", "anything at all in the padding, even NaN"),
        Property("hard", "a policy that has not moved, one that is far off, float64"),
    ),
    draw,
    ArrayExaminer(("loss",), WRONGS, advice=_advice),
    reference,
)
