"""How fast a model learns from demonstrations and preferences, beside TRL's trainers with the same weights.

    python tests/bench/alignment.py [--quick] [--threads N] [--only dpo]

2 layers, 64 wide, 4 heads, 135 words; prompts of 12 tokens, responses of up to 16; no dropout, float32, AdamW, gradients clipped to 1.
A step of SFT is one batch of 16 texts with the loss on the responses. A step of DPO is one batch of 16 pairs, read by the policy and by
the reference. A step of the group method is 8 prompts × 8 responses: sampling them, scoring, the reference, one update. Logging is off
at TRL, and no activation is computed twice. Both run in one process,
turn by turn, another one first each time; the first step of a turn is not counted.

Wanted: SFT and DPO ≥ 2.0 × TRL, the group method ≥ 1.6 ×.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])      # in place of this folder, where tokenizers.py hides the package
os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from course_lib.alignment.chat import Rendered
from course_lib.alignment.dpo import dpo
from course_lib.alignment.group import GroupConfig, group_optimise
from course_lib.alignment.policy import frozen
from course_lib.alignment.reward import PreferenceBatches
from course_lib.alignment.sft import ResponseBatches
from course_lib.cli.comparison import Row
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import load_gpt2
from course_lib.training import TrainingConfig, train
from tests.bench.common import Contestant, main, turns

V, PROMPT, RESPONSE, PAIRS, PROMPTS, SIZE, STEPS, RATE = 135, 12, 16, 16, 8, 8, 5, 1e-5
PEER = "TRL"


def make(folder: str) -> tuple[GPT, GPT2LMHeadModel]:
    """The same weights twice."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=64, n_head=4, n_layer=2, n_positions=64, resid_pdrop=0.0, embd_pdrop=0.0,
                               attn_pdrop=0.0, bos_token_id=2, eos_token_id=3, pad_token_id=0)).save_pretrained(folder)
    ours = GPT(GPTConfig(V, 64, 4, 2, max_len=64))
    load_gpt2(Path(folder) / "model.safetensors", ours)
    return ours.eval(), GPT2LMHeadModel.from_pretrained(folder)


def words() -> PreTrainedTokenizerFast:
    table = Tokenizer(models.WordLevel({f"w{i}": i for i in range(V)}, unk_token="w1"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=table, unk_token="w1", pad_token="w0", eos_token="w3")


def random_ids(n: int, low: int, high: int) -> list[list[int]]:
    """n lists of low … high ids, none of them special."""
    g = torch.Generator().manual_seed(n)
    return [torch.randint(4, V, (int(torch.randint(low, high + 1, (), generator=g)),), generator=g).tolist() for _ in range(n)]


def text(ids: list[int]) -> str:
    return " ".join(f"w{i}" for i in ids)


class Clock(TrainerCallback):
    """Notes when each of TRL's steps ends."""

    def on_train_begin(self, *_, **__) -> None:
        self.ends = []

    def on_step_end(self, *_, **__) -> None:
        self.ends.append(time.perf_counter())


def theirs(trainer: DPOTrainer | GRPOTrainer | SFTTrainer) -> Contestant:
    """Steps a second after the first, of one run of the trainer."""
    clock = Clock()
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(clock)

    def rate(_: int) -> float:
        trainer.train()
        return (len(clock.ends) - 1) / (clock.ends[-1] - clock.ends[0])
    return rate


def ours(run: Callable[[], Iterator[dict[str, float]]]) -> Contestant:
    """Steps a second after the first, of one run of our loop."""
    def rate(_: int) -> float:
        logs = run()
        next(logs)
        start = time.perf_counter()
        return sum(1 for _ in logs) / (time.perf_counter() - start)
    return rate


SETTINGS = {"report_to": [], "use_cpu": True, "save_strategy": "no", "bf16": False, "disable_tqdm": True, "gradient_checkpointing": False,
            "logging_strategy": "no", "max_grad_norm": 1.0, "learning_rate": RATE, "lr_scheduler_type": "constant", "max_steps": STEPS}


def measure_sft(quick: bool) -> Iterator[Row]:
    prompts, said = random_ids(256, PROMPT, PROMPT), random_ids(257, 8, RESPONSE - 1)
    data = Dataset.from_list([{"prompt": text(p), "completion": f" {text(r)}"} for p, r in zip(prompts, said)])
    with tempfile.TemporaryDirectory() as folder:
        model, their_model = make(folder)
        trainer = SFTTrainer(their_model, processing_class=words(), train_dataset=data,
                             args=SFTConfig(folder, per_device_train_batch_size=PAIRS, completion_only_loss=True, **SETTINGS))
        items = [Rendered([*p, *r, 3], [False] * len(p) + [True] * (len(r) + 1)) for p, r in zip(prompts, said)]
        batches, config = ResponseBatches(items, PAIRS, pool=1), TrainingConfig(STEPS, RATE, schedule="constant")

        def rate(_: int) -> float:
            seconds = train(model, batches, next_token_loss, config).seconds
            return (STEPS - 1) / (seconds[-1] - seconds[0])
        rates = turns({"ours": rate, PEER: theirs(trainer)}, 5 if quick else 15)
    yield Row("alignment", f"SFT, {PAIRS} texts of {PROMPT} + {RESPONSE} tokens", "steps/s", rates["ours"], PEER, rates[PEER], 2.0)


def measure_dpo(quick: bool) -> Iterator[Row]:
    prompts, chosen, rejected = random_ids(256, PROMPT, PROMPT), random_ids(257, 8, RESPONSE - 1), random_ids(258, 8, RESPONSE - 1)
    data = Dataset.from_list([{"prompt": text(p), "chosen": f" {text(c)}", "rejected": f" {text(r)}"}
                              for p, c, r in zip(prompts, chosen, rejected)])
    with tempfile.TemporaryDirectory() as folder:
        policy, their_policy = make(folder)
        trainer = DPOTrainer(their_policy, GPT2LMHeadModel.from_pretrained(folder), processing_class=words(), train_dataset=data,
                             args=DPOConfig(folder, per_device_train_batch_size=PAIRS, beta=0.1, **SETTINGS))
        batches = PreferenceBatches([(p, [*c, 3], [*r, 3]) for p, c, r in zip(prompts, chosen, rejected)], PAIRS, pool=1)
        reference, optimizer = frozen(policy), torch.optim.AdamW(policy.parameters(), lr=RATE, fused=True)
        rates = turns({"ours": ours(lambda: dpo(policy, reference, batches, optimizer, STEPS)), PEER: theirs(trainer)}, 5 if quick else 15)
    yield Row("alignment", f"DPO, {PAIRS} pairs of {PROMPT} + {RESPONSE} tokens", "steps/s", rates["ours"], PEER, rates[PEER], 2.0)


def spread(ids: Tensor, response_mask: Tensor) -> Tensor:
    """A score that differs from response to response: the mean id."""
    return (ids * response_mask).sum(1) / response_mask.sum(1)


def measure_group(quick: bool) -> Iterator[Row]:
    prompts = random_ids(256, PROMPT, PROMPT)
    with tempfile.TemporaryDirectory() as folder:
        policy, their_policy = make(folder)
        trainer = GRPOTrainer(their_policy, processing_class=words(),
                              train_dataset=Dataset.from_list([{"prompt": text(p)} for p in prompts]),
                              reward_funcs=lambda completion_ids, **_: [sum(ids) / len(ids) for ids in completion_ids],
                              args=GRPOConfig(folder, per_device_train_batch_size=PROMPTS * SIZE, num_generations=SIZE, beta=0.1,
                                              max_completion_length=RESPONSE, temperature=1.0, loss_type="bnpo", **SETTINGS))
        reference, optimizer = frozen(policy), torch.optim.AdamW(policy.parameters(), lr=RATE, fused=True)
        config = GroupConfig(RESPONSE, size=SIZE, epochs=1, minibatches=1)
        batches = [prompts[i:i + PROMPTS] for i in range(0, PROMPTS * STEPS, PROMPTS)]
        rates = turns({"ours": ours(lambda: group_optimise(policy, reference, batches, spread, optimizer, config)),
                       PEER: theirs(trainer)}, 5 if quick else 15)
    name = f"group method, {PROMPTS} × {SIZE} responses of {RESPONSE} tokens"
    yield Row("alignment", name, "steps/s", rates["ours"], PEER, rates[PEER], 1.6)


if __name__ == "__main__":
    main(__doc__, {"sft": measure_sft, "dpo": measure_dpo, "group": measure_group}, quick={"sft", "dpo", "group"})
