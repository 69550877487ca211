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
    for axis, what in ((0, "batch"), (1, "heads")):
        require_equal(require_equal(q.shape[axis], k.shape[axis], f"{what} of query and key"), v.shape[axis], what)
    require_equal(q.shape[3], k.shape[3], "the depths of query and key")
    require_equal(k.shape[2], v.shape[2], "the lengths of key and value")
    scores = (*q.shape[:3], k.shape[2])
    for type in mask:
        merged = broadcast_shapes([scores, type.shape])
        fits = len(merged) == 4 and not any(_grows(old, new) for old, new in zip(scores, merged, strict=True))
        require(fits, f"the mask {type} does not broadcast to the scores {q.with_shape(scores)}")
    return (q.with_shape((*q.shape[:3], v.shape[3])),)


def _grows(old: dims.Dim, new: dims.Dim) -> bool:
    return old == 1 and new != 1


def _ref(attrs: Attrs, q: Array, k: Array, v: Array, *mask: Array) -> Array:
    scores = exact(q) @ np.swapaxes(exact(k), 2, 3) * attrs["scale"]
    for bias in mask:
        scores = scores + exact(bias)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(axis=3, keepdims=True, initial=-np.inf))
        weights = weights / weights.sum(axis=3, keepdims=True)
    if attrs["nan_to_zero"]:
        weights = np.where(np.isnan(weights), 0.0, weights)
    mixed: Array = weights @ exact(v)
    return mixed.astype(q.dtype)


def _compute(b: Any, node: Node, q: Any, k: Any, v: Any, *mask: Any) -> Any:
    """Scores, their greatest, exponentials, their sum, and the weighted sum of the values, divided once at its end."""
    wide = accumulator(q.dtype)
    rows, length = tuple(q.shape[:3]), k.shape[2]

    def product(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (n, h, s, t), (d,) = index, summed
        return b.cast(q(n, h, s, d), wide) * b.cast(k(n, h, t, d), wide)

    products = b.reduce("sum", (*rows, length), (q.shape[3],), wide, product)
    scores = _scores(b, products, node.attrs["scale"], mask)
    greatest = b.reduce("max", rows, (length,), wide, lambda i, r: scores(*i, *r))
    powers = b.stage(products.shape, wide, lambda *i: b.exp(scores(*i) - greatest(*i[:3])))
    total = b.reduce("sum", rows, (length,), wide, lambda i, r: powers(*i, *r))

    def weighted(index: Sequence[Any], summed: Sequence[Any]) -> Any:
        (n, h, s, e), (t,) = index, summed
        return powers(n, h, s, t) * b.cast(v(n, h, t, e), wide)

    mixed = b.reduce("sum", b.shape(node.results[0]), (length,), wide, weighted)

    def divided(*index: Any) -> Any:
        mean = mixed(*index) / total(*index[:3])
        return b.select(b.isnan(total(*index[:3])), b.const(0, wide), mean) if node.attrs["nan_to_zero"] else mean

    return narrowed(b, b.stage(mixed.shape, wide, divided), q.dtype)


def _scores(b: Any, products: Any, scale: float, mask: Sequence[Any]) -> Any:
    """The scaled products plus the mask, if there is one."""
    factor = b.const(scale, products.dtype)
    if not mask:
        return b.stage(products.shape, products.dtype, lambda *i: products(*i) * factor)
    bias = broadcast_reader(mask[0], 4)
    return b.stage(products.shape, products.dtype, lambda *i: products(*i) * factor + b.cast(bias(*i), products.dtype))


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
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "attention",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (3, 4),
        {"scale": REQUIRED, "nan_to_zero": False},
        _samples,
        doc="softmax(q @ k^T * scale + mask) @ v for q [B, H, S, D], k [B, H, T, D], v [B, H, T, E] and a mask that "
        "broadcasts to [B, H, S, T]. With `nan_to_zero`, a row whose scores are all -inf, or hold a NaN, gives zeros.",
    ),
)
