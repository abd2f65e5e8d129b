"""Recurrent cells with the parameters of torch.nn, so that weights can be copied, and the loop that runs them over a sentence.

A cell does two things: `project` turns inputs into gate sums, for all time steps at once, and `step` moves the state by one.
Only `step` has to wait for the step before it; everything else is hoisted out of the loop.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Cell(nn.Module):
    """What the three cells share: weight_ih (G·H, D), weight_hh (G·H, H), two biases (G·H), uniform in ±1/√H at the start.

    The state is one tensor (B, n_states·H). An LSTM keeps h and c side by side; `hidden(state)` is h, what others may read.
    """

    n_gates = 1
    n_states = 1

    def __init__(self, d_input: int, d_hidden: int):
        super().__init__()
        if d_input < 1 or d_hidden < 1:
            raise ValueError(f"d_input, d_hidden: got {d_input}, {d_hidden}, expected positive sizes")
        self.d_input, self.d_hidden = d_input, d_hidden
        rows = self.n_gates * d_hidden
        self.weight_ih, self.weight_hh = nn.Parameter(torch.empty(rows, d_input)), nn.Parameter(torch.empty(rows, d_hidden))
        self.bias_ih, self.bias_hh = nn.Parameter(torch.empty(rows)), nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -d_hidden**-0.5, d_hidden**-0.5)

    def project(self, x: Tensor) -> Tensor:
        """The inputs' share of the gate sums, (…, D) → (…, G·H). No state needed, so the whole sentence goes at once."""
        return F.linear(x, self.weight_ih, self.bias_ih)

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        """One time step: projected (B, G·H), state (B, n_states·H) → the new state, same shape."""
        raise NotImplementedError

    def hidden(self, state: Tensor) -> Tensor:
        """h, the part of the state that the rest of the network reads: (B, H)."""
        return state

    def start(self, like: Tensor) -> Tensor:
        """A state of zeros (B, n_states·H) with the batch size, dtype and device of `like` (B, …)."""
        return like.new_zeros(like.shape[0], self.n_states * self.d_hidden)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """One step from a raw input x (B, D): `step(project(x), state)`."""
        return self.step(self.project(x), state)


class ElmanCell(Cell):
    """h' = tanh(W x + U h + b) (Elman 1990). Equals torch.nn.RNNCell."""

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(projected + F.linear(state, self.weight_hh, self.bias_hh))


class GRUCell(Cell):
    """Reset and update gates (Cho et al. 2014): h' = (1 − z) n + z h. Equals torch.nn.GRUCell, whose reset acts on U h + b."""

    n_gates = 3

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        sizes = [2 * self.d_hidden, self.d_hidden]
        gates, candidate = projected.split(sizes, dim=1)                                # (B, 2H), (B, H)
        gates_h, candidate_h = F.linear(state, self.weight_hh, self.bias_hh).split(sizes, dim=1)
        reset, update = (gates + gates_h).sigmoid().chunk(2, dim=1)
        candidate = torch.tanh(torch.addcmul(candidate, reset, candidate_h))
        return torch.lerp(candidate, state.to(candidate.dtype), update)                 # (B, H); autocast may narrow it


class LSTMCell(Cell):
    """Input, forget and output gates around a carried cell c (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    Equals torch.nn.LSTMCell. The state is [h, c], (B, 2H).
    """

    n_gates = 4
    n_states = 2

    def step(self, projected: Tensor, state: Tensor) -> Tensor:
        h, c = state.chunk(2, dim=1)
        into, forget, candidate, out = (projected + F.linear(h, self.weight_hh, self.bias_hh)).chunk(4, dim=1)
        c = torch.addcmul(forget.sigmoid() * c, into.sigmoid(), candidate.tanh())       # (B, H)
        return torch.cat([out.sigmoid() * c.tanh(), c], dim=1)                          # (B, 2H)

    def hidden(self, state: Tensor) -> Tensor:
        return state[:, :self.d_hidden]


CELLS = {"elman": ElmanCell, "gru": GRUCell, "lstm": LSTMCell}


def open_gates(module: nn.Module, bias: float = 1.0) -> None:
    """Start every LSTM forget gate and GRU update gate in `module` open: add `bias` to its input bias (Jozefowicz et al. 2015).

    A fresh gate keeps about half of the state in each step, so nothing survives twenty words; with bias 1 it keeps 0.73.
    """
    for cell in module.modules():
        if isinstance(cell, (GRUCell, LSTMCell)):
            with torch.no_grad():
                cell.bias_ih[cell.d_hidden:2 * cell.d_hidden] += bias                   # both keep it as their second gate


def run_cell(cell: Cell, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run `cell` over x (B, T, D) from `state` (zeros when None): all hidden vectors (B, T, H) and all states (B, T, n·H)."""
    state = cell.start(x) if state is None else state
    states = []
    for projected in cell.project(x).unbind(1):                                         # T times (B, G·H)
        state = cell.step(projected, state)
        states.append(state)
    states = torch.stack(states, dim=1)                                                 # (B, T, n·H)
    return states[..., :cell.d_hidden], states


class RecurrentEncoder(nn.Module):
    """Read x (B, T, D) with its mask (B, T): annotations (B, T, K·H), final states (B, K·n·H), with K = 2 directions or 1.

    Padding stands at the end of each row, so the forward reader meets it only after the last word; the backward reader gets
    each sentence reversed within its own length and so meets it last, too. Neither needs a mask inside the loop.
    """

    def __init__(self, cell: str, d_input: int, d_hidden: int, bidirectional: bool):
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell: got {cell!r}, expected one of {', '.join(CELLS)}")
        self.cells = nn.ModuleList(CELLS[cell](d_input, d_hidden) for _ in range(2 if bidirectional else 1))
        self.d_output = d_hidden * len(self.cells)
        self.d_state = self.cells[0].n_states * self.d_output

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        last = mask.sum(1, keepdim=True) - 1                                            # (B, 1)
        position = torch.arange(x.shape[1], device=x.device)                            # (T,)
        mirror = torch.where(mask, last - position, position)[..., None]                # (B, T, 1), its own inverse
        annotations, finals = [], []
        for cell, backward in zip(self.cells, (False, True)):
            hidden, states = run_cell(cell, x.gather(1, mirror.expand_as(x)) if backward else x)
            annotations.append(hidden.gather(1, mirror.expand_as(hidden)) if backward else hidden)
            finals.append(states.gather(1, last[..., None].expand(-1, -1, states.shape[-1])).squeeze(1))
        return torch.cat(annotations, dim=-1) * mask[..., None], torch.cat(finals, dim=-1)
