"""Chapter 07: right answers of several makes accepted, named wrong ones rejected with their message."""

import functools
import itertools
import math
from collections import Counter, defaultdict
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.data.masking import Masking
from course_lib.exercises import draws, exercise, judging
from course_lib.exercises.ch07 import chance, counting, filling, hiding, hiding_checks
from course_lib.losses import token_cross_entropy
from course_lib.models.bert import BERT, BERTS, BERTConfig

# ---------------------------------------------------------------- 7.1 hide_words


def hide_by_numpy(ids, special, mask_id, rng):
    words, bare = ids.numpy(), special.numpy()
    chosen = ~bare[words] & (rng.random(words.shape) < 0.15)
    fate = rng.choice(3, words.shape, p=[0.8, 0.1, 0.1])
    others = rng.choice(np.flatnonzero(~bare), words.shape)
    shown = np.where(fate == 0, mask_id, np.where(fate == 1, others, words))
    return np.where(chosen, shown, words), chosen


def hide_looped(ids, special, mask_id, rng):
    shown, ordinary = ids.tolist(), [k for k, bare in enumerate(special.tolist()) if not bare]
    chosen = [[False] * len(row) for row in shown]
    usable = set(ordinary)
    for b, row in enumerate(shown):
        coins = rng.random(len(row)).tolist()
        for t, coin in enumerate(coins):
            if row[t] in usable and coin < 0.15:
                chosen[b][t] = True
                fate = rng.random()
                if fate < 0.8:
                    row[t] = mask_id
                elif fate < 0.9:
                    row[t] = ordinary[rng.integers(len(ordinary))]
    return shown, chosen


def hide_by_torch(ids, special, mask_id, rng):
    """Torch's numbers, from a seed that rng gives."""
    torch.manual_seed(int(rng.integers(2**31)))
    chosen = torch.bernoulli(torch.full(ids.shape, 0.15)).bool() & ~special[ids]
    masked = torch.bernoulli(torch.full(ids.shape, 0.8)).bool() & chosen
    random = torch.bernoulli(torch.full(ids.shape, 0.5)).bool() & chosen & ~masked
    words = torch.arange(len(special))[~special]
    shown = ids.clone()
    shown[masked] = mask_id
    shown[random] = words[torch.randint(len(words), ids.shape)][random]
    return shown.int(), chosen.float()


def hide_never_itself(ids, special, mask_id, rng):
    """The random token is another one than was there, which few would call wrong."""
    words = torch.arange(len(special))[~special]
    place = torch.searchsorted(words, ids).clamp(max=len(words) - 1)
    other = words[(place + torch.from_numpy(rng.integers(1, len(words), tuple(ids.shape)))) % len(words)]
    return hide(ids, special, mask_id, rng, others=lambda ids, words, rng: other)


def coins(rng, shape):
    return torch.from_numpy(rng.random(tuple(shape)))


def drawn_words(ids, words, rng):
    return words[torch.from_numpy(rng.integers(len(words), size=tuple(ids.shape)))]


def hide(ids, special, mask_id, rng, *, rate=0.15, shares=(0.8, 0.1), coin=coins, fate=coins, others=drawn_words, ordinary=None,
         choose=None, report=None):
    """The right answer, and a place for each mistake."""
    usable = ~special[ids] if ordinary is None else ordinary(ids, special)
    chosen = choose(usable, rng) if choose else usable & (coin(rng, ids.shape) < rate)
    fates = fate(rng, ids.shape)
    random = others(ids, (~special).nonzero()[:, 0], rng)
    shown = torch.where(chosen & (fates < shares[0]), mask_id, ids)
    shown = torch.where(chosen & (fates >= shares[0]) & (fates < sum(shares)), random, shown)
    return report(ids, shown, chosen, mask_id) if report else (shown, chosen)


def hide_twice(ids, special, mask_id, rng, *, random_first=True):
    """Two coins, one after the other."""
    chosen = (coins(rng, ids.shape) < 0.15) & ~special[ids]
    random = chosen & (coins(rng, ids.shape) < 0.1)
    masked = chosen & (coins(rng, ids.shape) < 0.8)
    others = drawn_words(ids, (~special).nonzero()[:, 0], rng)
    if random_first:
        return torch.where(masked, mask_id, torch.where(random, others, ids)), chosen
    return torch.where(random, others, torch.where(masked, mask_id, ids)), chosen


def hide_all(ids, special, mask_id, rng):
    everything, _ = hide(ids, special, mask_id, rng, rate=2)
    return everything, (coins(rng, ids.shape) < 0.15) & ~special[ids]


def hide_in_place(ids, special, mask_id, rng):
    shown, chosen = hide(ids, special, mask_id, rng)
    ids.copy_(shown)
    return ids, chosen


def hide_like_the_course(ids, special, mask_id, rng):
    return Masking(mask_id, tuple(special.nonzero()[:, 0].tolist()), len(special)).hide(ids, rng)


def exact_rows(usable, rng):
    keys = torch.where(usable, coins(rng, usable.shape), 2.0)
    return usable & (keys.argsort(1).argsort(1) < (0.15 * usable.sum(1, keepdim=True)).round())


def share_of_all(usable, rng):
    return exact_rows(usable, rng) | usable & (coins(rng, usable.shape) < 0.15 * 0.118 / 0.85)


def exact_fates(ids, special, mask_id, rng):
    """Of each row exactly 80 % of the chosen tokens."""
    chosen = (coins(rng, ids.shape) < 0.15) & ~special[ids]
    rank = torch.where(chosen, coins(rng, ids.shape), 2.0).argsort(1).argsort(1) / chosen.sum(1, keepdim=True).clamp(min=1)
    random = drawn_words(ids, (~special).nonzero()[:, 0], rng)
    return torch.where(chosen & (rank < 0.8), mask_id, torch.where(chosen & (rank < 0.9), random, ids)), chosen


def from_the_row(ids, words, rng):
    return ids.gather(1, coins(rng, ids.shape).argsort(1))


def from_words_of_the_text(ids, words, rng):
    told = ids[torch.isin(ids, words)]
    return told[torch.from_numpy(rng.integers(len(told), size=tuple(ids.shape)))]


HIDE_WRONG = [
    (of(hide, ordinary=lambda ids, special: ids > -1), "specials chosen", "guessing [CLS] or padding"),
    (of(hide, ordinary=lambda ids, special: ids != ids[0, 0]), "specials chosen", "are special"),
    (of(hide, rate=0.85), "turned round", "turned round"),
    (of(hide, rate=0.2), "rate", "20.0 % of the ordinary tokens"),
    (of(hide, rate=0.16), "rate", "15 % are asked for"),
    (of(hide, rate=2), "rate", "100.0 %"),
    (of(hide, choose=share_of_all), "share of all places", "special ones included"),
    (of(hide, report=lambda ids, shown, chosen, mask: (shown, shown != ids)), "unchanged ones lost", "can be told from no other"),
    (of(hide, report=lambda ids, shown, chosen, mask: (shown, shown == mask)), "only [MASK] is asked", "asks for all three kinds"),
    (of(hide, coin=lambda rng, shape: coins(rng, shape[1:])), "the same places in every row", "At place"),
    (of(hide, coin=lambda rng, shape: coins(np.random.default_rng(0), shape[1:])), "the same places in every row", "in every row"),
    (of(hide, coin=lambda rng, shape: torch.arange(shape[1]) % 20 / 20), "the same places in every row", "a coin of its own"),
    (of(hide, coin=lambda rng, shape: coins(rng, (shape[0], 1))), "whole rows", "for a row, not for a token"),
    (of(hide, choose=exact_rows), "the same number in every row", "rows with few and rows with many"),
    (hide_like_the_course, "the same number in every row", "each by itself"),
    (hide_all, "all tokens hidden", "of the chosen tokens, not of all"),
    (of(hide, report=lambda ids, shown, chosen, mask: (shown, chosen.roll(1, 1) & chosen)), "others changed", "is not chosen stays"),
    (of(hide, others=lambda ids, words, rng: drawn_words(ids, torch.arange(12), rng)), "specials put in", "a special one"),
    (of(hide, shares=(1, 0)), "always [MASK]", "has never worked without one"),
    (of(hide, shares=(0.8, 0.2)), "none kept", "stays as it is"),
    (of(hide, shares=(0.9, 0.1)), "none kept", "stays as it is"),
    (of(hide, shares=(0.8, 0)), "none random", "becomes a random one"),
    (of(hide, shares=(0.9, 0)), "none random", "becomes a random one"),
    (of(hide, shares=(0.85, 0)), "15 % taken twice", "85 % become [MASK]"),
    (of(hide, shares=(0.85, 0.15)), "15 % taken twice", "85 % become [MASK]"),
    (hide_twice, "a tenth of the rest", "the fifth"),
    (of(hide_twice, random_first=False), "drawn over [MASK]", "[MASK] already too"),
    (of(hide, shares=(0.1, 0.8)), "shares exchanged", "[MASK]'s share"),
    (of(hide, shares=(0.1, 0.1)), "shares exchanged", "80 % stay"),
    (of(hide, shares=(0, 1)), "all random", "becomes a random one"),
    (of(hide, shares=(0, 0)), "nothing hidden", "can copy"),
    (of(hide, shares=(0.7, 0.2)), "shares", "70."),
    (of(hide, shares=(0.8, 0.15)), "shares", "another token"),
    (of(hide, others=lambda ids, words, rng: words[0].expand_as(ids)), "one word for the whole batch", "one and the same"),
    (of(hide, others=lambda ids, words, rng: drawn_words(ids[:, :1], words, rng).expand_as(ids)), "one word for a row", "Draw one"),
    (of(hide, others=from_words_of_the_text), "words of the text", "draw from the vocabulary"),
    (of(hide, others=lambda ids, words, rng: words[(coins(rng, ids.shape) ** 2 * len(words)).long()]), "not all alike", "evenly"),
    (of(hide, fate=lambda rng, shape: coins(rng, (shape[0], 1))), "one fate for a row", "the second coin for every token"),
    (of(hide, fate=lambda rng, shape: coins(rng, shape[1:])), "one fate for a place", "share their fate"),
    (exact_fates, "exact shares", "a coin of its own"),
    (of(hide, rate=0), "rate", "0.0 %"),
    (hide_in_place, "ids overwritten", "Change a copy"),
    (lambda ids, bare, mask, rng: hide(ids, bare, mask, np.random.default_rng(0)), "rng not used", "every epoch hides the same words"),
    (lambda ids, special, mask, rng: hide(ids, special, mask, np.random.default_rng(np.random.randint(99))), "rng not used", "Who draws"),
    (lambda ids, bare, mask, rng: hide(ids, bare, mask, np.random.default_rng()), "other random numbers", "not all your random numbers"),
    (of(hide, fate=lambda rng, shape: coins(np.random.default_rng(), shape)), "other random numbers", "in the same state"),
]


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("answer", "name", "phrase"), HIDE_WRONG)
def test_7_1_names_what_went_wrong(judge, seed, answer, name, phrase):
    verdict = judge("7.1", answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000 and not verdict.results[{"chosen": 0, "shown": 1, "care": 2}[group_of(name)]].ok


def group_of(name):
    return next((group for group, names in GROUPS.items() if name in names), "shown")


GROUPS = {
    "chosen": ["specials chosen", "turned round", "rate", "share of all places", "unchanged ones lost", "the same places in every row",
               "whole rows", "the same number in every row"],
    "care": ["ids overwritten", "rng not used", "other random numbers"],
}


@pytest.mark.parametrize("answer", [hide_by_numpy, hide_by_torch, hide_never_itself, hide])
def test_7_1_accepts_other_ways(judge, seed, answer):
    verdict = judge("7.1", answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


def test_7_1_accepts_a_loop(judge):
    assert judge("7.1", hide_looped, 11).ok


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        (of(hide, rate=0.2), [False, True, True]),
        (of(hide, shares=(1, 0)), [True, False, True]),
        (hide_in_place, [True, True, False]),
        (of(hide, rate=0), [False, False, False]),
        (lambda ids, special, mask, rng: (ids, torch.zeros_like(ids)), [False, False, False]),
        (lambda ids, special, mask, rng: hide(ids, special, mask, rng) if len(ids) > 99 else ids[99], [True, True, False]),
    ],
)
def test_7_1_points_by_property(judge, seed, answer, held):
    assert [result.ok for result in judge("7.1", answer, seed).results] == held


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda *args: hide(*args)[0], "expected 2 values, (shown, chosen)"),
        (lambda *args: hide(*args)[::-1], "chosen holds other values"),
        (lambda *args: [part[0] for part in hide(*args)], "shown has shape (256,), expected that of ids"),
        (lambda *args: (hide(*args)[0] + 99, hide(*args)[1]), "no id, 0 … 59"),
        (lambda *args: (hide(*args)[0] + 0.5, hide(*args)[1]), "no id"),
        (lambda *args: (hide(*args)[0] * math.nan, hide(*args)[1]), "no id"),
        (lambda ids, special, mask, rng: rng.shuffle(99), "TypeError"),
        (lambda ids, special, mask, rng: rng.random(3).sort(), "is a `return` missing?"),
    ],
)
def test_7_1_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("7.1", answer)
    assert verdict.points == 0 and phrase in verdict.message and "1500 rows" in verdict.message, str(verdict)


def test_7_1_chance_alone_does_not_fail(monkeypatch):
    """Over 12 draws the tails are spread as chance spreads them, and none comes near the threshold."""
    seen, original = [], chance._tails

    def tails(x, freedom):
        seen.append(min(original(x, freedom)))
        return original(x, freedom)

    monkeypatch.setattr(chance, "_tails", tails)
    asked = exercise("7.1")
    for seed in range(300, 312):
        (large, *_) = asked.inputs(draws("7.1", seed))
        shown, chosen = judging.run(asked.reference, large)
        ids, special, mask_id, _ = large.args.values()
        hidden = hiding_checks.Hidden(ids, special, mask_id, shown, chosen)
        assert not any(check(hidden) for _, _, check in hiding_checks.CHECKS) and chosen.sum() > 50_000
    assert len(seen) == 12 * 8 and min(seen) > 1e4 * chance.P and 0.02 < np.mean(np.array(seen) < 0.05) < 0.2


@pytest.mark.parametrize(("counts", "shares", "due"), [
    ([18, 55, 27], [0.25, 0.5, 0.25], math.exp(-2.62 / 2)),                             # two degrees of freedom: e^(−χ²/2)
    ([60, 40], [0.5, 0.5], math.erfc(2 / math.sqrt(2))),                                # one: a normal number squared
    ([5, 0], [0, 1], 0),
])
def test_7_1_likelihood_is_that_of_chi_square(counts, shares, due):
    assert chance.likelihood(np.array(counts), np.array(shares)) == pytest.approx(due, abs=1e-12)


def test_7_1_unevenness_knows_both_sides():
    rng, trials = np.random.default_rng(0), np.full(400, 50)
    assert chance.unevenness(rng.binomial(trials, 0.3), trials) == 0
    assert chance.unevenness(np.full(400, 15), trials) == -1
    assert chance.unevenness(rng.binomial(trials, rng.uniform(0.2, 0.4, 400)), trials) == 1


def test_7_1_a_random_word_that_hits_the_one_it_replaces_does_not_show():
    """Where one word is most of the text, it is seldom among the random ones that show, and that is no fault."""
    rng = np.random.default_rng(0)
    ids = np.where(rng.random((600, 200)) < 0.8, 3, rng.integers(2, 12, (600, 200)))
    special, everywhere = np.arange(12) < 2, np.ones(ids.shape, dtype=bool)
    fair, loaded = rng.integers(2, 12, ids.shape), np.minimum(rng.integers(2, 13, ids.shape), 11)
    assert hiding_checks._random_words(hiding_checks.Hidden(ids, special, 0, fair, everywhere)) is None
    assert hiding_checks._random_words(hiding_checks.Hidden(ids, special, 0, loaded, everywhere))[0] == "not all alike"


def test_7_1_draws_hold_what_the_checks_need(cases, seed):
    large, one, same, other, bare = cases("7.1", seed)
    assert large.args["ids"].shape == (hiding.N_ROWS, hiding.LENGTH) and large.args["special"].sum() == 5
    assert (one.args["ids"] == same.args["ids"]).all() and (one.args["ids"] == other.args["ids"]).all()
    states = [case.args["rng"].bit_generator.state for case in (one, same, other)]
    assert states[0] == states[1] != states[2] and large.args["special"][large.args["mask_id"]]
    assert bare.args["special"][bare.args["ids"][:4]].all()


# ---------------------------------------------------------------- 7.2 blank_loss


def blank_looped(logits, targets, chosen):
    total = n = 0
    for row, words, some in zip(logits.tolist(), targets.tolist(), chosen.tolist()):
        for scores, word, counts in zip(row, words, some):
            if counts:
                top = max(scores)
                total += top + math.log(sum(math.exp(z - top) for z in scores)) - scores[word]
                n += 1
    return total / n


def blank_selected(logits, targets, chosen):
    return F.cross_entropy(logits[chosen], targets[chosen])


def blank_ignored(logits, targets, chosen):
    return F.cross_entropy(logits.double().flatten(0, 1), targets.masked_fill(~chosen, -100).flatten(), ignore_index=-100)


def blank_where(logits, targets, chosen):
    nll = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return torch.where(chosen, nll, 0).sum() / chosen.sum()


def blank_by_numpy(logits, targets, chosen):
    z = logits.numpy().astype(np.float64)[chosen.numpy()]
    z = z - z.max(1, keepdims=True)
    return (np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), targets.numpy()[chosen.numpy()]]).mean()


def blank(logits, targets, chosen, *, each=lambda l, t: F.cross_entropy(l.mT, t, reduction="none"), some=lambda c, t: c,
          finish=lambda found, chosen: found.mean()):
    """The right answer, and a place for each mistake."""
    return finish(each(logits, targets)[some(chosen, targets)], chosen)


def blank_planted(logits, targets, chosen):
    nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    return (nll * chosen).sum() / chosen.sum()


def blank_multiplied(logits, targets, chosen):
    return (F.cross_entropy(logits.mT, targets, reduction="none") * chosen).sum() / chosen.sum()


def blank_row_means(logits, targets, chosen):
    rows = [F.cross_entropy(l[c], t[c]) for l, t, c in zip(logits, targets, chosen) if c.any()]
    return sum(rows) / len(rows)


# ---------------------------------------------------------------- 7.3 pack_two


def pack_appended(first, second, cls_id, sep_id, pad_id, length):
    a, b = list(first), list(second)
    while len(a) + len(b) + 3 > length:
        if len(a) > len(b):
            a = a[:-1]
        else:
            b = b[:-1]
    ids, segments, mask = [cls_id], [0], [1]
    for words, segment in ((a, 0), (b, 1)):
        for word in [*words, sep_id]:
            ids.append(word), segments.append(segment), mask.append(1)
    while len(ids) < length:
        ids.append(pad_id), segments.append(0), mask.append(0)
    return ids, segments, mask


def pack_by_formula(first, second, cls_id, sep_id, pad_id, length):
    """How long each may be, without a loop; the mask as booleans, all as tensors."""
    room = length - 3
    n = min(len(first), max(room - len(second), (room + 1) // 2))
    m = min(len(second), room - n)
    used = n + m + 3
    ids = torch.full((length,), pad_id)
    ids[:used] = torch.tensor([cls_id, *first[:n], sep_id, *second[:m], sep_id])
    place = torch.arange(length)
    return ids, ((place > n + 1) & (place < used)).int(), place < used


def pack_by_numpy(first, second, cls_id, sep_id, pad_id, length):
    while len(first) + len(second) > length - 3:
        (first if len(first) > len(second) else second).pop()
    parts = [[cls_id, *first, sep_id], [*second, sep_id], [pad_id] * (length - 3 - len(first) - len(second))]
    lengths = [len(part) for part in parts]
    return np.concatenate(parts).astype(int), np.repeat([0, 1, 0], lengths), np.repeat([1.0, 1.0, 0.0], lengths)


def cut_longer(a, b, room, *, end=-1, tie=1):
    a, b = list(a), list(b)
    while len(a) + len(b) > room:
        longer = (a, b)[tie] if len(a) == len(b) else max((a, b), key=len)
        del longer[end]
    return a, b


def pack(first, second, cls_id, sep_id, pad_id, length, *, cut=cut_longer, specials=3, put=None, segment=None, real=None, fill=None):
    """The right answer, and a place for each mistake."""
    a, b = cut(first, second, length - specials)
    ids = put(cls_id, a, sep_id, b) if put else [cls_id, *a, sep_id, *b, sep_id]
    n = len(ids)
    ids = [*ids, *[pad_id if fill is None else fill] * (length - n)][:length]
    segment = segment or (lambda t, a, n: a + 1 < t < n)
    real = real or (lambda t, n: t < n)
    return ids, [int(segment(t, len(a), n)) for t in range(length)], [int(real(t, n)) for t in range(length)]


# ---------------------------------------------------------------- 7.5 pair_loss


def pair_looped(logits, follows):
    found = [math.log(1 + math.exp(min(row[1 - k] - row[k], 700))) for row, k in zip(logits.tolist(), follows.tolist()) if k >= 0]
    return sum(found) / len(found) if found else 0.0


def pair_ignored(logits, follows):
    if (follows < 0).all():
        return 0
    return F.cross_entropy(logits.double(), follows, ignore_index=-1)


def pair_by_difference(logits, follows):
    signs = torch.tensor([-1.0, 1.0, 0.0], dtype=logits.dtype)[follows]
    return (F.softplus(-signs * (logits[:, 1] - logits[:, 0])) * (signs != 0)).sum() / max(1, (signs != 0).sum())


def pair_by_numpy(logits, follows):
    z, k = logits.numpy().astype(np.float64), follows.numpy()
    z, k = z[k >= 0], k[k >= 0]
    return np.float64(np.mean(np.logaddexp(z[:, 0], z[:, 1]) - z[np.arange(len(k)), k])) if len(k) else np.int64(0)


def pair(logits, follows, *, each=lambda l, f: F.cross_entropy(l, f, reduction="none"), some=lambda f: f >= 0, said=lambda f: f,
         finish=lambda found, follows: found.mean(), none=0.0):
    """The right answer, and a place for each mistake."""
    kept = some(follows)
    return finish(each(logits[kept], said(follows)[kept]), follows) if kept.any() else torch.tensor(none)


def pair_planted(logits, follows):
    pairs = follows >= 0
    return F.cross_entropy(logits[pairs], follows[pairs], ignore_index=0)


def pair_planted_without_nan(logits, follows):
    return torch.nan_to_num(pair_planted(logits, follows))


RIGHT = {
    "7.2": [blank_looped, blank_selected, blank_ignored, blank_where, blank_by_numpy],
    "7.3": [pack_appended, pack_by_formula, pack],
    "7.5": [pair_looped, pair_ignored, pair_by_difference, pair_by_numpy],
}


def place_of(part):
    return lambda *args: tuple(pack(*args)[n] for n in part)


def nll(l, t):
    return F.cross_entropy(l.mT, t, reduction="none")


WRONG = [
    ("7.2", blank_planted, "the mask does nothing", "How many numbers are left"),
    ("7.2", lambda l, t, c: F.cross_entropy(l.mT, t), "the mask does nothing", "what changes?"),
    ("7.2", of(blank, finish=lambda f, c: f.sum() / c.numel()), "divided by all places", "B · T"),
    ("7.2", of(blank, finish=lambda f, c: f.sum() / len(c)), "divided by the rows", "number of rows"),
    ("7.2", lambda l, t, c: nll(l, t).sum() / c.sum(), "mean of all over the blanks", "add up all places"),
    ("7.2", of(blank, finish=lambda f, c: f.sum()), "sum", "You return the sum"),
    ("7.2", blank_row_means, "mean of the rows' means", "weighs more"),
    ("7.2", of(blank, some=lambda c, t: ~c), "mask turned round", "turned round"),
    ("7.2", lambda l, t, c: F.cross_entropy(l.mT, t, ignore_index=0), "0 taken for padding", "for chosen to say"),
    ("7.2", of(blank, some=lambda c, t: c & (t > 0)), "0 taken for padding", "left out"),
    ("7.2", of(blank, each=lambda l, t: (l.argmax(-1) != t).float()), "guessed rightly already", "How probable"),
    ("7.2", of(blank, each=lambda l, t: -l.log_softmax(-1).amax(-1)), "the best word's probability", "that was hidden"),
    ("7.2", of(blank, each=lambda l, t: F.nll_loss(l.log_softmax(1).mT, t, reduction="none")), "softmax over the places", "(dim 1)"),
    ("7.2", of(blank, each=lambda l, t: F.nll_loss(l.log_softmax(0).mT, t, reduction="none")), "softmax over the rows", "(dim 0)"),
    ("7.2", of(blank, each=lambda l, t: nll(l.softmax(2), t)), "softmax twice", "takes logits"),
    ("7.2", of(blank, each=lambda l, t: -l.gather(2, t[..., None])[..., 0]), "raw logits", "minus "),
    ("7.2", of(blank, each=lambda l, t: torch.exp(-nll(l, t))), "probabilities", "You average probabilities"),
    ("7.2", of(blank, each=lambda l, t: -torch.expm1(-nll(l, t))), "probabilities", "1 − p"),
    ("7.2", lambda l, t, c: -blank(l, t, c), "wrong sign", "−log p"),
    ("7.2", lambda l, t, c: blank(l, t, c) / math.log(2), "bits", "base 2"),
    ("7.2", lambda l, t, c: blank(l, t, c).exp(), "perplexity", "asked for are its nats"),
    ("7.2", of(blank, finish=lambda f, c: f), "not averaged", "Their mean"),
    ("7.2", blank_multiplied, "multiplied by 0", "0 · NaN is NaN"),
    ("7.2", lambda l, t, c: -l[c].softmax(1).gather(1, t[c][:, None]).log().mean(), "overflow", "never leaves the logarithms"),
    ("7.3", of(pack, segment=lambda t, a, n: a < t < n), "first [SEP] in segment 1", "belongs to it"),
    ("7.3", of(pack, segment=lambda t, a, n: a + 1 < t < n - 1), "last [SEP] in segment 0", "belongs to it"),
    ("7.3", of(pack, segment=lambda t, a, n: a < t < n - 1), "[CLS] forgotten in the segments", "one place too early"),
    ("7.3", of(pack, segment=lambda t, a, n: t > a + 1), "padding in segment 1", "belongs to no text"),
    ("7.3", of(pack, segment=lambda t, a, n: False), "all in segment 0", "nothing tells where"),
    ("7.3", of(pack, segment=lambda t, a, n: t <= a + 1), "segments exchanged", "the first text's"),
    ("7.3", of(pack, real=lambda t, n: True), "padding counted", "counts padding"),
    ("7.3", of(pack, real=lambda t, n: t < n - 1), "last [SEP] not counted", "one place too early"),
    ("7.3", of(pack, real=lambda t, n: t < n - 3), "special tokens not counted", "three places too early"),
    ("7.3", of(pack, put=lambda c, a, s, b: [c, *a, s, *b]), "no last [SEP]", "no [SEP] behind"),
    ("7.3", of(pack, put=lambda c, a, s, b: [c, *a, s, *b], specials=2), "no last [SEP]", "no [SEP] behind"),
    ("7.3", of(pack, put=lambda c, a, s, b: [c, *a, *b, s], specials=2, segment=lambda t, a, n: a < t < n), "no [SEP] between", "between"),
    ("7.3", of(pack, put=lambda c, a, s, b: [c, *a, s, c, *b, s], specials=4), "[CLS] between", "has one, at its beginning"),
    ("7.3", of(pack, put=lambda c, a, s, b: [*a, s, *b, s], specials=2, segment=lambda t, a, n: a < t < n), "no [CLS]", "no [CLS]"),
    ("7.3", of(pack, cut=lambda a, b, room: (a, b[: max(0, room - len(a))])), "second cut alone", "Only the second"),
    ("7.3", of(pack, cut=lambda a, b, room: (a[: max(0, room - len(b))], b)), "first cut alone", "Only the first"),
    ("7.3", of(pack, cut=lambda a, b, room: (a, b) if len(a) + len(b) <= room else (a[: room // 2], b[: room - room // 2])),
     "cut in halves", "half of the room"),
    ("7.3", of(pack, cut=of(cut_longer, end=0)), "cut from the front", "the last token that is lost"),
    ("7.3", of(pack, cut=of(cut_longer, tie=0)), "equally long, the first cut", "asks for the second"),
    ("7.3", of(pack, cut=lambda a, b, room: (a, b)), "no cut", "cut off at the row's end"),
    ("7.3", of(pack, specials=4), "one token too few", "one token more than has to go"),
    ("7.3", of(pack, specials=0), "room for special tokens forgotten", "to the length of the row"),
    ("7.3", of(pack, specials=2), "room for special tokens forgotten", "for two special tokens"),
    ("7.3", of(pack, fill=0), "padded with 0", "may be another id"),
    ("7.3", lambda *args: [part[: sum(pack(*args)[2])] for part in pack(*args)], "not padded", "as long as `length` says"),
    ("7.3", place_of((0, 2, 1)), "mask second", "expected (ids, segments, mask)"),
    ("7.5", pair_planted, "class 0 ignored", "be praised by this loss"),
    ("7.5", pair_planted_without_nan, "class 0 ignored", "say to every pair"),
    ("7.5", of(pair, some=lambda f: f > 0), "class 0 ignored", "say to every pair"),
    ("7.5", of(pair, some=lambda f: f == 0), "class 1 ignored", "always says 0"),
    ("7.5", lambda l, f: -l.log_softmax(1)[range(len(f)), f].mean(), "−1 is the last class", "as if they followed"),
    ("7.5", lambda l, f: F.cross_entropy(l, f.relu()), "−1 taken for 0", "as if they did not follow"),
    ("7.5", of(pair, finish=lambda found, f: found.sum() / len(f)), "divided by all rows", "not in the divisor"),
    ("7.5", of(pair, finish=lambda found, f: found.sum()), "sum", "You return the sum"),
    ("7.5", of(pair, finish=lambda found, f: found), "not averaged", "a number for each pair"),
    ("7.5", lambda l, f: F.cross_entropy(l[f >= 0], f[f >= 0], weight=1 / f[f >= 0].bincount(minlength=2).clamp(min=1).to(l))
     if (f >= 0).any() else 0, "mean of the classes' means", "weighs the same"),
    ("7.5", of(pair, said=lambda f: 1 - f), "classes exchanged", "In the published BERT"),
    ("7.5", of(pair, each=lambda l, f: -F.logsigmoid(l[:, 1] * (2 * f - 1))), "one logit alone", "The two compete"),
    ("7.5", of(pair, each=lambda l, f: -l.log_softmax(0)[range(len(f)), f]), "softmax over the rows", "(dim 0)"),
    ("7.5", of(pair, each=lambda l, f: F.cross_entropy(l.softmax(1), f, reduction="none")), "softmax twice", "takes logits"),
    ("7.5", of(pair, each=lambda l, f: -l[range(len(f)), f]), "raw logits", "minus "),
    ("7.5", of(pair, each=lambda l, f: l.softmax(1)[range(len(f)), f]), "probabilities", "You average probabilities"),
    ("7.5", of(pair, each=lambda l, f: l.softmax(1)[range(len(f)), 1 - f]), "probabilities", "1 − p"),
    ("7.5", of(pair, each=lambda l, f: (l.argmax(1) != f).float()), "wrong guesses counted", "guessed wrongly"),
    ("7.5", lambda l, f: pair(l, f) / math.log(2), "bits", "base 2"),
    ("7.5", lambda l, f: -pair(l, f), "wrong sign", "−log p"),
    ("7.5", of(pair, none=math.nan), "mean of nothing", "0/0"),
    ("7.5", lambda l, f: F.cross_entropy(l, f, ignore_index=-1), "mean of nothing", "Nothing is lost there"),
    ("7.5", of(pair, each=lambda l, f: -l.softmax(1)[range(len(f)), f].log()), "overflow", "never leaves the logarithms"),
]


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok, str(verdict)
    assert not verdict.message or answer is pack_by_numpy


def test_a_right_answer_that_changes_its_argument_is_told(judge, seed):
    verdict = judge("7.3", pack_by_numpy, seed)
    assert verdict.ok and "changes its argument first" in verdict.message, str(verdict)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000


@pytest.mark.parametrize(("id", "planted"), [("7.2", blank_planted), ("7.5", pair_planted)])
def test_the_planted_bug_earns_nothing(judge, seed, id, planted):
    assert judge(id, planted, seed).points == 0


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("7.2", blank_multiplied, [True, False, True]),
        ("7.2", lambda l, t, c: -l[c].softmax(1).gather(1, t[c][:, None]).log().mean(), [True, True, False]),
        ("7.3", of(pack, cut=lambda a, b, room: (a, b)), [True, False, True]),
        ("7.3", of(pack, fill=0), [False, True, False]),
        ("7.3", of(pack, segment=lambda t, a, n: t > a + 1), [False, True, False]),
        ("7.5", of(pair, none=math.nan), [True, True, False]),
        ("7.5", lambda l, f: F.cross_entropy(l, f.relu()), [True, False, False]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    assert [result.ok for result in judge(id, answer, seed).results] == held


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("7.2", lambda l, t, c: token_cross_entropy(l, t, c), "a single number"),
        ("7.2", lambda l, t, c: blank(l, t, c) + 0.1, "print what each of them adds"),
        ("7.2", lambda l, t, c: l[c, t], "IndexError"),
        ("7.3", lambda *args: pack(*args)[0], "expected 3 values, (ids, segments, mask)"),
        ("7.3", lambda *args: tuple(part[:-1] for part in pack(*args)), "ids has 11 entries, and the row is 12 long"),
        ("7.3", of(pack, put=lambda c, a, s, b: [c, *b, s, *a, s]), "by hand"),
        ("7.3", lambda *args: tuple([*part, 0] for part in pack(*args)), "ids has 13 entries"),
        ("7.3", lambda first, *args: first[99], "IndexError"),
        ("7.5", lambda l, f: pair(l, f) + 0.1, "pairs of class 0 and"),
        ("7.5", lambda l, f: F.cross_entropy(l, f), "Target -1 is out of bounds"),
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
        if id == "7.3":
            return tuple(rng.permutation(part) for part in right(*args))
        return np.asarray(right(*args), dtype=float) * rng.uniform(0.9, 1.1) + 0.01

    def now_and_then(*args):
        return right(*args) if next(calls) % 2 else disturbed(*args)

    for answer in (disturbed, now_and_then):
        verdict = judge(id, answer, seed)
        assert not verdict.ok and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("seed", range(70, 75))
def test_7_2_draws_hold_what_the_mistakes_need(cases, seed):
    for case in cases("7.2", seed):
        chosen, targets = case.args["chosen"], case.args["targets"]
        assert 0 < chosen.sum() < chosen.size and (targets[chosen] == 0).any()
        assert np.isfinite(case.args["logits"][chosen]).all() and np.isfinite(case.args["logits"]).all() == (case.group != "garbage")


# ---------------------------------------------------------------- 7.4 predict

COUNTED = {
    "bert_parameters": 109_482_240,
    "share_of_words": 0.21,
    "chosen": 76,
    "shown_as_mask": 0.12,
    "masks_later": 0,
    "pairs_right": 0.5,
    "better_model": "no",
    "texts_read": 90,
}


@pytest.mark.parametrize(
    "answer",
    [
        COUNTED,
        {key: value if isinstance(value, str) else float(value) for key, value in COUNTED.items()},
        {**COUNTED, "better_model": False, "share_of_words": torch.tensor(30522 * 768 / 109_482_240)},
        {**COUNTED, "bert_parameters": np.int64(109_482_240), "better_model": "No.", "shown_as_mask": 0.15 * 0.8},
    ],
)
def test_7_4_accepts_words_booleans_and_numbers(judge, answer):
    assert judge("7.4", answer).ok, str(judge("7.4", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("bert_parameters", 110_000_000, "what the paper prints"),
        ("bert_parameters", 110, "not millions"),
        ("bert_parameters", 109_482_240 - 590_592, "pooler is missing"),
        ("bert_parameters", 109_482_240 - 1536, "two segments have a row each"),
        ("bert_parameters", 109_482_240 - 393_216, "positions are missing"),
        ("bert_parameters", 85_054_464, "twelve blocks"),
        ("bert_parameters", 109_482_240 - 12 * 9 * 768, "biases are missing"),
        ("bert_parameters", 109_482_240 + 30_522, "the head that guesses"),
        ("bert_parameters", 109_482_240 + 30_522 * 768, "counts once"),
        ("bert_parameters", 108_000_000, "too small"),
        ("share_of_words", 21, "in per cent"),
        ("share_of_words", 0.2756, "in proportion to the blocks"),
        ("share_of_words", 0.79, "all the rest"),
        ("chosen", 77, "Three of them are special"),
        ("chosen", 76.35, "not a whole number"),
        ("chosen", 61, "become [MASK]"),
        ("chosen", 509, "all ordinary tokens"),
        ("shown_as_mask", 0.15, "Not all of them"),
        ("shown_as_mask", 0.8, "Of all tokens it is less"),
        ("shown_as_mask", 0.95, "multiply"),
        ("masks_later", 18, "Masking belongs to pre-training"),
        ("masks_later", 1, "Nobody hides a word"),
        ("pairs_right", 0, "How many are of class 1?"),
        ("pairs_right", 1, "Nothing in its loss"),
        ("better_model", "yes", "Were both asked the same?"),
        ("better_model", True, "Count what each of them had read"),
        ("texts_read", 1, "what a masked model needs"),
        ("texts_read", 8100, "with one word"),
        ("texts_read", None, "no prediction yet"),
    ],
)
def test_7_4_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("7.4", {**COUNTED, key: value})
    assert verdict.points == 7 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_7_4_no_wrong_value_stands_twice_or_is_right_and_no_message_tells(cases):
    asked = exercise("7.4")
    right = asked.reference(**cases("7.4", None)[0].args)
    assert {key: value if isinstance(value, str) else round(value, 2) for key, value in right.items()} == COUNTED
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert len(set(values)) == len(values) and right[item.key] not in values, item.key
        numbers = [value for value in values if not isinstance(value, str)]
        assert all(abs(value - right[item.key]) > 2 * item.tolerance for value in numbers)
        told = [message for _, message in item.wrongs if numbers and item.key != "masks_later"]     # 0 stands in every 10
        assert not any(str(COUNTED[item.key]) in message.replace(",", "") for message in told)


@pytest.mark.parametrize("config", [BERTS["bert-base-uncased"], BERTConfig(50, 24, 3, 2, d_ff=40, max_len=17, n_segments=3)])
def test_what_7_4_counts_are_the_parameters_of_the_model(config):
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in BERT(config).parameters()) == counting.parameters(config)


def test_what_7_4_says_of_masking_is_what_the_course_does():
    masking = Masking(103, (0, 100, 101, 102, 103), 30_522)
    ids = torch.randint(1000, 30_522, (40, 512))
    ids[:, 0], ids[:, 200], ids[:, -1] = 101, 102, 102
    shown, chosen = masking.hide(ids, np.random.default_rng(0))
    assert (chosen.sum(1) == COUNTED["chosen"]).all()
    assert (shown == 103).sum() / (40 * 509) == pytest.approx(COUNTED["shown_as_mask"], abs=0.005)


# ---------------------------------------------------------------- 7.6 measure


def once(way):
    """Runs a way to fill blanks once on each draw, however many tests need it."""
    done = {}

    @functools.wraps(way)
    def found(sentences, blanks, mask_id, vocab_size, *more):
        key = len(sentences), str(blanks[:9]), *more
        if key not in done:
            done[key] = way(sentences, blanks, mask_id, vocab_size, *more)
        return done[key]

    return found


@pytest.fixture(autouse=True)
def counted_once(monkeypatch):
    """What the judge counts, too, is counted once on each draw."""
    monkeypatch.setattr(filling, "counted", counted_on_a_draw)


COUNT, SIDES = filling.counted, {}


def counted_on_a_draw(sentences, blanks, mask_id, vocab_size, contexts):
    key = len(sentences), str(blanks[:9]), str(contexts([*range(9)], 4))
    if key not in SIDES:
        SIDES[key] = COUNT(sentences, blanks, mask_id, vocab_size, contexts)
    return SIDES[key].copy()


def table(sentences, side):
    found = defaultdict(Counter)
    for ids in sentences:
        for before, word in itertools.pairwise([-1, *ids] if side == "left" else [-1, *ids[::-1]]):
            found[before][word] += 1
    return found


@once
def one_sided(sentences, blanks, mask_id, vocab_size, side, more=1.0):
    """Counts of one neighbour, mixed with the words' own frequencies."""
    alone = np.full(vocab_size, 0.5)
    for word, n in Counter(word for ids in sentences for word in ids).items():
        alone[word] += n
    alone /= alone.sum()
    seen, rows = table(sentences, side), np.empty((len(blanks), vocab_size))
    for row, ids in zip(rows, blanks):
        ids = [-1, *(ids if side == "left" else ids[::-1])]
        counts = np.zeros(vocab_size)
        for word, n in seen[ids[ids.index(mask_id) - 1]].items():
            counts[word] = n
        row[:] = (counts + more * alone) / (counts.sum() + more)
    return rows, alone


def normal(p):
    return p / p.sum(1, keepdims=True)


def fill_left(*args):
    return one_sided(*args, "left")[0]


def fill_right(*args):
    return one_sided(*args, "right")[0]


def fill_average(*args):
    return (fill_left(*args) + fill_right(*args)) / 2


@once
def fill_both(*args):
    left, alone = one_sided(*args, "left")
    return torch.from_numpy(normal(left * fill_right(*args) / alone))


def fill_between(sentences, blanks, mask_id, vocab_size):
    """Counts of what stood between two neighbours, and the product of both where they were rarely seen together."""
    seen, rest = defaultdict(Counter), fill_both(sentences, blanks, mask_id, vocab_size).numpy()
    for ids in sentences:
        for before, word, behind in zip([-1, *ids], ids, [*ids[1:], -1]):
            seen[before, behind][word] += 1
    rows = []
    for ids, row in zip(blanks, rest):
        ids = [-1, *ids, -1]
        at = ids.index(mask_id)
        counts = seen[ids[at - 1], ids[at + 1]]
        rows.append([(counts[word] + 2 * p) / (sum(counts.values()) + 2) for word, p in enumerate(row)])
    return rows


@once
def fill_wide(sentences, blanks, mask_id, vocab_size):
    """Two words on each side: the finest of seven contexts that was seen leads, all are mixed."""
    shapes = [(), (-1,), (1,), (-1, 1), (-2, -1, 1), (-1, 1, 2), (-2, -1, 1, 2)]
    seen = [defaultdict(Counter) for _ in shapes]

    def around(ids, at, shape):
        return tuple(ids[at + step] for step in shape)

    for ids in sentences:
        ids = [-1, -1, *ids, -1, -1]
        for at in range(2, len(ids) - 2):
            for counts, shape in zip(seen, shapes):
                counts[around(ids, at, shape)][ids[at]] += 1
    start, rows = fill_both(sentences, blanks, mask_id, vocab_size).numpy(), []
    for ids, row in zip(blanks, start):
        ids = [-1, -1, *ids, -1, -1]
        at = ids.index(mask_id)
        for counts, shape in list(zip(seen, shapes))[3:]:
            found = counts[around(ids, at, shape)]
            n, kinds = sum(found.values()), len(found)
            row = row * (kinds + 0.5) / (n + kinds + 0.5) if n else row
            for word, times in found.items():
                row[word] += times / (n + kinds + 0.5)
        rows.append(row)
    return normal(np.array(rows))


def fill_one_hot(*args):
    return F.one_hot(fill_both(*args).argmax(1), args[3]).double()


def fill_seen(sentences, blanks, mask_id, vocab_size):
    """Bare counts of the word before; where nothing was seen all words alike."""
    p = one_sided(sentences, blanks, mask_id, vocab_size, "left", 1e-300)[0]
    return normal(np.where(p < 1e-200, 0, p))


def fill_left_two(sentences, blanks, mask_id, vocab_size):
    before = filling.counted(sentences, blanks, mask_id, vocab_size, filling.left(2))
    prefix = [len(ids[: ids.index(mask_id)]) for ids in blanks]
    return normal(before + 1e-4 * np.array(prefix)[:, None])


def fill_alone(*args):
    return np.tile(one_sided(*args, "left")[1], (len(args[1]), 1))


def fill_uniform(sentences, blanks, mask_id, vocab_size):
    return torch.full((len(blanks), vocab_size), 1 / vocab_size)


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [fill_wide, lambda *args: filling.reference(*args).astype(np.float32).tolist()])
def test_7_6_accepts_other_ways(judge, seed, answer):
    verdict = judge("7.6", answer, seed)
    assert verdict.ok and "nats a blank on" in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("answer", "points", "name", "phrase"),
    [
        (fill_uniform, 0, "neighbours ignored", "plays no part"),
        (fill_alone, 0, "neighbours ignored", "what stands beside it"),
        (fill_left, 0, "left side alone", "The word behind the blank can"),
        (fill_right, 0, "right side alone", "The word before the blank can"),
        (fill_left_two, None, "left side alone", "What comes behind the blank"),
        (fill_average, 0, "averaged", "What if both have to agree?"),
        (fill_both, 2, "one word on each side", "where it was never seen"),
        (fill_between, 2, "one word on each side", "A second one tells more"),
        (fill_one_hot, 0, "one word alone", "costs ∞ nats"),
        (fill_seen, 0, "never seen, so impossible", "may still come"),
        (lambda *args: normal(0.7 * fill_wide(*args) + 0.3 / args[3]), None, "", "The last mark is at 0.68"),
    ],
)
def test_7_6_names_what_went_wrong(judge, seed, answer, points, name, phrase):
    verdict = judge("7.6", answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert verdict.points == points if points is not None else verdict.points < 3


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda *args: 3, "probabilities has shape ()"),
        (lambda *args: fill_uniform(*args)[1:], "expected (blanks, vocab_size)"),
        (lambda *args: fill_uniform(*args).T, "expected (blanks, vocab_size)"),
        (lambda *args: fill_uniform(*args).log(), "are negative, NaN or ∞"),
        (lambda *args: fill_uniform(*args) * math.nan, "are negative, NaN or ∞"),
        (lambda *args: 2 * fill_uniform(*args), "the probabilities of blank 0 add up to 2"),
        (lambda *args: [*fill_uniform(*args).tolist()[:-1], [1.0]], "different lengths"),
        (lambda *args: "house", "is a str"),
        (lambda sentences, *args: sentences[10**6], "IndexError"),
        (lambda sentences, *args: sentences.clear(), "is a `return` missing?"),
    ],
)
def test_7_6_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("7.6", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize("seed", [80, 81])
def test_7_6_ways_are_far_apart_on_every_draw(seed):
    (case,) = exercise("7.6").inputs(draws("7.6", seed))
    words = np.array(case.hidden["words"])
    nats = {way: filling._nats(np.asarray(way(*case.args.values())), words)
            for way in (fill_left, fill_right, fill_average, fill_both, fill_wide, filling.reference)}
    scale = min(filling._nats(filling.counted(*case.args.values(), side(1)), words) for side in (filling.left, filling.right))
    left, right, average, both, wide, due = (found / scale for found in nats.values())
    assert min(left, right) > 1.06 * filling.FIRST_MARK and average > 1.02 * filling.FIRST_MARK
    assert filling.WIDE_MARK * 1.03 < both < 0.95 * filling.BOTH_MARK and max(wide, due) < 0.98 * filling.WIDE_MARK


def test_7_6_a_few_contexts_that_come_twice_prove_nothing():
    p = np.repeat(np.eye(4)[:2], 30, axis=0)
    assert filling._decided_by([*"a" * 30, *"b" * 30], p) and not filling._decided_by([*range(30), *range(30)], p)
    assert not filling._decided_by([*range(50), *range(10)], np.tile(p[:1], (60, 1)))


def test_7_6_what_is_hidden_stays_hidden(cases, seed):
    (case,) = cases("7.6", seed)
    sentences, blanks, mask_id, vocab_size = case.args.values()
    assert all(ids.count(mask_id) == 1 for ids in blanks) and len(blanks) == len(case.hidden["words"]) > 600
    assert not any(mask_id in ids for ids in sentences) and mask_id == vocab_size - 1 and len(sentences) > 2500
