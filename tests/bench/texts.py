"""The texts that tokenizers are measured on; as a program, what memory training on them takes.

    python tests/bench/texts.py ours|peer LIMIT FILE…     →  MiB above what there was before reading the text

Each text is a list of files, read line by line: real data where COURSE_DATA has all of them, else stories of Tinytown. This file
loads nothing that its measurement would not need.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
from course_lib.tokenizers import BPETokenizer

SHAKESPEARE = "tinyshakespeare/input.txt"
MIXED = ("wikitext-2/valid.txt", SHAKESPEARE, "korsts/sts-train.tsv", "tatoeba-laser/tatoeba.fra-eng.fra",
         "gsm8k/test.jsonl", "tinystories/tiny_stories.txt", "wikitext-2/test.txt")         # English, Korean, French, sums
GPT2 = ("gpt2/vocab.bpe", "gpt2/encoder.json")
MIXED_BYTES, TINYTOWN_BYTES = 5_000_000, 1_000_000
STATUS = Path("/proc/self/status")


class Text(NamedTuple):
    """What is read: its name, its files, how many bytes of them."""

    name: str
    files: list[Path]
    limit: int = MIXED_BYTES

    def lines(self) -> Iterator[str]:
        """The files' lines, one after the other, to `limit` bytes."""
        left = self.limit
        for path in self.files:
            with open(path, encoding="utf-8", newline="") as file:
                for line in file:
                    left -= len(line.encode())
                    if left < 0:
                        return
                    yield line


def absent(folder: str | None) -> list[str]:
    """Which files of real data are not in a folder; all without one."""
    return [name for name in (*MIXED, *GPT2) if not folder or not (Path(folder) / name).is_file()]


def peak_mib() -> float:
    """The highest resident set of this process so far (Linux; `ru_maxrss` would begin with the parent's)."""
    return int(STATUS.read_text().partition("VmHWM:")[2].split()[0]) / 1024


def main(who: str, limit: str, *files: str) -> None:
    train = BPETokenizer.train
    if who == "peer":
        from tests.tokenizer_twins import huggingface_trained as train
    before = peak_mib()
    train(Text("", [Path(file) for file in files], int(limit)).lines(), 4096)
    print(peak_mib() - before)


if __name__ == "__main__":
    main(*sys.argv[1:])
