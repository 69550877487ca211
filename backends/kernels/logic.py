"""Conditions as vectors need them: negation that is right for NaN, which TVM's is not, and the test for NaN."""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels.loops import Expr, const, dtype_of

_INFINITIES = {"float16": ("int16", 0x7C00), "float32": ("int32", 0x7F800000), "float64": ("int64", 0x7FF << 52)}

_OPPOSITE = {"LT": tirx.GE, "LE": tirx.GT, "GT": tirx.LE, "GE": tirx.LT, "EQ": tirx.NE, "NE": tirx.EQ}


def negated(x: Expr) -> Expr:
    """not x. TVM turns `not a < b` into `a >= b`, which a NaN makes false as well, and its NE is false for a NaN."""
    kind = type(x).__name__
    if kind in ("And", "Or"):
        return (tirx.Or if kind == "And" else tirx.And)(negated(x.a), negated(x.b))
    if kind not in _OPPOSITE or "float" not in dtype_of(x.a):
        return tirx.Not(x)
    return tirx.Or(_OPPOSITE[kind](x.a, x.b), tirx.Or(is_nan(x.a), is_nan(x.b)))


def is_nan(x: Expr) -> Expr:
    """Whether x is NaN, by its bits where it is a float of these widths: TVM makes no vectors of its own isnan."""
    if dtype_of(x) not in _INFINITIES:
        return tirx.isnan(x)
    integer, infinity = _INFINITIES[dtype_of(x)]
    signless = tirx.bitwise_and(tirx.reinterpret(integer, x), tirx.max_value(integer))
    return signless > const(infinity, integer)
