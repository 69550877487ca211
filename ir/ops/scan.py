"""Operators that walk along an axis in order: running sums, and the greatest elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_axis, require_dtype
from tilewright.ir.ops.precision import exact
from tilewright.ir.types import NUMERIC, TensorType, tensor


def _infer_cumsum(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], NUMERIC, "the input")
    require_axis(attrs["axis"], types[0].rank)
    return (types[0],)


def _ref_cumsum(attrs: Attrs, x: Array) -> Array:
    axis = attrs["axis"]
    ordered = exact(np.flip(x, axis) if attrs["reverse"] else x)
    sums = np.cumsum(ordered, axis=axis, dtype=ordered.dtype)
    if attrs["exclusive"]:
        sums = sums - ordered
    return (np.flip(sums, axis) if attrs["reverse"] else sums).astype(x.dtype)


def _samples_cumsum() -> list[Sample]:
    return [
        Sample((tensor("float32", 3, "n"),), {"axis": 1}),
        Sample((tensor("int64", 3, 4),), {"axis": 0, "exclusive": True}),
        Sample((tensor("int32", "n"),), {"axis": 0, "reverse": True}),
        Sample((tensor("int8", 5),), {"axis": 0, "exclusive": True, "reverse": True}),
    ]


def _infer_top_k(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, k, axis = types[0], attrs["k"], attrs["axis"]
    require_dtype(x, NUMERIC, "the input")
    require_axis(axis, x.rank)
    if isinstance(k, int) and isinstance(x.shape[axis], int):
        require(0 <= k <= x.shape[axis], f"k is {k}, but axis {axis} has {x.shape[axis]} elements")
    shape = (*x.shape[:axis], dims.as_dim(k), *x.shape[axis + 1 :])
    return (x.with_shape(shape), TensorType("int64", shape))


def _ref_top_k(attrs: Attrs, x: Array) -> tuple[Array, Array]:
    """Of equal elements the first comes first. NaN counts as greater than any number."""
    axis = attrs["axis"]
    if attrs["largest"]:
        ascending = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(ascending, axis)
    else:
        order = np.argsort(x, axis=axis, kind="stable")
    chosen = np.take(order, range(attrs["k"]), axis=axis).astype(np.int64)
    return np.take_along_axis(x, chosen, axis), chosen


def _samples_top_k() -> list[Sample]:
    ties = np.array([[1, 3, 3, 2], [5, 5, 0, 7]], dtype=np.int32)
    return [
        Sample((ties,), {"k": 2, "axis": 1}),
        Sample((ties,), {"k": 3, "axis": 1, "largest": False}),
        Sample((tensor("float32", "n", 5),), {"k": 2, "axis": 1}),
        Sample((tensor("float16", "n", 2),), {"k": dims.symbol("n"), "axis": 0}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "cumsum",
        Kind.SERIAL,
        _infer_cumsum,
        _ref_cumsum,
        None,
        (1, 1),
        {"axis": REQUIRED, "exclusive": False, "reverse": False},
        _samples_cumsum,
        "The sum of all elements up to each one along an axis: with it or without (exclusive), from the end (reverse).",
    ),
    Op(
        "top_k",
        Kind.OPAQUE,
        _infer_top_k,
        _ref_top_k,
        None,
        (1, 1),
        {"k": REQUIRED, "axis": REQUIRED, "largest": True, "sorted": True},
        _samples_top_k,
        "The k greatest (or least) elements along an axis, in order, and where they are.",
    ),
)
