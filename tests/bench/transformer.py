"""How fast the Transformer trains and decodes, and the memory a step takes, beside the same network made of nn.Transformer.

    python tests/bench/transformer.py [--quick] [--threads N] [--size small|large]

Both run in one process, turn by turn on the same batches, so that other load on the machine hits them alike. Medians of
several rounds with their range; ratios are medians of the rounds' own ratios. One training step is forward, backward,
clipping and the AdamW update; tokens are real target tokens.

    ours             course_lib's Transformer, post-norm, one matrix for target words and output
    nn.Transformer   the same weights, the same logits (checked to 1e-4): torch's layers between our embeddings and output,
                     asked in the way that is fastest for it: boolean masks, tgt_is_causal, no mask for target padding
    dropout 0.1      both again. nn.Transformer then drops attention weights, too, which keeps it from the fused kernel on a
                     CPU; ours drops what each part adds, embeddings and hidden layers, as the paper does
    decoding         greedy, 64 words for each of 16 sentences: our cache beside reading everything again at each word
    memory           the most that tensors of one training step hold at a time, beyond weights and optimizer: exact, as the
                     profiler saw every allocation

Wanted: training ≥ 1.0 × nn.Transformer (aim 1.1), decoding ≥ 3 × without a cache, memory ≤ 1.0 × nn.Transformer.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from course_lib.data.batching import PairBatch, PairBatches
from course_lib.generation import Generated, greedy
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.training import TrainingConfig, make_optimizer
from tests.bench.common import LENGTHS, random_pairs, run_steps, spread
from tests.twins import TorchTransformer, Uncached

SIZES = {                                # name: d_model, heads, vocabulary, batch size
    "small": (128, 4, 500, 64),
    "large": (256, 8, 6000, 128),
}
N_LAYERS, DECODED, DECODED_BATCH = 3, 64, 16


def make(size: str, dropout: float) -> tuple[Transformer, TorchTransformer]:
    d_model, n_heads, vocab, _ = SIZES[size]
    torch.manual_seed(0)
    ours = Transformer(TransformerConfig(vocab, vocab, d_model, n_heads, N_LAYERS, 4 * d_model, dropout))
    return ours, TorchTransformer(ours)


def check_same(models: dict[str, nn.Module], batch: PairBatch) -> None:
    """The same maths, or no comparison."""
    with torch.no_grad():
        expected, *others = (net(batch.source, batch.source_mask, batch.target_in) for net in models.values())
    for logits in others:
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def turns(contestants: dict[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Let all run in each round, another one first each time: name → what each round gave."""
    results, names = {name: [] for name in contestants}, list(contestants)
    for number in range(rounds):
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            results[name].append(contestants[name](number))
    return results


def report(results: dict[str, list[float]], unit: str, wanted: str) -> None:
    """The rates of two contestants and the first one's advantage."""
    for name, rates in results.items():
        print(f"  {name:<28} {spread(rates)} {unit}")
    ours, theirs = results.values()
    print(f"  {'ratio':<28} {spread([a / b for a, b in zip(ours, theirs)], '.2f')}   wanted: {wanted}")


def measure_training(size: str, dropout: float, batches: PairBatches, rounds: int, steps: int) -> None:
    models = dict(zip(("ours", "nn.Transformer"), make(size, dropout)))
    if not dropout:
        check_same(models, batches[0])

    def contestant(model: nn.Module) -> Callable[[int], float]:
        optimizer = make_optimizer(model, TrainingConfig(steps=1, lr=1e-4))
        run_steps(model, optimizer, [batches[0]])                                       # the first step also allocates

        def rate(number: int) -> float:
            chosen = [batches[number * steps + i] for i in range(steps)]
            return sum(int(b.target_mask.sum()) for b in chosen) / run_steps(model, optimizer, chosen)
        return rate

    label = f", dropout {dropout}" if dropout else ""
    report(turns({name + label: contestant(model) for name, model in models.items()}, rounds), "target tokens/s",
           "at least 1.0, aim 1.1")


def measure_decoding(size: str, batches: PairBatches, rounds: int) -> None:
    model, _ = make(size, 0.0)
    batch = batches[0]
    inputs = batch.source[:DECODED_BATCH], batch.source_mask[:DECODED_BATCH]

    def decode(net: object) -> Generated:
        return greedy(net, *inputs, eos_id=-1, max_len=DECODED)                         # no word ends a sentence: always 64

    def contestant(net: object) -> Callable[[int], float]:
        def rate(number: int) -> float:
            start = time.perf_counter()
            said = decode(net).ids
            return sum(map(len, said)) / (time.perf_counter() - start)
        return rate

    model.eval()
    nets = {"decoding, ours": model, "decoding, without a cache": Uncached(model)}
    said, again = (decode(net) for net in nets.values())
    torch.testing.assert_close(said.log_probs, again.log_probs, rtol=1e-3, atol=1e-2)   # of the sentences they said
    assert all(len(ids) == DECODED for ids in said.ids)
    report(turns({name: contestant(net) for name, net in nets.items()}, rounds), "words/s", "at least 3")


def peak_bytes(model: nn.Module, batch: PairBatch) -> int:
    """The highest sum of what one step allocates and has not freed, in bytes, over what was there before it."""
    optimizer = make_optimizer(model, TrainingConfig(steps=1))
    run_steps(model, optimizer, [batch])                                                # AdamW's moments exist from now on
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        run_steps(model, optimizer, [batch])
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def measure_memory(size: str, dropout: float, batch: PairBatch) -> None:
    ours, theirs = (peak_bytes(model, batch) / 2**20 for model in make(size, dropout))
    label = f"memory, dropout {dropout}"
    print(f"  {label:<28} ours {ours:,.1f} MiB, nn.Transformer {theirs:,.1f} MiB, ratio {ours / theirs:.2f}   wanted: at most 1.0")


def measure(size: str, rounds: int, steps: int) -> None:
    d_model, n_heads, vocab, batch_size = SIZES[size]
    batches = PairBatches(random_pairs(batch_size * 50, vocab), batch_size)
    print(f"\n{size}: d_model {d_model}, {n_heads} heads, {N_LAYERS} + {N_LAYERS} layers, vocabulary {vocab}, batch {batch_size}, "
          f"{LENGTHS[0]}–{LENGTHS[1]} words; {rounds} rounds of {steps} steps")
    for dropout in (0.0, 0.1):
        measure_training(size, dropout, batches, rounds, steps)
    measure_decoding(size, batches, rounds)
    for dropout in (0.0, 0.1):
        measure_memory(size, dropout, batches[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds of 3 steps instead of 9 of 6")
    parser.add_argument("--threads", type=int, help="threads of torch (default: what torch takes)")
    parser.add_argument("--size", choices=SIZES, help="one size only")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    for size in [arguments.size] if arguments.size else SIZES:
        measure(size, *((3, 3) if arguments.quick else (9, 6)))


if __name__ == "__main__":
    main()
