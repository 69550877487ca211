"""Operators that move elements without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import (
    assume_equal,
    differ,
    require,
    require_axis,
    require_equal,
    require_lengths,
    require_same_dtype,
    require_sizes,
)
from tilewright.ir.ops.elementwise import broadcast_reader
from tilewright.ir.ops.padding import PAD
from tilewright.ir.ops.reshape import RESHAPE
from tilewright.ir.ops.windows import guarded
from tilewright.ir.types import TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer_transpose(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, perm = types[0], attrs["perm"]
    require(sorted(perm) == list(range(x.rank)), f"perm {perm} is not an order of the {x.rank} axes")
    return (x.with_shape(x.shape[axis] for axis in perm),)


def _ref_transpose(attrs: Attrs, x: Array) -> Array:
    return np.transpose(x, attrs["perm"])


def _compute_transpose(b: Any, node: Node, x: Any) -> Any:
    where = [node.attrs["perm"].index(axis) for axis in range(len(x.shape))]
    return b.stage(b.shape(node.results[0]), x.dtype, lambda *index: x(*(index[i] for i in where)))


def _samples_transpose() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 2, 3, 4),), {"perm": (2, 0, 1)}),
        Sample((tensor("int64", "n", "s", 2, 3),), {"perm": (0, 2, 1, 3)}),
        Sample((tensor("bool", 4),), {"perm": (0,)}),
    ]


def _infer_expand(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, shape = types[0], tuple(attrs["shape"])
    require_sizes(shape, "shape")
    require(x.rank <= len(shape), f"{x} has more axes than the shape {x.with_shape(shape)}")
    for old, new in zip(reversed(x.shape), reversed(shape), strict=False):
        require(old == 1 or not differ(old, new), f"{x} does not broadcast to {x.with_shape(shape)}")
        if old != 1:
            assume_equal(old, new, "the old and the new size of an axis")
    return (x.with_shape(shape),)


def _ref_expand(attrs: Attrs, x: Array) -> Array:
    return np.broadcast_to(x, attrs["shape"]).copy()


def _compute_expand(b: Any, node: Node, x: Any) -> Any:
    shape = b.shape(node.results[0])
    return b.stage(shape, x.dtype, broadcast_reader(x, len(shape)))


def _samples_expand() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 3, 1),), {"shape": (2, 3, 4)}),
        Sample((tensor("int64", "n", 1, 4),), {"shape": tensor("int64", "n", "m", 4).shape}),
        Sample((tensor("float32"),), {"shape": (2, 2)}),
    ]


def _infer_slice(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, starts, sizes, steps = types[0], attrs["starts"], attrs["sizes"], attrs["steps"]
    require_lengths(x.rank, starts=starts, sizes=sizes, steps=steps)
    require_sizes(sizes, "sizes")
    for axis, column in enumerate(zip(x.shape, starts, sizes, steps, strict=True)):
        _check_range(axis, *column)
    return (x.with_shape(sizes),)


def _check_range(axis: int, length: Dim, start: Dim, size: Dim, step: Dim) -> None:
    """Both ends of what is read must lie in the axis, as far as that is known."""
    if size == 0:
        return
    last = dims.add(start, dims.product((dims.sub(size, 1), step)))
    for place in (start, last):
        room = dims.sub(length, place)
        if (isinstance(place, int) and place < 0) or (isinstance(room, int) and room <= 0):
            raise TypeInferenceError(f"axis {axis} of size {length} has no place {place}")


def _ref_slice(attrs: Attrs, x: Array) -> Array:
    columns = zip(attrs["starts"], attrs["sizes"], attrs["steps"], strict=True)
    return x[np.ix_(*(start + step * np.arange(size) for start, size, step in columns))]


def _compute_slice(b: Any, node: Node, x: Any) -> Any:
    starts, steps = ([b.dim(d) for d in node.attrs[name]] for name in ("starts", "steps"))
    return b.stage(
        b.shape(node.results[0]),
        x.dtype,
        lambda *index: x(*(start + i * step for start, i, step in zip(starts, index, steps, strict=True))),
    )


def _samples_slice() -> Sequence[Sample]:
    n, s = dims.symbol("n"), dims.symbol("s")
    return [
        Sample((tensor("float32", 5, 6),), {"starts": (1, 0), "sizes": (2, 3), "steps": (2, 2)}),
        Sample((tensor("float32", 4, 5),), {"starts": (3, 4), "sizes": (4, 3), "steps": (-1, -2)}),
        Sample((tensor("int64", "n", "s"),), {"starts": (0, dims.sub(s, 1)), "sizes": (n, 1), "steps": (1, 1)}),
        Sample((tensor("float32", 3, 2),), {"starts": (0, 0), "sizes": (0, 2), "steps": (1, 1)}),
    ]


def _infer_concat(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    axis, first = attrs["axis"], types[0]
    require_same_dtype(types)
    require(all(t.rank == first.rank for t in types), f"the inputs have {sorted({t.rank for t in types})} axes")
    require_axis(axis, first.rank)
    shape = list(first.shape)
    for type in types[1:]:
        for i, size in enumerate(type.shape):
            shape[i] = dims.add(shape[i], size) if i == axis else require_equal(shape[i], size, f"sizes of axis {i}")
    return (first.with_shape(shape),)


def _ref_concat(attrs: Attrs, *arrays: Array) -> Array:
    return np.concatenate(arrays, axis=attrs["axis"])


def _compute_concat(b: Any, node: Node, *tensors: Any) -> Any:
    axis = node.attrs["axis"]
    starts, end = [], 0
    for part in tensors:
        starts.append(end)
        end = end + part.shape[axis]

    def element(*index: Any) -> Any:
        place, value = index[axis], b.const(0, tensors[0].dtype)
        for part, start in reversed(list(zip(tensors, starts, strict=True))):
            read = (*index[:axis], place - start, *index[axis + 1 :])
            within = [place >= start, place < start + part.shape[axis]]
            value = guarded(b, within, part, read, value)
        return value

    return b.stage(b.shape(node.results[0]), tensors[0].dtype, element)


def _samples_concat() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 2, 3), tensor("float32", 2, 1), tensor("float32", 2, 4)), {"axis": 1}),
        Sample((tensor("float32", "n", 3), tensor("float32", "m", 3)), {"axis": 0}),
        Sample((tensor("int64", 4),), {"axis": 0}),
        Sample((tensor("bool", 2, 0, 3), tensor("bool", 2, 2, 3)), {"axis": 1}),
    ]


def _infer_split(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, axis, sizes = types[0], attrs["axis"], attrs["sizes"]
    require_axis(axis, x.rank)
    require_sizes(sizes, "sizes")
    require_equal(dims.add(*sizes), x.shape[axis], f"the sum of the sizes and the size of axis {axis}")
    return tuple(x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])) for size in sizes)


def _ref_split(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    return tuple(np.split(x, np.cumsum(attrs["sizes"])[:-1], axis=attrs["axis"]))


def _compute_split(b: Any, node: Node, x: Any) -> tuple[Any, ...]:
    axis, start, parts = node.attrs["axis"], 0, []
    for result in node.results:
        shape = b.shape(result)
        parts.append(_part(b, x, axis, start, shape))
        start = start + shape[axis]
    return tuple(parts)


def _part(b: Any, x: Any, axis: int, start: Any, shape: Sequence[Any]) -> Any:
    """`shape` elements of `x` from `start` of one axis."""
    return b.stage(shape, x.dtype, lambda *index: x(*index[:axis], index[axis] + start, *index[axis + 1 :]))


def _samples_split() -> Sequence[Sample]:
    h = dims.symbol("h")
    return [
        Sample((tensor("float32", 2, 7),), {"axis": 1, "sizes": (2, 1, 4)}),
        Sample((tensor("float32", "n", "2*h"),), {"axis": 1, "sizes": (h, h)}),
        Sample((tensor("int32", 3),), {"axis": 0, "sizes": (3,)}),
    ]


def _infer_tile(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, repeats = types[0], attrs["repeats"]
    require_lengths(x.rank, repeats=repeats)
    require_sizes(repeats, "repeats")
    return (x.with_shape(dims.product(pair) for pair in zip(x.shape, repeats, strict=True)),)


def _ref_tile(attrs: Attrs, x: Array) -> Array:
    return np.tile(x, attrs["repeats"])


def _compute_tile(b: Any, node: Node, x: Any) -> Any:
    repeats = node.attrs["repeats"]

    def element(*index: Any) -> Any:
        return x(*(i if r == 1 else i % n for i, n, r in zip(index, x.shape, repeats, strict=True)))

    return b.stage(b.shape(node.results[0]), x.dtype, element)


def _samples_tile() -> Sequence[Sample]:
    return [
        Sample((tensor("float32", 2, 3),), {"repeats": (3, 2)}),
        Sample((tensor("int64", "n", 1),), {"repeats": (1, dims.symbol("m"))}),
        Sample((tensor("float32", 2, 3),), {"repeats": (1, 0)}),
    ]


ROWS: tuple[Op, ...] = (
    RESHAPE,
    Op(
        "transpose",
        Kind.INJECTIVE,
        _infer_transpose,
        _ref_transpose,
        _compute_transpose,
        (1, 1),
        {"perm": REQUIRED},
        _samples_transpose,
        doc="Axis i of the result is axis perm[i] of x.",
    ),
    Op(
        "expand",
        Kind.INJECTIVE,
        _infer_expand,
        _ref_expand,
        _compute_expand,
        (1, 1),
        {"shape": REQUIRED},
        _samples_expand,
        doc="x broadcast to `shape`, which is the whole shape of the result.",
    ),
    Op(
        "slice",
        Kind.INJECTIVE,
        _infer_slice,
        _ref_slice,
        _compute_slice,
        (1, 1),
        {"starts": REQUIRED, "sizes": REQUIRED, "steps": REQUIRED},
        _samples_slice,
        doc="Element i of each axis is element start + i * step of x. One entry per axis; starts are not negative.",
    ),
    Op(
        "concat",
        Kind.INJECTIVE,
        _infer_concat,
        _ref_concat,
        _compute_concat,
        (1, None),
        {"axis": REQUIRED},
        _samples_concat,
        doc="The inputs one after the other along `axis`.",
    ),
    Op(
        "split",
        Kind.INJECTIVE,
        _infer_split,
        _ref_split,
        _compute_split,
        (1, 1),
        {"axis": REQUIRED, "sizes": REQUIRED},
        _samples_split,
        doc="One result for each of `sizes`, cut one after the other from `axis`.",
    ),
    PAD,
    Op(
        "tile",
        Kind.INJECTIVE,
        _infer_tile,
        _ref_tile,
        _compute_tile,
        (1, 1),
        {"repeats": REQUIRED},
        _samples_tile,
        doc="x repeated `repeats` times along each axis.",
    ),
)
