"""From the instructor's notebook to the student's: solutions out, stubs in, checks kept."""

import ast
import copy
import re
import textwrap
from collections.abc import Sequence

import nbformat

BEGIN, END, STUB = "### BEGIN SOLUTION", "### END SOLUTION", "### STUB "
TODO = "# your code here"


def student_edition(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy for students: answer cells hold stubs, no cell holds an output, speaker notes are left out.

    Raises ValueError for an answer cell whose solution is not marked.
    """
    edition = copy.deepcopy(notebook)
    edition.cells = [cell for cell in edition.cells if not is_speaker_note(cell)]
    for cell in edition.cells:
        grading = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if grading.get("solution"):
            cell.source = stub(cell.source) if cell.cell_type == "code" else "*Your answer.*"
        elif BEGIN in cell.source or END in cell.source:
            raise ValueError(
                f"cell {cell.get('id')}: a solution outside an answer cell (nbgrader solution: true)"
            )
        if grading.get("locked"):
            cell.metadata.update(editable=False, deletable=False)
        cell.source = cell.source.replace("](../figures/", "](figures/")
    return edition


def is_speaker_note(cell: nbformat.NotebookNode) -> bool:
    """True for a cell that only the lecturer sees; it may give answers away."""
    return cell.metadata.get("slideshow", {}).get("slide_type") == "notes"


def stub(source: str) -> str:
    """The source of an answer cell with each marked solution replaced by what a student starts from.

        def f(x):                       def f(x):
            ### BEGIN SOLUTION              ...  # your code here
            return x + 1
            ### END SOLUTION

    A solution that assigns names gives `name = None`, so that later cells run. Lines `### STUB code` inside a
    solution become `code`: the planted bug of a debugging exercise. ValueError if markers do not pair up.
    """
    before, found, inside = [], False, None
    lines = source.splitlines()
    for number, line in enumerate(lines):
        mark = line.strip()
        if mark == BEGIN and inside is None:
            found, inside, indent = True, [], line[:len(line) - len(line.lstrip())]
        elif mark == END and inside is not None:
            before += [indent + new for new in _start(inside, indent, lines[number + 1:])]
            inside = None
        elif mark in (BEGIN, END):
            raise ValueError(f"line {number + 1}: {mark} without its partner")
        elif inside is not None:
            inside.append(line)
        else:
            before.append(line)
    if inside is not None or not found:
        raise ValueError(f"an answer cell needs {BEGIN} and {END} on lines of their own")
    return "\n".join(before)


def _start(solution: Sequence[str], indent: str, after: Sequence[str]) -> list[str]:
    """The lines, not indented, that stand for one solution; `after` is the rest of its cell."""
    marked = textwrap.dedent(
        "\n".join(line for line in solution if line.strip().startswith(STUB))
    ).splitlines()
    if marked:
        return [line.replace(STUB, "", 1) for line in marked]
    rest, lines = "\n".join(after), []
    for node in ast.parse(textwrap.dedent("\n".join(solution))).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not indent:
            lines += _emptied(node)
        for name, value in _assigned(node):
            if (not indent and not name.startswith("_")) or re.search(rf"\b{re.escape(name)}\b", rest):
                lines.append(f"{name} = {_form(value)}  {TODO}")
    return list(dict.fromkeys(lines)) or [f"...  {TODO}"]


def _emptied(node: ast.FunctionDef | ast.ClassDef) -> list[str]:
    """A definition with its signature and docstring, and nothing else."""
    documented = ast.get_docstring(node) is not None
    node.body = [*(node.body[:1] if documented else []), ast.Expr(ast.Constant(...))]
    lines = ast.unparse(node).splitlines()
    return [*lines[:-1], f"{lines[-1]}  {TODO}"]


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr | None]]:
    """The names that a statement assigns, with the value where it is one name's own."""
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    pairs = []
    for target in targets:
        if isinstance(target, ast.Name):
            pairs.append((target.id, node.value))
        elif isinstance(target, (ast.Tuple, ast.List)):
            pairs += [(part.id, None) for part in target.elts if isinstance(part, ast.Name)]
    return pairs


def _form(value: ast.expr | None) -> str:
    """What to fill in: None, or for a dict of named answers a form with their names."""
    if (
        isinstance(value, ast.Dict)
        and value.keys
        and all(isinstance(key, ast.Constant) for key in value.keys)
    ):
        fields = [f"{key.value!r}: None" for key in value.keys]
        return "{" + ", ".join(fields) + "}" if len(fields) < 4 else "{\n    " + ",\n    ".join(fields) + ",\n}"
    return "None"
