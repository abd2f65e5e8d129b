"""The hostile corpus in both isolations: no points, nothing read or written, nothing left, and the next answer unharmed."""

import os
import shutil
import socket
import sys
import time

import pytest

from course_lib.exercises import draws, exercise, wire
from course_lib.grading.replies import Limits
from course_lib.grading.sandbox import Task, isolation
from course_lib.grading.stage import LIBRARY
from tests.grading.hostile import FOR_POINTS, HARMLESS, REACHES, RIGHT

LIMITS = Limits(seconds=6, cpu_seconds=1, memory=512 << 20)
LINUX = sys.platform == "linux"
KINDS = ["bubblewrap", "unsandboxed"] if shutil.which("bwrap") else ["unsandboxed"]
ASKED = exercise("3.6")
CASES = ASKED.inputs(draws("3.6", 77))
PACKED = wire.pack([case.args for case in CASES])


@pytest.fixture(scope="module", params=KINDS)
def box(request):
    os.environ["COURSE_CANARY"] = "do not tell"
    with isolation(request.param == "unsandboxed") as box:
        yield box
    del os.environ["COURSE_CANARY"]


def run(box, source):
    return box.run(Task("reverse_within", source, PACKED, len(CASES)), LIMITS)


def points(reply):
    return 0 if reply.outputs is None else ASKED.judge(CASES, reply.outputs).points


@pytest.mark.parametrize("name", FOR_POINTS)
def test_no_points_and_the_next_answer_is_unharmed(box, name, tmp_path):
    canary = tmp_path / "canary"
    start = time.monotonic()
    reply = run(box, FOR_POINTS[name].replace("CANARY", str(canary)))
    assert points(reply) == 0
    assert reply.outputs is not None or reply.reason
    assert time.monotonic() - start < LIMITS.seconds + 12
    assert not canary.exists()
    assert points(run(box, RIGHT)) == ASKED.points


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_but_right(box, name):
    reply = run(box, HARMLESS[name])
    assert reply.reason == "" and points(reply) == ASKED.points


@pytest.fixture(scope="module")
def listener():
    """A socket on this machine; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.socket(socket.AF_UNIX) as local:
            if LINUX:
                local.bind(f"\0course-{port}")
                local.listen()
            yield port


@pytest.mark.parametrize("name", REACHES)
def test_what_can_be_reached(box, name, tmp_path, listener):
    secret, canary = tmp_path / "classmate.ipynb", tmp_path / "gradebook.db"
    secret.write_text("a classmate's answer")
    canary.write_text("")
    fillers = {"SECRET": secret, "CANARY": canary, "GRADER": os.getpid(), "PORT": listener, "COURSE": LIBRARY, "HOME": tmp_path}
    reach, source = REACHES[name], REACHES[name].source
    for word, value in fillers.items():
        source = source.replace(word, str(value))
    reply = run(box, source)
    reached = reply.outputs is not None and reply.outputs[0].status == "value"
    assert reply.reason == ""  # refused at once, not stopped in the end
    if box.alone or reach.open_without is not None:
        assert reached == bool(reach.open_without and not box.alone), reply
    assert (canary.read_text() != "") == (reached and "grade book" in name)
    assert points(run(box, RIGHT)) == ASKED.points


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm", "."])
def test_files_of_an_answer_are_gone_for_the_next(box, folder):
    """Without a sandbox they are not: then this test cleans up itself."""
    if not os.path.isdir(folder):
        pytest.skip(f"this system has no {folder}")
    note = f"{folder}/note-{os.getpid()}"
    left = run(box, f"open({note!r}, 'w').close()\nreverse_within = lambda x, lengths: 'left'")
    found = run(box, f"import os\nreverse_within = lambda x, lengths: os.path.exists({note!r})")
    if os.path.exists(note):
        os.unlink(note)
    assert left.outputs[0].value == "left"
    assert found.outputs[0].value is (not box.alone)


def test_modules_and_memory_of_an_answer_are_gone_for_the_next(box):
    run(box, "import torch, sys\ntorch.left = sys.left = 'the first answer'\nreverse_within = print")
    reply = run(box, """
import gc, sys, torch
def reverse_within(x, lengths):
    texts = [item for item in gc.get_objects() if isinstance(item, dict) and 'left' in item]
    return [hasattr(torch, 'left'), hasattr(sys, 'left'), len(texts)]
""")
    assert reply.outputs[0].value[:2] == [False, False]
    assert reply.outputs[0].value[2] == 0
