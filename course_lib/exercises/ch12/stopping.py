"""Exercise 12.2, conversations as a batch: a planted mask that takes the end of an answer for padding."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference
from course_lib.exercises.spec import Case, Exercise, Finding, Property

NAMES = ("inputs", "targets", "counts")
Talk = tuple[list[int], list[bool]]
Row = tuple[list[int], list[int], list[int]]    # inputs, targets, counts


def reference(conversations: list[Talk], pad_id: int, end_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The expected value of 12.2. What counts is said for each id; the id itself plays no part in it."""
    width = max(len(ids) for ids, _ in conversations) - 1
    inputs, targets = (np.full((len(conversations), width), pad_id) for _ in range(2))
    counts = np.zeros((len(conversations), width), dtype=bool)
    for b, (ids, counted) in enumerate(conversations):
        inputs[b, : len(ids) - 1], targets[b, : len(ids) - 1], counts[b, : len(ids) - 1] = ids[:-1], ids[1:], counted[1:]
    return inputs, targets, counts


# ---------------------------------------------------------------- draws


def _talk(rng: np.random.Generator, turns: list[tuple[int, int]], end_id: int, cut: bool = False) -> Talk:
    """<bos>, then questions and answers of so many words, each between a role token and <end>; `cut`: the last <end> is missing."""
    ids, counted = [10], [False]
    for question, answer in turns:
        ids += [11, *rng.integers(20, 90, size=question).tolist(), end_id, 12, *rng.integers(20, 90, size=answer).tolist(), end_id]
        counted += [False] * (question + 3) + [True] * (answer + 1)
    return (ids[:-1], counted[:-1]) if cut else (ids, counted)


def _case(rng: np.random.Generator, group: str, talks: list[list[tuple[int, int]]], note: str, *, pad: int | None = None, cut: int = -1,
          silent: int = -1) -> Case:
    """`pad` None: the end's id pads, too. Number `cut` has no last <end>, and nothing counts in number `silent`."""
    end_id = int(rng.integers(1, 9))
    drawn = [_talk(rng, turns, end_id, n == cut) for n, turns in enumerate(talks)]
    drawn = [(ids, [False] * len(ids)) if n == silent else (ids, counted) for n, (ids, counted) in enumerate(drawn)]
    return Case(group, {"conversations": drawn, "pad_id": end_id if pad is None else pad, "end_id": end_id}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(4, 7))
    return [
        _case(rng, "values", [[(3, more + 3)], [(1, 2)], [(2, 4)]], "three conversations", pad=0),
        _case(rng, "values", [[(2, 1), (1, 3)], [(3, 2)]], "two conversations, one of two turns", pad=0),
        _case(rng, "values", [[(1, 2)], [(4, more - 2)], [(3, 2), (2, 4)]], "three conversations, another pad_id", pad=9),
        _case(rng, "end", [[(2, 3)], [(4, more)]], "pad_id is end_id"),
        _case(rng, "end", [[(1, 1), (2, 2)], [(1, 2)], [(2, 5)]], "pad_id is end_id, three conversations"),
        _case(rng, "hard", [[(3, more)]], "a single conversation", pad=0),
        _case(rng, "hard", [[(2, 3)], [(1, 6)]], "an answer that was cut short, without its end", pad=0, cut=1),
        _case(rng, "hard", [[(2, 4)], [(3, 1)]], "a conversation in which nothing counts", pad=0, silent=1),
    ]


# ---------------------------------------------------------------- mistakes


def _numbers(marks: list[bool]) -> list[int]:
    return [int(mark) for mark in marks]


def _shifted(ids: list[int], marks: list[bool]) -> Row:
    return ids[:-1], ids[1:], _numbers(marks[1:])


def _with(row: Callable[[list[int], list[bool]], Row] = _shifted, *, fill: Callable[[int, int], int] = lambda pad, end: pad,
          padding: int = 0, left: bool = False, width: Callable = max,
          finish: Callable = lambda inputs, targets, counts, end, pad: (inputs, targets, counts)) -> Callable:
    """A wrong answer: other rows, another filler, marks on padding, padding on the left, or what comes out changed at the end."""

    def answer(conversations, pad_id, end_id):
        rows = [row(*talk) for talk in conversations]
        length = width(min(len(inputs), len(targets)) for inputs, targets, _ in rows)
        parts = []
        for filler, part in zip((fill(pad_id, end_id), fill(pad_id, end_id), padding), zip(*rows)):
            filled = [[filler] * (length - len(one)) + one if left else (one + [filler] * (length - len(one)))[:length] for one in part]
            parts.append(np.array(filled))
        return finish(*parts, end_id, pad_id)

    return answer


def _masked_ends(**changes) -> Callable:
    """The planted bug: no target that is the end counts."""
    return _with(finish=lambda inputs, targets, counts, end, pad: (inputs, targets, counts * (targets != end)), **changes)


def _planted(case: Case, got: Arrays, expected: Arrays) -> str:
    ends = int(((expected[1] == case.args["end_id"]) & (expected[2] > 0)).sum())
    return (
        f"{case.note}: {ends} {'answer ends' if ends == 1 else 'answers end'} with <end>, and none of these counts in what you return. "
        "From what does the model learn to stop? What does it say instead, when nobody stops it?"
    )


def _unmarked(inputs, targets, counts, end, pad):
    """−1 marks the place behind the last word."""
    return inputs, np.where(targets < 0, pad, targets), counts


def _not_padding(inputs, targets, counts, end, pad):
    return inputs, targets, counts * (targets != pad)


_TARGETS = "counts[b, t] belongs to targets[b, t], the word that is guessed there."
_INPUTS = "Your targets are the inputs. The model is to say the word that comes next, not the one it reads."
_EXCHANGED = "Inputs and targets are exchanged: the model would have to say the word before the one it reads."
_EARLY = f"Your counts belong to the inputs. {_TARGETS}"
WRONGS = (
    Wrong("ends masked", _masked_ends(fill=lambda pad, end: end), _planted),
    Wrong("ends masked", _masked_ends(), _planted),
    Wrong(
        "targets equal to pad_id masked",
        _with(finish=_not_padding),
        "Where pad_id is end_id, every target that equals it is left out, the real ends, too. An id does not tell what is padding.",
    ),
    Wrong("padded with end_id", _with(fill=lambda pad, end: end), "You pad with end_id. Padding is pad_id."),
    Wrong("padded with 0", _with(fill=lambda pad, end: 0), "You pad with 0. Padding is pad_id, which may be another id."),
    Wrong(
        "targets of −100",
        _with(finish=lambda inputs, targets, counts, end, pad: (inputs, np.where(counts > 0, targets, -100), counts)),
        "Your targets hold −100. Which of them count is for counts to say; the targets are ids, and pad_id behind them.",
    ),
    Wrong("counts of the inputs", _with(lambda ids, marks: (ids[:-1], ids[1:], _numbers(marks[:-1]))), _EARLY),
    Wrong("counts of the inputs", _with(lambda ids, marks: (ids[:-1], ids[1:], _numbers(marks))), _EARLY),
    Wrong(
        "counts shifted twice",
        _with(lambda ids, marks: (ids[:-1], ids[1:], _numbers(marks[2:]))),
        f"Your counts are one place too early. {_TARGETS}",
    ),
    Wrong("not shifted", _with(lambda ids, marks: (ids[:-1], ids[:-1], _numbers(marks[:-1]))), _INPUTS),
    Wrong("not shifted", _with(lambda ids, marks: (ids[:-1], ids, _numbers(marks))), _INPUTS),
    Wrong("not shifted", _with(lambda ids, marks: (ids, ids, _numbers(marks))), _INPUTS),
    Wrong("targets not shifted", _with(lambda ids, marks: (ids[:-1], ids[:-1], _numbers(marks[1:]))), _INPUTS),
    Wrong("targets not shifted", _with(lambda ids, marks: (ids[:-1], ids, _numbers(marks[1:]))), _INPUTS),
    Wrong("shifted the other way", _with(lambda ids, marks: (ids[1:], ids[:-1], _numbers(marks[:-1]))), _EXCHANGED),
    Wrong("shifted the other way", _with(lambda ids, marks: (ids[1:], ids, _numbers(marks))), _EXCHANGED),
    Wrong(
        "shifted twice",
        _with(lambda ids, marks: (ids[:-2], ids[2:], _numbers(marks[2:]))),
        "Your targets are two places ahead of the inputs. One is asked.",
    ),
    Wrong(
        "shifted twice",
        _with(lambda ids, marks: (ids, ids[2:], _numbers(marks[2:]))),
        "Your targets are two places ahead of the inputs. One is asked.",
    ),
    Wrong(
        "shifted twice",
        _with(lambda ids, marks: (ids[:-1], [*ids[2:], -1], _numbers(marks[2:])), finish=_unmarked),
        "Your targets are two places ahead of the inputs. One is asked.",
    ),
    Wrong(
        "a place too many",
        _with(lambda ids, marks: (ids, [*ids[1:], -1], _numbers(marks[1:])), finish=_unmarked),
        "Your rows have a place too many: behind the last word nothing is left to guess.",
    ),
    Wrong("padding counted", _with(padding=1), "You count padding. The model would learn to say it."),
    Wrong(
        "prompt counted",
        _with(lambda ids, marks: (ids[:-1], ids[1:], [1] * (len(ids) - 1))),
        "You count every real word, the user's among them. Which ids count is given with them.",
    ),
    Wrong(
        "everything counted",
        _with(lambda ids, marks: (ids[:-1], ids[1:], [1] * (len(ids) - 1)), padding=1),
        "You count everything, the user's words and padding, too.",
    ),
    Wrong(
        "mask turned round",
        _with(lambda ids, marks: (ids[:-1], ids[1:], [1 - mark for mark in _numbers(marks[1:])])),
        "True and False are exchanged: the question counts, and the answer does not.",
    ),
    Wrong(
        "mask turned round",
        _with(lambda ids, marks: (ids[:-1], ids[1:], [1 - mark for mark in _numbers(marks[1:])]), padding=1),
        "True and False are exchanged: everything counts but the answer.",
    ),
    Wrong("padded on the left", _with(left=True), "You pad on the left. Padding stands on the right."),
    Wrong("cut to the shortest", _with(width=min), "You cut all rows to the shortest. Pad them to the longest."),
    Wrong(
        "ends lost",
        _with(lambda ids, marks: (ids[:-2], ids[1:-1], _numbers(marks[1:-1]))),
        "The last id of each conversation is nowhere. The inputs end one place before it; it is the last target.",
    ),
)


class _BatchExaminer(ArrayExaminer):
    """Where a row's last id is read, but nothing is guessed behind it, inputs may hold it or padding: both ways are common."""

    def __call__(self, exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
        return super().__call__(exercise, cases, [self._settled(case, output) for case, output in zip(cases, outputs, strict=True)])

    def _settled(self, case: Case, output: Output) -> Output:
        try:
            inputs, *_ = self.read(output.value)
        except ValueError:
            return output
        talks = case.args["conversations"]
        if inputs.shape != (len(talks), max(len(ids) for ids, _ in talks) - 1):
            return output
        for row, (ids, _) in zip(inputs, talks):
            last = len(ids) - 1
            if len(row) > last and row[last] == ids[-1]:
                row[last] = row[-1] if len(row) > last + 1 else case.args["pad_id"]
        return replace(output, value=(inputs, *output.value[1:]))


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but another width is told as that."""
    longest = max(len(ids) for ids, _ in case.args["conversations"])
    for name, part, due in zip(names, got, expected):
        if part.ndim == 2 and part.shape != due.shape:
            return f"{name} has shape {part.shape}, expected {due.shape}: the longest conversation has {longest} ids"
    return difference(names, got, expected)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return "Print one row: inputs, targets and counts, each above the next"


EXERCISE = Exercise(
    "12.2",
    "It never stops",
    "debug",
    3,
    15,
    "make a model stop",
    (
        Property("values", "inputs, targets a word ahead, and which of these count", 2),
        Property("end", "the same where padding has the end's id", 2),
        Property("hard", "one conversation, an answer without its end, nothing that counts"),
    ),
    draw,
    _BatchExaminer(NAMES, WRONGS, _differs, _advice, {"counts": "bool"}),
    reference,
)
