"""Elementwise kernels: every output element on its own, at memory speed when there is little to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, minimum
from tilewright.backends.kernels.ranges import (
    Indices,
    cover,
    div_down,
    div_up,
    fits,
    maximum,
    named,
    product,
    tasks,
    worth_forking,
)
from tilewright.backends.kernels.stream import fence, stream
from tilewright.backends.kernels.tile import Vectors

BLOCK = 1 << 13  # elements a task: long against its index arithmetic, short enough to balance the threads


def emit_pointwise(
    k: Loops, machine: Vectors, shape: Sequence[Index], store: Callable[[Indices], None], cost: float = 1.0
) -> None:
    """`store(indices)` for every element of `shape`, the last axis in vectors.

    The fewer and longer the axes the better: the caller merges those that all tensors run through together. `store`
    must be idempotent (no output may be an input). `cost` is the work of an element, 1 for a copy.
    """
    if not shape:
        store(())
        return
    with each_row(k, shape, cost) as (place, first, extent):
        cover(k, extent, machine.lanes, lambda j: store((*place, j)), first)


def emit_streamed(
    k: Loops, machine: Vectors, shape: Sequence[Index], value: Callable[..., Expr], out: Buffer, cost: float = 1.0
) -> None:
    """out[indices] = value(*indices) for every element of `shape`, for an `out` that `streams`."""
    with each_row(k, shape, cost, after=lambda: fence(k)) as (place, first, extent):
        stream(k, out, lambda j: (*place, first + j), extent, machine.lanes, lambda j: value(*place, first + j))


@contextmanager
def each_row(
    k: Loops, shape: Sequence[Index], cost: float, after: Callable[[], None] = lambda: None
) -> Iterator[tuple[Indices, Index, Index]]:
    """Loops over parts of rows: the leading indices, the first element of the last axis, and how many.

    Rows of at most `BLOCK` elements are a part each. `after` emits what ends a task.
    """
    *outer, rows, columns = (1, *shape) if len(shape) == 1 else shape
    height = named(k, "height", maximum(1, div_down(BLOCK, maximum(columns, 1))))
    blocks = (*outer, div_up(rows, height), div_up(columns, BLOCK))
    with tasks(k, blocks, worth_forking(product(shape), cost)) as (*lead, block_row, block_column):
        first_row, first = block_row * height, block_column * BLOCK
        extent = columns if fits(columns, BLOCK) else k.let("extent", minimum(BLOCK, columns - first))
        with k.serial(minimum(height, rows - first_row)) as i:
            yield (*lead, first_row + i)[1 - len(shape) :] if len(shape) > 1 else (), first, extent
        after()
