"""Chapter 03: right answers of several makes accepted, named wrong ones rejected with their message."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.baselines import IBMModel1, diagonal_alignment, flip

# ---------------------------------------------------------------- 3.1 additive_attention


def energies(query, keys, W, U, v):
    return (torch.tanh((query @ W.T).unsqueeze(1) + keys @ U.T) * v).sum(-1)


def additive_filled(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, -torch.inf).softmax(-1).masked_fill(~mask, 0)
    return torch.bmm(weights.unsqueeze(1), keys).squeeze(1), weights


def additive_looped(query, keys, mask, W, U, v):
    query, keys, mask, W, U, v = (a.numpy().astype(float) for a in (query, keys, mask, W, U, v))
    weights, contexts = np.zeros(mask.shape), np.zeros((len(keys), keys.shape[2]))
    for b in range(len(keys)):
        real = [j for j in range(mask.shape[1]) if mask[b, j]]
        scores = [v @ np.tanh(W @ query[b] + U @ keys[b, j]) for j in real]
        for j, score in zip(real, scores, strict=True):
            weights[b, j] = np.exp(score - max(scores)) / sum(np.exp(s - max(scores)) for s in scores)
            contexts[b] += weights[b, j] * keys[b, j]
    return contexts, weights


def additive_einsum(query, keys, mask, W, U, v):
    scores = torch.einsum(
        "bsa,a->bs",
        torch.tanh(torch.einsum("bq,aq->ba", query, W)[:, None] + torch.einsum("bse,ae->bsa", keys, U)),
        v,
    )
    scores = scores - scores.masked_fill(~mask, -1e4).amax(1, keepdim=True)
    parts = torch.where(mask, scores.exp(), torch.zeros_like(scores))
    weights = torch.nan_to_num(parts / parts.sum(1, keepdim=True))
    return torch.einsum("bs,bse->be", weights, keys).double(), weights.double()


def additive_over_batch(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, -torch.inf).softmax(0)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_masked_late(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).softmax(-1) * mask
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_zero_scores(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, 0).softmax(-1)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_tiny(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, -1e-9).softmax(-1)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_unmasked(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).softmax(-1)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_nan(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, -torch.inf).softmax(-1)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_uniform(query, keys, mask, W, U, v):
    weights = energies(query, keys, W, U, v).masked_fill(~mask, -1e9).softmax(-1)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_overflow(query, keys, mask, W, U, v):
    parts = energies(query, keys, W, U, v).exp() * mask
    weights = (parts / parts.sum(-1, keepdim=True)).masked_fill(~mask, 0)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_linear(query, keys, mask, W, U, v):
    weights = (((query @ W.T).unsqueeze(1) + keys @ U.T) @ v).masked_fill(~mask, -torch.inf).softmax(-1)
    weights = weights.masked_fill(~mask, 0)
    return (weights.unsqueeze(1) @ keys).squeeze(1), weights


def additive_swapped_maps(query, keys, mask, W, U, v):
    return additive_filled(query, keys, mask, U, W, v)


def additive_one_map(query, keys, mask, W, U, v):
    return additive_filled(query, keys, mask, U, U, v)


def additive_projected(query, keys, mask, W, U, v):
    _, weights = additive_filled(query, keys, mask, W, U, v)
    return (weights.unsqueeze(1) @ (keys @ U.T)).squeeze(1), weights


# ---------------------------------------------------------------- 3.2 attend_all


def dot_batched(queries, keys, values):
    return torch.bmm(torch.bmm(queries, keys.mT).softmax(-1), values)


def dot_by_library(queries, keys, values):
    return F.scaled_dot_product_attention(queries, keys, values, scale=1.0)


def dot_looped(queries, keys, values):
    queries, keys, values = (a.double().numpy() for a in (queries, keys, values))
    rows = []
    for q, k, v in zip(queries, keys, values, strict=True):
        scores = q @ k.T
        parts = np.exp(scores - scores.max(1, keepdims=True))
        rows.append((parts / parts.sum(1, keepdims=True)) @ v)
    return np.stack(rows)


def dot_over_queries(queries, keys, values):
    return (queries @ keys.transpose(1, 2)).softmax(dim=1) @ values


def dot_over_batch(queries, keys, values):
    return (queries @ keys.transpose(1, 2)).softmax(dim=0) @ values


def dot_raw(queries, keys, values):
    return queries @ keys.transpose(1, 2) @ values


def dot_over_both(queries, keys, values):
    scores = queries @ keys.transpose(1, 2)
    parts = torch.exp(scores - scores.amax((1, 2), keepdim=True))
    return parts / parts.sum((1, 2), keepdim=True) @ values


def dot_twice(queries, keys, values):
    weights = (queries @ keys.transpose(1, 2)).softmax(dim=2)
    return weights / weights.sum(1, keepdim=True) @ values


def dot_scaled(queries, keys, values):
    return F.scaled_dot_product_attention(queries, keys, values)


# ---------------------------------------------------------------- 3.4 alignment_error_rate


def rate_counted(predicted, sure, possible):
    hits = links = 0
    for a, s, p in zip(predicted, sure, possible, strict=True):
        hits += sum(link in s for link in a) + sum(link in s or link in p for link in a)
        links += len(a) + len(s)
    return 1 - hits / links if links else 0.0


def rate_flattened(predicted, sure, possible):
    def name(groups):
        return {(n, *link) for n, group in enumerate(groups) for link in group}

    a, s = name(predicted), name(sure)
    hits = len(a & s) + len(a & (name(possible) | s))
    return torch.tensor(1 - hits / max(len(a) + len(s), 1)) if a | s else torch.tensor(0)


def rate_turned(predicted, sure, possible):
    return rate_counted([{(j, i) for i, j in links} for links in predicted], sure, possible)


def rate_mean(predicted, sure, possible):
    rates = [rate_counted([a], [s], [p]) for a, s, p in zip(predicted, sure, possible, strict=True) if a or s]
    return sum(rates) / len(rates)


def rate_f1(predicted, sure, possible):
    return rate_counted(predicted, sure, sure)


def rate_not_closed(predicted, sure, possible):
    hits = sum(len(a & s) + len(a & p) for a, s, p in zip(predicted, sure, possible, strict=True))
    return 1 - hits / sum(len(a) + len(s) for a, s in zip(predicted, sure, strict=True))


def rate_inverted(predicted, sure, possible):
    return 1 - rate_counted(predicted, sure, possible)


def rate_recall(predicted, sure, possible):
    found = sum(len(a & s) for a, s in zip(predicted, sure, strict=True))
    return 1 - found / sum(map(len, sure))


def rate_by_possible(predicted, sure, possible):
    possible = [p | s for p, s in zip(possible, sure, strict=True)]
    hits = sum(len(a & s) + len(a & p) for a, s, p in zip(predicted, sure, possible, strict=True))
    return 1 - hits / (sum(map(len, predicted)) + sum(map(len, possible)))


# ---------------------------------------------------------------- 3.6 reverse_within


def reversal_gathered(x, lengths):
    places = torch.arange(x.shape[1]).expand(len(x), -1)
    source = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    return torch.take_along_dim(x, source[..., None], dim=1)


def reversal_listed(x, lengths):
    return [row[:n][::-1] + row[n:] for row, n in zip(x.tolist(), lengths.tolist(), strict=True)]


def reversal_in_place(x, lengths):
    for b, n in enumerate(lengths):
        x[b, :n] = x[b, :n].flip(0).clone()
    return x.numpy()


def reversal_whole(x, lengths):
    return x.flip(1)


def reversal_zeroed(x, lengths):
    out = torch.zeros_like(x)
    for b, n in enumerate(lengths.tolist()):
        out[b, :n] = x[b, :n].flip(0)
    return out


def reversal_rolled(x, lengths):
    return torch.stack(
        [row.flip(0).roll(n + 1 - len(row), 0) for row, n in zip(x, lengths.tolist(), strict=True)]
    )


def reversal_first(x, lengths):
    n = int(lengths[0])
    return torch.cat([x[:, :n].flip(1), x[:, n:]], dim=1)


def reversal_features(x, lengths):
    return x.flip(-1)


def reversal_padding_too(x, lengths):
    return torch.stack(
        [torch.cat([row[:n].flip(0), row[n:].flip(0)]) for row, n in zip(x, lengths.tolist(), strict=True)]
    )


RIGHT = {
    "3.1": [additive_filled, additive_looped, additive_einsum],
    "3.2": [dot_batched, dot_by_library, dot_looped],
    "3.4": [rate_counted, rate_flattened],
    "3.6": [reversal_gathered, reversal_listed, reversal_in_place],
}
WRONG = [
    ("3.1", additive_over_batch, "softmax over the batch", "sentences compete"),
    ("3.1", additive_masked_late, "masked after the softmax", "sum to 0."),
    ("3.1", additive_zero_scores, "masked score set to 0", "attends to padding: weight 0."),
    ("3.1", additive_tiny, "masked score set to 0", "−1e-9"),
    ("3.1", additive_unmasked, "no mask", "mask is not used"),
    ("3.1", additive_nan, "empty row is NaN", "0/0 is NaN"),
    ("3.1", additive_uniform, "empty row is uniform", "all places are equal"),
    ("3.1", additive_overflow, "overflow", "row's maximum"),
    ("3.1", additive_linear, "no tanh", "no tanh"),
    ("3.1", additive_swapped_maps, "W and U swapped", "Q = E"),
    ("3.1", additive_one_map, "query projected with U", "W is never used"),
    ("3.1", additive_projected, "context from projected keys", "the annotation h itself"),
    ("3.2", dot_over_queries, "softmax over the queries", "gives to the keys sum to"),
    ("3.2", dot_over_batch, "softmax over the batch", "depend on its neighbours"),
    ("3.2", dot_raw, "no softmax", "raw scores"),
    ("3.2", dot_over_both, "softmax over both", "queries and keys together"),
    ("3.2", dot_twice, "normalised over the queries", "no longer sum to 1"),
    ("3.2", dot_scaled, "scaled", "chapter 04"),
    ("3.4", rate_turned, "links turned round", "different links"),
    ("3.4", rate_mean, "mean over sentences", "divide once"),
    ("3.4", rate_f1, "sure links only", "1 − F₁"),
    ("3.4", rate_not_closed, "possible without sure", "P ∪ S"),
    ("3.4", rate_inverted, "1 − AER", "is 0 when all is well"),
    ("3.4", rate_recall, "precision forgotten", "1 − recall"),
    ("3.4", rate_by_possible, "divided by |A| + |P|", "only sure links"),
    ("3.6", reversal_whole, "whole row flipped", "starts with"),
    ("3.6", reversal_zeroed, "padding lost", "is gone"),
    ("3.6", reversal_rolled, "off by one", "lengths[b] − 1"),
    ("3.6", reversal_first, "first length for all", "length of the first one"),
    ("3.6", reversal_features, "features reversed", "dim 2"),
    ("3.6", reversal_padding_too, "padding reversed, too", "reversed as well"),
]


@pytest.mark.parametrize(
    ("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize(("id", "bug"), [("3.2", dot_over_queries), ("3.6", reversal_whole)])
def test_planted_bugs_earn_nothing(judge, seed, id, bug):
    assert judge(id, bug, seed).points == 0


def test_points_of_3_1_by_property(judge, seed):
    def ok(answer):
        return [result.ok for result in judge("3.1", answer, seed).results]

    assert ok(additive_unmasked) == [True, False, False, False]
    assert ok(additive_nan) == [True, True, False, True]
    assert ok(additive_overflow) == [True, True, True, False]
    assert ok(additive_over_batch) == [False] * 4


def test_what_fails_of_a_property_of_several_parts_is_said(judge, seed):
    several = "Of “one word, large scores, float64, non-contiguous” this is wrong: "
    assert judge("3.1", additive_overflow, seed).message.endswith(several + "scores up to 120.")
    assert judge("3.1", additive_masked_late, seed).message.endswith(several + "scores up to 120; float64, not contiguous.")
    assert several not in judge("3.1", additive_projected, seed).message   # all of it, as everything else
    assert several not in judge("3.1", additive_nan, seed).message         # none of it


@pytest.mark.parametrize("answer", [
    lambda query, keys, mask, W, U, v: torch.tanh(query @ W.T + keys @ U.T) @ v,
    lambda query, keys, mask, W, U, v: torch.tanh((query @ W)[:, None] + keys @ U) @ v,
])
def test_3_1_shapes_that_do_not_fit_are_told_what_to_print(judge, answer):
    verdict = judge("3.1", answer)
    assert verdict.message.startswith("RuntimeError in line") and not verdict.points
    assert verdict.message.endswith("Print the shapes of the two projections before you add them")


def test_points_of_3_2_by_property(judge, seed):
    """The right axis counts at any scale of the scores; another kind of competition does not."""
    def by(weigh):
        return [result.points for result in judge("3.2", lambda q, k, v: weigh(q @ k.mT) @ v, seed).results]

    for scale in (0.5, 1.7, 3.0):
        assert by(lambda s, scale=scale: (s / scale).softmax(2)) == [2, 0]
    assert by(lambda s: s.exp() / s.exp().sum(2, keepdim=True)) == [2, 0]  # overflows
    assert judge("3.2", dot_scaled, seed).points == 2
    for wrong in (
        lambda s: s.softmax(1), lambda s: s.softmax(0), lambda s: (s / 2).softmax(1), lambda s: s, lambda s: s.sigmoid(),
        lambda s: s.log_softmax(2), lambda s: (-s).softmax(2), lambda s: torch.ones_like(s) / s.shape[2],
        lambda s: s.flatten(1).softmax(1).view_as(s), lambda s: s.softmax(2) / s.softmax(2).sum(1, keepdim=True),
    ):
        assert by(wrong) == [0, 0]
    assert judge("3.2", lambda q, k, v: (q @ k.mT).softmax(2) @ k, seed).points == 0
    assert judge("3.2", dot_batched, seed).points == 3


# ---------------------------------------------------------------- 3.3 predict

ANSWER = {
    "weights": [0.13, 0.38, 0.5],
    "third_masked": [0.25, 0.75, 0],
    "plus_100": [0.12, 0.37, 0.5],
    "doubled": [0.04, 0.35, 0.62],
    "masked_with_0": [0.2, 0.6, 0.2],
}


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {**ANSWER, "weights": (1 / 8, 3 / 8, 4 / 8)},
        {**ANSWER, "doubled": np.array([1, 9, 16]) / 26},
        {key: torch.tensor(value) for key, value in ANSWER.items()},
    ],
)
def test_3_3_accepts_rounded_and_exact_answers(judge, answer):
    assert judge("3.3", answer).ok, str(judge("3.3", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("weights", [0, math.log(3) / math.log(12), math.log(4) / math.log(12)], "by their sum"),
        ("weights", [1, 3, 4], "divide"),
        ("weights", [0, 0, 1], "hard maximum"),
        ("weights", [0.1, 0.1, 0.1], "sum to 0.3"),
        ("weights", [0.3, 0.2, 0.5], "large"),
        ("weights", [0.1, 0.4, 0.5], "give 2 decimals"),
        ("doubled", [0.03, 0.34, 0.61], "round, do not truncate"),
        ("doubled", [0.04, 0.34, 0.62], "round, do not truncate"),
        ("third_masked", [0.13, 0.38, 0], "before the softmax"),
        ("third_masked", [0.2, 0.6, 0.2], "exp(0) = 1"),
        ("third_masked", [0.13, 0.37, 0.5], "still has"),
        ("plus_100", [0.33, 0.33, 0.33], "differences"),
        ("plus_100", [0, 0, 1], "not grown"),
        ("doubled", [0.13, 0.38, 0.5], "squared, not doubled"),
        ("masked_with_0", [0.25, 0.75, 0], "not a weight of 0"),
        ("masked_with_0", [0.13, 0.38, 0], "not the weight"),
        ("weights", [0.5, 0.5], "expected 3 numbers"),
        ("weights", "a third", "expected 3 numbers"),
        ("weights", None, "no prediction yet"),
        ("weights", [math.nan] * 3, "no predictions"),
    ],
)
def test_3_3_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("3.3", {**ANSWER, key: value})
    assert verdict.points == 4 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


# ---------------------------------------------------------------- 3.5 measure


def aligned_dice(pairs):
    both, german, english = Counter(), Counter(), Counter()
    for de, en in pairs:
        german.update(set(de)), english.update(set(en))
        both.update((d, e) for d in set(de) for e in set(en))

    def dice(d, e):
        return both[d, e] / (german[d] + english[e])

    return [
        [[i, max(range(len(de)), key=lambda j: dice(de[j], e))] for i, e in enumerate(en)] for de, en in pairs
    ]


def aligned_ibm(pairs):
    model = IBMModel1.fit([(en, de) for de, en in pairs], iterations=4)
    return [flip(model.align(en, de)) for de, en in pairs]


def aligned_turned(pairs):
    model = IBMModel1.fit(pairs, iterations=4)
    return [flip(model.align(de, en)) for de, en in pairs]


def aligned_diagonal(pairs):
    return [diagonal_alignment(len(de), len(en)) for de, en in pairs]


def aligned_by_place(pairs):
    return [{(i, i) for i in range(min(len(de), len(en)))} for de, en in pairs]


def aligned_everything(pairs):
    return [{(i, j) for i in range(len(en)) for j in range(len(de))} for de, en in pairs]


def aligned_nothing(pairs):
    return [set() for _ in pairs]


def aligned_counted(pairs):
    both = Counter((d, e) for de, en in pairs for d in set(de) for e in set(en))
    return [
        {(max(range(len(en)), key=lambda i: both[d, en[i]]), j) for j, d in enumerate(de)} for de, en in pairs
    ]


@pytest.mark.parametrize(("answer", "seed"), [(aligned_dice, None), (aligned_ibm, None), (aligned_ibm, 11)])
def test_3_5_accepts_competing_words(judge, answer, seed):
    verdict = judge("3.5", answer, seed)
    assert verdict.ok and verdict.message.startswith("Alignment error rate 0."), str(verdict)


@pytest.mark.parametrize(
    ("answer", "name", "phrase"),
    [
        (aligned_turned, "swapped indices", "English first"),
        (aligned_diagonal, "diagonal", "follow the diagonal"),
        (aligned_by_place, "diagonal", "follow the diagonal"),
        (aligned_nothing, "no link", "not a single link"),
        (aligned_counted, "raw co-occurrence", "in every sentence"),
    ],
)
def test_3_5_names_what_went_wrong(judge, answer, name, phrase):
    verdict = judge("3.5", answer, 11)
    assert verdict.points == 0 and verdict.misconception == name and phrase in verdict.message, str(verdict)


def test_3_5_is_not_won_by_linking_everything(judge):
    verdict = judge("3.5", aligned_everything)
    assert verdict.points == 0 and verdict.misconception == "everything linked", str(verdict)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda pairs: [{(0, 0)}], "expected a list of 3000 sets"),
        (lambda pairs: 3, "got an int"),
        (lambda pairs: [3] * len(pairs), "expected a set of pairs"),
        (lambda pairs: [{(0.5, 1)}] * len(pairs), "whole numbers"),
        (lambda pairs: [{(0, 1, 2)}] * len(pairs), "expected a set of pairs"),
        (lambda pairs: [{(0, 99)}] * len(pairs), "(0, 99)"),
        (lambda pairs: ({(0, 0)} for _ in pairs), "object of type generator"),
    ],
)
def test_3_5_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("3.5", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)
