"""Operators that scale each row by figures of the whole row: softmax and the norms.

Their tensor expressions are stages that a row-wise schedule computes one after the other: reduce, map, reduce, map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import (
    require,
    require_axis,
    require_dtype,
    require_equal,
    require_rank,
    require_same_dtype,
)
from tilewright.ir.ops.precision import accumulator, exact
from tilewright.ir.ops.reduction import reciprocal_of_count, reduce_stage
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer_softmax(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], FLOATS, "the input")
    require_axis(attrs["axis"], types[0].rank)
    return (types[0],)


def _ref_softmax(attrs: Attrs, x: Array) -> Array:
    with np.errstate(all="ignore"):
        powers = np.exp(_below_maximum(x, attrs["axis"]))
        return np.asarray(powers / powers.sum(attrs["axis"], keepdims=True)).astype(x.dtype)


def _ref_log_softmax(attrs: Attrs, x: Array) -> Array:
    with np.errstate(all="ignore"):
        shifted = _below_maximum(x, attrs["axis"])
        return np.asarray(shifted - np.log(np.exp(shifted).sum(attrs["axis"], keepdims=True))).astype(x.dtype)


def _below_maximum(x: Array, axis: int) -> Array:
    wide = exact(x)
    return np.asarray(wide - wide.max(axis, keepdims=True, initial=-np.inf))


def _row(axis: int, index: Sequence[Any]) -> list[Any]:
    """Where the figure of the row through `index` is kept: at 0 along `axis`."""
    return [0 if place == axis else i for place, i in enumerate(index)]


def _compute_softmax(b: Any, node: Node, x: Any) -> Any:
    axis, wide = node.attrs["axis"], accumulator(x.dtype)
    greatest = reduce_stage(b, "max", x, (axis,))
    powers = b.stage(x.shape, wide, lambda *i: b.exp_or_zero(b.cast(x(*i), wide) - greatest(*_row(axis, i))))
    total = reduce_stage(b, "sum", powers, (axis,))
    scale = b.stage(total.shape, wide, lambda *i: b.reciprocal(total(*i)))
    return b.stage(x.shape, x.dtype, lambda *i: b.cast(powers(*i) * scale(*_row(axis, i)), x.dtype))


def _compute_log_softmax(b: Any, node: Node, x: Any) -> Any:
    axis, wide = node.attrs["axis"], accumulator(x.dtype)
    greatest = reduce_stage(b, "max", x, (axis,))
    shifted = b.stage(x.shape, wide, lambda *i: b.cast(x(*i), wide) - greatest(*_row(axis, i)))
    total = reduce_stage(b, "sum", shifted, (axis,), element=b.exp_or_zero)
    logarithm = b.stage(total.shape, wide, lambda *i: b.log(total(*i)))
    return b.stage(x.shape, x.dtype, lambda *i: b.cast(shifted(*i) - logarithm(*_row(axis, i)), x.dtype))


def _samples_softmax() -> list[Sample]:
    return [
        Sample((tensor("float32", "n", 5),), {"axis": 1}),
        Sample((tensor("float32", 2, "n", 3),), {"axis": 1}),
        Sample((tensor("float16", 4, 6),), {"axis": 0}),
        Sample((np.array([1000.0, 999.0, -1000.0], dtype=np.float64),), {"axis": 0}),
    ]


def _infer_norm(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, *weights = types
    require_same_dtype(types)
    require_dtype(x, FLOATS, "the input")
    require_axis(attrs["axis"], x.rank)
    require(attrs["epsilon"] >= 0, f"epsilon is {attrs['epsilon']}, which is negative")
    for weight, what in zip(weights, ("the scale", "the bias"), strict=False):
        require_rank(weight, x.rank - attrs["axis"], what)
        for ours, theirs in zip(x.shape[attrs["axis"] :], weight.shape, strict=True):
            require_equal(ours, theirs, f"the sizes of the normalised axes and of {what}")
    return (x,)


def _ref_layer_norm(attrs: Attrs, x: Array, scale: Array, *bias: Array) -> Array:
    wide = exact(x)
    axes = tuple(range(attrs["axis"], x.ndim))
    centred = wide - wide.mean(axes, keepdims=True)
    result = _over_root_mean_square(centred, axes, attrs["epsilon"]) * exact(scale)
    return np.asarray(result + exact(bias[0]) if bias else result).astype(x.dtype)


def _ref_rms_norm(attrs: Attrs, x: Array, scale: Array) -> Array:
    axes = tuple(range(attrs["axis"], x.ndim))
    result = _over_root_mean_square(exact(x), axes, attrs["epsilon"]) * exact(scale)
    return np.asarray(result).astype(x.dtype)


def _over_root_mean_square(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(x / np.sqrt(np.square(x).mean(axes, keepdims=True) + epsilon))


def _compute_layer_norm(b: Any, node: Node, x: Any, scale: Any, *bias: Any) -> Any:
    axis, wide = node.attrs["axis"], accumulator(x.dtype)
    axes = range(axis, len(x.shape))
    portion = reciprocal_of_count(b, x.shape[axis:], wide)
    total = reduce_stage(b, "sum", x, axes)
    mean = b.stage(total.shape, wide, lambda *i: total(*i) * portion)
    centred = b.stage(x.shape, wide, lambda *i: b.cast(x(*i), wide) - mean(*_outer(axis, i)))
    factor = _inverse_root_mean_square(b, node, centred)

    def element(*i: Any) -> Any:
        value = centred(*i) * factor(*_outer(axis, i)) * b.cast(scale(*i[axis:]), wide)
        return b.cast(value + b.cast(bias[0](*i[axis:]), wide) if bias else value, x.dtype)

    return b.stage(x.shape, x.dtype, element)


def _compute_rms_norm(b: Any, node: Node, x: Any, scale: Any) -> Any:
    axis, wide = node.attrs["axis"], accumulator(x.dtype)
    factor = _inverse_root_mean_square(b, node, x)

    def element(*i: Any) -> Any:
        return b.cast(b.cast(x(*i), wide) * factor(*_outer(axis, i)) * b.cast(scale(*i[axis:]), wide), x.dtype)

    return b.stage(x.shape, x.dtype, element)


def _inverse_root_mean_square(b: Any, node: Node, x: Any) -> Any:
    """1 / sqrt(mean of squares + epsilon) of each row."""
    axis, wide = node.attrs["axis"], accumulator(x.dtype)
    portion = reciprocal_of_count(b, x.shape[axis:], wide)
    epsilon = b.const(node.attrs["epsilon"], wide)
    squares = reduce_stage(b, "sum", x, range(axis, len(x.shape)), element=lambda value: value * value)
    return b.stage(squares.shape, wide, lambda *i: b.rsqrt(squares(*i) * portion + epsilon))


def _outer(axis: int, index: Sequence[Any]) -> list[Any]:
    """Where the figure of the row through `index` is kept: at 0 along `axis` and all later axes."""
    return [i if place < axis else 0 for place, i in enumerate(index)]


def _samples_layer_norm() -> list[Sample]:
    return [
        Sample((tensor("float32", "n", 6), tensor("float32", 6), tensor("float32", 6)), {"axis": 1, "epsilon": 1e-5}),
        Sample((tensor("float32", 2, "n", 3), tensor("float32", "n", 3)), {"axis": 1, "epsilon": 1e-3}),
        Sample((tensor("float16", 3, 8), tensor("float16", 8), tensor("float16", 8)), {"axis": 1, "epsilon": 1e-5}),
    ]


def _samples_rms_norm() -> list[Sample]:
    return [
        Sample((tensor("float32", "n", 6), tensor("float32", 6)), {"axis": 1, "epsilon": 1e-6}),
        Sample((tensor("bfloat16", 2, 3, 4), tensor("bfloat16", 4)), {"axis": 2, "epsilon": 1e-6}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "softmax",
        Kind.REDUCTION,
        _infer_softmax,
        _ref_softmax,
        _compute_softmax,
        (1, 1),
        {"axis": REQUIRED},
        _samples_softmax,
        "exp(x) over its sum along an axis.",
    ),
    Op(
        "log_softmax",
        Kind.REDUCTION,
        _infer_softmax,
        _ref_log_softmax,
        _compute_log_softmax,
        (1, 1),
        {"axis": REQUIRED},
        _samples_softmax,
        "The logarithm of softmax.",
    ),
    Op(
        "layer_norm",
        Kind.REDUCTION,
        _infer_norm,
        _ref_layer_norm,
        _compute_layer_norm,
        (2, 3),
        {"axis": REQUIRED, "epsilon": REQUIRED},
        _samples_layer_norm,
        "(x - mean) / sqrt(variance + epsilon) * scale + bias, over the axes from `axis` on: those of the weights.",
    ),
    Op(
        "rms_norm",
        Kind.REDUCTION,
        _infer_norm,
        _ref_rms_norm,
        _compute_rms_norm,
        (2, 2),
        {"axis": REQUIRED, "epsilon": REQUIRED},
        _samples_rms_norm,
        "x / sqrt(mean of squares + epsilon) * scale, over the axes from `axis` on: those of the scale.",
    ),
)
