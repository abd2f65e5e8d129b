"""`train assistant` and `train preferences`: tuned, stopped and resumed, by two processes, beside weights of GPT-2's layout; errors."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from course_lib.alignment.chat import dialogue
from course_lib.alignment.lora import lora_parameters
from course_lib.alignment.sft import ResponseBatches
from course_lib.checkpoints import load_checkpoint
from course_lib.cli.train import train as command
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import save_gpt2
from course_lib.recipes import real_assistant, real_chat
from course_lib.recipes.assistant import TEMPLATE
from course_lib.recipes.real_assistant import folder, implicit_accuracy, load, low_rank, prefer, run
from course_lib.recipes.real_chat import as_rows, conversations
from course_lib.training import TrainingConfig, train

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get("COURSE_DATA") or ROOT.parent / "shared" / "data")
TINY = {"d_model": 32, "n_heads": 2, "n_layers": 1, "dropout": 0.1}


@pytest.fixture(autouse=True)
def real(monkeypatch):
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    monkeypatch.setattr(real_chat, "SMALL", real_chat.SMALL | TINY)


@pytest.fixture
def few(monkeypatch):
    """Ten conversations of each split are enough where each takes 50,260 scores a token."""
    whole = real_chat.datasets.load
    monkeypatch.setattr(real_chat.datasets, "load", lambda name, **options: whole(name, **options)[:10] if options else whole(name))


def tune(out, steps=6, **more):
    return run(out, progress=False, device="cpu", **{"data": ("instruction-1100",), "steps": steps, "evaluate_every": 3} | more)


def weights(out):
    return {name: value for name, value in load_file(out / "model.safetensors").items() if name.startswith("model.")}


def test_tuning_lowers_the_loss_of_held_out_responses_and_leaves_the_model(tmp_path):
    before, history = tune(tmp_path, steps=20, evaluate_every=8)
    assert [row["step"] for row in history.evaluations] == [8, 16, 20]
    assert history.evaluations[-1]["nats"] < before - 0.3
    model, tokenizer, settings = load(tmp_path)
    held = as_rows(tokenizer, conversations(("instruction-1100",), "test")).rows
    assert real_chat.nats(model, held) == pytest.approx(history.evaluations[-1]["nats"], rel=1e-5)
    assert settings["data"] == ["instruction-1100"] and settings["start"] == "random" and not model.training


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    whole = tune(tmp_path / "whole")
    with monkeypatch.context() as patched:
        def stop(model, batches, loss, device):
            if (tmp_path / "cut" / "checkpoint.safetensors").exists():
                raise KeyboardInterrupt
            return 1.0
        patched.setattr(real_assistant, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            tune(tmp_path / "cut")
    assert not (tmp_path / "cut" / "model.safetensors").exists()
    cut = tune(tmp_path / "cut")
    assert cut.history.loss == whole.history.loss and cut.before == whole.before
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match=r"checkpoint.safetensors: was trained with other settings \(seed\); delete it or give another"):
        tune(tmp_path / "cut", seed=1)


def test_two_processes_share_the_batches_and_one_of_them_prints(tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    arguments = ["--data", "instruction-1100", "--steps", "2", "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1",
                           "--master-port", str(port), "-m", "course_lib", "train", "assistant", *arguments], capture_output=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
                          text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("\n> ") == 3 and done.stdout.count("before") == 1           # one of the two has printed
    history = load_checkpoint(tmp_path / "checkpoint.safetensors").extra["history"]
    _, tokenizer, settings = load(tmp_path)
    batches = ResponseBatches(as_rows(tokenizer, conversations(("instruction-1100",))).rows, settings["batch_size"])
    assert history["tokens"] == sum(int(batches[i].mask.sum()) for i in range(4)) and len(history["loss"]) == 2


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny GPT in GPT-2's layout, with GPT-2's vocabulary."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("published") / "model.safetensors"
    model = GPT(GPTConfig(50257, 64, 1, 1, max_len=300))
    save_gpt2(path, model)
    return path, model


def test_published_weights_are_tuned_with_room_for_the_marks(tmp_path, published, few):
    path, model = published
    before, history = tune(tmp_path, steps=2, weights=path)
    tuned, tokenizer, settings = load(tmp_path)
    assert tokenizer.vocab_size == tuned.config.vocab_size == 50260 and tuned.config.max_len == 300 and settings["start"] == "published"
    assert tokenizer.decode(tokenizer.encode("Topics in Deep Learning")) == "Topics in Deep Learning"
    assert history.evaluations[-1]["nats"] < before and history.evaluations[-1]["step"] == 2
    change = (tuned.embedding.weight[:50257] - model.embedding.weight).abs().max()
    assert 0 < change < 1e-3                                            # two small steps away from what was published


def test_an_adapter_moves_the_low_rank_parts_and_the_marks_alone(tmp_path, published, few):
    path, model = published
    tune(tmp_path, steps=2, weights=path, lora=2)
    tuned, _, settings = load(tmp_path)
    assert settings["lora"] == 2 and not any("linear" in name for name, _ in tuned.named_parameters())      # merged
    assert torch.equal(tuned.embedding.weight[:50257], model.embedding.weight) and tuned.output.weight is tuned.embedding.weight
    untuned, _ = real_chat.start([], path)
    assert not torch.isclose(tuned.embedding.weight[50257:], untuned.embedding.weight[50257:], rtol=0, atol=1e-6).all(1).any()
    assert torch.equal(tuned.norm.weight, model.norm.weight) and torch.equal(tuned.positions.table, model.positions.table)
    difference = (tuned.blocks[0].feed_forward.part.up.weight - model.blocks[0].feed_forward.part.up.weight).detach()
    assert torch.linalg.matrix_rank(difference, atol=1e-7) == 2
    again = tune(tmp_path, steps=2, weights=path, lora=2)               # finished: nothing left to do, and the same model
    assert again.history.evaluations[-1]["step"] == 2
    assert torch.equal(load(tmp_path)[0].blocks[0].feed_forward.part.up.weight, tuned.blocks[0].feed_forward.part.up.weight)


def test_low_rank_parts_leave_old_rows_alone_whatever_the_loss():
    torch.manual_seed(0)
    model = GPT(GPTConfig(9, 8, 2, 1, max_len=8))
    before = model.embedding.weight.detach().clone()
    low_rank(model, 2, 3)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"embedding.weight", *lora_parameters(model)}
    rows = real_chat.collate_responses([real_chat.Rendered([1, 7, 2, 8, 3], [False, False, False, True, True])])
    train(model, {i: rows for i in range(3)}, next_token_loss, TrainingConfig(3, 0.01))
    assert torch.equal(model.embedding.weight[:6], before[:6]) and not (model.embedding.weight[6:] == before[6:]).any()


def test_dpo_finds_the_polite_response_and_says_level_before(tmp_path, monkeypatch):
    tune(tmp_path / "sft", steps=6)
    monkeypatch.setattr(real_assistant, "DPO_RATES", {"random": 3e-3})
    found = prefer(tmp_path / "dpo", tmp_path / "sft", steps=25, device="cpu")
    assert found.before.value == 0.5 and found.asked == 123 and found.seen == 870
    assert found.after.value > 0.6 and found.after.low < found.after.value < found.after.high
    policy, tokenizer, settings = load(tmp_path / "dpo")
    assert settings["preferences"] == "preference-1100"
    reference = load(tmp_path / "sft")[0]
    rows = real_chat.as_comparisons(tokenizer, real_chat.datasets.load("preference-1100", split="test")).rows
    assert implicit_accuracy(policy, reference, rows) == found.after
    flipped = [(prompt, rejected, chosen) for prompt, chosen, rejected in rows]
    assert implicit_accuracy(policy, reference, flipped).value == pytest.approx(1 - found.after.value)


def test_samples_are_held_out_and_stop_where_the_model_does(tmp_path):
    tune(tmp_path, steps=1)
    model, tokenizer, _ = load(tmp_path)
    said = real_assistant.samples(model, tokenizer, ("self-instruct",), n=3, max_len=4)
    held = [turns[0][1] for turns in conversations(("self-instruct",), "test")]
    assert len({asked for asked, _ in said}) == 3 and all(asked in held for asked, _ in said)
    assert all(as_rows(tokenizer, [dialogue(asked, "")]).rows for asked, _ in said)
    with torch.no_grad():                                               # now its first word is the end
        model.output.weight.zero_()[TEMPLATE.marks(tokenizer)["end"]] = 1
        model.norm.bias.fill_(1)
    assert {(answer.text, answer.stopped) for _, answer in real_assistant.samples(model, tokenizer, n=2)} == {("", True)}


def invoke(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_commands_print_what_they_measured(tmp_path):
    done = invoke("assistant", "--data", "instruction-1100", "--steps", 2, "--device", "cpu", "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    assert "before              held-out responses" in done.output and done.output.count("\n> ") == 3
    done = invoke("preferences", "--from", tmp_path / "a", "--steps", 1, "--device", "cpu", "--out", tmp_path / "p")
    assert done.exit_code == 0, done.output
    assert "870 comparisons learned from; on 123 others" in done.output and "before   0.500" in done.output
    assert (tmp_path / "p" / "model.safetensors").is_file()


@pytest.mark.parametrize("arguments, message", [
    (("assistant", "--weights", "absent.safetensors"), "no weights at absent.safetensors"),
    (("assistant", "--lora", "2"), "lora: got rank 2 without weights, expected weights"),
    (("assistant", "--data", "hh-rlhf"), "'hh-rlhf' is not one of"),
    (("assistant", "--device", "tpu"), "device: got 'tpu'"),
    (("preferences", "--from", "absent"), "train assistant` makes one"),
])
def test_what_is_missing_is_named(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments, "--out", tmp_path / "out")
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_damaged_data_are_named(tmp_path, monkeypatch):
    path = tmp_path / "instruction-1100" / "instruction-data.json"
    path.parent.mkdir()
    path.write_text("[]")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    done = invoke("assistant", "--data", "instruction-1100", "--out", tmp_path / "out")
    assert done.exit_code == 2 and "instruction-1100" in done.output and "Traceback" not in done.output


def test_models_are_kept_apart():
    assert folder() != folder("preferences") and folder().parent == folder("preferences").parent
