"""Instructions, the judge and the simulated labeller."""

from collections import Counter

import pytest

from course_lib.data.tinytown import Labeller, Responder, Scores, instructions, judge, parse
from course_lib.data.tinytown.instructions import HELD_OUT, KINDS, REFUSAL
from course_lib.data.tinytown.judge import POLITE_ENDINGS, POLITE_OPENINGS, RUDE


@pytest.fixture(scope="module")
def asked():
    return instructions(1200, seed=9)


def one(kind, seed=2, **conditions):
    """The first instruction of a kind for which the conditions on its fields hold."""
    return next(i for i in instructions(200, seed=seed, kinds=(kind,))
                if all(getattr(i, field) == value for field, value in conditions.items()))


def test_all_kinds_come_in_equal_parts(asked):
    counts = Counter(i.kind for i in asked)
    assert set(counts) == set(KINDS) and min(counts.values()) > 150


def test_references_are_perfect(asked):
    for i in asked:
        s = judge(i, i.reference)
        assert (s.true, s.relevant, s.brief, s.well_formed) == (1, 1, 1, 1), (i.text, i.reference, s)
        assert s.polite == (1.0 if i.kind in ("polite", "refuse") else 0.5)


def test_wrong_responses_are_well_formed_but_not_true(asked):
    responder = Responder(3)
    for i in asked:
        response = responder.respond(i, true=False)
        s = judge(i, response)
        assert s.true < 1 and s.well_formed == 1, (i.text, response, s)


def test_manners_and_length_are_seen_and_do_not_change_the_rest(asked):
    responder = Responder(4)
    for i in asked[:400]:
        plain, polite, rude, long = (judge(i, responder.respond(i, polite=p, brief=b))
                                     for p, b in ((None, True), (True, True), (False, True), (None, False)))
        assert polite.polite == 1 and rude.polite == 0 and polite.brief == 1
        assert plain.true == polite.true == rude.true == long.true == 1, i.text
        assert long.brief < 1 and long.well_formed == 1


def test_short_answers_count():
    who = one("answer", detail="answer: who has")
    name = who.question.answer[0]
    assert judge(who, f"{name}.")[:2] == (1, 1)
    other = next(p for p in ("Mia", "Tom", "Ben") if p != name)
    assert judge(who, f"{other}.")[:2] == (0, 1)
    where = one("answer", detail="answer: where")
    assert judge(where, " ".join(where.question.answer).capitalize() + ".")[:2] == (1, 1)
    yes_no = one("answer", detail="answer: yes/no")
    right = yes_no.question.answer[0]
    assert judge(yes_no, f"{right}.").true == 1 and judge(yes_no, {"Yes": "No.", "No": "Yes."}[right]).true == 0


def test_beside_the_point():
    i = one("answer", detail="answer: who has")
    assert judge(i, REFUSAL).true == 0
    aside = next(t for t in (" ".join(s) for s in i.story.en) if "has" not in t and "had" not in t)
    assert judge(i, aside.replace(" .", ".")).relevant == 0
    refuse = one("refuse")
    assert judge(refuse, REFUSAL).true == 1 and judge(refuse, "Mia has the umbrella.").true == 0
    assert judge(refuse, f"{REFUSAL} {Responder(0).wrong(refuse)}").true == 0  # refuses, and then claims


@pytest.mark.parametrize("text", ["", " ", "...", "asdf", "Mia Mia Mia", "?", "the the the.", "Yes", "!!!"])
def test_any_text_can_be_judged(asked, text):
    for i in asked[:60]:
        s = judge(i, text)
        assert all(0 <= x <= 1 for x in s) and s.true == 0 and s.well_formed < 1


def test_translations_are_judged_by_meaning():
    i = one("translate", language="de")
    assert judge(i, i.reference).true == 1
    assert judge(i, i.prompt.partition(": ")[2]).true == 0  # still English
    assert parse(i.reference, "de") == i.sentence


def test_manners_are_neither_claims_nor_too_long():
    i = one("answer", detail="answer: who has")
    assert judge(i, f"{POLITE_OPENINGS[0]} {i.reference} {POLITE_ENDINGS[0]}") == Scores(1, 1, 1, 1, 1)
    assert judge(i, f"{RUDE[0]} {i.reference}").polite == 0
    assert judge(i, POLITE_ENDINGS[0]).true == 0


def test_splits():
    found = {split: instructions(150, seed=5, split=split) for split in ("train", "test", "unseen")}
    assert {i.detail for i in found["unseen"]} == set(HELD_OUT)
    assert not {i.detail for i in found["train"] + found["test"]} & set(HELD_OUT)
    assert not {i.text for i in found["train"]} & {i.text for i in found["test"]}


@pytest.mark.parametrize("arguments, name", [({"kinds": ("sing",)}, "kinds"), ({"kinds": ()}, "kinds"), ({"split": "x"}, "split"),
                                             ({"seed": -2}, "seed"), ({"kinds": ("refuse",), "split": "unseen"}, "kinds")])
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        instructions(1, **arguments)


def test_a_labeller_without_noise_prefers_the_better(asked):
    labeller, responder = Labeller(temperature=0), Responder(1)
    for i in asked[:200]:
        good, bad = responder.respond(i, polite=True), responder.respond(i, true=False, polite=False, brief=False)
        assert labeller.prefer(i, good, bad) == 0 and labeller.prefer(i, bad, good) == 1


def test_preferences_follow_bradley_and_terry(asked):
    i = one("answer", detail="answer: who has")
    better, worse = f"{i.reference} Have a nice day!", i.reference
    labeller = Labeller(noise=0.1, seed=3, temperature=1.0)
    gap = labeller.utility(i, better) - labeller.utility(i, worse)
    assert gap == pytest.approx(0.75)
    p = 0.1 + 0.8 / (1 + 2.718281828 ** -gap)
    assert labeller.probability(i, better, worse) == pytest.approx(p)
    assert labeller.probability(i, better, worse) + labeller.probability(i, worse, better) == pytest.approx(1)
    wins = sum(labeller.prefer(i, better, worse) == 0 for _ in range(4000)) / 4000
    assert abs(wins - p) < 0.03


def test_a_labeller_can_be_taken_in(asked):
    i = one("answer", detail="answer: who has")
    plain, shouted = i.reference, f"{POLITE_OPENINGS[0]} {i.reference}"
    fond = Labeller(likes={"!": 5.0})
    assert fond.utility(i, shouted) - Labeller().utility(i, shouted) == pytest.approx(5)
    assert fond.probability(i, "Leave me alone!", plain) > Labeller().probability(i, "Leave me alone!", plain)


def test_seeds_repeat():
    i = one("answer")
    draws = [[Labeller(noise=0.3, seed=s).prefer(i, i.reference, "No.") for _ in range(1)] for s in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert Responder(5).candidates(i, 6) == Responder(5).candidates(i, 6)
    assert len(set(Responder(5).candidates(i, 12))) > 3


@pytest.mark.parametrize("arguments, name", [({"noise": 0.6}, "noise"), ({"temperature": -1}, "temperature"),
                                             ({"seed": -1}, "seed")])
def test_bad_labellers_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        Labeller(**arguments)
