"""Sums of products of unsigned with signed 8-bit integers in fours, as x86 makes them: each two are added in 16 bits.

Two such products may be too large for that: where the sizes of two neighbouring weights sum to more than 128, times the
largest unsigned number. Those are halved, and the other halves are multiplied once more.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tilewright.ir.op import Array

QUAD = 4
_LARGEST = 128  # the sizes of two weights, summed: 255 * 128 is less than 2**15
_SPAN = 64  # neighbouring columns from a multiple of 8 on, which hold those that kernels take together
_STEP = 8  # kernels for numbers of spare quads that differ by less are the same
_MOST = 1 / 8  # of all quads may be spare, beyond which products of 16 bits are as fast


def halves(weights: Array) -> tuple[Array, Array]:
    """int8 [K, N], K even -> two such whose sum it is, and whose products with unsigned 8 bits sum up in 16 bits."""
    depth, columns = weights.shape
    sizes = np.abs(weights.astype(np.int16)).reshape(depth // 2, 2, columns)
    large = np.repeat(sizes.sum(axis=1) > _LARGEST, 2, axis=0)
    spare = np.where(large, weights.astype(np.int16) // 2, 0).astype(np.int8)
    return weights - spare, spare


def padded(weights: Array) -> Array:
    """[K, N] with rows of zeros, to whole quads."""
    return np.pad(weights, ((0, -len(weights) % QUAD), (0, 0)))


def spare_quads(matrices: Iterable[Array]) -> int | None:
    """How many quads of rows of int8 [K, N] have to be multiplied twice, at most, for columns side by side.

    Rounded up to a multiple of 8. None if they are too many to be worth it.
    """
    most = 0
    for matrix in matrices:
        depth, columns = padded(matrix).shape
        spare = halves(padded(matrix))[1].reshape(depth // QUAD, QUAD, columns)
        count = _most_in_span(np.asarray(spare.any(axis=1)))
        if count > len(spare) * _MOST:
            return None
        most = max(most, count)
    return -(-most // _STEP) * _STEP


def _most_in_span(marked: Array) -> int:
    """The most rows of bool [Q, N] that are marked within a span of columns."""
    filled = np.pad(marked, ((0, 0), (0, -marked.shape[1] % _STEP)))
    groups = filled.reshape(len(filled), filled.shape[1] // _STEP, _STEP).any(axis=2)
    spans = (np.asarray(groups)[:, i : i + _SPAN // _STEP].any(axis=1).sum() for i in range(groups.shape[1]))
    return max(map(int, spans), default=0)
