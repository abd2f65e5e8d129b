"""Marks: points by property, reasons, reviews; an answer that is lost costs itself alone; every reference gets full points."""

import ast
import dataclasses
import json
from pathlib import Path

import pytest

from course_lib.cli.student import stub
from course_lib.exercises import EXERCISES, exercise
from course_lib.grading import marking, rules
from course_lib.grading.assignment import Asked, Assignment, cells_of, of_notebooks
from course_lib.grading.marking import mark
from course_lib.grading.replies import Reply
from course_lib.grading.sandbox import Isolation, Unsandboxed

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
SLOW = {"5.7": "trains a Transformer"}  # their solutions run with the slow tests
SEED = 4


def solutions():
    """Every answer cell of the instructor's notebooks by exercise id: (source with the solution, the student's stub)."""
    found = {}
    for path in NOTEBOOKS:
        cells = {grading.get("grade_id"): source for kind, source, grading in cells_of(json.loads(path.read_text(encoding="utf-8")))
                 if kind == "code" and grading.get("solution")}
        for asked in ASSIGNMENT.exercises:
            if asked.chapter == path.stem:
                lines = [line for line in cells[asked.grade_id].splitlines() if not line.strip().startswith("### ")]
                found[asked.id] = "\n".join(lines), stub(cells[asked.grade_id])
    return found


def graded_notebooks():
    return [path for path in NOTEBOOKS if '"grade_id"' in path.read_text(encoding="utf-8")]


ASSIGNMENT = of_notebooks(graded_notebooks())
SOLUTIONS = solutions()


def only(*ids, **preludes):
    """An assignment of these exercises."""
    asked = tuple(one for one in ASSIGNMENT.exercises if one.id in ids)
    return Assignment("some", (), asked, {**ASSIGNMENT.prelude, **preludes})


@pytest.fixture(scope="module")
def box():
    with Unsandboxed() as box:
        box.next_student = lambda: None  # one worker for all of these tests: their answers are ours
        yield box


def marks(box, answers, *ids):
    return {one.id: one for one in mark(answers, only(*ids), SEED, box)}


# ---------------------------------------------------------------- right answers, stubs


@pytest.mark.parametrize("id", [pytest.param(id, marks=pytest.mark.slow) if id in SLOW else id for id in SOLUTIONS])
def test_the_notebooks_solution_gets_full_points_and_needs_no_review(box, id):
    """With the prelude as its only surroundings: what a solution needs of its notebook is in it."""
    found = marks(box, {id: SOLUTIONS[id][0]}, id)[id]
    assert (found.points, found.maximum, found.reason, found.review) == (exercise(id).points, exercise(id).points, "", ())
    assert found.attempted and found.seconds > 0
    assert sum(points for _, points, _ in found.properties) == found.points


@pytest.mark.parametrize("id", [id for id in SOLUTIONS if id not in SLOW])
def test_the_stub_earns_nothing(box, id):
    found = marks(box, {id: SOLUTIONS[id][1]}, id)[id]
    assert found.points == 0 and found.reason == ""
    assert found.attempted == (exercise(id).kind == "debug")


def test_every_exercise_is_marked():
    assert set(SOLUTIONS) == {asked.id for asked in ASSIGNMENT.exercises} <= set(EXERCISES)
    assert len(SOLUTIONS) >= 50


# ---------------------------------------------------------------- partial points, losses


def test_partial_points_say_what_is_right_and_name_the_misconception(box):
    source = SOLUTIONS["3.1"][0].replace(".masked_fill(~mask, 0)", "")
    found = marks(box, {"3.1": source}, "3.1")["3.1"]
    assert (found.points, found.maximum, found.misconception) == (4, 5, "empty row is NaN")
    assert [(points, most) for _, points, most in found.properties] == [(2, 2), (1, 1), (0, 1), (1, 1)]
    assert "0/0 is NaN" in found.message and found.reason == ""


def test_one_lost_answer_costs_nothing_else_and_the_order_is_the_assignments(box):
    answers = {id: SOLUTIONS[id][0] for id in ("3.1", "3.2", "3.3", "3.4", "3.6")}
    answers["3.1"] = "import os\nos._exit(0)"
    answers["3.4"] = "def aer(:"
    del answers["3.6"]
    found = list(mark(answers, only("3.1", "3.2", "3.3", "3.4", "3.6"), SEED, box))
    assert [one.id for one in found] == ["3.3", "3.1", "3.2", "3.6", "3.4"]
    assert [one.points for one in found] == [5, 0, 3, 0, 0]
    reasons = {one.id: one.reason for one in found}
    assert reasons["3.3"] == reasons["3.2"] == ""
    assert reasons["3.1"] == "it ended its own process"
    assert "no answer was handed in" in reasons["3.6"]
    assert reasons["3.4"] == "the cell is not valid Python: line 1, `def aer(:`: invalid syntax"
    assert {one.id: one.attempted for one in found} == {"3.3": True, "3.1": True, "3.2": True, "3.6": False, "3.4": True}


def test_what_is_done_is_left_out(box):
    answers = {id: SOLUTIONS[id][0] for id in ("3.2", "3.3")}
    assert [one.id for one in mark(answers, only("3.2", "3.3"), SEED, box, done={"3.3"})] == ["3.2"]
    assert list(mark(answers, only("3.2", "3.3"), SEED, box, done={"3.2", "3.3"})) == []


@pytest.mark.parametrize("source", ["-" * 90_000 + "1", "a" + ".b" * 40_000, "\0", "x = " + "9" * 5000, "(" * 9000, "é" * 100_001,
                                    "def reverse_within(x, lengths):\n\treturn x\n        return x"])
def test_a_source_that_exhausts_or_breaks_the_parser_is_a_reason(box, source):
    found = marks(box, {"3.6": source}, "3.6")["3.6"]
    assert found.points == 0 and found.attempted and found.reason.startswith("the cell ")


def test_lines_for_ipython_are_no_obstacle(box):
    source = "%matplotlib inline\n!pip install x\n" + SOLUTIONS["3.6"][0]
    assert marks(box, {"3.6": source}, "3.6")["3.6"].points == 2


def test_a_failure_of_the_courses_own_cells_is_for_review(box):
    asked = only("3.6", **{"3.6": "1 / 0"})
    (found,) = mark({"3.6": SOLUTIONS["3.6"][0]}, asked, SEED, box)
    assert found.points == 0 and "course's own cells failed: ZeroDivisionError" in found.reason and found.review == (found.reason,)


class Replies(Isolation):
    """Says always the same."""

    def __init__(self, reply):
        super().__init__()
        self.reply = reply

    def run(self, task, limits):
        return self.reply


def test_a_judge_that_fails_is_for_review_and_ends_nothing(monkeypatch):
    def fails(*_):
        raise RuntimeError("never")

    monkeypatch.setattr(marking, "judge", fails)
    found = list(mark({"3.6": "x = 1", "3.3": "y = 2"}, only("3.6", "3.3"), SEED, Replies(Reply([]))))
    assert [one.reason for one in found] == ["it could not be judged (RuntimeError)"] * 2
    assert all(one.review == (one.reason,) and one.points == 0 for one in found)


def test_a_worker_that_cannot_be_started_is_no_zero(monkeypatch):
    class Broken(Unsandboxed):
        def command(self, stage):
            return ["/bin/false"]

    with Broken() as broken, pytest.raises(ValueError, match="worker does not start"):
        list(mark({"3.6": "x = 1"}, only("3.6"), SEED, broken))


def test_secret_draws_are_those_of_the_seed(box):
    """A function that knows the answers to one seed's draws has them for no other."""
    cases, _ = marking.drawn("3.6", SEED)
    known = [(case.args["x"].tolist(), exercise("3.6").reference(*map(__import__("torch").from_numpy, case.args.values())).tolist())
             for case in cases]
    source = f"import torch\nknown = {known!r}\ndef reverse_within(x, lengths):\n    return torch.tensor(dict_of[str(x.tolist())])\n"
    source += "dict_of = {str(a): b for a, b in known}\n"
    assert next(mark({"3.6": source}, only("3.6"), SEED, box)).points == 2
    assert next(mark({"3.6": source}, only("3.6"), SEED + 1, box)).points == 0


def test_time_limits_are_multiples_of_the_references_time(monkeypatch):
    slow = dataclasses.replace(exercise("3.6"), reference=lambda x, lengths: sum(range(3_000_000)))
    monkeypatch.setattr(marking, "exercise", lambda id: slow)
    marking.limits.cache_clear()
    allowed = marking.limits("3.6")
    marking.limits.cache_clear()
    assert allowed.cpu_seconds > marking.FLOOR and allowed.seconds == marking.WAITING * allowed.cpu_seconds
    monkeypatch.undo()
    assert marking.limits("3.6").cpu_seconds == marking.FLOOR
    assert marking.limits("3.5").cpu_seconds >= marking.FLOORS["measure"]


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(("source", "found"), [
    ("import torch.nn.functional as F\nnorm = F.layer_norm", ("uses layer_norm, which is to be written here",)),
    ("from torch.nn import LayerNorm as L", ("uses LayerNorm, which is to be written here",)),
    ("import torch\nnorm = getattr(torch, 'native_layer_norm')", ("uses native_layer_norm, which is to be written here",)),
    ("import os, subprocess", ("imports os", "imports subprocess")),
    ("from course_lib.blocks import RMSNorm", ("imports course_lib.blocks",)),
    ("eval('1')\nx.__globals__", ("uses __globals__", "uses eval")),
    ("getattr(f, '__closure__')", ("uses __closure__",)),
    ("import torch\nimport numpy as np\nfrom math import sqrt\nsoftmax = torch.softmax\nx = {'open': 'load'}", ()),
])
def test_what_is_found_in_a_syntax_tree(source, found):
    assert rules.review("5.5", ast.parse(source)) == found


def test_a_rule_reports_and_takes_no_points(box):
    source = ("import torch\ndef layer_norm(x, gain, bias, eps):\n"
              "    return getattr(torch.nn.functional, 'layer' + '_norm')(x, x.shape[-1:], gain, bias, eps)")
    found = marks(box, {"5.5": source}, "5.5")["5.5"]
    assert found.points == found.maximum and found.review == ("uses layer_norm, which is to be written here",)


def test_rules_are_about_exercises_that_exist():
    assert set(rules.WRITTEN_HERE) <= set(EXERCISES)
    assert Asked("3.6", "a", 2, "f").name == "f"
