"""Elementwise operators of two or three inputs, broadcast as numpy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require_dtype, require_same_dtype
from tilewright.ir.ops.elementwise import broadcast_shapes, elementwise_compute, elementwise_infer, elementwise_ref
from tilewright.ir.ops.precision import accumulator
from tilewright.ir.types import FLOATS, INTEGERS, NUMERIC, UNSIGNED, TensorType, dtype_name, numpy_dtype, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _binary(
    name: str,
    accepted: Sequence[str],
    ref: Callable[[Array, Array], Any],
    doc: str,
    compute: Callable[[Any, Any, Any, str], Any] | None = None,
    *,
    result: str | None = None,
    samples: Callable[[], Sequence[Sample]] | None = None,
) -> Op:
    """A row without attributes. Without `compute`, the backend has a function of the row's name.

    `compute(b, x, y, dtype)` is given two scalars and the element type that they are computed in.
    """
    scalar = compute or (lambda b, x, y, dtype: getattr(b, name)(x, y))
    return Op(
        name,
        Kind.ELEMENTWISE,
        elementwise_infer(accepted, result),
        elementwise_ref(lambda attrs, x, y: ref(x, y), result),
        elementwise_compute(lambda b, node, x, y: scalar(b, x, y, accumulator(node.inputs[0].dtype))),
        (2, 2),
        samples=samples or (lambda: _samples(accepted)),
        doc=doc,
    )


def _samples(accepted: Sequence[str]) -> list[Sample]:
    """Equal shapes, broadcasting on both sides, and a scalar."""
    first, middle, last = accepted[0], accepted[len(accepted) // 2], accepted[-1]
    return [
        Sample((tensor(first, "n", 4), tensor(first, "n", 4))),
        Sample((tensor(middle, 3, 1, 2), tensor(middle, "n", 1))),
        Sample((tensor(last), tensor(last, 5))),
    ]


def _signed_pairs(*dtypes: str) -> list[Sample]:
    """Every combination of signs, in each element type."""
    x, y = np.array([7, -7, 7, -7, 6, 0]), np.array([2, 2, -2, -2, -3, 5])
    return [Sample((x.astype(numpy_dtype(dtype)), y.astype(numpy_dtype(dtype)))) for dtype in dtypes]


def _is_float(x: Array) -> bool:
    return dtype_name(x.dtype) in FLOATS


def _ref_div(x: Array, y: Array) -> Any:
    if _is_float(x):
        return np.divide(x, y)
    quotient = np.floor_divide(x, y)
    inexact = quotient * y != x
    return quotient + (inexact & ((x < 0) != (y < 0)))


def _compute_div(b: Any, x: Any, y: Any, dtype: str) -> Any:
    return b.divide(x, y) if dtype in FLOATS else b.truncdiv(x, y)


def _ref_mod(attrs: Attrs, x: Array, y: Array) -> Any:
    return np.fmod(x, y) if attrs["fmod"] else np.mod(x, y)


def _compute_mod(b: Any, node: Node, x: Any, y: Any) -> Any:
    return b.truncmod(x, y) if node.attrs["fmod"] else b.floormod(x, y)


def _samples_mod() -> list[Sample]:
    pairs = _signed_pairs("int32", "int64", "float32")
    return [*pairs, *(Sample(pair.inputs, {"fmod": True}) for pair in pairs)]


def _ref_pow(x: Array, y: Array) -> Any:
    """Integers to negative powers are cut off towards zero, as 1 / x**-y is."""
    if _is_float(x):
        return np.power(x, y)
    power = np.power(x, np.maximum(y, 0))
    return np.where(y < 0, np.where(x == 1, 1, np.where(x == -1, 1 - 2 * (y & 1), 0)), power)


def _compute_pow(b: Any, x: Any, y: Any, dtype: str) -> Any:
    """Integers go through float64, exact up to 2**53."""
    if dtype in FLOATS:
        return b.pow(x, y)
    return b.cast(b.pow(b.cast(x, "float64"), b.cast(y, "float64")), dtype)


def _samples_pow() -> list[Sample]:
    base, power = np.array([1, -1, 2, -3, 5, 7]), np.array([-2, -3, 10, 3, 0, -1])
    return [
        Sample((base, power)),
        Sample((base.astype(np.int32), np.array([2], dtype=np.int32))),
        Sample((np.array([[0.5], [2.0]], dtype=np.float32), np.array([-1.5, 0.0, 3.0], dtype=np.float32))),
    ]


def _in_range(b: Any, y: Any, dtype: str) -> Any:
    """Whether `y` is less than the width of `dtype`, in bits, and not negative: machines ignore the upper bits."""
    few = y < b.const(8 * numpy_dtype(dtype).itemsize, dtype)
    return few if dtype in UNSIGNED else b.logical_and(few, y >= b.const(0, dtype))


def _compute_shift_left(b: Any, x: Any, y: Any, dtype: str) -> Any:
    inside, zero = _in_range(b, y, dtype), b.const(0, dtype)
    return b.select(inside, b.shift_left(x, b.select(inside, y, zero)), zero)


def _compute_shift_right(b: Any, x: Any, y: Any, dtype: str) -> Any:
    """As if the sign went on for ever."""
    inside = _in_range(b, y, dtype)
    most = b.const(8 * numpy_dtype(dtype).itemsize - 1, dtype)
    shifted = b.shift_right(x, b.select(inside, y, most))
    return b.select(inside, shifted, b.const(0, dtype)) if dtype in UNSIGNED else shifted


def _samples_shift() -> list[Sample]:
    far = np.array([0, 7, 8, 31, 32, 63, 64, 100])
    odd = [np.array([-7] * 8).astype(dtype) for dtype in ("int8", "uint16", "int32", "uint32", "int64", "uint64")]
    return [
        *(Sample((x, far.astype(x.dtype))) for x in odd),
        Sample((np.array([-5, 5], np.int32), np.array([-1, -40], np.int32))),
        Sample((np.array([1, 2, 200], dtype=np.uint8), np.array([1, 2, 3], dtype=np.uint8))),
        Sample((np.array([[1], [-9]], dtype=np.int32), np.array([0, 1, 4], dtype=np.int32))),
    ]


def _infer_where(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], ("bool",), "the condition")
    require_same_dtype(types[1:])
    return (TensorType(types[1].dtype, broadcast_shapes([t.shape for t in types])),)


def _samples_extreme() -> list[Sample]:
    """NaN on either side, and infinities."""
    x, y = np.array([1, np.nan, 2, np.inf, np.nan, -0.5]), np.array([2, 1, np.nan, 3, np.nan, -np.inf])
    pairs = [Sample((x.astype(numpy_dtype(dtype)), y.astype(numpy_dtype(dtype)))) for dtype in ("float32", "float16")]
    return [*pairs, Sample((pairs[0].inputs[0], np.array(0, dtype=np.float32))), *_samples(INTEGERS)]


def _samples_where() -> list[Sample]:
    return [
        Sample((tensor("bool", "n", 3), tensor("float32", "n", 3), tensor("float32"))),
        Sample((tensor("bool", 2, 1), tensor("int64", 3), tensor("int64", 2, 3))),
        Sample((tensor("bool"), tensor("bfloat16", 4), tensor("bfloat16", 4))),
    ]


_MOD = Op(
    "mod",
    Kind.ELEMENTWISE,
    elementwise_infer(NUMERIC),
    elementwise_ref(_ref_mod),
    elementwise_compute(_compute_mod),
    (2, 2),
    {"fmod": False},
    _samples_mod,
    "The remainder with the sign of y, or that of x where fmod is set.",
)
_WHERE = Op(
    "where",
    Kind.ELEMENTWISE,
    _infer_where,
    elementwise_ref(lambda attrs, condition, x, y: np.where(condition, x, y)),
    elementwise_compute(lambda b, node, condition, x, y: b.select(condition, x, y)),
    (3, 3),
    samples=_samples_where,
    doc="x where the condition holds, else y.",
)

ROWS: tuple[Op, ...] = (
    _binary("add", NUMERIC, np.add, "x + y; integers wrap around.", lambda b, x, y, dtype: x + y),
    _binary("sub", NUMERIC, np.subtract, "x - y; integers wrap around.", lambda b, x, y, dtype: x - y),
    _binary("mul", NUMERIC, np.multiply, "x * y; integers wrap around.", lambda b, x, y, dtype: x * y),
    _binary(
        "div",
        NUMERIC,
        _ref_div,
        "x / y; the quotient of integers is cut off towards zero.",
        _compute_div,
        samples=lambda: [*_signed_pairs("float32", "int32", "int64"), *_signed_pairs("float16")],
    ),
    _MOD,
    _binary("pow", NUMERIC, _ref_pow, "x to the power of y.", _compute_pow, samples=_samples_pow),
    _binary("minimum", NUMERIC, np.minimum, "The smaller one; NaN if either is NaN.", samples=_samples_extreme),
    _binary("maximum", NUMERIC, np.maximum, "The greater one; NaN if either is NaN.", samples=_samples_extreme),
    _binary("equal", (*NUMERIC, "bool"), np.equal, "x == y.", result="bool"),
    _binary("less", NUMERIC, np.less, "x < y.", lambda b, x, y, dtype: x < y, result="bool"),
    _binary("less_equal", NUMERIC, np.less_equal, "x <= y.", lambda b, x, y, dtype: x <= y, result="bool"),
    _binary("greater", NUMERIC, np.greater, "x > y.", lambda b, x, y, dtype: x > y, result="bool"),
    _binary("greater_equal", NUMERIC, np.greater_equal, "x >= y.", lambda b, x, y, dtype: x >= y, result="bool"),
    _binary("logical_and", ("bool",), np.logical_and, "x and y."),
    _binary("logical_or", ("bool",), np.logical_or, "x or y."),
    _binary("logical_xor", ("bool",), np.logical_xor, "Either x or y."),
    _binary("bitwise_and", INTEGERS, np.bitwise_and, "The bits set in both."),
    _binary("bitwise_or", INTEGERS, np.bitwise_or, "The bits set in either."),
    _binary("bitwise_xor", INTEGERS, np.bitwise_xor, "The bits set in one of them only."),
    _binary(
        "shift_left",
        INTEGERS,
        np.left_shift,
        "x * 2**y, the upper bits cut off; 0 where y is negative.",
        _compute_shift_left,
        samples=_samples_shift,
    ),
    _binary(
        "shift_right",
        INTEGERS,
        np.right_shift,
        "x / 2**y, rounded down; a negative y counts as infinite.",
        _compute_shift_right,
        samples=_samples_shift,
    ),
    _WHERE,
)
