"""The recipe of the stories: what is asked is true, what is scored is what the simulation says, what a model chooses is its own."""

import pytest
import torch

from course_lib.data.tinytown import check_story, stories
from course_lib.data.tinytown.pairs import detokenise
from course_lib.losses import next_token_loss
from course_lib.recipes.stories import NAMES, TOWN, Cloze, build, choose, clozes, fit, load, prepare, save, score
from course_lib.training import evaluate


@pytest.fixture(scope="module")
def corpus():
    return prepare(n_train=400, n_valid=60)


def test_the_right_option_is_true_and_the_others_are_not(corpus):
    kinds = set()
    for story in corpus.valid:
        for cloze in clozes(story):
            kinds.add(cloze.kind)
            beginning = detokenise(cloze.beginning)
            verdicts = [check_story(f"{beginning} {detokenise(option)}")[-1] for option in cloze.options]
            assert all(verdict.grammatical for verdict in verdicts)
            assert [i for i, verdict in enumerate(verdicts) if verdict.asserted is True] == [cloze.right]
            assert len(cloze.options) == len(NAMES if cloze.kind == "who" else TOWN)
            assert len(check_story(beginning)) == len(story.en) - len(story.closing)
    assert kinds == {"who", "where"}


def test_last_mentioned():
    options = tuple((name, "has", "the", "ball", ".") for name in ("Mia", "Tom", "Ben"))
    told = "Mia had a ball . Tom was in the park . Mia lost the ball ."
    asked = Cloze("who", tuple(told.split()), options, 1)
    assert asked.last_mentioned() == 0
    places = tuple(("Mia", "is", "in", "the", place, ".") for place in ("park", "house"))
    assert Cloze("where", asked.beginning, places, 0).last_mentioned() == 0


def test_choose_agrees_with_one_forward_pass_per_option(corpus):
    model = build(corpus, d_model=32, n_heads=2, n_layers=2).eval()
    asked = [cloze for story in corpus.valid[:12] for cloze in clozes(story)]
    expected = []
    for cloze in asked:
        totals = []
        for option in cloze.options:
            ids = torch.tensor([[corpus.tokenizer.bos_id, *corpus.tokenizer.to_ids((*cloze.beginning, *option))]])
            with torch.no_grad():
                log_probs = model(ids).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
            totals.append(log_probs[-len(option):].sum().item())
        expected.append(max(range(len(totals)), key=totals.__getitem__))
    assert choose(model, corpus.tokenizer, asked, batch_size=7) == expected


def test_scores_by_hand():
    right = "Mia had a ball. Tom was in the park. Mia has the ball."
    wrong = "Mia had a ball. Mia gave Tom the ball. Mia has the ball. Mia the ball. Ben is in the park."
    found = score([right, wrong])
    assert found == (7 / 8, 1 / 3, 1 / 2, 8, 3)                 # where Ben is, is news: nothing before says so
    assert score([]) == (0, 0, 0, 0, 0)


def test_the_stories_themselves_score_one(corpus):
    found = score(story.text for story in stories(50, seed=3))
    assert found[:3] == (1, 1, 1) and found.n_facts > 50


def test_training_learns_and_repeats(corpus):
    before = evaluate(build(corpus, d_model=32, n_heads=2, n_layers=1), corpus.batches(), next_token_loss)
    runs = []
    for _ in range(2):
        model = build(corpus, d_model=32, n_heads=2, n_layers=1)
        runs.append(fit(model, corpus, steps=40, batch_size=8, schedule="constant").loss)
    assert runs[0] == runs[1]
    assert evaluate(model, corpus.batches(), next_token_loss) < before - 1.5


def test_a_kept_model_comes_back_with_its_vocabulary(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run chapter 09"):
        load()
    model = build(corpus, d_model=16, n_heads=2, n_layers=1).eval()
    assert save(model, corpus.tokenizer).parent == tmp_path.resolve()
    again, tokenizer = load()
    ids = torch.tensor([corpus.train[0]])
    assert torch.equal(model(ids), again(ids)) and tokenizer.vocabulary == corpus.tokenizer.vocabulary
