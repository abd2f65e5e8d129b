"""What the four heads make of real texts, beside guessing the commonest label and counting words.

`python3 -m course_lib.recipes.wild_scores SEEDS` runs it on a CPU, from a random start, and keeps the scores with the course; with a
file of published weights behind it (`… SEEDS model.safetensors`) it fine-tunes bert-base-uncased as well, best on a GPU.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from course_lib.models.bert import BERT, BERTS, BERTConfig
from course_lib.models.bert_weights import load_bert
from course_lib.recipes.finetuning import Task, fit, score, score_of_counts
from course_lib.recipes.results import keep
from course_lib.recipes.wild import WILD_TASKS, tokenizer
from course_lib.runtime import pick_device, seed_everything
from course_lib.tokenizers import WordPieceTokenizer

MOST_TRAIN, MOST_TEST, STEPS = 4000, 500, 250
SMALL = {"d_model": 96, "n_heads": 4, "n_layers": 4, "max_len": 256, "dropout": 0.1}


def commonest(task: Task, seen: list, asked: list) -> float:
    """The score of saying the same everywhere: the commonest label, no entity, no answer."""
    label = seen[0].label
    same = Counter(example.label for example in seen).most_common(1)[0][0] if isinstance(label, str) else None
    return task.kind.measure([tuple("O" for _ in example.first) if isinstance(label, tuple) and isinstance(label[0], str) else same
                              for example in asked], asked)


def scores(name: str, pieces: WordPieceTokenizer, seed: int, weights: Path | None = None) -> dict[str, Any]:
    """One data set with one seed: how many examples were seen and asked, and the scores."""
    task = WILD_TASKS[name]
    seen, asked = task.examples(MOST_TRAIN, seed), task.examples(MOST_TEST, 1000, "test")
    seed_everything(seed)
    small = fit(task, BERT(BERTConfig(pieces.vocab_size, **SMALL)), seen, pieces, STEPS, seed=seed)
    found = {"the commonest label": commonest(task, seen, asked), "words counted": score_of_counts(task, seen, asked),
             "small, random start": score(task, small, asked, pieces)}
    if name == "snli":
        alone, asked_alone = ([example._replace(first=()) for example in part] for part in (seen, asked))
        found["words counted, second text alone"] = score_of_counts(task, alone, asked_alone)
    if weights is not None:
        large = BERT(BERTS["bert-base-uncased"])
        load_bert(weights, large)
        tuned = fit(task, large, seen, pieces, lr=3e-5, steps=3 * len(seen) // 32, seed=seed).to(pick_device())
        found["BERT-base, pre-trained"] = score(task, tuned, asked, pieces)
    return {"set": name, "seed": seed, "seen": len(seen), "asked": len(asked),
            "scores": {start: round(value, 4) for start, value in found.items()}}


if __name__ == "__main__":
    pieces_of_bert, runs = tokenizer(), []
    for number in range(int(sys.argv[1])):
        for data_set in WILD_TASKS:
            runs.append(scores(data_set, pieces_of_bert, number, Path(sys.argv[2]) if len(sys.argv) > 2 else None))
            print(json.dumps(runs[-1]), flush=True)
            keep("wild_scores", torch.device("cpu"), {"steps": STEPS, "test": MOST_TEST, "train": MOST_TRAIN}, runs=runs)
