"""Exercise 12.3, several conversations in one row: who hears whom, and where each begins to count."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("allowed", "positions")


def _segments(lengths: list[int], T: int) -> np.ndarray:
    """The number of the conversation at each place; −1 for padding."""
    segments = np.full(T, -1)
    segments[: sum(lengths)] = np.repeat(np.arange(len(lengths)), lengths)
    return segments


def reference(lengths: list[int], T: int) -> tuple[np.ndarray, np.ndarray]:
    """The expected value of 12.3: the same conversation, not later, no padding."""
    segments = _segments(lengths, T)
    same = (segments[:, None] == segments) & (segments >= 0)
    return np.tril(same), _anew(lengths, T)


# ---------------------------------------------------------------- draws


def _case(group: str, lengths: list[int], padding: int, note: str = "") -> Case:
    T = sum(lengths) + padding
    said = note or f"lengths {', '.join(map(str, lengths))}"
    return Case(group, {"lengths": lengths, "T": T}, f"{said}, T = {T}")


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(3, 6))
    three = rng.permutation([2, 3, more + 1]).tolist()
    return [
        _case("values", three, 3),
        _case("values", [more, 2], 2),
        _case("values", [2, 4, more, 3], 4),
        _case("full", [4, more], 0),
        _case("full", rng.permutation([1, 2, 5]).tolist(), 0),
        _case("hard", [1, 1, more], 1),
        _case("hard", [more], 2, f"a single conversation of {more}"),
        _case("hard", [], more, "nothing but padding"),
    ]


# ---------------------------------------------------------------- mistakes

Allowed = Callable[[list[int], int], np.ndarray]


def _allowed(lengths: list[int], T: int) -> np.ndarray:
    return reference(lengths, T)[0]


def _anew(lengths: list[int], T: int, padding: int | None = 0, first: int = 0) -> np.ndarray:
    """Positions that start at `first` in each conversation; padding has `padding`, or None: it starts anew, too."""
    used = sum(lengths)
    rest = np.arange(T - used) + first if padding is None else np.full(T - used, padding)
    return np.concatenate([*(np.arange(n) + first for n in lengths), rest]).astype(int)


def _on(lengths: list[int], T: int) -> np.ndarray:
    return np.arange(T)


def _on_but_padding(lengths: list[int], T: int) -> np.ndarray:
    return np.where(_segments(lengths, T) < 0, 0, np.arange(T))


def _padding_goes_on(lengths: list[int], T: int) -> np.ndarray:
    """Padding goes on with the last conversation's positions."""
    last = T - sum(lengths[:-1])
    return np.concatenate([*(np.arange(n) for n in lengths[:-1]), np.arange(last)]).astype(int)


def _real(lengths: list[int], T: int) -> np.ndarray:
    return _segments(lengths, T) >= 0


def _same(lengths: list[int], T: int) -> np.ndarray:
    """The same number, which is one for all padding as well."""
    segments = _segments(lengths, T)
    return segments[:, None] == segments


def _causal(T: int) -> np.ndarray:
    return np.tri(T, dtype=bool)


def _both_real(lengths: list[int], T: int) -> np.ndarray:
    real = _real(lengths, T)
    return real[:, None] & real


def _moved(by: int) -> Allowed:
    """The boundaries between conversations moved by one place."""

    def allowed(lengths, T):
        segments = _segments(lengths, T)
        inner = np.cumsum(lengths)[:-1] + by
        moved = np.where(segments < 0, -1, np.searchsorted(inner, np.arange(T), side="right"))
        return np.tril((moved[:, None] == moved) & (moved >= 0))

    return allowed


def _with(allowed: Allowed = _allowed, positions: Callable[[list[int], int], np.ndarray] = _anew) -> Callable:
    return lambda lengths, T: (allowed(lengths, T), positions(lengths, T))


def _neighbour(case: Case, got: Arrays, expected: Arrays) -> str:
    """One place that hears another conversation."""
    lengths, T = case.args.values()
    segments = _segments(lengths, T)
    off = (got[0] > 0) & (segments[:, None] != segments) & (segments[:, None] >= 0) & (segments >= 0)
    query, key = np.argwhere(off)[0]
    return (
        f"{case.note}: place {query} belongs to conversation {segments[query]} and hears place {key}, which belongs to conversation "
        f"{segments[key]}. To be in the past is not enough."
    )


_SILENT = "What stands there is nobody's word: it hears nothing, and nobody hears it."
_GO_ON = "Your positions go on from one conversation to the next. Each was learned as if it stood alone, and begins at 0."
WRONGS = (
    Wrong("causal only", _with(lambda lengths, T: _causal(T)), _neighbour),
    Wrong("causal only", _with(lambda lengths, T: _causal(T), _on), _neighbour),
    Wrong("causal only", _with(lambda lengths, T: _causal(T) & _both_real(lengths, T)), _neighbour),
    Wrong("causal only", _with(lambda lengths, T: _causal(T) & _both_real(lengths, T), _on), _neighbour),
    Wrong("causal only", _with(lambda lengths, T: _causal(T) & _both_real(lengths, T), _on_but_padding), _neighbour),
    Wrong(
        "not causal",
        _with(lambda lengths, T: _same(lengths, T) & _both_real(lengths, T)),
        "Each conversation hears itself as a whole: words see what comes after them.",
    ),
    Wrong(
        "not causal",
        _with(_same),
        "Each conversation hears itself as a whole, what comes later, too; and so does the padding.",
    ),
    Wrong("everybody hears everybody", _with(lambda lengths, T: np.ones((T, T), bool)), "Everything is allowed: there is no mask."),
    Wrong("all that is real", _with(_both_real), "All real places hear each other, of other conversations and of the future, too."),
    Wrong("positions go on", _with(positions=_on), _GO_ON),
    Wrong("positions go on", _with(positions=_on_but_padding), _GO_ON),
    Wrong("positions from 1", _with(positions=lambda lengths, T: _anew(lengths, T, first=1)), "Your positions begin at 1; 0 is first."),
    Wrong(
        "padding has positions",
        _with(positions=lambda lengths, T: _anew(lengths, T, None)),
        "Your padding has positions of its own, as if it were one more conversation. The text asks for 0.",
    ),
    Wrong(
        "padding has positions",
        _with(positions=_padding_goes_on),
        "In your padding the positions of the last conversation go on. The text asks for 0.",
    ),
    Wrong("padding is a conversation", _with(lambda lengths, T: np.tril(_same(lengths, T))), f"Your padding hears itself. {_SILENT}"),
    Wrong(
        "padding is a conversation",
        _with(lambda lengths, T: np.tril(_same(lengths, T)), lambda lengths, T: _anew(lengths, T, None)),
        f"Your padding is one more conversation, which hears itself. {_SILENT}",
    ),
    Wrong(
        "padding belongs to the last",
        _with(lambda lengths, T: _allowed([*lengths[:-1], T - sum(lengths[:-1])], T)),
        f"Your padding hears the last conversation. {_SILENT}",
    ),
    Wrong(
        "padding belongs to the last",
        _with(lambda lengths, T: _allowed([*lengths[:-1], T - sum(lengths[:-1])], T), _padding_goes_on),
        f"Your padding is taken for a part of the last conversation. {_SILENT}",
    ),
    Wrong(
        "padding hears itself",
        _with(lambda lengths, T: _allowed(lengths, T) | np.eye(T, dtype=bool)),
        f"Each place of your padding hears itself. {_SILENT}",
    ),
    Wrong("not itself", _with(lambda lengths, T: np.tril(_allowed(lengths, T), -1)), "Nobody hears himself: a word sees its own place."),
    Wrong(
        "future only",
        _with(lambda lengths, T: _allowed(lengths, T).T),
        "Rows and columns are exchanged: allowed[q, k] says whether place q hears place k, and k is not behind it.",
    ),
    Wrong("mask turned round", _with(lambda lengths, T: ~_allowed(lengths, T)), "True and False are exchanged: True means: may hear."),
    Wrong("boundary too late", _with(_moved(1)), "The first place of a conversation is taken for the last of the one before."),
    Wrong("boundary too early", _with(_moved(-1)), "The last place of a conversation is taken for the first of the one behind."),
    Wrong(
        "other conversations only",
        _with(lambda lengths, T: np.tril(~_same(lengths, T)) & _both_real(lengths, T)),
        "A word hears the conversations before its own, and not its own. It is to be the other way round.",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return "Write under each place the number of its conversation, and under that its position"


EXERCISE = Exercise(
    "12.3",
    "Neighbours in a row",
    "implement",
    3,
    15,
    "fill rows with several conversations without one hearing another",
    (
        Property("values", "each conversation by itself, and padding silent", 2),
        Property("full", "rows that are full"),
        Property("hard", "conversations of one word, one alone, nothing but padding"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, advice=_advice, kinds={"allowed": "bool"}),
    reference,
)
