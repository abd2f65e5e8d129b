"""Chapter 05: right answers of several makes accepted, named wrong ones rejected with their message."""

import itertools
import math
from collections import Counter, defaultdict
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.attention import MultiHeadAttention
from course_lib.blocks import Block
from course_lib.data.batching import PairBatches, pad
from course_lib.exercises import exercise
from course_lib.generation import greedy
from course_lib.losses import seq2seq_loss
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.training import TrainingConfig, train

# ---------------------------------------------------------------- 5.1 positional


def waves_looped(T, d_model):
    table = [[0.0] * d_model for _ in range(T)]
    for pos in range(T):
        for i in range(d_model):
            angle = pos / 10000 ** (2 * (i // 2) / d_model)
            table[pos][i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


def waves_by_exp(T, d_model):
    table = torch.zeros(T, d_model)
    rates = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
    table[:, 0::2] = torch.sin(torch.arange(T)[:, None] * rates)
    table[:, 1::2] = torch.cos(torch.arange(T)[:, None] * rates[: d_model // 2])
    return table


def waves_complex(T, d_model):
    pairs = np.exp(1j * np.arange(T)[:, None] / 1e4 ** (np.arange(0, d_model, 2) / d_model))
    return np.stack([pairs.imag, pairs.real], axis=-1).reshape(T, -1)[:, :d_model]


def waves_planted(T, d_model):
    table = torch.zeros(T, d_model)
    for pos in range(T):
        for i in range(0, d_model, 2):
            table[pos, i] = math.sin(pos / 10000 ** (i / d_model))
            table[pos, i + 1] = math.cos(pos / 10000 ** ((i + 1) / d_model))
    return table


def waves_doubled(T, d_model):
    table = torch.zeros(T, d_model)
    for pos, i in itertools.product(range(T), range(0, d_model, 2)):
        table[pos, i] = math.sin(pos / 10000 ** (2 * i / d_model))
        if i + 1 < d_model:
            table[pos, i + 1] = math.cos(pos / 10000 ** (2 * (i + 1) / d_model))
    return table


def waves(T, d, *, exponent=lambda i, d: i // 2 * 2 / d, base=10000.0, first=0, unit=1.0, kinds=(np.sin, np.cos)):
    i, pos = np.arange(d), np.arange(first, T + first)[:, None]
    angle = unit * pos / base ** exponent(i, d)
    return np.where(i % 2 == 0, kinds[0](angle), kinds[1](angle))


def waves_in_halves(T, d_model):
    rates = 10000.0 ** (-torch.arange(0, d_model, 2) / d_model)
    angle = torch.arange(T)[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()[:, : d_model // 2]], dim=1)


def waves_short(T, d_model):
    return F.pad(waves_by_exp(T, d_model)[:, : d_model // 2 * 2], (0, d_model % 2))


def waves_of_whole_pairs(T, d_model):
    return F.pad(waves_by_exp(T, d_model // 2 * 2), (0, d_model % 2))


# ---------------------------------------------------------------- 5.2 decoder_pass


def decode(
    target, embedding, W_q, W_k, W_v, W_o, bos_id, *, shift=True, carry=True, scale=True, divide=None, sums=None,
    tell=None, causal=True, raw="", diagonal=0, fill=-torch.inf, nan=math.nan,
):
    """The planted bugs one by one (shift, carry, scale), and some others."""
    right = torch.cat([torch.full((len(target), 1), bos_id), target[:, :-1]], dim=1)
    inputs = right if shift is True else target if shift is False else shift(target, bos_id)
    x = embedding[inputs]
    normal = F.layer_norm(x, x.shape[-1:])
    if sums == "no norm" or sums == "post":
        normal = x
    query, key, value = ((x if role in raw else normal) @ W.T for role, W in zip("qkv", (W_q, W_k, W_v)))
    scores = query @ key.mT / ((len(W_q) ** 0.5 if scale else 1.0) if divide is None else divide(W_q))
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:], dtype=torch.bool).triu(1 + diagonal), fill)
    added = scores.softmax(-1).nan_to_num(nan) @ value @ W_o.T
    y = (x if carry else normal) + added
    if sums == "post":
        y = F.layer_norm(y, y.shape[-1:])
    return (right if tell else inputs), added if sums == "nothing carried" else y


def decode_torch(target, embedding, W_q, W_k, W_v, W_o, bos_id):
    inputs = target.roll(1, dims=1)
    inputs[:, 0] = bos_id
    x = F.embedding(inputs, embedding)
    h = nn.LayerNorm(x.shape[2], elementwise_affine=False)(x)
    return inputs, x + F.linear(F.scaled_dot_product_attention(h @ W_q.T, h @ W_k.T, h @ W_v.T, is_causal=True), W_o)


def decode_looped(target, embedding, W_q, W_k, W_v, W_o, bos_id):
    inputs = [[bos_id, *row[:-1]] for row in target.tolist()]
    embedding, W_q, W_k, W_v, W_o = (W.double().numpy() for W in (embedding, W_q, W_k, W_v, W_o))
    outputs = []
    for row in inputs:
        x = embedding[row]
        h = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
        said = []
        for t in range(len(row)):
            scores = [W_q @ h[t] @ (W_k @ h[s]) / len(W_q) ** 0.5 for s in range(t + 1)]
            parts = np.exp(np.array(scores) - max(scores))
            said.append(x[t] + W_o @ sum(w * (W_v @ h[s]) for s, w in enumerate(parts / parts.sum())))
        outputs.append(said)
    return torch.tensor(inputs), np.array(outputs)


def in_front(target, bos_id):
    return F.pad(target, (1, 0), value=bos_id)


# ---------------------------------------------------------------- 5.3 step


def step(
    x, keys, values, W_q, W_k, W_v, W_o, *, cut=None, grow=None, look=None, root=None, cache="kv", out=True, dim=-1
):
    (B, C), H = x.shape, keys.shape[1]
    new = {role: (x @ W.T).view(B, H, 1, C // H) for role, W in zip("qkv", (W_q, W_k, W_v))}
    if cut:
        new = {role: cut(x @ W.T, H) for role, W in zip("qkv", (W_q, W_k, W_v))}
    grow = grow or (lambda past, part: torch.cat([past, part], dim=2))
    after = grow(keys, new[cache[0]]), grow(values, new[cache[1]])
    seen = after if look is None else (look(keys, new["k"]), look(values, new["v"]))
    scores = new["q"] @ seen[0].mT / (root(x, keys) if root else (C // H) ** 0.5)
    y = (scores.softmax(dim) @ seen[1]).flatten(1)
    return (y @ W_o.T if out else y), *after


def step_causal(x, keys, values, W_q, W_k, W_v, W_o):
    """The library's causal mask, which it aligns at the top left."""

    def heads(W):
        return (x @ W.T).unflatten(1, (keys.shape[1], 1, -1))

    keys, values = torch.cat([keys, heads(W_k)], dim=2), torch.cat([values, heads(W_v)], dim=2)
    y = F.scaled_dot_product_attention(heads(W_q), keys, values, is_causal=True)
    return y.flatten(1) @ W_o.T, keys, values


def step_einsum(x, keys, values, W_q, W_k, W_v, W_o):
    _, H, _, D = keys.shape
    query, key, value = (torch.einsum("bc,hdc->bhd", x.double(), W.double().reshape(H, D, -1)) for W in (W_q, W_k, W_v))
    keys, values = torch.cat([keys, key[:, :, None]], 2), torch.cat([values, value[:, :, None]], 2)
    weights = torch.einsum("bhd,bhsd->bhs", query, keys).div(D**0.5).softmax(-1)
    return torch.einsum("bhs,bhsd->bhd", weights, values).flatten(1) @ W_o.double().T, keys, values


def step_looped(x, keys, values, W_q, W_k, W_v, W_o):
    B, H, t, D = keys.shape
    ys, more = [], ([], [])
    for b in range(B):
        heads = []
        for h in range(H):
            part = slice(h * D, (h + 1) * D)
            k, v = (torch.cat([old[b, h], (W[part] @ x[b])[None]]) for old, W in ((keys, W_k), (values, W_v)))
            heads.append((k @ (W_q[part] @ x[b]) / D**0.5).softmax(0) @ v)
            more[0].append(k), more[1].append(v)
        ys.append(W_o @ torch.cat(heads))
    return torch.stack(ys), *(torch.stack(part).view(B, H, t + 1, D) for part in more)


def step_by_library(x, keys, values, W_q, W_k, W_v, W_o):
    def heads(W):
        return F.linear(x, W).reshape(len(x), keys.shape[1], 1, keys.shape[3])

    keys, values = torch.cat([keys, heads(W_k)], dim=-2), torch.cat([values, heads(W_v)], dim=-2)
    return F.linear(F.scaled_dot_product_attention(heads(W_q), keys, values).flatten(1), W_o), keys, values


def interleaved(x, n):
    return x.view(len(x), -1, n).transpose(1, 2)[:, :, None]


# ---------------------------------------------------------------- 5.5 layer_norm


def norm_by_hand(x, gain, bias, eps):
    centred = x - x.mean(-1, keepdim=True)
    return gain * centred * torch.rsqrt((centred**2).mean(-1, keepdim=True) + eps) + bias


def norm_by_numpy(x, gain, bias, eps):
    x = x.numpy().astype(np.float64)
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * gain.numpy() + bias.numpy()


def norm_by_module(x, gain, bias, eps):
    module = nn.LayerNorm(x.shape[-1], eps=eps, dtype=x.dtype)
    module.weight.data, module.bias.data = gain, bias
    return module(x)


def norm_looped(x, gain, bias, eps):
    rows = []
    for word in x.double().reshape(-1, x.shape[-1]):
        mean = sum(word) / len(word)
        variance = sum((n - mean) ** 2 for n in word) / len(word)
        rows.append([(n - mean) / (variance + eps) ** 0.5 * g + b for n, g, b in zip(word, gain, bias)])
    return torch.tensor(rows).view(x.shape)


def norm(x, gain, bias, eps, *, dims=(-1,), unbiased=False, divide=lambda v, e: (v + e).sqrt(), centre=True):
    dims = dims(x) if callable(dims) else dims
    mean, variance = x.mean(dims, keepdim=True), x.var(dims, keepdim=True, correction=int(unbiased))
    return (x - mean * centre) / divide(variance, eps) * gain + bias


def norm_by_squares(x, gain, bias, eps):
    mean = x.mean(-1, keepdim=True)
    variance = (x**2).mean(-1, keepdim=True) - mean**2
    return (x - mean) / torch.sqrt(variance + eps) * gain + bias


RIGHT = {
    "5.1": [waves_looped, waves_by_exp, waves_complex],
    "5.2": [decode, decode_torch, decode_looped],
    "5.3": [step, step_einsum, step_looped, step_by_library],
    "5.5": [norm_by_hand, norm_by_numpy, norm_by_module, norm_looped],
}
WRONG = [
    ("5.1", waves_planted, "a frequency for every column", "do not turn together"),
    ("5.1", of(waves, exponent=lambda i, d: i / d), "a frequency for every column", "their squares sum to"),
    ("5.1", waves_doubled, "exponent doubled", "even already"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 * 4 / d), "exponent doubled", "twice as fast"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 / d), "exponent halved", "half as fast"),
    ("5.1", of(waves, base=100.0), "exponent halved", "base of 100"),
    ("5.1", of(waves, base=1000.0), "another base", "base of 1000"),
    ("5.1", waves_in_halves, "halves, not pairs", "side by side"),
    ("5.1", of(waves, kinds=(np.cos, np.sin)), "cosine first", "(0, 1, 0, 1, …)"),
    ("5.1", of(waves, kinds=(np.sin, np.sin)), "no cosine", "only sines"),
    ("5.1", of(waves, first=1), "starts at 1", "count from 0"),
    ("5.1", of(waves, unit=math.pi / 180), "degrees", "radians"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 * 2 // d), "positions without waves", "whole-number division"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 * 2 / max(d - 2, 1e-9)), "slowest wave reached", "stays short"),
    ("5.1", waves_short, "last column empty", "only the cosine"),
    ("5.1", lambda T, d: waves(T, d + d % 2)[:, :d], "width rounded up", "one wider"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 * 2 / max(d - d % 2, 1)), "width rounded down", "2i/(d − 1)"),
    ("5.1", waves_of_whole_pairs, "width rounded down", "one column narrower"),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 * 2 / max(d - 1, 1)), "divided by d − 1", "divides by d."),
    ("5.1", of(waves, exponent=lambda i, d: i // 2 / max((d + 1) // 2 - 1, 1)), "slowest wave reached", "stays short"),
    ("5.2", of(decode, shift=False, carry=False, scale=False), "not shifted", "is what it reads there"),
    ("5.2", of(decode, shift=False), "not shifted", "has to say word"),
    ("5.2", of(decode, carry=False), "normalised on the way", "a vector of length"),
    ("5.2", of(decode, scale=False), "not scaled", "of its attention to a single word"),
    ("5.2", of(decode, carry=False, scale=False), "normalised on the way", "of its attention to a single word"),
    ("5.2", of(decode, shift=lambda t, bos: t.roll(-1, 1)), "shifted the wrong way", "the word after it"),
    ("5.2", of(decode, shift=lambda t, bos: t.roll(1, 1)), "other inputs", "it reads"),
    ("5.2", of(decode, shift=lambda t, bos: F.pad(t, (1, 0))[:, :-1]), "other inputs", "it reads 0"),
    ("5.2", of(decode, shift=False, tell=True), "reads ahead", "it has been read"),
    ("5.2", of(decode, causal=False), "reads ahead", "it has been read"),
    ("5.2", of(decode, sums="post"), "normalised on the way", "comes out"),
    ("5.2", of(decode, sums="no norm"), "no norm", "nothing is normalised"),
    ("5.2", of(decode, sums="nothing carried"), "nothing carried", "nothing at all comes out"),
    ("5.2", of(decode, divide=lambda W: len(W)), "divided by D", "of its attention to a single word"),
    ("5.2", of(decode, divide=lambda W: W.shape[1] ** 0.5), "divided by √C", "of its attention to a single word"),
    ("5.2", of(decode, raw="v"), "value not normalised", "the values are made from the words as they come in"),
    ("5.2", of(decode, raw="v", scale=False), "value not normalised", "not from the normalised ones"),
    ("5.2", of(decode, raw="q"), "query not normalised", "the queries are made"),
    ("5.2", of(decode, raw="k"), "key not normalised", "the keys are made"),
    ("5.2", of(decode, raw="qk"), "only the value normalised", "queries and keys are made"),
    ("5.2", of(decode, raw="v", carry=False), "normalised on the way", "the values are made"),
    ("5.2", of(decode, diagonal=-1, nan=0.0), "does not see itself", "no word sees itself"),
    ("5.2", of(decode, diagonal=-1, fill=-1e9), "does not see itself", "no word sees itself"),
    ("5.2", of(decode, diagonal=1), "reads ahead", "a word sees its successor"),
    ("5.3", of(step, look=lambda past, new: past), "not in its own memory", "does not look at itself"),
    ("5.3", of(step, grow=lambda past, new: torch.cat([new, past], 2)), "put in front", "at the end"),
    ("5.3", of(step, cache="qv"), "query kept as a key", "asked once"),
    ("5.3", of(step, cache="kq"), "query kept as a value", "take away"),
    ("5.3", of(step, cache="vk"), "keys and values exchanged", "goes to the values"),
    ("5.3", lambda *a: (lambda y, k, v: (y, v, k))(*step(*a)), "memories returned in the other order", "(y, keys, values)"),
    ("5.3", lambda *a: (step(*a)[0], a[1], a[2]), "memory not grown", "is forgotten"),
    ("5.3", lambda *a: (step(*a)[0], *(m[:, :, -1:] for m in step(*a)[1:])), "only the new word kept", "all words so far"),
    ("5.3", of(step, look=lambda past, new: new), "only the new word seen", "weight is 1"),
    ("5.3", step_causal, "only the first word seen", "aligned at the top left"),
    ("5.3", of(step, root=lambda x, k: x.shape[1] ** 0.5), "scaled by √C", "all heads together"),
    ("5.3", of(step, root=lambda x, k: 1.0), "not scaled", "not divided"),
    ("5.3", of(step, cut=interleaved), "features interleaved", "every H-th feature"),
    ("5.3", lambda x, *rest: (step(x, *rest)[0] + x, *step(x, *rest)[1:]), "residual added", "a block around"),
    ("5.3", of(step, out=False), "W_o forgotten", "output map"),
    ("5.3", of(step, dim=1), "softmax over the heads", "heads compete"),
    ("5.3", of(step, dim=2), "softmax over one query", "every weight is 1"),
    ("5.3", lambda x, k, v, a, b, c, d: step(x, k, v, a.T, b.T, c.T, d.T), "matrices not transposed", "x @ W.T"),
    ("5.5", of(norm, dims=(0,)), "over the batch", "as batch norm does"),
    ("5.5", of(norm, dims=(-2,)), "over time", "the words of a sentence"),
    ("5.5", of(norm, dims=lambda x: tuple(range(x.ndim))), "one mean for everything", "the whole array"),
    ("5.5", of(norm, dims=lambda x: (0, 1)[: max(1, x.ndim - 1)]), "over batch and time", "over all words"),
    ("5.5", of(norm, dims=(-2, -1)), "over the whole sentence", "all words of a sentence together"),
    ("5.5", of(norm, unbiased=True), "unbiased variance", "divides by C"),
    ("5.5", of(norm, unbiased=True, divide=lambda v, e: v.sqrt() + e), "unbiased, eps outside", "differs twice"),
    ("5.5", of(norm, divide=lambda v, e: v.sqrt() + e), "eps outside the root", "inside the root"),
    ("5.5", of(norm, divide=lambda v, e: v.sqrt()), "no eps", "0/0 is NaN"),
    ("5.5", of(norm, divide=lambda v, e: (v + 1e-5).sqrt()), "eps fixed", "the argument eps is ignored"),
    ("5.5", of(norm, divide=lambda v, e: (v + 1e-12).sqrt()), "eps fixed", "the argument eps is ignored"),
    ("5.5", of(norm, divide=lambda v, e: v.sqrt() + 1e-6), "eps fixed", "the argument eps is ignored"),
    ("5.5", of(norm, unbiased=True, divide=lambda v, e: (v + 1e-5).sqrt()), "eps fixed", "divides by C − 1"),
    ("5.5", lambda x, g, b, e: F.layer_norm(x, x.shape[-1:], g, b), "eps fixed", "the argument eps is ignored"),
    ("5.5", of(norm, divide=lambda v, e: (v - e).sqrt()), "eps subtracted", "It is added"),
    ("5.5", of(norm, divide=lambda v, e: v + e), "divided by the variance", "Its root"),
    ("5.5", of(norm, centre=False), "mean kept", "not taken off"),
    ("5.5", lambda x, g, b, e: F.rms_norm(x, x.shape[-1:], g, e) + b, "mean kept", "RMS norm"),
    ("5.5", lambda x, g, b, e: F.layer_norm(x, x.shape[-1:], eps=e), "gain and bias not used", "not used"),
    ("5.5", lambda x, g, b, e: F.layer_norm(x, x.shape[-1:], b, g, eps=e), "gain and bias exchanged", "changed places"),
    ("5.5", norm_by_squares, "digits lost", "drowns in the rounding"),
]


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.filterwarnings("ignore:var")
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("id", "bug"), [("5.1", waves_planted), ("5.2", of(decode, shift=False, carry=False, scale=False))]
)
def test_planted_bugs_earn_nothing(judge, seed, id, bug):
    assert judge(id, bug, seed).points == 0


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("scale", [True, False])
def test_5_2_each_bug_is_seen_beside_the_others(judge, seed, shift, carry, scale):
    verdict = judge("5.2", of(decode, shift=shift, carry=carry, scale=scale), seed)
    assert [result.ok for result in verdict.results] == [shift, carry, scale], str(verdict)
    assert verdict.message.count("→") == max(0, 2 - shift - carry - scale)


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("5.1", of(waves, exponent=lambda i, d: i / d), [False, False]),
        ("5.1", waves_short, [True, False]),
        ("5.2", of(decode, causal=False), [False, True, False]),
        ("5.2", of(decode, sums="post"), [True, False, True]),
        ("5.2", of(decode, raw="v"), [True, True, False]),
        ("5.2", of(decode, diagonal=-1, nan=0.0), [True, True, False]),
        ("5.2", of(decode, diagonal=-1, fill=-1e9), [False, True, False]),
        ("5.2", of(decode, sums="no norm"), [True, False, True]),
        ("5.2", of(decode, shift=False, tell=True), [False, True, True]),
        ("5.3", of(step, look=lambda past, new: past), [False] * 3),
        ("5.3", of(step, root=lambda x, k: 1.0), [False, True, False]),
        ("5.3", step_causal, [False, True, False]),
        ("5.5", of(norm, divide=lambda v, e: v.sqrt() + e), [True, False, True, True]),
        ("5.5", of(norm, divide=lambda v, e: v.sqrt()), [True, False, True, False]),
        ("5.5", norm_by_squares, [True, True, True, False]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    assert [result.ok for result in judge(id, answer, seed).results] == held


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("5.1", lambda T, d: waves(T, d).T, "table has shape"),
        ("5.1", lambda T, d: waves(T, d - 1), "table has shape"),
        ("5.1", lambda T, d: waves(T, d) * math.nan, "is NaN"),
        ("5.1", lambda T, d: 0.5 * waves(T, d) + 0.1, "There the sine is of the angle"),
        ("5.2", of(decode, shift=in_front), "one input for each word"),
        ("5.2", lambda *a: decode(*a)[::-1], "expected (inputs, outputs)"),
        ("5.2", lambda *a: decode(*a)[1], "expected 2 values, (inputs, outputs)"),
        ("5.2", lambda *a: (decode(*a)[0], decode(*a)[1] * math.nan), "outputs hold NaN"),
        ("5.2", of(decode, diagonal=-1), "at place 0, and nowhere else: what does your mask leave the first word"),
        ("5.2", lambda *a: (decode(*a)[0] * math.nan, decode(*a)[1]), "inputs hold NaN"),
        ("5.2", lambda t, e, q, k, v, o, b: decode(t, e, k, q, v, o, b), "for these inputs"),
        ("5.3", lambda *a: step(*a)[0], "expected 3 values, (y, keys, values)"),
        ("5.3", lambda *a: (step(*a)[0][:, None], *step(*a)[1:]), "y has shape"),
        ("5.3", lambda *a: (0.9 * step(*a)[0], *step(*a)[1:]), "weighs their words"),
        ("5.3", lambda *a: (None, *step(*a)[1:]), "y is missing"),
        ("5.5", lambda x, g, b, e: norm_by_hand(x, g, b, e)[0], "output has shape"),
        ("5.5", lambda x, g, b, e: norm_by_hand(x, g, b, e) + 0.5, "has mean"),
        ("5.5", lambda x, g, b, e: x.nope, "AttributeError"),
    ],
)
def test_other_faults_get_a_plain_message(judge, id, answer, phrase):
    verdict = judge(id, answer)
    assert not verdict.ok and phrase in verdict.message and not verdict.misconception, str(verdict)


def test_5_1_names_the_width_at_which_the_slides_code_stops(judge):
    def mended(T, d_model):
        if d_model % 2:
            return waves_planted(T, d_model)
        return waves_looped(T, d_model)

    verdict = judge("5.1", mended)
    assert verdict.points == 2 and "d_model = " in verdict.message and "IndexError" in verdict.message, str(verdict)


def test_5_2_one_oddity_is_said_once(judge, seed):
    """With −1e9 the first word sees everything, since it sees nothing; that is no second mistake."""
    assert "→" not in judge("5.2", of(decode, diagonal=-1, fill=-1e9), seed).message


def test_5_2_returned_inputs_may_have_any_number_type(judge):
    verdict = judge("5.2", lambda *a: (decode(*a)[0].double(), decode(*a)[1].double()))
    assert verdict.ok and "where the text asks for int64" in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", range(3))
def test_5_3_steps_are_the_causal_pass(seed):
    torch.manual_seed(seed)
    layer, x = MultiHeadAttention(12, 3).double(), torch.randn(2, 6, 12, dtype=torch.float64)
    for linear in (layer.query, layer.key_value, layer.out):
        nn.init.zeros_(linear.bias)
    maps = (layer.query.weight, *layer.key_value.weight.chunk(2), layer.out.weight)
    keys = values = torch.zeros(2, 3, 0, 4, dtype=torch.float64)
    for answer in (step, exercise("5.3").reference):
        memories, found = (keys, values), []
        for t in range(6):
            y, *memories = answer(x[:, t], *memories, *maps)
            found.append(y)
        torch.testing.assert_close(torch.stack(found, 1), layer(x, causal=True))


# ---------------------------------------------------------------- 5.4 predict

ORDER = {
    "shuffled_encoder": "yes",
    "mean_of_outputs": "no",
    "one_causal_layer": "no",
    "two_causal_layers": "yes",
    "copies_right": 0.17,
    "sorting": "yes",
    "product_after_maps": "no",
    "length_of_row": 8,
}


@pytest.mark.parametrize(
    "answer",
    [
        ORDER,
        {**ORDER, "copies_right": 1 / 6, "length_of_row": 128**0.5 / 2**0.5},
        {**ORDER, "shuffled_encoder": True, "mean_of_outputs": False, "sorting": "Yes."},
        {**ORDER, "length_of_row": torch.tensor(8.0), "copies_right": np.float64(1 / 6)},
    ],
)
def test_5_4_accepts_words_booleans_and_numbers(judge, answer):
    assert judge("5.4", answer).ok, str(judge("5.4", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("shuffled_encoder", "no", "Follow one word"),
        ("mean_of_outputs", "yes", "to their mean"),
        ("one_causal_layer", True, "where could the order enter"),
        ("two_causal_layers", "no", "early from late"),
        ("copies_right", 0, "in one order"),
        ("copies_right", 1, "finds a set"),
        ("copies_right", 1 / 3, "first letter alone"),
        ("copies_right", 1 / 27, "which three letters"),
        ("copies_right", 0.4, "too large"),
        ("copies_right", 0.2, "give 2 decimals"),
        ("copies_right", 16.67, "per cent"),
        ("sorting", "no", "depend on the order"),
        ("sorting", "perhaps", "'perhaps' is not one of"),
        ("sorting", 1, "expected a word"),
        ("product_after_maps", "yes", "stands between the rows"),
        ("length_of_row", 64, "square of the length"),
        ("length_of_row", 11.3, "what do the squares"),
        ("length_of_row", 1, "one pair"),
        ("length_of_row", math.nan, "no predictions"),
        ("length_of_row", None, "no prediction yet"),
        ("length_of_row", [8, 8], "expected a number"),
    ],
)
def test_5_4_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("5.4", {**ORDER, key: value})
    assert verdict.points == 7 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", range(3))
def test_what_5_4_says_of_layers_holds(seed):
    torch.manual_seed(seed)
    one, two = (nn.ModuleList(Block(16, 2, 32).double() for _ in range(n)) for n in (1, 2))
    words, order = torch.randn(1, 5, 16, dtype=torch.float64), torch.tensor([3, 0, 4, 1, 2])

    def read(blocks, x, causal):
        for block in blocks:
            x = block(x, causal=causal)
        return x

    torch.testing.assert_close(read(two, words[:, order], False), read(two, words, False)[:, order])
    exchanged = words[:, [1, 0, 2, 3, 4]]
    torch.testing.assert_close(read(one, words, True)[:, -1], read(one, exchanged, True)[:, -1])
    assert (read(two, words, True)[:, -1] - read(two, exchanged, True)[:, -1]).abs().max() > 1e-3


def test_what_5_4_says_of_sources_without_order_holds():
    torch.manual_seed(0)
    config = TransformerConfig(16, 16, d_model=16, n_heads=2, n_layers=2, d_ff=32, dropout=0.0, positions="none")
    model = Transformer(config).double().eval()
    mask, said = torch.ones(6, 3, dtype=torch.bool), torch.tensor([[2, 5, 7]]).expand(6, -1)
    logits = model(torch.tensor(list(itertools.permutations([5, 7, 9]))), mask, said)
    torch.testing.assert_close(logits, logits[:1].expand_as(logits))


def test_what_5_4_says_of_sinusoids_holds():
    table = torch.tensor(waves_looped(40, 128), dtype=torch.float64)
    products = table @ table.T
    for distance in (0, 3, 17):
        row = products.diagonal(distance)
        torch.testing.assert_close(row, row[:1].expand_as(row))
    torch.manual_seed(0)
    W_q, W_k = torch.randn(2, 128, 128, dtype=torch.float64) / 128**0.5
    assert ((table @ W_q.T) @ (table @ W_k.T).T).diagonal(3).std() > 1
    assert products[0, 0].item() == pytest.approx(64)


# ---------------------------------------------------------------- 5.6 predict

COUNTS = {
    "attention": 1_050_624,
    "feed_forward": 2_099_712,
    "encoder_block": 3_152_384,
    "decoder_block": 4_204_032,
    "shared": 63_082_496,
    "three_matrices": 100_970_496,
}


@pytest.mark.parametrize(
    "answer", [COUNTS, {key: float(n) for key, n in COUNTS.items()}, {key: torch.tensor(n) for key, n in COUNTS.items()}]
)
def test_5_6_accepts_the_counts(judge, answer):
    assert judge("5.6", answer).ok, str(judge("5.6", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("attention", 4 * 512 * 512, "biases are missing"),
        ("attention", 8 * 1_050_624, "Heads do not multiply"),
        ("attention", 3 * 512 * 513, "goes through a map, too"),
        ("attention", 1.05, "not a whole number"),
        ("attention", 1_050_624 - 512, "Which linear layers have no bias?"),
        ("feed_forward", 2_099_712 - 512, "Which linear layers have no bias?"),
        ("encoder_block", 3_152_384 - 512, "Which linear layers have no bias?"),
        ("shared", 63_082_496 - 18 * 512, "Which linear layers have no bias?"),
        ("three_matrices", 100_970_496 - 18 * 512, "Which linear layers have no bias?"),
        ("feed_forward", 2 * 512 * 2048, "biases are missing"),
        ("feed_forward", 512 * 2048 + 2048, "one down again"),
        ("encoder_block", 1_050_624 + 2_099_712, "norms are missing"),
        ("encoder_block", 1_050_624 + 2_099_712 + 1024, "both parts of the block"),
        ("encoder_block", 4_204_032, "cross-attention"),
        ("decoder_block", 3_152_384, "Cross-attention is missing"),
        ("decoder_block", 2 * 1_050_624 + 2_099_712 + 2048, "a norm of its own"),
        ("decoder_block", 4_204_031, "too small"),
        ("shared", 100_970_496, "reads both languages"),
        ("shared", 82_026_496, "One matrix serves three times"),
        ("shared", 65_000_000, "Table 3"),
        ("shared", 63.1, "not a whole number"),
        ("shared", 6 * 2 * 3_152_384 + 18_944_000, "cross-attention"),
        ("shared", 63_082_496 + 2048, "post-norm blocks end in one"),
        ("three_matrices", 63_082_496, "one shared matrix"),
        ("three_matrices", 100_970_496 + 37_000, "no bias"),
        ("three_matrices", None, "no prediction yet"),
        ("three_matrices", "100 million", "expected a number"),
    ],
)
def test_5_6_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("5.6", {**COUNTS, key: value})
    assert verdict.points == 5 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize("missing", [(1, 0, 1, 2, 18, 18), (1, 1, 2, 3, 30, 30)], ids=["attention", "everywhere"])
def test_5_6_biases_left_out_of_output_maps_are_named_in_every_part(judge, missing):
    """In a block they are as many numbers as a norm: 512 each, and two or three of them."""
    given = {key: COUNTS[key] - 512 * n for key, n in zip(COUNTS, missing)}
    verdict = judge("5.6", given)
    assert verdict.message.count("Only the last one of the model, that scores the vocabulary") == 6 - missing.count(0)
    assert "norm" not in verdict.message and verdict.points == missing.count(0)
    assert verdict.misconception == "one attention layer"


def test_5_6_a_norm_left_out_is_one_where_the_attention_is_right(judge):
    message = judge("5.6", {**COUNTS, "encoder_block": 3_152_384 - 1024, "decoder_block": 4_204_032 - 1024}).message
    assert "both parts of the block" in message and "a norm of its own" in message and "output map" not in message


@pytest.mark.parametrize("id", ["5.4", "5.6"])
def test_no_wrong_value_stands_twice_or_is_right(id, cases):
    asked = exercise(id)
    right = asked.reference(**cases(id, None)[0].args)
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert len(set(values)) == len(values) and right[item.key] not in values, item.key


@pytest.mark.parametrize(("kind", "shared"), [("shared", True), ("three_matrices", False)])
def test_5_6_counts_are_those_of_the_model(kind, shared):
    with torch.device("meta"):
        model = Transformer(TransformerConfig(37_000, 37_000, share_vocab=shared, tie_embeddings=shared))
    assert sum(parameter.numel() for parameter in model.parameters()) == COUNTS[kind]


# ---------------------------------------------------------------- 5.7 measure


def told_by_rule(pairs, blind):
    """For each letter its two forms, told apart by the letters before which each is said."""
    first, after = {}, defaultdict(Counter)
    for source, target in pairs:
        letters = source[::-1]
        first[letters[0]] = target[0]
        for before, letter, said in zip(letters, letters[1:], target[1:]):
            after[letter][said] += 1
            after["hard", before][said == first.get(letter)] += 1
    second = {letter: max(after[letter], key=lambda n: (n != first[letter], after[letter][n])) for letter in first}
    hard = {letter for letter in first if after["hard", letter][False] > after["hard", letter][True]}
    rows = []
    for source in blind:
        letters = torch.tensor(source).flip(0).tolist()
        rows.append([(second if t and letters[t - 1] in hard else first)[n] for t, n in enumerate(letters)])
    return rows


def told(pairs, blind, *, context):
    counts = defaultdict(Counter)
    for source, target in pairs:
        for t, said in enumerate(target):
            counts[context(source, t)][said] += 1
    return [[counts[context(s, t)].most_common(1)[0][0] for t in range(len(s))] for s in blind]


def told_well(pairs, blind):
    return told(pairs, blind, context=lambda s, t: (s[-1 - t], s[len(s) - t] if t else None))


def told_by_transformer(pairs, blind, *, steps=500, end=(3,)):
    size = 1 + max(max(source + target) for source, target in pairs)
    sizes = {"d_model": 64, "n_heads": 4, "n_layers": 1, "d_ff": 128, "max_len": 16}
    model = Transformer(TransformerConfig(size, size, **sizes, dropout=0.0, norm="pre", positions="learned"))
    config = TrainingConfig(steps=steps, lr=5e-3, warmup_steps=50)
    train(model, PairBatches(pairs, batch_size=64), seq2seq_loss, config)
    return greedy(model, *pad([[*source, *end] for source in blind]), max_len=12).ids


def changed(change):
    return lambda pairs, blind: [change(row) for row in told_well(pairs, blind)]


def half_forgotten(pairs, blind):
    """Right in the first three letters only."""
    return [row[:3] + [4] * len(row[3:]) for row in told_well(pairs, blind)]


def to_arrays(pairs, blind):
    return [np.array(row) for row in told_well(pairs, blind)]


@pytest.mark.parametrize("answer", [told_by_rule, told_well, to_arrays])
def test_5_7_accepts_other_ways(judge, seed, answer):
    verdict = judge("5.7", answer, seed)
    assert verdict.ok and verdict.message == "Exact match 1 on 500 blind sources.", str(verdict)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [None, 11])
def test_5_7_accepts_the_transformer(judge, seed):
    verdict = judge("5.7", told_by_transformer, seed)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize("steps", [50, 100])
def test_5_7_too_short_a_training_is_told_to_go_on(judge, steps):
    """Most of its answers have another length, too; that is not what to look at first."""
    verdict = judge("5.7", of(told_by_transformer, steps=steps))
    assert verdict.points == 0 and verdict.misconception == "trained too little", str(verdict)
    assert "Then train longer before you look for a mistake" in verdict.message and "<eos>" not in verdict.message


@pytest.mark.slow
def test_5_7_sources_without_their_end_are_asked_for_it(judge):
    verdict = judge("5.7", of(told_by_transformer, end=()))
    assert verdict.misconception == "other lengths" and "do the blind sources end in it" in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("answer", "name", "phrase"),
    [
        (of(told, context=lambda s, t: s[t]), "letter by letter", "a dictionary, and no order"),
        (of(told, context=lambda s, t: s[-1 - t]), "neighbours play no part", "two counterparts"),
        (
            of(told, context=lambda s, t: (s[-1 - t], s[-2 - t] if t + 1 < len(s) else None)),
            "the wrong neighbour",
            "on the other side",
        ),
        (lambda pairs, blind: blind, "source returned", "as they are"),
        (changed(lambda row: row[::-1]), "backwards", "from back to front"),
        (changed(lambda row: [*row, 3]), "special symbols", "special symbols"),
        (changed(lambda row: [2, *row, 3, 3, 7]), "special symbols", "follows <eos>"),
        (changed(lambda row: [2, *row]), "special symbols", "special symbols"),
        (changed(lambda row: []), "empty", "<eos> at once"),
        (changed(lambda row: row + row), "other lengths", "another length"),
        (changed(lambda row: row[: len(row) // 2]), "other lengths", "do the blind sources end in it"),
        (changed(lambda row: [4] * len(row)), "trained too little", "train longer"),
        (changed(lambda row: [4] * 12), "trained too little", "train longer"),
    ],
)
def test_5_7_names_what_went_wrong(judge, seed, answer, name, phrase):
    verdict = judge("5.7", answer, seed)
    assert verdict.points == 0 and verdict.misconception == name and phrase in verdict.message, str(verdict)


def test_5_7_between_the_marks(judge, seed):
    verdict = judge("5.7", changed(lambda row: row if len(row) < 7 else [*row[:-1], 4]), seed)
    assert verdict.points == 1 and "The mark is 0.9" in verdict.message and not verdict.misconception, str(verdict)


def test_5_7_says_how_much_is_right_where_nothing_is_known(judge, seed):
    message = judge("5.7", half_forgotten, seed).message
    assert "100 % of the first letters are right" in message and "% of all" in message


@pytest.mark.parametrize("seed", [None, 3])
def test_5_7_blind_sources_are_new(cases, seed):
    (case,) = cases("5.7", seed)
    seen = {tuple(source) for source, _ in case.args["train_pairs"]}
    blind = {tuple(source) for source in case.args["blind_sources"]}
    assert len(seen) == 5000 and len(blind) == 500 and not seen & blind
    assert all(len(source) == len(target) for source, target in case.args["train_pairs"])


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda pairs, blind: [[4]], "expected a list of 500 lists"),
        (lambda pairs, blind: 3, "got an int"),
        (lambda pairs, blind: [3] * len(blind), "expected a list of ids"),
        (lambda pairs, blind: [["a"]] * len(blind), "whole numbers"),
        (lambda pairs, blind: [[4.5]] * len(blind), "whole numbers"),
        (lambda pairs, blind: [[math.nan]] * len(blind), "whole numbers"),
        (lambda pairs, blind: [[math.inf]] * len(blind), "whole numbers"),
        (lambda pairs, blind: torch.zeros(len(blind), 8), "rows differ in length"),
        (lambda pairs, blind: pad(blind), "got 2"),
        (lambda pairs, blind: (row for row in blind), "object of type generator"),
        (lambda pairs, blind: pairs.clear(), "is a `return` missing?"),
        (lambda pairs, blind: blind[999], "IndexError"),
    ],
)
def test_5_7_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("5.7", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)
