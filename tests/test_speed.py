"""Work per token against torch's own counter and a count by hand; bytes of weights; the machine's rates."""

import time

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.attention import scaled_dot_product_attention
from course_lib.models.gpt import GPT, GPT2, GPTConfig
from course_lib.speed import flops_per_token, matmul_rate, memory_rate, weight_bytes


class Readable(nn.Module):
    """Attention as matrix products, which torch's counter sees; it computes the square that a causal mask would halve."""

    def forward(self, query, key, value, mask, causal):
        groups = query.shape[1] // key.shape[1]
        return scaled_dot_product_attention(query, *(part.repeat_interleave(groups, dim=1) for part in (key, value)))[0]


@pytest.mark.parametrize("parts", [{}, {"n_kv_heads": 1, "feed_forward": "swiglu", "bias": False}, {"tie_embeddings": False}])
def test_the_formula_is_what_torch_counts(parts):
    model, length = GPT(GPTConfig(23, 16, 4, 3, max_len=32, **parts)), 10
    for block in model.blocks:
        block.attention.part.kernel = Readable()
    with FlopCounterMode(display=False) as forward:
        logits = model(torch.zeros(2, length, dtype=torch.long))
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    unseen = 4 * 16 * 3 * (length - 1) / 2                              # of the square, above its diagonal, per token
    work = flops_per_token(model, length)
    assert work.forward == forward.get_total_flops() / (2 * length) - unseen
    assert work.training == work.forward + backward.get_total_flops() / (2 * length) - 2 * unseen


def test_the_work_of_gpt2_is_about_two_operations_per_weight():
    with torch.device("meta"):
        model = GPT(GPT2["gpt2"])
    weights = 12 * 12 * 768**2 + 50257 * 768
    assert flops_per_token(model, 1024) == pytest.approx(
        (2 * weights + 4 * 12 * 768 * 512.5, 6 * weights + 12 * 12 * 768 * 512.5), rel=1e-12)
    assert flops_per_token(model, 1).forward == 2 * weights + 4 * 12 * 768
    with pytest.raises(ValueError, match="context: got 0, expected at least 1"):
        flops_per_token(model, 0)


def test_a_rate_is_positive_and_larger_products_do_not_hide_it():
    rate = matmul_rate(torch.device("cpu"), size=256, seconds=0.05)
    assert 1e8 < rate < 1e14
    assert matmul_rate(torch.device("cpu"), torch.bfloat16, size=64, seconds=0) > 0
    with pytest.raises(ValueError, match="size: got 0, expected at least 1"):
        matmul_rate(torch.device("cpu"), size=0)


def test_decoding_reads_each_linear_layer_once():
    model = GPT(GPTConfig(23, 16, 4, 3, max_len=32))
    matrices = 3 * (4 * 16 * 16 + 2 * 16 * 64) + 23 * 16                   # the output's matrix is the embedding's, read once
    biases = sum(m.bias.numel() for m in model.modules() if isinstance(m, nn.Linear) and m.bias is not None)
    assert weight_bytes(model) == 4 * (matrices + biases) and biases
    assert weight_bytes(model.bfloat16()) == 2 * (matrices + biases)
    assert weight_bytes(nn.Embedding(9, 9)) == 0 and weight_bytes(nn.Linear(3, 5)) == 4 * 20


def test_a_memory_rate_is_bytes_by_the_time_of_the_fastest_sum(monkeypatch):
    times = iter([0.0, 0.0, 4.0, 4.0, 4.0, 6.0, 6.0, 6.0, 9.0, 9.0])       # sums of 4, 2 and 3 seconds, the clock between them
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert memory_rate(torch.device("cpu"), size=4000, seconds=9.0) == 2000
    monkeypatch.undo()
    assert 1e8 < memory_rate(torch.device("cpu"), size=2**22, seconds=0.05) < 1e13
    for size in (0, 3, 6, -4):
        with pytest.raises(ValueError, match=f"size: got {size}, expected a positive multiple of 4"):
            memory_rate(torch.device("cpu"), size=size)
