"""Arithmetic, comparison and logic."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from tilewright.frontend.onnx_ops.before_7 import second_operand
from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS, HELD


def same(name: str, inputs: int) -> Callable[[Call], Value]:
    """The operator of the IR that means the same."""
    return lambda c: c.apply(name, *(c[i] for i in range(inputs)))


def binary(name: str) -> Callable[[Call], Value]:
    return lambda c: c.apply(name, c[0], second_operand(c))


def folded(name: str) -> Callable[[Call], Value]:
    """A variadic operator as a chain of binary ones."""
    return lambda c: reduce(lambda a, b: c.apply(name, a, b), c.variadic())


def mean(c: Call) -> Value:
    values = c.variadic()
    return c.apply("mul", reduce(lambda a, b: c.apply("add", a, b), values), 1 / len(values))


def power(c: Call) -> Value:
    """The result has the element type of the base."""
    base, exponent = c[0], second_operand(c)
    if base.dtype in FLOATS or exponent.dtype not in FLOATS:
        return c.apply("pow", base, c.cast(exponent, base.dtype))
    return c.cast(c.apply("pow", c.cast(base, exponent.dtype), exponent), base.dtype)


def modulo(c: Call) -> Value:
    return c.apply("mod", c[0], c[1], fmod=c.flag("fmod"))


def shift(c: Call) -> Value:
    direction = c.text("direction", "")
    if direction not in ("LEFT", "RIGHT"):
        raise c.malformed(f"has the direction '{direction}', not LEFT or RIGHT")
    return c.apply(f"shift_{direction.lower()}", c[0], c[1])


def is_inf(c: Call) -> Value:
    return c.apply("isinf", c[0], positive=c.flag("detect_positive", True), negative=c.flag("detect_negative", True))


def cast(c: Call) -> Value:
    return converted(c, c.dtype("to"))


def converted(c: Call, dtype: str) -> Value:
    """Texts and narrow numbers are left to onnx's evaluator: how they round and saturate has rules of its own."""
    if c[0].dtype != dtype and (c[0].dtype in HELD or dtype in HELD):
        raise c.unsupported(f"converts {c[0].dtype} to {dtype}, which no kernel does")
    return c.cast(c[0], dtype)


def bit_cast(c: Call) -> Value:
    return c.apply("bitcast", c[0], to=c.dtype("to"))


def cast_like(c: Call) -> Value:
    return converted(c, c[1].dtype)


def clip(c: Call) -> Value:
    """Bounds are attributes before opset 11, then inputs; either may be missing."""
    x = c[0]
    low = c.optional(1) or (c.real("min", 0.0) if c.has("min") else None)
    high = c.optional(2) or (c.real("max", 0.0) if c.has("max") else None)
    if low is not None:
        x = c.apply("maximum", x, low)
    return x if high is None else c.apply("minimum", x, high)


def identity(c: Call) -> Value:
    return c[0]


def optional(c: Call) -> Value:
    """An optional sequence is the sequence; all else is left to onnx's evaluator."""
    x = c.optional(0)
    if x is None or x.dtype != "object":
        raise c.unsupported("makes an optional tensor, which no kernel does")
    return x


def optional_element(c: Call) -> Value:
    """A tensor is its own element."""
    if c[0].dtype == "object":
        raise c.unsupported("takes the element of an optional, which no kernel does")
    return c[0]


def optional_is_there(c: Call) -> Value:
    x = c.optional(0)
    if x is not None and x.dtype == "object":
        raise c.unsupported("looks into an optional, which no kernel does")
    return c.constant(x is not None)


UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Acosh": "acosh",
    "Asin": "asin",
    "Asinh": "asinh",
    "Atan": "atan",
    "Atanh": "atanh",
    "BitwiseNot": "bitwise_not",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Erf": "erf",
    "Exp": "exp",
    "Floor": "floor",
    "IsNaN": "isnan",
    "Log": "log",
    "Neg": "neg",
    "Not": "logical_not",
    "Reciprocal": "reciprocal",
    "Round": "round",
    "Sigmoid": "sigmoid",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
    "Tanh": "tanh",
}
BINARY = {
    "Add": "add",
    "And": "logical_and",
    "BitwiseAnd": "bitwise_and",
    "BitwiseOr": "bitwise_or",
    "BitwiseXor": "bitwise_xor",
    "Div": "div",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "mul",
    "Or": "logical_or",
    "Sub": "sub",
    "Xor": "logical_xor",
}
TABLE = {
    **{name: same(row, 1) for name, row in UNARY.items()},
    **{name: binary(row) for name, row in BINARY.items()},
    "BitCast": bit_cast,
    "BitShift": shift,
    "Cast": cast,
    "CastLike": cast_like,
    "Clip": clip,
    "Identity": identity,
    "IsInf": is_inf,
    "Max": folded("maximum"),
    "Mean": mean,
    "Min": folded("minimum"),
    "Mod": modulo,
    "Optional": optional,
    "OptionalGetElement": optional_element,
    "OptionalHasElement": optional_is_there,
    "Pow": power,
    "Sum": folded("add"),
    "Where": same("where", 3),
}
