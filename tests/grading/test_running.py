"""Runs: stored at once, resumed, repeated only where something changed; processes that die cost nobody a mark."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from course_lib.grading import cluster, running
from course_lib.grading.marking import Mark
from course_lib.grading.running import grade, here, jobs
from course_lib.grading.store import Store
from course_lib.grading.submissions import EMPTY, NOT_THERE, NOTHING, UNCHANGED, Submission
from course_lib.grading.tasks import Graded, Settings, Task, Unavailable
from tests.grading.classroom import assignment, references

IDS = [one.id for one in assignment().exercises]
SETTINGS = Settings(assignment(), 5)


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "grades.db", assignment(), 5)
    yield made
    made.close()


def sub(student, missing=(), **answers):
    own = {id: answers.get(f"e{id.replace('.', '')}", "x") for id in IDS if id not in missing}
    return Submission(student, "x", own, (), dict.fromkeys(missing, "the cell is gone"))


class Marking:
    """A runner that gives every answer one point and remembers what it was asked; may fail after some marks."""

    def __init__(self, until=10**9):
        self.until, self.asked = until, []

    def __call__(self, tasks, settings):
        for task in tasks:
            for id in IDS:
                if id not in task.done:
                    if len(self.asked) == self.until:
                        raise KeyboardInterrupt
                    self.asked.append((task.student, id))
                    yield Graded(task.student, Mark(id, 1, 9, True, reason="" if id in task.answers else "no answer was handed in"))


def test_what_is_done_is_not_done_again(store):
    people = [sub("ada"), sub("bob")]
    first, second = Marking(until=8), Marking()
    with pytest.raises(KeyboardInterrupt):
        grade(people, store, SETTINGS, first)
    assert len(store.rows()) == 8                                       # the last one before the interruption, too
    began = []
    assert grade(people, store, SETTINGS, second, began=began.append) == []
    assert began == [8] and first.asked + second.asked == [(name, id) for name in ("ada", "bob") for id in IDS]
    assert grade(people, store, SETTINGS, lambda *_: pytest.fail("all is done")) == []


@pytest.mark.parametrize("change, again", [
    (lambda: ([sub("ada", e31="y"), sub("bob")], SETTINGS), [("ada", "3.1")]),
    (lambda: ([sub("ada"), sub("bob")], Settings(assignment(), 6)), [(name, id) for name in ("ada", "bob") for id in IDS]),
    (lambda: ([sub("ada"), sub("bob", missing=["3.4"])], SETTINGS), [("bob", "3.4")]),
    (lambda: ([sub("ada"), sub("bob"), sub("cy")], SETTINGS), [("cy", id) for id in IDS]),
])
def test_only_what_changed_is_graded_anew(store, change, again):
    grade([sub("ada"), sub("bob")], store, SETTINGS, Marking())
    runner = Marking()
    people, settings = change()
    grade(people, store, settings, runner)
    assert runner.asked == again


def test_a_fix_of_the_course_grades_everything_anew_and_keeps_history(store, monkeypatch):
    grade([sub("ada")], store, SETTINGS, Marking())
    monkeypatch.setattr(running, "course_version", lambda library: "fixed")
    runner = Marking()
    grade([sub("ada")], store, SETTINGS, runner)
    assert len(runner.asked) == 6 and len(store.history("ada", "3.1")) == 2


def test_why_an_answer_is_missing_is_told(store):
    """What cannot be read was attempted, what is not there was not."""
    grade([sub("ada", missing=["3.4"]), Submission("bob", "x", {}, (), dict.fromkeys(IDS, NOT_THERE))], store, SETTINGS, Marking())
    rows = {(row.student, row.exercise): row for row in store.rows()}
    assert (rows["ada", "3.4"].reason, rows["ada", "3.4"].attempted) == ("the cell is gone", True)
    assert {(row.reason, row.attempted) for row in rows.values() if row.student == "bob"} == {(NOT_THERE, False)}
    assert {row.reason for row in rows.values() if row.student == "ada"} == {"", "the cell is gone"}


@pytest.mark.parametrize("why, attempted", [
    (UNCHANGED, False), (EMPTY, False), (f"{NOTHING}: x", False), ("the cell is not valid Python", True),
])
def test_what_is_not_to_be_judged_is_not_run(store, why, attempted):
    def run(tasks, settings):
        assert "3.2" not in tasks[0].answers and len(tasks[0].answers) == 5
        yield Graded("ada", Mark("3.2", 0, 3, True, reason="no answer was handed in"))
    grade([Submission("ada", "x", dict.fromkeys(IDS, "x"), (), {"3.2": why})], store, SETTINGS, run)
    (row,) = store.rows()
    assert (row.points, row.reason, row.attempted, row.misconception) == (0, why, attempted, "")
    assert store.submissions()[0].answers["3.2"] == "x"                 # shown all the same
    runner = Marking()                                                  # the same source, now to be judged: the stub has changed
    grade([Submission("ada", "x", dict.fromkeys(IDS, "x"))], store, SETTINGS, runner)
    assert ("ada", "3.2") in runner.asked


def test_a_grading_process_whose_starter_is_gone_ends_without_a_word():
    with subprocess.Popen([sys.executable, "-m", running.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env={**os.environ, "PYTHONPATH": str(running.LIBRARY.parent)}) as process:
        process.stdout.close()
        task = Task("ada", dict.fromkeys(IDS, "def f(:"))
        said = process.communicate(f"{Settings(assignment(), 5, True).as_json()}\n{task.as_json()}\n", timeout=120)[1]
    assert (process.returncode, said) == (0, "")


def test_lines_of_json_there_and_back():
    mark = Mark("3.1", 1, 5, True, "m\n\u2028", "c", "r", ("a", "b"), 0.5, (("t", 1, 2),))
    for one in (Graded("ä\n", mark), Graded("x", fault="y")):
        assert "\n" not in one.as_json() and Graded.from_json(one.as_json()) == one
    task = Task("ä", {"3.1": "x\n"}, ("3.2",))
    assert Task.from_json(task.as_json()) == task and Settings.from_json(SETTINGS.as_json()) == SETTINGS


# --- processes

@pytest.fixture
def fake(monkeypatch):
    """Jobs that speak the protocol and have no sandbox."""
    monkeypatch.setattr(running, "MODULE", "tests.grading.fakejob")
    monkeypatch.setattr(running, "sandbox", lambda settings: SimpleNamespace(close=lambda: None))


def graded(people, count=3):
    return [(one.student, one.mark and one.mark.id, one.fault)
            for one in jobs(count)([Task(p.student, dict(p.answers)) for p in people], SETTINGS)]


def expected(*students, but=()):
    return sorted((name, id, "") for name in students for id in IDS if (name, id) not in but)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_processes_share_the_work(fake, count):
    people = [sub(f"s{n}") for n in range(8)]
    assert sorted(graded(people, count)) == expected(*(f"s{n}" for n in range(8)))


def test_marks_keep_their_parts(fake):
    found = next(iter(jobs(1)([Task("ada", {"3.1": "x"})], SETTINGS)))
    assert found.mark == Mark("3.1", 1, 9, True, review=("r",), properties=(("p", 1, 9),))


def test_a_process_that_dies_once_is_replaced_and_repeats_nothing(fake, tmp_path):
    people = [sub("ada", e36=f"die once {tmp_path / 'flag'}"), sub("bob")]
    assert sorted(graded(people, 1)) == expected("ada", "bob")


@pytest.mark.parametrize("how", ["die", "junk"])
def test_a_process_that_always_dies_costs_only_the_rest_of_that_submission(fake, how):
    place = IDS.index("3.6")
    found = graded([sub("ada", e36=how), sub("bob"), sub("cy")], 1)
    assert ("ada", None, "the grading process died twice on it") in found
    assert sorted(f for f in found if f[1]) == expected("ada", "bob", "cy", but=[("ada", id) for id in IDS[place:]])


def test_a_process_that_does_not_even_start_ends_the_run_with_faults(fake, monkeypatch):
    monkeypatch.setattr(running, "MODULE", "tests.grading.there_is_no_such_module")
    people = [sub(f"s{n}", e31="x" * 200_000) for n in range(3)]       # more than a pipe holds
    assert sorted(graded(people, 2)) == [(f"s{n}", None, "the grading process died twice on it") for n in range(3)]


def test_a_fault_of_ours_is_told_and_the_others_are_graded(fake, store):
    people = [sub("faulty"), sub("bob")]
    faults = grade(people, store, SETTINGS, jobs(2))
    assert [(one.student, one.fault) for one in faults] == [("faulty", "no worker")] and len(store.rows()) == 12


def test_stopping_in_the_middle_leaves_no_process(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("HANGING", str(tmp_path / "pid"))
    run = jobs(2)([Task("ada", {"3.1": "x", "3.2": "hang"}), Task("bob", {"3.1": "x", "3.2": "hang"})], SETTINGS)
    next(run), next(run)
    while not (tmp_path / "pid").exists():
        time.sleep(0.01)
    jobs_of_ours = [child for child in psutil.Process().children() if "tests.grading.fakejob" in child.cmdline()]
    assert len(jobs_of_ours) == 2
    run.close()
    assert not any(child.is_running() for child in jobs_of_ours)


def test_without_a_sandbox_nothing_is_graded_and_the_way_out_is_told(monkeypatch, store):
    monkeypatch.setattr("course_lib.grading.sandbox.shutil.which", lambda name: None)
    for runner in (here, jobs(2)):
        with pytest.raises(Unavailable, match=r"bubblewrap.*--unsandboxed"):
            grade([sub("ada")], store, SETTINGS, runner)
    assert store.rows() == []


# --- in the real sandbox

def test_here_marks_in_the_sandbox(store):
    """The reference has all points, a wrong one its message, and a missing one its reason."""
    wrong = "def attend_all(queries, keys, values):\n    return (queries @ keys.mT).softmax(dim=1) @ values"
    own = {id: text for id, text in references().items() if id in ("3.1", "3.2", "3.3", "3.6")}
    people = [Submission("ada", "x", own), Submission("bob", "x", {**own, "3.2": wrong, "3.6": "import os\nos._exit(0)"},
                                                       (), {"3.1": "the cell is gone"})]
    assert grade(people, store, SETTINGS, here) == []
    rows = {(row.student, row.exercise): row for row in store.rows()}
    assert [rows["ada", id].points for id in ("3.1", "3.2", "3.3", "3.6", "3.4")] == [5, 3, 5, 2, 0]
    assert rows["bob", "3.2"].points < 3 and rows["bob", "3.2"].misconception == "softmax over the queries"
    assert rows["bob", "3.6"].points == 0 and rows["bob", "3.6"].reason and rows["bob", "3.3"].points == 5
    assert rows["bob", "3.1"].reason == "the cell is gone" and rows["ada", "3.4"].attempted is False


# --- Dask

def test_without_dask_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(cluster.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    with pytest.raises(Unavailable, match="pip install distributed"):
        cluster.dask("tcp://127.0.0.1:1")


def test_a_node_with_another_course_refuses():
    with pytest.raises(Unavailable, match="is another version"):
        cluster.on_node(SETTINGS.as_json(), Task("ada", {}).as_json(), "other")


def test_a_job_ends_with_the_process_that_started_it():
    """Killed, that process says nothing; the job's input ends, and so does the job."""
    process = running._started(SETTINGS)
    process.stdin.close()
    assert process.wait(120) == 0
