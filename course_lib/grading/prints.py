"""Traces of an answer by which it is known again: comments, docstrings, layout and, but for `text`, its own names leave none."""

import ast
import hashlib
import tokenize
from collections.abc import Iterator, Sequence
from io import StringIO

from course_lib.grading.sources import parsed

WINDOW = 12  # tokens; a line of a typical answer

Window = int  # the hash of its tokens


def windows(source: str, name: str) -> list[Window]:
    """All runs of WINDOW tokens of a function's definition and what stands beside it, names numbered in each run.

    Comments, docstrings, layout and the answer's own names leave no trace; attributes and built-ins do. None for
    an answer without a function, such as a prediction.
    """
    tree = _with_function(source)
    if tree is None:
        return []
    own = _own_names(tree) | {name}
    tokens = _tokens(tree)
    named = [token in own and before != "." for before, token in _followed(tokens)]
    return [_numbered(tokens[start:start + WINDOW], named[start:start + WINDOW]) for start in range(max(len(tokens) - WINDOW + 1, 0))]


def text(source: str) -> str:
    """What is written, names included, in one layout for all; "" for an answer without a function."""
    tree = _with_function(source)
    return " ".join(_tokens(tree)) if tree else ""


def fingerprints(source: str) -> frozenset[str]:
    """A digest of each definition at the top level, whole, with its names numbered.

    A definition cannot be read from it, and not be guessed bit by bit: students may see it.
    """
    found = set()
    tree = _with_function(source)
    for node in tree.body if tree else ():
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            alone = ast.Module([node], [])
            own, places = _own_names(alone), {}
            tokens = [str(places.setdefault(token, len(places))) if token in own and before != "." else token
                      for before, token in _followed(_tokens(alone))]
            found.add(hashlib.sha256("\n".join(tokens).encode("utf-8", "replace")).hexdigest()[:16])
    return frozenset(found)


def _with_function(source: str) -> ast.Module | None:
    """The tree of an answer that defines a function, or None."""
    try:
        tree = parsed(source)
    except ValueError:
        return None
    return tree if any(isinstance(node, (ast.FunctionDef, ast.Lambda)) for node in ast.walk(tree)) else None


def _followed(tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each token with the one before it."""
    return zip(["", *tokens], tokens, strict=False)


def _own_names(tree: ast.Module) -> set[str]:
    """Every name that the answer itself gives: variables, arguments, functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
    return found


def _tokens(tree: ast.Module) -> list[str]:
    """The tokens of a tree written anew: one layout for all, no comment, no docstring, no import, no annotation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Module)):
            node.body = [part for part in node.body if not isinstance(part, (ast.Import, ast.ImportFrom)) and not (
                isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))] or [ast.Pass()]
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    try:
        text = ast.unparse(tree)
    except RecursionError:
        return []
    kinds = (tokenize.NAME, tokenize.OP, tokenize.NUMBER, tokenize.STRING)
    return [token.string for token in tokenize.generate_tokens(StringIO(text + "\n").readline) if token.type in kinds]


def _numbered(tokens: Sequence[str], named: Sequence[bool]) -> Window:
    """Own names become their place of first appearance in the window: renaming all of them changes nothing."""
    places: dict[str, int] = {}
    return hash(tuple(places.setdefault(token, len(places)) if own else token for token, own in zip(tokens, named, strict=True)))
