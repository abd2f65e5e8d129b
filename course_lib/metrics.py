"""The yardsticks of the course: likelihood, exact match, BLEU, alignment error, intervals, bands."""

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sacrebleu.metrics import BLEU
from torch import Tensor

Link = tuple[int, int]                               # (place in the target, place in the source), both from 0
Links = frozenset[Link]


def perplexity(nll_sum: float, count: float) -> float:
    """exp(nll_sum / count): among how many equally likely tokens the model hesitates. `nll_sum` in nats.

        perplexity(4 * math.log(8), 4)  →  8.0
    """
    try:
        return math.exp(_per("count", nll_sum, count))
    except OverflowError:
        return math.inf


def bits_per_byte(nll_sum: float, n_bytes: float) -> float:
    """nll_sum / (n_bytes · ln 2): what the text costs, comparable between tokenizers. `nll_sum` in nats."""
    return _per("n_bytes", nll_sum, n_bytes) / math.log(2)


def exact_match(hyps: Sequence[Any], refs: Sequence[Any]) -> float:
    """The share of hypotheses that equal their reference entirely (texts, or token lists)."""
    _same_length(hyps=hyps, refs=refs)
    return sum(hyp == ref for hyp, ref in zip(hyps, refs, strict=True)) / len(refs)


class Bucket(NamedTuple):
    """Sentences of `low` to `high` words: the share that is right, of how many, and its Wilson interval."""

    low: int
    high: int
    rate: float
    n: int
    interval: tuple[float, float]


def exact_match_by_length(hyps: Sequence[Any], refs: Sequence[Any], lengths: Sequence[int],
                          buckets: Sequence[tuple[int, int]]) -> list[Bucket]:
    """Exact match for each range of lengths (low, high), both ends included; an empty bucket has rate NaN.

        exact_match_by_length(["a", "b"], ["a", "c"], [3, 9], [(3, 5), (6, 9)])  →  rates 1.0 and 0.0
    """
    _same_length(hyps=hyps, refs=refs, lengths=lengths)
    result = []
    for low, high in buckets:
        inside = (low <= length <= high for length in lengths)
        right = [hyp == ref for hyp, ref, yes in zip(hyps, refs, inside, strict=True) if yes]
        rate = sum(right) / len(right) if right else math.nan
        interval = wilson_interval(sum(right), len(right)) if right else (0.0, 1.0)
        result.append(Bucket(low, high, rate, len(right), interval))
    return result


def corpus_bleu(hyps: Sequence[str], refs: Sequence[str], lowercase: bool = False) -> float:
    """BLEU in percent (Papineni et al. 2002) by sacrebleu (Post 2018): plain text, one reference each."""
    _same_length(hyps=hyps, refs=refs)
    for name, texts in (("hyps", hyps), ("refs", refs)):
        if wrong := {type(text).__name__ for text in texts} - {"str"}:
            raise ValueError(f"{name}: got {', '.join(sorted(wrong))}, expected detokenised strings")
    return BLEU(lowercase=lowercase).corpus_score(list(hyps), [list(refs)]).score


def bleu_signature(lowercase: bool = False) -> str:
    """The settings of `corpus_bleu` in sacrebleu's notation, to be quoted beside every score."""
    metric = BLEU(lowercase=lowercase)
    metric.corpus_score(["a"], [["a"]])                 # the number of references is known only after a score
    return str(metric.get_signature())


class AlignmentScores(NamedTuple):
    """Precision (links that are possible), recall (sure links found) and alignment error rate."""

    precision: float
    recall: float
    error_rate: float


def alignment_scores(predicted: Sequence[Iterable[Link]], sure: Sequence[Iterable[Link]],
                     possible: Sequence[Iterable[Link]] | None = None) -> AlignmentScores:
    """Och & Ney (2003) over a corpus, one set of links a sentence. `possible` always contains `sure`.

    precision |A ∩ P| / |A|, recall |A ∩ S| / |S|, AER = 1 − (|A ∩ S| + |A ∩ P|) / (|A| + |S|).
    Raises ValueError when the lists differ in length or nothing is linked on either side.
    """
    possible = sure if possible is None else possible
    _same_length(predicted=predicted, sure=sure, possible=possible)
    n_predicted = n_sure = in_sure = in_possible = 0
    for a, s, p in zip(*(map(_links, group) for group in (predicted, sure, possible)), strict=True):
        n_predicted, n_sure = n_predicted + len(a), n_sure + len(s)
        in_sure, in_possible = in_sure + len(a & s), in_possible + len(a & (p | s))
    if n_predicted + n_sure == 0:
        raise ValueError("predicted, sure: got no link at all, expected at least one")
    return AlignmentScores(in_possible / n_predicted if n_predicted else math.nan,
                           in_sure / n_sure if n_sure else math.nan,
                           1 - (in_sure + in_possible) / (n_predicted + n_sure))


def alignment_error_rate(predicted: Sequence[Iterable[Link]], sure: Sequence[Iterable[Link]],
                         possible: Sequence[Iterable[Link]] | None = None) -> float:
    """AER of a corpus (Och & Ney 2003): 0 when every predicted link is possible and every sure one found.

        alignment_error_rate([{(0, 0), (1, 1)}], [{(0, 0), (1, 2)}])  →  0.5
    """
    return alignment_scores(predicted, sure, possible).error_rate


def alignments_from_weights(weights: Any, target_mask: Any, source_mask: Any) -> list[Links]:
    """Attention maps (B, T, S) → links (t, s): each target word to its heaviest source word, ties leftmost.

    target_mask (B, T) and source_mask (B, S), True = a word that may be linked; leave <eos> and padding out.
    """
    weights, target_mask, source_mask = (torch.as_tensor(x).detach().cpu().numpy()
                                         for x in (weights, target_mask, source_mask))
    if weights.ndim != 3 or weights.shape != (*target_mask.shape, source_mask.shape[-1]):
        raise ValueError(f"weights: got shape {weights.shape} with masks {target_mask.shape} and "
                         f"{source_mask.shape}, expected (B, T, S), (B, T) and (B, S)")
    best = np.where(source_mask[:, None, :], weights, -np.inf).argmax(-1)               # (B, T)
    linked = target_mask & source_mask.any(-1, keepdims=True)                           # (B, T)
    return [frozenset((int(t), int(row[t])) for t in np.flatnonzero(has))
            for row, has in zip(best, linked, strict=True)]


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson (1927): interval of a share; unlike p ± z·√(p(1−p)/n) it is right for few cases and near 0 or 1.

        wilson_interval(0, 10)  →  (0.0, 0.278)
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"successes, n: got {successes} of {n}, expected 0 ≤ successes ≤ n and n ≥ 1")
    p, square = successes / n, z * z / n
    centre, half = p + square / 2, z * math.sqrt(p * (1 - p) / n + square / n / 4)
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def bootstrap_interval(values: Sequence[Any], statistic: Callable[[Any], float] = np.mean, n: int = 1000,
                       seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979): the middle `level` of the statistic over `n` resamples.

    `values` may be numbers, or anything `statistic` takes a list of, such as (hypothesis, reference) pairs.
    """
    if len(values) == 0:
        raise ValueError("values: got none, expected at least one")
    if n < 1 or not 0 < level < 1:
        raise ValueError(f"n, level: got {n} and {level}, expected n ≥ 1 and 0 < level < 1")
    numbers = np.asarray(values) if np.isscalar(values[0]) and not isinstance(values[0], str) else None
    draws = np.random.default_rng(seed).integers(len(values), size=(n, len(values)))
    results = [statistic([values[i] for i in draw] if numbers is None else numbers[draw]) for draw in draws]
    low, high = np.quantile(results, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class OutcomeError(AssertionError):
    """A result lies outside the band that the course promises."""


def outcome(name: str, value: float, at_least: float | None = None, at_most: float | None = None,
            between: tuple[float, float] | None = None, headline: bool = False) -> None:
    """Print a result beside its band, record it for the report, and raise OutcomeError when it falls outside.

    headline: `run` prints it on its report card.

        outcome("alignment error rate", 0.1234, at_most=0.25)
        outcome · alignment error rate: 0.123 (band: at most 0.250) ✓
    """
    if sum(limit is not None for limit in (at_least, at_most, between)) != 1:
        raise ValueError("band: expected exactly one of at_least, at_most, between")
    value = float(value)
    low, high = between if between is not None else (at_least, at_most)
    if low is not None and high is not None and low > high:
        raise ValueError(f"between: got {low} … {high}, expected the lower limit first")
    ok = (low is None or value >= low) and (high is None or value <= high)
    bands = {"at least": at_least, "at most": at_most}
    band = (f"{_short(low)} to {_short(high)}" if between is not None else
            next(f"{words} {_short(limit)}" for words, limit in bands.items() if limit is not None))
    line = f"outcome · {name}: {_short(value)} (band: {band}) {'✓' if ok else '✗'}"
    print(line)
    if path := os.environ.get("COURSE_OUTCOMES"):
        finite = value if math.isfinite(value) else None                # JSON has no NaN and no infinity
        record = {"name": name, "value": finite, "low": low, "high": high, "ok": ok, "headline": headline}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    if not ok:
        raise OutcomeError(line)


class DifferentError(AssertionError):
    """Two computations that should agree do not."""


# Differences allowed relative to the largest expected entry, by the less precise of the two dtypes.
RTOL = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}


def same(mine: Any, theirs: Any, what: str = "mine and theirs", *, wrt: Any = None, theirs_wrt: Any = None,
         rtol: float | None = None, seed: int = 0) -> None:
    """Print one line when two results agree in shape and value (and gradient); else raise DifferentError.

    `mine`, `theirs`: a tensor, array or number, or a tuple, list or dict of tensors. Differences count
    relative to the largest entry expected. With `wrt` (tensors) the gradients of one random projection of the
    outputs, fixed by `seed`, are compared too; `theirs_wrt`: the library's tensors where `wrt` is not shared.

        same(my_cell(x, h), library_cell(x, h), "GRU step", wrt=[x, h])
        same · GRU step: values and gradients equal (largest relative difference below 1e-10)
    """
    ours, expected = _tensors(mine), _tensors(theirs)
    used = _compare(f"{what}: value", ours, expected, rtol)
    compared = "values"
    if wrt is not None:
        gradients = _gradients("mine", ours, _tensors(wrt), seed)
        library = _gradients("theirs", expected, _tensors(wrt if theirs_wrt is None else theirs_wrt), seed)
        used = max(used, _compare(f"{what}: gradient", gradients, library, rtol))
        compared = "values and gradients"
    within = f" (largest relative difference below {used:.0e})" if used else ""
    print(f"same · {what}: {compared} equal{within}")


def _tensors(value: Any) -> dict[str, Tensor]:
    """The tensors in a value, each under the name of its place."""
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple) and any(isinstance(x, Tensor | np.ndarray | dict) for x in value):
        parts = list(enumerate(value))
    else:
        return {"": value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))}
    return {f" {key}{name}": tensor for key, part in parts for name, tensor in _tensors(part).items()}


def _gradients(side: str, outputs: dict[str, Tensor], wrt: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Gradients of Σ r·output, r normal and the same on both sides; an input not used has gradient 0."""
    generator = torch.Generator().manual_seed(seed)
    projections = [(output, torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output))
                   for output in outputs.values() if output.is_floating_point()]
    terms = [(output * r).sum() for output, r in projections if output.requires_grad]
    if not terms:
        raise ValueError(f"{side}: no output requires gradients, so those by wrt cannot be compared")
    found = torch.autograd.grad(sum(terms), list(wrt.values()), retain_graph=True, allow_unused=True)
    return {name: torch.zeros_like(wrt[name]) if g is None else g for name, g in zip(wrt, found, strict=True)}


def _compare(what: str, mine: dict[str, Tensor], theirs: dict[str, Tensor], rtol: float | None) -> float:
    """The tolerance that held; DifferentError with the place and the two numbers where it did not."""
    if list(mine) != list(theirs):
        raise DifferentError(f"{what}: got parts {list(mine)}, expected {list(theirs)}")
    used = 0.0
    for name, b in theirs.items():
        a = mine[name]
        if a.shape != b.shape:
            raise DifferentError(f"{what}{name}: got shape {tuple(a.shape)}, expected {tuple(b.shape)}")
        allowed = max(RTOL.get(a.dtype, 0.0), RTOL.get(b.dtype, 0.0)) if rtol is None else rtol
        x, y = (tensor.detach().cpu().to(torch.float64) for tensor in (a, b))
        finite = y[y.isfinite()].abs()
        scale = finite.max().item() if finite.numel() and finite.any() else 1.0
        gap = torch.where(x == y, 0.0, (x - y).abs() / scale)         # equal infinities are equal; NaN is not
        if not (gap <= allowed).all():
            worst = int(gap.nan_to_num(math.inf, math.inf).argmax())
            place = [int(i) for i in np.unravel_index(worst, x.shape)]
            got, want, off = (tensor.flatten()[worst].item() for tensor in (x, y, gap))
            raise DifferentError(f"{what}{name} at {place}: got {got:.6g}, expected {want:.6g} "
                                 f"(relative difference {off:.1e}, allowed {allowed:.0e})")
        used = max(used, allowed)
    return used


def _short(value: float) -> str:
    return f"{value:.3f}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.3g}"


def _per(name: str, total: float, count: float) -> float:
    if not count > 0:
        raise ValueError(f"{name}: got {count}, expected more than 0")
    return float(total) / float(count)


def _same_length(**lists: Sequence[Any]) -> None:
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f"{', '.join(lengths)}: got {', '.join(map(str, lengths.values()))} items, "
                         f"expected equally many and at least one")


def _links(group: Iterable[Link]) -> set[Link]:
    links = set(group)
    if wrong := [link for link in links if not (isinstance(link, tuple) and len(link) == 2)]:
        raise ValueError(f"links: got {wrong[0]!r}, expected pairs (target, source)")
    return links
