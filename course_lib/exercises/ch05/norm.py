"""Exercise 5.5, layer norm over the last axis."""

from collections.abc import Callable, Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property

FAR = "numbers around 1000"


def reference(x: Tensor, gain: Tensor, bias: Tensor, eps: float) -> Tensor:
    """The expected value of 5.5, by the layer norm that the course's blocks hold, torch's own."""
    return F.layer_norm(x, x.shape[-1:], gain, bias, eps)


def _case(
    rng: np.random.Generator,
    group: str,
    shape: Sequence[int],
    eps: float,
    note: str,
    dtype: str = "float32",
    layout: str = "C",
    centre: float = 0.0,
) -> Case:
    """Words of different means and spreads, so that it matters over what mean and variance are taken."""
    width = shape[-1]
    x = rng.standard_normal(shape) * rng.uniform(0.5, 2, (*shape[:-1], 1))
    x += centre + (0 if centre else rng.uniform(-2, 2, (*shape[:-1], 1)))
    gain = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
    bias = rng.uniform(0.5, 2, width) * rng.choice([-1, 1], width)
    args = {"x": np.asarray(x, dtype, layout), "gain": gain.astype(dtype), "bias": bias.astype(dtype), "eps": eps}
    return Case(group, args, note)


def draw(rng: np.random.Generator) -> list[Case]:
    batch, steps, width = (int(n) for n in rng.permutation((3, 4, 5)))
    constant = _case(rng, "hard", (2, 3, 6), 1e-5, "a word whose numbers are all equal")
    constant.args["x"][0, 1], constant.args["x"][1, 2] = 3.0, 0.0
    return [
        _case(rng, "values", (batch, steps, width), 1e-5, "x (B, T, C)"),
        _case(rng, "values", (4, 4, 4), 1e-5, "x (B, T, C), all sizes equal"),
        _case(rng, "eps", (2, 3, 5), 0.5, "eps = 0.5"),
        _case(rng, "eps", (3, 2, 6), 0.1, "eps = 0.1"),
        _case(rng, "axes", (6,), 1e-5, "x (C,), a single word"),
        _case(rng, "axes", (5, 4), 1e-5, "x (B, C)"),
        _case(rng, "axes", (2, 3, 2, 5), 1e-5, "x with four axes"),
        constant,
        _case(rng, "hard", (2, 4, 1), 1e-5, "words of one number"),
        _case(rng, "hard", (3, 4, 8), 1e-5, FAR, centre=1000),
        _case(rng, "hard", (2, 3, 5), 1e-5, "float64, not contiguous", dtype="float64", layout="F"),
    ]


def _over_words(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)


def _divide(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return (x - mean) / (variance + eps).sqrt()


def _scale(normal: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
    return normal * gain + bias


def _with(
    moments: Callable[[Tensor], tuple[Tensor, Tensor]] = _over_words,
    divide: Callable[[Tensor, Tensor, Tensor, float], Tensor] = _divide,
    scale: Callable[[Tensor, Tensor, Tensor], Tensor] = _scale,
) -> Callable:
    """A wrong norm: mean and variance over something else, another division, or another use of gain and bias."""
    return lambda x, gain, bias, eps: scale(divide(x, *moments(x), eps), gain, bias)


def _over(*dims: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda x: (x.mean(dims, keepdim=True), x.var(dims, unbiased=False, keepdim=True))


def _unbiased(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(-1, keepdim=True)
    return mean, (x - mean).square().sum(-1, keepdim=True) / x.new_tensor(x.shape[-1] - 1)  # one number: NaN


def _outside(x: Tensor, mean: Tensor, variance: Tensor, eps: float) -> Tensor:
    return (x - mean) / (variance.sqrt() + eps)


def _mean_and_variance(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the numbers behind the first word that is off."""
    place = first_off(got[0], expected[0])[:-1]
    word = case.args["x"].astype(np.float64)[place]
    where = f"x[{', '.join(map(str, place))}]" if place else "x"
    return f"There {where} has mean {number(word.mean())} and variance {number(word.var())}: print yours"


_BATCH = (
    "Mean and variance are taken over the batch (dim 0), as batch norm does: a word's numbers depend on its "
    "neighbours in the batch. Each word has a mean and a variance of its own, over its C numbers."
)
WRONGS = (
    Wrong("over the batch", _with(_over(0)), _BATCH),
    Wrong(
        "over batch and time",
        lambda x, g, b, e: _with(_over(*range(max(1, x.ndim - 1))))(x, g, b, e),
        "Mean and variance are taken for each feature over all words, as batch norm does. Each word has a mean and "
        "a variance of its own, over its C numbers.",
    ),
    Wrong(
        "over time",
        _with(_over(-2)),
        "Mean and variance are taken over the words of a sentence (dim −2). Each word has its own, over its C "
        "numbers, the last axis.",
    ),
    Wrong(
        "over the whole sentence",
        lambda x, g, b, e: _with(_over(*range(min(1, x.ndim - 1), x.ndim)))(x, g, b, e),
        "Mean and variance are taken over all words of a sentence together. Each word has its own, over its C "
        "numbers.",
    ),
    Wrong(
        "one mean for everything",
        lambda x, g, b, e: _with(_over(*range(x.ndim)))(x, g, b, e),
        "One mean and one variance serve the whole array. Each word has its own, over its C numbers: give them "
        "a dim.",
    ),
    Wrong(
        "unbiased variance",
        _with(_unbiased),
        "Your variance divides by C − 1, as torch's var and std do unless they are told otherwise. Layer norm "
        "divides by C.",
    ),
    Wrong(
        "unbiased, eps outside",
        _with(_unbiased, _outside),
        "Your norm divides by std + eps, with torch's std. That differs twice: std divides by C − 1 where layer "
        "norm divides by C, and eps stands with the variance, inside the root.",
    ),
    Wrong(
        "eps outside the root",
        _with(divide=_outside),
        "eps is added to the standard deviation. It belongs to the variance, inside the root: with small ones "
        "nobody would notice, and near 0 the slope is another.",
    ),
    Wrong(
        "eps squared",
        _with(divide=lambda x, m, v, e: (x - m) / (v + e * e).sqrt()),
        "eps is squared before it is added to the variance.",
    ),
    Wrong(
        "eps subtracted",
        _with(divide=lambda x, m, v, e: (x - m) / (v - e).sqrt()),
        "eps is taken off the variance. It is added, so that nothing is divided by 0.",
    ),
    Wrong(
        "no eps",
        _with(divide=lambda x, m, v, e: (x - m) / v.sqrt()),
        "eps plays no part: a word whose numbers are all equal has variance 0, and 0/0 is NaN.",
    ),
    Wrong(
        "eps fixed",
        _with(divide=lambda x, m, v, e: _divide(x, m, v, 1e-5)),
        "You use a fixed, tiny eps, or none; the argument eps is ignored.",
    ),
    Wrong(
        "eps fixed",
        _with(_unbiased, lambda x, m, v, e: _divide(x, m, v, 1e-5)),
        "You use a fixed, tiny eps, or none, and the argument eps is ignored; and your variance divides by C − 1, "
        "where layer norm divides by C.",
    ),
    Wrong(
        "divided by the variance",
        _with(divide=lambda x, m, v, e: (x - m) / (v + e)),
        "You divide by the variance. Its root brings the spread to 1.",
    ),
    Wrong(
        "mean kept",
        _with(lambda x: (x.new_zeros(()), x.square().mean(-1, keepdim=True))),
        "You divide by the root of the mean square without taking off the mean. That is RMS norm, which later "
        "models use; layer norm takes off the mean first.",
    ),
    Wrong(
        "mean kept",
        _with(divide=lambda x, m, v, e: x / (v + e).sqrt()),
        "The mean is not taken off before the division.",
    ),
    Wrong(
        "mean only",
        _with(divide=lambda x, m, v, e: x - m),
        "The mean is taken off, but nothing is divided: every word is to get variance 1 as well.",
    ),
    Wrong("gain and bias not used", _with(scale=lambda n, g, b: n), "Gain and bias are not used."),
    Wrong("bias not used", _with(scale=lambda n, g, b: n * g), "The bias is not used."),
    Wrong("gain not used", _with(scale=lambda n, g, b: n + b), "The gain is not used."),
    Wrong(
        "bias before the gain",
        _with(scale=lambda n, g, b: (n + b) * g),
        "The bias is added before the gain is multiplied, so it is stretched, too: gain · x̂ + bias.",
    ),
    Wrong(
        "gain and bias exchanged",
        _with(scale=lambda n, g, b: n * b + g),
        "Gain and bias have changed places.",
    ),
    Wrong(
        "gain on top of 1",
        _with(scale=lambda n, g, b: n * (1 + g) + b),
        "You multiply by 1 + gain. Some models store it that way; here the gain is the factor itself.",
    ),
    Symptom(
        "digits lost",
        lambda case, got: case.note == FAR,
        "Only numbers far from 0 come out wrong. The mean of the squares minus the square of the mean does that, "
        "for instance: both are near a million, and their difference, near 1, drowns in the rounding. Take off "
        "the mean first, then square.",
    ),
)


EXERCISE = Exercise(
    "5.5",
    "Layer norm",
    "implement",
    2,
    12,
    "stack residual blocks with pre- or post-norm and say what each buys",
    (
        Property("values", "mean 0 and variance 1 for every word, then gain and bias", 2),
        Property("eps", "eps where it belongs"),
        Property("axes", "any number of axes before the last"),
        Property("hard", "variance 0, one number, numbers around 1000, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(("output",), WRONGS, advice=_mean_and_variance),
    reference,
)
