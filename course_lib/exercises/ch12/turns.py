"""Exercise 12.1, a conversation as ids, and which of them an assistant is to learn from."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("ids", "counted")
Ids = list[int]
Turn = tuple[str, Ids]


def reference(turns: list[Turn], bos: int, user: int, assistant: int, end: int) -> tuple[Ids, list[bool]]:
    """The expected value of 12.1: the assistant's words count, and the ends that close its turns."""
    ids, counted = [bos], [False]
    for role, words in turns:
        ids += [user if role == "user" else assistant, *words, end]
        counted += [False] + [role == "assistant"] * (len(words) + 1)
    return ids, counted


# ---------------------------------------------------------------- draws


def _case(rng: np.random.Generator, group: str, said: list[tuple[str, int]], note: str) -> Case:
    """`said`: who speaks, and how many words. Both say the same words now and then, so that no word tells who speaks."""
    bos, user, assistant, end = rng.permutation(9)[:4].tolist()
    turns = [("user" if who == "u" else "assistant", rng.integers(10, 22, size=n).tolist()) for who, n in said]
    return Case(group, {"turns": turns, "bos": bos, "user": user, "assistant": assistant, "end": end}, note)


def draw(rng: np.random.Generator) -> list[Case]:
    more = int(rng.integers(4, 7))
    return [
        _case(rng, "values", [("u", more), ("a", 3)], "one question, one answer"),
        _case(rng, "values", [("u", 2), ("a", more)], "one question, one long answer"),
        _case(rng, "turns", [("u", 3), ("a", 2), ("u", more), ("a", 4)], "two questions, two answers"),
        _case(rng, "turns", [("u", 2), ("a", more), ("u", 1), ("a", 3), ("u", 4), ("a", 2)], "three questions, three answers"),
        _case(rng, "hard", [("u", 4), ("a", 3), ("u", 2)], "the user speaks last"),
        _case(rng, "hard", [("a", 2), ("u", 3), ("a", 1), ("a", 3)], "the assistant speaks first, and twice in a row"),
        _case(rng, "hard", [("u", 3), ("a", 0)], "an answer without words"),
        _case(rng, "hard", [("u", more)], "the user alone"),
    ]


# ---------------------------------------------------------------- mistakes

Marks = Callable[[list[Turn], int, int], list[int]]     # turns, number of one, id of its end → what it adds to `counted`


def _mark(turns: list[Turn], k: int, end: int) -> list[int]:
    role, words = turns[k]
    return [0] + [int(role == "assistant")] * (len(words) + 1)


def _only(pick: Callable[[list[int]], list[int]]) -> Marks:
    """Some of the assistant's turns."""

    def mark(turns, k, end):
        mine = [n for n, (role, _) in enumerate(turns) if role == "assistant"]
        return _mark(turns, k, end) if k in pick(mine) else [0] * (len(turns[k][1]) + 2)

    return mark


def _by_role(theirs: tuple[int, int, int], its: tuple[int, int, int]) -> Marks:
    """For the user's and for the assistant's turns: role token, words, end."""

    def mark(turns, k, end):
        role, words = turns[k]
        first, middle, last = theirs if role == "user" else its
        return [first] + [middle] * len(words) + [last]

    return mark


def _with(mark: Marks = _mark, *, form: Callable = lambda role, words, end: [role, *words, end], start: int = 0, shift: int = 0,
          first: bool = True, swapped: bool = False) -> Callable:
    """A wrong answer: other marks, other tokens around a turn, a mark on <bos>, marks moved, no <bos>, the roles' tokens exchanged."""

    def answer(turns, bos, user, assistant, end):
        ids, counted = [bos] * first, [start] * first
        for k, (role, words) in enumerate(turns):
            token = user if (role == "user") != swapped else assistant
            marks = mark(turns, k, end)
            row = form(token, words, end)
            ids += row
            counted += marks if len(row) == len(marks) else marks[1:] if row[:1] != [token] else marks[:-1]
        counted = counted[shift:] + [0] * shift if shift >= 0 else [0] * -shift + counted[:shift]
        return ids, counted

    return answer


def _one_end(turns, bos, user, assistant, end):
    """<end> behind the last turn only."""
    ids, counted = _with(form=lambda role, words, end: [role, *words])(turns, bos, user, assistant, end)
    return [*ids, end], [*counted, int(turns[-1][0] == "assistant")]


def _bos_each(turns, bos, user, assistant, end):
    parts = [reference([turn], bos, user, assistant, end) for turn in turns]
    return [id for ids, _ in parts for id in ids], [mark for _, counted in parts for mark in counted]


def _labels(turns, *args):
    ids, counted = reference(turns, *args)
    return ids, [id if mark else -100 for id, mark in zip(ids, counted)]


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but another number of ids is told as that."""
    for name, part, due in zip(names, got, expected):
        if part.ndim == 1 and len(part) != len(due):
            turns = case.args["turns"]
            return f"{name} has {len(part)} entries; {len(turns)} turns with {sum(len(words) for _, words in turns)} words make {len(due)}"
    return difference(names, got, expected)


_ALL_TURNS = "In a talk of several turns each of the assistant's is one that it is to learn."
WRONGS = (
    Wrong("last turn only", _with(_only(lambda mine: mine[-1:])), f"Only the assistant's last turn counts. {_ALL_TURNS}"),
    Wrong("first turn only", _with(_only(lambda mine: mine[:1])), f"Only the assistant's first turn counts. {_ALL_TURNS}"),
    Wrong(
        "role token counted",
        _with(_by_role((0, 0, 0), (1, 1, 1))),
        "You count the assistant's role token. Who speaks next is not for the model to say: the one that calls it writes that.",
    ),
    Wrong(
        "end not counted",
        _with(_by_role((0, 0, 0), (0, 1, 0))),
        "The ends of the assistant's turns are not counted. From what is it to learn when to stop?",
    ),
    Wrong(
        "user's end counted",
        _with(_by_role((0, 0, 1), (0, 1, 1))),
        "You count the user's <end>, too. When the user has finished is not for the assistant to say.",
    ),
    Wrong(
        "shifted to the left",
        _with(shift=1),
        "Your marks are one place too early: from the role token on, where a word is guessed. Mark the word.",
    ),
    Wrong("shifted to the right", _with(shift=-1), "Your marks are one place too late. A mark stands at the word that counts."),
    Wrong(
        "everything counted",
        _with(_by_role((1, 1, 1), (1, 1, 1)), start=1),
        "You count everything. The assistant would learn to ask the questions, too.",
    ),
    Wrong(
        "everything counted",
        _with(_by_role((1, 1, 1), (1, 1, 1))),
        "You count everything but <bos>. The assistant would learn to ask the questions, too.",
    ),
    Wrong(
        "all words counted",
        _with(_by_role((0, 1, 1), (0, 1, 1))),
        "You count the user's words as well as the assistant's. It would learn to ask the questions, too.",
    ),
    Wrong("user counted", _with(_by_role((0, 1, 1), (0, 0, 0))), "You count the user's words, and none of the assistant's."),
    Wrong("mask turned round", _with(_by_role((1, 1, 1), (1, 0, 0)), start=1), "True and False are exchanged: True means that it counts."),
    Wrong("no <bos>", _with(first=False), "There is no <bos> at the beginning."),
    Wrong("<bos> before each turn", _bos_each, "Each of your turns has a <bos> of its own. A conversation has one."),
    Wrong("<bos> counted", _with(start=1), "You count <bos>. Nothing comes before it that could tell it."),
    Wrong("one <end>", _one_end, "There is one <end>, behind everything. Each turn is closed by one, also the user's."),
    Wrong("no <end>", _with(form=lambda role, words, end: [role, *words]), "No turn is closed by <end>."),
    Wrong("no role tokens", _with(form=lambda role, words, end: [*words, end]), "No turn begins with its role token: who speaks?"),
    Wrong("roles exchanged", _with(swapped=True), "The role tokens are exchanged."),
    Wrong("labels", _labels, "You return labels with −100. Asked for is which ids count: True or False."),
)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    return "Write the ids down, and under each who says it. Which of these does the assistant say?"


EXERCISE = Exercise(
    "12.1",
    "Whose words count",
    "implement",
    2,
    15,
    "turn a conversation into ids and say which of them the loss counts",
    (
        Property("values", "one question and one answer: the ids, and which of them count", 2),
        Property("turns", "each of the assistant's turns in a longer talk"),
        Property("hard", "the user last or alone, the assistant first, an answer without words"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, _differs, _advice, {"counted": "bool"}),
    reference,
)
