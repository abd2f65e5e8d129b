"""The encoder–decoder against a slow one made of torch.nn parts, sentence by sentence; free running, padding, causality."""

import pytest
import torch
from torch import nn

from course_lib.attention import ATTENTIONS
from course_lib.data.batching import collate_pairs
from course_lib.losses import seq2seq_loss
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.recurrent import CELLS

V, W = 11, 13                                                           # source and target vocabulary
LAYER = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SINGLE = {"elman": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
VARIANTS = [(cell, attention) for cell in CELLS for attention in ATTENTIONS]
PAIRS = [([4, 5, 6, 7, 8], [4, 5, 6]), ([9], [12]), ([10, 4, 10], [7, 8, 9, 10, 11, 12]), ([5, 5], [])]


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def build(cell="gru", attention="additive", seed=0, **more):
    torch.manual_seed(seed)
    return Seq2Seq(Seq2SeqConfig(V, W, 4, 6, 5, cell, attention, bidirectional=attention != "dot", **more)).double()


def forward(model, batch):
    return model(batch.source, batch.source_mask, batch.target_in)


# --- an independent model ---------------------------------------------------------------------------------------------

def fill(theirs, ours, ending="", further=None):
    """Copy a cell's weights; `further` are the columns of weight_ih for a second input, the context."""
    with torch.no_grad():
        for name in ("weight_hh", "bias_ih", "bias_hh"):
            getattr(theirs, name + ending).copy_(getattr(ours, name))
        columns = [ours.weight_ih] if further is None else [ours.weight_ih, further]
        getattr(theirs, "weight_ih" + ending).copy_(torch.cat(columns, dim=1))


def slow_logits(model, source, target_in):
    """Logits (T, W) for one sentence, without padding: torch.nn's layers and the equations, one word after the other."""
    c = model.config
    lstm, n = c.cell == "lstm", len(source)
    encoder = LAYER[c.cell](c.d_embed, c.d_hidden, bidirectional=c.bidirectional).double()
    for cell, ending in zip(model.encoder.cells, ("_l0", "_l0_reverse")):
        fill(encoder, cell, ending)
    decoder = SINGLE[c.cell](c.d_embed + model.attention.d_context, c.d_hidden).double()
    fill(decoder, model.cell, further=model.from_context.weight)

    h, last = encoder(model.source_embedding.weight[source])            # (S, E)
    ways = range(2 if c.bidirectional else 1)
    final = torch.cat([part for way in ways for part in ([x[way] for x in last] if lstm else [last[way]])])
    state = torch.tanh(model.bridge.weight @ final + model.bridge.bias)
    state = state.split(c.d_hidden) if lstm else state
    rows = []
    for word in target_in:
        s, attention = (state[0] if lstm else state), model.attention
        if c.attention == "none":
            context = final
        else:
            if c.attention == "additive":
                e = torch.stack([attention.score @ torch.tanh(attention.query.weight @ s + attention.key.weight @ h[j]
                                                              + attention.key.bias) for j in range(n)])
            elif c.attention == "dot":
                e = torch.stack([s @ h[j] for j in range(n)])
            elif c.attention == "general":
                e = torch.stack([s @ attention.key.weight @ h[j] for j in range(n)])
            else:
                e = torch.tensor([0.0] * n if c.attention == "uniform" else [-torch.inf] * (n - 1) + [0.0]).double()
            context = sum(a * h[j] for j, a in enumerate(e.exp() / e.exp().sum()))
        y = model.target_embedding.weight[word]
        x = torch.cat([y, context])[None]
        state = decoder(x, tuple(p[None] for p in state) if lstm else state[None])
        state = tuple(p[0] for p in state) if lstm else state[0]
        seen = torch.cat([y, state[0] if lstm else state, context])
        rows.append(model.output.weight @ torch.tanh(model.readout.weight @ seen + model.readout.bias) + model.output.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_logits_equal_the_slow_model_sentence_by_sentence(cell, attention):
    model, batch = build(cell, attention), collate_pairs(PAIRS)
    logits = forward(model, batch)
    for i in range(len(PAIRS)):
        expected = slow_logits(model, batch.source[i][batch.source_mask[i]], batch.target_in[i][batch.target_mask[i]])
        close(logits[i][batch.target_mask[i]], expected)


def copied(name):
    """Whether the slow model computes with a copy of this weight, so that no gradient reaches the original."""
    return "cell" in name or name == "from_context.weight"


def test_gradients_equal_those_of_the_slow_model():
    model, batch = build(), collate_pairs(PAIRS)
    seq2seq_loss(model, batch)[0].backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if not copied(name)}
    model.zero_grad()
    for i in range(len(PAIRS)):
        mask = batch.target_mask[i]
        logits = slow_logits(model, batch.source[i][batch.source_mask[i]], batch.target_in[i][mask])
        nn.functional.cross_entropy(logits, batch.target_out[i][mask], reduction="sum").backward()
    assert len(ours) == 12
    for name, p in model.named_parameters():
        if name in ours:
            close(ours[name], p.grad)


# --- free running ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_free_running_gives_the_logits_of_teacher_forcing(cell, attention):
    model, batch = build(cell, attention), collate_pairs(PAIRS)
    expected = forward(model, batch)
    first, state = model.start(batch.source, batch.source_mask)
    assert first.tolist() == [2] * len(PAIRS)
    for t in range(batch.target_in.shape[1]):
        logits, state = model.step(batch.target_in[:, t], state)
        close(logits, expected[:, t])


@pytest.mark.parametrize("cell", CELLS)
def test_reordering_the_state_goes_on_with_other_rows(cell):
    model, batch = build(cell), collate_pairs(PAIRS)
    first, state = model.start(batch.source, batch.source_mask)
    _, state = model.step(first, state)
    logits, _ = model.step(batch.target_in[:, 1], state)
    index = torch.tensor([2, 0, 0, 3, 1])
    moved, _ = model.step(batch.target_in[index, 1], model.reorder(state, index))
    close(moved, logits[index])


# --- laws ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_padding_changes_neither_logits_nor_gradients_whatever_it_holds(cell, attention):
    model, batch = build(cell, attention), collate_pairs(PAIRS)
    g = torch.Generator().manual_seed(0)
    more = {name: nn.functional.pad(getattr(batch, name), (0, extra)) for name, extra in
            (("source", 3), ("source_mask", 3), ("target_in", 2), ("target_out", 2), ("target_mask", 2))}
    for ids, mask, vocab in (("source", "source_mask", V), ("target_in", "target_mask", W), ("target_out", "target_mask", W)):
        garbage = torch.randint(0, vocab, more[ids].shape, generator=g)
        more[ids] = torch.where(more[mask], more[ids], garbage)
    wider, grads = type(batch)(**more), []
    close(forward(model, wider)[:, :-2][batch.target_mask], forward(model, batch)[batch.target_mask])
    for b in (batch, wider):
        model.zero_grad()
        seq2seq_loss(model, b)[0].backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
    for name, expected in grads[0].items():
        close(grads[1][name], expected)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_sentence_is_computed_as_if_alone(attention):
    model, batch = build(attention=attention), collate_pairs(PAIRS)
    logits = forward(model, batch)
    for i, pair in enumerate(PAIRS):
        close(logits[i][batch.target_mask[i]], forward(model, collate_pairs([pair]))[0])


@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_a_logit_does_not_see_the_words_it_has_to_predict(cell, attention):
    model = build(cell, attention)
    batch = collate_pairs([([4, 5, 6], [5, 6, 7, 8, 9])])               # six different words in target_in
    for t in range(6):
        model.zero_grad()
        forward(model, batch)[0, t].square().sum().backward()
        touched = model.target_embedding.weight.grad.any(1)
        assert touched[batch.target_in[0, :t + 1]].all()                # it sees all words so far
        assert not touched[batch.target_in[0, t + 1:]].any()            # exactly 0 for those that follow


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_parameter_learns(attention):
    model = build(attention=attention)
    loss, _ = seq2seq_loss(model, collate_pairs(PAIRS))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_dropout_acts_in_training_only():
    model, batch = build(dropout=0.5), collate_pairs(PAIRS)
    assert not torch.equal(forward(model, batch), forward(model, batch))
    model.eval()
    expected = forward(build(), batch)
    assert torch.equal(forward(model, batch), expected)


def test_tied_embeddings_are_one_matrix_that_gets_both_gradients():
    model, free = build(tie_embeddings=True), build()
    assert model.output.weight is model.target_embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in model.parameters()) == W * 4
    free.load_state_dict(model.state_dict())
    batch = collate_pairs(PAIRS)
    close(forward(model, batch), forward(free, batch))
    for net in (model, free):
        seq2seq_loss(net, batch)[0].backward()
    close(model.output.weight.grad, free.output.weight.grad + free.target_embedding.weight.grad)


@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_bfloat16_autocast_stays_finite_and_near(cell, attention):
    model, batch = build(cell, attention).float(), collate_pairs(PAIRS)
    exact, _ = seq2seq_loss(model, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = seq2seq_loss(model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-4), ("bfloat16", 0.05)])
def test_a_gpu_gives_the_logits_of_the_cpu(precision, tolerance):
    from course_lib.runtime import autocast
    model, batch, device = build().float(), collate_pairs(PAIRS), torch.device("cuda")
    expected = forward(model, batch)
    moved = batch.to(device)
    assert moved.source.is_cuda and moved.target_mask.is_cuda
    with autocast(device, precision):
        logits = forward(model.to(device), moved)
    seq2seq_loss(model, moved)[0].backward()
    torch.testing.assert_close(logits.float().cpu(), expected, rtol=0, atol=tolerance * expected.abs().max().item())


# --- bad input -------------------------------------------------------------------------------------------------------

S, SM, TI = (lambda b: (b.source, b.source_mask, b.target_in))(collate_pairs(PAIRS))
HOLE, LEFT, NONE = SM.clone(), SM.flip(1), SM.clone()
HOLE[0, 1], NONE[1] = False, False
BAD_INPUT = {
    "source id": ((S + V, SM, TI), r"source: got token id \d+, expected 0 … 10"),
    "negative id": ((S - 5, SM, TI), r"source: got token id -5, expected 0 … 10"),
    "target id": ((S, SM, TI + W), r"target_in: got token id \d+, expected 0 … 12"),
    "float ids": ((S.float(), SM, TI), r"source: got dtype torch.float32, expected integer"),
    "no sentences": ((S[:0], SM[:0], TI[:0]), r"target_in: got an empty batch of shape \(0, 7\)"),
    "no words": ((S[:, :0], SM[:, :0], TI), r"source: got an empty batch of shape \(4, 0\)"),
    "mask shape": ((S, SM[:, 1:], TI), r"source_mask: got torch.bool \(4, 5\), expected bool \(4, 6\)"),
    "mask dtype": ((S, SM.float(), TI), r"source_mask: got torch.float32 \(4, 6\), expected bool"),
    "a hole in the mask": ((S, HOLE, TI), r"source_mask: row 0 .*expected .*words first, then padding"),
    "padding at the left": ((S, LEFT, TI), r"source_mask: row \d .*expected .*words first, then padding"),
    "a sentence without words": ((S, NONE, TI), r"source_mask: row 1 .*expected at least one word"),
    "batch sizes": ((S, SM, TI[:3]), r"target_in: got \(3, 7\), expected 4 rows"),
    "one sentence without a batch": ((S[0], SM[0], TI.repeat(2, 1)[:6]), r"source: got shape \(6,\), expected \(B, S\)"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    arguments, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        build()(*arguments)


BAD_CONFIG = {
    "source_vocab_size": (0, "expected a positive size"), "target_vocab_size": (-1, "expected a positive size"),
    "d_embed": (0, "expected a positive size"), "d_hidden": (0, "expected a positive size"),
    "d_attention": (0, "expected a positive size"), "dropout": (1.0, "expected 0 ≤ dropout < 1"),
    "cell": ("rnn", "expected one of elman, gru, lstm"),
    "attention": ("luong", "expected one of none, additive, dot, general, uniform, last"),
    "bos_id": (13, "expected 0 … 12"),
}


@pytest.mark.parametrize("name", BAD_CONFIG)
def test_a_bad_setting_is_named(name):
    value, expected = BAD_CONFIG[name]
    settings = {"source_vocab_size": V, "target_vocab_size": W, name: value}
    with pytest.raises(ValueError, match=f"{name}: got {value!r}, {expected}"):
        Seq2SeqConfig(**settings)


def test_dot_attention_needs_one_direction():
    with pytest.raises(ValueError, match="d_query, d_annotation: got 6 and 12, expected equal widths"):
        Seq2Seq(Seq2SeqConfig(V, W, 4, 6, 5, attention="dot"))
