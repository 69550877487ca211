"""Elementary functions on float32 from TIR arithmetic alone, so that LLVM vectorises them.

All hold over the whole float range: NaN gives NaN, overflow gives inf, underflow goes through the denormals to 0 (but
for `exp_or_zero` and `sigmoid`, which say so). Each states its largest error in ulp (units in the last place of the
exact result), which assumes fused multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from tvm import tirx

from tilewright.backends.kernels.loops import Expr, const, dtype_of
from tilewright.ir.ops.rational import SIGMOID, TANH, Rational

_ROUND = 12582912.0  # 1.5 * 2**23: adding it rounds to an integer, which is then in the low bits
_ROUND_BITS = 0x4B400000
_BIAS = 127  # of the exponents of float32


def exp(x: Expr) -> Expr:
    """e**x, error under 1.1 ulp. Polynomial of Cephes expf; 2**n in two factors, for denormal results."""

    def scaled(rounded: Expr, fraction: Expr) -> Expr:
        def in_halves(n: Expr) -> Expr:
            half = n >> 1
            return fraction * _power_of_two(half) * _power_of_two(n - half)

        return named(_bits(rounded) - _int(_ROUND_BITS), in_halves)

    return named(_clamped(x, -104.0, 89.0), lambda v: _split_exp(v, 0, scaled))


def exp_or_zero(x: Expr) -> Expr:
    """e**x for x < 88, and 0 for x < -87: for weights that are summed up, where denormals would only cost time."""
    return named(x, lambda v: tirx.Select(v < _float(-87.0), _float(0.0), _small_exp(v)))


def _small_exp(x: Expr) -> Expr:
    """e**x for -87 <= x <= 88.3 only."""
    return _split_exp(x, _BIAS, lambda rounded, fraction: fraction * _from_bits(_bits(rounded) << 23))


def _split_exp(x: Expr, bias: int, scaled: Callable[[Expr, Expr], Expr]) -> Expr:
    """e**x = 2**n * e**r with |r| <= ln(2) / 2; `scaled` puts them together, given the float _ROUND + bias + n."""
    coefficients = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)

    def from_rounded(rounded: Expr) -> Expr:
        n = rounded - _float(_ROUND + bias)
        return named(x - n * _float(0.693359375) + n * _float(2.12194440e-4), lambda r: fraction(rounded, r))

    def fraction(rounded: Expr, r: Expr) -> Expr:
        return scaled(rounded, _polynomial(r, coefficients) * (r * r) + r + _float(1.0))

    return named(x * _float(1.44269504088896341) + _float(_ROUND + bias), from_rounded)


def log(x: Expr) -> Expr:
    """Natural logarithm, error under 1 ulp; NaN below 0, -inf at 0. Method of FreeBSD's e_logf.c."""
    return named(x, lambda v: tirx.Select(_ordinary(v), _log_positive(v), _log_special(v)))


def _ordinary(x: Expr) -> Expr:
    return tirx.all(x > _float(0.0), x < tirx.infinity("float32"))


def _log_special(x: Expr) -> Expr:
    """log of 0, negative numbers, inf and NaN: -inf, NaN, inf, NaN."""
    infinity = tirx.infinity("float32")
    return tirx.Select(x == _float(0.0), -infinity, tirx.Select(x < _float(0.0), infinity - infinity, x))


def _log_positive(x: Expr) -> Expr:
    """log(2**k * m) = k ln 2 + log(m) with m in [sqrt(1/2), sqrt(2)); denormals are scaled up first."""
    denormal = x < _float(1.17549435e-38)
    bits = _bits(tirx.Select(denormal, x * _float(2.0**25), x)) + _int(0x3F800000 - 0x3F3504F3)
    bias = tirx.Select(denormal, _float(127.0 + 25.0), _float(127.0))

    def reduced(bits: Expr) -> Expr:
        k = tirx.Cast("float32", bits >> 23) - bias
        m = _from_bits((bits & _int(0x007FFFFF)) + _int(0x3F3504F3))
        return named(k, lambda k: named(m - _float(1.0), lambda f: _log_reduced(k, f)))

    return named(bits, reduced)


def _log_reduced(k: Expr, f: Expr) -> Expr:
    """k ln 2 + log(1 + f)."""
    coefficients = (0.24279078841, 0.28498786688, 0.40000972152, 0.66666662693)
    half_square = _float(0.5) * f * f

    def combine(s: Expr) -> Expr:
        series = named(s * s, lambda z: z * _polynomial(z, coefficients))
        low = s * (half_square + series) + k * _float(9.0580006145e-06)
        return low - half_square + f + k * _float(6.9313812256e-01)

    return named(f / (_float(2.0) + f), combine)


def tanh(x: Expr) -> Expr:
    """Hyperbolic tangent, error under 2 ulp. Cephes tanhf: odd polynomial below 0.625, else 1 - 2 / (e**2|x| + 1)."""
    coefficients = (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1)

    def both(v: Expr, size: Expr) -> Expr:
        near = named(v * v, lambda z: _polynomial(z, coefficients) * z * v + v)
        far = _float(1.0) - _float(2.0) / (_small_exp(_below(size * _float(2.0), 40.0)) + _float(1.0))
        return tirx.Select(size < _float(0.625), near, _with_sign(far, v))

    return named(x, lambda v: named(tirx.abs(v), lambda size: both(v, size)))


def erf(x: Expr) -> Expr:
    """Error function, error under 2 ulp. Polynomials of N. Juffa: below 475/512 odd in x, else 1 - e**p(|x|)."""
    near = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
    far = (-1.72853470e-5, 3.83197126e-4, -3.88396438e-3, 2.42546219e-2, -1.06777877e-1, -6.34846687e-1, -1.28717512e-1)

    def both(v: Expr, size: Expr) -> Expr:
        inner = named(v * v, lambda z: _polynomial(z, near) * v + v)
        outer = named(_below(size, 4.0), lambda t: _float(1.0) - _small_exp(_polynomial(t, far) * t - t))
        return tirx.Select(size <= _float(475 / 512), inner, _with_sign(outer, v))

    return named(x, lambda v: named(tirx.abs(v), lambda size: both(v, size)))


def gelu(x: Expr) -> Expr:
    """x times the normal distribution function of x: relative error under 3e-6 above -5, absolute under 1e-7 below.

    max(x, 0) - |x| * h, where h = erfc(|x| / sqrt(2)) / 2 is e to a polynomial in |x|, fitted to [0, 6]: nothing
    cancels. Beyond, the polynomial falls faster than the logarithm of h.
    """
    coefficients = (
        -1.0161318897417004e-08, 3.3329843063256703e-07, -4.663811978389276e-06, 3.4977096220245585e-05,
        -1.2801728735212237e-04, -1.4642439782619476e-04, 5.009885411709547e-03, -3.649534285068512e-02,
        -3.1825318932533264e-01, -7.978923916816711e-01, -6.931470036506653e-01,
    )  # fmt: skip

    def apart(v: Expr, size: Expr) -> Expr:
        tail = exp_or_zero(_polynomial(size, coefficients))
        positive = tirx.Select(v < _float(0.0), _float(0.0), v)
        return positive - tirx.Select(v > _float(50.0), _float(50.0), size) * tail

    return named(x, lambda v: named(tirx.abs(v), lambda size: apart(v, size)))


def sigmoid(x: Expr) -> Expr:
    """1 / (1 + e**-x), error under 3 ulp from -87 on; below, where it is under 1.7e-38, 0: denormals only cost time."""

    def ratio(v: Expr) -> Expr:
        power = _small_exp(_clamped(_float(0.0) - v, -87.0, 87.0))
        return tirx.Select(v < _float(-87.0), _float(0.0), _float(1.0) / (_float(1.0) + power))

    return named(x, ratio)


def rational_sigmoid(x: Expr) -> Expr:
    """The sigmoid of `ir.ops.rational`, to the bit where the processor has fused multiply-adds."""
    return named(_ratio(x, SIGMOID) + _float(0.5), lambda v: tirx.Select(v < _float(0.0), _float(0.0), v))


def rational_tanh(x: Expr) -> Expr:
    """The hyperbolic tangent of `ir.ops.rational`, likewise."""
    return _ratio(x, TANH)


def _ratio(x: Expr, function: Rational) -> Expr:
    def ratio(v: Expr, square: Expr) -> Expr:
        above, below = (_fused_polynomial(square, c) for c in (function.numerator, function.denominator))
        return above * v / below

    return named(_clamped(x, -function.limit, function.limit), lambda v: named(v * v, lambda square: ratio(v, square)))


def unfused(product: Expr) -> Expr:
    """`product` rounded to its type: LLVM makes no multiply-add of it and the sum that it goes into."""
    return tirx.call_llvm_pure_intrin(dtype_of(product), "llvm.arithmetic.fence", product)


def divided(x: Expr, by: float) -> Expr:
    """x / by, where `has_quick_quotient(by)`: a product and a multiply-add, where a division takes ten times as long.

    With 1 / by = high + low, the product is x * high + x * low ("Accelerating Correctly Rounded Floating-Point Division
    When the Divisor Is Known in Advance", Brisebarre, Muller, Raina, 2004). Before it is rounded it is wrong by 2**-46:
    what has a quotient in float32 gives that, and hardly anything another neighbour of its quotient. `high` is the
    nearer to 0, so that both terms have the same sign, also of zeros and infinities. Quotients below 1e-30 may be wrong
    by one unit in the last place.
    """
    high, low = _reciprocal(by)
    return named(x, lambda x: tirx.call_llvm_pure_intrin("float32", "llvm.fma", x, _float(high), x * _float(low)))


def has_quick_quotient(by: float) -> bool:
    """Whether `divided` may divide by a constant. By powers of two LLVM multiplies, too."""
    return 2.0**-60 < abs(by) < 2.0**60 and _reciprocal(by)[1] != 0


def _reciprocal(number: float) -> tuple[float, float]:
    """1 / number for the nearest float32, as the sum of one that is not greater, and one that is small."""
    exact = 1 / Fraction(float(np.float32(number)))
    high = np.float32(float(exact))
    if abs(Fraction(float(high))) > abs(exact):
        high = np.nextafter(high, np.float32(0))
    return float(high), float(np.float32(float(exact - Fraction(float(high)))))


def named(value: Expr, body: Callable[[Expr], Expr]) -> Expr:
    """`body(v)` with v = value computed once: uses of a Python variable would repeat the whole expression."""
    if isinstance(value, tirx.Var | tirx.FloatImm | tirx.IntImm):
        return body(value)
    var = tirx.Var("t", value.ty)
    return tirx.Let(var, value, body(var))


def _polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's scheme, highest power first."""
    result = _float(coefficients[0])
    for c in coefficients[1:]:
        result = result * x + _float(c)
    return result


def _fused_polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """The same in multiply-adds that round once, or twice where the processor has none."""
    result = _float(coefficients[0])
    for c in coefficients[1:]:
        result = tirx.call_llvm_pure_intrin("float32", "llvm.fmuladd", result, x, _float(c))
    return result


def _clamped(x: Expr, low: float, high: float) -> Expr:
    """x within [low, high]; NaN stays NaN."""
    return named(x, lambda v: _below(tirx.Select(v < _float(low), _float(low), v), high))


def _below(x: Expr, high: float) -> Expr:
    """min(x, high); NaN stays NaN."""
    return named(x, lambda v: tirx.Select(v > _float(high), _float(high), v))


def _power_of_two(n: Expr) -> Expr:
    """2**n for an int32 n in [-126, 127]."""
    return _from_bits((n + _int(_BIAS)) << 23)


def _with_sign(size: Expr, x: Expr) -> Expr:
    """`size` (not negative) with the sign of x."""
    return _from_bits(_bits(size) | (_bits(x) & _int(-(2**31))))


def _bits(x: Expr) -> Expr:
    return tirx.reinterpret("int32", x)


def _from_bits(x: Expr) -> Expr:
    return tirx.reinterpret("float32", x)


def _float(value: float) -> Expr:
    return const(value, "float32")


def _int(value: int) -> Expr:
    return const(value, "int32")
