"""What the benches of models share: random sentence pairs, training steps, medians with their range."""

import statistics
import time

import torch
from torch import nn

from course_lib.losses import seq2seq_loss

LENGTHS = (8, 16)                                                                       # words of a source sentence


def random_pairs(n: int, vocab: int) -> list[tuple[list[int], list[int]]]:
    """Random sentence pairs: a source of 8 … 16 words, a target at most two words shorter or longer, as translations are."""
    g = torch.Generator().manual_seed(0)
    source = torch.randint(LENGTHS[0], LENGTHS[1] + 1, (n, 1), generator=g)
    target = source + torch.randint(-2, 3, (n, 1), generator=g)
    return [tuple(torch.randint(4, vocab, (k,), generator=g).tolist() for k in pair)
            for pair in torch.cat([source, target], dim=1).tolist()]


def run_steps(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list) -> float:
    """Train on each batch once: forward, backward, clipping, update; seconds."""
    start = time.perf_counter()
    for batch in batches:
        loss, count = seq2seq_loss(model, batch)
        (loss / count).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def spread(values: list[float], form: str = ",.0f") -> str:
    """The median, and the range in brackets."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} – {max(values):{form}})"
