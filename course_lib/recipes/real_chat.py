"""Chapters 12 and 13 on real data: conversations and comparisons as ids, a small GPT from a random start or GPT-2's weights, baselines.

`python3 -m course_lib.recipes.real_chat SEEDS` measures on a CPU and keeps the result with the course; with a file of GPT-2's published
weights behind it (`… SEEDS model.safetensors`) it tunes those instead, best on a GPU, and keeps them under a name of their own.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from course_lib.alignment.chat import Growing, Rendered, dialogue, grow
from course_lib.alignment.reward import (
    Comparison,
    PreferenceBatches,
    RewardModel,
    bradley_terry_loss,
    collate_preferences,
    reward_accuracy,
)
from course_lib.alignment.sft import ResponseBatches, collate_responses
from course_lib.data import datasets
from course_lib.data.chat_parsers import Turns
from course_lib.losses import next_token_loss
from course_lib.metrics import wilson_interval
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import load_gpt2, published_sizes
from course_lib.ngrams import KneserNey
from course_lib.recipes import gpt2_tokens, word_counts
from course_lib.recipes.assistant import TEMPLATE, Share, fit
from course_lib.recipes.results import keep
from course_lib.recipes.wild import words_of
from course_lib.runtime import pick_device, seed_everything
from course_lib.tokenizers import BPETokenizer
from course_lib.training import evaluate

CHATS = ("instruction-1100", "alpaca-demo", "self-instruct")
COMPARISONS = ("preference-1100", "hh-rlhf")
CONTEXT = 256                                           # ids that a conversation may have
SMALL = {"d_model": 96, "n_heads": 4, "n_layers": 4, "max_len": CONTEXT, "dropout": 0.1, "positions": "rotary", "tie_embeddings": False}
RATES = {"random": 3e-3, "published": 5e-5}             # of tuning, by where the model starts; a third of it for rewards
STEPS = {"tuning": 320, "preference-1100": 120, "hh-rlhf": 40}      # in batches of BATCH; a pair of hh-rlhf takes six times as long
BATCH = 8


class Kept(NamedTuple):
    """What became rows of ids: the rows, how many texts were too long and left out, and how many lost earlier turns to fit."""

    rows: list[Any]
    left_out: int
    cut: int = 0


def conversations(names: Sequence[str] = CHATS, split: str = "train") -> list[Turns]:
    """The conversations of several sets. Raises what `datasets.load` raises."""
    return [turns for name in names for turns in datasets.load(name, split=split)]


def start(chats: Iterable[Turns], weights: str | Path | None = None, seed: int = 0, vocab_size: int = 1500,
          **sizes: Any) -> tuple[GPT, BPETokenizer]:
    """A model and a tokenizer with the template's marks: a small GPT and byte pairs learned from `chats`; or GPT-2's, with `weights`.

    sizes: fields of GPTConfig, of the small one. FileNotFoundError and ValueError for weights that are absent or not GPT-2's.
    """
    seed_everything(seed)
    if weights is not None:
        model = GPT(GPTConfig(**published_sizes(weights), dropout=0.1))
        load_gpt2(weights, model)
        return grow(model, gpt2_tokens.load(), TEMPLATE.words, seed=seed)
    texts = (text for turns in chats for _, text in turns)
    tokenizer = BPETokenizer.train(texts, vocab_size - len(TEMPLATE.words)).extended(TEMPLATE.words)
    return GPT(GPTConfig(tokenizer.vocab_size, **SMALL | sizes)), tokenizer


def as_rows(tokenizer: Growing, chats: Iterable[Turns], limit: int = CONTEXT) -> Kept:
    """Conversations as ids. One of more than `limit` is left out: cut off, it would be a response without an end."""
    rows = [TEMPLATE.render(tokenizer, turns) for turns in chats]
    fitting = [row for row in rows if len(row.ids) <= limit]
    return Kept(fitting, len(rows) - len(fitting))


def as_comparisons(tokenizer: Growing, compared: Iterable[tuple[Turns, str, str]], limit: int = CONTEXT) -> Kept:
    """Comparisons (prompt, chosen, rejected) as ids; of a long dialogue the last turns that fit, at least one, or it is left out."""
    end, rows, left_out, cut = TEMPLATE.marks(tokenizer)["end"], [], 0, 0
    for turns, *texts in compared:
        responses = [[*tokenizer.encode(text), end] for text in texts]
        room = limit - max(map(len, responses))
        prompts = (TEMPLATE.prompt(tokenizer, turns[first:]) for first in range(0, len(turns), 2))     # each begins with the user
        number, prompt = next(((n, prompt) for n, prompt in enumerate(prompts) if len(prompt) <= room), (0, None))
        if prompt is None:
            left_out += 1
        else:
            rows.append((prompt, *responses))
            cut += number > 0
    return Kept(rows, left_out, cut)


def nats(model: GPT, rows: Sequence[Rendered]) -> float:
    """Nats per token of responses, their ends included."""
    device = pick_device()
    batches = (collate_responses(rows[i:i + 16]) for i in range(0, len(rows), 16))
    return evaluate(model.to(device), batches, next_token_loss, device)


def nats_of_counts(seen: Sequence[Rendered], asked: Sequence[Rendered], order: int, vocab_size: int) -> float:
    """The same for a smoothed count of the tokens (order 1), or of `order` tokens in a row, of responses alone."""
    said = [[[row.ids[row.learned.index(True) - 1], *(i for i, yes in zip(row.ids, row.learned) if yes)] for row in rows]
            for rows in (seen, asked)]                  # each behind the assistant's mark
    counts = KneserNey.fit(said[0], order, vocab_size)
    return -float(np.concatenate([counts.log_probs(ids) for ids in said[1]]).mean())


def exchanged(chats: Sequence[Turns]) -> list[Turns]:
    """Each response behind the instruction of another, one of about the same length: what a model loses by it, it has read there."""
    order = sorted(chats, key=lambda turns: len(turns[0][1]))
    return [tuple(dialogue(other[0][1], turns[1][1])) for turns, other in zip(order, [*order[1:], order[0]])]


def share(points: Sequence[float]) -> Share:
    """The mean of points 0 … 1, one for each comparison, with its 95 % interval (Wilson)."""
    return Share(sum(points) / len(points), *wilson_interval(sum(points), len(points)))


def wins(margins: Iterable[float]) -> Share:
    """How often the chosen one is ahead; level counts one half."""
    return share([1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins])


def baselines(tokenizer: Growing, seen: Sequence[Comparison], asked: Sequence[Comparison]) -> dict[str, Share]:
    """How often length, or counting the words of each response, finds the chosen one. Nothing of the prompt is read."""
    longer = [len(chosen) - len(rejected) for _, chosen, rejected in asked]
    words = [[tuple(words_of(tokenizer.decode(ids).lower()) for ids in row[1:]) for row in rows] for rows in (seen, asked)]
    return {"the longer response": wins(longer), "the shorter response": wins(-n for n in longer),
            "words counted": wins(word_counts.prefer(*words))}


def accuracies(sft: GPT, tokenizer: Growing, name: str, steps: int, lr: float, seed: int) -> dict[str, Any]:
    """A set of comparisons: how many, and how often a reward model and its baselines find the chosen response, on held-out ones."""
    seen, asked = (as_comparisons(tokenizer, datasets.load(name, split=split)) for split in ("train", "test"))
    seed_everything(seed)
    model = RewardModel(sft)
    fit(model, PreferenceBatches(seen.rows, BATCH, seed=seed), steps, lr, bradley_terry_loss, seed)
    batches = (collate_preferences(asked.rows[i:i + 16]) for i in range(0, len(asked.rows), 16))
    right = reward_accuracy(model.to(pick_device()), batches)
    return {"seen": len(seen.rows), "asked": len(asked.rows), "left out": [seen.left_out, asked.left_out], "cut": [seen.cut, asked.cut],
            "accuracy": baselines(tokenizer, seen.rows, asked.rows) | {"reward model": share([right] * len(asked.rows))}}


def measure(seed: int, weights: str | Path | None = None, steps: dict[str, int] = STEPS, most: int | None = None,
            **sizes: Any) -> dict[str, Any]:
    """Everything with one seed; `most` limits the conversations, for a trial."""
    chats, held = (conversations(split=split)[:most] for split in ("train", "test"))
    model, tokenizer = start(chats, weights, seed, **sizes)
    seen, asked, swapped = (as_rows(tokenizer, part) for part in (chats, held, exchanged(held)))
    lr = RATES["random" if weights is None else "published"]
    losses = {"the model before": nats(model, asked.rows)}
    for name, order in (("tokens counted", 1), ("three in a row counted", 3)):
        losses[name] = nats_of_counts(seen.rows, asked.rows, order, tokenizer.vocab_size)
    fit(model, ResponseBatches(seen.rows, BATCH, seed=seed), steps["tuning"], lr, seed=seed)
    losses |= {"the model tuned": nats(model, asked.rows), "tuned, another's instruction": nats(model, swapped.rows)}
    return {"seed": seed, "seen": len(seen.rows), "asked": len(asked.rows), "exchanged": len(swapped.rows),
            "left out": [seen.left_out, asked.left_out], "tokens": sum(sum(row.learned) for row in asked.rows),
            "nats": {name: round(value, 4) for name, value in losses.items()},
            "comparisons": {name: accuracies(model, tokenizer, name, steps[name], lr / 3, seed) for name in COMPARISONS}}


if __name__ == "__main__":
    published, runs = sys.argv[2] if len(sys.argv) > 2 else None, []
    for number in range(int(sys.argv[1])):
        runs.append(measure(number, published))
        print(json.dumps(runs[-1]), flush=True)
        keep("real_chat" if published is None else "real_chat_gpt2", pick_device(),
             {"steps": STEPS, "context": CONTEXT, "rates": RATES, "small": SMALL}, runs=runs)
