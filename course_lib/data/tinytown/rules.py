"""What events need, make and let people feel, as a table; the words in it are defined below the table."""

from collections.abc import Callable
from typing import NamedTuple


class Event(NamedTuple):
    """Who did it, to what, for whom, and the spot: ("at", "garden") or ("in", "on table")."""

    subj: str
    obj: str = ""
    rec: str = ""
    spot: tuple[str, str] | None = None


RULES = {
    #             needs              makes          who feels what
    "find":      ("free here",       "subj-holds",  "subj-happy"),
    "take":      ("not-mine here",   "subj-holds",  "loser-angry"),
    "buy":       ("free",            "subj-holds",  "subj-happy"),
    "borrow":    ("not-mine here",   "subj-holds",  ""),
    "lose":      ("held",            "drops",       "subj-sad"),
    "give":      ("held together",   "rec-holds",   "rec-happy"),
    "bring":     ("held together",   "rec-holds",   "rec-happy"),
    "return":    ("held together",   "rec-holds",   "rec-happy"),
    "show":      ("held together",   "",            ""),
    "carry":     ("held",            "",            ""),
    "put":       ("held not-closed", "puts",        ""),
    "place":     ("held not-closed", "puts",        ""),
    "hide":      ("held",            "drops",       ""),
    "throw":     ("held",            "gone",        ""),
    "sell":      ("held",            "gone",        "subj-happy"),
    "eat":       ("there here",      "gone fed",    "subj-happy"),
    "break":     ("there whole here", "breaks",      "holder-sad"),
    "repair":    ("there broken here", "mends",       "holder-happy"),
    "break2":    ("it-whole",        "it-breaks",   "it-holder-sad"),
    "disappear": ("it-there",        "it-gone",     ""),
    "open":      ("closed here",     "opens",       ""),
    "close":     ("open here",       "closes",      ""),
    "wash":      ("there here",      "cleans",      ""),
    "clean":     ("there here",      "cleans",      ""),
    "go":        ("elsewhere",       "goes",        ""),
    "run":       ("elsewhere",       "goes",        ""),
    "sleep":     ("",                "rests",       ""),
    "laugh":     ("cheerful",        "",            ""),
    "cry":       ("unhappy",         "",            ""),
}

# Needs: may the event happen? What is unknown is believed. `w` is the world (see world.py), `e` the event.
NEEDS: dict[str, Callable] = {
    "held": lambda w, e: w.believe(("where", e.obj), ("held", e.subj)),
    "free": lambda w, e: w.where(e.obj)[0] not in ("held", "gone"),
    "not-mine": lambda w, e: w.where(e.obj) != ("held", e.subj) and w.where(e.obj)[0] != "gone",
    "there": lambda w, e: w.where(e.obj)[0] != "gone",
    "it-there": lambda w, e: w.where(e.subj)[0] != "gone",
    "here": lambda w, e: w.same_place(e.subj, e.obj),
    "together": lambda w, e: w.same_place(e.subj, e.rec) and e.subj != e.rec,
    "not-closed": lambda w, e: w.get("open", e.spot[1].split()[-1]) is not False,
    "whole": lambda w, e: w.believe(("broken", e.obj), False),
    "it-whole": lambda w, e: w.believe(("broken", e.subj), False),
    "broken": lambda w, e: w.believe(("broken", e.obj), True),
    "open": lambda w, e: w.believe(("open", e.obj), True),
    "closed": lambda w, e: w.believe(("open", e.obj), False),
    "elsewhere": lambda w, e: w.get("at", e.subj) != e.spot[1],
    "cheerful": lambda w, e: w.get("mood", e.subj) not in ("sad", "angry"),
    "unhappy": lambda w, e: w.get("mood", e.subj) != "happy",
}

# What it makes.
MAKES: dict[str, Callable] = {
    "subj-holds": lambda w, e: w.set(("where", e.obj), ("held", e.subj)),
    "rec-holds": lambda w, e: w.set(("where", e.obj), ("held", e.rec)),
    "drops": lambda w, e: w.set(("where", e.obj), ("at", w.get("at", e.subj))),
    "puts": lambda w, e: w.set(("where", e.obj), e.spot),
    "gone": lambda w, e: w.set(("where", e.obj), ("gone", None)),
    "it-gone": lambda w, e: w.set(("where", e.subj), ("gone", None)),
    "fed": lambda w, e: w.set(("hungry", e.subj), False),
    "rests": lambda w, e: w.set(("tired", e.subj), False),
    "breaks": lambda w, e: w.set(("broken", e.obj), True),
    "it-breaks": lambda w, e: w.set(("broken", e.subj), True),
    "mends": lambda w, e: w.set(("broken", e.obj), False),
    "opens": lambda w, e: w.set(("open", e.obj), True),
    "closes": lambda w, e: w.set(("open", e.obj), False),
    "cleans": lambda w, e: w.set(("dirty", e.obj), False),
    "goes": lambda w, e: w.set(("at", e.subj), e.spot[1]),
}

# Who feels: "loser" is the one who held the thing before, "holder" the one who holds it.
FEELERS: dict[str, Callable] = {
    "subj": lambda w, e, before: e.subj,
    "rec": lambda w, e, before: e.rec,
    "loser": lambda w, e, before: before if before != e.subj else None,
    "holder": lambda w, e, before: w.holder(e.obj),
    "it-holder": lambda w, e, before: w.holder(e.subj),
}


class Rule(NamedTuple):
    """A row of the table with its words looked up."""

    needs: tuple[Callable, ...]
    makes: tuple[Callable, ...]
    feeler: Callable | None
    mood: str


def _rule(needs: str, makes: str, feels: str) -> Rule:
    who, _, mood = feels.rpartition("-")
    return Rule(tuple(NEEDS[n] for n in needs.split()), tuple(MAKES[m] for m in makes.split()),
                FEELERS.get(who), mood)


COMPILED = {verb: _rule(*row) for verb, row in RULES.items()}
