"""Checkpoints: one safetensors file whose header holds JSON. Nothing is ever unpickled, and a kill at any moment loses nothing.

The file is written under a temporary name, flushed to the disk and renamed over the old one, so what stands under the name is
always whole: the checkpoint before, or the one after.
"""

import json
import os
import secrets
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

FORMAT = "course_lib checkpoint 1"


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds beside the weights: the step, the model's configuration and whatever else was given."""

    step: int
    config: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: str | Path, model: nn.Module, *, optimizer: torch.optim.Optimizer | None = None, step: int = 0,
                    config: dict[str, Any] | None = None, extra: dict[str, Any] | None = None) -> None:
    """Write weights, optimiser, step and the state of PyTorch's random generators. `config` and `extra` must be JSON.

    Raises ValueError when they are not. A temporary file that an earlier kill left behind is swept away.
    """
    tensors = {f"model.{name}": value for name, value in _weights(model).items()}
    header: dict[str, Any] = {"format": FORMAT, "step": step, "config": config or {}, "extra": extra or {}}
    tensors["rng.cpu"] = torch.get_rng_state()
    for i in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        tensors[f"rng.cuda.{i}"] = torch.cuda.get_rng_state(i)
    if optimizer is not None:
        state = optimizer.state_dict()
        header["param_groups"] = state["param_groups"]
        for i, values in state["state"].items():
            tensors |= {f"optimizer.{i}.{name}": torch.as_tensor(value) for name, value in values.items()}
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(f"config, extra: expected what JSON can hold, {error}") from None
    tensors = {name: value.detach().contiguous().cpu().clone() for name, value in tensors.items()}
    write_tensors(path, tensors, {"json": text, "crc32": _checksum(text, tensors)})


def write_tensors(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file under a temporary name, flush it to the disk and rename it. Sweeps away what a kill left behind."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        leftover.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "wb") as file:                                             # save_file leaves torn files of its own
            file.write(save(tensors, metadata=metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(path: str | Path, model: nn.Module | None = None, *, optimizer: torch.optim.Optimizer | None = None,
                    restore_rng: bool = False) -> Checkpoint:
    """Read a checkpoint into `model` (and `optimizer`, and the random generators), checking names and shapes first.

    With no model it only reads the header, which is how one finds the configuration to build the model from. Raises
    FileNotFoundError, and ValueError for a file that is damaged, of another kind, or does not fit; then nothing was changed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = json.loads(metadata.get("json", "{}"))
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                raise ValueError(f"{path}: not a checkpoint of this course (its header does not say {FORMAT!r})")
            found = Checkpoint(header["step"], header["config"], header["extra"])
            wanted = model is not None or optimizer is not None or restore_rng
            tensors = {name: file.get_tensor(name) for name in file.keys()} if wanted else {}     # noqa: SIM118
            if wanted and metadata.get("crc32") not in (None, _checksum(metadata["json"], tensors)):     # early files have none
                raise SafetensorError("its checksum does not fit its content")
    except (SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise ValueError(f"{path}: damaged or not a safetensors file ({error}); delete it and train again") from None
    if optimizer is not None and "param_groups" not in header:
        raise ValueError(f"{path}: holds no optimiser state; it was saved for use, not for going on")
    if optimizer is not None:
        ours, theirs = ([len(group["params"]) for group in groups] for groups in (optimizer.param_groups, header["param_groups"]))
        if ours != theirs:
            raise ValueError(f"{path}: its optimiser has groups of {theirs} parameters, expected {ours}")
    if model is not None:
        _fill(path, model, {name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
    if optimizer is not None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, i, name = key.split(".", 2)
                state.setdefault(int(i), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": header["param_groups"]})
    if restore_rng:
        torch.set_rng_state(tensors["rng.cpu"])
        for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            if f"rng.cuda.{i}" in tensors:
                torch.cuda.set_rng_state(tensors[f"rng.cuda.{i}"], i)
    return found


def average_checkpoints(paths: Sequence[str | Path], model: nn.Module) -> None:
    """Fill `model` with the mean of the weights saved in `paths` (Vaswani et al. 2017, section 6.1: their last five).

    Late in training the weights circle around a better point than any they pass. Raises what `load_checkpoint` raises, and
    ValueError for no paths.
    """
    if not paths:
        raise ValueError("paths: got none, expected at least one checkpoint")
    totals: dict[str, Tensor] = {}
    for path in paths:
        load_checkpoint(path, model)
        weights = {name: value.detach() for name, value in _weights(model).items() if value.is_floating_point()}
        totals = {name: value.to(torch.promote_types(value.dtype, torch.float32)) + totals.get(name, 0) for name, value in weights.items()}
    for name, value in weights.items():                                                 # counters stay those of the last one
        value.copy_(totals[name] / len(paths))


def _checksum(header: str, tensors: dict[str, Tensor]) -> str:
    """CRC-32 of all that is in the file: a bit that flipped on a disk must not become a weight."""
    crc = zlib.crc32(header.encode())
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The state dict with each shared tensor once, under its first name (tied embeddings stay tied on loading)."""
    seen: set[int] = set()
    kept = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in seen:
            seen.add(id(value))
            kept[name] = value
    return kept


def _fill(path: Path, model: nn.Module, weights: dict[str, Tensor]) -> None:
    own = _weights(model)
    refuse(path, model, misfits(weights, own))
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, by name. Raises FileNotFoundError, and ValueError for a damaged file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}                # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or not a safetensors file ({error})") from None


def misfits(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps the tensors of a file from being those expected: each that is missing, unknown, of another shape, or whole
    numbers in place of fractions."""
    wrong = [f"{name} missing" for name in expected if name not in found]
    wrong += [f"{name} unknown" for name in found if name not in expected]
    both = [(name, found[name], expected[name]) for name in expected if name in found]
    wrong += [f"{name} is {tuple(one.shape)}, expected {tuple(other.shape)}" for name, one, other in both if one.shape != other.shape]
    return wrong + [f"{name} is {one.dtype}, expected {other.dtype}" for name, one, other in both
                    if one.is_floating_point() != other.is_floating_point()]


def refuse(path: str | Path, model: nn.Module, wrong: Sequence[str]) -> None:
    """ValueError with the first of the things that are wrong with a file for this model, if there are any."""
    if wrong:
        raise ValueError(f"{path}: does not fit {type(model).__name__}: " + "; ".join(wrong[:5])
                         + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""))
