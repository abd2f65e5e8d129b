"""The known mistakes of exercise 4.6: a layer of multi-head attention with one of its steps done in another way."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from course_lib.attention import causal_mask
from course_lib.exercises.judging import Arrays, Wrong, first_off, number
from course_lib.exercises.spec import Case


def _apply(x: Tensor, W: Tensor) -> Tensor:
    return x @ W.T


def _split(x: Tensor, n: int) -> Tensor:
    return x.unflatten(2, (n, -1)).transpose(1, 2)


def _merge(y: Tensor) -> Tensor:
    return y.transpose(1, 2).flatten(2)


def _root(scores: Tensor, heads: Tensor, width: int) -> Tensor:
    return scores / heads.shape[3] ** 0.5


def _below(scores: Tensor, causal: bool) -> Tensor:
    return scores.masked_fill(~causal_mask(*scores.shape[2:]), -torch.inf) if causal else scores


def _unmasked(scores: Tensor, causal: bool) -> Tensor:
    return scores


def _over_keys(scores: Tensor) -> Tensor:
    return scores.softmax(3)


def _with(
    apply: Callable[[Tensor, Tensor], Tensor] = _apply,
    split: Callable[[Tensor, int], Tensor] = _split,
    scale: Callable[[Tensor, Tensor, int], Tensor] = _root,
    mask: Callable[[Tensor, bool], Tensor] = _below,
    weigh: Callable[[Tensor], Tensor] = _over_keys,
    late: Callable[[Tensor, bool], Tensor] = lambda weights, causal: weights,
    merge: Callable[[Tensor], Tensor] = _merge,
    out: Callable[[Tensor, Tensor], Tensor] | None = None,
    roles: str = "qkv",
    n_heads: int | None = None,
) -> Callable:
    """A wrong layer: one of its steps done in another way. `roles` says which matrix makes what."""

    def layer(x, W_q, W_k, W_v, W_o, n, causal):
        maps = {"q": W_q, "k": W_k, "v": W_v}
        query, key, value = (split(apply(x, maps[role]), n_heads or n) for role in roles)
        weights = late(weigh(mask(scale(query @ key.mT, query, x.shape[2]), causal)), causal)
        return (out or apply)(merge(weights @ value), W_o)

    return layer


def _jointly(scores: Tensor) -> Tensor:
    """One softmax over the scores of all heads laid side by side."""
    side_by_side = scores.transpose(1, 2).flatten(2).softmax(2)
    return side_by_side.unflatten(2, (scores.shape[1], -1)).transpose(1, 2)


def _keep(kept: Callable[[Tensor], Tensor], fill: float = -torch.inf) -> Callable[[Tensor, bool], Tensor]:
    """A causal mask that keeps other places; kept(a square of ones) is 0 at the hidden ones."""

    def mask(scores: Tensor, causal: bool) -> Tensor:
        hidden = kept(torch.ones(scores.shape[2:])) == 0
        return scores.masked_fill(hidden, fill) if causal else scores

    return mask


def _emptying(name: str, kept: Callable[[Tensor], Tensor], message: str) -> tuple[Wrong, ...]:
    """A mask that leaves some word nothing to see, whose weights are then NaN, equal or 0, by the way of hiding."""
    ways = (
        _with(mask=_keep(kept)),
        _with(mask=_keep(kept, -1e9)),
        _with(mask=_keep(kept), weigh=lambda s: s.softmax(3).nan_to_num()),
    )
    return tuple(Wrong(name, way, message) for way in ways)


def compare_first(case: Case, got: Arrays, expected: Arrays) -> str:
    """What to look at where no misconception is known: the weights of the first word that is off."""
    b, t, _ = first_off(got[0], expected[0])
    x, W_q, W_k = (torch.from_numpy(np.array(case.args[name])).double() for name in ("x", "W_q", "W_k"))
    n = case.args["n_heads"]
    query, key = _split(_apply(x, W_q), n), _split(_apply(x, W_k), n)
    weights = _over_keys(_below(_root(query @ key.mT, query, 0), case.args["causal"]))
    row = ", ".join(map(number, weights[b, 0, t]))
    return f"There head 0 gives the words the weights {row}: print yours"


_LATE = (
    "With causal=True you mask the weights, after the softmax: what is left does not sum to 1. Mask the scores before it."
)
_PLACES = "Head h has features h·D to h·D + D − 1 of every word."
WRONGS = (
    Wrong(
        "divided by √C",
        _with(scale=lambda s, q, c: s / c**0.5),
        "You divide the scores by √C, the width of all heads together. Each head's dot product adds up its own "
        "C/H features: √(C/H).",
    ),
    Wrong("not scaled", _with(scale=lambda s, q, c: s), "The scores are not divided by √(C/H)."),
    Wrong(
        "divided by C/H",
        _with(scale=lambda s, q, c: s / q.shape[3]),
        "You divide the scores by the heads' width C/H; it is its root that keeps their spread at 1.",
    ),
    Wrong(
        "merged without transpose",
        _with(merge=lambda y: y.reshape(len(y), y.shape[2], -1)),
        "The heads are put together without moving their axis back: (B, H, T, D) has to become (B, T, H, D) "
        "before the last two axes are joined, or words are mixed with each other.",
    ),
    Wrong(
        "split without transpose",
        _with(split=lambda x, n: x.reshape(len(x), n, x.shape[1], -1)),
        "The split only reshapes (B, T, C) to (B, H, T, D), so a head gets some words whole instead of its part "
        f"of every word. {_PLACES}",
    ),
    Wrong(
        "neither split nor merge transposes",
        _with(
            split=lambda x, n: x.reshape(len(x), n, x.shape[1], -1),
            merge=lambda y: y.reshape(len(y), y.shape[2], -1),
        ),
        "Split and merge only reshape. They undo each other, but in between a head has some words whole instead "
        f"of its part of every word. {_PLACES}",
    ),
    Wrong(
        "features interleaved",
        _with(
            split=lambda x, n: x.unflatten(2, (-1, n)).permute(0, 3, 1, 2),
            merge=lambda y: y.permute(0, 2, 3, 1).flatten(2),
        ),
        f"Your heads take every H-th feature. {_PLACES}",
    ),
    Wrong(
        "features interleaved in the split",
        _with(split=lambda x, n: x.unflatten(2, (-1, n)).permute(0, 3, 1, 2)),
        f"Your split gives a head every H-th feature. {_PLACES}",
    ),
    Wrong(
        "W_o forgotten",
        _with(out=lambda y, W: y),
        "The heads are merged, and that is what you return: the output map W_o is missing.",
    ),
    Wrong("no mask", _with(mask=_unmasked), "With causal=True a word still sees what comes after it."),
    Wrong("always masked", _with(mask=lambda s, c: _below(s, True)), "With causal=False nothing is to be masked."),
    Wrong(
        "causal turned round",
        _with(mask=lambda s, c: _below(s, not c)),
        "The mask is there when causal is False, and not when it is True.",
    ),
    Wrong(
        "mask of the past",
        _with(mask=_keep(torch.triu)),
        "With causal=True your words see themselves and what comes after them.",
    ),
    *_emptying(
        "mask inverted",
        lambda ones: ones.triu(1),
        "Your mask is inverted: with causal=True a word sees only what comes after it.",
    ),
    Wrong("off by one", _with(mask=_keep(lambda ones: ones.tril(1))), "With causal=True a word still sees its successor."),
    *_emptying(
        "off by one",
        lambda ones: ones.tril(-1),
        "With causal=True a word does not see itself, so the first sees nothing: the diagonal is not to be hidden.",
    ),
    *(
        Wrong("masked after the softmax", _with(mask=_unmasked, late=late), _LATE)
        for late in (lambda w, c: w.tril() if c else w, _keep(torch.tril), _keep(torch.tril, -1e9))
    ),
    Wrong(
        "0 times −∞",
        _with(mask=lambda s, c: s * torch.nan if c else s),
        "With causal=True everything is NaN. If your mask multiplies −∞: 0 · (−∞) is NaN, too. Fill it in, do not "
        "multiply by it.",
    ),
    Wrong(
        "masked score set to 0",
        _with(mask=lambda s, c: s.tril() if c else s),
        "With causal=True the scores of later words are 0, and exp(0) = 1 is not nothing: −∞.",
    ),
    Wrong(
        "softmax over the queries",
        _with(weigh=lambda s: s.softmax(2)),
        "Your softmax runs over the queries; the keys compete for one query's attention: the last axis.",
    ),
    Wrong(
        "softmax over the queries",
        _with(weigh=lambda s: s.softmax(2).nan_to_num()),
        "Your softmax runs over the queries; the keys compete for one query's attention: the last axis.",
    ),
    Wrong(
        "softmax over the heads",
        _with(weigh=lambda s: s.softmax(1).nan_to_num()),
        "Your softmax runs over the heads (dim 1), so that the heads compete for a word. Every head has a "
        "softmax of its own over the keys.",
    ),
    Wrong(
        "one softmax for all heads",
        _with(weigh=_jointly),
        "One softmax runs over the scores of all heads together: a head's weights sum to less than 1. Every head "
        "has a softmax of its own.",
    ),
    Wrong(
        "a single head",
        _with(n_heads=1),
        "n_heads plays no part: that is one head over all C features.",
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
        "residual added",
        lambda x, *rest: x + _with()(x, *rest),
        "x is added to the output. That is the residual of a block around the layer; the layer itself has none.",
    ),
    Wrong("keys and values exchanged", _with(roles="qvk"), "W_k and W_v are exchanged."),
    Wrong("queries and keys exchanged", _with(roles="kqv"), "W_q and W_k are exchanged: your keys do the asking."),
    Wrong("keys read", _with(roles="qkk"), "You average the keys; W_v is never used."),
    Wrong("queries compared with queries", _with(roles="qqv"), "You compare queries with queries; W_k is never used."),
    Wrong(
        "x itself is split",
        _with(apply=lambda x, W: x, out=_apply),
        "The heads are cut from x itself; W_q, W_k and W_v are never used.",
    ),
)
