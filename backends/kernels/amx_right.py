"""The right matrix of a product on AMX: blocks of columns, which are split into pieces step by step as they come up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx_between import LEVEL, Between, in_turns
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, const, index, itemsize
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE
from tilewright.backends.kernels.tile import LINE, Tile

Row = Callable[[Expr, Expr], tuple[Expr, Expr | bool]]
"""row(step, i): which row of the packed matrix is number `i` of a step, and whether it counts, or else is zeros."""

_SLOTS = 4  # in a step, for other work


@dataclass(frozen=True)
class Right:
    """`load(block, row, c)` is an element of packed weights of `SIDE` columns, in so many `pieces`.

    `ask(block, row)` asks for a row that comes later. `scales(block)`, if there are any, gives what the sums of each
    column of a block are multiplied with.
    """

    load: Callable[[Expr, Expr, Expr], Expr]
    ask: Callable[[Expr, Expr], None]
    pieces: int = PIECES
    scales: Callable[[Expr], Buffer] | None = None

    @property
    def slots(self) -> int:
        """Between how many groups of products of a step other work is done."""
        return min(_SLOTS, len(amx.TOGETHER[self.pieces]))


def right_of(k: Loops, b: Buffer) -> Right:
    """That of float32 weights [blocks, rows, SIDE]."""
    return Right(lambda block, row, c: b[block, row, c], lambda block, row: ask_for_row(k, b, block, row))


def ask_for_row(k: Loops, b: Buffer, block: Expr, row: Expr) -> None:
    """Asks for a row of a block of B."""
    for first in range(0, int(b.shape[2]), LINE // itemsize(b)):
        k.prefetch(b, (block, row, first), LEVEL)


def right_scratch(k: Loops, steps: int, pieces: int) -> Buffer:
    """Room for the pieces of so many steps of two blocks, of which one is multiplied while the other is split."""
    return k.scratch("right", (2, steps, pieces, 2, ROWS, DEPTH), "uint16")


def split_step(
    k: Loops, right: Right, row: Row, into: Buffer, at: tuple[Index, Index], block: Expr, step: Expr
) -> None:
    """All rows of a step of a block, to into[at]."""
    with k.serial(ROWS, name="j") as j:
        split_row(k, right, row, into, at, block, step, j)


def split_row(
    k: Loops, right: Right, row: Row, into: Buffer, at: tuple[Index, Index], block: Expr, step: Expr, j: Expr
) -> None:
    """Row `j` of the tiles of a step, in which products that are `ROWS` apart lie side by side."""
    rows = [row(step, j + offset) for offset in (0, ROWS)]
    for number, _ in rows:
        right.ask(block + 1, number)
    for half in range(2):
        x, y = (_vector(k, right, block, number, known, half * ROWS) for number, known in rows)
        amx.store_pieces(k, x, y, into[(*at, 0, half, j, 0)], right.pieces)


def _vector(k: Loops, right: Right, block: Expr, row: Expr, known: Expr | bool, column: int) -> Expr:
    loaded = vector(k, lambda lane: right.load(block, row, lane + column))
    return loaded if known is True else tirx.Select(known, loaded, tirx.Broadcast(const(0, "float32"), ROWS))


def vector(k: Loops, element: Callable[[Expr], Expr]) -> Expr:
    """`ROWS` neighbouring elements."""
    loaded = k.local("loaded", (ROWS,))
    with k.vectorized(ROWS) as lane:
        k.store(loaded, (lane,), element(lane))
    return tirx.BufferLoad(loaded, [tirx.Ramp(index(0), index(1), ROWS)])


def share_of_rows(k: Loops, slots: int, parts: Index, part: Index, work: Callable[[Expr, Expr], None]) -> Between:
    """`work(step, j)` for each row of a step, shared out among so many parts; this is the part of that number."""
    share = in_turns(k, ROWS, parts * slots)

    def between(step: Expr, slot: int) -> None:
        if slot < slots:
            share(part * slots + slot, lambda j: work(step, j))

    return between


def columns_of(columns: Index, block: Expr) -> Index:
    """How many columns a block has."""
    if isinstance(columns, int) and columns % SIDE == 0:
        return SIDE
    return tirx.min(index(columns) - block * SIDE, index(SIDE))


def each_result(
    k: Loops, tile: Tile, columns: int, height: Index, block: Expr, element: Callable[[Expr, Expr], None]
) -> None:
    """`element(row, column)` of so many rows of a block, of a matrix of so many columns, in vectors."""
    with k.serial(height, name="r") as r:
        k.lanes(columns_of(columns, block), tile.lanes, lambda c: element(r, c))
