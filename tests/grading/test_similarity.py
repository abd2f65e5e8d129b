"""Copies are found whatever is renamed; those who found the same short answer are left in peace."""

import ast
import random
import time
from dataclasses import replace

import pytest

from course_lib.grading.similarity import similar, windows
from course_lib.grading.submissions import Submission
from tests.grading.classroom import assignment, references

COPIED = references()["3.5"]


class Renamer(ast.NodeTransformer):
    """Every name of the answer's own becomes another."""

    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        return ast.Name(self.names.get(node.id, node.id), node.ctx)

    def visit_arg(self, node):
        return ast.arg(self.names.get(node.arg, node.arg), None)


def renamed(source):
    tree = ast.parse(source)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | \
          {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    return ast.unparse(Renamer({name: f"v{n}" for n, name in enumerate(sorted(own))}).visit(tree))


def noisy(source):
    """With comments, blank lines, another docstring and a statement that does nothing in the middle."""
    lines = source.split("\n")
    at = next(n for n, line in enumerate(lines) if "for _" in line)
    return "\n".join([*lines[:at], "    # mine", "", "    unused = 7", *lines[at:]]).replace("Links", "My own links")


def own_work(number):
    """An answer of its own: random expressions, nobody else's."""
    rng = random.Random(number)

    def term(depth):
        if depth == 0:
            return rng.choice(["x", "y", "len(pairs)", "n", str(rng.randrange(9)), "t[i]", "w.count(e)"])
        return f"({term(depth - 1)} {rng.choice(['+', '-', '*', '//', '%', '<', '>', 'and', 'or'])} {term(depth - 1)})"

    body = []
    for _ in range(12):
        body += rng.choice([[f"x = {term(2)}"], [f"for i in range({term(1)}):", f"    y = {term(2)}"],
                            [f"if {term(1)}:", f"    n += {term(1)}"],
                            [f"t = [{term(1)} for e in w if {term(1)}]"], [f"while {term(1)}:", f"    w = {term(2)}"]])
    return "def align(pairs):\n    " + "\n    ".join(body) + "\n    return t"


def class_of(answers):
    return [Submission(name, "x", {"3.5": source}) for name, source in answers.items()]


@pytest.mark.parametrize("copy", [COPIED, renamed(COPIED), noisy(COPIED), renamed(noisy(COPIED)),
                                  COPIED.replace("Counter()", "Counter( )")])
def test_a_copy_is_found_in_a_class_of_twenty(copy):
    answers = {f"s{n}": own_work(n) for n in range(18)} | {"first": COPIED, "second": copy}
    (pair,) = similar(class_of(answers), assignment())
    assert (pair.first, pair.second, pair.exercises) == ("first", "second", ("3.5",)) and pair.share > 0.75


def test_independent_work_is_left_in_peace():
    assert similar(class_of({f"s{n}": own_work(n) for n in range(60)}), assignment()) == []


def test_what_most_have_or_the_stub_gives_is_no_evidence():
    """Half of the class found the standard solution, the others handed in the stub."""
    stub = next(one.stub for one in assignment().exercises if one.id == "3.5")
    assert similar(class_of({f"s{n}": COPIED if n % 2 else stub for n in range(20)}), assignment()) == []


def test_a_long_stub_is_no_evidence():
    plain = assignment()
    asked = tuple(replace(one, stub=COPIED) if one.id == "3.5" else one for one in plain.exercises)
    people = class_of({f"s{n}": own_work(n) for n in range(20)} | {"a": COPIED, "b": COPIED})
    assert [(pair.first, pair.second) for pair in similar(people, plain)] == [("a", "b")]
    assert similar(people, replace(plain, exercises=asked)) == []


def test_two_lines_alike_are_chance_and_two_exercises_are_not():
    short = "def reverse_within(x, lengths):\n    return torch.stack([torch.cat([r[:n].flip(0), r[n:]]) for r, n in zip(x, lengths)])"
    people = [Submission(name, "x", {"3.6": short}) for name in "ab"] + class_of({f"s{n}": own_work(n) for n in range(20)})
    assert similar(people, assignment()) == []
    people[:2] = [Submission(name, "x", {"3.6": short, "3.5": own_work(99)}) for name in "ab"]
    assert [pair.exercises for pair in similar(people, assignment())] == [("3.6", "3.5")]


def test_predictions_and_broken_sources_are_not_compared():
    assert windows(references()["3.3"], "prediction_33") == [] == windows("def (", "x") == windows("", "x")
    people = [Submission(name, "x", {"3.3": references()["3.3"]}) for name in "ab"]
    assert similar(people, assignment()) == []


def test_another_attribute_or_number_is_another_window():
    source = "def f(x):\n    return x.softmax(dim=-1).sum(dim=2).mean(dim=1)"
    assert set(windows(source, "f")) == set(windows(source.replace("x", "z").replace("softmaz", "softmax"), "f"))
    assert set(windows(source, "f")) != set(windows(source.replace("softmax", "sigmoid"), "f"))
    assert set(windows(source, "f")) != set(windows(source.replace("dim=2", "dim=3"), "f"))


def test_three_hundred_submissions_take_seconds():
    people = [Submission(f"s{n}", "x", {"3.5": own_work(n), "3.1": own_work(1000 + n), "3.2": own_work(2000 + n)}) for n in range(300)]
    people[7] = Submission("s7", "x", dict(people[200].answers))
    start = time.process_time()
    (pair,) = similar(people, assignment())
    assert {pair.first, pair.second} == {"s7", "s200"} and len(pair.exercises) == 3
    assert time.process_time() - start < 20
