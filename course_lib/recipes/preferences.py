"""Preferences about the assistant's answers, which chapter 13 learns from: comparisons, reward models, practice, and who wins."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from course_lib.alignment.chat import Growing, Response, dialogue
from course_lib.alignment.dpo import dpo
from course_lib.alignment.group import GroupConfig, group_optimise
from course_lib.alignment.policy import Score, exact_kl, frozen, response_logits, rollout
from course_lib.alignment.ppo import PPOConfig, ppo
from course_lib.alignment.reward import (
    Comparison,
    PreferenceBatches,
    RewardModel,
    ValueModel,
    bradley_terry_loss,
    collate_preferences,
    standardise,
)
from course_lib.data.tinytown.instructions import Instruction
from course_lib.data.tinytown.judge import judge
from course_lib.data.tinytown.labeller import DEFAULT_WEIGHTS, Labeller
from course_lib.generation import sample
from course_lib.metrics import wilson_interval
from course_lib.models.gpt import GPT
from course_lib.recipes.assistant import TEMPLATE, Share, answer
from course_lib.runtime import seed_everything
from course_lib.training import History, TrainingConfig, train

MAX_NEW = 40                                            # words an answer may have, its end included
Logs = list[dict[str, float]]


class Compared(NamedTuple):
    """Two answers to an instruction, of which somebody preferred the first."""

    asked: Instruction
    chosen: str
    rejected: str

    def differs(self) -> str:
        """In what, by the judge: "style" (truth alike; manners or length not), "truth" (and nothing else), "both", or "" for neither."""
        one, other = judge(self.asked, self.chosen), judge(self.asked, self.rejected)
        style = one.polite != other.polite or abs(one.brief - other.brief) > 0.01
        return "both" if style and one.true != other.true else "style" if style else "truth" if one.true != other.true else ""


def utility(asked: Instruction, text: str) -> float:
    """What an answer is worth to a person without noise: the judge's scores, weighted as the simulated labeller weighs them."""
    return judge(asked, text).total(DEFAULT_WEIGHTS)


def two_answers(model: GPT, tokenizer: Growing, asked: Sequence[Instruction], seed: int = 0) -> list[tuple[Instruction, str, str]]:
    """Two different answers to each instruction, drawn; instructions to which it gave the same twice, or did not stop, are left out."""
    drawn = partial(sample, generator=torch.Generator().manual_seed(seed))
    twice = [answer(model, tokenizer, asked, drawn, max_len=MAX_NEW) for _ in range(2)]
    return [(instruction, first.text, second.text) for instruction, first, second in zip(asked, *twice)
            if first.stopped and second.stopped and first.text != second.text]


def compare(answers: Iterable[tuple[Instruction, str, str]], labeller: Labeller) -> list[Compared]:
    """Let a labeller say which of two answers is better."""
    found = []
    for instruction, *both in answers:
        best = labeller.prefer(instruction, *both)
        found.append(Compared(instruction, both[best], both[1 - best]))
    return found


def prompt_ids(tokenizer: Growing, asked: Iterable[Instruction]) -> list[list[int]]:
    """Instructions → ids that end where the assistant has to speak."""
    return [TEMPLATE.prompt(tokenizer, dialogue(instruction.text)) for instruction in asked]


def as_ids(tokenizer: Growing, compared: Sequence[Compared]) -> list[Comparison]:
    """Comparisons as (prompt, chosen, rejected) ids, the answers with their end."""
    end = TEMPLATE.marks(tokenizer)["end"]
    answers = [[[*tokenizer.encode(text), end] for text in (pair.chosen, pair.rejected)] for pair in compared]
    return [(prompt, *both) for prompt, both in zip(prompt_ids(tokenizer, (pair.asked for pair in compared)), answers)]


def fit_reward(sft: GPT, comparisons: Sequence[Comparison], steps: int = 110, lr: float = 1e-3, batch_size: int = 32, seed: int = 0,
               **training: Any) -> tuple[RewardModel, History]:
    """A reward model that starts as the assistant, taught by comparisons; its rewards have mean 0 and variance 1 over the answers."""
    seed_everything(seed)
    model = RewardModel(sft)
    config = TrainingConfig(**{"steps": steps, "lr": lr, "final_lr": lr / 10, "warmup_steps": min(20, steps)} | training)
    history = train(model, PreferenceBatches(comparisons, batch_size, seed=seed), bradley_terry_loss, config)
    some = [comparisons[i:i + 50] for i in range(0, min(len(comparisons), 500), 50)]
    standardise(model, [collate_preferences(part).both() for part in some])
    return model.eval(), history


@torch.no_grad()
def margins(model: RewardModel, comparisons: Sequence[Comparison], batch_size: int = 50) -> np.ndarray:
    """By how much the chosen answer's reward is above the rejected one's, for each comparison."""
    parts = (collate_preferences(comparisons[i:i + batch_size]) for i in range(0, len(comparisons), batch_size))
    return np.concatenate([torch.sub(*model.score(*part.both()).chunk(2)).numpy() for part in parts])


def judged(tokenizer: Growing, asked: Iterable[Instruction], value: Callable[[Instruction, str], float] = utility) -> Score:
    """A score that reads: `value` of the instruction, found by its prompt, and the text of the answer. KeyError for other prompts."""
    known = list(asked)
    by_prompt = {tuple(prompt): instruction for prompt, instruction in zip(prompt_ids(tokenizer, known), known)}

    def score(ids: Tensor, response_mask: Tensor) -> Tensor:
        found = []
        for row, said in zip(ids.tolist(), response_mask.tolist()):
            prompt, words = row[:said.index(True)], [i for i, yes in zip(row, said) if yes]
            found.append(value(by_prompt[tuple(prompt)], TEMPLATE.read(tokenizer, words).text))
        return torch.tensor(found)
    return score


def prompt_batches(tokenizer: Growing, asked: Sequence[Instruction], batch_size: int, steps: int,
                   seed: int = 0) -> Iterator[list[list[int]]]:
    """`steps` batches of different prompts, drawn from all."""
    ids, random = prompt_ids(tokenizer, asked), np.random.default_rng(seed)
    for _ in range(steps):
        yield [ids[i] for i in random.choice(len(ids), batch_size, replace=False)]


def _adam(lr: float, *models: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for model in models for p in model.parameters()], lr=lr, betas=(0.9, 0.95), weight_decay=0.0)


def by_ppo(sft: GPT, score: Score, batches: Iterable[Sequence[Sequence[int]]], end: int, lr: float = 3e-4, beta: float = 0.15,
           seed: int = 0, **settings: Any) -> tuple[GPT, Logs]:
    """Let a copy of the assistant practise by PPO; `settings` are fields of PPOConfig."""
    policy, critic = frozen(sft).requires_grad_(True), ValueModel(sft)
    config = PPOConfig(max_new=MAX_NEW, eos_id=end, beta=beta, **settings)
    dice = torch.Generator().manual_seed(seed)
    return policy, list(ppo(policy, frozen(sft), critic, batches, score, _adam(lr, policy, critic), config, dice))


def by_group(sft: GPT, score: Score, batches: Iterable[Sequence[Sequence[int]]], end: int, lr: float = 3e-4, beta: float = 0.1,
             seed: int = 0, **settings: Any) -> tuple[GPT, Logs]:
    """The same by the group-relative method; `settings` are fields of GroupConfig."""
    policy = frozen(sft).requires_grad_(True)
    config = GroupConfig(max_new=MAX_NEW, eos_id=end, beta=beta, **settings)
    dice = torch.Generator().manual_seed(seed)
    return policy, list(group_optimise(policy, frozen(sft), batches, score, _adam(lr, policy), config, dice))


def by_dpo(sft: GPT, comparisons: Sequence[Comparison], steps: int = 60, lr: float = 2e-4, beta: float = 0.1, batch_size: int = 32,
           seed: int = 0) -> tuple[GPT, Logs]:
    """The same from comparisons alone, by DPO."""
    policy = frozen(sft).requires_grad_(True)
    batches = PreferenceBatches(comparisons, batch_size, seed=seed)
    return policy, list(dpo(policy, frozen(sft), batches, _adam(lr, policy), steps, beta=beta))


@torch.no_grad()
def distance(policy: GPT, reference: GPT, prompts: Sequence[Sequence[int]], end: int, seed: int = 0, batch_size: int = 100) -> float:
    """KL(policy ‖ reference) in nats per answer, over answers drawn from the policy.

    Drawn are only the words so far; at each place the KL of the next word is exact, so the estimate varies less than k1 does.
    """
    dice, total = torch.Generator().manual_seed(seed), 0.0
    for i in range(0, len(prompts), batch_size):
        said = rollout(policy, prompts[i:i + batch_size], max_new=MAX_NEW, eos_id=end, generator=dice)
        mine, theirs = (response_logits(model, said.ids, said.response_mask) for model in (policy, reference))
        total += exact_kl(mine, theirs).sum().item()
    return total / len(prompts)


def win_rate(asked: Sequence[Instruction], mine: Sequence[Response], theirs: Sequence[Response]) -> Share:
    """How often my answer is worth more to the judge than theirs, a tie counting one half, with its 95 % interval (Wilson)."""
    if not len(asked) == len(mine) == len(theirs) > 0:
        raise ValueError(f"mine, theirs: got {len(mine)} and {len(theirs)} answers to {len(asked)} instructions, expected one each")
    worth = [(utility(instruction, a.text), utility(instruction, b.text)) for instruction, a, b in zip(asked, mine, theirs)]
    points = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in worth)
    return Share(points / len(asked), *wilson_interval(points, len(asked)))
