"""Ensembles of decision trees in the domain ai.onnx.ml."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.ml_nodes import Forest, classic_forest, listed_forest, numbers
from tilewright.frontend.onnx_ops.ml_scores import (
    TRANSFORMS,
    best_label,
    integer_labels,
    transform_of,
    transformed,
    two_labels,
    two_scores,
)
from tilewright.ir.graph import Value
from tilewright.ir.op import Array

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")


def leaves(c: Call, forest: Forest) -> Value:
    """int32[N, T]: the node that each tree ends in."""
    x = c[0] if c[0].dtype in ("float32", "float64") else c.cast(c[0], "float32")
    constants = (c.constant(array) for array in forest.arrays(x.dtype))
    return c.apply("tree_leaves", x, *constants, depth=forest.depth, features=forest.features)


def aggregated(c: Call, forest: Forest, table: Array, aggregate: str, dtype: str) -> Value:
    """[N, C]: the rows of `table` ([nodes, C]) for the leaves, over all trees."""
    if aggregate not in AGGREGATES:
        raise c.malformed(f"has the unknown aggregation '{aggregate}'")
    found = c.apply("gather", c.constant(table, dtype), leaves(c, forest), axis=0)
    if aggregate in ("MIN", "MAX"):
        return c.reduce(aggregate.lower(), found, (1,), keepdims=False)
    total = c.reduce("sum", found, (1,), keepdims=False)
    return total if aggregate == "SUM" else c.apply("div", total, float(len(forest.roots)))


def weight_table(c: Call, nodes: int, aggregate: str, places: Sequence[tuple[int, int, float]], width: int) -> Array:
    """[nodes, width]: weights at (node, target); elsewhere what changes nothing."""
    if nodes * width > 1 << 28:
        raise c.unsupported(f"has {nodes} nodes for {width} targets, which is too many")
    start = {"MIN": np.finfo(np.float32).max, "MAX": np.finfo(np.float32).min}.get(aggregate, 0.0)
    combine: Callable[[float, float], float] = {"MIN": min, "MAX": max}.get(aggregate, operator.add)
    table = np.full((nodes, width), start)
    for node, target, weight in places:
        if not 0 <= target < width:
            raise c.malformed(f"has a weight for target {target} of {width}")
        table[node, target] = combine(table[node, target], weight)
    return table


def classic_places(c: Call, forest: Forest, kind: str) -> list[tuple[int, int, float]]:
    """(node, target, weight) from the lists of `kind`, target or class."""
    trees, nodes, targets = (c.integers(f"{kind}_{name}") or () for name in ("treeids", "nodeids", "ids"))
    weights = numbers(c, f"{kind}_weights")
    return [
        (forest.index(c, *place), target, float(weight))
        for *place, target, weight in zip(trees, nodes, targets, weights, strict=True)
    ]


def with_base(c: Call, scores: Value) -> Value:
    base = numbers(c, "base_values")
    return c.apply("add", scores, c.constant(base, scores.dtype)) if len(base) else scores


def score_dtype(c: Call) -> str:
    return "float64" if c[0].dtype == "float64" else "float32"


def regressor(c: Call) -> Value:
    forest, aggregate, width = classic_forest(c), c.text("aggregate_function", "SUM"), c.integer("n_targets", 1)
    table = weight_table(c, len(forest), aggregate, classic_places(c, forest, "target"), width)
    scores = with_base(c, aggregated(c, forest, table, aggregate, score_dtype(c)))
    return c.cast(transformed(c, scores, transform_of(c)), "float32")


def classifier(c: Call) -> tuple[Value, Value]:
    """Labels and scores. Two classes may share one score, whose sign, or half, decides."""
    forest, labels, transform = classic_forest(c), integer_labels(c, "classlabels_int64s"), transform_of(c)
    places = classic_places(c, forest, "class")
    base, targets = numbers(c, "base_values"), {target for _, target, _ in places}
    if len(labels) != 2 or len(targets) != 1:
        table = weight_table(c, len(forest), "SUM", places, len(labels))
        scores = with_base(c, aggregated(c, forest, table, "SUM", score_dtype(c)))
        if len(labels) == 2:  # onnxruntime, the oracle, tells whether the second has a score, whatever the labels are
            label = two_labels(c, c.apply("greater", c.slice(scores, 1, 1, 1), 0.0), (0, 1))
        else:
            label = best_label(c, scores, labels)
        return label, c.cast(transformed(c, scores, transform), "float32")
    table = weight_table(c, len(forest), "SUM", [(node, 0, weight) for node, _, weight in places], 1)
    score = aggregated(c, forest, table, "SUM", score_dtype(c))
    if len(base):
        score = c.apply("add", score, float(base[-1]))
    shares = all(weight >= 0 for *_, weight in places)
    label = two_labels(c, c.apply("greater", score, 0.5 if shares else 0.0), labels)
    return label, c.cast(two_scores(c, score, transform, shares=shares and len(base) < 2), "float32")


def ensemble(c: Call) -> Value:
    """From version 5 on: nodes and leaves in lists of their own."""
    forest, first_leaf = listed_forest(c)
    aggregate, width = AGGREGATES[c.integer("aggregate_function", 1)], c.integer("n_targets", 1)
    targets = c.required(c.integers("leaf_targetids"), "leaf_targetids")
    weights = numbers(c, "leaf_weights")
    places = [(first_leaf + i, *pair) for i, pair in enumerate(zip(targets, map(float, weights), strict=True))]
    table = weight_table(c, len(forest), aggregate, places, width)
    scores = aggregated(c, forest, table, aggregate, score_dtype(c))
    return c.cast(transformed(c, scores, TRANSFORMS[c.integer("post_transform", 0)]), c[0].dtype)


DOMAIN = "ai.onnx.ml"
TABLE = {
    f"{DOMAIN}.TreeEnsemble": ensemble,
    f"{DOMAIN}.TreeEnsembleClassifier": classifier,
    f"{DOMAIN}.TreeEnsembleRegressor": regressor,
}
