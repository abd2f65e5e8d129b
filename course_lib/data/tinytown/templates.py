"""Templates: runs of words with slots between them, filled in both languages at once.

Filling a slot is adding lists; the alignment moves along, one addition for each link.
"""

from functools import cache
from typing import NamedTuple

from course_lib.data.tinytown.grammar import JOINS

SLOTS = {"SUBJ": 0, "OBJ": 1, "REC": 2, "WHERE": 3, "HOW": 4, "WHEN": 5, "COMP": 6, "SREL": 7, "OREL": 8}
SUBJ, OBJ, REC, WHERE, HOW, WHEN, COMP, SREL, OREL = range(9)  # slot k is field k + 3 of a Clause
Items = list[tuple[str | int, str]]  # words and slots with their link groups


class Template(NamedTuple):
    """A compiled order of words and slots.

    `en` and `de` are runs: (words, the slot that follows them); then come `en_tail`, `de_tail`. A place is written
    (number of the run, distance from the start of its slot), so words before a slot have negative distances.
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


@cache
def items(text: str) -> Items:
    """items("that:8 COMP") is [("that", "8"), (6, "")]."""
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


def assemble(en: list, de: list, cases: tuple, tags: frozenset[str]) -> Template:
    """Compile items with groups: words of the two languages that share a group are linked."""
    runs_en, tail_en, places_en = _runs(en)
    runs_de, tail_de, places_de = _runs(de)
    linked_en = [(place, groups) for place, (_, groups) in zip(places_en, en, strict=True) if groups]
    linked_de = [(place, groups) for place, (_, groups) in zip(places_de, de, strict=True) if groups]
    links = tuple((a, b, 64 * i + j) for (a, i), g in linked_en for (b, j), h in linked_de if set(g) & set(h))
    order = [slot for _, slot in runs_de]
    slots = tuple((slot, a, order.index(slot)) for a, (_, slot) in enumerate(runs_en))
    return Template(runs_en, runs_de, tail_en, tail_de, slots, links, cases, tags)


@cache
def glue(join: str, opens: bool, first: bool) -> tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]:
    """What stands before a clause: English words, German words, links; `opens` says a subordinate one ends there.

    >>> glue("so", False, False)[:2]
    ((',', 'so'), (',', 'deshalb'))
    """
    if not join:
        return ((), (), ()) if first else ((",",), (",",), (0,))
    en, de = [*items(JOINS[join][0])], [*items(JOINS[join][1])]
    if first:
        de = [item for item in de if item[0] != ","]
    elif join == "and" and opens:
        en, de = [(",", "0"), *en], [(",", "0"), *de]
    elif en[0][0] == ",":
        en[0] = de[0] = (",", "0")
    t = assemble(en, de, (), frozenset())
    size_en, size_de = len(t.en_tail), len(t.de_tail)
    return t.en_tail, t.de_tail, tuple(64 * size_en + size_de + distance for _, _, distance in t.links)
