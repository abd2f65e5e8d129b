"""BERT (Devlin et al. 2019): an encoder in which every word sees both sides, pre-trained on blanks and on which text follows which."""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.attention import MultiHeadAttention
from course_lib.blocks import INITS, RESIDUALS, Block, FeedForward, init_normal
from course_lib.positional import LearnedPositionalEmbedding
from course_lib.runtime import check_config, check_ids, check_mask, check_padding, check_words

LayerNorm = partial(nn.LayerNorm, eps=1e-12)                    # the published models' ε


@dataclass(frozen=True)
class BERTConfig:
    """Sizes and parts; the defaults are BERT-base's but for init."""

    vocab_size: int
    d_model: int = 768
    n_heads: int = 12
    n_layers: int = 12
    d_ff: int | None = None          # None: 4 · d_model
    max_len: int = 512
    n_segments: int = 2
    dropout: float = 0.1
    norm: str = "post"               # post (the paper) or pre
    init: str = "fan_in"             # fan_in: std 1/√fan_in, small worlds learn faster with it; gpt2: std 0.02 (see init_normal)

    def __post_init__(self):
        object.__setattr__(self, "d_ff", 4 * self.d_model if self.d_ff is None else self.d_ff)
        check_config(self, ("vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_len", "n_segments"),
                     {"norm": RESIDUALS, "init": INITS})


BERTS = {"bert-base-uncased": BERTConfig(30522, init="gpt2"),
         "bert-large-uncased": BERTConfig(30522, 1024, 16, 24, init="gpt2")}


class BERT(nn.Module):
    """The encoder: ids to vectors. What they are used for, a head adds (`BERTForPreTraining` … `BERTForSpans`)."""

    def __init__(self, config: BERTConfig):
        super().__init__()
        c, self.config = config, config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.segments = nn.Embedding(c.n_segments, c.d_model)
        self.positions = LearnedPositionalEmbedding(c.max_len, c.d_model)
        self.norm, self.dropout = LayerNorm(c.d_model), nn.Dropout(c.dropout)
        parts = (partial(RESIDUALS[c.norm], norm=LayerNorm), partial(MultiHeadAttention, dropout=c.dropout),
                 lambda d_model, d_ff, dropout: FeedForward(d_model, d_ff, activation=F.gelu))      # no dropout between its matrices
        self.blocks = nn.ModuleList(Block(c.d_model, c.n_heads, c.d_ff, c.dropout, *parts) for _ in range(c.n_layers))
        self.end = LayerNorm(c.d_model) if c.norm == "pre" else nn.Identity()           # post-norm blocks end in one already
        self.pooler = nn.Linear(c.d_model, c.d_model)
        init_normal(self, INITS[c.init])
        for table in (self.embedding, self.segments):           # words are scored by their table, so it starts as an output layer
            nn.init.normal_(table.weight, std=INITS[c.init](c.d_model))

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        """ids (B, T) → vectors (B, T, d_model). mask (B, T), True = a word; segments (B, T), 0 for the first text, 1 for the second.

        Without a mask all are words, without segments all are of the first text. What padding, on the right, holds does not
        matter. ValueError for what lies outside the tables, and for padding on the left: [CLS] has to stand first.
        """
        check_words("ids", ids, "mask", mask, self.config.vocab_size, self.config.max_len)
        if mask is not None:
            check_padding("mask", mask)
        segments = torch.zeros_like(ids) if segments is None else segments
        if segments.shape != ids.shape:
            raise ValueError(f"segments: got shape {tuple(segments.shape)}, expected that of ids, {tuple(ids.shape)}")
        check_ids("segments", segments, self.config.n_segments)
        x = self.dropout(self.norm(self.positions(self.embedding(ids) + self.segments(segments))))
        mask = None if mask is None else mask[:, None, None]                            # (B, 1, 1, T): no word sees padding
        for block in self.blocks:
            x = block(x, mask)
        return self.end(x)

    def pool(self, x: Tensor) -> Tensor:
        """Vectors (B, T, d_model) → one for each row (B, d_model): tanh of a linear layer on the first, [CLS]."""
        return torch.tanh(self.pooler(x[:, 0]))


class WordHead(nn.Module):
    """Which word stands here: vectors (…, d_model) → logits (…, V). Its last matrix is the table that words are read from."""

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        vocab_size, d_model = embedding.weight.shape
        self.linear, self.norm = nn.Linear(d_model, d_model), LayerNorm(d_model)
        self.output = nn.Linear(d_model, vocab_size)
        self.output.weight = embedding.weight
        nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.norm(F.gelu(self.linear(x))))


class BERTForPreTraining(nn.Module):
    """Two heads on one encoder: which words stand at the blanks (MLM), and whether the second text follows the first (NSP)."""

    def __init__(self, bert: BERT):
        super().__init__()
        self.bert, self.words, self.next = bert, WordHead(bert.embedding), nn.Linear(bert.config.d_model, 2)
        for linear in (self.words.linear, self.next):
            init_normal(linear, INITS[bert.config.init])

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None,
                chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits of words (B, T, V) and of the pair (B, 2), class 1 = follows.

        chosen (B, T), True at N places: words are scored there alone, (N, V), which saves most of the work.
        """
        x = self.bert(ids, mask, segments)
        if chosen is not None:
            check_mask("chosen", chosen, ids)
        return self.words(x if chosen is None else x[chosen]), self.next(self.bert.pool(x))


class BERTForTokens(nn.Module):
    """A label for each token: logits (B, T, n_classes)."""

    def __init__(self, bert: BERT, n_classes: int):
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes: got {n_classes}, expected at least 1")
        self.bert = bert
        self.head = nn.Sequential(nn.Dropout(bert.config.dropout), nn.Linear(bert.config.d_model, n_classes))
        init_normal(self.head, INITS[bert.config.init])

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        return self.head(self.bert(ids, mask, segments))


class BERTForSpans(BERTForTokens):
    """Where an answer stands: logits (B, T, 2), of each place as the answer's first and as its last token."""

    def __init__(self, bert: BERT):
        super().__init__(bert, 2)


class BERTForSequences(BERTForTokens):
    """One label for a text or a pair of texts: logits (B, n_classes) from [CLS]."""

    def forward(self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None) -> Tensor:
        return self.head(self.bert.pool(self.bert(ids, mask, segments)))
