"""The registry, the search order, the parsers on the real files, and the command `data`."""

import hashlib
import importlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from course_lib.data import datasets, parsers
from course_lib.data.datasets import REGISTRY, DamagedFile, DataError, DatasetNotFound, load, sentence_split

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("COURSE_DATA") or ROOT.parent / "shared" / "data")
data = importlib.import_module("course_lib.cli.data").data
SPLITS = ("train", "valid", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no COURSE_DATA, and no way into the network."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))

    def offline(*_: object, **__: object) -> None:
        raise OSError("this test has no network")

    monkeypatch.setattr("socket.socket.connect", offline)
    monkeypatch.setattr("socket.getaddrinfo", offline)
    return tmp_path / "cache"


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Path:
    """COURSE_DATA set to the folder of real files."""
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    return REAL


# The real files

@pytest.mark.parametrize("name", REGISTRY)
def test_the_real_files_are_the_registered_ones(name, real):
    statuses = datasets.verify(name)
    assert [status.file for status in statuses] == list(REGISTRY[name].files)
    assert all(status.ok and status.where == "COURSE_DATA" for status in statuses)
    assert datasets.available(name)


def test_addresses_and_hashes_agree_with_the_manifest(real):
    if not (real / "manifest.json").is_file():
        pytest.skip(f"no manifest.json in {real}")
    manifest = json.loads((real / "manifest.json").read_text(encoding="utf-8"))
    listed = {file["path"]: file for entry in manifest["datasets"] for file in entry["files"]}
    for entry in REGISTRY.values():
        for file in entry.files:
            facts = listed[file.path]
            assert (file.urls[0], file.sha256, file.bytes) == (facts["url"], facts["sha256"], facts["bytes"])
            assert all(url.startswith("https://") for url in file.urls)


def test_multi30k(real):
    pairs = {split: load("multi30k", source="de", target="en", split=split) for split in SPLITS}
    assert [len(pairs[split]) for split in SPLITS] == [29000, 1014, 1000]
    assert pairs["train"][0] == ("Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche.",
                                 "Two young, White males are outside near many bushes.")
    assert pairs["test"][-1] == ("Ein Mädchen an einer Küste mit einem Berg im Hintergrund.",
                                 "A girl at the shore of a beach with a mountain in the distance.")
    assert load("multi30k", split="val") == pairs["valid"]
    assert load("multi30k", split="test_2016_flickr") == pairs["test"]
    assert load("multi30k", source="en", target="de", split="test") == [(e, d) for d, e in pairs["test"]]
    german = [pair[0] for part in pairs.values() for pair in part]
    assert any("mit der Nummer 28." in sentence for sentence in german)      # U+00A0 in the file
    assert_tidy(side for part in pairs.values() for pair in part for side in pair)


def assert_tidy(sentences) -> None:
    for sentence in sentences:
        assert sentence and sentence.split(" ") == sentence.split(), repr(sentence)
        assert "\u200b" not in sentence and "\u00ad" not in sentence


@pytest.mark.parametrize("name, language, counts, pair", [
    ("kor-eng", "ko", (2643, 342, 333), ("가.", "Go.")),
    ("fra-eng", "fr", (114220, 14440, 13992), ("Va !", "Go.")),
])
def test_sentence_pairs(name, language, counts, pair, real):
    parts = [load(name, source=language, target="en", split=split) for split in SPLITS]
    assert tuple(map(len, parts)) == counts
    assert parts[0][0] == pair                  # English second, although it is the first column of the file
    everything = [p for part in parts for p in part]
    assert len(set(everything)) == len(everything)
    assert not any("tatoeba" in side.lower() and "#" in side for p in everything for side in p)
    assert_tidy(side for p in everything for side in p)
    keys = [{"".join(filter(str.isalnum, english.lower())) for _, english in part} for part in parts]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    if name == "kor-eng":
        assert load(name, source="en", target=language, split="test") == [(e, o) for o, e in parts[2]]


def test_tiny_shakespeare(real):
    text = load("tinyshakespeare")
    assert len(text) == 1_115_394 and len(set(text)) == 65 and text.startswith("First Citizen:\n")
    parts = [load("tinyshakespeare", split=split) for split in SPLITS]
    assert "".join(parts) == text and [len(part) for part in parts] == [1_003_854, 55_770, 55_770]


# Parsers

def test_lines_are_cut_at_line_feeds_only():
    assert parsers.lines("a\u2028b\x85c\rd\x0be\nf\n") == ["a\u2028b\x85c\rd\x0be", "f"]
    assert parsers.lines("a\n\nb") == ["a", "", "b"]


def test_tidy():
    assert parsers.tidy("  Va\u202f!\t Et\u00a0toi\u2009? ") == "Va ! Et toi ?"
    assert parsers.tidy("sur \u200b\u200bla sink\u00ad.") == "sur la sink."
    assert parsers.tidy("\u1112\u1161\u11ab") == "한" and parsers.tidy("u\u0308ber") == "über"


def test_a_sentence_never_moves_between_splits():
    # fixed once and for all: a change would let trained models meet their test sentences
    fixed = {"Go.": "train", "Who?": "valid", "Attack!": "test", "Hello!": "train"}
    assert {sentence: sentence_split(sentence) for sentence in fixed} == fixed
    assert sentence_split("GO!") == sentence_split("go") == sentence_split("Go.")
    shares = [sum(sentence_split(f"sentence {n}") == split for n in range(5000)) / 5000 for split in SPLITS]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


def test_text_that_is_too_large_or_not_utf8(tmp_path, monkeypatch):
    (tmp_path / "latin1.txt").write_bytes("für".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin1.txt is not UTF-8 text \(invalid start byte at byte 1\)"):
        parsers.parse_text({"latin1.txt": tmp_path / "latin1.txt"}, split="all")
    monkeypatch.setattr(parsers, "UNPACKED_LIMIT", 10)
    (tmp_path / "long.txt").write_bytes(b"12345678901")
    with pytest.raises(DataError, match="unpacks to more than 10 bytes"):
        parsers.parse_text({"long.txt": tmp_path / "long.txt"}, split="all")


# Names and options

@pytest.mark.parametrize("name, options, message", [
    ("Multi-30K", {}, "dataset: got 'Multi-30K', expected one of .* Did you mean 'multi30k'?"),
    ("tiny_shakespeare", {}, "Did you mean 'tinyshakespeare'?"),
    ("wmt14", {}, "dataset: got 'wmt14', expected one of 'multi30k', 'kor-eng', .*, 'preference-1100', 'hh-rlhf'.$"),
    ("multi30k", {"split": "tset"}, "split: got 'tset', .* Did you mean 'test'?"),
    ("multi30k", {"slpit": "test"}, "option of multi30k: got 'slpit', .* Did you mean 'split'?"),
    ("multi30k", {"source": "fr"}, "source: got 'fr', expected one of 'de', 'en'"),
    ("multi30k", {"source": "en"}, "source and target: got 'en' twice"),
    ("tinyshakespeare", {"source": "en"}, "option of tinyshakespeare: got 'source', expected 'split'"),
])
def test_bad_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        load(name, **options)


# Where the files are looked for

def copy_of(real: Path, folder: Path) -> Path:
    shutil.copytree(real / "manythings", folder / "manythings", copy_function=shutil.copyfile)
    return folder / "manythings" / "kor-eng.zip"


def test_course_data_comes_before_the_cache(real, cache):
    copy_of(real, cache)
    assert datasets.fetch("kor-eng") == [real.resolve() / "manythings" / "kor-eng.zip"]


def test_the_cache_fills_in_what_course_data_lacks(real, cache, tmp_path, monkeypatch):
    copy = copy_of(real, cache)
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "empty"))
    assert datasets.fetch("kor-eng") == [copy] and len(load("kor-eng", split="test")) == 333
    assert not any((tmp_path / "empty").iterdir())


@pytest.mark.parametrize("damage", ["half", "line ends"])
def test_a_damaged_file_in_course_data_is_an_error(damage, real, cache, tmp_path, monkeypatch):
    copy_of(real, cache)                # a good one in the cache does not hide it
    copy = copy_of(real, tmp_path / "mine")
    good = copy.read_bytes()
    copy.write_bytes(good[:50000] if damage == "half" else good.replace(b"\n", b"\r\n"))
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "mine"))
    with pytest.raises(DamagedFile) as caught:
        load("kor-eng")
    file, message = REGISTRY["kor-eng"].files[0], str(caught.value)
    for part in (str(copy), f"{copy.stat().st_size:,} bytes", f"{file.bytes:,} bytes", file.sha256,
                 hashlib.sha256(copy.read_bytes()).hexdigest(), "unset COURSE_DATA"):
        assert part in message
    assert not datasets.available("kor-eng") and datasets.available("fra-eng")


def test_course_data_that_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere', which is not a folder\. Set it to"):
        load("kor-eng")
    assert not datasets.available("kor-eng")


def test_offline_and_absent(cache):
    with pytest.raises(DatasetNotFound) as caught:
        load("multi30k")
    for part in ("no connection", "python3 -m course_lib data fetch multi30k", "the other 5 missing files",
                 str(cache / "multi30k" / "train.en.gz"), REGISTRY["multi30k"].files[0].urls[0]):
        assert part in str(caught.value)
    assert not [path for path in cache.rglob("*") if not path.is_dir()]


# The command

def run(*arguments: str):
    return CliRunner().invoke(data, arguments, prog_name="python3 -m course_lib data")


def listed() -> dict[str, list[str]]:
    """name → columns of `data list`."""
    result = run("list")
    assert result.exit_code == 0
    rows = [re.split(r"\s{2,}", line) for line in result.stdout.split("\n\n")[0].splitlines()]
    return {row[0]: row[1:] for row in rows}


def test_list(real, cache, monkeypatch):
    rows = listed()
    assert rows["multi30k"] == ["6", "1.3 MB", "COURSE_DATA", "research and education only"]
    assert all(rows[name][2] == "COURSE_DATA" for name in REGISTRY)
    monkeypatch.delenv("COURSE_DATA")
    copy_of(real, cache).write_bytes(b"half")
    (cache / "multi30k").mkdir()
    shutil.copyfile(real / "multi30k" / "val.de.gz", cache / "multi30k" / "val.de.gz")
    rows = listed()
    assert {name: rows[name][2] for name in REGISTRY} == {
        "multi30k": "incomplete", "kor-eng": "damaged", "fra-eng": "cache", "tinyshakespeare": "absent",
        "gpt2": "absent", "bert": "absent", "snli": "absent", "sentiment-sentences": "absent", "xquad": "absent", "wnut17": "absent",
        "instruction-1100": "absent", "self-instruct": "absent", "alpaca-demo": "absent", "preference-1100": "absent", "hh-rlhf": "absent"}


def test_fetch_what_is_here(real):
    result = run("fetch", "kor-eng", "multi30k")
    assert result.exit_code == 0 and not result.stderr
    assert f"kor-eng: already in {real.resolve() / 'manythings'}" in result.stdout


def test_fetch_fails_in_one_paragraph(cache):
    result = run("fetch", "multi30k")
    assert result.exit_code == 2 and result.stderr.startswith("Error: multi30k: ")
    assert result.stderr.strip().count("\n") == 0 and "Traceback" not in result.output
    assert "python3 -m course_lib data fetch multi30k" in result.stderr


def test_fetch_goes_on_after_a_failure(real, cache, monkeypatch):
    monkeypatch.delenv("COURSE_DATA")
    copy_of(real, cache)
    result = run("fetch", "--all")
    assert result.exit_code == 2
    assert "fra-eng: already in" in result.stdout and "kor-eng: already in" in result.stdout
    assert "multi30k: " in result.stderr and "tinyshakespeare: " in result.stderr


@pytest.mark.parametrize("arguments, message", [
    (["fetch"], "Give the names of data sets, or --all"),
    (["fetch", "multi30k", "--all"], "Give the names of data sets, or --all"),
    (["fetch", "mutli30k"], "Did you mean 'multi30k'?"),
    (["verify", "mutli30k"], "Did you mean 'multi30k'?"),
])
def test_wrong_use(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.output


def test_verify(real, cache, monkeypatch):
    result = run("verify")
    assert result.exit_code == 0 and result.stdout.count(": ok, ") == len(REGISTRY)
    monkeypatch.delenv("COURSE_DATA")
    copy = copy_of(real, cache)
    result = run("verify")              # what nobody asked for may be absent
    assert result.exit_code == 0
    assert "multi30k: absent (python3 -m course_lib data fetch multi30k)" in result.stdout
    assert run("verify", "multi30k").exit_code == 1
    copy.write_bytes(copy.read_bytes()[:-1])
    result = run("verify")
    assert result.exit_code == 1
    assert f"kor-eng: DAMAGED {copy} has 130,035 bytes" in result.stdout
    assert "replace with: python3 -m course_lib data fetch kor-eng" in result.stdout


@pytest.mark.parametrize("command", [[], ["list"], ["fetch"], ["verify"]])
def test_help_has_an_example(command):
    result = run(*command, "--help")
    assert result.exit_code == 0 and "Example: python3 -m course_lib data " in result.stdout
