"""Blocks against torch's own Transformer layers with the same weights, in values and gradients; initialisation; residuals."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from course_lib.attention import KVCache, MultiHeadAttention, scaled_dot_product_attention
from course_lib.blocks import (
    FEED_FORWARDS,
    RESIDUALS,
    Block,
    DecoderBlock,
    FeedForward,
    PostNorm,
    PreNorm,
    RMSNorm,
    SwiGLU,
    init_xavier,
)
from tests.twins import block_twins, copy_weights

B, T, S, WIDTH, HEADS, D_FF = 3, 5, 7, 8, 4, 12
LENGTHS = torch.tensor([7, 1, 4])
MASK = torch.arange(S) < LENGTHS[:, None]                               # (B, S)


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def shaken(module, seed=0):
    """In float64, and with every number random: at first all norms and biases are alike, and mistaken ones would not show."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.double().parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) * 0.5)
    return module


def build(norm, kind):
    """Our block and torch's layer, with the same random weights, and which of their parameters belong together."""
    ours = shaken({nn.TransformerEncoderLayer: Block, nn.TransformerDecoderLayer: DecoderBlock}[kind](
        WIDTH, HEADS, D_FF, residual=RESIDUALS[norm]))
    theirs = kind(WIDTH, HEADS, D_FF, dropout=0.0, batch_first=True, norm_first=norm == "pre").double()
    copy_weights(block_twins(ours, theirs))
    return ours, theirs, list(block_twins(ours, theirs))


def same(twins, inputs, got, expected):
    """Equal outputs, equal derivatives by the inputs, equal derivatives by all weights."""
    close(got, expected)
    grads = []
    for output in (got, expected):
        (output * random(*output.shape, seed=9)).sum().backward()
        grads.append([x.grad for x in inputs])
        for x in inputs:
            x.grad = None
    for ours, theirs in [*zip(*grads), *((torch.cat([p.grad for p in ours]), theirs.grad) for ours, theirs in twins)]:
        close(ours, theirs)


def test_the_twins_are_all_parameters():
    """Nothing is left out of the comparisons below."""
    for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer):
        ours, theirs, twins = build("pre", kind)
        assert {id(p) for group, _ in twins for p in group} == {id(p) for p in ours.parameters()}
        assert {id(p) for _, p in twins} == {id(p) for p in theirs.parameters()}


@pytest.mark.parametrize("norm", RESIDUALS)
@pytest.mark.parametrize("causal", [False, True])
def test_a_block_equals_torchs_encoder_layer(norm, causal):
    ours, theirs, twins = build(norm, nn.TransformerEncoderLayer)
    x = random(B, S, WIDTH).requires_grad_()
    got = ours(x, mask=MASK[:, None, None], causal=causal)
    blocked = torch.ones(S, S, dtype=torch.bool).triu(1) if causal else None
    same(twins, [x], got, theirs(x, src_mask=blocked, src_key_padding_mask=~MASK))


@pytest.mark.parametrize("norm", RESIDUALS)
@pytest.mark.parametrize("padded", [False, True])
def test_a_decoder_block_equals_torchs_decoder_layer(norm, padded):
    ours, theirs, twins = build(norm, nn.TransformerDecoderLayer)
    x, memory = random(B, T, WIDTH).requires_grad_(), random(B, S, WIDTH, seed=1).requires_grad_()
    got = ours(x, memory, MASK[:, None, None] if padded else None)
    expected = theirs(x, memory, tgt_mask=torch.ones(T, T, dtype=torch.bool).triu(1),
                      memory_key_padding_mask=~MASK if padded else None)
    same(twins, [x, memory], got, expected)


@pytest.mark.parametrize("norm", RESIDUALS)
def test_a_decoder_block_word_by_word_equals_all_words_at_once(norm):
    block = shaken(DecoderBlock(WIDTH, HEADS, D_FF, residual=RESIDUALS[norm]))
    x, memory, cache = random(B, T, WIDTH), random(B, S, WIDTH, seed=1), KVCache()
    with torch.no_grad():
        made = block.cross.part.keys_values(memory)
        steps = [block(x[:, t:t + 1], made, MASK[:, None, None], cache) for t in range(T)]
        close(torch.cat(steps, dim=1), block(x, memory, MASK[:, None, None]))


# --- parts -----------------------------------------------------------------------------------------------------------

def test_the_feed_forward_network_equals_a_loop_over_single_numbers():
    net, x = shaken(FeedForward(3, 4)), random(2, 5, 3)
    up, b1, down, b2 = (p.tolist() for p in net.parameters())
    for row, got in zip(x.flatten(0, 1).tolist(), net(x).flatten(0, 1).tolist()):
        hidden = [max(0.0, math.fsum(w * a for w, a in zip(weights, row)) + b) for weights, b in zip(up, b1)]
        expected = [math.fsum(w * h for w, h in zip(weights, hidden)) + b for weights, b in zip(down, b2)]
        assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("norm", RESIDUALS)
def test_where_the_norm_stands(norm):
    """Post: what comes out is normalised. Pre: what goes into the part is, and x itself passes unchanged."""
    class Twice(nn.Module):
        def forward(self, x, times):
            self.seen = x
            return times * x
    residual, x = RESIDUALS[norm](Twice(), WIDTH).double(), 3 + 5 * random(B, T, WIDTH)
    normal = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    got = residual(x, times=2)
    close(residual.part.seen, normal if norm == "pre" else x)
    if norm == "pre":
        close(got, x + 2 * normal)
    else:
        assert got.mean(-1).abs().max() < 1e-12 and (got.var(-1, unbiased=False) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("norm", RESIDUALS)
def test_dropout_falls_on_what_a_part_adds_in_training_only(norm):
    """With all of it dropped nothing but x is left; the network inside drops its hidden layer, attention keeps its weights."""
    block, x = shaken(DecoderBlock(WIDTH, HEADS, D_FF, 0.5, RESIDUALS[norm])), random(B, T, WIDTH)
    memory, rates = random(B, S, WIDTH), {name: m.p for name, m in block.named_modules() if isinstance(m, nn.Dropout)}
    assert rates == {f"{name}.dropout": 0.5 for name in ("attention", "cross", "feed_forward", "feed_forward.part")}
    assert block.attention.part.kernel.dropout == block.cross.part.kernel.dropout == 0
    assert not torch.equal(block(x, memory), block(x, memory))
    plain = DecoderBlock(WIDTH, HEADS, D_FF, 0.0, RESIDUALS[norm]).double()
    plain.load_state_dict(block.state_dict())
    assert torch.equal(block.eval()(x, memory), plain(x, memory))
    network = shaken(FeedForward(WIDTH, D_FF, 1.0))
    assert torch.equal(network(x), network.down.bias.expand_as(x))      # nothing of the hidden layer is left
    dropped = RESIDUALS[norm](nn.Linear(WIDTH, WIDTH), WIDTH, 1.0).double()
    close(dropped(x), x if norm == "pre" else nn.functional.layer_norm(x, (WIDTH,)))


def test_a_residual_of_ones_own_goes_around_every_part():
    class Gated(nn.Module):
        """x + g · part(x) with a learned number g, which starts at 0 (Bachlechner et al. 2021)."""
        def __init__(self, part, d_model, dropout):
            super().__init__()
            self.part, self.gate = part, nn.Parameter(torch.zeros(()))

        def forward(self, x, **inputs):
            return x + self.gate * self.part(x, **inputs)
    for kind, inputs in ((Block, ()), (DecoderBlock, (random(B, S, WIDTH),))):
        block, x = kind(WIDTH, HEADS, D_FF, residual=Gated).double(), random(B, T, WIDTH)
        gates = [m for m in block.modules() if isinstance(m, Gated)]
        assert len(gates) == len(list(block.children())) == (3 if inputs else 2)
        assert torch.equal(block(x, *inputs), x)                        # gates of 0: the block does nothing
        for gated in gates:
            nn.init.ones_(gated.gate)
        out = block(x, *inputs)
        out.sum().backward()
        assert not torch.equal(out, x) and all(p.grad is not None for p in block.parameters())


def test_the_two_residuals_hold_the_same_parameters():
    weights = [Block(WIDTH, HEADS, D_FF, residual=r).state_dict() for r in (PostNorm, PreNorm)]
    assert {k: v.shape for k, v in weights[0].items()} == {k: v.shape for k, v in weights[1].items()}


@pytest.mark.parametrize("eps", [1e-5, 0.5])
def test_rms_norm_equals_the_formula_written_out(eps):
    norm, x = shaken(RMSNorm(5, eps)), random(2, 3, 5)
    for row, got in zip(x.flatten(0, 1).tolist(), norm(x).flatten(0, 1).tolist()):
        scale = math.sqrt(math.fsum(a * a for a in row) / 5 + eps)
        assert got == pytest.approx([a / scale * g for a, g in zip(row, norm.weight.tolist())], rel=1e-12)
    assert RMSNorm(5).bfloat16()(x.bfloat16()).dtype == RMSNorm(5)(x.bfloat16()).dtype == torch.bfloat16


ACTIVATIONS = {
    "relu": lambda h: max(0.0, h), "relu2": lambda h: max(0.0, h)**2,
    "gelu": lambda h: h / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))),        # Hendrycks & Gimpel 2016
}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", FEED_FORWARDS)
def test_every_feed_forward_network_equals_a_loop_over_single_numbers(name, bias):
    net, x = shaken(FEED_FORWARDS[name](3, 4, bias=bias)), random(2, 5, 3)

    def linear(layer, row):
        offsets = layer.bias.tolist() if bias else [0.0] * layer.out_features
        return [math.fsum(w * a for w, a in zip(weights, row)) + b for weights, b in zip(layer.weight.tolist(), offsets)]
    for row, got in zip(x.flatten(0, 1).tolist(), net(x).flatten(0, 1).tolist()):
        hidden = linear(net.up, row)
        if name == "swiglu":
            hidden = [h * g / (1 + math.exp(-g)) for h, g in zip(hidden, linear(net.gate, row))]
        else:
            hidden = [ACTIVATIONS[name](h) for h in hidden]
        assert got == pytest.approx(linear(net.down, hidden), rel=1e-12)
    assert sum(p.dim() == 1 for p in net.parameters()) == bias * (3 if name == "swiglu" else 2)
    dropped = FEED_FORWARDS[name](3, 4, 1.0, bias=False)
    assert not dropped(x.float()).any()                                 # nothing of the hidden layer is left


def test_a_block_takes_the_parts_it_is_given():
    attention = partial(MultiHeadAttention, n_kv_heads=2, bias=False, norm=RMSNorm)
    block = Block(WIDTH, HEADS, D_FF, 0.0, partial(PreNorm, norm=RMSNorm), attention, FEED_FORWARDS["swiglu"])
    assert isinstance(block.attention.norm, RMSNorm) and isinstance(block.feed_forward.part, SwiGLU)
    assert block.attention.part.n_kv_heads == 2 and block.attention.part.query.bias is None
    block = shaken(block)
    x, part = random(B, T, WIDTH), block.attention.part
    query, (key, value) = part.split(part.query(block.attention.norm(x))), part.keys_values(block.attention.norm(x))
    close(key, part.key_norm(part.split(part.key_value(block.attention.norm(x)))[:, :2]))
    weights = scaled_dot_product_attention(part.query_norm(query), key.repeat_interleave(2, dim=1),
                                           value.repeat_interleave(2, dim=1))[0]
    y = x + part.out(weights.transpose(1, 2).flatten(2))
    close(block(x), y + block.feed_forward.part(block.feed_forward.norm(y)))


# --- initialisation --------------------------------------------------------------------------------------------------

def uniform_to(weight, bound):
    """Whether the numbers fill [−bound, bound] evenly: none outside, and mean and variance within four standard errors."""
    n = weight.numel()
    return (weight.abs().max() <= bound and weight.abs().max() > bound * (1 - 20 / n)
            and weight.mean().abs() < 4 * bound / (3 * n)**0.5
            and (weight.square().mean() - bound**2 / 3).abs() < 4 * bound**2 * (4 / 45 / n)**0.5)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
def test_xavier_draws_each_matrix_by_its_own_size(n_kv_heads):
    torch.manual_seed(0)
    net = nn.ModuleList([DecoderBlock(64, 4, 256), MultiHeadAttention(64, 4, n_kv_heads), nn.Linear(64, 96, bias=False)])
    norms = [p.clone() for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    init_xavier(net)
    checked = 0
    for module in net.modules():
        keys_values = [m.key_value for m in net.modules() if isinstance(m, MultiHeadAttention)]
        if isinstance(module, nn.Linear):
            for matrix in module.weight.chunk(2) if any(module is m for m in keys_values) else [module.weight]:
                fan_out, fan_in = matrix.shape
                assert uniform_to(matrix.detach(), math.sqrt(6 / (fan_in + fan_out)))
                checked += 1
            assert module.bias is None or not module.bias.any()
    assert checked == 3 * 4 + 2 + 1                                     # three attentions, one network, one linear layer
    kept = [p for m in net.modules() if isinstance(m, nn.LayerNorm) for p in m.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(kept, norms, strict=True))


def test_xavier_leaves_weights_that_can_be_trained():
    block = Block(WIDTH, HEADS, D_FF)
    init_xavier(block)
    assert all(p.is_leaf and p.requires_grad for p in block.parameters())
    block(random(B, T, WIDTH).float()).sum().backward()
    assert all(p.grad is not None for p in block.parameters())
