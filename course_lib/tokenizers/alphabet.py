"""GPT-2's letters for bytes, in which files show tokens: a printable letter for each byte, Ġ for a space and Ċ for a line feed.

From openai/gpt-2, src/encoder.py. Their order is also the order of the first 256 ids: printable bytes first, then the others.
"""

_PRINTABLE = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
BYTES = bytes([*_PRINTABLE, *sorted(set(range(256)) - set(_PRINTABLE))])       # id → byte
PLACES = bytes(map(BYTES.index, range(256)))                                   # byte → id, for bytes.translate
_OTHERS = map(chr, range(256, 512 - len(_PRINTABLE)))                          # Ā ā Ă …
_LETTER = {byte: chr(byte) if byte in _PRINTABLE else next(_OTHERS) for byte in BYTES}
_BYTE = {letter: byte for byte, letter in _LETTER.items()}


def to_letters(token: bytes) -> str:
    """Bytes → letters: b" the" → "Ġthe"."""
    return "".join(map(_LETTER.__getitem__, token))


def to_bytes(letters: str) -> bytes:
    """Letters → bytes: "Ġthe" → b" the". Raises ValueError for another letter."""
    try:
        return bytes(map(_BYTE.__getitem__, letters))
    except KeyError as error:
        raise ValueError(f"token: got {letters!r} with the letter {error}, expected letters of GPT-2's 256") from None
