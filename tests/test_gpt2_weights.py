"""GPT-2's published layout: there and back through files, beside Hugging Face's class; what does not fit is named."""

import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import load_gpt2, save_gpt2

V = 13


def close(got, expected, tol):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def ours(seed=0, dtype=torch.float32, **more):
    torch.manual_seed(seed)
    settings = {"d_model": 24, "n_heads": 3, "n_layers": 2, "max_len": 10} | more
    return shaken(GPT(GPTConfig(V, **settings))).to(dtype).eval()


def theirs(seed=1, dtype=torch.float32):
    torch.manual_seed(seed)
    return shaken(GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=24, n_head=3, n_layer=2, n_positions=10))).to(dtype).eval()


def shaken(model):
    """No norm and no bias as it starts: mistaken ones would not show."""
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p + 0.1 * torch.randn(p.shape))
    return model


IDS = torch.randint(0, V, (3, 10), generator=torch.Generator().manual_seed(0))


def grads(model, logits):
    model.zero_grad()
    (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(2)).to(logits.dtype)).sum().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize("dtype, tol", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("way", ["in", "out"])
def test_logits_and_gradients_are_those_of_hugging_face(tmp_path, dtype, tol, way):
    path, model, other = tmp_path / "model.safetensors", ours(dtype=dtype), theirs(dtype=dtype)
    if way == "in":
        other.save_pretrained(tmp_path)
        load_gpt2(path, model)
    else:
        save_gpt2(path, model)
        missing, unknown = other.transformer.load_state_dict(load_file(path), strict=False)
        assert not unknown and not [name for name in missing if not name.endswith(".attn.bias")]
    with torch.no_grad():
        close(model(IDS), other(IDS).logits, tol)
    g, h = grads(model, model(IDS)), grads(other, other(IDS).logits)
    tol = max(tol, 1e-4 if dtype == torch.float32 else 0)
    close(g["embedding.weight"], h["transformer.wte.weight"], tol)
    close(g["positions.table"], h["transformer.wpe.weight"], tol)
    joined = torch.cat([g["blocks.1.attention.part.query.weight"], g["blocks.1.attention.part.key_value.weight"]])
    close(joined.t(), h["transformer.h.1.attn.c_attn.weight"], tol)
    close(g["blocks.0.feed_forward.part.down.weight"].t(), h["transformer.h.0.mlp.c_proj.weight"], tol)


def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_gpt2(path, ours())
    return path, load_file(path)


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_every_published_form_is_read(tmp_path, prefix, head, dtype):
    path, tensors = saved(tmp_path)
    tensors |= {f"h.{i}.attn.{name}": value for i in range(2) for name, value in
                (("bias", torch.ones(1, 1, 10, 10).tril()), ("masked_bias", torch.tensor(-1e4)))}
    tensors = {prefix + name: value.to(dtype) for name, value in tensors.items()}
    if head:
        tensors["lm_head.weight"] = tensors[prefix + "wte.weight"].clone()
    save_file(tensors, path)
    model = ours(seed=9)
    load_gpt2(path, model)
    assert model.output.weight is model.embedding.weight
    for name, p in ours().named_parameters():
        close(dict(model.named_parameters())[name], p, 0 if dtype == torch.float32 else 1e-3)


def test_what_is_written_has_the_published_names_and_shapes(tmp_path):
    _, tensors = saved(tmp_path)
    published = {name.removeprefix("transformer."): value.shape for name, value in theirs().state_dict().items()
                 if not name.endswith(".attn.bias") and name != "lm_head.weight"}
    assert {name: value.shape for name, value in tensors.items()} == published


FAULTS = {
    "missing": (lambda t: t.pop("h.1.ln_2.bias"), "h.1.ln_2.bias missing"),
    "unknown": (lambda t: t.update({"h.1.attn.c_attn.gain": torch.ones(2)}), "h.1.attn.c_attn.gain unknown"),
    "one layer more": (lambda t: t.update({"h.2.ln_1.bias": torch.ones(24)}), "h.2.ln_1.bias unknown"),
    "shape": (lambda t: t.update({"wpe.weight": torch.ones(9, 24)}), r"wpe.weight is \(9, 24\), expected \(10, 24\)"),
    "not transposed": (lambda t: t.update({"h.0.mlp.c_fc.weight": torch.ones(96, 24)}),
                       r"h.0.mlp.c_fc.weight is \(96, 24\), expected \(24, 96\)"),
    "another head": (lambda t: t.update({"lm_head.weight": torch.ones(V, 24)}), "lm_head.weight differs from wte.weight"),
    "many": (lambda t: [t.pop(f"h.0.{n}") for n in ("ln_1.bias", "ln_2.bias", "ln_1.weight", "ln_2.weight", "attn.c_proj.bias",
                                                    "mlp.c_proj.bias")], "; and 1 more"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_file_that_does_not_fit_is_named_and_changes_nothing(tmp_path, case):
    path, tensors = saved(tmp_path)
    change, message = FAULTS[case]
    change(tensors)
    save_file(tensors, path)
    model = ours(seed=9)
    before = {name: p.clone() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match=message):
        load_gpt2(path, model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_damaged_and_absent_files_are_named(tmp_path):
    path, _ = saved(tmp_path)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_gpt2(path, ours())
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_gpt2(tmp_path / "absent", ours())


@pytest.mark.parametrize("parts", [{"positions": "rotary"}, {"norm": "rms"}, {"bias": False}, {"tie_embeddings": False},
                                   {"feed_forward": "swiglu"}, {"qk_norm": "rms"}, {"n_kv_heads": 1}])
def test_a_model_with_other_parts_is_refused(tmp_path, parts):
    path, _ = saved(tmp_path)
    for call, place in ((load_gpt2, path), (save_gpt2, tmp_path / "x")):
        with pytest.raises(ValueError, match="not built like GPT-2"):
            call(place, ours(**parts))
    assert not (tmp_path / "x").exists()


def test_a_model_of_half_precision_is_written_and_read_in_it(tmp_path):
    path, model = tmp_path / "x", ours(dtype=torch.bfloat16)
    save_gpt2(path, model)
    other = ours(seed=3, dtype=torch.bfloat16)
    load_gpt2(path, other)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters()))
    assert isinstance(other, nn.Module) and [p.name for p in tmp_path.iterdir()] == ["x"]       # nothing temporary is left
