"""The command `doctor`: whether this computer can run the course, and what to do where it cannot."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import psutil
from packaging.requirements import InvalidRequirement, Requirement

from course_lib.data.datasets import REGISTRY, DataError, cache_folder, verify

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
PYTHON = (3, 11)
CGROUPS, PROC = Path("/sys/fs/cgroup"), Path("/proc/self")


@dataclass(frozen=True)
class Check:
    """One line of the report: status "ok", "warn" or "fail", what was found, and the fix if one is needed."""

    name: str
    status: str
    found: str
    fix: str = ""


@click.command(epilog="Example: python3 -m course_lib doctor --json")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check Python, packages, cores, memory, GPU, disk, data, folder and notebook kernel; uses no network.

    Ends with exit code 1 if something that the course needs is missing.
    """
    checks = diagnose()
    failed = sum(check.status == "fail" for check in checks)
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}, indent=1))
    else:
        width = max(len(check.name) for check in checks)
        for check in checks:
            click.echo(f"{check.status:<4}  {check.name:<{width}}  {check.found}")
            if check.fix:
                click.echo(f"      {'':<{width}}  fix: {check.fix}")
        click.echo()
        click.echo(f"To fix before the course runs: {failed}" if failed else "The course has all it needs.")
    context.exit(1 if failed else 0)


def diagnose() -> list[Check]:
    """All checks in order; a check that breaks is itself reported as failed."""
    parts: list[Callable[[], Iterator[Check]]] = [
        check_python, check_packages, check_machine, check_gpu, check_disk, check_folder, check_kernel,
        check_data]
    checks: list[Check] = []
    for part in parts:
        try:
            checks.extend(part())
        except Exception as error:      # a doctor that dies helps nobody
            checks.append(Check(part.__name__.removeprefix("check_"), "fail",
                                f"{type(error).__name__}: {error}", "report this to the course's authors"))
    return checks


def check_python() -> Iterator[Check]:
    """Python 3.11 or newer."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= PYTHON:
        yield Check("Python", "ok", found)
    else:
        yield Check("Python", "fail", found, "install Python 3.11 or newer from python.org and use that one")


def check_packages(path: Path = ROOT / "requirements.txt") -> Iterator[Check]:
    """Each package of requirements.txt at the version that is pinned there."""
    if not path.is_file():
        yield Check("requirements.txt", "fail", f"not at {path}", "run the course from a complete checkout")
        return
    install = f"{sys.executable} -m pip install -r {path}"
    for requirement in read_requirements(path.read_text(encoding="utf-8")):
        wanted = str(requirement.specifier) or "any version"
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield Check(requirement.name, "fail", f"not installed, {wanted} needed", install)
            continue
        right = requirement.specifier.contains(version, prereleases=True)
        yield Check(requirement.name, "ok" if right else "fail",
                    version if right else f"{version}, {wanted} needed", "" if right else install)


def read_requirements(text: str) -> list[Requirement]:
    """The requirements that hold on this platform; comments and options such as --index-url are skipped."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        line = re.split(r"(?:^|\s)#|\s--", line, maxsplit=1)[0].strip()
        if not line or line.startswith("-"):
            continue
        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            raise ValueError(f"requirements.txt: got {line!r}, expected such as 'pooch==1.9.0'") from error
        if requirement.marker is None or requirement.marker.evaluate():
            found.append(requirement)
    return found


def check_machine() -> Iterator[Check]:
    """Cores and memory that this process may use: a container's limits count, not the host's size."""
    cores, memory = usable_cores(), usable_memory()
    yield Check("cores", "ok" if cores >= 2 else "warn", f"{cores:g}",
                "" if cores >= 2 else "the measured minutes are for two cores: expect about twice the time")
    free = min(psutil.virtual_memory().available, memory)
    found = f"{memory / GIB:.1f} GiB, {free / GIB:.1f} GiB free"
    if memory < 2 * GIB:
        yield Check("memory", "fail", found, "use a computer, or a container limit, with at least 4 GiB")
    elif free < 2 * GIB or memory < 3.5 * GIB:
        yield Check("memory", "warn", found,
                    "a chapter takes up to 2 GiB: close other programs, open one notebook at a time")
    else:
        yield Check("memory", "ok", found)


def usable_cores() -> float:
    """Cores by affinity and container quota, a fraction where the quota is one."""
    process = psutil.Process()
    count = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    shares = [value.split() for value in _limits("cpu.max")]         # "quota period" in µs, or "max period"
    return min([float(count), *(int(quota) / int(period) for quota, period in shares if quota != "max")])


def usable_memory() -> int:
    """Bytes of memory by hardware and container limit."""
    limits = [*_limits("memory.max"), *_limits("memory.limit_in_bytes", "memory")]
    return min([psutil.virtual_memory().total, *(int(value) for value in limits if value != "max")])


def _limits(name: str, controller: str = "") -> list[str]:
    """The values of a control-group file for this process's group and all above (no controller: v2)."""
    try:
        rows = [line.split(":", 2) for line in (PROC / "cgroup").read_text().splitlines()]
    except OSError:
        return []
    group = next((path.strip("/") for _, controllers, path in rows if controllers == controller), "")
    root = CGROUPS / controller
    folders = [root / group, *(root / group).parents]
    files = [folder / name for folder in folders if folder.is_relative_to(root)]
    return [file.read_text().strip() for file in files if file.is_file()]


def check_gpu() -> Iterator[Check]:
    """PyTorch and what it can compute on; a GPU is never required."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Check("GPU", "fail", f"PyTorch cannot be loaded: {error}", "see the line on torch above")
        return
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            yield Check("GPU", "ok", f"cuda:{number} {facts.name}, {facts.total_memory / GIB:.0f} GiB")
    elif torch.backends.mps.is_available():
        yield Check("GPU", "ok", "mps (Apple), shares the memory of the computer")
    elif shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Check("GPU", "warn", f"nvidia-smi is here, PyTorch {torch.__version__} ({built}) sees no GPU",
                    "update the driver" if torch.version.cuda else "install the CUDA build from pytorch.org")
    else:
        yield Check("GPU", "ok", "none; the chapters are made for the CPU")


def check_disk() -> Iterator[Check]:
    """Free space where the course and where the cache lie."""
    for name, folder in (("disk (course)", ROOT), ("disk (cache)", cache_folder())):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        status = "ok" if free >= 2 * GIB else "warn" if free >= GIB // 2 else "fail"
        yield Check(name, status, f"{free / GIB:.1f} GiB free at {folder}",
                    "" if status == "ok" else "free some space: notebooks, models and data are written here")


def check_folder(folder: Path = ROOT) -> Iterator[Check]:
    """Whether files can be written where the course keeps .venv/, out/ and my_course/."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Check("folder", "fail", f"{folder} cannot be written ({error.strerror})",
                    "copy the course to a folder of your own, for example below your home folder")
    else:
        yield Check("folder", "ok", f"{folder} can be written")


def check_kernel() -> Iterator[Check]:
    """JupyterLab, and a kernel "python3" that runs this Python."""
    install = f"{sys.executable} -m pip install -r {ROOT / 'requirements.txt'}"
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
        version = importlib.metadata.version("jupyterlab")
        program = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (ImportError, importlib.metadata.PackageNotFoundError) as error:
        yield Check("JupyterLab", "fail", f"not complete: {error}", install)
        return
    except NoSuchKernel:
        yield Check("JupyterLab", "fail", "no kernel named python3", install)
        return
    # A bare "python" stands for the Python that starts the server; a path may belong to another environment.
    same = os.sep not in program or Path(program).parent.resolve() == Path(sys.executable).parent.resolve()
    yield Check("JupyterLab", "ok" if same else "warn",
                f"{version}, kernel python3" + ("" if same else f" runs another Python: {program}"),
                "" if same else f"{sys.executable} -m ipykernel install --sys-prefix")


def check_data() -> Iterator[Check]:
    """Where each set of real data is; the chapters run on Tinytown without it."""
    for name in REGISTRY:
        fetch = f"python3 -m course_lib data fetch {name}"
        try:
            statuses = verify(name)
        except DataError as error:
            yield Check(f"data {name}", "fail", str(error), "correct or unset COURSE_DATA")
            continue
        damaged = [status for status in statuses if status.where != "absent" and not status.ok]
        if any(status.where == "COURSE_DATA" for status in damaged):
            yield Check(f"data {name}", "fail", damaged[0].difference(),
                        "copy the files to COURSE_DATA again without any conversion, or unset COURSE_DATA")
        elif damaged:
            yield Check(f"data {name}", "warn", damaged[0].difference(), fetch)
        elif all(status.ok for status in statuses):
            yield Check(f"data {name}", "ok", " and ".join(sorted({str(s.path.parent) for s in statuses})))
        else:
            yield Check(f"data {name}", "warn", "not here; only the parts on real data need it", fetch)
