"""Sigmoid and tanh as onnxruntime computes them in float32: odd rational functions whose multiply-adds round once.

Their errors are absolute, so that a sigmoid near 0 has few digits or none. They are for what is rounded to 8 bits next,
where a value between two steps goes the way of onnxruntime's only if its last bit does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.ir.op import Array


@dataclass(frozen=True)
class Rational:
    """x * p(x**2) / q(x**2), where x is first brought to at most `limit` in size; the highest powers come first."""

    limit: float
    numerator: tuple[float, ...]
    denominator: tuple[float, ...]


SIGMOID = Rational(
    18.0,
    (4.37031012579801e-11, 1.15627324459942e-07, 6.08574864600143e-05, 8.51377133304701e-03, 2.48287947061529e-01),
    (
        6.10247389755681e-13, 5.76102136993427e-09, 6.29106785017040e-06, 1.70198817374094e-03, 1.16817656904453e-01,
        9.93151921023180e-01,
    ),
)  # fmt: skip
"""Sigmoid less 1/2."""

TANH = Rational(
    9.0,
    (
        -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11, 5.12229709037114e-08, 1.48572235717979e-05,
        6.37261928875436e-04, 4.89352455891786e-03,
    ),
    (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03),
)  # fmt: skip


def rational_sigmoid(x: Array) -> Array:
    """1 / (1 + e**-x) in float32, absolute error under 1.7e-7."""
    return np.asarray(np.maximum(_ratio(x, SIGMOID) + np.float32(0.5), np.float32(0)))


def rational_tanh(x: Array) -> Array:
    """Hyperbolic tangent in float32, absolute error under 3.3e-7."""
    return _ratio(x, TANH)


def _ratio(x: Array, function: Rational) -> Array:
    x = np.clip(x, np.float32(-function.limit), np.float32(function.limit))
    square = x * x
    return np.asarray(_polynomial(square, function.numerator) * x / _polynomial(square, function.denominator))


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    """Horner's scheme. The product of two float32 is exact in float64, so that each sum is all but rounded once."""
    wide, *rest = np.array(coefficients, np.float32).astype(np.float64)
    result = np.full_like(x, wide)
    for c in rest:
        result = (result * x.astype(np.float64) + c).astype(np.float32)
    return result
