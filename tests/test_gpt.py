"""GPT against Hugging Face's classes with the same weights and against decoding without a cache; padding, windows, leaks."""

import itertools
from dataclasses import asdict

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from course_lib.attention import MultiHeadAttention, record_attention
from course_lib.blocks import PreNorm, RMSNorm
from course_lib.data.batching import TokenBatch
from course_lib.generation import beam_search, greedy, sample
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPT2, ROWS, GPTConfig
from course_lib.runtime import autocast
from tests.test_generation import chi_square, critical
from tests.twins import UncachedGPT

V, WIDTH = 11, 16
LLAMA = {"positions": "rotary", "norm": "rms", "feed_forward": "swiglu", "n_kv_heads": 2, "bias": False, "tie_embeddings": False}
VARIANTS = {
    "gpt2": {},
    "llama": LLAMA,
    "shakespeare": {"positions": "rotary", "norm": "rms", "feed_forward": "relu2", "qk_norm": "rms", "bias": False},
    "bag": {"positions": "none", "qk_norm": "layer", "n_kv_heads": 1, "feed_forward": "relu"},
}
EVERY = pytest.mark.parametrize("variant", VARIANTS)


def close(got, expected, tol=1e-12):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * float(expected.detach().abs().max()))


def build(variant="gpt2", seed=0, sharpness=1.0, **more):
    """A small model in float64. Norms and biases are random, too: at first all are alike, and mistaken ones would not show."""
    torch.manual_seed(seed)
    settings = {"d_model": WIDTH, "n_heads": 4, "n_layers": 2, "max_len": 12} | VARIANTS[variant] | more
    model = GPT(GPTConfig(V, **settings)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p * sharpness if p.dim() == 2 else p + 0.3 * torch.randn(p.shape, dtype=p.dtype))
    return model


def ids(*shape, seed=0, vocab=V):
    return torch.randint(0, vocab, shape, generator=torch.Generator().manual_seed(seed))


PROMPT, LENGTHS = ids(4, 6), (6, 1, 4, 3)
LEFT = torch.arange(6) >= 6 - torch.tensor(LENGTHS)[:, None]            # (B, T): padding on the left


def steps(net, prompt, mask, tokens):
    """Logits of each step when `tokens` (B, n) are fed after the prompt."""
    _, state = net.start(prompt, mask)
    found = []
    for token in tokens.unbind(1):
        logits, state = net.step(token, state)
        found.append(logits)
    return torch.stack(found, dim=1)


# --- other libraries --------------------------------------------------------------------------------------------------

LLAMA_NAMES = (("blocks.", "model.layers."), ("attention.norm", "input_layernorm"), ("feed_forward.norm", "post_attention_layernorm"),
               ("feed_forward.part.", "mlp."), ("attention.part.", "self_attn."), ("query.", "q_proj."),
               ("self_attn.out.", "self_attn.o_proj."),
               ("query_norm", "q_norm"), ("key_norm", "k_norm"), ("gate.", "gate_proj."), ("up.", "up_proj."), ("down.", "down_proj."))
LLAMA_ENDS = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}


def fill_llama(theirs, model):
    """Our weights under the names of Hugging Face's Llama and Qwen, whose keys and values are two matrices."""
    state = {}
    for ours, value in model.state_dict().items():
        name = LLAMA_ENDS.get(ours, ours)
        for old, new in LLAMA_NAMES if name == ours else ():
            name = name.replace(old, new)
        if "key_value" in name:
            state |= {name.replace("key_value", part): half for part, half in zip(("k_proj", "v_proj"), value.chunk(2))}
        else:
            state[name] = value
    theirs.load_state_dict(state)


@pytest.mark.parametrize("tie", [False, True])
def test_the_llama_row_is_hugging_faces_llama(tie):
    model = build("llama", d_ff=24, tie_embeddings=tie)
    config = LlamaConfig(vocab_size=V, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                         num_key_value_heads=2, max_position_embeddings=12, rms_norm_eps=1e-5, tie_word_embeddings=tie)
    theirs = LlamaForCausalLM(config).double().eval()
    fill_llama(theirs, model)
    close(model(PROMPT), theirs(PROMPT).logits, 1e-6)                   # both hold angles in float32
    close(model(PROMPT, LEFT)[LEFT], theirs(PROMPT, attention_mask=LEFT.long(), position_ids=(LEFT.cumsum(1) - 1).clamp(min=0)
                                            ).logits[LEFT], 1e-6)


def test_with_qk_norm_it_is_hugging_faces_qwen():
    model = build("llama", d_ff=24, qk_norm="rms")
    config = Qwen3Config(vocab_size=V, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, head_dim=4,
                         num_key_value_heads=2, max_position_embeddings=12, rms_norm_eps=1e-5, tie_word_embeddings=False)
    theirs = Qwen3ForCausalLM(config).double().eval()
    theirs.config._attn_implementation = "eager"
    fill_llama(theirs, model)
    close(model(PROMPT), theirs(PROMPT).logits, 1e-6)


# --- decoding ----------------------------------------------------------------------------------------------------------

@torch.no_grad()
@EVERY
@pytest.mark.parametrize("chunk", [1, 3, 7, None])
def test_cached_logits_are_those_of_forward_however_the_prompt_is_read(variant, chunk):
    model, words = build(variant), ids(3, 12)
    expected, (first, state) = model(words), model.start(words[:, :9], chunk=chunk)
    assert torch.equal(first, words[:, 8]) and torch.equal(state.ids, words[:, :8])
    for t in range(8, 12):
        logits, state = model.step(words[:, t], state)
        close(logits, expected[:, t])


@torch.no_grad()
@EVERY
@pytest.mark.parametrize("chunk", [2, None])
def test_a_prompt_padded_on_the_left_goes_on_as_it_does_alone(variant, chunk):
    model, following = build(variant), ids(4, 6, seed=1)
    _, state = model.start(PROMPT, LEFT, chunk=chunk)
    last, found = PROMPT[:, -1], []
    for token in torch.cat([last[:, None], following], dim=1).unbind(1):
        logits, state = model.step(token, state)
        found.append(logits)
    for i, n in enumerate(LENGTHS):
        alone = model(torch.cat([PROMPT[i, 6 - n:], following[i]])[None])
        close(torch.stack([f[i] for f in found]), alone[0, n - 1:])


@torch.no_grad()
@EVERY
@pytest.mark.parametrize("max_len", [1, 2, 7, 8])
def test_past_its_end_the_window_slides_and_logits_are_those_of_forward_on_it(variant, max_len):
    model, words = build(variant, max_len=max_len), ids(3, 30)
    _, state = model.start(words[:, :1])
    window = words[:, :0]
    for t in range(30):
        logits, state = model.step(words[:, t], state)
        kept = window if window.shape[1] < max_len else window[:, max_len - max_len // 2:]
        window = torch.cat([kept, words[:, t:t + 1]], dim=1)
        assert torch.equal(state.ids, window) and window.shape[1] <= max_len
        close(logits, model(window)[:, -1])


@torch.no_grad()
@EVERY
def test_rows_with_padding_slide_with_the_others(variant):
    model, words = build(variant), ids(4, 25, seed=1)
    close(steps(model, PROMPT, LEFT, words), steps(UncachedGPT(model), PROMPT, LEFT, words))


@torch.no_grad()
def test_a_window_slides_once_in_half_its_length_and_reads_that_half_again():
    model, read = build(max_len=8), []
    model.embedding.register_forward_hook(lambda module, args, out: read.append(args[0].shape[1]))
    steps(model, ids(1, 1), None, ids(1, 21))
    assert read == [0] + [1] * 8 + ([4] + [1] * 4) * 3 + [4, 1]         # on average one word read again per word said


@torch.no_grad()
@EVERY
@pytest.mark.parametrize("search", [lambda *a: greedy(*a, eos_id=0, max_len=20),
                                    lambda *a: beam_search(*a, beam_size=3, eos_id=0, max_len=20, length_penalty=1.0),
                                    lambda *a: sample(*a, eos_id=0, max_len=20, generator=torch.Generator().manual_seed(3))],
                         ids=["greedy", "beam", "sample"])
def test_searches_with_and_without_a_cache_find_the_same(variant, search):
    said = set()
    for seed in range(3):
        model = build(variant, seed, sharpness=1.5, d_model=32, tie_embeddings=False)
        for mask in (None, LEFT):
            cached, plain = (search(net, PROMPT, mask) for net in (model, UncachedGPT(model)))
            assert cached.ids == plain.ids and torch.equal(cached.finished, plain.finished)
            torch.testing.assert_close(cached.log_probs, plain.log_probs)
            said |= {tuple(row) for row in cached.ids}
    assert len(said) >= 8 and max(map(len, said)) > 6                   # alike for all they would say little; windows slid


@torch.no_grad()
@EVERY
@pytest.mark.parametrize("mask", [None, LEFT], ids=["plain", "padded"])
def test_reordering_the_state_goes_on_with_other_rows(variant, mask):
    model, words, index = build(variant), ids(4, 12, seed=2), torch.tensor([2, 0, 0, 3, 1])
    expected = steps(model, PROMPT[index], None if mask is None else mask[index], words[index])
    _, state = model.start(PROMPT, mask)
    for t in range(4):
        _, state = model.step(words[:, t], state)
    moved = model.reorder(state, index)
    for t in range(4, 12):                                              # past the end of the window, too
        logits, moved = model.step(words[index, t], moved)
        close(logits, expected[:, t])


@torch.no_grad()
def test_the_cache_is_allocated_once():
    model = build(max_len=12)
    _, state = model.start(ids(2, 3))
    places = [buffer.data_ptr() for cache in state.caches for buffer in cache.buffers]
    assert all(buffer.shape == (2, 4, 12, 4) for cache in state.caches for buffer in cache.buffers)
    for t in range(9):
        _, state = model.step(ids(2, seed=t), state)
    assert places == [buffer.data_ptr() for cache in state.caches for buffer in cache.buffers]


def test_samples_of_two_words_follow_the_models_joint_distribution():
    model, prompt, n = build(sharpness=0.8), ids(1, 3), 20000
    pairs = list(itertools.product(range(V), repeat=2))
    with torch.no_grad():
        first = model(prompt)[0, -1].softmax(-1)
        second = model(torch.cat([prompt.expand(V, -1), torch.arange(V)[:, None]], dim=1))[:, -1].softmax(-1)
    probs = (first[:, None] * second).flatten()
    drawn = sample(model, prompt.expand(n, -1), eos_id=-1, max_len=2, generator=torch.Generator().manual_seed(5))
    counts = torch.bincount(torch.tensor([a * V + b for a, b in drawn.ids]), minlength=V * V).double()
    statistic, degrees = chi_square(counts, probs, n)
    assert degrees == len(pairs) - 1 and statistic < critical(degrees)
    assert chi_square(counts, first.repeat_interleave(V) / V, n)[0] > critical(degrees)     # the test can tell


# --- laws -------------------------------------------------------------------------------------------------------------

def embedded(model, words, mask=None):
    """Logits, and the embeddings they were computed from, ready for derivatives."""
    kept = []
    hook = model.embedding.register_forward_hook(lambda module, args, out: kept.append(out))
    logits = model(words, mask)
    hook.remove()
    return logits, kept[0]


@EVERY
def test_a_logit_sees_the_words_so_far_and_no_later_one_no_padding_and_no_other_row(variant):
    for mask in (None, LEFT, LEFT.flip(1)):
        logits, x = embedded(build(variant), PROMPT, mask)
        words = torch.ones_like(LEFT) if mask is None else mask
        for t in range(6):
            by, = torch.autograd.grad(logits[0, t].square().sum(), x, retain_graph=True)
            assert not by[1:].any() and not by[0, t + 1:].any()         # exactly 0
            by, = torch.autograd.grad(logits[:, t][words[:, t]].square().sum(), x, retain_graph=True)
            seen = words & words[:, t:t + 1] & (torch.arange(6) <= t)
            assert by[seen].any(-1).all() and not by[~seen].any()


@EVERY
@pytest.mark.parametrize("mask", [LEFT, LEFT.flip(1)], ids=["left", "right"])
def test_padding_changes_nothing_whatever_it_holds(variant, mask):
    model = build(variant)
    other = torch.where(mask, PROMPT, ids(4, 6, seed=3))
    logits = model(PROMPT, mask)
    assert torch.equal(model(other, mask)[mask], logits[mask]) and logits.isfinite().all()
    for i in range(4):
        close(logits[i][mask[i]], model(PROMPT[i][mask[i]][None])[0])
    if torch.equal(mask, LEFT.flip(1)):
        close(model(PROMPT)[mask], logits[mask])                        # on the right no mask is needed


@EVERY
def test_order_is_known_even_without_positions_but_only_from_the_mask(variant):
    """Without positions the last word sees a bag of those before it in the first layer; in the second their order has left a trace."""
    model, words = build(variant, n_layers=1), ids(1, 6)
    moved = words[:, [2, 0, 4, 1, 3, 5]]
    assert torch.allclose(model(words)[:, -1], model(moved)[:, -1], atol=1e-12) == (variant == "bag")


@EVERY
def test_every_parameter_learns(variant):
    model = build(variant, tie_embeddings=False)
    next_token_loss(model, TokenBatch(PROMPT, ids(4, 6, seed=1)))[0].backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@EVERY
def test_recorded_attention_is_causal_and_sums_to_one(variant):
    model = build(variant)
    with record_attention(model) as maps, torch.no_grad():
        model(PROMPT)
        first, state = model.start(PROMPT)
        model.step(first, state)
    assert sorted(maps) == ["blocks.0.attention", "blocks.1.attention"]
    for whole, prefix, step in maps.values():
        assert whole.shape == (4, 4, 6, 6) and not whole.triu(1).any()
        close(whole.sum(-1), torch.ones_like(whole[..., 0]))
        close(prefix, whole[:, :, :5, :5])
        close(step, whole[:, :, 5:])


def test_tied_and_untied_output():
    tied, free = build(), build(tie_embeddings=False)
    assert tied.output.weight is tied.embedding.weight and free.output.weight is not free.embedding.weight
    assert sum(p.numel() for p in free.parameters()) - sum(p.numel() for p in tied.parameters()) == V * WIDTH


def test_dropout_acts_in_training_only():
    model, plain = build(dropout=0.5), build()
    assert torch.equal(model(PROMPT), plain(PROMPT))
    assert not torch.equal(model.train()(PROMPT), model(PROMPT))
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert len(rates) == 1 + 2 * 3 and set(rates.values()) == {0.5}


# --- sizes and initialisation -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, millions", [("gpt2", 124.439808), ("gpt2-medium", 354.823168), ("gpt2-large", 774.030080),
                                            ("gpt2-xl", 1557.611200)])
def test_the_published_sizes_have_the_published_numbers_of_parameters(name, millions):
    with torch.device("meta"):
        assert sum(p.numel() for p in GPT(GPT2[name]).parameters()) == round(millions * 1e6)


@pytest.mark.parametrize("init", ["gpt2", "fan_in"])
@pytest.mark.parametrize("variant", ["gpt2", "llama"])
def test_initial_weights_are_as_wide_as_their_row_says(init, variant):
    torch.manual_seed(0)
    model = GPT(GPTConfig(300, 64, 4, 8, d_ff=160, max_len=100, init=init, **VARIANTS[variant]))
    checked = 0
    for name, p in model.named_parameters():
        if p.dim() < 2:
            assert torch.equal(p, torch.ones_like(p) if "norm" in name and name.endswith("weight") else torch.zeros_like(p)), name
            continue
        looked_up = name == "embedding.weight" and not model.config.tie_embeddings          # a product with a single 1
        std = 0.02 if init == "gpt2" else 1 if looked_up else p.shape[1]**-0.5
        if name.endswith(("out.weight", "down.weight")):
            std /= (2 * 8)**0.5
        assert abs(p.mean()) < 5 * std / p.numel()**0.5 and p.std().item() == pytest.approx(std, rel=5 / (2 * p.numel())**0.5), name
        checked += 1
    assert checked == (8 * 5 + 2 if variant == "gpt2" else 8 * 6 + 2)


def test_a_fresh_model_is_about_as_unsure_as_it_can_be():
    torch.manual_seed(0)
    batch = TokenBatch(ids(8, 64, vocab=500), ids(8, 64, seed=1, vocab=500))
    for init, extra in (("gpt2", 0.02), ("fan_in", 0.5)):               # fan_in: logits of variance near 1
        loss, count = next_token_loss(GPT(GPTConfig(500, 64, 4, 4, max_len=64, init=init)), batch)
        assert (loss / count).item() == pytest.approx(torch.tensor(500.).log().item() + extra, abs=0.15)


def test_parts_are_those_the_rows_name():
    model = build("shakespeare", n_kv_heads=2)
    attention, = {type(m) for m in model.modules() if isinstance(m, MultiHeadAttention)}
    residuals = [m for m in model.modules() if isinstance(m, PreNorm)]
    assert attention is MultiHeadAttention and all(isinstance(m.norm, RMSNorm) for m in (*residuals, model))
    assert {m.n_kv_heads for m in model.modules() if isinstance(m, MultiHeadAttention)} == {2}
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]
    assert GPTConfig(**asdict(model.config)) == model.config and model.config.d_ff == 4 * WIDTH


# --- precision ----------------------------------------------------------------------------------------------------------

@EVERY
def test_bfloat16_stays_finite_and_near_in_training_and_decoding(variant):
    model, batch = build(variant).float(), TokenBatch(PROMPT, ids(4, 6, seed=1))
    exact, _ = next_token_loss(model, batch)
    with autocast(torch.device("cpu"), "bfloat16"):
        loss, _ = next_token_loss(model, batch)
        loss.backward()
        with torch.no_grad():
            expected, (_, state) = model(PROMPT), model.start(PROMPT[:, :3])
            for t in range(2, 6):
                logits, state = model.step(PROMPT[:, t], state)
                close(logits.float(), expected[:, t].float(), 0.06)
    assert loss.item() == pytest.approx(exact.item(), rel=0.03)
    assert all(p.grad.isfinite().all() for p in model.parameters())
    close(build(variant).bfloat16()(PROMPT).double(), build(variant)(PROMPT), 0.1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@EVERY
def test_a_gpu_gives_the_logits_of_the_cpu(variant):
    model, words = build(variant).float(), ids(4, 25, seed=1)
    with torch.no_grad():
        expected = model(PROMPT, LEFT), steps(model, PROMPT, LEFT, words)
        model.cuda()
        got = model(PROMPT.cuda(), LEFT.cuda()), steps(model, PROMPT.cuda(), LEFT.cuda(), words.cuda())
    for one, other in zip(got, expected):
        close(one.cpu(), other, 1e-4)


# --- bad input ----------------------------------------------------------------------------------------------------------

MODEL = build()
HOLE, NONE = LEFT.clone(), LEFT.clone()
HOLE[0, 2], NONE[1] = False, False
LONG = ids(2, 13)
BAD_INPUT = {
    "id": (lambda: MODEL(PROMPT + V), r"ids: got token id \d+, expected 0 … 10"),
    "negative id": (lambda: MODEL(PROMPT - V), r"ids: got token id -\d+, expected 0 … 10"),
    "float": (lambda: MODEL(PROMPT.float()), r"ids: got dtype torch.float32, expected integer"),
    "empty batch": (lambda: MODEL(PROMPT[:0]), r"ids: got an empty batch of shape \(0, 6\)"),
    "no words": (lambda: MODEL(PROMPT[:, :0]), r"ids: got an empty batch of shape \(4, 0\)"),
    "one row without a batch": (lambda: MODEL(PROMPT[0]), r"ids: got shape \(6,\), expected \(B, T\)"),
    "too long": (lambda: MODEL(LONG), r"ids: got 13 tokens a row, expected at most max_len = 12"),
    "too long without positions": (lambda: build("bag")(LONG), r"ids: got 13 tokens a row, expected at most max_len = 12"),
    "mask shape": (lambda: MODEL(PROMPT, LEFT[:, 1:]), r"mask: got torch.bool \(4, 5\), expected bool \(4, 6\)"),
    "mask dtype": (lambda: MODEL(PROMPT, LEFT.long()), r"mask: got torch.int64 \(4, 6\), expected bool"),
    "a hole": (lambda: MODEL(PROMPT, HOLE), r"mask: row 0 is \[1, 1, 0, 1, 1, 1\], expected words in one piece"),
    "no word": (lambda: MODEL(PROMPT, NONE), r"mask: row 1 is .*expected words in one piece"),
    "prompt id": (lambda: MODEL.start(PROMPT + V), r"prompt: got token id \d+, expected 0 … 10"),
    "prompt too long": (lambda: MODEL.start(LONG), r"prompt: got 13 tokens a row, expected at most max_len = 12"),
    "empty prompt": (lambda: MODEL.start(PROMPT[:, :0]), r"prompt: got an empty batch"),
    "prompt padded on the right": (lambda: MODEL.start(PROMPT, LEFT.flip(1)), r"prompt_mask: got padding at the end of a row"),
    "chunk": (lambda: MODEL.start(PROMPT, chunk=0), r"chunk: got 0, expected at least 1"),
    "token": (lambda: MODEL.step(PROMPT[:, 0] + V, MODEL.start(PROMPT)[1]), r"token: got token id \d+, expected 0 … 10"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(case):
    call, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "n_heads", "n_layers", "d_ff", "max_len", "n_kv_heads"])
def test_sizes_below_one_are_named(name):
    with pytest.raises(ValueError, match=f"{name}: got 0, expected at least 1"):
        GPTConfig(**{"vocab_size": V, name: 0})


@pytest.mark.parametrize("name", ROWS)
def test_unknown_parts_are_named(name):
    with pytest.raises(ValueError, match=f"{name}: got 'x', expected one of {next(iter(ROWS[name]))}"):
        GPTConfig(V, **{name: "x"})


@pytest.mark.parametrize("settings, message", [
    ({"dropout": 1.0}, "dropout: got 1.0, expected 0 ≤ dropout < 1"), ({"n_heads": 3}, "n_heads: got 3, expected a divisor of d_model, 16"),
    ({"n_kv_heads": 3}, "n_kv_heads: got 3, expected a divisor of n_heads, 4"),
    ({"positions": "rotary", "n_heads": 16}, "d_head: got 1, expected an even number")])
def test_settings_that_do_not_fit_together_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build(**settings)
