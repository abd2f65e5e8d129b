"""Log-probabilities and rollouts against passes over one word at a time; KL estimates against enumeration of every response."""

import itertools
import math

import pytest
import torch

from course_lib.alignment.policy import (
    Rollout,
    entropy_nats,
    exact_kl,
    frozen,
    joined,
    kl_estimates,
    left_padded,
    response_log_probs,
    response_logits,
    rollout,
    scores_of,
)
from course_lib.generation import sample
from tests.alignment.toys import END, V, draws, good_share, row_log_probs, said_by, tiny
from tests.test_generation import chi_square, critical
from tests.twins import UncachedGPT

MODEL, OTHER = tiny(), tiny(seed=1)
PROMPTS, RESPONSES = [[5, 1], [2], [4, 4, 1]], [[1, 2, 3], [4, 3], [3]]
IDS, MASK = joined(PROMPTS, RESPONSES)
SAID = MASK[:, 1:]


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=tol, atol=tol)


def test_layouts_are_those_of_the_examples():
    assert IDS.tolist() == [[5, 1, 1, 2, 3], [2, 4, 3, 0, 0], [4, 4, 1, 3, 0]]
    assert MASK.int().tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]
    ids, mask = left_padded(PROMPTS, pad_id=1)
    assert ids.tolist() == [[1, 5, 1], [1, 1, 2], [4, 4, 1]] and mask.int().tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 1]]


@pytest.mark.parametrize("temperature", [1.0, 0.6, 2.0])
def test_log_probs_are_those_of_one_word_at_a_time(temperature):
    got = response_log_probs(MODEL, IDS, MASK, temperature)
    assert got.shape == SAID.shape and not got[~SAID].any()
    expected = [nats for row, first in said_by(IDS, MASK) for nats in row_log_probs(MODEL, row, first, temperature)]
    close(got[SAID], torch.tensor(expected, dtype=torch.float64))


def test_garbage_in_the_padding_changes_nothing():
    wild = torch.where(MASK | (IDS > 0), IDS, torch.full_like(IDS, V - 1))
    assert not torch.equal(wild, IDS)
    with torch.no_grad():
        close(response_log_probs(MODEL, wild, MASK), response_log_probs(MODEL, IDS, MASK))
        longer = [torch.nn.functional.pad(part, (0, 4)) for part in (IDS, MASK)]
        close(response_log_probs(MODEL, *longer)[:, :SAID.shape[1]], response_log_probs(MODEL, IDS, MASK))


def test_the_gradient_reaches_only_the_logits_that_spoke():
    logits = draws(*SAID.shape, V).requires_grad_()
    grad, = torch.autograd.grad(response_log_probs(lambda ids: logits, IDS, MASK).sum(), logits)
    expected = torch.nn.functional.one_hot(IDS[:, 1:], V) - logits.detach().exp() / logits.detach().exp().sum(-1, keepdim=True)
    close(grad, expected * SAID[..., None])


def test_prompts_are_not_scored_nor_what_stands_after_the_end():
    scored = response_logits(MODEL, IDS, MASK)
    assert len(scored) == MASK.sum() == 6
    close(scored[0], MODEL(torch.tensor([[5, 1]]))[0, -1])


def test_entropy_is_that_of_the_distribution_also_with_impossible_words():
    logits = draws(5, V)
    close(entropy_nats(logits), torch.distributions.Categorical(logits=logits).entropy())
    logits[0, 0], logits[1, 1:] = -math.inf, -math.inf
    got = entropy_nats(logits)
    close(got[0], torch.distributions.Categorical(logits=logits[0, 1:]).entropy())
    assert got[1] == 0


# --- rollouts -----------------------------------------------------------------------------------------------------------

def rolled(model=MODEL, prompts=PROMPTS * 5, seed=0, **more):
    settings = {"max_new": 5, "eos_id": END, "generator": torch.Generator().manual_seed(seed)} | more
    return rollout(model, prompts, **settings)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_rollouts_log_probs_are_those_of_one_word_at_a_time(temperature, positions):
    model = tiny(positions=positions)
    said = rolled(model, temperature=temperature)
    mask = said.response_mask[:, 1:]
    expected = [nats for row, first in said_by(*said[:2]) for nats in row_log_probs(model, row, first, temperature)]
    close(said.log_probs[mask], torch.tensor(expected, dtype=torch.float64), 1e-10)
    assert not said.log_probs[~mask].any() and not said.log_probs.requires_grad


def test_responses_follow_their_prompts_and_stop_at_the_end_token():
    said = rolled(max_new=2)
    ended = cut = 0
    for prompt, (row, first) in zip(PROMPTS * 5, said_by(*said[:2])):
        assert row[:first] == prompt and END not in row[first:-1] and 1 <= len(row) - first <= 2
        ended, cut = ended + (row[-1] == END), cut + (row[-1] != END)
        assert row[-1] == END or len(row) - first == 2
    assert ended >= 2 and cut >= 2
    assert (said.response_mask.int().diff(dim=1) == 1).sum() == 15                       # in one piece
    assert (said.ids[:, -1] != 0).any() and not said.ids[:, -1].all()                    # as wide as the longest


def test_cached_is_uncached_and_the_caches_own_sum_is_ours():
    ids, mask = left_padded(PROMPTS * 5)
    runs = [sample(model, ids, mask, eos_id=END, max_len=5, generator=torch.Generator().manual_seed(0))
            for model in (MODEL, UncachedGPT(MODEL))]
    said = rolled()
    responses = [row[first:] for row, first in said_by(*said[:2])]
    for run in runs:
        assert [[*words, END] if done else words for words, done in zip(run.ids, run.finished.tolist())] == responses
        close(said.log_probs.sum(1).float(), run.log_probs, 1e-5)


def test_the_same_generator_gives_the_same_rollout_and_another_another():
    assert all(torch.equal(a, b) for a, b in zip(rolled(), rolled()))
    assert not torch.equal(rolled().ids[:, :4], rolled(seed=1).ids[:, :4])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_responses_come_as_often_as_they_are_probable(temperature):
    model, n = tiny(vocab=4), 3000
    said = rolled(model, [[2, 1]] * (n // 2) + [[1]] * (n // 2), max_new=2, temperature=temperature)
    for prompt in ([2, 1], [1]):
        answers = [[END], *([a, b] for a in range(4) for b in range(4) if a != END)]
        probs = torch.tensor([math.exp(sum(row_log_probs(model, prompt + a, len(prompt), temperature))) for a in answers])
        assert probs.sum() == pytest.approx(1)
        got = [row[first:] for row, first in said_by(*said[:2]) if row[:first] == prompt]
        value, degrees = chi_square(torch.tensor([float(got.count(a)) for a in answers]), probs, n // 2)
        assert value < critical(degrees)


def test_dropout_neither_speaks_nor_scores():
    model = tiny(dropout=0.5).train()
    said = rolled(model)
    assert model.training
    model.eval()
    assert torch.equal(said.ids, rolled(model).ids)
    close(said.log_probs, response_log_probs(model, *said[:2]).detach())


def test_a_frozen_copy_stays():
    model = tiny(dropout=0.5).train()
    copy = frozen(model)
    with torch.no_grad():
        model.embedding.weight.zero_()
    assert copy.embedding.weight.any() and not copy.training and not any(p.requires_grad for p in copy.parameters())
    assert copy.output.weight is copy.embedding.weight and all(p.requires_grad for p in model.parameters())


# --- divergences --------------------------------------------------------------------------------------------------------

def everything(length=3, vocab=4):
    """Every response of `length` tokens to one prompt: ids and response_mask (V^length, 1 + length)."""
    return joined([[1]] * vocab**length, [list(words) for words in itertools.product(range(vocab), repeat=length)])


@pytest.mark.parametrize("far", [0.3, 1.5])
def test_k1_and_k3_are_unbiased_and_k2_is_not(far):
    p = tiny(vocab=4)
    q = frozen(p)
    with torch.no_grad():
        for weight in q.parameters():
            weight.add_(far * 0.2 * torch.randn(weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(1)))
    ids, mask = everything()
    with torch.no_grad():
        log_p, log_q = (response_log_probs(model, ids, mask) for model in (p, q))
    probs = log_p.sum(1).exp()                                                          # (64,) of whole responses
    assert probs.sum().item() == pytest.approx(1, abs=1e-12)
    exact = sum(w * (a - b) for w, a, b in zip(probs.tolist(), log_p.sum(1).tolist(), log_q.sum(1).tolist()))
    k1, k2, k3 = ((probs * k.sum(1)).sum().item() for k in kl_estimates(log_p, log_q))
    assert exact > 0.005 and k1 == pytest.approx(exact, rel=1e-10) and k3 == pytest.approx(exact, rel=1e-10)
    assert abs(k2 / exact - 1) > 0.01
    places = exact_kl(p(ids[:, :-1]), q(ids[:, :-1])).sum(1)                             # the chain rule, place by place
    assert (probs * places).sum().item() == pytest.approx(exact, rel=1e-10)
    swapped = (probs * kl_estimates(log_q, log_p).k3.sum(1)).sum().item()
    assert abs(swapped / exact - 1) > 0.005 and kl_estimates(log_p, log_q).k3.min() >= 0 > kl_estimates(log_p, log_q).k1.min()


def test_k3_varies_less_than_k1_when_policies_are_near():
    log_p = draws(2000).log_softmax(0)
    log_q = (log_p + 0.05 * draws(2000, seed=1)).log_softmax(0)
    p = log_p.exp()
    k1, _, k3 = kl_estimates(log_p, log_q)
    spread = [((p * k**2).sum() - (p * k).sum()**2).item() for k in (k1, k3)]
    assert spread[1] < 0.01 * spread[0]


def test_kl_estimates_by_hand():
    k1, k2, k3 = kl_estimates(torch.tensor([-1.0]), torch.tensor([-3.0]))
    assert k1.item() == 2 and k2.item() == 2 and k3.item() == pytest.approx(math.exp(-2) - 1 + 2)


def test_exact_kl_is_torchs_and_knows_impossible_words():
    p, q = draws(5, V), draws(5, V, seed=1)
    close(exact_kl(p, q), torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=x) for x in (p, q))))
    assert (exact_kl(p, p) == 0).all()
    p[0, 0] = q[0, 0] = q[1, 1] = -math.inf
    got = exact_kl(p.requires_grad_(), q)
    close(got[0], exact_kl(p[0, 1:], q[0, 1:]))
    assert got[1] == math.inf                                                           # q cannot say what p may
    assert torch.autograd.grad(got[0], p)[0][0].isfinite().all()


# --- bad input ----------------------------------------------------------------------------------------------------------

EARLY = MASK.clone()
EARLY[0, 0] = True
BAD_INPUT = {
    "mask dtype": (lambda: response_log_probs(MODEL, IDS, MASK.int()), r"response_mask: got torch.int32 \(3, 5\), expected bool"),
    "mask shape": (lambda: response_log_probs(MODEL, IDS, SAID), r"response_mask: got torch.bool \(3, 4\), expected bool \(B, T\) like"),
    "one row": (lambda: response_log_probs(MODEL, IDS[0], MASK[0]), r"response_mask: got torch.bool \(5,\)"),
    "no response": (lambda: response_log_probs(MODEL, IDS, MASK & False), "got a row without a response"),
    "no prompt": (lambda: response_log_probs(MODEL, IDS, EARLY), "whose first token is one"),
    "id": (lambda: response_log_probs(MODEL, IDS + V, MASK), "ids: got token id"),
    "temperature": (lambda: response_log_probs(MODEL, IDS, MASK, 0), "temperature: got 0, expected above 0"),
    "nan temperature": (lambda: response_log_probs(MODEL, IDS, MASK, math.nan), "temperature: got nan"),
    "max_new": (lambda: rolled(max_new=0), "max_new: got 0, expected at least 1"),
    "window": (lambda: rolled(max_new=10), r"prompts: got one of 3 tokens and max_new 10, expected together at most max_len = 12"),
    "no prompts": (lambda: rolled(prompts=[]), "got none, expected at least one id"),
    "empty prompt": (lambda: rolled(prompts=[[1], []]), "got an empty one"),
    "empty response": (lambda: joined([[1]], [[]]), "responses: got an empty one"),
    "missing response": (lambda: joined([[1], [2]], [[1]]), "zip"),
    "score shape": (lambda: scores_of(lambda ids, mask: mask.float(), Rollout(IDS, MASK, SAID)), "expected 3 finite numbers"),
    "score nan": (lambda: scores_of(lambda ids, mask: good_share(ids, mask) / 0, Rollout(IDS, MASK, SAID)),
                  "score: got .*nan.*expected 3 finite"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    call, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_score_may_be_a_list_and_never_learns():
    said = Rollout(IDS, MASK, SAID)
    assert torch.equal(scores_of(lambda ids, mask: [1, 2, 3.5], said), torch.tensor([1, 2, 3.5]))
    weight = torch.ones(3, requires_grad=True)
    assert not scores_of(lambda ids, mask: weight * 2, said).requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_rollout_on_a_gpu_scores_as_on_the_cpu():
    said = rolled(tiny().cuda(), generator=torch.Generator("cuda").manual_seed(0))
    assert said.ids.is_cuda
    close(said.log_probs.cpu(), response_log_probs(MODEL, said.ids.cpu(), said.response_mask.cpu()).detach(), 1e-9)
