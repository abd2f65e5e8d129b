"""How much work a model is, by formula, and how much of it this machine does in a second."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from course_lib.attention import MultiHeadAttention


class Flops(NamedTuple):
    """Floating-point operations per token, a multiplication and an addition counting as two."""

    forward: float
    training: float


def flops_per_token(model: nn.Module, context: int) -> Flops:
    """Mean work per token of a causal model such as GPT on full windows of `context` tokens.

    Counted are matrix products: each weight of a linear layer (the output layer, too; looking up an embedding is none) once per
    token, and queries with keys and weights with values for the (context + 1) / 2 words that a word sees on average. Not
    counted: norms, activations, softmax, the optimiser. Backward costs twice the forward pass (Kaplan et al. 2020, section 2.1).
    To count a model too large to build: `with torch.device("meta"): model = GPT(config)`.
    """
    if context < 1:
        raise ValueError(f"context: got {context}, expected at least 1")
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
    width = sum(m.n_heads * m.d_head for m in model.modules() if isinstance(m, MultiHeadAttention))
    forward = 2 * weights + 4 * width * (context + 1) / 2
    return Flops(forward, 3 * forward)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of weights that decoding reads for a step: matrix and bias of each linear layer once, for however many rows.

    With one row there is little else to do, so that memory sets the pace. An embedding is no linear layer: a step reads a row of it.
    """
    layers = (m for m in model.modules() if isinstance(m, nn.Linear))
    return sum(p.numel() * p.element_size() for layer in layers for p in layer.parameters(recurse=False))


def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 1024, seconds: float = 2.0) -> float:
    """Floating-point operations a second of products of two square matrices: the best of those that fit in `seconds`.

    A training run's own rate divided by this is its utilisation: how much of what the machine can do it gets out.
    """
    if size < 1:
        raise ValueError(f"size: got {size}, expected at least 1")
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _best_time(lambda: one @ other, device, seconds)


def memory_rate(device: torch.device, size: int = 2**28, seconds: float = 2.0) -> float:
    """Bytes read a second by the sum of a float32 tensor of `size` bytes: the best of those sums that fit in `seconds`.

    What it says of memory holds where `size` is more than the caches; on a CPU it is the share of memory's rate that the threads
    of PyTorch get. Decoding at batch 1 cannot be faster than this divided by `weight_bytes`, unless the weights fit in a cache.
    """
    if size < 4 or size % 4:
        raise ValueError(f"size: got {size}, expected a positive multiple of 4")
    numbers = torch.ones(size // 4, device=device)
    return size / _best_time(numbers.sum, device, seconds)


def _best_time(work: Callable[[], object], device: torch.device, seconds: float) -> float:
    """Seconds of the fastest of as many calls as fit in `seconds`, at least one; the device has finished when a call counts."""
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device.type, lambda: None)
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        wait()
        start = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - start)
    return best
