"""Weights that are 8-bit integers times a scale for each column, stored as such: a quarter of the memory to read.

Models whose weights were quantized give such matrices, exactly: what comes out is the same float32 numbers. Imports no
TVM: it also runs where models are lowered.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.backends.kernels.packing import pack_b
from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

ROWS_OF_SCALES = 4  # rows of int8 that hold a row of float32
_GREATEST = 128  # of the integers, without their sign
_FEW_COLUMNS = 4
_FIRST_ROWS = 64  # which tell the scale of nearly every column
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
    if not _tried(some[:_FIRST_ROWS], np.abs(some).max(axis=0)).all():
        return None
    largest = np.abs(matrix).max(axis=0)
    scales = _tried(matrix[:_FIRST_ROWS], largest)
    wrong = np.flatnonzero(~_fits(matrix, scales))
    if len(wrong) > len(scales) // 4 + 1:
        return None
    scales[wrong] = _tried(matrix[:, wrong], largest[wrong])  # few rows do not always tell a scale from its neighbours
    return scales if _fits(matrix[:, wrong], scales[wrong]).all() else None


def _tried(matrix: Array, largest: Array) -> Array:
    """The scale that fits each column, or 0: its largest element over an integer, or a neighbour of that, rounded."""
    scales = np.where(largest == 0, np.float32(1), np.float32(0))
    left = np.flatnonzero(scales == 0)
    for integer in range(_GREATEST, 0, -1):
        if not len(left):
            break
        columns, scale = matrix[:, left], largest[left] / np.float32(integer)
        for candidate in (scale, np.nextafter(scale, np.float32(0)), np.nextafter(scale, np.float32(np.inf))):
            fits = _fits(columns, candidate) & (scales[left] == 0)
            scales[left[fits]] = candidate[fits]
        left = left[scales[left] == 0]
    return scales


def _fits(matrix: Array, scales: Array) -> Array:
    """For each column whether its elements are integers of 8 bits times its scale."""
    with np.errstate(all="ignore"):
        integers = np.rint(matrix / scales)
        inside = (integers >= -_GREATEST) & (integers < _GREATEST)
        return np.asarray((inside & (integers * scales == matrix)).all(axis=0))


def pack_scaled_b(matrix: Array, nb: int) -> Array:
    """float32 [K, N] -> int8 [ceil(N / nb), 4 + K, nb]: the scales of each block, as bytes, and its integers."""
    scales = column_scales(matrix)
    assert scales is not None
    integers = pack_b(np.rint(matrix / scales).astype(np.int8), nb)
    blocks, depth, _ = integers.shape
    packed = aligned_empty((blocks, ROWS_OF_SCALES + depth, nb), integers.dtype)
    packed[:, :ROWS_OF_SCALES] = pack_b(scales[None], nb).view(np.int8).reshape(blocks, ROWS_OF_SCALES, nb)
    packed[:, ROWS_OF_SCALES:] = integers
    return packed


def packed_scaled_b_shape(depth: int, columns: int, nb: int) -> tuple[int, int, int]:
    """The shape that `pack_scaled_b` makes of a matrix [depth, columns]."""
    return (-(-columns // nb), ROWS_OF_SCALES + depth, nb)
