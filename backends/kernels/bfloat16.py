"""bfloat16, the upper half of a float32: conversions by bits, since TVM's own skip what is inside of a Let."""

from __future__ import annotations

from tvm import tirx

from tilewright.backends.kernels import vmath
from tilewright.backends.kernels.logic import is_nan
from tilewright.backends.kernels.loops import Expr, const

_NAN, _HALF = 0x7FC0, 0x7FFF


def widened(x: Expr) -> Expr:
    """A bfloat16 as float32, which is exact. Choices are made among the float32s, or TVM would widen them itself."""
    if isinstance(x, tirx.FloatImm):
        return const(x.value, "float32")
    if isinstance(x, tirx.Select):
        return tirx.Select(x.condition, widened(x.true_value), widened(x.false_value))
    if _is_guarded(x):
        condition, then, other = x.args
        return tirx.if_then_else(condition, widened(then), widened(other))
    return tirx.reinterpret("float32", tirx.Cast("uint32", tirx.reinterpret("uint16", x)) << _bits(16))


def _is_guarded(x: Expr) -> bool:
    return getattr(getattr(x, "op", None), "name", "") == "prim.if_then_else"


def narrowed(x: Expr) -> Expr:
    """A float32 as the nearest bfloat16, halves to the even one; NaN stays NaN."""
    return tirx.reinterpret("bfloat16", vmath.named(x, _rounded))


def _rounded(x: Expr) -> Expr:
    def upper(bits: Expr) -> Expr:
        even = bits >> _bits(16) & _bits(1)
        return tirx.Cast("uint16", bits + _bits(_HALF) + even >> _bits(16))

    number = vmath.named(tirx.reinterpret("uint32", x), upper)
    return tirx.Select(is_nan(x), const(_NAN, "uint16"), number)


def _bits(value: int) -> Expr:
    return const(value, "uint32")
