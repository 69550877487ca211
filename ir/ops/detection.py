"""The choice among overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_equal, require_rank
from tilewright.ir.types import TensorType, tensor

NONE = -1  # in place of a box, where fewer were chosen


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    boxes, scores, *limits = types
    require(boxes.dtype == scores.dtype == "float32", f"boxes and scores are {boxes.dtype} and {scores.dtype}")
    require_rank(boxes, 3, "the boxes")
    require_rank(scores, 3, "the scores")
    require_equal(boxes.shape[0], scores.shape[0], "the batch sizes of boxes and scores")
    require_equal(boxes.shape[1], scores.shape[2], "the numbers of boxes and of scores")
    require_equal(boxes.shape[2], 4, "the numbers of a box")
    require(all(limit == TensorType("float32", ()) for limit in limits), "the limits must be float32 scalars")
    return (TensorType("int64", (*scores.shape[:2], attrs["most"])),)


def _corners(boxes: Array, center: bool) -> tuple[Array, Array]:
    """Least and greatest coordinates of boxes [n, 4], whose corners may come in either order."""
    first, second = boxes[:, :2], boxes[:, 2:]
    if center:
        return first - second / 2, first + second / 2
    return np.minimum(first, second), np.maximum(first, second)


def _kept(order: Array, low: Array, high: Array, most: int, threshold: float) -> list[int]:
    """Greedy: of the best boxes, those that do not overlap a better one too much."""
    area = np.prod(high - low, axis=1)
    kept: list[int] = []
    while order.size and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        sides = np.maximum(np.minimum(high[best], high[order]) - np.maximum(low[best], low[order]), 0)
        shared = np.prod(sides, axis=1)
        union = area[best] + area[order] - shared
        solid = (shared > 0) & (area[best] > 0) & (area[order] > 0) & (union > 0)
        overlap = np.divide(shared, union, out=np.zeros_like(shared), where=solid)
        order = order[~(solid & (overlap > threshold))]
    return kept


def _ref(attrs: Attrs, boxes: Array, scores: Array, overlap: Array, *least: Array) -> Array:
    most = attrs["most"]
    result = np.full((*scores.shape[:2], most), NONE, np.int64)
    for image, label in np.ndindex(*scores.shape[:2]):
        chosen = _chosen(attrs, boxes[image], scores[image, label], most, overlap, *least)
        result[image, label, : len(chosen)] = chosen
    return result


def _chosen(attrs: Attrs, boxes: Array, scores: Array, most: int, overlap: Array, *least: Array) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    if least:
        order = order[scores[order] > least[0]]
    return _kept(order, *_corners(boxes, attrs["center"]), most, float(overlap))


def _samples() -> list[Sample]:
    corner = np.random.default_rng(7).uniform(0, 1, (2, 12, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + np.float32(0.4)], axis=2)
    scores, many = tensor("float32", 2, 3, 12), tensor("float32", 1, 2, "n")
    overlap, least = np.array(0.3, np.float32), np.array(0.1, np.float32)
    return [
        Sample((boxes, scores, overlap, least), {"most": 4}),
        Sample((boxes, scores, overlap), {"most": 12, "center": True}),
        Sample((boxes, scores, overlap), {"most": 0}),
        Sample((tensor("float32", 1, "n", 4), many, overlap), {"most": dims.symbol("n")}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "non_max_suppression",
        Kind.SERIAL,
        _infer,
        _ref,
        None,
        (3, 4),
        {"most": REQUIRED, "center": False},
        _samples,
        "For each image and class the boxes of boxes [N, B, 4] (two corners, or `center` and size) with the greatest "
        "scores [N, classes, B], without those that overlap a better one by more than a threshold: [N, classes, most], "
        "filled up with -1. Further inputs: the overlap, and the score to exceed.",
    ),
)
