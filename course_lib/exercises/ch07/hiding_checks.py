"""What exercise 7.1 holds against an answer: rules without exception, and χ² tests that a right one fails once in 10⁵ draws at most."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from course_lib.exercises.ch07.chance import ALIKE, P, likelihood, unevenness

RATE, MASKED, RANDOM, KEPT = 0.15, 0.8, 0.1, 0.1

Fault = tuple[str, str] | None                  # the misconception's name and what to say


@dataclass(frozen=True)
class Hidden:
    """One batch (B, T) and what an answer made of it."""

    ids: np.ndarray
    special: np.ndarray
    mask_id: int
    shown: np.ndarray
    chosen: np.ndarray

    @cached_property
    def ordinary(self) -> np.ndarray:
        return ~self.special[self.ids]

    @cached_property
    def words(self) -> np.ndarray:
        """The ids that are not special."""
        return np.flatnonzero(~self.special)

    @cached_property
    def fates(self) -> np.ndarray:
        """How each token is shown: 0 as [MASK], 1 as another one, 2 as it is."""
        return np.where(self.shown == self.mask_id, 0, np.where(self.shown == self.ids, 2, 1))

    @cached_property
    def fate_counts(self) -> np.ndarray:
        return np.bincount(self.fates[self.chosen], minlength=3)


# ---------------------------------------------------------------- which are chosen


def _is(hidden: Hidden, share: float) -> bool:
    """Whether the share of ordinary tokens that are chosen may be this one."""
    n, chosen = hidden.ordinary.sum(), hidden.chosen.sum()
    return likelihood(np.array([chosen, n - chosen]), np.array([share, 1 - share])) > ALIKE


def _specials(hidden: Hidden) -> Fault:
    wrong = hidden.chosen & ~hidden.ordinary
    if not wrong.any():
        return None
    row, place = np.argwhere(wrong)[0]
    return "specials chosen", (
        f"{wrong.sum()} of your chosen tokens are special, the first in row {row} at place {place}, id {hidden.ids[row, place]}. "
        "There is nothing to be learned from guessing [CLS] or padding."
    )


def _rate(hidden: Hidden) -> Fault:
    n, chosen, changed = hidden.ordinary.sum(), hidden.chosen, hidden.shown != hidden.ids
    rate = chosen.sum() / n
    if likelihood(np.array([chosen.sum(), n - chosen.sum()]), np.array([RATE, 1 - RATE])) >= P:
        return None
    if chosen.any() and (chosen == changed).all():
        return "unchanged ones lost", (
            "chosen is True exactly where shown differs from ids. A chosen token that stays as it is can be told from no other then, and "
            "the loss never asks for it."
        )
    if _is(hidden, 1 - RATE):
        return "turned round", "85 % of the ordinary tokens are chosen: your coin is turned round."
    if _is(hidden, RATE * hidden.ids.size / n):
        return "share of all places", "15 % of all places, special ones included, is more than 15 % of the ordinary tokens."
    return "rate", f"{100 * rate:.1f} % of the ordinary tokens are chosen, and 15 % are asked for."


def _by_places(hidden: Hidden) -> Fault:
    hits, trials = hidden.chosen.sum(0), hidden.ordinary.sum(0)
    if unevenness(hits, trials) <= 0:
        return None
    share = hits / np.maximum(trials, 1)
    most, least = int(np.argmax(share)), int(np.argmin(np.where(trials > trials.max() / 2, share, 1)))
    return "the same places in every row", (
        f"At place {most} {100 * share[most]:.0f} % of the rows are chosen, at place {least} {100 * share[least]:.0f} %. "
        "Every token needs a coin of its own, in every row."
    )


def _whole_rows(hidden: Hidden) -> Fault:
    hits, trials = hidden.chosen.sum(1), hidden.ordinary.sum(1)
    if unevenness(hits, trials) <= 0:
        return None
    share = hits / np.maximum(trials, 1)
    return "whole rows", (
        f"In one row {100 * share.max():.0f} % of the tokens are chosen, in another {100 * share.min():.0f} %: your coin is thrown for a "
        "row, not for a token."
    )


def _same_number(hidden: Hidden) -> Fault:
    hits, trials = hidden.chosen.sum(1), hidden.ordinary.sum(1)
    if unevenness(hits, trials) >= 0:
        return None
    share = 100 * hits / np.maximum(trials, 1)
    return "the same number in every row", (
        f"Each row has nearly the same share of chosen tokens, {share.min():.1f} to {share.max():.1f} %. Tokens that are chosen each by "
        "itself give rows with few and rows with many."
    )


# ---------------------------------------------------------------- what is shown


def _others_changed(hidden: Hidden) -> Fault:
    changed = hidden.shown != hidden.ids
    wrong = ~hidden.chosen & changed
    if not wrong.any():
        return None
    row, place = np.argwhere(wrong)[0]
    where = f"Row {row}, place {place}: {hidden.ids[row, place]} became {hidden.shown[row, place]}, and it is not chosen. "
    if changed[hidden.ordinary].mean() > 0.7:
        return "all tokens hidden", where + "The shares 80, 10 and 10 % are of the chosen tokens, not of all."
    if hidden.chosen.any() and (hidden.fates[hidden.chosen] == 0).all():
        return "only [MASK] is asked", where + "chosen is True where [MASK] is shown, and nowhere else. The loss asks for all three kinds."
    return "others changed", where + "What is not chosen stays as it is."


def _specials_put_in(hidden: Hidden) -> Fault:
    wrong = (hidden.fates == 1) & hidden.special[hidden.shown]
    if not wrong.any():
        return None
    row, place = np.argwhere(wrong)[0]
    return "specials put in", (
        f"Row {row}, place {place}: the random token is {hidden.shown[row, place]}, a special one. A [SEP] in the middle of a text, or "
        "padding that is read, teaches nothing."
    )


FATES: tuple[tuple[str, tuple[float, float, float], str], ...] = (
    ("always [MASK]", (1, 0, 0), "Every chosen token is shown as [MASK]. A model that reads no [MASK] later has never worked without one."),
    ("none kept", (0.8, 0.2, 0), "No chosen token stays as it is."),
    ("none kept", (0.9, 0.1, 0), "No chosen token stays as it is."),
    ("none random", (0.8, 0, 0.2), "No chosen token becomes a random one."),
    ("none random", (0.9, 0, 0.1), "No chosen token becomes a random one."),
    (
        "15 % taken twice",
        (0.85, 0, 0.15),
        "85 % become [MASK] and 15 % stay. 15 % is the share that is chosen; of these three kinds are made.",
    ),
    (
        "15 % taken twice",
        (0.85, 0.15, 0),
        "85 % become [MASK] and 15 % random. 15 % is the share that is chosen; of these three kinds are made.",
    ),
    (
        "a tenth of the rest",
        (0.8, 0.02, 0.18),
        "18 % stay, and 2 % become random: your tenth is one of the fifth that is left, or is masked once more.",
    ),
    (
        "drawn over [MASK]",
        (0.72, 0.1, 0.18),
        "72 % are [MASK], and 18 % stay: the random tokens take their tenth from all chosen ones, those that are [MASK] already too.",
    ),
    ("shares exchanged", (0.1, 0.8, 0.1), "80 % become random tokens. That is [MASK]'s share."),
    ("shares exchanged", (0.1, 0.1, 0.8), "80 % stay as they are. That is [MASK]'s share."),
    ("all random", (0, 1, 0), "Every chosen token becomes a random one."),
    ("nothing hidden", (0, 0, 1), "Every chosen token stays as it is: the model can copy."),
)


def _fates(hidden: Hidden) -> Fault:
    def shares(masked: float, random: float, kept: float) -> np.ndarray:
        return np.array([masked, random, kept]) + np.array([0, -1, 1]) * random / len(hidden.words)     # it may hit the word itself

    counts = hidden.fate_counts
    if not counts.any():
        return "nothing chosen", "You choose no token at all."
    if likelihood(counts, shares(MASKED, RANDOM, KEPT)) >= P:
        return None
    for name, known, message in FATES:
        if likelihood(counts, shares(*known)) > ALIKE:
            return name, message
    masked, random, kept = 100 * counts / max(counts.sum(), 1)
    return "shares", f"Of the chosen tokens {masked:.1f} % are [MASK], {random:.1f} % another token, {kept:.1f} % as they were."


def _one_random_word(hidden: Hidden) -> Fault:
    rows, places = np.nonzero(hidden.chosen & (hidden.fates == 1))
    put_in = hidden.shown[rows, places]
    equal = (put_in[1:] == put_in[:-1])[rows[1:] == rows[:-1]]
    if len(equal) < 50 or equal.mean() < 0.25:
        return None
    told = "the whole batch" if (put_in == put_in[0]).all() else "a row"
    return f"one word for {told}", f"The random tokens of {told} are one and the same. Draw one for every place."


def _random_words(hidden: Hidden) -> Fault:
    """Over which tokens the random ones are spread: any ordinary one but the one it replaces, with which it would not show."""
    where = hidden.chosen & (hidden.fates == 1)
    before, counts, common = (np.bincount(ids, minlength=len(hidden.special))[hidden.words]
                              for ids in (hidden.ids[where], hidden.shown[where], hidden.ids[hidden.ordinary]))
    if likelihood(counts, _normal(where.sum() - before)) >= P:
        return None
    share = _normal(common)
    per_draw = before / (1 - share)
    if likelihood(counts, _normal(share * (per_draw.sum() - per_draw))) > ALIKE:
        return "words of the text", "Your random tokens are taken from the text, where few words are frequent: draw from the vocabulary."
    word = hidden.words[int(np.argmax(counts))]
    often = f"{word} comes {counts.max()} of {counts.sum()} times"
    return "not all alike", f"Your random tokens are not spread evenly over the ordinary ids: {often}."


def _normal(weights: np.ndarray) -> np.ndarray:
    return weights / max(weights.sum(), 1e-9)


def _fates_together(hidden: Hidden) -> Fault:
    masked = hidden.chosen & (hidden.fates == 0)
    uneven = {group: unevenness(masked.sum(axis), hidden.chosen.sum(axis)) for axis, group in ((1, "row"), (0, "place"))}
    if group := next((group for group, found in uneven.items() if found > 0), ""):
        return f"one fate for a {group}", (
            f"Chosen tokens of one {group} share their fate: some {group}s have no [MASK] at all, others nothing else. "
            "Throw the second coin for every token, too."
        )
    if group := next((group for group, found in uneven.items() if found < 0), ""):
        return "exact shares", f"Of each {group} nearly the same share is [MASK]. Every chosen token throws a coin of its own."
    return None


CHECKS: tuple[tuple[str, bool, Callable[[Hidden], Fault]], ...] = (     # group, whether it is a rule without exception, check
    ("chosen", True, _specials),
    ("shown", True, _others_changed),
    ("shown", True, _specials_put_in),
    ("chosen", False, _by_places),
    ("chosen", False, _whole_rows),
    ("chosen", False, _rate),
    ("chosen", False, _same_number),
    ("shown", False, _fates_together),
    ("shown", False, _fates),
    ("shown", False, _one_random_word),
    ("shown", False, _random_words),
)
