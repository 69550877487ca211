"""Constants and ranges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_tensor import read_tensor
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS


def constant(c: Call) -> Value:
    """The value comes in one of several attributes."""
    tensor = c.tensor("value")
    if tensor is not None:
        return c.constant(read_tensor(tensor, None))
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
    tensor = c.tensor("value")
    value = np.zeros(1, np.float32) if tensor is None else read_tensor(tensor, None)
    if value.size != 1:
        raise c.malformed(f"has a value of {value.size} elements instead of one")
    return c.expand(c.constant(value.reshape(())), shape)


def range_(c: Call) -> Value:
    start, limit, step = (c.number(c[i], name) for i, name in enumerate(("a start", "a limit", "a step")))
    if step == 0:
        raise c.malformed("has a step of zero")
    size = float_count(c, start, limit, step) if c[0].dtype in FLOATS else count(c, start, limit, step)
    return c.apply("range", start=start, step=step, size=size, dtype=c[0].dtype)


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
