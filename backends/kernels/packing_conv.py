"""Weights laid out the way convolution kernels read them. Imports no TVM: it also runs where models are loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.backends.kernels.packing_pieces import pack_sums

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


def pack_conv_last(weights: Array, groups: int, columns: int, steps: int = 1) -> Array:
    """[O, C / groups, *kernel] -> [groups, blocks, *kernel, C / groups / steps, columns * steps].

    The last block is padded with zeros; `steps` channels of a column are side by side.
    """
    outputs, channels, *kernel = weights.shape
    per_group = outputs // groups
    blocks = -(-per_group // columns)
    padded = np.zeros((groups, blocks * columns, channels, *kernel), weights.dtype)
    padded[:, :per_group] = weights.reshape(groups, per_group, channels, *kernel)
    split = padded.reshape(groups, blocks, columns, channels, *kernel)
    packed = np.moveaxis(split, (2, 3), (-1, -2))
    side_by_side = packed.reshape(*packed.shape[:-2], channels // steps, steps, columns).swapaxes(-1, -2)
    return np.ascontiguousarray(side_by_side).reshape(packed_conv_last_shape(weights.shape, groups, columns, steps))


def packed_conv_last_shape(shape: Sequence[int], groups: int, columns: int, steps: int = 1) -> tuple[int, ...]:
    """The shape that `pack_conv_last` makes of weights of the given shape."""
    outputs, channels, *kernel = shape
    return (groups, -(-outputs // groups // columns), *kernel, channels // steps, columns * steps)


def pack_conv_dots(weights: Array, groups: int, lanes: int, run: int) -> Array:
    """[O, C / groups, *kernel] -> [groups, 1, *, ceil(run / lanes), O / groups, lanes], by runs of products.

    They go over the channels and, if there are more in one, the taps of the last axis; the last vector of each is
    padded with zeros.
    """
    outputs, *_ = weights.shape
    sums = np.moveaxis(weights, 1, -1).reshape(groups, outputs // groups, -1, run)
    padded = np.zeros((*sums.shape[:-1], -(-run // lanes) * lanes), weights.dtype)
    padded[..., :run] = sums
    vectors = padded.reshape(*sums.shape[:-1], -1, lanes)
    return np.ascontiguousarray(np.moveaxis(vectors, 1, -2))[:, None]


def packed_conv_dots_shape(shape: Sequence[int], groups: int, lanes: int, run: int) -> tuple[int, ...]:
    """The shape that `pack_conv_dots` makes of weights of the given shape."""
    outputs, *terms = shape
    return (groups, 1, math.prod(terms) // run, -(-run // lanes), outputs // groups, lanes)


def pack_conv_transpose_last(weights: Array, groups: int, spreads: Sequence[Spread], columns: int) -> Array:
    """[C, O / groups, *kernel] -> the plain convolution's weights, packed by `pack_conv_last`, phase by phase."""
    spread = spread_by_phase(weights, groups, spreads)
    return pack_conv_last(spread, len(spread) // weights.shape[1], columns)


def pack_transposed_sums(weights: Array, spreads: Sequence[Spread], run: int, *, in_pieces: bool) -> Array:
    """[C, O, *kernel] -> the plain convolution's weights, packed by `pack_sums`, phase by phase."""
    return pack_sums(spread_by_phase(weights, 1, spreads), run, in_pieces=in_pieces)


def pack_merged(weights: Array, spreads: Sequence[Spread], packing: Callable[[Array], Array]) -> Array:
    """[C, O, *kernel] -> the plain convolution's weights, the channels of all phases side by side, by `packing`."""
    return packing(spread_by_phase(weights, 1, spreads))


def spread_by_phase(weights: Array, groups: int, spreads: Sequence[Spread]) -> Array:
    """As `spread_weights`, [groups * phases * O, C / groups, *distances]."""
    spread = spread_weights(weights, groups, spreads)
    per_phase = spread.reshape(groups, weights.shape[1], -1, *spread.shape[1:])
    return np.swapaxes(per_phase, 1, 2).reshape(spread.shape)


def pack_depthwise(weights: Array) -> Array:
    """[C, 1, *kernel] -> [*kernel, C]."""
    return np.ascontiguousarray(np.moveaxis(weights[:, 0], 0, -1))


@dataclass(frozen=True)
class Spread:
    """One axis of a transposed convolution: input place i adds to results i * stride + tap * dilation - before.

    `growth` is how many results there are beyond stride times the size of the input. Results are counted from `skipped`
    places before the first: number j * stride + phase.
    """

    kernel: int
    stride: int
    dilation: int
    before: int
    growth: int

    @property
    def skipped(self) -> int:
        """So many that all phases reach equally far, if one reaches further otherwise."""
        beyond = self.before % self.stride
        return beyond if _reach(self, self.before - beyond) < _reach(self, self.before) else 0

    @property
    def _offset(self) -> int:
        return self.before - self.skipped

    def tap(self, phase: int, distance: int) -> int | None:
        """The tap through which the input at j + distance reaches result j * stride + phase, if there is one."""
        tap, rest = divmod(phase + self._offset - distance * self.stride, self.dilation)
        return tap if rest == 0 and 0 <= tap < self.kernel else None

    @property
    def first(self) -> int:
        """The least distance from which an input reaches a result."""
        return _first(self, self._offset)

    @property
    def last(self) -> int:
        """The greatest distance from which an input reaches a result."""
        return _last(self, self._offset)

    @property
    def extra(self) -> int:
        """How many more j there are than places of the input."""
        return -(-(self.growth + self.skipped) // self.stride)

    @property
    def is_whole(self) -> bool:
        """Whether all phases have a result for the last j."""
        return (self.growth + self.skipped) % self.stride == 0


def _first(spread: Spread, offset: int) -> int:
    return -((spread.dilation * (spread.kernel - 1) - offset) // spread.stride)


def _last(spread: Spread, offset: int) -> int:
    return (spread.stride - 1 + offset) // spread.stride


def _reach(spread: Spread, offset: int) -> int:
    return _last(spread, offset) - _first(spread, offset)


def spread_weights(weights: Array, groups: int, spreads: Sequence[Spread]) -> Array:
    """[C, O / groups, *kernel] of a transposed convolution -> [O * phases, C / groups, *distances] of a plain one."""
    channels, per_group = weights.shape[:2]
    phases = list(itertools.product(*(range(s.stride) for s in spreads)))
    extents = [s.last - s.first + 1 for s in spreads]
    result = np.zeros((groups, per_group, len(phases), channels // groups, *extents), weights.dtype)
    grouped = weights.reshape(groups, channels // groups, per_group, *weights.shape[2:])
    for (number, phase), place in itertools.product(enumerate(phases), np.ndindex(*extents)):
        taps = [s.tap(f, p + s.first) for s, f, p in zip(spreads, phase, place, strict=True)]
        if None not in taps:
            result[(slice(None), slice(None), number, slice(None), *place)] = np.swapaxes(grouped[(..., *taps)], 1, 2)
    return result.reshape(groups * per_group * len(phases), channels // groups, *extents)


def pack_conv_transpose(weights: Array, groups: int, spreads: Sequence[Spread], block: int) -> Array:
    """[C, O / groups, *kernel] -> the plain convolution's weights, packed by `pack_conv`."""
    return pack_conv(spread_weights(weights, groups, spreads), groups, block)
