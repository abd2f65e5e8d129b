"""The recipe of the small BERT: its corpus, a run that repeats and learns, what is kept and what comes back."""

import os

import pytest
import torch

from course_lib.checkpoints import load_checkpoint, save_checkpoint
from course_lib.data.masking import MaskedBatches
from course_lib.losses import pre_training_loss
from course_lib.models.bert import BERT, BERTConfig
from course_lib.recipes import tinybert
from course_lib.training import evaluate

SMALL = {"d_model": 32, "n_heads": 2, "n_layers": 1}


@pytest.fixture(scope="module")
def corpus():
    return tinybert.prepare(n_train=300, n_valid=30)


def test_the_corpus_is_stories_sentence_by_sentence(corpus):
    told = tinybert.prepare(n_train=300, n_valid=30)
    assert told.train == corpus.train and len(corpus.train) == 300 and len(corpus.valid) == 30
    assert corpus.tokenizer.vocab_size <= 300
    for document, story in zip(corpus.documents(corpus.valid), corpus.valid, strict=True):
        assert len(document) == len(story.en) >= 2
        assert [corpus.tokenizer.decode(ids).split() for ids in document] == [[w.lower() for w in words] for words in story.en]
    assert corpus.tokenizer.unk_id not in {i for document in corpus.train for sentence in document for i in sentence}


def test_a_run_repeats_and_learns(corpus):
    valid = MaskedBatches(corpus.documents(corpus.valid), 16, corpus.tokenizer, seed=1)
    held_out = [valid[number] for number in range(4)]
    runs, before = [], evaluate(tinybert.build(corpus.tokenizer.vocab_size, **SMALL), held_out, pre_training_loss)
    for _ in range(2):
        model = tinybert.build(corpus.tokenizer.vocab_size, **SMALL)
        runs.append(tinybert.fit(model, corpus, steps=30, batch_size=8, schedule="constant", lr=5e-3).loss)
    assert runs[0] == runs[1] and not model.training
    assert evaluate(model, held_out, pre_training_loss) < before - 1.5
    other = tinybert.fit(tinybert.build(corpus.tokenizer.vocab_size, **SMALL), corpus, steps=2, batch_size=8, negative="other text")
    assert len(other.loss) == 2 and other.loss[0] != runs[0][0]


def test_a_kept_model_comes_back_with_its_vocabulary(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run chapter 07"):
        tinybert.load()
    model = tinybert.build(corpus.tokenizer.vocab_size, norm="pre", **SMALL).eval()
    path = tinybert.save(model, corpus.tokenizer)
    assert path.parent == tmp_path.resolve()
    for again, tokenizer in (tinybert.load(), tinybert.load(path)):
        ids = torch.tensor([corpus.train[0][0]])
        assert all(torch.equal(one, other) for one, other in zip(model(ids), again(ids)))
        assert again.words.output.weight is again.bert.embedding.weight and not again.training
        assert tokenizer.vocabulary == corpus.tokenizer.vocabulary and again.bert.config == model.bert.config


def test_damaged_and_other_files_are_named(corpus, tmp_path):
    path = tinybert.save(tinybert.build(corpus.tokenizer.vocab_size, **SMALL), corpus.tokenizer, tmp_path / "model")
    saved = load_checkpoint(path)
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) // 2)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        tinybert.load(path)
    bert = BERT(BERTConfig(11, d_model=8, n_heads=2, n_layers=1))
    for config, extra in ((saved.config | {"positions": "rotary"}, saved.extra), (saved.config, {}), ({}, saved.extra)):
        save_checkpoint(path, bert, config=config, extra=extra)
        with pytest.raises(ValueError, match="holds another kind of model"):
            tinybert.load(path)
    save_checkpoint(path, bert, config=saved.config, extra=saved.extra)
    with pytest.raises(ValueError, match="does not fit BERTForPreTraining"):
        tinybert.load(path)
    with pytest.raises(FileNotFoundError, match="no model at"):
        tinybert.load(tmp_path / "absent")
