"""Byte-pair encoding on ids: learning which pairs to merge, and merging them (Sennrich et al. 2016, algorithm 1)."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from heapq import heapify, heappop, heappush
from itertools import pairwise, repeat

from course_lib.tokenizers.alphabet import BYTES, PLACES

Pair = tuple[int, int]
SHORT = 48                  # ids; up to here a new look at the whole list is faster than a heap
_END, _GONE = -1, -2        # in place of ids: the end of a word, what a merge has swallowed
_NEVER = 2**62              # a rank behind all others
_PLACES = partial(array, "i")           # a list would hold each number as an object, and the garbage collector would visit it


def count_pairs(words: Mapping[Sequence[int], int]) -> Counter[Pair]:
    """How often each two ids stand side by side, from words (as ids) and their counts.

        count_pairs({(1, 2, 1, 2): 10})  →  {(1, 2): 20, (2, 1): 10}
    """
    counts: Counter[Pair] = Counter()
    for ids, count in words.items():
        for pair in pairwise(ids):
            counts[pair] += count
    return counts


def merge(ids: Sequence[int], pair: Pair, new: int) -> list[int]:
    """Each occurrence of `pair`, from the left, becomes `new`: merge([1, 1, 1, 2], (1, 1), 3) → [3, 1, 2]."""
    merged, i = [], 0
    while i < len(ids):
        found = tuple(ids[i:i + 2]) == pair
        merged.append(new if found else ids[i])
        i += 2 if found else 1
    return merged


class PairIndex:
    """Distinct words (as ids) with their counts, one behind the other in a list of ids, with the places of each pair.

    counts: pair → how often it stands in the text, kept right by every merge, which costs time only where its pair stands.
    A merged token keeps the slots of its parts, with its id in the first, its place, and in the last, where the token behind
    it looks for its neighbour: [1, 2, 3] is [9, 9, 3] after 1+2 → 9, and [10, …, 10] after 9+3 → 10.
    """

    def __init__(self, words: Iterable[tuple[Sequence[int], int]]):
        self.ids, self.weights = [_END], [0]                    # an id of a word counts as often as the word
        for word, count in words:
            self.ids += [*word, _END]
            self.weights += [*repeat(count, len(word)), 0]
        self.slots: dict[int, int] = {}                         # how many slots a merged token has; others have one
        self.places: defaultdict[Pair, array[int]] = defaultdict(_PLACES)
        for i, pair in enumerate(pairwise(self.ids)):
            self.places[pair].append(i)
        for pair in [pair for pair in self.places if _END in pair]:
            del self.places[pair]
        weight = self.weights.__getitem__
        self.counts = defaultdict(int, {pair: sum(map(weight, found)) for pair, found in self.places.items()})

    def merge(self, pair: Pair, new: int) -> tuple[Iterable[Pair], int]:
        """Put the id `new`, which no word holds yet, for each occurrence of `pair`, from the left: the pairs that it makes, and
        how often it now stands in the text.
        """
        ids, weights, counts, slots, (a, b) = self.ids, self.weights, self.counts, self.slots, pair
        size, both = slots.get(a, 1), slots.get(a, 1) + slots.get(b, 1)
        slots[new] = both
        fresh, times = defaultdict(_PLACES), 0
        for i in self.places.pop(pair):
            if ids[i] == a and ids[i + size] == b:              # else changed by an earlier merge
                before, after, weight = ids[i - 1], ids[i + both], weights[i]
                ids[i + size] = _GONE                           # no place of a token any more; maybe the last slot, though:
                ids[i] = ids[i + both - 1] = new
                times += weight
                if before != _END:
                    counts[before, a] -= weight
                    counts[before, new] += weight
                    fresh[before, new].append(i - slots.get(before, 1))
                if after != _END:
                    counts[b, after] -= weight
                    counts[new, after] += weight
                    fresh[new, after].append(i)
        del counts[pair]
        self.places |= fresh
        return fresh, times


def learn_merges(words: Mapping[bytes, int], n_tokens: int) -> tuple[list[bytes], list[Pair]]:
    """Merge the most frequent pair, again and again, until there are `n_tokens` tokens or no pair is left: tokens, merges.

    words: byte strings and how often each occurs; no pair crosses their borders. Ids as GPT-2 numbers them: 256 bytes in the
    order of `alphabet.BYTES`, then new tokens by age. Of pairs equally frequent the one with the smaller first id is merged,
    of these the one with the smaller second id: the rule of Hugging Face's BpeTrainer with its alphabet of all bytes.
    """
    tokens, merges = [bytes([byte]) for byte in BYTES], []
    index = PairIndex((word.translate(PLACES), count) for word, count in words.items())
    queue = [(-count, pair) for pair, count in index.counts.items()]
    heapify(queue)
    while queue and len(tokens) < n_tokens:
        count, pair = heappop(queue)
        now = index.counts.get(pair, 0)
        if now == -count > 0:
            made, _ = index.merge(pair, len(tokens))
            for fresh in made:
                heappush(queue, (-index.counts[fresh], fresh))
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
            merges.append(pair)
        elif now > 0:                                           # it has become rarer since it was queued
            heappush(queue, (-now, pair))
    return tokens, merges


class Merger:
    """Merges in the order learned: always the pair of lowest rank, of equal ones the leftmost.

    merges: pairs of ids by rank. made: the id that each becomes.
    """

    def __init__(self, merges: Iterable[Pair], made: Sequence[int]):
        self._rank, self._made = {pair: rank for rank, pair in enumerate(merges)}, made

    def __call__(self, ids: list[int]) -> list[int]:
        """Ids of bytes → ids of tokens; changes the list and returns it."""
        return self._few(ids) if len(ids) <= SHORT else self._many(ids)

    def _few(self, ids: list[int]) -> list[int]:
        rank_of, made = self._rank.get, self._made
        ranks = list(map(rank_of, pairwise(ids), repeat(_NEVER)))
        while ranks and (lowest := min(ranks)) < _NEVER:
            i = ranks.index(lowest)
            ids[i:i + 2] = [made[lowest]]
            del ranks[i]
            if i:
                ranks[i - 1] = rank_of((ids[i - 1], ids[i]), _NEVER)
            if i < len(ranks):
                ranks[i] = rank_of((ids[i], ids[i + 1]), _NEVER)
        return ids

    def _many(self, ids: list[int]) -> list[int]:
        """The same with a heap and a linked list: n log n steps, where looking again and again would take n²."""
        rank_of, made, n = self._rank.get, self._made, len(ids)
        left, right = list(range(-1, n - 1)), list(range(1, n + 1))
        ids.append(_END)
        ranks = enumerate(map(rank_of, pairwise(ids), repeat(_NEVER)))
        queue = [rank * n + i for i, rank in ranks if rank < _NEVER]       # one number: by rank, then by place
        heapify(queue)
        while queue:
            rank, i = divmod(heappop(queue), n)
            j = right[i]
            if rank_of((ids[i], ids[j])) == rank:                          # else a neighbour has changed it since
                h, k = left[i], right[j]
                ids[i], ids[j], right[i] = made[rank], _GONE, k
                if k < n:
                    left[k] = i
                for p, q in ((h, i), (i, k)):
                    if p >= 0 and (rank := rank_of((ids[p], ids[q]))) is not None:
                        heappush(queue, rank * n + p)
        return [i for i in ids if i >= 0]
