"""PPO's parts against sums written out and loops in plain Python; its loop on a toy that has one right answer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.alignment import loop
from course_lib.alignment.loop import GLOSSARY, clip_fraction, learn_from, minibatches
from course_lib.alignment.policy import Rollout, frozen, joined, response_log_probs, rollout
from course_lib.alignment.ppo import (
    PPOConfig,
    explained_variance,
    gae,
    policy_loss,
    ppo,
    token_rewards,
    value_loss,
    whiten,
)
from course_lib.alignment.reward import RewardModel, ValueModel
from tests.alignment.toys import broken_laws, draws, good_share, random_mask, tiny

MASK = random_mask()


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=tol, atol=tol)


def garbage(x, mask=MASK):
    """x with NaN where nothing counts."""
    return x.masked_fill(~mask, torch.nan)


def shape_of(seed):
    return random_mask(seed=seed)


# --- rewards, advantages ------------------------------------------------------------------------------------------------

def rewards_by_hand(log_probs, reference, mask, scores, beta):
    rows = []
    for p, q, m, s in zip(log_probs.tolist(), reference.tolist(), mask.tolist(), scores.tolist()):
        row = [-beta * (a - b) if counts else 0.0 for a, b, counts in zip(p, q, m)]
        row[max(t for t, counts in enumerate(m) if counts)] += s
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_token_rewards_are_those_written_out(seed):
    mask, scores = shape_of(seed), draws(4, seed=9)
    log_probs, reference = (-draws(4, 7, seed=s).abs() for s in (0, 1))
    got = token_rewards(garbage(log_probs, mask), garbage(reference, mask), mask, scores, 0.3)
    close(got, rewards_by_hand(log_probs, reference, mask, scores, 0.3))
    far = (log_probs - reference).masked_fill(~mask, 0).sum(1)
    close(got.sum(1), scores - 0.3 * far)


@settings(max_examples=40, deadline=None)
@given(gamma=st.floats(0, 1), lam=st.floats(0, 1), seed=st.integers(0, 50))
def test_advantages_are_the_double_sum(gamma, lam, seed):
    mask = shape_of(seed)
    rewards, values = draws(4, 7, seed=seed), draws(4, 7, seed=seed + 100)
    got, returns = gae(garbage(rewards, mask), garbage(values, mask), mask, gamma, lam)
    expected = torch.zeros(4, 7, dtype=torch.float64)
    for b in range(4):
        places = mask[b].nonzero().flatten().tolist()
        for i, t in enumerate(places):                                                  # Σ_l (γλ)^l δ_{t+l}
            for k, u in enumerate(places[i:]):
                after = values[b, u + 1].item() if u + 1 in places else 0.0
                expected[b, t] += (gamma * lam)**k * (rewards[b, u] + gamma * after - values[b, u])
    close(got, expected)
    close(returns, (expected + values).masked_fill(~mask, 0))


def test_lambda_1_gives_the_rewards_to_come_and_lambda_0_one_step():
    rewards, values = draws(4, 7), draws(4, 7, seed=1)
    _, returns = gae(rewards, values, MASK, 1.0, 1.0)
    close(returns, rewards.masked_fill(~MASK, 0).flip(1).cumsum(1).flip(1) * MASK)
    one_step, _ = gae(rewards, values, torch.ones_like(MASK), 0.9, 0.0)
    close(one_step[:, :-1], (rewards + 0.9 * values.roll(-1, 1) - values)[:, :-1])


def test_a_critic_that_is_right_leaves_no_advantage():
    rewards = draws(4, 7)
    values = rewards.masked_fill(~MASK, 0).flip(1).cumsum(1).flip(1)
    close(gae(rewards, values, MASK, 1.0, 0.7)[0], torch.zeros(4, 7, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_whitened_values_have_mean_0_and_variance_1_where_they_count(seed):
    mask, x = shape_of(seed), 5 + 3 * draws(4, 7, seed=seed)
    got = whiten(garbage(x, mask), mask)
    assert not got[~mask].any() and got[mask].mean().abs() < 1e-12 and got[mask].var(correction=0).item() == pytest.approx(1, rel=1e-12)
    assert torch.equal(got[mask].argsort(), x[mask].argsort())


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_does_not_vary_whitens_to_zeros(value, dtype):
    assert not whiten(torch.full((4, 7), value, dtype=dtype), MASK).any()


def test_explained_variance_by_hand():
    returns = draws(4, 7)
    assert explained_variance(garbage(returns), garbage(returns), MASK) == 1
    assert explained_variance(returns + 5, returns, MASK) == pytest.approx(1)             # a constant error is not variance
    assert explained_variance(torch.zeros(4, 7), returns, MASK) == pytest.approx(0)
    assert explained_variance(2 * returns, returns, MASK) == pytest.approx(0)
    assert explained_variance(-returns, returns, MASK) == pytest.approx(-3)
    assert explained_variance(returns, torch.ones(4, 7), MASK) == 0


# --- the clipped losses -------------------------------------------------------------------------------------------------

def example(seed=0):
    """log-probabilities, old ones, advantages; ratios on both sides of the clip, advantages of both signs."""
    return -2 + 0.5 * draws(4, 7, seed=seed), -2 + 0.5 * draws(4, 7, seed=seed + 10), draws(4, 7, seed=seed + 20)


def policy_by_hand(log_probs, old, advantages, mask, clip):
    total, slopes = 0.0, torch.zeros(mask.shape, dtype=torch.float64)
    for b in range(mask.shape[0]):
        for t in range(mask.shape[1]):
            if mask[b, t]:
                a, ratio = advantages[b, t].item(), math.exp(log_probs[b, t].item() - old[b, t].item())
                if (a > 0 and ratio > 1 + clip) or (a < 0 and ratio < 1 - clip):          # has moved far enough: constant
                    total -= (1 + clip if a > 0 else 1 - clip) * a
                else:
                    total, slopes[b, t] = total - ratio * a, -ratio * a
    return total, slopes


def law_is_the_loop_written_out_with_its_gradient(loss):
    for seed in range(3):
        log_probs, old, advantages = example(seed)
        log_probs.requires_grad_()
        total, count = loss(log_probs, old, advantages, MASK, 0.2)
        grad, = torch.autograd.grad(total, log_probs)
        expected, slopes = policy_by_hand(log_probs.detach(), old, advantages, MASK, 0.2)
        assert total.item() == pytest.approx(expected, rel=1e-12) and count.item() == MASK.sum()
        close(grad, slopes)


def law_only_the_policy_learns(loss):
    parts = [part.requires_grad_() for part in example()]
    loss(*parts, MASK, 0.2)[0].backward()
    assert parts[0].grad is not None and parts[0].grad.any() and all(part.grad is None or not part.grad.any() for part in parts[1:])


def law_padding_does_not_matter(loss):
    parts = example()
    wild = [garbage(part).requires_grad_() for part in parts]
    total, _ = loss(*wild, MASK, 0.2)
    total.backward()
    assert wild[0].grad is not None and wild[0].grad.isfinite().all()
    assert total.item() == pytest.approx(loss(*parts, MASK, 0.2)[0].item(), rel=1e-12)


def law_parts_add_up(loss):
    parts = example()
    whole, halves = loss(*parts, MASK, 0.2), [loss(*(p[rows] for p in parts), MASK[rows], 0.2) for rows in (slice(0, 1), slice(1, 4))]
    assert whole[0].item() == pytest.approx(sum(h[0].item() for h in halves), rel=1e-12) and whole[1] == halves[0][1] + halves[1][1]


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]


def unclipped(log_probs, old, advantages, mask, clip):
    return -((log_probs - old).exp() * advantages)[mask].sum(), mask.sum()


def clipped_without_min(log_probs, old, advantages, mask, clip):
    return -((log_probs - old).exp().clamp(1 - clip, 1 + clip) * advantages)[mask].sum(), mask.sum()


def clipped_with_max(log_probs, old, advantages, mask, clip):
    ratio = (log_probs - old).exp()
    return -torch.maximum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)[mask].sum(), mask.sum()


def not_stopped(log_probs, old, advantages, mask, clip):
    return loop.clipped_surrogate((log_probs - old)[mask], advantages[mask], clip).sum(), mask.sum()


MUTANTS = {
    "zero": lambda p, q, a, m, c: (p.nan_to_num().sum() * 0, m.sum()),
    "sign flipped": lambda p, q, a, m, c: policy_loss(p, q, -a, m, c),
    "swapped policies": lambda p, q, a, m, c: policy_loss(q, p, a, m, c),
    "unmasked": lambda p, q, a, m, c: policy_loss(p, q, a, torch.ones_like(m), c),
    "multiplied by the mask": lambda p, q, a, m, c: ((loop.clipped_surrogate(p - q.detach(), a.detach(), c) * m).sum(), m.sum()),
    "shifted": lambda p, q, a, m, c: policy_loss(p[:, :-1], q[:, :-1], a[:, 1:], m[:, 1:], c),
    "mean": lambda p, q, a, m, c: (policy_loss(p, q, a, m, c)[0] / m.sum(), m.sum()),
    "rows averaged first": lambda p, q, a, m, c: (
        (loop.clipped_surrogate(p - q.detach(), a.detach(), c).masked_fill(~m, 0).sum(1) / m.sum(1)).sum(), m.sum()),
    "clip of half the size": lambda p, q, a, m, c: policy_loss(p, q, a, m, c / 2),
    "ratio to itself": lambda p, q, a, m, c: policy_loss(p, p, a, m, c),
    "padding counted": lambda p, q, a, m, c: (policy_loss(p, q, a, m, c)[0], torch.tensor(m.numel())),
    "unclipped": unclipped, "without min": clipped_without_min, "max": clipped_with_max, "no stop-gradient": not_stopped,
}


def test_the_policy_loss_obeys_the_laws():
    assert broken_laws(LAWS, policy_loss) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_reject(mutant):
    assert broken_laws(LAWS, MUTANTS[mutant])


def test_the_examples_are_on_both_sides_of_the_clip():
    log_probs, old, advantages = example()
    ratio = (log_probs - old).exp()[MASK]
    for outside in (ratio > 1.2, ratio < 0.8):
        assert (advantages[MASK][outside] > 0).any() and (advantages[MASK][outside] < 0).any()
    share = sum(not 0.8 <= r <= 1.2 for r in ratio.tolist()) / len(ratio)
    assert clip_fraction(garbage(log_probs), garbage(old), MASK, 0.2).item() == pytest.approx(share)


def test_the_value_loss_is_the_loop_written_out_with_its_gradient():
    for clip in (0.1, 0.5, 100.0):
        values, old, returns = (draws(4, 7, seed=s) for s in range(3))
        wild = garbage(values).requires_grad_()
        total, count = value_loss(wild, garbage(old).requires_grad_(), garbage(returns).requires_grad_(), MASK, clip)
        grad, = torch.autograd.grad(total, wild)
        expected, slopes = 0.0, torch.zeros(4, 7, dtype=torch.float64)
        for b, t in MASK.nonzero().tolist():
            v, o, r = values[b, t].item(), old[b, t].item(), returns[b, t].item()
            near = min(max(v, o - clip), o + clip)
            if (v - r)**2 >= (near - r)**2:
                expected, slopes[b, t] = expected + (v - r)**2 / 2, v - r
            else:
                expected += (near - r)**2 / 2                                           # beyond the clip: constant
        assert total.item() == pytest.approx(expected, rel=1e-12) and count == MASK.sum()
        close(grad, slopes)
        total, _ = value_loss(values, old.requires_grad_(), returns.requires_grad_(), MASK, clip)
        assert not total.requires_grad


# --- the loop -----------------------------------------------------------------------------------------------------------

PROMPTS = [[2, 5], [2], [5, 5, 1]] * 4


def parts(seed=0, **more):
    policy = tiny(seed, sharpness=1, **more)
    critic = ValueModel(policy)
    return policy, frozen(policy), critic, torch.optim.AdamW([*policy.parameters(), *critic.parameters()], lr=3e-3)


def run(steps, score=good_share, seed=0, **more):
    policy, reference, critic, optimizer = parts()
    config = PPOConfig(**{"max_new": 4, "beta": 0.05} | more)
    logs = list(ppo(policy, reference, critic, [PROMPTS] * steps, score, optimizer, config, torch.Generator().manual_seed(seed)))
    return policy, reference, critic, logs


@pytest.mark.parametrize("seed", [0, 1])
def test_the_toy_learns_to_say_the_one_good_word(seed):
    policy, reference, _, logs = run(35, seed=seed)
    assert logs[0]["score"] < 0.45 and logs[-1]["score"] > 0.9
    assert logs[-1]["objective"] > logs[0]["objective"] + 0.3 and logs[-1]["explained_variance"] > 0.3
    assert logs[-1]["objective"] == pytest.approx(logs[-1]["score"] - 0.05 * logs[-1]["kl"]) and logs[-1]["kl"] > 1
    said = rollout(policy, PROMPTS * 5, max_new=4, generator=torch.Generator().manual_seed(5))
    assert good_share(said.ids, said.response_mask).mean() > 0.9
    far = (said.log_probs - response_log_probs(reference, *said[:2])).sum(1).mean().item()
    assert far == pytest.approx(logs[-1]["kl"], abs=1.5)


def test_what_is_logged_is_in_the_glossary_and_true_of_the_first_step():
    _, reference, _, logs = run(1)
    assert {"objective", "score", "kl", "entropy", "clip_fraction", "value_loss", "policy_loss", "explained_variance",
            "response_length"} <= set(logs[0]) <= set(GLOSSARY)
    said = rollout(reference, PROMPTS, max_new=4, generator=torch.Generator().manual_seed(0))
    assert logs[0]["score"] == pytest.approx(good_share(*said[:2]).mean().item()) and logs[0]["kl"] == 0
    assert logs[0]["response_length"] == pytest.approx(said.response_mask.sum(1).double().mean().item())
    assert logs[0]["explained_variance"] == pytest.approx(0, abs=1e-9)                   # a new critic says 0 everywhere


def test_a_strong_penalty_keeps_the_policy_near_and_the_score_low():
    free, held = run(20, beta=0.0)[-1][-1], run(20, beta=3.0)[-1][-1]
    assert free["kl"] > 2 > 0.5 > held["kl"] and free["score"] > held["score"] + 0.3


def test_the_reference_stays_and_the_critic_and_the_policy_move():
    policy, reference, critic, _ = run(2)
    old_policy, _, old_critic, _ = parts()
    assert all(torch.equal(a, b) for a, b in zip(reference.parameters(), old_policy.parameters()))
    for now, before in ((policy, old_policy), (critic, old_critic)):
        assert not any(torch.equal(a, b) for a, b in zip(now.parameters(), before.parameters()))


def test_one_step_is_reinforce_with_the_critic_as_baseline():
    """One update on the rollout itself: the ratio is 1 and its gradient Σ A ∇ log π, which autograd finds here without any ratio."""
    config = PPOConfig(max_new=4, beta=0.0, epochs=1, minibatches=1, clip_norm=None, value_weight=0.0, lam=1.0)
    policy, reference, critic, _ = parts()
    optimizer = torch.optim.SGD([*policy.parameters(), *critic.parameters()], lr=0.1)
    next(ppo(policy, reference, critic, [PROMPTS], good_share, optimizer, config, torch.Generator().manual_seed(0)))
    said = rollout(reference, PROMPTS, max_new=4, generator=torch.Generator().manual_seed(0))
    mask, scores, twin = said.response_mask[:, 1:], good_share(*said[:2]).double(), parts()[0]
    gains = scores[:, None].expand(mask.shape)[mask]                                     # γ = λ = 1 and V = 0: the score, everywhere
    gains = (gains - gains.mean()) / gains.std(correction=0)
    log_probs = response_log_probs(twin, *said[:2])[mask]
    (-(gains * log_probs).mean()).backward()
    for ours, theirs in zip(policy.parameters(), twin.parameters()):
        close(ours, theirs - 0.1 * theirs.grad, 1e-6)                                    # scores are float32


def test_a_step_ends_early_when_the_policy_has_moved_enough():
    policy, _, _, optimizer = parts()
    said = rollout(policy, PROMPTS, max_new=4, generator=torch.Generator().manual_seed(0))
    seen = []

    def loss_of(now, rows):
        seen.append(rows)
        return -now.sum(), {}

    for limit, updates in ((None, 6), (1e-9, 1), (1e9, 6)):
        seen.clear()
        config = PPOConfig(max_new=4, epochs=3, minibatches=2, max_update_kl=limit)
        log = learn_from(policy, said, loss_of, optimizer, config, torch.Generator().manual_seed(0))
        said = rollout(policy, PROMPTS, max_new=4, generator=torch.Generator().manual_seed(0))
        assert len(seen) == updates and (log["update_kl"] > 1e-9)


def test_every_epoch_deals_out_every_row_once():
    config = PPOConfig(max_new=4, epochs=3, minibatches=4)
    dealt = list(minibatches(10, config, torch.Generator().manual_seed(0)))
    assert [len(rows) for rows in dealt] == [3, 3, 2, 2] * 3
    epochs = [torch.cat(dealt[i:i + 4]) for i in (0, 4, 8)]
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs) and not torch.equal(epochs[0], epochs[1])
    assert [len(rows) for rows in minibatches(2, config, None)] == [1, 1] * 3


def test_a_reward_model_serves_as_a_score_and_dropout_is_off():
    policy, reference, critic, optimizer = parts(dropout=0.5)
    policy.train(), critic.train()
    config = PPOConfig(max_new=3, epochs=1, minibatches=1)
    log = next(ppo(policy, reference, critic, [PROMPTS], RewardModel(reference).score, optimizer, config))
    assert log["clip_fraction"] == 0 and log["update_kl"] == pytest.approx(0, abs=1e-12) and log["score"] == 0


# --- bad input ----------------------------------------------------------------------------------------------------------

X = draws(4, 7)


@pytest.mark.parametrize("call, message", [
    (lambda: gae(X, X[:, 1:], MASK, 1, 1), r"values: got shape \(4, 6\), expected that of mask, \(4, 7\)"),
    (lambda: gae(X, X, MASK.int(), 1, 1), "mask: got dtype torch.int32, expected bool"),
    (lambda: token_rewards(X, X, MASK, X[:3, 0], 0.1), r"scores: got shape \(3,\), expected \(4,\)"),
    (lambda: policy_loss(X, X, X[:, :1], MASK, 0.2), r"advantages: got shape \(4, 1\)"),
    (lambda: value_loss(X, X, X[0], MASK, 0.2), r"returns: got shape \(7,\)"),
    (lambda: whiten(X[0], MASK), r"x: got shape \(7,\)"),
    (lambda: ppo_with(score=lambda ids, mask: torch.tensor(1.0)), "score: got 1.0, expected 12 finite numbers"),
    (lambda: ppo_with(score=lambda ids, mask: good_share(ids, mask) * math.inf), "expected 12 finite numbers"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def ppo_with(score):
    policy, reference, critic, optimizer = parts()
    next(ppo(policy, reference, critic, [PROMPTS], score, optimizer, PPOConfig(max_new=4)))


def test_an_infinite_loss_is_named_and_changes_nothing():
    policy, _, _, optimizer = parts()
    before = [p.clone() for p in policy.parameters()]
    said = Rollout(*joined([[1]], [[2]]), torch.zeros(1, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"loss: -?inf has a gradient of norm"):
        learn_from(policy, said, lambda now, rows: (now.sum() * math.inf, {}), optimizer, PPOConfig(max_new=4), None)
    assert all(torch.equal(p, b) for p, b in zip(policy.parameters(), before))


def test_the_policy_itself_is_no_reference():
    policy, _, critic, optimizer = parts()
    with pytest.raises(ValueError, match="reference: got weights of the policy itself"):
        next(ppo(policy, policy, critic, [PROMPTS], good_share, optimizer, PPOConfig(max_new=4)))


@pytest.mark.parametrize("name, value", [
    ("max_new", 0), ("temperature", 0.0), ("beta", -0.1), ("clip", 0.0), ("clip", 1.0), ("epochs", 0), ("minibatches", 0),
    ("clip_norm", 0.0), ("max_update_kl", 0.0), ("gamma", 1.1), ("lam", -0.1), ("value_clip", 0.0),
    ("value_weight", -1.0), ("temperature", math.nan)])
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name}: got {value}, expected"):
        PPOConfig(**{"max_new": 4, name: value})
