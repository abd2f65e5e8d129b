"""A made-up language for exercise 6.6: stems with prefixes and suffixes, a few words frequent, most of them rare (Zipf)."""

import string
from dataclasses import dataclass

import numpy as np

N_WORDS, N_STEMS, N_PREFIXES, N_SUFFIXES = 2500, 400, 6, 12
FLAT = 8                    # p(word of rank r) ∝ 1/(r + FLAT): a large one keeps the first words from being half the text


@dataclass(frozen=True)
class Tongue:
    """The words of a language, the most frequent first."""

    words: list[str]

    def text(self, rng: np.random.Generator, n: int) -> str:
        """n words, drawn one by one, a space between two."""
        weights = 1 / (np.arange(len(self.words)) + FLAT)
        return " ".join(self.words[i] for i in rng.choice(len(self.words), n, p=weights / weights.sum()).tolist())


def invent(rng: np.random.Generator) -> Tongue:
    """Letters, stems, prefixes and suffixes drawn anew, and words made of them."""
    letters = rng.permutation(list(string.ascii_lowercase)).tolist()
    vowels, consonants = letters[:5], letters[5:19]

    def syllables(n: int) -> str:
        said = ""
        for consonant, vowel, end in rng.integers((14, 5, 14 * 3), size=(n, 3)).tolist():
            said += consonants[consonant] + vowels[vowel] + (consonants[end] if end < 14 else "")
        return said

    stems = [syllables(1 + n % 3) for n in range(N_STEMS)]
    prefixes = [syllables(1) for _ in range(N_PREFIXES)]
    suffixes = [syllables(1 + n % 2) for n in range(N_SUFFIXES)]
    words: dict[str, None] = {}
    while len(words) < N_WORDS:                             # half of the words have a prefix, two thirds a suffix
        prefix, suffix = rng.integers((2 * N_PREFIXES, N_SUFFIXES * 3 // 2)).tolist()
        stem = stems[int(N_STEMS * rng.random() ** 2)]      # few stems make many words
        words["".join([*prefixes[prefix:][:1], stem, *suffixes[suffix:][:1]])] = None
    return Tongue(list(words))
