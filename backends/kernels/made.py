"""Rows of a matrix that are computed on the way to a product: mostly some at once, which stay in the caches."""

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
class Columns:
    """Neighbouring ones of rows, or channels of an image: load(*place, c) gives a vector from first + c on."""

    first: int
    count: int
    load: Callable[..., Expr]


@contextmanager
def made_rows(
    k: Loops, lanes: int, leading: Sequence[Index], parts: Sequence[Columns], unit: int, worth: Condition
) -> Iterator[tuple[Index, Index, Buffer]]:
    """Tasks for some rows each: which is the first, how many, and where the columns of all `parts` lie.

    `leading` are the axes that the rows go over. Their number is a multiple of `unit`, but for the last ones.
    """
    height = unit * max(1, _rows_at_once(product(leading), _depth(parts)) // unit)
    with _tasks(k, leading, height, worth) as (top, count):
        made = k.scratch("made", (height, _depth(parts)))
        _make(k, lanes, leading, parts, top, count, made, 0)
        yield top, count, made


def make_rows(k: Loops, lanes: int, leading: Sequence[Index], parts: Sequence[Columns], worth: Condition) -> Buffer:
    """Where all rows lie, which are made before anything else."""
    rows, depth = product(leading), _depth(parts)
    made = k.scratch("made", (rows, depth))
    with _tasks(k, leading, max(1, _rows_at_once(rows, depth)), worth) as (top, count):
        _make(k, lanes, leading, parts, top, count, made, top)
    return made


def _depth(parts: Sequence[Columns]) -> int:
    return sum(part.count for part in parts)


def _rows_at_once(rows: Index, depth: int) -> int:
    kept = _KEPT // depth
    return max(_LEAST, min(kept, rows // _TASKS) if isinstance(rows, int) else kept)


@contextmanager
def _tasks(k: Loops, leading: Sequence[Index], height: int, worth: Condition) -> Iterator[tuple[Index, Index]]:
    rows = product(leading)
    with tasks(k, (div_up(rows, height),), worth) as (number,):
        top = named(k, "top", number * height)
        yield top, named(k, "count", minimum(height, rows - top))


def _make(
    k: Loops, lanes: int, leading: Sequence[Index], parts: Sequence[Columns], top: Index, count: Index, made: Buffer,
    first: Index,
) -> None:  # fmt: skip
    """Rows `top` .. top + count, as those from `first` on."""
    with k.serial(count, name="row") as row:
        place = [named(k, "at", axis) for axis in unravel(k, top + row, leading)]
        for part in parts:
            _make_columns(k, lanes, part, place, made, first + row)


def _make_columns(k: Loops, lanes: int, part: Columns, place: Sequence[Index], made: Buffer, row: Index) -> None:
    cover(k, part.count, lanes, lambda c: k.store(made, (row, part.first + c), part.load(*place, c)))
