"""How fast the Transformer trains and decodes, and the memory a step takes, beside the same network made of nn.Transformer.

    python tests/bench/transformer.py [--quick] [--threads N] [--only "training, small"]

Both run in one process, turn by turn on the same batches, so that other load on the machine hits them alike. One training step
is forward, backward, clipping and the AdamW update; tokens are real target tokens. 3 + 3 layers.

    ours             course_lib's Transformer, post-norm, one matrix for target words and output
    nn.Transformer   the same weights, the same logits (checked to 1e-4): torch's layers between our embeddings and output,
                     asked in the way that is fastest for it: boolean masks, tgt_is_causal, no mask for target padding
    dropout 0.1      both again. nn.Transformer then drops attention weights, too, which keeps it from the fused kernel on a
                     CPU; ours drops what each part adds, embeddings and hidden layers, as the paper does
    decoding         greedy, 64 words for each of 16 sentences: our cache beside reading everything again at each word
    memory           the most that tensors of one training step hold at a time, beyond weights and optimizer: exact, as the
                     profiler saw every allocation

Wanted: training ≥ 1.0 × nn.Transformer (aim 1.1), decoding ≥ 3 × without a cache, memory no more than nn.Transformer's.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
from course_lib.cli.comparison import Row
from course_lib.data.batching import PairBatch, PairBatches
from course_lib.generation import Generated, greedy
from course_lib.losses import seq2seq_loss
from course_lib.models.transformer import Transformer, TransformerConfig
from tests.bench.common import Trainer, main, pace, random_pairs, turns
from tests.twins import TorchTransformer, Uncached

SIZES = {                                # name: d_model, heads, vocabulary, batch size
    "small": (128, 4, 500, 64),
    "large": (256, 8, 6000, 128),
}
PEER, N_LAYERS, DECODED, DECODED_BATCH, DROPOUTS = "nn.Transformer", 3, 64, 16, (0.0, 0.1)


def make(size: str, dropout: float) -> tuple[Transformer, TorchTransformer]:
    d_model, n_heads, vocab, _ = SIZES[size]
    torch.manual_seed(0)
    ours = Transformer(TransformerConfig(vocab, vocab, d_model, n_heads, N_LAYERS, 4 * d_model, dropout))
    return ours, TorchTransformer(ours)


def sentences(size: str) -> PairBatches:
    _, _, vocab, batch_size = SIZES[size]
    return PairBatches(random_pairs(batch_size * 50, vocab), batch_size)


def measure_training(size: str, quick: bool) -> Iterator[Row]:
    (rounds, steps), batches = (3, 3) if quick else (9, 6), sentences(size)
    probe = batches[0]
    with torch.no_grad():                                                               # the same maths, or no comparison
        expected, logits = (net(probe.source, probe.source_mask, probe.target_in) for net in make(size, 0.0))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)
    for dropout in DROPOUTS:
        ours, theirs = turns({name: Trainer(model, partial(seq2seq_loss, model), batches, steps)
                              for name, model in zip(("ours", PEER), make(size, dropout))}, rounds).values()
        yield Row("transformer", f"training, {size}, dropout {dropout:g}", "tokens/s", ours, PEER, theirs, wanted=1.0)


def measure_decoding(size: str, quick: bool) -> Iterator[Row]:
    model, batch = make(size, 0.0)[0].eval(), sentences(size)[0]
    inputs = batch.source[:DECODED_BATCH], batch.source_mask[:DECODED_BATCH]

    def decode(net: object) -> Generated:
        return greedy(net, *inputs, eos_id=-1, max_len=DECODED)                         # no word ends a sentence: always 64

    nets = {"ours": model, "no cache": Uncached(model)}
    said, again = map(decode, nets.values())
    torch.testing.assert_close(said.log_probs, again.log_probs, rtol=1e-3, atol=1e-2)   # of the sentences they said
    assert all(len(ids) == DECODED for ids in said.ids)
    ours, theirs = turns({name: pace(lambda net=net: sum(map(len, decode(net).ids))) for name, net in nets.items()},
                         3 if quick else 9).values()
    yield Row("transformer", f"decoding, {size}, batch {DECODED_BATCH}", "words/s", ours, "no cache", theirs, wanted=3)


def peak_mib(model: nn.Module, batch: PairBatch) -> float:
    """The highest sum of what one step allocates and has not freed, over what was there before it."""
    trainer = Trainer(model, partial(seq2seq_loss, model), [batch], 1)
    trainer(0)                                                                          # AdamW's moments exist from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trainer(0)
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 2**20


def measure_memory(size: str, quick: bool) -> Iterator[Row]:
    batch = sentences(size)[0]
    for dropout in DROPOUTS:
        ours, theirs = (peak_mib(model, batch) for model in make(size, dropout))
        yield Row("transformer", f"memory, {size}, dropout {dropout:g}", "MiB", [ours], PEER, [theirs], 1.0, less_is_better=True)


MEASURES = {"training": measure_training, "decoding": measure_decoding, "memory": measure_memory}

if __name__ == "__main__":
    main(__doc__, {f"{name}, {size}": partial(measure, size) for size in SIZES for name, measure in MEASURES.items()},
         quick=[f"{name}, small" for name in MEASURES])
