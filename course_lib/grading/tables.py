"""CSV tables: grades, columns for Moodle and Canvas, and what somebody should look at."""

import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from course_lib.exercises import exercise
from course_lib.grading.assignment import Assignment
from course_lib.grading.store import Row
from course_lib.grading.submissions import Submission

FOR_PEOPLE = ("grades.csv", "review.csv")  # written with a byte order mark: Excel takes a file without one for Latin-1
MANUAL = ("student", "exercise", "points", "comment")
NEVER = "-"  # Moodle's word for no date; alone it is no formula
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "|", "%")


def defused(text: str) -> str:
    """Text that a spreadsheet takes for text: what could start a formula gets an apostrophe in front.

        defused("=1+1") == "'=1+1"
    """
    bare = text.lstrip(" '\u00a0")
    return text if text == NEVER else f"'{text}" if bare.startswith(_FORMULA) or text.startswith("'") else text


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV text; every text in it is defused."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow([defused(cell.replace("\0", "")) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def grades(rows: Sequence[Row]) -> str:
    """grades.csv: student, exercise, points, maximum, reason."""
    return table(("student", "exercise", "points", "maximum", "reason"),
                 [(row.student, row.exercise, number(row.points), row.maximum, reason(row)) for row in rows])


def reason(row: Row) -> str:
    """Why these points, in one line."""
    if row.manual is not None:
        return f"by hand: {row.comment}".removesuffix(": ")
    words = row.reason or row.message or ("" if row.attempted else "not attempted")
    return " ".join(f"{words} {f'(comment: {row.comment})' if row.comment else ''}".split())


def number(points: float) -> int | float:
    """3.0 as 3, so that tables are easy to read."""
    return int(points) if float(points).is_integer() else round(points, 2)


def totals(rows: Sequence[Row]) -> dict[str, float]:
    """Each student's points in all."""
    found: dict[str, float] = {}
    for row in rows:
        found[row.student] = found.get(row.student, 0) + row.points
    return found


def moodle(rows: Sequence[Row], submissions: Sequence[Submission], assignment: Assignment) -> str:
    """Moodle's offline grading worksheet, for those whose files came from Moodle; else "".

    Its importer finds columns by their English names and takes no file without the identifier, the grade and when it was modified.
    """
    mine, points = [one for one in submissions if one.platform == "moodle"], totals(rows)
    body = [(f"Participant {one.number}", one.name, number(points.get(one.student, 0)), assignment.points, NEVER,
             feedback([row for row in rows if row.student == one.student])) for one in mine]
    header = ("Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", "Feedback comments")
    return table(header, body) if mine else ""


def canvas(rows: Sequence[Row], submissions: Sequence[Submission], assignment: Assignment) -> str:
    """A gradebook for Canvas to import, for those whose files came from there; else ""."""
    mine, points = [one for one in submissions if one.platform == "canvas"], totals(rows)
    body = [("    Points Possible", "", "", assignment.points)]
    body += [(one.name, one.number, "", number(points.get(one.student, 0))) for one in mine]
    return table(("Student", "ID", "Section", assignment.name), body) if mine else ""


def feedback(rows: Sequence[Row]) -> str:
    """One line of points by exercise."""
    return " · ".join(f"{row.exercise}: {number(row.points)} of {row.maximum}" for row in rows)


def to_review(rows: Sequence[Row]) -> str:
    """What somebody should look at, with the columns of manual points: fill in and give it back with --manual.

    The exercise stands with its title, so that no spreadsheet takes it for a date.
    """
    header = (*MANUAL[:2], "points now", "of", MANUAL[2], "what was found", MANUAL[3], "page")
    body = [(row.student, f"{row.exercise} {exercise(row.exercise).title}", number(row.points), row.maximum, "", "; ".join(row.review), "",
             f"feedback/{page_name(row.student)}") for row in rows if row.review and not row.decided]
    return table(header, body)


def page_name(student: str) -> str:
    """A file name for a student's page: readable, safe on every system, and never two alike."""
    plain = unicodedata.normalize("NFKD", student).encode("ascii", "ignore").decode()
    hashed = hashlib.sha256(student.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{re.sub('[^A-Za-z0-9]+', '_', plain).strip('_')[:50] or 'student'}-{hashed}.html"


def review_of(rows: Sequence[Row]) -> Mapping[str, list[str]]:
    """For each student what should be looked at and was not decided yet, as "3.1: why; why"."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if row.review and not row.decided:
            found.setdefault(row.student, []).append(f"{row.exercise}: {'; '.join(row.review)}")
    return found
