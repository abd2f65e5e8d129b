"""Near-identical answers, for a person to look at: token windows that do not see names, weighed by how rare they are."""

import ast
import math
import tokenize
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import combinations

from course_lib.grading.assignment import Assignment
from course_lib.grading.sources import parsed
from course_lib.grading.submissions import Submission

WINDOW = 12  # tokens; a line of a typical answer
COMMON = 0.1  # windows that more of the class have are the exercise's, not a copy's …
FEW = 3  # … unless they are this few people
ALIKE = 0.75  # share of the rare windows that two answers to one exercise have in common
ENOUGH = 60  # rare windows in common over all such exercises, about eight lines: two lines alike are chance

Window = int  # the hash of its tokens


@dataclass(frozen=True)
class Pair:
    """Two students whose answers to these exercises are alike; `share` is 1 for copies."""

    first: str
    second: str
    share: float
    exercises: tuple[str, ...]


def similar(submissions: Sequence[Submission], assignment: Assignment) -> list[Pair]:
    """Pairs to be looked at, the most alike first. Answers that are values, not functions, are not compared.

    What the stub gives and what many share does not count: a short exercise has few right answers.
    """
    found: dict[tuple[str, str], list[tuple[str, float, int]]] = defaultdict(list)
    for asked in assignment.exercises:
        base = set(windows(asked.stub, asked.name))
        sets = {one.student: set(windows(one.answers[asked.id], asked.name)) - base
                for one in submissions if asked.id in one.answers}
        for pair, (share, count) in _alike(sets).items():
            found[pair].append((asked.id, share, count))
    pairs = [Pair(*pair, max(share for _, share, _ in mine), tuple(id for id, _, _ in mine))
             for pair, mine in found.items() if sum(count for _, _, count in mine) >= ENOUGH]
    return sorted(pairs, key=lambda pair: (-len(pair.exercises), -pair.share, pair.first, pair.second))


def _alike(sets: Mapping[str, set[Window]]) -> dict[tuple[str, str], tuple[float, int]]:
    """For each pair whose answers are alike: what is rare and in common as a share of the larger side's weight, and how many windows."""
    holders: dict[Window, list[str]] = defaultdict(list)
    for student, own in sets.items():
        for window in own:
            holders[window].append(student)
    limit = max(FEW, COMMON * len(sets))
    weight = {window: math.log(1 + len(sets) / len(who)) for window, who in holders.items() if len(who) <= limit}
    total: Counter[str] = Counter()
    shared: Counter[tuple[str, str]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    for window, worth in weight.items():
        for student in holders[window]:
            total[student] += worth
        for pair in combinations(sorted(holders[window]), 2):
            shared[pair] += worth
            count[pair] += 1
    shares = {pair: worth / max(total[pair[0]], total[pair[1]]) for pair, worth in shared.items()}
    return {pair: (share, count[pair]) for pair, share in shares.items() if share >= ALIKE}


def windows(source: str, name: str) -> list[Window]:
    """All runs of WINDOW tokens of a function's definition and what stands beside it, names numbered in each run.

    Comments, docstrings, layout and the answer's own names leave no trace; attributes and built-ins do. None for
    an answer without a function, such as a prediction.
    """
    try:
        tree = parsed(source)
    except ValueError:
        return []
    if not any(isinstance(node, (ast.FunctionDef, ast.Lambda)) for node in ast.walk(tree)):
        return []
    own = _own_names(tree) | {name}
    tokens = _tokens(tree)
    named = [token in own and before != "." for before, token in zip(["", *tokens], tokens, strict=False)]
    return [_numbered(tokens[start:start + WINDOW], named[start:start + WINDOW]) for start in range(max(len(tokens) - WINDOW + 1, 0))]


def _own_names(tree: ast.Module) -> set[str]:
    """Every name that the answer itself gives: variables, arguments, functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
    return found


def _tokens(tree: ast.Module) -> list[str]:
    """The tokens of a tree written anew: one layout for all, no comment, no docstring, no import, no annotation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            node.body = [part for part in node.body if not isinstance(part, (ast.Import, ast.ImportFrom)) and not (
                isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))] or [ast.Pass()]
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    try:
        text = ast.unparse(tree)
    except RecursionError:
        return []
    kinds = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)
    return [token.string for token in tokenize.generate_tokens(StringIO(text + "\n").readline) if token.type in kinds]


def _numbered(tokens: Sequence[str], named: Sequence[bool]) -> Window:
    """Own names become their place of first appearance in the window: renaming all of them changes nothing."""
    places: dict[str, int] = {}
    return hash(tuple(places.setdefault(token, len(places)) if own else token for token, own in zip(tokens, named, strict=True)))
