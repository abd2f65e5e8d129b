"""Exercise 6.6, a vocabulary of one's own for a made-up language, measured on a hidden text in it."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.ch06.tongue import invent
from course_lib.exercises.judging import kind, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property
from course_lib.tokenizers import BPETokenizer

SIZE, N_TEXT, N_HIDDEN = 400, 6500, 2500    # pieces, words to learn from, hidden words
SPACE_LEADS, SPACE_ENDS, SPACE_APART = r" ?\w+", r"\w+ ?", r"\w+| "     # how a text is split before pairs are counted
# Characters per piece, least to most over 40 draws: the most frequent words 2.41–2.70 with their spaces, 2.19–2.38 without; the
# most frequent strings 2.55–2.72, of length 3 alone 2.23–2.32; merges learned from each word once 2.99–3.33 with spaces,
# 2.41–2.68 without; merges from counted words 2.90–3.12 without spaces, 3.72–4.14 with the space before a word, 3.84–4.19
# with the one behind, 3.75–4.22 across words.
FIRST_MARK, MARK = 2.8, 3.55
ALIKE = 0.7     # shared pieces by which a way is known; merges with and without counts share 0.64 at most


def draw(rng: np.random.Generator) -> list[Case]:
    """A text of about 60 kB in a new language; another one in it stays with the judge."""
    tongue = invent(rng)
    args = {"text": tongue.text(rng, N_TEXT), "size": SIZE}
    return [Case("", args, hidden={"text": tongue.text(rng, N_HIDDEN)})]


def reference(text: str, size: int, pattern: str = SPACE_LEADS) -> list[str]:
    """A right answer to 6.6: what the course's BPETokenizer merges within words, each with the space before it."""
    vocabulary = BPETokenizer.train([text], 256 + size, pattern, specials=()).vocabulary
    return [token.decode() for token in vocabulary[256:]]


def fewest(text: str, pieces: Sequence[str]) -> int:
    """Into how few of the pieces a text can be cut (a shortest path); a letter that is none of them is one by itself."""
    found = {piece for piece in pieces if piece in text}
    longest, best = max(map(len, found), default=1), [0]
    for end in range(1, len(text) + 1):
        starts = range(max(0, end - longest), end - 1)
        best.append(1 + min([best[start] for start in starts if text[start:end] in found] + [best[-1]]))
    return best[-1]


# ---------------------------------------------------------------- judging


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by characters per piece of the hidden text; under the mark, the reason."""
    (case,), (output,) = cases, outputs
    if output.status != "value":
        return Finding({}, output.message)
    if problem := _form(output.value, case.args["size"]):
        return Finding({}, problem)
    pieces, hidden = set(output.value), case.hidden["text"]
    n = fewest(hidden, list(pieces))
    reached = len(hidden) / n
    holds = {"first": reached >= FIRST_MARK, "mark": reached >= MARK}
    message, name = ("", "") if holds["mark"] else _reason(pieces, case.args["text"], n, hidden)
    measured = f"The hidden text is cut into {n} pieces, {number(reached)} characters each."
    return Finding(holds, f"{measured} {message}".strip(), name)


def _form(value: object, size: int) -> str:
    """What is wrong with the form of an answer."""
    if not isinstance(value, (list, tuple, set)):
        return f"expected a list of strings, got {kind(value)}"
    odd = next((piece for piece in value if not isinstance(piece, str)), "")
    if odd != "":
        return f"expected strings, got {'None' if odd is None else kind(odd)} among them"
    if "" in value:
        return "one of your pieces is empty: nothing can be cut into it"
    if len(set(value)) > size:
        return f"too many pieces: you give {len(set(value))} different pieces, and {size} are allowed"
    return "" if value else "you give no piece at all"


def _reason(pieces: set[str], text: str, n: int, hidden: str) -> tuple[str, str]:
    """(message, name) of what keeps these pieces below the mark; the name is "" where nothing is known."""
    words = set(text.split(" "))
    unknown = [piece for piece in pieces if piece not in text]
    lengths = {len(piece) for piece in pieces}
    if len(unknown) > len(pieces) / 2:
        return f"{len(unknown)} of your pieces do not occur in the text you were given, {min(unknown)[:20]!r} for one.", "not of the text"
    if lengths == {1}:
        return "Your pieces are single letters, and these cost one piece each without being in the list.", "only letters"
    if 2 * len(pieces) < SIZE:
        return f"You give {len(pieces)} pieces, and {SIZE} are allowed.", "too few"
    if len(lengths) == 1:
        return (
            f"All your pieces are {lengths.pop()} characters long. Frequent ones deserve more, and what is rare has to be cut "
            "into less."
        ), "one length"
    if sum(piece.strip(" ") in words for piece in pieces) > 0.9 * len(pieces):
        return (
            "Nearly all your pieces are whole words. The frequent ones are worth it, but most words are rare, and you spell "
            "them letter by letter."
        ), "only whole words"
    if name := _way(pieces, words, text):
        return WAYS[name], name
    if not any(" " in piece for piece in pieces - {" "}):
        share, but = hidden.count(" ") / n, "But for the space itself, none" if " " in pieces else "None"
        return (
            f"{but} of your pieces begins with a space: each space is a piece by itself, {100 * share:.0f} % of them all. Let it "
            "be part of a word."
        ), "spaces apart"
    return f"The mark is {MARK}. {_least_used(pieces, text)}", ""


WAYS = {
    "words not counted": (
        "These are merges learned from each word once. In a text a frequent word stands many times, and its pieces with it: "
        "count a pair as often as it occurs."
    ),
    "frequent strings": (
        "These are the strings that occur most often, and each of them brings its parts, which occur at least as often: "
        "they are counted at places where you would take the longer one. Count anew after each piece you take."
    ),
}


def _way(pieces: set[str], words: set[str], text: str) -> str:
    """The name of the way on which one gets to nearly these pieces; "" for none of `WAYS`."""
    spaced = Counter((piece[0] == " ") - (piece[-1] == " ") for piece in pieces)
    pattern = SPACE_LEADS if spaced[1] > spaced[-1] else SPACE_ENDS if spaced[-1] else SPACE_APART
    strings = Counter(text[i : i + n] for n in range(2, 9) for i in range(len(text) - n + 1))
    ways = {
        "words not counted": reference(" ".join(sorted(words)), SIZE, pattern),
        "frequent strings": [string for string, _ in strings.most_common(SIZE)],
    }
    shared = {name: len(pieces & set(theirs)) / SIZE for name, theirs in ways.items()}
    best = max(shared, key=shared.__getitem__)
    return best if shared[best] > ALIKE else ""


def _least_used(pieces: set[str], text: str) -> str:
    rare = min(sorted(pieces), key=text.count)
    return f"The piece that occurs least in the text is {rare[:20]!r}, {text.count(rare)} times: what would earn its place?"


EXERCISE = Exercise(
    "6.6",
    "A vocabulary of your own",
    "measure",
    4,
    25,
    "compare vocabularies",
    (
        Property("first", f"the first mark: {FIRST_MARK} characters per piece, more than frequent words or strings"),
        Property("mark", f"the second mark: {MARK} characters per piece", 2),
    ),
    draw,
    examine,
    reference,
)
