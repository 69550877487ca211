"""Slices, padding and crops, whose bounds may be symbolic sizes."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.computed import element, per_axis, slice_bounds, vector
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value

_ENDLESS = 10**9  # on a symbolic axis, bounds from here on mean "to the end" in exported models


def slice_(c: Call) -> Value:
    """Bounds are attributes before opset 10, then inputs."""
    x = c[0]
    if any(c.computed(i) is not None for i in range(1, 5)):
        return computed_slice(c, x)
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


def computed_slice(c: Call, x: Value) -> Value:
    """A slice some of whose bounds, axes or steps are known only when the model runs."""
    count = c.static(dims.product(c[1].shape), "a number of bounds")
    given = [vector(c, value) if (value := c.optional(i)) else None for i in range(1, 5)]
    first, last, listed, by = given
    assert first is not None and last is not None
    by = by or c.constant([1] * count, "int64")
    if listed is not None and c.maybe_known(listed) is None:
        sizes = c.sizes_value(x.shape)
        defaults = (c.constant([0] * x.rank, "int64"), sizes, c.constant([1] * x.rank, "int64"))
        first, last, by = (
            per_axis(c, v, listed, default, x.rank) for v, default in zip((first, last, by), defaults, strict=True)
        )
        axes: Sequence[int] = range(x.rank)
    else:
        axes = range(count) if listed is None else c.axes([int(a) for a in c.sizes(listed, "axes")], x.rank)
    starts, sizes_, steps = [0] * x.rank, list(x.shape), [1] * x.rank
    for i, axis in enumerate(axes):
        bounds = (element(c, v, i) for v in (first, last, by))
        starts[axis], sizes_[axis], steps[axis] = slice_bounds(c, x.shape[axis], *bounds)
    return c.apply("slice", x, starts=tuple(starts), sizes=tuple(sizes_), steps=tuple(steps))


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
    fill: float | Value = c.real("value", 0.0) if value is None else padding_value(c, value)
    axes_input = c.optional(3)
    axes: Sequence[int] = range(x.rank)
    if c.computed(3) is not None:
        given = pads_of_all_axes(c, c[1], c[3], x.rank)
    elif axes_input is not None:
        axes = c.axes([int(a) for a in c.sizes(axes_input, "axes")], x.rank)
    if len(given) != 2 * len(axes):
        raise c.malformed(f"has {len(given)} pads for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = given[i], given[len(axes) + i]
    return padded(c, x, before, after, c.text("mode", "constant"), fill)


def padding_value(c: Call, value: Value) -> float | Value:
    """The number, or the scalar where it is known only when the model runs."""
    elements = c.maybe_known(value)
    if elements is None or elements.dtype == object:
        return c.reshape(value, ())
    if elements.size != 1:
        raise c.malformed(f"has a padding value with {elements.size} elements instead of one")
    number: float = elements.reshape(-1).tolist()[0]
    return number


def pads_of_all_axes(c: Call, pads: Value, axes: Value, rank: int) -> tuple[Dim, ...]:
    """Amounts for every axis, from those of axes that are known only when the model runs."""
    count = c.static(dims.product(axes.shape), "a number of axes")
    nothing = c.constant([0] * rank, "int64")
    halves = (c.slice(vector(c, pads), 0, start, count) for start in (0, count))
    whole = (per_axis(c, half, vector(c, axes), nothing, rank) for half in halves)
    return tuple(d for half in whole for d in c.sizes(half, "pads"))


def padded(
    c: Call, x: Value, before: Sequence[Dim], after: Sequence[Dim], mode: str = "constant", fill: float | Value = 0
) -> Value:
    """Pads, after cutting off what negative amounts say."""
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise c.malformed(f"has the unknown mode '{mode}'")
    for axis, amounts in enumerate(zip(before, after, strict=True)):
        front, back = (dims.sub(at_least_zero(a), a) for a in amounts)
        if front != 0 or back != 0:
            x = c.slice(x, axis, front, non_negative(dims.sub(dims.sub(x.shape[axis], front), back)))
    growth = {"before": tuple(map(at_least_zero, before)), "after": tuple(map(at_least_zero, after)), "mode": mode}
    if all(a == 0 for a in (*growth["before"], *growth["after"])):
        return x
    if not isinstance(fill, Value):
        return c.apply("pad", x, value=fill, **growth)
    inside = c.apply("pad", c.expand(c.constant(True), x.shape), value=False, **growth)
    return c.apply("where", inside, c.apply("pad", x, value=0, **growth), fill)


def at_least_zero(amount: Dim) -> Dim:
    """A size that symbols of the inputs make is taken not to be negative; one that is computed may be."""
    if isinstance(amount, int) or dims.computed_symbols([amount]):
        return dims.maximum(amount, 0)
    return 0 if amount.is_negative else amount


def center_crop_pad(c: Call) -> Value:
    """Crops or pads each axis to the wanted size, the odd element at the end."""
    x = c[0]
    wanted = c.sizes(c[1], "a shape")
    axes = c.axes(c.integers("axes") or tuple(range(x.rank)), x.rank)
    if len(axes) != len(wanted):
        raise c.malformed(f"has {len(wanted)} sizes for {len(axes)} axes")
    before, after = [0] * x.rank, [0] * x.rank
    for axis, size in zip(axes, wanted, strict=True):
        extra, room = dims.maximum(dims.sub(size, x.shape[axis]), 0), dims.maximum(dims.sub(x.shape[axis], size), 0)
        if room != 0:
            x = c.slice(x, axis, dims.floordiv(room, 2), dims.sub(x.shape[axis], room))
        before[axis] = dims.floordiv(extra, 2)
        after[axis] = dims.sub(extra, before[axis])
    return padded(c, x, before, after)


TABLE = {"CenterCropPad": center_crop_pad, "Pad": pad, "Slice": slice_}
