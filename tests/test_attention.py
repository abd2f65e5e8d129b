"""Attention against loops over single numbers, and the laws of a weighted mean."""

import math

import pytest
import torch
from torch import nn

from course_lib.attention import ATTENTIONS, Attention, attend, masked_softmax, record_attention
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig

B, S, Q, E, F, A = 4, 6, 5, 5, 8, 3
LENGTHS = torch.tensor([6, 1, 4, 2])
MASK = torch.arange(S) < LENGTHS[:, None]
SCORED = ("additive", "dot", "general")


def close(got, expected, tol=1e-13):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def build(name, dtype=torch.float64):
    torch.manual_seed(3)
    return ATTENTIONS[name](Q, E, F, A).to(dtype)


def softmax_by_hand(scores):
    top = max(scores)
    raised = [math.exp(s - top) for s in scores]
    return [r / math.fsum(raised) for r in raised]


# --- the softmax -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("scale", [1.0, 100.0, 1e6])
def test_masked_softmax_is_the_softmax_of_what_is_left(scale):
    scores = scale * random(B, S)
    weights = masked_softmax(scores, MASK)
    for row, n in enumerate(LENGTHS):
        close(weights[row, :n], torch.tensor(softmax_by_hand(scores[row, :n].tolist()), dtype=torch.float64))
        assert not weights[row, n:].any()                               # exactly 0, not about 0
    close(weights.sum(1), torch.ones(B, dtype=torch.float64))


def test_masked_softmax_takes_any_mask_not_only_padding_at_the_end():
    mask = torch.tensor([[False, True, False, True]])
    assert masked_softmax(torch.tensor([[9.0, 1.0, 9.0, 1.0]]), mask).tolist() == [[0, 0.5, 0, 0.5]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", [0.0, 6e4, -6e4])
def test_no_precision_gives_nan_and_a_row_without_any_key_gives_zeros(dtype, extreme):
    scores = (random(B, S) + extreme).to(dtype).requires_grad_()
    mask = MASK.clone()
    mask[2] = False
    weights = masked_softmax(scores, mask)
    (weights * random(B, S, seed=1, dtype=dtype)).sum().backward()
    assert not weights[~mask].any() and weights.isfinite().all()
    assert scores.grad.isfinite().all() and not scores.grad[~mask].any()
    one = torch.ones(B, dtype=dtype) * mask.any(1)
    torch.testing.assert_close(weights.sum(1), one, rtol=0, atol=4 * torch.finfo(dtype).eps)


def test_what_a_masked_score_holds_does_not_matter_even_nan():
    scores = random(B, S)
    wild = scores.masked_fill(~MASK, torch.nan).requires_grad_()
    weights = masked_softmax(wild, MASK)
    weights.square().sum().backward()
    assert torch.equal(weights, masked_softmax(scores, MASK)) and wild.grad.isfinite().all()


# --- scores and contexts, number by number -----------------------------------------------------------------------------

def score_by_hand(name, attention, query, annotation):
    """One score from one query (Q) and one annotation (E), in plain Python."""
    q, h = query.tolist(), annotation.tolist()
    if name == "dot":
        return math.fsum(a * b for a, b in zip(q, h))
    if name == "general":
        w = attention.key.weight.tolist()                               # (Q, E)
        return math.fsum(q[i] * w[i][j] * h[j] for i in range(Q) for j in range(E))
    w, u, bias, v = (t.tolist() for t in (attention.query.weight, attention.key.weight, attention.key.bias,
                                          attention.score))
    return math.fsum(v[a] * math.tanh(math.fsum(w[a][i] * q[i] for i in range(Q))
                                      + math.fsum(u[a][j] * h[j] for j in range(E)) + bias[a]) for a in range(A))


@pytest.mark.parametrize("name", SCORED)
def test_weights_and_context_equal_a_loop_over_words(name):
    attention, annotations, query, final = build(name), random(B, S, E), random(B, Q, seed=1), random(B, F, seed=2)
    context, weights = attention(query, attention.prepare(annotations, MASK, final))
    for row, n in enumerate(LENGTHS):
        alpha = softmax_by_hand([score_by_hand(name, attention, query[row], annotations[row, j]) for j in range(n)])
        expected = [math.fsum(a * annotations[row, j, e].item() for j, a in enumerate(alpha)) for e in range(E)]
        close(weights[row, :n], torch.tensor(alpha, dtype=torch.float64))
        close(context[row], torch.tensor(expected, dtype=torch.float64))
        assert not weights[row, n:].any()


@pytest.mark.parametrize("name", SCORED)
def test_the_scores_depend_on_the_query(name):
    attention = build(name)
    memory = attention.prepare(random(B, S, E), MASK, random(B, F))
    one, other = (attention(random(B, Q, seed=seed), memory)[1] for seed in (1, 2))
    several = LENGTHS > 1
    assert ((one - other).abs().amax(1) > 1e-3)[several].all() and torch.equal(one[~several], other[~several])


def test_uniform_attention_is_the_mean_annotation():
    annotations = random(B, S, E)
    attention = build("uniform")
    context, weights = attention(random(B, Q), attention.prepare(annotations, MASK, random(B, F)))
    for row, n in enumerate(LENGTHS):
        close(context[row], annotations[row, :n].mean(0))
        assert weights[row].tolist() == pytest.approx([1 / n.item()] * n + [0] * (S - n), rel=1e-15)


@pytest.mark.parametrize("lengths", [[6, 1, 4, 2], [6, 6, 6, 6], [1, 1, 1, 1]], ids=str)
def test_last_attention_looks_at_the_last_word_only(lengths):
    annotations, mask = random(B, max(lengths), E), torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    attention = build("last")
    context, weights = attention(random(B, Q), attention.prepare(annotations, mask, random(B, F)))
    for row, n in enumerate(lengths):
        assert torch.equal(context[row], annotations[row, n - 1])
        assert weights[row].tolist() == [float(j == n - 1) for j in range(max(lengths))]


def test_no_attention_is_the_final_state_at_every_step():
    attention, final = build("none"), random(B, F)
    memory = attention.prepare(random(B, S, E), MASK, final)
    for seed in (1, 2):
        context, weights = attention(random(B, Q, seed=seed), memory)
        assert torch.equal(context, final) and torch.equal(weights, torch.ones(B, 1, dtype=torch.float64))


# --- laws ------------------------------------------------------------------------------------------------------------

def test_the_context_width_is_what_the_module_says():
    for name in ATTENTIONS:
        attention = build(name)
        context, _ = attention(random(B, Q), attention.prepare(random(B, S, E), MASK, random(B, F)))
        assert context.shape == (B, attention.d_context)


@pytest.mark.parametrize("name", ["additive", "dot", "general", "uniform"])
def test_permuting_the_source_permutes_the_weights_and_leaves_the_context(name):
    attention, annotations, query, final = build(name), random(B, S, E), random(B, Q, seed=1), random(B, F)
    order = torch.tensor([3, 0, 5, 2, 1, 4])
    context, weights = attention(query, attention.prepare(annotations, MASK, final))
    shuffled, moved = attention(query, attention.prepare(annotations[:, order], MASK[:, order], final))
    close(moved, weights[:, order])
    close(shuffled, context)


@pytest.mark.parametrize("name", ["additive", "dot", "general", "uniform", "last"])
def test_a_source_without_words_gives_a_zero_context_and_no_nan_gradient(name):
    attention = build(name)
    annotations, query = random(B, S, E).requires_grad_(), random(B, Q, seed=1).requires_grad_()
    mask = MASK.clone()
    mask[1] = False
    context, weights = attention(query, attention.prepare(annotations, mask, random(B, F)))
    assert not weights[1].any() and not context[1].any()
    context.square().sum().backward()
    grads = [p.grad for p in attention.parameters()] + [annotations.grad]
    assert all(g.isfinite().all() for g in grads) and not annotations.grad[1].any()


@pytest.mark.parametrize("name", ["additive", "dot", "general", "uniform", "last"])
def test_padding_changes_nothing_whatever_it_holds(name):
    attention, query, final = build(name), random(B, Q, seed=1), random(B, F)
    annotations = random(B, S, E).requires_grad_()
    context, weights = attention(query, attention.prepare(annotations, MASK, final))
    more = torch.cat([annotations.detach().masked_fill(~MASK[..., None], 77.0), random(B, 3, E, seed=9)], 1)
    wider = nn.functional.pad(MASK, (0, 3))
    again, moved = attention(query, attention.prepare(more.requires_grad_(), wider, final))
    close(again, context)
    close(moved[:, :S], weights)
    assert not moved[:, S:].any()
    for c in (context, again):
        c.square().sum().backward()
    close(more.grad[:, :S], annotations.grad)
    assert not more.grad[~wider].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ATTENTIONS)
def test_half_precision_stays_close_and_finite(name, dtype):
    wide, narrow = build(name), build(name, dtype)
    inputs = random(B, S, E, dtype=dtype), MASK, random(B, F, dtype=dtype)
    query = random(B, Q, seed=1, dtype=dtype)
    context, weights = narrow(query, narrow.prepare(*inputs))
    exact, _ = wide(query.double(), wide.prepare(*(t.double() if t.is_floating_point() else t for t in inputs)))
    assert context.dtype == dtype and context.isfinite().all() and not weights.isnan().any()
    torch.testing.assert_close(context.double(), exact, rtol=0, atol=20 * torch.finfo(dtype).eps)


def test_attend_averages_the_values_not_the_keys():
    class Memory:
        keys, values, mask = random(1, 2, 3), torch.tensor([[[1.0], [5.0]]]), torch.ones(1, 2, dtype=torch.bool)
    context, _ = attend(torch.tensor([[0.0, math.log(3)]]), Memory)
    assert context.item() == pytest.approx(4.0)                         # ¼ · 1 + ¾ · 5


def test_widths_that_do_not_fit_a_dot_product_are_named():
    with pytest.raises(ValueError, match=r"d_query, d_annotation: got 5 and 10, expected equal"):
        ATTENTIONS["dot"](5, 10, 4, 3)


# --- recording -------------------------------------------------------------------------------------------------------

def model(attention="additive"):
    torch.manual_seed(0)
    return Seq2Seq(Seq2SeqConfig(11, 12, 4, 6, 5, attention=attention, bidirectional=attention != "dot"))


def inputs():
    g = torch.Generator().manual_seed(1)
    return torch.randint(4, 11, (B, S), generator=g), MASK, torch.randint(4, 12, (B, 3), generator=g)


def stored_tensors(module):
    """Everything a module keeps that is neither parameter nor buffer, however deep in a list or dict."""
    def tensors(value):
        if isinstance(value, torch.Tensor):
            return [value]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return [t for part in parts for t in tensors(part)]
    return [t for m in module.modules() for key, value in vars(m).items()
            if key not in ("_parameters", "_buffers", "_modules") for t in tensors(value)]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_recording_gives_one_map_a_step_and_changes_nothing(name):
    net = model(name)
    expected = net(*inputs())
    with record_attention(net) as maps:
        logits = net(*inputs())
    assert torch.equal(logits, expected) and list(maps) == ["attention"] and len(maps["attention"]) == 3
    weights = torch.stack(maps["attention"], dim=1)                     # (B, T, S)
    assert weights.shape == (B, 3, 1 if name == "none" else S) and not weights.requires_grad
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, 3))
    if name != "none":
        assert not weights.transpose(1, 2)[~MASK].any()


def test_recording_leaves_nothing_behind_even_after_an_error():
    net = model()
    with record_attention(net) as maps:
        net(*inputs())
    with pytest.raises(KeyError), record_attention(net):
        raise KeyError
    net(*inputs())
    assert len(maps["attention"]) == 3                                  # what came after was not recorded
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize("name", ATTENTIONS)
def test_modules_keep_nothing_of_what_they_computed(name):
    net = model(name)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    net(*inputs()).sum().backward()
    net.step(*net.start(*inputs()[:2]))
    assert stored_tensors(net) == [] and all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_every_attention_of_a_model_is_recorded_under_its_own_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = build("uniform"), nn.ModuleList([build("general")])

        def forward(self):
            for attention in (self.first, self.second[0], self.first):
                attention(random(B, Q), attention.prepare(random(B, S, E), MASK, random(B, F)))
    net = Two()
    with record_attention(net) as maps:
        net()
    assert {name: len(found) for name, found in maps.items()} == {"first": 2, "second.0": 1}
    assert all(isinstance(m, Attention) for m in (net.first, net.second[0]))


def test_a_model_without_attention_cannot_be_recorded():
    with pytest.raises(ValueError, match="model: Linear holds no attention module"), record_attention(nn.Linear(2, 2)):
        pass
