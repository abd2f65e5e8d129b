"""Exercise 9.6, the most probable text of a table of next words, measured in log-probability against the exact one."""

from collections.abc import Callable, Sequence

import numpy as np

from course_lib.exercises.answers import Output
from course_lib.exercises.ch09.tables import N_TABLES, Table, Text, beams, best, best_by_length, draw_tables, greedy
from course_lib.exercises.judging import kind, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property

# Mean nats short of the best text, least to most over 40 draws: the best word each time 1.18–1.81, cut off where it is best to end
# 0.87–0.99 of that, the best per word 0.60–1.50, a beam of 2 0.43–1.09 and 0.29–0.74 of it, of 3 0.22–0.60, of 4 0.08–0.33, of 8
# 0.01–0.10, the best of 100 drawn texts 0.18–0.46.
FIRST_MARK = 0.8       # of what the best word each time falls short
BEAM, SLACK = 4, 1.05
EXACT = 1e-6            # nats
ALIKE = 0.9             # of the tables, for a way to be known


def reference(start: np.ndarray, table: np.ndarray, end: int, length: int) -> Text:
    """A right answer to 9.6, exact: dynamic programming over places and last words."""
    return best(Table(np.asarray(start), np.asarray(table), end, length))


def draw(rng: np.random.Generator) -> list[Case]:
    """40 tables; what they have in common is their size."""
    return [Case("", dict(vars(table)), f"table {n}") for n, table in enumerate(draw_tables(rng))]


# ---------------------------------------------------------------- what they may have done

Way = Callable[[list[Table]], list[Text]]


def _each(way: Callable[[Table], Text]) -> Way:
    return lambda tables: [way(table) for table in tables]


def _without_start(table: Table) -> Text:
    words = np.arange(len(table.start)) != table.end
    return best(Table(np.where(words, 1.0, 1e-99), table.table, table.end, table.length))


def _transposed(table: Table) -> Text:
    return best(Table(table.start, table.table.T, table.end, table.length))


def _cut(table: Table) -> Text:
    """The best word each time but the end, cut off where it is best to end."""
    text: Text = []
    while len(text) < table.length - 1:
        row = (table.table[text[-1]] if text else table.start).copy()
        row[table.end] = 0
        text.append(int(row.argmax()))
    return max(([*text[:n], table.end] for n in range(table.length)), key=table.log_p)


def _place_by_place(table: Table) -> Text:
    """At each place the word that most texts have there."""
    text: Text = []
    share = table.start
    while len(text) < table.length and table.end not in text:
        text.append(table.end if len(text) == table.length - 1 else int(share.argmax()))
        share = np.where(np.arange(len(share)) == table.end, 0, share) @ table.table
    return text


def _added(table: Table) -> Text:
    return max(best_by_length(table, log=lambda p: p), key=lambda found: found[0])[1]


_ONCE = "You take the most probable word each time. What comes after it plays no part, and it may be bad."
WAYS: tuple[tuple[str, Way, str], ...] = (
    ("greedy", _each(greedy), _ONCE),
    ("greedy", _each(_cut), f"{_ONCE} To choose where it ends does not bring back a word that was lost."),
    (
        "per word",
        _each(lambda table: max(best_by_length(table), key=lambda found: found[0] / len(found[1]))[1]),
        "You divide log p by the number of words. Then words that say nothing, but are sure, make a text better; the whole text's "
        "probability is asked for.",
    ),
    ("start ignored", _each(_without_start), "The first word is chosen as if all were as probable. start says how probable each is."),
    (
        "transposed",
        _each(_transposed),
        "Rows and columns of the table are exchanged. table[a, b] is the probability that b follows a; the rows sum to 1.",
    ),
    (
        "as long as allowed",
        _each(lambda table: best_by_length(table)[-1][1]),
        "Your texts have all the words that are allowed. `length` is the most there may be, and each word costs something.",
    ),
    (
        "place by place",
        _each(_place_by_place),
        "At each place you take the word that is most probable there, over all beginnings. Most of these have another word before it.",
    ),
    ("probabilities added", _each(_added), "You add up probabilities. The probability of a text is their product."),
    ("nothing said", _each(lambda table: [table.end]), "Your texts are the end alone. It is a text, and hardly a probable one."),
    ("a beam", lambda tables: beams(tables, 2), "These are the texts of a beam of 2."),
    ("a beam", lambda tables: beams(tables, 3), "These are the texts of a beam of 3."),
    ("a beam", lambda tables: beams(tables, BEAM), f"These are the texts of a beam of {BEAM}."),
)
_EXACT_HINT = (
    "What can follow a beginning depends on its last word alone. Of all beginnings of one length that end in the same word, how many can "
    "go on to become the best text?"
)


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by mean nats short of the most probable text; where it is not exact, the reason."""
    tables, texts = [Table(**case.args) for case in cases], []
    for case, table, output in zip(cases, tables, outputs, strict=True):
        text, problem, name = _text(output, table)
        if problem:
            return Finding({}, f"{case.note}: {problem}", name)
        texts.append(text)
    due = [best(table) for table in tables]

    def short(those: list[Text]) -> np.ndarray:
        return np.array([table.log_p(one) - table.log_p(other) for table, one, other in zip(tables, due, those)])

    mine, once, beam = short(texts), short([greedy(table) for table in tables]).mean(), short(beams(tables, BEAM)).mean()
    exact = int((mine <= EXACT).sum())
    holds = {"first": mine.mean() <= FIRST_MARK * once, "beam": mine.mean() <= SLACK * beam + EXACT, "exact": exact == N_TABLES}
    holds = {group: bool(held) for group, held in holds.items()}
    measured = f"{exact} of {N_TABLES} texts are the most probable ones; on average yours are {number(mine.mean())} nats short of them"
    if exact == N_TABLES:
        return Finding(holds, f"{exact} of {N_TABLES} texts are the most probable ones.")
    message, name = _reason(texts, tables, mine)
    scale = f"the best word each time {number(once)}, a beam of {BEAM} {number(beam)}"
    return Finding(holds, f"{measured} ({scale}). {message}", name)


def _text(output: Output, table: Table) -> tuple[Text, str, str]:
    """(text, what is wrong with its form, the misconception's name)."""
    given = output.value.tolist() if isinstance(output.value, np.ndarray) and output.value.ndim == 1 else output.value
    if output.status != "value":
        return [], output.message or "your function returned nothing", ""
    if not isinstance(given, (list, tuple)) or not given:
        came = "an empty one" if isinstance(given, (list, tuple)) else kind(given)
        return [], f"expected a list of ids, got {came}", ""
    if any(isinstance(id, bool) or not isinstance(id, (int, float)) or not 0 <= id <= table.end or id != int(id) for id in given):
        return [], f"expected ids, whole numbers from 0 to {table.end}, got {str(list(given))[:60]}", ""
    text, end = [int(id) for id in given], table.end
    if len(text) > table.length:
        more = "; does the end count, too?" if len(text) == table.length + 1 else ""
        return [], f"your text has {len(text)} words, and {table.length} are the most{more}", "too long"
    if text[0] == end and text[-1] != end:
        return [], f"your text begins with the end, {end}: is it from back to front?", "backwards"
    if text[-1] != end:
        return [], f"your text does not end: its last word is {text[-1]}, expected `end`, {end}", "does not end"
    if end in text[:-1]:
        return [], f"your text goes on after its end: {end} is at place {text.index(end)} of {len(text)}", "goes on after the end"
    return text, "", ""


def _reason(texts: list[Text], tables: list[Table], short: np.ndarray) -> tuple[str, str]:
    """(message, name) of why texts are not the most probable ones."""
    shares = [np.mean([mine == theirs for mine, theirs in zip(texts, way(tables))]) for _, way, _ in WAYS]
    most = int(np.argmax(shares))
    if shares[most] >= max(ALIKE, float((short <= EXACT).mean())):
        name, _, message = WAYS[most]
        return f"{message} {_EXACT_HINT}" if name == "a beam" else message, name
    missed = np.flatnonzero(short > EXACT)
    better = [n for n in missed if _place_to_improve(texts[n], tables[n]) is not None]
    if len(better) >= max(N_TABLES / 10, len(missed) / 3):
        place = _place_to_improve(texts[better[0]], tables[better[0]])
        return (
            f"On {len(better)} of your texts you need to change a single word to make them more probable, on table {better[0]} that at "
            f"place {place}. Texts that are drawn look like that, even the best of many."
        ), "one word is better"
    worst = int(np.argmax(short))
    return f"The one on table {worst} is {number(short[worst])} nats short. {_EXACT_HINT}", ""


def _place_to_improve(text: Text, table: Table) -> int | None:
    """A place at which another word makes the text more probable; None if there is none."""
    start, scores = table.scores
    for place in range(len(text) - 1):
        around = (scores[text[place - 1]] if place else start) + scores[:, text[place + 1]]
        if around[: table.end].max() > around[text[place]] + EXACT:
            return place
    return None


EXERCISE = Exercise(
    "9.6",
    "The most probable text",
    "measure",
    4,
    25,
    "decode: strategies as distributions, the most probable text",
    (
        Property("first", "the first mark: clearly nearer to the most probable texts than the best word each time"),
        Property("beam", f"the second mark: as near as a beam of {BEAM}"),
        Property("exact", "the third mark: the most probable text of every table"),
    ),
    draw,
    examine,
    reference,
)
