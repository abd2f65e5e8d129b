"""WordPiece: which pieces are learned, how words are spelled with them, what files may hold. (Ids like BERT's: parity tests.)"""

import copy
import pickle
import random
import time
from collections import Counter
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from course_lib.tokenizers import BERT_SPECIALS, WordPieceTokenizer, basic_tokens, load_tokenizer
from course_lib.tokenizers.pieces import learn_pieces

VOCABULARY = [*BERT_SPECIALS, "un", "##aff", "##able", "a", "##a", "##b", "able", "!", "世", "wanted", "##ed", "want", "한", "##국"]


@pytest.fixture
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(VOCABULARY)


def rescan(words: dict[str, int], n_pieces: int, min_count: int) -> list[str]:
    """The trainer as told: count everything anew for each merge; exact fractions."""
    spelled = {word: [word[0], *("##" + c for c in word[1:])] for word in words}
    pieces = sorted({piece for spelling in spelled.values() for piece in spelling})
    while len(pieces) < n_pieces:
        single, pairs = Counter(), Counter()
        for word, spelling in spelled.items():
            for piece in spelling:
                single[piece] += words[word]
            for pair in pairwise(spelling):
                pairs[pair] += words[word]
        allowed = [pair for pair in pairs if pairs[pair] >= min_count]
        if not allowed:
            break
        a, b = max(allowed, key=lambda pair: (Fraction(pairs[pair], single[pair[0]] * single[pair[1]]), pairs[pair],
                                              -pieces.index(pair[0]), -pieces.index(pair[1])))
        pieces.append(a + b[2:])
        for word, spelling in spelled.items():
            i, new = 0, []
            while i < len(spelling):
                found = spelling[i:i + 2] == [a, b]
                new.append(pieces[-1] if found else spelling[i])
                i += 1 + found
            spelled[word] = new
    return pieces


@given(st.dictionaries(st.text("abcd", min_size=1, max_size=8), st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 40),
       st.integers(1, 3))
@example({"aaaa": 1, "aaa": 2, "baaab": 1}, 20, 1)
@settings(deadline=None, max_examples=300)
def test_learning_equals_counting_everything_anew_for_each_merge(words, n_pieces, min_count):
    assert learn_pieces(words, n_pieces, min_count) == rescan(words, n_pieces, min_count)


def test_learning_equals_it_on_many_words():
    """Enough merges for the queue to be cleared of what is out of date, more than once."""
    rng = random.Random(0)
    words = Counter("".join(rng.choices("aaabbcdefgh", k=rng.randint(1, 9))) for _ in range(400))
    assert learn_pieces(words, 150) == rescan(words, 150, 1)


def test_the_likeliest_pair_is_merged_not_the_most_frequent():
    """"e" stands everywhere, so "##e"+"##s" says little; "qu" stands together always."""
    words = {"tes": 10, "res": 9, "se": 9, "es": 9, "qu": 2}
    assert learn_pieces(words, 10)[8:] == ["qu", "te"] and learn_pieces(words, 9, min_count=3)[8:] == ["te"]
    assert max(words.values()) == 10 and sum(n for word, n in words.items() if "es" in word) == 28
    assert "qu" not in learn_pieces(words, 30, min_count=3)


def test_training_counts_words_after_berts_rules():
    tokenizer = WordPieceTokenizer.train(["Äb, äB! ab-ab", "x" * 101], 100)
    assert tokenizer.vocabulary == [*BERT_SPECIALS, "!", "##b", ",", "-", "a", "ab"]
    assert WordPieceTokenizer.train(["AB ab"], 100, lowercase=False).vocabulary[5:] == ["##B", "##b", "A", "a", "AB", "ab"]
    assert WordPieceTokenizer.train(["ab ab ac"], 100, min_count=2).vocabulary[5:] == ["##b", "##c", "a", "ab"]
    assert WordPieceTokenizer.train((text for text in ["ab", "ab"]), 8).vocabulary[5:] == ["##b", "a", "ab"]


@given(st.lists(st.text("abcé한 .", min_size=1), min_size=1).filter(lambda texts: "".join(texts).strip()))
@settings(deadline=None)
def test_what_was_learned_spells_every_word_of_the_text(texts):
    tokenizer = WordPieceTokenizer.train(texts, 60)
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.unk_id not in ids
        assert tokenizer.decode(ids) == " ".join(basic_tokens(text))


def test_the_longest_known_beginning_wins(tokenizer):
    spell = {text: [VOCABULARY[i] for i in tokenizer.encode(text)] for text in
             ("Unaffable", "able", "ab", "wanted!", "abc", "unwanted", "世世", "a\u0301 [MASK]", "##a")}
    assert spell == {"Unaffable": ["un", "##aff", "##able"], "able": ["able"], "ab": ["a", "##b"], "wanted!": ["wanted", "!"],
                     "abc": ["[UNK]"], "unwanted": ["[UNK]"], "世世": ["世", "世"], "a\u0301 [MASK]": ["a", *["[UNK]"] * 3],
                     "##a": ["[UNK]", "[UNK]", "a"]}


def test_a_word_of_more_than_100_characters_is_unknown(tokenizer):
    assert tokenizer.encode("a" * 100) == [VOCABULARY.index("a")] + [VOCABULARY.index("##a")] * 99
    assert tokenizer.encode("a" * 101) == [tokenizer.unk_id]
    assert tokenizer.encode("\u0301a" * 100) == tokenizer.encode("a" * 100)          # counted without accents


def test_special_ids_are_added_and_dropped(tokenizer):
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.mask_id) == (0, 1, 2, 3, 4)
    ids = tokenizer.encode("unable! x", bos=True, eos=True)
    assert ids == [2, *tokenizer.encode("unable! x"), 3] and tokenizer.decode([*ids, 0, 4]) == "unable ! [UNK] [MASK]"
    assert WordPieceTokenizer(["x", *reversed(BERT_SPECIALS)]).pad_id == 5


def test_basic_tokens():
    assert basic_tokens("Héllo, 世界!\u200b a\u00adb\ufffd\u2028c\x0bd") == ["hello", ",", "世", "界", "!", "ab", "cd"]
    assert basic_tokens("Hé ΣΑΣ $5", lowercase=False) == ["Hé", "ΣΑΣ", "$", "5"] and basic_tokens("ΣΑΣ") == ["σασ"]


def test_a_long_text_without_spaces_takes_time_in_proportion(tokenizer):
    def seconds(text: str) -> float:
        start = time.process_time()
        tokenizer.encode(text)
        return time.process_time() - start

    for text in ("a" * 800_000, "a!" * 200_000):
        assert min(seconds(text) / seconds(text[:len(text) // 4]) for _ in range(3)) < 8
    assert max(map(len, tokenizer._words), default=0) <= 64


def test_a_saved_tokenizer_comes_back_equal(tokenizer, tmp_path):
    path = tmp_path / "new" / "pieces.json"
    tokenizer.save(path)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", "utf-8")
    for again in (WordPieceTokenizer.load(path), load_tokenizer(path), WordPieceTokenizer.from_vocab(tmp_path / "vocab.txt"),
                  pickle.loads(pickle.dumps(tokenizer)), copy.deepcopy(tokenizer)):
        assert again.vocabulary == VOCABULARY and again.lowercase and again.encode("Unable") == tokenizer.encode("Unable")
    WordPieceTokenizer(VOCABULARY, lowercase=False).save(path)
    assert load_tokenizer(path).encode("Able") == [1] and [file.name for file in path.parent.iterdir()] == ["pieces.json"]


@pytest.mark.parametrize("call, named", [
    (lambda t: t.encode(b"a"), "text: got bytes"), (lambda t: t.decode([99]), "ids: got 99"), (lambda t: t.decode([-1]), "ids: got -1"),
    (lambda t: WordPieceTokenizer(["a"]), "vocabulary: got"),
    (lambda t: WordPieceTokenizer([*BERT_SPECIALS, "a", "a"]), "vocabulary: got"),
    (lambda t: WordPieceTokenizer([*BERT_SPECIALS, 1]), "vocabulary: got"),
    (lambda t: WordPieceTokenizer.train("ab", 50), "texts: got one"),
    (lambda t: WordPieceTokenizer.train([" "], 50), "texts: got no text"), (lambda t: WordPieceTokenizer.train([1], 50), "text: got int"),
    (lambda t: WordPieceTokenizer.train(["abc"], 7), "vocab_size: got 7, expected at least 8"),
    (lambda t: WordPieceTokenizer.train(["abc"], 50, min_count=0), "min_count: got 0"),
])
def test_bad_input_is_named(tokenizer, call, named):
    with pytest.raises(ValueError, match="^" + named):
        call(tokenizer)


@pytest.mark.parametrize("content", [b"a\nb\n", b"\xff\n", b""])
def test_a_file_that_is_no_vocabulary_is_refused(content, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(ValueError, match=r"vocab\.txt: "):
        WordPieceTokenizer.from_vocab(tmp_path / "vocab.txt")
