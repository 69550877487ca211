"""Scaled dot-product attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank, require_same_dtype
from tilewright.ir.ops.elementwise import broadcast_reader, broadcast_shapes
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    q, k, v, *mask = types
    require_same_dtype(types)
    require_dtype(q, FLOATS, "the query")
    for type, what in ((q, "the query"), (k, "the key"), (v, "the value")):
        require_rank(type, 4, what)
    require_equal(require_equal(q.shape[0], k.shape[0], "batch of query and key"), v.shape[0], "batch")
    require_equal(k.shape[1], v.shape[1], "heads of key and value")
    _check_group(q.shape[1], k.shape[1])
    require(attrs["softcap"] >= 0, f"softcap is {attrs['softcap']}, which is negative")
    require_equal(q.shape[3], k.shape[3], "the depths of query and key")
    require_equal(k.shape[2], v.shape[2], "the lengths of key and value")
    scores = (*q.shape[:3], k.shape[2])
    for type in mask:
        merged = broadcast_shapes([scores, type.shape])
        fits = len(merged) == 4 and not any(_grows(old, new) for old, new in zip(scores, merged, strict=True))
        require(fits, f"the mask {type} does not broadcast to the scores {q.with_shape(scores)}")
    return (q.with_shape((*q.shape[:3], v.shape[3])),)


def _check_group(queries: dims.Dim, keys: dims.Dim) -> None:
    if not (isinstance(queries, int) and isinstance(keys, int)):
        require_equal(queries, keys, "heads of query and key")
    elif queries or keys:
        require(keys > 0 and queries % keys == 0, f"{queries} heads of the query do not share {keys} of the key")


def group_size(node: Node) -> int:
    """How many heads of the query, next to each other, share one of the key."""
    queries, keys = (v.shape[1] for v in node.inputs[:2])
    return queries // keys if isinstance(queries, int) and isinstance(keys, int) and keys else 1


def _grows(old: dims.Dim, new: dims.Dim) -> bool:
    return old == 1 and new != 1


def _ref(attrs: Attrs, q: Array, k: Array, v: Array, *mask: Array) -> Array:
    shared = q.shape[1] // max(k.shape[1], 1)
    k, v = (np.repeat(exact(x), shared, axis=1) for x in (k, v))
    scores = exact(q) @ np.swapaxes(k, 2, 3) * attrs["scale"]
    if attrs["softcap"]:
        scores = attrs["softcap"] * np.tanh(scores / attrs["softcap"])
    for bias in mask:
        hidden = np.isneginf(exact(bias)) & attrs["excluding"]
        scores = np.where(hidden, -np.inf, scores + exact(bias))
    weights = _weights(scores, attrs["excluding"])
    if attrs["nan_to_zero"]:
        weights = np.where(np.isnan(weights), 0.0, weights)
    mixed: Array = weights @ v
    return mixed.astype(q.dtype)


def _weights(scores: Array, excluding: bool) -> Array:
    """Softmax along the keys; with `excluding`, zeros where no key is left."""
    with np.errstate(invalid="ignore"):
        greatest = scores.max(axis=3, keepdims=True, initial=-np.inf)
        powers = np.exp(scores - np.where(np.isneginf(greatest) & excluding, 0.0, greatest))
        total = powers.sum(axis=3, keepdims=True)
        return np.asarray(powers / np.where((total == 0) & excluding, 1.0, total))


def _compute(b: Any, node: Node, q: Any, k: Any, v: Any, *mask: Any) -> Any:
    """Scores, their greatest, exponentials, their sum, and the weighted sum of the values, divided once at its end."""
    wide, shared = accumulator(q.dtype), group_size(node)
    rows, length = tuple(q.shape[:3]), k.shape[2]

    def product(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (n, h, s, t), (d,) = index, summed
        return b.cast(q(n, h, s, d), wide) * b.cast(k(n, h // shared, t, d), wide)

    products = b.reduce("sum", (*rows, length), (q.shape[3],), wide, product)
    scores = _scores(b, node, products, mask)
    greatest = b.reduce("max", rows, (length,), wide, lambda i, r: scores(*i, *r))
    lowest, zero = b.const(-np.inf, wide), b.const(0, wide)

    def power(*i: Any) -> Any:
        top = greatest(*i[:3])
        shift = b.select(b.equal(top, lowest), zero, top) if node.attrs["excluding"] else top
        return b.exp_or_zero(scores(*i) - shift)

    powers = b.stage(products.shape, wide, power)
    total = b.reduce("sum", rows, (length,), wide, lambda i, r: powers(*i, *r))

    def weighted(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (n, h, s, e), (t,) = index, summed
        return powers(n, h, s, t) * b.cast(v(n, h // shared, t, e), wide)

    mixed = b.reduce("sum", b.shape(node.results[0]), (length,), wide, weighted)

    def divided(*index: Any) -> Any:
        whole = total(*index[:3])
        mean = mixed(*index) / (
            b.select(b.equal(whole, zero), b.const(1, wide), whole) if node.attrs["excluding"] else whole
        )
        return b.select(b.isnan(whole), zero, mean) if node.attrs["nan_to_zero"] else mean

    return narrowed(b, b.stage(mixed.shape, wide, divided), q.dtype)


def _scores(b: Any, node: Node, products: Any, mask: Sequence[Any]) -> Any:
    """The products, scaled and capped, plus the mask, if there is one."""
    wide, softcap = products.dtype, node.attrs["softcap"]
    factor, cap = b.const(node.attrs["scale"], wide), b.const(softcap, wide)
    bias = broadcast_reader(mask[0], 4) if mask else None
    lowest = b.const(-np.inf, wide)

    def score(*i: Any) -> Any:
        value = products(*i) * factor
        value = cap * b.tanh(value / cap) if softcap else value
        if bias is None:
            return value
        added = b.cast(bias(*i), wide)
        total = value + added
        return b.select(b.equal(added, lowest), lowest, total) if node.attrs["excluding"] else total

    return b.stage(products.shape, wide, score)


def _samples() -> Sequence[Sample]:
    hidden = np.zeros((1, 1, 3, 4), np.float32)
    hidden[0, 0, 1] = -np.inf
    q, k, v = tensor("float32", 1, 2, 3, 5), tensor("float32", 1, 2, 4, 5), tensor("float32", 1, 2, 4, 6)
    symbolic = (tensor("float32", "n", 2, "s", 4), tensor("float32", "n", 2, "t", 4), tensor("float32", "n", 2, "t", 4))
    return [
        Sample((q, k, v), {"scale": 0.5}),
        Sample((*symbolic, tensor("float32", "n", 1, 1, "t")), {"scale": 0.25}),
        Sample((q, k, v, hidden), {"scale": 0.5, "nan_to_zero": True}),
        Sample((q, k, v, tensor("float32", 4)), {"scale": 1.0}),
        Sample((q, k, v, hidden), {"scale": 0.5, "excluding": True}),
        Sample((tensor("float32", "n", 6, "s", 4), *symbolic[1:]), {"scale": 0.5, "softcap": 0.75}),
        Sample((tensor("float16", 2, 4, 3, 4), *[tensor("float16", 2, 1, 5, 4)] * 2), {"scale": 0.5}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "attention",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (3, 4),
        {"scale": REQUIRED, "nan_to_zero": False, "softcap": 0.0, "excluding": False},
        _samples,
        doc="softmax(q @ k^T * scale + mask) @ v for q [B, H, S, D], k [B, G, T, D], v [B, G, T, E] and a mask that "
        "broadcasts to [B, H, S, T]; each H / G heads of q next to each other share one of k and v. `softcap` c, where "
        "it is not 0, makes scaled scores x into c * tanh(x / c), before the mask. With `nan_to_zero`, a row whose "
        "scores are all -inf, or hold a NaN, gives zeros. With `excluding`, -inf in the mask leaves a key out whatever "
        "its score, and a row without keys gives zeros.",
    ),
)
