"""The world, the stories and the questions about them."""

from collections import Counter

import pytest

from course_lib.data.tinytown import Settings, check_story, parse, questions, stories
from course_lib.data.tinytown.pairs import detokenise
from course_lib.data.tinytown.realise import realise

# What a careful reader says of each sentence: + fits, - contradicts what was said, T a known truth, F a known falsehood.
READ = [
    ("Mia had the ball. Mia gave Tom the ball. Tom has the ball. Mia has the ball.", "+ + T F"),
    ("Mia had the ball. Mia does not have the ball. Tom does not have the ball.", "+ F T"),
    ("Mia had the ball. Tom gave Ben the ball.", "+ -"),
    ("Mia lost the key in the park. The key is in the park. Mia is sad. Mia laughed.", "+ T T -"),
    ("Tom put the book on the table. The book is on the table. Tom has the book. The book is in the box.", "+ T F F"),
    ("Tom was in the garden. Mia was in the kitchen. Tom had the cup. Tom gave Mia the cup.", "+ + + -"),
    ("Tom was in the garden. Tom went into the kitchen. Tom is in the kitchen. Tom is in the garden.", "+ + T F"),
    ("Tom was in the garden. Tom had the cup. Tom went to the park. The cup is in the park.", "+ + + T"),
    ("The box was closed. Mia opened the box. The box is open. Mia opened the box.", "+ + T -"),
    ("The box was closed. Mia put the ball into the box.", "+ -"),
    ("Anna had an apple. Anna ate the apple. Anna has the apple. Anna ate the apple.", "+ + F -"),
    ("Leo had the lamp. Leo broke the lamp. The lamp is broken. Ben repaired the lamp. The lamp is broken.", "+ + T + F"),
    ("Leo had the hat. Ben took the hat. Leo is angry. Leo is happy. Ben has the hat.", "+ + T F T"),
    ("Leo had the hat. Ben threw away the hat.", "+ -"),
    ("Leo had a red hat. Leo lost the blue hat.", "+ -"),
    ("Leo had a hat. He gave Ida the hat. She has the hat. He has the hat.", "+ + T F"),
    ("Leo slept because he was tired. Leo did not have the hat. Who has the hat? Take the hat!", "+ + + +"),
    ("Ida gave Leo the hat after Ida had found the hat. Leo has the hat.", "+ T"),
    ("Leo and Ida were in the park. Ida went to the market. Leo is in the park. Ida is in the park.", "+ + T F"),
    ("Leo knows that Ida has the hat. Ida has the hat. Tom has the hat.", "+ T F"),
]


@pytest.mark.parametrize("text, expected", READ)
def test_the_world_reads_as_a_careful_reader_does(text, expected):
    signs = []
    for check in check_story(text):
        assert check.grammatical, check.sentence
        signs.append({True: "T", False: "F", None: "+" if check.consistent else "-"}[check.asserted])
    assert " ".join(signs) == expected


def test_what_is_not_grammatical_is_said_and_changes_nothing():
    checks = check_story("Mia had the ball. Mia given Tom ball. Mia has the ball.")
    assert [(c.grammatical, c.consistent) for c in checks] == [(True, True), (False, False), (True, True)]
    assert check_story("") == []


@pytest.fixture(scope="module")
def told():
    return stories(1500, seed=4)


def test_stories_are_consistent_in_both_languages(told):
    for story in told:
        assert 4 <= len(story.en) <= 10 and len(story.en) == len(story.de) == len(story.states)
        for text, language in ((story.text, "en"), (story.text_de, "de")):
            checks = check_story(text, language)
            assert len(checks) == len(story.en) and all(c.grammatical and c.consistent for c in checks), text
            assert all(checks[k].asserted for k, true in story.closing), text
            assert all(true for _, true in story.closing)


def test_sentences_of_stories_are_translation_pairs(told):
    for story in told[:100]:
        assert tuple(p.en for p in story.pairs) == story.en and tuple(p.de for p in story.pairs) == story.de
        assert all(len(t) == len(e) for t, e in zip(story.tags, story.en, strict=True))


def test_labels(told):
    story = next(s for s in told if "lost" in s.text)
    k = next(k for k, tokens in enumerate(story.en) if "lost" in tokens)
    assert story.sentiments[k] == "negative" and story.en[k][-1] == "." and story.tags[k][0] == "person"
    moods = Counter(s.sentiment for s in told)
    assert min(moods[m] for m in ("positive", "negative", "neutral")) > 0.15 * len(told), moods
    tags = {word: tag for s in told for sentence, row in zip(s.en, s.tags, strict=True)
            for word, tag in zip(sentence, row, strict=True)}
    assert tags["Mia"] == "person" and tags["ball"] == "thing" and tags["garden"] == "place" and tags["gave"] == "O"


def test_false_closing_lines_are_false_and_marked():
    marked = Counter()
    for story in stories(500, seed=6, settings=Settings(false_closing=0.5)):
        checks = check_story(story.text)
        for k, true in story.closing:
            assert checks[k].asserted is true
            marked[true] += 1
    assert min(marked.values()) > 150


def test_pronouns_in_stories_stand_for_the_last_subject():
    found = stories(400, seed=7, settings=Settings(pronouns=0.8))
    assert sum(" He " in s.text or " She " in s.text for s in found) > 100
    for story in found:
        assert all(c.consistent for c in check_story(story.text))
        assert all(c.consistent for c in check_story(story.text_de, "de"))


def test_size_and_vocabulary_follow_the_settings():
    tiny = stories(300, seed=1, settings=Settings(people=(2, 2), things=(1, 1), events=(2, 2), names=4, nouns=4, places=2,
                                                  adjectives=0))
    assert max(len(s.en) for s in tiny) <= 7
    words = {w for s in tiny for tokens in s.en for w in tokens}
    assert len(words) < 75 and len({w for s in stories(300, seed=1) for t in s.en for w in t}) > len(words)


def test_splits_of_stories_are_disjoint():
    found = {split: {s.text for s in stories(300, seed=3, split=split)} for split in ("train", "valid", "test")}
    assert not found["train"] & found["test"] and not found["train"] & found["valid"] and not found["test"] & found["valid"]


@pytest.mark.parametrize("arguments, name", [({"people": (0, 2)}, "people"), ({"names": 1}, "names"),
                                             ({"pronouns": 2}, "pronouns"), ({"events": (3, 2)}, "events")])
def test_bad_settings_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        Settings(**arguments)


@pytest.mark.parametrize("arguments, name", [({"split": "longer"}, "split"), ({"seed": -1}, "seed"), ({"n": -1}, "n")])
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises(ValueError, match=name):
        stories(**{"n": 1, **arguments})


def test_questions_are_answered_by_the_story(told):
    kinds, answers = Counter(), Counter()
    for story in told[:600]:
        for q in questions(story):
            kinds[q.kind] += 1
            assert parse(q.text) == q.asked and parse(q.text_de, "de") == q.asked
            if q.span is not None:
                assert story.en[q.span.sentence][q.span.start:q.span.end] == q.answer
                assert story.de[q.span_de.sentence][q.span_de.start:q.span_de.end] == q.answer_de
            if q.kind in ("who has", "where", "yes/no"):
                check = check_story(f"{story.text} {detokenise(realise(q.full).en)}")[-1]
                assert check.asserted is True, (story.text, q.text)
                answers[q.answer[0]] += q.kind == "yes/no"
            if q.kind == "unanswerable":
                np = q.asked.clauses[0].obj or q.asked.clauses[0].subj
                assert all(np.cases[0].en[-1] not in tokens for tokens in story.en) and q.full is None and q.answer == ()
    assert set(kinds) == {"who has", "where", "who did", "did what", "yes/no", "unanswerable"} and min(kinds.values()) > 100
    assert min(answers["Yes"], answers["No"]) > 500
