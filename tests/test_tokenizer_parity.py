"""Our ids beside those of tiktoken and of Hugging Face `tokenizers`: real texts, random ones, trained merges, their files."""

import json
import random
import sys
import unicodedata

import pytest
from tokenizers import BertWordPieceTokenizer, Regex, models, normalizers, pre_tokenizers, trainers

from course_lib.data import datasets
from course_lib.tokenizers import GPT2_PATTERN, GPT4_PATTERN, BPETokenizer, WordPieceTokenizer, basic_tokens
from tests.tokenizer_twins import (
    BERT_FILE,
    GPT2_FILES,
    REAL,
    byte_level,
    huggingface_gpt2,
    huggingface_trained,
    real_data,
    real_texts,
    tiktoken_gpt2,
    without_specials,
)

RANDOM_TEXTS = 100_000
# tables of Unicode differ in their age: `regex` knows letters that the others do not know yet
KNOWN = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in ("Cn", "Cs")]
# lines that hold what the patterns and BERT's rules tell apart
SMALL = ["Don't STOP,\n\n  it's 12345²!!\r\n \t DON'T we’ll ſ'ſ\x1c\x85\u2028 x",
         "naïve İstanbul ΌΣΟΣ ǅ ﬁ e\u0301\u0328 Å",
         "方言。한국어 を🙂👩‍👩‍👧 \u200b\u00ad\ufeff",
         "def f(x):\n    return {x: [1, 2.5e-3]}  # ok\n\n\n", "a" * 150 + " " + "ab!" * 80 + "   \n  ", "", " ", "\n\n\n  \n"]


@pytest.fixture(scope="module")
def gpt2() -> BPETokenizer:
    return BPETokenizer.from_gpt2(*GPT2_FILES)


@pytest.fixture(scope="module")
def trained():
    """Hugging Face's tokenizer, trained on the small lines."""
    return huggingface_trained(SMALL * 2, 400, ["<|endoftext|>", "<pad>"])


def random_texts(n: int):
    """Short strings: letters of many scripts, any code points, runs of spaces and signs, bytes read as Latin-1 and as UTF-8."""
    rng = random.Random(0)
    spaces = " " * 6 + "\n\n\t\r\x0b\x0c\x1c\x1f\x85\u00a0\u1680\u2003\u2028\u2029\u202f\u3000"
    alphabets = ["abcdeTHE'sretmdvl", "AZaz09 .,'!?-\n", spaces + "a!1", "'’ſsStTdDmMlLvVrReE ", "0123456789²½٣९ ", "àéîõüßçÀÉñ",
                 "한국어방에서", "\u0301\u0308\u0323aeo한", "🙂👩\u200d🇩🇪\ufe0f", "日本語。、（）", "абвгД", "אבגد",
                 bytes(range(256)).decode("latin-1")]
    for number in range(n):
        size = rng.randint(1, 16)
        kind = number % 4
        if kind == 0:
            yield "".join(rng.choices(rng.choice(alphabets), k=size))
        elif kind == 1:
            yield "".join(rng.choice(rng.choice(alphabets)) for _ in range(size))
        elif kind == 2:
            yield "".join(rng.choice(KNOWN) + rng.choice(("", " ", "a")) for _ in range(size))
        else:
            yield rng.randbytes(size).decode("utf-8", "replace")


@real_data
def test_real_texts_have_tiktokens_and_huggingfaces_ids(gpt2):
    """The beginning of each file; `tests/bench/tokenizers.py --exact` takes them whole."""
    tik, hf = tiktoken_gpt2(), huggingface_gpt2()
    names = 0
    for name, text in real_texts():
        ids = gpt2.encode(text[:200_000])
        assert ids == tik.encode(text[:200_000], disallowed_special=()), name
        assert gpt2.decode(ids) == text[:200_000]
        text = without_specials(text[:20_000])
        assert gpt2.encode(text) == hf.encode(text).ids, name
        names += 1
    assert names > 60


@real_data
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_PATTERN])
def test_random_texts_have_tiktokens_ids(gpt2, pattern):
    ours, tik = BPETokenizer(gpt2.vocabulary, gpt2.merges, pattern), tiktoken_gpt2(pattern)
    for text in [*SMALL, *random_texts(RANDOM_TEXTS)]:
        assert ours.encode(text) == tik.encode_ordinary(text), repr(text)


@real_data
def test_random_texts_have_huggingfaces_ids(gpt2):
    texts, hf = [*SMALL, *random_texts(RANDOM_TEXTS)], huggingface_gpt2()
    for text, theirs in zip(texts, hf.encode_batch_fast(texts)):
        assert gpt2.encode(text) == theirs.ids, repr(text)


@real_data
def test_gpt2s_files_have_the_published_layout(gpt2, tmp_path):
    assert gpt2.vocab_size == 50257 and len(gpt2.merges) == 50000 and gpt2.specials == {"<|endoftext|>": 50256}
    assert gpt2.encode("Hello world", eos=True) == [15496, 995, 50256] and gpt2.vocabulary[256] == b" t"
    assert [gpt2.merges[i] for i in (0, 1)] == [(220, 83), (220, 64)]
    gpt2.save(tmp_path / "gpt2.json")
    assert (tmp_path / "gpt2.merges.txt").read_bytes() == GPT2_FILES[0].read_bytes()
    again = BPETokenizer.load(tmp_path / "gpt2.json")
    assert (again.vocabulary, again.merges) == (gpt2.vocabulary, gpt2.merges)


@real_data
@pytest.mark.parametrize("corpus, vocab_size", [("tinyshakespeare/input.txt", 4096), ("multi30k/train.de.gz", 4096),
                                                ("klue/klue-nli-v1.1_dev.json", 8000)])
def test_trained_merges_are_huggingfaces(corpus, vocab_size):
    """English, German, Korean. The rule for ties is theirs, too, so nothing differs: every merge in its place."""
    text = dict(real_texts(corpus.split("/")[0]))[corpus]
    assert compare_training(text.splitlines(True), vocab_size) == vocab_size


def compare_training(texts, vocab_size: int, specials=()) -> int:
    """The size both reach; all merges and ids must be equal."""
    ours, theirs = BPETokenizer.train(texts, vocab_size, specials=specials), huggingface_trained(texts, vocab_size, specials)
    model = json.loads(theirs.to_str())["model"]
    text = "".join(texts)[:50_000]
    assert [i + len(specials) for i in ours.encode(text)] == theirs.encode(text).ids              # their specials come first
    assert [(a + len(specials), b + len(specials)) for a, b in ours.merges] == [
        (model["vocab"][a], model["vocab"][b]) for a, b in model["merges"]]
    assert ours.vocab_size == theirs.get_vocab_size()
    return ours.vocab_size


@pytest.mark.parametrize("seed", range(60))
def test_trained_merges_are_huggingfaces_on_small_texts_full_of_ties(seed):
    rng = random.Random(seed)
    letters = rng.choice(["ab", "abc", "aab ", "é한a", "abcdefgh"])
    texts = [" ".join("".join(rng.choices(letters, k=rng.randint(1, 12))) for _ in range(rng.randint(1, 30))) for _ in range(3)]
    specials = ["<|endoftext|>", "<pad>"][:seed % 3]
    compare_training(texts, 256 + len(specials) + rng.randint(0, 60), specials)


# --- files of Hugging Face tokenizers ---------------------------------------------------------------------------------

def written(hf, tmp_path, **changes):
    """The tokenizer's file, with changed entries: "model.dropout" is the entry "dropout" in "model"."""
    content = json.loads(hf.to_str())
    for key, value in changes.items():
        *parents, last = key.split("__")
        place = content
        for parent in parents:
            place = place[int(parent) if parent.isdigit() else parent]
        place[last] = value
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content), "utf-8")
    return path


@pytest.mark.parametrize("as_lists", [True, False])
def test_a_tokenizer_json_gives_the_same_ids(trained, as_lists, tmp_path):
    pairs = [pair if isinstance(pair, list) else pair.split(" ") for pair in json.loads(trained.to_str())["model"]["merges"]]
    path = written(trained, tmp_path, model__merges=pairs if as_lists else [" ".join(pair) for pair in pairs])
    ours = BPETokenizer.from_huggingface(path)
    assert ours.pattern == GPT2_PATTERN and ours.specials == {"<|endoftext|>": 0, "<pad>": 1} and ours.pad_id == 1
    for text in [*SMALL, *random_texts(3000)]:
        assert ours.encode(text) == trained.encode(text).ids
        assert ours.decode(ours.encode(text)) == trained.decode(trained.encode(text).ids) == text
    ours.save(tmp_path / "ours.json")                       # ids that are not laid out as GPT-2's are kept
    assert BPETokenizer.load(tmp_path / "ours.json").vocabulary == ours.vocabulary
    mixed = "a<|endoftext|>b<pad>"
    assert ours.encode(mixed, allowed=ours.specials) == trained.encode(mixed).ids


@pytest.mark.parametrize("pattern, expected", [
    (Regex(GPT4_PATTERN), GPT4_PATTERN), (Regex(r"\d|\p{L}+"), r"\d|\p{L}+"), (" a", r"\ a")])
def test_a_split_with_a_pattern_is_read(trained, pattern, expected, tmp_path):
    """Also patterns that pass over some of the text."""
    hf = trained.from_str(trained.to_str())
    hf.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    ours = BPETokenizer.from_huggingface(written(hf, tmp_path))
    assert ours.pattern == expected
    for text in [*SMALL, *random_texts(3000)]:
        assert ours.encode(text) == hf.encode(text).ids, repr(text)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
SPLIT = {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize("changes, says", [
    ({"model__type": "Unigram"}, "model: got type"), ({"model__dropout": 0.1}, "model: got dropout"),
    ({"model__byte_fallback": True}, "byte_fallback"), ({"model__ignore_merges": True}, "ignore_merges"),
    ({"model__end_of_word_suffix": "</w>"}, "end_of_word_suffix"), ({"model__continuing_subword_prefix": "##"}, "subword_prefix"),
    ({"normalizer": {"type": "NFC"}}, "tokenizer: got normalizer"), ({"truncation": {"max_length": 8}}, "truncation"),
    ({"padding": {"pad_id": 0}}, "padding"), ({"decoder": {"type": "BPEDecoder"}}, "decoder: got type"),
    ({"pre_tokenizer": None}, "pre_tokenizer: got type"), ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer: got type"),
    ({"pre_tokenizer__add_prefix_space": True}, "add_prefix_space = true, expected false"),
    ({"pre_tokenizer": BYTE_LEVEL}, "use_regex"), ({"pre_tokenizer": 3}, "pre_tokenizer: got 3"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, SPLIT, BYTE_LEVEL]}}, "got 2 steps"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT | {"behavior": "Removed"}, BYTE_LEVEL]}}, "behavior"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT | {"invert": True}, BYTE_LEVEL]}}, "invert"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT | {"pattern": {}}, BYTE_LEVEL]}}, "'Regex' or 'String'"),
    ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT | {"pattern": {"Regex": "("}}, BYTE_LEVEL]}}, "pattern: got"),
    ({"added_tokens__0__special": False}, "special = false"), ({"added_tokens__0__lstrip": True}, "lstrip"),
    ({"added_tokens__0__single_word": True}, "single_word"), ({"added_tokens__0__id": 7}, "ids 0 …"),
    ({"added_tokens__0__id": "0"}, "ids 0 …"), ({"added_tokens": [1]}, "added_tokens: got 1"), ({"added_tokens": 1}, "added_tokens: got 1"),
    ({"model__vocab__!": 99999}, "ids 0 …"), ({"model__vocab": {}}, "merges: got"), ({"model__vocab": [1]}, "vocab: got [1]"),
    ({"model__merges": ["a b c"]}, "merges: got 'a b c'"), ({"model__merges": [["a", "b", "c"]]}, "merges: got"),
    ({"model__merges": [["a", "方"]]}, "merges: got"), ({"model__merges": {}}, "merges: got {}, expected a list"),
    ({"model": None}, "256 single bytes"),
    ({"model": 7}, "model: got 7"),
    ({"pre_tokenizer": {"pretokenizers": [1]}}, "pre_tokenizer"), ({"added_tokens__0__content": []}, "added_tokens: got"),
])
def test_a_tokenizer_json_that_would_give_other_ids_is_refused(trained, changes, says, tmp_path):
    path = written(trained, tmp_path, **changes)
    with pytest.raises(ValueError) as caught:
        BPETokenizer.from_huggingface(path)
    assert str(caught.value).startswith(f"{path}: ") and says in str(caught.value)


def test_a_vocabulary_that_lacks_a_byte_is_refused(tmp_path):
    hf = byte_level(models.BPE())
    hf.train_from_iterator(["abc abc"], trainers.BpeTrainer(show_progress=False))
    with pytest.raises(ValueError, match="all 256 single bytes"):
        BPETokenizer.from_huggingface(written(hf, tmp_path))


@real_data
@pytest.mark.parametrize("merges, vocabulary, says", [
    (b"#version: 0.2\nx y z\n", None, "merges: got 'x y z'"), (b"\xff", None, "can't decode"), (b"", None, "merges: got ''"),
    (None, b"[]", "expected a JSON object"), (None, b"{", "not a vocabulary"), (None, b'{"a": 0}', "merges: got"),
    (None, b'{"a": 1}', "expected ids 0")])
def test_gpt2_files_that_do_not_fit_are_refused(merges, vocabulary, says, tmp_path):
    paths = []
    for name, content, real in zip(("vocab.bpe", "encoder.json"), (merges, vocabulary), GPT2_FILES):
        paths.append(real if content is None else tmp_path / name)
        if content is not None:
            paths[-1].write_bytes(content)
    with pytest.raises(ValueError, match=says):
        BPETokenizer.from_gpt2(*paths)


# --- BERT -------------------------------------------------------------------------------------------------------------

@real_data
@pytest.mark.parametrize("lowercase", [True, False])
def test_real_texts_have_berts_ids(lowercase):
    """The beginning of each file; `tests/bench/tokenizers.py --exact` takes them whole."""
    ours, theirs = WordPieceTokenizer.from_vocab(BERT_FILE, lowercase), BertWordPieceTokenizer(str(BERT_FILE), lowercase=lowercase)
    for name, text in real_texts():
        text = without_specials(text[:20_000])
        assert ours.encode(text, bos=True, eos=True) == theirs.encode(text).ids, name


@real_data
@pytest.mark.parametrize("lowercase", [True, False])
def test_random_texts_have_berts_ids(lowercase):
    """But for characters that their older table of Unicode does not know."""
    ours, theirs = WordPieceTokenizer.from_vocab(BERT_FILE, lowercase), BertWordPieceTokenizer(str(BERT_FILE), lowercase=lowercase)

    def old(c: str) -> bool:
        return ord(c) < 0x500 or 0x3000 <= ord(c) < 0xa000 or 0xac00 <= ord(c) < 0xd800 or c in "‘’‚🙂👩\u200d\u2028\u2003\ufffd"

    texts = [*SMALL, *(text for text in random_texts(40_000) if all(map(old, text)))]
    assert len(texts) > 15_000
    for text, encoding in zip(texts, theirs.encode_batch(texts, add_special_tokens=False)):
        assert ours.encode(text) == encoding.ids, repr(text)


@real_data
def test_the_registry_finds_the_published_vocabularies(monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    files = datasets.load("gpt2")
    assert (files["vocab.bpe"], files["encoder.json"]) == tuple(path.resolve() for path in GPT2_FILES)
    assert WordPieceTokenizer.from_vocab(*datasets.load("bert").values()).vocab_size == 30522


def test_berts_rules_on_small_lines():
    """Against Hugging Face's own normaliser and pre-tokeniser, without any file."""
    for lowercase in (True, False):
        normal, split = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
        for text in [*SMALL, "İIıſK ß ΑΣ Σ", "\u1e9b\u0323 e\u0301", "$a^b`c|~d", "\0\x07a\x85b\x0bc\ufffdd\u200d", "a\u00a0b\u3000c"]:
            assert basic_tokens(text, lowercase) == [word for word, _ in split.pre_tokenize_str(normal.normalize_str(text))], text
