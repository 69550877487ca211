"""Folds of a reduction: one element from vectors along the folded axes, or a vector of neighbouring elements."""

from __future__ import annotations

import copy
from collections.abc import Callable

from tvm import tirx

from tilewright.backends.kernels.expr import ArgReduction, Reduction
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const, dtype_of, index
from tilewright.backends.kernels.ranges import Indices, div_down, named, nested
from tilewright.backends.kernels.tile import Vectors

_UNROLL = 4  # independent accumulators hide the latency of the arithmetic

Place = Callable[[Index], Indices]
"""The element of a reduction at a place of the innermost axis."""


def fold_row(k: Loops, machine: Vectors, fold: Reduction, place: Indices) -> Expr:
    """Element `place` of a reduction whose last folded axis lies contiguously in what it reads."""
    *outer, inner = fold.extents
    unroll = min(_UNROLL, inner // machine.lanes) if isinstance(inner, int) else _UNROLL
    total = k.local("total", (1,), fold.dtype)
    k.store(total, (0,), fold.initial)
    if unroll == 0:
        with nested(k, fold.extents) as at:
            k.store(total, (0,), fold.fold(total[0], fold.term(place, at)))
        return k.let("folded", total[0])
    partial = _filled(k, "partial", unroll * machine.lanes, machine.lanes, fold)
    with nested(k, outer) as at:
        _fold_lanes(k, fold, partial, total, machine.lanes, inner, lambda j: fold.term(place, (*at, j)))
    whole = _halved(k, fold, partial, unroll * machine.lanes, machine.lanes)
    return k.let("folded", fold.fold(whole, total[0]))


def _filled(k: Loops, name: str, width: int, lanes: int, fold: Reduction) -> Buffer:
    """Accumulators, each with the value that changes nothing."""
    buffer = k.local(name, (width,), fold.dtype)
    for first in range(0, width, lanes):
        with k.vectorized(lanes) as lane:
            k.store(buffer, (first + lane,), fold.initial)
    return buffer


def _fold_lanes(
    k: Loops, fold: Reduction, partial: Buffer, total: Buffer, lanes: int, extent: Index, term: Callable[[Index], Expr]
) -> None:
    """Fold an axis: several vectors at a time, single vectors, and the rest one by one."""
    width = int(partial.shape[0])
    blocks = named(k, "blocks", div_down(extent, width))
    vectors = named(k, "vectors", div_down(extent, lanes))

    def vector(to: int, first: Index) -> None:
        with k.vectorized(lanes) as lane:
            k.store(partial, (to + lane,), fold.fold(partial[to + lane], term(first + lane)))

    with k.serial(blocks) as block:
        for to in range(0, width, lanes):
            vector(to, block * width + to)
    if not (isinstance(extent, int) and extent % width == 0):
        with k.serial(vectors - blocks * (width // lanes), blocks * (width // lanes)) as v:
            vector(0, v * lanes)
        with k.serial(extent - vectors * lanes, vectors * lanes) as j:
            k.store(total, (0,), fold.fold(total[0], term(j)))


def _halved(k: Loops, fold: Reduction, partial: Buffer, width: int, lanes: int) -> Expr:
    """All of `partial` folded. Each width gets a buffer of its own: LLVM would split a shared one into scalars."""
    for first in range(lanes, width, lanes):
        with k.vectorized(lanes) as lane:
            k.store(partial, (lane,), fold.fold(partial[lane], partial[first + lane]))
    while lanes > 1:
        lanes //= 2
        half = k.local("half", (lanes,), fold.dtype)
        with k.vectorized(lanes) as lane:
            k.store(half, (lane,), fold.fold(partial[lane], partial[lanes + lane]))
        partial = half
    return partial[0]


def fold_neighbours(k: Loops, lanes: int, width: int, fold: Reduction, place: Place) -> Buffer:
    """`width` elements side by side: entry i is the fold at `place(i)`, contiguous along the kept axis."""
    totals = _filled(k, "totals", width, lanes, fold)
    with nested(k, fold.extents) as at:
        for first in range(0, width, lanes):
            with k.vectorized(lanes) as lane:
                i = first + lane
                k.store(totals, (i,), fold.fold(totals[i], fold.term(place(i), at)))
    return totals


def arg_row(k: Loops, fold: ArgReduction, place: Indices) -> Expr:
    """Element `place` of an arg-reduction. A new best is rare: the branch is cheaper than vectors."""
    first = fold.term(place, (index(0),))
    best, where = k.local("best", (1,), dtype_of(first)), k.local("where", (1,), fold.dtype)
    k.store(best, (0,), first)
    k.store(where, (0,), const(0, fold.dtype))
    with k.serial(fold.extents[0] - 1, 1) as j:
        new = k.let("new", fold.term(place, (j,)))
        with k.when(fold.better(new, best[0])):
            k.store(best, (0,), new)
            k.store(where, (0,), tirx.Cast(fold.dtype, j))
    return k.let("found", where[0])


def arg_neighbours(k: Loops, lanes: int, width: int, fold: ArgReduction, place: Place) -> Buffer:
    """`width` elements of an arg-reduction side by side, one candidate for all after the other."""
    best = k.local("best", (width,), dtype_of(fold.term(place(index(0)), (index(0),))))
    where = k.local("where", (width,), fold.dtype)
    for first in range(0, width, lanes):
        with k.vectorized(lanes) as lane:
            k.store(best, (first + lane,), fold.term(place(first + lane), (index(0),)))
        with k.vectorized(lanes) as lane:
            k.store(where, (first + lane,), const(0, fold.dtype))
    with k.serial(fold.extents[0] - 1, 1) as j:

        def term(i: Index) -> Expr:
            return fold.term(place(i), (j,))

        for first in range(0, width, lanes):
            _challenge(k, lanes, first, fold, best, where, term, j)
    return where


def _challenge(
    k: Loops,
    lanes: int,
    first: int,
    fold: ArgReduction,
    best: Buffer,
    where: Buffer,
    term: Callable[[Index], Expr],
    j: Expr,
) -> None:
    """One vector of candidates, all at place j of the folded axis, against the best so far."""
    new = k.local("new", (lanes,), str(best.ty.dtype))
    with k.vectorized(lanes) as lane:
        k.store(new, (lane,), term(first + lane))
    with k.vectorized(lanes) as lane:
        i = first + lane
        k.store(where, (i,), tirx.Select(fold.better(new[lane], best[i]), tirx.Cast(fold.dtype, j), where[i]))
    with k.vectorized(lanes) as lane:
        i = first + lane
        k.store(best, (i,), tirx.Select(fold.better(new[lane], best[i]), new[lane], best[i]))


def as_bytes(fold: Reduction) -> Reduction:
    """A fold of bools as one of int8, which TVM can keep in vectors: any is the maximum, all is the minimum."""
    if fold.dtype != "bool":
        return fold
    part = copy.copy(fold)
    part.dtype = "int8"
    part.initial = tirx.Cast("int8", fold.initial)
    part.fold = tirx.max if fold.kind == "any" else tirx.min
    part.term = lambda place, at: tirx.Cast("int8", fold.term(place, at))
    return part


def part_of(fold: Reduction, start: Index, extent: Index) -> Reduction:
    """The same fold over only [start, start + extent) of the first folded axis."""
    part = copy.copy(fold)
    part.extents = (extent, *fold.extents[1:])
    part.term = lambda place, at: fold.term(place, (start + at[0], *at[1:]))
    return part
