"""Decoding on a CPU faster: for a while, linear layers read their matrices in the order in which the processor wants them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """What `linear` computes, from a copy of its weights in oneDNN's own layout: made once, not in every call.

    Measured: half the time for 16 rows. `rows`: how many the layout is best for.
    """

    def __init__(self, linear: nn.Linear, rows: int):
        super().__init__()
        self.bias, self.packed = linear.bias, torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


class HalvedLinear(nn.Module):
    """What `linear` computes; a single row as a batch of two half products, for which MKL streams the weights.

    Measured: a third of the time of the plain product of a matrix and a vector, which waits for memory.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.linear, self.halves = linear, linear.weight.detach().view(2, -1, linear.in_features)      # (2, out / 2, in)
        bias = torch.zeros_like(linear.weight[:, 0]) if linear.bias is None else linear.bias.detach()
        self.bias = bias.view(2, -1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        if x.numel() != x.shape[-1]:
            return self.linear(x)
        column = x.reshape(1, -1).t().expand(2, -1, -1)                                 # (2, in, 1)
        return torch.baddbmm(self.bias, self.halves, column).view(*x.shape[:-1], -1)


def _faster(linear: nn.Linear, rows: int) -> nn.Module:
    halves = rows == 1 and linear.weight.dtype == torch.float32 and linear.out_features % 2 == 0
    return HalvedLinear(linear) if halves else PackedLinear(linear, rows)


@contextmanager
def packed(model: nn.Module, rows: int) -> Iterator[None]:
    """While the block runs, every nn.Linear of `model` multiplies in a way that is faster for inputs of `rows` rows.

        with packed(model, len(prompt)):
            said = greedy(model, prompt, eos_id=0)

    For decoding on a CPU in float32 or bfloat16, without gradients; elsewhere (another device, no oneDNN) nothing changes. Of
    weights that change meanwhile a packed layer sees nothing.
    """
    if rows < 1:
        raise ValueError(f"rows: got {rows}, expected at least 1")
    places = [(parent, name, part) for parent in model.modules() for name, part in parent.named_children()
              if type(part) is nn.Linear and part.weight.device.type == "cpu" and part.weight.dtype in (torch.float32, torch.bfloat16)]
    if torch.backends.mkldnn.is_available():
        for parent, name, part in places:
            setattr(parent, name, _faster(part, rows))
    try:
        yield
    finally:
        for parent, name, part in places:
            setattr(parent, name, part)
