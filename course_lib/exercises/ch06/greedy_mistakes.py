"""What goes wrong in exercise 6.3: other ways from bytes to tokens, and what to say to each."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from course_lib.exercises.ch06.lists import Ids, Pair, merge_first, merge_from_right
from course_lib.tokenizers import merge

Merges = Sequence[Pair]
Encoder = Callable[[Ids, Merges], Ids]


def spelled(merges: Merges) -> dict[int, tuple[int, ...]]:
    """Token → its bytes."""
    bytes_of = {byte: (byte,) for byte in range(256)}
    for new, (a, b) in enumerate(merges, 256):
        bytes_of[new] = bytes_of[a] + bytes_of[b]
    return bytes_of


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


def _everywhere(choose: Callable[[set[int]], int], most: int | None = None) -> Encoder:
    """Of all merges that are possible the one whose rank is chosen is made wherever its pair stands, at most `most` times."""

    def encode(ids, merges):
        rank = {pair: k for k, pair in enumerate(merges)}
        for _ in ids[:most]:  # there are fewer merges than ids
            if found := {rank[pair] for pair in pairwise(ids) if pair in rank}:
                ids = merge(ids, merges[choose(found)], 256 + choose(found))
        return ids

    return encode


def _longest(turn: int) -> Encoder:
    """The longest token that fits next, from the left (1) or from the right (−1)."""

    def encode(ids, merges):
        token_of = {text[::turn]: token for token, text in spelled(merges).items()}
        longest, left, tokens = max(map(len, token_of)), ids[::turn], []
        while left:
            fits = next(n for n in range(longest, 0, -1) if tuple(left[:n]) in token_of)
            tokens.append(token_of[tuple(left[:fits])])
            left = left[fits:]
        return tokens[::turn]

    return encode


def fewest(ids: Ids, merges: Merges) -> Ids:
    """As few tokens as can be; of equally few those with the longest first."""
    token_of = {text: token for token, text in spelled(merges).items()}
    longest = max(map(len, token_of))
    best: list[Ids] = [[]]  # for what is left from each place on, from the end
    for i in reversed(range(len(ids))):
        fits = [n for n in range(min(longest, len(ids) - i), 0, -1) if tuple(ids[i : i + n]) in token_of]
        n = min(fits, key=lambda n: len(best[-n]))
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


def _collected(ids: Ids, merges: Merges) -> Ids:
    """The pairs that stand in the bytes, the first learned first, and none that a merge makes."""
    standing = set(pairwise(ids))
    for k, pair in enumerate(merges):
        ids = merge(ids, pair, 256 + k) if pair in standing else ids
    return ids


def _collected_places(ids: Ids, merges: Merges) -> Ids:
    """The same with the places of the pairs, which are not moved when the list gets shorter."""
    ids, rank = list(ids), {pair: k for k, pair in enumerate(merges)}
    for k, i in sorted((rank[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in rank):
        if tuple(ids[i : i + 2]) == merges[k]:
            ids[i : i + 2] = [256 + k]
    return ids


IN_RUNS = "runs from the right"
_LEFTMOST = (
    "You merge whatever can be merged, from the left. The merge that was learned first goes first, wherever in the text "
    "its pair stands."
)
_ONCE = "You collect the possible pairs once. Replacing makes new pairs: look again after each merge."
_STEP = "too many tokens: you end after a single step. Merge until no pair of neighbours is in the list."
_LAST_FIRST = "You take the merge that was learned last. Text is built up as the merges were learned: the first one first."
TOO_FEW = (
    "You look for as few tokens as can be: short, but not how the text would have been cut while the merges were learned, "
    "which is what a model has seen."
)
_HIGH = "a new id is 256 plus the place of its merge in the list, counted from 0."
WRONG: tuple[tuple[str, Encoder, str], ...] = (
    ("longest from the left", _longest(1), ""),  # told by _planted
    (
        "longest from the right",
        _longest(-1),
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
    ("last learned first", _one_by_one(lambda k, pair, i: (-k, -i)), _LAST_FIRST),
    ("last learned first", _everywhere(max), _LAST_FIRST),
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
    ("pairs collected once", _collected, _ONCE),
    ("pairs collected once", _collected_places, _ONCE),
    ("one merge only", _one_by_one(lambda k, pair, i: (k, i), most=1), _STEP),
    ("one merge only", _everywhere(min, most=1), _STEP),
    ("one merge only", _in_order(lambda steps: steps[:1]), _STEP),
    (
        "only the first occurrence",
        _in_order(apply=merge_first),
        "Each merge is made at one place only. Its pair may stand at more of them.",
    ),
    ("fewest tokens", fewest, TOO_FEW),
    (IN_RUNS, _in_order(apply=merge_from_right), "In a run of equal ids you merge from its right end. The left one comes first."),
    ("new ids", _in_order(first=257), f"Your ids are off by one: {_HIGH}"),
    ("new ids", lambda ids, merges: [id - 256 if id > 255 else id for id in _in_order()(ids, merges)], f"Ids below 256 are bytes; {_HIGH}"),
    ("nothing merged", lambda ids, merges: list(ids), "The bytes come back as they were: nothing is merged."),
)
