"""Exercise 13.2, generalised advantage estimation over responses of different lengths (Schulman et al. 2016, equation 16)."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, number
from course_lib.exercises.spec import Case, Exercise, Property

Deltas = Callable[[np.ndarray, np.ndarray, np.ndarray, float, float], np.ndarray]     # r, V, V of the next word, γ, λ → δ


def _standard(r: np.ndarray, v: np.ndarray, after: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    return r + gamma * after - v


def _gathered(deltas: np.ndarray, decay: float) -> np.ndarray:
    """From the last to the first: each δ and what comes after it, less by `decay`."""
    out, after = np.zeros_like(deltas), 0.0
    for t in reversed(range(len(deltas))):
        with np.errstate(invalid="ignore"):     # a mistake may gather padding
            out[t] = after = deltas[t] + decay * after
    return out


def _each_row(of_row: Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]) -> Callable:
    """Apply `of_row` to the rewards and values of each row's words alone; 0 elsewhere."""

    def answer(rewards, values, mask, gamma, lam):
        out = np.zeros(mask.shape)
        for b, row in enumerate(np.asarray(mask)):
            if row.any():
                out[b, row] = of_row(np.asarray(rewards[b], float)[row], np.asarray(values[b], float)[row], gamma, lam)
        return out

    return answer


def _with(deltas: Deltas = _standard, *, decay: Callable[[float, float], float] = lambda gamma, lam: gamma * lam,
          end: Callable[[np.ndarray], float] = lambda v: 0.0, gather: Callable = _gathered,
          finish: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda found, v: found) -> Callable:
    """The estimate with other δ, another decay, another value behind the last word, another way to gather, or changed at the end."""

    def of_row(r, v, gamma, lam):
        after = np.append(v[1:], end(v))
        return finish(gather(deltas(r, v, after, gamma, lam), decay(gamma, lam)), v)

    return _each_row(of_row)


def reference(rewards: np.ndarray, values: np.ndarray, mask: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """The expected value of 13.2: δ = r + γ V' − V, A = δ + γλ A', where V' and A' are 0 behind the last word."""
    return _with()(rewards, values, mask, gamma, lam)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, words: list[tuple[int, int]], gammas: tuple[float, float], note: str, *,
          garbage: bool = False, dtype: str = "float32", layout: str = "C", spare: int = 0) -> Case:
    """`words`: first and last but one place of each row's response. Padding holds numbers, or NaN and ∞ with `garbage`."""
    places = np.arange(max(stop for _, stop in words) + spare)
    mask = np.array([(places >= start) & (places < stop) for start, stop in words])
    rewards, values = rng.standard_normal((2, *mask.shape))
    values += 0.7
    for (_, stop), row in zip(words, rewards):
        row[stop - 1 if stop else 0] += 2       # the score comes with the last word
    if garbage:
        rewards[~mask], values[~mask] = np.nan, np.resize([np.nan, np.inf, 1e30], (~mask).sum())
    args = {"rewards": np.asarray(rewards, dtype, layout), "values": np.asarray(values, dtype, layout), "mask": mask}
    return Case(group, args | {"gamma": gammas[0], "lam": gammas[1]}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(5, 8))
    return [
        _case(rng, "values", [(0, more), (0, 3), (0, 5)], (0.9, 0.7), f"responses of {more}, 3, 5 words", spare=1),
        _case(rng, "values", [(0, 2), (0, more + 1)], (0.95, 0.8), f"responses of 2, {more + 1} words", spare=2),
        _case(rng, "values", [(0, 4), (0, 6)], (0.8, 0.9), "responses of 4, 6 words"),
        _case(rng, "padding", [(0, 4), (0, more), (0, 2)], (0.9, 0.8), "NaN and ∞ in the padding", garbage=True, spare=1),
        _case(rng, "padding", [(0, 3), (0, 6)], (0.7, 0.9), "NaN and ∞ in the padding, 3 and 6 words", garbage=True, spare=1),
        _case(rng, "hard", [(2, 6), (1, 4)], (0.9, 0.6), "prompts before the responses", spare=1),
        _case(rng, "hard", [(0, 1), (0, 0), (0, 4)], (0.9, 0.8), "one word, and no word"),
        _case(rng, "hard", [(0, 3), (0, 5)], (0.9, 0.7), "float64, not contiguous", dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes


def _whole_rows(masked_values: bool) -> Callable:
    """Padding is gathered like words, or with its rewards and values at 0; at the end it is masked."""

    def answer(rewards, values, mask, gamma, lam):
        r, v, real = np.asarray(rewards, float), np.asarray(values, float), np.asarray(mask)
        if masked_values:
            r = np.where(real, r, 0)
        full = np.ones_like(real)
        return np.where(real, _with()(r, v, full, gamma, lam), 0)

    return answer


def _unmasked(rewards, values, mask, gamma, lam):
    return _with()(rewards, values, np.ones_like(np.asarray(mask)), gamma, lam)


def _normalised(rewards, values, mask, gamma, lam):
    found, real = reference(rewards, values, mask, gamma, lam), np.asarray(mask)
    return np.where(real, (found - found[real].mean()) / found[real].std(), 0)


def _forwards(deltas: np.ndarray, decay: float) -> np.ndarray:
    return _gathered(deltas[::-1], decay)[::-1]


def _rewards_only(r, v, after, gamma, lam):
    return r


def _leaking(case: Case, got: Arrays, expected: Arrays) -> str:
    row = int(np.argwhere(~np.isclose(got[0], expected[0], atol=1e-3))[0][0])
    last = int(np.flatnonzero(case.args["mask"][row])[-1])
    return (
        f"{case.note}: the response of row {row} ends at place {last}, and what stands at place {last + 1} changes its advantages. Behind "
        "the last word nothing comes any more."
    )


_DELTA = "δ is the reward, and γ times the value of the next word, less the value of this one."
WRONGS = (
    Wrong("padding leaks", _whole_rows(False), _leaking),
    Wrong("padding leaks", _whole_rows(True), _leaking),
    Wrong("padding has advantages", _unmasked, "Your padding has advantages. They are 0 where mask is False, and padding counts nowhere."),
    Wrong("last value used twice", _with(end=lambda v: v[-1]), "Behind the last word you put its own value once more. There it is 0."),
    Wrong(
        "γ and λ exchanged",
        _with(lambda r, v, after, gamma, lam: r + lam * after - v),
        "γ and λ have changed places in δ: it is γ that makes the value of the next word less.",
    ),
    Wrong("γ missing in δ", _with(lambda r, v, after, gamma, lam: r + after - v), f"γ is missing in δ. {_DELTA}"),
    Wrong(
        "decays by γ alone",
        _with(decay=lambda gamma, lam: gamma),
        "What comes later is less by γ alone: that is λ = 1, all later rewards less the value. A smaller λ trusts the values on the way.",
    ),
    Wrong("decays by λ alone", _with(decay=lambda gamma, lam: lam), "What comes later is less by λ for each word. It is γ times λ."),
    Wrong("no decay", _with(decay=lambda gamma, lam: 1), "You add up what comes later as it is. It is less by γλ for each word."),
    Wrong("one step", _with(decay=lambda gamma, lam: 0), "You return δ, one step ahead. What comes later counts, by γλ for each word."),
    Wrong("returns", _with(finish=lambda found, v: found + v), "You return advantage plus value: that is what the value is trained on."),
    Wrong("value not subtracted", _with(lambda r, v, after, gamma, lam: r + gamma * after), f"This value is not subtracted. {_DELTA}"),
    Wrong("next value missing", _with(lambda r, v, after, gamma, lam: r - v), f"The next word's value is missing. {_DELTA}"),
    Wrong(
        "rewards alone",
        _with(_rewards_only, decay=lambda gamma, lam: gamma),
        f"You gather rewards, and values play no part. {_DELTA}",
    ),
    Wrong("rewards alone", _with(_rewards_only), f"You gather rewards, and values play no part. {_DELTA}"),
    Wrong("forwards", _with(gather=_forwards), "You gather from the front: a word is credited with what came before it. Begin at the end."),
    Wrong("wrong sign", _with(lambda r, v, after, gamma, lam: v - r - gamma * after), f"The signs are exchanged. {_DELTA}"),
    Wrong("normalised", _normalised, "You normalise them. That is a step of its own; here the estimates are asked for as they are."),
    Symptom(
        "multiplied by 0",
        lambda case, got: case.group == "padding" and bool(np.isnan(got[0]).any()),
        "NaN came in from the padding. 0 · NaN is NaN: what does not count is to be chosen away, with where or an index.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = int(np.flatnonzero(case.args["mask"].any(1))[0])
    last = int(np.flatnonzero(case.args["mask"][row])[-1])
    r, v = float(case.args["rewards"][row, last]), float(case.args["values"][row, last])
    return f"Begin with the last word of row {row}, where reward is {number(r)} and value {number(v)}: nothing comes behind it"


EXERCISE = Exercise(
    "13.2",
    "Credit",
    "implement",
    3,
    20,
    "say what each part of PPO does",
    (
        Property("values", "advantages of responses of different lengths", 2),
        Property("padding", "anything at all in the padding, even NaN", 2),
        Property("hard", "a prompt before, one word, no word, float64"),
    ),
    draw,
    ArrayExaminer(("advantages",), WRONGS, advice=_advice),
    reference,
)
