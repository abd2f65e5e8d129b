"""The recipe of the assistant: what is asked where, what is shown, what the report counts, and that tuning teaches to stop."""

from collections import Counter
from functools import partial

import pytest
import torch

from course_lib.alignment.chat import Response, dialogue
from course_lib.alignment.sft import PackedBatches, ResponseBatches, packed_loss
from course_lib.data.tinytown.instructions import HELD_OUT
from course_lib.data.tinytown.judge import judge
from course_lib.generation import greedy, sample
from course_lib.metrics import wilson_interval
from course_lib.recipes import stories
from course_lib.recipes.assistant import (
    KINDS,
    SPLITS,
    TEMPLATE,
    answer,
    ask,
    ask_whether_there,
    demonstrate,
    fit,
    load,
    prepare,
    report,
    save,
)
from tests.twins import UncachedGPT


@pytest.fixture(scope="module")
def asked():
    return {split: ask(80, split, seed=5) for split in SPLITS}


@pytest.fixture(scope="module")
def base():
    corpus = stories.prepare(300, 2)
    return stories.build(corpus, d_model=32, n_heads=2, n_layers=1), corpus.tokenizer


def test_no_split_tells_or_asks_what_another_does(asked):
    texts = {split: {i.text for i in asked[split]} for split in SPLITS}
    assert all(not texts[one] & texts[other] for one in SPLITS for other in SPLITS if one < other)
    questions = {split: {i.prompt for i in asked[split] if i.question} for split in SPLITS}
    assert not questions["questions"] & (questions["train"] | questions["valid"] | questions["test"])
    assert len(questions["questions"]) > 10 and {i.kind for i in asked["questions"]} == {"answer", "refuse"}
    assert {i.detail for i in asked["unseen"]} == {"answer: did what", "list: things"} < set(HELD_OUT)
    for split in ("train", "valid", "test"):
        assert {i.kind for i in asked[split]} == set(KINDS) and not {i.detail for i in asked[split]} & set(HELD_OUT)


def test_new_questions_are_made_of_words_that_training_has():
    told = ask(1500, "train", seed=1)
    known = {word for i in told for word in stories.WordTokenizer.split(f"{i.text} {i.reference}")}
    assert {word for i in ask(80, "questions", seed=2) for word in stories.WordTokenizer.split(i.prompt)} <= known


def test_asking_repeats_and_differs_by_seed(asked):
    again, other = ask(80, seed=5), ask(80, seed=6)
    assert [i.text for i in again] == [i.text for i in asked["train"]] != [i.text for i in other]
    assert {i.kind for i in ask(20, kinds=("list",))} == {"list"} and ask(0) == []
    with pytest.raises(ValueError, match="split: got 'dev', expected one of train, valid, test, questions, unseen"):
        ask(1, "dev")


def test_demonstrations_are_as_good_as_asked_for(asked):
    some = ask(600, seed=1)
    assert demonstrate(some, None) == [i.reference for i in some]
    shown = demonstrate(some, 0.6, seed=2)
    scores = [judge(i, text) for i, text in zip(some, shown)]
    assert 0.5 < sum(s.true == 1 for s in scores) / 600 < 0.75 and 0.5 < sum(s.brief == 1 for s in scores) / 600 < 0.8
    assert shown == demonstrate(some, 0.6, seed=2) != demonstrate(some, 0.6, seed=3)
    assert all(s.true == s.brief == 1 for s in (judge(i, text) for i, text in zip(some, demonstrate(some, 1.0))))


def test_everything_said_is_known_after_preparing(base, asked):
    said = demonstrate(asked["train"])
    model, tokenizer, items = prepare(*base, asked["train"], said)
    assert model.config.vocab_size == tokenizer.vocab_size and tokenizer.vocabulary[:base[1].vocab_size] == base[1].vocabulary
    assert not any(tokenizer.unk_id in item.ids for item in items)
    assert items[7] == TEMPLATE.render(tokenizer, dialogue(asked["train"][7].text, said[7]))
    with pytest.raises(ValueError, match="zip"):
        prepare(*base, asked["train"], said[:-1])


def test_the_report_counts_by_hand(asked):
    some = asked["test"][:40]
    perfect = report(some, [Response(i.reference, True) for i in some])
    assert perfect.exact.value == perfect.true.value == perfect.stopped.value == perfect.well_formed.value == perfect.brief.value == 1
    assert perfect.exact == (1, *wilson_interval(40, 40))
    polite = report(some, [Response(f"Of course! {i.reference} Have a nice day!", n % 2 == 0) for n, i in enumerate(some)])
    assert polite.exact.value == polite.polite.value == polite.true.value == 1 and polite.stopped == (0.5, *wilson_interval(20, 40))
    cut = report(some, [Response(i.reference.removesuffix("."), False) for i in some])
    assert cut.exact.value == cut.stopped.value == cut.well_formed.value == 0
    silent = report(some, [Response("", True)] * 40)
    assert silent.stopped.value == 1 and {silent.exact.value, silent.true.value, silent.well_formed.value, silent.brief.value} == {0}
    rude = report(some, [Response(f"Find out yourself! {i.reference}", True) for i in some])
    assert rude.exact.value == rude.polite.value == 0
    lists = [i for i in asked["test"] if i.kind == "list" and "," in i.reference][:5]
    assert report(lists, [Response(i.reference.split(",")[0] + ".", True) for i in lists]).true.value == 0      # half is not right
    for responses in ([], [Response("", True)] * 39):
        with pytest.raises(ValueError, match="responses: got"):
            report(some, responses)
    with pytest.raises(ValueError, match="responses: got 0"):
        report([], [])


def test_answers_are_those_of_one_prompt_at_a_time_without_a_cache(base, asked):
    model, tokenizer, _ = prepare(*base, asked["train"], demonstrate(asked["train"]))
    some, end = asked["test"][:9], TEMPLATE.marks(tokenizer)["end"]
    found = answer(model.eval(), tokenizer, some, batch_size=4, max_len=6)
    for instruction, response in zip(some, found):
        prompt = torch.tensor([TEMPLATE.prompt(tokenizer, dialogue(instruction.text))])
        alone = greedy(UncachedGPT(model), prompt, eos_id=end, max_len=6)
        assert response == (tokenizer.decode(alone.ids[0]), bool(alone.finished))
    searches = [partial(sample, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    drawn = [answer(model, tokenizer, some, search, max_len=6) for search in searches]
    assert drawn[0] == drawn[1] != drawn[2]


def test_tuning_teaches_to_answer_and_to_stop(base, tmp_path):
    """One thing is learned by heart, as a small model can in seconds; both kinds of batches teach it."""
    told = [i for i in ask(60, seed=3, kinds=("refuse",))]
    before = None
    for make, loss in ((lambda items: ResponseBatches(items, 12), None), (lambda items: PackedBatches(items, 200, 6), packed_loss)):
        model, tokenizer, items = prepare(*base, told, demonstrate(told, None))
        before = before or report(told, answer(model.eval(), tokenizer, told, max_len=12))
        history = fit(model, make(items), steps=50, lr=1e-2, **({"loss": loss} if loss else {}))
        after = report(told, answer(model, tokenizer, told, max_len=12))
        assert before.stopped.value < 0.2 and after.stopped.value == after.exact.value == 1 and history.loss[-1] < 0.1 < history.loss[0]
        assert not model.training and next(model.parameters()).device.type == "cpu"
    path = save(model, tokenizer, tmp_path / "assistant.safetensors")
    loaded, again = load(path)
    assert again.vocabulary == tokenizer.vocabulary and answer(loaded, again, told[:5]) == answer(model, tokenizer, told[:5])


def test_the_cache_of_the_user_is_the_default(base, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="run chapter 12, which tunes and keeps it"):
        load()
    assert save(*base) == tmp_path / "assistant.safetensors" and load()[1].vocabulary == base[1].vocabulary
    (tmp_path / "assistant.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        load()


def test_kinds_come_in_their_shares():
    counts = Counter(i.kind for i in ask(1000, seed=8))
    share = 1000 / len(KINDS)
    assert all(abs(counts[kind] - share * KINDS.count(kind)) < 60 + 60 * (kind in ("answer", "refuse")) for kind in set(KINDS))


def test_a_new_kind_of_question_is_asked_in_known_words_and_the_judge_knows_it():
    asked = ask_whether_there(60, seed=3)
    known = {word for i in ask(1500, "train", seed=1) for word in stories.WordTokenizer.split(f"{i.text} {i.reference}")}
    assert {word for i in asked for word in stories.WordTokenizer.split(i.text)} <= known
    assert not {i.prompt for i in asked} & {i.prompt for i in ask(1500, "train", seed=1)}
    assert 15 < sum(i.reference.startswith("Yes.") for i in asked) < 45
    for i in asked:
        opposite = {"Yes": "No", "No": "Yes"}[i.reference.partition(".")[0]]
        assert judge(i, i.reference)[:2] == (1, 1) and judge(i, i.reference).well_formed == 1
        assert judge(i, f"{opposite}.").true == 0 and judge(i, f"{i.reference.partition('.')[0]}.").true == 1
