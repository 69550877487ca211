"""A depthwise convolution and the matrix product behind it: what is between stays in the caches.

A task makes a few rows of the first, with the elementwise operators after it, and multiplies them at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.backends.kernels.depthwise import Depthwise
from tilewright.backends.kernels.gemm import gemm, worth_sharing
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, minimum
from tilewright.backends.kernels.patches import even
from tilewright.backends.kernels.ranges import Indices, div_down, div_up, maximum, named, tasks
from tilewright.backends.kernels.tile import Ahead, Tile

_KEPT = 1 << 14  # elements of the depthwise result that a task makes and multiplies at once, about

Between = Callable[[Index, Indices, Expr, Expr], Expr]


@dataclass(frozen=True)
class Product:
    """`store(place, column, value)` for a matrix of `columns` that `pack_b` made for `tile`; `ahead` as for `gemm`."""

    tile: Tile
    columns: int
    weights: Buffer
    store: Callable[[Expr, Expr, Expr], None]
    ahead: Ahead | None


def emit_separable(k: Loops, depthwise: Depthwise, between: Between, product: Product) -> None:
    """Multiplies `between(n, places, c, sum)`, which follows from each sum of the convolution, with the matrix."""
    conv, columns = depthwise.conv, product.columns
    channels, (high, wide) = conv.channels, (axis.results for axis in conv.axes)
    at_once = named(k, "at_once", even(k, high, maximum(1, div_down(_KEPT // channels, maximum(wide, 1)))))
    worth = worth_sharing(conv.places, 1, conv.work + channels * columns)
    with tasks(k, (conv.batch, div_up(high, at_once)), worth) as (n, part):
        top = named(k, "top", part * at_once)
        count = named(k, "count", minimum(at_once, high - top))
        made = k.scratch("made", (at_once * wide, channels))
        with k.serial(count, name="row") as row:

            def keep(n: Index, places: Indices, c: Expr, value: Expr) -> None:
                k.store(made, (row * wide + places[-1], c), between(n, places, c, value))

            depthwise.row(keep, (n, top + row))
        start = named(k, "start", (n * high + top) * wide)
        ahead = product.ahead
        gemm(
            k, product.tile, named(k, "rows", count * wide), columns, channels, made, product.weights,
            lambda i, j, value: product.store(start + i, j, value),
            None if ahead is None else lambda r, c: ahead(start + r, c), shared=False,
        )  # fmt: skip
