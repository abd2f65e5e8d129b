"""Notebook files as students hand them in: folders, single notebooks and the zips of Moodle and Canvas.

Nothing is unpacked to disk and no link is followed; what is refused says why and harms nobody else.
"""

import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MAX_NOTEBOOK = 20_000_000  # bytes of one notebook with its outputs
MAX_STUDENT = 100_000_000  # bytes of all that one student hands in
MAX_ENTRIES = 20_000  # files in one zip
MAX_NAME = 120  # characters of a student's name

_MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?")
_CANVAS = re.compile(r"(?P<name>[^_]+)_(?P<late>LATE_)?(?P<number>\d+)_\d+_.+")
_TOO_MUCH = f"comes after more than {MAX_STUDENT // 10**6} MB from one student"
_IGNORED = ("__MACOSX", ".ipynb_checkpoints")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Student:
    """Who handed in: `key` is unique in a batch; name and number as the learning platform wrote them."""

    key: str
    name: str
    number: str = ""
    platform: str = ""
    late: bool = False  # so the platform says, of one of the files


@dataclass(frozen=True)
class File:
    """One file of a student: its content, or why it was refused."""

    name: str
    content: bytes = b""
    refusal: str = ""


@dataclass(frozen=True)
class Entry:
    """A file that has not been read yet: its path inside the batch, and how to read so many bytes of it."""

    path: str
    read: Callable[[int], bytes]
    refusal: str = ""


def collect(path: Path) -> Iterator[tuple[Student, list[File]]]:
    """The files of each student under `path`, one student at a time. Raises ValueError if nothing is there."""
    if path.is_dir():
        entries = list(_of_folder(path))
    elif path.suffix.lower() == ".zip" and path.is_file():
        try:
            entries = list(_of_zip(io.FileIO(path)))
        except _BROKEN as error:
            raise ValueError(f"submissions: got {path}, expected a zip that can be read ({error})") from error
    elif path.suffix.lower() == ".ipynb" and path.is_file():
        entries = [_on_disk(path, path.name)]
    else:
        raise ValueError(f"submissions: got {path}, expected a folder, a notebook (.ipynb) or a zip")
    students: dict[str, tuple[Student, list[Entry]]] = {}
    top = _wrapper([entry.path for entry in entries])
    for entry in entries:
        student = student_of(entry.path.removeprefix(top))
        beside = "/" not in entry.path.removeprefix(top) and not student.platform
        if beside and not entry.path.lower().endswith((".ipynb", ".zip")):
            continue  # a list or a note that the lecturer keeps there
        known, mine = students.get(student.key, (student, []))
        mine.append(entry)
        students[student.key] = student if student.late else known, mine
    if not students:
        raise ValueError(f"submissions: got {path}, expected notebooks in it")
    for key in sorted(students, key=natural):
        student, mine = students[key]
        yield student, _files(mine)


def student_of(path: str) -> Student:
    """Who a file belongs to, by the name patterns of Moodle and Canvas, else its folder or its own name."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    for part in parts:
        if found := _MOODLE.fullmatch(part):
            return _numbered(found, "moodle")
    if parts and (found := _CANVAS.fullmatch(parts[-1])):
        return _numbered(found, "canvas")
    visible = [part for part in parts if part not in ("/", "..", ".")]
    name = clean(visible[0] if len(visible) > 1 else PurePosixPath(visible[0]).stem) if visible else ""
    return Student(name or "unnamed", name or "unnamed")


def _numbered(found: re.Match, platform: str) -> Student:
    name = clean(found["name"]) or "unnamed"
    return Student(f"{name} ({found['number'][:20]})", name, found["number"][:20], platform, bool(found.groupdict().get("late")))


def clean(text: str) -> str:
    """A name on one line without control and direction characters, normalised and cut."""
    kept = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c)[0] != "C")
    return " ".join(kept.split())[:MAX_NAME]


def _short(path: str) -> str:
    return clean(PurePosixPath(path).name) or "unnamed"


def _wrapper(paths: Sequence[str]) -> str:
    """The one folder around everything, with its slash, if there are several things in it; else nothing."""
    tops = {path.partition("/")[0] for path in paths}
    below = {path.partition("/")[2].partition("/")[0] for path in paths}
    around = len(tops) == 1 and len(below) > 1 and "" not in below
    return f"{next(iter(tops))}/" if around and not _MOODLE.fullmatch(next(iter(tops))) else ""


def natural(text: str) -> list[tuple[int, int | str]]:
    """A sorting key by which 2 comes before 10."""
    return [(0, int(part)) if part.isdecimal() else (1, part.lower()) for part in re.split(r"(\d{1,18})", text)]


def _files(entries: Sequence[Entry]) -> list[File]:
    """The notebooks among a student's entries, in natural order; zips of theirs are opened once."""
    left, files = MAX_STUDENT, []
    for entry in sorted(entries, key=lambda entry: natural(entry.path)):
        name, ending = _short(entry.path), PurePosixPath(entry.path).suffix.lower()
        if entry.refusal or ending not in (".ipynb", ".zip"):
            found = [File(name, refusal=entry.refusal or "is no notebook")]
        else:
            found = [_read(entry)] if ending == ".ipynb" else _opened(entry)
        left -= sum(len(file.content) for file in found)
        files += found if left >= 0 else [File(name, refusal=_TOO_MUCH)]
        if left < 0:
            break
    return files


def _read(entry: Entry) -> File:
    name = _short(entry.path)
    try:
        content = entry.read(MAX_NOTEBOOK + 1)
    except _BROKEN as error:
        return File(name, refusal=f"cannot be read ({type(error).__name__})")
    if len(content) > MAX_NOTEBOOK:
        return File(name, refusal=f"is larger than {MAX_NOTEBOOK // 10**6} MB: clear its outputs and hand in again")
    return File(name, content)


def _opened(entry: Entry) -> list[File]:
    """The notebooks in a zip that a student made."""
    name = _short(entry.path)
    try:
        content = entry.read(MAX_STUDENT + 1)
        if len(content) > MAX_STUDENT:
            return [File(name, refusal=f"is larger than {MAX_STUDENT // 10**6} MB")]
        inner = [one for one in _of_zip(io.BytesIO(content)) if one.refusal or one.path.lower().endswith(".ipynb")]
    except _BROKEN as error:
        return [File(name, refusal=f"is no zip that can be read ({type(error).__name__})")]
    files, left = [], MAX_STUDENT
    for one in sorted(inner, key=lambda one: natural(one.path)):
        files.append(File(_short(one.path), refusal=one.refusal) if one.refusal else _read(one))
        left -= len(files[-1].content)
        if left < 0:
            return [*files[:-1], File(name, refusal=f"holds more than {MAX_STUDENT // 10**6} MB")]
    return files or [File(name, refusal="holds no notebook")]


def _of_folder(folder: Path) -> Iterator[Entry]:
    for here, folders, names in os.walk(folder):
        for name in sorted([*names, *(f for f in folders if (Path(here) / f).is_symlink())]):
            path = Path(here) / name
            inside = path.relative_to(folder).as_posix()
            if not _hidden(inside):
                yield _on_disk(path, inside)
        folders[:] = sorted(f for f in folders if not _hidden(f))


def _on_disk(path: Path, inside: str) -> Entry:
    def read(limit: int) -> bytes:
        # not through links, and without waiting at a pipe that somebody put there
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            return file.read(limit)

    mode = path.lstat().st_mode
    return Entry(inside, read, "" if stat.S_ISREG(mode) else "is a link" if stat.S_ISLNK(mode) else "is no ordinary file")


def _of_zip(file: io.RawIOBase | io.BytesIO) -> Iterator[Entry]:
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise ValueError(f"it has {len(entries):,} files, at most {MAX_ENTRIES:,} are read")
    for info in entries:
        path = info.filename.replace("\\", "/")
        if info.is_dir() or _hidden(path):
            continue

        def read(limit: int, info: zipfile.ZipInfo = info) -> bytes:
            with archive.open(info) as stream:
                return stream.read(limit)

        yield Entry(path, read, _zip_fault(info, path))


def _zip_fault(info: zipfile.ZipInfo, path: str) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "is a link" if kind == stat.S_IFLNK else "is no ordinary file"
    if path.startswith("/") or re.match(r"[A-Za-z]:", path) or ".." in path.split("/"):
        return "has a path that leads out of the zip"
    if info.flag_bits & 1:
        return "is encrypted"
    bound = MAX_STUDENT if path.lower().endswith(".zip") else MAX_NOTEBOOK
    return f"is larger than {bound // 10**6} MB" if info.file_size > bound else ""


def _hidden(path: str) -> bool:
    return any(part in _IGNORED or (part.startswith(".") and part not in ("..", ".")) for part in path.split("/"))
