"""The group-relative method: advantages within groups, groups that teach nothing, and its loss against a loop in plain Python."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.alignment.group import (
    GroupConfig,
    centred,
    each_response,
    each_token,
    flat_groups,
    group_loss,
    group_optimise,
    standardised,
)
from course_lib.alignment.loop import GLOSSARY, clipped_surrogate
from course_lib.alignment.policy import frozen, response_log_probs, rollout
from tests.alignment.toys import broken_laws, draws, good_share, random_mask, tiny

MASK = random_mask()


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=tol, atol=tol)


# --- advantages ---------------------------------------------------------------------------------------------------------

@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(-100, 100), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_are_those_of_each_group_alone(groups):
    scores = torch.tensor(groups, dtype=torch.float64)
    for got, share, row in zip(standardised(scores).tolist(), centred(scores).tolist(), groups):
        mean = math.fsum(row) / 4
        spread = math.sqrt(math.fsum((x - mean)**2 for x in row) / 3)
        assert share == pytest.approx([x - mean for x in row], abs=1e-9)
        assert got == pytest.approx([(x - mean) / (spread + 1e-4) for x in row], rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("score", [0.1, 1 / 3, 0.7, -2.3, 1e6])
@pytest.mark.parametrize("size", [3, 7, 8])
@pytest.mark.parametrize("advantages_of", [centred, standardised])
def test_a_group_that_scores_the_same_throughout_teaches_exactly_nothing(score, size, advantages_of):
    scores = torch.tensor([[score] * size, [*range(size)]], dtype=torch.float32)
    got = advantages_of(scores)
    assert (got[0] == 0).all() and got[1].any() and flat_groups(scores).tolist() == [True, False]


def test_some_such_groups_would_teach_rounding_if_it_were_left_to_the_mean():
    scores = torch.tensor([[x] * n for x in (0.1, 0.7, 1 / 3) for n in [7]])
    assert (scores - scores.mean(1, keepdim=True)).any()


def test_a_better_group_is_not_a_reason_to_learn():
    scores = draws(3, 5)
    close(centred(scores + 10), centred(scores), 1e-9)
    close(standardised(scores).sum(1), torch.zeros(3, dtype=torch.float64))
    close(standardised(1000 * scores), standardised(scores), 1e-3)


# --- the loss -----------------------------------------------------------------------------------------------------------

def example(seed=0):
    """log-probabilities, old, reference (B, T), advantages (B,)."""
    return [-2 + 0.5 * draws(4, 7, seed=seed + 10 * i) for i in range(3)] + [draws(4, seed=seed + 40)]


def ours(weigh):
    return lambda p, q, r, a, m: group_loss(p, q, r, a, m, clip=0.2, beta=0.3, weigh=weigh)


def by_hand(log_probs, old, reference, advantages, mask, weigh):
    total = whole = 0.0
    slopes = torch.zeros(mask.shape, dtype=torch.float64)
    for b in range(len(mask)):
        places = mask[b].nonzero().flatten().tolist()
        weight = 1 if weigh is each_token else 1 / len(places)
        for t in places:
            p, q, r, a = log_probs[b, t].item(), old[b, t].item(), reference[b, t].item(), advantages[b].item()
            ratio, gap = math.exp(p - q), r - p
            held = (a > 0 and ratio > 1.2) or (a < 0 and ratio < 0.8)
            gain, slope = ((1.2 if a > 0 else 0.8) * a, 0.0) if held else (ratio * a, ratio * a)
            total += weight * (-gain + 0.3 * (math.exp(gap) - 1 - gap))
            slopes[b, t] = weight * (-slope + 0.3 * (1 - math.exp(gap)))
            whole += weight
    return total, whole, slopes


def laws(weigh):
    def is_the_loop_written_out_with_its_gradient(loss):
        for seed in range(3):
            log_probs, *fixed = example(seed)
            log_probs.requires_grad_()
            total, count = loss(log_probs, *fixed, MASK)
            grad, = torch.autograd.grad(total, log_probs)
            expected, whole, slopes = by_hand(log_probs.detach(), *fixed, MASK, weigh)
            assert total.item() == pytest.approx(expected, rel=1e-6) and count.item() == pytest.approx(whole, rel=1e-6)
            close(grad, slopes, 1e-6)

    def only_the_policy_learns(loss):
        parts = [part.requires_grad_() for part in example()]
        loss(*parts, MASK)[0].backward()
        assert parts[0].grad is not None and parts[0].grad.any() and all(p.grad is None or not p.grad.any() for p in parts[1:])

    def padding_does_not_matter(loss):
        log_probs, old, reference, advantages = example()
        wild = [part.masked_fill(~MASK, torch.nan) for part in (log_probs, old, reference)]
        total, _ = loss(wild[0].requires_grad_(), *wild[1:], advantages, MASK)
        total.backward()
        assert total.item() == pytest.approx(loss(log_probs, old, reference, advantages, MASK)[0].item(), rel=1e-12)
        assert wild[0].grad is not None and wild[0].grad.isfinite().all()

    return [is_the_loop_written_out_with_its_gradient, only_the_policy_learns, padding_does_not_matter]


@pytest.mark.parametrize("weigh", [each_token, each_response])
def test_the_loss_obeys_the_laws(weigh):
    assert broken_laws(laws(weigh), ours(weigh)) == []


def k3_the_wrong_way_round(p, q, r, a, m):
    gap = (p - r.detach())[m]
    return ours(each_token)(p, q, p.detach(), a, m)[0] + 0.3 * (gap.expm1() - gap).sum(), m.sum()


def k1_for_k3(p, q, r, a, m):
    return group_loss(p, q, r, a, m, clip=0.2, beta=0)[0] + 0.3 * (p - r.detach())[m].sum(), m.sum()


MUTANTS = {
    "zero": lambda p, q, r, a, m: (p.nan_to_num().sum() * 0, m.sum()),
    "sign of the advantage": lambda p, q, r, a, m: ours(each_token)(p, q, r, -a, m),
    "reference and old swapped": lambda p, q, r, a, m: ours(each_token)(p, r, q, a, m),
    "unmasked": lambda p, q, r, a, m: ours(each_token)(p, q, r, a, torch.ones_like(m)),
    "shifted": lambda p, q, r, a, m: ours(each_token)(p[:, 1:], q[:, 1:], r[:, 1:], a, m[:, :-1]),
    "each response": ours(each_response),
    "kl forgotten": lambda p, q, r, a, m: group_loss(p, q, r, a, m, clip=0.2, beta=0),
    "kl subtracted": lambda p, q, r, a, m: group_loss(p, q, r, a, m, clip=0.2, beta=-0.3),
    "kl not differentiated": lambda p, q, r, a, m: (
        group_loss(p, q, r, a, m, clip=0.2, beta=0)[0] + group_loss(p.detach(), q, r, 0 * a, m, clip=0.2, beta=0.3)[0], m.sum()),
    "kl the wrong way round": k3_the_wrong_way_round, "k1": k1_for_k3,
    "advantage of another row": lambda p, q, r, a, m: ours(each_token)(p, q, r, a.roll(1), m),
    "no stop-gradient": lambda p, q, r, a, m: (
        clipped_surrogate((p - q)[m], a[:, None].expand_as(p)[m], 0.2).sum() + 0.3 * ((r - p).expm1() - (r - p))[m].sum(), m.sum()),
    "the advantage learns": lambda p, q, r, a, m: (
        ours(each_token)(p, q, r, a, m)[0] - (a[:, None].expand_as(p) - a.detach()[:, None])[m].sum(), m.sum()),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_reject(mutant):
    assert broken_laws(laws(each_token), MUTANTS[mutant])


def test_weights_by_hand():
    mask = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).bool()
    assert each_token(mask).tolist() == mask.float().tolist()
    assert each_response(mask).tolist() == [[0, 0.5, 0.5, 0], [0.25] * 4, [0] * 4]
    _, count = group_loss(*example()[:3], torch.ones(4), MASK, clip=0.2, beta=0.0, weigh=lambda m: m / 7)
    assert count.item() == pytest.approx(MASK.sum().item() / 7)


# --- the loop -----------------------------------------------------------------------------------------------------------

PROMPTS = [[2, 5], [2], [5, 5, 1]]


def parts(**more):
    policy = tiny(sharpness=1, **more)
    return policy, frozen(policy), torch.optim.AdamW(policy.parameters(), lr=3e-3)


def run(steps, score=good_share, seed=0, advantages_of=standardised, weigh=each_token, **more):
    policy, reference, optimizer = parts()
    config = GroupConfig(**{"max_new": 4, "beta": 0.05, "size": 6} | more)
    logs = list(group_optimise(policy, reference, [PROMPTS] * steps, score, optimizer, config, torch.Generator().manual_seed(seed),
                               advantages_of=advantages_of, weigh=weigh))
    return policy, reference, logs


@pytest.mark.parametrize("advantages_of, weigh, seed", [
    (standardised, each_token, 0), (standardised, each_token, 1), (standardised, each_response, 0), (centred, each_token, 1)])
def test_the_toy_learns_to_say_the_one_good_word(seed, advantages_of, weigh):
    policy, _, logs = run(60, seed=seed, advantages_of=advantages_of, weigh=weigh)
    assert logs[0]["score"] < 0.45 and logs[-1]["objective"] > logs[0]["objective"] + 0.3
    said = rollout(policy, PROMPTS * 20, max_new=4, generator=torch.Generator().manual_seed(5))
    assert good_share(*said[:2]).mean() > 0.75


def test_flat_groups_without_a_penalty_change_nothing_at_all():
    policy, reference, logs = run(2, score=lambda ids, mask: torch.full((len(ids),), 0.1), beta=0.0)
    assert all(torch.equal(a, b) for a, b in zip(policy.parameters(), reference.parameters())) or logs[0]["grad_norm"] == 0
    assert logs[0]["grad_norm"] == logs[1]["grad_norm"] == 0 and logs[0]["flat_groups"] == 1


def test_a_responses_advantage_is_that_of_its_own_group():
    """One plain step on the rollout itself: the gradient is Σ A ∇ log π with A within the groups of one prompt."""
    config = GroupConfig(max_new=4, beta=0.0, size=6, epochs=1, minibatches=1, clip_norm=None)
    policy, reference, _ = parts()
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.1)
    next(group_optimise(policy, reference, [PROMPTS], good_share, optimizer, config, torch.Generator().manual_seed(0)))
    said = rollout(reference, [p for p in PROMPTS for _ in range(6)], max_new=4, generator=torch.Generator().manual_seed(0))
    scores, gains = good_share(*said[:2]).double(), []
    for first in (0, 6, 12):
        own = scores[first:first + 6]
        gains.append((own - own.mean()) / (own.std() + 1e-4))
    twin, mask = parts()[0], said.response_mask[:, 1:]
    log_probs = response_log_probs(twin, *said[:2])
    (-(torch.cat(gains)[:, None] * log_probs).sum() / mask.sum()).backward()
    for ours, theirs in zip(policy.parameters(), twin.parameters()):
        close(ours, theirs - 0.1 * theirs.grad, 1e-5)                                    # scores are float32


def test_what_is_logged_is_in_the_glossary():
    _, _, logs = run(2, max_update_kl=1.0)
    assert {"objective", "score", "kl", "entropy", "clip_fraction", "policy_loss", "response_length", "flat_groups"} <= set(logs[0])
    assert set(logs[0]) <= set(GLOSSARY)
    assert logs[0]["kl"] == 0 and logs[1]["kl"] != 0


A = example()


@pytest.mark.parametrize("call, message", [
    (lambda: centred(torch.zeros(3, 1)), r"scores: got shape \(3, 1\), expected \(P, G\)"),
    (lambda: standardised(torch.zeros(3)), r"scores: got shape \(3,\)"),
    (lambda: group_loss(*A[:3], A[3][:2], MASK, clip=0.2, beta=0.1), r"advantages: got shape \(2,\), expected \(4,\)"),
    (lambda: group_loss(*A[:3], A[0], MASK, clip=0.2, beta=0.1), r"advantages: got shape \(4, 7\), expected \(4,\)"),
    (lambda: group_loss(*A[:2], A[2][:, 1:], A[3], MASK, clip=0.2, beta=0.1), r"reference: got shape \(4, 6\)"),
    (lambda: GroupConfig(max_new=4, size=1), "size: got 1, expected at least 2"),
    (lambda: run(1, score=lambda ids, mask: torch.zeros(3)), "expected 18 finite numbers"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
