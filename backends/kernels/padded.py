"""Padding: no element asks whether it lies inside. Each row has a loop for what does, and one for either end.

But for rows that are shorter than a vector, whose elements ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.elementwise import each_row, emit_pointwise
from tilewright.backends.kernels.loops import Condition, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.ranges import Indices, cover, maximum, named
from tilewright.backends.kernels.tile import Vectors


@dataclass(frozen=True)
class Padding:
    """An array of `size` with `before` and `after` more places on each axis: 0 on those without.

    `inside` gives an element of the array, `outside` one of the result that is none of the array's, and `anywhere` any.
    No axis of the array is empty.
    """

    size: Sequence[Index]
    before: Sequence[Index]
    after: Sequence[Index]
    inside: Callable[..., Expr]
    outside: Callable[..., Expr]
    anywhere: Callable[..., Expr]

    @property
    def shape(self) -> Indices:
        columns = zip(self.size, self.before, self.after, strict=True)
        return tuple(size + before + after for size, before, after in columns)

    def is_padded(self, axis: int) -> bool:
        return not all(isinstance(width, int) and width == 0 for width in (self.before[axis], self.after[axis]))


def emit_padded(k: Loops, machine: Vectors, padding: Padding, finish: Callable[[Sequence[Index], Expr], None]) -> None:
    """`finish(index, element)` for every element of the result, along its last axis of more than one element."""
    shape = padding.shape
    last = max((axis for axis, size in enumerate(shape) if not (isinstance(size, int) and size == 1)), default=0)
    k.branch(
        shape[last] >= machine.lanes if shape else False,
        lambda: _emit_rows(k, machine, padding, last, finish),
        lambda: emit_pointwise(k, machine, shape, lambda at: finish(at, padding.anywhere(*at))),
    )


def _emit_rows(
    k: Loops, machine: Vectors, padding: Padding, last: int, finish: Callable[[Sequence[Index], Expr], None]
) -> None:
    """Along axis `last`: those behind it have one element."""
    shape, before, size = padding.shape, padding.before[last], padding.size[last]
    beyond = (0,) * (len(shape) - last - 1)

    def outside(place: Indices, j: Index) -> None:
        at = (*place, j, *beyond)
        finish(at, padding.outside(*at))

    def inside(place: Indices, j: Index) -> None:
        at = (*place, j, *beyond)
        finish(at, padding.inside(*(i - low for i, low in zip(at, padding.before, strict=True))))

    with each_row(k, shape[: last + 1], 1.0) as (place, first, extent):
        low = named(k, "low", minimum(maximum(before - first, 0), extent))
        high = named(k, "high", maximum(minimum(before + size - first, extent), low))

        def row_of_array() -> None:
            cover(k, low, machine.lanes, partial(outside, place), first)
            cover(k, high - low, machine.lanes, partial(inside, place), first + low)
            cover(k, extent - high, machine.lanes, partial(outside, place), first + high)

        k.branch(
            _is_row_of_array(padding, place),
            row_of_array,
            lambda: cover(k, extent, machine.lanes, partial(outside, place), first),
        )


def _is_row_of_array(padding: Padding, place: Indices) -> Condition:
    """Whether the leading places lie inside."""
    conditions: list[Expr] = []
    for axis, at in enumerate(place):
        if padding.is_padded(axis):
            source = index(at - padding.before[axis])
            conditions += [source >= 0, source < index(padding.size[axis])]
    return tirx.all(*conditions) if conditions else True
