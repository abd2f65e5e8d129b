"""The stored comparison of starts: what it says is recomputed from its rows, and its interval is Student's."""

import numpy as np
import pytest

from course_lib.recipes.finetuning import TOWN_TASKS
from course_lib.recipes.label_budgets import STARTS, gain, scores_of
from course_lib.recipes.results import stored


def kept(differences, budgets=(50, 200)):
    """A comparison in which the pre-trained start is ahead by `differences` (budgets, seeds)."""
    rows = np.asarray(differences, dtype=float)
    return {"settings": {"budgets": list(budgets)},
            "runs": [{"scores": {"t": {str(budget): {"pre-trained": 0.5 + rows[b, seed], "random start": 0.5, "words counted": 0.25}
                                       for b, budget in enumerate(budgets)}}} for seed in range(rows.shape[1])]}


def test_the_interval_is_students():
    found = gain(kept([[0.1, 0.2, 0.3, 0.4, 0.5], [0.0] * 5]), "t")
    half = 2.776445 * np.std([1, 2, 3, 4, 5], ddof=1) / 10 / 5**0.5          # t of 4 degrees of freedom, from a table
    assert found[0] == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=1e-4)
    assert found[1] == pytest.approx((0, 0, 0)) and gain(kept([[0.1] * 5] * 2), "t", "words counted")[0][0] == pytest.approx(0.35)


def test_it_covers_as_often_as_it_says():
    random = np.random.default_rng(0)
    found = gain(kept(random.normal(0.1, 0.05, (2000, 5)), range(2000)), "t")
    assert 0.935 < np.mean([low <= 0.1 <= high for _, low, high in found]) < 0.965


def test_one_seed_shows_no_interval():
    with pytest.raises(ValueError, match="kept: got 1 seeds, expected 2 to 10"):
        gain(kept([[0.1], [0.2]]), "t")


def test_what_is_stored_is_whole():
    found = stored("label_budgets")
    assert len(found["runs"]) >= 5 and len({run["seed"] for run in found["runs"]}) == len(found["runs"])
    for task in TOWN_TASKS:
        for start in STARTS:
            scores = scores_of(found, task, start)
            assert scores.shape == (len(found["settings"]["budgets"]), len(found["runs"])) and ((scores >= 0) & (scores <= 1)).all()
