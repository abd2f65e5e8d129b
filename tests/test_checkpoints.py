"""Checkpoints: whole after a kill at any moment, bit for bit on the way back, and nothing but a ValueError from a bad file."""

import json
import os
import pickle
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from course_lib.checkpoints import FORMAT, average_checkpoints, load_checkpoint, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]


class Net(nn.Module):
    """Tied weights, a buffer that is kept and one that is not, several number types."""

    def __init__(self, width=3):
        super().__init__()
        self.embed, self.out = nn.Embedding(5, width), nn.Linear(width, 5)
        self.out.weight = self.embed.weight
        self.narrow = nn.Parameter(torch.ones(2, dtype=torch.bfloat16))
        self.wide = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("table", torch.arange(4.0), persistent=False)

    def forward(self, ids):
        return self.out(self.embed(ids)).sum() + self.narrow.float().sum() + self.wide.sum().float()


def trained(steps=3, seed=0):
    torch.manual_seed(seed)
    net = Net()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.tensor([0, 3])).square().backward()
        optimizer.step()
        net.seen += 1
    return net, optimizer


def snapshot(net, optimizer=None):
    """Copies of all that a load could change."""
    tensors = [v.clone() for v in net.state_dict().values()] + [torch.get_rng_state()]
    if optimizer is not None:
        tensors += [torch.as_tensor(v).clone() for s in optimizer.state_dict()["state"].values() for _, v in sorted(s.items())]
        tensors.append(torch.tensor([g["lr"] for g in optimizer.param_groups], dtype=torch.float64))
    return tensors


def same(one, other):
    return len(one) == len(other) and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other))


# --- there and back ------------------------------------------------------------------------------------------------------

def test_all_comes_back_bit_for_bit(tmp_path):
    net, optimizer = trained()
    config, extra = {"width": 3, "names": ["a", "ü"]}, {"loss": [0.1, 1e-300, 1 / 3], "none": None}
    save_checkpoint(tmp_path / "deep" / "x.safetensors", net, optimizer=optimizer, step=3, config=config, extra=extra)
    expected = snapshot(net, optimizer)

    other, theirs = trained(steps=1, seed=9)
    found = load_checkpoint(tmp_path / "deep" / "x.safetensors", other, optimizer=theirs, restore_rng=True)
    assert same(snapshot(other, theirs), expected)
    assert (found.step, found.config, found.extra) == (3, config, extra)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["x.safetensors"]


def test_training_goes_on_exactly_as_it_would_have(tmp_path):
    net, optimizer = trained()
    save_checkpoint(tmp_path / "x", net, optimizer=optimizer)
    other = Net()
    theirs = torch.optim.AdamW(other.parameters(), lr=0.1)              # has not made a step yet: no state
    load_checkpoint(tmp_path / "x", other, optimizer=theirs)
    for n, o in ((net, optimizer), (other, theirs)):
        o.zero_grad()
        n(torch.tensor([1, 2])).square().backward()
        o.step()
    assert same(snapshot(net, optimizer), snapshot(other, theirs))


def test_tied_weights_are_stored_once_and_stay_tied(tmp_path):
    net, _ = trained()
    save_checkpoint(tmp_path / "x", net)
    with safe_open(tmp_path / "x", framework="pt") as file:
        assert {k for k in file.keys() if k.startswith("model.")} == {  # noqa: SIM118  a file of safetensors is no dict
            "model.embed.weight", "model.out.bias", "model.narrow", "model.wide", "model.seen"}
    other = Net()
    load_checkpoint(tmp_path / "x", other)
    assert other.out.weight is other.embed.weight and torch.equal(other.out.weight, net.embed.weight)


def test_without_a_model_only_the_header_is_read(tmp_path):
    save_checkpoint(tmp_path / "x", Net(), step=7, config={"width": 3})
    found = load_checkpoint(tmp_path / "x")
    assert (found.step, found.config, found.extra) == (7, {"width": 3}, {})


def test_random_numbers_go_on_where_they_were_only_when_asked(tmp_path):
    save_checkpoint(tmp_path / "x", Net())
    expected = torch.rand(3)
    load_checkpoint(tmp_path / "x", Net(), restore_rng=True)
    assert torch.equal(torch.rand(3), expected)
    net = Net()
    state = torch.get_rng_state()
    load_checkpoint(tmp_path / "x", net)
    assert torch.equal(torch.get_rng_state(), state)


def test_saving_changes_nothing(tmp_path):
    net, optimizer = trained()
    before = snapshot(net, optimizer)
    save_checkpoint(tmp_path / "x", net, optimizer=optimizer)
    assert same(snapshot(net, optimizer), before)


def test_weights_that_are_views_of_one_storage_are_saved_apart(tmp_path):
    net = nn.Module()
    both = torch.arange(8.0)
    net.a, net.b = nn.Parameter(both[:4]), nn.Parameter(both.view(2, 4).t()[:, 1])
    save_checkpoint(tmp_path / "x", net)
    net.a.data, net.b.data = torch.zeros(4), torch.zeros(4)
    load_checkpoint(tmp_path / "x", net)
    assert net.a.tolist() == [0, 1, 2, 3] and net.b.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("bad", [{"config": {"x": {1, 2}}}, {"extra": {"x": torch.ones(1)}}], ids=["config", "extra"])
def test_what_json_cannot_hold_is_named_and_the_old_file_stays(tmp_path, bad):
    save_checkpoint(tmp_path / "x", Net(), step=1)
    with pytest.raises(ValueError, match="config, extra: expected what JSON can hold"):
        save_checkpoint(tmp_path / "x", Net(), step=2, **bad)
    assert load_checkpoint(tmp_path / "x").step == 1 and [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "x", Net(), step=1)

    def fail(descriptor):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("course_lib.checkpoints.os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "x", Net(), step=2)
    assert load_checkpoint(tmp_path / "x").step == 1 and [p.name for p in tmp_path.iterdir()] == ["x"]


# --- bad files -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "x"
    net, optimizer = trained()
    save_checkpoint(path, net, optimizer=optimizer, step=3)
    return path.read_bytes()


def refuses(path, message, optimizer=True):
    """Loading raises a ValueError that names the file, and changes nothing at all."""
    net, theirs = trained(steps=1, seed=5)
    before = snapshot(net, theirs)
    with pytest.raises(ValueError, match=message) as caught:
        load_checkpoint(path, net, optimizer=theirs if optimizer else None, restore_rng=True)
    assert str(path) in str(caught.value)
    assert same(snapshot(net, theirs), before)


@pytest.mark.parametrize("part", [0, 1, 7, 8, 9, 100, 0.3, 0.6, 0.9, -1])
def test_a_file_cut_off_anywhere_is_refused(tmp_path, good, part):
    end = int(part * len(good)) if isinstance(part, float) else part
    (tmp_path / "x").write_bytes(good[:end])
    refuses(tmp_path / "x", "damaged or not a safetensors file")


def with_header(good, change):
    """The same file with another header: `change` gets the JSON text."""
    size = int.from_bytes(good[:8], "little")
    header = change(good[8:8 + size])
    return len(header).to_bytes(8, "little") + header + good[8 + size:]


FOREIGN = {
    "text": lambda good: b"These are not the weights you are looking for.\n" * 50,
    "zeros": lambda good: bytes(len(good)),
    "pickle": lambda good: pickle.dumps({"model": [1, 2, 3]}),
    "noise": lambda good: random.Random(0).randbytes(len(good)),
    "longer than it says": lambda good: good + b"more",
    "broken header": lambda good: with_header(good, lambda h: h.replace(b"model.narrow", b"model.narro\xff")),
    "broken JSON inside": lambda good: with_header(good, lambda h: h.replace(rb'{\"format\"', rb'[{\"format\"')),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind_is_refused(tmp_path, good, kind):
    (tmp_path / "x").write_bytes(FOREIGN[kind](good))
    refuses(tmp_path / "x", "damaged or not a safetensors file")


@pytest.mark.parametrize("metadata", [None, {}, {"json": "{}"}, {"json": "[1]"}, {"json": '"text"'}, {"json": '{"format": "other"}'}],
                         ids=str)
def test_safetensors_of_someone_else_are_refused(tmp_path, metadata):
    save_file({"model.x": torch.ones(1)}, tmp_path / "x", metadata=metadata)
    refuses(tmp_path / "x", "not a checkpoint of this course")


@pytest.mark.parametrize("missing", ["step", "config", "extra"])
def test_a_header_with_holes_is_refused(tmp_path, good, missing):
    header = {"format": FORMAT, "step": 1, "config": {}, "extra": {}}
    del header[missing]
    save_file({"rng.cpu": torch.get_rng_state()}, tmp_path / "x", metadata={"json": json.dumps(header)})
    refuses(tmp_path / "x", "damaged|not a checkpoint of this course")


@pytest.mark.parametrize("where", ["header", "content"])
def test_a_single_flipped_bit_is_refused(tmp_path, good, where):
    assert b"crc32" in good                                             # a flip in this word alone would go unnoticed
    size, rng = 8 + int.from_bytes(good[:8], "little"), random.Random(1)
    for _ in range(60):
        broken = bytearray(good)
        broken[rng.randrange(size) if where == "header" else rng.randrange(size, len(good))] ^= 1 << rng.randrange(8)
        (tmp_path / "x").write_bytes(broken)
        refuses(tmp_path / "x", "damaged or not a safetensors file|not a checkpoint of this course")


class Other(nn.Module):
    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(shape)))


def test_weights_that_do_not_fit_are_listed_and_nothing_is_copied(tmp_path):
    save_checkpoint(tmp_path / "x", Other(a=(2, 3), b=(4,), extra=(1,)))
    model = Other(a=(2, 3), b=(5,), lacking=(2,))
    with torch.no_grad():
        model.a.fill_(7)
    with pytest.raises(ValueError) as caught:
        load_checkpoint(tmp_path / "x", model)
    assert re.search(r"does not fit Other: lacking missing; extra unknown; b is \(4,\), expected \(5,\)", str(caught.value))
    assert (model.a == 7).all()


def test_many_misfits_are_counted(tmp_path):
    save_checkpoint(tmp_path / "x", Other(a=(1,)))
    with pytest.raises(ValueError, match=r"b0 missing; b1 missing; .*; and 4 more$"):
        load_checkpoint(tmp_path / "x", Other(**{f"b{i}": (1,) for i in range(8)}))


def test_no_file_is_named(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(FileNotFoundError, match=re.escape(f"no checkpoint at {path}")):
            load_checkpoint(path)


def test_a_file_without_optimiser_cannot_be_resumed(tmp_path):
    save_checkpoint(tmp_path / "x", trained()[0])
    refuses(tmp_path / "x", "holds no optimiser state")


@pytest.mark.parametrize("groups", [lambda p: [{"params": p[:2]}, {"params": p[2:]}], lambda p: [{"params": p[:2]}]],
                         ids=["more groups", "fewer parameters"])
def test_an_optimiser_of_other_parameters_is_refused_before_anything_changes(tmp_path, groups):
    net, optimizer = trained()
    save_checkpoint(tmp_path / "x", net, optimizer=optimizer)
    other, _ = trained(steps=1, seed=5)
    theirs = torch.optim.AdamW(groups(list(other.parameters())), lr=0.5)
    before = snapshot(other, theirs)
    with pytest.raises(ValueError, match=f"{tmp_path / 'x'}.*optimiser"):
        load_checkpoint(tmp_path / "x", other, optimizer=theirs)
    assert same(snapshot(other, theirs), before)


def test_nothing_in_the_library_unpickles():
    forbidden = re.compile(r"torch\.load|\bpickle\b|\bdill\b|\bjoblib\b|\bshelve\b|\bmarshal\b|allow_pickle|weights_only")
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for path in sorted((ROOT / "course_lib").rglob("*.py"))
             for line in path.read_text().splitlines() if forbidden.search(line)]
    assert found == []


# --- killed ------------------------------------------------------------------------------------------------------------

SERVER = """
import os, sys, itertools
sys.path.insert(0, {root!r})
import torch
from torch import nn
from course_lib import checkpoints
torch.set_num_threads(1)

def die(*_):
    os.kill(os.getpid(), 9)

def half(descriptor):
    os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
    die()

def renamed(old, new):
    move(old, new)
    die()

move = os.replace
STAGES = dict(writing=("fsync", half), flushing=("fsync", die), renaming=("replace", die), done=("replace", renamed))

model = nn.Linear(200, 200)
optimizer = torch.optim.AdamW(model.parameters())
for p in model.parameters():
    p.grad = torch.ones_like(p)
optimizer.step()                                    # imports much, once for all savers

def save(path, stage):
    first = checkpoints.load_checkpoint(path).step + 1 if os.path.exists(path) else 1
    for i in itertools.count(first):
        if i == first and stage in STAGES:
            setattr(os, *STAGES[stage])
        with torch.no_grad():
            for tensor in [*model.parameters(), *(s[k] for s in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq"))]:
                tensor.fill_(i)
        checkpoints.save_checkpoint(path, model, optimizer=optimizer, step=i, extra=dict(i=i))
        if stage == "once":
            os._exit(0)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        save(*line.strip().split("|"))
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def server():
    """One process that has imported torch and forks a saver for each line; it answers with its id, then how it ended."""
    with subprocess.Popen([sys.executable, "-c", SERVER.format(root=str(ROOT))], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        def order(path, stage):
            process.stdin.write(f"{path}|{stage}\n")
            process.stdin.flush()
            return int(process.stdout.readline())
        yield order, lambda: int(process.stdout.readline())
        process.stdin.close()


def whole(path):
    """The step of a checkpoint in which every number agrees with it."""
    model = nn.Linear(200, 200)
    optimizer = torch.optim.AdamW(model.parameters())
    found = load_checkpoint(path, model, optimizer=optimizer)
    assert found.extra == {"i": found.step}
    for tensor in [*model.parameters(), *(s[k] for s in optimizer.state.values() for k in ("exp_avg", "exp_avg_sq"))]:
        assert (tensor == found.step).all()
    return found.step


def test_a_process_killed_at_twenty_random_moments_leaves_a_whole_checkpoint(tmp_path, server):
    order, ended = server
    path, rng, steps = tmp_path / "x", random.Random(0), [0]
    for _ in range(20):
        before = path.stat().st_mtime_ns if path.exists() else 0
        pid, deadline = order(path, "forever"), time.monotonic() + 60
        while not (path.exists() and path.stat().st_mtime_ns > before) and time.monotonic() < deadline:
            time.sleep(0.001)                                           # until it has saved once
        time.sleep(rng.uniform(0, 0.04))
        os.kill(pid, signal.SIGKILL)
        assert ended() == signal.SIGKILL
        steps.append(whole(path))
        assert steps[-1] > steps[-2]
        assert len(list(tmp_path.iterdir())) <= 2                       # the file and at most one torn one


@pytest.mark.parametrize("stage, kept", [("writing", 1), ("flushing", 1), ("renaming", 1), ("done", 2)])
def test_a_kill_at_each_stage_of_saving_leaves_the_old_file_or_the_new_one(tmp_path, server, stage, kept):
    order, ended = server
    order(tmp_path / "x", "once")
    assert ended() == 0
    order(tmp_path / "x", stage)
    assert ended() == signal.SIGKILL
    assert whole(tmp_path / "x") == kept
    assert len(list(tmp_path.iterdir())) == (1 if stage == "done" else 2)
    order(tmp_path / "x", "once")                                       # the next save sweeps the torn file away
    assert ended() == 0 and whole(tmp_path / "x") == kept + 1 and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("stage", ["writing", "flushing", "renaming"])
def test_a_first_save_that_is_killed_leaves_no_checkpoint(tmp_path, server, stage):
    order, ended = server
    order(tmp_path / "x", stage)
    assert ended() == signal.SIGKILL and not (tmp_path / "x").exists()


# --- averaging -------------------------------------------------------------------------------------------------------

def test_the_average_of_checkpoints_is_the_mean_of_every_weight(tmp_path):
    nets = [trained(seed=seed)[0] for seed in range(3)]
    nets[2].seen += 4
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, net in zip(paths, nets):
        save_checkpoint(path, net)
    mean = Net()
    average_checkpoints(paths, mean)
    for name, value in mean.state_dict().items():
        if value.is_floating_point():
            expected = sum(net.state_dict()[name].double() for net in nets) / 3
            torch.testing.assert_close(value, expected.to(value.dtype), rtol=1e-6 if value.dtype != torch.bfloat16 else 1e-2, atol=0)
    assert mean.seen == nets[2].seen and mean.out.weight is mean.embed.weight
    average_checkpoints(paths[:1], mean)
    assert all(torch.equal(a, b) for a, b in zip(mean.state_dict().values(), nets[0].state_dict().values()))


def test_nothing_to_average_is_an_error():
    with pytest.raises(ValueError, match="paths: got none"):
        average_checkpoints([], Net())
