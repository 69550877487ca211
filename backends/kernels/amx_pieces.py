"""Matrix multiplication of float32 on the tiles of AMX, for small matrices B that are stored in pieces of bfloat16.

They stay in the second-level cache, from where they are multiplied as they are, block after block of columns for each
pair of tiles of rows. Meanwhile the next pair is split, and the sums of the block before are finished. Larger matrices
are not stored in pieces (see `amx_gemm`): reading half as much again takes as long as splitting them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx import Tiles
from tilewright.backends.kernels.amx_between import Between, asking, in_turns, nothing
from tilewright.backends.kernels.amx_gemm import COSTS, float_tile
from tilewright.backends.kernels.amx_left import Left
from tilewright.backends.kernels.amx_right import each_result
from tilewright.backends.kernels.loops import (
    Buffer,
    Condition,
    Expr,
    Index,
    Loops,
    ceildiv,
    index,
    minimum,
    quotient,
    remainder,
)
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE
from tilewright.backends.kernels.ranges import maximum, named, noted, unravel
from tilewright.backends.kernels.tile import Ahead, Tile, Vectors

Store = Callable[..., None]

_MOST = 112  # blocks of B, of `SIDE` columns and `DEPTH` rows, of 6 KiB each
_STEPS = 24  # at most: longer sums lose bits
_PAIRS = 8  # of tiles of rows that a task takes, at most
_MULTIPLY, _FINISH, _SPLIT, _FETCH, _START = 190, 55, 170, 310, 7200
"""Nanoseconds, about: to multiply a pair of tiles by a block in a step, to finish that, to split a step of a pair, to
wait for a block's step of weights, and to start. `COSTS` has those of other ways."""
_SPLITTING, _ASKING = (0, 2, 4), 1  # slots of a step; in more of them the code would be too long to compile fast


def pieces_tile(machine: Vectors, columns: int, depth: int, rows: int) -> Tile | None:
    """The tile for so many rows or more, or None where other ways are better."""
    blocks, steps = int(ceildiv(columns, SIDE)), int(ceildiv(depth, DEPTH))
    if not machine.amx or steps > _STEPS or blocks * steps > _MOST:
        return None
    if _cost(int(ceildiv(rows, SIDE)), blocks, steps) > COSTS[PIECES].vectors(rows, columns, depth):
        return None
    return replace(float_tile(machine), amx_rows=1, in_pieces=True)


def _cost(tiles: int, blocks: int, steps: int) -> float:
    """Nanoseconds, where other kernels ran before: the weights come from far away, and AMX needs some time to start."""
    multiplied = tiles * blocks * (_MULTIPLY * steps + _FINISH)
    return _START + _FETCH * blocks * steps + _SPLIT * tiles * steps + multiplied


def gemm_of_pieces(
    k: Loops, tile: Tile, rows: Index, columns: int, depth: int, a: Buffer, b: Buffer, store: Store,
    worth: Condition, ahead: Ahead | None = None,
) -> None:  # fmt: skip
    """store(i, j, sum over d of a[i, d] * B[d, j]), for a B that `pack_pieces` made."""
    pairs, blocks, steps = ceildiv(rows, SIDE), int(b.shape[0]), int(b.shape[1])
    chunks = named(k, "chunks", maximum(1, minimum(pairs, ceildiv(pairs, tile.amx * _PAIRS) * tile.amx)))
    groups = named(k, "groups", minimum(blocks, quotient(tile.amx + chunks - 1, chunks)))
    with k.parallel(chunks * groups, worth=worth) as task:
        chunk, group = unravel(k, task, (chunks, groups))
        first, beyond = (noted(k, index(quotient(part * pairs, chunks)), "pair") for part in (chunk, chunk + 1))
        block, end = (noted(k, index(quotient(part * blocks, groups)), "block") for part in (group, group + 1))
        amx.begin(k)
        _Part(k, tile, rows, columns, Left(k, a, depth), b, steps, store, ahead).emit(first, beyond, block, end)
        amx.end(k)


@dataclass(frozen=True)
class _Part:
    """Some pairs of tiles of rows, for some blocks of columns."""

    k: Loops
    tile: Tile
    rows: Index
    columns: int
    left: Left
    right: Buffer
    steps: int
    store: Store
    ahead: Ahead | None

    def emit(self, first: Expr, beyond: Expr, first_block: Expr, beyond_block: Expr) -> None:
        k = self.k
        pieces = k.scratch("left", (2, self.steps, PIECES, 2, ROWS, DEPTH), "uint16")
        sums = k.scratch("sums", (SIDE, SIDE))
        count, blocks = noted(k, index(beyond - first), "count"), noted(k, index(beyond_block - first_block), "blocks")
        self._split(pieces, first)
        turns = noted(k, index(count * blocks), "turns")
        with k.serial(turns + 1, name="turn") as turn:
            pair, block = (
                noted(k, index(value), name)
                for name, value in (("pair", quotient(turn, blocks)), ("block", remainder(turn, blocks)))
            )
            with k.when(turn < turns):
                self._multiply(pieces, first + pair, beyond, first_block + block, block, blocks, remainder(pair, 2))
            with k.when(turn > 0):
                done = noted(k, index(turn - 1), "done")
                self._finish(sums, first + quotient(done, blocks), first_block + remainder(done, blocks))
            with k.when(turn < turns):
                amx.store_tiles(k, sums[0, 0])

    def _split(self, pieces: Buffer, pair: Expr) -> None:
        k = self.k
        with k.serial(self._height(pair), name="r") as r, k.serial(self.steps, name="d") as d:
            self._split_row(pieces, 0, pair, d, r)

    def _split_row(self, pieces: Buffer, now: Index, pair: Expr, d: Expr, r: Expr) -> None:
        """Asks for the same of the pair behind, which may be far away, but not for what lies behind the last row.

        That may be results which another core writes.
        """
        half, row = quotient(r, ROWS), pair * SIDE + r
        self.left.ask(minimum(row + SIDE, self.rows - 1), d)
        self.left.split(row, d, pieces[now, d, 0, half, r - half * ROWS, 0])

    def _height(self, pair: Expr) -> Index:
        return minimum(SIDE, self.rows - pair * SIDE)

    def _multiply(
        self, pieces: Buffer, pair: Expr, beyond: Expr, block: Expr, number: Expr, blocks: Expr, now: Index
    ) -> None:
        """For a pair of tiles and a block. Meanwhile its share of the next pair is split."""
        k, following = self.k, pair + 1
        ask = self._asking(pair * SIDE, block * SIDE)
        height = noted(k, index(minimum(self._height(following), (beyond - following) * SIDE)), "height")
        share = in_turns(k, height * self.steps, blocks * (self.steps * len(_SPLITTING)))

        def split(item: Expr) -> None:
            """In the order in which the rows lie in memory."""
            r = noted(k, index(quotient(item, self.steps)), "r")
            self._split_row(pieces, 1 - now, following, item - r * self.steps, r)

        def between(step: Expr, slot: int) -> None:
            if slot in _SPLITTING:
                share((number * self.steps + step) * len(_SPLITTING) + _SPLITTING.index(slot), split)
            elif slot == _ASKING:
                ask(step, 0)

        amx.multiply_in_tiles(
            k, self.steps, lambda d: Tiles(pieces[now, d, 0, 0, 0, 0]), lambda d: self.right[block, d, 0, 0, 0, 0],
            PIECES, between,
        )  # fmt: skip

    def _asking(self, row: Expr, column: Expr) -> Between:
        """For a block of results."""
        ahead = self.ahead
        if ahead is None:
            return nothing
        return asking(self.k, self.tile, self.steps, 1, lambda r, c: ahead(row + r, column + c))

    def _finish(self, sums: Buffer, pair: Expr, block: Expr) -> None:
        each_result(
            self.k, self.tile, self.columns, self._height(pair), block,
            lambda r, c: self.store(pair * SIDE + r, block * SIDE + c, sums[r, c]),
        )  # fmt: skip
