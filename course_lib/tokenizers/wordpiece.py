"""WordPiece (Schuster & Nakajima 2012; Wu et al. 2016) as BERT uses it (Devlin et al. 2019): words, then their longest known pieces."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Self

import regex

from course_lib.tokenizers.base import Memo, blaming, check_ids, check_text, check_texts, load_list, write_tokenizer
from course_lib.tokenizers.pieces import INSIDE, learn_pieces

BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_WORD = 100                          # characters; a longer word is [UNK]
CACHED, LONGEST = 2**17, 64             # words whose ids are remembered, and their greatest length

# After google-research/bert, tokenization.py, BasicTokenizer.
_WORD = re.compile(r"[^ \t\n\r\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")      # what stands between spaces
_DROPPED = regex.compile(r"[\p{Cc}\p{Cf}\p{Co}\ufffd]+")                                       # control, format, private use
_ACCENTS = regex.compile(r"\p{Mn}+")
_IDEOGRAPH = (r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b73f\U0002b740-\U0002b81f"
              r"\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f")
_PUNCTUATION = r"!-/:-@\[-`{-~\p{P}"                                # ASCII signs such as $ and ^ count as punctuation
_PART = regex.compile(rf"[{_PUNCTUATION}{_IDEOGRAPH}]|[^{_PUNCTUATION}{_IDEOGRAPH}]+")


def basic_tokens(text: str, lowercase: bool = True) -> list[str]:
    """BERT's words: cut at spaces, each punctuation sign and each Chinese character alone; lower case without accents.

        basic_tokens("Héllo, 世界!")  →  ["hello", ",", "世", "界", "!"]
    """
    return [part for word in _WORD.findall(text) for part in _parts(word, lowercase)]


def _parts(word: str, lowercase: bool) -> list[str]:
    word = _DROPPED.sub("", word)
    if lowercase:
        word = _ACCENTS.sub("", unicodedata.normalize("NFD", word)).replace("Σ", "σ").lower()     # never ς: letter by letter
    return _PART.findall(word)


class WordPieceTokenizer:
    """BERT's tokenizer: each word becomes its longest known beginning, then the longest known "##" piece behind it, and so on.

    A word that cannot be spelled so, or of more than 100 characters, is [UNK]. The specials' ids are where the vocabulary has
    them: pad_id [PAD], unk_id [UNK], bos_id [CLS], eos_id [SEP], mask_id [MASK]. Text that contains "[MASK]" is text.

        WordPieceTokenizer([*BERT_SPECIALS, "un", "##aff", "##able"]).encode("Unaffable")  →  [5, 6, 7]
    """

    kind = "word pieces"

    def __init__(self, vocabulary: Sequence[str], lowercase: bool = True):
        self.vocabulary, self.lowercase = list(vocabulary), bool(lowercase)
        strings = all(isinstance(piece, str) for piece in self.vocabulary)
        self._id_of = {piece: i for i, piece in enumerate(self.vocabulary)} if strings else {}
        if len(self._id_of) != len(self.vocabulary) or not self._id_of.keys() >= set(BERT_SPECIALS):
            raise ValueError(f"vocabulary: got {self.vocabulary[:5]} …, expected distinct strings with {', '.join(BERT_SPECIALS)}")
        self.pad_id, self.unk_id, self.bos_id, self.eos_id, self.mask_id = map(self._id_of.__getitem__, BERT_SPECIALS)
        self._longest = max(map(len, self.vocabulary))
        self._words = Memo(self._encode_word, CACHED, LONGEST)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, lowercase: bool = True, min_count: int = 1) -> Self:
        """Learn pieces by `pieces.learn_pieces`; ids are the specials, the characters, then pieces by age. Fewer than vocab_size
        when no pair is left. Raises ValueError for no text, and for a vocab_size without room for every character.
        """
        if min_count < 1:
            raise ValueError(f"min_count: got {min_count}, expected at least 1")
        spaced: Counter[str] = Counter()
        for text in check_texts(texts):
            spaced.update(_WORD.findall(text))
        words: Counter[str] = Counter()
        for word, count in spaced.items():
            words.update({part: count * n for part, n in Counter(_parts(word, lowercase)).items() if len(part) <= MAX_WORD})
        if not words:
            raise ValueError("texts: got no text to learn from, expected at least one word")
        pieces = learn_pieces(words, vocab_size - len(BERT_SPECIALS), min_count)
        if vocab_size < len(BERT_SPECIALS) + len(pieces):
            raise ValueError(f"vocab_size: got {vocab_size}, expected at least {len(BERT_SPECIALS) + len(pieces)}: "
                             f"{len(BERT_SPECIALS)} special tokens and every character, at a word's start and inside")
        return cls([*BERT_SPECIALS, *pieces], lowercase)

    @classmethod
    def from_vocab(cls, path: str | Path, lowercase: bool = True) -> Self:
        """The tokenizer of BERT's vocab.txt, a piece in each line, in the order of ids. Raises ValueError for another file."""
        with blaming(path):
            return cls(Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n"), lowercase)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the special ones included."""
        return len(self.vocabulary)

    def encode(self, text: str, bos: bool = False, eos: bool = False) -> list[int]:
        """Text → ids, with [CLS] before and [SEP] behind when asked for."""
        ids = chain.from_iterable(map(self._words.__getitem__, _WORD.findall(check_text(text))))
        return [*[self.bos_id] * bos, *ids, *[self.eos_id] * eos]

    def _encode_word(self, word: str) -> tuple[int, ...]:
        return tuple(chain.from_iterable(map(self._spell, _parts(word, self.lowercase))))

    def _spell(self, part: str) -> list[int]:
        """The pieces of one word, longest match first."""
        ids, start, n = [], 0, len(part)
        while start < n <= MAX_WORD:
            prefix = INSIDE if start else ""
            for end in range(min(n, start + self._longest), start, -1):
                found = self._id_of.get(prefix + part[start:end])
                if found is not None:
                    break
            else:
                return [self.unk_id]
            ids.append(found)
            start = end
        return ids or [self.unk_id]

    def decode(self, ids: Iterable[int]) -> str:
        """Ids → words with single spaces; [PAD], [CLS] and [SEP] are dropped. Case, accents and spacing of the text are lost."""
        dropped = {self.pad_id, self.bos_id, self.eos_id}
        pieces = [self.vocabulary[i] for i in check_ids(ids, len(self.vocabulary)) if i not in dropped]
        return " ".join(pieces).replace(" " + INSIDE, "")

    def save(self, path: str | Path) -> None:
        """Write one readable JSON file; whoever kills the process finds the previous file whole."""
        write_tokenizer(path, self.kind, lowercase=self.lowercase, vocabulary=self.vocabulary)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote. Raises FileNotFoundError, ValueError for a damaged or wrong file."""
        return load_list(cls, path)
