"""Weights of 8 bits laid out for products in fours. Imports no TVM: it also runs where compiled models are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.kernels.packing import matrices_of, pack_b, packed_b_shape
from tilewright.backends.values import aligned_empty
from tilewright.ir.quads import QUAD, halves, padded

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


@dataclass(frozen=True)
class QuadRows:
    """The rows of a block of `columns`, each of 4 * columns bytes.

    First `quads` rows with four weights of each column. Then the sums of all weights of each column, as int32. Where
    there are `spare` quads, then int32 numbers, at first how many of them the block has and then which quad each is
    half of, and last the spare quads.
    """

    quads: int
    columns: int
    spare: int

    @property
    def sums(self) -> int:
        return self.quads

    @property
    def numbers(self) -> int:
        return self.sums + 1

    @property
    def first_spare(self) -> int:
        return self.numbers + (-(-(1 + self.spare) // self.columns) if self.spare else 0)

    @property
    def total(self) -> int:
        return self.first_spare + self.spare


def pack_quads(matrix: Array, nb: int, spare: int, multiple: int = QUAD) -> Array:
    """int8 [K, N] -> int8 [ceil(N / nb), rows, 4 * nb], with the rows of `QuadRows`, for K padded to a multiple.

    `spare` is at least what `quads.spare_quads` finds for blocks of `nb` columns; or 0, and nothing is split.
    """
    matrix = padded(np.pad(matrix, ((0, -len(matrix) % multiple), (0, 0))))
    first, second = halves(matrix) if spare else (matrix, None)
    weights = pack_b(first, nb, QUAD)
    blocks, quads, width = weights.shape
    rows = QuadRows(quads, nb, spare)
    packed = aligned_empty((blocks, rows.total, width), matrix.dtype)
    packed[:, quads:] = 0
    packed[:, :quads] = weights
    sums = pack_b(matrix.sum(axis=0, dtype=np.int32)[None], nb)
    packed[:, rows.sums] = sums.view(np.int8).reshape(blocks, width)
    if second is not None:
        for block, other in zip(packed, pack_b(second, nb, QUAD), strict=True):
            _add_spare(block, other, rows)
    return packed


def _add_spare(block: Array, other: Array, rows: QuadRows) -> None:
    """The quads of `other` that are not 0, and their numbers."""
    which = np.flatnonzero(other.any(axis=1))
    assert len(which) <= rows.spare
    numbers = np.zeros((rows.first_spare - rows.numbers) * rows.columns, np.int32)
    numbers[: 1 + len(which)] = len(which), *which
    block[rows.numbers : rows.first_spare] = numbers.view(np.int8).reshape(-1, block.shape[1])
    block[rows.first_spare : rows.first_spare + len(which)] = other[which]


def packed_quads_shape(depth: int, columns: int, nb: int, spare: int, multiple: int = QUAD) -> tuple[int, int, int]:
    """The shape that `pack_quads` makes of a matrix [depth, columns]."""
    blocks, quads, width = packed_b_shape(depth + -depth % multiple, columns, nb, QUAD)
    return (blocks, QuadRows(quads, nb, spare).total, width)


def pack_quad_gates(weights: Array, gates: int, nb: int, spare: int) -> Array:
    """[D, G * H, K] -> [D, G * ceil(H / nb), ...]: each gate transposed, as `pack_quads` does."""
    packed = [pack_quads(matrix, nb, spare) for matrix in matrices_of(weights, gates)]
    return np.stack(packed).reshape(len(weights), -1, *packed[0].shape[1:])
