"""What the benches share: contestants that take turns, and a program that prints its table or tells `python3 -m course_lib bench`."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.cli.comparison import Findings, Row
from course_lib.speed import matmul_rate, memory_rate
from course_lib.training import TrainingConfig, make_optimizer

LENGTHS = (8, 16)                                                                       # words of a source sentence
CEILING_SECONDS = 0.25
Contestant = Callable[[int], float]             # the number of the round → the rate in it
Measure = Callable[[bool], Iterable[Row]]       # quick or not → rows


def turns(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Let all run in each round, another one first each time: name → what each round gave. The first one only warms up."""
    results, names = {name: [] for name in contestants}, list(contestants)
    for turn, number in enumerate([0, *range(rounds)]):
        for i in range(len(names)):
            name = names[(i + turn) % len(names)]
            rate = contestants[name](number)
            if turn:
                results[name].append(rate)
    return results


def pace(work: Callable[[], float]) -> Contestant:
    """A contestant that does the same in each round: how much, which `work` returns, in a second."""
    def rate(_: int) -> float:
        start = time.perf_counter()
        amount = work()
        return amount / (time.perf_counter() - start)
    return rate


class Trainer:
    """A contestant that trains: tokens a second over `steps` batches, other ones in each round. A step is forward, `loss`,
    backward, clipping, AdamW.
    """

    def __init__(self, model: nn.Module, loss: Callable[[Any], tuple[Tensor, Tensor]], batches: Any, steps: int):
        self.model, self.loss, self.batches, self.steps = model.train(), loss, batches, steps
        self.optimizer = make_optimizer(model, TrainingConfig(steps=1, lr=1e-4))

    def chosen(self, number: int) -> list[Any]:
        """The batches of a round."""
        return [self.batches[number * self.steps + i] for i in range(self.steps)]

    def train(self, batches: list[Any]) -> int:
        """Train on each batch once; how many tokens that were."""
        counts = []
        for batch in batches:
            loss, count = self.loss(batch)
            counts.append(count)
            (loss / count).backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        return int(sum(counts))

    def __call__(self, number: int) -> float:
        batches = self.chosen(number)
        return pace(lambda: self.train(batches))(number)


def random_pairs(n: int, vocab: int) -> list[tuple[list[int], list[int]]]:
    """Random sentence pairs: a source of 8 … 16 words, a target at most two words shorter or longer, as translations are."""
    g = torch.Generator().manual_seed(0)
    source = torch.randint(LENGTHS[0], LENGTHS[1] + 1, (n, 1), generator=g)
    target = source + torch.randint(-2, 3, (n, 1), generator=g)
    return [tuple(torch.randint(4, vocab, (k,), generator=g).tolist() for k in pair)
            for pair in torch.cat([source, target], dim=1).tolist()]


def events(measures: Mapping[str, Measure], quick: bool) -> Iterator[dict[str, Any]]:
    """Measure all: which one begins, its rows, and the machine's ceilings before, between and after."""
    for number, (name, measure) in enumerate(measures.items(), 1):
        yield {"measure": name, "number": number, "of": len(measures)}
        yield {"ceilings": ceilings()}
        for row in measure(quick):
            yield {"row": asdict(row)}
    yield {"ceilings": ceilings()}


def ceilings() -> dict[str, float]:
    """What this machine does at this moment: operations of matrix products, bytes read, a second."""
    cpu = torch.device("cpu")
    return {"matmul": matmul_rate(cpu, seconds=CEILING_SECONDS), "memory": memory_rate(cpu, seconds=CEILING_SECONDS)}


def main(text: str, measures: Mapping[str, Measure], quick: Collection[str], notes: Sequence[str] = ()) -> None:
    """The program of one part: its options, its measures (those named in `quick` with --quick), its table. `text` is its help."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)                           # so that temporary files are removed
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer measures, fewer and shorter rounds")
    parser.add_argument("--threads", type=int, help="threads of torch (default: what torch takes)")
    parser.add_argument("--only", choices=measures, action="append", help="this measure only; may be given again for another")
    parser.add_argument("--events", action="store_true", help="for `python3 -m course_lib bench`: one JSON object a line")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    findings, chosen = Findings(), arguments.only or (quick if arguments.quick else measures)
    found = events({name: measure for name, measure in measures.items() if name in chosen}, arguments.quick)
    for event in chain(({"note": note} for note in notes), found):
        if arguments.events:
            print(json.dumps(event), flush=True)
        elif "measure" in event:
            print(f"{event['number']}/{event['of']}: {event['measure']}", file=sys.stderr)
        findings.take(event)
    if not arguments.events:
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads\n{findings.table()}")
