"""Exercise 6.2, learn merges from counted words: always the most frequent pair, under a stated rule for ties."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from course_lib.exercises.ch06.lists import Ids, Pair, differs, ids_from, merge_first, merge_from_right, picked, telling, told_apart, wrong
from course_lib.exercises.judging import ArrayExaminer, Arrays
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.tokenizers import count_pairs, merge

Words = Sequence[tuple[Ids, int]]
Counts = Counter[Pair]
Learner = Callable[[Words, int], list[Pair]]


def _count(words: Words) -> Counts:
    totals: Counter[tuple[int, ...]] = Counter()
    for ids, count in words:
        totals[tuple(ids)] += count
    return count_pairs(totals)


def _smallest(pair: Pair, counts: Counts, size: Callable[[int], int]) -> tuple:
    return pair


def _learn(
    count: Callable[[Words], Counts] = _count,
    tie: Callable[[Pair, Counts, Callable[[int], int]], tuple] = _smallest,
    apply: Callable[[Ids, Pair, int], Ids] = merge,
    first: int | None = 256,
    least: int = 1,
) -> Learner:
    """A way to learn: how pairs are counted, which of equally frequent ones is merged (the smallest `tie`), how a
    merge is made, the first new id (None: behind the largest there is), the count below which it ends."""

    def learn(words: Words, n_merges: int) -> list[Pair]:
        start = max((id for ids, _ in words for id in ids), default=0) + 1 if first is None else first
        words, merges = list(words), []

        def size(id: int) -> int:
            return sum(map(size, merges[id - start])) if start <= id < start + len(merges) else 1

        for new in range(start, start + n_merges):
            counts = count(words)
            if not counts or max(counts.values()) < least:
                break
            pair = min(counts, key=lambda pair: (-counts[pair], tie(pair, counts, size)))
            merges.append(pair)
            words = [(apply(ids, pair, new), n) for ids, n in words]
        return merges

    return learn


reference = _learn()


# ---------------------------------------------------------------- draws


def _case(
    rng: np.random.Generator, group: str, n_merges: int, words: int, letters: int, long: Sequence[int], counts: Sequence[int]
) -> Case:
    """Random words on which the mistakes of this group show, and those of the other groups do not."""
    alphabet = ids_from(rng, 97, 123, letters)

    def make() -> dict:
        drawn = {tuple(picked(rng, alphabet, int(n))): int(count) for n, count in zip(picked(rng, long, words), picked(rng, counts, words))}
        entries = [(list(ids), count) for ids, count in drawn.items()]
        return {"words": entries + entries[:1] if group == "hard" else entries, "n_merges": n_merges}

    fine = [answer for other in WRONG_IN if other not in ("values", group) for _, answer, _ in WRONG_IN[other]]
    return _noted(group, telling(make, reference, [answer for _, answer, _ in WRONG_IN[group]], fine))


def _noted(group: str, args: dict) -> Case:
    shown = ", ".join(f"{ids}: {count}" for ids, count in args["words"])
    return Case(group, args, f"{args['n_merges']} merges of {shown or 'no word at all'}")


def draw(rng: np.random.Generator) -> list[Case]:
    a, b = ids_from(rng, 97, 123, 2)
    return [
        _case(rng, "values", 4, words=6, letters=3, long=(3, 4, 5, 6), counts=range(2, 10)),
        _case(rng, "values", 3, words=5, letters=4, long=(2, 3, 4, 5, 6), counts=range(2, 10)),
        _case(rng, "ties", 4, words=5, letters=4, long=(3, 4, 5), counts=(2,)),
        _case(rng, "ties", 5, words=6, letters=5, long=(2, 3, 4), counts=(1, 2, 3)),
        _case(rng, "early", 40, words=6, letters=4, long=(1, 2, 2, 3, 4), counts=range(1, 6)),
        _noted("early", {"words": [([a], 5), ([b], 3)], "n_merges": 3}),
        _noted("early", {"words": [], "n_merges": 2}),
        _noted("early", {"words": [([a, b], 5)], "n_merges": 0}),
        _case(rng, "hard", 4, words=5, letters=2, long=(1, 4, 5, 6, 7), counts=range(1, 6)),
    ]


# ---------------------------------------------------------------- what goes wrong


def _count_once(words: Words) -> Counts:
    counts: Counts = Counter()
    for ids, count in words:
        counts.update(dict.fromkeys(pairwise(ids), count))
    return counts


def _count_apart(words: Words) -> Counts:
    """Occurrences that do not overlap: in a run of three equal ids the pair is found once."""
    counts: Counts = Counter()
    for ids, count in words:
        for pair in set(pairwise(ids)):
            counts[pair] += count * (len(ids) - len(merge(ids, pair, -1)))
    return counts


def _never_updated(words: Words, n_merges: int) -> list[Pair]:
    counts = _count(words)
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]


def _across(times: Callable[[int], int]) -> Learner:
    return lambda words, n_merges: reference([([id for ids, n in words for id in ids * times(n)], 1)], n_merges)


_SHIFTED = "New ids start in the wrong place: the k-th merge, counted from 0, makes the id 256 + k, whatever the words hold."
_ACROSS = "You count pairs that reach from one word into the next. Each word stands for itself."
_TIE = "Of equally frequent pairs the one with the smaller first id is merged, of these the one with the smaller second."
WRONG_IN: dict[str, tuple[tuple[str, Learner, str], ...]] = {
    "values": (
        (
            "words not weighted",
            _learn(lambda words: _count([(ids, 1) for ids, _ in words])),
            "Every word counts once for you. Its pairs are as frequent as the word: add its count, not 1.",
        ),
        (
            "once per word",
            _learn(_count_once),
            "A pair that stands in a word twice is counted there once. Every place counts.",
        ),
        (
            "never updated",
            _never_updated,
            "These are the most frequent pairs of the words as they came. After each merge the ids have changed: count again.",
        ),
        (
            "first occurrence only",
            _learn(apply=merge_first),
            "A merge is made at the first place of a word alone. It is made at every place, or its pair remains there to be counted.",
        ),
        ("pairs across words", _across(lambda n: n), _ACROSS),
        ("pairs across words", _across(lambda n: 1), _ACROSS),
        ("new ids", _learn(first=257), _SHIFTED),
        ("new ids", _learn(first=255), _SHIFTED),
        ("new ids", _learn(first=None), _SHIFTED),
        (
            "one merge too few",
            lambda words, n_merges: reference(words, max(n_merges - 1, 0)),
            "The last merge is missing: n_merges of them, where there are so many.",
        ),
    ),
    "ties": (
        ("tie to the larger", _learn(tie=lambda p, c, s: (-p[0], -p[1])), f"Your ties go to the larger ids. {_TIE}"),
        ("tie to the larger", _learn(tie=lambda p, c, s: (-p[0], p[1])), f"Your ties go to the larger first id. {_TIE}"),
        ("tie to the larger", _learn(tie=lambda p, c, s: (p[0], -p[1])), f"Your ties go to the larger second id. {_TIE}"),
        ("tie by the second id", _learn(tie=lambda p, c, s: (p[1], p[0])), f"Your ties are broken by the second id. {_TIE}"),
        (
            "tie to the first seen",
            _learn(tie=lambda p, c, s: (list(c).index(p),)),
            f"Your ties go to the pair that was counted first, which hangs on the order of the words. {_TIE}",
        ),
        (
            "tie to the last seen",
            _learn(tie=lambda p, c, s: (-list(c).index(p),)),
            f"Your ties go to the pair that was counted last, which hangs on the order of the words. {_TIE}",
        ),
        (
            "tie by length",
            _learn(tie=lambda p, c, s: (-s(p[0]) - s(p[1]), p)),
            f"Your ties go to the pair that makes the longest token. {_TIE}",
        ),
        (
            "tie by length",
            _learn(tie=lambda p, c, s: (s(p[0]) + s(p[1]), p)),
            f"Your ties go to the pair that makes the shortest token. {_TIE}",
        ),
    ),
    "early": (
        (
            "ends at a count of 1",
            _learn(least=2),
            "You end as soon as no pair occurs twice. A pair that occurs once is one, too: end when none is left.",
        ),
    ),
    "hard": (
        (
            "overlaps not counted",
            _learn(_count_apart),
            "In a run of three equal ids you count their pair once. It stands at two places, and both are counted; that a "
            "merge can take only one of them comes later.",
        ),
        (
            "repeated word overwritten",
            lambda words, n_merges: reference([(list(ids), n) for ids, n in {tuple(ids): n for ids, n in words}.items()], n_merges),
            "A word is in the list twice, and its second count overwrites the first. They add up.",
        ),
        (
            "merged from the right",
            _learn(apply=merge_from_right),
            "In a run of equal ids you merge from its right end. The left one comes first, as in 6.1.",
        ),
    ),
}
WRONG = tuple(entry for entries in WRONG_IN.values() for entry in entries)


def _frequencies(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the counts before the first merge that is off."""
    right = [tuple(map(int, pair)) for pair in expected[0].tolist()]
    at = next(k for k, pair in enumerate(got[0].tolist()) if tuple(pair) != right[k])
    words = case.args["words"]
    for k, pair in enumerate(right[:at]):
        words = [(merge(ids, pair, 256 + k), n) for ids, n in words]
    most = ", ".join(str(n) for _, n in _count(words).most_common(3))
    return f"The most frequent pairs before that merge occur {most} times: print your counts"


EXERCISE = Exercise(
    "6.2",
    "Learn the merges",
    "implement",
    4,
    25,
    "learn merges from a text, by hand and in code, under a stated tie rule",
    (
        Property("values", "always the most frequent pair, counted anew after each merge", 2),
        Property("ties", "of equally frequent pairs the one with the smaller ids", 2),
        Property("early", "fewer merges where no pair is left: short words, no word, none asked for"),
        Property("hard", "runs of one letter, words of one letter, counts of 1, a word that is listed twice"),
    ),
    told_apart(draw, WRONG),
    ArrayExaminer(("merges",), tuple(wrong(("merges",), *entry) for entry in WRONG), differs, _frequencies),
    reference,
)
