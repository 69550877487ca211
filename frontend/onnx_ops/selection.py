"""Operators whose result has as many elements as the data says."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.graph import Value


def axis_or_flat(c: Call) -> tuple[Value, int]:
    """The input and the axis to work along; without an axis, all elements in one row."""
    x = c[0]
    if c.has("axis"):
        return x, c.axis(c.integer("axis", 0), x.rank)
    return c.reshape(x, (dims.product(x.shape),)), 0


def nonzero(c: Call) -> Value:
    return places_of(c, c[0])


def places_of(c: Call, x: Value) -> Value:
    """The places of elements that are not zero: int64, a row for each axis. They are counted first."""
    count = c.reduce("sum", c.cast(c.cast(x, "bool"), "int64"), range(x.rank), keepdims=False)
    return c.apply("nonzero", x, size=c.size(count, "a count"))


def compress(c: Call) -> Value:
    x, axis = axis_or_flat(c)
    condition = c[1]
    if condition.dtype != "bool" or condition.rank != 1:
        raise c.malformed(f"needs a condition that is a vector of bool, not {condition.type}")
    if x.shape[axis] == 0:
        return x
    count = dims.minimum(condition.shape[0], x.shape[axis])  # what it says beyond the axis does not matter
    if not dims.equal(count, condition.shape[0]):
        condition = c.slice(condition, 0, 0, count)
    places = places_of(c, condition)
    return c.apply("gather", x, c.reshape(places, places.shape[1:]), axis=axis)


def unique(c: Call) -> tuple[Value, ...]:
    x, axis = axis_or_flat(c)
    return c.apply_all("unique", x, size=c.fresh_size(), axis=axis, sorted=c.flag("sorted", True))


def unique_in_order(c: Call) -> tuple[Value, ...]:
    """com.microsoft.Unique: the values as they come, which of them each element is, and how often each comes."""
    if c[0].rank != 1:
        raise c.malformed(f"needs a vector, not {c[0].type}")
    values, _, places, counts = c.apply_all("unique", c[0], size=c.fresh_size(), axis=0, sorted=False)
    return values, places, counts


TABLE = {"Compress": compress, "NonZero": nonzero, "Unique": unique, "com.microsoft.Unique": unique_in_order}
