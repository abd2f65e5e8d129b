"""Losses against sums written out by hand, and laws that the zero, the unmasked and the shifted loss break."""

import itertools
import math
from dataclasses import replace

import pytest
import torch

from course_lib.data.batching import TokenBatch, collate_pairs
from course_lib.data.masking import MaskedBatch
from course_lib.losses import masked_mean, next_token_loss, pre_training_loss, seq2seq_loss, token_cross_entropy, token_log_probs


def example(batch=3, length=5, vocab=7, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(batch, length, vocab, dtype=dtype, generator=g)
    targets = torch.randint(0, vocab, (batch, length), generator=g)
    mask = torch.arange(length) < torch.randint(1, length, (batch, 1), generator=g)     # every row has padding
    return logits, targets, mask


def by_hand(logits, targets, mask, smoothing=0.0):
    """−(1 − ε) log p(target) − ε/V Σ_v log p(v), in plain Python, position by position."""
    total, count, vocab = 0.0, 0, logits.shape[-1]
    for row, target_row, mask_row in zip(logits.tolist(), targets.tolist(), mask.tolist()):
        for scores, target, counts in zip(row, target_row, mask_row):
            if counts:
                norm = math.log(math.fsum(math.exp(s) for s in scores))
                logp = [s - norm for s in scores]
                total -= (1 - smoothing) * logp[target] + smoothing / vocab * math.fsum(logp)
                count += 1
    return total, count


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_cross_entropy_equals_the_sum_written_out(seed, smoothing):
    logits, targets, mask = example(seed=seed)
    expected, count = by_hand(logits, targets, mask, smoothing)
    loss, n = token_cross_entropy(logits, targets, mask, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-13) and n.item() == count


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_equal_scores_cost_log_v_a_token(smoothing):
    _, targets, mask = example()
    loss, n = token_cross_entropy(torch.zeros(*targets.shape, 7), targets, mask, smoothing)
    assert loss.item() / n.item() == pytest.approx(math.log(7), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_gradient_is_probability_minus_target_and_zero_in_the_padding(smoothing):
    logits, targets, mask = example()
    logits.requires_grad_()
    token_cross_entropy(logits, targets, mask, smoothing)[0].backward()
    wanted = torch.full_like(logits, smoothing / 7).scatter_add_(
        -1, targets[..., None], torch.full((*targets.shape, 1), 1 - smoothing, dtype=torch.float64))
    expected = (logits.detach().exp() / logits.detach().exp().sum(-1, keepdim=True) - wanted) * mask[..., None]
    torch.testing.assert_close(logits.grad, expected, rtol=0, atol=1e-14)
    assert not logits.grad[~mask].any()


# The laws every token loss here has to obey. Each takes the loss; each mutant below breaks at least one.
def law_bad_is_worse_than_good(loss):
    _, targets, mask = example()
    right = 20 * torch.nn.functional.one_hot(targets, 7).double()
    good, n = loss(right, targets, mask)
    bad, _ = loss(right.roll(1, -1), targets, mask)
    assert good / n < 1e-6 and abs(bad / n - 20) < 1e-6


def law_padding_does_not_matter(loss):
    logits, targets, mask = example()
    before = loss(logits, targets, mask)
    other, wild = logits.clone(), targets.clone()
    other[~mask], wild[~mask] = torch.nan, 10**9
    other.requires_grad_()
    after = loss(other, wild, mask)
    after[0].backward()
    assert torch.equal(after[0], before[0]) and torch.equal(after[1], before[1]) and not other.grad.isnan().any()
    wider = [torch.nn.functional.pad(t, (0, 0) * (t.dim() - 2) + (0, 4)) for t in (logits, targets, mask)]
    assert torch.isclose(loss(*wider)[0], before[0], rtol=1e-13) and loss(*wider)[1] == before[1]


def law_parts_add_up(loss):
    logits, targets, mask = example(batch=6)
    whole = loss(logits, targets, mask)
    parts = [loss(logits[i], targets[i], mask[i]) for i in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert torch.isclose(sum(p[0] for p in parts), whole[0], rtol=1e-13) and sum(p[1] for p in parts) == whole[1]


def law_position_t_is_scored_by_logits_t(loss):
    logits, targets, mask = example()
    logits.requires_grad_()
    for t in range(3):
        only = torch.zeros_like(mask).index_fill_(1, torch.tensor([t]), True)
        grad, = torch.autograd.grad(loss(logits, targets, only)[0], logits)
        assert grad[:, t].any(1).all() and not grad[:, t + 1:].any() and not grad[:, :t].any()
        assert (grad[:, t].argmin(-1) == targets[:, t]).all()           # only the target's score wants to rise


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]


def mean_per_batch(logits, targets, mask):
    loss, n = token_cross_entropy(logits, targets, mask)
    return loss / n, n


def shifted(logits, targets, mask):
    return token_cross_entropy(logits[:, :-1], targets[:, 1:], mask[:, 1:])


MUTANTS = {
    "zero": lambda logits, targets, mask: (logits.nan_to_num().sum() * 0, mask.sum()),
    "unmasked": lambda logits, targets, mask: token_cross_entropy(logits, targets % 7, torch.ones_like(mask)),
    "mask only counted": lambda logits, targets, mask: (
        token_cross_entropy(logits, targets % 7, torch.ones_like(mask))[0], mask.sum()),
    "multiplied by the mask": lambda logits, targets, mask: (
        -(token_log_probs(logits, targets % 7) * mask).sum(), mask.sum()),       # NaN · 0 is NaN
    "shifted": shifted,
    "mean": mean_per_batch,
    "padding counted": lambda logits, targets, mask: (
        token_cross_entropy(logits, targets, mask)[0], torch.tensor(mask.numel())),
    "wrong sign": lambda logits, targets, mask: (-token_cross_entropy(logits, targets, mask)[0], mask.sum()),
}


@pytest.mark.parametrize("law", LAWS)
def test_cross_entropy_obeys(law):
    law(token_cross_entropy)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_laws_reject(mutant):
    broken = []
    for law in LAWS:
        try:
            law(MUTANTS[mutant])
        except (AssertionError, RuntimeError):
            broken.append(law)
    assert broken, f"no law notices the {mutant} loss"


def test_nothing_to_count_costs_nothing():
    logits, targets, mask = example()
    logits.requires_grad_()
    loss, n = token_cross_entropy(logits, targets, torch.zeros_like(mask))
    loss.backward()
    assert loss == 0 and n == 0 and not logits.grad.any()


class Oracle(torch.nn.Module):
    """A model that says what `say` makes of its inputs, with near certainty."""

    def __init__(self, say):
        super().__init__()
        self.say = say

    def forward(self, source, source_mask, target_in):
        return 30 * torch.nn.functional.one_hot(self.say(source, target_in), 9).float()


def test_seq2seq_loss_wants_the_next_word_not_the_one_it_was_given():
    batch = collate_pairs([([4, 5], [6, 7, 8]), ([5], [4]), ([8], [5, 4])])
    knows_next = Oracle(lambda source, target_in: batch.target_out)
    repeats = Oracle(lambda source, target_in: target_in)
    loss, n = seq2seq_loss(knows_next, batch)
    assert n == 4 + 2 + 3 and loss < 1e-6
    loss, n = seq2seq_loss(repeats, batch)
    assert loss / n == pytest.approx(30, rel=1e-6)                      # a shifted loss would be 0 here
    smoothed, _ = seq2seq_loss(knows_next, batch, label_smoothing=0.09)
    assert smoothed / n == pytest.approx(0.09 * 8 / 9 * 30, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_log_probs_are_those_of_a_distribution(dtype):
    logits, targets, _ = example(dtype=torch.float64)
    logits = logits.to(dtype)
    every = torch.stack([token_log_probs(logits, torch.full_like(targets, v)) for v in range(7)], dim=-1)
    assert every.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(every.exp().sum(-1), torch.ones_like(every[..., 0]))
    said = torch.distributions.Categorical(logits=logits.to(every.dtype)).log_prob(targets)
    torch.testing.assert_close(token_log_probs(logits, targets), said)


def test_log_probs_survive_huge_scores():
    logits = torch.tensor([[[1e4, -1e4, 0.0]]])
    assert token_log_probs(logits, torch.tensor([[0]])) == 0 and token_log_probs(logits, torch.tensor([[1]])) == -2e4


def test_cross_entropy_of_half_precision_is_summed_in_float32():
    logits, targets, mask = (t.repeat(400, 1, *[1] * (t.dim() - 2)) for t in example())
    expected, _ = by_hand(logits.bfloat16(), targets, mask)
    loss, _ = token_cross_entropy(logits.bfloat16(), targets, mask)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dim", [None, 0, 1])
def test_masked_mean_is_the_mean_of_what_is_kept(dim):
    values, _, mask = example(vocab=1)
    values = values.squeeze(-1).masked_fill(~mask, torch.nan).requires_grad_()
    mean = masked_mean(values, mask, dim)
    kept = values.detach().numpy(), mask.numpy()
    if dim is None:
        assert mean.item() == pytest.approx(kept[0][kept[1]].mean(), rel=1e-14)
    else:
        lines = zip(*kept) if dim == 1 else zip(kept[0].T, kept[1].T)
        expected = [line[m].mean() if m.any() else 0.0 for line, m in lines]
        torch.testing.assert_close(mean, torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0)
    mean.sum().backward()
    assert not values.grad.isnan().any() and not values.grad[~mask].any()


def test_masked_mean_of_nothing_is_zero():
    values, mask = torch.full((2, 3), torch.nan), torch.zeros(2, 3, dtype=torch.bool)
    assert masked_mean(values, mask) == 0 and not masked_mean(values, mask, 1).any()


L, T, M = example()
BAD = {
    "shapes of logits": (lambda: token_cross_entropy(L[:, :4], T, M),
                         r"logits, targets, mask: got \(3, 4, 7\), \(3, 5\), \(3, 5\), expected \(B, T, V\)"),
    "shape of mask": (lambda: token_cross_entropy(L, T, M[:, 1:]), r"logits, targets, mask: got .*\(3, 4\), expected"),
    "kind of mask": (lambda: token_cross_entropy(L, T, M.float()), r"mask: got dtype torch.float32, expected bool"),
    "id beyond the vocabulary": (lambda: token_cross_entropy(L, T + 7, M), r"targets: got token id \d+, expected 0 … 6"),
    "ignored id": (lambda: token_cross_entropy(L, torch.full_like(T, -100), M), r"targets: got token id -100, expected"),
    "label smoothing": (lambda: token_cross_entropy(L, T, M, 1.5), r"label_smoothing: got 1.5, expected 0 … 1"),
    "mean": (lambda: masked_mean(L[..., 0], M[:1]), r"mask: got shape \(1, 5\), expected that of values, \(3, 5\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


# --- language models --------------------------------------------------------------------------------------------------

class Scores(torch.nn.Module):
    """A model whose logits depend on the word alone: one row of a table each."""

    def __init__(self, vocab=7):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Parameter(torch.randn(vocab, vocab, dtype=torch.float64))

    def forward(self, ids):
        return self.table[ids]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_without_a_mask_all_tokens_count(smoothing):
    logits, targets, mask = example()
    expected, count = by_hand(logits, targets, torch.ones_like(mask), smoothing)
    loss, n = token_cross_entropy(logits, targets, None, smoothing)
    assert loss.item() == pytest.approx(expected, rel=1e-13) and n.item() == count == targets.numel()
    for bad in (targets + 7, targets.clone().index_fill_(1, torch.tensor([0]), -100)):
        with pytest.raises(ValueError, match="targets: got token id"):
            token_cross_entropy(logits, bad, None)
    with pytest.raises(ValueError, match=r"got \(3, 5, 7\), \(3, 4\), None, expected"):
        token_cross_entropy(logits, targets[:, 1:], None)


def test_next_token_loss_scores_each_word_by_the_one_before_it():
    model, text = Scores(), [3, 1, 4, 1, 5, 2, 6]
    batch = TokenBatch(torch.tensor([text[:-1]]), torch.tensor([text[1:]]))
    expected = -sum(model.table[a].log_softmax(-1)[b].item() for a, b in itertools.pairwise(text))
    loss, n = next_token_loss(model, batch)
    assert loss.item() == pytest.approx(expected, rel=1e-13) and n.item() == 6
    assert loss.item() != pytest.approx(next_token_loss(model, TokenBatch(batch.inputs, batch.inputs))[0].item())       # not shifted


def test_next_token_loss_counts_only_what_its_mask_says():
    model, (_, targets, mask) = Scores(), example()
    inputs = targets.roll(1, dims=1)
    loss, n = next_token_loss(model, TokenBatch(inputs, targets, mask))
    expected, count = by_hand(model(inputs), targets, mask)
    assert loss.item() == pytest.approx(expected, rel=1e-13) and n.item() == count < targets.numel()
    loss.backward()
    unseen = [word for word in range(7) if word not in inputs[mask]]
    assert not model.table.grad[unseen].any()


# --- pre-training: blanks and pairs --------------------------------------------------------------------------------------

class Says(torch.nn.Module):
    """A model with two heads that says the same whatever it reads: words (B, T, V), pairs (B, 2)."""

    def __init__(self, words, pairs):
        super().__init__()
        self.words, self.pairs = torch.nn.Parameter(words), torch.nn.Parameter(pairs)

    def forward(self, ids, mask=None, segments=None, chosen=None):
        return self.words if chosen is None else self.words[chosen], self.pairs


def blanks(seed=0, vocab=9, padding=5, unchosen=None):
    """A batch and a model's opinion. `padding` is what ids hold there, `unchosen` what targets hold where nobody asks."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(8) < torch.tensor([8, 5, 7, 3, 6])[:, None]
    chosen = (torch.rand(5, 8, generator=g) < 0.4) & mask
    targets, shown = (torch.randint(0, vocab, (5, 8), generator=g) for _ in range(2))
    ids = torch.where(chosen, shown, targets).masked_fill(~mask, padding)
    if unchosen is not None:
        targets = targets.masked_fill(~chosen, unchosen)
    batch = MaskedBatch(ids, mask, mask.long() * 0, targets, chosen, torch.tensor([1, 0, 0, 1, 0]))
    words = 3 * torch.randn(5, 8, vocab, generator=g, dtype=torch.float64)
    return Says(words, 2 * torch.randn(5, 2, generator=g, dtype=torch.float64)), batch


def gradients(loss, model, batch):
    model.zero_grad()
    total, count = loss(model, batch)
    total.backward()
    return total.detach(), count, model.words.grad, torch.zeros_like(model.pairs) if model.pairs.grad is None else model.pairs.grad


def pre_law_it_is_nats_a_blank_and_nats_a_pair(loss):
    for seed in range(3):
        model, batch = blanks(seed)
        n = int(batch.chosen.sum())
        words, count = by_hand(model.words, batch.targets, batch.chosen)
        pairs, rows = by_hand(model.pairs[:, None], batch.follows[:, None], torch.ones(5, 1, dtype=torch.bool))
        total, got = loss(model, batch)
        assert got == n == count and total.item() == pytest.approx(words + n * pairs / rows, rel=1e-12)


def pre_law_only_blanks_count(loss):
    model, batch = blanks()
    expected = gradients(loss, model, batch)
    other = blanks(padding=-7, unchosen=10**9)[1]
    with torch.no_grad():
        model.words[~batch.chosen] = torch.nan
    for one, two in zip(gradients(loss, model, other), expected, strict=True):
        assert torch.equal(one, two)
    assert not expected[2][~batch.chosen].any() and expected[2][batch.chosen].any(-1).all()


def pre_law_the_word_that_was_there_is_right_not_the_one_shown(loss):
    _, batch = blanks()
    sure = torch.full((5, 2), -15.0).scatter(1, batch.follows[:, None], 15.0)
    right, wrong = (Says(30 * torch.nn.functional.one_hot(ids.clamp(min=0), 9).double(), sure) for ids in (batch.targets, batch.ids))
    good, n = loss(right, batch)
    assert good / n < 1e-6 and loss(wrong, batch)[0] / n > 10


def pre_law_both_classes_of_pairs_count_alike(loss):
    model, batch = blanks()
    _, n, _, by = gradients(loss, model, batch)
    expected = (model.pairs.detach().softmax(1) - torch.nn.functional.one_hot(batch.follows, 2)) * n / 5
    torch.testing.assert_close(by, expected)


def pre_law_without_pairs_words_alone_are_scored(loss):
    model, batch = blanks()
    total, n, _, by = gradients(loss, model, replace(batch, follows=None))
    assert total.item() == pytest.approx(by_hand(model.words, batch.targets, batch.chosen)[0], rel=1e-12)
    assert n == batch.chosen.sum() and not by.any()


def pre_law_nothing_chosen_costs_nothing(loss):
    model, batch = blanks()
    total, n, *by = gradients(loss, model, replace(batch, chosen=torch.zeros_like(batch.chosen)))
    assert total == 0 and n == 0 and not any(part.any() for part in by)


PRE_LAWS = [law for name, law in sorted(globals().items()) if name.startswith("pre_law_")]


def pre_mutant(words=lambda m, b: token_cross_entropy(m.words, b.targets, b.chosen),
               pairs=lambda m, b: torch.nn.functional.cross_entropy(m.pairs, b.follows)):
    """BERT's loss with another loss of words, (sum, count), or another mean loss of pairs."""
    def loss(model, batch):
        total, count = words(model, batch)
        return (total if batch.follows is None else total + count * pairs(model, batch)), count
    return loss


def cross(logits, targets, **more):
    return torch.nn.functional.cross_entropy(logits, targets, **more)


PRE_MUTANTS = {
    "zero": lambda m, b: (0 * m.words[b.chosen].sum() + 0 * m.pairs.sum(), b.chosen.sum()),
    "unmasked": pre_mutant(words=lambda m, b: token_cross_entropy(m.words, b.targets, None)),
    "all but padding": pre_mutant(words=lambda m, b: token_cross_entropy(m.words, b.targets, b.mask)),
    "shown ids for targets": pre_mutant(words=lambda m, b: token_cross_entropy(m.words, b.ids, b.chosen)),
    "mean times the mask": pre_mutant(words=lambda m, b: (
        (cross(m.words.transpose(1, 2), b.targets) * b.chosen).sum(), b.chosen.sum())),
    "times the mask": pre_mutant(words=lambda m, b: (
        (cross(m.words.transpose(1, 2), b.targets % 9, reduction="none") * b.chosen).sum(), b.chosen.sum())),
    "id 0 ignored": pre_mutant(words=lambda m, b: (
        cross(m.words[b.chosen], b.targets[b.chosen], ignore_index=0, reduction="sum"), b.chosen.sum())),
    "one ignore_index = 0 for both": pre_mutant(pairs=lambda m, b: cross(m.pairs, b.follows, ignore_index=0)),
    "class 1 ignored": pre_mutant(pairs=lambda m, b: cross(m.pairs, b.follows, ignore_index=1)),
    "pairs turned": pre_mutant(pairs=lambda m, b: cross(m.pairs, 1 - b.follows)),
    "pairs summed": pre_mutant(pairs=lambda m, b: cross(m.pairs, b.follows, reduction="sum")),
    "pairs a token": lambda m, b: (token_cross_entropy(m.words, b.targets, b.chosen)[0] + (
        0 if b.follows is None else cross(m.pairs, b.follows)), b.chosen.sum()),
    "no pairs": pre_mutant(pairs=lambda m, b: 0),
    "no words": pre_mutant(words=lambda m, b: (0 * m.words[b.chosen].sum(), b.chosen.sum())),
    "all tokens counted": lambda m, b: (pre_mutant()(m, b)[0], b.mask.sum()),
}


@pytest.mark.parametrize("law", PRE_LAWS)
def test_the_pre_training_loss_obeys(law):
    law(pre_training_loss)


def test_the_mutants_are_bred_from_the_right_loss():
    for law in PRE_LAWS:
        law(pre_mutant())


@pytest.mark.parametrize("mutant", PRE_MUTANTS)
def test_the_laws_of_pre_training_reject(mutant):
    broken = []
    for law in PRE_LAWS:
        try:
            law(PRE_MUTANTS[mutant])
        except (AssertionError, RuntimeError, ValueError, IndexError):
            broken.append(law)
    assert broken, f"no law notices the {mutant} loss"


@pytest.mark.parametrize("change, message", [
    ({"follows": torch.tensor([1, 0, 2, 0, 0])}, "targets: got token id 2, expected 0 … 1"),
    ({"follows": torch.tensor([1, 0, -1, 0, 0])}, "targets: got token id -1, expected 0 … 1"),
    ({"follows": torch.tensor([1, 0])}, r"logits, targets, mask: got \(5, 2\), \(2,\)"),
    ({"targets": torch.full((5, 8), 9)}, "targets: got token id 9, expected 0 … 8")])
def test_a_batch_that_cannot_be_scored_is_named(change, message):
    model, batch = blanks()
    with pytest.raises(ValueError, match=message):
        pre_training_loss(model, replace(batch, **change))
