"""Every sentence parses back to its meaning, in both languages, and what is not a sentence does not parse."""

from random import Random

import pytest

from course_lib.data.tinytown import parse
from course_lib.data.tinytown.pairs import draw_sentences, to_pair
from course_lib.data.tinytown.realise import realise

N = 15_000  # 100,000 of each were run too; see the closing note


@pytest.fixture(scope="module")
def drawn():
    return [(s, to_pair(s)) for s, _ in zip(draw_sentences(seed=21), range(N))]


@pytest.mark.parametrize("language", ["en", "de"])
def test_parsing_undoes_generation(drawn, language):
    for sentence, pair in drawn:
        assert parse(getattr(pair, language), language) == sentence, pair.en_text


def test_text_parses_as_its_tokens_do(drawn):
    for sentence, pair in drawn[:300]:
        assert parse(pair.en_text) == sentence
        assert parse(pair.de_text, "de") == sentence


@pytest.mark.parametrize("language", ["en", "de"])
def test_damaged_sentences_are_rejected_or_are_other_sentences(drawn, language):
    draw = Random(5).random
    rejected = 0
    for _, pair in drawn[:3000]:
        tokens = list(getattr(pair, language))
        i, j = int(draw() * len(tokens)), int(draw() * len(tokens))
        kind = int(draw() * 3)
        if kind == 0:
            del tokens[i]
        elif kind == 1:
            tokens[i], tokens[j] = tokens[j], tokens[i]
        else:
            tokens.insert(i, tokens[j])
        sentence = parse(tokens, language)
        rejected += sentence is None
        if sentence is not None:
            text = realise(sentence)
            assert (text.de if language == "de" else text.en) == tokens
    assert rejected > 2000


@pytest.mark.parametrize("language", ["en", "de"])
def test_word_salad_raises_nothing(drawn, language):
    words = sorted({w for _, pair in drawn[:2000] for w in getattr(pair, language)})
    draw = Random(6).random
    for _ in range(5000):
        tokens = [words[int(draw() * len(words))] for _ in range(3 + int(draw() * 9))]
        tokens[0] = tokens[0][0].upper() + tokens[0][1:]
        sentence = parse([*tokens, ".?!"[int(draw() * 3)]], language)
        assert (
            sentence is None
            or (realise(sentence).de if language == "de" else realise(sentence).en)[:-1] == tokens
        )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "Mia",
        "Mia.",
        "the ball slept.",
        "Mia found a apple.",
        "Mia found ball.",
        "Mia are tired.",
        "Mia found the ball",
        "The the ball slept.",
        "Mia and found.",
        "Because.",
        "Mia found a balls.",
        "Mia wants open the door.",
        "Yesterday Mia find the ball.",
        "? ? ?",
        "Mia that that.",
        "Mia thinks that.",
        "Mia said the ball.",
        "Mia slept the ball.",
        "Mia is.",
        "Mia put the ball.",
        "Mia slept tired.",
        "Mia was quickly.",
    ],
)
def test_what_is_not_english_is_none(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Mia hat der Ball gefunden.",
        "Mia hat gefunden den Ball.",
        "Gestern Mia hat den Ball gefunden.",
        "Mia hat den roter Ball gefunden.",
        "Mia ist den Ball gefunden.",
        "Mia macht die Tür.",
        "Mia hat geschlafen, weil sie war müde.",
        "Mia hat das Ball gefunden.",
        "Mia haben geschlafen.",
        "Mia hat nicht einen Ball gefunden.",
    ],
)
def test_what_is_not_german_is_none(text):
    assert parse(text, "de") is None


def test_unknown_language_is_named():
    with pytest.raises(ValueError, match="language"):
        parse("Mia slept.", "fr")
