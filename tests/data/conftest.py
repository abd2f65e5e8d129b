"""Real files, where a folder of them is at hand."""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("COURSE_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """COURSE_DATA set to the folder of real files: {path: rows} of its manifest."""
    if not (REAL / "manifest.json").is_file():
        pytest.skip(f"no real data with a manifest.json at {REAL}; set COURSE_DATA to a folder that holds it")
    monkeypatch.setenv("COURSE_DATA", str(REAL))
    listed = json.loads((REAL / "manifest.json").read_text(encoding="utf-8"))["datasets"]
    return {file["path"]: file["rows"] for entry in listed for file in entry["files"]}
