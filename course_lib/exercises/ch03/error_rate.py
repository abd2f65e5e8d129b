"""Exercise 3.4, the alignment error rate of a corpus."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.metrics import alignment_error_rate


def _alignments(rng: np.random.Generator, n: int, shift: int = 0) -> dict[str, list[set[tuple[int, int]]]]:
    """Random alignments of n sentences: sure links, possible ones beside them, predictions with errors."""
    predicted, sure, possible = [], [], []
    for length in rng.integers(4, 9, n).tolist():
        places = rng.permutation(length).tolist()
        certain = {(i, (j + shift) % length) for i, j in enumerate(places) if rng.random() < 0.7}
        maybe = certain | {(i, (j + 1) % length) for i, j in enumerate(places) if rng.random() < 0.5}
        guess = {link for link in maybe if rng.random() < 0.6}
        guess |= {tuple(link) for link in rng.integers(0, length, (int(rng.integers(1, 4)), 2)).tolist()}
        predicted.append(guess), sure.append(certain), possible.append(maybe)
    return {"predicted": predicted, "sure": sure, "possible": possible}


def draw(rng: np.random.Generator) -> list[Case]:
    strict = _alignments(rng, 6)
    strict["possible"] = [set(links) for links in strict["sure"]]
    apart = _alignments(rng, 4)
    apart["possible"] = [p - s for p, s in zip(apart["possible"], apart["sure"], strict=True)]
    empty = _alignments(rng, 3)
    empty["predicted"][0], empty["sure"][1], empty["predicted"][1] = set(), set(), set()
    perfect = _alignments(rng, 2)
    perfect["predicted"] = [set(links) for links in perfect["sure"]]
    return [
        Case("values", _alignments(rng, 5)),
        Case("values", _alignments(rng, 1), "a single sentence"),
        Case("sure", strict, "every possible link is sure"),
        Case("hard", apart, "possible links listed without the sure ones"),
        Case("hard", empty, "a sentence without predictions, one without any link"),
        Case("hard", perfect, "all and only the sure links predicted"),
    ]


Rate = Callable[[list, list, list], float]


def _total(*groups: list) -> list[int]:
    return [sum(len(links) for links in group) for group in groups]


def _both(a: list, b: list) -> list:
    return [x & y for x, y in zip(a, b, strict=True)]


def _joined(a: list, b: list) -> list:
    return [x | y for x, y in zip(a, b, strict=True)]


def _rate_with(formula: Callable[[int, int, int, int, int], float], closed: bool = True) -> Rate:
    """A wrong rate from the corpus counts |A|, |S|, |P|, |A ∩ S|, |A ∩ P|."""

    def rate(predicted, sure, possible):
        possible = _joined(possible, sure) if closed else possible
        return formula(*_total(predicted, sure, possible, _both(predicted, sure), _both(predicted, possible)))

    return rate


def _mean_of_rates(predicted, sure, possible):
    linked = [group for group in zip(predicted, sure, possible, strict=True) if group[0] or group[1]]
    rates = [alignment_error_rate([a], [s], [p]) for a, s, p in linked]
    return sum(rates) / len(rates)


def _turned(predicted, sure, possible):
    return alignment_error_rate([{(j, i) for i, j in links} for links in predicted], sure, possible)


WRONGS = (
    Wrong(
        "1 − AER",
        lambda a, s, p: 1 - alignment_error_rate(a, s, p),
        "You return 1 − AER, the share that is right. An error rate is 0 when all is well.",
    ),
    Wrong(
        "mean over sentences",
        _mean_of_rates,
        "You average the sentences' error rates, so a sentence of two links counts as much as one of "
        "twenty. Add up the counts over the corpus, then divide once.",
    ),
    Wrong(
        "links turned round", _turned, "Your links are turned round: (i, j) and (j, i) are different links."
    ),
    Wrong(
        "sure links only",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - 2 * a_s / (a + s)),
        "You use the sure links twice, which is 1 − F₁. A predicted link that is possible, though not "
        "sure, is no error: the second count is |A ∩ P|.",
    ),
    Wrong(
        "possible links only",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - 2 * a_p / (a + p)),
        "You use the possible links twice. Nobody has to find a link that is only possible: recall is "
        "measured on S.",
    ),
    Wrong(
        "divided by |A| + |P|",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - (a_s + a_p) / (a + p)),
        "You divide by |A| + |P|. The denominator is |A| + |S|: only sure links have to be found.",
    ),
    Wrong(
        "possible without sure",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - (a_s + a_p) / (a + s), closed=False),
        "A sure link is possible, too, even where the list of possible ones leaves it out: use P ∪ S.",
    ),
    Wrong(
        "precision forgotten",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - a_s / s),
        "You return 1 − recall: linking everything to everything would have no error.",
    ),
    Wrong(
        "recall forgotten",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - a_p / a),
        "You return 1 − precision: predicting one safe link and no more would have no error.",
    ),
    Wrong(
        "mean of precision and recall",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - (a_p / a + a_s / s) / 2),
        "You average precision and recall. The formula adds the counts first and divides once.",
    ),
)


EXERCISE = Exercise(
    "3.4",
    "Alignment error rate",
    "implement",
    2,
    12,
    "measure alignments against the truth",
    (
        Property("values", "sure and possible links over a corpus"),
        Property("sure", "all links sure"),
        Property("hard", "sure links missing from the possible ones, empty sentences, a perfect prediction"),
    ),
    draw,
    ArrayExaminer(("rate",), WRONGS),
    alignment_error_rate,
)
