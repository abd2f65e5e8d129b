"""From the grammar's tables to templates: the order of words is compiled once for each kind of clause, then filled in.

A template holds runs of words with slots between them. Filling a slot is adding lists; the alignment moves along, one
addition for each link. Verb forms stand as "{0.past}" in the shape of a clause and are written in for each verb.
"""

from functools import lru_cache
from typing import NamedTuple

from course_lib.data.tinytown.grammar import (AUXILIARIES, COMPLEMENTS, ENGLISH_BE, FRAMES, JOINS, ORDERS, PERSONS,
                                              RELATIVES, TENSES)
from course_lib.data.tinytown.phrases import CASES, Phrase
from course_lib.data.tinytown.verbs import VERBS, Verb

SLOTS = {"SUBJ": 0, "OBJ": 1, "REC": 2, "WHERE": 3, "HOW": 4, "WHEN": 5, "COMP": 6, "SREL": 7, "OREL": 8}
SUBJ, OBJ, REC, WHERE, HOW, WHEN, COMP, SREL, OREL = range(9)
Items = list[tuple[str | int, str]]  # words and slots with their link groups


class NoSuchForm(ValueError):
    """The grammar has no such form: nobody "must not" in Tinytown."""


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


def fill(t: Template, parts: list, en: list[str], de: list[str], links: list[int]) -> tuple:
    """Append the template with the phrases `parts[slot]` to the text so far; the links move with the words.

    Returns where the parts went, (template, places of the runs in English, in German, parts), for `place_of`.
    """
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
    links += [64 * at_en[a] + at_de[b] + distance for a, b, distance in t.links]
    add = links.append
    for slot, a, b in t.slots:
        shift = 64 * at_en[a] + at_de[b]
        for link in parts[slot].links:
            add(link + shift)
    return t, at_en, at_de, parts


def place_of(starts: tuple, path: tuple[int, ...]) -> tuple[int, int]:
    """Where the phrase at the end of a path of slots starts, in English and in German."""
    i = j = 0
    for slot in path:
        t, at_en, at_de, parts = starts
        run_en, run_de = next((a, b) for filled, a, b in t.slots if filled == slot)
        i, j = i + at_en[run_en], j + at_de[run_de]
        starts = parts[slot].starts
    return i, j


def finite(name: str, verb: Verb, special: str, agreement: str) -> str:
    """The German finite verb: finite("AUX_PRESENT", find, "", "2s") is hast."""
    if name == "IMPERATIVE":
        return verb.imperative
    if name in ("PRESENT", "PRETERITE") and not special:
        if name == "PRESENT":
            return verb.present3 if agreement == "3s" else verb.infinitive
        return verb.preterite + ("" if agreement.endswith("s") else "n")
    own = {"be": ("sein", "war"), "have": ("haben", "hatte"), "": ("", "")}[special]
    perfect = ("sein", "war") if verb.aux == "sein" else ("haben", "hatte")
    aux = {"AUX_PRESENT": perfect[0], "AUX_PAST": perfect[1], "PRESENT": own[0], "PRETERITE": own[1]}.get(name, name)
    return AUXILIARIES[aux].split()[PERSONS.index(agreement)]


def english_verb(text: str, verb: Verb, agreement: str) -> Items:
    """The English verb group as (word, groups)."""
    singular = agreement == "3s"
    forms = {"PAST": verb.past, "PP": verb.pp, "ING": verb.ing, "BASE": verb.base,
             "THIRD": verb.third if singular else verb.base, "WANT": "wants" if singular else "want",
             "DO": "does" if singular else "do", **{k: v[agreement] for k, v in ENGLISH_BE.items()}}
    words = [item.partition(":")[::2] for item in text.split()]
    return [(forms.get(word, word), groups) for word, groups in words]


def right_bracket(text: str, verb: Verb) -> Items:
    """The German right bracket as (word, groups): participle, infinitive, prefix or zu-infinitive."""
    name, _, groups = text.partition(":")
    prefix = verb.prefix or ""
    if name == "ZU":
        return [(prefix + "zu" + verb.infinitive, "34")] if prefix else [("zu", "4"), (verb.infinitive, "3")]
    word = {"PARTICIPLE": verb.participle, "INFINITIVE": prefix + verb.infinitive, "PREFIX": prefix, "": ""}[name]
    return [(word, groups)] if word else []


class Shape(NamedTuple):
    """All that decides the order of a clause's words, whatever its verb."""

    order: str
    tense: str
    negated: bool
    agreement: str
    obj: str | None    # "pron", "indef", "def"
    rec: str | None
    filled: int        # bit set of the slots that are filled
    frame: str
    aux: str
    special: str       # "be" and "have" have German forms of their own
    particle: bool
    prefix: bool


def items(text: str) -> Items:
    """items("that:8 COMP") is [("that", "8"), (6, "")]."""
    pairs = [item.partition(":")[::2] for item in text.split()]
    return [(SLOTS.get(word, word), groups) for word, groups in pairs]


def _slot_items(part: str, shape: Shape, language: int) -> Items:
    """What stands in an order for SUBJ, WHERE, COMP …: nothing when the slot is empty."""
    if part not in SLOTS:
        return items(part)  # a word of the order itself, please
    if not shape.filled >> SLOTS[part] & 1:
        return []
    return items(COMPLEMENTS[shape.frame][language] if part == "COMP" else RELATIVES.get(part, (part, part))[language])


def _english(shape: Shape, group: Items, particle: Items, pronouns: list[str]) -> Items:
    found: Items = []
    for part in ORDERS[shape.order][0].split():
        if part == "FIN":
            found.append(group[0])
        elif part == "REST":
            found += group[1:]
            if "OBJ" not in pronouns:
                found += particle
        elif part == "NPS":
            found += [(SLOTS.get(word, word), "") for word in FRAMES[shape.frame][0].split()]
            if "OBJ" in pronouns:  # she threw it away
                found += particle
        else:
            found += _slot_items(part, shape, 0)
    return found


def _german(shape: Shape, fin: Items, right: Items, cases: dict[str, str], pronouns: list[str]) -> Items:
    kein = shape.negated and shape.obj == "indef"
    found: Items = []
    for part in ORDERS[shape.order][1].split():
        if part == "FIN":
            found += fin
        elif part == "PRON":
            found += [(SLOTS[p], "") for p in pronouns]
        elif part == "NPS":
            found += [(SLOTS[o], "2" if kein and o == "OBJ" else "") for o in cases if o not in pronouns]
        elif part == "NEG":
            found += [("nicht", "2")] if shape.negated and not kein else []
        elif part == "RIGHT":
            found += right
        else:
            found += _slot_items(part, shape, 1)
    return found


@lru_cache(maxsize=None)
def _compiled(shape: Shape) -> Template:
    """Compile a shape with a verb whose forms are "{0.past}" and so on."""
    verb = Verb(*("{0.%s}" % field for field in Verb._fields))._replace(aux=shape.aux, prefix="{0.prefix}" if shape.prefix
                                                                         else None)
    inverts = "FIN" in ORDERS[shape.order][0].split("SUBJ")[0] and "SUBJ" in ORDERS[shape.order][0]
    plain, negated, question, fin_name, right_text = TENSES[shape.tense]
    text = negated if shape.negated else question if inverts else plain
    if text is None:
        raise NoSuchForm(f"tense: got {shape.tense!r}, expected one that can be negated and asked about")
    group = english_verb(text, verb, shape.agreement)
    right = right_bracket(right_text, verb)
    fin = [(finite(fin_name, verb, shape.special, shape.agreement), "1")] if fin_name else []
    joined = shape.order in ("sub", "object relative") and right_text.startswith("PREFIX") and right
    if joined:  # weil sie die Tür aufmacht
        fin, right = [(verb.prefix + fin[0][0], "13")], []
    particle = [("{0.particle}", "3" if right or joined else "1")] if shape.particle else []
    cases = dict(item.split(".") for item in FRAMES[shape.frame][1].split())
    pronouns = [slot for slot, kind in (("OBJ", shape.obj), ("REC", shape.rec)) if kind == "pron" and slot in cases]
    numbers = [(SLOTS[slot], CASES.index(case)) for slot, case in cases.items()]
    if shape.filled & 1:
        numbers.append((SUBJ, 0))
    return assemble(_english(shape, group, particle, pronouns), _german(shape, fin, right, cases, pronouns),
                    tuple(numbers), _tags(shape))


@lru_cache(maxsize=None)
def template(order: str, key: str, tense: str, negated: bool, agreement: str, obj: str | None, rec: str | None,
             filled: int) -> Template:
    """The template of a clause with the verb `key`."""
    v = VERBS[key]
    if tense == "imperative" and not v.imperative:
        raise NoSuchForm(f"verb: got {key!r}, expected one of grammar.IMPERATIVES with an imperative")
    special = key if key in ("be", "have") and tense in ("state", "state past", "be", "was") else ""
    t = _compiled(Shape(order, tense, negated, agreement, obj, rec, filled, v.frame, v.aux, special, bool(v.particle),
                        bool(v.prefix)))
    write = lambda words: tuple(w.format(v) if w[0] == "{" else w for w in words)
    runs = lambda side: tuple((write(words), slot) for words, slot in side)
    return t._replace(en=runs(t.en), de=runs(t.de), en_tail=write(t.en_tail), de_tail=write(t.de_tail))


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


def assemble(en: list, de: list, cases: tuple, tags: frozenset[str]) -> Template:
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


def _tags(shape: Shape) -> frozenset[str]:
    tags = {_TENSE_TAGS.get(shape.tense, "modal"), _ORDER_TAGS.get(shape.order, "main")}
    tags |= {"separable"} if shape.prefix else set()
    tags |= {"negation", "kein" if shape.obj == "indef" else "nicht"} if shape.negated else set()
    tags |= {"dative"} if shape.frame in ("dat", "give", "return") else set()
    tags |= {"relative"} if shape.filled >> SREL & 3 else set()
    tags |= {"that clause" if shape.frame == "that" else "zu"} if shape.filled >> COMP & 1 else set()
    return frozenset(tags)


@lru_cache(maxsize=None)
def glue(join: str, opens: bool, first: bool) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """What stands before a clause: English words, German words, links. `opens`: a subordinate clause ends there.

    >>> glue("so", False, False)[:2]
    ((',', 'so'), (',', 'deshalb'))
    """
    if not join:
        return ((), (), ()) if first else ((",",), (",",), (0,))
    en, de = items(JOINS[join][0]), items(JOINS[join][1])
    if first:
        de = [item for item in de if item[0] != ","]
    elif join == "and" and opens:
        en, de = [(",", "0"), *en], [(",", "0"), *de]
    elif en[0][0] == ",":
        en[0] = de[0] = (",", "0")
    t = assemble(en, de, (), frozenset())
    size_en, size_de = len(t.en_tail), len(t.de_tail)
    return t.en_tail, t.de_tail, tuple(64 * size_en + size_de + distance for _, _, distance in t.links)
