"""What keeps the library in floors: imports point strictly down, and a definition has one home."""

import ast
import json
import sys
from collections import defaultdict
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from course_lib.cli.environment import pins

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "course_lib"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A unit is a file, or a package whose files may import each other without a cycle. Models are units of their
# own: none imports another. The top floor has an order of its own: commands call recipes and exercises.
FLOORS = [
    ["runtime", "tokenizers", "positional", "metrics", "scoring", "plotting", "widgets", "data"],
    ["attention", "recurrent", "losses", "checkpoints", "baselines", "ngrams", "optimizers", "packing"],
    ["blocks", "generation", "training", "speed"],
    ["models/*"],
    ["alignment"],
    ["exercises", "recipes"],
    ["grading"],
    ["cli"],
    ["__main__"],
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}


def unit(parts: tuple[str, ...]) -> str:
    """The unit of a module, by its path inside course_lib: ("data", "tinytown", "pairs") is in "data"."""
    head = parts[0]
    return "/".join(parts[:2]) if f"{head}/*" in FLOOR and len(parts) > 1 else head


def floor_of(name: str) -> int:
    """The floor of a unit; KeyError for one that no floor lists."""
    head, _, rest = name.partition("/")
    return FLOOR[f"{head}/*"] if rest or f"{head}/*" in FLOOR else FLOOR[name]


def module_parts(path: Path, library: Path) -> tuple[str, ...]:
    parts = path.relative_to(library).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path: Path, library: Path = LIBRARY) -> list[tuple[tuple[str, ...], bool]]:
    """What a file imports of the library: the parts of each module's name, and whether inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for node in ast.walk(outer)
    }
    package = ("course_lib", *path.relative_to(library).parts[:-1])
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split(".")) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[:len(package) - node.level + 1] if node.level else ()
            base = (*start, *(node.module.split(".") if node.module else ()))
            names = [_resolved((*base, alias.name), library) for alias in node.names]
        found += [
            (name[1:], id(node) in inner) for name in names if name[0] == "course_lib" and len(name) > 1
        ]
    return found


def _resolved(name: tuple[str, ...], library: Path) -> tuple[str, ...]:
    """`from course_lib.data import tinytown` imports a module, `from …tinytown import Pair` a name in one."""
    path = library.joinpath(*name[1:])
    return name if path.is_dir() or path.with_suffix(".py").is_file() else name[:-1]


def faults(library: Path) -> list[str]:
    """Every import that points up or sideways, stands inside a function, or closes a circle."""
    found, graph = [], defaultdict(set)
    for path in sorted(library.rglob("*.py")):
        parts = module_parts(path, library)
        if not parts:
            continue
        here = unit(parts)
        for target, inside in imports(path, library):
            there = unit(target)
            where = f"{path.relative_to(library).as_posix()} imports course_lib.{'.'.join(target)}"
            if inside and here != "__main__":
                found.append(f"{where} inside a function")
            if here != there and floor_of(there) >= floor_of(here):
                found.append(f"{where}: floor {floor_of(there)} from floor {floor_of(here)}")
            if here == there and target != parts:
                graph[parts].add(target)
    return found + [f"circle: {' → '.join('.'.join(part) for part in circle)}" for circle in circles(graph)]


def circles(graph) -> list[list]:
    """One path for each circle that a depth-first walk meets."""
    found, done = [], set()

    def walk(node, path):
        if node in path:
            found.append([*path[path.index(node):], node])
        elif node not in done:
            for following in sorted(graph.get(node, ())):
                walk(following, [*path, node])
            done.add(node)

    for node in sorted(graph):
        walk(node, [])
    return found


def test_every_module_has_a_floor():
    units = {
        unit(module_parts(path, LIBRARY)) for path in LIBRARY.rglob("*.py") if module_parts(path, LIBRARY)
    }
    unknown = [name for name in units if name not in FLOOR and f"{name.partition('/')[0]}/*" not in FLOOR]
    assert not unknown, f"no floor lists {unknown}"
    assert len(units) > 15


def test_imports_point_strictly_down():
    assert faults(LIBRARY) == []


@pytest.mark.parametrize("file, source, fault", [
    ("metrics.py", "from course_lib.training import train", "floor 2 from floor 0"),
    ("metrics.py", "import course_lib.attention", "floor 1 from floor 0"),
    ("attention.py", "from course_lib import losses", "floor 1 from floor 1"),
    ("attention.py", "from . import training", "floor 2 from floor 1"),
    ("models/bert.py", "from course_lib.models.gpt import GPT", "floor 3 from floor 3"),
    ("models/bert.py", "def build():\n    from course_lib.metrics import outcome", "inside a function"),
    ("recipes/a.py", "from course_lib.cli.run import run", "floor 7 from floor 5"),
    ("tokenizers/bpe.py", "import course_lib.attention", "floor 1 from floor 0"),
    ("data/tinytown/pairs.py", "from course_lib.data import tinytown", "circle"),
])
def test_a_wrong_import_is_found(tmp_path, file, source, fault):
    for name in ("metrics", "training", "attention", "losses", "models/gpt", "cli/run", "data/__init__"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("x = 1\n")
    (tmp_path / "data/tinytown").mkdir()
    (tmp_path / "data/tinytown/__init__.py").write_text("from course_lib.data.tinytown.pairs import Pair\n")
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(source + "\n")
    assert any(fault in found for found in faults(tmp_path)), faults(tmp_path)


def third_party(folder: Path) -> set[str]:
    """The packages that the Python files of a folder import, by their names on the package index."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {name.partition(".")[0] for name in names}
    packages = packages_distributions()
    outside = found - sys.stdlib_module_names - {"course_lib", "figures", "tests"}
    return {packages.get(name, [name])[0].lower().replace("_", "-") for name in outside}


def test_every_import_is_a_pinned_requirement():
    """What is imported is pinned, and not only there because another package brings it."""
    pinned = [{name.lower().replace("_", "-") for name in pins(path)}
              for path in (ROOT / "requirements.txt", ROOT / "tests/requirements.txt")]
    assert third_party(LIBRARY) | third_party(ROOT / "figures") <= pinned[0]
    assert third_party(ROOT / "tests") <= pinned[0] | pinned[1]


def public_names() -> dict[str, str]:
    """The functions and classes that the floors below exercises define for others, and where."""
    found = {}
    for path in LIBRARY.rglob("*.py"):
        parts = module_parts(path, LIBRARY)
        if parts and floor_of(unit(parts)) < FLOOR["exercises"]:
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                    found[node.name] = ".".join(("course_lib", *parts))
    return found


def definitions(notebook: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """All functions and classes of a notebook's cells; lines for IPython alone are left out."""
    found = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            lines = [
                line
                for line in "".join(cell["source"]).splitlines()
                if not line.lstrip().startswith(("%", "!"))
            ]
            tree = ast.parse("\n".join(lines))
            found += [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return found


def bodies(notebook: Path) -> dict[str, str]:
    """Each function's body in a normal form without docstring, with the function's name; no one-liners."""
    found = {}
    for node in definitions(notebook):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if sum(isinstance(part, ast.stmt) for statement in body for part in ast.walk(statement)) > 1:
                found[ast.dump(ast.Module(body, []))] = node.name
    return found


def test_no_notebook_defines_a_public_name_of_the_library():
    public = public_names()
    assert len(public) > 30
    again = [f"{path.name}: {node.name} is {public[node.name]}.{node.name}"
             for path in NOTEBOOKS for node in definitions(path) if node.name in public]
    assert again == []


def test_no_two_notebooks_hold_the_same_function():
    homes = defaultdict(list)
    for path in NOTEBOOKS:
        for body, name in bodies(path).items():
            homes[body].append(f"{path.name}: {name}")
    assert [places for places in homes.values() if len(places) > 1] == []


def test_the_same_body_under_another_name_is_found(tmp_path):
    for name, source in (("a", "def f(x):\n    'Says.'\n    y = x + 1\n    return y"),
                         ("b", "if True:\n    def g(x):\n        y = x + 1  # other words\n        return y"),
                         ("c", "def h(x):\n    y = x + 2\n    return y")):
        (tmp_path / f"{name}.ipynb").write_text(
            json.dumps({"cells": [{"cell_type": "code", "source": source}]})
        )
    first, second, third = (set(bodies(tmp_path / f"{name}.ipynb")) for name in "abc")
    assert first == second != third
