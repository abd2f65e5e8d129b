"""A running worker and the three pipes to it."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Box:
    """A worker process; bytes go in and out, with limits on time and size, whatever the other side does."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        cwd=folder, env=environment, start_new_session=True, bufsize=0)
        self.pipes = [self.process.stdin, self.process.stdout, self.process.stderr]
        for pipe in self.pipes:
            os.set_blocking(pipe.fileno(), False)
        self.said = b""

    def close(self) -> None:
        """End the worker and all of its session."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in self.pipes:
            pipe.close()

    def exchange(self, request: bytes, seconds: float, most: int) -> tuple[dict[str, Any] | None, bytes]:
        """Send a request and gather the reply until the worker says how it ended: (that, the reply); (None, …) if it never does."""
        end, reply, left = time.monotonic() + seconds, bytearray(), memoryview(request)
        with selectors.DefaultSelector() as ready:
            for pipe in self.pipes[0 if request else 1:]:
                ready.register(pipe, selectors.EVENT_WRITE if pipe is self.process.stdin else selectors.EVENT_READ)
            while b"\n" not in self.said:
                events = ready.select(max(0.0, end - time.monotonic()))
                if not events or len(reply) > most:
                    return None, bytes(reply)
                for key, _ in events:
                    try:
                        if key.fileobj is self.process.stdin:
                            left = left[os.write(key.fd, left[:1 << 16]):]
                            if not left:
                                ready.unregister(key.fileobj)
                            continue
                        part = os.read(key.fd, 1 << 20)
                    except OSError:
                        part = b""
                    if not part:
                        return None, bytes(reply)
                    if key.fileobj is self.process.stdout:
                        reply += part
                    else:
                        self.said += part
        line, _, after = self.said.partition(b"\n")
        ended = _object(line)
        if ended is not None:
            self.said = after  # any other line stays, to be quoted among the last words
        return ended, bytes(reply + self._rest(self.process.stdout, most - len(reply)))

    def has_ended(self) -> bool:
        """True if the worker has ended by itself, or does so right now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return self.process.poll() is not None

    def last_words(self) -> str:
        """The last line that a worker wrote which did not start; "" if it wrote none."""
        self.has_ended()
        lines = (self.said + self._rest(self.process.stderr, 1 << 16)).decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else ""

    def _rest(self, pipe: Any, most: int) -> bytes:
        """What still lies in a pipe; of one who floods it a little more than `most`."""
        found = bytearray()
        with contextlib.suppress(BlockingIOError):
            while len(found) <= most and (part := os.read(pipe.fileno(), 1 << 20)):
                found += part
        return bytes(found)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
