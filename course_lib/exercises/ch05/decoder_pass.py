"""The decoder's sub-layer of exercise 5.2 without its bugs, and the draws that show each bug beside the others.

A bug is to be seen whether or not the others are still there, so each has draws in which the others cannot matter:
pairs of targets that differ in one word, from which on the outputs may differ (whatever the layer does); W_o = 0,
where the layer adds nothing; and words of mean 0 and variance 1, on which a norm does nothing.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.attention import causal_mask, scaled_dot_product_attention
from course_lib.exercises.spec import Case

WIDE, VOCAB = 64, 12


def reference(
    target: Tensor, embedding: Tensor, W_q: Tensor, W_k: Tensor, W_v: Tensor, W_o: Tensor, bos_id: int
) -> tuple[Tensor, Tensor]:
    """The expected value of 5.2: the shift, then x + attention(norm(x)) by the course's attention."""
    inputs = torch.cat([torch.full_like(target[:, :1], bos_id), target[:, :-1]], dim=1)
    x = embedding[inputs]
    normal = F.layer_norm(x, x.shape[-1:])
    mask = causal_mask(target.shape[1], target.shape[1])
    found, _ = scaled_dot_product_attention(normal @ W_q.T, normal @ W_k.T, normal @ W_v.T, mask)
    return inputs, x + found @ W_o.T


def _case(
    rng: np.random.Generator,
    role: str,
    batch: int,
    steps: int,
    note: str,
    sizes: tuple[int, int] = (6, 4),
    normal: bool = False,
    dtype: str = "float32",
    layout: str = "C",
) -> Case:
    """`sizes`: the width C of a word and the width D of queries, keys and values; `normal`: words of variance 1."""
    width, head = sizes
    x = rng.standard_normal((VOCAB, width))
    if normal:
        x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    else:
        x = x * rng.uniform(2, 4, (VOCAB, 1)) + rng.uniform(1, 3, (VOCAB, 1))
    bos = int(rng.integers(1, VOCAB))
    words = np.setdiff1d(np.arange(1, VOCAB), bos)
    target = np.stack([rng.permutation(words)[:steps] for _ in range(batch)])
    args = {"target": target, "embedding": np.asarray(x, dtype, layout)}
    for name, shape in (("W_q", (head, width)), ("W_k", (head, width)), ("W_v", (head, width)), ("W_o", (width, head))):
        scale = (0 if role == "carried" and name == "W_o" else 1.5) / shape[1] ** 0.5
        args[name] = np.asarray(scale * rng.standard_normal(shape), dtype, layout)
    args["bos_id"] = bos
    return Case("", args, note, {"role": role})


def _twin(rng: np.random.Generator, case: Case, place: int) -> Case:
    """The same case with another word at one place of every target."""
    target = case.args["target"].copy()
    for row in target:
        row[place] = rng.choice(np.setdiff1d(np.arange(1, VOCAB), [*row, case.args["bos_id"]]))
    note = f"{case.note}, another word at place {place}"
    return Case("", {**case.args, "target": target}, note, {"role": "twin", "place": place})


def draw(rng: np.random.Generator) -> list[Case]:
    """Ordinary words and their twins; a layer that adds nothing; words on which a norm does nothing; hard ones."""
    steps = int(rng.integers(4, 7))
    first, second = (
        _case(rng, "ordinary", 2, steps, f"{steps} words"),
        _case(rng, "ordinary", 5, 5, "5 words of 5 numbers", (5, 5)),
    )
    return [
        first,
        _twin(rng, first, int(rng.integers(1, steps - 1))),
        second,
        _twin(rng, second, 0),
        _case(rng, "carried", 2, 5, "W_o = 0"),
        _case(rng, "wide", 3, 8, f"D = {WIDE}", (24, WIDE), normal=True),
        _case(rng, "narrow", 3, 8, "D = 3", (24, 3), normal=True),
        _case(rng, "other", 2, 1, "one word"),
        _case(rng, "other", 1, 4, "float64, not contiguous", dtype="float64", layout="F"),
    ]
