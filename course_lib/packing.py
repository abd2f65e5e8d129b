"""Decoding on a CPU faster: for a while, linear layers read their matrices in the order in which the processor wants them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """What `linear` computes, for a handful of rows at a time, without gradients; a second copy of its weights.

    A product with few rows waits for memory. Two measured remedies: oneDNN's own layout, made once instead of in every call
    (half the time at 16 rows), and for one row in float32 a batch of two half products, which MKL streams (a third of the time).
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        self.linear, self.halves = linear, 2 if linear.out_features % 2 == 0 and linear.weight.dtype == torch.float32 else 1
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        weight, bias = self.linear.weight, self.linear.bias
        if x.numel() != x.shape[-1] or self.halves == 1:
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, bias, "none", [], "")
        column, half = x.reshape(1, -1).t().expand(2, -1, -1), weight.view(2, -1, x.shape[-1])          # (2, in, 1), (2, out/2, in)
        y = half @ column if bias is None else torch.baddbmm(bias.view(2, -1, 1), half, column)
        return y.view(*x.shape[:-1], -1)


@contextmanager
def packed(model: nn.Module, rows: int) -> Iterator[None]:
    """While the block runs, every nn.Linear of `model` works from a packed copy of its weights, best for inputs of `rows` rows.

        with packed(model, len(prompt)):
            said = greedy(model, prompt, eos_id=0)

    For decoding on a CPU in float32 or bfloat16; elsewhere (another device, no oneDNN) nothing changes. Weights that change
    meanwhile are not seen.
    """
    if rows < 1:
        raise ValueError(f"rows: got {rows}, expected at least 1")
    places = [(parent, name, part) for parent in model.modules() for name, part in parent.named_children()
              if type(part) is nn.Linear and part.weight.device.type == "cpu" and part.weight.dtype in (torch.float32, torch.bfloat16)]
    if torch.backends.mkldnn.is_available():
        for parent, name, part in places:
            setattr(parent, name, PackedLinear(part, rows))
    try:
        yield
    finally:
        for parent, name, part in places:
            setattr(parent, name, part)
