"""Depthwise convolution of images whose channels come last: each channel has a kernel of its own.

A tile is a few neighbouring results of a row by one vector of channels. Taps above and below the image are left out;
at the left and right edge, too, or what lies outside is replaced by zero where sizes are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tvm import tirx

from tilewright.backends.kernels.conv_last_sizes import ConvLast
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const, index, itemsize, minimum
from tilewright.backends.kernels.patches import Axis, normalised
from tilewright.backends.kernels.ranges import Indices, div_up, maximum, named, product, tasks
from tilewright.backends.kernels.tile import LINE, Vectors
from tilewright.ir.ops.reshape import flatten

_UNROLL = 9  # taps of a row
_EDGES = 6  # tiles of a row that read outside of it
_FAR = 1 << 18  # bytes of an image that do not stay in the second-level cache

Store = Callable[[Index, Indices, Expr, Expr], None]
Ask = Callable[[Index], None]


def emit_depthwise(
    k: Loops,
    machine: Vectors,
    conv: ConvLast,
    image: Buffer,
    weights: Buffer,
    store: Store,
    ask: Ask | None = None,
) -> None:
    """`store(n, places, c, value)` for every result: the sum over taps of channel c of input times weight.

    `image` is [batch, *axes, channels], `weights` [*kernel, channels]. `store` is called with vectors of channels and
    must be idempotent; `ask(place)` asks for the memory of a result, counted in row-major order.
    """
    axes, restored = normalised(conv.axes)
    kernel = Depthwise.of(k, machine, replace(conv, axes=axes), image, weights, ask)
    kernel.emit(lambda n, places, c, value: store(n, restored(places), c, value))


@dataclass(frozen=True)
class Depthwise:
    """The loops for images with at least two axes; `count` neighbouring results make a tile."""

    k: Loops
    lanes: int
    count: int
    conv: ConvLast
    image: Buffer
    weights: Buffer
    ask: Ask | None

    @classmethod
    def of(
        cls, k: Loops, machine: Vectors, conv: ConvLast, image: Buffer, weights: Buffer, ask: Ask | None = None
    ) -> Depthwise:
        """For operands as `emit_depthwise` says."""
        axes, channels = conv.axes, conv.channels
        flat = k.view(image, (product((conv.batch, *(axis.size for axis in axes), channels)),))
        packed = k.view(weights, (*(axis.kernel for axis in axes), channels))
        lanes = min(machine.lanes, 1 << (channels.bit_length() - 1))
        return cls(k, lanes, 3 * machine.registers // 8, conv, flat, packed, ask)

    def emit(self, store: Store) -> None:
        """A task is a row of results."""
        k, conv = self.k, self.conv
        *outer, _ = conv.axes
        with tasks(k, (conv.batch, *(axis.results for axis in outer)), conv.worth()) as row:
            self.row(store, row)

    def row(self, store: Store, row: Indices) -> None:
        """A row of results: that of an image at `row` of all axes but the last."""
        k, conv, count = self.k, self.conv, self.count
        *outer, wide = conv.axes
        ranges = [_taps_inside(k, axis, place) for axis, place in zip(outer, row[1:], strict=True)]
        results = wide.results

        def tile(first: Index, width: int, *, checked: bool) -> None:
            self._tile(store, row, ranges, first, width, checked=checked)

        def tiles() -> None:
            with k.serial(div_up(results, count)) as t:
                first = named(k, "first", minimum(index(t) * count, results - count))
                start, end = wide.source(first, 0), wide.source(first + (count - 1), 0) + _extent(wide)
                if not wide.is_padded:
                    tile(first, count, checked=False)
                    return
                inside = tirx.all(index(start) >= index(0), index(end) <= index(wide.size))
                k.branch(inside, lambda: tile(first, count, checked=False), lambda: tile(first, count, checked=True))

        def singles() -> None:
            with k.serial(results) as first:
                tile(first, 1, checked=True)

        if even := self.with_even_tiles():
            even._known_row(store, row, ranges)
        elif isinstance(results, int):
            (tiles if results >= count else singles)()
        else:
            k.branch(results >= count, tiles, singles)

    def with_even_tiles(self) -> Depthwise | None:
        """With as many tiles a row, but equally wide, if it is known which taps of which results lie outside.

        None, too, if that is so for so many tiles that the code would be long.
        """
        wide = self.conv.axes[-1]
        known = all(isinstance(size, int) for size in (wide.size, wide.before, wide.results))
        if not known or wide.results == 0 or wide.kernel > _UNROLL:
            return None
        even = replace(self, count=div_up(wide.results, div_up(wide.results, self.count)))
        return even if sum(not even._lies_inside(first) for first in even._firsts) <= _EDGES else None

    @property
    def _firsts(self) -> list[int]:
        """Where the tiles of a row of known size begin: the last may overlap the one before."""
        results = int(self.conv.axes[-1].results)
        return [min(first, results - self.count) for first in range(0, results, self.count)]

    def _known_row(self, store: Store, row: Indices, ranges: Sequence[tuple[Index, Index]]) -> None:
        """Tiles at the edges have code of their own, without the taps that lie outside."""
        inner = [t for t, first in enumerate(self._firsts) if self._lies_inside(first)]
        for t, first in enumerate(self._firsts):
            if t not in inner:
                self._tile(store, row, ranges, first, self.count, checked=False)
        if inner:
            with self.k.serial(len(inner), start=inner[0]) as t:
                first = named(self.k, "first", minimum(index(t) * self.count, self._firsts[-1]))
                self._tile(store, row, ranges, first, self.count, checked=False)

    def _lies_inside(self, first: int) -> bool:
        """Whether all taps of the tile that begins at a known place do."""
        wide = self.conv.axes[-1]
        return bool(wide.source(first, 0) >= 0 and wide.source(first + self.count - 1, 0) + _extent(wide) <= wide.size)

    def _tile(
        self,
        store: Store,
        row: Indices,
        ranges: Sequence[tuple[Index, Index]],
        first: Index,
        width: int,
        *,
        checked: bool,
    ) -> None:
        """`width` results of a row, all channels."""
        k, lanes, channels = self.k, self.lanes, self.conv.channels
        with k.serial(div_up(channels, lanes)) as block:
            channel = named(k, "channel", minimum(index(block) * lanes, channels - lanes))
            sums = [k.local(f"sum{p}", (lanes,), "float32") for p in range(width)]
            for each in sums:
                with k.vectorized(lanes) as lane:
                    k.store(each, (lane,), 0)
            self._ask_ahead(row, first, block)
            with _ranges(k, ranges) as taps:
                self._row_of_taps(row, taps, first, channel, sums, checked=checked)
            for p, each in enumerate(sums):
                with k.vectorized(lanes) as lane:
                    store(row[0], (*row[1:], first + p), channel + lane, each[lane])

    @property
    def _is_far(self) -> bool:
        """Whether the second-level cache may not hold the image."""
        size = product([axis.size for axis in self.conv.axes]) * self.conv.channels
        return not isinstance(size, int) or size * itemsize(self.image) > _FAR

    def _ask_ahead(self, row: Indices, first: Index, block: Index) -> None:
        """Asks for what the next tile needs and no tile did before: its share of this block of channels.

        These are the next columns in the lowest rows of the windows, and the next results. The processor does not
        foresee them, as a tile goes through many columns in turn.
        """
        if not self._is_far:
            return
        conv, count = self.conv, self.count
        *outer, wide = conv.axes
        high = outer[-1]
        *lead, lowest = (
            axis.source(result, 0) + (axis.kernel - 1) * axis.dilation
            for axis, result in zip(outer, row[1:], strict=True)
        )
        column = wide.source(first + (count - 1), 0) + _extent(wide)
        sizes = [1, *(axis.size for axis in conv.axes)]
        for up in range(min(high.stride, high.kernel)):
            start = flatten((row[0], *lead, lowest - up, column), sizes) * conv.channels
            for place in _lines(start, block, count * wide.stride * self.lanes):
                self.k.prefetch(self.image, (place,))
        if self.ask is not None:
            start = flatten((*row, first + count), [1, *(axis.results for axis in conv.axes)]) * conv.channels
            for place in _lines(start, block, count * self.lanes):
                self.ask(place)

    def _row_of_taps(
        self, row: Indices, taps: Indices, first: Index, channel: Index, sums: Sequence[Buffer], *, checked: bool
    ) -> None:
        k, conv = self.k, self.conv
        *outer, wide = conv.axes
        place = row[0]
        for axis, result, tap in zip(outer, row[1:], taps, strict=True):
            place = place * axis.size + axis.source(result, 0) + tap * axis.dilation
        start = named(k, "start", index(place) * wide.size)

        def step(j: Index) -> None:
            with k.vectorized(self.lanes) as lane:
                weight = k.let("weight", self.weights[(*taps, j, channel + lane)])
                for p, each in enumerate(sums):
                    column = wide.source(first + p, 0) + j * wide.dilation
                    if isinstance(column, int) and not 0 <= column < wide.size:
                        continue
                    value = self._element(start, column, channel + lane, checked=checked)
                    k.store(each, (lane,), each[lane] + weight * value)

        if wide.kernel > _UNROLL:
            with k.serial(wide.kernel) as j:
                step(j)
            return
        for j in range(wide.kernel):
            step(j)

    def _element(self, start: Expr, column: Index, channel: Expr, *, checked: bool) -> Expr:
        """An element of the image's row that begins at place `start`."""
        channels, size = self.conv.channels, self.conv.axes[-1].size
        if not checked:
            return self.image[(start + column) * channels + channel]
        nearest = maximum(0, minimum(index(column), size - 1))
        inside = tirx.all(index(column) >= index(0), index(column) < index(size))
        return tirx.Select(inside, self.image[(start + nearest) * channels + channel], const(0, "float32"))


def _lines(start: Index, part: Index, share: int) -> list[Index]:
    """Where the cache lines begin of part number `part` of the floats from `start` on, in shares of so many."""
    step = LINE // 4
    lines = -(-share // step)
    return [start + (part * lines + line) * step for line in range(lines)]


def _extent(axis: Axis) -> int:
    return (axis.kernel - 1) * axis.dilation + 1


def _taps_inside(k: Loops, axis: Axis, place: Index) -> tuple[Index, Index]:
    """The first tap that lies inside, and how many do."""
    if not axis.is_padded:
        return 0, axis.kernel
    start = named(k, "start", index(axis.source(place, 0)))
    first = named(k, "first", minimum(div_up(maximum(0, -start), axis.dilation), axis.kernel))
    end = minimum(div_up(maximum(0, axis.size - start), axis.dilation), axis.kernel)
    return first, named(k, "taps", maximum(0, end - first))


@contextmanager
def _ranges(k: Loops, ranges: Sequence[tuple[Index, Index]]) -> Iterator[Indices]:
    """Nested loops over ranges given by their start and extent."""
    if not ranges:
        yield ()
        return
    (start, extent), *rest = ranges
    with k.serial(extent, start=start) as i, _ranges(k, rest) as others:
        yield (i, *others)
