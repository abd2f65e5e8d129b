"""The command `doctor`: each check on a good and on a bad machine, and the whole report."""

import importlib
import json
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

from course_lib.data.datasets import REGISTRY

module = importlib.import_module("course_lib.cli.doctor")
GIB = 2**30


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no COURSE_DATA, and no way into the network."""
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))

    def no_network(*_: object, **__: object) -> None:
        raise OSError("this test has no network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    return tmp_path / "cache"


def one(checks) -> tuple[str, str, str]:
    """(status, found, fix) of the only check; a fix is there exactly where it is needed."""
    (check,) = checks
    assert bool(check.fix) == (check.status != "ok")
    return check.status, check.found, check.fix


# Packages

def test_read_requirements():
    text = """
# a comment line
torch==2.13.0               # tensors
pooch == 1.9.0
--extra-index-url https://example.org/simple
-r other.txt
numpy==2.4.6 --hash=sha256:00
jupyter[all]>=1,<2
pywin32==1; sys_platform == "never"
name==1#2
"""
    with pytest.raises(ValueError, match="got 'name==1#2', expected such as"):
        module.read_requirements(text)
    found = [(r.name, str(r.specifier)) for r in module.read_requirements(text.replace("name==1#2", ""))]
    assert found == [("torch", "==2.13.0"), ("pooch", "==1.9.0"), ("numpy", "==2.4.6"), ("jupyter", "<2,>=1")]


def test_packages(tmp_path, monkeypatch):
    versions = {"alpha": "1.2.0", "beta": "2.0", "torch": "2.13.0+cpu"}

    def version(name: str) -> str:
        if name not in versions:
            raise module.importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(module.importlib.metadata, "version", version)
    pins = tmp_path / "requirements.txt"
    pins.write_text("alpha==1.2\nbeta==2.1\ngamma==3\ntorch==2.13.0\n")
    checks = list(module.check_packages(pins))
    assert [(c.name, c.status, c.found) for c in checks] == [
        ("alpha", "ok", "1.2.0"), ("beta", "fail", "2.0, ==2.1 needed"),
        ("gamma", "fail", "not installed, ==3 needed"), ("torch", "ok", "2.13.0+cpu")]
    assert checks[1].fix == checks[2].fix == f"{sys.executable} -m pip install -r {pins}"
    status, found, _ = one(module.check_packages(tmp_path / "nowhere.txt"))
    assert status == "fail" and "nowhere.txt" in found


@pytest.mark.parametrize("version, status", [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok")])
def test_python(version, status, monkeypatch):
    monkeypatch.setattr(module.sys, "version_info", version)
    assert one(module.check_python())[0] == status


# Cores, memory, disk, folder

@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """write(rows of /proc/self/cgroup, {path below /sys/fs/cgroup: content})"""

    def write(rows: str, files: dict[str, str]) -> None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cgroup").write_text(rows)
        for path, content in files.items():
            (tmp_path / "sys" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sys" / path).write_text(content)
        monkeypatch.setattr(module, "PROC", tmp_path / "proc")
        monkeypatch.setattr(module, "CGROUPS", tmp_path / "sys")
        monkeypatch.setattr(module.psutil, "virtual_memory",
                            lambda: SimpleNamespace(total=64 * GIB, available=60 * GIB))
        monkeypatch.setattr(module.psutil, "Process",
                            lambda: SimpleNamespace(cpu_affinity=lambda: list(range(16))))

    return write


def test_no_limits(groups):
    groups("0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"})
    assert (module.usable_memory(), module.usable_cores()) == (64 * GIB, 16.0)
    assert [c.status for c in module.check_machine()] == ["ok", "ok"]


def test_limits_of_any_group_above(groups):
    groups("0::/pod/box\n", {"pod/memory.max": f"{3 * GIB}\n", "pod/box/memory.max": "max\n",
                             "pod/cpu.max": "max 100000\n", "pod/box/cpu.max": "150000 100000\n",
                             "other/memory.max": "1\n"})
    assert (module.usable_memory(), module.usable_cores()) == (3 * GIB, 1.5)
    cores, memory = module.check_machine()
    assert (cores.status, cores.found) == ("warn", "1.5")
    assert (memory.status, memory.found) == ("warn", "3.0 GiB, 3.0 GiB free")


def test_limits_of_version_1(groups):
    groups("4:memory:/box\n0::/\n", {"memory/box/memory.limit_in_bytes": f"{GIB}\n",
                                     "memory/memory.limit_in_bytes": "9223372036854771712\n"})
    assert module.usable_memory() == GIB
    assert list(module.check_machine())[1].status == "fail"


def test_no_control_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROC", tmp_path / "nowhere")
    assert module.usable_memory() == module.psutil.virtual_memory().total


@pytest.mark.parametrize("free, status", [(50.0, "ok"), (1.0, "warn"), (0.1, "fail")])
def test_disk(free, status, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(0, 0, int(free * GIB)))
    checks = list(module.check_disk())
    assert [c.status for c in checks] == [status] * 2 and all(f"{free:.1f} GiB" in c.found for c in checks)


def test_folder(tmp_path):
    assert one(module.check_folder(tmp_path))[0] == "ok"
    assert not list(tmp_path.glob("*"))
    status, found, fix = one(module.check_folder(tmp_path / "nowhere"))
    assert status == "fail" and "cannot be written" in found and "a folder of your own" in fix


# GPU

@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which PyTorch sees no accelerator, and without NVIDIA's tools."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    return monkeypatch


def test_no_gpu(bare):
    assert one(module.check_gpu())[:2] == ("ok", "none; the chapters are made for the CPU")


def test_two_cuda_devices(bare):
    bare.setattr(torch.cuda, "is_available", lambda: True)
    bare.setattr(torch.cuda, "device_count", lambda: 2)
    bare.setattr(torch.cuda, "get_device_properties",
                 lambda number: SimpleNamespace(name=f"Card {number}", total_memory=(number + 1) * 8 * GIB))
    assert [c.found for c in module.check_gpu()] == ["cuda:0 Card 0, 8 GiB", "cuda:1 Card 1, 16 GiB"]


def test_mps(bare):
    bare.setattr(torch.backends.mps, "is_available", lambda: True)
    assert one(module.check_gpu())[1].startswith("mps")


@pytest.mark.parametrize("cuda, fix", [(None, "install the CUDA build"), ("12.8", "update the driver")])
def test_a_card_that_pytorch_does_not_see(cuda, fix, bare):
    bare.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    bare.setattr(torch.version, "cuda", cuda)
    status, found, advice = one(module.check_gpu())
    assert status == "warn" and "sees no GPU" in found and fix in advice


def test_pytorch_that_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    status, found, _ = one(module.check_gpu())
    assert status == "fail" and "PyTorch cannot be loaded" in found


# Kernel and data

def test_the_kernel_of_this_environment():
    status, found, _ = one(module.check_kernel())
    assert status == "ok" and found.endswith("kernel python3")


def test_a_kernel_of_another_python(tmp_path, monkeypatch):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps(
        {"argv": ["/opt/other/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
         "display_name": "Other", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    status, found, fix = one(module.check_kernel())
    assert status == "warn" and "/opt/other/bin/python" in found and "ipykernel install" in fix


def test_no_kernel_at_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "jupyter_client.kernelspec", None)
    status, _, fix = one(module.check_kernel())
    assert status == "fail" and "pip install -r" in fix


def test_data(offline, tmp_path, monkeypatch):
    path = REGISTRY["kor-eng"].files[0].path
    checks = {check.name: check for check in module.check_data()}
    assert {c.status for c in checks.values()} == {"warn"}
    assert checks["data kor-eng"].fix == "python3 -m course_lib data fetch kor-eng"
    (offline / path).parent.mkdir(parents=True)
    (offline / path).write_bytes(b"half")
    found = {check.name: check for check in module.check_data()}["data kor-eng"]
    assert found.status == "warn" and "has 4 bytes" in found.found and "fetch kor-eng" in found.fix
    monkeypatch.setenv("COURSE_DATA", str(offline))
    found = {check.name: check for check in module.check_data()}["data kor-eng"]
    assert found.status == "fail" and "unset COURSE_DATA" in found.fix
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    assert {c.status for c in module.check_data()} == {"fail"}


# The report

def run(*arguments: str):
    return CliRunner().invoke(module.doctor, arguments, prog_name="python3 -m course_lib doctor")


def replace_all(monkeypatch: pytest.MonkeyPatch, *checks) -> None:
    """A report of these checks only."""
    names = [name for name in vars(module) if name.startswith("check_")]
    assert len(names) == 8
    for name in names:
        monkeypatch.setattr(module, name, lambda: iter(()))
    monkeypatch.setattr(module, "check_disk", lambda: iter(checks))


def test_exit_codes_and_lines(monkeypatch):
    good, poor = module.Check("a", "ok", "fine"), module.Check("bcd", "warn", "so so", "do this")
    replace_all(monkeypatch, good, poor)
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[:3] == ["ok    a    fine", "warn  bcd  so so", "           fix: do this"]
    replace_all(monkeypatch, good, poor, module.Check("e", "fail", "gone", "do that"))
    result = run()
    assert result.exit_code == 1 and "To fix before the course runs: 1" in result.stdout
    result = run("--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["checks"][2] == {"name": "e", "status": "fail", "found": "gone",
                                                      "fix": "do that"}


def test_a_check_that_breaks_is_reported(monkeypatch):
    def check_gpu():
        raise RuntimeError("driver gone mad")

    replace_all(monkeypatch, module.Check("a", "ok", "fine"))
    monkeypatch.setattr(module, "check_gpu", check_gpu)
    result = run()
    assert result.exit_code == 1 and "fail  gpu  RuntimeError: driver gone mad" in result.stdout


def test_the_whole_report_of_this_machine():
    report = json.loads(run("--json").stdout)
    names = [check["name"] for check in report["checks"]]
    for name in ("Python", "torch", "pooch", "cores", "memory", "GPU", "disk (course)", "folder",
                 "JupyterLab", *(f"data {name}" for name in REGISTRY)):
        assert name in names
    assert report["ok"] == all(check["status"] != "fail" for check in report["checks"])
    assert all(check["fix"] for check in report["checks"] if check["status"] != "ok")


def test_help_has_an_example():
    assert "Example: python3 -m course_lib doctor --json" in run("--help").stdout
