"""Muon against its definition by singular values, and as one optimiser with AdamW: schedules, saving, resuming."""

import pytest
import torch
from torch import nn

from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.data.batching import Windows
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.optimizers import make_muon
from course_lib.training import TrainingConfig, make_optimizer, train

TEXT = torch.randint(0, 11, (400,), generator=torch.Generator().manual_seed(0))
CONFIG = TrainingConfig(steps=8, lr=0.01, warmup_steps=2, weight_decay=0.1, checkpoint_every=3)


def model(seed=0, **more):
    torch.manual_seed(seed)
    return GPT(GPTConfig(11, 8, 2, 2, max_len=16, **more))


def batches():
    return Windows(TEXT, 8, 4)


def names(net, optimizer):
    """The names of the parameters that each part updates."""
    found = {id(p): name for name, p in net.named_parameters()}
    return [{found[id(p)] for group in part.param_groups for p in group["params"]} for part in optimizer.parts]


@pytest.mark.parametrize("tie", [True, False])
def test_matrices_inside_the_blocks_go_to_muon_and_all_else_to_adamw(tie):
    net = model(tie_embeddings=tie)
    muon, rest = names(net, make_muon(net, CONFIG))
    assert muon == {f"blocks.{i}.{part}.weight" for i in range(2) for part in
                    ("attention.part.query", "attention.part.key_value", "attention.part.out", "feed_forward.part.up",
                     "feed_forward.part.down")}
    assert muon | rest == {name for name, _ in net.named_parameters()} and not muon & rest
    assert "embedding.weight" in rest and "positions.table" in rest and ("output.weight" in rest) == (not tie)


def test_a_step_of_muon_is_nearly_orthogonal_and_as_long_as_its_formula_says():
    """U Vᵀ of the gradient's singular vectors, times 0.2 √max(rows, columns) · lr; its five iterations leave values near 1."""
    net, config = model(), TrainingConfig(steps=1, lr=0.01)
    optimizer = make_muon(net, config)
    for p in net.parameters():
        p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()))
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    optimizer.step()
    for name in names(net, optimizer)[0]:
        p = net.get_parameter(name)
        moved = (before[name] - p.detach()).double() / (config.lr * 0.2 * max(p.shape)**0.5)
        u, _, v = torch.linalg.svd(p.grad.double(), full_matrices=False)
        values = torch.linalg.svdvals(moved)
        assert values.min() > 0.5 and values.max() < 1.3, (name, values)
        assert (moved * (u @ v)).sum() / (moved.norm() * (u @ v).norm()) > 0.95, name
    for name in names(net, optimizer)[1]:                               # AdamW's first step: lr · sign(gradient)
        moved = before[name] - net.get_parameter(name).detach()
        torch.testing.assert_close(moved, config.lr * net.get_parameter(name).grad.sign(), rtol=1e-3, atol=1e-6)


def test_groups_decay_and_rates_follow_the_schedule():
    net = model()
    optimizer = make_muon(net, CONFIG)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.1, 0.0]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before))
    optimizer.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_a_state_comes_back_bit_for_bit_through_a_file(tmp_path):
    nets = model(), model(seed=1)
    optimizers = [make_muon(net, CONFIG) for net in nets]

    def step(net, optimizer, number):
        loss, n = next_token_loss(net, batches()[number])
        (loss / n).backward()
        optimizer.step()
        optimizer.zero_grad()
    for number in range(3):
        step(nets[0], optimizers[0], number)
    save_checkpoint(tmp_path / "x", nets[0], optimizer=optimizers[0])
    load_checkpoint(tmp_path / "x", nets[1], optimizer=optimizers[1])
    states = [optimizer.state_dict() for optimizer in optimizers]
    assert len(states[0]["state"]) == len(list(nets[0].parameters()))
    assert sorted(i for group in states[0]["param_groups"] for i in group["params"]) == list(range(len(states[0]["state"])))
    for i, values in states[0]["state"].items():
        assert all(torch.equal(torch.as_tensor(value), torch.as_tensor(states[1]["state"][i][name])) for name, value in values.items())
    for net, optimizer in zip(nets, optimizers):
        step(net, optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(*(net.parameters() for net in nets)))


@pytest.mark.parametrize("optimizer", [make_optimizer, make_muon])
def test_a_run_cut_in_two_is_the_whole_run_bit_for_bit(tmp_path, optimizer):
    whole = model()
    history = train(whole, batches(), next_token_loss, CONFIG, optimizer=optimizer)

    class Stops(Exception):
        pass

    class Cut:
        def __getitem__(self, number):
            if number == 5:                                             # two steps after the checkpoint
                raise Stops
            return batches()[number]
    path = tmp_path / "x"
    with pytest.raises(Stops):
        train(model(), Cut(), next_token_loss, CONFIG, optimizer=optimizer, checkpoint=path)
    again = model(seed=7)
    resumed = train(again, batches(), next_token_loss, CONFIG, optimizer=optimizer, checkpoint=path)
    assert resumed.loss == history.loss and history.loss[-1] < history.loss[0]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters()))


def test_a_run_is_not_resumed_with_another_optimiser(tmp_path):
    path = tmp_path / "x"
    train(model(), batches(), next_token_loss, CONFIG, optimizer=make_muon, checkpoint=path)
    with pytest.raises(ValueError, match="its optimiser has groups of"):
        train(model(), batches(), next_token_loss, CONFIG, checkpoint=path)


def test_a_model_without_blocks_is_named():
    with pytest.raises(ValueError, match=r"model: Linear has no linear layer inside an nn.ModuleList"):
        make_muon(nn.Linear(3, 3), CONFIG)
    only = nn.ModuleList([nn.Linear(3, 3, bias=False)])
    assert len(make_muon(only, CONFIG).param_groups) == 1               # nothing left for AdamW
