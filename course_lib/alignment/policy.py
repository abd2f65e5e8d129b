"""What learning from preferences is made of: log-probabilities of responses, rollouts, and how far two policies are apart.

One layout everywhere: ids (B, T) hold a prompt, its response, then padding; response_mask (B, T) is True at the response's tokens,
its end included. Models are causal and the padding comes last, so no model needs a mask. What is per token is (B, T − 1): place t
scores token t + 1, and `response_mask[:, 1:]` says which places count.
"""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.data.batching import pad
from course_lib.generation import sample
from course_lib.losses import token_log_probs
from course_lib.models.gpt import GPT
from course_lib.runtime import check_ids

Score = Callable[[Tensor, Tensor], Tensor]              # (ids (B, T), response_mask (B, T)) → (B,): what a response is worth


class Rollout(NamedTuple):
    """Prompts with the responses a policy gave: ids and response_mask (B, T), log_probs (B, T − 1), 0 where nothing was said."""

    ids: Tensor
    response_mask: Tensor
    log_probs: Tensor


class KLEstimates(NamedTuple):
    """Three estimates of KL(p ‖ q), each (…) like the log-probabilities they come from."""

    k1: Tensor
    k2: Tensor
    k3: Tensor


def frozen(model: nn.Module) -> nn.Module:
    """A copy that does not learn and does not drop: the reference, made before the policy moves away from it."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def check_response(ids: Tensor, response_mask: Tensor) -> None:
    """Raise ValueError unless response_mask is boolean like ids (B, T), each row has a response, and a token stands before it."""
    if ids.dim() != 2 or response_mask.shape != ids.shape or response_mask.dtype != torch.bool:
        raise ValueError(f"response_mask: got {response_mask.dtype} {tuple(response_mask.shape)}, expected bool (B, T) "
                         f"like ids, {tuple(ids.shape)}")
    if response_mask[:, 0].any() or not response_mask.any(1).all():
        raise ValueError("response_mask: got a row without a response, or whose first token is one; expected a prompt, then a response")


def check_alike(mask: Tensor, **parts: Tensor) -> None:
    """Raise ValueError unless mask is boolean and each of `parts` has its shape."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask: got dtype {mask.dtype}, expected bool, True where a token counts")
    for name, part in parts.items():
        if part.shape != mask.shape:
            raise ValueError(f"{name}: got shape {tuple(part.shape)}, expected that of mask, {tuple(mask.shape)}")


def response_logits(model: nn.Module, ids: Tensor, response_mask: Tensor, temperature: float = 1.0) -> Tensor:
    """The logits (N, V) that the N tokens of the responses were drawn from, row after row, divided by the temperature."""
    check_response(ids, response_mask)
    if not temperature > 0:
        raise ValueError(f"temperature: got {temperature}, expected above 0")
    return model(ids[:, :-1])[response_mask[:, 1:]] / temperature                       # (B, T − 1, V) → (N, V)


def unpack(values: Tensor, mask: Tensor) -> Tensor:
    """Values (N,) of the places where mask (B, T) is True, each back at its place (B, T); 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def response_log_probs(model: nn.Module, ids: Tensor, response_mask: Tensor, temperature: float = 1.0) -> Tensor:
    """log p of each token of the responses, given all before it: (B, T − 1), 0 at places that do not count."""
    logits = response_logits(model, ids, response_mask, temperature)                    # (N, V)
    said = response_mask[:, 1:]
    words = ids[:, 1:][said]                                                            # (N,)
    check_ids("ids", words, logits.shape[-1])                                           # a row's last word never went into the model
    return unpack(token_log_probs(logits, words), said)


def entropy_nats(logits: Tensor) -> Tensor:
    """How unsure a distribution is, in nats: logits (…, V) → (…)."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.masked_fill(log_p.isneginf(), 0)).sum(-1)


def left_padded(prompts: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Lists of ids → ids (B, T) and mask (B, T), True = real, padded on the left: generation goes on from the last place.

        left_padded([[5, 6], [7]])  →  [[5, 6], [0, 7]],  [[True, True], [False, True]]
    """
    ids, mask = pad([prompt[::-1] for prompt in prompts], pad_id)
    return ids.flip(1), mask.flip(1)


def joined(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], pad_id: int = 0) -> tuple[Tensor, Tensor]:
    """Prompts and their responses as ids (B, T) and response_mask (B, T), the padding last.

        joined([[5], [6, 7]], [[1, 3], [3]])  →  [[5, 1, 3], [6, 7, 3]],  [[False, True, True], [False, False, True]]
    """
    for name, parts in (("prompts", prompts), ("responses", responses)):
        if not parts or any(len(part) == 0 for part in parts):
            raise ValueError(f"{name}: got {'an empty one' if parts else 'none'}, expected at least one token in each")
    ids, mask = pad([[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)], pad_id)
    starts = torch.tensor([len(prompt) for prompt in prompts])[:, None]                 # (B, 1)
    return ids, mask & (torch.arange(ids.shape[1]) >= starts)


@torch.no_grad()
def rollout(policy: GPT, prompts: Sequence[Sequence[int]], *, max_new: int, eos_id: int = 3, temperature: float = 1.0,
            generator: torch.Generator | None = None, pad_id: int = 0) -> Rollout:
    """Let the policy answer each prompt (lists of ids), without dropout: at most `max_new` tokens, the end token included.

    log_probs are those under the temperature that it sampled with, from one pass over the whole text: what a ratio of the
    weights that said it to themselves must divide by to be 1. ValueError where prompt and answer may not fit the window.
    """
    if max_new < 1:
        raise ValueError(f"max_new: got {max_new}, expected at least 1")
    longest, room = max((len(prompt) for prompt in prompts), default=0), policy.config.max_len
    if longest + max_new > room:
        raise ValueError(f"prompts: got one of {longest} tokens and max_new {max_new}, expected together at most max_len = {room}")
    device, was_training = next(policy.parameters()).device, policy.training
    policy.eval()
    ids, mask = (part.to(device) for part in left_padded(prompts, pad_id))
    said = sample(policy, ids, mask, eos_id=eos_id, max_len=max_new, temperature=temperature, generator=generator)
    responses = [[*words, eos_id] if ended else words for words, ended in zip(said.ids, said.finished.tolist())]
    ids, mask = (part.to(device) for part in joined(prompts, responses, pad_id))
    log_probs = response_log_probs(policy, ids, mask, temperature)
    policy.train(was_training)
    return Rollout(ids, mask, log_probs)


def scores_of(score: Score, said: Rollout) -> Tensor:
    """The scores (B,) of a rollout, float32. ValueError unless there is one finite number for each response."""
    with torch.no_grad():
        scores = torch.as_tensor(score(said.ids, said.response_mask), dtype=torch.float32, device=said.ids.device)
    if scores.shape != said.ids.shape[:1] or not scores.isfinite().all():
        raise ValueError(f"score: got {scores.tolist()}, expected {len(said.ids)} finite numbers, one for each response")
    return scores


def kl_estimates(log_p: Tensor, log_q: Tensor) -> KLEstimates:
    """Estimates of KL(p ‖ q) from tokens drawn from p, by their log-probabilities under both (Schulman 2020, "Approximating KL
    divergence"). With r = q/p: k1 = −log r, unbiased and noisy; k2 = (log r)² / 2, biased; k3 = r − 1 − log r, unbiased and never
    below 0.
    """
    log_r = log_q - log_p
    return KLEstimates(-log_r, log_r**2 / 2, log_r.expm1() - log_r)


def exact_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL(p ‖ q) = Σ_v p(v) log(p(v) / q(v)) at each place, in nats: (…, V), (…, V) → (…)."""
    log_p, log_q = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q).masked_fill(log_p.isneginf(), 0)).sum(-1)
