"""From words to chunks: noun phrases, prepositional phrases, adverbials and single words, in either language.

A chunk is (kind, value, first token, token after the last). Kinds: np (a noun phrase, not yet inflected),
pp (preposition, noun phrase), time, how, adj, ask (where, when), rel (a German relative pronoun), word.
A noun phrase is described by what can be read off it: ("noun", determiners, adjectives, [(noun, plural), …], first
word), ("name", Mia), ("and", Mia, Tom), ("pron", him) or ("wh", who).
"""

import re
from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.grammar import JOINS
from course_lib.data.tinytown.lexicon import MANNERS, MEN, POSITIONS, TIMES, WOMEN
from course_lib.data.tinytown.phrases import (
    ARTICLE,
    ATTRIBUTIVE,
    CASES,
    CONTRACTIONS,
    EIN_ENDING,
    EIN_WORDS,
    GERMAN_ADJECTIVE,
    NOUNS,
    NUMBERS,
    PLACE_PREPOSITIONS,
    PREDICATIVE,
    PRONOUNS,
    QUESTION_WORDS,
    german_noun,
)
from course_lib.data.tinytown.verbs import VERBS

Chunk = tuple[str, object, int, int]
NAMES = frozenset(WOMEN + MEN)
ARTICLES = frozenset(("der", "die", "das", "den", "dem"))
LANGUAGES = ("en", "de")


class Words(NamedTuple):
    """What one language's words can be."""

    nouns: dict[str, list[tuple[str, bool]]]
    adjectives: dict[str, str]                # attributive forms → adjective
    predicates: dict[str, str]                # predicative forms → adjective
    determiners: dict[str, tuple[str, ...]]
    pronouns: frozenset[str]
    questions: dict[str, str]
    prepositions: dict[str, tuple[str, ...]]  # first word → the words
    contracted: dict[str, tuple[str, str]]    # im → in, dem
    adverbials: dict[str, list[tuple[tuple[str, ...], tuple[str, str]]]]
    boundaries: frozenset[str]                # words after which a clause begins


@cache
def words_of(language: str) -> Words:
    """The dictionary of a language, "en" or "de", made from the lexicon."""
    de = LANGUAGES.index(language)
    nouns: dict[str, list[tuple[str, bool]]] = {}
    for key, n in NOUNS.items():
        for many in (False, True) if n.en_plural else (False,):
            forms = {german_noun(n, many, case) for case in CASES} if de else {n.en_plural if many else n.en}
            for form in forms:
                nouns.setdefault(form, []).append((key, many))
    stems = {a: german.removesuffix("e") for a, german in GERMAN_ADJECTIVE.items()}
    stems = {a: stem for a, stem in stems.items() if ATTRIBUTIVE[a] != ["-"]}  # nobody says: the open door
    inflected = {stem + ending: a for a, stem in stems.items() for ending in ("e", "en", "er", "es")}
    adverbials: dict[str, list] = {}
    times = {text for texts in TIMES.values() for text in texts}
    for kind, texts in (("time", times), ("how", MANNERS), ("ask", ("where/wo", "when/wann"))):
        for text in sorted(texts):
            form = tuple(text.split("/")[de].split())
            adverbials.setdefault(form[0], []).append((form, (kind, text)))
    for entries in adverbials.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    used = {"zu"} if de else {"to", "into"}
    used |= {p[de] for p in POSITIONS} | {p[de] for p in PLACE_PREPOSITIONS.values()}
    joins = {join[de].split()[-1].split(":")[0] for join in JOINS.values()}
    return Words(
        nouns=nouns,
        adjectives=inflected if de else {a: a for a in stems},
        predicates={GERMAN_ADJECTIVE[a] if de else a: a for a in PREDICATIVE},
        determiners=_german_determiners() if de else _english_determiners(),
        pronouns=frozenset(form for p in PRONOUNS.values() for form in (p[2:5] if de else p[:2])),
        questions={form: en for en, forms in QUESTION_WORDS.items() for form in (forms if de else (en,))},
        prepositions={p.split()[0]: tuple(p.split()) for p in sorted(used)},
        contracted={short: pair for pair, short in CONTRACTIONS.items()} if de else {},
        adverbials=adverbials,
        boundaries=frozenset(joins | {",", "dass" if de else "that"}),
    )


def _english_determiners() -> dict[str, tuple[str, ...]]:
    found = {det: (det,) for det in (*EIN_WORDS, *NUMBERS, "the") if det != "no"}
    return found | {"a": ("a", "no"), "an": ("a", "no"), "any": ("no",)}


def _german_determiners() -> dict[str, tuple[str, ...]]:
    found = {form: ["the"] for forms in ARTICLE.values() for form in forms.values()}
    for det, stem in EIN_WORDS.items():
        for form in {stem + ending for endings in EIN_ENDING.values() for ending in endings.values()}:
            found.setdefault(form, []).append(det)
    numbers = {german: (en,) for en, german in NUMBERS.items()}
    return {form: tuple(dets) for form, dets in found.items()} | numbers


def tokenise(text: str) -> list[str]:
    """tokenise("Mia slept.") is ["Mia", "slept", "."]."""
    return re.findall(r"\w+|[^\w\s]", text)


class Chunker:
    """Reads one sentence from left to right; what it finds is (kind, value, token after the last)."""

    def __init__(self, tokens: list[str], language: str):
        self.tokens, self.words, self.german = tokens, words_of(language), language == "de"

    def noun_phrase(self, i: int) -> tuple[str, object, int] | None:
        """The noun phrase that starts at token i, or None."""
        tokens, w = self.tokens, self.words
        token = tokens[i]
        if token in NAMES:
            return "np", ("name", token), i + 1
        dets = w.determiners.get(token)
        j = first = i + 1 if dets else i
        while tokens[j] in w.adjectives:
            j += 1
        nouns = w.nouns.get(tokens[j])
        if nouns:
            adjectives = tuple([w.adjectives[a] for a in tokens[first:j]])
            return "np", ("noun", dets or ("",), adjectives, nouns, token), j + 1
        if token in w.pronouns:
            return "np", ("pron", token), i + 1
        if token in w.questions:
            return "np", ("wh", w.questions[token]), i + 1
        return None

    def prepositional(self, i: int) -> tuple[str, object, int] | None:
        """The prepositional phrase that starts at token i; im counts as in dem."""
        tokens, w = self.tokens, self.words
        if tokens[i] in w.contracted:
            preposition, article = w.contracted[tokens[i]]
            inner = Chunker([article, *tokens[i + 1:]], "de").noun_phrase(0)
            return inner and ("pp", (preposition, inner[1]), i + inner[2])
        form = w.prepositions.get(tokens[i])
        if not form or tuple(tokens[i:i + len(form)]) != form or i + len(form) == len(tokens):
            return None
        inner = self.noun_phrase(i + len(form))
        return inner and ("pp", (" ".join(form), inner[1]), inner[2])

    def adverbial(self, i: int) -> tuple[str, object, int] | None:
        """The adverbial of time or manner, or the question word, that starts at token i."""
        for form, (kind, text) in self.words.adverbials.get(self.tokens[i], ()):
            asks = i == 0 and self.tokens[-1] == "?"
            if tuple(self.tokens[i:i + len(form)]) == form and (kind != "ask" or asks):
                return kind, text, i + len(form)
        return None

    def read(self) -> list[Chunk]:
        """All chunks of the sentence, without its end mark."""
        tokens, chunks, i, w = self.tokens, [], 0, self.words
        german, after_comma, in_relative, waits = self.german, False, False, False
        being = False  # a form of be has been seen in this clause: is open, was broken
        first = True  # no noun phrase yet in this clause: here two names with "and" are one noun phrase
        while i < len(tokens) - 1:
            token = tokens[i]
            if after_comma and not waits and token in ARTICLES:
                kind, value, end = "rel", token, i + 1
            elif token in VERB_OR_ADJECTIVE and not german and not being:
                kind, value, end = "word", token, i + 1
            else:
                kind, value, end = (
                    (token in w.adverbials and self.adverbial(i))
                    or ((token in w.prepositions or token in w.contracted) and self.prepositional(i))
                    or self.noun_phrase(i)
                    or (token in w.predicates and ("adj", w.predicates[token], i + 1))
                    or ("word", token, i + 1))
            if kind == "np":
                two = value[0] == "name" and tokens[end] in ("and", "und") and tokens[end + 1] in NAMES
                if first and two:
                    value, end = ("and", token, tokens[end + 1]), end + 2
                first = value[0] == "wh"
            elif kind == "rel":
                first = True
            elif kind == "word":
                being = being or token in BE_FORMS
                if token in w.boundaries:
                    first, waits, being = True, waits and token == ",", False
                waits = waits or (german and token in _TO_FORMS)
            after_comma = german and token == "," and not in_relative
            in_relative = kind == "rel" or (in_relative and token != ",")
            chunks.append((kind, value, i, end))
            i = end
        return chunks


VERB_OR_ADJECTIVE = ("broken", "open", "closed")
BE_FORMS = ("am", "is", "are", "was", "were")
_TO_FORMS = frozenset(form for v in VERBS.values() if v.frame == "to"
                      for form in (v.participle, (v.prefix or "") + v.infinitive))


def uncapitalised(tokens: list[str]) -> list[str]:
    """The tokens as they would stand inside a sentence."""
    first = tokens[0]
    return tokens if first in NAMES or first == "I" else [first[0].lower() + first[1:], *tokens[1:]]
