"""The folder my_course/: written from the notebooks, never over what a student has changed."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat

from course_lib.cli.notebooks import as_text, write_whole
from course_lib.cli.student import student_edition

KEPT = ".course"                        # folder for our own files inside the student's
STRIPPED = "course_without_solutions"   # in a notebook's metadata: there is nothing left to take out
README = """\
# My course

- Work through the notebooks in order. Answer where a cell says `# your code here`; the cell below checks.
- Run All works at any time: an exercise that you have not tried yet says so and stops nothing.
- Hints are folded under each exercise. Look at the first one after five minutes, not at once.
- Everything here is yours: an update of the course writes `NAME.new.ipynb` beside what you have changed.
- To go on another day: `python3 -m course_lib lab` in the course's folder.
"""


def edition_files(notebooks: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of the student edition; ValueError names a notebook that cannot."""
    yield "README.md", README.encode()
    for path in sorted(notebooks.glob("*.ipynb")):
        yield path.name, edition_of(path).encode()
    for path in sorted((notebooks.parent / "figures").rglob("*")):
        if path.is_file() and path.suffix in (".svg", ".png"):
            yield f"figures/{path.relative_to(notebooks.parent / 'figures').as_posix()}", path.read_bytes()


def edition_of(path: Path) -> str:
    """The student edition of one notebook as the text of its file. Raises ValueError with the notebook's name."""
    try:
        book = nbformat.read(path, as_version=4)
        return as_text(book if book.metadata.pop(STRIPPED, False) is True else student_edition(book))
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{path.name}: {error}") from error


def write_edition(notebooks: Path, folder: Path) -> list[str]:
    """Bring `folder` up to the course's present edition; a sentence for each file that was left as it is.

    A file is replaced only if it is byte for byte what was written here before; otherwise the new edition
    goes beside it.
    """
    record = folder / KEPT / "written.json"
    written = _read(record)
    notices = []
    for name, content in list(edition_files(notebooks)):        # all made before the first is written
        place = _place(folder, name, content, written)
        if place is None:
            continue
        write_whole(folder / place, content)
        written[place] = _hash(content)
        write_whole(record, json.dumps(written, indent=1, sort_keys=True).encode())
        if place != name:
            notices.append(f"{name} has your changes and stays; the course's new edition of it is {place}")
    return notices


def _place(folder: Path, name: str, content: bytes, written: Mapping[str, str]) -> str | None:
    """Where the content goes: its name, or one beside a changed file; None if nothing is to be written."""
    new, count = _hash(content), 0
    while True:
        count += 1
        stem, dot, ending = name.rpartition(".")
        place = name if count == 1 else f"{stem}.new{'' if count == 2 else f'-{count - 1}'}{dot}{ending}"
        path = folder / place
        if not path.exists():
            return place
        present = _hash(path.read_bytes())
        if present == new and written.get(place) == new:
            return None
        if present in (new, written.get(place)):
            return place
        if written.get(place) == new:           # the student works on this very edition
            return None


def _read(record: Path) -> dict[str, str]:
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}                               # then every file counts as changed, and none is touched


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
