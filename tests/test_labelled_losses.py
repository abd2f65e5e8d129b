"""The three losses of fine-tuning, against sums written out, and laws that wrong losses break."""

import math

import pytest
import torch
from torch import nn

from course_lib.data.labelling import LabelledBatch, Window, collate_sequences, collate_spans, collate_tokens
from course_lib.losses import sequence_loss, span_loss, tagging_loss, token_cross_entropy
from course_lib.models.bert import BERT, BERTConfig, BERTForSequences, BERTForSpans, BERTForTokens
from course_lib.tokenizers.wordpiece import BERT_SPECIALS, WordPieceTokenizer

TOKENIZER = WordPieceTokenizer([*BERT_SPECIALS, *"abcdefgh"])
ROWS = {
    "sequences": ([([5, 6, 7], [8], 2), ([9], [], 0), ([10, 5], [11, 12, 6], 1)], collate_sequences, 3),
    "tokens": ([([5, 6, 7], [2, 2, 1], [True, False, True]), ([9], [3], [True]), ([10, 5], [0, 0], [True, False])], collate_tokens, 4),
    "spans": ([Window([5, 6], [7, 8, 9, 10], (1, 3), [0, 1, 2, 3]), Window([5], [7], (0, 0), [0]), Window([8], [9, 10], None, [0, 1])],
              collate_spans, 2)}
LOSSES = {"sequences": sequence_loss, "tokens": tagging_loss, "spans": span_loss}
HEADS = {"sequences": lambda bert: BERTForSequences(bert, 3), "tokens": lambda bert: BERTForTokens(bert, 4), "spans": BERTForSpans}


def batch_of(kind):
    rows, collate, _ = ROWS[kind]
    return collate(rows, TOKENIZER)


class Says(nn.Module):
    """A model that says given logits, whatever it reads."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, ids, mask, segments):
        return self.logits


def logits_for(kind, batch, seed=0):
    shape = (len(batch.ids), ROWS[kind][2]) if kind == "sequences" else (*batch.ids.shape, ROWS[kind][2])
    return (2 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def asked(kind, batch, logits):
    """Each choice that the loss is about: (scores of what may be chosen, which of them is right), in plain Python."""
    if kind == "sequences":
        return [(row, label) for row, label in zip(logits.tolist(), batch.labels.tolist())]
    if kind == "tokens":
        return [(logits[b, t].tolist(), int(batch.labels[b, t])) for b, t in batch.counts.nonzero().tolist()]
    chosen = []
    for b in range(len(batch.ids)):
        places = [t for t in range(batch.ids.shape[1]) if batch.counts[b, t]]
        for end in (0, 1):
            chosen.append(([logits[b, t, end].item() for t in places], places.index(int(batch.labels[b, end]))))
    return chosen


# Laws; each takes the kind and the loss. Each mutant below breaks at least one.
def law_equals_the_sum_written_out(kind, loss):
    batch = batch_of(kind)
    for seed in range(3):
        logits = logits_for(kind, batch, seed)
        choices = asked(kind, batch, logits)
        expected = sum(math.log(math.fsum(math.exp(s) for s in scores)) - scores[right] for scores, right in choices)
        total, count = loss(Says(logits), batch)
        assert total.item() == pytest.approx(expected, rel=1e-12) and count.item() == len(choices)


def law_the_right_answer_costs_nothing_and_a_wrong_one_much(kind, loss):
    batch = batch_of(kind)
    target = batch.labels if kind != "spans" else nn.functional.one_hot(batch.labels, batch.ids.shape[1])       # (B, 2, T)
    right = 40 * (target.transpose(1, 2) if kind == "spans" else nn.functional.one_hot(target, ROWS[kind][2])).double()
    total, count = loss(Says(right), batch)
    assert total / count < 1e-9
    wrong, _ = loss(Says(-right), batch)
    assert wrong / count > 20


def law_garbage_elsewhere_changes_nothing(kind, loss):
    batch = batch_of(kind)
    if kind == "sequences":
        return
    logits = logits_for(kind, batch)
    before, count = loss(Says(logits), batch)
    wild = logits.detach().masked_fill(~batch.counts[..., None], torch.nan).requires_grad_()
    labels = batch.labels if kind == "spans" else batch.labels.masked_fill(~batch.counts, 10**6)
    after, n = loss(Says(wild), LabelledBatch(batch.ids, batch.mask, batch.segments, labels, batch.counts))
    after.backward()
    assert torch.equal(after, before) and n == count and not wild.grad.isnan().any() and not wild.grad[~batch.counts].any()


def law_parts_add_up(kind, loss):
    batch = batch_of(kind)
    logits, parts = logits_for(kind, batch), []
    for rows in (slice(0, 1), slice(1, 3)):
        cut = [None if part is None else part[rows] for part in vars(batch).values()]
        parts.append(loss(Says(logits[rows]), LabelledBatch(*cut)))
    whole = loss(Says(logits), batch)
    assert torch.isclose(sum(p[0] for p in parts), whole[0], rtol=1e-12) and sum(p[1] for p in parts) == whole[1]


def law_the_model_reads_ids_mask_and_segments(kind, loss):
    """A row alone and a row that is padded cost the same: padding is masked; and swapped segments cost something else."""
    torch.manual_seed(0)
    rows, collate, _ = ROWS[kind]
    model = HEADS[kind](BERT(BERTConfig(TOKENIZER.vocab_size, 16, 2, 1, max_len=16, dropout=0.0))).double().eval()
    whole = loss(model, batch_of(kind))
    parts = [loss(model, collate([row], TOKENIZER)) for row in rows]
    assert torch.isclose(sum(p[0] for p in parts), whole[0], rtol=1e-10) and sum(p[1] for p in parts) == whole[1]
    batch = batch_of(kind)
    other = loss(model, LabelledBatch(batch.ids, batch.mask, 1 - batch.segments, batch.labels, batch.counts))
    assert not torch.isclose(other[0], whole[0], rtol=1e-6)


LAWS = [law for name, law in sorted(globals().items()) if name.startswith("law_")]


def called(model, batch):
    return model(batch.ids, batch.mask, batch.segments)


def with_span_logits(change, mask=True):
    def loss(model, batch):
        logits, labels = change(called(model, batch).transpose(1, 2), batch.labels)
        return token_cross_entropy(logits.masked_fill(~batch.counts[:, None], -torch.inf) if mask else logits, labels, None)
    return loss


MUTANTS = {
    ("sequences", "zero"): lambda model, batch: (called(model, batch).sum() * 0, torch.tensor(len(batch.ids))),
    ("sequences", "mean"): lambda model, batch: (sequence_loss(model, batch)[0] / len(batch.ids), torch.tensor(len(batch.ids))),
    ("sequences", "shifted"): lambda model, batch: token_cross_entropy(called(model, batch), batch.labels.roll(1), None),
    ("sequences", "without the mask"): lambda model, batch: token_cross_entropy(model(batch.ids, None, batch.segments), batch.labels, None),
    ("sequences", "without segments"): lambda model, batch: token_cross_entropy(model(batch.ids, batch.mask, None), batch.labels, None),
    ("tokens", "zero"): lambda model, batch: (called(model, batch).nan_to_num().sum() * 0, batch.counts.sum()),
    ("tokens", "unmasked"): lambda model, batch: token_cross_entropy(called(model, batch), batch.labels, None),
    ("tokens", "padding masked only"): lambda model, batch: token_cross_entropy(called(model, batch), batch.labels, batch.mask),
    ("tokens", "shifted"): lambda model, batch: token_cross_entropy(called(model, batch)[:, :-1], batch.labels[:, 1:], batch.counts[:, 1:]),
    ("tokens", "all counted"): lambda model, batch: (tagging_loss(model, batch)[0], torch.tensor(batch.counts.numel())),
    ("spans", "zero"): lambda model, batch: (called(model, batch).nan_to_num().sum() * 0, torch.tensor(batch.labels.numel())),
    ("spans", "unmasked"): with_span_logits(lambda logits, labels: (logits, labels), mask=False),
    ("spans", "shifted"): with_span_logits(lambda logits, labels: (logits.roll(1, -1), labels)),
    ("spans", "ends swapped"): with_span_logits(lambda logits, labels: (logits.flip(1), labels)),
    ("spans", "start only"): with_span_logits(lambda logits, labels: (logits[:, :1], labels[:, :1])),
    ("spans", "rows counted"): lambda model, batch: (span_loss(model, batch)[0], torch.tensor(len(batch.ids))),
    ("spans", "a large negative number"): lambda model, batch: token_cross_entropy(
        called(model, batch).transpose(1, 2) - 1e9 * ~batch.counts[:, None], batch.labels, None),        # NaN − 10⁹ is NaN
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", LOSSES)
def test_the_loss_obeys(kind, law):
    law(kind, LOSSES[kind])


@pytest.mark.parametrize("kind, mutant", MUTANTS)
def test_the_laws_reject(kind, mutant):
    broken = []
    for law in LAWS:
        try:
            law(kind, MUTANTS[kind, mutant])
        except (AssertionError, RuntimeError, ValueError):
            broken.append(law)
    assert broken, f"no law notices the {mutant} loss of {kind}"


def test_the_gradient_of_a_span_is_probability_minus_target_where_it_may_lie():
    batch = batch_of("spans")
    logits = logits_for("spans", batch)
    span_loss(Says(logits), batch)[0].backward()
    p = logits.detach().masked_fill(~batch.counts[..., None], -torch.inf).softmax(1)
    wanted = nn.functional.one_hot(batch.labels, batch.ids.shape[1]).transpose(1, 2)
    torch.testing.assert_close(logits.grad, p - wanted, rtol=0, atol=1e-14)


def test_an_answer_where_none_may_lie_and_a_label_without_class_are_named():
    batch = batch_of("spans")
    for off, message in ((-3, r"labels: got token id -3, expected 0 … 8"), (2, r"labels: got token id 9, expected 0 … 8"),
                         (1, r"labels: got \[\[6, 8\], .*, expected places where an answer may lie")):
        wrong = LabelledBatch(batch.ids, batch.mask, batch.segments, batch.labels + off, batch.counts)
        with pytest.raises(ValueError, match=message):
            span_loss(Says(logits_for("spans", batch)), wrong)
    rows = [([5], [], 3)]
    with pytest.raises(ValueError, match="targets: got token id 3, expected 0 … 2"):
        sequence_loss(Says(torch.zeros(1, 3)), collate_sequences(rows, TOKENIZER))
