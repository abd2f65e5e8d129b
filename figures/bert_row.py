"""One row of BERT's pre-training (Devlin et al. 2019): three vectors a place, blanks, and two questions (chapter 07)."""

from figures._draw import BLUE, DEEP_ORANGE, GREEN, GREY, LIGHT, ORANGE, PALE, PURPLE, VERMILLION, WHITE, Drawing
from figures._tokens import EDGE, Column, columns, token

FIRST = ["paul", "had", "a", "ball", ".", "paul", "gave", "lena", "the", "ball", "."]
SECOND = ["lena", "has", "the", "ball", "."]            # what happened in the end: it follows
STOOD = ["[CLS]", *FIRST, "[SEP]", *SECOND, "[SEP]"]
SEGMENTS = [0] * (len(FIRST) + 2) + [1] * (len(SECOND) + 1)
CHOSEN = {6: "paul", 8: "[MASK]", 16: "key"}            # place: what is shown there
SHOWN = [CHOSEN.get(place, word) for place, word in enumerate(STOOD)]
SHARES = {6: ("as it is", 10), 8: ("as [MASK]", 80), 16: ("as another word", 10)}
ANSWER, ASK, BAND, WORD, POSITION, SEGMENT, FATE = 82, 120, 208, 276, 314, 352, 396     # heights


def draw() -> Drawing:
    """From below: what is added at each place, the encoder, and what is asked of its output."""
    d = Drawing(900, 486, "One training row of BERT",
                f"Two texts in one row: {' '.join(SHOWN)}. At each place three vectors are added: of the word, of the position, 0 to "
                f"{len(SHOWN) - 1}, and of the segment, 0 up to the first [SEP] and 1 behind it. Three places are chosen: one shows "
                "[MASK] instead of lena, one shows key instead of ball, one shows paul as it is. Above the encoder, arrows lead from "
                "these three to the question which word stood here, with the answers paul, lena and ball, and from [CLS] to the "
                "question whether the second text follows, with the answer yes.")
    d.text(24, 34, "BERT reads two texts with blanks, and answers two questions", size=20, face="b", anchor="start")
    places = columns(SHOWN, 112, 876, 14)
    read(d, places)
    d.rect(112, BAND - 20, 764, 40, fill=LIGHT[BLUE], stroke=BLUE)
    d.text(494, BAND, "BERT's encoder: every place looks at all places", size=15)
    ask(d, places)
    explain(d, places)
    return d


def read(d: Drawing, places: list[Column]) -> None:
    """The rows of words, positions and segments, whose vectors are added."""
    for name, y in (("word", WORD), ("+ position", POSITION), ("+ segment", SEGMENT)):
        d.text(102, y, name, size=14, anchor="end")
    for place, (column, word, segment) in enumerate(zip(places, SHOWN, SEGMENTS, strict=True)):
        colour = ORANGE if place in CHOSEN else VERMILLION if word == "[CLS]" else ""
        d.line((column.x, WORD - 15), (column.x, BAND + 20), arrow=True, width=1.2)
        token(d, column, WORD, word, fill=LIGHT.get(colour, WHITE), stroke=colour or EDGE)
        token(d, column, POSITION, str(place), size=13, fill=PALE)
        token(d, column, SEGMENT, str(segment), size=13, fill=LIGHT[(GREEN, PURPLE)[segment]], stroke=(GREEN, PURPLE)[segment])


def ask(d: Drawing, places: list[Column]) -> None:
    """The two questions over the places they are asked at, and the right answers."""
    first, last = (places[place] for place in (min(CHOSEN), max(CHOSEN)))
    left, right = first.x - first.wide, last.x + last.wide
    follows, words = ("does the second text follow?", places[0].x + 8, 222), ("which word stood here?", (left + right) / 2, right - left)
    for (question, x, wide), colour in ((follows, VERMILLION), (words, ORANGE)):
        d.box(x, ASK, wide, 34, question, colour, size=14)
    for place, answer, colour in ((0, "yes", VERMILLION), *((place, STOOD[place], ORANGE) for place in CHOSEN)):
        x = places[place].x
        d.line((x, BAND - 20), (x, ASK + 17), colour=colour, width=2.2, arrow=True)
        d.text(x, ANSWER, answer, size=16, face="b")
    d.text(places[0].x + 20, ANSWER, "(or no)", size=14, colour=GREY, anchor="start")


def explain(d: Drawing, places: list[Column]) -> None:
    """How the chosen words are shown, and what the segments' colours mean."""
    d.text(24, FATE, "15 % of the words are chosen,", size=14, anchor="start", colour=DEEP_ORANGE)
    d.text(24, FATE + 20, "and shown in one of three ways:", size=14, anchor="start", colour=DEEP_ORANGE)
    for place, (how, share) in SHARES.items():
        x = places[place].x
        d.line((x, FATE - 12), (x, SEGMENT + 15), colour=ORANGE)
        d.text(x, FATE, how, size=14, colour=DEEP_ORANGE)
        d.text(x, FATE + 20, f"{share} %", size=14, colour=DEEP_ORANGE, face="b")
    for x, colour, what in ((24, GREEN, "segment 0: the first text"), (264, PURPLE, "segment 1: the second text")):
        d.rect(x, 450, 30, 18, fill=LIGHT[colour], stroke=colour, radius=3)
        d.text(x + 40, 459, what, size=14, anchor="start")
