"""What a Transformer is stacked from: a residual around each part, the position-wise network, and the two kinds of block."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import KVCache, MultiHeadAttention
from course_lib.positional import LearnedPositionalEmbedding


class RMSNorm(nn.Module):
    """x / √(mean x² + ε) · gain over the last axis (Zhang & Sennrich 2019, equation 4): LayerNorm without its mean and bias."""

    def __init__(self, width: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


NORMS = {"layer": nn.LayerNorm, "rms": RMSNorm}


class PostNorm(nn.Module):
    """LayerNorm(x + part(x)), as the paper writes it (Vaswani et al. 2017, section 3.1): the sum itself is normalised.

    `norm`: what makes another norm of width d_model, RMSNorm for example.
    """

    def __init__(self, part: nn.Module, d_model: int, dropout: float = 0.0, norm: Callable[[int], nn.Module] = nn.LayerNorm):
        super().__init__()
        self.part, self.norm, self.dropout = part, norm(d_model), nn.Dropout(dropout)

    def forward(self, x: Tensor, **inputs) -> Tensor:
        return self.norm(x + self.dropout(self.part(x, **inputs)))


class PreNorm(PostNorm):
    """x + part(LayerNorm(x)), as most code has it since (Xiong et al. 2020): the sum passes every block untouched.

    A stack of these needs one more norm at its end.
    """

    def forward(self, x: Tensor, **inputs) -> Tensor:
        return x + self.dropout(self.part(self.norm(x), **inputs))


RESIDUALS = {"post": PostNorm, "pre": PreNorm}


class FeedForward(nn.Module):
    """max(0, x W₁ + b₁) W₂ + b₂, the same for every position (Vaswani et al. 2017, equation 2): (…, d_model) → (…, d_model).

    `activation` may stand for max(0, ·); bias=False leaves b₁ and b₂ out.
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0, *, bias: bool = True,
                 activation: Callable[[Tensor], Tensor] = torch.relu):
        super().__init__()
        self.up, self.down = nn.Linear(d_model, d_ff, bias), nn.Linear(d_ff, d_model, bias)
        self.activation, self.dropout = activation, nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(self.activation(self.up(x))))


class SwiGLU(nn.Module):
    """(silu(x W) ⊙ x V) W₂, a network with a gate (Shazeer 2020, equation 6): (…, d_model) → (…, d_model)."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0, *, bias: bool = True):
        super().__init__()
        self.gate, self.up, self.down = (nn.Linear(*sizes, bias) for sizes in ((d_model, d_ff), (d_model, d_ff), (d_ff, d_model)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(F.silu(self.gate(x)) * self.up(x)))


def squared_relu(x: Tensor) -> Tensor:
    """max(0, x)² (So et al. 2021, section 3)."""
    return torch.relu(x).square()


FEED_FORWARDS = {
    "relu": FeedForward,
    "gelu": partial(FeedForward, activation=partial(F.gelu, approximate="tanh")),       # the form that GPT-2 uses
    "relu2": partial(FeedForward, activation=squared_relu),
    "swiglu": SwiGLU,
}


class Block(nn.Module):
    """Self-attention, then the position-wise network, each inside its own `residual` (PreNorm, PostNorm or another class).

    Other parts are passed in: attention(d_model, n_heads) and feed_forward(d_model, d_ff, dropout) make them.
    """

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float = 0.0, residual: Callable[..., nn.Module] = PreNorm,
                 attention: Callable[..., nn.Module] = MultiHeadAttention, feed_forward: Callable[..., nn.Module] = FeedForward):
        super().__init__()
        self.attention = residual(attention(d_model, n_heads), d_model, dropout)
        self.feed_forward = residual(feed_forward(d_model, d_ff, dropout), d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, cache: KVCache | None = None,
                rotation: Tensor | None = None) -> Tensor:
        """x (B, T, d_model) → the same shape; mask, causal, cache and rotation as in MultiHeadAttention."""
        return self.feed_forward(self.attention(x, mask=mask, causal=causal, cache=cache, rotation=rotation))


class DecoderBlock(Block):
    """A block that looks back at its own words, then across at the source, then computes."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float = 0.0, residual: type[nn.Module] = PreNorm):
        super().__init__(d_model, n_heads, d_ff, dropout, residual)
        self.cross = residual(MultiHeadAttention(d_model, n_heads), d_model, dropout)

    def forward(self, x: Tensor, memory: Tensor | tuple[Tensor, Tensor], memory_mask: Tensor | None = None,
                cache: KVCache | None = None) -> Tensor:
        """x (B, T, d_model), memory (B, S, d_model) or its keys and values, memory_mask (B, 1, 1, S) → like x."""
        x = self.attention(x, causal=True, cache=cache)
        return self.feed_forward(self.cross(x, memory=memory, mask=memory_mask))


def init_xavier(module: nn.Module) -> None:
    """Xavier-uniform matrices (Glorot & Bengio 2010) and zero biases in every linear layer of `module`.

    Keys and values share one matrix; each half is drawn by its own size.
    """
    halves = {id(part.key_value) for part in module.modules() if isinstance(part, MultiHeadAttention)}
    for linear in module.modules():
        if isinstance(linear, nn.Linear):
            for weight in linear.weight.chunk(2 if id(linear) in halves else 1):
                nn.init.xavier_uniform_(weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)


INITS = {"gpt2": lambda fan_in: 0.02, "fan_in": lambda fan_in: fan_in**-0.5}


def init_normal(module: nn.Module, std: Callable[[int], float]) -> None:
    """Normal matrices and tables of width std(fan_in), zero biases: every linear layer and embedding of `module`.

    What a residual's part ends in is narrower by √(number of residuals), so that their sum stays as wide as one of them
    (Radford et al. 2019, section 2.3). A table that is also the output layer counts as one: its fan_in is d_model. A table of
    its own is looked up, a product with a single 1: its fan_in is 1.
    """
    ends = [[m for m in residual.part.modules() if isinstance(m, nn.Linear)][-1]
            for residual in module.modules() if isinstance(residual, PostNorm)]
    narrower, products = {id(linear) for linear in ends}, {id(m.weight) for m in module.modules() if isinstance(m, nn.Linear)}
    for part in module.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            width = std(part.weight.shape[1] if id(part.weight) in products else 1)
            nn.init.normal_(part.weight, std=width / len(ends)**0.5 if id(part) in narrower else width)
        elif isinstance(part, LearnedPositionalEmbedding):
            nn.init.normal_(part.table, std=std(part.table.shape[1]))
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
