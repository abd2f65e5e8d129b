"""Throwaway chapters for the tests of the commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from course_lib.cli import ROOT


def make_notebook(path: Path, title: str, *cells) -> Path:
    """A notebook of code cells (text) and whole cells."""
    made = [v4.new_markdown_cell(f"# {title}\n\nAbout 2 min on two cores.", id="title")]
    made += [
        v4.new_code_cell(cell, id=f"c{n}") if isinstance(cell, str) else cell for n, cell in enumerate(cells)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(v4.new_notebook(cells=made), path)
    return path


@pytest.fixture
def notebook():
    """The function make_notebook."""
    return make_notebook


@pytest.fixture
def course(tmp_path):
    """Start a command in a process of its own, from a copy of the library that nobody edits meanwhile."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "course_lib", root / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", root)

    def start(*arguments: str | Path, **variables: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "course_lib", *map(str, arguments)]
        return subprocess.Popen(
            command,
            cwd=root,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    return start
