"""Weights laid out the way convolution kernels read them. Imports no TVM: it also runs where compiled models are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]


def conv_block(outputs: int, registers: int) -> int:
    """Result channels that a register tile computes at once, of `outputs` per group: as equal blocks as possible."""
    largest = 8 if registers >= 32 else 4
    blocks = -(-outputs // largest)
    return -(-outputs // blocks)


def pack_conv(weights: Array, groups: int, block: int) -> Array:
    """[O, C / groups, *kernel] -> [groups, blocks, C / groups, *kernel, block], the last block padded with zeros."""
    outputs, channels, *kernel = weights.shape
    per_group = outputs // groups
    blocks = -(-per_group // block)
    padded = np.zeros((groups, blocks * block, channels, *kernel), weights.dtype)
    padded[:, :per_group] = weights.reshape(groups, per_group, channels, *kernel)
    split = padded.reshape(groups, blocks, block, channels, *kernel)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


def packed_conv_shape(shape: Sequence[int], groups: int, block: int) -> tuple[int, ...]:
    """The shape that `pack_conv` makes of weights of the given shape."""
    outputs, channels, *kernel = shape
    return (groups, -(-outputs // groups // block), channels, *kernel, block)
