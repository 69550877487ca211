"""Weights laid out the way matrix kernels read them. Imports no TVM: it also runs where compiled models are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def pack_b(matrix: Array, nb: int, steps: int = 1) -> Array:
    """[K, N] -> [ceil(N / nb), ceil(K / steps), nb * steps], padded with zeros.

    Blocks of `nb` columns, each contiguous, with `steps` rows of a column side by side.
    """
    if steps > 1:
        matrix, nb = _interleaved(matrix, steps), nb * steps
    depth, columns = matrix.shape
    whole, rest = divmod(columns, nb)
    packed = aligned_empty((whole + bool(rest), depth, nb), matrix.dtype)
    packed[:whole] = matrix[:, : whole * nb].reshape(depth, whole, nb).transpose(1, 0, 2)
    if rest:
        packed[whole, :, :rest] = matrix[:, whole * nb :]
        packed[whole, :, rest:] = 0
    return packed


def packed_b_shape(depth: int, columns: int, nb: int, steps: int = 1) -> tuple[int, int, int]:
    """The shape that `pack_b` makes of a matrix [depth, columns]."""
    return (-(-columns // nb), -(-depth // steps), nb * steps)


def _interleaved(matrix: Array, steps: int) -> Array:
    """[K, N] -> [ceil(K / steps), N * steps]."""
    depth, columns = matrix.shape
    padded = np.pad(matrix, ((0, -depth % steps), (0, 0)))
    return np.ascontiguousarray(padded.reshape(-1, steps, columns).swapaxes(1, 2)).reshape(-1, columns * steps)


def pack_gates(weights: Array, gates: int, nb: int, steps: int = 1) -> Array:
    """[D, G * H, K] -> [D, G * ceil(H / nb), ...]: each gate transposed, as `pack_b` does."""
    packed = [pack_b(matrix, nb, steps) for matrix in matrices_of(weights, gates)]
    return np.ascontiguousarray(np.stack(packed).reshape(len(weights), -1, *packed[0].shape[1:]))


def matrices_of(weights: Array, gates: int) -> Sequence[Array]:
    """The transposed matrices of all gates of recurrent weights [D, G * H, K]."""
    split = weights.reshape(len(weights), gates, -1, weights.shape[2])
    return [matrix.T for direction in split for matrix in direction]
