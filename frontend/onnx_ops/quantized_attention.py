"""Attention of onnxruntime whose projections multiply 8-bit integers."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.microsoft_attention import with_cache
from tilewright.frontend.onnx_ops.microsoft_quantization import integer_product, scaled
from tilewright.ir import dims
from tilewright.ir.graph import Value


def quantized_attention(c: Call) -> tuple[Value, ...]:
    """The sums of the projection are exact integers; what follows is computed in floats."""
    product = integer_product(c, (c[0], c.optional(6)), (c[1], c.optional(7)))
    projected = scaled(c, product, (c[3], c[4]), c[2])
    third = dims.floordiv(projected.shape[2], 3)
    starts = (0, third, dims.product((2, third)))
    parts: list[Value] = [c.slice(projected, 2, start, third) for start in starts]
    return with_cache(c, parts, c.optional(5), None, c.optional(8))


TABLE = {"com.microsoft.QAttention": quantized_attention}
