"""Stories of Tinytown to learn a language from: the corpus, the model and the measures that chapters 09, 12 and 13 share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.data.batching import TextBatches, TokenBatch, collate_texts, pad
from course_lib.data.datafiles import cache_folder
from course_lib.data.tinytown import Settings, Story, check_story, parse, questions, stories
from course_lib.data.tinytown.questions import Question
from course_lib.data.tinytown.realise import realise
from course_lib.data.tinytown.settings import PEOPLE, PLACES
from course_lib.losses import next_token_loss, token_log_probs
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.tokenizers import WordTokenizer
from course_lib.training import History, TrainingConfig, train

SETTINGS = Settings(closing=(2, 4))         # more lines that say how things are: from them alone it can learn who has what
NAMES, TOWN = PEOPLE[:SETTINGS.names], PLACES[:SETTINGS.places]


@dataclass(frozen=True)
class Corpus:
    """A tokenizer, training texts as ids with <bos> and <eos>, and held-out stories."""

    tokenizer: WordTokenizer
    train: list[list[int]]
    valid: list[Story]

    def ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Texts → ids, with <bos> and <eos>."""
        return [self.tokenizer.encode(text, bos=True, eos=True) for text in texts]

    def batches(self, batch_size: int = 50) -> list[TokenBatch]:
        """The held-out stories in their own order, for evaluation."""
        texts = self.ids(story.text for story in self.valid)
        return [collate_texts(texts[i:i + batch_size], self.tokenizer.pad_id) for i in range(0, len(texts), batch_size)]


def prepare(n_train: int = 30_000, n_valid: int = 600, seed: int = 0, valid_seed: int = 1) -> Corpus:
    """Draw training and held-out stories, and learn the vocabulary from the training ones."""
    told = [story.text for story in stories(n_train, seed, settings=SETTINGS)]
    corpus = Corpus(WordTokenizer.train(told), [], stories(n_valid, valid_seed, "valid", SETTINGS))
    corpus.train.extend(corpus.ids(told))
    return corpus


def build(corpus: Corpus, seed: int = 0, **parts: Any) -> GPT:
    """A small GPT for `corpus`; `parts` are fields of GPTConfig.

    The words it reads have a table of their own: one that also scores words has to start narrow.
    """
    seed_everything(seed)
    sizes = {"d_model": 96, "n_heads": 4, "n_layers": 4, "max_len": 256, "positions": "rotary", "tie_embeddings": False} | parts
    return GPT(GPTConfig(corpus.tokenizer.vocab_size, **sizes))


def fit(model: GPT, corpus: Corpus, steps: int, seed: int = 0, batch_size: int = 24, lr: float = 3e-3, **training: Any) -> History:
    """Train `model` on the best device present and bring it back to the CPU; `training` are fields or arguments of `train`."""
    fields = {name: training.pop(name) for name in tuple(training) if name in TrainingConfig.__dataclass_fields__}
    config = TrainingConfig(**{"steps": steps, "lr": lr, "final_lr": lr / 10, "warmup_steps": min(100, steps),
                               "weight_decay": 0.1, "betas": (0.9, 0.95)} | fields)
    batches = TextBatches(corpus.train, batch_size, seed=seed, pad_id=corpus.tokenizer.pad_id)
    history = train(model, batches, next_token_loss, config, context=Distributed(device=pick_device()), **training)
    model.to("cpu")
    return history


def save(model: GPT, tokenizer: WordTokenizer, path: str | Path | None = None) -> Path:
    """Keep a model with its vocabulary for later chapters, by default in the user's cache; return where."""
    path = cache_folder() / "stories.safetensors" if path is None else Path(path)
    save_checkpoint(path, model, config=asdict(model.config), extra={"vocabulary": list(tokenizer.vocabulary)})
    return path


def load(path: str | Path | None = None) -> tuple[GPT, WordTokenizer]:
    """What `save` kept. FileNotFoundError where chapter 09 has not run yet; ValueError for a damaged file."""
    path = cache_folder() / "stories.safetensors" if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}: run chapter 09, which trains and keeps it")
    saved = load_checkpoint(path)
    model = GPT(GPTConfig(**saved.config))
    load_checkpoint(path, model)
    return model.eval(), WordTokenizer(saved.extra["vocabulary"])


class Cloze(NamedTuple):
    """A story with a last sentence to choose: `beginning` tokens, `options` (token lists), which one is true, and its kind.

    "who": the ball is with somebody; the options put every name of the town there. "where": a person or a thing at a place.
    """

    kind: str
    beginning: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    right: int

    def last_mentioned(self) -> int:
        """The baseline: the option whose name or place the story has named last."""
        place = 0 if self.kind == "who" else -2
        return max(range(len(self.options)),
                   key=lambda i: max((n for n, word in enumerate(self.beginning) if word == self.options[i][place]), default=-1))


def clozes(story: Story) -> Iterator[Cloze]:
    """Who has what, and who and what is where, at the end of the events of a story; what the closing lines say is hidden."""
    closing = {number for number, _ in story.closing}
    beginning = tuple(word for number, words in enumerate(story.en) if number not in closing for word in words)
    for question in questions(story):
        full = tuple(realise(question.full).en) if question.full is not None else ()
        if question.kind == "who has":
            yield Cloze("who", beginning, tuple((name, *full[1:]) for name in NAMES), NAMES.index(full[0]))
        elif told_place(question):
            options = tuple((*full[:-4], "at" if place == "market" else "in", "the", place, ".") for place in TOWN)
            yield Cloze("where", beginning, options, TOWN.index(full[-2]))


def told_place(question: Question | None) -> tuple[str, ...]:
    """The words of "Lena is in the kitchen.", the answer to a question where; () for other questions, and places that are no rooms."""
    if question is None or question.kind != "where" or question.full is None:
        return ()
    full = tuple(realise(question.full).en)
    return full if full[-2] in TOWN and full[-4] in ("in", "at") else ()


@torch.no_grad()
def choose(model: GPT, tokenizer: WordTokenizer, asked: Sequence[Cloze], batch_size: int = 50) -> list[int]:
    """For each cloze the option that `model` finds most probable. A beginning is read once, for all its options."""
    chosen = [0] * len(asked)
    for kind in sorted({cloze.kind for cloze in asked}):
        places = [i for i, cloze in enumerate(asked) if cloze.kind == kind]
        for i in range(0, len(places), batch_size):
            group = [asked[place] for place in places[i:i + batch_size]]
            scores = _log_probs(model, tokenizer, group)                                    # (N, options)
            for place, best in zip(places[i:], scores.argmax(1).tolist()):
                chosen[place] = best
    return chosen


def _log_probs(model: GPT, tokenizer: WordTokenizer, group: list[Cloze]) -> torch.Tensor:
    """Log-probability of every option of clozes that have equally many: (N, K)."""
    device = next(model.parameters()).device
    beginnings = [[tokenizer.bos_id, *tokenizer.to_ids(cloze.beginning)] for cloze in group]
    ids, mask = (part.flip(1).to(device) for part in pad([ids[::-1] for ids in beginnings]))          # padded on the left
    token, state = model.start(ids, mask)
    rows = torch.arange(len(group), device=device).repeat_interleave(len(group[0].options))
    token, state = token[rows], model.reorder(state, rows)
    options, real = (part.to(device) for part in pad([tokenizer.to_ids(words) for cloze in group for words in cloze.options]))
    total = torch.zeros(len(rows), device=device)
    for next_token, counts in zip(options.T, real.T):
        logits, state = model.step(token, state)
        total += token_log_probs(logits, next_token) * counts
        token = next_token
    return total.view(len(group), -1)


class Scores(NamedTuple):
    """What the simulation says of texts: shares of sentences, of lines that say how things are, and of whole texts."""

    grammatical: float          # sentences that Tinytown's grammar can say
    true: float                 # "Mia has the ball.", "The box is open.": shown true by what the text told before
    consistent: float           # texts without any sentence that contradicts another, or is not grammatical
    n_sentences: int
    n_facts: int


def score(texts: Iterable[str]) -> Scores:
    """Let Tinytown read texts: are they grammatical, true, consistent? A share of nothing is 0."""
    texts = list(texts)
    read = [check_story(text) for text in texts]
    sentences = [check for checks in read for check in checks]
    facts = [check for check in sentences if check.grammatical and parse(check.sentence).clauses[0].tense in ("be", "state")]
    return Scores(sum(check.grammatical for check in sentences) / max(1, len(sentences)),
                  sum(check.asserted is True for check in facts) / max(1, len(facts)),
                  sum(all(check.consistent for check in checks) for checks in read) / max(1, len(texts)),
                  len(sentences), len(facts))
