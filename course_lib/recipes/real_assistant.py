"""What `python3 -m course_lib train assistant` and `train preferences` do: tune on real conversations, then on comparisons by DPO."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from course_lib.alignment.chat import Response, Turn
from course_lib.alignment.dpo import pair_log_probs
from course_lib.alignment.lora import add_lora, merge_lora
from course_lib.alignment.policy import frozen
from course_lib.alignment.reward import Comparison, collate_preferences
from course_lib.alignment.sft import ResponseBatches, collate_responses
from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.data import datasets
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.recipes.assistant import TEMPLATE, Share, answer
from course_lib.recipes.preferences import by_dpo
from course_lib.recipes.real_chat import BATCH, CHATS, COMPARISONS, RATES, as_comparisons, as_rows, conversations, start, wins
from course_lib.runtime import distributed, pick_device
from course_lib.tokenizers import BPETokenizer
from course_lib.training import History, TrainingConfig, evaluate, train

STEPS = {"random": 800, "published": 300, "adapter": 600}           # of tuning, by where a model starts and what of it learns
TUNING_RATES = RATES | {"adapter": 3e-4}
DPO_RATES = {"random": 2e-4, "published": 5e-6}


class Tuned(NamedTuple):
    """What a run did: nats per token of held-out responses before it (None but in the main process), and its history."""

    before: float | None
    history: History


def low_rank(model: GPT, rank: int, n_new: int) -> None:
    """Let low-rank parts learn, and the rows of the last `n_new` words: the marks are new, and nothing frozen can tell them apart."""
    add_lora(model, rank, 2 * rank)
    old = model.config.vocab_size - n_new
    model.embedding.weight.requires_grad_(True).register_hook(lambda gradient: F.pad(gradient[old:], (0, 0, old, 0)))


def run(out: str | Path, *, data: Sequence[str] = CHATS, weights: str | Path | None = None, steps: int | None = None,
        lora: int | None = None, batch_size: int = BATCH, evaluate_every: int = 100, device: str | None = None,
        precision: str = "float32", seed: int = 0, progress: bool = True) -> Tuned:
    """Tune a small GPT, or GPT-2's weights, on the conversations of `data`; leave model and tokenizer in the folder `out` for `load`.

    lora: the rank of an adapter that learns in place of the weights, and is merged into them at the end. Started again it goes on
    from its checkpoint; ValueError for one of another run. Raises what `datasets.load` and `start` raise.
    """
    if lora is not None and weights is None:
        raise ValueError(f"lora: got rank {lora} without weights, expected weights: beside a random model an adapter learns little")
    out = Path(out)
    chats, held = (conversations(data, split) for split in ("train", "test"))
    model, tokenizer = start(chats, weights, seed)
    way = "random" if weights is None else "published"
    settings = {"model": asdict(model.config), "start": way, "data": list(data), "lora": lora, "seed": seed, "batch_size": batch_size}
    if lora is not None:
        way = "adapter"
        low_rank(model, lora, len(TEMPLATE.words))
    steps = steps or STEPS[way]
    lr = TUNING_RATES[way]
    training = TrainingConfig(steps, lr, min(50, steps), final_lr=lr / 10, betas=(0.9, 0.95), precision=precision,
                              evaluate_every=evaluate_every, checkpoint_every=evaluate_every)
    seen, asked = (as_rows(tokenizer, part).rows for part in (chats, held))
    with distributed(device) as context:
        _check_same(out / "checkpoint.safetensors", settings)
        model.to(context.device)

        def score() -> dict[str, float]:
            batches = (collate_responses(asked[i:i + batch_size]) for i in range(0, len(asked), batch_size))
            return {"nats": evaluate(model, batches, next_token_loss, context.device)}
        before = score()["nats"] if context.is_main else None
        history = train(model, ResponseBatches(seen, batch_size, seed=seed), next_token_loss, training, context=context,
                        evaluate=score, checkpoint=out / "checkpoint.safetensors", model_config=settings, progress=progress)
        if context.is_main:
            if lora is not None:
                merge_lora(model)
            save(out, model, tokenizer, settings)
    return Tuned(before, history)


def _check_same(checkpoint: Path, settings: dict[str, Any]) -> None:
    """ValueError where a checkpoint is of a run with other settings."""
    kept = load_checkpoint(checkpoint).config if checkpoint.exists() else settings
    if differing := [name for name in settings if settings[name] != kept.get(name)]:
        raise ValueError(f"{checkpoint}: was trained with other settings ({', '.join(differing)}); delete it or give another folder")


def save(out: str | Path, model: GPT, tokenizer: BPETokenizer, settings: dict[str, Any]) -> None:
    """Leave a model and its tokenizer in a folder."""
    tokenizer.save(Path(out) / "tokenizer.json")
    save_checkpoint(Path(out) / "model.safetensors", model, config=settings)


def load(out: str | Path) -> tuple[GPT, BPETokenizer, dict[str, Any]]:
    """What `run` or `prefer` left in a folder: model, tokenizer, settings. FileNotFoundError; ValueError for a damaged file."""
    path = Path(out) / "model.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}: `python3 -m course_lib train assistant` makes one")
    settings = load_checkpoint(path).config
    model = GPT(GPTConfig(**settings["model"]))
    load_checkpoint(path, model)
    return model.eval(), BPETokenizer.load(Path(out) / "tokenizer.json"), settings


def samples(model: GPT, tokenizer: BPETokenizer, data: Sequence[str] = CHATS, n: int = 3,
            max_len: int = 60) -> list[tuple[str, Response]]:
    """What the model says to `n` held-out instructions, spread over all."""
    fitting = [turns for turns in conversations(data, "test") if as_rows(tokenizer, [turns]).rows]
    asked = [Turn(*fitting[i * len(fitting) // n][0]) for i in range(n)]
    return list(zip((turn.text for turn in asked), answer(model, tokenizer, asked, max_len=max_len)))


@torch.no_grad()
def implicit_accuracy(policy: GPT, reference: GPT, comparisons: Sequence[Comparison], batch_size: int = 8) -> Share:
    """How often log(policy / reference), DPO's reward but for a factor, is larger for the chosen response; level counts one half."""
    device, margins = next(policy.parameters()).device, []
    for i in range(0, len(comparisons), batch_size):
        batch = collate_preferences(comparisons[i:i + batch_size]).to(device)
        chosen, rejected = (mine - theirs for mine, theirs in zip(pair_log_probs(policy, batch), pair_log_probs(reference, batch)))
        margins += (chosen - rejected).tolist()
    return wins(margins)


class Preferred(NamedTuple):
    """What DPO did: implicit accuracy on held-out comparisons before and after, and how many of them there are and were learned from."""

    before: Share
    after: Share
    asked: int
    seen: int


def prefer(out: str | Path, tuned: str | Path, *, data: str = COMPARISONS[0], steps: int = 100, beta: float = 0.1,
           batch_size: int = BATCH, device: str | None = None, seed: int = 0) -> Preferred:
    """DPO on the comparisons `data`, from the model in the folder `tuned`; leave the new one in the folder `out`. One process."""
    chosen = pick_device(device)
    sft, tokenizer, settings = load(tuned)
    seen, asked = (as_comparisons(tokenizer, datasets.load(data, split=split)).rows for split in ("train", "test"))
    reference = frozen(sft).to(chosen)
    before = implicit_accuracy(reference, reference, asked)
    policy, _ = by_dpo(reference, seen, steps, DPO_RATES[settings["start"]], beta, batch_size, seed)
    after = implicit_accuracy(policy, reference, asked)
    save(out, policy, tokenizer, settings | {"preferences": data})
    return Preferred(before, after, len(asked), len(seen))


def folder(name: str = "assistant") -> Path:
    """Where the commands keep a model, unless told otherwise."""
    return Path(__file__).resolve().parents[2] / "out" / "train" / name
