"""A few rows that become columns, or columns that become rows, in registers: colours from planes, and back.

Vectors of all rows are read whole, and written whole. Each lane of what is written comes from one of the vectors: they
are merged one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.elementwise import each_row, emit_pointwise
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.ranges import Indices, div_up, named
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.kernels.transposed import ramp
from tilewright.ir.types import numpy_dtype

MOST = 8  # rows or columns: more take more merging than copying by elements
_WIDTHS = (4, 8)  # bytes of an element

Load = Callable[[Indices, Index, Index], Expr]
Store = Callable[[Indices, Index, Index, Expr], None]


def may_interleave(few: Index, many: Index, dtype: str, lanes: int) -> bool:
    """Whether `emit_interleaved` is worth it for so few rows of so many elements, or the other way around."""
    long = not isinstance(many, int) or many >= lanes
    return isinstance(few, int) and 1 < few <= MOST and long and numpy_dtype(dtype).itemsize in _WIDTHS


def emit_interleaved(
    k: Loops, lanes: int, dtype: str, outer: Sequence[Index], few: int, many: Index, load: Load, store: Store, *,
    apart: bool = False,
) -> None:  # fmt: skip
    """`store(at, i, j, load(at, i, j))` for all `at` in `outer`, i < few, j < many.

    Some elements are stored by two tasks: what `store` reads must not be what it writes.

    What `load` reads lies along j, and what `store` writes along i, then j; if it comes `apart`, the other way around.
    """

    def narrow() -> None:
        def copy(place: Indices) -> None:
            *at, j, i = place
            store(tuple(at), i, j, load(tuple(at), i, j))

        emit_pointwise(k, Vectors(1), (*outer, many, few), copy)

    def wide() -> None:
        with each_row(k, (*outer, many), few) as (at, first, count), k.serial(div_up(count, lanes)) as block:
            start = named(k, "start", minimum(first + block * lanes, many - lanes))
            _block(k, lanes, dtype, few, partial(_shifted, load, at, start), partial(_kept, store, at, start), apart)

    k.branch(many >= lanes, wide, narrow)


def interleave(
    k: Loops, lanes: int, dtype: str, few: int, many: Index, load: Callable[[Index, Index], Expr],
    store: Callable[[Index, Index, Expr], None],
) -> None:  # fmt: skip
    """`store(i, j, load(i, j))` for all i < few, j < many, within a task; some elements are stored twice.

    What `load` reads lies along j, and what `store` writes along i, then j.
    """

    def wide() -> None:
        with k.serial(div_up(many, lanes)) as block:
            start = named(k, "start", minimum(block * lanes, many - lanes))
            _block(
                k, lanes, dtype, few, lambda i, j: load(i, start + j),
                lambda i, j, value: store(i, start + j, value), apart=False,
            )  # fmt: skip

    def narrow() -> None:
        with k.serial(many) as j, k.serial(few) as i:
            store(i, j, load(i, j))

    k.branch(many >= lanes, wide, narrow)


def take_apart(k: Loops, lanes: int, dtype: str, few: int, load: Callable[[Index], Expr]) -> Callable[[int], Buffer]:
    """Of `lanes` columns of `few` numbers, which lie side by side from load(0) on: row i, when it is asked for."""
    vectors = [_loaded(k, lanes, dtype, partial(_beyond, load, v * lanes)) for v in range(few)]
    return lambda row: _held(k, lanes, dtype, _merged(k, vectors, _orders(few, lanes, apart=True)[row]))


def _beyond(load: Callable[[Index], Expr], start: int, lane: Index) -> Expr:
    return load(start + lane)


def _loaded(k: Loops, lanes: int, dtype: str, load: Callable[[Index], Expr]) -> Expr:
    loaded = k.local("loaded", (lanes,), dtype)
    with k.vectorized(lanes) as lane:
        k.store(loaded, (lane,), load(lane))
    return k.let("vector", tirx.BufferLoad(loaded, [ramp(0, lanes)]))


def _held(k: Loops, lanes: int, dtype: str, vector: Expr) -> Buffer:
    held = k.local("held", (lanes,), dtype)
    k.emit(tirx.BufferStore(held, vector, [ramp(0, lanes)]))
    return held


def _shifted(load: Load, at: Indices, start: Index, i: Index, j: Index) -> Expr:
    return load(at, i, start + j)


def _kept(store: Store, at: Indices, start: Index, i: Index, j: Index, value: Expr) -> None:
    store(at, i, start + j, value)


def _block(
    k: Loops, lanes: int, dtype: str, few: int, load: Callable[[Index, Index], Expr],
    store: Callable[[Index, Index, Expr], None], apart: bool,
) -> None:  # fmt: skip
    """A vector of each row."""

    def of_row(row: int, lane: Index) -> tuple[Index, Index]:
        return row, lane

    def side_by_side(vector: int, lane: Index) -> tuple[Index, Index]:
        number = index(vector * lanes + lane)
        column = tirx.floordiv(number, index(few))
        return number - column * few, column

    source, target = (side_by_side, of_row) if apart else (of_row, side_by_side)

    def load_vector(v: int, lane: Index) -> Expr:
        return load(*source(v, lane))

    vectors = [_loaded(k, lanes, dtype, partial(load_vector, v)) for v in range(few)]
    for v, order in enumerate(_orders(few, lanes, apart)):
        held = _held(k, lanes, dtype, _merged(k, vectors, order))
        with k.vectorized(lanes) as lane:
            store(*target(v, lane), held[lane])


def _orders(few: int, lanes: int, apart: bool) -> list[list[tuple[int, int]]]:
    """For each vector that is written, which vector each of its lanes comes from, and which lane of that."""
    if apart:
        return [[divmod(lane * few + row, lanes) for lane in range(lanes)] for row in range(few)]
    numbers = [[vector * lanes + lane for lane in range(lanes)] for vector in range(few)]
    return [[(number % few, number // few) for number in row] for row in numbers]


def _merged(k: Loops, vectors: Sequence[Expr], order: Sequence[tuple[int, int]]) -> Expr:
    """The vector whose lanes come from those of others."""
    lanes = len(order)
    used = sorted({vector for vector, _ in order})
    merged = vectors[used[0]]
    places = [lane if vector == used[0] else 0 for vector, lane in order]
    for number in used[1:]:
        places = [
            lanes + lane if vector == number else place for (vector, lane), place in zip(order, places, strict=True)
        ]
        merged = k.let("merged", tirx.Shuffle([merged, vectors[number]], [index(place) for place in places]))
        places = list(range(lanes))
    return merged
