"""Exercise 6.3, from bytes to tokens as the merges say: a planted bug, the longest token that fits."""

from itertools import pairwise

import numpy as np

from course_lib.exercises.ch06.greedy_mistakes import IN_RUNS, TOO_FEW, WRONG, Merges, fewest, spelled
from course_lib.exercises.ch06.learning import reference as learned
from course_lib.exercises.ch06.lists import Ids, Pair, differs, ids_from, ids_wrong, picked, telling, told_apart
from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.tokenizers.merging import Merger


def reference(ids: Ids, merges: Merges) -> Ids:
    """The expected value of 6.3, by the course's Merger; the merge of rank k makes the id 256 + k."""
    return Merger(merges, range(256, 256 + len(merges)))(list(ids))


# ---------------------------------------------------------------- draws


def _trained(rng: np.random.Generator, letters: Ids, n_merges: int) -> list[Pair]:
    words = [(picked(rng, letters, int(n)), int(n)) for n in rng.integers(3, 8, size=12)]
    return learned(words, n_merges)


def _case(rng: np.random.Generator, group: str, letters: int, n_merges: int, length: int, note: str = "") -> Case:
    """A text of the letters from which the merges were learned, on which all mistakes show but those of runs."""
    alphabet = ids_from(rng, 97, 123, letters)

    def make() -> dict:
        return {"ids": picked(rng, alphabet, length), "merges": _trained(rng, alphabet, n_merges)}

    seen = [answer for name, answer, _ in WRONG if name != IN_RUNS]
    seen += [_unless_alike] * (group == "hard")
    fine = [answer for name, answer, _ in WRONG if name == IN_RUNS and group == "values"]
    return _noted(group, note=note, **telling(make, reference, seen, fine))


def _unless_alike(ids: Ids, merges: Merges) -> Ids | None:
    """Right where a walk that takes the longest token finds as few as there can be, so that two mistakes may look alike."""
    walks = [answer(ids, merges) for name, answer, _ in WRONG if name.startswith("longest")]
    return reference(ids, merges) if min(map(len, walks)) == len(fewest(ids, merges)) else None


def _noted(group: str, ids: Ids, merges: Merges, note: str = "") -> Case:
    return Case(group, {"ids": ids, "merges": merges}, note or f"ids {ids}, merges {', '.join(map(str, merges)) or 'none'}")


def draw(rng: np.random.Generator) -> list[Case]:
    a, b, c, d = ids_from(rng, 97, 123, 4)
    return [
        _case(rng, "values", 3, 6, 12),
        _case(rng, "values", 4, 8, 14),
        _case(rng, "values", 3, 12, 24),
        _noted("runs", [a] * 7, [(a, a), (256, a)]),
        _noted("runs", [b, *[a] * 5, b, *[a] * 4], [(a, a), (256, a), (a, b)]),
        _noted("runs", [a] * 11, [(a, a), (256, 256), (257, a)]),
        _noted("hard", [], [(a, b), (256, c)]),
        _noted("hard", [a], [(a, b)]),
        _noted("hard", [a, b, a, b], []),
        _noted("hard", [b, a, c, a], [(a, b), (256, c), (c, d)]),
        _case(rng, "hard", 4, 16, 80, "80 bytes, 16 merges"),
    ]


# ---------------------------------------------------------------- judging


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: where it shows, and what to ask; the cure is the student's."""
    mine, due = (part[0].astype(int).tolist() for part in (got, expected))
    at = next(n for n, (a, b) in enumerate(zip(mine, due)) if a != b)
    bytes_of = spelled(case.args["merges"])
    place = sum(len(bytes_of[token]) for token in mine[:at])
    return (
        f"{case.note}: at byte {place} you take token {mine[at]}, the longest that fits there. The merges do not end up with "
        "it: replay them in the order of the list, and watch which one takes a byte of it away before."
    )


def _as_few_as_can_be(case: Case, got: Arrays) -> bool:
    """True for tokens that spell the text, so few that no others spell it with fewer: there may be several such ways."""
    ids, merges = case.args.values()
    bytes_of, tokens = spelled(merges), got[0].tolist()
    if got[0].ndim != 1 or any(token not in bytes_of for token in tokens):
        return False
    return [byte for token in tokens for byte in bytes_of[token]] == ids and len(tokens) == len(fewest(ids, merges))


def _first_merge(case: Case, got: Arrays, expected: Arrays) -> str:
    ids, merges = case.args.values()
    return f"The text has these merges in its bytes: {[k for k, pair in enumerate(merges) if pair in set(pairwise(ids))]}, by rank"


EXERCISE = Exercise(
    "6.3",
    "Greedy is not BPE",
    "debug",
    3,
    15,
    "encode any text as the merges say",
    (
        Property("values", "always the possible merge that was learned first", 2),
        Property("runs", "runs of one letter"),
        Property("hard", "no byte, one byte, no merge at all, none that is possible, a long text"),
    ),
    told_apart(draw, WRONG),
    ArrayExaminer(
        ("ids",),
        (
            Wrong(WRONG[0][0], WRONG[0][1], _planted),
            *(ids_wrong(*entry) for entry in WRONG[1:]),
            Symptom("fewest tokens", _as_few_as_can_be, TOO_FEW),
        ),
        differs,
        _first_merge,
    ),
    reference,
)
