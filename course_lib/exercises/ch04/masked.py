"""Exercise 4.3, causal and padding mask: five planted bugs, one property for each.

A bug is to be seen whether or not the others are still there. Two kinds of draws do that. With scores around
1000 a hidden score of 0 weighs nothing, so they show what is hidden, whatever it is filled with; the same
words with ordinary scores show whether hidden is hidden.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import causal_mask, masked_softmax
from course_lib.exercises.answers import Output
from course_lib.exercises.judging import ArrayExaminer, difference, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property

HIGH = 1000.0
Seen = list[tuple[Case, np.ndarray]]  # each case with the weights that the answer gave on it


def reference(scores: Tensor, real: Tensor) -> Tensor:
    """The expected value of 4.3, by the course's causal_mask and masked_softmax."""
    mask = causal_mask(scores.shape[2], scores.shape[3]) & real[:, None, None, :]
    return masked_softmax(scores, mask)


def _padded(rng: np.random.Generator, batch: int, steps: int) -> np.ndarray:
    """(batch, steps), True for a word: place 0 always is one, and padding stands between words."""
    real = np.ones((batch, steps), dtype=bool)
    for row in real:
        row[rng.choice(np.arange(1, steps - 1), size=2, replace=False)] = False
    return real


def _noise(rng: np.random.Generator, shape: Sequence[int], base: float) -> np.ndarray:
    """Scores of standard deviation 1.5, within 3.5 of `base`, in steps of 1/64: exact in float32."""
    return base + np.round(64 * (1.5 * rng.standard_normal(shape)).clip(-3.5, 3.5)) / 64


def draw(rng: np.random.Generator) -> list[Case]:
    """Pairs of cases with the same words: high scores, then ordinary ones; and futures that outweigh the past."""
    cases = []
    steps = int(rng.integers(5, 8))
    for name, heads, real, note in (
        ("whole", 2, np.ones((2, steps), dtype=bool), "no padding"),
        ("padded", 2, _padded(rng, 3, 6), "padding between the words"),
        ("padded", 3, _padded(rng, 3, 7), "padding, as many heads as sentences"),
    ):
        shape = (len(real), heads, real.shape[1], real.shape[1])
        for role, base in ((f"{name} high", HIGH), (f"{name} ordinary", 0.0)):
            scores = _noise(rng, shape, base).astype(np.float32)
            more = f", scores near {HIGH:.0f}" if base else ""
            cases.append(Case("", {"scores": scores, "real": real.copy()}, note + more, {"role": role}))
    future = _noise(rng, (1, 2, 5, 5), HIGH) + 200 * np.triu(np.ones((5, 5)), 1)
    whole = np.ones((1, 5), dtype=bool)
    args = {"scores": future.astype(np.float32), "real": whole}
    cases.append(Case("", args, "later words score 200 more than earlier ones", {"role": "future"}))
    scores = np.asfortranarray(_noise(rng, (1, 3, 4, 4), 0.0))
    args = {"scores": scores, "real": np.array([[True, False, True, True]])}
    cases.append(Case("", args, "float64, not contiguous", {"role": "other"}))
    return cases


def _where(case: Case, b: int, h: int, t: int) -> str:
    return f"{case.note}: query {t} (sentence {b}, head {h})"


def _of(seen: Seen, role: str) -> Seen:
    return [(case, weights) for case, weights in seen if role in case.hidden["role"]]


def looks_back(seen: Seen) -> str:
    """Hole 1, the triangle: the words before are seen, those after the next are not. "" or the symptom."""
    for case, weights in _of(seen, "whole high"):
        t, s = np.indices(weights.shape[2:])
        ahead = np.where(s > t + 1, weights, 0)
        if np.nan_to_num(ahead).any():
            b, h, t, s = np.unravel_index(np.nan_to_num(ahead).argmax(), ahead.shape)
            return f"{_where(case, b, h, t)} attends to the future: weight {number(ahead[b, h, t, s])} at key {s}"
        blind = np.argwhere((s < t) & ~(weights > 0))
        if blind.size:
            b, h, t, s = blind[0]
            return f"{_where(case, b, h, t)} gives weight {number(weights[b, h, t, s])} to key {s}, a word before it"
    return ""


def sees_itself(seen: Seen) -> str:
    """Hole 2, the border: a word sees itself and one of its neighbours. "" or the symptom."""
    for case, weights in _of(seen, "whole high"):
        for t in range(1, weights.shape[2] - 1):
            before, own, after = (weights[:, :, t, s] for s in (t - 1, t, t + 1))
            if not (own > 0).all():
                b, h = np.argwhere(~(own > 0))[0]
                return f"{_where(case, b, h, t)} gives weight {number(own[b, h])} to itself"
            if ((before > 0) & (after > 0)).any():
                b, h = np.argwhere((before > 0) & (after > 0))[0]
                return f"{_where(case, b, h, t)} attends to its successor: weight {number(after[b, h])} at key {t + 1}"
            if not ((before > 0) | (after > 0)).all():
                b, h = np.argwhere(~((before > 0) | (after > 0)))[0]
                return f"{_where(case, b, h, t)} gives weight 0 to the words before and after it"
    return ""


def hides_wholly(seen: Seen) -> str:
    """Hole 3, the filling: what weighs nothing at high scores does so at ordinary ones. "" or the symptom."""
    for kind in ("whole", "padded"):
        pairs = zip(_of(seen, f"{kind} high"), _of(seen, f"{kind} ordinary"), strict=True)
        for (_, high), (case, low) in pairs:
            hidden, sound = high == 0, np.isfinite(high).all(3) & np.isfinite(low).all(3)
            used = sound & (high > 0).any(3)
            if not hidden[used].any():
                return f"{case.note}: no weight is exactly 0"
            leak = np.where(sound[..., None] & hidden, np.abs(low), 0)
            if leak.any():
                b, h, t, s = np.unravel_index(leak.argmax(), leak.shape)
                return (
                    f"{_where(case, b, h, t)} gives key {s} weight {number(low[b, h, t, s])}; with scores near "
                    f"{HIGH:.0f} that key gets exactly 0, and the mask is the same"
                )
            scores = np.where(hidden, -np.inf, case.args["scores"].astype(np.float64))[used]
            due = np.exp(scores - scores.max(1, keepdims=True))
            due /= due.sum(1, keepdims=True)
            with np.errstate(invalid="ignore", divide="ignore"):
                mine = low[used] / low[used].sum(1, keepdims=True)
            wrong = np.argwhere(~(np.abs(mine - due) < 1e-3))
            if wrong.size:
                row, s = wrong[0]
                b, h, t = np.argwhere(used)[row]
                share = f"{number(mine[row, s])} of the weight of query {t}, by the scores {number(due[row, s])}"
                return f"{case.note}: key {s} gets {share} (sentence {b}, head {h})"
    return ""


def skips_padding(seen: Seen) -> str:
    """Hole 4, the axis of the padding mask: no query attends to padding. "" or the symptom."""
    for case, weights in _of(seen, "padded high"):
        real = case.args["real"]
        words = np.broadcast_to(real[:, None, :], weights.shape[:3])
        sound = words & np.isfinite(weights).all(3) & (weights > 0).any(3)
        if 2 * sound.sum() < words.sum():
            b, h, t = np.argwhere(words & ~sound)[0]
            return f"{_where(case, b, h, t)}, a word, gets {'no weights at all' if np.isfinite(weights[b, h, t]).all() else 'NaN'}"
        leak = np.where(real[:, None, None, :], 0, np.nan_to_num(np.abs(weights)))
        if leak.any():
            leak = leak * words[..., None] if leak[words].any() else leak  # a word's leak is the better example
            b, h, t, s = np.unravel_index(leak.argmax(), leak.shape)
            return f"{_where(case, b, h, t)} attends to padding: weight {number(leak[b, h, t, s])} at key {s}"
    return ""


def sums_to_one(seen: Seen) -> str:
    """Hole 5, the place of the mask: every row is a distribution, whatever the scores. "" or the symptom."""
    for case, weights in seen:
        with np.errstate(invalid="ignore"):
            sums = weights.sum(3)
            off = np.argwhere(~(np.abs(sums - 1) < 1e-3))
        if off.size:
            words = [row for row in off if case.args["real"][row[0], row[2]]]
            b, h, t = words[0] if words else off[0]
            padding = "" if words else ", a padding place,"
            said = "are NaN" if np.isnan(sums[b, h, t]) else f"sum to {number(sums[b, h, t])}, not to 1"
            return f"{case.note}: the weights of query {t}{padding} {said} (sentence {b}, head {h})"
    return ""


def _competes_wrongly(seen: Seen) -> str:
    """The symptom of a softmax over the queries, which shows in every hole; "" if there is none."""
    for case, weights in _of(seen, "whole high"):
        rows, columns = weights.sum(3), weights.sum(2)
        sound = np.isfinite(columns)
        if 2 * sound.sum() >= sound.size and (np.abs(columns[sound] - 1) < 1e-3).all() and sums_to_one([(case, weights)]):
            b, h, t = np.unravel_index(np.nan_to_num(np.abs(rows - 1)).argmax(), rows.shape)
            return (
                f"{case.note}: what one key gets from all queries sums to 1, but the weights of query {t} sum to "
                f"{number(rows[b, h, t])} (sentence {b}, head {h}). Who competes for whose attention? Mend that first"
            )
    return ""


HOLES: tuple[tuple[str, str, str, Callable[[Seen], str]], ...] = (
    ("triangle", "attends to the future", "words look back, not ahead", looks_back),
    ("border", "off by one", "a word sees itself, and only one of its two neighbours", sees_itself),
    ("filling", "hidden, but not wholly", "what the mask hides weighs exactly 0, at any scores", hides_wholly),
    ("axis", "attends to padding", "no query attends to padding", skips_padding),
    ("sum", "rows do not sum to 1", "every row of weights sums to 1, at any scores", sums_to_one),
)
PARSER = ArrayExaminer(("weights",), ())


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """A point for each hole that is closed, and the symptom of each that is open."""
    seen: Seen = []
    for case, output in zip(cases, outputs, strict=True):
        got, problem = PARSER.parse(output)
        if not problem and got[0].shape != case.args["scores"].shape:
            problem = f"weights have shape {got[0].shape}, expected {case.args['scores'].shape}"
        if problem:
            return Finding({}, f"{case.note}: {problem}")
        seen.append((case, got[0]))
    said = {group: find(seen) for group, _, _, find in HOLES}
    holds = {group: not text for group, text in said.items()}
    if turned := _competes_wrongly(seen):
        return Finding(holds, turned, "softmax over the queries")
    if not any(said.values()):
        said["filling"] = _other(seen)
    messages = [message for message in said.values() if message]
    name = next((name for group, name, *_ in HOLES if said[group]), "")
    remark = next(filter(None, map(PARSER.remark, outputs)), "") if not messages else ""
    return Finding({group: not text for group, text in said.items()}, "\n  → ".join(messages) or remark, name)


def _other(seen: Seen) -> str:
    """Where weights differ from the course's own though every property holds; "" if nowhere."""
    for case, weights in seen:
        given = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.args.items()}
        due = reference(given["scores"].double(), given["real"]).numpy()
        if where := difference(("weights",), (weights,), (due,)):
            return f"{case.note}: {where}"
    return ""


EXERCISE = Exercise(
    "4.3",
    "Five holes in one mask",
    "debug",
    4,
    25,
    "mask the future and the padding, and prove it by derivatives",
    tuple(Property(group, text) for group, _, text, _ in HOLES),
    draw,
    examine,
    reference,
)
