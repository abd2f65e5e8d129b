"""Exercise 3.4, the alignment error rate of a corpus."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.metrics import alignment_error_rate


def reference(predicted: list[set], sure: list[set], possible: list[set]) -> float:
    """The expected value of 3.4, by the course's alignment_error_rate, which refuses a corpus without links."""
    return alignment_error_rate(predicted, sure, possible) if any(predicted) or any(sure) else 0.0


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
    nothing: dict[str, list[set]] = {"predicted": [set()], "sure": [set()], "possible": [set()]}
    return [
        Case("values", _alignments(rng, 5)),
        Case("values", _alignments(rng, 1), "a single sentence"),
        Case("sure", strict, "every possible link is sure"),
        Case("hard", apart, "possible links listed without the sure ones"),
        Case("hard", empty, "a sentence without predictions, one without any link"),
        Case("hard", perfect, "all and only the sure links predicted"),
        Case("hard", nothing, "no predicted and no sure link at all, so nothing is wrong and the rate is 0"),
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
        counts = _total(predicted, sure, possible, _both(predicted, sure), _both(predicted, possible))
        return formula(*counts) if any(counts) else 0.0

    return rate


def _mean_of_rates(predicted, sure, possible):
    linked = [group for group in zip(predicted, sure, possible, strict=True) if group[0] or group[1]]
    rates = [reference([a], [s], [p]) for a, s, p in linked]
    return sum(rates) / len(rates) if rates else 0.0


def _turned(predicted, sure, possible):
    return reference([{(j, i) for i, j in links} for links in predicted], sure, possible)


def _merged(predicted, sure, possible):
    return reference(*([set().union(*group)] for group in (predicted, sure, possible)))


def _compare_counts(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: is it a count or the formula?"""
    predicted, sure, possible = case.args.values()
    a, s, a_s = _total(predicted, sure, _both(predicted, sure))
    (a_p,) = _total(_both(predicted, _joined(possible, sure)))
    counts = f"|A| = {a}, |S| = {s}, |A ∩ S| = {a_s} and |A ∩ P| = {a_p}"
    return f"There {counts} over the corpus: print yours" if a + s else ""


WRONGS = (
    Wrong(
        "1 − AER",
        lambda a, s, p: 1 - reference(a, s, p),
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
        "|A ∩ P| forgotten",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - a_s / (a + s)),
        "You count |A ∩ S| alone. The formula adds |A ∩ P|: 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|), or a "
        "perfect prediction would still have an error rate of a half.",
    ),
    Wrong(
        "|A ∩ S| forgotten",
        _rate_with(lambda a, s, p, a_s, a_p: 1 - a_p / (a + s)),
        "You count |A ∩ P| alone, so that a predicted sure link counts once. It counts twice, in |A ∩ S| and "
        "in |A ∩ P|: 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|).",
    ),
    Wrong(
        "sentences merged",
        _merged,
        "You merge the links of all sentences into one set, where (0, 0) of one sentence is (0, 0) of "
        "another. Count sentence by sentence, add up the counts.",
    ),
    Wrong(
        "percent",
        lambda a, s, p: 100 * reference(a, s, p),
        "You return per cent; the rate is a share, between 0 and 1.",
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
    ArrayExaminer(("rate",), WRONGS, advice=_compare_counts),
    reference,
)
