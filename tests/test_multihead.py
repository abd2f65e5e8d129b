"""Scaled dot-product attention, heads, caches: against loops over single numbers and against torch's own modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.attention import (
    FusedAttention,
    KVCache,
    MultiHeadAttention,
    WrittenAttention,
    causal_mask,
    record_attention,
    scaled_dot_product_attention,
)
from course_lib.models.transformer import Transformer, TransformerConfig
from tests.twins import attention_twins, copy_weights

B, H, T, S, D = 3, 4, 5, 7, 2
WIDTH = H * D
LENGTHS = torch.tensor([7, 1, 4])
PADDING = (torch.arange(S) < LENGTHS[:, None])[:, None, None]           # (B, 1, 1, S)
KINDS = {"none": (None, False), "padding": (PADDING, False), "causal": (None, True), "both": (PADDING, True)}


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def heads(n_queries=T, n_keys=S, n_kv_heads=H, dtype=torch.float64):
    """Queries, keys and values: (B, H, T, D) and twice (B, K, S, D)."""
    return (random(B, H, n_queries, D, dtype=dtype), random(B, n_kv_heads, n_keys, D, seed=1, dtype=dtype),
            random(B, n_kv_heads, n_keys, D, seed=2, dtype=dtype))


def allowed(mask, causal, n_queries=T, n_keys=S):
    """Which query may see which key, (B, 1, T, S), told in plain Python: the last query stands at the last key."""
    corner = torch.tensor([[not causal or j <= i + n_keys - n_queries for j in range(n_keys)] for i in range(n_queries)])
    return corner.expand(B, 1, n_queries, n_keys) if mask is None else corner & mask[..., :n_keys]


def grads(inputs, output):
    """Derivatives of one number made of all outputs, by each input."""
    return torch.autograd.grad((output * random(*output.shape, seed=9, dtype=output.dtype)).sum(), inputs, retain_graph=True)


# --- one attention ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("masked", [False, True])
def test_the_readable_form_equals_a_loop_over_single_numbers(masked):
    query, key, value = heads()
    mask = allowed(PADDING, False) if masked else None
    context, weights = scaled_dot_product_attention(query, key, value, mask)
    for b in range(B):
        n = int(LENGTHS[b]) if masked else S
        for h in range(H):
            q, k, v = (part[b, h].tolist() for part in (query, key, value))
            for t in range(T):
                raised = [math.exp(math.fsum(x * y for x, y in zip(q[t], k[j])) / math.sqrt(D)) for j in range(n)]
                alpha = [r / math.fsum(raised) for r in raised]
                expected = [math.fsum(a * v[j][d] for j, a in enumerate(alpha)) for d in range(D)]
                assert weights[b, h, t].tolist() == pytest.approx([*alpha, *[0] * (S - n)], rel=1e-12, abs=0)
                assert context[b, h, t].tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("n_queries", [1, T, S, S + 2])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [FusedAttention, WrittenAttention])
def test_kernel_and_readable_form_agree_in_values_and_gradients(kernel, kind, n_queries):
    mask, causal = KINDS[kind]
    inputs = [part.requires_grad_() for part in heads(n_queries)]
    seen = allowed(mask, causal, n_queries)
    expected, weights = scaled_dot_product_attention(*inputs, seen)
    got = kernel()(*inputs, mask, causal)
    close(got, expected)
    assert not weights[~seen.expand_as(weights)].any()                  # exactly 0, not about 0
    for ours, theirs in zip(grads(inputs, got), grads(inputs, expected)):
        close(ours, theirs)


def test_without_a_causal_corner_the_readable_form_is_torchs_own():
    query, key, value = heads()
    for mask in (None, allowed(PADDING, False)):
        close(scaled_dot_product_attention(query, key, value, mask)[0], F.scaled_dot_product_attention(query, key, value, mask))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("causal", [False, True])
def test_a_query_that_may_see_nothing_gets_zeros_and_gives_no_nan_gradient(dtype, causal):
    mask = PADDING.clone()
    mask[1] = False
    inputs = [part.requires_grad_() for part in heads(S, S, dtype=dtype)]
    outputs = [kernel()(*inputs, mask, causal) for kernel in (FusedAttention, WrittenAttention)]
    outputs.append(scaled_dot_product_attention(*inputs, allowed(mask, causal, S))[0])
    for output in outputs:
        assert output.dtype == dtype and output.isfinite().all()
        assert not output[1].any() and output[0].any(-1).all() and output[2].any(-1).all()
        for grad in grads(inputs, output):
            assert grad.isfinite().all() and not grad[1].any() and grad[0].any()


def test_the_causal_corner_is_at_the_bottom_right():
    assert causal_mask(3, 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert causal_mask(2, 4).int().tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert causal_mask(1, 4).int().tolist() == [[1, 1, 1, 1]]
    assert causal_mask(3, 2).int().tolist() == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("n_queries, n_keys, masked, causal, expected", [
    (4, 4, False, False, (None, False)), (4, 4, False, True, (None, True)),             # only here is the kernel's own right
    (1, 4, False, True, (None, False)), (1, 1, False, True, (None, False)), (1, 4, True, True, ("mask", False)),
    (2, 4, False, True, ("corner", False)), (4, 2, False, True, ("corner", False)), (4, 4, True, False, ("mask", False)),
    (2, 4, True, True, ("both", False)), (4, 4, True, True, ("both", False))])
def test_the_kernel_is_asked_for_the_cheapest_right_mask(n_queries, n_keys, masked, causal, expected):
    query, key, _ = heads(n_queries, n_keys)
    given_mask, corner = PADDING[..., :n_keys], causal_mask(n_queries, n_keys)
    mask, is_causal = FusedAttention.choose(query, key, given_mask if masked else None, causal)
    kind, flag = expected
    assert is_causal == flag
    wanted = {None: None, "mask": given_mask, "corner": corner, "both": given_mask & corner}[kind]
    assert mask is None if wanted is None else torch.equal(mask, wanted)


@pytest.mark.parametrize("causal", [False, True])
def test_shared_keys_and_values_serve_the_same_query_heads_in_both_kernels(causal):
    inputs = heads(S, S, n_kv_heads=2)
    close(WrittenAttention()(*inputs, PADDING, causal), FusedAttention()(*inputs, PADDING, causal))


@pytest.mark.parametrize("kind", [FusedAttention, WrittenAttention])
def test_dropout_of_weights_acts_in_training_only_and_keeps_the_mean(kind):
    kernel, inputs = kind(0.5), heads()
    dropped = torch.stack([kernel(*inputs, None, False) for _ in range(400)])
    exact = kernel.eval()(*inputs, None, False)
    assert torch.equal(exact, kernel(*inputs, None, False)) and (dropped[0] != exact).any()
    error = (dropped.mean(0) - exact).abs() / (dropped.std(0) / 20)     # in standard errors of a mean of 400
    assert error.max() < 5


# --- heads -----------------------------------------------------------------------------------------------------------

def pair(seed=0):
    """Our module and torch's with the same weights."""
    torch.manual_seed(seed)
    ours, theirs = MultiHeadAttention(WIDTH, H).double(), nn.MultiheadAttention(WIDTH, H, batch_first=True).double()
    copy_weights(attention_twins(ours, theirs))
    return ours, theirs


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_equal_torchs_multihead_attention(kind, cross):
    ours, theirs = pair()
    mask, causal = KINDS[kind]
    x = random(B, T if cross else S, WIDTH).requires_grad_()
    memory = random(B, S, WIDTH, seed=1).requires_grad_() if cross else x
    n = x.shape[1]
    got = ours(x, memory if cross else None, mask, causal)
    expected, _ = theirs(x, memory, memory, need_weights=False, key_padding_mask=None if mask is None else ~mask[:, 0, 0],
                         attn_mask=~allowed(None, True, n)[0, 0] if causal else None)
    close(got, expected)
    inputs = [x, memory] if cross else [x]
    for one, other in zip(grads(inputs, got), grads(inputs, expected)):
        close(one, other)
    for group, parameter in attention_twins(ours, theirs):
        close(torch.cat(grads(group, got)), *grads([parameter], expected))


def test_what_keys_values_made_of_a_memory_may_stand_for_it():
    ours, _ = pair()
    x, memory = random(B, T, WIDTH), random(B, S, WIDTH, seed=1)
    made = ours.keys_values(memory)
    assert [part.shape for part in made] == [(B, H, S, D)] * 2
    assert torch.equal(ours(x, made, PADDING), ours(x, memory, PADDING))


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_shared_keys_and_values_are_heads_repeated_by_hand(kind, n_kv_heads):
    """Query head h looks at key head h // (H / K); gradients of a shared head add up."""
    torch.manual_seed(0)
    shared, full = MultiHeadAttention(WIDTH, H, n_kv_heads).double(), MultiHeadAttention(WIDTH, H).double()
    index = [part * n_kv_heads + h // (H // n_kv_heads) for part in range(2) for h in range(H)]     # keys, then values
    rows = torch.tensor([head * D + d for head in index for d in range(D)])
    weights = shared.state_dict()
    full.load_state_dict(weights | {name: weights[name][rows] for name in ("key_value.weight", "key_value.bias")})
    mask, causal = KINDS[kind]
    x, memory = random(B, T, WIDTH), random(B, S, WIDTH, seed=1)
    outputs = [net(x, memory, mask, causal) for net in (shared, full)]
    close(*outputs)
    ours, theirs = (grads([net.query.weight, net.key_value.weight], out) for net, out in zip((shared, full), outputs))
    close(ours[0], theirs[0])
    close(ours[1], torch.zeros_like(ours[1]).index_add(0, rows, theirs[1]))


@pytest.mark.parametrize("n_kv_heads, share", [(None, 1), (4, 1), (2, 2), (1, 4)])
def test_sharing_saves_parameters(n_kv_heads, share):
    count = sum(p.numel() for p in MultiHeadAttention(WIDTH, H, n_kv_heads).parameters())
    assert count == (2 + 2 / share) * (WIDTH * WIDTH) + (2 + 2 / share) * WIDTH


@pytest.mark.parametrize("arguments, message", [
    ((8, 3), "n_heads: got 3, expected a divisor of d_model, 8"), ((8, 0), "n_heads: got 0, expected"),
    ((8, -2), "n_heads: got -2, expected"), ((0, 1), "n_heads: got 1, expected a divisor of d_model, 0"),
    ((8, 4, 3), "n_kv_heads: got 3, expected a divisor of n_heads, 4"), ((8, 4, 0), "n_kv_heads: got 0, expected"),
    ((8, 4, 8), "n_kv_heads: got 8, expected"), ((8, 4, -1), "n_kv_heads: got -1, expected")])
def test_numbers_of_heads_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(*arguments)


# --- the cache -------------------------------------------------------------------------------------------------------

splits = st.lists(st.integers(1, 20), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(splits)
def test_appending_in_any_pieces_equals_appending_at_once(sizes):
    key, value = random(2, 3, sum(sizes), D), random(2, 3, sum(sizes), D, seed=1)
    cache, end = KVCache(), 0
    for size in sizes:
        start, end = end, end + size
        parts = cache.append(key[:, :, start:end], value[:, :, start:end])
        assert torch.equal(parts[0], key[:, :, :end]) and torch.equal(parts[1], value[:, :, :end])
    assert cache.length == end and all(torch.equal(*both) for both in zip(cache.read(), (key, value)))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(splits)
def test_causal_attention_with_a_cache_is_causal_attention_over_all_words(sizes):
    ours, _ = pair()
    x, cache = random(B, sum(sizes), WIDTH), KVCache()
    with torch.no_grad():
        pieces = [ours(piece, causal=True, cache=cache) for piece in x.split(sizes, dim=1)]
        close(torch.cat(pieces, dim=1), ours(x, causal=True))


def test_buffers_double_so_that_few_words_are_copied():
    cache, buffers = KVCache(), {}
    for _ in range(100):
        cache.append(random(1, 1, 1, D), random(1, 1, 1, D))
        buffers[id(cache.buffers[0])] = cache.buffers[0]
    assert [buffer.shape[2] for buffer in buffers.values()] == [16, 34, 70, 142]


def test_a_cache_with_room_for_all_is_allocated_once_and_one_without_grows():
    cache, places = KVCache(40), set()
    for _ in range(40):
        cache.append(random(2, 1, 1, D), random(2, 1, 1, D))
        places.add(cache.buffers[0].data_ptr())
    assert cache.buffers[0].shape[2] == 40 and len(places) == 1
    assert cache.append(random(2, 1, 1, D), random(2, 1, 1, D))[0].shape[2] == 41
    assert cache.buffers[0].shape[2] == 82


def test_reordering_copies_no_more_room_than_the_words_take_and_finds_it_again():
    cache = KVCache(1000)
    key = random(2, 1, 30, D)
    cache.append(key, key)
    moved = cache.reorder(torch.tensor([1, 0, 1]))
    assert moved.buffers[0].shape == (3, 1, 60, D)
    more = random(3, 1, 40, D, seed=1)
    assert torch.equal(moved.append(more, more)[0], torch.cat([key[[1, 0, 1]], more], dim=2)) and moved.buffers[0].shape[2] == 1000


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_cache_keeps_dtype_and_device(dtype):
    cache = KVCache()
    for device in ["cpu", *["cuda"] * torch.cuda.is_available()]:
        cache = KVCache()
        for n in (1, 20, 1):                                            # the second makes it grow
            parts = cache.append(*(random(1, 1, n, D, dtype=dtype).to(device) for _ in range(2)))
            assert all(part.dtype == dtype and part.device.type == device for part in parts)


def test_a_reordered_cache_goes_on_by_itself():
    key, value, index = random(3, 2, 5, D), random(3, 2, 5, D, seed=1), torch.tensor([2, 0, 0, 1])
    cache = KVCache()
    cache.append(key[:, :, :4], value[:, :, :4])
    moved = cache.reorder(index)
    got = moved.append(key[index, :, 4:], value[index, :, 4:])
    assert torch.equal(got[0], key[index]) and torch.equal(got[1], value[index])
    assert cache.length == 4 and torch.equal(cache.read()[0], key[:, :, :4])            # the old one is as it was
    cache.append(-key[:, :, 4:], -value[:, :, 4:])
    assert torch.equal(moved.read()[0], key[index])                     # and writes nothing into the new one


def test_an_empty_cache_can_be_reordered():
    moved = KVCache().reorder(torch.tensor([0, 0]))
    key = random(2, 1, 3, D)
    assert moved.length == 0 and torch.equal(moved.append(key, key)[0], key)


# --- recording -------------------------------------------------------------------------------------------------------

def network(norm):
    torch.manual_seed(0)
    net = Transformer(TransformerConfig(11, 12, WIDTH, H, 2, 16, dropout=0.3, norm=norm)).double().eval()
    g = torch.Generator().manual_seed(1)
    return net, (torch.randint(4, 11, (B, S), generator=g), PADDING[:, 0, 0], torch.randint(4, 12, (B, T), generator=g))


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_recorded_weights_are_those_behind_the_output(norm):
    net, inputs = network(norm)
    passed, expected = {}, net(*inputs)
    for name, module in net.named_modules():
        if isinstance(module, FusedAttention):
            module.register_forward_hook(lambda m, args, out, name=name: passed.update({name: (args[2], out)}))
    with record_attention(net) as maps:
        assert torch.equal(net(*inputs), expected)
    parts = [*(f"encoder.{i}.attention" for i in range(2)), *(f"decoder.{i}.{x}" for i in range(2) for x in ("attention", "cross"))]
    assert sorted(maps) == sorted(parts) and all(len(found) == 1 for found in maps.values())
    for name, (weights,) in maps.items():
        value, output = passed[f"{name}.part.kernel"]
        close(weights @ value, output)
        close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        seen = allowed(None, True, T, T) if name.startswith("decoder") and name.endswith("attention") else PADDING
        assert not weights[~seen.expand_as(weights)].any() and (weights[seen.expand_as(weights)] > 0).all()
        assert not weights.requires_grad


def test_the_weights_of_shared_heads_and_of_a_cached_step_are_recorded():
    torch.manual_seed(0)
    net, cache, x, passed = MultiHeadAttention(WIDTH, H, 2).double(), KVCache(), random(B, T, WIDTH), []
    net.kernel.register_forward_hook(lambda module, args, out: passed.append((args[2], out)))
    with record_attention(net) as maps:
        whole = net(x, causal=True)
        pieces = [net(piece, causal=True, cache=cache) for piece in x.split([2, 1, 2], dim=1)]
    close(torch.cat(pieces, dim=1), whole)
    (name, found), = maps.items()
    assert name == "kernel" and [w.shape for w in found] == [(B, H, t, s) for t, s in ((T, T), (2, 2), (1, 3), (2, 5))]
    for weights, (value, output) in zip(found, passed, strict=True):
        close(weights @ torch.stack([value[:, h // 2] for h in range(H)], dim=1), output)
    start = 0
    for piece in found[1:]:
        end = start + piece.shape[2]
        close(piece, found[0][:, :, start:end, :end])
        start = end
