"""Byte-pair encoding on bytes (Sennrich et al. 2016; Radford et al. 2019): every text has ids, and no id means "unknown"."""

import codecs
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Self

import regex

from course_lib.tokenizers.alphabet import BYTES, to_letters
from course_lib.tokenizers.base import (
    Memo,
    blaming,
    check_ids,
    check_text,
    check_texts,
    read_tokenizer,
    utf8,
    write_text,
    write_tokenizer,
)
from course_lib.tokenizers.merging import Merger, Pair, learn_merges
from course_lib.tokenizers.published import read_gpt2, read_huggingface, read_saved
from course_lib.tokenizers.splitting import GPT2_PATTERN, Splitter

ENDOFTEXT = "<|endoftext|>"
CACHED = 2**17              # strings whose ids are remembered, of each of two kinds …
LONGEST = 64                # … and their greatest length in characters
UNCOUNTED = 2**16           # distinct stretches that training holds before it splits them


class BPETokenizer:
    """Bytes, merged pair by pair. Ids as GPT-2's are laid out: 256 bytes, merged tokens by age, special tokens.

        BPETokenizer.train(["low lower lowest"], vocab_size=260).encode("low")  →  [257]      # "l"+"o" 256, "lo"+"w" 257

    vocabulary: id → bytes, or str for a special token. merges: pairs of ids, first learned first. specials: name → id.
    pad_id, bos_id, eos_id are the ids of "<pad>", "<bos>", "<eos>"; of "<|endoftext|>" where these are absent, as GPT-2 uses it;
    else None. unk_id is the id of "<unk>", else None: no text needs it. "<|endoftext|>" inside a text is text.
    """

    kind = "byte pairs"

    def __init__(self, vocabulary: Sequence[bytes | str], merges: Sequence[Pair], pattern: str = GPT2_PATTERN):
        self.vocabulary, self.merges = list(vocabulary), [tuple(pair) for pair in merges]
        id_of, made = _checked(self.vocabulary, self.merges)
        self.specials = {token: i for token, i in id_of.items() if isinstance(token, str)}
        self.pad_id, self.bos_id, self.eos_id = (
            self.specials.get(name, self.specials.get(ENDOFTEXT)) for name in ("<pad>", "<bos>", "<eos>"))
        self.unk_id = self.specials.get("<unk>")
        self._splitter, self._merge = Splitter(pattern), Merger(self.merges, made)
        self._byte_ids = [id_of[bytes([byte])] for byte in range(256)]
        self._stretches = Memo(self._encode_stretch, CACHED, LONGEST)
        self._pretokens = Memo(self._encode_pretoken, CACHED, LONGEST)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, pattern: str = GPT2_PATTERN,
              specials: Sequence[str] = (ENDOFTEXT,)) -> Self:
        """Learn merges from texts, read once: `learn_merges` has the rule. vocab_size counts all ids; there are fewer when the
        texts have no more pairs. Memory grows with the distinct pre-tokens. Raises ValueError for no text or a small vocab_size.
        """
        if isinstance(specials, str) or not all(isinstance(token, str) for token in specials):
            raise ValueError(f"specials: got {specials!r}, expected several names (a list of strings)")
        if vocab_size < len(BYTES) + len(specials):
            raise ValueError(f"vocab_size: got {vocab_size}, expected at least {len(BYTES) + len(specials)}, "
                             f"256 bytes and {len(specials)} special tokens")
        words = _count_words(check_texts(texts), Splitter(pattern))
        if not words:
            raise ValueError("texts: got no text to learn from, expected at least one word")
        tokens, merges = learn_merges(words, vocab_size - len(specials))
        return cls([*tokens, *specials], merges, pattern)

    @classmethod
    def from_gpt2(cls, merges: str | Path, vocabulary: str | Path) -> Self:
        """The tokenizer in GPT-2's own files, vocab.bpe and encoder.json. Raises ValueError if they do not fit together."""
        with blaming(merges, vocabulary):
            return cls(*read_gpt2(merges, vocabulary))

    @classmethod
    def from_huggingface(cls, path: str | Path) -> Self:
        """The tokenizer in a tokenizer.json. Raises ValueError, naming the entry, for one whose ids would not be the same."""
        with blaming(path):
            return cls(*read_huggingface(path))

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the special ones included."""
        return len(self.vocabulary)

    @property
    def pattern(self) -> str:
        """How text is split before bytes are merged, for the module `regex`."""
        return self._splitter.pattern

    def id_of(self, special: str) -> int | None:
        """The id of a special token, None where there is none of this name."""
        return self.specials.get(special)

    def extended(self, specials: Iterable[str]) -> Self:
        """A tokenizer with more special tokens; old ids stay what they are. ValueError for one that it has already."""
        return type(self)([*self.vocabulary, *specials], self.merges, self.pattern)

    def encode(self, text: str, bos: bool = False, eos: bool = False, allowed: Collection[str] = ()) -> list[int]:
        """Text → ids, with bos_id before and eos_id behind when asked for.

        allowed: special tokens that the text may contain as such (never for text that others wrote). Raises ValueError for
        a lone surrogate, which is no character, for an unknown special token, and for a bos or eos that does not exist.
        """
        ids = self._encode_allowed(text, allowed) if allowed else [*self._encode(self._splitter.blocks([check_text(text)]))]
        if bos:
            ids.insert(0, _existing("bos", self.bos_id))
        if eos:
            ids.append(_existing("eos", self.eos_id))
        return ids

    def encode_iterable(self, chunks: Iterable[str]) -> Iterator[int]:
        """The ids of one text that comes in chunks, cut anywhere, as `encode` gives them for the whole; memory for one block.
        A pattern that is not in `splitting.STRETCHES` needs memory for the whole text.
        """
        return self._encode(self._splitter.stream(check_texts(chunks, "chunks")))

    def _encode(self, blocks: Iterable[list[str]]) -> Iterator[int]:
        stretches = chain.from_iterable(blocks)
        return chain.from_iterable(map(self._stretches.__getitem__, stretches))

    def _encode_stretch(self, stretch: str) -> tuple[int, ...]:
        return tuple(chain.from_iterable(map(self._pretokens.__getitem__, self._splitter.pretokens(stretch))))

    def _encode_pretoken(self, word: str) -> tuple[int, ...]:
        return tuple(self._merge([*map(self._byte_ids.__getitem__, utf8(word))]))

    def _encode_allowed(self, text: str, allowed: Collection[str]) -> list[int]:
        if isinstance(allowed, str) or not self.specials.keys() >= set(allowed):
            raise ValueError(f"allowed: got {allowed!r}, expected some of {list(self.specials)}")
        longest_first = "|".join(map(regex.escape, sorted(allowed, key=len, reverse=True)))
        ids: list[int] = []
        for piece in regex.split(f"({longest_first})", check_text(text)):       # every second one is a special token
            ids += [self.specials[piece]] if piece in allowed else self._encode(self._splitter.blocks([piece]))
        return ids

    def decode_bytes(self, ids: Iterable[int], specials: bool = False) -> bytes:
        """Ids → exactly their bytes; special tokens are dropped, or their names kept. Raises ValueError for an unknown id."""
        tokens = map(self.vocabulary.__getitem__, check_ids(ids, len(self.vocabulary)))
        return b"".join([token if isinstance(token, bytes) else token.encode() * specials for token in tokens])

    def decode(self, ids: Iterable[int], specials: bool = False) -> str:
        """Ids → text; special tokens are dropped, or their names kept; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, specials).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int], specials: bool = False) -> Iterator[str]:
        """The text of `decode` in pieces, each as soon as it is known: a character comes when its last byte has come."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for i in ids:
            if piece := decoder.decode(self.decode_bytes([i], specials)):
                yield piece
        if piece := decoder.decode(b"", final=True):
            yield piece

    def save(self, path: str | Path) -> None:
        """Write one readable JSON file, which `load` reads, and beside it NAME.merges.txt as GPT-2 publishes merges."""
        tokens = [to_letters(token) if isinstance(token, bytes) else token for token in self.vocabulary]
        merges = [f"{tokens[a]} {tokens[b]}" for a, b in self.merges]
        write_tokenizer(path, self.kind, pattern=self.pattern, specials=self.specials, vocabulary=tokens, merges=merges)
        write_text(Path(path).with_name(Path(path).stem + ".merges.txt"), "\n".join(["#version: 0.2", *merges, ""]))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError, ValueError for a damaged or wrong file."""
        with blaming(path):
            return cls(*read_saved(read_tokenizer(path, cls.kind)))


def _existing(name: str, special: int | None) -> int:
    if special is None:
        raise ValueError(f"{name}: got True, expected False, since this tokenizer has no such special token")
    return special


def _checked(vocabulary: list[bytes | str], merges: list[Pair]) -> tuple[dict[bytes | str, int], list[int]]:
    """Token → id, and the id that each merge makes; ValueError for a vocabulary that cannot spell, or does not fit the merges."""
    kinds = {type(token) for token in vocabulary}
    id_of = {token: i for i, token in enumerate(vocabulary)} if kinds <= {bytes, str} else {}
    if len(id_of) != len(vocabulary) or not id_of.keys() >= {bytes([byte]) for byte in BYTES} or {b"", ""} & id_of.keys():
        raise ValueError("vocabulary: expected distinct tokens, bytes or (special ones) str, with all 256 single bytes among them")
    if len(set(merges)) != len(merges):
        raise ValueError("merges: expected each pair once")
    made = []
    for a, b in merges:
        parts = [vocabulary[i] for i in (a, b) if 0 <= i < len(vocabulary)]
        whole = b"".join(parts) if {type(part) for part in parts} == {bytes} else None
        if len(parts) < 2 or whole not in id_of:
            raise ValueError(f"merges: got {(a, b)}, expected ids of two tokens that together are one of the vocabulary")
        made.append(id_of[whole])
    return id_of, made


def _count_words(texts: Iterable[str], splitter: Splitter) -> dict[bytes, int]:
    """How often each pre-token occurs; distinct stretches are counted first, since there are fewer to split."""
    words: defaultdict[str, int] = defaultdict(int)
    stretches: Counter[str] = Counter()
    blocks = splitter.blocks(texts)
    for block in blocks:
        stretches.update(chain(block, chain.from_iterable(islice(blocks, 15))))
        if len(stretches) > UNCOUNTED:
            _settle(stretches, words, splitter)
    _settle(stretches, words, splitter)
    return {utf8(word): count for word, count in words.items()}


def _settle(stretches: Counter[str], words: defaultdict[str, int], splitter: Splitter) -> None:
    """Move the counts of stretches to their pre-tokens."""
    for stretch, count in stretches.items():
        for word in splitter.pretokens(stretch):
            words[word] += count
    stretches.clear()
