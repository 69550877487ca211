"""Weights that are 8-bit integers times a scale for each column, stored as such: a quarter of the memory to read.

Models whose weights were quantized give such matrices, exactly. Kernels multiply the float32 numbers that these stand
for, or sum products of the integers and scale the sum: that rounds less often, but has no room for activations above
1e36, whose sums overflow. Imports no TVM: it also runs where models are lowered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.kernels.packing import pack_b
from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

ROWS_OF_SCALES = 4  # rows of int8 that hold a row of float32
_GREATEST = 128  # of the integers, without their sign
_FEW_COLUMNS = 4
_FEW_ROWS = 64
_AT_ONCE = 1 << 16  # elements to try scales on
_LEAST = 1 << 17  # elements, below which a matrix stays in the second-level cache anyway


def is_worth_scaling(matrix: Array) -> bool:
    """Whether a float32 matrix [K, N] is large, and all of it 8-bit integers times a scale for each column."""
    large = matrix.ndim == 2 and matrix.dtype == np.float32 and matrix.size >= _LEAST
    return large and column_scales(matrix) is not None


def column_scales(matrix: Array) -> Array | None:
    """float32 [N], such that each column of float32 [K, N] is integers from -128 to 127 times its scale, rounded once.

    None where there are no such scales, which a few columns mostly tell.
    """
    some = matrix[:, :: max(1, matrix.shape[1] // _FEW_COLUMNS)]
    if not _tried(some[:_FEW_ROWS], _Ends.of(some)).all():
        return None
    ends = _Ends.of(matrix)
    scales = _tried(matrix[:_FEW_ROWS], ends)
    wrong = np.flatnonzero(~_fits(matrix, scales))
    if len(wrong) > len(scales) // 4 + 1:
        return None
    scales[wrong] = _tried(matrix[:, wrong], ends.at(wrong))  # few rows do not always tell a scale from its neighbours
    return scales if _fits(matrix[:, wrong], scales[wrong]).all() else None


@dataclass(frozen=True)
class _Ends:
    """Of each column the largest element, without its sign, and the largest integer it may be: int8 has no +128."""

    largest: Array
    integer: Array

    @classmethod
    def of(cls, matrix: Array) -> _Ends:
        high, low = matrix.max(axis=0), matrix.min(axis=0)
        return cls(np.maximum(high, -low), np.where(-low > high, _GREATEST, _GREATEST - 1))

    def at(self, columns: Array) -> _Ends:
        return _Ends(self.largest[columns], self.integer[columns])


def _tried(matrix: Array, ends: _Ends) -> Array:
    """The scale that fits each column, or 0: its largest element over an integer, or a neighbour of that, rounded."""
    scales = np.where(ends.largest == 0, np.float32(1), np.float32(0))
    integer = _GREATEST
    while integer > 0 and len(left := np.flatnonzero(scales == 0)):
        count = min(integer, max(1, _AT_ONCE // (3 * len(left) * len(matrix))))
        candidates = _candidates(ends.at(left), np.arange(integer, integer - count, -1, dtype=np.float32))
        fits = _fits(matrix[:, None, left], candidates)
        first = candidates[fits.argmax(axis=0), np.arange(len(left))]
        scales[left] = np.where(fits.any(axis=0), first, 0)
        integer -= count
    return scales


def _candidates(ends: _Ends, integers: Array) -> Array:
    """[3 * I, N] scales of N columns whose largest elements may be one of the I integers; NaN where none can be."""
    exact = ends.largest / integers[:, None]
    around = (np.nextafter(exact, np.float32(end)) for end in (0, np.inf))
    scales = np.stack([exact, *around], axis=1).reshape(-1, len(ends.largest))
    with np.errstate(all="ignore"):
        inside = np.rint(ends.largest / scales) <= ends.integer  # not of infinite numbers
    return np.where(inside, scales, np.float32(np.nan))


def _fits(matrix: Array, scales: Array) -> Array:
    """[..., N] whether the columns of [K, ..., N] are integers times the scales [..., N]."""
    fits = np.ones(scales.shape, np.bool_)
    with np.errstate(all="ignore"):
        for rows in _pieces(matrix):
            again = rows / scales
            np.rint(again, out=again)
            again *= scales
            fits &= (again == rows).all(axis=0)
    return fits


def _pieces(matrix: Array) -> Iterator[Array]:
    """Some rows at a time, few enough that what is computed of them stays in the second-level cache."""
    return (matrix[start : start + _FEW_ROWS] for start in range(0, len(matrix), _FEW_ROWS))


def pack_scaled_b(matrix: Array, nb: int) -> Array:
    """float32 [K, N] -> int8 [ceil(N / nb), 4 + K, nb]: the scales of each block, as bytes, and its integers."""
    scales = column_scales(matrix)
    assert scales is not None
    rounded = np.empty(matrix.shape, np.int8)
    for rows, into in zip(_pieces(matrix), _pieces(rounded), strict=True):
        into[:] = np.rint(rows / scales)
    integers = pack_b(rounded, nb)
    blocks, depth, _ = integers.shape
    packed = aligned_empty((blocks, ROWS_OF_SCALES + depth, nb), integers.dtype)
    packed[:, :ROWS_OF_SCALES] = pack_b(scales[None], nb).view(np.int8).reshape(blocks, ROWS_OF_SCALES, nb)
    packed[:, ROWS_OF_SCALES:] = integers
    return packed


def packed_scaled_b_shape(depth: int, columns: int, nb: int) -> tuple[int, int, int]:
    """The shape that `pack_scaled_b` makes of a matrix [depth, columns]."""
    return (-(-columns // nb), ROWS_OF_SCALES + depth, nb)
