"""The Transformer (Vaswani et al. 2017): encoder, decoder, and no position that has to wait for the one before it."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from course_lib.attention import KVCache
from course_lib.blocks import RESIDUALS, Block, DecoderBlock, init_xavier
from course_lib.positional import POSITIONS
from course_lib.runtime import check_config, check_ids, check_source, check_target


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and parts; the defaults are the paper's base model. `norm`: post (the paper) or pre; `positions`: sinusoidal,
    learned or none."""

    source_vocab_size: int
    target_vocab_size: int
    d_model: int = 512
    n_heads: int = 8
    n_layers: int = 6
    d_ff: int = 2048
    dropout: float = 0.1
    norm: str = "post"
    positions: str = "sinusoidal"
    max_len: int = 512
    tie_embeddings: bool = True      # one matrix reads the target words and scores them (Press & Wolf 2017)
    share_vocab: bool = False        # … and reads the source words, too, where both languages share one vocabulary
    bos_id: int = 2

    def __post_init__(self):
        check_config(self, ("source_vocab_size", "target_vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_len"),
                     {"norm": RESIDUALS, "positions": POSITIONS})
        if self.share_vocab and self.source_vocab_size != self.target_vocab_size:
            sizes = f"{self.source_vocab_size} and {self.target_vocab_size}"
            raise ValueError(f"share_vocab: got vocabularies of {sizes} words, expected one size")
        if not 0 <= self.bos_id < self.target_vocab_size:
            raise ValueError(f"bos_id: got {self.bos_id}, expected 0 … {self.target_vocab_size - 1} (the target vocabulary)")


class DecoderState(NamedTuple):
    """All that decoding carries from word to word: per layer its own past and the source's keys and values; the source's mask."""

    caches: tuple[KVCache, ...]
    memories: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor


class Transformer(nn.Module):
    """`forward` is teacher forcing, all positions at once; `start`, `step`, `reorder` are free running (generation.py)."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        c, self.config = config, config
        parts = (c.d_model, c.n_heads, c.d_ff, c.dropout, RESIDUALS[c.norm])
        self.source_embedding = nn.Embedding(c.source_vocab_size, c.d_model)
        self.target_embedding = nn.Embedding(c.target_vocab_size, c.d_model)
        self.source_positions, self.target_positions = (POSITIONS[c.positions](c.max_len, c.d_model) for _ in range(2))
        self.encoder = nn.ModuleList(Block(*parts) for _ in range(c.n_layers))
        self.decoder = nn.ModuleList(DecoderBlock(*parts) for _ in range(c.n_layers))
        ends = [nn.LayerNorm(c.d_model) if c.norm == "pre" else nn.Identity() for _ in range(2)]
        self.encoder_norm, self.decoder_norm = ends                                     # post-norm blocks end in one already
        self.output = nn.Linear(c.d_model, c.target_vocab_size, bias=False)
        self.dropout = nn.Dropout(c.dropout)
        init_xavier(self)
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=c.d_model**-0.5)
        if c.tie_embeddings:
            self.output.weight = self.target_embedding.weight
        if c.share_vocab:
            self.source_embedding.weight = self.target_embedding.weight

    def embed(self, ids: Tensor, embedding: nn.Embedding, positions: nn.Module, start: int = 0) -> Tensor:
        """ids (B, T) → (B, T, d_model): embeddings times √d_model, so that they stand against the positions added to them."""
        return self.dropout(positions(embedding(ids) * self.config.d_model**0.5, start))

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """source (B, S) ids, source_mask (B, S), True = a word → memory (B, S, d_model)."""
        check_source(source, source_mask, self.config.source_vocab_size)
        x = self.embed(source, self.source_embedding, self.source_positions)
        for block in self.encoder:
            x = block(x, mask=source_mask[:, None, None])                               # (B, 1, 1, S): no query sees padding
        return self.encoder_norm(x)

    def forward(self, source: Tensor, source_mask: Tensor, target_in: Tensor) -> Tensor:
        """Teacher forcing: source (B, S), source_mask (B, S), target_in (B, T) starting with <bos> → logits (B, T, V)."""
        check_target(target_in, source, self.config.target_vocab_size)
        memory = self.encode(source, source_mask)
        x = self.embed(target_in, self.target_embedding, self.target_positions)
        for block in self.decoder:
            x = block(x, memory, source_mask[:, None, None])
        return self.output(self.decoder_norm(x))

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[Tensor, DecoderState]:
        """Free running: the first words to feed, <bos> (B,), and the state before them."""
        memory = self.encode(source, source_mask)
        memories = tuple(block.cross.part.keys_values(memory) for block in self.decoder)
        caches = tuple(KVCache() for _ in self.decoder)
        return source.new_full((source.shape[0],), self.config.bos_id), DecoderState(caches, memories, source_mask[:, None, None])

    def step(self, token: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Feed the words just said (N,): logits for the next ones (N, V) and the new state, which shares the old one's caches."""
        check_ids("token", token, self.config.target_vocab_size)
        x = self.embed(token[:, None], self.target_embedding, self.target_positions, state.caches[0].length)
        for block, memory, cache in zip(self.decoder, state.memories, state.caches):
            x = block(x, memory, state.mask, cache)
        return self.output(self.decoder_norm(x)).squeeze(1), state

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """The state of row index[n] for each n (beam search keeps some hypotheses and drops others)."""
        memories = tuple((keys[index], values[index]) for keys, values in state.memories)
        return DecoderState(tuple(cache.reorder(index) for cache in state.caches), memories, state.mask[index])
