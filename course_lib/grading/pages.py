"""Feedback as HTML: a page for each student and one of the class; no script, no font, nothing fetched, all escaped."""

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from course_lib.exercises import exercise
from course_lib.grading.assignment import Asked, Assignment
from course_lib.grading.similarity import Pair
from course_lib.grading.store import Row
from course_lib.grading.submissions import NOTHING, Submission
from course_lib.grading.tables import number, page_name, review_of, totals

BINS = 10
_WIDTH, _HEIGHT = 720, 130  # of the picture of points


@dataclass(frozen=True)
class Card:
    """One exercise on a student's page."""

    row: Row
    answer: str

    @property
    def title(self) -> str:
        """What the exercise is called."""
        return exercise(self.row.exercise).title

    @property
    def level(self) -> str:
        """"full", "part" or "none" of the points."""
        return "full" if self.row.points >= self.row.maximum else "part" if self.row.points > 0 else "none"

    @property
    def points(self) -> int | float:
        """Points as they are shown."""
        return number(self.row.points)

    @property
    def texts(self) -> list[str]:
        """What to say: why it could not be judged, or what the judge found."""
        texts = [self.row.reason, self.row.message if self.row.message != self.row.reason else ""]
        return [sentence(text) for text in texts if text] or ([] if self.row.attempted else ["Not attempted."])

    @property
    def by_hand(self) -> str:
        """The lecturer's comment, and that the points are theirs."""
        changed = f"{number(self.row.manual)} points by hand" if self.row.manual is not None else ""
        return ". ".join(text for text in (changed, self.row.comment) if text)


def sentence(text: str) -> str:
    """Text that begins with a capital letter, unless it begins with a name: your function … as Your function …, doubled: … as it is."""
    return text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text


def opening(cards: Sequence[Card]) -> str:
    """What a student without points reads first: that it is no verdict on them, and what to do next."""
    if not cards or any(card.row.points for card in cards):
        return ""
    if any(card.row.reason.startswith(NOTHING) for card in cards):
        return ("Nothing in what you handed in could be graded, so nothing here judges your work. Look below for what was found, save your "
                "notebook, and ask your lecturer whether you may hand in the .ipynb file again.")
    first = next((card for card in cards if card.row.attempted), cards[0])
    return ("No points this time; each card says what is missing, and a next attempt starts from there. Begin with exercise "
            f"{first.row.exercise}: mend its answer in your notebook until the check cell below agrees, then ask your lecturer whether "
            "you may hand in again.")


def student_page(submission: Submission, rows: Sequence[Row], assignment: Assignment, date: str) -> str:
    """What one student gets to read; `rows` are this student's."""
    cards = [Card(row, submission.answers.get(row.exercise, "")) for row in rows]
    return _environment().get_template("student.html").render(
        name=submission.name or submission.student, assignment=assignment, date=date,
        points=number(sum(row.points for row in rows)), full=sum(card.level == "full" for card in cards),
        open=sum(not row.attempted for row in rows), cards=cards, opening=opening(cards),
        notes=submission.notes, source=submission.source)


def class_page(submissions: Sequence[Submission], rows: Sequence[Row], pairs: Sequence[Pair],
               assignment: Assignment, date: str, footer: str = "") -> str:
    """What the lecturer reads: distribution, exercises, misconceptions, what to look at, and every student."""
    points = totals(rows)
    by_student: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_student.setdefault(row.student, {})[row.exercise] = row
    ids = [asked.id for asked in assignment.exercises]
    students = [{"student": one.student, "points": number(points.get(one.student, 0)), "notes": one.notes,
                 "cells": [_cell(by_student.get(one.student, {}).get(id)) for id in ids]} for one in submissions]
    reviews = review_of(rows)
    unfinished = [one.student for one in submissions if len(by_student.get(one.student, {})) < len(ids)]
    alike = [student for pair in pairs for student in pair.students]
    earned = [points.get(one.student, 0) for one in submissions]
    nothing = {row.student: row.reason for row in rows if row.reason.startswith(NOTHING)}
    return _environment().get_template("class.html").render(
        assignment=assignment, date=date, footer=footer, students=students,
        mean=f"{statistics.mean(earned):.1f}" if earned else "–", pairs=pairs, reviews=reviews, nothing=nothing,
        median=f"{statistics.median(earned):g}" if earned else "–", bins=_bins(earned, assignment.points),
        exercises=[_exercise(asked, rows) for asked in assignment.exercises], misconceptions=misconceptions(rows)[:12],
        unfinished=unfinished, to_look_at=len({*reviews, *nothing, *unfinished, *alike}),
        pages={one.student: page_name(one.student) for one in submissions})


def misconceptions(rows: Sequence[Row]) -> list[Mapping[str, str | int]]:
    """Each misconception with how many students have it and one of the messages, the most frequent first."""
    counts = Counter((row.exercise, row.misconception) for row in rows if row.misconception)
    example = {(row.exercise, row.misconception): row.message for row in reversed(rows)}
    return [{"count": count, "exercise": id, "name": name, "example": sentence(example[id, name])}
            for (id, name), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _exercise(asked: Asked, rows: Sequence[Row]) -> Mapping[str, str | int]:
    mine = [row for row in rows if row.exercise == asked.id]
    maximum = sum(row.maximum for row in mine)
    named = misconceptions(mine)
    return {"id": asked.id, "title": exercise(asked.id).title, "maximum": asked.points,
            "full": sum(row.points >= row.maximum for row in mine),
            "percent": round(100 * sum(row.points for row in mine) / maximum) if maximum else 0,
            "open": sum(not row.attempted for row in mine), "most": f"{named[0]['name']} ({named[0]['count']})" if named else ""}


def _cell(row: Row | None) -> Mapping[str, str | int | float]:
    return {"points": "–", "level": "bad"} if row is None else {
        "points": number(row.points), "level": "good" if row.points >= row.maximum else "bad" if row.points <= 0 else ""}


def _bins(earned: Sequence[float], maximum: int) -> list[Mapping[str, str | float]]:
    """How many students lie in each tenth of the points, as bars."""
    count = min(BINS, max(maximum, 1))
    edges = [maximum * i / count for i in range(count + 1)]
    held = Counter(min(int(points * count / maximum), count - 1) if maximum else 0 for points in earned)
    most, step, found = max(held.values(), default=1), _WIDTH / count, []
    for i in range(count):
        height = round(_HEIGHT * held[i] / most, 1)
        low, high = math.ceil(edges[i]), math.ceil(edges[i + 1]) - (i < count - 1)
        found.append({"x": round(i * step + 4, 1), "width": round(step - 8, 1), "y": round(162 - height, 1), "height": height,
                      "middle": round((i + .5) * step, 1), "count": held[i], "label": f"{low}" if low == high else f"{low}–{high}"})
    return found


def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True,
                       trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
