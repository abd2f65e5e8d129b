"""Plain data as one JSON text and a list of raw arrays, for the way to the process that runs an answer.

Like `answers.py` it imports nothing of the course. Reading builds arrays from bytes with a declared dtype and
shape, checked against their length; nothing is ever unpickled or evaluated.
"""

import json
import math
from typing import Any

import numpy as np

_DTYPES = frozenset(["|b1", "|i1", "|u1", "<i2", "<i4", "<i8", "<u2", "<u4", "<u8", "<f4", "<f8"])
_CONTAINERS = {"tuple": tuple, "list": list, "set": set}
_SCALARS = frozenset([type(None), bool, int, float, str])  # the same on both sides, so most of the work is to pass them by


def pack(value: Any) -> tuple[str, list[bytes]]:
    """Numbers, text, arrays, generators of random numbers and containers of these → (JSON text, raw bytes of the arrays in order).

    A permuted memory layout survives, so a non-contiguous input is still one on the other side.
    """
    arrays: list[bytes] = []
    return json.dumps(_down(value, arrays)), arrays


def unpack(text: str, arrays: list[bytes]) -> Any:
    """The inverse of `pack`. Raises ValueError on anything `pack` would not have written."""
    try:
        return _up(json.loads(text), arrays)
    except (KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ValueError(f"text: not written by pack ({type(error).__name__})") from None


def _down(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, np.ndarray):
        little = value.astype(value.dtype.newbyteorder("<"), copy=False)
        order = sorted(range(value.ndim), key=lambda axis: -abs(value.strides[axis]))
        if little.dtype.str not in _DTYPES:
            raise ValueError(f"value: got an array of dtype {value.dtype}, expected real numbers or booleans")
        arrays.append(np.ascontiguousarray(little.transpose(order)).tobytes())
        return {"array": len(arrays) - 1, "dtype": little.dtype.str, "shape": value.shape, "order": order}
    if isinstance(value, dict):
        return {"dict": [[_down(k, arrays), _down(v, arrays)] for k, v in value.items()]}
    for name, kind in _CONTAINERS.items():
        if isinstance(value, kind):
            items = sorted(value, key=repr) if kind is set else value
            return {name: [item if type(item) in _SCALARS else _down(item, arrays) for item in items]}
    if isinstance(value, np.random.Generator) and isinstance(value.bit_generator, np.random.PCG64):
        return {"generator": value.bit_generator.state}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"value: got {type(value).__name__}, expected plain data")


def _up(tree: Any, arrays: list[bytes]) -> Any:
    if not isinstance(tree, dict):
        if isinstance(tree, list):
            raise ValueError(
                "text: a bare list, expected one that says whether it is a tuple, a list or a set"
            )
        return tree
    if "array" in tree:
        return _array(tree, arrays)
    ((name, items),) = tree.items()
    if name == "generator":
        generator = np.random.default_rng(0)            # a PCG64
        generator.bit_generator.state = items
        return generator
    if name == "dict":
        return {_up(k, arrays): _up(v, arrays) for k, v in items}
    return _CONTAINERS[name]([item if type(item) in _SCALARS else _up(item, arrays) for item in items])


def _array(tree: dict, arrays: list[bytes]) -> np.ndarray:
    raw, shape, order = arrays[tree["array"]], tuple(tree["shape"]), list(tree["order"])
    if tree["dtype"] not in _DTYPES or sorted(order) != list(range(len(shape))) or any(n < 0 for n in shape):
        raise ValueError(
            f"text: an array of dtype {tree['dtype']}, shape {shape}, order {order} is not "
            "one that pack writes"
        )
    if len(raw) != math.prod(shape) * np.dtype(tree["dtype"]).itemsize:
        raise ValueError(f"arrays: got {len(raw)} bytes for dtype {tree['dtype']} and shape {shape}")
    stored = np.frombuffer(bytearray(raw), dtype=tree["dtype"]).reshape([shape[axis] for axis in order])
    return stored.transpose(np.argsort(order))
