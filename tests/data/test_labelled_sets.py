"""Real data with labels: how many rows of what, and which damage is named."""

import json
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest

from course_lib.data import labelled_parsers as parsers
from course_lib.data.datafiles import DataError
from course_lib.data.datasets import load

SPLITS = ("train", "valid", "test")


def splits(name: str) -> dict[str, list]:
    return {split: load(name, split=split) for split in SPLITS}


def test_snli(real):
    found = splits("snli")
    assert len(found["train"]) + len(found["valid"]) == real["snli/dev.txt"] and len(found["test"]) == real["snli/test.txt"]
    assert [len(found[split]) for split in SPLITS] == [8771, 1071, 9824]
    assert found["train"][0] == ("two women are embracing while holding to go packages",
                                 "the sisters are hugging goodbye while holding to go packages after just eating lunch", "neutral")
    assert Counter(row[2] for row in found["test"]) == {"entailment": 3368, "neutral": 3219, "contradiction": 3237}
    assert not {row[0] for row in found["train"]} & {row[0] for row in found["valid"]}


def test_sentences_of_reviews(real):
    found = splits("sentiment-sentences")
    assert sum(map(len, found.values())) == sum(rows for path, rows in real.items() if path.startswith("sentiment-sentences/")) == 3000
    assert [len(found[split]) for split in SPLITS] == [2391, 306, 303]
    assert Counter(label for part in found.values() for _, label in part) == {"positive": 1500, "negative": 1500}
    texts = {split: {text for text, _ in part} for split, part in found.items()}
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["valid"] and not texts["valid"] & texts["test"]
    assert ("Wow... Loved this place.", "positive") in list(chain(*found.values()))
    assert all(text == text.strip() and "\x85" not in text for part in texts.values() for text in part)


def test_xquad(real):
    found = splits("xquad")
    assert sum(map(len, found.values())) == real["xquad/xquad.en.json"] == 1190
    assert [len(found[split]) for split in SPLITS] == [939, 103, 148]
    everything = list(chain(*found.values()))
    assert all(row.context[row.start:row.start + len(row.answer)] == row.answer for row in everything)
    row = next(row for row in everything if row.question == "How many points did the Panthers defense surrender?")
    assert (row.answer, row.start) == ("308", 34) and row.context.startswith("The Panthers defense gave up just 308 points")
    assert not {row.context for row in found["train"]} & {row.context for row in found["test"]}


def test_wnut17(real):
    found = splits("wnut17")
    files = ("wnut17train.conll", "emerging.dev.conll", "emerging.test.annotated")
    assert [len(found[split]) for split in SPLITS] == [real[f"wnut17/{name}"] for name in files] == [3394, 1009, 1287]
    assert [sum(len(words) for words, _ in found[split]) for split in SPLITS] == [62730, 15733, 23394]
    assert all(len(words) == len(tags) > 0 and all(words) for part in found.values() for words, tags in part)
    begun = Counter(tag[2:] for _, tags in found["train"] for tag in tags if tag.startswith("B-"))
    assert begun == {"person": 660, "location": 548, "group": 264, "corporation": 221, "product": 142, "creative-work": 140}
    assert found["train"][0][0][14:17] == ("Empire", "State", "Building")
    assert found["train"][0][1][14:17] == ("B-location", "I-location", "I-location")
    assert sum("\u200b" in word or "\ufeff" in word for words, _ in found["valid"] for word in words) == 2


# --- damage ----------------------------------------------------------------------------------------------------------

def squad(**changes) -> str:
    asked = {"question": "Who?", "answers": [{"text": "Mia", "answer_start": 4}]} | changes
    return json.dumps({"data": [{"title": "Town", "paragraphs": [{"context": "Yes Mia did.", "qas": [asked]}]}]})


GOOD = {"snli": ("dev.txt", parsers.parse_snli, "a\tb\t0\nc\td\t2\n"), "told": ("x.txt", parsers.parse_told, "good\t1\nbad\t0\n"),
        "squad": ("x.json", parsers.parse_squad, squad()),
        "tagged": ("wnut17train.conll", parsers.parse_tagged, "Mia\tB-person\nran\tO\n\nTom\tB-person\n\t\nAnn\tB-person")}
DAMAGE = {
    "two columns": ("snli", "a\tb\t0\nc\t1\n", "line 2: got 'c.t1', expected premise, hypothesis, label between tabs"),
    "four columns": ("snli", "a\tb\tc\t0\n", "line 1: got"), "an empty one": ("snli", "a\t \t0\n", "line 1: got"),
    "an empty line": ("snli", "a\tb\t0\n\na\tb\t0\n", "line 2: got '', expected"),
    "Windows line ends": ("snli", "a\tb\t0\r\n", r"line 1: got the label '0\\r', expected one of 0, 1, 2"),
    "another label": ("snli", "a\tb\t3\n", "line 1: got the label '3', expected one of 0, 1, 2"),
    "no label": ("told", "good\n", "line 1: got 'good', expected sentence, label between tabs"),
    "a label of words": ("told", "x\t1\ngood\tpositive\n", "line 2: got the label 'positive', expected one of 0, 1"),
    "nothing": ("told", "", "line 1: got '', expected"),
    "no JSON": ("squad", "{", "is not in SQuAD's format .JSONDecodeError"),
    "other JSON": ("squad", "[1]", "is not in SQuAD's format .TypeError"),
    "deep JSON": ("squad", "[" * 10**6, "is not in SQuAD's format .RecursionError"),
    "no answers": ("squad", squad(answers=[]), "is not in SQuAD's format .IndexError"),
    "no question": ("squad", squad(question=""), "question '': the answer 'Mia' is not at character 4"),
    "a moved answer": ("squad", squad(answers=[{"text": "Mia", "answer_start": 5}]), "'Who.': the answer 'Mia' is not at character 5"),
    "before the text": ("squad", squad(answers=[{"text": "Mia", "answer_start": -8}]), "is not at character -8"),
    "a place of words": ("squad", squad(answers=[{"text": "Mia", "answer_start": "4"}]), "is not at character 4"),
    "a number": ("squad", squad(answers=[{"text": 3, "answer_start": 4}]), "the answer '3' is not"),
    "no tag": ("tagged", "Mia\tO\nran\n", "line 2: got 'ran', expected a word, a tab, and O, B- or I- with a type"),
    "another tag": ("tagged", "Mia\tperson\n", "line 1: got"), "three columns": ("tagged", "Mia\tO\tO\n", "line 1: got"),
    "no word": ("tagged", "\tO\n", "line 1: got"), "no type": ("tagged", "Mia\tB-\n", "line 1: got")}


def parsed(tmp_path: Path, kind: str, content: str, split: str = "train"):
    name, parse, _ = GOOD[kind]
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    return parse({name: tmp_path / name}, split=split)


def test_what_is_whole_is_read(tmp_path):
    assert list(chain(*(parsed(tmp_path, "snli", GOOD["snli"][2], split) for split in ("train", "valid")))) == [
        ("a", "b", "entailment"), ("c", "d", "contradiction")]
    assert sorted(chain(*(parsed(tmp_path, "told", GOOD["told"][2], split) for split in SPLITS))) == [
        ("bad", "negative"), ("good", "positive")]
    assert list(chain(*(parsed(tmp_path, "squad", squad(), split) for split in SPLITS))) == [("Who?", "Yes Mia did.", "Mia", 4)]
    assert parsed(tmp_path, "tagged", GOOD["tagged"][2]) == [
        (("Mia", "ran"), ("B-person", "O")), (("Tom",), ("B-person",)), (("Ann",), ("B-person",))]


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage, tmp_path):
    kind, content, message = DAMAGE[damage]
    with pytest.raises(DataError, match=message):
        parsed(tmp_path, kind, content)


def test_words_keep_what_tidying_would_take_away(tmp_path):
    assert parsed(tmp_path, "tagged", "\u200b\tO\na\u00adb\tB-person\n\ufeffc\u0301\tO\n") == [
        (("\u200b", "a\u00adb", "\ufeffc\u0301"), ("O", "B-person", "O"))]
