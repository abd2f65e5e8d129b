"""What BERT is pre-trained on (Devlin et al. 2019, section 3.1): texts with blanks, in pairs that follow each other or do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from course_lib.data.batching import Shuffled, moved, pad

Document = Sequence[Sequence[int]]                               # sentences as lists of ids
Pair = tuple[list[int], list[int]]
Negative = Callable[[Document, int, Sequence[Document], np.random.Generator], Pair]
SPECIALS = ("pad_id", "unk_id", "bos_id", "eos_id", "mask_id")


@dataclass(frozen=True)
class MaskedBatch:
    """Texts with blanks: ids (B, T) as shown, mask (B, T) True = a token, segments (B, T), targets (B, T) as they were, chosen
    (B, T) True where the loss asks, follows (B,) 1 = the second text follows the first; None where there are no pairs."""

    ids: Tensor
    mask: Tensor
    segments: Tensor
    targets: Tensor
    chosen: Tensor
    follows: Tensor | None = None

    def to(self, device: torch.device) -> "MaskedBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)


@dataclass(frozen=True)
class Masking:
    """Which tokens are hidden, and how. Of a row's n ordinary tokens, max(1, round(rate · n)) are chosen; of the chosen ones the
    shares `shown_as` become [MASK], become a random ordinary token (the same one by chance, too), and stay.

    Tokens are chosen one by one, also those that are pieces of one word.

        Masking.of(tokenizer).hide(ids, np.random.default_rng(0))
    """

    mask_id: int
    specials: tuple[int, ...]        # never chosen, never put in
    vocab_size: int
    rate: float = 0.15
    shown_as: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self):
        if not 0 < self.rate <= 1:
            raise ValueError(f"rate: got {self.rate}, expected 0 < rate ≤ 1")
        if len(self.shown_as) != 3 or min(self.shown_as) < 0 or not abs(sum(self.shown_as) - 1) < 1e-9:
            raise ValueError(f"shown_as: got {self.shown_as}, expected three shares that add up to 1: [MASK], random, as it is")
        if not set(self.specials) < set(range(self.vocab_size)):
            raise ValueError(f"specials: got {self.specials}, expected ids of the vocabulary, 0 … {self.vocab_size - 1}, not all")
        if self.mask_id not in self.specials:
            raise ValueError(f"mask_id: got {self.mask_id}, expected one of specials, {self.specials}")

    @classmethod
    def of(cls, tokenizer, **fields) -> "Masking":
        """For a tokenizer with [PAD], [UNK], [CLS], [SEP] and [MASK] (WordPieceTokenizer)."""
        specials = tuple(getattr(tokenizer, name, None) for name in SPECIALS)
        if None in specials:
            lacking = ", ".join(name for name, special in zip(SPECIALS, specials) if special is None)
            raise ValueError(f"tokenizer: got a {type(tokenizer).__name__} without {lacking}, expected one such as WordPieceTokenizer")
        return cls(tokenizer.mask_id, specials, tokenizer.vocab_size, **fields)

    @cached_property
    def ordinary(self) -> np.ndarray:
        """(V,), True for ids that may be chosen and put in."""
        return ~np.isin(np.arange(self.vocab_size), self.specials)

    def hide(self, ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """ids (B, T) on the CPU → (ids as shown, chosen), both (B, T). A row of special tokens alone has none to choose."""
        words = ids.numpy()
        if words.ndim != 2 or words.dtype.kind not in "iu" or not words.size:
            raise ValueError(f"ids: got {ids.dtype} {tuple(ids.shape)}, expected integers (B, T), at least one")
        if words.min() < 0 or words.max() >= self.vocab_size:
            wrong = words.min() if words.min() < 0 else words.max()
            raise ValueError(f"ids: got token id {wrong}, expected 0 … {self.vocab_size - 1} (the vocabulary)")
        ordinary = self.ordinary[words]                                                 # (B, T)
        order = np.where(ordinary, rng.random(words.shape), 2.0).argsort(1)             # ordinary places of each row, shuffled, first
        n_ordinary = ordinary.sum(1, keepdims=True)                                     # (B, 1)
        wanted = np.minimum(n_ordinary, np.maximum(1, np.round(self.rate * n_ordinary)))
        chosen = np.zeros_like(ordinary)
        np.put_along_axis(chosen, order, np.arange(words.shape[1]) < wanted, 1)
        fate, (masked, random, _) = rng.random(words.shape), self.shown_as
        others = rng.choice(np.flatnonzero(self.ordinary), words.shape)
        shown = np.where(chosen & (fate < masked + random), others, words).astype(np.int64)
        shown[chosen & (fate < masked)] = self.mask_id
        return torch.from_numpy(shown), torch.from_numpy(chosen)


def other_text(document: Document, cut: int, documents: Sequence[Document], rng: np.random.Generator) -> Pair:
    """The easy negative, the paper's: the first text, and the end of another document, all others alike likely.

    Another is one that is not the same object. Its end begins after a sentence at least, as a second text does that follows.
    """
    if len(documents) < 2:
        raise ValueError(f"documents: got {len(documents)}, expected another one to take the second text from")
    i = int(rng.integers(len(documents)))
    other = documents[i] if documents[i] is not document else documents[(i + int(rng.integers(1, len(documents)))) % len(documents)]
    _check_document("documents", other)
    return _join(document[:cut]), _join(other[rng.integers(1, len(other)):])


def swapped(document: Document, cut: int, documents: Sequence[Document], rng: np.random.Generator) -> Pair:
    """A hard negative: the same two texts the other way round (Lan et al. 2020, section 3.1)."""
    return _join(document[cut:]), _join(document[:cut])


NEGATIVES: dict[str, Negative] = {"other text": other_text, "swapped": swapped}


def _join(sentences: Document) -> list[int]:
    return [i for sentence in sentences for i in sentence]


def draw_pair(document: Document, documents: Sequence[Document], negative: Negative, rng: np.random.Generator) -> tuple[Pair, bool]:
    """Cut a document of n ≥ 2 sentences in two at a random place; every other time take a negative: (the pair, whether it follows)."""
    _check_document("document", document)
    cut, follows = int(rng.integers(1, len(document))), bool(rng.integers(2))
    return (_join(document[:cut]), _join(document[cut:])) if follows else negative(document, cut, documents, rng), follows


def _check_document(name: str, document: Document) -> None:
    if len(document) < 2 or not all(map(len, document)):
        got = f"a length of {len(document)}" if len(document) < 2 else "an empty sentence"
        raise ValueError(f"{name}: got {got}, expected at least two sentences, each with a token")


def pack_pairs(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], cls_id: int, sep_id: int, pad_id: int,
               max_len: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of id lists → [CLS] first [SEP] second [SEP]: ids, mask, segments, each (B, T). An empty second text: [CLS] first [SEP].

    With max_len the longer of the two loses its last token, the second where both are as long, until they fit.
    """
    if not pairs or not all(len(first) for first, _ in pairs):
        raise ValueError(f"pairs: got {'one with an empty first text' if pairs else 'none'}, expected at least one token in each")
    rows = pairs if max_len is None else [_shorten(*pair, max_len) for pair in pairs]
    ids, mask = pad([[cls_id, *a, sep_id, *b, *([sep_id] * (len(b) > 0))] for a, b in rows], pad_id)
    second = torch.arange(ids.shape[1]) >= torch.tensor([len(a) + 2 for a, _ in rows])[:, None]
    return ids, mask, (second & mask).long()


def _shorten(a: Sequence[int], b: Sequence[int], max_len: int) -> tuple[Sequence[int], Sequence[int]]:
    least = 5 if len(b) else 3
    if max_len < least:
        raise ValueError(f"max_len: got {max_len}, expected at least {least}: [CLS], a [SEP] for each text, and a token of each")
    room = max_len - (3 if len(b) else 2)
    kept = min(len(a), max(room - len(b), (room + 1) // 2))             # of a: what b leaves, or half
    return a[:kept], b[:room - kept]


class MaskedBatches(Shuffled):
    """Endless shuffled MaskedBatches from documents of at least two sentences, each a function of its number: batches[0], …

    Every time a document comes it is cut, paired and masked anew. The same (documents, seed, number) gives the same batch.
    """

    def __init__(self, documents: Sequence[Document], batch_size: int, tokenizer, *, negative: str = "swapped",
                 masking: Masking | None = None, seed: int = 0, pool: int = 50, max_len: int | None = None):
        if not documents:
            raise ValueError("documents: got none, expected at least one")
        for i, document in enumerate(documents):
            _check_document(f"documents[{i}]", document)
        if negative not in NEGATIVES:
            raise ValueError(f"negative: got {negative!r}, expected one of {', '.join(NEGATIVES)}")
        super().__init__(documents, (sum(map(len, document)) for document in documents), batch_size, seed, pool)
        self.negative, self.max_len = NEGATIVES[negative], max_len
        self.masking, self.tokenizer = masking or Masking.of(tokenizer), tokenizer

    def __getitem__(self, number: int) -> MaskedBatch:
        documents, rng = self.draw(number), np.random.default_rng([self.seed, 1, number])
        drawn = [draw_pair(document, self.items, self.negative, rng) for document in documents]
        return mask_pairs([pair for pair, _ in drawn], [follows for _, follows in drawn], self.tokenizer, self.masking, rng, self.max_len)


def mask_pairs(pairs: Sequence[Pair], follows: Sequence[bool] | None, tokenizer, masking: Masking, rng: np.random.Generator,
               max_len: int | None = None) -> MaskedBatch:
    """Pairs of id lists and whether the second follows → one MaskedBatch."""
    if follows is not None and len(follows) != len(pairs):
        raise ValueError(f"follows: got {len(follows)}, expected one for each of {len(pairs)} pairs")
    targets, mask, segments = pack_pairs(pairs, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, max_len)
    ids, chosen = masking.hide(targets, rng)
    return MaskedBatch(ids, mask, segments, targets, chosen, None if follows is None else torch.tensor(follows).long())
