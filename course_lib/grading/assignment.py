"""What an assignment asks: its exercises with their points, found in the instructor's notebooks."""

import ast
import hashlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_lib.exercises import exercise
from course_lib.grading.prints import fingerprints
from course_lib.grading.sources import Binding, bindings, bound_names, free_names, needed, parsed, python

_COMMON = sys.stdlib_module_names | {"torch", "numpy"}


@dataclass(frozen=True)
class Asked:
    """One exercise of an assignment: the grade_id of its answer cell, the name that is judged, its points.

    `solution` has the fingerprints of the course's own answer, from which nobody can read it: students may see them.
    """

    id: str
    grade_id: str
    points: int
    name: str
    chapter: str = ""
    stub: str = ""
    check_id: str = ""
    solution: str = ""


@dataclass(frozen=True)
class Assignment:
    """Exercises in the order of the notebooks; `prelude[id]` is trusted source that an answer may rely on.

    `given` are digests of the cells that are not answers, by which they are known again in a submission.
    """

    name: str
    chapters: tuple[str, ...]
    exercises: tuple[Asked, ...]
    prelude: Mapping[str, str]
    given: tuple[str, ...] = ()
    title: str = ""

    @property
    def points(self) -> int:
        """The most that can be earned."""
        return sum(asked.points for asked in self.exercises)

    def as_json(self) -> str:
        """One JSON text; the same assignment always gives the same text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> "Assignment":
        """The inverse of as_json. Raises ValueError for anything else."""
        try:
            data = json.loads(text)
            asked = tuple(Asked(**entry) for entry in data["exercises"])
            return Assignment(str(data["name"]), tuple(data["chapters"]), asked, dict(data["prelude"]),
                              tuple(data["given"]), str(data["title"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"assignment: got no text of ours ({type(error).__name__}: {error})") from None


def cells_of(notebook: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(type, source, nbgrader metadata) of each cell of a notebook in format 4. Raises ValueError in words."""
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        old = isinstance(notebook, dict) and "worksheets" in notebook
        raise ValueError("it is in the notebook format 3 of 2014: open and save it in JupyterLab" if old
                         else "it is not a Jupyter notebook")
    for cell in cells:
        if not isinstance(cell, dict):
            continue
        source, metadata = cell.get("source"), cell.get("metadata")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        grading = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        if isinstance(source, str):
            yield str(cell.get("cell_type")), source, grading if isinstance(grading, dict) else {}


def digest(source: str) -> str:
    """A short hash of a cell's source that white space does not change."""
    return hashlib.sha256("".join(source.split()).encode()).hexdigest()[:16]


def no_stub(source: str) -> str:
    """For callers that do not care what students start from."""
    return ""


def of_notebooks(paths: Sequence[Path], stub_of: Callable[[str], str] = no_stub) -> Assignment:
    """The assignment that instructor's notebooks make together.

    `stub_of(source)` says what a student starts from. A prelude holds what reference and stub need, and the
    imports of PyTorch, NumPy and the standard library that stand above. Raises ValueError for a check without an
    answer cell before it, an exercise asked twice, and points other than the exercise's own.
    """
    parts = [_of_notebook(path, stub_of) for path in paths]
    exercises = tuple(asked for part in parts for asked in part.exercises)
    ids = [asked.id for asked in exercises]
    if twice := {id for id in ids if ids.count(id) > 1}:
        raise ValueError(f"paths: {', '.join(sorted(twice))} is asked twice, expected each exercise once")
    return Assignment("+".join(part.name for part in parts), tuple(part.name for part in parts), exercises,
                      {id: text for part in parts for id, text in part.prelude.items()},
                      tuple(sorted({one for part in parts for one in part.given})), "; ".join(part.title for part in parts))


def _of_notebook(path: Path, stub_of: Callable[[str], str]) -> Assignment:
    exercises, prelude, earlier, headings = [], {}, [], [path.stem]
    answer: tuple[str, str] | None = None
    for kind, source, grading in cells_of(json.loads(path.read_text(encoding="utf-8"))):
        if kind != "code":
            headings += re.findall(r"^# +(.+)$", source, re.MULTILINE)
        elif grading.get("solution"):
            answer = (str(grading.get("grade_id")), source)
        elif grading.get("grade"):
            if answer is None:
                raise ValueError(f"{path.name}: {grading.get('grade_id')} has no answer cell before it")
            asked = _asked(path, answer, source, grading, stub_of)
            exercises.append(asked)
            prelude[asked.id] = _prelude(bindings(earlier), python(answer[1]), python(asked.stub))
            answer = None
        else:
            earlier.append(source)
    return Assignment(path.stem, (path.stem,), tuple(exercises), prelude, tuple(map(digest, earlier)), headings[:2][-1])


def _prelude(pool: Sequence[Binding], *sources: str) -> str:
    names = {name for source in sources for name in free_names(source)}
    names |= {name for binding in pool if binding.module in _COMMON for name in binding.names}
    return "\n".join(binding.source for binding in needed(pool, names))


def _asked(path: Path, answer: tuple[str, str], check: str, grading: Mapping[str, Any],
           stub_of: Callable[[str], str]) -> Asked:
    call = check_call(check)
    if call is None:
        raise ValueError(f"{path.name}: {grading.get('grade_id')} is no call of the form check(\"3.1\", name)")
    id, name = call
    points = exercise(id).points
    if grading.get("points") != points:
        raise ValueError(f"{path.name}: {grading.get('grade_id')} has {grading.get('points')} points, expected {points}")
    if name not in bound_names(parsed(python(answer[1]))):
        raise ValueError(f"{path.name}: {answer[0]} does not define {name}, which exercise {id} judges")
    solution = " ".join(sorted(fingerprints(python(answer[1]))))
    return Asked(id, answer[0], points, name, path.stem, stub_of(answer[1]), str(grading.get("grade_id")), solution)


def check_call(source: str) -> tuple[str, str] | None:
    """("3.1", "attend") for a cell that calls check("3.1", attend) at its top level; else None."""
    try:
        tree = parsed(python(source))
    except ValueError:
        return None
    for node in tree.body:
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check":
            match call.args:
                case [ast.Constant(value=str(id)), ast.Name(id=name), *_]:
                    return id, name
    return None
