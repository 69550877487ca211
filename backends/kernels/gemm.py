"""Matrix multiplication: loops around a register tile, with the operands and the epilogue as callbacks.

The method is that of GotoBLAS (Goto and van de Geijn, 2008) without packing A: a block of B columns stays in the
second-level cache while all rows of A pass by, a tile of C stays in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.backends.kernels.loops import (
    FORK_WORK,
    Buffer,
    Condition,
    Expr,
    Index,
    Loops,
    ceildiv,
    index,
    minimum,
    product,
    quotient,
)
from tilewright.backends.kernels.tile import Tile, finished_tile, multiply

Load = Callable[..., Expr]
Store = Callable[..., None]

_ROWS_AT_ONCE = 256  # rows of A that share one pass over B, at most
_LEAST = 4  # tiles of rows that share one pass over B
_CACHE = 1 << 16  # elements of A that stay in the second-level cache while B passes by


def gemm(k: Loops, tile: Tile, rows: Index, columns: Index, depth: Index, a: Load, b: Buffer, store: Store) -> None:
    """store(i, j, sum over d of a(i, d) * B[d, j]) for a constant B.

    `a(i, d)` gives numbers of `tile.dtype`; it is evaluated once for each block of columns. `packing.pack_b` made `b`,
    [ceil(columns / tile.columns), depth / tile.steps, tile.columns * tile.steps], of that type. `store` emits the
    statements for one element, inside a vectorized loop over j.
    """
    kept = min(_ROWS_AT_ONCE, _CACHE // depth) if isinstance(depth, int) else _ROWS_AT_ONCE
    chunk = max(_LEAST, kept // tile.rows)
    row_blocks, column_blocks = ceildiv(rows, tile.rows), ceildiv(columns, tile.columns)
    with k.parallel(row_blocks * column_blocks, worth=_worth(rows, columns, depth)) as task:
        first = k.let("first", quotient(task, column_blocks * chunk) * chunk)
        count = k.let("count", index(minimum(row_blocks - first, chunk)))
        block, row = k.indices(task - first * column_blocks, (column_blocks, count))
        start = k.let("start", (first + row) * tile.rows)
        _block(k, tile, start, block, rows, columns, depth, a, lambda d, c: b[block, d, c], store)


def batched_gemm(
    k: Loops,
    tile: Tile,
    batch: Sequence[Index],
    rows: Index,
    columns: Index,
    depth: Index,
    a: Load,
    b: Load,
    store: Store,
) -> None:
    """store(*batch, i, j, sum over d of a(*batch, i, d) * b(*batch, d, j)); both operands are computed at run time.

    Each task copies its columns of B to a scratch block first: loads become contiguous and the tail is zero.
    """
    row_chunks, column_blocks = ceildiv(rows, _ROWS_AT_ONCE), ceildiv(columns, tile.columns)
    total = product(batch)
    with k.parallel(total * column_blocks * row_chunks, worth=_worth(total * rows, columns, depth)) as task:
        *place, block, chunk = k.indices(task, (*batch, column_blocks, row_chunks))
        panel = k.scratch("panel", (depth, tile.columns), tile.dtype)
        _pack_panel(k, tile, block * tile.columns, columns, depth, panel, lambda d, j: b(*place, d, j))
        tiles = ceildiv(minimum(rows - chunk * _ROWS_AT_ONCE, _ROWS_AT_ONCE), tile.rows)
        with k.serial(tiles) as i:
            start = k.let("start", chunk * _ROWS_AT_ONCE + i * tile.rows)
            _block(k, tile, start, block, rows, columns, depth, lambda i, d: a(*place, i, d),
                   lambda d, c: panel[d, c], lambda i, j, value: store(*place, i, j, value))  # fmt: skip


def _block(
    k: Loops,
    tile: Tile,
    start: Expr,
    block: Expr,
    rows: Index,
    columns: Index,
    depth: Index,
    a: Load,
    b: Load,
    store: Store,
) -> None:
    """One tile of C, at row `start` and column block `block`: sums to a small buffer, then the epilogue on that."""
    height = k.let("height", index(minimum(rows - start, tile.rows)))
    width = minimum(columns - block * tile.columns, tile.columns)
    if isinstance(columns, int) and columns % tile.columns == 0:
        width = tile.columns

    def part(count: int, first: Index, out: Store) -> None:
        multiply(k, tile, count, depth, lambda r, d: a(start + (first + r), d), b, out)

    finished_tile(k, tile, height, width, part, lambda r, c, value: store(start + r, block * tile.columns + c, value))


def _pack_panel(k: Loops, tile: Tile, first: Expr, columns: Index, depth: Index, panel: Buffer, b: Load) -> None:
    """panel[d, c] = b(d, first + c), zero beyond the last column."""
    width = k.let("width", index(minimum(columns - first, tile.columns)))
    with k.serial(depth, name="d") as d:
        k.lanes(width, tile.lanes, lambda c: k.store(panel, (d, c), b(d, first + c)))
        with k.serial(tile.columns - width, start=width) as c:
            k.store(panel, (d, c), 0)


def _worth(rows: Index, columns: Index, depth: Index) -> Condition:
    """Whether the product is worth a fork: decided now if even one row is, or if all sizes are known."""
    if isinstance(columns, int) and isinstance(depth, int) and columns * depth * 8 >= FORK_WORK:
        return True
    work = rows * columns * depth
    return work >= FORK_WORK
