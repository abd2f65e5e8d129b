"""The command `bench`: its rows and table, what it writes, and how it ends; on programs that only pretend to measure."""

import io
import json
import math
import os
import statistics
import sys
import time
from dataclasses import asdict

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from course_lib.cli import bench as command
from course_lib.cli import comparison
from course_lib.cli.app import cli
from course_lib.cli.comparison import Findings, Row, plot_ratios, short
from course_lib.cli.environment import pins
from course_lib.cli.install import SetupError
from course_lib.cli.process import lock
from course_lib.tokenizers import BPETokenizer
from tests.bench import common, texts, tokenizers

TRAINING = Row("gpt", "training", "tokens/s", [300, 200], "Hugging Face", [200, 100], wanted=1.5, work=1e6, ceiling="matmul")
MEMORY = Row("tokenizers", "memory", "MiB", [43.6], "Hugging Face", [50.8], goal=60, less_is_better=True)
ALONE = Row("seq2seq", "collating", "% of a step", [5.0, 4.0, 9.0], goal=3, less_is_better=True)
DECODING = Row("gpt", "decoding", "tokens/s", [80, 90], "plain", [100, 100], wanted=1.0, work=1e6, ceiling="memory")
ROWS = TRAINING, MEMORY, ALONE, DECODING
CEILINGS = {"matmul": 4e8, "memory": 8e7}
positive = st.floats(1e-6, 1e9)


def findings(rows=ROWS, ceilings=CEILINGS):
    found = Findings()
    for event in ({"measure": "x", "number": 1, "of": 1}, {"ceilings": ceilings}, *({"row": asdict(row)} for row in rows)):
        found.take(json.loads(json.dumps(event)))
    return found


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=9), st.booleans())
def test_rounds_are_compared_one_by_one(pairs, less):
    ours, theirs = zip(*pairs)
    row = Row("part", "what", "s", ours, "peer", theirs, less_is_better=less)
    own = [b / a if less else a / b for a, b in pairs]
    assert row.ratio == (statistics.median(own), min(own), max(own))


def test_a_load_on_one_round_does_not_move_the_ratio():
    assert Row("part", "what", "s", [100, 10, 100], "peer", [50, 5, 50]).ratio == (2, 2, 2)
    assert ALONE.ratio is None


@pytest.mark.parametrize("settings, verdict", [
    ({}, None), ({"wanted": 2.0}, True), ({"wanted": 2.01}, False), ({"goal": 10}, True), ({"goal": 10.1}, False),
    ({"wanted": 2.0, "goal": 11}, False), ({"goal": 10, "less_is_better": True}, True), ({"goal": 9.9, "less_is_better": True}, False),
    ({"wanted": 0.5, "less_is_better": True}, True), ({"wanted": 0.6, "less_is_better": True}, False)])
def test_what_was_wanted(settings, verdict):
    assert Row("part", "what", "s", [9, 10, 12], "peer", [4.5, 5, 6], **settings).verdict is verdict


@pytest.mark.parametrize("wanted, verdict", [(2.0, True), (2.1, False), (1.0, True)])
def test_the_median_decides_not_the_range(wanted, verdict):
    assert Row("part", "what", "s", [5, 10, 30], "peer", [5, 5, 5], wanted=wanted).verdict is verdict


@pytest.mark.parametrize("settings, message", [
    ({"ours": []}, "got 0 and 1 rounds"), ({"theirs": [1, 2]}, "got 1 and 2 rounds"), ({"theirs": []}, "got 1 and 0 rounds"),
    ({"peer": ""}, "got 1 and 1 rounds"), ({"ours": [0]}, "ours: got"), ({"ours": [math.nan]}, "ours: got"),
    ({"theirs": [math.inf]}, "theirs: got"), ({"theirs": ["3"]}, "theirs: got"), ({"work": 3}, "ceiling: got ''"),
    ({"work": 3, "ceiling": "disk"}, "ceiling: got 'disk'"), ({"ceiling": "memory"}, "ceiling: got 'memory'")])
def test_what_is_no_measurement(settings, message):
    with pytest.raises(ValueError, match=message):
        Row(**{"part": "part", "what": "what", "unit": "s", "ours": [1], "peer": "peer", "theirs": [1], **settings})


def test_the_table():
    text = findings().table()
    lines = text.splitlines()
    heading, *rows = lines[:5]
    assert heading.split("  ")[0] == "part"
    assert " ".join(rows[0].split()) == "gpt training 250 tokens/s Hugging Face 150 1.75 (1.50 – 2.00) ≥ 1.5 × ✓ 75% matmul"
    assert " ".join(rows[1].split()) == "tokenizers memory 43.6 MiB Hugging Face 50.8 1.17 (1.17 – 1.17) ≤ 60 ✓ –"
    assert " ".join(rows[2].split()) == "seq2seq collating 5.00 % of a step – – – ≤ 3 ✗ –"
    assert " ".join(rows[3].split()).endswith("≥ 1 × ✗ ceiling disturbed")                # 112 %: never printed
    for column in ("what", "ours", "peer", "ratio"):                                    # aligned: a gap before, a word there
        place = heading.index(f"  {column}") + 2
        assert all(row[place - 2:place] == "  " and row[place] != " " for row in rows), column
    assert "ceiling matmul: 0.4 GFLOP/s, the best of 1 measurements" in text


def test_the_best_ceiling_counts_wherever_it_was_measured():
    found = findings()
    for rate in (1e8, 2e8, 1.5e8):
        found.take({"ceilings": {"memory": rate}})
    assert found.ceilings["memory"] == 2e8 and found.measured["memory"] == [8e7, 1e8, 2e8, 1.5e8]
    assert found.table().splitlines()[4].endswith("45% memory")                         # the best round, of the best ceiling
    assert "0.2 GB/s, the best of 4 measurements from 0.1" in found.table()


def test_a_row_without_its_ceiling_has_no_share():
    assert TRAINING.share({}) is None and ALONE.share(CEILINGS) is None and TRAINING.share(CEILINGS) == 0.75


@pytest.mark.parametrize("value, text", [(1234.5, "1,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.234, "0.23")])
def test_three_digits(value, text):
    assert short(value) == text


def test_the_figure_has_a_bar_for_each_ratio_a_line_at_one_and_marks():
    ax, = plot_ratios(ROWS, "Ours").axes
    assert [bar.get_x() for bar in ax.patches] == [1, 1, 1]
    assert [bar.get_x() + bar.get_width() for bar in ax.patches] == pytest.approx([1.75, 50.8 / 43.6, 0.85])
    drawn = [tuple(map(float, line.get_xdata())) for line in ax.lines]
    assert drawn == [(1.5, 2.0), (1.5, 1.5), (50.8 / 43.6,) * 2, (0.8, 0.9), (1.0, 1.0), (1, 1)]
    assert next(tick.get_text() for tick in ax.get_yticklabels()) == "gpt: training, beside Hugging Face"
    low, high = ax.get_xlim()
    assert low < 0.8 and high > 2.0
    with pytest.raises(ValueError, match="rows: got none with a ratio"):
        plot_ratios([ALONE], "Ours")


# ---------------------------------------------------------------------------------------------------- the shared core

def test_contestants_take_turns_and_the_first_round_only_warms_up():
    calls = []
    contestants = {name: lambda number, name=name: calls.append((name, number)) or len(calls) for name in "abc"}
    results = common.turns(contestants, 3)
    assert calls == [*zip("abc", [0] * 3), *zip("bca", [0] * 3), *zip("cab", [1] * 3), *zip("abc", [2] * 3)]
    assert results == {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7, 12]}


def test_pace_is_an_amount_in_a_second(monkeypatch):
    times = iter([10.0, 14.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert common.pace(lambda: 8)(5) == 2


def test_a_trainer_trains_on_the_batches_of_its_round_and_counts_their_tokens(monkeypatch):
    seen, model = [], torch.nn.Linear(1, 1)
    before = model.weight.item()

    def loss(batch):
        seen.append(batch)
        return model(torch.ones(1, 1)).sum() * batch, torch.tensor(batch)

    times = iter([0.0, 3.0])
    trainer = common.Trainer(model, loss, range(1, 20), 3)
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    assert trainer(2) == (7 + 8 + 9) / 3 and seen == [7, 8, 9]
    assert model.weight.item() < before and model.weight.grad is None


def test_ceilings_are_measured_before_between_and_after(monkeypatch):
    monkeypatch.setattr(common, "ceilings", lambda: {"matmul": 1.0})
    measures = {"one": lambda quick: [TRAINING], "two": lambda quick: [MEMORY, ALONE] if quick else []}
    kinds = [next(iter(event)) for event in common.events(measures, quick=True)]
    assert kinds == ["measure", "ceilings", "row", "measure", "ceilings", "row", "row", "ceilings"]


@pytest.mark.parametrize("arguments, measured", [
    ([], ["training", "memory"]), (["--quick"], ["memory"]), (["--quick", "--only", "training"], ["training"]),
    (["--only", "memory", "--only", "training"], ["training", "memory"])])
def test_the_program_of_a_part(arguments, measured, monkeypatch, capsys):
    monkeypatch.setattr(common, "ceilings", lambda: CEILINGS)
    monkeypatch.setattr(common.signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["part.py", *arguments])
    asked = []
    measures = {row.what: lambda quick, row=row: asked.append((row.what, quick)) or [row] for row in (TRAINING, MEMORY)}
    common.main("Measures.", measures, quick=["memory"], notes=["on other text"])
    assert asked == [(name, "--quick" in arguments) for name in measured]
    printed = capsys.readouterr().out
    assert printed.startswith("torch 2") and printed.endswith("on other text\n") and printed.count("Hugging Face") == len(measured)
    monkeypatch.setattr(sys, "argv", ["part.py", *arguments, "--events"])
    common.main("Measures.", measures, quick=["memory"], notes=["on other text"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0] == {"note": "on other text"}
    assert [event["number"] for event in events if "measure" in event] == [*range(1, len(measured) + 1)]
    assert [Row(**event["row"]).what for event in events if "row" in event] == measured


def test_which_real_texts_are_absent(tmp_path):
    assert texts.absent(None) == texts.absent("") == texts.absent(str(tmp_path)) == [*texts.MIXED, *texts.GPT2]
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2/vocab.bpe").touch()
    assert "gpt2/vocab.bpe" not in texts.absent(str(tmp_path)) and len(texts.absent(str(tmp_path))) == 8


def test_lines_end_at_the_limit_of_bytes(tmp_path):
    for name, text in (("a", "é\nab\n"), ("b", "c\nd")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = [tmp_path / "a", tmp_path / "b"]
    for limit, expected in ((99, ["é\n", "ab\n", "c\n", "d"]), (6, ["é\n", "ab\n"]), (5, ["é\n"])):
        assert [*texts.Text("", files, limit).lines()] == expected


# -------------------------------------------------------------------------------------------------------- the command

def tells(*events, then=""):
    """A program that tells these events."""
    return "import json, os, signal, sys, time\n" + "".join(f"print({json.dumps(event)!r}, flush=True)\n" for event in events) + then


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """Call `bench` in this process with the programs given: exit code, what it said, bench.json or None."""
    threads = torch.get_num_threads()
    for name in ("programs", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(command, "PROGRAMS", tmp_path / "programs")
    monkeypatch.setattr(command, "install_for_tests", lambda: None)

    def call(*arguments, **programs):
        for name, source in programs.items():
            (tmp_path / "programs" / f"{name}.py").write_text(source)
        done = CliRunner().invoke(cli, ["bench", *arguments, "--out", str(tmp_path / "out")])
        path = tmp_path / "out/bench.json"
        return done.exit_code, done.output, json.loads(path.read_text()) if path.is_file() else None

    yield call
    torch.set_num_threads(threads)


def test_what_is_found_is_printed_and_written(bench, tmp_path):
    code, said, data = bench(
        "tokenizers", "seq2seq",
        seq2seq=tells({"measure": "small", "number": 1, "of": 2}, {"ceilings": CEILINGS},
                      {"row": asdict(ALONE)}, {"row": asdict(DECODING)}),
        tokenizers=tells({"note": "on Tinytown"}, {"row": asdict(MEMORY)}, {"ceilings": {"matmul": 5e8}}))
    assert code == 0 and "seq2seq 1/2: small" in said and "on Tinytown" in said and "bench.json and bench.png" in said
    assert [row["what"] for row in data["rows"]] == ["collating", "decoding", "memory"]         # in the order of the parts
    assert Row(**{key: data["rows"][1][key] for key in asdict(DECODING)}) == DECODING           # nothing is lost
    assert data["rows"][1]["ratio"] == [pytest.approx(0.85), 0.8, 0.9] and data["rows"][1]["as_wanted"] is False
    assert data["rows"][1]["share"] == 1.125 and data["rows"][1]["of_ceiling"] == "ceiling disturbed"
    assert data["rows"][0]["ratio"] is None and data["rows"][0]["share"] is None
    assert data["ceilings"] == {"matmul": {"best": 5e8, "measured": [4e8, 5e8]}, "memory": {"best": 8e7, "measured": [8e7]}}
    assert data["complete"] and not data["quick"] and data["failed"] == {} and data["notes"] == ["on Tinytown"]
    assert data["peers"].keys() == {"torch", "tokenizers", "tiktoken"} and all(data["peers"].values())
    assert "PyTorch" in data["machine"] and data["date"].startswith("20")
    with Image.open(tmp_path / "out/bench.png") as picture:
        assert picture.format == "PNG" and picture.width > 900
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bench.json", "bench.lock", "bench.log", "bench.png"]


def test_options_reach_the_programs(bench):
    source = tells(then=f"row = {asdict(ALONE)!r}\nrow['what'] = ' '.join(sys.argv[1:])\nprint(json.dumps({{'row': row}}))")
    code, said, data = bench("gpt", "--quick", "--threads", "3", gpt=source)
    assert code == 0 and data["rows"][0]["what"] == "--events --quick --threads 3"
    assert data["quick"] and "3 thread" in data["machine"] and "bench.png" not in said            # no ratio, no figure
    assert bench("gpt", gpt=source)[2]["rows"][0]["what"] == "--events"


def test_all_parts_are_measured_unless_some_are_named(bench):
    programs = {part: tells({"row": asdict(Row(part, "what", "s", [1]))}) for part in command.PARTS}
    assert [row["part"] for row in bench(**programs)[2]["rows"]] == list(command.PARTS)


def test_a_part_that_breaks_is_named_and_the_others_are_measured(bench, tmp_path):
    breaks = tells({"row": asdict(ALONE)}, then="print('a library speaks'); print(3)\nraise ImportError('no such module')")
    code, said, data = bench("seq2seq", "gpt", seq2seq=breaks, gpt=tells({"row": asdict(TRAINING)}))
    assert code == 1 and "✗ seq2seq: ImportError: no such module (all it said:" in said
    assert [row["what"] for row in data["rows"]] == ["collating", "training"] and not data["complete"] and "seq2seq" in data["failed"]
    log = (tmp_path / "out/bench.log").read_text()
    assert "a library speaks\n3\n" in log and "Traceback" in log
    code, said, _ = bench("gpt", gpt="import os\nos._exit(7)")
    assert code == 1 and "✗ gpt: exit code 7" in said


def test_a_missing_peer_is_installed_or_named(bench, monkeypatch):
    there, tries = [], []
    monkeypatch.setattr(command, "unmet", lambda path: [] if there else ["hypothesis==1", "transformers==5"])
    programs = {"gpt": tells({"row": asdict(TRAINING)}), "seq2seq": tells({"row": asdict(ALONE)})}

    def refuse():
        tries.append(1)
        raise SetupError("no network: pip cannot reach the package index")

    monkeypatch.setattr(command, "install_for_tests", refuse)
    code, said, data = bench("gpt", "seq2seq", **programs)
    assert code == 1 and "no network" in said and "✗ gpt: its peer is not installed: transformers==5" in said
    assert [row["part"] for row in data["rows"]] == ["seq2seq"] and data["failed"].keys() == {"gpt"}
    assert bench("seq2seq", **programs)[0] == 0 and len(tries) == 1                              # which needs no peer
    monkeypatch.setattr(command, "install_for_tests", lambda: there.append(1))
    assert bench("gpt", **programs)[0] == 0


def test_the_peers_are_pinned():
    pinned = pins(command.ROOT / "tests/requirements.txt")
    assert {name for names in command.PARTS.values() for name in names} <= pinned.keys()
    assert all((command.ROOT / "tests/bench" / f"{part}.py").is_file() for part in command.PARTS)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
def test_what_was_measured_before_an_interruption_is_written(bench, tmp_path, how):
    mark = tmp_path / "cleaned"
    asleep = ("signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
              f"time.sleep(0.5)\ntry:\n    os.kill(os.getppid(), signal.{how})\n    time.sleep(60)\n"
              f"finally:\n    open({str(mark)!r}, 'w').close()")
    start = time.monotonic()
    code, said, data = bench("seq2seq", "gpt", seq2seq=tells({"row": asdict(TRAINING)}, then=asleep), gpt=tells({"row": asdict(ALONE)}))
    assert code == 130 and "stopped; 1 rows were measured" in said and time.monotonic() - start < 20
    assert [row["what"] for row in data["rows"]] == ["training"] and not data["complete"]
    assert mark.exists() and (tmp_path / "out/bench.png").exists()                              # the program was stopped, too


def test_wrong_calls(bench, tmp_path):
    assert bench("llama")[0] == 2 and "'llama' is not one of 'seq2seq', 'transformer', 'tokenizers', 'gpt', 'bert', 'alignment'" in \
        bench("llama")[1]
    assert bench("--threads", "0")[0] == 2
    with lock(tmp_path / "out/bench.lock"):
        code, said, data = bench("gpt", gpt=tells())
    assert code == 1 and "another bench is writing" in said and data is None
    assert bench("--help")[0] == 0 and "Example: python3 -m course_lib bench gpt --quick" in bench("--help")[1]


def test_on_a_terminal_a_bar_tells_how_far_it_is(tmp_path):
    bench = command.Bench(["seq2seq", "gpt"], {}, False, None, tmp_path, io.StringIO())
    bench.bar = command.tqdm(total=2, file=io.StringIO(), disable=False, bar_format="{desc} |{bar}| {elapsed}")
    bench.take("gpt", json.dumps({"measure": "decoding", "number": 3, "of": 4}))
    assert bench.bar.n == 1.5 and "gpt 3/4: decoding" in bench.bar.fp.getvalue()


@pytest.mark.parametrize("folder, said", [("", "COURSE_DATA is not set"), (".", "COURSE_DATA lacks wikitext-2")])
def test_where_there_is_no_real_text_tinytown_is_measured(folder, said, tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", folder and str(tmp_path))
    seen = {}
    monkeypatch.setattr(tokenizers, "main", lambda text, measures, quick, notes: seen.update(measures=measures, quick=quick, notes=notes))
    tokenizers.measured()
    note, memory = seen["notes"]
    assert said in note and "measured on Tinytown's text" in note and "memory" in memory
    assert len(seen["measures"]) == 5 and "memory" not in seen["measures"]


@pytest.mark.parametrize("linux", [True, False])
def test_memory_is_measured_on_real_text_where_the_system_tells_it(linux, tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "STATUS", tmp_path / "status")
    (tmp_path / "status").write_text("VmPeak: 9000 kB\nVmHWM:\t   2048 kB\nVmRSS: 7 kB\n") if linux else None
    monkeypatch.setattr(texts, "absent", lambda folder: [])
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    seen = {}
    monkeypatch.setattr(tokenizers, "main", lambda text, measures, quick, notes: seen.update(measures=measures, quick=quick, notes=notes))
    tokenizers.measured()
    assert ("memory" in seen["measures"]) is linux and len(seen["notes"]) == (not linux)
    assert set(seen["quick"]) - {"memory"} <= seen["measures"].keys()
    if linux:
        assert texts.peak_mib() == 2


def test_tinytown_gives_texts_and_merges_that_the_peers_read(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "MIXED_BYTES", 60_000)
    monkeypatch.setattr(texts, "TINYTOWN_BYTES", 30_000)
    small, large, merges = tokenizers.invented(tmp_path)
    by_line = [*small.lines()]
    assert 29_000 < sum(len(line.encode()) for line in by_line) <= 30_000 and by_line == [*large.lines()][:len(by_line)]
    text = "".join(by_line)
    rows = [*tokenizers.measure_encoding(small, merges, quick=True), *tokenizers.measure_training(small, quick=True)]
    assert len(rows) == 6 and {row.unit for row in rows} == {"MB/s"} and all(row.ratio for row in rows)
    assert len(text.encode()) / len(BPETokenizer.from_gpt2(*merges).encode(text)) > 3              # bytes a token: merges, not letters


def test_a_ceiling_is_told_with_its_name():
    assert comparison.reached(0.5, "memory") == "50% memory" and comparison.reached(1.01, "memory") == "ceiling disturbed"
