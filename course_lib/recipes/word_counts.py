"""What fine-tuning has to beat: labels from the words alone, without their order. A baseline for each kind of task."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.labelling import Example

Words = Sequence[str]


# --- one label for a text or a pair ------------------------------------------------------------------------------------

def _features(example: Example) -> Iterator[str]:
    """The words of each text, and how many words of the second text the first one has and has not."""
    first = {word.lower() for word in example.first}
    yield from (f"first {word.lower()}" for word in example.first)
    for word in example.second:
        yield f"second {word.lower()}"
        yield "in both" if word.lower() in first else "new"


def _bags(examples: Sequence[Example], id_of: dict[str, int]) -> tuple[Tensor, Tensor]:
    """All features known, one after the other, and where each example begins."""
    bags = [[id_of[feature] for feature in _features(example) if feature in id_of] for example in examples]
    starts = torch.tensor([0, *map(len, bags)]).cumsum(0)[:-1]
    return torch.tensor([i for bag in bags for i in bag], dtype=torch.long), starts


def classify(seen: Sequence[Example], asked: Sequence[Example], penalty: float = 1.0) -> list[str]:
    """Logistic regression on counts of words, with a penalty of ½ · `penalty` · |w|² on the summed loss: a class for each example."""
    classes = sorted({example.label for example in seen})
    id_of = {feature: i for i, feature in enumerate(sorted({f for example in seen for f in _features(example)}))}
    weights = torch.zeros(len(id_of), len(classes), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(classes), dtype=torch.float64, requires_grad=True)
    bags, labels = _bags(seen, id_of), torch.tensor([classes.index(example.label) for example in seen])
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def scores(found: tuple[Tensor, Tensor]) -> Tensor:
        return F.embedding_bag(found[0], weights, found[1], mode="sum") + bias

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (F.cross_entropy(scores(bags), labels, reduction="sum") + penalty / 2 * weights.square().sum()) / len(seen)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return [classes[i] for i in scores(_bags(asked, id_of)).argmax(1).tolist()]


# --- which of two responses is better ----------------------------------------------------------------------------------

def prefer(seen: Sequence[tuple[Words, Words]], asked: Sequence[tuple[Words, Words]], penalty: float = 1.0) -> list[float]:
    """Bradley & Terry (1952) with a worth for each word: by how much the first of two responses is worth more, for each pair asked.

    Learned from pairs (chosen, rejected), with a penalty of ½ · `penalty` · |w|² on the summed loss.
    """
    id_of = {word: i for i, word in enumerate(sorted({word for pair in seen for words in pair for word in words}))}
    worth = torch.zeros(len(id_of), 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([worth], max_iter=200, line_search_fn="strong_wolfe")

    def bags(pairs: Sequence[tuple[Words, Words]]) -> tuple[Tensor, Tensor, Tensor]:
        found = [[(id_of[word], sign) for words, sign in zip(pair, (1.0, -1.0)) for word in words if word in id_of] for pair in pairs]
        ids, signs = torch.tensor([one for bag in found for one in bag], dtype=torch.float64).reshape(-1, 2).T
        return ids.long(), torch.tensor([0, *map(len, found)]).cumsum(0)[:-1], signs.contiguous()

    def margins(ids: Tensor, starts: Tensor, signs: Tensor) -> Tensor:
        return F.embedding_bag(ids, worth, starts, mode="sum", per_sample_weights=signs).squeeze(1)

    learned = bags(seen)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (-F.logsigmoid(margins(*learned)).sum() + penalty / 2 * worth.square().sum()) / len(seen)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        return margins(*bags(asked)).tolist()


# --- a label for each word ---------------------------------------------------------------------------------------------

def tag(seen: Sequence[Example], asked: Sequence[Example]) -> list[tuple[str, ...]]:
    """Each word's most frequent tag; for a word never seen that of most words which begin like it with a capital, or do not."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for example in seen:
        for word, label in zip(example.first, example.label):
            counts[word][label] += 1
    usual = {word: max(sorted(found), key=found.__getitem__) for word, found in counts.items()}
    by_shape = Counter((word[:1].isupper(), label) for word, label in usual.items())
    tags = sorted(set(usual.values()))
    back_off = {shape: max(tags, key=lambda label: by_shape[shape, label]) for shape in (True, False)}
    return [tuple(usual.get(word, back_off[word[:1].isupper()]) for word in example.first) for example in asked]


# --- where the answer stands -------------------------------------------------------------------------------------------

def _shape(words: Words) -> tuple[str, int]:
    """What an answer looks like: its first word, or that this is a name, and its length."""
    return ("Name" if words[0][:1].isupper() and words[0] not in ("The", "A", "An") else words[0], len(words))


def _sentences(context: Words) -> Iterator[tuple[int, int]]:
    start = 0
    for n, word in enumerate(context):
        if word in (".", "!", "?") or n == len(context) - 1:
            yield start, n + 1
            start = n + 1


def answer(seen: Sequence[Example], asked: Sequence[Example]) -> list[tuple[int, int] | None]:
    """In the last sentence that shares most words with the question, the stretch that looks most like answers to such questions.

    No answer where the context lacks a word whose absence mostly meant so.
    """
    looks: dict[str, Counter] = defaultdict(Counter)
    absent: Counter = Counter()
    for example in seen:
        if example.label is not None:
            looks[example.first[0]][_shape(example.second[slice(*example.label)])] += 1
        for word in set(example.first) - set(example.second):
            absent[word] += 1 if example.label is None else -1
    return [_answer(example, looks[example.first[0]], absent) for example in asked]


def _answer(example: Example, looks: Counter, absent: Counter) -> tuple[int, int] | None:
    question, context = set(example.first), example.second
    if any(absent[word] > 0 for word in question - set(context)) or not looks:
        return None
    start, end = max(_sentences(context), key=lambda s: (len(question & set(context[slice(*s)])), s))
    longest = max(length for _, length in looks)
    spans = [(a, b) for a in range(start, end) for b in range(a + 1, min(end, a + longest) + 1) if not question & set(context[a:b])]
    return max(spans, key=lambda s: looks[_shape(context[slice(*s)])], default=(start, end))
