"""LoRA (Hu et al. 2021): the model stays as it is, and beside each chosen matrix learns a product of two narrow ones."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checkpoints import misfits, read_tensors, refuse, write_tensors


def in_blocks(name: str) -> bool:
    """Whether a layer of this name stands in one of a model's blocks: "blocks.0.attention.part.query" does, "output" does not."""
    return "blocks" in name.split(".")


class LowRank(nn.Module):
    """W x + b + α/r · B A x (Hu et al. 2021, equation 3), A (r, in) and B (out, r), beside a `linear` that `add_lora` has frozen.

    A is random and B zero, so that at first nothing changes; were both zero, neither would ever get a gradient. ValueError unless
    1 ≤ rank ≤ min(in, out) and alpha > 0.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float):
        super().__init__()
        if not 1 <= rank <= min(linear.weight.shape):
            raise ValueError(f"rank: got {rank}, expected 1 … {min(linear.weight.shape)} for a matrix {tuple(linear.weight.shape)}")
        if not 0 < alpha < float("inf"):
            raise ValueError(f"alpha: got {alpha}, expected above 0")
        self.linear, self.alpha, self.scale = linear, alpha, alpha / rank
        self.A = nn.Parameter(torch.randn_like(linear.weight[:rank]) * linear.in_features**-0.5)
        self.B = nn.Parameter(torch.zeros_like(linear.weight[:, :rank]))

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out); what lies between is only r wide."""
        return self.linear(x) + self.scale * F.linear(F.linear(x, self.A), self.B)

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer that was wrapped, with W + α/r · B A in place of W: as fast as before."""
        self.linear.weight += self.scale * self.B @ self.A
        return self.linear


def add_lora(model: nn.Module, rank: int, alpha: float, where: Callable[[str], bool] = in_blocks) -> list[str]:
    """Freeze `model` and give each nn.Linear whose name `where` accepts a low-rank part, in place; return their names.

    To be done before the model is compiled, wrapped or given to an optimiser. ValueError where no layer is accepted, the model has
    such parts already, or an accepted layer shares its matrix with another: the part would change only one of the two.
    """
    if _parts(model):
        raise ValueError("model: got one with low-rank parts, expected one without (merge_lora first)")
    chosen = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear) and where(name)}
    if not chosen:
        raise ValueError("where: accepts no linear layer of the model, expected at least one")
    owners: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(parameter), []).append(name)
    for name, linear in chosen.items():
        if len(owners[id(linear.weight)]) > 1:
            raise ValueError(f"where: accepts {name}, whose matrix is shared: {' = '.join(owners[id(linear.weight)])}; expected layers "
                             f"with a matrix of their own (leave it out, or untie the model)")
    made = {name: LowRank(linear, rank, alpha) for name, linear in chosen.items()}      # all of them, or an error and none
    model.requires_grad_(False)
    for name, part in made.items():
        _put(model, name, part.train(model.training))
    return list(made)


def merge_lora(model: nn.Module) -> None:
    """Put plain layers in place of low-rank ones, with what these have learned, and let all parameters learn again.

    ValueError where there are none.
    """
    for name, part in _expected(model).items():
        _put(model, name, part.merged())
    model.requires_grad_(True)


def lora_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """What learns: A and B of each low-rank layer, by name. ValueError where there are none."""
    return {f"{name}.{matrix}": getattr(part, matrix) for name, part in _expected(model).items() for matrix in ("A", "B")}


def save_lora(path: str | Path, model: nn.Module) -> None:
    """Write A and B of all low-rank layers, and α: an adapter, which is small beside the model that it belongs to."""
    alpha = next(iter(_expected(model).values())).alpha
    tensors = {name: value.detach().contiguous().cpu() for name, value in lora_parameters(model).items()}
    write_tensors(path, {**tensors, "alpha": torch.tensor(alpha, dtype=torch.float64)})


def load_lora(path: str | Path, model: nn.Module) -> list[str]:
    """Give a model the low-rank parts that `save_lora` wrote, in place; return the names of the layers.

    The model is the one that the adapter was trained on, without parts. FileNotFoundError; ValueError for a file that is damaged, of
    another kind, or does not fit the model; then nothing was changed.
    """
    tensors = read_tensors(path)
    alpha = tensors.pop("alpha", torch.tensor(torch.nan))
    names = {re.sub(r"\.[AB]$", "", name) for name in tensors}
    layers = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear) and name in names}
    rank = next((value.shape[0] for name, value in tensors.items() if name.endswith(".A") and value.dim() == 2), 1)
    expected = {f"{name}.A": part.weight[:1].expand(rank, -1) for name, part in layers.items()}
    expected |= {f"{name}.B": part.weight[:, :1].expand(-1, rank) for name, part in layers.items()}
    wrong = misfits(tensors, expected) + [f"{name} has NaN or infinity" for name, value in tensors.items() if not value.isfinite().all()]
    refuse(path, model, wrong + ["alpha missing or not one number above 0"] * (alpha.numel() != 1 or not 0 < alpha < torch.inf))
    add_lora(model, rank, alpha.item(), names.__contains__)
    with torch.no_grad():
        for name, parameter in lora_parameters(model).items():
            parameter.copy_(tensors[name])
    return sorted(names)


def _parts(model: nn.Module) -> dict[str, LowRank]:
    return {name: part for name, part in model.named_modules() if isinstance(part, LowRank)}


def _expected(model: nn.Module) -> dict[str, LowRank]:
    if not (parts := _parts(model)):
        raise ValueError("model: got one without low-rank parts, expected one that add_lora changed")
    return parts


def _put(model: nn.Module, name: str, part: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, part)
