"""Which chapters there are, which are asked for, and what each one's result depends on."""

import hashlib
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from course_lib.cli import ROOT

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Chapter:
    """One notebook file: its number ("03"), its title, the minutes that its badge promises or None."""

    path: Path
    number: str
    title: str
    minutes: float | None
    code: tuple[str, ...]

    @property
    def name(self) -> str:
        """The file's name without its ending: 03_bahdanau_attention."""
        return self.path.stem


def find_chapters(folder: Path = NOTEBOOKS) -> list[Chapter]:
    """The notebooks of a folder in the order of their names; ValueError if one is no notebook."""
    return [read_chapter(path) for path in sorted(folder.glob("*.ipynb"))]


def read_chapter(path: Path) -> Chapter:
    """What the commands need to know of a notebook, without running it."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a Jupyter notebook ({type(error).__name__}: {error})") from error
    first = next((source for kind, source in sources if kind == "markdown"), "")
    heading = re.search(r"^#\s+(.+)$", first, re.MULTILINE)
    badge = re.search(r"(\d+(?:\.\d+)?)\s*(?:min\b|minutes?\b)", first)
    number = re.match(r"\d+", path.stem)
    return Chapter(path, number[0] if number else path.stem,
                   heading[1].strip() if heading else path.stem, float(badge[1]) if badge else None,
                   tuple(source for kind, source in sources if kind == "code" and source.strip()))


def select(chapters: Sequence[Chapter], names: Sequence[str]) -> list[Chapter]:
    """The chapters that the names mean, in the course's order; none given means all.

    "3", "03", "03_bahdanau_attention" and "notebooks/03_bahdanau_attention.ipynb" mean the same.
    Raises ValueError for a name that fits none.
    """
    wanted = set()
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        fits = [c for c in chapters if stem in (c.name, c.number) or
                (stem.isdigit() and c.number.isdigit() and int(stem) == int(c.number))]
        if not fits:
            raise ValueError(
                f"there is no chapter {name!r}; there are {', '.join(c.name for c in chapters) or 'none'}"
            )
        wanted.update(c.name for c in fits)
    return [c for c in chapters if not names or c.name in wanted]


def keys(chapters: Sequence[Chapter], library: Path = ROOT / "course_lib") -> dict[str, str]:
    """For each chapter a hash of all that its result depends on.

    That is: its code and that of the chapters before it (a chapter may go on from their models), the
    library without the commands, the versions, and where real data come from.
    """
    running = hashlib.sha256()
    for path in sorted(library.rglob("*")):
        parts = path.relative_to(library).parts
        if path.is_file() and parts[0] not in ("cli", "__main__.py") and "__pycache__" not in parts:
            running.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    running.update("\0".join([platform.python_version(), version("torch"), version("numpy"),
                              os.environ.get("COURSE_DATA", "")]).encode())
    found = {}
    for chapter in chapters:
        running.update("\0".join([chapter.name, *chapter.code, ""]).encode())
        found[chapter.name] = running.hexdigest()
    return found
