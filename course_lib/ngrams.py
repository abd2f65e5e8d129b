"""Counting n-grams: the language model to beat. From unigrams to any order, smoothed by Kneser–Ney."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np


class Seen(NamedTuple):
    """What followed one context: counts of the words, their sum, and the mass that discounting sets free."""

    counts: dict[int, int]
    total: int
    free: float


class KneserNey:
    """Interpolated Kneser–Ney with three discounts (Chen & Goodman 1999, section 3.2) over ids 0 … vocab_size − 1.

    p(w | c) = (n(c w) − D) / n(c) + λ(c) p(w | c without its first word), down to 1 / vocab_size. D depends on whether n(c w) is
    1, 2 or more; λ(c) is the mass that the discounts set free. Below the highest order n(c w) is the number of *different* words
    seen before c w: "Francisco" is frequent, but comes after one word only, so it is a poor guess after a new one.

        KneserNey.fit([[0, 1, 2, 1, 2]], order=2, vocab_size=3).distribution([1])  →  most of it on 2
    """

    def __init__(self, vocab_size: int, discounts: Sequence[Sequence[float]], seen: list[dict[tuple[int, ...], Seen]]):
        """discounts[k] = (0, D1, D2, D3) and seen[k] are those of contexts of k words."""
        self.vocab_size, self.discounts, self.seen = vocab_size, discounts, seen

    @classmethod
    def fit(cls, sequences: Iterable[Sequence[int]], order: int, vocab_size: int) -> Self:
        """Count sequences, which stay apart; the first id of each is a context (<bos>), never predicted. Order 1: unigrams.

        Raises ValueError for ids outside the vocabulary, and where there is nothing to count.
        """
        if order < 1 or vocab_size < 1:
            raise ValueError(f"order, vocab_size: got {order} and {vocab_size}, expected at least 1")
        top, starts = Counter(), [Counter() for _ in range(order)]      # starts[k]: what nothing comes before, k + 1 words
        for sequence in sequences:
            ids = tuple(map(int, sequence))
            if ids and not 0 <= min(ids) <= max(ids) < vocab_size:
                raise ValueError(f"sequences: got ids {min(ids)} … {max(ids)}, expected 0 … {vocab_size - 1}")
            top.update(ids[i - order + 1:i + 1] for i in range(max(order - 1, 1), len(ids)))
            for k in range(1, min(order - 1, len(ids))):
                starts[k][ids[:k + 1]] += 1
        levels = [top]
        for k in range(order - 2, -1, -1):                                              # different words before, or none
            levels.insert(0, Counter(ngram[1:] for ngram in levels[0]) + starts[k])
        if not levels[0]:
            raise ValueError("sequences: got none of two or more ids, expected something to count")
        discounts = [_discounts(level) for level in levels]
        return cls(vocab_size, discounts, [_by_context(*both) for both in zip(levels, discounts)])

    def distribution(self, context: Sequence[int]) -> np.ndarray:
        """p(w | context) for every word w: (vocab_size,), sums to 1. Only the last order − 1 words of the context count."""
        p = np.full(self.vocab_size, 1 / self.vocab_size)
        for seen, discount in self._matches(context):
            p *= seen.free / seen.total
            words, n = np.array(list(seen.counts)), np.array(list(seen.counts.values()))
            p[words] += (n - np.take(discount, np.minimum(n, 3))) / seen.total
        return p

    def prob(self, word: int, context: Sequence[int]) -> float:
        """p(word | context), without the other words'."""
        p = 1 / self.vocab_size
        for seen, discount in self._matches(context):
            n = seen.counts.get(word, 0)
            p = (n - discount[min(n, 3)] + seen.free * p) / seen.total
        return p

    def log_probs(self, sequence: Sequence[int]) -> np.ndarray:
        """Log-probabilities in nats of all ids but the first, each given those before it: (len(sequence) − 1,)."""
        order, ids = len(self.seen), tuple(map(int, sequence))
        return np.log([self.prob(ids[i], ids[max(0, i - order + 1):i]) for i in range(1, len(ids))])

    def _matches(self, context: Sequence[int]) -> Iterator[tuple[Seen, Sequence[float]]]:
        """From no context at all to the longest one that was seen."""
        ids = tuple(map(int, context))
        for k in range(min(len(ids) + 1, len(self.seen))):
            seen = self.seen[k].get(ids[len(ids) - k:])
            if seen is None:                                                            # nor was any longer one
                return
            yield seen, self.discounts[k]


def _discounts(counts: Counter) -> tuple[float, float, float, float]:
    """What to take off counts of 0, 1, 2, 3 and more, from how many n-grams occur once to four times (equation 26).

    Where the estimate fails, because too few n-grams are rare, ½, 1 and 1½, as KenLM does (Heafield et al. 2013).
    """
    n = Counter(counts.values())
    if all(n[k] for k in (1, 2, 3, 4)):
        y = n[1] / (n[1] + 2 * n[2])
        found = tuple(k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        if all(0 <= d <= k for k, d in enumerate(found, 1)):
            return 0.0, *found
    return 0.0, 0.5, 1.0, 1.5


def _by_context(counts: Counter, discount: Sequence[float]) -> dict[tuple[int, ...], Seen]:
    followers: dict[tuple[int, ...], dict[int, int]] = {}
    for (*context, word), n in counts.items():
        followers.setdefault(tuple(context), {})[word] = n
    return {context: Seen(words, sum(words.values()), sum(discount[min(n, 3)] for n in words.values()))
            for context, words in followers.items()}
