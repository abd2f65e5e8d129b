"""Work per token against torch's own counter and a count by hand; the machine's rate."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from course_lib.attention import scaled_dot_product_attention
from course_lib.models.gpt import GPT, GPT2, GPTConfig
from course_lib.speed import flops_per_token, matmul_rate


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
