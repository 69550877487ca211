"""Quantization: everything is a composition of quantize, dequantize and integer products."""

from __future__ import annotations

from typing import Any

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.window import convolution
from tilewright.ir.graph import Value


def granularity(c: Call, x: Value, scale: Value, axis: int) -> dict[str, Any]:
    """One scale for the whole tensor, one along an axis, or one a block of elements of that axis."""
    if scale.rank == 0 or scale.shape == (1,):
        return {"axis": None, "block": 0}
    if scale.rank == 1:
        return {"axis": c.axis(axis, x.rank), "block": 0}
    return {"axis": c.axis(axis, x.rank), "block": c.integer("block_size", 0)}


def scalar(c: Call, value: Value) -> Value:
    return c.reshape(value, ()) if value.shape == (1,) else value


def quantize_linear(c: Call) -> Value:
    x, scale, zero = c[0], c[1], c.optional(2)
    if zero is None:
        zero = c.expand(c.constant(0, c.dtype("output_dtype", "uint8")), scale.shape)
    return quantized(c, x, scale, zero, c.integer("axis", 1))


def quantized(c: Call, x: Value, scale: Value, zero: Value, axis: int = 1) -> Value:
    shape = granularity(c, x, scale, axis)
    return c.apply("quantize", c.cast(x, scale.dtype), scalar(c, scale), scalar(c, zero), **shape)


def dequantize_linear(c: Call) -> Value:
    return c.cast(dequantized(c, c[0], c[1], c.optional(2), c.integer("axis", 1)), c.dtype("output_dtype", c[1].dtype))


NARROW_AS = {"int2": "int8", "int4": "int8", "uint2": "uint8", "uint4": "uint8"}


def dequantized(c: Call, x: Value, scale: Value, zero: Value | None, axis: int = 1) -> Value:
    """Integers below 8 bits count as 8-bit ones."""
    wide = NARROW_AS.get(x.dtype, x.dtype)
    x, zero = c.cast(x, wide), None if zero is None else c.cast(zero, wide)
    parameters = [scale] if zero is None else [scale, zero]
    return c.apply("dequantize", x, *(scalar(c, p) for p in parameters), **granularity(c, x, scale, axis))


def dynamic_quantize_linear(c: Call) -> tuple[Value, ...]:
    return dynamically_quantized(c, c[0])


def dynamically_quantized(c: Call, x: Value) -> tuple[Value, ...]:
    """x with its scale and zero point, from its range, which always holds zero."""
    axes = tuple(range(x.rank))
    high = c.apply("maximum", c.reduce("max", x, axes, keepdims=False), 0.0)
    low = c.apply("minimum", c.reduce("min", x, axes, keepdims=False), 0.0)
    scale = c.apply("div", c.apply("sub", high, low), 255.0)
    place = c.apply("round", c.apply("div", c.apply("neg", low), scale))
    zero = c.cast(c.apply("minimum", c.apply("maximum", place, 0.0), 255.0), "uint8")
    return c.apply("quantize", x, scale, zero), scale, zero


def centred(c: Call, x: Value, zero: Value | None, trailing: int = 0) -> Value:
    """x - zero point as int32; a zero point per row has `trailing` axes after it."""
    wide = c.cast(x, "int32")
    if zero is None:
        return wide
    offset = scalar(c, c.cast(zero, "int32"))
    return c.apply("sub", wide, c.reshape(offset, (*offset.shape, *[1] * trailing)) if offset.rank else offset)


def matmul_integer(c: Call) -> Value:
    left = c.optional(2)
    rows = 1 if left is not None and left.rank == 1 else 0
    return c.apply("matmul", centred(c, c[0], left, rows), centred(c, c[1], c.optional(3)))


def conv_integer(c: Call) -> Value:
    """Padding with zeros after the zero point is taken off is padding with the zero point."""
    return convolution(c, centred(c, c[0], c.optional(2)), centred(c, c[1], c.optional(3), c[1].rank - 1))


def rescaled(c: Call, total: Value, left: Value, right: Value, scale: int) -> Value:
    """int32 sums in units of left * right, quantized by the inputs `scale` and the zero point behind it.

    The three scales become one factor first, as onnxruntime has it: so the same sums are rounded the same way.
    """
    wide = [c.cast(scalar(c, s), "float32") for s in (left, right, c[scale])]
    factor = c.apply("div", c.apply("mul", wide[0], wide[1]), wide[2])
    return quantized(c, c.apply("mul", c.cast(total, "float32"), factor), c.constant(1.0, "float32"), c[scale + 1])


def per_row(c: Call, scale: Value, trailing: int) -> Value:
    """A scale with `trailing` axes after it, where it is not one number for all."""
    return c.reshape(scale, (*scale.shape, *[1] * trailing)) if scale.rank == 1 and scale.shape != (1,) else scale


def qlinear_matmul(c: Call) -> Value:
    rows = 1 if c[2].rank == 1 else 0
    total = c.apply("matmul", centred(c, c[0], c[2], rows), centred(c, c[3], c[5]))
    return rescaled(c, total, per_row(c, c[1], 1), c[4], 6)


def qlinear_conv(c: Call) -> Value:
    """The bias is int32 in units of x_scale * w_scale."""
    bias = c.optional(8)
    operands = centred(c, c[0], c[2]), centred(c, c[3], c[5], c[3].rank - 1)
    total = convolution(c, *operands, *([] if bias is None else [bias]))
    return rescaled(c, total, c[1], per_row(c, c[4], c[0].rank - 2), 6)


TABLE = {
    "ConvInteger": conv_integer,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}
