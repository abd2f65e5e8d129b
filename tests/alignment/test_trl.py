"""Losses and gradients beside TRL's trainers, from the same weights and the same tensors.

TRL 1.16 has no PPO any more; test_ppo.py writes that loss out by hand.
"""

import os

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2ForSequenceClassification, GPT2LMHeadModel, PreTrainedTokenizerFast

from course_lib.alignment.dpo import dpo_loss, pair_log_probs
from course_lib.alignment.group import centred, each_response, each_token, group_loss, standardised
from course_lib.alignment.policy import frozen, response_log_probs
from course_lib.alignment.reward import PreferenceBatch, RewardModel, bradley_terry_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.gpt2_weights import load_gpt2

os.environ["HF_HUB_OFFLINE"] = "1"
from datasets import Dataset
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, RewardConfig, RewardTrainer

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
V, LENGTH = 30, 16
QUIET = {"report_to": [], "use_cpu": True, "save_strategy": "no", "bf16": False, "disable_tqdm": True, "max_steps": 1}
COMPARISONS = [{"prompt": "w5 w6", "chosen": " w7 w8", "rejected": " w9"}, {"prompt": "w5", "chosen": " w7", "rejected": " w9 w10 w11"},
               {"prompt": "w12 w13 w4", "chosen": " w2 w2 w2 w2", "rejected": " w2"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where theirs lie: "policy" and "reference", two GPT-2s with random weights, biases and norms among them."""
    path = tmp_path_factory.mktemp("trl")
    for seed, name in enumerate(("policy", "reference")):
        torch.manual_seed(seed)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=24, n_head=3, n_layer=2, n_positions=LENGTH, resid_pdrop=0, embd_pdrop=0,
                                           attn_pdrop=0, eos_token_id=3, bos_token_id=2, pad_token_id=0))
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.1 * torch.randn(p.shape))
        model.save_pretrained(path / name)
    return path


def words():
    """A tokenizer that knows w0 … w29: w0 is padding, w3 the end."""
    table = Tokenizer(models.WordLevel({f"w{i}": i for i in range(V)}, unk_token="w29"))
    table.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=table, unk_token="w29", pad_token="w0", eos_token="w3")


def theirs(folder, name="policy"):
    return GPT2LMHeadModel.from_pretrained(folder / name)


def ours(folder, name="policy"):
    model = GPT(GPTConfig(V, d_model=24, n_heads=3, n_layers=2, max_len=LENGTH))
    load_gpt2(folder / name / "model.safetensors", model)
    return model.eval()


def same(loss, model, their_loss, their_model):
    """The value, and the gradients of the embedding, of a bias and of a position."""
    assert loss.item() == pytest.approx(their_loss.item(), rel=2e-5)
    loss.backward(), their_loss.backward()
    for name, their_name in (("embedding.weight", "wte.weight"), ("blocks.0.feed_forward.part.up.bias", "h.0.mlp.c_fc.bias"),
                             ("positions.table", "wpe.weight")):
        grad, their_grad = model.get_parameter(name).grad, their_model.get_parameter(f"transformer.{their_name}").grad
        torch.testing.assert_close(grad, their_grad, rtol=1e-4, atol=1e-4 * float(their_grad.abs().max()))


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_dpo(folder, beta):
    trainer = DPOTrainer(theirs(folder), theirs(folder, "reference"), processing_class=words(),
                         train_dataset=Dataset.from_list(COMPARISONS),
                         args=DPOConfig(str(folder / "out"), per_device_train_batch_size=3, beta=beta, **QUIET))
    inputs = next(iter(trainer.get_train_dataloader()))
    ids, mask = inputs["input_ids"].chunk(2), inputs["completion_mask"].bool().chunk(2)
    model, batch = ours(folder), PreferenceBatch(ids[0], mask[0], ids[1], mask[1])
    loss, count = dpo_loss(pair_log_probs(model, batch), pair_log_probs(ours(folder, "reference"), batch), beta)
    same(loss / count, model, trainer.compute_loss(trainer.model, inputs), trainer.model)


def test_reward(folder):
    model, their_model = RewardModel(ours(folder)), GPT2ForSequenceClassification.from_pretrained(folder / "policy", num_labels=1)
    with torch.no_grad():
        model.output.weight.copy_(their_model.score.weight)
    trainer = RewardTrainer(their_model, processing_class=words(), train_dataset=Dataset.from_list(COMPARISONS),
                            args=RewardConfig(str(folder / "out"), per_device_train_batch_size=3, **QUIET))
    inputs = next(iter(trainer.get_train_dataloader()))
    said = inputs["attention_mask"].bool()
    said[:, 0] = False                                                                  # a prompt of one word: TRL marks all words
    ids, mask = inputs["input_ids"].chunk(2), said.chunk(2)
    loss, count = bradley_terry_loss(model, PreferenceBatch(ids[0], mask[0], ids[1], mask[1]))
    same(loss / count, model.body, trainer.compute_loss(trainer.model, inputs), trainer.model)


def group_trainer(folder, kind="bnpo", **more):
    """TRL's trainer of the group method; kind: what its loss averages over, "bnpo" tokens, "grpo" responses first."""
    prompts = Dataset.from_list([{"prompt": "w5 w6"}, {"prompt": "w7 w8"}] * 4)
    settings = {"per_device_train_batch_size": 8, "num_generations": 4, "beta": 0.3, "max_completion_length": 6, "loss_type": kind,
                "use_bias_correction_kl": False} | more                                 # True: k3 times the ratio, not in Shao et al.
    return GRPOTrainer(theirs(folder), reward_funcs=lambda completions, **_: [text.count("w4") + 0.1 * len(text) for text in completions],
                       processing_class=words(), train_dataset=prompts, args=GRPOConfig(str(folder / "out"), **settings, **QUIET))


@pytest.mark.parametrize("kind, weigh", [("bnpo", each_token), ("grpo", each_response)])
def test_group_loss(folder, kind, weigh):
    trainer, model = group_trainer(folder, kind), ours(folder)
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(1, V, (8, 9), generator=g)                                      # prompts of 3 words: TRL's positions count padding
    said = torch.arange(6) < torch.randint(1, 7, (8, 1), generator=g)                   # responses of 1 … 6
    mask = torch.cat([torch.zeros(8, 3, dtype=torch.bool), said], dim=1)
    now, reference = (response_log_probs(m, ids, mask) for m in (model, frozen(ours(folder, "reference"))))
    old, advantages = now.detach() + 0.4 * torch.randn(now.shape, generator=g), torch.randn(8, generator=g)
    loss, count = group_loss(now, old, reference, advantages, mask[:, 1:], clip=0.2, beta=0.3, weigh=weigh)
    inputs = {"prompt_ids": ids[:, :3], "prompt_mask": torch.ones(8, 3, dtype=torch.long), "completion_ids": ids[:, 3:],
              "completion_mask": said.long(), "advantages": advantages, "old_per_token_logps": old[:, 2:],
              "ref_per_token_logps": reference[:, 2:], "num_items_in_batch": said.sum()}
    trainer.current_gradient_accumulation_steps = 1
    same(loss / count, model, trainer._compute_loss(trainer.model, inputs), trainer.model)


@pytest.mark.parametrize("scale, advantages_of", [("group", standardised), ("none", centred)])
def test_group_advantages(folder, scale, advantages_of):
    trainer, rewards = group_trainer(folder, scale_rewards=scale), []
    score = trainer.reward_funcs[0]
    trainer.reward_funcs[0] = lambda **inputs: rewards.extend(score(**inputs)) or rewards
    torch.manual_seed(0)
    got = trainer._generate_and_score_completions([{"prompt": "w5 w6"}] * 4 + [{"prompt": "w7 w8"}] * 4)["advantages"]
    expected = advantages_of(torch.tensor(rewards).view(2, 4)).flatten()
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
