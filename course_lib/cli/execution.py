"""One notebook run from top to bottom in a kernel of its own, watched for time and memory."""

import asyncio
import contextlib
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from course_lib.cli.process import clean_environment

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class OwnKernel(AsyncKernelManager):
    """Starts the kernel with the Python that runs now, whatever kernels the user has registered."""

    def __init__(self, **settings) -> None:
        # encrypted: others on a shared machine read nothing, and the kernel does not warn
        super().__init__(transport_encryption="auto", **settings)

    @property
    def kernel_spec(self) -> KernelSpec:
        """The command of that kernel."""
        return KernelSpec(argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                          display_name="Python 3 (ipykernel)", language="python",
                          metadata={"supported_encryption": ["curve"]})


@dataclass
class Failure:
    """The first cell that failed: its number among the code cells (from 1), its source, and the error."""

    cell: int
    source: str
    name: str
    message: str
    traceback: str = ""


@dataclass
class Execution:
    """A running or finished notebook; `cell_seconds` grows as cells end, `failure` is set when one fails."""

    path: Path
    folder: Path                        # the kernel's working directory
    outcomes: Path                      # where metrics.outcome writes its JSON lines
    cell_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failure: Failure | None = None

    def __post_init__(self) -> None:
        self.notebook = nbformat.read(self.path, as_version=4)
        code = [cell for cell in self.notebook.cells if cell.cell_type == "code"]
        for cell in code:
            cell.outputs, cell.execution_count = [], None
        self.cells = sum(bool(cell.source.strip()) for cell in code)
        self.current = ""
        self.cell_started = self.started = time.monotonic()
        self.seconds, self._open = 0.0, False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._client = NotebookClient(
            self.notebook,
            kernel_manager_class=OwnKernel,
            kernel_name="",
            timeout=None,
            startup_timeout=120,
            iopub_timeout=30,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            shutdown_kernel="immediate",
            allow_error_names=["OutcomeError"],  # one bad outcome hides no other
            resources={"metadata": {"path": str(self.folder)}},
            on_cell_execute=self._cell_starts,
            on_cell_executed=self._cell_ends,
        )

    def start(self) -> None:
        """Start the kernel and the first cell; returns at once."""
        self.outcomes.parent.mkdir(parents=True, exist_ok=True)
        self.outcomes.unlink(missing_ok=True)
        self.started = time.monotonic()
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end, measure memory, and say whether it has ended."""
        self._thread.join(seconds)
        self._measure()
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End the kernel and all that it started, now."""
        family = self._family()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=5)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            with open(self.outcomes.with_suffix(".log"), "w") as log:  # what the kernel says outside cells
                asyncio.run(self._client.async_execute(env=self._environment(), stdout=log, stderr=log))
        except CellExecutionError as error:
            traceback = COLOURS.sub("", error.traceback)  # nbclient puts the cell's source before it
            self._fail(
                error.ename,
                error.evalue,
                traceback.rpartition("------------------\n\n")[2].strip().lstrip("-\n"),
            )
        except DeadKernelError:
            self._fail("kernel died", "the process ended during this cell; memory may have run out")
        except Exception as error:  # whatever it is, the other chapters go on and the report says it
            self._fail(type(error).__name__, str(error))
        finally:
            self.seconds = time.monotonic() - self.started

    def _fail(self, name: str, message: str, traceback: str = "") -> None:
        self.failure = Failure(len(self.cell_seconds) + self._open, self.current, name, message, traceback)

    def _environment(self) -> dict[str, str]:
        inherited = clean_environment()
        inherited.pop("MPLBACKEND", None)       # figures belong in the notebook
        return {**inherited, "COURSE_OUTCOMES": str(self.outcomes),
                "IPYTHONDIR": str(self.outcomes.parent / ".ipython")}       # no start-up files of the user's

    def _cell_starts(self, cell: nbformat.NotebookNode, cell_index: int) -> None:
        self.current, self.cell_started, self._open = cell.source, time.monotonic(), True

    def _cell_ends(self, cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict) -> None:
        self.cell_seconds.append(time.monotonic() - self.cell_started)
        self._open = False
        self._measure()                         # also between two looks of the caller: some chapters are quick

    def _family(self) -> list[psutil.Process]:
        pid = getattr(getattr(self._client.km, "provisioner", None), "pid", None)
        if pid is None:
            return []                           # not started yet, or already gone
        try:
            kernel = psutil.Process(pid)
            return [kernel, *kernel.children(recursive=True)]
        except psutil.Error:
            return []

    def _measure(self) -> None:
        family, used = self._family(), 0
        for process in family:
            with contextlib.suppress(psutil.Error):
                used += process.memory_info().rss
        self.peak_bytes = max(self.peak_bytes, used, high_water(family[0].pid) if family else 0)


def high_water(pid: int) -> int:
    """The most memory that a process has held, in bytes, as Linux keeps it; 0 elsewhere."""
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
