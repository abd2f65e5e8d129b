"""What pre-training is worth: four tasks, 50 to 5000 labels, from a pre-trained encoder, a random start and counts of words.

`python3 -m course_lib.recipes.label_budgets SEEDS` pre-trains one encoder for each seed, fine-tunes it everywhere, and keeps the
scores with the course after each. About eight minutes a seed on one core.
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from course_lib.recipes import tinybert
from course_lib.recipes.finetuning import TOWN_TASKS, fit, score, score_of_counts, untrained
from course_lib.recipes.results import keep

STARTS = ("pre-trained", "random start", "words counted")
STUDENT = dict(enumerate((12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262), 2))      # t of 95 % for n seeds
BUDGETS, PRE_TRAINING_STEPS, N_TEST = (50, 200, 1000, 5000), 1500, 500


def scores_of(kept: dict[str, Any], task: str, start: str) -> np.ndarray:
    """What `stored("label_budgets")` has of a task from a start: (budgets, seeds)."""
    return np.array([[run["scores"][task][str(budget)][start] for run in kept["runs"]] for budget in kept["settings"]["budgets"]])


def gain(kept: dict[str, Any], task: str, other: str = "random start") -> list[tuple[float, float, float]]:
    """By how much the pre-trained start is ahead of another at each budget: mean over the seeds, and its 95 % interval.

    Student's: mean ± t · s / √n of the differences seed by seed. (A bootstrap of five would be too sure of itself.)
    """
    ahead = scores_of(kept, task, "pre-trained") - scores_of(kept, task, other)                     # (budgets, seeds)
    n = ahead.shape[1]
    if n not in STUDENT:
        raise ValueError(f"kept: got {n} seeds, expected {min(STUDENT)} to {max(STUDENT)}")
    half = STUDENT[n] * ahead.std(1, ddof=1) / n**0.5
    return [(float(mean), float(mean - h), float(mean + h)) for mean, h in zip(ahead.mean(1), half)]


def measure(seed: int, budgets: Iterable[int] = BUDGETS, steps: int = PRE_TRAINING_STEPS, n_test: int = N_TEST) -> dict[str, Any]:
    """Pre-train with a seed, and score every task at every budget from the three starts; labels differ from seed to seed, too."""
    corpus = tinybert.prepare()
    model = tinybert.build(corpus.tokenizer.vocab_size, seed)
    tinybert.fit(model, corpus, steps, seed)
    starts, scores = {"pre-trained": model.bert, "random start": untrained(model.bert, seed)}, {}
    for name, task in TOWN_TASKS.items():
        test, labelled = task.examples(n_test, seed=1000, split="test"), task.examples(max(budgets), seed=seed)
        scores[name] = {}
        for budget in budgets:
            row = {start: score(task, fit(task, bert, labelled[:budget], corpus.tokenizer, seed=seed), test, corpus.tokenizer)
                   for start, bert in starts.items()} | {"words counted": score_of_counts(task, labelled[:budget], test)}
            scores[name][str(budget)] = {start: round(value, 4) for start, value in row.items()}
            print(json.dumps({"seed": seed, "task": name, "labels": budget, **scores[name][str(budget)]}), flush=True)
    return {"seed": seed, "scores": scores}


if __name__ == "__main__":
    runs: list[dict[str, Any]] = []
    for number in range(int(sys.argv[1])):
        runs.append(measure(number))
        keep("label_budgets", torch.device("cpu"),
             {"budgets": BUDGETS, "pre_training_steps": PRE_TRAINING_STEPS, "test": N_TEST}, runs=runs)
