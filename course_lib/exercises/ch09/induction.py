"""Exercise 9.5, heads that look at what followed when the same word came before (induction heads; Olsson et al. 2022)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, first_off
from course_lib.exercises.spec import Case, Exercise, Property


def reference(weights: Tensor, T: int) -> Tensor:
    """The expected value of 9.5: the mean of weights[h, T + i, i + 1] over i = 0 … T − 1."""
    i = torch.arange(T)
    return weights[:, T + i, i + 1].mean(1)


# ---------------------------------------------------------------- draws

LOOKS = {                            # kind of head: the place that the query at place q likes to look at
    "induction": lambda q, T: q - T + 1,
    "duplicate": lambda q, T: q - T,
    "previous": lambda q, T: q - 1,
    "first": lambda q, T: 0 * q,
    "itself": lambda q, T: q,
}


def head(rng: np.random.Generator, kind: str, T: int, liking: float = 3.0) -> np.ndarray:
    """The causal attention map (2T, 2T) of one head: random scores, and a liking for one place of `LOOKS`; "random" has none."""
    scores, query = rng.standard_normal((2 * T, 2 * T)), np.arange(2 * T)
    if kind in LOOKS:
        key = LOOKS[kind](query, T)
        seen = (key >= 0) & (key <= query)
        scores[query[seen], key[seen]] += liking + rng.uniform(-1, 1, seen.sum())
    parts = np.exp(np.where(query[:, None] >= query, scores, -np.inf))
    return parts / parts.sum(1, keepdims=True)


def _case(rng: np.random.Generator, group: str, kinds: Sequence[str], T: int, note: str, dtype: str = "float32", layout: str = "C") -> Case:
    maps = np.stack([head(rng, kind, T) for kind in kinds])
    return Case(group, {"weights": np.asarray(maps, dtype, layout), "T": T}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    kinds = [*LOOKS, "random"]
    several = [[kinds[i] for i in rng.permutation(len(kinds))[:n]] for n in (6, 4, 5)]
    long = int(rng.integers(7, 11))
    return [
        _case(rng, "values", several[0], 6, "6 heads, T = 6"),
        _case(rng, "values", several[1], long, f"4 heads, T = {long}"),
        _case(rng, "values", several[2], 5, "5 heads, T = 5"),
        _case(rng, "hard", ["induction"], 4, "one head, T = 4"),
        _case(rng, "hard", ["random", "induction", "previous"], 2, "3 heads, T = 2"),
        _case(rng, "hard", ["duplicate", "induction"], 12, "float64, not contiguous", "float64", "F"),
    ]


# ---------------------------------------------------------------- mistakes


def _at(query: int = 0, key: int = 1, first: int = 0, less: int = 0) -> Callable[[Tensor, int], Tensor]:
    """Weights (H, n) of the queries at places T + i + query for the keys at places i + key, i = first … T − 1 − less."""

    def picked(weights, T):
        i = torch.arange(first, T - less)
        return weights[:, T + i + query, i + key]

    return picked


def _mean(picked: Callable[[Tensor, int], Tensor]) -> Callable[[Tensor, int], Tensor]:
    return lambda weights, T: picked(weights, T).mean(1)


def _hits(weights: Tensor, T: int) -> Tensor:
    return (weights[:, T:].argmax(2) == torch.arange(1, T + 1)).double().mean(1)


_INDUCTION = _at()
_TARGET = "The place to look at is i + 1, that of the word after the first occurrence."
_LAST = "Places T + i are 2T − 1 at most, and all T of them count: the last one, too, has a place i + 1 to look at."
WRONGS = (
    Wrong(
        "the same word",
        _mean(_at(key=0)),
        f"You measure how much a head looks at the same word, where it came first. That head finds duplicates. {_TARGET}",
    ),
    Wrong("the word before", _mean(_at(first=1, key=-1)), f"You measure the weight on the word before the first occurrence. {_TARGET}"),
    Wrong(
        "two further",
        _mean(_at(key=2)),
        f"You measure the weight two places behind the first occurrence. {_TARGET}",
    ),
    Wrong(
        "previous word",
        _mean(lambda weights, T: weights.diagonal(-1, 1, 2)[:, T - 1 :]),
        f"You measure how much a head looks at the place just before. That is a previous-word head. {_TARGET}",
    ),
    Wrong(
        "itself",
        _mean(lambda weights, T: weights.diagonal(0, 1, 2)[:, T:]),
        f"You measure how much a word looks at itself. {_TARGET}",
    ),
    Wrong(
        "transposed",
        lambda weights, T: reference(weights.mT, T),
        "Rows and columns are exchanged. weights[h, q, k] is what the query at place q gives to the key at place k, and a place never "
        "looks at what comes behind it.",
    ),
    Wrong(
        "query one place early",
        _mean(_at(query=-1, key=0)),
        "The step is right, T − 1 places back, but you begin one place too early, at T − 1, where no word has come a second time yet.",
    ),
    Wrong(
        "a query too many",
        _mean(lambda weights, T: weights.diagonal(1 - T, 1, 2)),
        "You average the whole diagonal. It begins at place T − 1, where no word has come a second time yet.",
    ),
    Wrong("last place left out", _mean(_at(less=1)), f"You leave out the last place. {_LAST}"),
    Wrong("first place left out", _mean(_at(first=1)), f"You leave out place T, the first at which a word comes again. {_LAST}"),
    Wrong(
        "the whole block",
        lambda weights, T: weights[:, T:, 1 : T + 1].mean((1, 2)),
        "You average over all pairs of a place in the second half and one in the first. Each place T + i has one place i + 1 that counts.",
    ),
    Wrong("maximum", lambda weights, T: _INDUCTION(weights, T).amax(1), "You take the largest of the weights. The score is their mean."),
    Wrong("sum", lambda weights, T: _INDUCTION(weights, T).sum(1), "You add the weights up. The score is their mean, between 0 and 1."),
    Wrong(
        "divided by 2T",
        lambda weights, T: _INDUCTION(weights, T).sum(1) / (2 * T),
        "You divide by 2T. Only the T places of the second half are asked for a word that came before.",
    ),
    Wrong(
        "divided by T − 1",
        lambda weights, T: _INDUCTION(weights, T).sum(1) / (T - 1),
        "You divide by T − 1, and there are T places.",
    ),
    Wrong("heads averaged", lambda weights, T: reference(weights, T).mean(), "You average the heads. Each has a score of its own: (H,)."),
    Wrong(
        "heads averaged",
        lambda weights, T: reference(weights, T).mean().expand(len(weights)),
        "Every head gets the mean of all. Which one it is that looks back is what the scores are to tell.",
    ),
    Wrong(
        "places averaged over heads",
        lambda weights, T: _INDUCTION(weights, T).mean(0),
        "You average over the heads and keep the places. It is the other way round: a number for each head.",
    ),
    Wrong("not averaged", _INDUCTION, "You return a weight for each place. The score of a head is their mean."),
    Wrong(
        "hits counted",
        _hits,
        "You count how often place i + 1 has the largest weight. The score is the weight itself, on average.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    h, T = first_off(got[0], expected[0])[0], case.args["T"]
    return f"Print which weights you average for head {h}: as many as T = {T}, and none in row {T - 1} or before"


EXERCISE = Exercise(
    "9.5",
    "Heads that have seen it before",
    "implement",
    3,
    20,
    "find what the model learned inside",
    (
        Property("values", "the mean weight on the word that followed, for each head", 4),
        Property("hard", "one head, a text of two words, float64"),
    ),
    draw,
    ArrayExaminer(("scores",), WRONGS, advice=_advice),
    reference,
)
