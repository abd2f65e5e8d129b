"""The fair race of chapter 05: three translators with as many parameters and as much time, on what they know and do not know.

English to German in Tinytown, trained on sentences of up to 16 words. `python3 -m course_lib.recipes.race STEPS SEEDS` runs it,
giving all the time of so many Transformer steps, and keeps the result with the course.
"""

import json
import statistics
import sys
import time
from dataclasses import dataclass

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


def equal_time(task: Task, steps: int, rounds: int = 7) -> dict[str, int]:
    """For each model the number of steps that take as long as `steps` of the Transformer, on this machine.

    Measured turn by turn on the same batches, five at a time, by medians: whatever else the machine does slows all alike.
    """
    batches = PairBatches(task.train, 32)
    models = {name: runner(name, task) for name in RUNNERS}
    optimizers = {name: torch.optim.AdamW(model.parameters(), lr=0.0, fused=True) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in RUNNERS}
    for number in range(rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            for i in range(5):
                loss, count = seq2seq_loss(model, batches[5 * number + i])
                (loss / count).backward()
                optimizers[name].step()
                optimizers[name].zero_grad()
            times[name].append(time.perf_counter() - start)
    pace = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}    # the first round warms up
    return {name: round(steps * pace["Transformer"] / pace[name]) for name in RUNNERS}


def run(name: str, course: Course, steps: int, seed: int = 0) -> tuple[nn.Module, History, dict[str, float]]:
    """Train `name`; the model, its history, and its exact match on each test set."""
    model = runner(name, course.task, seed)
    history = fit(model, course.task, steps, seed, **RUNNERS[name][2])
    return model, history, {test: exact_match(course.task.translate(model, pairs), course.task.references(pairs))
                            for test, pairs in course.tests.items()}


def main(steps: int, seeds: int) -> None:
    """Run all, print a line each, and keep what there is after every seed as race_STEPS.json."""
    course, rows = lay_out(), []
    allowed = equal_time(course.task, steps)
    for seed in range(seeds):
        for name in RUNNERS:
            model, history, scores = run(name, course, allowed[name], seed)
            rows.append({"model": name, "seed": seed, "parameters": sum(p.numel() for p in model.parameters()),
                         "steps": allowed[name], "seconds": round(history.seconds[-1], 1),
                         **{test: round(value, 4) for test, value in scores.items()}})
            print(json.dumps(rows[-1]), flush=True)
        print(keep(f"race_{steps}", torch.device("cpu"), {"transformer_steps": steps, "seeds": seed + 1}, runs=rows))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
