"""German and English on Multi30k (Elliott et al. 2016): 29,000 picture captions, by words, with three models.

What does most of the work in all of them: words seen once are left out, and one matrix both reads and scores the target words.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_lib.checkpoints import average_checkpoints, load_checkpoint, save_checkpoint
from course_lib.data import datasets
from course_lib.data.batching import PairBatches
from course_lib.generation import translate
from course_lib.losses import seq2seq_loss
from course_lib.metrics import corpus_bleu
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.runtime import distributed, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import History, TrainingConfig, train

MODELS = ("rnn", "additive", "transformer")          # chapters 02, 03 and 05
STEPS = {"rnn": 2250, "additive": 2250, "transformer": 4500}
AVERAGED = 5                                         # snapshots, one per evaluation, that the Transformer's score averages


def build(name: str, source: WordTokenizer, target: WordTokenizer) -> nn.Module:
    """The model called `name`, untrained."""
    if name not in MODELS:
        raise ValueError(f"model: got {name!r}, expected one of {', '.join(MODELS)}")
    if name == "transformer":
        return Transformer(TransformerConfig(source.vocab_size, target.vocab_size, d_model=128, n_heads=4, n_layers=3, d_ff=512,
                                             dropout=0.2, norm="pre", max_len=256))
    attention = "none" if name == "rnn" else name
    return Seq2Seq(Seq2SeqConfig(source.vocab_size, target.vocab_size, d_embed=192, d_hidden=256, d_attention=192,
                                 attention=attention, dropout=0.3, tie_embeddings=True))


def settings(name: str, steps: int, evaluate_every: int, precision: str) -> TrainingConfig:
    """How `name` is trained."""
    if name == "transformer":
        rate = {"lr": 3e-3, "warmup_steps": min(600, steps), "schedule": "inverse_sqrt"}
    else:
        rate = {"lr": 3e-3, "final_lr": 1e-4, "warmup_steps": min(100, steps)}
    return TrainingConfig(steps=steps, precision=precision, evaluate_every=evaluate_every, checkpoint_every=evaluate_every, **rate)


def run(out: str | Path, *, model: str = "additive", source: str = "de", target: str = "en", steps: int | None = None,
        evaluate_every: int = 450, device: str | None = None, precision: str = "float32", seed: int = 0,
        progress: bool = True) -> History:
    """Train, with sacrebleu BLEU on test_2016_flickr every `evaluate_every` steps (greedy); 453 steps show every pair once.

    The Transformer is scored, and left, as the mean of its last five snapshots. Tokenizers, checkpoint and snapshots go to
    the folder `out`; started again it goes on from there. Raises what `datasets.load` raises when the data are not to be had.
    """
    out, checkpoint = Path(out), Path(out) / "model.safetensors"
    pairs = datasets.load("multi30k", source=source, target=target, split="train")
    ours, theirs = (WordTokenizer.train([pair[side] for pair in pairs], min_count=2) for side in (0, 1))
    training = settings(model, steps or STEPS.get(model, 1), evaluate_every, precision)
    seed_everything(seed)
    net, batches = build(model, ours, theirs), PairBatches([(ours.encode(s), theirs.encode(t)) for s, t in pairs], 64, seed=seed)
    with distributed(device) as context:
        if context.is_main:
            ours.save(out / "source.json")
            theirs.save(out / "target.json")
        scored = build(model, ours, theirs).to(context.device).eval() if model == "transformer" else net
        score = partial(bleu, lambda texts: translate(scored, ours, theirs, texts), source=source, target=target)
        if scored is not net:
            score = partial(_averaged, score, out, net, scored, count(_evaluations(checkpoint)))
        return train(net, batches, partial(seq2seq_loss, label_smoothing=0.1), training, context=context, evaluate=score,
                     checkpoint=checkpoint, model_config={"model": model, **asdict(net.config)}, progress=progress)


def _evaluations(checkpoint: Path) -> int:
    """How many evaluations a run to be resumed has behind it."""
    return len(load_checkpoint(checkpoint).extra["history"]["evaluations"]) if checkpoint.exists() else 0


def _averaged(score: Callable[[], dict[str, float]], out: Path, net: nn.Module, scored: nn.Module, numbers: count) -> dict[str, float]:
    """Keep a snapshot of `net`, fill `scored` with the mean of the last ones, save it as averaged.safetensors, and score it."""
    number = next(numbers)
    snapshots = [out / f"snapshot_{i}.safetensors" for i in range(max(0, number - AVERAGED + 1), number + 1)]
    save_checkpoint(snapshots[-1], net)
    (out / f"snapshot_{number - AVERAGED}.safetensors").unlink(missing_ok=True)
    average_checkpoints(snapshots, scored)
    save_checkpoint(out / "averaged.safetensors", scored)
    return score()


def folder(model: str = "additive", source: str = "de", target: str = "en") -> Path:
    """Where `python3 -m course_lib train` keeps this model, unless told otherwise."""
    return Path(__file__).resolve().parents[2] / "out" / "train" / f"multi30k_{source}_{target}_{model}"


def trained(model: str = "additive", source: str = "de", target: str = "en") -> bool:
    """Whether that model is there."""
    return (folder(model, source, target) / "model.safetensors").is_file()


def bleu(translator: Callable[[list[str]], list[str]], split: str = "test_2016_flickr", source: str = "de",
         target: str = "en") -> dict[str, float]:
    """sacrebleu BLEU of `translator` (source texts → target texts) on a split."""
    inputs, references = zip(*datasets.load("multi30k", source=source, target=target, split=split))
    return {"bleu": corpus_bleu(translator(list(inputs)), list(references))}


def load(out: str | Path, device: torch.device = torch.device("cpu")) -> Callable[..., list[str]]:
    """The translator that `run` left in the folder `out`: load(out)(["Ein Hund läuft."], beam_size=5) → ["A dog runs."]"""
    out = Path(out)
    ours, theirs = WordTokenizer.load(out / "source.json"), WordTokenizer.load(out / "target.json")
    config: dict[str, Any] = load_checkpoint(out / "model.safetensors").config
    model = build(config["model"], ours, theirs).to(device).eval()
    averaged = out / "averaged.safetensors"
    load_checkpoint(averaged if averaged.is_file() else out / "model.safetensors", model)
    return partial(translate, model, ours, theirs)
