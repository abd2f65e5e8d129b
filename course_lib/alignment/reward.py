"""Rewards learned from comparisons: pairs of responses of which a person preferred one, and a model that gives each a number."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.alignment.policy import check_response, joined
from course_lib.data.batching import Shuffled, moved
from course_lib.models.gpt import GPT

Comparison = tuple[Sequence[int], Sequence[int], Sequence[int]]     # prompt, chosen, rejected; responses hold their end token


@dataclass(frozen=True)
class PreferenceBatch:
    """A batch of comparisons, all texts (B, T) in the layout of policy.py: prompt, response, padding.

    chosen and rejected (B, T) hold ids; chosen_mask and rejected_mask (B, T) are True at the response's tokens, its end included.
    """

    chosen: Tensor
    chosen_mask: Tensor
    rejected: Tensor
    rejected_mask: Tensor

    def to(self, device: torch.device) -> "PreferenceBatch":
        """The same batch on `device`; from pinned memory the copy does not wait."""
        return moved(self, device)

    def both(self) -> tuple[Tensor, Tensor]:
        """ids and response_mask (2B, T), the chosen rows first: one pass of a model reads both."""
        return torch.cat([self.chosen, self.rejected]), torch.cat([self.chosen_mask, self.rejected_mask])


def collate_preferences(comparisons: Sequence[Comparison], pad_id: int = 0) -> PreferenceBatch:
    """Triples of id lists (prompt, chosen, rejected) → one PreferenceBatch. Nothing is added: responses bring their end token."""
    prompts, chosen, rejected = ([comparison[i] for comparison in comparisons] for i in range(3))
    ids, mask = (part.chunk(2) for part in joined([*prompts, *prompts], [*chosen, *rejected], pad_id))      # twice (B, T) each
    return PreferenceBatch(ids[0], mask[0], ids[1], mask[1])


class PreferenceBatches(Shuffled):
    """Endless shuffled PreferenceBatches of comparisons: batches[0], batches[1], … See `collate_preferences`."""

    def __init__(self, comparisons: Sequence[Comparison], batch_size: int, *, seed: int = 0, pool: int = 50, pad_id: int = 0):
        if not comparisons:
            raise ValueError("comparisons: got none, expected at least one (prompt, chosen, rejected)")
        super().__init__(comparisons, (len(p) + max(len(c), len(r)) for p, c, r in comparisons), batch_size, seed, pool)
        self.collate = partial(collate_preferences, pad_id=pad_id)


class ValueModel(nn.Module):
    """A copy of a GPT's body with a linear layer to one number at each place; it says 0 until it has learned."""

    def __init__(self, gpt: GPT):
        super().__init__()
        self.body = copy.deepcopy(gpt).requires_grad_(True)
        self.body.output = nn.Identity()
        self.output = nn.Linear(gpt.config.d_model, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.to(gpt.embedding.weight)                                                   # its device and precision

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """ids (B, T), mask (B, T), True = a word, needed for padding on the left → (B, T), what each place is worth, float32 or wider."""
        values = self.output(self.body(ids, mask)).squeeze(-1)
        return values if values.dtype == torch.float64 else values.float()


class RewardModel(ValueModel):
    """A copy of a GPT's body with a linear layer to one number, read at the last real token (Ouyang et al. 2022, section 3.5)."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, T), mask (B, T), True = a word; padding on either side does not matter → rewards (B,)."""
        values = super().forward(ids, mask)                                             # (B, T)
        return values.gather(1, last_place(mask)[:, None]).squeeze(1)

    def score(self, ids: Tensor, response_mask: Tensor) -> Tensor:
        """The reward (B,) of each response, read at its last token: a Score as the loops of this package take it."""
        check_response(ids, response_mask)
        places = torch.arange(ids.shape[1], device=ids.device)
        return self(ids, places <= last_place(response_mask)[:, None])


def last_place(mask: Tensor) -> Tensor:
    """Where each row of mask (B, T) is True for the last time: (B,)."""
    return mask.shape[1] - 1 - mask.flip(1).int().argmax(1)


def preference_nats(margins: Tensor, flip: float = 0.0) -> Tensor:
    """−log of the probability that a comparison came out as it did: margins (B,), chosen minus rejected → (B,).

    P(chosen wins) = σ(margin) (Bradley & Terry 1952). A labeller who errs with probability `flip` is believed so much less: the
    target is 1 − flip. At margin 0 it is ln 2, whatever flip is.
    """
    if not 0 <= flip < 0.5:
        raise ValueError(f"flip: got {flip}, expected 0 ≤ flip < 0.5, the probability of a wrong label")
    return -(1 - flip) * F.logsigmoid(margins) - flip * F.logsigmoid(-margins)


def bradley_terry_loss(model: RewardModel, batch: PreferenceBatch, flip: float = 0.0) -> tuple[Tensor, Tensor]:
    """Loss of a reward model on one batch of comparisons, nats per pair (Ouyang et al. 2022, equation 1): (sum, count of pairs)."""
    chosen, rejected = model.score(*batch.both()).chunk(2)
    return preference_nats(chosen - rejected, flip).sum(), chosen.new_tensor(len(chosen))


@torch.no_grad()
def reward_accuracy(model: RewardModel, batches: Iterable[PreferenceBatch]) -> float:
    """Share of pairs whose chosen response gets the larger reward; a tie counts one half. Without dropout, where the model is."""
    device, was_training, right, count = next(model.parameters()).device, model.training, 0.0, 0
    model.eval()
    for batch in batches:
        chosen, rejected = model.score(*batch.to(device).both()).chunk(2)
        right, count = right + ((chosen > rejected).sum() + 0.5 * (chosen == rejected).sum()).item(), count + len(chosen)
    model.train(was_training)
    if count == 0:
        raise ValueError("batches: got no comparison, expected at least one")
    return right / count


@torch.no_grad()
def standardise(model: RewardModel, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set the scale of the rewards, which comparisons leave open: mean 0, variance 1 over given responses (ids, response_mask).

    Changes the last layer only, so differences keep their sign. ValueError unless the rewards of two responses or more differ.
    """
    was_training = model.training
    model.eval()
    rewards = torch.cat([torch.empty(0), *(model.score(ids, mask).double().cpu() for ids, mask in batches)])
    model.train(was_training)
    if len(rewards) < 2 or not rewards.std() > 1e-6 * rewards.abs().max():
        raise ValueError(f"batches: got {len(rewards)} responses whose rewards do not differ, expected a spread to divide by")
    mean, spread = rewards.mean().item(), rewards.std(correction=0).item()
    model.output.weight.div_(spread)
    model.output.bias.sub_(mean).div_(spread)
