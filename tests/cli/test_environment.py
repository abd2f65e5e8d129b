"""The set-up from a bare checkout: what it decides, what it says when it fails, and what it leaves behind."""

import ast
import errno
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from course_lib import __main__ as entry
from course_lib.cli import COMMANDS, ROOT, environment, first_help, install, process
from course_lib.cli.app import cli
from course_lib.cli.environment import MARKER, STAMP, SetupError, state


@pytest.fixture
def checkout(tmp_path):
    """A folder with a requirements file, and this process outside its .venv."""
    root = tmp_path / "a course with spaces"
    root.mkdir()
    (root / "requirements.txt").write_text("absent-package==1.0  # never installed\n")
    os.environ.pop(environment.HANDED, None)
    yield root
    os.environ.pop(environment.HANDED, None)


def fake_venv(venv: Path, runs: bool = True) -> None:
    """A .venv whose Python is a link to this one, or a program that does not run."""
    python = environment.venv_python(venv)
    python.parent.mkdir(parents=True, exist_ok=True)
    if runs:
        python.symlink_to(sys.executable)
    else:
        python.write_text("#!/nowhere/python\n")
        python.chmod(0o755)


@pytest.fixture
def installs(monkeypatch):
    """Stand-ins for venv and pip that note their calls; `installs.fail` makes pip fail or be killed."""
    class Calls(list):
        fail: BaseException | None = None

    calls = Calls()

    def pip(python, files, log, keep_open=None):
        calls.append(("pip", [f.name for f in files]))
        (python.parent.parent / "lib/python3.11/site-packages/torch").mkdir(parents=True, exist_ok=True)
        if calls.fail:
            raise calls.fail

    def venv(path):
        calls.append(("venv", path.name))
        fake_venv(path)

    monkeypatch.setattr(environment, "pip_install", pip)
    monkeypatch.setattr(environment, "make_venv", venv)
    return calls


def test_an_old_python_gets_one_sentence():
    sentence = entry.too_old((3, 9, 18), "/usr/bin/python3")
    assert "3.11 or newer" in sentence and "3.9" in sentence and "/usr/bin/python3" in sentence
    assert "\n" not in sentence
    assert entry.too_old((3, 11, 0), "python") is None and entry.too_old((3, 14, 1), "python") is None


def test_the_entry_is_written_for_old_pythons():
    """What Python 3.6 cannot read would be a SyntaxError there instead of the sentence."""
    source = (ROOT / "course_lib/__main__.py").read_bytes()
    ast.parse(source, feature_version=(3, 5))
    assert source.isascii() and b"print(f" not in source


def test_an_old_python_really_ends_with_2():
    found = [
        path
        for path in map(shutil.which, ("python2.7", "python3.6", "python3.8", "python3.9", "python3.10"))
        if path
    ]
    old = [path for path in found if not subprocess.run([path, "-c", ""], capture_output=True).returncode]
    if not old:
        pytest.skip("no Python older than 3.11 on this machine")
    for python in old:
        done = subprocess.run([python, "-m", "course_lib", "run"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "", python
        assert len(done.stderr.splitlines()) == 1 and "3.11 or newer" in done.stderr


def test_pins_and_what_is_unmet(tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text("# why\ntorch==2.13.0   # tensors\n\nnumpy==2.4.6\nclick==8.5.1\n")
    assert environment.pins(file) == {"torch": "2.13.0", "numpy": "2.4.6", "click": "8.5.1"}
    there = {"torch": "2.13.0+cpu", "numpy": "2.4.5"}
    assert environment.unmet(file, there.get) == ["numpy==2.4.6", "click==8.5.1"]
    file.write_text("numpy>=2\n")
    with pytest.raises(SetupError, match="numpy>=2"):
        environment.pins(file)
    with pytest.raises(SetupError, match="missing"):
        environment.pins(tmp_path / "nothing.txt")


def test_both_requirements_files_hold_exact_pins_with_reasons():
    for path in (ROOT / "requirements.txt", ROOT / "tests/requirements.txt"):
        assert environment.pins(path)
        for line in path.read_text().splitlines():
            assert not line or line.startswith("#") or re.search(r"==\S+\s+# \w", line), line


def test_states_of_the_folder(checkout):
    venv, wanted = checkout / ".venv", environment.digest(checkout / "requirements.txt")
    assert state(venv, wanted) == "absent"
    fake_venv(venv)
    assert state(venv, wanted) == "outdated"
    (venv / STAMP).write_text(wanted)
    assert state(venv, wanted) == "ready"
    (checkout / "requirements.txt").write_text("absent-package==2.0\n")
    assert state(venv, environment.digest(checkout / "requirements.txt")) == "outdated"
    (venv / MARKER).touch()
    assert state(venv, wanted) == "unfinished"
    shutil.rmtree(venv)
    fake_venv(venv, runs=False)
    (venv / STAMP).write_text(wanted)
    assert state(venv, wanted) == "broken"
    shutil.rmtree(venv)
    venv.symlink_to(checkout)
    with pytest.raises(SetupError, match="link"):
        state(venv, wanted)


def test_a_bare_checkout_is_set_up_once(checkout, installs):
    environment.set_up(checkout)
    assert installs == [("venv", ".venv"), ("pip", ["requirements.txt"])]
    assert not (checkout / ".venv" / MARKER).exists()
    os.environ.pop(environment.HANDED)
    environment.set_up(checkout)
    assert len(installs) == 2
    (checkout / "requirements.txt").write_text("absent-package==2.0\n")
    os.environ.pop(environment.HANDED)
    environment.set_up(checkout)
    assert installs[2:] == [("pip", ["requirements.txt"])]


@pytest.mark.parametrize("half", ["unfinished", "broken"])
def test_a_half_made_or_broken_folder_is_made_anew(checkout, installs, half, capsys):
    fake_venv(checkout / ".venv", runs=half != "broken")
    (checkout / ".venv" / "old").touch()
    if half == "unfinished":
        (checkout / ".venv" / MARKER).touch()
    environment.set_up(checkout)
    assert ("venv", ".venv") in installs and not (checkout / ".venv" / "old").exists()
    assert half in capsys.readouterr().err
    assert not (checkout / "out" / "venv.old").exists()


@pytest.mark.parametrize("failure", [SetupError("no network"), KeyboardInterrupt()])
def test_a_failed_first_install_leaves_no_folder(checkout, installs, failure):
    installs.fail = failure
    with pytest.raises(type(failure)):
        environment.set_up(checkout)
    assert not (checkout / ".venv").exists() and environment.HANDED not in os.environ


def test_a_failed_update_that_changed_nothing_keeps_the_old_one(checkout, installs):
    environment.set_up(checkout)
    old = (checkout / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text("absent-package==2.0\n")
    os.environ.pop(environment.HANDED)
    installs.fail = SetupError("no network")
    with pytest.raises(SetupError):
        environment.set_up(checkout)
    assert not (checkout / ".venv" / MARKER).exists()
    (checkout / "requirements.txt").write_text(old)
    installs.fail = None
    environment.set_up(checkout)
    assert installs.count(("venv", ".venv")) == 1


def test_a_full_disk_is_refused_before_anything_is_made(checkout, installs, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**8))
    with pytest.raises(SetupError, match="disk is too full"):
        environment.set_up(checkout)
    assert installs == [] and not (checkout / ".venv").exists()


def test_a_folder_that_cannot_be_written_to(checkout, installs, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SetupError, match="cannot write"):
        environment.set_up(checkout)


def test_a_disk_that_fills_up_meanwhile(checkout, installs):
    installs.fail = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(SetupError, match="disk is full"):
        environment.set_up(checkout)
    assert not (checkout / ".venv").exists()


def test_the_set_up_does_not_loop(checkout, installs, monkeypatch):
    """The process started after an install that still lacks a package says so and does not install again."""
    monkeypatch.setenv(environment.HANDED, "installed")
    fake_venv(checkout / ".venv")
    with pytest.raises(SetupError, match=r"absent-package==1\.0"):
        environment.set_up(checkout)
    assert installs == []


def test_packages_changed_by_hand_are_put_right(checkout, installs, monkeypatch):
    environment.set_up(checkout)
    monkeypatch.setenv(environment.HANDED, "ready")
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    environment.set_up(checkout)
    assert installs[-1] == ("pip", ["requirements.txt"]) and os.environ[environment.HANDED] == "installed"


PIP_SAYS = {
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...): Failed to "
    "establish a new connection: [Errno -3] Temporary failure in name resolution'\n"
    "ERROR: No matching distribution found for torch==2.13.0":
        "no network",
    "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device": "disk is full",
    "ERROR: No matching distribution found for torch==2.13.0": "has no torch==2.13.0 for Python",
    "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] self-signed'))": "certificate",
    "error: externally-managed-environment": "belongs to the system",
    "/x/.venv/bin/python: No module named pip": "has no pip",
    "ERROR: something new": "something new",
}


@pytest.mark.parametrize("words", PIP_SAYS)
def test_pips_failures_become_one_sentence(words, tmp_path):
    sentence = install.fault(words, tmp_path / "setup.log")
    assert PIP_SAYS[words] in sentence and "setup.log" in sentence and "\n" not in sentence


def test_a_system_without_venv_is_told_what_to_install():
    debian = ("The virtual environment was not created successfully because ensurepip is not available.  "
              "On Debian/Ubuntu systems, you need to install the python3-venv package")
    assert "apt install python3." in environment.venv_fault(debian)
    assert "apt install" in environment.venv_fault("/usr/bin/python3: No module named venv")
    assert "disk is full" in environment.venv_fault("OSError: [Errno 28] No space left on device")


def test_pip_keeps_where_packages_come_from_and_nothing_else(monkeypatch):
    for name in (
        "PIP_TARGET",
        "PIP_USER",
        "PIP_DRY_RUN",
        "PIP_REQUIRE_VIRTUALENV",
        "PYTHONPATH",
        "PYTHONHOME",
    ):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    passed = install.pip_environment()
    assert passed["PIP_INDEX_URL"] == "https://mirror.example/simple" and passed["HTTPS_PROXY"]
    assert not {
        "PIP_TARGET",
        "PIP_USER",
        "PIP_DRY_RUN",
        "PIP_REQUIRE_VIRTUALENV",
        "PYTHONPATH",
        "PYTHONHOME",
    } & set(passed)


def test_the_status_line_follows_pip():
    assert install.phase("Collecting torch==2.13.0 (from -r r.txt (line 4))") == "looking up torch"
    assert (
        install.phase("  Downloading torch-2.13.0-cp311-none-linux.whl (203.1 MB)")
        == "downloading torch (203.1 MB)"
    )
    assert install.phase("Installing collected packages: a, b, c") == "unpacking 3 packages"
    assert install.phase("  Using cached x") is None


def test_one_set_up_at_a_time(tmp_path):
    """A second process waits for the lock, and gets it when the first one is killed."""
    hold = ("import sys, time; from pathlib import Path; from course_lib.cli.process import lock\n"
            "with lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)")
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / "lock")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(process.Busy), process.lock(tmp_path / "lock", wait=False):
            pass
        with subprocess.Popen(
            [sys.executable, "-c", hold, str(tmp_path / "lock")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as second:
            assert "waiting" in second.stderr.readline()
            first.kill()
            start = time.monotonic()
            assert second.stdout.readline() == "held\n" and time.monotonic() - start < 10
            second.kill()


def bare_copy(folder: Path) -> Path:
    """The files that a set-up needs, in a folder of their own."""
    shutil.copytree(ROOT / "course_lib", folder / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", folder)
    (folder / "requirements.txt").write_text("absent-package-of-the-course==1.0\n")
    return folder


@pytest.mark.parametrize("source, words", [
    ({"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}, "no network"),
    ({"PIP_NO_INDEX": "1"}, "cannot be reached or has no absent-package-of-the-course==1.0"),
], ids=["index unreachable", "index lacks the package"])
def test_a_real_set_up_that_fails_leaves_nothing(tmp_path, source, words):
    """A real Python, a real venv, a real pip; PYTHONPATH and pip's settings are set to lead astray."""
    root = bare_copy(tmp_path / "with spaces")
    variables = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_FIND_LINKS": "",
        "PIP_TARGET": str(tmp_path / "elsewhere"),
        **source,
    }
    python = getattr(sys, "_base_executable", sys.executable)
    helped = subprocess.run(
        [python, "-m", "course_lib", "--help"], cwd=root, env=variables, capture_output=True, text=True
    )
    assert helped.returncode == 0 and "doctor" in helped.stdout and not (root / ".venv").exists()
    done = subprocess.run(
        [python, "-m", "course_lib", "run"], cwd=root, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 2 and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert not (root / ".venv").exists() and not (tmp_path / "elsewhere").exists()
    assert sorted(p.name for p in root.iterdir()) == ["course_lib", "out", "requirements.txt"]


def test_the_list_of_commands_is_what_there_is():
    """What answers before the set-up names the same commands as click, each with an example in its help."""
    runner = CliRunner()
    listed = runner.invoke(cli, ["--help"]).output
    for name, command in COMMANDS.items():
        assert name in listed and name in first_help([])
        shown = runner.invoke(cli, [name, "--help"])
        assert shown.exit_code == 0 and "Example" in shown.output, name
        assert command.example in first_help([name, "--help"])
    assert first_help(["run"]) is None
