"""Operators whose result has as many elements as the data says.

Of `nonzero` the number is counted before. `unique` runs on the host: its `size` is a symbol of its own, which gets its
number from the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require_axis, require_dtype
from tilewright.ir.types import NUMERIC, TensorType

_PLAIN = (*NUMERIC, "bool")


def _infer_nonzero(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], _PLAIN, "the input")
    return (TensorType("int64", (types[0].rank, attrs["size"])),)


def _ref_nonzero(attrs: Attrs, x: Array) -> Array:
    """With another number of places than `size` the interpreter complains."""
    if x.ndim == 0:
        return np.zeros((0, int(bool(x))), np.int64)
    return np.array(np.nonzero(x), np.int64)


def _infer_unique(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, axis, size = types[0], attrs["axis"], attrs["size"]
    require_axis(axis, x.rank)
    places, count = TensorType("int64", (size,)), TensorType("int64", (x.shape[axis],))
    return (x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])), places, count, places)


def _ref_unique(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """Slices are compared element by element; numpy's own gives them in ascending order."""
    axis = attrs["axis"]
    if x.shape[axis] == 0:
        nothing = np.zeros(0, np.int64)
        return x, nothing, nothing, nothing
    _, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis if x.ndim > 1 else None
    )
    order = np.arange(len(first)) if attrs["sorted"] else np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first, places = first[order], rank[inverse.reshape(-1)]
    return np.take(x, first, axis), first.astype(np.int64), places.astype(np.int64), counts[order].astype(np.int64)


def _samples_nonzero() -> list[Sample]:
    return [
        Sample((np.array([[0, 2, 0], [-1, 0, 3]]),), {"size": 3}),
        Sample((np.array([0.0, np.nan, -0.0, 1.0], np.float32),), {"size": 2}),
        Sample((np.array([[[True], [False]], [[True], [True]]]),), {"size": 3}),
        Sample((np.array(True),), {"size": 1}),
        Sample((np.zeros((2, 3), np.int8),), {"size": 0}),
    ]


def _samples_unique() -> list[Sample]:
    x, rows = np.array([2.0, 1.0, 1.0, 3.0, 4.0, 3.0], np.float32), np.array([[1, 0, 0], [1, 0, 0], [2, 3, 4]])
    return [
        Sample((x,), {"size": dims.symbol("_size"), "axis": 0}),
        Sample((x,), {"size": dims.symbol("_other"), "axis": 0, "sorted": False}),
        Sample((rows,), {"size": dims.symbol("_third"), "axis": 0}),
        Sample((rows,), {"size": dims.symbol("_fourth"), "axis": 1, "sorted": False}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "nonzero",
        Kind.SERIAL,
        _infer_nonzero,
        _ref_nonzero,
        None,
        (1, 1),
        {"size": REQUIRED},
        _samples_nonzero,
        "The places of the elements that are not zero, `size` of them, in row-major order: one row for each axis.",
    ),
    Op(
        "unique",
        Kind.OPAQUE,
        _infer_unique,
        _ref_unique,
        None,
        (1, 1),
        {"size": REQUIRED, "axis": REQUIRED, "sorted": True},
        _samples_unique,
        "The different parts along an axis, in ascending order or that of their first places; these places; which of "
        "them each part of x is; and how often it comes.",
    ),
)
