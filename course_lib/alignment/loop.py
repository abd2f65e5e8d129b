"""What the loops of learning from preferences share: their settings, the names of what they log, minibatches and one update."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.alignment.policy import Rollout, entropy_nats, kl_estimates, response_logits, unpack
from course_lib.losses import masked_mean, token_log_probs

GLOSSARY = {
    "loss": "what the step minimised, per pair or token",
    "objective": "what is to rise: score − β · KL(policy ‖ reference), per response",
    "score": "mean score of the responses",
    "kl": "KL(policy ‖ reference) before the step: nats per response, the mean of k1; an estimate, so it may fall below 0",
    "update_kl": "KL(old ‖ policy) within the step: nats per token, the mean of k3 in the last minibatch",
    "entropy": "how unsure the policy is: nats per token",
    "clip_fraction": "share of tokens whose probability ratio lies outside 1 ± clip",
    "policy_loss": "the clipped loss of the policy, per token",
    "value_loss": "the clipped loss of the critic, per token",
    "explained_variance": "share of the returns' variance that the critic foresaw; 0 = no more than their mean would, below 0 = worse",
    "response_length": "tokens per response, the end included",
    "flat_groups": "share of groups whose responses all scored the same: they teach nothing",
    "grad_norm": "norm of the gradient before clipping, the mean over the updates of the step",
    "chosen_log_prob": "log-probability of the chosen responses under the policy, nats per response; it may fall while DPO works",
    "rejected_log_prob": "log-probability of the rejected responses under the policy, nats per response",
    "chosen_reward": "implicit reward of the chosen responses, β · log(policy / reference)",
    "rejected_reward": "implicit reward of the rejected responses",
    "accuracy": "share of pairs whose chosen response has the larger implicit reward",
}


@dataclass(frozen=True)
class LoopConfig:
    """What a loop of rollouts and updates needs to know."""

    max_new: int                     # tokens a response may have, its end included
    eos_id: int = 3
    temperature: float = 1.0         # of sampling; all log-probabilities are taken under it
    beta: float = 0.1                # nats of KL(policy ‖ reference) cost so much score
    clip: float = 0.2                # how far a probability ratio may move and still pay
    epochs: int = 2                  # times each rollout is learned from
    minibatches: int = 2             # updates an epoch
    clip_norm: float | None = 1.0
    max_update_kl: float | None = None      # the step ends early once KL(old ‖ policy) is above this, nats per token

    def __post_init__(self):
        checks = (("max_new", self.max_new >= 1, "at least 1"), ("temperature", self.temperature > 0, "above 0"),
                  ("beta", self.beta >= 0, "0 or more"), ("clip", 0 < self.clip < 1, "0 < clip < 1"),
                  ("epochs", self.epochs >= 1, "at least 1"), ("minibatches", self.minibatches >= 1, "at least 1"),
                  ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "above 0, or None"),
                  ("max_update_kl", self.max_update_kl is None or self.max_update_kl > 0, "above 0, or None"))
        check_fields(self, checks)


def check_fields(config: object, checks: tuple[tuple[str, bool, str], ...]) -> None:
    """Raise ValueError for the first of (field, is it fine, what is expected) that is not fine."""
    for name, fine, expected in checks:
        if not fine:
            raise ValueError(f"{name}: got {getattr(config, name)!r}, expected {expected}")


def check_roles(policy: nn.Module, reference: nn.Module) -> None:
    """Raise ValueError where policy and reference share a weight: the reference would move along, and every KL be 0."""
    own = {id(p) for p in policy.parameters()}
    if any(id(p) in own for p in reference.parameters()):
        raise ValueError("reference: got weights of the policy itself, expected a frozen copy (see `frozen`)")


def minibatches(n_rows: int, config: LoopConfig, generator: torch.Generator | None) -> Iterator[Tensor]:
    """The numbers of the rows for each update: every epoch shuffles them and deals them out in nearly equal parts."""
    device = None if generator is None else generator.device
    for _ in range(config.epochs):
        yield from torch.randperm(n_rows, generator=generator, device=device).tensor_split(min(n_rows, config.minibatches))


def clipped_step(optimizer: torch.optim.Optimizer, loss: Tensor, clip_norm: float | None) -> float:
    """One step down `loss`, the gradient clipped to `clip_norm`; returns its norm before. ValueError if that is not finite."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm or math.inf).item()
    if not math.isfinite(norm):
        raise ValueError(f"loss: {loss.item()} has a gradient of norm {norm}, expected a finite one; lower the rate or look at the scores")
    optimizer.step()
    return norm


def clipped_surrogate(log_ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """−min(ρA, clip(ρ, 1 − ε, 1 + ε) A), ρ = exp(log_ratio) (Schulman et al. 2017, equation 7), element by element."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)


def clip_fraction(log_probs: Tensor, old: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Share of tokens whose probability ratio lies outside 1 ± clip."""
    return masked_mean((((log_probs - old).detach().exp() - 1).abs() > clip).float(), mask)


def learn_from(policy: nn.Module, said: Rollout, loss_of: Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]],
          optimizer: torch.optim.Optimizer, config: LoopConfig, generator: torch.Generator | None) -> dict[str, float]:
    """The updates of one step: epochs × minibatches, fewer once the policy has moved `max_update_kl` away; means over the updates.

    loss_of(log-probabilities (b, T − 1), numbers of the rows (b,)) → (loss, its parts, to be logged).
    """
    seen = defaultdict(list)
    for rows in minibatches(len(said.ids), config, generator):
        ids, response_mask, old = (part[rows] for part in said)
        mask = response_mask[:, 1:]
        logits = response_logits(policy, ids, response_mask, config.temperature)        # (N, V)
        now = unpack(token_log_probs(logits, ids[:, 1:][mask]), mask)                   # (b, T − 1)
        moved = masked_mean(kl_estimates(old, now.detach()).k3, mask).item()
        if config.max_update_kl is not None and moved > config.max_update_kl:
            break
        loss, parts = loss_of(now, rows)
        norm = clipped_step(optimizer, loss, config.clip_norm)
        parts |= {"entropy": entropy_nats(logits.detach()).mean(), "grad_norm": norm,
                  "clip_fraction": clip_fraction(now, old, mask, config.clip)}
        for name, value in parts.items():
            seen[name].append(float(value))
    return {name: sum(values) / len(values) for name, values in seen.items()} | {"update_kl": moved}


def rollout_log(said: Rollout, reference_log_probs: Tensor, scores: Tensor, beta: float) -> dict[str, float]:
    """What a rollout says about the policy: score, kl, objective, response_length (see GLOSSARY)."""
    kl, score = (said.log_probs - reference_log_probs).sum(1).mean().item(), scores.mean().item()
    return {"objective": score - beta * kl, "score": score, "kl": kl,
            "response_length": said.response_mask.sum(1).float().mean().item()}
