"""Exercise 7.6, blanks filled without a network, measured in nats on hidden sentences of Tinytown against what one neighbour tells."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from course_lib.data.tinytown import stories
from course_lib.exercises.answers import Output
from course_lib.exercises.judging import arrays_of, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property

Ids = list[int]
N_STORIES, N_HIDDEN = 500, 120              # about 3400 sentences to count in, about 800 with a blank
# Mean nats a blank as a share of what the better single neighbour leaves, least to most over 12 draws: the word alone 2.06–2.22, the
# mean of both neighbours 0.93–0.97, two words on the left 0.79–0.90, the product of both neighbours 0.78–0.83 with one added to each
# count, 0.72–0.77 with back-off, both neighbours together with back-off 0.73–0.78, two words on each side with back-off 0.56–0.66.
FIRST_MARK, BOTH_MARK, WIDE_MARK = 0.9, 0.84, 0.68
ALIKE = 0.05                                # mean of the summed differences of two distributions


def _ids(rng: np.random.Generator) -> tuple[list[Ids], list[Ids], int]:
    """Sentences to count in, hidden sentences, and how many words there are; what a word's id is, is drawn."""
    told = [[words for story in stories(n, int(rng.integers(2**31)), split) for words in story.en]
            for n, split in ((N_STORIES, "train"), (N_HIDDEN, "test"))]
    words = sorted({word for sentences in told for words in sentences for word in words})
    names = dict(zip(words, rng.permutation(len(words)).tolist()))
    train, hidden = ([[names[word] for word in words] for words in sentences] for sentences in told)
    return train, hidden, len(words)


def draw(rng: np.random.Generator) -> list[Case]:
    """Sentences as ids, and others of the same town with one [MASK] each; what was there stays with the judge."""
    train, hidden, mask_id = _ids(rng)
    places = [int(rng.integers(len(ids))) for ids in hidden]
    blanks = [[*ids[:place], mask_id, *ids[place + 1:]] for ids, place in zip(hidden, places)]
    args = {"sentences": train, "blanks": blanks, "mask_id": mask_id, "vocab_size": mask_id + 1}
    return [Case("", args, hidden={"words": [ids[place] for ids, place in zip(hidden, places)]})]


# ---------------------------------------------------------------- counting

Contexts = Callable[[Ids, int], list[tuple[int, ...]]]      # a sentence between boundaries, a place in it → from rough to fine
EDGE = -1


def left(width: int) -> Contexts:
    """No word, one word before, …, `width` words before."""
    return lambda ids, at: [tuple(ids[at - n:at]) for n in range(width + 1)]


def right(width: int) -> Contexts:
    """No word, one word behind, …, `width` words behind."""
    return lambda ids, at: [tuple(ids[at + 1:at + 1 + n]) for n in range(width + 1)]


def _bounded(ids: Ids) -> Ids:
    return [EDGE, EDGE, *ids, EDGE, EDGE]


def counted(sentences: list[Ids], blanks: list[Ids], mask_id: int, vocab_size: int, contexts: Contexts) -> np.ndarray:
    """p(word | the finest context), each mixed with the next rougher one's as if that were one count more: (N, V)."""
    seen: dict[tuple[int, tuple[int, ...]], Counter] = {}
    for ids in map(_bounded, sentences):
        for at in range(2, len(ids) - 2):
            for level, context in enumerate(contexts(ids, at)):
                seen.setdefault((level, context), Counter())[ids[at]] += 1
    rows = np.full((len(blanks), vocab_size), 1 / vocab_size)
    for row, ids in zip(rows, map(_bounded, blanks)):
        for key in enumerate(contexts(ids, ids.index(mask_id))):
            counts = seen.get(key, Counter())
            total = sum(counts.values())
            row /= total + 1
            row[list(counts)] += np.array(list(counts.values())) / (total + 1)
    return rows


def reference(sentences: list[Ids], blanks: list[Ids], mask_id: int, vocab_size: int) -> np.ndarray:
    """A right answer to 7.6: two words before and two behind, independent of each other given the word between (Bayes)."""
    before, behind, alone = (counted(sentences, blanks, mask_id, vocab_size, contexts) for contexts in (left(2), right(2), left(0)))
    both = before * behind / alone
    return both / both.sum(1, keepdims=True)


# ---------------------------------------------------------------- judging


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by mean nats a blank as a share of what the better one of two neighbours leaves; under the last mark, the reason."""
    (case,), (output,) = cases, outputs
    found, problem = _probabilities(output, len(case.args["blanks"]), case.args["vocab_size"])
    if problem:
        return Finding({}, problem)
    words = np.array(case.hidden["words"])
    sides = [counted(*case.args.values(), contexts) for contexts in (left(1), right(1))]
    mine, *single = (_nats(p, words) for p in (found, *sides))
    share = mine / min(single)
    holds = {"first": share <= FIRST_MARK, "both": share <= BOTH_MARK, "wide": share <= WIDE_MARK}
    holds = {group: bool(held) for group, held in holds.items()}
    message, name = ("", "") if holds["wide"] else _reason(found, case, sides, words)
    measured = f"{number(mine)} nats a blank on {len(words)} hidden ones (the word before alone {number(single[0])}, the word behind alone "
    return Finding(holds, f"{measured}{number(single[1])}). {message}".strip(), name)


def _nats(p: np.ndarray, words: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(-np.log(p[np.arange(len(words)), words]).mean())


def _probabilities(output: Output, n: int, vocab_size: int) -> tuple[np.ndarray, str]:
    """(N, V), and what is wrong with the form."""
    nothing = np.empty(0)
    if output.status != "value":
        return nothing, output.message or "your function returned nothing"
    try:
        (p,) = arrays_of(output.value, ("probabilities",))
    except ValueError as error:
        return nothing, str(error)
    if p.shape != (n, vocab_size):
        return nothing, f"probabilities has shape {p.shape}, expected (blanks, vocab_size), {(n, vocab_size)}"
    if not np.isfinite(p).all() or p.min() < 0:
        return nothing, f"{(~np.isfinite(p) | (p < 0)).sum()} of your probabilities are negative, NaN or ∞"
    sums = p.sum(1)
    off = int(np.abs(sums - 1).argmax())
    if abs(sums[off] - 1) > 1e-3:
        return nothing, f"the probabilities of blank {off} add up to {number(sums[off])}, expected 1"
    return p, ""


def _reason(p: np.ndarray, case: Case, sides: list[np.ndarray], words: np.ndarray) -> tuple[str, str]:
    """(message, name) of what keeps these probabilities above the last mark."""
    mask_id, rows = case.args["mask_id"], [_bounded(ids) for ids in case.args["blanks"]]
    at = [ids.index(mask_id) for ids in rows]
    before, behind = ([ids[place + step] for ids, place in zip(rows, at)] for step in (-1, 1))
    impossible = int((p[np.arange(len(words)), words] == 0).sum())
    if impossible and (p.max(1) > 0.999).all():
        return "You name one word for each blank, and are sure of it. One that is wrong costs ∞ nats.", "one word alone"
    if impossible:
        return (
            f"At {impossible} blanks the right word has probability 0, which costs ∞ nats. What was never seen somewhere may still come."
        ), "never seen, so impossible"
    if np.ptp(p, axis=0).max() < 1e-6:
        return "Every blank gets the same probabilities: what stands beside it plays no part.", "neighbours ignored"
    if _decided_by(before, p):
        return "Where the word before is the same, your probabilities are. The word behind the blank can be read, too.", "left side alone"
    if _decided_by(behind, p):
        return "Where the word behind is the same, your probabilities are. The word before the blank can be read, too.", "right side alone"
    if _decided_by([tuple(ids[:place]) for ids, place in zip(rows, at)], p):
        return "What comes behind the blank plays no part in your probabilities. It is there to be read.", "left side alone"
    if np.abs(p - sum(sides) / 2).sum(1).mean() < ALIKE:
        return (
            "You average what the two neighbours say. A word that only one of them allows keeps half of its probability. What if both "
            "have to agree?"
        ), "averaged"
    if _decided_by(list(zip(before, behind)), p):
        return (
            "You read one word on each side. A second one tells more, if you do not rely on it where it was never seen."
        ), "one word on each side"
    return f"The last mark is at {WIDE_MARK} of what the better neighbour alone leaves.", ""


def _decided_by(contexts: list, p: np.ndarray) -> bool:
    """True if blanks in the same context, some of which there have to be, always get the same probabilities."""
    first: dict = {}
    pairs = [(n, first[key]) for n, key in enumerate(contexts) if first.setdefault(key, n) != n]
    return len(pairs) >= 20 and all(np.abs(p[n] - p[m]).max() < 1e-6 for n, m in pairs)


EXERCISE = Exercise(
    "7.6",
    "Fill in the blank",
    "measure",
    4,
    25,
    "say what both directions buy, beside counting and a one-sided model",
    (
        Property("first", "the first mark: clearly fewer nats than one neighbour leaves"),
        Property("both", "the second mark: as few as both neighbours together leave"),
        Property("wide", "the third mark: as few as two words on each side leave"),
    ),
    draw,
    examine,
    reference,
)
