"""The process in which answers run: it knows no test, no expected value and no point.

It imports torch once and then makes a copy of itself (fork) for every request: the copy reads the request, gives up
all it can, runs the answer, sends plain data back and ends. The worker itself never sees a request or a reply, so
nothing of one student is in the memory of the next.

Standard input: requests (frames). Standard output: replies (frames; foreign code may write anything here). Standard
error: one JSON line when ready and one per request, out of reach of the answer.
"""

import ast
import contextlib
import gc
import json
import linecache
import os
import select
import signal
import sys
from typing import Any

import numpy
import numpy.random  # loaded now, or every copy would load it again
import torch
from torch.overrides import TorchFunctionMode

from course_lib.exercises import answers, wire
from course_lib.grading import confine, frames

ENDED = 77  # exit code of a copy that found no further request
REPLY = 3  # where the copy that runs an answer writes


class Watch(TorchFunctionMode):
    """Notes which of the names in `wanted` are called, by whatever way they are reached in torch."""

    def __init__(self, wanted: list[str]):
        super().__init__()
        self.wanted, self.seen = frozenset(wanted), set()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "").partition(".")[0]
        if name in self.wanted:
            self.seen.add(name)
        return function(*args, **(kwargs or {}))


def serve() -> None:
    """Answer requests until there is no further one."""
    sandboxed = "--sandboxed" in sys.argv
    if sandboxed:
        confine.drop_root()
        for module in (os, numpy, torch):
            os.listdir(os.path.dirname(module.__file__))  # an unprivileged user must be able to import from there
    gc.freeze()  # what is loaded now stays shared with all copies
    _say({"ready": True, "alone": sandboxed and _can_be_alone()})
    while True:
        select.select([0], [], [])
        copy = os.fork()
        if copy == 0:
            os._exit(_watched())
        code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
        if code == ENDED:
            return
        if code:  # an answer may have killed the copy that watched it, where it is not alone; it may still be writing, too
            _say({"code": 1, "late": False, "cpu": 0.0})
            return


def _can_be_alone() -> bool:
    """True if this system lets a copy have namespaces of its own inside the sandbox."""
    copy = os.fork()
    if copy == 0:
        try:
            confine.own_namespaces()
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(copy, 0)[1] == 0


def _watched() -> int:
    """Read a request, have it answered by a child, end that child in time, and say how it ended."""
    header, blobs = _request()
    if not header:
        return ENDED
    if header["alone"]:
        confine.own_namespaces()
    child = os.fork()
    if child == 0:
        _run_and_end(header, blobs)
    late = []

    def stop(*_):
        late.append(True)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, header["seconds"])
    _, status, used = os.wait4(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)  # what the answer has started and not hidden; in its own namespaces all is gone already
    _say({"code": os.waitstatus_to_exitcode(status), "late": bool(late), "cpu": used.ru_utime + used.ru_stime})
    return 0


def _request() -> tuple[dict[str, Any], list[bytes]]:
    """One whole frame from standard input; ({}, []) at its end."""
    start = _read(frames.LENGTH.size)
    if not start:
        return {}, []
    header = json.loads(_read(frames.LENGTH.unpack(start)[0]))
    return header, [_read(size) for size in header["sizes"]]


def _read(size: int) -> bytes:
    parts, left = [], size
    while left:
        part = os.read(0, min(left, 1 << 20))
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _say(line: dict[str, Any]) -> None:
    os.write(2, json.dumps(line).encode() + b"\n")


def _run_and_end(header: dict[str, Any], blobs: list[bytes]) -> None:
    """Confined and with no way out but the reply: run the answer, send what came back, end at once."""
    try:
        os.setsid()
        os.dup2(1, REPLY)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.closerange(REPLY + 1, 1 << 16)
        if header["alone"]:
            confine.give_up_rights()
        confine.limit(header["memory"], header["cpu_seconds"])
        confine.refuse_calls()
        content = frames.frame(*answer(header, blobs))
        while content:
            content = content[os.write(REPLY, content):]
        os._exit(0)  # no atexit, no __del__
    finally:
        os._exit(1)


def answer(header: dict[str, Any], blobs: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
    """Run one answer on its inputs; the reply's header and blobs."""
    inputs = wire.unpack(header["inputs"], blobs)
    space: dict[str, Any] = {"__name__": "__main__"}
    if failure := _execute(header["prelude"], "<course>", space):
        return {"failed": failure}, []
    loaded = set(sys.modules)
    watch = Watch(header["watched"])
    with watch:
        failure = _execute(header["source"], "<answer>", space)
        if header["name"] in space:
            outputs = answers.outputs_of(space[header["name"]], inputs, header["is_function"])
        else:
            said = failure or f"the cell defines no {header['name']}"
            outputs = [answers.Output("raised", message=said) for _ in inputs]
    rows = [(output.status, output.value, alone(output.message)) for output in outputs]
    text, arrays = wire.pack(rows)
    imported = sorted(name for name in set(sys.modules) - loaded if name.startswith("course_lib."))
    return {"outputs": text, "used": [*sorted(watch.seen), *imported]}, arrays


def alone(said: str) -> str:
    """What was raised; to a name that is missing here, though perhaps not in the whole notebook, why it is."""
    return f"{said}; answers run alone: what other cells compute is not there" if said.startswith("NameError") else said


def _execute(source: str, file: str, space: dict[str, Any]) -> str:
    """Run a cell statement by statement, as far as it goes; "" or what was raised, in one line."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    try:
        for statement in ast.parse(source).body:
            exec(compile(ast.Module([statement], []), file, "exec"), space)
    except (Exception, SystemExit) as error:
        line = next((frame.tb_lineno for frame in _frames(error) if frame.tb_frame.f_code.co_filename == file), None)
        return f"{answers.describe(error, None)}{f' (line {line} of the cell)' if line else ''}"
    return ""


def _frames(error: BaseException):
    trace = error.__traceback__
    while trace:
        yield trace
        trace = trace.tb_next


if __name__ == "__main__":
    serve()
