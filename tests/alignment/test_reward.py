"""Reward models: planted scores recovered, padding that does not matter, and laws that wrong losses break."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from course_lib.alignment.policy import joined, left_padded, rollout
from course_lib.alignment.reward import (
    PreferenceBatch,
    PreferenceBatches,
    RewardModel,
    ValueModel,
    bradley_terry_loss,
    collate_preferences,
    last_place,
    preference_nats,
    reward_accuracy,
    standardise,
)
from course_lib.data.batching import pad
from course_lib.training import TrainingConfig, train
from tests.alignment.toys import V, broken_laws, draws, tiny

COMPARISONS = [([5, 1], [1, 2, 3], [4, 3]), ([2], [3], [4, 4, 1, 3]), ([4, 4, 1], [2, 3], [5, 3])]
BATCH = collate_preferences(COMPARISONS)


def scorer(seed=0):
    """A reward model that says something."""
    model = RewardModel(tiny(seed))
    torch.manual_seed(seed)
    nn.init.normal_(model.output.weight), nn.init.normal_(model.output.bias)
    return model.eval()


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=tol, atol=tol)


# --- batches ------------------------------------------------------------------------------------------------------------

def test_a_batch_holds_the_texts_and_marks_the_responses():
    assert BATCH.chosen.tolist() == [[5, 1, 1, 2, 3], [2, 3, 0, 0, 0], [4, 4, 1, 2, 3]]
    assert BATCH.chosen_mask.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1]]
    assert BATCH.rejected.tolist() == [[5, 1, 4, 3, 0], [2, 4, 4, 1, 3], [4, 4, 1, 5, 3]]
    assert BATCH.rejected_mask.int().tolist() == [[0, 0, 1, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    ids, mask = BATCH.both()
    assert torch.equal(ids[:3], BATCH.chosen) and torch.equal(mask[3:], BATCH.rejected_mask)
    assert isinstance(BATCH.to(torch.device("cpu")), PreferenceBatch)


def test_batches_show_every_comparison_once_an_epoch_and_come_back():
    items = [([1], [i % V, 3], [i % 3, i % V, 3]) for i in range(7)]
    batches = PreferenceBatches(items, 3, seed=1)
    seen = [tuple(row) for number in range(batches.per_epoch) for row in batches[number].rejected[:, :4].tolist()]
    assert sorted(seen) == sorted((1, i % 3, i % V, 3) for i in range(7)) and batches.per_epoch == 3
    assert torch.equal(batches[1].chosen, PreferenceBatches(items, 3, seed=1)[1].chosen)


# --- the model ----------------------------------------------------------------------------------------------------------

def test_a_new_model_has_no_opinion_and_its_policy_stays_as_it_was():
    gpt = tiny()
    before = {name: p.clone() for name, p in gpt.named_parameters()}
    model = RewardModel(gpt)
    loss, count = bradley_terry_loss(model, BATCH)
    assert loss.item() == pytest.approx(3 * math.log(2), rel=1e-14) and count == 3
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert all(torch.equal(p, before[name]) for name, p in gpt.named_parameters())
    assert model.body.embedding.weight.shape == (V, 16) and sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in gpt.parameters()) + 17


@pytest.mark.parametrize("positions", ["learned", "rotary", "none"])
def test_the_reward_is_read_at_the_last_word_and_padding_on_either_side_does_not_matter(positions):
    model = RewardModel(tiny(positions=positions))
    nn.init.normal_(model.output.weight)
    texts = [[5, 1, 1, 2, 3], [2, 3], [4, 4, 1]]
    alone = torch.cat([model.output(model.body(torch.tensor([text])))[:, -1, 0] for text in texts])
    for pad_id in (0, 5):
        close(model(*pad(texts, pad_id)), alone)
        close(model(*left_padded(texts, pad_id)), alone)
    assert alone.std() > 0.01
    shorter = torch.cat([model.output(model.body(torch.tensor([text[:-1]])))[:, -1, 0] for text in texts])
    assert (shorter - alone).abs().min() > 1e-3


def test_as_a_score_it_reads_the_end_of_the_response():
    model = scorer()
    ids, mask = joined([[5, 1], [2]], [[1, 2, 3], [4]], pad_id=5)
    alone = [model(torch.tensor([text]), torch.ones(1, len(text)).bool()) for text in ([5, 1, 1, 2, 3], [2, 4])]
    close(model.score(ids, mask), torch.cat(alone))
    said = rollout(tiny(), [[5, 1], [2]], max_new=4)
    assert model.score(*said[:2]).shape == (2,)


def test_values_stand_at_every_place_and_see_no_later_word():
    model = ValueModel(tiny())
    nn.init.normal_(model.output.weight)
    ids = torch.tensor([[5, 1, 2, 4]])
    whole = model(ids)
    assert whole.shape == (1, 4)
    for t in range(1, 5):
        close(model(ids[:, :t])[:, -1], whole[:, t - 1])


def test_last_place_by_hand():
    mask = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 1, 0]]).bool()
    assert last_place(mask).tolist() == [1, 3, 3, 2]


def test_half_precision_gives_rewards_in_float32():
    model = RewardModel(tiny().bfloat16())
    assert model.score(*BATCH.both()).dtype == torch.float32 and model.output.weight.dtype == torch.bfloat16


# --- the loss -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("flip", [0.0, 0.1, 0.4])
def test_nats_are_those_of_the_probability_by_hand(flip):
    for margin in (-30.0, -2.0, 0.0, 0.5, 3.0):
        wins = 1 / (1 + math.exp(-margin))
        expected = -(1 - flip) * math.log(wins) - flip * math.log(1 / (1 + math.exp(margin)))
        assert preference_nats(torch.tensor([margin], dtype=torch.float64), flip).item() == pytest.approx(expected, rel=1e-12)
    assert preference_nats(torch.tensor([-1e4, 1e4]), flip).isfinite().all()


@pytest.mark.parametrize("flip", [0.05, 0.3])
def test_a_doubted_label_asks_for_a_finite_margin(flip):
    margin = torch.tensor([math.log((1 - flip) / flip)], dtype=torch.float64, requires_grad=True)
    assert abs(torch.autograd.grad(preference_nats(margin, flip).sum(), margin)[0].item()) < 1e-15


class Table(nn.Module):
    """Rewards by the response's last token."""

    def __init__(self):
        super().__init__()
        self.rewards = nn.Parameter(draws(V))

    def score(self, ids, response_mask):
        return self.rewards[ids.gather(1, last_place(response_mask)[:, None]).squeeze(1)]


PAIRS = collate_preferences([([1], [2], [0, 4]), ([1, 1], [0, 5], [2]), ([3], [2], [0])])


def law_equal_rewards_cost_ln_2_a_pair(loss):
    model = Table()
    nn.init.constant_(model.rewards, 7.0)
    total, count = loss(model, PAIRS)
    assert total.item() == pytest.approx(3 * math.log(2), rel=1e-12) and count.item() == 3


def law_the_gradient_is_minus_the_chance_to_lose(loss):
    model = Table()
    grad, = torch.autograd.grad(loss(model, PAIRS)[0], model.rewards)
    r, expected = model.rewards.detach(), torch.zeros(V, dtype=torch.float64)
    for chosen, rejected in ((2, 4), (5, 2), (2, 0)):
        lose = 1 / (1 + math.exp(r[chosen] - r[rejected]))
        expected[chosen] -= lose
        expected[rejected] += lose
    close(grad, expected)


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]
MUTANTS = {
    "zero": lambda model, batch: (model.rewards.sum() * 0, torch.tensor(3)),
    "mean": lambda model, batch: (bradley_terry_loss(model, batch)[0] / 3, torch.tensor(3)),
    "swapped": lambda model, batch: bradley_terry_loss(
        model, PreferenceBatch(batch.rejected, batch.rejected_mask, batch.chosen, batch.chosen_mask)),
    "rejected detached": lambda model, batch: (preference_nats(
        model.score(batch.chosen, batch.chosen_mask) - model.score(batch.rejected, batch.rejected_mask).detach()).sum(), torch.tensor(3)),
    "last column": lambda model, batch: (preference_nats(
        model.rewards[batch.chosen[:, -1]] - model.rewards[batch.rejected[:, -1]]).sum(), torch.tensor(3)),
    "probability, not its log": lambda model, batch: ((-torch.sigmoid(
        model.score(batch.chosen, batch.chosen_mask) - model.score(batch.rejected, batch.rejected_mask))).sum(), torch.tensor(3)),
    "tokens counted": lambda model, batch: (bradley_terry_loss(model, batch)[0], batch.chosen_mask.sum()),
}


def test_the_loss_obeys_the_laws():
    assert broken_laws(LAWS, bradley_terry_loss) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_reject(mutant):
    assert broken_laws(LAWS, MUTANTS[mutant])


def test_planted_scores_are_recovered_up_to_a_constant():
    planted = [0.0, 1.2, -0.7, 0.5]                                                     # of the responses [0], [1], [2], [4]
    words, comparisons = [0, 1, 2, 4], []
    for i, a in enumerate(words):
        for j, b in enumerate(words):
            if i != j:                                                                  # as often as Bradley and Terry say
                comparisons += [([5], [a], [b])] * round(40 / (1 + math.exp(planted[j] - planted[i])))
    model = RewardModel(tiny())
    train(model, PreferenceBatches(comparisons, len(comparisons)), bradley_terry_loss, TrainingConfig(80, lr=1e-2))
    got = model.score(*joined([[5]] * 4, [[w] for w in words])).detach()
    assert (got - got[0]).tolist() == pytest.approx(planted, abs=0.12)                   # counts are rounded to 1/40
    assert torch.corrcoef(torch.stack([got, torch.tensor(planted, dtype=got.dtype)]))[0, 1] > 0.995


# --- accuracy and scale -------------------------------------------------------------------------------------------------

def test_accuracy_counts_a_tie_as_one_half():
    model = Table()
    with torch.no_grad():
        model.rewards.copy_(torch.tensor([1.0, 0, 2, 0, 3, 2]))
    assert reward_accuracy(model, [PAIRS]) == pytest.approx((0 + 0.5 + 1) / 3)             # 2 < 3, 2 = 2, 2 > 1
    assert reward_accuracy(model, [PAIRS, collate_preferences([([1], [4], [0])])]) == pytest.approx(2.5 / 4)


def test_standardised_rewards_have_mean_0_and_variance_1_and_the_same_order():
    model = scorer()
    batches = [joined([[5, 1]] * 4, [[i, 3] for i in range(4)]), joined([[2]] * 2, [[i] for i in range(2)])]
    before = torch.cat([model.score(*batch) for batch in batches]).detach()
    standardise(model, batches)
    after = torch.cat([model.score(*batch) for batch in batches]).detach()
    assert after.mean().abs() < 1e-12 and after.var(correction=0).item() == pytest.approx(1, rel=1e-12)
    assert torch.equal(before.argsort(), after.argsort())
    assert abs(before.mean()) > 0.01 and abs(before.std(correction=0) - 1) > 0.01


@pytest.mark.parametrize("call, message", [
    (lambda: preference_nats(torch.zeros(2), 0.5), "flip: got 0.5, expected 0 ≤ flip < 0.5"),
    (lambda: preference_nats(torch.zeros(2), -0.1), "flip: got -0.1"),
    (lambda: PreferenceBatches([], 2), "comparisons: got none"),
    (lambda: PreferenceBatches([([1], [], [2])], 2)[0], "responses: got an empty one"),
    (lambda: PreferenceBatches([([], [1], [2])], 2)[0], "prompts: got an empty one"),
    (lambda: PreferenceBatches(COMPARISONS, 0), "batch_size: got 0"),
    (lambda: reward_accuracy(Table(), []), "batches: got no comparison"),
    (lambda: standardise(scorer(), []), "batches: got 0 responses"),
    (lambda: standardise(RewardModel(tiny()), [BATCH.both()]), "batches: got 6 responses whose rewards do not differ"),
    (lambda: scorer().score(BATCH.chosen, BATCH.chosen_mask & False), "got a row without a response"),
    (lambda: scorer()(BATCH.chosen, BATCH.chosen_mask & False), "expected words in one piece"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_loss_with_doubt_trains():
    model = RewardModel(tiny())
    history = train(model, PreferenceBatches(COMPARISONS, 3), partial(bradley_terry_loss, flip=0.2), TrainingConfig(30, lr=1e-2))
    least = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))                                  # the labels' own entropy
    assert history.loss[0] == pytest.approx(math.log(2)) and least < history.loss[-1] < least + 0.05
    assert reward_accuracy(model, [BATCH]) == 1
