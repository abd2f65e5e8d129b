"""Labelled data for fine-tuning (Devlin et al. 2019, section 4): a label for a text or a pair, for each word, or where an answer stands."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.data.batching import Shuffled, moved, pad
from course_lib.data.masking import pack_pairs

Ids = Sequence[int]


class Example(NamedTuple):
    """One or two texts in words, and what there is to say of them: a class, a class for each word of the first, or the span
    [start, end) of the second text that answers the first, None where nothing does."""

    first: Sequence[str]
    second: Sequence[str]
    label: str | Sequence[str] | tuple[int, int] | None


@dataclass(frozen=True)
class LabelledBatch:
    """ids (B, T), mask (B, T) True = a token, segments (B, T), and labels: (B,) of rows, (B, T) of tokens, or (B, 2), the places of
    an answer's first and last token. counts (B, T), True where a token's label counts or an answer may lie; None for rows."""

    ids: Tensor
    mask: Tensor
    segments: Tensor
    labels: Tensor
    counts: Tensor | None = None

    def to(self, device: torch.device) -> "LabelledBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)


Collate = Callable[[Sequence[Any]], LabelledBatch]


class LabelledBatches(Shuffled):
    """Endless shuffled LabelledBatches, each a function of its number: batches[0], … `collate` makes a batch of rows.

        LabelledBatches(rows, 32, partial(collate_tokens, tokenizer=tokenizer), seed=0)
    """

    def __init__(self, rows: Sequence[Any], batch_size: int, collate: Collate, *, seed: int = 0, pool: int = 50):
        if not rows:
            raise ValueError("rows: got none, expected at least one")
        super().__init__(rows, (len(row[0]) + len(row[1]) for row in rows), batch_size, seed, pool)    # two lists lead rows of any kind
        self.collate = collate


def rows_in_order(rows: Sequence[Any], batch_size: int, collate: Collate) -> list[LabelledBatch]:
    """All rows once, in their own order, for evaluation."""
    if batch_size < 1:
        raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
    return [collate(rows[i:i + batch_size]) for i in range(0, len(rows), batch_size)]


def collate_sequences(rows: Sequence[tuple[Ids, Ids, int]], tokenizer: Any, max_len: int | None = None) -> LabelledBatch:
    """Rows (first text, second text or nothing, label) → one LabelledBatch, labels (B,). With max_len the longer text is cut."""
    packed = pack_pairs([row[:2] for row in rows], tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id, max_len)
    return LabelledBatch(*packed, torch.tensor([label for _, _, label in rows]))


def align_labels(words: Sequence[str], labels: Sequence[int], tokenizer: Any) -> tuple[list[int], list[int], list[bool]]:
    """Words and their labels → ids of their pieces, a label for each piece, and which pieces are the first of a word.

    All pieces carry the label of their word; `first` says which of them count, one for each word (section 5.3 of the paper).

        align_labels(["unaffable", "deal"], [2, 0], BERT's tokenizer)
        →  una ##ffa ##ble deal, [2, 2, 2, 0], [True, False, False, True]
    """
    if len(words) != len(labels):
        raise ValueError(f"words, labels: got {len(words)} and {len(labels)}, expected a label for each word")
    cut = _pieces(words, tokenizer)
    return ([i for ids in cut for i in ids], [label for ids, label in zip(cut, labels) for _ in ids],
            [k == 0 for ids in cut for k in range(len(ids))])


def _pieces(words: Sequence[str], tokenizer: Any) -> list[list[int]]:
    """The ids of each word; a word of nothing that the tokenizer keeps (a zero-width space) is unknown, so that no word gets lost."""
    return [tokenizer.encode(word) or [tokenizer.unk_id] for word in words]


def collate_tokens(rows: Sequence[tuple[Ids, Sequence[int], Sequence[bool]]], tokenizer: Any) -> LabelledBatch:
    """Rows as `align_labels` makes them → one LabelledBatch, labels and counts (B, T); [CLS], [SEP] and padding do not count."""
    packed = pack_pairs([(ids, ()) for ids, _, _ in rows], tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    labels, _ = pad([[0, *labels, 0] for _, labels, _ in rows])
    counts, _ = pad([[False, *first, False] for _, _, first in rows])
    return LabelledBatch(*packed, labels, counts.bool())


class Window(NamedTuple):
    """A question with a part of its context, both as ids. span: the answer's first and last token in `context`, None where it is not;
    words: for each token of `context` the number of its word in the whole context."""

    question: list[int]
    context: list[int]
    span: tuple[int, int] | None
    words: list[int]


def span_windows(question: Sequence[str], context: Sequence[str], span: tuple[int, int] | None, tokenizer: Any, max_len: int,
                 stride: int) -> list[Window]:
    """A question about a context, in words, → windows that fit into max_len with [CLS] and twice [SEP], one every `stride` tokens.

    span: the answer is context[start:end]; None for a question that the context does not answer. A window that lacks a part of
    the answer has no span; at least one holds it whole, or there is a ValueError: an answer is never cut.
    """
    if span is not None and not 0 <= span[0] < span[1] <= len(context):
        raise ValueError(f"span: got {span}, expected 0 ≤ start < end ≤ {len(context)}, the words of the context")
    asked, cut = [i for ids in _pieces(question, tokenizer) for i in ids], _pieces(context, tokenizer)
    ids, words = [i for word in cut for i in word], [n for n, word in enumerate(cut) for _ in word]
    room = max_len - len(asked) - 3
    if not 1 <= stride <= room or not ids:
        raise ValueError(f"stride: got {stride} with max_len {max_len}, {len(asked)} tokens of question and {len(ids)} of context, "
                         f"expected 1 … {room}, the room for the context, and a context")
    first, last = (None, None) if span is None else (words.index(span[0]), len(words) - 1 - words[::-1].index(span[1] - 1))
    starts = range(0, max(1, len(ids) - room + stride), stride)                         # the last one reaches the end
    windows = [Window(asked, ids[s:s + room], None if span is None or first < s or last >= s + room else (first - s, last - s),
                      words[s:s + room]) for s in starts]
    if span is not None and all(window.span is None for window in windows):
        raise ValueError(f"span: got an answer of {last - first + 1} tokens at {first}, expected it inside one of the windows of {room} "
                         f"tokens, every {stride}: take a smaller stride or a larger max_len")
    return windows


def collate_spans(rows: Sequence[Window], tokenizer: Any) -> LabelledBatch:
    """Windows → [CLS] question [SEP] context [SEP], labels (B, 2), counts (B, T) True in the context and at [CLS].

    [CLS], place 0, is the answer where there is none (SQuAD 2.0, section 4.3 of the paper).
    """
    packed = pack_pairs([row[:2] for row in rows], tokenizer.bos_id, tokenizer.eos_id, tokenizer.pad_id)
    labels = [(0, 0) if row.span is None else [place + _start(row) for place in row.span] for row in rows]
    counts, _ = pad([[True, *[False] * (_start(row) - 1), *[True] * len(row.context), False] for row in rows])
    return LabelledBatch(*packed, torch.tensor(labels), counts.bool())


def _start(window: Window) -> int:
    return len(window.question) + 2                                                     # [CLS] question [SEP]


@torch.no_grad()
def best_span(start_logits: Tensor, end_logits: Tensor, counts: Tensor, longest: int) -> Tensor:
    """The places (first, last), (B, 2), with the greatest sum of logits among all spans of at most `longest` tokens that lie inside
    `counts` without a gap. start_logits, end_logits, counts (B, T); what stands outside counts, even NaN, does not matter.

        ties go to the earlier first token, then to the shorter span
    """
    if start_logits.shape != counts.shape or end_logits.shape != counts.shape or counts.dtype != torch.bool or longest < 1:
        raise ValueError(f"start_logits, end_logits, counts, longest: got {tuple(start_logits.shape)}, {tuple(end_logits.shape)}, "
                         f"{counts.dtype} {tuple(counts.shape)}, {longest}, expected (B, T) three times, bool, and at least 1")
    if not counts.any(1).all():
        raise ValueError(f"counts: row {int((~counts.any(1)).nonzero()[0])} is all False, expected a place for a span")
    if not (start_logits + end_logits)[counts].isfinite().all():
        raise ValueError("start_logits, end_logits: got NaN or infinity inside counts, expected numbers")
    gaps, place = (~counts).cumsum(1), torch.arange(counts.shape[1], device=counts.device)
    length = place - place[:, None] + 1                                                 # (T, T): from row to column
    fits = (length >= 1) & (length <= longest) & (gaps[:, :, None] == gaps[:, None, :])             # (B, T, T)
    fits &= counts[:, :, None] & counts[:, None, :]
    wide = torch.promote_types(start_logits.dtype, torch.float32)
    sums = start_logits.to(wide)[:, :, None] + end_logits.to(wide)[:, None, :]
    best = sums.masked_fill(~fits, -torch.inf).flatten(1).argmax(1)                     # (B,)
    return torch.stack([best // len(place), best % len(place)], dim=1)


def words_at(window: Window, first: int, last: int) -> tuple[int, int] | None:
    """Places of a packed window → words [start, end) of the context that they touch; None at [CLS], which is no answer."""
    if first == last == 0:
        return None
    first, last = first - _start(window), last - _start(window)
    if not 0 <= first <= last < len(window.words):
        raise ValueError(f"first, last: got {first + _start(window)}, {last + _start(window)}, expected places of the context, "
                         f"{_start(window)} … {_start(window) + len(window.words) - 1}, in their order")
    return window.words[first], window.words[last] + 1


def word_places(text: str) -> list[tuple[int, int]]:
    """Where the words of a text stand, in characters [start, end): runs of letters and digits, and every other sign alone.

        word_places("Mia, 6½!")  →  [(0, 3), (3, 4), (5, 7), (7, 8)]
    """
    return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]


def words_touching(places: Sequence[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """The words [first, last + 1) that characters [start, end) touch. A span that ends inside a word becomes the whole word.

        words_touching(word_places("Mia, 6½!"), 5, 6)  →  (2, 3)
    """
    touched = [n for n, (a, b) in enumerate(places) if a < end and start < b]
    if not touched:
        raise ValueError(f"start, end: got {start}, {end}, expected characters of a word")
    return touched[0], touched[-1] + 1
