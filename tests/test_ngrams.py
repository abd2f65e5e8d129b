"""Kneser–Ney against numbers computed by hand, a version by the definition, and what every distribution must do."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.ngrams import KneserNey

sequences = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=8).filter(
    lambda rows: any(len(row) > 1 for row in rows))


def by_definition(rows, order, vocab_size, discounts, word, context):
    """p(word | context) by looking through all rows again for every number."""
    def ends(row):                                      # every place that is predicted, with what comes before it
        return [(tuple(row[:i]), row[i]) for i in range(1, len(row))]

    def n(ngram, k):
        places = [(before, w) for row in rows for before, w in ends(row) if (*before, w)[-len(ngram):] == ngram]
        if k == order - 1:
            return len(places)
        return (len({before[-len(ngram)] for before, _ in places if len(before) >= len(ngram)})
                + sum(len(before) == len(ngram) - 1 for before, _ in places))

    def p(word, context):
        k = len(context)
        shorter = p(word, context[1:]) if k else 1 / vocab_size
        counts = [n((*context, w), k) for w in range(vocab_size)]
        if not sum(counts):
            return shorter
        off = [discounts[k][min(c, 3)] for c in counts]
        return (counts[word] - off[word] + sum(off) * shorter) / sum(counts)

    return p(word, tuple(context)[len(context) - min(order - 1, len(context)):])


def test_bigrams_by_hand():
    # <s> a b a b: bigrams <s>a 1, ab 2, ba 1. Too few for the estimate: discounts ½, 1, 1½.
    # Words by what comes before them: a after <s> and b: 2; b after a: 1. Of 3, 1 + ½ are set free, shared by 3 words.
    model = KneserNey.fit([[0, 1, 2, 1, 2]], order=2, vocab_size=3)
    unigram = np.array([0, 2 - 1, 1 - 0.5]) / 3 + 1.5 / 3 / 3
    assert model.distribution([]) == pytest.approx(unigram)
    # after a: b 2 times, less 1; the free 1 of 2 goes by the unigrams
    assert model.distribution([1]) == pytest.approx(np.array([0, 0, (2 - 1) / 2]) + 1 / 2 * unigram)


def test_francisco():
    """A word seen often, but after one word only, is a poor guess after a new one."""
    rows = [[0, 1, 2]] * 20 + [[0, w, 3] for w in range(4, 9)]              # "san francisco" 20 times; five words before 3
    model = KneserNey.fit(rows, order=2, vocab_size=10)
    assert model.prob(2, [1]) > 0.9
    assert model.prob(3, [9]) > 3 * model.prob(2, [9])
    assert KneserNey.fit(rows, order=1, vocab_size=10).prob(2, []) > 3 * KneserNey.fit(rows, order=1, vocab_size=10).prob(3, [])


def test_three_discounts_are_estimated():
    # n1 = 4, n2 = 3, n3 = 2, n4 = 1: Y = 4/10; D1 = 1 − 2·.4·3/4, D2 = 2 − 3·.4·2/3, D3 = 3 − 4·.4·1/2
    counts = [1] * 4 + [2] * 3 + [3] * 2 + [4]
    rows = [[0, w] for w, n in enumerate(counts) for _ in range(n)]
    assert KneserNey.fit(rows, order=1, vocab_size=10).discounts == [pytest.approx((0, 0.4, 1.2, 2.2))]


@given(sequences, st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_definition(rows, order):
    model = KneserNey.fit(rows, order, 5)
    contexts = [[], [0], [4, 4, 4, 4], *(row[:i] for row in rows[:2] for i in range(len(row)))]
    for context, word in product(contexts, range(5)):
        expected = by_definition(rows, order, 5, model.discounts, word, context)
        assert model.prob(word, context) == pytest.approx(expected, abs=1e-12)
        assert model.distribution(context)[word] == pytest.approx(expected, abs=1e-12)


@given(sequences, st.integers(1, 5), st.lists(st.integers(0, 4), max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_distribution(rows, order, context):
    p = KneserNey.fit(rows, order, 5).distribution(context)
    assert p.min() > 0 and p.sum() == pytest.approx(1)


def test_longer_contexts_help_and_log_probs_are_those_of_prob():
    rng = np.random.default_rng(0)
    def row():
        ids = [0, 1]
        while len(ids) < 30:
            ids.append((ids[-1] + ids[-2]) % 7 if rng.random() < 0.9 else int(rng.integers(7)))
        return ids
    training, held_out = [row() for _ in range(200)], [row() for _ in range(50)]
    nats = [-np.mean([KneserNey.fit(training, order, 7).log_probs(r).mean() for r in held_out]) for order in (1, 2, 3, 5)]
    assert nats[0] > nats[1] - 0.01 > nats[2] + 0.5 and nats[3] < nats[2] + 0.05
    model = KneserNey.fit(training, 3, 7)
    assert model.log_probs([0, 1, 1, 2]) == pytest.approx(
        [math.log(model.prob(1, [0])), math.log(model.prob(1, [0, 1])), math.log(model.prob(2, [0, 1, 1]))])


@pytest.mark.parametrize(("arguments", "message"), [
    (([[0, 1]], 0, 3), "order"), (([[0, 1]], 2, 0), "vocab_size"), (([[0, 3]], 2, 3), "ids 0 … 3"),
    (([[0, -1]], 2, 3), "ids -1 … 0"), (([], 2, 3), "something to count"), (([[1], []], 2, 3), "something to count")])
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        KneserNey.fit(*arguments)
