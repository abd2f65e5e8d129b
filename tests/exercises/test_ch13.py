"""Chapter 13: right answers of several makes accepted, named wrong ones rejected with their message."""

import itertools
import math
from collections import Counter
from functools import partial as of

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises import exercise
from course_lib.exercises.ch12.town import manners, words
from course_lib.exercises.ch13 import scoring, strengths

# ---------------------------------------------------------------- 13.1 strengths


def strengths_by_turns(wins):
    """Hunter (2004): each strength is set to what the others make likely, again and again."""
    wins = wins.double()
    games, p = wins + wins.T, torch.ones(len(wins), dtype=torch.float64)
    for _ in range(600):
        p = wins.sum(1) / (games / (p[:, None] + p)).sum(1)
        p = p / p.sum()
    return p.log() - p.log().mean()


def strengths_by_descent(wins):
    """torch's quasi-Newton on the likelihood."""
    wins, scores = wins.double(), torch.zeros(len(wins), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([scores], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = -(wins * F.logsigmoid(scores[:, None] - scores)).sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return (scores - scores.mean()).detach()


def strengths_climbing(wins, *, steps=4000, rate=2.0):
    """Plain gradient ascent, stopped near the top."""
    wins = wins.numpy().astype(float)
    games, scores = wins + wins.T, np.zeros(len(wins))
    for _ in range(steps):
        p = 1 / (1 + np.exp(scores - scores[:, None]))
        scores += rate * (wins - games * p).sum(1) / games.sum()
    return scores - scores.mean()


def strengths_games_ignored(wins):
    games = wins + wins.T
    return strengths_by_turns(torch.where(games > 0, wins / games.clamp(min=1), 0))


def elo_once(wins):
    scores = np.zeros(len(wins))
    for i, j in itertools.permutations(range(len(wins)), 2):
        for _ in range(int(wins[i, j])):
            step = 0.05 / (1 + math.exp(scores[i] - scores[j]))
            scores[i], scores[j] = scores[i] + step, scores[j] - step
    return scores


# ---------------------------------------------------------------- 13.2 credit


def credit(rewards, values, mask, gamma, lam):
    rewards, values = rewards.masked_fill(~mask, 0), values.masked_fill(~mask, 0)
    out, after, value = torch.zeros_like(rewards), 0, 0
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * value - values[:, t]
        after = (delta + gamma * lam * after) * mask[:, t]
        value = values[:, t]
        out[:, t] = after
    return out


def credit_by_rows(rewards, values, mask, gamma, lam):
    out = torch.zeros(mask.shape, dtype=torch.float64)
    for b in range(len(mask)):
        r, v = rewards[b][mask[b]].tolist(), [*values[b][mask[b]].tolist(), 0.0]
        found, after = [], 0.0
        for t in reversed(range(len(r))):
            after = r[t] + gamma * v[t + 1] - v[t] + gamma * lam * after
            found.insert(0, after)
        out[b][mask[b]] = torch.tensor(found, dtype=torch.float64)
    return out


def credit_by_matrix(rewards, values, mask, gamma, lam):
    """All δ times powers of γλ, as one triangular matrix."""
    real, T = mask.numpy(), mask.shape[1]
    r, v = (np.where(real, part.numpy().astype(float), 0) for part in (rewards, values))
    delta = np.where(real, r + gamma * np.pad(v, ((0, 0), (0, 1)))[:, 1:] - v, 0)
    gap = np.arange(T)[None, :] - np.arange(T)[:, None]
    powers = np.where(gap >= 0, (gamma * lam) ** np.maximum(gap, 0.0), 0)
    return np.where(real, delta @ powers.T, 0)


def credit_of(rewards, values, mask, gamma, lam, *, delta=lambda r, v, after, g, l: r + g * after - v, decay=lambda g, l: g * l,
              end=lambda v: 0.0, forwards=False, finish=lambda found, v: found):
    out = torch.zeros(mask.shape, dtype=torch.float64)
    for b, real in enumerate(mask):
        if real.any():
            r, v = rewards[b][real].double(), values[b][real].double()
            deltas = delta(r, v, torch.cat([v[1:], torch.tensor([float(end(v))], dtype=torch.float64)]), gamma, lam)
            found, so_far = torch.zeros_like(deltas), 0
            for t in range(len(deltas)) if forwards else reversed(range(len(deltas))):
                so_far = deltas[t] + decay(gamma, lam) * so_far
                found[t] = so_far
            out[b][real] = finish(found, v)
    return out


def credit_leaking(rewards, values, mask, gamma, lam):
    whole = credit(rewards, values, torch.ones_like(mask), gamma, lam)
    return whole * mask


# ---------------------------------------------------------------- 13.3 surrogate


def surrogate(new, old, reference, advantages, mask, epsilon):
    ratio, advantage = (new[mask] - old[mask]).exp(), advantages[mask]
    return -torch.min(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage).mean()


def surrogate_looped(new, old, reference, advantages, mask, epsilon):
    gains = []
    for b, t in mask.nonzero().tolist():
        ratio, advantage = math.exp(new[b, t] - old[b, t]), float(advantages[b, t])
        gains.append(min(ratio * advantage, min(max(ratio, 1 - epsilon), 1 + epsilon) * advantage))
    return -sum(gains) / len(gains)


def surrogate_by_losses(new, old, reference, advantages, mask, epsilon):
    """As PPO's code is often written: the larger of two losses, zeros where nothing counts."""
    zero = torch.zeros((), dtype=torch.float64)
    ratio = torch.exp(torch.where(mask, new - old, zero))
    advantage = torch.where(mask, advantages, zero)
    losses = torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 1 - epsilon, 1 + epsilon))
    return losses.sum() / mask.sum()


def surrogate_by_cases(new, old, reference, advantages, mask, epsilon):
    """The limit depends on the advantage's sign alone (Achiam 2018)."""
    ratio, advantage = np.exp((new - old).numpy()[mask.numpy()]), advantages.numpy()[mask.numpy()]
    return -np.minimum(ratio * advantage, np.where(advantage > 0, 1 + epsilon, 1 - epsilon) * advantage).mean()


def surrogate_planted(new, old, reference, advantages, mask, epsilon):
    ratio = (new - reference).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    return -torch.minimum(ratio * advantages, clipped * advantages).mean()


def clip(new, old, ref, advantages, mask, epsilon, *, to="old", both=torch.minimum, mean=lambda x, m: x[m].mean(), clamp=None, sign=-1):
    ratio = (new - {"old": old, "ref": ref}[to]).exp()
    clipped = clamp(ratio, epsilon) if clamp else ratio.clamp(1 - epsilon, 1 + epsilon)
    return sign * mean(both(ratio * advantages, clipped * advantages), mask)


# ---------------------------------------------------------------- 13.4 k3


def k3(log_p, log_q):
    log_r = log_q - log_p
    return torch.expm1(log_r) - log_r


def k3_looped(log_p, log_q):
    return [math.exp(q - p) - 1 - (q - p) for p, q in zip(log_p.tolist(), log_q.tolist())]


def k3_by_numpy(log_p, log_q):
    ratio = np.exp(log_q.numpy().astype(float)) / np.exp(log_p.numpy().astype(float))
    return ratio - 1 - np.log(ratio)


def k3_by_library(log_p, log_q):
    """kl_div gives q (log q − log p) for each, here with both parts exchanged by hand."""
    return F.kl_div(log_q.double(), log_p.double(), reduction="none", log_target=True) / log_p.double().exp() + (log_q - log_p).exp() - 1


def k3_planted(log_p, log_q):
    ratio = (log_p - log_q).exp()
    return (ratio - 1) - (log_q - log_p)


# ---------------------------------------------------------------- 13.5 preference_loss


def preference(c, r, c0, r0, c_mask, r_mask, beta):
    total = [x.masked_fill(~m, 0).sum(1) for x, m in zip((c, r, c0, r0), (c_mask, r_mask, c_mask, r_mask))]
    return -F.logsigmoid(beta * ((total[0] - total[2]) - (total[1] - total[3]))).mean()


def preference_looped(c, r, c0, r0, c_mask, r_mask, beta):
    losses = []
    for b in range(len(c)):
        margin = (c[b] - c0[b]).double()[c_mask[b]].sum() - (r[b] - r0[b]).double()[r_mask[b]].sum()
        losses.append(math.log1p(math.exp(-beta * margin)) if margin > 0 else -beta * margin + math.log1p(math.exp(beta * margin)))
    return sum(losses) / len(losses)


def preference_as_classes(c, r, c0, r0, c_mask, r_mask, beta):
    """Cross entropy of two implicit rewards, the first of which is right."""
    rewards = [beta * torch.where(m, x - x0, 0).sum(1) for x, x0, m in ((c, c0, c_mask), (r, r0, r_mask))]
    return F.cross_entropy(torch.stack(rewards, dim=1).double(), torch.zeros(len(c), dtype=torch.long))


def preference_by_numpy(*args):
    c, r, c0, r0, c_mask, r_mask = (part.numpy() for part in args[:6])
    rewards = [np.where(m, x.astype(float) - x0, 0).sum(1) for x, x0, m in ((c, c0, c_mask), (r, r0, r_mask))]
    return np.logaddexp(0, args[6] * (rewards[1] - rewards[0])).mean()


def prefer(c, r, c0, r0, c_mask, r_mask, beta, *, total=lambda x, m: x.masked_fill(~m, 0).sum(1),
           margin=lambda c, r, c0, r0: c - c0 - r + r0, loss=lambda m, beta: -F.logsigmoid(beta * m), mean=torch.mean):
    parts = [total(x, m) for x, m in zip((c, r, c0, r0), (c_mask, r_mask, c_mask, r_mask))]
    return mean(loss(margin(*parts), beta))


# ---------------------------------------------------------------- 13.6 relative


def relative(scores):
    centred = scores - scores.mean(1, keepdim=True)
    same = scores.eq(scores[:, :1]).all(1, keepdim=True)
    return (centred / scores.std(1, keepdim=True, unbiased=False)).masked_fill(same, 0)


def relative_looped(scores):
    rows = []
    for row in scores.double().tolist():
        mean = sum(row) / len(row)
        spread = math.sqrt(sum((x - mean) ** 2 for x in row) / len(row))
        rows.append([0.0 if max(row) == min(row) else (x - mean) / spread for x in row])
    return rows


def relative_by_numpy(scores):
    x = scores.numpy().astype(float)
    return (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + 1e-8) * (np.ptp(x, axis=1, keepdims=True) > 0)


def relative_by_layer(scores):
    """A layer norm over the group, in float64, is the same but for its ε."""
    x = scores.double()
    return torch.where(x.max(1, True).values == x.min(1, True).values, 0, F.layer_norm(x, x.shape[1:], eps=1e-12))


def relative_planted(scores):
    return (scores - scores.mean()) / scores.std()


def graded(scores, *, less=lambda x: x.mean(1, keepdim=True), over=lambda x: x.std(1, keepdim=True, correction=0), guard=True):
    found = (scores - less(scores)) / over(scores)
    return found.masked_fill(scores.eq(scores[:, :1]).all(1, keepdim=True), 0) if guard else found


# ---------------------------------------------------------------- right and wrong

RIGHT = {
    "13.1": [strengths_by_turns, strengths_by_descent, strengths_climbing],
    "13.2": [credit, credit_by_rows, credit_by_matrix],
    "13.3": [surrogate, surrogate_looped, surrogate_by_losses, surrogate_by_cases],
    "13.4": [k3, k3_looped, k3_by_numpy, k3_by_library],
    "13.5": [preference, preference_looped, preference_as_classes, preference_by_numpy],
    "13.6": [relative, relative_looped, relative_by_numpy, relative_by_layer],
}


@pytest.mark.parametrize(("id", "answer"), [(id, answer) for id, answers in RIGHT.items() for answer in answers])
def test_right_answers_of_other_makes(judge, seed, id, answer):
    verdict = judge(id, answer, seed)
    assert verdict.ok and not verdict.message, str(verdict)


WRONG = [
    ("13.1", lambda w: w.sum(1) / (w + w.T).sum(1), "share of wins", "against a strong one tells more"),
    ("13.1", lambda w: (w.sum(1) / w.sum(0)).log(), "odds of all wins", "log-odds of all wins"),
    ("13.1", lambda w: w.sum(1) - w.sum(0), "wins minus losses", "wins less losses"),
    ("13.1", lambda w: strengths_by_turns(w) - strengths_by_turns(w)[0], "not centred", "mean is to be 0"),
    ("13.1", lambda w: strengths_by_turns(w).exp() / strengths_by_turns(w).exp().sum(), "strengths", "Asked for are their logarithms"),
    ("13.1", lambda w: strengths_by_turns(w) / math.log(2), "base 2", "base 2"),
    ("13.1", lambda w: strengths_by_turns(w) * 400 / math.log(10), "Elo points", "400 for odds of ten"),
    ("13.1", lambda w: strengths_by_turns(w.T), "losses for wins", "how often i was preferred to j"),
    ("13.1", strengths_games_ignored, "pairs weigh the same", "Forty games tell more than four"),
    ("13.1", of(strengths_climbing, steps=6), "not yet at the top", "stop before they are there"),
    ("13.2", credit_leaking, "padding leaks", "Behind the last word nothing comes"),
    ("13.2", of(credit_of, end=lambda v: v[-1]), "last value used twice", "its own value once more"),
    ("13.2", of(credit_of, delta=lambda r, v, after, g, l: r + l * after - v), "γ and λ exchanged", "have changed places"),
    ("13.2", of(credit_of, decay=lambda g, l: g), "decays by γ alone", "λ = 1"),
    ("13.2", of(credit_of, decay=lambda g, l: l), "decays by λ alone", "γ times λ"),
    ("13.2", of(credit_of, decay=lambda g, l: 0), "one step", "one step ahead"),
    ("13.2", of(credit_of, finish=lambda found, v: found + v), "returns", "what the value is trained on"),
    ("13.2", of(credit_of, delta=lambda r, v, after, g, l: r + g * after), "value not subtracted", "not subtracted"),
    ("13.2", of(credit_of, delta=lambda r, v, after, g, l: r - v), "next value missing", "next word's value"),
    ("13.2", of(credit_of, forwards=True), "forwards", "Begin at the end"),
    ("13.2", of(credit_of, delta=lambda r, v, *_: r, decay=lambda g, l: g), "rewards alone", "values play no part"),
    ("13.3", surrogate_planted, "ratio to the reference", "Which of them has said these words"),
    ("13.3", of(clip, to="ref"), "ratio to the reference", "only to be stayed near"),
    ("13.3", of(clip, mean=lambda x, m: x.mean()), "padding counted", "Padding is in your mean"),
    ("13.3", of(clip, both=torch.maximum), "max for min", "promise no more than is sure"),
    ("13.3", of(clip, both=lambda a, b: b), "only clipped", "clipped ratio alone"),
    ("13.3", of(clip, both=lambda a, b: a), "not clipped", "epsilon plays no part"),
    ("13.3", of(clip, clamp=lambda r, e: r.clamp(max=1 + e)), "clipped above only", "above"),
    ("13.3", of(clip, sign=1), "gain", "A loss is to fall"),
    ("13.3", of(clip, mean=lambda x, m: x[m].sum()), "sum", "It is the mean"),
    (
        "13.3",
        of(clip, mean=lambda x, m: torch.stack([a[b].mean() for a, b in zip(x, m) if b.any()]).mean()),
        "mean of the rows' means",
        "each response, and then these",
    ),
    ("13.3", lambda new, old, *rest: surrogate(old, new, *rest), "ratio upside down", "upside down"),
    (
        "13.3",
        of(clip, clamp=lambda r, e: r.log().clamp(-e, e).exp()),
        "log ratio clipped",
        "It is the ratio that is clipped",
    ),
    ("13.4", k3_planted, "half upside down", "Write down p/q or q/p beside each"),
    ("13.4", lambda p, q: k3(q, p), "all upside down", "something else than KL"),
    ("13.4", lambda p, q: p - q, "k1", "can be added"),
    ("13.4", lambda p, q: (p - q) ** 2 / 2, "k2", "not right on average"),
    ("13.4", lambda p, q: (p - q).abs(), "absolute value", "too large on average"),
    ("13.4", lambda p, q: -k3(p, q), "wrong sign", "never positive"),
    ("13.4", lambda p, q: (q - p).exp() - (q - p), "1 forgotten", "yours is 1"),
    ("13.4", lambda p, q: p.exp() * k3(p, q), "weighted by p", "drawn from p already"),
    ("13.4", lambda p, q: k3(p, q).mean(), "averaged", "for each word"),
    ("13.5", of(prefer, total=lambda x, m: x.masked_fill(~m, 0).sum(1) / m.sum(1)), "means per word", "is their product"),
    ("13.5", of(prefer, total=lambda x, m: x.sum(1)), "padding counted", "Padding is in your sums"),
    ("13.5", of(prefer, margin=lambda c, r, c0, r0: c - r), "no reference", "The reference plays no part"),
    ("13.5", of(prefer, margin=lambda c, r, c0, r0: c0 - c + r - r0), "policy and reference exchanged", "A sign is turned round"),
    ("13.5", of(prefer, margin=lambda c, r, c0, r0: c - c0), "chosen alone", "A preference is between two"),
    ("13.5", of(prefer, loss=lambda m, beta: F.logsigmoid(beta * m)), "wrong sign", "what it lacks"),
    ("13.5", of(prefer, loss=lambda m, beta: -beta * F.logsigmoid(m)), "β outside", "how far the policy may go"),
    ("13.5", of(prefer, loss=lambda m, beta: -F.logsigmoid(m)), "no β", "β plays no part"),
    ("13.5", of(prefer, loss=lambda m, beta: -F.logsigmoid(m / beta)), "divided by β", "It is multiplied"),
    ("13.5", of(prefer, loss=lambda m, beta: -(beta * m).sigmoid()), "no logarithm", "The logarithm is missing"),
    ("13.5", of(prefer, mean=torch.sum), "sum over the pairs", "mean is asked for"),
    ("13.6", relative_planted, "over the whole batch", "because its question was easy"),
    ("13.6", of(graded, less=lambda x: x.mean()), "mean over the batch", "others to the same question"),
    ("13.6", of(graded, over=lambda x: x.std()), "deviation over the batch", "others to the same question"),
    ("13.6", of(graded, over=lambda x: x.std(1, keepdim=True)), "deviation of a sample", "divide by G"),
    ("13.6", of(graded, over=lambda x: 1), "not divided", "standard deviation is missing"),
    ("13.6", of(graded, over=lambda x: x.var(1, keepdim=True, correction=0)), "divided by the variance", "its root"),
    ("13.6", of(graded, less=lambda x: (x.sum(1, keepdim=True) - x) / (x.shape[1] - 1)), "mean of the others", "RLOO"),
    ("13.6", lambda x: relative(x.T).T, "columns for rows", "the first answers to all questions"),
    ("13.6", of(graded, guard=False), "divided by 0", "There it is 0"),
    ("13.6", of(graded, less=lambda x: 0), "mean not subtracted", "may both be praised"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(("id", "answer", "name", "phrase"), WRONG)
def test_wrong_answers_get_their_own_message(judge, seed, id, answer, name, phrase):
    verdict = judge(id, answer, seed)
    assert not verdict.ok and verdict.misconception == name and phrase in verdict.message, str(verdict)
    assert len(verdict.message) < 1000


@pytest.mark.parametrize(("id", "planted"), [("13.3", surrogate_planted), ("13.4", k3_planted), ("13.6", relative_planted)])
def test_the_planted_bug_earns_nothing(judge, seed, id, planted):
    assert judge(id, planted, seed).points == 0


@pytest.mark.parametrize(
    ("id", "answer", "held", "name"),
    [
        ("13.2", lambda r, v, m, g, l: credit(r * m, v * m, m, g, l) + 0 * r, [True, False, True], "multiplied by 0"),
        ("13.3", of(clip, mean=lambda x, m: (x * m).sum() / m.sum()), [True, False, True], "multiplied by 0"),
        ("13.5", of(prefer, total=lambda x, m: (x * m).sum(1)), [True, False, True], "multiplied by 0"),
        ("13.5", of(prefer, loss=lambda m, beta: -(beta * m).sigmoid().log()), [True, True, False], "overflow"),
        ("13.6", of(graded, guard=False), [True, False, True], "divided by 0"),
        ("13.6", lambda x: relative(x.double() + 1e-7 * torch.arange(x.shape[1])), [True, False, True], "rounding blown up"),
    ],
)
def test_points_and_names_by_property(judge, seed, id, answer, held, name):
    verdict = judge(id, answer, seed)
    assert [result.ok for result in verdict.results] == held and verdict.misconception == name, str(verdict)


@pytest.mark.parametrize(
    ("id", "answer", "phrase"),
    [
        ("13.1", lambda w: strengths_by_turns(w)[:1], "scores has shape (1,)"),
        ("13.1", elo_once, "your scores expect"),
        ("13.1", lambda w: 1e4 * strengths_by_turns(w) ** 3, "steps that are too large"),
        ("13.1", lambda w: w[9], "IndexError"),
        ("13.2", lambda r, v, m, g, l: credit(r, v, m, g, l) / 2, "Begin with the last word of row 0"),
        ("13.2", lambda r, v, m, g, l: credit(r, v, m, g, l)[0], "advantages has shape"),
        ("13.3", lambda *args: 2 * surrogate(*args), "its ratio, its advantage"),
        ("13.3", lambda *args: torch.ones(3), "expected (), a single number"),
        ("13.4", lambda p, q: 2 * k3(p, q), "p and q agree"),
        ("13.4", lambda p, q: (k3(p, q), p), "you return 2 values"),
        ("13.5", lambda *args: 3 * preference(*args), "print yours, and the other three"),
        ("13.5", lambda c, *args: c @ c, "RuntimeError"),
        ("13.6", lambda x: 2 * relative(x), "Question 0 has a mean of"),
        ("13.6", lambda x: relative(x).sum(1), "expected (3, "),
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
        found = np.asarray(right(*args), dtype=float)
        return found * rng.uniform(0.6, 1.4, found.shape) + rng.uniform(0.1, 0.3, found.shape)

    def now_and_then(*args):
        return right(*args) if next(calls) % 2 else disturbed(*args)

    for answer in (disturbed, now_and_then):
        verdict = judge(id, answer, seed)
        assert not verdict.ok and not verdict.misconception, str(verdict)


def test_13_1_the_best_scores_expect_what_happened():
    """At the top, each is expected to win as often as it did; two alone have the log-odds of their games."""
    for case in exercise("13.1").inputs(np.random.default_rng(3)):
        wins = np.asarray(case.args["wins"], dtype=float)
        scores = strengths.reference(wins)
        assert ((wins + wins.T) * strengths.probabilities(scores)).sum(1) == pytest.approx(wins.sum(1), rel=1e-6)
        assert abs(scores.sum()) < 1e-9
    assert strengths.reference(np.array([[0, 12], [4, 0]])) == pytest.approx([math.log(3) / 2, -math.log(3) / 2])


def test_13_4_the_reference_is_right_on_average(cases, seed):
    for case in cases("13.4", seed):
        log_p, log_q = (torch.from_numpy(np.ascontiguousarray(case.args[name])).double() for name in ("log_p", "log_q"))
        estimates = exercise("13.4").reference(log_p, log_q)
        assert estimates.min() >= 0
        if case.group == "average":
            assert float(log_p.exp() @ estimates) == pytest.approx(float(log_p.exp() @ (log_p - log_q)), abs=1e-5)


def test_13_3_the_first_step_has_no_clipping_and_every_kind_of_word_is_drawn(cases, seed):
    seen = {"values": set(), "padding": set(), "hard": set()}
    for case in cases("13.3", seed):
        args = {name: torch.from_numpy(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
                for name, value in case.args.items()}
        mask, ratio = args["mask"], (args["new"] - args["old"]).exp()
        at_first = surrogate(args["old"], *list(args.values())[1:])
        assert float(at_first) == pytest.approx(-float(args["advantages"][mask].mean()), rel=1e-5)
        up, epsilon = args["advantages"][mask] > 0, args["epsilon"]
        seen[case.group] |= {*zip((ratio[mask] > 1 + epsilon).tolist(), (ratio[mask] < 1 - epsilon).tolist(), up.tolist())}
    for group in ("values", "padding"):
        assert seen[group] >= {(True, False, True), (True, False, False), (False, True, True), (False, True, False)}


# ---------------------------------------------------------------- 13.7 predict

BEFORE = {
    "dpo_at_the_start": 0.69,
    "preferred": 0.73,
    "best_of_n_kl": 1.20,
    "equal_group": 0,
    "chosen_rises": "no",
    "judge_follows": "no",
}


@pytest.mark.parametrize(
    "answer",
    [
        BEFORE,
        {**BEFORE, "dpo_at_the_start": math.log(2), "preferred": torch.tensor(1.0).sigmoid(), "best_of_n_kl": np.log(8) - 0.875},
        {**BEFORE, "chosen_rises": False, "judge_follows": "No.", "equal_group": 0.0},
    ],
)
def test_13_7_accepts_other_ways_to_say_it(judge, answer):
    verdict = judge("13.7", answer)
    assert verdict.ok and not verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("key", "value", "phrase"),
    [
        ("dpo_at_the_start", 0, "no certainty"),
        ("dpo_at_the_start", 0.5, "That is σ(0)"),
        ("dpo_at_the_start", 1, "In bits"),
        ("preferred", 0.27, "the worse one"),
        ("preferred", 0.84, "Thurstone"),
        ("preferred", 2.72, "the odds"),
        ("preferred", 0.67, "2 to 1"),
        ("best_of_n_kl", 2.08, "the first term"),
        ("best_of_n_kl", 0.875, "what comes off"),
        ("best_of_n_kl", 2.125, "base 2"),
        ("equal_group", 1, "Which of the four"),
        ("chosen_rises", "yes", "In how many ways"),
        ("judge_follows", True, "which of the two does it find"),
        ("judge_follows", "maybe", "is not one of"),
        ("preferred", None, "no prediction yet"),
    ],
)
def test_13_7_names_what_went_wrong(judge, key, value, phrase):
    verdict = judge("13.7", {**BEFORE, key: value})
    assert verdict.points == 5 and verdict.message.startswith(key) and phrase in verdict.message, str(verdict)


def test_13_7_no_wrong_value_stands_twice_or_is_right_and_no_message_tells(cases):
    asked = exercise("13.7")
    right = asked.reference(**cases("13.7", None)[0].args)
    for item in asked.examine.items:
        values = [value for value, _ in item.wrongs]
        assert len(set(values)) == len(values) and right[item.key] not in values
        numbers = [value for value in values if not isinstance(value, str)]
        assert all(abs(a - b) > item.tolerance for a, b in itertools.combinations(numbers, 2)), item.key
        assert all(abs(value - right[item.key]) > 2 * item.tolerance for value in numbers), item.key
        assert not any(f"{BEFORE[item.key]:.2f}" in text for _, text in item.wrongs if numbers), item.key


def test_13_7_best_of_n_by_enumeration():
    """Fine steps of quality: density n u^(n−1) of the best of n against 1, whose KL the bound is."""
    u = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean(8 * u**7 * np.log(8 * u**7)) == pytest.approx(BEFORE["best_of_n_kl"], abs=0.006)


def test_13_7_dpo_may_lower_what_was_chosen():
    """Both log-probabilities fall, and so does the loss."""
    one = torch.ones(1, 1, dtype=torch.bool)
    parts = [torch.tensor([[value]]) for value in (-1.5, -3.0, -1.0, -1.0)]
    start = [torch.tensor([[-1.0]])] * 4
    assert float(preference(*start, one, one, 0.1)) == pytest.approx(math.log(2))
    assert preference(*parts, one, one, 0.1) < preference(*start, one, one, 0.1)


# ---------------------------------------------------------------- 13.8 measure


def linear(comparisons, asked, *, features, flip=1):
    """Logistic regression by torch on differences of features."""
    def of(row, name):
        return torch.tensor(features(row["story"], row["prompt"], row[name]), dtype=torch.float64)

    x = torch.stack([of(row, "chosen") - of(row, "rejected") for row in comparisons])
    scale = x.std(0) + 1e-9
    with torch.enable_grad():
        weights = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([weights], lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            (F.softplus(-(x / scale) @ weights).mean() + 1e-3 * weights.square().sum()).backward()
            optimizer.step()
    return torch.stack([of(row, "response") for row in asked]) @ (weights.detach() / scale) * flip


def bag_of_words(comparisons, asked):
    """How much more often a word is in what was preferred."""
    plus, minus = Counter(), Counter()
    for row in comparisons:
        plus.update(set(words(row["chosen"])) - set(words(row["rejected"])))
        minus.update(set(words(row["rejected"])) - set(words(row["chosen"])))
    return [sum(math.log((plus[w] + 1) / (minus[w] + 1)) for w in set(words(row["response"]))) for row in asked]


def nouns(story, prompt, response):
    said = [part for part in scoring.core(response)] or [""]
    known = words(prompt)[-1] in words(story) or not prompt.startswith(("Who has", "Where"))
    refuses, names = said[0].startswith("Sorry"), {w for w in words(said[0]) if w[0].isupper()}
    too_many = prompt.startswith("Name") and bool(names - set(words(story)))
    no_event = prompt.startswith("Cont") and bool({"was", "had"} & {*words(said[0])})
    return [*manners(response), len(said), refuses, refuses and not known, not refuses and not known, too_many, no_event]


SCORES = {}


def judged(judge, answer, seed):
    """One verdict for each answer and draw."""
    key = answer, seed
    if key not in SCORES:
        SCORES[key] = judge("13.8", answer, seed)
    return SCORES[key]


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize("answer", [of(linear, features=scoring.features), of(linear, features=nouns), scoring.reference])
def test_13_8_accepts_other_ways(judge, seed, answer):
    verdict = judged(judge, answer, seed)
    assert verdict.ok and "of 500 pairs the better one" in verdict.message, str(verdict)


def truth_alone(story, prompt, response):
    return scoring.features(story, prompt, response)[-1:]


def no_truth(story, prompt, response):
    return scoring.features(story, prompt, response)[:3]


def seen_before(comparisons, asked):
    known = {row["chosen"]: 1 for row in comparisons} | {row["rejected"]: -1 for row in comparisons}
    return [known.get(row["response"], 0) * (hash(row["response"]) % 2 == 0) for row in asked]


@pytest.mark.parametrize("seed", [None, 11])
@pytest.mark.parametrize(
    ("answer", "points", "name", "phrase"),
    [
        (lambda comparisons, asked: [1.0] * len(asked), 0, "all alike", "score the same"),
        (lambda comparisons, asked: [len(row["response"]) for row in asked], 0, "length alone", "how long a response is"),
        (lambda comparisons, asked: [-len(row["response"]) for row in asked], 0, "length alone", "how long a response is"),
        (of(linear, features=scoring.features, flip=-1), 0, "turned round", "worse than a coin"),
        (lambda comparisons, asked: [int(k % 10 == 0) for k in range(len(asked))], 0, "mostly ties", "never compared"),
        (of(linear, features=no_truth), 1, None, "%"),
        (lambda comparisons, asked: [manners(row["response"])[0] - manners(row["response"])[1] for row in asked], 1, None, ""),
        (of(linear, features=truth_alone), 2, "manners not seen", "What do people like to hear"),
        (bag_of_words, 2, None, "%"),
    ],
)
def test_13_8_names_what_went_wrong(judge, seed, answer, points, name, phrase):
    verdict = judged(judge, answer, seed)
    assert not verdict.ok and phrase in verdict.message, str(verdict)
    assert name is None or verdict.misconception == name, str(verdict)
    assert verdict.points == points if points is not None else verdict.points < 3, str(verdict)


STARTS = {"list": ("Name",), "continue": ("Continue",), "answer": ("Who", "Where", "Is", "Does"), "refuse": ("Who has", "Where")}


@pytest.mark.parametrize("kinds", [("answer", "refuse"), ("answer", "list", "continue"), ("refuse", "list"), ("refuse", "continue")])
def test_13_8_says_which_truth_is_not_seen(judge, kinds):
    def seen(row):
        missing = words(row["prompt"])[-1] not in words(row["story"])
        kind = next(kind for kind in ("list", "continue", "refuse", "answer")
                    if row["prompt"].startswith(STARTS[kind]) and (kind != "refuse" or missing))
        return kind not in kinds

    def blind(comparisons, asked):
        found = []
        for row in asked:
            polite, rude, n, *_, true = scoring.features(row["story"], row["prompt"], row["response"])
            found.append(1.5 * (polite - rude) - 0.5 * n + 3 * true * seen(row))
        return found

    verdict = judge("13.8", blind)
    named = {scoring._UNSEEN[kind][0]: scoring._UNSEEN[kind] for kind in kinds}
    assert not verdict.ok and verdict.misconception in named, str(verdict)
    assert all(text in verdict.message for text in named[verdict.misconception][1:])


@pytest.mark.parametrize("seed", [None, 11])
def test_13_8_a_coin_is_no_known_mistake(judge, seed):
    rng = np.random.default_rng(3)
    verdict = judge("13.8", lambda comparisons, asked: rng.random(len(asked)), seed)
    assert verdict.points == 0 and not verdict.misconception and "more than a coin" in verdict.message, str(verdict)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        (lambda comparisons, asked: [1.0] * 5, "you return 5 scores, and 1000 responses"),
        (lambda comparisons, asked: 3, "got an int"),
        (lambda comparisons, asked: ["good"] * len(asked), "got a str"),
        (lambda comparisons, asked: [math.nan] * len(asked), "expected numbers, got nan"),
        (lambda comparisons, asked: [math.inf] * len(asked), "expected numbers, got inf"),
        (lambda comparisons, asked: [None] * len(asked), "expected numbers, got a NoneType"),
        (lambda comparisons, asked: torch.zeros(len(asked), 1), "got one array of shape (1000, 1)"),
        (lambda comparisons, asked: lambda story, prompt, response: 1.0, "type function"),
        (lambda comparisons, asked: asked[0]["answer"], "KeyError"),
        (lambda comparisons, asked: comparisons.clear(), "is a `return` missing?"),
    ],
)
def test_13_8_explains_a_wrong_form(judge, answer, phrase):
    verdict = judge("13.8", answer)
    assert verdict.points == 0 and phrase in verdict.message, str(verdict)


def test_13_8_ranks_and_pairs(cases):
    assert scoring._rank(np.array([3.0, 1, 3, 0])).tolist() == [2.5, 1, 2.5, 0]
    (case,) = cases("13.8", None)
    asked, pairs = case.args["asked"], case.hidden["pairs"]
    for (better, worse), pair in zip(case.hidden["places"], pairs):
        assert (asked[better]["response"], asked[worse]["response"]) == pair.texts
    assert sorted(case.hidden["places"].flatten()) == list(range(len(asked)))
