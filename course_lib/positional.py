"""Where a word stands. Attention alone cannot tell; each part here adds a vector per position to the embeddings."""

import math

import torch
from torch import Tensor, nn


class Positions(nn.Module):
    """Base: `forward(x (B, T, C), start)` adds rows start … start + T − 1 of a table (max_len, C) to x."""

    table: Tensor

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (B, T, C) → the same shape; `start` counts the words that came before x. ValueError beyond `max_len`."""
        end = start + x.shape[1]
        if end > len(self.table):
            raise ValueError(f"x: got words up to position {end}, expected at most max_len = {len(self.table)}")
        return x + self.table[start:end].to(x.dtype)


def sinusoids(n_positions: int, d_model: int, base: float = 10_000.0) -> Tensor:
    """PE[pos, 2i] = sin(pos / base^(2i / d_model)), PE[pos, 2i + 1] = cos of the same: (n_positions, d_model), float32.

    Vaswani et al. 2017, section 3.5. With an odd d_model the last sine has no cosine.
    """
    pair = torch.arange(0, d_model, 2, dtype=torch.float64)                             # 2i
    angle = torch.arange(n_positions, dtype=torch.float64)[:, None] * torch.exp(-math.log(base) * pair / d_model)
    table = torch.empty(n_positions, d_model, dtype=torch.float64)
    table[:, 0::2], table[:, 1::2] = angle.sin(), angle.cos()[:, :d_model // 2]
    return table.float()


class SinusoidalPositionalEncoding(Positions):
    """The fixed waves of `sinusoids`: nothing to learn, nothing to save."""

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        _check(max_len, d_model)
        self.register_buffer("table", sinusoids(max_len, d_model), persistent=False)


class LearnedPositionalEmbedding(Positions):
    """One learned vector per position (Gehring et al. 2017); a position never trained on stays random."""

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        _check(max_len, d_model)
        self.table = nn.Parameter(torch.randn(max_len, d_model) * 0.5**0.5)       # as long as a row of `sinusoids`


class NoPositions(Positions):
    """Control: adds nothing, so a word's place is known from masks alone."""

    def __init__(self, max_len: int, d_model: int):
        super().__init__()
        _check(max_len, d_model)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x


def _check(max_len: int, d_model: int) -> None:
    if max_len < 1 or d_model < 1:
        raise ValueError(f"max_len, d_model: got {max_len}, {d_model}, expected at least 1")


POSITIONS = {"sinusoidal": SinusoidalPositionalEncoding, "learned": LearnedPositionalEmbedding, "none": NoPositions}
