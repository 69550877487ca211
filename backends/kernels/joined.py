"""Concatenations: no element asks which piece it comes from.

Pieces have loops of their own. Short ones go by together, row by row of the result, which is written once as a whole:
pieces that follow each other within a line of the cache would be brought there again for each of them. Where each has a
single element of a row, some neighbouring rows are turned in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.elementwise import BLOCK, each_row, emit_pointwise
from tilewright.backends.kernels.expr import Tensor
from tilewright.backends.kernels.loops import Expr, Index, Loops, minimum
from tilewright.backends.kernels.ranges import Indices, cover, div_up, named, nested, product
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.kernels.transposed import ramp, turn

_SHORT = 1 << 10  # elements of a piece that may go by together with others
_TURNED = (4, 8, 16)  # pieces that a vector holds one element each of

Finish = Callable[[Sequence[Index], Expr], None]


@dataclass(frozen=True)
class Piece:
    shape: Sequence[Index]
    tensor: Tensor


def emit_one_by_one(k: Loops, machine: Vectors, axis: int, pieces: Sequence[Piece], finish: Finish) -> None:
    """`finish(index, element)` for all elements of the pieces joined along an axis."""
    offset: Index = 0
    for piece in pieces:

        def copy(index: Indices, piece: Piece = piece, offset: Index = offset) -> None:
            finish([i + offset if a == axis else i for a, i in enumerate(index)], piece.tensor(*index))

        emit_pointwise(k, machine, piece.shape, copy)
        offset = named(k, "offset", offset + piece.shape[axis])


def are_short(pieces: Sequence[Piece], axis: int) -> bool:
    """Whether `emit_in_rows` takes them, and is faster."""
    lengths = [product(piece.shape[axis:]) for piece in pieces]
    known = [length for length in lengths if isinstance(length, int)]
    return axis > 0 and len(known) == len(lengths) and max(known) <= _SHORT and sum(known) <= BLOCK


def emit_in_rows(
    k: Loops, machine: Vectors, shape: Sequence[Index], axis: int, pieces: Sequence[Piece], finish: Finish
) -> None:
    """As `emit_one_by_one`, for pieces that `are_short`, and a result of that shape."""
    if _may_turn(shape, pieces):
        _emit_turned(k, shape, pieces, finish)
        return
    with each_row(k, (*shape[:axis], product(shape[axis:])), 1.0) as (place, _, _):
        offset: Index = 0
        for piece in pieces:
            *outer, inner = piece.shape[axis:]
            with nested(k, outer) as at:

                def copy(j: Index, piece: Piece = piece, at: Indices = at, offset: Index = offset) -> None:
                    first, *rest = (*at, j)
                    finish((*place, first + offset, *rest), piece.tensor(*place, *at, j))

                cover(k, inner, machine.lanes, copy)
            offset += piece.shape[axis]


def _may_turn(shape: Sequence[Index], pieces: Sequence[Piece]) -> bool:
    count = len(pieces)
    single = len(shape) > 1 and all(piece.shape[-1] == 1 for piece in pieces) and count == shape[-1]
    rows = shape[-2] if single else 0
    known = isinstance(rows, int) and count <= rows <= BLOCK
    return known and count in _TURNED and pieces[0].tensor.dtype in ("float32", "int32")


def _emit_turned(k: Loops, shape: Sequence[Index], pieces: Sequence[Piece], finish: Finish) -> None:
    """Neighbours in a piece are a vector; those of all pieces, turned, are as many rows of the result."""
    count, dtype = len(pieces), pieces[0].tensor.dtype
    with each_row(k, shape[:-1], count) as (place, _, rows), k.serial(div_up(rows, count)) as block:
        first = named(k, "first", minimum(block * count, rows - count))
        turned = k.local("turned", (count * count,), dtype)

        def keep(row: int, vector: Expr) -> None:
            k.emit(tirx.BufferStore(turned, vector, [ramp(row * count, count)]))

        turn(k, count, dtype, lambda number, lane: pieces[number].tensor(*place, first + lane, 0), keep)
        for row in range(count):
            with k.vectorized(count) as lane:
                finish((*place, first + row, lane), turned[row * count + lane])
