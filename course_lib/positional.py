"""Where a word stands. Attention alone cannot tell: add a vector per position to the embeddings, or turn queries and keys."""

import math

import torch
from torch import Tensor, nn


class Positions(nn.Module):
    """Base: `forward(x (B, T, C), start)` adds rows start … start + T − 1 of a table (max_len, C) to x."""

    table: Tensor

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """x (B, T, C) → the same shape; `start`: see `rows`. ValueError beyond `max_len`."""
        return x + rows(self.table, start, x.shape[1]).to(x.dtype)


def rows(table: Tensor, start: int | Tensor, length: int) -> Tensor:
    """Rows start … start + length − 1 of a table (max_len, C): (T, C), or (B, T, C) where `start` has a number for each sentence.

    `start` counts the words that came before. A sentence with n places of padding on its left starts at −n: its padding gets
    row 0, which nobody looks at, and its first word, too. With a number for each place, (B, T), several sentences share a row (see
    `restarts`). ValueError beyond `max_len`.
    """
    last = start if isinstance(start, int) or torch.compiler.is_compiling() else int(start.max())
    if isinstance(last, int) and last + length > len(table):
        raise ValueError(f"x: got words up to position {last + length}, expected at most max_len = {len(table)}")
    if isinstance(start, int):
        return table[start:start + length]
    places = start.view(len(start), -1) + torch.arange(length, device=start.device)     # (B, T)
    return table[places.clamp(min=0)]


def restarts(segments: Tensor) -> Tensor:
    """segments (B, T), the number of the text that each place belongs to → where that text starts, negative, as `rows` wants it.

        restarts([[0, 0, 1, 1, 1]])  →  [[0, 0, −2, −2, −2]],  so positions are 0, 1, 0, 1, 2
    """
    first = torch.ones_like(segments, dtype=torch.bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    places = torch.arange(segments.shape[1], device=segments.device)
    return -(places * first).cummax(1).values                                           # (B, T)


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

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        return x


class RotaryEmbedding(nn.Module):
    """Angles by which queries and keys turn, so that their product knows only how far apart they stand (Su et al. 2021, eq. 34).

    Pair i turns by position / base^(2i / D). Pairs are the dimensions i and i + D/2, the half-split convention of Llama's
    weights on Hugging Face; the paper and Meta's files pair neighbours 2i, 2i + 1, and weights of one do not fit the other.
    """

    def __init__(self, max_len: int, d_head: int, base: float = 10_000.0):
        super().__init__()
        _check(max_len, d_head)
        if d_head % 2:
            raise ValueError(f"d_head: got {d_head}, expected an even number: rotary positions turn pairs of dimensions")
        pair = torch.arange(0, d_head, 2, dtype=torch.float64)                          # 2i
        angle = torch.arange(max_len, dtype=torch.float64)[:, None] * base**(-pair / d_head)
        self.register_buffer("table", torch.cat([angle.cos(), angle.sin()], dim=1).float(), persistent=False)     # (max_len, D)

    def forward(self, length: int, start: int | Tensor = 0) -> Tensor:
        """Cosines, then sines, of words start … start + T − 1 (see `rows`): (T, D) or (B, 1, T, D). ValueError beyond `max_len`."""
        found = rows(self.table, start, length)
        return found if isinstance(start, int) else found[:, None]


class NoRotation(nn.Module):
    """Control: queries and keys stay as they are."""

    def __init__(self, max_len: int, d_head: int):
        super().__init__()
        _check(max_len, d_head)

    def forward(self, length: int, start: int | Tensor = 0) -> None:
        return None


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair (x_i, x_{i + D/2}) by its angle: x (B, H, T, D), rotation from `RotaryEmbedding` → like x."""
    (one, other), (cos, sin) = x.chunk(2, dim=-1), rotation.to(x.dtype).chunk(2, dim=-1)      # (…, T, D/2) each
    return torch.cat([one * cos - other * sin, other * cos + one * sin], dim=-1)


def _check(max_len: int, d_model: int) -> None:
    if max_len < 1 or d_model < 1:
        raise ValueError(f"max_len, d_model: got {max_len}, {d_model}, expected at least 1")


POSITIONS = {"sinusoidal": SinusoidalPositionalEncoding, "learned": LearnedPositionalEmbedding, "none": NoPositions}
