"""Learning WordPiece's vocabulary: which pieces to merge (Schuster & Nakajima 2012, section 3)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from itertools import chain

from course_lib.tokenizers.merging import Pair, PairIndex

INSIDE = "##"               # before a piece that does not begin a word


def learn_pieces(words: Mapping[str, int], n_pieces: int, min_count: int = 1) -> list[str]:
    """All characters, at a word's start ("a") and inside ("##a"), then pieces merged by likelihood until there are `n_pieces`.

    words: how often each occurs; "#" stands in none but "#" itself. The next merge is the pair with the greatest
    count(ab) / (count(a) · count(b)): each time it is used, the text becomes more likely by this factor times its length, were
    pieces independent. Of equal ones it is the most frequent pair, then the one with the smaller first id, then second. Rare
    words profit most, since their pieces always stand together; min_count keeps pairs out that are seen less often.
    """
    spelled = {(word[0], *(INSIDE + letter for letter in word[1:])): count for word, count in words.items()}
    pieces = sorted(set(chain.from_iterable(spelled)))
    id_of = {piece: i for i, piece in enumerate(pieces)}
    ranking = _Ranking({tuple(map(id_of.__getitem__, spelling)): count for spelling, count in spelled.items()}, min_count)
    while len(pieces) < n_pieces and (pair := ranking.pop()):
        ranking.merge(pair, len(pieces))
        pieces.append(pieces[pair[0]] + pieces[pair[1]].removeprefix(INSIDE))
    return pieces


class _Ranking:
    """The pairs of a PairIndex by score, best first. A merge of a and b changes the score of every pair with one of them: these
    are queued again, and what they left in the queue is passed over.
    """

    def __init__(self, words: Mapping[tuple[int, ...], int], min_count: int):
        self.index, self.min_count = PairIndex(words.items()), min_count
        self.counts: Counter[int] = Counter()                      # of single pieces
        for ids, count in words.items():
            for i in ids:
                self.counts[i] += count
        self.pairs_of: defaultdict[int, set[Pair]] = defaultdict(set)
        self.queue: list[tuple[float, int, Pair]] = []
        self._add(self.index.counts)

    def pop(self) -> Pair | None:
        """The best pair as things are now, None if there is none."""
        while self.queue:
            entry = heappop(self.queue)
            if self.index.counts[entry[2]] >= self.min_count and entry == self._entry(entry[2]):
                return entry[2]
        return None

    def merge(self, pair: Pair, new: int) -> None:
        """Put `new` for each occurrence of `pair`."""
        made, times = self.index.merge(pair, new)
        self.counts[new] = times
        for i in pair:
            self.counts[i] -= times
        for i in set(pair):
            self._add(self.pairs_of.pop(i, ()))
        self._add(made)
        if len(self.queue) > 4 * len(self.index.counts):           # most entries are out of date
            self.queue.clear()
            self._add(self.index.counts)

    def _add(self, pairs: Iterable[Pair]) -> None:
        """Queue pairs with their present scores, but for those too rare: a pair never becomes more frequent again."""
        for pair in pairs:
            if self.index.counts[pair] >= self.min_count:
                heappush(self.queue, self._entry(pair))
                for i in pair:
                    self.pairs_of[i].add(pair)

    def _entry(self, pair: Pair) -> tuple[float, int, Pair]:
        count, (a, b) = self.index.counts[pair], pair
        return -count / (self.counts[a] * self.counts[b]), -count, pair
