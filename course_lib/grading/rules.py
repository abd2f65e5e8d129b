"""Names that an answer may not use, and a look at its syntax tree for them. A hit is for a person to review, never a deduction."""

import ast

_ATTENTION = ("scaled_dot_product_attention", "multi_head_attention_forward", "MultiheadAttention")
WRITTEN_HERE: dict[str, tuple[str, ...]] = {
    "2.1": ("gru", "gru_cell", "GRU", "GRUCell"),
    "3.2": _ATTENTION,
    "4.1": _ATTENTION,
    "4.6": _ATTENTION,
    "5.2": _ATTENTION,
    "5.3": _ATTENTION,
    "5.5": ("layer_norm", "native_layer_norm", "LayerNorm", "group_norm", "GroupNorm", "batch_norm", "instance_norm"),
    "9.3": _ATTENTION,
}
# Packages that an answer may import: the notebooks' own, and those of the standard library that only compute.
USUAL = frozenset([
    "torch", "numpy", "math", "collections", "itertools", "functools", "operator", "random", "statistics", "heapq", "bisect", "re",
    "string", "typing", "dataclasses", "abc", "copy", "time", "warnings", "fractions", "decimal", "enum", "types", "unicodedata",
    "regex", "scipy", "matplotlib", "tqdm", "IPython", "__future__", "contextlib",
])
# What reaches around the language, the files or the sandbox rather than computing.
REACHING = frozenset([
    "eval", "exec", "compile", "open", "__import__", "globals", "vars", "breakpoint", "input", "__builtins__", "__globals__",
    "__subclasses__", "__bases__", "__mro__", "__code__", "__closure__", "__reduce__", "__reduce_ex__", "__loader__", "__spec__",
    "f_back", "f_globals", "f_locals", "gi_frame", "tb_frame", "_getframe", "_C", "hub", "load", "save", "from_file", "from_blob",
])


def watched(id: str) -> tuple[str, ...]:
    """The names to be noted when exercise `id` runs: functions of torch that are the answer."""
    return WRITTEN_HERE.get(id, ())


def review(id: str, tree: ast.Module) -> tuple[str, ...]:
    """What a person should look at in the answer to exercise `id`, in words; () if nothing.

        review("5.5", ast.parse("import os\\nnorm = F.layer_norm")) → ("imports os", "uses layer_norm, which is to be written here")
    """
    names, quoted, modules = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            quoted.add(node.value)  # getattr(F, "layer_norm")
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
            names |= {alias.name for alias in node.names}
    odd = sorted(module for module in modules if module.partition(".")[0] not in USUAL)
    found = [f"imports {module[:60]}" for module in odd]
    found += [called(name) for name in sorted((names | quoted) & set(watched(id)))]
    return (*found, *(f"uses {name}" for name in sorted((names | {name for name in quoted if name.startswith("__")}) & REACHING)))


def called(name: str) -> str:
    """The sentence on one name that the worker saw in use: a watched function, or a module of the course."""
    return f"imports {name}" if name.startswith("course_lib.") else f"uses {name}, which is to be written here"
