"""What chapter 13 shows of several seeds: the methods beside each other, reward models by number and noise of labels, over-optimisation.

`python3 -m course_lib.recipes.preference_runs methods|refusals|rewards|overoptimisation SEEDS` keeps its results with the course after
each seed. Every seed is an assistant of its own, with demonstrations, comparisons and practice of its own. Minutes a seed on one core: 8,
3, 3, 5.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.alignment.best_of_n import best_of_n
from course_lib.alignment.chat import Response
from course_lib.alignment.policy import Score
from course_lib.data.tinytown.instructions import Instruction
from course_lib.data.tinytown.judge import judge
from course_lib.data.tinytown.labeller import Labeller
from course_lib.generation import sample
from course_lib.models.gpt import GPT
from course_lib.recipes import assistant
from course_lib.recipes.preferences import (
    MAX_NEW,
    Compared,
    as_ids,
    by_dpo,
    by_group,
    by_ppo,
    compare,
    distance,
    fit_reward,
    judged,
    margins,
    prompt_batches,
    prompt_ids,
    two_answers,
    win_rate,
)
from course_lib.recipes.results import keep
from course_lib.tokenizers import WordTokenizer

SETTINGS: dict[str, dict[str, Any]] = {
    "methods": {"comparisons": 2000, "noise": 0.1, "ppo_steps": 30, "group_steps": 40, "best_of": (2, 4, 8), "test": 400},
    "refusals": {"ppo_steps": 30, "test": 400},
    "rewards": {"numbers": (100, 400, 1600), "noises": (0.0, 0.3), "steps": 60, "test": 800},
    "overoptimisation": {"comparisons": 300, "noise": 0.2, "likes": {"!": 0.6}, "lr": 6e-4, "steps": 30, "test": 300},
}


def tuned(seed: int, out: Path = Path("out")) -> tuple[GPT, WordTokenizer]:
    """Chapter 12's assistant with another seed, kept in the folder of what runs leave behind."""
    path = out / f"assistant_{seed}.safetensors"
    if not path.is_file():
        out.mkdir(exist_ok=True)
        assistant.save(*assistant.imitate(*assistant.base(), seed=200 + seed), path)
    return assistant.load(path)


def compared(sft: GPT, tokenizer: WordTokenizer, n: int, labeller: Labeller, split: str = "train", seed: int = 0) -> list[Compared]:
    """Comparisons of the assistant's own answers to n instructions, less those that it answered the same twice."""
    return compare(two_answers(sft, tokenizer, assistant.ask(n, split, 300 + seed), seed), labeller)


def methods(seed: int) -> dict[str, Any]:
    """Win rate over the assistant, KL, and what the judge says, of every method; drawn and greedy answers to unseen questions."""
    use = SETTINGS["methods"]
    sft, tokenizer = tuned(seed)
    end = assistant.TEMPLATE.marks(tokenizer)["end"]
    test, practice = assistant.ask(use["test"], "test", 400 + seed), assistant.ask(3000, seed=500 + seed)
    drawn = [partial(sample, generator=torch.Generator().manual_seed(2 * seed + k)) for k in (0, 1)]
    before = [assistant.answer(sft, tokenizer, test, search, max_len=MAX_NEW) for search in (drawn[0], assistant.greedy)]
    comparisons = as_ids(tokenizer, compared(sft, tokenizer, use["comparisons"], Labeller(use["noise"], seed=seed), seed=seed))
    reward, _ = fit_reward(sft, comparisons, seed=seed)
    truth = judged(tokenizer, practice, lambda asked, text: judge(asked, text).true)
    many = partial(prompt_batches, tokenizer, practice, seed=seed)
    policies = {"SFT": sft,
                "PPO": by_ppo(sft, reward.score, many(64, use["ppo_steps"]), end, seed=seed)[0],
                "DPO": by_dpo(sft, comparisons, seed=seed)[0],
                "group, learned reward": by_group(sft, reward.score, many(8, use["group_steps"]), end, seed=seed)[0],
                "group, truth as reward": by_group(sft, truth, many(8, use["group_steps"]), end, lr=5e-4, seed=seed)[0]}
    found = {}
    for name, policy in policies.items():
        after = [assistant.answer(policy, tokenizer, test, search, max_len=MAX_NEW) for search in (drawn[1], assistant.greedy)]
        found[name] = row(test, after[0], before[0]) | {"kl": round(distance(policy, sft, prompt_ids(tokenizer, test), end, seed), 3)}
        found[name]["greedy"] = row(test, after[1], before[1])
        print(seed, name, found[name], flush=True)
    prompts = prompt_ids(tokenizer, test)
    for n in use["best_of"]:
        dice = torch.Generator().manual_seed(seed)
        said = [best_of_n(sft, prompts[i:i + 50], reward.score, n, max_new=MAX_NEW, eos_id=end, generator=dice)[0]
                for i in range(0, len(prompts), 50)]
        texts = [assistant.TEMPLATE.read(tokenizer, ids[mask].tolist()) for part in said for ids, mask in zip(*part[:2])]
        found[f"best of {n}"] = row(test, texts, before[0])
        print(seed, n, found[f"best of {n}"], flush=True)
    return {"seed": seed, "methods": found}


def row(test: Sequence[Instruction], after: Sequence[Response], before: Sequence[Response]) -> dict[str, Any]:
    """The win rate of answers over others, with its interval, and the shares of the judge's report."""
    shares = {what: round(share.value, 4) for what, share in assistant.report(test, after)._asdict().items()}
    return shares | {"wins": [round(value, 4) for value in win_rate(test, after, before)]}


def refusals(seed: int) -> dict[str, Any]:
    """What practice by PPO does to refusing, drawn answers: of questions that a story answers, and of those that it does not."""
    use = SETTINGS["methods"]
    sft, tokenizer = tuned(seed)
    end, practice = assistant.TEMPLATE.marks(tokenizer)["end"], assistant.ask(3000, seed=500 + seed)
    comparisons = as_ids(tokenizer, compared(sft, tokenizer, use["comparisons"], Labeller(use["noise"], seed=seed), seed=seed))
    reward, _ = fit_reward(sft, comparisons, seed=seed)
    policy, _ = by_ppo(sft, reward.score, prompt_batches(tokenizer, practice, 64, use["ppo_steps"], seed), end, seed=seed)
    test, found = assistant.ask(use["test"], "test", 400 + seed), {}
    for name, model in (("assistant", sft), ("PPO", policy)):
        answers = assistant.answer(model, tokenizer, test, partial(sample, generator=torch.Generator().manual_seed(seed)))
        rows = {kind: [(asked, said.text) for asked, said in zip(test, answers) if asked.kind == kind] for kind in ("answer", "refuse")}
        refused = {kind: round(float(np.mean(["Sorry" in text for _, text in pairs])), 3) for kind, pairs in rows.items()}
        found[name] = {"refused, answerable": refused["answer"], "refused, not answerable": refused["refuse"],
                       "true, answerable": round(float(np.mean([judge(*pair).true for pair in rows["answer"]])), 3)}
    print(seed, found, flush=True)
    return {"seed": seed, "refusals": found}


def rewards(seed: int) -> dict[str, Any]:
    """Accuracy of reward models on pairs that differ in style and in truth alone, by number of comparisons and by noise."""
    use = SETTINGS["rewards"]
    sft, tokenizer = tuned(seed)
    test = compared(sft, tokenizer, use["test"], Labeller(temperature=0, seed=seed), "valid", 50 + seed)
    test_ids, kinds = as_ids(tokenizer, test), np.array([pair.differs() for pair in test])
    answers = two_answers(sft, tokenizer, assistant.ask(int(1.2 * max(use["numbers"])), seed=300 + seed), seed)
    found = []
    for noise in use["noises"]:
        labelled = as_ids(tokenizer, compare(answers, Labeller(noise, seed=seed)))
        for number in use["numbers"]:
            model, _ = fit_reward(sft, labelled[:number], use["steps"], seed=seed)
            right = margins(model, test_ids) > 0
            shares = {kind: round(float(right[kinds == kind].mean()), 4) for kind in ("style", "truth")}
            found.append({"noise": noise, "number": number, "all": round(float(right.mean()), 4), **shares})
            print(seed, found[-1], flush=True)
    return {"seed": seed, "pairs": {kind: int((kinds == kind).sum()) for kind in ("style", "truth")}, "models": found}


def overoptimisation(seed: int) -> dict[str, Any]:
    """A reward model of few and bad labels, pushed hard: without a leash, with one; and the judge itself as reward, without."""
    use = SETTINGS["overoptimisation"]
    sft, tokenizer = tuned(seed)
    end = assistant.TEMPLATE.marks(tokenizer)["end"]
    careless = Labeller(use["noise"], seed=seed, likes=use["likes"])
    proxy, _ = fit_reward(sft, as_ids(tokenizer, compared(sft, tokenizer, use["comparisons"], careless, seed=seed)), 60, seed=seed)
    practice = assistant.ask(3000, seed=500 + seed)
    gold = judged(tokenizer, practice)
    mean, spread = 4.5, 1.5                                             # about the judge's, over the assistant's answers
    runs: dict[str, tuple[Score, float]] = {
        "proxy, no leash": (proxy.score, 0.0), "proxy, leash 0.1": (proxy.score, 0.1),
        "judge, no leash": (lambda ids, mask: (gold(ids, mask) - mean) / spread, 0.0)}
    found = {}
    for name, (score, beta) in runs.items():
        curve: list[dict[str, float]] = []
        batches = prompt_batches(tokenizer, practice, 64, use["steps"], seed)
        _, logs = by_ppo(sft, partial(watched, score, {"proxy": proxy.score, "judge": gold}, curve), batches, end, use["lr"], beta, seed)
        found[name] = [seen | {"kl": round(log["kl"], 3)} for seen, log in zip(curve, logs)]
        print(seed, name, found[name][0], found[name][-1], flush=True)
    return {"seed": seed, "curves": found}


def watched(score: Score, others: dict[str, Score], curve: list[dict[str, float]], ids: Tensor, mask: Tensor) -> Tensor:
    """A score that also notes down, for each batch, the mean of other scores of the same answers."""
    curve.append({name: round(other(ids, mask).mean().item(), 3) for name, other in others.items()})
    return score(ids, mask)


if __name__ == "__main__":
    what = {"methods": methods, "refusals": refusals, "rewards": rewards, "overoptimisation": overoptimisation}[sys.argv[1]]
    runs: list[dict[str, Any]] = []
    for number in range(int(sys.argv[2])):
        runs.append(what(number))
        keep(f"preferences_{sys.argv[1]}", torch.device("cpu"), SETTINGS[sys.argv[1]], runs=runs)
