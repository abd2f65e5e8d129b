"""How many demonstrations are enough: the assistant tuned on 50 to 5000 of them, all true, for the same number of steps.

`python3 -m course_lib.recipes.demonstrations SEEDS` takes chapter 09's model, tunes it once for each seed and budget, and keeps the
scores with the course after each seed. About five minutes a seed on one core.
"""

import copy
import json
import sys
from typing import Any

import numpy as np
import torch

from course_lib.alignment.sft import ResponseBatches
from course_lib.models.gpt import GPT
from course_lib.recipes import assistant
from course_lib.recipes.results import keep
from course_lib.tokenizers import WordTokenizer

BUDGETS, STEPS, N_TEST = (50, 200, 1000, 5000), 750, 400
TESTS = {"same": "test", "new combination": "questions", "new kind": "unseen"}


def shares(kept: dict[str, Any], test: str, what: str = "true") -> np.ndarray:
    """What `stored("demonstrations")` has of a test: (budgets, seeds); what: a field of assistant.Report."""
    return np.array([[run["shares"][str(budget)][test][what] for run in kept["runs"]] for budget in kept["settings"]["budgets"]])


def measure(base: GPT, words: WordTokenizer, seed: int) -> dict[str, Any]:
    """The shares of every budget on every test; demonstrations, their order and the new words' rows differ from seed to seed."""
    asked = assistant.ask(max(BUDGETS), seed=100 + seed)
    grown, tokenizer, rows = assistant.prepare(base, words, asked, assistant.demonstrate(asked, None), seed=seed,
                                               more=(test.text for split in TESTS.values() for test in assistant.ask(500, split, 1)))
    found: dict[str, Any] = {}
    for budget in BUDGETS:
        model = copy.deepcopy(grown)
        assistant.fit(model, ResponseBatches(rows[:budget], 16, seed=seed), STEPS, seed=seed)
        found[str(budget)] = {}
        for name, split in TESTS.items():
            test = assistant.ask(N_TEST, split, seed=1000)
            report = assistant.report(test, assistant.answer(model, tokenizer, test))
            found[str(budget)][name] = {what: round(share.value, 4) for what, share in report._asdict().items()}
        print(json.dumps({"seed": seed, "demonstrations": budget, **found[str(budget)]}), flush=True)
    return {"seed": seed, "shares": found}


if __name__ == "__main__":
    runs: list[dict[str, Any]] = []
    storyteller, vocabulary = assistant.base()
    for number in range(int(sys.argv[1])):
        runs.append(measure(storyteller, vocabulary, number))
        keep("demonstrations", torch.device("cpu"), {"budgets": BUDGETS, "steps": STEPS, "test": N_TEST}, runs=runs)
