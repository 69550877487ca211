"""Constants and ranges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS


def constant(c: Call) -> Value:
    """The value comes in one of several attributes."""
    array = c.array("value") if c.has("value") else c.sparse_array("sparse_value")
    if array is not None:
        return c.constant(array)
    if c.has("value_float"):
        return c.constant(c.real("value_float", 0.0), "float32")
    if c.has("value_int"):
        return c.constant(c.integer("value_int", 0), "int64")
    lists = (
        (c.reals("value_floats"), "float32"),
        (c.integers("value_ints"), "int64"),
        (c.texts("value_strings"), "string"),
    )
    for values, dtype in lists:
        if values is not None:
            return c.constant(values, dtype)
    if c.has("value_string"):
        return c.constant(c.text("value_string", ""), "string")
    raise c.unsupported("holds none of the forms of values that are supported")


def constant_of_shape(c: Call) -> Value:
    shape = c.sizes(c[0], "a shape")
    if any(isinstance(d, int) and d < 0 for d in shape):
        raise c.malformed(f"has the impossible shape {list(shape)}")
    given = c.array("value")
    value = np.zeros(1, np.float32) if given is None else given
    if value.size != 1:
        raise c.malformed(f"has a value of {value.size} elements instead of one")
    return c.expand(c.constant(value.reshape(())), shape)


def range_(c: Call) -> Value:
    if any(c.computed(i) is not None for i in range(3)):
        return computed_range(c)
    start, limit, step = (c.number(c[i], name) for i, name in enumerate(("a start", "a limit", "a step")))
    if step == 0:
        raise c.malformed("has a step of zero")
    if c[0].dtype in FLOATS and hasattr(limit, "free_symbols"):
        start, step = (int(n) if isinstance(n, float) and n.is_integer() else n for n in (start, step))
        if not isinstance(start, int) or not isinstance(step, int) or not limit.is_integer:
            return computed_range(c)
        size = count(c, start, limit, step)
    else:
        size = float_count(c, start, limit, step) if c[0].dtype in FLOATS else count(c, start, limit, step)
    return c.apply("range", start=start, step=step, size=size, dtype=c[0].dtype)


def computed_range(c: Call) -> Value:
    """start + step * (0, 1, ...), up to the limit, for numbers that are known only when the model runs."""
    start, limit, step = (c.reshape(c[i], ()) for i in range(3))
    distance = c.apply("sub", limit, start)
    if start.dtype in FLOATS:
        count = c.cast(c.apply("ceil", c.apply("div", distance, step)), "int64")
    else:
        ahead, by = (c.apply("mul", v, c.apply("sign", step)) for v in (distance, step))
        count = c.cast(c.apply("div", c.apply("add", ahead, c.apply("sub", by, 1)), by), "int64")
    size = c.size(c.apply("maximum", count, 0), "a size")
    places = c.apply("range", start=0, step=1, size=size, dtype=start.dtype)
    return c.apply("add", start, c.apply("mul", places, step))


def float_count(c: Call, start: Any, limit: Any, step: Any) -> int:
    if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in (start, limit, step)):
        raise c.unsupported("has bounds that are not plain numbers")
    size: int = math.ceil((limit - start) / step)
    return max(size, 0)


def count(c: Call, start: Dim, limit: Dim, step: Dim) -> Dim:
    """A size with symbols is taken to be at least zero."""
    by = c.static(step, "a step")
    size = dims.ceildiv(dims.sub(limit, start), by) if by > 0 else dims.ceildiv(dims.sub(start, limit), -by)
    return max(size, 0) if isinstance(size, int) else size


TABLE = {"Constant": constant, "ConstantOfShape": constant_of_shape, "Range": range_}
