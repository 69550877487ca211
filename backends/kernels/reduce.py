"""Folds: one element of a reduction from vectors along the folded axes, or a vector of elements side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from tilewright.backends.kernels.expr import ArgReduction, Reduction
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const
from tilewright.backends.kernels.ranges import Indices, div_down, named, nested
from tilewright.backends.kernels.tiles import Tile

_UNROLL = 4  # independent accumulators hide the latency of the arithmetic


def fold_row(k: Loops, tile: Tile, fold: Reduction, place: Indices) -> Expr:
    """Element `place` of a reduction whose last folded axis lies contiguously in what it reads."""
    *outer, inner = fold.extents
    lanes = tile.lanes
    unroll = min(_UNROLL, inner // lanes) if isinstance(inner, int) else _UNROLL
    total = k.local("total", (1,), fold.dtype)
    k.store(total, (0,), fold.initial)
    if unroll == 0:
        with nested(k, fold.extents) as at:
            k.store(total, (0,), fold.fold(total[0], fold.term(place, at)))
        return k.let("folded", total[0])
    partial = k.local("partial", (unroll * lanes,), fold.dtype)
    for u in range(unroll):
        with k.vectorized(lanes) as lane:
            k.store(partial, (u * lanes + lane,), fold.initial)
    with nested(k, outer) as at:
        _fold_lanes(k, fold, place, at, (partial, total), unroll, lanes)
    _combine(k, fold, partial, unroll, lanes)
    return k.let("folded", fold.fold(partial[0], total[0]))


def _fold_lanes(
    k: Loops, fold: Reduction, place: Indices, outer: Indices, into: tuple[Buffer, Buffer], unroll: int, lanes: int
) -> None:
    """Fold the innermost axis: `unroll` vectors at a time, single vectors, and the rest one by one."""
    partial, total = into
    inner = fold.extents[-1]

    def vector(u: int, first: Index) -> None:
        with k.vectorized(lanes) as lane:
            at = (u * lanes + lane,)
            k.store(partial, at, fold.fold(partial[at], fold.term(place, (*outer, first + lane))))

    blocks = named(k, "blocks", div_down(inner, unroll * lanes))
    vectors = named(k, "vectors", div_down(inner, lanes))
    with k.serial(blocks) as block:
        for u in range(unroll):
            vector(u, (block * unroll + u) * lanes)
    with k.serial(vectors - blocks * unroll, blocks * unroll) as v:
        vector(0, v * lanes)
    with k.serial(inner - vectors * lanes, vectors * lanes) as j:
        k.store(total, (0,), fold.fold(total[0], fold.term(place, (*outer, j))))


def _combine(k: Loops, fold: Reduction, partial: Buffer, unroll: int, lanes: int) -> None:
    """Fold all of `partial` into its first element, halving the vector each time."""
    for u in range(1, unroll):
        with k.vectorized(lanes) as lane:
            k.store(partial, (lane,), fold.fold(partial[lane], partial[u * lanes + lane]))
    width = lanes // 2
    while width:
        with k.vectorized(width) as lane:
            k.store(partial, (lane,), fold.fold(partial[lane], partial[width + lane]))
        width //= 2


def arg_row(k: Loops, fold: ArgReduction, place: Indices) -> Expr:
    """Element `place` of an arg-reduction, one candidate after the other."""
    best = k.local("best", (1,), fold.value_dtype)
    where = k.local("where", (1,), fold.dtype)
    k.store(best, (0,), fold.term(place, (0,)))
    k.store(where, (0,), const(0, fold.dtype))
    with k.serial(fold.extents[0] - 1, 1) as j:
        value = k.let("value", fold.term(place, (j,)))
        with k.when(fold.better(value, best[0])):
            k.store(best, (0,), value)
            k.store(where, (0,), tirx.Cast(fold.dtype, j))
    return k.let("found", where[0])


def fold_lanes(k: Loops, fold: Reduction, places: Sequence[Indices], lanes: int) -> Buffer:
    """One vector of elements for each of `places`, functions"""
    raise NotImplementedError
