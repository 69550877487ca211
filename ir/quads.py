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
_GROUP = 8  # columns
_LEAST = 8  # spare quads, and powers of two beyond, so that matrices of one shape mostly share a kernel
_MOST = 1 / 8  # of all quads may be spare, beyond which products of 16 bits are as fast
_PIECE = 64 * _GROUP  # columns that are looked at together


def halves(weights: Array) -> tuple[Array, Array]:
    """int8 [K, N], K even -> two such whose sum it is, and whose products with unsigned 8 bits sum up in 16 bits."""
    spare = np.where(np.repeat(_too_large(weights), 2, axis=0), weights >> 1, np.int8(0))
    return weights - spare, spare


def _too_large(weights: Array) -> Array:
    """bool [K / 2, N]: the pairs of neighbours in a column whose products do not sum up in 16 bits."""
    sizes = np.abs(weights.astype(np.int16))
    return np.asarray(sizes[0::2] + sizes[1::2] > _LARGEST)


def padded(weights: Array) -> Array:
    """[K, N] with rows of zeros, to whole quads."""
    return np.pad(weights, ((0, -len(weights) % QUAD), (0, 0)))


def spare_quads(matrices: Iterable[Array]) -> int | None:
    """How many quads of rows of int8 [K, N] have to be multiplied twice, at most, for columns side by side.

    Rounded up, to a power of two. None if they are too many to be worth it.
    """
    most = 0
    for matrix in matrices:
        groups = _groups(matrix)
        width = _SPAN // _GROUP
        spans = (groups[:, i : i + width].any(axis=1).sum() for i in range(groups.shape[1]))
        count = max(map(int, spans), default=0)
        if count > len(groups) * _MOST:
            return None
        most = max(most, count)
    return max(_LEAST, 1 << (most - 1).bit_length()) if most else 0


def _groups(matrix: Array) -> Array:
    """bool [K / 4, N / 8], rounded up: which quads of rows have too large pairs in each group of columns."""
    pieces: list[Array] = [np.zeros((-(-len(matrix) // QUAD), 0), np.bool_)]
    for start in range(0, matrix.shape[1], _PIECE):
        large = _too_large(padded(matrix[:, start : start + _PIECE]))
        quads = large[0::2] | large[1::2]
        filled = np.pad(quads, ((0, 0), (0, -quads.shape[1] % _GROUP)))
        pieces.append(np.asarray(filled.reshape(len(quads), filled.shape[1] // _GROUP, _GROUP).any(axis=2)))
    return np.concatenate(pieces, axis=1)
