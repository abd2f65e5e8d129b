"""Fine-tune a BERT for a task and score it (Devlin et al. 2019, section 4): four tasks of Tinytown, and the parts of any other."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.blocks import INITS
from course_lib.data.labelling import (
    Example,
    LabelledBatch,
    LabelledBatches,
    Window,
    align_labels,
    best_span,
    collate_sequences,
    collate_spans,
    collate_tokens,
    rows_in_order,
    span_windows,
    words_at,
)
from course_lib.losses import sequence_loss, span_loss, tagging_loss
from course_lib.metrics import exact_match
from course_lib.models.bert import BERT, BERTForSequences, BERTForSpans, BERTForTokens
from course_lib.recipes import labelled_stories, word_counts
from course_lib.runtime import Distributed, pick_device, seed_everything
from course_lib.scoring import answer_scores, entity_scores
from course_lib.training import Loss, TrainingConfig, train

Classes = tuple[str, ...]
Answer = tuple[float, Any]                                              # how sure, and what: of an example's rows the surest answers


@dataclass(frozen=True)
class Kind:
    """What tasks of one kind share: from examples in words to rows of ids, through a head and back to labels, and their score."""

    head: Callable[[BERT, Classes], nn.Module]
    rows: Callable[[Example, Classes, Any, int], list]                  # example, classes, tokenizer, max_len → rows
    collate: Callable[..., LabelledBatch]
    loss: Loss
    read: Callable[[Tensor, LabelledBatch, Sequence, Classes], list[Answer]]         # logits, batch, its rows → an answer for each row
    measure: Callable[[list, Sequence[Example]], float]                 # answers, examples → a share, 1 = all right
    count: Callable[[Sequence[Example], Sequence[Example]], list]       # the baseline: learns from the first, answers the second
    blank: Callable[[Example, Classes], Any]                            # a label that says nothing, for examples to be answered


@dataclass(frozen=True)
class Task:
    """A kind, the classes to choose from, and where examples come from: draw(seed, split) → examples without end."""

    kind: Kind
    classes: Classes
    draw: Callable[[int, str], Iterator[Example]]

    def examples(self, n: int, seed: int = 0, split: str = "train") -> list[Example]:
        """The first `n` examples."""
        return labelled_stories.take(self.draw, n, seed, split)


def _class_of(label: str, classes: Classes) -> int:
    if label not in classes:
        raise ValueError(f"label: got {label!r}, expected one of {', '.join(classes)}")
    return classes.index(label)


def _sequence_rows(example: Example, classes: Classes, tokenizer: Any, max_len: int) -> list:
    first, second = (tokenizer.encode(" ".join(words)) for words in example[:2])
    return [(first, second, _class_of(example.label, classes))]


def _token_rows(example: Example, classes: Classes, tokenizer: Any, max_len: int) -> list:
    row = align_labels(example.first, [_class_of(label, classes) for label in example.label], tokenizer)
    if len(row[0]) > max_len - 2:
        raise ValueError(f"example: got {len(row[0])} tokens, expected at most {max_len - 2}, so that every word keeps its label")
    return [row]


def _span_rows(example: Example, classes: Classes, tokenizer: Any, max_len: int) -> list:
    return span_windows(*example, tokenizer, max_len, stride=max_len // 4)


def _read_sequences(logits: Tensor, batch: LabelledBatch, rows: Sequence, classes: Classes) -> list[Answer]:
    return [(0.0, classes[i]) for i in logits.argmax(-1).tolist()]


def _read_tokens(logits: Tensor, batch: LabelledBatch, rows: Sequence, classes: Classes) -> list[Answer]:
    return [(0.0, tuple(classes[i] for i in best[counts].tolist())) for best, counts in zip(logits.argmax(-1), batch.counts)]


def read_spans(logits: Tensor, batch: LabelledBatch, rows: Sequence[Window], classes: Classes, least: float = 0.0,
               longest: int = 30) -> list[Answer]:
    """The best span of each window, in words of the context; None unless its score exceeds that of [CLS] by more than `least`."""
    start, end = logits.unbind(-1)                                                      # (B, T) each
    counts = batch.counts.clone()
    counts[:, 0] = False
    places = best_span(start, end, counts, longest)                                     # (B, 2)
    scores = start.gather(1, places[:, :1]) + end.gather(1, places[:, 1:])              # (B, 1)
    margins = (scores[:, 0] - start[:, 0] - end[:, 0]).tolist()
    return [(margin, words_at(row, *place) if margin > least else None) for margin, row, place in zip(margins, rows, places.tolist())]


def _accuracy(answers: list, examples: Sequence[Example]) -> float:
    return exact_match(answers, [example.label for example in examples])


def _entity_f1(answers: list, examples: Sequence[Example]) -> float:
    return entity_scores(answers, [example.label for example in examples]).f1


def _exact_answers(answers: list, examples: Sequence[Example]) -> float:
    said, right = ([" ".join(example.second[slice(*span)]) if span else "" for span, example in zip(spans, examples)]
                   for spans in (answers, [example.label for example in examples]))
    return answer_scores(said, [[text] for text in right]).exact


def _sequence_head(bert: BERT, classes: Classes) -> BERTForSequences:
    """With a pooler that starts anew: next-sentence prediction leaves many of its outputs near ±1, where tanh is almost flat
    (starting the last layers anew steadies fine-tuning in general: Zhang et al. 2021, section 5)."""
    nn.init.normal_(bert.pooler.weight, std=INITS[bert.config.init](bert.config.d_model))
    nn.init.zeros_(bert.pooler.bias)
    return BERTForSequences(bert, len(classes))


SEQUENCES = Kind(_sequence_head, _sequence_rows, collate_sequences, sequence_loss,
                 _read_sequences, _accuracy, word_counts.classify, lambda example, classes: classes[0])
TOKENS = Kind(lambda bert, classes: BERTForTokens(bert, len(classes)), _token_rows, collate_tokens, tagging_loss,
              _read_tokens, _entity_f1, word_counts.tag, lambda example, classes: (classes[0],) * len(example.first))
SPANS = Kind(lambda bert, classes: BERTForSpans(bert), _span_rows, collate_spans, span_loss,
             read_spans, _exact_answers, word_counts.answer, lambda example, classes: None)

TOWN_TASKS = {"pair": Task(SEQUENCES, labelled_stories.LABELS, labelled_stories.pairs),
              "single": Task(SEQUENCES, labelled_stories.MOOD_LABELS, labelled_stories.sentiments),
              "span": Task(SPANS, (), labelled_stories.answers),
              "tags": Task(TOKENS, labelled_stories.TAG_LABELS, labelled_stories.tags)}


def untrained(bert: BERT, seed: int = 0) -> BERT:
    """An encoder of the same sizes that has learnt nothing."""
    seed_everything(seed)
    return BERT(bert.config)


def steps_for(n_examples: int) -> int:
    """How long to fine-tune on so many examples, in batches of 16: 60, 106, 205, 397 steps for 50, 200, 1,000, 5,000, never more."""
    return round(60 * (min(n_examples, 5000) / 50) ** 0.41)


def fit(task: Task, bert: BERT, examples: Sequence[Example], tokenizer: Any, steps: int | None = None, lr: float = 1e-3, *,
        seed: int = 0, batch_size: int = 16, **training: Any) -> nn.Module:
    """A copy of `bert` with a fresh head, both trained on the examples on the best device present; `bert` stays as it is.

    `training` are fields or arguments of `train`. ValueError for no examples, a label that the task does not have, and an answer
    that no window can hold.
    """
    seed_everything(seed)
    kind, model = task.kind, task.kind.head(deepcopy(bert), task.classes)
    steps = steps_for(len(examples)) if steps is None else steps
    rows = [row for example in examples for row in kind.rows(example, task.classes, tokenizer, bert.config.max_len)]
    batches = LabelledBatches(rows, batch_size, partial(kind.collate, tokenizer=tokenizer), seed=seed)
    fields = {name: training.pop(name) for name in tuple(training) if name in TrainingConfig.__dataclass_fields__}
    config = TrainingConfig(**{"steps": steps, "lr": lr, "warmup_steps": steps // 10, "schedule": "linear", "weight_decay": 0.01} | fields)
    train(model, batches, kind.loss, config, context=Distributed(device=pick_device()), **training)
    return model.to("cpu")


@torch.no_grad()
def predict(task: Task, model: nn.Module, examples: Sequence[Example], tokenizer: Any, batch_size: int = 64) -> list:
    """A label for each example, as examples have them; theirs are not looked at. Of several windows of a context the surest answers."""
    model.eval()
    device, max_len = next(model.parameters()).device, model.bert.config.max_len
    rows, owners = [], []
    for n, example in enumerate(examples):
        blank = example._replace(label=task.kind.blank(example, task.classes))
        found = task.kind.rows(blank, task.classes, tokenizer, max_len)
        rows, owners = rows + found, owners + [n] * len(found)
    read = []
    for i, batch in zip(range(0, len(rows), batch_size), rows_in_order(rows, batch_size, partial(task.kind.collate, tokenizer=tokenizer))):
        batch = batch.to(device)
        read += task.kind.read(model(batch.ids, batch.mask, batch.segments), batch, rows[i:i + batch_size], task.classes)
    best: list[Answer | None] = [None] * len(examples)
    for n, answer in zip(owners, read):
        best[n] = answer if best[n] is None or answer[0] > best[n][0] else best[n]
    return [answer for _, answer in best]


def score(task: Task, model: nn.Module, examples: Sequence[Example], tokenizer: Any) -> float:
    """Accuracy, exact answers or entity F1 of a model on examples, as the task's kind has it."""
    return task.kind.measure(predict(task, model, examples, tokenizer), examples)


def score_of_counts(task: Task, seen: Sequence[Example], examples: Sequence[Example]) -> float:
    """The same score of the baseline that counts words in the examples it has `seen`."""
    return task.kind.measure(task.kind.count(seen, examples), examples)
