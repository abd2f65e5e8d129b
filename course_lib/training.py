"""The training loop: one page that knows no model. Accumulation, clipping, schedules, mixed precision, processes, resuming."""

import math
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.optimizers import adamw
from course_lib.runtime import PRECISIONS, Distributed, autocast

Loss = Callable[[nn.Module, Any], tuple[Tensor, Tensor]]
SCHEDULES = ("constant", "linear", "cosine", "inverse_sqrt")


class Batches(Protocol):
    """A batch for every number 0, 1, 2, …, always the same one."""

    def __getitem__(self, number: int) -> Any: ...


@dataclass(frozen=True)
class TrainingConfig:
    """What a run needs to know. One step is one update, made from accumulate × processes batches."""

    steps: int
    lr: float = 1e-3                 # the highest rate, reached after the warm-up
    warmup_steps: int = 0            # linear from 0: Adam's first moments are still guesses
    schedule: str = "cosine"         # what follows the warm-up, down to final_lr: constant, linear, cosine or inverse_sqrt
    final_lr: float = 0.0
    weight_decay: float = 0.0        # on matrices and embeddings, not on biases and gains
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float | None = 1.0    # recurrent gradients explode now and then (Pascanu et al. 2013)
    accumulate: int = 1
    precision: str = "float32"
    evaluate_every: int | None = None
    checkpoint_every: int | None = None

    def __post_init__(self):
        checks = (("steps", self.steps >= 1, "at least 1"), ("lr", self.lr > 0, "above 0"),
                  ("accumulate", self.accumulate >= 1, "at least 1"),
                  ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
                  ("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}"),
                  ("warmup_steps", 0 <= self.warmup_steps <= self.steps, "0 … steps"),
                  ("final_lr", self.final_lr >= 0, "0 or more"), ("weight_decay", self.weight_decay >= 0, "0 or more"),
                  ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or None"),
                  ("evaluate_every", self.evaluate_every is None or self.evaluate_every >= 1, "at least 1, or None"),
                  ("checkpoint_every", self.checkpoint_every is None or self.checkpoint_every >= 1, "at least 1, or None"))
        for name, fine, expected in checks:
            if not fine:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected {expected}")


@dataclass
class History:
    """What happened: per step the mean loss in nats a token, the gradient norm before clipping and the seconds since the start;
    per evaluation whatever `evaluate` returned."""

    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    evaluations: list[dict[str, float]] = field(default_factory=list)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """The rate of step 0, 1, …: linear warm-up, then the schedule from `lr` down to `final_lr` at the last step.

    inverse_sqrt falls like 1/√step (Vaswani et al. 2017, equation 3), not below final_lr: it need not know when the run ends.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "inverse_sqrt":
        return max(config.final_lr, config.lr * (max(1, config.warmup_steps) / (step + 1))**0.5)
    done = (step - config.warmup_steps) / max(1, config.steps - 1 - config.warmup_steps)
    left = 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return config.final_lr + (config.lr - config.final_lr) * left


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused. Only tensors of two or more dimensions decay."""
    return adamw([p for p in model.parameters() if p.requires_grad], config)


def train(model: nn.Module, batches: Batches, loss: Loss, config: TrainingConfig, *, context: Distributed = Distributed(),
          evaluate: Callable[[], dict[str, float]] | None = None, checkpoint: str | Path | None = None,
          model_config: dict[str, Any] | None = None, progress: bool = False,
          optimizer: Callable[[nn.Module, TrainingConfig], Any] = make_optimizer) -> History:
    """Minimise the mean of `loss` per token; return the history. Moves `model` to the device of `context`.

    The gradient is that of the sum over all tokens of the step divided by their number, whether they come in one batch, in
    several accumulated ones or over several processes. With `checkpoint` the run saves there and, started again, goes on from
    there, on a CPU bit for bit. Raises ValueError when the loss or the gradient becomes NaN or infinite, naming the step.
    `optimizer` makes what updates the weights: `make_optimizer`, `make_muon` (optimizers.py) or another function of both.
    """
    model.to(context.device).train()
    optimizer, history, first = optimizer(model, config), History(), 0
    if checkpoint is not None and Path(checkpoint).exists():
        first = _resume(checkpoint, model, optimizer, config, history)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False) if context.world_size > 1 else model
    start = time.perf_counter() - (history.seconds[-1] if history.seconds else 0.0)
    bar = tqdm(range(first, config.steps), initial=first, total=config.steps, unit="step",
               disable=not (progress and context.is_main))
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        total, count = accumulate_gradients(wrapped, batches, loss, config, step, context)
        if not math.isfinite(total):
            raise ValueError(f"the loss of step {step} is {total}: lower lr ({config.lr}), add warm-up, or look at batch {step}")
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf).item()
        if not math.isfinite(norm):
            raise ValueError(f"the gradient of step {step} is {norm}: lower lr ({config.lr}), add warm-up, or look at the loss")
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        history.loss.append(total / count)
        history.grad_norm.append(norm)
        history.seconds.append(time.perf_counter() - start)
        history.tokens += int(count)
        bar.set_postfix(loss=f"{total / count:.3f}", refresh=False)
        if evaluate and context.is_main and _due(step, config.evaluate_every, config.steps):
            _evaluate_now(model, evaluate, history, step)
            start = time.perf_counter() - history.seconds[-1]                           # evaluation is not training time
        if checkpoint is not None and context.is_main and _due(step, config.checkpoint_every, config.steps):
            save_checkpoint(checkpoint, model, optimizer=optimizer, step=step + 1, config=model_config,
                            extra={"training": asdict(config), "history": asdict(history)})
    model.eval()
    return history


def accumulate_gradients(model: nn.Module, batches: Batches, loss: Loss, config: TrainingConfig, step: int,
                         context: Distributed) -> tuple[float, float]:
    """Fill the gradients of one step, as the mean over all its tokens; return the summed loss and the number of tokens.

    Batch number (step · accumulate + i) · processes + rank: the batches of a step are the same however many share them.
    """
    total, count = 0.0, 0.0
    for i in range(config.accumulate):
        batch = batches[(step * config.accumulate + i) * context.world_size + context.rank].to(context.device)
        share = context.world_size > 1 and i + 1 < config.accumulate
        with model.no_sync() if share else nullcontext():                               # talk once, after the last batch
            with autocast(context.device, config.precision):
                loss_sum, n = loss(model, batch)
            loss_sum.backward()
        total, count = total + loss_sum.item(), count + n.item()
    total, count = context.sum(total), context.sum(count)
    if count == 0:
        raise ValueError(f"step {step}: its batches hold no token that counts")
    scale = context.world_size / count                                                  # DDP has divided by the processes
    torch._foreach_mul_([p.grad for p in model.parameters() if p.grad is not None], scale)
    return total, count


@torch.no_grad()
def evaluate(model: nn.Module, batches: Iterable[Any], loss: Loss, device: torch.device = torch.device("cpu")) -> float:
    """Mean loss in nats a token over `batches`, without dropout."""
    was_training, (total, count) = model.training, (0.0, 0)
    model.eval()
    for batch in batches:
        loss_sum, n = loss(model, batch.to(device))
        total, count = total + loss_sum.item(), count + int(n)
    model.train(was_training)
    if count == 0:
        raise ValueError("batches: got no token that counts")
    return total / count


def _evaluate_now(model: nn.Module, evaluate: Callable[[], dict[str, float]], history: History, step: int) -> None:
    rng = torch.get_rng_state()                                                         # evaluating must not change the training
    model.eval()
    history.evaluations.append({"step": step + 1, "seconds": history.seconds[-1], **evaluate()})
    model.train()
    torch.set_rng_state(rng)


def _due(step: int, every: int | None, steps: int) -> bool:
    """After every `every`-th step, and after the last."""
    return step + 1 == steps or (every is not None and (step + 1) % every == 0)


def _resume(path: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer, config: TrainingConfig,
            history: History) -> int:
    saved = load_checkpoint(path)
    ours, theirs = asdict(config), saved.extra.get("training", {})
    ours["betas"] = list(ours["betas"])
    if differing := sorted(name for name in ours if ours[name] != theirs.get(name)):
        raise ValueError(f"{path}: was trained with other settings ({', '.join(differing)}); delete it or give another path")
    saved = load_checkpoint(path, model, optimizer=optimizer, restore_rng=True)
    for name, value in saved.extra["history"].items():
        setattr(history, name, value)
    return saved.step
