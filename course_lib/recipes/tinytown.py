"""German to English in Tinytown: the task, the models and the measures that chapters 02 and 03 share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from course_lib.baselines import WordDictionary
from course_lib.data.batching import PairBatches, in_order, pad
from course_lib.data.tinytown import Pair, translation_pairs
from course_lib.generation import translate
from course_lib.losses import seq2seq_loss
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.recurrent import open_gates
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import History, TrainingConfig, train


@dataclass(frozen=True)
class Task:
    """Two tokenizers, training pairs as ids, and test pairs with their gold alignments."""

    german: WordTokenizer
    english: WordTokenizer
    train: list[tuple[list[int], list[int]]]
    test: list[Pair]

    @property
    def test_english(self) -> list[str]:
        """The right translations of the test pairs."""
        return [pair.en_text for pair in self.test]

    def ids(self, pairs: list[Pair]) -> list[tuple[list[int], list[int]]]:
        """Pairs → (German ids, English ids), without special tokens."""
        return [(self.german.to_ids(pair.de), self.english.to_ids(pair.en)) for pair in pairs]

    def inputs(self, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
        """The German sides as a batch: source (B, S) ending in <eos>, mask (B, S)."""
        return pad([[*self.german.to_ids(pair.de), self.german.eos_id] for pair in pairs], self.german.pad_id)

    def translate(self, model: Seq2Seq, pairs: list[Pair] | None = None, beam_size: int = 1) -> list[str]:
        """Free running: the English that `model` says for each pair (default: all test pairs)."""
        texts = [pair.de_text for pair in (self.test if pairs is None else pairs)]
        return translate(model, self.german, self.english, texts, beam_size=beam_size)

    def word_by_word(self, dictionary: WordDictionary) -> list[str]:
        """The baseline: each German word of the test pairs looked up, in order."""
        return [self.english.join(dictionary.translate(pair.de)) for pair in self.test]

    def forced_accuracy(self, model: Seq2Seq) -> float:
        """Teacher forcing: the share of next words of the test pairs, <eos> included, that `model` puts first."""
        right, count = 0, 0
        with torch.no_grad():
            for batch in in_order(self.ids(self.test)):
                hit = model(batch.source, batch.source_mask, batch.target_in).argmax(-1) == batch.target_out      # (B, T)
                right, count = right + int((hit & batch.target_mask).sum()), count + int(batch.target_mask.sum())
        return right / count


def prepare(n_train: int = 40_000, n_test: int = 1500, seed: int = 0, test_seed: int = 99) -> Task:
    """Draw training and test pairs of 3 to 25 words and learn both vocabularies from the training pairs."""
    pairs = translation_pairs(n_train, seed=seed)
    german = WordTokenizer.train(pair.de_text for pair in pairs)
    english = WordTokenizer.train(pair.en_text for pair in pairs)
    task = Task(german, english, [], translation_pairs(n_test, seed=test_seed, split="test"))
    task.train.extend(task.ids(pairs))
    return task


def build(task: Task, seed: int = 0, **parts: Any) -> Seq2Seq:
    """A GRU translator for `task` with its gates started open; `parts` are fields of Seq2SeqConfig."""
    seed_everything(seed)
    sizes = {"d_embed": 128, "d_hidden": 128, "d_attention": 96, "tie_embeddings": True} | parts
    model = Seq2Seq(Seq2SeqConfig(task.german.vocab_size, task.english.vocab_size, **sizes))
    open_gates(model)
    return model


def fit(model: Seq2Seq, task: Task, steps: int, seed: int = 0, batch_size: int = 32, loss: Callable = seq2seq_loss,
        progress: bool = False) -> History:
    """Train `model` for `steps` batches on the best device present, and bring it back to the CPU."""
    config = TrainingConfig(steps=steps, lr=7e-3, final_lr=1e-4, warmup_steps=min(50, steps))
    context = Distributed(device=pick_device())
    history = train(model, PairBatches(task.train, batch_size, seed=seed), loss, config, context=context, progress=progress)
    model.to("cpu")
    return history
