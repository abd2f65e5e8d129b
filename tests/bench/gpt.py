"""How fast GPT decodes and trains, beside Hugging Face's GPT-2 with the same weights and a plain rendering in torch.nn.

    python tests/bench/gpt.py [--quick] [--threads N] [--only decoding|training]

GPT-2's shape: 6 layers, 384 wide, 6 heads, vocabulary 4096. All run in one process, turn by turn, another one first each time,
so that other load on the machine hits them alike. Medians of several rounds with their range; ratios are medians of the
rounds' own ratios.

    decoding         greedy, 256 tokens after a prompt of 16, at batch 1 and 16, beside `generate` with its own cache; the same
                     ids in float32 (checked). Ours plain, and inside `packed(model)`, which multiplies in a better way for
                     few rows (the cost of preparing it is part of the time); both again in bfloat16
    training step    forward, loss, backward, clipping, AdamW: 8 windows of 256 tokens; the same loss (checked)
    utilisation      what a training step does by formula, of what this machine's matrix products do

Wanted: decoding ≥ 1.6 × at batch 1 and ≥ 1.5 × at batch 16 in float32 (aim 2.5, with bfloat16 3), training ≥ 1.1 × Hugging Face
and ≥ 1.0 × the plain rendering.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from course_lib.data.batching import TokenBatch, Windows
from course_lib.generation import greedy
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import save_gpt2
from course_lib.packing import packed
from course_lib.speed import flops_per_token, matmul_rate
from course_lib.training import TrainingConfig, make_optimizer
from tests.bench.common import spread

CONFIG = GPTConfig(4096, 384, 6, 6, max_len=512)
PROMPT, DECODED, BATCH, CONTEXT = 16, 256, 8, 256


class PlainBlock(nn.Module):
    """A block as nanoGPT has it: one matrix for queries, keys and values, torch's causal kernel, GELU, no dropout."""

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        heads = (part.view(b, t, self.n_heads, -1).transpose(1, 2) for part in self.c_attn(self.ln_1(x)).split(c, dim=2))
        y = F.scaled_dot_product_attention(*heads, is_causal=True)                      # (B, H, T, D)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(b, t, c))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Plain(nn.Module):
    """The model around them, with the weights of ours."""

    def __init__(self, ours: GPT):
        super().__init__()
        c = ours.config
        self.wte, self.wpe = nn.Embedding(c.vocab_size, c.d_model), nn.Embedding(c.max_len, c.d_model)
        self.blocks, self.ln_f = nn.ModuleList(PlainBlock(c.d_model, c.n_heads) for _ in range(c.n_layers)), nn.LayerNorm(c.d_model)
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        self.head.weight = self.wte.weight
        with torch.no_grad():
            self.wte.weight.copy_(ours.embedding.weight)
            self.wpe.weight.copy_(ours.positions.table)
            for mine, theirs in zip(self.blocks, ours.blocks):
                part = theirs.attention.part
                mine.c_attn.weight.copy_(torch.cat([part.query.weight, part.key_value.weight]))
                nn.init.zeros_(mine.c_attn.bias)
                for one, other in ((mine.attn_proj, part.out), (mine.c_fc, theirs.feed_forward.part.up),
                                   (mine.mlp_proj, theirs.feed_forward.part.down)):
                    one.weight.copy_(other.weight)
                    one.bias.copy_(other.bias)                          # norms start at 1 and 0 in all

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return self.head(self.ln_f(x))


def make() -> tuple[GPT, GPT2LMHeadModel]:
    torch.manual_seed(0)
    ours = GPT(CONFIG)
    c = GPT2Config(vocab_size=CONFIG.vocab_size, n_embd=CONFIG.d_model, n_head=CONFIG.n_heads, n_layer=CONFIG.n_layers,
                   n_positions=CONFIG.max_len, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None, eos_token_id=None,
                   pad_token_id=0)
    with tempfile.TemporaryDirectory() as folder:
        save_gpt2(Path(folder) / "model.safetensors", ours)
        c.save_pretrained(folder)
        return ours, GPT2LMHeadModel.from_pretrained(folder)


def turns(contestants: dict[str, Callable[[], float]], rounds: int, unit: str, wanted: str, baseline: str) -> None:
    """Let all run in each round, another one first each time; print rates, and ratios to `baseline`."""
    rates, names = {name: [] for name in contestants}, list(contestants)
    for number in range(-1, rounds):                                                    # the first round only warms up
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            rate = contestants[name]()
            if number >= 0:
                rates[name].append(rate)
    for name, found in rates.items():
        ratios = spread([a / b for a, b in zip(found, rates[baseline])], ".2f")
        print(f"  {name:<28} {spread(found)} {unit}   × {baseline}: {ratios}")
    print(f"  wanted: {wanted}")


def measure_decoding(batch: int, rounds: int, decoded: int) -> None:
    ours, theirs = (model.eval() for model in make())
    half = GPT(CONFIG).eval()
    half.load_state_dict(ours.state_dict())
    half.bfloat16()
    prompt = torch.randint(0, CONFIG.vocab_size, (batch, PROMPT), generator=torch.Generator().manual_seed(1))

    def decode(model: GPT, pack: bool) -> list[list[int]]:
        with packed(model, batch) if pack else nullcontext():
            return greedy(model, prompt, eos_id=-1, max_len=decoded).ids

    @torch.no_grad()
    def generate() -> list[list[int]]:
        said = theirs.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=decoded, do_sample=False)
        return said[:, PROMPT:].tolist()

    def rate(run: Callable[[], list[list[int]]]) -> Callable[[], float]:
        def timed() -> float:
            start = time.perf_counter()
            said = run()
            assert sum(map(len, said)) == batch * decoded
            return batch * decoded / (time.perf_counter() - start)
        return timed

    assert decode(ours, False) == decode(ours, True) == generate(), "not the same ids: no comparison"
    print(f"\ndecoding, batch {batch}, {decoded} tokens after {PROMPT}")
    turns({"Hugging Face": rate(generate), "ours": rate(lambda: decode(ours, False)), "ours, packed": rate(lambda: decode(ours, True)),
           "ours, bfloat16": rate(lambda: decode(half, False)), "ours, bfloat16, packed": rate(lambda: decode(half, True))},
          rounds, "tokens/s", f"ours in float32 at least {1.6 if batch == 1 else 1.5} × Hugging Face", "Hugging Face")


def measure_training(rounds: int, steps: int) -> None:
    ours, theirs = make()
    nets = {"Hugging Face": lambda ids: theirs(ids, use_cache=False).logits, "nanoGPT's parts": Plain(ours), "ours": ours}
    modules = {"Hugging Face": theirs, "nanoGPT's parts": nets["nanoGPT's parts"], "ours": ours}
    text = torch.randint(0, CONFIG.vocab_size, (100_000,), generator=torch.Generator().manual_seed(1))
    batches = Windows(text, CONTEXT, BATCH)
    expected = next_token_loss(ours, batches[0])[0].item()
    for name, net in nets.items():
        assert abs(next_token_loss(net, batches[0])[0].item() / expected - 1) < 1e-5, f"{name} computes another loss: no comparison"

    def contestant(name: str) -> Callable[[], float]:
        optimizer, net = make_optimizer(modules[name].train(), TrainingConfig(steps=1, lr=1e-4)), nets[name]

        def step(batch: TokenBatch) -> None:
            loss, count = next_token_loss(net, batch)
            (loss / count).backward()
            nn.utils.clip_grad_norm_(modules[name].parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        def timed() -> float:
            start = time.perf_counter()
            for i in range(steps):
                step(batches[i])
            rates.setdefault(name, []).append(steps * BATCH * CONTEXT / (time.perf_counter() - start))
            return rates[name][-1]
        return timed

    rates: dict[str, list[float]] = {}
    print(f"\ntraining step, {BATCH} windows of {CONTEXT}, float32")
    contestants = {name: contestant(name) for name in nets}
    turns(contestants, rounds, "tokens/s", "ours at least 1.1 × Hugging Face", "Hugging Face")
    ratios = [a / b for a, b in zip(rates["ours"][1:], rates["nanoGPT's parts"][1:])]
    print(f"  ours × nanoGPT's parts: {spread(ratios, '.2f')}   wanted: at least 1.0")
    work, best = flops_per_token(ours, CONTEXT).training, matmul_rate(torch.device("cpu"))
    print(f"  utilisation: {work / 1e6:.0f} MFLOP a token × {max(rates['ours']):,.0f} tokens/s = {work * max(rates['ours']) / best:.0%} "
          f"of {best / 1e9:.0f} GFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 5")
    parser.add_argument("--threads", type=int, help="threads of torch (default: what torch takes)")
    parser.add_argument("--only", choices=("decoding", "training"), help="one half only")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {CONFIG.n_layers} layers, {CONFIG.d_model} wide")
    rounds = 3 if arguments.quick else 5
    if arguments.only != "training":
        for batch in (1, 16):
            measure_decoding(batch, rounds, 64 if arguments.quick else DECODED)
    if arguments.only != "decoding":
        measure_training(2 * rounds, 1)


if __name__ == "__main__":
    main()
