"""Operators that walk along an axis in order: running sums and products, and the greatest elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Ref, Sample
from tilewright.ir.ops.checks import require, require_axis, require_dtype
from tilewright.ir.ops.elementwise import single
from tilewright.ir.ops.precision import exact
from tilewright.ir.types import NUMERIC, TensorType, tensor


def _infer_running(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], NUMERIC, "the input")
    require_axis(attrs["axis"], types[0].rank)
    return (types[0],)


def _ref_running(function: np.ufunc) -> Ref:
    def ref(attrs: Attrs, x: Array) -> Array:
        axis = attrs["axis"]
        ordered = exact(np.flip(x, axis) if attrs["reverse"] else x)
        with np.errstate(all="ignore"):
            totals = function.accumulate(ordered, axis=axis, dtype=ordered.dtype)
            if attrs["exclusive"]:
                start = np.full_like(np.take(ordered, [0], axis), function.identity)
                totals = np.concatenate([start, np.delete(totals, -1, axis)], axis) if x.shape[axis] else totals
            return (np.flip(totals, axis) if attrs["reverse"] else totals).astype(x.dtype)

    return ref


def _samples_running() -> list[Sample]:
    return [
        Sample((tensor("float32", 3, "n"),), {"axis": 1}),
        Sample((tensor("int64", 3, 4),), {"axis": 0, "exclusive": True}),
        Sample((tensor("int32", "n"),), {"axis": 0, "reverse": True}),
        Sample((tensor("int8", 5),), {"axis": 0, "exclusive": True, "reverse": True}),
        Sample((tensor("float64", "n", 3),), {"axis": 0, "exclusive": True}),
    ]


def _running(name: str, function: np.ufunc, what: str) -> Op:
    return Op(
        name,
        Kind.SERIAL,
        _infer_running,
        _ref_running(function),
        None,
        (1, 1),
        {"axis": REQUIRED, "exclusive": False, "reverse": False},
        _samples_running,
        f"The {what} of all elements up to each one along an axis: with it or without (exclusive), from the end "
        "(reverse).",
    )


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
        ascending = np.argsort(np.flip(single(x), axis), axis=axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(ascending, axis)
    else:
        order = np.argsort(single(x), axis=axis, kind="stable")
    chosen = np.take(order, range(attrs["k"]), axis=axis).astype(np.int64)
    return np.take_along_axis(x, chosen, axis), chosen


def _samples_top_k() -> list[Sample]:
    ties, n = np.array([[1, 3, 3, 2], [5, 5, 0, 7]], dtype=np.int32), dims.symbol("n")
    odd = np.array([2.0, np.nan, -np.inf, 2.0, np.nan, np.inf, -1.0], dtype=np.float32)
    return [
        Sample((ties,), {"k": 2, "axis": 1}),
        Sample((ties,), {"k": 3, "axis": 1, "largest": False}),
        *(Sample((odd,), {"k": k, "axis": 0, "largest": largest}) for k in (4, 7) for largest in (True, False)),
        Sample((tensor("float32", "n", 5),), {"k": 2, "axis": 1}),
        Sample((tensor("float16", "n", 2),), {"k": n, "axis": 0}),
        Sample((tensor("uint64", 2, 300, "m"),), {"k": 90, "axis": 1}),
        Sample((tensor("bfloat16", dims.to_text(100 * n)),), {"k": dims.as_dim(60 * n), "axis": 0, "largest": False}),
    ]


ROWS: tuple[Op, ...] = (
    _running("cumsum", np.add, "sum"),
    _running("cumprod", np.multiply, "product"),
    Op(
        "top_k",
        Kind.SERIAL,
        _infer_top_k,
        _ref_top_k,
        None,
        (1, 1),
        {"k": REQUIRED, "axis": REQUIRED, "largest": True, "sorted": True},
        _samples_top_k,
        "The k greatest (or least) elements along an axis, in order, and where they are.",
    ),
)
