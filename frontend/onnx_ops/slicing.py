"""Slices, padding and crops, whose bounds may be symbolic sizes."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value

_ENDLESS = 10**9  # on a symbolic axis, bounds from here on mean "to the end" in exported models


def slice_(c: Call) -> Value:
    """Bounds are attributes before opset 10, then inputs."""
    x = c[0]
    begin, end = (c.required(c.moved_dims(name, i), name) for i, name in enumerate(("starts", "ends"), 1))
    axes = c.axes(c.moved_ints("axes", 3) or tuple(range(len(begin))), x.rank)
    by = c.moved_ints("steps", 4) or (1,) * len(begin)
    if not len(begin) == len(end) == len(axes) == len(by) or 0 in by:
        raise c.malformed("has bounds, axes and steps of different lengths, or a step of zero")
    starts, sizes, steps = [0] * x.rank, list(x.shape), [1] * x.rank
    for axis, first, last, step in zip(axes, begin, end, by, strict=True):
        starts[axis], sizes[axis] = extent(x.shape[axis], first, last, step)
        steps[axis] = step
    if tuple(sizes) == x.shape and all(s == 1 for s in steps):
        return x
    return c.apply("slice", x, starts=tuple(starts), sizes=tuple(sizes), steps=tuple(steps))


def extent(dim: Dim, first: Dim, last: Dim, step: int) -> tuple[Dim, Dim]:
    """Start and number of elements of one axis.

    A bound that is a number is clamped to the axis. A symbolic bound is taken to lie within the axis, since a model
    that cuts `seq` rows from a table of 512 means `seq` and not min(seq, 512): that the slice stays inside is a
    condition on the sizes at run time.
    """
    if step > 0:
        start, stop = bound(dim, first, 0, dim), bound(dim, last, 0, dim)
        return start, non_negative(dims.ceildiv(dims.sub(stop, start), step))
    end = dims.sub(dim, 1)
    start, stop = bound(dim, first, 0, end), bound(dim, last, -1, end)
    return start, non_negative(dims.ceildiv(dims.sub(start, stop), -step))


def bound(dim: Dim, value: Dim, lowest: Dim, highest: Dim) -> Dim:
    """`value`, counted from the end where negative, within lowest..highest."""
    if not isinstance(value, int):
        return dims.add(dim, value) if value.is_negative else value
    place = value if value >= 0 else dims.add(dim, value)
    if surely_ordered(lowest, place) and surely_ordered(place, highest):
        return place
    if abs(value) >= _ENDLESS and not isinstance(dim, int):
        return highest if value > 0 else lowest
    return dims.minimum(place, highest) if value >= 0 else dims.maximum(place, lowest)


def surely_ordered(low: Dim, high: Dim) -> bool:
    """True where low <= high for every value of the symbols."""
    room = dims.sub(high, low)
    return room >= 0 if isinstance(room, int) else bool(room.is_nonnegative)


def non_negative(size: Dim) -> Dim:
    """A symbolic size is taken to be one, unless it is surely negative."""
    if isinstance(size, int):
        return max(size, 0)
    return 0 if size.is_negative else size


def pad(c: Call) -> Value:
    """Amounts and value are attributes before opset 11, then inputs; axes came with opset 18."""
    x = c[0]
    given = c.required(c.moved_dims("pads", 1), "pads")
    value = c.optional(2)
    fill = c.real("value", 0.0) if value is None else c.number(value, "a padding value")
    axes_input = c.optional(3)
    axes = range(x.rank) if axes_input is None else c.axes([int(a) for a in c.sizes(axes_input, "axes")], x.rank)
    if len(given) != 2 * len(axes):
        raise c.malformed(f"has {len(given)} pads for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = given[i], given[len(axes) + i]
    return padded(c, x, before, after, c.text("mode", "constant"), fill)


def padded(
    c: Call, x: Value, before: Sequence[Dim], after: Sequence[Dim], mode: str = "constant", fill: float = 0
) -> Value:
    """Pads, after cutting off what negative amounts say."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise c.malformed(f"has the unknown mode '{mode}'")
    cut_before, cut_after = (
        [-a if isinstance(a, int) and a < 0 else 0 for a in amounts] for amounts in (before, after)
    )
    for axis, (front, back) in enumerate(zip(cut_before, cut_after, strict=True)):
        if front or back:
            x = c.slice(x, axis, front, non_negative(dims.sub(x.shape[axis], front + back)))
    grow_before, grow_after = (
        tuple(0 if isinstance(a, int) and a < 0 else a for a in amounts) for amounts in (before, after)
    )
    if all(a == 0 for a in (*grow_before, *grow_after)):
        return x
    return c.apply("pad", x, before=grow_before, after=grow_after, mode=mode, value=fill)


def center_crop_pad(c: Call) -> Value:
    """Crops or pads each axis to the wanted size, the odd element at the end."""
    x = c[0]
    wanted = c.sizes(c[1], "a shape")
    axes = c.axes(c.integers("axes") or tuple(range(x.rank)), x.rank)
    if len(axes) != len(wanted):
        raise c.malformed(f"has {len(wanted)} sizes for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for axis, size in zip(axes, wanted, strict=True):
        extra = c.static(dims.sub(size, x.shape[axis]), "a difference of sizes")
        before[axis] = extra // 2 if extra >= 0 else -(-extra // 2)
        after[axis] = extra - before[axis]
    return padded(c, x, before, after)


TABLE = {"CenterCropPad": center_crop_pad, "Pad": pad, "Slice": slice_}
