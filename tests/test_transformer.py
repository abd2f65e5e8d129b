"""The Transformer against torch's with the same weights and against decoding without a cache; padding, leaks, order."""

import math

import pytest
import torch
from torch import nn

from course_lib.data.batching import PairBatch, collate_pairs
from course_lib.generation import beam_search, greedy
from course_lib.losses import seq2seq_loss
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.positional import POSITIONS, sinusoids
from course_lib.runtime import autocast
from tests.twins import TorchTransformer, Uncached

V, W, WIDTH = 11, 13, 8                                                 # source and target vocabulary, d_model
VARIANTS = [(norm, positions) for norm in ("post", "pre") for positions in POSITIONS]
PAIRS = [([4, 5, 6, 7, 8], [4, 5, 6]), ([9], [12]), ([10, 4, 10], [7, 8, 9, 10, 11, 12]), ([5, 5], [])]


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def build(norm="post", positions="sinusoidal", seed=0, source_vocab=V, sharpness=1.0, **more):
    """A small model in float64. Norms and biases are random, too: at first all are alike, and mistaken ones would not show."""
    settings = {"d_model": WIDTH, "n_heads": 4, "n_layers": 2, "d_ff": 12, "dropout": 0.0, "max_len": 20} | more
    torch.manual_seed(seed)
    model = Transformer(TransformerConfig(source_vocab, W, norm=norm, positions=positions, **settings)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p * sharpness if p.dim() == 2 else p + 0.3 * torch.randn(p.shape, dtype=p.dtype))
    return model


def forward(model, batch):
    return model(batch.source, batch.source_mask, batch.target_in)


def grads(model, batch):
    """Derivatives of the loss by every parameter, by name."""
    model.zero_grad()
    seq2seq_loss(model, batch)[0].backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def embedded(model, batch):
    """Logits, and the embeddings of source and target they were computed from, ready for derivatives."""
    kept = []
    hooks = [part.register_forward_hook(lambda module, args, out: kept.append(out))
             for part in (model.source_embedding, model.target_embedding)]
    logits = forward(model, batch)
    for hook in hooks:
        hook.remove()
    return logits, *kept


# --- an independent model ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_logits_and_gradients_equal_those_of_torchs_transformer(norm, positions):
    model, batch = build(norm, positions), collate_pairs(PAIRS)
    theirs = TorchTransformer(model)
    close(forward(theirs, batch), forward(model, batch))
    ours, other = grads(model, batch), grads(theirs, batch)
    names = {id(p): name for name, p in model.named_parameters()}
    core = list(theirs.core_twins(model))
    core_names = {id(p): name for name, p in theirs.named_parameters()}
    for group, parameter in core:
        close(torch.cat([ours.pop(names[id(p)]) for p in group]), other.pop(core_names[id(parameter)]))
    assert ours.keys() == {name.removeprefix("ends.") for name in other} >= {"source_embedding.weight", "target_embedding.weight"}
    for name, grad in ours.items():                                     # all that is left: embeddings, positions
        close(grad, other[f"ends.{name}"])


def test_embeddings_times_the_root_of_the_width_and_positions_go_in():
    model, batch = build(), collate_pairs(PAIRS)
    got = model.embed(batch.source, model.source_embedding, model.source_positions)
    for row, words in enumerate(batch.source.tolist()):
        for place, word in enumerate(words):
            close(got[row, place], model.source_embedding.weight[word] * math.sqrt(WIDTH) + sinusoids(10, WIDTH)[place])
    seen = []
    model.encoder[0].register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    forward(model, batch)
    assert torch.equal(*seen, got)


# --- free running ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_free_running_gives_the_logits_of_teacher_forcing(norm, positions):
    model, batch = build(norm, positions), collate_pairs([*PAIRS, ([4] * 9, [5, 6, 7, 8] * 4)])      # 17 steps: the cache grows
    with torch.no_grad():
        expected = forward(model, batch)
        first, state = model.start(batch.source, batch.source_mask)
        assert first.tolist() == [2] * 5
        for t in range(batch.target_in.shape[1]):
            logits, state = model.step(batch.target_in[:, t], state)
            close(logits, expected[:, t])


@torch.no_grad()
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_reordering_the_state_goes_on_with_other_rows(norm):
    model, batch = build(norm), collate_pairs(PAIRS)
    index = torch.tensor([2, 0, 0, 3, 1])
    expected = model(batch.source[index], batch.source_mask[index], batch.target_in[index])
    _, state = model.start(batch.source, batch.source_mask)
    for t in range(3):
        _, state = model.step(batch.target_in[:, t], state)
    moved = model.reorder(state, index)
    for t in range(3, 7):
        logits, moved = model.step(batch.target_in[index, t], moved)
        close(logits, expected[:, t])


@pytest.mark.parametrize("norm, positions", VARIANTS)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_searches_with_and_without_a_cache_find_the_same(norm, positions, beam_size):
    g, sentences = torch.Generator().manual_seed(5), set()
    batch = collate_pairs([(torch.randint(4, V, (n,), generator=g).tolist(), []) for n in (1, 2, 3, 4, 5, 6, 7, 8) * 2])
    for seed in range(4):
        model = build(norm, positions, seed, d_model=32, sharpness=1.5, tie_embeddings=False).eval()
        cached, plain = (
            greedy(net, batch.source, batch.source_mask, max_len=18) if beam_size == 1 else
            beam_search(net, batch.source, batch.source_mask, beam_size=beam_size, max_len=18, length_penalty=1.0)
            for net in (model, Uncached(model)))
        assert cached.ids == plain.ids and torch.equal(cached.finished, plain.finished)
        torch.testing.assert_close(cached.log_probs, plain.log_probs)
        sentences |= {tuple(ids) for ids in cached.ids}
    assert len(sentences) >= 12                                         # alike for all sources they would say little


# --- laws ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_a_logit_sees_the_words_so_far_and_no_later_one_and_no_padding(norm, positions):
    model, batch = build(norm, positions), collate_pairs(PAIRS)
    logits, source, target = embedded(model, batch)
    for t in range(logits.shape[1]):
        by_source, by_target = torch.autograd.grad(logits[:, t].square().sum(), (source, target), retain_graph=True)
        assert by_target[:, :t + 1].any(-1).all() and not by_target[:, t + 1:].any()    # exactly 0 for what follows
        assert by_source[batch.source_mask].any(-1).all() and not by_source[~batch.source_mask].any()


def test_no_logit_looks_into_another_sentence():
    model, batch = build(), collate_pairs(PAIRS)
    logits, source, target = embedded(model, batch)
    for by in torch.autograd.grad(logits[2].square().sum(), (source, target)):
        assert by[2].any() and not by[[0, 1, 3]].any()


@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_padding_changes_neither_logits_nor_gradients_whatever_it_holds(norm, positions):
    model, batch = build(norm, positions), collate_pairs(PAIRS)
    g = torch.Generator().manual_seed(0)
    more = {name: nn.functional.pad(getattr(batch, name), (0, extra)) for name, extra in
            (("source", 3), ("source_mask", 3), ("target_in", 2), ("target_out", 2), ("target_mask", 2))}
    for ids, mask, vocab in (("source", "source_mask", V), ("target_in", "target_mask", W), ("target_out", "target_mask", W)):
        more[ids] = torch.where(more[mask], more[ids], torch.randint(0, vocab, more[ids].shape, generator=g))
    wider = PairBatch(**more)
    close(forward(model, wider)[:, :-2][batch.target_mask], forward(model, batch)[batch.target_mask])
    expected = grads(model, batch)
    for name, grad in grads(model, wider).items():
        if name.endswith("positions.table"):                            # a table's other rows are never reached
            assert grad.any()
        close(grad, expected[name])


@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_each_sentence_is_computed_as_if_alone(norm, positions):
    model, batch = build(norm, positions), collate_pairs(PAIRS)
    logits = forward(model, batch)
    for i, pair in enumerate(PAIRS):
        close(logits[i][batch.target_mask[i]], forward(model, collate_pairs([pair]))[0])


@torch.no_grad()
@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_without_positions_the_encoder_reads_a_bag_of_words_and_with_them_an_order(norm, positions):
    model, order = build(norm, positions), torch.tensor([3, 0, 5, 2, 1, 4])
    source, mask = torch.tensor([[4, 5, 6, 7, 8, 9], [9, 4, 4, 10, 5, 5]]), torch.ones(2, 6, dtype=torch.bool)
    target = torch.tensor([[2, 4, 5], [2, 6, 7]])
    memory, moved = model.encode(source, mask), model.encode(source[:, order], mask)
    logits, after = model(source, mask, target), model(source[:, order], mask, target)
    if positions == "none":
        close(moved, memory[:, order])                                  # every word keeps its vector
        close(after, logits)                                            # and the decoder cannot tell
    else:
        assert (moved - memory[:, order]).abs().amax(-1).min() > 0.01 and (after - logits).abs().amax(-1).min() > 0.01


@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_every_parameter_learns(norm, positions):
    model = build(norm, positions, tie_embeddings=False)
    assert [name for name, grad in grads(model, collate_pairs(PAIRS)).items() if not grad.any()] == []


@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_an_odd_width_works_with_one_head(norm, positions):
    model, batch = build(norm, positions, d_model=5, n_heads=1), collate_pairs(PAIRS)
    close(forward(TorchTransformer(model), batch), forward(model, batch))
    assert all(grad.any() for grad in grads(model, batch).values())


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_dropout_acts_in_training_only(norm):
    model, batch = build(norm, dropout=0.5), collate_pairs(PAIRS)
    assert not torch.equal(forward(model, batch), forward(model, batch))
    first, state = model.eval().start(batch.source, batch.source_mask)
    assert torch.equal(forward(model, batch), forward(build(norm), batch))
    close(model.step(first, state)[0], forward(model, batch)[:, 0])


def test_dropout_falls_on_embeddings_and_in_every_block():
    model, batch = build(dropout=0.5), collate_pairs(PAIRS)
    assert sum(isinstance(m, nn.Dropout) and m.p == 0.5 for m in model.modules()) == 1 + 2 * 3 + 2 * 4      # 3 in a block, 4 with cross
    model.dropout.p = 1.0                                               # the one of both embeddings, positions included
    for ids, embedding, positions in ((batch.source, model.source_embedding, model.source_positions),
                                      (batch.target_in, model.target_embedding, model.target_positions)):
        assert not model.embed(ids, embedding, positions).any()


def test_a_fresh_model_is_about_as_unsure_as_it_can_be():
    """Tied weights and √d_model: logits of a new model have variance near 1, so its loss is near log V + ½."""
    torch.manual_seed(0)
    vocab, g = 1000, torch.Generator().manual_seed(1)
    batch = collate_pairs([tuple(torch.randint(4, vocab, (12,), generator=g).tolist() for _ in range(2)) for _ in range(32)])
    for norm in ("post", "pre"):
        model = Transformer(TransformerConfig(vocab, vocab, 64, 4, 2, 128, norm=norm))
        loss, count = seq2seq_loss(model, batch)
        assert (loss / count).item() == pytest.approx(torch.tensor(vocab).log().item() + 0.5, abs=0.3)


# --- embeddings ------------------------------------------------------------------------------------------------------

def count(**settings):
    with torch.device("meta"):                                          # shapes only, no numbers
        return sum(p.numel() for p in Transformer(TransformerConfig(**settings)).parameters())


def test_the_base_model_of_the_paper_has_63_million_parameters():
    """With one vocabulary of about 37 000 pieces; the paper rounds to 65 million (Vaswani et al. 2017, table 3)."""
    base = {"source_vocab_size": 37_000, "target_vocab_size": 37_000}
    attention, network, norm = 4 * (512 * 512 + 512), 2 * 512 * 2048 + 2048 + 512, 2 * 512
    blocks = 6 * (attention + network + 2 * norm) + 6 * (2 * attention + network + 3 * norm)
    assert count(**base, share_vocab=True) == 37_000 * 512 + blocks == 63_082_496
    assert count(**base) == 2 * 37_000 * 512 + blocks
    assert count(**base, tie_embeddings=False) == 3 * 37_000 * 512 + blocks
    assert count(**base, tie_embeddings=False, share_vocab=True) == 2 * 37_000 * 512 + blocks
    assert count(**base, norm="pre") == count(**base) + 2 * norm        # one norm at the end of each stack
    assert count(**base, positions="learned") == count(**base) + 2 * 512 * 512


@pytest.mark.parametrize("tie, share", [(True, False), (False, True), (True, True)])
def test_one_matrix_for_several_uses_gets_all_their_gradients(tie, share):
    model = build(source_vocab=W, tie_embeddings=tie, share_vocab=share)
    free, batch = build(source_vocab=W, tie_embeddings=False), collate_pairs(PAIRS)
    free.load_state_dict(model.state_dict())
    assert (model.output.weight is model.target_embedding.weight) == tie
    assert (model.source_embedding.weight is model.target_embedding.weight) == share
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in model.parameters()) == (tie + share) * W * WIDTH
    close(forward(model, batch), forward(free, batch))
    shared, single = grads(model, batch), grads(free, batch)
    uses = ["target_embedding.weight", *["output.weight"] * tie, *["source_embedding.weight"] * share]
    got = {name: grad for name, grad in shared.items() if name in uses}
    assert len(got) == 1
    close(*got.values(), sum(single[name] for name in uses))


# --- precision and devices -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("norm, positions", VARIANTS)
def test_bfloat16_autocast_stays_finite_and_near(norm, positions):
    model, batch = build(norm, positions).float(), collate_pairs(PAIRS)
    exact, _ = seq2seq_loss(model, batch)
    with autocast(torch.device("cpu"), "bfloat16"):
        loss, _ = seq2seq_loss(model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_decoding_under_autocast_gives_the_logits_of_teacher_forcing(precision):
    model, batch = build().float(), collate_pairs(PAIRS)
    with torch.no_grad(), autocast(torch.device("cpu"), precision):
        expected = forward(model, batch)
        _, state = model.start(batch.source, batch.source_mask)
        steps = [model.step(batch.target_in[:, t], state)[0] for t in range(7)]
    assert state.caches[0].buffers[0].dtype == getattr(torch, precision)
    close(torch.stack(steps, dim=1), expected, 1e-5 if precision == "float32" else 0.05)


GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@GPU
@pytest.mark.parametrize("norm, positions", VARIANTS)
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-4), ("bfloat16", 0.05)])
def test_a_gpu_gives_the_logits_of_the_cpu(norm, positions, precision, tolerance):
    model, batch, device = build(norm, positions).float(), collate_pairs(PAIRS), torch.device("cuda")
    expected, moved = forward(model, batch), batch.to(device)
    model.to(device)
    with autocast(device, precision):
        logits = forward(model, moved)
        seq2seq_loss(model, moved)[0].backward()
        assert all(p.grad.isfinite().all() for p in model.parameters())
        with torch.no_grad():
            _, state = model.start(moved.source, moved.source_mask)
            steps = torch.stack([model.step(moved.target_in[:, t], state)[0] for t in range(7)], dim=1)
    for got in (logits, steps):
        close(got.float().cpu(), expected, tolerance)


@GPU
@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 0.02), (torch.bfloat16, 0.1)])
def test_a_whole_model_in_half_precision_stays_near_on_a_gpu(dtype, tolerance):
    model, batch = build(), collate_pairs(PAIRS)
    expected, moved = forward(model, batch), batch.to(torch.device("cuda"))
    logits = forward(model.to("cuda", dtype), moved)
    assert logits.dtype == dtype
    close(logits.double().cpu(), expected, tolerance)


# --- bad input -------------------------------------------------------------------------------------------------------

S, SM, TI = (lambda b: (b.source, b.source_mask, b.target_in))(collate_pairs(PAIRS))
HOLE, LEFT, NONE = SM.clone(), SM.flip(1), SM.clone()
HOLE[0, 1], NONE[1] = False, False
LONG = torch.full((4, 21), 4)
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
    "a source too long": ((LONG, LONG > 0, TI), r"x: got words up to position 21, expected at most max_len = 20"),
    "a target too long": ((S, SM, LONG), r"x: got words up to position 21, expected at most max_len = 20"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    arguments, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        build()(*arguments)


def test_free_running_names_a_word_outside_the_vocabulary_and_the_end_of_the_positions():
    model = build()
    first, state = model.start(S, SM)
    with pytest.raises(ValueError, match="token: got token id 13, expected 0 … 12"):
        model.step(first + 11, state)
    with torch.no_grad(), pytest.raises(ValueError, match="x: got words up to position 21, expected at most max_len = 20"):
        for _ in range(21):
            model.step(first, state)
    assert state.caches[0].length == 20


BAD_CONFIG = {
    **{name: (value, "expected at least 1") for name, value in
       (("source_vocab_size", 0), ("target_vocab_size", -1), ("d_model", 0), ("n_heads", 0), ("n_layers", 0), ("d_ff", -3),
        ("max_len", 0))},
    "dropout": (1.0, "expected 0 ≤ dropout < 1"), "norm": ("batch", "expected one of post, pre"),
    "positions": ("rotary", "expected one of sinusoidal, learned, none"), "bos_id": (13, "expected 0 … 12"),
}


@pytest.mark.parametrize("name", BAD_CONFIG)
def test_a_bad_setting_is_named(name):
    value, expected = BAD_CONFIG[name]
    settings = {"source_vocab_size": V, "target_vocab_size": W, name: value}
    with pytest.raises(ValueError, match=f"{name}: got {value!r}, {expected}"):
        TransformerConfig(**settings)


def test_settings_that_do_not_fit_together_are_named():
    with pytest.raises(ValueError, match="share_vocab: got vocabularies of 11 and 13 words, expected one size"):
        TransformerConfig(V, W, share_vocab=True)
    with pytest.raises(ValueError, match="n_heads: got 3, expected a divisor of d_model, 8"):
        build(n_heads=3)
