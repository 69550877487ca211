"""Elementwise operators of one input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype
from tilewright.ir.ops.elementwise import elementwise_compute, elementwise_infer, elementwise_ref
from tilewright.ir.ops.erf import erf
from tilewright.ir.ops.precision import accumulator
from tilewright.ir.ops.rational import rational_sigmoid, rational_tanh
from tilewright.ir.types import DTYPES, FLOATS, INTEGERS, NUMERIC, SIGNED, UNSIGNED, TensorType, numpy_dtype, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

ROOT_HALF = math.sqrt(0.5)
ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)
CUBIC = 0.044715


def _unary(
    name: str,
    accepted: Sequence[str],
    ref: Callable[[Array], Any],
    doc: str,
    compute: Callable[[Any, Any, str], Any] | None = None,
    *,
    result: str | None = None,
    domain: tuple[float, float] = (-3.0, 3.0),
) -> Op:
    """A row without attributes. Without `compute`, the backend has a function of the row's name.

    `compute(b, x, dtype)` is given a scalar and the element type that it is computed in.
    """
    scalar = compute or (lambda b, x, dtype: getattr(b, name)(x))
    return Op(
        name,
        Kind.ELEMENTWISE,
        elementwise_infer(accepted, result),
        elementwise_ref(lambda attrs, x: ref(x), result),
        elementwise_compute(lambda b, node, x: scalar(b, x, accumulator(node.inputs[0].dtype))),
        (1, 1),
        samples=lambda: _samples(accepted, *domain),
        doc=doc,
    )


def _samples(accepted: Sequence[str], low: float, high: float) -> list[Sample]:
    """A vector, longer than a machine's, between the limits in several element types, and a scalar."""
    dtypes = dict.fromkeys((accepted[0], accepted[len(accepted) // 2], accepted[-1]))
    vectors = [Sample((np.linspace(low, high, 37).astype(numpy_dtype(dtype)),)) for dtype in dtypes]
    return [*vectors, Sample((np.asarray(high).astype(numpy_dtype(accepted[0])),))]


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _compute_sign(b: Any, x: Any, dtype: str) -> Any:
    """Zero and NaN are their own sign."""
    zero, one = b.const(0, dtype), b.const(1, dtype)
    below = x if dtype in UNSIGNED else b.select(x < zero, b.const(-1, dtype), x)
    return b.select(x > zero, one, below)


def _ref_isinf(attrs: Attrs, x: Array) -> Array:
    return np.asarray((np.isposinf(x) & attrs["positive"]) | (np.isneginf(x) & attrs["negative"]))


def _compute_isinf(b: Any, node: Node, x: Any) -> Any:
    zero = b.const(0, accumulator(node.inputs[0].dtype))
    positive = b.logical_and(b.const(node.attrs["positive"], "bool"), x > zero)
    negative = b.logical_and(b.const(node.attrs["negative"], "bool"), x < zero)
    return b.logical_and(b.isinf(x), b.logical_or(positive, negative))


def _samples_isinf() -> list[Sample]:
    x = np.array([1.0, np.inf, -np.inf, np.nan, -2.0], dtype=np.float32)
    signs: list[dict[str, Any]] = [{}, {"positive": False}, {"negative": False}]
    return [Sample((x,), attrs) for attrs in signs]


def _infer_gelu(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require_dtype(types[0], FLOATS, "the input")
    require(attrs["approximate"] in ("none", "tanh"), f'approximate is "{attrs["approximate"]}", not "none" or "tanh"')
    return (types[0],)


def _ref_gelu(attrs: Attrs, x: Array) -> Array:
    wide = x.astype(np.float64)
    if attrs["approximate"] == "none":
        return np.asarray(0.5 * wide * (1 + erf(wide * ROOT_HALF)))
    return np.asarray(0.5 * wide * (1 + np.tanh(ROOT_TWO_OVER_PI * (wide + CUBIC * wide**3))))


def _compute_gelu(b: Any, node: Node, x: Any) -> Any:
    dtype = accumulator(node.inputs[0].dtype)
    if node.attrs["approximate"] == "none":
        return b.gelu(x)
    # (1 + tanh(u)) / 2 is sigmoid(2 u), of which nothing cancels
    return x * b.sigmoid(b.const(2 * ROOT_TWO_OVER_PI, dtype) * (x + b.const(CUBIC, dtype) * x * x * x))


def _samples_gelu() -> list[Sample]:
    return [
        Sample((tensor("float32", 3, "n"),)),
        Sample((tensor("float32", 9),), {"approximate": "tanh"}),
        Sample((tensor("float16", 4, 2),)),
        Sample((tensor("bfloat16"),), {"approximate": "tanh"}),
    ]


def _infer_cast(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    require(attrs["to"] in DTYPES, f"to is {attrs['to']!r}, which is not one of {', '.join(DTYPES)}")
    return (types[0].with_dtype(attrs["to"]),)


def _ref_cast(attrs: Attrs, x: Array) -> Array:
    """Strings are written and read as Python does it."""
    if attrs["to"] == "string":
        return np.array([str(item) for item in x.ravel()], dtype=object).reshape(x.shape)
    if x.dtype.kind in "OUS":
        x = x.astype(np.float64) if attrs["to"] in (*FLOATS, "bool") else x.astype(np.int64)
    with np.errstate(all="ignore"):
        return x.astype(numpy_dtype(attrs["to"]))


def _compute_cast(b: Any, node: Node, x: Any) -> Any:
    result = node.results[0]
    return b.stage(b.shape(result), result.dtype, lambda *index: b.cast(x(*index), result.dtype))


def _samples_cast() -> list[Sample]:
    return [
        Sample((np.array([-2.7, -0.2, 0.0, 1.5, 3.9], dtype=np.float32),), {"to": "int32"}),
        Sample((np.array([[0, 2], [-1, 0]]),), {"to": "bool"}),
        Sample((np.array([True, False]),), {"to": "float16"}),
        Sample((tensor("float32", "n", 2),), {"to": "bfloat16"}),
        Sample((tensor("bfloat16", "n", 2),), {"to": "float64"}),
        Sample((np.array(300),), {"to": "uint8"}),
    ]


_ISINF = Op(
    "isinf",
    Kind.ELEMENTWISE,
    elementwise_infer(FLOATS, "bool"),
    elementwise_ref(_ref_isinf, "bool"),
    elementwise_compute(_compute_isinf),
    (1, 1),
    {"positive": True, "negative": True},
    _samples_isinf,
    "True where the element is an infinity of a sign that is asked for.",
)
_GELU = Op(
    "gelu",
    Kind.ELEMENTWISE,
    _infer_gelu,
    elementwise_ref(_ref_gelu),
    elementwise_compute(_compute_gelu),
    (1, 1),
    {"approximate": "none"},
    _samples_gelu,
    'x times the normal distribution function of x; approximate="tanh" is the usual approximation.',
)
_CAST = Op(
    "cast",
    Kind.ELEMENTWISE,
    _infer_cast,
    _ref_cast,
    _compute_cast,
    (1, 1),
    {"to": REQUIRED},
    _samples_cast,
    "Another element type: floats are cut off towards zero, integers wrap around, bool is x != 0.",
)

ROWS: tuple[Op, ...] = (
    _unary("neg", (*FLOATS, *SIGNED), np.negative, "-x.", lambda b, x, dtype: -x),
    _unary("abs", NUMERIC, np.abs, "|x|."),
    _unary("exp", FLOATS, np.exp, "The exponential function."),
    _unary("log", FLOATS, np.log, "The natural logarithm.", domain=(0.1, 5.0)),
    _unary("sqrt", FLOATS, np.sqrt, "The square root.", domain=(0.0, 5.0)),
    _unary("rsqrt", FLOATS, lambda x: 1 / np.sqrt(x), "1 / sqrt(x).", domain=(0.1, 5.0)),
    _unary(
        "reciprocal", FLOATS, lambda x: 1 / x, "1 / x.", lambda b, x, dtype: b.const(1, dtype) / x, domain=(0.1, 5.0)
    ),
    _unary("sin", FLOATS, np.sin, "The sine of an angle in radians."),
    _unary("cos", FLOATS, np.cos, "The cosine of an angle in radians."),
    _unary("tan", FLOATS, np.tan, "The tangent of an angle in radians.", domain=(-1.5, 1.5)),
    _unary("asin", FLOATS, np.arcsin, "The angle in radians with this sine.", domain=(-1.0, 1.0)),
    _unary("acos", FLOATS, np.arccos, "The angle in radians with this cosine.", domain=(-1.0, 1.0)),
    _unary("atan", FLOATS, np.arctan, "The angle in radians with this tangent."),
    _unary("sinh", FLOATS, np.sinh, "The hyperbolic sine."),
    _unary("cosh", FLOATS, np.cosh, "The hyperbolic cosine."),
    _unary("asinh", FLOATS, np.arcsinh, "The inverse hyperbolic sine."),
    _unary("acosh", FLOATS, np.arccosh, "The inverse hyperbolic cosine.", domain=(1.0, 5.0)),
    _unary("atanh", FLOATS, np.arctanh, "The inverse hyperbolic tangent.", domain=(-0.9, 0.9)),
    _unary("tanh", FLOATS, np.tanh, "The hyperbolic tangent."),
    _unary("erf", FLOATS, erf, "The error function."),
    _unary("sigmoid", FLOATS, _sigmoid, "1 / (1 + exp(-x))."),
    _unary("rational_sigmoid", ("float32",), rational_sigmoid, "Sigmoid to the last bit as onnxruntime has it."),
    _unary("rational_tanh", ("float32",), rational_tanh, "Hyperbolic tangent to the last bit as onnxruntime has it."),
    _unary("unfused", ("float32",), np.positive, "x rounded to its type before it is added to anything."),
    _unary("floor", FLOATS, np.floor, "The greatest integer that is not greater."),
    _unary("ceil", FLOATS, np.ceil, "The least integer that is not less."),
    _unary("round", FLOATS, np.rint, "The nearest integer; halves go to the even one."),
    _unary("sign", NUMERIC, np.sign, "-1, 0 or 1; NaN for NaN.", _compute_sign),
    _unary("isnan", FLOATS, np.isnan, "True where the element is not a number.", result="bool"),
    _ISINF,
    _unary("logical_not", ("bool",), np.logical_not, "Not x."),
    _unary("bitwise_not", INTEGERS, np.bitwise_not, "Every bit flipped."),
    _GELU,
    _CAST,
)
