"""Losses over (batch, time) with a mask. Each returns (sum, count), so that accumulation and several processes add up exactly."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.data.batching import PairBatch, TokenBatch
from course_lib.data.labelling import LabelledBatch
from course_lib.data.masking import MaskedBatch
from course_lib.runtime import check_ids


def token_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(target) at each position: logits (B, T, V), targets (B, T) → (B, T), in float32 or wider."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    return logits.gather(-1, targets[..., None]).squeeze(-1) - logits.logsumexp(-1)     # (B, T)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `values` where `mask` is True; 0 where a whole row is masked. What padding holds, even NaN, does not matter."""
    if values.shape != mask.shape:
        raise ValueError(f"mask: got shape {tuple(mask.shape)}, expected that of values, {tuple(values.shape)}")
    kept = values.masked_fill(~mask, 0)
    if dim is None:
        return kept.sum() / mask.sum().clamp(min=1)
    return kept.sum(dim) / mask.sum(dim).clamp(min=1)


def token_cross_entropy(logits: Tensor, targets: Tensor, mask: Tensor | None, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Summed −log p(target) over real tokens, and their number. logits (B, T, V), targets (B, T), mask (B, T), True = counts.

    With label smoothing ε the target is (1 − ε) of the true word and ε/V of every word (Szegedy et al. 2016, section 7).
    Unmasked positions only are computed, so padding costs nothing and cannot leak into the loss. Without a mask all count.

        loss_sum, count = token_cross_entropy(logits, targets, mask);  mean_nats = loss_sum / count
    """
    shapes = [None if part is None else tuple(part.shape) for part in (logits, targets, mask)]
    if logits.shape[:-1] != targets.shape or shapes[2] not in (None, shapes[1]):
        raise ValueError(f"logits, targets, mask: got {shapes[0]}, {shapes[1]}, {shapes[2]}, expected (B, T, V), (B, T), (B, T)")
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"mask: got dtype {mask.dtype}, expected bool, True where a token counts")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: got {label_smoothing}, expected 0 … 1")
    if mask is None:
        kept, wanted = logits.flatten(0, -2), targets.flatten()                         # (N, V), (N,): N = B·T
    else:
        kept, wanted = logits[mask], targets[mask]                                      # … N real tokens
    if len(wanted):
        check_ids("targets", wanted, logits.shape[-1])                                  # −100, too, is an error, not "ignore"
    kept = kept if kept.dtype == torch.float64 else kept.float()
    count = targets.new_tensor(targets.numel()) if mask is None else mask.sum()
    return F.cross_entropy(kept, wanted, label_smoothing=label_smoothing, reduction="sum"), count


def seq2seq_loss(model: nn.Module, batch: PairBatch, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Teacher-forced loss of an encoder–decoder on one batch: (sum, count)."""
    logits = model(batch.source, batch.source_mask, batch.target_in)                    # (B, T, V)
    return token_cross_entropy(logits, batch.target_out, batch.target_mask, label_smoothing)


def next_token_loss(model: nn.Module, batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Loss of a language model on one batch, every place predicting the token after it: (sum, count).

    Padding on the right needs no mask inside the model: what is causal never sees it. A batch without a mask compiles whole.
    """
    return token_cross_entropy(model(batch.inputs), batch.targets, batch.mask)


def pre_training_loss(model: nn.Module, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """BERT's loss on one batch: nats per chosen token and nats per pair, added (Devlin et al. 2019, appendix A.2): (sum, count).

    The count is that of the chosen tokens. Pairs have a count of their own, and both of their classes count: over several batches
    their mean is one that weighs each batch by its chosen tokens. Without `follows` they are left out.
    """
    words, follows = model(batch.ids, batch.mask, batch.segments, batch.chosen)         # (N, V), (B, 2)
    total, count = token_cross_entropy(words, batch.targets[batch.chosen], None)
    if batch.follows is not None:
        pairs, n_pairs = token_cross_entropy(follows, batch.follows, None)
        total = total + pairs * count / n_pairs
    return total, count


def sequence_loss(model: nn.Module, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
    """Loss of one label for each row: (sum, count of rows). The model gives logits (B, n_classes)."""
    return token_cross_entropy(model(batch.ids, batch.mask, batch.segments), batch.labels, None)


def tagging_loss(model: nn.Module, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
    """Loss of a label for each word, at the tokens that count: (sum, their number). The model gives logits (B, T, n_classes)."""
    return token_cross_entropy(model(batch.ids, batch.mask, batch.segments), batch.labels, batch.counts)


def span_loss(model: nn.Module, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
    """Loss of where an answer begins and ends: (sum, count), two for each row (Devlin et al. 2019, section 4.2).

    The model gives logits (B, T, 2). Only the places that count share the probability; logits elsewhere, even NaN, do not matter.
    """
    check_ids("labels", batch.labels, batch.counts.shape[1])
    if not torch.compiler.is_compiling() and not batch.counts.gather(1, batch.labels).all():
        raise ValueError(f"labels: got {batch.labels.tolist()}, expected places where an answer may lie, counts True")
    logits = model(batch.ids, batch.mask, batch.segments).transpose(1, 2)               # (B, 2, T)
    return token_cross_entropy(logits.masked_fill(~batch.counts[:, None], -torch.inf), batch.labels, None)
