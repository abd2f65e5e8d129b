"""Noun phrases and prepositional phrases, inflected in both languages, their words linked.

Every phrase is built once and kept: generation only looks up and joins.
"""

from collections.abc import Sequence
from functools import cache

from course_lib.data.tinytown.lexicon import (
    ADJECTIVES,
    ANIMALS,
    MEN,
    PEOPLE,
    PLACES,
    THINGS,
    WOMEN,
    Noun,
    rows,
)

CASES = ("nom", "acc", "dat")

# Endings by gender (m, f, n, p = plural) and case, German grammar's three tables and a half.
ARTICLE = {"nom": {"m": "der", "f": "die", "n": "das", "p": "die"},
           "acc": {"m": "den", "f": "die", "n": "das", "p": "die"},
           "dat": {"m": "dem", "f": "der", "n": "dem", "p": "den"}}
EIN_ENDING = {"nom": {"m": "", "f": "e", "n": "", "p": "e"},
              "acc": {"m": "en", "f": "e", "n": "", "p": "e"},
              "dat": {"m": "em", "f": "er", "n": "em", "p": "en"}}
WEAK = {"nom": {"m": "e", "f": "e", "n": "e", "p": "en"},     # after der, die, das
        "acc": {"m": "en", "f": "e", "n": "e", "p": "en"},
        "dat": {"m": "en", "f": "en", "n": "en", "p": "en"}}
MIXED = {"nom": {"m": "er", "f": "e", "n": "es", "p": "en"},  # after ein, kein, mein …
         "acc": {"m": "en", "f": "e", "n": "es", "p": "en"},
         "dat": {"m": "en", "f": "en", "n": "en", "p": "en"}}
STRONG_PLURAL = {"nom": "e", "acc": "e", "dat": "en"}         # after zwei, drei, or with no determiner

# The -ein determiners: English, German stem. "no" stands in the scope of a negation: not … a / any = kein.
EIN_WORDS = {"a": "ein", "no": "kein", "my": "mein", "your": "dein", "our": "unser", "his": "sein",
             "her": "ihr", "their": "ihr"}
NUMBERS = {"two": "zwei", "three": "drei"}

# English subject and object form, German nominative, accusative, dative, agreement.
PRONOUNS = {"I": ("I", "me", "ich", "mich", "mir", "1s"), "you": ("you", "you", "du", "dich", "dir", "2s"),
            "we": ("we", "us", "wir", "uns", "uns", "1p"), "he": ("he", "him", "er", "ihn", "ihm", "3s"),
            "she": ("she", "her", "sie", "sie", "ihr", "3s"),
            "they": ("they", "them", "sie", "sie", "ihnen", "3p"),
            "it.m": ("it", "it", "er", "ihn", "ihm", "3s"), "it.f": ("it", "it", "sie", "sie", "ihr", "3s"),
            "it.n": ("it", "it", "es", "es", "ihm", "3s")}

CONTRACTIONS = {("in", "dem"): "im", ("an", "dem"): "am", ("zu", "dem"): "zum", ("zu", "der"): "zur",
                ("in", "das"): "ins"}

Links = Sequence[int]
LINK_TABLE = tuple((i, j) for i in range(64) for j in range(64))


def link(i: int, j: int) -> int:
    """The link (i_en, j_de) as one number 64 i + j, so that moving a phrase is one addition for each link."""
    return 64 * i + j


class Phrase:
    """A piece of text in both languages: its tokens, and the links between them."""

    __slots__ = ("de", "en", "links", "starts")

    def __init__(self, en: Sequence[str], de: Sequence[str], links: Links, starts=None):
        self.en, self.de, self.links = en, de, links
        self.starts = starts  # where the parts of a clause begin: (positions in English, in German)

    def __repr__(self) -> str:
        return f"{' '.join(self.en)} | {' '.join(self.de)}"


class NP:
    """A noun phrase: what it means (key) and what generation needs. Built once each, so `is` compares meanings.

    cases      its phrase as nominative, accusative, dative
    agreement  "1s", "2s", "3s", "1p", "3p"; gender "m", "f", "n", "p" (plural)
    pronoun    what can stand for it: "he", "she", "they", "it.m", "it.f", "it.n"
    kind       "pron"; "indef", which a negation turns into kein; "def"
    head       position of the head noun, the same in both languages
    """

    __slots__ = ("agreement", "cases", "gender", "head", "key", "kind", "pronoun")

    def __init__(self, key: tuple, cases: tuple[Phrase, ...], agreement: str, gender: str, pronoun: str,
                 kind: str, head: int):
        self.key, self.cases, self.agreement, self.gender = key, cases, agreement, gender
        self.pronoun, self.kind, self.head = pronoun, kind, head

    def __repr__(self) -> str:
        return f"NP({self.cases[0]})"


def identity(n: int) -> Links:
    return tuple(link(i, i) for i in range(n))


def _noun(row: list[str], kind: str) -> Noun:
    en, plural, de, de_plural, *tags = row
    article, _, word = de.partition(" ")
    word, _, oblique = word.partition("/")
    gender = {"der": "m", "die": "f", "das": "n"}[article]
    tags = tags[0].split() if tags else []
    if "food" not in tags and kind == "thing":
        tags.append("object")
    return Noun(en, None if plural == "-" else plural, word, None if de_plural == "-" else de_plural, gender,
                oblique or word, frozenset([kind, *tags]))


NOUNS: dict[str, Noun] = {}
for _table, _kind in ((THINGS, "thing"), (PEOPLE, "person"), (ANIMALS, "animal")):
    NOUNS |= {row[0]: _noun(row, _kind) for row in rows(_table)}
PLACE_PREPOSITIONS: dict[str, tuple[str, str]] = {}
for _row in rows(PLACES):
    NOUNS[_row[0]] = _noun([_row[0], "-", _row[1], "-", _row[3]], "place")
    PLACE_PREPOSITIONS[_row[0]] = tuple(_row[2].split("/"))

GERMAN_ADJECTIVE = {row[0]: row[1] for row in rows(ADJECTIVES)}
ATTRIBUTIVE = {row[0]: row[2].split() for row in rows(ADJECTIVES)}
PREDICATIVE = {row[0]: row[3].split() for row in rows(ADJECTIVES) if row[3] != "-"}
WOMEN_SET, MEN_SET = frozenset(WOMEN), frozenset(MEN)


def english_article(word: str) -> str:
    """a or an, by the next word (in Tinytown none starts with a mute h or a spoken "you")."""
    return "an" if word[0] in "aeiou" else "a"


def german_determiner(det: str, gender: str, case: str) -> str:
    """The inflected German determiner: german_determiner("a", "m", "acc") is "einen"."""
    if det == "the":
        return ARTICLE[case][gender]
    return NUMBERS[det] if det in NUMBERS else EIN_WORDS[det] + EIN_ENDING[case][gender]


def adjective_ending(det: str, gender: str, case: str) -> str:
    """adjective_ending("the", "m", "acc") is "en": den roten Ball."""
    if det == "the":
        return WEAK[case][gender]
    return MIXED[case][gender] if det in EIN_WORDS else STRONG_PLURAL[case]


def german_noun(noun: Noun, plural: bool, case: str) -> str:
    """The German noun in its case; the dative plural adds -n unless the word ends in n or s."""
    if not plural:
        return noun.de if case == "nom" else noun.oblique
    return noun.de_plural + ("n" if case == "dat" and noun.de_plural[-1] not in "ns" else "")


@cache
def noun_phrase(det: str, adjectives: tuple[str, ...], word: str, plural: bool) -> NP:
    """Build the noun phrase in all cases; det "" is none (bare plural).

    >>> noun_phrase("a", ("red",), "ball", False).cases[1]
    a red ball | einen roten Ball
    """
    noun = NOUNS[word]
    gender = "p" if plural else noun.gender
    en = (*adjectives, noun.en_plural if plural else noun.en)
    if det:
        indefinite = "any" if det == "no" and plural else english_article(en[0])
        en = (indefinite if det in ("a", "no") else det, *en)
    cases = []
    for case in CASES:
        ending = adjective_ending(det, gender, case)
        inflected = [GERMAN_ADJECTIVE[a].removesuffix("e") + ending for a in adjectives]
        de = (*inflected, german_noun(noun, plural, case))
        de = (german_determiner(det, gender, case), *de) if det else de
        cases.append(Phrase(en, de, identity(len(en))))
    person = "he" if noun.gender == "m" else "she"
    pronoun = "they" if plural else person if "person" in noun.tags else "it." + gender
    kind = "indef" if det in ("a", "no", "") else "def"
    key, agreement = ("noun", det, adjectives, word, plural), "3p" if plural else "3s"
    return NP(key, tuple(cases), agreement, gender, pronoun, kind, len(en) - 1)


@cache
def name(word: str) -> NP:
    """Mia: the same in both languages and in all cases."""
    phrase = Phrase((word,), (word,), identity(1))
    gender, pronoun = ("f", "she") if word in WOMEN_SET else ("m", "he")
    return NP(("name", word), (phrase,) * 3, "3s", gender, pronoun, "def", 0)


@cache
def pronoun(key: str) -> NP:
    """pronoun("it.m").cases[1] is it | ihn: the German form follows the gender of the noun it stands for."""
    subject, obj, nom, acc, dat, agreement = PRONOUNS[key]
    cases = tuple(Phrase((en,), (de,), identity(1)) for en, de in ((subject, nom), (obj, acc), (obj, dat)))
    gender = key[-1] if key.startswith("it") else {"he": "m", "she": "f"}.get(key, "p")
    return NP(("pron", key), cases, agreement, gender, key, "pron", 0)


@cache
def both(a: NP, b: NP) -> NP:
    """Mia and Tom | Mia und Tom."""
    n = len(a.cases[0].en)
    cases = tuple(Phrase((*x.en, "and", *y.en), (*x.de, "und", *y.de), identity(n + 1 + len(y.en)))
                  for x, y in zip(a.cases, b.cases, strict=True))
    return NP(("and", a.key, b.key), cases, "3p", "p", "they", "def", a.head)


@cache
def relative_pronoun(english: str, gender: str) -> NP:
    """relative_pronoun("that", "m").cases[1] is that | den."""
    forms = ["denen" if (case, gender) == ("dat", "p") else ARTICLE[case][gender] for case in CASES]
    cases = tuple(Phrase((english,), (german,), identity(1)) for german in forms)
    return NP(("rel", english, gender), cases, "3p" if gender == "p" else "3s", gender, "", "def", 0)


QUESTION_WORDS = {"who": ("wer", "wen", "wem"), "what": ("was", "was", "was")}


@cache
def question_word(english: str) -> NP:
    """who | wer, what | was as subject or object."""
    cases = tuple(Phrase((english,), (de,), identity(1)) for de in QUESTION_WORDS[english])
    return NP(("wh", english), cases, "3s", "m", "", "def", 0)


@cache
def prepositional(en: str, de: str, case: str, np: NP) -> Phrase:
    """A preposition and its noun phrase, contracted where German does so.

    >>> prepositional("in", "in", "dat", noun_phrase("the", (), "garden", False))
    in the garden | im Garten
    """
    inner = np.cases[CASES.index(case)]
    words = tuple(en.split())
    n = len(words)
    short = CONTRACTIONS.get((de, inner.de[0]))
    shift = link(n, 0 if short else 1)
    links = tuple(link(i, 0) for i in range(n)) + tuple(k + shift for k in inner.links)
    return Phrase((*words, *inner.en), (short, *inner.de[1:]) if short else (de, *inner.de), links)


@cache
def fixed(text: str) -> Phrase:
    """An adverbial from a table, "this morning/heute Morgen"; unequal lengths are linked all with all."""
    en, de = (tuple(side.split()) for side in text.split("/"))
    if len(en) == len(de):
        return Phrase(en, de, identity(len(en)))
    return Phrase(en, de, tuple(link(i, j) for i in range(len(en)) for j in range(len(de))))


PREDICATES = {a: Phrase((a,), (GERMAN_ADJECTIVE[a],), (0,)) for a in GERMAN_ADJECTIVE}
