"""Exercise 7.3, two texts in one row: [CLS] first [SEP] second [SEP] and padding (Devlin et al. 2019, figure 2)."""

from collections.abc import Callable

import numpy as np

from course_lib.data.masking import pack_pairs
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("ids", "segments", "mask")
Ids = list[int]
Row = tuple[Ids, Ids, Ids]


def reference(first: Ids, second: Ids, cls_id: int, sep_id: int, pad_id: int, length: int) -> Row:
    """The expected value of 7.3, by the course's pack_pairs, padded to `length`."""
    ids, mask, segments = (part[0].tolist() for part in pack_pairs([(first, second)], cls_id, sep_id, pad_id, length))
    empty = length - len(ids)
    return ids + [pad_id] * empty, segments + [0] * empty, [int(real) for real in mask] + [0] * empty


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, sizes: tuple[int, int, int], note: str, pad_id: int = 0) -> Case:
    """`sizes`: tokens of the first and of the second text, length of the row."""
    ids = (10 + rng.permutation(80)).tolist()
    first, second = ids[: sizes[0]], ids[sizes[0] : sizes[0] + sizes[1]]
    cls_id, sep_id = (1 + rng.permutation(8)[:2]).tolist()
    return Case(group, {"first": first, "second": second, "cls_id": cls_id, "sep_id": sep_id, "pad_id": pad_id, "length": sizes[2]}, note)


def _sizes(a: int, b: int, length: int) -> str:
    return f"{a} and {b} tokens, length {length}"


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(3, 6))
    values = [(4, 2, 12), (2, more, 14), (1, 3, 9)]
    cut = [(4 + more, 3, 10), (3, 5 + more, 11), (8, 6, 12), (6, 6, 10), (2, 9, 8)]
    hard = [(3, 4, 10), (1, 1, 9), (4, 3, 11)]
    return [
        *(_case(rng, "values", sizes, _sizes(*sizes), pad) for sizes, pad in zip(values, (0, 0, 9))),
        *(_case(rng, "cut", sizes, _sizes(*sizes)) for sizes in cut),
        *(_case(rng, "hard", sizes, _sizes(*sizes), pad) for sizes, pad in zip(hard, (0, 9, 9))),
    ]


# ---------------------------------------------------------------- mistakes

Cut = Callable[[Ids, Ids, int], tuple[Ids, Ids]]


def _longer_first(a: Ids, b: Ids, room: int, last: bool = True, tie: bool = False) -> tuple[Ids, Ids]:
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        longer = a if len(a) > len(b) or (tie and len(a) == len(b)) else b
        longer.pop(-1 if last else 0)
    return a, b


def _second_only(a: Ids, b: Ids, room: int) -> tuple[Ids, Ids]:
    return a, b[: max(room - len(a), 0)]


def _first_only(a: Ids, b: Ids, room: int) -> tuple[Ids, Ids]:
    return a[: max(room - len(b), 0)], b


def _in_turns(a: Ids, b: Ids, room: int) -> tuple[Ids, Ids]:
    a, b, turn = list(a), list(b), 0
    while len(a) + len(b) > room:
        (a, b)[turn % 2].pop()
        turn += 1
    return a, b


def _halves(a: Ids, b: Ids, room: int) -> tuple[Ids, Ids]:
    return (a, b) if len(a) + len(b) <= room else (a[: room // 2], b[: room - room // 2])


def _with(cut: Cut = _longer_first, *, taken: int = 3, form: Callable = lambda cls, a, sep, b: [cls, *a, sep, *b, sep],
          seconds: Callable[[int, int], range] = lambda a, b: range(a + 2, a + b + 3), padded_segment: int = 0,
          counted: Callable[[int, int], int] = lambda used, length: used, fill: Callable = lambda pad: pad,
          row: Callable[[Ids, int], Ids] = lambda ids, length: ids) -> Callable:
    """A wrong answer: texts cut otherwise or to another room, other special tokens, other segments, another mask, other padding."""

    def answer(first, second, cls_id, sep_id, pad_id, length):
        a, b = cut(first, second, length - taken)
        ids = row(form(cls_id, a, sep_id, b), length)
        used, places = len(ids), seconds(len(a), len(b))
        ids = (ids + [fill(pad_id)] * (length - used))[:length]
        segments = [int(t in places) if t < used else padded_segment for t in range(length)]
        return ids, segments, [int(t < counted(used, length)) for t in range(length)]

    return answer


def _uncut(ids: Ids, length: int) -> Ids:
    return ids[:length]


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but a row of another length is told as that."""
    for name, part, due in zip(names, got, expected):
        if part.ndim == 1 and len(part) != len(due):
            return f"{name} has {len(part)} entries, and the row is {len(due)} long"
    return difference(names, got, expected)


_LONGER = "The one that is longer at that moment loses its last token, again and again, until both fit."
_SPECIALS = "Three special tokens need room as well."
WRONGS = (
    Wrong(
        "first [SEP] in segment 1",
        _with(seconds=lambda a, b: range(a + 1, a + b + 3)),
        "The first [SEP] is in segment 1. It ends the first text, and belongs to it.",
    ),
    Wrong(
        "last [SEP] in segment 0",
        _with(seconds=lambda a, b: range(a + 2, a + b + 2)),
        "The last [SEP] is in segment 0. It ends the second text, and belongs to it.",
    ),
    Wrong(
        "[CLS] forgotten in the segments",
        _with(seconds=lambda a, b: range(a + 1, a + b + 2)),
        "Your segments are one place too early: [CLS] has a segment, too, 0.",
    ),
    Wrong("padding in segment 1", _with(padded_segment=1), "Your padding is in segment 1. It belongs to no text: 0, as asked."),
    Wrong("all in segment 0", _with(seconds=lambda a, b: range(0)), "All is in segment 0: nothing tells where the second text begins."),
    Wrong("segments exchanged", _with(seconds=lambda a, b: range(a + 2)), "The segments are exchanged: 0 is the first text's."),
    Wrong("padding counted", _with(counted=lambda used, length: length), "Your mask counts padding. 1 means: a token stands here."),
    Wrong(
        "last [SEP] not counted",
        _with(counted=lambda used, length: used - 1),
        "Your mask ends one place too early: the last [SEP] is a token, and is read.",
    ),
    Wrong(
        "special tokens not counted",
        _with(counted=lambda used, length: used - 3),
        "Your mask ends three places too early: special tokens are read as well.",
    ),
    Wrong(
        "no last [SEP]",
        _with(form=lambda cls, a, sep, b: [cls, *a, sep, *b], seconds=lambda a, b: range(a + 2, a + b + 2)),
        "There is no [SEP] behind the second text.",
    ),
    Wrong(
        "no last [SEP]",
        _with(form=lambda cls, a, sep, b: [cls, *a, sep, *b], seconds=lambda a, b: range(a + 2, a + b + 2), taken=2),
        "There is no [SEP] behind the second text.",
    ),
    Wrong(
        "no [SEP] between",
        _with(form=lambda cls, a, sep, b: [cls, *a, *b, sep], seconds=lambda a, b: range(a + 1, a + b + 2), taken=2),
        "There is no [SEP] between the two texts.",
    ),
    Wrong(
        "[CLS] between",
        _with(form=lambda cls, a, sep, b: [cls, *a, sep, cls, *b, sep], seconds=lambda a, b: range(a + 2, a + b + 4), taken=4),
        "The second text has a [CLS] of its own. A row has one, at its beginning.",
    ),
    Wrong(
        "no [CLS]",
        _with(form=lambda cls, a, sep, b: [*a, sep, *b, sep], seconds=lambda a, b: range(a + 1, a + b + 2), taken=2),
        "There is no [CLS] at the beginning.",
    ),
    Wrong("second cut alone", _with(_second_only), f"Only the second text is ever cut. {_LONGER}"),
    Wrong("first cut alone", _with(_first_only), f"Only the first text is ever cut. {_LONGER}"),
    Wrong("cut in turns", _with(_in_turns), f"You cut both in turns, so that a short text loses as much as a long one. {_LONGER}"),
    Wrong("cut in halves", _with(_halves), f"You give each text half of the room, also where one of them needs less. {_LONGER}"),
    Wrong(
        "cut from the front",
        _with(lambda a, b, room: _longer_first(a, b, room, last=False)),
        "You cut from the front. It is the last token that is lost.",
    ),
    Wrong(
        "equally long, the first cut",
        _with(lambda a, b, room: _longer_first(a, b, room, tie=True)),
        "Where both are equally long, you cut the first. The text asks for the second.",
    ),
    Wrong("no cut", _with(lambda a, b, room: (a, b), row=_uncut), "What does not fit is cut off at the row's end, the last [SEP] with it."),
    Wrong("one token too few", _with(taken=4), "You cut one token more than has to go."),
    Wrong(
        "room for special tokens forgotten",
        _with(taken=0, row=_uncut),
        f"You cut the texts to the length of the row. {_SPECIALS}",
    ),
    Wrong("room for special tokens forgotten", _with(taken=2, row=_uncut), f"You leave room for two special tokens. {_SPECIALS}"),
    Wrong("padded with 0", _with(fill=lambda pad: 0), "You pad with 0. Padding is pad_id, which may be another id."),
    Wrong(
        "not padded",
        lambda *args: tuple(part[: sum(reference(*args)[2])] for part in reference(*args)),
        "You do not pad: a row is as long as `length` says.",
    ),
    Wrong(
        "mask second",
        lambda *args: tuple(reference(*args)[n] for n in (0, 2, 1)),
        "You return (ids, mask, segments), expected (ids, segments, mask).",
    ),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return "Write the row down by hand, and under each token its segment and its mask"


EXERCISE = Exercise(
    "7.3",
    "Two texts in one row",
    "implement",
    2,
    15,
    "compute BERT's loss: over the blanks only, and for pairs",
    (
        Property("values", "[CLS] first [SEP] second [SEP] padding, with segments and mask", 2),
        Property("cut", "texts that are too long, cut by the rule"),
        Property("hard", "a row without padding, two texts of one token, another pad_id"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, _differs, _advice),
    reference,
)
