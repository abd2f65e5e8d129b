"""The zips of feedback pages, read as the platforms' importers read them."""

import io
import re
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading.files import clean, student_of
from course_lib.grading.handback import canvas_zip, moodle_zip
from course_lib.grading.submissions import Submission


def handed(path, source=None):
    """Who handed in the file with this path."""
    student = student_of(path)
    return Submission(student.key, source or path.rpartition("/")[2], {}, (), {}, student.name, student.number, student.platform)


def opened(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def of_moodle(path):
    """(number, plugin, file) as mod/assign/feedback/file/importziplib.php finds them, before version 4.1 and since."""
    parts = path.split("/")
    while parts:
        info = parts.pop(0).split("_", 4)
        if len(info) == 5 and info[1].isdigit():
            return info[1], f"{info[2]}_{info[3]}", "/".join([info[4], *parts]).strip("/")
    return None


def of_canvas(path):
    """(user, attachment) as infer_comment_context_from_filename finds them."""
    return tuple(part for part in path.rpartition("/")[2].split("_") if re.fullmatch("[0-9]+", part))[:2]


def test_moodle_finds_each_student_and_names_the_page():
    everyone = [handed(f"{name}_{number}_assignsubmission_file_/x.ipynb")
                for number, name in enumerate(("Ada Lovelace", "ada_l", "Çağla Öztürk", "../x", "=1+1", "名前", "Participant 12", "..."))]
    found = opened(moodle_zip(everyone, {one.student: one.student.encode() for one in everyone}))
    assert {of_moodle(name): content for name, content in found.items()} == {
        (one.number, "assignfeedback_file", "feedback.html"): one.student.encode() for one in everyone}
    assert not any(".." in name or name.startswith((".", "~")) for name in found)


@given(st.lists(st.text(min_size=1, max_size=12).filter(clean), min_size=1, max_size=4))
def test_no_name_hides_the_number(names):
    everyone = [Submission(f"{name} ({number})", "x", {}, (), {}, clean(name), str(number), "moodle") for number, name in enumerate(names)]
    found = opened(moodle_zip(everyone, {one.student: b"" for one in everyone}))
    assert sorted(of_moodle(name)[0] for name in found) == sorted(one.number for one in everyone)


@pytest.mark.parametrize("file, ids", [
    ("lovelaceada_10001_55501_03.ipynb", ("10001", "55501")), ("lovelaceada_LATE_10001_55501_3_4_5.ipynb", ("10001", "55501")),
])
def test_canvas_finds_the_student_and_the_file(file, ids):
    (name,) = opened(canvas_zip([handed(file, f"{file}, more_10001_55502_b.ipynb")], {handed(file).student: b"page"}))
    assert of_canvas(name) == ids and name.endswith("_feedback.html") and not name.rpartition("_")[2].startswith("link")


def test_each_platform_gets_its_own_students_and_only_those_with_a_page():
    everyone = [handed("Ada_1_assignsubmission_file_/a.ipynb"), handed("Bo_2_assignsubmission_file_/b.ipynb"), handed("cy_3_4_c.ipynb"),
                handed("Dora/d.ipynb")]
    pages = {one.student: b"page" for one in everyone if one.name != "Bo"}
    assert list(opened(moodle_zip(everyone, pages))) == ["Ada_1_assignfeedback_file_/feedback.html"]
    assert list(opened(canvas_zip(everyone, pages))) == ["cy_3_4_feedback.html"]
    assert moodle_zip(everyone[2:], pages) == b"" == canvas_zip(everyone[3:], pages)


def test_the_same_pages_are_the_same_bytes():
    everyone = [handed(f"S{number}_{number}_assignsubmission_file_/a.ipynb") for number in range(3)]
    pages = {one.student: one.student.encode() for one in everyone}
    content = moodle_zip(everyone, pages)
    assert content == moodle_zip(everyone[::-1], dict(reversed(pages.items())))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert {(entry.date_time, entry.create_system) for entry in archive.infolist()} == {((1980, 1, 1, 0, 0, 0), 3)}
