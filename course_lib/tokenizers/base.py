"""What all tokenizers share: the protocol, the check of ids, one file format, a memory of bounded size."""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import index
from pathlib import Path
from typing import Any, Protocol, Self

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
FORMAT = "course_lib tokenizer 1"


class Tokenizer(Protocol):
    """What every tokenizer of the course can do; models and recipes ask for nothing else."""

    vocab_size: int
    pad_id: int | None              # None where the tokenizer has no such token
    unk_id: int | None
    bos_id: int | None
    eos_id: int | None

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Text → ids, with <bos> before and <eos> behind when asked for."""

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → text; <pad>, <bos> and <eos> are dropped."""

    def save(self, path: str | Path) -> None:
        """Write one readable JSON file."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""


class Memo(dict):
    """A dict that fills itself: memo[key] is function(key), kept if len(key) ≤ `longest`. It never holds more than
    `limit` keys: when it is full it starts again from nothing, so that it follows the text to a new subject.
    """

    def __init__(self, function: Callable[[str], tuple[int, ...]], limit: int, longest: int):
        self.function, self.limit, self.longest = function, limit, longest

    def __missing__(self, key: str) -> tuple[int, ...]:
        value = self.function(key)
        if len(key) <= self.longest:
            if len(self) >= self.limit:
                self.clear()
            self[key] = value
        return value


def check_text(text: str) -> str:
    """The text itself; ValueError for anything but a string."""
    if not isinstance(text, str):
        raise ValueError(f"text: got {type(text).__name__}, expected a string")
    return text


def utf8(text: str) -> bytes:
    """The bytes of a text; ValueError for a lone surrogate, which is half a character and has none."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text: got the lone surrogate U+{ord(text[error.start]):04X}, expected Unicode characters") from None


def check_texts(texts: Iterable[str], name: str = "texts") -> Iterable[str]:
    """Several texts, each checked when its turn comes; ValueError for a single string or something else."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        got = "one string" if isinstance(texts, str) else type(texts).__name__
        raise ValueError(f"{name}: got {got}, expected several (a list of strings)")
    return map(check_text, texts)


def check_ids(ids: Iterable[int], size: int) -> list[int]:
    """Ids (plain, numpy or torch) → whole numbers. Raises ValueError for an id outside a vocabulary of `size`."""
    ids = list(ids)
    places = [_place(i) for i in ids]
    if places and not 0 <= min(places) <= max(places) < size:
        wrong = next(i for i, place in zip(ids, places) if not 0 <= place < size)
        raise ValueError(f"ids: got {wrong}, expected whole numbers 0 … {size - 1} (the vocabulary)")
    return places


def _place(i: object) -> int:
    try:
        return index(i)
    except TypeError:
        return -1


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole: whoever kills the process finds the previous one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tokenizer(path: str | Path, kind: str, **content: Any) -> None:
    """Save a tokenizer as one readable JSON file."""
    write_text(path, json.dumps({"format": FORMAT, "kind": kind, **content}, ensure_ascii=False, indent=0))


@contextmanager
def blaming(*paths: str | Path) -> Iterator[None]:
    """What is wrong with the content of files is told with their names."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{' and '.join(map(str, paths))}: {error}") from None


def read_json(path: str | Path, what: str) -> dict[str, Any]:
    """The JSON object in a file; ValueError "not a `what`" when there is none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a {what}, {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"not a {what}, expected a JSON object")
    return content


def read_tokenizer(path: str | Path, kind: str | None = None) -> dict[str, Any]:
    """What a tokenizer file holds; ValueError when it is none, or none of the asked kind."""
    content = read_json(path, "tokenizer file")
    if content.get("format") != FORMAT:
        raise ValueError(f"not a tokenizer file, expected the format {FORMAT!r}")
    if kind not in (None, content.get("kind")):
        raise ValueError(f"got a tokenizer of {content.get('kind')}, expected one of {kind}")
    return content


def load_list(cls: type, path: str | Path) -> Any:
    """A `cls` from a tokenizer file with a list of tokens and a lower-case flag. Raises ValueError for a damaged or wrong file."""
    with blaming(path):
        content = read_tokenizer(path, cls.kind)
        vocabulary, lowercase = content.get("vocabulary"), content.get("lowercase")
        if not isinstance(vocabulary, list) or not isinstance(lowercase, bool):
            raise ValueError("expected a list 'vocabulary' and true or false for 'lowercase'")
        return cls(vocabulary, lowercase)
