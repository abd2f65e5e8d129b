"""Exercise 6.3, from bytes to tokens as the merges say: a planted bug, the longest token that fits."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from course_lib.exercises.ch06.learning import reference as learned
from course_lib.exercises.ch06.lists import Ids, Pair, differs, ids_from, ids_wrong, merge_first, merge_from_right, picked, telling, told_apart
from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.tokenizers import merge
from course_lib.tokenizers.merging import Merger

Merges = Sequence[Pair]
Encoder = Callable[[Ids, Merges], Ids]


def reference(ids: Ids, merges: Merges) -> Ids:
    """The expected value of 6.3, by the course's Merger; the merge of rank k makes the id 256 + k."""
    return Merger(merges, range(256, 256 + len(merges)))(list(ids))


def spelled(merges: Merges) -> dict[int, tuple[int, ...]]:
    """Token → its bytes."""
    bytes_of = {byte: (byte,) for byte in range(256)}
    for new, (a, b) in enumerate(merges, 256):
        bytes_of[new] = bytes_of[a] + bytes_of[b]
    return bytes_of


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
    return _noted(group, note=note, **telling(make, reference, seen))


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
        _case(rng, "hard", 4, 20, 200, "200 bytes, 20 merges"),
    ]


# ---------------------------------------------------------------- what goes wrong


def _one_by_one(key: Callable[[int, Pair, int], tuple], most: int | None = None) -> Encoder:
    """Of all merges that are possible the one with the smallest key(rank, pair, place) is made, again and again."""

    def encode(ids, merges):
        rank, ids, left = {pair: k for k, pair in enumerate(merges)}, list(ids), most
        while (found := [(rank[pair], pair, i) for i, pair in enumerate(pairwise(ids)) if pair in rank]) and left != 0:
            k, _, i = min(found, key=lambda step: key(*step))
            ids[i : i + 2] = [256 + k]
            left = None if left is None else left - 1
        return ids

    return encode


def _in_order(order: Callable[[list], list] = list, apply: Callable[[Ids, Pair, int], Ids] = merge, first: int = 256) -> Encoder:
    """Merge after merge, each once over the whole list."""

    def encode(ids, merges):
        for k, pair in order(list(enumerate(merges))):
            ids = apply(ids, pair, first + k)
        return ids

    return encode


def _longest_left(ids: Ids, merges: Merges) -> Ids:
    token_of = {text: token for token, text in spelled(merges).items()}
    longest, tokens, i = max(map(len, token_of)), [], 0
    while i < len(ids):
        fits = next(n for n in range(longest, 0, -1) if tuple(ids[i : i + n]) in token_of)
        tokens.append(token_of[tuple(ids[i : i + fits])])
        i += fits
    return tokens


def _longest_right(ids: Ids, merges: Merges) -> Ids:
    token_of = {text: token for token, text in spelled(merges).items()}
    longest, tokens, end = max(map(len, token_of)), [], len(ids)
    while end:
        fits = next(n for n in range(min(longest, end), 0, -1) if tuple(ids[end - n : end]) in token_of)
        tokens.append(token_of[tuple(ids[end - fits : end])])
        end -= fits
    return tokens[::-1]


def _fewest(ids: Ids, merges: Merges) -> Ids:
    """As few tokens as can be; of equally few those with the longest first."""
    token_of = {text: token for token, text in spelled(merges).items()}
    longest = max(map(len, token_of))
    best: list[Ids] = [[]]  # for what is left from each place on, from the end
    for i in reversed(range(len(ids))):
        fits = [n for n in range(min(longest, len(ids) - i), 0, -1) if tuple(ids[i : i + n]) in token_of]
        n = min(fits, key=lambda n: len(best[-n]))  # noqa: B023
        best.append([token_of[tuple(ids[i : i + n])], *best[-n]])
    return best[-1]


def _one_pass(ids: Ids, merges: Merges) -> Ids:
    rank, tokens, i = {pair: k for k, pair in enumerate(merges)}, [], 0
    while i < len(ids):
        k = rank.get(tuple(ids[i : i + 2]))
        tokens.append(ids[i] if k is None else 256 + k)
        i += 1 if k is None else 2
    return tokens


def _passes(ids: Ids, merges: Merges) -> Ids:
    while (tokens := _one_pass(ids, merges)) != ids:
        ids = tokens
    return ids


IN_RUNS = "runs from the right"
_LEFTMOST = (
    "You merge whatever can be merged, from the left. The merge that was learned first goes first, wherever in the text "
    "its pair stands."
)
_LAST_FIRST = "You begin with the merge that was learned last. Text is built up as the merges were learned: the first one first."
_HIGH = "a new id is 256 plus the place of its merge in the list, counted from 0."
WRONG: tuple[tuple[str, Encoder, str], ...] = (
    ("longest from the left", _longest_left, ""),  # told by _planted
    (
        "longest from the right",
        _longest_right,
        "You take the longest token that fits, from the right end on. No merge has ever looked at lengths.",
    ),
    ("any pair from the left", _one_by_one(lambda k, pair, i: (i,)), _LEFTMOST),
    ("any pair from the left", _passes, _LEFTMOST),
    (
        "any pair from the right",
        _one_by_one(lambda k, pair, i: (-i,)),
        "You merge whatever can be merged, from the right. The merge that was learned first goes first, wherever it is possible.",
    ),
    ("last learned first", _one_by_one(lambda k, pair, i: (-k, i)), _LAST_FIRST),
    ("last learned first", _in_order(lambda steps: steps[::-1]), _LAST_FIRST),
    (
        "smallest ids first",
        _one_by_one(lambda k, pair, i: (pair, i)),
        "Of the pairs that can be merged you take the one with the smallest ids. Its rank is its place in the list of merges.",
    ),
    (
        "one pass only",
        _one_pass,
        "You go over the text once and merge bytes with bytes. A token that a merge has made can be merged again.",
    ),
    (
        "one merge only",
        _one_by_one(lambda k, pair, i: (k, i), most=1),
        "You end after a single step. Merge until no pair of neighbours is in the list.",
    ),
    (
        "only the first occurrence",
        _in_order(apply=merge_first),
        "Each merge is made at one place only. Its pair may stand at more of them.",
    ),
    (
        "fewest tokens",
        _fewest,
        "Fewer tokens than the merges lead to: short, but not how the text would have been cut while the merges were "
        "learned, which is what a model has seen.",
    ),
    (IN_RUNS, _in_order(apply=merge_from_right), "In a run of equal ids you merge from its right end. The left one comes first."),
    ("new ids", _in_order(first=257), f"Your ids are off by one: {_HIGH}"),
    ("new ids", lambda ids, merges: [id - 256 if id > 255 else id for id in reference(ids, merges)], f"Ids below 256 are bytes; {_HIGH}"),
    ("nothing merged", lambda ids, merges: list(ids), "The bytes come back as they were: nothing is merged."),
)


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


def _short(case: Case, got: Arrays) -> bool:
    """True for tokens that spell the text, fewer than the merges lead to."""
    ids, merges = case.args.values()
    bytes_of = spelled(merges)
    tokens = got[0].tolist()
    if got[0].ndim != 1 or any(token not in bytes_of for token in tokens):
        return False
    return [byte for token in tokens for byte in bytes_of[token]] == ids and len(tokens) < len(reference(ids, merges))


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
            Symptom("fewest tokens", _short, next(text for name, _, text in WRONG if name == "fewest tokens")),
        ),
        differs,
        _first_merge,
    ),
    reference,
)
