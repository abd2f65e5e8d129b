"""Exercise 9.1, the nats that a language model loses on the words of a padded batch: a planted shift."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, difference
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.losses import token_cross_entropy

NAMES = ("nats", "words")
LARGE = "logits of size 200"
BOS = 2


def reference(logits: Tensor, ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The expected value of 9.1, by the course's token_cross_entropy."""
    real = torch.arange(1, ids.shape[1]) < torch.tensor(lengths)[:, None]               # (B, T − 1): is there a word t + 1?
    return token_cross_entropy(logits[:, :-1], ids[:, 1:], real)


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, lengths: Sequence[int], words: int, note: str, *, scale: float = 2.0,
          dtype: str = "float32", layout: str = "C", any_ids: bool = False) -> Case:
    """Rows that begin with <bos>. `any_ids`: padding holds any words, and a real word may be 0; else padding is 0, and no word is."""
    longest = max(lengths)
    real = np.arange(longest) < np.array(lengths)[:, None]
    ids = rng.integers(0 if any_ids else 1, words, real.shape)
    ids[:, 0] = BOS
    if any_ids:
        ids[int(np.argmax(lengths)), 1:3] = rng.permutation([0, words - 1])
    else:
        ids = np.where(real, ids, 0)
    logits = np.asarray(rng.standard_normal((*real.shape, words)) * scale, dtype, layout)
    return Case(group, {"logits": logits, "ids": ids, "lengths": list(lengths)}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    ragged = [[int(n) for n in rng.permutation(lengths)] for lengths in ((3, 5, 8), (2, 6, 7, 4))]
    infinite = _case(rng, "hard", (6, 3), 7, "±∞ and NaN among the logits of the padding", any_ids=True)
    infinite.args["logits"][1, 3:] = np.array([-np.inf, np.inf, np.nan])[:, None]
    return [
        _case(rng, "values", [6] * 3, int(rng.integers(7, 10)), "three rows without padding"),
        _case(rng, "values", [4] * 4, 4, "rows, places, words: all 4"),
        _case(rng, "values", [9] * 2, 5, "two rows without padding"),
        _case(rng, "padding", ragged[0], 6, f"rows of {', '.join(map(str, ragged[0]))} ids"),
        _case(rng, "padding", ragged[1], 9, f"rows of {', '.join(map(str, ragged[1]))} ids"),
        infinite,
        _case(rng, "hard", (4, 1, 5), 6, "a row that is <bos> alone", any_ids=True),
        _case(rng, "hard", (3, 7), 8, "float64, not contiguous", dtype="float64", layout="F", any_ids=True),
        _case(rng, "hard", (5, 3), 6, LARGE, scale=200, any_ids=True),
    ]


# ---------------------------------------------------------------- mistakes

Each = Callable[[Tensor, Tensor], Tensor]  # of logits and ids a number for each place; of these and the lengths, which places count


def _nll(logits: Tensor, ids: Tensor, dim: int = -1) -> Tensor:
    return -logits.log_softmax(dim).gather(-1, ids[..., None]).squeeze(-1)


def _ahead(score: Each = _nll) -> Each:
    return lambda logits, ids: score(logits[:, :-1], ids[:, 1:])                        # (B, T − 1)


def _places(less: int = 1, first: int = 0) -> Each:
    """Of each row the places from `first` on, `less` fewer than it has ids."""
    return lambda each, lengths: (torch.arange(each.shape[1]) < lengths[:, None] - less) & (torch.arange(each.shape[1]) >= first)


def _everywhere(each: Tensor, lengths: Tensor) -> Tensor:
    return torch.ones_like(each, dtype=torch.bool)


def _with(each: Each | None = None, counted: Each | None = None, total: Callable[[Tensor], Tensor] = torch.sum,
          words: Callable[[Tensor, Tensor], Tensor] = lambda real, lengths: real.sum()) -> Callable:
    """A wrong answer: `each` scores the places, `counted` picks some of them, `total` adds them up, `words` says how many."""

    def answer(logits, ids, lengths):
        scores, lengths = (each or _ahead())(logits, ids), torch.tensor(lengths)
        real = (counted or _places())(scores, lengths)
        return total(scores[real]), words(real, lengths)

    return answer


def _row_means(logits: Tensor, ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    scores, real = _ahead()(logits, ids), torch.arange(1, ids.shape[1]) < torch.tensor(lengths)[:, None]
    return (scores.masked_fill(~real, 0).sum(1) / real.sum(1)).mean(), real.sum()


def _multiplied(logits: Tensor, ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    words = reference(logits, ids, lengths)[1]
    return (_ahead()(logits, ids) * (torch.arange(1, ids.shape[1]) < torch.tensor(lengths)[:, None])).sum(), words


def _zero_is_padding(logits: Tensor, ids: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    return _ahead()(logits, ids)[ids[:, 1:] != 0].sum(), (ids[:, 1:] != 0).sum()


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but the number of words comes first: who adds up other words has another sum as well."""
    return difference(*(part[::-1] for part in (names, got, expected)))


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    return (
        f"{case.note}: at place 0 the model has read <bos>, and you ask how probable <bos> was. Each of your places is scored by the "
        "word that was read there, which takes no model at all. Which word does logits[:, 0] speak about?"
    )


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    row = int(np.argmax(case.args["lengths"]))
    return f"Print what you add up for row {row}, and beside each number the word that it is about"


_PADDED = "Padding is counted: a row ends where lengths says, and what stands behind it is nobody's word."
_BACK = "The shift goes the wrong way: you score what logits say at a place by the word before it."
_ZERO = "You take every id 0 for padding, and every other for a word. Where a row ends is for lengths to say."
WRONGS = (
    Wrong("not shifted", _with(_nll, _everywhere), _planted),
    Wrong("not shifted", _with(_nll, _places(0)), _planted),
    Wrong("not shifted", _with(_nll, _places(0, first=1)), _planted),
    Wrong("not shifted", _with(_nll), _planted),
    Wrong("shifted the wrong way", _with(lambda l, i: _nll(l[:, 1:], i[:, :-1])), _BACK),
    Wrong("shifted the wrong way", _with(lambda l, i: _nll(l[:, 1:], i[:, :-1]), _everywhere), _BACK),
    Wrong("padding counted", _with(counted=_everywhere), _PADDED),
    Wrong(
        "one word too many",
        _with(counted=_places(0)),
        "In a row that ends in padding you count one word too many: its last word is followed by padding, which is not there to be "
        "guessed.",
    ),
    Wrong("last word forgotten", _with(counted=_places(2)), "The last word of a row is not counted. It is guessed like the others."),
    Wrong(
        "first word forgotten",
        _with(counted=_places(first=1)),
        "The first word after <bos> is not counted. It is guessed, too: <bos> is all there is to guess it from.",
    ),
    Wrong(
        "<bos> counted",
        _with(words=lambda real, lengths: lengths.sum()),
        "The nats are right, but among the words you count <bos>, which nobody has to guess.",
    ),
    Wrong(
        "places counted as words",
        _with(words=lambda real, lengths: torch.tensor(real.numel())),
        "The nats are right, but as words you count all places, padding included.",
    ),
    Wrong(
        "rows counted",
        _with(words=lambda real, lengths: torch.tensor(len(real))),
        "The nats are right; asked for is the number of words, not of rows.",
    ),
    Wrong("mean", _with(total=torch.mean), "You return the mean over the words. Asked for is the total, beside the number of words."),
    Wrong(
        "mean of the rows' means",
        _row_means,
        "You average each row, and then the rows, so that a word in a short row weighs more. Add up all words, and divide nowhere.",
    ),
    Wrong("bits", _with(total=lambda each: each.sum() / np.log(2)), "These are bits: your logarithm has base 2. Asked for are nats."),
    Wrong("perplexity", _with(total=lambda each: each.mean().exp()), "You return the perplexity; asked for are the nats it is made from."),
    Wrong(
        "softmax over the places",
        _with(_ahead(lambda l, i: _nll(l, i, dim=1))),
        "Your softmax runs over the places (dim 1). At every place it is the V words that compete.",
    ),
    Wrong(
        "softmax over the rows",
        _with(_ahead(lambda l, i: _nll(l, i, dim=0))),
        "Your softmax runs over the rows (dim 0); it has to run over the words.",
    ),
    Wrong(
        "the best word's probability",
        _with(_ahead(lambda l, i: -l.log_softmax(-1).amax(-1))),
        "You add up −log p of the word that the model likes best. What counts is the word that came.",
    ),
    Wrong(
        "wrong guesses counted",
        _with(_ahead(lambda l, i: (l.argmax(-1) != i).float())),
        "You count the places where the best word is not the one that came. How probable that one was is what is asked.",
    ),
    Wrong("wrong sign", _with(total=lambda each: -each.sum()), "The sign is wrong: log p is at most 0, and nats lost are −log p."),
    Wrong(
        "raw logits",
        _with(_ahead(lambda l, i: -l.gather(-1, i[..., None])[..., 0])),
        "You add up raw logits. A log-probability is the logit minus the logsumexp over all words.",
    ),
    Wrong(
        "softmax twice",
        _with(_ahead(lambda l, i: _nll(l.softmax(-1), i))),
        "Softmax is taken twice. F.cross_entropy takes logits, and does it itself.",
    ),
    Wrong(
        "probabilities, not logarithms",
        _with(_ahead(lambda l, i: (-_nll(l, i)).exp())),
        "You add up probabilities. Probabilities of words multiply; it is their logarithms that add up.",
    ),
    Wrong(
        "probabilities, not logarithms",
        _with(_ahead(lambda l, i: 1 - (-_nll(l, i)).exp())),
        "You add up 1 − p; asked for is −log p.",
    ),
    Wrong("number first", lambda *args: reference(*args)[::-1], "You return (words, nats), expected (nats, words)."),
    Wrong("0 taken for padding", _zero_is_padding, _ZERO),
    Wrong("0 taken for padding", lambda logits, ids, lengths: reference(logits, ids, (ids != 0).sum(1).tolist()), _ZERO),
    Wrong(
        "first length for all",
        lambda logits, ids, lengths: reference(logits, ids, [lengths[0]] * len(lengths)),
        "All rows are counted as far as the first one goes.",
    ),
    Wrong(
        "padding multiplied by 0",
        _multiplied,
        "You multiply what stands in the padding by 0, and 0 · NaN is NaN, as is 0 · ∞. Select the real words instead.",
    ),
    Symptom(
        "overflow",
        lambda case, got: case.note == LARGE and not np.isfinite(got[0]).all(),
        "exp of a large logit overflows, and the logarithm of a probability that is 0 is −∞: log_softmax and logsumexp never leave "
        "the logarithms.",
    ),
)


EXERCISE = Exercise(
    "9.1",
    "Which word is next?",
    "debug",
    2,
    12,
    "build GPT from chapter 05's blocks, and its loss",
    (
        Property("values", "each place scored by the word that follows it", 2),
        Property("padding", "padding counted nowhere"),
        Property("hard", "padding that holds anything, a row that is <bos> alone, large logits, float64"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, _differs, _advice),
    reference,
)
