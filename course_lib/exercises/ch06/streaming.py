"""Exercise 6.5, bytes of UTF-8 that arrive in chunks, and text that never shows half a letter."""

import codecs
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.ch06.lists import TextsExaminer, differs, picked, telling, told_apart, wrong
from course_lib.exercises.spec import Case, Exercise, Finding, Property

Chunks = Sequence[list[int]]
Pieces = Callable[[Chunks], list[str]]


def reference(chunks: Chunks) -> list[str]:
    """The expected value of 6.5, by Python's incremental decoder, which `BPETokenizer.decode_stream` uses, too."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = len(chunks) - 1
    return [decoder.decode(bytes(chunk), final=n == last) for n, chunk in enumerate(chunks)]


# ---------------------------------------------------------------- draws

ASCII, TWO, THREE, FOUR = "aehlnorst .", "äöüßéñøλπжш", "배고파요日本語€", "😀🐍🎈🌍𝄞"


def _cut(rng: np.random.Generator, data: bytes, low: int, high: int) -> Chunks:
    """The bytes in chunks of low to high − 1 bytes."""
    chunks, i = [], 0
    while i < len(data):
        n = int(rng.integers(low, high))
        chunks.append(list(data[i : i + n]))
        i += n
    return chunks


def _case(rng: np.random.Generator, group: str, letters: str, n: int, longest: int, lost: int = 0, empty: int = 0, also: str = "") -> Case:
    """Text of the letters and of ASCII, its last `lost` bytes missing, cut anywhere, with `empty` empty chunks.

    The mistakes of the group show on it, and those of `also`.
    """

    def make() -> dict:
        text = "".join(picked(rng, letters, n) + picked(rng, ASCII, n // 2))
        text = "".join(text[i] for i in rng.permutation(len(text))) + letters[int(rng.integers(len(letters)))]
        data = text.encode()
        chunks = _cut(rng, data[: len(data) - lost], 1, longest + 1)
        for place in rng.integers(1, len(chunks) + 1, size=empty).tolist():
            chunks.insert(place, [])
        return {"chunks": chunks}

    shown = [answer for name in (group, also) for _, answer, _ in WRONG_IN.get(name, ())]
    others = [answer for other in WRONG_IN if other not in ("values", "four", group) for _, answer, _ in WRONG_IN[other]]
    return _noted(group, **telling(make, reference, shown, [] if group == "end" else others))


def _noted(group: str, chunks: Chunks) -> Case:
    return Case(group, {"chunks": chunks}, f"chunks {chunks}")


def draw(rng: np.random.Generator) -> list[Case]:
    (two, three, four), a = (picked(rng, letters, 1)[0].encode() for letters in (TWO, THREE, FOUR)), ord("a")
    return [
        _case(rng, "values", TWO, 6, 4),
        _case(rng, "values", TWO, 8, 3),
        _noted("values", [[a], [a, a], [two[0]], [two[1], a]]),
        _case(rng, "long", THREE, 4, 3),
        _case(rng, "long", FOUR, 4, 5, also="four"),
        _case(rng, "long", THREE + FOUR + TWO, 6, 2),
        _case(rng, "end", THREE + FOUR, 5, 4, lost=1, empty=2),
        _noted("end", [[a], [], list(two), [two[0]], []]),
        _noted("end", [[], list(three[:1]), list(three[1:]) + list(four[:2]), list(four[2:3])]),
        _noted("end", [[], []]),
    ]


# ---------------------------------------------------------------- what goes wrong


def _alone(errors: str) -> Pieces:
    return lambda chunks: [bytes(chunk).decode("utf-8", errors) for chunk in chunks]


def _whole(chunks: Chunks) -> str:
    return "".join(reference(chunks))


def _unflushed(chunks: Chunks, last: Callable[[bytes], list[str]] = lambda left: []) -> list[str]:
    """The characters that are complete; `last` makes more strings of the bytes that are left at the end."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes(chunk)) for chunk in chunks] + last(decoder.getstate()[0])


def _marked(chunks: Chunks) -> list[str]:
    """The wait itself is shown, and then what was waited for."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(bytes(chunk)) + "\ufffd" * bool(decoder.getstate()[0]) for chunk in chunks]


def _since(chunks: Chunks, start: Callable[[str], int]) -> list[str]:
    """Everything so far is decoded each time, and what lies behind start(the text before) is given."""
    arrived = accumulate(map(bytes, chunks), initial=b"")
    return [text[start(before) :] for before, text in pairwise(data.decode("utf-8", "replace") for data in arrived)]


def _late(chunks: Chunks) -> list[str]:
    """The last character waits for the next chunk, complete or not."""
    said, text, pieces = 0, "", []
    for piece in reference(chunks)[:-1]:
        text += piece
        pieces.append(text[said:-1])
        said = max(len(text) - 1, said)
    return [*pieces, _whole(chunks)[said:]] if chunks else []


def _early(chunks: Chunks) -> list[str]:
    """A character is given with its first byte."""
    starts = [sum(byte & 0xC0 != 0x80 for byte in chunk) for chunk in chunks]
    text = _whole(chunks)
    return [text[a:b] for a, b in pairwise(accumulate(starts, initial=0))]


def _waiting(most: int, whole: bool = False) -> Pieces:
    """Up to `most` bytes of an unfinished character wait; where there are more, none does, or the `whole` chunk."""

    def answer(chunks):
        pieces, waiting = [], b""
        for chunk in chunks[:-1]:
            data, decoder = waiting + bytes(chunk), codecs.getincrementaldecoder("utf-8")("replace")
            decoder.decode(data)
            unfinished = len(decoder.getstate()[0])
            ready = len(data) - (unfinished if unfinished <= most else len(data) * whole)
            waiting = data[ready:]
            pieces.append(data[:ready].decode("utf-8", "replace"))
        return [*pieces, *((waiting + bytes(chunk)).decode("utf-8", "replace") for chunk in chunks[-1:])]

    return answer


_SHOWN = "Where a character is not complete yet, you show U+FFFD. Show nothing: its bytes wait for the rest."
_FOUR = "You forget the characters of four bytes. Where there are none, all is right."
_SILENT = "A chunk that completes no character has its string, too, an empty one: one string for each chunk."
WRONG_IN: dict[str, tuple[tuple[str, Pieces, str], ...]] = {
    "values": (
        ("each chunk alone", _alone("replace"), "Each chunk is decoded by itself, so that a character that is cut is lost twice."),
        ("each chunk alone", _alone("ignore"), "Each chunk is decoded by itself, and the halves of a cut character are dropped."),
        (
            "all at the end",
            lambda chunks: [*[""] * (len(chunks) - 1), _whole(chunks)][: len(chunks)],
            "All of the text is in the last string. A reader wants each character as soon as its last byte has come.",
        ),
        ("one string", lambda chunks: [_whole(chunks)], "The text is in one string. One for each chunk is asked for."),
        ("wait shown", _marked, _SHOWN),
        ("wait shown", lambda chunks: _since(chunks, len), f"{_SHOWN} And what has been shown once is not mended later."),
        ("all so far", lambda chunks: _since(chunks, lambda before: 0), "Each string holds all of the text so far. Give what is new."),
        ("one character late", _late, "The last character waits for the next chunk, even where it is complete."),
        (
            "with the first byte",
            _early,
            "A character is in the string of the chunk in which it begins. Who reads that chunk does not know it yet.",
        ),
        (
            "bytes as letters",
            lambda chunks: ["".join(map(chr, chunk)) for chunk in chunks],
            "Each byte becomes a letter, as in Latin-1. In UTF-8 a letter beyond ASCII has several bytes.",
        ),
        (
            "whole chunks wait",
            _waiting(0, whole=True),
            "A chunk that ends inside a character waits as a whole. Its complete characters can be given at once.",
        ),
        ("silent chunks left out", lambda chunks: [piece for piece in reference(chunks) if piece], _SILENT),
    ),
    "long": (
        (
            "two bytes at most",
            _waiting(1),
            "Only the first byte of a character waits. With two of three bytes, or three of four, it is not complete either.",
        ),
    ),
    "four": (
        ("four bytes forgotten", _waiting(2), _FOUR),
        ("four bytes forgotten", _waiting(2, whole=True), _FOUR),
    ),
    "end": (
        ("end forgotten", _unflushed, "Bytes of a character that is never completed get lost. They become U+FFFD in the last string."),
        (
            "a mark for each byte",
            lambda chunks: [*_unflushed(chunks)[:-1], "".join(_unflushed(chunks, lambda left: ["\ufffd" * len(left)])[-2:])],
            "What is left of a character at the end is one U+FFFD, not one for each byte.",
        ),
        (
            "a string too many",
            lambda chunks: _unflushed(chunks, lambda left: ["\ufffd"] * bool(left)),
            "What is left at the end gets a string of its own. It belongs to the last one.",
        ),
        (
            "empty chunks left out",
            lambda chunks: reference([chunk for chunk in chunks if chunk]),
            "A chunk without bytes gets no string. One for each chunk is asked for, an empty one if there is nothing to say.",
        ),
    ),
}
WRONG = tuple(entry for entries in WRONG_IN.values() for entry in entries)


# ---------------------------------------------------------------- judging


class StreamExaminer(TextsExaminer):
    """Sees by which cases are right that characters of four bytes are forgotten, whatever comes of it, an error, too."""

    def __call__(self, exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
        finding = super().__call__(exercise, cases, outputs)
        wrong = [(case, problem) for case, output in zip(cases, outputs, strict=True) if (problem := self._problem(case, output))]
        long = [f"{case.note}: {problem}" for case, problem in wrong if case.group == "long"]
        if long and all(_has_four(case) for case, _ in wrong):
            return Finding(finding.holds, f"{_FOUR} ({long[0]})", "four bytes forgotten")
        return finding

    def _problem(self, case: Case, output: Output) -> str:
        got, problem = self.parse(output)
        return problem or differs(self.names, case, got, self.read(reference(**case.args)))


def _has_four(case: Case) -> bool:
    return any(byte >= 0xF0 for chunk in case.args["chunks"] for byte in chunk)


EXERCISE = Exercise(
    "6.5",
    "Never half a letter",
    "implement",
    3,
    15,
    "decode a stream of tokens without breaking a character",
    (
        Property("values", "each character as soon as its last byte has come", 2),
        Property("long", "letters of three and four bytes, over several chunks"),
        Property("end", "an end that is cut off, empty chunks"),
    ),
    told_apart(draw, WRONG),
    StreamExaminer(("pieces",), tuple(wrong(("pieces",), *entry) for entry in WRONG), differs),
    reference,
)
