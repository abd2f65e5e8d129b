"""`lab` as a student meets it: JupyterLab in a headless Chromium that reaches only this machine."""

import contextlib
import json
import re
import shutil
import socket
import sys
import time
from urllib.parse import urlsplit

import nbformat
import psutil
import pytest
from nbformat import v4

from course_lib.cli.chapters import NOTEBOOKS
from course_lib.cli.student import BEGIN

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server(course, *arguments):
    """`lab` running without a browser; yields the address that it prints, with its token."""
    process = course("lab", "--no-browser", "--port", str(free_port()), *arguments)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S+token=\w+", line):
                yield found[0]
                return
        raise AssertionError("no address:\n" + "".join(lines))
    finally:
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        process.communicate(timeout=30)
        for child in psutil.wait_procs(family[1:], timeout=10)[1]:
            child.kill()
            raise AssertionError(f"left running: {child}")


class Lab:
    """One notebook in the browser."""

    def __init__(self, page, address, path):
        self.page, self.path, self.foreign = page, path, []
        page.route("**/*", self._only_here)
        page.goto(address)
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=90_000)
        page.get_by_text("Python 3 (ipykernel) | Idle").first.wait_for(
            timeout=90_000
        )  # it did not ask for a kernel

    def _only_here(self, route):
        if urlsplit(route.request.url).hostname in ("127.0.0.1", "localhost", None):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def run_all(self, seconds):
        self.page.locator(".lm-MenuBar-item", has_text=re.compile("^Run$")).click()
        self.page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()
        book = self.saved(lambda code: code[-1].execution_count is not None or errors(code), seconds)
        assert errors(book.cells) == []
        return book

    def answer(self, index, source, seconds):
        """Write into the cell at `index`, run it and the cell after it; the saved notebook."""
        before = self.saved(lambda code: True, 30)
        cell = self.page.locator(".jp-Notebook .jp-Cell").nth(index)
        cell.scroll_into_view_if_needed()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)
        for _ in range(2):
            self.page.keyboard.press("Shift+Enter")
        last = max(c.execution_count or 0 for c in before.cells if c.cell_type == "code")
        return self.saved(lambda code: max(c.execution_count or 0 for c in code) >= last + 2, seconds)

    def saved(self, condition, seconds):
        """Save until the file fulfils the condition on its code cells: what a student would hand in."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.page.keyboard.press("ControlOrMeta+s")
            time.sleep(0.5)
            book = nbformat.read(self.path, as_version=4)
            if condition([c for c in book.cells if c.cell_type == "code" and c.source.strip()]):
                return book
        self.page.screenshot(path=self.path.with_suffix(".png"))
        raise AssertionError(f"not within {seconds} s; see {self.path.with_suffix('.png')}")


@contextlib.contextmanager
def opened(course, folder, name, *arguments):
    """The student edition of one chapter in JupyterLab."""
    with server(course, name, "--folder", folder, *arguments) as address, sync_api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        try:
            yield Lab(page, address, folder / f"{name}.ipynb")
        finally:
            browser.close()


def errors(cells) -> list[str]:
    """The errors that cells show; the first one stops Run All."""
    return [f"{o.ename}: {o.evalue}" for c in cells for o in c.get("outputs", []) if o.output_type == "error"]


def printed(cell) -> str:
    """What a code cell wrote."""
    return "".join(o.get("text", "") for o in cell.outputs if o.output_type == "stream")


CHECK = """\
import sys, course_lib
def check(answer):
    got = answer(2)
    wrong = f"you add instead of squaring: {got}"
    print("not attempted yet" if got is None else "right ✓" if got == 4 else wrong)
print(sys.executable)
"""


def test_a_student_opens_runs_answers(course, tmp_path):
    """Run All reaches the end without an answer; a right answer gets its sign, a wrong one its message."""
    grade = {"grade": False, "locked": False, "schema_version": 3, "solution": True, "grade_id": "ex-9-1"}
    cells = [
        v4.new_markdown_cell("# Nine\n\n![A square as a drawing](../figures/square.svg)"),
        v4.new_code_cell(CHECK),
        v4.new_code_cell(
            f"def square(x):\n    {BEGIN}\n    return x * x\n    ### END SOLUTION",
            metadata={"nbgrader": grade},
        ),
        v4.new_code_cell("check(square)"),
        v4.new_code_cell("print('the end')"),
    ]
    (tmp_path / "course/notebooks").mkdir(parents=True)
    (tmp_path / "course/figures").mkdir()
    (tmp_path / "course/figures/square.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="40"><rect width="40" height="40"/></svg>')
    nbformat.write(v4.new_notebook(cells=cells), tmp_path / "course/notebooks/09_nine.ipynb")
    folder = tmp_path / "my course"
    with opened(course, folder, "09_nine", "--notebooks", tmp_path / "course/notebooks") as lab:
        book = lab.run_all(60)
        assert printed(book.cells[1]).strip() == sys.executable
        assert printed(book.cells[3]) == "not attempted yet\n" and printed(book.cells[4]) == "the end\n"
        assert printed(lab.answer(2, "def square(x):\n    return x * x", 30).cells[3]) == "right ✓\n"
        assert "add instead of squaring: 22" in printed(
            lab.answer(2, "def square(x):\n    return int(str(x) * 2)", 30).cells[3])
        width = lab.page.locator("img[alt='A square as a drawing']").evaluate("image => image.naturalWidth")
        assert width == 40                      # the figure is there, not only its alt text
        assert lab.foreign == []
    outside = {p.name for p in tmp_path.iterdir()} - {"checkout"}
    assert outside == {"course", "my course"}
    assert "return int" in (folder / "09_nine.ipynb").read_text(), "the student's work was saved"


CHAPTERS = sorted(NOTEBOOKS.glob("03_*.ipynb"))


@pytest.mark.slow
@pytest.mark.skipif(not CHAPTERS, reason="chapter 03 does not exist")
def test_chapter_03_for_a_student(course, tmp_path):
    """The real chapter: Run All with no exercise attempted, then 3.1 answered rightly and wrongly."""
    path = CHAPTERS[0]
    with opened(course, tmp_path / "mine", path.stem, "--notebooks", NOTEBOOKS) as lab:
        book = lab.run_all(1200)
        lab.page.screenshot(path=tmp_path / "end of the chapter.png")
        graded = {c.metadata.nbgrader.grade_id: c for c in book.cells if "nbgrader" in c.metadata}
        blank = [name for name, c in graded.items() if "your code here" in c.source]
        assert len(blank) >= 3
        for name, c in graded.items():
            if c.metadata.nbgrader.grade:
                answer = name.replace("check", "answer")
                assert ("not attempted yet" if answer in blank else "✗") in printed(c), name
        place = book.cells.index(graded["answer-3-1"])
        solution = solved(path, "answer-3-1")
        assert printed(lab.answer(place, solution, 120).cells[place + 1]).startswith("✓ 3.1")
        wrong = solution.replace("softmax(dim=-1)", "softmax(dim=0)")
        assert wrong != solution
        feedback = printed(lab.answer(place, wrong, 120).cells[place + 1])
        assert feedback.startswith("✗ 3.1") and "softmax runs over the batch" in feedback
        lab.page.screenshot(path=tmp_path / "feedback.png")
        assert lab.foreign == []


def solved(path, name) -> str:
    """An answer cell of the instructor's notebook without its marks."""
    [cell] = [c for c in nbformat.read(path, as_version=4).cells
              if c.metadata.get("nbgrader", {}).get("grade_id") == name]
    return "\n".join(line for line in cell.source.splitlines() if not line.strip().startswith("###"))


def test_lab_keeps_the_users_own_settings_out(monkeypatch, tmp_path):
    """What is started, without starting it: this Python, this folder, nothing of the user's Jupyter."""
    from course_lib.cli import lab as command
    started = {}
    monkeypatch.setattr(command, "replace_process", lambda argv, env: started.update(argv=argv, env=env))
    monkeypatch.setenv("JUPYTER_PATH", "/elsewhere")
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    command.open_lab(tmp_path, "03_x.ipynb", no_browser=True, port=8899)
    assert (
        started["argv"][:3] == [sys.executable, "-m", "jupyterlab"]
        and "--ServerApp.port=8899" in started["argv"]
    )
    assert (
        "--LabApp.default_url=/lab/tree/03_x.ipynb" in started["argv"] and "--no-browser" in started["argv"]
    )
    assert "/elsewhere" not in started["env"].values() and "MPLBACKEND" not in started["env"]
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        assert started["env"][name].startswith(str(tmp_path))
    config = json.loads((tmp_path / ".course/config/jupyter_lab_config.json").read_text())
    assert config["LabApp"]["news_url"] is None
