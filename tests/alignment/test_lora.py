"""Low-rank parts: at first nothing changes, only they learn, merged they vanish, and an adapter finds its way back."""

import copy

import pytest
import torch
from torch import nn

from course_lib.alignment.lora import LowRank, add_lora, in_blocks, load_lora, lora_parameters, merge_lora, save_lora
from course_lib.checkpoints import read_tensors, write_tensors
from course_lib.data.batching import TextBatches, TokenBatch
from course_lib.generation import greedy
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.training import TrainingConfig, train

V, RANK, ALPHA = 11, 2, 6.0
IDS = torch.randint(0, V, (3, 8), generator=torch.Generator().manual_seed(0))
BATCH = TokenBatch(IDS[:, :-1], IDS[:, 1:])


def build(**more):
    torch.manual_seed(0)
    sizes = {"d_model": 16, "n_heads": 4, "n_layers": 2, "max_len": 12, "positions": "rotary", "tie_embeddings": False} | more
    return GPT(GPTConfig(V, **sizes)).double()


def shaken(model, seed=1):
    """As after training: A and B are anything."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in lora_parameters(model).values():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def adapted(where=in_blocks, **more):
    model = build(**more)
    add_lora(model, RANK, ALPHA, where)
    return model


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * max(1.0, float(expected.detach().abs().max())))


def test_it_is_the_formula():
    torch.manual_seed(0)
    part = LowRank(nn.Linear(5, 3).double(), 2, 7.0)
    x, (W, b) = torch.randn(4, 6, 5).double(), part.linear.parameters()
    with torch.no_grad():
        part.B.copy_(torch.randn(3, 2))
    expected = torch.empty(4, 6, 3).double()
    for i in range(4):
        for t in range(6):                                              # equation 3, one vector at a time
            expected[i, t] = W @ x[i, t] + b + 7 / 2 * part.B @ (part.A @ x[i, t])
    close(part(x), expected)
    close(part.merged()(x), expected)


@pytest.mark.parametrize("tie", [False, True])
def test_at_first_nothing_changes(tie):
    model, plain = adapted(tie_embeddings=tie), build(tie_embeddings=tie)
    assert torch.equal(model(IDS), plain(IDS))
    assert all(p.abs().sum() == 0 if name.endswith("B") else 0.5 < 4 * p.std() < 2 for name, p in lora_parameters(model).items() if
               p.shape[1] == 16 or name.endswith("B"))


def test_layers_are_those_of_the_blocks_unless_one_says_which():
    names = [name for name, part in build().named_modules() if isinstance(part, nn.Linear)]
    assert add_lora(build(), RANK, ALPHA) == [name for name in names if name != "output"] and len(names) == 11
    assert add_lora(build(), RANK, ALPHA, lambda name: name.endswith("query") or name == "output") == [
        "blocks.0.attention.part.query", "blocks.1.attention.part.query", "output"]
    assert in_blocks("model.blocks.3.up") and not in_blocks("output") and not in_blocks("blocksize.up")


def test_only_a_and_b_get_gradients_and_change():
    model, before = adapted(), build()
    # at first B alone: what A would change is multiplied by zero
    next_token_loss(model, BATCH)[0].backward()
    assert {name[-1] for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0} == {"B"}
    model.zero_grad()
    learning = lora_parameters(model)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(learning)
    assert sum(p.numel() for p in learning.values()) == 2 * RANK * ((16 + 16) + (16 + 32) + (16 + 16) + 2 * (16 + 64))
    history = train(model, TextBatches(IDS.tolist(), 3), next_token_loss, TrainingConfig(steps=40, lr=0.02, weight_decay=0.1))
    assert history.loss[-1] < 0.8 * history.loss[0]
    assert {name for name, p in model.named_parameters() if p.grad is not None} <= set(learning)
    frozen = {name.replace(".linear.", "."): p for name, p in model.named_parameters() if name not in learning}
    assert frozen.keys() == dict(before.named_parameters()).keys()
    assert all(torch.equal(p, before.get_parameter(name)) and not p.requires_grad for name, p in frozen.items())
    assert all(p.abs().sum() > 0 for p in learning.values())


def test_gradients_are_those_of_the_merged_matrix():
    """For W' = W + α/r B A the chain rule gives dB = α/r dW' Aᵀ and dA = α/r Bᵀ dW'."""
    model = shaken(adapted())
    merged = copy.deepcopy(model)
    merge_lora(merged)
    for net in (model, merged):
        next_token_loss(net, BATCH)[0].backward()
    for name, part in model.named_modules():
        if isinstance(part, LowRank):
            grad = merged.get_submodule(name).weight.grad
            close(part.B.grad, ALPHA / RANK * grad @ part.A.T, 1e-10)
            close(part.A.grad, ALPHA / RANK * part.B.T @ grad, 1e-10)


def test_merged_is_unmerged_and_plain_again():
    model = shaken(adapted(lambda name: True))
    expected = model(IDS).detach()
    merge_lora(model)
    close(model(IDS), expected, 1e-10)
    assert dict(model.named_parameters()).keys() == dict(build().named_parameters()).keys()
    assert {type(part) for part in model.modules()} == {type(part) for part in build().modules()}
    assert all(p.requires_grad for p in model.parameters())
    assert (expected - build()(IDS)).abs().max() > 1                    # what was merged was not nothing
    add_lora(model, 1, 1.0)                                             # and one can begin again
    close(model(IDS), expected, 1e-10)


@torch.no_grad()
def test_with_a_cache_it_says_the_same():
    model = shaken(adapted(n_kv_heads=2)).eval()
    logits, (_, state) = model(IDS), model.start(IDS[:, :3])
    for t in range(2, 8):
        step, state = model.step(IDS[:, t], state)
        close(step, logits[:, t], 1e-10)
    merged = copy.deepcopy(model)
    merge_lora(merged)
    said = greedy(model, IDS[:, :4], max_len=20).ids
    assert said == greedy(merged, IDS[:, :4], max_len=20).ids and said != greedy(build().eval(), IDS[:, :4], max_len=20).ids


def test_it_is_one_graph():
    torch.compiler.reset()
    model, results = shaken(adapted()), []
    for net in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        logits = net(IDS)
        logits.sin().sum().backward()
        results.append([logits.detach(), *(p.grad.clone() for p in lora_parameters(model).values())])
    for got, expected in zip(*results):
        close(got, expected)
    torch.compiler.reset()


def test_modes_types_and_copies_follow_the_model():
    model = build().eval().bfloat16()
    add_lora(model, RANK, ALPHA)
    assert not any(part.training for part in model.modules()) and {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model(IDS).dtype == torch.bfloat16
    again = copy.deepcopy(shaken(model))
    assert torch.equal(again(IDS), model(IDS)) and {p.dtype for p in model.double().parameters()} == {torch.float64}


# --- files -------------------------------------------------------------------------------------------------------------

def test_an_adapter_comes_back_on_the_model_it_belongs_to(tmp_path):
    model, path = shaken(adapted(lambda name: name.endswith(("query", "down")))), tmp_path / "adapters" / "one.safetensors"
    save_lora(path, model)
    fresh = build()
    assert load_lora(path, fresh) == sorted(name for name, part in model.named_modules() if isinstance(part, LowRank))
    assert torch.equal(fresh(IDS), model(IDS)) and {name for name, p in fresh.named_parameters() if p.requires_grad} == set(
        lora_parameters(model))
    tensors = read_tensors(path)
    assert tensors.keys() == {*lora_parameters(model), "alpha"} and tensors["alpha"] == ALPHA
    assert sum(t.numel() for t in tensors.values()) < sum(p.numel() for p in model.parameters()) / 5
    save_lora(path, shaken(model, seed=2))                              # over the old one, whole, with nothing left beside it
    assert [p.name for p in path.parent.iterdir()] == ["one.safetensors"]
    assert not torch.equal(read_tensors(path)["blocks.0.attention.part.query.A"], tensors["blocks.0.attention.part.query.A"])


def query(name="blocks.0.attention.part.query", rank=2, **more):
    return {f"{name}.A": torch.ones(rank, 16), f"{name}.B": torch.ones(16, rank), "alpha": torch.tensor(1.0)} | more


DAMAGE = {
    "no alpha": ({k: v for k, v in query().items() if k != "alpha"}, "alpha missing or not one number above 0"),
    "alpha 0": (query(alpha=torch.tensor(0.0)), "alpha missing or not one number"),
    "two alphas": (query(alpha=torch.ones(2)), "alpha missing or not one number"),
    "infinite": (query(alpha=torch.tensor(torch.inf)), "alpha missing or not one number"),
    "no B": ({k: v for k, v in query().items() if k[-1] != "B"}, "query.B missing"),
    "another layer": (query("blocks.7.attention.part.query"), "blocks.7.attention.part.query.A unknown"),
    "no layer": (query("norm"), "norm.A unknown"),
    "another width": (query() | {"blocks.0.attention.part.query.A": torch.ones(2, 15)}, r"query.A is \(2, 15\), expected \(2, 16\)"),
    "other ranks": (query() | {"blocks.0.attention.part.query.B": torch.ones(16, 3)}, r"query.B is \(16, 3\), expected \(16, 2\)"),
    "one number": (query() | {"blocks.0.attention.part.query.A": torch.tensor(1.0)}, r"query.A is \(\), expected"),
    "whole numbers": (query() | {"blocks.0.attention.part.query.A": torch.ones(2, 16, dtype=torch.int64)}, "query.A is torch.int64"),
    "NaN": (query() | {"blocks.0.attention.part.query.A": torch.full((2, 16), torch.nan)}, "query.A has NaN or infinity"),
    "no rank": (query(rank=0), "rank: got 0, expected 1 … 16"),
    "too high a rank": (query(rank=17), "rank: got 17, expected 1 … 16"),
    "something else": ({"model.output.weight": torch.ones(2)}, "model.output.weight unknown"),
    "nothing": ({"alpha": torch.tensor(1.0)}, "where: accepts no linear layer"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_does_not_fit_changes_nothing(damage, tmp_path):
    tensors, message = DAMAGE[damage]
    write_tensors(tmp_path / "x", tensors)
    model = build()
    before = str(model), [p.clone() for p in model.parameters()], [p.requires_grad for p in model.parameters()]
    with pytest.raises(ValueError, match=message):
        load_lora(tmp_path / "x", model)
    assert str(model) == before[0] and all(map(torch.equal, model.parameters(), before[1]))
    assert [p.requires_grad for p in model.parameters()] == before[2]


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_lora(tmp_path / "x", build())
    (tmp_path / "x").write_bytes(b"\x80\x04K\x01.")                     # a pickle
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_lora(tmp_path / "x", build())
    save_lora(tmp_path / "x", shaken(adapted()))
    whole = (tmp_path / "x").read_bytes()
    (tmp_path / "x").write_bytes(whole[:-5])
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_lora(tmp_path / "x", build())


# --- bad input ---------------------------------------------------------------------------------------------------------

BAD = {
    "tied": (lambda: add_lora(build(tie_embeddings=True), 2, 1.0, lambda name: name == "output"),
             "where: accepts output, whose matrix is shared: embedding.weight = output.weight; expected layers with a matrix of their own"),
    "nowhere": (lambda: add_lora(build(), 2, 1.0, lambda name: False), "where: accepts no linear layer"),
    "twice": (lambda: add_lora(adapted(), 2, 1.0), "model: got one with low-rank parts"),
    "rank 0": (lambda: add_lora(build(), 0, 1.0), "rank: got 0, expected 1 … 16"),
    "too high a rank": (lambda: add_lora(build(), 12, 1.0, lambda name: True), r"rank: got 12, expected 1 … 11 for a matrix \(11, 16\)"),
    "alpha": (lambda: add_lora(build(), 2, 0.0), "alpha: got 0.0, expected above 0"),
    "alpha NaN": (lambda: add_lora(build(), 2, float("nan")), "alpha: got nan, expected above 0"),
    "merge": (lambda: merge_lora(build()), "model: got one without low-rank parts"),
    "save": (lambda: save_lora("x", build()), "model: got one without low-rank parts"),
    "parameters": (lambda: lora_parameters(build()), "model: got one without low-rank parts"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_refusal_leaves_the_model_as_it_was():
    for where, rank in ((lambda name: True, 12), (lambda name: name != "blocks", 2)):
        model = build(tie_embeddings=rank == 2)
        with pytest.raises(ValueError, match=r"rank|shared"):
            add_lora(model, rank, 1.0, where)
        assert all(p.requires_grad for p in model.parameters()) and not [m for m in model.modules() if isinstance(m, LowRank)]
