"""Translation pairs with gold alignments, as many as you like, always the same for the same seed.

>>> pair = translation_pairs(1, seed=1)[0]
>>> len(pair.en) >= 3 and all(i < len(pair.en) and j < len(pair.de) for i, j in pair.alignment)
True
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from zlib import crc32

from course_lib.data.tinytown.phrases import LINK_TABLE, Phrase
from course_lib.data.tinytown.plans import PLANS
from course_lib.data.tinytown.realise import Sentence, realise, union
from course_lib.data.tinytown.sampler import Sampler
from course_lib.data.tinytown.tables import held_out

MIN_WORDS, MAX_WORDS = 3, 25
PRONOUN = frozenset(["pronoun"])
SPLITS = ("train", "valid", "test", "longer", "unseen")


def detokenise(tokens: tuple[str, ...]) -> str:
    """Tokens as text: no space before punctuation."""
    text = " ".join(tokens)
    return text.replace(" ,", ",").replace(" .", ".").replace(" ?", "?").replace(" !", "!")


@dataclass(frozen=True, slots=True)
class Pair:
    """An English sentence and its German translation.

    `alignment` holds the links (i_en, j_de), 0-based; punctuation is linked to punctuation, words without a counterpart
    have no link. `coreference` holds (pronoun in English, head of its antecedent in English, the same two in German).
    `tags` names the phenomena: "perfect", "separable", "subordinate", "fronted", "relative", "nicht", "kein", …
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
    """Which random split an English sentence belongs to, by a hash: one in 16 valid, one in 16 test, the rest train."""
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


def _start(whole: Phrase, path: tuple[int, ...]) -> tuple[int, int]:
    """Where the head of the phrase at the end of a path stands, in English and in German."""
    i = j = 0
    phrase = whole
    for slot in path:
        template, at_en, at_de, parts = phrase.starts
        run_en, run_de = next((a, b) for filled, a, b in template.slots if filled == slot)
        i += at_en[run_en]
        j += at_de[run_de]
        phrase = parts[slot]
    return i, j


def _node(sentence: Sentence, path: tuple[int, ...]):
    node = sentence.clauses[path[0]]
    for slot in path[1:]:
        node = {0: node.subj, 1: node.obj, 2: node.rec, 6: node.comp, 7: node.srel, 8: node.orel}[slot]
    return node


def to_pair(sentence: Sentence) -> Pair:
    """Say a sentence as a Pair."""
    whole = realise(sentence)
    tags = whole.starts[0].tags
    for part in whole.starts[3]:
        tags = union(tags, part.starts[0].tags)
    coreference = ()
    if sentence.coreference:
        found = []
        for pronoun, antecedent in sentence.coreference:
            (i, j), (k, l), head = _start(whole, pronoun), _start(whole, antecedent), _node(sentence, antecedent).head
            found.append((i, k + head, j, l + head))
        coreference, tags = tuple(found), union(tags, PRONOUN)
    alignment = frozenset([LINK_TABLE[link] for link in whole.links])
    return Pair(tuple(whole.en), tuple(whole.de), alignment, coreference, tags)


def iterate_pairs(seed: int = 0, split: str = "train", min_words: int = MIN_WORDS, max_words: int | None = None
                  ) -> Iterator[Pair]:
    """Draw pairs for ever. Lengths are English tokens, punctuation counted, spread evenly over bands from 3 to 25.

    split  "train", "valid", "test": disjoint by a hash of the English sentence, whatever the seed;
           "longer": test sentences with more than `max_words` tokens (for a model trained up to `max_words`);
           "unseen": sentences with a combination of words that the other splits never contain.
    Raises ValueError for an unknown split, a negative seed, or limits outside 3 … 25.
    """
    low, high = _check(seed, split, min_words, max_words)
    random = Random(seed).random
    sampler = Sampler(random, with_held_out=split == "unseen")
    plans = [p for p in PLANS if p[0] <= high and p[1] >= low]
    wanted = "test" if split == "longer" else split
    while True:
        _, _, sampler.rich, choices = plans[int(random() * len(plans))]
        sampler.used.clear()
        sentence = choices[int(random() * len(choices))](sampler)
        if wanted == "unseen" and not any(held_out(a, b) for a, b in combinations(sentence)):
            continue
        pair = to_pair(sentence)
        if low <= len(pair.en) <= high and (wanted == "unseen" or split_of(pair.en) == wanted):
            yield pair


def _check(seed: int, split: str, min_words: int, max_words: int | None) -> tuple[int, int]:
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
    limit = MAX_WORDS if max_words is None else max_words
    if not MIN_WORDS <= min_words <= limit <= MAX_WORDS:
        raise ValueError(f"min_words, max_words: got {min_words} and {max_words}, expected {MIN_WORDS} ≤ min ≤ max ≤ {MAX_WORDS}")
    if split == "longer":
        if max_words is None or limit == MAX_WORDS:
            raise ValueError(f"max_words: got {max_words}, expected the longest length in training, under {MAX_WORDS}")
        return limit + 1, MAX_WORDS
    return min_words, limit


def translation_pairs(n: int, seed: int = 0, split: str = "train", min_words: int = MIN_WORDS,
                      max_words: int | None = None) -> list[Pair]:
    """`n` pairs; those of "train" may repeat, as draws do, those of the other splits are distinct.

    See iterate_pairs for the splits. Raises ValueError when so many distinct sentences cannot be found.
    """
    if n < 0:
        raise ValueError(f"n: got {n}, expected at least 0")
    source = iterate_pairs(seed, split, min_words, max_words)
    if split == "train":
        return [next(source) for _ in range(n)]
    found: dict[tuple[str, ...], Pair] = {}
    draws = 0
    while len(found) < n:
        pair = next(source)
        found.setdefault(pair.en, pair)
        draws += 1
        if draws > 1000 + 50 * n:
            raise ValueError(f"n: got {n}, but only {len(found)} distinct {split} sentences of {min_words} to {max_words} "
                             "tokens were found")
    return list(found.values())
