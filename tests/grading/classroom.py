"""What the grading tests share: chapter 03 as an assignment, its reference answers, and notebooks as students hand them in."""

import copy
import functools
import io
import json
import zipfile
from pathlib import Path

import nbformat

from course_lib.cli import ROOT
from course_lib.cli.student import stub, student_edition
from course_lib.grading.assignment import Assignment, of_notebooks

CHAPTER = ROOT / "notebooks" / "03_bahdanau_attention.ipynb"
NAME = f"{CHAPTER.stem}.ipynb"


@functools.cache
def assignment() -> Assignment:
    """Chapter 03."""
    return of_notebooks([CHAPTER], stub)


@functools.cache
def _released() -> dict:
    return json.loads(nbformat.writes(student_edition(nbformat.read(CHAPTER, as_version=4))))


@functools.cache
def references() -> dict[str, str]:
    """The instructor's answers by exercise."""
    cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source
             for cell in nbformat.read(CHAPTER, as_version=4).cells}
    return {asked.id: cells[asked.grade_id] for asked in assignment().exercises}


def asked(id: str):
    """One exercise of chapter 03."""
    return next(one for one in assignment().exercises if one.id == id)


def handed_in(answers: dict[str, str] | None = None, **more: str) -> dict:
    """The released notebook with these answers (the reference's where none is given); `more` as e33="…"."""
    own = {**(references() if answers is None else answers), **{f"{key[1]}.{key[2:]}": text for key, text in more.items()}}
    notebook = copy.deepcopy(_released())
    for id, source in own.items():
        notebook["cells"][place(notebook, asked(id).grade_id)]["source"] = source
    return notebook


def place(notebook: dict, grade_id: str) -> int:
    """Where the cell with this grade_id stands."""
    return next(number for number, cell in enumerate(notebook["cells"])
                if cell["metadata"].get("nbgrader", {}).get("grade_id") == grade_id)


def code(source: str, **metadata) -> dict:
    """A code cell."""
    return {"cell_type": "code", "source": source, "metadata": metadata, "outputs": [], "execution_count": None}


def content(notebook: dict) -> bytes:
    """A notebook as bytes."""
    return json.dumps(notebook).encode()


def write(path: Path, notebook: dict) -> Path:
    """A notebook as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(notebook))
    return path


def zipped(entries: dict[str, bytes | dict]) -> bytes:
    """A zip with these files; dicts are notebooks."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, what in entries.items():
            archive.writestr(name, content(what) if isinstance(what, dict) else what)
    return out.getvalue()
