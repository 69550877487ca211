"""RoiAlign: regions of images sampled between their places, each a map of a fixed size (He et al., 2017)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import (
    require,
    require_dtype,
    require_equal,
    require_rank,
    require_same_dtype,
    require_sizes,
)
from tilewright.ir.ops.interpolation import NUMPY
from tilewright.ir.ops.precision import accumulator, narrowed
from tilewright.ir.ops.sampling import bounded
from tilewright.ir.types import FLOATS, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

_MOST = 1 << 20  # samples along one side of a bin


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, rois, batch = types
    require(attrs["kind"] in ("avg", "max"), f"kind {attrs['kind']!r} is neither avg nor max")
    require(attrs["samples"] >= 0, f"samples is {attrs['samples']}, which is negative")
    require_dtype(batch, ("int32", "int64"), "the batch indices")
    require_rank(batch, 1, "the batch indices")
    require_equal(batch.shape[0], rois.shape[0], "the number of regions and of batch indices")
    return region_type(x, rois, attrs, 4)


def region_type(x: TensorType, rois: TensorType, attrs: Attrs, columns: int) -> tuple[TensorType, ...]:
    """The maps of regions [R, columns] of x [N, C, H, W]. Raises TypeInferenceError for what does not fit."""
    require_same_dtype((x, rois))
    require_dtype(x, FLOATS, "the input")
    require_rank(x, 4, "the input")
    require_rank(rois, 2, "the regions")
    require_equal(rois.shape[1], columns, "the columns of the regions and what they hold")
    require(len(attrs["size"]) == 2, f"the size {attrs['size']} has not two axes")
    require_sizes(attrs["size"], "size")
    require(all(d != 0 for d in (x.shape[0], *x.shape[2:])), f"{x} has no places to pool")
    return (x.with_shape((rois.shape[0], x.shape[1], *attrs["size"])),)


def _bin(m: Any, attrs: Attrs, low: Any, high: Any, count: int, dtype: str) -> tuple[Any, Any, Any]:
    """Start of a region along an axis, size of its `count` bins, and how many samples a bin has; all floats."""
    scale, shift = m.const(attrs["scale"], dtype), 0.5 if attrs["half_pixel"] else 0.0
    start = m.let(low * scale - shift)
    extent = high * scale - shift - start
    if not attrs["half_pixel"]:
        extent = m.maximum(extent, m.const(1.0, dtype))
    size = m.let(extent / float(count))
    if attrs["samples"]:
        return start, size, m.const(attrs["samples"], dtype)
    return start, size, m.let(bounded(m, m.ceil(size), m.const(0.0, dtype), m.const(float(_MOST), dtype)))


def _sampled(m: Any, bin: tuple[Any, Any, Any], place: Any, number: Any, size: Any, dtype: str) -> tuple[Any, ...]:
    """For a sample of an axis: whether it is inside, the places below and above it, and the weight of the latter."""
    start, extent, samples = bin
    at = m.let(start + m.cast(place, dtype) * extent + (m.cast(number, dtype) + 0.5) * extent / samples)
    inside = m.logical_and(at >= -1.0, at <= m.cast(size, dtype))
    at = m.let(bounded(m, at, m.const(0.0, dtype), m.cast(size, dtype) - 1.0))
    low = m.let(m.cast(m.floor(at), "int64"))
    return inside, low, m.let(m.minimum(low + 1, size - 1)), at - m.floor(at)


def _corners(m: Any, read: Any, y: tuple[Any, ...], x: tuple[Any, ...]) -> tuple[Any, ...]:
    """The four elements around a sample, weighted."""
    (_, top, bottom, down), (_, left, right, across) = y, x
    return (
        (1.0 - down) * (1.0 - across) * read(top, left),
        (1.0 - down) * across * read(top, right),
        down * (1.0 - across) * read(bottom, left),
        down * across * read(bottom, right),
    )


def _pooled(m: Any, kind: str, corners: Sequence[Any], inside: Any, zero: Any) -> Any:
    combine = m.maximum if kind == "max" else lambda a, b: a + b
    return m.select(inside, functools.reduce(combine, corners), zero)


def _ref(attrs: Attrs, x: Array, rois: Array, batch: Array) -> Array:
    dtype = accumulator(dtype_name(x.dtype))
    result = np.zeros((rois.shape[0], x.shape[1], *attrs["size"]), dtype)
    for r, (region, image) in enumerate(zip(rois.astype(dtype), batch, strict=True)):
        bins = [_bin(NUMPY, attrs, region[1 - a], region[3 - a], attrs["size"][a], dtype) for a in range(2)]
        counts = [int(samples) for _, _, samples in bins]
        if min(counts) > 0:
            result[r] = _ref_region(attrs, x[image].astype(dtype), bins, counts)
    return result.astype(x.dtype)


def _ref_region(attrs: Attrs, image: Array, bins: Sequence[tuple[Any, Any, Any]], counts: Sequence[int]) -> Array:
    """All samples of a region at once: axes are channel, bin and sample downwards, bin and sample across."""
    axes = []
    for axis, (bin, count, size) in enumerate(zip(bins, counts, attrs["size"], strict=True)):
        column = (-1, 1) if axis == 0 else (-1,)
        places, numbers = np.repeat(np.arange(size), count), np.tile(np.arange(count), size)
        found = _sampled(NUMPY, bin, places, numbers, image.shape[1 + axis], image.dtype.name)
        axes.append(tuple(np.reshape(f, column) for f in found))
    corners = _corners(NUMPY, lambda y, x: image[:, y, x], *axes)
    zero = image.dtype.type(0)
    seen = _pooled(NUMPY, attrs["kind"], corners, axes[0][0] & axes[1][0], zero)
    seen = seen.reshape(-1, attrs["size"][0], counts[0], attrs["size"][1], counts[1])
    return np.asarray(seen.max(axis=(2, 4)) if attrs["kind"] == "max" else seen.mean(axis=(2, 4)))


def _compute(b: Any, node: Node, x: Any, rois: Any, batch: Any) -> Any:
    attrs, dtype, zero = node.attrs, accumulator(x.dtype), b.const(0, accumulator(x.dtype))

    def bins(r: Any) -> list[tuple[Any, Any, Any]]:
        at = [b.cast(rois(r, i), dtype) for i in range(4)]
        return [_bin(b, attrs, at[1 - axis], at[3 - axis], attrs["size"][axis], dtype) for axis in range(2)]

    def counts(index: Sequence[Any]) -> list[Any]:
        return [b.let(b.cast(samples, "int64")) for _, _, samples in bins(index[0])]

    def term(index: Sequence[Any], number: Sequence[Any]) -> Any:
        r, channel, *places = index
        image = b.let(b.maximum(b.minimum(b.cast(batch(r), "int64"), x.shape[0] - 1), 0))
        columns = zip(bins(r), places, number, x.shape[2:], strict=True)
        axes = [_sampled(b, bin, place, k, size, dtype) for bin, place, k, size in columns]
        corners = _corners(b, lambda y, x_: b.cast(x(image, channel, y, x_), dtype), *axes)
        return _pooled(b, attrs["kind"], corners, b.logical_and(axes[0][0], axes[1][0]), zero)

    total = b.reduce("max" if attrs["kind"] == "max" else "sum", b.shape(node.results[0]), counts, dtype, term)

    def element(*index: Any) -> Any:
        number = functools.reduce(lambda a, b: a * b, counts(index))
        if attrs["kind"] == "max":
            return b.select(number > 0, total(*index), zero)
        return total(*index) / b.cast(b.maximum(number, 1), dtype)

    return narrowed(b, b.stage(total.shape, dtype, element), x.dtype)


REGIONS = np.array([[0, 0, 9, 9], [1.3, 5.2, 4.9, 7.7], [-4, 2, 30, 6], [3, 3, 3, 3], [9, 8, 2, 1]], np.float32)


def _samples() -> Sequence[Sample]:
    x, batch = tensor("float32", 2, 3, 10, 8), np.array([0, 1, 1, 0, 1])
    symbolic = tensor("float32", "n", "s", "h", "w")
    half = {"size": (2, 2), "scale": 0.4, "samples": 2}
    return [
        Sample((x, REGIONS, batch), {"size": (3, 2)}),
        Sample((x, REGIONS, batch), {"size": (3, 2), "half_pixel": False, "scale": 0.5, "samples": 2}),
        Sample((x, REGIONS, batch), {"size": (2, 2), "kind": "max"}),
        Sample((symbolic, REGIONS[:2], np.array([0, 2], np.int32)), {"size": (2, 3), "samples": 1}),
        Sample((tensor("float16", 2, 1, 5, 5), REGIONS.astype(np.float16), batch), half),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "roi_align",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (3, 3),
        {"size": REQUIRED, "scale": 1.0, "samples": 0, "half_pixel": True, "kind": "avg"},
        _samples,
        doc="The mean, or the greatest weighted corner, of `samples` x `samples` points (0: about one a pixel) in each "
        "bin of each region (x1, y1, x2, y2 times `scale`) of x [N, C, H, W]; a third input says which image each "
        "region is of.",
    ),
)
