"""The functions that recurrent cells apply to their gates, in numpy.

Names, formulas and defaults are those of ONNX's LSTM; `alpha` and `beta` are ignored by the functions without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tilewright.ir.op import Array

Function = Callable[[Array, float, float], Array]


@dataclass(frozen=True)
class Activation:
    """`function(x, alpha, beta)`. The defaults are None where the function has no such parameter."""

    function: Function
    alpha: float | None = None
    beta: float | None = None


def _sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.exp(-np.logaddexp(0.0, -x))


def _leaky_relu(x: Array, alpha: float, beta: float) -> Array:
    return np.where(x >= 0, x, alpha * x)


def _thresholded_relu(x: Array, alpha: float, beta: float) -> Array:
    return np.where(x >= alpha, x, 0.0)


def _hard_sigmoid(x: Array, alpha: float, beta: float) -> Array:
    return np.clip(alpha * x + beta, 0.0, 1.0)


def _elu(x: Array, alpha: float, beta: float) -> Array:
    return np.where(x >= 0, x, alpha * np.expm1(x))


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(_sigmoid),
    "tanh": Activation(lambda x, alpha, beta: np.tanh(x)),
    "relu": Activation(lambda x, alpha, beta: np.maximum(x, 0.0)),
    "affine": Activation(lambda x, alpha, beta: alpha * x + beta, 1.0, 0.0),
    "leaky_relu": Activation(_leaky_relu, 0.01),
    "thresholded_relu": Activation(_thresholded_relu, 1.0),
    "scaled_tanh": Activation(lambda x, alpha, beta: alpha * np.tanh(beta * x), 1.0, 1.0),
    "hard_sigmoid": Activation(_hard_sigmoid, 0.2, 0.5),
    "elu": Activation(_elu, 1.0),
    "softsign": Activation(lambda x, alpha, beta: x / (1.0 + np.abs(x))),
    "softplus": Activation(lambda x, alpha, beta: np.logaddexp(0.0, x)),
}
