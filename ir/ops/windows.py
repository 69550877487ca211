"""Windows that slide along spatial axes: sizes, positions and padding, shared by convolutions and pools."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.errors import TypeInferenceError
from tilewright.ir.op import Array, Attrs
from tilewright.ir.ops.checks import require, require_lengths


@dataclass(frozen=True)
class Window:
    """A kernel of `kernel` taps, `dilation` apart, moved in steps of `stride` along a padded axis."""

    kernel: int
    stride: int
    dilation: int
    before: Dim
    after: Dim

    @property
    def extent(self) -> int:
        """From the first tap to the last, inclusive."""
        return self.dilation * (self.kernel - 1) + 1

    def count(self, size: Dim) -> Dim:
        """How many windows fit wholly into the padded axis."""
        room = dims.add(size, self.before, self.after, -self.extent)
        return _at_least_one(dims.add(dims.floordiv(room, self.stride), 1), size, self)

    def count_ceil(self, size: Dim) -> Dim:
        """As `count`, but the last window may reach over the end, if it starts before that."""
        over = dims.minimum(dims.add(self.after, self.stride - self.extent), 0)
        return _at_least_one(dims.ceildiv(dims.add(size, self.before, over), self.stride), size, self)

    def spread(self, size: Dim, extra: int) -> Dim:
        """The size from which windows make `size` places: what a transposed convolution makes."""
        whole = dims.add(dims.product((dims.sub(size, 1), self.stride)), self.extent, extra)
        return _at_least_one(dims.sub(whole, dims.add(self.before, self.after)), size, self)

    def start(self, b: Any, place: Any) -> Any:
        """Where the window of result `place` begins in the unpadded axis."""
        return place * self.stride - b.dim(self.before)


def _at_least_one(count: Dim, size: Dim, window: Window) -> Dim:
    if not isinstance(count, int) or count >= 1:
        return count
    raise TypeInferenceError(
        f"a kernel of {window.kernel} taps (dilation {window.dilation}, padding {window.before} and {window.after}) "
        f"has no place on an axis of size {size}"
    )


def windows(attrs: Attrs, kernel: Sequence[Dim], *, fixed: bool = True) -> tuple[Window, ...]:
    """One window per spatial axis. Raises TypeInferenceError for attributes that do not fit or are out of range.

    Unless `fixed`, the kernel may have sizes that are expressions.
    """
    rank = len(kernel)
    strides, pads, dilations = attrs["strides"], attrs["pads"], attrs["dilations"]
    require_lengths(rank, strides=strides, dilations=dilations)
    require(len(pads) == 2 * rank, f"pads has {len(pads)} entries; {rank} spatial axes need a begin and an end each")
    require(all(not fixed or isinstance(k, int) for k in kernel), f"the kernel {kernel} must have fixed sizes")
    require(all(not isinstance(k, int) or k >= 1 for k in kernel), f"the kernel {kernel} must have positive sizes")
    require(all(s >= 1 for s in strides), f"strides {strides} must be positive")
    require(all(d >= 1 for d in dilations), f"dilations {dilations} must be positive")
    require(all(not isinstance(p, int) or p >= 0 for p in pads), f"pads {pads} must not be negative")
    columns: Any = zip(kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)
    return tuple(Window(*column) for column in columns)


def channels_moved_first(place: Sequence[Any]) -> tuple[Any, ...]:
    """[N, ..., C] as [N, C, ...]: of a shape, of an index."""
    return (place[0], place[-1], *place[1:-1])


def channels_moved_last(place: Sequence[Any]) -> tuple[Any, ...]:
    """[N, C, ...] as [N, ..., C]."""
    return (place[0], *place[2:], place[1])


def channels_first_view(b: Any, x: Any) -> Any:
    """x [N, ..., C] read as [N, C, ...]."""
    return b.stage(channels_moved_first(x.shape), x.dtype, lambda *index: x(*channels_moved_last(index)))


def taps(kernel: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every place in the kernel."""
    return itertools.product(*(range(k) for k in kernel))


def padded(x: Array, axes: Sequence[Window], counts: Sequence[int], value: Any) -> Array:
    """`x` [N, C, ...] with spatial padding wide enough for `counts` windows."""
    ends = [
        max((n - 1) * w.stride + w.extent - size - w.before, 0)
        for w, n, size in zip(axes, counts, x.shape[2:], strict=True)
    ]
    widths = [(0, 0), (0, 0), *((w.before, end) for w, end in zip(axes, ends, strict=True))]
    return np.pad(x, widths, constant_values=value)


def tap_view(x: Array, axes: Sequence[Window], counts: Sequence[int], tap: Sequence[int]) -> Array:
    """What all windows see at one tap: a view [N, C, *counts] into the padded `x`."""
    index = [
        slice(k * w.dilation, k * w.dilation + (n - 1) * w.stride + 1, w.stride)
        for w, n, k in zip(axes, counts, tap, strict=True)
    ]
    return x[(slice(None), slice(None), *index)]


def read_window(
    b: Any,
    x: Any,
    head: Sequence[Any],
    places: Sequence[Any],
    axes: Sequence[Window],
    tap: Sequence[Any],
    other: Any,
    *,
    ceil: bool = False,
) -> Any:
    """The element of `x` that the windows at `places` see at `tap`, or `other` where that lies in the padding."""
    positions, inside = window_positions(b, x.shape[len(head) :], places, axes, tap, ceil=ceil)
    return guarded(b, inside, x, (*head, *positions), other)


def window_positions(
    b: Any, sizes: Sequence[Any], places: Sequence[Any], axes: Sequence[Window], tap: Sequence[Any], *, ceil: bool
) -> tuple[list[Any], list[Any]]:
    """Where the windows at `places` have `tap`, and the conditions for that to lie in axes of these `sizes`."""
    positions, inside = [], []
    for w, place, k, size in zip(axes, places, tap, sizes, strict=True):
        position = w.start(b, place) + k * w.dilation
        positions.append(position)
        if w.before != 0:
            inside.append(position >= 0)
        if w.after != 0 or ceil:
            inside.append(position < size)
    return positions, inside


def guarded(b: Any, conditions: Sequence[Any], x: Any, index: Sequence[Any], other: Any) -> Any:
    """`x(*index)` where all conditions hold, else `other`; elsewhere `x` is not read."""
    if not conditions:
        return x(*index)
    return b.guard(functools.reduce(b.logical_and, conditions), lambda: x(*index), other)
