"""Tiny Shakespeare by characters: a ladder from nanoGPT's setting for a CPU to what else the same time can buy.

`python3 -m course_lib train shakespeare --rung muon --minutes 2` trains one rung. `python3 -m course_lib.recipes.shakespeare 3` runs
all for as long as the first takes, the decisive ones three times, and keeps the result with the course.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.attention import MultiHeadAttention, WrittenAttention
from course_lib.data import datasets
from course_lib.data.batching import Windows, windows_in_order
from course_lib.generation import sample
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.optimizers import make_muon
from course_lib.recipes.results import keep
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import CharTokenizer
from course_lib.training import History, Loss, TrainingConfig, accumulate_gradients, evaluate, make_optimizer, train

GOAL = 1.88                          # nats a character: about where nanoGPT's setting ends
FIRST_STEPS = 2000                   # of the first rung; they set the time that all rungs have
POINTS = 20                          # that a kept curve has


@dataclass(frozen=True)
class Rung:
    """All that a run takes: fields of GPTConfig and TrainingConfig, windows a step, and the rest. `change` says what is new.

    written: attention by plain matrix products where the device is a CPU; share: how much of the time the run takes.
    """

    change: str
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    batch_size: int = 12
    optimizer: Callable[..., Any] = make_optimizer
    written: bool = False
    compiled: bool = False
    share: float = 1.0

    def then(self, change: str, model: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **parts: Any) -> "Rung":
        """The next rung: this one but for what is named."""
        return replace(self, change=change, model=self.model | (model or {}), training=self.training | (training or {}), **parts)


# The first: README.md (its line for a CPU), config/train_shakespeare_char.py and the defaults of train.py in github.com/karpathy/nanoGPT.
_nanogpt = Rung("nanoGPT's documented setting for a CPU",
                {"n_layers": 4, "n_heads": 4, "d_model": 128, "max_len": 64, "bias": False, "init": "gpt2"},
                {"lr": 1e-3, "final_lr": 1e-4, "warmup_steps": 100, "betas": (0.9, 0.99), "weight_decay": 0.1, "clip_norm": 1.0})
_init = _nanogpt.then("matrices start at 1/√fan_in, not at 0.02", {"init": "fan_in"})
_rotary = _init.then("rotary positions instead of learned ones", {"positions": "rotary"})
_parts = _rotary.then("RMSNorm, also on queries and keys; squared ReLU", {"norm": "rms", "qk_norm": "rms", "feed_forward": "relu2"})
_rate = _parts.then("four times the learning rate, falling linearly to 0", training={"lr": 4e-3, "final_lr": 0.0, "schedule": "linear"})
_muon = _rate.then("Muon, a rate of 0.01, and 32 windows a step, which pay for its products", training={"lr": 1e-2},
                   batch_size=32, optimizer=make_muon)
_shape = _muon.then("16 windows of 128 characters; 3 layers, 2 heads: each step is cheaper, so there are more",
                    {"max_len": 128, "n_layers": 3, "n_heads": 2}, batch_size=16)
_bfloat16 = _shape.then("bfloat16, attention written out", training={"precision": "bfloat16"}, written=True)
_compiled = _bfloat16.then("torch.compile", compiled=True)
_sprint = {"change": "a smaller model, as soon as possible at 1.88", "model": {"max_len": 64, "d_model": 96},
           "training": {"lr": 2e-2, "warmup_steps": 20}}

LADDER = {"nanogpt": _nanogpt, "init": _init, "rotary": _rotary, "parts": _parts, "rate": _rate, "muon": _muon, "shape": _shape,
          "bfloat16": _bfloat16, "compiled": _compiled}
SPRINTS = {"sprint": _shape.then(**_sprint, share=0.2), "compiled sprint": _compiled.then(**_sprint, share=0.11)}
OTHERS = {"gpu": _compiled.then("for a GPU: 7 layers, 64 windows of 256, dropout", {"n_layers": 7, "max_len": 256, "dropout": 0.15},
                                batch_size=64)}
RUNGS = LADDER | SPRINTS | OTHERS
DECISIVE = ("nanogpt", "shape", "compiled", *SPRINTS)


def find(name: str) -> Rung:
    """The rung called `name`."""
    if name not in RUNGS:
        raise ValueError(f"rung: got {name!r}, expected one of {', '.join(RUNGS)}")
    return RUNGS[name]


class Text(NamedTuple):
    """The characters' numbers, and the text in two parts as ids (N,)."""

    tokenizer: CharTokenizer
    train: Tensor
    valid: Tensor


def split(text: str) -> Text:
    """The first 90 % of the characters to train on, the rest to validate, as in nanoGPT's data/shakespeare_char/prepare.py."""
    tokenizer = CharTokenizer.train([text])
    ids = torch.tensor(tokenizer.encode(text), dtype=torch.uint8 if tokenizer.vocab_size <= 256 else torch.int32)
    return Text(tokenizer, *ids.tensor_split([len(ids) * 9 // 10]))


def load() -> Text:
    """Tiny Shakespeare. Raises what `datasets.load` raises when it is not to be had."""
    return split(datasets.load("tinyshakespeare", split="all"))


class Start(NamedTuple):
    """What is there before the first step."""

    model: GPT
    loss: Loss
    windows: Windows
    context: Distributed


def start(rung: Rung, text: Text, seed: int = 0, device: str | None = None) -> Start:
    """The model, untrained and on its device, its loss, compiled if the rung says so, and its batches."""
    context = Distributed(device=pick_device(device))
    seed_everything(seed)
    model = GPT(GPTConfig(text.tokenizer.vocab_size, **rung.model)).to(context.device)
    if rung.written and context.device.type == "cpu":
        for part in model.modules():
            if isinstance(part, MultiHeadAttention):
                part.kernel = WrittenAttention()
    loss = torch.compile(next_token_loss, fullgraph=True, dynamic=False) if rung.compiled else next_token_loss
    return Start(model, loss, Windows(text.train, model.config.max_len, rung.batch_size, seed=seed), context)


def settings(rung: Rung, steps: int, **more: Any) -> TrainingConfig:
    """How the rung is trained in so many steps."""
    return TrainingConfig(**{"steps": steps, **rung.training, "warmup_steps": min(rung.training["warmup_steps"], steps), **more})


def first_pass(rung: Rung, begun: Start) -> float:
    """Seconds of a forward and a backward pass that change nothing: in the first one torch.compile compiles."""
    before = time.perf_counter()
    accumulate_gradients(begun.model.train(), begun.windows, begun.loss, settings(rung, 1), 0, begun.context)
    begun.model.zero_grad(set_to_none=True)
    return time.perf_counter() - before


def paces(rungs: dict[str, Rung], text: Text, rounds: int = 5, device: str | None = None) -> dict[str, float]:
    """Seconds that a step of each takes: the median of `rounds` times five, turn by turn, so that other load hits all alike."""
    starts = {name: start(rung, text, device=device) for name, rung in rungs.items()}
    times: dict[str, list[float]] = {name: [] for name in rungs}
    for name, begun in starts.items():
        first_pass(rungs[name], begun)
    for _ in range(rounds):
        for name, (model, loss, windows, context) in starts.items():
            config, optimizer = settings(rungs[name], 6, lr=1e-6), rungs[name].optimizer
            seconds = train(model, windows, loss, config, context=context, optimizer=optimizer).seconds
            times[name] += [after - before for before, after in pairwise(seconds)]
    return {name: statistics.median(found) for name, found in times.items()}


class Run(NamedTuple):
    """A trained model, its history, and what is kept of it."""

    model: GPT
    history: History
    row: dict[str, Any]


def run(rung: Rung, text: Text, steps: int, *, seed: int = 0, device: str | None = None, evaluations: int = 8,
        progress: bool = False) -> Run:
    """Train for `steps` steps, with the loss on the whole validation part now and then and at the end (in float32, uncompiled)."""
    begun, paused = start(rung, text, seed, device), [0.0]
    model, loss, windows, context = begun
    compiling = first_pass(rung, begun)

    def score() -> dict[str, float]:
        before = time.process_time()
        batches = windows_in_order(text.valid, model.config.max_len, 64)
        found = {"validation": evaluate(model, batches, next_token_loss, context.device)}
        paused.append(time.process_time() - before)
        return found

    before = time.process_time()
    history = train(model, windows, loss, settings(rung, steps, evaluate_every=-(-steps // evaluations)), context=context,
                    evaluate=score, optimizer=rung.optimizer, progress=progress)
    cpu = time.process_time() - before - sum(paused)
    return Run(model, history, {"change": rung.change, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
                                "compile_seconds": round(compiling, 1) if rung.compiled else 0.0, "cpu_seconds": round(cpu, 1),
                                **summary(history)})


def summary(history: History) -> dict[str, Any]:
    """The numbers of a run: its end, the step whose evaluation first found the goal (None: never), and its curves, [step, loss] each."""
    end, size = len(history.loss), -(-len(history.loss) // POINTS)
    pieces = [range(i, min(i + size, end)) for i in range(0, end, size)]
    validations = [[row["step"], round(row["validation"], 4)] for row in history.evaluations]
    return {"steps": end, "tokens": history.tokens, "seconds": round(history.seconds[-1], 1),
            "validation": validations[-1][1], "steps_to_goal": next((step for step, loss in validations if loss <= GOAL), None),
            "curve": [[piece[-1] + 1, round(statistics.mean(history.loss[i] for i in piece), 3)] for piece in pieces],
            "validations": validations}


def write(model: GPT, tokenizer: CharTokenizer, length: int = 200, prompt: str = "\n", temperature: float = 0.8, seed: int = 0) -> str:
    """A text of `length` characters after `prompt`."""
    device = next(model.parameters()).device
    ids = torch.tensor([tokenizer.encode(prompt)], device=device)
    random = torch.Generator(device).manual_seed(seed)
    return tokenizer.decode(sample(model, ids, eos_id=-1, max_len=length, temperature=temperature, generator=random).ids[0])


def climb(text: Text, names: Iterable[str], seeds: int, first_steps: int = FIRST_STEPS, rounds: int = 5) -> None:
    """Run the rungs for as long as `first_steps` of nanoGPT's take here, the decisive ones once per seed; keep all after each run.

    Other load stretches a run's own `seconds`; `step_seconds` are the paces measured side by side, by which all get the same time.
    """
    names, rows, best, sampled = list(names), [], float("inf"), ""
    pace = paces({name: find(name) for name in ("nanogpt", *names)}, text, rounds)
    limit = first_steps * pace["nanogpt"]
    for seed in range(seeds):
        for name in (name for name in names if seed == 0 or name in DECISIVE):
            torch.compiler.reset()                                      # it would refuse a ninth variant of one function
            model, _, row = run(RUNGS[name], text, max(1, round(limit * RUNGS[name].share / pace[name])), seed=seed)
            rows.append({"rung": name, "step_seconds": round(pace[name], 5), **row})
            print(json.dumps({key: value for key, value in rows[-1].items() if not isinstance(value, list)}), flush=True)
            if row["validation"] < best:
                best, sampled = row["validation"], write(model, text.tokenizer)
            keep("shakespeare_ladder", torch.device("cpu"), {"goal": GOAL, "first_steps": first_steps, "seeds": seed + 1},
                 limit=round(limit, 2), sample=sampled, runs=rows)


if __name__ == "__main__":
    torch.compiler.config.force_disable_caches = True                   # each compile_seconds is that of a first time
    climb(load(), [*LADDER, *SPRINTS], int(sys.argv[1]))
