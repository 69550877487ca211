"""Weights laid out the way matrix kernels read them. Imports no TVM: it also runs where compiled models are loaded."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def pack_b(matrix: Array, nb: int) -> Array:
    """[K, N] -> [ceil(N / nb), K, nb]: blocks of `nb` columns, each contiguous, the last padded with zeros."""
    depth, columns = matrix.shape
    whole, rest = divmod(columns, nb)
    packed = aligned_empty((whole + bool(rest), depth, nb), matrix.dtype)
    packed[:whole] = matrix[:, : whole * nb].reshape(depth, whole, nb).transpose(1, 0, 2)
    if rest:
        packed[whole, :, :rest] = matrix[:, whole * nb :]
        packed[whole, :, rest:] = 0
    return packed


def pack_gates(weights: Array, gates: int, nb: int) -> Array:
    """[D, G * H, K] -> [D, G * ceil(H / nb), K, nb]: each gate transposed, as `pack_b` does."""
    split = weights.reshape(len(weights), gates, -1, weights.shape[2])
    packed = [pack_b(matrix.T, nb) for direction in split for matrix in direction]
    return np.ascontiguousarray(np.stack(packed).reshape(len(weights), -1, *packed[0].shape[1:]))
