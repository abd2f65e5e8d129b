"""Results in one SQLite file: a transaction per exercise, every earlier mark kept, manual points over all of them."""

import hashlib
import json
import secrets
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from course_lib.grading.assignment import Assignment
from course_lib.grading.submissions import Submission

_TABLES = """
CREATE TABLE IF NOT EXISTS setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS student (
    student TEXT PRIMARY KEY, name TEXT NOT NULL, number TEXT NOT NULL, platform TEXT NOT NULL,
    source TEXT NOT NULL, notes TEXT NOT NULL, answers TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS mark (
    number INTEGER PRIMARY KEY, student TEXT NOT NULL, exercise TEXT NOT NULL, key TEXT NOT NULL,
    taken TEXT NOT NULL, points INTEGER NOT NULL, maximum INTEGER NOT NULL, attempted INTEGER NOT NULL,
    message TEXT NOT NULL, misconception TEXT NOT NULL, reason TEXT NOT NULL, review TEXT NOT NULL,
    seconds REAL NOT NULL, properties TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS mark_of ON mark (student, exercise, number);
CREATE TABLE IF NOT EXISTS manual (
    number INTEGER PRIMARY KEY, student TEXT NOT NULL, exercise TEXT NOT NULL, taken TEXT NOT NULL,
    points REAL, comment TEXT NOT NULL) STRICT;
"""
_LATEST = "SELECT * FROM {0} WHERE number IN (SELECT max(number) FROM {0} GROUP BY student, exercise)"


class Marked(Protocol):
    """What is stored of a mark: marking.Mark has it."""

    id: str
    points: int
    maximum: int
    attempted: bool
    message: str
    misconception: str
    reason: str
    review: tuple[str, ...]
    seconds: float
    properties: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Row:
    """What counts for one student and exercise: the latest mark, and manual points where there are any."""

    student: str
    exercise: str
    automatic: int
    maximum: int
    attempted: bool
    message: str
    misconception: str
    reason: str
    review: tuple[str, ...]
    seconds: float
    properties: tuple[tuple[str, int, int], ...] = ()
    manual: float | None = None
    comment: str = ""
    decided: bool = False  # somebody looked at it: gave points, left a comment, or said that the automatic points stand

    @property
    def points(self) -> float:
        """Manual points where there are any, else the automatic ones."""
        return self.automatic if self.manual is None else self.manual


class Store:
    """The results of one assignment. Raises ValueError if the file belongs to another one."""

    def __init__(self, path: Path, assignment: Assignment, seed: int | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.assignment = assignment
        try:
            self.connection = sqlite3.connect(path, isolation_level=None, timeout=30)
            self.connection.row_factory = sqlite3.Row
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.execute("PRAGMA synchronous = FULL")  # a mark that was told is on the disk
            self.connection.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise ValueError(f"path: got {path}, expected a results file of ours ({error})") from error
        if (before := self._setting("assignment", assignment.name)) != assignment.name:
            raise ValueError(f"path: {path} holds results of {before}, expected those of {assignment.name}; take another --out")
        self._seed(seed)

    def _setting(self, key: str, value: str) -> str:
        """The stored value; where there is none yet, `value` is stored."""
        self.connection.execute("INSERT OR IGNORE INTO setting VALUES (?, ?)", (key, value))
        return self.connection.execute("SELECT value FROM setting WHERE key = ?", (key,)).fetchone()[0]

    def _seed(self, seed: int | None) -> None:
        if seed is None:
            seed = int(self._setting("seed", str(secrets.randbelow(2**62))))
        else:
            self.connection.execute("INSERT OR REPLACE INTO setting VALUES ('seed', ?)", (str(seed),))
        self.seed = seed

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def enrol(self, submission: Submission) -> None:
        """Remember a student and what was handed in; an earlier submission is replaced, its marks stay."""
        self.connection.execute("INSERT OR REPLACE INTO student VALUES (?, ?, ?, ?, ?, ?, ?)", (
            submission.student, submission.name or submission.student, submission.number, submission.platform,
            submission.source, json.dumps(submission.notes), json.dumps(dict(submission.answers))))

    def done(self, student: str, keys: Mapping[str, str]) -> frozenset[str]:
        """The exercises whose latest mark was taken under the same key: nothing it depends on has changed."""
        rows = self.connection.execute(f"{_LATEST.format('mark')} AND student = ?", (student,))
        return frozenset(row["exercise"] for row in rows if keys.get(row["exercise"]) == row["key"])

    def add(self, student: str, mark: Marked, key: str) -> None:
        """Write one mark: one transaction. Earlier ones stay as history."""
        self.connection.execute(
            "INSERT INTO mark (student, exercise, key, taken, points, maximum, attempted, message, misconception, "
            "reason, review, seconds, properties) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (student, mark.id, key, _now(), mark.points, mark.maximum, mark.attempted, _text(mark.message),
             _text(mark.misconception), _text(mark.reason), json.dumps(mark.review), mark.seconds,
             json.dumps(mark.properties)))

    def set_manual(self, entries: Iterable[tuple[str, str, float | None, str]]) -> int:
        """Write (student, exercise, points or None, comment), all or none; how many differ from what was there.

        Without points the automatic ones count, whatever was given by hand before.
        """
        now = {(row["student"], row["exercise"]): (row["points"], row["comment"])
               for row in self.connection.execute(_LATEST.format("manual"))}
        new = [entry for entry in entries if now.get(entry[:2]) != entry[2:]]
        with self.connection:
            self.connection.execute("BEGIN")
            self.connection.executemany("INSERT INTO manual (student, exercise, taken, points, comment) "
                                        "VALUES (?, ?, ?, ?, ?)", [(s, e, _now(), p, c) for s, e, p, c in new])
        return len(new)

    def rows(self) -> list[Row]:
        """What counts, by student and then in the assignment's order."""
        manual = {(row["student"], row["exercise"]): row for row in self.connection.execute(_LATEST.format("manual"))}
        place = {asked.id: number for number, asked in enumerate(self.assignment.exercises)}
        found = []
        for row in self.connection.execute(_LATEST.format("mark")):
            if row["exercise"] in place:
                hand = manual.get((row["student"], row["exercise"]))
                found.append(Row(row["student"], row["exercise"], row["points"], row["maximum"], bool(row["attempted"]),
                                 row["message"], row["misconception"], row["reason"], tuple(json.loads(row["review"])),
                                 row["seconds"], tuple(map(tuple, json.loads(row["properties"]))),
                                 hand and hand["points"], hand["comment"] if hand else "", hand is not None))
        return sorted(found, key=lambda row: (*alphabetic(row.student), place[row.exercise]))

    def history(self, student: str, exercise: str) -> list[tuple[str, int]]:
        """(when, points) of every mark of one exercise, the oldest first."""
        rows = self.connection.execute("SELECT taken, points FROM mark WHERE student = ? AND exercise = ? ORDER BY number",
                                       (student, exercise))
        return [(row["taken"], row["points"]) for row in rows]

    def submissions(self) -> list[Submission]:
        """Who handed in what, without the reasons for missing answers (they are in the marks), in alphabetical order."""
        found = [Submission(row["student"], row["source"], json.loads(row["answers"]), tuple(json.loads(row["notes"])), {},
                            row["name"], row["number"], row["platform"])
                 for row in self.connection.execute("SELECT * FROM student")]
        return sorted(found, key=lambda one: alphabetic(one.student))


def alphabetic(name: str) -> tuple[str, str]:
    """A sorting key: accents and capitals matter only between names that are equal without them, so that Ç stands at C."""
    parts = unicodedata.normalize("NFKD", name)
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold(), name


def keys_of(submission: Submission, assignment: Assignment, seed: int, course: str) -> dict[str, str]:
    """For each exercise a hash of all that its mark depends on: the answer, its prelude, the seed, the course."""
    found = {}
    for asked in assignment.exercises:
        parts = [submission.answers.get(asked.id, ""), submission.missing.get(asked.id, ""), asked.name,
                 assignment.prelude.get(asked.id, ""), str(seed), course]
        found[asked.id] = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]
    return found


def course_version(library: Path) -> str:
    """A hash of the library's code without the commands: judging depends on nothing else of the course."""
    running = hashlib.sha256()
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).parts
        if parts[0] not in ("cli", "__main__.py"):
            running.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return running.hexdigest()


def _text(text: str) -> str:
    """Text that can be encoded: half a surrogate pair, which JSON lets pass, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
