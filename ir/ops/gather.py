"""Operators that read places given by indices, which may count from the end by being negative.

The reference raises IndexError for an index outside its axis; a kernel reads the nearest place inside instead, so that
no input makes it touch foreign memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import index_depth, require, require_axis, require_dtype, require_equal, require_rank
from tilewright.ir.ops.scatter import SCATTER_ELEMENTS, SCATTER_ND
from tilewright.ir.types import INTEGERS, UNSIGNED, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def place_in(b: Any, indices: Any, index: Sequence[Any], size: Any) -> Any:
    """The place in an axis of `size` that an element of `indices` means."""
    place = b.cast(indices(*index), "int64")
    if indices.dtype not in UNSIGNED:
        place = b.select(place < 0, place + size, place)
    return b.maximum(b.minimum(place, size - 1), 0)


def _infer_gather(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (data, indices), axis = types, attrs["axis"]
    require_dtype(indices, INTEGERS, "the indices")
    require_axis(axis, data.rank)
    _check_readable(data, axis, indices)
    return (data.with_shape((*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])),)


def _check_readable(data: TensorType, axis: int, indices: TensorType) -> None:
    require(data.shape[axis] != 0 or indices.size == 0, f"axis {axis} of {data} has no places to read")


def _ref_gather(attrs: Attrs, data: Array, indices: Array) -> Array:
    return np.take(data, indices, axis=attrs["axis"])


def _compute_gather(b: Any, node: Node, data: Any, indices: Any) -> Any:
    axis, end = node.attrs["axis"], node.attrs["axis"] + len(indices.shape)

    def element(*index: Any) -> Any:
        place = place_in(b, indices, index[axis:end], data.shape[axis])
        return data(*index[:axis], place, *index[end:])

    return b.stage(b.shape(node.results[0]), data.dtype, element)


def _samples_gather() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 5, 3), np.array([[0, -1], [4, -5]])), {"axis": 0}),
        Sample((tensor("float32", "n", 4, "s"), np.array([1, -2, 3], np.int32)), {"axis": 1}),
        Sample((tensor("int64", 2, 3), np.array(2)), {"axis": 1}),
        Sample((tensor("bool", 2, 3), np.array([2, 0], np.uint8)), {"axis": 1}),
    ]


def _infer_gather_elements(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (data, indices), axis = types, attrs["axis"]
    require_dtype(indices, INTEGERS, "the indices")
    require_rank(indices, data.rank, "the indices")
    require_axis(axis, data.rank)
    for i, (size, length) in enumerate(zip(indices.shape, data.shape, strict=True)):
        fits = not (isinstance(size, int) and isinstance(length, int)) or size <= length
        require(i == axis or fits, f"axis {i} of the indices {indices} is longer than that of the data {data}")
    _check_readable(data, axis, indices)
    return (data.with_shape(indices.shape),)


def _ref_gather_elements(attrs: Attrs, data: Array, indices: Array) -> Array:
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[attrs["axis"]] = indices
    return data[tuple(places)]


def _compute_gather_elements(b: Any, node: Node, data: Any, indices: Any) -> Any:
    axis = node.attrs["axis"]

    def element(*index: Any) -> Any:
        return data(*index[:axis], place_in(b, indices, index, data.shape[axis]), *index[axis + 1 :])

    return b.stage(b.shape(node.results[0]), data.dtype, element)


def _samples_gather_elements() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 3, 4), np.array([[0, -1, 2], [-3, 1, 1]])), {"axis": 0}),
        Sample((tensor("int64", 3, "n"), np.zeros((3, 2), np.int32)), {"axis": 1}),
        Sample((tensor("float32", 2, 2, 3), np.array([[[2, -1]], [[0, 1]]])), {"axis": 2}),
    ]


def _infer_gather_nd(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    (data, indices), batch = types, attrs["batch_dims"]
    require_dtype(indices, INTEGERS, "the indices")
    require(0 <= batch < min(data.rank, indices.rank), f"batch_dims {batch} does not fit {data} and {indices}")
    for i in range(batch):
        require_equal(data.shape[i], indices.shape[i], f"sizes of batch axis {i}")
    depth = index_depth(data, indices, batch)
    return (data.with_shape((*indices.shape[:-1], *data.shape[batch + depth :])),)


def _ref_gather_nd(attrs: Attrs, data: Array, indices: Array) -> Array:
    batch = attrs["batch_dims"]
    shared = np.indices(indices.shape[:-1], sparse=True)[:batch]
    found: Array = data[(*shared, *np.moveaxis(indices, -1, 0))]
    return found


def _compute_gather_nd(b: Any, node: Node, data: Any, indices: Any) -> Any:
    batch, lead, depth = node.attrs["batch_dims"], len(indices.shape) - 1, node.inputs[1].shape[-1]

    def element(*index: Any) -> Any:
        places = [place_in(b, indices, (*index[:lead], k), data.shape[batch + k]) for k in range(depth)]
        return data(*index[:batch], *places, *index[lead:])

    return b.stage(b.shape(node.results[0]), data.dtype, element)


def _samples_gather_nd() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 3, 4, 2), np.array([[0, -1], [2, 1]]))),
        Sample((tensor("float32", 2, 3, 4), np.array([[[1], [-3]], [[0], [2]]])), {"batch_dims": 1}),
        Sample((tensor("int64", "n", 3), np.array([[[0]], [[-1]]], np.int32))),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "gather",
        Kind.INJECTIVE,
        _infer_gather,
        _ref_gather,
        _compute_gather,
        (2, 2),
        {"axis": REQUIRED},
        _samples_gather,
        doc="The parts of data that indices name along `axis`; the axes of indices take the place of that axis.",
    ),
    Op(
        "gather_elements",
        Kind.INJECTIVE,
        _infer_gather_elements,
        _ref_gather_elements,
        _compute_gather_elements,
        (2, 2),
        {"axis": REQUIRED},
        _samples_gather_elements,
        doc="Each element of data at its own place, except along `axis`, where indices name it.",
    ),
    Op(
        "gather_nd",
        Kind.INJECTIVE,
        _infer_gather_nd,
        _ref_gather_nd,
        _compute_gather_nd,
        (2, 2),
        {"batch_dims": 0},
        _samples_gather_nd,
        doc="Each row of the last axis of indices names a part of data by its first axes, after `batch_dims` axes that "
        "data and indices share.",
    ),
    SCATTER_ELEMENTS,
    SCATTER_ND,
)
