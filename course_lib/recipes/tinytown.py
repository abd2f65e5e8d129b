"""Translation in Tinytown: the task, the models and the measures that chapters 02, 03 and 05 share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.baselines import WordDictionary
from course_lib.data.batching import PairBatches, in_order, pad
from course_lib.data.tinytown import Pair, translation_pairs
from course_lib.generation import translate
from course_lib.losses import seq2seq_loss
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.recurrent import open_gates
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import History, TrainingConfig, train


@dataclass(frozen=True)
class Task:
    """Two tokenizers, training pairs as ids, and test pairs with their gold alignments. `reads`: de (to English) or en."""

    german: WordTokenizer
    english: WordTokenizer
    train: list[tuple[list[int], list[int]]]
    test: list[Pair]
    reads: str = "de"

    @property
    def source(self) -> WordTokenizer:
        """The tokenizer of the language that is read."""
        return self.german if self.reads == "de" else self.english

    @property
    def target(self) -> WordTokenizer:
        """The tokenizer of the language that is written."""
        return self.english if self.reads == "de" else self.german

    @property
    def test_english(self) -> list[str]:
        """The English sides of the test pairs."""
        return [pair.en_text for pair in self.test]

    def references(self, pairs: list[Pair]) -> list[str]:
        """The right translations of `pairs`."""
        return [pair.en_text if self.reads == "de" else pair.de_text for pair in pairs]

    def ids(self, pairs: list[Pair]) -> list[tuple[list[int], list[int]]]:
        """Pairs → (source ids, target ids), without special tokens."""
        both = [(self.german.to_ids(pair.de), self.english.to_ids(pair.en)) for pair in pairs]
        return both if self.reads == "de" else [(english, german) for german, english in both]

    def inputs(self, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
        """The source sides as a batch: source (B, S) ending in <eos>, mask (B, S)."""
        return pad([[*source, self.source.eos_id] for source, _ in self.ids(pairs)], self.source.pad_id)

    def translate(self, model: nn.Module, pairs: list[Pair] | None = None, beam_size: int = 1) -> list[str]:
        """Free running: what `model` says for each pair (default: all test pairs)."""
        pairs = self.test if pairs is None else pairs
        texts = [pair.de_text if self.reads == "de" else pair.en_text for pair in pairs]
        return translate(model, self.source, self.target, texts, beam_size=beam_size)

    def word_by_word(self, dictionary: WordDictionary) -> list[str]:
        """The baseline: each German word of the test pairs looked up, in order."""
        return [self.english.join(dictionary.translate(pair.de)) for pair in self.test]

    def forced_accuracy(self, model: nn.Module) -> float:
        """Teacher forcing: the share of next words of the test pairs, <eos> included, that `model` puts first."""
        right, count = 0, 0
        with torch.no_grad():
            for batch in in_order(self.ids(self.test)):
                hit = model(batch.source, batch.source_mask, batch.target_in).argmax(-1) == batch.target_out      # (B, T)
                right, count = right + int((hit & batch.target_mask).sum()), count + int(batch.target_mask.sum())
        return right / count


def prepare(n_train: int = 40_000, n_test: int = 1500, seed: int = 0, test_seed: int = 99, reads: str = "de",
            max_words: int | None = None) -> Task:
    """Draw training and test pairs of 3 to `max_words` words (None: 25) and learn both vocabularies from the training pairs."""
    pairs = translation_pairs(n_train, seed=seed, max_words=max_words)
    german = WordTokenizer.train(pair.de_text for pair in pairs)
    english = WordTokenizer.train(pair.en_text for pair in pairs)
    task = Task(german, english, [], translation_pairs(n_test, seed=test_seed, split="test", max_words=max_words), reads)
    task.train.extend(task.ids(pairs))
    return task


def build(task: Task, seed: int = 0, **parts: Any) -> Seq2Seq:
    """A GRU translator for `task` with its gates started open; `parts` are fields of Seq2SeqConfig."""
    seed_everything(seed)
    sizes = {"d_embed": 128, "d_hidden": 128, "d_attention": 96, "tie_embeddings": True} | parts
    model = Seq2Seq(Seq2SeqConfig(task.source.vocab_size, task.target.vocab_size, **sizes))
    open_gates(model)
    return model


def build_transformer(task: Task, seed: int = 0, **parts: Any) -> Transformer:
    """A small Transformer for `task`; `parts` are fields of TransformerConfig."""
    seed_everything(seed)
    sizes = {"d_model": 128, "n_heads": 4, "n_layers": 2, "d_ff": 256, "dropout": 0.0, "norm": "pre", "max_len": 64} | parts
    return Transformer(TransformerConfig(task.source.vocab_size, task.target.vocab_size, **sizes))


def fit(model: nn.Module, task: Task, steps: int, seed: int = 0, batch_size: int = 32, loss: Callable = seq2seq_loss,
        progress: bool = False, lr: float = 7e-3, warmup_steps: int = 50) -> History:
    """Train `model` for `steps` batches on the best device present, and bring it back to the CPU."""
    config = TrainingConfig(steps=steps, lr=lr, final_lr=1e-4, warmup_steps=min(warmup_steps, steps))
    context = Distributed(device=pick_device())
    history = train(model, PairBatches(task.train, batch_size, seed=seed), loss, config, context=context, progress=progress)
    model.to("cpu")
    return history
