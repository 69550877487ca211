"""Pools of images whose channels come last: at each place vectors of channels are folded over the window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tilewright.backends.kernels.loops import Expr, Index, Loops, minimum
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.pool import Fold, Load, Store
from tilewright.backends.kernels.ranges import Indices, div_up, maximum, named, product, tasks, worth_forking
from tilewright.backends.kernels.tile import Vectors

_VECTORS = 4  # beside each other, to hide latency


def emit_pool_last(
    k: Loops,
    machine: Vectors,
    batch: Index,
    channels: Index,
    axes: Sequence[Axis],
    load: Load,
    fold: Fold,
    initial: Expr,
    dtype: str,
    store: Store,
) -> None:
    """`store(n, c, places, value)` for every result: the fold of `load(n, c, *places)` over its window.

    `initial` is what no element changes. `store` must be idempotent.
    """
    *outer, inner = [axis.results for axis in axes]
    taps = product([axis.kernel for axis in axes])
    worth = worth_forking(product((batch, channels, *outer, inner)), taps)

    def blocks_of(width: int, lanes: int) -> None:
        blocks = div_up(channels, width)
        with tasks(k, (batch, *outer), worth) as (n, *lead), k.serial(inner) as last:
            places = (*lead, last)
            ranges = [_inside(k, axis, place) for axis, place in zip(axes, places, strict=True)]
            with k.serial(blocks) as block:
                first = named(k, "first", minimum(block * width, channels - width))
                best = k.local("best", (width,), dtype)
                starts = range(0, width, lanes)
                for start in starts:
                    with k.vectorized(lanes) as lane:
                        k.store(best, (start + lane,), initial)
                with _each(k, axes, places, ranges) as at:
                    for start in starts:
                        with k.vectorized(lanes) as lane:
                            i = start + lane
                            k.store(best, (i,), fold(best[i], load(n, first + i, *at)))
                for start in starts:
                    with k.vectorized(lanes) as lane:
                        store(n, first + (start + lane), places, best[start + lane])

    each_width(k, machine.lanes, channels, blocks_of)


def each_width(k: Loops, lanes: int, channels: Index, blocks_of: Callable[[int, int], None]) -> None:
    """`blocks_of(width, lanes)` for as many channels at once as suit their number, which may be known at run time."""
    if not isinstance(channels, int):
        k.branch(channels >= lanes, lambda: blocks_of(lanes, lanes), lambda: blocks_of(1, 1))
        return
    widths = [v * lanes for v in range(_VECTORS, 0, -1) if v * lanes <= channels]
    width = min(widths, key=lambda w: div_up(channels, w) * w, default=channels)
    blocks_of(width, min(width, lanes))


def _inside(k: Loops, axis: Axis, place: Index) -> tuple[Index, Index]:
    """The first tap of the window at `place` that lies inside the axis, and how many do."""
    if not axis.is_padded:
        return 0, axis.kernel
    start = place * axis.stride - axis.before
    first = named(k, "first", maximum(0, div_up(maximum(0, -start), axis.dilation)))
    end = minimum(axis.kernel, div_up(maximum(0, axis.size - start), axis.dilation))
    return first, named(k, "taps", maximum(0, end - first))


@contextmanager
def _each(k: Loops, axes: Sequence[Axis], places: Indices, ranges: Sequence[tuple[Index, Index]]) -> Iterator[Indices]:
    """Loops over the taps inside, which give the places they read."""
    if not axes:
        yield ()
        return
    axis, (first, count) = axes[0], ranges[0]
    with k.serial(count, first, name="tap") as tap:
        here = named(k, "at", places[0] * axis.stride - axis.before + tap * axis.dilation)
        with _each(k, axes[1:], places[1:], ranges[1:]) as rest:
            yield (here, *rest)
