"""Steps of Gaussian elimination with partial pivoting, on square float64 matrices in scratch memory."""

from __future__ import annotations

from tilewright.backends.kernels.expr import Namespace
from tilewright.backends.kernels.loops import Buffer, Index, Loops


def pivot_row(k: Loops, b: Namespace, matrix: Buffer, size: Index, step: Index) -> Index:
    """The row at or below `step` with the greatest magnitude in that column."""
    best = k.local("best", (1,), "int64")
    k.store(best, (0,), step)
    with k.serial(size - step, step) as i, k.when(b.abs(matrix[i, step]) > b.abs(matrix[best[0], step])):
        k.store(best, (0,), i)
    return k.let("row", best[0])


def exchange_rows(k: Loops, matrix: Buffer, size: Index, first: Index, second: Index) -> None:
    with k.serial(size) as j:
        exchange(k, matrix, (first, j), (second, j))


def exchange(k: Loops, buffer: Buffer, first: tuple[Index, ...], second: tuple[Index, ...]) -> None:
    """Swap two elements."""
    held = k.local("held", (1,), str(buffer.ty.dtype))
    k.store(held, (0,), buffer[first])
    k.store(buffer, first, buffer[second])
    k.store(buffer, second, held[0])
