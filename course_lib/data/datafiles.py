"""Single data files: where they may lie (COURSE_DATA, the cache) and whether they are the right ones."""

import os
from dataclasses import dataclass
from pathlib import Path

import pooch


class DataError(Exception):
    """Real data cannot be used; the message says why and what to do."""


class DatasetNotFound(DataError):
    """The data is neither in COURSE_DATA nor in the cache, and could not be downloaded."""


class DamagedFile(DataError):
    """A file in COURSE_DATA is not the one the course expects."""


@dataclass(frozen=True)
class DataFile:
    """One file: path below COURSE_DATA and below the cache, SHA-256, size, and addresses in order."""

    path: str
    sha256: str
    bytes: int
    urls: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class FileStatus:
    """Where a file is ("COURSE_DATA", "cache" or "absent"), and what was found there."""

    file: DataFile
    where: str
    path: Path                      # where it is; for an absent file, where a download puts it
    sha256: str | None = None
    bytes: int | None = None

    @property
    def ok(self) -> bool:
        """Present with the expected size and SHA-256."""
        return self.sha256 == self.file.sha256 and self.bytes == self.file.bytes

    def difference(self) -> str:
        """What was found beside what was expected, for a message."""
        return (f"{self.path} has {self.bytes:,} bytes and SHA-256 {self.sha256}, "
                f"expected {self.file.bytes:,} bytes and SHA-256 {self.file.sha256}")


def cache_folder() -> Path:
    """The user's cache: the folder in COURSE_CACHE, or the platform's own place for caches."""
    return Path(os.environ.get("COURSE_CACHE") or pooch.os_cache("course_lib")).expanduser().resolve()


def data_folder() -> Path | None:
    """The folder in COURSE_DATA, None where it is not set; raises DataError where it is no folder."""
    value = os.environ.get("COURSE_DATA")
    if not value:
        return None
    folder = Path(value).expanduser().resolve()
    if not folder.is_dir():
        raise DataError(f"COURSE_DATA is {value!r}, which is not a folder. Set it to the folder that holds "
                        "the data files, or unset it so that the course downloads its own copies.")
    return folder


def inspect(file: DataFile) -> FileStatus:
    """Look for `file` in COURSE_DATA, then in the cache, and hash what is there; uses no network.

    COURSE_DATA wins over the cache even when damaged: what the user chose is not silently passed over.
    """
    for where, folder in (("COURSE_DATA", data_folder()), ("cache", cache_folder())):
        if folder is None or not (path := folder / file.path).is_file():
            continue
        try:
            return FileStatus(file, where, path, pooch.file_hash(str(path)), path.stat().st_size)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror or error}). Give yourself the right to "
                            "read it, or remove it.") from error
    return FileStatus(file, "absent", cache_folder() / file.path)
