"""Support vector machines in the domain ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.ml_scores import transform_of, transformed
from tilewright.ir.graph import Value
from tilewright.ir.op import Array


def kernel(c: Call, x: Value, vectors: Array) -> Value:
    """[N, V]: how alike each row of `x` is to each of the vectors ([V, F])."""
    kind = c.text("kernel_type", "LINEAR")
    gamma, coef0, degree = (*(c.reals("kernel_params") or ()), 0.0, 0.0, 0.0)[:3]
    if kind == "RBF":
        return radial(c, x, vectors, gamma)
    products = c.apply("matmul", x, c.constant(vectors.T.copy()))
    if kind == "LINEAR":
        return products
    moved = c.apply("add", c.apply("mul", products, gamma), coef0)
    if kind == "POLY":
        return c.apply("pow", moved, float(degree))
    if kind == "SIGMOID":
        return c.apply("tanh", moved)
    raise c.malformed(f"has the unknown kernel '{kind}'")


def radial(c: Call, x: Value, vectors: Array, gamma: float) -> Value:
    """exp(-gamma * |x - v|**2), from the differences themselves: products would lose digits where they are small."""
    apart = c.apply("sub", c.reshape(x, (x.shape[0], 1, x.shape[1])), c.constant(vectors))
    distance = c.reduce("sum", c.apply("mul", apart, apart), (2,), keepdims=False)
    return c.apply("exp", c.apply("mul", distance, -gamma))


def floats(c: Call, name: str) -> Sequence[float]:
    values: Sequence[float] = c.required(c.reals(name), name)
    return values


def regressor(c: Call) -> Value:
    """A weighted sum of kernels, or where there are no support vectors, of the features."""
    x, coefficients = c.cast(c[0], "float32"), np.array(floats(c, "coefficients"), np.float32).reshape(-1, 1)
    count = c.integer("n_supports", 0)
    if count > 0:
        x = kernel(c, x, np.array(floats(c, "support_vectors"), np.float32).reshape(count, -1))
    scores = c.apply("add", c.apply("matmul", x, c.constant(coefficients)), float(floats(c, "rho")[0]))
    if c.flag("one_class"):
        inside, outside = (c.constant(number, "float32") for number in (1.0, -1.0))
        return c.apply("where", c.apply("greater", scores, 0.0), inside, outside)
    return transformed(c, scores, transform_of(c))


DOMAIN = "ai.onnx.ml"
TABLE = {f"{DOMAIN}.SVMRegressor": regressor}
