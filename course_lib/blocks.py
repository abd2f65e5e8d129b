"""What a Transformer is stacked from: a residual around each part, the position-wise network, and the two kinds of block."""

import torch
from torch import Tensor, nn

from course_lib.attention import KVCache, MultiHeadAttention


class PostNorm(nn.Module):
    """LayerNorm(x + part(x)), as the paper writes it (Vaswani et al. 2017, section 3.1): the sum itself is normalised."""

    def __init__(self, part: nn.Module, d_model: int, dropout: float = 0.0):
        super().__init__()
        self.part, self.norm, self.dropout = part, nn.LayerNorm(d_model), nn.Dropout(dropout)

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
    """max(0, x W₁ + b₁) W₂ + b₂, the same for every position (Vaswani et al. 2017, equation 2): (…, d_model) → (…, d_model)."""

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0):
        super().__init__()
        self.up, self.down, self.dropout = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model), nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.dropout(torch.relu(self.up(x))))


class Block(nn.Module):
    """Self-attention, then the position-wise network, each inside its own `residual` (PreNorm, PostNorm or another class)."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float = 0.0, residual: type[nn.Module] = PreNorm):
        super().__init__()
        self.attention = residual(MultiHeadAttention(d_model, n_heads), d_model, dropout)
        self.feed_forward = residual(FeedForward(d_model, d_ff, dropout), d_model, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, cache: KVCache | None = None) -> Tensor:
        """x (B, T, d_model) → the same shape; mask, causal and cache as in MultiHeadAttention."""
        return self.feed_forward(self.attention(x, mask=mask, causal=causal, cache=cache))


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
