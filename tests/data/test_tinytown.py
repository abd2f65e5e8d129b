"""Tinytown's translation pairs: alignment, function in both directions, splits, sizes, determinism."""

import pytest

from course_lib.data.tinytown import iterate_pairs, parse, translation_pairs
from course_lib.data.tinytown.pairs import combinations
from course_lib.data.tinytown.tables import held_out


@pytest.fixture(scope="module")
def pairs():
    return translation_pairs(20_000, seed=11)


def test_translation_is_a_function_both_ways(pairs):
    there, back = {}, {}
    for p in pairs:
        assert there.setdefault(p.en, p.de) == p.de
        assert back.setdefault(p.de, p.en) == p.en


def test_alignment_is_in_range_and_ends_meet(pairs):
    for p in pairs:
        assert all(0 <= i < len(p.en) and 0 <= j < len(p.de) for i, j in p.alignment)
        assert (len(p.en) - 1, len(p.de) - 1) in p.alignment


def test_coreference_names_the_same_words_in_both_languages(pairs):
    found = [p for p in pairs if p.coreference]
    assert len(found) > 1000
    for p in found:
        for pronoun_en, head_en, pronoun_de, head_de in p.coreference:
            assert p.en[pronoun_en].lower() in ("he", "she", "it", "they", "him", "her", "them")
            assert p.de[pronoun_de].lower() in ("er", "sie", "es", "ihn", "ihm", "ihr", "ihnen")
            assert (pronoun_en, pronoun_de) in p.alignment and (head_en, head_de) in p.alignment


def test_splits_are_disjoint_and_sized(pairs):
    train = {p.en for p in pairs}
    for split, low, high in (("valid", 3, 25), ("test", 3, 25), ("longer", 13, 25), ("unseen", 3, 25)):
        other = translation_pairs(300, seed=5, split=split, max_words=12 if split == "longer" else None)
        assert len({p.en for p in other}) == 300
        assert not train & {p.en for p in other}
        assert all(low <= len(p.en) <= high for p in other)


def words_together(tokens):
    """The combinations of words in an English sentence that can be held out."""
    return combinations(parse(tokens))


def test_held_out_combinations_are_in_no_other_split(pairs):
    for split in ("train", "valid", "test"):
        for p in pairs[:6000] if split == "train" else translation_pairs(300, seed=8, split=split):
            assert not any(held_out(a, b) for a, b in words_together(p.en)), p.en_text
    for p in translation_pairs(300, seed=8, split="unseen"):
        assert any(held_out(a, b) for a, b in words_together(p.en)), p.en_text


def test_words_of_held_out_combinations_are_in_training(pairs):
    known = {w.lower() for p in pairs for w in p.en}
    unseen = {w.lower() for p in translation_pairs(1000, seed=8, split="unseen") for w in p.en}
    assert len(unseen - known) <= 2, unseen - known


def test_every_length_is_there(pairs):
    sizes = [
        sum(low <= len(p.en) <= high for p in pairs)
        for low, high in ((3, 6), (7, 10), (11, 14), (15, 18), (19, 25))
    ]
    assert min(sizes) > 0.1 * len(pairs), sizes
    assert {len(p.en) for p in pairs} == set(range(3, 26))


def test_same_seed_same_pairs():
    assert translation_pairs(50, seed=3) == translation_pairs(50, seed=3)
    assert translation_pairs(50, seed=3) != translation_pairs(50, seed=4)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"split": "tset"}, "split"),
        ({"seed": -1}, "seed"),
        ({"min_words": 2}, "min_words"),
        ({"max_words": 26}, "max_words"),
        ({"split": "longer"}, "max_words"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        next(iterate_pairs(**arguments))
