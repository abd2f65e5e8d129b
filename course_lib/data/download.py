"""Downloading a single data file into the cache: a wrong or half file never gets its final name."""

import gzip
import hashlib
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import psutil
import requests
import urllib3
from tqdm import tqdm

from course_lib.data.datafiles import DataFile, DatasetNotFound, cache_folder

USER_AGENT = "course_lib (course on language models; data download)"
STALE_SECONDS = 600     # a part that nobody wrote to for this long belongs to no live download
CHUNK = 65_536
_AGAIN = "Nothing was kept. Try again, if need be later or on another network."
_NETWORK = "Check the network (cable, Wi-Fi, VPN; HTTPS_PROXY where a proxy is needed) and try again."


class TransferError(Exception):
    """One attempt at one address failed: why, what to do, and whether the same attempt may soon succeed."""

    def __init__(self, reason: str, advice: str, transient: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.advice, self.transient = reason, advice, transient


@dataclass(frozen=True)
class Transfer:
    """The patience of a download, in seconds; on average fewer than `slowest` bytes/s count as stalled."""

    connect_timeout: float = 10.0
    stall_timeout: float = 20.0
    slowest: float = 4_000.0
    retries: int = 2
    pause: float = 1.0


DEFAULT_TRANSFER = Transfer()


def download(file: DataFile, transfer: Transfer | None = None) -> Path:
    """Download `file` into the cache from the first address with the right bytes; raises DatasetNotFound."""
    transfer = transfer or DEFAULT_TRANSFER
    target = cache_folder() / file.path
    failures: dict[str, TransferError] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        for url in file.urls:
            for attempt in range(1 + transfer.retries):
                time.sleep(transfer.pause * 2 ** (attempt - 1) if attempt else 0)
                try:
                    return _attempt(url, file, target, transfer)
                except TransferError as error:
                    failures[url] = error
                    if not error.transient:
                        break
    except OSError as error:
        raise DatasetNotFound(
            f"{file.path} cannot be written below {cache_folder()} ({error.strerror or error}). "
            "Free disk space, or set COURSE_CACHE to a folder you can write to.") from error
    reasons = "; ".join(f"{urlsplit(url).netloc}: {error.reason}" for url, error in failures.items())
    raise DatasetNotFound(f"{file.path} could not be downloaded ({reasons}). {failures[file.urls[0]].advice}")


def _attempt(url: str, file: DataFile, target: Path, transfer: Transfer) -> Path:
    """One download into a folder of its own beside the target; the file moves out once its hash is right."""
    pooch.get_logger().setLevel("WARNING")
    staging = Path(tempfile.mkdtemp(prefix=f"{_part_prefix()}{os.getpid()}-", dir=target.parent))
    try:
        with _explained(transfer):
            part = pooch.retrieve(url, known_hash=f"sha256:{file.sha256}", fname=target.name, path=staging,
                                  downloader=_Downloader(file, transfer))
        os.chmod(part, 0o644)           # temporary files are private, a shared cache is for all to read
        os.replace(part, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def _part_prefix() -> str:
    """Marks the parts of this machine: a cache may be shared, and process ids mean nothing elsewhere."""
    return f".part-{hashlib.sha256(platform.node().encode()).hexdigest()[:8]}-"


def _sweep(folder: Path) -> None:
    """Remove what killed downloads left: their process is gone from this machine, or has long been silent."""
    for part in folder.glob(".part-*-*-*"):
        try:
            pid = int(part.name.split("-")[2])
            written = max(entry.stat().st_mtime for entry in (part, *part.iterdir()))
        except (OSError, ValueError):
            continue                    # its owner is just removing it
        dead = part.name.startswith(_part_prefix()) and not psutil.pid_exists(pid)
        if dead or time.time() - written > STALE_SECONDS:
            shutil.rmtree(part, ignore_errors=True)


class _Downloader:
    """Streams an address to a file, as pooch asks; raises TransferError unless every byte is right."""

    def __init__(self, file: DataFile, transfer: Transfer) -> None:
        self.file, self.transfer = file, transfer

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        # A .gz file sent with Content-Encoding: gzip must stay packed, a .txt must not, and servers differ in
        # what they send although asked for "identity": store the bytes as sent, unpack only if not right.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        timeout = (self.transfer.connect_timeout, self.transfer.stall_timeout)
        with requests.get(url, stream=True, timeout=timeout, headers=headers) as response:
            _check_status(response)
            self._store(self._chunks(response), output_file)
        found = pooch.file_hash(output_file)
        if found != self.file.sha256 and "gzip" in response.headers.get("Content-Encoding", "").lower():
            self._unpack(output_file)
            found = pooch.file_hash(output_file)
        if found != self.file.sha256:
            raise self._wrong_file(found, os.path.getsize(output_file), response)

    def _store(self, chunks: Iterator[bytes], path: str) -> None:
        bar = tqdm(total=self.file.bytes, desc=self.file.name, unit="B", unit_scale=True, disable=None)
        with bar, open(path, "wb") as out:
            for chunk in chunks:
                out.write(chunk)
                bar.update(len(chunk))

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as sent, not much more than expected; raises TransferError if it is cut off or drips."""
        encoded = "Content-Encoding" in response.headers
        promised = int(response.headers.get("Content-Length", 0 if encoded else self.file.bytes))
        limit = self.file.bytes + self.file.bytes // 50 + CHUNK
        deadline = time.monotonic() + self.transfer.stall_timeout + self.file.bytes / self.transfer.slowest
        received = 0
        # read1 gives what has arrived; read waits for a full block, so a dripping server would not time out.
        while received < limit and (chunk := response.raw.read1(CHUNK, decode_content=False)):
            received += len(chunk)
            yield chunk
            if time.monotonic() > deadline:
                raise TransferError(f"too slow: {received:,} of {self.file.bytes:,} bytes came", _AGAIN, True)
        if received < min(promised, limit):
            raise TransferError(f"cut off after {received:,} of {promised:,} bytes", _AGAIN, transient=True)

    def _unpack(self, path: str) -> None:
        """Undo Content-Encoding: gzip in place, reading no further than one chunk past the expected size."""
        try:
            with gzip.open(path) as packed, open(f"{path}.unpacked", "wb") as out:
                while out.tell() <= self.file.bytes and (chunk := packed.read(CHUNK)):
                    out.write(chunk)
            os.replace(f"{path}.unpacked", path)
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise TransferError("the answer was garbled or cut off", _AGAIN, transient=True) from error

    def _wrong_file(self, found: str, size: int, response: requests.Response) -> TransferError:
        page = "text/html" in response.headers.get("Content-Type", "")
        return TransferError(
            f"{'a web page' if page else 'another file'} came, of {size:,} bytes with SHA-256 {found}; "
            f"expected {self.file.bytes:,} bytes with SHA-256 {self.file.sha256}",
            "Nothing was kept. " + ("If this network asks for a login in the browser, log in and try again."
                                    if page else "Try again; if it happens again, update the course."))


def _check_status(response: requests.Response) -> None:
    code = response.status_code
    if code == 200:
        return
    reason = f"the server answered {code} {response.reason or ''}".strip()
    if code in (404, 410):
        raise TransferError(reason, "The file is no longer at this address: update the course and try again.")
    if code in (401, 403, 407, 451):
        raise TransferError(reason, "The server or this network refuses the download: try another network.")
    raise TransferError(reason, _AGAIN, transient=code >= 500 or code in (408, 429))


@contextmanager
def _explained(transfer: Transfer) -> Iterator[None]:
    """Turn what requests and urllib3 raise into a TransferError; errors of the disk pass through."""
    try:
        yield
    except requests.exceptions.ConnectTimeout as error:
        raise TransferError(f"no answer within {transfer.connect_timeout:g} s", _NETWORK) from error
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
        raise TransferError(f"stalled, nothing came in {transfer.stall_timeout:g} s", _AGAIN, True) from error
    except requests.exceptions.SSLError as error:
        raise TransferError("no secure connection, the certificate was not accepted",
                            "Check the clock of this computer; behind a proxy with a certificate of its own, "
                            "set REQUESTS_CA_BUNDLE to that certificate.") from error
    except requests.exceptions.ProxyError as error:
        raise TransferError("the proxy refused", "Check the setting HTTPS_PROXY.") from error
    except requests.exceptions.ConnectionError as error:
        broken = any(isinstance(arg, urllib3.exceptions.ProtocolError) for arg in error.args)
        raise TransferError("connection broken" if broken else "no connection", _NETWORK, broken) from error
    except urllib3.exceptions.HTTPError as error:
        raise TransferError("cut off by the server or the network", _AGAIN, transient=True) from error
    except requests.exceptions.RequestException as error:
        raise TransferError(f"the request failed ({type(error).__name__})", _NETWORK) from error
