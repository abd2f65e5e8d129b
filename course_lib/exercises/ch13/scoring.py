"""Exercise 13.8, a reward model of one's own, learned from noisy comparisons and measured on clean ones of Tinytown."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from course_lib.data.tinytown.instructions import Instruction, iterate_instructions
from course_lib.data.tinytown.judge import Scores, judge
from course_lib.data.tinytown.labeller import DEFAULT_WEIGHTS, Labeller, Responder
from course_lib.exercises.answers import Output
from course_lib.exercises.ch12.town import core, holds, manners, words
from course_lib.exercises.judging import kind
from course_lib.exercises.spec import Case, Exercise, Finding, Property

KINDS = ("answer", "refuse", "list", "continue")
N_TRAIN, N_BLIND = 500, 500
NOISE, GAP = 0.1, 0.75      # so often a label is flipped; so much better is the better one of a clean pair, at least
# Share of clean pairs right, least to most over 6 draws: length 0.45–0.52, manners 0.66–0.70, manners and spare sentences 0.67–0.72,
# a count of words 0.72–0.84, truth alone 0.83–0.85, manners, spare sentences and the nouns of the story 0.90–0.93, reference 0.98–0.99.
MARKS = (0.6, 0.76, 0.87)


class Pair(NamedTuple):
    """Two responses to one instruction that differ, and what the judge says of them."""

    instruction: Instruction
    texts: tuple[str, str]
    scores: tuple[Scores, Scores]


def _pairs(rng: np.random.Generator):
    crowd = Responder(int(rng.integers(2**31)))
    for instruction in iterate_instructions(int(rng.integers(2**31)), KINDS):
        first, second = crowd.candidates(instruction, 2)
        if first != second:
            yield Pair(instruction, (first, second), (judge(instruction, first), judge(instruction, second)))


def _story(instruction: Instruction) -> dict[str, str]:
    return {"story": instruction.context, "prompt": instruction.prompt}


def draw(rng: np.random.Generator) -> list[Case]:
    """Comparisons by a labeller who errs, and responses to be scored, in no order; which of them are pairs stays with the judge."""
    pairs, labeller = _pairs(rng), Labeller(NOISE, seed=int(rng.integers(2**31)))
    comparisons = []
    for pair, _ in zip(pairs, range(N_TRAIN)):
        better = labeller.prefer(pair.instruction, *pair.texts)
        comparisons.append({**_story(pair.instruction), "chosen": pair.texts[better], "rejected": pair.texts[1 - better]})
    blind = []
    while len(blind) < N_BLIND:
        pair = next(pairs)
        first, second = (scores.total(DEFAULT_WEIGHTS) for scores in pair.scores)
        if abs(first - second) >= GAP:
            blind.append(pair if first > second else Pair(pair.instruction, pair.texts[::-1], pair.scores[::-1]))
    place = rng.permutation(2 * N_BLIND)
    asked = [{**_story(pair.instruction), "response": text} for pair in blind for text in pair.texts]
    args = {"comparisons": comparisons, "asked": [asked[k] for k in np.argsort(place)]}
    return [Case("", args, hidden={"places": place.reshape(N_BLIND, 2), "pairs": blind})]


def features(story: str, prompt: str, response: str) -> list[float]:
    """What can be seen of a response: manners, spare sentences, length, refusals, and whether it holds in the story."""
    said = core(response)
    refuses = bool(said) and said[0].startswith("Sorry")
    return [*manners(response), len(said), len(words(response)) / 10, refuses, holds(story, prompt, response)]


def fitted(differences: np.ndarray, shrink: float = 1e-2, steps: int = 300) -> np.ndarray:
    """Weights (D,) of a linear score under Bradley–Terry, from chosen less rejected (N, D), by gradient ascent."""
    scale = differences.std(0) + 1e-9
    x, weights = differences / scale, np.zeros(differences.shape[1])
    for _ in range(steps):
        weights += ((1 / (1 + np.exp(x @ weights))) @ x / len(x)) - shrink * weights
    return weights / scale


def reference(comparisons: list[dict[str, str]], asked: list[dict[str, str]]) -> list[float]:
    """A right answer to 13.8: a linear score of a few features, weights by maximum likelihood."""

    def of(row: dict[str, str], name: str) -> np.ndarray:
        return np.array(features(row["story"], row["prompt"], row[name]), dtype=float)

    weights = fitted(np.array([of(row, "chosen") - of(row, "rejected") for row in comparisons]))
    return [float(of(row, "response") @ weights) for row in asked]


# ---------------------------------------------------------------- judging


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by the share of clean pairs in which the better one scores higher; under the last mark, what the scores do not see."""
    (case,), (output,) = cases, outputs
    scores, problem = _scores(output, 2 * N_BLIND)
    if problem:
        return Finding({}, problem)
    better, worse = scores[case.hidden["places"]].T
    right = np.where(better == worse, 0.5, better > worse)
    holds = {prop.group: bool(right.mean() >= mark) for prop, mark in zip(exercise.properties, MARKS, strict=True)}
    measured = f"In {right.sum():g} of {N_BLIND} pairs the better one scores higher."
    message, name = ("", "") if all(holds.values()) else _reason(scores, right, case)
    return Finding(holds, f"{measured} {message}".strip(), name)


def _scores(output: Output, n: int) -> tuple[np.ndarray, str]:
    """Scores (n,), and what is wrong with the form."""
    nothing = np.empty(0)
    if output.status != "value":
        return nothing, output.message or "your function returned nothing"
    value = output.value.tolist() if isinstance(output.value, np.ndarray) and output.value.ndim == 1 else output.value
    if not isinstance(value, (list, tuple)):
        return nothing, f"expected a list of numbers, got {kind(value)}"
    if len(value) != n:
        return nothing, f"you return {len(value)} scores, and {n} responses are asked"
    odd = next((item for item in value if not isinstance(item, (int, float)) or not np.isfinite(item)), None)
    if odd is not None or None in value:
        return nothing, f"expected numbers, got {odd if isinstance(odd, float) else kind(odd)}"
    return np.array(value, dtype=float), ""


def _rank(values: np.ndarray) -> np.ndarray:
    """Ranks, the mean of the ranks for values that are equal."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts + 1) / 2)[which]


def _alone(pair: Pair, name: str) -> bool:
    """True if of truth, manners and brevity just this one makes the better one better."""
    first, second = pair.scores
    same = [getattr(first, other) == getattr(second, other) for other in ("true", "polite", "brief") if other != name]
    return all(same) and getattr(first, name) > getattr(second, name)


_UNSEEN = {
    "polite": ("manners not seen", "the same but for their manners", "What do people like to hear, and what not?"),
    "brief": ("chatter not seen", "the same but for what nobody asked for", "How many sentences answer the question?"),
    "answer": ("false answers not seen", "answers, one false and one true", "What does the story say in the end?"),
    "refuse": ("claims not seen", "a refusal and a claim, where the story does not say it", "Is what is asked for in the story at all?"),
    "list": ("lists not compared", "lists, one with a name too many", "Which names are in the story?"),
    "continue": ("contradictions not seen", "continuations, one against the story", "What kind of sentence comes next in a story?"),
}
LEAST = 0.75        # of the pairs that differ in one thing, where it is seen


def _reason(scores: np.ndarray, right: np.ndarray, case: Case) -> tuple[str, str]:
    """(message, name) of what scores do not see."""
    if np.ptp(scores) == 0:
        return "All responses score the same.", "all alike"
    if right.mean() < 0.35:
        return "That is worse than a coin: are chosen and rejected exchanged, or is the higher score the worse one?", "turned round"
    better, worse = scores[case.hidden["places"]].T
    if (better == worse).mean() > 0.4:
        shares = f"In {100 * (better == worse).mean():.0f} % of the pairs both score the same."
        return f"{shares} What was learned has to say something about responses that were never compared.", "mostly ties"
    length = np.array([len(row["response"]) for row in case.args["asked"]])
    if abs(np.corrcoef(_rank(scores), _rank(length))[0, 1]) > 0.9:
        return "Your scores say little more than how long a response is.", "length alone"
    if right.mean() < MARKS[0]:
        return "That is hardly more than a coin reaches: neither truth nor manners are seen.", ""
    groups = {name: np.array([_alone(pair, name) for pair in case.hidden["pairs"]]) for name in ("true", "polite", "brief")}
    kinds = np.array([pair.instruction.kind for pair in case.hidden["pairs"]])
    groups |= {name: groups["true"] & (kinds == name) for name in KINDS}
    shares = {name: right[those].mean() for name, those in groups.items() if name in _UNSEEN and those.any()}
    unseen = max(shares, key=lambda name: (LEAST - shares[name]) * groups[name].sum())
    if shares[unseen] >= LEAST:
        return f"Least is seen of pairs that are {_UNSEEN[unseen][1]}.", ""
    name, what, question = _UNSEEN[unseen]
    return f"Of pairs that are {what}, {100 * shares[unseen]:.0f} % are right. {question}", name


EXERCISE = Exercise(
    "13.8",
    "A judge of your own",
    "measure",
    4,
    30,
    "fit a reward to comparisons; notice when a reward is being gamed",
    (
        Property("length", "the first mark: clearly more than length tells"),
        Property("manners", "the second mark: more than manners tell"),
        Property("truth", "the third mark: the story is compared"),
    ),
    draw,
    examine,
    reference,
)
