"""How fast byte-pair encoding is trained and used, beside Hugging Face's `tokenizers` and tiktoken, and the memory of training.

    python tests/bench/tokenizers.py [--quick] [--exact]

All run in one process on one thread, turn by turn, so that other load on the machine hits them alike. Medians of several
rounds with their range; ratios are medians of the rounds' own ratios. Needs COURSE_DATA.

    training        4096 ids, on tiny Shakespeare (as one text, and line by line) and on MIXED, 5,000,000 bytes of seven files
    encoding        GPT-2's merges; cold: nothing is remembered; warm: the same text for the second time; short: line by line
    memory          of a new process that reads MIXED line by line and trains: its highest resident set over that before
    long words      1 MB without a space: one letter, random letters; and a quarter of it
    --exact         every text file of COURSE_DATA, whole: ids equal tiktoken's, Hugging Face's and BertWordPieceTokenizer's

Wanted: training ≤ 1.0 × Hugging Face's time; encoding ≥ 8 MB/s warm, ≥ 3.5 MB/s cold; memory ≤ 60 MB; 4 times the letters,
far less than 16 times the time.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"                   # before the import that reads it
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path.pop(0)                                         # this folder, where this file would hide the package `tokenizers`
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from course_lib.tokenizers import BPETokenizer, WordPieceTokenizer

MIXED = ("wikitext-2/valid.txt", "tinyshakespeare/input.txt", "korsts/sts-train.tsv", "tatoeba-laser/tatoeba.fra-eng.fra",
         "gsm8k/test.jsonl", "tinystories/tiny_stories.txt", "wikitext-2/test.txt")         # English, Korean, French, sums
MIXED_BYTES = 5_000_000
SHAKESPEARE = "tinyshakespeare/input.txt"


def lines(names: tuple[str, ...], limit: int = MIXED_BYTES) -> Iterator[str]:
    """The files' lines, one after the other, to `limit` bytes."""
    for name in names:
        with open(Path(os.environ["COURSE_DATA"]) / name, encoding="utf-8", newline="") as file:
            for line in file:
                limit -= len(line.encode())
                if limit < 0:
                    return
                yield line


# The functions below import what they need, since the process whose memory is measured must have loaded nothing else.

def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak_mb() -> float:
    """The highest resident set of this process so far (Linux; `ru_maxrss` would begin with the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def train_and_tell(who: str) -> None:
    """In a process of its own: MiB above what there was before reading the text."""
    if who == "Hugging Face":
        from tests.tokenizer_twins import huggingface_trained as train
    else:
        train = BPETokenizer.train
    before = peak_mb()
    train(lines(MIXED), 4096)
    print(peak_mb() - before)


def measure_memory() -> None:
    for who in ("ours", "Hugging Face"):
        told = subprocess.run([sys.executable, __file__, "--memory-of", who], capture_output=True, text=True, check=True).stdout
        print(f"  {'memory of training, ' + who:<34} {float(told):,.1f} MiB{'   wanted: at most 60' * (who == 'ours')}")


def measure_training(rounds: int) -> None:
    from tests.bench.common import spread
    from tests.bench.transformer import turns
    from tests.tokenizer_twins import huggingface_trained
    play, mixed = list(lines((SHAKESPEARE,))), list(lines(MIXED))
    for name, texts in (("Shakespeare, one text", ["".join(play)]), ("Shakespeare, lines", play),
                        ("5 MB, one text", ["".join(mixed)]), ("5 MB, lines", mixed)):
        ours, theirs = turns({
            "ours": lambda _, texts=texts: seconds(lambda: BPETokenizer.train(texts, 4096)),
            "theirs": lambda _, texts=texts: seconds(lambda: huggingface_trained(texts, 4096))}, rounds).values()
        print(f"  {'training, ' + name:<34} ours {spread(ours, '.2f')} s, Hugging Face {spread(theirs, '.2f')} s, "
              f"ratio {spread([a / b for a, b in zip(ours, theirs)], '.2f')}   wanted: at most 1.0")


def measure_encoding(rounds: int) -> None:
    from tests.bench.common import spread
    from tests.bench.transformer import turns
    from tests.tokenizer_twins import GPT2_FILES, huggingface_gpt2, tiktoken_gpt2
    gpt2, tik, hf = BPETokenizer.from_gpt2(*GPT2_FILES), tiktoken_gpt2(), huggingface_gpt2()
    for name, chosen in (("Shakespeare", (SHAKESPEARE,)), ("5 MB", MIXED)):
        short = list(lines(chosen))
        text = "".join(short)

        def ours(_: int, text=text, short=short) -> list[float]:
            gpt2._stretches.clear()
            gpt2._pretokens.clear()
            return [seconds(lambda: gpt2.encode(text)), seconds(lambda: gpt2.encode(text)),
                    seconds(lambda: [gpt2.encode(line) for line in short])]

        results = turns({"ours": ours, "tiktoken": lambda _, text=text: seconds(lambda: tik.encode_ordinary(text)),
                         "Hugging Face": lambda _, text=text: seconds(lambda: hf.encode(text))}, rounds)
        cold, warm, by_line = zip(*results.pop("ours"))
        size = len(text.encode()) / 1e6
        for who, taken, wanted in (("cold", cold, "   wanted: at least 3.5"), ("warm", warm, "   wanted: at least 8"),
                                   ("warm, line by line", by_line, ""), *((who, taken, "") for who, taken in results.items())):
            print(f"  {f'encoding, {name}, {who}':<34} {spread([size / t for t in taken], '.1f')} MB/s{wanted}")


def measure_long_words() -> None:
    from tests.tokenizer_twins import GPT2_FILES
    gpt2, rng = BPETokenizer.from_gpt2(*GPT2_FILES), random.Random(0)
    for name, letters in (("one letter", "a"), ("random letters", "abcdefghijklmnopqrstuvwxyz")):
        text = "".join(rng.choices(letters, k=2**20))
        whole, quarter = (seconds(lambda text=part: gpt2.encode(text)) for part in (text, text[:2**18]))
        print(f"  {'1 MiB, ' + name:<34} {whole:.1f} s, a quarter {quarter:.1f} s, ratio {whole / quarter:.1f}")


def check_exactly() -> None:
    from tokenizers import BertWordPieceTokenizer

    from tests.tokenizer_twins import BERT_FILE, GPT2_FILES, huggingface_gpt2, real_texts, tiktoken_gpt2, without_specials
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("--exact", action="store_true", help="only compare ids, on every file")
    parser.add_argument("--memory-of", choices=("ours", "Hugging Face"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.memory_of:
        train_and_tell(arguments.memory_of)
    elif arguments.exact:
        check_exactly()
    else:
        rounds = 3 if arguments.quick else 9
        measure_training(rounds)
        measure_encoding(rounds)
        measure_memory()
        measure_long_words()


if __name__ == "__main__":
    main()
