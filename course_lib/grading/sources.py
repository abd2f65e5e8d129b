"""Python source of notebook cells as data: which names it binds and needs. Nothing is executed here."""

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MAX_SOURCE = 100_000  # characters of one cell; the parser of this process stays within its own limits up to here
QUOTED = 80  # characters of a line that is quoted
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__doc__", "__file__"}
_FORBIDDEN = "course_lib.exercises"  # what is judged with; no answer is made of it
_PLAIN_CALLS = frozenset(["float", "int", "complex", "tuple", "list", "set", "dict", "frozenset", "range", "len"])


@dataclass(frozen=True)
class Binding:
    """One top-level statement that gives names a meaning, without running anything long."""

    names: frozenset[str]
    needs: frozenset[str]
    source: str
    module: str = ""  # for an import, the package


def parsed(source: str) -> ast.Module:
    """The syntax tree of a cell. Raises ValueError in words, also for sources that exhaust the parser."""
    if len(source) > MAX_SOURCE:
        raise ValueError(f"the cell has {len(source):,} characters, at most {MAX_SOURCE:,} are read")
    try:
        with warnings.catch_warnings():  # invalid escapes are the student's business
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        line = " ".join((error.text or "").split())
        quoted = f", `{line[:QUOTED]}{'…' * (len(line) > QUOTED)}`" if line.isprintable() and line else ""
        where = f"line {error.lineno}{quoted}: " if error.lineno else ""
        raise ValueError(f"the cell is not valid Python: {where}{error.msg}") from None
    except (MemoryError, RecursionError):
        raise ValueError("the cell is not valid Python: nested too deeply") from None
    except ValueError as error:  # a null character, a number of too many digits
        raise ValueError(f"the cell is not valid Python: {error}") from None


def python(source: str) -> str:
    """A cell's source with lines for IPython alone made comments, if it takes that to parse. Raises ValueError."""
    try:
        parsed(source)
        return source
    except ValueError:
        lines = [f"# {line}" if line.startswith(("%", "!", "?")) else _indented(line) for line in source.split("\n")]
        changed = "\n".join(lines)
        if changed == source:
            raise
        parsed(changed)
        return changed


def _indented(line: str) -> str:
    """A magic inside a block becomes `pass`, so that the block is not left empty."""
    bare = line.lstrip()
    return f"{line[:len(line) - len(bare)]}pass  # {bare}" if bare.startswith(("%", "!")) else line


def free_names(source: str) -> frozenset[str]:
    """The names that valid source takes from outside: not bound by it at the top, not built in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            top = symtable.symtable(source, "cell", "exec")
        except (SyntaxError, RecursionError, MemoryError):  # what the parser lets pass and the compiler does not
            return frozenset()
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    used, tables = set(), [top]
    while tables:
        table = tables.pop()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
        tables += table.get_children()
    return frozenset(used - bound - _BUILTINS)


def bound_names(tree: ast.Module) -> dict[str, ast.stmt]:
    """The names that a cell binds at its top level, each with the last statement that does."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {(alias.asname or alias.name).partition(".")[0]: node for alias in node.names}
        else:
            found |= {part.id: node for part in ast.walk(node)
                      if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return found


def bindings(sources: Iterable[str]) -> list[Binding]:
    """The imports, definitions and plain constants at the top level of cells, in order.

    Assignments that call anything (a training, a data set) are left out, and so is what cannot be parsed.
    """
    found = []
    for source in sources:
        try:
            tree = parsed(source := python(source))
        except ValueError:
            continue
        for node in tree.body:
            found += _of(node, source)
    return found


def _of(node: ast.stmt, source: str) -> list[Binding]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return _of_import(node)
    names = bound_names(ast.Module([node], []))
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        first = min([node.lineno, *(part.lineno for part in node.decorator_list)])
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and _plain(node):
        first = node.lineno
    else:
        return []
    text = "\n".join(source.split("\n")[first - 1:node.end_lineno])
    try:
        return [Binding(frozenset(names), free_names(text), text)] if parsed(text) else []
    except ValueError:  # several statements on a line
        return []


def _of_import(node: ast.Import | ast.ImportFrom) -> list[Binding]:
    module = "" if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
    if module.startswith(_FORBIDDEN):
        return []
    found = []
    for alias in node.names:
        if alias.name != "*" and not alias.name.startswith(_FORBIDDEN):
            renamed = f" as {alias.asname}" if alias.asname else ""
            line = f"from {module} import {alias.name}{renamed}" if module else f"import {alias.name}{renamed}"
            name = (alias.asname or alias.name).partition(".")[0]
            found.append(Binding(frozenset([name]), frozenset(), line, (module or alias.name).partition(".")[0]))
    return found


def _plain(node: ast.stmt) -> bool:
    """True if the statement calls nothing but conversions, so that running it takes no time."""
    return all(isinstance(part.func, ast.Name) and part.func.id in _PLAIN_CALLS
               for part in ast.walk(node) if isinstance(part, ast.Call))


def needed(pool: Sequence[Binding], names: Iterable[str]) -> list[Binding]:
    """The bindings of `pool` that give these names a meaning, and what they need themselves, in the pool's order.

    The last binding of a name counts.
    """
    last = {name: number for number, binding in enumerate(pool) for name in binding.names}
    wanted, taken = list(names), set()
    while wanted:
        number = last.get(wanted.pop())
        if number is not None and number not in taken:
            taken.add(number)
            wanted += pool[number].needs
    return [pool[number] for number in sorted(taken)]
