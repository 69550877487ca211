"""Matrix multiplication: loops around a register tile, with the operands and the epilogue as callbacks.

The method is that of GotoBLAS (Goto and van de Geijn, 2008) without packing A: a block of B columns stays in the
second-level cache while rows of A pass by, a tile of C stays in registers. Where a block of B is too deep for that,
sums are made in steps: a piece of a block stays there while rows of A pass by. What of B comes next
is asked for between the multiply-adds, a line at a time: in a burst it would hold up the loads that they wait for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from tvm import tirx

from tilewright.backends.kernels.loops import (
    FORK_WORK,
    Buffer,
    Condition,
    Expr,
    Index,
    Loops,
    ceildiv,
    const,
    index,
    itemsize,
    minimum,
    product,
    quotient,
)
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.quads import SpareQuads
from tilewright.backends.kernels.ranges import noted
from tilewright.backends.kernels.scaled import ROWS_OF_SCALES
from tilewright.backends.kernels.summation import BLOCK
from tilewright.backends.kernels.tile import (
    LINE,
    Ahead,
    Meanwhile,
    Out,
    RowOf,
    Share,
    Tile,
    ask_ahead,
    ask_meanwhile,
    by_height,
    finished_tile,
    lines_a_turn,
    row_tiles,
)

Load = Callable[..., Expr]
Store = Callable[..., None]
Left = Callable[[Index], Load]
Right = Callable[[Expr], tuple[Load, Store]]
"""right(block) says how a block of columns of B is loaded, and what stores its sums."""

_ROWS_AT_ONCE = 256  # rows of A that share one pass over B, at most
_LEAST = 4  # tiles of rows that share one pass over B
_BLOCKS = 8  # of columns, at least, for products in steps, whose tasks are as few as these
_CACHE = 3 << 16  # bytes of A that stay in the second-level cache while B passes by
DEEP = 3 << 15  # bytes of a block of B, of which the second-level cache keeps too little beside A
_FAR = 1 << 18  # bytes of B, of which the second-level cache keeps little from one pass to the next
_VAST = 1 << 24  # bytes of B that come from memory in each pass: as many rows of A share one as may
PIECE = 1 << 14  # elements of B that stay in the second-level cache while rows of A pass by
_CONVERTED = 6 << 10  # elements of a piece that becomes float32 first, and stays in the first-level cache
_FEW_TILES = 2  # of rows, for which making B float32 each time takes no longer than storing it once
_KEPT = 1 << 14  # bytes of A that a tile sums while the next tile's come into the first-level cache
_ROWS_TOGETHER = 132  # rows of A that pass by a piece of B, about


def gemm(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: Index,
    depth: Index,
    a: Buffer,
    b: Buffer,
    store: Store,
    ahead: Ahead | None = None,
    *,
    shared: bool = True,
) -> None:
    """store(i, j, sum over d of a[i, d] * B[d, j]) for a constant B; by one thread unless it is `shared`.

    `a` is [rows, depth], of numbers as `Tile` says. `b` is [ceil(columns / tile.columns), depth / tile.steps,
    tile.columns * tile.steps], as `pack_b` makes it, or for uint8 `pack_quads`. `store` emits the statements for one
    element, inside a vectorized loop over j; `ahead(i, j)` asks for its memory.
    """
    tile = tile.for_rows(rows)

    def at_once() -> None:
        def right(block: Expr) -> tuple[Load, Store]:
            return _rows_from(b, block, 0), store

        _gemm_at_once(k, tile, rows, columns, depth, a, b, right, ahead, shared=shared)

    def in_steps() -> None:
        step = _even_step(depth, min(PIECE // tile.columns, BLOCK))
        gemm_in_steps(k, tile, rows, columns, depth, step, _from(a), b, store, ahead, a)

    known = isinstance(depth, int) and isinstance(columns, int)
    if not shared or not known or depth * tile.columns * itemsize(b) <= DEEP or columns < _BLOCKS * tile.columns:
        at_once()
    elif isinstance(rows, int):
        (in_steps if rows > _LEAST * tile.rows else at_once)()
    else:
        # Noted: of rows that are 196 to an image TVM would conclude that few are none, and refuse to divide by that.
        k.branch(noted(k, rows, "rows") > _LEAST * tile.rows, in_steps, at_once)


def _gemm_at_once(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: Index,
    depth: Index,
    a: Buffer,
    b: Buffer,
    right: Right,
    ahead: Ahead | None,
    *,
    shared: bool,
) -> None:
    """`gemm` whose tasks are single tiles."""
    size = depth * columns * itemsize(b) if isinstance(depth, int) and isinstance(columns, int) else 0
    chunk = _chunk(tile, depth, size)
    row_blocks, column_blocks = ceildiv(rows, tile.rows), ceildiv(columns, tile.columns)
    worth = shared and worth_sharing(rows, columns, depth)
    with k.parallel(row_blocks * column_blocks, worth=worth) as task:
        first = k.let("first", quotient(task, column_blocks * chunk) * chunk)
        count = k.let("count", index(minimum(row_blocks - first, chunk)))
        block, row = k.indices(task - first * column_blocks, (column_blocks, count))
        start = k.let("start", (first + row) * tile.rows)
        load, store = right(block)
        spare = tile.spare_quads(depth, load)
        share = Share(row, count)
        meanwhile: Meanwhile | None = None
        if size >= _FAR:
            meanwhile = _ask_for(k, b, block + 1, 0, quotient(depth, tile.steps), share)
        elif isinstance(depth, int) and depth * tile.rows * itemsize(a) <= _KEPT:
            meanwhile = _ask_for_rows(k, tile, a, start + tile.rows, 0)
        _block(k, tile, start, block, rows, columns, depth, _from(a)(0), load, store, spare, ahead, meanwhile)


def _chunk(tile: Tile, depth: Index, size: int) -> int:
    """How many tiles of rows of A share one pass over a B of `size` bytes."""
    row = depth * np.dtype(tile.dtype).itemsize if isinstance(depth, int) else 1
    kept = _ROWS_AT_ONCE if size >= _VAST else min(_ROWS_AT_ONCE, _CACHE // row)
    return max(_LEAST, kept // tile.rows)


def gemm_of_scaled(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: int,
    depth: int,
    a: Buffer,
    b: Buffer,
    store: Store,
    ahead: Ahead | None = None,
    *,
    shared: bool = True,
) -> None:
    """`gemm` for float32 and a B that `scaled.pack_scaled_b` made.

    Its integers become float32 in registers, again for each tile, and sums are scaled. That takes multiply-adds' time
    where the processor has no units for it beside theirs: there, for many rows, each piece becomes float32 once.
    """
    tile = tile.for_rows(rows)

    def right(block: Expr) -> tuple[Load, Store]:
        scales, first = scales_of(k, tile, b, block), block * tile.columns
        return (
            lambda d, c: tirx.Cast(tile.dtype, b[block, d + ROWS_OF_SCALES, c]),
            lambda i, j, value: store(i, j, value * scales[j - first]),
        )

    def in_registers() -> None:
        _gemm_at_once(k, tile, rows, columns, depth, a, b, right, ahead, shared=shared)

    def in_memory() -> None:
        _gemm_of_scaled_in_steps(k, tile, rows, columns, depth, a, b, store, ahead, shared=shared)

    if tile.converts_beside:
        in_registers()
    elif isinstance(rows, int):
        (in_memory if rows > _FEW_TILES * tile.rows else in_registers)()
    else:
        k.branch(noted(k, rows, "rows") > _FEW_TILES * tile.rows, in_memory, in_registers)


def _gemm_of_scaled_in_steps(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: int,
    depth: int,
    a: Buffer,
    b: Buffer,
    store: Store,
    ahead: Ahead | None,
    *,
    shared: bool,
) -> None:
    """`gemm_of_scaled` that makes a piece of B float32 beside the rows of A that pass by it."""
    step = _even_step(depth, _CONVERTED // tile.columns)

    def pieces(block: Expr) -> Callable[[Expr, Expr], Load]:
        piece = k.scratch("piece", (step, tile.columns), tile.dtype)
        scales = scales_of(k, tile, b, block)

        def take(start: Expr, length: Expr) -> Load:
            with k.serial(length, name="d") as d, k.unrolled(tile.vectors) as v, k.vectorized(tile.lanes) as lane:
                c = v * tile.lanes + lane
                integer = b[block, start + (d + ROWS_OF_SCALES), c]
                k.store(piece, (d, c), tirx.Cast(tile.dtype, integer) * scales[c])
            return lambda d, c: piece[d, c]

        return take

    steps = _Steps(step, ROWS_OF_SCALES, pieces)
    _gemm_in_steps(k, tile, rows, columns, depth, _from(a), b, store, steps, ahead, a, shared=shared)


def gemm_in_steps(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: int,
    depth: int,
    step: int,
    left: Left,
    b: Buffer,
    store: Store,
    ahead: Ahead | None = None,
    a: Buffer | None = None,
) -> None:
    """`gemm` that sums `step` products at once, so that this much of B stays near while rows of A pass by.

    `left(start)` prepares a sum from the product `start` on, and gives `a(i, d)`, which counts from there. Where the
    rows that it reads lie in `a`, they are asked for in time.
    """
    tile = tile.for_rows(rows)
    steps = _Steps(step, 0, lambda block: lambda start, _: _rows_from(b, block, quotient(start, tile.steps)))
    _gemm_in_steps(k, tile, rows, columns, depth, left, b, store, steps, ahead, a)


def _from(a: Buffer) -> Left:
    return lambda start: lambda i, d: a[i, start + d]


def scales_of(k: Loops, tile: Tile, b: Buffer, block: Expr) -> Buffer:
    """The scales of a block of columns, from the bytes at its beginning."""
    scales = k.local("scales", (tile.columns,), tile.dtype)
    flat = k.view(b, (int(b.shape[0]), int(b.shape[1]) * tile.columns))
    for v in range(tile.vectors):
        bytes_ = tirx.BufferLoad(flat, [block, tirx.Ramp(index(4 * v * tile.lanes), index(1), 4 * tile.lanes)])
        place = tirx.Ramp(index(v * tile.lanes), index(1), tile.lanes)
        k.emit(tirx.BufferStore(scales, tirx.reinterpret(f"{tile.dtype}x{tile.lanes}", bytes_), [place]))
    return scales


@dataclass(frozen=True)
class _Steps:
    """How B is taken piece by piece: `length` rows at once, of which the first is row `first` of a block.

    `pieces(block)` begins a block, and gives `take(start, length)`, which makes a piece ready and says how to load it.
    """

    length: int
    first: int
    pieces: Callable[[Expr], Callable[[Expr, Expr], Load]]


def _gemm_in_steps(
    k: Loops,
    tile: Tile,
    rows: Index,
    columns: int,
    depth: int,
    left: Left,
    b: Buffer,
    store: Store,
    steps: _Steps,
    ahead: Ahead | None,
    rows_of: Buffer | None,
    *,
    shared: bool = True,
) -> None:
    """`gemm` whose tasks are a block of columns and some tiles of rows, and keep their sums beside them."""
    most = ceildiv(_ROWS_TOGETHER, tile.rows)
    tiles, blocks = ceildiv(rows, tile.rows), ceildiv(columns, tile.columns)
    chunks = ceildiv(tiles, most)
    worth = shared and worth_sharing(rows, columns, depth)
    with k.parallel(chunks * blocks, worth=worth) as task:
        chunk, block = k.indices(task, (chunks, blocks))
        first = k.let("first", quotient(chunk * tiles, chunks) * tile.rows)  # as many tiles in each, or one more
        end = quotient((chunk + 1) * tiles, chunks) * tile.rows
        count = k.let("count", index(minimum(rows, end) - first))
        sums = k.scratch("sums", (most * tile.rows, tile.columns), tile.sums)
        take = steps.pieces(block)
        with k.serial(quotient(depth + steps.length - 1, steps.length), name="s") as s:
            start = k.let("start", s * steps.length)
            whole = depth % steps.length == 0
            length = steps.length if whole else k.let("length", index(minimum(depth - start, steps.length)))
            piece, a = take(start, length), left(start)
            with k.serial(ceildiv(count, tile.rows), name="t") as t:
                following = quotient(start + steps.length, tile.steps) + steps.first
                share = Share(t, ceildiv(count, tile.rows))
                meanwhile = _ask_for(k, b, block, following, quotient(steps.length, tile.steps), share)
                if rows_of is not None:
                    beyond = k.let("beyond", first + (t + 1) * tile.rows)
                    meanwhile = _both(meanwhile, _ask_for_rows(k, tile, rows_of, beyond, start))
                if ahead is not None:
                    with k.when(start + steps.length >= depth):
                        ask_ahead(k, tile, lambda r, c: ahead(first + r, block * tile.columns + c), t * tile.rows)
                _add_tile(k, tile, rows, first, t, length, s > 0, a, piece, sums, meanwhile=meanwhile)
        if tile.spare:
            load = _rows_from(b, block, 0)
            with k.serial(ceildiv(count, tile.rows), name="t") as t:
                _add_tile(k, tile, rows, first, t, 0, True, left(0), load, sums, tile.spare_quads(depth, load))
        width = minimum(columns - block * tile.columns, tile.columns) if columns % tile.columns else tile.columns
        with k.serial(count, name="r") as r:
            k.lanes(width, tile.lanes, lambda c: store(first + r, block * tile.columns + c, sums[r, c]))


def _even_step(depth: int, most: int) -> int:
    """Steps of equal length, a multiple of 8, of at most about `most`."""
    return ceildiv(ceildiv(depth, ceildiv(depth, most)), 8) * 8


def _rows_from(b: Buffer, block: Expr, start: Index) -> Load:
    return lambda d, c: b[block, start + d, c]


def _ask_for(k: Loops, b: Buffer, block: Expr, start: Index, rows: Index, share: Share) -> Meanwhile:
    """Asks for a share of `rows` rows of B, from row `start` of `block` on, during a sum over as many rows."""
    blocks, depth, width = (int(size) for size in b.shape)
    flat = k.view(b, (blocks * depth * width,))
    lines = lines_a_turn(flat, width)
    return ask_meanwhile(k, flat, (block * depth + start) * width, rows * width, rows, share, lines)


def _ask_for_rows(k: Loops, tile: Tile, a: Buffer, row: Index, column: Index) -> Meanwhile:
    """Asks for what the next tile sums of A, from `row` and `column` on: for a line of half its rows in each turn."""
    half, line = ceildiv(tile.rows, 2), LINE // itemsize(a)

    def ask(turn: Index) -> None:
        lines = quotient(turn, 2)  # a turn goes over half a line, whatever the dtype
        for i in range(half):
            k.prefetch(a, (row + (turn - lines * 2) * half + i, column + lines * line))

    return ask


def _both(first: Meanwhile, second: Meanwhile) -> Meanwhile:
    """Asks for what either asks for."""

    def ask(turn: Index) -> None:
        first(turn)
        second(turn)

    return ask


def _add_tile(
    k: Loops,
    tile: Tile,
    rows: Index,
    first: Expr,
    t: Expr,
    depth: Index,
    add: Condition,
    a: Load,
    b: Load,
    sums: Buffer,
    spare: SpareQuads | None = None,
    meanwhile: Meanwhile | None = None,
) -> None:
    """sums[r, c] = (sums[r, c] if `add` else 0) + sum over d of a(first + r, d) * b(d, c) for the rows r of tile `t`.

    `first`, a multiple of tile.rows, is the first of tile 0; `rows` are all that there are, of which the last tile may
    have fewer. Its other rows of `sums` may be written to.
    """
    zero, start = const(0, tile.sums), t * tile.rows

    def part(count: int, top: Index, row_of: RowOf) -> None:
        def out(r: Expr, v: int, lane: Expr, value: Expr) -> None:
            place = start + top + r, lane + v * tile.lanes
            k.store(sums, place, value + (sums[place] if add is True else tirx.Select(add, sums[place], zero)))

        multiply(k, tile, count, depth, lambda r, d: a(first + start + row_of(r), d), b, out, spare, meanwhile)

    by_height(k, tile, rows, first + start, lambda height: row_tiles(k, tile, height, part))


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
    tile = tile.for_rows(rows)
    at_once = _ROWS_AT_ONCE // tile.rows * tile.rows  # whole tiles, so that none reaches into the next chunk
    row_chunks, column_blocks = ceildiv(rows, at_once), ceildiv(columns, tile.columns)
    total = product(batch)
    with k.parallel(total * column_blocks * row_chunks, worth=worth_sharing(total * rows, columns, depth)) as task:
        *place, block, chunk = k.indices(task, (*batch, column_blocks, row_chunks))
        panel = k.scratch("panel", (depth, tile.columns), tile.dtype)
        _pack_panel(k, tile, block * tile.columns, columns, depth, panel, lambda d, j: b(*place, d, j))
        tiles = ceildiv(minimum(rows - chunk * at_once, at_once), tile.rows)
        with k.serial(tiles) as i:
            start = k.let("start", chunk * at_once + i * tile.rows)
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
    spare: SpareQuads | None = None,
    ahead: Ahead | None = None,
    meanwhile: Meanwhile | None = None,
) -> None:
    """One tile of C, at row `start` and column block `block`: sums to a small buffer, then the epilogue on that."""
    width = minimum(columns - block * tile.columns, tile.columns)
    if isinstance(columns, int) and columns % tile.columns == 0:
        width = tile.columns

    def part(count: int, row_of: RowOf, out: Out) -> None:
        multiply(k, tile, count, depth, lambda r, d: a(start + row_of(r), d), b, out, spare, meanwhile)

    first = block * tile.columns
    by_height(k, tile, rows, start, lambda height: finished_tile(
        k, tile, height, width, part,
        lambda r, c, value: store(start + r, first + c, value),
        None if ahead is None else lambda r, c: ahead(start + r, first + c),
    ))  # fmt: skip


def _pack_panel(k: Loops, tile: Tile, first: Expr, columns: Index, depth: Index, panel: Buffer, b: Load) -> None:
    """panel[d, c] = b(d, first + c), zero beyond the last column."""
    width = k.let("width", index(minimum(columns - first, tile.columns)))
    with k.serial(depth, name="d") as d:
        k.lanes(width, tile.lanes, lambda c: k.store(panel, (d, c), b(d, first + c)))
        with k.serial(tile.columns - width, start=width) as c:
            k.store(panel, (d, c), 0)


def worth_sharing(rows: Index, columns: Index, depth: Index) -> Condition:
    """Whether the product is worth a fork: decided now if even one row is, or if all sizes are known."""
    if isinstance(columns, int) and isinstance(depth, int) and columns * depth * 8 >= FORK_WORK:
        return True
    work = rows * columns * depth
    return work >= FORK_WORK
