"""The recurrent cells and the encoder against torch.nn, in float64: values and every gradient."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from course_lib.recurrent import CELLS, RecurrentEncoder, open_gates, run_cell

LAYER = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SINGLE = {"elman": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
GATES = {"elman": 1, "gru": 3, "lstm": 4}
NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
D, H = 5, 7


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def copied_layer(cells, name):
    """The torch.nn layer with the weights of one cell (or two, forward and backward)."""
    layer = LAYER[name](D, H, batch_first=True, bidirectional=len(cells) == 2).double()
    with torch.no_grad():
        for cell, ending in zip(cells, ("_l0", "_l0_reverse")):
            for parameter in NAMES:
                getattr(layer, parameter + ending).copy_(getattr(cell, parameter))
    return layer


def same_gradients(cells, layer):
    for cell, ending in zip(cells, ("_l0", "_l0_reverse")):
        for parameter in NAMES:
            close(getattr(cell, parameter).grad, getattr(layer, parameter + ending).grad)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("steps", [1, 2, 11])
def test_running_a_cell_equals_the_torch_layer(name, steps):
    torch.manual_seed(steps)
    cell = CELLS[name](D, H).double()
    layer = copied_layer([cell], name)
    x, start = random(3, steps, D).requires_grad_(), random(3, cell.n_states * H, seed=1).requires_grad_()
    hidden, states = run_cell(cell, x, start)
    (hidden * random(3, steps, H, seed=2)).sum().backward()

    x_theirs, start_theirs = (t.detach().clone().requires_grad_() for t in (x, start))
    first = start_theirs[None].chunk(2, dim=-1) if name == "lstm" else start_theirs[None]
    first = tuple(t.contiguous() for t in first) if name == "lstm" else first
    expected, final = layer(x_theirs, first)
    (expected * random(3, steps, H, seed=2)).sum().backward()

    close(hidden, expected)
    close(states[:, -1], torch.cat(final, dim=-1)[0] if name == "lstm" else final[0])
    close(x.grad, x_theirs.grad)
    close(start.grad, start_theirs.grad)
    same_gradients([cell], layer)


@pytest.mark.parametrize("name", CELLS)
def test_one_step_equals_the_torch_cell_under_the_same_parameter_names(name):
    torch.manual_seed(0)
    cell, theirs = CELLS[name](D, H).double(), SINGLE[name](D, H).double()
    theirs.load_state_dict(cell.state_dict())                           # strict: same names, same shapes
    x, state = random(4, D), random(4, cell.n_states * H, seed=1)
    expected = theirs(x, tuple(t.contiguous() for t in state.chunk(2, 1)) if name == "lstm" else state)
    new = cell(x, state)
    close(new, torch.cat(expected, dim=1) if name == "lstm" else expected)
    close(cell.hidden(new), expected[0] if name == "lstm" else expected)


@pytest.mark.parametrize("name", CELLS)
def test_without_a_start_a_cell_begins_at_zero(name):
    cell, x = CELLS[name](D, H).double(), random(2, 3, D)
    zeros = torch.zeros(2, cell.n_states * H, dtype=torch.float64)
    assert all(torch.equal(a, b) for a, b in zip(run_cell(cell, x), run_cell(cell, x, zeros)))
    assert torch.equal(cell.start(x), zeros) and cell.start(x.float()).dtype == torch.float32


@pytest.mark.parametrize("name", CELLS)
def test_parameters_start_uniform_within_one_over_root_h(name):
    torch.manual_seed(0)
    cell = CELLS[name](300, 400)
    assert cell.weight_hh.shape == (GATES[name] * 400, 400) and cell.weight_ih.shape == (GATES[name] * 400, 300)
    for parameter in cell.parameters():
        assert parameter.abs().max() <= 400**-0.5
    for weight in (cell.weight_ih, cell.weight_hh):                     # uniform: variance a²/3, mean 0
        assert weight.var().item() == pytest.approx(1 / (3 * 400), rel=0.02) and abs(weight.mean()) < 1e-3


@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_open_gates_keep_more_of_the_state(name):
    encoder = RecurrentEncoder(name, D, H, bidirectional=True)
    for parameter in encoder.parameters():
        nn.init.zeros_(parameter)                                       # then a step keeps just what the gate lets through
    open_gates(encoder, bias=1.0)
    for cell in encoder.cells:
        state = torch.arange(1.0, cell.n_states * H + 1)[None]
        kept = cell(torch.randn(1, D), state)[:, -H:] / state[:, -H:]   # h of a GRU, c of an LSTM
        assert kept.flatten().tolist() == pytest.approx([1 / (1 + 2.718281828**-1)] * H)


def test_an_elman_cell_has_no_gate_to_open():
    cell = CELLS["elman"](D, H)
    before = cell.bias_ih.clone()
    open_gates(cell)
    assert torch.equal(cell.bias_ih, before)


@pytest.mark.parametrize("name", CELLS)
def test_autocast_narrows_the_products_and_trains(name):
    torch.manual_seed(0)
    encoder, x = RecurrentEncoder(name, D, H, True), random(3, 6, D).float()
    mask = torch.arange(6) < torch.tensor([[6], [3], [1]])
    exact = encoder(x, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        annotations, final = encoder(x, mask)
    (annotations.float().square().sum() + final.float().square().sum()).backward()
    for got, expected in ((annotations, exact[0]), (final, exact[1])):
        torch.testing.assert_close(got.float(), expected, rtol=0, atol=0.03)
    assert all(p.grad.isfinite().all() and p.grad.any() for p in encoder.parameters())


@pytest.mark.parametrize("lengths", [[7, 1, 4, 5, 3], [1], [1, 1, 1], [2, 6], [4, 4]], ids=str)
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both ways", "forward"])
@pytest.mark.parametrize("name", CELLS)
def test_encoder_equals_torch_on_packed_sequences(name, bidirectional, lengths):
    torch.manual_seed(1)
    encoder = RecurrentEncoder(name, D, H, bidirectional).double()
    layer = copied_layer(list(encoder.cells), name)
    x = random(len(lengths), max(lengths), D).requires_grad_()
    x_theirs = x.detach().clone().requires_grad_()
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]

    annotations, final = encoder(x, mask)
    packed = pack_padded_sequence(x_theirs, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    out, last = layer(packed)
    expected, _ = pad_packed_sequence(out, batch_first=True)            # zeros in the padding
    ways = range(2 if bidirectional else 1)
    parts = [[h[way] for h in last] for way in ways] if name == "lstm" else [[last[way]] for way in ways]
    expected_final = torch.cat([h for way in parts for h in way], dim=-1)

    close(annotations, expected)
    close(final, expected_final)
    assert annotations.shape[-1] == encoder.d_output and final.shape[-1] == encoder.d_state
    for a, f in ((annotations, final), (expected, expected_final)):
        ((a * random(*a.shape, seed=3)).sum() + (f * random(*f.shape, seed=4)).sum()).backward()
    close(x.grad, x_theirs.grad)
    same_gradients(encoder.cells, layer)
    assert not annotations[~mask].any() and not x.grad[~mask].any()     # exactly 0 in the padding


def test_the_backward_reader_starts_at_each_sentences_own_last_word():
    encoder = RecurrentEncoder("gru", D, H, bidirectional=True).double()
    x, mask = random(2, 6, D), torch.arange(6) < torch.tensor([[3], [6]])
    whole, _ = encoder(x, mask)
    alone, _ = encoder(x[:1, :3], mask[:1, :3])
    close(whole[0, :3], alone[0])


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3)])
@pytest.mark.parametrize("name", CELLS)
def test_sizes_must_be_positive(name, sizes):
    with pytest.raises(ValueError, match=rf"d_input, d_hidden: got {sizes[0]}, {sizes[1]}, expected positive"):
        CELLS[name](*sizes)


def test_an_unknown_cell_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"cell: got 'gruu', expected one of elman, gru, lstm"):
        RecurrentEncoder("gruu", D, H, True)
