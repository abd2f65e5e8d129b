"""torch.compile(fullgraph=True): the whole model is one graph, without a break, and gives what it gave before.

Every part is traced in one variant at least (backend eager), all combinations in the long tests; three also backward, by the
compiler's own differentiation (aot_eager). Code generation by inductor compiles C++ for half a minute: a long test.
"""

import shutil

import pytest
import torch

from course_lib.attention import ATTENTIONS
from course_lib.data.batching import TokenBatch, collate_pairs
from course_lib.data.masking import MaskedBatch
from course_lib.losses import next_token_loss, pre_training_loss, token_cross_entropy
from course_lib.models.bert import BERT, BERTConfig, BERTForPreTraining, BERTForSequences, BERTForSpans, BERTForTokens
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.models.seq2seq import Seq2Seq, Seq2SeqConfig
from course_lib.models.transformer import Transformer, TransformerConfig
from course_lib.recurrent import CELLS

BATCH = collate_pairs([([4, 5], [6]), ([7], [])])                       # S = 3, T = 2, padding on both sides
INPUTS = BATCH.source, BATCH.source_mask, BATCH.target_in


@pytest.fixture(autouse=True)
def forget():
    """Each test compiles afresh and leaves nothing compiled behind."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def build(cell, attention, **more):
    torch.manual_seed(0)
    return Seq2Seq(Seq2SeqConfig(11, 12, 4, 6, 5, cell, attention, bidirectional=attention != "dot", **more)).double()


def transformer(norm, positions):
    torch.manual_seed(0)
    return Transformer(TransformerConfig(11, 12, 8, 2, 1, 12, 0.0, norm, positions)).double()


def same_as_uncompiled(model, backend):
    compiled = torch.compile(model, fullgraph=True, backend=backend)    # fullgraph: a break in the graph is an error
    results = []
    for net in (model, compiled):
        model.zero_grad()
        logits = net(*INPUTS)
        token_cross_entropy(logits, BATCH.target_out, BATCH.target_mask)[0].backward()
        results.append([logits.detach(), *(p.grad.clone() for p in model.parameters())])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


VARIANTS = [pytest.param(c, a, marks=[] if c == "gru" or a == "additive" else pytest.mark.slow) for c in CELLS for a in ATTENTIONS]


@pytest.mark.parametrize("cell, attention", VARIANTS)
def test_every_variant_is_one_graph(cell, attention):
    same_as_uncompiled(build(cell, attention), "eager")


@pytest.mark.parametrize("cell, attention", [("gru", "additive"), ("lstm", "general"), ("elman", "last")])
def test_forward_and_backward_are_one_graph_each(cell, attention):
    same_as_uncompiled(build(cell, attention, tie_embeddings=cell == "gru"), "aot_eager")


@pytest.mark.parametrize("norm, positions", [("post", "sinusoidal"), ("pre", "learned"), ("pre", "none")])
def test_every_transformer_is_one_graph(norm, positions):
    same_as_uncompiled(transformer(norm, positions), "eager")


def test_a_transformer_forward_and_backward_are_one_graph_each():
    same_as_uncompiled(transformer("post", "sinusoidal"), "aot_eager")


GPTS = {"gpt2": {}, "llama": {"positions": "rotary", "norm": "rms", "feed_forward": "swiglu", "n_kv_heads": 1, "bias": False},
        "shakespeare": {"positions": "rotary", "norm": "rms", "feed_forward": "relu2", "qk_norm": "rms", "bias": False}}
TOKENS = TokenBatch(torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]]), torch.tensor([[1, 4, 1, 5], [9, 2, 6, 5]]))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("variant", GPTS)
def test_a_gpt_and_its_loss_are_one_graph(variant, padded):
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 8, 2, 1, max_len=6, **GPTS[variant])).double()
    mask = torch.tensor([[False, True, True, True], [True] * 4]) if padded else None

    def step(batch):
        return next_token_loss(lambda ids: model(ids, mask), batch)[0]
    compiled, results = torch.compile(step, fullgraph=True, backend="aot_eager"), []
    for run in (step, compiled):
        model.zero_grad()
        loss = run(TOKENS)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


WORDS = torch.tensor([[True, True, True, False], [True] * 4])
SEGMENTS = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 1]])
CHOSEN = torch.tensor([[False, True, False, False], [True, False, False, True]])
BERT_HEADS = {"pre-training": BERTForPreTraining, "sequences": lambda bert: BERTForSequences(bert, 3),
              "tokens": lambda bert: BERTForTokens(bert, 3), "spans": BERTForSpans}


@pytest.mark.parametrize("head", BERT_HEADS)
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_bert_with_any_head_is_one_graph(norm, head):
    torch.manual_seed(0)
    model = BERT_HEADS[head](BERT(BERTConfig(11, 8, 2, 1, max_len=6, dropout=0.0, norm=norm))).double()
    compiled, results = torch.compile(model, fullgraph=True, backend="aot_eager"), []
    for net in (model, compiled):
        model.zero_grad()
        found = net(TOKENS.inputs, WORDS, SEGMENTS)
        sum(out.sin().sum() for out in (found if isinstance(found, tuple) else (found,))).backward()
        results.append([*found, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for got, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_bert_that_scores_blanks_alone_is_one_graph_however_many_there_are():
    """How many places are chosen is in the data: torch traces such a size when it is told to."""
    torch.manual_seed(0)
    model = BERTForPreTraining(BERT(BERTConfig(11, 8, 2, 1, max_len=6, dropout=0.0))).double()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
        for chosen in (CHOSEN, WORDS):
            batch, results = MaskedBatch(TOKENS.inputs, WORDS, SEGMENTS, TOKENS.targets, chosen, torch.tensor([1, 0])), []
            for net in (model, compiled):
                model.zero_grad()
                loss, count = pre_training_loss(net, batch)
                loss.backward()
                results.append([loss.detach(), count, *(p.grad.clone() for p in model.parameters())])
            for got, expected in zip(results[1], results[0], strict=True):
                torch.testing.assert_close(got, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
@pytest.mark.parametrize("model", [lambda: build("gru", "additive"), lambda: transformer("post", "sinusoidal")],
                         ids=["seq2seq", "transformer"])
def test_generated_code_gives_the_same(model):
    same_as_uncompiled(model(), "inductor")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("model", [lambda: build("gru", "additive"), lambda: transformer("post", "sinusoidal")],
                         ids=["seq2seq", "transformer"])
def test_generated_code_gives_the_same_on_a_gpu(model):
    model, inputs = model().cuda(), [t.cuda() for t in INPUTS]
    logits = torch.compile(model, fullgraph=True)(*inputs)
    torch.testing.assert_close(logits, model(*inputs), rtol=0, atol=1e-10)


def test_a_break_in_the_graph_would_be_noticed():
    """The tests above can fail: a model that reads a value of a tensor in Python is refused."""
    class Peeks(torch.nn.Module):
        def forward(self, x):
            return x + 1 if x.sum().item() > 0 else x
    with pytest.raises(Exception, match=r"(?i)graph break|data-dependent|Unsupported"):
        torch.compile(Peeks(), fullgraph=True, backend="eager")(torch.ones(2))
