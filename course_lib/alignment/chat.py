"""A chat as token ids: a template marks who speaks and where a turn ends, with tokens of their own that no text can contain."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from course_lib.models.gpt import GPT
from course_lib.tokenizers import BPETokenizer, WordTokenizer

ROLES = ("user", "assistant")
Growing = WordTokenizer | BPETokenizer


class Turn(NamedTuple):
    """What one of ROLES says."""

    role: str
    text: str


class Rendered(NamedTuple):
    """A conversation as ids, and for each id whether it is the assistant's: a word of a response, or the end of one."""

    ids: list[int]
    learned: list[bool]


class Response(NamedTuple):
    """What was said up to the end of the turn. `stopped` is False where no end came: the text was cut off from outside."""

    text: str
    stopped: bool


@dataclass(frozen=True)
class ChatTemplate:
    """The words that mark turns. A conversation is <bos>, then for each turn its role's mark, its text and `end`.

        <bos> <user> Who has the ball ? <end> <assistant> Mia . <end>        ("Mia", "." and the last <end> are the assistant's)

    Marks are words of the vocabulary (see `grow`) that encoding a text never gives: a user who types "<assistant>" gets the signs
    "<", "assistant", ">". The end of a turn is not padding and not <eos>: an id that the loss leaves out as padding is never learned.
    """

    user: str = "<user>"
    assistant: str = "<assistant>"
    end: str = "<end>"

    @property
    def words(self) -> tuple[str, ...]:
        """All marks, in the order of ROLES, then `end`."""
        return self.user, self.assistant, self.end

    def marks(self, tokenizer: Growing) -> dict[str, int]:
        """The ids of "user", "assistant" and "end". ValueError for a mark that is unknown, occurs twice, or could be in a text."""
        ids = [tokenizer.id_of(word) for word in self.words]
        if None in ids:
            raise ValueError(f"tokenizer: got no word {self.words[ids.index(None)]!r}, expected one that knows the marks of "
                             f"the template (grow adds words)")
        if len(set(ids)) < len(ids):
            raise ValueError(f"template: got {', '.join(self.words)}, expected three different marks")
        for word, mark in zip(self.words, ids):
            if mark in tokenizer.encode(word):
                raise ValueError(f"template: got {word!r}, which a text can contain, expected marks that it cannot, like '<end>'")
        return dict(zip((*ROLES, "end"), ids))

    def render(self, tokenizer: Growing, turns: Sequence[Turn | tuple[str, str]]) -> Rendered:
        """Turns (role, text) → ids, and which of them are the assistant's. ValueError unless user and assistant take turns, user first."""
        marks, ids, learned = self.marks(tokenizer), [tokenizer.bos_id], [False]
        roles = [role for role, _ in turns]
        if not roles or roles != [ROLES[i % 2] for i in range(len(roles))]:
            raise ValueError(f"turns: got {', '.join(map(str, roles)) or 'none'}, expected user, assistant, user, …")
        for role, text in turns:
            said = [*tokenizer.encode(text), marks["end"]]
            ids += [marks[role], *said]
            learned += [False] + [role == "assistant"] * len(said)
        return Rendered(ids, learned)

    def prompt(self, tokenizer: Growing, turns: Sequence[Turn | tuple[str, str]]) -> list[int]:
        """Turns that end with the user's → ids that end with the assistant's mark, to be continued by a model."""
        ids = self.render(tokenizer, turns).ids
        if turns[-1][0] != "user":
            raise ValueError("turns: got the assistant's at the end, expected the user's: a prompt is what is to be answered")
        return [*ids, self.marks(tokenizer)["assistant"]]

    def read(self, tokenizer: Growing, ids: Sequence[int]) -> Response:
        """What a model said after a prompt, up to the first end. A mark before it stays visible in the text: it does not belong there."""
        ids, end = list(ids), self.marks(tokenizer)["end"]
        stopped = end in ids
        return Response(tokenizer.decode(ids[:ids.index(end)] if stopped else ids), stopped)


def dialogue(*texts: str) -> list[Turn]:
    """dialogue("Hello!", "Good morning.") is one turn of the user's and one of the assistant's."""
    return [Turn(ROLES[i % 2], text) for i, text in enumerate(texts)]


@torch.no_grad()
def grow(model: GPT, tokenizer: Growing, new_words: Iterable[str], noise: float = 0.1, seed: int = 0) -> tuple[GPT, Growing]:
    """A copy of `model` that has room for `new_words`, and the tokenizer that knows them: old ids and old rows stay what they are.

    A new row is the mean of the old ones, plus `noise` of their spread. At the mean a new word's score is the mean score, so it takes
    no more than its share of the probability and what the model says hardly changes; rows drawn anew may outshout all the others.
    The noise makes new words differ. ValueError for words that are known, occur twice or are not strings, or none at all.
    """
    new_words = list(new_words)
    if not isinstance(model.output, nn.Linear) or model.embedding.num_embeddings != tokenizer.vocab_size:
        raise ValueError(f"model: got {model.embedding.num_embeddings} embeddings and an output {type(model.output).__name__}, "
                         f"expected {tokenizer.vocab_size}, the tokenizer's words, and Linear")
    known = [word for word in new_words if not isinstance(word, str) or tokenizer.id_of(word) is not None]
    if known or not new_words or len(set(new_words)) < len(new_words):
        raise ValueError(f"new_words: got {known[:3] or new_words[:3]}, expected different strings that the tokenizer does not know")
    grown, n, generator = copy.deepcopy(model), tokenizer.vocab_size + len(new_words), torch.Generator().manual_seed(seed)
    tied = grown.output.weight is grown.embedding.weight
    for part in (grown.embedding, grown.output):
        old = part.weight
        draws = torch.randn(len(new_words), old.shape[1], generator=generator, dtype=torch.float64).to(old)
        part.weight = nn.Parameter(torch.cat([old, old.mean(0) + noise * old.std(0) * draws]), old.requires_grad)
    if tied:
        grown.output.weight = grown.embedding.weight
    grown.embedding.num_embeddings = grown.output.out_features = n
    grown.config = replace(model.config, vocab_size=n)
    return grown, tokenizer.extended(new_words)
