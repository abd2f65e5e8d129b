"""Notebooks as files: the same content always gives the same bytes."""

import os
from pathlib import Path

import nbformat


def as_text(notebook: nbformat.NotebookNode) -> str:
    """A notebook as JSON without what changes from run to run: versions, times, widget states.

    Keys are sorted, one space of indentation, a newline at the end; the kernel is named, so that no one is
    asked for it.
    """
    kept = {key: value for key, value in notebook.metadata.items() if key not in ("widgets", "signature")}
    notebook.metadata = nbformat.from_dict(
        {
            **kept,
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {
                "name": "python",
                "file_extension": ".py",
                "mimetype": "text/x-python",
                "pygments_lexer": "ipython3",
                "codemirror_mode": {"name": "ipython", "version": 3},
            },
        }
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return nbformat.writes(notebook, indent=1, sort_keys=True, ensure_ascii=False).rstrip("\n") + "\n"


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook."""
    write_whole(path, as_text(notebook).encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a process killed at any moment leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    os.replace(partial, path)
