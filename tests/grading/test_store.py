"""The store and the tables: nothing is lost, nothing is done twice, and no spreadsheet runs a student's name."""

import csv
import io
import itertools
import sqlite3
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading import tables
from course_lib.grading.assignment import Assignment
from course_lib.grading.manual import read_manual
from course_lib.grading.store import Store, course_version, keys_of
from course_lib.grading.submissions import Submission
from tests.grading.classroom import assignment, references

IDS = [one.id for one in assignment().exercises]


def mark(id, points=1, **more):
    maximum = next(one.points for one in assignment().exercises if one.id == id)
    return SimpleNamespace(**{"id": id, "points": points, "maximum": maximum, "attempted": True, "message": "", "misconception": "",
                              "reason": "", "review": (), "seconds": 0.1, "properties": (("a", points, maximum),), **more})


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "grades.db", assignment())
    yield made
    made.close()


def sub(student="ada", **more):
    return Submission(student, "x.ipynb", references(), **more)


def test_marks_come_back_in_the_assignments_order(store):
    for id in reversed(IDS):
        store.add("bob", mark(id), "k")
        store.add("Ada", mark(id, review=("uses x",), message="m\nn", misconception="c", reason="r"), "k")
    rows = store.rows()
    assert [row.student for row in rows] == ["Ada"] * 6 + ["bob"] * 6 and [row.exercise for row in rows[:6]] == IDS
    first = rows[0]
    assert (first.review, first.message, first.misconception, first.reason) == (("uses x",), "m\nn", "c", "r")
    assert first.properties == (("a", 1, 5),) and first.attempted is True


def test_students_stand_in_alphabetical_order_whatever_their_accents(store):
    order = ["Ana", "Çağla", "çağla", "Dora", "Émile", "Emilia", "Jan", "Öz", "Zoë"]
    for name in reversed(order):
        store.enrol(sub(name))
        store.add(name, mark("3.1"), "k")
    assert [one.student for one in store.submissions()] == order == [row.student for row in store.rows()]


def test_regrading_keeps_history_and_the_latest_counts(store):
    for points in (1, 3, 2):
        store.add("ada", mark("3.1", points), f"key {points}")
    assert [points for _, points in store.history("ada", "3.1")] == [1, 3, 2]
    assert [row.points for row in store.rows()] == [2]
    assert store.done("ada", {"3.1": "key 2"}) == {"3.1"}
    assert store.done("ada", {"3.1": "key 3"}) == frozenset()          # an old mark under the same key is not the latest
    assert store.done("bob", {"3.1": "key 2"}) == frozenset()


def test_manual_points_outlive_regrading_and_can_be_taken_back(store):
    store.add("ada", mark("3.1", 1), "a")
    assert store.set_manual([("ada", "3.1", 4.5, "well argued")]) == 1
    assert store.set_manual([("ada", "3.1", 4.5, "well argued")]) == 0  # nothing new
    store.add("ada", mark("3.1", 2), "b")
    (row,) = store.rows()
    assert (row.points, row.automatic, row.comment) == (4.5, 2, "well argued")
    store.set_manual([("ada", "3.1", None, "only a comment")])
    assert (store.rows()[0].points, store.rows()[0].comment) == (2, "only a comment")


def test_zero_points_by_hand_are_points(store):
    store.add("ada", mark("3.1", 5), "a")
    store.set_manual([("ada", "3.1", 0.0, "")])
    assert store.rows()[0].points == 0


def test_the_seed_is_drawn_once_and_secret(tmp_path):
    seeds = set()
    for name in ("a", "a", "b"):
        store = Store(tmp_path / f"{name}.db", assignment())
        seeds.add(store.seed)
        store.close()
    assert len(seeds) == 2 and min(seeds) > 2**40
    store = Store(tmp_path / "a.db", assignment(), seed=7)
    assert store.seed == 7
    store.close()
    assert Store(tmp_path / "a.db", assignment()).seed == 7


def test_another_assignments_results_are_not_touched(tmp_path):
    Store(tmp_path / "a.db", assignment()).close()
    with pytest.raises(ValueError, match="holds results of 03_bahdanau_attention, expected those of other"):
        Store(tmp_path / "a.db", Assignment("other", (), (), {}))
    (tmp_path / "b.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ValueError, match="expected a results file of ours"):
        Store(tmp_path / "b.db", assignment())


def test_every_mark_is_on_disk_when_it_is_told(store, tmp_path):
    """Another connection, as after a kill, sees each mark without the first being closed."""
    for count, id in enumerate(IDS, 1):
        store.add("ada", mark(id), "k")
        with sqlite3.connect(tmp_path / "grades.db") as other:
            assert other.execute("SELECT count(*) FROM mark").fetchone()[0] == count
    assert store.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_half_a_surrogate_pair_and_a_null_character(store):
    store.add("ada", mark("3.1", message="a\ud800\0b", reason="\udfff", review=("\ud800",)), "k")
    assert store.rows()[0].message == "a?\0b"
    assert "\0" not in tables.grades(store.rows())


def test_manual_entries_are_all_or_none(store):
    with pytest.raises(sqlite3.Error):
        store.set_manual([("ada", "3.1", 1.0, ""), ("ada", "3.2", object(), "")])
    assert store.connection.execute("SELECT count(*) FROM manual").fetchone()[0] == 0


def test_what_a_mark_depends_on():
    base = dict(submission=sub(), assignment=assignment(), seed=1, course="v")
    changed = {
        "seed": {"seed": 2}, "course": {"course": "w"},
        "answer": {"submission": Submission("ada", "x", {**references(), "3.1": "pass"})},
        "missing": {"submission": Submission("ada", "x", {id: t for id, t in references().items() if id != "3.1"}, (), {"3.1": "gone"})},
    }
    before = keys_of(**base)
    for name, change in changed.items():
        after = keys_of(**{**base, **change})
        assert after["3.1"] != before["3.1"], name
        assert (after["3.2"] == before["3.2"]) == (name in ("answer", "missing")), name
    assert keys_of(**base) == before and len(set(before.values())) == 6


def test_the_courses_version_sees_judges_and_not_commands(tmp_path):
    (tmp_path / "exercises").mkdir()
    (tmp_path / "cli").mkdir()
    versions = []
    for name in ("exercises/a.py", "exercises/a.py", "cli/b.py", "metrics.py"):
        (tmp_path / name).write_text(str(len(versions)))
        versions.append(course_version(tmp_path))
    assert versions[0] != versions[1] == versions[2] != versions[3]


# --- tables

EVIL = ["=cmd|'/c calc'!A1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", " =1", "'=1", "＝1", "|x", "%0", "\u00a0=1"]


@pytest.mark.parametrize("text", EVIL)
def test_formulas_are_defused(text):
    assert tables.defused(text).startswith("'") and tables.defused(text)[1:] == text


@pytest.mark.parametrize("text", ["Ada", "O'Neill", "3.1", "", "a=b", "x-1"])
def test_ordinary_text_stays(text):
    assert tables.defused(text) == text


@given(st.lists(st.text(max_size=12), min_size=2, max_size=2, unique_by=tables.defused))
def test_defused_names_are_told_apart(names):
    assert tables.defused(names[0]) != tables.defused(names[1])


def table_of(text):
    return list(csv.reader(io.StringIO(text)))


def test_grades_and_the_columns_of_the_platforms(store):
    people = [sub("=Ada (1)", name="=Ada", number="1", platform="moodle"), sub("bob (2)", name="bob", number="2", platform="canvas"),
              sub("cy")]
    for one, (number, id) in itertools.product(people, enumerate(IDS)):
        store.add(one.student, mark(id, number % 2, reason="line\nbreak" if number == 0 else ""), "k")
    store.set_manual([("cy", "3.1", 2.5, "=HYPERLINK(1)")])
    rows = store.rows()
    grades = table_of(tables.grades(rows))
    assert grades[0] == ["student", "exercise", "points", "maximum", "reason"] and len(grades) == 19
    assert grades[1] == ["'=Ada (1)", "3.3", "0", "5", "line break"]
    assert ["cy", "3.1", "2.5", "5", "by hand: =HYPERLINK(1)"] in grades
    moodle = table_of(tables.moodle(rows, people, assignment()))
    assert moodle[1][:5] == ["Participant 1", "'=Ada", "3", "21", "-"] and len(moodle) == 2
    canvas = table_of(tables.canvas(rows, people, assignment()))
    assert canvas[0] == ["Student", "ID", "Section", assignment().name] and canvas[1][0] == "    Points Possible"
    assert canvas[2] == ["bob", "2", "", "3"] and len(canvas) == 3
    assert tables.moodle(rows, people[1:], assignment()) == "" == tables.canvas(rows, people[:1], assignment())


def test_moodle_finds_the_columns_without_which_it_takes_no_grades(store):
    """Moodle's mod/assign/feedback/offline/importgradeslib.php, init(): recordid, grade and lastmodifiedgrade as its English pack says."""
    one = sub("Ada (17)", name="Ada", number="17", platform="moodle")
    for id in IDS:
        store.add(one.student, mark(id), "k")
    (row,) = csv.DictReader(io.StringIO(tables.moodle(store.rows(), [one], assignment())))
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(row)
    assert row["Identifier"].removeprefix("Participant ") == "17"      # next() cuts the English word for a hidden user off
    assert float(row["Grade"]) == 6 and row["Last modified (grade)"] == "-"


def test_what_is_to_be_reviewed_comes_back_as_manual_points(store):
    for id in IDS:
        store.add("=ada", mark(id, review=("uses softmax", "imports os") if id == "3.1" else ()), "k")
    text = tables.to_review(store.rows())
    (entry,) = csv.DictReader(io.StringIO(text))
    assert entry == {"student": "'=ada", "exercise": "3.1 Additive attention", "points now": "1", "of": "5", "points": "", "comment": "",
                     "what was found": "uses softmax; imports os", "page": f"feedback/{tables.page_name('=ada')}"}
    assert tables.review_of(store.rows()) == {"=ada": ["3.1: uses softmax; imports os"]}
    entries = read_manual(text.replace(",1,5,,", ",1,5,2,").replace("os,,", "os,looked at,").encode(), ["=ada"], assignment())
    assert entries == [("=ada", "3.1", 2.0, "looked at")]
    assert read_manual(text.encode(), ["=ada"], assignment()) == []            # not filled in
    store.set_manual(entries)
    assert len(tables.to_review(store.rows()).splitlines()) == 1               # done
    assert tables.review_of(store.rows()) == {}


@pytest.mark.parametrize("word, comment", [("ok", ""), ("OK", "fine"), ("=", ""), ("'=", ""), ("", "fine")])
def test_looked_at_and_fine(store, word, comment):
    """Nobody has to type the points again; the points stay automatic and follow later marks."""
    store.add("ada", mark("3.1", 3, review=("uses open",)), "k")
    entries = read_manual(f"student,exercise,points,comment\nada,3.1,{word},{comment}\n".encode(), ["ada"], assignment())
    assert entries == [("ada", "3.1", None, comment)] and store.set_manual(entries) == 1 and store.set_manual(entries) == 0
    (row,) = store.rows()
    assert (row.points, row.manual, row.decided) == (3, None, True)
    assert len(tables.to_review([row]).splitlines()) == 1 and tables.review_of([row]) == {}
    assert tables.reason(row) == ("(comment: fine)" if comment else "")        # no point of it is by hand
    store.add("ada", mark("3.1", 4, review=("uses open",)), "l")
    assert store.rows()[0].points == 4


def test_points_by_hand_can_be_withdrawn(store):
    store.add("ada", mark("3.1", 3), "k")
    for word, points, reason in (("0", 0, "by hand"), ("ok", 3, "")):          # a typo, and away with it
        store.set_manual(read_manual(f"student,exercise,points,comment\nada,3.1,{word},\n".encode(), ["ada"], assignment()))
        assert (store.rows()[0].points, tables.reason(store.rows()[0])) == (points, reason)


@pytest.mark.parametrize("text, entries", [
    ("student;exercise;points;comment\nada;3.1;2,5;gut\n", [("ada", "3.1", 2.5, "gut")]),
    ("\ufeffcomment,points,student,exercise\nok,,ada,3.1\n", [("ada", "3.1", None, "ok")]),
    ("student,exercise,points,comment\nada,3.1,0,\n", [("ada", "3.1", 0.0, "")]),
    ("sep=;\nstudent;exercise;points;comment\nada;3.1;2,5;\n", [("ada", "3.1", 2.5, "")]),
    ("student,exercise,points,comment\rada,3.1,1,\r", [("ada", "3.1", 1.0, "")]),
    ('"sep=,"\r\nstudent,exercise,points,comment\r\nada,3.1,1,"a, b"\r\n', [("ada", "3.1", 1.0, "a, b")]),
    ("Student\tExercise \tPOINTS\tComment\tpage\nada\t3.1\t1\t\tx\n", [("ada", "3.1", 1.0, "")]),
    ("student,exercise,points,comment\nada,3.1 Additive attention,1,\nada,'3.2,1,\n", [("ada", "3.1", 1.0, ""), ("ada", "3.2", 1.0, "")]),
])
def test_manual_points_as_spreadsheets_write_them(text, entries):
    assert read_manual(text.encode(), ["ada"], assignment()) == entries


@pytest.mark.parametrize("line, why", [
    ("eve,3.1,1,", "line 2: got student 'eve', expected one that handed in"), (",3.1,1,", "got student '', expected one that handed in"),
    ("Hana Syntax,3.1,1,", r"did you mean 'Hana Syntax \(10008\)'\?"), ("hanna syntax (10008),3.1,1,", "did you mean 'Hana Syntax"),
    ("hana,3.1,1,", "did you mean 'Hana Syntax"),
    ("ada,9.9,1,", "line 2: got exercise '9.9'"), ("ada,03. Jan,1,", "got exercise '03. Jan', expected one of 3.3, 3.1"),
    ("ada,,1,", "got exercise ''"), ("ada,3.1,6,", "'6' points, expected a number"),
    ("ada,3.1,-1,", "'-1' points"), ("ada,3.1,nan,", "'nan' points"), ("ada,3.1,x,", "'x' points"), ("ada,3.1,inf,", "'inf' points"),
])
def test_manual_points_that_are_wrong_name_their_line(line, why):
    with pytest.raises(ValueError, match=why):
        read_manual(f"student,exercise,points,comment\n{line}\n".encode(), ["ada", "Hana Syntax (10008)"], assignment())


def test_a_line_that_names_the_delimiter_counts_as_a_line():
    with pytest.raises(ValueError, match="line 3: got student 'eve'"):
        read_manual(b"sep=,\nstudent,exercise,points,comment\neve,3.1,1,\n", ["ada"], assignment())


@pytest.mark.parametrize("raw", [b"student,points\n", b"", b"\xff\xfe\x00", b"sep=;", b"\xc7a\xf0la"])
def test_files_that_are_no_table_of_points(raw):
    with pytest.raises(ValueError, match="manual: got"):
        read_manual(raw, ["ada"], assignment())
