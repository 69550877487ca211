"""The places of the greatest (or least) elements of a row, in order; of equal elements the first comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.ranges import div_up, maximum
from tilewright.backends.kernels.scalars import Scalars

FEW = 32  # places up to which insertion into a list is faster than sorting everything
_LEVELS = 48  # doublings of a run: more than any axis has


@dataclass(frozen=True)
class Row:
    """A row of `extent` elements: `read(i)` for 0 <= i < extent, in a dtype that can be compared."""

    k: Loops
    b: Scalars
    extent: Index
    read: Callable[[Index], Expr]
    largest: bool

    def precedes(self, x: Expr, y: Expr) -> Expr:
        """Whether x comes before y. NaN counts as greater than any number."""
        first, second = (x, y) if self.largest else (y, x)
        more = first > second
        if "float" not in self.b.dtype_of(x):
            return more
        return self.b.logical_or(
            more, self.b.logical_and(self.b.isnan(first), self.b.logical_not(self.b.isnan(second)))
        )


def insert(row: Row, count: Index, keep: Callable[[Index, Index], None], kept: Callable[[Index], Expr]) -> None:
    """The first `count` places by insertion into a sorted list: `keep(j, i)` makes i the j-th, `kept(j)` reads it."""
    k, b = row.k, row.b
    with k.serial(row.extent) as i, k.when(index(count) > 0):
        new = k.let("new", row.read(i))
        room = k.let("room", minimum(i, count - 1))  # the list's length, or its last place where it is full
        hole = k.local("hole", (1,), "int64")
        k.store(hole, (0,), room)
        last = kept(maximum(index(count) - 1, 0))
        worth = b.guard(i < count, lambda: b.const(True, "bool"), row.precedes(new, row.read(_inside(row, last))))
        with k.when(worth):
            with k.serial(room) as step:
                before = k.let("before", room - 1 - step)
                held = k.let("held", kept(before))
                moves = b.logical_and(b.equal(hole[0], before + 1), row.precedes(new, row.read(held)))
                with k.when(moves):
                    keep(before + 1, held)
                    k.store(hole, (0,), before)
            keep(hole[0], i)


def _inside(row: Row, place: Expr) -> Expr:
    """A place that may not have been written yet, kept within the row."""
    return maximum(minimum(place, index(row.extent) - 1), 0)


def merge_sort(row: Row) -> tuple[Buffer, Expr]:
    """All places in order: row `side` of the buffer. Runs of doubling lengths, merged from one half to the other.

    D. Knuth, The Art of Computer Programming 3, section 5.2.4.
    """
    k, b, extent = row.k, row.b, index(row.extent)
    places = k.scratch("places", (2, maximum(row.extent, 1)), "int64")
    side = k.local("side", (1,), "int64")
    k.store(side, (0,), index(0))
    with k.serial(row.extent) as i:
        k.store(places, (0, i), i)
    with k.serial(_LEVELS) as level:
        width = k.let("width", b.shift_left(index(1), level))
        with k.when(width < extent):
            source = k.let("source", side[0])
            with k.serial(div_up(extent, width * 2)) as run:
                _merge(row, places, source, run * width * 2, width)
            k.store(side, (0,), 1 - source)
    return places, k.let("sorted", side[0])


def _merge(row: Row, places: Buffer, source: Expr, first: Expr, width: Expr) -> None:
    """Two neighbouring runs of `width` places from `first` on become one."""
    k, b, extent = row.k, row.b, index(row.extent)
    begin = k.let("begin", first)
    middle = k.let("middle", minimum(begin + width, extent))
    end = k.let("end", minimum(begin + width * 2, extent))
    heads = k.local("heads", (2,), "int64")
    k.store(heads, (0,), begin)
    k.store(heads, (1,), middle)
    with k.serial(end - begin) as step:
        left, right = k.let("left", heads[0]), k.let("right", heads[1])
        a = k.let("a", places[source, minimum(left, extent - 1)])
        c = k.let("c", places[source, minimum(right, extent - 1)])
        later = row.precedes(k.let("y", row.read(c)), k.let("x", row.read(a)))
        takes = k.let("takes", b.logical_and(right < end, b.logical_or(left >= middle, later)))
        k.store(places, (1 - source, begin + step), b.select(takes, c, a))
        k.store(heads, (0,), b.select(takes, left, left + 1))
        k.store(heads, (1,), b.select(takes, right + 1, right))
