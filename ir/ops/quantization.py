"""Between floats and integers with a scale: real = (quantized - zero point) * scale.

The scale and the zero point are scalars; or one number for each place along `axis`; or, where `block` is set, of the
input's rank, one number for each `block` elements along `axis`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_axis, require_dtype, require_equal, require_rank
from tilewright.ir.ops.elementwise import single
from tilewright.ir.ops.precision import accumulator
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

QUANTIZED = ("int8", "uint8", "int16", "uint16")


def _check_parameter(x: TensorType, parameter: TensorType, attrs: Attrs, what: str) -> None:
    axis, block = attrs["axis"], attrs["block"]
    if axis is None:
        require(block == 0, f"block is {block}, but no axis is given")
        return require_rank(parameter, 0, what)
    require_axis(axis, x.rank)
    if not block:
        require_rank(parameter, 1, what)
        require_equal(x.shape[axis], parameter.shape[0], f"the size of axis {axis} and of {what}")
        return None
    require_rank(parameter, x.rank, what)
    for place, (ours, theirs) in enumerate(zip(x.shape, parameter.shape, strict=True)):
        wanted = dims.ceildiv(ours, block) if place == axis else ours
        require_equal(wanted, theirs, f"the number of blocks along axis {place} and the size of {what}")
    return None


def _infer_quantize(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, scale, zero_point = types
    require_dtype(x, FLOATS, "the input")
    require_dtype(scale, (x.dtype,), "the scale")
    require_dtype(zero_point, QUANTIZED, "the zero point")
    _check_parameter(x, scale, attrs, "the scale")
    _check_parameter(x, zero_point, attrs, "the zero point")
    return (x.with_dtype(zero_point.dtype),)


def _infer_dequantize(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    q, scale, *zero_point = types
    require_dtype(q, (*QUANTIZED, "int32"), "the input")
    require_dtype(scale, FLOATS, "the scale")
    _check_parameter(q, scale, attrs, "the scale")
    if zero_point:
        require_dtype(zero_point[0], (q.dtype,), "the zero point")
        _check_parameter(q, zero_point[0], attrs, "the zero point")
    return (q.with_dtype(scale.dtype),)


def _spread(parameter: Array, x: Array, attrs: Attrs) -> Array:
    """`parameter` in a shape that broadcasts with `x`."""
    axis, block = attrs["axis"], attrs["block"]
    if axis is None:
        return parameter
    if block:
        return np.asarray(np.take(parameter, np.arange(x.shape[axis]) // block, axis=axis))
    return parameter.reshape([-1 if place == axis else 1 for place in range(x.ndim)])


def _ref_quantize(attrs: Attrs, x: Array, scale: Array, zero_point: Array) -> Array:
    limits = np.iinfo(zero_point.dtype)
    with np.errstate(all="ignore"):
        scaled = np.rint(single(x) / _spread(single(scale), x, attrs))
        shifted = scaled + _spread(zero_point, x, attrs).astype(scaled.dtype)
        return np.asarray(np.clip(shifted, limits.min, limits.max)).astype(zero_point.dtype)


def _ref_dequantize(attrs: Attrs, q: Array, scale: Array, *zero_point: Array) -> Array:
    wide = q.astype(np.int32)
    if zero_point:
        wide = wide - _spread(zero_point[0].astype(np.int32), q, attrs)
    factor = _spread(single(scale), q, attrs)
    return np.asarray(wide.astype(factor.dtype) * factor).astype(scale.dtype)


def _reader(b: Any, parameter: Any, attrs: Attrs) -> Callable[..., Any]:
    """Reads the parameter that belongs to the element at an index."""
    axis, block = attrs["axis"], attrs["block"]
    if axis is None:
        return lambda *index: parameter()
    if block:
        return lambda *index: parameter(*index[:axis], b.floordiv(index[axis], block), *index[axis + 1 :])
    return lambda *index: parameter(index[axis])


def _compute_quantize(b: Any, node: Node, x: Any, scale: Any, zero_point: Any) -> Any:
    dtype, wide = zero_point.dtype, accumulator(x.dtype)
    limits = np.iinfo(dtype)
    least, most = b.const(float(limits.min), wide), b.const(float(limits.max), wide)
    scale_at, zero_at = _reader(b, scale, node.attrs), _reader(b, zero_point, node.attrs)

    def element(*index: Any) -> Any:
        scaled = b.round(b.cast(x(*index), wide) / b.cast(scale_at(*index), wide))
        shifted = scaled + b.cast(zero_at(*index), wide)
        return b.cast(b.minimum(b.maximum(shifted, least), most), dtype)

    return b.stage(x.shape, dtype, element)


def _compute_dequantize(b: Any, node: Node, q: Any, scale: Any, *zero_point: Any) -> Any:
    wide = accumulator(scale.dtype)
    scale_at = _reader(b, scale, node.attrs)
    zero_at = _reader(b, zero_point[0], node.attrs) if zero_point else None

    def element(*index: Any) -> Any:
        value = b.cast(q(*index), "int32")
        if zero_at:
            value = value - b.cast(zero_at(*index), "int32")
        return b.cast(b.cast(value, wide) * b.cast(scale_at(*index), wide), scale.dtype)

    return b.stage(q.shape, scale.dtype, element)


def _samples_quantize() -> list[Sample]:
    halves = np.array([[-300.0, -1.5, -0.5, 0.5], [1.5, 2.5, 127.0, 1e6]], dtype=np.float32)
    per_column = np.array([1.0, 0.5, 2.0, 4.0], dtype=np.float32)
    return [
        Sample((halves, np.array(1, dtype=np.float32), np.array(3, dtype=np.int8))),
        Sample((halves, per_column, np.array([0, 128, 5, 7], dtype=np.uint8)), {"axis": 1}),
        Sample((halves, per_column.reshape(2, 2), np.zeros((2, 2), dtype=np.int16)), {"axis": 1, "block": 2}),
    ]


def _samples_dequantize() -> list[Sample]:
    return [
        Sample((tensor("int8", "n", 4), np.array(0.25, dtype=np.float32), np.array(-3, dtype=np.int8))),
        Sample((tensor("uint8", 3, "n"), tensor("float32", 3), tensor("uint8", 3)), {"axis": 0}),
        Sample((tensor("int8", 2, 7), tensor("float16", 2, 2)), {"axis": 1, "block": 4}),
        Sample((tensor("int32", 5), np.array(0.5, dtype=np.float32))),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "quantize",
        Kind.ELEMENTWISE,
        _infer_quantize,
        _ref_quantize,
        _compute_quantize,
        (3, 3),
        {"axis": None, "block": 0},
        _samples_quantize,
        "round(x / scale) + zero point, halves to even, held within the zero point's element type.",
    ),
    Op(
        "dequantize",
        Kind.ELEMENTWISE,
        _infer_dequantize,
        _ref_dequantize,
        _compute_dequantize,
        (2, 3),
        {"axis": None, "block": 0},
        _samples_dequantize,
        "(q - zero point) * scale, in the scale's element type.",
    ),
)
