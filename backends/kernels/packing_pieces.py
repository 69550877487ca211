"""Weights in pieces of bfloat16, as the tiles of AMX read them (see `amx`). Imports no TVM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tilewright.backends.kernels.packing import pack_b
from tilewright.backends.values import aligned_empty

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]

PIECES = 3  # of a float32
ROWS = 16  # of a tile
DEPTH = 32  # products that one instruction sums for each element of a tile
SIDE = 2 * ROWS  # rows and columns of a block of sums, which takes four tiles

_UPPER = np.uint32(0xFFFF0000)  # of a float32, that are those of a bfloat16


def pack_pieces(matrix: Array) -> Array:
    """float32 [K, N] -> uint16 [ceil(N / 32), ceil(K / 32), 3, 2, 16, 32], padded with zeros.

    For each block of columns and step of rows its pieces, each a pair of tiles: of the left columns and of the right.
    Row j of a tile has rows j and j + 16 of the step side by side.
    """
    return _packed(matrix, lambda rows: rows.reshape(2, ROWS, -1))


def pack_runs_in_pieces(weights: Array, run: int) -> Array:
    """float32 [O, C, *taps] -> uint16 [ceil(O / 32), steps, 3, 2, 16, 32], for inputs in order.

    A sum goes over runs of so many products: over the channels, or the taps of the last axis and the channels. Each run
    is filled up with zeros to whole steps, the last of which ends where the run does: the zeros come before the numbers
    that are left, or behind those of a run that is shorter than a step. Row j of a tile has rows 2 * j and 2 * j + 1 of
    the step side by side.
    """
    sums = np.moveaxis(weights, (0, 1), (-1, -2)).reshape(-1, run, len(weights))
    zeros = np.zeros((len(sums), -run % DEPTH, len(weights)), weights.dtype)
    whole = run if run < DEPTH else run // DEPTH * DEPTH
    filled = np.concatenate([sums[:, :whole], zeros, sums[:, whole:]], axis=1).reshape(-1, len(weights))
    return _packed(filled, lambda rows: rows.reshape(ROWS, 2, -1).swapaxes(0, 1))


def pack_sums(weights: Array, run: int, *, in_pieces: bool) -> Array:
    """`pack_runs_in_pieces`, or as float32 [ceil(O / 32), terms, 32], what each sum goes over in the same order."""
    if in_pieces:
        return pack_runs_in_pieces(weights, run)
    return pack_b(np.moveaxis(weights, (0, 1), (-1, -2)).reshape(-1, len(weights)), SIDE)


def packed_runs_shape(outputs: int, terms: int, run: int) -> tuple[int, ...]:
    """The shape that `pack_runs_in_pieces` makes of weights for so many result channels, each a sum of `terms`."""
    return packed_pieces_shape(terms // run * -(-run // DEPTH) * DEPTH, outputs)


def pack_widened(weights: Array, taps: int, neighbours: int, stride: int, run: int, *, in_pieces: bool) -> Array:
    """[O, C, *, taps] -> what `pack_sums` makes of the channels of neighbouring results together.

    These lie along the axis of so many `taps`, so many inputs apart: the windows are shifted against each other.
    """
    outputs, channels = weights.shape[:2]
    rows, reach = weights.reshape(outputs, channels, -1, taps), stride * (neighbours - 1)
    shifts = [(stride * number, reach - stride * number) for number in range(neighbours)]
    wide = np.concatenate([np.pad(rows, ((0, 0), (0, 0), (0, 0), shift)) for shift in shifts])
    return pack_sums(wide, run, in_pieces=in_pieces)


def _packed(matrix: Array, halves: Callable[[Array], Array]) -> Array:
    """`halves` makes [2, 16, N] of the rows of a step: those that come first, and those beside them."""
    packed = aligned_empty(packed_pieces_shape(*matrix.shape), np.dtype(np.uint16))
    blocks, steps = packed.shape[:2]
    padded = np.zeros((steps, DEPTH, blocks * SIDE), np.float32)
    padded.reshape(steps * DEPTH, -1)[: len(matrix), : matrix.shape[1]] = matrix
    for step, rows in enumerate(padded):
        for piece, numbers in enumerate(pieces_of(halves(rows))):
            pairs = numbers.reshape(2, ROWS, blocks, 2, ROWS).transpose(2, 3, 1, 4, 0)
            packed[:, step, piece] = pairs.reshape(blocks, 2, ROWS, DEPTH)
    return packed


def pieces_of(numbers: Array) -> list[Array]:
    """The bfloat16 numbers, as uint16, whose sum each float32 is; as `amx.store_pieces` makes them."""
    pieces, rest = [], numbers
    for piece in range(PIECES):
        rounding = np.uint32(1 << 15 if piece == 1 else 0)
        upper = (rest.view(np.uint32) + rounding) & _UPPER
        pieces.append((upper >> np.uint32(16)).astype(np.uint16))
        with np.errstate(invalid="ignore"):  # of infinite numbers
            rest = rest - upper.view(np.float32)
    return pieces


def packed_pieces_shape(depth: int, columns: int) -> tuple[int, ...]:
    """The shape that `pack_pieces` makes of a matrix [depth, columns]."""
    return (-(-columns // SIDE), -(-depth // DEPTH), PIECES, 2, ROWS, DEPTH)
