"""Results measured once and kept with the course, for readers who have not the data or the hour. JSON in recipes/stored/."""

import json
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import torch

from course_lib.training import History

FOLDER = Path(__file__).with_name("stored")


def machine(device: torch.device) -> str:
    """What ran it, without the name of any computer: "CPU, 2 threads" or "NVIDIA H200", and the version of PyTorch."""
    here = f"{device.type.upper()}, {torch.get_num_threads()} thread(s)"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else here
    return f"{name}, {platform.machine()}, PyTorch {torch.__version__.split('+')[0]}"


def keep(name: str, device: torch.device, settings: dict[str, Any], **found: Any) -> Path:
    """Write what was `found` under `name`, with its settings, the date and the machine."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    content = {"settings": settings, "date": date.today().isoformat(), "machine": machine(device), **found}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def store(name: str, history: History, device: torch.device, settings: dict[str, Any]) -> Path:
    """Keep the evaluations of a run under `name`, with its training speed."""
    return keep(name, device, settings, tokens_per_second=round(history.tokens / history.seconds[-1]),
                evaluations=[{key: round(value, 2) for key, value in row.items()} for row in asdict(history)["evaluations"]])


def stored(name: str) -> dict[str, Any]:
    """What was kept under `name`. Raises ValueError for an unknown name, with those there are."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise ValueError(f"name: got {name!r}, expected one of {', '.join(sorted(p.stem for p in FOLDER.glob('*.json')))}")
    return json.loads(path.read_text(encoding="utf-8"))
