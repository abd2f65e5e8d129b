"""The exercises of the course: `check` in a notebook, the same draws and judges for a grader.

A grader draws `exercise.inputs(draws(id, seed))`, sends the args through `wire` to a process that runs
`answers.outputs_of`, and calls `exercise.judge` on what comes back.
"""

import os
from typing import Any

import numpy as np

from course_lib.exercises import ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch12, ch13
from course_lib.exercises.answers import outputs_of
from course_lib.exercises.spec import Exercise, Verdict

CHAPTERS = (ch02, ch03, ch04, ch05, ch06, ch07, ch08, ch09, ch12, ch13)
EXERCISES: dict[str, Exercise] = {asked.id: asked for chapter in CHAPTERS for asked in chapter.EXERCISES}


def exercise(id: str) -> Exercise:
    """The exercise with this number, as "3.1". Raises ValueError if there is none."""
    if id not in EXERCISES:
        raise ValueError(f"id: got {id!r}, expected one of {', '.join(EXERCISES)}")
    return EXERCISES[id]


def draws(id: str, seed: int | None = None) -> np.random.Generator:
    """The random numbers behind the inputs of exercise `id`: public without a seed, secret with one."""
    if seed is not None and seed < 0:
        raise ValueError(f"seed: got {seed}, expected None or a number from 0")
    return np.random.default_rng([*(int(part) for part in id.split(".")), 0 if seed is None else seed + 1])


def verdict(id: str, answer: Any, seed: int | None = None) -> Verdict:
    """Run and judge `answer` in this process."""
    asked, rng = exercise(id), draws(id, seed)
    cases = [] if answer is None or answer is Ellipsis else asked.inputs(rng)  # draw only for somebody
    return asked.judge(cases, outputs_of(answer, [case.args for case in cases], asked.is_function))


def check(id: str, answer: Any, seed: int | None = None) -> int | None:
    """Judge `answer`, a function or (where the exercise asks to predict) a dict, and print the feedback.

    Never raises because of the answer: an unattempted or broken one prints a line, and the notebook runs on.
    Returns nothing, or the points where nbgrader's autograde runs the notebook: it reads them from the cell's output.
    """
    found = verdict(id, answer, seed)
    print(found)
    return found.points if os.environ.get("NBGRADER_EXECUTION") == "autograde" else None
