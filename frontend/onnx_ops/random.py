"""Random numbers. With a seed they are the same in every run, without one they differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value


def drawn(c: Call, shape: Sequence[Dim], dtype: str, stream: int = 0) -> Value:
    """New uniform numbers between 0 and 1, which are no other node's; 16-bit floats are drawn as float32."""
    seed = None
    if c.has("seed"):
        seed = float(c.integer("seed", 0)) if c.op_type == "Dropout" else c.real("seed", 0.0)
    wide = "float64" if dtype == "float64" else "float32"
    node = f"{c.source} {c.fresh_size()}"  # a function that is called twice draws twice
    return c.apply("random", shape=tuple(shape), dtype=wide, seed=seed, stream=stream, node=node)


def uniform_of(c: Call, shape: Sequence[Dim], dtype: str) -> Value:
    low, high = c.real("low", 0.0), c.real("high", 1.0)
    return c.cast(c.apply("add", c.apply("mul", drawn(c, shape, dtype), high - low), low), dtype)


def normal_of(c: Call, shape: Sequence[Dim], dtype: str) -> Value:
    """By G. Box and M. Muller's transform (1958)."""
    radius = c.apply("sqrt", c.apply("mul", c.apply("log", drawn(c, shape, dtype)), -2.0))
    angle = c.apply("mul", drawn(c, shape, dtype, stream=1), 2 * math.pi)
    spread = c.apply("mul", c.apply("mul", radius, c.apply("cos", angle)), c.real("scale", 1.0))
    return c.cast(c.apply("add", spread, c.real("mean", 0.0)), dtype)


def gumbel(c: Call, shape: Sequence[Dim], dtype: str) -> Value:
    """The distribution of the greatest of many: -log(-log(u))."""
    return c.apply("neg", c.apply("log", c.apply("neg", c.apply("log", drawn(c, shape, dtype)))))


def shape_of(c: Call) -> tuple[int, ...]:
    shape: tuple[int, ...] = c.required(c.integers("shape"), "shape")
    if any(size < 0 for size in shape):
        raise c.malformed(f"has the impossible shape {list(shape)}")
    return shape


def bernoulli(c: Call) -> Value:
    """True with the probability that each element of the input is."""
    x = c[0]
    below = c.apply("less", drawn(c, x.shape, "float64"), c.cast(x, "float64"))
    return c.cast(below, c.dtype("dtype", x.dtype))


def multinomial(c: Call) -> Value:
    """Classes drawn by unnormalised logarithms of probabilities: the greatest with a random number added (Gumbel)."""
    x, count = c[0], c.integer("sample_size", 1)
    if x.rank != 2 or count < 1:
        raise c.malformed(f"draws {count} samples from logarithms with {x.rank} axes instead of 2")
    wide = c.cast(x, "float32") if x.dtype != "float64" else x
    noise = gumbel(c, (x.shape[0], count, x.shape[1]), wide.dtype)
    total = c.apply("add", noise, c.reshape(wide, (x.shape[0], 1, x.shape[1])))
    return c.cast(c.apply("argmax", total, axis=2), c.dtype("dtype", "int32"))


def dropped_out(c: Call, x: Value, ratio: Value) -> tuple[Value, Value]:
    """In training: each element is kept, and scaled up, or becomes zero with the probability `ratio`."""
    keep = c.apply("greater_equal", drawn(c, x.shape, "float64"), c.cast(ratio, "float64"))
    scale = c.apply("reciprocal", c.apply("sub", c.constant(1.0, ratio.dtype), ratio))
    scaled = c.apply("mul", x, c.cast(scale, x.dtype))
    return c.apply("where", keep, scaled, c.constant(0, x.dtype)), keep


def dropout(c: Call) -> tuple[Value, ...]:
    """Random from opset 12 on, in training; before that it is the identity."""
    x, training = c[0], c.optional(2)
    kept = c.expand(c.constant(True, "bool" if c.version >= 10 else x.dtype), x.shape)
    if training is None or known(c, training) is False:
        return x, kept
    given = c.optional(1)
    ratio = c.constant(0.5, "float32") if given is None else c.reshape(given, ())
    if known(c, ratio) == 0:
        return x, kept
    y, mask = dropped_out(c, x, ratio)
    if known(c, training):
        return y, mask
    active = c.reshape(training, ())
    return c.apply("where", active, y, x), c.apply("where", active, mask, kept)


def known(c: Call, value: Value) -> Any:
    """The one element of `value`, or None where it depends on data."""
    elements = c.maybe_known(value)
    return None if elements is None else elements.reshape(-1).tolist()[0]


TABLE = {
    "Bernoulli": bernoulli,
    "Dropout": dropout,
    "Multinomial": multinomial,
    "RandomNormal": lambda c: normal_of(c, shape_of(c), c.dtype("dtype", "float32")),
    "RandomNormalLike": lambda c: normal_of(c, c[0].shape, c.dtype("dtype", c[0].dtype)),
    "RandomUniform": lambda c: uniform_of(c, shape_of(c), c.dtype("dtype", "float32")),
    "RandomUniformLike": lambda c: uniform_of(c, c[0].shape, c.dtype("dtype", c[0].dtype)),
}
