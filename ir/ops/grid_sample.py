"""Sampling a tensor at the places that a grid names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_equal, require_rank
from tilewright.ir.ops.interpolation import NUMPY
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.sampling import PADDING, TAPS, Axis, weighted
from tilewright.ir.types import FLOATS, NUMERIC, TensorType, dtype_name, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, grid = types
    nearest = attrs["mode"] == "nearest"
    require(attrs["mode"] in TAPS, f"mode {attrs['mode']!r} is not one of {', '.join(TAPS)}")
    require(attrs["padding"] in PADDING, f"padding {attrs['padding']!r} is not one of {', '.join(PADDING)}")
    require_dtype(x, NUMERIC if nearest else FLOATS, "the input")
    require_dtype(grid, FLOATS, "the grid")
    require(x.rank >= 3, f"an input to sample has batch, channel and spatial axes, not {x.rank} axes")
    require_rank(grid, x.rank, "the grid")
    require_equal(x.shape[0], grid.shape[0], "the batch sizes of the input and the grid")
    require_equal(grid.shape[-1], x.rank - 2, "the coordinates of a place and the spatial axes")
    require(all(d != 0 for d in x.shape[2:]), f"{x} has no places to sample")
    return (x.with_shape((*x.shape[:2], *grid.shape[1:-1])),)


def _axes(attrs: Attrs, sizes: Sequence[Any], dtype: str) -> list[Axis]:
    return [Axis(attrs["mode"], attrs["padding"], attrs["align_corners"], size, dtype) for size in sizes]


def _coordinates(x: str, grid: str) -> str:
    """Coordinates are float32, unless the input or the grid is float64."""
    return "float64" if "float64" in (x, grid) else "float32"


def _ref(attrs: Attrs, x: Array, grid: Array) -> Array:
    """One tap of all samples after the other. The last axis of the grid names the spatial axes from last to first."""
    dtype = _coordinates(dtype_name(x.dtype), dtype_name(grid.dtype))
    axes, at = _axes(attrs, x.shape[2:], dtype), np.moveaxis(grid.astype(dtype), -1, 0)[::-1]
    batch = np.arange(x.shape[0]).reshape(-1, *[1] * (grid.ndim - 2))
    source = exact(x)
    total = np.zeros((*grid.shape[:-1], x.shape[1]), source.dtype)
    for number in itertools.product(range(TAPS[attrs["mode"]]), repeat=len(axes)):
        taps = [axis.tap(NUMPY, a, k) for axis, a, k in zip(axes, at, number, strict=True)]
        seen = np.moveaxis(source[(batch, slice(None), *(t.place for t in taps))], -1, 0)
        total += np.moveaxis(weighted(NUMPY, seen, taps, source.dtype.type(0)), 0, -1)
    return np.moveaxis(total, -1, 1).astype(x.dtype)


def _compute(b: Any, node: Node, x: Any, grid: Any) -> Any:
    dtype, wide = _coordinates(x.dtype, grid.dtype), accumulator(x.dtype)
    axes = _axes(node.attrs, x.shape[2:], dtype)
    last = len(axes) - 1

    def term(index: Sequence[Any], number: Sequence[Any]) -> Any:
        n, channel, *place = index
        at = [b.cast(grid(n, *place, last - i), dtype) for i in range(len(axes))]
        taps = [axis.tap(b, a, k) for axis, a, k in zip(axes, at, number, strict=True)]
        seen = b.cast(x(n, channel, *(t.place for t in taps)), wide)
        return weighted(b, seen, [t.of(b, wide) for t in taps], b.const(0, wide))

    extents = (TAPS[node.attrs["mode"]],) * len(axes)
    return narrowed(b, b.reduce("sum", b.shape(node.results[0]), extents, wide, term), x.dtype)


def _samples() -> Sequence[Sample]:
    image, grid = tensor("float32", 2, 3, 4, 5), np.linspace(-1.7, 1.6, 60, dtype=np.float32).reshape(2, 3, 5, 2)
    wild = np.random.default_rng(3).uniform(-4, 4, (2, 4, 3, 2)).astype(np.float32)
    volume = np.random.default_rng(4).uniform(-1.2, 1.2, (1, 2, 2, 3, 3)).astype(np.float32)
    symbolic = (tensor("float32", "n", 2, "h", "w"), tensor("float32", "n", "s", 3, 2))
    return [
        *(
            Sample((image, wild), {"mode": mode, "padding": padding, "align_corners": align})
            for mode, padding, align in itertools.product(TAPS, PADDING, (False, True))
        ),
        Sample((image, grid), {"mode": "cubic", "padding": "zeros"}),
        Sample(symbolic, {"mode": "linear", "padding": "border"}),
        Sample((tensor("float16", 1, 2, 3, 4, 3), volume), {"mode": "linear", "padding": "zeros"}),
        Sample((tensor("int64", 1, 2, 3, 4, 3), volume.astype(np.float64)), {"mode": "nearest", "padding": "zeros"}),
        Sample((tensor("float64", 1, 2, 6), wild[:1, :, 0, :1].astype(np.float64)), {"mode": "linear"}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "grid_sample",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (2, 2),
        {"mode": REQUIRED, "padding": "zeros", "align_corners": False},
        _samples,
        doc="x [N, C, ...] read at the places that grid [N, ..., D] names for each result, -1 and 1 being the borders "
        "of the D spatial axes, or with `align_corners` the middle of their outermost places. The last spatial axis "
        "comes first in the grid.",
    ),
)
