"""The four kinds of fine-tuning on real texts: SNLI, sentences from reviews, XQuAD, WNUT-17, in the form of `finetuning`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from course_lib.data import datasets
from course_lib.data.labelled_parsers import SNLI_LABELS, TOLD_LABELS, Answered, Tagged
from course_lib.data.labelling import Example, word_places, words_touching
from course_lib.recipes.finetuning import SEQUENCES, SPANS, TOKENS, Task, read_spans
from course_lib.scoring import AnswerScores, answer_scores
from course_lib.tokenizers import WordPieceTokenizer

ENTITIES = ("person", "location", "corporation", "group", "product", "creative-work")
ENTITY_TAGS = ("O", *(f"{mark}-{kind}" for kind in ENTITIES for mark in "BI"))


def tokenizer() -> WordPieceTokenizer:
    """BERT's own, with its published vocabulary of 30,522 pieces."""
    return WordPieceTokenizer.from_vocab(datasets.fetch("bert")[0])


def words_of(text: str) -> tuple[str, ...]:
    """The words and signs of a text."""
    return tuple(text[start:end] for start, end in word_places(text))


def example_of_snli(row: tuple[str, str, str]) -> Example:
    """(premise, hypothesis, label) → Example."""
    return Example(words_of(row[0]), words_of(row[1]), row[2])


def example_of_told(row: tuple[str, str]) -> Example:
    """(sentence, label) → Example."""
    return Example(words_of(row[0]), (), row[1])


def example_of_answered(row: Answered) -> Example:
    """A question with its answer → Example; an answer that ends inside a word becomes the whole word."""
    span = words_touching(word_places(row.context), row.start, row.start + len(row.answer))
    return Example(words_of(row.question), words_of(row.context), span)


def example_of_tagged(row: Tagged) -> Example:
    """(words, tags) → Example."""
    return Example(row[0], (), row[1])


def draw(name: str, example_of: Callable[[Any], Example], seed: int = 0, split: str = "train") -> Iterator[Example]:
    """All examples of a split of a data set once, shuffled by `seed`."""
    rows = list(datasets.load(name, split=split))
    Random(seed).shuffle(rows)
    return map(example_of, rows)


WILD_TASKS = {
    "snli": Task(SEQUENCES, tuple(SNLI_LABELS.values()), partial(draw, "snli", example_of_snli)),
    "sentiment-sentences": Task(SEQUENCES, tuple(TOLD_LABELS.values()), partial(draw, "sentiment-sentences", example_of_told)),
    "xquad": Task(replace(SPANS, read=partial(read_spans, least=float("-inf"))), (),        # every question has an answer
                  partial(draw, "xquad", example_of_answered)),
    "wnut17": Task(TOKENS, ENTITY_TAGS, partial(draw, "wnut17", example_of_tagged))}


def text_of(context: str, span: tuple[int, int] | None) -> str:
    """Words [start, end) of a context, as they stand in it; "" for no answer."""
    places = word_places(context)
    return "" if span is None else context[places[span[0]][0]:places[span[1] - 1][1]]


def squad_scores(spans: Sequence[tuple[int, int] | None], rows: Sequence[Answered]) -> AnswerScores:
    """SQuAD's two scores of predicted spans of words, against the answers' very characters."""
    if len(spans) != len(rows):
        raise ValueError(f"spans, rows: got {len(spans)} and {len(rows)}, expected equally many")
    return answer_scores([text_of(row.context, span) for span, row in zip(spans, rows)], [[row.answer] for row in rows])
