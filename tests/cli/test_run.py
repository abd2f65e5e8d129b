"""The command `run` on throwaway chapters: results, report, interruption, resumption."""

import functools
import json
import os
import signal
import sys
import time

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from course_lib.cli import chapters, report
from course_lib.cli import run as command
from course_lib.cli.app import cli
from course_lib.cli.notebooks import write_notebook
from course_lib.cli.process import lock

# Like metrics.outcome, but without loading torch: what run knows of an outcome is the line in this file.
OUTCOME = """\
import json, os
class OutcomeError(AssertionError): pass
def outcome(name, value, low=None, high=None):
    ok = (low is None or value >= low) and (high is None or value <= high)
    with open(os.environ["COURSE_OUTCOMES"], "a") as file:
        file.write(json.dumps({"name": name, "value": value, "low": low, "high": high, "ok": ok,
                               "headline": name == "exact match"}) + "\\n")
    if not ok: raise OutcomeError(name)
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Call `run` in this process: exit code, what it said, report.json. The library counts as unchanged."""
    library = tmp_path / "library"
    library.mkdir()
    monkeypatch.setattr(command, "keys", functools.partial(chapters.keys, library=library))

    def call(*arguments):
        done = CliRunner().invoke(cli, ["run", *arguments, "--notebooks", str(tmp_path / "notebooks"),
                                        "--out", str(tmp_path / "out")])
        return done.exit_code, done.output, json.loads((tmp_path / "out/report.json").read_text())
    return call


def test_good_chapters_and_their_report(run, notebook, tmp_path):
    folder = tmp_path / "notebooks"
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/step.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    )
    notebook(
        folder / "02_first.ipynb",
        "First & foremost",
        OUTCOME,
        "outcome('exact match', 0.95, low=0.9)",
        nbformat.v4.new_markdown_cell(
            "![A picture with a square, nothing else](../figures/step.svg)", id="m"
        ),
    )
    notebook(
        folder / "03_second.ipynb",
        "Second",
        OUTCOME,
        "block = b'x' * 200_000_000\nprint(len(block))",
        "outcome('error rate', 0.1, high=0.25)\noutcome('slope', 1.0, low=0.9, high=1.1)",
        "import course_lib, sys\nprint(sys.executable)",
    )
    code, said, found = run()
    assert code == 0 and "2 of 2 chapters" in said, said
    assert found["ok"] and found["not_run"] == []
    first, second = found["chapters"]
    assert (first["number"], first["status"], first["cells"]) == ("02", "ok", 2)
    assert first["outcomes"] == [{"name": "exact match", "value": 0.95, "low": 0.9, "high": None, "ok": True,
                                  "headline": True, "band": "at least 0.9"}]
    assert "✓ exact match" in said and "0.950" in said and "together" in said and "at most 0.25" not in said
    assert [o["band"] for o in second["outcomes"]] == ["at most 0.25", "0.9 to 1.1"]
    assert second["peak_mb"] > 200 > first["peak_mb"] > 20
    assert 0 < first["seconds"] < 60 and found["versions"]["python"] and found["machine"]["cores"] >= 1
    executed = nbformat.read(tmp_path / "out/notebooks/03_second.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells[1:]] == [1, 2, 3, 4]
    assert executed.cells[4].outputs[0].text.strip() == sys.executable
    page = (tmp_path / "out/report.html").read_text()
    assert "First &amp; foremost" in page and "0.950" in page and "at most 0.25" in page
    assert 'href="notebooks/02_first.html"' in page and "http://" not in page and "https://" not in page
    body = (tmp_path / "out/notebooks/02_first.html").read_text()
    assert "A picture with a square" in body and "data:image/svg+xml" in body
    assert (tmp_path / "out/figures/step.svg").is_file()


def test_what_goes_wrong_is_shown_and_the_others_still_run(run, notebook, tmp_path):
    folder = tmp_path / "notebooks"
    notebook(folder / "02_bad_outcome.ipynb", "Bad outcome", OUTCOME, "outcome('exact match', 0.4, low=0.9)",
             "outcome('later one', 1.0, low=0.9)")
    notebook(folder / "03_bad_cell.ipynb", "Bad cell", "x = 1", "y = x / 0  # the culprit", "print('never')")
    notebook(folder / "04_dies.ipynb", "Dies", "import os\nos._exit(9)", "1")
    notebook(folder / "05_good.ipynb", "Good", "1 + 1")
    code, said, found = run()
    assert code == 1 and "1 of 4 chapters" in said
    assert [c["status"] for c in found["chapters"]] == [
        "out of band",
        "failed",
        "failed",
        "ok",
    ] and not found["ok"]
    assert [o["name"] for o in found["chapters"][0]["outcomes"]] == ["exact match", "later one"]
    assert "exact match: 0.400 is not at least 0.9" in said
    assert "y = x / 0  # the culprit" in said and "ZeroDivisionError" in said
    assert (
        found["chapters"][1]["error"]["cell"] == 2 and "kernel died" in found["chapters"][2]["error"]["name"]
    )
    page = (tmp_path / "out/report.html").read_text()
    assert "# the culprit" in page and "ZeroDivisionError" in page
    assert [
        c["execution_count"]
        for c in json.loads((tmp_path / "out/notebooks/03_bad_cell.ipynb").read_text())["cells"]
        if c["cell_type"] == "code"
    ] == [1, 2, None]
    code, said, found = run()                   # what was good is kept, what was not is run again
    assert code == 1 and "05_good: done" in said and "✗ 03_bad_cell" in said
    code, said, _ = run("05")
    assert code == 0 and "✓ 05_good" in said and "bad" not in said


def test_changed_code_is_run_again_and_later_chapters_with_it(run, notebook, tmp_path):
    folder = tmp_path / "notebooks"
    for name in ("02_a", "03_b", "04_c"):
        notebook(folder / f"{name}.ipynb", name, f"'{name}'")
    assert run()[0] == 0
    notebook(folder / "03_b.ipynb", "another title, the same code", "'03_b'")
    assert run()[1].count("kept") == 3
    notebook(folder / "03_b.ipynb", "03_b", "'changed'")
    said = run()[1]
    assert "02_a: done" in said and "✓ 03_b" in said and "✓ 04_c" in said
    assert "✓ 02_a" in run("--fresh")[1]


def wait_for(condition, process, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    "how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL]
)
def test_stopped_and_started_again(how, course, notebook, tmp_path):
    folder, mark, go = tmp_path / "notebooks", tmp_path / "the cell runs", tmp_path / "go"
    notebook(folder / "02_a.ipynb", "a", "1")
    notebook(folder / "03_b.ipynb", "b", "import subprocess, sys\nchild = subprocess.Popen(['sleep', '100'])",
             f"import pathlib, time\nif not pathlib.Path({str(go)!r}).exists():\n"
             f"    pathlib.Path({str(mark)!r}).touch()\n    time.sleep(100)\nchild.kill()")
    process = course("run", "--notebooks", folder, "--out", tmp_path / "out")
    wait_for(mark.exists, process)
    kernels = psutil.Process(process.pid).children(recursive=True)
    assert len(kernels) >= 2                    # the kernel, and the program that its cell started
    process.send_signal(how)
    err = process.communicate(timeout=60)[1] if how is not signal.SIGKILL else process.wait(60)
    if how is not signal.SIGKILL:
        assert process.returncode == 130 and "stopped in 03_b, cell 2 of 2" in err
        assert not psutil.wait_procs(kernels, timeout=5)[1]
    else:                                       # nobody is left to stop them: the kernel notices by itself
        assert not psutil.wait_procs([k for k in kernels if is_kernel(k)], timeout=30)[1]
        for orphan in filter(psutil.Process.is_running, kernels):
            orphan.kill()
    found = json.loads((tmp_path / "out/report.json").read_text())
    assert (
        [c["chapter"] for c in found["chapters"]] == ["02_a"]
        and found["not_run"] == ["03_b"]
        and not found["ok"]
    )
    go.touch()
    process = course("run", "--notebooks", folder, "--out", tmp_path / "out")
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "02_a: done" in said and "✓ 03_b" in said


def is_kernel(process):
    try:
        return "ipykernel_launcher" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def test_two_runs_do_not_share_a_folder(notebook, tmp_path):
    notebook(tmp_path / "notebooks/02_a.ipynb", "a", "1")
    with lock(tmp_path / "run.lock"):
        done = CliRunner().invoke(
            cli, ["run", "--notebooks", str(tmp_path / "notebooks"), "--out", str(tmp_path)]
        )
    assert done.exit_code == 1 and "another run" in done.output and not (tmp_path / "report.json").exists()


def test_in_place_writes_what_nbval_can_compare(run, notebook, tmp_path):
    path = notebook(
        tmp_path / "notebooks/02_a.ipynb", "a", "print('ä')", "import sys; print('x', file=sys.stderr)"
    )
    bad = notebook(tmp_path / "notebooks/03_b.ipynb", "b", "print(1)", "1/0")
    before = bad.read_bytes()
    assert run("02", "--in-place")[0] == 0
    text = path.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert [c["execution_count"] for c in cells[1:]] == [1, 2] and [c["id"] for c in cells] == [
        "title",
        "c0",
        "c1",
    ]
    assert text.endswith("}\n") and not text.endswith("\n\n") and '\n "cells"' in text and "ä" in text
    assert (
        "execution" not in cells[1]["metadata"]
        and "version" not in json.loads(text)["metadata"]["language_info"]
    )
    assert run("02", "--in-place")[0] == 0 and path.read_text(encoding="utf-8") == text
    assert run("03", "--in-place")[0] == 1 and bad.read_bytes() == before


def test_names_of_chapters(notebook, tmp_path):
    for name in ("02_rnn", "03_attention", "10_today"):
        notebook(tmp_path / f"{name}.ipynb", name, "1")
    found = chapters.find_chapters(tmp_path)
    assert (
        [c.number for c in found] == ["02", "03", "10"]
        and found[0].title == "02_rnn"
        and found[0].minutes == 2
    )
    for name in ("3", "03", "03_attention", "03_attention.ipynb", "notebooks/03_attention.ipynb"):
        assert [c.name for c in chapters.select(found, [name])] == ["03_attention"]
    assert [c.number for c in chapters.select(found, ["10", "2"])] == ["02", "10"]
    with pytest.raises(ValueError, match=r"no chapter '11'.*02_rnn, 03_attention"):
        chapters.select(found, ["11"])
    (tmp_path / "04_broken.ipynb").write_text("{}")
    with pytest.raises(ValueError, match="04_broken"):
        chapters.find_chapters(tmp_path)


def test_a_report_that_cannot_be_read_starts_over(tmp_path):
    (tmp_path / "report.json").write_text('{"chapters": [{"chapter": "02"')
    assert report.read_report(tmp_path / "report.json") == {}


def test_outcomes_survive_a_cut_off_line(tmp_path):
    (tmp_path / "o.jsonl").write_text(
        '{"name": "a", "value": null, "low": 0, "high": null, "ok": false}\n{"name": "b", "va'
    )
    found = report.read_outcomes(tmp_path / "o.jsonl")
    assert [(o.name, o.shown, o.band) for o in found] == [("a", "not a number", "at least 0")]


def test_the_same_notebook_gives_the_same_bytes(notebook, tmp_path):
    path = notebook(tmp_path / "a.ipynb", "a", "1")
    book = nbformat.read(path, as_version=4)
    book.metadata["widgets"] = {"state": {}}
    book.cells[1].metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    write_notebook(book, tmp_path / "b.ipynb")
    first = (tmp_path / "b.ipynb").read_bytes()
    write_notebook(nbformat.read(tmp_path / "b.ipynb", as_version=4), tmp_path / "b.ipynb")
    assert (tmp_path / "b.ipynb").read_bytes() == first and b"2026" not in first and b"widgets" not in first
