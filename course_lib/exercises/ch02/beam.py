"""Exercise 2.5, one step of beam search."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong
from course_lib.exercises.spec import Case, Exercise, Property


def reference(scores: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The expected value of 2.5: one step of course_lib.generation.beam_search, without its bookkeeping."""
    total = scores[:, None] + log_probs  # (k, V)
    best, at = total.flatten().topk(len(scores))
    return best, at // log_probs.shape[1], at % log_probs.shape[1]


def _beam_case(
    rng: np.random.Generator,
    group: str,
    k: int,
    words: int,
    note: str = "",
    dtype: str = "float32",
    start: bool = False,
    layout: str = "C",
) -> Case:
    while True:  # until no two of the best are so close that rounding decides
        scores = np.sort(-5 * rng.random(k))[::-1].astype(dtype)
        logits = 1.5 * rng.standard_normal((k, words))
        log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        if start:
            scores = np.where(np.arange(k) == 0, 0, -np.inf).astype(dtype)
        best = np.sort((scores[:, None] + log_probs)[np.isfinite(scores)].ravel())[::-1][: k + 1]
        if np.diff(best).max(initial=-1) < -1e-2:
            args = {
                "scores": np.ascontiguousarray(scores),
                "log_probs": np.asarray(log_probs, dtype=dtype, order=layout),
            }
            return Case(group, args, note)


def draw(rng: np.random.Generator) -> list[Case]:
    return [
        _beam_case(rng, "values", 3, int(rng.integers(6, 10))),
        _beam_case(rng, "values", 4, int(rng.integers(6, 10))),
        _beam_case(rng, "values", 2, 30),
        _beam_case(rng, "start", 3, 7, "first step: all beams but one at -∞", start=True),
        _beam_case(rng, "hard", 1, 5, "a beam of one"),
        _beam_case(rng, "hard", 4, 4, "as many beams as words"),
        _beam_case(rng, "hard", 3, 8, "float64, not contiguous", dtype="float64", layout="F"),
    ]


def _beam_with(
    total: Callable[[Tensor, Tensor], Tensor], report: Callable | None = None, largest: bool = True
) -> Callable:
    """A wrong step: another `total` (k, V) to choose by, another `report` of the choice, or the worst."""

    def step(scores, log_probs):
        table, (k, words) = total(scores, log_probs), log_probs.shape
        best, at = table.flatten().topk(k, largest=largest)
        return report(best, at, k, words) if report else (best, at // words, at % words)

    return step


def _sum(scores, log_probs):
    return scores[:, None] + log_probs


def _greedy_beams(scores, log_probs):
    best, token = log_probs.max(1)
    total, parent = (scores + best).sort(descending=True)
    return total, parent, token[parent]


def _unsorted(scores, log_probs):
    best, parents, tokens = reference(scores, log_probs)
    order = (parents * log_probs.shape[1] + tokens).argsort()
    return best[order], parents[order], tokens[order]


def _chosen_only(scores, log_probs):
    _, parents, tokens = reference(scores, log_probs)
    return log_probs[parents, tokens], parents, tokens


def _greedy_message(case: Case, got: Arrays, expected: Arrays) -> str:
    kept = len(set(expected[1].tolist()))
    return (
        f"Each of your beams keeps its own best word, so all {len(got[1])} survive. Continuations "
        f"compete across beams: here the best {len(got[1])} come from {kept} "
        f"beam{'s' if kept > 1 else ''}, parents {expected[1].astype(int).tolist()}, and yours from "
        f"{got[1].astype(int).tolist()}."
    )


_ORDER = "The right continuations in the wrong order: sort them, best first."

WRONGS = (
    Wrong("best of each beam", _greedy_beams, _greedy_message),
    Wrong(
        "best of each beam",
        lambda s, p: (s + p.max(1).values, torch.arange(len(s)), p.argmax(1)),
        _greedy_message,
    ),
    Wrong(
        "old scores forgotten",
        _beam_with(lambda s, p: p + 0 * s.clamp(min=-1)[:, None]),
        "You rank by the new log-probabilities alone. A continuation is worth scores[i] + log_probs[i, w].",
    ),
    Wrong(
        "new scores without the old",
        _chosen_only,
        "The right continuations, but new_scores holds only the last word's log-probability: add the "
        "parent's score.",
    ),
    Wrong(
        "log-probabilities multiplied",
        _beam_with(lambda s, p: s[:, None] * p),
        "You multiply log-probabilities. Probabilities multiply, so their logarithms add.",
    ),
    Wrong(
        "parent and token swapped",
        _beam_with(_sum, lambda b, at, k, words: (b, at % words, at // words)),
        "Parent and token are swapped: in a flattened (k, V) table, place p is beam p // V and word p % V.",
    ),
    Wrong(
        "divided by k",
        _beam_with(_sum, lambda b, at, k, words: (b, at // k, at % k)),
        "You divide the place in the flattened table by k. A row of the (k, V) table is V long: p // V "
        "and p % V.",
    ),
    Wrong(
        "flattened over the wrong axis",
        _beam_with(lambda s, p: _sum(s, p).T.reshape(p.shape)),
        "The table is flattened word by word and read beam by beam: transposed (V, k) and (k, V) are not "
        "the same order.",
    ),
    Wrong(
        "true division",
        _beam_with(_sum, lambda b, at, k, words: (b, at / words, at % words)),
        "A parent is a whole number: divide with //, not with /.",
    ),
    Wrong(
        "probabilities, not logarithms",
        _beam_with(lambda s, p: s[:, None] + p.exp()),
        "You add probabilities to log-probabilities: log_probs are logarithms already.",
    ),
    Wrong(
        "probabilities returned",
        _beam_with(_sum, lambda b, at, k, words: (b.exp(), at // words, at % words)),
        "The right continuations, but you return probabilities, not log-probabilities: no exp at the end. "
        "Over many words the product of probabilities underflows to 0; the sum of logarithms does not.",
    ),
    Wrong(
        "place, not token",
        _beam_with(_sum, lambda b, at, k, words: (b, at // words, at)),
        "Your tokens are places in the flattened (k, V) table: word number p % V stands at place p.",
    ),
    Wrong(
        "worst kept",
        _beam_with(_sum, largest=False),
        "You keep the worst continuations. Log-probabilities are negative: best is largest, nearest to 0.",
    ),
    Wrong("not sorted", _unsorted, _ORDER),
    Wrong("not sorted", lambda s, p: tuple(part.flip(0) for part in reference(s, p)), _ORDER),
)


EXERCISE = Exercise(
    "2.5",
    "One step of beam search",
    "implement",
    3,
    12,
    "search for a sentence instead of a word",
    (
        Property("values", "the k best of all continuations, best first"),
        Property("start", "the first step"),
        Property("hard", "a beam of one, k = V, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(
        ("new_scores", "parents", "tokens"), WRONGS, kinds={"parents": "int64", "tokens": "int64"}
    ),
    reference,
)
