"""Fine-tuning's batches: the loss counts responses and nothing else, and packed conversations are as good as alone."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.alignment.chat import ChatTemplate, Rendered, dialogue
from course_lib.alignment.sft import (
    PackedBatches,
    ResponseBatches,
    collate_packed,
    collate_responses,
    pack,
    packed_loss,
    padding_share,
)
from course_lib.data.batching import TokenBatch
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPTConfig
from course_lib.positional import restarts
from course_lib.tokenizers import WordTokenizer

TEMPLATE = ChatTemplate()
TOKENIZER = WordTokenizer(["<pad>", "<unk>", "<bos>", "<eos>", "a", "b", "c", "d", *TEMPLATE.words])
USER, ASSISTANT, END = TOKENIZER.to_ids(TEMPLATE.words)
TALKS = [TEMPLATE.render(TOKENIZER, dialogue(*texts)) for texts in
         (("a b", "c d"), ("d", "a"), ("a", "b c", "d d d", "a b c d"), ("c c c c c", ""), ("b", "b b b"))]
V = TOKENIZER.vocab_size
VARIANTS = {"rotary": {"positions": "rotary", "tie_embeddings": False}, "learned": {}, "none": {"positions": "none", "n_kv_heads": 1},
            "llama": {"positions": "rotary", "norm": "rms", "feed_forward": "swiglu", "qk_norm": "rms", "n_kv_heads": 2}}
EVERY = pytest.mark.parametrize("variant", VARIANTS)


def build(variant="rotary", dtype=torch.float64, **more):
    torch.manual_seed(0)
    model = GPT(GPTConfig(V, **{"d_model": 16, "n_heads": 4, "n_layers": 2, "max_len": 40} | VARIANTS[variant] | more)).to(dtype)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn_like(p))                           # norms and biases, too, are not what they were
    return model


def close(got, expected, tol=1e-10):
    torch.testing.assert_close(got, expected, rtol=0, atol=tol * max(1.0, float(expected.detach().abs().max())))


# --- what counts -------------------------------------------------------------------------------------------------------

def test_inputs_targets_and_what_counts_by_hand():
    batch = collate_responses(TALKS[:2])
    a, b, c, d = TOKENIZER.to_ids("abcd")
    assert batch.inputs.tolist() == [[2, USER, a, b, END, ASSISTANT, c, d], [2, USER, d, END, ASSISTANT, a, END, 0]]
    assert batch.targets.tolist() == [[USER, a, b, END, ASSISTANT, c, d, END], [USER, d, END, ASSISTANT, a, END, 0, 0]]
    assert batch.mask.tolist() == [[False] * 5 + [True] * 3, [False] * 4 + [True] * 2 + [False] * 2]
    assert batch.mask.dtype == torch.bool and isinstance(batch, TokenBatch)


def responses_by_hand(talks):
    """(words before, word) for each of the assistant's words and ends, walked through with no help of `learned`."""
    for talk in talks:
        speaking = None
        for n, i in enumerate(talk.ids):
            if speaking == ASSISTANT and i not in (USER, ASSISTANT):
                yield talk.ids[:n], i
            speaking = i if i in (USER, ASSISTANT) else None if i == END else speaking


def loss_by_hand(model, talks):
    total, count = torch.zeros((), dtype=torch.float64), 0
    for before, word in responses_by_hand(talks):
        total, count = total - model(torch.tensor([before]))[0, -1].log_softmax(-1)[word], count + 1
    return total, count


def last_runs(mask):
    kept = mask.clone()
    for row in kept:
        row[:(row & ~row.roll(1)).nonzero()[-1]] = False
    return kept


MUTANTS = {
    "the prompt, too": lambda b: replace(b, mask=b.inputs != TOKENIZER.pad_id),
    "one place early": lambda b: replace(b, mask=b.mask.roll(-1, 1)),
    "one place late": lambda b: replace(b, mask=b.mask.roll(1, 1)),
    "the end not learned": lambda b: replace(b, mask=b.mask & (b.targets != END)),
    "padding counted": lambda b: replace(b, mask=b.mask | (b.targets == TOKENIZER.pad_id)),
    "inputs as targets": lambda b: replace(b, targets=b.inputs),
    "the last response alone": lambda b: replace(b, mask=last_runs(b.mask)),
    "nothing": lambda b: replace(b, mask=b.mask & False),
}


def agree(model, batch):
    loss, count = next_token_loss(model, batch)
    expected, n = loss_by_hand(model, TALKS)
    return int(count) == n and abs(loss - expected).item() < 1e-10 * n


def test_the_loss_is_that_of_the_responses_word_by_word():
    model = build()
    assert agree(model, collate_responses(TALKS))
    assert agree(model, collate_responses(TALKS, pad_id=END))           # even so the end of a turn is learned: lengths tell, not ids


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistaken_mask_is_found(mutant):
    assert not agree(build(), MUTANTS[mutant](collate_responses(TALKS)))


def test_the_user_gets_no_gradient_as_a_target():
    model, batch = build(tie_embeddings=False), collate_responses(TALKS)
    logits = model(batch.inputs)
    logits.retain_grad()
    next_token_loss(lambda ids: logits, batch)[0].backward()
    moved = logits.grad.abs().sum(-1) > 0
    assert torch.equal(moved, batch.mask)


def test_batches_show_every_conversation_once_an_epoch():
    batches = ResponseBatches(TALKS, 2, seed=3)
    assert batches.per_epoch == 3
    for epoch in range(2):
        rows = [row[row != 0].tolist() for n in range(3) for row in batches[3 * epoch + n].targets]
        assert sorted(rows) == sorted(talk.ids[1:] for talk in TALKS)
    assert torch.equal(batches[1].mask, ResponseBatches(TALKS, 2, seed=3)[1].mask)


# --- packing -----------------------------------------------------------------------------------------------------------

ROWS = [[TALKS[0], TALKS[1], TALKS[4]], [TALKS[2], TALKS[3]], [TALKS[1]]]
ALONE = [talk for row in ROWS for talk in row]


def test_a_packed_row_by_hand():
    batch = collate_packed([[TALKS[1], TALKS[4]], [TALKS[1]]])
    b, d = TOKENIZER.to_ids("bd")
    first, a = TALKS[1].ids[:-1], TOKENIZER.to_ids("a")[0]
    assert batch.inputs.tolist() == [[*first, 2, USER, b, END, ASSISTANT, b, b, b], [*first] + [0] * 8]
    assert batch.targets.tolist() == [[USER, d, END, ASSISTANT, a, END, USER, b, END, ASSISTANT, b, b, b, END],
                                      [USER, d, END, ASSISTANT, a, END] + [0] * 8]
    assert batch.segments.tolist() == [[0] * 6 + [1] * 8, [0] * 6 + [1] * 8]            # padding: a segment of its own
    assert batch.mask.int().tolist() == [[0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1] + [0] * 8]


@EVERY
@pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_packed_logits_loss_and_gradients_are_those_of_each_alone(variant, dtype, tol):
    model, batch, found = build(variant, dtype), collate_packed(ROWS), []
    logits = model(batch.inputs, segments=batch.segments)
    places = [(row, n) for row, talks in enumerate(ROWS) for n in range(len(talks))]
    for (row, n), talk in zip(places, ALONE):
        here = batch.segments[row] == n
        close(logits[row][here], model(torch.tensor([talk.ids[:-1]]))[0], tol)
    for loss, one in ((packed_loss, batch), (next_token_loss, collate_responses(ALONE))):
        model.zero_grad()
        total, count = loss(model, one)
        total.backward()
        found.append((total.detach(), count, [p.grad.clone() for p in model.parameters()]))
    (loss, n, grads), (expected, m, others) = found
    assert n == m == len(list(responses_by_hand(ALONE)))
    close(loss, expected, tol)
    for one, other in zip(grads, others):
        close(one, other, 10 * tol)


@EVERY
def test_no_word_of_another_conversation_matters(variant):
    """The derivative of a logit by a word is 0, not nearly 0, where the word stands in another conversation, or later."""
    model, batch = build(variant), collate_packed(ROWS)
    embedded = []
    handle = model.embedding.register_forward_hook(lambda module, args, out: embedded.append(out.requires_grad_()) or out)
    logits = model(batch.inputs, segments=batch.segments)
    handle.remove()
    for row, place in ((0, 8), (0, 15), (1, 3), (1, 20)):
        grad, = torch.autograd.grad(logits[row, place].sin().sum(), embedded[0], retain_graph=True)
        seen = grad.abs().sum(-1) > 0
        expected = torch.zeros_like(seen)
        expected[row, :place + 1] = batch.segments[row, :place + 1] == batch.segments[row, place]
        assert torch.equal(seen, expected)


def test_without_segments_conversations_do_talk_across():
    model, batch = build(), collate_packed(ROWS)
    apart, together = model(batch.inputs, segments=batch.segments), model(batch.inputs)
    close(apart[:, :6], together[:, :6])                                # the first of a row sees no other
    assert (apart - together)[0, 8:].abs().max() > 0.1


def test_positions_start_anew():
    segments = torch.tensor([[0, 0, 0, 1, 1, 4], [2, 2, 2, 2, 2, 2]])
    assert (restarts(segments) + torch.arange(6)).tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(2, 12), min_size=1, max_size=40), st.integers(11, 30))
def test_packing_loses_nothing_and_leaves_little_room(sizes, length):
    items = [Rendered([2, *[4 + n % 4] * (size - 1)], [False] + [True] * (size - 1)) for n, size in enumerate(sizes)]
    rows = pack(items, length)
    assert sorted(map(id, itertools.chain(*rows))) == sorted(map(id, items))
    filled = [sum(len(item.ids) - 1 for item in row) for row in rows]
    assert all(0 < n <= length for n in filled)
    assert sum(sorted(filled)[:2]) > length or len(rows) == 1           # no two rows fit into one
    if length <= 12 and len(items) <= 8:
        assert len(rows) <= 11 / 9 * fewest([size - 1 for size in sizes], length) + 6 / 9


def test_a_conversation_goes_where_it_leaves_the_least_room():
    seven, five, three = (Rendered([2] + [4] * size, [False] + [True] * size) for size in (7, 5, 3))
    assert pack([three, five, seven], 10) == [[seven, three], [five]]


def fewest(sizes, length):
    """The fewest rows there can be, by trying all."""
    best = len(sizes)

    def place(left, rooms):
        nonlocal best
        if len(rooms) < best and not left:
            best = len(rooms)
        if left and len(rooms) < best:
            for n, room in enumerate(rooms):
                if room >= left[0]:
                    place(left[1:], [*rooms[:n], room - left[0], *rooms[n + 1:]])
            place(left[1:], [*rooms, length - left[0]])

    place(sorted(sizes, reverse=True), [])
    return best


def test_packed_batches_show_everything_once_an_epoch_with_less_padding():
    talks = [TEMPLATE.render(TOKENIZER, dialogue("a" + " b" * (n * n % 17), "c" + " d" * (n % 5))) for n in range(60)]
    packed, plain = PackedBatches(talks, 40, 2, seed=1), ResponseBatches(talks, 8, seed=1, pool=1)
    epoch = [packed[n] for n in range(packed.per_epoch)]
    assert sum(int(batch.mask.sum()) for batch in epoch) == sum(sum(talk.learned) for talk in talks)
    assert sum(int((batch.inputs == 2).sum()) for batch in epoch) == 60
    before = padding_share([plain[n] for n in range(plain.per_epoch)])
    assert 0 <= padding_share(epoch) < 0.1 < 0.3 < before < 1
    assert padding_share([collate_responses(TALKS[:2])]) == 2 / 16
    assert torch.equal(packed[5].segments, PackedBatches(talks, 40, 2, seed=1)[5].segments)
    assert all(torch.equal(getattr(packed[0].to(torch.device("cpu")), name), getattr(packed[0], name))
               for name in ("inputs", "targets", "mask", "segments"))


@pytest.mark.parametrize("variant", ["rotary", "learned"])
def test_a_packed_pass_is_one_graph(variant):
    """What counts is picked from the logits outside: how much it is, is in the data (see tests/test_compile.py)."""
    torch.compiler.reset()
    model, batch, results = build(variant), collate_packed(ROWS), []
    for net in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        logits = net(batch.inputs, segments=batch.segments)
        logits.sin().sum().backward()
        results.append([logits.detach(), *(p.grad.clone() for p in model.parameters())])
    for got, expected in zip(*results):
        close(got, expected, 1e-12)
    torch.compiler.reset()


# --- bad input ---------------------------------------------------------------------------------------------------------

MODEL, BATCH = build(), collate_packed(ROWS)
SILENT = TEMPLATE.render(TOKENIZER, dialogue("a"))
BAD = {
    "no items": (lambda: collate_responses([]), "items: got no conversation"),
    "no rows": (lambda: collate_packed([]), "sequences: got none"),
    "an empty row": (lambda: collate_packed([[], [TALKS[0]]]), "items: got no conversation"),
    "no response": (lambda: ResponseBatches([TALKS[0], SILENT], 2), "items: number 1 has 4 ids and 0 of 4"),
    "no response packed": (lambda: PackedBatches([SILENT], 20, 2), "items: number 0 has 4 ids and 0 of 4"),
    "other lengths": (lambda: collate_responses([Rendered([1, 2], [True])]), "items: number 0 has 2 ids and 1 of 1"),
    "too long": (lambda: pack(TALKS, 10), r"length: got 10, expected at least 18"),
    "no length": (lambda: pack(TALKS, -1), r"length: got -1, expected at least 18"),
    "batch_size": (lambda: PackedBatches(TALKS, 20, 0), "batch_size: got 0"),
    "no batches": (lambda: padding_share([]), "batches: got none"),
    "segments that fall": (lambda: MODEL(BATCH.inputs, segments=BATCH.segments.flip(1)), "segments: row 0 falls"),
    "segments of another shape": (lambda: MODEL(BATCH.inputs, segments=BATCH.segments[:, 1:]), r"segments: got torch.int64 \(3, "),
    "boolean segments": (lambda: MODEL(BATCH.inputs, segments=BATCH.mask), "segments: got torch.bool"),
    "mask and segments": (lambda: MODEL(BATCH.inputs, BATCH.mask, BATCH.segments), "segments: got both|mask: row"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        call()
