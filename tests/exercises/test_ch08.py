"""Chapter 08: right answers of several makes accepted, named wrong ones rejected with their message."""

import itertools
import math
from collections import Counter, defaultdict
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.data.tinytown import check_story
from course_lib.exercises import draws, exercise, judging
from course_lib.exercises.ch08 import paying, reading, spans, windows
from course_lib.models.bert import BERT, BERTConfig, BERTForSequences

# ---------------------------------------------------------------- 8.1 label_pieces


def align_appended(words, labels, pieces, cls_id, sep_id):
    ids, found, counts = [cls_id], [0], [False]
    for word, label in zip(words, labels):
        for n, piece in enumerate(pieces[word]):
            ids.append(piece)
            found.append(label if n == 0 else 0)
            counts.append(n == 0)
    return [*ids, sep_id], [*found, 0], [*counts, False]


def align_by_owner(words, labels, pieces, cls_id, sep_id):
    """Which word each id belongs to, as libraries tell it; labels that do not count are −100, counts are numbers."""
    owner = [None, *(n for n, word in enumerate(words) for _ in pieces[word]), None]
    ids = [cls_id, *itertools.chain.from_iterable(pieces[word] for word in words), sep_id]
    counts = [int(n is not None and n != before) for before, n in itertools.pairwise([None, *owner])]
    return ids, [labels[n] if counted else -100 for n, counted in zip(owner, counts)], counts


def align_by_tensors(words, labels, pieces, cls_id, sep_id):
    lengths = torch.tensor([len(pieces[word]) for word in words])
    ids = torch.tensor([cls_id, *itertools.chain(*(pieces[word] for word in words)), sep_id])
    starts = (lengths.cumsum(0) - lengths + 1)[lengths > 0]
    found, counts = torch.zeros_like(ids), torch.zeros(len(ids), dtype=torch.bool)
    found[starts], counts[starts] = torch.tensor(labels)[lengths > 0], True
    return ids, found.double(), counts


def align(words, labels, pieces, cls_id, sep_id, *, counted=lambda n, cut, label: n == 0, label_of=None, special=False, cut=None,
          ends=None):
    """The right answer, and a place for each mistake."""
    rows = [(cls_id, 0, special)]
    for place, word in enumerate(words):
        label = label_of(words, labels, pieces, place) if label_of else labels[place]
        kept = cut(pieces[word]) if cut else pieces[word]
        rows += [(piece, label, counted(n, kept, label)) for n, piece in enumerate(kept)]
    rows.append((sep_id, 0, special))
    return [list(part) for part in zip(*(rows[ends] if ends else rows))]


def align_planted(words, labels, pieces, cls_id, sep_id):
    ids = [cls_id] + [piece for word in words for piece in pieces[word]] + [sep_id]
    rest = len(ids) - 1 - len(labels)
    return ids, [0] + labels + [0] * rest, [False] + [True] * len(labels) + [False] * rest


def align_zipped(words, labels, pieces, cls_id, sep_id):
    """The first places of the words that have a piece, and the labels, side by side."""
    ids, firsts = [cls_id], []
    for word in words:
        firsts += [len(ids)] if pieces[word] else []
        ids += pieces[word]
    at = dict(zip(firsts, labels))
    ids.append(sep_id)
    return ids, [at.get(n, 0) for n in range(len(ids))], [n in at for n in range(len(ids))]


# ---------------------------------------------------------------- 8.2 find_span


def span_looped(start, end, allowed, longest):
    s, e, may = start.tolist(), end.tolist(), allowed.tolist()
    best, found = -math.inf, None
    for i in range(len(s)):
        for j in range(i, min(i + longest, len(s))):
            if may[i] and may[j] and s[i] + e[j] > best:
                best, found = s[i] + e[j], (i, j)
    return found


def span_by_probability(start, end, allowed, longest):
    """The most probable pair, by probabilities that multiply; softmax over everything, as BERT does in training."""
    joint = start.double().softmax(0).outer(end.double().softmax(0)) * (allowed[:, None] & allowed)
    joint = joint.triu().tril(longest - 1)
    return divmod(int(joint.argmax()), len(start))


def span_by_windows(start, end, allowed, longest):
    """For every start the best end within reach."""
    s, e = (part.double().masked_fill(~allowed, -math.inf) for part in (start, end))
    reach = F.pad(e, (0, longest - 1), value=-math.inf).unfold(0, longest, 1)
    best, step = reach.max(1)
    i = (s + best).argmax()
    return torch.stack([i, i + step[i]])


def span_by_sorting(start, end, allowed, longest):
    s, e = start.numpy().astype(float), end.numpy().astype(float)
    pairs = sorted(itertools.product(np.flatnonzero(allowed.numpy()).tolist(), repeat=2), key=lambda p: s[p[0]] + e[p[1]])
    return next([np.int64(i), np.int64(j)] for i, j in reversed(pairs) if 0 <= j - i < longest)


def span(start, end, allowed, longest, *, score=lambda s, e: s[:, None] + e, may=None, put=None):
    """The right answer, and a place for each mistake."""
    T = len(start)
    i, j = torch.arange(T)[:, None], torch.arange(T)
    inside = may(allowed, i, j, longest) if may else allowed[i] & allowed[j] & (i <= j) & (j < i + longest)
    found = score(start, end).masked_fill(~inside, -math.inf).argmax().item()
    return put(found // T, found % T) if put else (found // T, found % T)


def hidden(scores, allowed):
    return torch.where(allowed, scores, -math.inf)


def span_apart(start, end, allowed, longest):
    return hidden(start, allowed).argmax(), hidden(end, allowed).argmax()


def span_start_first(start, end, allowed, longest):
    i = hidden(start, allowed).argmax().item()
    reach = hidden(end, allowed)[i : i + longest]
    return i, i + reach.argmax().item()


def span_end_first(start, end, allowed, longest):
    j = hidden(end, allowed).argmax().item()
    least = max(0, j - longest + 1)
    return least + hidden(start, allowed)[least : j + 1].argmax().item(), j


def reach(i, j, longest, more=0):
    return (i <= j) & (j < i + longest + more)


# ---------------------------------------------------------------- 8.3 place_answer


def place_looped(question, context, answer, max_len, stride, cls_id, sep_id):
    room, found, start = max_len - len(question) - 3, [], 0
    while True:
        part = context[start : start + room]
        places = [n for n in range(start, start + len(part)) if answer[0] <= n <= answer[1]]
        whole = len(places) == answer[1] - answer[0] + 1
        first = len(question) + 2 - start
        found.append(([cls_id, *question, sep_id, *part, sep_id], (places[0] + first, places[-1] + first) if whole else (0, 0)))
        if start + room >= len(context):
            return found
        start += stride


def place_by_numpy(question, context, answer, max_len, stride, cls_id, sep_id):
    room = max_len - len(question) - 3
    n = 1 + max(0, math.ceil((len(context) - room) / stride))
    marked = np.zeros(len(context), dtype=int)
    marked[answer[0]] += 1
    marked[answer[1]] += 2
    rows = []
    for k in range(n):
        row = np.concatenate([[0] * (len(question) + 2), marked[k * stride :][:room], [0]])
        at = np.flatnonzero(row)
        ids = torch.tensor([cls_id, *question, sep_id, *context[k * stride :][:room], sep_id])
        rows.append([ids, np.array([at[0], at[-1]]) if row.sum() == 3 else np.zeros(2)])
    return tuple(rows)


def place(question, context, answer, max_len, stride, cls_id, sep_id, *, starts=None, where=None, less=0, shift=None, put=None, none=(0, 0),
          keep=None):
    """The right answer, and a place for each mistake."""
    room = max_len - len(question) - 3 - less
    begins = starts(len(context), room, stride) if starts else [0, *range(stride, len(context) - room + stride, stride)]
    where = where or (lambda a, b, size: (a, b) if a >= 0 and b < size else None)
    rows = []
    for start in begins:
        part = context[start : start + room]
        at = where(answer[0] - start, answer[1] - start, len(part))
        more = len(question) + 2 if shift is None else shift(len(question), start)
        ids = put(cls_id, question, sep_id, part) if put else [cls_id, *question, sep_id, *part, sep_id]
        rows.append((ids, none if at is None else (at[0] + more, at[1] + more)))
    return [row for row in rows if row[1] != none] if keep else rows


def place_planted(question, context, answer, max_len, stride, cls_id, sep_id):
    room = max_len - len(question) - 3
    ids = [cls_id, *question, sep_id, *context[:room], sep_id]
    first, last = len(question) + 2, len(ids) - 2
    return [(ids, (min(first + answer[0], last), min(first + answer[1], last)))]


# ---------------------------------------------------------------- 8.4 mean_vector


def mean_looped(x, mask):
    rows = []
    for row, some in zip(x, mask):
        kept = [vector for vector, real in zip(row, some) if real]
        rows.append(sum(kept) / len(kept) if kept else torch.zeros(x.shape[2], dtype=x.dtype))
    return torch.stack(rows)


def mean_einsum(x, mask):
    share = mask.to(x) / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.einsum("btd,bt->bd", x.masked_fill(~mask[..., None], 0), share)


def mean_where(x, mask):
    return torch.nan_to_num(torch.where(mask[..., None], x, torch.nan).nanmean(1), 0)


def mean_by_numpy(x, mask):
    z, real = x.numpy().astype(np.float64), mask.numpy()
    return np.array([row[some].sum(0) / max(1, some.sum()) for row, some in zip(z, real)])


def mean_nested(x, mask):
    rows = [row[some] for row, some in zip(x.double(), mask)]
    return torch.stack([row.mean(0) if len(row) else row.new_zeros(x.shape[2]) for row in rows]).tolist()


def mean(x, mask, *, total=None, count=lambda mask: mask.sum(1)):
    """The right answer, and a place for each mistake."""
    sums = total(x, mask) if total else torch.where(mask[:, :, None], x, 0).sum(1)
    return sums / count(mask).clamp(min=1)[:, None]


RIGHT = {
    "8.1": [align_appended, align_by_owner, align_by_tensors],
    "8.2": [span_looped, span_by_probability, span_by_windows, span_by_sorting],
    "8.3": [place_looped, place_by_numpy, place],
    "8.4": [mean_looped, mean_einsum, mean_where, mean_by_numpy, mean_nested],
}


def at_place(part):
    return lambda *args: tuple(align(*args)[n] for n in part)


WRONG = [
    ("8.1", align_planted, "labels by place", "Which word does place"),
    ("8.1", of(align, counted=lambda n, cut, label: True), "every piece counts", "look like several"),
    ("8.1", of(align, counted=lambda n, cut, label: n == len(cut) - 1), "the last piece", "the first that carries it"),
    ("8.1", of(align, special=True), "special tokens counted", "nobody has labelled them"),
    ("8.1", of(align, special=True, counted=lambda n, cut, label: 1), "special tokens counted", "Everything counts"),
    ("8.1", lambda *args: (lambda i, l, c: (i, [*l[1:], 0], [*c[1:], False]))(*align(*args)), "[CLS] forgotten", "one place too early"),
    ("8.1", align_zipped, "words without a piece shift the labels", "the next word gets it"),
    ("8.1", of(align, counted=lambda n, cut, label: n == 0 and label > 0), "label 0 does not count", "a label like others"),
    ("8.1", of(align, label_of=lambda words, labels, pieces, n: {w: k for w, k in zip(words, labels)}[words[n]]), "one label for a word",
     "to places in the text"),
    ("8.1", of(align, cut=lambda cut: cut[:1]), "later pieces lost", "the model reads them"),
    ("8.1", lambda *args: (lambda i, l, c: (i, l, [not x for x in c]))(*align(*args)), "counts turned round", "turned round"),
    ("8.1", of(align, counted=lambda n, cut, label: n > 0), "counts turned round", "the first one does not"),
    ("8.1", of(align, counted=lambda n, cut, label: len(cut) == 1), "split words do not count", "Its first piece does"),
    ("8.1", of(align, ends=slice(None, -1)), "no [SEP]", "at the end"),
    ("8.1", of(align, ends=slice(1, None)), "no [CLS]", "at the beginning"),
    ("8.1", of(align, ends=slice(1, -1)), "neither [CLS] nor [SEP]", "are missing"),
    ("8.2", span_apart, "chosen apart", "may end before it begins"),
    ("8.2", lambda *args: sorted(map(int, span_apart(*args))), "chosen apart", "exchange them"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j]), "chosen apart", "chosen together"),
    ("8.2", span_start_first, "start first", "may begin elsewhere"),
    ("8.2", span_end_first, "end first", "may end elsewhere"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & reach(j, i, n)), "end before start", "goes backwards"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & (j < i + n)), "end before start", "i ≤ j is missing"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & (i <= j)), "length ignored", "are the most"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & reach(i, j, n, 1)), "one token too long", "j − i + 1"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & reach(i, j, n, -1)), "one token too short", "one token has i = j"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & a[j] & reach(i, j, n) & (i < j)), "at least two tokens", "i = j"),
    ("8.2", of(span, may=lambda a, i, j, n: reach(i, j, n)), "allowed ignored", "for `allowed` to say"),
    ("8.2", of(span, may=lambda a, i, j, n: a[i] & reach(i, j, n)), "allowed of one end alone", "not where it ends"),
    ("8.2", of(span, may=lambda a, i, j, n: a[j] & reach(i, j, n)), "allowed of one end alone", "not where it begins"),
    ("8.2", of(span, may=lambda a, i, j, n: (~a[i] & ~a[j] | a.all()) & reach(i, j, n)), "allowed turned round", "turned round"),
    ("8.2", of(span, score=lambda s, e: s.outer(e)), "product", "a product's logarithm"),
    ("8.2", of(span, score=lambda s, e: s.softmax(0)[:, None] + e.softmax(0)), "probabilities added", "multiply"),
    ("8.2", lambda s, e, a, n: divmod(int(((s[:, None] + e) * (a[:, None] & a)).mul(reach(*torch.meshgrid(*[torch.arange(len(s))] * 2,
     indexing="ij"), n)).argmax()), len(s)), "mask by 0", "a forbidden 0 is the largest"),
    ("8.2", of(span, score=lambda s, e: s[:, None] + 0 * e), "start alone", "The end's scores"),
    ("8.2", of(span, score=lambda s, e: 0 * s[:, None] + e), "end alone", "The start's scores"),
    ("8.2", of(span, score=lambda s, e: -(s[:, None] + e)), "the worst", "the largest that is asked for"),
    ("8.2", of(span, put=lambda i, j: (i, j + 1)), "end behind the last", "its last token"),
    ("8.2", of(span, put=lambda i, j: (j, i)), "last first", "expected (i, j)"),
    ("8.2", of(span, put=lambda i, j: (i, j - i + 1)), "start and length", "is the length"),
    ("8.3", place_planted, "clipped", "never reads"),
    ("8.3", of(place, starts=lambda n, room, stride: [0]), "only the first window", "never read"),
    ("8.3", of(place, where=lambda a, b, size: (max(a, 0), min(b, size - 1)) if a < size and b >= 0 else None), "clipped in windows",
     "the rest"),
    ("8.3", of(place, where=lambda a, b, size: (min(max(a, 0), size - 1), min(max(b, 0), size - 1))), "clipped in windows", "at its edge"),
    ("8.3", of(place, where=lambda a, b, size: (a, min(b, size - 1)) if 0 <= a < size else None), "start alone is looked at",
     "begins in the"),
    ("8.3", of(place, where=lambda a, b, size: (max(a, 0), b) if 0 <= b < size else None), "end alone is looked at", "ends in the window"),
    ("8.3", of(place, keep=True), "windows without the answer left out", "that it is not there"),
    ("8.3", of(place, starts=lambda n, room, stride: range(0, n, room)), "no overlap", "side by side"),
    ("8.3", of(place, starts=lambda n, room, stride: range(0, n - min(n, room) + (step := max(room - stride, 1)), step)),
     "overlap for stride", "the distance from"),
    ("8.3", of(place, starts=lambda n, room, stride: range(0, n, stride)), "windows at the end that bring nothing new", "nothing new"),
    ("8.3", of(place, starts=lambda n, room, stride: [0, *range(stride, n - room + 1, stride)]), "end of the text lost", "in no window"),
    ("8.3", of(place, shift=lambda asked, start: 0), "question forgotten", "stand before"),
    ("8.3", of(place, shift=lambda asked, start: 1), "question forgotten", "You count [CLS]"),
    ("8.3", of(place, shift=lambda asked, start: asked + 1), "[SEP] forgotten", "[CLS] and [SEP] both count"),
    ("8.3", of(place, where=lambda a, b, size: (a, b + 1) if a >= 0 and b < size else None), "end behind the last", "its last token"),
    ("8.3", of(place, none=(-1, -1)), "nowhere is −1", "the place of [CLS]"),
    ("8.3", of(place, put=lambda c, q, s, part: [c, *q, s, *part]), "no last [SEP]", "no [SEP] behind"),
    ("8.3", of(place, put=lambda c, q, s, part: [c, *q, s, *part], less=-1), "no last [SEP]", "no [SEP] behind"),
    ("8.3", of(place, less=1), "one token too few", "one token too short"),
    ("8.3", of(place, less=-3), "special tokens have no room", "too long"),
    ("8.3", of(place, put=lambda c, q, s, part: [c, *part, s, *q, s], shift=lambda asked, start: 1), "text first", "before the question"),
    ("8.4", lambda x, mask: x.mean(1), "padding counted", "how long the other texts are"),
    ("8.4", of(mean, count=lambda mask: (mask | True).sum(1)), "divided by all places", "short texts get short vectors"),
    ("8.4", of(mean, total=lambda x, mask: x.sum(1)), "padding in the sum", "still in the sum"),
    ("8.4", of(mean, count=lambda mask: mask.sum().repeat(len(mask))), "divided by the batch's words", "in the whole batch"),
    ("8.4", of(mean, count=lambda mask: mask.double().sum(1).mean().repeat(len(mask))), "divided by the mean length", "the same number"),
    ("8.4", of(mean, count=lambda mask: (mask | True).sum(1) * 0 + 1), "sum", "You return the sum"),
    ("8.4", lambda x, mask: x[mask].mean(0).repeat(len(x), 1), "the whole batch", "All rows get the same"),
    ("8.4", lambda x, mask: x[mask].mean(0), "the whole batch", "into one vector"),
    ("8.4", lambda x, mask: mean(x, ~mask), "mask turned round", "turned round"),
    ("8.4", lambda x, mask: x[:, 0], "first word", "[CLS]"),
    ("8.4", lambda x, mask: x[:, -1], "last word", "may be padding"),
    ("8.4", lambda x, mask: x[range(len(x)), (mask.sum(1) - 1).clamp(min=0)], "last word", "All of them count"),
    ("8.4", lambda x, mask: torch.where(mask[..., None], x, -torch.inf).max(1).values, "maximum", "their mean"),
    ("8.4", lambda x, mask: torch.where(mask[..., None], x, 0).sum(0) / mask.sum(0).clamp(min=1)[:, None], "mean over the batch",
     "of each text"),
    ("8.4", lambda x, mask: torch.where(mask[..., None], x, 0).mean(-1), "mean over the width", "(B, d) is left"),
    ("8.4", lambda x, mask: F.normalize(mean(x, mask)), "of length 1", "scaled"),
    ("8.4", of(mean, total=lambda x, mask: (x * mask[..., None]).sum(1)), "multiplied by 0", "0 · NaN"),
    ("8.4", lambda x, mask: torch.where(mask[..., None], x, 0).sum(1) / mask.sum(1, keepdim=True), "mean of nothing", "gets zeros"),
]


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000


@pytest.mark.parametrize(("id", "planted"), [("8.1", align_planted), ("8.3", place_planted)])
def test_the_planted_bug_earns_nothing(judge, seed, id, planted):
    assert judge(id, planted, seed).points == 0


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("8.1", align_zipped, [True, False, True]),
        ("8.1", of(align, label_of=lambda words, labels, pieces, n: dict(zip(words, labels))[words[n]]), [False, True, True]),
        ("8.2", lambda s, e, a, n: span_looped(s.abs() + 1, e.abs() + 1, a, n) if (s < 0).all() else span(s, e, a, n), [True, True, False]),
        ("8.3", of(place, where=lambda a, b, size: (a, min(b, size - 1)) if 0 <= a < size else None), [True, False, None]),
        ("8.3", of(place, starts=lambda n, room, stride: range(0, n, stride)), [False, None, False]),
        ("8.4", of(mean, total=lambda x, mask: (x * mask[..., None]).sum(1)), [True, False, True]),
        ("8.4", lambda x, mask: torch.where(mask[..., None], x, 0).sum(1) / mask.sum(1, keepdim=True), [True, True, False]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    results = judge(id, answer, seed).results
    assert all(due is None or result.ok == due for result, due in zip(results, held, strict=True)), results


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("8.1", lambda *args: align(*args)[0], "expected 3 values, (ids, labels, counts)"),
        ("8.1", lambda *args: (*align(*args)[:2], align(*args)[2][:-1]), "one for each id"),
        ("8.1", of(align, label_of=lambda words, labels, pieces, n: labels[n] + 1), "write under each id its word"),
        ("8.1", lambda words, labels, pieces, *args: pieces["no"], "KeyError"),
        ("8.2", of(span, put=lambda i, j: i), "expected 2 values, (first, last)"),
        ("8.2", of(span, put=lambda i, j: (i - 99, j)), "are no two places of 18 tokens"),
        ("8.2", of(span, put=lambda i, j: (1000 * i + j, j)), "are no two places"),
        ("8.2", of(span, put=lambda i, j: (i + 0.5, j)), "are no two places"),
        ("8.2", of(span, put=lambda i, j: ([i, i], j)), "expected two places"),
        ("8.2", lambda s, e, a, n: (int(a.int().argmax()),) * 2, "one that is allowed has"),
        ("8.3", lambda *args: place(*args)[0], "window 0 is no pair"),
        ("8.3", lambda *args: [row for row, _ in place(*args)], "window 0 is no pair"),
        ("8.3", lambda *args: [(row, at[0]) for row, at in place(*args)], "expected a list of ids and (i, j)"),
        ("8.3", lambda *args: place(*args)[::-1], "print where each begins"),
        ("8.3", lambda *args: [(row, (math.nan, 1)) for row, _ in place(*args)], "not whole"),
        ("8.3", lambda *args: [(row, (at[0] + 0.5, at[1])) for row, at in place(*args)], "not whole"),
        ("8.3", lambda *args: np.zeros((3, 2)), "expected a list of windows"),
        ("8.3", lambda question, *args: question[99], "IndexError"),
        ("8.4", lambda x, mask: mean(x, mask)[:1], "vectors has shape (1, 4)"),
        ("8.4", lambda x, mask: mean(x, mask) + 0.1, "print its sum and your divisor"),
        ("8.4", lambda x, mask: x @ mask, "RuntimeError"),
    ],
)
def test_other_faults_get_a_plain_message(judge, id, answer, phrase):
    verdict = judge(id, answer)
    assert not verdict.ok and phrase in verdict.message and not verdict.misconception, str(verdict)


def test_8_2_tells_a_worse_span_from_one_that_may_not_be(cases):
    case = cases("8.2", None)[3]                                                        # the highest scores where none is allowed
    due = tuple(np.array(float(n)) for n in judging.run(span_looped, case))
    outside = tuple(np.array(float(case.args[name].argmax())) for name in ("start", "end"))
    assert spans._differs(("first", "last"), case, due, due) == ""
    assert "and may not be" in spans._differs(("first", "last"), case, outside, due)


@pytest.mark.parametrize("id", RIGHT)
def test_nothing_is_diagnosed_by_chance(judge, seed, id):
    """Right answers disturbed at random, or on every second case, are no known mistake."""
    right, rng, calls = RIGHT[id][0], np.random.default_rng(5), itertools.count()

    def disturbed(*args):
        found = right(*args)
        if id == "8.1":
            return tuple(rng.permutation(part) for part in found)
        if id == "8.2":
            return tuple(int(n) for n in rng.integers(1000, 2000, 2))
        if id == "8.3":
            return [(ids, (int(n), int(n) + 1)) for (ids, _), n in zip(found, rng.integers(50, 99, len(found)))]
        return np.asarray(found, dtype=float) * rng.uniform(0.9, 1.1, found.shape) + 0.01

    def now_and_then(*args):
        return right(*args) if next(calls) % 2 else disturbed(*args)

    for answer in (disturbed, now_and_then):
        verdict = judge(id, answer, seed)
        assert not verdict.ok and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("seed", range(70, 75))
def test_8_2_no_span_is_decided_by_rounding(cases, seed):
    for case in cases("8.2", seed):
        start, end, allowed, longest = case.args.values()
        sums = sorted(float(start[i]) + float(end[j]) for i, j in itertools.product(range(len(start)), repeat=2)
                      if allowed[i] and allowed[j] and i <= j < i + longest)
        assert sums and (len(sums) == 1 or sums[-1] - sums[-2] > 0.9 * spans.MARGIN)


def test_8_3_every_token_is_in_a_window_and_rows_fit(cases, seed):
    for case in cases("8.3", seed):
        rows = windows.reference(*case.args.values())
        seen = {id for ids, _ in rows for id in ids}
        assert seen >= {*case.args["context"]} and max(len(ids) for ids, _ in rows) <= case.args["max_len"]
        first, last = case.args["answer"]
        for ids, (i, j) in rows:
            assert (i, j) == (0, 0) or ids[i : j + 1] == case.args["context"][first : last + 1]


# ---------------------------------------------------------------- 8.5 predict

PAID = {
    "head_parameters": 2307,
    "always_the_same": 0.475,
    "token_f1": 0.5,
    "entity_f1": 0.67,
    "standard_error": 0.015,
    "gain_shown": "no",
}


@pytest.mark.parametrize(
    "answer",
    [
        PAID,
        {**PAID, "entity_f1": 2 / 3, "gain_shown": False},
        {**PAID, "standard_error": torch.tensor(0.9 * 0.1 / 400).sqrt(), "always_the_same": np.float32(190 / 400)},
        {**PAID, "gain_shown": "No.", "head_parameters": 2307.0},
    ],
)
def test_8_5_accepts_words_booleans_and_numbers(judge, answer):
    assert judge("8.5", answer).ok, str(judge("8.5", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("head_parameters", 2304, "biases are missing"),
        ("head_parameters", 768, "one for each class"),
        ("head_parameters", 592_899, "Asked is what is added"),
        ("head_parameters", 109_484_547, "Asked is what is added"),
        ("head_parameters", 2500, "too large"),
        ("always_the_same", 1 / 3, "not equally frequent"),
        ("always_the_same", 0.3638, "always says the same"),
        ("always_the_same", 47.5, "in per cent"),
        ("always_the_same", 0.525, "gets wrong"),
        ("token_f1", 0.33, "the precision"),
        ("token_f1", 1, "the recall"),
        ("token_f1", 0, "exact match"),
        ("token_f1", 0.667, "harmonic mean"),
        ("entity_f1", 1, "New York is not New York City"),
        ("entity_f1", 0.83, "nothing for half an entity"),
        ("entity_f1", 0.91, "That counts words"),
        ("entity_f1", 0, "Some are right"),
        ("standard_error", 0.09, "variance of one answer"),
        ("standard_error", 0.3, "standard deviation of one answer"),
        ("standard_error", 0.000225, "variance of the mean"),
        ("standard_error", 0.025, "where it is largest"),
        ("standard_error", 0.0294, "One is asked for"),
        ("gain_shown", "yes", "Is 0 among"),
        ("gain_shown", True, "What gain do numbers like these"),
        ("gain_shown", None, "no prediction yet"),
    ],
)
def test_8_5_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("8.5", {**PAID, key: value})
    assert verdict.points == 5 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_8_5_no_wrong_value_stands_twice_or_is_right_and_no_message_tells(cases):
    asked = exercise("8.5")
    right = asked.reference(**cases("8.5", None)[0].args)
    assert {key: value if isinstance(value, str) else round(value, 3) for key, value in right.items()} == PAID | {"entity_f1": 0.667}
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert len(set(values)) == len(values) and right[item.key] not in values, item.key
        numbers = [value for value in values if not isinstance(value, str)]
        assert all(abs(value - right[item.key]) > 2 * item.tolerance for value in numbers)
        assert not any(str(PAID[item.key]) in message.replace(",", "") for _, message in item.wrongs if numbers)


def test_what_8_5_says_of_the_head_is_what_the_course_adds():
    bert = BERT(BERTConfig(20, 24, 2, 1))
    head = BERTForSequences(bert, 3).head
    assert sum(parameter.numel() for parameter in head.parameters()) == 24 * 3 + 3 == sum(p.numel() for p in nn.Linear(24, 3).parameters())


def test_what_8_5_says_of_f1_is_precision_and_recall():
    rng = np.random.default_rng(0)
    for _ in range(50):
        said, due = (rng.integers(4, size=rng.integers(1, 7)).tolist() for _ in range(2))
        shared = sum(min(said.count(word), due.count(word)) for word in set(said))
        precision, recall = shared / len(said), shared / len(due)
        assert paying.overlap(said, due) == pytest.approx(2 * precision * recall / (precision + recall) if shared else 0)


def test_what_8_5_says_of_the_standard_error_is_the_spread_of_many_tests():
    shares = np.random.default_rng(0).binomial(400, 0.9, 20_000) / 400
    assert shares.std() == pytest.approx(PAID["standard_error"], rel=0.02)


# ---------------------------------------------------------------- 8.6 measure


def sentences_of(words):
    return [part.split() for part in " ".join(words).split(" .") if part.strip()]


def by_features(features, *, counted=True):
    """A multinomial naive Bayes of any features, one added to each count."""

    def answer(train, test, n_labels):
        seen, total = defaultdict(lambda: np.ones(n_labels)), np.ones(n_labels)
        for words, label in train:
            found = features(words)
            for one in found if counted else set(found):
                seen[one][label] += 1
                total[label] += 1
        return [int(sum((np.log(seen[one] / total) for one in (features(words) if counted else set(features(words))) if one in seen),
                        np.zeros(n_labels)).argmax()) for words in test]

    return answer


def thing_of(train):
    """The noun that has to do with labels in most stories: the one that is had, lost, taken, given."""
    found = Counter(words[n + 2] for words, _ in train for n, word in enumerate(words[:-2]) if word in ("had", "took", "lost", "found"))
    return found.most_common(1)[0][0]


def read_event(train, test, n_labels):
    """Words with their places in the last sentence that names the thing, all in one naive Bayes."""
    thing = thing_of(train)

    def features(words):
        last = [sentence for sentence in sentences_of(words) if thing in sentence][-1:]
        return [key for sentence in last for key in (*enumerate(sentence[:4]), *[tuple(sentence[:3])] * 3)]

    return by_features(features)(train, test, n_labels)


def read_event_as_a_bag(train, test, n_labels):
    """The words of the last sentence that names the thing, in no order."""
    thing = thing_of(train)

    def features(words):
        return [word for last in [sentence for sentence in sentences_of(words) if thing in sentence][-1:] for word in last]

    return by_features(features)(train, test, n_labels)


def read_logistic(train, test, n_labels):
    """Logistic regression on what the sentence begins with, by gradient descent, as a tensor."""
    thing = thing_of(train)

    def keys(words):
        last = ([["-"] * 3] + [sentence for sentence in sentences_of(words) if thing in sentence])[-1]
        return [(0, last[0]), (1, *last[:2]), (2, *last[:3])]

    known = {key: n for n, key in enumerate(sorted({key for words, _ in train for key in keys(words)}))}

    def table(texts):
        return torch.stack([sum((F.one_hot(torch.tensor(known[key]), len(known)) for key in keys(words) if key in known),
                                torch.zeros(len(known))) for words in texts]).float()

    x, y = table(words for words, _ in train), torch.tensor([label for _, label in train])
    model = nn.Linear(len(known), n_labels)
    optimizer = torch.optim.Adam(model.parameters(), 0.3)
    for _ in range(25):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model(table(test)).argmax(1)


def pairs(words):
    return [*words, *itertools.pairwise(words)]


def last_words(words):
    return sentences_of(words)[-1]


def read_last_name(train, test, n_labels):
    """The person who is named last."""

    def last(words):
        return [word for word in words if word[0].isupper() and word != "The"][-1]

    seen = defaultdict(Counter)
    for words, label in train:
        seen[last(words)][label] += 1
    return [seen[last(words)].most_common(1)[0][0] for words in test]


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [read_event, read_logistic])
def test_8_6_accepts_other_ways(judge, seed, answer):
    verdict = judge("8.6", answer, seed)
    assert verdict.ok and "hidden stories are right" in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("answer", "points", "name", "phrase"),
    [
        (lambda train, test, n: [1] * len(test), 0, "always the same", "the same label"),
        (lambda train, test, n: [k % 3 for k in range(len(test))], 0, "near chance", "in their order"),
        (lambda train, test, n: read_event(train, test, n)[::-1], 0, "near chance", "in their order"),
        (by_features(lambda words: words), 1, "all sentences alike", "Which of them decides"),
        (by_features(lambda words: words, counted=False), 1, "all sentences alike", "in four and more"),
        (by_features(last_words), 2, "last sentence alone", "changes nothing about who has it"),
        (by_features(lambda words: [*enumerate(words[::-1][:8])]), None, "last sentence alone", "elsewhere"),
        (read_event_as_a_bag, 2, "", "one that you have wrong"),
        (read_last_name, 1, "last sentence alone", "elsewhere"),
    ],
)
def test_8_6_names_what_went_wrong(judge, seed, answer, points, name, phrase):
    verdict = judge("8.6", answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert verdict.points == points if points is not None else verdict.points < 3


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda train, test, n: 3, "expected a list of labels, got an int"),
        (lambda train, test, n: [0], "you return 1 labels, and there are 600"),
        (lambda train, test, n: [n] * len(test), "from 0 to 2, got 3"),
        (lambda train, test, n: [0.5] * len(test), "got 0.5"),
        (lambda train, test, n: [math.nan] * len(test), "got nan"),
        (lambda train, test, n: ["a"] * len(test), "got a str"),
        (lambda train, test, n: [None] * len(test), "whole numbers"),
        (lambda train, test, n: torch.zeros(len(test), n), "got one array of shape (600, 3)"),
        (lambda train, test, n: train[999], "IndexError"),
        (lambda train, test, n: train.clear(), "is a `return` missing?"),
    ],
)
def test_8_6_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("8.6", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", [80, 81])
def test_8_6_ways_are_far_apart_on_every_draw(seed):
    (case,) = exercise("8.6").inputs(draws("8.6", seed))
    due = np.array(case.hidden["labels"])

    def share(way):
        return np.mean(np.array(way(*case.args.values())) == due)

    first, words, event = reading.MARKS
    assert min(np.bincount(due) / len(due)) > 0.28 and first > max(np.bincount(due) / len(due)) + 0.04
    assert share(read_event) > event + 0.01 and share(reading.reference) > event + 0.01
    assert first < share(by_features(lambda text: text)) < words - 0.02 < share(by_features(last_words)) < event


def test_8_6_labels_are_true_and_stories_differ(cases, seed):
    """The town's own judge finds the line that says the label true, and what another label says false."""
    (case,) = cases("8.6", seed)
    train, test, n_labels = case.args.values()
    told = [tuple(words) for words, _ in train] + [tuple(words) for words in test]
    assert len(told) == len(set(told)) == reading.N_TRAIN + reading.N_HIDDEN and n_labels == reading.N_LABELS
    names, thing = sorted({word for words in told for word in words} & {*reading.PEOPLE}), case.hidden["thing"]
    said = defaultdict(set)
    for words, label in train[:60]:
        text = " ".join(words).replace(" .", ".")
        asserted = [check_story(f"{text} {name} has the {thing}.")[-1].asserted for name in names]
        assert asserted.count(True) <= 1
        said[label].add(asserted.index(True) if True in asserted else "nobody")
    assert len(names) == 2 and all(len(who) == 1 for who in said.values()) and len({*map(str, said.values())}) == 3
