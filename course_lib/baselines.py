"""What a model has to beat: alignment along the diagonal, IBM Model 1, translation word by word."""

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

Words = Sequence[str]
Pair = tuple[Words, Words]                              # (source words, target words)
Links = frozenset[tuple[int, int]]                   # (place in the target, place in the source), both from 0


def diagonal_alignment(n_src: int, n_tgt: int) -> Links:
    """Each target word to the source word at the same relative place, as if nothing was ever reordered.

        diagonal_alignment(4, 2)  →  {(0, 1), (1, 3)}
    """
    if n_src < 1 or n_tgt < 1:
        raise ValueError(f"n_src, n_tgt: got {n_src} and {n_tgt}, expected at least 1 word each")
    return frozenset((i, (2 * i + 1) * n_src // (2 * n_tgt)) for i in range(n_tgt))


class IBMModel1:
    """Brown et al. (1993), Model 1: t(f | e) by EM; each target word f stems from one source word e or NULL.

    The order of the words plays no role: p(f | e) = ε / (l+1)^m · Π_i Σ_j t(f_i | e_j), with e_0 = NULL.
    `likelihoods` holds the mean of log Σ_j t(f_i | e_j) / (l+1) over the target words, in nats, before each
    iteration; it never falls.

        house, book = ("das Haus".split(), "the house".split()), ("das Buch".split(), "the book".split())
        IBMModel1.fit([house, book]).align(*book)  →  {(0, 0), (1, 1)}
    """

    def __init__(self, source_words: Words, target_words: Words, codes: np.ndarray, table: np.ndarray,
                 likelihoods: Sequence[float] = ()):
        self._source = _numbered(source_words, 1)                       # 0 is NULL
        self._target = _numbered(target_words, 0)
        self._codes, self._table, self.likelihoods = codes, table, list(likelihoods)

    @classmethod
    def fit(cls, pairs: Iterable[Pair], iterations: int = 8, null: bool = True) -> Self:
        """`iterations` rounds of EM from uniform t; `null` adds the empty word to each source sentence."""
        pairs = list(pairs)
        if iterations < 1:
            raise ValueError(f"iterations: got {iterations}, expected at least 1")
        for n, (source, target) in enumerate(pairs):
            if isinstance(source, str) or isinstance(target, str) or not len(source) or not len(target):
                raise ValueError(f"pairs: got {(source, target)!r} at {n}, expected two lists of words")
        if not pairs:
            raise ValueError("pairs: got none, expected at least one")
        source_words = sorted({word for source, _ in pairs for word in source})
        target_words = sorted({word for _, target in pairs for word in target})
        ids = _numbered(source_words, 1), _numbered(target_words, 0)
        source_of, starts, target_of = _cells(pairs, *ids, null)
        # only words that meet in a sentence pair get a number t(f | e): codes name them, cell_of finds them
        codes, cell_of = np.unique(source_of * len(target_words) + target_of, return_inverse=True)
        source_of_code = codes // len(target_words)
        widths = np.diff(starts, append=len(cell_of))                             # l + 1 for each target word
        table = 1.0 / np.bincount(source_of_code)[source_of_code]                      # uniform over partners
        likelihoods = []
        for _ in range(iterations):
            joint = table[cell_of]                                                # t(f_i | e_j), one per cell
            total = np.add.reduceat(joint, starts)                                  # Σ_j, one per target word
            likelihoods.append(float(np.log(total / widths).mean()))
            share = joint / np.repeat(total, widths)                                    # E step: p(e_j | f_i)
            counts = np.bincount(cell_of, weights=share, minlength=len(codes))     # expected counts of (e, f)
            table = counts / np.bincount(source_of_code, weights=counts)[source_of_code]            # M step
        return cls(source_words, target_words, codes, table, likelihoods)

    def t(self, target: str, source: str | None) -> float:
        """t(target | source), 0 for words that never met; source None is NULL."""
        e = 0 if source is None else self._source.get(source)
        f = self._target.get(target)
        return 0.0 if e is None or f is None else float(self._lookup(np.array([e]), np.array([f]))[0, 0])

    def align(self, source: Words, target: Words) -> Links:
        """The best source word for each target word, ties leftmost; no link where NULL wins or it is new."""
        if not source or not target:
            return frozenset()
        e = np.array([0, *(self._source.get(word, -1) for word in source)])
        f = np.array([self._target.get(word, -1) for word in target], dtype=np.int64)
        scores = self._lookup(e, f)                                                     # (T, 1 + S)
        best = scores[:, 1:].argmax(-1)                                                 # (T,)
        return frozenset((i, int(j)) for i, j in enumerate(best) if scores[i, j + 1] > 0
                         and scores[i, j + 1] >= scores[i, 0])

    def best_targets(self) -> dict[str, str]:
        """For each source word the target word with the largest t(f | e); ties go by code point order."""
        order = np.lexsort((self._codes, -self._table))                             # best first, then by code
        sources, first = np.unique(self._codes[order] // len(self._target), return_index=True)
        targets = self._codes[order][first] % len(self._target)
        source_words, target_words = [None, *self._source], list(self._target)
        return {source_words[e]: target_words[f] for e, f in zip(sources, targets, strict=True) if e > 0}

    def _lookup(self, e: np.ndarray, f: np.ndarray) -> np.ndarray:
        """t for every combination of source ids e and target ids f, −1 = unknown: (len(f), len(e))."""
        wanted = e[None, :] * len(self._target) + f[:, None]
        place = np.searchsorted(self._codes, wanted).clip(max=len(self._codes) - 1)
        met = (self._codes[place] == wanted) & (e >= 0)[None, :] & (f >= 0)[:, None]
        return np.where(met, self._table[place], 0.0)


def _numbered(words: Iterable[str], start: int) -> dict[str, int]:
    return {word: i for i, word in enumerate(words, start=start)}


def _cells(pairs: Sequence[Pair], source_id: dict[str, int], target_id: dict[str, int],
           null: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (target, source) places in one row: source ids, where each target word starts, target ids."""
    extra = [0] if null else []
    sources = np.array([i for source, _ in pairs for i in (*extra, *map(source_id.__getitem__, source))])
    targets = np.array([target_id[word] for _, target in pairs for word in target])
    source_lengths = np.array([len(extra) + len(source) for source, _ in pairs])
    target_lengths = np.array([len(target) for _, target in pairs])
    widths = np.repeat(source_lengths, target_lengths)                             # cells of each target word
    firsts = np.repeat(np.cumsum(source_lengths) - source_lengths, target_lengths)  # its sentence
    starts = np.cumsum(widths) - widths
    places = np.arange(widths.sum()) - np.repeat(starts, widths) + np.repeat(firsts, widths)
    return sources[places], starts, np.repeat(targets, widths)


def flip(links: Iterable[tuple[int, int]]) -> Links:
    """Links (i, j) → (j, i): an alignment seen from the other language."""
    return frozenset((j, i) for i, j in links)


def symmetrise(forward: Links, backward: Links, method: str = "grow-diag") -> Links:
    """Join the alignments of two directions, both as (target, source) links: flip the backward model's first.

    "intersection" is precise, "union" complete; "grow-diag" (Koehn, Och & Marcu 2003) starts from the first
    and adds links of the second that touch one it has, where one of the two words is still without a link.
    """
    if method not in ("intersection", "union", "grow-diag"):
        raise ValueError(f"method: got {method!r}, expected intersection, union or grow-diag")
    if method == "union":
        return forward | backward
    found = set(forward & backward)
    candidates = sorted((forward | backward) - found) if method == "grow-diag" else []
    grown = True
    while grown:
        grown = False
        for i, j in candidates:
            beside = any((i + di, j + dj) in found for di in (-1, 0, 1) for dj in (-1, 0, 1))
            free = all(i != a for a, _ in found) or all(j != b for _, b in found)
            if (i, j) not in found and beside and free:
                found.add((i, j))
                grown = True
    return frozenset(found)


class WordDictionary:
    """Translation word by word, in source order: each word becomes its most probable one by IBM Model 1.

        WordDictionary.fit(pairs).translate("das neue Buch".split())  →  ["the", "new", "book"]
    """

    def __init__(self, entries: dict[str, str]):
        self.entries = dict(entries)

    @classmethod
    def fit(cls, pairs: Iterable[Pair], iterations: int = 8) -> Self:
        """Learn the dictionary from sentence pairs (source words, target words)."""
        return cls(IBMModel1.fit(pairs, iterations).best_targets())

    def translate(self, words: Words) -> list[str]:
        """One target word for each source word; a word that was never seen is copied."""
        return [self.entries.get(word, word) for word in words]
