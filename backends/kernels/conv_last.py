"""Convolution of images whose channels come last: a matrix product per row of results, over taps and channels.

A register tile holds neighbouring results of a row by a block of result channels: inputs are broadcast, weights are
loaded in vectors. Where there is padding, a task first copies what it reads, with the padding, to a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tilewright.backends.kernels.conv_last_sizes import ConvLast, chunk_of, grid_of, reads, spread
from tilewright.backends.kernels.dots import multiply_dots
from tilewright.backends.kernels.interleaved import interleave
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.patches import Axis, Block, Grid, inside, normalised
from tilewright.backends.kernels.ranges import (
    Indices,
    cover,
    div_down,
    div_up,
    maximum,
    named,
    nested,
    product,
    remainder,
    tasks,
    unravel,
)
from tilewright.backends.kernels.tile import (
    Ahead,
    Out,
    RowOf,
    Sums,
    Tile,
    by_height,
    store_rows,
    summed_tile,
)

Store = Callable[[Index, Index, Indices, Expr, Expr], None]
Ask = Callable[[Index, Index, Indices, Index], None]


@dataclass(frozen=True)
class Planes:
    """An image of few channels, which come first: `load(n, places, c)` is an element, or a vector along the places."""

    load: Callable[[Index, Indices, Index], Expr]


@dataclass(frozen=True)
class Results:
    """Sums of a tile: of `height` neighbours along the last axis, at places(r), `width` channels from `outputs` on."""

    tile: Tile
    n: Index
    phase: Index
    places: Callable[[Index], Indices]
    outputs: Index
    height: Index
    width: Index
    sums: Sums


@dataclass(frozen=True)
class Row:
    """Sums of a single result channel: of `count` neighbours along the last axis, at places(j)."""

    n: Index
    phase: Index
    places: Callable[[Index], Indices]
    output: Index
    count: Index
    sums: Buffer


Keep = Callable[[Results], None]
KeepRow = Callable[[Row], None]


@dataclass(frozen=True)
class Source:
    """What a task reads: row y and column x of a leading tap begin at base + plane * tap + pitch * y + channels * x."""

    buffer: Buffer
    base: Index
    plane: Index
    pitch: Index


def emit_conv_last(
    k: Loops, tile: Tile, conv: ConvLast, image: Buffer | Planes, weights: Buffer, store: Store, ask: Ask | None = None
) -> None:
    """`store(n, phase, places, o, value)` for every result: the sum over taps and channels c of input times weight.

    `image` is [batch, *axes, channels], or has planes. `pack_conv_last` made `weights` for `tile.columns`, of
    groups * phases groups, or `pack_conv_dots` for `tile.dots`.
    `store` is called with vectors of result channels `o`, or of places along the last axis where tiles have a single
    channel, and must be idempotent; `ask(n, phase, places, o)` asks for their memory before.
    """

    def keep(found: Results) -> None:
        def finish(r: Expr, column: Expr, value: Expr) -> None:
            store(found.n, found.phase, found.places(r), found.outputs + column, value)

        store_rows(k, found.tile, found.height, found.width, found.sums, finish)

    def keep_row(row: Row) -> None:
        """Of whole vectors, which those of a tile seldom are."""

        def finish(j: Index) -> None:
            store(row.n, row.phase, row.places(j), index(row.output), row.sums[j])

        cover(k, row.count, tile.dots or tile.lanes, finish)

    emit_conv_last_tiles(k, tile, conv, image, weights, keep, keep_row if tile.columns == 1 else None, ask)


def emit_conv_last_tiles(
    k: Loops,
    tile: Tile,
    conv: ConvLast,
    image: Buffer | Planes,
    weights: Buffer,
    keep: Keep,
    keep_row: KeepRow | None = None,
    ask: Ask | None = None,
    *,
    whole: bool = False,
) -> None:
    """`keep(results)` for every tile, whose sums are `whole` as in `summed_tile`; else as `emit_conv_last`.

    It is called twice where the last tile of a row is smaller than the others. With `keep_row`, for tiles of a single
    channel, it is that which is called, for every row.
    """
    axes, restored = spread(*normalised(conv.axes), conv.channels)
    if isinstance(image, Planes):
        load = image.load
        image = Planes(lambda n, places, c: load(n, restored(places), c))
    else:
        image = k.view(image, (product((conv.batch, *(axis.size for axis in axes), conv.channels)),))
    conv = replace(conv, axes=axes)
    grid = grid_of(k, conv, tile)
    kernel = _Kernel(
        k,
        tile.for_rows(grid.columns),
        conv,
        grid,
        image,
        weights,
        restored,
        keep,
        keep_row,
        ask,
        whole,
    )
    kernel.emit()


@dataclass(frozen=True)
class Taps:
    """Neighbouring taps of an axis."""

    first: Index
    count: Index


def _inside_taps(k: Loops, axis: Axis, result: Index, neighbours: int = 1) -> Taps:
    """Those that read the image, and not only its padding, for neighbouring results of an axis."""
    if not axis.is_padded:
        return Taps(0, axis.kernel)
    origin, last = axis.source(result, 0), axis.source(result + (neighbours - 1), 0)
    first = named(k, "first", div_up(maximum(0, -last), axis.dilation))
    end = div_up(maximum(0, minimum(axis.size - origin, axis.kernel * axis.dilation)), axis.dilation)
    return Taps(first, named(k, "count", maximum(0, end - first)))


@dataclass(frozen=True)
class _Kernel:
    """The loops for images with at least two axes."""

    k: Loops
    tile: Tile
    conv: ConvLast
    grid: Grid
    image: Buffer | Planes
    weights: Buffer
    restored: Callable[[Indices], Indices]
    keep: Keep
    keep_row: KeepRow | None
    ask: Ask | None
    whole: bool

    @property
    def copies(self) -> bool:
        """Whether tasks read a copy, with padding and channels last."""
        *lead, high, wide = self.conv.axes
        return isinstance(self.image, Planes) or bool(lead) or high.is_padded or wide.is_padded

    @property
    def extents(self) -> tuple[int, ...]:
        """What a sum goes over: taps and channels, in one where those of neighbouring taps are neighbours."""
        *outer, last = [axis.kernel for axis in self.conv.axes]
        if self._taps_are_neighbours:
            return (*outer, last * self.conv.depth)
        return (*outer, last, self.conv.depth)

    @property
    def _taps_are_neighbours(self) -> bool:
        return self.conv.groups == 1 and self.conv.axes[-1].dilation == 1

    def emit(self) -> None:
        k, conv = self.k, self.conv
        groups, blocks, *_, columns = self.weights.shape
        outer, last = self.extents[:-1], self.extents[-1]
        weights = k.view(self.weights, (groups, blocks, *outer, *self._along(last), columns))
        grid = self.grid
        blocks = div_up(conv.per_group, self.tile.columns)
        outer, total = (conv.batch, *grid.blocks), conv.groups * conv.phases * blocks
        chunk = chunk_of(total, product(outer))
        with tasks(k, (*outer, div_up(total, chunk)), conv.worth()) as (n, *place, part):
            block = Block.at(k, grid, tuple(place))
            taps = [_inside_taps(k, axis, i) for axis, i in zip(conv.axes[:-2], block.lead, strict=True)]
            source = self._copy(block, n, taps) if self.copies else self._original(block, n)
            held = k.scratch("held", (grid.columns,), self.tile.sums) if self.keep_row else None
            with k.serial(minimum(chunk, total - part * chunk)) as b, k.serial(block.rows) as row:
                kernel, column_block = unravel(k, part * chunk + b, (conv.groups * conv.phases, blocks))
                at_block, places = (n, kernel, column_block), self._places(block, row)
                with k.serial(div_up(block.columns, self.tile.rows)) as t:
                    first = named(k, "first", index(t) * self.tile.rows)
                    self._tile(source, weights, block, taps, at_block, places, row, first, held)
                if self.keep_row and held is not None:
                    phase = remainder(kernel, conv.phases)
                    self.keep_row(Row(n, phase, places, self._outputs(kernel, column_block), block.columns, held))

    def _along(self, last: int) -> tuple[int, ...]:
        """How the weights of the last extent are divided, but for their last axis."""
        if self.tile.dots:
            return (div_up(last, self.tile.dots), self.tile.columns)
        return (last // self.tile.steps,)

    def _tile(
        self,
        source: Source,
        weights: Buffer,
        block: Block,
        taps: Sequence[Taps],
        at_block: Indices,
        places: Callable[[Index], Indices],
        row: Index,
        first: Index,
        held: Buffer | None,
    ) -> None:
        k, tile, conv = self.k, self.tile, self.conv
        n, kernel, b = at_block
        g, phase = div_down(kernel, conv.phases), remainder(kernel, conv.phases)
        *_, high, wide = conv.axes
        step = wide.stride * conv.channels
        start = source.base + row * (high.stride * source.pitch) + first * step + g * conv.depth
        at = named(k, "at", start)

        taps = [*taps, *self._taps_of_tile(block, first)]

        def of_all(place: Sequence[Expr]) -> Sequence[Expr]:
            known = [t.first + i for t, i in zip(taps, place, strict=False)]
            return (*known, *place[len(taps) :])

        def part(count: int, row_of: RowOf, out: Out) -> None:
            summed = multiply_dots if tile.dots else multiply
            summed(
                k, tile, count, (*(t.count for t in taps), *self.extents[len(taps) :]),
                lambda r, *place: source.buffer[at + row_of(r) * step + self._tap(source, of_all(place))],
                lambda *place: weights[(kernel, b, *of_all(place))],
                out,
            )  # fmt: skip

        outputs = self._outputs(kernel, b)

        def places_of_tile(r: Index) -> Indices:
            return places(first + r)

        whole = conv.per_group % tile.columns == 0
        width = tile.columns if whole else minimum(conv.per_group - b * tile.columns, tile.columns)

        def finish(height: Index) -> None:
            sums = summed_tile(k, tile, height, part, self._ahead(n, phase, places_of_tile, outputs), whole=self.whole)
            if held is not None:
                store_rows(k, tile, height, width, sums, lambda r, _, value: k.store(held, (first + r,), value))
            else:
                self.keep(Results(tile, n, phase, places_of_tile, outputs, height, width, sums))

        by_height(k, tile, block.columns, first, finish)

    def _places(self, block: Block, row: Index) -> Callable[[Index], Indices]:
        """Those of a row of the block."""
        return lambda j: self.restored((*block.lead, block.row + row, block.column + j))

    def _outputs(self, kernel: Index, b: Index) -> Index:
        """The first channel of a block of result channels."""
        return named(
            self.k, "outputs", div_down(kernel, self.conv.phases) * self.conv.per_group + b * self.tile.columns
        )

    def _taps_of_tile(self, block: Block, first: Index) -> list[Taps]:
        """Of the last two axes; of the last only where taps are so far apart that a tile may leave some out."""
        *_, high, wide = self.conv.axes
        taps = [Taps(0, high.kernel)]
        if not self._taps_are_neighbours and wide.dilation >= self.tile.rows * wide.stride:
            left = named(self.k, "left", block.column + first)
            taps.append(_inside_taps(self.k, wide, left, self.tile.rows))
        return taps

    def _ahead(self, n: Index, phase: Index, places: Callable[[Index], Indices], outputs: Index) -> Ahead | None:
        """Asks for what a tile's results need, by row and column of the tile."""
        ask = self.ask
        return None if ask is None else lambda r, column: ask(n, phase, places(r), outputs + column)

    def _tap(self, source: Source, place: Sequence[Expr]) -> Index:
        """Where a tap and channel lie, counted from the first tap's first channel."""
        *lead, high, wide = self.conv.axes
        plane: Index = 0
        for axis, tap in zip(lead, place[: len(lead)], strict=True):
            plane = plane * axis.kernel + tap
        i, *rest = place[len(lead) :]
        inner = rest[0] if self._taps_are_neighbours else rest[0] * (wide.dilation * self.conv.channels) + rest[1]
        return plane * source.plane + i * (high.dilation * source.pitch) + inner

    def _original(self, block: Block, n: Index) -> Source:
        """The image itself."""
        high, wide = self.conv.axes
        pitch = named(self.k, "pitch", wide.size * self.conv.channels)
        row = n * high.size + block.row * high.stride
        return Source(self.image, row * pitch + block.column * (wide.stride * self.conv.channels), 0, pitch)

    def _copy(self, block: Block, n: Index, taps: Sequence[Taps]) -> Source:
        """A patch: for each of `taps` of the leading axes the rows that the block reads, with the padding."""
        k, channels, grid = self.k, self.conv.channels, self.grid
        *lead, high, wide = self.conv.axes
        rows = named(k, "rows", reads(high, grid.rows))
        pitch = named(k, "pitch", reads(wide, grid.columns) * channels)
        plane = named(k, "plane", rows * pitch)
        patch = k.scratch("patch", (product([axis.kernel for axis in lead]) * plane,), self.tile.dtype)
        with nested(k, [t.count for t in taps]) as place, k.serial(reads(high, block.rows)) as y:
            start: Index = 0
            at = [t.first + i for t, i in zip(taps, place, strict=True)]
            for axis, tap in zip(lead, at, strict=True):
                start = start * axis.kernel + tap
            places = [a.source(i, 0) + t * a.dilation for a, i, t in zip(lead, block.lead, at, strict=True)]
            places.append(named(k, "source", high.source(block.row, 0) + y))
            lanes, to = self.tile.dots or self.tile.lanes, start * plane + y * pitch
            copy_row(k, lanes, self.conv, self.image, n, places, block, patch, to)
        return Source(patch, 0, plane, pitch)


def copy_row(
    k: Loops,
    lanes: int,
    conv: ConvLast,
    image: Buffer | Planes,
    n: Index,
    places: Sequence[Index],
    block: Block,
    patch: Buffer,
    start: Index,
) -> None:
    """One row of the image, at `places` of all axes but the last, to patch[start ...]: what `block` reads of it."""
    *outer, wide = conv.axes
    channels = conv.channels
    length = named(k, "length", reads(wide, block.columns))
    column = named(k, "column", wide.source(block.column, 0))
    zero = named(k, "zero", minimum(maximum(0, -column), length))
    end = named(k, "end", maximum(zero, minimum(length, wide.size - column)))

    def clear(first: Index, last: Index) -> None:
        extent = named(k, "extent", (last - first) * channels)
        cover(k, extent, lanes, lambda i: k.store(patch, (start + first * channels + i,), 0))

    def copy() -> None:
        count = named(k, "count", end - zero)
        if isinstance(image, Planes):
            _from_planes(k, lanes, channels, image, n, (*places, column + zero), count, patch, start + zero * channels)
        else:
            origin = named(k, "origin", _flat(n, places, outer) * wide.size + column) * channels
            skip = zero * channels
            move = partial(_move, k, patch, start + skip, image, origin + skip)
            cover(k, named(k, "extent", count * channels), lanes, move)
        clear(0, zero)
        clear(end, length)

    k.branch(inside(outer, places), copy, lambda: clear(0, length))


def _move(k: Loops, target: Buffer, to: Index, source: Buffer, at: Index, i: Index) -> None:
    k.store(target, (to + i,), source[at + i])


def _flat(n: Index, places: Sequence[Index], axes: Sequence[Axis]) -> Index:
    """The number of a row."""
    for axis, place in zip(axes, places, strict=True):
        n = n * axis.size + place
    return n


def _from_planes(
    k: Loops, lanes: int, channels: int, image: Planes, n: Index, first: Indices, count: Index, patch: Buffer, to: Index
) -> None:
    """`count` elements of a row of the image, from `first` on, to patch[to ...], their channels side by side."""
    *outer, column = first
    interleave(
        k, lanes, str(patch.ty.dtype), channels, count,
        lambda c, j: image.load(n, (*outer, column + j), c),
        lambda c, j, value: k.store(patch, (to + j * channels + c,), value),
    )  # fmt: skip
