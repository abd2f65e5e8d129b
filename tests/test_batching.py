"""Batches: padding, the shift between what the decoder reads and what it has to say, and an order that is a function of numbers."""

import hashlib
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.data.batching import (
    PairBatches,
    TextBatches,
    TokenBatch,
    Windows,
    collate_pairs,
    collate_texts,
    in_order,
    pad,
    windows_in_order,
)

ROOT = Path(__file__).resolve().parents[1]
FIELDS = ("source", "source_mask", "target_in", "target_out", "target_mask")


def numbered_pairs(n=103, seed=0):
    """Pairs that carry their number, so that a batch tells which pairs it holds; 0 to 9 further ids on each side."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 10, (n, 2), generator=g).tolist()
    return [([10 + i] + [5] * a, [10 + i] + [6] * b) for i, (a, b) in enumerate(lengths)]


def members(batch):
    return [i - 10 for i in batch.source[:, 0].tolist()]


def equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


def test_pad_fills_up_to_the_longest():
    ids, mask = pad([[5, 6, 7], [8], [9, 4]], pad_id=1)
    assert ids.tolist() == [[5, 6, 7], [8, 1, 1], [9, 4, 1]] and ids.dtype == torch.long
    assert mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_the_mask_follows_lengths_not_ids():
    _, mask = pad([[0, 0], [0]])                                        # a real 0 is a real id
    assert mask.tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize("sequences, got", [([], "none"), ([[1], []], "an empty one")])
def test_nothing_to_pad_is_named(sequences, got):
    with pytest.raises(ValueError, match=f"sequences: got {got}, expected at least one id"):
        pad(sequences)


def test_the_decoder_reads_one_place_behind_what_it_says():
    batch = collate_pairs([([5, 6], [7, 8, 9]), ([4], [])])
    assert batch.source.tolist() == [[5, 6, 3], [4, 3, 0]]
    assert batch.source_mask.tolist() == [[True] * 3, [True, True, False]]
    assert batch.target_in.tolist() == [[2, 7, 8, 9], [2, 0, 0, 0]]
    assert batch.target_out.tolist() == [[7, 8, 9, 3], [3, 0, 0, 0]]
    assert batch.target_mask.tolist() == [[True] * 4, [True, False, False, False]]


def test_every_word_read_is_the_word_said_before():
    batch = collate_pairs(numbered_pairs())
    both = batch.target_mask[:, 1:]
    assert torch.equal(batch.target_in[:, 1:][both], batch.target_out[:, :-1][both])
    assert (batch.target_in[:, 0] == 2).all() and not (batch.target_in[batch.target_mask] == 3).any()
    last = batch.target_mask.sum(1) - 1
    assert (batch.target_out[torch.arange(len(last)), last] == 3).all()


def test_other_special_ids_are_used():
    batch = collate_pairs([([5], [6, 7]), ([5, 5], [6])], bos_id=20, eos_id=21, pad_id=22)
    assert batch.source.tolist() == [[5, 21, 22], [5, 5, 21]] and batch.target_in.tolist() == [[20, 6, 7], [20, 6, 22]]
    assert batch.target_out.tolist() == [[6, 7, 21], [6, 21, 22]]


@pytest.mark.parametrize("n, batch_size, pool", [(103, 10, 3), (103, 10, 50), (100, 10, 2), (7, 10, 1), (1, 1, 1), (64, 1, 5)])
def test_every_pair_comes_exactly_once_an_epoch(n, batch_size, pool):
    pairs = numbered_pairs(n)
    batches = PairBatches(pairs, batch_size, pool=pool)
    assert batches.per_epoch == -(-n // batch_size)
    orders = []
    for epoch in range(3):
        seen = [members(batches[epoch * batches.per_epoch + i]) for i in range(batches.per_epoch)]
        assert Counter(i for batch in seen for i in batch) == Counter(range(n))
        assert sorted(map(len, seen))[1:] == [batch_size] * (batches.per_epoch - 1)
        orders.append(seen)
    assert n < 10 or orders[0] != orders[1] != orders[2]                # a new order every epoch


def test_a_batch_holds_the_pairs_themselves():
    pairs = numbered_pairs()
    batch = PairBatches(pairs, 10)[4]
    assert equal(batch, collate_pairs([pairs[i] for i in members(batch)]))


def test_a_batch_is_a_function_of_its_number_wherever_one_starts():
    pairs = numbered_pairs()
    one, other = PairBatches(pairs, 10, seed=3), PairBatches(pairs, 10, seed=3)
    forward = [one[i] for i in range(30)]
    assert all(equal(other[i], forward[i]) for i in (29, 0, 17, 17, 3, 28))
    assert not all(equal(PairBatches(pairs, 10, seed=4)[i], forward[i]) for i in range(30))


def digest():
    batches = PairBatches(numbered_pairs(), 10, seed=3)
    return hashlib.sha256(b"".join(batches[i].source.numpy().tobytes() for i in (0, 25))).hexdigest()


def test_another_process_gets_the_same_batches():
    program = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]}; import test_batching; print(test_batching.digest())"
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == digest()


def test_batches_of_similar_length_pad_little():
    pairs = numbered_pairs(2000)
    padding = {pool: 1 - sum(b.source_mask.sum() + b.target_mask.sum() for b in many).item()
               / sum(b.source_mask.numel() + b.target_mask.numel() for b in many)
               for pool in (1, 50) for many in [[PairBatches(pairs, 20, pool=pool)[i] for i in range(100)]]}
    assert padding[50] < 0.75 * padding[1]


def test_short_and_long_batches_come_mixed():
    """Sorting must not turn into a curriculum: neighbours in time are not neighbours in length."""
    lengths = [PairBatches(numbered_pairs(2000), 20)[i].source_mask.sum(1).float().mean() for i in range(100)]
    steps = torch.stack(lengths).diff().abs().mean() / torch.stack(lengths).std()
    assert steps > 0.8                                                  # sorted batches would give about 0.03


def test_in_order_keeps_the_order_and_leaves_nothing_out():
    pairs = numbered_pairs(25)
    batches = in_order(pairs, 10)
    assert [members(b) for b in batches] == [list(range(10)), list(range(10, 20)), list(range(20, 25))]
    assert equal(batches[2], collate_pairs(pairs[20:]))


def test_a_batch_moves_as_a_whole():
    moved = collate_pairs([([5], [6])]).to(torch.device("meta"))
    assert {getattr(moved, name).device.type for name in FIELDS} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_batch_moves_to_a_gpu_and_back_unchanged():
    batch = collate_pairs(numbered_pairs())
    moved = batch.to(torch.device("cuda"))
    torch.cuda.synchronize()
    assert moved.source.is_cuda and equal(moved.to(torch.device("cpu")), batch)
    assert equal(moved.to(torch.device("cuda")), moved)                 # already there


@pytest.mark.parametrize("call, message", [
    (lambda: PairBatches([], 4), "pairs: got none, expected at least one pair"),
    (lambda: PairBatches([([5], [6])], 0), "batch_size: got 0, expected at least 1"),
    (lambda: PairBatches([([5], [6])], 1, pool=0), "pool: got 0, expected at least 1"),
    (lambda: PairBatches([([5], [6])], 1)[-1], "number: got -1, expected 0, 1, 2"),
    (lambda: in_order([([5], [6])], 0), "batch_size: got 0, expected at least 1"),
], ids=["pairs", "batch_size", "pool", "number", "in_order"])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- windows over one long sequence -------------------------------------------------------------------------------------

@pytest.mark.parametrize("n, length, batch_size", [(1000, 16, 4), (1000, 16, 7), (33, 16, 3), (17, 16, 2), (100, 1, 5), (97, 48, 1)])
def test_windows_of_an_epoch_do_not_overlap_and_targets_are_one_place_on(n, length, batch_size):
    windows = Windows(torch.arange(n), length, batch_size, seed=1)
    rows = [row for i in range(12 * windows.per_epoch) for row in windows[i].inputs]
    firsts = set()
    for epoch in range(12 * batch_size):
        starts = sorted(row[0].item() for row in rows[epoch * windows.per_epoch:(epoch + 1) * windows.per_epoch])
        assert all(b - a == length for a, b in itertools.pairwise(starts)) and starts[-1] + length < n
        firsts.add(starts[0])
    assert all(torch.equal(row, torch.arange(length) + row[0]) for row in rows)
    assert max(firsts) < max(length, n - windows.per_epoch * length)
    assert len(firsts) > 1 or length == 1 or n == length + 1            # every epoch cuts at another place
    batch = windows[3]
    assert torch.equal(batch.targets, batch.inputs + 1) and batch.inputs.shape == (batch_size, length) and batch.mask is None


def test_over_the_epochs_every_token_is_an_input_equally_often_but_near_the_ends():
    windows = Windows(torch.arange(400), 16, 8)
    counts = Counter(i for k in range(300 * windows.per_epoch // 8) for i in windows[k].inputs.flatten().tolist())
    inner = [counts[i] for i in range(32, 360)]
    assert min(inner) > 0.8 * max(inner)


@pytest.mark.parametrize("n, length, last", [(50, 8, 7), (17, 16, 0), (20, 16, 3), (33, 16, 15)])
def test_an_epoch_begins_anywhere_that_leaves_its_windows_room(n, length, last):
    windows = Windows(torch.arange(n), length, 1)
    firsts = [min(windows[e * windows.per_epoch + i].inputs[0, 0].item() for i in range(windows.per_epoch)) for e in range(300)]
    assert set(firsts) == set(range(last + 1))


def test_windows_are_shuffled_anew_in_every_epoch():
    windows = Windows(torch.arange(1000), 10, 1)
    starts = [[windows[e * windows.per_epoch + i].inputs[0, 0].item() // 10 for i in range(windows.per_epoch)] for e in range(3)]
    assert starts[0] != sorted(starts[0]) and starts[0] != starts[1] != starts[2]


def test_a_window_batch_is_a_function_of_its_number():
    ids = np.arange(500) % 11
    one, other = Windows(ids, 8, 5, seed=3), Windows(ids, 8, 5, seed=3)
    forward = [one[i].inputs for i in range(40)]
    assert all(torch.equal(other[i].inputs, forward[i]) for i in (39, 0, 11, 12, 11, 38))
    assert not all(torch.equal(Windows(ids, 8, 5, seed=4)[i].inputs, forward[i]) for i in range(40))


def test_windows_keep_the_sequence_as_it_is_and_give_int64(tmp_path):
    ids = (np.arange(300) % 60000).astype(np.uint16)
    ids[7] = 60000
    ids.tofile(tmp_path / "ids")
    mapped = np.memmap(tmp_path / "ids", dtype=np.uint16, mode="r")
    for source in (ids, mapped, torch.from_numpy(ids), torch.from_numpy(ids.astype(np.int32)), ids.astype(np.int64)):
        windows = Windows(source, 299, 2)
        assert windows[0].inputs.dtype == windows[0].targets.dtype == torch.long
        assert windows.ids.dtype == (source.numpy() if isinstance(source, torch.Tensor) else source).dtype
        assert np.shares_memory(windows.ids, source.numpy() if isinstance(source, torch.Tensor) else source)
        assert torch.equal(windows[0].inputs[0], torch.from_numpy(ids[:299].astype(np.int64)))


@pytest.mark.parametrize("n, length, batch_size", [(1000, 16, 4), (97, 16, 3), (97, 48, 5), (5, 16, 2), (2, 1, 1), (49, 16, 8)])
def test_in_order_every_token_but_the_first_is_a_target_once(n, length, batch_size):
    batches = list(windows_in_order(torch.arange(n), length, batch_size))
    targets = torch.cat([batch.targets.flatten() for batch in batches])
    assert torch.equal(targets, torch.arange(1, n))
    assert all(torch.equal(batch.targets, batch.inputs + 1) for batch in batches)
    assert max(batch.inputs.shape[1] for batch in batches) == min(length, n - 1)
    assert max(len(batch.inputs) for batch in batches) <= batch_size


def test_a_token_batch_moves_as_a_whole_with_and_without_a_mask():
    ids = torch.zeros(2, 3, dtype=torch.long)
    for mask in (None, ids > 0):
        moved = TokenBatch(ids, ids, mask).to(torch.device("meta"))
        assert moved.inputs.is_meta and moved.targets.is_meta and (moved.mask is None if mask is None else moved.mask.is_meta)


@pytest.mark.parametrize("call, message", [
    (lambda: Windows(torch.arange(16), 16, 1), "ids: got 16 tokens, expected more than length, 16"),
    (lambda: Windows(torch.arange(99), 0, 1), "length: got 0, expected at least 1"),
    (lambda: Windows(torch.arange(99), 4, 0), "batch_size: got 0, expected at least 1"),
    (lambda: Windows(torch.ones(4, 4), 2, 1), r"ids: got float32 \(4, 4\), expected one sequence of integers"),
    (lambda: Windows(np.ones((4, 4), dtype=np.int64), 2, 1), r"ids: got int64 \(4, 4\), expected one sequence"),
    (lambda: Windows(torch.arange(99), 4, 1)[-1], "number: got -1, expected 0, 1, 2"),
    (lambda: next(windows_in_order(torch.arange(1), 4)), "ids: got 1 tokens, expected more than length, 1"),
    (lambda: next(windows_in_order(torch.arange(9), 0)), "length: got 0, expected at least 1"),
], ids=["short", "length", "batch_size", "dtype", "shape", "number", "in order short", "in order length"])
def test_bad_windows_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- whole texts ----------------------------------------------------------------------------------------


def test_texts_read_all_but_the_last_and_say_all_but_the_first():
    batch = collate_texts([[2, 5, 6, 3], [2, 3]], pad_id=9)
    assert batch.inputs.tolist() == [[2, 5, 6], [2, 3, 9]] and batch.targets.tolist() == [[5, 6, 3], [3, 9, 9]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]


def test_every_text_once_an_epoch_with_little_padding():
    texts = [[2, 10 + i, *[5] * (i % 20), 3] for i in range(103)]
    batches = TextBatches(texts, 10, seed=1)
    epochs = [[batches[e * 11 + i] for i in range(11)] for e in range(2)]
    orders = [[int(row[1]) - 10 for batch in epoch for row in batch.inputs] for epoch in epochs]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(103)) and orders[0] != orders[1]
    padded = np.mean([1 - batch.mask.float().mean().item() for batch in epochs[0]])
    assert padded < 0.15 < np.mean([1 - TextBatches(texts, 10, pool=1)[i].mask.float().mean().item() for i in range(11)])


@pytest.mark.parametrize(("make", "message"), [
    (lambda: TextBatches([], 4), "texts: got none"), (lambda: collate_texts([[1, 2], [1]]), "fewer than two ids"),
    (lambda: TextBatches([[1, 2]], 0), "batch_size: got 0")])
def test_bad_texts(make, message):
    with pytest.raises(ValueError, match=message):
        make()
