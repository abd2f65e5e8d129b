"""BERT's weights as published (Devlin et al. 2019), in safetensors: into a BERT of the same size, with or without heads, and back."""

import re
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor, nn

from course_lib.checkpoints import misfits, read_tensors, refuse, write_tensors

ENDS = {"embedding": ("embeddings.word_embeddings",), "segments": ("embeddings.token_type_embeddings",),
        "positions": ("embeddings.position_embeddings",), "norm": ("embeddings.LayerNorm",), "pooler": ("pooler.dense",)}
PARTS = {                            # our name inside a block: the published ones, whose rows follow each other in ours
    "attention.part.query": ("attention.self.query",), "attention.part.key_value": ("attention.self.key", "attention.self.value"),
    "attention.part.out": ("attention.output.dense",), "attention.norm": ("attention.output.LayerNorm",),
    "feed_forward.part.up": ("intermediate.dense",), "feed_forward.part.down": ("output.dense",),
    "feed_forward.norm": ("output.LayerNorm",),
}
HEADS = {                            # what a class adds
    "BERT": {}, "BERTForTokens": {"head.1": ("classifier",)}, "BERTForSequences": {"head.1": ("classifier",)},
    "BERTForSpans": {"head.1": ("qa_outputs",)},
    "BERTForPreTraining": {"words.linear": ("cls.predictions.transform.dense",), "next": ("cls.seq_relationship",),
                           "words.norm": ("cls.predictions.transform.LayerNorm",), "words.output": ("cls.predictions",)},
}
OUTSIDE = ("cls.", "classifier.", "qa_outputs.")                # what has no prefix "bert."
OPTIONAL = {"pooler": ("pooler.",), "words": ("cls.predictions.",), "next": ("cls.seq_relationship.",),
            "head": ("classifier.", "qa_outputs.")}
KEPT = {"BERTForTokens": ("head", "pooler"), "BERTForSpans": ("head", "pooler"), "BERTForSequences": ("head",)}
TURNED = "cls.seq_relationship."                                # published: class 0 = follows; ours: class 1
TIED = {"cls.predictions.decoder.weight": "embeddings.word_embeddings.weight", "cls.predictions.decoder.bias": "cls.predictions.bias"}


def load_bert(path: str | Path, model: nn.Module, keep: Collection[str] = ()) -> None:
    """Fill a BERT, alone or with heads, from a published file: with the prefix "bert." or none, LayerNorm's gamma and beta or
    weight and bias, the tied "decoder" or none. Classes of the pair are turned, so that 1 = follows.

        model = BERT(BERTS["bert-base-uncased"]);  load_bert("model.safetensors", model)

    Heads that only the file has are left out. A head for fine-tuning of which the file has nothing stays as it is, and so does
    the pooler of a model that does not use it; so do the parts named in `keep` (pooler, words, next).
    ValueError for a missing, an unknown or a misshapen tensor, by name; then nothing was changed.
    """
    if unknown := set(keep) - OPTIONAL.keys():
        raise ValueError(f"keep: got {', '.join(sorted(unknown))}, expected some of {', '.join(OPTIONAL)}")
    rows, found = _rows(model, path), _read(path)
    left_out = _lacking(rows, OUTSIDE)
    found = {name: value for name, value in found.items() if not name.startswith(left_out)}
    differing = _untie(found)
    kept = _lacking(found, [start for part in (*keep, *KEPT.get(_kind(model, path), ())) for start in OPTIONAL[part]])
    rows = {name: value for name, value in rows.items() if not name.startswith(kept)}
    refuse(path, model, misfits(found, rows) + differing)
    with torch.no_grad():
        for name, value in rows.items():
            value.copy_(_turned(name, found[name]))


def save_bert(path: str | Path, model: nn.Module) -> None:
    """Write a BERT, alone or with heads, in the published layout, as `load_bert` and other libraries read it. Whole or not at all."""
    prefix = "" if _kind(model, path) == "BERT" else "bert."
    write_tensors(path, {name if name.startswith(OUTSIDE) else prefix + name: _turned(name, value).contiguous().cpu()
                         for name, value in _rows(model, path).items()}, {"format": "pt"})


def _read(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a published file under one form of their names, without buffers."""
    found: dict[str, Tensor] = {}
    for name, value in read_tensors(path).items():
        name = re.sub(r"(?<=LayerNorm)\.beta$", ".bias", re.sub(r"(?<=LayerNorm)\.gamma$", ".weight", name)).removeprefix("bert.")
        if name in found:
            raise ValueError(f"{path}: has {name} twice, with and without a prefix or under an old and a new name")
        found[name] = value
    found.pop("embeddings.position_ids", None)                                          # 0, 1, 2, …
    return found


def _rows(model: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """Each published name → the rows of our parameters that it fills. ValueError for a model built in another way."""
    table = ENDS | HEADS[_kind(model, path)]
    for i in range(len(getattr(model, "bert", model).blocks)):
        table |= {f"blocks.{i}.{ours}": tuple(f"encoder.layer.{i}.{name}" for name in theirs) for ours, theirs in PARTS.items()}
    rows = {}
    for name, value in model.named_parameters():
        part, _, last = name.removeprefix("bert.").rpartition(".")
        if part not in table or name == "words.output.weight":
            raise ValueError(f"{path}: this {type(model).__name__} is not built like the published BERT ({name}), "
                             "expected norm='post' and one table that reads and scores words")
        pieces = value.detach().chunk(len(table[part]))
        rows |= {f"{theirs}.{last.replace('table', 'weight')}": piece for theirs, piece in zip(table[part], pieces)}
    return rows


def _kind(model: nn.Module, path: str | Path) -> str:
    """The class whose parts a model has, by name: models do not import each other."""
    for kind in type(model).__mro__:
        if kind.__name__ in HEADS:
            return kind.__name__
    raise ValueError(f"{path}: got a {type(model).__name__} to fill or to write, expected one of {', '.join(HEADS)}")


def _turned(name: str, value: Tensor) -> Tensor:
    return value.flip(0) if name.startswith(TURNED) else value


def _lacking(names: Collection[str], starts: Collection[str]) -> tuple[str, ...]:
    """Those of `starts` with which no name starts."""
    return tuple(start for start in starts if not any(name.startswith(start) for name in names))


def _untie(found: dict[str, Tensor]) -> list[str]:
    """Leave one of each pair of tied tensors; what is wrong where the two are not the same."""
    differing = []
    for name, twin in TIED.items():
        value = found.pop(name, None)
        if value is not None and not torch.equal(value, found.setdefault(twin, value)):
            differing.append(f"{name} differs from {twin}, expected one tensor for both")
    return differing
