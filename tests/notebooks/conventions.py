"""What a committed chapter must be, as rules: each yields a sentence for every place where it is not."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import nbformat

from course_lib.cli.chapters import read_chapter
from course_lib.cli.notebooks import as_text
from course_lib.cli.student import BEGIN, student_edition

Notebook = nbformat.NotebookNode
SLIDES = {"slide", "subslide", "fragment", "skip", "notes"}
IGNORED = "nbval-ignore-output"
RAISES = {"raises-exception", "nbval-raises-exception"}
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
ALT = re.compile(r"<img\b[^>]*?\balt=(?:\"([^\"]*)\"|'([^']*)')")
HTML = re.compile(r"</?([a-z][a-z0-9]*)\b[^>]*>")
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
MINIMUM_ALT, MINIMUM_EXERCISES, MINIMUM_COMPARED, MAXIMUM_BYTES, MAXIMUM_LINES = 20, 4, 0.7, 1_000_000, 25


def code_cells(book: Notebook) -> list[tuple[int, Notebook]]:
    """The code cells that hold something, numbered from 1 as their execution counts should be."""
    return list(enumerate((c for c in book.cells if c.cell_type == "code" and c.source.strip()), 1))


def tags(cell: Notebook) -> set[str]:
    return set(cell.metadata.get("tags", []))


def texts(cell: Notebook) -> Iterator[str]:
    """What nbval would compare of a code cell's outputs."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif "data" in output:
            yield from (
                text for kind, text in output.data.items() if isinstance(text, str) and kind != "image/png"
            )


def executed_in_order(book: Notebook, path: Path) -> Iterator[str]:
    """Cells without a count compare nothing under nbval, and pass."""
    counts = [cell.execution_count for _, cell in code_cells(book)]
    if counts != list(range(1, len(counts) + 1)):
        yield f"execution counts are {counts}, not 1 to {len(counts)}: run --in-place"
    if any(not c.source.strip() for c in book.cells):
        yield "an empty cell"


def clean_outputs(book: Notebook, path: Path) -> Iterator[str]:
    """No errors, no warnings, nothing that differs from run to run in what is compared."""
    for number, cell in code_cells(book):
        for output in cell.outputs:
            if output.output_type == "error" and not tags(cell) & RAISES:
                yield f"code cell {number} holds an error"
            if output.get("name") == "stderr" and IGNORED not in tags(cell):
                yield f"code cell {number} writes to stderr: {output.text[:60]!r}"
            if "image/svg+xml" in output.get("data", {}):
                yield f"code cell {number} shows an SVG, whose ids differ from run to run"
        if IGNORED not in tags(cell) and any(ADDRESS.search(text) for text in texts(cell)):
            yield f"code cell {number} prints the address of an object"
        if cell.source.rstrip().endswith(";"):
            yield f"code cell {number} ends in a semicolon, which nbval does not honour"
        if any("outcome · " in line and "✗" in line for text in texts(cell) for line in text.splitlines()):
            yield f"code cell {number} stores an outcome outside its band"


def mostly_compared(book: Notebook, path: Path) -> Iterator[str]:
    """nbval compares at least 70 % of the cells with text output; no cell is skipped, none by a comment."""
    with_text = [cell for _, cell in code_cells(book)
                 if any(o.output_type in ("stream", "execute_result") for o in cell.outputs)]
    compared = [cell for cell in with_text if IGNORED not in tags(cell)]
    if len(compared) < MINIMUM_COMPARED * len(with_text):
        yield f"nbval compares {len(compared)} of {len(with_text)} cells with text output, 70 % are wanted"
    for number, cell in code_cells(book):
        if "nbval-skip" in tags(cell) or re.search(r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            yield f"code cell {number}: use the tag {IGNORED}, no comment, no skipping"
        if IGNORED in tags(cell) and any("outcome · " in text for text in texts(cell)):
            yield f"code cell {number} prints an outcome, so its output must be compared"


def alt_texts(book: Notebook, path: Path) -> Iterator[str]:
    """Every picture says in words what it shows, lies in the project, and is there."""
    for number, cell in code_cells(book):
        for output in cell.outputs:
            data = output.get("data", {})
            page = data.get("text/html", "")
            shown = [first or second for first, second in ALT.findall(page)]
            if ({"image/png", "image/jpeg"} & set(data) and not shown) or page.count("<img") != len(shown):
                yield f"code cell {number} shows a figure without alt text: use plotting.show"
            yield from (
                f"code cell {number}: alt text {alt!r} is too short"
                for alt in shown
                if len(alt) < MINIMUM_ALT
            )
    for cell in book.cells:
        if cell.cell_type == "markdown":
            for alt, target in PICTURE.findall(cell.source):
                if len(alt) < MINIMUM_ALT:
                    yield f"{target}: alt text {alt!r} is too short"
                if re.match(r"https?:|data:|/", target):
                    yield f"{target[:50]}: pictures are local files, named from the notebook's folder"
                elif not (path.parent / target).is_file():
                    yield f"{target}: there is no such file"


def slides(book: Notebook, path: Path) -> Iterator[str]:
    """Every cell says what it is in the lecture; speaker notes, and only they, are kept from the web."""
    for place, cell in enumerate(book.cells):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if kind not in SLIDES:
            yield f"cell {place} has slide type {kind!r}"
        if (kind == "notes") != ("remove-cell" in tags(cell)):
            yield f"cell {place}: slide type notes and the tag remove-cell go together"
        if kind == "notes" and cell.cell_type != "markdown":
            yield f"cell {place}: speaker notes are Markdown"


def plain_markdown(book: Notebook, path: Path) -> Iterator[str]:
    """What JupyterLab, slides and web edition all show: no HTML but folds, no directives."""
    for place, cell in enumerate(book.cells):
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", "", cell.source, flags=re.DOTALL)
            for name in sorted(set(HTML.findall(prose)) - {"details", "summary"}):
                yield f"cell {place}: raw HTML <{name}>"
            if re.search(r"^\s*(:::|```\{|```mermaid)", cell.source, re.MULTILINE):
                yield f"cell {place}: a directive or a mermaid block"
            for fold in re.findall(r"<details.*?</details>", cell.source, re.DOTALL):
                if PICTURE.search(fold):
                    yield f"cell {place}: a picture inside a fold"
            if prose.count("<details") != prose.count("</details>"):
                yield f"cell {place}: a fold is not closed"


def short_cells(book: Notebook, path: Path) -> Iterator[str]:
    """A code cell fits on a slide."""
    for number, cell in code_cells(book):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        if len(lines) > MAXIMUM_LINES:
            yield f"code cell {number} has {len(lines)} lines, at most {MAXIMUM_LINES} fit"


def exercises(book: Notebook, path: Path, registry: Mapping) -> Iterator[str]:
    """Four or more graded exercises, each registered, with an answer cell, its check and its points."""
    graded = {c.metadata.nbgrader.get("grade_id"): c for c in book.cells if "nbgrader" in c.metadata}
    ids = [c.metadata.nbgrader.get("grade_id") for c in book.cells if "nbgrader" in c.metadata]
    if len(ids) != len(graded):
        yield "grade_ids repeat"
    for name, cell in graded.items():
        missing = {"grade", "grade_id", "locked", "schema_version", "solution"} - set(cell.metadata.nbgrader)
        if missing or cell.metadata.nbgrader.schema_version != 3:
            yield f"{name}: nbgrader metadata of version 3 is wanted, {sorted(missing)} missing"
        if cell.metadata.nbgrader.get("solution") and cell.cell_type == "code" and BEGIN not in cell.source:
            yield f"{name}: no {BEGIN}"
    checks = {name: c for name, c in graded.items() if c.metadata.nbgrader.get("grade")}
    if len(checks) < MINIMUM_EXERCISES:
        yield f"{len(checks)} graded exercises, at least {MINIMUM_EXERCISES} are wanted"
    checked = []
    for name, cell in checks.items():
        found = re.search(r"\bcheck\(\s*[\"']([^\"']+)[\"']", cell.source)
        if not found or found[1] not in registry:
            yield f"{name}: calls check on no registered exercise"
            continue
        checked.append(found[1])
        if f"answer-{found[1].replace('.', '-')}" not in graded:
            yield f"{name}: no answer cell answer-{found[1].replace('.', '-')}"
        if cell.metadata.nbgrader.get("points") != registry[found[1]].points:
            said, due = cell.metadata.nbgrader.get("points"), registry[found[1]].points
            yield f"{name}: {said} points, the exercise has {due}"
        if not any(text.startswith(f"✓ {found[1]} ") for text in texts(cell)):
            yield f"{name}: the stored solution did not pass its check"
    number = re.match(r"0*(\d+)", path.stem)
    wanted = {id for id in registry if number and id.split(".")[0] == number[1]}
    if set(checked) != wanted:
        odd = sorted(wanted ^ set(checked))
        yield f"exercises of the chapter without a check cell, or of another chapter: {odd}"


def headed(book: Notebook, path: Path) -> Iterator[str]:
    """The first cell has the title and the measured minutes."""
    chapter = read_chapter(path)
    if book.cells[0].cell_type != "markdown" or chapter.title == path.stem or chapter.minutes is None:
        yield "the first cell is Markdown with a heading and the measured minutes"


def stable_file(book: Notebook, path: Path) -> Iterator[str]:
    """Small, and byte for byte what run --in-place writes: no timestamps, no versions, cell ids kept."""
    size = path.stat().st_size
    if size > MAXIMUM_BYTES:
        yield f"{size / 1e6:.1f} MB, at most 1 MB"
    if path.read_text(encoding="utf-8") != as_text(nbformat.read(path, as_version=4)):
        yield "the file is not as run --in-place writes it"
    names = [cell.get("id") for cell in book.cells]
    if None in names or len(set(names)) != len(names):
        yield "cells without an id, or with the same"


def students(book: Notebook, path: Path) -> Iterator[str]:
    """The student edition can be made, and each of its code cells can be read by Python."""
    try:
        edition = student_edition(book)
    except (ValueError, SyntaxError) as error:
        yield str(error)
        return
    for number, cell in code_cells(edition):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            yield f"code cell {number} of the student edition: {error.msg} in line {error.lineno}"


RULES = (
    executed_in_order,
    clean_outputs,
    mostly_compared,
    alt_texts,
    slides,
    plain_markdown,
    short_cells,
    headed,
    stable_file,
    students,
)


def faults(path: Path, registry: Mapping) -> list[str]:
    """Everything that falls short in one notebook."""
    book = nbformat.read(path, as_version=4)
    found = [f"{rule.__name__}: {fault}" for rule in RULES for fault in rule(book, path)]
    return found + [f"exercises: {fault}" for fault in exercises(book, path, registry)]
