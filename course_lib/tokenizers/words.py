"""From text to ids and back, by characters and words. An id is a place in the vocabulary, a list of strings.

The first four places are the same everywhere: <pad> 0, <unk> 1, <bos> 2, <eos> 3. Text that happens to
contain "<pad>" is text: it is split like any other and never becomes a special id.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import regex

from course_lib.tokenizers.base import SPECIALS, check_ids, check_texts, load_list, write_tokenizer


class _Vocabulary:
    """The part that characters and words share: tokens ↔ ids, training by counts, JSON."""

    kind: str
    pad_id, unk_id, bos_id, eos_id = range(4)

    def __init__(self, tokens: Sequence[str], lowercase: bool = False):
        distinct = all(isinstance(token, str) for token in tokens) and len(set(tokens)) == len(tokens)
        if not distinct or tuple(tokens[:4]) != SPECIALS:
            raise ValueError(f"tokens: got {list(tokens[:5])} …, "
                             f"expected distinct strings that start with {', '.join(SPECIALS)}")
        self.vocabulary, self.lowercase = list(tokens), bool(lowercase)
        self._id_of = {token: i for i, token in enumerate(self.vocabulary[4:], start=4)}

    @classmethod
    def _count(cls, texts: Iterable[str], lowercase: bool = False) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in check_texts(texts):
            counts.update(cls.split(text.lower() if lowercase else text))
        if not counts:
            raise ValueError("texts: got no text to learn from, expected at least one word")
        return counts

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the four special ones included."""
        return len(self.vocabulary)

    def id_of(self, token: str) -> int | None:
        """The id of a token, None for one that is not in the vocabulary."""
        return self._id_of.get(token)

    def extended(self, tokens: Iterable[str]) -> Self:
        """A tokenizer that knows `tokens`, too; old ids stay what they are. ValueError for one that it knows already."""
        return type(self)([*self.vocabulary, *tokens], self.lowercase)

    def to_ids(self, tokens: Iterable[str]) -> list[int]:
        """Tokens → ids; a token that is not in the vocabulary becomes <unk>."""
        lookup = self._id_of
        return [lookup.get(token, 1) for token in tokens]

    def to_tokens(self, ids: Iterable[int]) -> list[str]:
        """Ids → tokens, the special ones included. Raises ValueError for an id outside the vocabulary."""
        tokens = self.vocabulary
        return [tokens[i] for i in check_ids(ids, len(tokens))]

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Text → ids, with <bos> before and <eos> behind when asked for; unknown tokens become <unk>."""
        if not isinstance(text, str):
            raise ValueError(f"text: got {type(text).__name__}, expected a string (tokens: to_ids)")
        ids = self.to_ids(self.split(text.lower() if self.lowercase else text))
        return [2] * bos + ids + [3] * eos

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → text; <pad>, <bos> and <eos> are dropped, <unk> stays visible."""
        dropped = (SPECIALS[0], SPECIALS[2], SPECIALS[3])
        return self.join([token for token in self.to_tokens(ids) if token not in dropped])

    def save(self, path: str | Path) -> None:
        """Write one readable JSON file; whoever kills the process finds the previous file whole."""
        write_tokenizer(path, self.kind, lowercase=self.lowercase, vocabulary=self.vocabulary)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError, ValueError for a damaged or wrong file."""
        return load_list(cls, path)


class CharTokenizer(_Vocabulary):
    """One id per character (Unicode code point), in code point order: nothing is lost, sequences are long.

        CharTokenizer.train(["abba"]).encode("ab!")  →  [4, 5, 1]
    """

    kind = "characters"

    @classmethod
    def train(cls, texts: Iterable[str]) -> Self:
        """Every character of `texts` gets an id. Raises ValueError when there is none."""
        return cls([*SPECIALS, *sorted(cls._count(texts))])

    @staticmethod
    def split(text: str) -> list[str]:
        """The characters of a text."""
        return list(text)

    @staticmethod
    def join(tokens: Iterable[str]) -> str:
        """The text that the characters make."""
        return "".join(tokens)


# What counts as one word; the first alternative that fits wins.
_TOKEN = regex.compile(r"""
      (?:\p{L}\.){2,}                                            # U.S.   z.B.
    | \p{N}+ (?: [.,:] \p{N}+ )+                                 # 3.5   1,000   10:30
    | (?i: \b (?: [cdjlmnst] | (?:jus|lors|puis|quoi)? qu ) ['’] (?=\p{L}) )    # French: l'  d'  qu'
    | (?: (?<!\S) - )? [\p{L}\p{M}\p{N}]++ (?: ['’\-‑] [\p{L}\p{M}\p{N}]++ )* (?: - (?=[\s,]) )?
                                                                 # don't   T-shirt   2nd   방에서   Herbst-
    | \.{2,} | -{2,}
    | \S                                                         # any other sign stands alone
""", regex.VERBOSE)
_STICKS_LEFT = frozenset(".,!?;:)]}%…’°'/") | {"..", "..."}               # no space before
_STICKS_RIGHT = frozenset("([{$£€#@‘„‚/¿¡")                              # no space behind
_QUOTES = dict.fromkeys('"“”„', "double") | dict.fromkeys("«»", "angular")  # the second closes
_ELISION = regex.compile(r"(?i)(?:[cdjlmnst]|(?:jus|lors|puis|quoi)?qu)['’]")


class WordTokenizer(_Vocabulary):
    """One id per word or punctuation sign; frequent words first, ties in code point order; the rest is <unk>.

        WordTokenizer.split("Don't panic!")            →  ["Don't", "panic", "!"]
        WordTokenizer.join(["Don't", "panic", "!"])    →  "Don't panic!"
    """

    kind = "words"

    @classmethod
    def train(cls, texts: Iterable[str], max_vocab: int | None = None, min_count: int = 1,
              lowercase: bool = False) -> Self:
        """Keep the words seen at least `min_count` times, at most `max_vocab` ids with the special ones."""
        if max_vocab is not None and max_vocab <= len(SPECIALS):
            raise ValueError(f"max_vocab: got {max_vocab}, expected more than {len(SPECIALS)}")
        if min_count < 1:
            raise ValueError(f"min_count: got {min_count}, expected at least 1")
        ranked = sorted(cls._count(texts, lowercase).items(), key=lambda item: (-item[1], item[0]))
        words = [word for word, count in ranked if count >= min_count]
        if not words:
            raise ValueError(f"min_count: no word was seen {min_count} times; "
                             f"the most frequent one, {ranked[0][1]} times")
        return cls([*SPECIALS, *words][:max_vocab], lowercase)

    @staticmethod
    def split(text: str) -> list[str]:
        """Words and signs of a text, composed to Unicode NFC; any kind of space separates and is dropped."""
        return _TOKEN.findall(unicodedata.normalize("NFC", text))

    @staticmethod
    def join(tokens: Iterable[str]) -> str:
        """The text that the words make: a space between words, none before . , ! ? or inside quotes."""
        pieces: list[str] = []
        open_quotes: set[str] = set()
        glue = True                                                 # the next token follows without a space
        for token in tokens:
            pair = _QUOTES.get(token)
            closes = pair in open_quotes
            pieces += [token] if glue or closes or token in _STICKS_LEFT else [" ", token]
            if pair is not None:
                open_quotes ^= {pair}
            opens = pair is not None and not closes
            glue = opens or token in _STICKS_RIGHT or _ELISION.fullmatch(token) is not None
        return "".join(pieces)
