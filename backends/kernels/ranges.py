"""Index arithmetic and loop shapes that the rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tvm import tirx

from tilewright.backends.kernels.loops import Condition, Expr, Index, Loops, index, minimum

Indices = tuple[Index, ...]

FORK_WORK = 30_000
"""Elements of cost 1 (copied from the second-level cache) that take about 2 us, as does a fork."""


def product(extents: Sequence[Index]) -> Index:
    """The number of elements; an int if all extents are."""
    return math.prod(extents, start=1)


def maximum(a: Index, b: Index) -> Index:
    """The greater index; an int when both are."""
    return max(a, b) if isinstance(a, int) and isinstance(b, int) else tirx.max(index(a), index(b))


def div_up(a: Index, b: Index) -> Index:
    """a / b rounded up, for a >= 0 and b > 0; an int when both are."""
    return -(-a // b) if isinstance(a, int) and isinstance(b, int) else (index(a) + (b - 1)) // b


def div_down(a: Index, b: Index) -> Index:
    """a / b rounded down; an int when both are."""
    return a // b if isinstance(a, int) and isinstance(b, int) else index(a) // b


def fits(extent: Index, limit: int) -> bool:
    """Whether an extent is known to be at most `limit`."""
    return isinstance(extent, int) and extent <= limit


def named(k: Loops, name: str, value: Index) -> Index:
    """The value, computed once: a variable unless it is an int."""
    return value if isinstance(value, int) else k.let(name, value)


def unravel(k: Loops, flat: Index, extents: Sequence[Index]) -> Indices:
    """The indices of element `flat` in row-major order, as variables."""
    indices: list[Index] = []
    for extent in reversed(extents[1:]):
        quotient = flat if _is_one(extent) else k.let("q", tirx.truncdiv(index(flat), index(extent)))
        indices.append(0 if _is_one(extent) else k.let("r", flat - quotient * extent))
        flat = quotient
    return (*([flat] if extents else []), *reversed(indices))


def _is_one(extent: Index) -> bool:
    return isinstance(extent, int) and extent == 1


def worth_forking(elements: Index, cost: float) -> Condition:
    """Whether elements of the given cost each (1: copied, 10: an exponential) are worth the threads' fork."""
    return elements >= math.ceil(FORK_WORK / cost)


@contextmanager
def tasks(k: Loops, extents: Sequence[Index], elements: Index, cost: float) -> Iterator[Indices]:
    """One parallel loop over all of `extents`, serial if `elements` in total are too little work."""
    extents = [named(k, "extent", e) for e in extents]
    count = product(extents)
    worth = worth_forking(elements, cost) if count != 1 else False
    with k.parallel(count, worth=worth, name="task") as task:
        yield unravel(k, task, extents)


@contextmanager
def nested(k: Loops, extents: Sequence[Index]) -> Iterator[Indices]:
    """Serial loops over all of `extents`, the last one innermost."""
    if not extents:
        yield ()
        return
    with k.serial(extents[0]) as first, nested(k, extents[1:]) as rest:
        yield (first, *rest)


def cover(k: Loops, extent: Index, lanes: int, body: Callable[[Index], None], start: Index = 0) -> None:
    """`body(j)` for start <= j < start + extent in vectors of `lanes`; only a range shorter than that goes one by one.

    The last vector ends where the range ends, so that some elements are computed twice: `body` must be idempotent.
    """
    if isinstance(extent, int):
        _cover_static(k, extent, lanes, body, start)
        return
    with k.when(extent >= lanes), k.serial(div_up(extent, lanes)) as block:
        first = k.let("first", start + minimum(block * lanes, extent - lanes))
        with k.vectorized(lanes) as lane:
            body(first + lane)
    with k.when(extent < lanes), k.serial(extent) as j:
        body(start + j)


def _cover_static(k: Loops, extent: int, lanes: int, body: Callable[[Index], None], start: Index) -> None:
    whole = extent // lanes
    if whole == 0:
        with k.serial(extent) as j:
            body(start + j)
        return
    with k.serial(whole) as block, k.vectorized(lanes) as lane:
        body(start + block * lanes + lane)
    if extent % lanes:
        with k.vectorized(lanes) as lane:
            body(start + (extent - lanes) + lane)
