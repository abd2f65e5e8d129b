"""From meaning to text: a clause becomes an English and a German phrase at once, with their alignment.

The order of words is compiled once for each kind of clause into a Template and kept; saying a clause is then filling in.
"""

from functools import lru_cache
from typing import NamedTuple

from course_lib.data.tinytown.grammar import (AUXILIARIES, COMPLEMENTS, ENGLISH_BE, FRAMES, JOINS, ORDERS, PERSONS,
                                              RELATIVES, TENSES)
from course_lib.data.tinytown.phrases import CASES, NP, Phrase
from course_lib.data.tinytown.verbs import VERBS, Verb

SLOTS = {"SUBJ": 0, "OBJ": 1, "REC": 2, "WHERE": 3, "HOW": 4, "WHEN": 5, "COMP": 6, "SREL": 7, "OREL": 8}
SUBJ, OBJ, REC, WHERE, HOW, WHEN, COMP, SREL, OREL = range(9)


class Clause(NamedTuple):
    """What a clause means: who does what to whom, in which tense, where, how, when."""

    verb: str
    tense: str
    negated: bool = False
    subj: NP | None = None
    obj: NP | None = None
    rec: NP | None = None
    where: Phrase | None = None
    how: Phrase | None = None
    when: Phrase | None = None
    comp: "Clause | None" = None
    srel: "Clause | None" = None
    orel: "Clause | None" = None


class Template(NamedTuple):
    """A compiled order of words and slots.

    `en` and `de` are runs: (words, the slot that follows them); then come `en_tail`, `de_tail`. A place is written as
    (number of the run's slot, distance from its start), so words before a slot have negative distances.
    """

    en: tuple[tuple[tuple[str, ...], int], ...]
    de: tuple[tuple[tuple[str, ...], int], ...]
    en_tail: tuple[str, ...]
    de_tail: tuple[str, ...]
    slots: tuple[tuple[int, int, int], ...]  # slot, number of its run in English, in German
    links: tuple[tuple[int, int, int], ...]  # run in English, run in German, distances as one link
    cases: tuple[tuple[int, int], ...]       # slot, number of the case
    tags: frozenset[str]


def fill(t: Template, parts: list) -> Phrase:
    """Put the phrases `parts[slot]` into the template; the links move with the words (see phrases.link)."""
    en: list[str] = []
    de: list[str] = []
    at_en, at_de = [], []
    for words, slot in t.en:
        en += words
        at_en.append(len(en))
        en += parts[slot].en
    en += t.en_tail
    at_en.append(len(en))
    for words, slot in t.de:
        de += words
        at_de.append(len(de))
        de += parts[slot].de
    de += t.de_tail
    at_de.append(len(de))
    links = [64 * at_en[a] + at_de[b] + distance for a, b, distance in t.links]
    add = links.append
    for slot, a, b in t.slots:
        shift = 64 * at_en[a] + at_de[b]
        for link in parts[slot].links:
            add(link + shift)
    return Phrase(en, de, links, (t, at_en, at_de, parts))


def finite(name: str, verb: Verb, agreement: str) -> str:
    """The German finite verb: finite("AUX_PRESENT", find, "2s") is hast."""
    aux = {"AUX_PRESENT": verb.aux, "AUX_PAST": {"haben": "hatte", "sein": "war"}[verb.aux]}.get(name, name)
    if name in ("PRESENT", "PRETERITE"):
        if verb.key == "be":
            aux = "sein" if name == "PRESENT" else "war"
        elif verb.key == "have":
            aux = "haben" if name == "PRESENT" else "hatte"
        elif name == "PRESENT":
            return verb.present3 if agreement == "3s" else verb.infinitive
        else:
            return verb.preterite if agreement.endswith("s") else verb.preterite + "n"
    if name == "IMPERATIVE":
        return verb.imperative
    return AUXILIARIES[aux].split()[PERSONS.index(agreement)]


def english_verb(text: str, verb: Verb, agreement: str) -> list[tuple[str, str]]:
    """The English verb group as (word, groups), with the verb's particle."""
    singular = agreement == "3s"
    forms = {"PAST": verb.past, "PP": verb.pp, "ING": verb.ing, "BASE": verb.base,
             "THIRD": verb.third if singular else verb.base, "WANT": "wants" if singular else "want",
             "DO": "does" if singular else "do", **{k: v.get(agreement) for k, v in ENGLISH_BE.items()}}
    words = [item.partition(":")[::2] for item in text.split()]
    return [(forms.get(word, word), groups) for word, groups in words]


def right_bracket(text: str, verb: Verb) -> list[tuple[str, str]]:
    """The German right bracket as (word, groups): participle, infinitive, prefix or zu-infinitive."""
    name, _, groups = text.partition(":")
    prefix = verb.prefix or ""
    if name == "ZU":
        return [(prefix + "zu" + verb.infinitive, "34")] if prefix else [("zu", "4"), (verb.infinitive, "3")]
    word = {"PARTICIPLE": verb.participle, "INFINITIVE": prefix + verb.infinitive, "PREFIX": prefix, "": ""}[name]
    return [(word, groups)] if word else []


class Kind(NamedTuple):
    """All that decides the order of a clause's words: the key of the template cache."""

    order: str
    verb: str
    tense: str
    negated: bool
    agreement: str
    obj: str | None    # "pron", "indef", "def"
    rec: str | None
    filled: int        # bit set of the slots that are filled


@lru_cache(maxsize=None)
def template(*key) -> Template:
    """Compile the order of one kind of clause; the arguments are the fields of Kind."""
    kind = Kind(*key)
    verb, inverts = VERBS[kind.verb], ORDERS[kind.order][0].split()[:2] in (["FIN", "SUBJ"], ["WHEN", "FIN"],
                                                                           ["WHERE", "FIN"], ["OBJ", "FIN"])
    plain, negated, question, fin_name, right_text = TENSES[kind.tense]
    text = negated if kind.negated else question if inverts else plain
    group = english_verb(text, verb, kind.agreement)
    right = right_bracket(right_text, verb)
    fin = finite(fin_name, verb, kind.agreement) if fin_name else ""
    if kind.order in ("sub", "object relative") and right_text.startswith("PREFIX") and right:
        fin, right, fin_groups = verb.prefix + fin, [], "13"
    else:
        fin_groups = "1"
    kein = kind.negated and kind.obj == "indef"
    if verb.particle:
        group.append((verb.particle, "3" if right or fin_groups == "13" else "1"))
    has = lambda slot: kind.filled >> SLOTS[slot] & 1
    objects_en, objects_de = FRAMES[verb.frame]
    cases = dict(item.split(".") for item in objects_de.split())
    pronouns = [s for s, k in (("OBJ", kind.obj), ("REC", kind.rec)) if k == "pron" and s in cases]

    en: list[tuple[str | int, str]] = []
    for part in ORDERS[kind.order][0].split():
        if part == "FIN":
            en.append(group[0])
        elif part == "REST":
            en += group[1:]
        elif part == "NPS":
            objects = [(SLOTS.get(o, o), "") for o in objects_en.split()]
            if verb.particle and "OBJ" in pronouns:  # she threw it away
                en[-1:] = [*objects, en[-1]]
            else:
                en += objects
        elif part in SLOTS:
            if has(part):
                text = COMPLEMENTS[verb.frame][0] if part == "COMP" else RELATIVES[part][0] if part in RELATIVES else part
                en += _items(text)
        else:
            en += _items(part)

    de: list[tuple[str | int, str]] = []
    for part in ORDERS[kind.order][1].split():
        if part == "FIN":
            de.append((fin, fin_groups))
        elif part == "PRON":
            de += [(SLOTS[p], "") for p in pronouns]
        elif part == "NPS":
            de += [(SLOTS[o], "2" if kein and o == "OBJ" else "") for o in cases if o not in pronouns]
        elif part == "NEG":
            de += [("nicht", "2")] if kind.negated and not kein else []
        elif part == "RIGHT":
            de += right
        elif part in SLOTS:
            if has(part):
                text = COMPLEMENTS[verb.frame][1] if part == "COMP" else RELATIVES[part][1] if part in RELATIVES else part
                de += _items(text)
        else:
            de += _items(part)
    numbers = tuple((SLOTS[slot], CASES.index(case)) for slot, case in cases.items())
    return _assemble(en, de, (*numbers, (SUBJ, 0)) if kind.filled & 1 else numbers, _tags(kind, verb, right, kein))


def _items(text: str) -> list[tuple[str | int, str]]:
    """"that:8 COMP" → [("that", "8"), (6, "")]."""
    pairs = [item.partition(":")[::2] for item in text.split()]
    return [(SLOTS.get(word, word), groups) for word, groups in pairs]


def _runs(items: list) -> tuple[tuple, tuple[str, ...], list[tuple[int, int]]]:
    """Split items into runs of words before each slot: (runs, words after the last, place of every item)."""
    runs, words, places = [], [], []
    for item, _ in items:
        if isinstance(item, int):
            places += [(len(runs), k - len(words)) for k in range(len(words))] + [(len(runs), 0)]
            runs.append((tuple(words), item))
            words = []
        else:
            words.append(item)
    places += [(len(runs), k - len(words)) for k in range(len(words))]
    return tuple(runs), tuple(words), places


def _assemble(en: list, de: list, cases: tuple, tags: frozenset[str]) -> Template:
    """Compile items with groups: words of the two languages that share a group are linked."""
    runs_en, tail_en, places_en = _runs(en)
    runs_de, tail_de, places_de = _runs(de)
    links = tuple((places_en[a][0], places_de[b][0], 64 * places_en[a][1] + places_de[b][1])
                  for a, (_, g) in enumerate(en) for b, (_, h) in enumerate(de) if set(g) & set(h))
    order = [slot for _, slot in runs_de]
    slots = tuple((slot, a, order.index(slot)) for a, (_, slot) in enumerate(runs_en))
    return Template(runs_en, runs_de, tail_en, tail_de, slots, links, cases, tags)


_TENSE_TAGS = {"past": "perfect", "perfect": "past perfect", "present": "present", "future": "future", "state": "present",
               "be": "present", "was": "preterite", "state past": "preterite", "infinitive": "infinitive",
               "imperative": "imperative"}
_ORDER_TAGS = {"front when": "fronted", "front where": "fronted", "sub": "subordinate", "question": "question",
               "wh when": "question", "wh where": "question", "wh object": "question", "object relative": "relative",
               "please": "imperative"}


def _tags(kind: Kind, verb: Verb, right: list, kein: bool) -> frozenset[str]:
    tags = {_TENSE_TAGS.get(kind.tense, "modal"), _ORDER_TAGS.get(kind.order, "main")}
    tags |= {"separable"} if verb.prefix else set()
    tags |= {"negation", "kein" if kein else "nicht"} if kind.negated else set()
    tags |= {"dative"} if verb.frame in ("dat", "give", "return") else set()
    tags |= {"relative"} if kind.filled >> SREL & 3 else set()
    tags |= {"that clause" if verb.frame == "that" else "zu"} if kind.filled >> COMP & 1 else set()
    return frozenset(tags)


def realise_clause(c: Clause, order: str) -> tuple[Phrase, bool]:
    """Say a clause in the given order; also tells whether its German ends in a subordinate clause (a comma must follow)."""
    verb, tense, negated, subj, obj, rec, where, how, when, comp, srel, orel = c
    filled = ((subj is not None) | (obj is not None) << 1 | (rec is not None) << 2 | (where is not None) << 3
              | (how is not None) << 4 | (when is not None) << 5)
    parts = [None, None, None, where, how, when, None, None, None]
    is_open = False
    if comp is not None:
        filled |= 64
        parts[6], _ = realise_clause(comp, "infinitive" if comp.tense == "infinitive" else "sub")
        is_open = True
    if srel is not None:
        filled |= 128
        parts[7], _ = realise_clause(srel, "object relative" if srel.obj is not None and srel.obj.key[0] == "rel" else "sub")
    if orel is not None:
        filled |= 256
        parts[8], _ = realise_clause(orel, "object relative" if orel.obj is not None and orel.obj.key[0] == "rel" else "sub")
        is_open = True
    t = template(order, verb, tense, negated, subj.agreement if subj is not None else "2s",
                 obj.kind if obj is not None else None, rec.kind if rec is not None else None, filled)
    for slot, case in t.cases:
        parts[slot] = (subj, obj, rec)[slot].cases[case]
    return fill(t, parts), is_open


class Sentence(NamedTuple):
    """What a sentence means: clauses, how they are joined, and which pronoun stands for what.

    `first` is the conjunction before the first clause ("" for none; then the second clause is inverted in German);
    `joins` holds a key of JOINS between two clauses each ("" after a first clause that opens with a conjunction).
    `coreference` holds pairs of paths (pronoun, antecedent); a path is the number of the clause, then slots.
    """

    clauses: tuple[Clause, ...]
    orders: tuple[str, ...]
    joins: tuple[str, ...] = ()
    first: str = ""
    end: str = "."
    coreference: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


@lru_cache(maxsize=None)
def union(a: frozenset[str], b: frozenset[str]) -> frozenset[str]:
    return a | b


@lru_cache(maxsize=None)
def _frame(joins: tuple[str, ...], first: str, end: str, opens: tuple[bool, ...]) -> Template:
    """The template around the clauses of a sentence."""
    en: list[tuple[str | int, str]] = _items(JOINS[first][0]) if first else []
    de: list[tuple[str | int, str]] = _items(JOINS[first][1].removeprefix(", ")) if first else []
    for k in range(len(opens)):
        label = "abc"[k]
        if k and joins[k - 1]:
            english, german, _ = JOINS[joins[k - 1]]
            if joins[k - 1] == "and" and opens[k - 1]:  # a subordinate clause ends here
                en.append((",", "xyz"[k]))
                de.append((",", "xyz"[k]))
            en += [(word, group and label) for word, group in _items(english)]
            de += [(word, group and label) for word, group in _items(german)]
            if english[0] == ",":  # a comma on both sides
                en[-2] = de[-2] = (",", "xyz"[k])
        elif k:
            en.append((",", "x"))
            de.append((",", "x"))
        en.append((k, ""))
        de.append((k, ""))
    en.append((end, "."))
    de.append((end, "."))
    tags = {"coordination"} if {"and", "but", "so"} & set(joins) else set()
    tags |= {"subordinate"} if first or set(joins) - {"and", "but", "so", ""} else set()
    return _assemble(en, de, (), frozenset(tags))


def realise(s: Sentence) -> Phrase:
    """Say a sentence in both languages, first word capitalised."""
    phrases, opens = [], []
    for clause, order in zip(s.clauses, s.orders):
        phrase, is_open = realise_clause(clause, order)
        phrases.append(phrase)
        opens.append(is_open or order == "sub")
    whole = fill(_frame(s.joins, s.first, s.end, tuple(opens)), phrases)
    for side in (whole.en, whole.de):
        word = side[0]
        side[0] = word[0].upper() + word[1:]
    return whole
