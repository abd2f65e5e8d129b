"""Beyond the named mistakes: operators, axes, scales, masks and indices of right answers, changed one by one.

A mutant that gives other values on any of several draws must not get full points on one secret draw.
"""

import ast
import copy
import inspect
import textwrap

import numpy as np
import pytest
import torch

from course_lib.exercises import draws, exercise, judging
from course_lib.exercises.answers import outputs_of


def gru_step(x, h, W, U, b, c):
    (r, z, n), (u, v, w) = (x @ W.T + b).chunk(3, 1), (h @ U.T + c).chunk(3, 1)
    r, z = torch.sigmoid(r + u), torch.sigmoid(z + v)
    return (1 - z) * torch.tanh(n + r * w) + z * h


def masked_loss(logits, targets, mask):
    chosen = logits.gather(-1, targets[..., None])[..., 0]
    nll = logits.logsumexp(dim=-1) - chosen
    return nll.masked_fill(~mask, 0).sum() / mask.sum()


def make_decoder_batch(targets, bos, eos, pad):
    longest = max(len(row) for row in targets) + 1
    ins = [[bos] + row + [pad] * (longest - len(row) - 1) for row in targets]
    outs = [row + [eos] + [pad] * (longest - len(row) - 1) for row in targets]
    mask = [[t <= len(row) for t in range(longest)] for row in targets]
    return torch.tensor(ins), torch.tensor(outs), torch.tensor(mask)


def beam_step(scores, log_probs):
    total = scores[:, None] + log_probs
    best, place = total.flatten().topk(scores.shape[0])
    return best, place // log_probs.shape[1], place % log_probs.shape[1]


def additive_attention(query, keys, mask, W, U, v):
    scores = torch.tanh((query @ W.T)[:, None, :] + keys @ U.T) @ v
    scores = scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=1).masked_fill(~mask, 0)
    return (weights[:, :, None] * keys).sum(dim=1), weights


def attend_all(queries, keys, values):
    scores = queries @ keys.transpose(1, 2)
    scores = scores - scores.amax(dim=2, keepdim=True)
    weights = scores.exp() / scores.exp().sum(dim=2, keepdim=True)
    return weights @ values


def alignment_error_rate(predicted, sure, possible):
    hits = total = 0
    for a, s, p in zip(predicted, sure, possible, strict=True):
        hits = hits + len(a & s) + len(a & (p | s))
        total = total + len(a) + len(s)
    return 1 - hits / total if total > 0 else 0.0


def reverse_within(x, lengths):
    places = torch.arange(x.shape[1])[None, :]
    source = torch.where(places < lengths[:, None], lengths[:, None] - 1 - places, places)
    return torch.take_along_dim(x, source[..., None], dim=1)


def attention(query, key, value, mask):
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    scores = scores if mask is None else scores.masked_fill(~mask, -torch.inf)
    weights = scores.softmax(dim=3)
    weights = weights if mask is None else weights.masked_fill(~mask, 0)
    return weights @ value, weights


def split_merge(x, y, n_heads):
    heads = x.reshape(x.shape[0], x.shape[1], n_heads, x.shape[2] // n_heads).transpose(1, 2)
    merged = y.transpose(1, 2).reshape(y.shape[0], y.shape[2], y.shape[1] * y.shape[3])
    return heads, merged


def multi_head(x, W_q, W_k, W_v, W_o, n_heads, causal):
    query = (x @ W_q.T).unflatten(2, (n_heads, -1)).transpose(1, 2)
    key = (x @ W_k.T).unflatten(2, (n_heads, -1)).transpose(1, 2)
    value = (x @ W_v.T).unflatten(2, (n_heads, -1)).transpose(1, 2)
    scores = query @ key.transpose(2, 3) / query.shape[3] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(x.shape[1], x.shape[1]).triu(1) > 0, -torch.inf)
    return (scores.softmax(dim=3) @ value).transpose(1, 2).flatten(2) @ W_o.T


def positional(T, d_model):
    column = torch.arange(d_model)
    angle = torch.arange(T)[:, None] / 10000 ** ((column - column % 2) / d_model)
    return torch.where(column % 2 < 1, angle.sin(), angle.cos())


def cached_step(x, keys, values, W_q, W_k, W_v, W_o):
    B, H, _, D = keys.shape
    keys = torch.cat([keys, (x @ W_k.T).view(B, H, 1, D)], dim=2)
    values = torch.cat([values, (x @ W_v.T).view(B, H, 1, D)], dim=2)
    scores = (x @ W_q.T).view(B, H, 1, D) @ keys.transpose(2, 3) / D**0.5
    return (scores.softmax(dim=3) @ values).flatten(1) @ W_o.T, keys, values


def layer_norm(x, gain, bias, eps):
    centred = x - x.mean(dim=-1, keepdim=True)
    variance = (centred * centred).mean(dim=-1, keepdim=True)
    return centred / (variance + eps) ** 0.5 * gain + bias


def replace_pair(ids, pair, new):
    out, used = [], False
    for i in range(len(ids)):
        if used:
            used = False
        elif i + 1 < len(ids) and (ids[i], ids[i + 1]) == pair:
            out.append(new)
            used = True
        else:
            out.append(ids[i])
    return out


def learn(words, n_merges):
    merges = []
    for new in range(256, 256 + n_merges):
        counts = {}
        for ids, count in words:
            for i in range(len(ids) - 1):
                counts[ids[i], ids[i + 1]] = counts.get((ids[i], ids[i + 1]), 0) + count
        if not counts:
            return merges
        best = sorted(counts, key=lambda pair: (-counts[pair], pair[0], pair[1]))[0]
        merges.append(best)
        after = []
        for ids, count in words:
            out, used = [], False
            for i in range(len(ids)):
                if used:
                    used = False
                elif i + 1 < len(ids) and (ids[i], ids[i + 1]) == best:
                    out.append(new)
                    used = True
                else:
                    out.append(ids[i])
            after.append((out, count))
        words = after
    return merges


def encode(ids, merges):
    for rank in range(len(merges)):
        out, used = [], False
        for i in range(len(ids)):
            if used:
                used = False
            elif i + 1 < len(ids) and (ids[i], ids[i + 1]) == merges[rank]:
                out.append(256 + rank)
                used = True
            else:
                out.append(ids[i])
        ids = out
    return ids


def pieces(chunks):
    texts, waiting = [], []
    for chunk in chunks:
        text = ""
        for byte in chunk:
            waiting = [*waiting, byte]
            if len(waiting) == 1 + (waiting[0] >= 192) + (waiting[0] >= 224) + (waiting[0] >= 240):
                text = text + bytes(waiting).decode()
                waiting = []
        texts.append(text)
    if waiting:
        texts[-1] = texts[-1] + chr(65533)
    return texts


def blank_loss(logits, targets, chosen):
    scores = logits.masked_fill(~chosen[:, :, None], 0)
    nll = scores.logsumexp(dim=-1) - scores.gather(-1, targets[..., None])[..., 0]
    return nll.masked_fill(~chosen, 0).sum() / chosen.sum()


def pack_two(first, second, cls_id, sep_id, pad_id, length):
    for _ in range(len(first) + len(second) + 3 - length):
        if len(second) < len(first):
            first = first[:-1]
        else:
            second = second[:-1]
    ids = [cls_id, *first, sep_id, *second, sep_id]
    ids = ids + [pad_id] * (length - len(ids))
    segments = [len(first) + 2 <= t and t < len(first) + len(second) + 3 for t in range(length)]
    mask = [t < len(first) + len(second) + 3 for t in range(length)]
    return ids, segments, mask


def pair_loss(logits, follows):
    pairs = follows > -1
    other = logits.flip(1) - logits
    nll = torch.nn.functional.softplus(other).gather(1, (follows * pairs)[:, None])[:, 0]
    return (nll * pairs).sum() / max(1, pairs.sum())


def label_pieces(words, labels, pieces, cls_id, sep_id):
    ids, found, counts = [cls_id], [0], [False]
    for k in range(len(words)):
        for n in range(len(pieces[words[k]])):
            ids = [*ids, pieces[words[k]][n]]
            found = [*found, labels[k]]
            counts = [*counts, n < 1]
    return [*ids, sep_id], [*found, 0], [*counts, False]


def find_span(start, end, allowed, longest):
    places = torch.arange(start.shape[0])
    length = places[None, :] - places[:, None] + 1
    may = allowed[:, None] & allowed[None, :] & (length > 0) & (length <= longest)
    best = (start[:, None] + end[None, :]).masked_fill(~may, -torch.inf).argmax()
    return best // start.shape[0], best % start.shape[0]


def place_answer(question, context, answer, max_len, stride, cls_id, sep_id):
    before, room = len(question) + 2, max_len - len(question) - 3
    rows = []
    for start in range(0, max(len(context) - room, 0) + stride, stride):
        ids = [cls_id, *question, sep_id, *context[start : start + room], sep_id]
        place = (answer[0] - start + before, answer[1] - start + before)
        rows = [*rows, (ids, place if start <= answer[0] and answer[1] < start + room else (0, 0))]
    return rows


def mean_vector(x, mask):
    total = x.masked_fill(~mask[:, :, None], 0).sum(dim=1)
    return total / mask.sum(dim=1)[:, None].clamp(min=1)


def nats_per_word(logits, ids, lengths):
    chosen = logits[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    nll = logits[:, :-1].logsumexp(dim=-1) - chosen
    real = torch.arange(ids.shape[1] - 1)[None, :] < torch.tensor(lengths)[:, None] - 1
    return nll[real].sum(), real.sum()


def nucleus(logits, p):
    best, order = logits.softmax(dim=1).sort(dim=1, descending=True)
    kept = best * (best.cumsum(dim=1) - best < p)
    kept = torch.zeros_like(kept).scatter(1, order, kept)
    return kept / kept.sum(dim=1, keepdim=True)


def attend(query, keys, values, past):
    scores = query @ keys.transpose(0, 1) / query.shape[1] ** 0.5
    places = torch.arange(query.shape[0])[:, None] + past
    scores = scores.masked_fill(torch.arange(keys.shape[0])[None, :] - places > 0, -torch.inf)
    return scores.softmax(dim=1) @ values


def induction_scores(weights, T):
    places = torch.arange(T)
    return weights[:, T + places, places + 1].sum(dim=1) / T


def gradient(x, y, mask, w, n_micro):
    total = words = 0
    for k in range(n_micro):
        rows = slice(k * x.shape[0] // n_micro, (k + 1) * x.shape[0] // n_micro)
        off = ((x[rows] @ w) - y[rows]) * mask[rows]
        total = total + (2 * off[:, :, None] * x[rows]).sum(dim=(0, 1))
        words = words + mask[rows].sum()
    return total / words


def talk_ids(turns, bos, user, assistant, end):
    ids, counted = [bos], [False]
    for turn in turns:
        speaks = turn[0] == "assistant"
        ids = [*ids, (user, assistant)[speaks], *turn[1], end]
        counted = [*counted, False, *[speaks] * (len(turn[1]) + 1)]
    return ids, counted


def talk_batch(conversations, pad_id, end_id):
    longest = max([len(talk[0]) for talk in conversations])
    rows = torch.tensor([talk[0] + [pad_id] * (longest - len(talk[0])) for talk in conversations])
    marks = torch.tensor([talk[1] + [False] * (longest - len(talk[0])) for talk in conversations])
    return rows[:, :-1], rows[:, 1:], marks[:, 1:]


def who_hears(lengths, T):
    segments, positions = [], []
    for k in range(len(lengths)):
        segments = segments + [k + 1] * lengths[k]
        positions = positions + list(range(lengths[k]))
    segments = torch.tensor(segments + [0] * (T - len(segments)))
    places = torch.arange(T)
    allowed = (segments[:, None] - segments[None, :] == 0) & (places[None, :] <= places[:, None]) & (segments[:, None] > 0)
    return allowed, positions + [0] * (T - len(positions))


def low_rank(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return x @ W.T + scale * ((x @ A.T) @ B.T), W + scale * (B @ A)


def climb(wins):
    wins = wins.double()
    scores = torch.zeros(wins.shape[0], dtype=torch.float64)
    games = wins + wins.transpose(0, 1)
    for _ in range(9):
        p = torch.sigmoid(scores[:, None] - scores[None, :])
        bend = games * p * (1 - p)
        bend = torch.diag(bend.sum(dim=1)) - bend + torch.ones_like(bend)
        scores = scores + torch.linalg.solve(bend, (wins - games * p).sum(dim=1))
    return scores - scores.mean()


def credit(rewards, values, mask, gamma, lam):
    rewards, values = rewards.masked_fill(~mask, 0), values.masked_fill(~mask, 0)
    columns, gain, value = [], 0, 0
    for t in range(mask.shape[1] - 1, -1, -1):
        gain = (rewards[:, t] + gamma * value - values[:, t] + gamma * lam * gain) * mask[:, t]
        value = values[:, t]
        columns = [gain, *columns]
    return torch.stack(columns, dim=1)


def clipped(new, old, reference, advantages, mask, epsilon):
    ratio = (new - old)[mask].exp()
    limited = ratio.clamp(1 - epsilon, 1 + epsilon)
    return -torch.minimum(ratio * advantages[mask], limited * advantages[mask]).mean()


def distance(log_p, log_q):
    return (log_q - log_p).exp() - 1 - (log_q - log_p)


def preferred(chosen, rejected, ref_chosen, ref_rejected, chosen_mask, rejected_mask, beta):
    better = (chosen - ref_chosen).masked_fill(~chosen_mask, 0).sum(dim=1)
    worse = (rejected - ref_rejected).masked_fill(~rejected_mask, 0).sum(dim=1)
    return torch.nn.functional.softplus(beta * (worse - better)).mean()


def relative(scores):
    centred = scores - scores.mean(dim=1)[:, None]
    spread = (centred * centred).mean(dim=1)[:, None] ** 0.5
    return (centred / spread).masked_fill(scores.amax(dim=1)[:, None] <= scores.amin(dim=1)[:, None], 0)


ANSWERS = {
    "2.1": gru_step,
    "2.2": masked_loss,
    "2.3": make_decoder_batch,
    "2.5": beam_step,
    "3.1": additive_attention,
    "3.2": attend_all,
    "3.4": alignment_error_rate,
    "3.6": reverse_within,
    "4.1": attention,
    "4.4": split_merge,
    "4.6": multi_head,
    "5.1": positional,
    "5.3": cached_step,
    "5.5": layer_norm,
    "6.1": replace_pair,
    "6.2": learn,
    "6.3": encode,
    "6.5": pieces,
    "7.2": blank_loss,
    "7.3": pack_two,
    "7.5": pair_loss,
    "8.1": label_pieces,
    "8.2": find_span,
    "8.3": place_answer,
    "8.4": mean_vector,
    "9.1": nats_per_word,
    "9.2": nucleus,
    "9.3": attend,
    "9.5": induction_scores,
    "9.7": gradient,
    "12.1": talk_ids,
    "12.2": talk_batch,
    "12.3": who_hears,
    "12.4": low_rank,
    "13.1": climb,
    "13.2": credit,
    "13.3": clipped,
    "13.4": distance,
    "13.5": preferred,
    "13.6": relative,
}
OPERATORS = {
    ast.Add: [ast.Sub, ast.Mult],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div, ast.Add],
    ast.Div: [ast.Mult, ast.FloorDiv],
    ast.FloorDiv: [ast.Mod, ast.Div],
    ast.Mod: [ast.FloorDiv],
    ast.MatMult: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
}
COMPARISONS = {ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE]}
NAMES = {
    "tanh": ["sigmoid", "relu"],
    "sigmoid": ["tanh"],
    "softmax": ["log_softmax"],
    "sum": ["mean", "prod"],
    "amax": ["amin"],
    "exp": ["log1p"],
    "logsumexp": ["amax"],
    "max": ["min"],
    "gather": ["scatter"],
    "inf": ["pi"],
}


def variants(node, names):
    """Replacements for one node of the syntax tree."""
    if isinstance(node, ast.BinOp):
        yield from (ast.BinOp(node.left, kind(), node.right) for kind in OPERATORS.get(type(node.op), []))
        yield from (node.left, node.right, ast.BinOp(node.right, node.op, node.left))
    elif isinstance(node, ast.Compare):
        yield from (
            ast.Compare(node.left, [kind()], node.comparators)
            for kind in COMPARISONS.get(type(node.ops[0]), [])
        )
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield from (
            ast.Constant(value)
            for value in (node.value + 1, node.value - 1, -node.value)
            if value != node.value
        )
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield from (ast.Attribute(node.value, other, node.ctx) for other in NAMES.get(node.attr, []))
        if node.attr == "T":
            yield node.value
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and not isinstance(node.func.value, ast.Name)
    ):
        yield node.func.value  # the call left out
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        yield from (ast.Name(other, node.ctx) for other in names if other != node.id)
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        yield ast.Tuple([node.elts[1], node.elts[0], *node.elts[2:]], node.ctx)


def mutants(function):
    """Every function with one change, and its source text."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = [arg.arg for arg in tree.body[0].args.args]
    places = [
        (parent, field, index)
        for parent in ast.walk(tree)
        for field, value in ast.iter_fields(parent)
        for index in (range(len(value)) if isinstance(value, list) else [None])
        if isinstance(value[index] if index is not None else value, ast.expr)
    ]
    for parent, field, index in places:
        holder = getattr(parent, field)
        original = holder if index is None else holder[index]
        for changed in variants(original, names):
            _put(parent, field, index, copy.deepcopy(changed))
            source = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, index, original)
            scope = {"torch": torch}
            exec(compile(source, "<mutant>", "exec"), scope)
            yield scope[function.__name__], source


def _put(parent, field, index, node):
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def changes(id, mutant, original, samples):
    """True if a mutant gives other values on some case."""
    asked = exercise(id)
    read = asked.examine.read
    for cases in samples:
        inputs = [case.args for case in cases]
        for new, old in zip(outputs_of(mutant, inputs), outputs_of(original, inputs), strict=True):
            if new.status != "value":
                return True
            try:
                same = judging.same(read(new.value), read(old.value))
            except ValueError:
                return True
            if not same:
                return True
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", ANSWERS)
def test_mutants_are_rejected(id):
    asked, original = exercise(id), ANSWERS[id]
    cases = asked.inputs(draws(id, 31))
    samples = [asked.inputs(np.random.default_rng(1000 + n)) for n in range(3)]
    changed = survived = 0
    left = []
    for mutant, source in mutants(original):
        accepted = asked.judge(cases, outputs_of(mutant, [case.args for case in cases])).ok
        if not accepted:
            changed += 1
        elif changes(id, mutant, original, samples):
            changed += 1
            survived += 1
            left.append(source)
    assert asked.judge(cases, outputs_of(original, [case.args for case in cases])).ok
    assert changed >= 15 and survived <= 0.05 * changed, "\n".join(
        [f"{survived} of {changed} survive:", *left]
    )
