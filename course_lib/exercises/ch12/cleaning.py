"""Exercise 12.6, demonstrations by a crowd: which of them to keep, measured against Tinytown's judge."""

from collections.abc import Sequence

import numpy as np

from course_lib.data.tinytown.instructions import iterate_instructions
from course_lib.data.tinytown.judge import judge
from course_lib.data.tinytown.labeller import Responder
from course_lib.exercises.answers import Output
from course_lib.exercises.ch12.town import core, holds, manners
from course_lib.exercises.judging import kind
from course_lib.exercises.spec import Case, Exercise, Finding, Property

Demonstration = dict[str, str]      # story, prompt, response
KINDS = ("answer", "refuse", "list", "continue")
N = 800
# Balanced accuracy, least to most over 12 draws: kindness alone 0.58–0.60, few words 0.77–0.79, one sentence 0.78–0.80, truth alone
# 0.77–0.81, few words and kind 0.81–0.85, one sentence and kind 0.82–0.86, also the nouns and names of the story 0.89–0.92, also
# its closing lines 0.90–0.92, also continuations that are events 0.94–0.96, the rules of town.py 0.998–1.
SLACK, STORY_MARK, TRUE_MARK = 0.025, 0.88, 0.97


def draw(rng: np.random.Generator) -> list[Case]:
    """What the crowd wrote; what the judge says of each stays with it."""
    asked = iterate_instructions(int(rng.integers(2**31)), KINDS)
    crowd = Responder(int(rng.integers(2**31)))
    shown, scored = [], []
    for _, instruction in zip(range(N), asked):
        (response,) = crowd.candidates(instruction, 1)
        shown.append({"story": instruction.context, "prompt": instruction.prompt, "response": response})
        scored.append((instruction.kind, judge(instruction, response)))
    truth = {
        "kind": np.array([name for name, _ in scored]),
        "true": np.array([scores.true == 1 for _, scores in scored]),
        "rude": np.array([scores.polite == 0 for _, scores in scored]),
        "brief": np.array([scores.brief == 1 for _, scores in scored]),
    }
    return [Case("", {"demonstrations": shown}, hidden=truth)]


def short_and_kind(demonstration: Demonstration) -> bool:
    """One sentence beside manners, yes and no, and nothing rude: what can be seen without the story."""
    return len(core(demonstration["response"])) == 1 and not manners(demonstration["response"])[1]


def reference(demonstrations: list[Demonstration]) -> list[bool]:
    """A right answer to 12.6: short, kind, and so."""
    return [short_and_kind(demonstration) and holds(**demonstration) for demonstration in demonstrations]


def balanced_accuracy(kept: np.ndarray, good: np.ndarray) -> float:
    """The mean of two shares: of the good ones that are kept, and of the others that are not."""
    return float((kept[good].mean() + (~kept)[~good].mean()) / 2)


# ---------------------------------------------------------------- judging


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by balanced accuracy; under the last mark, which demonstrations are taken for what they are not."""
    (case,), (output,) = cases, outputs
    shown, truth = case.args["demonstrations"], case.hidden
    kept, problem = _kept(output, len(shown))
    if problem:
        return Finding({}, problem)
    good = truth["true"] & ~truth["rude"] & truth["brief"]
    mine, plain = (balanced_accuracy(those, good) for those in (kept, np.array([short_and_kind(one) for one in shown])))
    holds = {"manners": mine >= plain - SLACK, "story": mine >= STORY_MARK, "true": mine >= TRUE_MARK}
    shares = f"{100 * kept[good].mean():.0f} % of the good ones and {100 * kept[~good].mean():.0f} % of the others"
    measured = f"You keep {shares}: {100 * mine:.1f} points of 100."
    if holds["true"]:
        return Finding(holds, measured)
    message, name = _reason(kept, good, truth, shown)
    return Finding(holds, f"{measured} {message}", name)


def _kept(output: Output, n: int) -> tuple[np.ndarray, str]:
    """True or False for each (n,), and what is wrong with the form."""
    nothing = np.empty(0)
    if output.status != "value":
        return nothing, output.message or "your function returned nothing"
    value = output.value.tolist() if isinstance(output.value, np.ndarray) and output.value.ndim == 1 else output.value
    if not isinstance(value, (list, tuple)):
        return nothing, f"expected a list of True and False, got {kind(value)}"
    if value and all(isinstance(item, dict) for item in value):
        return nothing, "you return demonstrations. Asked for is True or False for each of those you were given, in their order"
    if len(value) != n:
        return nothing, f"you return {len(value)} verdicts, and there are {n} demonstrations"
    odd = [item for item in value if not isinstance(item, (bool, int, float)) or item not in (0, 1)]
    if odd:
        return nothing, f"expected True or False, got {odd[0] if isinstance(odd[0], (int, float)) else kind(odd[0])}"
    return np.array(value, dtype=bool), ""


Look = tuple[str, np.ndarray, str]      # a mistake's name, the demonstrations it takes for what they are not, what to say
MUCH = 0.5                              # of these are wrong, or so much more of one half of the good ones than of the other


def _lost(good: np.ndarray, shown: list[Demonstration]) -> list[tuple[Look, np.ndarray]]:
    """Good ones that a mistake throws away, and the good ones that it keeps."""
    polite = np.array([manners(one["response"])[0] for one in shown])
    said = [" ".join(core(one["response"])) for one in shown]
    refused, long = np.array([text.startswith("Sorry") for text in said]), np.array([len(text) for text in said])
    answered = good & ~refused
    middle = np.median(long[answered])
    return [
        (("manners demanded", good & ~polite, "Good answers without any manners are lost. They need not be polite."), good & polite),
        (("the polite thrown away", good & polite, "Good answers that are polite are lost. Manners are no chatter."), good & ~polite),
        (("refusals thrown away", good & refused, "Good refusals are lost. Where the story does not say it, that is right."), answered),
        (
            ("long answers lost", answered & (long > middle), "Of the good ones you lose the long. To say one thing can take some words."),
            answered & (long < middle),
        ),
    ]


def _kept_wrongly(truth: dict[str, np.ndarray]) -> list[Look]:
    """Others that a mistake keeps."""
    true, rude, brief, kinds = (truth[name] for name in ("true", "rude", "brief", "kind"))
    lie = brief & ~rude & ~true
    return [
        ("chatter kept", true & ~rude & ~brief, "You keep those that say more than they were asked."),
        ("rude ones kept", true & brief & rude, "You keep rude ones, if they are short and true."),
        (
            "claims for refusals",
            lie & (kinds == "refuse"),
            "You keep answers to what the story does not say. Is the thing or the person in the story at all?",
        ),
        ("lists too long", lie & (kinds == "list"), "You keep lists with a name that is not in the story."),
        (
            "contradictions continued",
            lie & (kinds == "continue"),
            "You keep continuations that contradict the story. What kind of sentence comes next in a story, and what kind is theirs?",
        ),
        ("false answers kept", lie & (kinds == "answer"), "You keep false answers to questions. What does the story say in the end?"),
    ]


def _reason(kept: np.ndarray, good: np.ndarray, truth: dict[str, np.ndarray], shown: list[Demonstration]) -> tuple[str, str]:
    """(message, name) of what a filter does not see: the mistake behind most of what it has wrong."""
    if kept.all() or not kept.any():
        return f"You keep {'all' if kept.all() else 'none'} of them.", "all alike"
    if balanced_accuracy(kept, good) < 0.35:
        return "You keep the bad ones, and throw the good ones away: True means that it is kept.", "turned round"
    found = [look for look, others in _lost(good, shown) if (~kept)[look[1]].mean() - (~kept)[others].mean() > MUCH]
    seen = [look for look in _kept_wrongly(truth) if kept[look[1]].mean() > max(MUCH, 0.75 * kept[good].mean())]
    if len(seen) > 3 and seen[-4][0] == "claims for refusals":
        lie = truth["brief"] & ~truth["rude"] & ~truth["true"]
        seen = [*seen[:-4], ("nothing read", lie, "What is short and kind need not be true: you keep what the story does not say.")]
    found += seen
    if not found:
        first = int(np.flatnonzero(kept != good)[0])
        verdict, done = ("good", "throw it away") if good[first] else ("not good", "keep it")
        return f"Number {first} is {verdict}, and you {done}: {shown[first]['response']!r}.", ""
    name, those, message = max(found, key=lambda look: int((kept != good)[look[1]].sum()))
    return f"{message} Number {np.flatnonzero(those & (kept != good))[0]} is one of them.", name


EXERCISE = Exercise(
    "12.6",
    "Clean the demonstrations",
    "measure",
    4,
    30,
    "judge an assistant, and the demonstrations it learned from",
    (
        Property("manners", "the first mark: as good as telling what is short and kind"),
        Property("story", "the second mark: the story plays a part"),
        Property("true", "the third mark: what is said is compared with what happened"),
    ),
    draw,
    examine,
    reference,
)


