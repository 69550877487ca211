"""Pad: more places at the ends of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_lengths, require_sizes
from tilewright.ir.ops.windows import guarded
from tilewright.ir.types import TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

MODES = ("constant", "reflect", "edge", "wrap")


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, before, after, mode = types[0], attrs["before"], attrs["after"], attrs["mode"]
    require_lengths(x.rank, before=before, after=after)
    require(mode in MODES, f"mode {mode!r} is not one of {', '.join(MODES)}")
    require_sizes((*before, *after), "the padding")
    for size, low, high in zip(x.shape, before, after, strict=True):
        fits = mode == "constant" or size != 0 or (low == 0 and high == 0)
        require(fits, f"an axis of size 0 has nothing to {mode}")
    sizes = zip(x.shape, before, after, strict=True)
    return (x.with_shape(dims.add(*column) for column in sizes),)


def _ref(attrs: Attrs, x: Array) -> Array:
    widths = list(zip(attrs["before"], attrs["after"], strict=True))
    if attrs["mode"] == "constant":
        return np.pad(x, widths, constant_values=attrs["value"])
    return np.pad(x, widths, mode=attrs["mode"])


def _compute(b: Any, node: Node, x: Any) -> Any:
    shape, before, after = b.shape(node.results[0]), node.attrs["before"], node.attrs["after"]
    padded = [axis for axis in range(len(shape)) if before[axis] != 0 or after[axis] != 0]

    def constant(*index: Any) -> Any:
        places = [i - b.dim(low) for i, low in zip(index, before, strict=True)]
        inside = [places[axis] >= 0 for axis in padded if before[axis] != 0]
        inside += [places[axis] < x.shape[axis] for axis in padded if after[axis] != 0]
        return guarded(b, inside, x, places, b.const(node.attrs["value"], x.dtype))

    def mapped(*index: Any) -> Any:
        places = list(index)
        for axis in padded:
            place = index[axis] - b.dim(before[axis])
            places[axis] = _source(b, node.attrs["mode"], place, x.shape[axis], _widest(before[axis], after[axis]))
        return x(*places)

    return b.stage(shape, x.dtype, constant if node.attrs["mode"] == "constant" else mapped)


def _widest(before: Dim, after: Dim) -> int | None:
    return max(before, after) if isinstance(before, int) and isinstance(after, int) else None


def _source(b: Any, mode: str, place: Any, size: Any, widest: int | None) -> Any:
    """The place in an axis of `size` that the place `place`, maybe outside, repeats."""
    if mode == "edge":
        return b.minimum(b.maximum(place, 0), size - 1)
    if mode == "wrap":
        return place % size
    if isinstance(size, int) and widest is not None and widest < size:
        last = size - 1
        return last - b.abs(last - b.abs(place))
    period = b.maximum(2 * size - 2, 1)  # reflected more than once
    phase = place % period
    return b.minimum(phase, period - phase)


def _samples() -> Sequence[Sample]:
    x = tensor("float32", 3, 4)
    symbolic = tensor("float32", "n", 3, "h")
    return [
        Sample((x,), {"before": (1, 0), "after": (0, 2), "value": -1.5}),
        Sample((x,), {"before": (2, 1), "after": (1, 3), "mode": "reflect"}),
        Sample((x,), {"before": (2, 1), "after": (0, 3), "mode": "edge"}),
        Sample((tensor("int32", 3, 4),), {"before": (4, 0), "after": (5, 3), "mode": "wrap"}),
        Sample((symbolic,), {"before": (0, 0, dims.symbol("h")), "after": (0, 1, 2)}),
        Sample((symbolic,), {"before": (0, 0, 2), "after": (0, 1, 3), "mode": "reflect"}),
    ]


PAD = Op(
    "pad",
    Kind.INJECTIVE,
    _infer,
    _ref,
    _compute,
    (1, 1),
    {"before": REQUIRED, "after": REQUIRED, "mode": "constant", "value": 0},
    _samples,
    doc="`before` and `after` more places on each axis, holding `value` (constant), or repeating the array: "
    "mirrored without its edge (reflect), its edge (edge), or from its other end (wrap).",
)
