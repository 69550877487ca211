"""Elementwise kernels: every output element on its own, at memory speed when there is little to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
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
from tilewright.backends.kernels.tile import LINE, Vectors

_STREAMED = 1 << 26  # bytes, more than the caches of a processor hold
_LONG = 1 << 13  # bytes of a row that are worth the call
_PIECE = 1 << 12  # elements that are computed before they are written
_BLOCK = 1 << 13  # elements a task: long against its index arithmetic, short enough to balance the threads


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
    with _rows(k, shape, cost) as (place, first, extent):
        cover(k, extent, machine.lanes, lambda j: store((*place, j)), first)


def emit_streamed(
    k: Loops, machine: Vectors, shape: Sequence[int], value: Callable[[Indices], Expr], out: Buffer, cost: float = 1.0
) -> None:
    """out[indices] = value(indices), for an `out` that `streams`: written past the caches."""
    with _rows(k, shape, cost) as (place, first, extent):
        piece = k.scratch("piece", (_PIECE,), str(out.ty.dtype))
        with k.serial(div_up(extent, _PIECE)) as p:
            start = k.let("start", first + p * _PIECE)
            count = k.let("count", index(minimum(_PIECE, first + extent - start)))
            cover(k, count, machine.lanes, lambda j: k.store(piece, (j,), value((*place, start + j))))
            k.stream(piece, out, (*place, start), count)


def streams(shape: Sequence[Index], size: int) -> bool:
    """Whether a result of elements of `size` bytes surely outgrows all caches, and has long rows of whole lines."""
    if not shape or not all(isinstance(extent, int) for extent in shape):
        return False
    row = int(shape[-1]) * size
    return bool(product(shape) * size >= _STREAMED and row >= _LONG and (len(shape) == 1 or row % LINE == 0))


@contextmanager
def _rows(k: Loops, shape: Sequence[Index], cost: float) -> Iterator[tuple[Indices, Index, Index]]:
    """Loops over parts of rows: the leading indices, the first element of the last axis, and how many."""
    *outer, rows, columns = (1, *shape) if len(shape) == 1 else shape
    height = named(k, "height", maximum(1, div_down(_BLOCK, maximum(columns, 1))))
    blocks = (*outer, div_up(rows, height), div_up(columns, _BLOCK))
    with tasks(k, blocks, worth_forking(product(shape), cost)) as (*lead, block_row, block_column):
        first_row, first = block_row * height, block_column * _BLOCK
        extent = columns if fits(columns, _BLOCK) else k.let("extent", minimum(_BLOCK, columns - first))
        with k.serial(minimum(height, rows - first_row)) as i:
            yield (*lead, first_row + i)[1 - len(shape) :] if len(shape) > 1 else (), first, extent
