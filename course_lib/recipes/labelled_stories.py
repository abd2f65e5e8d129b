"""Four tasks about Tinytown's stories, their labels decided by the simulation: follows or not, mood, answer, kind of each word.

Examples come endlessly and in a fixed order, so the first 50 are the beginning of the first 5,000. The stories of "train", "valid"
and "test" are disjoint, and those of "train" may be the ones that a model was pre-trained on, without any label.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import cycle, islice, product
from random import Random

from course_lib.data.labelling import Example
from course_lib.data.tinytown import Settings, Story, World, iterate_stories, questions
from course_lib.data.tinytown.phrases import PLACE_PREPOSITIONS, PREDICATES, Phrase, name, noun_phrase, prepositional
from course_lib.data.tinytown.realise import Clause, Sentence, realise
from course_lib.data.tinytown.settings import OPENABLE, PEOPLE, PLACES, SURFACES, THINGS
from course_lib.data.tinytown.world import MOODS
from course_lib.recipes.stories import SETTINGS, TOWN

WIDE = Settings(names=len(PEOPLE), nouns=len(THINGS), places=len(PLACES))       # 36 words more than the stories of pre-training
UNLABELLED = frozenset((*PEOPLE[10::3], *THINGS[12::3], *PLACES[8::3]))          # a third of those that pre-training never saw
FOLLOWS, CONTRADICTS, OPEN = LABELS = ("follows", "contradicts", "open")
MOOD_LABELS = ("positive", "negative", "neutral")
ASKED = ("who has", "where", "who did", "did what", "unanswerable")
TAG_LABELS = ("O", "B-person", "B-thing", "B-place")                    # stories tell of no animals
Words = tuple[str, ...]


def take(draw: Callable[[int, str], Iterator[Example]], n: int, seed: int = 0, split: str = "train") -> list[Example]:
    """The first `n` examples of a task: take(pairs, 1000)."""
    return list(islice(draw(seed, split), n))


def events_of(story: Story) -> Words:
    """The words of a story without its closing lines, which say outright how things are in the end."""
    closing = {number for number, _ in story.closing}
    return tuple(word for number, sentence in enumerate(story.en) if number not in closing for word in sentence)


# --- does it follow? ---------------------------------------------------------------------------------------------------

def _the(thing: str):
    return noun_phrase("the", (), thing, False)


def _places() -> Iterator[Phrase]:
    for place in TOWN:
        yield prepositional(*PLACE_PREPOSITIONS[place], "dat", _the(place))


def _spots() -> Iterator[Phrase]:
    for preposition, german, noun in SURFACES:                          # hardly a story puts a thing into a box: that would tell
        yield prepositional(preposition, german, "dat", _the(noun))


def _is(who, **how) -> Clause:
    return Clause("be", "be", False, who, **how)


# Lines about a story's people, its portable things and two that it does not mention, and about what can be open.
HYPOTHESES: dict[str, Callable[..., Iterator[Clause]]] = {
    "has": lambda people, things, world: (Clause("have", "state", False, name(p), _the(t)) for p, t in product(people, things)),
    "place": lambda people, things, world: (_is(name(p), where=where) for p, where in product(people, _places())),
    "mood": lambda people, things, world: (_is(name(p), how=PREDICATES[mood]) for p, mood in product(people, MOODS)),
    "thing": lambda people, things, world: (_is(_the(t), where=where) for t, where in product(things, _places())),
    "spot": lambda people, things, world: (_is(_the(t), where=where) for t, where in product(things, _spots())
                                           if world.where(t)[0] != "at"),          # what is in the garden may well be on a table there
    "open": lambda people, things, world: (_is(_the(t), how=PREDICATES[how]) for t, how in product(OPENABLE, ("open", "closed")))}


def decide(world: World, clause: Clause) -> str:
    """What the end of a story says of a line: it follows, contradicts, or is open."""
    asserted = World(world.facts).tell(Sentence((clause,), ("main",))).asserted
    return OPEN if asserted is None else FOLLOWS if asserted else CONTRADICTS


def pairs(seed: int = 0, split: str = "train", kinds: Words = tuple(HYPOTHESES)) -> Iterator[Example]:
    """A story's events, a line about its end, and whether that follows, contradicts or is open; `kinds` are those of HYPOTHESES.

    Each kind of line comes with each label equally often, and as far as it goes each line, so that the line alone says nothing.
    """
    random, used, told = Random(seed), Counter(), iterate_stories(seed, split, SETTINGS)
    portable = set(THINGS[:SETTINGS.nouns])

    def surplus(line: Words) -> int:
        """How much more often a line has come with this label than with its rarest one."""
        return used[line, label] - min(used[line, other] for other in LABELS)

    for kind, label in cycle(product(kinds, LABELS)):
        found: list[Words] = []
        while not found:
            story = next(told)
            world, shown, mentioned = World(story.states[-1]), events_of(story), portable.intersection(story.things)
            clauses = HYPOTHESES[kind](story.people, [*sorted(mentioned), *random.sample(sorted(portable - mentioned), 2)], world)
            lines = [tuple(realise(Sentence((c,), ("main",))).en) for c in clauses if decide(world, c) == label]
            lines = _least(lines, lambda line: len(set(line) - set(shown)))             # noqa: B023  what is mentioned is harder
            found = [line for line in _least(lines, surplus) if surplus(line) < 2]
        line = random.choice(found)
        used[line, label] += 1
        yield Example(shown, line, label)


def _least(items: list[Words], key: Callable[[Words], int]) -> list[Words]:
    least = min(map(key, items), default=0)
    return [item for item in items if key(item) == least]


# --- one text, one answer, each word -----------------------------------------------------------------------------------

def sentiments(seed: int = 0, split: str = "train") -> Iterator[Example]:
    """A story without the lines that name a mood, and how its people feel in the end, by majority; the labels take turns."""
    waiting, told = {label: [] for label in MOOD_LABELS}, iterate_stories(seed, split, SETTINGS)
    for label in cycle(MOOD_LABELS):
        while not waiting[label]:
            story = next(told)
            waiting[story.sentiment].append(story)
        story = waiting[label].pop(0)
        shown = (sentence for sentence in story.en if not set(MOODS) & set(sentence))
        yield Example(tuple(word for sentence in shown for word in sentence), (), label)


def answers(seed: int = 0, split: str = "train", kinds: Words = ASKED) -> Iterator[Example]:
    """A question about a story's events and where its answer stands in them; the kinds of `tinytown.questions` take turns."""
    random, told = Random(seed), iterate_stories(seed, split, SETTINGS)
    for kind in cycle(kinds):
        found = []
        while not found:
            story = next(told)
            found = [q for q in questions(story) if q.kind == kind and (q.span is not None or kind == "unanswerable")]
        question = random.choice(found)
        yield Example(tuple(realise(question.asked).en), events_of(story), _flat(story, question.span))


def _flat(story: Story, span) -> tuple[int, int] | None:
    if span is None:
        return None
    before = sum(map(len, story.en[:span.sentence]))
    return before + span.start, before + span.end


def tags(seed: int = 0, split: str = "train") -> Iterator[Example]:
    """A story with names, things and places that pre-training never saw, and for each word the kind of what it names.

    The words of UNLABELLED never occur in "train", and at least one of them in each story of "valid" and "test".
    """
    for story in iterate_stories(seed, split, WIDE):
        shown = events_of(story)                                        # closing lines add no name, and make some stories long
        if (split == "train") == bool(UNLABELLED.intersection(shown)):
            continue
        kinds = [tag for sentence in story.tags for tag in sentence][:len(shown)]
        yield Example(shown, (), tuple(tag if tag == "O" else f"B-{tag}" for tag in kinds))
