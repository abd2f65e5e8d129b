"""Real data by name: look for the files of a set (see registry.py), download what is absent, parse.

Files are looked for in the folder COURSE_DATA, then in the user's cache (COURSE_CACHE moves it). What is in
neither is downloaded.
"""

import sys
from pathlib import Path
from typing import Any

from course_lib.data.datafiles import (
    DamagedFile,
    DataError,
    DataFile,
    DatasetNotFound,
    FileStatus,
    cache_folder,
    data_folder,
    inspect,
)
from course_lib.data.download import Transfer, download
from course_lib.data.parsers import sentence_split
from course_lib.data.registry import REGISTRY, Dataset, known

__all__ = ["REGISTRY", "DamagedFile", "DataError", "DataFile", "Dataset", "DatasetNotFound", "FileStatus",
           "Transfer", "available", "cache_folder", "data_folder", "fetch", "load", "lookup",
           "sentence_split", "verify"]


def load(name: str, **options: str) -> Any:
    """The parsed data of the set `name`, downloaded at first use.

        load("multi30k", source="de", target="en", split="val")[0]
        →  ("Eine Gruppe von Männern lädt Baumwolle …", "A group of men are loading cotton onto a truck")

    Every set of texts takes the splits "train", "valid" and "test"; "gpt2" and "bert" give
    {file name: path}. Pairs come in the order of the file, which may be sorted by length: shuffle before taking a
    part. Raises ValueError for an unknown name, option or choice,
    DatasetNotFound if the set is absent and cannot be fetched, DamagedFile for a wrong file in COURSE_DATA.
    """
    dataset = lookup(name)
    chosen = dataset.choose(options)
    paths = {path.name: path for path in fetch(name)}
    return dataset.parser(paths, **chosen)


def available(name: str) -> bool:
    """Whether `load(name)` works without a network: every file is there with the right hash."""
    try:
        return all(status.ok for status in verify(name))
    except DataError:
        return False


def verify(name: str) -> list[FileStatus]:
    """Where each file of the set is and what it holds, from size and SHA-256; uses no network."""
    return [inspect(file) for file in lookup(name).files]


def fetch(name: str, transfer: Transfer | None = None) -> list[Path]:
    """Make every file of the set present and checked, downloading what is absent; returns the paths."""
    dataset = lookup(name)
    statuses = verify(name)
    for status in statuses:
        if status.where == "COURSE_DATA" and not status.ok:
            raise DamagedFile(
                f"{name}: {status.difference()}. Copy the file again without any conversion (some tools "
                "change line ends), or unset COURSE_DATA so that the course downloads its own copy.")
    try:
        paths = [status.path if status.ok else download(status.file, transfer) for status in statuses]
    except DatasetNotFound as error:
        statuses = verify(name)
        if missing := [status for status in statuses if not status.ok]:
            raise DatasetNotFound(f"{name}: {error} {_by_hand(name, missing)}") from error
        return [status.path for status in statuses]         # another process was luckier
    if not all(status.ok for status in statuses):
        print(f"{dataset.title}. Licence: {dataset.licence}. {dataset.licence_note} Source: {dataset.source}",
              file=sys.stderr)
    return paths


def _by_hand(name: str, missing: list[FileStatus]) -> str:
    """What to do later with a network, or without one at all."""
    first, rest = missing[0], len(missing) - 1
    place = cache_folder() / first.file.path
    more = f" (and the other {rest} missing files likewise)" if rest else ""
    return (f"The command is: python3 -m course_lib data fetch {name}. If this computer has no network, "
            f"download {first.file.urls[0]} elsewhere and put it at {place}{more}, "
            f"or set COURSE_DATA to a folder that holds {first.file.path}.")


def lookup(name: str) -> Dataset:
    """The registry's entry; raises ValueError with the nearest name for an unknown one."""
    return REGISTRY[known(name, REGISTRY, "dataset")]
