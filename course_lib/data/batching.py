"""From lists of token ids to padded batches. A batch is a function of its number, so training resumes by counting."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class PairBatch:
    """A padded batch of sentence pairs. Masks are boolean, True = a real token.

    source (B, S), source_mask (B, S); target_in (B, T) starts with <bos>, target_out (B, T) ends with <eos>: the decoder
    reads target_in[t] and has to say target_out[t], one place further on. target_mask (B, T).
    """

    source: Tensor
    source_mask: Tensor
    target_in: Tensor
    target_out: Tensor
    target_mask: Tensor

    def to(self, device: torch.device) -> "PairBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)


@dataclass(frozen=True)
class TokenBatch:
    """A batch for a language model: inputs (B, T), and targets (B, T), for each place the token that follows.

    mask (B, T), True = the target counts; None where all of them do.
    """

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None = None

    def to(self, device: torch.device) -> "TokenBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)


def moved(batch, device: torch.device):
    """A dataclass of tensors, some of them None, on `device`; from pinned memory the copy does not wait."""
    parts = [getattr(batch, field.name) for field in fields(batch)]
    pinned = device.type == "cuda" and not parts[0].is_cuda
    return type(batch)(*(part if part is None else (part.pin_memory() if pinned else part).to(device, non_blocking=True)
                         for part in parts))


def pad(sequences: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Lists of ids → ids (B, T) filled up with `pad_id`, and mask (B, T), True where the id is real.

        pad([[5, 6], [7]])  →  [[5, 6], [7, 0]],  [[True, True], [True, False]]
    """
    if not sequences or any(len(s) == 0 for s in sequences):
        raise ValueError(f"sequences: got {'none' if not sequences else 'an empty one'}, expected at least one id in each")
    lengths = np.fromiter((len(s) for s in sequences), dtype=np.int64, count=len(sequences))
    mask = np.arange(lengths.max()) < lengths[:, None]                                  # (B, T)
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences])
    return torch.from_numpy(ids), torch.from_numpy(mask)


def collate_pairs(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], *, bos_id: int = 2, eos_id: int = 3,
                  pad_id: int = 0) -> PairBatch:
    """Pairs of id lists, without special tokens → one PairBatch. The source gets <eos>, the target <bos> in and <eos> out."""
    source, source_mask = pad([[*s, eos_id] for s, _ in pairs], pad_id)
    target_in, target_mask = pad([[bos_id, *t] for _, t in pairs], pad_id)
    target_out, _ = pad([[*t, eos_id] for _, t in pairs], pad_id)
    return PairBatch(source, source_mask, target_in, target_out, target_mask)


class Shuffled:
    """Endless shuffled batches of items of similar length, each a function of its number: batches[0], batches[1], …

    Every epoch is a new permutation; within windows of `pool` batches the items are sorted by length, so little is padded,
    and the order of the batches is shuffled again. The same (items, seed, number) gives the same batch in any process.
    A subclass sets `collate`, which makes a batch of a list of items, or makes it itself of what `draw` gives.
    """

    def __init__(self, items: Sequence, lengths: Iterable[int], batch_size: int, seed: int, pool: int):
        for name, value in (("batch_size", batch_size), ("pool", pool)):
            if value < 1:
                raise ValueError(f"{name}: got {value}, expected at least 1")
        self.items, self.lengths = items, np.fromiter(lengths, dtype=np.int64, count=len(items))
        self.batch_size, self.seed, self.pool = batch_size, seed, pool
        self._epoch, self._order = -1, []

    @property
    def per_epoch(self) -> int:
        """How many batches show everything once; a last incomplete batch counts."""
        return -(-len(self.items) // self.batch_size)

    def __getitem__(self, number: int):
        return self.collate(self.draw(number))

    def draw(self, number: int) -> list:
        """The items of a batch."""
        if number < 0:
            raise ValueError(f"number: got {number}, expected 0, 1, 2, …")
        epoch, position = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._arrange(epoch)
        return [self.items[i] for i in self._order[position]]

    def _arrange(self, epoch: int) -> list[np.ndarray]:
        random = np.random.default_rng([self.seed, epoch])
        order, window = random.permutation(len(self.items)), self.batch_size * self.pool
        windows = [order[i:i + window] for i in range(0, len(order), window)]
        order = np.concatenate([w[np.argsort(self.lengths[w], kind="stable")] for w in windows])
        batches = [order[i:i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]


class PairBatches(Shuffled):
    """Endless shuffled PairBatches from pairs of id lists: batches[0], batches[1], … See `collate_pairs`."""

    def __init__(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int, *, seed: int = 0,
                 pool: int = 50, **special_ids: int):
        if not pairs:
            raise ValueError("pairs: got none, expected at least one pair of id lists")
        super().__init__(pairs, (len(s) + len(t) for s, t in pairs), batch_size, seed, pool)
        self.collate = partial(collate_pairs, **special_ids)


class TextBatches(Shuffled):
    """Endless shuffled TokenBatches of whole texts, one a row: batches[0], batches[1], … See `collate_texts`."""

    def __init__(self, texts: Sequence[Sequence[int]], batch_size: int, *, seed: int = 0, pool: int = 50, pad_id: int = 0):
        if not texts:
            raise ValueError("texts: got none, expected at least one list of ids")
        super().__init__(texts, map(len, texts), batch_size, seed, pool)
        self.collate = partial(collate_texts, pad_id=pad_id)


def collate_texts(texts: Sequence[Sequence[int]], pad_id: int = 0) -> TokenBatch:
    """Lists of ids, each with its <bos> and <eos> → one TokenBatch: a row reads all but its last id and has to say all but its first."""
    if any(len(text) < 2 for text in texts):
        raise ValueError("texts: got one of fewer than two ids, expected a first one to read and a next one to say")
    ids, mask = pad(texts, pad_id)
    return TokenBatch(ids[:, :-1], ids[:, 1:], mask[:, 1:])


def in_order(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int = 256, **special_ids: int) -> list[PairBatch]:
    """All pairs once, in their own order, for evaluation: a list of PairBatch."""
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
    return [collate_pairs(pairs[i:i + batch_size], **special_ids) for i in range(0, len(pairs), batch_size)]


class Windows:
    """Endless shuffled batches of windows over one long sequence of ids, each a function of its number: windows[0], windows[1], …

    Every epoch cuts the sequence at another place into pieces of `length` that do not overlap, and shuffles them. A window's
    targets are its inputs one place on. `ids` stays what it is (uint16, a memory map, …); only a batch becomes int64.
    """

    def __init__(self, ids: Tensor | np.ndarray, length: int, batch_size: int, *, seed: int = 0):
        self.ids = _sequence(ids, length, batch_size)
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.per_epoch = max(1, len(self.ids) // length - 1)                            # windows that fit wherever one begins
        self._epoch, self._starts = -1, np.empty(0)

    def __getitem__(self, number: int) -> TokenBatch:
        """TokenBatch of shape (batch_size, length); where an epoch ends inside a batch, the next one goes on."""
        if number < 0:
            raise ValueError(f"number: got {number}, expected 0, 1, 2, …")
        places = range(number * self.batch_size, (number + 1) * self.batch_size)
        return _windows_at(self.ids, np.array([self._start(place) for place in places]), self.length)

    def _start(self, place: int) -> int:
        """Where the window begins that comes at `place` of all windows of all epochs."""
        epoch, i = divmod(place, self.per_epoch)
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            first = random.integers(min(self.length, len(self.ids) - self.per_epoch * self.length))
            self._epoch, self._starts = epoch, first + self.length * random.permutation(self.per_epoch)
        return self._starts[i]


def windows_in_order(ids: Tensor | np.ndarray, length: int, batch_size: int = 32) -> Iterator[TokenBatch]:
    """All of `ids` for evaluation: windows side by side, so that every token but the first is a target exactly once.

    The last window, if shorter, comes alone.
    """
    ids = _sequence(ids, min(1, length), batch_size)                                    # a sequence shorter than a window will do
    starts = np.arange(0, len(ids) - 1, length)
    whole = (len(ids) - 1) // length
    for i in range(0, whole, batch_size):
        yield _windows_at(ids, starts[i:min(i + batch_size, whole)], length)
    if whole < len(starts):
        yield _windows_at(ids, starts[whole:], len(ids) - 1 - int(starts[whole]))


def _sequence(ids: Tensor | np.ndarray, length: int, batch_size: int) -> np.ndarray:
    ids = ids.numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    for name, value in (("length", length), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids: got {ids.dtype} {ids.shape}, expected one sequence of integers")
    if len(ids) <= length:
        raise ValueError(f"ids: got {len(ids)} tokens, expected more than length, {length}")
    return ids


def _windows_at(ids: np.ndarray, starts: np.ndarray, length: int) -> TokenBatch:
    window = torch.from_numpy(ids[starts[:, None] + np.arange(length + 1)].astype(np.int64))       # (B, length + 1)
    return TokenBatch(window[:, :-1], window[:, 1:])
