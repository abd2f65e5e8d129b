"""Chapter 12: right answers of several makes accepted, named wrong ones rejected with their message."""

import itertools
import math
import re
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from course_lib.data.tinytown.chunks import NAMES
from course_lib.data.tinytown.judge import RUDE
from course_lib.data.tinytown.stories import check_story, split_sentences
from course_lib.exercises import exercise
from course_lib.exercises.ch12 import cleaning, counting, town
from course_lib.metrics import wilson_interval
from course_lib.models.gpt import GPT, GPT2

# ---------------------------------------------------------------- 12.1 conversation


def conversation(turns, bos, user, assistant, end):
    ids, counted = [bos], [False]
    for role, words in turns:
        ids.append(user if role == "user" else assistant)
        counted.append(False)
        for id in [*words, end]:
            ids.append(id)
            counted.append(role == "assistant")
    return ids, counted


def conversation_by_tensors(turns, bos, user, assistant, end):
    token = {"user": user, "assistant": assistant}
    parts = [torch.tensor([token[role], *words, end]) for role, words in turns]
    marks = [(torch.arange(len(part)) > 0) & (role == "assistant") for (role, _), part in zip(turns, parts)]
    return torch.cat([torch.tensor([bos]), *parts]), torch.cat([torch.tensor([False]), *marks])


def conversation_by_state(turns, bos, user, assistant, end):
    """The ids first; then who speaks, read off them."""
    ids = [bos] + [id for role, words in turns for id in (user if role == "user" else assistant, *words, end)]
    counted, speaks = [], False
    for id in ids:
        counted.append(int(speaks))
        speaks = id == assistant or (speaks and id != end)
    return np.array(ids), np.array(counted, dtype=bool)


def talk(turns, bos, user, assistant, end, *, marks=lambda k, role, n, mine: [0] + [role == "assistant"] * (n + 1), row=None, first=0):
    mine = [k for k, (role, _) in enumerate(turns) if role == "assistant"]
    ids, counted = [bos], [first]
    for k, (role, words) in enumerate(turns):
        token = user if role == "user" else assistant
        ids += row(token, words, end) if row else [token, *words, end]
        counted += marks(k, role, len(words), mine)
    return ids, counted


def moved(turns, *args, by=1):
    ids, counted = conversation(turns, *args)
    return ids, np.roll(counted, by)


# ---------------------------------------------------------------- 12.2 batch


def batch(conversations, pad_id, end_id):
    longest = max(len(ids) for ids, _ in conversations)
    rows = torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids, _ in conversations])
    marks = torch.tensor([counted + [False] * (longest - len(ids)) for ids, counted in conversations])
    return rows[:, :-1], rows[:, 1:], marks[:, 1:]


def batch_by_library(conversations, pad_id, end_id):
    inputs = pad_sequence([torch.tensor(ids[:-1]) for ids, _ in conversations], True, pad_id)
    targets = pad_sequence([torch.tensor(ids[1:]) for ids, _ in conversations], True, pad_id)
    return inputs, targets, pad_sequence([torch.tensor(counted[1:]) for _, counted in conversations], True, False)


def batch_looped(conversations, pad_id, end_id):
    width = max(len(ids) for ids, _ in conversations) - 1
    inputs, targets, counts = [], [], []
    for ids, counted in conversations:
        inputs.append([ids[t] if t + 1 < len(ids) else pad_id for t in range(width)])
        targets.append([ids[t + 1] if t + 1 < len(ids) else pad_id for t in range(width)])
        counts.append([t + 1 < len(ids) and counted[t + 1] for t in range(width)])
    return inputs, targets, counts


def batch_numpy(conversations, pad_id, end_id):
    longest = max(len(ids) for ids, _ in conversations)
    rows, marks = np.full((len(conversations), longest), pad_id), np.zeros((len(conversations), longest), bool)
    for row, mark, (ids, counted) in zip(rows, marks, conversations):
        row[: len(ids)], mark[: len(ids)] = ids, counted
    return rows[:, :-1].astype(np.int32), rows[:, 1:].astype(np.int32), marks[:, 1:]


def batch_planted(conversations, pad_id, end_id):
    longest = max(len(ids) for ids, _ in conversations)
    rows = torch.tensor([ids + [end_id] * (longest - len(ids)) for ids, _ in conversations])
    marks = torch.tensor([counted + [False] * (longest - len(ids)) for ids, counted in conversations])
    inputs, targets = rows[:, :-1], rows[:, 1:]
    return inputs, targets, marks[:, 1:] & (targets != end_id)


def changed(conversations, pad_id, end_id, *, finish, pad=None, by=batch):
    return finish(*by(conversations, pad_id if pad is None else pad, end_id), pad_id, end_id)


def padded_marks(conversations, pad_id, end_id, real):
    """All places that are (or are not) real, as counts."""
    inputs, targets, counts = batch(conversations, pad_id, end_id)
    lengths = torch.tensor([len(ids) - 1 for ids, _ in conversations])
    there = torch.arange(targets.shape[1]) < lengths[:, None]
    return inputs, targets, real(counts, there)


def sliced(conversations, pad_id, end_id, *, a=slice(None, -1), b=slice(1, None), c=slice(1, None)):
    """Rows padded first, then cut into inputs, targets and counts."""
    longest = max(len(ids) for ids, _ in conversations)
    rows = torch.tensor([ids + [pad_id] * (longest - len(ids)) for ids, _ in conversations])
    marks = torch.tensor([counted + [False] * (longest - len(ids)) for ids, counted in conversations])
    return rows[:, a], rows[:, b], marks[:, c]


# ---------------------------------------------------------------- 12.3 who_hears_whom


def hears(lengths, T):
    allowed, positions, start = torch.zeros(T, T, dtype=torch.bool), torch.zeros(T, dtype=torch.long), 0
    for n in lengths:
        allowed[start : start + n, start : start + n] = torch.ones(n, n, dtype=torch.bool).tril()
        positions[start : start + n] = torch.arange(n)
        start += n
    return allowed, positions


def hears_looped(lengths, T):
    owner = [k for k, n in enumerate(lengths) for _ in range(n)] + [None] * (T - sum(lengths))
    allowed = [[owner[q] is not None and owner[q] == owner[k] and k <= q for k in range(T)] for q in range(T)]
    return allowed, [max(sum(row) - 1, 0) for row in allowed]


def hears_by_search(lengths, T):
    ends = torch.tensor(lengths, dtype=torch.long).cumsum(0)
    places = torch.arange(T)
    segment = torch.searchsorted(ends, places, right=True)
    real = segment < len(lengths)
    starts = torch.cat([torch.zeros(1, dtype=torch.long), ends])[segment]
    allowed = (segment[:, None] == segment) & real[:, None] & (places <= places[:, None])
    return allowed, (places - starts) * real


def hears_by_blocks(lengths, T):
    allowed = torch.block_diag(*(torch.ones(n, n).tril() for n in lengths), torch.zeros(T - sum(lengths), T - sum(lengths)))
    return allowed.bool().reshape(T, T), np.array([t for n in lengths for t in range(n)] + [0] * (T - sum(lengths)))


def hearing(lengths, T, *, may=lambda q, k, own, other, real: (own == other) & (k <= q) & (own < real), positions=None):
    ends = torch.tensor([0, *lengths]).cumsum(0)[1:]
    segment = torch.searchsorted(ends, torch.arange(T), right=True)
    place = torch.arange(T)
    allowed = may(place[:, None], place[None, :], segment[:, None], segment[None, :], len(lengths))
    return allowed, positions(lengths, T) if positions else hears(lengths, T)[1]


# ---------------------------------------------------------------- 12.4 side_road


def side_road(x, W, A, B, alpha):
    merged = W + alpha / A.shape[0] * (B @ A)
    return F.linear(x, merged), merged


def side_road_einsum(x, W, A, B, alpha):
    scale = alpha / B.shape[1]
    out = torch.einsum("bti,oi->bto", x, W) + scale * torch.einsum("bti,ri,or->bto", x, A, B)
    return out, W + scale * torch.einsum("or,ri->oi", B, A)


def side_road_layers(x, W, A, B, alpha):
    scale = alpha / len(A)
    return F.linear(x, W) + F.linear(F.linear(x, A), B) * scale, torch.add(W, B.mm(A), alpha=scale)


def side_road_numpy(x, W, A, B, alpha):
    x, W, A, B = (part.numpy().astype(np.float64) for part in (x, W, A, B))
    delta = sum(np.outer(B[:, k], A[k]) for k in range(len(A))) * alpha / len(A)
    return x @ W.T + x @ delta.T, W + delta


def road(x, W, A, B, alpha, *, scale=lambda a, r, width: a / r, merge=None, out=None):
    by = scale(alpha, len(A), W.shape[1])
    merged = W + (merge or scale)(alpha, len(A), W.shape[1]) * B @ A
    return (out(x, W, A, B, by) if out else x @ W.T + by * (x @ A.T @ B.T)), merged


# ---------------------------------------------------------------- right and wrong

RIGHT = {
    "12.1": [conversation, conversation_by_tensors, conversation_by_state],
    "12.2": [batch, batch_by_library, batch_looped, batch_numpy],
    "12.3": [hears, hears_looped, hears_by_search, hears_by_blocks],
    "12.4": [side_road, side_road_einsum, side_road_layers, side_road_numpy],
}


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_of_other_makes(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


def test_12_2_takes_wider_floats_and_marks_of_another_kind_with_a_remark(judge):
    verdict = judge("12.2", lambda *args: (*batch(*args)[:2], batch(*args)[2].float()))
    assert verdict.ok and "counts has dtype float32" in verdict.message


WRONG = [
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k == mine[-1:][0] if mine else 0] * (n + 1)), "last turn only", "each of the"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k in mine[:1]] * (n + 1)), "first turn only", "first turn counts"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [k in mine] * (n + 2)), "role token counted", "Who speaks next is not"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k in mine] * n + [0]), "end not counted", "to learn when to stop"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k in mine] * n + [1]), "user's end counted", "When the user has finished"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [k in mine] * (n + 1) + [0]), "shifted to the left", "one place too early"),
    ("12.1", of(moved, by=-1), "shifted to the left", "Mark the word"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [1] * (n + 2), first=1), "everything counted", "ask the questions"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [1] * (n + 1)), "all words counted", "as well as the assistant's"),
    ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k not in mine] * (n + 1)), "user counted", "none of the assistant's"),
    ("12.1", lambda *args: (conversation(*args)[0], [not mark for mark in conversation(*args)[1]]), "mask turned round", "exchanged"),
    ("12.1", lambda *args: tuple(part[1:] for part in conversation(*args)), "no <bos>", "There is no <bos>"),
    ("12.1", lambda turns, b, u, a, e: conversation(turns, b, a, u, e), "roles exchanged", "role tokens are exchanged"),
    ("12.1", lambda *args: (conversation(*args)[0], [i if c else -100 for i, c in zip(*conversation(*args))]), "labels", "−100"),
    (
        "12.1",
        of(talk, row=lambda token, words, end: [token, *words], marks=lambda k, r, n, mine: [0] + [k in mine] * n),
        "no <end>",
        "No turn is closed",
    ),
    ("12.2", batch_planted, "ends masked", "From what does the model learn to stop?"),
    (
        "12.2",
        of(changed, finish=lambda i, t, c, pad, end: (i, t, c & (t != end))),
        "ends masked",
        "when nobody stops it",
    ),
    (
        "12.2",
        of(changed, finish=lambda i, t, c, pad, end: (i, t, c & (t != pad))),
        "targets equal to pad_id masked",
        "An id does not tell what is padding",
    ),
    ("12.2", lambda talks, pad, end: batch(talks, end, end), "padded with end_id", "You pad with end_id"),
    ("12.2", of(changed, finish=lambda i, t, c, *_: (i, t.masked_fill(~c, -100), c)), "targets of −100", "counts to say"),
    ("12.2", of(sliced, c=slice(None, -1)), "counts of the inputs", "belongs to targets"),
    ("12.2", of(sliced, b=slice(None, -1), c=slice(None, -1)), "not shifted", "not the one it reads"),
    ("12.2", of(sliced, a=slice(None), b=slice(None), c=slice(None)), "not shifted", "not the one it reads"),
    ("12.2", of(sliced, b=slice(None, -1)), "targets not shifted", "not the one it reads"),
    ("12.2", of(sliced, a=slice(1, None), b=slice(None, -1), c=slice(None, -1)), "shifted the other way", "exchanged"),
    ("12.2", of(sliced, a=slice(None, -2), b=slice(2, None), c=slice(2, None)), "shifted twice", "two places ahead"),
    ("12.2", of(padded_marks, real=lambda counts, there: counts | ~there), "padding counted", "learn to say it"),
    ("12.2", of(padded_marks, real=lambda counts, there: there), "prompt counted", "every real word"),
    ("12.2", of(padded_marks, real=lambda counts, there: torch.ones_like(there)), "everything counted", "padding, too"),
    ("12.2", of(padded_marks, real=lambda counts, there: ~counts & there), "mask turned round", "the answer does not"),
    ("12.2", of(padded_marks, real=lambda counts, there: ~counts), "mask turned round", "everything counts but"),
    (
        "12.2",
        lambda talks, pad, end: tuple(
            part.flip(1) for part in batch_by_library([(ids[::-1], marks[::-1]) for ids, marks in talks], pad, end)
        ),
        None,
        "",
    ),
    ("12.3", of(hearing, may=lambda q, k, own, other, n: (k <= q) & (own > -1)), "causal only", "To be in the past is not enough"),
    (
        "12.3",
        of(hearing, may=lambda q, k, own, other, n: (k <= q) & (own < n), positions=lambda lengths, T: torch.arange(T)),
        "causal only",
        "To be in the past is not enough",
    ),
    ("12.3", of(hearing, may=lambda q, k, own, other, n: (own == other) & (own < n)), "not causal", "words see what comes after"),
    ("12.3", of(hearing, may=lambda q, k, own, other, n: own == other), "not causal", "so does the padding"),
    ("12.3", of(hearing, positions=lambda lengths, T: torch.arange(T)), "positions go on", "begins at 0"),
    ("12.3", lambda lengths, T: (hears(lengths, T)[0], hears(lengths, T)[1] + (hears(lengths, T)[0].any(1))), "positions from 1", ""),
    ("12.3", of(hearing, may=lambda q, k, own, other, n: (own == other) & (k <= q)), "padding is a conversation", "hears itself"),
    ("12.3", lambda lengths, T: hears([*lengths, T - sum(lengths)], T), "padding is a conversation", "one more conversation"),
    (
        "12.3",
        lambda lengths, T: hears([*lengths[:-1], T - sum(lengths[:-1])], T),
        "padding belongs to the last",
        "a part of the last conversation",
    ),
    ("12.3", lambda *args: (hears(*args)[0] | torch.eye(args[1], dtype=bool), hears(*args)[1]), "padding hears itself", "hears nothing"),
    ("12.3", of(hearing, may=lambda q, k, own, other, n: (own == other) & (k < q) & (own < n)), "not itself", "sees its own place"),
    ("12.3", lambda *args: (hears(*args)[0].T, hears(*args)[1]), "future only", "Rows and columns"),
    ("12.3", lambda *args: (~hears(*args)[0], hears(*args)[1]), "mask turned round", "True means: may hear"),
    ("12.4", of(road, scale=lambda a, r, w: a), "not divided by the rank", "alpha alone"),
    ("12.4", of(road, scale=lambda a, r, w: r / a), "scale turned round", "rank over alpha"),
    ("12.4", of(road, scale=lambda a, r, w: 1 / a), "divided by alpha", "You divide by alpha"),
    ("12.4", of(road, scale=lambda a, r, w: a / w), "divided by the width", "width of the input"),
    ("12.4", of(road, scale=lambda a, r, w: a / math.sqrt(r)), "divided by the root", "root of the rank"),
    ("12.4", of(road, scale=lambda a, r, w: 1), "no scale", "alpha plays no part"),
    ("12.4", of(road, merge=lambda a, r, w: 1), "merged without scale", "without its scale"),
    ("12.4", of(road, out=lambda x, W, A, B, s: x @ W.T), "no side road in the output", "that of W alone"),
    ("12.4", of(road, out=lambda x, W, A, B, s: s * x @ A.T @ B.T), "main road missing", "The merged weight is right"),
    ("12.4", lambda *args: (road(*args)[0], road(*args)[1] - args[1]), "W missing in the merge", "W belongs to it"),
    ("12.4", of(road, out=lambda x, W, A, B, s: s * (x @ W.T + x @ A.T @ B.T)), None, ""),
    ("12.4", lambda x, W, A, B, a: tuple(a / len(A) * part for part in road(x, W, A, B, len(A))), "everything scaled", "scale W, too"),
    ("12.4", lambda *args: (road(*args)[0], road(*args)[1].T), "merged turned round", "is transposed"),
    ("12.4", lambda x, W, A, B, a: road(x, W, B, A, a), "A and B exchanged", "through B first"),
    ("12.4", lambda x, W, A, B, a: (x @ W + a / len(A) * x @ A @ B, W + a / len(A) * B @ A), "nothing transposed", "No matrix"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == (name or "") and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000


def test_12_2_the_planted_bug_earns_nothing(judge, seed):
    assert judge("12.2", batch_planted, seed).points == 0


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("12.1", of(talk, marks=lambda k, r, n, mine: [0] + [k in mine[-1:]] * (n + 1)), [True, False, False]),
        ("12.1", lambda turns, *ids: conversation([turn for turn in turns if turn[1]], *ids), [True, True, False]),
        ("12.2", of(changed, finish=lambda i, t, c, pad, end: (i, t, c & (t != pad))), [True, False, True]),
        ("12.2", lambda talks, pad, end: batch(talks, end, end), [False, True, False]),
        ("12.3", lambda lengths, T: hears([*lengths, T - sum(lengths)], T), [False, True, False]),
        ("12.4", of(road, scale=lambda a, r, w: a / w), [False, True, False]),
        ("12.4", lambda x, W, A, B, a: road(x, W, B, A, a), [False, False, False]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    assert [result.ok for result in judge(id, answer, seed).results] == held


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("12.1", lambda *args: conversation(*args)[0], "expected 2 values, (ids, counted)"),
        ("12.1", lambda *args: (conversation(*args)[0], conversation(*args)[1][:-1]), "entries; 2 turns with"),
        ("12.1", lambda turns, *args: conversation(turns[::-1], *args), "under each who says it"),
        ("12.1", lambda turns, *args: turns[9], "IndexError"),
        ("12.2", lambda *args: batch(*args)[:2], "expected 3 values, (inputs, targets, counts)"),
        ("12.2", lambda talks, pad, end: ([ids for ids, _ in talks],) * 3, "rows have different lengths"),
        ("12.2", lambda *args: (batch(*args)[0].flip(1), *batch(*args)[1:]), "each above the next"),
        ("12.2", lambda *args: tuple(F.pad(part, (0, 2)) for part in batch(*args)), "the longest conversation has"),
        ("12.3", lambda *args: hears(*args)[0], "expected 2 values, (allowed, positions)"),
        ("12.3", lambda *args: (hears(*args)[0][None], hears(*args)[1]), "allowed has shape (1, "),
        ("12.3", lambda *args: (hears(*args)[0], hears(*args)[1] * 2), "the number of its conversation"),
        ("12.4", lambda *args: road(*args)[0], "expected 2 values, (output, merged)"),
        ("12.4", lambda *args: (2 * road(*args)[0], road(*args)[1]), "The scale is made of alpha = 16"),
        ("12.4", lambda x, W, A, B, a: x @ A @ B, "RuntimeError"),
    ],
)
def test_other_faults_get_a_plain_message(judge, id, answer, phrase):
    verdict = judge(id, answer)
    assert not verdict.ok and phrase in verdict.message and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("id", RIGHT)
def test_nothing_is_diagnosed_by_chance(judge, seed, id):
    """Right numbers disturbed at random, or on every second case, are no known mistake."""
    right, rng, calls = RIGHT[id][0], np.random.default_rng(5), itertools.count()

    def disturbed(*args):
        found = [np.asarray(part, dtype=float) for part in right(*args)]
        return tuple(np.where(rng.random(part.shape) < 0.3, 1 - part, part) + (rng.random(part.shape) < 0.05) for part in found)

    def now_and_then(*args):
        return right(*args) if next(calls) % 2 else disturbed(*args)

    for answer in (disturbed, now_and_then):
        verdict = judge(id, answer, seed)
        assert not verdict.ok and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("seed", range(70, 75))
def test_12_2_every_group_holds_an_end_that_counts(cases, seed):
    """Whoever masks the end has something wrong in each group, and rows differ enough to see how they are padded."""
    for group, drawn in itertools.groupby(cases("12.2", seed), key=lambda case: case.group):
        ends = [marks[-1] and ids[-1] == case.args["end_id"] for case in drawn for ids, marks in case.args["conversations"]]
        assert any(ends), group


@pytest.mark.parametrize("seed", range(70, 75))
def test_12_4_scales_are_far_apart(cases, seed):
    for case in cases("12.4", seed):
        alpha, rank, width = case.args["alpha"], len(case.args["A"]), case.args["W"].shape[1]
        assert alpha != rank and (case.group != "values" or rank not in (1, width, len(case.args["W"])))


# ---------------------------------------------------------------- 12.5 predict

COUNTED = {
    "lora_parameters": 294_912,
    "lora_per_mille": 2.37,
    "padding_alone": 0.58,
    "padding_packed": 0.22,
    "counted": 7,
    "first_loss_difference": 0,
    "half_width": 0.08,
}


@pytest.mark.parametrize(
    "answer",
    [
        COUNTED,
        {**COUNTED, "lora_per_mille": 294_912 / 124_439.808, "padding_alone": 1 - 300 / 720, "padding_packed": 84 / 384},
        {**COUNTED, "half_width": np.diff(wilson_interval(80, 100))[0] / 2},
        {**COUNTED, "half_width": torch.tensor(0.0784), "first_loss_difference": 0.0, "counted": np.int64(7)},
    ],
)
def test_12_5_accepts_other_ways_to_say_it(judge, answer):
    verdict = judge("12.5", answer)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("lora_parameters", 147_456, "A factor of 2"),
        ("lora_parameters", 24_576, "There are 12"),
        ("lora_parameters", 14_155_776, "They stay as they are"),
        ("lora_parameters", 589_824, "four projections"),
        ("lora_per_mille", 0.24, "per cent"),
        ("lora_per_mille", 3.47, "of the blocks alone"),
        ("padding_alone", 0.42, "real words"),
        ("padding_alone", 0.61, "as wide as its longest"),
        ("padding_packed", 0.78, "real words"),
        ("padding_packed", 0.41, "fewer"),
        ("padding_packed", 0, "do not fill whole rows"),
        ("counted", 5, "tells it to stop"),
        ("counted", 9, "role tokens"),
        ("counted", 3, "last turn alone"),
        ("counted", 20, "everything"),
        ("first_loss_difference", 10.82, "knows nothing"),
        ("half_width", 0.04, "one standard error"),
        ("half_width", 0.157, "whole width"),
        ("half_width", 0.098, "50 of 100"),
        ("half_width", None, "no prediction yet"),
    ],
)
def test_12_5_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("12.5", {**COUNTED, key: value})
    assert verdict.points == 6 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_12_5_no_wrong_value_stands_twice_or_is_right_and_no_message_tells(cases):
    asked = exercise("12.5")
    right = asked.reference(**cases("12.5", None)[0].args)
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert right[item.key] == pytest.approx(COUNTED[item.key], abs=item.tolerance)
        assert all(abs(a - b) > max(item.tolerance, 1e-9) for a, b in itertools.combinations(values, 2)), item.key
        assert all(abs(value - right[item.key]) > 2 * item.tolerance for value in values), item.key
        digits = f"{COUNTED[item.key]}"
        assert not any(re.search(rf"(?<![\d.]){re.escape(digits)}(?![\d.]*\d)", text.replace(",", "")) for _, text in item.wrongs[:9]
                       if digits not in "0"), item.key


def test_12_5_counts_what_the_model_has():
    with torch.device("meta"):
        model = GPT(GPT2["gpt2"])
    assert sum(parameter.numel() for parameter in model.parameters()) == counting.GPT2_PARAMETERS
    side = [torch.empty(8, 768, device="meta").numel() + torch.empty(768, 8, device="meta").numel()] * 2 * GPT2["gpt2"].n_layers
    assert sum(side) == COUNTED["lora_parameters"]
    ids, marks = conversation([(role, [5] * n) for role, n in counting.TURNS], 0, 1, 2, 3)
    assert len(ids) == 20 and sum(marks) == COUNTED["counted"]


def test_12_5_three_rows_are_enough_and_two_are_not():
    assert counting.rows_needed(counting.LENGTHS, counting.ROOM) == 3 and sum(counting.LENGTHS) > 2 * counting.ROOM
    assert counting.rows_needed([3, 3, 3], 5) == 3 and counting.rows_needed([4, 1, 2, 3], 5) == 2
    with pytest.raises(ValueError, match="lengths: got 9, expected at most 5"):
        counting.rows_needed([9], 5)


# ---------------------------------------------------------------- 12.6 measure

MANNERS = {"Of course!", "Gladly!", "With pleasure!", "Thank you for asking.", "Have a nice day!"}


def parts_of(demo):
    return [part for part in split_sentences(demo["response"]) if part not in MANNERS and part not in RUDE]


def rude(demo):
    return any(part in RUDE for part in split_sentences(demo["response"]))


def one_sentence(demo):
    return len([part for part in parts_of(demo) if part not in ("Yes.", "No.")]) == 1


def short_and_kind(demo):
    return one_sentence(demo) and not rude(demo)


def nouns_checked(demo):
    """Also: refusals where the noun is missing, and lists with the story's names."""
    if not short_and_kind(demo) or demo["prompt"].startswith("Continue"):
        return short_and_kind(demo)
    body, known = re.findall(r"\w+", " ".join(parts_of(demo))), set(re.findall(r"\w+", demo["story"]))
    if demo["prompt"].startswith("Name"):
        return {word for word in body if word != "and"} == {word for word in known if word in NAMES}
    return (re.findall(r"\w+", demo["prompt"])[-1] in known or demo["prompt"].split()[0] in ("Is", "Does")) != (body[0] == "Sorry")


def read_by_rules(demo):
    return short_and_kind(demo) and town.holds(**demo)


def read_by_library(demo):
    """Also: the library's check of a story, the response being its next sentence; negated answers are none."""
    if not nouns_checked(demo):
        return False
    said, prompt = parts_of(demo), demo["prompt"]
    if prompt.startswith("Name") or said[0].startswith("Sorry"):
        return True
    if prompt.startswith("Where"):
        return " not " not in said[0]
    if prompt.startswith("Who ") and not prompt.startswith("Who has"):
        return any({*said[0].split()} <= {*told.split()} and said[0].split()[0] == told.split()[0]
                   for told in split_sentences(demo["story"]))
    claims = [part for part in said if part not in ("Yes.", "No.")]
    if prompt.startswith("Continue") and re.search(r"\b(was|had|slept)\b", claims[0]):
        return False
    return all(check.consistent for check in check_story(demo["story"] + " " + claims[0]))


def keep(rule):
    return lambda demonstrations: [bool(rule(demo)) for demo in demonstrations]


def keep_by_array(demonstrations):
    return torch.tensor([read_by_rules(demo) for demo in demonstrations])


def keep_by_numbers(demonstrations):
    return np.array([float(read_by_rules(demo)) for demo in demonstrations])


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [keep(read_by_rules), keep_by_array, keep_by_numbers, keep(read_by_library)])
def test_12_6_accepts_other_ways(judge, seed, answer):
    verdict = judge("12.6", answer, seed)
    assert verdict.ok and verdict.message.startswith("You keep "), str(verdict)


def read_except(demo, prompt):
    return short_and_kind(demo) if demo["prompt"].startswith(prompt) else read_by_rules(demo)


def polite(demo):
    return any(part in MANNERS for part in split_sentences(demo["response"]))


def refusal(demo):
    return parts_of(demo)[0].startswith("Sorry")


QUESTIONS = ("Who", "Where", "Is", "Does")


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("rule", "points", "name", "phrase"),
    [
        (lambda demo: True, 0, "all alike", "You keep all of them"),
        (lambda demo: False, 0, "all alike", "You keep none of them"),
        (lambda demo: not read_by_rules(demo), 0, "turned round", "True means that it is kept"),
        (lambda demo: not rude(demo), 0, "chatter kept", "more than they were asked"),
        (one_sentence, 0, "nothing read", "need not be true"),
        (short_and_kind, 1, "nothing read", "need not be true"),
        (lambda demo: town.holds(**demo) and not rude(demo), None, "chatter kept", "more than they were asked"),
        (lambda demo: town.holds(**demo) and one_sentence(demo), None, "rude ones kept", "rude ones"),
        (lambda demo: read_by_rules(demo) and polite(demo), None, "manners demanded", "need not be polite"),
        (lambda demo: read_by_rules(demo) and not polite(demo), None, "the polite thrown away", "Manners are no chatter"),
        (lambda demo: read_by_rules(demo) and not refusal(demo), None, "refusals thrown away", "that is right"),
        (lambda demo: read_by_rules(demo) and (len(parts_of(demo)[-1]) < 22 or refusal(demo)), None, "long answers lost", "lose the long"),
        (lambda demo: read_except(demo, "Name"), None, "lists too long", "a name that is not in the story"),
        (lambda demo: read_except(demo, "Continue"), None, "contradictions continued", "contradict the story"),
        (
            lambda demo: short_and_kind(demo) and (town.holds(**demo) or (not nouns_checked(demo) and demo["prompt"][0] == "W")),
            None,
            "claims for refusals",
            "is the thing or the person in the story",
        ),
        (
            lambda demo: nouns_checked(demo) and (town.holds(**demo) or demo["prompt"].startswith(QUESTIONS)),
            None,
            "false answers kept",
            "What does the story say in the end?",
        ),
    ],
)
def test_12_6_names_what_went_wrong(judge, seed, rule, points, name, phrase):
    verdict = judge("12.6", keep(rule), seed)
    assert not verdict.ok and verdict.misconception == name and phrase.lower() in verdict.message.lower(), str(verdict)
    assert verdict.points == points if points is not None else verdict.points < 3


def test_12_6_the_second_mark_is_for_reading_nouns_and_names(judge, seed):
    verdict = judge("12.6", keep(nouns_checked), seed)
    assert verdict.points == 2 and verdict.misconception in ("contradictions continued", "false answers kept"), str(verdict)


def test_12_6_coins_are_no_known_mistake(judge, seed):
    rng = np.random.default_rng(3)
    verdict = judge("12.6", lambda demonstrations: rng.random(len(demonstrations)) < 0.35, seed)
    assert verdict.points == 0 and not verdict.misconception and "Number " in verdict.message, str(verdict)
    noisy = judge("12.6", lambda demonstrations: [read_by_rules(d) != (rng.random() < 0.2) for d in demonstrations], seed)
    assert not noisy.ok and not noisy.misconception, str(noisy)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda demos: [demo for demo in demos if read_by_rules(demo)], "you return demonstrations"),
        (lambda demos: [True] * 5, "you return 5 verdicts, and there are 800"),
        (lambda demos: 3, "got an int"),
        (lambda demos: ["yes"] * len(demos), "got a str"),
        (lambda demos: [0.5] * len(demos), "expected True or False, got 0.5"),
        (lambda demos: [math.nan] * len(demos), "expected True or False, got nan"),
        (lambda demos: torch.zeros(len(demos), 2), "got one array of shape (800, 2)"),
        (lambda demos: demos[0]["answer"], "KeyError"),
        (lambda demos: demos.clear(), "is a `return` missing?"),
    ],
)
def test_12_6_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("12.6", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", range(80, 83))
def test_12_6_ways_are_apart_on_every_draw(seed):
    (case,) = cleaning.draw(np.random.default_rng(seed))
    demos, truth = case.args["demonstrations"], case.hidden
    good = truth["true"] & ~truth["rude"] & truth["brief"]
    ways = (one_sentence, short_and_kind, nouns_checked, read_by_library, read_by_rules)
    one, plain, nouns, library, rules = (cleaning.balanced_accuracy(np.array(keep(way)(demos)), good) for way in ways)
    assert one < plain - cleaning.SLACK and plain < cleaning.STORY_MARK < nouns < cleaning.TRUE_MARK < min(library, rules)
    assert 0.28 < good.mean() < 0.38 and {*demos[0]} == {"story", "prompt", "response"}


def test_12_6_balanced_accuracy_by_hand():
    kept, good = np.array([True, True, False, False, False]), np.array([True, False, True, False, False])
    assert cleaning.balanced_accuracy(kept, good) == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("story", "has", "feels"),
    [
        ("Mia had a ball. Mia gave Tom the ball.", "Tom", "happy"),
        ("Tom had a ball. Mia took the ball.", "Mia", "angry"),
        ("Tom had an old ball. Tom lost the old ball in the park.", "", "sad"),
        ("Tom had a ball. Mia took the ball. Mia returned the ball to Tom.", "Tom", "happy"),
        ("Mia had a ball. Mia showed Tom the ball. Tom laughed.", "Mia", "happy"),
        ("Tom had a ball. Mia broke the ball. The ball is broken. Tom is sad.", "Tom", "sad"),
        ("The ball was on the table. Tom found the ball. Tom put the ball under the bed.", "", "happy"),
        ("Mia had a ball. Tom was in the park.", "Mia", ""),
    ],
)
def test_12_6_the_rules_of_the_town_by_hand(story, has, feels):
    told = split_sentences(story)
    assert town.holder(told, "ball") == has and town.state(told, "Tom") == feels


def test_12_6_the_rules_agree_with_the_world(cases, seed):
    """Of demonstrations that are brief, what the rules call true is true for the judge, but for one in a hundred."""
    (case,) = cases("12.6", seed)
    demos, truth = case.args["demonstrations"], case.hidden
    agree = [town.holds(**demo) == true for demo, true, brief in zip(demos, truth["true"], truth["brief"]) if brief]
    assert len(agree) > 300 and np.mean(agree) >= 0.99
