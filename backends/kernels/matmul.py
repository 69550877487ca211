"""Rows times packed weights: on the tiles of AMX where that is faster for so many rows, else on the vector units."""

from __future__ import annotations

from dataclasses import replace

from tvm import tirx

from tilewright.backends.kernels.amx_bytes import gemm_of_bytes_on_amx
from tilewright.backends.kernels.amx_gemm import gemm_on_amx
from tilewright.backends.kernels.amx_pieces import gemm_of_pieces
from tilewright.backends.kernels.amx_right import Right, ask_for_row, right_of
from tilewright.backends.kernels.gemm import Store, gemm, gemm_of_scaled, scales_of, worth_sharing
from tilewright.backends.kernels.loops import Buffer, Condition, Index, Loops
from tilewright.backends.kernels.ranges import named
from tilewright.backends.kernels.scaled import ROWS_OF_SCALES
from tilewright.backends.kernels.tile import Ahead, Tile


def matmul(
    k: Loops, tile: Tile, rows: Index, columns: int, depth: int, a: Buffer, b: Buffer, store: Store,
    ahead: Ahead | None = None, *, scaled: bool = False, shared: bool = True,
) -> None:  # fmt: skip
    """As `gemm`, or where B is `scaled`, as `gemm_of_scaled`; by AMX for `tile.amx_rows` or more, if `tile.amx`."""
    if tile.amx and not shared:
        tile = replace(tile, amx=1)

    def on_amx() -> None:
        worth = shared and worth_sharing(rows, columns, depth)
        if tile.in_pieces:
            gemm_of_pieces(k, tile, rows, columns, depth, a, b, store, worth, ahead)
        elif tile.dtype == "uint8":
            gemm_of_bytes_on_amx(k, tile, rows, columns, depth, a, b, store, worth, ahead)
        else:
            right = _scaled_right(k, tile, b) if scaled else right_of(k, b)
            gemm_on_amx(k, tile, rows, columns, depth, a, right, store, worth, ahead)

    def on_vectors() -> None:
        (gemm_of_scaled if scaled else gemm)(k, tile, rows, columns, depth, a, b, store, ahead, shared=shared)

    if tile.in_pieces:
        on_amx()
    else:
        k.branch(_is_for_amx(k, tile, rows), on_amx, on_vectors)


def _is_for_amx(k: Loops, tile: Tile, rows: Index) -> Condition:
    """Whether there are rows enough.

    They are noted: of rows that are 196 to an image TVM would conclude that few are none, and refuse to divide by that.
    """
    return named(k, "rows", rows) >= tile.amx_rows if tile.amx else False


def _scaled_right(k: Loops, tile: Tile, b: Buffer) -> Right:
    """That of a B that `pack_scaled_b` made, whose integers are single pieces."""
    return Right(
        lambda block, row, c: tirx.Cast("float32", b[block, row + ROWS_OF_SCALES, c]),
        lambda block, row: ask_for_row(k, b, block, row + ROWS_OF_SCALES),
        pieces=1,
        scales=lambda block: scales_of(k, tile, b, block),
    )
