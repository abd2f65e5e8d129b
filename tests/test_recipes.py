"""Recipes: the Multi30k run leaves what it says, averages its last snapshots, and goes on after a stop as if there had been none."""

import pytest
import torch

from course_lib.checkpoints import average_checkpoints
from course_lib.data import datasets
from course_lib.recipes import multi30k, race, tinytown

PAIRS = [(f"ein {a} {b}", f"a {a} {b}") for a in ("rot", "blau", "alt") for b in ("Ball", "Hut", "Bus", "Weg")] * 4


@pytest.fixture
def captions(monkeypatch):
    """A very small Multi30k, and a Transformer to match."""
    monkeypatch.setattr(datasets, "load", lambda name, source, target, split: [
        pair if source == "de" else pair[::-1] for pair in (PAIRS if split == "train" else PAIRS[:4])])
    config = multi30k.TransformerConfig
    monkeypatch.setattr(multi30k, "TransformerConfig", lambda s, t, **sizes: config(
        s, t, **sizes | {"d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 16}))


def run(out, **more):
    return multi30k.run(out, model="transformer", source="en", target="de", steps=7, evaluate_every=1, progress=False, **more)


def weights(path):
    from safetensors.torch import load_file
    return {name: value for name, value in load_file(path).items() if name.startswith("model.")}


def test_the_transformer_is_left_as_the_mean_of_its_last_five_snapshots(captions, tmp_path):
    history = run(tmp_path)
    assert [row["step"] for row in history.evaluations] == [1, 2, 3, 4, 5, 6, 7]
    assert all(0 <= row["bleu"] <= 100 for row in history.evaluations)
    kept = sorted(path.name for path in tmp_path.glob("snapshot_*"))
    assert kept == [f"snapshot_{i}.safetensors" for i in range(2, 7)]
    parts = [weights(tmp_path / name) for name in kept]
    for name, value in weights(tmp_path / "averaged.safetensors").items():
        torch.testing.assert_close(value, sum(part[name] for part in parts) / 5)
    translator = multi30k.load(tmp_path)
    assert isinstance(translator(["a rot Ball"])[0], str)


def test_a_stopped_run_goes_on_to_the_same_weights(captions, tmp_path, monkeypatch):
    expected = run(tmp_path / "whole")

    def stop(paths, model):
        average_checkpoints(paths, model)
        if len(list((tmp_path / "cut").glob("snapshot_*"))) == 4:
            raise KeyboardInterrupt                                     # the snapshot is there, the checkpoint is not yet
    monkeypatch.setattr(multi30k, "average_checkpoints", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut")
    monkeypatch.setattr(multi30k, "average_checkpoints", average_checkpoints)
    history = run(tmp_path / "cut")
    assert history.loss == expected.loss
    whole, cut = (weights(tmp_path / name / "averaged.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_an_unknown_model_is_named(captions, tmp_path):
    with pytest.raises(ValueError, match="model: got 'lstm', expected one of rnn, additive, transformer"):
        multi30k.run(tmp_path, model="lstm")


def test_the_racers_have_as_many_parameters_and_read_english():
    task = tinytown.prepare(n_train=3000, n_test=5, reads="en", max_words=race.MAX_WORDS)
    assert task.references(task.test) == [pair.de_text for pair in task.test]
    assert task.source is task.english and task.target is task.german
    sizes = [sum(p.numel() for p in race.runner(name, task).parameters()) for name in race.RUNNERS]
    assert max(sizes) / min(sizes) < 1.01
    english, german = task.train[0]
    assert max(english) < task.english.vocab_size and max(german) < task.german.vocab_size
    steps = race.equal_time(task, 1000, rounds=2)
    assert steps["Transformer"] == 1000 and all(100 < n < 10_000 for n in steps.values())
