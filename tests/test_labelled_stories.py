"""The labels of Tinytown's tasks are true: a second reading of the texts, by parser and world, comes to the same."""

from collections import Counter
from itertools import islice

import pytest

from course_lib.data.tinytown import World, check_story
from course_lib.data.tinytown.pairs import detokenise
from course_lib.data.tinytown.settings import OPENABLE, PEOPLE, PLACES, SURFACES, THINGS
from course_lib.recipes import labelled_stories as tasks
from course_lib.recipes import word_counts
from course_lib.recipes.stories import SETTINGS

N = 180
DRAWS = (tasks.pairs, tasks.sentiments, tasks.answers, tasks.tags)
PAIRS, MOODS, ANSWERS, TAGS = (tasks.take(draw, N, seed=7) for draw in DRAWS)


def read(*words) -> tuple[World, list]:
    """What is so after a text, and what is thought of each of its sentences."""
    world = World()
    return world, check_story(" ".join(detokenise(part) for part in words), world=world)


def test_a_line_follows_contradicts_or_is_open_for_who_reads_the_story():
    for premise, line, label in PAIRS:
        _, checks = read(premise, line)
        assert all(check.consistent for check in checks[:-1])           # the story alone holds together
        assert {True: "follows", False: "contradicts", None: "open"}[checks[-1].asserted] == label
        assert checks[-1].grammatical and detokenise(line) not in detokenise(premise)


def test_each_kind_of_line_comes_with_each_label_equally_often():
    kinds = Counter((kind(line), label) for _, line, label in PAIRS)
    assert len(kinds) == 18 and set(kinds.values()) == {N // 18}
    assert max(Counter(label for *_, label in PAIRS[:50]).values()) <= 18
    used = Counter((line, label) for _, line, label in PAIRS)
    assert all(used[line, label] <= 2 + min(used[line, other] for other in tasks.LABELS) for line, label in used)


def kind(line) -> str:
    if "has" in line:
        return "has"
    if line[0] in PEOPLE:
        return "mood" if len(line) == 4 else "place"
    return "open" if line[1] in OPENABLE else "thing" if line[-2] in PLACES else "spot"


def test_the_line_alone_says_next_to_nothing_and_the_story_with_it_something():
    seen, asked = tasks.take(tasks.pairs, 450), PAIRS
    alone = [[example._replace(first=()) for example in part] for part in (seen, asked)]
    right = [example.label for example in asked]
    blind, counted = (sum(a == b for a, b in zip(word_counts.classify(*part), right)) / N for part in (alone, (seen, asked)))
    assert blind < 0.44 and counted > 0.46                              # measured 0.33 and 0.55; by chance 0.33 ± 0.035


def test_moods_are_those_of_the_people_in_the_end_and_no_word_names_them():
    for words, second, label in MOODS:
        world, checks = read(words)
        moods = Counter(value for (what, _), value in world.facts.items() if what == "mood")
        balance = moods["happy"] - moods["sad"] - moods["angry"]
        assert label == ("positive" if balance > 0 else "negative" if balance < 0 else "neutral")
        assert not {"happy", "sad", "angry"} & set(words) and second == () and all(check.consistent for check in checks)
    assert set(Counter(label for *_, label in MOODS).values()) == {N // 3}


def test_an_answer_is_true_and_stands_where_it_is_said_to():
    kinds = Counter()
    for question, context, span in ANSWERS:
        world, _ = read(context)
        answer = context[slice(*span)] if span else ()
        subject = question[2:-1]
        kinds[("who has" if question[1] == "has" else question[0]) if span else None] += 1
        if span is None:
            assert question[1] in ("has", "is") and not set(subject) - {"the"} & set(context)
        elif question[:2] == ("Who", "has"):
            assert answer == (world.holder(question[-2]),)
        elif question[0] == "Who":
            assert detokenise((*answer, *question[1:-1], ".")) in detokenise(context)
        elif question[0] == "Where":
            said = ("The" if subject[0] == "the" else subject[0], *subject[1:])
            assert check_story(detokenise((*said, "is", *answer, ".")), world=world)[-1].asserted is True
        else:
            assert question[0] == "What" and context.index(question[2]) >= 0 and answer[-1] in THINGS + OPENABLE
    assert kinds == {"who has": N // 5, "Where": N // 5, "Who": N // 5, "What": N // 5, None: N // 5}


def test_an_answer_may_be_said_twice_but_the_last_time_that_it_became_so_counts():
    """Who has it: the name in the sentence after which the thing did not change hands again."""
    for question, context, span in ANSWERS:
        if span and question[:2] == ("Who", "has"):
            rest = " ".join(context[span[1]:])
            later = rest.split(" . ", 1)[1] if " . " in rest else ""
            assert not any(f"{verb} the {question[-2]}" in later for verb in ("took", "found", "lost", "put", "hid"))


def test_tags_are_those_of_the_words_lists():
    nouns = {word: "B-place" for word in PLACES} | {word: "B-thing" for word in THINGS + OPENABLE} | {p: "B-person" for p in PEOPLE}
    furniture = {noun for _, _, noun in SURFACES}
    for words, second, labels in TAGS:
        assert len(words) == len(labels) and second == ()
        for word, label in zip(words, labels):
            assert label == nouns.get(word, "B-thing" if word in furniture or word == "basket" else "O")


def test_words_of_the_test_stories_were_never_labelled_and_half_of_all_were_never_pre_trained_on():
    new = set(PEOPLE[SETTINGS.names:]) | set(THINGS[SETTINGS.nouns:]) | set(PLACES[SETTINGS.places:])
    assert len(new) == 36 and new > tasks.UNLABELLED and len(tasks.UNLABELLED) == 12
    seen = {word for words, *_ in TAGS for word in words}
    assert not seen & tasks.UNLABELLED and len(seen & new) == 24
    for split in ("valid", "test"):
        assert all(tasks.UNLABELLED & set(words) for words, *_ in tasks.take(tasks.tags, 40, split=split))


@pytest.mark.parametrize("draw", DRAWS)
def test_examples_are_those_of_their_seed_begin_alike_and_cross_no_split(draw):
    first = list(islice(draw(7, "train"), 30))
    assert first == (PAIRS, MOODS, ANSWERS, TAGS)[DRAWS.index(draw)][:30] and tasks.take(draw, 30, 8) != first
    parts = [set(tasks.take(draw, 60, 0, split)) for split in ("train", "valid", "test")]
    assert all(len(part) == 60 for part in parts) and not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    with pytest.raises(ValueError, match="split: got 'dev', expected one of train, valid, test"):
        tasks.take(draw, 1, 0, "dev")
