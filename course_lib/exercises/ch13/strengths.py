"""Exercise 13.1, scores from comparisons: maximum likelihood under Bradley and Terry (1952)."""

from collections.abc import Callable

import numpy as np

from course_lib.exercises.judging import ArrayExaminer, Arrays, Symptom, Wrong, difference, number
from course_lib.exercises.spec import Case, Exercise, Property

NEAR = 0.01     # of the largest score: whoever climbs to the top step by step stops somewhere near it


def probabilities(scores: np.ndarray) -> np.ndarray:
    """P(i is preferred to j) = σ(s_i − s_j), (n, n)."""
    return 1 / (1 + np.exp(scores - scores[:, None]))


def reference(wins: np.ndarray) -> np.ndarray:
    """The expected value of 13.1, by Newton's method; a step of more than 1 is cut."""
    wins = np.asarray(wins, dtype=float)
    games, scores = wins + wins.T, np.zeros(len(wins))
    for _ in range(100):
        p = probabilities(scores)
        slope = (wins - games * p).sum(1)
        bend = games * p * (1 - p)
        step = np.linalg.pinv(np.diag(bend.sum(1)) - bend) @ slope
        scores += step / max(1, np.abs(step).max())
        if np.abs(step).max() < 1e-9:
            break
    return scores - scores.mean()


# ---------------------------------------------------------------- draws


def _finite(wins: np.ndarray) -> bool:
    """True if the best scores are finite: from everybody a chain of wins leads to everybody (Ford 1957)."""
    reached = np.linalg.matrix_power((wins > 0) + np.eye(len(wins)), len(wins))
    return bool((reached > 0).all())


def _case(rng: np.random.Generator, group: str, games: np.ndarray, note: str, spread: float = 1.2, dtype: str = "int64",
          layout: str = "C") -> Case:
    """Games between drawn strengths, drawn again until the best scores are finite and no two are alike."""
    while True:
        scores = spread * rng.permutation(np.linspace(-1, 1, len(games))) + 0.2 * rng.standard_normal(len(games))
        upper = np.triu(rng.binomial(games, probabilities(scores)), 1)
        wins = upper + (np.triu(games, 1) - upper).T
        if _finite(wins) and np.diff(np.sort(reference(wins))).min() > 0.15:
            return Case(group, {"wins": np.asarray(wins, dtype, layout)}, note)


def _round_robin(n: int, each: int) -> np.ndarray:
    return np.full((n, n), each) * (1 - np.eye(n, dtype=int))


def _uneven(rng: np.random.Generator, n: int) -> np.ndarray:
    """Neighbours in a circle meet often, the others rarely or never."""
    games = np.triu(rng.permuted(np.resize([0, 2, 6], n * n)).reshape(n, n), 1)
    games[np.arange(n - 1), np.arange(1, n)] = rng.permutation(np.resize([4, 40, 12], n - 1))
    games[0, n - 1] = 9
    return games + games.T


def draw(rng: np.random.Generator) -> list[Case]:
    return [
        _case(rng, "values", _round_robin(4, 20), "4 of them, 20 games each pair"),
        _case(rng, "values", _round_robin(5, 30), "5 of them, 30 games each pair"),
        _case(rng, "uneven", _uneven(rng, 5), "5 of them, who met unequally often"),
        _case(rng, "uneven", _uneven(rng, 6), "6 of them, who met unequally often"),
        _case(rng, "uneven", _uneven(rng, 4), "4 of them, who met unequally often"),
        _case(rng, "hard", _round_robin(2, 25), "two, 25 games", spread=0.9),
        _case(rng, "hard", _round_robin(4, 200), "4 of them, far apart", spread=2.5, dtype="float64", layout="F"),
    ]


# ---------------------------------------------------------------- mistakes


def _centred(scores: np.ndarray) -> np.ndarray:
    return scores - scores.mean()


def _of(function: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """A wrong answer from the right one, or from the wins: `function` gets the wins as floats."""
    return lambda wins: function(np.asarray(wins, dtype=float))


def _log_odds(wins: np.ndarray) -> np.ndarray:
    return _centred(np.log(wins.sum(1) / wins.sum(0)))


def _share(wins: np.ndarray) -> np.ndarray:
    return wins.sum(1) / (wins + wins.T).sum(1)


def _pair_shares(wins: np.ndarray) -> np.ndarray:
    games = wins + wins.T
    return np.divide(wins, games, out=np.zeros_like(wins), where=games > 0)


def _mean_pair_odds(wins: np.ndarray) -> np.ndarray:
    met = (wins + wins.T) > 0       # half a win more each, as one does against log 0
    return _centred(np.where(met, np.log((wins + 0.5) / (wins.T + 0.5)), 0).sum(1) / met.sum(1))


def _small(case: Case, got: Arrays) -> bool:
    """Centred, in proportion to the best scores, but smaller: a climb that was given up."""
    due = reference(case.args["wins"])
    if got[0].shape != due.shape or not np.isfinite(got[0]).all() or abs(got[0].sum()) > 1e-3:
        return False
    along = got[0] @ due / (due @ due)
    return 0.02 < along < 0.97 and float(np.linalg.norm(got[0] - along * due)) < 0.2 * along * float(np.linalg.norm(due))


_GAP = "σ of the difference of two scores is to be the probability of preferring one to the other."
_OPPONENT = "To win against a strong one tells more than to win against a weak one."
WRONGS = (
    Wrong("share of wins", _of(_share), f"You return shares of wins. {_OPPONENT}"),
    Wrong("share of wins", _of(lambda wins: _centred(_share(wins))), f"You return shares of wins, moved to mean 0. {_OPPONENT}"),
    Wrong("log of the share", _of(lambda wins: _centred(np.log(_share(wins)))), f"You return logarithms of shares of wins. {_OPPONENT}"),
    Wrong(
        "odds of all wins",
        _of(_log_odds),
        f"You take the log-odds of all wins to all losses. {_OPPONENT} With two of them it would be right, but for a factor.",
    ),
    Wrong("odds of all wins", _of(lambda wins: np.log(wins.sum(1) / wins.sum(0))), f"You take the log-odds of all wins. {_OPPONENT}"),
    Wrong("wins minus losses", _of(lambda wins: wins.sum(1) - wins.sum(0)), f"You count wins less losses. {_GAP}"),
    Wrong("number of wins", _of(lambda wins: wins.sum(1)), f"You count wins. {_GAP}"),
    Wrong("mean of the pairs' odds", _of(_mean_pair_odds), "You average log-odds over the pairs: one that met once weighs as much."),
    Wrong("not centred", _of(lambda wins: reference(wins) - reference(wins)[0]), "The first score is fixed at 0. Their mean is to be 0."),
    Wrong("not centred", _of(lambda wins: reference(wins) - reference(wins)[-1]), "The last score is fixed at 0. Their mean is to be 0."),
    Wrong("not centred", _of(lambda wins: reference(wins) - reference(wins).min()), "The least score is 0. Their mean is to be 0."),
    Wrong(
        "not centred",
        _of(lambda wins: reference(wins) - np.log(np.exp(reference(wins)).sum())),
        "Your strengths sum to 1, and scores are their logarithms. It is the scores whose mean is to be 0.",
    ),
    Wrong("strengths", _of(lambda wins: np.exp(reference(wins))), "These are exponentials of the scores. Asked for are the scores."),
    Wrong(
        "strengths",
        _of(lambda wins: np.exp(reference(wins)) / np.exp(reference(wins)).sum()),
        "These are strengths that sum to 1. Asked for are their logarithms, with mean 0.",
    ),
    Wrong("base 2", _of(lambda wins: reference(wins) / np.log(2)), f"Your logarithm has base 2. {_GAP}"),
    Wrong("base 10", _of(lambda wins: reference(wins) / np.log(10)), f"Your logarithm has base 10. {_GAP}"),
    Wrong("Elo points", _of(lambda wins: reference(wins) * 400 / np.log(10)), f"These are Elo's points, 400 for odds of ten. {_GAP}"),
    Wrong("losses for wins", _of(lambda wins: -reference(wins)), "The signs are exchanged: wins[i, j] is how often i was preferred to j."),
    Wrong(
        "pairs weigh the same",
        _of(lambda wins: reference(_pair_shares(wins))),
        "Every pair weighs the same in your scores, however often they met. Forty games tell more than four.",
    ),
    Symptom(
        "not yet at the top",
        _small,
        f"The scores go the right way, and stop before they are there. {_GAP} Give it more steps, or larger ones.",
    ),
)


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, with room for a climb that stopped near the top."""
    near = got[0].shape == expected[0].shape and bool((np.abs(got[0] - expected[0]) <= NEAR * np.abs(expected[0]).max()).all())
    return "" if near else difference(names, got, expected)


def _advice(case: Case, got: Arrays, expected: Arrays) -> str:
    wins = np.asarray(case.args["wins"], dtype=float)
    if not np.isfinite(got[0]).all() or np.abs(got[0]).max() > 50:
        return "Scores that grow without end come from steps that are too large"
    due = float(((wins + wins.T) * probabilities(got[0])).sum(1)[0])
    return f"Number 0 has won {number(wins[0].sum())} times; your scores expect {number(due)}. At the top both agree, for each"


EXERCISE = Exercise(
    "13.1",
    "Who is better?",
    "implement",
    3,
    20,
    "fit a reward to comparisons",
    (
        Property("values", "where all have met equally often", 2),
        Property("uneven", "where some met often, some never", 2),
        Property("hard", "two alone, and four far apart"),
    ),
    draw,
    ArrayExaminer(("scores",), WRONGS, _differs, _advice),
    reference,
)
