"""The judges' own wrong answers: each is told from all others and never taken for right, on draws that nobody has seen."""

import pytest

from course_lib.exercises import EXERCISES
from course_lib.exercises.judging import Wrong

NAMED = [(id, wrong) for id, asked in EXERCISES.items() for wrong in getattr(asked.examine, "wrongs", ()) if isinstance(wrong, Wrong)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [40, 41])
@pytest.mark.parametrize(("id", "wrong"), NAMED, ids=[f"{id} {wrong.name}" for id, wrong in NAMED])
def test_every_mistake_is_told_from_the_others(id, wrong, seed, judge):
    verdict = judge(id, wrong.answer, seed)
    assert not verdict.ok and verdict.misconception == wrong.name, str(verdict)
