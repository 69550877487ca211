"""Pools: a fold over the window at each place of each channel, vectorised along the results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx

from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const, index, minimum
from tilewright.backends.kernels.patches import Axis, Block, Blocking, block_results, each_tap, fill_patch, normalised
from tilewright.backends.kernels.ranges import Indices, cover, div_up, maximum, named, product, tasks, worth_forking
from tilewright.backends.kernels.tile import Vectors

_BLOCK = 1024  # results
_VECTORS = 4  # beside each other, to hide latency

Load = Callable[..., Expr]
Store = Callable[[Index, Index, Indices, Expr], None]
Fold = Callable[[Expr, Expr], Expr]


def emit_pool(
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

    `initial` is what padding counts as; it changes nothing. `store` must be idempotent.
    """
    inner, restored = normalised(axes)
    blocking = block_results(k, inner, _BLOCK)
    taps = product([axis.kernel for axis in inner])
    results = product((batch, channels, *(axis.results for axis in inner)))
    with tasks(k, (batch, channels, *blocking.blocks), worth_forking(results, taps)) as (n, c, *place):
        block = Block.at(k, blocking, tuple(place))
        width = _VECTORS * machine.lanes
        patch = k.scratch("patch", (blocking.planes * blocking.plane + width,), dtype)
        folded = k.scratch("folded", (blocking.rows * blocking.pitch + width,), dtype)
        fill_patch(k, machine.lanes, blocking, block, patch, 1, initial, lambda _, p: load(n, c, *restored(p)))
        count = (block.rows - 1) * blocking.pitch + block.columns
        with k.serial(div_up(count, width)) as tile:
            first = named(k, "first", tile * width)
            _tile(k, machine.lanes, blocking, patch, folded, first, fold, initial)
        with k.serial(block.rows) as i:

            def finish(j: Index, i: Index = i) -> None:
                here = restored((*block.lead, block.row + i, block.column + j))
                store(n, c, here, folded[i * blocking.pitch + j])

            cover(k, block.columns, machine.lanes, finish)


def _tile(
    k: Loops, lanes: int, blocking: Blocking, patch: Buffer, folded: Buffer, first: Index, fold: Fold, initial: Expr
) -> None:
    """A few vectors of results from number `first`."""
    width = _VECTORS * lanes
    best = k.local("best", (width,), str(patch.ty.dtype))
    starts = range(0, width, lanes)
    for start in starts:
        with k.vectorized(lanes) as lane:
            k.store(best, (start + lane,), initial)

    def step(taps: Indices) -> None:
        begin = blocking.tap(taps) + first
        for start in starts:
            with k.vectorized(lanes) as lane:
                i = start + lane
                k.store(best, (i,), fold(best[i], patch[begin + i]))

    each_tap(k, blocking.axes, step)
    for start in starts:
        with k.vectorized(lanes) as lane:
            k.store(folded, (first + (start + lane),), best[start + lane])


def average_divisor(axes: Sequence[Axis], places: Indices, count_padding: bool) -> Expr:
    """The number of elements that the window at `places` averages over, as float32."""
    counts = [_taps_inside(axis, place, count_padding) for axis, place in zip(axes, places, strict=True)]
    total = product(counts)
    return const(total, "float32") if isinstance(total, int) else tirx.Cast("float32", total)


def _taps_inside(axis: Axis, place: Index, count_padding: bool) -> Index:
    """The taps of the window at `place` that read the input or, if that counts, its padding."""
    if not axis.is_padded or (count_padding and not axis.overhangs):
        return axis.kernel
    start = index(place) * axis.stride - axis.before
    begin = 0 if count_padding else maximum(0, div_up(-start, axis.dilation))
    room = axis.size + (axis.after if count_padding else 0) - start
    return minimum(axis.kernel, div_up(room, axis.dilation)) - begin
