"""Chapter 09: right answers of several makes accepted, named wrong ones rejected with their message."""

import functools
import heapq
import itertools
import math
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import FusedAttention, KVCache
from course_lib.data.batching import TokenBatch
from course_lib.exercises import exercise
from course_lib.exercises.ch09 import induction, paying, probable, tables
from course_lib.generation import Decodable, beam_search, greedy
from course_lib.losses import next_token_loss
from course_lib.models.gpt import GPT, GPT2, GPTConfig

# ---------------------------------------------------------------- 9.1 nats_per_word


def nats_looped(logits, ids, lengths):
    total = words = 0
    for row, said, length in zip(logits.tolist(), ids.tolist(), lengths):
        for t in range(length - 1):
            top = max(row[t])
            total += top + math.log(sum(math.exp(z - top) for z in row[t])) - row[t][said[t + 1]]
            words += 1
    return total, words


def nats_ignored(logits, ids, lengths):
    targets = ids.clone()
    for row, length in zip(targets, lengths):
        row[length:] = -100
    nats = F.cross_entropy(logits[:, :-1].transpose(1, 2), targets[:, 1:], reduction="sum", ignore_index=-100)
    return nats, int((targets[:, 1:] >= 0).sum())


def nats_by_row(logits, ids, lengths):
    rows = [logits[b, : n - 1].log_softmax(1)[torch.arange(n - 1), ids[b, 1:n]] for b, n in enumerate(lengths)]
    return -torch.cat(rows).sum().double(), torch.tensor(sum(map(len, rows)))


def nats_by_numpy(logits, ids, lengths):
    kept = [(b, t) for b, n in enumerate(lengths) for t in range(n - 1)]
    b, t = (np.array(part) for part in zip(*kept))
    z = logits.numpy().astype(np.float64)[b, t]
    z = z - z.max(1, keepdims=True)
    return np.log(np.exp(z).sum(1)).sum() - z[np.arange(len(b)), ids.numpy()[b, t + 1]].sum(), np.int64(len(b))


def nats_by_library(logits, ids, lengths):
    mask = torch.arange(1, ids.shape[1]) < torch.tensor(lengths)[:, None]
    return next_token_loss(lambda inputs: logits[:, :-1], TokenBatch(ids[:, :-1], ids[:, 1:], mask))


def nats(
    logits, ids, lengths, *, said=lambda l, i: (l[:, :-1], i[:, 1:]), less=1, first=0, dim=-1, each=None, sums=torch.sum, report=None,
    masked=True,
):
    """The right answer, and a place for each mistake."""
    scored, target = said(logits, ids)
    places = torch.arange(scored.shape[1])
    real = (places < torch.tensor(lengths)[:, None] - less) & (places >= first)
    real = real if masked else torch.ones_like(real)
    log_p = scored.log_softmax(dim).gather(2, target[:, :, None])[:, :, 0] if each is None else each(scored, target)
    total, words = -sums(log_p[real]), real.sum()
    return report(total, words, real) if report else (total, words)


def same_place(logits, ids):
    return logits, ids


def nats_planted(logits, ids, lengths):
    log_p = logits.log_softmax(dim=-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    return -log_p.sum(), ids.numel()


def nats_of_nonzero(logits, ids, lengths):
    return nats(logits, ids, (ids != 0).sum(1).tolist())


def nats_multiplied(logits, ids, lengths):
    each = F.cross_entropy(logits[:, :-1].mT, ids[:, 1:], reduction="none")
    real = torch.arange(1, ids.shape[1]) < torch.tensor(lengths)[:, None]
    return (each * real).sum(), real.sum()


# ---------------------------------------------------------------- 9.2 nucleus


def nucleus_looped(logits, p):
    rows = []
    for row in logits.double().softmax(1).tolist():
        kept, total = [], 0.0
        for word in sorted(range(len(row)), key=lambda w: -row[w]):
            kept.append(word)
            total += row[word]
            if total >= p:
                break
        rows.append([row[w] / total if w in kept else 0.0 for w in range(len(row))])
    return rows


def nucleus_shifted(logits, p):
    """As it is often written: a mask of what goes, moved by one, and its first place freed."""
    best, order = logits.sort(descending=True)
    goes = best.softmax(-1).cumsum(-1) > p
    goes[:, 1:] = goes[:, :-1].clone()
    goes[:, 0] = False
    return logits.masked_fill(goes.scatter(1, order, goes), -torch.inf).softmax(-1)


def nucleus_by_numpy(logits, p):
    z = logits.numpy().astype(np.float64)
    probs = np.exp(z - z.max(1, keepdims=True))
    probs /= probs.sum(1, keepdims=True)
    better = (probs[:, None, :] > probs[:, :, None]) * probs[:, None, :]    # [n, w, v]: v is better than w
    kept = np.where(better.sum(2) < p, probs, 0)
    return kept / kept.sum(1, keepdims=True)


def nucleus_by_threshold(logits, p):
    probs = logits.double().softmax(-1)
    best = probs.sort(-1, descending=True).values
    n = (best.cumsum(-1) < p).sum(-1, keepdim=True)
    kept = torch.where(probs >= best.gather(-1, n), probs, 0)
    return F.normalize(kept, p=1, dim=-1)


def nucleus(logits, p, *, keep=lambda best, p: best.cumsum(1) - best < p, finish=lambda kept: kept / kept.sum(1, keepdim=True), dim=1):
    probs = logits.softmax(dim)
    best, order = probs.sort(dim=1, descending=True, stable=True)
    kept = torch.zeros_like(probs).scatter(1, order, best.where(keep(best, p), 0))
    return finish(kept)


def nucleus_shifted_only(logits, p):
    best, order = logits.sort(descending=True)
    goes = best.softmax(-1).cumsum(-1) > p
    goes[:, 1:] = goes[:, :-1].clone()
    return logits.masked_fill(goes.scatter(1, order, goes), -torch.inf).softmax(-1)


def nucleus_one_more(logits, p):
    best, order = logits.sort(descending=True)
    goes = best.softmax(-1).cumsum(-1) >= p
    goes[:, 2:] = goes[:, :-2].clone()
    goes[:, :2] = False
    return logits.masked_fill(goes.scatter(1, order, goes), -torch.inf).softmax(-1)


def nucleus_sorted(logits, p):
    probs = logits.softmax(1).sort(1, descending=True).values
    kept = probs.where(probs.cumsum(1) - probs < p, 0)
    return kept / kept.sum(1, keepdim=True)


def nucleus_gathered(logits, p):
    best, order = logits.softmax(1).sort(1, descending=True)
    kept = best.where(best.cumsum(1) - best < p, 0)
    return (kept / kept.sum(1, keepdim=True)).gather(1, order)


def nucleus_ascending(logits, p):
    probs, order = logits.softmax(1).sort(1)
    kept = probs.where(probs.cumsum(1) - probs < p, 0)
    return torch.zeros_like(kept).scatter(1, order, kept / kept.sum(1, keepdim=True))


def nucleus_of_words(logits, p, which):
    probs = logits.softmax(1)
    kept = probs.where(which(probs, p), 0)
    return kept / kept.sum(1, keepdim=True)


def nucleus_of_all_rows(logits, p):
    probs = logits.softmax(1)
    best, order = probs.flatten().sort(descending=True)
    keep = torch.zeros_like(best).scatter(0, order, (best.cumsum(0) - best < p).to(best))
    kept = probs * keep.view_as(probs)
    return kept / kept.sum(1, keepdim=True)


def nucleus_of_logits(logits, p):
    best, order = logits.sort(dim=1, descending=True, stable=True)
    kept = logits.softmax(1) * torch.zeros_like(logits).scatter(1, order, (best.cumsum(1) - best < p).to(best))
    return kept / kept.sum(1, keepdim=True)


def nucleus_by_exp(logits, p):
    probs = logits.exp() / logits.exp().sum(1, keepdim=True)
    best, order = probs.sort(1, descending=True)
    kept = best.where(best.cumsum(1) - best < p, 0)
    return torch.zeros_like(kept).scatter(1, order, kept / kept.sum(1, keepdim=True))


def top(rounded):
    return of(nucleus, keep=lambda best, p: (torch.arange(best.shape[1]) < max(1, rounded(p * best.shape[1]))).expand_as(best))


# ---------------------------------------------------------------- 9.3 attend


def attend_looped(query, keys, values, past):
    rows = []
    for t, q in enumerate(query.double()):
        seen = past + t + 1
        scores = keys[:seen].double() @ q / len(q) ** 0.5
        rows.append(scores.softmax(0) @ values[:seen].double())
    return torch.stack(rows)


def attend_by_kernel(query, keys, values, past):
    mask = torch.arange(len(keys)) <= past + torch.arange(len(query))[:, None]
    return F.scaled_dot_product_attention(query[None], keys[None], values[None], attn_mask=mask)[0]


def attend_by_course(query, keys, values, past):
    cache = KVCache()
    cache.append(keys[None, None, :past], values[None, None, :past])
    keys, values = cache.append(keys[None, None, past:], values[None, None, past:])
    return FusedAttention()(query[None, None], keys, values, None, True)[0, 0]


def attend_einsum(query, keys, values, past):
    scores = torch.einsum("td,sd->ts", query, keys) / query.shape[1] ** 0.5
    hidden = torch.ones_like(scores, dtype=torch.bool).triu(past + 1)
    return torch.einsum("ts,sd->td", scores.masked_fill(hidden, -torch.inf).softmax(1), values)


def attend_in_full(query, keys, values, past):
    """The square of all S words, of which the last T rows are kept."""
    padded = torch.cat([query.new_zeros(past, query.shape[1]), query])
    return F.scaled_dot_product_attention(padded[None], keys[None], values[None], is_causal=True)[0, past:]


def attend(
    query, keys, values, past, *, seen=lambda t, s, past: s <= past + t, weigh=None, root=lambda D, T, S: D**0.5, read=None, nan=math.nan
):
    T, S = len(query), len(keys)
    mask = seen(torch.arange(T)[:, None], torch.arange(S)[None, :], past)
    scores = query @ keys.T / root(query.shape[1], T, S)
    weights = weigh(scores, mask) if weigh else scores.masked_fill(~mask, -torch.inf).softmax(1).nan_to_num(nan)
    return weights @ (keys if read else values)


def attend_planted(query, keys, values, past):
    scores = query @ keys.T / query.shape[1] ** 0.5
    mask = torch.ones(len(query), len(keys), dtype=torch.bool).tril()
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1) @ values


def attend_is_causal(query, keys, values, past):
    """The kernel's own causal mask begins at the top left, too."""
    return F.scaled_dot_product_attention(query[None], keys[None], values[None], is_causal=True)[0]


# ---------------------------------------------------------------- 9.5 induction_scores


def scores_looped(weights, T):
    return [sum(head[T + i][i + 1] for i in range(T)) / T for head in weights.tolist()]


def scores_by_diagonal(weights, T):
    return weights.double().diagonal(1 - T, dim1=1, dim2=2)[:, 1:].mean(dim=1)


def scores_einsum(weights, T):
    return torch.einsum("hii->h", weights[:, T:, 1 : T + 1]) / T


def scores_by_numpy(weights, T):
    return np.array([np.trace(head[T:, 1:], axis1=0, axis2=1) / T for head in weights.numpy()])


def scores(weights, T, *, query=0, key=1, some=None, finish=lambda found, T: found.mean(1)):
    i = torch.arange(T) if some is None else torch.tensor([n for n in range(T) if some(n, T)], dtype=torch.long)
    return finish(weights[:, T + i + query, i + key], T)


# ---------------------------------------------------------------- 9.7 gradient


def gradient_backward(x, y, mask, w, n_micro):
    w, words = w.clone().requires_grad_(), mask.sum()
    for part in zip(*(whole.chunk(n_micro) for whole in (x, y, mask))):
        ((((part[0] @ w - part[1]) ** 2) * part[2]).sum() / words).backward()
    return w.grad


def gradient_at_once(x, y, mask, w, n_micro):
    w = w.clone().requires_grad_()
    return torch.autograd.grad(F.mse_loss(x[mask] @ w, y[mask]), w)[0]


def gradient_einsum(x, y, mask, w, n_micro):
    off = (torch.einsum("btd,d->bt", x.double(), w.double()) - y) * mask
    return 2 * torch.einsum("bt,btd->d", off, x.double()) / mask.sum()


def gradient_divided_last(x, y, mask, w, n_micro):
    total, words = np.zeros(len(w)), 0
    for rows in np.split(np.arange(len(x)), n_micro):
        for b in rows:
            for t in np.flatnonzero(mask[b].numpy()):
                total += 2 * (float(x[b, t] @ w) - float(y[b, t])) * x[b, t].double().numpy()
                words += 1
    return total / words


def gradient_strided(x, y, mask, w, n_micro):
    """Rows divided otherwise: every n_micro-th."""
    parts = [(x[n::n_micro][m], y[n::n_micro][m]) for n in range(n_micro) for m in [mask[n::n_micro]]]
    return sum(2 * (a.T @ (a @ w - b)) for a, b in parts) / sum(len(b) for _, b in parts)


def gradient(x, y, mask, w, n_micro, *, loss=None, between=None, after=lambda g, mask, n: g):
    """The loop over micro-batches with backward, and a place for each mistake; `loss(squares, mask, all)` of one of them."""
    w = w.clone().requires_grad_()
    for part in zip(*(whole.chunk(n_micro) for whole in (x, y, mask))):
        if between and w.grad is not None:
            between(w)
        squares = (part[0] @ w - part[1]).square()
        loss(squares, part[2], mask, n_micro).backward()
    return after(w.grad, mask, n_micro)


def gradient_planted(x, y, mask, w, n_micro):
    w = w.clone().requires_grad_()
    for x_k, y_k, mask_k in zip(x.chunk(n_micro), y.chunk(n_micro), mask.chunk(n_micro)):
        loss = (x_k @ w - y_k)[mask_k].square().mean()
        (loss / n_micro).backward()
    return w.grad


def summed(squares, mask, all, n_micro):
    return squares[mask].sum() / all.sum()


RIGHT = {
    "9.1": [nats_looped, nats_ignored, nats_by_row, nats_by_numpy, nats_by_library],
    "9.2": [nucleus_looped, nucleus_shifted, nucleus_by_numpy, nucleus_by_threshold],
    "9.3": [attend_looped, attend_by_kernel, attend_by_course, attend_einsum, attend_in_full],
    "9.5": [scores_looped, scores_by_diagonal, scores_einsum, scores_by_numpy],
    "9.7": [gradient_backward, gradient_at_once, gradient_einsum, gradient_divided_last, gradient_strided],
}
WRONG = [
    ("9.1", nats_planted, "not shifted", "Which word does logits[:, 0] speak about?"),
    ("9.1", of(nats, said=same_place, less=0), "not shifted", "the model has read <bos>"),
    ("9.1", of(nats, said=same_place, less=0, first=1), "not shifted", "takes no model at all"),
    ("9.1", of(nats, said=same_place), "not shifted", "the model has read <bos>"),
    ("9.1", of(nats, said=lambda l, i: (l[:, 1:], i[:, :-1])), "shifted the wrong way", "by the word before it"),
    ("9.1", of(nats, said=lambda l, i: (l[:, 1:], i[:, :-1]), masked=False), "shifted the wrong way", "by the word before it"),
    ("9.1", of(nats, masked=False), "padding counted", "nobody's word"),
    ("9.1", of(nats, less=0), "one word too many", "its last word is followed by padding"),
    ("9.1", of(nats, less=2), "last word forgotten", "guessed like the others"),
    ("9.1", of(nats, first=1), "first word forgotten", "all there is to guess it from"),
    ("9.1", lambda l, i, n: (nats(l, i, n)[0], sum(n)), "<bos> counted", "nobody has to guess"),
    ("9.1", lambda l, i, n: (nats(l, i, n)[0], i[:, 1:].numel()), "places counted as words", "padding included"),
    ("9.1", lambda l, i, n: (nats(l, i, n)[0], len(n)), "rows counted", "not of rows"),
    ("9.1", of(nats, sums=torch.mean), "mean", "beside the number of words"),
    ("9.1", of(nats, report=lambda total, words, real: (total / math.log(2), words)), "bits", "base 2"),
    ("9.1", of(nats, report=lambda total, words, real: (torch.exp(total / words), words)), "perplexity", "made from"),
    ("9.1", of(nats, dim=1), "softmax over the places", "(dim 1)"),
    ("9.1", of(nats, dim=0), "softmax over the rows", "(dim 0)"),
    ("9.1", of(nats, each=lambda l, i: l.log_softmax(2).amax(2)), "the best word's probability", "the word that came"),
    ("9.1", of(nats, each=lambda l, i: -(l.argmax(2) != i).double()), "wrong guesses counted", "How probable"),
    ("9.1", of(nats, report=lambda total, words, real: (-total, words)), "wrong sign", "−log p"),
    ("9.1", of(nats, each=lambda l, i: l.gather(2, i[..., None])[..., 0]), "raw logits", "minus the logsumexp"),
    ("9.1", of(nats, each=lambda l, i: -F.cross_entropy(l.softmax(2).mT, i, reduction="none")), "softmax twice", "does it itself"),
    ("9.1", of(nats, each=lambda l, i: -l.softmax(2).gather(2, i[..., None])[..., 0]), "probabilities, not logarithms", "multiply"),
    ("9.1", lambda l, i, n: nats(l, i, n)[::-1], "number first", "expected (nats, words)"),
    ("9.1", lambda l, i, n: nats_ignored(l, i.masked_fill(i == 0, -100), i.shape[1:] * 9), "0 taken for padding", "for lengths"),
    ("9.1", nats_of_nonzero, "0 taken for padding", "for lengths to say"),
    ("9.1", lambda l, i, n: nats(l, i, [n[0]] * len(n)), "first length for all", "as far as the first one"),
    ("9.1", nats_multiplied, "padding multiplied by 0", "0 · NaN is NaN"),
    ("9.2", of(nucleus, keep=lambda b, p: b.cumsum(1) <= p), "crossing word dropped", "carries the sum over p"),
    ("9.2", of(nucleus, keep=lambda b, p: b.cumsum(1) <= p, finish=lambda k: k / k.sum(1, True).clamp(min=1e-9)),
     "crossing word dropped", "is to be reached"),
    ("9.2", of(nucleus, keep=lambda b, p: (b.cumsum(1) <= p) | (b == b[:, :1])), "crossing word dropped", "belongs to the set"),
    ("9.2", nucleus_shifted_only, "best word dropped", "nothing is left"),
    ("9.2", nucleus_one_more, "one word too many", "as small as it can be"),
    ("9.2", of(nucleus, finish=lambda kept: kept), "not renormalised", "no longer sums to 1"),
    ("9.2", of(nucleus, finish=lambda kept: kept.softmax(1)), "softmax again", "exp(0) is 1"),
    ("9.2", of(nucleus, finish=lambda kept: torch.where(kept > 0, kept, -torch.inf).softmax(1)), "softmax again", "flatter"),
    ("9.2", top(int), "top-k", "for each row's probabilities to say"),
    ("9.2", top(math.ceil), "top-k", "p · V words"),
    ("9.2", of(nucleus_of_words, which=lambda probs, p: probs > 1 - p), "single probabilities", "more than 1 − p"),
    ("9.2", of(nucleus_of_words, which=lambda probs, p: probs >= p * probs.max(1, True)[0]), "single probabilities", "p times the best"),
    ("9.2", nucleus_sorted, "still sorted", "column w"),
    ("9.2", nucleus_gathered, "order read backwards", "written to"),
    ("9.2", nucleus_ascending, "least probable first", "the smallest first"),
    ("9.2", of(nucleus_of_words, which=lambda probs, p: (nucleus(probs[:1].log(), p) > 0).expand_as(probs)),
     "first row's words for all", "a set of its own"),
    ("9.2", of(nucleus, keep=lambda b, p: (b[:1].cumsum(1) - b[:1] < p).expand_as(b)), "first row's number for all", "from row to row"),
    ("9.2", nucleus_of_all_rows, "all rows at once", "a distribution of its own"),
    ("9.2", nucleus_of_logits, "logits added up", "whose sum is to reach p"),
    ("9.2", lambda logits, p: nucleus(logits, 1 - p), "1 − p", "reaches 1 − p"),
    ("9.2", lambda logits, p: nucleus(logits, p).log(), "log-probabilities", "You return logarithms"),
    ("9.2", lambda logits, p: logits.where(nucleus(logits, p) > 0, -torch.inf), "logits", "One step is missing"),
    ("9.2", lambda logits, p: F.one_hot(logits.argmax(1), logits.shape[1]), "only the best", "greedy decoding"),
    ("9.2", lambda logits, p: logits.softmax(1), "nothing dropped", "the model's own distribution"),
    ("9.2", of(nucleus, dim=0), "softmax over the rows", "(dim 0)"),
    ("9.2", nucleus_by_exp, "overflow", "takes the largest one away first"),
    ("9.3", attend_planted, "mask from the top left", "At which place does your mask believe it to stand?"),
    ("9.3", attend_is_causal, "mask from the top left", "the oldest"),
    ("9.3", of(attend, seen=lambda t, s, past: s >= 0 * t), "no mask", "There is no mask"),
    ("9.3", of(attend, seen=lambda t, s, past: s <= past + t + 1), "one word too far", "By one word"),
    ("9.3", of(attend, seen=lambda t, s, past: s < past + t), "not itself", "does not see its own word"),
    ("9.3", of(attend, seen=lambda t, s, past: s < past + t, nan=0.0), "not itself", "the last it may see"),
    ("9.3", of(attend, seen=lambda t, s, past: (s <= past + t) & (s >= past)), "only the new words", "in the cache for them"),
    ("9.3", lambda q, k, v, past: attend(q, k[-len(q) :], v[-len(q) :], 0), "only the new words", "at the new words only"),
    ("9.3", lambda q, k, v, past: (q @ k[past:].T / q.shape[1] ** 0.5).softmax(1) @ v[past:], "only the new words", "behind them, too"),
    ("9.3", of(attend, seen=lambda t, s, past: s < past + 0 * t), "only the past", "not even their own"),
    ("9.3", lambda q, k, v, past: (q @ k[:past].T / q.shape[1] ** 0.5).softmax(1) @ v[:past], "only the past", "none of the new words"),
    ("9.3", of(attend, seen=lambda t, s, past: (s < past) | (s == past + t)), "new words blind to each other", "the first is past"),
    ("9.3", of(attend, seen=lambda t, s, past: (s <= past + t) & (s >= t)), "a window that moves", "cut off at both sides"),
    ("9.3", of(attend, seen=lambda t, s, past: s <= past + 0 * t), "all see what the first may", "one more key"),
    ("9.3", lambda q, k, v, past: attend(q, k, v, len(q)), "moved by T", "another number"),
    ("9.3", of(attend, seen=lambda t, s, past: s >= past + t), "transposed", "turned round"),
    ("9.3", of(attend, root=lambda D, T, S: S**0.5), "scaled by √S", "number of keys"),
    ("9.3", of(attend, root=lambda D, T, S: 1), "not scaled", "√D"),
    ("9.3", of(attend, root=lambda D, T, S: D), "divided by D", "D itself"),
    ("9.3", of(attend, weigh=lambda z, m: z.softmax(1) * m), "mask after the softmax", "no longer sum to 1"),
    ("9.3", of(attend, weigh=lambda z, m: z.masked_fill(~m, 0).softmax(1)), "scores of 0", "exp(0) is 1"),
    ("9.3", of(attend, weigh=lambda z, m: z.masked_fill(m, -torch.inf).softmax(1)), "mask inverted", "where the mask is True"),
    ("9.3", of(attend, weigh=lambda z, m: z.masked_fill(m, -1e9).softmax(1)), "mask inverted", "hides what it should show"),
    ("9.3", of(attend, weigh=lambda z, m: z.masked_fill(~m, -torch.inf).softmax(0)), "softmax over the queries", "(dim 0)"),
    ("9.3", of(attend, read="keys"), "keys read", "what is read are the values"),
    ("9.5", of(scores, key=0), "the same word", "finds duplicates"),
    ("9.5", of(scores, key=-1, some=lambda n, T: n > 0), "the word before", "before the first occurrence"),
    ("9.5", of(scores, key=2), "two further", "two places behind"),
    ("9.5", lambda w, T: w[:, torch.arange(T, 2 * T), torch.arange(T - 1, 2 * T - 1)].mean(1), "previous word", "just before"),
    ("9.5", lambda w, T: w[:, torch.arange(T, 2 * T), torch.arange(T, 2 * T)].mean(1), "itself", "looks at itself"),
    ("9.5", lambda w, T: scores(w.transpose(1, 2), T), "transposed", "Rows and columns"),
    ("9.5", of(scores, query=-1, key=0), "query one place early", "one place too early"),
    ("9.5", lambda w, T: w.diagonal(1 - T, dim1=1, dim2=2).mean(1), "a query too many", "the whole diagonal"),
    ("9.5", of(scores, some=lambda n, T: n < T - 1), "last place left out", "the last one, too"),
    ("9.5", of(scores, some=lambda n, T: n > 0), "first place left out", "the first at which a word comes again"),
    ("9.5", lambda w, T: w[:, T:, 1 : T + 1].mean(dim=(1, 2)), "the whole block", "one place i + 1 that counts"),
    ("9.5", of(scores, finish=lambda found, T: found.max(1).values), "maximum", "their mean"),
    ("9.5", of(scores, finish=lambda found, T: found.sum(1)), "sum", "between 0 and 1"),
    ("9.5", of(scores, finish=lambda found, T: found.sum(1) / (2 * T)), "divided by 2T", "Only the T places"),
    ("9.5", of(scores, finish=lambda found, T: found.mean()), "heads averaged", "a score of its own"),
    ("9.5", of(scores, finish=lambda found, T: found.mean(0)), "places averaged over heads", "a number for each head"),
    ("9.5", of(scores, finish=lambda found, T: found), "not averaged", "a weight for each place"),
    ("9.5", lambda w, T: (w[:, T:].argmax(2) == 1 + torch.arange(T)).float().mean(1), "hits counted", "the weight itself"),
    ("9.7", gradient_planted, "mean of means", "What would you have to know"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum() / m.sum().clamp(min=1) / n), "mean of means", "times as much as one"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum() / m.sum()), "means added", "More micro-batches"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum()), "not divided", "not their mean"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum() / n), "divided by the micro-batches", "number of micro-batches"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum() / len(all)), "divided by the rows", "number of rows"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).sum() / all.numel()), "divided by all places", "counts padding"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: (s * m).mean() / n), "divided by all places", "counts padding"),
    ("9.7", of(gradient, loss=summed, after=lambda g, mask, n: g / n), "divided twice", "as well"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: s.mean() / n), "padding counted", "The mask plays no part"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: s.sum() / all.sum()), "padding counted", "among what you add up"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: s[~m].sum() / (~all).sum()), "mask turned round", "from no word"),
    ("9.7", of(gradient, loss=lambda s, m, all, n: s[m].mean(), between=lambda w: w.grad.zero_()), "only the last", "set to zero"),
    ("9.7", of(gradient, loss=summed, between=lambda w: w.grad.zero_()), "only the last", "set to zero between?"),
    ("9.7", lambda x, y, m, w, n: gradient_at_once(x.chunk(n)[0], y.chunk(n)[0], m.chunk(n)[0], w, 1), "only the first", "after the first"),
    ("9.7", of(gradient, loss=summed, after=lambda g, mask, n: g / 2), "half", "factor 2"),
    ("9.7", of(gradient, loss=summed, after=lambda g, mask, n: -g), "wrong sign", "points up"),
    ("9.7", lambda x, y, m, w, n: ((x @ w - y)[m] ** 2).mean(), "the loss", "its gradient"),
]


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_are_accepted(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000


@pytest.mark.parametrize(("id", "planted"), [("9.1", nats_planted), ("9.3", attend_planted), ("9.7", gradient_planted)])
def test_the_planted_bug_earns_nothing(judge, seed, id, planted):
    assert judge(id, planted, seed).points == 0


@pytest.mark.parametrize(
    ("id", "answer", "held"),
    [
        ("9.1", of(nats, masked=False), [True, False, False]),
        ("9.1", of(nats, less=0), [True, False, False]),
        ("9.1", nats_of_nonzero, [True, True, False]),
        ("9.1", nats_multiplied, [True, True, False]),
        ("9.2", nucleus_shifted_only, [True, False, True]),
        ("9.2", nucleus_by_exp, [True, True, False]),
        ("9.3", of(attend, seen=lambda t, s, past: s >= 0 * t), [False, True, False]),
        ("9.7", lambda *args: torch.nan_to_num(gradient_at_once(*args) / (args[2].sum(1) > 0).all(), 0, 0, 0), [True, False, True]),
    ],
)
def test_points_by_property(judge, seed, id, answer, held):
    assert [result.ok for result in judge(id, answer, seed).results] == held


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("9.1", lambda l, i, n: nats(l, i, n)[0], "expected 2 values, (nats, words)"),
        ("9.1", lambda l, i, n: (-l.log_softmax(2).sum(), sum(n) - len(n)), "the word that it is about"),
        ("9.1", of(nats, each=lambda l, i: l.log_softmax(2).mean(2)), "beside each number the word"),
        ("9.1", lambda l, i, n: (nats(l, i, n)[0] + 1, nats(l, i, n)[1] + 1), "words is 16, expected 15"),
        ("9.1", lambda l, i, n: n[99], "IndexError"),
        ("9.2", lambda logits, p: nucleus(logits, p)[0], "expected (3, 9)"),
        ("9.2", lambda logits, p: nucleus(logits, p) > 0, "mark the words you keep"),
        ("9.2", lambda logits, p: nucleus(logits / 2, p), "Print row"),
        ("9.2", lambda logits, p: nucleus(logits, p).flip(1), "Print row"),
        ("9.2", lambda logits, p: torch.multinomial(nucleus(logits, p), 1), "has shape (3, 1)"),
        ("9.3", lambda q, k, v, past: attend(q, k, v, past)[None], "has shape (1, 3, 4)"),
        ("9.3", lambda q, k, v, past: attend(q, k, v, past).flip(0), "print yours"),
        ("9.3", lambda q, k, v, past: attend(k[past:], q.repeat(len(k), 1)[: len(k)], v, past), "gives the oldest word a weight of"),
        ("9.3", lambda q, k, v, past: q @ k @ v, "RuntimeError"),
        ("9.5", lambda w, T: scores(w, T)[:1], "scores has shape (1,)"),
        ("9.5", of(scores, finish=lambda found, T: found.median(1).values), "none in row 5 or before"),
        ("9.5", lambda w, T: 1 - scores(w, T), "as many as T = 6"),
        ("9.5", lambda w, T: {"scores": scores(w, T)}, "scores is a dict"),
        ("9.5", lambda w, T: w[:, 2 * T], "IndexError"),
        ("9.7", of(gradient, loss=summed, after=lambda g, mask, n: g.flip(0)), "and your divisor"),
        ("9.7", of(gradient, loss=summed, after=lambda g, mask, n: g[None]), "expected (4,)"),
        ("9.7", lambda x, y, m, w, n: w - gradient_at_once(x, y, m, w, n), "print what you add up"),
        ("9.7", lambda x, y, m, w, n: torch.tensor([0.0]).backward(), "RuntimeError"),
    ],
)
def test_other_faults_get_a_plain_message(judge, id, answer, phrase):
    verdict = judge(id, answer)
    assert not verdict.ok and phrase in verdict.message and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("id", RIGHT)
def test_nothing_is_diagnosed_by_chance(judge, seed, id):
    """Right numbers disturbed at random, or on every second case, are no known mistake."""
    right, rng, calls = RIGHT[id][0], np.random.default_rng(5), itertools.count()

    def disturbed(*args):
        found = [np.asarray(part, dtype=float) for part in (right(*args) if id == "9.1" else [right(*args)])]
        found = [part * rng.uniform(0.9, 1.1, part.shape) + 0.01 for part in found]
        return tuple(found) if id == "9.1" else found[0]

    def now_and_then(*args):
        return right(*args) if next(calls) % 2 else disturbed(*args)

    for answer in (disturbed, now_and_then):
        verdict = judge(id, answer, seed)
        assert not verdict.ok and not verdict.misconception, str(verdict)


@pytest.mark.parametrize("seed", range(70, 75))
def test_9_2_no_row_is_decided_by_rounding(cases, seed):
    for case in cases("9.2", seed):
        for row in torch.from_numpy(case.args["logits"]).double().softmax(1):
            best = row.sort(descending=True).values
            n = int((best.cumsum(0) < case.args["p"]).sum())
            assert (best.cumsum(0)[:-1] - case.args["p"]).abs().min() > 5e-3
            assert n + 1 == len(best) or best[n] - best[n + 1] > 5e-3
    assert {case.group for case in cases("9.2", seed)} == {"values", "best", "hard"}


@pytest.mark.parametrize("seed", range(70, 75))
def test_9_3_what_was_read_before_matters_wherever_a_mistake_could_earn_a_point(cases, seed):
    for case in cases("9.3", seed):
        (new, past), keys = (len(case.args["query"]), case.args["past"]), case.args["keys"]
        assert len(keys) == len(case.args["values"]) == past + new and (case.group == "hard" or past > 1)
        assert (new == 1) == (case.group == "one")


def test_9_5_maps_are_attention_and_the_score_finds_the_head(cases, seed):
    rng = np.random.default_rng(0 if seed is None else seed)
    found = {kind: exercise("9.5").reference(torch.from_numpy(induction.head(rng, kind, 9)[None]), 9) for kind in induction.LOOKS}
    assert max(found, key=found.get) == "induction" and found["induction"] > 0.3 > 2 * sorted(found.values())[-2]
    for case in cases("9.5", seed):
        maps = case.args["weights"]
        assert np.allclose(maps.sum(2), 1) and (np.triu(maps, 1) == 0).all()


# ---------------------------------------------------------------- 9.4 predict

PAID = {
    "gpt2_parameters": 124_439_808,
    "gpt2_untied_extra": 38_597_376,
    "cache_bytes": 37_748_736,
    "cache_bytes_grouped": 12_582_912,
    "reads_without_cache": 5050,
    "reads_with_cache": 100,
    "same_text": "no",
    "greedy_best": "no",
    "perplexity_uniform": 90,
}


@pytest.mark.parametrize(
    "answer",
    [
        PAID,
        {key: value if isinstance(value, str) else float(value) for key, value in PAID.items()},
        {**PAID, "same_text": False, "greedy_best": "No.", "perplexity_uniform": torch.tensor(math.log(90)).exp()},
        {**PAID, "gpt2_parameters": np.int64(124_439_808), "cache_bytes": 36 * 2**20},
    ],
)
def test_9_4_accepts_words_booleans_and_numbers(judge, answer):
    assert judge("9.4", answer).ok, str(judge("9.4", answer))


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("gpt2_parameters", 117_000_000, "what the paper prints"),
        ("gpt2_parameters", 124, "not millions"),
        ("gpt2_parameters", 124.4, "not a whole number"),
        ("gpt2_parameters", 163_037_184, "counted once"),
        ("gpt2_parameters", 124_439_808 - 1024 * 768, "positions are missing"),
        ("gpt2_parameters", 124_439_808 - 2 * 768, "one more at the end"),
        ("gpt2_parameters", 85_054_464, "These are the blocks"),
        ("gpt2_parameters", 124_439_808 - 12 * 9 * 768, "biases are missing"),
        ("gpt2_parameters", 124_439_808 + 50_257, "no bias"),
        ("gpt2_parameters", 124_000_001, "too small"),
        ("gpt2_untied_extra", 0, "a matrix of its own"),
        ("gpt2_untied_extra", 163_037_184, "Asked is what is added"),
        ("gpt2_untied_extra", 38_597_376 + 50_257, "no bias"),
        ("gpt2_untied_extra", 50_257 * 1024, "as long as the model is wide"),
        ("cache_bytes", 18_874_368, "One factor of 2"),
        ("cache_bytes", 75_497_472, "float32"),
        ("cache_bytes", 3_145_728, "factor of 12"),
        ("cache_bytes", 12 * 37_748_736, "do not multiply once more"),
        ("cache_bytes", 36, "in MiB"),
        ("cache_bytes", 37.7, "not a whole number"),
        ("cache_bytes", 8 * 37_748_736, "no cache keeps"),
        ("cache_bytes", 36_864, "what one word takes"),
        ("cache_bytes_grouped", 37_748_736, "fewer keys and values"),
        ("cache_bytes_grouped", 9_437_184, "how many are kept"),
        ("cache_bytes_grouped", 25_165_824, "both become fewer"),
        ("cache_bytes_grouped", 6_291_456, "One factor of 2"),
        ("reads_without_cache", 100, "That is with a cache"),
        ("reads_without_cache", 4950, "the prompt included"),
        ("reads_without_cache", 10_000, "a word at a time"),
        ("reads_without_cache", 5151, "never read"),
        ("reads_with_cache", 5050, "no word is read twice"),
        ("reads_with_cache", 101, "never read"),
        ("reads_with_cache", 99, "has to be read, too"),
        ("same_text", "yes", "can a later word change it"),
        ("greedy_best", True, "two words at its first branch"),
        ("perplexity_uniform", 4.5, "nats for each word"),
        ("perplexity_uniform", 6.49, "bits for each word"),
        ("perplexity_uniform", 0.01, "what it gives each word"),
        ("perplexity_uniform", 1, "in advance"),
        ("perplexity_uniform", None, "no prediction yet"),
    ],
)
def test_9_4_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("9.4", {**PAID, key: value})
    assert verdict.points == 8 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_9_4_no_wrong_value_stands_twice_or_is_right_and_no_message_tells(cases):
    asked = exercise("9.4")
    right = asked.reference(**cases("9.4", None)[0].args)
    assert right == PAID
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert len(set(values)) == len(values) and right[item.key] not in values, item.key
        numbers = [value for value in values if not isinstance(value, str)]
        assert all(abs(value - right[item.key]) > 2 * item.tolerance for value in numbers)
        assert not any(str(right[item.key]) in message.replace(",", "") for _, message in item.wrongs if numbers)


@pytest.mark.parametrize("name", ["gpt2", "gpt2-medium"])
def test_what_9_4_counts_are_the_parameters_of_the_model(name):
    with torch.device("meta"):
        tied, untied = (GPT(config) for config in (GPT2[name], GPTConfig(**{**vars(GPT2[name]), "tie_embeddings": False})))
    count, more = (sum(parameter.numel() for parameter in model.parameters()) for model in (tied, untied))
    assert count == paying.parameters(GPT2[name]) and more - count == 50_257 * GPT2[name].d_model
    assert name != "gpt2" or (count, more - count) == (PAID["gpt2_parameters"], PAID["gpt2_untied_extra"])


SMALL = {"d_model": 24, "n_heads": 6, "n_layers": 3, "max_len": 128}


@pytest.mark.parametrize("kv_heads", [6, 2])
def test_what_9_4_says_of_the_cache_is_what_it_holds(kv_heads):
    model = GPT(GPTConfig(50, **SMALL, n_kv_heads=kv_heads)).double()
    _, state = model.start(torch.randint(50, (1, 17)))
    held = [part for cache in state.caches for part in cache.read()]
    assert sum(part.numel() * part.element_size() for part in held) == paying.cache_bytes(model.config, 16, 8, kv_heads)


def test_what_9_4_says_of_words_read_and_said_holds():
    """A hundred words after a prompt of one, with the cache and without."""
    torch.manual_seed(0)
    model, read = GPT(GPTConfig(50, **SMALL)).double().eval(), []
    model.embedding.register_forward_hook(lambda module, inputs, output: read.append(inputs[0].numel()))
    with_cache = greedy(model, torch.tensor([[7]]), eos_id=-1, max_len=100).ids[0]
    assert sum(read) == PAID["reads_with_cache"]
    read.clear()
    text = [7]
    with torch.no_grad():
        for _ in range(100):
            text.append(int(model(torch.tensor([text]))[0, -1].argmax()))
    assert text[1:] == with_cache and len(set(text)) > 3 and sum(read) == PAID["reads_without_cache"]


# ---------------------------------------------------------------- 9.6 measure


def text_backwards(start, table, end, length):
    """From the end: the best log-probability of what may follow a word, with so many words left."""
    log_p = [*table.log().tolist(), start.log().tolist()]
    words = [word for word in range(len(start)) if word != end]

    @functools.cache
    def rest(last, left):
        found = [(log_p[last][end], end)]
        if left > 1:
            found += [(log_p[last][word] + rest(word, left - 1)[0], word) for word in words]
        return max(found)

    text = [rest(len(start), length)[1]]
    while text[-1] != end:
        text.append(rest(text[-1], length - len(text))[1])
    return text


def text_by_heap(start, table, end, length):
    """Beginnings in the order of their probability (Dijkstra): the first that ends is the best."""
    log_start, log_p = start.log().tolist(), table.log().tolist()
    heap, seen = [(0.0, [])], set()
    while heap:
        cost, text = heapq.heappop(heap)
        if text and text[-1] == end:
            return text
        if (key := (text[-1] if text else None, len(text))) in seen or len(text) == length:
            continue
        seen.add(key)
        for word, value in enumerate(log_p[text[-1]] if text else log_start):
            heapq.heappush(heap, (cost - value, [*text, word]))


def text_by_tensors(start, table, end, length):
    score, steps, found = start.log(), [], []
    for n in range(length):
        found.append((score[end].item(), n))
        alive = score.clone()
        alive[end] = -torch.inf
        score, before = (alive[:, None] + table.log()).max(0)
        steps.append(before)
    _, n = max(found)
    text = [end]
    for before in reversed(steps[:n]):
        text.insert(0, before[text[0]])
    return torch.tensor([int(word) for word in text])


class Speaker(Decodable):
    """One table as a model for the course's beam search."""

    def __init__(self, start, table):
        self.rows = torch.cat([table, start[None]]).log()

    def start(self):
        return torch.tensor([len(self.rows) - 1]), None

    def step(self, token, state):
        return self.rows[token], state

    def reorder(self, state, index):
        return state


def text_by_beam(start, table, end, length, *, width=300, penalty=0.0):
    said = beam_search(Speaker(start, table), beam_size=width, eos_id=end, max_len=length, length_penalty=penalty)
    return [*said.ids[0][: length - 1], end]


def text_once(start, table, end, length):
    return [*greedy(Speaker(start, table), eos_id=end, max_len=length).ids[0][: length - 1], end]


def text_drawn(start, table, end, length, *, times=100):
    rows = torch.cat([table, start[None]]).numpy()
    sums, best = rows.cumsum(1), (rows[-1][end], [end])
    for _ in range(times):
        text, p = [], 1.0
        while len(text) < length and end not in text:
            row = text[-1] if text else len(start)
            text.append(min(int(sums[row].searchsorted(np.random.rand())), end))
            p *= rows[row][text[-1]]
        best = max(best, (p, text)) if text[-1] == end else best
    return best[1]


def text_per_word(start, table, end, length):
    rows = torch.cat([table, start[None]]).log()
    layer, found = {len(start): (0.0, [])}, []
    for n in range(1, length + 1):
        after = {}
        for last, (score, text) in layer.items():
            for word, value in enumerate(rows[last].tolist()):
                if word == end:
                    found.append(((score + value) / n, [*text, end]))
                elif word not in after or after[word][0] < score + value:
                    after[word] = score + value, [*text, word]
        layer = after
    return max(found)[1]


def text_longest(start, table, end, length):
    layer = {word: (value, [word]) for word, value in enumerate(start.log().tolist()) if word != end}
    log_p = table.log().tolist()
    for _ in range(length - 2):
        layer = {
            word: max((score + log_p[last][word], [*text, word]) for last, (score, text) in layer.items())
            for word in range(len(start)) if word != end
        }
    return [*max((score + log_p[last][end], text) for last, (score, text) in layer.items())[1], end]


def text_by_places(start, table, end, length):
    share, text = start.clone(), []
    while len(text) < length - 1:
        text.append(int(share.argmax()))
        if text[-1] == end:
            return text
        share[end] = 0
        share = share @ table
    return [*text, end]


def text_from_anywhere(start, table, end, length):
    flat = torch.ones_like(start)
    flat[end] = 1e-30
    return text_by_tensors(flat, table, end, length)


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [text_backwards, text_by_heap, text_by_tensors, text_by_beam])
def test_9_6_accepts_other_ways(judge, seed, answer):
    verdict = judge("9.6", answer, seed)
    assert verdict.ok and verdict.message == "40 of 40 texts are the most probable ones.", str(verdict)


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("answer", "points", "name", "phrase"),
    [
        (text_once, 0, "greedy", "What comes after it plays no part"),
        (of(text_by_beam, width=1), 0, "greedy", "and it may be bad"),
        (of(text_by_beam, width=2), 1, "a beam", "a beam of 2"),
        (of(text_by_beam, width=3), 1, "a beam", "depends on its last word alone"),
        (of(text_by_beam, width=4), 2, "a beam", "a beam of 4"),
        (of(text_by_beam, width=8), 2, "", "how many can go on to become the best text?"),
        (text_per_word, None, "per word", "You divide log p by the number of words"),
        (of(text_by_beam, width=40, penalty=1.0), None, "per word", "words that say nothing, but are sure"),
        (of(text_drawn, times=30), None, "one word is better", "Texts that are drawn look like that"),
        (text_longest, 0, "as long as allowed", "the most there may be"),
        (text_by_places, 0, "place by place", "another word before it"),
        (text_from_anywhere, 0, "start ignored", "how probable each is"),
        (lambda s, t, end, n: text_by_tensors(s, t.T, end, n), 0, "transposed", "the rows sum to 1"),
        (lambda s, t, end, n: text_by_tensors(s.exp(), t.exp(), end, n), 0, "probabilities added", "their product"),
        (lambda s, t, end, n: [end], 0, "nothing said", "hardly a probable one"),
        (lambda *args: text_by_tensors(*args)[:-1], 0, "does not end", "expected `end`"),
        (lambda *args: text_by_tensors(*args).flip(0), 0, "backwards", "from back to front"),
        (lambda s, t, end, n: [*text_longest(s, t, end, n - 1), end], 0, "goes on after the end", "goes on after its end"),
        (lambda s, t, end, n: text_longest(s, t, end, n + 1), 0, "too long", "does the end count, too?"),
    ],
)
def test_9_6_names_what_went_wrong(judge, seed, answer, points, name, phrase):
    verdict = judge("9.6", answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert verdict.points == points if points is not None else verdict.points < 3


def test_9_6_half_of_a_way_is_not_that_way(judge, seed):
    def mixed(start, table, end, length):
        return (text_once if start[0] > start[1] else text_by_tensors)(start, table, end, length)

    assert judge("9.6", mixed, seed).misconception == "one word is better"


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda s, t, end, n: 3, "got an int"),
        (lambda s, t, end, n: [], "an empty one"),
        (lambda s, t, end, n: [end + 1, end], "whole numbers from 0 to 32"),
        (lambda s, t, end, n: [-1, end], "whole numbers from 0 to 32"),
        (lambda s, t, end, n: [0.5, end], "whole numbers"),
        (lambda s, t, end, n: [math.nan, end], "whole numbers"),
        (lambda s, t, end, n: ["a", end], "whole numbers"),
        (lambda s, t, end, n: [True, end], "whole numbers"),
        (lambda s, t, end, n: torch.zeros(2, 2), "got one array of shape (2, 2)"),
        (lambda s, t, end, n: text_by_tensors(s, t, end, n).tolist() * 9, "words, and 8 are the most"),
        (lambda s, t, end, n: (text_by_tensors(s, t, end, n), 0.1), "whole numbers"),
        (lambda s, t, end, n: t[99], "IndexError"),
        (lambda s, t, end, n: [].clear(), "is a `return` missing?"),
    ],
)
def test_9_6_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("9.6", answer)
    assert verdict.points == 0 and phrase in verdict.message and verdict.message.startswith("table 0: "), str(verdict)


@pytest.mark.parametrize("n", range(20))
def test_9_6_the_best_is_the_best_of_all_texts(n):
    rng = np.random.default_rng(n)
    start, table, length = rng.dirichlet(np.ones(4)), rng.dirichlet(np.full(4, 0.4), size=4), int(rng.integers(1, 6))
    case = tables.Table(start, table, int(rng.integers(4)), length)
    words = [word for word in range(4) if word != case.end]
    texts = [[*before, case.end] for k in range(length) for before in itertools.product(words, repeat=k)]

    def probability(text):
        return start[text[0]] * math.prod(table[a, b] for a, b in itertools.pairwise(text))

    due = max(texts, key=probability)
    assert tables.best(case) == due == text_backwards(torch.from_numpy(start), torch.from_numpy(table), case.end, length)
    assert case.log_p(due) == pytest.approx(math.log(probability(due)))
    found = [text for _, text in tables.best_by_length(case)]
    assert found == [max((text for text in texts if len(text) == k + 1), key=probability) for k in range(length)]


@pytest.mark.parametrize("seed", range(80, 83))
def test_9_6_ways_are_far_apart_on_every_draw(seed):
    drawn = tables.draw_tables(np.random.default_rng(seed))

    def short(texts):
        return np.mean([table.log_p(tables.best(table)) - table.log_p(text) for table, text in zip(drawn, texts)])

    once, two, four, wide = short(map(tables.greedy, drawn)), *(short(tables.beams(drawn, width)) for width in (2, 4, 300))
    assert two < 0.78 * once and short(map(probable._cut, drawn)) > 0.84 * once and 1.3 * four < two and four > 0.05 and wide < 1e-9
    assert all(abs(table.table.sum(1) - 1).max() < 1e-9 and table.table.min() > 0 for table in drawn)
