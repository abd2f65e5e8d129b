"""Best of n: ask n times, keep what scores best. No training, and a strong baseline for everything that trains."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.alignment.policy import Rollout, Score, rollout, scores_of
from course_lib.models.gpt import GPT


def best_of_n(policy: GPT, prompts: Sequence[Sequence[int]], score: Score, n: int, *, max_new: int, eos_id: int = 3,
              temperature: float = 1.0, generator: torch.Generator | None = None) -> tuple[Rollout, Tensor]:
    """The best of n responses to each prompt, the first of those that tie, and the scores (B, n) of all of them."""
    _check_n(n)
    repeated = [prompt for prompt in prompts for _ in range(n)]
    said = rollout(policy, repeated, max_new=max_new, eos_id=eos_id, temperature=temperature, generator=generator)
    scores = scores_of(score, said).view(-1, n)                                         # (B, n)
    rows = torch.arange(len(scores), device=scores.device) * n + scores.argmax(1)
    return Rollout(*(part[rows] for part in said)), scores


def best_of_n_kl_bound(n: int) -> float:
    """ln n − (n − 1)/n: how many nats best of n moves away at most (Beirami et al. 2024), often quoted as what it moves.

        best_of_n_kl_bound(4)  →  0.636
    """
    _check_n(n)
    return math.log(n) - (n - 1) / n


def best_of_n_distribution(log_probs: Tensor, scores: Tensor, n: int) -> Tensor:
    """The log-probability that each of all K responses is the best of n: log_probs (K,), scores (K,) → (K,), float64.

    The best score is s with probability F(s)ⁿ − F(s−)ⁿ, F the distribution of scores; responses that tie share it as they are probable.
    Divided by F(s) − F(s−), that is the sum of F(s)ⁿ⁻¹⁻ⁱ F(s−)ⁱ for i < n, in which nothing cancels.
    """
    _check_n(n)
    if log_probs.dim() != 1 or scores.shape != log_probs.shape or scores.isnan().any():
        raise ValueError(f"log_probs, scores: got {tuple(log_probs.shape)}, {tuple(scores.shape)}, expected twice (K,), and no NaN")
    probs = log_probs.double().exp()
    if not log_probs.isfinite().all() or abs(probs.sum().item() - 1) > 1e-4:
        raise ValueError(f"log_probs: got probabilities that add up to {probs.sum().item():.6f}, expected 1, and no response impossible")
    _, level = scores.unique(return_inverse=True)                                       # (K,): 0 the worst score, 1 the next, …
    reached = torch.zeros(int(level.max()) + 1, dtype=probs.dtype, device=probs.device).scatter_add_(0, level, probs).cumsum(0)     # F(s)
    reached = reached.clamp(min=torch.finfo(reached.dtype).tiny)
    share = torch.cat([reached.new_zeros(1), reached[:-1]]) / reached                   # F(s−) / F(s) of each level
    powers = share[:, None]**torch.arange(n, device=share.device)                       # (levels, n)
    return log_probs.double() + ((n - 1) * reached.log() + powers.sum(1).log())[level]


def best_of_n_kl(log_probs: Tensor, scores: Tensor, n: int) -> float:
    """KL(best of n ‖ policy) in nats, exactly: log_probs and scores (K,) of all responses that the policy may give to a prompt."""
    best = best_of_n_distribution(log_probs, scores, n)
    return (best.exp() * (best - log_probs.double())).sum().item()


def _check_n(n: int) -> None:
    if n < 1:
        raise ValueError(f"n: got {n}, expected at least 1")
