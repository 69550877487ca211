"""Scaled dot-product attention in one kernel: the scores of a few query rows at a time, never the whole matrix.

A task copies the keys of one head, transposed, and its values to panels of whole vectors. Then, for each block of query
rows: scores = Q K^T by a register tile, softmax in place, output = scores V by the same tile, divided by the sums last.

Where there are few queries, as when a text goes on word by word, keys and values are read where they lie, for each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tvm import tirx

from tilewright.backends.kernels import vmath
from tilewright.backends.kernels.dots import multiply_dots
from tilewright.backends.kernels.logic import is_nan
from tilewright.backends.kernels.loops import (
    FORK_WORK,
    Condition,
    Expr,
    Index,
    Loops,
    ceildiv,
    const,
    index,
    minimum,
    product,
    quotient,
)
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.ranges import maximum
from tilewright.backends.kernels.tile import Tile, Vectors, fold_lanes
from tilewright.backends.kernels.transposed import turn

Load = Callable[[Expr, Expr, Expr, Expr], Expr]
Fold = Callable[[Expr, Expr], Expr]
Store = Callable[[Expr, Expr, Expr, Expr, Expr], None]

LOWEST = const(-math.inf, "float32")
_FEWEST, _MOST = 128, 256  # query rows, about, that share one copy of the keys and values
_TASKS = 4  # a head, if there are rows enough
_FEW = 4  # queries that take less time than copying the keys and values
_COLUMNS = 4  # vectors of a row of values that are summed at once
_ALONE = 4  # queries of a block that take as long as one that goes by itself
_SOFTMAX = 32  # multiply-adds that take as long as the softmax of one score


@dataclass(frozen=True)
class Attention:
    """Sizes and operands. `query(b, h, i, d)`, `key(b, h, j, d)`, `value(b, h, j, e)` give float32.

    `softcap` c, unless 0, makes a scaled score x into c * tanh(x / c); then `mask(b, h, i, j)` is added. A row without
    any finite score gives NaN, or 0 with `nan_to_zero`. With `excluding` a mask of -inf hides a key whatever its score
    is, and a row without keys gives 0.
    """

    batch: Index
    heads: Index
    queries: Index
    keys: Index
    depth: int
    width: int
    scale: float
    query: Load
    key: Load
    value: Load
    mask: Load | None = None
    nan_to_zero: bool = False
    softcap: float = 0.0
    excluding: bool = False
    in_rows: bool = True
    """Whether neighbours along a key, and along a value, are neighbours in memory."""


def attention_tile(machine: Vectors) -> Tile:
    """Two vectors wide, so that heads of 32 and 64 fill it on AVX-512; as high as there are registers for sums."""
    return Tile(12 if machine.registers >= 32 else 6, 2 * machine.lanes, machine.lanes)


def attention(k: Loops, machine: Vectors, sizes: Attention, store: Store) -> None:
    """store(b, h, i, e, softmax(scale * Q K^T + mask) V) for i < queries and e < width."""
    tile = attention_tile(machine)
    rows = minimum(maximum(ceildiv(sizes.queries, _TASKS), _FEWEST), _MOST)
    share = ceildiv(rows, tile.rows) * tile.rows  # whole tiles, so that none reaches into the next task
    chunks = ceildiv(sizes.queries, share)
    few = _are_few(machine, sizes)
    with k.parallel(sizes.batch * sizes.heads * chunks, worth=_work(tile, sizes, few) >= FORK_WORK) as task:
        b, h, chunk = k.indices(task, (sizes.batch, sizes.heads, chunks))
        start = k.let("start", chunk * share)
        head, count = _Head(k, tile, sizes, b, h, store), minimum(sizes.queries - start, share)
        k.branch(few, partial(head.few_rows, machine, start, count), partial(head.rows, start, count))


def _are_few(machine: Vectors, sizes: Attention) -> Condition:
    """Whether the queries go one by one, in vectors along keys and values."""
    if not machine.fuses or sizes.depth % machine.lanes or sizes.width % machine.lanes:
        return False
    return sizes.queries <= (_FEW if sizes.in_rows else 1)


def _work(tile: Tile, sizes: Attention, few: Condition) -> Index:
    """Multiply-adds, with those of padding."""
    rows, alone = ceildiv(sizes.queries, tile.rows) * tile.rows, sizes.queries * _ALONE
    if isinstance(few, bool):
        rows = alone if few else rows
    else:
        rows = tirx.Select(few, index(alone), index(rows))
    columns = ceildiv(sizes.keys, tile.columns) * tile.columns
    return product((sizes.batch, sizes.heads, rows, columns, sizes.depth + sizes.width + _SOFTMAX))


class _Head:
    """A task and its scratch: keys as [blocks, depth, columns], values as [blocks, keys, columns], blocks of rows."""

    def __init__(self, k: Loops, tile: Tile, sizes: Attention, b: Expr, h: Expr, store: Store) -> None:
        self.k, self.tile, self.sizes, self.b, self.h, self.store = k, tile, sizes, b, h, store
        self.key_blocks = ceildiv(sizes.keys, tile.columns)
        self.value_blocks = ceildiv(sizes.width, tile.columns)
        self.padded_keys = self.key_blocks * tile.columns
        self.queries = k.scratch("queries", (tile.rows, sizes.depth))
        self.scores = k.scratch("scores", (tile.rows, self.padded_keys))
        self.factors = k.local("factors", (tile.rows,))

    def rows(self, start: Expr, count: Index) -> None:
        """All the work of the task: query rows start .. start + count."""
        k, tile, sizes = self.k, self.tile, self.sizes
        self.keys = k.scratch("keys", (self.key_blocks, sizes.depth, tile.columns))
        self.values = k.scratch("values", (self.value_blocks, sizes.keys, tile.columns))
        self.output = k.scratch("output", (tile.rows, tile.columns))
        self._pack_keys()
        self._pack_values()
        with k.serial(ceildiv(count, tile.rows), name="block") as block:
            first = k.let("first", start + block * tile.rows)
            height = k.let("height", index(minimum(sizes.queries - first, tile.rows)))
            self._pack_queries(first, height)
            self._multiply_keys()
            with k.serial(height, name="r") as r:
                self._softmax(first, r)
            self._multiply_values(first, height)

    def few_rows(self, machine: Vectors, start: Expr, count: Index) -> None:
        """As `rows`, without copies."""
        with self.k.serial(count, name="row") as row:
            place = self.k.let("place", start + row)
            self._scale_query(place, index(0))
            self._score_keys(machine)
            self._softmax(place, index(0))
            self._sum_values(machine, place)

    def _score_keys(self, machine: Vectors) -> None:
        """Of the first query, as many as fit into a vector at once."""
        k, lanes = self.k, machine.lanes
        tile = Tile(lanes, 1, 1, fuses=True, registers=machine.registers, dots=lanes)
        with k.serial(ceildiv(self.sizes.keys, lanes), name="block") as block:
            first = k.let("first", block * lanes)
            keys = [k.let("key", index(minimum(first + r, self.sizes.keys - 1))) for r in range(lanes)]
            multiply_dots(
                k, tile, lanes, (self.sizes.depth,),
                lambda r, d: self.sizes.key(self.b, self.h, keys[r], d),
                lambda number, _, lane: self.queries[0, number * lanes + lane],
                lambda r, v, lane, total: k.store(self.scores, (0, first + r), total),
            )  # fmt: skip

    def _sum_values(self, machine: Vectors, row: Expr) -> None:
        """Weighted, for the first query."""
        factor = self.k.let("factor", self.factors[0])
        for column in range(0, self.sizes.width, _COLUMNS * machine.lanes):
            self._sum_columns(machine, row, column, factor)

    def _sum_columns(self, machine: Vectors, row: Expr, column: int, factor: Expr) -> None:
        lanes = machine.lanes
        tile = Tile(1, min(_COLUMNS * lanes, self.sizes.width - column), lanes)
        multiply(
            self.k, tile, 1, self.sizes.keys,
            lambda r, j: self.scores[r, j],
            lambda j, c: self.sizes.value(self.b, self.h, j, column + c),
            lambda r, v, lane, total: self._finish(row, column + v * lanes + lane, total, factor),
        )  # fmt: skip

    def _pack_keys(self) -> None:
        """Transposed; beyond the last key that one again."""
        k, depth, columns, lanes = self.k, self.sizes.depth, self.tile.columns, self.tile.lanes
        whole = depth - depth % lanes
        with k.serial(self.key_blocks, name="block") as block, k.serial(self.tile.vectors, name="v") as v:
            first = k.let("first", block * columns + v * lanes)
            keys = [k.let("key", index(minimum(first + row, self.sizes.keys - 1))) for row in range(lanes)]
            with k.serial(whole // lanes, name="d") as d:
                self._turn_keys(keys, block, v * lanes, k.let("place", d * lanes))
            with k.serial(depth - whole, start=whole, name="d") as d:
                for j, key in enumerate(keys):
                    k.store(self.keys, (block, d, v * lanes + j), self.sizes.key(self.b, self.h, key, d))

    def _turn_keys(self, keys: Sequence[Expr], block: Expr, column: Expr, place: Expr) -> None:
        """As many numbers of each of as many keys as a vector has, into columns of the panel from `column` on."""

        def load(row: int, lane: Expr) -> Expr:
            return self.sizes.key(self.b, self.h, keys[row], place + lane)

        def store(d: int, vector: Expr) -> None:
            where = [block, place + d, tirx.Ramp(column, index(1), self.tile.lanes)]
            self.k.emit(tirx.BufferStore(self.keys, vector, where))

        turn(self.k, self.tile.lanes, "float32", load, store)

    def _pack_values(self) -> None:
        """Zero beyond the last column."""
        with self.k.serial(self.sizes.keys, name="j") as j:
            for block in range(int(self.value_blocks)):
                self._pack_value_row(j, block)

    def _pack_value_row(self, j: Expr, block: int) -> None:
        k, columns = self.k, self.tile.columns
        first = block * columns
        count = min(columns, self.sizes.width - first)

        def copy(e: Expr) -> None:
            k.store(self.values, (block, j, e), self.sizes.value(self.b, self.h, j, e + first))

        k.lanes(count, self.tile.lanes, copy)
        with k.serial(columns - count, start=count, name="e") as e:
            k.store(self.values, (block, j, e), 0.0)

    def _pack_queries(self, first: Expr, height: Expr) -> None:
        """Scaled; rows beyond the last are zero."""
        k = self.k
        with k.serial(height, name="r") as r:
            self._scale_query(first + r, r)
        with k.serial(self.tile.rows - height, start=height, name="r") as r, k.serial(self.sizes.depth, name="d") as d:
            k.store(self.queries, (r, d), 0.0)

    def _scale_query(self, place: Expr, r: Expr) -> None:
        k, sizes = self.k, self.sizes
        scale = const(sizes.scale, "float32")
        k.lanes(sizes.depth, self.tile.lanes, lambda d: k.store(
            self.queries, (r, d), sizes.query(self.b, self.h, place, d) * scale))  # fmt: skip

    def _multiply_keys(self) -> None:
        k, tile = self.k, self.tile
        with k.serial(self.key_blocks, name="block") as block:
            multiply(
                k, tile, tile.rows, self.sizes.depth,
                lambda r, d: self.queries[r, d],
                lambda d, c: self.keys[block, d, c],
                lambda r, v, lane, total: k.store(
                    self.scores, (r, block * tile.columns + (lane + v * tile.lanes)), total),
            )  # fmt: skip

    def _softmax(self, first: Expr, r: Expr) -> None:
        """scores[r] = e**(score - largest); factors[r] = 1 / their sum. Keys beyond the last become 0."""
        k, sizes = self.k, self.sizes
        if sizes.mask is not None or sizes.softcap:
            k.lanes(sizes.keys, self.tile.lanes, lambda j: k.store(self.scores, (r, j), self._score(first, r, j)))
        with k.serial(self.padded_keys - sizes.keys, start=sizes.keys, name="j") as j:
            k.store(self.scores, (r, j), -math.inf)
        largest = self._fold_row(r, -math.inf, tirx.max, lambda j: self.scores[r, j])
        if sizes.excluding:
            largest = k.let("largest", tirx.Select(largest == LOWEST, const(0.0, "float32"), largest))

        def weight(j: Expr) -> Expr:
            k.store(self.scores, (r, j), vmath.exp_or_zero(self.scores[r, j] - largest))
            return self.scores[r, j]

        total = self._fold_row(r, 0.0, tirx.Add, weight)
        factor = const(1.0, "float32") / total
        if sizes.excluding:
            factor = tirx.Select(total == const(0.0, "float32"), const(0.0, "float32"), factor)
        k.store(self.factors, (r,), factor)

    def _score(self, first: Expr, r: Expr, j: Expr) -> Expr:
        """The score of a key, capped and masked."""
        score, sizes = self.scores[r, j], self.sizes
        if sizes.softcap:
            cap = const(sizes.softcap, "float32")
            score = vmath.tanh(score * const(1.0 / sizes.softcap, "float32")) * cap
        if sizes.mask is None:
            return score
        bias = sizes.mask(self.b, self.h, first + r, j)
        return tirx.Select(bias == LOWEST, LOWEST, score + bias) if sizes.excluding else score + bias

    def _fold_row(self, r: Expr, initial: float, fold: Fold, term: Callable[[Expr], Expr]) -> Expr:
        """The fold of one row, lane by lane and then over the lanes."""
        k, lanes = self.k, self.tile.lanes
        partial = k.local("partial", (lanes,))
        with k.vectorized(lanes) as lane:
            k.store(partial, (lane,), initial)
        with k.serial(quotient(self.padded_keys, lanes), name="j") as j, k.vectorized(lanes) as lane:
            value = term(j * lanes + lane)
            k.store(partial, (lane,), fold(partial[lane], value))
        return k.let("folded", fold_lanes(partial[tirx.Ramp(index(0), index(1), lanes)], lanes, fold))

    def _multiply_values(self, first: Expr, height: Expr) -> None:
        for block in range(int(self.value_blocks)):
            self._multiply_value_block(block)
            self._store_block(first, height, block * self.tile.columns)

    def _multiply_value_block(self, block: int) -> None:
        k, tile = self.k, self.tile
        multiply(
            k, tile, tile.rows, self.sizes.keys,
            lambda r, j: self.scores[r, j],
            lambda j, c: self.values[block, j, c],
            lambda r, v, lane, total: k.store(self.output, (r, lane + v * tile.lanes), total),
        )  # fmt: skip

    def _store_block(self, first: Expr, height: Expr, column: int) -> None:
        k, tile = self.k, self.tile
        with k.serial(height, name="r") as r:
            factor = k.let("factor", self.factors[r])

            def finish(e: Expr) -> None:
                self._finish(first + r, e + column, self.output[r, e], factor)

            k.lanes(min(tile.columns, self.sizes.width - column), tile.lanes, finish)

    def _finish(self, row: Expr, e: Expr, total: Expr, factor: Expr) -> None:
        """Store an element of a row, from the sum and the factor of the row."""
        result = total * factor
        if self.sizes.nan_to_zero:
            result = tirx.Select(is_nan(factor), const(0.0, "float32"), result)
        self.store(self.b, self.h, row, e, result)
