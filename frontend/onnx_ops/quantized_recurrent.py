"""The LSTM of onnxruntime on 8-bit integers: its input product is exact and scaled once, and a row walks over time."""

from __future__ import annotations

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.quantization import centred, dynamically_quantized
from tilewright.frontend.onnx_ops.recurrent import attributes, initial_state
from tilewright.ir import dims
from tilewright.ir.graph import Value
from tilewright.ir.ops.recurrent import ALL_STEPS


def dynamic_quantize_lstm(c: Call) -> tuple[Value, ...]:
    """Weights [D, K, 4 * H] of 8 bits; X and, in every step, H are rounded to 8 bits before they are multiplied.

    onnxruntime has one scale for the states of all sequences that share a thread; here each sequence has its own.
    """
    x, lengths = c[0], c.optional(4)
    if x.rank != 3:
        raise c.malformed("needs three axes for X")
    w, r = (centred_weights(c, c[i], c[scale + 1]) for i, scale in ((1, 8), (2, 10)))
    r = c.cast(r, "int8" if c[2].dtype == "int8" and is_zero(c, c[11]) else "int16")
    w_scales, r_scales = (scales(c, c[i], c[scale]) for i, scale in ((1, 8), (2, 10)))
    peepholes = c.optional(7)
    return c.apply_all(
        "quantized_lstm",
        input_product(c, x if lengths is None else within(c, x, lengths), w, w_scales),
        c.transpose(r, (0, 2, 1)),
        *(initial_state(c, c.optional(i), x.dtype, swapped=False) for i in (5, 6)),
        c.constant(np.array([ALL_STEPS], np.int32)) if lengths is None else lengths,
        r_scales,
        bias(c, r),
        *([] if peepholes is None else [peepholes]),
        input_forget=c.flag("input_forget"),
        **attributes(c, "sigmoid tanh tanh"),
    )


def centred_weights(c: Call, weights: Value, zero: Value) -> Value:
    """[D, K, 4 * H] less a zero point for each direction, or each column of it, as int32."""
    if weights.rank != 3 or zero.rank not in (1, 2):
        raise c.malformed("has weights or zero points with a wrong number of axes")
    offset = c.cast(zero, "int32")
    wide = c.reshape(offset, (zero.shape[0], 1, *(zero.shape[1:] or (1,))))
    return c.apply("sub", c.cast(weights, "int32"), wide)


def is_zero(c: Call, value: Value) -> bool:
    """Known to be nothing but zeros."""
    known = c.maybe_known(value)
    return known is not None and not known.any()


def scales(c: Call, weights: Value, scale: Value) -> Value:
    """A scale for each direction, or each column of it, as [D, 4 * H]."""
    if scale.rank not in (1, 2):
        raise c.malformed(f"has scales with {scale.rank} axes instead of one or two")
    wide = scale if scale.rank == 2 else c.reshape(scale, (scale.shape[0], 1))
    return c.expand(wide, (weights.shape[0], weights.shape[2]))


def bias(c: Call, r: Value) -> Value:
    """Both halves of B [D, 8 * H] added up, or zeros."""
    width, given = r.shape[2], c.optional(3)
    if given is None:
        return c.expand(c.constant(np.zeros((1, 1), np.float32)), (r.shape[0], width))
    halves = [c.slice(given, 1, start, width) for start in (0, width)]
    return c.apply("add", *halves)


def within(c: Call, x: Value, lengths: Value) -> Value:
    """x [T, B, I] with zeros in the steps that no sequence has, which are no part of its range."""
    steps = c.apply("range", start=0, step=1, size=x.shape[0], dtype="int32")
    held = c.apply("less", steps, c.reduce("max", lengths, (0,), keepdims=False))
    return c.apply("where", c.reshape(held, (x.shape[0], 1, 1)), x, c.constant(0.0, x.dtype))


def input_product(c: Call, x: Value, w: Value, w_scales: Value) -> Value:
    """X @ W for all steps and directions: [T, B, D * 4 * H]."""
    quantized, scale, zero = dynamically_quantized(c, x)
    columns = dims.product((w.shape[0], w.shape[2]))
    flat = c.reshape(c.transpose(w, (1, 0, 2)), (w.shape[1], columns))
    product = c.apply("matmul", centred(c, quantized, zero), flat)
    factor = c.apply("mul", scale, c.reshape(w_scales, (columns,)))
    return c.apply("mul", c.cast(product, "float32"), factor)


TABLE = {"com.microsoft.DynamicQuantizeLSTM": dynamic_quantize_lstm}
