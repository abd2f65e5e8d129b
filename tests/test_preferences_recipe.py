"""The recipe of preferences: what is compared and how, what a score reads, what practice may change, and who wins."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from course_lib.alignment.chat import Response
from course_lib.alignment.policy import joined, response_log_probs, rollout
from course_lib.alignment.reward import collate_preferences
from course_lib.data.tinytown.judge import judge
from course_lib.data.tinytown.labeller import Labeller, Responder
from course_lib.metrics import wilson_interval
from course_lib.recipes import assistant, preferences, stories
from course_lib.recipes.larger import can_be_completed, in_its_own_way
from course_lib.recipes.preferences import Compared

ASKED = assistant.ask(40, "test", seed=3)


@pytest.fixture(scope="module")
def sft():
    corpus = stories.prepare(300, 2)
    base = stories.build(corpus, d_model=32, n_heads=2, n_layers=1)
    demonstrated = assistant.demonstrate(ASKED, 0.5) + assistant.demonstrate(ASKED, 0.5, seed=1)
    model, tokenizer, _ = assistant.prepare(base, corpus.tokenizer, ASKED, assistant.demonstrate(ASKED, None), demonstrated)
    return model.eval(), tokenizer, assistant.TEMPLATE.marks(tokenizer)["end"]


@pytest.fixture(scope="module")
def pairs():
    """Comparisons of written answers, good and bad ones."""
    writer = Responder(0)
    return preferences.compare([(i, *writer.candidates(i, 2)) for i in ASKED], Labeller(0.1, seed=1))


def test_what_two_answers_differ_in():
    asked = next(i for i in ASKED if i.detail == "answer: who did")
    true, false = asked.reference, Responder(0).respond(asked, true=False)
    assert Compared(asked, f"Gladly! {true}", true).differs() == "style" and Compared(asked, true, false).differs() == "truth"
    assert Compared(asked, f"Gladly! {true}", false).differs() == "both" and Compared(asked, true, true).differs() == ""


def test_a_labeller_without_noise_puts_the_better_answer_first():
    writer = Responder(1)
    answers = [(i, *writer.candidates(i, 2)) for i in ASKED]
    for pair in preferences.compare(answers, Labeller(temperature=0)):
        assert preferences.utility(pair.asked, pair.chosen) >= preferences.utility(pair.asked, pair.rejected)


def test_a_score_that_reads_finds_the_question_by_its_prompt(sft):
    _, tokenizer, end = sft
    texts = [Responder(2).candidates(i, 1)[0] for i in ASKED]
    ids, mask = joined(preferences.prompt_ids(tokenizer, ASKED), [[*tokenizer.encode(text), end] for text in texts])
    found = preferences.judged(tokenizer, ASKED, lambda i, text: judge(i, text).true)(ids, mask)
    assert found.tolist() == pytest.approx([judge(i, text).true for i, text in zip(ASKED, texts)])
    with pytest.raises(KeyError):
        preferences.judged(tokenizer, ASKED[1:])(ids, mask)


def test_rewards_are_standardised_and_margins_are_differences_of_rewards(sft, pairs):
    model, tokenizer, _ = sft
    comparisons = preferences.as_ids(tokenizer, pairs)
    reward, history = preferences.fit_reward(model, comparisons, steps=2, batch_size=8)
    batch = collate_preferences(comparisons)
    with torch.no_grad():
        rewards = reward.score(*batch.both())
    assert rewards.mean().item() == pytest.approx(0, abs=1e-4) and rewards.std(correction=0).item() == pytest.approx(1, abs=1e-3)
    assert preferences.margins(reward, comparisons, batch_size=7) == pytest.approx((rewards[:40] - rewards[40:]).numpy(), abs=1e-4)
    assert len(history.loss) == 2 and history.loss[0] == pytest.approx(math.log(2), abs=1e-5)               # it begins at 0 everywhere


@pytest.mark.parametrize("way", ["ppo", "group", "dpo"])
def test_practice_moves_a_copy_and_leaves_the_assistant_alone(sft, pairs, way):
    model, tokenizer, end = sft
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batches = preferences.prompt_batches(tokenizer, ASKED, 4, steps=2, seed=1)
    score = preferences.judged(tokenizer, ASKED)
    policy, logs = {"ppo": partial(preferences.by_ppo, model, score, batches, end),
                    "group": partial(preferences.by_group, model, score, batches, end, size=4),
                    "dpo": partial(preferences.by_dpo, model, preferences.as_ids(tokenizer, pairs), steps=2)}[way]()
    assert len(logs) == 2 and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert any(not torch.equal(a, b) for a, b in zip(policy.parameters(), model.parameters()))


def test_batches_of_prompts_repeat_and_hold_no_prompt_twice(sft):
    _, tokenizer, _ = sft
    first, again = (list(preferences.prompt_batches(tokenizer, ASKED, 30, 3, seed=4)) for _ in range(2))
    assert first == again and len(first) == 3
    known = [tuple(prompt) for prompt in preferences.prompt_ids(tokenizer, ASKED)]
    if len(set(known)) == len(known):
        assert all(len({*map(tuple, batch)}) == 30 for batch in first)


def test_distance_is_the_mean_of_k1_up_to_chance_and_zero_from_itself(sft):
    model, tokenizer, end = sft
    prompts = preferences.prompt_ids(tokenizer, ASKED)
    assert preferences.distance(model, model, prompts, end) == pytest.approx(0, abs=1e-4)
    moved = preferences.by_dpo(model, [(p, [5, end], [6, end]) for p in prompts], steps=3, lr=3e-3)[0]
    said = rollout(moved, prompts * 10, max_new=preferences.MAX_NEW, eos_id=end, generator=torch.Generator().manual_seed(5))
    k1 = (said.log_probs - response_log_probs(model, said.ids, said.response_mask)).sum(1).detach()
    error = k1.std().item() / len(k1)**0.5
    assert abs(preferences.distance(moved, model, prompts * 3, end, batch_size=50) - k1.mean().item()) < 5 * error + 0.05
    assert k1.mean() > 3 * error                                                        # it did move


def test_who_wins():
    good, bad = ([Response(text(i), True) for i in ASKED] for text in (lambda i: i.reference, lambda i: "Find out yourself!"))
    assert preferences.win_rate(ASKED, good, bad).value == 1 and preferences.win_rate(ASKED, bad, good).value == 0
    tie = preferences.win_rate(ASKED, good, good)
    assert tie.value == 0.5 and tie[1:] == wilson_interval(20, 40)
    half = preferences.win_rate(ASKED, good[:10] + bad[10:], good)
    assert half.value == pytest.approx((5 + 0) / 40)                                    # ten ties, thirty losses
    with pytest.raises(ValueError, match="mine, theirs: got 39 and 40"):
        preferences.win_rate(ASKED, good[1:], good)


def test_a_storyteller_completes_what_it_is_asked(sft):
    model, tokenizer, _ = sft
    some = [i for i in assistant.ask(300, "test", seed=8) if can_be_completed(i)]
    assert len(some) > 20 and {i.question.kind for i in some} == {"who has", "where"}
    said = in_its_own_way(model, tokenizer, some)
    assert all(judge(i, response.text).well_formed == 1 and judge(i, response.text).relevant == 1 for i, response in zip(some, said))
    assert 0 < np.mean([judge(i, response.text).true for i, response in zip(some, said)]) < 0.5             # untrained: by chance
