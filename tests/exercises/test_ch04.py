"""Chapter 04: right answers of several makes accepted, named wrong ones rejected with their message."""

import itertools
import math
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

# ---------------------------------------------------------------- 4.1 attention


def attend_filled(query, key, value, mask):
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=-1)
    weights = torch.where(weights.isnan(), torch.zeros_like(weights), weights)
    return weights @ value, weights


def attend_looped(query, key, value, mask):
    query, key, value = (a.double().numpy() for a in (query, key, value))
    shape = (*query.shape[:3], key.shape[2])
    seen = np.ones(shape, bool) if mask is None else np.broadcast_to(mask.numpy(), shape)
    weights, out = np.zeros(shape), np.zeros((*query.shape[:3], value.shape[3]))
    for b, h, t in np.ndindex(*shape[:3]):
        keys = [s for s in range(shape[3]) if seen[b, h, t, s]]
        scores = [query[b, h, t] @ key[b, h, s] / len(query[b, h, t]) ** 0.5 for s in keys]
        parts = [math.exp(score - max(scores)) for score in scores]
        for s, part in zip(keys, parts):
            weights[b, h, t, s] = part / sum(parts)
            out[b, h, t] += weights[b, h, t, s] * value[b, h, s]
    return out, weights


def attend_einsum(query, key, value, mask):
    scores = torch.einsum("bhtd,bhsd->bhts", query.double(), key.double()) * query.shape[-1] ** -0.5
    mask = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.expand_as(scores)
    scores = scores - scores.masked_fill(~mask, -1e30).amax(-1, keepdim=True)
    parts = scores.masked_fill(~mask, -torch.inf).exp()
    weights = parts / parts.sum(-1, keepdim=True).clamp(min=1e-30)
    return torch.einsum("bhts,bhse->bhte", weights, value.double()).float(), weights.float()


def attend_by_library(query, key, value, mask):
    eye = torch.eye(key.shape[2], dtype=key.dtype).expand(*key.shape[:3], -1)
    return tuple(F.scaled_dot_product_attention(query, key, read, mask) for read in (value, eye))


def attend(query, key, value, mask, *, divide=lambda s, q, k, v: s / q.shape[-1] ** 0.5, fill=-torch.inf, dim=-1, nan=None):
    scores = divide(query @ key.mT, query, key, value)
    if mask is not None:
        scores = scores.masked_fill(~mask, fill)
    weights = scores.softmax(dim)
    weights = weights if nan is None else weights.nan_to_num(nan)
    return weights @ value, weights


def attend_masked_late(query, key, value, mask):
    weights = attend(query, key, value, None)[1]
    weights = weights if mask is None else weights * mask
    return weights @ value, weights


def attend_renormalised(query, key, value, mask):
    weights = attend_masked_late(query, key, value, mask)[1]
    weights = weights / weights.sum(-1, keepdim=True)
    return weights @ value, weights


def attend_overflowing(query, key, value, mask):
    parts = (query @ key.mT / query.shape[-1] ** 0.5).exp()
    parts = parts if mask is None else parts.masked_fill(~mask, 0)
    weights = parts / parts.sum(-1, keepdim=True)
    if mask is not None:
        weights = weights.masked_fill(~mask, 0)
    return weights @ value, weights


def attend_turned(query, key, value, mask):
    scores = query @ key.mT / query.shape[-1] ** 0.5
    weights = (scores if mask is None else scores.masked_fill(mask, -1e9)).softmax(-1)
    return weights @ value, weights


def added(scores, query, key, value, mask):
    scores = scores / query.shape[-1] ** 0.5
    return scores if mask is None else scores + mask


# ---------------------------------------------------------------- 4.3 masked_weights


def masked(scores, real, *, triangle=True, diagonal=0, fill=-torch.inf, keys=True, before=True, dim=-1):
    """The planted bugs one by one: every combination of the five; and a softmax over another axis."""
    T = scores.shape[-1]
    allowed = torch.ones(T, T, dtype=torch.bool)
    allowed = allowed.tril(diagonal) if triangle else allowed.triu(diagonal)
    words = real[:, None, None, :] if keys else real[:, None, :, None]
    if before:
        return scores.masked_fill(~(allowed & words), fill).softmax(dim)
    return scores.masked_fill(~allowed, fill).softmax(dim) * words


def masked_looped(scores, real):
    weights = torch.zeros(scores.shape, dtype=torch.float64)
    for b, h, t in np.ndindex(*scores.shape[:3]):
        seen = [s for s in range(t + 1) if real[b, s]]
        weights[b, h, t, seen] = scores[b, h, t, seen].double().softmax(0)
    return weights


def masked_added(scores, real):
    T = scores.shape[-1]
    bias = torch.zeros(len(real), 1, T, T).masked_fill(~real[:, None, None], -1e9)
    bias = bias + torch.full((T, T), -1e9).triu(1)
    return (scores.double() + bias.double()).softmax(-1).numpy()


def masked_renormalised(scores, real):
    weights = scores.softmax(-1) * (torch.ones(scores.shape[2:]).tril() * real[:, None, None])
    return weights / weights.sum(-1, keepdim=True)


def planted(scores, real):
    return masked(scores, real, triangle=False, diagonal=1, fill=-1e-9, keys=False, before=False)


# ---------------------------------------------------------------- 4.4 split_merge


def halves_viewed(x, y, n_heads):
    B, T, C = x.shape
    return x.reshape(B, T, n_heads, C // n_heads).permute(0, 2, 1, 3), y.permute(0, 2, 1, 3).reshape(B, y.shape[2], -1)


def halves_chunked(x, y, n_heads):
    return torch.stack(x.chunk(n_heads, dim=2), dim=1).double(), torch.cat(list(y.unbind(1)), dim=2)


def halves_looped(x, y, n_heads):
    d = x.shape[2] // n_heads
    heads = [[row[:, h * d : (h + 1) * d].tolist() for h in range(n_heads)] for row in x]
    merged = [[[n for head in row for n in head[t].tolist()] for t in range(y.shape[2])] for row in y]
    return heads, merged


def halves(x, y, n_heads, *, cut=None, join=None):
    right = halves_viewed(x, y, n_heads)
    return cut(x, n_heads) if cut else right[0], join(y) if join else right[1]


# ---------------------------------------------------------------- 4.6 multi_head


def layer_torch(x, W_q, W_k, W_v, W_o, n_heads, causal):
    layer = nn.MultiheadAttention(x.shape[2], n_heads, bias=False, batch_first=True, dtype=x.dtype)
    layer.in_proj_weight.data, layer.out_proj.weight.data = torch.cat([W_q, W_k, W_v]), W_o.contiguous()
    hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1) if causal else None
    return layer(x, x, x, attn_mask=hidden, need_weights=False)[0]


def layer_by_heads(x, W_q, W_k, W_v, W_o, n_heads, causal):
    found = []
    for q, k, v in zip(*(W.double().chunk(n_heads) for W in (W_q, W_k, W_v))):
        scores = torch.einsum("btd,bsd->bts", x.double() @ q.T, x.double() @ k.T) / len(q) ** 0.5
        if causal:
            scores = scores + torch.full(scores.shape[1:], -torch.inf, dtype=torch.float64).triu(1)
        found.append(scores.softmax(-1) @ (x.double() @ v.T))
    return torch.cat(found, -1) @ W_o.double().T


def layer(x, W_q, W_k, W_v, W_o, n_heads, causal, *, root=None, join=None, out=True, look="given", dim=-1, turned=False):
    def split(W):
        return (x @ (W if turned else W.T)).view(*x.shape[:2], n_heads, -1).transpose(1, 2)

    query, key, value = split(W_q), split(W_k), split(W_v)
    scores = query @ key.mT / (root(x, query) if root else query.shape[-1] ** 0.5)
    if {"given": causal, "never": False, "always": True, "next": causal}[look]:
        scores = scores.masked_fill(torch.ones(scores.shape[2:]).triu(2 if look == "next" else 1) > 0, -torch.inf)
    heads = (scores.flatten(1, 2).softmax(1).view_as(scores) if dim == "all" else scores.softmax(dim)) @ value
    merged = join(heads) if join else heads.transpose(1, 2).flatten(2)
    return merged @ (W_o if turned else W_o.T) if out else merged


def layer_hiding(hide, late=None):
    """A causal mask of another kind: hide(scores, a square of ones), late(weights, a square of ones)."""

    def answer(x, W_q, W_k, W_v, W_o, n_heads, causal):
        query, key, value = ((x @ W.T).unflatten(2, (n_heads, -1)).transpose(1, 2) for W in (W_q, W_k, W_v))
        scores, ones = query @ key.mT / query.shape[3] ** 0.5, torch.ones(x.shape[1], x.shape[1])
        weights = (hide(scores, ones) if causal and hide else scores).softmax(-1)
        weights = late(weights, ones) if causal and late else weights
        return (weights @ value).transpose(1, 2).flatten(2) @ W_o.T

    return answer


def layer_allowing(allowed):
    """The library's attention with another mask of what may be seen."""

    def answer(x, W_q, W_k, W_v, W_o, n_heads, causal):
        parts = ((x @ W.T).unflatten(2, (n_heads, -1)).transpose(1, 2) for W in (W_q, W_k, W_v))
        mask = allowed(torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)) if causal else None
        return F.scaled_dot_product_attention(*parts, mask).transpose(1, 2).flatten(2) @ W_o.T

    return answer


def layer_stacked(x, W_q, W_k, W_v, W_o, n_heads, causal):
    """The scores of all heads in one row, and one softmax over it."""
    query, key, value = ((x @ W.T).unflatten(2, (n_heads, -1)) for W in (W_q, W_k, W_v))
    scores = torch.einsum("bthd,bshd->bths", query, key) / query.shape[-1] ** 0.5
    if causal:
        later = torch.ones(x.shape[1], x.shape[1]).triu(1)[:, None] > 0
        scores = scores.masked_fill(later, -torch.inf)
    weights = scores.flatten(2).softmax(-1).view_as(scores)
    return torch.einsum("bths,bshd->bthd", weights, value).flatten(2) @ W_o.T


RIGHT = {
    "4.1": [attend_filled, attend_looped, attend_einsum, attend_by_library],
    "4.3": [masked, masked_looped, masked_added],
    "4.4": [halves_viewed, halves_chunked, halves_looped],
    "4.6": [layer, layer_torch, layer_by_heads],
}
WRONG = [
    ("4.1", of(attend, divide=lambda s, q, k, v: s), "not scaled", "root is missing"),
    ("4.1", of(attend, divide=lambda s, q, k, v: s, nan=0.0), "not scaled", "largest weight is"),
    ("4.1", of(attend, divide=lambda s, q, k, v: s / q.shape[-1], nan=0.0), "divided by D", "standard deviation √D"),
    ("4.1", of(attend, divide=lambda s, q, k, v: s / k.shape[2] ** 0.5), "divided by √S", "number of keys"),
    ("4.1", of(attend, divide=lambda s, q, k, v: s / v.shape[3] ** 0.5), "divided by √E", "width of the values"),
    ("4.1", of(attend, dim=-2), "softmax over the queries", "weights[0, 0, 0] sum to"),
    ("4.1", of(attend, dim=-2, nan=0.0), "softmax over the queries", "compete"),
    ("4.1", of(attend, dim=1), "softmax over the heads", "the keys compete"),
    ("4.1", of(attend, dim=1, nan=0.0), "softmax over the heads", "the keys compete"),
    ("4.1", lambda q, k, v, m: attend(q, k, v, None, divide=of(added, mask=m)), "mask added", "True counts 1"),
    ("4.1", attend_masked_late, "masked after the softmax", "sum to"),
    ("4.1", attend_renormalised, "masked, then renormalised", "new sum"),
    ("4.1", of(attend, fill=0.0), "masked score set to 0", "which the mask hides: weight 0."),
    ("4.1", of(attend, fill=-1e-9), "masked score set to 0", "−1e-9"),
    ("4.1", lambda q, k, v, m: attend(q, k, v, None), "no mask", "The mask is not used"),
    ("4.1", attend_turned, "mask turned round", "True means may attend"),
    ("4.1", attend, "empty row is NaN", "0/0 is NaN"),
    ("4.1", of(attend, fill=-1e9), "empty row is uniform", "equal again"),
    ("4.1", of(attend, nan=0.25), "empty row is uniform", "equal weights"),
    ("4.1", attend_overflowing, "overflow", "row's maximum"),
    ("4.3", planted, "attends to the future", "attends to the future: weight"),
    ("4.3", of(masked, triangle=False), "attends to the future", "attends to the future: weight"),
    ("4.3", of(masked, diagonal=1), "off by one", "attends to its successor: weight"),
    ("4.3", of(masked, diagonal=-1, fill=-1e9), "attends to the future", "query 0 "),
    ("4.3", of(masked, fill=-1e-9), "hidden, but not wholly", "that key gets exactly 0"),
    ("4.3", of(masked, fill=0.0), "hidden, but not wholly", "that key gets exactly 0"),
    ("4.3", of(masked, keys=False), "attends to padding", "attends to padding: weight"),
    ("4.3", of(masked, before=False), "rows do not sum to 1", "sum to 0."),
    ("4.3", masked_renormalised, "rows do not sum to 1", "are NaN"),
    ("4.3", of(masked, dim=-2), "softmax over the queries", "Who competes for whose attention?"),
    ("4.3", of(masked, dim=-2, fill=-1e9), "softmax over the queries", "Who competes for whose attention?"),
    ("4.3", of(masked, dim=-2, fill=-1e-9, triangle=False, diagonal=1), "softmax over the queries", "Mend that first"),
    ("4.3", of(masked, dim=-2, diagonal=-1), "softmax over the queries", "Who competes for whose attention?"),
    ("4.3", lambda s, r: masked(s, r, dim=-2).nan_to_num(), "softmax over the queries", "what one key gets"),
    ("4.3", lambda s, r: masked(s, torch.ones_like(r)), "attends to padding", "attends to padding: weight"),
    ("4.3", lambda s, r: masked(2 * s, r), "hidden, but not wholly", "by the scores"),
    ("4.4", of(halves, cut=lambda x, n: x.reshape(len(x), n, x.shape[1], -1)), "split without transpose", "some words"),
    ("4.4", of(halves, cut=lambda x, n: x.unflatten(2, (-1, n)).movedim(3, 1)), "features interleaved", "not (D, H)"),
    ("4.4", of(halves, cut=lambda x, n: torch.cat(x.chunk(n, 2))), "heads on the batch axis", "axis of their own"),
    ("4.4", of(halves, cut=lambda x, n: x.unflatten(2, (n, -1))), "words and heads not exchanged", "(B, T, H, D)"),
    ("4.4", of(halves, join=lambda y: y.reshape(len(y), y.shape[2], -1)), "merge without transpose", "several words"),
    ("4.4", of(halves, join=lambda y: y.movedim(1, 3).flatten(2)), "features interleaved in the merge", "in turn"),
    ("4.4", of(halves, join=lambda y: y.sum(1)), "heads added up", "side by side"),
    ("4.6", of(layer, root=lambda x, q: x.shape[2] ** 0.5), "divided by √C", "√(C/H)"),
    ("4.6", of(layer, root=lambda x, q: 1), "not scaled", "not divided"),
    ("4.6", of(layer, join=lambda y: y.reshape(len(y), y.shape[2], -1)), "merged without transpose", "words are mixed"),
    ("4.6", of(layer, out=False), "W_o forgotten", "output map"),
    ("4.6", of(layer, look="never"), "no mask", "what comes after it"),
    ("4.6", of(layer, look="always"), "always masked", "causal=False"),
    ("4.6", of(layer, look="next"), "off by one", "successor"),
    ("4.6", layer_hiding(lambda s, o: s.masked_fill(o.triu() > 0, -torch.inf)), "off by one", "does not see itself"),
    ("4.6", layer_hiding(lambda s, o: s.masked_fill(o.triu() > 0, -1e9)), "off by one", "does not see itself"),
    ("4.6", layer_allowing(lambda ones: ones.tril(-1)), "off by one", "does not see itself"),
    ("4.6", layer_hiding(lambda s, o: s.masked_fill(o.tril() > 0, -torch.inf)), "mask inverted", "only what comes after"),
    ("4.6", layer_hiding(lambda s, o: s.masked_fill(o.tril() > 0, -1e9)), "mask inverted", "only what comes after"),
    ("4.6", layer_allowing(lambda ones: ones.triu(1)), "mask inverted", "only what comes after"),
    ("4.6", layer_hiding(None, lambda w, o: w * o.tril()), "masked after the softmax", "does not sum to 1"),
    ("4.6", layer_hiding(None, lambda w, o: w.masked_fill(o.triu(1) > 0, -1e9)), "masked after the softmax", "before it"),
    ("4.6", layer_hiding(lambda s, o: s - o.triu(1) * torch.inf), "0 times −∞", "Fill it in"),
    ("4.6", lambda x, *rest: x + layer(x, *rest), "residual added", "has none"),
    ("4.6", of(layer, dim=2), "softmax over the queries", "last axis"),
    ("4.6", of(layer, turned=True), "matrices not transposed", "x @ W.T"),
    ("4.6", layer_stacked, "one softmax for all heads", "softmax of its own"),
    ("4.6", lambda x, q, k, v, o, n, c: layer(x, q, k, v, o, 1, c), "a single head", "plays no part"),
    ("4.6", lambda x, q, k, v, o, n, c: layer(x, k, q, v, o, n, c), "queries and keys exchanged", "the asking"),
]


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("4.1", lambda q, k, v, m: attend(q, k, v, None), [True, False, False, False]),
        ("4.1", attend, [True, True, False, True]),
        ("4.1", attend_overflowing, [True, True, True, False]),
        ("4.1", of(attend, divide=lambda s, q, k, v: s), [False] * 4),
        ("4.4", of(halves, cut=lambda x, n: x.reshape(len(x), n, x.shape[1], -1)), [False, True, False]),
        ("4.4", of(halves, join=lambda y: y.sum(1)), [True, False, False]),
        ("4.6", of(layer, look="never"), [True, False, False]),
        ("4.6", of(layer, look="always"), [False, True, False]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    assert [result.ok for result in judge(id, answer, seed).results] == held


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("4.1", lambda *args: attend_filled(*args)[::-1], "you return (weights, output)"),
        ("4.1", lambda *args: attend_filled(*args)[0], "expected 2 values, (output, weights)"),
        ("4.1", lambda q, k, v, m: attend(q * torch.nan, k, v, None), "is NaN"),
        ("4.3", lambda s, r: s[0], "weights have shape"),
        ("4.3", lambda s, r: (masked(s, r), r), "you return 2 values, expected weights alone"),
        ("4.3", lambda s, r: s.nope, "AttributeError"),
        ("4.4", lambda x, y, n: halves(x, y, n)[::-1], "expected (heads, merged)"),
        ("4.4", lambda x, y, n: (halves(x, y, n)[0], None), "merged is missing"),
        ("4.6", lambda x, *rest: (layer(x, *rest), x), "do you return 2 values?"),
        ("4.6", lambda x, *rest: layer(x, *rest)[0], "output has shape"),
    ],
)
def test_a_wrong_form_is_explained(judge, id, answer, phrase):
    verdict = judge(id, answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)


def test_4_1_a_mask_that_may_be_none_is_named(judge):
    verdict = judge("4.1", lambda q, k, v, m: attend_filled(q, k, v, m & m))
    assert verdict.message.startswith("mask=None: TypeError") and verdict.points == 2, str(verdict)


def test_4_6_unknown_mistakes_get_the_next_thing_to_look_at(judge, seed):
    found = judge("4.6", lambda x, q, k, v, o, n, c: layer(F.normalize(x, dim=-1), q, k, v, o, n, c), seed)
    assert not found.misconception and "head 0 gives the words the weights" in found.message, str(found)


# ---------------------------------------------------------------- 4.3 hole by hole


def test_4_3_planted_bugs_earn_nothing_and_show_five_symptoms(judge, seed):
    verdict = judge("4.3", planted, seed)
    assert verdict.points == 0 and verdict.message.count("→") == 4 and len(verdict.message) < 900, str(verdict)


HOLES = {"triangle": True, "diagonal": 0, "fill": -torch.inf, "keys": True, "before": True}
STUB = {"triangle": False, "diagonal": 1, "fill": -1e-9, "keys": False, "before": False}


@pytest.mark.parametrize("mended", list(itertools.product([False, True], repeat=5)), ids=str)
def test_4_3_never_gives_a_point_for_an_open_hole(judge, mended):
    options = {name: (HOLES if done else STUB)[name] for name, done in zip(HOLES, mended)}
    for seed in (None, 11):
        held = [result.ok for result in judge("4.3", of(masked, **options), seed).results]
        assert all(done for done, ok in zip(mended, held) if ok) and all(held) == all(mended)


@pytest.mark.parametrize("name", HOLES)
def test_4_3_gives_a_point_for_each_hole_that_is_closed(judge, seed, name):
    """Closed alone (the border as far as it can be with the triangle open), and closed with all others."""
    place = list(HOLES).index(name)
    alone = judge("4.3", of(masked, **{**STUB, name: HOLES[name]}), seed)
    assert [result.ok for result in alone.results] == [n == place for n in range(5)], str(alone)
    only = judge("4.3", of(masked, **{**HOLES, name: STUB[name]}), seed)
    assert [result.ok for result in only.results].index(False) == place, str(only)


@pytest.mark.parametrize("fill", [0.0, torch.nan, 1.0])
def test_4_3_constant_weights_earn_nothing(judge, fill):
    verdict = judge("4.3", lambda s, r: torch.full_like(s, fill))
    assert verdict.points == 0 and verdict.message, str(verdict)


def test_4_3_equal_weights_do_not_compete_wrongly(judge):
    """What every key gets sums to 1 as well, but so does what every query gives."""
    assert judge("4.3", lambda s, r: torch.full_like(s, 1 / s.shape[-1])).misconception == "attends to the future"


def test_4_3_no_mask_at_all(judge, seed):
    verdict = judge("4.3", lambda s, r: s.softmax(-1), seed)
    assert [result.ok for result in verdict.results] == [False, False, False, False, True], str(verdict)


# ---------------------------------------------------------------- 4.2 and 4.5 predict

ANSWER = {
    "4.2": {
        "std_of_scores": 8,
        "std_after_root": 1,
        "std_if_doubled": 32,
        "bits_uniform": 4,
        "largest_weight": 1,
        "bits_then": 0,
        "slope_at_0_9": 0.09,
    },
    "4.5": {
        "one_head": 1_048_576,
        "eight_heads": 4 * 512 * 8 * 64,
        "with_biases": 1_050_624,
        "two_kv_heads": 655_360,
        "scores": 8_000_000,
    },
}


@pytest.mark.parametrize("id", ANSWER)
@pytest.mark.parametrize("make", [int, float, torch.tensor, np.float64])
def test_predictions_are_accepted_in_any_make(judge, id, make):
    given = {key: value if make is int else make(value) for key, value in ANSWER[id].items()}
    assert judge(id, given).ok, str(judge(id, given))


@pytest.mark.parametrize("key", ["std_of_scores", "std_after_root", "std_if_doubled"])
def test_4_2_agrees_with_a_sample(key):
    """The numbers that the judge takes for right, drawn."""
    rng = np.random.default_rng(0)
    q, k = (rng.standard_normal((20_000, 64)) * (2 if key == "std_if_doubled" else 1) for _ in "qk")
    scores = (q * k).sum(1) / (8 if key == "std_after_root" else 1)
    assert scores.std() == pytest.approx(ANSWER["4.2"][key], rel=0.03)


def test_4_2_slope_is_a_derivative():
    score = torch.tensor(math.log(0.9 / 0.1), requires_grad=True)
    torch.stack([score, torch.zeros(())]).softmax(0)[0].backward()
    assert score.grad.item() == pytest.approx(ANSWER["4.2"]["slope_at_0_9"])


def test_4_5_counts_are_those_of_torch_layers():
    def count(**options):
        return sum(p.numel() for p in nn.MultiheadAttention(512, **options).parameters())

    right = ANSWER["4.5"]
    assert count(num_heads=1, bias=False) == right["one_head"]
    assert count(num_heads=8, bias=False) == right["eight_heads"]
    assert count(num_heads=8) == right["with_biases"]
    maps = [nn.Linear(512, out, bias=False) for out in (512, 128, 128, 512)]
    assert sum(p.numel() for m in maps for p in m.parameters()) == right["two_kv_heads"]


@pytest.mark.parametrize(
    ("id", "key", "value", "phrase"),
    [
        ("4.2", "std_of_scores", 64, "is the variance"),
        ("4.2", "std_of_scores", 1, "one product"),
        ("4.2", "std_of_scores", 7.5, "too small"),
        ("4.2", "std_of_scores", "eight", "expected a number"),
        ("4.2", "std_after_root", 8, "before the division"),
        ("4.2", "std_after_root", 1 / 8, "by its root"),
        ("4.2", "std_if_doubled", 16, "Only one factor"),
        ("4.2", "std_if_doubled", 1024, "is the variance"),
        ("4.2", "std_if_doubled", 4, "after the division"),
        ("4.2", "bits_uniform", 2.77, "nats"),
        ("4.2", "bits_uniform", 16, "number of keys"),
        ("4.2", "bits_uniform", 1.2, "base 10"),
        ("4.2", "largest_weight", 0.0625, "scores shrink"),
        ("4.2", "largest_weight", 0, "sum to 1"),
        ("4.2", "largest_weight", math.inf, "no predictions"),
        ("4.2", "bits_then", 4, "equal weights"),
        ("4.2", "bits_then", 0.3, "too large"),
        ("4.2", "slope_at_0_9", 0.9, "the weight itself"),
        ("4.2", "slope_at_0_9", 0.1, "That is 1 − p"),
        ("4.2", "slope_at_0_9", -0.09, "The sign"),
        ("4.2", "slope_at_0_9", None, "no prediction yet"),
        ("4.5", "one_head", 786_432, "output goes through a map"),
        ("4.5", "one_head", 262_144, "single map"),
        ("4.5", "one_head", 1_050_624, "not to be counted yet"),
        ("4.5", "eight_heads", 8_388_608, "More heads are not more parameters"),
        ("4.5", "eight_heads", 8 * 4 * 64 * 64, "all eight read all 512"),
        ("4.5", "eight_heads", 4 * 512 * 64, "one head's maps"),
        ("4.5", "eight_heads", 786_432, "output map is missing"),
        ("4.5", "with_biases", 1_048_576, "without biases"),
        ("4.5", "with_biases", 1_050_112, "One bias is missing"),
        ("4.5", "two_kv_heads", 1_048_576, "Sharing saves"),
        ("4.5", "two_kv_heads", 262_144, "The queries keep their eight heads"),
        ("4.5", "two_kv_heads", 589_824, "half of that is missing"),
        ("4.5", "two_kv_heads", 655_361, "too large"),
        ("4.5", "scores", 8_000, "square of the length"),
        ("4.5", "scores", 1_000_000, "one head's table"),
        ("4.5", "scores", 4_004_000, "no mask here"),
        ("4.5", "scores", 512_000_000, "multiplications"),
        ("4.5", "scores", 0.5, "whole number"),
    ],
)
def test_predictions_name_what_went_wrong(judge, id, key, value, phrase):
    verdict = judge(id, {**ANSWER[id], key: value})
    missed = verdict.maximum - verdict.points
    assert missed == 1 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


# ---------------------------------------------------------------- 4.7 measure


def kernel(queries, keys, values, sharpness, leave_out=False):
    scores = sharpness * queries @ keys.T
    if leave_out:
        scores.fill_diagonal_(-torch.inf)
    return scores.softmax(1) @ values


def chosen(x, y, error, grid=(0.3, 1, 3, 10, 30, 100)):
    return min(grid, key=lambda b: float(((error(b) - y) ** 2).mean()))


def regress_left_out(x, y, blind):
    return kernel(blind, x, y, chosen(x, y, lambda b: kernel(x, x, y, b, leave_out=True)))


def regress_folded(x, y, blind):
    def predicted(b):
        fold = torch.arange(len(x)) % 4
        out = torch.empty_like(y)
        for n in range(4):
            out[fold == n] = kernel(x[fold == n], x[fold != n], y[fold != n], b)
        return out

    return kernel(blind, x, y, chosen(x, y, predicted)).double().numpy()


def regress_neighbours(x, y, blind):
    order = torch.cdist(x, x).argsort(1)[:, 1:]
    count = min((3, 6, 12, 25, 50), key=lambda n: float(((y[order[:, :n]].mean(1) - y) ** 2).mean()))
    return y[torch.cdist(blind, x).argsort(1)[:, :count]].mean(1).tolist()


def regress_on_training(x, y, blind):
    return kernel(blind, x, y, chosen(x, y, lambda b: kernel(x, x, y, b)))


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [regress_left_out, regress_folded, regress_neighbours])
def test_4_7_accepts_a_scale_chosen_on_the_data(judge, seed, answer):
    verdict = judge("4.7", answer, seed)
    assert verdict.ok and verdict.message.startswith("Mean squared error over variance: 0."), str(verdict)


FIXED = "only the data can"


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("answer", "points", "name", "phrase"),
    [
        (lambda x, y, q: kernel(q, x, y, x.shape[1] ** -0.5), 1, "fixed root", FIXED),
        (lambda x, y, q: (-(torch.cdist(q, x) ** 2) / x.shape[1] ** 0.5).softmax(1) @ y, 1, "fixed root", FIXED),
        (lambda x, y, q: kernel(q, x, y, 1), 1, "fixed sharpness", FIXED),
        (lambda x, y, q: (-(torch.cdist(q, x) ** 2)).softmax(1) @ y, 1, "fixed sharpness", FIXED),
        (lambda x, y, q: kernel(q, x, y, 20), 1, "one sharpness for both", "each needs its own"),
        (lambda x, y, q: y.mean().expand(len(q)), 0, "the mean", "inputs play no part"),
        (lambda x, y, q: y[torch.cdist(q, x).argmin(1)], 0, "nearest neighbour", "noise included"),
        (regress_on_training, None, "too sharp", "each point finds itself"),
        (lambda x, y, q: (q @ x.T / x.shape[1] ** 0.5).exp() @ y, 0, "weights not normalised", "do not sum to 1"),
        (lambda x, y, q: (q @ x.T / x.shape[1] ** 0.5).softmax(0) @ y, None, "softmax over the queries", "compete"),
    ],
)
def test_4_7_names_what_went_wrong(judge, seed, answer, points, name, phrase):
    verdict = judge("4.7", answer, seed)
    assert not verdict.results[1].ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert points is None or verdict.points == points


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda x, y, q: y, "predictions have shape (800,), expected (400,)"),
        (lambda x, y, q: regress_left_out(x, y, q)[:, None], "leave out the last axis"),
        (lambda x, y, q: 3.0, "predictions have shape ()"),
        (lambda x, y, q: q[:, 0] / 0 * 0, "400 predictions are NaN"),
        (lambda x, y, q: {"a": 1}, "predictions is a dict"),
        (lambda x, y, q: (regress_left_out(x, y, q), 30.0), "you return 2 values"),
        (lambda x, y, q: x.T @ y @ q, "the smooth set: RuntimeError"),
        (lambda x, y, q: torch.zeros(len(q)), "the mean of train_y would have"),
    ],
)
def test_4_7_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("4.7", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)
