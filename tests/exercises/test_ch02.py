"""Chapter 02: right answers of several makes accepted, named wrong ones rejected with their message."""

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

# ---------------------------------------------------------------- 2.1 gru_step


def gru_by_library(x, h, W, U, b, c):
    cell = torch.nn.GRUCell(x.shape[1], h.shape[1]).to(x.dtype)
    cell.weight_ih.data, cell.weight_hh.data, cell.bias_ih.data, cell.bias_hh.data = W, U, b, c
    return cell(x, h)


def gru_by_loops(x, h, W, U, b, c):
    x, h, W, U, b, c = (a.numpy() for a in (x, h, W, U, b, c))
    size, out = h.shape[1], np.zeros(h.shape)

    def sigma(value):
        return 0.5 * (1 + np.tanh(value / 2))

    for n in range(len(x)):
        for k in range(size):
            left = [W[g * size + k] @ x[n] + b[g * size + k] for g in range(3)]
            right = [U[g * size + k] @ h[n] + c[g * size + k] for g in range(3)]
            r, z = sigma(left[0] + right[0]), sigma(left[1] + right[1])
            out[n, k] = (1 - z) * np.tanh(left[2] + r * right[2]) + z * h[n, k]
    return out


def gru_by_einsum(x, h, W, U, b, c):
    left = torch.einsum("bd,gd->bg", x.double(), W.double()) + b
    right = torch.einsum("bd,gd->bg", h.double(), U.double()) + c
    (r, z, n), (u, v, w) = left.chunk(3, 1), right.chunk(3, 1)
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return ((1 - z) * torch.tanh(n + r * w) + z * h).float()


def gru_swapped(x, h, W, U, b, c):
    (r, z, n), (u, v, w) = (x @ W.T + b).chunk(3, 1), (h @ U.T + c).chunk(3, 1)
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return z * torch.tanh(n + r * w) + (1 - z) * h


def gru_reset_first(x, h, W, U, b, c):
    W_r, W_z, W_n = W.chunk(3)
    U_r, U_z, U_n = U.chunk(3)
    b_r, b_z, b_n = b.chunk(3)
    c_r, c_z, c_n = c.chunk(3)
    r = torch.sigmoid(x @ W_r.T + b_r + h @ U_r.T + c_r)
    z = torch.sigmoid(x @ W_z.T + b_z + h @ U_z.T + c_z)
    return (1 - z) * torch.tanh(x @ W_n.T + b_n + (r * h) @ U_n.T + c_n) + z * h


def gru_order(x, h, W, U, b, c):
    (z, r, n), (v, u, w) = (x @ W.T + b).chunk(3, 1), (h @ U.T + c).chunk(3, 1)
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return (1 - z) * torch.tanh(n + r * w) + z * h


def gru_bias_outside(x, h, W, U, b, c):
    size = h.shape[1]
    (r, z, n), (u, v, w) = (x @ W.T + b + c).chunk(3, 1), (h @ U.T).chunk(3, 1)
    assert n.shape[1] == size
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return (1 - z) * torch.tanh(n + r * w) + z * h


def gru_sigmoid(x, h, W, U, b, c):
    (r, z, n), (u, v, w) = (x @ W.T + b).chunk(3, 1), (h @ U.T + c).chunk(3, 1)
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return (1 - z) * torch.sigmoid(n + r * w) + z * h


def gru_no_reset(x, h, W, U, b, c):
    (_, z, n) = (x @ W.T + b + h @ U.T + c).chunk(3, 1)
    z = torch.sigmoid(z)
    return (1 - z) * torch.tanh(n) + z * h


# ---------------------------------------------------------------- 2.2 masked_loss


def loss_selected(logits, targets, mask):
    return F.cross_entropy(logits[mask], targets[mask]).item()


def loss_looped(logits, targets, mask):
    total, count = 0.0, 0
    for b in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[b, t]:
                row = logits[b, t].double()
                top = row.max()
                total -= float(row[targets[b, t]] - top - torch.log(torch.exp(row - top).sum()))
                count += 1
    return total / count


def loss_filled(logits, targets, mask):
    each = F.cross_entropy(logits.masked_fill(~mask[..., None], 0).transpose(1, 2), targets, reduction="none")
    return (each * mask).sum() / mask.sum()


def loss_all(logits, targets, mask):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def loss_divided(logits, targets, mask):
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return each.masked_fill(~mask, 0).mean()


def loss_by_sentence(logits, targets, mask):
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return ((each * mask).sum(1) / mask.sum(1)).mean()


def loss_summed(logits, targets, mask):
    return F.cross_entropy(logits[mask], targets[mask], reduction="sum")


def loss_bits(logits, targets, mask):
    return -torch.log2(logits.softmax(-1).gather(-1, targets[..., None])[..., 0][mask]).mean()


def loss_softmax_twice(logits, targets, mask):
    return F.cross_entropy(logits.softmax(-1)[mask], targets[mask])


def loss_times_zero(logits, targets, mask):
    each = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return (each * mask).sum() / mask.sum()


def loss_wrong_sign(logits, targets, mask):
    return logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0][mask].mean()


# ---------------------------------------------------------------- 2.3 make_decoder_batch


def batch_padded(targets, bos, eos, pad):
    longest = max(map(len, targets)) + 1
    ins = [[bos] + row + [pad] * (longest - 1 - len(row)) for row in targets]
    outs = [row + [eos] + [pad] * (longest - 1 - len(row)) for row in targets]
    return (
        torch.tensor(ins),
        torch.tensor(outs),
        torch.arange(longest) <= torch.tensor([[len(r)] for r in targets]),
    )


def batch_sliced(targets, bos, eos, pad):
    """One padded sequence, cut twice: the input of short rows holds <eos> where nothing is asked any more."""
    rows = [torch.tensor([bos, *row, eos]) for row in targets]
    whole = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    return (
        whole[:, :-1],
        whole[:, 1:],
        torch.stack([torch.arange(whole.shape[1] - 1) < len(row) - 1 for row in rows]),
    )


def batch_numpy(targets, bos, eos, pad):
    target_in, target_out, mask = batch_padded(targets, bos, eos, pad)
    return target_in.numpy().tolist(), target_out.numpy().astype(np.int32), mask.long()


def batch_unshifted(targets, bos, eos, pad):
    rows = [torch.tensor([*row, eos]) for row in targets]
    out = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    return out, out, torch.stack([torch.arange(out.shape[1]) < len(row) for row in rows])


def batch_backwards(targets, bos, eos, pad):
    target_in, target_out, mask = batch_padded(targets, bos, eos, pad)
    return target_out, target_in, mask


def batch_endless(targets, bos, eos, pad):
    longest = max(map(len, targets))
    ins = [[bos] + row[:-1] + [pad] * (longest - len(row)) for row in targets]
    outs = [row + [pad] * (longest - len(row)) for row in targets]
    return (
        torch.tensor(ins),
        torch.tensor(outs),
        torch.arange(longest) < torch.tensor([[len(row)] for row in targets]),
    )


def batch_late_eos(targets, bos, eos, pad):
    target_in, _, mask = batch_padded(targets, bos, eos, pad)
    longest = max(map(len, targets))
    return target_in, torch.tensor([row + [pad] * (longest - len(row)) + [eos] for row in targets]), mask


def batch_mask_short(targets, bos, eos, pad):
    target_in, target_out, mask = batch_padded(targets, bos, eos, pad)
    return target_in, target_out, torch.arange(mask.shape[1]) < torch.tensor([[len(row)] for row in targets])


def batch_mask_by_id(targets, bos, eos, pad):
    target_in, target_out, _ = batch_padded(targets, bos, eos, pad)
    return target_in, target_out, target_out != pad


# ---------------------------------------------------------------- 2.5 beam_step


def beam_flat(scores, log_probs):
    best, place = (scores.unsqueeze(1) + log_probs).reshape(-1).sort(descending=True)
    k, words = log_probs.shape
    return best[:k], torch.div(place[:k], words, rounding_mode="floor"), place[:k] % words


def beam_listed(scores, log_probs):
    k, words = log_probs.shape
    every = [(float(scores[i] + log_probs[i, w]), i, w) for i in range(k) for w in range(words)]
    best = sorted(every, reverse=True)[:k]
    return [total for total, _, _ in best], [i for _, i, _ in best], [w for _, _, w in best]


def beam_numpy(scores, log_probs):
    total = scores.numpy()[:, None] + log_probs.numpy()
    order = np.argsort(-total, axis=None)[: len(scores)]
    parents, tokens = np.unravel_index(order, total.shape)
    return total[parents, tokens], parents, tokens


def beam_greedy(scores, log_probs):
    best, token = log_probs.max(dim=1)
    total, order = torch.sort(scores + best, descending=True)
    return total, order, token[order]


def beam_forgetful(scores, log_probs):
    best, place = log_probs.flatten().topk(len(scores))
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def beam_product(scores, log_probs):
    best, place = (scores[:, None] * log_probs).flatten().topk(len(scores))
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def beam_swapped(scores, log_probs):
    best, place = (scores[:, None] + log_probs).flatten().topk(len(scores))
    return best, place % log_probs.shape[1], place // log_probs.shape[1]


def beam_by_k(scores, log_probs):
    best, place = (scores[:, None] + log_probs).flatten().topk(len(scores))
    return best, place // len(scores), place % len(scores)


def beam_transposed(scores, log_probs):
    best, place = (scores[:, None] + log_probs).T.flatten().topk(len(scores))
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def beam_probabilities(scores, log_probs):
    best, place = (scores[:, None] + log_probs.exp()).flatten().topk(len(scores))
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def beam_worst_first(scores, log_probs):
    best, parents, tokens = beam_flat(scores, log_probs)
    order = (parents * log_probs.shape[1] + tokens).sort().indices
    return best[order], parents[order], tokens[order]


def beam_true_division(scores, log_probs):
    best, place = (scores[:, None] + log_probs).flatten().topk(len(scores))
    return best, place / log_probs.shape[1], place % log_probs.shape[1]


RIGHT = {
    "2.1": [gru_by_library, gru_by_loops, gru_by_einsum],
    "2.2": [loss_selected, loss_looped, loss_filled],
    "2.3": [batch_padded, batch_sliced, batch_numpy],
    "2.5": [beam_flat, beam_listed, beam_numpy],
}
WRONG = [
    ("2.1", gru_swapped, "z and 1 − z swapped", "where z = "),
    ("2.1", gru_reset_first, "reset before U", "Cho et al. (2014)"),
    ("2.1", gru_order, "gate order z, r, n", "order r, z, n"),
    ("2.1", gru_bias_outside, "c outside the reset", "outside the reset"),
    ("2.1", gru_sigmoid, "sigmoid candidate", "never be negative"),
    ("2.1", gru_no_reset, "no reset", "does not act"),
    ("2.2", loss_all, "padding counted", "of them are padding"),
    ("2.2", loss_divided, "divided by B·T", "divide by all"),
    ("2.2", loss_by_sentence, "mean of sentence means", "one sum, one count"),
    ("2.2", loss_summed, "summed, not averaged", "grows with the batch"),
    ("2.2", loss_bits, "bits", "base 2"),
    ("2.2", loss_softmax_twice, "softmax twice", "softmax itself"),
    ("2.2", loss_times_zero, "padding multiplied by 0", "0 · ∞ is NaN"),
    ("2.2", loss_wrong_sign, "wrong sign", "sign is wrong"),
    ("2.3", batch_unshifted, "input not shifted", "only learns to copy"),
    ("2.3", batch_backwards, "shifted the wrong way", "the one before it"),
    ("2.3", batch_endless, "<eos> missing", "never learns to stop"),
    ("2.3", batch_late_eos, "<eos> after the padding", "then pad"),
    ("2.3", batch_mask_short, "mask drops <eos>", "runs on"),
    ("2.3", batch_mask_by_id, "mask from the ids", "from the lengths"),
    ("2.5", beam_greedy, "best of each beam", "compete across beams"),
    ("2.5", beam_forgetful, "old scores forgotten", "log-probabilities alone"),
    ("2.5", beam_product, "log-probabilities multiplied", "logarithms add"),
    ("2.5", beam_swapped, "parent and token swapped", "beam p // V"),
    ("2.5", beam_by_k, "divided by k", "V long"),
    ("2.5", beam_transposed, "flattened over the wrong axis", "not the same order"),
    ("2.5", beam_probabilities, "probabilities, not logarithms", "logarithms already"),
    ("2.5", beam_worst_first, "not sorted", "best first"),
    ("2.5", beam_true_division, "true division", "not with /"),
]


@pytest.mark.parametrize(
    ("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers]
)
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok, str(verdict)


@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)


def test_planted_bug_of_2_3_earns_nothing(judge, seed):
    assert judge("2.3", batch_unshifted, seed).points == 0


def test_padding_needs_its_own_points(judge, seed):
    """An answer that is right without padding and wrong with it keeps the first points only."""
    assert [result.ok for result in judge("2.2", loss_all, seed).results] == [True, False, False]
    assert [result.ok for result in judge("2.2", loss_times_zero, seed).results] == [True, True, False]


# ---------------------------------------------------------------- 2.4 predict

ANSWER = {"decay_at_20": 0.12, "first_below_1_percent": 44, "growth_at_20": 6.73, "more_data_helps": "no"}


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        {**ANSWER, "decay_at_20": 0.9**20, "growth_at_20": np.float32(6.7)},
        {**ANSWER, "first_below_1_percent": torch.tensor(44.0), "more_data_helps": "No."},
        {**ANSWER, "more_data_helps": False},
    ],
)
def test_2_4_accepts_rounded_and_exact_answers(judge, answer):
    assert judge("2.4", answer).ok, str(judge("2.4", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("decay_at_20", 18, "a power, not a product"),
        ("decay_at_20", 0.14, "19 steps"),
        ("decay_at_20", 0.11, "21 steps"),
        ("decay_at_20", 1e-20, "keeps 0.9 of the state"),
        ("decay_at_20", -1, "same share"),
        ("decay_at_20", 0.5, "too large"),
        ("first_below_1_percent", 43, "Off by one"),
        ("first_below_1_percent", 45, "Off by one"),
        ("first_below_1_percent", 10, "of the rest"),
        ("first_below_1_percent", 1000, "too large"),
        ("first_below_1_percent", 43.7, "43.7 is not a whole number"),
        ("decay_at_20", 0.1, "give 2 decimals"),
        ("growth_at_20", 7, "give 1 decimal"),
        ("growth_at_20", 22, "once more"),
        ("growth_at_20", 3, "interest"),
        ("growth_at_20", 8.2, "not the inverse"),
        ("growth_at_20", 0.12, "shrinks"),
        ("growth_at_20", 6.1, "19 steps"),
        ("more_data_helps", "yes", "holds no x"),
        ("more_data_helps", True, "holds no x"),
        ("more_data_helps", "perhaps", "not one of"),
        ("decay_at_20", "0.12", "expected a number"),
        ("decay_at_20", [0.12], "expected a number"),
        ("decay_at_20", float("nan"), "no predictions"),
        ("more_data_helps", 0, "expected a word"),
        ("growth_at_20", None, "no prediction yet"),
    ],
)
def test_2_4_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("2.4", {**ANSWER, key: value})
    assert verdict.points == 3 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_2_4_never_prints_the_answer(judge):
    for value in (0, 5, 18, 1e9, "yes"):
        message = judge("2.4", dict.fromkeys(ANSWER, value)).message
        assert not any(right in message for right in ("0.12", "44", "6.73", "6.7"))


# ---------------------------------------------------------------- 2.6 measure


def meetings(pairs):
    both, german, english = Counter(), Counter(), Counter()
    for de, en in pairs:
        german.update(set(de)), english.update(set(en))
        both.update((d, e) for d in sorted(set(de)) for e in sorted(set(en)))
    return both, german, english


def strongest(scores):
    best = {}
    for (d, e), score in scores.items():
        if d not in best or score > scores[d, best[d]]:
            best[d] = e
    return best


def dictionary_dice(pairs):
    both, german, english = meetings(pairs)
    return strongest({(d, e): n / (german[d] + english[e]) for (d, e), n in both.items()})


def dictionary_em(pairs):
    """IBM Model 1 in plain Python: t(e | d)."""
    table = {}
    for de, en in pairs:
        for d in de:
            for e in en:
                table[d, e] = 1.0
    for _ in range(2):
        counts, totals = Counter(), Counter()
        for de, en in pairs:
            for e in en:
                norm = sum(table[d, e] for d in de)
                for d in de:
                    counts[d, e] += table[d, e] / norm
                    totals[d] += table[d, e] / norm
        table = {(d, e): n / totals[d] for (d, e), n in counts.items()}
    return strongest(table)


def dictionary_counted(pairs):
    return strongest(meetings(pairs)[0])


def dictionary_rare(pairs):
    both, german, english = meetings(pairs)
    return strongest({(d, e): np.log(n * len(pairs) / german[d] / english[e]) for (d, e), n in both.items()})


def dictionary_by_place(pairs):
    return strongest(Counter((d, e) for de, en in pairs for d, e in zip(de, en, strict=False)))


def dictionary_reversed(pairs):
    return {e: d for d, e in dictionary_dice([(en, de) for de, en in pairs]).items() for e, d in [(d, e)]}


def dictionary_of_sentences(pairs):
    return {" ".join(de): " ".join(en) for de, en in pairs}


@pytest.mark.parametrize(
    ("answer", "seed"), [(dictionary_dice, None), (dictionary_em, None), (dictionary_dice, 11)]
)
def test_2_6_accepts_competing_words(judge, answer, seed):
    verdict = judge("2.6", answer, seed)
    assert verdict.ok and "are right" in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("answer", "name", "phrase"),
    [
        (dictionary_counted, "raw co-occurrence", "entries are '.'"),
        (dictionary_rare, "rare words win", "by chance"),
        (dictionary_by_place, "word by place", "i-th word"),
        (dictionary_reversed, "direction reversed", "Keys are German"),
        (dictionary_of_sentences, "whole sentences", "learn words"),
    ],
)
def test_2_6_names_what_went_wrong(judge, answer, name, phrase):
    verdict = judge("2.6", answer, 11)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        ({}, "no entry"),
        ([("Haus", "house")], "expected a dict"),
        ({"Haus": ["house"]}, "a str → a list"),
        ({("Haus",): "house"}, "a tuple → a str"),
        ({"Haus": "house"}, "Most often missed"),
        (3, "expected a dict"),
    ],
)
def test_2_6_explains_a_wrong_form(judge, value, phrase):
    verdict = judge("2.6", lambda pairs: value)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)
