"""Supervised fine-tuning: next-token loss on the assistant's words alone, and short conversations packed into long rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from course_lib.alignment.chat import Rendered
from course_lib.data.batching import Shuffled, TokenBatch, collate_texts, moved, pad
from course_lib.losses import token_cross_entropy


@dataclass(frozen=True)
class PackedBatch:
    """Rows of several conversations each: inputs and targets (B, T), mask (B, T), True = the target counts, segments (B, T), whose
    numbers tell the conversations of a row apart; padding is the last of them."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor
    segments: Tensor

    def to(self, device: torch.device) -> "PackedBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)


def collate_responses(items: Sequence[Rendered], pad_id: int = 0) -> TokenBatch:
    """One conversation a row. A target counts where it is the assistant's: what the user says is read, not learned.

        ids     <bos> <user> Hello <end> <assistant> Hi <end>
        counts         no     no    no       no      yes  yes       (one place further on than the words that predict them)
    """
    _check(items)
    learned, _ = pad([item.learned for item in items])                                  # (B, T + 1)
    return replace(collate_texts([item.ids for item in items], pad_id), mask=learned[:, 1:].bool())


def collate_packed(rows: Sequence[Sequence[Rendered]], pad_id: int = 0) -> PackedBatch:
    """Several conversations a row, each shifted by itself: no last word of one has to say the first word of the next."""
    for row in rows:
        _check(row)
    inputs, real = pad([[i for item in row for i in item.ids[:-1]] for row in rows], pad_id)                # (B, T)
    targets, _ = pad([[i for item in row for i in item.ids[1:]] for row in rows], pad_id)
    learned, _ = pad([[i for item in row for i in item.learned[1:]] for row in rows])
    segments, _ = pad([[n for n, item in enumerate(row) for _ in item.ids[1:]] for row in rows])
    last = torch.tensor([len(row) for row in rows])[:, None]
    return PackedBatch(inputs, targets, learned.bool(), torch.where(real, segments, last))


class ResponseBatches(Shuffled):
    """Endless shuffled TokenBatches of conversations, one a row, for `next_token_loss`. See `collate_responses`."""

    def __init__(self, items: Sequence[Rendered], batch_size: int, *, seed: int = 0, pool: int = 50, pad_id: int = 0):
        _check(items)
        super().__init__(items, (len(item.ids) for item in items), batch_size, seed, pool)
        self.collate = partial(collate_responses, pad_id=pad_id)


class PackedBatches(Shuffled):
    """Endless shuffled PackedBatches of rows of at most `length` words, for `packed_loss`. See `pack` and `collate_packed`.

    Which conversations share a row is settled once; the order of the rows is not.
    """

    def __init__(self, items: Sequence[Rendered], length: int, batch_size: int, *, seed: int = 0, pad_id: int = 0):
        rows = pack(items, length)
        super().__init__(rows, (sum(len(item.ids) - 1 for item in row) for row in rows), batch_size, seed, pool=1)
        self.collate = partial(collate_packed, pad_id=pad_id)


def pack(items: Sequence[Rendered], length: int) -> list[list[Rendered]]:
    """Share conversations out over rows of at most `length` inputs: longest first, each to the row that it fills best.

    Best fit decreasing (Johnson 1974): never more than 11/9 of the fewest possible rows, and a few. A conversation takes one place
    less than it has ids. ValueError for one that is longer than a row.
    """
    _check(items)
    sizes = [len(item.ids) - 1 for item in items]
    if max(sizes) > length:
        raise ValueError(f"length: got {length}, expected at least {max(sizes)}, what the longest conversation takes")
    rows: list[list[Rendered]] = []
    with_room: list[list[int]] = [[] for _ in range(length + 1)]                        # rows by the places they have left
    for i in sorted(range(len(items)), key=lambda i: -sizes[i]):
        room = next((room for room in range(sizes[i], length + 1) if with_room[room]), None)
        if room is None:
            room, row = length, len(rows)
            rows.append([])
        else:
            row = with_room[room].pop()
        rows[row].append(items[i])
        with_room[room - sizes[i]].append(row)
    return rows


def packed_loss(model: nn.Module, batch: PackedBatch) -> tuple[Tensor, Tensor]:
    """Loss of a language model on rows of several conversations, none of which sees another: (sum, count), as if each came alone."""
    return token_cross_entropy(model(batch.inputs, segments=batch.segments), batch.targets, batch.mask)


def padding_share(batches: Iterable[TokenBatch | PackedBatch], pad_id: int = 0) -> float:
    """The share of places at which a model computes for nothing: there is nothing to predict."""
    counts = [(int((batch.targets == pad_id).sum()), batch.targets.numel()) for batch in batches]
    if not counts:
        raise ValueError("batches: got none, expected at least one")
    padding, places = map(sum, zip(*counts))
    return padding / places


def _check(items: Sequence[Rendered]) -> None:
    if not items:
        raise ValueError("items: got no conversation, expected at least one")
    for number, item in enumerate(items):
        if len(item.ids) != len(item.learned) or not any(item.learned[1:]):
            raise ValueError(f"items: number {number} has {len(item.ids)} ids and {sum(item.learned)} of {len(item.learned)} that are "
                             f"learned, expected as many of both, and at least one response")
