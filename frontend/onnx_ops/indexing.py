"""Gathers, scatters and what is made by comparing indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def along(name: str, inputs: int) -> Callable[[Call], Value]:
    return lambda c: c.apply(name, *(c[i] for i in range(inputs)), axis=c.axis(c.integer("axis", 0), c[0].rank))


def gather_nd(c: Call) -> Value:
    return c.apply("gather_nd", c[0], c[1], batch_dims=c.integer("batch_dims", 0))


def reduction_of(c: Call) -> str:
    reduction = c.text("reduction", "none")
    if reduction not in ("none", "add", "mul", "max", "min"):
        raise c.malformed(f"has the unknown reduction '{reduction}'")
    return reduction


def scatter_elements(c: Call) -> Value:
    axis = c.axis(c.integer("axis", 0), c[0].rank)
    return c.apply("scatter_elements", c[0], c[1], c[2], axis=axis, reduction=reduction_of(c))


def scatter_nd(c: Call) -> Value:
    return c.apply("scatter_nd", c[0], c[1], c[2], reduction=reduction_of(c))


def index_along(c: Call, size: Dim, axis: int, rank: int, dtype: str = "int64") -> Value:
    """0, 1, ... along one axis, of size 1 along the others."""
    numbers = c.apply("range", start=0, step=1, size=size, dtype=dtype)
    return c.reshape(numbers, [size if i == axis else 1 for i in range(rank)])


def from_end(c: Call, index: Value, size: Dim) -> Value:
    """Negative indices counted from the end, as positive ones."""
    offset = c.cast(c.reshape(c.sizes_value([size]), ()), index.dtype)
    return c.apply("where", c.apply("less", index, 0), c.apply("add", index, offset), index)


def one_hot(c: Call) -> Value:
    """Indices outside [-depth, depth) give rows of the off value."""
    indices = c.cast(c[0], "int64")
    depth = depth_of(c)
    rank = indices.rank + 1
    axis = c.axis(c.integer("axis", -1), rank)
    wide = c.reshape(from_end(c, indices, depth), (*indices.shape[:axis], 1, *indices.shape[axis:]))
    hit = c.apply("equal", wide, index_along(c, depth, axis, rank))
    off, on = (c.reshape(c.slice(c[2], 0, i, 1), ()) for i in (0, 1))
    return c.apply("where", hit, on, off)


def depth_of(c: Call) -> Dim:
    depth = c.number(c.cast(c[1], "int64"), "a depth")
    if isinstance(depth, int) and depth < 1:
        raise c.malformed(f"has the depth {depth}")
    return dims.as_dim(depth)


def diagonal_distance(c: Call, shape: Sequence[Dim], offset: Dim) -> Value:
    """column - row - offset for each place of a matrix."""
    rows, columns = index_along(c, shape[0], 0, 2), index_along(c, shape[1], 1, 2)
    shift = c.reshape(c.sizes_value([offset]), ())
    return c.apply("sub", c.apply("sub", columns, rows), shift)


def trilu(c: Call) -> Value:
    x, k = c[0], c.optional(1)
    if x.rank < 2:
        raise c.malformed(f"needs a matrix, but its input has {x.rank} axes")
    distance = diagonal_distance(c, x.shape[-2:], 0 if k is None else dims.as_dim(c.number(k, "a diagonal")))
    keep = c.apply("greater_equal" if c.flag("upper", True) else "less_equal", distance, 0)
    return c.apply("where", keep, x, c.constant(0, x.dtype))


def eye_like(c: Call) -> Value:
    if c[0].rank != 2:
        raise c.malformed(f"needs a matrix, but its input has {c[0].rank} axes")
    distance = diagonal_distance(c, c[0].shape, c.integer("k", 0))
    return c.cast(c.apply("equal", distance, 0), c.dtype("dtype", c[0].dtype))


def reverse_sequence(c: Call) -> Value:
    """The first `length` elements of each row backwards, the rest in place."""
    x, lengths = c[0], c[1]
    time, batch = (c.axis(c.integer(name, default), x.rank) for name, default in (("time_axis", 0), ("batch_axis", 1)))
    index = index_along(c, x.shape[time], time, x.rank)
    length = c.reshape(c.cast(lengths, "int64"), [lengths.shape[0] if i == batch else 1 for i in range(x.rank)])
    mirrored = c.apply("sub", c.apply("sub", length, 1), index)
    place = c.apply("where", c.apply("less", index, length), mirrored, index)
    return c.apply("gather_elements", x, c.expand(place, x.shape), axis=time)


TABLE = {
    "EyeLike": eye_like,
    "Gather": along("gather", 2),
    "GatherElements": along("gather_elements", 2),
    "GatherND": gather_nd,
    "OneHot": one_hot,
    "ReverseSequence": reverse_sequence,
    "Scatter": scatter_elements,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Trilu": trilu,
    "com.microsoft.Trilu": trilu,
}
