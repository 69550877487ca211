"""Where the greatest elements of windows are, and windows put back together into an image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_lengths, require_rank, require_sizes
from tilewright.ir.ops.pooling import lowest, pool_type, pooled_counts
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.windows import Window, guarded, padded, read_window, tap_view, taps, window_positions, windows
from tilewright.ir.types import NUMERIC, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

_NOWHERE = 2**62


def _infer_places(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, best = types
    require_dtype(x, NUMERIC, "the input")
    wanted = pool_type(x, attrs)
    require(best.dtype == x.dtype, f"the maxima are {best.dtype}, but the input is {x.dtype}")
    require_rank(best, x.rank, "the maxima")
    for axis, (a, b) in enumerate(zip(best.shape, wanted.shape, strict=True)):
        require_equal(a, b, f"sizes of axis {axis} of the maxima and of the windows")
    return (TensorType("int64", wanted.shape),)


def _same(m: Any, x: Any, best: Any, is_float: bool) -> Any:
    """Equal, or both not a number."""
    return m.logical_or(m.equal(x, best), m.logical_and(m.isnan(x), m.isnan(best))) if is_float else m.equal(x, best)


def _flat(places: Sequence[Any], sizes: Sequence[Any]) -> Any:
    """The number of a place in row-major order."""
    result = places[0]
    for place, size in zip(places[1:], sizes[1:], strict=True):
        result = result * size + place
    return result


def _reordered(flat: Any, sizes: Sequence[Any], divide: Any) -> Any:
    """The number of a place with its first axis running fastest, from its row-major number."""
    places = []
    for size in reversed(sizes[1:]):
        rest = divide(flat, size)
        places.append(flat - rest * size)
        flat = rest
    return _flat([*places, flat], list(reversed(sizes)))


def _ref_places(attrs: Attrs, x: Array, best: Array) -> Array:
    axes, counts = windows(attrs, attrs["kernel"]), best.shape[2:]
    source = padded(x, axes, counts, lowest(dtype_name(x.dtype)))
    numbers = np.arange(int(np.prod(x.shape[2:])), dtype=np.int64).reshape(1, 1, *x.shape[2:])
    numbers = padded(numbers, axes, counts, _NOWHERE)
    found = np.full(best.shape, _NOWHERE, np.int64)
    for tap in taps(attrs["kernel"]):
        seen, number = tap_view(source, axes, counts, tap), tap_view(numbers, axes, counts, tap)
        same = (seen == best) | ((seen != seen) & (best != best))
        found = np.minimum(found, np.where(same, number, _NOWHERE))
    if attrs["column_major"]:
        found = _reordered(found, x.shape[2:], np.floor_divide)
    planes = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return np.asarray(planes * int(np.prod(x.shape[2:])) + found, np.int64)


def _compute_places(b: Any, node: Node, x: Any, best: Any) -> Any:
    axes, attrs, sizes = windows(node.attrs, node.attrs["kernel"]), node.attrs, x.shape[2:]
    is_float = "float" in x.dtype
    wide = accumulator(x.dtype)
    nowhere, padding = b.const(_NOWHERE, "int64"), b.const(lowest(x.dtype), x.dtype)

    def term(index: Sequence[Any], tap: Sequence[Any]) -> Any:
        seen = b.let(b.cast(read_window(b, x, index[:2], index[2:], axes, tap, padding, ceil=attrs["ceil_mode"]), wide))
        positions, inside = window_positions(b, sizes, index[2:], axes, tap, ceil=attrs["ceil_mode"])
        same = _same(b, seen, b.cast(best(*index), wide), is_float)
        for condition in inside:
            same = b.logical_and(same, condition)
        return b.select(same, b.cast(_flat(positions, sizes), "int64"), nowhere)

    first = b.reduce("min", b.shape(node.results[0]), tuple(attrs["kernel"]), "int64", term)

    def element(*index: Any) -> Any:
        found = first(*index)
        plane = functools.reduce(lambda a, c: a * c, sizes, index[0] * x.shape[1] + index[1])
        return plane + (_reordered(b.let(found), sizes, b.truncdiv) if attrs["column_major"] else found)

    return b.stage(first.shape, "int64", element)


def _infer_fold(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, kernel, sizes = types[0], attrs["kernel"], attrs["sizes"]
    require_dtype(x, NUMERIC, "the input")
    require_rank(x, 3, "the input")
    require_lengths(len(sizes), kernel=kernel)
    require_sizes(sizes, "sizes")
    counts = [axis.count(size) for axis, size in zip(windows(attrs, kernel, fixed=False), sizes, strict=True)]
    require_equal(x.shape[2], dims.product(counts), "the windows of the input and of the image")
    rows, number = x.shape[1], dims.product(kernel)
    known = isinstance(rows, int) and isinstance(number, int)
    require(not known or rows % number == 0, f"{rows} rows cannot be split into windows of {number} places")
    return (x.with_shape((x.shape[0], dims.floordiv(rows, number), *sizes)),)


def _ref_fold(attrs: Attrs, x: Array) -> Array:
    axes, kernel, sizes = windows(attrs, attrs["kernel"]), attrs["kernel"], attrs["sizes"]
    counts = [int(axis.count(size)) for axis, size in zip(axes, sizes, strict=True)]
    columns = exact(x).reshape(x.shape[0], -1, *kernel, *counts)
    whole = [size + axis.before + axis.after for axis, size in zip(axes, sizes, strict=True)]
    total = np.zeros((*columns.shape[:2], *whole), columns.dtype)
    for tap in taps(kernel):
        view = tap_view(total, axes, counts, tap)
        at: Any = (slice(None), slice(None), *tap)
        view += columns[at]
    crop = [slice(axis.before, axis.before + size) for axis, size in zip(axes, sizes, strict=True)]
    return total[(slice(None), slice(None), *crop)].astype(x.dtype)


def _compute_fold(b: Any, node: Node, x: Any) -> Any:
    """In gather form: a place of the image sums the windows that cover it, one tap after the other."""
    kernel, wide = [b.dim(k) for k in node.attrs["kernel"]], accumulator(x.dtype)
    axes = windows(node.attrs, node.attrs["kernel"], fixed=False)
    counts = [b.dim(axis.count(size)) for axis, size in zip(axes, node.attrs["sizes"], strict=True)]

    def term(index: Sequence[Any], tap: Sequence[Any]) -> Any:
        n, row, *places = index
        for k, size in zip(tap, kernel, strict=True):
            row = row * size + k
        found, inside = spread_sources(b, places, axes, tap, counts)
        return b.cast(guarded(b, inside, x, (n, row, _flat(found, counts)), b.const(0, x.dtype)), wide)

    return narrowed(b, b.reduce("sum", b.shape(node.results[0]), tuple(kernel), wide, term), x.dtype)


def spread_sources(
    b: Any, places: Sequence[Any], axes: Sequence[Window], tap: Sequence[Any], counts: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """The windows that cover `places` with `tap`, and the conditions for them to exist."""
    sources, exists = [], []
    for axis, place, k, count in zip(axes, places, tap, counts, strict=True):
        offset = b.let(place + b.dim(axis.before) - k * axis.dilation)
        source = b.let(b.truncdiv(offset, axis.stride))
        sources.append(source)
        exists += [offset >= 0, source < count]
        if axis.stride > 1:
            exists.append(b.equal(source * axis.stride, offset))
    return sources, exists


def _samples_places() -> Sequence[Sample]:
    def sample(x: Array, **attrs: Any) -> Sample:
        full = {"dilations": (1,) * (x.ndim - 2), "ceil_mode": False, **attrs}
        counts = [int(n) for n in pooled_counts(full, x.shape)]
        source = padded(x, windows(full, full["kernel"]), counts, lowest(dtype_name(x.dtype)))
        views = [tap_view(source, windows(full, full["kernel"]), counts, tap) for tap in taps(full["kernel"])]
        return Sample((x, functools.reduce(np.maximum, views)), full)

    random = np.random.default_rng(5)
    image, volume = random.normal(size=(2, 3, 6, 7)).astype(np.float32), random.normal(size=(1, 2, 3, 4, 4))
    image[0, 0, 2, 2] = np.nan
    bytes_ = random.integers(0, 4, (1, 2, 5, 5)).astype(np.uint8)
    return [
        sample(image, kernel=(3, 2), strides=(2, 1), pads=(1, 0, 1, 1)),
        sample(image, kernel=(2, 2), strides=(2, 2), pads=(0,) * 4, column_major=True, ceil_mode=True),
        sample(bytes_, kernel=(2, 2), strides=(1, 1), pads=(1, 1, 0, 0), dilations=(2, 2)),
        sample(volume, kernel=(2, 2, 2), strides=(1, 2, 1), pads=(0,) * 6, column_major=True),
    ]


def _samples_fold() -> Sequence[Sample]:
    plain = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
    wide = {"strides": (2, 1), "pads": (1, 0, 1, 2), "dilations": (1, 2)}
    n = dims.symbol("n")
    line = {"strides": (2,), "pads": (0, 0), "dilations": (1,)}
    return [
        Sample((tensor("float32", 2, 18, 20),), {**plain, "kernel": (3, 3), "sizes": (6, 7)}),
        Sample((tensor("float16", 1, 12, 20),), {**wide, "kernel": (3, 2), "sizes": (8, 5)}),
        Sample((tensor("int64", 1, 4, "n"),), {**line, "kernel": (2,), "sizes": (2 * n,)}),
        Sample((tensor("float32", 2, "2*n", 4),), {**line, "kernel": (n,), "sizes": (n + 7,)}),
    ]


_ATTRS = {"kernel": REQUIRED, "strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED}

ROWS: tuple[Op, ...] = (
    Op(
        "max_pool_places",
        Kind.REDUCTION,
        _infer_places,
        _ref_places,
        _compute_places,
        (2, 2),
        {**_ATTRS, "ceil_mode": False, "column_major": False},
        _samples_places,
        doc="Where in x [N, C, ...] the first greatest element of each window is, given the results of max_pool: its "
        "number in row-major order, or with `column_major` with the first spatial axis running fastest.",
    ),
    Op(
        "fold",
        Kind.CONTRACTION,
        _infer_fold,
        _ref_fold,
        _compute_fold,
        (1, 1),
        {**_ATTRS, "sizes": REQUIRED},
        _samples_fold,
        doc="Windows x [N, C * taps, windows] added up at their places in an image [N, C, *sizes].",
    ),
)
