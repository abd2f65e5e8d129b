"""What updates the weights: AdamW, and Muon beside it. Each is made from a model and a TrainingConfig and handed to `train`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn


def adamw(parameters: Sequence[nn.Parameter], config: Any) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused. Only tensors of two or more dimensions decay."""
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.lr, betas=config.betas, fused=True)


def make_muon(model: nn.Module, config: Any) -> "Together":
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for embeddings, the output layer, biases and gains.

    Muon steps along the nearest orthogonal matrix; scaled by 0.2 √max(rows, columns) it takes AdamW's rate and weight decay
    (Liu et al. 2025, section 2.2). Blocks are what stands in an nn.ModuleList; ValueError for a model without.
    """
    stacks = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    inner = {id(m.weight) for stack in stacks for m in stack.modules() if isinstance(m, nn.Linear)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    hidden, rest = [p for p in parameters if id(p) in inner], [p for p in parameters if id(p) not in inner]
    if not hidden:
        raise ValueError(f"model: {type(model).__name__} has no linear layer inside an nn.ModuleList, expected blocks")
    muon = torch.optim.Muon(hidden, lr=config.lr, weight_decay=config.weight_decay, adjust_lr_fn="match_rms_adamw")
    return Together(muon, *([adamw(rest, config)] if rest else []))


class Together:
    """Several optimisers as one: their groups in one list, one state to save and restore."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts, in order; a schedule sets their "lr"."""
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        """One update by every part."""
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """As one optimiser has it: parameters numbered through."""
        state, groups = {}, []
        for part in self.parts:
            own, first = part.state_dict(), sum(len(group["params"]) for group in groups)
            state |= {first + i: values for i, values in own["state"].items()}
            groups += [group | {"params": [first + i for i in group["params"]]} for group in own["param_groups"]]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """What `state_dict` gave, each part's share back to it."""
        first, groups = 0, list(saved["param_groups"])
        for part in self.parts:
            own, groups = groups[:len(part.param_groups)], groups[len(part.param_groups):]
            numbers = {i: i - first for group in own for i in group["params"]}
            part.load_state_dict({"state": {numbers[i]: values for i, values in saved["state"].items() if i in numbers},
                                  "param_groups": [group | {"params": [numbers[i] for i in group["params"]]} for group in own]})
            first += len(numbers)
