"""Answers that are alike, for a person to look at: token windows that do not see names, weighed by how rare they are; equal texts."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from course_lib.grading.assignment import Assignment
from course_lib.grading.prints import Window, fingerprints, text, windows
from course_lib.grading.submissions import Submission

COMMON = 0.1  # windows that more of the class have are the exercise's, not a copy's …
FEW = 3  # … unless they are this few people
ALIKE = 0.75  # share of the rare windows that two answers to one exercise have in common
ENOUGH = 60  # rare windows in common over all such exercises, about eight lines: two lines alike are chance


@dataclass(frozen=True)
class Pair:
    """Students whose answers to these exercises are alike; `share` is 1 for copies.

    With `more` a group that has one text; without `second` one who has the course's solution.
    """

    first: str
    second: str
    share: float
    exercises: tuple[str, ...]
    more: tuple[str, ...] = ()

    @property
    def students(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.first, self.second, *self.more)))

    @property
    def said(self) -> str:
        """What was found, in words that go before "in 3.5"."""
        if not self.second:
            return "the course's own solution, names and comments aside,"
        return "the same text" if self.more else f"{100 * self.share:.0f} % alike"


def similar(submissions: Sequence[Submission], assignment: Assignment) -> list[Pair]:
    """Who is to be looked at: those with the course's solution, groups with one text, pairs, the most alike first.

    What the stub gives and what many share in other words does not count: a short exercise has few right answers.
    Answers that are values, not functions, are not compared.
    """
    alike: dict[tuple[str, ...], list[tuple[str, float, int]]] = defaultdict(list)
    solved: dict[str, dict[str, int]] = defaultdict(dict)
    for asked in assignment.exercises:
        base = set(windows(asked.stub, asked.name))
        answers = {one.student: one.answers[asked.id] for one in submissions if asked.id in one.answers}
        sets = {student: set(windows(source, asked.name)) - base for student, source in answers.items()}
        for pair, (share, count) in _alike(sets).items():
            alike[pair].append((asked.id, share, count))
        for group in _equal(answers):
            alike[group].append((asked.id, 1.0, len(sets[group[0]])))
        if asked.solution:
            due = frozenset(asked.solution.split())
            for student in (student for student, source in answers.items() if due <= fingerprints(source)):
                solved[student][asked.id] = len(sets[student])
    copies = [Pair(student, "", 1.0, tuple(mine)) for student, mine in solved.items() if sum(mine.values()) >= ENOUGH]
    found = [Pair(who[0], who[1], max(share for _, share, _ in mine), tuple(id for id, _, _ in mine), who[2:])
             for who, mine in alike.items() if sum(count for _, _, count in mine) >= ENOUGH]
    return sorted([*copies, *_unexplained(found, copies)], key=lambda one: (
        bool(one.second), not one.more, -len(one.exercises), -one.share, one.students))


def _equal(answers: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """Groups with one text, names included, that are too large for a pair to be rare."""
    holders: dict[str, list[str]] = defaultdict(list)
    for student, source in answers.items():
        holders[text(source)].append(student)
    return (tuple(sorted(who)) for same, who in holders.items() if same and len(who) > FEW)


def _unexplained(found: Sequence[Pair], copies: Sequence[Pair]) -> list[Pair]:
    """Pairs and groups without those that are alike since all of them have the course's solution, or stand in a group."""
    solved = {one.first: set(one.exercises) for one in copies}
    groups = [one for one in found if one.more]
    return [one for one in found
            if not all(set(one.exercises) <= solved.get(student, set()) for student in one.students)
            and (one.more or not any({*one.students} <= {*group.students} and {*one.exercises} <= {*group.exercises} for group in groups))]


def _alike(sets: Mapping[str, set[Window]]) -> dict[tuple[str, str], tuple[float, int]]:
    """For each pair whose answers are alike: what is rare and in common as a share of the larger side's weight, and how many windows."""
    holders: dict[Window, list[str]] = defaultdict(list)
    for student, own in sets.items():
        for window in own:
            holders[window].append(student)
    limit = max(FEW, COMMON * len(sets))
    weight = {window: math.log(1 + len(sets) / len(who)) for window, who in holders.items() if len(who) <= limit}
    total: Counter[str] = Counter()
    shared: Counter[tuple[str, str]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    for window, worth in weight.items():
        for student in holders[window]:
            total[student] += worth
        for pair in combinations(sorted(holders[window]), 2):
            shared[pair] += worth
            count[pair] += 1
    shares = {pair: worth / max(total[pair[0]], total[pair[1]]) for pair, worth in shared.items()}
    return {pair: (share, count[pair]) for pair, share in shares.items() if share >= ALIKE}
