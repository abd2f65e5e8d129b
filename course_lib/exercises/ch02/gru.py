"""Exercise 2.1, one step of a GRU in the convention of torch.nn."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property
from course_lib.recurrent import GRUCell


def reference(x: Tensor, h: Tensor, W: Tensor, U: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The expected value of 2.1, by the course's GRUCell."""
    weights = {"weight_ih": W, "weight_hh": U, "bias_ih": b, "bias_hh": c}
    return functional_call(GRUCell(x.shape[1], h.shape[1]).to(x.dtype), weights, (x, h))


def _gru_case(
    rng: np.random.Generator,
    group: str,
    note: str = "",
    batch: int = 3,
    dtype: str = "float32",
    same_width: bool = False,
    scale: float = 1.0,
    layout: str = "C",
) -> Case:
    d_hidden = int(rng.integers(3, 6))
    d_input = d_hidden if same_width else d_hidden + int(rng.integers(1, 4))
    shapes = {
        "x": (batch, d_input),
        "h": (batch, d_hidden),
        "W": (3 * d_hidden, d_input),
        "U": (3 * d_hidden, d_hidden),
        "b": (3 * d_hidden,),
        "c": (3 * d_hidden,),
    }
    args = {
        name: np.asarray(rng.standard_normal(shape) * scale, dtype=dtype, order=layout)
        for name, shape in shapes.items()
    }
    return Case(group, args, note)


def draw(rng: np.random.Generator) -> list[Case]:
    closed = _gru_case(rng, "gates", "update gate z wide open")
    d = closed.args["h"].shape[1]
    closed.args["b"][d : 2 * d] += 12
    shut = _gru_case(rng, "gates", "reset gate r shut")
    d = shut.args["h"].shape[1]
    shut.args["b"][:d] -= 12
    return [
        _gru_case(rng, "values"),
        _gru_case(rng, "values", "as many inputs as hidden units", same_width=True),
        closed,
        shut,
        _gru_case(rng, "hard", "a batch of one", batch=1),
        _gru_case(rng, "hard", "float64, not contiguous", dtype="float64", layout="F"),
        _gru_case(rng, "hard", "inputs 30 times larger", scale=30),
    ]


def _gru_with(
    last: Callable[..., Tensor],
    order: Sequence[int] = (0, 1, 2),
    squash: Callable[[Tensor], Tensor] = torch.sigmoid,
) -> Callable[..., Tensor]:
    """A wrong GRU: another gate `order` or `squash`, or another `last` of r, z, i, s, h, n's rows of U, c."""

    def step(x, h, W, U, b, c):
        d = h.shape[1]
        W, U, b, c = (torch.cat([a[k * d : (k + 1) * d] for k in order]) for a in (W, U, b, c))
        i, s = x @ W.T + b, h @ U.T
        r, z = squash((i + s + c)[:, : 2 * d]).chunk(2, dim=1)
        return last(r, z, i[:, 2 * d :], s[:, 2 * d :], h, U[2 * d :], c[2 * d :])

    return step


def _right_end(r, z, i, s, h, U, c):
    return torch.lerp(torch.tanh(i + r * (s + c)), h, z)


def _gates(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """r, z and n on a case, (B, H) each."""
    x, h, W, U, b, c = (np.asarray(value, np.float64) for value in case.args.values())
    i, s = np.split(x @ W.T + b, 3, axis=1), np.split(h @ U.T + c, 3, axis=1)
    r, z = (0.5 * (1 + np.tanh((i[k] + s[k]) / 2)) for k in (0, 1))
    return r, z, np.tanh(i[2] + r * s[2])


def _swapped_message(case: Case, got: Arrays, expected: Arrays) -> str:
    z, h = _gates(case)[1], case.args["h"]
    at = np.unravel_index(z.argmax(), z.shape)
    return (
        "z and 1 − z are swapped. In PyTorch's convention z keeps the old state, h′ = (1 − z) n + z h: "
        f"where z = {number(z[at])} the state should go from {number(h[at])} to "
        f"{number(expected[0][at])}, yours goes to {number(got[0][at])}."
    )


def _compare_gates(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: which of the three gates is another one?"""
    at = first_off(got[0], expected[0])
    r, z, n = (number(gate[at]) for gate in _gates(case))
    return f"There r = {r}, z = {z}, n = {n} and h = {number(case.args['h'][at])}: print yours, gate by gate"


WRONGS = (
    Wrong(
        "z and 1 − z swapped",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(h, torch.tanh(i + r * (s + c)), z)),
        _swapped_message,
    ),
    Wrong(
        "reset before U",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(torch.tanh(i + (r * h) @ U.T + c), h, z)),
        "You reset h before U sees it, n = tanh(W x + b + U (r ∘ h) + c), the first form of Cho et al. "
        "(2014). torch.nn.GRU resets U h + c after the product: n = tanh(W x + b + r ∘ (U h + c)).",
    ),
    Wrong(
        "gate order z, r, n",
        _gru_with(_right_end, (1, 0, 2)),
        "Your first H rows are the update gate. PyTorch stacks the gates in the order r, z, n.",
    ),
    Wrong(
        "gate order with n first",
        _gru_with(_right_end, (1, 2, 0)),
        "Your candidate n comes from the first H rows. PyTorch stacks the gates in the order r, z, n.",
    ),
    Wrong(
        "gate order r, n, z",
        _gru_with(_right_end, (0, 2, 1)),
        "Your candidate n comes from the middle H rows. PyTorch stacks the gates in the order r, z, n.",
    ),
    Wrong(
        "c outside the reset",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(torch.tanh(i + r * s + c), h, z)),
        "The recurrent bias c of the candidate stands outside the reset: n = tanh(W x + b + r ∘ (U h + c)).",
    ),
    Wrong(
        "sigmoid candidate",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp((i + r * (s + c)).sigmoid(), h, z)),
        "Your candidate n goes through a sigmoid, so it can never be negative; n is a tanh.",
    ),
    Wrong(
        "candidate without tanh",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(i + r * (s + c), h, z)),
        "Your candidate n has no tanh, so the state can grow without bound.",
    ),
    Wrong(
        "no reset",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(torch.tanh(i + s + c), h, z)),
        "The reset gate r is computed but does not act: n = tanh(W x + b + r ∘ (U h + c)).",
    ),
    Wrong(
        "no update",
        _gru_with(lambda r, z, i, s, h, U, c: torch.tanh(i + r * (s + c))),
        "You return the candidate n. The new state mixes it with the old one: h′ = (1 − z) n + z h.",
    ),
    Wrong(
        "reset on the input",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(torch.tanh(r * i + s + c), h, z)),
        "The reset gate acts on W x + b, the input. It has to act on U h + c: it decides what of the old "
        "state the candidate may see.",
    ),
    Wrong(
        "reset on everything",
        _gru_with(lambda r, z, i, s, h, U, c: torch.lerp(torch.tanh(r * (i + s + c)), h, z)),
        "The reset gate acts on the whole sum. It has to act on U h + c alone, the part of the old state.",
    ),
    Wrong(
        "no recurrent bias",
        lambda x, h, W, U, b, c: reference(x, h, W, U, b, 0 * c),
        "The recurrent bias c is missing: PyTorch's GRU has two biases, b beside W x and c beside U h.",
    ),
    Wrong(
        "no input bias",
        lambda x, h, W, U, b, c: reference(x, h, W, U, 0 * b, c),
        "The bias b is missing: PyTorch's GRU has two biases, b beside W x and c beside U h.",
    ),
    Wrong(
        "gates without sigmoid",
        _gru_with(_right_end, squash=lambda gates: gates),
        "Your gates r and z have no sigmoid: a gate is a share, between 0 and 1.",
    ),
    Wrong(
        "tanh gates",
        _gru_with(_right_end, squash=torch.tanh),
        "Your gates go through tanh, so they can be negative: a gate is a share, between 0 and 1, a sigmoid.",
    ),
)


EXERCISE = Exercise(
    "2.1",
    "One step of a GRU",
    "implement",
    3,
    15,
    "write a gated cell and prove it equal to the library's",
    (
        Property("values", "new state h′", 2),
        Property("gates", "gates wide open and shut"),
        Property("hard", "batch of one, float64, non-contiguous and large inputs"),
    ),
    draw,
    ArrayExaminer(("h_new",), WRONGS, advice=_compare_gates),
    reference,
)
