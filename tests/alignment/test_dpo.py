"""DPO against closed forms, and laws that the zero, the swapped, the shifted and the length-normalised loss break."""

import math

import pytest
import torch

from course_lib.alignment.dpo import dpo, dpo_loss, implicit_rewards, pair_log_probs
from course_lib.alignment.loop import GLOSSARY
from course_lib.alignment.policy import frozen
from course_lib.alignment.reward import PreferenceBatches, collate_preferences, preference_nats
from tests.alignment.toys import END, V, broken_laws, draws, row_log_probs, said_by, tiny

COMPARISONS = [([5, 1], [1, 2, 3], [4, 3]), ([2], [3], [4, 4, 1, 3]), ([4, 4, 1], [2, 3], [5, 3])]
BATCH = collate_preferences(COMPARISONS)


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=tol, atol=tol)


def example(n=5):
    """Four times log-probabilities (B,) of whole responses: policy's pair, reference's pair."""
    parts = [-5 + 3 * draws(n, seed=seed) for seed in range(4)]
    return [part.requires_grad_() for part in parts[:2]], parts[2:]


def law_where_the_policies_agree_a_pair_costs_ln_2(loss):
    policy, _ = example()
    total, count = loss(policy, [part.detach().clone() for part in policy], 0.3)
    assert total.item() == pytest.approx(5 * math.log(2), rel=1e-12) and count.item() == 5


def law_there_the_chosen_wants_up_and_the_rejected_down_by_half_beta(loss):
    policy, _ = example()
    up, down = torch.autograd.grad(loss(policy, [part.detach().clone() for part in policy], 0.3)[0], policy)
    close(up, torch.full((5,), -0.15, dtype=torch.float64))
    close(down, torch.full((5,), 0.15, dtype=torch.float64))


def law_elsewhere_it_is_the_closed_form(loss):
    policy, reference = example()
    total, _ = loss(policy, reference, 0.3)
    grads = torch.autograd.grad(total, policy)
    expected, slopes = 0.0, []
    for a, b, c, d in zip(*(part.tolist() for part in (*policy, *reference))):
        odds = math.exp(0.3 * ((a - b) - (c - d)))                                      # how much surer than the reference
        expected += math.log(1 + 1 / odds)
        slopes.append(0.3 / (1 + odds))
    assert total.item() == pytest.approx(expected, rel=1e-12)
    close(grads[0], -torch.tensor(slopes, dtype=torch.float64))
    close(grads[1], torch.tensor(slopes, dtype=torch.float64))


def law_the_reference_does_not_learn(loss):
    policy, reference = example()
    reference = [part.clone().requires_grad_() for part in reference]
    loss(policy, reference, 0.3)[0].backward()
    assert all(part.grad is None or not part.grad.any() for part in reference) and policy[0].grad.all()


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]
MUTANTS = {
    "zero": lambda p, r, beta: (sum(p).sum() * 0, torch.tensor(5)),
    "swapped policies": lambda p, r, beta: dpo_loss(r, p, beta),
    "swapped pair": lambda p, r, beta: dpo_loss(p[::-1], r[::-1], beta),
    "mean": lambda p, r, beta: (dpo_loss(p, r, beta)[0] / 5, torch.tensor(5)),
    "no reference": lambda p, r, beta: dpo_loss(p, [0 * part for part in r], beta),
    "beta forgotten": lambda p, r, beta: dpo_loss(p, r, 1.0),
    "no stop-gradient": lambda p, r, beta: (preference_nats(beta * (p[0] - p[1] - r[0] + r[1])).sum(), torch.tensor(5)),
    "chosen only": lambda p, r, beta: (preference_nats(beta * (p[0] - r[0])).sum(), torch.tensor(5)),
    "probability, not its log": lambda p, r, beta: ((-torch.sigmoid(beta * (p[0] - p[1] - r[0] + r[1]))).sum(), torch.tensor(5)),
    "reference of the next row": lambda p, r, beta: dpo_loss(p, [part.roll(1) for part in r], beta),
}


def test_the_loss_obeys_the_laws():
    assert broken_laws(LAWS, dpo_loss) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_reject(mutant):
    assert broken_laws(LAWS, MUTANTS[mutant])


def test_the_loss_may_fall_while_the_chosen_response_gets_less_probable():
    reference = [torch.tensor([-5.0]), torch.tensor([-5.0])]
    loss, _ = dpo_loss([torch.tensor([-7.0]), torch.tensor([-12.0])], reference, 0.5)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-2.5))) and loss < math.log(2)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
def test_smoothing_is_the_mean_over_both_labels(smoothing):
    policy, reference = example()
    right, wrong = dpo_loss(policy, reference, 0.3)[0], dpo_loss(policy[::-1], reference[::-1], 0.3)[0]
    close(dpo_loss(policy, reference, 0.3, smoothing)[0], (1 - smoothing) * right + smoothing * wrong)


def test_implicit_rewards_by_hand():
    chosen, rejected = implicit_rewards((torch.tensor([-1.0]), torch.tensor([-2.0])), (torch.tensor([-3.0]), torch.tensor([-1.5])), 0.1)
    assert chosen.item() == pytest.approx(0.2) and rejected.item() == pytest.approx(-0.05)


# Log-probabilities of pairs: what stands before the response and after its end does not count, and each token is predicted before it.
def by_hand(model, batch):
    return [torch.tensor([sum(row_log_probs(model, row, first)) for row, first in said_by(ids, mask)], dtype=torch.float64)
            for ids, mask in ((batch.chosen, batch.chosen_mask), (batch.rejected, batch.rejected_mask))]


def test_pairs_are_scored_as_one_word_at_a_time_and_garbage_in_the_padding_changes_nothing():
    model = tiny()
    for batch in (BATCH, collate_preferences(COMPARISONS, pad_id=5)):
        for got, expected in zip(pair_log_probs(model, batch), by_hand(model, BATCH)):
            close(got, expected)


def wrong_pairs(model, batch, change):
    ids, mask = batch.both()
    logits = model(ids[:, :-1]).log_softmax(-1)
    return change(logits, ids, mask).chunk(2)


def taken(logits, targets):
    return logits.gather(-1, targets[..., None]).squeeze(-1)


@pytest.mark.parametrize("name, change", {
    "prompt counted": lambda logits, ids, mask: (taken(logits, ids[:, 1:]) * (ids[:, 1:] > 0)).sum(1),
    "padding counted": lambda logits, ids, mask: (taken(logits, ids[:, 1:]) * (mask.cumsum(1) > 0)[:, 1:]).sum(1),
    "shifted": lambda logits, ids, mask: (taken(logits, ids[:, :-1]) * mask[:, :-1]).sum(1),
    "mask shifted": lambda logits, ids, mask: (taken(logits, ids[:, 1:]) * mask[:, :-1]).sum(1),
    "mean per token": lambda logits, ids, mask: (taken(logits, ids[:, 1:]) * mask[:, 1:]).sum(1) / mask.sum(1),
    "end left out": lambda logits, ids, mask: (taken(logits, ids[:, 1:]) * (mask & (ids != END))[:, 1:]).sum(1),
}.items())
def test_wrong_log_probs_are_told_apart(name, change):
    model = tiny()
    gaps = [(got - expected).abs().max() for got, expected in zip(wrong_pairs(model, BATCH, change), by_hand(model, BATCH))]
    assert max(gaps) > 0.1, name


# --- the loop -----------------------------------------------------------------------------------------------------------

def run(steps=40, lr=3e-3, **more):
    policy = tiny(sharpness=1)
    reference = frozen(policy)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=lr)
    return policy, reference, list(dpo(policy, reference, PreferenceBatches(COMPARISONS, 3), optimizer, steps, **more))


def test_the_loop_prefers_what_was_preferred_and_logs_what_happened():
    policy, reference, logs = run()
    assert len(logs) == 40 and all(set(log) <= set(GLOSSARY) for log in logs)
    first, last = logs[0], logs[-1]
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-12) and first["chosen_reward"] == first["rejected_reward"] == 0
    assert last["loss"] < 0.45 and last["accuracy"] == 1 and last["chosen_reward"] > last["rejected_reward"] + 0.6
    now, before = pair_log_probs(policy, BATCH), pair_log_probs(reference, BATCH)
    assert (now[0] - now[1] > before[0] - before[1]).all()
    assert first["chosen_log_prob"] == pytest.approx(before[0].mean().item()) and all(
        torch.equal(a, b) for a, b in zip(reference.parameters(), tiny(sharpness=1).parameters()))


def test_the_first_step_is_that_of_the_closed_form():
    policy = run(steps=1)[0]
    twin = tiny(sharpness=1)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=3e-3)
    margin = torch.stack(pair_log_probs(twin, BATCH)) * torch.tensor([[-0.05], [0.05]])   # ∓ β/2 at π = π_ref
    (margin.sum() / 3).backward()
    torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
    optimizer.step()
    for ours, theirs in zip(policy.parameters(), twin.parameters()):
        close(ours, theirs, 1e-6)


def test_dropout_is_off():
    policy = tiny(dropout=0.5).train()
    log = next(dpo(policy, frozen(policy), PreferenceBatches(COMPARISONS, 3), torch.optim.SGD(policy.parameters(), 0.1), 1))
    assert log["loss"] == pytest.approx(math.log(2), rel=1e-12)


def test_doubt_keeps_the_rewards_closer():
    sure, unsure = (run(steps=150, lr=1e-2, label_smoothing=s)[2][-1] for s in (0.0, 0.3))
    gaps = [log["chosen_reward"] - log["rejected_reward"] for log in (sure, unsure)]
    assert gaps[1] == pytest.approx(math.log(0.7 / 0.3), rel=0.1) and gaps[0] > 2 * gaps[1]


PAIR = (torch.zeros(2), torch.zeros(2))


@pytest.mark.parametrize("call, message", [
    (lambda: dpo_loss(PAIR, (torch.zeros(2), torch.zeros(3)), 0.1), r"policy, reference: got shapes .*\(3,\).*expected four times \(B,\)"),
    (lambda: dpo_loss((torch.zeros(2, 4),) * 2, (torch.zeros(2, 4),) * 2, 0.1), r"expected four times \(B,\)"),
    (lambda: dpo_loss(PAIR, PAIR, 0), "beta: got 0, expected above 0"),
    (lambda: dpo_loss(PAIR, PAIR, 0.1, 0.5), "flip: got 0.5"),
    (lambda: pair_log_probs(tiny(), collate_preferences([([1], [V], [2])])), "ids: got token id 6"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_policy_itself_is_no_reference():
    policy = tiny()
    for reference in (policy, torch.nn.Sequential(policy)):
        with pytest.raises(ValueError, match="reference: got weights of the policy itself"):
            next(dpo(policy, reference, PreferenceBatches(COMPARISONS, 3), torch.optim.SGD(policy.parameters(), 0.1), 1))
