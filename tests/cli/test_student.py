"""The student edition: solutions out, stubs in, checks kept, never over a student's work."""

import json
import subprocess
import sys

import nbformat
import pytest
from click.testing import CliRunner
from nbformat import v4

from course_lib.cli.app import cli
from course_lib.cli.edition import write_edition
from course_lib.cli.student import stub, student_edition


def test_a_function_body_becomes_a_place_for_code():
    assert stub("""\
def shift(ids, bos):
    \"\"\"Ids moved one place to the right.\"\"\"
    ### BEGIN SOLUTION
    moved = [bos] + ids[:-1]
    return moved
    ### END SOLUTION""") == """\
def shift(ids, bos):
    \"\"\"Ids moved one place to the right.\"\"\"
    ...  # your code here"""


def test_names_that_the_rest_of_the_cell_needs_are_there():
    source = (
        "def f(x):\n    ### BEGIN SOLUTION\n    y = x + 1\n    helper = 2\n    ### END SOLUTION\n    return y"
    )
    assert stub(source) == "def f(x):\n    y = None  # your code here\n    return y"
    space = {}
    exec(stub(source), space)
    assert space["f"](1) is None


@pytest.mark.parametrize(
    "solution, start",
    [
        ("answer = 42", "answer = None  # your code here"),
        ("length: int = 7", "length = None  # your code here"),
        ("before, after = 0.1, 0.9", "before = None  # your code here\nafter = None  # your code here"),
        (
            "answer = {'short': 'same', 'long': 'worse'}",
            "answer = {'short': None, 'long': None}  # your code here",
        ),
        (
            "answer = {'a': 1, 'b': 2, 'c': 3, 'd': 4}",
            "answer = {\n    'a': None,\n    'b': None,\n    'c': None,\n    'd': None,\n}  # your code here",
        ),
        ("_help = 3\nanswer = _help", "answer = None  # your code here"),
        ("for _ in range(3):\n    print(_)", "...  # your code here"),
        (
            "def f(x: int, *, y=2) -> int:\n    'Says what.'\n    return x",
            'def f(x: int, *, y=2) -> int:\n    """Says what."""\n    ...  # your code here',
        ),
        ("class Cell:\n    def forward(self):\n        return 1", "class Cell:\n    ...  # your code here"),
    ],
    ids=["value", "annotated", "two values", "form", "long form", "private", "statement", "function", "class"],
)
def test_answers_at_the_top_level(solution, start):
    made = stub(f"first = 1\n### BEGIN SOLUTION\n{solution}\n### END SOLUTION\nlast = 2")
    assert made == f"first = 1\n{start}\nlast = 2"
    exec(made, {})


def test_a_planted_bug_is_what_the_student_starts_from():
    source = """\
def attend(scores):
    ### BEGIN SOLUTION
    ### STUB weights = scores.softmax(0)
    ### STUB if weights.isnan().any():
    ### STUB     raise ValueError
    weights = scores.softmax(-1)
    ### END SOLUTION
    return weights"""
    assert stub(source) == (
        "def attend(scores):\n    weights = scores.softmax(0)\n    if weights.isnan().any():\n"
        "        raise ValueError\n    return weights"
    )


def test_several_solutions_in_one_cell():
    source = "a = 1\n### BEGIN SOLUTION\nb = 2\n### END SOLUTION\nc = 3\n"
    source += "### BEGIN SOLUTION\nd = 4\n### END SOLUTION"
    assert stub(source) == "a = 1\nb = None  # your code here\nc = 3\nd = None  # your code here"


@pytest.mark.parametrize("source", [
    "x = 1", "### BEGIN SOLUTION\nx = 1", "x = 1\n### END SOLUTION",
    "### BEGIN SOLUTION\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION"])
def test_markers_that_do_not_pair_up_are_an_error(source):
    with pytest.raises(ValueError, match="SOLUTION"):
        stub(source)


SECRET = "return sorted(words, key=len)"


def cell(source, kind="code", grade_id=None, solution=False, grade=False, **metadata):
    if grade_id:
        metadata["nbgrader"] = {"grade_id": grade_id, "solution": solution, "grade": grade, "locked": grade,
                                "schema_version": 3}
    make = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
    return make(source, metadata=metadata)


def chapter(secret=SECRET, extra="1 + 1"):
    """A chapter with an answer cell, its check, a picture, a speaker note, and outputs."""
    answer = cell(
        f"def by_length(words):\n    ### BEGIN SOLUTION\n    {secret}\n    ### END SOLUTION",
        grade_id="ex-9-1",
        solution=True,
    )
    check = cell("print(by_length(['bb', 'a']))", grade_id="check-9-1", grade=True)
    check.outputs, check.execution_count = [v4.new_output("stream", text=f"{secret}\n")], 2
    note = cell(
        f"They will ask. The answer: {secret}",
        "markdown",
        slideshow={"slide_type": "notes"},
        tags=["remove-cell"],
    )
    return v4.new_notebook(
        cells=[
            cell("# Nine\n\n![The step as a drawing](../figures/a/step.svg)", "markdown"),
            answer,
            check,
            note,
            cell(extra),
        ]
    )


@pytest.fixture
def source(tmp_path):
    """A course of one chapter with one figure."""
    (tmp_path / "course/notebooks").mkdir(parents=True)
    (tmp_path / "course/figures/a").mkdir(parents=True)
    (tmp_path / "course/figures/a/step.svg").write_text("<svg/>")
    (tmp_path / "course/figures/a/step.py").write_text("# draws it")
    nbformat.write(chapter(), tmp_path / "course/notebooks/09_nine.ipynb")
    return tmp_path / "course/notebooks"


def test_no_solution_and_no_output_is_left():
    edition = student_edition(chapter())
    text = json.dumps(edition)
    assert "sorted" not in text and "They will ask" not in text and "SOLUTION" not in text
    assert edition.cells[2].source == "print(by_length(['bb', 'a']))" and edition.cells[2].outputs == []
    assert edition.cells[2].metadata.nbgrader.grade_id == "check-9-1"
    assert edition.cells[2].metadata.editable is False and "editable" not in edition.cells[1].metadata
    assert "](figures/a/step.svg)" in edition.cells[0].source
    nbformat.validate(edition)


def test_an_unattempted_chapter_runs_to_its_end():
    edition = student_edition(chapter())
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(c.source for c in edition.cells if c.cell_type == "code")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stdout == "None\n"


def test_a_solution_outside_an_answer_cell_is_an_error():
    book = chapter()
    book.cells.append(cell("### BEGIN SOLUTION\nx = 1\n### END SOLUTION"))
    with pytest.raises(ValueError, match="outside an answer cell"):
        student_edition(book)


def test_written_once_and_the_same_bytes_again(source, tmp_path):
    mine = tmp_path / "mine"
    assert write_edition(source, mine) == []
    files = {p.relative_to(mine).as_posix(): p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    assert set(files) == {"README.md", "09_nine.ipynb", "figures/a/step.svg", ".course/written.json"}
    assert write_edition(source, mine) == []
    assert files == {p.relative_to(mine).as_posix(): p.read_bytes() for p in mine.rglob("*") if p.is_file()}
    assert len(files["README.md"].decode().split("\n- ")) == 6


def test_a_changed_file_stays_and_the_new_edition_goes_beside_it(source, tmp_path):
    mine = tmp_path / "mine"
    write_edition(source, mine)
    path, new = mine / "09_nine.ipynb", mine / "09_nine.new.ipynb"
    path.write_text(path.read_text().replace("...  # your code here", "return words"))
    work = path.read_bytes()
    assert write_edition(source, mine) == [] and not new.exists()       # no update, no notice
    nbformat.write(chapter(extra="2 + 2"), source / "09_nine.ipynb")
    [notice] = write_edition(source, mine)
    assert "09_nine.ipynb has your changes" in notice and "09_nine.new.ipynb" in notice
    assert path.read_bytes() == work and "2 + 2" in new.read_text()
    assert write_edition(source, mine) == []                            # said once
    new.write_text(new.read_text() + "\n")                              # the student goes on in the new one
    nbformat.write(chapter(extra="3 + 3"), source / "09_nine.ipynb")
    [notice] = write_edition(source, mine)
    assert "09_nine.new-2.ipynb" in notice and "2 + 2" in new.read_text() and path.read_bytes() == work
    assert "3 + 3" in (mine / "09_nine.new-2.ipynb").read_text()


def test_an_unchanged_file_is_refreshed_and_a_deleted_one_restored(source, tmp_path):
    mine = tmp_path / "mine"
    write_edition(source, mine)
    (mine / "README.md").unlink()
    nbformat.write(chapter(extra="2 + 2"), source / "09_nine.ipynb")
    assert write_edition(source, mine) == []
    assert "2 + 2" in (mine / "09_nine.ipynb").read_text() and (mine / "README.md").exists()
    assert not (mine / "09_nine.new.ipynb").exists()


@pytest.mark.parametrize("record", ["absent", "damaged"])
def test_without_its_record_nothing_is_taken_for_ours(source, tmp_path, record):
    mine = tmp_path / "mine"
    write_edition(source, mine)
    (mine / "09_nine.ipynb").write_text("mine")
    (mine / "09_nine.new.ipynb").write_text("mine as well")
    kept = mine / ".course/written.json"
    kept.unlink() if record == "absent" else kept.write_text("{")
    write_edition(source, mine)
    assert (mine / "09_nine.ipynb").read_text() == "mine" and (
        mine / "09_nine.new.ipynb"
    ).read_text() == "mine as well"
    assert "your code here" in (mine / "09_nine.new-2.ipynb").read_text()


def test_a_chapter_that_cannot_be_made_writes_nothing(source, tmp_path):
    book = chapter()
    book.cells[1].source = "def by_length(words):\n    return 1"
    nbformat.write(book, source / "08_eight.ipynb")
    done = CliRunner().invoke(
        cli, ["lab", "--write-only", "--notebooks", str(source), "--folder", str(tmp_path / "mine")]
    )
    assert done.exit_code == 2 and "08_eight.ipynb" in done.output and not (tmp_path / "mine").exists()


def test_the_command_writes_it_and_names_unknown_chapters(source, tmp_path):
    arguments = ["lab", "--write-only", "--notebooks", str(source), "--folder", str(tmp_path / "mine")]
    assert (
        CliRunner().invoke(cli, [*arguments, "9"]).exit_code == 0
        and (tmp_path / "mine/09_nine.ipynb").exists()
    )
    done = CliRunner().invoke(cli, [*arguments, "12"])
    assert done.exit_code == 2 and "09_nine" in done.output
