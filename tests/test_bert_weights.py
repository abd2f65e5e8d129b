"""BERT's published layout: there and back through files, every head beside Hugging Face's class; what does not fit is named."""

import copy
import os
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForNextSentencePrediction,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from transformers.utils import logging

from course_lib.models.bert import BERT, BERTConfig, BERTForPreTraining, BERTForSequences, BERTForSpans, BERTForTokens
from course_lib.models.bert_weights import load_bert, save_bert
from course_lib.models.gpt import GPT, GPTConfig

logging.set_verbosity_error()
logging.disable_progress_bar()

V, WIDTH, T = 13, 24, 10
CONFIG = BertConfig(vocab_size=V, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40,
                    max_position_embeddings=T, num_labels=3, pad_token_id=None)         # else id 0 learns nothing
QA_CONFIG = BertConfig(**{**CONFIG.to_dict(), "num_labels": 2})


def close(got, expected, tol=1e-10):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * max(float(expected.detach().abs().max()), 1e-9))


def shaken(model):
    """No norm and no bias as it starts: mistaken ones would not show."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p + 0.1 * torch.randn(p.shape))
    return model


def encoder(**more):
    return BERT(BERTConfig(V, **{"d_model": WIDTH, "n_heads": 3, "n_layers": 2, "d_ff": 40, "max_len": T} | more))


OURS = {"BERT": encoder, "pre-training": lambda **more: BERTForPreTraining(encoder(**more)),
        "sequences": lambda **more: BERTForSequences(encoder(**more), 3), "tokens": lambda **more: BERTForTokens(encoder(**more), 3),
        "spans": lambda **more: BERTForSpans(encoder(**more))}


def ours(kind, seed=0, dtype=torch.float64, **more):
    torch.manual_seed(seed)
    return shaken(OURS[kind](**more)).to(dtype).eval()


# Hugging Face's class: our class, what both give (ours from our output and model, theirs from its), and what only one of them has.
POOLER, NEXT, WORDS = ("bert.pooler.",), ("cls.seq_relationship.",), ("cls.predictions.",)
PEERS = {
    BertModel: ("BERT", lambda m, x: (x, m.pool(x)), lambda y: (y.last_hidden_state, y.pooler_output), (), ()),
    BertForPreTraining: ("pre-training", lambda m, x: x, lambda y: (y.prediction_logits, y.seq_relationship_logits.flip(1)), (), ()),
    BertForMaskedLM: ("pre-training", lambda m, x: x[:1], lambda y: (y.logits,), ("pooler", "next"), POOLER + NEXT),
    BertForNextSentencePrediction: ("pre-training", lambda m, x: x[1:], lambda y: (y.logits.flip(1),), ("words",), WORDS),
    BertForSequenceClassification: ("sequences", lambda m, x: (x,), lambda y: (y.logits,), (), ()),
    BertForTokenClassification: ("tokens", lambda m, x: (x,), lambda y: (y.logits,), (), POOLER),
    BertForQuestionAnswering: ("spans", lambda m, x: (x[..., 0], x[..., 1]), lambda y: (y.start_logits, y.end_logits), (), POOLER),
}


def config_of(peer):
    return QA_CONFIG if peer is BertForQuestionAnswering else CONFIG


def theirs(peer, seed=1, dtype=torch.float64):
    torch.manual_seed(seed)
    return shaken(peer(config_of(peer))).to(dtype).eval()


G = torch.Generator().manual_seed(0)
IDS = torch.randint(0, V, (4, T), generator=G)
LENGTHS = torch.tensor([T, 7, 4, 1])
MASK = torch.arange(T) < LENGTHS[:, None]
SEGMENTS = ((torch.arange(T) >= torch.tensor([4, 3, 4, 1])[:, None]) & MASK).long()


def only_words(outputs):
    """What stands at padding does not count: (B, T, …) → (N, …)."""
    return [out[MASK] if out.shape[:2] == MASK.shape else out for out in outputs]


def grads(model, outputs):
    g = torch.Generator().manual_seed(2)
    loss = sum((out * torch.randn(out.shape, generator=g, dtype=torch.float64).to(out.dtype)).sum() for out in outputs)
    names, parameters = zip(*model.named_parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return {name: torch.zeros_like(p) if grad is None else grad for name, p, grad in zip(names, parameters, found)}


@pytest.mark.parametrize("way", ["in", "out"])
@pytest.mark.parametrize("peer", PEERS)
def test_values_and_gradients_are_those_of_hugging_face(tmp_path, peer, way):
    kind, our_outputs, their_outputs, keep, only_ours = PEERS[peer]
    model, other, path = ours(kind), theirs(peer), tmp_path / "model.safetensors"
    if way == "in":
        other.save_pretrained(tmp_path)
        load_bert(path, model, keep)
    else:
        save_bert(path, model)
        config_of(peer).save_pretrained(tmp_path)
        other, info = peer.from_pretrained(tmp_path, dtype=torch.float64, output_loading_info=True)
        assert not info["missing_keys"] and not info["mismatched_keys"]
        assert all(name.startswith(only_ours) for name in info["unexpected_keys"])
    for given in ({}, {"mask": MASK, "segments": SEGMENTS}):
        named = {"attention_mask": MASK.long(), "token_type_ids": SEGMENTS} if given else {}
        pick = only_words if given else list
        got = pick(our_outputs(model, model(IDS, **given)))
        expected = pick(their_outputs(other(IDS, **named)))
        for one, two in zip(got, expected, strict=True):
            close(one, two)
        g, h = grads(model, got), grads(other, expected)
        image = copy.deepcopy(model)                                    # our gradients under the published names
        with torch.no_grad():
            for name, p in image.named_parameters():
                p.copy_(g[name])
        save_bert(tmp_path / "gradients", image)
        written = load_file(tmp_path / "gradients")
        assert {name for name in written if not name.startswith(only_ours)} == h.keys()
        largest = max(grad.abs().max() for grad in h.values())
        for name, grad in h.items():
            torch.testing.assert_close(written[name], grad, rtol=0, atol=1e-10 * largest)
            assert grad.any() or "key.bias" in name, name               # a bias of all keys alike changes no weight of attention
        assert not any(value.any() for name, value in written.items() if name.startswith(only_ours))


def saved(tmp_path, kind="pre-training", **more):
    path = tmp_path / "weights.safetensors"
    save_bert(path, ours(kind, **more))
    return path, load_file(path)


def same(model, other, parts=("",), tol=0.0):
    found = dict(other.named_parameters())
    return all((p - found[name]).abs().max() <= tol for name, p in model.named_parameters() if name.startswith(parts))


def test_published_class_0_of_a_pair_is_our_class_1(tmp_path):
    path, tensors = saved(tmp_path)
    model = ours("pre-training")
    assert torch.equal(tensors["cls.seq_relationship.weight"], model.next.weight.flip(0))
    assert torch.equal(tensors["cls.seq_relationship.bias"], model.next.bias.flip(0))
    tensors["cls.seq_relationship.weight"].zero_()
    tensors["cls.seq_relationship.bias"].copy_(torch.tensor([5.0, -5.0]))                # a file that says: always follows
    save_file(tensors, path)
    load_bert(path, model)
    assert (model(IDS, MASK, SEGMENTS)[1].argmax(1) == 1).all()


@pytest.mark.parametrize("prefix", ["", "bert."])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("decoder", ["no", "weight", "both", "bias only there"])
@pytest.mark.parametrize("kind", ["pre-training", "BERT"])
def test_every_published_form_is_read(tmp_path, prefix, old, decoder, kind):
    path, tensors = saved(tmp_path)
    tensors["bert.embeddings.position_ids"] = torch.arange(T)[None]
    if decoder != "no":
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].clone()
    if decoder in ("both", "bias only there"):
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
    if decoder == "bias only there":
        del tensors["cls.predictions.bias"]
    if old:
        tensors = {re.sub(r"LayerNorm\.weight", "LayerNorm.gamma", re.sub(r"LayerNorm\.bias", "LayerNorm.beta", name)): value
                   for name, value in tensors.items()}
    save_file({prefix + name if name.startswith("cls") else prefix + name.removeprefix("bert."): value
               for name, value in tensors.items()}, path)
    model = ours(kind, seed=9)
    load_bert(path, model)
    expected = ours("pre-training")
    assert same(model, expected if kind == "pre-training" else expected.bert)
    if kind == "pre-training":
        assert model.words.output.weight is model.bert.embedding.weight


def test_half_precision_is_read_into_single(tmp_path):
    path, tensors = saved(tmp_path)
    save_file({name: value.half() for name, value in tensors.items()}, path)
    model = ours("pre-training", seed=9, dtype=torch.float32)
    load_bert(path, model)
    assert model.next.weight.dtype == torch.float32 and same(model, ours("pre-training"), tol=2e-3)


@pytest.mark.parametrize("kind", OURS)
def test_what_is_written_comes_back_whole_in_its_own_precision(tmp_path, kind):
    path, model = tmp_path / "x", ours(kind, dtype=torch.bfloat16)
    save_bert(path, model)
    other = ours(kind, seed=3, dtype=torch.bfloat16)
    load_bert(path, other)
    assert same(model, other) and [p.name for p in tmp_path.iterdir()] == ["x"]        # nothing temporary is left


@pytest.mark.parametrize("peer", PEERS)
def test_what_is_written_has_the_published_names_and_shapes(tmp_path, peer):
    kind, _, _, _, only_ours = PEERS[peer]
    _, tensors = saved(tmp_path, kind)
    published = {name: p.shape for name, p in peer(config_of(peer)).named_parameters()}
    assert {name: value.shape for name, value in tensors.items() if not name.startswith(only_ours)} == published


@pytest.mark.parametrize("kind", ["sequences", "tokens", "spans"])
@pytest.mark.parametrize("source", ["BERT", "pre-training", "sequences", "tokens", "spans"])
def test_a_head_for_fine_tuning_is_read_where_the_file_has_it_and_stays_where_not(tmp_path, kind, source):
    path, _ = saved(tmp_path, source)
    model, before, given = ours(kind, seed=9), ours(kind, seed=9), ours(source)
    load_bert(path, model)
    assert same(model.bert, given if source == "BERT" else given.bert)
    has = (kind == "spans") == (source == "spans") and source in ("sequences", "tokens", "spans")
    assert same(model.head, given.head if has else before.head) and same(given.head if has else before.head, model.head)


@pytest.mark.parametrize("kind, fine", [("tokens", True), ("spans", True), ("sequences", False), ("BERT", False), ("pre-training", False)])
def test_a_file_without_a_pooler_will_do_where_none_is_used(tmp_path, kind, fine):
    path, tensors = saved(tmp_path)
    save_file({name: value for name, value in tensors.items() if "pooler" not in name}, path)
    model, before = ours(kind, seed=9), ours(kind, seed=9)
    if not fine:
        with pytest.raises(ValueError, match=r"pooler\.dense\.weight missing; pooler\.dense\.bias missing"):
            load_bert(path, model)
        assert same(model, before)
    load_bert(path, model, () if fine else ("pooler",))
    inside = [m if kind == "BERT" else m.bert for m in (model, before)]
    assert same(inside[0].pooler, inside[1].pooler) and same(inside[0].blocks, ours("pre-training").bert.blocks)


@pytest.mark.parametrize("part, left", [("words", "cls.predictions"), ("next", "cls.seq_relationship")])
def test_parts_to_keep_stay_only_where_the_file_has_nothing_of_them(tmp_path, part, left):
    path, tensors = saved(tmp_path)
    model, before = ours("pre-training", seed=9), ours("pre-training", seed=9)
    load_bert(path, model, ("words", "next", "pooler"))
    assert same(model, ours("pre-training"))
    save_file({name: value for name, value in tensors.items() if not name.startswith(left)}, path)
    model = ours("pre-training", seed=9)
    with pytest.raises(ValueError, match=rf"{left}\S* missing"):
        load_bert(path, model)
    load_bert(path, model, [part])
    assert same(getattr(model, part).cpu(), getattr(before, part), ("linear", "norm", "output.bias", "weight", "bias"))
    del tensors[next(name for name in tensors if name.startswith(left) and name.endswith("bias"))]
    save_file(tensors, path)
    with pytest.raises(ValueError, match=rf"{left}\S*bias missing$"):   # half of a head is none
        load_bert(path, model, [part])


LAYER = "bert.encoder.layer.1."
FAULTS = {
    "missing": (lambda t: t.pop(LAYER + "output.LayerNorm.bias"), "layer.1.output.LayerNorm.bias missing"),
    "unknown": (lambda t: t.update({LAYER + "attention.self.gain": torch.ones(2)}), "layer.1.attention.self.gain unknown"),
    "unknown in a head": (lambda t: t.update({"cls.predictions.gain": torch.ones(2)}), "cls.predictions.gain unknown"),
    "one layer more": (lambda t: t.update({"bert.encoder.layer.2.output.dense.bias": torch.ones(WIDTH)}),
                       "layer.2.output.dense.bias unknown"),
    "vocabulary": (lambda t: t.update({"bert.embeddings.word_embeddings.weight": torch.ones(V + 1, WIDTH)}),
                   r"word_embeddings.weight is \(14, 24\), expected \(13, 24\)"),
    "transposed": (lambda t: t.update({LAYER + "intermediate.dense.weight": torch.ones(WIDTH, 40)}), r"is \(24, 40\), expected \(40, 24\)"),
    "one key head": (lambda t: t.update({LAYER + "attention.self.key.weight": torch.ones(8, WIDTH)}), r"is \(8, 24\), expected \(24, 24\)"),
    "three classes": (lambda t: t.update({"cls.seq_relationship.bias": torch.ones(3)}),
                      r"seq_relationship.bias is \(3,\), expected \(2,\)"),
    "whole numbers": (lambda t: t.update({"bert.pooler.dense.bias": torch.ones(WIDTH, dtype=torch.int8)}),
                      "is torch.int8, expected torch.float"),
    "another decoder": (lambda t: t.update({"cls.predictions.decoder.weight": torch.ones(V, WIDTH)}),
                        "cls.predictions.decoder.weight differs from embeddings.word_embeddings.weight"),
    "another bias": (lambda t: t.update({"cls.predictions.decoder.bias": torch.ones(V)}), "decoder.bias differs from cls.predictions.bias"),
    "twice by prefix": (lambda t: t.update({"pooler.dense.bias": torch.ones(WIDTH)}), "has pooler.dense.bias twice"),
    "twice by age": (lambda t: t.update({"bert.embeddings.LayerNorm.beta": torch.ones(WIDTH)}), "has embeddings.LayerNorm.bias twice"),
    "many": (lambda t: [t.pop(name) for name in list(t) if name.startswith(LAYER)], "; and 11 more"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_file_that_does_not_fit_is_named_and_changes_nothing(tmp_path, case):
    path, tensors = saved(tmp_path)
    change, message = FAULTS[case]
    change(tensors)
    save_file(tensors, path)
    model = ours("pre-training", seed=9)
    with pytest.raises(ValueError, match=message):
        load_bert(path, model)
    assert same(model, ours("pre-training", seed=9))


def test_a_head_of_another_size_is_named_and_the_encoder_alone_can_be_read(tmp_path):
    path, tensors = saved(tmp_path, "sequences")
    tensors |= {"classifier.weight": torch.ones(5, WIDTH), "classifier.bias": torch.ones(5)}
    save_file(tensors, path)
    model = ours("sequences", seed=9)
    with pytest.raises(ValueError, match=r"classifier.weight is \(5, 24\), expected \(3, 24\)"):
        load_bert(path, model)
    load_bert(path, model.bert)
    assert same(model.bert, ours("sequences").bert)


def test_damaged_and_absent_files_and_unknown_parts_are_named(tmp_path):
    path, _ = saved(tmp_path)
    with pytest.raises(ValueError, match="keep: got blocks, expected some of pooler, words, next, head"):
        load_bert(path, ours("BERT"), ["blocks"])
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_bert(path, ours("BERT"))
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_bert(tmp_path / "absent", ours("BERT"))


def untied():
    model = ours("pre-training")
    model.words.output.weight = nn.Parameter(model.words.output.weight.clone())
    return model


@pytest.mark.parametrize("model, message", [
    (untied, r"not built like the published BERT \(words.output.weight\)"),
    (lambda: ours("BERT", norm="pre"), r"not built like the published BERT \(end.weight\)"),
    (lambda: ours("tokens", norm="pre"), r"this BERTForTokens is not built like the published BERT \(bert.end.weight\)"),
    (lambda: GPT(GPTConfig(V, 8, 2, 1, max_len=4)), "got a GPT"), (lambda: nn.Linear(2, 2), "got a Linear")])
def test_a_model_built_in_another_way_is_refused(tmp_path, model, message):
    path, _ = saved(tmp_path)
    for call, place in ((load_bert, path), (save_bert, tmp_path / "x")):
        with pytest.raises(ValueError, match=message):
            call(place, model())
    assert not (tmp_path / "x").exists()
