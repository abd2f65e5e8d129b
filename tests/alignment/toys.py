"""What the tests of learning from preferences share: tiny models, a score, and how a set of laws rejects a mutant."""

import math

import torch

from course_lib.models.gpt import GPT, GPTConfig

V, END, GOOD = 6, 3, 4


def tiny(seed=0, vocab=V, sharpness=1.5, **more):
    """A GPT of one layer in float64, its norms and biases off their initial values."""
    torch.manual_seed(seed)
    settings = {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_len": 12} | more
    model = GPT(GPTConfig(vocab, **settings)).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(p * sharpness if p.dim() == 2 else p + 0.2 * torch.randn(p.shape, dtype=p.dtype))
    return model


def good_share(ids, response_mask):
    """A score: which share of the response is GOOD."""
    return ((ids == GOOD) & response_mask).sum(1) / response_mask.sum(1)


def row_log_probs(model, row, first, temperature=1.0):
    """log p of row[first:], one token at a time: each from a pass over the words before it alone. A list of floats."""
    found = []
    for t in range(first, len(row)):
        scores = (model(torch.tensor([row[:t]]))[0, -1] / temperature).tolist()
        norm = math.log(math.fsum(math.exp(s) for s in scores))
        found.append(scores[row[t]] - norm)
    return found


def said_by(ids, response_mask):
    """Each row as (tokens up to the response's end, where the response begins)."""
    return [(row[:max(places) + 1], min(places)) for row, places in
            ((r.tolist(), m.nonzero().flatten().tolist()) for r, m in zip(ids, response_mask))]


def random_mask(batch=4, length=7, seed=0):
    """Places (B, T) that count: in one piece, at least one in each row, never all."""
    g = torch.Generator().manual_seed(seed)
    first = torch.randint(0, 3, (batch, 1), generator=g)
    last = first + torch.randint(0, length - 3, (batch, 1), generator=g)
    places = torch.arange(length)
    return (places >= first) & (places <= last)


def draws(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def broken_laws(laws, loss):
    """The laws that `loss` does not obey."""
    found = []
    for law in laws:
        try:
            law(loss)
        except (AssertionError, RuntimeError):
            found.append(law.__name__)
    return found
