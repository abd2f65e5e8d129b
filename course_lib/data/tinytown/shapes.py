"""From the grammar's tables to templates: the words of each shape of clause are put in order once.

Verb forms stand as "{0.past}" in a shape and are written in for each verb.
"""

from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.grammar import (
    AUXILIARIES,
    COMPLEMENTS,
    FRAMES,
    ORDERS,
    PERSONS,
    RELATIVES,
    TENSES,
)
from course_lib.data.tinytown.phrases import CASES
from course_lib.data.tinytown.templates import COMP, SLOTS, SREL, SUBJ, Items, Template, assemble, items
from course_lib.data.tinytown.verbs import VERBS, Verb


class NoSuchForm(ValueError):
    """The grammar has no such form: nobody "must not" in Tinytown."""


def auxiliary(name: str, agreement: str) -> str:
    """auxiliary("haben", "2s") is hast."""
    return AUXILIARIES[name].split()[PERSONS.index(agreement)]


def finite(name: str, verb: Verb, special: str, agreement: str) -> str:
    """The German finite verb: finite("HAS", find, "", "2s") is hast."""
    if name == "IMPERATIVE":
        return verb.imperative
    if name in ("PRESENT", "PRETERITE") and not special:
        if name == "PRESENT":
            return verb.present3 if agreement == "3s" else verb.infinitive
        return verb.preterite + ("" if agreement.endswith("s") else "n")
    own = {"be": ("sein", "war"), "have": ("haben", "hatte"), "": ("", "")}[special]
    perfect = ("sein", "war") if verb.aux == "sein" else ("haben", "hatte")
    found = {"HAS": perfect[0], "HAD": perfect[1], "PRESENT": own[0], "PRETERITE": own[1]}
    return auxiliary(found.get(name, name), agreement)


def english_verb(text: str, verb: Verb, agreement: str) -> Items:
    """The English verb group as (word, groups)."""
    singular = agreement == "3s"
    forms = {"PAST": verb.past, "PP": verb.pp, "ING": verb.ing, "BASE": verb.base,
             "THIRD": verb.third if singular else verb.base, "WANT": "wants" if singular else "want",
             "DO": "does" if singular else "do", "BE": auxiliary("BE", agreement),
             "WAS": auxiliary("WAS", agreement)}
    words = [item.partition(":")[::2] for item in text.split()]
    return [(forms.get(word, word), groups) for word, groups in words]


def right_bracket(text: str | None, verb: Verb) -> Items:
    """The German right bracket as (word, groups): participle, infinitive, prefix or zu-infinitive."""
    if text is None:
        return []
    name, _, groups = text.partition(":")
    prefix = verb.prefix or ""
    if name == "ZU":
        return [(prefix + "zu" + verb.infinitive, "34")] if prefix else [("zu", "4"), (verb.infinitive, "3")]
    word = {"PARTICIPLE": verb.participle, "INFINITIVE": prefix + verb.infinitive, "PREFIX": prefix}[name]
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


def _slot_items(part: str, shape: Shape, language: int) -> Items:
    """What stands in an order for SUBJ, WHERE, COMP …: nothing when the slot is empty."""
    if part not in SLOTS:
        return items(part)  # a word of the order itself, please
    if not shape.filled >> SLOTS[part] & 1:
        return []
    return items(COMPLEMENTS[shape.frame][language] if part == "COMP"
                 else RELATIVES.get(part, (part, part))[language])


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


@cache
def _compiled(shape: Shape) -> Template:
    """Compile a shape with a verb whose forms are "{0.past}" and so on."""
    verb = Verb(*[f"{{0.{field}}}" for field in Verb._fields])
    verb = verb._replace(aux=shape.aux, prefix=verb.prefix if shape.prefix else None)
    inverts = "FIN" in ORDERS[shape.order][0].split("SUBJ")[0] and "SUBJ" in ORDERS[shape.order][0]
    plain, negated, question, fin_name, right_text = TENSES[shape.tense]
    text = negated if shape.negated else question if inverts else plain
    if text is None:
        raise NoSuchForm(f"tense: got {shape.tense!r}, expected one that can be negated and asked about")
    group = english_verb(text, verb, shape.agreement)
    right = right_bracket(right_text, verb)
    fin = [(finite(fin_name, verb, shape.special, shape.agreement), "1")] if fin_name else []
    joined = shape.order in ("sub", "object relative") and right_text == "PREFIX:3" and right
    if joined:  # weil sie die Tür aufmacht
        fin, right = [(verb.prefix + fin[0][0], "13")], []
    particle = [("{0.particle}", "3" if right or joined else "1")] if shape.particle else []
    cases = dict(item.split(".") for item in FRAMES[shape.frame][1].split())
    kinds = {"OBJ": shape.obj, "REC": shape.rec}
    pronouns = [slot for slot, kind in kinds.items() if kind == "pron" and slot in cases]
    numbers = [(SLOTS[slot], CASES.index(case)) for slot, case in cases.items()]
    if shape.filled & 1:
        numbers.append((SUBJ, 0))
    return assemble(_english(shape, group, particle, pronouns), _german(shape, fin, right, cases, pronouns),
                    tuple(numbers), _tags(shape))


@cache
def template(order: str, key: str, tense: str, negated: bool, agreement: str, obj: str | None,
             rec: str | None, filled: int) -> Template:
    """The template of a clause with the verb `key`."""
    v = VERBS[key]
    if tense == "imperative" and not v.imperative:
        raise NoSuchForm(f"verb: got {key!r}, expected one of grammar.IMPERATIVES with an imperative")
    special = key if key in ("be", "have") and tense in ("state", "state past", "be", "was") else ""
    t = _compiled(Shape(order, tense, negated, agreement, obj, rec, filled, v.frame, v.aux, special,
                        bool(v.particle), bool(v.prefix)))
    return t._replace(en=tuple((_written(words, v), slot) for words, slot in t.en),
                      de=tuple((_written(words, v), slot) for words, slot in t.de),
                      en_tail=_written(t.en_tail, v), de_tail=_written(t.de_tail, v))


def _written(words: tuple[str, ...], verb: Verb) -> tuple[str, ...]:
    """The words of a shape with the forms of a verb."""
    return tuple(word.format(verb) if word[0] == "{" else word for word in words)


_TENSE_TAGS = {"past": "perfect", "perfect": "past perfect", "future": "future", "state": "present",
               "present": "present",
               "be": "present", "was": "preterite", "state past": "preterite", "infinitive": "infinitive",
               "imperative": "imperative"}
_ORDER_TAGS = {"front when": "fronted", "front where": "fronted", "sub": "subordinate",
               "question": "question",
               "wh when": "question", "wh where": "question", "wh object": "question",
               "object relative": "relative",
               "please": "imperative"}


def _tags(shape: Shape) -> frozenset[str]:
    tags = {_TENSE_TAGS.get(shape.tense, "modal"), _ORDER_TAGS.get(shape.order, "main")}
    tags |= {"separable"} if shape.prefix else set()
    tags |= {"negation", "kein" if shape.obj == "indef" else "nicht"} if shape.negated else set()
    tags |= {"dative"} if shape.frame in ("dat", "give", "return") else set()
    tags |= {"relative"} if shape.filled >> SREL & 3 else set()
    tags |= {"that clause" if shape.frame == "that" else "zu"} if shape.filled >> COMP & 1 else set()
    return frozenset(tags)


