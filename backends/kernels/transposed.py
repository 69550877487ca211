"""Transposed copies: square blocks are read in whole vectors, turned in registers, and written in whole vectors.

The rows of a block are the vectors that are read. Turning swaps, for each bit s of the lane number, what differs from
the diagonal in that bit: lanes with the bit set of row i with those without it of row i + s (J. O. Eklundh, "A Fast
Computer Method for Matrix Transposing", IEEE Transactions on Computers, 1972).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.elementwise import emit_pointwise
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.ranges import Indices, div_up, named, product, tasks, worth_forking
from tilewright.backends.kernels.tile import Vectors
from tilewright.ir.types import numpy_dtype

_LONG = 1 << 10  # elements of a task along the longer axis

Load = Callable[[Sequence[Index], Index, Index], Expr]
Store = Callable[[Sequence[Index], Index, Index, Expr], None]


def lanes_of(machine: Vectors, dtype: str) -> int:
    """The elements of a vector, of 4 or 8 bytes each."""
    return machine.lanes * 4 // numpy_dtype(dtype).itemsize


def emit_transposed(
    k: Loops,
    machine: Vectors,
    dtype: str,
    outer: Sequence[Index],
    rows: Index,
    columns: Index,
    load: Load,
    store: Store,
) -> None:
    """`store(at, r, c, load(at, r, c))` for all `at` in `outer`, r < rows, c < columns.

    What `load` reads lies along the columns, what `store` writes along the rows. `store` must be idempotent. Rows and
    columns that are known when compiling are at least as many as `lanes_of` the dtype.
    """
    lanes = lanes_of(machine, dtype)

    def narrow() -> None:
        def copy(place: Indices) -> None:
            *at, column, row = place
            store(at, row, column, load(at, row, column))

        emit_pointwise(k, machine, (*outer, columns, rows), copy)

    def wide() -> None:
        _wide(k, lanes, dtype, outer, rows, columns, load, store)

    if isinstance(rows, int) and isinstance(columns, int):
        wide()
    else:
        k.branch(tirx.all(index(rows) >= lanes, index(columns) >= lanes), wide, narrow)


def _wide(
    k: Loops,
    lanes: int,
    dtype: str,
    outer: Sequence[Index],
    rows: Index,
    columns: Index,
    load: Load,
    store: Store,
) -> None:
    """Tiles of two blocks by two.

    What a tile reads and writes are whole cache lines, which are finished with at once: lines that lie a power of two
    apart would drive each other out of the cache.
    """
    side = 2 * lanes
    length, height = (_extent(k, side, *pair) for pair in ((columns, rows), (rows, columns)))
    blocks = (*outer, div_up(rows, height), div_up(columns, length))
    with tasks(k, blocks, worth_forking(product((*outer, rows, columns)), 2.0)) as (*at, bands, part):
        tile = k.scratch("tile", (side * side,), dtype)
        above, begin = named(k, "above", bands * height), named(k, "begin", part * length)
        down = named(k, "down", div_up(minimum(height, rows - above), side))
        with k.serial(div_up(minimum(length, columns - begin), side)) as step, k.serial(down) as band:
            tops = [named(k, "top", minimum(above + band * side + i, rows - lanes)) for i in (0, lanes)]
            lefts = [named(k, "left", minimum(begin + step * side + j, columns - lanes)) for j in (0, lanes)]
            for i, top in enumerate(tops):
                for j, left in enumerate(lefts):
                    turn(k, lanes, dtype, partial(_load, load, at, top, left), partial(_keep, k, tile, side, i, j))
            for j, left in enumerate(lefts):
                for column in range(lanes):
                    for i, top in enumerate(tops):
                        with k.vectorized(lanes) as lane:
                            place = (j * lanes + column) * side + i * lanes + lane
                            store(at, top + lane, left + column, tile[place])


def _extent(k: Loops, side: int, axis: Index, other: Index) -> Index:
    """How far a task goes along an axis: one tile along the shorter one, so that it reads or writes few long runs."""
    return named(k, "extent", tirx.Select(index(axis) >= other, index(_LONG), index(side)))


def turn(
    k: Loops, lanes: int, dtype: str, load: Callable[[int, Expr], Expr], store: Callable[[int, Expr], None]
) -> None:
    """`store(column, vector)` for each column of a square block, whose rows are vectors of `load(row, lane)`."""
    block = k.local("block", (lanes * lanes,), dtype)
    for row in range(lanes):
        with k.vectorized(lanes) as lane:
            k.store(block, (row * lanes + lane,), load(row, lane))
    for column, vector in enumerate(_turned(k, lanes, [block[ramp(r * lanes, lanes)] for r in range(lanes)])):
        store(column, vector)


def _load(load: Load, at: Sequence[Index], top: Expr, left: Expr, row: int, lane: Expr) -> Expr:
    return load(at, top + row, left + lane)


def _keep(k: Loops, tile: Buffer, side: int, i: int, j: int, column: int, vector: Expr) -> None:
    """A column of block i, j of a tile becomes one of its rows."""
    lanes = side // 2
    k.emit(tirx.BufferStore(tile, vector, [ramp((j * lanes + column) * side + i * lanes, lanes)]))


def ramp(start: int, lanes: int) -> Expr:
    """The index of a vector of so many elements from `start` on."""
    return tirx.Ramp(index(start), index(1), lanes)


def _turned(k: Loops, lanes: int, rows: list[Expr]) -> list[Expr]:
    rows = [k.let("row", row) for row in rows]
    step = 1
    while step < lanes:
        upper = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
        lower = [lanes + lane if lane & step else lane + step for lane in range(lanes)]
        new = list(rows)
        for row in (row for row in range(lanes) if not row & step):
            pair = rows[row], rows[row + step]
            new[row], new[row + step] = (k.let("row", _shuffled(pair, order)) for order in (upper, lower))
        rows, step = new, step * 2
    return rows


def _shuffled(vectors: Sequence[Expr], order: Sequence[int]) -> Expr:
    """The chosen lanes of vectors side by side."""
    return tirx.Shuffle(list(vectors), [index(lane) for lane in order])
