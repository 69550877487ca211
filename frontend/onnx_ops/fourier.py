"""Fourier transforms of signals, whole or in windows. Complex numbers are a last axis of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.computed import choose, counted_from_start
from tilewright.frontend.onnx_ops.trigonometric import Transform, transformed
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


@dataclass(frozen=True)
class Place:
    """Where an axis is: the product of the sizes before it, its own, and the product of those after it."""

    before: Dim
    size: Dim
    after: Dim


def dft_17(c: Call) -> Value:
    return along_known_axis(c, c.axis(c.integer("axis", 1), c[0].rank))


def dft(c: Call) -> Value:
    """From opset 20 on the axis is an input, and may be computed."""
    value = c.optional(2)
    if value is None:
        return along_known_axis(c, c.axis(-2, c[0].rank))
    known = c.maybe_known(value)
    if known is None:
        return along_computed_axis(c, value)
    return along_known_axis(c, c.axis(int(known.reshape(-1)[0]), c[0].rank))


def along_known_axis(c: Call, axis: int) -> Value:
    if axis >= c[0].rank - 1:
        raise c.malformed("transforms the axis of real and imaginary parts")
    return along_axis(c, c[0], axis, transform(c, c[0].shape[axis]))


def along_axis(c: Call, x: Value, axis: int, t: Transform) -> Value:
    sizes = x.shape[:-1]
    place = Place(dims.product(sizes[:axis]), sizes[axis], dims.product(sizes[axis + 1 :]))
    return applied(c, x, place, t, (*sizes[:axis], t.kept, *sizes[axis + 1 :]))


def along_computed_axis(c: Call, value: Value) -> Value:
    rank = c[0].rank
    axis = counted_from_start(c, c.reshape(c.cast(value, "int64"), ()), rank)
    places, sizes = c.constant(np.arange(rank - 1), "int64"), c.sizes_value(c[0].shape[:-1])
    here = c.apply("equal", places, axis)
    parts = (
        c.reduce("prod", choose(c, c.apply("less", places, axis), sizes, 1), (0,)),
        c.reduce("sum", choose(c, here, sizes, 0), (0,)),
        c.reduce("prod", choose(c, c.apply("less", axis, places), sizes, 1), (0,)),
    )
    place = Place(*c.sizes(c.apply("concat", *parts, axis=0), "an axis"))
    t = transform(c, place.size)
    return applied(c, c[0], place, t, c.sizes(choose(c, here, c.size_value(t.kept), sizes), "a shape"))


def transform(c: Call, size: Dim) -> Transform:
    """The transform of an axis of `size`; without a length, of as many points as there are."""
    given, inverse, onesided = c.optional(1), c.flag("inverse"), c.flag("onesided")
    if given is not None:
        return Transform(c.size(given, "a dft_length"), inverse, onesided)
    return Transform(dims.product([2, dims.sub(size, 1)]) if inverse and onesided else size, inverse, onesided)


def applied(c: Call, x: Value, place: Place, t: Transform, shape: Sequence[Dim]) -> Value:
    """The transform of one axis of `x`, as [*shape, parts]."""
    if x.shape[-1] not in (1, 2):
        raise c.malformed(f"needs a last axis of 1 or 2 parts, but its input is {x.type}")
    lines, swapped = dims.product([place.before, place.after]), (0, 2, 1, 3)
    wide = widened(c, x)
    if place.after != 1:
        wide = c.transpose(c.reshape(wide, (place.before, place.size, place.after, x.shape[-1])), swapped)
    found = transformed(c, c.reshape(wide, (lines, place.size, x.shape[-1])), t)
    if place.after != 1:
        found = c.transpose(c.reshape(found, (place.before, place.after, t.kept, t.parts)), swapped)
    return c.cast(c.reshape(found, (*shape, t.parts)), x.dtype)


def widened(c: Call, x: Value) -> Value:
    return c.cast(x, x.dtype if x.dtype in ("float32", "float64") else "float32")


def stft(c: Call) -> Value:
    """Windows of the signal, gathered, and their transforms."""
    x, window = c[0], c.optional(2)
    if x.rank == 2:
        x = c.reshape(x, (*x.shape, 1))
    if x.rank != 3 or x.shape[2] not in (1, 2):
        raise c.malformed(f"needs a signal [batch, length, 1 or 2], not {x.type}")
    given = c.optional(3)
    if given is not None:
        length = c.size(given, "a frame length")
    else:
        length = x.shape[1] if window is None else window.shape[0]
    step = c.size(c[1], "a frame step")
    frames = dims.add(dims.floordiv(dims.sub(x.shape[1], length), step), 1)
    starts = c.reshape(c.apply("range", start=0, step=step, size=frames, dtype="int64"), (frames, 1))
    places = c.apply("add", starts, c.apply("range", start=0, step=1, size=length, dtype="int64"))
    wide = widened(c, x)
    seen = c.apply("gather", wide, places, axis=1)
    if window is not None:
        seen = c.apply("mul", seen, c.reshape(c.cast(window, wide.dtype), (length, 1)))
    t = Transform(length, onesided=c.flag("onesided", default=True))
    lines = c.reshape(seen, (dims.product([x.shape[0], frames]), length, x.shape[2]))
    return c.cast(c.reshape(transformed(c, lines, t), (x.shape[0], frames, t.kept, 2)), x.dtype)


def rfft(c: Call) -> Value:
    """Real signals along the last axes to half of their spectrum, [..., n // 2 + 1, 2]."""
    x = c[0]
    first, found = first_axis(c, x.rank), c.reshape(widened(c, x), (*x.shape, 1))
    for axis in reversed(range(first, x.rank)):
        found = along_axis(c, found, axis, Transform(x.shape[axis], onesided=axis == x.rank - 1))
    return c.cast(found, x.dtype)


def irfft(c: Call) -> Value:
    """The inverse of `rfft`, of an even number of points: [..., 2 (size - 1)]."""
    x, rank = c[0], c[0].rank - 1
    first, found = first_axis(c, rank), widened(c, x)
    for axis in range(first, rank - 1):
        found = along_axis(c, found, axis, Transform(x.shape[axis], inverse=True))
    size = dims.product([2, dims.sub(x.shape[rank - 1], 1)])
    found = along_axis(c, found, rank - 1, Transform(size, inverse=True, onesided=True))
    return c.cast(c.reshape(found, found.shape[:-1]), x.dtype)


def first_axis(c: Call, rank: int) -> int:
    """The first of the `signal_ndim` axes that a signal has, which are the last ones of `rank`."""
    count = c.integer("signal_ndim", 1)
    if not 1 <= count <= rank:
        raise c.malformed(f"has signals of {count} axes in {c[0].type}")
    if c.flag("normalized") or not c.flag("onesided", default=True):
        raise c.unsupported("is defined for onesided = 1 and normalized = 0 only")
    return rank - count


TABLE = {
    "DFT": {17: dft_17, 20: dft},
    "STFT": stft,
    "com.microsoft.Irfft": irfft,
    "com.microsoft.Rfft": rfft,
}
