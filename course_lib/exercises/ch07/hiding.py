"""Exercise 7.1, words hidden as BERT hides them (Devlin et al. 2019, section 3.1), judged by what many draws have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.answers import Output
from course_lib.exercises.ch07.hiding_checks import CHECKS, MASKED, RANDOM, RATE, Hidden
from course_lib.exercises.judging import arrays_of
from course_lib.exercises.spec import Case, Exercise, Finding, Property

NAMES = ("shown", "chosen")
N_ROWS, LENGTH, N_IDS = 1500, 256, 60           # of the large batch: about 52,000 tokens are chosen
SAME, OTHER = "the numbers of the case before once more", "the same ids with other random numbers"


def reference(ids: Tensor, special: Tensor, mask_id: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A right answer to 7.1: one coin for each token decides whether it is chosen, another how it is shown."""
    coin, fate = torch.from_numpy(rng.random((2, *ids.shape)))
    words = (~special).nonzero()[:, 0]
    others = words[torch.from_numpy(rng.integers(len(words), size=tuple(ids.shape)))]
    chosen = (coin < RATE) & ~special[ids]
    shown = ids.masked_fill(chosen & (fate < MASKED), mask_id)
    return torch.where(chosen & (fate >= MASKED) & (fate < MASKED + RANDOM), others, shown), chosen


# ---------------------------------------------------------------- draws


def _batch(rng: np.random.Generator, rows: int, length: int, n_ids: int) -> dict[str, Any]:
    """Rows of [CLS] words [SEP] and padding; few words are frequent, and any id may be a special one."""
    names = rng.permutation(n_ids)
    specials, words = names[:5], names[5:]       # [CLS] [SEP] [PAD] [MASK] and one that nothing is known of
    weights = 1 / np.arange(2, len(words) + 2)
    ids = rng.choice(words, (rows, length), p=weights / weights.sum())
    ends = rng.integers(length * 4 // 5, length, rows)
    place = np.arange(length)
    ids = np.where(place == ends[:, None], specials[1], np.where(place > ends[:, None], specials[2], ids))
    ids[:, 0] = specials[0]
    return {"ids": ids, "special": np.isin(np.arange(n_ids), specials), "mask_id": int(specials[3])}


def draw(rng: np.random.Generator) -> list[Case]:
    """One large batch, one small one that is hidden three times, and rows in which there is nothing to hide."""
    first, second, third = (int(n) for n in rng.permutation(1000)[:3])
    large, small, bare = _batch(rng, N_ROWS, LENGTH, N_IDS), _batch(rng, 12, 40, 30), _batch(rng, 6, 9, 12)
    bare["ids"][:4] = np.flatnonzero(bare["special"])[rng.integers(5, size=(4, 9))]
    return [
        Case("", large | {"rng": np.random.default_rng(first)}, f"{N_ROWS} rows of {LENGTH} tokens"),
        Case("care", small | {"rng": np.random.default_rng(second)}, "12 rows of 40 tokens"),
        Case("care", small | {"rng": np.random.default_rng(second)}, SAME),
        Case("care", small | {"rng": np.random.default_rng(third)}, OTHER),
        Case("care", bare | {"rng": np.random.default_rng(third)}, "rows of special tokens alone"),
    ]


# ---------------------------------------------------------------- judging


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Rules without exception on every case, statistics on the large one, and what three runs on one batch say of the random numbers."""
    read = [_read(case, output) for case, output in zip(cases, outputs, strict=True)]
    if problem := next((f"{case.note}: {found}" for case, found in zip(cases, read) if isinstance(found, str)), ""):
        usable = isinstance(read[0], Hidden)
        faults = _faults(read[0], statistics=True) if usable else []
        return Finding({group: usable and all(group != other for other, _, _ in faults) for group in ("chosen", "shown")}, problem)
    found = _faults(read[0], statistics=True)
    found += [fault for hidden in read[1:] for fault in _faults(hidden, statistics=False)] + _care(read[1:4], outputs)
    holds = {prop.group: all(group != prop.group for group, _, _ in found) for prop in exercise.properties}
    _, name, message = found[0] if found else ("", "", "")
    return Finding(holds, message, name)


def _faults(hidden: Hidden, statistics: bool) -> list[tuple[str, str, str]]:
    """(group, misconception, message) of every group's first fault."""
    found: dict[str, tuple[str, str, str]] = {}
    for group, exact, check in CHECKS:
        if (exact or statistics) and group not in found and (fault := check(hidden)):
            found[group] = group, *fault
    return list(found.values())


def _care(runs: Sequence[Hidden], outputs: Sequence[Output]) -> list[tuple[str, str, str]]:
    """What three runs on one batch tell: two with the same random numbers, one with others."""
    one, same, other = (np.stack([hidden.shown, hidden.chosen]) for hidden in runs)
    if changed := next((output.message for output in outputs if "argument ids" in output.message), ""):
        told = "The words that were there are lost, and the loss asks for them. Change a copy."
        return [("care", "ids overwritten", f"{changed[0].upper()}{changed[1:]}. {told}")]
    if (one == other).all():
        said = "Two generators of different seeds give the same blanks, so every epoch hides the same words. Who draws, if not rng?"
        return [("care", "rng not used", said)]
    if (one != same).any():
        said = "The same ids and a generator in the same state give other blanks the second time: not all your random numbers are rng's."
        return [("care", "other random numbers", said)]
    return []


def _read(case: Case, output: Output) -> Hidden | str:
    """An answer on a case, or what is wrong with its form."""
    if output.status != "value":
        return output.message or "your function returned nothing here"
    ids, special, mask_id, _ = case.args.values()
    try:
        shown, chosen = arrays_of(output.value, NAMES)
    except ValueError as error:
        return str(error)
    for name, array in zip(NAMES, (shown, chosen)):
        if array.shape != ids.shape:
            return f"{name} has shape {array.shape}, expected that of ids, {ids.shape}"
    if not np.isin(chosen, (0, 1)).all():
        return "chosen holds other values than True and False"
    if not ((shown >= 0) & (shown < len(special)) & (shown % 1 == 0)).all():
        return f"shown holds something that is no id, 0 … {len(special) - 1}"
    return Hidden(ids, special, mask_id, shown.astype(np.int64), chosen.astype(bool))


EXERCISE = Exercise(
    "7.1",
    "Eighty, ten, ten",
    "implement",
    3,
    20,
    "hide words 80/10/10 and say why not all by [MASK]",
    (
        Property("chosen", "15 % of the ordinary tokens are chosen, each by itself", 2),
        Property("shown", "of these 80 % are [MASK], 10 % random, 10 % as they were, all others untouched", 2),
        Property("care", "every random number is rng's, and ids stay as they were"),
    ),
    draw,
    examine,
    reference,
)
