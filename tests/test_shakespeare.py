"""The ladder on tiny Shakespeare: rungs change what they say, a run is repeatable and fairly timed, the kept result is whole and true."""

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from course_lib.attention import FusedAttention, WrittenAttention
from course_lib.cli.app import cli
from course_lib.data import datasets
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.optimizers import Together, make_muon
from course_lib.recipes import results, shakespeare
from course_lib.recipes.shakespeare import DECISIVE, LADDER, RUNGS, SPRINTS, Rung, find, run, settings, split, start, summary
from course_lib.training import History, evaluate

PLAY = "".join(f"{name}:\nWhat say you {n} times to {name}?\n\n" for n in range(30) for name in ("ROMEO", "JULIET", "NURSE"))
SMALL = {"n_layers": 1, "n_heads": 2, "d_model": 16, "max_len": 16}


def small(name="nanogpt", **parts):
    """A rung with a very small model."""
    return find(name).then("small", SMALL, {"warmup_steps": 2}, batch_size=4, **parts)


@pytest.fixture(scope="module")
def text():
    return split(PLAY)


# --- the text ----------------------------------------------------------------------------------------------------------

def test_nine_tenths_are_for_training_and_no_character_is_lost(text):
    assert len(text.train) == len(PLAY) * 9 // 10
    assert text.tokenizer.decode(torch.cat([text.train, text.valid]).tolist()) == PLAY


def test_a_large_alphabet_keeps_its_numbers():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 400)))
    assert split(letters * 2).train.tolist() == [4 + i % 400 for i in range(720)]


def test_the_split_of_the_real_text_is_nanogpts(monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "load", lambda name, split: asked.append((name, split)) or PLAY)
    assert len(shakespeare.load().valid) == len(PLAY) - len(PLAY) * 9 // 10 and asked == [("tinyshakespeare", "all")]


# --- the rungs ---------------------------------------------------------------------------------------------------------

def test_the_first_rung_is_nanogpts_setting():
    rung, config = RUNGS["nanogpt"], settings(RUNGS["nanogpt"], 2000)
    model = GPTConfig(69, **rung.model)
    assert (model.n_layers, model.n_heads, model.d_model, model.max_len, rung.batch_size) == (4, 4, 128, 64, 12)
    assert (model.dropout, model.bias, model.init, model.positions, model.norm, model.feed_forward) == (
        0, False, "gpt2", "learned", "layer", "gelu")
    assert (config.lr, config.final_lr, config.warmup_steps, config.betas) == (1e-3, 1e-4, 100, (0.9, 0.99))
    assert (config.weight_decay, config.clip_norm, config.schedule, config.precision) == (0.1, 1.0, "cosine", "float32")
    assert not rung.compiled and not rung.written and rung.share == 1


def parts(rung):
    return {**rung.model, **rung.training, **{name: getattr(rung, name) for name in ("batch_size", "optimizer", "written", "compiled")}}


def test_every_rung_changes_something_and_keeps_the_rest():
    changed = {}
    for before, name in zip(LADDER, list(LADDER)[1:]):
        old, new = parts(LADDER[before]), parts(LADDER[name])
        assert old.keys() <= new.keys()
        changed[name] = {key for key in new if new[key] != old.get(key)}
    assert changed == {"init": {"init"}, "rotary": {"positions"}, "parts": {"norm", "qk_norm", "feed_forward"},
                       "rate": {"lr", "final_lr", "schedule"}, "muon": {"lr", "optimizer", "batch_size"},
                       "shape": {"max_len", "n_layers", "n_heads", "batch_size"}, "bfloat16": {"precision", "written"},
                       "compiled": {"compiled"}}
    for name, before in (("sprint", "shape"), ("compiled sprint", "compiled")):
        assert parts(RUNGS[name]).keys() == parts(RUNGS[before]).keys() and RUNGS[name].compiled == RUNGS[before].compiled
    assert len({rung.change for rung in RUNGS.values()}) == len(RUNGS) - 1                      # the sprints share a sentence


def test_no_rung_is_larger_than_it_may_be_and_all_can_be_built():
    for name, rung in RUNGS.items():
        size = sum(p.numel() for p in GPT(GPTConfig(69, **rung.model)).parameters())
        assert size <= 1_500_000, name
        settings(rung, 1)


def test_an_unknown_rung_is_named():
    with pytest.raises(ValueError, match="rung: got 'top', expected one of nanogpt, init, rotary"):
        find("top")


def test_a_rung_starts_with_the_parts_it_names(text):
    kernels = {name: {type(m) for m in start(small(name, compiled=False), text).model.modules() if isinstance(m, FusedAttention)}
               for name in ("shape", "bfloat16")}
    assert kernels == {"shape": {FusedAttention}, "bfloat16": {WrittenAttention}}
    one, two, other = (start(small(), text, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.model.embedding.weight, two.model.embedding.weight)
    assert not torch.equal(one.model.embedding.weight, other.model.embedding.weight)
    assert torch.equal(one.windows[0].inputs, two.windows[0].inputs) and not torch.equal(one.windows[0].inputs, other.windows[0].inputs)
    assert one.windows[0].inputs.shape == (4, 16) and one.windows[0].inputs.max() < text.tokenizer.vocab_size


# --- a run -------------------------------------------------------------------------------------------------------------

def test_a_run_learns_and_reports_the_loss_on_all_of_the_validation_part(text):
    model, history, row = run(small("shape"), text, 40)
    assert row["steps"] == 40 == len(history.loss) and row["parameters"] == sum(p.numel() for p in model.parameters())
    assert [found["step"] for found in history.evaluations] == [5, 10, 15, 20, 25, 30, 35, 40]
    assert row["validation"] == round(history.evaluations[-1]["validation"], 4) < history.evaluations[0]["validation"] - 0.5
    ids, total, words = text.valid.long(), 0.0, 0
    with torch.no_grad():
        for i in range(0, len(ids) - 1, 16):                                                    # one window at a time, by hand
            window = ids[i:i + 17]
            logp = model(window[None, :-1])[0].double().log_softmax(-1)
            total -= logp.gather(1, window[1:, None]).sum().item()
            words += len(window) - 1
    assert words == len(ids) - 1 and row["validation"] == pytest.approx(total / words, abs=1e-4)


@pytest.mark.parametrize("name", ["nanogpt", "bfloat16"])
def test_the_same_seed_gives_the_same_numbers(text, name):
    runs = [run(small(name), text, 6, seed=seed) for seed in (1, 1, 2)]
    assert runs[0].history.loss == runs[1].history.loss != runs[2].history.loss
    assert runs[0].row["validation"] == runs[1].row["validation"] != runs[2].row["validation"]


def test_the_first_pass_and_the_evaluations_change_nothing(text, monkeypatch):
    often = run(small(), text, 8, evaluations=8)
    monkeypatch.setattr(shakespeare, "first_pass", lambda rung, begun: 0.0)
    assert run(small(), text, 8, evaluations=1).history.loss == often.history.loss
    assert len(often.history.evaluations) == 8


def test_a_compiled_run_compiles_its_loss_and_tells_the_time(text, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: asked.append(options) or f)
    rows = [run(small("compiled", compiled=compiled), text, 3).row for compiled in (True, False)]
    assert asked == [{"fullgraph": True, "dynamic": False}]
    assert rows[0]["compile_seconds"] >= 0 and rows[1]["compile_seconds"] == 0.0
    assert rows[0]["validation"] == rows[1]["validation"]


@pytest.mark.parametrize("steps", [0, -3])
def test_no_run_without_steps(text, steps):
    with pytest.raises(ValueError, match=f"(steps|warmup_steps): got {steps}"):
        run(small(), text, steps)


def test_a_text_shorter_than_a_window_is_refused():
    with pytest.raises(ValueError, match="ids: got 9 tokens, expected more than length, 16"):
        run(small(), split("abcdefghij"), 1)


def test_cpu_seconds_leave_evaluations_out(text, monkeypatch):
    def slow(*arguments):
        end = shakespeare.time.process_time() + 0.2
        while shakespeare.time.process_time() < end:
            pass
        return evaluate(*arguments)
    monkeypatch.setattr(shakespeare, "evaluate", slow)
    assert run(small(), text, 4, evaluations=4).row["cpu_seconds"] < 0.6                        # the evaluations take 0.8 more


def test_the_summary_of_a_run_by_hand():
    history = History(loss=[float(i) for i in range(45)], seconds=[i + 1.0 for i in range(45)], tokens=4500, evaluations=[
        {"step": 15, "seconds": 15.0, "validation": 2.0}, {"step": 30, "seconds": 30.0, "validation": 1.88},
        {"step": 45, "seconds": 45.0, "validation": 1.7}])
    found = summary(history)
    assert found["curve"] == [[3 * i + 3, 3.0 * i + 1] for i in range(15)]                      # means of three
    assert (found["steps"], found["seconds"], found["tokens"], found["steps_to_goal"]) == (45, 45.0, 4500, 30)
    assert found["validation"] == 1.7 and found["validations"] == [[15, 2.0], [30, 1.88], [45, 1.7]]
    history.evaluations[1]["validation"] = history.evaluations[2]["validation"] = 1.881
    assert summary(history)["steps_to_goal"] is None


# --- the whole ladder --------------------------------------------------------------------------------------------------

def test_paces_tell_the_dearer_step_and_train_as_the_rung_does(text, monkeypatch):
    made = []
    rungs = {"small": small(), "large": small().then("large", {"d_model": 192, "n_layers": 3}),
             "muon": small(optimizer=lambda *arguments: made.append(make_muon(*arguments)) or made[-1])}
    found = shakespeare.paces(rungs, text, rounds=2)
    assert found.keys() == rungs.keys() and found["large"] > 1.5 * found["small"] > 0
    assert len(made) == 2 and isinstance(made[0], Together)


def test_a_climb_gives_all_the_same_time_and_keeps_each_run(text, monkeypatch):
    kept, ran = [], []
    monkeypatch.setattr(shakespeare, "paces", lambda rungs, text, rounds: {name: 0.5 if name == "nanogpt" else 0.25 for name in rungs})

    def keep(name, device, settings, **found):
        kept.append((name, settings, found | {"runs": len(found["runs"])}))                     # the list itself grows
    monkeypatch.setattr(shakespeare, "keep", keep)

    def noted(rung, text, steps, seed):
        ran.append((next(name for name in RUNGS if RUNGS[name] is rung), steps, seed))
        return None, None, {"validation": 2.0 - steps / 1000, "curve": []}
    monkeypatch.setattr(shakespeare, "run", noted)
    monkeypatch.setattr(shakespeare, "write", lambda model, tokenizer: f"after {len(ran)}")
    shakespeare.climb(text, ["init", "shape", "sprint"], 2, first_steps=100)
    share = round(200 * SPRINTS["sprint"].share)
    assert ran == [("init", 200, 0), ("shape", 200, 0), ("sprint", share, 0), ("shape", 200, 1), ("sprint", share, 1)]
    assert [found["runs"] for _, _, found in kept] == [1, 2, 3, 4, 5] and {name for name, _, _ in kept} == {"shakespeare_ladder"}
    assert [settings["seeds"] for _, settings, _ in kept] == [1, 1, 1, 2, 2]
    assert kept[-1][2]["limit"] == 50 and kept[-1][2]["sample"] == "after 1"                    # no later one was better


def test_what_it_writes_is_as_long_as_asked_and_repeatable(text):
    model = start(small(), text).model.eval()
    one, two, other = (shakespeare.write(model, text.tokenizer, 50, seed=seed) for seed in (0, 0, 1))
    assert one == two != other and 30 < len(one.replace("<unk>", "?")) <= 50                    # an untrained one says <pad>, too


def test_the_command_trains_a_rung_and_shows_its_loss_and_a_text(monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda name, split: PLAY)
    monkeypatch.setitem(RUNGS, "shape", small("shape"))
    done = CliRunner().invoke(cli, ["train", "shakespeare", "--steps", "4", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert done.output.count("validation") == 4 and "parameters" in done.output
    monkeypatch.setattr(shakespeare, "paces", lambda rungs, text, device: {"shape": 2.0})
    done = CliRunner().invoke(cli, ["train", "shakespeare", "--minutes", "0.2", "--device", "cpu"])
    assert done.exit_code == 0 and "step      6" in done.output


@pytest.mark.parametrize("arguments, words", [
    (["--rung", "top"], "'top' is not one of"), (["--minutes", "0"], "0.0 is not in the range"),
    (["--steps", "0"], "0 is not in the range"), (["--device", "tpu"], "device: got 'tpu'")])
def test_the_command_refuses_what_it_cannot_do(monkeypatch, arguments, words):
    monkeypatch.setattr(datasets, "load", lambda name, split: PLAY)
    done = CliRunner().invoke(cli, ["train", "shakespeare", *arguments])
    assert done.exit_code != 0 and words in done.output and "Traceback" not in done.output


# --- what is kept ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ladder():
    return results.stored("shakespeare_ladder")


def test_the_kept_ladder_has_all_rungs_and_the_decisive_ones_with_every_seed(ladder):
    names = [row["rung"] for row in ladder["runs"]]
    assert names[:len(LADDER) + len(SPRINTS)] == [*LADDER, *SPRINTS]
    assert all(names.count(name) == (ladder["settings"]["seeds"] if name in DECISIVE else 1) for name in names)
    for row in ladder["runs"]:
        rung = RUNGS[row["rung"]]
        assert row["change"] == rung.change and row["parameters"] <= 1_500_000
        steps, losses = np.array(row["curve"]).T
        assert 10 <= len(steps) <= 40 and (np.diff(steps) > 0).all() and losses[0] > losses[-1] > 1
        assert row["validations"][-1] == [row["steps"], row["validation"]] and steps[-1] == row["steps"]
        assert row["tokens"] == row["steps"] * rung.batch_size * rung.model["max_len"] and row["cpu_seconds"] > 0
        assert math.isclose(row["steps"] * row["step_seconds"], ladder["limit"] * rung.share, rel_tol=0.01)
    assert len(ladder["sample"]) == 200 and ladder["settings"]["seeds"] >= 2 and "thread" in ladder["machine"]


@pytest.mark.parametrize("rung, share, loss", [("sprint", 1 / 4, 1.88), ("compiled sprint", 1 / 8, 1.88), ("shape", 1, 1.65),
                                               ("compiled", 1, 1.55)])
def test_the_kept_ladder_reaches_the_marks_with_every_seed(ladder, rung, share, loss):
    assert RUNGS[rung].share <= share
    rows = [row for row in ladder["runs"] if row["rung"] == rung]
    assert len(rows) == ladder["settings"]["seeds"] and all(row["validation"] <= loss for row in rows)
    first = min(row["cpu_seconds"] for row in ladder["runs"] if row["rung"] == "nanogpt")
    assert share == 1 or all(row["cpu_seconds"] <= share * first for row in rows)               # not by the paces alone


def test_rungs_are_frozen():
    with pytest.raises(AttributeError):
        RUNGS["nanogpt"].batch_size = 3
    assert Rung("x").then("y", {"a": 1}).model == {"a": 1}
