"""How fast BERT trains, beside Hugging Face's BertForPreTraining with the same weights.

    python tests/bench/bert.py [--quick] [--threads N] [--only "300 words"]

4 layers, 128 wide, 4 heads; batches of 32 rows of up to 64 tokens in pairs, 15 % of them chosen; vocabularies of 300 and 4096.
A step is forward, loss, backward, clipping, AdamW; no dropout; the same loss (checked). Both run in one process, turn by turn,
another one first each time.

    blanks alone     ours as it trains: words are scored at chosen places; Hugging Face's class scores them everywhere
    every place      ours made to score them everywhere, too: equal work

Wanted: ≥ 1.0 × Hugging Face as it trains. Of equal work nothing is wanted: nearly all of it are the same matrix products.
"""

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
import numpy as np
from transformers import BertConfig, BertForPreTraining

from course_lib.cli.comparison import Row
from course_lib.data.masking import MaskedBatch, Masking, pack_pairs
from course_lib.losses import pre_training_loss
from course_lib.models.bert import BERT, BERTConfig, BERTForPreTraining
from course_lib.models.bert_weights import save_bert
from tests.bench.common import Trainer, main, turns

BATCH, LENGTH, SPECIALS, STEPS = 32, 64, (0, 1, 2, 3, 4), 3
PEER = "Hugging Face"


def make(vocab_size: int) -> tuple[BERTForPreTraining, BertForPreTraining]:
    torch.manual_seed(0)
    c = BERTConfig(vocab_size, 128, 4, 4, max_len=LENGTH, dropout=0.0)
    ours = BERTForPreTraining(BERT(c))
    theirs = BertConfig(vocab_size=vocab_size, hidden_size=c.d_model, num_attention_heads=c.n_heads, num_hidden_layers=c.n_layers,
                        intermediate_size=c.d_ff, max_position_embeddings=c.max_len, hidden_dropout_prob=0.0,
                        attention_probs_dropout_prob=0.0, pad_token_id=None)
    with tempfile.TemporaryDirectory() as folder:
        save_bert(Path(folder) / "model.safetensors", ours)
        theirs.save_pretrained(folder)
        return ours, BertForPreTraining.from_pretrained(folder)


class Blanks:
    """Random pairs of texts of 20 … 30 ids, the first row's as long as a row can hold: a batch for every number."""

    def __init__(self, vocab_size: int):
        self.masking = Masking(4, SPECIALS, vocab_size)

    def __getitem__(self, number: int) -> MaskedBatch:
        rng = np.random.default_rng(number)
        lengths = rng.integers(20, 31, (BATCH, 2))
        lengths[0] = 30, LENGTH - 33
        pairs = [tuple(rng.integers(len(SPECIALS), self.masking.vocab_size, n) for n in both) for both in lengths]
        targets, mask, segments = pack_pairs(pairs, 2, 3, 0)
        ids, chosen = self.masking.hide(targets, rng)
        return MaskedBatch(ids, mask, segments, targets, chosen, torch.from_numpy(rng.integers(0, 2, BATCH)))


def their_loss(model: nn.Module, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """The loss of their class, which is a mean: class 0 of a pair means that the second text follows."""
    loss = model(batch.ids, attention_mask=batch.mask.long(), token_type_ids=batch.segments,
                 labels=batch.targets.masked_fill(~batch.chosen, -100), next_sentence_label=1 - batch.follows).loss
    count = batch.chosen.sum()
    return loss * count, count


class EveryPlace(nn.Module):
    """Our model, made to score words everywhere before the chosen places are picked."""

    def __init__(self, model: BERTForPreTraining):
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        words, pairs = self.model(ids, mask, segments)
        return words[chosen], pairs


def measure(vocab_size: int, quick: bool) -> Iterator[Row]:
    ours, theirs = make(vocab_size)
    runs = {"blanks alone": (ours, pre_training_loss), "every place": (EveryPlace(make(vocab_size)[0]), pre_training_loss),
            PEER: (theirs, their_loss)}
    batches = Blanks(vocab_size)
    losses = [loss(model, batches[0])[0].item() for model, loss in runs.values()]
    assert max(losses) / min(losses) - 1 < 1e-5, "not the same loss: no comparison"
    rates = turns({name: Trainer(model, partial(loss, model), batches, STEPS) for name, (model, loss) in runs.items()},
                  5 if quick else 15)
    for name, wanted in (("blanks alone", 1.0), ("every place", None)):
        yield Row("bert", f"training, {BATCH} × {LENGTH}, {vocab_size} words, {name}", "blanks/s", rates[name], PEER, rates[PEER], wanted)


if __name__ == "__main__":
    measures = {f"{size} words": partial(measure, size) for size in (300, 4096)}
    main(__doc__, measures, quick={"300 words"})
