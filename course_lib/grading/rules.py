"""Names that an answer may not use, and a look at its syntax tree for them. A hit is for a person to review, never a deduction."""

import ast
import symtable
from collections.abc import Set

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
# What reaches around the language, the files or the sandbox rather than computing: built-in functions by their bare names …
BUILT_IN = frozenset(["eval", "exec", "compile", "open", "__import__", "globals", "vars", "breakpoint", "input", "__builtins__"])
# … and the rest wherever it stands: model.eval(), re.compile and an argument called input are as usual as these are not.
REACHING = frozenset([
    "__builtins__", "__import__", "__globals__", "__subclasses__", "__bases__", "__mro__", "__code__", "__closure__", "__reduce__",
    "__reduce_ex__", "__loader__", "__spec__", "f_back", "f_globals", "f_locals", "gi_frame", "tb_frame", "_getframe", "_C", "hub",
    "load", "save", "from_file", "from_blob", "builtins", "_os", "_sys",
])
_SWITCHES = ("torch.backends.", "plt.rcParams.")  # settings: made to be changed


def watched(id: str) -> tuple[str, ...]:
    """The names to be noted when exercise `id` runs: functions of torch that are the answer."""
    return WRITTEN_HERE.get(id, ())


def review(id: str, tree: ast.Module) -> tuple[str, ...]:
    """What a person should look at in the answer to exercise `id`, in words; () if nothing.

        review("5.5", ast.parse("import os\\nnorm = F.layer_norm")) → ("imports os", "uses layer_norm, which is to be written here")
    """
    outside = _from_outside(tree)
    names, quoted, modules = set(), set(), set()
    ours = outside - {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
            quoted.add(node.value)  # getattr(F, "layer_norm")
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
            ours |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
            names |= {alias.name for alias in node.names}
            ours |= {alias.asname or alias.name for alias in node.names}
    odd = sorted(module for module in modules if module.partition(".")[0] not in USUAL)
    found = [f"imports {module[:60]}" for module in odd]
    found += [called(name) for name in sorted((names | quoted) & set(watched(id)))]
    dunder = {name for name in quoted if name.startswith("__")}
    used = sorted((names | dunder) & REACHING | outside & BUILT_IN)
    return (*found, *(f"uses {name}" for name in used), *(f"changes {name[:60]}" for name in _changed(tree, ours)))


def _from_outside(tree: ast.Module) -> frozenset[str]:
    """The names that a cell takes from outside of it, built-ins among them; all that it uses if the compiler cannot say."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)}
    try:
        top = symtable.symtable(ast.unparse(tree), "cell", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return frozenset(used)
    found, tables = set(), [top]
    while tables:
        table = tables.pop()
        bare = table is top or table.get_type() == "class"  # there even a name of its own may be taken from outside first
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (bare or s.is_global())}
        tables += table.get_children()
    return frozenset(found - _own(tree))


def _own(tree: ast.Module) -> set[str]:
    """What the top level of a cell binds whatever happens, and not to itself, such as `open = open`."""
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            parts = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
            found |= {part.id for part in parts if isinstance(part.ctx, ast.Store)} - {
                part.id for part in parts if isinstance(part.ctx, ast.Load)}
    return found


def _changed(tree: ast.Module, ours: Set[str]) -> list[str]:
    """What is assigned to attributes of the names `ours`, modules and what else the cell has not made, in words."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr") and node.args:
            found.add(_path(node.args[0]))
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            path = _path(node)
            found |= {path} if isinstance(node, ast.Attribute) or path.endswith("__dict__") else set()
    return sorted(path for path in found if path.partition(".")[0] in ours and not path.startswith(_SWITCHES))


def _path(node: ast.expr) -> str:
    """"torch.Tensor.add" for such an expression, whatever it is indexed with; "" if it does not begin with a name."""
    names = []
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        names += [node.attr] if isinstance(node, ast.Attribute) else []
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def called(name: str) -> str:
    """The sentence on one name that the worker saw in use: a watched function, or a module of the course."""
    return f"imports {name}" if name.startswith("course_lib.") else f"uses {name}, which is to be written here"
