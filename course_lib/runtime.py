"""Where the code runs: device, precision, seeds, processes. Nothing here is global state that another module reads."""

import os
import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16}


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, or the best one present: CUDA, then Apple's MPS, then the CPU.

    Raises ValueError when `name` is asked for by hand and this machine does not have it.
    """
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name is None:
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    kind, colon, number = name.partition(":")
    if kind not in present or number.isdigit() != bool(colon):
        raise ValueError(f"device: got {name!r}, expected one of {', '.join(present)} (or cuda:0, cuda:1, …)")
    device = torch.device(name)
    if not present[kind] or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise ValueError(f"device: {name!r} is not on this machine; leave it out to take the best one present")
    return device


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and PyTorch, and return a CPU generator with the same seed for draws that results quote."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def autocast(device: torch.device, precision: str = "float32") -> AbstractContextManager:
    """Mixed precision for the forward pass: `bfloat16` casts matrix products, `float32` changes nothing."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got {precision!r}, expected one of {', '.join(PRECISIONS)}")
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


@dataclass(frozen=True)
class Distributed:
    """Which process this is: `rank` of `world_size`, computing on `device`. One process: rank 0 of 1."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """True in the one process that prints, evaluates and saves."""
        return self.rank == 0

    def sum(self, value: float) -> float:
        """The sum of `value` over all processes (a count of tokens, a loss)."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if self.device.type != "mps" else torch.float32, device=self.device)
        dist.all_reduce(total)
        return total.item()


@contextmanager
def distributed(device: str | None = None) -> Iterator[Distributed]:
    """The process group that `torchrun` asked for (nccl on GPUs, gloo on CPUs); without torchrun, one process.

        with distributed() as context:
            train(model, ..., context=context)
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        yield Distributed(device=pick_device(device))
        return
    chosen = pick_device(device)
    if chosen.type == "cuda":
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Distributed(dist.get_rank(), dist.get_world_size(), chosen)
    finally:
        dist.destroy_process_group()


def check_config(config: Any, sizes: Iterable[str], rows: Mapping[str, Collection[str]]) -> None:
    """Raise ValueError unless the fields `sizes` of `config` are at least 1, each field in `rows` names a row of its table, and
    dropout is 0 ≤ dropout < 1.
    """
    for name in sizes:
        if getattr(config, name) < 1:
            raise ValueError(f"{name}: got {getattr(config, name)}, expected at least 1")
    for name, table in rows.items():
        if getattr(config, name) not in table:
            raise ValueError(f"{name}: got {getattr(config, name)!r}, expected one of {', '.join(table)}")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"dropout: got {config.dropout}, expected 0 ≤ dropout < 1")


def check_ids(name: str, ids: torch.Tensor, vocab_size: int) -> None:
    """Raise ValueError unless `ids` is a non-empty integer tensor within [0, vocab_size): a GPU would only assert.

    Inside `torch.compile` the check is left out, since it reads values; call the model once uncompiled, or check the data.
    """
    if torch.compiler.is_compiling():
        return
    if ids.dtype not in (torch.long, torch.int):
        raise ValueError(f"{name}: got dtype {ids.dtype}, expected integer token ids")
    if ids.numel() == 0:
        raise ValueError(f"{name}: got an empty batch of shape {tuple(ids.shape)}")
    low, high = (value.item() for value in torch.aminmax(ids))
    if low < 0 or high >= vocab_size:
        raise ValueError(f"{name}: got token id {low if low < 0 else high}, expected 0 … {vocab_size - 1} (the vocabulary)")


def check_source(source: torch.Tensor, source_mask: torch.Tensor, vocab_size: int) -> None:
    """Raise ValueError unless source (B, S) holds ids and source_mask (B, S) is boolean, words before padding."""
    check_ids("source", source, vocab_size)
    if source.dim() != 2:
        raise ValueError(f"source: got shape {tuple(source.shape)}, expected (B, S)")
    check_mask("source_mask", source_mask, source)
    check_padding("source_mask", source_mask)


def check_target(target_in: torch.Tensor, source: torch.Tensor, vocab_size: int) -> None:
    """Raise ValueError unless target_in (B, T) holds ids of the vocabulary, one row for each row of source."""
    check_ids("target_in", target_in, vocab_size)
    if target_in.dim() != 2 or len(target_in) != len(source):
        raise ValueError(f"target_in: got {tuple(target_in.shape)}, expected {len(source)} rows, as many as source")


def check_padding(name: str, mask: torch.Tensor) -> None:
    """Raise ValueError unless each row of the boolean `mask` (B, T) holds words first, at least one, and then padding."""
    if torch.compiler.is_compiling():
        return
    wrong = ~mask[:, 0] | (mask[:, 1:] & ~mask[:, :-1]).any(1)                          # (B,)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        expected = "words first, then padding" if mask[row].any() else "at least one word"
        raise ValueError(f"{name}: row {row} is {mask[row].int().tolist()}, expected {expected} (True = a word)")


def check_words(name: str, ids: torch.Tensor, mask_name: str, mask: torch.Tensor | None, vocab_size: int, max_len: int) -> None:
    """Raise ValueError unless ids (B, T ≤ max_len) holds ids, and in each row of `mask`, if there is one, the words stand in one piece."""
    check_ids(name, ids, vocab_size)
    if ids.dim() != 2:
        raise ValueError(f"{name}: got shape {tuple(ids.shape)}, expected (B, T)")
    if ids.shape[1] > max_len:
        raise ValueError(f"{name}: got {ids.shape[1]} tokens a row, expected at most max_len = {max_len}")
    if mask is not None:
        check_mask(mask_name, mask, ids)
    if mask is not None and not torch.compiler.is_compiling():
        pieces = mask[:, 0].int() + (mask[:, 1:] & ~mask[:, :-1]).sum(1)                # (B,)
        if (pieces != 1).any():
            row = int((pieces != 1).nonzero()[0])
            raise ValueError(f"{mask_name}: row {row} is {mask[row].int().tolist()}, expected words in one piece (True = a word)")


def check_mask(name: str, mask: torch.Tensor, ids: torch.Tensor) -> None:
    """Raise ValueError unless `mask` is boolean and has the shape of ids."""
    if mask.shape != ids.shape or mask.dtype != torch.bool:
        raise ValueError(f"{name}: got {mask.dtype} {tuple(mask.shape)}, expected bool {tuple(ids.shape)}, True = a word")


def check_segments(segments: torch.Tensor, ids: torch.Tensor) -> None:
    """Raise ValueError unless `segments` holds a whole number for each id, which never falls along a row: texts side by side."""
    if segments.shape != ids.shape or segments.dtype not in (torch.long, torch.int):
        raise ValueError(f"segments: got {segments.dtype} {tuple(segments.shape)}, expected whole numbers {tuple(ids.shape)}")
    if torch.compiler.is_compiling():
        return
    falls = (segments[:, 1:] < segments[:, :-1]).any(1)                                 # (B,)
    if falls.any():
        raise ValueError(f"segments: row {int(falls.nonzero()[0])} falls, expected 0 … 0, 1 … 1, 2 …: each text in one piece")
