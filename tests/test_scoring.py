"""Scores of answers and entities: against seqeval, against sums by hand, and what is ill-formed."""

import random
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from course_lib.scoring import answer_scores, entities, entity_scores, plain_answer

TAGS = ["O", "B-person", "I-person", "B-place", "I-place", "B-creative-work", "I-creative-work"]
tags = st.lists(st.sampled_from(TAGS), max_size=9)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(tags)
def test_entities_are_those_of_seqeval_also_where_tags_are_ill_formed(sentence):
    assert entities(sentence) == {(start, end + 1, kind) for kind, start, end in get_entities(sentence)}


@pytest.mark.parametrize("seed", range(30))
def test_scores_are_those_of_seqeval(seed):
    rng = random.Random(seed)
    right = [rng.choices(TAGS, k=rng.randint(0, 8)) for _ in range(rng.randint(1, 12))]
    predicted = [[tag if rng.random() < 0.7 else rng.choice(TAGS) for tag in sentence] for sentence in right]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                 # seqeval warns of a share of nothing
        expected = [score(right, predicted) for score in (precision_score, recall_score, f1_score)]
    assert entity_scores(predicted, right) == pytest.approx(expected, abs=1e-12)


def test_an_entity_is_right_with_its_exact_words_and_type_alone():
    right = [["B-person", "I-person", "O", "B-place"]]
    assert entity_scores(right, right) == (1, 1, 1)
    assert entity_scores([["B-person", "O", "O", "B-place"]], right) == (0.5, 0.5, 0.5)
    assert entity_scores([["B-place", "I-place", "O", "B-place"]], right) == (0.5, 0.5, 0.5)
    assert entity_scores([["B-person", "B-person", "O", "O"]], right) == (0, 0, 0)
    assert entity_scores([["O"] * 4], right) == (0, 0, 0) and entity_scores([["O"]], [["O"]]) == (0, 0, 0)
    assert entity_scores([["O", "O", "O", "B-place"]], right) == pytest.approx((1, 0.5, 2 / 3))


def test_the_same_entity_in_two_sentences_counts_twice():
    assert entity_scores([["B-a"], ["O"]], [["B-a"], ["B-a"]]) == pytest.approx((1, 0.5, 2 / 3))


@pytest.mark.parametrize("tag", ["person", "B", "B-", "I-", "X-person", "", "O-person", "b-person", "-person"])
def test_an_unknown_tag_is_named(tag):
    with pytest.raises(ValueError, match=f"tags: got {tag!r}, expected O, B- or I- with a type"):
        entities(["O", tag])


@pytest.mark.parametrize("text, plain", [
    ("The  Red-Box.", "redbox"), ("A man, an apple and the sea", "man apple and sea"), ("theatre", "theatre"), ("the a an", ""),
    ("", ""), ("$5.00 — it’s", "500 — it’s"), ("An\tA\nX", "x"), ("the-box", "thebox"), ("(a) b", "b")])
def test_plain_answers_are_those_of_squads_script(text, plain):
    assert " ".join(plain_answer(text)) == plain


@pytest.mark.parametrize("predicted, right, exact, f1", [
    ("the red ball", ["ball", "blue ball"], 0, 2 / 3), ("The Ball!", ["a ball"], 1, 1), ("ball", ["box"], 0, 0),
    ("ball ball", ["ball"], 0, 2 / 3), ("ball ball box", ["ball box box"], 0, 2 / 3), ("x", ["y", "X."], 1, 1),
    ("", [], 1, 1), ("the", [], 1, 1), ("box", [], 0, 0), ("", ["box"], 0, 0), ("the", ["a"], 1, 1), ("box", [""], 0, 0)])
def test_one_answer(predicted, right, exact, f1):
    assert answer_scores([predicted], [right]) == pytest.approx((exact, f1))


def naive_f1(a, b):
    """Common words struck out one by one."""
    left, common = list(b), 0
    for word in a:
        if word in left:
            left.remove(word)
            common += 1
    if not a or not b:
        return float(a == b)
    precision, recall = common / len(a), common / len(b)
    return 0.0 if common == 0 else 2 * precision * recall / (precision + recall)


texts = st.lists(st.sampled_from(["red", "ball", "Box", "the", "a", "in,", "-"]), max_size=5).map(" ".join)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(texts, st.lists(texts, max_size=3)), min_size=1, max_size=4))
def test_scores_are_means_of_the_best_answer_of_each_question(asked):
    exact = f1 = 0
    for text, right in asked:
        mine, theirs = plain_answer(text), [plain_answer(other) for other in right] or [[]]
        exact += any(mine == other for other in theirs)
        f1 += max(naive_f1(mine, other) for other in theirs)
    predicted, right = zip(*asked)
    assert answer_scores(predicted, right) == pytest.approx((exact / len(asked), f1 / len(asked)))


@pytest.mark.parametrize("score", [answer_scores, entity_scores])
def test_lists_that_do_not_match_are_named(score):
    with pytest.raises(ValueError, match="predicted, right: got 1 and 2 items, expected equally many and at least one"):
        score([["O"]], [["O"], ["O"]])
    with pytest.raises(ValueError, match="predicted, right: got 0 and 0 items"):
        score([], [])


def test_sentences_that_do_not_match_are_named():
    with pytest.raises(ValueError, match="predicted: got 1 tags in sentence 1, expected 2"):
        entity_scores([["O"], ["O"]], [["O"], ["O", "O"]])
