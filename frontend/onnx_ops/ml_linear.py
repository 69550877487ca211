"""Linear models in the domain ai.onnx.ml."""

from __future__ import annotations

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.ml_scores import (
    best_label,
    integer_labels,
    transform_of,
    transformed,
    two_labels,
    two_scores,
)
from tilewright.ir.graph import Value


def linear(c: Call, width: int) -> Value:
    """[N, width] scores in float32: a product with the coefficients ([width, F]), and the intercepts."""
    x = c.cast(c[0], "float32")
    rows = x if x.rank == 2 else c.reshape(x, (1, *x.shape))
    coefficients = np.array(c.required(c.reals("coefficients"), "coefficients"), np.float32)
    if width < 1 or len(coefficients) % width:
        raise c.malformed(f"has {len(coefficients)} coefficients for {width} results")
    scores = c.apply("matmul", rows, c.constant(coefficients.reshape(width, -1).T.copy()))
    intercepts = c.reals("intercepts")
    return scores if not intercepts else c.apply("add", scores, c.constant(intercepts, "float32"))


def regressor(c: Call) -> Value:
    return transformed(c, linear(c, c.integer("targets", 1)), transform_of(c))


def classifier(c: Call) -> tuple[Value, Value]:
    """Labels and scores; with one score for two classes, its sign decides."""
    labels, transform = integer_labels(c, "classlabels_ints"), transform_of(c)
    width = len(c.reals("intercepts") or labels)
    scores = linear(c, width)
    if width > 1:
        return best_label(c, scores, labels), transformed(c, scores, transform)
    if len(labels) != 2:
        raise c.malformed(f"has {len(labels)} labels for one score")
    label = two_labels(c, c.apply("greater", scores, 0.0), labels)
    return label, two_scores(c, scores, transform, shares=True)


DOMAIN = "ai.onnx.ml"
TABLE = {f"{DOMAIN}.LinearClassifier": classifier, f"{DOMAIN}.LinearRegressor": regressor}
