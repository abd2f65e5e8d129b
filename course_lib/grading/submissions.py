"""From what a student handed in to the source of each answer; cells may be moved, doubled, renamed, stripped or gone."""

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.grading.assignment import Asked, Assignment, cells_of, check_call, digest
from course_lib.grading.files import File, collect, natural
from course_lib.grading.sources import MAX_SOURCE, Binding, bindings, bound_names, free_names, needed, parsed, python

MAX_CELLS = 5_000
NOT_THERE = "no answer: the cell is not in the notebook"
EMPTY = "no answer: the cell is empty"
UNCHANGED = "handed back as it was given out"
LATE = "handed in late, says the platform"
NOTHING = "nothing to grade"  # in the whole submission; why stands after a colon


@dataclass(frozen=True)
class Submission:
    """One student's answers as source by exercise; `missing` says why one is not judged, `notes` what was odd.

    An answer that is missing for what it says (no Python, nothing changed) still has its source, to be shown.
    """

    student: str
    source: str
    answers: Mapping[str, str]
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    number: str = ""
    platform: str = ""

    @property
    def nothing(self) -> str:
        """Why there is nothing to grade at all: no file can be read, or none has an answer cell; else ""."""
        return next((why for why in self.missing.values() if why.startswith(NOTHING)), "")

    def holds(self, id: str) -> bool:
        """True if the cell of this exercise was handed in, whatever is in it."""
        return not self.missing.get(id, "").startswith((NOT_THERE, NOTHING))

    def to_judge(self) -> dict[str, str]:
        """The answers that are worth running."""
        return {id: source for id, source in self.answers.items() if id not in self.missing}


@dataclass(frozen=True)
class Cell:
    """A code cell of a submission: source that is Python or what is wrong with it, the names it binds, its marks."""

    book: str
    source: str
    problem: str
    names: frozenset[str]
    grade_id: str
    is_answer: bool
    check: tuple[str, str] | None


def read(path: Path, assignment: Assignment) -> Iterator[Submission]:
    """The submissions in a folder, a notebook or a zip, one student at a time. Raises ValueError if there is none."""
    for student, files in collect(path):
        cells: list[Cell] = []
        refused: list[str] = []
        for file in files:
            try:
                cells += cells_in(file)
            except ValueError as error:
                refused.append(f"{file.name} {error}")
        answers, missing, found = answers_in(cells, assignment)
        if not cells and not refused:
            refused.append("no code cell in what was handed in")
        if missing and set(missing.values()) == {NOT_THERE} and not answers:
            why = refused or ["no answer cell of this assignment in " + ", ".join(dict.fromkeys(cell.book for cell in cells))]
            missing = dict.fromkeys(missing, f"{NOTHING}: {'; '.join(why[:3])}")
        notes = (*[LATE] * student.late, *refused, *found)
        yield Submission(student.key, ", ".join(file.name for file in files), answers, notes, missing,
                         student.name, student.number, student.platform)


def cells_in(file: File) -> list[Cell]:
    """The code cells of one file. Raises ValueError, to be read after the file's name."""
    if file.refusal:
        raise ValueError(file.refusal)
    try:
        notebook = json.loads(file.content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError("is no notebook that can be read: is it the whole file?") from None
    try:
        cells = list(cells_of(notebook))
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None
    if len(cells) > MAX_CELLS:
        raise ValueError(f"has {len(cells):,} cells, at most {MAX_CELLS:,} are read")
    return [_cell(file.name, source, grading) for kind, source, grading in cells if kind == "code"]


def _cell(book: str, source: str, grading: Mapping) -> Cell:
    try:
        source, problem = python(source), ""
        names = frozenset(bound_names(parsed(source)))
    except ValueError as error:
        problem, names = str(error), frozenset()
    is_check = grading.get("grade") is True and not grading.get("solution")
    call = check_call(source) if not problem else None
    return Cell(book, source, problem, names, str(grading.get("grade_id") or ""), not is_check, call)


def answers_in(cells: Sequence[Cell], assignment: Assignment) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """(answers, why others are missing, notes) found in the code cells of one student."""
    answers, missing, places = {}, {}, []
    odd: dict[str, list[str]] = {}  # what → the exercises where it is so
    pool = [(cell, binding) for cell in cells if cell.is_answer for binding in bindings([cell.source])]
    for asked in assignment.exercises:
        fits, how = _candidates(cells, asked, assignment)
        if not fits:
            missing[asked.id] = NOT_THERE
            continue
        cell = next((c for c in reversed(fits) if not _nothing_done(c, asked)), fits[-1])
        where = f"{cell.book} counts" if len({c.book for c in fits}) > 1 else "the last one that was worked on counts"
        for text in (how, f"{len(fits)} answer cells; {where}" if len(fits) > 1 else ""):
            odd.setdefault(text, []).append(asked.id)
        places.append(cells.index(cell))
        if why := cell.problem or _nothing_done(cell, asked):
            answers[asked.id], missing[asked.id] = cell.source[:MAX_SOURCE], why
            continue
        answers[asked.id], remark = assembled(cell, asked, assignment.prelude.get(asked.id, ""),
                                              [binding for other, binding in pool if other is not cell], cells)
        odd.setdefault(remark, []).append(asked.id)
    for id in _edited_checks(cells, assignment):
        odd.setdefault("the check cell was edited, which changes nothing here", []).append(id)
    notes = [f"{', '.join(sorted(ids, key=natural))}: {text}" for text, ids in odd.items() if text]
    if places != sorted(places):
        notes.append("the answer cells stand in another order than in the assignment")
    return answers, missing, notes


def _candidates(cells: Sequence[Cell], asked: Asked, assignment: Assignment) -> tuple[list[Cell], str]:
    """The cells that may hold an answer, and how they were found if not by their mark.

    A cell without a mark that defines the judged name counts as well: it is how a notebook understands it.
    """
    taken = {other.grade_id for other in assignment.exercises} - {asked.grade_id}
    ours = [c for c in cells if c.is_answer and c.grade_id not in taken]
    fits = [c for c in ours if c.grade_id == asked.grade_id
            or (asked.name in c.names and digest(c.source) not in assignment.given)]
    if any(c.grade_id == asked.grade_id for c in fits):
        return fits, ""
    if fits:
        return fits, "the answer cell has lost its mark; found by its name"
    for name in [c.check[1] for c in cells if c.check and c.check[0] == asked.id]:
        if fits := [c for c in ours if name in c.names]:
            return fits, f"the answer cell has lost its mark; found by its check as {name}"
    return [], ""


def _nothing_done(cell: Cell, asked: Asked) -> str:
    """Why a cell is no attempt: it is blank or what the student started from; else ""."""
    return EMPTY if not cell.source.strip() else UNCHANGED if cell.source.split() == asked.stub.split() else ""


def is_open(reason: str) -> bool:
    """True for the reason of an exercise that was not attempted."""
    return reason.startswith((NOT_THERE, EMPTY, UNCHANGED, NOTHING))


def assembled(cell: Cell, asked: Asked, prelude: str, pool: Sequence[Binding],
              cells: Sequence[Cell]) -> tuple[str, str]:
    """(source, remark): the cell with what it needs of the student's other cells, under the name that is judged.

    Statements such as a print of something that exists only in the whole notebook are left out.
    """
    given = frozenset(bound_names(parsed(prelude)))
    before = needed(pool, free_names(cell.source) - given)
    outside = {name for binding in before for name in binding.names} | given
    source = _without_strays(cell.source, free_names(cell.source) - outside)
    text = "\n".join([*(binding.source for binding in before), source])
    if asked.name in cell.names:
        return text, ""
    called = [c.check[1] for c in cells if c.check and c.check[0] == asked.id and c.check[1] in cell.names]
    defined = [node.name for node in parsed(cell.source).body if isinstance(node, ast.FunctionDef)]
    own = called[-1:] or (defined if len(defined) == 1 else [])
    if not own:
        return text, f"the cell does not define {asked.name}"
    return f"{text}\n{asked.name} = {own[0]}", f"{own[0]} is judged as {asked.name}"


def _without_strays(source: str, unknown: frozenset[str]) -> str:
    """Source without the top-level calls that name something unknown; its line numbers stay."""
    lines = source.split("\n")
    tree = parsed(source)
    for node in tree.body:
        alone = sum(other.lineno <= node.end_lineno and node.lineno <= other.end_lineno for other in tree.body) == 1
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        if isinstance(node, ast.Expr) and alone and names & unknown:
            lines[node.lineno - 1:node.end_lineno] = [f"# {line}" for line in lines[node.lineno - 1:node.end_lineno]]
    return "\n".join(lines)


def _edited_checks(cells: Sequence[Cell], assignment: Assignment) -> list[str]:
    """The exercises whose check cell is not as it was given out."""
    found = []
    for asked in assignment.exercises:
        checks = [c for c in cells if c.grade_id == asked.check_id]
        plain = f'check("{asked.id}", {asked.name})'
        if asked.check_id and checks and any(c.source.strip().replace("'", '"') != plain for c in checks):
            found.append(asked.id)
    return found
