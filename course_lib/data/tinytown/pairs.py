"""Translation pairs with gold alignments, as many as you like, always the same for the same seed.

>>> pair = translation_pairs(1, seed=1)[0]
>>> len(pair.en) >= 3 and all(i < len(pair.en) and j < len(pair.de) for i, j in pair.alignment)
True
"""

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from random import Random
from zlib import crc32

from course_lib.data.tinytown.phrases import LINK_TABLE
from course_lib.data.tinytown.plans import PLANS
from course_lib.data.tinytown.realise import Sentence, Text, realise, tags_of, union
from course_lib.data.tinytown.references import coreference
from course_lib.data.tinytown.sampler import Sampler
from course_lib.data.tinytown.tables import held_out
from course_lib.data.tinytown.templates import place_of

MIN_WORDS, MAX_WORDS = 3, 25
PRONOUN = frozenset(["pronoun"])
SPLITS = ("train", "valid", "test", "longer", "unseen")


def detokenise(tokens: Sequence[str]) -> str:
    """Tokens as text: no space before punctuation."""
    text = " ".join(tokens)
    return text.replace(" ,", ",").replace(" .", ".").replace(" ?", "?").replace(" !", "!")


@dataclass(frozen=True, slots=True)
class Pair:
    """An English sentence and its German translation.

    `alignment` holds the links (i_en, j_de), 0-based. Punctuation is linked to punctuation; what German says in two
    places (hat … gefunden, macht … auf) is linked to the one English verb; a comma or a "to" without counterpart has no
    link. `coreference` holds (pronoun in English, head of its antecedent in English, the same two in German). `tags`
    names the phenomena: "perfect", "separable", "subordinate", "fronted", "relative", "nicht", "kein", …

    Mia found the ball. | Mia hat den Ball gefunden.    alignment (0,0) (1,1) (1,4) (2,2) (3,3) (4,5)
    """

    en: tuple[str, ...]
    de: tuple[str, ...]
    alignment: frozenset[tuple[int, int]]
    coreference: tuple[tuple[int, int, int, int], ...] = ()
    tags: frozenset[str] = frozenset()

    @property
    def en_text(self) -> str:
        return detokenise(self.en)

    @property
    def de_text(self) -> str:
        return detokenise(self.de)


def split_of(en: tuple[str, ...]) -> str:
    """The random split of an English sentence, by a hash: one in 16 valid, one in 16 test, the rest train."""
    bucket = crc32(" ".join(en).encode()) & 15
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"


def combinations(sentence: Sentence) -> Iterator[tuple[str, str]]:
    """The word pairs that can be held out: verb and object noun, adjective and noun."""
    waiting = list(sentence.clauses)
    while waiting:
        c = waiting.pop()
        waiting += [x for x in (c.comp, c.srel, c.orel) if x is not None]
        for np in (c.subj, c.obj, c.rec):
            if np is not None and np.key[0] == "noun":
                yield from ((adjective, np.key[3]) for adjective in np.key[2])
        if c.obj is not None and c.obj.key[0] == "noun":
            yield c.verb, c.obj.key[3]
        if c.verb == "be" and c.how is not None and c.subj.key[0] == "noun":
            yield c.how.en[0], c.subj.key[3]


def _node(sentence: Sentence, path: tuple[int, ...]):
    node = sentence.clauses[path[0]]
    for slot in path[1:]:
        node = {0: node.subj, 1: node.obj, 2: node.rec, 6: node.comp, 7: node.srel, 8: node.orel}[slot]
    return node


def to_pair(sentence: Sentence) -> Pair:
    """Say a sentence as a Pair."""
    return pair_of(sentence, realise(sentence))


def pair_of(sentence: Sentence, text: Text) -> Pair:
    """A sentence and how it is said, as a Pair."""
    found = []
    for pronoun, antecedent in coreference(sentence):
        (i, j), head = place_of(text.starts[pronoun[0]], pronoun[1:]), _node(sentence, antecedent).head
        k, l = place_of(text.starts[antecedent[0]], antecedent[1:])
        found.append((i, k + head, j, l + head))
    tags = union(tags_of(sentence, text), PRONOUN) if found else tags_of(sentence, text)
    alignment = frozenset(map(LINK_TABLE.__getitem__, text.links))
    return Pair(tuple(text.en), tuple(text.de), alignment, tuple(found), tags)


def iterate_pairs(seed: int = 0, split: str = "train", min_words: int = MIN_WORDS,
                  max_words: int | None = None) -> Iterator[Pair]:
    """Draw pairs for ever, of 3 to 25 English tokens (punctuation counted), every length often enough to be measured.

    split  "train", "valid", "test": disjoint by a hash of the English sentence, whatever the seed;
           "longer": test sentences with more than `max_words` tokens (for a model trained up to `max_words`);
           "unseen": sentences with a combination of words that the other splits never contain.
    Raises ValueError for an unknown split, a negative seed, or limits outside 3 … 25.
    """
    low, high = _check(seed, split, min_words, max_words)
    wanted = "test" if split == "longer" else split
    for sentence in draw_sentences(seed, low, high, with_held_out=split == "unseen"):
        if wanted == "unseen" and not any(held_out(a, b) for a, b in combinations(sentence)):
            continue
        pair = to_pair(sentence)
        if low <= len(pair.en) <= high and (wanted == "unseen" or split_of(pair.en) == wanted):
            yield pair


def draw_sentences(seed: int = 0, low: int = MIN_WORDS, high: int = MAX_WORDS, with_held_out: bool = False
                   ) -> Iterator[Sentence]:
    """Draw meanings for ever; most can be said in `low` to `high` English tokens."""
    random = Random(seed).random
    sampler = Sampler(random, with_held_out)
    plans = [p for p in PLANS if p[0] <= high and p[1] >= low]
    while True:
        _, _, sampler.rich, choices = plans[int(random() * len(plans))]
        sampler.used.clear()
        yield choices[int(random() * len(choices))](sampler)


def _check(seed: int, split: str, min_words: int, max_words: int | None) -> tuple[int, int]:
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
    limit = MAX_WORDS if max_words is None else max_words
    if not MIN_WORDS <= min_words <= limit <= MAX_WORDS:
        raise ValueError(f"min_words, max_words: got {min_words} and {max_words}, "
                         f"expected {MIN_WORDS} ≤ min ≤ max ≤ {MAX_WORDS}")
    if split == "longer":
        if max_words is None or limit == MAX_WORDS:
            raise ValueError(f"max_words: got {max_words}, expected the longest length in training, "
                             f"under {MAX_WORDS}")
        return limit + 1, MAX_WORDS
    return min_words, limit


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Nothing here makes reference cycles, and looking for them in a growing list takes a fifth of the time."""
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if not frozen:  # what was made counts as old, so that it is not searched at once
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def translation_pairs(n: int, seed: int = 0, split: str = "train", min_words: int = MIN_WORDS,
                      max_words: int | None = None) -> list[Pair]:
    """`n` pairs; those of "train" may repeat, as draws do, those of the other splits are distinct.

    See iterate_pairs for the splits. Raises ValueError when so many distinct sentences cannot be found.
    """
    if n < 0:
        raise ValueError(f"n: got {n}, expected at least 0")
    source = iterate_pairs(seed, split, min_words, max_words)
    if split == "train":
        with garbage_collection_paused():
            return list(islice(source, n))
    found: dict[tuple[str, ...], Pair] = {}
    draws = 0
    while len(found) < n:
        pair = next(source)
        found.setdefault(pair.en, pair)
        draws += 1
        if draws > 1000 + 50 * n:
            raise ValueError(f"n: got {n}, expected at most about {len(found)}: there are no more distinct "
                             "sentences of this split and these lengths")
    return list(found.values())
