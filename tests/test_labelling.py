"""Labels follow their words into pieces and answers into windows; the best span is the one that a search over all of them finds."""

import random
from functools import partial
from itertools import chain, pairwise

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from course_lib.data.labelling import (
    LabelledBatches,
    Window,
    align_labels,
    best_span,
    collate_sequences,
    collate_spans,
    collate_tokens,
    rows_in_order,
    span_windows,
    word_places,
    words_at,
    words_touching,
)
from course_lib.tokenizers import WordPieceTokenizer

TOKENIZER = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "ab", "?", "##a", "##b", "##bb", "##aba"])
PAD, UNK, CLS, SEP = 0, 1, 2, 3
NOTHING = "\u200b"                                                      # a word of which the tokenizer keeps nothing
words = st.lists(st.one_of(st.text("ab", min_size=1, max_size=7), st.sampled_from(["xyz", NOTHING, "?", "a?b"])), max_size=9)
often = settings(max_examples=150, deadline=None, derandomize=True)


def cut(word):
    return TOKENIZER.encode(word) or [UNK]


# --- labels of words -------------------------------------------------------------------------------------------------

@often
@given(words, st.randoms(use_true_random=False))
def test_each_word_counts_once_and_all_its_pieces_carry_its_label(said, rng):
    labels = [rng.randrange(5) for _ in said]
    ids, spread, first = align_labels(said, labels, TOKENIZER)
    expected = [(i, label, k == 0) for word, label in zip(said, labels) for k, i in enumerate(cut(word))]
    assert list(zip(ids, spread, first, strict=True)) == expected
    assert [label for label, counts in zip(spread, first) if counts] == labels
    if NOTHING not in said:
        assert ids == TOKENIZER.encode(" ".join(said))


def test_labels_and_words_must_be_equally_many():
    with pytest.raises(ValueError, match="words, labels: got 2 and 1, expected a label for each word"):
        align_labels(["a", "b"], [1], TOKENIZER)


def test_a_batch_of_tokens_is_what_stands_between_cls_and_sep():
    rows = [align_labels(said, labels, TOKENIZER) for said, labels in ((["abb", "a"], [3, 4]), (["b"], [1]))]
    batch = collate_tokens(rows, TOKENIZER)
    assert batch.ids.tolist() == [[CLS, 7, 10, 5, SEP], [CLS, 6, SEP, PAD, PAD]]
    assert batch.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2] and not batch.segments.any()
    assert batch.labels.tolist() == [[0, 3, 3, 4, 0], [0, 1, 0, 0, 0]]
    assert batch.counts.tolist() == [[False, True, False, True, False], [False, True, False, False, False]]
    assert batch.counts.dtype == torch.bool and batch.labels.dtype == torch.long


def test_a_batch_of_rows_has_one_label_each_and_segments():
    batch = collate_sequences([([5, 6], [7], 2), ([5], [], 0)], TOKENIZER)
    assert batch.ids.tolist() == [[CLS, 5, 6, SEP, 7, SEP], [CLS, 5, SEP, PAD, PAD, PAD]]
    assert batch.segments.tolist() == [[0, 0, 0, 0, 1, 1], [0] * 6]
    assert batch.labels.tolist() == [2, 0] and batch.counts is None
    short = collate_sequences([([5, 6, 5], [7], 2)], TOKENIZER, max_len=6)
    assert short.ids.tolist() == [[CLS, 5, 6, SEP, 7, SEP]]


@pytest.mark.parametrize("batch", [collate_sequences([([5], [6], 1)], TOKENIZER), collate_tokens([([5], [1], [True])], TOKENIZER)])
def test_a_batch_moves_with_all_its_parts(batch):
    moved = batch.to(torch.device("meta"))
    assert {part.device.type for part in vars(moved).values() if part is not None} == {"meta"}
    assert (moved.counts is None) == (batch.counts is None)


# --- batches ---------------------------------------------------------------------------------------------------------

ROWS = [([5] * (n % 7 + 1), [6] * (n % 3), n) for n in range(23)]
collate = partial(collate_sequences, tokenizer=TOKENIZER)


def test_an_epoch_shows_every_row_once_and_a_batch_is_a_function_of_its_number():
    batches, again = (LabelledBatches(ROWS, 4, collate, seed=3, pool=2) for _ in range(2))
    shown = [batches[n].labels.tolist() for n in range(12)]
    assert sorted(chain(*shown[:6])) == sorted(chain(*shown[6:])) == list(range(23)) and shown[:6] != shown[6:]
    assert [again[n].labels.tolist() for n in reversed(range(12))][::-1] == shown
    assert LabelledBatches(ROWS, 4, collate, seed=4, pool=2)[0].labels.tolist() != shown[0]


def test_rows_of_one_batch_are_of_similar_length():
    rows = [([5] * n, [6] * m, 0) for n in range(1, 9) for m in range(1, 9)]
    batches = LabelledBatches(rows, 8, collate)
    widths = [batches[n].mask.sum(1) for n in range(batches.per_epoch)]
    assert all(width.max() - width.min() <= 3 for width in widths)


def test_rows_in_order_come_once_in_their_order():
    found = [batch.labels.tolist() for batch in rows_in_order(ROWS, 10, collate)]
    assert found == [list(range(10)), list(range(10, 20)), [20, 21, 22]]


@pytest.mark.parametrize("call, message", [
    (lambda: LabelledBatches([], 4, collate), "rows: got none, expected at least one"),
    (lambda: LabelledBatches(ROWS, 0, collate), "batch_size: got 0, expected at least 1"),
    (lambda: rows_in_order(ROWS, 0, collate), "batch_size: got 0, expected at least 1")])
def test_no_rows_and_no_batches_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- windows ---------------------------------------------------------------------------------------------------------

@often
@given(words.filter(len), words.filter(len), st.integers(0, 30), st.integers(1, 8), st.randoms(use_true_random=False))
def test_an_answer_survives_the_windows_or_is_reported(question, context, room, stride, rng):
    """Naive: mark every token with its word; a window holds the answer when it holds all of the answer's tokens."""
    start = rng.randrange(len(context))
    span = rng.choice([None, (start, rng.randrange(start, len(context)) + 1)])
    asked = [i for word in question for i in cut(word)]
    tokens = [(i, n) for n, word in enumerate(context) for i in cut(word)]
    max_len = len(asked) + 3 + room
    if not stride <= room:
        with pytest.raises(ValueError, match="stride: got"):
            span_windows(question, context, span, TOKENIZER, max_len, stride)
        return
    answer = [n for n, (_, word) in enumerate(tokens) if span and span[0] <= word < span[1]]
    starts = [0]
    while starts[-1] + room < len(tokens):
        starts.append(starts[-1] + stride)
    whole = [bool(answer) and s <= answer[0] and answer[-1] < s + room for s in starts]
    if span and not any(whole):
        assert len(answer) > room - stride + 1                          # what fits for certain was not refused
        with pytest.raises(ValueError, match=rf"span: got an answer of {len(answer)} tokens at {answer[0]}, expected it inside"):
            span_windows(question, context, span, TOKENIZER, max_len, stride)
        return
    windows = span_windows(question, context, span, TOKENIZER, max_len, stride)
    assert [list(zip(w.context, w.words, strict=True)) for w in windows] == [tokens[s:s + room] for s in starts]
    assert [w.span is not None for w in windows] == whole and all(w.question == asked for w in windows)
    batch = collate_spans(windows, TOKENIZER)
    assert batch.ids.shape[1] <= max_len
    for row, (window, holds) in enumerate(zip(windows, whole)):
        real = batch.ids[row][batch.mask[row]].tolist()
        assert real == [CLS, *asked, SEP, *window.context, SEP]
        first, last = batch.labels[row].tolist()
        assert words_at(window, first, last) == (span if holds else None) and ((first, last) == (0, 0)) != holds
        if holds:
            assert real[first:last + 1] == [i for word in context[slice(*span)] for i in cut(word)]
        inside = [place for place, counts in enumerate(batch.counts[row].tolist()) if counts]
        assert inside == [0, *range(len(asked) + 2, len(asked) + 2 + len(window.context))]
        assert batch.segments[row].nonzero().flatten().tolist() == [*range(len(asked) + 2, len(real))]


def test_the_last_window_reaches_the_end_and_none_is_needless():
    for n in range(1, 40):
        windows = span_windows(["a"], ["b"] * n, None, TOKENIZER, 14, 3)           # room for 10
        assert windows[-1].words[-1] == n - 1 and all(len(w.context) == 10 for w in windows[:-1])
        assert len(windows) == 1 or windows[-2].words[-1] < n - 1


@pytest.mark.parametrize("span, max_len, stride, message", [
    ((2, 2), 20, 3, r"span: got \(2, 2\), expected 0 ≤ start < end ≤ 4, the words of the context"),
    ((-1, 2), 20, 3, r"span: got \(-1, 2\), expected"), ((0, 5), 20, 3, r"span: got \(0, 5\), expected"),
    ((0, 4), 7, 1, "span: got an answer of 4 tokens at 0, expected it inside one of the windows of 3 tokens"),
    ((0, 1), 20, 0, "stride: got 0 with max_len 20, 1 tokens of question and 4 of context, expected 1 … 16"),
    ((0, 1), 20, 17, "stride: got 17"), ((0, 1), 4, 1, "stride: got 1 with max_len 4, .* expected 1 … 0")])
def test_what_no_window_can_hold_is_named(span, max_len, stride, message):
    with pytest.raises(ValueError, match=message):
        span_windows(["a"], ["a", "b", "a", "b"], span, TOKENIZER, max_len, stride)


def test_an_empty_context_is_named():
    with pytest.raises(ValueError, match="0 of context, expected 1 … 16, the room for the context, and a context"):
        span_windows(["a"], [], None, TOKENIZER, 20, 3)


def test_places_go_back_to_whole_words_of_the_context():
    window = Window([5], [7, 10, 5, 6], None, [4, 4, 5, 6])             # [CLS] a [SEP] ab ##bb a b [SEP]
    assert words_at(window, 4, 5) == (4, 6) and words_at(window, 3, 3) == (4, 5) and words_at(window, 0, 0) is None
    for wrong in ((2, 3), (3, 7), (5, 4), (0, 4), (1, 1)):
        with pytest.raises(ValueError, match=f"first, last: got {wrong[0]}, {wrong[1]}, expected places of the context, 3 … 6"):
            words_at(window, *wrong)


# --- the best span ---------------------------------------------------------------------------------------------------

def searched(start, end, counts, longest):
    """Every span, tried one by one in order; the first of the best."""
    best = None
    for i in range(len(start)):
        for j in range(i, min(len(start), i + longest)):
            if all(counts[i:j + 1]) and (best is None or start[i] + end[j] > best[0]):
                best = (start[i] + end[j], [i, j])
    return best[1]


@often
@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 14), st.sampled_from([torch.float64, torch.float32, torch.bfloat16]),
       st.integers(0, 10**6))
def test_the_best_span_is_the_one_that_a_search_finds(rows, length, longest, dtype, seed):
    g = torch.Generator().manual_seed(seed)
    start, end = (torch.randint(-3, 4, (rows, length), generator=g).to(dtype) for _ in range(2))         # many ties
    counts = torch.rand(rows, length, generator=g) < 0.7
    counts[~counts.any(1), 0] = True
    expected = [searched(*(part[row].tolist() for part in (start, end, counts)), longest) for row in range(rows)]
    start[~counts], end[~counts] = torch.nan, torch.inf
    assert best_span(start, end, counts, longest).tolist() == expected


def test_half_precision_is_added_in_float32():
    start, end = torch.tensor([[256.0, 257.0]]).bfloat16(), torch.tensor([[0.0, 1.0]]).bfloat16()      # 257 is 256 in bfloat16
    assert best_span(start, end, torch.ones(1, 2, dtype=torch.bool), 1).tolist() == [[1, 1]]
    assert best_span(start, end, torch.ones(1, 2, dtype=torch.bool), 2).tolist() == [[0, 1]]


ones = torch.ones(2, 3)
BAD = {
    "shapes": (lambda: best_span(ones, ones[:, 1:], ones.bool(), 2), r"got \(2, 3\), \(2, 2\), torch.bool \(2, 3\), 2, expected"),
    "kind": (lambda: best_span(ones, ones, ones, 2), r"torch.float32 \(2, 3\), 2, expected \(B, T\) three times, bool"),
    "length": (lambda: best_span(ones, ones, ones.bool(), 0), ", 0, expected .* at least 1"),
    "nowhere": (lambda: best_span(ones, ones, torch.tensor([[True] * 3, [False] * 3]), 2), "counts: row 1 is all False"),
    "NaN": (lambda: best_span(ones * torch.nan, ones, ones.bool(), 2), "got NaN or infinity inside counts")}


@pytest.mark.parametrize("case", BAD)
def test_what_no_span_can_come_from_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


# --- words and characters --------------------------------------------------------------------------------------------

@often
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_the_words_of_a_text_are_all_that_is_not_space(text):
    places = word_places(text)
    assert "".join(text[a:b] for a, b in places) == "".join(text.split())
    assert all(a < b for a, b in places) and all(b <= c for (_, b), (c, _) in pairwise(places))


def test_signs_stand_alone_and_numbers_do_not_fall_apart():
    assert word_places("Mia, 6½!") == [(0, 3), (3, 4), (5, 7), (7, 8)]
    assert [("it's (a-b)")[a:b] for a, b in word_places("it's (a-b)")] == ["it", "'", "s", "(", "a", "-", "b", ")"]


@often
@given(st.text("ab ,", min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_the_words_that_a_stretch_of_characters_touches(text, rng):
    start = rng.randrange(len(text))
    end = rng.randrange(start, len(text)) + 1
    places = word_places(text)
    touched = [n for n, (a, b) in enumerate(places) if set(range(a, b)) & set(range(start, end))]
    assume(touched or not text[start:end].split())
    if not touched:
        with pytest.raises(ValueError, match=f"start, end: got {start}, {end}, expected characters of a word"):
            words_touching(places, start, end)
        return
    first, last = words_touching(places, start, end)
    assert (first, last) == (touched[0], touched[-1] + 1)
    assert text[start:end].strip() in text[places[first][0]:places[last - 1][1]]


def test_random_examples_reach_every_case():
    """The generators above draw what they should: words in several pieces, unknown words, words of nothing."""
    rng = random.Random(0)
    kinds = {len(cut("".join(rng.choices("ab", k=rng.randint(1, 7))))) for _ in range(200)}
    assert {1, 2, 3} <= kinds and cut("xyz") == [UNK] == cut(NOTHING) and TOKENIZER.encode(NOTHING) == [] and len(cut("a?b")) == 3
