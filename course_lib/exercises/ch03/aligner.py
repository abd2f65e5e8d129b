"""Exercise 3.5, an unsupervised word aligner: the draws, the measure, and what usually goes wrong."""

from collections.abc import Callable, Sequence

import numpy as np

from course_lib.baselines import IBMModel1, diagonal_alignment, flip
from course_lib.data.tinytown import translation_pairs
from course_lib.exercises.answers import Output
from course_lib.exercises.ch02.dictionary import N_PAIRS, WordPair, count_together
from course_lib.exercises.judging import kind
from course_lib.exercises.spec import Case, Exercise, Finding, Property
from course_lib.metrics import alignment_error_rate

Links = set[tuple[int, int]]  # (i_en, j_de), both from 0

N_BLIND = 300
# Over eight seeds: diagonal at least 0.53, counting 0.39; Dice at most 0.20, IBM Model 1 at most 0.15.
FIRST_MARK, MARK = 0.35, 0.24


def draw(rng: np.random.Generator) -> list[Case]:
    """3000 pairs for the student; the gold links of the first 300 stay with the judge."""
    pairs = translation_pairs(N_PAIRS, seed=int(rng.integers(2**31)))
    gold = [set(pair.alignment) for pair in pairs[:N_BLIND]]
    return [Case("", {"pairs": [(list(pair.de), list(pair.en)) for pair in pairs]}, hidden={"gold": gold})]


def reference(pairs: Sequence[WordPair]) -> list[Links]:
    """A right answer to 3.5, by the course's IBM Model 1."""
    model = IBMModel1.fit(pairs, iterations=5)
    return [set(model.align(de, en)) for de, en in pairs]


def _on_diagonal(de: Sequence[str], en: Sequence[str]) -> Links:
    return set(diagonal_alignment(len(de), len(en)))


def _same_place(de: Sequence[str], en: Sequence[str]) -> Links:
    return {(i, i) for i in range(min(len(de), len(en)))}


def _everything(de: Sequence[str], en: Sequence[str]) -> Links:
    return {(i, j) for i in range(len(en)) for j in range(len(de))}


def _by_count(pairs: Sequence[WordPair]) -> list[Links]:
    """Each German word to the English word of its sentence that it most often occurs with."""
    both = count_together(pairs)[0]
    return [
        {(max(range(len(en)), key=lambda i: both[d, en[i]]), j) for j, d in enumerate(de)}
        for de, en in pairs[:N_BLIND]
    ]


def _by_count_from_english(pairs: Sequence[WordPair]) -> list[Links]:
    """Each English word to the German word of its sentence that it most often occurs with."""
    both = count_together(pairs)[0]
    return [
        {(i, max(range(len(de)), key=lambda j: both[de[j], e])) for i, e in enumerate(en)}
        for de, en in pairs[:N_BLIND]
    ]


def _each(link: Callable[..., Links]) -> Callable[[Sequence[WordPair]], list[Links]]:
    return lambda pairs: [link(de, en) for de, en in pairs[:N_BLIND]]


_STRAIGHT = (
    "Your links follow the diagonal: they depend on the places of the words, not on the words. "
    "German puts the participle last and turns subject and verb round; only the words themselves "
    "can tell."
)
_COUNTED = (
    "You link a word to the one it most often occurs with, and that is whatever occurs in every "
    "sentence. Divide by the words' own frequencies (Dice), or let words compete for each other "
    "(IBM Model 1)."
)
WRONGS: tuple[tuple[str, Callable, str], ...] = (
    ("diagonal", _each(_on_diagonal), _STRAIGHT),
    ("diagonal", _each(_same_place), _STRAIGHT),
    (
        "everything linked",
        _each(_everything),
        "You link every word to every word: all gold links are found, and nearly all others are wrong.",
    ),
    ("raw co-occurrence", _by_count, _COUNTED),
    ("raw co-occurrence", _by_count_from_english, _COUNTED),
)


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by the alignment error rate of the first 300 pairs; above the mark, the reason."""
    case, output = cases[0], outputs[0]
    if output.status != "value":
        return Finding({}, output.message)
    links, problem = _links_of(output.value, case.args["pairs"])
    if problem:
        return Finding({}, problem, "swapped indices" if "order" in problem else "")
    rate = alignment_error_rate(links, case.hidden["gold"])
    holds = {"first": rate <= FIRST_MARK, "mark": rate <= MARK}
    message, name = ("", "") if holds["mark"] else _reason(links, rate, case)
    return Finding(holds, f"Alignment error rate {rate:.2f} on {N_BLIND} sentences. {message}".strip(), name)


def _links_of(value: object, pairs: Sequence[WordPair]) -> tuple[list[Links], str]:
    """The links of the first 300 sentences as sets of (i_en, j_de), or what is wrong with them."""
    if not isinstance(value, (list, tuple)) or len(value) != len(pairs):
        came = f"{len(value)}" if isinstance(value, (list, tuple)) else kind(value)
        return [], f"expected a list of {len(pairs)} sets of links, one for each pair, got {came}"
    found: list[Links] = []
    beyond, swapped = "", True
    for n, ((de, en), given) in enumerate(zip(pairs[:N_BLIND], value[:N_BLIND], strict=True)):
        links = _pairs_of_numbers(given)
        if links is None:
            came = str(given)[:60]
            return [], f"sentence {n}: expected a set of pairs (i_en, j_de) of whole numbers, got {came}"
        for i, j in sorted(links):
            if not (0 <= i < len(en) and 0 <= j < len(de)):
                beyond = beyond or (
                    f"sentence {n} has {len(en)} English and {len(de)} German words, "
                    f"counted from 0, and you link ({i}, {j})."
                )
            swapped &= 0 <= i < len(de) and 0 <= j < len(en)
        found.append(links)
    if beyond and swapped:
        beyond += " A link is (i_en, j_de) in this order, English first; yours are the other way round."
    return found, beyond


def _pairs_of_numbers(given: object) -> Links | None:
    if not isinstance(given, (set, list, tuple, np.ndarray)):
        return None
    links: Links = set()
    for link in given.tolist() if isinstance(given, np.ndarray) else given:
        if not (isinstance(link, (tuple, list)) and len(link) == 2):
            return None
        if any(isinstance(n, bool) or not isinstance(n, (int, float)) or n != n // 1 for n in link):
            return None
        links.add((int(link[0]), int(link[1])))
    return links


def _reason(links: list[Links], rate: float, case: Case) -> tuple[str, str]:
    pairs, gold = case.args["pairs"], case.hidden["gold"]
    if not any(links):
        return "There is not a single link: no link is wrong, and none is found.", "no link"
    turned = alignment_error_rate([flip(sentence) for sentence in links], gold)
    if turned < min(rate - 0.1, 0.45):
        return (
            "A link is (i_en, j_de) in this order, English first. Turned round, yours would have "
            f"{turned:.2f}.",
            "swapped indices",
        )
    for name, wrong, message in WRONGS:
        theirs = wrong(pairs)
        common = sum(len(mine & their) for mine, their in zip(links, theirs, strict=True))
        if common > 0.95 * max(sum(map(len, links)), sum(map(len, theirs))):
            return message, name
    found = sum(len(mine & true) for mine, true in zip(links, gold, strict=True))
    return (
        f"The mark is {MARK}. Of your {sum(map(len, links))} links {found} are right, and "
        f"{sum(map(len, gold))} were to be found."
    ), ""


EXERCISE = Exercise(
    "3.5",
    "Who goes with whom?",
    "measure",
    4,
    25,
    "measure alignments against the truth",
    (
        Property("first", f"alignment error rate at most {FIRST_MARK}: better than counting"),
        Property("mark", f"the second mark: alignment error rate at most {MARK}", 2),
    ),
    draw,
    examine,
    reference,
)
