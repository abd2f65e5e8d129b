"""Turning scores into words: greedy, sampled and beam search, over one small protocol that every model here implements."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from course_lib.data.batching import pad
from course_lib.tokenizers import Tokenizer


class Decodable(Protocol):
    """What a model needs for generation. A state is the model's own affair; rows (N) are hypotheses.

    start(*inputs) → (first tokens (N,), state); step(tokens (N,), state) → (logits (N, V), state); reorder(state, index (M,)).
    """

    def start(self, *inputs: Tensor) -> tuple[Tensor, Any]: ...
    def step(self, token: Tensor, state: Any) -> tuple[Tensor, Any]: ...
    def reorder(self, state: Any, index: Tensor) -> Any: ...


@dataclass(frozen=True)
class Generated:
    """One generated sentence per input: `ids` without <bos> and <eos>, `log_probs` (B,) of all that was said, <eos> included,
    and `finished` (B,), False where `max_len` cut a sentence off."""

    ids: list[list[int]]
    log_probs: Tensor
    finished: Tensor


def filter_logits(logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """The log-distribution that sampling draws from, (N, V) → (N, V), in this order: temperature, top-k, top-p.

    top_k keeps the k best; top_p the smallest set of best words whose probability reaches p (Holtzman et al. 2020), never none.
    """
    if temperature <= 0:
        raise ValueError(f"temperature: got {temperature}, expected above 0 (for 0, use greedy)")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k: got {top_k}, expected at least 1")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p: got {top_p}, expected 0 < top_p ≤ 1")
    logits = logits.float() / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        keep = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, logits.topk(top_k).indices, True)
        logits = logits.masked_fill(~keep, -torch.inf)
    if top_p is not None and top_p < 1:                                                 # 1 keeps all; rounding would not
        probs, order = logits.softmax(-1).sort(dim=-1, descending=True, stable=True)
        before = probs.cumsum(-1) - probs                                               # mass of all better words
        keep = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, order, before < top_p)
        logits = logits.masked_fill(~keep, -torch.inf)
    return logits.log_softmax(-1)


def _run(model: Decodable, inputs: tuple[Tensor, ...], eos_id: int, max_len: int, choose) -> Generated:
    """The loop that greedy and sampling share: `choose` (N, V) log-probabilities → the next tokens (N,)."""
    if max_len < 1:
        raise ValueError(f"max_len: got {max_len}, expected at least 1")
    token, state = model.start(*inputs)
    total = torch.zeros(token.shape[0], device=token.device)
    finished = torch.zeros_like(token, dtype=torch.bool)
    said = []
    for _ in range(max_len):
        logits, state = model.step(token, state)
        token = choose(logits).masked_fill(finished, eos_id)
        total += logits.float().log_softmax(-1).gather(1, token[:, None]).squeeze(1).masked_fill(finished, 0)
        finished = finished | (token == eos_id)
        said.append(token)
        if finished.all():
            break
    return Generated(_until(torch.stack(said, dim=1), eos_id), total, finished)


def _until(tokens: Tensor, eos_id: int) -> list[list[int]]:
    return [row[:row.index(eos_id)] if eos_id in row else row for row in tokens.tolist()]


@torch.no_grad()
def greedy(model: Decodable, *inputs: Tensor, eos_id: int = 3, max_len: int = 50) -> Generated:
    """Say the most probable word at every step. Not the same as the most probable sentence (see `beam_search`)."""
    return _run(model, inputs, eos_id, max_len, lambda logits: logits.argmax(-1))


@torch.no_grad()
def sample(model: Decodable, *inputs: Tensor, eos_id: int = 3, max_len: int = 50, temperature: float = 1.0,
           top_k: int | None = None, top_p: float | None = None, generator: torch.Generator | None = None) -> Generated:
    """Draw each word from the model's distribution, reshaped by `filter_logits`. `log_probs` are the model's own, unfiltered."""
    def choose(logits: Tensor) -> Tensor:
        probs = filter_logits(logits, temperature, top_k, top_p).exp()
        return torch.multinomial(probs, 1, generator=generator).squeeze(1)
    return _run(model, inputs, eos_id, max_len, choose)


@torch.no_grad()
def beam_search(model: Decodable, *inputs: Tensor, beam_size: int = 4, eos_id: int = 3, max_len: int = 50,
                length_penalty: float = 0.0) -> Generated:
    """Keep the `beam_size` best beginnings at every step and return the best whole sentence of each input.

    Sentences compare by log p / length^length_penalty (Wu et al. 2016, section 7, without their constant 5); 0 compares plain
    log-probabilities and favours short ones. A beam at least as wide as the number of beginnings is exhaustive search. The
    search of a sentence ends when nothing alive can still beat its best finished hypothesis.
    """
    if beam_size < 1 or max_len < 1:
        raise ValueError(f"beam_size, max_len: got {beam_size}, {max_len}, expected at least 1")
    if length_penalty < 0:
        raise ValueError(f"length_penalty: got {length_penalty}, expected 0 or more")
    token, state = model.start(*inputs)
    n, device = token.shape[0], token.device
    rows = torch.arange(n, device=device)[:, None]                                      # (n, 1)
    token, state = token.repeat_interleave(beam_size), model.reorder(state, rows.expand(-1, beam_size).flatten())
    scores = torch.full((n, beam_size), -torch.inf, device=device)                      # log p of each living hypothesis
    scores[:, 0] = 0                                                                    # at first all beams are the same one
    said = torch.empty(n, beam_size, 0, dtype=torch.long, device=device)
    best: list[list[int]] = [[] for _ in range(n)]
    best_score, best_log_prob = torch.full((n,), -torch.inf, device=device), torch.zeros(n, device=device)
    finished = torch.zeros(n, dtype=torch.bool, device=device)
    for length in range(1, max_len + 1):
        logits, state = model.step(token, state)
        log_probs = logits.float().log_softmax(-1).view(n, beam_size, -1) + scores[..., None]     # (n, k, V)
        ending = log_probs[..., eos_id]                                                 # every hypothesis may stop here
        end_score, k = (ending / length**length_penalty).max(1)
        for i in (end_score > best_score).nonzero().flatten().tolist():
            best[i], best_score[i] = said[i, k[i]].tolist(), end_score[i]
            best_log_prob[i], finished[i] = ending[i, k[i]], True
        log_probs[..., eos_id] = -torch.inf
        scores, chosen = log_probs.flatten(1).topk(beam_size)                             # (n, k) of the k·V
        parent, token = chosen // logits.shape[-1], chosen % logits.shape[-1]
        said = torch.cat([said.gather(1, parent[..., None].expand(-1, -1, said.shape[2])), token[..., None]], dim=2)
        hopeless = scores[:, 0] / max_len**length_penalty <= best_score                 # a longer one only loses probability
        if hopeless.all():
            break
        state, token = model.reorder(state, (rows * beam_size + parent).flatten()), token.flatten()
    for i in (~finished).nonzero().flatten().tolist():                                  # nothing ended in time: the best so far
        best[i], best_log_prob[i] = said[i, 0].tolist(), scores[i, 0]
    return Generated(best, best_log_prob, finished)


def translate(model: Decodable, source: Tokenizer, target: Tokenizer, texts: Sequence[str], *, beam_size: int = 1,
              length_penalty: float = 1.0, max_len: int = 60, batch_size: int = 128) -> list[str]:
    """Translate `texts` in order: greedily, or by beam search when beam_size > 1, in batches of similar length.

    Words outside the vocabulary go in as <unk>; a <unk> that comes out is left out. Runs where the model is.
    """
    if not texts:
        raise ValueError("texts: got none, expected at least one sentence")
    if isinstance(texts, str):
        raise ValueError("texts: got one string, expected several (a list of strings)")
    device = next(model.parameters()).device
    encoded = [source.encode(text, eos=True) for text in texts]
    order, found = sorted(range(len(texts)), key=lambda i: len(encoded[i])), [""] * len(texts)
    for first in range(0, len(order), batch_size):
        rows = order[first:first + batch_size]
        inputs = (part.to(device) for part in pad([encoded[i] for i in rows], source.pad_id))
        if beam_size == 1:
            said = greedy(model, *inputs, eos_id=target.eos_id, max_len=max_len)
        else:
            said = beam_search(model, *inputs, beam_size=beam_size, eos_id=target.eos_id, max_len=max_len,
                               length_penalty=length_penalty)
        for i, ids in zip(rows, said.ids):
            found[i] = target.decode([token for token in ids if token != target.unk_id])
    return found
