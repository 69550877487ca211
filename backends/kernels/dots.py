"""Sums for few result channels: vectors lie along what is summed, where neighbours are neighbours in the image as well.

With channels side by side in a vector, few of them leave most of it empty. Here each sum is a vector of partial sums,
which are added up last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx

from tilewright.backends.kernels.fused import multiply_add
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index
from tilewright.backends.kernels.ranges import nested
from tilewright.backends.kernels.tile import SUMS, Out, Tile, Vectors, powers

Load = Callable[..., Expr]

_HIGHEST = 12  # rows of a tile
_FOLD = 8  # steps that adding up the lanes of one sum takes, about


def choose_dots(machine: Vectors, columns: int, terms: int, run: int) -> Tile | None:
    """A tile for sums of `terms` products in runs of `run` neighbours, if it is faster than vectors of `columns`."""
    lanes = machine.lanes
    fits = machine.fuses and 2 * columns <= lanes and run >= lanes and run % lanes in (0, lanes // 2)
    if not fits or terms * columns // lanes + _FOLD * columns >= terms:
        return None
    rows = min(SUMS if columns == 1 else _HIGHEST, (machine.registers - 2) // (columns + 1))
    width = columns if columns in (2, 4, 8) else 1
    of_halves = machine.halves and run % lanes == lanes // 2  # which leaves none of the last vector empty
    dots = lanes // 2 if of_halves else lanes
    return Tile(rows, columns, width, fuses=True, registers=machine.registers, dots=dots)


def multiply_dots(
    k: Loops,
    tile: Tile,
    rows: int,
    extents: Sequence[Index],
    a: Load,
    b: Load,
    out: Out,
) -> None:
    """out(r, v, lane, sum of a(r, *place) * b(*place, c)) for r < rows and c = v * tile.lanes + lane, over all places.

    Both operands lie side by side along the last extent, whose places b has as (vector, c, lane), the last vector
    filled up with zeros.
    """
    *outer, run = extents
    lanes, columns = tile.dots, tile.columns
    sums = [[_zeros(k, lanes) for _ in range(columns)] for _ in range(rows)]

    def step(place: Sequence[Expr], number: Index, width: int) -> None:
        def left(r: int) -> Expr:
            return _vector(k, lanes, width, lambda i: a(r, *place, number * lanes + i))

        def right(c: int) -> Expr:
            return _vector(k, lanes, lanes, lambda i: b(*place, number, c, i))

        factors = [left(r) for r in range(rows)]
        for c in range(columns):
            factor = right(c)
            for of_row, other in zip(sums, factors, strict=True):
                multiply_add(k, tile.registers, of_row[c], 0, other, factor)

    with nested(k, outer) as place:
        with k.serial(int(run) // lanes, name="d") as number:
            step(place, number, lanes)
        if rest := int(run) % lanes:
            step(place, int(run) // lanes, rest)
    totals = _totals(k, [_vector_in(total, lanes) for of_row in sums for total in of_row], lanes)
    _write(k, tile, rows, totals, out)


def _zeros(k: Loops, lanes: int) -> Buffer:
    """A sum, each in a buffer of its own: one of many would not fit on the stack."""
    sums = k.local("sum", (lanes,), "float32")
    with k.vectorized(lanes) as lane:
        k.store(sums, (lane,), 0.0)
    return sums


def _write(k: Loops, tile: Tile, rows: int, totals: Buffer, out: Out) -> None:
    """`out` for the sums of all rows, each of which has its columns side by side, in vectors."""
    if tile.columns == 1:
        for first, count in powers(rows, tile.dots):
            with k.vectorized(count) as r:
                out(first + r, 0, index(0), totals[first + r])
        return
    for r in range(rows):
        for v in range(tile.vectors):
            with k.vectorized(tile.lanes) as lane:
                out(index(r), v, lane, totals[r * tile.columns + v * tile.lanes + lane])


def _vector_in(buffer: Buffer, lanes: int) -> Expr:
    return tirx.BufferLoad(buffer, [tirx.Ramp(index(0), index(1), lanes)])


def _totals(k: Loops, vectors: Sequence[Expr], lanes: int) -> Buffer:
    """The sum of the lanes of each vector, in their order. As many as fit into one are folded together."""
    totals = k.local("totals", (len(vectors),), "float32")
    for first, count in powers(len(vectors), lanes):
        folded = _folded(k, vectors[first : first + count], lanes)
        k.emit(
            tirx.BufferStore(totals, folded, [tirx.Ramp(index(first), index(1), count) if count > 1 else index(first)])
        )
    return totals


def _folded(k: Loops, vectors: Sequence[Expr], lanes: int) -> Expr:
    """The sums of the lanes of 2**n vectors, at most one for each lane, side by side."""
    part = lanes
    while part > 1:
        pairs = [vectors[i : i + 2] for i in range(0, len(vectors), 2)]
        vectors = [_fold_halves(k, pair, lanes, part) for pair in pairs]
        lanes = lanes if len(pairs[0]) == 2 else lanes // 2
        part //= 2
    return vectors[0]


def _fold_halves(k: Loops, vectors: Sequence[Expr], lanes: int, part: int) -> Expr:
    """Of each part of one or two vectors the sum of its first half and its second, side by side."""
    firsts = [lane for lane in range(lanes * len(vectors)) if lane % part < part // 2]
    first, second = (
        k.let("half", tirx.Shuffle(list(vectors), [index(lane + offset) for lane in firsts]))
        for offset in (0, part // 2)
    )
    return k.let("folded", first + second)


def _vector(k: Loops, lanes: int, width: int, load: Callable[[Expr], Expr]) -> Expr:
    """A vector of what `load` gives for the first `width` lanes, and zeros."""
    loaded: Buffer = k.local("x", (lanes,), "float32")
    with k.vectorized(width) as lane:
        k.store(loaded, (lane,), load(lane))
    if width < lanes:
        with k.vectorized(lanes - width) as lane:
            k.store(loaded, (lane + width,), 0.0)
    return _vector_in(loaded, lanes)
