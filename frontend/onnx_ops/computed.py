"""Axes, bounds and shapes that a model computes, or is given as inputs: arithmetic on int64 vectors in the graph.

A converter that finds its axes or bounds known does without. What is computed here becomes symbols by `Call.sizes`.
"""

from __future__ import annotations

import numpy as np

from tilewright.frontend.onnx_ops.call import Call, Operand
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def choose(c: Call, condition: Value, a: Operand, b: Operand) -> Value:
    """Integers a where the condition holds, else b."""
    first, second = (o if isinstance(o, Value) else c.constant(o, "int64") for o in (a, b))
    return c.apply("where", condition, first, second)


def counted_from_start(c: Call, index: Value, size: Operand) -> Value:
    """Negative indices as those that they mean."""
    return choose(c, c.apply("less", index, 0), c.apply("add", index, size), index)


def vector(c: Call, value: Value) -> Value:
    """An integer tensor as an int64 vector."""
    return c.reshape(c.cast(value, "int64"), (dims.product(value.shape),))


def is_listed(c: Call, axes: Value, rank: int) -> Value:
    """bool[rank]: whether each axis is among `axes` (int64[n], maybe negative)."""
    places = c.constant(np.arange(rank).reshape(rank, 1), "int64")
    hits = c.apply("equal", places, counted_from_start(c, axes, rank))
    return c.cast(c.reduce("max", c.cast(hits, "int64"), (1,), keepdims=False), "bool")


def places_of_kept(c: Call, listed: Value, rank: int) -> Value:
    """int64[rank]: how many axes before each one are not listed."""
    before = c.constant(np.tri(rank, rank, -1), "int64")
    return c.reduce("sum", c.apply("mul", before, choose(c, listed, 0, 1)), (1,), keepdims=False)


def without_listed(c: Call, x: Value, listed: Value, count: int) -> Value:
    """`x` without its listed axes, of which there are `count`, all of size 1."""
    rest = x.rank - count
    kept = c.apply("mul", choose(c, listed, 0, 1), c.sizes_value(x.shape))
    here = c.apply("equal", c.constant(np.arange(rest).reshape(rest, 1), "int64"), places_of_kept(c, listed, x.rank))
    shape = c.reduce("sum", choose(c, here, kept, 0), (1,), keepdims=False)
    return c.reshape(x, c.sizes(shape, "a shape"))


def with_ones(c: Call, x: Value, axes: Value, count: int) -> Value:
    """`x` with new axes of size 1, where `axes` (int64[count]) says."""
    rank = x.rank + count
    listed = is_listed(c, axes, rank)
    places = c.reshape(places_of_kept(c, listed, rank), (rank, 1))
    here = c.apply("equal", c.constant(np.arange(x.rank), "int64"), places)
    kept = c.reduce("sum", choose(c, here, c.sizes_value(x.shape), 0), (1,), keepdims=False)
    return c.reshape(x, c.sizes(choose(c, listed, 1, kept), "a shape"))


def split_axes(c: Call, x: Value, listed: Value) -> Value:
    """`x` with each axis as two: a listed one as (1, size), another as (size, 1).

    So an operation on all second axes is one on the listed axes, whichever they are.
    """
    sizes = c.sizes_value(x.shape)
    first = c.sizes(choose(c, listed, 1, sizes), "sizes")
    second = c.sizes(choose(c, listed, sizes, 1), "sizes")
    return c.reshape(x, [d for pair in zip(first, second, strict=True) for d in pair])


def split_around(c: Call, x: Value, axis: Value) -> Value:
    """`x` as [before, axis, after], for an axis given as an integer of one element."""
    sizes = c.sizes_value(x.shape)
    place = counted_from_start(c, c.reshape(c.cast(axis, "int64"), ()), x.rank)
    places = c.constant(np.arange(x.rank), "int64")
    conditions = (c.apply(name, places, place) for name in ("less", "equal", "greater"))
    products = (c.reduce("prod", choose(c, inside, sizes, 1), (0,), keepdims=False) for inside in conditions)
    return c.reshape(x, [c.size(p, "a size") for p in products])


def slice_bounds(c: Call, size: Dim, first: Value, last: Value, step: Value) -> tuple[Dim, Dim, Dim]:
    """Start, number of elements and step of a slice of an axis; bounds are int64 scalars, clamped as Python's are."""
    whole = c.size_value(size)
    known = c.maybe_known(step)
    backward = c.apply("less", step, 0)
    highest = choose(c, backward, c.apply("sub", whole, 1), whole)
    start = c.apply("maximum", c.apply("minimum", counted_from_start(c, first, whole), highest), 0)
    lowest = choose(c, backward, -1, 0)
    stop = c.apply("maximum", c.apply("minimum", counted_from_start(c, last, whole), highest), lowest)
    ahead = c.apply("sub", stop, start)
    distance = c.apply("maximum", choose(c, backward, c.apply("neg", ahead), ahead), 0)
    stride = c.apply("abs", step)
    count = c.apply("div", c.apply("add", distance, c.apply("sub", stride, 1)), stride)
    by = c.size(step, "a step") if known is None else int(known.reshape(()).item())
    return c.size(start, "a start"), c.size(count, "a size"), by


def element(c: Call, value: Value, place: int) -> Value:
    """Element `place` of an integer vector, as an int64 scalar."""
    return c.reshape(c.slice(c.cast(value, "int64"), 0, place, 1), ())


def per_axis(c: Call, values: Value, axes: Value, default: Value, rank: int) -> Value:
    """int64[rank]: of each axis its value, where `axes` (int64[n]) lists it, else the default."""
    places = c.constant(np.arange(rank).reshape(rank, 1), "int64")
    here = c.apply("equal", places, counted_from_start(c, axes, rank))
    given = c.reduce("sum", choose(c, here, values, 0), (1,), keepdims=False)
    return choose(c, is_listed(c, axes, rank), given, default)
