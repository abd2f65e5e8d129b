"""Models a second time, for comparison: the Transformer of torch's own layers with our weights, and decoding without a cache."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_lib.attention import MultiHeadAttention
from course_lib.blocks import Block, DecoderBlock
from course_lib.models.gpt import GPT
from course_lib.models.transformer import Transformer

Twins = Iterator[tuple[list[nn.Parameter], nn.Parameter]]


def attention_twins(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> Twins:
    """Our parameters and torch's one that holds them all: it keeps queries, keys and values in one matrix."""
    yield [ours.query.weight, ours.key_value.weight], theirs.in_proj_weight
    yield [ours.query.bias, ours.key_value.bias], theirs.in_proj_bias
    yield from module_twins(ours.out, theirs.out_proj)


def module_twins(ours: nn.Module, theirs: nn.Module) -> Twins:
    """Two modules of the same kind."""
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        yield [one], other


def block_twins(ours: Block, theirs: nn.Module) -> Twins:
    """A block and torch's layer, which numbers its norms in the order in which they come."""
    norms = [theirs.norm1, theirs.norm2, *([theirs.norm3] if isinstance(ours, DecoderBlock) else [])]
    yield from attention_twins(ours.attention.part, theirs.self_attn)
    yield from module_twins(ours.attention.norm, norms[0])
    if isinstance(ours, DecoderBlock):
        yield from attention_twins(ours.cross.part, theirs.multihead_attn)
        yield from module_twins(ours.cross.norm, norms[1])
    yield from module_twins(ours.feed_forward.part.up, theirs.linear1)
    yield from module_twins(ours.feed_forward.part.down, theirs.linear2)
    yield from module_twins(ours.feed_forward.norm, norms[-1])


def copy_weights(twins: Twins) -> None:
    """Give torch's parameters our numbers."""
    with torch.no_grad():
        for ours, theirs in twins:
            theirs.copy_(torch.cat(ours))


class TorchTransformer(nn.Module):
    """The same network around `nn.Transformer`: a copy of our embeddings, positions and output, and of our weights."""

    def __init__(self, model: Transformer):
        super().__init__()
        c, self.ends = model.config, copy.deepcopy(model)
        del self.ends.encoder, self.ends.decoder, self.ends.encoder_norm, self.ends.decoder_norm
        sizes = (c.d_model, c.n_heads, c.d_ff, c.dropout)
        encoder, decoder = (kind(*sizes, batch_first=True, norm_first=c.norm == "pre")
                            for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer))
        ends = [nn.LayerNorm(c.d_model) if c.norm == "pre" else None for _ in range(2)]
        self.core = nn.Transformer(
            c.d_model, c.n_heads, batch_first=True,
            custom_encoder=nn.TransformerEncoder(encoder, c.n_layers, ends[0], enable_nested_tensor=False),
            custom_decoder=nn.TransformerDecoder(decoder, c.n_layers, ends[1])).to(model.output.weight)
        copy_weights(self.core_twins(model))

    def core_twins(self, model: Transformer) -> Twins:
        """The parameters of `model` beside those of nn.Transformer."""
        for ours, theirs in ((model.encoder, self.core.encoder), (model.decoder, self.core.decoder)):
            for one, other in zip(ours, theirs.layers, strict=True):
                yield from block_twins(one, other)
        if model.config.norm == "pre":
            yield from module_twins(model.encoder_norm, self.core.encoder.norm)
            yield from module_twins(model.decoder_norm, self.core.decoder.norm)

    def forward(self, source: Tensor, source_mask: Tensor, target_in: Tensor) -> Tensor:
        ends, n, padding = self.ends, target_in.shape[1], ~source_mask
        x = self.core(ends.embed(source, ends.source_embedding, ends.source_positions),
                      ends.embed(target_in, ends.target_embedding, ends.target_positions),
                      tgt_mask=torch.ones(n, n, dtype=torch.bool, device=source.device).triu(1), tgt_is_causal=True,
                      src_key_padding_mask=padding, memory_key_padding_mask=padding)
        return ends.output(x)


class Uncached:
    """Decoding by `forward` alone: the state is the source and all words so far, and every step reads everything again."""

    def __init__(self, model: Transformer):
        self.model = model

    def start(self, source: Tensor, source_mask: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return source.new_full((len(source),), self.model.config.bos_id), (source, source_mask, source[:, :0])

    def step(self, token: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        source, mask, said = state
        said = torch.cat([said, token[:, None]], dim=1)                                 # (N, t)
        return self.model(source, mask, said)[:, -1], (source, mask, said)

    def reorder(self, state: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[index] for part in state)


class UncachedGPT:
    """Decoding by `forward` alone: the state is the window and its padding, and every step reads all of the window again."""

    def __init__(self, model: GPT):
        self.model = model

    def start(self, prompt: Tensor, prompt_mask: Tensor | None = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        mask = torch.ones_like(prompt, dtype=torch.bool) if prompt_mask is None else prompt_mask
        return prompt[:, -1], (prompt[:, :-1], mask[:, :-1])

    def step(self, token: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        ids, mask = state
        if ids.shape[1] == self.model.config.max_len:                                   # full: the newer half stays
            half = self.model.config.max_len // 2
            ids, mask = ids[:, ids.shape[1] - half:], mask[:, mask.shape[1] - half:]
        ids = torch.cat([ids, token[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(token[:, None], dtype=torch.bool)], dim=1)
        return self.model(ids, mask)[:, -1], (ids, mask)

    def reorder(self, state: tuple[Tensor, ...], index: Tensor) -> tuple[Tensor, ...]:
        return tuple(part[index] for part in state)
