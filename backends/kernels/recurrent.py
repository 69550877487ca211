"""Recurrent layers: tasks that walk over time, each with one direction and some rows of the batch.

A step multiplies the rows' hidden states with the packed recurrent weights, by register tiles, and then takes row after
row through its cell. Scratch rows are padded to whole tiles, so that all loops over a row are whole vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.loops import (
    Buffer,
    Expr,
    Index,
    Loops,
    ceildiv,
    minimum,
    product,
    remainder,
)
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.ranges import cover, div_up, fits, maximum, named, nested
from tilewright.backends.kernels.scalars import Scalars
from tilewright.backends.kernels.tile import RowOf, Tile, by_height, row_tiles

Load = Callable[..., Expr]

Finish = Callable[[Expr, Expr, Expr], Expr]

Cell = Callable[["Task", int], Callable[[Expr], None]]

_TILES_PER_TASK = 4  # of rows, which share a pass over the weights


@dataclass(frozen=True)
class Layer:
    """Sizes, operands and results of a recurrent layer whose gates are `gates` * hidden wide.

    `backward` tells for each direction whether it runs from the end. `x(t, b, column)` is what a step adds to the
    gates, `weights(d, block, depth, column)` the packed recurrent weights, `initial[i](d, b, j)` the states to begin
    with, `lengths(b)` an index from 0 to `steps`, or None where all sequences have all steps. `extra` holds the cell's
    own parameters: the width of each in units of `hidden`, and how to read it, (d, column). `every` is [T, D, B, H],
    each of `last` [D, B, H].
    """

    dtype: str
    gates: int
    backward: tuple[bool, ...]
    steps: Index
    batch: Index
    hidden: Index
    x: Load
    weights: Load
    initial: Sequence[Load]
    lengths: Load | None
    extra: Sequence[tuple[int, Load]]
    every: Buffer
    last: Sequence[Buffer]


def walk(k: Loops, b: Scalars, tile: Tile, layer: Layer, threads: int, cell: Cell, *, alike: bool) -> None:
    """Runs `layer`. `cell(task, direction)` prepares what it needs, and gives what emits a step, for one direction.

    Where the directions are `alike`, one piece of code serves both.
    """
    directions = len(layer.backward)
    rows = named(k, "rows", _rows(tile, layer, threads))
    chunks = named(k, "chunks", div_up(layer.batch, rows))
    total = product((directions, chunks))
    with k.parallel(total, worth=not fits(total, 1)) as number:
        direction, chunk = k.indices(number, (directions, chunks))
        first = k.let("first", chunk * rows)
        whole = isinstance(rows, int) and isinstance(layer.batch, int) and layer.batch % rows == 0
        count = rows if whole else named(k, "count", minimum(rows, layer.batch - first))

        def run(code: int) -> None:
            task = Task(k, b, tile.for_rows(count), layer, direction, first, count)
            step = cell(task, code)
            with k.serial(layer.steps, name="s") as s:
                step(s)
            task.finish()

        if alike:
            run(0)
        else:
            k.branch(b.equal(direction, 0), lambda: run(0), lambda: run(1))


def _rows(tile: Tile, layer: Layer, threads: int) -> Index:
    """Rows of the batch for a task: all threads have some, but no more than what stays in the cache."""
    share = ceildiv(layer.batch * len(layer.backward), threads)
    return maximum(1, minimum(share, _TILES_PER_TASK * tile.rows))


class Task:
    """One direction and the rows `first` .. `first + count` of the batch, with their scratch memory."""

    def __init__(
        self, k: Loops, b: Scalars, tile: Tile, layer: Layer, direction: Expr, first: Expr, count: Index
    ) -> None:
        self.k, self.b, self.tile, self.layer = k, b, tile, layer
        self.direction, self.first, self.count = direction, first, count
        self.blocks = ceildiv(layer.hidden, tile.columns)
        self.padded = self.blocks * tile.columns
        self.gates = k.scratch("gates", (count, layer.gates * self.padded), layer.dtype)
        self.added = k.scratch("added", (layer.gates * self.padded,), layer.dtype)
        self.states = [k.scratch("state", (count, self.padded), layer.dtype) for _ in layer.initial]
        self.spare = k.scratch("spare", (self.padded,), layer.dtype)
        self.parameters = sum(parts for parts, _ in layer.extra)
        self.extra = k.scratch("extra", (max(1, self.parameters) * self.padded,), layer.dtype)
        self._clear(self.added, layer.gates)
        self._start()

    def _clear(self, buffer: Buffer, parts: int) -> None:
        with self.k.serial(parts * self.blocks * self.tile.vectors) as v, self.k.vectorized(self.tile.lanes) as lane:
            self.k.store(buffer, (v * self.tile.lanes + lane,), 0.0)

    def _start(self) -> None:
        """The states to begin with, and the cell's parameters, padded with zeros."""
        k, layer = self.k, self.layer
        zero = self.b.const(0, layer.dtype)
        for state, initial in zip(self.states, layer.initial, strict=True):

            def read(r: Expr, j: Expr, initial: Load = initial) -> Expr:
                return self.b.guard(j < layer.hidden, lambda: initial(self.direction, self.first + r, j), zero)

            with nested(k, (self.count, self.padded)) as (r, j):
                k.store(state, (r, j), read(r, j))
        if self.parameters:
            self._clear(self.extra, self.parameters)
        first = 0
        for parts, load in layer.extra:
            with nested(k, (parts, layer.hidden)) as (part, j):
                value = load(self.direction, part * layer.hidden + j)
                k.store(self.extra, ((part + first) * self.padded + j,), value)
            first += parts

    def finish(self) -> None:
        """The last states to where they belong."""
        for state, last in zip(self.states, self.layer.last, strict=True):
            with nested(self.k, (self.count, self.layer.hidden)) as (r, j):
                self.k.store(last, (self.direction, self.first + r, j), state[r, j])

    def multiply(self, s: Expr, left: Buffer, first: int, count: int, finish: Finish | None = None) -> None:
        """gates[r, g] = left[r] @ weights[g] for `count` gates from `first` on, and all rows, in step `s`.

        `finish(r, column, sum)` is stored instead of the sum, if it is given. Every other step goes through the weights
        from the end: where they are more than a cache holds, it has those that were last.
        """
        k, tile = self.k, self.tile
        blocks, heights = count * self.blocks, ceildiv(self.count, tile.rows)
        with k.serial(blocks, name="b") as b, k.serial(heights, name="i") as i:
            at = tirx.Select(remainder(s, 2) > 0, blocks - 1 - b, b)
            block = k.let("block", first * self.blocks + at)
            start = k.let("start", i * tile.rows)

            def part(rows: int, _: Index, row_of: RowOf) -> None:
                self._tile(left, block, lambda r: start + row_of(r), rows, finish)

            by_height(k, tile, self.count, start, lambda height: row_tiles(k, tile, height, part))

    def _tile(self, left: Buffer, block: Expr, row_of: RowOf, rows: int, finish: Finish | None) -> None:
        layer, columns = self.layer, self.tile.columns

        def store(r: Expr, v: int, lane: Expr, total: Expr) -> None:
            place = row_of(r), block * columns + (lane + v * self.tile.lanes)
            self.k.store(self.gates, place, total if finish is None else finish(*place, total))

        def weights(d: Expr, c: Expr) -> Expr:
            return layer.weights(self.direction, block, d, c)

        depth = ceildiv(layer.hidden, self.tile.steps) * self.tile.steps
        spare = self.tile.spare_quads(depth, weights)
        multiply(self.k, self.tile, rows, depth, lambda r, d: left[row_of(r), d], weights, store, spare)

    def rows(self, s: Expr, first: int, count: int, body: Callable[[Expr], None], last: bool) -> None:
        """`body(r)` for each row whose sequence has a step `s`, with what `x` adds to `count` gates at hand.

        The `last` pass of a step stores the hidden state, or zeros where the sequence has ended.
        """
        lengths = self.layer.lengths
        with self.k.serial(self.count, name="r") as r:
            if lengths is None:
                self._row(r, s, self.layer.steps, first, count, body, last)
                return
            length = self.k.let("length", lengths(self.first + r))
            self.k.branch(
                s < length,
                lambda: self._row(r, s, length, first, count, body, last),
                lambda: self._ended(r, s) if last else None,
            )

    def _row(
        self, r: Expr, s: Expr, length: Index, first: int, count: int, body: Callable[[Expr], None], last: bool
    ) -> None:
        time = self.k.let("time", self._time(s, length))
        self._add(r, time, first, count)
        body(r)
        if last:
            self._store(r, time, lambda j: self.states[0][r, j])

    def _ended(self, r: Expr, s: Expr) -> None:
        self._store(r, s, lambda j: self.b.const(0, self.layer.dtype))

    def _store(self, r: Expr, time: Expr, value: Callable[[Expr], Expr]) -> None:
        def store(j: Expr) -> None:
            self.k.store(self.layer.every, (time, self.direction, self.first + r, j), value(j))

        cover(self.k, self.layer.hidden, self.tile.lanes, store)

    def _time(self, s: Expr, length: Index) -> Expr:
        if not any(self.layer.backward):
            return s
        back = length - 1 - s
        return back if all(self.layer.backward) else self.b.select(self.b.equal(self.direction, 0), s, back)

    def _add(self, r: Expr, time: Expr, first: int, count: int) -> None:
        """added[g] = what x adds to the gates `first` .. `first + count` of row r."""
        k, layer = self.k, self.layer
        start = k.let("start", self.direction * (layer.gates * layer.hidden))
        for g in range(first, first + count):

            def copy(j: Expr, g: int = g) -> None:
                value = layer.x(time, self.first + r, start + g * layer.hidden + j)
                k.store(self.added, (g * self.padded + j,), value)

            cover(k, layer.hidden, self.tile.lanes, copy)

    # What cells are written with

    def each(self, body: Callable[[Expr], None]) -> None:
        """`body(j)` for all of a row, in vectors."""
        with self.k.serial(self.blocks * self.tile.vectors, name="v") as v, self.k.vectorized(self.tile.lanes) as lane:
            body(v * self.tile.lanes + lane)

    def place(self, r: Expr, g: int, j: Expr) -> tuple[Expr, Expr]:
        """Where element j of gate g is in `gates`."""
        return r, j + g * self.padded

    def parameter(self, part: int, j: Expr) -> Expr:
        """The cell's own parameter."""
        return self.extra[j + part * self.padded]
