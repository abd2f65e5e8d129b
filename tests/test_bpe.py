"""Byte-pair encoding: what is merged, how text is split and put together again, what files may hold."""

import copy
import json
import pickle
import random
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest
import regex
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_lib.tokenizers import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, count_pairs, load_tokenizer, merge, splitting
from course_lib.tokenizers.alphabet import BYTES, to_bytes, to_letters
from course_lib.tokenizers.base import Memo
from course_lib.tokenizers.merging import Merger, PairIndex, learn_merges
from course_lib.tokenizers.splitting import Splitter

PATTERNS = [GPT2_PATTERN, GPT4_PATTERN, r"\w+|\s", r"(a)|(?=b)|b+", r"(?<=a) ?b", "x"]
TEXTS = ["the theme of the thesis: then they're there,\n\n  isn't it?  The 12345 한국어 方 naïve café 🙂🙂 \t end  "]
# every kind of sign that a pattern tells apart: U+001C is a space for `re` alone, ſ is an s that ignores case
TRICKY = st.text(st.sampled_from(list(" \t\n\r\x1c\x85\u2028\u3000aZs1²!.'ſ\u0301한方🙂\0")), max_size=30)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | TRICKY


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(TEXTS * 2 + ["low lower lowest newer wider"] * 3, 320)


# --- learning --------------------------------------------------------------------------------------------------------

def rescan(words: dict[bytes, int], n_tokens: int) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The trainer as the papers tell it: count all pairs anew for each merge, then rewrite all words."""
    tokens, merges = [bytes([b]) for b in BYTES], []
    spelled = {word: [BYTES.index(b) for b in word] for word in words}
    while len(tokens) < n_tokens:
        counts = Counter()
        for word, ids in spelled.items():
            for pair in pairwise(ids):
                counts[pair] += words[word]
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        tokens.append(tokens[best[0]] + tokens[best[1]])
        for word, ids in spelled.items():
            i, new = 0, []
            while i < len(ids):
                if ids[i:i + 2] == list(best):
                    new.append(len(tokens) - 1)
                    i += 2
                else:
                    new.append(ids[i])
                    i += 1
            spelled[word] = new
    return tokens, merges


words = st.dictionaries(st.text("abc", min_size=1, max_size=12).map(str.encode) | st.binary(min_size=1, max_size=8),
                        st.integers(1, 5), min_size=1, max_size=12)


@given(words, st.integers(256, 300))
@example({b"aaaa": 1, b"aaa": 2, b"baaab": 1}, 270)
@settings(deadline=None)
def test_learning_equals_counting_everything_anew_for_each_merge(words, n_tokens):
    assert learn_merges(words, n_tokens) == rescan(words, n_tokens)


@given(words)
@settings(deadline=None)
def test_the_two_public_steps_make_the_same_trainer(words):
    """What a notebook rebuilds: count_pairs and merge, again and again."""
    n_tokens = 275
    spelled, merges = {tuple(BYTES.index(b) for b in word): n for word, n in words.items()}, []
    while len(merges) + 256 < n_tokens and (counts := count_pairs(spelled)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        spelled = {tuple(merge(ids, best, 256 + len(merges))): n for ids, n in spelled.items()}
        merges.append(best)
    assert learn_merges(words, n_tokens)[1] == merges


@given(words)
@settings(deadline=None)
def test_counts_stay_right_through_every_merge(words):
    spelled = {tuple(word): n for word, n in words.items()}
    index = PairIndex(spelled.items())
    for new in range(256, 270):
        assert {pair: n for pair, n in index.counts.items() if n} == count_pairs(spelled)
        if not (left := count_pairs(spelled)):
            break
        pair = max(left)
        made, times = index.merge(pair, new)
        spelled = {tuple(merge(ids, pair, new)): n for ids, n in spelled.items()}
        assert times == sum(n * ids.count(new) for ids, n in spelled.items())
        assert {p for p in made if index.counts[p]} == {p for p in count_pairs(spelled) if new in p}


def test_merge_and_count_pairs():
    assert merge([1, 1, 1, 2], (1, 1), 3) == [3, 1, 2] and merge((1, 2, 1, 2), (1, 2), 9) == [9, 9]
    assert merge([1], (1, 1), 3) == [1] and merge([], (1, 1), 3) == []
    assert count_pairs({(1, 2, 1, 2): 10, (2,): 5}) == {(1, 2): 20, (2, 1): 10}


def test_ties_go_to_the_smaller_first_id_then_the_smaller_second():
    tokens, merges = learn_merges({b"zz": 1, b"ba": 1, b"bc": 1, b" !": 1}, 260)
    assert tokens[256:] == [b"ba", b"bc", b"zz", b" !"]                  # in GPT-2's order a space comes behind the letters
    assert merges[-1] == (BYTES.index(ord(" ")), BYTES.index(ord("!")))


def test_ids_are_laid_out_as_gpt2_has_them():
    tokenizer = BPETokenizer.train(["low lower lowest"], 260)
    assert tokenizer.vocabulary[:3] == [b"!", b'"', b"#"] and tokenizer.vocabulary[188:190] == [b"\0", b"\x01"]
    assert tokenizer.vocabulary[256:] == [b"lo", b"low", b" low", "<|endoftext|>"] and tokenizer.vocab_size == 260
    assert tokenizer.encode("low") == [257] and tokenizer.merges[0] == (ord("l") - 33, ord("o") - 33)


def test_training_stops_when_no_pair_is_left_and_counts_the_specials():
    small = BPETokenizer.train(["ab ab"], 1000, specials=("<pad>", "<bos>"))
    assert small.vocabulary[256:] == [b"ab", b" ab", "<pad>", "<bos>"] and len(small.merges) == 2
    assert BPETokenizer.train(["ab"], 258, specials=("<pad>", "<bos>")).merges == []


@pytest.mark.parametrize("pattern", PATTERNS)
def test_texts_count_one_by_one_and_may_be_a_generator(pattern, monkeypatch):
    texts = [TEXTS[0], "the end", "", "of", " the end"] * 7
    words = Counter(word for text in texts for word in Splitter(pattern).split(text))
    expected = learn_merges({word.encode(): n for word, n in words.items()}, 300)[1]
    for block, uncounted in ((2**16, 2**16), (4, 2)):
        monkeypatch.setattr(splitting, "BLOCK", block)
        monkeypatch.setattr("course_lib.tokenizers.bpe.UNCOUNTED", uncounted)
        assert BPETokenizer.train((text for text in texts), 300, pattern, specials=()).merges == expected


# --- splitting -------------------------------------------------------------------------------------------------------

def test_gpt2s_pattern_splits_as_published():
    assert Splitter(GPT2_PATTERN).split("Don't  stop!") == ["Don", "'t", " ", " stop", "!"]
    assert Splitter(GPT2_PATTERN).split("a\n\nb  12x's") == ["a", "\n", "\n", "b", " ", " 12", "x", "'s"]
    assert Splitter(GPT4_PATTERN).split("a\n\nb 12345!\n DON'T") == ["a", "\n\n", "b", " ", "123", "45", "!\n", " DON", "'T"]


@given(TRICKY, st.sampled_from([GPT2_PATTERN, GPT4_PATTERN]))
@settings(deadline=None, max_examples=1000)
def test_stretches_can_be_split_apart(text, pattern):
    """The pattern finds in the stretches, one by one, just what it finds in the whole text."""
    splitter = Splitter(pattern)
    stretches = [stretch for block in splitter.blocks([text]) for stretch in block]
    assert "".join(stretches) == text
    assert [p for s in stretches for p in splitter.pretokens(s)] == regex.findall(pattern, text) == splitter.split(text)


def test_words_are_cut_apart():
    """Cutting nowhere would be right, too, and slow."""
    text = "Some words, with signs! And\nlines. "
    assert [*Splitter(GPT2_PATTERN).blocks([text])] == [["Some", " words,", " with", " signs!", " And", "\nlines.", " "]]
    assert [*Splitter(GPT4_PATTERN).blocks([text])] == [["Some", " words,", " with", " signs!", " And\n", "lines.", " "]]


@given(TRICKY | st.text("ab x", max_size=20), st.sampled_from(PATTERNS))
@settings(deadline=None, max_examples=300)
def test_what_a_pattern_passes_over_is_kept(text, pattern):
    found = Splitter(pattern).split(text)
    assert "".join(found) == text and all(found)
    matches = iter(match.group() for match in regex.finditer(pattern, text) if match.group())
    rest = next(matches, None)
    for piece in found:
        if piece == rest:
            rest = next(matches, None)
    assert rest is None                                                  # matches stand in it whole, and in order


@given(ANY, st.sampled_from(PATTERNS), st.lists(st.integers(0, 40), max_size=6), st.sampled_from([1, 2, 5, 2**16]))
@settings(deadline=None, max_examples=1000)
def test_chunks_cut_anywhere_give_the_ids_of_the_whole_text(text, pattern, cuts, block):
    tokenizer = STREAMED[pattern]
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    whole = tokenizer.encode(text)
    before = splitting.BLOCK
    splitting.BLOCK = block
    try:
        assert list(tokenizer.encode_iterable(text[a:b] for a, b in pairwise(places))) == whole
        assert list(tokenizer.encode_iterable(list(text))) == whole == tokenizer.encode(text)       # letter by letter
    finally:
        splitting.BLOCK = before


STREAMED = {pattern: BPETokenizer.train([*TEXTS, "\r\n\n  \n!!\n \n   '' a  \n\n"], 330, pattern) for pattern in PATTERNS}


def test_a_stream_is_encoded_as_it_comes():
    given = 0

    def chunks():
        nonlocal given
        for _ in range(100):
            given += 1
            yield "some words " * 2000

    ids = STREAMED[GPT2_PATTERN].encode_iterable(chunks())
    next(ids)
    assert given < 8


# --- encoding and decoding -------------------------------------------------------------------------------------------

def by_the_book(tokenizer: BPETokenizer, word: bytes) -> list[int]:
    """Apply each merge in the order learned to the whole word."""
    ids = [tokenizer.vocabulary.index(bytes([b])) for b in word]
    for a, b in tokenizer.merges:
        ids = merge(ids, (a, b), tokenizer.vocabulary.index(tokenizer.vocabulary[a] + tokenizer.vocabulary[b]))
    return ids


@given(ANY)
@settings(deadline=None)
def test_encoding_applies_the_merges_in_the_order_learned(tokenizer, text):
    expected = [i for word in regex.findall(GPT2_PATTERN, text) for i in by_the_book(tokenizer, word.encode())]
    assert tokenizer.encode(text) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6, unique=True),
       st.lists(st.integers(0, 3), max_size=60))
def test_long_pretokens_are_merged_like_short_ones(pairs, ids):
    """Also for merges that no training gives, where a new token may take part in a merge of lower rank."""
    merger = Merger(pairs, [i % 5 for i in range(len(pairs))])
    assert merger._many(list(ids)) == merger._few(list(ids))


def test_a_long_pretoken_takes_the_other_way(tokenizer, monkeypatch):
    text = "lower" * 100
    expected = tokenizer.encode(text)
    monkeypatch.setattr(Merger, "_few", None)
    assert copy.deepcopy(tokenizer).encode("x" + text)[1:] == expected
    with pytest.raises(TypeError):
        tokenizer.encode("xy")


@given(ANY, st.sampled_from(PATTERNS))
@settings(deadline=None, max_examples=300)
def test_every_text_comes_back(text, pattern):
    tokenizer = STREAMED[pattern]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and tokenizer.decode_bytes(ids) == text.encode()
    assert "".join(tokenizer.decode_stream(iter(ids))) == text


@given(st.binary(max_size=20), st.lists(st.integers(0, 20), max_size=3), st.booleans())
def test_any_ids_are_decoded_and_streamed_alike(tokenizer, data, places, specials):
    ids = [BYTES.index(b) for b in data]
    assert tokenizer.decode_bytes(ids) == data and tokenizer.decode(ids) == data.decode("utf-8", "replace")
    for place in places:
        ids.insert(place, tokenizer.eos_id)
    assert "".join(tokenizer.decode_stream(ids, specials)) == tokenizer.decode(ids, specials)
    assert tokenizer.decode(ids, specials).count("<|endoftext|>") == len(places) * specials


def test_a_stream_never_breaks_a_character(tokenizer):
    ids = [BYTES.index(b) for b in "é한🙂".encode()]
    assert list(tokenizer.decode_stream(ids)) == ["é", "한", "🙂"]
    assert list(tokenizer.decode_stream(ids[:-1])) == ["é", "한", "\ufffd"]


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "ab " * 40000 + "\udc80"])
def test_half_a_character_is_refused(tokenizer, text):
    for use in (tokenizer.encode, lambda t: list(tokenizer.encode_iterable([t])), lambda t: BPETokenizer.train([t], 300)):
        with pytest.raises(ValueError, match=r"^text: got the lone surrogate U\+D[8-F][0-9A-F]{2}, expected"):
            use(text)


def test_a_special_token_in_the_text_is_text_unless_allowed(tokenizer):
    end = tokenizer.specials["<|endoftext|>"]
    text = "one<|endoftext|>two"
    assert end not in tokenizer.encode(text) and tokenizer.decode(tokenizer.encode(text)) == text
    assert end not in list(tokenizer.encode_iterable([text]))
    expected = [*tokenizer.encode("one"), end, *tokenizer.encode("two")]
    assert tokenizer.encode(text, allowed={"<|endoftext|>"}) == expected
    assert tokenizer.encode(text, True, True, tokenizer.specials) == [end, *expected, end]
    assert tokenizer.decode(expected) == "onetwo" and tokenizer.decode(expected, specials=True) == text


def test_of_two_special_tokens_the_longer_one_is_read():
    tokenizer = BPETokenizer.train(["x"], 300, specials=("<a>", "<a><b>", "."))
    assert tokenizer.encode("<a><b>x<a>.", allowed=tokenizer.specials)[0] == tokenizer.specials["<a><b>"]
    assert tokenizer.encode("<a>x<a>.", allowed=["<a>"])[-1] == tokenizer.encode(".")[0] < 256


@pytest.mark.parametrize("specials, roles", [
    (("<|endoftext|>",), ("<|endoftext|>",) * 3 + (None,)),
    (("<pad>", "<unk>", "<bos>", "<eos>"), ("<pad>", "<bos>", "<eos>", "<unk>")),
    (("<|endoftext|>", "<pad>"), ("<pad>", "<|endoftext|>", "<|endoftext|>", None)),
    (("<s>",), (None,) * 4), ((), (None,) * 4)])
def test_which_special_token_has_which_part(specials, roles):
    tokenizer = BPETokenizer.train(["x"], 256 + len(specials), specials=specials)
    ids = (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id)
    assert [None if i is None else tokenizer.vocabulary[i] for i in ids] == list(roles)
    if tokenizer.bos_id is None:
        with pytest.raises(ValueError, match=r"^bos: got True"):
            tokenizer.encode("x", bos=True)
        with pytest.raises(ValueError, match=r"^eos: got True"):
            tokenizer.encode("x", eos=True)


# --- bounds ----------------------------------------------------------------------------------------------------------

def test_what_is_remembered_has_a_bound():
    calls = []
    memo = Memo(lambda key: calls.append(key) or (len(key),), limit=3, longest=4)
    assert [memo[key] for key in ("a", "b", "a", "long one", "long one", "c")] == [(1,), (1,), (1,), (8,), (8,), (1,)]
    assert calls == ["a", "b", "long one", "long one", "c"] and set(memo) == {"a", "b", "c"}
    assert memo["d"] == (1,) and set(memo) == {"d"}


def test_a_tokenizer_remembers_short_strings_only(tokenizer):
    tokenizer.encode("z" * 65 + " " + "z" * 63 + " " + "z" * 64)
    assert {len(key) for memo in (tokenizer._stretches, tokenizer._pretokens) for key in memo if "zz" in key} == {64}
    assert tokenizer._stretches.limit == tokenizer._pretokens.limit == 2**17


@pytest.mark.parametrize("letters", ["a", "abcdefghijklmnopqrstuvwxyz"])
def test_a_word_without_end_takes_time_in_proportion(letters):
    """A quadratic way would need 16 times as long for 4 times the letters. One letter; random letters."""
    rng = random.Random(0)
    text = "".join(rng.choices(letters, k=200_000))
    tokenizer = BPETokenizer.train(["".join(rng.choices(letters, k=2000)) for _ in range(5)], 400)

    def seconds(text: str) -> float:
        start = time.process_time()
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        return time.process_time() - start

    ratios = [seconds(text) / seconds(text[:50_000]) for _ in range(3)]
    assert min(ratios) < 8


def test_many_tiny_chunks_of_a_word_without_end_take_time_in_proportion():
    splitter = Splitter(GPT2_PATTERN)

    def seconds(n: int) -> float:
        start = time.process_time()
        assert sum(len(block) for block in splitter.stream("a" for _ in range(n))) == 1
        return time.process_time() - start

    assert min(seconds(1_200_000) / seconds(300_000) for _ in range(3)) < 8


def test_importing_tokenizers_brings_no_torch():
    code = "import sys, course_lib.tokenizers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- files -----------------------------------------------------------------------------------------------------------

def same(a: BPETokenizer, b: BPETokenizer) -> bool:
    return (a.vocabulary, a.merges, a.pattern, a.specials) == (b.vocabulary, b.merges, b.pattern, b.specials)


@pytest.mark.parametrize("specials", [("<|endoftext|>",), (), ("the", "Ġ", " ")])     # names that are letters of tokens, too
def test_a_saved_tokenizer_comes_back_equal(specials, tmp_path):
    tokenizer = BPETokenizer.train(TEXTS, 300, GPT4_PATTERN, specials)
    path = tmp_path / "new" / "bpe.json"
    tokenizer.save(path)
    tokenizer.save(path)
    for again in (BPETokenizer.load(path), load_tokenizer(path), pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert same(again, tokenizer) and again.encode(TEXTS[0]) == tokenizer.encode(TEXTS[0])
    assert sorted(file.name for file in path.parent.iterdir()) == ["bpe.json", "bpe.merges.txt"]
    assert "Ġthe" in json.loads(path.read_text("utf-8"))["vocabulary"]
    lines = (tmp_path / "new" / "bpe.merges.txt").read_text("utf-8").split("\n")
    assert lines[0] == "#version: 0.2" and lines[1] == "h e" and len(lines) == len(tokenizer.merges) + 2


def test_a_save_that_fails_leaves_the_old_file(tokenizer, tmp_path, monkeypatch):
    tokenizer.save(tmp_path / "bpe.json")

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError):
        BPETokenizer.train(["other"], 300).save(tmp_path / "bpe.json")
    assert same(BPETokenizer.load(tmp_path / "bpe.json"), tokenizer)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("change, says", [
    ({"format": "x"}, "not a tokenizer file"), ({"kind": "words"}, "expected one of byte pairs"),
    ({"vocabulary": "abc"}, "expected lists"), ({"vocabulary": None}, "expected lists"), ({"vocabulary": [1]}, "of strings"),
    ({"vocabulary": ["a"], "merges": [], "specials": {}}, "256 single bytes"), ({"merges": {}}, "expected lists"),
    ({"merges": ["Ġ"]}, "merges: got 'Ġ'"), ({"merges": ["Ġ t t"]}, "merges: got"), ({"merges": [["Ġ", 1]]}, "merges: got"),
    ({"merges": [["Ġ", []]]}, "merges: got"), ({"merges": ["q x"]}, "together are one"), ({"merges": ["Ġ t", "Ġ t"]}, "once"),
    ({"merges": ["<|endoftext|> t"]}, "merges: got"), ({"specials": None}, "'specials'"), ({"specials": {"x": 5}}, "'specials'"),
    ({"specials": {"!": True}}, "'specials'"), ({"specials": {"!": "0"}}, "'specials'"), ({"specials": {}}, "expected letters"),
    ({"pattern": "("}, "pattern: got"), ({"pattern": None}, "pattern: got None")])
def test_a_wrong_file_is_refused(tokenizer, change, says, tmp_path):
    path = tmp_path / "bpe.json"
    tokenizer.save(path)
    content = json.loads(path.read_text("utf-8"))
    if change.get("specials") == {}:
        content["vocabulary"][-1] = "two words"
    path.write_text(json.dumps(content | change), "utf-8")
    with pytest.raises(ValueError, match=says) as caught:
        BPETokenizer.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("call, named", [
    (lambda t: t.decode([99999]), "ids: got 99999, expected whole numbers 0 … 319"),
    (lambda t: t.decode([-1]), "ids: got -1"), (lambda t: t.decode([1.0]), "ids: got 1.0"),
    (lambda t: list(t.decode_stream([1, -1])), "ids: got -1"), (lambda t: t.decode_bytes("ab"), "ids: got a"),
    (lambda t: t.encode(b"a"), "text: got bytes"), (lambda t: list(t.encode_iterable([None])), "text: got NoneType"),
    (lambda t: t.encode_iterable(3), "chunks: got int"), (lambda t: t.encode_iterable("ab"), "chunks: got one"),
    (lambda t: t.encode("a", allowed="<|endoftext|>"), "allowed: got"),
    (lambda t: t.encode("a", allowed=["<x>"]), "allowed: got"), (lambda t: BPETokenizer.train("text", 300), "texts: got one"),
    (lambda t: BPETokenizer.train([], 300), "texts: got no text"), (lambda t: BPETokenizer.train([""], 300), "texts: got no text"),
    (lambda t: BPETokenizer.train(["a"], 256), "vocab_size: got 256, expected at least 257"),
    (lambda t: BPETokenizer.train([b"a"], 300), "text: got bytes"), (lambda t: BPETokenizer.train(["a"], 300, "["), "pattern: got"),
    (lambda t: BPETokenizer.train(["a"], 300, specials=("<a>", "<a>")), "vocabulary: expected distinct"),
    (lambda t: BPETokenizer.train(["a"], 300, specials=("",)), "vocabulary: expected distinct"),
    (lambda t: BPETokenizer.train(["a"], 300, specials="abc"), "specials: got"),
    (lambda t: BPETokenizer([], []), "vocabulary: expected distinct"), (lambda t: BPETokenizer([[]], []), "vocabulary: expected"),
    (lambda t: BPETokenizer(t.vocabulary, [(0, 999)]), "merges: got"), (lambda t: BPETokenizer(t.vocabulary, [(0, -1)]), "merges: got"),
    (lambda t: BPETokenizer(t.vocabulary, [(0, 319)]), "merges: got"), (lambda t: to_bytes("한"), "token: got '한'"),
])
def test_bad_input_is_named(tokenizer, call, named):
    with pytest.raises(ValueError, match="^" + named.replace("(", r"\(")):
        call(tokenizer)


def test_ids_may_be_numpy_or_torch(tokenizer):
    ids = tokenizer.encode(TEXTS[0])
    assert tokenizer.decode(torch.tensor(ids)) == tokenizer.decode(torch.tensor(ids).numpy()) == TEXTS[0]


def test_letters_stand_for_bytes():
    assert to_letters(b" the\n") == "ĠtheĊ" and to_bytes("ĠtheĊ") == b" the\n"
    assert to_bytes(to_letters(bytes(range(256)))) == bytes(range(256)) and len(set(to_letters(BYTES))) == 256
    assert [*to_letters(BYTES)] == sorted(to_letters(BYTES))
