"""Every chapter holds to the conventions, and every rule notices when one does not."""

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat import v4

from course_lib.cli.chapters import NOTEBOOKS
from course_lib.cli.notebooks import write_notebook
from course_lib.exercises import EXERCISES
from tests.notebooks.conventions import faults

CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_chapter_holds_to_the_conventions(path):
    found = faults(path, EXERCISES)
    assert not found, "\n".join(["", *found])


REGISTRY = {f"9.{n}": SimpleNamespace(points=2) for n in range(1, 5)}
FIGURE = '<img alt="A line that falls from left to right" src="data:image/png;base64,AAAA">'


def cell(source: str, outputs=(), count=None, slide="slide", **metadata):
    """One cell; code if it has outputs or a count."""
    metadata["slideshow"] = {"slide_type": slide}
    if count is None:
        return v4.new_markdown_cell(source, metadata=metadata)
    return v4.new_code_cell(source, metadata=metadata, outputs=list(outputs), execution_count=count)


def said(text: str, name: str = "stdout"):
    return v4.new_output("stream", name=name, text=text)


def graded(name: str, **more):
    return {
        "nbgrader": {
            "grade_id": name,
            "solution": False,
            "grade": False,
            "locked": False,
            "schema_version": 3,
            **more,
        }
    }


def good() -> nbformat.NotebookNode:
    """A small chapter in which nothing falls short: text, figure, outcome, notes, four exercises."""
    cells = [
        cell(
            "# 09 · Nine\n\n2 minutes on two CPU cores\n\n"
            "![A drawing of one step, from left to right](../figures/step.svg)"
        ),
        cell(
            "draw()", [v4.new_output("display_data", {"text/html": FIGURE, "text/plain": "<HTML object>"})], 1
        ),
        cell("measure()", [said("outcome · error: 0.100 (band: at most 0.250) ✓\n")], 2),
        cell("Ask for a guess first.", slide="notes", tags=["remove-cell"]),
    ]
    for n in range(1, 5):
        cells += [
            cell(
                f"#### Exercise 9.{n}\n\n<details><summary>Hint 1</summary>Look at `x`, with $a<b$.</details>"
            ),
            cell(
                "### BEGIN SOLUTION\nanswer = 1\n### END SOLUTION",
                [],
                2 * n + 1,
                **graded(f"answer-9-{n}", solution=True),
            ),
            cell(
                f'check("9.{n}", answer)',
                [said(f"✓ 9.{n} · Title · 2 of 2 points\n")],
                2 * n + 2,
                **graded(f"check-9-{n}", grade=True, locked=True, points=2),
            ),
        ]
    for place, made in enumerate(cells):
        made.id = f"c{place}"
    return v4.new_notebook(cells=cells)


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/step.svg").write_text("<svg/>")
    return tmp_path / "notebooks"


def found_in(book, folder) -> list[str]:
    write_notebook(book, folder / "09_nine.ipynb")
    return faults(folder / "09_nine.ipynb", REGISTRY)


def test_a_good_chapter_has_no_fault(folder):
    assert found_in(good(), folder) == []


def set_count(book):
    book.cells[2].execution_count = None


def set_tag(place, *tags):
    def change(book):
        book.cells[place].metadata["tags"] = list(tags)
    return change


def set_source(place, source):
    def change(book):
        book.cells[place].source = source
    return change


def set_output(place, *outputs):
    def change(book):
        book.cells[place].outputs = list(outputs)
    return change


def set_grading(place, **values):
    def change(book):
        book.cells[place].metadata.nbgrader.update(values)
    return change


def set_slide(place, kind):
    def change(book):
        book.cells[place].metadata.slideshow.slide_type = kind
    return change


def ignore_all_checks(book):
    for place in (6, 9):
        set_tag(place, "nbval-ignore-output")(book)


def drop(*places):
    def change(book):
        book.cells = [made for place, made in enumerate(book.cells) if place not in places]
    return change


def png(alt=""):
    return v4.new_output(
        "display_data", {"image/png": "AAAA", "text/plain": "<Figure>", **({"text/html": alt} if alt else {})}
    )


FAULTS = {
    "a cell that was not run": (set_count, "executed_in_order"),
    "an error": (set_output(1, v4.new_output("error", ename="E", evalue="", traceback=[])), "holds an error"),
    "a warning": (set_output(1, said("UserWarning", "stderr")), "writes to stderr"),
    "an address": (set_output(1, said("<object at 0x7f3a2b1c>")), "address of an object"),
    "a semicolon": (set_source(1, "draw();"), "semicolon"),
    "an outcome outside its band": (
        set_output(2, said("outcome · error: 0.300 (band: at most 0.250) ✗\n")),
        "outside its band",
    ),
    "an outcome not compared": (set_tag(2, "nbval-ignore-output"), "must be compared"),
    "little compared": (ignore_all_checks, "mostly_compared"),
    "a skipped cell": (set_tag(1, "nbval-skip"), "no skipping"),
    "a comment for nbval": (set_source(1, "# NBVAL_IGNORE_OUTPUT\ndraw()"), "no comment"),
    "a figure without alt text": (set_output(1, png()), "without alt text"),
    "a figure with a short alt text": (set_output(1, png('<img alt="a plot" src="data:">')), "too short"),
    "an image tag without alt": (
        set_output(1, png('<img src="data:image/png;base64,AA">')),
        "without alt text",
    ),
    "an SVG": (set_output(1, v4.new_output("display_data", {"image/svg+xml": "<svg/>"})), "SVG"),
    "a drawing that is not there": (
        set_source(0, "# N\n\n1 min\n\n![A drawing of nothing at all](../figures/no.svg)"),
        "no such file",
    ),
    "a hot link": (
        set_source(0, "# N\n\n1 min\n\n![A drawing of nothing at all](https://x.org/a.svg)"),
        "local files",
    ),
    "a drawing without words": (set_source(0, "# N\n\n1 min\n\n![step](../figures/step.svg)"), "too short"),
    "no slide type": (set_slide(1, "-"), "slide type '-'"),
    "a note that the web shows": (set_tag(3), "go together"),
    "raw HTML": (set_source(4, "A <b>bold</b> word"), "raw HTML <b>"),
    "a directive": (set_source(4, ":::{note}\nx\n:::"), "directive"),
    "a picture in a fold": (
        set_source(
            4, "<details><summary>s</summary>\n\n![A drawing of one step, see](../figures/step.svg)</details>"
        ),
        "inside a fold",
    ),
    "an open fold": (set_source(4, "<details><summary>s</summary> text"), "not closed"),
    "a long cell": (set_source(1, "\n".join(["x = 1"] * 26)), "26 lines"),
    "no minutes": (set_source(0, "# 09 · Nine"), "measured minutes"),
    "too few exercises": (drop(13, 14, 15), "3 graded exercises"),
    "an exercise that nobody registered": (set_source(6, 'check("9.7", answer)'), "no registered exercise"),
    "an exercise that is checked twice": (set_source(6, 'check("9.2", answer)'), "without a check cell"),
    "other points": (set_grading(6, points=3), "3 points, the exercise has 2"),
    "a grade_id twice": (set_grading(8, grade_id="answer-9-1"), "grade_ids repeat"),
    "an old schema": (set_grading(8, schema_version=1), "version 3"),
    "a solution without marks": (set_source(5, "answer = 1"), "no ### BEGIN SOLUTION"),
    "a starting point that is no Python": (
        set_source(5, "def answer():\n    ### BEGIN SOLUTION\n    return 1\n  ### STUB x = 1\n    ### STUB return x\n    ### END SOLUTION"),
        "unexpected indent",
    ),
    "a solution that fails": (set_output(6, said("✗ 9.1 · Title · 1 of 2 points\n")), "did not pass"),
    "a solution in another cell": (
        set_source(1, "### BEGIN SOLUTION\nx = 1\n### END SOLUTION"),
        "outside an answer cell",
    ),
    "too large": (set_output(1, said("x" * 1_000_001)), "at most 1 MB"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_rule_notices(name, folder):
    change, words = FAULTS[name]
    book = good()
    change(book)
    found = found_in(book, folder)
    assert any(words in fault for fault in found), found


def test_a_file_with_a_timestamp_is_noticed(folder):
    path = folder / "09_nine.ipynb"
    write_notebook(good(), path)
    path.write_text(
        path.read_text().replace('"metadata": {', '"metadata": {\n    "execution": {"start": "2026"},', 1)
    )
    assert any("run --in-place" in fault for fault in faults(path, REGISTRY))
