"""Sliding windows as contiguous rows: the padded input of a block of results, split by the phases of the stride.

Tap k of the window at result i reads input i * stride + k * dilation - before. With the input stored as one plane per
residue of the stride, that is place i + (k * dilation) // stride of plane (k * dilation) % stride: neighbouring results
read neighbouring elements whatever the stride. All results of a block are numbered through along the rows of the
planes; the numbers between one row's end and the next row's start stand for nothing, and are dropped in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.interleaved import MOST, take_apart
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.ranges import Indices, cover, div_down, div_up, maximum, named, nested, remainder

_Store = Callable[[int, Index, Expr], None]

_LINE = 16  # float32 in a cache line
_UNROLL = 9  # taps


@dataclass(frozen=True)
class Axis:
    """A window of `kernel` taps that slides over `size` elements, with `before` and `after` elements of padding."""

    size: Index
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    before: Index = 0
    after: Index = 0
    count: Index = -1
    """The number of windows; by default those that fit wholly."""
    overhangs: bool = False
    """Whether the last windows may reach beyond the padding."""

    @property
    def results(self) -> Index:
        if not isinstance(self.count, int) or self.count >= 0:
            return self.count
        room = self.size + self.before + self.after - self.dilation * (self.kernel - 1) - 1
        return div_down(room, self.stride) + 1

    @property
    def end(self) -> Index:
        """The input element, counted from the first, after the last that any window reads."""
        return (self.results - 1) * self.stride + self.dilation * (self.kernel - 1) + 1 - self.before

    @property
    def is_padded(self) -> bool:
        """Whether some tap may read outside; taken for granted where sizes are unknown and there is padding."""
        if isinstance(self.end, int) and isinstance(self.size, int):
            return self.before != 0 or self.end > self.size
        plain = isinstance(self.before, int) and isinstance(self.after, int) and self.before == 0 and self.after <= 0
        return self.overhangs or not plain

    @property
    def is_trivial(self) -> bool:
        """One element, one tap, one result."""
        return isinstance(self.size, int) and self.size == self.kernel == 1 and not self.is_padded

    @property
    def period(self) -> int:
        """After so many taps, the phases repeat."""
        return self.stride // math.gcd(self.stride, self.dilation)

    @property
    def phases(self) -> int:
        return min(self.kernel, self.period)

    @property
    def reach(self) -> int:
        """Places that the last tap is beyond the first, in a plane."""
        return (self.kernel - 1) * self.dilation // self.stride

    def phase(self, tap: Index) -> Index:
        return remainder(tap, self.period)

    def shift(self, tap: Index) -> Index:
        return div_down(tap * self.dilation, self.stride)

    def residue(self, phase: Index) -> Index:
        return remainder(phase * self.dilation, self.stride)

    def source(self, place: Index, residue: Index) -> Index:
        """The input element at `place` of the plane of `residue`."""
        return place * self.stride + residue - self.before


def normalised(axes: Sequence[Axis]) -> tuple[tuple[Axis, ...], Callable[[Indices], Indices]]:
    """At least two axes, none of them trivial but to fill up, and what turns their indices into the original ones."""
    kept = [a for a, axis in enumerate(axes) if not axis.is_trivial]
    missing = max(0, 2 - len(kept))

    def restored(places: Indices) -> Indices:
        return tuple(places[missing + kept.index(a)] if a in kept else 0 for a in range(len(axes)))

    return (*[Axis(1)] * missing, *(axes[a] for a in kept)), restored


def planes_of(axes: Sequence[Axis]) -> int:
    """Planes per channel: one for each tap of the leading axes and each phase of the last two."""
    *lead, high, wide = axes
    return math.prod(a.kernel for a in lead) * high.phases * wide.phases


def each_tap(k: Loops, axes: Sequence[Axis], step: Callable[[Indices], None]) -> None:
    """`step(taps)` for the whole window, a few taps of the last axis unrolled."""
    *outer, last = [axis.kernel for axis in axes]
    with nested(k, outer) as taps:
        if last > _UNROLL:
            with k.serial(last) as tap:
                step((*taps, tap))
            return
        for tap in range(last):
            step((*taps, tap))


@dataclass(frozen=True)
class Grid:
    """Results are computed `rows` x `columns` at a time."""

    axes: tuple[Axis, ...]
    rows: Index
    columns: Index
    balanced: bool = field(default=True, kw_only=True)
    """Whether blocks have about as many rows each; else all have `rows` but the last, which has the rest."""

    @property
    def blocks(self) -> Indices:
        """How many blocks: one per result of the leading axes, then along rows and columns."""
        *lead, high, wide = self.axes
        return (*(a.results for a in lead), div_up(high.results, self.rows), div_up(wide.results, self.columns))


@dataclass(frozen=True)
class Blocking(Grid):
    """The input of a block lies in planes of `plane` elements in rows of `pitch`."""

    pitch: Index
    plane: Index

    @property
    def planes(self) -> int:
        """Planes per channel."""
        return planes_of(self.axes)

    @property
    def padded(self) -> bool:
        return any(axis.is_padded for axis in self.axes)

    def tap(self, taps: Sequence[Index]) -> Index:
        """Where a channel's tap of the first result of the block lies."""
        *lead, high, wide = self.axes
        *lead_taps, i, j = taps
        plane: Index = 0
        for axis, t in zip(lead, lead_taps, strict=True):
            plane = plane * axis.kernel + t
        plane = (plane * high.phases + high.phase(i)) * wide.phases + wide.phase(j)
        return plane * self.plane + high.shift(i) * self.pitch + wide.shift(j)


def block_results(k: Loops, axes: Sequence[Axis], limit: int) -> Blocking:
    """Blocks of about `limit` results, all of about the same size, whole rows if they fit."""
    *_, high, wide = axes
    columns = even(k, wide.results, minimum(wide.results, limit))
    pitch = named(k, "pitch", columns + wide.reach)
    rows = even(k, high.results, maximum(1, div_down(limit, pitch)))
    lines = named(k, "lines", div_up((rows + high.reach) * pitch, _LINE))
    odd = lines + 1 - remainder(lines, 2)  # planes a power of two apart would share the same few places of the cache
    return Blocking(tuple(axes), rows, columns, pitch, named(k, "plane", odd * _LINE))


def even(k: Loops, total: Index, most: Index) -> Index:
    """The size of the fewest equal parts of `total` that are at most `most`; 1 where there is nothing to divide."""
    parts = named(k, "parts", maximum(1, div_up(total, named(k, "most", maximum(1, most)))))
    return named(k, "part", maximum(1, div_up(total, parts)))


@dataclass(frozen=True)
class Block:
    """One block: the leading results' indices, its first row and column, and how many of each it really has."""

    lead: Indices
    row: Index
    column: Index
    rows: Index
    columns: Index

    @classmethod
    def at(cls, k: Loops, grid: Grid, place: Indices) -> Block:
        """The block of the given number along each axis of `grid.blocks`."""
        *lead, i, j = place
        *_, high, wide = grid.axes
        share = _balanced_part if grid.balanced else _part
        row, rows = share(k, i, grid.rows, high.results)
        column, columns = _part(k, j, grid.columns, wide.results)
        return cls(tuple(lead), row, column, rows, columns)


def _part(k: Loops, number: Index, size: Index, total: Index) -> tuple[Index, Index]:
    if isinstance(size, int) and isinstance(total, int) and total % size == 0:
        return (0 if size == total else number * size), size
    first = named(k, "first", number * size)
    return first, named(k, "extent", minimum(size, total - first))


def _balanced_part(k: Loops, number: Index, size: Index, total: Index) -> tuple[Index, Index]:
    """As `_part`, the last being about as large as the others: of a few tasks, every thread has as much to do."""
    parts = named(k, "parts", maximum(1, div_up(total, size)))
    if isinstance(parts, int) and isinstance(total, int) and total % parts == 0:
        return _part(k, number, total // parts, total)
    first = named(k, "first", div_down(number * total, parts))
    return first, named(k, "extent", div_down((number + 1) * total, parts) - first)


def fill_patch(
    k: Loops,
    lanes: int,
    blocking: Blocking,
    block: Block,
    patch: Buffer,
    channels: int,
    fill: Expr,
    load: Callable[[Index, Indices], Expr],
) -> None:
    """Copy what a block reads: `patch` [channels * planes * plane] from `load(channel, places)`, `fill` outside."""
    *lead, high, wide = blocking.axes
    if blocking.padded:
        size = channels * blocking.planes * blocking.plane
        cover(k, size, lanes, lambda i: k.store(patch, (i,), fill))
    with k.serial(channels) as c, nested(k, [a.kernel for a in lead]) as taps, k.serial(high.phases) as phase:
        plane = index(c)
        for axis, tap in zip(lead, taps, strict=True):
            plane = plane * axis.kernel + tap
        plane = named(k, "plane", (plane * high.phases + phase) * wide.phases)
        with k.serial(block.rows + high.reach) as row:
            places = [a.source(i, 0) + t * a.dilation for a, i, t in zip(lead, block.lead, taps, strict=True)]
            places.append(named(k, "source", high.source(block.row + row, high.residue(phase))))
            with k.when(inside(blocking.axes[:-1], places)):
                start = plane * blocking.plane + row * blocking.pitch
                store = _store(k, patch, start, blocking.plane)
                _copy_row(k, lanes, str(patch.ty.dtype), wide, block, partial(_at, load, c, places), store)


def _at(load: Callable[[Index, Indices], Expr], c: Index, places: Sequence[Index], column: Index) -> Expr:
    return load(c, (*places, column))


def _store(k: Loops, patch: Buffer, start: Index, plane: Index) -> _Store:
    return lambda phase, place, value: k.store(patch, (start + phase * plane + place,), value)


def inside(axes: Sequence[Axis], places: Sequence[Index]) -> Condition:
    """Whether places, of the axes that are padded, lie within the input."""
    padded = [(axis, index(place)) for axis, place in zip(axes, places, strict=True) if axis.is_padded]
    conditions = [c for axis, place in padded for c in (place >= 0, place < index(axis.size))]
    return tirx.all(*conditions) if conditions else True


def _copy_row(
    k: Loops, lanes: int, dtype: str, wide: Axis, block: Block, load: Callable[[Index], Expr], store: _Store
) -> None:
    """`store(phase, place in the row, load(input column))` for all places of each phase that lie inside the input."""
    count, stride = block.columns + wide.reach, wide.stride
    inner = [_inner(k, wide, block, count, wide.residue(phase)) for phase in range(wide.phases)]
    if stride == 1:
        (low, high, base) = inner[0]
        cover(k, named(k, "extent", maximum(0, high - low)), lanes, lambda j: store(0, j, load(base + j)), low)
        return

    def one_by_one(phase: int, first: Index, end: Index) -> None:
        with k.serial(maximum(0, end - first)) as i:
            store(phase, first + i, load(inner[phase][2] + (first + i) * stride))

    def narrow() -> None:
        for phase, (low, high, _) in enumerate(inner):
            one_by_one(phase, low, high)

    if stride > MOST:
        narrow()
        return
    origin = wide.source(block.column, 0)
    first = named(k, "first", maximum(0, div_up(-origin, stride)))
    end = named(k, "end", minimum(count, div_down(maximum(0, wide.size - origin), stride)))

    def in_vectors() -> None:
        """Places whose columns of all phases lie inside, whose vectors are read whole."""
        extent = named(k, "extent", end - first)
        with k.serial(div_up(extent, lanes)) as part:
            place = named(k, "place", first + minimum(part * lanes, extent - lanes))
            column = named(k, "column", origin + place * stride)
            apart = take_apart(k, lanes, dtype, stride, lambda j: load(column + j))
            for phase in range(wide.phases):
                vector = apart(int(wide.residue(phase)))
                with k.vectorized(lanes) as lane:
                    store(phase, place + lane, vector[lane])
        for phase, (low, high, _) in enumerate(inner):
            one_by_one(phase, low, first)
            one_by_one(phase, end, high)

    k.branch(end - first >= lanes, in_vectors, narrow)


def _inner(k: Loops, wide: Axis, block: Block, count: Index, residue: Index) -> tuple[Index, Index, Index]:
    """Of the places of a row for that residue: the first inside of the input, their end, and the column of place 0."""
    base = wide.source(block.column, residue)
    low = named(k, "low", maximum(0, div_up(-base, wide.stride)))
    return low, named(k, "high", minimum(count, div_up(wide.size - base, wide.stride))), base
