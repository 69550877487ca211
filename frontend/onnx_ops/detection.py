"""Detection and geometry: boxes, grids of affine maps, determinants and inverses."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.selection import places_of
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def non_max_suppression(c: Call) -> Value:
    """Rows (image, class, box). Without a greatest number of boxes there are none."""
    boxes, scores = c[0], c[1]
    if boxes.rank != 3 or scores.rank != 3:
        raise c.malformed(f"needs boxes and scores of three axes, not {boxes.type} and {scores.type}")
    most = dims.minimum(c.size(scalar(c, 2, 0, "int64"), "a number of boxes"), boxes.shape[1])
    limits = [scalar(c, 3, 0.0, "float32")]
    least = c.optional(4)
    if least is not None and least.shape != (0,):
        limits.append(scalar(c, 4, 0.0, "float32"))
    found = c.apply(
        "non_max_suppression",
        boxes,
        scores,
        *limits,
        most=dims.maximum(most, 0),
        center=c.flag("center_point_box"),
    )
    rows = c.transpose(places_of(c, c.apply("greater_equal", found, 0)), (1, 0))
    box = c.reshape(c.apply("gather_nd", found, rows, batch_dims=0), (rows.shape[0], 1))
    return c.apply("concat", c.slice(rows, 1, 0, 2), box, axis=1)


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
