"""Index arithmetic and loop shapes that the rules share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tvm import tirx

from tilewright.backends.kernels.loops import Condition, Expr, Index, Loops, dtype_of, index, minimum

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
    return -(-a // b) if isinstance(a, int) and isinstance(b, int) else div_down(a + (b - 1), b)


def div_down(a: Index, b: Index) -> Index:
    """a / b rounded down, for a >= 0 and b > 0; an int when both are.

    On expressions it is the machine's division. TVM's floordiv tries to prove a >= 0, for ever if `a` is intricate.
    """
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return a if fits(b, 1) else tirx.truncdiv(index(a), index(b))


def remainder(a: Index, b: Index) -> Index:
    """What `div_down` leaves."""
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    return 0 if fits(b, 1) else tirx.truncmod(index(a), index(b))


def fits(extent: Index, limit: int) -> bool:
    """Whether an extent is known to be at most `limit`."""
    return isinstance(extent, int) and extent <= limit


def named(k: Loops, name: str, value: Index) -> Index:
    """The value, computed once: a variable unless it is an int."""
    return value if isinstance(value, int) else noted(k, value, name)


def noted(k: Loops, value: Expr, name: str = "v") -> Expr:
    """A variable that holds the value.

    It passes through memory, which LLVM removes: TVM's simplifier would put the expression back in place of the
    variable everywhere, and take minutes over nested expressions.
    """
    held = k.local(name, (1,), dtype_of(value))
    k.store(held, (0,), value)
    return k.let(name, held[0])


def unravel(k: Loops, flat: Index, extents: Sequence[Index]) -> Indices:
    """The indices of element `flat` in row-major order, as variables."""
    indices: list[Index] = []
    for extent in reversed(extents[1:]):
        quotient = named(k, "q", div_down(flat, extent)) if not fits(extent, 1) else flat
        indices.append(named(k, "r", flat - quotient * extent) if not fits(extent, 1) else 0)
        flat = quotient
    return (*([flat] if extents else []), *reversed(indices))


def worth_forking(elements: Index, cost: float) -> Condition:
    """Whether elements of the given cost each (1: copied, 10: an exponential) are worth the threads' fork."""
    return elements >= math.ceil(FORK_WORK / cost)


@contextmanager
def tasks(k: Loops, extents: Sequence[Index], worth: Condition) -> Iterator[Indices]:
    """One parallel loop over all of `extents`, serial where it is not worth a fork."""
    extents = [named(k, "extent", e) for e in extents]
    count = product(extents)
    with k.parallel(count, worth=False if fits(count, 1) else worth, name="task") as task:
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
    if lanes == 1:
        with k.serial(extent) as j:
            body(start + j)
    elif isinstance(extent, int):
        _cover_static(k, extent, lanes, body, start)
    else:
        _cover_dynamic(k, extent, lanes, body, start)


def _cover_dynamic(k: Loops, extent: Expr, lanes: int, body: Callable[[Index], None], start: Index) -> None:
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
