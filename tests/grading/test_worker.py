"""What the worker says of a name that another cell of the notebook has given."""

import pytest

from course_lib.exercises import check, draws, exercise, wire
from course_lib.grading import worker
from tests.grading.hostile import RIGHT

CASES = exercise("3.6").inputs(draws("3.6", 5))
ALONE = "answers run alone: what other cells compute is not there"


def said(source, prelude=""):
    text, blobs = wire.pack([case.args for case in CASES])
    header = {"inputs": text, "prelude": prelude, "watched": [], "source": source, "name": "reverse_within", "is_function": True}
    reply, blobs = worker.answer(header, blobs)
    return [message for _, _, message in wire.unpack(reply["outputs"], blobs)]


@pytest.mark.parametrize("source", [
    "def reverse_within(x, lengths):\n    return task.test(x)",
    "width = task.width\ndef reverse_within(x, lengths):\n    return x",
    "class Task:\n    width = task.width\nreverse_within = Task()",
])
def test_a_name_of_another_cell_is_explained(source):
    messages = said(source)
    assert len(messages) == len(CASES)
    assert all("name 'task' is not defined" in one and one.count(ALONE) == 1 for one in messages)


@pytest.mark.parametrize("source", [
    RIGHT, "def reverse_within(x, lengths):\n    return 1 / 0", "def reverse_within(x, lengths):\n    y += 1", "other = 1",
    "def reverse_within(x, lengths):\n    return x.task",
])
def test_nothing_else_is(source):
    assert ALONE not in " ".join(said(source))


def test_a_name_of_the_courses_own_cells_is_there():
    assert said("def reverse_within(x, lengths):\n    return task", "task = 3") == [""] * len(CASES)


def test_the_check_in_the_notebook_says_nothing_of_it(capsys):
    check("3.6", lambda x, lengths: task)  # noqa: F821 (the name is missing on purpose)
    assert "name 'task' is not defined" in (out := capsys.readouterr().out) and ALONE not in out
