"""Rules for indices that count (see `counting`): such a gather is a slice, and such a comparison is known."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value, constant
from tilewright.passes.counting import Counting, counting, least
from tilewright.passes.patterns import Match, uniform
from tilewright.passes.rewrite import Decline, Replacement, rule


@rule(lambda p, data, indices: p.gather(data, indices))
def gather_of_counting(match: Match, data: Value, indices: Value) -> Replacement:
    axis, count = match.node.attrs["axis"], counting(indices)
    taken = None if count is None else _taken(count, indices.shape, data.shape[axis])
    if count is None or taken is None:
        return Decline("the indices do not count upwards from a known place")
    part = _slice(match, data, {axis: taken})
    ones = [dim if a == count.axis else 1 for a, dim in enumerate(indices.shape)]
    shape = (*data.shape[:axis], *ones, *data.shape[axis + 1 :])
    return match.fit(match.apply("reshape", part, shape=shape))


@rule(lambda p, data: p.gather_nd(data, p.concat(...).named("indices"), batch_dims=0), shared=True)
def gather_of_grid(match: Match, data: Value, indices: Value) -> Replacement:
    """Indices made by counting along one axis of the grid for each axis of the data: the grid is the data."""
    assert indices.node is not None
    parts, grid = indices.node.inputs, indices.shape[:-1]
    if indices.node.attrs["axis"] != len(grid) or any(v.shape[-1] != 1 for v in parts):
        return Decline("the indices are not one value for each axis")
    counts = [counting(v) for v in parts]
    axes = [c.axis for c in counts if c is not None and c.axis is not None]
    pairs = zip(counts, data.shape, strict=False)
    taken = {a: t for a, (c, dim) in enumerate(pairs) if c is not None and (t := _taken(c, grid, dim)) is not None}
    if len(taken) != len(parts) or axes != sorted(set(axes)):
        return Decline("the indices do not count along one axis of the grid for each axis of the data")
    part = _slice(match, data, taken)
    shape = (*(dim if a in axes else 1 for a, dim in enumerate(grid)), *data.shape[len(parts) :])
    return match.fit(match.apply("reshape", part, shape=shape))


def _taken(count: Counting, shape: Sequence[Dim], limit: Dim) -> tuple[Dim, Dim, int] | None:
    """Start, size and step of the part of an axis of size `limit` that is read, or None where it is not a plain one."""
    start, step = count.start, count.step
    size = 1 if count.axis is None else shape[count.axis]
    if isinstance(start, int) and start < 0 and count.axis is None:
        start = dims.add(start, limit)
    if isinstance(start, int) and start < 0:
        return None
    if count.axis is None:
        return start, size, 1
    return (start, size, step) if isinstance(step, int) and step > 0 else None


def _slice(match: Match, data: Value, taken: dict[int, tuple[Dim, Dim, int]]) -> Value:
    parts = [taken.get(axis, (0, dim, 1)) for axis, dim in enumerate(data.shape)]
    starts, sizes, steps = zip(*parts, strict=True)
    return match.apply("slice", data, starts=starts, sizes=sizes, steps=steps)


@rule(lambda p, x, c: p.either(p.greater_equal(x, c), p.less_equal(c, x)))
def never_below(match: Match, x: Value, c: Value) -> Replacement:
    return match.fit(constant(True)) if _bounded(x, c) else Decline("the least value is not known, or is less")


@rule(lambda p, x, c: p.either(p.less(x, c), p.greater(c, x)))
def below_never(match: Match, x: Value, c: Value) -> Replacement:
    return match.fit(constant(False)) if _bounded(x, c) else Decline("the least value is not known, or is less")


def _bounded(x: Value, c: Value) -> bool:
    """Whether every element of `x` is at least the number `c`."""
    limit, bound = uniform(c), least(x)
    return limit is not None and bound is not None and bool(bound >= limit)


RULES = (gather_of_counting, gather_of_grid, never_below, below_never)
