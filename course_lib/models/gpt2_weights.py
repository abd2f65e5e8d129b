"""GPT-2's weights as published (Radford et al. 2019), in safetensors: into a GPT of the same size, and out of one."""

import re
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.checkpoints import misfits, read_tensors, refuse, write_tensors

ENDS = {"wte.weight": "embedding.weight", "wpe.weight": "positions.table", "ln_f.weight": "norm.weight", "ln_f.bias": "norm.bias"}
PARTS = {                            # published name inside a block: our names, whose rows follow each other in one tensor
    "ln_1": ("attention.norm",), "attn.c_attn": ("attention.part.query", "attention.part.key_value"),
    "attn.c_proj": ("attention.part.out",),
    "ln_2": ("feed_forward.norm",), "mlp.c_fc": ("feed_forward.part.up",), "mlp.c_proj": ("feed_forward.part.down",),
}
HEAD = 64                            # width of a head
BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")                              # causal masks, no weights


def published_names(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Each published name → the names of our parameters that it holds."""
    blocks = {f"h.{i}.{theirs}.{kind}": tuple(f"blocks.{i}.{name}.{kind}" for name in ours)
              for i in range(len(model.blocks)) for theirs, ours in PARTS.items() for kind in ("weight", "bias")}
    return {theirs: (ours,) for theirs, ours in ENDS.items()} | blocks


def published_sizes(path: str | Path) -> dict[str, int]:
    """The sizes of the model in a published file, as fields of GPTConfig; in every GPT-2 a head is 64 wide. ValueError for other files.

        model = GPT(GPTConfig(**published_sizes("model.safetensors")));  load_gpt2("model.safetensors", model)
    """
    shapes = {name.removeprefix("transformer."): tuple(value.shape) for name, value in read_tensors(path).items()}
    words, places = shapes.get("wte.weight", ()), shapes.get("wpe.weight", ())
    n_layers = sum(re.fullmatch(r"h\.\d+\.ln_1\.weight", name) is not None for name in shapes)
    if len(words) != 2 or len(places) != 2 or not n_layers or words[1] % HEAD:
        raise ValueError(f"{path}: not GPT-2's weights; expected wte.weight and wpe.weight, rows of n · {HEAD} numbers, and layers h.0 …")
    return {"vocab_size": words[0], "d_model": words[1], "n_heads": words[1] // HEAD, "n_layers": n_layers, "max_len": places[0]}


def load_gpt2(path: str | Path, model: nn.Module) -> None:
    """Fill `model` from a published file, with or without the prefix "transformer." and the tied "lm_head.weight".

        model = GPT(GPT2["gpt2"]);  load_gpt2("model.safetensors", model)

    ValueError for a missing, an unknown or a misshapen tensor, by name; then nothing was changed.
    """
    found = {name.removeprefix("transformer."): value for name, value in read_tensors(path).items()}
    own, names = _parameters(model, path), published_names(model)
    head = found.pop("lm_head.weight", None)
    found = {name: value for name, value in found.items() if not BUFFERS.fullmatch(name)}
    wrong = misfits(found, {name: _published(own, parts) for name, parts in names.items()})
    if not wrong and head is not None and not torch.equal(head, found["wte.weight"]):
        wrong = ["lm_head.weight differs from wte.weight, expected one matrix for both"]
    refuse(path, model, wrong)
    with torch.no_grad():
        for name, parts in names.items():
            value = found[name].t() if _transposed(name) else found[name]
            for part, piece in zip(parts, value.split([len(own[part]) for part in parts])):
                own[part].copy_(piece)


def save_gpt2(path: str | Path, model: nn.Module) -> None:
    """Write `model` in the published layout, as `load_gpt2` and other libraries read it. Written whole or not at all."""
    own = _parameters(model, path)
    tensors = {name: _published(own, parts).cpu() for name, parts in published_names(model).items()}
    write_tensors(path, tensors, {"format": "pt"})


def _transposed(name: str) -> bool:
    """Published matrices inside the blocks are (in, out), those of nn.Linear (out, in)."""
    return name.startswith("h.") and name.endswith("weight") and ".ln_" not in name


def _published(own: dict[str, Tensor], parts: tuple[str, ...]) -> Tensor:
    """Our parameters `parts` as one published tensor; its name follows from theirs."""
    value = torch.cat([own[part].detach() for part in parts])
    return value.t().contiguous() if value.dim() == 2 and parts[0].startswith("blocks.") else value


def _parameters(model: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """The parameters of a model built like GPT-2, by name; ValueError for one with other parts."""
    own = dict(model.named_parameters())
    wanted = {part for parts in published_names(model).values() for part in parts}
    differing = sorted(wanted ^ own.keys())
    differing += [name for name in wanted & own.keys() if "key_value" in name and len(own[name]) != 2 * own["norm.weight"].numel()]
    if differing:
        raise ValueError(f"{path}: this {type(model).__name__} is not built like GPT-2 ({differing[0]}); "
                         "expected learned positions, LayerNorm, biases, as many keys as queries and a tied output layer")
    return own
