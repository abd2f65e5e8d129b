"""Exercise 4.7, attention as a regression with a chosen sharpness (Nadaraya 1964, Watson 1964).

Inputs have length √d, as queries and keys of d features with variance 1 have on average. Among inputs of one
length the dot product orders keys as the distance does: softmax(β q·k) is the kernel exp(−β |q − k|²/2).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import scaled_dot_product_attention
from course_lib.exercises.answers import Output
from course_lib.exercises.judging import ArrayExaminer, number
from course_lib.exercises.spec import Case, Exercise, Finding, Property

N_TRAIN, N_BLIND = 800, 400
GRID = np.geomspace(0.1, 400, 24)  # sharpnesses β
# Over 150 draws: mean at least 1.00, nearest neighbour 1.07, fixed 1/√d 0.56–0.84, the best fixed sharpness
# at least 0.20; chosen by leaving one out, folds or a quarter held out, on grids of factor 2 or 3: at most 0.13.
FIRST_MARK, MARK = 0.9, 0.18
# Name, d, how fast the target changes, standard deviation of the noise (that of the target is 1).
SETS = (("the smooth set", 3, 1.0, 1.6), ("the rough set", 2, 10.0, 0.4))


def draw(rng: np.random.Generator) -> list[Case]:
    """Two data sets; the true values of the blind inputs stay with the judge."""
    return [_data(rng, *asked) for asked in SETS]


def _data(rng: np.random.Generator, name: str, d: int, speed: float, noise: float) -> Case:
    x = rng.standard_normal((N_TRAIN + N_BLIND, d))
    x *= d**0.5 / np.linalg.norm(x, axis=1, keepdims=True)
    waves = rng.standard_normal((6, d))
    waves *= speed / np.linalg.norm(waves, axis=1, keepdims=True)
    y = np.sin(x @ waves.T + rng.uniform(0, 2 * np.pi, 6)).sum(1)
    y = (y - y.mean()) / y.std()
    seen = y[:N_TRAIN] + noise * rng.standard_normal(N_TRAIN)
    args = {"train_x": x[:N_TRAIN], "train_y": seen, "blind_x": x[N_TRAIN:]}
    return Case("", {k: v.astype(np.float32) for k, v in args.items()}, name, {"truth": y[N_TRAIN:]})


def reference(train_x: Tensor, train_y: Tensor, blind_x: Tensor) -> Tensor:
    """A right answer to 4.7: the course's attention, its sharpness chosen by leaving one out."""
    others = ~torch.eye(len(train_x), dtype=torch.bool)

    def predict(query: Tensor, sharpness: float, mask: Tensor | None = None) -> Tensor:
        query = query * sharpness * query.shape[1] ** 0.5  # attention divides by √d itself
        return scaled_dot_product_attention(query, train_x, train_y[:, None], mask)[0][:, 0]

    def left_out(sharpness: float) -> float:
        return float((predict(train_x, sharpness, others) - train_y).square().mean())

    return predict(blind_x, min(GRID.tolist(), key=left_out))


# ---------------------------------------------------------------- what else they may have done


def _kernel(case: Case, sharpness: float, dim: int = 1, normal: bool = True) -> np.ndarray:
    """Predictions of attention with one sharpness; a softmax over another axis, or none."""
    x, y, blind = (case.args[name].astype(np.float64) for name in ("train_x", "train_y", "blind_x"))
    scores = sharpness * blind @ x.T
    weights = np.exp(scores - scores.max(dim, keepdims=True) if normal else scores)
    return (weights / weights.sum(dim, keepdims=True) if normal else weights) @ y


def _nearest(case: Case) -> np.ndarray:
    x, y, blind = (case.args[name].astype(np.float64) for name in ("train_x", "train_y", "blind_x"))
    return y[(blind @ x.T).argmax(1)]


def _mean(case: Case) -> np.ndarray:
    return np.full(N_BLIND, case.args["train_y"].astype(np.float64).mean())


def _root(case: Case) -> float:
    return case.args["train_x"].shape[1] ** -0.5


WRONGS = (
    ("the mean", _mean, "You predict the mean of train_y for every input: the inputs play no part."),
    (
        "nearest neighbour",
        _nearest,
        "Your predictions are the nearest examples' values, noise included. Was the sharpness chosen by the error "
        "on the training points? There each point finds itself, and the sharpest kernel always wins.",
    ),
    (
        "fixed root",
        lambda case: _kernel(case, _root(case)),
        "Your weights are softmax(q·k/√d), whatever the data. The root keeps the scores' spread at 1; how far "
        "around a point one should average is another question, and only the data can answer it.",
    ),
    (
        "fixed root",
        lambda case: _kernel(case, 2 * _root(case)),
        "Your weights are softmax(−|q − k|²/√d), whatever the data. How far around a point one should average "
        "depends on the noise and on how fast the target changes: only the data can tell.",
    ),
    (
        "fixed sharpness",
        lambda case: _kernel(case, 1),
        "Your weights are softmax(q·k), or softmax(−|q − k|²/2), whatever the data. How far around a point one "
        "should average depends on the noise and on how fast the target changes: only the data can tell.",
    ),
    (
        "fixed sharpness",
        lambda case: _kernel(case, 2),
        "Your weights are softmax(−|q − k|²), whatever the data. How far around a point one should average "
        "depends on the noise and on how fast the target changes: only the data can tell.",
    ),
    (
        "softmax over the queries",
        lambda case: _kernel(case, _root(case), dim=0),
        "Your softmax runs over the blind inputs; for each of them, the training points are to compete.",
    ),
    (
        "weights not normalised",
        lambda case: _kernel(case, _root(case), normal=False),
        "Your weights do not sum to 1: a prediction is a weighted mean of train_y.",
    ),
)
PARSER = ArrayExaminer(("predictions",), ())


def examine(exercise: Exercise, cases: Sequence[Case], outputs: Sequence[Output]) -> Finding:
    """Points by the relative error on blind inputs, averaged over the two sets; above the mark, the reason."""
    given: list[np.ndarray] = []
    for case, output in zip(cases, outputs, strict=True):
        got, problem = PARSER.parse(output)
        if problem := problem or _form(got[0]):
            return Finding({}, f"{case.note}: {problem}")
        given.append(got[0])
    errors = [relative_error(got, case) for got, case in zip(given, cases, strict=True)]
    mean = sum(errors) / len(errors)
    holds = {"first": mean <= FIRST_MARK, "mark": mean <= MARK}
    message, name = ("", "") if holds["mark"] else _reason(given, errors, cases)
    each = " and ".join(f"{number(e)} on {case.note}" for e, case in zip(errors, cases, strict=True))
    said = f"Mean squared error over variance: {each}, {number(mean)} on average."
    return Finding(holds, f"{said} {message}".strip(), name)


def _form(got: np.ndarray) -> str:
    """What is wrong with the form of predictions; "" if nothing."""
    if got.shape == (N_BLIND, 1):
        return f"predictions have shape {got.shape}, expected ({N_BLIND},): leave out the last axis"
    if got.shape != (N_BLIND,):
        return f"predictions have shape {got.shape}, expected ({N_BLIND},), one number for each row of blind_x"
    return "" if np.isfinite(got).all() else f"{int((~np.isfinite(got)).sum())} predictions are NaN or ∞"


def relative_error(predictions: np.ndarray, case: Case) -> float:
    """Mean squared error on the blind inputs, divided by the variance of their true values."""
    truth = case.hidden["truth"]
    return float(((predictions - truth) ** 2).mean() / truth.var())


def _close(got: np.ndarray, theirs: np.ndarray) -> bool:
    """True if nearly all predictions agree within a hundredth of their spread; which neighbour is nearest may tie."""
    return float((np.abs(got - theirs) <= 0.01 * max(float(theirs.std()), 0.01)).mean()) >= 0.98


def _reason(given: Sequence[np.ndarray], errors: Sequence[float], cases: Sequence[Case]) -> tuple[str, str]:
    for name, wrong, message in WRONGS:
        if all(_close(got, wrong(case)) for got, case in zip(given, cases, strict=True)):
            return message, name
    found = [_sharpness(got, case) for got, case in zip(given, cases, strict=True)]
    worst = int(np.argmax(errors))
    message, name = _on_one_set(given[worst], found[worst], errors[worst], cases[worst])
    if all(found) and max(found) < 1.2 * min(found):
        both = f"Both sets got the same sharpness, β ≈ {_about(found[worst])}: they differ, and each needs its own."
        return f"{both} {message}", name if name == "too sharp" else "one sharpness for both"
    return message, name


def _on_one_set(got: np.ndarray, sharpness: float, error: float, case: Case) -> tuple[str, str]:
    """What to say to predictions that miss the mark on a set: attention's, with the wrong sharpness, or others."""
    if sharpness:
        start = f"On {case.note} your weights are those of softmax(β q·k) with β ≈ {_about(sharpness)}"
        if relative_error(_kernel(case, sharpness / 4), case) < error:
            return (
                f"{start}, too sharp: a prediction follows the noise of a few neighbours. If you chose β by the error "
                "on the training points: there each point finds itself, and the sharpest always wins."
            ), "too sharp"
        if relative_error(_kernel(case, 4 * sharpness), case) < error:
            return f"{start}, too flat: a prediction averages over places where the target differs.", "too flat"
    spread = number(np.std(got) / np.std(case.hidden["truth"]))
    mean, nearest = (number(relative_error(other(case), case)) for other in (_mean, _nearest))
    return (
        f"The mark is {MARK}. On {case.note} your predictions spread {spread} times as far as the truth; the mean of "
        f"train_y would have an error of {mean} there, the nearest neighbour one of {nearest}."
    ), ""


def _about(sharpness: float) -> str:
    """Two digits: the sharpness is only known to the step of a grid."""
    return f"{float(f'{sharpness:.2g}'):g}"


def _sharpness(got: np.ndarray, case: Case) -> float:
    """The sharpness whose attention gives these predictions, nearly; 0 if there is none."""
    fine = np.geomspace(0.1, 800, 70)
    gaps = [float(((got - _kernel(case, beta)) ** 2).mean()) for beta in fine]
    best = int(np.argmin(gaps))
    return float(fine[best]) if gaps[best] <= 2e-3 * max(float(got.var()), 1e-6) else 0.0


EXERCISE = Exercise(
    "4.7",
    "How sharp?",
    "measure",
    3,
    20,
    "use attention as a regression with a chosen sharpness",
    (
        Property("first", f"the first mark: an error of at most {FIRST_MARK}, under the mean's and a nearest neighbour's"),
        Property("mark", f"the second mark: an error of at most {MARK}", 2),
    ),
    draw,
    examine,
    reference,
)
