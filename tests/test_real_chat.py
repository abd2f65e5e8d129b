"""Real conversations and comparisons: what becomes rows and what is left out, baselines by hand, all the way with tiny sizes."""

import math
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from course_lib.alignment.chat import dialogue
from course_lib.metrics import wilson_interval
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import load_gpt2, published_sizes, save_gpt2
from course_lib.recipes import real_chat, word_counts
from course_lib.recipes.assistant import TEMPLATE
from course_lib.recipes.real_chat import (
    CHATS,
    COMPARISONS,
    as_comparisons,
    as_rows,
    conversations,
    exchanged,
    nats,
    nats_of_counts,
    share,
    start,
    wins,
)
from course_lib.recipes.results import stored
from course_lib.tokenizers import BPETokenizer

STEPS = {"tuning": 4, "preference-1100": 2, "hh-rlhf": 2}
REAL = Path(os.environ.get("COURSE_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
TINY = {"d_model": 16, "n_heads": 2, "n_layers": 1}
TOKENIZER = BPETokenizer.train(["no merges"], 257).extended(TEMPLATE.words)            # a byte is an id


@pytest.fixture
def real(monkeypatch):
    if not REAL.is_dir():
        pytest.skip(f"no real data at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))


def test_a_conversation_that_is_too_long_is_left_out_whole():
    chats = [dialogue("ab", "c"), dialogue("ab", "cd"), dialogue("ab", "cde")]          # <bos> <user> a b <end> <assistant> … <end>
    kept = as_rows(TOKENIZER, chats, limit=9)
    assert [len(row.ids) for row in kept.rows] == [8, 9] and (kept.left_out, kept.cut) == (1, 0)
    assert kept.rows[1] == TEMPLATE.render(TOKENIZER, chats[1])


def test_a_long_dialogue_keeps_its_last_turns():
    turns = tuple(dialogue("aaaa", "bbbb", "cc", "dd", "e"))
    responses = [[*TOKENIZER.encode(text), TEMPLATE.marks(TOKENIZER)["end"]] for text in ("x", "xyz")]
    whole = TEMPLATE.prompt(TOKENIZER, turns)
    room = len(whole) + 4                                                               # "xyz" and its end
    for limit, first in ((room, 0), (room - 1, 2), (room - 12, 2), (room - 13, 4), (room - 20, 4)):
        kept = as_comparisons(TOKENIZER, [(turns, "x", "xyz")], limit)
        assert kept.rows == [(TEMPLATE.prompt(TOKENIZER, turns[first:]), *responses)], limit
        assert (kept.left_out, kept.cut) == (0, int(first > 0))
        assert len(kept.rows[0][0]) + 4 <= limit
    assert as_comparisons(TOKENIZER, [(turns, "x", "xyz")], room - 21) == ([], 1, 0)
    assert as_comparisons(TOKENIZER, [(turns, "xyz", "x")], room - 21) == ([], 1, 0)    # the longer one counts, whichever it is


def test_an_untrained_model_that_scores_all_alike_pays_the_vocabulary():
    model, rows = GPT(GPTConfig(TOKENIZER.vocab_size, **TINY)), as_rows(TOKENIZER, [dialogue("ab", "cd")] * 20).rows
    torch.nn.init.zeros_(model.embedding.weight)
    assert nats(model, rows) == pytest.approx(math.log(TOKENIZER.vocab_size), rel=1e-6)


def test_counted_tokens_are_those_of_responses_and_their_ends():
    seen = as_rows(TOKENIZER, [dialogue("zzzzzzzz", text) for text in ("aab", "ab", "a", "b")]).rows
    n = Counter("aababab") + Counter({"end": 4})                                        # a 4, b 3, end 4: none once or twice
    p = {token: (count - 1.5) / 11 + 4.5 / 11 / TOKENIZER.vocab_size for token, count in n.items()}     # too few are rare: D = 1½
    expected = -(2 * math.log(p["a"]) + math.log(p["end"])) / 3
    assert nats_of_counts(seen, as_rows(TOKENIZER, [dialogue("b", "aa")]).rows, 1, TOKENIZER.vocab_size) == pytest.approx(expected)
    longer = nats_of_counts(seen, seen, 3, TOKENIZER.vocab_size)
    assert longer < nats_of_counts(seen, seen, 1, TOKENIZER.vocab_size)


def test_every_response_comes_behind_an_instruction_of_another():
    chats = [tuple(dialogue("a" * n, f"{n}")) for n in (5, 1, 3, 9)]
    swapped = exchanged(chats)
    assert Counter(turns[1] for turns in swapped) == Counter(turns[1] for turns in chats)
    assert Counter(turns[0] for turns in swapped) == Counter(turns[0] for turns in chats)
    assert not set(swapped) & set(chats)


def test_level_comparisons_count_one_half():
    assert wins([2, 0, -1, 3]) == (0.625, *wilson_interval(2.5, 4)) and share([0.5] * 8) == (0.5, *wilson_interval(4, 8))


def test_counting_words_learns_what_a_word_is_worth():
    seen = [(["please", "yes"], ["yes"]), (["yes"], ["stupid", "yes"]), (["please"], ["stupid"]), (["no", "no"], ["no", "stupid"])]
    asked = [(["no", "please"], ["no"]), (["stupid"], ["please"]), (["unheard"], []), (["please"], ["stupid"]), (["a"], ["a"])]
    margins = word_counts.prefer(seen, asked)
    assert margins[0] > 0 > margins[1] == -margins[3] and margins[2] == margins[4] == 0
    worth = {word: torch.zeros((), dtype=torch.float64, requires_grad=True) for word in ("please", "stupid", "no", "yes")}
    optimizer = torch.optim.SGD(worth.values(), lr=0.3)                                 # the same optimum by another road, pair by pair
    for _ in range(200):
        optimizer.zero_grad()
        loss = sum((1 + (sum(worth[w] for w in b) - sum(worth[w] for w in a)).exp()).log() for a, b in seen)
        (loss + sum(w.square() for w in worth.values()) / 2).backward()
        optimizer.step()
    assert margins[3] == pytest.approx((worth["please"] - worth["stupid"]).item(), rel=1e-4)
    assert abs(word_counts.prefer(seen, asked, penalty=100)[3]) < 0.1 * margins[3]


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_the_sizes_of_published_weights_are_read_from_the_file(tmp_path, prefix):
    from safetensors.torch import load_file, save_file
    model, path = GPT(GPTConfig(13, 128, 2, 3, max_len=10)), tmp_path / "model.safetensors"
    save_gpt2(path, model)
    save_file({prefix + name: value for name, value in load_file(path).items()}, path)
    sizes = published_sizes(path)
    assert sizes == {"vocab_size": 13, "d_model": 128, "n_heads": 2, "n_layers": 3, "max_len": 10}
    load_gpt2(path, GPT(GPTConfig(**sizes)))
    for wrong in ({"wte.weight": torch.ones(13, 100), "wpe.weight": torch.ones(10, 100), "h.0.ln_1.weight": torch.ones(100)},
                  {"wte.weight": torch.ones(13, 128)}, {}):
        save_file(wrong, path)
        with pytest.raises(ValueError, match="not GPT-2's weights; expected"):
            published_sizes(path)
    with pytest.raises(FileNotFoundError, match="no weights at"):
        published_sizes(tmp_path / "absent")


def test_real_sets_go_all_the_way(real, monkeypatch):
    load = real_chat.datasets.load
    monkeypatch.setattr(real_chat.datasets, "load", lambda name, split: load(name, split=split)[:12])
    found = real_chat.measure(0, steps=STEPS, vocab_size=300, **TINY)
    assert (found["seen"] + found["left out"][0], found["asked"] + found["left out"][1]) == (36, 36)
    assert found["nats"]["the model tuned"] < found["nats"]["the model before"] and found["nats"]["tokens counted"] < math.log(300)
    assert list(found["comparisons"]) == list(COMPARISONS)
    for each in found["comparisons"].values():
        accuracy = each["accuracy"]
        assert each["seen"] + each["left out"][0] == each["asked"] + each["left out"][1] == 12
        assert accuracy["the longer response"][0] + accuracy["the shorter response"][0] == pytest.approx(1)
        assert all(0 <= low <= value <= high <= 1 for value, low, high in accuracy.values())
    assert real_chat.measure(0, steps=STEPS, vocab_size=300, **TINY) == found


def test_no_instruction_that_is_asked_was_shown(real):
    shown = {turns[0] for turns in conversations(split="train")} | {turns[0] for turns in conversations(split="valid")}
    asked = [turns[0] for turns in conversations(split="test")]
    assert len(asked) > 200 and not shown & set(asked)
    compared = [turns[0] for turns, *_ in real_chat.datasets.load("preference-1100", split="test")]
    assert len(compared) > 100 and not shown & set(compared)            # a reward model starts from what was tuned on these


def test_byte_pairs_know_the_marks_and_no_text_does(real):
    chats = conversations(CHATS[:1])
    model, tokenizer = start(chats, vocab_size=400, **TINY)
    assert tokenizer.vocab_size == model.config.vocab_size == 400
    marks = set(TEMPLATE.marks(tokenizer).values())
    assert not marks & set(tokenizer.encode("<user> <assistant> <end> <|endoftext|>"))
    one, other = start(chats, seed=1, vocab_size=400, **TINY), start(chats, seed=1, vocab_size=400, **TINY)
    assert all(torch.equal(a, b) for a, b in zip(one[0].parameters(), other[0].parameters()))
    assert not torch.equal(one[0].embedding.weight, model.embedding.weight)


def test_what_is_stored_is_whole():
    runs = stored("real_chat")["runs"]
    assert [run["seed"] for run in runs] == list(range(5))
    for run in runs:
        assert run["nats"]["the model tuned"] < run["nats"]["tokens counted"] < run["nats"]["the model before"]
        assert set(run["comparisons"]) == set(COMPARISONS)
        assert {name: value for name, value in run["nats"].items() if "counted" in name} == {
            name: value for name, value in runs[0]["nats"].items() if "counted" in name}        # no seed in counting


def test_stored_baselines_are_those_of_the_data_today(real):
    chats, held = conversations(), conversations(split="test")
    run, (_, tokenizer) = stored("real_chat")["runs"][0], start(chats, **TINY)
    seen, asked, swapped = (as_rows(tokenizer, part) for part in (chats, held, exchanged(held)))
    assert (run["seen"], run["asked"], run["exchanged"]) == (len(seen.rows), len(asked.rows), len(swapped.rows))
    assert run["left out"] == [seen.left_out, asked.left_out] and run["tokens"] == sum(sum(row.learned) for row in asked.rows)
    for name, order in (("tokens counted", 1), ("three in a row counted", 3)):
        assert run["nats"][name] == pytest.approx(nats_of_counts(seen.rows, asked.rows, order, tokenizer.vocab_size), abs=1e-4)
    for name, found in run["comparisons"].items():
        seen, asked = (as_comparisons(tokenizer, real_chat.datasets.load(name, split=split)) for split in ("train", "test"))
        assert (found["seen"], found["asked"], found["cut"]) == (len(seen.rows), len(asked.rows), [seen.cut, asked.cut])
        for baseline, value in real_chat.baselines(tokenizer, seen.rows, asked.rows).items():
            assert found["accuracy"][baseline] == pytest.approx(value), (name, baseline)
