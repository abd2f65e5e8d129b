"""How fast the encoder–decoder trains, beside the loop of textbooks and beside torch's fused GRU.

    python tests/bench/seq2seq.py [--quick] [--threads N] [--only small|large]

All contestants run in one process, turn by turn on the same batches, so that other load on the machine hits them alike.
One step is forward, backward, clipping and the AdamW update; tokens are real target tokens.

    ours          course_lib's Seq2Seq with additive attention: what does not depend on the state is computed once per batch
    textbook      the same network, same weights, same logits, with keys, embedding share and vocabulary computed in every step
    nn.GRU        no attention, encoder and decoder in torch.nn.GRU (packed), readout and vocabulary once per batch
    no attention  course_lib's Seq2Seq without attention: the same logits as nn.GRU
    collating     making a batch of sentences, beside the step that trains on it

Wanted: ours ≥ 1.25 × textbook, ours ≥ 0.75 × nn.GRU, and collating a batch at most 3 % of a step.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
from course_lib.attention import masked_softmax
from course_lib.cli.comparison import Row
from course_lib.data.batching import PairBatches
from course_lib.losses import seq2seq_loss
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from tests.bench.common import Trainer, main, pace, random_pairs, turns

SIZES = {                                # name: d_embed, vocabulary, batch size
    "small": (128, 500, 64),
    "large": (256, 6000, 128),
}
D_HIDDEN, D_ATTENTION = 256, 128


class Textbook(nn.Module):
    """The network of `Seq2Seq` as textbooks write it: one word after the other, everything inside the loop."""

    def __init__(self, model: Seq2Seq):
        super().__init__()
        self.config = c = model.config
        self.net = model
        self.forward_cell, self.backward_cell = (nn.GRUCell(c.d_embed, c.d_hidden) for _ in range(2))
        self.decoder_cell = nn.GRUCell(c.d_embed + model.attention.d_context, c.d_hidden)
        for ours, theirs in ((self.forward_cell, model.encoder.cells[0]), (self.backward_cell, model.encoder.cells[1]),
                             (self.decoder_cell, model.cell)):
            weights = theirs.state_dict()
            if theirs is model.cell:                                                    # one matrix for [y, c]
                weights["weight_ih"] = torch.cat([weights["weight_ih"], model.from_context.weight], dim=1)
            ours.load_state_dict(weights)
        del model.encoder, model.cell, model.from_context

    def read(self, cell, embedded, mask, order):
        """One direction: a state that stands still on padding."""
        state, out = embedded.new_zeros(len(embedded), self.config.d_hidden), {}
        for t in order:
            state = torch.where(mask[:, t, None], cell(embedded[:, t], state), state)
            out[t] = state
        return torch.stack([out[t] for t in sorted(out)], dim=1), state

    def forward(self, source, source_mask, target_in):
        net, steps = self.net, range(source.shape[1])
        embedded = net.source_embedding(source)
        ahead, end = self.read(self.forward_cell, embedded, source_mask, steps)
        back, start = self.read(self.backward_cell, embedded, source_mask, reversed(steps))
        annotations = torch.cat([ahead, back], dim=-1)                                  # (B, S, 2H)
        state, rows = torch.tanh(net.bridge(torch.cat([end, start], dim=-1))), []
        for word in target_in.unbind(1):
            keys = net.attention.key(annotations)                                       # (B, S, A), every step again
            scores = torch.tanh(keys + net.attention.query(state)[:, None]) @ net.attention.score
            weights = masked_softmax(scores, source_mask)
            context = (weights[:, None] @ annotations).squeeze(1)
            y = net.target_embedding(word)
            state = self.decoder_cell(torch.cat([y, context], dim=-1), state)
            rows.append(net.output(torch.tanh(net.readout(torch.cat([y, state, context], dim=-1)))))
        return torch.stack(rows, dim=1)


class TorchGRU(nn.Module):
    """The network of `Seq2Seq` without attention, both loops inside torch.nn.GRU."""

    def __init__(self, model: Seq2Seq):
        super().__init__()
        c, self.net = model.config, model
        self.encoder = nn.GRU(c.d_embed, c.d_hidden, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(c.d_embed + model.attention.d_context, c.d_hidden, batch_first=True)
        with torch.no_grad():
            for layer, cell, ending in ((self.encoder, model.encoder.cells[0], "_l0"), (self.decoder, model.cell, "_l0"),
                                        (self.encoder, model.encoder.cells[1], "_l0_reverse")):
                for name, value in cell.named_parameters():
                    if layer is self.decoder and name == "weight_ih":                   # one matrix for [y, c]
                        value = torch.cat([value, model.from_context.weight], dim=1)
                    getattr(layer, name + ending).copy_(value)
        del model.encoder, model.cell, model.from_context

    def forward(self, source, source_mask, target_in):
        net, lengths = self.net, source_mask.sum(1).cpu()
        packed = pack_padded_sequence(net.source_embedding(source), lengths, batch_first=True, enforce_sorted=False)
        out, final = self.encoder(packed)
        pad_packed_sequence(out, batch_first=True)                                      # an attention would need it
        final = torch.cat([final[0], final[1]], dim=-1)                                 # (B, 2H)
        embedded = net.target_embedding(target_in)
        context = final[:, None].expand(-1, target_in.shape[1], -1)
        hidden, _ = self.decoder(torch.cat([embedded, context], dim=-1), torch.tanh(net.bridge(final))[None])
        return net.output(torch.tanh(net.readout(torch.cat([embedded, hidden, context], dim=-1))))


def make(name: str, d_embed: int, vocab: int) -> nn.Module:
    attention = "additive" if name in ("ours", "textbook") else "none"
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(vocab, vocab, d_embed, D_HIDDEN, D_ATTENTION, "gru", attention))
    return {"textbook": Textbook, "nn.GRU": TorchGRU}.get(name, lambda m: m)(model)


def measure(size: str, quick: bool) -> Iterator[Row]:
    (d_embed, vocab, batch_size), (rounds, steps) = SIZES[size], (3, 3) if quick else (9, 6)
    batches = PairBatches(random_pairs(batch_size * 50, vocab), batch_size)
    models = {name: make(name, d_embed, vocab) for name in ("ours", "textbook", "nn.GRU", "no attention")}
    probe = batches[0]
    for one, other in (("ours", "textbook"), ("no attention", "nn.GRU")):               # the same maths, or no comparison
        with torch.no_grad():
            expected, logits = (models[n](probe.source, probe.source_mask, probe.target_in) for n in (one, other))
        torch.testing.assert_close(logits[probe.target_mask], expected[probe.target_mask], rtol=0, atol=1e-4)
    trainers = {name: Trainer(model, partial(seq2seq_loss, model), batches, steps) for name, model in models.items()}

    def collating(number: int) -> float:
        return pace(lambda: sum(int(batch.target_mask.sum()) for batch in trainers["ours"].chosen(number)))(number)

    rates = turns({**trainers, "collating": collating}, rounds)
    for name, peer, wanted in (("ours", "textbook", 1.25), ("ours", "nn.GRU", 0.75), ("no attention", "nn.GRU", None)):
        what = f"training, {size}" + ", no attention" * (name != "ours")
        yield Row("seq2seq", what, "tokens/s", rates[name], peer, rates[peer], wanted)
    shares = [100 * step / batch for step, batch in zip(rates["ours"], rates["collating"])]
    yield Row("seq2seq", f"collating, {size}", "% of a step", shares, goal=3, less_is_better=True)


if __name__ == "__main__":
    main(__doc__, {size: partial(measure, size) for size in SIZES}, quick=("small",))
