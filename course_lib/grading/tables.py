"""CSV tables: grades, columns for Moodle and Canvas, and manual points on their way in and out."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

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
    if row.manual is not None or row.comment:
        return f"by hand: {row.comment}".removesuffix(": ")
    words = row.reason or row.message or ("" if row.attempted else "not attempted")
    return " ".join(words.split())


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
    """What somebody should look at, in the columns of manual points: fill in and give it back with --manual."""
    body = [(row.student, row.exercise, "", "; ".join(row.review)) for row in rows if row.review and row.manual is None]
    return table((*MANUAL[:3], "what was found", MANUAL[3]), [(*row, "") for row in body])


def read_manual(content: bytes, students: Iterable[str],
                assignment: Assignment) -> list[tuple[str, str, float | None, str]]:
    """(student, exercise, points or None, comment) from a CSV with these columns; rows without both are skipped.

    Raises ValueError naming the line that is not understood; then nothing of the file should be used.
    """
    known = {defused(student): student for student in students} | {student: student for student in students}
    maximum = {asked.id: asked.points for asked in assignment.exercises}
    lines = csv.DictReader(io.StringIO(_decoded(content)), dialect=_dialect(content))
    if lacking := [name for name in MANUAL if name not in (lines.fieldnames or ())]:
        raise ValueError(f"manual: got no column {', '.join(lacking)}, expected {', '.join(MANUAL)}")
    found = []
    for entry in lines:
        student, exercise, points, comment = (str(entry[name] or "").strip() for name in MANUAL)
        if not points and not comment:
            continue
        where = f"manual: line {lines.line_num}: got"
        if student not in known:
            raise ValueError(f"{where} student {student!r}, expected one that handed in")
        if exercise not in maximum:
            raise ValueError(f"{where} exercise {exercise!r}, expected one of {', '.join(maximum)}")
        found.append((known[student], exercise, _points(points, maximum[exercise], where), comment.removeprefix("'")))
    return found


def _points(text: str, maximum: int, where: str) -> float | None:
    if not text:
        return None
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = math.nan
    if not 0 <= points <= maximum:
        raise ValueError(f"{where} {text!r} points, expected a number from 0 to {maximum}")
    return points


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("manual: got a file in another encoding, expected UTF-8") from None


def _dialect(content: bytes) -> type[csv.Dialect]:
    """Comma, or the semicolon of spreadsheets where the comma is in the numbers."""
    class Dialect(csv.excel):
        delimiter = ";" if content.split(b"\n", 1)[0].count(b";") > 2 else ","

    return Dialect


def review_of(rows: Sequence[Row]) -> Mapping[str, list[str]]:
    """For each student what should be looked at, as "3.1: why"."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.student, []).extend(f"{row.exercise}: {why}" for why in row.review)
    return {student: whys for student, whys in found.items() if whys}
