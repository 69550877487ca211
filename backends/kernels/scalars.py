"""Operations on scalar expressions, with numpy's meaning: NaN propagates, and rounding is half to even."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from tvm import tirx

from tilewright.backends.kernels import bfloat16, vmath
from tilewright.backends.kernels.logic import is_nan, negated
from tilewright.backends.kernels.loops import Expr, const, dtype_of, index

Scalar = Expr | bool | int | float


class Scalars:
    """The scalar half of the namespace `b`. Operands have one dtype; at most one may be a Python number.

    `fuses`: whether the machine multiplies and adds in one instruction.
    """

    def __init__(self, *, fuses: bool = False) -> None:
        self.fuses = fuses

    # Making and converting

    def const(self, value: float, dtype: str) -> Expr:
        """An immediate."""
        return const(value, dtype)

    def dtype_of(self, x: Expr) -> str:
        """The dtype of a scalar expression."""
        return dtype_of(x)

    def cast(self, x: Scalar, dtype: str) -> Expr:
        """x converted: floats to integers toward zero, numbers to bool by x != 0."""
        if isinstance(x, bool | int | float):
            return const(x, dtype)
        if dtype_of(x) == dtype:
            return x
        if isinstance(x, tirx.FloatImm) and "float" in dtype:  # TVM's analysis fails on a constant in two forms
            return const(x.value, dtype)
        if dtype_of(x) == "bfloat16":
            return self.cast(bfloat16.widened(x), dtype)
        if dtype == "bfloat16":
            return bfloat16.narrowed(self.cast(x, "float32"))
        return self.not_equal(x, 0) if dtype == "bool" else tirx.Cast(dtype, x)

    def reinterpret(self, x: Expr, dtype: str) -> Expr:
        """The same bits as another dtype of the same width. Any byte but zero is true."""
        if "bool" in (dtype_of(x), dtype):
            return self.cast(x, dtype)
        return x if dtype_of(x) == dtype else tirx.reinterpret(dtype, x)

    _held_clock: Expr = None

    def clock(self) -> Expr:
        """The processor's cycle counter, as int64: another number whenever it is read, unless a rule holds one."""
        return tirx.call_llvm_intrin("int64", "llvm.readcyclecounter") if self._held_clock is None else self._held_clock

    def hold_clock(self, value: Expr) -> None:
        """From now on `clock` gives this number."""
        self._held_clock = value

    # Logic and choice

    def equal(self, x: Scalar, y: Scalar) -> Expr:
        a, b = _pair(x, y)
        return negated(self.logical_xor(a, b)) if dtype_of(a) == "bool" else tirx.EQ(a, b)

    def not_equal(self, x: Scalar, y: Scalar) -> Expr:
        return negated(self.equal(x, y))

    def logical_and(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.And(_condition(x), _condition(y))

    def logical_or(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.Or(_condition(x), _condition(y))

    def logical_xor(self, x: Scalar, y: Scalar) -> Expr:
        a, b = _condition(x), _condition(y)
        return tirx.Or(tirx.And(a, negated(b)), tirx.And(negated(a), b))  # TVM compares bools as floats

    def logical_not(self, x: Scalar) -> Expr:
        return negated(_condition(x))

    def select(self, condition: Scalar, x: Scalar, y: Scalar) -> Expr:
        """x or y, both of which may be computed."""
        return tirx.Select(_condition(condition), *_pair(x, y))

    def guard(self, condition: Scalar, then: Callable[[], Scalar], other: Scalar) -> Expr:
        """`then()` if the condition holds, which is what makes it safe to compute; else `other`."""
        return tirx.if_then_else(_condition(condition), *_pair(then(), other))

    # Arithmetic

    def minimum(self, x: Scalar, y: Scalar) -> Expr:
        """The smaller; NaN if either is."""
        return _extreme(x, y, tirx.min, lambda a, b: a < b)

    def maximum(self, x: Scalar, y: Scalar) -> Expr:
        """The greater; NaN if either is."""
        return _extreme(x, y, tirx.max, lambda a, b: a > b)

    def divide(self, x: Scalar, y: Scalar) -> Expr:
        """x / y of floats."""
        a, b = _pair(x, y)
        quick = self.fuses and dtype_of(a) == "float32" and isinstance(b, tirx.FloatImm)
        return vmath.divided(a, b.value) if quick and vmath.has_quick_quotient(b.value) else a / b

    def floordiv(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.floordiv(*_pair(x, y))

    def floormod(self, x: Scalar, y: Scalar) -> Expr:
        """The remainder with the sign of y."""
        a, b = _pair(x, y)
        if not _is_float(a):
            return tirx.floormod(a, b)
        rest = _fmod(a, b)
        return vmath.named(rest, lambda rest: tirx.Select(rest * b < 0.0, rest + b, rest))

    def truncdiv(self, x: Scalar, y: Scalar) -> Expr:
        """Integer division toward zero."""
        return tirx.truncdiv(*_pair(x, y))

    def truncmod(self, x: Scalar, y: Scalar) -> Expr:
        """The remainder with the sign of x."""
        a, b = _pair(x, y)
        return _fmod(a, b) if _is_float(a) else tirx.truncmod(a, b)

    fmod = truncmod

    def pow(self, x: Scalar, y: Scalar) -> Expr:
        """x ** y; small integer powers are products."""
        a, b = _pair(x, y)
        power = getattr(b, "value", None)
        if power in (1, 2, 3, 4):
            return vmath.named(a, lambda v: math.prod([v] * (int(power) - 1), start=v))
        return self.sqrt(a) if power == 0.5 and _is_float(a) else tirx.pow(a, b)

    def neg(self, x: Expr) -> Expr:
        return -x

    def abs(self, x: Expr) -> Expr:
        return tirx.abs(x)

    def sqrt(self, x: Expr) -> Expr:
        return tirx.sqrt(x)

    def rsqrt(self, x: Expr) -> Expr:
        return _like(1, x) / tirx.sqrt(x)

    def reciprocal(self, x: Expr) -> Expr:
        return _like(1, x) / x

    # Rounding and tests

    def floor(self, x: Expr) -> Expr:
        return tirx.floor(x)

    def ceil(self, x: Expr) -> Expr:
        return tirx.ceil(x)

    def trunc(self, x: Expr) -> Expr:
        return tirx.trunc(x)

    def round(self, x: Expr) -> Expr:
        """To the nearest integer, halves to the even one."""
        if dtype_of(x) == "bfloat16":
            return tirx.nearbyint(x)
        return tirx.call_llvm_pure_intrin(dtype_of(x), "llvm.nearbyint", x)  # TVM makes no vectors of its nearbyint

    def isnan(self, x: Expr) -> Expr:
        return is_nan(x)

    def isinf(self, x: Expr) -> Expr:
        return tirx.EQ(tirx.abs(x), _infinity(x))

    # Elementary functions: vector code in float32, the C library in float64

    def exp(self, x: Expr) -> Expr:
        return _single(x, vmath.exp, tirx.exp)

    def exp_or_zero(self, x: Expr) -> Expr:
        """e**x, which in float32 may be 0 where it is less than e**-87: for weights that are summed up."""
        return _single(x, vmath.exp_or_zero, tirx.exp)

    def log(self, x: Expr) -> Expr:
        return _single(x, vmath.log, tirx.log)

    def tanh(self, x: Expr) -> Expr:
        return _single(x, vmath.tanh, tirx.tanh)

    def erf(self, x: Expr) -> Expr:
        return _single(x, vmath.erf, lambda v: tirx.call_pure_extern("float64", "erf", v))

    def gelu(self, x: Expr) -> Expr:
        """x times the normal distribution function of x."""
        return _single(x, vmath.gelu, lambda v: 0.5 * v * (1.0 + self.erf(v * math.sqrt(0.5))))

    def sigmoid(self, x: Expr) -> Expr:
        return _single(x, vmath.sigmoid, lambda v: 1.0 / (1.0 + tirx.exp(-v)))

    def rational_sigmoid(self, x: Expr) -> Expr:
        return vmath.rational_sigmoid(x)

    def rational_tanh(self, x: Expr) -> Expr:
        return vmath.rational_tanh(x)

    def unfused(self, x: Expr) -> Expr:
        """x, of which no multiply-add with what comes next is made."""
        return vmath.unfused(x)

    def sin(self, x: Expr) -> Expr:
        return tirx.sin(x)

    def cos(self, x: Expr) -> Expr:
        return tirx.cos(x)

    def tan(self, x: Expr) -> Expr:
        return tirx.tan(x)

    def asin(self, x: Expr) -> Expr:
        return tirx.asin(x)

    def acos(self, x: Expr) -> Expr:
        return tirx.acos(x)

    def atan(self, x: Expr) -> Expr:
        return tirx.atan(x)

    def sinh(self, x: Expr) -> Expr:
        return _library("sinh", x)

    def cosh(self, x: Expr) -> Expr:
        return _library("cosh", x)

    def asinh(self, x: Expr) -> Expr:
        return tirx.asinh(x)

    def acosh(self, x: Expr) -> Expr:
        return tirx.acosh(x)

    def atanh(self, x: Expr) -> Expr:
        return tirx.atanh(x)

    # Bits

    def bitwise_and(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.bitwise_and(*_pair(x, y))

    def bitwise_or(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.bitwise_or(*_pair(x, y))

    def bitwise_xor(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.bitwise_xor(*_pair(x, y))

    def bitwise_not(self, x: Expr) -> Expr:
        return tirx.bitwise_not(x)

    def shift_left(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.shift_left(*_pair(x, y))

    def shift_right(self, x: Scalar, y: Scalar) -> Expr:
        return tirx.shift_right(*_pair(x, y))

    # Folds

    @property
    def folds(self) -> Mapping[str, Callable[[Expr, Expr], Expr]]:
        """How each kind of reduction combines two values."""
        return {
            "sum": lambda x, y: x + y,
            "prod": lambda x, y: x * y,
            "max": self.maximum,
            "min": self.minimum,
            "any": self.logical_or,
            "all": self.logical_and,
        }

    def identity(self, kind: str, dtype: str) -> Expr:
        """The value that a fold of the given kind starts from."""
        if kind in ("max", "min") and dtype != "bool":
            return _least(dtype) if kind == "max" else _greatest(dtype)
        return const({"sum": 0, "prod": 1, "any": 0, "all": 1, "max": 0, "min": 1}[kind], dtype)

    def better(self, kind: str, new: Expr, best: Expr, or_equal: bool) -> Expr:
        """Whether an arg-reduction moves from `best` to a later `new`; the first NaN (the last, if `or_equal`) wins."""
        more = {"max": (tirx.GT, tirx.GE), "min": (tirx.LT, tirx.LE)}[kind][or_equal](new, best)
        if not _is_float(new):
            return more
        old_is_number = const(True, "bool") if or_equal else tirx.Not(is_nan(best))
        return tirx.Or(tirx.And(more, tirx.Not(is_nan(best))), tirx.And(is_nan(new), old_is_number))


def _pair(x: Scalar, y: Scalar) -> tuple[Expr, Expr]:
    """Both as expressions, a number taking the other's dtype; two numbers are indices."""
    if not isinstance(x, bool | int | float):
        return x, _like(y, x)
    if not isinstance(y, bool | int | float):
        return _like(x, y), y
    return index(int(x)), index(int(y))


def _fmod(a: Expr, b: Expr) -> Expr:
    return _library("fmod", a, b)


def _library(name: str, *operands: Expr) -> Expr:
    """The C library's function: TVM has no code, or none for vectors, for its own."""
    dtype = dtype_of(operands[0])
    return tirx.call_pure_extern(dtype, name if dtype == "float64" else f"{name}f", *operands)


def _like(value: Scalar, x: Expr) -> Expr:
    return const(value, dtype_of(x)) if isinstance(value, bool | int | float) else value


def _condition(x: Scalar) -> Expr:
    return const(x, "bool") if isinstance(x, bool | int | float) else x


def _is_float(x: Expr) -> bool:
    return "float" in dtype_of(x)


def _infinity(x: Expr) -> Expr:
    return const(math.inf, dtype_of(x))


def _least(dtype: str) -> Expr:
    return const(-math.inf, dtype) if "float" in dtype else tirx.min_value(dtype)


def _greatest(dtype: str) -> Expr:
    return const(math.inf, dtype) if "float" in dtype else tirx.max_value(dtype)


def _extreme(x: Scalar, y: Scalar, whole: Callable[..., Expr], first: Callable[[Expr, Expr], Expr]) -> Expr:
    """min or max. `first(a, b)` is false for a NaN, so that b is taken: one machine instruction if a is a number.

    TVM makes no vectors of its isnan, and takes `not x <= y` for `y < x`: hence the comparison with infinity.
    """
    a, b = _pair(x, y)
    if not _is_float(a):
        return whole(a, b)
    if isinstance(b, tirx.FloatImm):
        a, b = b, a
    if isinstance(a, tirx.FloatImm):
        return vmath.named(b, lambda b: tirx.Select(first(a, b), a, b))

    def of_variables(a: Expr, b: Expr) -> Expr:
        return tirx.Select(a <= _infinity(a), tirx.Select(first(a, b), a, b), a)

    return vmath.named(a, lambda a: vmath.named(b, lambda b: of_variables(a, b)))


def _single(x: Expr, single: Callable[[Expr], Expr], double: Callable[[Expr], Expr]) -> Expr:
    """`single` for float32, `double` for float64; the halves are computed in float32."""
    dtype = dtype_of(x)
    if dtype == "float64":
        return double(x)
    return single(x) if dtype == "float32" else tirx.Cast(dtype, single(tirx.Cast("float32", x)))
