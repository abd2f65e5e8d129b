"""What BERT is pre-trained on (Devlin et al. 2019, section 3.1): texts with blanks, in pairs that follow each other or do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from course_lib.data.batching import _moved, _Shuffled, pad

Document = Sequence[Sequence[int]]                               # sentences as lists of ids
Pair = tuple[list[int], list[int]]
Negative = Callable[[Document, int, Sequence[Document], np.random.Generator], Pair]


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
        return _moved(self, device)


@dataclass(frozen=True)
class Masking:
    """Which tokens are hidden, and how. Of a row's ordinary tokens the share `rate` is chosen, at least one; of the chosen ones the
    shares `shown_as` become [MASK], become a random ordinary token, and stay.

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
        if len(self.shown_as) != 3 or min(self.shown_as) < 0 or abs(sum(self.shown_as) - 1) > 1e-9:
            raise ValueError(f"shown_as: got {self.shown_as}, expected three shares that add up to 1: [MASK], random, as it is")
        if not set(self.specials) < set(range(self.vocab_size)):
            raise ValueError(f"specials: got {self.specials}, expected ids of the vocabulary, 0 … {self.vocab_size - 1}, not all")

    @classmethod
    def of(cls, tokenizer, **fields) -> "Masking":
        """For a tokenizer with [PAD], [UNK], [CLS], [SEP] and [MASK] (WordPieceTokenizer)."""
        specials = tuple(getattr(tokenizer, name) for name in ("pad_id", "unk_id", "bos_id", "eos_id", "mask_id"))
        return cls(tokenizer.mask_id, specials, tokenizer.vocab_size, **fields)

    def hide(self, ids: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """ids (B, T) → (ids as shown, chosen), both (B, T). A row of special tokens alone has none to choose."""
        words = ids.numpy()
        ordinary = ~np.isin(words, self.specials)                                       # (B, T)
        wanted = np.maximum(1, np.round(self.rate * ordinary.sum(1))).astype(int)       # (B,)
        keys = np.where(ordinary, rng.random(words.shape), 2.0)
        chosen = ordinary & (keys.argsort(1).argsort(1) < wanted[:, None])              # the smallest keys of each row
        fate, (masked, random, _) = rng.random(words.shape), self.shown_as
        others = rng.choice(np.setdiff1d(np.arange(self.vocab_size), self.specials), words.shape)
        shown = np.where(chosen & (fate < masked), self.mask_id, words)
        shown = np.where(chosen & (fate >= masked) & (fate < masked + random), others, shown)
        return torch.from_numpy(shown), torch.from_numpy(chosen)


def other_text(document: Document, cut: int, documents: Sequence[Document], rng: np.random.Generator) -> Pair:
    """The easy negative, the paper's: the first text, and the end of any document."""
    other = documents[rng.integers(len(documents))]
    return _join(document[:cut]), _join(other[rng.integers(1, len(other)):])


def swapped(document: Document, cut: int, documents: Sequence[Document], rng: np.random.Generator) -> Pair:
    """A hard negative: the same two texts the other way round (Lan et al. 2020, section 3.1)."""
    return _join(document[cut:]), _join(document[:cut])


NEGATIVES: dict[str, Negative] = {"other text": other_text, "swapped": swapped}


def _join(sentences: Document) -> list[int]:
    return [i for sentence in sentences for i in sentence]


def draw_pair(document: Document, documents: Sequence[Document], negative: Negative, rng: np.random.Generator) -> tuple[Pair, bool]:
    """Cut a document of n ≥ 2 sentences in two at a random place; every other time take a negative: (the pair, whether it follows)."""
    cut, follows = int(rng.integers(1, len(document))), bool(rng.integers(2))
    return (_join(document[:cut]), _join(document[cut:])) if follows else negative(document, cut, documents, rng), follows


def pack_pairs(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], cls_id: int, sep_id: int, pad_id: int,
               max_len: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of id lists → [CLS] first [SEP] second [SEP]: ids, mask, segments, each (B, T). An empty second text: [CLS] first [SEP].

    With max_len the longer of the two loses its last token until both fit.
    """
    rows = [_shorten(list(a), list(b), max_len - 2 - bool(b)) if max_len else (a, b) for a, b in pairs]
    ids, mask = pad([[cls_id, *a, sep_id, *b, *([sep_id] * bool(b))] for a, b in rows], pad_id)
    second = torch.arange(ids.shape[1]) >= torch.tensor([len(a) + 2 for a, _ in rows])[:, None]
    return ids, mask, (second & mask).long()


def _shorten(a: list[int], b: list[int], room: int) -> Pair:
    if room < 1:
        raise ValueError(f"max_len: got {room + 2 + bool(b)}, expected room for [CLS], [SEP] and at least one token")
    while len(a) + len(b) > room:
        (a if len(a) > len(b) else b).pop()
    return a, b


class MaskedBatches(_Shuffled):
    """Endless shuffled MaskedBatches from documents of at least two sentences, each a function of its number: batches[0], …

    Every time a document comes it is cut, paired and masked anew. The same (documents, seed, number) gives the same batch.
    """

    def __init__(self, documents: Sequence[Document], batch_size: int, tokenizer, *, negative: str = "swapped",
                 masking: Masking | None = None, seed: int = 0, pool: int = 50, max_len: int | None = None):
        if not documents or min(map(len, documents)) < 2:
            raise ValueError("documents: got none or one of a single sentence, expected at least two sentences in each")
        if negative not in NEGATIVES:
            raise ValueError(f"negative: got {negative!r}, expected one of {', '.join(NEGATIVES)}")
        super().__init__(documents, (sum(map(len, document)) for document in documents), batch_size, seed, pool)
        self.collate, self.negative, self.max_len = list, NEGATIVES[negative], max_len
        self.masking, self.tokenizer = masking or Masking.of(tokenizer), tokenizer

    def __getitem__(self, number: int) -> MaskedBatch:
        documents, rng = super().__getitem__(number), np.random.default_rng([self.seed, 1, number])
        drawn = [draw_pair(document, self.items, self.negative, rng) for document in documents]
        return mask_pairs([pair for pair, _ in drawn], [follows for _, follows in drawn], self.tokenizer, self.masking, rng, self.max_len)


def mask_pairs(pairs: Sequence[Pair], follows: Sequence[bool] | None, tokenizer, masking: Masking, rng: np.random.Generator,
               max_len: int | None = None) -> MaskedBatch:
    """Pairs of id lists and whether the second follows → one MaskedBatch."""
    targets, mask, segments = pack_pairs(pairs, tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, max_len)
    ids, chosen = masking.hide(targets, rng)
    return MaskedBatch(ids, mask, segments, targets, chosen, None if follows is None else torch.tensor(follows).long())
