"""Matrix multiplication of float32 on the tiles of AMX, for matrices B that are packed in blocks of `SIDE` columns.

A task takes some rows of A and some blocks of B. It splits its rows into pieces once, which stay in the second-level
cache while the blocks pass by; each block is split between the products of the one before. See `amx` for the pieces.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

from tvm import tirx

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx import Tiles
from tilewright.backends.kernels.amx_between import Between, asking
from tilewright.backends.kernels.amx_left import Left
from tilewright.backends.kernels.amx_right import (
    Right,
    each_result,
    right_scratch,
    share_of_rows,
    split_row,
    split_step,
)
from tilewright.backends.kernels.loops import (
    Buffer,
    Condition,
    Expr,
    Index,
    Loops,
    ceildiv,
    const,
    index,
    minimum,
    quotient,
    remainder,
)
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE
from tilewright.backends.kernels.ranges import maximum, noted, unravel
from tilewright.backends.kernels.tile import Ahead, Tile, Vectors

Store = Callable[..., None]

_PAIRS = 4  # pairs of tiles of rows that pass by together, at most
_BLOCKS = 16  # of B that share the pieces of A, at most
_PASS = 24  # steps of which a task keeps the pieces, at most: what the second-level cache holds
_ROWS = range(8, 1025, 8)  # for which both ways are compared
BETTER = 1.12  # so much faster AMX must be for many rows
_LEAST_STEPS = 3  # with fewer, sums take longer to finish than to make


@dataclass(frozen=True)
class _Costs:
    """Nanoseconds for `SIDE` x `SIDE` numbers, as least squares fit 250 products of networks (Intel, 3.5 GHz).

    To multiply rows by a block in a step, to split a step of a block, or of rows, and to finish a block. On the vector
    units, to multiply and to finish. What a call takes besides is `start`.
    """

    multiply: float
    split_right: float
    split_left: float = 320
    finish: float = 170
    start: float = 2400
    on_vectors: float = 360
    finish_on_vectors: float = 155
    start_on_vectors: float = 3200

    def amx(self, rows: int, columns: int, depth: int, cores: int) -> float:
        tiles, blocks, steps = -(-rows // SIDE), -(-columns // SIDE), -(-depth // DEPTH)
        chunks = -(-tiles // _PAIRS)
        left = self.split_left * int(_groups(cores, chunks, blocks)) * tiles * steps
        right = self.split_right * chunks * blocks * steps
        return self.start + left + right + (self.multiply * steps + self.finish) * tiles * blocks

    def vectors(self, rows: int, columns: int, depth: int) -> float:
        height, lanes = 12, 16
        covered = -(-rows // height) * height * -(-columns // lanes) * lanes / SIDE**2
        part = self.on_vectors * covered * depth / DEPTH
        return self.start_on_vectors + part + self.finish_on_vectors * rows * columns / SIDE**2


COSTS = {PIECES: _Costs(multiply=130, split_right=370), 1: _Costs(multiply=70, split_right=130)}


def tile_on_amx(machine: Vectors, columns: int, depth: int, rows: Index | None, pieces: int = PIECES) -> Tile | None:
    """The tile for products on AMX, and for fewer rows on the vector units; None where those are better altogether."""
    least = _least_rows(machine.amx, columns, depth, pieces) if machine.amx else None
    if least is None or (isinstance(rows, int) and rows < least):
        return None
    return replace(float_tile(machine), amx_rows=least)


def float_tile(machine: Vectors) -> Tile:
    """As wide as a block of sums on AMX."""
    return Tile(12, SIDE, machine.lanes, fuses=machine.fuses, registers=machine.registers, amx=machine.amx)


@functools.cache
def _least_rows(cores: int, columns: int, depth: int, pieces: int) -> int | None:
    """From so many rows on AMX is faster; None if from so many that few products have them."""
    costs = COSTS[pieces]

    def gain(rows: int) -> float:
        return costs.vectors(rows, columns, depth) / costs.amx(rows, columns, depth, cores)

    if depth < _LEAST_STEPS * DEPTH or gain(_ROWS[-1]) < BETTER:
        return None
    lost = [rows for rows in _ROWS if gain(rows) < 1]
    least = lost[-1] + 1 if lost else 1
    return least if least < _ROWS[-1] // 2 else None


def _groups(cores: int, chunks: Index, blocks: int) -> Index:
    """Groups of blocks of columns that are tasks of their own, so that each core has one, or as many as any other."""
    wanted = maximum(ceildiv(blocks, _BLOCKS), quotient(cores + chunks - 1, maximum(chunks, 1)))
    even = ceildiv(wanted, cores) * cores
    if isinstance(chunks, int):
        return min(blocks, int(even if chunks % cores else wanted))
    return minimum(blocks, tirx.Select(remainder(chunks, cores) > 0, even, index(wanted)))


def gemm_on_amx(
    k: Loops, tile: Tile, rows: Index, columns: int, depth: int, a: Buffer, right: Right, store: Store,
    worth: Condition, ahead: Ahead | None = None,
) -> None:  # fmt: skip
    """store(i, j, sum over d of a[i, d] * B[d, j]); `worth`: whether that is worth sharing out."""
    product = _Product(k, tile, columns, depth, a, right, store, ahead)
    tiles, blocks = ceildiv(rows, SIDE), ceildiv(columns, SIDE)
    chunks = ceildiv(tiles, _PAIRS)
    groups = _groups(tile.amx, chunks, int(blocks))
    with k.parallel(chunks * groups, worth=worth) as task:
        chunk, group = unravel(k, task, (chunks, groups))
        top = noted(k, index(quotient(chunk * tiles, chunks) * SIDE), "top")
        end = quotient((chunk + 1) * tiles, chunks) * SIDE
        count = noted(k, index(minimum(rows, end) - top), "count")
        first = noted(k, index(quotient(group * blocks, groups)), "first")
        beyond = quotient((group + 1) * blocks, groups)
        amx.begin(k)
        product.emit(top, count, first, noted(k, index(beyond - first), "blocks"))
        amx.end(k)


@dataclass(frozen=True)
class _Product:
    """What a task does, for `count` rows from `top` on and some blocks of columns."""

    k: Loops
    tile: Tile
    columns: int
    depth: int
    a: Buffer
    right: Right
    store: Store
    ahead: Ahead | None

    @property
    def left(self) -> Left:
        return Left(self.k, self.a, self.depth)

    @property
    def steps(self) -> int:
        return int(ceildiv(self.depth, DEPTH))

    def emit(self, top: Expr, count: Expr, first: Expr, blocks: Expr) -> None:
        """In passes over A, of which a task keeps the pieces. Sums of passes are added up: long ones lose bits."""
        k = self.k
        passes = ceildiv(self.steps, _PASS)
        length = ceildiv(self.steps, passes)
        left = k.scratch("left", (_PAIRS, length, PIECES, 2, ROWS, DEPTH), "uint16")
        right = right_scratch(k, length, self.right.pieces)
        sums = k.scratch("sums", (SIDE, SIDE))
        totals = k.scratch("totals", (_BLOCKS, _PAIRS * SIDE, SIDE)) if passes > 1 else None
        pairs = noted(k, index(ceildiv(count, SIDE)), "pairs")
        turns = noted(k, index(pairs * blocks), "turns")
        with k.serial(passes, name="pass") as number:
            start = noted(k, index(number * length), "start")
            steps = (
                length if self.steps % length == 0 else noted(k, index(minimum(self.steps - start, length)), "steps")
            )
            self._split_left(left, top, count, start, steps)
            with k.serial(steps, name="d") as d:
                split_step(k, self.right, self._row, right, (0, d), first, start + d)
            with k.serial(turns + 1, name="turn") as turn:
                with k.when(turn < turns):
                    b, t = unravel(k, turn, (blocks, pairs))
                    following = noted(k, index(first + minimum(b + 1, blocks - 1)), "following")
                    now = noted(k, index(b - quotient(b, 2) * 2), "now")
                    between = self._between(length, pairs, t, top + t * SIDE, first + b, lambda d, j: split_row(
                        k, self.right, self._row, right, (1 - now, d), following, start + d, j))  # fmt: skip
                    amx.multiply_in_tiles(
                        k, steps,
                        lambda d: Tiles(left[t, d, 0, 0, 0, 0]), lambda d: right[now, d, 0, 0, 0, 0],
                        self.right.pieces, between,
                    )  # fmt: skip
                with k.when(turn > 0):
                    b, t = unravel(k, turn - 1, (blocks, pairs))
                    self._complete(sums, totals, top, count, first, b, t, number, passes)
                with k.when(turn < turns):
                    amx.store_tiles(k, sums[0, 0])

    def _between(
        self, steps: int, pairs: Expr, t: Expr, row: Expr, block: Expr, split: Callable[[Expr, Expr], None]
    ) -> Between:
        """Splits the share of pair `t` of the next block, and asks for the results of this one."""
        k, slots, ahead = self.k, self.right.slots, self.ahead
        share = share_of_rows(k, slots, pairs, t, split)
        if ahead is None:
            return share
        ask = asking(k, self.tile, steps, 1, lambda r, c: ahead(row + r, block * SIDE + c))

        def between(step: Expr, slot: int) -> None:
            share(step, slot)
            if slot == slots - 1:
                ask(step, 0)

        return between

    def _complete(
        self, sums: Buffer, totals: Buffer | None, top: Expr, count: Expr, first: Expr, b: Expr, t: Expr, number: Expr,
        passes: int,
    ) -> None:  # fmt: skip
        """Finishes the sums of a pair and a block, or adds them up until the last pass."""
        k = self.k
        pair = noted(k, index(t * SIDE), "pair")
        scales = self.right.scales(first + b) if self.right.scales else None

        def finish(total: Callable[[Expr, Expr], Expr]) -> None:
            def element(r: Expr, c: Expr) -> None:
                value = total(r, c)
                self.store(top + pair + r, (first + b) * SIDE + c, value if scales is None else value * scales[c])

            each_result(k, self.tile, self.columns, minimum(count - pair, SIDE), first + b, element)

        if totals is None:
            finish(lambda r, c: sums[r, c])
            return
        with k.serial(SIDE, name="r") as r, k.serial(SIDE // ROWS) as half, k.vectorized(ROWS) as lane:
            c = half * ROWS + lane
            before = tirx.Select(number > 0, totals[b, pair + r, c], const(0, "float32"))
            k.store(totals, (b, pair + r, c), before + sums[r, c])
        with k.when(number == passes - 1):
            finish(lambda r, c: totals[b, pair + r, c])

    def _split_left(self, left: Buffer, top: Expr, count: Expr, start: Expr, steps: Index) -> None:
        """Tile by tile, each of which is written as a whole."""
        k = self.k
        with k.serial(ceildiv(count, ROWS), name="tile") as tile, k.serial(steps, name="d") as d:
            pair, half = quotient(tile, 2), tile - quotient(tile, 2) * 2
            with k.serial(minimum(count - tile * ROWS, ROWS), name="r") as r:
                self.left.split(top + tile * ROWS + r, start + d, left[pair, d, 0, half, r, 0])

    def _row(self, step: Expr, i: Expr) -> tuple[Expr, Expr | bool]:
        """Which row of B is number `i` of a step."""
        row = step * DEPTH + i
        return (row, True) if self.depth % DEPTH == 0 else (minimum(row, self.depth - 1), row < self.depth)
