"""Device, precision, seeds and the checks that stand before every kernel."""

import random

import numpy as np
import pytest
import torch

from course_lib.runtime import Distributed, autocast, check_ids, check_padding, distributed, pick_device, seed_everything

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def present(monkeypatch, cuda=0, mps=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize("cuda, mps, best", [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda"), (1, True, "cuda")])
def test_the_best_device_present_is_picked(monkeypatch, cuda, mps, best):
    present(monkeypatch, cuda, mps)
    assert pick_device() == torch.device(best)
    assert pick_device("cpu") == CPU                                    # the CPU can always be asked for


def test_a_device_asked_for_by_hand_is_taken(monkeypatch):
    present(monkeypatch, cuda=2)
    assert pick_device("cuda:1") == torch.device("cuda", 1) and pick_device("cuda") == torch.device("cuda")


@pytest.mark.parametrize("name, message", [
    ("gpu", "device: got 'gpu', expected one of cpu, cuda, mps"), ("", "device: got '', expected one of"),
    ("cuda", "device: 'cuda' is not on this machine"), ("mps", "device: 'mps' is not on this machine"),
    ("cuda:x", "device: got 'cuda:x', expected one of"), ("cpu:1", "device: 'cpu:1' is not on this machine")])
def test_a_device_that_is_not_there_is_named(monkeypatch, name, message):
    present(monkeypatch)
    with pytest.raises(ValueError, match=message):
        pick_device(name)


def test_a_gpu_number_too_high_is_named(monkeypatch):
    present(monkeypatch, cuda=2)
    with pytest.raises(ValueError, match="device: 'cuda:2' is not on this machine"):
        pick_device("cuda:2")


def test_a_seed_repeats_every_source_of_chance():
    def draw(seed):
        generator = seed_everything(seed)
        return random.random(), np.random.rand(), torch.rand(1).item(), torch.rand(1, generator=generator).item()
    first = draw(7)
    assert draw(7) == first and all(a != b for a, b in zip(draw(8), first))


def test_the_generator_is_apart_from_the_global_one():
    generator = seed_everything(0)
    torch.rand(5)
    assert torch.rand(1, generator=generator).item() == torch.rand(1, generator=torch.Generator().manual_seed(0)).item()


def test_bfloat16_narrows_products_and_float32_nothing():
    a = torch.ones(2, 2)
    with autocast(CPU, "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16 and (a + a).dtype == torch.float32
    with autocast(CPU):
        assert (a @ a).dtype == torch.float32


@needs_cuda
def test_bfloat16_narrows_products_on_a_gpu():
    a = torch.ones(2, 2, device="cuda")
    with autocast(torch.device("cuda"), "bfloat16"):
        assert (a @ a).dtype == torch.bfloat16


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="precision: got 'float16', expected one of float32, bfloat16"):
        autocast(CPU, "float16")


def test_one_process_is_rank_zero_of_one(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed("cpu") as context:
        assert (context.rank, context.world_size, context.device, context.is_main) == (0, 1, CPU, True)
        assert context.sum(2.5) == 2.5
    assert not torch.distributed.is_initialized() and not Distributed(rank=1, world_size=2).is_main


@pytest.mark.parametrize("ids, message", [
    ([[0, 5]], "source: got token id 5, expected 0 … 4"), ([[-1, 4]], "source: got token id -1, expected 0 … 4"),
    ([[0.0]], "source: got dtype torch.float32, expected integer"), ([[]], r"source: got .*(1, 0|float32)"),
    ([[True]], "source: got dtype torch.bool, expected integer")])
def test_bad_ids_are_named(ids, message):
    with pytest.raises(ValueError, match=message):
        check_ids("source", torch.tensor(ids), 5)


@pytest.mark.parametrize("dtype", [torch.long, torch.int])
def test_good_ids_pass(dtype):
    check_ids("source", torch.tensor([[0, 4], [2, 2]], dtype=dtype), 5)


@pytest.mark.parametrize("rows, message", [
    ([[1, 1, 0], [1, 0, 1]], r"m: row 1 is \[1, 0, 1\], expected words first, then padding"),
    ([[0, 1, 1]], r"m: row 0 is \[0, 1, 1\], expected words first"), ([[1], [0]], r"m: row 1 is \[0\], expected at least one word")])
def test_bad_padding_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        check_padding("m", torch.tensor(rows, dtype=torch.bool))


def test_good_padding_passes():
    check_padding("m", torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.bool))
