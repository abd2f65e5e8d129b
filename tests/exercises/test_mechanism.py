"""The mechanism: what `check` prints, what is refused, what cannot be changed, the way over the wire."""

# ruff: noqa: E731 (the liars below are one line each)

import ast
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from course_lib.exercises import EXERCISES, answers, check, draws, exercise, judging, wire
from course_lib.exercises.answers import Output, outputs_of

FUNCTIONS = [id for id, asked in EXERCISES.items() if asked.is_function]
VALUES = [id for id in EXERCISES if id not in FUNCTIONS]


def reference_of(asked, cases):
    return asked.reference if asked.is_function else asked.reference(**cases[0].args)


# ---------------------------------------------------------------- the list


def test_numbers_kinds_and_points():
    # how many there are, and their points
    chapters = {"2": (6, 20), "3": (6, 21), "4": (7, 33), "5": (7, 36), "6": (6, 30), "7": (6, 28), "8": (6, 26), "9": (7, 34),
                "12": (6, 27), "13": (8, 35)}
    assert list(EXERCISES) == [f"{chapter}.{n + 1}" for chapter, (count, _) in chapters.items() for n in range(count)]
    for chapter, (_, points) in chapters.items():
        here = [asked for id, asked in EXERCISES.items() if id.split(".")[0] == chapter]
        assert {asked.kind for asked in here} == {"implement", "debug", "predict", "measure"}
        assert sum(asked.points for asked in here) == points
    assert exercise("3.1").header == "3.1 · Additive attention   ●●●○○ · 20 min · 5 points · implement"


def test_unknown_exercise_is_named():
    with pytest.raises(ValueError, match=r"id: got '9.9', expected one of 2.1"):
        check("9.9", None)
    with pytest.raises(ValueError, match="seed: got -1"):
        check("2.1", None, seed=-1)


@pytest.mark.parametrize("id", EXERCISES)
def test_reference_is_accepted_and_draws_are_reproducible(id, cases):
    asked = exercise(id)
    for seed in (None,) if asked.kind == "measure" else (None, 21, 22):
        drawn, again = cases(id, seed), asked.inputs(draws(id, seed))
        assert [wire.pack(case.args) for case in drawn] == [wire.pack(case.args) for case in again]
        given = outputs_of(reference_of(asked, drawn), [case.args for case in drawn], asked.is_function)
        assert asked.judge(drawn, given).ok
        assert {case.group for case in drawn} <= {prop.group for prop in asked.properties} | {""}


@pytest.mark.parametrize(
    "id",
    [*["2.1", "2.2", "2.3", "2.5", "3.1", "3.2", "3.4", "3.6", "4.1", "4.3", "4.4", "4.6", "5.1", "5.2", "5.3", "5.5"],
     *["6.1", "6.2", "6.3", "6.5", "6.6", "7.1", "7.2", "7.3", "7.5", "7.6", "8.1", "8.2", "8.3", "8.4", "8.6", "9.1", "9.2",
      "9.3", "9.5", "9.6", "9.7", "12.1", "12.2", "12.3", "12.4", "12.6",
      *(f"13.{n}" for n in (1, 2, 3, 4, 5, 6, 8))]],
)
def test_secret_draws_differ_from_public_ones(id):
    drawn = {
        str(wire.pack([case.args for case in exercise(id).inputs(draws(id, seed))]))
        for seed in (None, 0, 1, 2)
    }
    assert len(drawn) == 4


# ---------------------------------------------------------------- what check prints


def test_check_prints_points_and_properties(capsys):
    check("3.6", exercise("3.6").reference)
    assert capsys.readouterr().out == (
        "✓ 3.6 · Reading backwards · 2 of 2 points\n"
        "  ✓ each sentence reversed within its own length\n"
        "  ✓ padding where and as it was, at any length\n"
    )


class Yes:
    pass


@pytest.mark.parametrize("value", [Yes(), object(), iter("")], ids=["Yes", "object", "iterator"])
def test_the_article_belongs_to_object(value):
    (output,) = outputs_of(lambda: value, [{}])
    assert output.message.startswith(f"the answer holds an object of type {type(value).__name__}: ")


def test_check_prints_the_message(capsys):
    check("3.6", lambda x, lengths: x.flip(1))
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "✗ 3.6 · Reading backwards · 0 of 2 points" and out[1].startswith("  ✗ each sentence")
    assert out[3].startswith("  → The whole rows are flipped") and len(out) == 4


def unwritten(*args): ...


def stub(*args):
    raise NotImplementedError


@pytest.mark.parametrize("id", EXERCISES)
@pytest.mark.parametrize("answer", [None, ..., unwritten, stub], ids=["None", "Ellipsis", "empty", "stub"])
def test_unattempted(capsys, id, answer):
    if callable(answer) and id in VALUES:
        answer = dict.fromkeys(
            (prop.group for prop in exercise(id).properties), ... if answer is stub else None
        )
    check(id, answer)
    assert capsys.readouterr().out == f"– {id} · {exercise(id).title} · not attempted yet\n"


def broken(x, lengths):
    y = x + 1
    return y.flip(7)


def helped(x, lengths):
    return broken(x, lengths)


def test_an_answer_that_raises_prints_one_line(capsys):
    check("3.6", broken)
    out = capsys.readouterr().out
    assert "IndexError in line 3 of broken, `return y.flip(7)`: Dimension out of range" in out
    assert "Traceback" not in out and len(out.splitlines()) == 4
    check("3.6", helped)
    assert "line 3 of broken" in capsys.readouterr().out
    check("3.6", torch.no_grad()(broken))
    assert "line 3 of broken" in capsys.readouterr().out


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("even my message raises")


@pytest.mark.parametrize(
    ("error", "phrase"),
    [
        (SystemExit(3), "SystemExit"),
        (Mute(), "Mute"),
        (RecursionError("deep"), "RecursionError"),
        (MemoryError(), "MemoryError"),
        (ValueError("bad object at 0x7f00aa"), "ValueError"),
        (AssertionError("x" * 999), "AssertionError"),
    ],
)
def test_any_exception_is_held(capsys, error, phrase):
    def answer(x, lengths):
        raise error

    check("3.6", answer)
    out = capsys.readouterr().out
    assert phrase in out and "0x7f" not in out and len(out) < 700


def test_the_reader_may_still_interrupt():
    def answer(x, lengths):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("3.6", answer)


def test_raising_on_one_case_names_the_case(capsys):
    check("3.6", lambda x, lengths: exercise("3.6").reference(x, lengths) if 0 not in lengths else 1 / 0)
    assert "a row with no word at all: ZeroDivisionError" in capsys.readouterr().out


# ---------------------------------------------------------------- hostile answers


class Agreeable:
    """Equal to everything."""

    def __eq__(self, other):
        return True

    __ne__ = __lt__ = __gt__ = __hash__ = lambda *args: False
    __getattr__ = lambda self, name: self
    __call__ = __getitem__ = __sub__ = __abs__ = __float__ = __len__ = lambda self, *args: self


class LyingTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.zeros(3)


class LyingArray(np.ndarray):
    def __array_ufunc__(self, *args, **kwargs):
        return np.True_


class Masquerade:
    __class__ = torch.Tensor


class LyingDict(dict):
    def items(self):
        raise RuntimeError("no")

    get = __getitem__ = lambda self, *args: "the"


class LyingList(list):
    __len__ = lambda self: 10**9
    __iter__ = lambda self: iter(int, 1)


class LyingText(str):
    __eq__ = lambda self, other: True
    __hash__ = lambda self: 0


def endless():
    nested = []
    nested.append(nested)
    return nested


HOSTILE = {
    "equal to everything": Agreeable,
    "tensor subclass": lambda: torch.zeros(2).as_subclass(LyingTensor),
    "array subclass": lambda: np.zeros(3).view(LyingArray),
    "matrix": lambda: np.asmatrix([[1.0]]),
    "class lies": Masquerade,
    "object array": lambda: np.array([{}, None], dtype=object),
    "record array": lambda: np.zeros(2, dtype=[("a", "f4")]),
    "text array": lambda: np.array(["a"]),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "meta": lambda: torch.empty(3, device="meta"),
    "complex": lambda: torch.zeros(2, dtype=torch.complex64),
    "complex number": lambda: 1j,
    "bytes": lambda: b"\x80\x04",
    "expanded": lambda: torch.zeros(1).expand(10**12),
    "many": lambda: [torch.zeros(1).expand(10**6)] * 10,
    "long": lambda: [0] * (answers.MAX_NODES + 1),
    "endless": endless,
    "huge number": lambda: 10**4000,
    "long text": lambda: "a" * 10**6,
    "generator": lambda: (n for n in range(3)),
    "function": lambda: print,
    "type": lambda: int,
    "dict lies": lambda: LyingDict(a="b"),
    "list lies": lambda: LyingList([1]),
    "text lies": lambda: LyingText("no"),
    "set of tensors": lambda: {torch.zeros(2)},
    "dict of objects": lambda: {"a": Agreeable()},
    "module": lambda: torch.nn.Linear(2, 2),
    "nan": lambda: float("nan"),
    "all nan": lambda: torch.full((3, 3), torch.nan),
    "infinite": lambda: (np.inf, np.inf, np.inf),
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "empty list": list,
    "empty tensor": lambda: torch.zeros(0),
    "true": lambda: True,
    "tuple of none": lambda: (None, None, None),
    "text": lambda: "house",
    "nested text": lambda: ([["a"]], 1),
    "zero": lambda: 0,
    "big zeros": lambda: torch.zeros(100, 100),
    "16 bit": lambda: torch.zeros(3, dtype=torch.bfloat16),
    "dict": lambda: {"a": 1},
    "set": lambda: {(1, 2)},
    "mixed set": lambda: {1, "a", None},
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_answers_earn_nothing_and_break_nothing(judge, name, monkeypatch):
    monkeypatch.setattr(answers, "MAX_NODES", 10_000)
    for id in EXERCISES:
        answer = (lambda *args: HOSTILE[name]()) if id in FUNCTIONS else HOSTILE[name]()
        verdict = judge(id, answer)
        assert verdict.attempted and verdict.points == 0 and verdict.message, f"{id}: {verdict}"
        assert len(verdict.message) < 1000 and "0x" not in verdict.message


def test_a_function_that_is_no_function(judge):
    for id in FUNCTIONS:
        verdict = judge(id, torch.zeros(3))
        assert verdict.points == 0 and "expected your function itself" in verdict.message


def leaves(value):
    if isinstance(value, dict):
        value = [item for pair in value.items() for item in pair]
    if isinstance(value, (list, tuple, set)):
        for item in value:
            yield from leaves(item)
    else:
        yield value


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("name", HOSTILE)
def test_only_plain_data_is_kept(name):
    (output,) = outputs_of(HOSTILE[name](), [{}], is_function=False)
    kinds = {type(leaf) for leaf in leaves(output.value)}
    assert kinds <= {type(None), bool, int, float, str, np.ndarray}


def any_data(rng, depth=0):
    kind = rng.randrange(12 if depth < 3 else 7)
    if kind == 0:
        return rng.choice([0, 1, -3, 2**40, 0.5, float("inf"), float("nan"), True])
    if kind == 1:
        return rng.choice(["", "no", "Haus", "yes "])
    if kind in (2, 3, 4):
        shape = tuple(rng.randrange(5) for _ in range(rng.randrange(4)))
        return np.full(shape, rng.choice([0, 1.5, np.nan, -np.inf]))
    if kind in (5, 6):
        return None
    items = [any_data(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 11:
        return {rng.choice([*"abc", 1, (2, 3)]): item for item in items}
    return rng.choice([tuple, list])(items)


@pytest.mark.parametrize("id", [id for id in EXERCISES if exercise(id).kind != "measure"])
def test_any_plain_data_gives_a_verdict(id, cases):
    """The judge meets data from another process, whatever it is."""
    rng, asked = random.Random(3), exercise(id)
    drawn = cases(id, 5)
    for _ in range(60):
        given = [Output("value", any_data(rng)) for _ in drawn]
        assert 0 <= asked.judge(drawn, given).points < asked.points


# ---------------------------------------------------------------- nothing to hold on to


@pytest.mark.parametrize("id", FUNCTIONS)
def test_an_answer_cannot_change_the_cases(id, cases):
    asked = exercise(id)
    drawn = cases(id, None)
    before = wire.pack([case.args for case in drawn])

    def vandal(*args):
        for arg in args:
            if torch.is_tensor(arg):
                arg.zero_()
            elif isinstance(arg, list):
                arg.clear()
        return args

    given = outputs_of(vandal, [case.args for case in drawn])
    assert wire.pack([case.args for case in drawn]) == before and asked.judge(drawn, given).points == 0


def test_an_output_is_a_copy():
    kept = torch.zeros(3)
    (output,) = outputs_of(lambda: kept, [{}])
    kept.fill_(7)
    assert output.value.tolist() == [0, 0, 0]


def test_random_state_is_as_before_and_the_same_for_every_call():
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    due = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    given = outputs_of(
        lambda n: (torch.rand(1).item(), np.random.rand(), random.random()), [{"n": 0}, {"n": 1}]
    )
    assert given[0] == given[1]
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == due


def test_hard_draws_arrive_as_drawn():
    """Among the inputs are non-contiguous ones, float64 and batches of one."""
    linear = (
        "2.1", "2.5", "3.1", "3.2", "3.6", "4.1", "4.3", "4.4", "4.6", "5.2", "5.3", "5.5", "7.2", "7.5", "8.4", "9.1", "9.2",
        "9.3", "9.5", "9.7", "12.4", "13.2", "13.3", "13.5", "13.6",
    )
    for id in linear:
        seen = []
        outputs_of(
            lambda *args, seen=seen: seen.append(args), [case.args for case in exercise(id).inputs(draws(id))]
        )
        tensors = [arg for args in seen for arg in args if torch.is_tensor(arg)]
        assert any(not tensor.is_contiguous() for tensor in tensors)
        assert {torch.float32, torch.float64} <= {tensor.dtype for tensor in tensors}
        assert min(len(tensor) for tensor in tensors) <= 2


# ---------------------------------------------------------------- two processes


@pytest.mark.parametrize("id", EXERCISES)
def test_the_same_verdict_over_the_wire(id, cases):
    asked = exercise(id)
    drawn = cases(id, None)
    sent = [wire.unpack(*wire.pack(case.args)) for case in drawn]
    given = outputs_of(reference_of(asked, drawn), sent, asked.is_function)
    back = [Output(output.status, wire.unpack(*wire.pack(output.value)), output.message) for output in given]
    assert asked.judge(drawn, back).ok
    swapped = [
        Output("value", wire.unpack(*wire.pack(any_data(random.Random(n))))) for n, _ in enumerate(drawn)
    ]
    assert not asked.judge(drawn, swapped).ok


def test_wire_keeps_values_types_and_layout():
    value = {
        "a": np.arange(24.0, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        "b": [(1, 2.5), {"x", "y"}, None],
        ("c", 1): "ü\n\ud800",
        "d": float("inf"),
        "e": np.zeros((0, 3), dtype=bool),
        "f": np.arange(3, dtype=">i8"),
    }
    text, arrays = wire.pack(value)
    assert isinstance(text, str) and all(isinstance(raw, bytes) for raw in arrays)
    back = wire.unpack(text, arrays)
    assert (
        back["a"].strides == value["a"].strides
        and back["a"].dtype == np.float32
        and (back["a"] == value["a"]).all()
    )
    assert back["b"] == value["b"] and back["c", 1] == value["c", 1] and back["d"] == float("inf")
    assert back["e"].shape == (0, 3) and back["f"].tolist() == [0, 1, 2]
    back["a"][:] = 0  # writable, and not the sender's memory
    assert value["a"].sum() > 0


def test_random_numbers_go_over_the_wire_and_are_private():
    given = np.random.default_rng(3)
    given.random(5)
    back = wire.unpack(*wire.pack({"rng": given}))["rng"]
    assert back.random(4).tolist() == np.random.default_rng(3).random(9)[5:].tolist()
    outputs = outputs_of(lambda rng: rng.random(), [{"rng": given}] * 2)
    assert outputs[0] == outputs[1] and not outputs[0].message and outputs[0].value == given.random()
    with pytest.raises(ValueError, match="plain data"):
        wire.pack(np.random.Generator(np.random.MT19937(0)))


@pytest.mark.parametrize(
    ("text", "arrays"),
    [
        ('{"generator": {"bit_generator": "MT19937", "state": {}}}', []),
        ('{"generator": 3}', []),
        ('{"array": 0, "dtype": "<f8", "shape": [2], "order": [0]}', [b"123"]),
        ('{"array": 3}', []),
        ("[1, 2]", []),
        ("{", []),
        ('{"array": 0, "dtype": "|O8", "shape": [1], "order": [0]}', [b"12345678"]),
        ('{"evil": [1]}', []),
        ("{}", []),
        ('{"array": 0, "dtype": "<f8", "shape": [-1], "order": [0]}', [b""]),
        ('{"dict": [[{"list": []}, 1]]}', []),
        ('{"array": 0, "dtype": "<f8", "shape": [1], "order": [1]}', [b"12345678"]),
        ('{"set": [{"list": []}]}', []),
    ],
)
def test_wire_refuses_what_it_did_not_write(text, arrays):
    with pytest.raises(ValueError):
        wire.unpack(text, arrays)
    with pytest.raises(ValueError, match="plain data"):
        wire.pack({"a": Agreeable()})


@pytest.mark.parametrize("module", [answers, wire])
def test_the_running_side_imports_nothing_of_the_course(module):
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = {
        name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert names and not any(name.startswith("course_lib") for name in names) and "pickle" not in names


# ---------------------------------------------------------------- comparing


def test_tolerance_is_relative_to_the_expected_size():
    small = (np.full(3, 1e-3),)
    assert not judging.same((np.zeros(3),), small) and judging.same((np.full(3, 1.0001e-3),), small)
    assert not judging.same((small[0] * 1.01,), small)
    assert judging.same((np.array([np.nan, np.inf, 1.0]),), (np.array([np.nan, np.inf, 1.0]),))
    assert not judging.same((np.array([np.nan, 1.0]),), (np.array([1.0, 1.0]),))


@pytest.mark.parametrize(
    ("got", "expected", "said"),
    [
        ([1.0, 2.0], [1.0, 3.0], "y[1] is 2, expected 3"),
        ([[1.0, 2.0]], [1.0, 2.0], "y has shape (1, 2), expected (2,)"),
        (0.123456, 0.125, "y is 0.123456, expected 0.125"),
        ([np.nan], [1.0], "y[0] is NaN, expected 1"),
        ([5.0], 5.0, ""),
        ([1e-5], [3e-5], "y[0] is 1e-05, expected 3e-05"),
        ([-np.inf], [0.25], "y[0] is -∞, expected 0.25"),
    ],
)
def test_differences_say_where(got, expected, said):
    found = judging.difference(("y",), (np.array(got),), (np.array(expected),))
    assert found == said
