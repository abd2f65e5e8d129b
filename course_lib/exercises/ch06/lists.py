"""What the exercises of chapter 06 share: answers that are lists, compared entry by entry, and draws that tell wrong from right."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference, kind, number, run
from course_lib.exercises.spec import Case
from course_lib.tokenizers import merge

Ids = list[int]
Pair = tuple[int, int]
Draw = Callable[[np.random.Generator], list[Case]]


def differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """Where one list leaves the other, in words; "" if nowhere."""
    mine, due = got[0].tolist(), expected[0].tolist()
    if mine == due:
        return ""
    if got[0].ndim == 0 or (mine and due and got[0].shape[1:] != expected[0].shape[1:]):
        return difference(names, got, expected)
    shared = min(len(mine), len(due))
    at = next((i for i in range(shared) if mine[i] != due[i]), shared)
    if at < shared:
        return f"{names[0]}[{at}] is {_shown(mine[at])}, expected {_shown(due[at])}"
    if at < len(mine):
        return f"{names[0]} goes on with {_shown(mine[at])}, where it should end, after {_several(at)}"
    return f"{names[0]} ends after {_several(at)}, and it should go on"


def _several(n: int) -> str:
    return f"{n} {'entry' if n == 1 else 'entries'}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(_shown, value))})"
    return repr(value[:40]) if isinstance(value, str) else number(value)


def wrong(names: tuple[str, ...], name: str, answer: Callable[..., Any], text: str) -> Wrong:
    """A misconception that is told together with the input and the place where it shows."""

    def message(case: Case, got: Arrays, expected: Arrays) -> str:
        return f"{text} ({case.note}: {differs(names, case, got, expected)})"

    return Wrong(name, answer, message)


ids_wrong = partial(wrong, ("ids",))


class TextsExaminer(ArrayExaminer):
    """Examine functions that return one list of strings."""

    def read(self, value: Any) -> Arrays:
        """A list of strings as an array of objects. Raises ValueError in words for another form."""
        (name,) = self.names
        if not isinstance(value, (list, tuple)):
            joined = ": is everything in one string?" if isinstance(value, str) else ""
            raise ValueError(f"{name} is {kind(value)}, expected a list of strings{joined}")
        odd = next((n for n, item in enumerate(value) if not isinstance(item, str)), None)
        if odd is not None:
            came = "None" if value[odd] is None else kind(value[odd])
            raise ValueError(f"{name}[{odd}] is {came}, expected a string")
        texts = np.empty(len(value), dtype=object)
        texts[:] = value
        return (texts,)


def telling(
    make: Callable[[], dict[str, Any]],
    right: Callable[..., Any],
    wrongs: Iterable[Callable[..., Any]],
    fine: Iterable[Callable[..., Any]] = (),
) -> dict[str, Any]:
    """Arguments drawn by `make`, again and again until each of `wrongs` is wrong on them and each of `fine` is right."""
    wrongs, fine = list(wrongs), list(fine)
    for _ in range(20_000):
        args = make()
        due = right(*args.values())
        if all(answer(*args.values()) != due for answer in wrongs) and all(answer(*args.values()) == due for answer in fine):
            return args
    raise RuntimeError("make: got no telling arguments in 20000 draws, expected some")


def told_apart(draw: Draw, wrongs: Sequence[tuple[str, Callable[..., Any], str]]) -> Draw:
    """`draw`, again and again until wrong answers of different names differ from each other on some case."""

    def drawn(rng: np.random.Generator) -> list[Case]:
        while True:
            cases = draw(rng)
            names: dict[str, set[str]] = {}
            for name, answer, _ in wrongs:
                names.setdefault(repr([_outcome(answer, case) for case in cases]), set()).add(name)
            if all(len(same) == 1 for same in names.values()):
                return cases

    return drawn


def _outcome(answer: Callable[..., Any], case: Case) -> Any:
    try:
        return run(answer, case)
    except (ValueError, IndexError):
        return None


def merge_first(ids: Ids, pair: Pair, new: int) -> Ids:
    """What goes wrong with a merge: only the first occurrence becomes `new`."""
    at = next((i for i in range(len(ids)) if tuple(ids[i : i + 2]) == pair), None)
    return list(ids) if at is None else [*ids[:at], new, *ids[at + 2 :]]


def merge_from_right(ids: Ids, pair: Pair, new: int) -> Ids:
    """What goes wrong with a merge: runs of equal ids are paired off from their right end."""
    return merge(ids[::-1], pair[::-1], new)[::-1]


def ids_from(rng: np.random.Generator, low: int, high: int, n: int) -> Ids:
    """n distinct ids, low ≤ id < high, as plain numbers."""
    return (low + rng.permutation(high - low)[:n]).tolist()


def picked(rng: np.random.Generator, items: Sequence[Any], n: int) -> list[Any]:
    """n of the items, drawn with replacement."""
    return [items[i] for i in rng.integers(len(items), size=n).tolist()]
