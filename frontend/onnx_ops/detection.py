"""Detection and geometry: boxes, grids of affine maps, determinants and inverses."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def non_max_suppression(c: Call) -> Value:
    """Without a greatest number of boxes there are none."""
    limits = [scalar(c, 2, 0, "int64"), scalar(c, 3, 0.0, "float32")]
    least = c.optional(4)
    if least is not None and least.shape != (0,):
        limits.append(scalar(c, 4, 0.0, "float32"))
    count, center = str(c.fresh_size()), c.flag("center_point_box")
    return c.apply("non_max_suppression", c[0], c[1], *limits, count=count, center=center)


def scalar(c: Call, index: int, default: float, dtype: str) -> Value:
    """An input that may be left out or empty, as a scalar."""
    value = c.optional(index)
    return c.constant(default, dtype) if value is None or value.shape == (0,) else c.reshape(value, ())


def affine_grid(c: Call) -> Value:
    """Where each place of an image of the given size comes from: theta [N, D, D + 1] times its coordinates."""
    theta, size = c[0], c.sizes(c[1], "a size")
    rank = len(size) - 2
    if theta.rank != 3 or rank < 1:
        raise c.malformed(f"has theta {theta.type} for an image of {len(size)} axes")
    grid = coefficients(c, theta, rank, rank)
    for axis, count in enumerate(size[2:]):
        shape = (1, *(count if i == axis else 1 for i in range(rank)), 1)
        at = c.reshape(coordinates(c, count, theta.dtype), shape)
        grid = c.apply("add", grid, c.apply("mul", coefficients(c, theta, rank - 1 - axis, rank), at))
    return grid


def coefficients(c: Call, theta: Value, column: int, rank: int) -> Value:
    """A column of theta as [N, 1 ..., D]."""
    return c.reshape(c.slice(theta, 2, column, 1), (theta.shape[0], *[1] * rank, theta.shape[1]))


def coordinates(c: Call, count: Dim, dtype: str) -> Value:
    """From -1 to 1: the borders of the places, or with align_corners the middles of the outermost ones."""
    number = c.cast(c.apply("range", start=0, step=1, size=count, dtype="int64"), "float64")
    if c.flag("align_corners"):
        steps = c.cast(c.size_value(dims.maximum(dims.sub(count, 1), 1)), "float64")
        position = c.apply("div", c.apply("mul", number, 2.0), steps)
    else:
        steps = c.cast(c.size_value(count), "float64")
        position = c.apply("div", c.apply("add", c.apply("mul", number, 2.0), 1.0), steps)
    return c.cast(c.apply("sub", position, 1.0), dtype)


TABLE = {
    "AffineGrid": affine_grid,
    "Det": lambda c: c.apply("det", c[0]),
    "NonMaxSuppression": non_max_suppression,
    "com.microsoft.Inverse": lambda c: c.apply("inverse", c[0]),
}
