"""Exercise 8.3, an answer in a text that is too long: windows of it, and a planted answer that is clipped to what is left."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("windows",)
NOWHERE = (0, 0)
Ids = list[int]
Place = tuple[int, int]
Window = tuple[Ids, Place]


def reference(question: Ids, context: Ids, answer: Place, max_len: int, stride: int, cls_id: int, sep_id: int) -> list[Window]:
    """The expected value of 8.3: windows that begin every `stride` tokens, until one reaches the end of the text."""
    before, room = len(question) + 2, max_len - len(question) - 3
    found = []
    for start in range(0, max(len(context) - room, 0) + stride, stride):
        inside = start <= answer[0] and answer[1] < start + room
        place = (answer[0] - start + before, answer[1] - start + before) if inside else NOWHERE
        found.append(([cls_id, *question, sep_id, *context[start : start + room], sep_id], place))
    return found


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, sizes: tuple[int, int, int, int], answer: Place, note: str) -> Case:
    """`sizes`: tokens of the question and of the text, max_len, stride."""
    asked, told, max_len, stride = sizes
    ids = (10 + rng.permutation(90)).tolist()
    cls_id, sep_id = (1 + rng.permutation(8)[:2]).tolist()
    args = {"question": ids[:asked], "context": ids[asked : asked + told], "answer": answer, "max_len": max_len, "stride": stride}
    return Case(group, args | {"cls_id": cls_id, "sep_id": sep_id}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    late, early = int(rng.integers(13, 16)), int(rng.integers(1, 3))
    return [
        _case(rng, "values", (3, 18, 14, 5), (late, late + 2), f"18 tokens, windows of 8, answer {late} … {late + 2}"),
        _case(rng, "values", (2, 15, 12, 4), (early, early + 1), f"15 tokens, windows of 7, answer {early} … {early + 1}"),
        _case(rng, "values", (4, 20, 16, 6), (7, 8), "20 tokens, windows of 9, answer 7 … 8"),
        _case(rng, "edge", (3, 16, 14, 4), (6, 9), "16 tokens, windows of 8, an answer that two windows cut"),
        _case(rng, "edge", (2, 18, 13, 5), (7, 8), "18 tokens, windows of 8, an answer that one window cuts"),
        _case(rng, "edge", (2, 17, 12, 7), (6, 8), "17 tokens, windows of 7 that do not overlap, an answer that no window holds whole"),
        _case(rng, "hard", (3, 6, 15, 4), (2, 5), "a text that fits, answer 2 … 5"),
        _case(rng, "hard", (2, 8, 13, 3), (7, 7), "a text that just fits, its last token the answer"),
        _case(rng, "hard", (1, 9, 8, 1), (4, 6), "windows of 4 that begin at every token"),
        _case(rng, "hard", (2, 14, 11, 4), (0, 1), "14 tokens, windows of 6, answer 0 … 1"),
    ]


# ---------------------------------------------------------------- mistakes


def _starts(context: int, room: int, stride: int) -> range:
    return range(0, max(context - room, 0) + stride, stride)


def _whole(answer: Place, start: int, room: int) -> Place | None:
    """The answer's place in a window, from its first token, if all of it is there."""
    first, last = answer[0] - start, answer[1] - start
    return (first, last) if first >= 0 and last < room else None


def _clipped(answer: Place, start: int, room: int) -> Place | None:
    """What the window holds of the answer, if anything."""
    first, last = max(answer[0] - start, 0), min(answer[1] - start, room - 1)
    return (first, last) if first <= last else None


def _to_the_edge(answer: Place, start: int, room: int) -> Place | None:
    first, last = (min(max(at - start, 0), room - 1) for at in answer)
    return first, last


def _by_start(answer: Place, start: int, room: int) -> Place | None:
    return (answer[0] - start, min(answer[1] - start, room - 1)) if start <= answer[0] < start + room else None


def _with(starts: Callable[[int, int, int], Sequence[int]] = _starts, place: Callable[[Place, int, int], Place | None] = _whole,
          before: Callable[[Ids], int] = lambda question: len(question) + 2, less: int = 0, past: int = 0, nowhere: Place = NOWHERE,
          form: Callable = lambda cls, question, sep, part: [cls, *question, sep, *part, sep]) -> Callable[..., list[Window]]:
    """A wrong answer: other windows, other places in them, another form of a row."""

    def answered(question, context, answer, max_len, stride, cls_id, sep_id):
        room, found = max_len - len(question) - 3 - less, []
        for start in starts(len(context), room, stride):
            at = place(answer, start, min(room, len(context) - start))
            there = nowhere if at is None else (at[0] + before(question), at[1] + before(question) + past)
            found.append((form(cls_id, question, sep_id, context[start : start + room]), there))
        return found

    return answered


def _only_with_answer(*args) -> list[Window]:
    return [window for window in reference(*args) if window[1] != NOWHERE]


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    """The planted bug: what the model is told to answer there; the cure is the student's."""
    question, context, answer, max_len = (case.args[name] for name in ("question", "context", "answer", "max_len"))
    room = max_len - len(question) - 3
    missing = sum(at >= room for at in range(answer[0], answer[1] + 1))
    lost = f"{missing} of the answer's {answer[1] - answer[0] + 1} tokens are not in your row" if missing else "the answer is in your row"
    return (
        f"{case.note}: {lost}, and {max(len(context) - room, 0)} tokens of the text the model never reads. What does it learn to point "
        "at where the answer was cut off?"
    )


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    mine, due = got[0].tolist(), expected[0].tolist()
    for n, (window, other) in enumerate(zip(mine, due)):
        if window != other:
            (ids, at), (row, place) = (text.split(" with the answer at ") for text in (window, other))
            return f"window {n} is not the one that is due" if ids != row else f"in window {n} the answer at {at}, expected {place}"
    return f"{len(mine)} windows, expected {len(due)}" if len(mine) != len(due) else ""


def _wrong(name: str, answer: Callable[..., list[Window]], text: str) -> Wrong:
    """A misconception that is told together with the window where it shows."""
    return Wrong(name, answer, lambda case, got, expected: f"{text} ({case.note}: {_differs(NAMES, case, got, expected)})")


_CUT = "An answer that is cut is no answer: a window that does not hold all of it gets (0, 0)."
WRONGS = (
    Wrong("clipped", _with(lambda context, room, stride: [0], _to_the_edge), _planted),
    _wrong("only the first window", _with(lambda context, room, stride: [0]), "There is one window; what comes behind is never read."),
    _wrong("clipped in windows", _with(place=_clipped), f"Where a window cuts the answer, you return the rest of it. {_CUT}"),
    _wrong("clipped in windows", _with(place=_to_the_edge), f"A window without the answer points at its edge. {_CUT}"),
    _wrong("start alone is looked at", _with(place=_by_start), f"You only look whether the answer begins in the window. {_CUT}"),
    _wrong(
        "end alone is looked at",
        _with(place=lambda answer, start, room: (max(answer[0] - start, 0), answer[1] - start) if 0 <= answer[1] - start < room else None),
        f"You only look whether the answer ends in the window. {_CUT}",
    ),
    _wrong(
        "windows without the answer left out",
        _only_with_answer,
        "Windows without the answer are missing. The model has to learn to say that it is not there.",
    ),
    _wrong(
        "no overlap",
        _with(lambda context, room, stride: range(0, context, room)),
        "Your windows stand side by side. The next one begins `stride` tokens behind the last one's beginning.",
    ),
    _wrong(
        "overlap for stride",
        _with(lambda context, room, stride: range(0, max(context - room, 0) + max(room - stride, 1), max(room - stride, 1))),
        "You take `stride` for the overlap. It is the distance from one window's beginning to the next one's.",
    ),
    _wrong(
        "windows at the end that bring nothing new",
        _with(lambda context, room, stride: range(0, context, stride)),
        "You go on after a window has reached the end of the text. What comes then holds nothing new.",
    ),
    _wrong(
        "end of the text lost",
        _with(lambda context, room, stride: range(0, max(context - room, 0) + 1, stride)),
        "The last tokens of the text are in no window: you stop before one has reached the end.",
    ),
    _wrong("question forgotten", _with(before=lambda question: 0), "You count from the text on; [CLS], question, [SEP] stand before."),
    _wrong("question forgotten", _with(before=lambda question: 1), "You count [CLS], but neither question nor its [SEP] before the text."),
    _wrong("[SEP] forgotten", _with(before=lambda question: len(question) + 1), "Places are one too small: [CLS] and [SEP] both count."),
    _wrong(
        "window's beginning forgotten",
        _with(place=lambda answer, start, room: answer if _whole(answer, start, room) else None),
        "You return the answer's place in the whole text. In a later window it stands further to the front.",
    ),
    _wrong("end behind the last", _with(past=1), "Your second number is the place behind the answer. Asked for is that of its last token."),
    _wrong("nowhere is −1", _with(nowhere=(-1, -1)), "Where it is not there you say (−1, −1). Asked for is (0, 0), the place of [CLS]."),
    _wrong(
        "no last [SEP]",
        _with(form=lambda cls, question, sep, part: [cls, *question, sep, *part]),
        "There is no [SEP] behind the text.",
    ),
    _wrong(
        "no last [SEP]",
        _with(form=lambda cls, question, sep, part: [cls, *question, sep, *part], less=-1),
        "There is no [SEP] behind the text.",
    ),
    _wrong("one token too few", _with(less=1), "Your windows are one token too short: the question and three special tokens go off."),
    _wrong("special tokens have no room", _with(less=-3), "Your rows are too long: `max_len` counts the three special tokens, too."),
    _wrong(
        "text first",
        _with(form=lambda cls, question, sep, part: [cls, *part, sep, *question, sep], before=lambda question: 1),
        "The text stands before the question. A row is [CLS] question [SEP] text [SEP].",
    ),
)


# ---------------------------------------------------------------- judging


class WindowsExaminer(ArrayExaminer):
    """Examine functions that return a list of (ids, (i, j))."""

    def read(self, value: Any) -> Arrays:
        """One array of objects, a text for each window. Raises ValueError in words for another form."""
        if isinstance(value, np.ndarray) or not isinstance(value, (list, tuple)):
            raise ValueError("expected a list of windows, each (ids, (i, j))")
        rows = np.empty(len(value), dtype=object)
        rows[:] = [_window(n, item) for n, item in enumerate(value)]
        return (rows,)


def _window(n: int, item: Any) -> str:
    """A window as text, so that windows of other lengths compare. Raises ValueError in words for another form."""
    try:
        ids, place = item
        ids, place = (np.asarray(part, dtype=float) for part in (ids, place))
    except (TypeError, ValueError):
        raise ValueError(f"window {n} is no pair (ids, (i, j)) of numbers") from None
    if not all(np.isfinite(part).all() and (part == np.round(part)).all() for part in (ids, place)):
        raise ValueError(f"window {n} holds numbers that are not whole")
    if ids.ndim != 1 or place.shape != (2,):
        raise ValueError(f"window {n} holds shapes {ids.shape} and {place.shape}, expected a list of ids and (i, j)")
    return f"{[int(id) for id in ids]} with the answer at ({int(place[0])}, {int(place[1])})"


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    room = case.args["max_len"] - len(case.args["question"]) - 3
    return f"A window holds up to {room} tokens of the text: print where each begins, and what of the answer is in it"


EXERCISE = Exercise(
    "8.3",
    "The answer that was cut off",
    "debug",
    3,
    15,
    "keep labels on the right tokens: pieces, padding, cut-off answers",
    (
        Property("values", "every token of the text in a window, and the answer's place in each", 2),
        Property("edge", "answers that a window cuts"),
        Property("hard", "texts that fit, windows close together, answers at the edges"),
    ),
    draw,
    WindowsExaminer(NAMES, WRONGS, _differs, _advice),
    reference,
)
