"""Proximal policy optimisation (Schulman et al. 2017) of a language model against a score (Ziegler et al. 2019; Ouyang et al. 2022).

One token is one action. All tensors are (B, T − 1) as policy.py lays them out: place t is the state in which token t + 1 was said.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.alignment.loop import LoopConfig, check_fields, check_roles, clipped_surrogate, learn_from, rollout_log
from course_lib.alignment.policy import Score, check_alike, kl_estimates, response_log_probs, rollout, scores_of
from course_lib.alignment.reward import ValueModel, last_place
from course_lib.losses import masked_mean
from course_lib.models.gpt import GPT


@dataclass(frozen=True)
class PPOConfig(LoopConfig):
    """LoopConfig and what the critic needs."""

    gamma: float = 1.0               # a response is short: late rewards count in full
    lam: float = 0.95
    value_clip: float = 0.2          # how far a value may move from the old one and still pay
    value_weight: float = 0.5        # of the value loss beside the policy's

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, (("gamma", 0 <= self.gamma <= 1, "0 … 1"), ("lam", 0 <= self.lam <= 1, "0 … 1"),
                            ("value_clip", self.value_clip > 0, "above 0"), ("value_weight", self.value_weight >= 0, "0 or more")))


class Experience(NamedTuple):
    """What a step learns from, all of it fixed: ids (B, T) and, per token (B, T − 1), which count and what is known of them."""

    ids: Tensor
    mask: Tensor
    old: Tensor                                         # log-probabilities of the policy that said it
    advantages: Tensor
    values: Tensor                                      # of the critic as it was then
    returns: Tensor


def token_rewards(log_probs: Tensor, reference_log_probs: Tensor, mask: Tensor, scores: Tensor, beta: float) -> Tensor:
    """−β (log π − log π_ref) at each token said, and the response's score at its last one: (B, T), 0 where nothing was said.

    Summed over a response this is score − β · k1, whose mean is what is to rise (Ziegler et al. 2019, equation 2).
    """
    check_alike(mask, log_probs=log_probs, reference_log_probs=reference_log_probs)
    if scores.shape != mask.shape[:1]:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, expected {tuple(mask.shape[:1])}, one for each response")
    rewards = (-beta * kl_estimates(log_probs, reference_log_probs).k1).masked_fill(~mask, 0)
    return rewards.scatter_add(1, last_place(mask)[:, None], scores[:, None].to(rewards))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16): (advantages, returns), each (B, T), 0 where mask is False.

    δ_t = r_t + γ V_{t+1} − V_t and A_t = δ_t + γλ A_{t+1}; after a response's last token nothing is worth anything. Returns are A + V.
    """
    check_alike(mask, rewards=rewards, values=values)
    values, rewards = values.masked_fill(~mask, 0), rewards.masked_fill(~mask, 0)
    advantages = torch.zeros_like(rewards)
    later, worth_next = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])                # (B,): A_{t+1}, V_{t+1}
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * worth_next - values[:, t]
        later = (delta + gamma * lam * later).masked_fill(~mask[:, t], 0)
        worth_next, advantages[:, t] = values[:, t], later
    return advantages, advantages + values


def whiten(x: Tensor, mask: Tensor) -> Tensor:
    """x (B, T) shifted and scaled to mean 0, variance 1 where mask is True, and 0 elsewhere; all zeros if nothing varies."""
    check_alike(mask, x=x)
    centred = (x - masked_mean(x, mask)).masked_fill(~mask, 0)
    spread = masked_mean(centred**2, mask).sqrt()
    tiny = 1e-6 * x.masked_fill(~mask, 0).abs().max()                                   # below it, all that varies is rounding
    return torch.where(spread > tiny, centred / spread, 0)


def policy_loss(log_probs: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """The clipped loss over the tokens said: (sum, count of tokens). All (B, T); the gradient flows through log_probs alone."""
    check_alike(mask, log_probs=log_probs, old=old, advantages=advantages)
    return clipped_surrogate((log_probs - old.detach())[mask], advantages.detach()[mask], clip).sum(), mask.sum()


def value_loss(values: Tensor, old: Tensor, returns: Tensor, mask: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """½ max((V − R)², (V' − R)²) with V' = V held within `clip` of the old value: (sum, count of tokens). All (B, T)."""
    check_alike(mask, values=values, old=old, returns=returns)
    values, old, returns = values[mask], old.detach()[mask], returns.detach()[mask]     # (N,)
    near = old + (values - old).clamp(-clip, clip)
    return torch.maximum((values - returns)**2, (near - returns)**2).sum() / 2, mask.sum()


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float:
    """1 − Var(R − V) / Var(R) over the tokens said; 0 if the returns do not vary."""
    check_alike(mask, values=values, returns=returns)
    total, left = returns[mask].var(correction=0).item(), (returns - values)[mask].var(correction=0).item()
    return 1 - left / total if total > 0 else 0.0


def ppo_loss(critic: ValueModel, experience: Experience, config: PPOConfig, now: Tensor, rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a minibatch, per token, and its parts: `now` (b, T − 1) are the policy's log-probabilities of these rows (b,)."""
    ids, mask, old, advantages, values, returns = (part[rows] for part in experience)
    gained, count = policy_loss(now, old, advantages, mask, config.clip)
    missed, _ = value_loss(critic(ids[:, :-1]), values, returns, mask, config.value_clip)
    return (gained + config.value_weight * missed) / count, {"policy_loss": gained.detach() / count, "value_loss": missed.detach() / count}


def ppo(policy: GPT, reference: GPT, critic: ValueModel, prompts: Iterable[Sequence[Sequence[int]]], score: Score,
        optimizer: torch.optim.Optimizer, config: PPOConfig, generator: torch.Generator | None = None) -> Iterator[dict[str, float]]:
    """Each batch of prompts (lists of ids) is one step: rollout → score → advantages → updates; yield what it saw (see GLOSSARY).

    `optimizer` holds the weights of policy and critic. Without dropout: the ratio of a policy to itself must be 1. Each `next` is
    one step, so the caller may change the rate, evaluate or stop in between.
    """
    check_roles(policy, reference)
    policy.eval(), critic.eval(), reference.eval()
    for batch in prompts:
        said = rollout(policy, batch, max_new=config.max_new, eos_id=config.eos_id, temperature=config.temperature, generator=generator)
        mask, scores = said.response_mask[:, 1:], scores_of(score, said)
        with torch.no_grad():
            before = response_log_probs(reference, said.ids, said.response_mask, config.temperature)
            values = critic(said.ids[:, :-1])
        advantages, returns = gae(token_rewards(said.log_probs, before, mask, scores, config.beta), values, mask, config.gamma, config.lam)
        experience = Experience(said.ids, mask, said.log_probs, whiten(advantages, mask), values, returns)
        log = rollout_log(said, before, scores, config.beta) | {"explained_variance": explained_variance(values, returns, mask)}
        yield log | learn_from(policy, said, partial(ppo_loss, critic, experience, config), optimizer, config, generator)
