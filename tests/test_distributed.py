"""Two processes started by torchrun are one process with twice the batches: gradients, losses, weights, files, errors."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from course_lib.alignment.lora import add_lora, lora_parameters
from course_lib.checkpoints import load_checkpoint
from course_lib.data.batching import PairBatches, Windows
from course_lib.losses import next_token_loss, seq2seq_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.optimizers import make_muon
from course_lib.runtime import Distributed, distributed
from course_lib.training import TrainingConfig, accumulate_gradients, train

ROOT = Path(__file__).resolve().parents[1]
PAIRS = [([4 + i % 7] * (1 + i % 5), [4 + (3 * i) % 6] * (i * i % 7)) for i in range(40)]
STEPS = 6


def translator(dtype=torch.float64):
    torch.manual_seed(1)
    return Seq2Seq(Seq2SeqConfig(11, 10, 4, 6, 5)).to(dtype)


def batches():
    return PairBatches(PAIRS, 5)                                        # of different lengths, so of different token counts


def config(accumulate, **more):
    return TrainingConfig(steps=STEPS, lr=0.01, warmup_steps=2, accumulate=accumulate, checkpoint_every=2, **more)


def write_gpt(context, accumulate):
    """A small GPT trained on windows, with Muon; its losses and weights."""
    torch.manual_seed(2)
    model = GPT(GPTConfig(7, 8, 2, 2, max_len=8, positions="rotary", norm="rms", qk_norm="rms")).double()
    history = train(model, Windows(torch.arange(90) ** 2 % 7, 6, 3), next_token_loss, config(accumulate), context=context,
                    optimizer=make_muon)
    return {name: p.detach() for name, p in model.named_parameters()} | {"loss": torch.tensor(history.loss).double()}


def write_adapter(context, accumulate):
    """Low-rank parts of that GPT, its own matrices frozen; their losses and weights."""
    torch.manual_seed(2)
    model = GPT(GPTConfig(7, 8, 2, 2, max_len=8, positions="rotary")).double()
    add_lora(model, 2, 4.0)
    history = train(model, Windows(torch.arange(90) ** 2 % 7, 6, 3), next_token_loss, config(accumulate), context=context)
    return {name: p.detach() for name, p in lora_parameters(model).items()} | {"loss": torch.tensor(history.loss).double()}


def gradients(context, accumulate):
    """Loss and gradients of one step. Two processes get theirs through DistributedDataParallel, as in `train`."""
    model = translator()
    wrapped = torch.nn.parallel.DistributedDataParallel(model) if context.world_size > 1 else model
    total, count = accumulate_gradients(wrapped, batches(), seq2seq_loss, config(accumulate), 1, context)
    return {name: p.grad for name, p in model.named_parameters()} | {"loss": torch.tensor([total, count]).double()}


WRITERS = {"gpt": write_gpt, "adapter": write_adapter}


def worker(folder):
    """What each of the two processes does; it leaves its findings in files of its own."""
    torch.set_num_threads(1)
    with distributed("cpu") as context:
        mine = folder / f"rank{context.rank}"
        for accumulate in (1, 2):
            save_file(gradients(context, accumulate), f"{mine}.gradients{accumulate}")
        for name, write in WRITERS.items():
            save_file(write(context, 1), f"{mine}.{name}")
        model = translator()
        history = train(model, batches(), seq2seq_loss, config(1), context=context, checkpoint=folder / "checkpoint",
                        evaluate=lambda: {"rank": context.rank})
        save_file(dict(model.named_parameters()), f"{mine}.weights")

        def breaks(model, batch):
            loss, n = seq2seq_loss(model, batch)
            return loss * (float("nan") if context.rank == 1 else 1), n
        try:
            train(translator(), batches(), breaks, config(1), context=context)
            error = None
        except ValueError as caught:
            error = str(caught)
        found = {"rank": context.rank, "world_size": context.world_size, "is_main": context.is_main, "error": error,
                 "sum": context.sum(10.5 + context.rank), "loss": history.loss, "grad_norm": history.grad_norm,
                 "tokens": history.tokens, "evaluations": [e["rank"] for e in history.evaluations]}
        Path(f"{mine}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes have left their findings, and those of their JSON files."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
               "--master-port", str(port), __file__, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [json.loads((folder / f"rank{r}.json").read_text()) for r in (0, 1)]


def test_the_processes_know_who_they_are(two):
    _, found = two
    assert [(f["rank"], f["world_size"], f["is_main"], f["sum"]) for f in found] == [(0, 2, True, 22.0), (1, 2, False, 22.0)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_both_hold_the_gradient_that_one_process_gets_from_all_batches(two, accumulate):
    counts = [int(batches()[2 * accumulate + i].target_mask.sum()) for i in range(2 * accumulate)]
    assert len(set(counts)) > 1                                         # a mean of means would be wrong
    expected = gradients(Distributed(), 2 * accumulate)
    for rank in (0, 1):
        found = load_file(two[0] / f"rank{rank}.gradients{accumulate}")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12 * value.abs().max().item())


def test_the_run_is_that_of_one_process_with_twice_the_batches(two):
    folder, found = two
    model = translator()
    history = train(model, batches(), seq2seq_loss, config(2))
    for rank, f in enumerate(found):
        assert f["loss"] == pytest.approx(history.loss, rel=1e-12) and f["tokens"] == history.tokens
        assert f["grad_norm"] == pytest.approx(history.grad_norm, rel=1e-11)
        weights = load_file(folder / f"rank{rank}.weights")
        for name, p in model.named_parameters():
            torch.testing.assert_close(weights[name], p.detach(), rtol=0, atol=1e-9)
    one, other = (load_file(folder / f"rank{rank}.weights") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)     # between the two not even a bit differs


@pytest.mark.parametrize("name", WRITERS)
def test_a_gpt_trained_by_two_is_that_trained_by_one(two, name):
    expected = WRITERS[name](Distributed(), 2)
    one, other = (load_file(two[0] / f"rank{rank}.{name}") for rank in (0, 1))
    assert all(torch.equal(one[name], other[name]) for name in one)
    torch.testing.assert_close(one["loss"][0], expected["loss"][0], rtol=1e-12, atol=0)
    for name, value in expected.items():
        torch.testing.assert_close(one[name], value, rtol=0, atol=1e-9 * value.abs().max().item())


def test_only_the_first_evaluates_and_saves(two):
    folder, found = two
    assert [f["evaluations"] for f in found] == [[0], []]
    model = translator()
    assert load_checkpoint(folder / "checkpoint", model).step == STEPS
    weights = load_file(folder / "rank0.weights")                       # saved under the model's own names, not DDP's
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())


def test_a_nan_in_one_process_stops_both(two):
    for f in two[1]:
        assert f["error"].startswith("the loss of step 0 is nan")


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
