"""Cutting a text into pre-tokens, inside which byte pairs are merged; a text of any length, in bounded memory.

A pattern alone cannot be used on a piece of a text: \\s+(?!\\S) looks ahead. But every pattern has places where a text may be
cut so that both sides are split as before. For GPT-2's pattern one lies before each space that follows a sign. Between two
such places stands a *stretch*, mostly a word with its comma. Few stretches are distinct, so a long text is cut into stretches
(fast, plain `re`) and the pattern reads each distinct one only once.
"""

import re
from collections.abc import Iterable, Iterator

import regex

# Radford et al. 2019: openai/gpt-2, src/encoder.py.
GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# cl100k_base as first published: openai/tiktoken 0.3, tiktoken_ext/openai_public.py. Its later form with `\s++$` keeps the
# spaces that end a text together: "a\n  " has the pre-tokens "a", "\n", "  " here and "a", "\n  " there.
GPT4_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")

# Stretches of the two patterns. `re` counts U+001C … U+001F as space, patterns for `regex` do not.
_SPACE, _SIGN = r"[^\S\x1c-\x1f]", r"[\S\x1c-\x1f]"
STRETCHES = {
    GPT2_PATTERN: rf"{_SPACE}*+{_SIGN}++|{_SPACE}++",                          # cut between a sign and a space
    GPT4_PATTERN: rf"{_SPACE}*+{_SIGN}++(?:{_SPACE}*[\r\n])?|{_SPACE}++",      # behind the last line end among the spaces, too
}
BLOCK = 2**16               # characters of a long text that are cut at a time


class Splitter:
    """A pattern for `regex`, and how a text is cut for it. Nothing of a text is lost: what the pattern passes over is a
    pre-token, too. Raises ValueError for a pattern that does not compile.

        Splitter(GPT2_PATTERN).split("Don't  stop!")  →  ["Don", "'t", " ", " stop", "!"]
    """

    def __init__(self, pattern: str):
        try:
            self._find = regex.compile(pattern)
        except (regex.error, TypeError) as error:
            raise ValueError(f"pattern: got {pattern!r}, expected a regular expression ({error})") from None
        self.pattern = pattern
        self._cut = re.compile(STRETCHES[pattern]).findall if pattern in STRETCHES else self.split

    def split(self, text: str) -> list[str]:
        """The pre-tokens of a text."""
        if not self._find.groups:                       # with groups, findall returns these
            found = self._find.findall(text)
            if sum(map(len, found)) == len(text) and "" not in found:
                return found
        pieces, end = [], 0
        for match in self._find.finditer(text):
            pieces += [text[end:match.start()], match.group()]
            end = match.end()
        return [piece for piece in [*pieces, text[end:]] if piece]

    def pretokens(self, stretch: str) -> list[str]:
        """The pre-tokens of a stretch. The patterns in STRETCHES pass over nothing; for another one a stretch is a pre-token."""
        return self._find.findall(stretch) if self.pattern in STRETCHES else [stretch]

    def blocks(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Lists of stretches, several for a long text. A pattern that is not in STRETCHES: of pre-tokens, one list a text."""
        for text in texts:
            if len(text) <= BLOCK:
                yield self._cut(text)
            else:
                yield from self.stream(text[start:start + BLOCK] for start in range(0, len(text), BLOCK))

    def stream(self, chunks: Iterable[str]) -> Iterator[list[str]]:
        """The same for one text that comes in chunks, cut anywhere. Held in memory: about a block, and at most two stretches.
        A pattern that is not in STRETCHES: the whole text.
        """
        held, size = [], 0
        enough = BLOCK if self.pattern in STRETCHES else float("inf")
        for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size >= enough:
                found = self._cut("".join(held))
                held = found[-2:]                               # more text may still change these
                size = sum(map(len, held))
                enough = 2 * max(BLOCK, size)                   # a text without spaces is not read again and again
                yield found[:-2]
        yield self._cut("".join(held))
