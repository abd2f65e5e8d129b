"""Oracles for tokenizers, built offline: GPT-2's files in tiktoken and in Hugging Face `tokenizers`; and every text of COURSE_DATA."""

import gzip
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import tiktoken
import tokenizers
from tiktoken.load import data_gym_to_mergeable_bpe_ranks
from tokenizers import decoders, models, pre_tokenizers, trainers

from course_lib.tokenizers import GPT2_PATTERN

REAL = Path(os.environ.get("COURSE_DATA") or Path(__file__).resolve().parents[1].parent / "shared" / "data")
real_data = pytest.mark.skipif(not REAL.is_dir(), reason=f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
GPT2_FILES = REAL / "gpt2" / "vocab.bpe", REAL / "gpt2" / "encoder.json"
BERT_FILE = REAL / "bert" / "google_uncased_en_vocab.txt"
NO_TEXT = (".idx3-ubyte.gz", "-ubyte.gz", ".gitattributes")


def unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """The files in a file, by the name of its outermost packing."""
    if name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from ((f"{name}/{member}", archive.read(member)) for member in archive.namelist())
    elif name.endswith(".tar.gz"):
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                yield f"{name}/{member.name}", archive.extractfile(member).read()
    else:
        yield name, gzip.decompress(content) if name.endswith(".gz") else content


def real_texts(folder: str = "") -> Iterator[tuple[str, str]]:
    """Each text file of COURSE_DATA, or of one folder there, unpacked, by path: (name, text)."""
    for path in sorted((REAL / folder).rglob("*")):
        if path.is_file() and not path.name.endswith(NO_TEXT):
            for name, content in unpacked(path.relative_to(REAL).as_posix(), path.read_bytes()):
                yield name, content.decode("utf-8")


def without_specials(text: str) -> str:
    """The text with the names of special tokens spoiled: Hugging Face would take them for the tokens."""
    return re.sub(r"\[(?=(?:PAD|UNK|CLS|SEP|MASK)\])|<(?=\|endoftext)", "(", text)


def tiktoken_gpt2(pattern: str = GPT2_PATTERN, files: Sequence[Path] = GPT2_FILES) -> tiktoken.Encoding:
    """GPT-2's tokenizer in tiktoken, from files on disk (no cache, no download)."""
    ranks = data_gym_to_mergeable_bpe_ranks(*map(str, files))
    return tiktoken.Encoding("gpt2 from files", pat_str=pattern, special_tokens={"<|endoftext|>": len(ranks)}, mergeable_ranks=ranks)


def byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    """A Hugging Face tokenizer that splits with GPT-2's pattern and works on bytes."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def huggingface_gpt2(files: Sequence[Path] = GPT2_FILES) -> tokenizers.Tokenizer:
    """GPT-2's tokenizer in Hugging Face `tokenizers`."""
    merges, vocabulary = files
    lines = merges.read_text("utf-8").split("\n")[1:-1]
    tokenizer = byte_level(models.BPE(json.loads(vocabulary.read_text("utf-8")), [tuple(line.split(" ")) for line in lines]))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def huggingface_trained(texts, vocab_size: int, specials=()) -> tokenizers.Tokenizer:
    """Byte-level BPE trained by Hugging Face's trainer."""
    tokenizer = byte_level(models.BPE())
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer
