"""The register tile of matrix kernels: its size for a machine and a matrix, its edges, and what it asks for ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from tvm import tirx

from tilewright.backends.kernels import pairs, quads, vmath
from tilewright.backends.kernels.loops import (
    ON_STACK,
    TURN,
    Buffer,
    Expr,
    Index,
    Loops,
    ceildiv,
    index,
    itemsize,
    minimum,
    quotient,
)
from tilewright.backends.kernels.packing_quads import QuadRows
from tilewright.backends.kernels.ranges import maximum
from tilewright.backends.target import Target

SUMMED = ("float32", "int32")  # what register tiles multiply and sum in its own type

TOGETHER = {"int16": (2, pairs), "uint8": (4, quads)}
"""How many neighbours along the summed axis one instruction takes, and what multiplies them, by the left operand."""
_TEMPORARIES = 3  # registers that products of neighbours pass through
_WIDTHS = (1, 2, 3, 4)  # vectors of a tile
_WIDTHS_OF_HALVES = (1, 3, 4, 5, 6)  # of half as many lanes; of two, numbers are broadcast as often as of a whole one
_COST_OF_HALVES = 1.02  # how much longer tiles of them take, which need more instructions
_ADDRESSES = 8  # rows of A whose addresses stay in registers
_SUM = 4  # bytes
LINE = 64  # bytes that one prefetch brings
SUMS = 8  # that are independent hide the latency of a multiply-add: smaller tiles keep several for each element

Meanwhile = Callable[[Index], None]
"""meanwhile(turn) asks for some memory that comes after this sum, once in each `TURN` steps."""


@dataclass(frozen=True)
class Vectors:
    """What a machine has: `lanes` numbers of 32 bits per vector register, and how many registers.

    `fuses`: whether it multiplies and adds in one instruction; `sums_neighbours`, `converts_beside`, `halves`: as the
    `Target` says. `amx`: the number of cores, if they multiply bfloat16 in tiles, else 0; `amx_bytes`: that of bytes.
    """

    lanes: int = 16
    registers: int = 32
    fuses: bool = False
    sums_neighbours: bool = False
    converts_beside: bool = False
    halves: bool = False
    amx: int = 0
    amx_bytes: int = 0

    @classmethod
    def of(cls, target: Target) -> Vectors:
        """The vectors of a processor."""
        amx = target.cores if target.multiplies_tiles else 0
        amx_bytes = target.cores if target.has("amx-int8") and target.has("avx512f") else 0
        vectors = target.lanes(32), target.vector_registers, target.has("fma")
        kinds = target.sums_neighbours, target.converts_beside, target.halves_vectors
        return cls(*vectors, *kinds, amx, amx_bytes)


@dataclass(frozen=True)
class Tile:
    """`rows` x `columns` accumulators of 32 bits in registers; columns are whole vectors.

    `dtype` is that of both operands: float32, int32, whose sums wrap around, or int16, which is summed as int32; then
    B may be int8, and A uint8. With uint8 A is that and B int8, also summed as int32; behind its depth B of a matrix
    product has rows that `packing_quads.pack_quads` made, for `spare` quads at most. `fuses`: whether one instruction
    multiplies and adds, or multiplies, sums neighbours and adds. `registers`, `converts_beside`: as the machine says.
    `dots`: unless 0, each accumulator is a vector of so many lanes along what is summed (see `dots.py`), and `lanes`
    those of a result.
    `amx`: unless 0, products of `amx_rows` or more are computed on AMX, of so many cores (see `amx_gemm.py`), and
    always where B is `in_pieces` (see `amx_pieces.py`).
    """

    rows: int
    columns: int
    lanes: int
    dtype: str = "float32"
    spare: int = 0
    fuses: bool = False
    registers: int = 32
    converts_beside: bool = False
    dots: int = 0
    amx: int = 0
    amx_rows: int = 0
    in_pieces: bool = False

    @property
    def vectors(self) -> int:
        return self.columns // self.lanes

    @property
    def sums(self) -> str:
        """The dtype of the accumulators."""
        return "int32" if self.dtype in TOGETHER else self.dtype

    @property
    def steps(self) -> int:
        """Neighbours along the summed axis that one instruction multiplies and adds."""
        return TOGETHER[self.dtype][0] if self.dtype in TOGETHER else 1

    def for_rows(self, count: Index) -> Tile:
        """The tile that covers so many rows in the fewest steps and all about equally; itself if they are not known."""
        if not isinstance(count, int) or count < 1:
            return self
        return replace(self, rows=int(ceildiv(count, int(ceildiv(count, self.rows)))))

    def quad_rows(self, depth: Index) -> QuadRows:
        """The rows of a block of B for quads, which sums `depth` products."""
        assert self.dtype == "uint8"
        return QuadRows(int(ceildiv(depth, self.steps)), self.columns, self.spare)

    def spare_quads(self, depth: Index, b: Callable[..., Expr]) -> quads.SpareQuads | None:
        """Those of a block of B, if it may have some. `b(row, byte)` is a load from the block."""
        return quads.SpareQuads(self.quad_rows(depth), b) if self.spare else None


def choose_tile(
    machine: Vectors,
    columns: Index,
    dtype: str = "float32",
    spare: int = 0,
    rows: Index | None = None,
    least: int = 0,
) -> Tile:
    """The cheapest tile for a matrix of `columns`, and perhaps of `rows` that are known.

    Padding is wasted, and small tiles load more per product. It has at least `least` columns if any tile has.
    """
    tiles = _tiles(machine, dtype, spare, _WIDTHS)
    if machine.halves and dtype == "float32":
        tiles += _tiles(replace(machine, lanes=machine.lanes // 2), dtype, spare, _WIDTHS_OF_HALVES)
    wide = [tile for tile in tiles if tile.columns >= least]

    def cost(tile: Tile) -> float:
        return _cost(tile, columns, rows) * (1 if tile.lanes == machine.lanes else _COST_OF_HALVES)

    return min(wide or tiles, key=cost)


def _tiles(machine: Vectors, dtype: str, spare: int, widths: Sequence[int]) -> list[Tile]:
    """Those of so many vectors."""
    fuses = machine.sums_neighbours if dtype in TOGETHER else machine.fuses
    taken = _TEMPORARIES if dtype == "uint8" and not fuses else 0
    heights = {width: _rows(machine, width, taken) for width in widths}
    plain = Tile(0, 0, machine.lanes, dtype, spare, fuses, machine.registers, machine.converts_beside)
    return [replace(plain, rows=h, columns=w * machine.lanes) for w, h in heights.items() if h >= 2]


def _rows(machine: Vectors, width: int, taken: int) -> int:
    """As many rows as fit beside one row of B and one broadcast of A; an even number, as most numbers of rows are."""
    rows = (machine.registers - taken - width - 1) // width
    return min(rows - rows % 2, 12)


def _cost(tile: Tile, columns: Index, rows: Index | None) -> float:
    """Issue slots per useful product: the multiply-adds plus the loads of A and B that feed them."""
    widened = tile.dtype == "int16"  # B is int8 mostly
    tile = tile if rows is None else tile.for_rows(rows)
    useful = tile.rows * tile.vectors
    stalled = max(1.0, SUMS / (useful * max(1, SUMS // useful)))
    per_step = useful * stalled + 0.25 * (tile.rows + tile.vectors) + 0.5 * widened * tile.vectors
    return per_step / useful * _covered(columns, tile.columns) * _covered(rows, tile.rows)


def _covered(size: Index | None, part: int) -> float:
    """How much more than `size` its parts cover."""
    return math.ceil(size / part) * part / size if isinstance(size, int) and size else 1.0


RowOf = Callable[[Index], Index]
Out = Callable[[Index, int, Expr, Expr], None]
"""out(row, v, lane, sum) takes the sum for column v * tile.lanes + lane."""
Part = Callable[[int, RowOf, Out], None]
Finish = Callable[[Expr, Expr, Expr], None]
Ahead = Callable[[Index, Index], None]
"""ahead(row, column) asks for the memory that finishing this element will need, without waiting for it."""


@dataclass(frozen=True)
class Sums:
    """The sums of a tile: each of `parts` is [tile.rows * width] for `width` columns side by side, from left to right.

    A part is small enough for the stack, from which registers are made, or has all columns.
    """

    parts: Sequence[Buffer]
    width: int

    @classmethod
    def of(cls, k: Loops, tile: Tile, whole: bool) -> Sums:
        """Space for those of a tile, in one part if it is to be `whole`, else in as few as fit on the stack."""
        vectors = tile.columns // tile.lanes
        widths = [vectors // parts * tile.lanes for parts in range(1, vectors + 1) if vectors % parts == 0]
        small = [width for width in widths if tile.rows * width * _SUM < ON_STACK]
        width = tile.columns if whole else small[0]
        names = [f"sums{number}" for number in range(tile.columns // width)]
        return cls([k.local(name, (tile.rows * width,), tile.sums) for name in names], width)

    def place(self, r: Index, v: int, lane: Expr, lanes: int) -> tuple[Buffer, Expr]:
        """Where the sum for row r and a lane of vector v lies."""
        part, rest = divmod(v * lanes, self.width)
        return self.parts[part], r * self.width + (lane + rest)


def finished_tile(
    k: Loops, tile: Tile, height: Index, width: Index, part: Part, store: Finish, ahead: Ahead | None = None
) -> None:
    """A tile whose sums go to small buffers, and from there to store(row, column, sum); see `summed_tile`."""
    store_rows(k, tile, height, width, summed_tile(k, tile, height, part, ahead), store)


def summed_tile(
    k: Loops, tile: Tile, height: Index, part: Part, ahead: Ahead | None = None, *, whole: bool = False
) -> Sums:
    """The sums of a tile, in one buffer if they are to be `whole`.

    `part(count, row_of, out)` emits `multiply` as `row_tiles` says, with out(row, vector, lane, sum).
    """
    sums = Sums.of(k, tile, whole)
    ask_ahead(k, tile, ahead)

    def piece(count: int, first: Index, row_of: RowOf) -> None:
        def out(r: Expr, v: int, lane: Expr, value: Expr) -> None:
            buffer, place = sums.place(first + r, v, lane, tile.lanes)
            k.store(buffer, (place,), value)

        part(count, row_of, out)

    row_tiles(k, tile, height, piece)
    return sums


def store_rows(k: Loops, tile: Tile, height: Index, width: Index, sums: Sums, store: Finish) -> None:
    """store(row, column, sum) for the sums of a tile, row by row, in vectors.

    Those of a single column go in vectors of rows. Where columns are missing, a row is put together first: else
    each part would have vectors and a rest.
    """
    if tile.columns == 1:
        _store_column(k, tile, height, sums.parts[0], store)
        return

    def keep_one(r: Expr, number: int, part: Buffer, keep: Finish, c: Expr) -> None:
        keep(r, c + number * sums.width, part[r * sums.width + c])

    def parts(r: Expr, count: Index, keep: Finish) -> None:
        for number, part in enumerate(sums.parts):
            k.lanes(count, tile.lanes, partial(keep_one, r, number, part, keep))

    def all_columns() -> None:
        with k.serial(height, name="r") as r:
            parts(r, sums.width, store)

    def some_columns() -> None:
        row = k.local("row", (tile.columns,), tile.sums)
        with k.serial(height, name="r") as r:
            parts(r, sums.width, lambda _, c, value: k.store(row, (c,), value))
            k.lanes(width, tile.lanes, lambda c: store(r, c, row[c]))

    if len(sums.parts) == 1:
        with k.serial(height, name="r") as r:
            parts(r, width, store)
    else:
        k.branch(width == tile.columns if isinstance(width, int) else tirx.EQ(width, index(tile.columns)),
                 all_columns, some_columns)  # fmt: skip


def _store_column(k: Loops, tile: Tile, height: Index, sums: Buffer, store: Finish) -> None:
    if not isinstance(height, int):
        k.lanes(height, tile.rows, lambda r: store(r, index(0), sums[r]))
        return
    for first, count in powers(height, tile.rows):
        with k.vectorized(count) as r:
            store(first + r, index(0), sums[first + r])


def ask_ahead(k: Loops, tile: Tile, ahead: Ahead | None, start: Index = 0) -> None:
    """Asks for the results of a whole tile from row `start` on, so that they are near when its sums are done."""
    if ahead is not None:
        with k.unrolled(tile.rows, name="r") as r:
            for column in range(0, tile.columns, LINE // 4):
                ahead(start + r, column)


@dataclass(frozen=True)
class Share:
    """Number `number` of `of` tiles that ask together for some memory."""

    number: Index
    of: Index


def lines_a_turn(b: Buffer, width: int) -> int:
    """How many lines each turn of a sum asks for at most of a B of which a step reads `width` elements.

    As many as it reads: a few rows have a single tile, but wait for as much of B as many do.
    """
    return max(1, TURN * width * itemsize(b) // LINE)


def ask_meanwhile(k: Loops, b: Buffer, start: Index, count: Index, depth: Index, share: Share, lines: int) -> Meanwhile:
    """Asks for a share of b[start : start + count] in all turns of a sum of `depth` steps; for less if these are few.

    Each turn asks for so many lines, with their first lines so far apart that they cover what there is: several for the
    same lines if there are more turns than needed. `b` has one axis; what lies past its end is asked for in vain.
    """
    turns, line = ceildiv(depth, TURN), LINE // itemsize(b)
    all_turns = maximum(turns * share.of, 1)  # either may be 0
    each = k.let("each", index(minimum(quotient(count + all_turns - 1, all_turns), lines * line)))
    first = k.let("asked", start + share.number * turns * each)

    def ask(turn: Index) -> None:
        for i in range(lines):
            k.prefetch(b, (first + turn * each + i * line,))

    return ask


def by_height(k: Loops, tile: Tile, rows: Index, start: Index, body: Callable[[Index], None]) -> None:
    """`body(height)` for the tile at row `start`, a multiple of tile.rows, of `rows` rows; an int where `rows` is one.

    It is called twice, and leaves nothing but what it emits, where known rows fill only a part of the last tile.
    """
    if not isinstance(rows, int):
        body(k.let("height", index(minimum(rows - start, tile.rows))))
    elif rest := rows % tile.rows:
        k.branch(index(start) + tile.rows <= rows, lambda: body(tile.rows), lambda: body(rest))
    else:
        body(tile.rows)


def powers(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Parts of `count` things whose sizes are powers of two, or `most`: where each begins, and its size."""
    first = 0
    while first < count:
        size = min(most, 1 << ((count - first).bit_length() - 1))
        yield first, size
        first += size


def row_tiles(k: Loops, tile: Tile, height: Index, part: Callable[[int, Index, RowOf], None]) -> None:
    """Computes the `height` rows of a tile by part(count, first, row_of).

    These are sums of `count` rows from `first` on, of which number r is that of row_of(r) of A. Where it is known only
    at run time that some rows are missing, the last is computed in their place as well: that takes as long as the whole
    tile, or the half of it that has rows, but loops for each number of rows would take long to compile. Tiles of many
    rows come in halves: the addresses of all do not stay in registers.
    """
    if isinstance(height, int):
        part(height, 0, lambda r: r)
        return

    def repeated(count: int, first: Index) -> None:
        part(count, first, lambda r: minimum(first + r, height - 1))

    def some() -> None:
        count = tile.rows // (1 if tile.rows % 2 else 2)
        with k.serial(quotient(height + (count - 1), count), name="half") as number:
            repeated(count, number * count)

    def several() -> None:
        if tile.rows > _ADDRESSES:
            k.branch(tirx.EQ(height, index(tile.rows)), lambda: part(tile.rows, 0, lambda r: r), some)
        else:
            repeated(tile.rows, 0)

    k.branch(height > 1, several, lambda: part(1, 0, lambda r: r))


def fold_lanes(vector: Expr, lanes: int, fold: Callable[[Expr, Expr], Expr]) -> Expr:
    """The fold of the elements of a float32 vector of 2**n lanes, by halves."""
    if lanes == 2:
        return vmath.named(vector, lambda v: fold(*(tirx.Shuffle([v], [index(i)]) for i in range(2))))
    half = f"float32x{lanes // 2}"
    halves = vmath.named(vector, lambda v: fold(tirx.vectorlow(half, v), tirx.vectorhigh(half, v)))
    return fold_lanes(halves, lanes // 2, fold)
