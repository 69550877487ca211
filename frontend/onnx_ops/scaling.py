"""Scales of some axes or of all, as numbers or as data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def spread_values(axes: Sequence[int], values: Sequence[Any], default: Sequence[Any]) -> tuple[Any, ...]:
    """Values of some axes, in place among the defaults of all."""
    given = dict(zip(axes, values, strict=True))
    return tuple(given.get(i, d) for i, d in enumerate(default))


def whole_vector(c: Call, values: Value, axes: Sequence[int], rank: int, default: float) -> Value:
    """float32[rank]: the values (float32[len(axes)]) at their axes, `default` elsewhere."""
    if list(axes) == list(range(rank)):
        return values
    filler = c.constant([default], "float32")
    parts = [c.slice(values, 0, list(axes).index(i), 1) if i in axes else filler for i in range(rank)]
    return c.apply("concat", *parts, axis=0)


def scaled_sizes(c: Call, x: Value, scales: Value) -> tuple[Dim, ...]:
    """The shape of `x` times scales that are data (float32[rank]), rounded down."""
    sizes = c.cast(c.sizes_value(x.shape), "float32")
    return c.sizes(c.cast(c.apply("floor", c.apply("mul", sizes, scales)), "int64"), "sizes")
