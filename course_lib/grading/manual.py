"""Points and comments by hand, read from a table as spreadsheets save it."""

import csv
import difflib
import io
import math
from collections.abc import Iterable, Sequence

from course_lib.grading.assignment import Assignment
from course_lib.grading.tables import MANUAL, defused

KEPT = ("ok", "=")  # in place of points: looked at, the automatic points stand; this also takes points by hand back


def read_manual(content: bytes, students: Iterable[str],
                assignment: Assignment) -> list[tuple[str, str, float | None, str]]:
    """(student, exercise, points or None, comment) from a CSV with these columns; rows without points and comment are skipped.

    Of the exercise the first word counts. Raises ValueError naming the line that is not understood; then nothing of the file
    should be used.
    """
    names = list(students)
    known = {defused(student): student for student in names} | {student: student for student in names}
    maximum = {asked.id: asked.points for asked in assignment.exercises}
    lines, above = _lines(content)
    found = []
    for entry in lines:
        student, exercise, points, comment = (str(entry[name] or "").strip() for name in MANUAL)
        if not points and not comment:
            continue
        where = f"manual: line {lines.line_num + above}: got"
        if student not in known:
            raise ValueError(f"{where} student {student!r}, {_nearest(student, names)}")
        id = next(iter(exercise.removeprefix("'").split()), "")
        if id not in maximum:
            raise ValueError(f"{where} exercise {exercise!r}, expected one of {', '.join(maximum)}")
        found.append((known[student], id, _points(points, maximum[id], where), comment.removeprefix("'")))
    return found


def _nearest(student: str, names: Sequence[str]) -> str:
    """The student that may have been meant, or that there is none."""
    folded = {name.casefold(): name for name in names}
    begun = [name for name in names if name.casefold().startswith(student.casefold())]
    close = begun if len(begun) == 1 else difflib.get_close_matches(student.casefold(), folded, 1)
    return f"did you mean {folded.get(close[0], close[0])!r}?" if student and close else "expected one that handed in"


def _points(text: str, maximum: int, where: str) -> float | None:
    if not text or text.lower().removeprefix("'") in KEPT:
        return None
    try:
        points = float(text.replace(",", "."))
    except ValueError:
        points = math.nan
    if not 0 <= points <= maximum:
        raise ValueError(f"{where} {text!r} points, expected a number from 0 to {maximum}, or {KEPT[0]} to keep the automatic ones")
    return points


def _lines(content: bytes) -> tuple[csv.DictReader, int]:
    """The table, and how many lines stand above its header: spreadsheets may name the delimiter in one, as sep=;"""
    text, above, delimiter = _decoded(content), 0, ""
    first, _, rest = text.partition("\n")
    if first.strip().strip('"').lower().startswith("sep="):
        text, above, delimiter = rest, 1, first.strip().strip('"')[4:5]
        first = rest.partition("\n")[0]
    lines = csv.DictReader(io.StringIO(text, newline=None), delimiter=delimiter or max(",;\t", key=first.count))
    lines.fieldnames = [name.strip().lower() for name in lines.fieldnames or ()]
    if lacking := [name for name in MANUAL if name not in lines.fieldnames]:
        raise ValueError(f"manual: got no column {', '.join(lacking)}, expected {', '.join(MANUAL)}")
    return lines, above


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("manual: got a file in another encoding, expected UTF-8 (in Excel: save as CSV UTF-8)") from None
