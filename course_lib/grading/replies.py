"""What a worker sends back, read as bytes from anybody: outputs as plain data, or a reason in words."""

import signal
from dataclasses import dataclass
from typing import Any

from course_lib.exercises import answers, wire
from course_lib.exercises.answers import Output
from course_lib.grading import frames

OWN_END = "it ended its own process"
MAX_HEADER = 8 << 20  # bytes of JSON in a reply


@dataclass(frozen=True)
class Limits:
    """What one answer may use: seconds by the clock and of computing, bytes of memory and of its reply."""

    seconds: float = 30.0
    cpu_seconds: int = 10
    memory: int = 768 << 20
    reply: int = 64 << 20


@dataclass(frozen=True)
class Reply:
    """What came of a task: outputs, or None and the reason in words; what it used of the names watched; seconds of computing.

    `ours` is True if the reason lies with the course (its prelude fails), not with the answer.
    """

    outputs: list[Output] | None
    reason: str = ""
    used: tuple[str, ...] = ()
    seconds: float = 0.0
    ours: bool = False


def read_reply(ended: dict[str, Any] | None, content: bytes, due: int, limits: Limits) -> Reply:
    """Bytes from foreign code, and the worker's word on how it ended → a Reply; of outputs as many as are due, as plain data."""
    seconds = float(ended["cpu"]) if ended else 0.0
    if len(content) > limits.reply:
        return Reply(None, f"it sends more than {limits.reply >> 20} MB back", seconds=seconds)
    if ended is None:
        return Reply(None, "it stopped the process that was to run it")
    if reason := _violent_end(ended, limits) or ("" if content else OWN_END):
        return Reply(None, reason, seconds=seconds)
    try:
        header, blobs = frames.unframe(content, MAX_HEADER)
        if "failed" in header:
            return Reply(None, f"the course's own cells failed: {str(header['failed'])[:300]}", seconds=seconds, ours=True)
        outputs = [_output(*row) for row in wire.unpack(header["outputs"], blobs)]
        if len(outputs) != due:
            raise ValueError(f"outputs: got {len(outputs)}, expected {due}")
        return Reply(outputs, used=tuple(str(name)[:60] for name in header["used"][:20]), seconds=seconds)
    except Exception as error:  # whatever bytes may do to a reader, they do it to this one answer
        return Reply(None, f"what it sent back cannot be read ({type(error).__name__})", seconds=seconds)


def _violent_end(ended: dict[str, Any], limits: Limits) -> str:
    if ended["late"]:
        return f"stopped after {limits.seconds:g} seconds"
    if -ended["code"] in (signal.SIGXCPU, signal.SIGKILL) and ended["cpu"] > limits.cpu_seconds - 0.5:
        return f"stopped after {limits.cpu_seconds} seconds of computing"
    if ended["code"] < 0:
        return f"its process broke down ({signal.Signals(-ended['code']).name})"
    return OWN_END if ended["code"] else ""


def _output(status: Any, value: Any, message: Any) -> Output:
    """An output as the course itself would have made it. Raises ValueError."""
    if status not in ("value", "nothing", "raised", "refused") or not isinstance(message, str):
        raise ValueError(f"status: got {status!r:.40}, expected one of an Output's")
    return Output(status, answers.plain(value), message[:1000])
