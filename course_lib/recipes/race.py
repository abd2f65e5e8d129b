"""The fair race of chapter 05: three translators with as many parameters and as much time, on what they know and do not know.

English to German in Tinytown, trained on sentences of up to 16 words. `python3 -m course_lib.recipes.race SECONDS SEEDS` runs
it and keeps the result with the course.
"""

import json
import sys
import time
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from course_lib.data.batching import PairBatches
from course_lib.data.tinytown import Pair, translation_pairs
from course_lib.losses import seq2seq_loss
from course_lib.metrics import exact_match
from course_lib.recipes.results import keep
from course_lib.recipes.tinytown import Task, build, build_transformer, fit, prepare
from course_lib.training import History

MAX_WORDS = 16
RUNNERS = {                                          # as many parameters each, within 1 %; each with the rate that suits it
    "one fixed context": ("none", {"d_hidden": 154}, {"lr": 7e-3}),
    "attention": ("additive", {"d_hidden": 148}, {"lr": 7e-3}),
    "Transformer": ("transformer", {}, {"lr": 2e-3, "warmup_steps": 150}),
}


@dataclass(frozen=True)
class Course:
    """What is run on: the task and the three test sets."""

    task: Task
    tests: dict[str, list[Pair]]


def lay_out(n_test: int = 500) -> Course:
    """Training pairs of up to 16 words, and tests: as long, longer (17 to 25 words), and with unseen combinations of words."""
    task = prepare(n_test=n_test, reads="en", max_words=MAX_WORDS)
    more = {split: translation_pairs(n_test, seed=99, split=split, max_words=MAX_WORDS) for split in ("longer", "unseen")}
    return Course(task, {"as trained": task.test, **more})


def runner(name: str, task: Task, seed: int = 0) -> nn.Module:
    """The model called `name`, untrained."""
    kind, sizes, _ = RUNNERS[name]
    if kind == "transformer":
        return build_transformer(task, seed, **sizes)
    return build(task, seed, attention=kind, **sizes)


def steps_in(seconds: float, name: str, task: Task) -> int:
    """How many training steps of `name` fit into `seconds` on this machine, now: measured on 20, after 5 to warm up."""
    model, batches = runner(name, task), PairBatches(task.train[:32 * 25], 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
    for i, batch in enumerate(islice(map(batches.__getitem__, range(25)), 25)):
        if i == 5:
            start = time.perf_counter()
        loss, count = seq2seq_loss(model, batch)
        (loss / count).backward()
        optimizer.step()
        optimizer.zero_grad()
    return max(1, round(seconds / ((time.perf_counter() - start) / 20)))


def run(name: str, course: Course, steps: int, seed: int = 0) -> tuple[nn.Module, History, dict[str, float]]:
    """Train `name`; the model, its history, and its exact match on each test set."""
    model = runner(name, course.task, seed)
    history = fit(model, course.task, steps, seed, **RUNNERS[name][2])
    return model, history, {test: exact_match(course.task.translate(model, pairs), course.task.references(pairs))
                            for test, pairs in course.tests.items()}


def main(seconds: float, seeds: int) -> None:
    """Run all, print a line each, and keep the result as race_SECONDS.json."""
    course, rows = lay_out(), []
    for seed in range(seeds):
        for name in RUNNERS:
            model, history, scores = run(name, course, steps_in(seconds, name, course.task), seed)
            rows.append({"model": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
                         "steps": len(history.loss), "seconds": round(history.seconds[-1], 1),
                         **{test: round(value, 4) for test, value in scores.items()}})
            print(json.dumps(rows[-1]), flush=True)
    print(keep(f"race_{seconds:.0f}", torch.device("cpu"), {"seconds": seconds, "seeds": seeds}, runs=rows))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
