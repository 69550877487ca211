"""The choice among overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright.ir import dims
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_equal, require_rank
from tilewright.ir.types import TensorType, tensor


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    """The number of results is the symbol named by `count`, which the results define."""
    boxes, scores, *limits = types
    require(boxes.dtype == scores.dtype == "float32", f"boxes and scores are {boxes.dtype} and {scores.dtype}")
    require_rank(boxes, 3, "the boxes")
    require_rank(scores, 3, "the scores")
    require_equal(boxes.shape[0], scores.shape[0], "the batch sizes of boxes and scores")
    require_equal(boxes.shape[1], scores.shape[2], "the numbers of boxes and of scores")
    require_equal(boxes.shape[2], 4, "the numbers of a box")
    wanted = [TensorType(dtype, ()) for dtype in ("int64", "float32", "float32")][: len(limits)]
    require(limits == wanted, f"the limits must be {', '.join(map(str, wanted))}")
    return (TensorType("int64", (dims.symbol(attrs["count"]), 3)),)


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


def _ref(attrs: Attrs, boxes: Array, scores: Array, most: Array, overlap: Array, *least: Array) -> Array:
    found = [
        (image, label, box)
        for image, label in np.ndindex(*scores.shape[:2])
        for box in _chosen(attrs, boxes[image], scores[image, label], int(most), overlap, *least)
    ]
    return np.array(found, np.int64).reshape(-1, 3)


def _chosen(attrs: Attrs, boxes: Array, scores: Array, most: int, overlap: Array, *least: Array) -> list[int]:
    order = np.argsort(-scores, kind="stable")
    if least:
        order = order[scores[order] > least[0]]
    return _kept(order, *_corners(boxes, attrs["center"]), most, float(overlap))


def _samples() -> list[Sample]:
    corner = np.random.default_rng(7).uniform(0, 1, (2, 12, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + np.float32(0.4)], axis=2)
    scores, count = tensor("float32", 2, 3, 12), "_kept"
    most, overlap, least = np.array(4), np.array(0.3, np.float32), np.array(0.1, np.float32)
    return [
        Sample((boxes, scores, most, overlap, least), {"count": count}),
        Sample((boxes, scores, most, overlap), {"count": "_kept1", "center": True}),
        Sample((boxes, scores, np.array(0), overlap), {"count": "_kept2"}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "non_max_suppression",
        Kind.OPAQUE,
        _infer,
        _ref,
        None,
        (4, 5),
        {"count": REQUIRED, "center": False},
        _samples,
        "Rows (image, class, box): for each class the boxes of boxes [N, B, 4] (two corners, or `center` and size) "
        "with the greatest scores [N, classes, B], without those that overlap a better one by more than a threshold. "
        "Further inputs: the most boxes of a class, the overlap, and the score to exceed.",
    ),
)
