"""Convolution of float32 images, channels last, on the tiles of AMX: rows of tiles are neighbouring results of a row.

A task splits what it reads of the image into pieces once, with the padding, and channels filled up with zeros to whole
steps. A tile of any tap then lies there to be loaded, with results' strides between its rows. See `amx` for the pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx import DEPTH, PIECES, ROWS, SIDE, Tiles
from tilewright.backends.kernels.amx_gemm import BETTER, COSTS, float_tile
from tilewright.backends.kernels.amx_right import (
    columns_of,
    right_of,
    right_scratch,
    share_of_rows,
    split_row,
    split_step,
    vector,
)
from tilewright.backends.kernels.conv_last import Ask, ConvLast, Store, reads
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, const, index, minimum
from tilewright.backends.kernels.patches import Axis, Block, Grid, even, normalised
from tilewright.backends.kernels.ranges import Indices, div_down, div_up, maximum, named, product, remainder, tasks
from tilewright.backends.kernels.tile import Tile, Vectors, ask_ahead

_LEAST_PLACES = 64  # of an image, where they are known
_SIZE = 100  # of an image, where it is not known
_PLACES = 256  # of a task, at most
_SPLIT = 1 << 17  # numbers that a task splits, but for those around: their pieces stay in the second-level cache
_MOST_SPLIT = 3 << 16  # with those around
_PASS = 24  # steps of a block that are split at once, at most


def conv_tile_on_amx(machine: Vectors, conv: ConvLast) -> Tile | None:
    """The tile for a convolution on AMX, or None where the vector units are better."""
    axes = normalised(conv.axes)[0]
    if not machine.amx or conv.groups > 1 or len(axes) != 2 or conv.channels < ROWS:
        return None
    places = [axis.results for axis in axes]
    if all(isinstance(size, int) for size in places) and product(places) < _LEAST_PLACES:
        return None
    if _cost(conv, axes) * BETTER > _cost_on_vectors(conv):
        return None
    return float_tile(machine)


@dataclass(frozen=True)
class _Part:
    """What a task computes, in results of each axis, and reads, in elements of each."""

    rows: int
    columns: int
    read: int

    @classmethod
    def of(cls, high: Axis, wide: Axis, channels: int) -> _Part:
        """That of a convolution, as `_grid` makes it. Sizes that are not known are taken for `_SIZE`."""
        down, across = (axis.results if isinstance(axis.results, int) else _SIZE for axis in (high, wide))
        budget = _budget(channels, wide)
        columns = -(-across // -(-across // budget))
        rows = min(down, max(1, budget // (columns * high.stride)))
        return cls(rows, columns, int(reads(high, rows) * reads(wide, columns)))

    @property
    def pairs(self) -> int:
        """Of tiles."""
        return -(-self.rows * -(-self.columns // ROWS) // 2)


def _cost(conv: ConvLast, axes: tuple[Axis, ...]) -> float:
    """Nanoseconds for `SIDE` results, about."""
    high, wide = axes
    costs, part = COSTS[PIECES], _Part.of(high, wide, conv.channels)
    if part.read * -(-conv.channels // DEPTH) * DEPTH > _MOST_SPLIT:
        return math.inf
    blocks, steps = conv.phases * -(-conv.outputs // SIDE), _steps(conv)
    multiplied = blocks * steps * (costs.multiply * part.pairs + costs.split_right)
    split = costs.split_left * conv.channels / DEPTH * part.read / SIDE
    return (multiplied + split) * SIDE / (part.rows * part.columns) + blocks * costs.finish


def _cost_on_vectors(conv: ConvLast) -> float:
    costs = COSTS[PIECES]
    columns = conv.phases * -(-conv.outputs // ROWS) / 2
    return columns * (costs.on_vectors * conv.terms / DEPTH + costs.finish_on_vectors)


def _steps(conv: ConvLast) -> int:
    taps = int(product([axis.kernel for axis in conv.axes]))
    return taps * -(-conv.channels // DEPTH)


def emit_conv_on_amx(
    k: Loops, tile: Tile, conv: ConvLast, image: Buffer, weights: Buffer, store: Store, ask: Ask | None = None
) -> None:
    """As `conv_last.emit_conv_last`, for a `tile` that `conv_tile_on_amx` gave."""
    axes, restored = normalised(conv.axes)
    high, wide = axes
    flat = k.view(image, (product((conv.batch, high.size, wide.size, conv.channels)),))
    kernels, column_blocks = int(weights.shape[0]), int(weights.shape[1])
    packed = k.view(weights, (kernels * column_blocks, conv.terms, SIDE))
    grid = _grid(k, high, wide, conv.channels)
    blocks, parts = kernels * column_blocks, product((conv.batch, *grid.blocks))
    groups = named(k, "groups", minimum(blocks, div_up(tile.amx, maximum(parts, 1))))
    with tasks(k, (conv.batch, *grid.blocks, groups), conv.worth()) as (n, i, j, group):
        block = Block.at(k, grid, (i, j))
        first, beyond = div_down(group * blocks, groups), div_down((group + 1) * blocks, groups)
        task = _Task(k, tile, replace(conv, axes=axes), grid, block, n, flat, packed, column_blocks)
        amx.begin(k)
        task.emit(
            k.let("first", index(first)), k.let("beyond", index(beyond)),
            lambda phase, places, o, value: store(n, phase, restored(places), o, value),
            None if ask is None else lambda places, o: ask(n, restored(places), o),
        )  # fmt: skip
        amx.end(k)


def _grid(k: Loops, high: Axis, wide: Axis, channels: int) -> Grid:
    """Blocks of results whose inputs' pieces the cache holds, whole rows if they fit, all of about the same size."""
    budget = _budget(channels, wide)
    columns = even(k, wide.results, budget)
    rows = maximum(1, div_down(budget, columns * high.stride))
    return Grid((high, wide), even(k, high.results, rows), columns)


def _budget(channels: int, wide: Axis) -> int:
    """Results of a task, about."""
    return max(SIDE, min(_PLACES, _SPLIT // (-(-channels // DEPTH) * DEPTH * wide.stride)))


@dataclass(frozen=True)
class _Task:
    """A block of results of image `n`, for all blocks of result channels."""

    k: Loops
    tile: Tile
    conv: ConvLast
    grid: Grid
    block: Block
    n: Index
    image: Buffer
    weights: Buffer
    column_blocks: int

    @property
    def per_tap(self) -> int:
        """Steps."""
        return -(-self.conv.channels // DEPTH)

    @property
    def padded(self) -> int:
        """Channels, filled up to whole steps."""
        return self.per_tap * DEPTH

    def emit(
        self, first: Expr, beyond: Expr, store: Callable[[Index, Indices, Expr, Expr], None],
        ask: Callable[[Indices, Index], None] | None,
    ) -> None:  # fmt: skip
        """Blocks `first` to `beyond` of the result channels of all phases, a few steps of each at once."""
        k, (high, wide) = self.k, self.conv.axes
        right, steps = right_of(k, self.weights), _steps(self.conv)
        passes = -(-steps // _PASS)
        length = -(-steps // passes)
        pitch = named(k, "pitch", reads(wide, self.grid.columns) * self.padded)
        plane = named(k, "plane", reads(high, self.grid.rows) * pitch)
        beyond_last = ROWS * wide.stride * self.padded  # elements of rows of tiles that stand for nothing
        left = k.scratch("left", (PIECES * plane + beyond_last,), "uint16")
        self._split(left, pitch, plane)
        across = named(k, "across", div_up(self.grid.columns, ROWS))
        pieces, pairs = right_scratch(k, length, PIECES), div_up(self.grid.rows * across, 2)
        sums = k.scratch("sums", (pairs * SIDE, SIDE))
        totals = k.scratch("totals", (pairs * SIDE, SIDE)) if passes > 1 else sums
        halves = named(k, "halves", self.block.rows * across)
        count = k.let("pairs", index(div_up(halves, 2)))
        with k.serial(length, name="d") as d:
            split_step(k, right, self._row, pieces, (0, d), first, d)
        with k.serial(beyond - first, name="block") as b, k.serial(passes, name="pass") as number:
            block, now = k.let("block", first + b), k.let("now", index(remainder(b * passes + number, 2)))
            start = k.let("start", number * length)
            after = k.let("after", index(remainder(number + 1, passes) * length))
            following = k.let("following", minimum(block + div_down(number + 1, passes), beyond - 1))
            here, there = (minimum(steps - at, length) if steps % length else length for at in (start, after))
            with k.serial(count, name="t") as t:
                places = [self._half(pitch, across, minimum(2 * t + h, halves - 1)) for h in range(2)]
                second = k.let("second", index((places[1] - places[0]) * 2))
                amx.multiply(
                    k, here,
                    lambda d: Tiles(left[places[0] + self._tap(pitch, start + d)],
                                    2 * wide.stride * self.padded, second, 2 * plane),
                    lambda d: pieces[now, d, 0, 0, 0, 0], PIECES, sums[t * SIDE, 0],
                    share_of_rows(k, right.slots, count, t, lambda d, j: split_row(
                        k, right, self._row, pieces, (1 - now, d), following, after + d, j)),
                )  # fmt: skip
            if steps % length:
                with k.serial(maximum(there - here, 0), start=here, name="d") as d:
                    split_step(k, right, self._row, pieces, (1 - now, d), following, after + d)
            if passes > 1:
                self._add_up(sums, totals, count, number)
            with k.when(number == passes - 1 if passes > 1 else True):
                self._finish(totals, across, block, store, ask)

    def _split(self, left: Buffer, pitch: Index, plane: Index) -> None:
        """The pieces of all that the block reads, place by place; zeros outside of the image."""
        k, (high, wide), conv = self.k, self.conv.axes, self.conv
        with k.serial(reads(high, self.block.rows), name="y") as y:
            row = named(k, "row", high.source(self.block.row, 0) + y)
            with k.serial(reads(wide, self.block.columns), name="x") as x:
                column = named(k, "column", wide.source(self.block.column, 0) + x)
                inside = self._inside(high, row) + self._inside(wide, column)
                source = named(k, "source", ((self.n * high.size + row) * wide.size + column) * conv.channels)
                to = named(k, "to", y * pitch + x * self.padded)

                def copy(source: Index = source, to: Index = to) -> None:
                    whole = conv.channels // DEPTH
                    with k.serial(whole, name="c") as c:
                        first, second = (self._sixteen(source + c * DEPTH + half) for half in (0, ROWS))
                        amx.store_pieces(k, first, second, left[to + c * DEPTH], apart=2 * plane)
                    if conv.channels % DEPTH:
                        amx.store_rest(
                            k, lambda lane: self.image[source + whole * DEPTH + lane],
                            conv.channels % DEPTH, left[to + whole * DEPTH], apart=2 * plane,
                        )  # fmt: skip

                def clear(to: Index = to) -> None:
                    with k.serial(self.per_tap * PIECES, name="c") as c:
                        p = div_down(c, self.per_tap)
                        place = to + p * plane + (c - p * self.per_tap) * DEPTH
                        with k.vectorized(DEPTH) as lane:
                            k.store(left, (place + lane,), 0)

                if inside:
                    k.branch(tirx.all(*inside), copy, clear)
                else:
                    copy()

    def _sixteen(self, place: Index) -> Expr:
        return vector(self.k, lambda lane: self.image[place + lane])

    def _inside(self, axis: Axis, place: Index) -> list[Condition]:
        return [index(place) >= 0, index(place) < index(axis.size)] if axis.is_padded else []

    def _half(self, pitch: Index, across: Index, half: Expr) -> Expr:
        """Where the first tap of the first of `ROWS` results of a row lies."""
        high, wide = self.conv.axes
        row = div_down(half, across)
        step = row * (pitch * high.stride) + (half - row * across) * (ROWS * wide.stride * self.padded)
        return self.k.let("half", index(step))

    def _tap(self, pitch: Index, step: Expr) -> Index:
        """How far from the first tap the tap and channels of a step lie."""
        high, wide = self.conv.axes
        tap = div_down(step, self.per_tap)
        down = div_down(tap, wide.kernel)
        right = tap - down * wide.kernel
        channels = (step - tap * self.per_tap) * DEPTH
        return down * high.dilation * pitch + right * (wide.dilation * self.padded) + channels

    def _row(self, step: Expr, i: Expr) -> tuple[Expr, Expr | bool]:
        """Which row of the weights is number `i` of a step; beyond the last step, of that one."""
        channels = self.conv.channels
        step = minimum(step, _steps(self.conv) - 1)
        if channels % DEPTH == 0:
            return step * DEPTH + i, True
        tap = div_down(step, self.per_tap)
        channel = (step - tap * self.per_tap) * DEPTH + i
        return tap * channels + minimum(channel, channels - 1), channel < channels

    def _add_up(self, sums: Buffer, totals: Buffer, count: Expr, number: Expr) -> None:
        k = self.k
        with k.serial(count * SIDE, name="r") as r, k.serial(SIDE // ROWS) as half, k.vectorized(ROWS) as lane:
            c = half * ROWS + lane
            before = tirx.Select(number > 0, totals[r, c], const(0, "float32"))
            k.store(totals, (r, c), before + sums[r, c])

    def _finish(
        self, totals: Buffer, across: Index, block: Expr, store: Callable[[Index, Indices, Expr, Expr], None],
        ask: Callable[[Indices, Index], None] | None,
    ) -> None:  # fmt: skip
        k, conv = self.k, self.conv
        kernel = div_down(block, self.column_blocks)
        outputs = named(k, "outputs", (block - kernel * self.column_blocks) * SIDE)
        width = columns_of(conv.outputs, div_down(outputs, SIDE))
        with k.serial(self.block.rows, name="row") as row, k.serial(self.block.columns, name="x") as x:
            place = (self.block.row + row, self.block.column + x)
            r = named(k, "r", row * (across * ROWS) + x)
            if ask is not None:
                tile = replace(self.tile, rows=1)
                ahead = (place[0], place[1] + 2)
                ask_ahead(k, tile, lambda _, c: ask(ahead, outputs + c))
            k.lanes(
                width,
                self.tile.lanes,
                lambda c: store(remainder(kernel, conv.phases), place, outputs + c, totals[r, c]),
            )
