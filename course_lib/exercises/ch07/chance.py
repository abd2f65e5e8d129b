"""What chance allows: χ² tests of counts against shares, and of groups against each other (Pearson 1900)."""

import numpy as np
import torch

P = 3e-7        # below it chance is no explanation
ALIKE = 1e-3    # above it shares may be the ones that were drawn from


def _tails(x: float, freedom: int) -> tuple[float, float]:
    """P(χ² ≤ x) and P(χ² ≥ x)."""
    half = torch.tensor([freedom / 2, x / 2], dtype=torch.float64)
    return torch.special.gammainc(*half).item(), torch.special.gammaincc(*half).item()


def likelihood(counts: np.ndarray, shares: np.ndarray) -> float:
    """How often chance alone is as far from these shares as the counts are (Pearson's χ²)."""
    expected = counts.sum() * np.asarray(shares, dtype=float)
    if (counts[expected == 0] > 0).any():
        return 0.0
    some = expected > 0
    return _tails((np.square(counts - expected)[some] / expected[some]).sum(), max(int(some.sum()) - 1, 1))[1]


def unevenness(hits: np.ndarray, trials: np.ndarray) -> int:
    """1 if hits in groups of so many trials, all with one chance, vary more than they should, −1 if they vary less, else 0."""
    trials, hits = trials[trials > 0], hits[trials > 0]
    share = hits.sum() / max(trials.sum(), 1)
    if not 0 < share < 1:
        return 0
    below, above = _tails((np.square(hits - share * trials) / (trials * share * (1 - share))).sum(), len(trials) - 1)
    return int(above < P) - int(below < P)
