"""The sanitising file lets through what truly varies and nothing else: cells stored wrong on purpose."""

import re
import subprocess

import nbformat
import pytest
from nbformat import v4

from course_lib.cli import ROOT
from course_lib.cli import test as command

LINE = "outcome · exact match, long: {value} (band: {band}) {sign}\n"
NOW = LINE.format(value="0.912", band="at least 0.900", sign="✓")
SHOW = ("from IPython.display import HTML, display\n"
        "display(HTML('<img alt=\"A curve that falls from left to right\" '\n"
        "             'src=\"data:image/png;base64,AAAA/+==\">'))")


def html(alt: str, data: str):
    page = f'<img alt="{alt}" src="data:image/png;base64,{data}">'
    return v4.new_output(
        "display_data", {"text/html": page, "text/plain": "<IPython.core.display.HTML object>"}
    )


def stream(text: str):
    return v4.new_output("stream", name="stdout", text=text)


def prints(text: str) -> str:
    return f"print({text!r}, end='')"


# name: what the cell does now, what is stored, and whether that must pass
CELLS = {
    "another value in the same band": (prints(NOW), stream(NOW.replace("0.912", "0.957")), True),
    "a negative value with exponent": (prints(NOW), stream(NOW.replace("0.912", "-1.2e-05")), True),
    "several outcomes and text": (
        prints(f"a\n{NOW}b\n{NOW}"),
        stream(f"a\n{NOW}b\n{NOW.replace('0.912', '1.000')}"),
        True,
    ),
    "another band": (prints(NOW), stream(NOW.replace("0.900", "0.800")), False),
    "another sign": (prints(NOW), stream(NOW.replace("✓", "✗")), False),
    "another name": (prints(NOW), stream(NOW.replace("long", "short")), False),
    "text beside an outcome": (prints(f"a\n{NOW}"), stream(f"b\n{NOW}"), False),
    "a number outside an outcome": (prints("loss 0.912\n"), stream("loss 0.913\n"), False),
    "another picture, same words": (SHOW, html("A curve that falls from left to right", "BBBB/x=="), True),
    "other words": (SHOW, html("A curve that rises from left to right", "AAAA/+=="), False),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """For each cell of CELLS whether nbval passed it, in one run."""
    path = tmp_path_factory.mktemp("nbval") / "cells.ipynb"
    cells = [v4.new_code_cell(source, outputs=[stored], execution_count=n)
             for n, (source, stored, _) in enumerate(CELLS.values(), 1)]
    nbformat.write(v4.new_notebook(cells=cells), path)
    done = subprocess.run(
        [*command.notebook_command([str(path)]), "-rA", "--color=no", f"--rootdir={path.parent}"],
        cwd=ROOT,
        env=command.variables("notebooks"),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    found = {
        cell: verdict
        for verdict, cell in re.findall(r"^(PASSED|FAILED) \S*::(Cell \d+)", done.stdout, re.MULTILINE)
    }
    assert len(found) == len(CELLS), done.stdout + done.stderr
    return {name: found[f"Cell {n}"] == "PASSED" for n, name in enumerate(CELLS)}


@pytest.mark.parametrize("name", CELLS)
def test_only_what_varies_is_let_through(results, name):
    assert results[name] is CELLS[name][2]


def test_the_command_sets_a_limit_and_the_running_python():
    line = command.notebook_command(["notebooks/02.ipynb"])
    assert "--nbval" in line and "--nbval-current-env" in line and "--nbval-lax" not in line
    [limit] = [float(part.partition("=")[2]) for part in line if part.startswith("--nbval-cell-timeout=")]
    assert limit <= 900


def test_two_notebooks_in_parallel_stay_whole(monkeypatch):
    """Cells of one notebook need one process."""
    monkeypatch.setattr(command, "usable_cores", lambda: 8.0)
    line = command.notebook_command(["a.ipynb", "b.ipynb"])
    assert line[line.index("--dist") + 1] == "loadfile" and line[line.index("-n") + 1] == "2"
    assert "-n" not in command.notebook_command(["a.ipynb"])
