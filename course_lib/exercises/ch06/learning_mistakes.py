"""What goes wrong in exercise 6.2: other ways to learn merges, and what to say to each."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

from course_lib.exercises.ch06.lists import Ids, Pair, merge_first, merge_from_right
from course_lib.tokenizers import count_pairs, merge

Words = Sequence[tuple[Ids, int]]
Counts = Counter[Pair]
Learner = Callable[[Words, int], list[Pair]]


def counted(words: Words) -> Counts:
    """How often each pair occurs, a word that is listed twice included."""
    totals: Counter[tuple[int, ...]] = Counter()
    for ids, count in words:
        totals[tuple(ids)] += count
    return count_pairs(totals)


def _smallest(pair: Pair, counts: Counts, size: Callable[[int], int]) -> tuple:
    return pair


def learner(
    count: Callable[[Words], Counts] = counted,
    tie: Callable[[Pair, Counts, Callable[[int], int]], tuple] = _smallest,
    apply: Callable[[Ids, Pair, int], Ids] = merge,
    first: int | None = 256,
    least: int = 1,
) -> Learner:
    """A way to learn, the right one by default: how pairs are counted, which of equally frequent ones is merged (the smallest
    `tie`), how a merge is made, the first new id (None: behind the largest there is), the count below which it ends."""

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


_right = learner()


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
    counts = counted(words)
    return sorted(counts, key=lambda pair: (-counts[pair], pair))[:n_merges]


def _across(times: Callable[[int], int]) -> Learner:
    return lambda words, n_merges: _right([([id for ids, n in words for id in ids * times(n)], 1)], n_merges)


def _onward(times: Callable[[int, int], int]) -> Learner:
    """The last id of a word and the first of the next are a pair, too, times(count, next count)."""

    def count(words: Words) -> Counts:
        counts = counted(words)
        for (ids, n), (after, m) in pairwise(words):
            counts[ids[-1], after[0]] += times(n, m)
        return counts

    return learner(count)


_SHIFTED = "New ids start in the wrong place: the k-th merge, counted from 0, makes the id 256 + k, whatever the words hold."
_ACROSS = "Your pairs cross from one word into the next. Each word stands for itself."
_TIE = "Of equally frequent pairs the one with the smaller first id is merged, of these the one with the smaller second."
WRONG_IN: dict[str, tuple[tuple[str, Learner, str], ...]] = {
    "values": (
        (
            "words not weighted",
            learner(lambda words: counted([(ids, 1) for ids, _ in words])),
            "Every word counts once for you. Its pairs are as frequent as the word: add its count, not 1.",
        ),
        (
            "once per word",
            learner(_count_once),
            "A pair that stands in a word twice is counted there once. Every place counts.",
        ),
        (
            "never updated",
            _never_updated,
            "These are the most frequent pairs of the words as they came. After each merge the ids have changed: count again.",
        ),
        (
            "first occurrence only",
            learner(apply=merge_first),
            "A merge is made at the first place of a word alone. It is made at every place, or its pair remains there to be counted.",
        ),
        ("pairs across words", _across(lambda n: n), _ACROSS),
        ("pairs across words", _across(lambda n: 1), _ACROSS),
        ("new ids", learner(first=257), _SHIFTED),
        ("new ids", learner(first=255), _SHIFTED),
        ("new ids", learner(first=None), _SHIFTED),
        (
            "one merge too few",
            lambda words, n_merges: _right(words, max(n_merges - 1, 0)),
            "The last merge is missing: n_merges of them, where there are so many.",
        ),
    ),
    "onward": (
        ("pairs across words", _onward(lambda n, m: n), _ACROSS),
        ("pairs across words", _onward(lambda n, m: m), _ACROSS),
        ("pairs across words", _onward(lambda n, m: 1), _ACROSS),
    ),
    "ties": (
        ("tie to the larger", learner(tie=lambda p, c, s: (-p[0], -p[1])), f"Your ties go to the larger ids. {_TIE}"),
        ("tie to the larger", learner(tie=lambda p, c, s: (-p[0], p[1])), f"Your ties go to the larger first id. {_TIE}"),
        ("tie to the larger", learner(tie=lambda p, c, s: (p[0], -p[1])), f"Your ties go to the larger second id. {_TIE}"),
        ("tie by the second id", learner(tie=lambda p, c, s: (p[1], p[0])), f"Your ties are broken by the second id. {_TIE}"),
        (
            "tie to the first seen",
            learner(tie=lambda p, c, s: (list(c).index(p),)),
            f"Your ties go to the pair that was counted first, which hangs on the order of the words. {_TIE}",
        ),
        (
            "tie to the last seen",
            learner(tie=lambda p, c, s: (-list(c).index(p),)),
            f"Your ties go to the pair that was counted last, which hangs on the order of the words. {_TIE}",
        ),
        (
            "tie by length",
            learner(tie=lambda p, c, s: (-s(p[0]) - s(p[1]), p)),
            f"Your ties go to the pair that makes the longest token. {_TIE}",
        ),
        (
            "tie by length",
            learner(tie=lambda p, c, s: (s(p[0]) + s(p[1]), p)),
            f"Your ties go to the pair that makes the shortest token. {_TIE}",
        ),
    ),
    "early": (
        (
            "ends at a count of 1",
            learner(least=2),
            "You end as soon as no pair occurs twice. A pair that occurs once is one, too: end when none is left.",
        ),
    ),
    "hard": (
        (
            "overlaps not counted",
            learner(_count_apart),
            "In a run of three equal ids you count their pair once. It stands at two places, and both are counted; that a "
            "merge can take only one of them comes later.",
        ),
        (
            "repeated word overwritten",
            lambda words, n_merges: _right([(list(ids), n) for ids, n in {tuple(ids): n for ids, n in words}.items()], n_merges),
            "A word is in the list twice, and its second count overwrites the first. They add up.",
        ),
        (
            "merged from the right",
            learner(apply=merge_from_right),
            "In a run of equal ids you merge from its right end. The left one comes first, as in 6.1.",
        ),
    ),
}
WRONG = tuple(entry for entries in WRONG_IN.values() for entry in entries)
