"""GPT (Radford et al. 2018, 2019): a stack of causal blocks that says which token comes next. Variants are rows of parts."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.attention import KVCache, MultiHeadAttention
from course_lib.blocks import FEED_FORWARDS, INITS, NORMS, Block, PreNorm, init_normal
from course_lib.positional import LearnedPositionalEmbedding, NoPositions, NoRotation, RotaryEmbedding, restarts
from course_lib.runtime import check_config, check_ids, check_segments, check_words

PLACES = {                           # name: what is added to embeddings, what turns queries and keys
    "learned": (LearnedPositionalEmbedding, NoRotation), "rotary": (NoPositions, RotaryEmbedding), "none": (NoPositions, NoRotation),
}
QK_NORMS = {"none": nn.Identity} | NORMS
ROWS = {"positions": PLACES, "norm": NORMS, "feed_forward": FEED_FORWARDS, "qk_norm": QK_NORMS, "init": INITS}


@dataclass(frozen=True)
class GPTConfig:
    """Sizes and parts, each part a row of its table in ROWS. The defaults are GPT-2's but for dropout and init."""

    vocab_size: int
    d_model: int = 768
    n_heads: int = 12
    n_layers: int = 12
    d_ff: int | None = None          # None: 4 · d_model
    max_len: int = 1024              # words a window holds
    dropout: float = 0.0             # on embeddings, hidden layers and what each part adds
    positions: str = "learned"
    norm: str = "layer"
    feed_forward: str = "gelu"
    qk_norm: str = "none"
    n_kv_heads: int | None = None    # None: n_heads; fewer share keys and values
    bias: bool = True                # of linear layers
    tie_embeddings: bool = True      # one matrix reads the words and scores them (Press & Wolf 2017)
    init: str = "fan_in"             # fan_in: std 1/√fan_in, small worlds learn faster with it; gpt2: std 0.02

    def __post_init__(self):
        object.__setattr__(self, "d_ff", 4 * self.d_model if self.d_ff is None else self.d_ff)
        object.__setattr__(self, "n_kv_heads", self.n_heads if self.n_kv_heads is None else self.n_kv_heads)
        check_config(self, ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_len", "n_kv_heads"), ROWS)


GPT2 = {name: GPTConfig(50257, d_model, n_heads, n_layers, dropout=0.1, init="gpt2") for name, d_model, n_heads, n_layers in
        (("gpt2", 768, 12, 12), ("gpt2-medium", 1024, 16, 24), ("gpt2-large", 1280, 20, 36), ("gpt2-xl", 1600, 25, 48))}


class GPTState(NamedTuple):
    """What decoding carries along: the window's words so far (N, t), how many of them are padding (N,), and a cache per layer."""

    ids: Tensor
    padding: Tensor | None
    caches: tuple[KVCache, ...]


class GPT(nn.Module):
    """`forward` scores all places at once; `start`, `step`, `reorder` go on from a prompt (generation.py)."""

    def __init__(self, config: GPTConfig):
        super().__init__()
        c, self.config = config, config
        parts = (partial(PreNorm, norm=NORMS[c.norm]),
                 partial(MultiHeadAttention, n_kv_heads=c.n_kv_heads, bias=c.bias, norm=QK_NORMS[c.qk_norm]),
                 partial(FEED_FORWARDS[c.feed_forward], bias=c.bias))
        self.blocks = nn.ModuleList(Block(c.d_model, c.n_heads, c.d_ff, c.dropout, *parts) for _ in range(c.n_layers))
        adds, turns = PLACES[c.positions]
        self.positions, self.rotation = adds(c.max_len, c.d_model), turns(c.max_len, c.d_model // c.n_heads)
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.norm, self.dropout = NORMS[c.norm](c.d_model), nn.Dropout(c.dropout)
        self.output = nn.Linear(c.d_model, c.vocab_size, bias=False)
        if c.tie_embeddings:
            self.output.weight = self.embedding.weight
        init_normal(self, INITS[c.init])

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """ids (B, T) → logits (B, T, V). mask (B, T), True = a word: needed for padding on the left, harmless for padding on the right.

        segments (B, T), 0 … 0, 1 … 1, 2 …, in place of a mask: several texts share a row, and none sees another. Positions count from
        a text's first word. ValueError for ids outside the vocabulary, or more than `max_len` in a row.
        """
        check_words("ids", ids, "mask", mask, self.config.vocab_size, self.config.max_len)
        start = 0 if mask is None else -mask.int().argmax(1)                            # minus the padding on the left
        if segments is not None:
            if mask is not None:
                raise ValueError("mask, segments: got both, expected one of them: padding behind the texts is a segment of its own")
            check_segments(segments, ids)
            mask, start = segments[:, :, None] == segments[:, None], restarts(segments)             # (B, T, T), (B, T)
        return self.output(self.read(ids, mask, start, (None,) * len(self.blocks)))

    def read(self, ids: Tensor, mask: Tensor | None, start: int | Tensor, caches: tuple[KVCache | None, ...]) -> Tensor:
        """ids (B, T), which follow S − T words in the caches; mask (B, S) or (B, T, S) → the last layer's (B, T, d_model)."""
        x = self.dropout(self.positions(self.embedding(ids), start))
        rotation = self.rotation(ids.shape[1], start)
        if mask is not None:
            mask = mask[:, None] if mask.dim() == 3 else mask[:, None, None]            # (B, 1, T, S) or (B, 1, 1, S)
        for block, cache in zip(self.blocks, caches):
            x = block(x, mask, True, cache, rotation)
        return self.norm(x)

    def start(self, prompt: Tensor, prompt_mask: Tensor | None = None, chunk: int | None = None) -> tuple[Tensor, GPTState]:
        """Read a prompt (B, T), padded on the left where prompt_mask (B, T) is False: its last words (B,), and the state before them.

        chunk: read so many words at a time, which bounds the memory that a long prompt takes.
        """
        check_words("prompt", prompt, "prompt_mask", prompt_mask, self.config.vocab_size, self.config.max_len)
        if prompt_mask is not None and not prompt_mask[:, -1].all():
            raise ValueError("prompt_mask: got padding at the end of a row, expected padding on the left")
        if chunk is not None and chunk < 1:
            raise ValueError(f"chunk: got {chunk}, expected at least 1")
        padding = None if prompt_mask is None or prompt_mask.all() else (~prompt_mask).sum(1)
        state = self.empty(prompt, padding)
        for piece in prompt[:, :-1].split(chunk or self.config.max_len, dim=1):
            _, state = self.advance(piece, state)
        return prompt[:, -1], state

    def empty(self, ids: Tensor, padding: Tensor | None) -> GPTState:
        """The state before any word, for as many rows as `ids` has."""
        return GPTState(ids[:, :0], padding, tuple(KVCache(self.config.max_len) for _ in self.blocks))

    def step(self, token: Tensor, state: GPTState) -> tuple[Tensor, GPTState]:
        """Feed the words just said (N,): logits for the next ones (N, V) and the new state, which shares the old one's caches.

        When the window is full, all rows forget its older half and read the rest again: on average one more word read per word said.
        """
        check_ids("token", token, self.config.vocab_size)
        if state.ids.shape[1] == self.config.max_len:
            forgotten = self.config.max_len - self.config.max_len // 2
            padding = None if state.padding is None else (state.padding - forgotten).clamp(min=0)
            _, state = self.advance(state.ids[:, forgotten:], self.empty(state.ids, padding))
        x, state = self.advance(token[:, None], state)
        return self.output(x).squeeze(1), state

    def advance(self, ids: Tensor, state: GPTState) -> tuple[Tensor, GPTState]:
        """Read the next words (N, T): what the last layer makes of them (N, T, d_model), and the state after them."""
        start, words, mask = state.ids.shape[1], torch.cat([state.ids, ids], dim=1), None           # words (N, start + T)
        if state.padding is not None:
            mask = torch.arange(words.shape[1], device=ids.device) >= state.padding[:, None]
            start = start - state.padding
        return self.read(ids, mask, start, state.caches), state._replace(ids=words)

    def reorder(self, state: GPTState, index: Tensor) -> GPTState:
        """The state of row index[n] for each n (beam search keeps some hypotheses and drops others)."""
        padding = None if state.padding is None else state.padding[index]
        return GPTState(state.ids[index], padding, tuple(cache.reorder(index) for cache in state.caches))
