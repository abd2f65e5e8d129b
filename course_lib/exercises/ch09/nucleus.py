"""Exercise 9.2, the distribution of nucleus sampling (Holtzman et al. 2020)."""

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.ch09.nucleus_mistakes import LARGE, WRONGS
from course_lib.exercises.judging import ArrayExaminer, Arrays
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.generation import filter_logits


def reference(logits: Tensor, p: float) -> Tensor:
    """The expected value of 9.2, by the course's filter_logits."""
    return filter_logits(logits, top_p=p).exp()


# ---------------------------------------------------------------- draws


def _kept(logits: np.ndarray, p: float) -> np.ndarray:
    """How many words a row keeps; 0 where rounding could decide: the sum near p, or its last word nearly as probable as the next."""
    best = -np.sort(-torch.from_numpy(logits).softmax(-1).numpy())
    near = (np.abs(best.cumsum(-1)[:, :-1] - p) < 0.01).any(-1)
    n = 1 + (best.cumsum(-1) < p).sum(-1)
    ends = np.append(best, np.zeros((len(best), 1)), axis=1)
    tied = ends[np.arange(len(best)), n - 1] - ends[np.arange(len(best)), n] < 0.01
    return np.where(near | tied, 0, n)


def _case(rng: np.random.Generator, group: str, kept: tuple[int, ...], words: int, p: float, note: str, *, around: float = 0,
          dtype: str = "float32", layout: str = "C", never: int = 0) -> Case:
    """Rows that keep as many words as `kept` says; `around`: of all logits; `never`: words that no row can say, their logits −∞."""
    rows: list[np.ndarray] = []
    while len(rows) < len(kept):
        tried = around + rng.standard_normal((200, words)) * rng.uniform(0.5, 3, (200, 1)) + rng.uniform(-1, 1, (200, 1))
        tried[:, rng.permutation(words)[:never]] = -np.inf
        found = np.flatnonzero(_kept(tried, p) == kept[len(rows)])
        rows += [tried[found[0]]] if len(found) else []
    return Case(group, {"logits": np.asarray(np.stack(rows), dtype, layout), "p": p}, f"{note}, p = {p}")


def draw(rng: np.random.Generator) -> list[Case]:
    few, some, many = (round(float(p), 2) for p in (rng.uniform(0.52, 0.6), rng.uniform(0.66, 0.74), rng.uniform(0.8, 0.88)))
    return [
        _case(rng, "values", (3, 5, 2), 9, some, "3 rows of 9 words"),
        _case(rng, "values", (4, 2, 6, 3), 12, many, "4 rows of 12 words"),
        _case(rng, "values", (4, 2, 3, 5), 10, few, "4 rows of 10 words"),
        _case(rng, "best", (1, 2, 3), 8, few, "a row whose best word is enough"),
        _case(rng, "best", (1, 1), 6, 0.05, "two rows whose best word is enough"),
        _case(rng, "hard", (4,), 7, many, "one row"),
        _case(rng, "hard", (2, 3, 4), 9, some, "words that cannot be said", never=3),
        _case(rng, "hard", (3, 2), 8, many, "float64, not contiguous", dtype="float64", layout="F"),
        _case(rng, "hard", (3, 2), 6, some, LARGE, around=200),
    ]


# ---------------------------------------------------------------- judging


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = int(np.argmax(np.abs(got[0] - expected[0]).max(-1)))
    return f"Print row {row}'s probabilities from the best word on, their sums so far, and mark the words you keep"


EXERCISE = Exercise(
    "9.2",
    "The nucleus",
    "implement",
    3,
    15,
    "decode: strategies as distributions, the most probable text",
    (
        Property("values", "the smallest set of best words that reaches p, a distribution again", 2),
        Property("best", "a best word that reaches p by itself"),
        Property("hard", "one row, words that cannot be said, large logits, float64"),
    ),
    draw,
    ArrayExaminer(("probabilities",), WRONGS, advice=_advice),
    reference,
)
