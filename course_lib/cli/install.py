"""pip with one status line and errors in one sentence. Standard library only."""

import os
import platform
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

# Of pip's own environment variables only those that say where packages come from are passed on; others
# (PIP_TARGET, PIP_USER, PIP_DRY_RUN …) would put them elsewhere or nowhere.
PIP_KEPT = {"PIP_" + name for name in (
    "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "TRUSTED_HOST", "CERT", "CLIENT_CERT", "PROXY",
    "DEFAULT_TIMEOUT", "TIMEOUT", "RETRIES", "CACHE_DIR", "NO_CACHE_DIR", "CONFIG_FILE", "KEYRING_PROVIDER")}
FAULTS = (
    (r"No space left on device|Errno 28\b|not enough space on the disk",
     "the disk is full: about 2 GB are needed in the course's folder and as much in the temporary folder"),
    (r"CERTIFICATE_VERIFY_FAILED|SSLError",
     "the package index's certificate is not trusted: behind a proxy, set PIP_CERT to its certificate"),
    (r"NewConnectionError|Failed to establish a new connection|Temporary failure in name resolution|"
     r"Name or service not known|getaddrinfo failed|nodename nor servname|Network is unreachable|"
     r"ConnectTimeout|ReadTimeout|Read timed out|ProxyError|Connection refused|Connection reset|"
     r"IncompleteRead|Connection broken",
     "no network: pip cannot reach the package index"),
    (r"externally-managed-environment",
     "this Python belongs to the system and may not be changed: start with another one"),
    (r"No module named '?pip\b",
     "the environment has no pip: delete the folder .venv"),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES|BadZipFile|is an invalid wheel",
     "a package arrived damaged"),
)


class SetupError(Exception):
    """One sentence: what is wrong with the set-up and what to do."""


def say(text: str) -> None:
    """One line for the user, on stderr."""
    print(f"course_lib: {text}", file=sys.stderr, flush=True)


def pip_install(python: Path, files: Sequence[Path], log: Path, keep_open: int | None = None) -> None:
    """Install requirements files into the environment of `python`; pip's own words go to `log`.

    `keep_open` is the descriptor of a lock that pip is to hold as well, should this process be killed.
    Raises SetupError.
    """
    command = [
        str(python),
        "-I",
        "-m",
        "pip",
        "install",
        "--no-input",
        "--disable-pip-version-check",
        "--no-user",
        "--progress-bar",
        "off",
    ]
    for file in files:
        command += ["-r", str(file)]
    inherited = () if keep_open is None or os.name == "nt" else (keep_open,)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as words, subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", errors="replace", env=pip_environment(), pass_fds=inherited) as pip:
        try:
            _follow(pip, words)
        except BaseException:
            end(pip)
            raise
    if pip.returncode:
        raise SetupError(fault(log.read_text(encoding="utf-8"), log))


def pip_environment() -> dict[str, str]:
    """This process's environment without what would lead pip astray."""
    kept = {name: value for name, value in os.environ.items()
            if (not name.startswith("PIP_") or name in PIP_KEPT) and not name.startswith("PYTHON")}
    return {**kept, "PYTHONUTF8": "1"}


def fault(text: str, log: Path) -> str:
    """The sentence for a failed pip, from what it printed."""
    again = f"; then start the same command again (pip's own words: {log})"
    for pattern, sentence in FAULTS:
        if re.search(pattern, text):
            return sentence + again
    if match := re.search(r"No matching distribution found for (\S+)", text):
        unseen = "cannot be reached or " if "(from versions: none)" in text else ""
        return (
            f"the package index {unseen}has no {match[1]} for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}: check the network, or try Python 3.11, 3.12 or 3.13"
            + again
        )
    errors = [line for line in text.splitlines() if line.startswith("ERROR:")]
    return f"pip failed: {errors[-1][7:] if errors else 'no message'}" + again


def phase(line: str) -> str | None:
    """What a line of pip's output says about where it is, for the status line."""
    if match := re.match(r"\s*Downloading (?:\S*/)?([A-Za-z0-9_.]+)-\S+(?: \(([^)]+)\))?", line):
        return f"downloading {match[1]}" + (f" ({match[2]})" if match[2] else "")
    if match := re.match(r"Collecting ([A-Za-z0-9_.-]+)", line):
        return f"looking up {match[1]}"
    if match := re.match(r"Installing collected packages: (.*)", line):
        return f"unpacking {match[1].count(',') + 1} packages"
    return None


def end(process: subprocess.Popen) -> None:
    """End a process and wait until it has; one that does not by itself in ten seconds is killed."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _follow(pip: subprocess.Popen, words) -> None:
    """Copy pip's output to the log; show time and phase, in one line or (no terminal) once a minute."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=lambda: [*map(lines.put, pip.stdout), lines.put(None)], daemon=True).start()
    start, now, shown, told = time.monotonic(), "starting pip", sys.stderr.isatty(), 0
    while True:
        try:
            line = lines.get(timeout=0.5)
        except queue.Empty:
            line = ""
        if line is None:
            break
        words.write(line)
        now = phase(line) or now
        minutes, seconds = divmod(int(time.monotonic() - start), 60)
        if shown:
            print(f"\r\x1b[K  {minutes}:{seconds:02d}  {now[:60]}", end="", file=sys.stderr, flush=True)
        elif minutes > told:
            told = minutes
            say(f"{minutes} min: {now}")
    pip.wait()
    if shown:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    words.flush()
