"""Exercise 6.2, learn merges from counted words: always the most frequent pair, under a stated rule for ties."""

from collections.abc import Sequence

import numpy as np

from course_lib.exercises.ch06.learning_mistakes import WRONG, WRONG_IN, counted, learner
from course_lib.exercises.ch06.lists import differs, ids_from, picked, telling, told_apart, wrong
from course_lib.exercises.judging import ArrayExaminer, Arrays
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.tokenizers import merge

reference = learner()


# ---------------------------------------------------------------- draws


def _case(
    rng: np.random.Generator,
    group: str,
    n_merges: int,
    words: int,
    letters: int,
    long: Sequence[int],
    counts: Sequence[int],
    also: str = "",
) -> Case:
    """Random words on which the mistakes of this group and of `also` show, and those of the other groups do not."""
    alphabet = ids_from(rng, 97, 123, letters)

    def make() -> dict:
        drawn = {tuple(picked(rng, alphabet, int(n))): int(count) for n, count in zip(picked(rng, long, words), picked(rng, counts, words))}
        entries = [(list(ids), count) for ids, count in drawn.items()]
        return {"words": entries + entries[:1] if group == "hard" else entries, "n_merges": n_merges}

    shown = [answer for name in (also, group) for _, answer, _ in WRONG_IN.get(name, ())]
    fine = [answer for other in WRONG_IN if other not in ("values", "onward", group) for _, answer, _ in WRONG_IN[other]]
    return _noted(group, telling(make, reference, shown, fine))


def _noted(group: str, args: dict) -> Case:
    shown = ", ".join(f"{ids}: {count}" for ids, count in args["words"])
    return Case(group, args, f"{args['n_merges']} merges of {shown or 'no word at all'}")


def draw(rng: np.random.Generator) -> list[Case]:
    a, b = ids_from(rng, 97, 123, 2)
    return [
        _case(rng, "values", 4, words=6, letters=3, long=(3, 4, 5, 6), counts=range(2, 10), also="onward"),
        _case(rng, "values", 3, words=5, letters=4, long=(2, 3, 4, 5, 6), counts=range(2, 10)),
        _case(rng, "ties", 4, words=5, letters=4, long=(3, 4, 5), counts=(2,)),
        _case(rng, "ties", 5, words=6, letters=5, long=(2, 3, 4), counts=(1, 2, 3)),
        _case(rng, "early", 40, words=6, letters=4, long=(1, 2, 2, 3, 4), counts=range(1, 6)),
        _noted("early", {"words": [([a], 5), ([b], 3)], "n_merges": 3}),
        _noted("early", {"words": [], "n_merges": 2}),
        _noted("early", {"words": [([a, b], 5)], "n_merges": 0}),
        _case(rng, "hard", 4, words=5, letters=2, long=(1, 4, 5, 6, 7), counts=range(1, 6)),
    ]


# ---------------------------------------------------------------- judging


def _frequencies(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the counts before the first merge that is off."""
    right = [tuple(map(int, pair)) for pair in expected[0].tolist()]
    at = next(k for k, pair in enumerate(got[0].tolist()) if tuple(pair) != right[k])
    words = case.args["words"]
    for k, pair in enumerate(right[:at]):
        words = [(merge(ids, pair, 256 + k), n) for ids, n in words]
    most = ", ".join(str(n) for _, n in counted(words).most_common(3))
    return f"The most frequent pairs before that merge occur {most} times: print your counts"


EXERCISE = Exercise(
    "6.2",
    "Learn the merges",
    "implement",
    4,
    25,
    "learn merges from a text, by hand and in code, under a stated tie rule",
    (
        Property("values", "always the most frequent pair, counted anew after each merge", 2),
        Property("ties", "of equally frequent pairs the one with the smaller ids", 2),
        Property("early", "fewer merges where no pair is left: short words, no word, none asked for"),
        Property("hard", "runs of one letter, words of one letter, counts of 1, a word that is listed twice"),
    ),
    told_apart(draw, WRONG),
    ArrayExaminer(("merges",), tuple(wrong(("merges",), *entry) for entry in WRONG), differs, _frequencies),
    reference,
)
