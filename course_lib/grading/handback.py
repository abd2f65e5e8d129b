"""Zips of the feedback pages, named so that Moodle and Canvas give each page to its student; the same pages, the same bytes."""

import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence

from course_lib.grading.submissions import Submission

DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can hold
_CANVAS = re.compile(r"[^_]+_(?:LATE_)?\d+_\d+_")


def moodle_zip(submissions: Sequence[Submission], pages: Mapping[str, bytes]) -> bytes:
    """For "Upload multiple feedback files in a zip": a folder name_number_assignfeedback_file_ for each student who has a page.

    Moodle splits at underscores and reads the number (mod/assign/feedback/file/importziplib.php); the name is for people.
    """
    names = {one.student: f"{_plain(one.name)}_{one.number}_assignfeedback_file_/feedback.html"
             for one in submissions if one.platform == "moodle"}
    return _of_pages({name: pages[student] for student, name in names.items() if student in pages})


def canvas_zip(submissions: Sequence[Submission], pages: Mapping[str, bytes]) -> bytes:
    """For Canvas' upload of submissions: each page under the beginning of the name under which Canvas gave the notebook out.

    Canvas reads the first two numbers, the student's and the file's (app/models/abstract_assignment.rb,
    infer_comment_context_from_filename), so a student with several files gets the page at the first of them.
    """
    names = {one.student: f"{found[0]}feedback.html"
             for one in submissions if one.platform == "canvas" and (found := _CANVAS.match(one.source))}
    return _of_pages({name: pages[student] for student, name in names.items() if student in pages})


def _plain(name: str) -> str:
    """A name without what Moodle splits at, and without what file systems do not take."""
    return " ".join(re.sub(r"[^\w' .-]|_", " ", name).split()).strip(".") or "student"


def zipped(files: Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these files, the same bytes on every machine (with a compressing method: everywhere with the same zlib)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files:
            entry = zipfile.ZipInfo(name, DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, also where it is not
            archive.writestr(entry, content, method)
    return out.getvalue()


def _of_pages(files: Mapping[str, bytes]) -> bytes:
    """A zip of these pages; b"" if there are none."""
    return zipped(sorted(files.items()), zipfile.ZIP_DEFLATED) if files else b""
