"""The stored scores on real texts: the floor that everything is measured from, and what is stored."""

from collections import Counter

import pytest

from course_lib.data.labelling import Example
from course_lib.recipes.finetuning import SEQUENCES, SPANS, TOKENS, Task
from course_lib.recipes.results import stored
from course_lib.recipes.wild import WILD_TASKS
from course_lib.recipes.wild_scores import commonest


def task(kind, classes=()):
    return Task(kind, classes, lambda seed, split: iter(()))


def test_the_commonest_label_is_learned_from_what_was_seen():
    seen = [Example(("a",), (), label) for label in ("x", "y", "y")]
    asked = [Example(("a",), (), label) for label in ("x", "x", "x", "y")]
    assert commonest(task(SEQUENCES, ("x", "y")), seen, asked) == pytest.approx(0.25)


def test_no_entity_finds_none():
    seen = [Example(("a", "b"), (), ("B-place", "O"))]
    assert commonest(task(TOKENS, ("O", "B-place")), seen, seen) == 0


def test_no_answer_is_right_where_there_is_none():
    rows = [Example(("who",), ("mia", "left"), (0, 1)), Example(("who",), ("tom",), None)]
    assert commonest(task(SPANS), rows, rows) == pytest.approx(0.5)


def test_every_set_is_stored_with_as_many_seeds():
    runs = stored("wild_scores")["runs"]
    assert set(Counter(run["set"] for run in runs).items()) == {(name, len(runs) // len(WILD_TASKS)) for name in WILD_TASKS}
    assert all(0 <= value <= 1 for run in runs for value in run["scores"].values())
