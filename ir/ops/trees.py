"""Decision trees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_rank
from tilewright.ir.types import TensorType, tensor

TESTS = ("<=", "<", ">=", ">", "==", "!=")
_COMPARE = dict(zip(TESTS, (np.less_equal, np.less, np.greater_equal, np.greater, np.equal, np.not_equal), strict=True))
_NODE_DTYPES = ("int32", "", "int32", "int32", "int32", "bool")  # of feature, threshold, test, yes, no, missing


def _infer_leaves(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, *nodes, roots = types
    require_dtype(x, ("float32", "float64"), "the input")
    require_rank(x, 2, "the input")
    require_rank(roots, 1, "the roots")
    for type, dtype in zip(nodes, _NODE_DTYPES, strict=True):
        require(
            type == TensorType(dtype or x.dtype, nodes[0].shape) and type.rank == 1, f"{type} is not one for each node"
        )
    require(isinstance(nodes[0].shape[0], int) and nodes[0].shape[0] > 0, "the nodes must be a known number")
    width = x.shape[1]
    fits = not isinstance(width, int) or attrs["features"] <= width
    require(fits, f"the trees read {attrs['features']} features of {width}")
    return (TensorType("int32", (x.shape[0], roots.shape[0])),)


def _ref_leaves(
    attrs: Attrs,
    x: Array,
    feature: Array,
    threshold: Array,
    test: Array,
    yes: Array,
    no: Array,
    missing: Array,
    roots: Array,
) -> Array:
    place = np.broadcast_to(roots, (len(x), len(roots)))
    for _ in range(attrs["depth"]):
        value = np.take_along_axis(x, feature[place].astype(np.int64), axis=1)
        outcomes = [_COMPARE[sign](value, threshold[place]) for sign in TESTS]
        holds = np.choose(test[place], outcomes)
        goes = np.where(np.isnan(value), missing[place] | holds, holds)
        place = np.where(goes, yes[place], no[place])
    return place.astype(np.int32)


def _samples_leaves() -> list[Sample]:
    """Two trees: one of two levels, with every kind of test, and one that is a leaf."""
    number = np.int32
    feature, threshold = np.array([0, 1, 2, 0, 0, 0, 0], number), np.array([0.0, 0.5, -0.5, 0, 0, 0, 0], np.float32)
    yes, no = np.array([1, 3, 5, 3, 4, 5, 6], number), np.array([2, 4, 6, 3, 4, 5, 6], number)
    missing, roots = np.array([True, False, True, False, False, False, False]), np.array([0, 3], number)
    attrs = {"depth": 2, "features": 3}
    gaps = np.array([[np.nan, 0.5, 0.0], [1.0, 0.0, np.nan], [-1.0, np.nan, 0.0], [0.0, 0.5, -0.5]], np.float32)
    found = []
    for tests in ([0, 1, 2], [3, 4, 5], [2, 0, 1]):
        test = np.array([*tests, 0, 0, 0, 0], number)
        for x in (tensor("float32", "n", 3), gaps):
            found.append(Sample((x, feature, threshold, test, yes, no, missing, roots), attrs))
    return found


ROWS: tuple[Op, ...] = (
    Op(
        "tree_leaves",
        Kind.SERIAL,
        _infer_leaves,
        _ref_leaves,
        None,
        (8, 8),
        {"depth": REQUIRED, "features": REQUIRED},
        _samples_leaves,
        "The leaf of each tree that each row of x comes to: `depth` steps from its root. A node compares a feature "
        "with a threshold, by the test of that number in TESTS, and goes on to one of two nodes, a leaf to itself. "
        "A missing feature is NaN; it passes where the node says so.",
    ),
)
