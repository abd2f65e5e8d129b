"""Real conversations and preferences: how many of what, in the form that the chat template renders, and which damage is named."""

import gzip
import json
from itertools import chain

import pytest

from course_lib.data import chat_parsers as parsers
from course_lib.data.datafiles import DataError
from course_lib.data.datasets import load

SPLITS = ("train", "valid", "test")
HELLO = (("user", "Hello"), ("assistant", "Hi there"))


def splits(name):
    return {split: load(name, split=split) for split in SPLITS}


def disjoint(found):
    asked = [{row[0][1] if isinstance(row[0][0], str) else row[0][0][1] for row in found[split]} for split in SPLITS]
    return not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2]


@pytest.mark.parametrize("name, file, sizes", [
    ("instruction-1100", "instruction-1100/instruction-data.json", [875, 102, 123]),
    ("self-instruct", "self-instruct/seed_tasks.jsonl", [148, 15, 12]),
    ("alpaca-demo", "alpaca-demo/alpaca_en_demo.json", [804, 99, 96])])
def test_instructions(real, name, file, sizes):
    found = splits(name)
    assert [len(found[split]) for split in SPLITS] == sizes and sum(sizes) == real[file] and disjoint(found)
    for turns in chain(*found.values()):
        assert [role for role, _ in turns] == ["user", "assistant"] and all(text == text.strip() != "" for _, text in turns)


def test_the_first_instruction(real):
    assert load("instruction-1100", split="train")[0] == (
        ("user", "Evaluate the following phrase by transforming it into the spelling given.\nfreind --> friend"),
        ("assistant", 'The spelling of the given phrase "freind" is incorrect, the correct spelling is "friend".'))
    assert any("\n\n" in turns[1][1] for turns in load("alpaca-demo", split="train"))


def test_preferences(real):
    found, instructions = splits("preference-1100"), splits("instruction-1100")
    assert [len(found[split]) for split in SPLITS] == [870, 101, 123]                   # 6 of 1,100 are pairs of equals
    for split in SPLITS:                                                                # what is learned from is never tested on
        assert {turns for turns, _, _ in found[split]} <= {turns[:1] for turns in instructions[split]}
    assert found["train"][0][1:] == (
        'The spelling of the given phrase "freind" is incorrect, the correct spelling is "friend".',
        'The spelling of the given phrase "freind" is flat out wrong, get it together, the correct spelling is "friend".')
    assert all(chosen != rejected for _, chosen, rejected in chain(*found.values()))


def test_dialogues(real):
    found = splits("hh-rlhf")
    assert real["hh-rlhf/helpful-base-test.jsonl.gz"] == 2354 and disjoint(found)
    assert [len(found[split]) for split in SPLITS] == [1862, 233, 238]                  # 21 of 2,354 are left out
    everything = list(chain(*found.values()))
    for turns, chosen, rejected in everything:
        assert [role for role, _ in turns] == (["user", "assistant"] * len(turns))[:len(turns)] and len(turns) % 2
        assert chosen and rejected and chosen != rejected
        texts = [*(text for _, text in turns), chosen, rejected]
        assert not any(mark in text for text in texts for mark in ("\n\nHuman:", "\n\nAssistant:"))
    turns, chosen, _ = next(row for row in everything if row[0][0][1].startswith("How can I find out what types of butterflies"))
    assert turns[2] == ("user", "I am in Oregon.") and chosen.startswith("About 150 species of butterflies live in Oregon")


# --- damage ------------------------------------------------------------------------------------------------------------

def task(**changes):
    return {"instruction": "Hello", "input": "", "output": "Hi there"} | changes


def dialogue(chosen="\n\nHuman: Hello\n\nAssistant: Hi there", rejected="\n\nHuman: Hello\n\nAssistant: What?"):
    return {"chosen": chosen, "rejected": rejected}


KINDS = {"instructions": ("x.json", parsers.parse_instructions, json.dumps), "tasks": ("x.jsonl", parsers.parse_seed_tasks, None),
         "preferences": ("x.json", parsers.parse_preferences, json.dumps), "dialogues": ("x.jsonl.gz", parsers.parse_dialogues, None)}


def parsed(tmp_path, kind, content):
    """What all splits hold together; `content`: rows, or the text of the file."""
    name, parse, dump = KINDS[kind]
    text = content if isinstance(content, str) else dump(content) if dump else "\n".join(map(json.dumps, content)) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return list(chain(*(parse({name: tmp_path / name}, split=split) for split in SPLITS)))


def test_what_is_whole_is_read(tmp_path):
    assert parsed(tmp_path, "instructions", [task(), task(input=" all\n\nof you ")]) in (
        [HELLO, (("user", "Hello\nall\n\nof you"), HELLO[1])], [(("user", "Hello\nall\n\nof you"), HELLO[1]), HELLO])
    instances = [{"input": "", "output": "Hi there"}, {"output": 3}]
    assert parsed(tmp_path, "tasks", [{"instruction": "Hello", "instances": instances}]) == [HELLO]
    assert parsed(tmp_path, "preferences", [task(chosen="a", rejected="b"), task(chosen="a", rejected="a")]) == [(HELLO[:1], "a", "b")]
    assert parsed(tmp_path, "dialogues", [dialogue()]) == [(HELLO[:1], "Hi there", "What?")]
    assert parsed(tmp_path, "instructions", [task(output="cafe\u0301")])[0][1][1] == "café"


@pytest.mark.parametrize("row", [
    dialogue(rejected="\n\nHuman: Hello!\n\nAssistant: What?"),                         # another question
    dialogue(rejected="\n\nHuman: Hello\n\nAssistant: Hi there"),                       # equal
    dialogue(rejected="\n\nHuman: Hello\n\nAssistant:"),                                # nothing said
    dialogue(*("\n\nHuman: Hello\n\nHuman: You?\n\nAssistant: " + said for said in "ab")),
    dialogue(*("\n\nAssistant: Hello\n\nAssistant: " + said for said in "ab"))])
def test_dialogues_that_cannot_be_compared_are_left_out(tmp_path, row):
    assert parsed(tmp_path, "dialogues", [row, dialogue()]) == [(HELLO[:1], "Hi there", "What?")]


DAMAGE = {
    "no JSON": ("instructions", "{", "is not in JSON"),
    "deep JSON": ("instructions", "[" * 10**6, "is not in JSON"),
    "no list": ("instructions", "{}", "holds dict, expected a list of objects"),
    "a row that is none": ("instructions", "[[1]]", "row 1: got list, expected an object"),
    "no output": ("instructions", [task(), task(output="")], "row 2: got '' as 'output', expected a text"),
    "no instruction": ("instructions", [{"input": "", "output": "x"}], "row 1: got 'None' as 'instruction'"),
    "no input": ("instructions", [{"instruction": "x", "output": "x"}], "row 1: got 'None' as 'input'"),
    "an input of numbers": ("instructions", [task(input=3)], "row 1: got '3' as 'input'"),
    "an empty line": ("tasks", '{"instruction": "a"}\n\n', "is not in JSON"),
    "no instances": ("tasks", [{"instruction": "a", "instances": []}], "row 1: got 'None' as 'input'"),
    "instances of words": ("tasks", [{"instruction": "a", "instances": ["x"]}], "row 1: got 'None' as 'input'"),
    "no rejected": ("preferences", [task(chosen="a")], "row 1: got 'None' as 'rejected'"),
    "no dialogue": ("dialogues", [dialogue("Hello")], "row 1: 'chosen' is 'Hello' …, expected Human:, Assistant:"),
    "cut off": ("dialogues", [dialogue(), dialogue("\n\nHuman: Hello")], "row 2: 'chosen' is"),
    "the user's last word": ("dialogues", [dialogue("\n\nHuman: a\n\nAssistant: b\n\nHuman: c")], "row 1: 'chosen' is"),
    "something before": ("dialogues", [dialogue("x\n\nHuman: a\n\nAssistant: b")], "row 1: 'chosen' is"),
    "no text": ("dialogues", [dialogue(rejected=None)], "row 1: got 'None' as 'rejected'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage, tmp_path):
    kind, content, message = DAMAGE[damage]
    with pytest.raises(DataError, match=message):
        parsed(tmp_path, kind, content)
