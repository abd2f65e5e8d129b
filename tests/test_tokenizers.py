"""Tokenizers: what is split and joined, which id a word gets, what a file may hold."""

import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.data.tinytown import translation_pairs
from course_lib.tokenizers import SPECIALS, CharTokenizer, WordTokenizer, load_tokenizer

# text, tokens separated by "|"; joining the tokens gives the text back
EXACT = [
    ("Mia hat den roten Ball gefunden.", "Mia|hat|den|roten|Ball|gefunden|."),
    ("Don't panic, it's only 3.5 km!", "Don't|panic|,|it's|only|3.5|km|!"),
    ("The U.S. paid $1,000 at 10:30 (or later).", "The|U.S.|paid|$|1,000|at|10:30|(|or|later|)|."),
    ("Ein Hund läuft über saftig-grünes Gras.", "Ein|Hund|läuft|über|saftig-grünes|Gras|."),
    ("Die Limonade- und Bierdosen, z.B. gestern", "Die|Limonade-|und|Bierdosen|,|z.B.|gestern"),
    ("L'herbe d'aujourd'hui et l’homme qu'il voit", "L'|herbe|d'|aujourd'hui|et|l’|homme|qu'|il|voit"),
    ("나는 여기서 2명을 봤다.", "나는|여기서|2명을|봤다|."),
    ('He said: "Stop!" and "go".', 'He|said|:|"|Stop|!|"|and|"|go|"|.'),
    ("Er sagte „Halt“ und ging.", "Er|sagte|„|Halt|“|und|ging|."),
    ("She said “stop” and left…", "She|said|“|stop|”|and|left|…"),
    ("The boys' toys cost 50% less...", "The|boys|'|toys|cost|50|%|less|..."),
]


@pytest.mark.parametrize("text, tokens", EXACT)
def test_real_text_is_split_and_joined_exactly(text, tokens):
    assert WordTokenizer.split(text) == tokens.split("|")
    assert WordTokenizer.join(tokens.split("|")) == text


@pytest.mark.parametrize("split", ["train", "test", "unseen"])
def test_tinytown_sentences_are_split_into_their_tokens_and_joined_again(split):
    for pair in translation_pairs(3000, seed=11, split=split):
        for tokens, text in ((pair.en, pair.en_text), (pair.de, pair.de_text)):
            assert tuple(WordTokenizer.split(text)) == tokens
            assert WordTokenizer.join(tokens) == text


@pytest.mark.parametrize("text, joined", [
    ("Bonjour\u00a0! Ça va\u202f?", "Bonjour! Ça va?"),        # French spaces before signs are dropped
    ("Il dit «\u00a0oui\u00a0» .", "Il dit «oui»."),
    ("  a \t b\n\nc\u3000d ", "a b c d"),
])
def test_every_kind_of_space_separates(text, joined):
    assert WordTokenizer.join(WordTokenizer.split(text)) == joined


def test_composed_and_decomposed_letters_are_one_word():
    assert WordTokenizer.split("Tu\u0308r") == WordTokenizer.split("Tür") == ["Tür"]


def test_quotes_of_a_second_quotation_open_again():
    text = 'He said "yes", she said "no" and „Halt“ and «oui».'
    assert WordTokenizer.join(WordTokenizer.split(text)) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60))
def test_splitting_loses_nothing_but_space(text):
    import unicodedata
    tokens = WordTokenizer.split(text)
    assert "".join(tokens) == "".join(unicodedata.normalize("NFC", text).split())
    assert all(tokens)


def test_frequent_words_come_first_and_ties_go_by_code_point():
    tokenizer = WordTokenizer.train(["b a c", "c B", "c a"])
    assert tokenizer.vocabulary == [*SPECIALS, "c", "a", "B", "b"]
    assert WordTokenizer.train(["c a", "c B", "b a c"]).vocabulary == tokenizer.vocabulary
    lowered = WordTokenizer.train(["b a c", "c B", "c a"], lowercase=True)
    assert lowered.vocabulary == [*SPECIALS, "c", "a", "b"]


def test_max_vocab_counts_the_special_tokens_and_min_count_drops_rare_words():
    texts = ["a a a b b c"]
    assert WordTokenizer.train(texts, max_vocab=6).vocabulary == [*SPECIALS, "a", "b"]
    assert WordTokenizer.train(texts, min_count=3).vocabulary == [*SPECIALS, "a"]


def test_special_ids_are_added_and_dropped():
    tokenizer = WordTokenizer.train(["the dog runs ."])
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    ids = tokenizer.encode("the cat runs.", bos=True, eos=True)
    assert ids == [2, *tokenizer.to_ids(["the"]), 1, *tokenizer.to_ids(["runs", "."]), 3]
    assert tokenizer.decode([*ids, 0, 0]) == "the <unk> runs."
    assert tokenizer.to_tokens(ids[:1]) == ["<bos>"]


@pytest.mark.parametrize("kind", [CharTokenizer, WordTokenizer])
def test_text_never_becomes_a_special_id(kind):
    tokenizer = kind.train(["<pad> <bos> </s> <eos> <unk>"])
    ids = tokenizer.encode("<pad> <bos> <eos> <unk>")
    assert min(ids) >= 4
    assert kind.join(tokenizer.to_tokens(ids)).replace(" ", "") == "<pad><bos><eos><unk>"


def test_characters_lose_nothing():
    text = "Mia öffnet\tdie Tür. 방\u00a0– fin\u0308"
    tokenizer = CharTokenizer.train([text])
    assert tokenizer.decode(tokenizer.encode(text, bos=True, eos=True)) == text
    assert tokenizer.vocabulary[4:] == sorted(set(text))
    assert CharTokenizer.train(["abba"]).encode("ab!") == [4, 5, 1]


def test_ids_may_be_numpy_or_torch():
    tokenizer = CharTokenizer.train(["abc"])
    assert tokenizer.decode(np.array([4, 5])) == tokenizer.decode(torch.tensor([4, 5])) == "ab"


@pytest.mark.parametrize("call, named", [
    (lambda t: t.decode([4, 99]), "ids: got 99, expected whole numbers 0 … 6"),
    (lambda t: t.decode([-1]), "ids: got -1"),
    (lambda t: t.decode([4.0]), "ids: got 4.0, expected whole numbers"),
    (lambda t: t.decode(torch.tensor([4.0])), "ids: got 4.0, expected whole numbers"),
    (lambda t: t.decode("ab"), "ids: got a"),
    (lambda t: t.encode(["a"]), "text: got list"),
    (lambda t: WordTokenizer.train([]), "texts: got no text"),
    (lambda t: WordTokenizer.train(["  ", ""]), "texts: got no text"),
    (lambda t: CharTokenizer.train([""]), "texts: got no text"),
    (lambda t: WordTokenizer.train("a word"), "texts: got one string"),
    (lambda t: WordTokenizer.train(["a"], max_vocab=4), "max_vocab: got 4"),
    (lambda t: WordTokenizer.train(["a"], min_count=0), "min_count: got 0"),
    (lambda t: WordTokenizer.train(["a a b"], min_count=3), "min_count: no word was seen 3 times"),
    (lambda t: WordTokenizer([*SPECIALS, "a", "a"]), "tokens: "),
    (lambda t: WordTokenizer(["a", "b"]), "tokens: "),
])
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match="^" + named.replace("(", r"\(")):
        call(CharTokenizer.train(["abc"]))


@pytest.mark.parametrize("tokenizer", [CharTokenizer.train(["Tür 방"]),
                                       WordTokenizer.train(["Die Tür 방"], lowercase=True)])
def test_a_saved_tokenizer_comes_back_equal(tokenizer, tmp_path):
    path = tmp_path / "new folder" / "tokenizer.json"
    tokenizer.save(path)
    tokenizer.save(path)
    for again in (type(tokenizer).load(path), load_tokenizer(path)):
        assert type(again) is type(tokenizer)
        assert again.vocabulary == tokenizer.vocabulary and again.lowercase == tokenizer.lowercase
        assert again.encode("DIE Tür") == tokenizer.encode("DIE Tür")
    assert "Tür" in path.read_text("utf-8") or "ü" in path.read_text("utf-8")        # readable, not \\u00fc
    assert [p.name for p in path.parent.iterdir()] == ["tokenizer.json"]


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "tokenizer.json"
    WordTokenizer.train(["old"]).save(path)
    def full_disk(*_):
        raise OSError("no space left on device")
    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError):
        WordTokenizer.train(["new"]).save(path)
    assert WordTokenizer.load(path).vocabulary[-1] == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize("change, says", [
    ({"format": "something else"}, "not a tokenizer file"),
    ({"kind": "characters"}, "expected one of words"),
    ({"vocabulary": "abc"}, "expected a list"),
    ({"lowercase": 1}, "expected a list"),
    ({"vocabulary": [*SPECIALS, "a", "a"]}, "distinct"),
    ({"vocabulary": [*SPECIALS, ["a"]]}, "tokenizer.json"),
    ({"vocabulary": ["a", *SPECIALS]}, "start with <pad>"),
])
def test_a_wrong_file_is_refused(change, says, tmp_path):
    path = tmp_path / "tokenizer.json"
    WordTokenizer.train(["a"]).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=says):
        WordTokenizer.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_damaged_file_is_refused(content, tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    for load in (WordTokenizer.load, CharTokenizer.load, load_tokenizer):
        with pytest.raises(ValueError, match="not a tokenizer file"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load_tokenizer(tmp_path / "absent.json")


def test_encoding_is_fast():
    texts = ["Two young men, both in blue shirts, don't look at the well-kept garden (it's 10:30)."] * 2000
    tokenizer = WordTokenizer.train(texts)
    words = len(WordTokenizer.split(texts[0])) * len(texts)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for text in texts:
            tokenizer.encode(text)
        seconds.append(time.perf_counter() - start)
    assert words / min(seconds) > 200_000
