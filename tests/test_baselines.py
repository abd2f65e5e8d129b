"""Baselines against numbers computed by hand and against EM written as four nested loops."""

import math
import random
from collections import defaultdict

import pytest

from course_lib.baselines import IBMModel1, WordDictionary, diagonal_alignment, flip, symmetrise
from course_lib.data.tinytown import translation_pairs
from course_lib.metrics import alignment_error_rate

words = str.split
BOOKS = [(words("das Haus"), words("the house")),
         (words("das Buch"), words("the book")),
         (words("ein Buch"), words("a book"))]


def slow_em(pairs, iterations, null):
    """t[f, e] by the definition, one word at a time."""
    sentences = [(["NULL", *source] if null else source, target) for source, target in pairs]
    partners = defaultdict(set)
    for source, target in sentences:
        for e in source:
            partners[e] |= set(target)
    t = {(f, e): 1 / len(partners[e]) for e in partners for f in partners[e]}
    for _ in range(iterations):
        count, total = defaultdict(float), defaultdict(float)
        for source, target in sentences:
            for f in target:
                z = sum(t[f, e] for e in source)
                for e in source:
                    count[f, e] += t[f, e] / z
                    total[e] += t[f, e] / z
        t = {(f, e): c / total[e] for (f, e), c in count.items()}
    return t


def test_two_rounds_of_em_computed_by_hand():
    # Start: t(·|das) = t(·|Buch) = 1/3 over the, house, book and the, book, a; t(·|Haus) = t(·|ein) = 1/2.
    # Round 1. "das Haus": the and house each give das (1/3)/(1/3 + 1/2) = 2/5 and Haus 3/5.
    #          "das Buch": the and book each give das 1/2 and Buch 1/2.  "ein Buch": Buch 2/5, ein 3/5.
    # das gets the 2/5 + 1/2, house 2/5, book 1/2, together 9/5.
    one = IBMModel1.fit(BOOKS, iterations=1, null=False)
    assert [one.t(f, "das") for f in ("the", "house", "book")] == pytest.approx([1 / 2, 2 / 9, 5 / 18])
    assert [one.t(f, "Buch") for f in ("the", "book", "a")] == pytest.approx([5 / 18, 1 / 2, 2 / 9])
    assert [one.t(f, "Haus") for f in ("the", "house", "book")] == pytest.approx([1 / 2, 1 / 2, 0])
    # Round 2. "das Haus": the gives das 1/2; house gives das (2/9)/(2/9 + 1/2) = 4/13.
    #          "das Buch": the gives das (1/2)/(1/2 + 5/18) = 9/14, book gives das 5/14.
    the, house, book = 1 / 2 + 9 / 14, 4 / 13, 5 / 14
    two = IBMModel1.fit(BOOKS, iterations=2, null=False)
    assert two.t("the", "das") == pytest.approx(the / (the + house + book))
    assert two.t("house", "Haus") == pytest.approx((9 / 13) / (9 / 13 + 1 / 2))


def test_em_finds_the_words_that_belong_together():
    model = IBMModel1.fit(BOOKS, iterations=60)
    assert model.best_targets() == {"das": "the", "Haus": "house", "Buch": "book", "ein": "a"}
    assert min(model.t("the", "das"), model.t("book", "Buch")) > 0.9
    assert model.align(*BOOKS[1]) == {(0, 0), (1, 1)}


@pytest.mark.parametrize("null", [True, False])
def test_vectorised_em_equals_the_loops(null):
    draw = random.Random(5)
    pairs = [([draw.choice("abcdef") for _ in range(draw.randint(1, 6))],
              [draw.choice("uvwxyz") for _ in range(draw.randint(1, 6))]) for _ in range(40)]
    model, expected = IBMModel1.fit(pairs, 4, null=null), slow_em(pairs, 4, null)
    for e in [*"abcdef", *(["NULL"] if null else [])]:
        for f in "uvwxyz":
            assert model.t(f, None if e == "NULL" else e) == pytest.approx(expected.get((f, e), 0), rel=1e-9)
    if not null:
        assert model.t("u", None) == 0


def test_likelihood_never_falls_and_starts_where_it_should():
    pairs = [(pair.de, pair.en) for pair in translation_pairs(300, seed=2)]
    model = IBMModel1.fit(pairs, 12)
    assert all(b >= a - 1e-12 for a, b in zip(model.likelihoods, model.likelihoods[1:], strict=False))
    assert model.likelihoods[-1] - model.likelihoods[0] > 1
    one = IBMModel1.fit([(["a"], ["x", "y"])], 1, null=False)
    assert one.likelihoods == pytest.approx([math.log(1 / 2)])


def test_every_distribution_sums_to_one():
    model = IBMModel1.fit(BOOKS, 5)
    for e in ("das", "Haus", "Buch", "ein", None):
        assert sum(model.t(f, e) for f in ("the", "house", "book", "a")) == pytest.approx(1)


def test_unknown_words_and_null_get_no_link():
    pairs = [(words("x a"), words("p q")), (words("y b"), words("p r")), (words("z c"), words("p s"))]
    model = IBMModel1.fit(pairs, 30)
    links = model.align(words("x new a"), words("p other q"))       # p stands in all sentences: it is NULL's
    assert [i for i, _ in links] == [2]
    assert model.align(["new"], ["other"]) == frozenset()
    assert model.t("other", "x") == 0 and model.t("p", "new") == 0
    assert model.align(["x"], []) == model.align([], ["p"]) == frozenset()


def test_ties_go_to_the_leftmost_source_word():
    model = IBMModel1.fit([(words("a a b"), words("x x y")), (words("a"), words("x")),
                           (words("b"), words("y"))] * 2, 20)
    assert model.align(words("a a b"), words("x x y")) == {(0, 0), (1, 0), (2, 2)}


def test_diagonal():
    assert diagonal_alignment(4, 4) == {(i, i) for i in range(4)}
    assert diagonal_alignment(4, 2) == {(0, 1), (1, 3)}
    assert diagonal_alignment(2, 4) == {(0, 0), (1, 0), (2, 1), (3, 1)}
    for n_src, n_tgt in [(1, 1), (1, 9), (9, 1), (7, 5), (5, 7)]:
        links = diagonal_alignment(n_src, n_tgt)
        assert sorted(i for i, _ in links) == list(range(n_tgt))
        sources = [j for _, j in sorted(links)]
        assert sources == sorted(sources) and sources[0] >= 0 and sources[-1] < n_src


def test_symmetrise_by_hand():
    forward = frozenset({(0, 0), (1, 1), (2, 1), (4, 0)})
    backward = frozenset({(0, 0), (1, 1), (1, 2), (4, 4)})
    assert symmetrise(forward, backward, "intersection") == {(0, 0), (1, 1)}
    assert symmetrise(forward, backward, "union") == forward | backward
    # (2, 1) and (1, 2) touch (1, 1) and each brings a new word; (4, 0) and (4, 4) touch nothing
    assert symmetrise(forward, backward) == {(0, 0), (1, 1), (2, 1), (1, 2)}
    assert flip(flip(forward)) == forward and flip({(1, 2)}) == {(2, 1)}


def test_tinytown_ibm_1_is_far_better_than_the_diagonal_and_both_directions_are_better_still():
    pairs, held_out = translation_pairs(1500, seed=1), translation_pairs(200, seed=1, split="test")
    forward = IBMModel1.fit([(pair.de, pair.en) for pair in pairs])
    backward = IBMModel1.fit([(pair.en, pair.de) for pair in pairs])
    ahead = [forward.align(pair.de, pair.en) for pair in held_out]
    back = [flip(backward.align(pair.en, pair.de)) for pair in held_out]
    gold = [pair.alignment for pair in held_out]
    both = [symmetrise(a, b) for a, b in zip(ahead, back, strict=True)]
    diagonal = [diagonal_alignment(len(pair.de), len(pair.en)) for pair in held_out]
    errors = [alignment_error_rate(found, gold) for found in (both, ahead, diagonal)]
    assert errors[0] < errors[1] < 0.25 < 0.45 < errors[2]


def test_dictionary_translates_word_by_word_and_copies_what_it_does_not_know():
    dictionary = WordDictionary.fit(BOOKS, 30)
    assert dictionary.translate(words("ein Haus Mia")) == ["a", "house", "Mia"]
    assert WordDictionary({"ja": "yes"}).translate(["ja", "nein"]) == ["yes", "nein"]


@pytest.mark.parametrize("call, named", [
    (lambda: IBMModel1.fit([]), "pairs: got none"),
    (lambda: IBMModel1.fit([("ab", ["x"])]), "pairs: got"),
    (lambda: IBMModel1.fit([(["a"], ["x"]), (["a"], [])]), r"pairs: got .* at 1"),
    (lambda: IBMModel1.fit(BOOKS, 0), "iterations: got 0"),
    (lambda: diagonal_alignment(0, 3), "n_src, n_tgt: got 0 and 3"),
    (lambda: symmetrise(frozenset(), frozenset(), "grow"), "method: got 'grow'"),
])
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match="^" + named):
        call()
