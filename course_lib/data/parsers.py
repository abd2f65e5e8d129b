"""Reading real data: never an unpacked file on disk, never more than UNPACKED_LIMIT bytes, always UTF-8.

A parser takes the files of a set ({file name: path}) and the chosen options; `load` returns its result.
"""

import gzip
import hashlib
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

from course_lib.data.datafiles import DataError

Pairs = list[tuple[str, str]]
UNPACKED_LIMIT = 256 * 2**20        # bytes; no file of the course unpacks to more


def gzip_text(path: Path) -> str:
    """The text in a .gz file; raises DataError if it is too large or not UTF-8."""
    with gzip.open(path) as packed:
        return decode_text(packed.read(UNPACKED_LIMIT + 1), path)


def zip_text(path: Path, member: str) -> str:
    """The text of one member of a .zip file; raises DataError if it is too large or not UTF-8."""
    with zipfile.ZipFile(path) as archive, archive.open(member) as packed:
        return decode_text(packed.read(UNPACKED_LIMIT + 1), path)


def decode_text(content: bytes, path: Path) -> str:
    """The text in `content`, read from `path`; raises DataError if it is too large or not UTF-8."""
    if len(content) > UNPACKED_LIMIT:
        raise DataError(f"{path} unpacks to more than {UNPACKED_LIMIT:,} bytes, which no course file does.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start:,}).") from error


def lines(text: str) -> list[str]:
    """The lines, cut at line feeds alone: `splitlines` also cuts at U+2028, U+0085 …, and so shifts pairs."""
    return text.removesuffix("\n").split("\n")


def tidy(text: str) -> str:
    """One space for any white space (tab, U+00A0, U+202F …), none at the ends, nothing invisible; NFC."""
    visible = text.replace("\u200b", "").replace("\u00ad", "")       # zero-width space, soft hyphen
    return unicodedata.normalize("NFC", " ".join(visible.split()))


def sentence_split(sentence: str) -> str:
    """Choose "train" (80 %), "valid" (10 %) or "test" (10 %) by a hash of the sentence's letters and digits.

    The same on every machine. "Go." and "go!" fall together, so differing in punctuation only never crosses.
    """
    key = "".join(filter(str.isalnum, sentence.casefold()))
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return {0: "valid", 1: "test"}.get(bucket, "train")


def parse_multi30k(files: Mapping[str, Path], source: str, target: str, split: str) -> Pairs:
    """Line n of one language is the translation of line n of the other; no line is dropped."""
    sources, targets = (lines(gzip_text(files[f"{split}.{language}.gz"])) for language in (source, target))
    return [(tidy(a), tidy(b)) for a, b in zip(sources, targets, strict=True)]


def parse_manythings(files: Mapping[str, Path], source: str, target: str, split: str) -> Pairs:
    """English is the first column; a third one, where there is one, says who wrote the sentences."""
    (path,) = files.values()
    kept: dict[tuple[str, str], None] = {}          # in order, without repeats
    for line in lines(zip_text(path, path.name.replace("-eng.zip", ".txt"))):
        english, other = map(tidy, line.split("\t")[:2])
        if sentence_split(english) == split:
            kept[(english, other) if source == "en" else (other, english)] = None
    return list(kept)


def parse_text(files: Mapping[str, Path], split: str) -> str:
    """The first 90 % of the characters are for training, the rest is split in two halves."""
    (path,) = files.values()
    text = decode_text(path.read_bytes(), path)
    train, valid = len(text) * 90 // 100, len(text) * 95 // 100
    return {"all": text, "train": text[:train], "valid": text[train:valid], "test": text[valid:]}[split]


def parse_paths(files: Mapping[str, Path]) -> Mapping[str, Path]:
    """Files that other parts of the library read: {file name: path}."""
    return files
