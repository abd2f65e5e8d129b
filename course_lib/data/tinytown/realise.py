"""From meaning to text: a clause becomes an English and a German phrase at once, with their alignment."""

from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.phrases import NP, Phrase
from course_lib.data.tinytown.shapes import template
from course_lib.data.tinytown.templates import COMP, OREL, SREL, fill, glue


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


class Sentence(NamedTuple):
    """What a sentence means: its clauses, the order of words in each, how they are joined.

    `first` is the conjunction before the first clause ("" for none; then the second clause is inverted in
    German); `joins` holds a key of JOINS between two clauses each ("" after a first clause that opens with
    a conjunction).
    """

    clauses: tuple[Clause, ...]
    orders: tuple[str, ...]
    joins: tuple[str, ...] = ()
    first: str = ""
    end: str = "."


def _nested(c: Clause, order: str) -> Phrase:
    """A clause inside another one."""
    en: list[str] = []
    de: list[str] = []
    links: list[int] = []
    starts = say(c, order, en, de, links)
    return Phrase(en, de, links, starts)


def _relative(c: Clause) -> Phrase:
    return _nested(c, "object relative" if c.obj is not None and c.obj.key[0] == "rel" else "sub")


def say(c: Clause, order: str, en: list[str], de: list[str], links: list[int]) -> tuple:
    """Append a clause in the given order to the text so far; returns where its parts went (see fill)."""
    verb, tense, negated, subj, obj, rec, where, how, when, comp, srel, orel = c
    filled = ((subj is not None) | (obj is not None) << 1 | (rec is not None) << 2 | (where is not None) << 3
              | (how is not None) << 4 | (when is not None) << 5)
    parts = [None, None, None, where, how, when, None, None, None]
    if comp is not None:
        filled |= 64
        parts[COMP] = _nested(comp, "infinitive" if comp.tense == "infinitive" else "sub")
    if srel is not None:
        filled |= 128
        parts[SREL] = _relative(srel)
    if orel is not None:
        filled |= 256
        parts[OREL] = _relative(orel)
    t = template(order, verb, tense, negated, subj.agreement if subj is not None else "2s",
                 obj.kind if obj is not None else None, rec.kind if rec is not None else None, filled)
    for slot, case in t.cases:
        parts[slot] = c[slot + 3].cases[case]
    return fill(t, parts, en, de, links)


class Text(NamedTuple):
    """A sentence in both languages, its links (see phrases.link), where the parts of each clause went."""

    en: list[str]
    de: list[str]
    links: list[int]
    starts: list[tuple]


def realise(s: Sentence) -> Text:
    """Say a sentence in both languages, first word capitalised."""
    en: list[str] = []
    de: list[str] = []
    links: list[int] = []
    starts = []
    join, opens = s.first, False
    for k, clause in enumerate(s.clauses):
        if k:
            join = s.joins[k - 1]
        if join or k:
            words_en, words_de, joint = glue(join, opens, k == 0)
            shift = 64 * len(en) + len(de)
            en += words_en
            de += words_de
            links += [link + shift for link in joint]
        starts.append(say(clause, s.orders[k], en, de, links))
        opens = ends_in_clause(clause, s.orders[k])
    links.append(64 * len(en) + len(de))
    en.append(s.end)
    de.append(s.end)
    en[0], de[0] = capital(en[0]), capital(de[0])
    return Text(en, de, links, starts)


def ends_in_clause(c: Clause, order: str) -> bool:
    """Whether a clause is or ends in a subordinate one, which German closes by a comma before "und"."""
    return order == "sub" or c.comp is not None or c.orel is not None


@cache
def capital(word: str) -> str:
    """capital("the") is The."""
    return word[0].upper() + word[1:]


@cache
def _join_tags(first: str, joins: tuple[str, ...]) -> frozenset[str]:
    tags = {"coordination"} if {"and", "but", "so"} & set(joins) else set()
    return frozenset(tags | ({"subordinate"} if first or set(joins) - {"and", "but", "so", ""} else set()))


@cache
def union(a: frozenset[str], b: frozenset[str]) -> frozenset[str]:
    return a | b


def tags_of(s: Sentence, text: Text) -> frozenset[str]:
    """The phenomena of a sentence (but for pronouns, see references.py)."""
    tags = _join_tags(s.first, s.joins)
    for starts in text.starts:
        tags = union(tags, starts[0].tags)
    return tags
