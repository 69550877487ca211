"""Maximum and average over windows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Ref, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_lengths
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.windows import (
    Window,
    channels_first_view,
    channels_moved_first,
    channels_moved_last,
    padded,
    read_window,
    tap_view,
    taps,
    windows,
)
from tilewright.ir.types import FLOATS, NUMERIC, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer_max(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], NUMERIC, "the input")
    return (pool_type(types[0], attrs),)


def _infer_average(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], FLOATS, "the input")
    return (pool_type(types[0], attrs),)


def pool_type(x: TensorType, attrs: Attrs) -> TensorType:
    """What a pool makes of x. Raises TypeInferenceError for what it does not take."""
    require(x.rank >= 3, f"a pool needs batch, channel and spatial axes, but the input has {x.rank} axes")
    require_lengths(x.rank - 2, kernel=attrs["kernel"])
    last = attrs.get("channels_last", False)
    shape = channels_moved_first(x.shape) if last else x.shape
    result = (*shape[:2], *pooled_counts(attrs, shape))
    return x.with_shape(channels_moved_last(result) if last else result)


def pooled_counts(attrs: Attrs, shape: Sequence[Dim]) -> list[Dim]:
    """How many windows each spatial axis of `shape`, [N, C, ...], has."""
    axes = windows(attrs, attrs["kernel"])
    count = Window.count_ceil if attrs["ceil_mode"] else Window.count
    return [count(axis, size) for axis, size in zip(axes, shape[2:], strict=True)]


def lowest(dtype: str) -> float | int:
    """What no maximum is changed by."""
    return -np.inf if dtype in FLOATS else int(np.iinfo(dtype).min)


def _with_channels_last(ref: Ref) -> Ref:
    """The reference of a pool of [N, C, ...], with `channels_last` of [N, ..., C]."""

    def wrapped(attrs: Attrs, x: Array) -> Array:
        if not attrs["channels_last"]:
            return np.asarray(ref(attrs, x))
        return np.moveaxis(ref(attrs, np.moveaxis(x, -1, 1)), 1, -1)

    return wrapped


@_with_channels_last
def _ref_max(attrs: Attrs, x: Array) -> Array:
    axes, counts = windows(attrs, attrs["kernel"]), [int(n) for n in pooled_counts(attrs, x.shape)]
    source = padded(x, axes, counts, lowest(dtype_name(x.dtype)))
    best = np.full((*x.shape[:2], *counts), lowest(dtype_name(x.dtype)), x.dtype)
    for tap in taps(attrs["kernel"]):
        best = np.maximum(best, tap_view(source, axes, counts, tap))
    return best


@_with_channels_last
def _ref_average(attrs: Attrs, x: Array) -> Array:
    axes, counts = windows(attrs, attrs["kernel"]), [int(n) for n in pooled_counts(attrs, x.shape)]
    source = padded(exact(x), axes, counts, 0)
    total = np.zeros((*x.shape[:2], *counts))
    for tap in taps(attrs["kernel"]):
        total += tap_view(source, axes, counts, tap)
    covered = [_covered(w, n, size, attrs) for w, n, size in zip(axes, counts, x.shape[2:], strict=True)]
    number: Array = functools.reduce(np.multiply.outer, covered)
    return np.asarray(total / number).astype(x.dtype)


def _covered(window: Window, count: int, size: int, attrs: Attrs) -> Array:
    """How many taps of each window lie in the axis, or in its padding where that counts."""
    first, end = (-window.before, size + window.after) if attrs["count_include_pad"] else (0, size)
    starts = np.arange(count) * window.stride - window.before
    positions = starts[:, None] + np.arange(window.kernel) * window.dilation
    return np.asarray(np.sum((positions >= first) & (positions < end), axis=1))


def _compute_max(b: Any, node: Node, x: Any) -> Any:
    return narrowed(b, _reduce(b, node, x, "max", accumulator(x.dtype), lowest(x.dtype)), x.dtype)


def _compute_average(b: Any, node: Node, x: Any) -> Any:
    wide = accumulator(x.dtype)
    total = _reduce(b, node, x, "sum", wide, 0)
    axes, last = windows(node.attrs, node.attrs["kernel"]), node.attrs["channels_last"]
    sizes = x.shape[1:-1] if last else x.shape[2:]

    def mean(*index: Any) -> Any:
        number = 1
        for window, place, size in zip(axes, index[1:-1] if last else index[2:], sizes, strict=True):
            number = number * _number(b, window, place, size, node.attrs)
        return total(*index) / b.cast(number, wide)

    return narrowed(b, b.stage(total.shape, wide, mean), x.dtype)


def _reduce(b: Any, node: Node, x: Any, kind: str, dtype: str, other: float | int) -> Any:
    """Reduce each window of `x`; padding counts as `other`."""
    axes, ceil = windows(node.attrs, node.attrs["kernel"]), node.attrs["ceil_mode"]
    padding, last = b.const(other, x.dtype), node.attrs["channels_last"]
    if last:
        x = channels_first_view(b, x)

    def term(index: Sequence[Any], tap: Sequence[Any]) -> Any:
        index = channels_moved_first(index) if last else index
        return b.cast(read_window(b, x, index[:2], index[2:], axes, tap, padding, ceil=ceil), dtype)

    return b.reduce(kind, b.shape(node.results[0]), tuple(node.attrs["kernel"]), dtype, term)


def _number(b: Any, window: Window, place: Any, size: Any, attrs: Attrs) -> Any:
    """How many taps of the window at `place` are counted: an int where it is the same for all."""
    plain = window.before == 0 and window.after == 0
    if not attrs["ceil_mode"] and (plain or attrs["count_include_pad"]):
        return window.kernel
    start = window.start(b, place)
    end = size + b.dim(window.after) if attrs["count_include_pad"] else size
    past = b.minimum(-((start - end) // window.dilation), window.kernel)
    if attrs["count_include_pad"] or window.before == 0:
        return past
    return past - b.maximum(-(start // window.dilation), 0)


def _sample(type: TensorType, kernel: Any, strides: Any, pads: Any, **more: Any) -> Sample:
    attrs = {"kernel": kernel, "strides": strides, "pads": pads, "dilations": (1,) * len(kernel), **more}
    return Sample((type,), attrs)


def _samples_max() -> Sequence[Sample]:
    return [
        _sample(tensor("float32", 2, 3, 7, 6), (3, 2), (2, 1), (1, 0, 1, 1)),
        _sample(tensor("float32", "n", 2, "h", "w"), (3, 3), (2, 2), (1, 1, 1, 1)),
        _sample(tensor("float32", 1, 2, 6, 7), (3, 2), (2, 2), (0, 0, 0, 0), ceil_mode=True, dilations=(1, 2)),
        _sample(tensor("int8", 1, 2, 5), (2,), (2,), (1, 0)),
        _sample(tensor("float32", 1, 2, 3, 4, 3), (2, 2, 2), (1, 2, 1), (0,) * 6),
        _sample(tensor("float32", "n", "h", "w", 20), (3, 3), (2, 1), (1, 1, 1, 1), channels_last=True),
        _sample(tensor("float32", 1, 6, 7, 3), (3, 2), (2, 2), (0,) * 4, ceil_mode=True, channels_last=True),
        _sample(tensor("float32", 2, 9, "s"), (3,), (1,), (2, 1), dilations=(2,), channels_last=True),
        _sample(tensor("int32", 1, 5, 9), (2,), (2,), (1, 0), channels_last=True),
    ]


def _samples_average() -> Sequence[Sample]:
    return [
        _sample(tensor("float32", 2, 3, 7, 6), (3, 2), (2, 1), (1, 0, 1, 1)),
        _sample(tensor("float32", "n", 2, "h", "w"), (2, 2), (2, 2), (1, 1, 1, 1), count_include_pad=True),
        _sample(tensor("float32", 1, 2, 6, 7), (3, 3), (2, 2), (1, 1, 1, 1), ceil_mode=True),
        _sample(tensor("float32", 1, 2, 6, 7), (3, 3), (2, 2), (1, 1, 1, 1), ceil_mode=True, count_include_pad=True),
        _sample(tensor("float16", 1, 2, 9), (3,), (2,), (1, 2), dilations=(2,)),
        _sample(tensor("float32", 2, 7, 6, 9), (3, 2), (2, 1), (1, 0, 1, 1), channels_last=True),
        _sample(tensor("float32", "n", "h", 33), (3,), (2,), (1, 1), ceil_mode=True, channels_last=True),
    ]


_WINDOW = {"kernel": REQUIRED, "strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED}
_ATTRS = {**_WINDOW, "ceil_mode": False, "channels_last": False}

ROWS: tuple[Op, ...] = (
    Op(
        "max_pool",
        Kind.REDUCTION,
        _infer_max,
        _ref_max,
        _compute_max,
        (1, 1),
        _ATTRS,
        _samples_max,
        doc="The greatest element of each window of x [N, C, ...]; NaN wins. With `ceil_mode` the last window may "
        "reach over the end. With `channels_last`, x and the result are [N, ..., C].",
    ),
    Op(
        "avg_pool",
        Kind.REDUCTION,
        _infer_average,
        _ref_average,
        _compute_average,
        (1, 1),
        {**_ATTRS, "count_include_pad": False},
        _samples_average,
        doc="The mean of each window of x [N, C, ...], over the elements in x, or with `count_include_pad` over those "
        "in the padding as well. With `channels_last`, x and the result are [N, ..., C].",
    ),
)
