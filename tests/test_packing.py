"""Packed linear layers compute what the plain ones do, for as long as the block runs."""

import pytest
import torch
from torch import nn

from course_lib.attention import record_attention
from course_lib.generation import greedy
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.packing import HalvedLinear, PackedLinear, packed


@torch.no_grad()
@pytest.mark.parametrize("dtype, tol", [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(12, 20), (20, 13), (7, 2), (3, 1)])
@pytest.mark.parametrize("shape", [(1,), (1, 1), (5,), (4, 3), (16, 1), (1, 0), (4, 0)])
def test_a_packed_layer_gives_what_the_layer_gives(dtype, tol, bias, sizes, shape):
    torch.manual_seed(0)
    layer, x = nn.Linear(*sizes, bias=bias).to(dtype), torch.randn(*shape, sizes[0]).to(dtype)
    expected = layer(x)
    others = [PackedLinear(layer, 1), PackedLinear(layer, 16)]
    others += [HalvedLinear(layer)] if sizes[1] % 2 == 0 else []
    for other in others:
        got = other(x)
        assert got.shape == expected.shape and got.dtype == dtype
        torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.abs().max() if expected.numel() else 1))
        strange = other(x.transpose(0, -1).contiguous().transpose(0, -1))               # however the numbers lie in memory
        torch.testing.assert_close(strange, expected, rtol=0, atol=tol * float(expected.abs().max() if expected.numel() else 1))


def model(dtype=torch.float32):
    torch.manual_seed(0)
    return GPT(GPTConfig(11, 16, 4, 2, max_len=12)).to(dtype).eval()


@pytest.mark.parametrize("batch", [1, 4])
def test_decoding_inside_the_block_says_the_same(batch):
    net, prompt = model(), torch.arange(3 * batch).view(batch, 3) % 11
    prompt = prompt if batch > 1 else prompt[:, :1]                     # of one word nothing is read before it
    plain = greedy(net, prompt, eos_id=-1, max_len=20)
    with packed(net, batch):
        kinds = [type(m) for m in net.modules() if isinstance(m, (HalvedLinear, PackedLinear))]
        assert kinds == ([HalvedLinear] * 10 + [PackedLinear] if batch == 1 else [PackedLinear] * 11)     # a vocabulary of 11 is odd
        said = greedy(net, prompt, eos_id=-1, max_len=20)
        with record_attention(net) as maps, torch.no_grad():
            net(prompt)
        assert sorted(maps) == ["blocks.0.attention", "blocks.1.attention"]
    assert said.ids == plain.ids
    torch.testing.assert_close(said.log_probs, plain.log_probs)


def test_afterwards_the_model_is_what_it_was_even_after_an_error():
    net = model()
    names, head = [name for name, _ in net.named_modules()], net.output
    with pytest.raises(KeyError), packed(net, 1):
        raise KeyError
    assert [name for name, _ in net.named_modules()] == names and net.output is head and net.output.weight is net.embedding.weight
    net(torch.zeros(1, 3, dtype=torch.long)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def test_other_precisions_stay_plain_and_bad_rows_are_named():
    net = model(torch.float64)
    with packed(net, 2):
        assert not any(isinstance(m, (HalvedLinear, PackedLinear)) for m in net.modules())
    with pytest.raises(ValueError, match="rows: got 0, expected at least 1"), packed(net, 0):
        pass
