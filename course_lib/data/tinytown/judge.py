"""Score a response from the state of the world and the parser: is it true, relevant, polite, brief and
well-formed?

>>> from course_lib.data.tinytown.instructions import instructions
>>> asked = instructions(1, seed=1, kinds=("answer",))[0]
>>> judge(asked, asked.reference)
Scores(true=1.0, relevant=1.0, polite=0.5, brief=1.0, well_formed=1.0)
"""

from typing import NamedTuple

from course_lib.data.tinytown.chunks import NAMES, tokenise
from course_lib.data.tinytown.instructions import REFUSAL, Instruction
from course_lib.data.tinytown.parse import parse
from course_lib.data.tinytown.phrases import NOUNS, name
from course_lib.data.tinytown.realise import Clause, Sentence
from course_lib.data.tinytown.stories import split_sentences
from course_lib.data.tinytown.world import World, spot_of

POLITE_OPENINGS = ("Of course!", "Gladly!", "With pleasure!")
POLITE_ENDINGS = ("Thank you for asking.", "Have a nice day!")
RUDE = ("What a silly question!", "Find out yourself!", "Leave me alone!")
REFUSALS = (REFUSAL, "I do not know that.", "The story does not say that.")
_MANNERS = frozenset(POLITE_OPENINGS + POLITE_ENDINGS)
SPARE_TOKENS = 3  # so much longer than the reference is still brief
SPARE_MANNERS = 2  # and so are a polite opening and ending


class Scores(NamedTuple):
    """How good a response is, each from 0 to 1. Polite is 0.5 without any manners and 0 when rude."""

    true: float
    relevant: float
    polite: float
    brief: float
    well_formed: float

    def total(self, weights: "Scores | None" = None) -> float:
        """The weighted sum (without weights: the sum)."""
        return sum(self) if weights is None else sum(w * s for w, s in zip(weights, self, strict=True))


def judge(instruction: Instruction, response: str) -> Scores:
    """Score a response to an instruction. Any text may be judged; an empty or unreadable one is not true."""
    parts = split_sentences(response)
    rude = any(part in RUDE for part in parts)
    manners = any(part in _MANNERS for part in parts) or any(part.startswith("Sorry,") for part in parts)
    core = [part for part in parts if part not in _MANNERS and part not in RUDE]
    if instruction.kind == "polite":
        manners = manners or any(part.startswith("Please ") for part in core)
    readings = [_read(instruction, part) for part in core]
    true, relevant = _TRUTH[instruction.kind](instruction, core, readings) if core else (0.0, 0.0)
    manners_left = [part for part in parts if part not in core][SPARE_MANNERS:]
    n_tokens = len(tokenise(" ".join(core + manners_left)))
    budget = len(tokenise(instruction.reference)) + SPARE_TOKENS
    formed = [part[-1] in ".!?" and reading is not None for part, reading in zip(core, readings, strict=True)]
    formed += [True] * (len(parts) - len(core))  # manners, good and bad
    return Scores(true, relevant,
                  polite=0.0 if rude else 1.0 if manners else 0.5,
                  brief=min(1.0, budget / n_tokens) if n_tokens else 0.0,
                  well_formed=sum(formed) / len(formed) if formed else 0.0)


class _Reading(NamedTuple):
    """What a part of a response is: a sentence, a refusal, or a fragment (yes, Mia, in the box, a list)."""

    sentence: Sentence | None = None
    refusal: bool = False
    decided: bool | None = None
    clause: Clause | None = None
    items: tuple[str, ...] | None = None


def _read(instruction: Instruction, part: str) -> _Reading | None:
    """Read one sentence of a response; None when it is none."""
    if part in REFUSALS:
        return _Reading(refusal=True)
    sentence = parse(part, instruction.language)
    if sentence is not None:
        return _Reading(sentence, clause=sentence.clauses[0])
    if instruction.kind == "list":
        items = _items(part)
        return items and _Reading(items=items)
    question = instruction.question
    if question is None or (question.full is None and question.kind != "unanswerable"):
        return None
    if part in ("Yes.", "No."):
        return _Reading(decided=part == "Yes.") if question.kind == "yes/no" else None
    return _fragment(question.kind, question.asked.clauses[0], part)


def _fragment(kind: str, asked: Clause, part: str) -> _Reading | None:
    """Tom. On the table. The ball. — read as the answer to the question."""
    tokens = tokenise(part)
    if len(tokens) < 2 or tokens[-1] != ".":
        return None
    if len(tokens) == 2 and tokens[0] in NAMES:
        asks_who = asked.subj.key == ("wh", "who")
        return _Reading(clause=asked._replace(subj=name(tokens[0]))) if asks_who else None
    tokens[0] = tokens[0].lower()
    full = parse(["Mia", "was" if kind == "where" else "saw", *tokens])  # the fragment in a sentence
    if full is None:
        return None
    c = full.clauses[0]
    if kind == "where" and c.where is not None:
        return _Reading(clause=asked._replace(where=c.where))
    return _Reading(clause=asked._replace(obj=c.obj)) if kind == "did what" and c.obj is not None else None


def _items(part: str) -> tuple[str, ...] | None:
    """"Mia, Tom and Ben." → the three names; "The ball and the key." → ball, key; None when it is no list."""
    tokens = tokenise(part)
    if len(tokens) < 2 or tokens[-1] != ".":
        return None
    pieces = " ".join(tokens[:-1]).replace(" and ", " , ").split(" , ")
    items = []
    for piece in pieces:
        words = piece.split()
        if len(words) == 1 and words[0] in NAMES:
            items.append(words[0])
        elif len(words) == 2 and words[0].lower() in ("the", "a", "an") and words[1] in NOUNS:
            items.append(words[1])
        else:
            return None
    return tuple(items)


# --- truth and relevance, by kind -----------------------------------------------------------------------

def _event(world: World, c: Clause) -> tuple:
    return (c.verb, c.tense, c.negated, world.entity(c.subj), world.entity(c.obj), world.entity(c.rec),
            spot_of(c.where) if c.where is not None else None)


def _true(instruction: Instruction, c: Clause) -> bool:
    """Whether a clause about the story is true."""
    world = instruction.world
    if any(c == s.clauses[0] for s in instruction.story.sentences):
        return True
    if c.tense in ("be", "was", "state", "state past"):
        subjects = [world.entity(c.subj)] if c.subj.key[0] != "and" else world.entity(c.subj).split(" and ")
        return all(world.truth(c, subject) is True for subject in subjects)
    claimed = _event(world, c)
    told = [_event(world, s.clauses[0]) for s in instruction.story.sentences]
    return any(claimed[:-1] == event[:-1] and claimed[-1] in (None, event[-1]) for event in told)


def _same_topic(asked: Clause, c: Clause, world: World) -> bool:
    """Whether a clause answers the question: the same but in the place that was asked for."""
    if c.verb != asked.verb:
        return False
    for mine, theirs in ((asked.subj, c.subj), (asked.obj, c.obj), (asked.rec, c.rec)):
        asked_for = mine is None or mine.key[0] == "wh"
        if not asked_for and (theirs is None or world.entity(mine) != world.entity(theirs)):
            return False
    if asked.where is not None and asked.where.en == ("where",):
        return c.where is not None
    return asked.how is None or c.how is asked.how


def _answers(instruction: Instruction, core: list[str], readings: list) -> tuple[float, float]:
    question, world = instruction.question, instruction.world
    asked = question.asked.clauses[0]
    relevant, claims = 0.0, []
    for reading in readings:
        if reading is None:
            continue
        if reading.refusal:
            relevant = 1.0
            claims.append(question.full is None)
        elif reading.decided is not None:
            relevant = 1.0
            claims.append(reading.decided == (question.answer == ("Yes",)))
        elif reading.clause is not None and reading.clause.subj is not None:
            relevant = max(relevant, float(_same_topic(asked, reading.clause, world)))
            claims.append(_true(instruction, reading.clause))
    return float(bool(claims) and all(claims) and relevant > 0), relevant


def _translates(instruction: Instruction, core: list[str], readings: list) -> tuple[float, float]:
    exact = all(r is not None and r.sentence == instruction.sentence for r in readings)
    wanted = set(tokenise(instruction.reference)) - set(".?!,")
    got = set(tokenise(" ".join(core))) - set(".?!,")
    return float(exact), len(wanted & got) / max(len(wanted | got), 1) if not exact else 1.0


def _says_politely(instruction: Instruction, core: list[str], readings: list) -> tuple[float, float]:
    wanted = instruction.sentence.clauses[0]
    clauses = [r.sentence for r in readings if r is not None and r.sentence is not None]
    same = [s for s in clauses if s.clauses[0] == wanted]
    return float(len(same) == len(readings) and all(s.orders[0] == "please" for s in same)), float(bool(same))


def _lists(instruction: Instruction, core: list[str], readings: list) -> tuple[float, float]:
    wanted = set(_items(instruction.reference))
    got = {item for r in readings if r is not None and r.items for item in r.items}
    people = instruction.detail == "list: people"
    right_kind = [item for item in got if (item in NAMES) == people]
    return len(wanted & got) / max(len(wanted | got), 1), len(right_kind) / len(got) if got else 0.0


def _continues(instruction: Instruction, core: list[str], readings: list) -> tuple[float, float]:
    world, known = instruction.world, {*instruction.story.people, *instruction.story.things}
    read = [r for r in readings if r is not None and r.sentence is not None]
    sentences = [r.sentence for r in read if r.clause.subj is not None]
    relevant = [bool(known & {world.entity(np) for np in (c.subj, c.obj, c.rec) if np is not None})
                for s in sentences for c in s.clauses[:1]]
    consistent = [world.tell(s).consistent for s in sentences]
    if not sentences:
        return 0.0, 0.0
    return float(all(consistent)), sum(relevant) / len(relevant)


_TRUTH = {"answer": _answers, "refuse": _answers, "translate": _translates, "polite": _says_politely,
          "list": _lists, "continue": _continues}
