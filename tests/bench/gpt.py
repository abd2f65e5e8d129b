"""How fast GPT decodes and trains, beside Hugging Face's GPT-2 with the same weights and a plain rendering in torch.nn.

    python tests/bench/gpt.py [--quick] [--threads N] [--only training]

GPT-2's shape: 6 layers, 384 wide, 6 heads, vocabulary 4096. All run in one process, turn by turn, another one first each time,
so that other load on the machine hits them alike.

    decoding         greedy, 256 tokens after a prompt of 16, at batch 1 and 16, beside `generate` with its own cache; the same
                     ids in float32 (checked). Ours plain, and inside `packed(model)`, which multiplies in a better way for
                     few rows (the cost of preparing it is part of the time); both again in bfloat16
    training         forward, loss, backward, clipping, AdamW: 8 windows of 256 tokens; the same loss (checked)
    of ceiling       what a training step does by formula, of what this machine's matrix products do; the weights that decoding
                     in float32 reads at batch 1, of what it reads from memory (in bfloat16 they may fit in a cache)

Wanted: decoding ≥ 1.6 × at batch 1 and ≥ 1.5 × at batch 16 in float32, packed (aim 2.5, with bfloat16 3), training ≥ 1.1 ×
Hugging Face and ≥ 1.0 × the plain rendering.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
from transformers import GPT2Config, GPT2LMHeadModel

from course_lib.cli.comparison import Row
from course_lib.data.batching import Windows
from course_lib.generation import greedy
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import save_gpt2
from course_lib.packing import packed
from course_lib.speed import flops_per_token, weight_bytes
from tests.bench.common import Trainer, main, pace, turns

CONFIG = GPTConfig(4096, 384, 6, 6, max_len=512)
PROMPT, DECODED, BATCH, CONTEXT = 16, 256, 8, 256
PEER, PLAIN = "Hugging Face", "nanoGPT's parts"
WANTED = {1: 1.6, 16: 1.5}                                                              # batch: packed, in float32


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


def measure_decoding(batch: int, quick: bool) -> Iterator[Row]:
    (rounds, decoded), (ours, theirs) = (3, 64) if quick else (5, DECODED), (model.eval() for model in make())
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

    assert decode(ours, False) == decode(ours, True) == generate(), "not the same ids: no comparison"
    runs = {PEER: generate, "packed": partial(decode, ours, True), "plain": partial(decode, ours, False),
            "packed, bfloat16": partial(decode, half, True), "plain, bfloat16": partial(decode, half, False)}
    rates = turns({name: pace(lambda run=run: sum(map(len, run()))) for name, run in runs.items()}, rounds)
    theirs = rates.pop(PEER)
    for name, found in rates.items():
        counted = {"work": weight_bytes(ours), "ceiling": "memory"} if batch == 1 and "bfloat16" not in name else {}
        yield Row("gpt", f"decoding, batch {batch}, {name}", "tokens/s", found, PEER, theirs,
                  WANTED[batch] if name == "packed" else None, **counted)


def measure_training(quick: bool) -> Iterator[Row]:
    ours, theirs = make()
    modules = {"ours": ours, PEER: theirs, PLAIN: Plain(ours)}
    nets = {**modules, PEER: lambda ids: theirs(ids, use_cache=False).logits}
    text = torch.randint(0, CONFIG.vocab_size, (100_000,), generator=torch.Generator().manual_seed(1))
    batches = Windows(text, CONTEXT, BATCH)
    expected = next_token_loss(ours, batches[0])[0].item()
    for name, net in nets.items():
        assert abs(next_token_loss(net, batches[0])[0].item() / expected - 1) < 1e-5, f"{name} computes another loss: no comparison"
    rates = turns({name: Trainer(modules[name], partial(next_token_loss, net), batches, 1) for name, net in nets.items()},
                  3 if quick else 10)
    work = flops_per_token(ours, CONTEXT).training
    for peer, wanted in ((PEER, 1.1), (PLAIN, 1.0)):
        yield Row("gpt", f"training, {BATCH} windows of {CONTEXT}", "tokens/s", rates["ours"], peer, rates[peer], wanted,
                  work=work, ceiling="matmul")


if __name__ == "__main__":
    measures = {"training": measure_training, **{f"decoding, batch {batch}": partial(measure_decoding, batch) for batch in WANTED}}
    main(__doc__, measures, quick=measures)
