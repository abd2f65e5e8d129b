"""The worker around the corpus: who may run it, what it is told, how it starts again, what it says where it cannot run."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.exercises import draws, exercise, wire
from course_lib.exercises.answers import outputs_of
from course_lib.grading import frames, sandbox
from course_lib.grading.replies import Limits, Reply, read_reply
from course_lib.grading.sandbox import Bubblewrap, Task, Unsandboxed, isolation
from course_lib.grading.stage import LIBRARY
from tests.grading.hostile import REACHES, RIGHT

ROOT = Path(__file__).resolve().parents[2]
ASKED = exercise("3.6")
CASES = ASKED.inputs(draws("3.6", 5))
PACKED = wire.pack([case.args for case in CASES])
NEEDS_BWRAP = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
SMALL = Limits(seconds=6, cpu_seconds=1)


def run(box, source, prelude="", watched=(), name="reverse_within"):
    return box.run(Task(name, source, PACKED, len(CASES), prelude, watched=watched), SMALL)


def points(reply):
    return 0 if reply.outputs is None else ASKED.judge(CASES, reply.outputs).points


@pytest.fixture(scope="module")
def box():
    with Unsandboxed() as box:
        yield box


# ---------------------------------------------------------------- what the worker does with a cell


def test_the_prelude_is_there_and_its_failure_is_ours(box):
    assert points(run(box, "def reverse_within(x, n):\n    return right(x, n)", RIGHT)) == 2
    reply = run(box, RIGHT, "import torch\nnothing_of_this_name")
    assert reply.ours and "nothing_of_this_name" in reply.reason and reply.outputs is None


def test_a_cell_without_the_name_says_so(box):
    outputs = run(box, "def reverse(x, n): return x").outputs
    assert {output.status for output in outputs} == {"raised"}
    assert outputs[0].message == "the cell defines no reverse_within"


def test_what_a_cell_raises_before_the_definition_is_told_with_its_line(box):
    outputs = run(box, "x = 1\ny = x / 0\n" + RIGHT).outputs
    assert outputs[0].status == "raised"
    assert outputs[0].message == "ZeroDivisionError: division by zero (line 2 of the cell)"


def test_an_error_in_the_function_names_its_line(box):
    message = run(box, "def reverse_within(x, n):\n    y = x\n    return y.flip(7)").outputs[0].message
    assert message.startswith("IndexError in line 3 of reverse_within, `return y.flip(7)`")


def test_a_stub_is_nothing(box):
    outputs = run(box, "def reverse_within(x, n):\n    ...  # your code here").outputs
    assert {output.status for output in outputs} == {"nothing"}


def test_inputs_arrive_as_drawn(box):
    """Values, dtypes and memory layout: as in the notebook, where no process stands between."""
    source = "def reverse_within(*args):\n    return [[a.tolist(), str(a.dtype), a.stride()] for a in args]"
    space = {}
    exec(source, space)
    assert run(box, source).outputs == outputs_of(space["reverse_within"], [case.args for case in CASES])


@pytest.mark.parametrize("call", ["F.layer_norm(x, x.shape[1:])", "torch.nn.LayerNorm(x.shape[1:])(x)", "torch.layer_norm(x, x.shape[1:])",
                                  "getattr(F, 'layer' + '_norm')(x, x.shape[1:])", "torch.ops.aten.layer_norm.default(x, x.shape[1:])"])
def test_a_watched_function_is_seen_however_it_is_reached(box, call):
    source = f"import torch\nimport torch.nn.functional as F\ndef reverse_within(x, n):\n    x = x.float()\n    return {call}"
    reply = run(box, source, watched=("layer_norm",))
    assert reply.outputs[0].status == "value" and reply.used == ("layer_norm",)
    assert run(box, source).used == ()


def test_a_module_of_the_course_that_the_prelude_does_not_bring_is_seen(box):
    source = "def reverse_within(x, n):\n    import course_lib.attention\n    return x"
    assert "course_lib.attention" in run(box, source).used
    assert "course_lib.attention" not in run(box, source, "import course_lib.attention").used


# ---------------------------------------------------------------- starting, ending, starting again


def processes_of(text):
    """The processes of this machine with `text` in their command line or variables."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if text in (folder / "cmdline").read_text() + (folder / "environ").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("kind", [pytest.param(Bubblewrap, marks=NEEDS_BWRAP), Unsandboxed])
def test_nothing_is_left_when_it_is_closed(kind):
    with kind() as box:
        box.start()
        stage = box.stage.path
        assert processes_of(str(stage)) and stage.is_dir()
        points(run(box, RIGHT))
    assert not stage.exists()
    deadline = time.monotonic() + 5
    while processes_of(str(stage)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(str(stage)) == []


@NEEDS_BWRAP
def test_a_worker_ends_with_the_grader_even_if_that_is_killed():
    source = ("import os, signal, sys, time\nfrom course_lib.grading.sandbox import Bubblewrap\nbox = Bubblewrap()\nbox.start()\n"
              "print(box.stage.path, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)")
    ended = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    stage = Path(ended.stdout.strip())
    assert ended.returncode == -9 and stage.is_dir()
    deadline = time.monotonic() + 10
    while processes_of(str(stage)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(str(stage)) == []
    with Unsandboxed() as first, Unsandboxed() as second:
        first.start()
        assert not stage.exists()             # what the killed one left
        second.start()
        assert first.stage.path.is_dir()      # in use


def test_one_who_sleeps_is_stopped_and_the_worker_goes_on(box):
    box.start()
    first = box.box.process.pid
    task = Task("reverse_within", "import time\ntime.sleep(60)", PACKED, len(CASES))
    assert box.run(task, Limits(seconds=0.5)).reason == "stopped after 0.5 seconds"
    assert points(run(box, RIGHT)) == 2 and box.box.process.pid == first


def test_a_lost_worker_is_replaced(box):
    run(box, RIGHT)
    first = box.box.process
    first.kill()
    first.wait()
    assert points(run(box, RIGHT)) == 2
    assert box.box.process.pid != first.pid


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_an_answer_that_ends_the_worker_gets_one_more_try_and_no_more(box):
    """It kills the worker and the copy that watches it, as only an answer without a sandbox can."""
    source = """
import os
def reverse_within(x, n):
    with open(f'/proc/{os.getppid()}/stat') as file:
        os.kill(int(file.read().rsplit(')', 1)[1].split()[1]), 9)
    os.kill(os.getppid(), 9)
    os._exit(0)
"""
    started = []
    honest = box.command
    box.command = lambda stage: started.append(stage) or honest(stage)
    box.drop()
    assert run(box, source).reason == "it stopped the process that was to run it"
    assert len(started) == 2 and points(run(box, RIGHT)) == 2
    del box.command


def test_unsandboxed_students_have_a_worker_each(box):
    run(box, RIGHT)
    first = box.box.process.pid
    run(box, RIGHT)
    assert box.box.process.pid == first
    box.next_student()
    assert points(run(box, RIGHT)) == 2 and box.box.process.pid != first


@NEEDS_BWRAP
def test_sandboxed_students_share_a_worker_where_each_answer_is_alone():
    with Bubblewrap() as box:
        run(box, RIGHT)
        first = box.box.process.pid
        box.next_student()
        assert box.alone and points(run(box, RIGHT)) == 2 and box.box.process.pid == first


class NoNamespacesInside(Bubblewrap):
    """As on a system that lets bubblewrap make namespaces, and then nobody else."""

    def command(self, stage):
        program, *others = super().command(stage)
        user = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--disable-userns"]
        return [program, *user, *(part for part in others if part != "--unshare-user")]


@NEEDS_BWRAP
def test_without_namespaces_inside_students_have_a_sandbox_each():
    with NoNamespacesInside() as box:
        assert points(run(box, RIGHT)) == 2 and not box.alone
        first = box.box.process.pid
        assert points(run(box, "import os\nos.kill(os.getppid(), 9)\n" + RIGHT)) in (0, 2)
        for name in ("a file of this machine", "the solutions, as files", "the course, to write", "the network", "the grader, by a signal",
                     "the grader's memory", "memory that no limit counts"):
            with socket.create_server(("127.0.0.1", 0)) as server:
                fillers = {"GRADER": os.getpid(), "PORT": server.getsockname()[1], "COURSE": LIBRARY}
                source = REACHES[name].source
                for word, value in fillers.items():
                    source = source.replace(word, str(value))
                assert run(box, source).outputs[0].status == "raised", name
        box.next_student()
        assert points(run(box, RIGHT)) == 2 and box.box.process.pid != first


FROM_SCRATCH = """
import sys
from course_lib.grading.sandbox import Bubblewrap
from tests.grading.test_sandbox import RIGHT, points, run
print(sys.prefix)
with Bubblewrap() as box:
    print(points(run(box, RIGHT)), box.alone)
    print(points(run(box, "import regex\\n" + RIGHT)))  # not loaded when the worker starts
    print(run(box, f"import os\\ndef reverse_within(x, n):\\n    return os.statvfs({sys.prefix!r}).f_flag & os.ST_RDONLY").outputs[0].value)
    print(run(box, "import os\\ndef reverse_within(x, n):\\n    return os.listdir('/tmp') + os.listdir('/dev/shm')").outputs[0].value)
    print(run(box, "def reverse_within(x, n):\\n    open('/tmp/a', 'w').write('x')\\n    return open('/tmp/a').read()").outputs[0].value)
    print(run(box, "import os\\ndef reverse_within(x, n):\\n    return os.path.exists('/tmp/a')").outputs[0].value)
"""


@NEEDS_BWRAP
@pytest.mark.parametrize("scratch", ["/tmp", "/dev/shm"])
def test_python_may_lie_where_answers_write(scratch):
    """As of a course that was cloned to /tmp: it is shown, read-only, and nothing beside it."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        home = Path(folder) / "venv"
        home.mkdir()
        (Path(folder) / "secret").write_text("x")
        world = ["bwrap", "--dev-bind", "/", "/", "--bind", sys.prefix, str(home), "--"]
        done = subprocess.run([*world, str(home / "bin" / "python"), "-c", FROM_SCRATCH], cwd=ROOT, capture_output=True, text=True)
        top = Path(folder).name
        assert done.stdout.splitlines() == [str(home), "2 True", "2", "1", str([top]), "x", "False"], done.stderr[-2000:]


# ---------------------------------------------------------------- where it cannot run


def test_without_bubblewrap_it_says_what_is_not_protected(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"^isolation: got a system without bubblewrap .*--unsandboxed: .*gradebook.*network") as said:
        isolation()
    assert "\n" not in str(said.value)
    with isolation(unsandboxed=True) as box:
        assert isinstance(box, Unsandboxed)


def test_a_bubblewrap_that_the_system_forbids_is_quoted(monkeypatch, tmp_path):
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nsleep 0.2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    with pytest.raises(ValueError, match=r"does not start: bwrap: No permissions to create new namespace; .*--unsandboxed"):
        isolation()


def test_a_worker_that_stays_silent_is_given_up(monkeypatch):
    monkeypatch.setattr(sandbox, "START_SECONDS", 0.3)
    monkeypatch.setattr(Unsandboxed, "command", lambda self, stage: [sys.executable, "-c", "import time; time.sleep(60)"])
    with pytest.raises(ValueError, match="does not start: no word from it"), Unsandboxed() as box:
        box.start()


# ---------------------------------------------------------------- bytes from anybody

NORMAL_END = {"code": 0, "late": False, "cpu": 0.1}


def test_only_plain_data_reaches_the_judge():
    """What the wire can carry to the worker need not be welcome back."""
    text, arrays = wire.pack([("value", np.random.default_rng(0), "")])
    reply = read_reply(NORMAL_END, frames.frame({"outputs": text, "used": []}, arrays), 1, SMALL)
    assert reply.outputs is None and reply.reason.startswith("what it sent back cannot be read")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content):
    assert read_reply(NORMAL_END, content, 1, SMALL).outputs is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
                        ["array", "dtype", "shape", "order", "dict", "list", "tuple", "set", "generator", "outputs"]), inner, max_size=4)),
       st.binary(max_size=20))
def test_no_json_breaks_the_reader(tree, blob):
    for header in ({"outputs": json.dumps(tree), "used": []}, {"outputs": tree, "used": tree}):
        reply = read_reply(NORMAL_END, frames.frame(header, [blob]), 1, SMALL)
        assert isinstance(reply, Reply) and reply.outputs is None and reply.reason


@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "sizes"), st.integers()), st.lists(st.binary(max_size=9), max_size=4))
def test_frames_return_what_was_sent(header, blobs):
    content = frames.frame(header, blobs)
    got, parts = frames.unframe(content, 10_000)
    assert got == {**header, "sizes": [len(blob) for blob in blobs]} and parts == blobs
    for broken in (content + b"x", content[:-1], content[1:]):
        with pytest.raises(ValueError, match="content: "):
            frames.unframe(broken, 10_000)
    with pytest.raises(ValueError, match="expected at most 1"):
        frames.unframe(content, 1)


@pytest.mark.parametrize(("ended", "words"), [
    (None, "stopped the process"),
    ({"code": 0, "late": True, "cpu": 0.0}, "stopped after 6 seconds"),
    ({"code": -24, "late": False, "cpu": 1.0}, "stopped after 1 seconds of computing"),
    ({"code": -11, "late": False, "cpu": 0.1}, "broke down (SIGSEGV)"),
    ({"code": -9, "late": False, "cpu": 0.1}, "broke down (SIGKILL)"),
    ({"code": 1, "late": False, "cpu": 0.1}, "ended its own process"),
])
def test_every_end_has_its_words(ended, words):
    assert words in read_reply(ended, b"", 1, SMALL).reason


# ---------------------------------------------------------------- as root and as an ordinary user


def as_ordinary_user(*command):
    """`command` under a user id without rights, for tests run as root: in a view of this machine where its home opens no door."""
    home = Path.home()
    world = ["bwrap", "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", str(home)]
    for place in {Path(sys.base_prefix), Path(sys.prefix), ROOT}:
        if home in place.parents:
            for parent in reversed(place.parents):
                world += ["--perms", "0755", "--dir", str(parent)] if home in parent.parents else []
            world += ["--ro-bind", str(place), str(place)]
    return [*world, "--chdir", str(ROOT), "setpriv", "--reuid", "1234", "--regid", "1234", "--clear-groups", "--", *command]


@NEEDS_BWRAP
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="this run is an ordinary user's already")
@pytest.mark.parametrize("chosen", [
    "network or worker or process or classmate or shared or gone",
    pytest.param("bubblewrap or unsandboxed", marks=pytest.mark.slow),
])
def test_the_corpus_as_an_ordinary_user(chosen):
    done = subprocess.run(
        as_ordinary_user(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/grading/test_hostile.py",
                         "-k", f"bubblewrap and ({chosen})" if "unsandboxed" not in chosen else chosen),
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert int(done.stdout.rsplit(" passed", 1)[0].rsplit(None, 1)[-1]) >= 10
