"""What a first reader tripped over: mistakes that a message has to name, messages that must not mislead."""

from functools import partial as of

import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises import EXERCISES, exercise

FUNCTIONS = [id for id, asked in EXERCISES.items() if asked.is_function]


def nll(logits, targets):
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def gru(x, h, W, U, b, c, *, candidate=lambda n, r, w: n + r * w, gate=torch.sigmoid):
    (r, z, n), (u, v, w) = (x @ W.T + b).chunk(3, 1), (h @ U.T + c).chunk(3, 1)
    r, z = gate(r + u), gate(z + v)
    return (1 - z) * torch.tanh(candidate(n, r, w)) + z * h


def filled(rows, fill):
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])


def batch(targets, bos, eos, pad):
    out = [[*row, eos] for row in targets]
    mask = filled([[True] * len(row) for row in out], False)
    return filled([[bos, *row] for row in targets], pad), filled(out, pad), mask


def beam(scores, log_probs):
    best, place = (scores[:, None] + log_probs).flatten().topk(len(scores))
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def attend(query, keys, mask, W, U, v, *, weigh):
    weights = weigh(torch.tanh((query @ W.T)[:, None] + keys @ U.T) @ v, mask)
    return (weights[:, None] @ keys).squeeze(1), weights


def masked(scores, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(1).masked_fill(~mask, 0)


def equal_where_empty(scores, mask):
    weights = scores.masked_fill(~mask, -torch.inf).softmax(1)
    return torch.where(weights.isnan(), 1 / mask.shape[1], weights)


def by_exp(queries, keys, values):
    weights = (queries @ keys.mT).exp()
    return weights / weights.sum(-1, keepdim=True) @ values


def rate(predicted, sure, possible, *, hits=lambda a, s, p: len(a & s) + len(a & (p | s)), nothing=0.0):
    links = sum(map(len, predicted)) + sum(map(len, sure))
    return 1 - sum(map(hits, predicted, sure, possible)) / links if links else nothing


def rate_merged(predicted, sure, possible):
    return rate(*([set().union(*group)] for group in (predicted, sure, possible)))


def reversed_over_itself(x, lengths):
    for row, n in zip(x, lengths, strict=True):
        for t in range(n):
            row[t] = row[n - 1 - t]
    return x


def reversed_clamped(x, lengths):
    source = (lengths[:, None] - 1 - torch.arange(x.shape[1])).clamp(min=0)
    return x.gather(1, source[..., None].expand_as(x))


def reversed_in_place(x, lengths):
    for row, n in zip(x, lengths, strict=True):
        row[:n] = row[:n].flip(0)
    return x


WRONG = {
    "2.1 reset on the input": of(gru, candidate=lambda n, r, w: r * n + w),
    "2.1 reset on everything": of(gru, candidate=lambda n, r, w: r * (n + w)),
    "2.1 no input bias": lambda x, h, W, U, b, c: gru(x, h, W, U, 0 * b, c),
    "2.1 gates without sigmoid": of(gru, gate=lambda a: a),
    "2.1 tanh gates": of(gru, gate=torch.tanh),
    "2.2 mask turned round": lambda l, t, m: nll(l, t)[~m].mean(),
    "2.2 divided by the sentences": lambda l, t, m: nll(l, t)[m].sum() / len(l),
    "2.2 perplexity": lambda l, t, m: F.cross_entropy(l[m], t[m]).exp(),
    "2.2 overflow": lambda l, t, m: F.nll_loss((l.exp() / l.exp().sum(-1, keepdim=True))[m].log(), t[m]),
    "2.2 NaN at the padding": lambda l, t, m: (
        (nll(l.masked_fill(~m[..., None], -torch.inf), t) * m).sum() / m.sum()
    ),
    "2.3 mask turned round": lambda *args: (*batch(*args)[:2], ~batch(*args)[2]),
    "2.3 padded with 0": lambda targets, bos, eos, pad: batch(targets, bos, eos, 0),
    "2.3 padded on the left": lambda targets, bos, eos, pad: tuple(
        filled([row[::-1] for row in rows], fill).flip(1)
        for rows, fill in (
            ([[bos, *row] for row in targets], pad),
            ([[*row, eos] for row in targets], pad),
            ([[True] * (len(row) + 1) for row in targets], False),
        )
    ),
    "2.5 probabilities returned": lambda s, p: (beam(s, p)[0].exp(), *beam(s, p)[1:]),
    "2.5 place, not token": lambda s, p: (*beam(s, p)[:2], beam(s, p)[1] * p.shape[1] + beam(s, p)[2]),
    "2.5 not sorted": lambda s, p: tuple(part.flip(0) for part in beam(s, p)),
    "3.1 empty row is uniform": of(attend, weigh=equal_where_empty),
    "3.1 mask turned round": of(attend, weigh=lambda s, m: s.masked_fill(m, -1e9).softmax(1)),
    "3.1 tanh of the score": lambda q, k, m, W, U, v: (
        (w := masked(torch.tanh(((q @ W.T)[:, None] + k @ U.T) @ v), m))[:, None].bmm(k)[:, 0],
        w,
    ),
    "3.2 overflow": by_exp,
    "3.2 divided by D": lambda q, k, v: (q @ k.mT / q.shape[2]).softmax(2) @ v,
    "3.2 sigmoid": lambda q, k, v: (q @ k.mT).sigmoid() @ v,
    "3.2 log_softmax": lambda q, k, v: (q @ k.mT).log_softmax(2) @ v,
    "3.4 |A ∩ P| forgotten": of(rate, hits=lambda a, s, p: len(a & s)),
    "3.4 |A ∩ S| forgotten": of(rate, hits=lambda a, s, p: len(a & (p | s))),
    "3.4 sentences merged": rate_merged,
    "3.4 percent": lambda *args: 100 * rate(*args),
    "3.6 overwritten while read": reversed_over_itself,
    "3.6 padding lost": reversed_clamped,
    "3.6 whole row flipped, then masked": lambda x, n: (
        x.flip(1) * (torch.arange(x.shape[1]) < n[:, None])[..., None]
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_named(judge, seed, mistake):
    id, name = mistake.split(" ", 1)
    found = judge(id, WRONG[mistake], seed)
    assert not found.ok and found.misconception == name, str(found)


@pytest.mark.parametrize(
    ("mistake", "phrases"),
    [
        ("2.2 mask turned round", ["over the padding, not over the words"]),
        ("2.5 probabilities returned", ["you return probabilities, not log-probabilities"]),
        ("3.1 empty row is uniform", ["got equal weights", "one large negative number"]),
        ("3.4 |A ∩ P| forgotten", ["|A ∩ S| alone", "adds |A ∩ P|"]),
    ],
)
def test_what_is_said_to_a_mistake(judge, mistake, phrases):
    message = judge(mistake.split(" ")[0], WRONG[mistake]).message
    assert all(phrase in message for phrase in phrases), message


def test_2_2_recommends_to_select_before_the_softmax(judge):
    found = judge("2.2", lambda l, t, m: (nll(l, t) * m).sum() / m.sum())
    assert "Select the real tokens first, logits[mask]" in found.message
    assert judge("2.2", lambda l, t, m: nll(l, t)[m].mean()).ok  # gradients are not asked for


@pytest.mark.parametrize("nothing", [1.0, float("nan"), "raise", None])
def test_3_4_without_any_link_is_0(judge, seed, nothing):
    def answer(predicted, sure, possible):
        value = rate(predicted, sure, possible, nothing=nothing)
        return 1 / 0 if value == "raise" else value

    found = judge("3.4", answer, seed)
    assert [result.ok for result in found.results] == [True, True, False]
    said = "no predicted and no sure link at all, so nothing is wrong and the rate is 0: "
    assert found.message.startswith(said) and not found.misconception


def test_one_chance_hit_names_nothing(judge, seed):
    """Wrong everywhere, and by chance equal to a known mistake where the gates are wide open."""

    def no_candidate(x, h, W, U, b, c):
        return h * (x @ W.T + b + h @ U.T + c).chunk(3, 1)[1].sigmoid()

    found = judge("2.1", no_candidate, seed)
    assert not found.ok and not found.misconception, str(found)


# ---------------------------------------------------------------- where no mistake is known


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("2.1", lambda x, h, W, U, b, c: gru(x, h, W, U, b, b), "print yours, gate by gate"),
        ("2.2", lambda l, t, m: -l[m].log_softmax(-1).mean(), "real words: print your sum and count"),
        ("3.2", lambda q, k, v: F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT @ v, "the weights"),
        ("3.4", lambda a, s, p: sum(len(x ^ y) for x, y in zip(a, p, strict=True)) / 99, "|A ∩ P| = "),
    ],
)
def test_unknown_mistakes_get_the_next_thing_to_look_at(judge, seed, id, answer, phrase):
    found = judge(id, answer, seed)
    assert not found.misconception and ". There " in found.message and phrase in found.message, str(found)


def test_3_4_says_the_true_counts(judge, cases):
    message = judge("3.4", lambda a, s, p: 0.123).message
    case = cases("3.4", None)[0].args
    counts = [sum(map(len, case[name])) for name in ("predicted", "sure")]
    counts += [sum(len(a & s) for a, s in zip(case["predicted"], case["sure"], strict=True))]
    assert "|A| = {}, |S| = {}, |A ∩ S| = {} and".format(*counts) in message


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("2.1", lambda *args: (gru(*args), args[1]), "do you return 2 values?"),
        ("2.2", lambda l, t, m: nll(l, t), "expected (), a single number"),
        ("3.1", lambda *args: attend(*args, weigh=masked)[::-1], "expected (context, weights)"),
        ("3.2", lambda q, k, v: ((q @ k.mT).softmax(2) @ v, (q @ k.mT).softmax(2)), "you return 2 values"),
    ],
)
def test_a_wrong_form_is_explained(judge, id, answer, phrase):
    found = judge(id, answer)
    assert found.points == 0 and phrase in found.message, str(found)


# ---------------------------------------------------------------- right, with a remark


def batch_appended(targets, bos, eos, pad):
    target_in, _, mask = batch(targets, bos, eos, pad)
    for row in targets:
        row.append(eos)
    return target_in, filled(targets, pad), mask


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("2.3", lambda *args: (*batch(*args)[:2], batch(*args)[2].float()), "mask has dtype float32"),
        ("2.3", batch_appended, "changes its argument targets"),
        ("2.5", lambda s, p: tuple(part.double() for part in beam(s, p)), "parents has dtype float64"),
        ("3.6", reversed_in_place, "changes its argument x"),
    ],
)
def test_right_values_pass_with_a_remark(judge, id, answer, phrase):
    found = judge(id, answer)
    assert found.ok and phrase in found.message, str(found)


@pytest.mark.parametrize("id", [id for id in FUNCTIONS if exercise(id).kind != "measure"])
def test_right_answers_get_no_remark(judge, seed, id):
    found = judge(id, exercise(id).reference, seed)
    assert found.ok and not found.message, str(found)


# ---------------------------------------------------------------- predictions


def test_a_misspelt_key_is_named(judge):
    message = judge("2.4", {"decay_at_20": 0.12, "more_data": "no"}).message
    assert "'more_data' is none of the keys decay_at_20" in message


@pytest.mark.parametrize("weights", [(13, 38, 50), (12.5, 37.5, 50)])
def test_per_cent_is_named(judge, weights):
    assert "weights: that is in per cent" in judge("3.3", {"weights": weights}).message


@pytest.mark.parametrize(
    ("id", "given", "said"),
    [
        ("4.5", {"with_biases": 1_050_000}, "with_biases: 1,050,000 is too small"),
        ("4.5", {"with_biases": 1_050_625}, "with_biases: 1,050,625 is too large"),
        ("4.5", {"one_head": 9_999}, "one_head: 9999 is too small"),
        ("4.5", {"scores": 1e14 + 1}, "scores: 100,000,000,000,001 is too large"),
        ("5.6", {"three_matrices": 100_000_000}, "three_matrices: 100,000,000 is too small"),
        ("5.6", {"three_matrices": 102_000_000}, "three_matrices: 102,000,000 is too large"),
        ("5.4", {"copies_right": 0.1725}, "copies_right: 0.172 is too large"),
        ("5.4", {"length_of_row": 8.0517}, "length_of_row: 8.052 is too large"),
        ("5.4", {"copies_right": 0.4}, "copies_right: 0.40 is too large"),
    ],
)
def test_what_is_too_large_looks_too_large(judge, id, given, said):
    """As many digits as it takes: 1.05e+06 may be either side of the right value, and 0.17 is right."""
    assert said in judge(id, given).message, judge(id, given).message
