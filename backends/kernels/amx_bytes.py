"""Matrix multiplication of 8-bit integers on the tiles of AMX, which sum quads in 32 bits as VNNI does, exactly.

Both operands are read where they lie: a row of A is a row of a tile, and so are the quads of a block of packed weights.
Only rows that do not fill a tile are copied first, and with them the last of A, behind which nothing may be read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx import Tiles
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, ceildiv, index, minimum, quotient
from tilewright.backends.kernels.packing_pieces import ROWS, SIDE
from tilewright.backends.kernels.ranges import maximum
from tilewright.backends.kernels.tile import Ahead, Tile, Vectors, ask_ahead

STEP = 64  # products that one instruction sums for each element of a tile
LEAST_ROWS = 8
_PAIRS = 8  # pairs of tiles of rows that share a pass over B, at most

Store = Callable[..., None]


def bytes_tile_on_amx(machine: Vectors, depth: int, rows: Index | None) -> Tile | None:
    """The tile for products on AMX, and for a few rows on the vector units; None where those are better altogether."""
    few = isinstance(rows, int) and rows < LEAST_ROWS
    if not machine.amx_bytes or not machine.sums_neighbours or depth < STEP or few:
        return None
    tile = Tile(12, SIDE, machine.lanes, "uint8", fuses=True, registers=machine.registers)
    return replace(tile, amx=machine.amx_bytes, amx_rows=LEAST_ROWS)


def gemm_of_bytes_on_amx(
    k: Loops, tile: Tile, rows: Index, columns: int, depth: int, a: Buffer, b: Buffer, store: Store,
    worth: Condition, ahead: Ahead | None = None,
) -> None:  # fmt: skip
    """store(i, j, sum over d of a[i, d] * B[d, j]) as int32, for uint8 `a` and a B whose depth is padded to `STEP`.

    The depth is at least `STEP`, so that only the last row of A ends before its last step does.
    """
    tiles, blocks, steps = ceildiv(rows, SIDE), int(ceildiv(columns, SIDE)), int(ceildiv(depth, STEP))
    chunks = ceildiv(tiles, _PAIRS)
    groups = minimum(blocks, quotient(tile.amx + chunks - 1, maximum(chunks, 1)))  # so that each core has a task
    overhang = int(depth % STEP != 0)
    with k.parallel(chunks * groups, worth=worth) as task:
        chunk, group = k.indices(task, (chunks, groups))
        top = k.let("top", quotient(chunk * tiles, chunks) * SIDE)
        end = k.let("end", index(minimum(rows, quotient((chunk + 1) * tiles, chunks) * SIDE)))
        whole = k.let("whole", quotient(minimum(end, rows - overhang) - top, SIDE))
        first, beyond = quotient(group * blocks, groups), quotient((group + 1) * blocks, groups)
        rest = k.scratch("rest", (SIDE, steps * STEP), "uint8")
        with k.serial(end - top - whole * SIDE, name="r") as r:
            k.lanes(depth, STEP, lambda d: k.store(rest, (r, d), a[top + whole * SIDE + r, d]))
        sums = k.scratch("sums", (SIDE, SIDE), "int32")
        amx.begin(k)
        with k.serial(beyond - first, name="block") as block_of_group:
            block = k.let("block", first + block_of_group)

            def part(start: Expr, left: Callable[[Expr], Tiles], block: Expr = block) -> None:
                if ahead is not None:
                    lines = replace(tile, rows=SIDE)
                    ask_ahead(k, lines, lambda r, c: ahead(start + r, block * SIDE + c))
                amx.multiply_bytes(k, steps, left, lambda d: Tiles(b[block, d * ROWS, 0], 4 * SIDE, STEP), sums[0, 0])
                _finish(k, tile, columns, start, minimum(end - start, SIDE), block, sums, store)

            with k.serial(whole, name="t") as t:
                start = k.let("start", top + t * SIDE)
                part(start, lambda d: Tiles(a[start, d * STEP], depth, depth * ROWS))
            with k.when(end > top + whole * SIDE):
                part(top + whole * SIDE, lambda d: Tiles(rest[0, d * STEP], steps * STEP, steps * STEP * ROWS))
        amx.end(k)


def _finish(
    k: Loops, tile: Tile, columns: int, start: Expr, height: Index, block: Expr, sums: Buffer, store: Store
) -> None:
    width = SIDE if columns % SIDE == 0 else minimum(columns - block * SIDE, SIDE)
    with k.serial(height, name="r") as r:
        k.lanes(width, tile.lanes, lambda c: store(start + r, block * SIDE + c, sums[r, c]))
