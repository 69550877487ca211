"""Rows of a matrix that are computed on the way to a product: some at once, which stay in the caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, minimum
from tilewright.backends.kernels.ranges import cover, div_up, named, product, tasks, unravel

_KEPT = 1 << 15  # elements that a task makes at once, about
_TASKS = 8  # at least, where there are rows enough
_LEAST = 48  # rows that share a pass over the matrix, at least


@dataclass(frozen=True)
class Piece:
    """Neighbouring channels from `first` on, whatever makes them: load(*place, c) gives a vector from first + c on."""

    first: int
    channels: int
    load: Callable[..., Expr]


@contextmanager
def made_rows(
    k: Loops, lanes: int, leading: Sequence[Index], pieces: Sequence[Piece], unit: int, worth: Condition
) -> Iterator[tuple[Index, Index, Buffer]]:
    """Tasks for some rows each: which is the first, how many, and where the columns of all `pieces` lie.

    `leading` are the axes that the rows go over. Their number is a multiple of `unit`, but for the last ones.
    """
    rows, depth = product(leading), sum(piece.channels for piece in pieces)
    height = unit * max(1, _rows_at_once(rows, depth) // unit)
    with tasks(k, (div_up(rows, height),), worth) as (part,):
        top = named(k, "top", part * height)
        count = named(k, "count", minimum(height, rows - top))
        made = k.scratch("made", (height, depth))
        with k.serial(count, name="row") as row:
            place = [named(k, "at", axis) for axis in unravel(k, top + row, leading)]
            for piece in pieces:
                _make(k, lanes, piece, [*place], made, row)
        yield top, count, made


def _rows_at_once(rows: Index, depth: int) -> int:
    kept = _KEPT // depth
    return max(_LEAST, min(kept, rows // _TASKS) if isinstance(rows, int) else kept)


def _make(k: Loops, lanes: int, piece: Piece, place: Sequence[Index], made: Buffer, row: Index) -> None:
    cover(k, piece.channels, lanes, lambda c: k.store(made, (row, piece.first + c), piece.load(*place, c)))
