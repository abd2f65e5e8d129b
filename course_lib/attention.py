"""Attention: a query looks into a memory and takes away a weighted mean, the context. Masks are boolean, True = may attend.

First the attention of recurrent decoders, one query at a time. Its classes have the same two methods, so a decoder does not
know which one it holds: `prepare(annotations, mask, final)` does once per sentence what does not depend on the query, and
`forward(query, memory)` gives the context (B, E) and the weights (B, S). Then the Transformer's: all queries at once, in heads.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.positional import rotate


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


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """softmax(Q Kᵀ / √D) V (Vaswani et al. 2017, equation 1): the contexts (…, T, E) and the weights (…, T, S).

    query (…, T, D), key (…, S, D), value (…, S, E), mask broadcast to (…, T, S). The form to read; models run `FusedAttention`.
    """
    scores = query @ key.transpose(-2, -1) / query.shape[-1]**0.5                       # (…, T, S)
    weights = scores.softmax(-1) if mask is None else masked_softmax(scores, mask)
    return weights @ value, weights


def causal_mask(n_queries: int, n_keys: int, device: torch.device | None = None) -> Tensor:
    """(T, S), True where a query may look: the last query at every key, each one before it at one key fewer.

        causal_mask(2, 3)  →  [[True, True, False], [True, True, True]]
    """
    return torch.ones(n_queries, n_keys, dtype=torch.bool, device=device).tril(n_keys - n_queries)


class FusedAttention(nn.Module):
    """`scaled_dot_product_attention` by torch's kernels, which never hold all the weights at once. Has no parameters.

    forward(query (B, H, T, D), key and value (B, K, S, D), mask, causal) → (B, H, T, D); a query with no key left gets zeros.
    """

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.dropout = dropout

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        mask, is_causal = self.choose(query, key, mask, causal)
        return F.scaled_dot_product_attention(query, key, value, mask, self.dropout if self.training else 0.0, is_causal,
                                              enable_gqa=query.shape[1] != key.shape[1])

    @staticmethod
    def choose(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> tuple[Tensor | None, bool]:
        """(mask, is_causal) for the kernel. Its own causal mask starts at the first key, so it is right only when T = S."""
        n_queries, n_keys = query.shape[-2], key.shape[-2]
        if not causal or n_queries == 1:                                                # the newest word may look at all
            return mask, False
        if mask is None and n_queries == n_keys:
            return None, True
        corner = causal_mask(n_queries, n_keys, query.device)
        return corner if mask is None else mask & corner, False


def causal_weights(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """The weights (B, H, T, S) with which `FusedAttention` averages values, by the formula; its first, second and last arguments."""
    key = _per_query_head(key, query)                                                   # (B, H, S, D)
    if causal:
        corner = causal_mask(query.shape[2], key.shape[2], query.device)
        mask = corner if mask is None else mask & corner
    return scaled_dot_product_attention(query, key, key[..., :0], mask)[1]


def _per_query_head(x: Tensor, query: Tensor) -> Tensor:
    groups = query.shape[1] // x.shape[1]
    return x if groups == 1 else x.repeat_interleave(groups, dim=1)


class WrittenAttention(FusedAttention):
    """What `FusedAttention` computes, by matrix products that hold all the weights.

    For training in bfloat16 on a CPU with short windows: there the backward pass of torch's kernel takes most of it. Measured
    with 64 words: a training step in 0.73 of the time, compiled in 0.54; in float32 no gain.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        weights = causal_weights(query, key, mask, causal)                              # (B, H, T, S)
        return F.dropout(weights, self.dropout, self.training) @ _per_query_head(value, query)


class KVCache:
    """Keys and values (B, K, T, D) of the words read so far, in buffers for `capacity` words that double when they are full.

    `append` writes in place: once a decoding state has been stepped, only the state that came out may be used.
    """

    def __init__(self, capacity: int = 16):
        self.buffers: tuple[Tensor, Tensor] | None = None
        self.length, self.capacity = 0, capacity

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add what T new words bring, each (B, K, T, D); return all of it, (B, K, length, D)."""
        end = self.length + key.shape[2]
        if self.buffers is None or end > self.buffers[0].shape[2]:
            old = self.read() if self.length else (key[:, :, :0], value[:, :, :0])
            self.capacity = self.capacity if end <= self.capacity else 2 * end
            room = (*key.shape[:2], self.capacity, key.shape[3])
            self.buffers = tuple(part.new_empty(room) for part in (key, value))
            for buffer, part in zip(self.buffers, old):
                buffer[:, :, :self.length] = part
        for buffer, part in zip(self.buffers, (key, value)):
            buffer.narrow(2, self.length, key.shape[2]).copy_(part)
        self.length = end
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """All keys and all values, (B, K, length, D)."""
        keys, values = self.buffers
        return keys.narrow(2, 0, self.length), values.narrow(2, 0, self.length)

    def reorder(self, index: Tensor) -> "KVCache":
        """A new cache with row index[n] for each n; of room that is still free it copies no more than the words take."""
        moved = KVCache(self.capacity)
        moved.buffers = self.buffers and tuple(buffer[:, :, :max(16, 2 * self.length)][index] for buffer in self.buffers)
        moved.length = self.length
        return moved


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each in D = d_model / H dimensions of its own (Vaswani et al. 2017, section 3.2.2).

    Groups of H / K query heads may share keys and values: n_kv_heads = K (Ainslie et al. 2023); default K = H. `norm(D)` makes
    what queries and keys pass, each head by itself, before they meet (QK-norm, Henry et al. 2020); by default nothing.
    """

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int | None = None, dropout: float = 0.0, *, bias: bool = True,
                 norm: Callable[[int], nn.Module] = nn.Identity):
        super().__init__()
        n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
        if d_model < 1 or n_heads < 1 or d_model % n_heads:
            raise ValueError(f"n_heads: got {n_heads}, expected a divisor of d_model, {d_model}")
        if n_kv_heads < 1 or n_heads % n_kv_heads:
            raise ValueError(f"n_kv_heads: got {n_kv_heads}, expected a divisor of n_heads, {n_heads}")
        self.n_heads, self.n_kv_heads, self.d_head = n_heads, n_kv_heads, d_model // n_heads
        self.query = nn.Linear(d_model, d_model, bias)
        self.key_value = nn.Linear(d_model, 2 * n_kv_heads * self.d_head, bias)
        self.out = nn.Linear(d_model, d_model, bias)
        self.query_norm, self.key_norm = norm(self.d_head), norm(self.d_head)
        self.kernel = FusedAttention(dropout)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, n·D) → (B, n, T, D): every head sees its own D numbers of each word."""
        return x.unflatten(-1, (-1, self.d_head)).transpose(1, 2)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """What may be looked at: memory (B, S, d_model) → keys and values (B, K, S, D)."""
        key, value = self.split(self.key_value(memory)).chunk(2, dim=1)
        return self.key_norm(key), value

    def forward(self, x: Tensor, memory: Tensor | tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None,
                causal: bool = False, cache: KVCache | None = None, rotation: Tensor | None = None) -> Tensor:
        """x (B, T, d_model) → the same shape. It looks into itself, or into `memory` (B, S, d_model) or what `keys_values` made of it.

        mask broadcasts to (B, H, T, S); causal: no word sees a later one; cache: the words of x follow those in the cache;
        rotation: turns queries and keys of x by its words' positions (see RotaryEmbedding).
        """
        query = self.query_norm(self.split(self.query(x)))                              # (B, H, T, D)
        key, value = memory if isinstance(memory, tuple) else self.keys_values(x if memory is None else memory)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        if cache is not None:
            key, value = cache.append(key, value)
        heads = self.kernel(query, key, value, mask, causal)                            # (B, H, T, D)
        return self.out(heads.transpose(1, 2).flatten(2))                               # (B, T, d_model)


def _weights_of(module: nn.Module, inputs: tuple, output: Any) -> Tensor:
    """The weights behind one forward pass of an attention module: its own, or those the kernel never wrote down."""
    return output[1] if isinstance(module, Attention) else causal_weights(inputs[0], inputs[1], *inputs[3:])


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the weights of every attention module while the block runs: name → a list with one tensor a call.

        with record_attention(model) as maps:
            model(source, source_mask, target_in)
        maps["attention"][0]              # chapter 03's model: (B, S), one for each decoder step
        maps["decoder.2.cross"][0]        # a Transformer: (B, H, T, S), one for each pass

    Only uncompiled models can be recorded. Outside the block nothing is kept.
    """
    kinds = (Attention, FusedAttention)
    modules = {name.removesuffix(".kernel").removesuffix(".part"): module for name, module in model.named_modules()
               if isinstance(module, kinds)}
    if not modules:
        raise ValueError(f"model: {type(model).__name__} holds no attention module to record")
    maps: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        maps[name].append(_weights_of(module, inputs, output).detach())

    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()
