"""Reading one clause: which verb and tense its verb words are, and what its noun phrases do."""

from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.chunks import Chunk
from course_lib.data.tinytown.grammar import FRAMES, PERSONS, TENSES
from course_lib.data.tinytown.lexicon import POSITIONS
from course_lib.data.tinytown.phrases import (
    CASES,
    NOUNS,
    NP,
    PLACE_PREPOSITIONS,
    PREDICATES,
    PRONOUNS,
    Phrase,
    both,
    fixed,
    german_determiner,
    name,
    noun_phrase,
    prepositional,
    pronoun,
    question_word,
)
from course_lib.data.tinytown.realise import Clause
from course_lib.data.tinytown.references import said_of_things
from course_lib.data.tinytown.shapes import forms, german_bracket
from course_lib.data.tinytown.templates import OBJ, REC, SUBJ, items
from course_lib.data.tinytown.verbs import VERBS, Verb

STATE_TENSES = ("state", "state past")
BE_TENSES = ("be", "was")
_NUMBERS = ("two", "three")
NO_SUBJECT = ("imperative", "please", "infinitive")


class Unreadable(Exception):
    """The words cannot be read so."""


class Context(NamedTuple):
    """What a clause needs from around it."""

    first: Clause | None = None   # where the antecedents of its pronouns stand
    owner: NP | None = None       # the subject it shares (of an infinitive)
    relative: NP | None = None    # its relative pronoun


class Reading(NamedTuple):
    """What a group of verb words can be; `agreement` is only told by German."""

    verb: str
    tense: str
    negated: bool
    agreement: str = ""


def _tenses(verb: Verb) -> list[str]:
    if verb.key == "be":
        return list(BE_TENSES)
    return list(STATE_TENSES) if verb.state else [t for t in TENSES if t not in STATE_TENSES + BE_TENSES]


@cache
def readings(language: int) -> dict[tuple[str, ...], list[Reading]]:
    """Every group of verb words in the order in which they stand, without nicht, and what it can be."""
    found: dict[tuple[str, ...], dict[Reading, None]] = {}
    for verb in VERBS.values():
        for tense in _tenses(verb):
            for person in PERSONS:
                for words, reading in (_german if language else _english)(verb, tense, person):
                    found.setdefault(words, {})[reading] = None
    return {words: list(options) for words, options in found.items()}


def _english(verb: Verb, tense: str, person: str):
    form = forms(verb.key, tense, person)
    particle = (verb.particle,) if verb.particle else ()
    for negated, text in zip((False, True, False), TENSES[tense][:3], strict=True):
        if text:
            words = tuple(form.get(name, name) for name, _ in items(text))
            yield words + particle, Reading(verb.key, tense, negated)


def _german(verb: Verb, tense: str, person: str):
    if tense == "imperative" and not verb.imperative:
        return
    form, reading = forms(verb.key, tense, person), Reading(verb.key, tense, False, person)
    for verb_last in (False, True):
        fin, right = german_bracket(tense, verb_last, bool(verb.prefix))
        yield tuple(form.get(name, name) for name, _ in (right + fin if verb_last else fin + right)), reading


def order_of(chunks: list[Chunk], place: str, end: str, relative: NP | None) -> str:
    """The order (see grammar.ORDERS) of a clause, from its place in the sentence and its first chunk."""
    if place == "relative":
        return "object relative" if relative.key[1] == "that" else "sub"
    if place in ("sub", "inverted", "infinitive"):
        return place
    kind, value = chunks[0][:2]
    if kind == "time":
        return "front when"
    if kind == "pp":
        return "front where"
    if kind == "ask":
        return "wh when" if value == "when/wann" else "wh where"
    if kind == "word":
        return "please" if value in ("please", "bitte") else "question" if end == "?" else "imperative"
    return "wh object" if kind == "np" and value == ("wh", "what") else "main"


class Roles:
    """Finds what the noun phrases of a clause do, for one reading of its verb."""

    def __init__(self, chunks: list[Chunk], reading: Reading, order: str, context: Context, language: int):
        self.chunks, self.reading, self.order = chunks, reading, order
        self.context, self.language = context, language
        self.frame = VERBS[reading.verb].frame
        kinds = {kind: value for kind, value, _, _ in chunks}
        self.place, self.time, self.how, self.adjective = (kinds.get(k) for k in ("pp", "time", "how", "adj"))
        self.ask = kinds.get("ask")

    def clause(self) -> Clause:
        """The clause without what is nested in it; Unreadable when its phrases do not fit the frame."""
        nps = [value for kind, value, _, _ in self.chunks if kind == "np"]
        verb, tense, negated, _ = self.reading
        subj = obj = rec = None
        self.owner = self.context.owner
        if self.order in ("wh object", "object relative"):
            obj = self.context.relative or question_word(nps.pop(0)[1])
        if self.order not in NO_SUBJECT:
            subj = self.context.relative if self.order == "sub" and self.context.relative else None
            if subj is None:
                if not nps:
                    raise Unreadable
                subj = self.np(nps.pop(0), SUBJ)
            self.owner = subj
        elif self.order != "infinitive":
            self.owner = pronoun("you")
        slots = [s for s in FRAMES[self.frame][1].split()]
        wanted = [OBJ if s.startswith("OBJ") else REC for s in slots]
        if self.frame == "return" and self.language == 0 and self.place:
            nps.append(self.place[1])
            self.place, wanted = None, [OBJ, REC]
        if obj is not None:
            if OBJ not in wanted:
                raise Unreadable
            wanted.remove(OBJ)
        if len(nps) == len(wanted) - 1:
            nps = _split_her(nps)
        if len(nps) != len(wanted):
            raise Unreadable
        for slot, value in zip(wanted, nps, strict=True):
            if slot == OBJ:
                obj = self.np(value, OBJ)
            else:
                rec = self.np(value, REC)
        how = fixed(self.how) if self.how else PREDICATES[self.adjective] if self.adjective else None
        when = fixed(self.time) if self.time else fixed(self.ask) if self.ask == "when/wann" else None
        where = fixed(self.ask) if self.ask == "where/wo" else self.where() if self.place else None
        if not self._complete(where, how):
            raise Unreadable
        return Clause(verb, tense, negated, subj, obj, rec, where, how, when)

    def _complete(self, where: Phrase | None, how: Phrase | None) -> bool:
        """Whether the frame has what it needs: to be how or where, to go and to put somewhere."""
        if self.frame == "be":
            return (where is not None) + (self.adjective is not None) == 1 and self.how is None
        return self.adjective is None and (where is not None or self.frame not in ("go", "put"))

    def np(self, value: tuple, slot: int) -> NP:
        """The noun phrase that was read as `value`, in its role."""
        kind = value[0]
        if kind == "name":
            return name(value[1])
        if kind == "and":
            return both(name(value[1]), name(value[2]))
        if kind == "wh":
            return question_word(value[1])
        return self.pronoun(value[1], slot) if kind == "pron" else self.noun(value, slot)

    def noun(self, value: tuple, slot: int) -> NP:
        _, dets, adjectives, nouns, token = value
        owner = self.owner.pronoun if self.owner is not None else ""
        if len(dets) == 2:  # a or no; her or their
            second = self.reading.negated and slot == OBJ if dets[0] == "a" else owner == "they"
            det = dets[second]
        else:
            det = dets[0]
        word, plural = nouns[0]
        if len(nouns) > 1:  # Schlüssel: one or several? The determiner tells
            singular = [german_determiner(det, NOUNS[word].gender, case) for case in CASES] if det else []
            plural = det in _NUMBERS or token not in singular
        if (plural and det == "a") or (not plural and (det == "" or det in _NUMBERS)):
            raise Unreadable
        return noun_phrase(det, adjectives, word, plural)

    def pronoun(self, form: str, slot: int) -> NP:
        """A pronoun by its form, its role and, for it, sie, er, es, what it can stand for."""
        adjective = self.adjective if self.reading.verb == "be" else None
        thing = said_of_things(self.reading.verb, slot, adjective)
        first = self.context.first
        if self.language == 0:
            key = _ENGLISH_PRONOUNS[form]
            if key == "it":
                if first is None or first.obj is None:
                    raise Unreadable
                key = first.obj.pronoun
            if key not in PRONOUNS:
                raise Unreadable
            return pronoun(key)
        options = _GERMAN_PRONOUNS[form]
        if len(options) > 1 and form == "sie":
            if slot == SUBJ:
                plural = self.reading.agreement == "3p"
            else:
                standing = first and (first.obj if thing else first.subj)
                plural = bool(standing) and standing.pronoun == "they"
            return pronoun("they" if plural else "it.f" if thing else "she")
        return pronoun(options[-1] if thing else options[0])

    def where(self) -> Phrase:
        """The adverbial of place: its case follows from the verb, its preposition from the noun."""
        preposition, value = self.place
        if value[0] != "noun":
            raise Unreadable
        np = self.noun(value, SUBJ)
        word, goes = np.key[3], self.frame == "go"
        case = "acc" if self.frame == "put" else "dat"
        if word in PLACE_PREPOSITIONS:
            en, de = ("to", "zu") if goes else PLACE_PREPOSITIONS[word]
            if goes and preposition in ("into", "in"):
                en, de, case = "into", "in", "acc"
            return prepositional(en, de, case, np)
        for en, de, _ in POSITIONS:
            english = (en, "into") if de == "in" else (en,)
            if preposition == de if self.language else preposition in english:
                return prepositional("into" if (en, case) == ("in", "acc") else en, de, case, np)
        raise Unreadable


_ENGLISH_PRONOUNS = {form: key.split(".")[0] for key, forms in PRONOUNS.items() for form in forms[:2]}
_GERMAN_PRONOUNS: dict[str, list[str]] = {}
for _key, _forms in PRONOUNS.items():
    for _form in dict.fromkeys(_forms[2:5]):
        if (_key, _form) not in (("it.m", "ihm"), ("it.n", "ihm"), ("it.f", "ihr")):  # no gifts to things
            _GERMAN_PRONOUNS.setdefault(_form, []).append(_key)


def _split_her(nps: list[tuple]) -> list[tuple]:
    """"showed her flowers" was read as one noun phrase: make it two, "her" and "flowers"."""
    for k, value in enumerate(nps):
        if value[0] == "noun" and value[-1] in ("her", "ihr"):
            return [*nps[:k], ("pron", value[-1]), ("noun", ("",), *value[2:4], ""), *nps[k + 1:]]
    return nps
