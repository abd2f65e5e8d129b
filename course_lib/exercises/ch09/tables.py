"""Word tables for exercise 9.6, in which taking the best word each time does not lead to the best text, and ways to find a text."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from course_lib.generation import beam_search

Text = list[int]
N_TABLES = 40
LAYERS, WIDE, MORE = 4, 8, 4         # places before the end; words that like a place; places that a text may have beyond
END = LAYERS * WIDE                  # the last word ends a text
LEAST, MOST = 0.7, 6.0               # nats that taking the best word each time falls short of the best text


@dataclass(frozen=True)
class Table:
    """Probabilities of the first word (V,) and of each next word, given the last one (V, V); a text has at most `length` words."""

    start: np.ndarray
    table: np.ndarray
    end: int
    length: int

    @property
    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        return np.log(self.start), np.log(self.table)

    def log_p(self, text: Text) -> float:
        start, table = self.scores
        return float(start[text[0]] + sum(table[a, b] for a, b in pairwise(text)))


def draw_table(rng: np.random.Generator) -> Table:
    """Mostly a word of each layer, in turn, and then the end. What follows a word may be sure or not; one word likes to be said again."""
    layer = np.repeat(np.arange(LAYERS), WIDE)
    rows = []
    for place in (-1, *layer):       # the first row is for the start
        row = np.zeros(END + 1)
        sharpness = np.exp(rng.uniform(np.log(0.3), np.log(20)))
        row[:-1][layer == place + 1] = rng.dirichlet(np.full(WIDE, sharpness)) if place + 1 < LAYERS else []
        row[-1] = place + 1 == LAYERS
        other = rng.dirichlet(np.ones(END + 1)) * np.append(np.ones(END), 0.05)
        rows.append(0.97 * row + 0.03 * other / other.sum())
    for word in 1 + np.flatnonzero(layer == LAYERS - 1):    # the last layer may go back
        stays = rng.uniform(0.2, 0.9)
        rows[word] = stays * rows[word] + (1 - stays) * rng.dirichlet(np.full(END + 1, 0.3))
    again, liking = int(rng.integers(END)), rng.uniform(0.85, 0.95)
    rows[1 + again] = (1 - liking) * rows[1 + again] + liking * np.eye(END + 1)[again]
    names = np.append(rng.permutation(END), END)            # what a word is called tells nothing
    start, table = np.empty(END + 1), np.full((END + 1, END + 1), 1 / (END + 1))
    start[names] = rows[0]
    for name, row in zip(names, rows[1:]):
        table[name, names] = row
    return Table(start, table, END, LAYERS + MORE)


def draw_tables(rng: np.random.Generator) -> list[Table]:
    """Tables on which taking the best word each time falls short."""
    tables: list[Table] = []
    while len(tables) < N_TABLES:
        table = draw_table(rng)
        if LEAST < table.log_p(best(table)) - table.log_p(greedy(table)) < MOST:
            tables.append(table)
    return tables


# ---------------------------------------------------------------- ways to a text


def best_by_length(table: Table, add: Callable = np.add, log: Callable = np.log) -> list[tuple[float, Text]]:
    """The most probable text of each length, with its log-probability, by dynamic programming over places and last words (Viterbi 1967)."""
    step = log(table.table)
    scores, before, found = log(table.start), [], []
    for _ in range(table.length):
        text = [table.end]
        for parents in reversed(before):
            text.append(int(parents[text[-1]]))
        found.append((float(scores[table.end]), text[::-1]))
        alive = scores.copy()
        alive[table.end] = -np.inf   # nothing follows the end
        total = add(alive[:, None], step)
        before.append(total.argmax(0))
        scores = total.max(0)
    return found


def best(table: Table) -> Text:
    """The most probable text that ends."""
    return max(best_by_length(table))[1]


def greedy(table: Table, forced: bool = True) -> Text:
    """The most probable word each time; `forced`: the last place that is left is for the end."""
    text: Text = []
    while len(text) < table.length and table.end not in text:
        row = table.table[text[-1]] if text else table.start
        text.append(table.end if forced and len(text) == table.length - 1 else int(row.argmax()))
    return text


class Tables:
    """All tables as one model for the course's beam_search (see generation.Decodable): row n speaks by table n."""

    def __init__(self, tables: list[Table]):
        rows = [np.concatenate([table.table, table.start[None]]) for table in tables]
        self.log_p = torch.from_numpy(np.log(np.stack(rows)))                           # (N, V + 1, V): after the start, row V

    def start(self) -> tuple[Tensor, Tensor]:
        n, beginning, _ = self.log_p.shape
        return torch.full((n,), beginning - 1), torch.arange(n)

    def step(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_p[state, token], state

    def reorder(self, state: Tensor, index: Tensor) -> Tensor:
        return state[index]


def beams(tables: list[Table], width: int, length_penalty: float = 0.0) -> list[Text]:
    """What the course's beam_search finds on each table; one that it has not ended is cut off for the end."""
    longest, end = tables[0].length, tables[0].end
    found = beam_search(Tables(tables), beam_size=width, eos_id=end, max_len=longest, length_penalty=length_penalty)
    return [[*ids[: longest - 1], end] for ids in found.ids]
