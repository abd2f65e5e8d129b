"""An assistant for Tinytown, which chapters 12 and 13 share: demonstrations, tuning, answers, and what the judge says of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from zlib import crc32

from course_lib.alignment.chat import ChatTemplate, Growing, Rendered, Response, Turn, dialogue, grow
from course_lib.alignment.sft import ResponseBatches
from course_lib.data.batching import pad
from course_lib.data.datafiles import cache_folder
from course_lib.data.tinytown.instructions import Instruction, iterate_instructions
from course_lib.data.tinytown.judge import POLITE_ENDINGS, POLITE_OPENINGS, judge
from course_lib.data.tinytown.labeller import Responder
from course_lib.data.tinytown.parse import parse
from course_lib.data.tinytown.stories import split_sentences
from course_lib.generation import Generated, greedy
from course_lib.losses import next_token_loss
from course_lib.metrics import wilson_interval
from course_lib.models.gpt import GPT
from course_lib.recipes import stories
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import Batches, History, Loss, TrainingConfig, train

TEMPLATE = ChatTemplate()
# About the stories that chapter 09's model has learned to tell. Half of all are answers: with fewer it learns to refuse.
KINDS = ("answer", "answer", "answer", "list", "continue", "refuse")
SPLITS = ("train", "valid", "test", "questions", "unseen")
_MANNERS = frozenset(POLITE_OPENINGS + POLITE_ENDINGS)


def base(steps: int = 1200) -> tuple[GPT, WordTokenizer]:
    """Chapter 09's storyteller; where that chapter has not run, a smaller one is trained now, in a minute or two, and not kept."""
    try:
        return stories.load()
    except FileNotFoundError:
        corpus = stories.prepare()
        model = stories.build(corpus)
        stories.fit(model, corpus, steps)
        return model.eval(), corpus.tokenizer


def ask(n: int, split: str = "train", seed: int = 0, kinds: Sequence[str] = KINDS) -> list[Instruction]:
    """`n` instructions about small stories, no text in two splits.

    split: "train", "valid" and "test" are alike; "questions" asks what is asked nowhere else, in known words ("Does Mia have the
    key?"); "unseen" has kinds that are nowhere else ("Name the things in the story.").
    """
    if split not in SPLITS:
        raise ValueError(f"split: got {split!r}, expected one of {', '.join(SPLITS)}")
    drawn = iterate_instructions(seed, tuple(kinds), "train" if split == "questions" else split, stories.SETTINGS)
    return list(islice((asked for asked in drawn if split == "unseen" or _is_new(asked) == (split == "questions")), n))


def ask_whether_there(n: int, split: str = "test", seed: int = 0) -> list[Instruction]:
    """A kind of question that is asked nowhere else, in known words: "Is the ball in the kitchen?", as often true as not."""
    random = Random(seed)
    drawn = (asked for asked in iterate_instructions(seed, ("answer",), split, stories.SETTINGS) if stories.told_place(asked.question))
    return [_whether(asked, random) for asked in islice(drawn, n)]


def _whether(asked: Instruction, random: Random) -> Instruction:
    """A question where somebody or something is, asked with a place to be confirmed or not."""
    full = stories.told_place(asked.question)                                           # Lena is in the kitchen .
    subject, yes = full[:-5], random.random() < 0.5
    named = full[-2] if yes else random.choice([place for place in stories.TOWN if place != full[-2]])
    where = ("at" if named == "market" else "in", "the", named)
    claim, said = (*subject, "is", *where, "."), (*subject, "is", *([] if yes else ["not"]), *where, ".")
    first = subject if subject[0] in stories.NAMES else (subject[0].lower(), *subject[1:])
    answer, join = "Yes" if yes else "No", WordTokenizer.join
    question = asked.question._replace(kind="yes/no", asked=parse(list(claim)), answer=(answer,), full=parse(list(said)))
    return replace(asked, detail="answer: whether there", prompt=join(["Is", *first, *where, "?"]), question=question,
                   reference=f"{answer}. {join(said)}")


def _is_new(asked: Instruction) -> bool:
    """One in eight of the questions, by a hash of their words."""
    return asked.question is not None and crc32(asked.prompt.encode()) % 8 == 0


def demonstrate(asked: Sequence[Instruction], quality: float | None = 0.6, seed: int = 0) -> list[str]:
    """A response to each instruction. quality: the share that is true, that is polite and that is brief, as people's are.

    quality None: the reference answers, all true and brief; few are polite.
    """
    if quality is None:
        return [instruction.reference for instruction in asked]
    responder = Responder(seed)
    return [responder.candidates(instruction, 1, quality, quality, quality)[0] for instruction in asked]


def prepare(model: GPT, tokenizer: WordTokenizer, asked: Sequence[Instruction], said: Sequence[str],
            more: Iterable[str] = (), seed: int = 0) -> tuple[GPT, WordTokenizer, list[Rendered]]:
    """Room for the template's marks and for new words, those of `more` texts among them, and the demonstrations as ids."""
    texts = [*(instruction.text for instruction in asked), *said, *more]
    new = {word for text in texts for word in tokenizer.split(text)} - set(tokenizer.vocabulary)
    model, tokenizer = grow(model, tokenizer, [*TEMPLATE.words, *sorted(new)], seed=seed)
    return model, tokenizer, [TEMPLATE.render(tokenizer, dialogue(*texts))
                              for texts in zip((instruction.text for instruction in asked), said, strict=True)]


def fit(model: GPT, batches: Batches, steps: int = 750, lr: float = 2e-3, loss: Loss = next_token_loss, seed: int = 0,
        **training: Any) -> History:
    """Train on ResponseBatches (or PackedBatches with `packed_loss`); `training` are fields or arguments of `train`."""
    seed_everything(seed)
    fields = {name: training.pop(name) for name in tuple(training) if name in TrainingConfig.__dataclass_fields__}
    config = TrainingConfig(**{"steps": steps, "lr": lr, "final_lr": lr / 10, "warmup_steps": min(50, steps),
                               "betas": (0.9, 0.95)} | fields)
    history = train(model, batches, loss, config, context=Distributed(device=pick_device()), **training)
    model.to("cpu")
    return history


def answer(model: GPT, tokenizer: Growing, asked: Sequence[Instruction | Turn], search: Callable[..., Generated] = greedy,
           batch_size: int = 100, max_len: int = 40, change: Callable[[list[int]], list[int]] = list) -> list[Response]:
    """What the model says to each instruction, in batches of similar length. search: `greedy`, partial(sample, generator=…), …

    change: what to do with the ids of a prompt before the model reads them, to see what happens.
    """
    end, device = TEMPLATE.marks(tokenizer)["end"], next(model.parameters()).device
    prompts = [change(TEMPLATE.prompt(tokenizer, dialogue(instruction.text))) for instruction in asked]
    order, found = sorted(range(len(asked)), key=lambda i: len(prompts[i])), {}
    for first in range(0, len(order), batch_size):
        rows = order[first:first + batch_size]
        inputs = (part.flip(1).to(device) for part in pad([prompts[i][::-1] for i in rows]))        # padded on the left
        said = search(model, *inputs, eos_id=end, max_len=max_len)
        for i, ids, stopped in zip(rows, said.ids, said.finished.tolist()):
            found[i] = TEMPLATE.read(tokenizer, [*ids, end] if stopped else ids)
    return [found[i] for i in range(len(asked))]


class Share(NamedTuple):
    """A share of responses, with its 95 % interval (Wilson 1927)."""

    value: float
    low: float
    high: float


class Report(NamedTuple):
    """Which share of the responses is what."""

    exact: Share                # word for word the reference, when polite phrases around it are left out
    true: Share                 # by the state of the world; a list that is half right does not count
    well_formed: Share          # every sentence is one of Tinytown's
    stopped: Share              # the model ended its turn itself
    polite: Share
    brief: Share


def report(asked: Sequence[Instruction], responses: Sequence[Response]) -> Report:
    """Let the judge read the responses. ValueError unless there are as many of them as instructions, at least one."""
    if not asked or len(asked) != len(responses):
        raise ValueError(f"responses: got {len(responses)}, expected one for each of {len(asked)} instructions, at least one")
    rows = []
    for instruction, response in zip(asked, responses):
        scores = judge(instruction, response.text)
        plain = " ".join(part for part in split_sentences(response.text) if part not in _MANNERS)
        rows.append((plain == instruction.reference, scores.true == 1, scores.well_formed == 1, response.stopped, scores.polite == 1,
                     scores.brief == 1))
    return Report(*(Share(sum(column) / len(rows), *wilson_interval(sum(column), len(rows))) for column in zip(*rows)))


def imitate(storyteller: GPT, words: WordTokenizer, seed: int = 0, n: int = 8000) -> tuple[GPT, WordTokenizer]:
    """The assistant that learned from `n` answers of a crowd: what chapter 12 ends with, and chapter 13 begins with."""
    asked = ask(n, seed=seed)
    model, tokenizer, rows = prepare(storyteller, words, asked, demonstrate(asked, seed=seed), seed=seed)
    fit(model, ResponseBatches(rows, 16, seed=seed), seed=seed)
    return model.eval(), tokenizer


def tuned() -> tuple[GPT, WordTokenizer]:
    """Chapter 12's assistant; where that chapter has not run, one is tuned now, in a minute or two, and not kept."""
    try:
        return load()
    except FileNotFoundError:
        return imitate(*base())


def save(model: GPT, tokenizer: WordTokenizer, path: str | Path | None = None) -> Path:
    """Keep the tuned model with its vocabulary for chapter 13, by default in the user's cache; return where."""
    return stories.save(model, tokenizer, cache_folder() / "assistant.safetensors" if path is None else path)


def load(path: str | Path | None = None) -> tuple[GPT, WordTokenizer]:
    """What `save` kept. FileNotFoundError where chapter 12 has not run yet; ValueError for a damaged file."""
    path = cache_folder() / "assistant.safetensors" if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}: run chapter 12, which tunes and keeps it")
    return stories.load(path)
