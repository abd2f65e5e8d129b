"""Direct preference optimisation (Rafailov et al. 2023): a policy learns from comparisons, without a reward model or sampling."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from course_lib.alignment.loop import check_roles, clipped_step
from course_lib.alignment.policy import response_log_probs
from course_lib.alignment.reward import PreferenceBatch, preference_nats
from course_lib.training import Batches

Pair = tuple[Tensor, Tensor]                            # something (B,) of the chosen and of the rejected responses


def pair_log_probs(model: nn.Module, batch: PreferenceBatch) -> Pair:
    """log p of whole responses, summed over their tokens: (chosen (B,), rejected (B,)), in one pass of the model."""
    chosen, rejected = response_log_probs(model, *batch.both()).sum(1).chunk(2)
    return chosen, rejected


def implicit_rewards(policy: Pair, reference: Pair, beta: float) -> Pair:
    """β log(π(y|x) / π_ref(y|x)) of chosen and rejected: the reward that the policy is optimal for (Rafailov et al., equation 5,
    up to a term that depends on the prompt alone)."""
    if not beta > 0:
        raise ValueError(f"beta: got {beta}, expected above 0")
    return beta * (policy[0] - reference[0]), beta * (policy[1] - reference[1])


def dpo_loss(policy: Pair, reference: Pair, beta: float, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
    """Nats per pair under Bradley–Terry with the implicit rewards (Rafailov et al., equation 7): (sum, count of pairs).

    policy and reference: log-probabilities as `pair_log_probs` gives them. Only the difference of the pair counts, so the chosen
    response may become less probable while the loss falls. label_smoothing: the probability that a label is wrong.
    """
    shapes = [tuple(part.shape) for part in (*policy, *reference)]
    if len(set(shapes)) != 1 or len(shapes[0]) != 1:
        raise ValueError(f"policy, reference: got shapes {shapes}, expected four times (B,)")
    chosen, rejected = implicit_rewards(policy, tuple(part.detach() for part in reference), beta)
    return preference_nats(chosen - rejected, label_smoothing).sum(), chosen.new_tensor(len(chosen))


def dpo(policy: nn.Module, reference: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, steps: int, *,
        beta: float = 0.1, label_smoothing: float = 0.0, clip_norm: float | None = 1.0) -> Iterator[dict[str, float]]:
    """Train the policy on batches 0, 1, …, `steps` of them; yield what each step saw (see GLOSSARY). Without dropout.

    Each `next` is one step, so the caller may change the rate, evaluate or stop in between.

        for log in dpo(policy, frozen(policy), PreferenceBatches(comparisons, 32), make_optimizer(policy, config), 100): ...
    """
    check_roles(policy, reference)
    device = next(policy.parameters()).device
    policy.eval()
    for step in range(steps):
        batch = batches[step].to(device)
        with torch.no_grad():
            before = pair_log_probs(reference, batch)
        now = pair_log_probs(policy, batch)
        total, count = dpo_loss(now, before, beta, label_smoothing)
        norm = clipped_step(optimizer, total / count, clip_norm)
        chosen, rejected = implicit_rewards(now, before, beta)
        means = {"chosen_log_prob": now[0], "rejected_log_prob": now[1], "chosen_reward": chosen, "rejected_reward": rejected,
                 "accuracy": (chosen > rejected).float()}
        yield {"loss": total.item() / count.item(), "grad_norm": norm} | {name: part.mean().item() for name, part in means.items()}
