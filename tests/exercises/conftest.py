"""What the exercise tests share: draws made once per seed, and a way to judge an answer on them."""

import functools

import pytest

from course_lib.exercises import draws, exercise, judging
from course_lib.exercises.answers import outputs_of

SEEDS = (None, 11, 12, 13)  # the public draws and three secret ones


@functools.cache
def cases_of(id, seed):
    return tuple(exercise(id).inputs(draws(id, seed)))


@pytest.fixture
def cases():
    """cases(id, seed) → the drawn cases, not to be changed."""
    return cases_of


@pytest.fixture
def judge():
    """judge(id, answer, seed) → the verdict, as `check` and a grader reach it."""

    def judged(id, answer, seed=None):
        asked = exercise(id)
        cases = cases_of(id, seed)
        return asked.judge(cases, outputs_of(answer, [case.args for case in cases], asked.is_function))

    return judged


ORIGINAL, RUN = judging.run, {}


@pytest.fixture(autouse=True)
def run_once(monkeypatch):
    """What the judge's own answers give on a drawn case is computed once for all tests of a process."""

    def run(function, case, widen=False):
        key = function, id(case), widen
        if key not in RUN:
            RUN[key] = case, ORIGINAL(function, case, widen)  # with the case, so that its id is not given again
        return RUN[key][1]

    monkeypatch.setattr(judging, "run", run)


@pytest.fixture(params=SEEDS, ids=lambda seed: "public" if seed is None else f"secret {seed}")
def seed(request):
    return request.param
