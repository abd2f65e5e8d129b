"""A made-up language for exercise 6.6: stems with prefixes and suffixes, a few words frequent, most of them rare (Zipf)."""

import string
from dataclasses import dataclass
from itertools import product

import numpy as np

N_WORDS, N_STEMS, N_PREFIXES, N_SUFFIXES = 2500, 450, 6, 12
FLAT = 8               # p(word of rank r) ∝ 1/(r + FLAT): the first words are not half the text
SHAPES = tuple(product((False, True), (False, True, True, True), (1, 2, 3)))    # a prefix? a suffix? syllables of the stem


@dataclass(frozen=True)
class Tongue:
    """The words of a language, the most frequent first."""

    words: list[str]

    def text(self, rng: np.random.Generator, n: int) -> str:
        """n words, drawn one by one, a space between two."""
        weights = 1 / (np.arange(len(self.words)) + FLAT)
        return " ".join(self.words[i] for i in rng.choice(len(self.words), n, p=weights / weights.sum()).tolist())


def invent(rng: np.random.Generator) -> Tongue:
    """Letters, stems, prefixes and suffixes drawn anew, and words made of them; of each shape there are as many at every rank."""
    letters = rng.permutation(list(string.ascii_lowercase)).tolist()
    vowels, consonants = letters[:5], letters[5:19]

    def syllables(n: int) -> str:
        said = ""
        for consonant, vowel, end in rng.integers((14, 5, 14 * 3), size=(n, 3)).tolist():
            said += consonants[consonant] + vowels[vowel] + (consonants[end] if end < 14 else "")
        return said

    prefixes = [syllables(1) for _ in range(N_PREFIXES)]
    suffixes = [syllables(1 + n % 2) for n in range(N_SUFFIXES)]
    stems = {n: [syllables(n) for _ in range(N_STEMS // 3)] for n in (1, 2, 3)}
    words: dict[str, None] = {}
    while len(words) < N_WORDS:
        for n in rng.permutation(len(SHAPES)).tolist():
            before, behind, long = SHAPES[n]
            stem = stems[long][int(N_STEMS // 3 * rng.random() ** 2)]       # few stems make many words
            prefix, suffix = prefixes[rng.integers(N_PREFIXES)] * before, suffixes[rng.integers(N_SUFFIXES)] * behind
            words[prefix + stem + suffix] = None
    return Tongue(list(words)[:N_WORDS])
