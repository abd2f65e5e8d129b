"""Exercise 5.2, a decoder's sub-layer as a chatbot might write it: three planted bugs, one property for each."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch

from course_lib.exercises.answers import Output
from course_lib.exercises.ch05.decoder_pass import draw, reference
from course_lib.exercises.ch05.decoder_ways import SCALES, SUMS, Seen, candidate, matches, norm, oddity
from course_lib.exercises.judging import ArrayExaminer, Arrays, difference, number, same
from course_lib.exercises.spec import Case, Exercise, Finding, Property

NAMES = ("inputs", "outputs")


# ---------------------------------------------------------------- the three properties


def reads_ahead(given: list[Seen]) -> tuple[str, str]:
    """Bug 1, the shift: what stands at place t comes from <bos> and the words before t. (symptom, name) or ("", "")."""
    for seen in given:
        target, due = seen.case.args["target"], seen.expected[0]
        if not same((seen.inputs,), (due,)):
            b, t = np.argwhere(seen.inputs != due)[0]
            start = f"{seen.case.note}: at place {t} of sentence {b} the decoder has to say word {target[b, t]}"
            read = number(seen.inputs[b, t])
            if seen.inputs[b, t] == target[b, t]:
                return f"{start}, and word {read} is what it reads there", "not shifted"
            ahead = t + 1 < target.shape[1] and seen.inputs[b, t] == target[b, t + 1]
            also = ", the word after it" if ahead else ""
            return f"{start}; it reads {read}{also}", "shifted the wrong way" if ahead else "other inputs"
    for one, two in pairwise(given):
        if "place" in two.case.hidden:
            place = two.case.hidden["place"]
            gap = np.abs(one.outputs - two.outputs).max(2)[:, : place + 1]
            if (gap > 1e-3).any():
                if (found := oddity(given))[1] == "does not see itself":  # the first word sees nothing: so, everything
                    return found
                b, t = np.argwhere(gap > 1e-3)[0]
                return (
                    f"{one.case.note}: when only the word to be said at place {place} of sentence {b} is another, the "
                    f"output at place {t} changes by {number(gap[b, t])}: it has been read"
                ), "reads ahead"
    return "", ""


def carries(given: list[Seen]) -> tuple[str, str]:
    """Bug 2, the residual: where the layer adds nothing, a word comes out as it went in."""
    for seen in (s for s in given if s.case.hidden["role"] == "carried"):
        embedding = seen.case.args["embedding"].astype(np.float64)
        if any(same((seen.outputs,), (embedding[ids],)) for ids in seen.read()):
            continue
        start = f"{seen.case.note}, so that attention adds nothing"
        if np.abs(seen.outputs).max() <= 1e-6:
            return f"{start}: nothing at all comes out", "nothing carried"
        if any(same((seen.outputs,), (norm(torch.from_numpy(embedding[ids])).numpy(),)) for ids in seen.read()):
            went, came = (np.linalg.norm(rows[0, 1]) for rows in (embedding[next(seen.read())], seen.outputs))
            return (
                f"{start}: the word at place 1 of sentence 0 goes in as a vector of length {number(went)}, and one of "
                f"length {number(came)} comes out"
            ), "normalised on the way"
        due = embedding[next(seen.read())]
        return f"{start}: {difference(('outputs',), (seen.outputs,), (due,))}", ""
    return "", ""


def attends(given: list[Seen]) -> tuple[str, str]:
    """Bug 3, the scale: attention inside is chapter 04's, however the word is carried past it."""
    odd = [seen for seen in given if not matches(seen, "scaled")]
    if not odd:
        return "", ""
    for scale in list(SCALES)[1:]:
        wide = next((s for s in odd if s.case.hidden["role"] == "wide"), None)
        if wide and all(matches(seen, scale) for seen in given):
            ids = next(wide.read())
            large, due = (candidate(wide, ids, "pre-norm", s)[1][:, 1:].max(2).mean() for s in (scale, "scaled"))
            return (
                f"{wide.case.note}: after the first, a word gives {number(large)} of its attention to a single word on "
                f"average, where {number(due)} is due"
            ), scale
    if (found := oddity(given))[1]:
        return found
    seen = odd[0]
    due = candidate(seen, next(seen.read()), "pre-norm", "scaled")[0]
    return f"{seen.case.note}: {difference(('outputs',), (seen.outputs,), (due,))} for these inputs", ""


def _other(given: list[Seen]) -> tuple[str, str]:
    """What differs though each property holds by itself."""
    for name in list(SUMS)[1:]:
        if all(matches(seen, "scaled", (name,)) for seen in given):
            return {
                "no norm": "large words and small ones go into the attention as they are: nothing is normalised",
            }.get(name, "the norm is in another place"), name
    for seen in given:
        if where := difference(NAMES, (seen.inputs, seen.outputs), seen.expected):
            return f"{seen.case.note}: {where}", ""
    return "", ""


BUGS: tuple[tuple[str, str, Callable[[list[Seen]], tuple[str, str]]], ...] = (
    ("shift", "no place reads the word that it has to say", reads_ahead),
    ("residual", "what comes in is carried past the layer as it is", carries),
    ("scale", "attention as in chapter 04, at any width", attends),
)
PARSER = ArrayExaminer(NAMES, (), kinds={"inputs": "int64"})


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Two points for each bug that is gone, and the symptom of each that is left."""
    given: list[Seen] = []
    for case, output in zip(cases, outputs, strict=True):
        got, problem = PARSER.parse(output)
        if problem := problem or _form(case, got):
            return Finding({}, f"{case.note}: {problem}")
        given.append(Seen(case, *got))
    said = {group: find(given) for group, _, find in BUGS}
    if not any(message for message, _ in said.values()):
        said["residual"] = _other(given)
    messages = list(dict.fromkeys(message for message, _ in said.values() if message))
    name = next((name for _, name in said.values() if name), "")
    remark = next(filter(None, map(PARSER.remark, outputs)), "") if not messages else ""
    return Finding({group: not message for group, (message, _) in said.items()}, "\n  → ".join(messages) or remark, name)


def _form(case: Case, got: Arrays) -> str:
    """What is wrong with the shapes of an answer; "" if nothing."""
    shape = case.args["target"].shape
    due = (shape, (*shape, case.args["embedding"].shape[1]))
    if tuple(g.shape for g in got) == due[::-1] != due:
        return "you return (outputs, inputs), expected (inputs, outputs)"
    for name, g, wanted in zip(NAMES, got, due, strict=True):
        if g.shape != wanted:
            longer = name == "inputs" and g.shape == (shape[0], shape[1] + 1)
            more = ": one input for each word that is to be said" if longer else ""
            return f"{name} have shape {g.shape}, expected {wanted}{more}"
    for name, g in zip(NAMES, got, strict=True):
        if not np.isfinite(g).all():
            b, t = (int(i) for i in np.argwhere(~np.isfinite(g))[0, :2])
            if name == "outputs" and np.isfinite(g[:, 1:]).all() and not np.isfinite(g[:, 0]).any():
                return "outputs hold NaN or ∞ at place 0, and nowhere else: what does your mask leave the first word to see?"
            return f"{name} hold NaN or ∞, first at place {t} of sentence {b}"
    return ""


EXERCISE = Exercise(
    "5.2",
    "Three bugs in a plausible Transformer",
    "debug",
    4,
    25,
    "assemble, mask and shift an encoder–decoder, and find the bugs in another's",
    tuple(Property(group, text, 2) for group, text, _ in BUGS),
    draw,
    examine,
    reference,
)
