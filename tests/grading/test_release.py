"""`release`: nothing of the solutions, the same bytes each time, and nbgrader's own tools accept it."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbformat import v4

from course_lib.cli import ROOT
from course_lib.cli.app import cli
from course_lib.cli.student import BEGIN
from course_lib.grading.assignment import Assignment, of_notebooks
from course_lib.grading.handback import DATE
from tests.grading.classroom import CHAPTER, NAME, assignment, references


def release(out, *arguments):
    return CliRunner().invoke(cli, ["release", *map(str, arguments), "--out", str(out)], catch_exceptions=False)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("release")
    assert release(out, "03").exit_code == 0
    return out


def test_what_a_release_holds(released):
    assert set(contents(released)) == {"assignment.json", f"{CHAPTER.stem}/{NAME}", f"{CHAPTER.stem}/README.md",
                                       f"{CHAPTER.stem}/figures/additive_attention.svg"}
    assert Assignment.from_json((released / "assignment.json").read_text()) == assignment()


def test_no_solution_no_output_no_note_and_locked_checks(released):
    text = (released / CHAPTER.stem / NAME).read_text()
    assert BEGIN not in text and "END SOLUTION" not in text and '"slide_type": "notes"' not in text
    for source in references().values():
        inside = source.partition(BEGIN)[2].partition("### END SOLUTION")[0]
        for line in (line.strip() for line in inside.splitlines() if "### STUB" not in line):
            assert len(line) < 30 or json.dumps(line)[1:-1] not in text, line
    for cell in nbformat.reads(text, as_version=4).cells:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None
        if cell.metadata.get("nbgrader", {}).get("grade"):
            assert cell.metadata.editable is False and cell.metadata.deletable is False and cell.metadata.nbgrader.locked
    assert all(cell.get("outputs") == [] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")


def test_the_readme_has_points_and_what_to_hand_in(released):
    text = (released / CHAPTER.stem / "README.md").read_text()
    assert "**21 points.**" in text and f"The notebook `{NAME}`" in text
    for one in assignment().exercises:
        assert f"| {one.id} | " in text and f" | {one.points} |" in text


def test_the_same_bytes_again_and_in_another_process(released, tmp_path):
    """Another hash seed, another folder, another moment, a notebook that was executed again."""
    source = tmp_path / "notebooks"
    source.mkdir()
    book = nbformat.read(CHAPTER, as_version=4)
    for number, cell in enumerate(book.cells):
        if cell.cell_type == "code":
            cell.execution_count, cell.metadata["execution"] = number, {"iopub.status.busy": "2026"}
    book.metadata["widgets"] = {"x": {}}
    nbformat.write(book, source / NAME)
    (tmp_path / "figures").symlink_to(ROOT / "figures")
    subprocess.run([sys.executable, "-m", "course_lib", "release", "--out", tmp_path / "out", "--notebooks", source], check=True,
                   env={**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"}, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / "out") == contents(released)


def test_every_chapter_can_be_released(tmp_path):
    result = release(tmp_path)
    made = Assignment.from_json((tmp_path / "assignment.json").read_text())
    chapters = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert list(made.chapters) == chapters and len(result.output.splitlines()) == len(chapters)
    assert all((tmp_path / name / f"{name}.ipynb").is_file() for name in chapters)
    assert {one.id for one in made.exercises} >= {"2.1", "9.7"} and all(one.stub for one in made.exercises)


def graded(id, **more):
    return {"nbgrader": {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False, "grade_id": id, **more}}


def chapter(*cells):
    """A small instructor's notebook: 3.2 and 3.6 with their reference answers."""
    found = [v4.new_markdown_cell("# 91 · Small", id="t"), v4.new_code_cell("import torch\nfrom course_lib.exercises import check", id="i")]
    for id in ("3.2", "3.6"):
        dashed = id.replace(".", "-")
        one = next(one for one in assignment().exercises if one.id == id)
        found.append(v4.new_code_cell(references()[id], id=f"a{dashed}", metadata=graded(one.grade_id, solution=True)))
        found.append(v4.new_code_cell(f'check("{id}", {one.name})', id=f"c{dashed}",
                                      metadata=graded(one.check_id, grade=True, locked=True, points=one.points)))
    return v4.new_notebook(cells=[*found, *cells])


@pytest.fixture(scope="module")
def course(tmp_path_factory, released):
    """course.zip of chapter 03, unpacked."""
    out = tmp_path_factory.mktemp("course")
    for name in "ab":
        result = release(out / name, "03", "--course")
        assert result.exit_code == 0 and str(out / name / "course.zip") in result.output
    assert (out / "a" / "course.zip").read_bytes() == (out / "b" / "course.zip").read_bytes()
    assert {name: content for name, content in contents(out / "a").items() if name != "course.zip"} == contents(released)
    with zipfile.ZipFile(out / "a" / "course.zip") as archive:
        assert {info.date_time for info in archive.infolist()} == {DATE} and archive.testzip() is None
        archive.extractall(out / "unpacked")
    return out / "unpacked"


def test_a_student_starts_from_the_course_without_solutions(course, released):
    """Unpacked and started as its README says; what `lab` then writes is what was released, and its checks answer."""
    assert [path.name for path in (course / "notebooks").iterdir()] == [NAME] and not list(course.rglob("__pycache__"))
    assert BEGIN not in (course / "notebooks" / NAME).read_text() and not (course / "tests").exists()
    variables = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*arguments):
        done = subprocess.run([sys.executable, *arguments], cwd=course, env=variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert str(course) in run("-m", "course_lib", "lab", "03", "--write-only")
    assert (course / "my_course" / NAME).read_bytes() == (released / CHAPTER.stem / NAME).read_bytes()
    assert (course / "my_course" / "figures" / "additive_attention.svg").is_file()
    check = "from course_lib.exercises import check\nimport course_lib\nprint(course_lib.__file__)\ncheck('3.2', attend_all)"
    one = next(one for one in assignment().exercises if one.id == "3.2")
    assert "0 of 3" in run("-c", f"{one.stub}\n{check}")
    said = run("-c", f"{references()['3.2']}\n{check}")
    assert said.startswith(str(course)) and "3 of 3" in said


@pytest.mark.parametrize("change, why", [
    (lambda cells: cells.pop(2), "check-3-2 has no answer cell before it"),
    (lambda cells: cells[3].metadata.nbgrader.update(points=9), "has 9 points, expected 3"),
    (lambda cells: cells[3].update(source="check('3.2', wrong)"), "does not define wrong"),
    (lambda cells: cells[3].update(source="test()"), "is no call of the form check"),
    (lambda cells: cells[3].update(source='check("99.9", attend_all)'), "id: got '99.9'"),
    (lambda cells: cells.extend([cells[2], cells[3]]), "3.2 is asked twice"),
])
def test_a_notebook_that_cannot_be_graded_is_not_released(tmp_path, change, why):
    (tmp_path / "notebooks").mkdir()
    book = chapter()
    change(book.cells)
    nbformat.write(book, tmp_path / "notebooks" / "91_small.ipynb")
    result = release(tmp_path / "out", "--notebooks", tmp_path / "notebooks")
    assert result.exit_code == 2 and why in " ".join(result.output.split()) and not (tmp_path / "out").exists()


def test_a_chapter_without_exercises_is_no_assignment(tmp_path):
    (tmp_path / "notebooks").mkdir()
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1")]), tmp_path / "notebooks" / "91_small.ipynb")
    result = release(tmp_path / "out", "--notebooks", tmp_path / "notebooks")
    assert result.exit_code == 2 and "no exercise in it" in result.output


def test_what_a_prelude_holds():
    """The imports of torch above, and what the reference needs; no other import of the course, no training."""
    everything = of_notebooks(sorted((ROOT / "notebooks").glob("*.ipynb")))
    assert everything.prelude["3.1"] == "import torch"
    assert "from course_lib.models.transformer import TransformerConfig" in everything.prelude["5.7"]
    for id, text in everything.prelude.items():
        assert "course_lib.exercises" not in text and "fit(" not in text, id
        space = {}
        exec(text, space)


@pytest.mark.slow
def test_nbgrader_validates_and_autogrades_a_release(tmp_path):
    """Its own flow: source → database; our release → students; autograde → points in its gradebook."""
    source = tmp_path / "source" / "91_small"
    source.mkdir(parents=True)
    nbformat.write(chapter(), source / "91_small.ipynb")
    assert release(tmp_path / "release", "--notebooks", source).exit_code == 0
    ours = tmp_path / "release" / "91_small" / "91_small.ipynb"
    for name, id in (("ada", "3.2"), ("bob", None)):
        book = nbformat.read(ours, as_version=4)
        for cell in book.cells:
            if id and cell.metadata.get("nbgrader", {}).get("grade_id") == "answer-3-2":
                cell.source = references()[id]
        path = tmp_path / "submitted" / name / "91_small" / "91_small.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(book, path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it calls alembic by name
    variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
                 "JUPYTER_DATA_DIR": str(tmp_path / "data"), "IPYTHONDIR": str(tmp_path / "ipython")}

    def nbgrader(*arguments):
        done = subprocess.run([sys.executable, "-m", "nbgrader", *map(str, arguments)], cwd=tmp_path, env=variables, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert "Success! Your notebook passes all the tests." in nbgrader("validate", ours)
    (tmp_path / "release" / "91_small").rename(tmp_path / "ours")          # nbgrader writes its own release to fill its gradebook
    nbgrader("generate_assignment", "91_small")
    nbgrader("autograde", "91_small")
    nbgrader("export")
    table = list(csv.DictReader((tmp_path / "grades.csv").open()))
    assert {row["student_id"]: (row["score"], row["max_score"]) for row in table} == {"ada": ("3.0", "5.0"), "bob": ("0.0", "5.0")}
