"""What BERT is pre-trained on: 80/10/10 by χ², blanks where they may be, pairs that are what they say, batches that are numbers."""

import hashlib
import math
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data.masking import (
    NEGATIVES,
    MaskedBatch,
    MaskedBatches,
    Masking,
    draw_pair,
    mask_pairs,
    other_text,
    pack_pairs,
    swapped,
)
from course_lib.tokenizers import CharTokenizer, WordPieceTokenizer
from course_lib.tokenizers.wordpiece import BERT_SPECIALS
from tests.test_generation import chi_square, critical

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = WordPieceTokenizer(["zero", *BERT_SPECIALS, *(f"w{i}" for i in range(34))])     # specials are 1 … 5, V = 40
PAD, UNK, CLS, SEP, MASK = range(1, 6)
V, ORDINARY = 40, [0, *range(6, 40)]
MASKING = Masking.of(TOKENIZER)


def rng(seed=0):
    return np.random.default_rng(seed)


def rows(n=900, length=512, seed=0):
    """[CLS] words, an [UNK] and a [MASK] among them, [SEP] words [SEP], padding."""
    random = rng(seed)
    ids = random.choice(ORDINARY, (n, length))
    ids[:, 0], ids[:, 50], ids[:, 60], ids[:, 100] = CLS, UNK, MASK, SEP
    for row, end in zip(ids, random.integers(300, length, n)):
        row[end:] = PAD
        row[end - 1] = SEP
    return torch.from_numpy(ids)


# --- which fate: the laws that Masking obeys and each planted mistake breaks ---------------------------------------------

ROWS = rows()
SPECIAL = torch.from_numpy(np.isin(ROWS.numpy(), range(1, 6)))
SAME = torch.full((4000, 100), 7)


def law_eighty_ten_ten(masking):
    shown, chosen = masking.hide(ROWS, rng(1))
    n, by_chance = int(chosen.sum()), 1 / len(ORDINARY)                 # a random token is the same one by chance
    assert n > 50_000
    was, now = ROWS[chosen], shown[chosen]
    counts = torch.tensor([(now == MASK).sum(), (now == was).sum(), ((now != was) & (now != MASK)).sum()]).double()
    probs = torch.tensor([0.8, 0.1 + 0.1 * by_chance, 0.1 * (1 - by_chance)], dtype=torch.float64)
    statistic, degrees = chi_square(counts, probs, n)
    assert statistic < critical(degrees)
    assert torch.equal(shown[~chosen], ROWS[~chosen])


def law_special_tokens_are_never_chosen_nor_put_in(masking):
    shown, chosen = masking.hide(ROWS, rng(2))
    assert not chosen[SPECIAL].any()
    put = shown[chosen & (shown != ROWS)]
    assert set(put.tolist()) <= {MASK, *ORDINARY}


def law_random_tokens_are_uniform(masking):
    shown, chosen = masking.hide(SAME, rng(3))
    put = shown[chosen & (shown != MASK) & (shown != 7)]
    counts = torch.bincount(put, minlength=V).double()
    probs = torch.zeros(V, dtype=torch.float64)
    probs[[i for i in ORDINARY if i != 7]] = 1 / (len(ORDINARY) - 1)
    statistic, degrees = chi_square(counts, probs, len(put))
    assert len(put) > 5000 and degrees == len(ORDINARY) - 2 and statistic < critical(degrees)


def law_the_number_of_blanks_is_exact(masking):
    _, chosen = masking.hide(ROWS, rng(4))
    assert chosen.sum(1).tolist() == [max(1, round(0.15 * int(n))) for n in (~SPECIAL).sum(1)]


def law_every_ordinary_place_is_alike_likely(masking):
    """c blanks of n places, without putting back: Σ (count − e)² / (R p (1 − p)) · (n − 1) / n is χ² with n − 1 degrees."""
    row = torch.tensor([CLS, *range(10, 20), SEP, *range(10, 20), SEP, PAD])
    _, chosen = masking.hide(row.expand(20_000, -1), rng(5))
    counts = chosen.sum(0)[(row > MASK)].double()
    n, p = 20, 3 / 20
    statistic = ((counts - 20_000 * p)**2).sum().item() / (20_000 * p * (1 - p)) * (n - 1) / n
    assert counts.sum() == 60_000 and statistic < critical(n - 1)


def law_neither_place_nor_fate_of_one_blank_tells_of_another(masking):
    """Two blanks in each row: whether they are neighbours, and whether they have the same fate."""
    shown, chosen = masking.hide(torch.arange(6, 20).expand(20_000, -1), rng(6))
    places = chosen.nonzero()[:, 1].view(-1, 2)
    masked = (shown[chosen] == MASK).view(-1, 2)
    for found, p in ((places[:, 1] - places[:, 0] == 1, 13 / 91), (masked[:, 0] == masked[:, 1], 0.8**2 + 0.2**2),
                     (masked[1:, 0] == masked[:-1, 0], 0.8**2 + 0.2**2)):
        assert abs(found.double().mean() - p) < 4.5 * math.sqrt(p * (1 - p) / len(found))


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]


def planted(hide, **settings):
    """A Masking that does `hide(masking, ids, rng, shown, chosen)` to what it should give."""
    class Planted(Masking):
        def hide(self, ids, random):
            return hide(self, ids, random, *super().hide(ids, random))
    return Planted.of(TOKENIZER, **settings)


def replaced(ids, shown, chosen):
    return chosen & (shown != ids) & (shown != MASK)


def wild(masking, ids, random, shown, chosen):
    return torch.where(replaced(ids, shown, chosen), torch.from_numpy(random.integers(0, V, ids.shape)), shown), chosen


def one_fate_a_row(masking, ids, random, shown, chosen):
    fate = torch.from_numpy(random.random((len(ids), 1)))
    others = torch.from_numpy(random.choice(ORDINARY, ids.shape))
    return torch.where(chosen & (fate < 0.8), MASK, torch.where(chosen & (fate < 0.9), others, ids)), chosen


def independent(masking, ids, random, shown, chosen):
    chosen = torch.from_numpy(random.random(ids.shape) < 0.15) & ~torch.from_numpy(np.isin(ids.numpy(), range(1, 6)))
    return torch.where(chosen, MASK, ids), chosen


def neighbours(masking, ids, random, shown, chosen):
    moved = chosen.roll(1, 1) & ~torch.from_numpy(np.isin(ids.numpy(), range(1, 6)))
    both = chosen | moved
    kept = both & (both.cumsum(1) <= chosen.sum(1, keepdim=True))
    return torch.where(kept, MASK, ids), kept


PLANTED = {
    "100 % [MASK]": Masking.of(TOKENIZER, shown_as=(1.0, 0.0, 0.0)),
    "85/10/5": Masking.of(TOKENIZER, shown_as=(0.85, 0.10, 0.05)),
    "81/9.5/9.5": Masking.of(TOKENIZER, shown_as=(0.81, 0.095, 0.095)),
    "80/20/0": Masking.of(TOKENIZER, shown_as=(0.8, 0.2, 0.0)),
    "16 %": Masking.of(TOKENIZER, rate=0.16),
    "random includes specials": planted(wild),
    "[UNK] may be put in": Masking(MASK, (PAD, CLS, SEP, MASK), V),
    "one fate a row": planted(one_fate_a_row),
    "each for itself with 15 %": planted(independent),
    "neighbours together": planted(neighbours),
    "the kept ones are not chosen": planted(lambda m, ids, r, shown, chosen: (shown, chosen & (shown != ids))),
    "random is the next id": planted(lambda m, ids, r, shown, chosen: (
        torch.where(replaced(ids, shown, chosen), (ids + 1).clamp(max=V - 1), shown), chosen)),
    "the first places": planted(lambda m, ids, r, shown, chosen: (
        ids, (ids > MASK) & ((ids > MASK).cumsum(1) <= chosen.sum(1, keepdim=True)))),
    "the same places in every row": planted(lambda m, ids, r, shown, chosen: (ids, chosen[:1].expand_as(chosen))),
    "unchosen ones are hidden, too": planted(lambda m, ids, r, shown, chosen: (shown.masked_fill(shown == 9, MASK), chosen)),
}


@pytest.mark.parametrize("law", LAWS)
def test_masking_obeys(law):
    law(MASKING)


@pytest.mark.parametrize("mistake", PLANTED)
def test_the_laws_reject(mistake):
    broken = []
    for law in LAWS:
        try:
            law(PLANTED[mistake])
        except AssertionError:
            broken.append(law)
    assert broken, f"no law notices: {mistake}"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.sampled_from([0.01, 0.15, 0.5, 1.0]), st.integers(0, 2**32))
def test_short_rows_have_at_least_one_blank_and_rows_of_special_tokens_none(lengths, rate, seed):
    ids = torch.full((len(lengths), 13), SEP)
    for row, n in zip(ids, lengths):
        row[13 - n:] = 8
    shown, chosen = Masking.of(TOKENIZER, rate=rate).hide(ids, rng(seed))
    assert chosen.sum(1).tolist() == [min(n, max(1, round(rate * n))) for n in lengths]
    assert torch.equal(shown[~chosen], ids[~chosen]) and not chosen[ids == SEP].any()


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_ids_stay_as_they_were_and_come_back_as_int64(dtype):
    ids = ROWS[:5].to(dtype)
    before = ids.clone()
    shown, chosen = MASKING.hide(ids, rng())
    assert torch.equal(ids, before) and (shown.dtype, chosen.dtype) == (torch.int64, torch.bool)
    again = MASKING.hide(ROWS[:5], rng())
    assert torch.equal(shown, again[0]) and torch.equal(chosen, again[1])
    assert not torch.equal(MASKING.hide(ids, rng(1))[1], chosen)


# --- pairs -----------------------------------------------------------------------------------------------------------

def numbered(n_documents=12, n_sentences=7):
    """Documents whose tokens tell where they stood: 1000 · document + 10 · sentence + place."""
    return [[[1000 * d + 10 * s + i for i in range(1 + (s + d) % 3)] for s in range(n_sentences)] for d in range(n_documents)]


def flat(sentences):
    return [i for sentence in sentences for i in sentence]


DOCUMENTS = numbered()
BEGINS = {sentence[0] for document in DOCUMENTS for sentence in document}


def drawn(negative, n=20_000, documents=DOCUMENTS):
    random = rng(8)
    return [(i % len(documents), *draw_pair(documents[i % len(documents)], documents, negative, random)) for i in range(n)]


@pytest.mark.parametrize("name", NEGATIVES)
def test_half_of_the_pairs_follow_and_those_are_true_neighbours_cut_anywhere(name):
    found = drawn(NEGATIVES[name])
    follows = [pair for _, pair, yes in found if yes]
    assert abs(len(follows) - 10_000) < 4.3 * math.sqrt(20_000 / 4)
    cuts = Counter()
    for number, (first, second), yes in found:
        if yes:
            assert first and second and first + second == flat(DOCUMENTS[number]) and second[0] in BEGINS
            cuts[second[0] // 10 % 100] += 1
    counts = torch.tensor([cuts[s] for s in range(1, 7)]).double()
    statistic, degrees = chi_square(counts, torch.full((6,), 1 / 6, dtype=torch.float64), len(follows))
    assert cuts.total() == counts.sum() and statistic < critical(degrees)


def test_the_other_text_is_the_end_of_another_document_any_of_them():
    counts = torch.zeros(12, 12)
    for number, (first, second), yes in drawn(other_text):
        if not yes:
            other = second[0] // 1000
            begins = [i for i, sentence in enumerate(DOCUMENTS[other]) if sentence[0] == second[0]]
            assert begins and begins[0] >= 1 and second == flat(DOCUMENTS[other][begins[0]:])
            assert first == flat(DOCUMENTS[number])[:len(first)] and first[-1] + 1 not in flat(DOCUMENTS[number])
            counts[number, other] += 1
    assert not counts.diagonal().any()
    apart = counts[~torch.eye(12, dtype=torch.bool)].double()
    statistic, degrees = chi_square(apart, torch.full((132,), 1 / 132, dtype=torch.float64), int(apart.sum()))
    assert statistic < critical(degrees)


def test_swapped_texts_are_the_same_two_the_other_way_round():
    for number, (first, second), yes in drawn(swapped, n=2000):
        assert yes or (first and second and second + first == flat(DOCUMENTS[number]) and first[0] in BEGINS)


def naive_pack(pairs, max_len):
    """[CLS] a [SEP] b [SEP] in plain loops: (ids, mask, segments) as lists."""
    found = []
    for a, b in pairs:
        a, b = list(a), list(b)
        while max_len is not None and 1 + len(a) + 1 + len(b) + (1 if b else 0) > max_len:
            if len(a) > len(b):
                del a[-1]
            else:
                del b[-1]
        second = [*b, SEP] if b else []
        found.append(([CLS, *a, SEP, *second], [0] * (len(a) + 2) + [1] * len(second)))
    width = max(len(ids) for ids, _ in found)
    return ([ids + [PAD] * (width - len(ids)) for ids, _ in found], [[True] * len(ids) + [False] * (width - len(ids)) for ids, _ in found],
            [segments + [0] * (width - len(segments)) for _, segments in found])


texts = st.lists(st.integers(6, V - 1), max_size=12)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(texts.filter(bool), texts), min_size=1, max_size=5), st.none() | st.integers(5, 30))
def test_packing_equals_plain_loops(pairs, max_len):
    before = [(list(a), list(b)) for a, b in pairs]
    assert tuple(part.tolist() for part in pack_pairs(pairs, CLS, SEP, PAD, max_len)) == naive_pack(pairs, max_len)
    assert pairs == before


def test_a_pair_by_hand():
    ids, mask, segments = pack_pairs([([6, 7, 8], [9]), (np.array([6]), np.array([], dtype=int))], CLS, SEP, PAD)
    assert ids.tolist() == [[CLS, 6, 7, 8, SEP, 9, SEP], [CLS, 6, SEP, PAD, PAD, PAD, PAD]]
    assert segments.tolist() == [[0, 0, 0, 0, 0, 1, 1], [0] * 7] and mask.sum(1).tolist() == [7, 3]
    assert pack_pairs([(range(10, 20), range(20, 22))], CLS, SEP, PAD, 7)[0].tolist() == [[CLS, 10, 11, SEP, 20, 21, SEP]]


# --- batches -----------------------------------------------------------------------------------------------------------

NAMES = [field.name for field in fields(MaskedBatch)]


def stories(n=50):
    random = rng(9)
    return [[random.choice(ORDINARY, random.integers(1, 9)).tolist() for _ in range(random.integers(2, 6))] for _ in range(n)]


def equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in NAMES)


def digest():
    batches, found = MaskedBatches(stories(), 8, TOKENIZER, negative="other text", seed=3), hashlib.sha256()
    for number in (9, 0, 40):
        for name in NAMES:
            found.update(getattr(batches[number], name).numpy().tobytes())
    return found.hexdigest()


def test_a_batch_is_a_function_of_its_number_in_any_process():
    program = "from tests.test_masking import digest; print(digest())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest()
    first, other = (MaskedBatches(stories(), 8, TOKENIZER, seed=seed) for seed in (3, 4))
    assert equal(first[2], MaskedBatches(stories(), 8, TOKENIZER, seed=3)[2]) and not torch.equal(first[2].ids, other[2].ids)


def test_a_document_is_cut_paired_and_masked_anew_whenever_it_comes():
    batches = MaskedBatches(stories(1), 1, TOKENIZER)
    found = [batches[number] for number in range(30)]
    assert {batch.follows.item() for batch in found} == {0, 1}
    assert len({tuple(batch.targets[0].tolist()) for batch in found}) > 3
    follows = [batch for batch in found if batch.follows.item()]
    assert len({tuple(batch.chosen[0].tolist()) for batch in follows}) > len(follows) / 2
    assert equal(batches[7], found[7])
    other = MaskedBatches(stories(1), 1, TOKENIZER, seed=1)             # another seed draws otherwise, not only in another order
    assert sum(equal(other[number], found[number]) for number in range(30)) < 5


@pytest.mark.parametrize("negative", NEGATIVES)
def test_batches_hold_what_they_say(negative):
    documents = stories()
    batches, seen = MaskedBatches(documents, 8, TOKENIZER, negative=negative, max_len=24), []
    for number in range(batches.per_epoch):
        batch = batches[number]
        seen += [id(document) for document in batches.draw(number)]
        b, t = batch.ids.shape
        assert all(getattr(batch, name).shape == ((b,) if name == "follows" else (b, t)) for name in NAMES) and t <= 24
        assert torch.equal(batch.mask, batch.targets != PAD) and torch.equal(batch.ids[~batch.chosen], batch.targets[~batch.chosen])
        assert (batch.targets[:, 0] == CLS).all() and (batch.targets == SEP).sum(1).eq(2).all()
        assert not (batch.chosen & ((batch.targets == CLS) | (batch.targets == SEP) | ~batch.mask)).any()
        second = ((batch.targets == SEP).cumsum(1) - (batch.targets == SEP).long() == 1) & batch.mask
        assert torch.equal(batch.segments, second.long())
    assert sorted(seen) == sorted(map(id, documents))                   # each once an epoch


def test_without_pairs_there_is_nothing_to_follow_and_a_batch_moves_as_a_whole():
    batch = mask_pairs([([6, 7, 8], []), ([9], [])], None, TOKENIZER, MASKING, rng())
    assert batch.follows is None and not batch.segments.any() and batch.chosen.sum(1).tolist() == [1, 1]
    moved = batch.to(torch.device("meta"))
    assert moved.follows is None and {getattr(moved, name).device.type for name in NAMES if name != "follows"} == {"meta"}


# --- bad input ---------------------------------------------------------------------------------------------------------

BAD_INPUT = {
    "flat ids": (lambda: MASKING.hide(ROWS[0], rng()), r"ids: got torch.int64 \(512,\), expected integers \(B, T\)"),
    "float ids": (lambda: MASKING.hide(ROWS.float(), rng()), r"ids: got torch.float32 \(900, 512\), expected integers"),
    "boolean ids": (lambda: MASKING.hide(ROWS > 3, rng()), "ids: got torch.bool"),
    "no ids": (lambda: MASKING.hide(ROWS[:0], rng()), r"ids: got torch.int64 \(0, 512\), expected integers \(B, T\), at least one"),
    "id too large": (lambda: MASKING.hide(ROWS + 5, rng()), "ids: got token id 44, expected 0 … 39"),
    "id negative": (lambda: MASKING.hide(ROWS - 9, rng()), "ids: got token id -9, expected 0 … 39"),
    "no mask_id": (lambda: Masking.of(CharTokenizer.train(["ab"])), "tokenizer: got a CharTokenizer without mask_id, expected one such"),
    "rate": (lambda: Masking.of(TOKENIZER, rate=0.0), "rate: got 0.0, expected 0 < rate ≤ 1"),
    "rate above 1": (lambda: Masking.of(TOKENIZER, rate=1.1), "rate: got 1.1"),
    "rate NaN": (lambda: Masking.of(TOKENIZER, rate=math.nan), "rate: got nan"),
    "shares": (lambda: Masking.of(TOKENIZER, shown_as=(0.8, 0.1, 0.2)), "shown_as: got .* expected three shares that add up to 1"),
    "share below 0": (lambda: Masking.of(TOKENIZER, shown_as=(1.2, -0.1, -0.1)), "shown_as: got"),
    "two shares": (lambda: Masking.of(TOKENIZER, shown_as=(0.8, 0.2)), "shown_as: got"),
    "share NaN": (lambda: Masking.of(TOKENIZER, shown_as=(math.nan, 0.5, 0.5)), "shown_as: got"),
    "special outside": (lambda: Masking(4, (4, 40), 40), r"specials: got \(4, 40\), expected ids of the vocabulary, 0 … 39, not all"),
    "all special": (lambda: Masking(1, (0, 1), 2), r"specials: got \(0, 1\), expected ids .* not all"),
    "mask is ordinary": (lambda: Masking(4, (0, 1), 40), r"mask_id: got 4, expected one of specials, \(0, 1\)"),
    "no pairs": (lambda: pack_pairs([], CLS, SEP, PAD), "pairs: got none"),
    "empty first text": (lambda: pack_pairs([([6], []), ([], [6])], CLS, SEP, PAD), "pairs: got one with an empty first text"),
    "no room for two": (lambda: pack_pairs([([6], [6])], CLS, SEP, PAD, 4), "max_len: got 4, expected at least 5"),
    "no room for one": (lambda: pack_pairs([([6], [])], CLS, SEP, PAD, 0), "max_len: got 0, expected at least 3"),
    "one sentence": (lambda: draw_pair([[6]], DOCUMENTS, swapped, rng()), "document: got a length of 1, expected at least two sentences"),
    "empty sentence": (lambda: draw_pair([[6], []], DOCUMENTS, swapped, rng()), "document: got an empty sentence, expected"),
    "no other document": (lambda: other_text(DOCUMENTS[0], 1, DOCUMENTS[:1], rng()), "documents: got 1, expected another one"),
    "a bad other document": (lambda: other_text(DOCUMENTS[0], 1, [DOCUMENTS[0], [[6]]], rng()), "documents: got a length of 1, expected"),
    "follows": (lambda: mask_pairs([([6], [7])], [True, False], TOKENIZER, MASKING, rng()), "follows: got 2, expected one for each of 1"),
    "no documents": (lambda: MaskedBatches([], 2, TOKENIZER), "documents: got none"),
    "short document": (lambda: MaskedBatches([[[6], [7]], [[8]]], 2, TOKENIZER), r"documents\[1\]: got a length of 1, expected"),
    "document with an empty sentence": (lambda: MaskedBatches([[[6], [], [7]]], 2, TOKENIZER), r"documents\[0\]: got an empty sentence"),
    "negative": (lambda: MaskedBatches(stories(2), 2, TOKENIZER, negative="x"), "negative: got 'x', expected one of other text, swapped"),
    "batch size": (lambda: MaskedBatches(stories(2), 0, TOKENIZER), "batch_size: got 0, expected at least 1"),
    "number": (lambda: MaskedBatches(stories(2), 1, TOKENIZER)[-1], "number: got -1, expected 0, 1, 2"),
    "no specials": (lambda: MaskedBatches(stories(2), 1, CharTokenizer.train(["ab"])), "tokenizer: got a CharTokenizer without mask_id"),
    "id outside": (lambda: MaskedBatches([[[6], [40]]], 1, TOKENIZER)[0], "ids: got token id 40, expected 0 … 39"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    call, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        call()
