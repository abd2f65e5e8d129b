"""Exercise 5.3, one decoding step of multi-head self-attention with a cache of keys and values."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises.ch05.cached_step import draw, reference
from course_lib.exercises.judging import ArrayExaminer, Arrays, Wrong, difference, first_off, number
from course_lib.exercises.spec import Case, Exercise, Property

NAMES = ("y", "keys", "values")


def _differs(names: tuple[str, ...], case: Case, got: Arrays, expected: Arrays) -> str:
    """The plain comparison, but the memories come first: what is wrong there is wrong in y as well."""
    order = (1, 2, 0)
    return difference(*(tuple(part[i] for i in order) for part in (names, got, expected)))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(1, (heads, 1, -1))  # (B, H, 1, D)


def _interleaved(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(1, (-1, heads)).transpose(1, 2)[:, :, None]


def _append(past: Tensor, new: Tensor) -> Tensor:
    return torch.cat([past, new], dim=2)


def _apply(x: Tensor, W: Tensor) -> Tensor:
    return x @ W.T


def _with(
    split: Callable[[Tensor, int], Tensor] = _split,
    merge: Callable[[Tensor], Tensor] = lambda y: y.flatten(1),
    root: Callable[[Tensor, Tensor], float] = lambda x, q: q.shape[3] ** 0.5,
    seen: Callable[[Tensor, Tensor], Tensor] = _append,
    kept: Callable[[Tensor, Tensor], Tensor] = _append,
    weigh: Callable[[Tensor], Tensor] = lambda s: s.softmax(3),
    apply: Callable[[Tensor, Tensor], Tensor] = _apply,
    out: Callable[[Tensor, Tensor], Tensor] | None = None,
    roles: str = "qkv",
    cached: str = "kv",
    read: str = "kv",
) -> Callable:
    """A wrong step. `seen` makes what is attended to, `kept` what is returned; `roles` says which matrix makes
    query, key and value, `cached` which of them goes into the memories, `read` which memory is which."""

    def step(x, keys, values, W_q, W_k, W_v, W_o):
        maps = {"q": W_q, "k": W_k, "v": W_v}
        parts = {role: split(apply(x, maps[name]), keys.shape[1]) for role, name in zip("qkv", roles, strict=True)}
        past = {"k": keys, "v": values}
        memory = {role: seen(past[role], parts[name]) for role, name in zip("kv", cached, strict=True)}
        new = tuple(kept(past[role], parts[name]) for role, name in zip("kv", cached, strict=True))
        weights = weigh(parts["q"] @ memory[read[0]].mT / root(x, parts["q"]))
        return (out or apply)(merge(weights @ memory[read[1]]), W_o), *new

    return step


def _compare_weights(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: memories that differ, or the weights behind y."""
    tensors = [torch.from_numpy(np.array(value)).double() for value in case.args.values()]
    x, W_q, memory = tensors[0], tensors[3], torch.from_numpy(expected[1])
    off = [np.abs(g - e).max() > 1e-3 * max(np.abs(e).max(), 1e-6) for g, e in zip(got, expected, strict=True)]
    if off[1] or off[2]:
        return ""
    b, _ = first_off(got[0], expected[0])
    query = _split(_apply(x, W_q), memory.shape[1])
    weights = (query @ memory.mT / query.shape[3] ** 0.5).softmax(3)
    row = ", ".join(map(number, weights[b, 0, 0]))
    return f"The memories are right. Head 0 of sentence {b} weighs their words {row}: print yours"


def _unseen(case: Case, got: Arrays, expected: Arrays) -> str:
    at = "with an empty cache it finds nothing at all" if not case.args["keys"].shape[2] else (
        f"{case.note}, its query weighs {case.args['keys'].shape[2]} words, not itself"
    )
    return (
        "The new word's key and value are kept, but it does not look at itself: "
        f"{at}. In a causal pass every word sees itself, too."
    )


_ORDER = (
    "The new word is put in front of the memory, and y does not mind: attention knows no order. But word t of a "
    "sentence is to be at place t of its memory; put it at the end."
)
_HEADS = "Head h has features h·D to h·D + D − 1 of every word, as in the memory that came in."
WRONGS = (
    Wrong("not in its own memory", _with(seen=lambda past, new: past), _unseen),
    Wrong("put in front", _with(kept=lambda past, new: torch.cat([new, past], 2)), _ORDER),
    Wrong(
        "query kept as a key",
        _with(cached="qv"),
        "The query is kept in the memory of the keys. A query is asked once and is done with; what later words "
        "compare with is the key.",
    ),
    Wrong(
        "query kept as a value",
        _with(cached="kq"),
        "The query is kept in the memory of the values; W_v x is what later words take away.",
    ),
    Wrong(
        "keys and values exchanged",
        _with(cached="vk"),
        "The new key goes to the values and the new value to the keys.",
    ),
    Wrong(
        "key kept twice",
        _with(cached="kk"),
        "The new key is added to both memories; W_v x is never kept.",
    ),
    Wrong(
        "memories returned in the other order",
        lambda *args: (lambda y, keys, values: (y, values, keys))(*_with()(*args)),
        "You return (y, values, keys), expected (y, keys, values).",
    ),
    Wrong(
        "memory not grown",
        _with(kept=lambda past, new: past),
        "y is right, but you return the memories as they came: at the next step this word is forgotten.",
    ),
    Wrong(
        "only the new word kept",
        _with(kept=lambda past, new: new),
        "You return the new word's key and value alone. The next step needs those of all words so far, too.",
    ),
    Wrong(
        "only the new word seen",
        _with(seen=lambda past, new: new),
        "The memory grows, but y looks at the new word alone: its weight is 1, whatever the others hold.",
    ),
    Wrong(
        "only the first word seen",
        _with(weigh=lambda s: torch.ones_like(s).tril()),
        "y looks at the first word alone, with weight 1. A causal mask does that when it is aligned at the top left: "
        "its only row belongs to word 0, and the query that asks here is the newest word's.",
    ),
    Wrong(
        "scaled by √C",
        _with(root=lambda x, q: x.shape[1] ** 0.5),
        "You divide the scores by √C, the width of all heads together. Each head's dot product adds up D "
        "products: √D.",
    ),
    Wrong("not scaled", _with(root=lambda x, q: 1.0), "The scores are not divided by √D."),
    Wrong(
        "divided by D",
        _with(root=lambda x, q: q.shape[3]),
        "You divide the scores by D; it is its root that keeps their spread at 1.",
    ),
    Wrong(
        "scaled by the words",
        lambda x, keys, *rest: _with(root=lambda *_: (keys.shape[2] + 1) ** 0.5)(x, keys, *rest),
        "You divide the scores by the root of the number of words; it is the width D of a head that matters.",
    ),
    Wrong(
        "features interleaved",
        _with(_interleaved, lambda y: y.squeeze(2).transpose(1, 2).flatten(1)),
        f"Your heads take every H-th feature. {_HEADS}",
    ),
    Wrong("features interleaved", _with(_interleaved), f"Your split gives a head every H-th feature. {_HEADS}"),
    Wrong(
        "merged wrongly",
        _with(merge=lambda y: y.squeeze(2).transpose(1, 2).flatten(1)),
        "The memories are right, but y's heads are laid together number by number in turn: head 0's D numbers come "
        "first, then head 1's.",
    ),
    Wrong(
        "W_o forgotten",
        _with(out=lambda y, W: y),
        "The heads are merged, and that is what you return as y: the output map W_o is missing.",
    ),
    Wrong(
        "residual added",
        lambda x, *rest: (lambda y, *memories: (x + y, *memories))(*_with()(x, *rest)),
        "The memories are right. In y, x is added: that is the residual of a block around this step.",
    ),
    Wrong(
        "matrices not transposed",
        _with(apply=lambda x, W: x @ W),
        "The matrices act from the wrong side. As in nn.Linear, W has its outputs in rows: x @ W.T.",
    ),
    Wrong(
        "W_o not transposed",
        _with(out=lambda y, W: y @ W),
        "W_o acts from the wrong side. As in nn.Linear, it has its outputs in rows: y @ W_o.T.",
    ),
    Wrong(
        "queries and keys exchanged",
        _with(roles="kqv"),
        "W_q and W_k are exchanged: what is kept as the key was made by W_q.",
    ),
    Wrong("key used as query", _with(roles="kkv"), "The new word asks with its key; W_q is never used."),
    Wrong("keys read", _with(read="kk"), "y averages the keys. Keys are for comparing; what is read are the values."),
    Wrong(
        "softmax over the heads",
        _with(weigh=lambda s: s.softmax(1)),
        "Your softmax runs over the heads (dim 1), so that the heads compete for a word. Every head has a "
        "softmax of its own over the words.",
    ),
    Wrong(
        "softmax over one query",
        _with(weigh=lambda s: s.softmax(2)),
        "Your softmax runs over the queries, and there is only one: every weight is 1. The words compete: the "
        "last axis.",
    ),
    Wrong("no softmax", _with(weigh=lambda s: s), "There is no softmax: raw scores can be negative and sum to anything."),
)


EXERCISE = Exercise(
    "5.3",
    "One step with a cache",
    "implement",
    3,
    20,
    "decode with a cache",
    (
        Property("values", "the new word's output, and the memories it leaves", 3),
        Property("empty", "an empty cache: the first word"),
        Property("hard", "one head, one word so far, float64, non-contiguous"),
    ),
    draw,
    ArrayExaminer(NAMES, WRONGS, _differs, _compare_weights),
    reference,
)
