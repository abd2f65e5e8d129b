"""Metrics against values computed by hand, another library or a slow loop."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.metrics import (
    DifferentError,
    OutcomeError,
    alignment_error_rate,
    alignment_scores,
    alignments_from_weights,
    bits_per_byte,
    bleu_signature,
    bootstrap_interval,
    corpus_bleu,
    exact_match,
    exact_match_by_length,
    outcome,
    perplexity,
    same,
    wilson_interval,
)


def test_perplexity_of_a_fair_die_is_its_faces():
    assert perplexity(10 * math.log(6), 10) == pytest.approx(6)
    assert perplexity(1e6, 1) == math.inf
    assert bits_per_byte(8 * math.log(2), 4) == pytest.approx(2)
    assert perplexity(torch.tensor(math.log(3.0)), torch.tensor(1)) == pytest.approx(3)


def test_exact_match_and_its_buckets():
    hyps, refs = ["a b", "c", "d", "e f g"], ["a b", "x", "d", "e f h"]
    assert exact_match(hyps, refs) == 0.5
    short, long, none = exact_match_by_length(hyps, refs, [2, 1, 1, 3], [(1, 1), (2, 3), (4, 9)])
    assert (short.low, short.high, short.rate, short.n) == (1, 1, 0.5, 2)
    assert (long.rate, long.n, long.interval) == (0.5, 2, wilson_interval(1, 2))
    assert math.isnan(none.rate) and none.n == 0 and none.interval == (0.0, 1.0)


def test_bleu_of_a_sentence_computed_by_hand():
    # 1-grams 5 of 6, 2-grams 3 of 5, 3-grams 2 of 4, 4-grams 1 of 3; equal length, so no brevity penalty
    by_hand = 100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    assert corpus_bleu(["the cat sat on a mat"], ["the cat sat on the mat"]) == pytest.approx(by_hand)
    upper, lower = ["The cat sat on the mat"], ["the cat sat on the mat"]
    assert corpus_bleu(upper, lower) < 100 and corpus_bleu(upper, lower, lowercase=True) == pytest.approx(100)
    assert bleu_signature().startswith("nrefs:1|case:mixed") and "tok:13a" in bleu_signature()
    assert "case:lc" in bleu_signature(lowercase=True)


def test_alignment_error_rate_by_hand():
    # sentence 1: A = 3 links, 2 sure, 1 only possible; sentence 2: A = 1 link, wrong
    predicted = [{(0, 0), (1, 1), (2, 1)}, {(0, 3)}]
    sure = [{(0, 0), (1, 1), (3, 2)}, {(0, 0)}]
    possible = [{(2, 1)}, set()]
    precision, recall, error_rate = alignment_scores(predicted, sure, possible)
    assert (precision, recall) == (3 / 4, 2 / 4)
    assert error_rate == pytest.approx(1 - (2 + 3) / (4 + 4))
    assert alignment_error_rate(predicted, sure, possible) == error_rate
    assert alignment_error_rate([{(0, 0), (1, 1)}], [{(0, 0), (1, 2)}]) == 0.5
    assert alignment_error_rate(sure, sure) == 0 and alignment_error_rate([set(), set()], sure) == 1


links = st.frozensets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6)


@given(st.lists(st.tuples(links, links), min_size=1, max_size=5).filter(lambda ps: any(map(any, ps))))
def test_alignment_error_rate_with_sure_links_alone_is_one_minus_f1(pairs):
    predicted, sure = zip(*pairs, strict=True)
    assert 0 <= alignment_error_rate(predicted, sure) <= 1
    flat = [{(n, *link) for n, group in enumerate(side) for link in group} for side in (predicted, sure)]
    f1 = 2 * len(flat[0] & flat[1]) / (len(flat[0]) + len(flat[1]))
    assert alignment_error_rate(predicted, sure) == pytest.approx(1 - f1)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_links_from_attention_maps(kind):
    weights = kind([[[0.1, 0.7, 0.2], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]] * 2)
    target = kind([[True, True, True], [True, False, True]])
    source = kind([[True, True, False], [False, False, False]])
    # row 1 would choose column 2, here <eos>; row 2 is a tie; the second sentence has nothing to link to
    expected = [frozenset({(0, 1), (1, 0), (2, 0)}), frozenset()]
    assert alignments_from_weights(weights, target, source) == expected
    if kind is torch.as_tensor:
        tracked = weights.clone().requires_grad_()
        assert alignments_from_weights(tracked, target, source)[1] == frozenset()


def test_wilson_interval_solves_its_equation():
    for k, n in [(0, 10), (1, 10), (5, 10), (97, 100), (10, 10)]:
        low, high = wilson_interval(k, n)
        for p in (low, high):                                    # |k/n − p| = z √(p(1−p)/n) defines both ends
            gap = 1.96 * math.sqrt(p * (1 - p) / n)
            assert abs(k / n - p) == pytest.approx(gap, abs=1e-9)
        assert low <= k / n <= high
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.2775, abs=1e-4))
    assert wilson_interval(10, 10)[1] == 1.0


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    inside = sum(low <= 0 <= high for low, high in
                 (bootstrap_interval(random.normal(size=60), n=200, seed=i) for i in range(200)))
    assert 0.88 <= inside / 200 <= 0.99
    values = random.normal(size=400)
    low, high = bootstrap_interval(values, seed=3)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.15)
    assert bootstrap_interval(values, seed=3) == (low, high) != bootstrap_interval(values, seed=4)


def test_bootstrap_interval_takes_a_statistic_of_pairs():
    pairs = [("a b c d e", "a b c d e"), ("a b c d x", "a b c d e"), ("x", "a b c d e")]
    bleu = lambda sample: corpus_bleu(*zip(*sample, strict=True))  # noqa: E731
    low, high = bootstrap_interval(pairs, bleu, n=50)
    assert 0 <= low < bleu(pairs) < high <= 100.0001


def test_outcome_prints_records_and_raises(capsys, tmp_path, monkeypatch):
    record = tmp_path / "outcomes.jsonl"
    monkeypatch.setenv("COURSE_OUTCOMES", str(record))
    outcome("alignment error rate", 0.1234, at_most=0.25)
    outcome("schöne Länge", 12345.6, at_least=1e4)
    outcome("slope", 1.5, between=(1, 2))
    with pytest.raises(OutcomeError, match=r"at least 0\.900"):
        outcome("exact match", 0.5, at_least=0.9)
    with pytest.raises(OutcomeError):
        outcome("loss", math.nan, at_most=1)
    with pytest.raises(OutcomeError):
        outcome("loss", math.inf, at_most=1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["outcome · alignment error rate: 0.123 (band: at most 0.250) ✓",
                         "outcome · schöne Länge: 1.23e+04 (band: at least 1e+04) ✓",
                         "outcome · slope: 1.500 (band: 1.000 to 2.000) ✓",
                         "outcome · exact match: 0.500 (band: at least 0.900) ✗"]
    records = [json.loads(line) for line in record.read_text("utf-8").splitlines()]
    assert records[0] == {"name": "alignment error rate", "value": 0.1234, "low": None, "high": 0.25,
                          "ok": True, "headline": False}
    assert [r["ok"] for r in records] == [True, True, True, False, False, False]
    assert (records[2]["low"], records[2]["high"]) == (1, 2)
    assert records[4]["value"] is None and records[5]["value"] is None


def test_outcome_limits_belong_to_the_band(capsys):
    outcome("share", 0.25, at_most=0.25)
    outcome("share", np.float32(0.25), at_least=0.25)
    outcome("share", torch.tensor(0.25), between=(0.25, 0.25))
    with pytest.raises(OutcomeError):
        outcome("share", 0.2500001, at_most=0.25)


def test_same_is_silent_about_what_varies(capsys):
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    same(torch.tanh(x), (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()), "tanh", wrt=[x])
    same((x, [1, 2]), (x + 1e-13, np.array([1, 2])), "parts")
    same(3, 3)
    same(torch.tensor([0.1, -math.inf]), torch.tensor([0.1, -math.inf], dtype=torch.float64))
    assert capsys.readouterr().out.splitlines() == [
        "same · tanh: values and gradients equal (largest relative difference below 1e-10)",
        "same · parts: values equal (largest relative difference below 1e-10)",
        "same · mine and theirs: values equal",
        "same · mine and theirs: values equal (largest relative difference below 1e-05)"]


def test_same_compares_gradients_of_two_modules(capsys):
    torch.manual_seed(0)
    mine, theirs = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    theirs.load_state_dict(mine.state_dict())
    x = torch.randn(5, 3)
    weights = list(mine.parameters()), list(theirs.parameters())
    same(mine(x), theirs(x), wrt=weights[0], theirs_wrt=weights[1])
    with pytest.raises(DifferentError, match=r"gradient 1 at \[0\]: got"):  # the bias is detached
        same(x @ mine.weight.T + mine.bias.detach(), theirs(x), wrt=weights[0], theirs_wrt=weights[1])
    with pytest.raises(DifferentError, match="gradient"):                     # same values, half the gradient
        halved = mine(x) / 2
        same(halved + halved.detach(), theirs(x), wrt=[mine.weight], theirs_wrt=[theirs.weight])
    with pytest.raises(ValueError, match="mine: no output requires"):
        same(mine(x).detach(), theirs(x), wrt=[mine.weight], theirs_wrt=[theirs.weight])


@pytest.mark.parametrize("mine, theirs, says", [
    (torch.tensor([[0.0, 0.31], [0.5, 0.5]]), torch.tensor([[0.0, 0.38], [0.5, 0.5]]),
     r"step: value at \[0, 1\]: got 0.31, expected 0.38 \(relative difference 1.4e-01, allowed 1e-05\)"),
    (torch.zeros(2, 3), torch.zeros(3, 2), r"got shape \(2, 3\), expected \(3, 2\)"),
    (torch.zeros(3), torch.zeros(3, 1), "got shape"),
    ([torch.zeros(2), torch.ones(2)], [torch.zeros(2)] * 2, r"value 1 at \[0\]: got 1, expected 0"),
    ([torch.zeros(2)], [torch.zeros(2)] * 2, "got parts"),
    (torch.tensor([1.0, math.nan]), torch.tensor([1.0, 2.0]), r"\[1\]: got nan, expected 2"),
    (torch.tensor([math.nan]), torch.tensor([math.nan]), "got nan, expected nan"),
    (torch.tensor([math.inf]), torch.tensor([-math.inf]), "got inf, expected -inf"),
    (torch.tensor([1.0, math.inf]), torch.tensor([1.0, 2.0]), "got inf, expected 2"),
    (torch.tensor([1, 2]), torch.tensor([1, 3]), r"\[1\]: got 2, expected 3"),
    (np.zeros(3), np.full(3, 1e-20), "got 0, expected 1e-20"),
    (1.0, 1.0 + 1e-8, "got 1, expected 1"),
])
def test_same_says_where_and_by_how_much(mine, theirs, says, capsys):
    with pytest.raises(DifferentError, match=says):
        same(mine, theirs, "step")
    assert capsys.readouterr().out == ""


@settings(max_examples=30)
@given(st.integers(0, 11), st.sampled_from([1e-8, 1e-3, -1.0]))
def test_same_sees_one_wrong_entry_anywhere(place, error):
    expected = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 4)
    wrong = expected.clone()
    wrong.view(-1)[place] += error
    with pytest.raises(DifferentError):
        same(wrong, expected)


@pytest.mark.parametrize("call, named", [
    (lambda: perplexity(1.0, 0), "count: got 0"),
    (lambda: bits_per_byte(1.0, 0), "n_bytes: got 0"),
    (lambda: exact_match([], []), "hyps, refs: got 0, 0"),
    (lambda: exact_match(["a"], ["a", "b"]), "hyps, refs: got 1, 2"),
    (lambda: exact_match_by_length(["a"], ["a"], [1, 2], [(1, 2)]), "hyps, refs, lengths: got 1, 1, 2"),
    (lambda: corpus_bleu([["a"]], ["a"]), "hyps: got list, expected detokenised"),
    (lambda: corpus_bleu(["a"], [None]), "refs: got NoneType"),
    (lambda: alignment_error_rate([set()], [set()]), "predicted, sure: got no link"),
    (lambda: alignment_error_rate([{0, (0, 1)}], [{(0, 1)}]), "links: got 0"),
    (lambda: alignment_error_rate([set()], [set(), set()]), "predicted, sure, possible: got 1, 2, 2"),
    (lambda: alignments_from_weights(*[np.ones((2, 3))] * 3), r"weights: got shape \(2, 3\)"),
    (lambda: wilson_interval(3, 2), "successes, n: got 3 of 2"),
    (lambda: wilson_interval(0, 0), "successes, n: got 0 of 0"),
    (lambda: bootstrap_interval([]), "values: got none"),
    (lambda: bootstrap_interval([1.0], level=1.0), "n, level: got 1000 and 1.0"),
    (lambda: outcome("x", 1.0), "band: expected exactly one"),
    (lambda: outcome("x", 1.0, at_least=0, at_most=2), "band: expected exactly one"),
    (lambda: outcome("x", 1.0, between=(2, 1)), "between: got 2 … 1"),
])
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match="^" + named):
        call()
