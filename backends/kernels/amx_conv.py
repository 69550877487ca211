"""Convolution of float32 images, channels last, on the tiles of AMX: rows of tiles are neighbouring results.

The channels of all phases lie side by side: those of transposed convolutions, and of neighbouring results that are
computed as one. See `amx` for the pieces, `amx_image` for those of the image, `packing_pieces` for those of the
weights, and `amx_conv_choice` for when it is worth it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tvm import tirx

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx_between import Between, asking, nothing
from tilewright.backends.kernels.amx_conv_choice import LEAST_VECTOR, OnAmx, is_half, part_of, steps_of
from tilewright.backends.kernels.amx_image import Element, SplitImage
from tilewright.backends.kernels.amx_right import columns_of, right_of, split_step
from tilewright.backends.kernels.conv_last import Ask, Store
from tilewright.backends.kernels.conv_last_sizes import ConvLast, run_of
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const, index, minimum
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE
from tilewright.backends.kernels.patches import Block, Grid, even
from tilewright.backends.kernels.ranges import Indices, div_down, div_up, maximum, named, noted, product, tasks
from tilewright.backends.kernels.tile import Tile

_PASS = 24  # steps that are summed one by one: longer sums lose bits
_SLOTS = len(amx.TOGETHER[PIECES])


def emit_conv_on_amx(
    k: Loops, chosen: OnAmx, results: Index, image: Element, weights: Buffer, store: Store, ask: Ask | None = None
) -> None:
    """As `conv_last.emit_conv_last`, for places along two axes, the last of which has so many `results`.

    `pack_sums` made `weights`, by runs of `chosen.run`, of the channels of all phases.
    """
    conv, tile, count = chosen.conv, chosen.tile, chosen.neighbours
    high, wide = conv.axes
    # Not balanced: `part_of` fills whole tiles with the places of a part.
    grid = Grid(conv.axes, *part_of(partial(even, k), conv, high, wide, tile.amx), balanced=False)
    blocks, parts = int(weights.shape[0]), product((conv.batch, *grid.blocks))
    groups = named(k, "groups", minimum(blocks, div_up(tile.amx, maximum(parts, 1))))
    with tasks(k, (conv.batch, *grid.blocks, groups), conv.worth()) as (n, i, j, group):
        block = Block.at(k, grid, (i, j))
        first, beyond = (noted(k, index(div_down(part * blocks, groups)), "first") for part in (group, group + 1))

        def place_and_store(phase: Index, place: Indices, o: Expr, value: Expr) -> None:
            if count == 1:
                store(n, phase, place, o, value)
            else:
                store(n, 0, (place[0], place[1] * count + phase), o, value)

        def ask_for(place: Indices, column: Index, ask: Ask) -> None:
            """The result channel in that column, of those of all phases."""
            phase = div_down(column, conv.outputs) if conv.phases > 1 else 0
            o = column - phase * conv.outputs
            if count == 1:
                ask(n, phase, place, o)
            else:
                ask(n, 0, (place[0], place[1] * count + phase), o)

        amx.begin(k)
        split = SplitImage.of(k, conv, grid)
        split.split(image, n, block)
        right = _Weights.of(k, chosen, weights)
        asked = None if ask is None else partial(ask_for, ask=ask)
        task = _Task(k, tile, conv, grid, block, split, right, place_and_store, asked, count, results)
        task.emit(first, beyond)
        amx.end(k)


@dataclass(frozen=True)
class _Turn:
    """Pair `t` of tiles times a few `steps` of the sums of a `block` of result channels, from step `start` on.

    `number` is that of the pass.
    """

    block: Expr
    number: Index
    t: Index
    start: Index
    steps: Index


@dataclass(frozen=True)
class _Weights:
    """Those of a convolution. Unless they are `stored` in pieces, a block is split to `pieces`, a pass at a time."""

    k: Loops
    conv: ConvLast
    stored: Buffer
    pieces: Buffer | None

    @classmethod
    def of(cls, k: Loops, chosen: OnAmx, stored: Buffer) -> _Weights:
        pieces = None if chosen.in_pieces else k.scratch("right", (_PASS, PIECES, 2, ROWS, DEPTH), "uint16")
        return cls(k, chosen.conv, stored, pieces)

    def prepare(self, turn: _Turn) -> None:
        """What the first turn of a pass over a block does."""
        if self.pieces is None:
            return
        k, right, into = self.k, right_of(self.k, self.stored), self.k.view(self.pieces, (1, *_shape(self.pieces)))
        with k.when(index(turn.t) == 0), k.serial(turn.steps, name="d") as d:
            split_step(k, right, self._row, into, (0, d), turn.block, turn.start + d)

    def tiles(self, turn: _Turn) -> Callable[[Expr], Expr]:
        if self.pieces is None:
            return lambda d: self.stored[turn.block, turn.start + d, 0, 0, 0, 0]
        pieces = self.pieces
        return lambda d: pieces[d, 0, 0, 0, 0]

    def _row(self, step: Expr, i: Expr) -> tuple[Expr, Expr | bool]:
        """Which row of the weights is number `i` of a step, where the second half are the first one's neighbours."""
        run, pair = run_of(self.conv), div_down(i, ROWS)
        number = (i - pair * ROWS) * 2 + pair
        if run % DEPTH == 0:
            return index(step * DEPTH + number), True
        steps = -(-run // DEPTH)
        of_run = div_down(step, steps)
        within = (step - of_run * steps) * DEPTH + number
        if run < DEPTH:
            return index(of_run * run + minimum(within, run - 1)), within < run
        filled = -run % DEPTH  # zeros, before what is left for the last step
        last = within >= run // DEPTH * DEPTH
        row = tirx.Select(last, maximum(within - filled, 0), index(within))
        return index(of_run * run + row), tirx.any(tirx.Not(last), within - filled >= run // DEPTH * DEPTH)


def _shape(buffer: Buffer) -> list[int]:
    return [int(extent) for extent in buffer.shape]


@dataclass(frozen=True)
class _Task:
    """A block of results of an image, some `neighbours` of which are computed as one."""

    k: Loops
    tile: Tile
    conv: ConvLast
    grid: Grid
    block: Block
    image: SplitImage
    weights: _Weights
    store: Callable[[Index, Indices, Expr, Expr], None]
    ask: Callable[[Indices, Index], None] | None
    neighbours: int
    results: Index  # of a row, which fill so many places each

    @property
    def steps(self) -> int:
        return steps_of(self.conv)

    @property
    def passes(self) -> int:
        """Over the tiles, for each block of result channels."""
        return -(-self.steps // _PASS)

    @property
    def length(self) -> int:
        """Steps of a pass, but for the last one."""
        return -(-self.steps // self.passes)

    def emit(self, first: Expr, beyond: Expr) -> None:
        """Blocks `first` to `beyond` of the result channels of all phases."""
        k = self.k
        places = named(k, "places", self.block.rows * self.image.width)
        count = noted(k, index(div_up(places, SIDE)), "count")
        sums = k.scratch("sums", (SIDE, SIDE))
        pairs = div_up(self.grid.rows * self.image.width, SIDE)
        totals = k.scratch("totals", (pairs, SIDE, SIDE)) if self.passes > 1 else None
        turns = noted(k, index((beyond - first) * (self.passes * count)), "turns")
        with k.serial(turns + 1, name="turn") as number:
            with k.when(number < turns):
                self._multiply(self._turn(number, first, count), places)
            with k.when(number > 0):
                self._complete(self._turn(number - 1, first, count), places, sums, totals)
            with k.when(number < turns):
                amx.store_tiles(k, sums[0, 0])

    def _turn(self, turn: Expr, first: Expr, count: Expr) -> _Turn:
        """Pairs of tiles go by fastest, then passes."""
        k = self.k
        of_block = named(k, "of_block", div_down(turn, count))
        block = named(k, "block", div_down(of_block, self.passes))
        number = of_block - block * self.passes
        start = named(k, "start", number * self.length)
        steps = minimum(self.steps - start, self.length) if self.steps % self.length else self.length
        return _Turn(
            noted(k, index(first + block), "block"), number, named(k, "t", turn - of_block * count), start, steps
        )

    def _multiply(self, turn: _Turn, places: Index) -> None:
        k, columns = self.k, 1 if is_half(self.conv) else 2
        self.weights.prepare(turn)
        tiles, between = self.image.tiles(turn.t, places, turn.start), self._asking(turn)

        def multiply(rows: int) -> None:
            amx.multiply_in_tiles(k, turn.steps, tiles, self.weights.tiles(turn), PIECES, between, rows, columns)

        k.branch(places - turn.t * SIDE > ROWS, lambda: multiply(2), lambda: multiply(1))

    def _asking(self, turn: _Turn) -> Between:
        """For the results of the turn."""
        ask, outputs = self.ask, turn.block * SIDE
        if ask is None:
            return nothing

        def result(r: Index, c: int) -> None:
            place = turn.t * SIDE + r
            row = div_down(place, self.image.width)
            ask((self.block.row + row, self.block.column + (place - row * self.image.width)), outputs + c)

        return asking(self.k, self.tile, self.length, _SLOTS, result)

    def _complete(self, turn: _Turn, places: Index, sums: Buffer, totals: Buffer | None) -> None:
        """Finishes the sums of a turn, or adds them up until the last pass."""
        k, t = self.k, turn.t
        if totals is None:
            self._finish(turn, places, lambda r, c: sums[r, c])
            return
        with k.serial(SIDE, name="r") as r, k.serial(SIDE // ROWS) as half, k.vectorized(ROWS) as lane:
            c = half * ROWS + lane
            before = tirx.Select(turn.number > 0, totals[t, r, c], const(0, "float32"))
            k.store(totals, (t, r, c), before + sums[r, c])
        with k.when(turn.number == self.passes - 1):
            self._finish(turn, places, lambda r, c: totals[t, r, c])

    def _finish(self, turn: _Turn, places: Index, total: Callable[[Index, Expr], Expr]) -> None:
        """The results of a pair of tiles, row by row of those of the image that it has a share of."""
        k, width = self.k, self.image.width
        top = named(k, "top", turn.t * SIDE)
        end = named(k, "end", minimum(top + SIDE, places))
        first = named(k, "first", div_down(top, width))
        with k.serial(div_up(end, width) - first, name="row") as number:
            row = named(k, "row", first + number)
            start = named(k, "start", maximum(0, top - row * width))
            stop = minimum(self.block.columns, end - row * width)
            with k.serial(maximum(stop - start, 0), name="x") as i:
                x = named(k, "x", start + i)
                place, r = (self.block.row + row, self.block.column + x), named(k, "r", row * width + x - top)
                columns = named(k, "columns", columns_of(self._phases(place[1]) * self.conv.outputs, turn.block))
                self._store(turn.block, columns, place, partial(total, r))

    def _phases(self, column: Index) -> Index:
        """Of a place in that column, those that stand for results."""
        if self.neighbours == 1:
            return self.conv.phases
        return minimum(self.neighbours, self.results - column * self.neighbours)

    def _store(self, block: Expr, width: Index, place: Indices, total: Callable[[Expr], Expr]) -> None:
        """So many channels of a block, of those phases that have some in it."""
        k, conv, outputs, first = self.k, self.conv, self.conv.outputs, block * SIDE
        if conv.phases == 1:
            k.lanes(width, self.tile.lanes, lambda c: self.store(0, place, first + c, total(c)))
            return
        if outputs == 1 and self.neighbours > 1:
            k.lanes(width, self.tile.lanes, lambda c: self.store(first + c, place, index(0), total(c)))
            return
        lanes = math.gcd(outputs, self.tile.lanes) if outputs % LEAST_VECTOR == 0 else 1
        phase = named(k, "phase", div_down(first, outputs))
        with k.serial(div_up(first + width, outputs) - phase, name="number") as number:
            now = named(k, "now", phase + number)
            start = named(k, "start", maximum(0, first - now * outputs))
            end = minimum(outputs, first + width - now * outputs)
            column = named(k, "column", now * outputs + start - first)
            k.lanes(end - start, lanes, lambda c: self.store(now, place, start + c, total(column + c)))
