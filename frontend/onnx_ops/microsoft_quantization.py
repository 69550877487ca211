"""onnxruntime's operators on quantized tensors: what the float operator does, between dequantize and quantize.

Products are summed as integers, exactly, and scaled once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.quantization import (
    centred,
    dequantize_linear,
    dequantized,
    dynamic_quantize_linear,
    quantize_linear,
    quantized,
)
from tilewright.frontend.onnx_ops.window import pooled
from tilewright.ir import dims
from tilewright.ir.graph import Value


def real(c: Call, first: int) -> Value:
    """The numbers that inputs `first` (quantized), `first` + 1 (scale) and `first` + 2 (zero point) stand for."""
    return dequantized(c, c[first], c[first + 1], c.optional(first + 2))


def stored(c: Call, x: Value, scale: int, dtype: str) -> Value:
    """`x` quantized by input `scale` and the zero point behind it, which is 0 of `dtype` where it is left out."""
    zero = c.optional(scale + 1)
    return quantized(c, x, c[scale], c.constant(0, dtype) if zero is None else zero)


def between(function: Callable[[Call, Value], Value]) -> Callable[[Call], Value]:
    """Inputs (x, scale, zero point, scale of the result, zero point of the result)."""
    return lambda c: stored(c, function(c, real(c, 0)), 3, c[0].dtype)


def binary(name: str) -> Callable[[Call], Value]:
    return lambda c: stored(c, c.apply(name, real(c, 0), real(c, 3)), 6, c[0].dtype)


def leaky_relu(c: Call, x: Value) -> Value:
    return c.apply("where", c.apply("less", x, 0.0), c.apply("mul", x, c.real("alpha", 0.01)), x)


def softmax(c: Call, x: Value) -> Value:
    """Before opset 13 over all axes from `axis` on, as if they were one."""
    axis = c.axis(c.integer("axis", -1), x.rank)
    if c.integer("opset", 13) >= 13:
        return c.apply("softmax", x, axis=axis)
    flat = c.reshape(x, (dims.product(x.shape[:axis]), dims.product(x.shape[axis:])))
    return c.reshape(c.apply("softmax", flat, axis=1), x.shape)


def channels_first(c: Call, x: Value, function: Callable[[Value], Value]) -> Value:
    """`function` on x [N, C, ...], which lies as [N, ..., C] where `channels_last` is set."""
    if not c.flag("channels_last"):
        return function(x)
    last = x.rank - 1
    result = function(c.transpose(x, (0, last, *range(1, last))))
    return c.transpose(result, (0, *range(2, last + 1), 1))


def global_average_pool(c: Call, x: Value) -> Value:
    return channels_first(c, x, lambda v: c.reduce("mean", v, tuple(range(2, v.rank))))


def average_pool(c: Call, x: Value) -> Value:
    counted = c.flag("count_include_pad")
    return channels_first(c, x, lambda v: pooled(c, "avg_pool", v, count_include_pad=counted))


def reduce_mean(c: Call, x: Value) -> Value:
    axes = c.axes(c.integers("axes") or range(x.rank), x.rank)
    return c.reduce("mean", x, axes, keepdims=c.flag("keepdims", True))


def concat(c: Call) -> Value:
    """Scale and zero point of the result, then three inputs for each part."""
    if len(c.inputs) < 5 or len(c.inputs) % 3 != 2:
        raise c.malformed(f"has {len(c.inputs)} inputs, not two and then three for each part")
    parts = [real(c, i) for i in range(2, len(c.inputs), 3)]
    axis = c.axis(c.integer("axis", 0), parts[0].rank)
    return stored(c, c.apply("concat", *parts, axis=axis), 0, c[2].dtype)


def where(c: Call) -> Value:
    return stored(c, c.apply("where", c[0], real(c, 1), real(c, 4)), 7, c[1].dtype)


def integer_product(c: Call, a: tuple[Value, Value | None], b: tuple[Value, Value | None]) -> Value:
    """a @ b as int32 for pairs of a matrix and its zero point, which for b may be one for each column."""
    (left, left_zero), (right, right_zero) = a, b
    return c.apply("matmul", centred(c, left, left_zero), centred(c, right, right_zero))


def scaled(c: Call, product: Value, scales: Sequence[Value], bias: Value | None) -> Value:
    """product * scales + bias, as float; scales of one element or one for each column."""
    factor = c.apply("mul", *(c.reshape(s, ()) if s.shape == (1,) else s for s in scales))
    result = c.apply("mul", c.cast(product, factor.dtype), factor)
    return result if bias is None else c.apply("add", result, bias)


def matmul_integer_to_float(c: Call) -> Value:
    product = integer_product(c, (c[0], c.optional(4)), (c[1], c.optional(5)))
    return scaled(c, product, (c[2], c[3]), c.optional(6))


def dynamic_quantize_matmul(c: Call) -> Value:
    a, scale, zero = dynamic_quantize_linear(c)
    product = integer_product(c, (a, zero), (c[1], c.optional(3)))
    return scaled(c, product, (scale, c[2]), c.optional(4))


def gemm(c: Call) -> Value:
    """alpha * A @ B + C, where C is int32 in units of alpha times both scales; float where no scale is given for it.

    B may have a scale and a zero point for each column of the result.
    """
    left = centred(c, c[0], c.optional(2))
    left = c.transpose(left, (1, 0)) if c.flag("transA") else left
    right = gemm_right(c, centred(c, c[3], c.optional(5), trailing=int(c.flag("transB"))))
    product = c.apply("matmul", left, right)
    if (bias := c.optional(6)) is not None:
        product = c.apply("add", product, bias)
    scale = c.apply("mul", c[1], c.real("alpha", 1.0))
    result = scaled(c, product, (scale, c[4]), None)
    return result if c.optional(7) is None else stored(c, result, 7, c[0].dtype)


def gemm_right(c: Call, right: Value) -> Value:
    return c.transpose(right, (1, 0)) if c.flag("transB") else right


TABLE = {
    "com.microsoft.DequantizeLinear": dequantize_linear,
    "com.microsoft.DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "com.microsoft.MatMulIntegerToFloat": matmul_integer_to_float,
    "com.microsoft.QGemm": gemm,
    "com.microsoft.QLinearAdd": binary("add"),
    "com.microsoft.QLinearAveragePool": between(average_pool),
    "com.microsoft.QLinearConcat": concat,
    "com.microsoft.QLinearGlobalAveragePool": between(global_average_pool),
    "com.microsoft.QLinearLeakyRelu": between(leaky_relu),
    "com.microsoft.QLinearMul": binary("mul"),
    "com.microsoft.QLinearReduceMean": between(reduce_mean),
    "com.microsoft.QLinearSigmoid": between(lambda c, x: c.apply("sigmoid", x)),
    "com.microsoft.QLinearSoftmax": between(softmax),
    "com.microsoft.QLinearWhere": where,
    "com.microsoft.QuantizeLinear": quantize_linear,
}
