"""What GPT-2's tokenizer makes of some texts, kept for readers without its files: python3 -m course_lib.recipes.gpt2_tokens"""

from typing import Any

import torch

from course_lib.data import datasets
from course_lib.recipes.results import keep
from course_lib.tokenizers import BPETokenizer

SENTENCES = ("Topics in Deep Learning is fun!", "lowercase, Titlecase, UPPERCASE", "3.14159 and 31415",
             "for i in range(10):\n    total += i", "Der Zug hat Verspätung.", "배가 안 고파요.")
SLIDE = (46103, 304, 18682, 21579, 374, 2523, 0)     # a slide's ids for the first sentence
N_PAIRS = 5000                                       # sentence pairs to compare languages on


def load() -> BPETokenizer:
    """GPT-2's tokenizer from its published files. Raises what `datasets.load` raises when they are not to be had."""
    files = datasets.load("gpt2")
    return BPETokenizer.from_gpt2(files["vocab.bpe"], files["encoder.json"])


def sentences(tokenizer: BPETokenizer) -> dict[str, list[int]]:
    """The ids of each of SENTENCES."""
    return {text: tokenizer.encode(text) for text in SENTENCES}


def languages(tokenizer: BPETokenizer) -> dict[str, dict[str, float]]:
    """Tokens for the same sentences in English and in another language, and their ratio: what a speaker pays."""
    found = {}
    for language, name, options in (("German", "multi30k", {"source": "de", "target": "en"}), ("French", "fra-eng", {}),
                                    ("Korean", "kor-eng", {})):
        pairs = datasets.load(name, **options, split="train")[:N_PAIRS]
        texts = [[pair[side] for pair in pairs] for side in (0, 1)]
        theirs, english = (sum(len(tokenizer.encode(text)) for text in side) for side in texts)
        found[language] = {"pairs": len(pairs), "tokens": theirs, "English tokens": english, "ratio": round(theirs / english, 2)}
    return found


def measure() -> dict[str, Any]:
    """All that is kept."""
    tokenizer = load()
    return {"sentences": sentences(tokenizer), "slide": [tokenizer.decode([i]) for i in SLIDE], "languages": languages(tokenizer),
            "pieces": {text: [tokenizer.decode([i]) for i in ids] for text, ids in sentences(tokenizer).items()}}


if __name__ == "__main__":
    print(keep("gpt2_tokens", torch.device("cpu"), {"pairs": N_PAIRS}, **measure()))
