"""From text to ids and back: by characters, by words, by merged byte pairs (GPT-2), by word pieces (BERT)."""

from pathlib import Path

from course_lib.tokenizers.base import SPECIALS, Tokenizer, blaming, read_tokenizer
from course_lib.tokenizers.bpe import BPETokenizer
from course_lib.tokenizers.merging import count_pairs, merge
from course_lib.tokenizers.splitting import GPT2_PATTERN, GPT4_PATTERN
from course_lib.tokenizers.wordpiece import BERT_SPECIALS, WordPieceTokenizer, basic_tokens
from course_lib.tokenizers.words import CharTokenizer, WordTokenizer

__all__ = ["BERT_SPECIALS", "GPT2_PATTERN", "GPT4_PATTERN", "SPECIALS", "BPETokenizer", "CharTokenizer", "Tokenizer",
           "WordPieceTokenizer", "WordTokenizer", "basic_tokens", "count_pairs", "load_tokenizer", "merge"]


def load_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer in a file, whatever its kind. Raises FileNotFoundError, ValueError for any other file."""
    kinds = {kind.kind: kind for kind in (CharTokenizer, WordTokenizer, BPETokenizer, WordPieceTokenizer)}
    with blaming(path):
        found = read_tokenizer(path).get("kind")
        if found not in kinds:
            raise ValueError(f"got a tokenizer of {found!r}, expected one of {', '.join(kinds)}")
    return kinds[found].load(path)
