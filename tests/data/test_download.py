"""Downloads against a server of our own that misbehaves: nothing wrong is ever kept, every message helps."""

import errno
import gzip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from course_lib.data import datasets, download
from course_lib.data.datasets import REGISTRY, DataFile, Dataset, DatasetNotFound, Transfer, available, fetch

ROOT = Path(__file__).resolve().parents[2]
TEXT = "".join(f"line {n}: {n * n}\n" for n in range(4000)).encode()
PACKED = gzip.compress(TEXT, mtime=0)
HASTY = Transfer(connect_timeout=10, stall_timeout=10, retries=1, pause=0.01)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Loopback(ThreadingHTTPServer):
    """Answers every path by its entry in `answers`, a list of which the last one is used again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[tuple[str, str, str]] = []
        self.closing = threading.Event()

    def url(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is expected here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["User-Agent"], self.headers["Accept-Encoding"]))
        answers = self.server.answers[self.path]
        self.close_connection = True
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass


def sends(body: bytes, status: int = 200, length: int | None = None, **headers: str) -> Answer:
    """An answer with `body`, announced as `length` bytes (-1: not announced)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Connection", "close")
        if length != -1:
            handler.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def chunked(body: bytes) -> Answer:
    """One chunk of a chunked body, and then the end without the closing chunk."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sends(b"", length=-1, Transfer_Encoding="chunked")(handler)
        handler.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n")

    return answer


def stalls(body: bytes) -> Answer:
    """Sends `body` as the beginning of TEXT, then nothing more."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if body:
            sends(body, length=len(TEXT))(handler)
            handler.wfile.flush()
        handler.server.closing.wait(30)

    return answer


def drips(handler: BaseHTTPRequestHandler) -> None:
    sends(b"", length=len(TEXT))(handler)
    for byte in TEXT:
        if handler.server.closing.wait(0.02):
            return
        handler.wfile.write(bytes([byte]))
        handler.wfile.flush()


def endless(handler: BaseHTTPRequestHandler) -> None:
    sends(b"", length=-1)(handler)
    while not handler.server.closing.is_set():
        handler.wfile.write(b"0" * 65536)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    """Closes without a word."""


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as loopback:
        thread = threading.Thread(target=loopback.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield loopback
        loopback.closing.set()
        loopback.shutdown()
        thread.join(5)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no COURSE_DATA, no proxy before the loopback server."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    return tmp_path / "cache"


def entry(*urls: str, body: bytes = TEXT, name: str = "text.txt") -> Dataset:
    """A data set "sample" of one file whose right content is `body`."""
    file = DataFile(f"sample/{name}", hashlib.sha256(body).hexdigest(), len(body), urls)
    return Dataset("sample", "A sample", (file,), "public domain", "Made by this test.", "here",
                   lambda files: next(iter(files.values())).read_bytes())


def files_in(folder: Path) -> list[str]:
    """All files and part folders below `folder`, hidden ones too."""
    found = [path for path in folder.rglob("*") if path.is_file() or path.name.startswith(".")]
    return sorted(str(path.relative_to(folder)) for path in found)


LONG, SHORT = TEXT + b"one line more\n", TEXT[:-20]
STOP = (len(TEXT) // download.CHUNK + 1) * download.CHUNK       # unpacking ends with the first chunk too many
FAULTS = {  # what the server does, what the message says, how many requests are made
    "wrong bytes": (sends(TEXT.replace(b"7", b"8")), "another file came", 1),
    "too long": (sends(LONG), f"of {len(LONG):,} bytes", 1),
    "too short, but whole": (sends(SHORT), f"of {len(SHORT):,} bytes", 1),
    "empty": (sends(b""), "of 0 bytes", 1),
    "cut off": (sends(TEXT[:30000], length=len(TEXT)), "cut off", 2),
    "cut off, length unknown": (sends(TEXT[:30000], length=-1), f"cut off after 30,000 of {len(TEXT):,}", 2),
    "cut off, chunked": (chunked(TEXT[:30000]), "cut off", 2),
    "packed on the way, cut off": (sends(PACKED[:9000], Content_Encoding="gzip"), "garbled or cut off", 2),
    "packed on the way, not gzip": (sends(TEXT[:9000], Content_Encoding="gzip"), "garbled or cut off", 2),
    "unpacks to far more": (sends(gzip.compress(bytes(10**7)), Content_Encoding="gzip"), f"of {STOP:,} b", 1),
    "endless": (endless, "another file came", 1),
    "login page": (sends(b"<html>Log in</html>", Content_Type="text/html"), "log in and try again", 1),
    "404": (sends(b"no", 404), "answered 404 Not Found", 1),
    "403": (sends(b"no", 403), "try another network", 1),
    "500": (sends(b"no", 500), "answered 500", 2),
    "redirect in a circle": (sends(b"", 302, Location="/x"), "TooManyRedirects", 31),
    "hangs up": (hangs_up, "connection broken", 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_nothing_and_says_what_to_do(fault, server, cache, monkeypatch):
    answer, reason, requests = FAULTS[fault]
    url = server.url("/x", answer)
    monkeypatch.setitem(REGISTRY, "sample", entry(url))
    with pytest.raises(DatasetNotFound) as caught:
        fetch("sample", HASTY)
    assert_helpful(str(caught.value), reason, url, cache)
    assert files_in(cache) == []
    assert len(server.seen) == requests
    assert not available("sample")


def assert_helpful(message: str, reason: str, url: str, cache: Path) -> None:
    """One paragraph: the reason, the command, what to do without a network and where to put the file."""
    assert reason in message
    for part in ("python3 -m course_lib data fetch sample", "no network", url, "COURSE_DATA",
                 str(cache / "sample" / "text.txt")):
        assert part in message
    assert "\n" not in message and "Traceback" not in message


@pytest.mark.parametrize("begun", [b"", TEXT[:30000]], ids=["before the answer", "within the body"])
def test_a_stalled_server(begun, server, cache, monkeypatch):
    url = server.url("/x", stalls(begun))
    monkeypatch.setitem(REGISTRY, "sample", entry(url))
    with pytest.raises(DatasetNotFound) as caught:
        fetch("sample", Transfer(stall_timeout=0.3, retries=1, pause=0.01))
    assert_helpful(str(caught.value), "stalled, nothing came in 0.3 s", url, cache)
    assert files_in(cache) == [] and len(server.seen) == 2


def test_a_dripping_server(server, cache, monkeypatch):
    url = server.url("/x", drips)       # never silent for long, so only the average speed gives it away
    monkeypatch.setitem(REGISTRY, "sample", entry(url))
    with pytest.raises(DatasetNotFound) as caught:
        fetch("sample", Transfer(stall_timeout=1.0, slowest=1e9, retries=0))
    assert_helpful(str(caught.value), "too slow", url, cache)
    assert files_in(cache) == []


def test_a_refused_port(cache, monkeypatch):
    with socket.socket() as bound:      # bound but not listening: every connection is refused
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x"
        monkeypatch.setitem(REGISTRY, "sample", entry(url))
        with pytest.raises(DatasetNotFound) as caught:
            fetch("sample")
    assert_helpful(str(caught.value), "no connection). Check the network", url, cache)
    assert files_in(cache) == []


def test_no_name_service(cache, monkeypatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    url = "https://files.example.org/x"
    monkeypatch.setitem(REGISTRY, "sample", entry(url))
    with pytest.raises(DatasetNotFound) as caught:
        fetch("sample")
    assert_helpful(str(caught.value), "files.example.org: no connection", url, cache)
    assert files_in(cache) == []


def test_the_right_file_arrives_once(server, cache, monkeypatch, capsys):
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", sends(TEXT))))
    paths = fetch("sample")
    assert paths == [cache / "sample" / "text.txt"] and datasets.load("sample") == TEXT
    assert files_in(cache) == ["sample/text.txt"] and available("sample")
    assert paths[0].stat().st_mode & 0o444 == 0o444, "a shared cache must be readable by all"
    assert len(server.seen) == 1
    assert server.seen[0][1:] == (download.USER_AGENT, "identity")
    assert capsys.readouterr().err.count("public domain. Made by this test.") == 1      # the licence, once


@pytest.mark.parametrize("fault", ["cut off", "packed on the way, cut off", "500", "hangs up"])
def test_a_passing_fault_is_tried_again(fault, server, cache, monkeypatch):
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", FAULTS[fault][0], sends(TEXT))))
    assert fetch("sample", HASTY)[0].read_bytes() == TEXT
    assert files_in(cache) == ["sample/text.txt"] and len(server.seen) == 2


@pytest.mark.parametrize("fault", ["404", "wrong bytes", "login page"])
def test_the_next_address_is_tried(fault, server, cache, monkeypatch):
    urls = server.url("/a", FAULTS[fault][0]), server.url("/b", sends(TEXT))
    monkeypatch.setitem(REGISTRY, "sample", entry(*urls))
    assert fetch("sample", HASTY)[0].read_bytes() == TEXT
    assert [path for path, *_ in server.seen] == ["/a", "/b"]


def test_a_redirect_is_followed(server, monkeypatch):
    server.url("/b", sends(TEXT))
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/a", sends(b"moved", 301, Location="/b"))))
    assert fetch("sample")[0].read_bytes() == TEXT


@pytest.mark.parametrize("body, sent, name", [
    (PACKED, PACKED, "text.gz"),                # a .gz file named as an encoding: it must stay packed
    (TEXT, PACKED, "text.txt"),                 # packed on the way although we asked for identity: unpack
    (PACKED, gzip.compress(PACKED), "text.gz"),  # a .gz file packed once more on the way
], ids=["stays packed", "unpacked", "unpacked once"])
def test_content_encoding(body, sent, name, server, cache, monkeypatch):
    url = server.url("/x", sends(sent, Content_Encoding="gzip"))
    monkeypatch.setitem(REGISTRY, "sample", entry(url, body=body, name=name))
    assert fetch("sample", HASTY)[0].read_bytes() == body
    assert files_in(cache) == [f"sample/{name}"]


def test_a_damaged_file_in_the_cache_is_replaced(server, cache, monkeypatch):
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", sends(b"no", 404), sends(TEXT))))
    (cache / "sample").mkdir(parents=True)
    (cache / "sample" / "text.txt").write_bytes(TEXT[:100])
    assert not available("sample")
    with pytest.raises(DatasetNotFound):
        datasets.load("sample")
    assert datasets.load("sample") == TEXT


def test_a_cache_that_cannot_be_written(server, tmp_path, monkeypatch):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "a file" / "cache"))
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", sends(TEXT))))
    with pytest.raises(DatasetNotFound, match="set COURSE_CACHE to a folder you can write to"):
        fetch("sample")


def test_a_full_disk(server, cache, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", sends(TEXT))))
    monkeypatch.setattr(download.os, "replace", full)
    with pytest.raises(DatasetNotFound, match=r"No space left on device\). Free disk space"):
        fetch("sample", HASTY)
    assert files_in(cache) == []


PROGRAM = """
import sys
from course_lib.data import datasets
from course_lib.data.datasets import DataFile, Dataset
file = DataFile("sample/text.txt", sys.argv[2], int(sys.argv[3]), (sys.argv[1],))
datasets.REGISTRY["sample"] = Dataset("sample", "", (file,), "", "", "", None)
datasets.fetch("sample")
"""


def start_fetch(url: str) -> subprocess.Popen[bytes]:
    """The same fetch in a process of its own."""
    facts = hashlib.sha256(TEXT).hexdigest(), str(len(TEXT))
    return subprocess.Popen([sys.executable, "-c", PROGRAM, url, *facts], cwd=ROOT, stderr=subprocess.PIPE)


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_a_process_stopped_half_way(number, server, cache, monkeypatch):
    url = server.url("/x", stalls(TEXT[:30000]), sends(TEXT))
    with start_fetch(url) as process:
        wait_until(lambda: any(p.is_file() and p.stat().st_size for p in cache.rglob("*")))
        process.send_signal(number)
        process.communicate(timeout=20)
    assert not (cache / "sample" / "text.txt").exists()
    assert bool(files_in(cache)) == (number == signal.SIGKILL)      # an interrupted one tidies up at once
    monkeypatch.setitem(REGISTRY, "sample", entry(url))
    assert not available("sample")
    assert fetch("sample", HASTY)[0].read_bytes() == TEXT
    assert files_in(cache) == ["sample/text.txt"]                   # what the killed one left is gone too


def test_two_processes_at_once(server, cache):
    both = threading.Barrier(2, timeout=30)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sends(TEXT[:30000], length=len(TEXT))(handler)
        handler.wfile.flush()
        both.wait()                     # each has begun before either can end
        handler.wfile.write(TEXT[30000:])

    url = server.url("/x", answer)
    processes = [start_fetch(url), start_fetch(url)]
    errors = [process.communicate(timeout=40)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert (cache / "sample" / "text.txt").read_bytes() == TEXT
    assert files_in(cache) == ["sample/text.txt"] and len(server.seen) == 2


def test_only_dead_parts_are_swept(server, cache, monkeypatch):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    here, elsewhere = download._part_prefix(), ".part-00000000-"
    names = {"dead": f"{here}{dead.pid}-a", "alive": f"{here}{os.getpid()}-b", "foreign": f"{elsewhere}1-c",
             "foreign, old": f"{elsewhere}2-d", "alive, old": f"{here}{os.getpid()}-e"}
    for label, name in names.items():
        (cache / "sample" / name).mkdir(parents=True)
        (cache / "sample" / name / "text.txt").write_bytes(TEXT[:5])
        if "old" in label:
            long_ago = time.time() - download.STALE_SECONDS - 60
            for path in (cache / "sample" / name / "text.txt", cache / "sample" / name):
                os.utime(path, (long_ago, long_ago))
    monkeypatch.setitem(REGISTRY, "sample", entry(server.url("/x", sends(TEXT))))
    fetch("sample")
    left = {path.name for path in (cache / "sample").iterdir()}
    assert left == {"text.txt", names["alive"], names["foreign"]}
