"""The training loop against plain NumPy, and runs that are cut into pieces, killed and resumed."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from course_lib.checkpoints import load_checkpoint
from course_lib.data.batching import PairBatches
from course_lib.generation import greedy
from course_lib.losses import seq2seq_loss
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.runtime import Distributed
from course_lib.training import TrainingConfig, accumulate_gradients, evaluate, learning_rate, make_optimizer, train

ROOT = Path(__file__).resolve().parents[1]


# --- the rate ------------------------------------------------------------------------------------------------------------

RATES = {
    "constant": [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1],
    "linear": [0.25, 0.5, 0.75, 1, 1, 0.82, 0.64, 0.46, 0.28, 0.1],
    "cosine": [0.25, 0.5, 0.75, 1, 1, 0.91405765, 0.68905765, 0.41094235, 0.18594235, 0.1],
    "inverse_sqrt": [0.25, 0.5, 0.75, 1, *((4 / n)**0.5 for n in range(5, 11))],
}


@pytest.mark.parametrize("schedule", RATES)
def test_the_rate_of_every_step(schedule):
    config = TrainingConfig(steps=10, lr=2.0, warmup_steps=4, schedule=schedule, final_lr=0.2)
    assert [learning_rate(config, s) for s in range(10)] == pytest.approx([2 * r for r in RATES[schedule]], rel=1e-7)


def test_the_rate_of_very_short_runs():
    assert learning_rate(TrainingConfig(steps=1, lr=0.5), 0) == 0.5
    assert [learning_rate(TrainingConfig(steps=2, lr=0.5, warmup_steps=2), s) for s in (0, 1)] == [0.25, 0.5]
    assert [learning_rate(TrainingConfig(steps=2, lr=0.5), s) for s in (0, 1)] == pytest.approx([0.5, 0.0])


# --- a regression that NumPy can do, too --------------------------------------------------------------------------------

class Rows:
    """A batch: inputs x (N, 4), wanted y (N, 3), and which rows count."""

    def __init__(self, x, y, counts):
        self.x, self.y, self.counts = x, y, counts

    def to(self, device):
        return Rows(*(t.to(device) for t in (self.x, self.y, self.counts)))


class RowBatches:
    """Batch number i: between 3 and 9 rows, of which some do not count."""

    def __getitem__(self, number):
        random = np.random.default_rng(number)
        n = int(random.integers(3, 10))
        counts = random.random(n) < 0.7
        counts[0] = True
        return Rows(torch.from_numpy(random.normal(size=(n, 4))), torch.from_numpy(random.normal(size=(n, 3))),
                    torch.from_numpy(counts))


def squares(model, batch):
    kept = (model(batch.x) - batch.y)[batch.counts]
    return kept.square().sum(), batch.counts.sum()


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


CONFIG = TrainingConfig(steps=12, lr=0.1, warmup_steps=3, schedule="linear", final_lr=0.01, weight_decay=0.3, clip_norm=2.0,
                        accumulate=2, betas=(0.8, 0.95))


def by_numpy(model, config):
    """The same run, written out: masked least squares, mean over rows, clipping by the global norm, Adam, decoupled decay."""
    values = [p.detach().numpy().copy() for p in model.parameters()]    # weight (3, 4), bias (3)
    moments, losses, norms = [[np.zeros_like(v), np.zeros_like(v)] for v in values], [], []
    for step in range(config.steps):
        total, rows, grads = 0.0, 0, [np.zeros_like(v) for v in values]
        for i in range(config.accumulate):
            batch = RowBatches()[step * config.accumulate + i]
            x, y = batch.x.numpy()[batch.counts], batch.y.numpy()[batch.counts]
            error = x @ values[0].T + values[1] - y
            total, rows = total + (error**2).sum(), rows + len(x)
            grads[0] += 2 * error.T @ x
            grads[1] += 2 * error.sum(0)
        grads = [g / rows for g in grads]
        norm = math.sqrt(sum((g**2).sum() for g in grads))
        losses.append(total / rows)
        norms.append(norm)
        grads = [g * min(1, config.clip_norm / (norm + 1e-6)) for g in grads]
        rate = config.lr * (step + 1) / 3 if step < 3 else 0.01 + 0.09 * (1 - (step - 3) / 8)
        for value, (first, second), g, decay in zip(values, moments, grads, (config.weight_decay, 0.0)):
            value *= 1 - rate * decay                                   # biases do not decay
            first += (1 - config.betas[0]) * (g - first)
            second += (1 - config.betas[1]) * (g * g - second)
            unbiased = first / (1 - config.betas[0]**(step + 1)), second / (1 - config.betas[1]**(step + 1))
            value -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return values, losses, norms


def test_a_run_equals_the_same_run_in_numpy():
    model = linear()
    values, losses, norms = by_numpy(model, CONFIG)
    history = train(model, RowBatches(), squares, CONFIG)
    assert history.loss == pytest.approx(losses, rel=1e-12) and history.grad_norm == pytest.approx(norms, rel=1e-12)
    assert max(norms) > CONFIG.clip_norm > min(norms)                   # some steps were clipped, some not
    for p, value in zip(model.parameters(), values):
        np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-10)
    assert history.tokens == sum(int(RowBatches()[i].counts.sum()) for i in range(24))
    assert len(history.seconds) == 12 and history.seconds == sorted(history.seconds)


def test_clipping_bounds_what_the_optimiser_sees_and_the_history_keeps_what_was():
    seen = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: seen.append(
        math.sqrt(sum(p.grad.square().sum().item() for g in optimizer.param_groups for p in g["params"]))))
    try:
        histories = [train(linear(), RowBatches(), squares, replace(CONFIG, clip_norm=c)) for c in (0.5, None)]
    finally:
        hook.remove()
    assert max(seen[:12]) <= 0.5 + 1e-12 and min(histories[0].grad_norm) > 0.5
    assert seen[12:] == pytest.approx(histories[1].grad_norm, rel=1e-12)


def test_only_matrices_decay():
    model = Seq2Seq(Seq2SeqConfig(9, 9, 4, 4, 4))
    model.bridge.weight.requires_grad_(False)
    groups = make_optimizer(model, TrainingConfig(steps=1, weight_decay=0.1)).param_groups
    assert [g["weight_decay"] for g in groups] == [0.1, 0.0]
    assert all(p.dim() >= 2 for p in groups[0]["params"]) and all(p.dim() < 2 for p in groups[1]["params"])
    trained = {id(p) for g in groups for p in g["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad} and id(model.bridge.weight) not in trained


# --- one big batch, several small ones -------------------------------------------------------------------------------------

PAIRS = [([4 + i % 7] * (1 + i % 5), [4 + (3 * i) % 6] * (i * i % 7)) for i in range(40)]


def translator(dropout=0.0, dtype=torch.float64):
    torch.manual_seed(1)
    return Seq2Seq(Seq2SeqConfig(11, 10, 4, 6, 5, dropout=dropout)).to(dtype)


def gradients(batch_size, accumulate):
    model = translator()
    parts = [PairBatches(PAIRS[i:i + batch_size], batch_size)[0] for i in range(0, len(PAIRS), batch_size)]
    total, count = accumulate_gradients(model, parts, seq2seq_loss, TrainingConfig(steps=1, accumulate=accumulate), 0,
                                        Distributed())
    return total / count, [p.grad for p in model.parameters()]


@pytest.mark.parametrize("batch_size", [20, 10, 8, 1])
def test_accumulating_small_batches_is_one_big_batch(batch_size):
    loss, grads = gradients(40, 1)
    again, parts = gradients(batch_size, 40 // batch_size)              # with different numbers of tokens in each
    assert again == pytest.approx(loss, rel=1e-13)
    for grad, part in zip(grads, parts):
        torch.testing.assert_close(part, grad, rtol=0, atol=1e-12 * grad.abs().max().item())


def test_a_step_without_tokens_is_named():
    empty = type("Empty", (), {"__getitem__": lambda self, i: Rows(torch.zeros(2, 4), torch.zeros(2, 3), torch.zeros(2).bool())})()
    with pytest.raises(ValueError, match="step 0: its batches hold no token"):
        train(linear().float(), empty, squares, TrainingConfig(steps=1))


# --- things that go wrong ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_the_run_before_it_reaches_the_weights(bad, tmp_path):
    kept = []

    def breaks(model, batch):
        loss, n = squares(model, batch)
        kept.append([p.detach().clone() for p in model.parameters()])
        return (loss * bad if len(kept) == 6 else loss), n              # sixth batch: step 2 of 0, 1, 2, …
    model = linear()
    with pytest.raises(ValueError, match=r"the loss of step 2 is -?(nan|inf): lower lr \(0.1\)"):
        train(model, RowBatches(), breaks, replace(CONFIG, checkpoint_every=1), checkpoint=tmp_path / "x")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), kept[-1]))
    assert load_checkpoint(tmp_path / "x").step == 2                    # what was good is kept


def test_a_gradient_that_is_no_number_stops_the_run_too(tmp_path):
    def root_of_zero(model, batch):
        loss, n = squares(model, batch)
        return loss + (model.bias.sum() * 0).abs().sqrt(), n            # value 0, derivative NaN
    model = linear()
    with pytest.raises(ValueError, match=r"the gradient of step 0 is (nan|inf)"):
        train(model, RowBatches(), root_of_zero, CONFIG, checkpoint=tmp_path / "x")
    assert all(p.isfinite().all() for p in model.parameters()) and not (tmp_path / "x").exists()


BAD = {"steps": 0, "lr": 0.0, "accumulate": 0, "schedule": "step", "precision": "float16", "warmup_steps": 11, "clip_norm": 0.0,
       "final_lr": -1e-4, "weight_decay": -0.1, "evaluate_every": 0, "checkpoint_every": -5}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_setting_is_named(name):
    with pytest.raises(ValueError, match=f"{name}: got {BAD[name]!r}, expected "):
        TrainingConfig(**{"steps": 10, name: BAD[name]})


def test_not_a_number_is_a_bad_rate():
    with pytest.raises(ValueError, match="lr: got nan, expected above 0"):
        TrainingConfig(steps=1, lr=math.nan)


# --- evaluation ----------------------------------------------------------------------------------------------------------

def run(steps=8, checkpoint=None, evaluate=None, batches=None, model=None, **settings):
    """A short run with dropout and accumulation: everything that could differ."""
    model = translator(dropout=0.3, dtype=torch.float32) if model is None else model
    torch.manual_seed(2)
    config = TrainingConfig(**{"steps": steps, "lr": 0.01, "accumulate": 2, "checkpoint_every": 2, **settings})
    history = train(model, batches or PairBatches(PAIRS, 7), seq2seq_loss, config, evaluate=evaluate, checkpoint=checkpoint)
    return history, model


def same_run(one, other):
    (history, model), (again, twin) = one, other
    assert again.loss == history.loss and again.grad_norm == history.grad_norm and again.tokens == history.tokens
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values()))


def test_dropout_makes_runs_differ_by_seed():
    """Otherwise the tests below would say nothing about random numbers."""
    torch.manual_seed(99)
    model = translator(0.3, torch.float32)
    other = train(model, PairBatches(PAIRS, 7), seq2seq_loss, TrainingConfig(steps=8, lr=0.01, accumulate=2))
    assert run()[0].loss != other.loss


def test_evaluating_does_not_change_the_training():
    model, modes = translator(0.3, torch.float32), []

    def nosy():
        modes.append(model.training)
        model(torch.full((2, 3), 4), torch.ones(2, 3, dtype=torch.bool), torch.full((2, 2), 2)).sum()
        return {"draw": torch.rand(5).sum().item(), "loss": evaluate(model, [PairBatches(PAIRS, 7)[0]], seq2seq_loss)}
    history, _ = watched = run(evaluate=nosy, evaluate_every=3, model=model)
    same_run(run(), watched)
    assert modes == [False] * 3 and [e["step"] for e in history.evaluations] == [3, 6, 8]
    assert all(e.keys() == {"step", "seconds", "draw", "loss"} for e in history.evaluations)


def test_the_mean_loss_is_over_tokens_not_over_batches_and_without_dropout():
    model = translator(dropout=0.5)
    whole, n = seq2seq_loss(model.eval(), PairBatches(PAIRS, 40)[0])
    model.train()
    parts = [PairBatches(PAIRS[i:j], 40)[0] for i, j in ((0, 1), (1, 30), (30, 40))]
    assert evaluate(model, parts, seq2seq_loss) == pytest.approx((whole / n).item(), rel=1e-13) and model.training
    assert evaluate(model.eval(), parts, seq2seq_loss) and not model.training
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ValueError, match="batches: got no token"):
        evaluate(model, [], seq2seq_loss)


# --- cut, killed, resumed ---------------------------------------------------------------------------------------------------

class Stops(PairBatches):
    """Batches that end the run at number `at`, as Ctrl-C or a crash would."""

    at = 11

    def __getitem__(self, number):
        if number == self.at:
            raise KeyboardInterrupt
        return super().__getitem__(number)


@pytest.mark.parametrize("at", [0, 3, 4, 11, 15])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path, at):
    whole, batches = run(checkpoint=tmp_path / "whole"), Stops(PAIRS, 7)
    batches.at = at
    with pytest.raises(KeyboardInterrupt):
        run(checkpoint=tmp_path / "x", batches=batches)
    torch.manual_seed(77)                                               # whatever happened in between
    same_run(whole, resumed := run(checkpoint=tmp_path / "x"))
    again, _ = run(checkpoint=tmp_path / "x")                           # finished: nothing left to do
    assert again.loss == resumed[0].loss and again.seconds == resumed[0].seconds


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path):
    run(checkpoint=tmp_path / "x")
    before = (tmp_path / "x").read_bytes()
    with pytest.raises(ValueError, match=r"was trained with other settings \(accumulate, lr\); delete it or give another path"):
        run(checkpoint=tmp_path / "x", lr=0.02, accumulate=1)
    assert (tmp_path / "x").read_bytes() == before


SERVER = """
import os, sys
sys.path[:0] = {paths!r}
import torch
torch.set_num_threads(1)
import test_training as t

class Dies(t.PairBatches):
    at = -1

    def __getitem__(self, number):
        if number == self.at:
            os.kill(os.getpid(), 9)
        return super().__getitem__(number)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        path, at = line.strip().split("|")
        batches = Dies(t.PAIRS, 7)
        batches.at = int(at)
        t.run(checkpoint=path, batches=batches)
        os._exit(0)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_a_training_process_killed_again_and_again_ends_where_the_uninterrupted_one_does(tmp_path):
    paths = [str(ROOT), str(ROOT / "tests")]
    with subprocess.Popen([sys.executable, "-c", SERVER.format(paths=paths)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as process:
        def order(name, die_at):
            process.stdin.write(f"{tmp_path / name}|{die_at}\n")
            process.stdin.flush()
            return int(process.stdout.readline())
        assert order("whole", -1) == 0
        assert [order("cut", at) for at in (5, 9, 8, 15, -1)] == [9, 9, 9, 9, 0]
        process.stdin.close()
    histories, weights = [], []
    for name in ("whole", "cut"):
        model = translator(0.3, torch.float32)
        optimizer = make_optimizer(model, TrainingConfig(steps=1))
        histories.append(load_checkpoint(tmp_path / name, model, optimizer=optimizer, restore_rng=True).extra["history"])
        weights.append([*model.parameters(), *(v for s in optimizer.state.values() for v in s.values()), torch.get_rng_state()])
    assert len(histories[0]["loss"]) == 8 and histories[0]["loss"] == histories[1]["loss"]
    assert histories[0]["grad_norm"] == histories[1]["grad_norm"]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


# --- it learns -----------------------------------------------------------------------------------------------------------

def test_a_tiny_translator_learns_to_reverse_and_says_it_without_help():
    g = torch.Generator().manual_seed(0)
    words = [torch.randint(4, 10, (int(n),), generator=g).tolist() for n in torch.randint(1, 4, (400,), generator=g)]
    pairs = [(w, w[::-1]) for w in words]
    torch.manual_seed(0)
    model = Seq2Seq(Seq2SeqConfig(10, 10, 16, 32, 16))
    history = train(model, PairBatches(pairs[:350], 50), seq2seq_loss, TrainingConfig(steps=250, lr=0.01, warmup_steps=20))
    assert not model.training and history.loss[-1] < 0.1 < 1.5 < history.loss[0]
    right = [greedy(model, torch.tensor([[*s, 3]]), torch.ones(1, len(s) + 1, dtype=torch.bool)).ids == [t] for s, t in pairs[350:]]
    assert sum(right) / len(right) > 0.9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_training_on_a_gpu_in_bfloat16_lowers_the_loss():
    context = Distributed(device=torch.device("cuda"))
    history = train(translator(dtype=torch.float32), PairBatches(PAIRS, 40), seq2seq_loss,
                    TrainingConfig(steps=60, lr=0.01, precision="bfloat16"), context=context)
    assert history.loss[-1] < 0.7 * history.loss[0]
