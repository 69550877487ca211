"""The activations of recurrent cells as short programs, each statement of which is a loop of its own.

TVM takes minutes over one long function inside another, and puts variables back in place: what lies between two
functions goes through memory.
"""

from __future__ import annotations

from collections.abc import Callable

from tilewright.backends.kernels import vmath
from tilewright.backends.kernels.loops import Expr
from tilewright.backends.kernels.scalars import Scalars

Formula = Callable[[Scalars, Expr, Expr, float, float], Expr]
Program = tuple[tuple[str, Formula], ...]


def _set_x(*formulas: Formula) -> Program:
    return tuple(("x", formula) for formula in formulas)


# `target = formula(b, x, t, alpha, beta)`, for the element x and a spare element t.
PROGRAMS: dict[str, Program] = {
    "sigmoid": _set_x(lambda b, x, t, alpha, beta: b.sigmoid(x)),
    "tanh": _set_x(lambda b, x, t, alpha, beta: b.tanh(x)),
    "relu": _set_x(lambda b, x, t, alpha, beta: b.maximum(x, 0.0)),
    "affine": _set_x(lambda b, x, t, alpha, beta: x * alpha + beta),
    "leaky_relu": _set_x(lambda b, x, t, alpha, beta: b.select(x >= 0.0, x, x * alpha)),
    "thresholded_relu": _set_x(lambda b, x, t, alpha, beta: b.select(x >= alpha, x, 0.0)),
    "scaled_tanh": _set_x(
        lambda b, x, t, alpha, beta: x * beta,
        lambda b, x, t, alpha, beta: b.tanh(x),
        lambda b, x, t, alpha, beta: x * alpha,
    ),
    "hard_sigmoid": _set_x(
        lambda b, x, t, alpha, beta: x * alpha + beta,
        lambda b, x, t, alpha, beta: b.maximum(x, 0.0),
        lambda b, x, t, alpha, beta: b.minimum(x, 1.0),
    ),
    "elu": (
        ("t", lambda b, x, t, alpha, beta: b.exp(x)),
        ("x", lambda b, x, t, alpha, beta: b.select(x >= 0.0, x, (t - 1.0) * alpha)),
    ),
    "softsign": _set_x(lambda b, x, t, alpha, beta: x / (b.abs(x) + 1.0)),
    "softplus": (  # max(x, 0) + log(1 + e**-|x|), which cannot overflow
        ("t", lambda b, x, t, alpha, beta: b.exp(-b.abs(x))),
        ("t", lambda b, x, t, alpha, beta: b.log(t + 1.0)),
        ("x", lambda b, x, t, alpha, beta: b.maximum(x, 0.0) + t),
    ),
}

# The same where results are rounded to 8 bits next.
RATIONAL_PROGRAMS: dict[str, Program] = {
    **PROGRAMS,
    "sigmoid": _set_x(lambda b, x, t, alpha, beta: vmath.rational_sigmoid(x)),
    "tanh": _set_x(lambda b, x, t, alpha, beta: vmath.rational_tanh(x)),
}
