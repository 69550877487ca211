"""Negation of conditions that is right for NaN, which TVM's is not."""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels.loops import Expr, dtype_of

_OPPOSITE = {"LT": tirx.GE, "LE": tirx.GT, "GT": tirx.LE, "GE": tirx.LT, "EQ": tirx.NE, "NE": tirx.EQ}


def negated(x: Expr) -> Expr:
    """not x. TVM turns `not a < b` into `a >= b`, which a NaN makes false as well, and its NE is false for a NaN."""
    kind = type(x).__name__
    if kind in ("And", "Or"):
        return (tirx.Or if kind == "And" else tirx.And)(negated(x.a), negated(x.b))
    if kind not in _OPPOSITE or "float" not in dtype_of(x.a):
        return tirx.Not(x)
    return tirx.Or(_OPPOSITE[kind](x.a, x.b), tirx.Or(tirx.isnan(x.a), tirx.isnan(x.b)))
