"""Mark one submission: every answer runs in the sandbox on secret draws, and what comes back is judged here."""

import math
import time
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from course_lib.exercises import draws, exercise, wire
from course_lib.exercises.answers import outputs_of
from course_lib.exercises.spec import Case, Exercise, Verdict
from course_lib.grading import rules
from course_lib.grading.assignment import Asked, Assignment
from course_lib.grading.replies import Limits, Reply
from course_lib.grading.sandbox import Isolation, Task
from course_lib.grading.sources import parsed, python

MULTIPLE = 50  # of the reference's time, which is at least its kind's floor
FLOORS = {"measure": 60}  # seconds of computing; what is measured may be trained
FLOOR = 5
WAITING = 3  # seconds by the clock for each second of computing: other processes need their share, too


@dataclass(frozen=True)
class Mark:
    """Points for one exercise; `reason` says why it could not be run or judged, `review` what a person should look at.

    `properties` are the verdict's: (text, points, maximum). `seconds` is the time by the clock that marking took.
    """

    id: str
    points: int
    maximum: int
    attempted: bool
    message: str = ""
    misconception: str = ""
    reason: str = ""
    review: tuple[str, ...] = ()
    seconds: float = 0.0
    properties: tuple[tuple[str, int, int], ...] = ()


def mark(answers: Mapping[str, str], assignment: Assignment, seed: int, isolation: Isolation,
         done: Collection[str] = frozenset()) -> Iterator[Mark]:
    """One mark for each exercise of the assignment that is not in `done`, in its order, whatever the answers do.

    `answers` holds source text by exercise id. Raises ValueError only if no worker can be started.
    """
    isolation.next_student()
    for asked in assignment.exercises:
        if asked.id not in done:
            yield marked(asked, answers.get(asked.id), assignment.prelude.get(asked.id, ""), seed, isolation)


def marked(asked: Asked, source: str | None, prelude: str, seed: int, isolation: Isolation) -> Mark:
    """The mark of one answer."""
    start, judged = time.monotonic(), exercise(asked.id)

    def unjudged(reason: str, attempted: bool = True, review: tuple[str, ...] = ()) -> Mark:
        return Mark(asked.id, 0, judged.points, attempted, reason=reason, review=review, seconds=time.monotonic() - start)

    if source is None:
        return unjudged("no answer was handed in", attempted=False)
    try:
        source = python(source)
        review = rules.review(asked.id, parsed(source))
    except ValueError as error:
        return unjudged(str(error))
    cases, packed = drawn(asked.id, seed)
    task = Task(asked.name, source, packed, len(cases), prelude, judged.is_function, rules.watched(asked.id))
    reply = isolation.run(task, limits(asked.id))
    review = tuple(dict.fromkeys([*review, *(rules.called(name) for name in reply.used)]))
    if reply.outputs is None:
        return unjudged(reply.reason, review=(*review, reply.reason) if reply.ours else review)
    try:
        verdict = judge(judged, cases, reply)
    except Exception as error:  # a judge that fails on some answer: never the end of the run
        reason = f"it could not be judged ({type(error).__name__})"
        return unjudged(reason, review=(*review, reason))
    properties = tuple((result.text, result.points, result.maximum) for result in verdict.results)
    return Mark(asked.id, verdict.points, verdict.maximum, verdict.attempted, verdict.message, verdict.misconception,
                review=review, seconds=time.monotonic() - start, properties=properties)


def judge(judged: Exercise, cases: tuple[Case, ...], reply: Reply) -> Verdict:
    """The verdict on a reply; numbers that overflow while they are compared warn nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return judged.judge(cases, reply.outputs)


@lru_cache(maxsize=64)
def drawn(id: str, seed: int) -> tuple[tuple[Case, ...], tuple[str, list[bytes]]]:
    """The cases of an exercise under a seed, and their arguments packed for the worker; made once."""
    cases = tuple(exercise(id).inputs(draws(id, seed)))
    return cases, wire.pack([case.args for case in cases])


@lru_cache(maxsize=64)
def limits(id: str) -> Limits:
    """What an answer may use: time as a multiple of what the reference takes here and now, but not less than its kind's floor."""
    judged = exercise(id)
    floor = FLOORS.get(judged.kind, FLOOR)
    if not judged.is_function:
        return Limits(WAITING * floor, floor)
    inputs = [case.args for case in judged.inputs(draws(id))]
    start = time.process_time()
    outputs_of(judged.reference, inputs)
    seconds = max(floor, math.ceil(MULTIPLE * (time.process_time() - start)))
    return Limits(WAITING * seconds, seconds)
