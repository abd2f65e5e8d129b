"""BERT against torch's own encoder with the same weights; padding, segments, both sides, heads, sizes; it learns."""

import copy
import math
from dataclasses import asdict

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel
from transformers import BertForPreTraining as TheirBertForPreTraining

from course_lib.attention import record_attention
from course_lib.data.masking import MaskedBatches, Masking, mask_pairs
from course_lib.losses import pre_training_loss
from course_lib.models.bert import (
    BERT,
    BERTS,
    BERTConfig,
    BERTForPreTraining,
    BERTForSequences,
    BERTForSpans,
    BERTForTokens,
    WordHead,
)
from course_lib.models.bert_weights import load_bert
from course_lib.runtime import autocast
from course_lib.training import TrainingConfig, train
from tests.test_masking import TOKENIZER, rng
from tests.twins import block_twins, copy_weights, module_twins

V, WIDTH, T = 40, 16, 9
NORMS = pytest.mark.parametrize("norm", ["post", "pre"])


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def shaken(model):
    """No norm and no bias as it starts: mistaken ones would not show."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p if p.dim() == 2 else p + 0.3 * torch.randn(p.shape))
    return model.double().eval()


def encoder(seed=0, **more):
    torch.manual_seed(seed)
    return BERT(BERTConfig(V, **{"d_model": WIDTH, "n_heads": 4, "n_layers": 2, "max_len": 12} | more))


def build(head=None, seed=0, **more):
    bert = encoder(seed, **more)
    return shaken(bert if head is None else head(bert))


HEADS = {"pre-training": BERTForPreTraining, "sequences": lambda bert: BERTForSequences(bert, 3),
         "tokens": lambda bert: BERTForTokens(bert, 3), "spans": BERTForSpans}
G = torch.Generator().manual_seed(0)
IDS = torch.randint(6, V, (4, T), generator=G)
LENGTHS = torch.tensor([T, 6, 3, 1])
MASK = torch.arange(T) < LENGTHS[:, None]
SEGMENTS = ((torch.arange(T) >= torch.tensor([4, 2, 3, 1])[:, None]) & MASK).long()


# --- another implementation ------------------------------------------------------------------------------------------

@NORMS
def test_the_encoder_is_torchs_with_the_same_weights(norm):
    """The published classes of Hugging Face, post-norm alone, are in test_bert_weights.py."""
    model = build(norm=norm)
    c = model.config
    layer = nn.TransformerEncoderLayer(WIDTH, c.n_heads, c.d_ff, activation="gelu", layer_norm_eps=1e-12, batch_first=True,
                                       norm_first=norm == "pre")
    theirs = nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH, 1e-12) if norm == "pre" else None, enable_nested_tensor=False)
    theirs = theirs.double().eval()
    for ours, other in zip(model.blocks, theirs.layers, strict=True):
        copy_weights(block_twins(ours, other))
    if norm == "pre":
        copy_weights(module_twins(model.end, theirs.norm))
    x = model.embedding.weight[IDS] + model.positions.table[:T] + model.segments.weight[SEGMENTS]
    x = torch.layer_norm(x, (WIDTH,), model.norm.weight, model.norm.bias, 1e-12)
    expected = theirs(x, src_key_padding_mask=~MASK)[MASK]
    got = model(IDS, MASK, SEGMENTS)[MASK]
    close(got, expected)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    wanted = [model.embedding.weight, model.positions.table, model.segments.weight, model.norm.weight]
    for one, other in zip(*(torch.autograd.grad((out * weights).sum(), wanted, retain_graph=True) for out in (got, expected))):
        close(one, other, 1e-11)


def test_the_pooler_is_tanh_of_a_linear_layer_on_the_first_vector():
    model = build()
    x = model(IDS, MASK, SEGMENTS)
    expected = [[math.tanh(sum(w * v for w, v in zip(row, vector)) + b) for row, b in
                 zip(model.pooler.weight.tolist(), model.pooler.bias.tolist())] for vector in x[:, 0].tolist()]
    close(model.pool(x), torch.tensor(expected, dtype=torch.float64))


# --- laws --------------------------------------------------------------------------------------------------------------

def embedded(model, mask, segments=None):
    """Vectors, and the embeddings they were computed from, ready for derivatives."""
    kept = []
    hook = model.embedding.register_forward_hook(lambda module, args, out: kept.append(out))
    x = model(IDS, mask, segments)
    hook.remove()
    return x, kept[0]


@NORMS
def test_every_word_sees_both_sides_no_padding_and_no_other_row(norm):
    x, words = embedded(build(norm=norm, n_layers=1), MASK, SEGMENTS)
    for t in range(T):
        for row in range(4):
            by, = torch.autograd.grad(x[row, t].square().sum(), words, retain_graph=True)
            seen = torch.zeros_like(MASK)
            seen[row] = MASK[row]
            if MASK[row, t]:
                assert by[seen].any(-1).all() and not by[~seen].any()   # before and after; exactly 0 elsewhere


@NORMS
@pytest.mark.parametrize("head", [None, *HEADS])
def test_padding_changes_nothing_however_much_and_whatever_it_holds(norm, head):
    model, g = build(HEADS.get(head), norm=norm), torch.Generator().manual_seed(3)

    def outputs(ids, mask, segments):
        found = model(ids, mask, segments)
        found = found if isinstance(found, tuple) else (found,)
        return [out[mask] if out.shape[:2] == mask.shape else out for out in found]

    expected = outputs(IDS, MASK, SEGMENTS)
    wider = [torch.cat([part, torch.randint(0, 2, (4, 3), generator=g).to(part.dtype)], 1) for part in (IDS, SEGMENTS)]
    mask = torch.cat([MASK, torch.zeros(4, 3, dtype=torch.bool)], 1)
    ids = torch.where(mask, wider[0], torch.randint(0, V, mask.shape, generator=g))
    segments = torch.where(mask, wider[1], torch.randint(0, 2, mask.shape, generator=g))
    for one, other in zip(outputs(ids, mask, segments), expected, strict=True):
        close(one, other)
    start = 0
    for i, n in enumerate(LENGTHS):                                     # each row alone, without any padding or mask
        alone = model(IDS[i:i + 1, :n], None, SEGMENTS[i:i + 1, :n])
        for out, whole in zip(alone if isinstance(alone, tuple) else (alone,), expected, strict=True):
            close(out[0], whole[i] if len(whole) == 4 else whole[start:start + n], 1e-11)
        start += n


def test_segments_and_places_matter_and_without_segments_all_is_the_first_text():
    model = build()
    plain = model(IDS, MASK)
    assert torch.equal(plain, model(IDS, MASK, torch.zeros_like(IDS)))
    one = torch.zeros_like(IDS)
    one[0, 5] = 1
    changed = (model(IDS, MASK, one) - plain).abs().amax(-1) > 1e-6
    assert changed[0].all() and not changed[1:].any()
    moved = IDS[:1, [2, 0, 4, 1, 3, 5, 6, 7, 8]]
    assert not torch.allclose(model(moved).sum(1), plain[:1].sum(1), atol=1e-3)
    with torch.no_grad():
        model.positions.table.zero_()
    close(model(moved), model(IDS[:1])[:, [2, 0, 4, 1, 3, 5, 6, 7, 8]])     # without places a bag of words


def test_chosen_places_are_scored_as_among_all_and_with_the_same_gradient():
    model = build(BERTForPreTraining)
    chosen = (torch.rand(4, T, generator=torch.Generator().manual_seed(5)) < 0.3) & MASK
    some, pair = model(IDS, MASK, SEGMENTS, chosen)
    every, same_pair = model(IDS, MASK, SEGMENTS)
    assert some.shape == (int(chosen.sum()), V) and every.shape == (4, T, V) and pair.shape == (4, 2)
    close(some, every[chosen])
    close(pair, same_pair)
    parameters = [model.bert.embedding.weight, model.words.output.bias, model.words.linear.weight]
    for one, other in zip(*(torch.autograd.grad(out.sin().sum(), parameters) for out in (some, every[chosen]))):
        close(one, other)


def test_the_words_are_scored_by_the_table_they_are_read_from():
    model = build(BERTForPreTraining)
    for one in (model, copy.deepcopy(model)):
        assert one.words.output.weight is one.bert.embedding.weight
    names = [name for name, _ in model.named_parameters()]
    assert "bert.embedding.weight" in names and "words.output.weight" not in names and "words.output.bias" in names
    head = WordHead(model.bert.embedding).double()
    assert not head.output.bias.any() and head(torch.randn(2, 3, WIDTH, dtype=torch.float64)).shape == (2, 3, V)


def test_heads_give_logits_of_their_shapes():
    shapes = {name: build(head)(IDS, MASK, SEGMENTS) for name, head in HEADS.items() if name != "pre-training"}
    assert {name: tuple(out.shape) for name, out in shapes.items()} == {"sequences": (4, 3), "tokens": (4, T, 3), "spans": (4, T, 2)}
    bert = build()
    one, other = BERTForTokens(bert, 2), BERTForSequences(bert, 2)
    assert one.bert is other.bert is bert                               # one encoder may serve several heads


@NORMS
def test_every_parameter_learns(norm):
    model, batch = build(BERTForPreTraining, norm=norm, max_len=24, seed=2), batches(norm)[0]
    pre_training_loss(model, batch)[0].backward()
    unused = model.bert.positions.table.grad[batch.ids.shape[1]:]
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == [] and not unused.any()


def test_recorded_attention_sees_words_alone_on_both_sides():
    model = build()
    with record_attention(model) as maps, torch.no_grad():
        model(IDS, MASK, SEGMENTS)
    assert sorted(maps) == ["blocks.0.attention", "blocks.1.attention"]
    for (weights,) in maps.values():
        seen = MASK[:, None, None].expand(4, 4, T, T)
        assert (weights[seen] > 0).all() and not weights[~seen].any()
        close(weights.sum(-1), torch.ones(4, 4, T, dtype=torch.float64))


def test_dropout_acts_in_training_only_where_the_paper_has_it():
    model, plain = build(BERTForPreTraining, dropout=0.5), build(BERTForPreTraining, dropout=0.0)
    assert torch.equal(model(IDS)[0], plain(IDS)[0])
    assert not torch.equal(model.train()(IDS)[0], model(IDS)[0])
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout) and m.p}
    assert sorted(rates) == sorted(["bert.dropout", *(f"bert.blocks.{i}.{part}.dropout" for i in range(2)
                                                      for part in ("attention", "feed_forward"))])
    assert all(block.attention.part.kernel.dropout == 0.5 for block in model.bert.blocks)
    assert BERTForTokens(model.bert, 2).head[0].p == 0.5


# --- sizes, precision, learning ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, parameters", [("bert-base-uncased", 109_482_240), ("bert-large-uncased", 335_141_888)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(name, parameters):
    c = BERTS[name]
    with torch.device("meta"):
        bert = BERT(c)
        theirs = BertModel(BertConfig(hidden_size=c.d_model, num_hidden_layers=c.n_layers, num_attention_heads=c.n_heads,
                                      intermediate_size=c.d_ff))
        heads = BERTForPreTraining(bert)
    assert sum(p.numel() for p in bert.parameters()) == sum(p.numel() for p in theirs.parameters()) == parameters
    d = c.d_model
    added = d * d + d + 2 * d + c.vocab_size + 2 * d + 2                # the word head's layer, norm and bias; the pair's layer
    assert sum(p.numel() for p in heads.parameters()) == parameters + added


@pytest.mark.parametrize("init, std", [("gpt2", 0.02), ("fan_in", 64**-0.5)])
def test_matrices_and_tables_start_with_their_width_and_biases_at_zero(init, std):
    model = BERTForPreTraining(encoder(d_model=64, d_ff=64, init=init, max_len=64))
    head = BERTForTokens(model.bert, 50).head[1]
    for weight in (model.bert.embedding.weight, model.bert.positions.table, model.bert.blocks[0].feed_forward.part.up.weight,
                   model.bert.blocks[1].attention.part.query.weight, model.bert.pooler.weight, model.words.linear.weight, head.weight):
        assert weight.std().item() == pytest.approx(std, rel=0.06)
    assert model.next.weight.std().item() == pytest.approx(std, rel=0.3) and model.bert.segments.weight.std().item() < 1.4 * std
    assert not any(p.any() for name, p in model.named_parameters() if name.endswith("bias")) and not head.bias.any()


def test_a_pretrained_encoder_stays_as_it_is_when_it_gets_a_head():
    bert = build()
    before = {name: p.clone() for name, p in bert.named_parameters()}
    for head in HEADS.values():
        head(bert)
    assert all(torch.equal(p, before[name]) for name, p in bert.named_parameters())


def batches(norm="post", n=3):
    """A few documents whose words tell their neighbours: 3 … a word is followed by the next one."""
    documents = [[[6 + (s + 5 * d + i) % 20 for i in range(3 + d % 2)] for s in range(4)] for d in range(n)]
    return MaskedBatches(documents, 16, TOKENIZER, seed=len(norm))


COIN, WORD = math.log(2), math.log(20)                                  # without any context: 20 words are in use


@NORMS
@pytest.mark.parametrize("init, begins, ends", [("gpt2", 0.1, WORD + COIN), ("fan_in", 1.2, WORD)])
def test_it_starts_near_a_uniform_guess_and_learns(norm, init, begins, ends):
    torch.manual_seed(0)
    model = BERTForPreTraining(encoder(norm=norm, init=init, d_model=32, max_len=24, dropout=0.0))
    loss, n = pre_training_loss(model, batches()[0])
    assert -0.1 < loss / n - math.log(V) - COIN < begins
    history = train(model, batches(n=20), pre_training_loss, TrainingConfig(steps=100, lr=5e-3, warmup_steps=10))
    assert sum(history.loss[-10:]) / 10 < ends - 0.2


def test_the_loss_is_hugging_faces(tmp_path):
    config = BertConfig(vocab_size=V, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=4 * WIDTH,
                        max_position_embeddings=24)
    torch.manual_seed(1)
    theirs = TheirBertForPreTraining(config).double().eval()
    theirs.save_pretrained(tmp_path)
    model, batch = build(BERTForPreTraining, max_len=24), batches()[1]
    load_bert(tmp_path / "model.safetensors", model)
    loss, n = pre_training_loss(model, batch)
    expected = theirs(batch.ids, attention_mask=batch.mask.long(), token_type_ids=batch.segments,
                      labels=batch.targets.masked_fill(~batch.chosen, -100), next_sentence_label=1 - batch.follows).loss
    assert n == batch.chosen.sum() and set(batch.follows.tolist()) == {0, 1} and not batch.mask.all() and batch.segments.any()
    close(loss / n, expected, 1e-10)


@pytest.mark.parametrize("head", HEADS)
def test_bfloat16_autocast_and_half_precision_weights(head):
    model, exact = build(HEADS[head]).float(), build(HEADS[head])(IDS, MASK, SEGMENTS)
    with autocast(torch.device("cpu"), "bfloat16"):
        got = model(IDS, MASK, SEGMENTS)
        sum(part.float().square().sum() for part in (got if isinstance(got, tuple) else (got,))).backward()
    half = build(HEADS[head]).bfloat16()(IDS, MASK, SEGMENTS)
    for found in (got, half):
        for one, other in zip(found if isinstance(found, tuple) else (found,), exact if isinstance(exact, tuple) else (exact,)):
            assert one.dtype == torch.bfloat16
            close(one.double(), other, 0.1)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("head", HEADS)
def test_a_gpu_gives_the_logits_of_the_cpu(head):
    model = build(HEADS[head]).float()
    expected = model(IDS, MASK, SEGMENTS)
    got = model.cuda()(IDS.cuda(), MASK.cuda(), SEGMENTS.cuda())
    for one, other in zip(*(out if isinstance(out, tuple) else (out,) for out in (got, expected))):
        words = MASK if one.shape[:2] == MASK.shape else slice(None)
        close(one.cpu()[words], other[words], 1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_gpu_has_the_loss_of_the_cpu(precision):
    model, batch = build(BERTForPreTraining, max_len=24).float(), batches()[0]
    expected, n = pre_training_loss(model, batch)
    device = torch.device("cuda")
    with autocast(device, precision):
        loss, count = pre_training_loss(model.cuda(), batch.to(device))
    loss.backward()
    assert count.item() == n.item() and loss.item() == pytest.approx(expected.item(), rel=1e-4 if precision == "float32" else 0.03)


# --- bad input -----------------------------------------------------------------------------------------------------------

MODEL, WORDS = build(), build(BERTForPreTraining)
HOLE, NONE = MASK.clone(), MASK.clone()
HOLE[0, 2], NONE[1] = False, False
BAD_INPUT = {
    "id": (lambda: MODEL(IDS + V), r"ids: got token id \d+, expected 0 … 39"),
    "negative id": (lambda: MODEL(IDS - V), r"ids: got token id -\d+, expected 0 … 39"),
    "float": (lambda: MODEL(IDS.float()), r"ids: got dtype torch.float32, expected integer"),
    "empty batch": (lambda: MODEL(IDS[:0]), r"ids: got an empty batch of shape \(0, 9\)"),
    "one row without a batch": (lambda: MODEL(IDS[0]), r"ids: got shape \(9,\), expected \(B, T\)"),
    "too long": (lambda: MODEL(IDS.repeat(1, 2)), r"ids: got 18 tokens a row, expected at most max_len = 12"),
    "mask shape": (lambda: MODEL(IDS, MASK[:, 1:]), r"mask: got torch.bool \(4, 8\), expected bool \(4, 9\)"),
    "mask dtype": (lambda: MODEL(IDS, MASK.long()), r"mask: got torch.int64 \(4, 9\), expected bool"),
    "a hole": (lambda: MODEL(IDS, HOLE), r"mask: row 0 is \[1, 1, 0, 1, 1, 1, 1, 1, 1\], expected words"),
    "no word": (lambda: MODEL(IDS, NONE), r"mask: row 1 is .*expected"),
    "padding on the left": (lambda: MODEL(IDS, MASK.flip(1)), r"mask: row 1 is .*expected words first, then padding"),
    "segments": (lambda: MODEL(IDS, MASK, SEGMENTS + 1), r"segments: got token id 2, expected 0 … 1"),
    "segments' shape": (lambda: MODEL(IDS, MASK, SEGMENTS[:, 1:]), r"segments: got shape \(4, 8\), expected that of ids, \(4, 9\)"),
    "segments' dtype": (lambda: MODEL(IDS, MASK, SEGMENTS.float()), r"segments: got dtype torch.float32"),
    "chosen's dtype": (lambda: WORDS(IDS, MASK, SEGMENTS, MASK.long()), r"chosen: got torch.int64 \(4, 9\), expected bool"),
    "chosen's shape": (lambda: WORDS(IDS, MASK, SEGMENTS, MASK[:, 0]), r"chosen: got torch.bool \(4,\), expected bool \(4, 9\)"),
    "no classes": (lambda: BERTForTokens(MODEL, 0), "n_classes: got 0, expected at least 1"),
    "norm": (lambda: encoder(norm="x"), "norm: got 'x', expected one of post, pre"),
    "init": (lambda: encoder(init="x"), "init: got 'x', expected one of gpt2, fan_in"),
    "dropout": (lambda: encoder(dropout=1.0), "dropout: got 1.0, expected 0 ≤ dropout < 1"),
    "heads": (lambda: encoder(n_heads=3), "n_heads: got 3, expected a divisor of d_model, 16"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    call, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_len", "n_segments"])
def test_sizes_below_one_are_named(name):
    with pytest.raises(ValueError, match=f"{name}: got 0, expected at least 1"):
        BERTConfig(**{"vocab_size": V, name: 0})


def test_a_configuration_comes_back_from_its_fields():
    c = BERTConfig(V, d_model=8, n_heads=2)
    assert c.d_ff == 32 and BERTConfig(**asdict(c)) == c and BERTConfig(V, d_ff=5).d_ff == 5


def test_a_row_with_nothing_to_choose_costs_nothing():
    batch = mask_pairs([([2], []), ([2], [])], None, TOKENIZER, Masking.of(TOKENIZER), rng())      # [UNK] alone
    loss, n = pre_training_loss(build(BERTForPreTraining), batch)
    assert loss == 0 and n == 0
