"""What a story of Tinytown says, read with a dozen rules: a reader without a parser, for exercises 12.6 and 13.8."""

import re

from course_lib.data.tinytown.chunks import NAMES
from course_lib.data.tinytown.judge import POLITE_ENDINGS, POLITE_OPENINGS, RUDE
from course_lib.data.tinytown.stories import split_sentences

MOODS = {"lost": "sad", "cried": "sad", "found": "happy", "laughed": "happy", "opened": "open", "closed": "closed", "broke": "broken",
         "repaired": "whole"}
TAKEN, GIVEN, LEFT = ("had", "has", "took", "found"), ("gave", "returned"), ("lost", "hid", "put", "placed", "threw")


def words(text: str) -> list[str]:
    """The words of a text, without punctuation."""
    return re.findall(r"\w+", text)


def manners(response: str) -> tuple[bool, bool]:
    """Is it polite, is it rude."""
    parts = split_sentences(response)
    return any(part in POLITE_OPENINGS + POLITE_ENDINGS for part in parts), any(part in RUDE for part in parts)


def core(response: str) -> list[str]:
    """Its sentences without manners, good or bad, and without Yes and No, which belong to the next."""
    aside = (*POLITE_OPENINGS, *POLITE_ENDINGS, *RUDE, "Yes.", "No.")
    return [part for part in split_sentences(response) if part not in aside]


def named(text: str) -> set[str]:
    """The people in a text."""
    return {*words(text)} & NAMES


def holder(story: list[str], thing: str) -> str:
    """Who has it in the end, by what was done to it last; "" for nobody."""
    has = ""
    for told in (words(line) for line in story if thing in words(line)):
        people = [word for word in told if word in NAMES]
        if told[1] in TAKEN:
            has = told[0]
        elif told[1] in GIVEN:
            has = next(name for name in people if name != people[0])
        elif told[1] in LEFT or (told[0] == "The" and told[-1] != "broken"):
            has = ""
    return has


def state(story: list[str], who: str) -> str:
    """How somebody feels, or whether something is open or broken, in the end; "" if nothing tells."""
    found = ""
    for n, told in enumerate(map(words, story)):
        verb = next((word for word in told[1:] if word in MOODS), "")
        robbed = told[1] == "took" and told[0] != who == holder(story[:n], told[-1])
        if told[1] in ("gave", "returned") and who in told[2:]:
            found = "happy"
        elif robbed:
            found = "angry"
        elif who in told and verb and (told[0] == who or who not in NAMES):
            found = MOODS[verb]
        elif who in told and ("is" in told or "was" in told) and told[-1] in ("happy", "sad", "angry", "open", "closed", "broken"):
            found = told[-1]
    return found


def _answers(question: str, said: str, story: list[str]) -> bool:
    """Whether what is said in answer to a question holds."""
    asked, claim = words(question), words(said)
    if asked[0] == "Where":
        return "not" not in claim       # where somebody is not is no answer
    if asked[:2] == ["Who", "has"]:
        return claim[0] == holder(story, asked[-1])
    if asked[0] == "Who":
        return any(claim[0] == words(line)[0] and {*claim} <= {*words(line)} for line in story)
    if asked[0] == "Does":
        return ("not" not in claim) == (asked[1] == holder(story, asked[-1]))
    who = next(word for word in reversed(asked[:-1]) if word not in ("the", "a"))
    return ("not" not in claim) == (state(story, who) == asked[-1])


def holds(story: str, prompt: str, response: str) -> bool:
    """Whether the first thing that a response says is so."""
    said, told = core(response), split_sentences(story)
    if not said:
        return False
    if prompt.startswith("Name"):
        return named(said[0]) == named(story) and len(words(said[0])) == len(named(story)) + (len(named(story)) > 1)
    if prompt.startswith("Continue"):
        return not {"was", "had", "slept"} & {*words(said[0])}      # how things were is no event
    known = words(prompt)[-1] in words(story) or not prompt.startswith(("Where", "Who has"))
    if not known or said[0].startswith("Sorry"):
        return not known and said[0].startswith("Sorry")
    return _answers(prompt, said[0], told)
