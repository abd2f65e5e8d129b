"""Positions: the sinusoids number by number, and what every kind of position does to embeddings."""

import math

import pytest
import torch

from course_lib.positional import (
    POSITIONS,
    LearnedPositionalEmbedding,
    NoPositions,
    NoRotation,
    RotaryEmbedding,
    SinusoidalPositionalEncoding,
    rotate,
    sinusoids,
)

ADDING = ["sinusoidal", "learned"]


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)


# --- the waves -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("d_model", [1, 2, 4, 5, 7, 64, 512])
def test_sinusoids_equal_the_formula(d_model):
    table = sinusoids(50, d_model)
    assert table.shape == (50, d_model) and table.dtype == torch.float32
    for pos in range(50):
        expected = [(math.sin, math.cos)[c % 2](pos / 10_000**((c - c % 2) / d_model)) for c in range(d_model)]
        assert table[pos].tolist() == pytest.approx(expected, rel=0, abs=6e-8)          # rounding to float32


def test_the_table_of_the_slides_with_base_100_and_width_4():
    """Row pos: sin(pos), cos(pos), sin(pos / 10), cos(pos / 10), since 100^(2/4) = 10."""
    expected = [[0, 1, 0, 1], [0.84, 0.54, 0.10, 1.0], [0.91, -0.42, 0.20, 0.98], [0.14, -0.99, 0.30, 0.96]]
    got = sinusoids(4, 4, base=100)
    assert torch.equal((100 * got).round(), (100 * torch.tensor(expected)).round())


def test_far_positions_are_as_exact_as_near_ones():
    row = sinusoids(100_001, 6)[-1].tolist()
    expected = [f(100_000 / 10_000**(c / 6)) for c in (0, 2, 4) for f in (math.sin, math.cos)]
    assert row == pytest.approx(expected, rel=0, abs=6e-8)


def test_a_step_ahead_is_the_same_rotation_everywhere():
    """PE[pos + k] is a linear function of PE[pos], as the paper says in section 3.5: each pair turns by an angle of its own."""
    table, k = sinusoids(40, 6).double(), 7
    for pair in range(3):
        angle = k / 10_000**(2 * pair / 6)
        turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
        waves = table[:, 2 * pair:2 * pair + 2]
        torch.testing.assert_close(waves[:-k] @ turn.T, waves[k:], rtol=0, atol=2e-7)


def test_rows_differ_and_have_one_length():
    table = sinusoids(512, 64)
    torch.testing.assert_close(table.square().sum(1), torch.full((512,), 32.0))         # sin² + cos² for each of 32 pairs
    assert (torch.cdist(table, table) + 9 * torch.eye(512)).min() > 0.1


# --- adding them -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("start", [0, 1, 5])
def test_words_after_a_start_get_the_positions_from_there(name, start):
    positions, x = POSITIONS[name](12, 6), random(2, 12, 6)
    whole = positions(x)
    assert torch.equal(positions(x[:, start:start + 4], start), whole[:, start:start + 4])
    assert torch.equal(positions(x[:, start:start + 1], start), whole[:, start:start + 1])


@pytest.mark.parametrize("name", ADDING)
def test_what_is_added_is_the_table_alike_for_every_sentence(name):
    positions, x = POSITIONS[name](12, 6), random(3, 5, 6)
    assert torch.equal(positions(x), x + positions.table[:5])


def test_the_fixed_waves_are_neither_learned_nor_saved():
    positions = SinusoidalPositionalEncoding(12, 6)
    assert positions.state_dict() == {} and list(positions.parameters()) == []
    assert torch.equal(dict(positions.named_buffers())["table"], sinusoids(12, 6))      # a buffer: it moves with the model


def test_learned_positions_learn_only_where_words_stood():
    positions = LearnedPositionalEmbedding(12, 6)
    assert list(positions.state_dict()) == ["table"]
    positions(random(3, 4, 6), start=2).sum().backward()
    assert torch.equal(positions.table.grad, torch.tensor([0, 0, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0])[:, None].expand(12, 6).float())


def test_learned_positions_start_as_long_as_the_waves():
    torch.manual_seed(0)
    learned, fixed = LearnedPositionalEmbedding(512, 64).table, sinusoids(512, 64)
    assert learned.square().sum(1).mean().item() == pytest.approx(fixed.square().sum(1).mean().item(), rel=0.05)


def test_no_positions_change_nothing_and_hold_nothing():
    positions, x = NoPositions(2, 6), random(2, 5, 6)
    assert positions(x, start=7) is x                                   # max_len limits only what has a table
    assert positions.state_dict() == {} and not [*positions.parameters(), *positions.buffers()]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", POSITIONS)
def test_the_dtype_is_that_of_the_words(name, dtype):
    positions, x = POSITIONS[name](12, 6), random(2, 5, 6, dtype=dtype)
    got = positions(x)
    assert got.dtype == dtype
    if name != "none":
        assert torch.equal(got, x + positions.table[:5].to(dtype))
    assert positions.to(dtype)(x).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", POSITIONS)
def test_the_table_moves_to_a_gpu(name):
    positions, x = POSITIONS[name](12, 6), random(2, 5, 6)
    assert torch.equal(positions.cuda()(x.cuda(), 3).cpu(), positions.cpu()(x, 3))


# --- one start for each sentence, and turning -------------------------------------------------------------------------

@pytest.mark.parametrize("name", POSITIONS)
def test_each_sentence_may_start_where_it_likes_and_padding_on_the_left_counts_for_nothing(name):
    positions, x = POSITIONS[name](12, 6), random(3, 5, 6)
    got = positions(x, torch.tensor([4, 0, -2]))
    assert torch.equal(got[:1], positions(x[:1], 4)) and torch.equal(got[1:2], positions(x[1:2]))
    assert torch.equal(got[2:, 2:], positions(x[2:, 2:])) and got.isfinite().all()


def turned_by_hand(x, start):
    """Each pair (i, i + D/2) as one complex number times e^(i · position / base^(2i / D))."""
    half = x.shape[-1] // 2
    places = start + torch.arange(x.shape[-2], dtype=torch.float64)
    angle = places[:, None] / 10_000**(torch.arange(half, dtype=torch.float64) / half)
    product = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([product.real, product.imag], dim=-1)


@pytest.mark.parametrize("start", [0, 3, 90])
def test_a_rotation_is_a_product_of_complex_numbers(start):
    x, rotary = random(2, 3, 5, 8, dtype=torch.float64), RotaryEmbedding(100, 8)
    torch.testing.assert_close(rotate(x, rotary(5, start)), turned_by_hand(x, start), rtol=0, atol=1e-6)


def test_each_sentence_turns_from_its_own_start():
    x, rotary = random(2, 3, 5, 8), RotaryEmbedding(100, 8)
    got = rotate(x, rotary(5, torch.tensor([7, -2])))
    assert torch.equal(got[:1], rotate(x[:1], rotary(5, 7)))
    assert torch.equal(got[1:, :, 2:], rotate(x[1:, :, 2:], rotary(3)))


def test_products_of_turned_vectors_know_only_how_far_apart_they_stand():
    rotary, q, k = RotaryEmbedding(100, 8), random(1, 1, 1, 8), random(1, 1, 1, 8) * 2
    products = [(rotate(q, rotary(1, p + 9)) * rotate(k, rotary(1, p))).sum().item() for p in (0, 1, 30, 90)]
    assert products == pytest.approx([products[0]] * 4, rel=1e-5)
    apart = [(rotate(q, rotary(1, d)) * rotate(k, rotary(1, 0))).sum().item() for d in range(5)]
    assert len({round(value, 4) for value in apart}) == 5


def test_turning_keeps_lengths_and_dtypes_and_saves_nothing():
    rotary = RotaryEmbedding(100, 8)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = random(2, 3, 5, 8, dtype=dtype)
        got = rotate(x, rotary(5, 20))
        assert got.dtype == dtype
        torch.testing.assert_close(got.norm(dim=-1), x.norm(dim=-1), rtol=0.02 if dtype == torch.bfloat16 else 1e-6, atol=0)
    assert rotary.state_dict() == {} and len(list(rotary.buffers())) == 1 and NoRotation(3, 8)(9) is None


# --- bad input -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ADDING)
@pytest.mark.parametrize("length, start, end", [(13, 0, 13), (1, 12, 13), (5, 8, 13), (1, 99, 100)])
def test_words_beyond_the_table_are_named(name, length, start, end):
    positions = POSITIONS[name](12, 6)
    with pytest.raises(ValueError, match=f"x: got words up to position {end}, expected at most max_len = 12"):
        positions(random(1, length, 6), start)
    positions(random(1, 12, 6))                                         # the last one fits


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("max_len, d_model", [(0, 6), (-1, 6), (12, 0)])
def test_sizes_below_one_are_named(name, max_len, d_model):
    with pytest.raises(ValueError, match=f"max_len, d_model: got {max_len}, {d_model}, expected at least 1"):
        POSITIONS[name](max_len, d_model)


@pytest.mark.parametrize("start", [9, torch.tensor([0, 9])], ids=["one", "each"])
def test_turning_beyond_max_len_is_named(start):
    for part in (lambda: RotaryEmbedding(12, 6)(4, start), lambda: LearnedPositionalEmbedding(12, 6)(random(2, 4, 6), start)):
        with pytest.raises(ValueError, match="x: got words up to position 13, expected at most max_len = 12"):
            part()


@pytest.mark.parametrize("part", [RotaryEmbedding, NoRotation])
def test_heads_that_cannot_turn_are_named(part):
    with pytest.raises(ValueError, match="max_len, d_model: got 0, 6"):
        part(0, 6)
    with pytest.raises(ValueError, match="d_head: got 5, expected an even number"):
        RotaryEmbedding(12, 5)
