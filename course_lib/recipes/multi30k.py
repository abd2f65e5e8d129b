"""German to English on Multi30k (Elliott et al. 2016): 29,000 picture captions, a GRU encoder–decoder, by words.

Two numbers do most of the work: words seen once are left out, and one matrix both reads and scores the English words.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from course_lib.checkpoints import load_checkpoint
from course_lib.data import datasets
from course_lib.data.batching import PairBatches
from course_lib.generation import translate
from course_lib.losses import seq2seq_loss
from course_lib.metrics import corpus_bleu
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.runtime import distributed, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import History, TrainingConfig, train

ATTENTIONS = ("additive", "none")
STEPS = 2250


def run(out: str | Path, *, attention: str = "additive", steps: int = STEPS, evaluate_every: int = 450, device: str | None = None,
        precision: str = "float32", seed: int = 0, progress: bool = True) -> History:
    """Train, with sacrebleu BLEU on test_2016_flickr every `evaluate_every` steps (greedy); 453 steps show every pair once.

    Tokenizers and checkpoint go to the folder `out`; started again it goes on from there. Raises what `datasets.load` raises
    when the data are not to be had.
    """
    out = Path(out)
    pairs = datasets.load("multi30k", source="de", target="en", split="train")
    german, english = (WordTokenizer.train([pair[side] for pair in pairs], min_count=2) for side in (0, 1))
    config = Seq2SeqConfig(german.vocab_size, english.vocab_size, d_embed=192, d_hidden=256, d_attention=192,
                           attention=attention, dropout=0.3, tie_embeddings=True)
    training = TrainingConfig(steps=steps, lr=3e-3, final_lr=1e-4, warmup_steps=min(100, steps), precision=precision,
                              evaluate_every=evaluate_every, checkpoint_every=evaluate_every)
    seed_everything(seed)
    model = Seq2Seq(config)
    with distributed(device) as context:
        if context.is_main:
            german.save(out / "de.json")
            english.save(out / "en.json")
        batches = PairBatches([(german.encode(d), english.encode(e)) for d, e in pairs], batch_size=64, seed=seed)
        score = partial(bleu, lambda texts: translate(model, german, english, texts))
        return train(model, batches, partial(seq2seq_loss, label_smoothing=0.1), training, context=context, evaluate=score,
                     checkpoint=out / "model.safetensors", model_config=asdict(config), progress=progress)


def folder(attention: str = "additive") -> Path:
    """Where `python3 -m course_lib train` keeps this model, unless told otherwise."""
    return Path(__file__).resolve().parents[2] / "out" / "train" / f"multi30k_{attention}"


def trained(attention: str = "additive") -> bool:
    """Whether that model is there."""
    return (folder(attention) / "model.safetensors").is_file()


def bleu(translator: Callable[[list[str]], list[str]], split: str = "test_2016_flickr") -> dict[str, float]:
    """sacrebleu BLEU of `translator` (German texts → English texts) on a split."""
    german, english = zip(*datasets.load("multi30k", source="de", target="en", split=split))
    return {"bleu": corpus_bleu(translator(list(german)), list(english))}


def load(out: str | Path, device: torch.device = torch.device("cpu")) -> Callable[..., list[str]]:
    """The translator that `run` left in the folder `out`: load(out)(["Ein Hund läuft."], beam_size=5) → ["A dog runs."]"""
    out = Path(out)
    config: dict[str, Any] = load_checkpoint(out / "model.safetensors").config
    model = Seq2Seq(Seq2SeqConfig(**config)).to(device).eval()
    load_checkpoint(out / "model.safetensors", model)
    return partial(translate, model, WordTokenizer.load(out / "de.json"), WordTokenizer.load(out / "en.json"))
