"""Maxima over regions of images, each a map of a fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.interpolation import NUMPY
from tilewright.ir.ops.precision import accumulator, narrowed
from tilewright.ir.ops.roi_align import REGIONS, region_type
from tilewright.ir.ops.sampling import bounded
from tilewright.ir.types import TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, rois = types
    return region_type(x, rois, attrs, 5)


def _range(m: Any, scale: float, ends: tuple[Any, Any], count: int, place: Any, size: Any, dtype: str) -> Any:
    """First place and number of places of a bin along an axis."""
    start, end = (m.let(_rounded(m, value * m.const(scale, dtype))) for value in ends)
    extent = m.let(m.maximum(end - start + 1.0, m.const(1.0, dtype)) / float(count))
    place, limit = m.cast(place, dtype), m.cast(size, dtype)
    zero = m.const(0.0, dtype)
    first = m.let(m.cast(bounded(m, m.floor(place * extent) + start, zero, limit), "int64"))
    stop = m.let(m.cast(bounded(m, m.ceil((place + 1.0) * extent) + start, zero, limit), "int64"))
    return first, m.let(m.maximum(stop - first, 0))


def _rounded(m: Any, x: Any) -> Any:
    """To the nearest integer, halves away from zero."""
    x = m.let(x)
    return m.select(x >= 0.0, m.floor(x + 0.5), m.ceil(x - 0.5))


def _ref(attrs: Attrs, x: Array, rois: Array) -> Array:
    dtype = accumulator(dtype_name(x.dtype))
    result = np.zeros((rois.shape[0], x.shape[1], *attrs["size"]), x.dtype)
    for r, region in enumerate(rois.astype(dtype)):
        image = x[min(max(int(region[0]), 0), x.shape[0] - 1)]
        for bin in np.ndindex(*attrs["size"]):
            (top, height), (left, width) = (
                _range(NUMPY, attrs["scale"], (region[2 - a], region[4 - a]), attrs["size"][a], *rest, dtype)
                for a, rest in enumerate(zip(bin, x.shape[2:], strict=True))
            )
            if height > 0 and width > 0:
                result[(r, slice(None), *bin)] = image[:, top : top + height, left : left + width].max(axis=(1, 2))
    return result


def _compute(b: Any, node: Node, x: Any, rois: Any) -> Any:
    attrs, dtype = node.attrs, accumulator(x.dtype)

    def ranges(r: Any, places: Sequence[Any]) -> list[Any]:
        at = [b.cast(rois(r, i), dtype) for i in range(5)]
        return [
            _range(b, attrs["scale"], (at[2 - a], at[4 - a]), attrs["size"][a], *rest, dtype)
            for a, rest in enumerate(zip(places, x.shape[2:], strict=True))
        ]

    def extents(index: Sequence[Any]) -> list[Any]:
        return [count for _, count in ranges(index[0], index[2:])]

    def term(index: Sequence[Any], number: Sequence[Any]) -> Any:
        r, channel, *places = index
        image = b.let(b.maximum(b.minimum(b.cast(rois(r, 0), "int64"), x.shape[0] - 1), 0))
        at = [first + k for (first, _), k in zip(ranges(r, places), number, strict=True)]
        return b.cast(x(image, channel, *at), dtype)

    best = b.reduce("max", b.shape(node.results[0]), extents, dtype, term)

    def element(*index: Any) -> Any:
        down, across = extents(index)
        return b.select(down * across > 0, best(*index), b.const(0, dtype))

    return narrowed(b, b.stage(best.shape, dtype, element), x.dtype)


def _samples() -> Sequence[Sample]:
    regions = np.concatenate([[[0], [1], [1], [0], [1]], REGIONS], axis=1).astype(np.float32)
    return [
        Sample((tensor("float32", 2, 3, 10, 8), regions), {"size": (3, 2)}),
        Sample((tensor("float64", "n", 2, "h", "w"), regions.astype(np.float64)), {"size": (2, 2), "scale": 0.5}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "max_roi_pool",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (2, 2),
        {"size": REQUIRED, "scale": 1.0},
        _samples,
        doc="The greatest element of each bin of each region (image, x1, y1, x2, y2) of x [N, C, H, W]; 0 "
        "in empty bins.",
    ),
)
