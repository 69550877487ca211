"""Operators that write to places given by indices, which may be negative."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import (
    index_depth,
    require,
    require_axis,
    require_dtype,
    require_equal,
    require_rank,
    require_same_dtype,
)
from tilewright.ir.types import INTEGERS, TensorType, tensor

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add.at,
    "mul": np.multiply.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
}


def _check(types: Sequence[TensorType], attrs: Attrs) -> None:
    data, indices, updates = types
    require_same_dtype((data, updates))
    require_dtype(indices, INTEGERS, "the indices")
    known = ("none", *_REDUCTIONS)
    require(attrs["reduction"] in known, f"reduction {attrs['reduction']!r} is not one of {', '.join(known)}")


def _write(data: Array, places: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    """A copy of `data` with `updates` written to, or combined with, its `places`."""
    result = data.copy()
    if reduction == "none":
        result[places] = updates
    else:
        _REDUCTIONS[reduction](result, places, updates)
    return result


def _infer_elements(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    data, indices, updates = types
    _check(types, attrs)
    require_rank(indices, data.rank, "the indices")
    require_rank(updates, data.rank, "the updates")
    require_axis(attrs["axis"], data.rank)
    for i, (a, b) in enumerate(zip(indices.shape, updates.shape, strict=True)):
        require_equal(a, b, f"sizes of axis {i} of indices and updates")
        fits = not (isinstance(a, int) and isinstance(data.shape[i], int)) or a <= data.shape[i]
        require(i == attrs["axis"] or fits, f"axis {i} of the indices {indices} is longer than that of the data {data}")
    return (data,)


def _ref_elements(attrs: Attrs, data: Array, indices: Array, updates: Array) -> Array:
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[attrs["axis"]] = indices
    return _write(data, tuple(places), updates, attrs["reduction"])


def _samples_elements() -> Sequence[Sample]:
    indices = np.array([[0, -1, 2], [1, 1, 0]])
    updates, data, counts = tensor("float32", 2, 3), tensor("float32", 3, 4), tensor("int32", 3, "n")
    return [
        Sample((data, indices, updates), {"axis": 0}),
        Sample((data, np.array([[1, 1, -3]]), tensor("float32", 1, 3)), {"axis": 1, "reduction": "add"}),
        Sample((counts, np.array([[2], [-1]]), tensor("int32", 2, 1)), {"axis": 0, "reduction": "max"}),
    ]


def _infer_nd(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    data, indices, updates = types
    _check(types, attrs)
    require(indices.rank >= 1, "the indices must have at least one axis")
    written = (*indices.shape[:-1], *data.shape[index_depth(data, indices, 0) :])
    require_rank(updates, len(written), "the updates")
    for i, (a, b) in enumerate(zip(updates.shape, written, strict=True)):
        require_equal(a, b, f"sizes of axis {i} of the updates and of what the indices name")
    return (data,)


def _ref_nd(attrs: Attrs, data: Array, indices: Array, updates: Array) -> Array:
    return _write(data, tuple(np.moveaxis(indices, -1, 0)), updates, attrs["reduction"])


def _samples_nd() -> Sequence[Sample]:
    data = tensor("float32", 4, 3)
    return [
        Sample((data, np.array([[0], [-1]]), tensor("float32", 2, 3))),
        Sample((data, np.array([[[0, 1]], [[0, 1]]]), tensor("float32", 2, 1)), {"reduction": "add"}),
        Sample((tensor("int64", 4, "n"), np.array([[3], [0]]), tensor("int64", 2, "n")), {"reduction": "mul"}),
    ]


SCATTER_ELEMENTS = Op(
    "scatter_elements",
    Kind.SERIAL,
    _infer_elements,
    _ref_elements,
    None,
    (3, 3),
    {"axis": REQUIRED, "reduction": "none"},
    _samples_elements,
    doc="data with each update written at its own place, except along `axis`, where indices name it.",
)

SCATTER_ND = Op(
    "scatter_nd",
    Kind.SERIAL,
    _infer_nd,
    _ref_nd,
    None,
    (3, 3),
    {"reduction": "none"},
    _samples_nd,
    doc="data with updates written to the parts that the rows of the last axis of indices name by their first axes.",
)
