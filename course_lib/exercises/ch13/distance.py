"""Exercise 13.4, an estimate of KL(p‖q) from words of p that is never negative (Schulman 2020): half of it upside down."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property


def reference(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The expected value of 13.4: r − 1 − log r with r = q/p. Its mean under p is Σ q − Σ p + KL(p‖q) = KL(p‖q)."""
    log_r = log_q - log_p
    return log_r.exp() - 1 - log_r


# ---------------------------------------------------------------- draws


def _distributions(rng: np.random.Generator, n: int, apart: float) -> np.ndarray:
    """Log-probabilities of n words under p and under q, (2, n)."""
    logits = rng.standard_normal(n) + apart * rng.standard_normal((2, n))
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def _case(rng: np.random.Generator, group: str, drawn: int | None, note: str, *, n: int = 8, apart: float = 0.8,
          dtype: str = "float32") -> Case:
    """`drawn` words from p, or None: each word of the vocabulary once."""
    log_p, log_q = _distributions(rng, n, apart)
    words = np.arange(n) if drawn is None else rng.choice(n, drawn, p=np.exp(log_p))
    return Case(group, {"log_p": log_p[words].astype(dtype), "log_q": log_q[words].astype(dtype)}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(6, 10))
    return [
        _case(rng, "values", more, f"{more} words drawn from p"),
        _case(rng, "values", 12, "12 words drawn from p, a large vocabulary", n=50),
        _case(rng, "average", None, "each of 8 words once"),
        _case(rng, "average", None, f"each of {more} words once", n=more),
        _case(rng, "average", None, "each of 30 words once", n=30, apart=0.4),
        _case(rng, "hard", 1, "one word", n=5, apart=1.5),
        _case(rng, "hard", 6, "p and q far apart", apart=2.5),
        _case(rng, "hard", 6, "float64", dtype="float64"),
    ]


# ---------------------------------------------------------------- mistakes


def _with(of: Callable[[Tensor], Tensor]) -> Callable:
    """A wrong answer: another function of log q − log p."""
    return lambda log_p, log_q: of(log_q - log_p)


def _average(case: Case, got: Arrays) -> str:
    """What an estimate is on average over the vocabulary, against KL; "" where not every word is there."""
    p = np.exp(case.args["log_p"].astype(float))
    if abs(p.sum() - 1) > 1e-4 or got[0].shape != p.shape:
        return ""
    exact = p @ (case.args["log_p"] - case.args["log_q"]).astype(float)
    return f"Over {case.note.removesuffix(' once')}, weighted by p, your numbers come to {number(p @ got[0])}; KL(p‖q) is {number(exact)}."


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    place = int(got[0].argmin())
    p, q = (float(np.exp(case.args[name][place])) for name in ("log_p", "log_q"))
    return (
        f"{case.note}: word {place} has p = {number(p)} and q = {number(q)}, and your number for it is {number(got[0][place])}. Two terms "
        "are made of one ratio. Write down p/q or q/p beside each of them."
    )


WRONGS = (
    Wrong("half upside down", _with(lambda d: (-d).exp() - 1 - d), _planted),
    Wrong("half upside down", _with(lambda d: d.exp() - 1 + d), _planted),
    Wrong(
        "all upside down",
        _with(lambda d: (-d).exp() - 1 + d),
        "That is never negative, but its ratio is p over q: on average over words from p it is something else than KL(p‖q).",
    ),
    Wrong(
        "k1",
        _with(lambda d: -d),
        "log p − log q is right on average, and negative for each word that q likes better. What has mean 0 and can be added?",
    ),
    Wrong("k1 of the other", _with(lambda d: d), "log q − log p is −KL(p‖q) on average."),
    Wrong("k2", _with(lambda d: d.square() / 2), "Half the square of the log-ratio is never negative, and not right on average."),
    Wrong("squared", _with(torch.square), "The square of the log-ratio is not right on average."),
    Wrong("absolute value", _with(torch.abs), "An absolute value is never negative, and too large on average: the signs were to cancel."),
    Wrong("clamped at 0", _with(lambda d: (-d).clamp(min=0)), "Setting what is negative to 0 makes the average too large."),
    Wrong("1 forgotten", _with(lambda d: d.exp() - d), "A 1 is missing: where p and q agree, yours is 1 and the distance 0."),
    Wrong("1 added", _with(lambda d: d.exp() + 1 - d), "The 1 is to be subtracted: where p and q agree, yours is 2 and the distance 0."),
    Wrong("ratio alone", _with(lambda d: d.exp() - 1), "r − 1 has mean 0 for whatever p and q are: it says nothing of their distance."),
    Wrong("wrong sign", _with(lambda d: 1 + d - d.exp()), "The sign is wrong: yours is never positive."),
    Wrong(
        "weighted by p",
        lambda log_p, log_q: log_p.exp() * reference(log_p, log_q),
        "You weigh by p. The words are drawn from p already, the likely ones more often.",
    ),
    Wrong(
        "the other KL's",
        _with(lambda d: d.exp() * d - d.exp() + 1),
        "r log r − (r − 1) is on average the other one's, KL(q‖p).",
    ),
    Wrong("base 2", _with(lambda d: d.exp() - 1 - d / np.log(2)), "Your logarithm has base 2, and the exponential has e."),
    Wrong("averaged", lambda log_p, log_q: reference(log_p, log_q).mean(), "You return the mean. A number for each word is asked for."),
    Wrong("averaged", lambda log_p, log_q: reference(log_p, log_q).sum(), "You return the sum. A number for each word is asked for."),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return _average(case, got) or "Where p and q agree, r is 1 and log r is 0: what does yours say there?"


EXERCISE = Exercise(
    "13.4",
    "A negative distance",
    "debug",
    2,
    12,
    "measure how far a policy has moved",
    (
        Property("values", "a number for each word that was drawn, never negative"),
        Property("average", "over a whole vocabulary, KL(p‖q) on average"),
        Property("hard", "one word, distributions far apart, float64"),
    ),
    draw,
    ArrayExaminer(("estimates",), WRONGS, advice=_advice),
    reference,
)
