"""Concatenations: no element asks which piece it comes from.

Pieces have loops of their own. Short ones go by together, row by row of the result, which is written once as a whole:
pieces that follow each other within a line of the cache would be brought there again for each of them. Where each has a
single element of a row, vectors of neighbouring rows are interleaved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tilewright.backends.kernels.elementwise import BLOCK, each_row, emit_pointwise
from tilewright.backends.kernels.expr import Tensor
from tilewright.backends.kernels.interleaved import emit_interleaved, may_interleave
from tilewright.backends.kernels.loops import Expr, Index, Loops
from tilewright.backends.kernels.ranges import Indices, cover, named, nested, product
from tilewright.backends.kernels.tile import Vectors
from tilewright.backends.kernels.transposed import lanes_of

_SHORT = 1 << 10  # elements of a piece that may go by together with others

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
    if _interleaves(machine, shape, axis, pieces):
        _emit_interleaved(k, machine, shape, pieces, finish)
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


def _interleaves(machine: Vectors, shape: Sequence[Index], axis: int, pieces: Sequence[Piece]) -> bool:
    """Whether each piece has one element of a row, and rows are many."""
    single = axis == len(shape) - 1 and all(isinstance(p.shape[-1], int) and p.shape[-1] == 1 for p in pieces)
    if not single or not isinstance(shape[-2], int):
        return False
    dtype = pieces[0].tensor.dtype
    return may_interleave(len(pieces), shape[-2], dtype, lanes_of(machine, dtype))


def _emit_interleaved(
    k: Loops, machine: Vectors, shape: Sequence[Index], pieces: Sequence[Piece], finish: Finish
) -> None:
    """Neighbours in each piece, a vector of each, are columns of the result."""
    dtype = pieces[0].tensor.dtype
    emit_interleaved(
        k, lanes_of(machine, dtype), dtype, shape[:-2], len(pieces), shape[-2],
        lambda at, i, j: pieces[int(i)].tensor(*at, j, 0), lambda at, i, j, value: finish((*at, j, i), value),
    )  # fmt: skip
