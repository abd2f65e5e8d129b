"""Best of n against enumeration of everything that n draws may be."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.alignment.best_of_n import best_of_n, best_of_n_distribution, best_of_n_kl, best_of_n_kl_bound
from course_lib.alignment.policy import joined, response_log_probs
from tests.alignment.toys import END, draws, good_share, said_by, tiny

PROMPTS = [[2, 5], [2], [5, 5, 1]]


def by_enumeration(probs, scores, n):
    """The probability of each to be the first of the best of n draws."""
    found = [0.0] * len(probs)
    for drawn in itertools.product(range(len(probs)), repeat=n):
        best = max(drawn, key=lambda k: scores[k])                                      # max keeps the first of those that tie
        found[best] += math.prod(probs[k] for k in drawn)
    return found


def kl(p, q):
    return math.fsum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.05, 1), min_size=1, max_size=5), st.lists(st.integers(0, 3), min_size=5, max_size=5), st.integers(1, 4))
def test_the_distribution_and_its_kl_are_those_of_all_draws(weights, scores, n):
    probs, scores = [w / math.fsum(weights) for w in weights], scores[:len(weights)]
    log_probs = torch.tensor(probs, dtype=torch.float64).log()
    best = by_enumeration(probs, scores, n)
    assert best_of_n_distribution(log_probs, torch.tensor(scores), n).exp().tolist() == pytest.approx(best, rel=1e-9)
    exact = best_of_n_kl(log_probs, torch.tensor(scores), n)
    assert exact == pytest.approx(kl(best, probs), abs=1e-9) and -1e-12 <= exact <= best_of_n_kl_bound(n) + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 64))
def test_the_bound_holds_also_where_some_responses_are_next_to_impossible(seed, n):
    for width in (1, 30, 1000):
        log_probs = (width * draws(20, seed=seed)).log_softmax(0)
        assert -1e-9 <= best_of_n_kl(log_probs, draws(20, seed=seed + 1), n) <= best_of_n_kl_bound(n) + 1e-9


@pytest.mark.parametrize("n", [1, 2, 10, 64])
def test_many_responses_of_little_probability_each_reach_the_bound(n):
    even = torch.full((20000,), -math.log(20000), dtype=torch.float64)
    assert best_of_n_kl(even, torch.arange(20000), n) == pytest.approx(best_of_n_kl_bound(n), abs=1e-3)


def test_the_bound_by_hand():
    assert best_of_n_kl_bound(1) == 0 and best_of_n_kl_bound(4) == pytest.approx(0.6363, abs=1e-4)
    assert best_of_n_kl_bound(2) == pytest.approx(math.log(2) - 0.5)


def test_where_everything_ties_nothing_moves():
    log_probs = draws(6).log_softmax(0)
    assert best_of_n_kl(log_probs, torch.zeros(6), 5) == pytest.approx(0, abs=1e-12)


def test_two_arms_by_hand():
    log_probs = torch.tensor([0.75, 0.25]).log()
    best = best_of_n_distribution(log_probs, torch.tensor([0.0, 1.0]), 2).exp()
    assert best.tolist() == pytest.approx([0.5625, 0.4375])


def test_a_models_kl_by_enumeration_of_its_responses():
    model = tiny(vocab=5)
    answers = [[END], *([a, b] for a in range(5) for b in range(5) if a != END)]
    ids, mask = joined([[2]] * len(answers), answers)
    with torch.no_grad():
        log_probs = response_log_probs(model, ids, mask).sum(1)
    scores = good_share(ids, mask)
    probs = log_probs.exp().tolist()
    assert best_of_n_kl(log_probs, scores, 3) == pytest.approx(kl(by_enumeration(probs, scores.tolist(), 3), probs), rel=1e-9)
    drawn = best_of_n(model, [[2]] * 2000, good_share, 3, max_new=2, generator=torch.Generator().manual_seed(0))[0]
    got = [row[first:] for row, first in said_by(*drawn[:2])]
    expected = best_of_n_distribution(log_probs, scores, 3).exp().tolist()
    for answer, p in zip(answers, expected):
        assert abs(got.count(answer) - 2000 * p) < 4.5 * math.sqrt(2000 * p * (1 - p)) + 1


def test_the_best_is_returned_with_all_scores_and_the_mean_rises_with_n():
    model, means = tiny(sharpness=1), []
    for n in (1, 2, 8):
        said, scores = best_of_n(model, PROMPTS * 30, good_share, n, max_new=4, generator=torch.Generator().manual_seed(0))
        assert scores.shape == (90, n) and torch.equal(good_share(*said[:2]), scores.amax(1))
        assert all(row[:first] == prompt for prompt, (row, first) in zip(PROMPTS * 30, said_by(*said[:2])))
        means.append(scores.amax(1).mean().item())
    assert means[0] + 0.05 < means[1] and means[1] + 0.15 < means[2]


@pytest.mark.parametrize("call, message", [
    (lambda: best_of_n_kl_bound(0), "n: got 0, expected at least 1"),
    (lambda: best_of_n(tiny(), PROMPTS, good_share, 0, max_new=4), "n: got 0"),
    (lambda: best_of_n_kl(torch.zeros(3), torch.zeros(3), 2), "probabilities that add up to 3.0"),
    (lambda: best_of_n_kl(torch.tensor([0.0, -math.inf]), torch.zeros(2), 2), "no response impossible"),
    (lambda: best_of_n_kl(draws(3).log_softmax(0), torch.zeros(2), 2), r"log_probs, scores: got \(3,\), \(2,\), expected twice \(K,\)"),
    (lambda: best_of_n(tiny(), PROMPTS, lambda ids, mask: torch.full((len(ids),), math.nan), 2, max_new=4), "expected 6 finite numbers"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
