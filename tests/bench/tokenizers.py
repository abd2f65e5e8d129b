"""How fast byte-pair encoding is trained and used, beside Hugging Face's `tokenizers` and tiktoken, and the memory of training.

    python tests/bench/tokenizers.py [--quick] [--only training]
    python tests/bench/tokenizers.py --exact

All run in one process on one thread, turn by turn, so that other load on the machine hits them alike.

    training        4096 ids, on tiny Shakespeare (as one text, and line by line) and on 5,000,000 bytes of seven files
    encoding        GPT-2's merges; cold: nothing is remembered; warm: the same text for the second time; lines: line by line
    memory          of a new process that reads the larger text line by line and trains: its highest resident set over that before
    long words      1 MiB without a space (one letter, random letters): the time that it takes, in that of a quarter of it
    --exact         every text file of COURSE_DATA, whole: ids equal tiktoken's, Hugging Face's and BertWordPieceTokenizer's

Where COURSE_DATA has not all files, the texts are 1 MB and 5 MB of Tinytown's stories, and the merges are learned from them.

Wanted: training ≥ 1.0 × Hugging Face's rate; encoding ≥ 8 MB/s warm, ≥ 3.5 MB/s cold; memory ≤ 60 MiB; 4 times the letters,
far less than 16 times the time: at most 8.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

os.environ["RAYON_NUM_THREADS"] = "1"                           # before the import that reads them
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
from tokenizers import BertWordPieceTokenizer

from course_lib.cli.comparison import Row
from course_lib.data.tinytown import iterate_stories
from course_lib.tokenizers import BPETokenizer, WordPieceTokenizer
from course_lib.tokenizers.alphabet import to_letters
from tests.bench import texts
from tests.bench.common import Contestant, main, pace, turns
from tests.bench.texts import Text
from tests.tokenizer_twins import (
    BERT_FILE,
    GPT2_FILES,
    huggingface_gpt2,
    huggingface_trained,
    real_texts,
    tiktoken_gpt2,
    without_specials,
)

PEER = "Hugging Face"


class Material(NamedTuple):
    """A smaller and a larger text, and the two files of merges as GPT-2 has them."""

    small: Text
    large: Text
    merges: list[Path]


def real(folder: Path) -> Material:
    """Texts and merges of COURSE_DATA."""
    shakespeare, mixed, merges = ([folder / name for name in names] for names in ((texts.SHAKESPEARE,), texts.MIXED, texts.GPT2))
    return Material(Text("Shakespeare", shakespeare), Text("5 MB", mixed), merges)


def invented(folder: Path) -> Material:
    """Stories of Tinytown in English and German, and merges learned from them, as files in `folder`."""
    path, size = folder / "tinytown.txt", 0
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for story in iterate_stories():
            size += file.write(f"{story.text}\n{story.text_de}\n")                         # letters: no more than bytes
            if size > texts.MIXED_BYTES:
                break
    small = Text("Tinytown 1 MB", [path], texts.TINYTOWN_BYTES)
    trained = BPETokenizer.train(small.lines(), 4096)
    trained.save(folder / "trained.json")                                               # and trained.merges.txt
    letters = {token if isinstance(token, str) else to_letters(token): i for i, token in enumerate(trained.vocabulary)}
    (folder / "encoder.json").write_text(json.dumps(letters), encoding="utf-8")
    return Material(small, Text("Tinytown 5 MB", [path]), [folder / "trained.merges.txt", folder / "encoder.json"])


def measure_training(text: Text, quick: bool) -> Iterator[Row]:
    by_line = list(text.lines())
    whole, size = "".join(by_line), sum(len(line.encode()) for line in by_line) / 1e6

    def contestant(train: Callable, given: list[str]) -> Contestant:
        return pace(lambda: bool(train(given, 4096)) * size)

    for how, given in (("one text", [whole]), ("lines", by_line)):
        ours, theirs = turns({"ours": contestant(BPETokenizer.train, given), PEER: contestant(huggingface_trained, given)},
                             3 if quick else 9).values()
        yield Row("tokenizers", f"training, {text.name}, {how}", "MB/s", ours, PEER, theirs, wanted=1.0)


def measure_encoding(text: Text, merges: list[Path], quick: bool) -> Iterator[Row]:
    gpt2, tik, hf = BPETokenizer.from_gpt2(*merges), tiktoken_gpt2(files=merges), huggingface_gpt2(merges)
    by_line = list(text.lines())
    whole, size = "".join(by_line), sum(len(line.encode()) for line in by_line) / 1e6
    assert gpt2.encode(whole) == tik.encode_ordinary(whole) == hf.encode(whole).ids, "not the same ids: no comparison"

    def contestant(encode: Callable[[str], object], given: list[str]) -> Contestant:
        return pace(lambda: len([encode(part) for part in given]) * size / len(given))

    def cold(number: int) -> float:
        gpt2._stretches.clear()
        gpt2._pretokens.clear()
        return contestant(gpt2.encode, [whole])(number)

    def warm(number: int) -> float:
        gpt2.encode(whole)                                                              # whoever went before
        return contestant(gpt2.encode, [whole])(number)

    rates = turns({"cold": cold, "warm": warm, "lines": contestant(gpt2.encode, by_line),
                   "tiktoken": contestant(tik.encode_ordinary, [whole]), PEER: contestant(hf.encode, [whole]),
                   "tiktoken, lines": contestant(tik.encode_ordinary, by_line)}, 3 if quick else 9)
    for how, peer, goal in (("cold", "tiktoken", 3.5), ("warm", "tiktoken", 8), ("warm", PEER, None), ("lines", "tiktoken, lines", None)):
        yield Row("tokenizers", f"encoding, {text.name}, {how}", "MB/s", rates[how], peer.partition(",")[0], rates[peer], goal=goal)


def measure_memory(text: Text) -> Iterator[Row]:
    ours, theirs = (float(subprocess.run([sys.executable, texts.__file__, who, str(text.limit), *text.files], capture_output=True,
                                         text=True, check=True).stdout) for who in ("ours", "peer"))
    yield Row("tokenizers", f"memory of training, {text.name}", "MiB", [ours], PEER, [theirs], goal=60, less_is_better=True)


def measure_long_words(merges: list[Path]) -> Iterator[Row]:
    gpt2, rng = BPETokenizer.from_gpt2(*merges), random.Random(0)
    for name, letters in (("one letter", "a"), ("random letters", "abcdefghijklmnopqrstuvwxyz")):
        text = "".join(rng.choices(letters, k=2**20))
        whole, quarter = (pace(lambda part=part: len(gpt2.encode(part)) / len(part))(0) for part in (text, text[:2**18]))
        yield Row("tokenizers", f"1 MiB of {name}", "× a quarter's", [quarter / whole], goal=8, less_is_better=True)


def check_exactly() -> None:
    gpt2, tik, hf = BPETokenizer.from_gpt2(*GPT2_FILES), tiktoken_gpt2(), huggingface_gpt2()
    berts = [(WordPieceTokenizer.from_vocab(BERT_FILE, lower), BertWordPieceTokenizer(str(BERT_FILE), lowercase=lower))
             for lower in (True, False)]
    files = size = 0
    for name, text in real_texts():
        files, size = files + 1, size + len(text.encode())
        assert gpt2.encode(text) == tik.encode_ordinary(text) == list(gpt2.encode_iterable(text.splitlines(True))), name
        text = without_specials(text)
        assert gpt2.encode(text) == hf.encode(text).ids, name
        for ours, theirs in berts:
            assert ours.encode(text, bos=True, eos=True) == theirs.encode(text).ids, name
    print(f"  {files} files, {size / 1e6:.1f} MB: all ids equal")


def measured() -> None:
    """All but --exact."""
    folder, notes = os.environ.get("COURSE_DATA"), []
    lacking = texts.absent(folder)
    if lacking:
        reason = f"lacks {', '.join(lacking)}" if folder else "is not set"
        notes.append(f"tokenizers: measured on Tinytown's text and merges, since COURSE_DATA {reason}; wanted is meant for real text")
    with tempfile.TemporaryDirectory() as made:
        material = cache(lambda: invented(Path(made)) if lacking else real(Path(folder)))
        measures = {
            "training, smaller text": lambda quick: measure_training(material().small, quick),
            "encoding, smaller text": lambda quick: measure_encoding(material().small, material().merges, quick),
            "memory": lambda _: measure_memory(material().large),
            "training, larger text": lambda quick: measure_training(material().large, quick),
            "encoding, larger text": lambda quick: measure_encoding(material().large, material().merges, quick),
            "long words": lambda _: measure_long_words(material().merges),
        }
        if lacking or not texts.STATUS.exists():                                        # Tinytown has few words: next to nothing
            del measures["memory"]
            notes.append("tokenizers: the memory of training is measured on real text and under Linux only")
        main(__doc__, measures, quick=("training, smaller text", "encoding, smaller text", "memory"), notes=notes)


if __name__ == "__main__":
    check_exactly() if sys.argv[1:] == ["--exact"] else measured()
