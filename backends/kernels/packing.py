"""Weights laid out the way matrix kernels read them. Imports no TVM: it also runs where compiled models are loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def pack_b(matrix: Array, nb: int) -> Array:
    """[K, N] -> [ceil(N / nb), K, nb]: blocks of `nb` columns, each contiguous, the last padded with zeros."""
    depth, columns = matrix.shape
    blocks = -(-columns // nb)
    padded = np.zeros((depth, blocks * nb), matrix.dtype)
    padded[:, :columns] = matrix
    return np.ascontiguousarray(padded.reshape(depth, blocks, nb).transpose(1, 0, 2))
