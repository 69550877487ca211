"""Interpolating resizes, one axis after the other, as the operator is defined, which takes far fewer terms.

Along the last axis, which kernels compute in vectors, places and weights come from tables where the sizes are known:
there are no vector instructions for how they are computed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.graph import Graph, Node, Value, apply, constant
from tilewright.ir.ops.interpolation import NUMPY, Resized, neighbours
from tilewright.ir.ops.resize import resized_axes
from tilewright.ir.types import numpy_dtype


def resize_by_axes(graph: Graph) -> Graph:
    """The graph with a resize for each axis, or sums of weighted gathers instead."""
    return graph.map_nodes(_by_axes)


def _by_axes(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "resize":
        return None
    x, attrs = inputs[0], node.attrs
    if attrs["mode"] == "nearest" or attrs["operands"] or attrs["axes"] is not None:
        return None
    if x.dtype not in ("float32", "float64"):  # sums would be rounded in between
        return None
    axes = resized_axes(attrs, x.shape)
    if len(axes) < 2 and not _is_tabled(x, axes, attrs["sizes"]):
        return None
    for axis in axes:
        x = _along(node, x, axis)
    return (x,)


def _is_tabled(x: Value, axes: Sequence[int], sizes: Sequence[object]) -> bool:
    last = x.rank - 1
    return last in axes and isinstance(x.shape[last], int) and isinstance(sizes[last], int)


def _along(node: Node, x: Value, axis: int) -> Value:
    attrs, source = node.attrs, node.source
    scales = attrs["scales"] or (None,) * x.rank
    if not _is_tabled(x, [axis], attrs["sizes"]):
        sizes = tuple(attrs["sizes"][a] if a == axis else size for a, size in enumerate(x.shape))
        only = tuple(scale if a == axis else None for a, scale in enumerate(scales))
        return apply("resize", x, source=source, **{**attrs, "sizes": sizes, "scales": only})
    old, new = int(x.shape[axis]), int(attrs["sizes"][axis])
    found = neighbours(NUMPY, attrs, np.arange(new), Resized(old, new, scales[axis]))
    terms = [
        apply(
            "mul",
            apply("gather", x, constant(np.asarray(places, np.int64)), source=source, axis=axis),
            constant(np.asarray(weights, numpy_dtype(x.dtype))),
            source=source,
        )
        for places, weights in found
    ]
    total = terms[0]
    for term in terms[1:]:
        total = apply("add", total, term, source=source)
    return total
