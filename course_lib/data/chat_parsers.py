"""Reading real conversations: instructions with responses, and pairs of responses of which people, or a model, preferred one.

Turns are (role, text), the roles "user" and "assistant" in turn, as alignment/chat.py renders them. A damaged row is a DataError
that names it. Line breaks in a text are kept: some responses are poems or code.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from course_lib.data.datafiles import DataError
from course_lib.data.parsers import decode_text, gzip_text, lines, sentence_split

Turns = tuple[tuple[str, str], ...]
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_MARK = re.compile(r"\n\n(Human|Assistant):")


def parse_instructions(files: Mapping[str, Path], split: str) -> list[Turns]:
    """One turn of each: `instruction` and, below it, `input` where there is one; then `output`. Split by what the user says."""
    (path,) = files.values()
    return [turns for turns in (_instructed(path, n, row) for n, row in _rows(path)) if sentence_split(turns[0][1]) == split]


def parse_seed_tasks(files: Mapping[str, Path], split: str) -> list[Turns]:
    """Tasks in JSON lines, each with the first of its instances."""
    (path,) = files.values()
    found = []
    for number, row in _rows(path):
        instances = row.get("instances")
        first = instances[0] if isinstance(instances, list) and instances and isinstance(instances[0], dict) else {}
        found.append(_instructed(path, number, {**first, "instruction": row.get("instruction")}))
    return [turns for turns in found if sentence_split(turns[0][1]) == split]


def parse_preferences(files: Mapping[str, Path], split: str) -> list[tuple[Turns, str, str]]:
    """(turns, chosen, rejected): turns end with the user's; pairs of two equal responses are left out. Split as parse_instructions."""
    (path,) = files.values()
    found = [(_instructed(path, n, row)[:1], *(_text(path, n, row, name) for name in ("chosen", "rejected"))) for n, row in _rows(path)]
    return [pair for pair in found if pair[1] != pair[2] and sentence_split(pair[0][0][1]) == split]


def parse_dialogues(files: Mapping[str, Path], split: str) -> list[tuple[Turns, str, str]]:
    """(turns, chosen, rejected) of two dialogues that differ in their last response. Split by the user's first words.

    Left out: dialogues that part earlier, two equal responses, an empty one, and speakers that do not take turns.
    """
    (path,) = files.values()
    found = []
    for number, row in _rows(path):
        (*turns, (_, chosen)), (*others, (_, rejected)) = (_dialogue(path, number, row, name) for name in ("chosen", "rejected"))
        roles = [role for role, _ in turns]
        alternate = roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        if turns == others and alternate and chosen and rejected and chosen != rejected and sentence_split(turns[0][1]) == split:
            found.append((tuple(turns), chosen, rejected))
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON list, or of JSON lines (packed or not), each with its number."""
    text = gzip_text(path) if path.suffix == ".gz" else decode_text(path.read_bytes(), path)
    try:
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in lines(text)]
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not in JSON ({error}).") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} holds {type(rows).__name__}, expected a list of objects.")
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number}: got {type(row).__name__}, expected an object.")
        yield number, row


def _text(path: Path, number: int, row: Mapping[str, Any], name: str) -> str:
    if not isinstance(row.get(name), str) or not row[name].strip():
        raise DataError(f"{path}, row {number}: got {str(row.get(name))[:80]!r} as {name!r}, expected a text.")
    return unicodedata.normalize("NFC", row[name].strip())


def _instructed(path: Path, number: int, row: Mapping[str, Any]) -> Turns:
    asked = _text(path, number, row, "instruction")
    if row.get("input") != "":
        asked = f"{asked}\n{_text(path, number, row, 'input')}"
    return ("user", asked), ("assistant", _text(path, number, row, "output"))


def _dialogue(path: Path, number: int, row: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """The dialogue in a text of paragraphs that begin with "Human:" or "Assistant:", the last one the assistant's."""
    before, *parts = _MARK.split("\n\n" + _text(path, number, row, name))
    turns = [(_SPEAKERS[who], said.strip()) for who, said in zip(parts[::2], parts[1::2])]
    if before.strip() or len(turns) < 2 or turns[-1][0] != "assistant":
        raise DataError(f"{path}, row {number}: {name!r} is {str(row[name])[:80]!r} …, expected Human:, Assistant:, …, Assistant:")
    return turns
