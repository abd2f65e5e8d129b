"""All predictions of all chapters: every known wrong value can be told from the others, is told, and is counted."""

import numpy as np
import pytest

from course_lib.exercises import EXERCISES, draws, exercise
from course_lib.exercises.answers import Output
from course_lib.exercises.predicting import Item, PredictionExaminer
from course_lib.exercises.spec import Case, Exercise, Property

PREDICTIONS = [id for id, asked in EXERCISES.items() if isinstance(asked.examine, PredictionExaminer)]
WRONGS = [(id, item, value) for id in PREDICTIONS for item in EXERCISES[id].examine.items for value, _ in item.wrongs]


def expected(id):
    (case,) = exercise(id).inputs(draws(id))
    return exercise(id).reference(**case.args)


def apart(one, other, tolerance):
    """True if no prediction can be taken for the one as exactly as it could for the other."""
    if isinstance(one, str) or isinstance(other, str):
        return one != other
    one, other = np.asarray(one, float), np.asarray(other, float)
    return one.shape != other.shape or bool((np.abs(one - other) > max(tolerance, 1e-9)).any())


def test_every_prediction_is_looked_at():
    assert [id for id, asked in EXERCISES.items() if asked.kind == "predict"] == PREDICTIONS


@pytest.mark.parametrize("id", PREDICTIONS)
def test_wrong_values_are_apart_from_each_other_and_from_the_right_one(id):
    right = expected(id)
    for item in EXERCISES[id].examine.items:
        values = [right[item.key], *(value for value, _ in item.wrongs)]
        close = [(one, other) for n, one in enumerate(values) for other in values[n + 1:] if not apart(one, other, item.tolerance)]
        assert not close, (item.key, close)


@pytest.mark.parametrize(("id", "item", "value"), WRONGS, ids=[f"{id} {item.key} {n}" for n, (id, item, _) in enumerate(WRONGS)])
def test_every_known_wrong_value_is_told_and_counted_by_a_name_in_words(judge, id, item, value):
    verdict, text = judge(id, {**expected(id), item.key: value}), dict(item.wrongs)[value]
    told = text({other: "" for other in expected(id)}) if callable(text) else text
    assert verdict.message == f"{item.key}: {told}"
    assert verdict.misconception == next(prop.text for prop in EXERCISES[id].properties if prop.group == item.key)
    assert " " in verdict.misconception or verdict.misconception != item.key


def test_two_wrong_values_that_are_equal_are_counted_by_the_one_that_is_said():
    wrongs = ((0.5, "first"), (1 / 2, "second"))
    asked = Exercise("9.9", "t", "predict", 1, 1, "o", (Property("a", "in words"),), lambda rng: [Case("", {})],
                     PredictionExaminer((Item("a", 0.1, wrongs),)), lambda: {"a": 1.0})
    found = asked.judge(asked.inputs(None), [Output("value", {"a": 0.5})])
    assert (found.message, found.misconception) == ("a: first", "in words")


def test_a_wrong_value_that_nobody_expected_is_not_counted(judge):
    assert judge("3.3", {**expected("3.3"), "doubled": (0.2, 0.3, 0.5)}).misconception == ""
