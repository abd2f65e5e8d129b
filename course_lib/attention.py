"""Attention: a query looks into a memory of annotations and takes away a weighted mean, the context.

Every class here has the same two methods, so a decoder does not know which one it holds:
`prepare(annotations, mask, final)` does once per sentence what does not depend on the query, and
`forward(query, memory)` gives the context (B, E) and the weights (B, S). Masks are boolean, True = may attend.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Memory(NamedTuple):
    """What a decoder may look into: keys (B, S, A) to compare with, values (B, S, E) to average, mask (B, S)."""

    keys: Tensor
    values: Tensor
    mask: Tensor


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis where `mask` is True; exactly 0 elsewhere, and 0 throughout a row that is masked whole."""
    filled = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return filled.softmax(-1).masked_fill(~mask, 0)


def attend(scores: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Scores (B, S) → context c = Σ_j α_j v_j (B, E) and weights α (B, S) (Bahdanau et al. 2015, equations 5 and 6)."""
    weights = masked_softmax(scores, memory.mask)
    return (weights[:, None, :] @ memory.values).squeeze(1), weights


class Attention(nn.Module):
    """Base of all attention over a source sentence; `d_context` is the width E of the context it returns."""

    def __init__(self, d_query: int, d_annotation: int, d_final: int, d_attention: int):
        super().__init__()
        self.d_context = d_annotation

    def prepare(self, annotations: Tensor, mask: Tensor, final: Tensor) -> Memory:
        """annotations (B, S, E), mask (B, S), final encoder state (B, F) → Memory. Runs once per sentence."""
        return Memory(annotations, annotations, mask)

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        """e_ij = a(query (B, Q), key_j) for each key: (B, S), not yet masked."""
        raise NotImplementedError

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        return attend(self.scores(query, memory), memory)


class AdditiveAttention(Attention):
    """e_ij = vᵀ tanh(W s_{i−1} + U h_j) (Bahdanau et al. 2015, appendix A.1.2). U h_j is computed once per sentence."""

    def __init__(self, d_query: int, d_annotation: int, d_final: int, d_attention: int):
        super().__init__(d_query, d_annotation, d_final, d_attention)
        self.query = nn.Linear(d_query, d_attention, bias=False)
        self.key = nn.Linear(d_annotation, d_attention)
        self.score = nn.Parameter(torch.empty(d_attention).uniform_(-d_attention**-0.5, d_attention**-0.5))

    def prepare(self, annotations: Tensor, mask: Tensor, final: Tensor) -> Memory:
        return Memory(self.key(annotations), annotations, mask)                         # keys (B, S, A)

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        return torch.tanh(memory.keys + self.query(query)[:, None, :]) @ self.score     # (B, S)


class DotAttention(Attention):
    """e_ij = s_iᵀ h_j (Luong et al. 2015, equation 8, "dot"). Query and annotations need the same width."""

    def __init__(self, d_query: int, d_annotation: int, d_final: int, d_attention: int):
        super().__init__(d_query, d_annotation, d_final, d_attention)
        if d_query != d_annotation:
            raise ValueError(f"d_query, d_annotation: got {d_query} and {d_annotation}, expected equal widths for a dot product")

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        return (memory.keys @ query[..., None]).squeeze(-1)                             # (B, S)


class GeneralAttention(Attention):
    """e_ij = s_iᵀ W h_j (Luong et al. 2015, equation 8, "general"). W h_j is computed once per sentence."""

    def __init__(self, d_query: int, d_annotation: int, d_final: int, d_attention: int):
        super().__init__(d_query, d_annotation, d_final, d_attention)
        self.key = nn.Linear(d_annotation, d_query, bias=False)

    def prepare(self, annotations: Tensor, mask: Tensor, final: Tensor) -> Memory:
        return Memory(self.key(annotations), annotations, mask)                         # keys (B, S, Q)

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        return (memory.keys @ query[..., None]).squeeze(-1)                             # (B, S)


class UniformAttention(Attention):
    """Control: every word the same weight, so the context is the mean annotation, whatever the query asks."""

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        return torch.zeros_like(memory.values[..., 0])                                  # (B, S)


class LastAttention(Attention):
    """Control: all weight on the last word's annotation, one fixed vector for the whole sentence."""

    def prepare(self, annotations: Tensor, mask: Tensor, final: Tensor) -> Memory:
        last = mask & ~mask.roll(-1, dims=1).index_fill(1, torch.tensor([mask.shape[1] - 1], device=mask.device), False)
        return Memory(annotations, annotations, last)

    def scores(self, query: Tensor, memory: Memory) -> Tensor:
        return torch.zeros_like(memory.values[..., 0])                                  # (B, S)


class FixedContext(Attention):
    """No attention: the encoder's final state is the one context of every step (Cho et al. 2014). A memory with one slot."""

    def __init__(self, d_query: int, d_annotation: int, d_final: int, d_attention: int):
        super().__init__(d_query, d_annotation, d_final, d_attention)
        self.d_context = d_final

    def prepare(self, annotations: Tensor, mask: Tensor, final: Tensor) -> Memory:
        slot = final[:, None, :]                                                        # (B, 1, F)
        return Memory(slot, slot, mask.any(1, keepdim=True))

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        return memory.values[:, 0], memory.mask.to(memory.values.dtype)                 # (B, F), (B, 1)


ATTENTIONS = {"none": FixedContext, "additive": AdditiveAttention, "dot": DotAttention, "general": GeneralAttention,
              "uniform": UniformAttention, "last": LastAttention}


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the weights of every attention module while the block runs: name → a list of (B, S), one a step.

        with record_attention(model) as maps:
            model(source, source_mask, target_in)
        weights = torch.stack(maps["attention"], dim=1)      # (B, T, S)

    Only uncompiled models can be recorded. Outside the block nothing is kept.
    """
    maps: dict[str, list[Tensor]] = {name: [] for name, module in model.named_modules() if isinstance(module, Attention)}
    if not maps:
        raise ValueError(f"model: {type(model).__name__} holds no attention module to record")
    hooks = [module.register_forward_hook(lambda _, __, output, name=name: maps[name].append(output[1].detach()))
             for name, module in model.named_modules() if name in maps]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
