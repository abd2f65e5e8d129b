"""From the grammar's tables to templates: the words of each shape of clause are put in order once.

Verb forms keep their UPPER CASE names in a shape and are written in for each verb.
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


def finite(name: str | None, verb: Verb, agreement: str) -> str:
    """The German finite verb: finite("HAS", find, "2s") is hast."""
    if name is None:
        return ""
    if name == "IMPERATIVE":
        return verb.imperative or ""
    own = {"be": ("sein", "war"), "have": ("haben", "hatte")}.get(verb.key if verb.state else "")
    if name in ("PRESENT", "PRETERITE") and own is None:
        if name == "PRESENT":
            return verb.present3 if agreement == "3s" else verb.infinitive
        return verb.preterite + ("" if agreement.endswith("s") else "n")
    perfect = ("sein", "war") if verb.aux == "sein" else ("haben", "hatte")
    found = {"HAS": perfect[0], "HAD": perfect[1], "PRESENT": own and own[0], "PRETERITE": own and own[1]}
    return auxiliary(found.get(name, name), agreement)


@cache
def forms(key: str, tense: str, agreement: str) -> dict[str, str]:
    """What the UPPER CASE names of the grammar stand for, for a verb in a tense with a subject."""
    verb, singular, prefix = VERBS[key], agreement == "3s", VERBS[key].prefix or ""
    fin = finite(TENSES[tense][3], verb, agreement)
    return {"PAST": verb.past, "PP": verb.pp, "ING": verb.ing, "BASE": verb.base, "PARTICLE": verb.particle or "",
            "THIRD": verb.third if singular else verb.base, "WANT": "wants" if singular else "want",
            "DO": "does" if singular else "do", "BE": auxiliary("BE", agreement), "WAS": auxiliary("WAS", agreement),
            "FIN": fin, "JOINED": prefix + fin, "PREFIX": prefix, "PARTICIPLE": verb.participle,
            "INFINITIVE": prefix + verb.infinitive, "STEM": verb.infinitive, "ZU": prefix + "zu" + verb.infinitive}


def german_bracket(tense: str, joined: bool, prefix: bool) -> tuple[Items, Items]:
    """The names of the German finite verb and of what closes the bracket; `joined`: weil sie die Tür aufmacht."""
    fin_name, right = TENSES[tense][3:]
    fin = [("FIN", "1")] if fin_name else []
    if right is None or (right == "PREFIX:3" and not prefix):
        return fin, []
    if right == "PREFIX:3" and joined:
        return [("JOINED", "13")], []
    return fin, [("zu", "4"), ("STEM", "3")] if right == "ZU:34" and not prefix else items(right)


class Shape(NamedTuple):
    """All that decides the order of a clause's words, whatever its verb and its subject."""

    order: str
    tense: str
    negated: bool
    obj: str | None    # "pron", "indef", "def"
    rec: str | None
    filled: int        # bit set of the slots that are filled
    frame: str
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
    """Put the words of a shape in order; verb forms keep their UPPER CASE names."""
    english = ORDERS[shape.order][0]
    inverts = "SUBJ" in english and "FIN" in english.split("SUBJ")[0]
    text = TENSES[shape.tense][1 if shape.negated else 2 if inverts else 0]
    if text is None:
        raise NoSuchForm(f"tense: got {shape.tense!r}, expected one that can be negated and asked about")
    fin, right = german_bracket(shape.tense, shape.order in ("sub", "object relative"), shape.prefix)
    closes = right or fin == [("JOINED", "13")]
    particle = [("PARTICLE", "3" if closes else "1")] if shape.particle else []
    cases = dict(item.split(".") for item in FRAMES[shape.frame][1].split())
    kinds = {"OBJ": shape.obj, "REC": shape.rec}
    pronouns = [slot for slot, kind in kinds.items() if kind == "pron" and slot in cases]
    numbers = [(SLOTS[slot], CASES.index(case)) for slot, case in cases.items()]
    if shape.filled & 1:
        numbers.append((SUBJ, 0))
    return assemble(_english(shape, items(text), particle, pronouns), _german(shape, fin, right, cases, pronouns),
                    tuple(numbers), _tags(shape))


@cache
def template(order: str, key: str, tense: str, negated: bool, agreement: str, obj: str | None, rec: str | None,
             filled: int) -> Template:
    """The template of a clause with the verb `key`."""
    v = VERBS[key]
    if tense == "imperative" and not v.imperative:
        raise NoSuchForm(f"verb: got {key!r}, expected one of verbs.IMPERATIVES")
    t = _compiled(Shape(order, tense, negated, obj, rec, filled, v.frame, bool(v.particle), bool(v.prefix)))
    form = forms(key, tense, agreement)
    return t._replace(en=tuple([(_written(words, form), slot) for words, slot in t.en]), en_tail=_written(t.en_tail, form),
                      de=tuple([(_written(words, form), slot) for words, slot in t.de]), de_tail=_written(t.de_tail, form))


def _written(words: tuple[str, ...], form: dict[str, str]) -> tuple[str, ...]:
    """The words of a shape with the forms of a verb."""
    return tuple([form.get(word, word) for word in words]) if words else words


_TENSE_TAGS = {"past": "perfect", "perfect": "past perfect", "future": "future", "present": "present", "state": "present",
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


