"""Run a student's answer on drawn inputs and keep what comes back as plain data.

This side knows no expected value, no point and no other module of the course: a grader may load this file
alone, with `wire.py`, into the sandboxed process in which foreign code runs. What leaves it is arrays of
numbers, Python numbers, text, and tuples, lists, sets and dicts of these. An object of any other type is
refused, never stored, compared or pickled.
"""

import copy
import inspect
import linecache
import random
import re
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MAX_ELEMENTS = 5_000_000  # numbers in all arrays of one answer
MAX_NODES = 2_000_000  # numbers, words and containers outside arrays
MAX_TEXT = 100_000  # characters in one piece of text
MAX_DEPTH = 10

_NUMPY_NUMBERS = frozenset(t for t in np.sctypeDict.values() if issubclass(t, (np.number, np.bool_)))


class Refused(ValueError):
    """An answer holds something that is not plain data; the message says what and what to return instead."""


@dataclass(frozen=True)
class Output:
    """What one call gave: status "value" with `value`, "nothing", or "raised" or "refused" with `message`.

    Beside a value, `message` is a remark on how the call came to it.
    """

    status: str
    value: Any = None
    message: str = ""


def outputs_of(answer: Any, inputs: Sequence[dict[str, Any]], is_function: bool = True) -> list[Output]:
    """Call `answer` on each input dict, its values by position as private copies; or take it as it is."""
    if answer is None or answer is Ellipsis:
        return [Output("nothing") for _ in inputs]
    if is_function and not callable(answer):
        return [
            Output(
                "refused",
                message=f"the answer is a {type(answer).__name__}, expected your "
                "function itself, without parentheses",
            )
            for _ in inputs
        ]
    if not is_function:
        if callable(answer):
            return [
                Output("refused", message="the answer is a function, expected its result: plain values")
                for _ in inputs
            ]
        return [Output("nothing") if _blank(answer) else _kept(answer) for _ in inputs]
    with _own_randomness():
        return [_called(answer, args) for args in inputs]


def _blank(answer: Any) -> bool:
    """True for a form that nobody has filled in: a dict whose values are all None or Ellipsis."""
    return type(answer) is dict and all(value is None or value is Ellipsis for value in answer.values())


def _called(function: Callable, args: dict[str, Any]) -> Output:
    given = {name: handed(value) for name, value in args.items()}
    try:
        random.seed(0), np.random.seed(0), torch.default_generator.manual_seed(0)    # every call starts from the same state
        value = function(*given.values())
    except (Exception, SystemExit) as error:
        if isinstance(error, NotImplementedError) and (not error.args or _unwritten(function)):
            return Output("nothing")  # with args it may be torch's own: a kernel that does not exist
        return Output("raised", message=describe(error, function))
    if value is Ellipsis or (value is None and _unwritten(function)):
        return Output("nothing")
    if value is None:
        return Output("refused", message="your function returned None: is a `return` missing?")
    output = _kept(value)
    changed = [name for name, before in args.items() if not _untouched(given[name], before)]
    if output.status != "value" or not changed:
        return output
    remark = f"your function changes its argument {changed[0]}: the caller may still need it"
    return Output("value", output.value, remark)


def _code(function: Callable) -> types.CodeType | None:
    """The code of a function under its decorators; None for other callables."""
    try:
        code = getattr(inspect.unwrap(function), "__code__", None)
    except Exception:  # an object that fights back
        return None
    return code if type(code) is types.CodeType else None


def _unwritten(function: Callable) -> bool:
    """True for a bare stub: code that uses no name but NotImplementedError. True when in doubt."""
    code = _code(function)
    if code is None:
        return True
    inner = any(type(constant) is types.CodeType for constant in code.co_consts)
    return not inner and set(code.co_names) <= {"NotImplementedError"}


def _untouched(given: Any, before: Any) -> bool:
    """True if a call has left its copy of an argument as it was, and when in doubt; generators are there to be used."""
    try:
        if isinstance(before, np.random.Generator):
            return True
        if isinstance(before, np.ndarray):
            return np.array_equal(given.detach().numpy(), before, equal_nan=True)
        return given == before
    except Exception:
        return True


def _kept(value: Any) -> Output:
    try:
        return Output("value", plain(value))
    except Refused as refusal:
        return Output("refused", message=str(refusal))
    except Exception as error:  # an object that fights back while it is read
        return Output("refused", message=f"the answer could not be read: {type(error).__name__}")


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Afterwards the random state of the notebook is what it was before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])


def handed(value: Any) -> Any:
    """A private copy for the student: arrays become torch tensors of the same dtype and memory layout."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy(order="K"))
    if isinstance(value, np.random.Generator):
        return copy.deepcopy(value)
    if isinstance(value, dict):
        return {key: handed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(handed(item) for item in value)
    return value


def plain(value: Any) -> Any:
    """`value` as plain data: tensors as arrays or numbers, containers as their base type. Raises Refused."""
    return _plain(value, [MAX_NODES, MAX_ELEMENTS], 0)


def _plain(value: Any, left: list[int], depth: int) -> Any:
    kind = type(value)  # never value.__class__, which an object may lie about
    left[0] -= 1
    if left[0] < 0 or depth > MAX_DEPTH:
        raise Refused("the answer is too large or nested too deeply")
    if kind in (bool, int, float):  # first: most of what is read
        return _number(value)
    if value is None or value is Ellipsis:
        return None
    if kind in (torch.Tensor, torch.nn.Parameter):
        return _tensor(value, left)
    if kind is np.ndarray:
        return _array(value, left)
    if kind in _NUMPY_NUMBERS:
        return _number(value.item())
    if issubclass(kind, str):
        return _text(str.__str__(value))
    if issubclass(kind, dict):
        return {_key(k, left, depth): _plain(v, left, depth + 1) for k, v in dict.items(value)}
    for base in (tuple, list):
        if issubclass(kind, base):
            return base(_plain(item, left, depth + 1) for item in base.__iter__(value))
    for base in (set, frozenset):
        if issubclass(kind, base):
            return {_key(item, left, depth) for item in base.__iter__(value)}
    raise Refused(
        f"the answer holds {_object(kind.__name__)}: return tensors, arrays, numbers, text, "
        "or tuples, lists, sets and dicts of these"
    )


def _object(name: str) -> str:
    return f"an object of type {name[:60]}"


def _number(value: bool | int | float) -> bool | int | float:
    if type(value) not in (bool, int, float):
        raise Refused(f"the answer holds {_object(type(value).__name__)}, expected real numbers")
    if type(value) is int and not -(2**63) <= value < 2**63:
        raise Refused("the answer holds a whole number of more than 64 bits")
    return value


def _text(value: str) -> str:
    if len(value) > MAX_TEXT:
        raise Refused(
            f"the answer holds {len(value)} characters in one piece of text, at most {MAX_TEXT} are read"
        )
    return value


def _key(value: Any, left: list[int], depth: int) -> Any:
    key = _plain(value, left, depth + 1)
    try:
        hash(key)
    except TypeError:
        raise Refused(
            "a set or the keys of a dict hold arrays: use numbers, text, or tuples of these"
        ) from None
    return key


def _tensor(value: torch.Tensor, left: list[int]) -> Any:
    if value.layout is not torch.strided or value.device.type == "meta" or value.is_quantized:
        raise Refused("the answer holds a sparse, quantised or meta tensor, expected an ordinary one")
    if value.is_complex():
        raise Refused("the answer holds complex numbers, expected real ones")
    _spend(value.numel(), left)
    value = value.detach().resolve_neg().cpu()
    value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    return _array(value.numpy(), left, paid=True)


def _array(value: np.ndarray, left: list[int], paid: bool = False) -> Any:
    if value.dtype.kind not in "biuf" or value.dtype.names:
        raise Refused(f"the answer holds an array of dtype {str(value.dtype)[:40]}, expected real numbers")
    if not paid:
        _spend(value.size, left)
    odd = value.dtype.kind == "f" and value.dtype.itemsize not in (4, 8)
    wide = value.astype(np.float64) if odd else value
    return _number(wide.item()) if wide.ndim == 0 else np.array(wide, order="C")


def _spend(elements: int, left: list[int]) -> None:
    left[1] -= elements
    if left[1] < 0:
        raise Refused(f"the answer holds more than {MAX_ELEMENTS:,} numbers")


def describe(error: BaseException, function: Callable) -> str:
    """One line about an exception: its type, the place and line of the student's code, what it says."""
    code, place = _code(function), ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if code is not None and frame.f_code.co_filename == code.co_filename:
            source = linecache.getline(code.co_filename, line).strip()
            place = f" in line {line - frame.f_code.co_firstlineno + 1} of {frame.f_code.co_name}"
            place += f", `{source[:80]}`" if source else ""
    try:
        said = str(error).strip().split("\n")[0]
    except Exception:
        said = ""
    said = re.sub(r" at 0x[0-9a-fA-F]+", "", said)[:200]
    return f"{type(error).__name__}{place}" + (f": {said}" if said else "")
