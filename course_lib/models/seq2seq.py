"""The recurrent encoder–decoder, with or without attention (Cho et al. 2014; Sutskever et al. 2014; Bahdanau et al. 2015).

One class: what the decoder looks at is a part, `attention`, passed in by name. "none" gives it the encoder's final state and
nothing else; "additive" lets it look back at every word. Follows Bahdanau in asking with the state *before* the step, and
differs from it in the readout: one tanh layer instead of maxout.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.attention import ATTENTIONS, Memory
from course_lib.recurrent import CELLS, RecurrentEncoder
from course_lib.runtime import check_source, check_target


@dataclass(frozen=True)
class Seq2SeqConfig:
    """Sizes and parts. `attention`: none, additive, dot, general, uniform or last; `cell`: elman, gru or lstm."""

    source_vocab_size: int
    target_vocab_size: int
    d_embed: int = 128
    d_hidden: int = 256
    d_attention: int = 128
    cell: str = "gru"
    attention: str = "additive"
    bidirectional: bool = True
    dropout: float = 0.0
    tie_embeddings: bool = False     # one matrix reads the target words and scores them (Press & Wolf 2017)
    bos_id: int = 2

    def __post_init__(self):
        for name in ("source_vocab_size", "target_vocab_size", "d_embed", "d_hidden", "d_attention"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected a positive size")
        for name, choices in (("attention", ATTENTIONS), ("cell", CELLS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected one of {', '.join(choices)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}, expected 0 ≤ dropout < 1")
        if not 0 <= self.bos_id < self.target_vocab_size:
            raise ValueError(f"bos_id: got {self.bos_id}, expected 0 … {self.target_vocab_size - 1} (the target vocabulary)")


class DecoderState(NamedTuple):
    """All that decoding carries from word to word: the cell's state (N, n·H) and the memory it looks into."""

    cell: Tensor
    memory: Memory


class Seq2Seq(nn.Module):
    """Encoder, attention, decoder. `forward` is teacher forcing; `start`, `step`, `reorder` are free running (generation.py)."""

    def __init__(self, config: Seq2SeqConfig):
        super().__init__()
        c, self.config = config, config
        self.source_embedding = nn.Embedding(c.source_vocab_size, c.d_embed)
        self.target_embedding = nn.Embedding(c.target_vocab_size, c.d_embed)
        self.encoder = RecurrentEncoder(c.cell, c.d_embed, c.d_hidden, c.bidirectional)
        self.attention = ATTENTIONS[c.attention](c.d_hidden, self.encoder.d_output, self.encoder.d_state, c.d_attention)
        self.cell = CELLS[c.cell](c.d_embed, c.d_hidden)
        self.from_context = nn.Linear(self.attention.d_context, self.cell.n_gates * c.d_hidden, bias=False)
        self.bridge = nn.Linear(self.encoder.d_state, self.cell.n_states * c.d_hidden)
        self.readout = nn.Linear(c.d_embed + c.d_hidden + self.attention.d_context, c.d_embed)
        self.output = nn.Linear(c.d_embed, c.target_vocab_size)
        self.dropout = nn.Dropout(c.dropout)
        for embedding in (self.source_embedding, self.target_embedding):
            nn.init.normal_(embedding.weight, std=c.d_embed**-0.5)
        if c.tie_embeddings:
            self.output.weight = self.target_embedding.weight

    def encode(self, source: Tensor, source_mask: Tensor) -> DecoderState:
        """source (B, S) ids, source_mask (B, S), True = a word → the state before the first target word."""
        check_source(source, source_mask, self.config.source_vocab_size)
        annotations, final = self.encoder(self.dropout(self.source_embedding(source)), source_mask)  # (B, S, E), (B, F)
        return DecoderState(torch.tanh(self.bridge(final)), self.attention.prepare(annotations, source_mask, final))

    def advance(self, projected: Tensor, state: DecoderState) -> tuple[Tensor, Tensor, DecoderState]:
        """One step: ask with s_{i−1}, take the context c_i (N, E), move to s_i (N, H). Returns s_i, c_i and the new state."""
        context, _ = self.attention(self.cell.hidden(state.cell), state.memory)         # (N, E)
        gates = torch.addmm(projected, context, self.from_context.weight.T)             # (N, G·H), the sum and the map in one
        cell = self.cell.step(gates, state.cell)
        return self.cell.hidden(cell), context, DecoderState(cell, state.memory)

    def logits(self, embedded: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        """y_{i−1} (…, d_embed), s_i (…, H), c_i (…, E) → scores of every target word (…, V)."""
        found = torch.tanh(self.readout(torch.cat([embedded, hidden, context], dim=-1)))
        return self.output(self.dropout(found))

    def forward(self, source: Tensor, source_mask: Tensor, target_in: Tensor) -> Tensor:
        """Teacher forcing: source (B, S), source_mask (B, S), target_in (B, T) starting with <bos> → logits (B, T, V)."""
        check_target(target_in, source, self.config.target_vocab_size)
        state = self.encode(source, source_mask)
        embedded = self.dropout(self.target_embedding(target_in))                       # (B, T, d_embed)
        hiddens, contexts = [], []
        for projected in self.cell.project(embedded).unbind(1):                         # T times (B, G·H)
            hidden, context, state = self.advance(projected, state)
            hiddens.append(hidden)
            contexts.append(context)
        return self.logits(embedded, torch.stack(hiddens, dim=1), torch.stack(contexts, dim=1))       # (B, T, V)

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[Tensor, DecoderState]:
        """Free running: the first words to feed, <bos> (B,), and the state before them."""
        return source.new_full((source.shape[0],), self.config.bos_id), self.encode(source, source_mask)

    def step(self, token: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Feed the words just said (N,): logits for the next ones (N, V) and the new state."""
        embedded = self.target_embedding(token)                                         # (N, d_embed)
        hidden, context, state = self.advance(self.cell.project(embedded), state)
        return self.logits(embedded, hidden, context), state

    def reorder(self, state: DecoderState, index: Tensor) -> DecoderState:
        """The state of row index[n] for each n (beam search keeps some hypotheses and drops others)."""
        return DecoderState(state.cell[index], Memory(*(part[index] for part in state.memory)))
