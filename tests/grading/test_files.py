"""Folders and zips as they come from learning platforms and from people who wish nobody well."""

import io
import os
import stat
import struct
import zipfile

import pytest

from course_lib.grading import files
from course_lib.grading.files import Student, clean, collect, student_of
from course_lib.grading.submissions import LATE, read
from tests.grading.classroom import NAME, assignment, content, handed_in, references, write, zipped


@pytest.mark.parametrize("path, student", [
    ("Ada Lovelace_123456_assignsubmission_file_/03.ipynb", Student("Ada Lovelace (123456)", "Ada Lovelace", "123456", "moodle")),
    ("Ada Lovelace_123456_assignsubmission_file/03.ipynb", Student("Ada Lovelace (123456)", "Ada Lovelace", "123456", "moodle")),
    ("Ada Lovelace_123456_assignsubmission_file_03_x.ipynb", Student("Ada Lovelace (123456)", "Ada Lovelace", "123456", "moodle")),
    ("Participant_77_assignsubmission_file_/a/b.ipynb", Student("Participant (77)", "Participant", "77", "moodle")),
    ("Anne-Marie O_Neill_5_assignsubmission_file_/a.ipynb", Student("Anne-Marie O_Neill (5)", "Anne-Marie O_Neill", "5", "moodle")),
    ("lovelaceada_4711_99812_03_bahdanau_attention.ipynb", Student("lovelaceada (4711)", "lovelaceada", "4711", "canvas")),
    ("lovelaceada_LATE_4711_99812_03_bahdanau_attention-1.ipynb", Student("lovelaceada (4711)", "lovelaceada", "4711", "canvas", True)),
    ("ada.ipynb", Student("ada", "ada")), ("ada/03_bahdanau_attention.ipynb", Student("ada", "ada")),
    ("ada/03/03.ipynb", Student("ada", "ada")), ("ada\\03.ipynb", Student("ada", "ada")),
    ("../../etc/passwd.ipynb", Student("etc", "etc")), ("/x.ipynb", Student("x", "x")), ("\u202eada.ipynb", Student("ada", "ada")),
])
def test_who_handed_in(path, student):
    assert student_of(path) == student


def test_names_are_one_clean_line():
    assert clean("A\u0308da\n\t\x00\u202e\ud800 B  C") == "Äda B C" and len(clean("x" * 999)) == 120


def everyone(path):
    return {one.student: one for one in read(path, assignment())}


def test_a_moodle_zip(tmp_path):
    (tmp_path / "m.zip").write_bytes(zipped({
        f"Ada Lovelace_1_assignsubmission_file_/{NAME}": handed_in(), f"Bob_2_assignsubmission_file_/{NAME}": b"junk",
        "Bob_2_assignsubmission_file_/notes.pdf": b"%PDF", "Cy_3_assignsubmission_file_/essay.pdf": b"%PDF",
        "Di_4_assignsubmission_file_/all.zip": zipped({f"work/{NAME}": handed_in(), "work/data.bin": b"1"}),
        "Di_4_assignsubmission_onlinetext_/onlinetext.html": b"<p>", "__MACOSX/._x.ipynb": b""}))
    found = everyone(tmp_path / "m.zip")
    assert list(found) == ["Ada Lovelace (1)", "Bob (2)", "Cy (3)", "Di (4)"]
    assert found["Ada Lovelace (1)"].answers == found["Di (4)"].answers == references()
    assert found["Bob (2)"].notes == (f"{NAME} is no notebook that can be read: is it the whole file?", "notes.pdf is no notebook")
    assert found["Cy (3)"].notes == ("essay.pdf is no notebook",) and found["Cy (3)"].answers == {}


def test_a_canvas_zip_and_the_newest_of_two_hand_ins(tmp_path):
    older = handed_in(e32="def attend_all(q, k, v):\n    return 1")
    (tmp_path / "c.zip").write_bytes(zipped({"lovelaceada_1_10_x-2.ipynb": handed_in(), "lovelaceada_1_9_x-1.ipynb": older,
                                             "bob_LATE_2_11_x.ipynb": handed_in()}))
    found = everyone(tmp_path / "c.zip")
    assert list(found) == ["bob (2)", "lovelaceada (1)"] and found["lovelaceada (1)"].answers == references()
    assert found["bob (2)"].notes == (LATE,) and LATE not in found["lovelaceada (1)"].notes


@pytest.mark.parametrize("names", [("bob_2_11_a.ipynb", "bob_LATE_2_12_b.ipynb"), ("bob_LATE_2_11_a.ipynb", "bob_2_12_b.ipynb"),
                                   ("bob_LATE_2_11_all.zip",)])
def test_who_is_late_by_one_of_several_files_is_late(tmp_path, names):
    files = {name: handed_in() if name.endswith("ipynb") else zipped({"work/a.ipynb": handed_in()}) for name in names}
    (tmp_path / "c.zip").write_bytes(zipped(files))
    (bob,) = everyone(tmp_path / "c.zip").values()
    assert bob.notes[0] == LATE and bob.answers == references()


@pytest.mark.parametrize("names, students", [
    (("submissions/ada.ipynb", "submissions/bob.ipynb"), ["ada", "bob"]),
    (("submitted/ada/03/x.ipynb", "submitted/bob/03/x.ipynb"), ["ada", "bob"]),
    (("ada/x.ipynb",), ["ada"]), (("s2/x.ipynb", "s10/x.ipynb", "s1/x.ipynb"), ["s1", "s2", "s10"]),
    (("ada/x.ipynb", "ada/.ipynb_checkpoints/x-checkpoint.ipynb"), ["ada"]), (("ada.ipynb", "list.csv", "README.md"), ["ada"]),
])
def test_folders_and_zips_of_them(tmp_path, names, students):
    for name in names:
        write(tmp_path / "folder" / name, handed_in())
    (tmp_path / "z.zip").write_bytes(zipped(dict.fromkeys(names, handed_in())))
    for path in (tmp_path / "folder", tmp_path / "z.zip"):
        assert [one.student for one in read(path, assignment())] == students


def test_one_notebook(tmp_path):
    assert everyone(write(tmp_path / "ada.ipynb", handed_in()))["ada"].answers == references()


@pytest.mark.parametrize("name, fill", [("x.txt", b""), ("x.zip", b"PK\x03\x04 no zip"), ("empty.zip", b"PK\5\6" + b"\0" * 18)])
def test_what_is_no_batch_at_all(tmp_path, name, fill):
    (tmp_path / name).write_bytes(fill)
    with pytest.raises(ValueError, match="submissions: got"):
        list(read(tmp_path / name, assignment()))


def hostile(name, **changes):
    """A zip in which bob is as he should be and one entry is not."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        for key, value in changes.get("info", {}).items():
            setattr(info, key, value)
        archive.writestr(info, changes.get("content", content(handed_in())))
        archive.writestr(f"bob/{NAME}", content(handed_in()))
    return out.getvalue()


@pytest.mark.parametrize("raw, why", [
    (hostile("ada/x.ipynb", info={"external_attr": (stat.S_IFLNK | 0o777) << 16}, content=b"/etc/passwd"), "is a link"),
    (hostile("ada/x.ipynb", info={"external_attr": (stat.S_IFIFO | 0o666) << 16}), "is no ordinary file"),
    (hostile("/ada/x.ipynb"), "leads out"), (hostile("ada/../../x.ipynb"), "leads out"), (hostile("C:/ada/x.ipynb"), "leads out"),
    (hostile("ada/x.ipynb", content=b" " * 21_000_000), "larger than 20 MB"),
    (hostile("ada/x.zip", content=b"no zip"), "no zip"),
    (hostile("ada/x.zip", content=zipped({f"{i}.ipynb": b" " * 19_000_000 for i in range(7)})), "more than 100 MB"),
    (hostile("ada/x.zip", content=zipped({"../x.ipynb": b"{}"})), "leads out"),
    (hostile("ada/x.zip", content=zipped({"deep.zip": zipped({"x.ipynb": b"{}"})})), "holds no notebook"),
])
def test_what_is_refused_is_told_and_harms_nobody_else(tmp_path, raw, why):
    (tmp_path / "z.zip").write_bytes(raw)
    found = everyone(tmp_path / "z.zip")
    assert found.pop("bob").answers == references()
    (other,) = found.values()
    assert any(why in note for note in other.notes) and other.answers == {}


def patched(raw, offset_in_central, value):
    """A zip whose first central entry has another number there."""
    at = raw.index(b"PK\1\2") + offset_in_central
    return raw[:at] + value + raw[at + len(value):]


@pytest.mark.parametrize("raw, why", [
    (patched(hostile("ada/x.ipynb", content=b" " * 30_000_000), 24, struct.pack("<I", 1000)), ""),   # says it is small
    (patched(hostile("ada/x.ipynb"), 8, struct.pack("<H", 1)), "is encrypted"),
    (patched(hostile("ada/x.ipynb"), 10, struct.pack("<H", 99)), "cannot be read"),
    (patched(hostile("ada/x.ipynb"), 16, b"\0\0\0\1"), "cannot be read"),
])
def test_zips_that_lie(tmp_path, raw, why):
    (tmp_path / "z.zip").write_bytes(raw)
    found = everyone(tmp_path / "z.zip")
    assert found["bob"].answers == references() and found["ada"].answers == {} and why in found["ada"].notes[0]


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_ENTRIES", 3)
    (tmp_path / "z.zip").write_bytes(zipped({f"{i}.ipynb": b"" for i in range(4)}))
    with pytest.raises(ValueError, match="4 files, at most 3"):
        list(collect(tmp_path / "z.zip"))


def test_links_pipes_and_huge_files_in_a_folder(tmp_path, monkeypatch):
    secret = write(tmp_path / "secret.ipynb", handed_in())
    batch = tmp_path / "batch"
    for name in ("link", "pipe", "huge", "bob"):
        (batch / name).mkdir(parents=True)
    (batch / "link" / "x.ipynb").symlink_to(secret)
    (batch / "away").symlink_to(tmp_path)
    os.mkfifo(batch / "pipe" / "x.ipynb")
    (batch / "huge" / "x.ipynb").write_bytes(b" " * 3_000_000)
    monkeypatch.setattr(files, "MAX_NOTEBOOK", 2_000_000)
    write(batch / "bob" / NAME, handed_in())
    found = everyone(batch)
    assert found["bob"].answers == references()
    assert {name: found[name].notes[0] for name in ("link", "pipe", "huge")} == {
        "link": "x.ipynb is a link", "pipe": "x.ipynb is no ordinary file",
        "huge": "x.ipynb is larger than 2 MB: clear its outputs and hand in again"}
    assert "secret" not in found


def test_a_file_that_became_a_link_after_it_was_listed(tmp_path):
    write(tmp_path / "ada" / "x.ipynb", handed_in())
    entry = files._on_disk(tmp_path / "ada" / "x.ipynb", "ada/x.ipynb")
    (tmp_path / "ada" / "x.ipynb").unlink()
    (tmp_path / "ada" / "x.ipynb").symlink_to("/etc/hostname")
    assert files._read(entry).refusal == "cannot be read (OSError)"
