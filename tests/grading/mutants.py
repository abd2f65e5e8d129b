"""Mutants of every exercise's answer in the notebooks, run in the worker on secret draws: how many does the judge let pass?

    python -m tests.grading.mutants [ID…]      brings tests/grading/mutants.json and mutants.md up to date

A mutant differs in one place: an operator, a comparison, a number (axes, indices, scales), a name, a call or statement left
out. It counts if it changes an output on any of four draws; it is rejected if it gets less than full points on the first.
"""

import ast
import copy
import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from course_lib.exercises import draws, exercise, judging, wire
from course_lib.grading.replies import Limits, Reply
from course_lib.grading.sandbox import Isolation, Task, Unsandboxed
from tests.exercises.test_mutants import variants
from tests.grading.test_marking import ASSIGNMENT, SOLUTIONS

SEEDS = (31, 32, 33, 34)
LIMITS = Limits(seconds=20, cpu_seconds=2)
TABLE = Path(__file__).with_suffix(".md")
# What is measured is judged by how well it does, not by its values: a mutant that does well is a right answer.
LEFT_OUT = {id: "judged by a mark that any method may reach" for id in SOLUTIONS if exercise(id).kind == "measure"}
# Why a mutant that changes an output may pass, by exercise.
REASONS = {
    "2.3": "what stands in the decoder's input after the end is masked: any token will do",
    "3.3": "1/25 and 1/27 are within the 0.005 by which a prediction may be off 1/26",
    "7.4": "a prediction may be rounded to two decimals",
    "8.1": "labels of tokens that do not count may be anything",
    "8.5": "a prediction may be rounded to two decimals",
    "12.5": "a prediction may be rounded to two decimals",
}
SWAPS = {
    "tril": "triu", "triu": "tril", "argmax": "argmin", "cat": "stack", "cumsum": "cumprod", "any": "all", "square": "abs",
    "sqrt": "exp", "min": "max", "append": "remove", "update": "subtract", "transpose": "mean", "scatter": "gather",
    "items": "keys", "sin": "cos", "cos": "sin", "zeros": "ones", "ones": "zeros", "nonzero": "logical_not",
}
COMPARISONS = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt}


def more_variants(node: ast.AST) -> Iterator[ast.AST]:
    """Beyond tests/exercises/test_mutants.py: what whole cells have and its functions lack."""
    if isinstance(node, ast.Compare) and type(node.ops[-1]) in COMPARISONS:
        yield ast.Compare(node.left, [*node.ops[:-1], COMPARISONS[type(node.ops[-1])]()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
        yield from node.values
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        yield from (ast.Constant(node.value * 2), ast.Constant(node.value + 1))
    elif isinstance(node, ast.Constant) and type(node.value) is bool:
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and node.value in ("yes", "no"):
        yield ast.Constant("no" if node.value == "yes" else "yes")
    elif isinstance(node, ast.Attribute) and node.attr in SWAPS and isinstance(node.ctx, ast.Load):
        yield ast.Attribute(node.value, SWAPS[node.attr], node.ctx)
    elif isinstance(node, ast.Name) and node.id in SWAPS and isinstance(node.ctx, ast.Load):
        yield ast.Name(SWAPS[node.id], node.ctx)
    elif isinstance(node, ast.Slice):
        yield from (ast.Slice(None, node.upper, node.step), ast.Slice(node.lower, None, node.step))
    elif isinstance(node, ast.Call):
        for n in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, node.keywords[:n] + node.keywords[n + 1:])


def mutants(source: str) -> Iterator[str]:
    """Every cell with one change inside its definitions and values, each text once."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    names = [arg.arg for function in functions[:1] for arg in function.args.args]
    seen = {ast.unparse(tree)}
    for parent in list(ast.walk(tree)):
        for name, value in ast.iter_fields(parent):
            for index in range(len(value)) if isinstance(value, list) else [None]:
                old = value if index is None else value[index]
                for text in _changed(tree, parent, name, index, old, names):
                    if text not in seen:
                        seen.add(text)
                        yield text


def _changed(tree, parent, name, index, old, names) -> Iterator[str]:
    if isinstance(old, (ast.expr, ast.slice)) and not _is_text(parent, old):
        changed = [*variants(old, names), *more_variants(old)]
    elif isinstance(old, ast.stmt) and not isinstance(old, (ast.FunctionDef, ast.Import, ast.ImportFrom)) and parent is not tree:
        changed = [ast.Pass()]
    else:
        return
    for new in changed:
        _put(parent, name, index, copy.deepcopy(new))
        try:
            yield ast.unparse(ast.fix_missing_locations(tree))
        finally:
            _put(parent, name, index, old)


def _is_text(parent: ast.AST, node: ast.AST) -> bool:
    """True for docstrings and the keys of the forms to fill in."""
    return isinstance(parent, ast.Expr) or (isinstance(parent, ast.Dict) and node in parent.keys)


def _put(parent, name, index, node):
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


@dataclass
class Found:
    """What became of the mutants of one exercise; `left` are those that pass although they change an output."""

    rejected: int = 0
    unchanged: int = 0
    left: list[str] = field(default_factory=list)


class Trial:
    """One exercise with its draws, and what its own answer gives on them."""

    def __init__(self, id: str, box: Isolation):
        self.asked, self.box = exercise(id), box
        self.one = next(one for one in ASSIGNMENT.exercises if one.id == id)
        self.samples = [tuple(self.asked.inputs(draws(id, seed))) for seed in SEEDS]
        self.honest = [self.run(SOLUTIONS[id][0], cases) for cases in self.samples]
        if any(reply.outputs is None for reply in self.honest):
            raise ValueError(f"id: got {id}, whose own answer fails: {self.honest[0].reason}")

    def run(self, source: str, cases) -> Reply:
        packed = wire.pack([case.args for case in cases])
        prelude = ASSIGNMENT.prelude[self.one.id]
        return self.box.run(Task(self.one.name, source, packed, len(cases), prelude, self.asked.is_function), LIMITS)

    def accepted(self, reply: Reply) -> bool:
        return reply.outputs is not None and self.asked.judge(self.samples[0], reply.outputs).ok

    def changes(self, source: str) -> bool:
        """True if a mutant gives other values than the answer it was made of, on any draw."""
        return any(not self._same(self.run(source, cases), honest) for cases, honest in zip(self.samples, self.honest, strict=True))

    def _same(self, reply: Reply, honest: Reply) -> bool:
        if reply.outputs is None or any(output.status != "value" for output in reply.outputs):
            return False
        return all(alike(new.value, old.value) for new, old in zip(reply.outputs, honest.outputs, strict=True))


def alike(new: Any, old: Any) -> bool:
    """True if two pieces of plain data hold the same texts and, within the judge's tolerance, the same numbers."""
    if isinstance(new, (list, tuple)) and isinstance(old, (list, tuple)):
        return len(new) == len(old) and all(map(alike, new, old))
    if isinstance(new, dict) and isinstance(old, dict):
        return new.keys() == old.keys() and all(alike(new[key], old[key]) for key in new)
    numbers = [np.asarray(value) for value in (new, old)]
    if any(array.dtype.kind not in "biuf" for array in numbers):
        return type(new) is type(old) and new == old
    return judging.same((numbers[0].astype(float),), (numbers[1].astype(float),))


def survey(id: str, box: Isolation) -> Found:
    """Run all mutants of one exercise."""
    trial, found = Trial(id, box), Found()
    if not trial.accepted(trial.honest[0]):
        raise ValueError(f"id: got {id}, whose own answer does not get full points")
    for source in mutants(SOLUTIONS[id][0]):
        if not trial.accepted(trial.run(source, trial.samples[0])):
            found.rejected += 1
        elif trial.changes(source):
            found.left.append(source)
        else:
            found.unchanged += 1
    return found


def difference(id: str, source: str) -> str:
    """The lines in which a mutant differs from its answer."""
    old, new = (ast.unparse(ast.parse(text)).splitlines() for text in (SOLUTIONS[id][0], source))
    return " / ".join(line.strip() for line in new if line not in old) or "a line left out"


def render(results: dict[str, dict]) -> str:
    """The table of all results so far."""
    rows, survivors, total, rejected = [], [], 0, 0
    for id in (id for id in SOLUTIONS if id in results):
        found = results[id]
        changed = found["rejected"] + len(found["left"])
        total, rejected = total + changed, rejected + found["rejected"]
        rows.append(f"| {id} | {exercise(id).kind} | {changed} | {found['rejected']} | {found['unchanged']} | {found['date']} |")
        if found["left"]:
            survivors.append(f"- {id}, {len(found['left'])}: {REASONS.get(id, 'no reason known')}")
            survivors += [f"  - `{text}`" for text in found["left"]]
    return "\n".join([
        "# Mutants of the notebooks' answers", "",
        f"{rejected} of {total} mutants that change an output are rejected ({rejected / total:.1%}), on one core of a machine with "
        f"{platform.system()} and Python {platform.python_version()}.",
        f"Left out: {', '.join(LEFT_OUT)} ({next(iter(LEFT_OUT.values()))}).", "",
        "| exercise | kind | change an output | rejected | change nothing | on |", "|---|---|---|---|---|---|", *rows, "",
        "## Those that pass", "", *survivors, ""])


def main() -> None:
    """Survey the exercises named, or all, and bring the table up to date after each."""
    record = TABLE.with_suffix(".json")
    results = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    with Unsandboxed() as box:
        for id in sys.argv[1:] or [id for id in SOLUTIONS if id not in LEFT_OUT]:
            found = survey(id, box)
            results[id] = {"rejected": found.rejected, "unchanged": found.unchanged, "date": time.strftime("%Y-%m-%d"),
                           "left": [difference(id, source) for source in found.left]}
            record.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
            TABLE.write_text(render(results), encoding="utf-8")
            print(id, results[id], flush=True)


if __name__ == "__main__":
    main()
