"""Instructions with reference answers: translate, answer from the story, say politely, list, continue, refuse.

Every instruction carries the meaning behind it, so that judge.py can score any response from the state of
the world.

>>> instruction = instructions(1, seed=3, kinds=("polite",))[0]
>>> instruction.reference.startswith("Please")
True
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from zlib import crc32

from course_lib.data.tinytown.pairs import detokenise, draw_sentences
from course_lib.data.tinytown.phrases import pronoun
from course_lib.data.tinytown.plans import REQUESTS
from course_lib.data.tinytown.questions import Question, questions
from course_lib.data.tinytown.realise import Sentence, realise
from course_lib.data.tinytown.sampler import Sampler
from course_lib.data.tinytown.settings import SMALL, Settings
from course_lib.data.tinytown.stories import Story, iterate_stories
from course_lib.data.tinytown.verbs import VERBS
from course_lib.data.tinytown.world import World

KINDS = ("translate", "answer", "polite", "list", "continue", "refuse")
# Details that no split but "unseen" contains: new ways of using what the other instructions teach.
HELD_OUT = ("answer: did what", "list: things", "translate: questions")
REFUSAL = "Sorry, the story does not say that."
SPLITS = ("train", "valid", "test", "unseen")


@dataclass(frozen=True, slots=True)
class Instruction:
    """What is asked, about which story, and the answer that is true, short and well-formed.

    kind       one of KINDS                     detail    kind and what exactly: "answer: who has"
    prompt     what is asked, English text      context   the story, "" where there is none
    language   "en" or "de": of the response
    story, question, sentence, state   the meaning behind it, as far as the kind has one
    """

    kind: str
    detail: str
    prompt: str
    context: str
    reference: str
    language: str = "en"
    story: Story | None = None
    question: Question | None = None
    sentence: Sentence | None = None
    state: dict | None = None

    @property
    def text(self) -> str:
        """Story and prompt as one text."""
        return f"{self.context} {self.prompt}".strip()

    @property
    def world(self) -> World:
        """A fresh world in which the instruction is asked."""
        return World(self.state)


def said(sentence: Sentence, language: str = "en") -> str:
    """A sentence as text."""
    text = realise(sentence)
    return detokenise(text.de if language == "de" else text.en)


class _Asker:
    """Draws instructions of each kind."""

    def __init__(self, random: Callable[[], float], seed: int, settings: Settings):
        self.random = random
        self.stories = iterate_stories(seed, "train", settings)
        self.sentences = draw_sentences(seed, 3, 10)
        self.sampler = Sampler(random)

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def translate(self) -> Instruction:
        sentence = next(self.sentences)
        there = self.random() < 0.5
        source, target = ("en", "de") if there else ("de", "en")
        what = "questions" if sentence.end == "?" else "sentences"
        return Instruction("translate", f"translate: {what}",
                           f"Translate into {'German' if there else 'English'}: {said(sentence, source)}", "",
                           said(sentence, target), target, sentence=sentence)

    def _about_story(self, kind: str, wanted: Callable[[Question], bool]) -> Instruction:
        while True:
            story = next(self.stories)
            found = [q for q in questions(story) if wanted(q)]
            kinds = list(dict.fromkeys(q.kind for q in found))
            if found:
                chosen = self.pick(kinds)
                q = self.pick([q for q in found if q.kind == chosen])
                reference = said(q.full) if q.full is not None else REFUSAL
                if q.kind == "yes/no":
                    reference = f"{q.answer[0]}. {reference}"
                return Instruction(kind, f"{kind}: {q.kind}", q.text, story.text, reference,
                                   story=story, question=q, state=story.states[-1])

    def answer(self) -> Instruction:
        return self._about_story("answer", lambda q: q.full is not None)

    def refuse(self) -> Instruction:
        return self._about_story("refuse", lambda q: q.full is None)

    def polite(self) -> Instruction:
        self.sampler.rich, verb = 0.3, self.pick(REQUESTS)
        self.sampler.used.clear()
        c = self.sampler.event(verb, "imperative", pronoun("you"), None, False)._replace(subj=None)
        rude = Sentence((c,), ("imperative",), end="!")
        polite = Sentence((c,), ("please",))
        return Instruction("polite", f"polite: {VERBS[verb].frame}", f"Say it politely: {said(rude)}", "",
                           said(polite), sentence=polite)

    def list(self) -> Instruction:
        story = next(self.stories)
        what = self.pick(("people", "things"))
        items = story.people if what == "people" else tuple(f"the {t}" for t in story.things)
        mentioned = {w for tokens in story.en for w in tokens}
        items = tuple(i for i in items if i.split()[-1] in mentioned)
        return Instruction("list", f"list: {what}", f"Name the {what} in the story.", story.text,
                           listed(items), story=story, state=story.states[-1])

    def continue_(self) -> Instruction:
        story = next(self.stories)
        last = len(story.said) - len(story.closing) - 1  # the last event
        while last < 3:
            story = next(self.stories)
            last = len(story.said) - len(story.closing) - 1
        context = " ".join(detokenise(text.en) for text in story.said[:last])
        return Instruction("continue", "continue: event", "Continue the story with one sentence.", context,
                           said(story.sentences[last]), story=story, sentence=story.sentences[last],
                           state=story.states[last - 1])


def listed(items: tuple[str, ...]) -> str:
    """listed(("Mia", "Tom", "Ben")) is "Mia, Tom and Ben."; the first letter is a capital."""
    text = ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]
    return text[0].upper() + text[1:] + "."


def iterate_instructions(seed: int = 0, kinds: tuple[str, ...] = KINDS, split: str = "train",
                         settings: Settings = SMALL) -> Iterator[Instruction]:
    """Draw instructions for ever, the kinds in equal parts.

    split   "train", "valid", "test": disjoint by a hash of the text; "unseen": only details of HELD_OUT.
    Raises ValueError for an unknown kind or split, a negative seed, or kinds that have nothing held out.
    """
    if not kinds or any(kind not in KINDS for kind in kinds):
        raise ValueError(f"kinds: got {kinds!r}, expected some of {', '.join(KINDS)}")
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}, expected an integer of at least 0")
    if split == "unseen":
        kinds = tuple(k for k in kinds if any(d.startswith(k) for d in HELD_OUT))
        if not kinds:
            raise ValueError(f"kinds: got none with held-out details, expected some of {', '.join(HELD_OUT)}")
    random = Random(seed).random
    asker = _Asker(random, seed, settings)
    ask = {kind: getattr(asker, "continue_" if kind == "continue" else kind) for kind in KINDS}
    while True:
        kind = kinds[int(random() * len(kinds))]
        instruction = ask[kind]()
        while _split_of(instruction) != split:
            instruction = ask[kind]()
        yield instruction


def _split_of(instruction: Instruction) -> str:
    if instruction.detail in HELD_OUT:
        return "unseen"
    bucket = crc32(instruction.text.encode()) & 15
    return "test" if bucket == 0 else "valid" if bucket == 1 else "train"


def instructions(n: int, seed: int = 0, kinds: tuple[str, ...] = KINDS, split: str = "train",
                 settings: Settings = SMALL) -> list[Instruction]:
    """`n` instructions. See iterate_instructions."""
    if n < 0:
        raise ValueError(f"n: got {n}, expected at least 0")
    return list(islice(iterate_instructions(seed, kinds, split, settings), n))
