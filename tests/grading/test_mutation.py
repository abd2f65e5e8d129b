"""At least 95 % of the mutants that change an output are rejected: two exercises here, all of them with the slow tests."""

import json

import pytest

from course_lib.exercises import exercise
from course_lib.grading.sandbox import Unsandboxed
from tests.grading.mutants import LEFT_OUT, REASONS, TABLE, alike, difference, mutants, render, survey
from tests.grading.test_marking import SOLUTIONS

QUICK = ("2.2", "8.4")


@pytest.fixture(scope="module")
def box():
    with Unsandboxed() as box:
        yield box


@pytest.mark.parametrize("id", [id if id in QUICK else pytest.param(id, marks=pytest.mark.slow) for id in SOLUTIONS if id not in LEFT_OUT])
def test_mutants_are_rejected(box, id):
    found = survey(id, box)
    changed = found.rejected + len(found.left)
    assert changed >= 8
    assert not found.left or id in REASONS, [difference(id, source) for source in found.left]
    assert found.rejected >= (0.9 if id in REASONS else 0.95) * changed


def test_the_table_is_of_all_exercises_and_their_sum_is_above_the_bound():
    results = json.loads(TABLE.with_suffix(".json").read_text(encoding="utf-8"))
    assert set(results) == set(SOLUTIONS) - set(LEFT_OUT)
    assert TABLE.read_text(encoding="utf-8").splitlines()[4:] == render(results).splitlines()[4:]
    left = sum(len(found["left"]) for found in results.values())
    rejected = sum(found["rejected"] for found in results.values())
    assert rejected >= 0.95 * (rejected + left) and rejected > 2000
    assert {id for id, found in results.items() if found["left"]} == set(REASONS)


def test_a_mutant_differs_in_one_place():
    source = "def f(x, y):\n    return x[1:] + 2 * y.sum(dim=0)"
    found = list(mutants(source))
    assert len(found) == len(set(found)) and source not in found
    for expected in ("x[1:] - 2 * y.sum(dim=0)", "x[1:] + 2 * y.sum(dim=1)", "x[1:] + 2 * y.sum()", "x[:] + 2 * y.sum(dim=0)",
                     "y[1:] + 2 * y.sum(dim=0)", "x[1:] + 2 * y.mean(dim=0)", "x[1:] + 3 * y.sum(dim=0)", "x[1:]"):
        assert f"def f(x, y):\n    return {expected}" in found, expected


def test_alike_is_about_values():
    assert alike([1, (2.0, "a")], (1, [2.0, "a"])) and alike({"a": True}, {"a": 1}) and alike(None, None)
    for one, other in ((1.0, 1.1), ("a", "b"), ([1], [1, 2]), ({"a": 1}, {"b": 1}), (None, 1.0), ({1, 2}, {1, 3})):
        assert not alike(one, other) and not alike(other, one)


def test_nothing_is_left_out_but_what_is_measured():
    assert {exercise(id).kind for id in LEFT_OUT} == {"measure"} and len(LEFT_OUT) <= 10
