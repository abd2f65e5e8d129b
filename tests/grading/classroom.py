"""What the grading tests share: chapter 03 as an assignment, its reference answers, and notebooks as students hand them in."""

import copy
import functools
import io
import json
import random
import zipfile
from pathlib import Path

import nbformat

from course_lib.cli import ROOT
from course_lib.cli.student import stub, student_edition
from course_lib.grading.assignment import Assignment, of_notebooks
from tests.grading import hostile

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


WRONG = {
    "3.1": """def additive_attention(query, keys, mask, W, U, v):
    weights = (torch.tanh((query @ W.T)[:, None] + keys @ U.T) @ v).softmax(-1)
    return (weights[:, None] @ keys).squeeze(1), weights""",
    "3.2": "def attend_all(queries, keys, values):\n    return (queries @ keys.mT).softmax(dim=1) @ values",
    "3.3": "prediction_33 = {'weights': (1/8, 3/8, 4/8), 'doubled': (1/8, 3/8, 4/8)}",
    "3.4": "def aer(predicted, sure, possible)\n    return 0",
    "3.5": "def align(pairs):\n    return [{(i, min(i, len(g) - 1)) for i in range(len(e))} for g, e in pairs]",
    "3.6": "def reverse_within(x, lengths):\n    return x.flip(1)",
}


def class_of(count: int, seed: int = 0) -> bytes:
    """A Moodle zip of a class: right, wrong and missing answers, and one in twenty who wants points without work."""
    rng, entries = random.Random(seed), {}
    for number in range(count):
        own = dict(references())
        for id in WRONG:
            fate = rng.random()
            if fate < 0.3:
                own[id] = WRONG[id]
            elif fate < 0.4:
                del own[id]
        if number % 20 == 1:
            own["3.6"] = rng.choice(list(hostile.FOR_POINTS.values()))
        entries[f"Student {number}_{1000 + number}_assignsubmission_file_/{NAME}"] = handed_in(own)
    return zipped(entries)
