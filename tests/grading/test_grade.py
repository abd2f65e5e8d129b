"""`grade` from the outside: what it writes, what it refuses, and that no interruption changes a grade."""

import csv
import json
import os
import platform
import random
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from course_lib.cli import ROOT
from course_lib.cli import grade as command
from course_lib.cli.app import cli
from course_lib.cli.process import lock
from course_lib.grading.marking import Mark
from course_lib.grading.tasks import Graded, Unavailable
from tests.grading.classroom import NAME, assignment, class_of, code, handed_in, write, zipped

IDS = [one.id for one in assignment().exercises]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def points_for_everything(tasks, settings):
    """A runner without a sandbox: one point for each answer."""
    for task in tasks:
        for id in IDS:
            if id not in task.done:
                yield Graded(task.student, Mark(id, int(id in task.answers), 5, id in task.answers, review=("uses open",) * (id == "3.6")))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(command, "here", points_for_everything)


def grade(*arguments):
    return CliRunner().invoke(cli, ["grade", *map(str, arguments)], catch_exceptions=False)


@pytest.fixture
def batch(tmp_path):
    names = ("Ada L_1_assignsubmission_file_", "=cmd_2_assignsubmission_file_")
    (tmp_path / "batch.zip").write_bytes(zipped({f"{name}/{NAME}": handed_in() for name in names}))
    return tmp_path / "batch.zip"


def table(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_written(quick, batch, tmp_path):
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "assignment.json", "grades.csv", "moodle.csv", "feedback_moodle.zip", "review.csv", "class.html", "feedback", "grades.db",
        "grade.lock"}
    grades = table(tmp_path / "out" / "grades.csv")
    assert len(grades) == 12 and {row["student"] for row in grades} == {"Ada L (1)", "'=cmd (2)"}
    assert len(list((tmp_path / "out" / "feedback").iterdir())) == 2


def test_a_zip_of_the_pages_for_each_platform(quick, tmp_path):
    names = ("Ada L_1_assignsubmission_file_/a.ipynb", "mouse_LATE_7_55_b.ipynb", "Cy/c.ipynb")
    (tmp_path / "batch.zip").write_bytes(zipped(dict.fromkeys(names, handed_in())))
    assert grade(tmp_path / "batch.zip", "--assignment", "03", "--out", tmp_path / "out").exit_code == 0
    for site, name in (("moodle", "Ada L_1_assignfeedback_file_/feedback.html"), ("canvas", "mouse_LATE_7_55_feedback.html")):
        with zipfile.ZipFile(tmp_path / "out" / f"feedback_{site}.zip") as archive:
            assert archive.namelist() == [name]
            pages = {path.read_bytes() for path in (tmp_path / "out" / "feedback").iterdir()}
            assert archive.read(name) in pages and len(pages) == 3


def test_what_people_open_in_a_spreadsheet_says_its_encoding(quick, batch, tmp_path):
    grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    marked = {path.name for path in (tmp_path / "out").glob("*.csv") if path.read_bytes().startswith(b"\xef\xbb\xbf")}
    assert marked == {"grades.csv", "review.csv"}             # Moodle and Canvas find their first column without one


def test_points_by_hand_are_kept(quick, batch, tmp_path):
    out = tmp_path / "out"
    grade(batch, "--assignment", "03", "--out", out)
    (tmp_path / "hand.csv").write_text((out / "review.csv").read_text().replace(",,uses open,", ",2,uses open,fine"))
    assert grade(batch, "--assignment", "03", "--out", out, "--manual", tmp_path / "hand.csv").exit_code == 0
    assert grade(batch, "--assignment", "03", "--out", out, "--seed", "9").exit_code == 0            # graded anew
    mine = [row for row in table(out / "grades.csv") if row["exercise"] == "3.6"]
    assert [(row["points"], row["reason"]) for row in mine] == [("2", "by hand: fine")] * 2
    assert table(out / "review.csv") == []


def test_a_faulty_table_of_points_stops_before_grading(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "here", lambda *_: pytest.fail("graded"))
    (tmp_path / "hand.csv").write_text("student,exercise,points,comment\neve,3.1,1,\n")
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out", "--manual", tmp_path / "hand.csv")
    assert result.exit_code == 2 and "got student 'eve'" in result.output


def test_the_assignment_is_found_in_the_submissions_or_taken_from_release(quick, batch, tmp_path):
    result = grade(batch, "--out", tmp_path / "a")
    assert "assignment: 03_bahdanau_attention (found in the submissions)" in result.output and result.exit_code == 0
    assert grade(batch, "--out", tmp_path / "b", "--assignment", tmp_path / "a" / "assignment.json").exit_code == 0
    assert table(tmp_path / "a" / "grades.csv") == table(tmp_path / "b" / "grades.csv")
    assert grade(batch, "--out", tmp_path / "c", "--assignment", "03", "--assignment", "04").exit_code == 0
    assert len({row["exercise"] for row in table(tmp_path / "c" / "grades.csv")}) == 6      # the runner above knows chapter 03 only


@pytest.mark.parametrize("arguments, why", [
    (["--assignment", "77"], "there is no chapter '77'"), (["--assignment", "nothing.json"], "nothing.json"),
    (["--seed", "-1"], "-1"), (["--jobs", "0"], "0"),
])
def test_what_is_refused(batch, tmp_path, arguments, why):
    result = grade(batch, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2 and why in result.output


def test_nothing_to_grade(tmp_path):
    write(tmp_path / "ada.ipynb", {"cells": []})
    result = grade(tmp_path / "ada.ipynb", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "got no answer to any exercise" in result.output


def test_who_handed_in_nothing_that_can_be_graded_is_named(quick, tmp_path):
    files = {f"{name}_{number}_assignsubmission_file_/{file}": content for number, (name, file, content) in enumerate([
        ("Ada", NAME, handed_in()), ("Bob", NAME, b'{"cells": [{"cell_ty'), ("Cy", "essay.pdf", b"%PDF"),
        ("Di", NAME, {"cells": [code("1")]})])}
    (tmp_path / "batch.zip").write_bytes(zipped(files))
    result = grade(tmp_path / "batch.zip", "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "4 submissions, 6 exercises each, 0 not graded to the end" in result.output
    assert "to look at: 3 handed in nothing that can be graded: Bob (1), Cy (2), Di (3)\n" in result.output
    said = {(row["student"], row["points"], row["reason"]) for row in table(tmp_path / "out" / "grades.csv") if row["student"] != "Ada (0)"}
    assert said == {("Bob (1)", "0", f"nothing to grade: {NAME} is no notebook that can be read: is it the whole file?"),
                    ("Cy (2)", "0", "nothing to grade: essay.pdf is no notebook"),
                    ("Di (3)", "0", f"nothing to grade: no answer cell of this assignment in {NAME}")}
    page = (tmp_path / "out" / "class.html").read_text()
    assert all(page.count(reason) == 1 for _, _, reason in said)


def test_a_chapter_that_nobody_answers_is_refused_with_what_they_do_answer(quick, batch, tmp_path):
    result = grade(batch, "--assignment", "04", "--out", tmp_path / "out")
    said = " ".join(result.output.split())
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert f"got 04_self_attention, to which {batch} has no answer, expected 03_bahdanau_attention, to which it has" in said
    result = grade(batch, "--assignment", "04", "--assignment", "03", "--out", tmp_path / "out")       # one of two: said, not refused
    assert result.exit_code == 0 and "nobody answers 04_self_attention\n" in result.output
    write(tmp_path / "ada.ipynb", handed_in({}))                                                        # a stub is of this chapter, too
    result = grade(tmp_path / "ada.ipynb", "--assignment", "03", "--out", tmp_path / "stubs")
    assert result.exit_code == 0 and "nobody answers" not in result.output and "to look at" not in result.output
    (tmp_path / "bob.ipynb").write_bytes(b"{")                                                          # of no chapter at all
    result = grade(tmp_path / "bob.ipynb", "--assignment", "03", "--out", tmp_path / "none")
    assert result.exit_code == 0 and "1 submission, 6 exercises each" in result.output and "1 handed in nothing" in result.output


def test_what_is_handed_back_as_it_was_given_out_is_nobodys_misconception(tmp_path):
    """The whole way, with a sandbox: debug exercises come with a bug that the course planted."""
    write(tmp_path / "bo.ipynb", handed_in({}))
    result = grade(tmp_path / "bo.ipynb", "--assignment", "03", "--out", tmp_path / "out", "--unsandboxed")
    assert result.exit_code == 0
    assert {(row["points"], row["reason"]) for row in table(tmp_path / "out" / "grades.csv")} == {("0", "handed back as it was given out")}
    page = (tmp_path / "out" / "class.html").read_text()
    assert "Most frequent misconceptions" not in page and "to look at" in page
    (mine,) = (tmp_path / "out" / "feedback").iterdir()
    assert "<strong>6</strong><span>not attempted" in mine.read_text() and 'class="tag"' not in mine.read_text()


def test_no_python_is_shown_with_its_line(tmp_path):
    write(tmp_path / "hana.ipynb", handed_in({}, e32="def attend_all(queries, keys, values)\n    return values"))
    grade(tmp_path / "hana.ipynb", "--assignment", "03", "--out", tmp_path / "out", "--unsandboxed")
    (mine,) = (tmp_path / "out" / "feedback").iterdir()
    text = " ".join(mine.read_text().split())
    assert "def attend_all(queries, keys, values) return values</pre>" in text
    assert "line 1, " in text and "expected &#39;:&#39;" in text and "<strong>5</strong><span>not attempted" in text


def test_who_was_graded_into_the_same_folder_earlier_is_named(quick, batch, tmp_path):
    out = tmp_path / "out"
    assert "earlier" not in grade(batch, "--assignment", "03", "--out", out).output
    assert "earlier" not in grade(batch, "--assignment", "03", "--out", out).output
    (tmp_path / "late.zip").write_bytes(zipped({f"cy_7_8_{NAME}": handed_in(), **{f"x{i}_{i}_9_{NAME}": handed_in({}) for i in range(12)}}))
    result = grade(tmp_path / "late.zip", "--assignment", "03", "--out", out)
    assert "2 more students graded into this folder earlier: =cmd (2), Ada L (1)\n" in result.output
    assert {"moodle.csv", "canvas.csv"} < {path.name for path in out.iterdir()}
    result = grade(batch, "--assignment", "03", "--out", out)
    assert "13 more students graded into this folder earlier: cy (7), x0 (0)" in result.output and " and 1 more\n" in result.output


def test_a_table_of_a_platform_from_which_nobody_is_left_goes(quick, batch, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "canvas.csv").write_text("of another run")
    grade(batch, "--assignment", "03", "--out", out)
    assert not (out / "canvas.csv").exists() and (out / "moodle.csv").exists()


def test_a_refused_batch_leaves_no_folder(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"no zip")
    result = grade(tmp_path / "x.zip", "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "submissions: got" in result.output and "expected a zip that can be read" in result.output
    assert not (tmp_path / "out").exists()


def test_a_log_has_a_line_for_each_student(quick, batch, tmp_path):
    lines = grade(batch, "--assignment", "03", "--out", tmp_path / "out").output.splitlines()
    assert [line for line in lines if " of 2: " in line] == ["1 of 2: =cmd (2)", "2 of 2: Ada L (1)"]
    assert " of 2: " not in grade(batch, "--assignment", "03", "--out", tmp_path / "out").output      # nothing to do
    with sqlite3.connect(tmp_path / "out" / "grades.db") as store:
        store.execute("DELETE FROM mark WHERE student = 'Ada L (1)' AND exercise = '3.5'")
    assert "\n2 of 2: Ada L (1)\n" in "\n" + grade(batch, "--assignment", "03", "--out", tmp_path / "out").output   # gone on with


def test_a_second_grader_on_the_same_results_waits_its_turn(quick, batch, tmp_path):
    (tmp_path / "out").mkdir()
    with lock(tmp_path / "out" / "grade.lock", wait=False):
        result = grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "another grade is writing" in result.output


def test_without_a_sandbox_it_says_what_to_do(batch, tmp_path, monkeypatch, capsys):
    def none(tasks, settings):
        raise Unavailable("no bubblewrap; ask for --unsandboxed")
        yield
    monkeypatch.setattr(command, "here", none)
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 2 and "--unsandboxed" in result.output + capsys.readouterr().err


def test_without_a_sandbox_by_name_it_says_what_is_not_protected(quick, batch, tmp_path, capfd):
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out", "--unsandboxed")
    assert result.exit_code == 0 and "an answer can read and write every file" in result.output + capfd.readouterr().err
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    assert "every file" not in result.output + capfd.readouterr().err


def test_who_was_not_graded_to_the_end_is_named(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "here", lambda tasks, settings: iter([Graded(tasks[0].student, fault="boom")]))
    result = grade(batch, "--assignment", "03", "--out", tmp_path / "out")
    assert result.exit_code == 1 and "✗ =cmd (2): boom" in result.output
    assert "Not graded to the end" in (tmp_path / "out" / "class.html").read_text()


def test_stopped_by_the_keyboard(batch, tmp_path, monkeypatch, capsys):
    def stopped(tasks, settings):
        yield from list(points_for_everything(tasks, settings))[:4]
        raise KeyboardInterrupt
    monkeypatch.setattr(command, "here", stopped)
    assert grade(batch, "--assignment", "03", "--out", tmp_path / "out", "--seed", "1").exit_code == 130
    monkeypatch.setattr(command, "here", points_for_everything)
    assert grade(batch, "--assignment", "03", "--out", tmp_path / "out").exit_code == 0
    with sqlite3.connect(tmp_path / "out" / "grades.db") as store:
        assert store.execute("SELECT count(*) FROM mark").fetchone()[0] == 12


# --- killed in the middle, and on Dask: the same grades

def start(zip, out, *arguments):
    command = [sys.executable, "-m", "course_lib", "grade", zip, "--assignment", "03", "--seed", "5", "--out", out, *arguments]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finished(process):
    output = process.communicate(timeout=1800)[0]
    assert process.returncode == 0, output
    return output


def marks(out):
    path = out / "grades.db"
    if not path.exists():
        return []
    with sqlite3.connect(path) as store:
        try:
            return store.execute("SELECT student, exercise, points, misconception FROM mark").fetchall()
        except sqlite3.OperationalError:                 # not made yet
            return []


TABLE = Path(__file__).with_name("class_of_300.md")  # what the last long runs showed; committed
HEAD = f"""# A class of 300, one in twenty of them hostile

Written by `python3 -m course_lib test --long tests/grading/test_grade.py -k 300`. In every run each mark is the same as undisturbed.

| run | marks | points | minutes | on | machine |
|{"---|" * 6}
"""


def record(run, count, expected, began):
    """Put a run of 300 into the table, in place of the last one of its kind."""
    if count == 300:
        rows = {line.split(" | ")[0][2:]: line for line in TABLE.read_text().splitlines()[6:]} if TABLE.exists() else {}
        machine = (f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, "
                   f"{platform.system()}, Python {platform.python_version()}")
        rows[run] = (f"| {run} | {len(expected)} | {sum(points for _, _, points, _ in expected)} | {(time.monotonic() - began) / 60:.1f} | "
                     f"{time.strftime('%Y-%m-%d')} | {machine} |")
        TABLE.write_text(HEAD + "".join(f"{row}\n" for row in rows.values()))


SIZES = [pytest.param(4, 1, id="4"), pytest.param(300, 10, id="300", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """count → (the zip of a class, its marks as one process gives them)."""
    done = {}

    def of(count):
        if count not in done:
            folder = tmp_path_factory.mktemp(f"class{count}")
            (folder / "class.zip").write_bytes(class_of(count))
            began = time.monotonic()
            finished(start(folder / "class.zip", folder / "out"))
            done[count] = folder / "class.zip", sorted(marks(folder / "out"))
            assert len(done[count][1]) == 6 * count
            record("one process, undisturbed", count, done[count][1], began)
        return done[count]

    return of


@pytest.mark.parametrize("count, kills", SIZES)
def test_killed_at_random_moments_the_grades_are_the_same(undisturbed, tmp_path, count, kills):
    zip, expected = undisturbed(count)
    rng, began = random.Random(count), time.monotonic()
    for kill in range(1, kills + 1):
        process = start(zip, tmp_path, "--jobs", "2")
        due = kill * len(expected) // (kills + 1)
        while len(marks(tmp_path)) < due and process.poll() is None:
            time.sleep(0.05)
        time.sleep(rng.random() * 0.3)
        family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert psutil.wait_procs(family, timeout=60)[1] == []       # nothing is left running
    finished(start(zip, tmp_path, "--jobs", "2"))
    found = marks(tmp_path)
    assert sorted(found) == expected                                 # the same, and nothing was marked twice
    record(f"two processes, killed {kills} times and started again", count, expected, began)


@pytest.mark.parametrize("count, kills", SIZES)
def test_dask_gives_the_same_grades_and_a_killed_worker_loses_nothing(undisturbed, tmp_path, count, kills):
    zip, expected = undisturbed(count)
    file, processes, began = tmp_path / "scheduler.json", [], time.monotonic()

    def run(*arguments):
        processes.append(subprocess.Popen([sys.executable, "-m", *arguments], env=ENVIRONMENT, cwd=tmp_path,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return processes[-1]

    try:
        run("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        while not file.exists():
            time.sleep(0.1)
        worker = ("distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard",
                  "--host", "127.0.0.1")
        first, _second = run(*worker), run(*worker)
        grader = start(zip, tmp_path / "out", "--scheduler", json.loads(file.read_text())["address"])
        while len(marks(tmp_path / "out")) < len(expected) // 3 and grader.poll() is None:
            time.sleep(0.05)
        first.kill()
        finished(grader)
        assert sorted(marks(tmp_path / "out")) == expected
        record("Dask, two workers on loopback, one of them killed", count, expected, began)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()
