"""Reading real data with labels: pairs, sentences, questions with answers, tagged words. A damaged row is a DataError that names it."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from course_lib.data.datafiles import DataError
from course_lib.data.parsers import decode_text, lines, sentence_split, tidy

SNLI_LABELS = {"0": "entailment", "1": "neutral", "2": "contradiction"}
TOLD_LABELS = {"0": "negative", "1": "positive"}
WNUT17_FILES = {"train": "wnut17train.conll", "valid": "emerging.dev.conll", "test": "emerging.test.annotated"}
_TAG = re.compile(r"O|[BI]-[a-z-]+")

Tagged = tuple[tuple[str, ...], tuple[str, ...]]                        # words, tags


class Answered(NamedTuple):
    """A question about a context, and its answer, which stands there from character `start` on."""

    question: str
    context: str
    answer: str
    start: int


def _columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """The lines of a table, each with its number, cut at tabs; DataError where one has other columns or an empty one."""
    for number, line in enumerate(lines(decode_text(path.read_bytes(), path)), 1):
        columns = line.split("\t")
        if len(columns) != len(names) or not all(column.strip() for column in columns):
            raise DataError(f"{path}, line {number}: got {line[:80]!r}, expected {', '.join(names)} between tabs")
        yield number, columns


def _label(path: Path, number: int, label: str, names: Mapping[str, str]) -> str:
    if label not in names:
        raise DataError(f"{path}, line {number}: got the label {label[:20]!r}, expected one of {', '.join(names)}")
    return names[label]


def parse_snli(files: Mapping[str, Path], split: str) -> list[tuple[str, str, str]]:
    """(premise, hypothesis, label). Test is the test file; the file for development gives train, and by its premises a tenth valid."""
    path = files["test.txt" if split == "test" else "dev.txt"]
    rows = [(tidy(premise), tidy(hypothesis), _label(path, number, label, SNLI_LABELS))
            for number, (premise, hypothesis, label) in _columns(path, ("premise", "hypothesis", "label"))]
    return rows if split == "test" else [row for row in rows if (sentence_split(row[0]) == "valid") == (split == "valid")]


def parse_told(files: Mapping[str, Path], split: str) -> list[tuple[str, str]]:
    """(sentence, "positive" or "negative") of all files, cut into splits by the sentences."""
    rows = ((tidy(sentence), _label(path, number, label, TOLD_LABELS))
            for path in files.values() for number, (sentence, label) in _columns(path, ("sentence", "label")))
    return [row for row in rows if sentence_split(row[0]) == split]


def parse_squad(files: Mapping[str, Path], split: str) -> list[Answered]:
    """Questions with their first answers, in SQuAD's JSON; whole articles belong to a split, by their titles."""
    (path,) = files.values()
    text = decode_text(path.read_bytes(), path)
    try:
        found = [(article["title"], Answered(asked["question"], paragraph["context"], asked["answers"][0]["text"],
                                             asked["answers"][0]["answer_start"]))
                 for article in json.loads(text)["data"] for paragraph in article["paragraphs"] for asked in paragraph["qas"]]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is not in SQuAD's format ({type(error).__name__}: {error}).") from error
    for title, (question, context, answer, start) in found:
        if not all(isinstance(part, str) and part.strip() for part in (title, question, context, answer)) or type(start) is not int \
                or start < 0 or context[start:start + len(answer)] != answer:
            raise DataError(f"{path}, question {str(question)[:80]!r}: the answer {str(answer)[:80]!r} is not at character {start}.")
    return [answered for title, answered in found if sentence_split(title) == split]


def parse_tagged(files: Mapping[str, Path], split: str) -> list[Tagged]:
    """Sentences as (words, tags): a word, a tab and its tag in each line, sentences parted by a line without any word.

    Words are as they stand in the file: some hold invisible signs, which no tidying may take away.
    """
    path = files[WNUT17_FILES[split]]
    return list(_sentences(path, lines(decode_text(path.read_bytes(), path))))


def _sentences(path: Path, rows: Iterable[str]) -> Iterator[Tagged]:
    words, tags = [], []
    for number, line in enumerate([*rows, ""], 1):
        word, _, tag = line.partition("\t")
        if line in ("", "\t"):
            if words:
                yield tuple(words), tuple(tags)
            words, tags = [], []
        elif not word or not _TAG.fullmatch(tag):
            raise DataError(f"{path}, line {number}: got {line[:80]!r}, expected a word, a tab, and O, B- or I- with a type")
        else:
            words.append(word)
            tags.append(tag)
