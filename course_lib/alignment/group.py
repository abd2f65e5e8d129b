"""Group-relative policy optimisation (Shao et al. 2024): several responses to a prompt compete with each other, so no critic is needed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.alignment.loop import LoopConfig, check_fields, check_roles, clipped_surrogate, learn_from, rollout_log
from course_lib.alignment.policy import Score, check_alike, kl_estimates, response_log_probs, rollout, scores_of
from course_lib.models.gpt import GPT

Weigh = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GroupConfig(LoopConfig):
    """LoopConfig and the number of responses to each prompt."""

    size: int = 8

    def __post_init__(self):
        super().__post_init__()
        check_fields(self, (("size", self.size >= 2, "at least 2, since a response alone has nothing to be compared with"),))


def centred(scores: Tensor) -> Tensor:
    """Scores (P, G) of P groups → advantages (P, G): what a response scores above its group's mean (Liu et al. 2025, "Dr. GRPO").

    Exactly 0 in a group whose responses all score the same: such a group teaches nothing.
    """
    if scores.dim() != 2 or scores.shape[1] < 2:
        raise ValueError(f"scores: got shape {tuple(scores.shape)}, expected (P, G), groups of two or more")
    return (scores - scores.mean(1, keepdim=True)).masked_fill(flat_groups(scores)[:, None], 0)


def standardised(scores: Tensor) -> Tensor:
    """`centred`, divided by the group's standard deviation (Shao et al. 2024, section 4.1.2): easy and hard prompts weigh alike."""
    return centred(scores) / (scores.std(1, keepdim=True) + 1e-4)                       # 1e-4: differences below it are rounding


def flat_groups(scores: Tensor) -> Tensor:
    """Which of the groups (P, G) scored the same throughout: (P,). Not by their mean, which rounding moves."""
    return scores.amax(1) == scores.amin(1)


def each_token(mask: Tensor) -> Tensor:
    """Weights (B, T): every token counts the same, so a long response counts more (Yu et al. 2025, section 3.3)."""
    return mask.float()


def each_response(mask: Tensor) -> Tensor:
    """Weights (B, T): every response counts the same, 1 / its length for each token (Shao et al. 2024, equation 3)."""
    return mask / mask.sum(1, keepdim=True).clamp(min=1)


def group_loss(log_probs: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor, *, clip: float, beta: float,
               weigh: Weigh = each_token) -> tuple[Tensor, Tensor]:
    """The clipped loss plus β times k3 of KL(policy ‖ reference), token by token (Shao et al. 2024, equations 3 and 4).

    log_probs, old, reference, mask (B, T); advantages (B,), one for all tokens of a response. `weigh` (each_token, each_response or
    another function of the mask) says how much each token counts: (weighted sum, sum of weights). Only log_probs learns.
    """
    check_alike(mask, log_probs=log_probs, old=old, reference=reference)
    if advantages.shape != mask.shape[:1]:
        raise ValueError(f"advantages: got shape {tuple(advantages.shape)}, expected {tuple(mask.shape[:1])}, one for each response")
    gains = advantages.detach()[:, None].expand_as(log_probs)[mask]                     # (N,)
    loss = clipped_surrogate((log_probs - old.detach())[mask], gains, clip)
    loss = loss + beta * kl_estimates(log_probs[mask], reference.detach()[mask]).k3
    weights = weigh(mask)[mask]
    return (loss * weights).sum(), weights.sum()


class GroupExperience(NamedTuple):
    """What a step learns from, all of it fixed: log-probabilities and mask (B, T − 1), advantages (B,)."""

    old: Tensor
    reference: Tensor
    advantages: Tensor
    mask: Tensor


def minibatch_loss(experience: GroupExperience, config: GroupConfig, weigh: Weigh, now: Tensor,
                   rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of a minibatch: `now` (b, T − 1) are the policy's log-probabilities of these rows (b,)."""
    loss, count = group_loss(now, *(part[rows] for part in experience), clip=config.clip, beta=config.beta, weigh=weigh)
    return loss / count, {"policy_loss": loss.detach() / count}


def group_optimise(policy: GPT, reference: GPT, prompts: Iterable[Sequence[Sequence[int]]], score: Score,
                   optimizer: torch.optim.Optimizer, config: GroupConfig, generator: torch.Generator | None = None, *,
                   advantages_of: Callable[[Tensor], Tensor] = standardised, weigh: Weigh = each_token) -> Iterator[dict[str, float]]:
    """Each batch of prompts is one step: `size` responses to each → score → advantages within groups → updates; yield what it saw.

    Without dropout, and each `next` is one step, as in `ppo`. advantages_of: standardised or centred; weigh: see `group_loss`.
    """
    check_roles(policy, reference)
    policy.eval(), reference.eval()
    for batch in prompts:
        repeated = [prompt for prompt in batch for _ in range(config.size)]
        said = rollout(policy, repeated, max_new=config.max_new, eos_id=config.eos_id, temperature=config.temperature, generator=generator)
        scores = scores_of(score, said)                                                 # (P · G,)
        groups = scores.view(-1, config.size)                                           # (P, G)
        with torch.no_grad():
            before = response_log_probs(reference, said.ids, said.response_mask, config.temperature)
        experience = GroupExperience(said.log_probs, before, advantages_of(groups).flatten(), said.response_mask[:, 1:])
        log = rollout_log(said, before, scores, config.beta) | {"flat_groups": flat_groups(groups).float().mean().item()}
        yield log | learn_from(policy, said, partial(minibatch_loss, experience, config, weigh), optimizer, config, generator)
