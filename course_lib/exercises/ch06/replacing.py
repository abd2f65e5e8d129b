"""Exercise 6.1, every occurrence of a pair of ids becomes a new id."""

from collections.abc import Callable, Iterable

import numpy as np

from course_lib.exercises.ch06.lists import Ids, Pair, differs, ids_from, ids_wrong, merge_first, merge_from_right, telling, told_apart
from course_lib.exercises.judging import ArrayExaminer, Arrays
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.tokenizers import merge


def reference(ids: Ids, pair: Pair, new: int) -> Ids:
    """The expected value of 6.1, by the course's merge."""
    return merge(ids, pair, new)


def _case(group: str, ids: Ids, pair: Pair, new: int) -> Case:
    args = {"ids": ids, "pair": pair, "new": new}
    return Case(group, args, f"{ids}, {pair} → {new}")


def _shuffled(rng: np.random.Generator, parts: Iterable[Ids], end: Ids) -> Ids:
    parts = list(parts)
    return [id for n in rng.permutation(len(parts)) for id in parts[n]] + end


def _mixed(rng: np.random.Generator, pair: Pair, new: int, others: Ids) -> Case:
    """Both ids of the pair in all company: each other's, turned round, and alone."""
    a, b = pair
    c, d = others
    parts = [[a, b], [a, b], [b, a], [a, c], [d, b], [c], [a, b, b], [d]]
    seen = [answer for name, answer, _ in WRONG if name not in ELSEWHERE]
    args = telling(lambda: {"ids": _shuffled(rng, parts, [c]), "pair": pair, "new": new}, reference, seen)
    return _case("values", *args.values())


def draw(rng: np.random.Generator) -> list[Case]:
    a, b, c, d = ids_from(rng, 32, 127, 4)
    new = int(rng.integers(256, 400))
    x, y = ids_from(rng, 1, 9, 2)
    runs = _shuffled(rng, [[a] * 2, [b], [a] * 3, [b, c], [a] * 4, [c]], [a] * 5)
    return [
        _mixed(rng, (a, b), new, [c, d]),
        _mixed(rng, (b, c), new + 1, [a, d]),
        _mixed(rng, (x, y), new, [10 * y + int(rng.integers(10)), 10 + x]),  # "1x y" holds "x y", as text
        _case("overlaps", [a] * 5, (a, a), new),
        _case("overlaps", runs, (a, a), new),
        _case("hard", [], (a, b), new),
        _case("hard", [a], (a, b), new),
        _case("hard", [a, b, c, b, a, b], (a, b), new),
        _case("hard", [b, a, c, b, a, a, d], (a, b), new),
        _case("hard", [a, b, b, c, a, b, b, b], (a, b), a),
    ]


# ---------------------------------------------------------------- what goes wrong


def _scan(
    found: Callable[[Ids, int, Pair], bool],
    put: Callable[[Pair, int], Ids] = lambda pair, new: [new],
    step: int = 2,
    after: int = 1,
) -> Callable[[Ids, Pair, int], Ids]:
    """A wrong walk from the left: another sign of a pair, other ids in its place, other steps behind a pair or none."""

    def answer(ids, pair, new):
        done, i = [], 0
        while i < len(ids):
            here = found(ids, i, pair)
            done += put(pair, new) if here else ids[i : i + after]
            i += step if here else after
        return done

    return answer


def _at(ids: Ids, i: int, pair: Pair) -> bool:
    return tuple(ids[i : i + 2]) == pair


def _last_dropped(ids: Ids, pair: Pair, new: int) -> Ids:
    last = merge(ids, pair, new)
    swallowed = sum(2 if id == new else 1 for id in last[:-1]) < len(ids) - 1
    return last if swallowed else last[:-1]


def _overlapping(ids: Ids, pair: Pair, new: int) -> Ids:
    starts = {i for i in range(len(ids)) if _at(ids, i, pair)}
    return [new if i in starts else id for i, id in enumerate(ids) if i in starts or i - 1 not in starts]


def _until_none(ids: Ids, pair: Pair, new: int) -> Ids:
    while (merged := merge(ids, pair, new)) != ids:
        ids = merged
    return ids


def _stacked(ids: Ids, pair: Pair, new: int) -> Ids:
    done: Ids = []
    for id in ids:
        done.append(id)
        while tuple(done[-2:]) == pair:
            done[-2:] = [new]
    return done


def _looked_again(ids: Ids, pair: Pair, new: int) -> Ids:
    done, i = list(ids), 0
    while i < len(done):
        if _at(done, i, pair):
            done[i : i + 2] = [new]
        else:
            i += 1
    return done


def _as_text(ids: Ids, pair: Pair, new: int) -> Ids:
    return [int(word) for word in " ".join(map(str, ids)).replace(f"{pair[0]} {pair[1]}", str(new)).split()]


_AGAIN = "What has been replaced is looked at again, with the new id in it. One pass: a new id is not part of this pair."
_STAYS = "One of the two ids stays beside the new one, which is to stand in the place of both."
WRONG: tuple[tuple[str, Callable[[Ids, Pair, int], Ids], str], ...] = (
    ("only the first", merge_first, "Only the first occurrence is replaced. Every one is asked for."),
    (
        "from the right",
        merge_from_right,
        "In a run of equal ids you pair them off from its right end. The left one comes first.",
    ),
    (
        "overlaps counted twice",
        _overlapping,
        "An id of yours belongs to two pairs at once. Once replaced, both ids of a pair are used up: go on behind them.",
    ),
    (
        "last id dropped",
        _last_dropped,
        "The last id is lost where it belongs to no pair. Does your loop stop one id before the end?",
    ),
    (
        "first id alone",
        _scan(lambda ids, i, pair: ids[i] == pair[0]),
        "You look at the first id of the pair alone, so that it swallows whatever comes behind it.",
    ),
    (
        "second id alone",
        _scan(lambda ids, i, pair: ids[i + 1 : i + 2] == [pair[1]]),
        "You look at the second id of the pair alone, so that it swallows whatever stands before it.",
    ),
    (
        "one of the two is enough",
        _scan(lambda ids, i, pair: ids[i] == pair[0] or ids[i + 1 : i + 2] == [pair[1]]),
        "One of the two ids is enough for you: both have to be there.",
    ),
    (
        "either way round",
        _scan(lambda ids, i, pair: _at(ids, i, pair) or _at(ids, i, pair[::-1])),
        "You replace the pair turned round, too. (a, b) and (b, a) are two different pairs.",
    ),
    (
        "in steps of two",
        _scan(_at, after=2),
        "You go on by two ids even where there was no pair, and miss the pair that starts in between.",
    ),
    ("replaced again", _until_none, _AGAIN),
    ("replaced again", _stacked, _AGAIN),
    ("replaced again", _looked_again, _AGAIN),
    ("one id stays", _scan(_at, step=1), _STAYS),
    ("one id stays", _scan(_at, lambda pair, new: [new, pair[1]]), _STAYS),
    ("one id stays", _scan(_at, lambda pair, new: [pair[0], new]), _STAYS),
    ("both stay", _scan(_at, lambda pair, new: [*pair, new]), "The new id stands behind the pair, not in its place."),
    ("nothing in its place", _scan(_at, lambda pair, new: []), "The pair is taken out, and nothing is put in its place."),
    ("two new ids", _scan(_at, lambda pair, new: [new, new]), "Each of the two ids becomes the new one; it stands once for both."),
    (
        "unchanged",
        lambda ids, pair, new: list(ids),
        "The ids come back as they were. Is a slice, which is a list, compared with the pair? A list never equals a tuple.",
    ),
    (
        "taken as text",
        _as_text,
        "As text, one number hides in another: '1 2' is found in '11 2' and in '1 20'. Compare ids, not digits.",
    ),
)
ELSEWHERE = ("overlaps counted twice", "from the right", "replaced again", "taken as text")  # wrong on other cases


def _last_step(case: Case, got: Arrays, expected: Arrays) -> str:
    ids, pair, _ = case.args.values()
    return f"The pair starts at the places {[i for i in range(len(ids)) if _at(ids, i, pair)]}: print what you do there"


EXERCISE = Exercise(
    "6.1",
    "Replace a pair",
    "implement",
    2,
    10,
    "learn merges from a text, by hand and in code, under a stated tie rule",
    (
        Property("values", "every occurrence of the pair, and nothing else", 2),
        Property("overlaps", "runs of one id, paired off from the left"),
        Property("hard", "no id, one id, pairs at both ends, no pair at all, a new id that makes the pair again"),
    ),
    told_apart(draw, WRONG),
    ArrayExaminer(("ids",), tuple(ids_wrong(*entry) for entry in WRONG), differs, _last_step),
    reference,
)
