"""Convolution of float32 or int32 images as a matrix product: weights times patches (`patches.py`), never stored.

A register tile holds a block of result channels by a few vectors of neighbouring results. Depthwise and pointwise
convolutions are the same loops with other extents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, const, minimum
from tilewright.backends.kernels.packing_conv import conv_block
from tilewright.backends.kernels.patches import (
    Axis,
    Block,
    Blocking,
    block_results,
    each_tap,
    fill_patch,
    normalised,
    planes_of,
)
from tilewright.backends.kernels.ranges import Indices, cover, div_down, div_up, named, product, tasks
from tilewright.backends.kernels.tile import Vectors

_CACHE = 1 << 16  # float32 of input that a block may read: a quarter of a megabyte
_BLOCKS = (96, 1024)  # results a block, at least and at most
_TASKS = 16  # enough to balance the threads
_REUSE = 64  # multiply-adds with each element copied that make the copy cheap
_CHAINS = 4  # independent sums hide the latency of a multiply-add
_FORK_WORK = 300_000  # multiply-adds that take longer than waking the threads
_MUCH = 2_000  # multiply-adds a place that make even a small image worth it

Load = Callable[..., Expr]
Store = Callable[[Index, Index, Indices, Expr], None]


@dataclass(frozen=True)
class Conv:
    """Input [batch, channels, *axes], result [batch, outputs, *axes' results]."""

    batch: Index
    channels: int
    outputs: int
    groups: int
    axes: tuple[Axis, ...]
    dtype: str = "float32"
    """float32 or int32, whose sums wrap around."""

    @property
    def taps(self) -> int:
        return product([axis.kernel for axis in self.axes])

    def block(self, machine: Vectors) -> int:
        """The block of result channels that the weights are packed for."""
        return conv_block(self.outputs // self.groups, machine.registers)


def emit_conv(k: Loops, machine: Vectors, conv: Conv, load: Load, weights: Buffer, store: Store) -> None:
    """`store(n, o, places, value)` for every result: the sum over channels c and taps of input times weight.

    `load(n, c, *places)` gives the input, of `conv.dtype`. `pack_conv` made `weights` for `conv.block(machine)`.
    `store` must be idempotent; it is called with vectors along the last axis, or of result channels if all axes are 1.
    """
    if all(axis.is_trivial for axis in conv.axes):
        _emit_points(k, conv, conv.block(machine), load, weights, store)
        return
    axes, restored = normalised(conv.axes)
    packed = k.view(weights, (*weights.shape[:3], *(axis.kernel for axis in axes), weights.shape[-1]))
    _Kernel(
        k,
        machine,
        replace(conv, axes=axes),
        lambda n, c, places: load(n, c, *restored(places)),
        packed,
        lambda n, o, places, value: store(n, o, restored(places), value),
    ).emit()


def _emit_points(k: Loops, conv: Conv, height: int, load: Load, weights: Buffer, store: Store) -> None:
    """Images of one element: vectors of result channels."""
    depth, per_group = conv.channels // conv.groups, conv.outputs // conv.groups
    spot = (0,) * len(conv.axes)
    extents = (conv.batch, conv.groups, div_up(per_group, height))
    with tasks(k, extents, product((conv.batch, conv.outputs, depth)) >= _FORK_WORK) as (n, g, b):
        sums = [k.local("sum", (height,), conv.dtype) for _ in range(_CHAINS)]
        for each in sums:
            with k.vectorized(height) as r:
                k.store(each, (r,), 0)

        def step(c: Index, to: Buffer) -> None:
            x = k.let("x", load(n, g * depth + c, *spot))
            with k.vectorized(height) as r:
                k.store(to, (r,), to[r] + x * weights[(g, b, c, *spot, r)])

        with k.serial(depth // _CHAINS) as c:
            for u, each in enumerate(sums):
                step(c * _CHAINS + u, each)
        for c in range(depth // _CHAINS * _CHAINS, depth):
            step(c, sums[0])
        count = height if per_group % height == 0 else minimum(height, per_group - b * height)
        cover(k, count, height, lambda r: store(n, g * per_group + b * height + r, spot, _total(sums, r)))


def _total(sums: Sequence[Buffer], r: Index) -> Expr:
    return functools.reduce(lambda total, each: total + each[r], sums[1:], sums[0][r])


@dataclass(frozen=True)
class _Kernel:
    """The loops for images with at least two axes."""

    k: Loops
    machine: Vectors
    conv: Conv
    load: Callable[[Index, Index, Indices], Expr]
    weights: Buffer
    store: Store

    @property
    def height(self) -> int:
        """Result channels in a register tile."""
        return self.conv.block(self.machine)

    @property
    def width(self) -> int:
        """Results of each channel in a register tile: all registers but those for a weight and a row of inputs."""
        vectors = (self.machine.registers - 2) // (self.height + 1)
        return max(1, min(vectors, self.machine.registers // 8)) * self.machine.lanes

    @property
    def depth(self) -> int:
        return self.conv.channels // self.conv.groups

    @property
    def per_group(self) -> int:
        return self.conv.outputs // self.conv.groups

    def emit(self) -> None:
        k, conv = self.k, self.conv
        limit = _CACHE // (self.depth * planes_of(conv.axes))
        blocking = block_results(k, conv.axes, min(max(limit, _BLOCKS[0]), _BLOCKS[1]))
        blocks = div_up(self.per_group, self.height)
        outer = (conv.batch, conv.groups, *blocking.blocks)
        chunk = self._chunk(blocks, product(outer))
        with tasks(k, (*outer, div_up(blocks, chunk)), self._worth()) as (n, g, *place, part):
            block = Block.at(k, blocking, tuple(place))
            patch = self._patch(blocking, block, n, g)
            with k.serial(minimum(chunk, blocks - part * chunk)) as b:
                self._channels(blocking, block, n, g, named(k, "channels", part * chunk + b), patch)

    def _chunk(self, blocks: int, tasks_without: Index) -> int:
        """Blocks of result channels a task: all, unless there would be too few tasks."""
        wanted = div_up(_TASKS, tasks_without) if isinstance(tasks_without, int) else _TASKS // 4
        least = div_up(_REUSE, self.conv.taps * self.height)
        return min(blocks, max(least, div_up(blocks, wanted)))

    def _worth(self) -> Condition:
        """Whether the work needs all threads; taken for granted if sizes are unknown and each result is much work."""
        each = self.conv.outputs * self.depth * self.conv.taps
        results = product((self.conv.batch, *(axis.results for axis in self.conv.axes)))
        return True if each >= _MUCH and not isinstance(results, int) else results * each >= _FORK_WORK

    def _patch(self, blocking: Blocking, block: Block, n: Index, g: Index) -> Buffer:
        def load(c: Index, places: Indices) -> Expr:
            return self.load(n, g * self.depth + c, places)

        patch = self.k.scratch("patch", (self.depth * blocking.planes * blocking.plane + self.width,), self.conv.dtype)
        fill_patch(self.k, self.machine.lanes, blocking, block, patch, self.depth, const(0, self.conv.dtype), load)
        return patch

    def _channels(self, blocking: Blocking, block: Block, n: Index, g: Index, b: Index, patch: Buffer) -> None:
        """All results of a block of channels: sums to a scratch buffer, then what follows, row by row."""
        k, lanes = self.k, self.machine.lanes
        sums = k.scratch("sums", (self.height, blocking.rows * blocking.pitch + self.width), self.conv.dtype)
        self._sums(blocking, block, g, b, patch, sums)
        with k.serial(minimum(self.height, self.per_group - b * self.height)) as r, k.serial(block.rows) as i:

            def finish(j: Index) -> None:
                o = g * self.per_group + b * self.height + r
                self.store(n, o, (*block.lead, block.row + i, block.column + j), sums[r, i * blocking.pitch + j])

            cover(k, block.columns, lanes, finish)

    def _sums(self, blocking: Blocking, block: Block, g: Index, b: Index, patch: Buffer, sums: Buffer) -> None:
        """Register tiles, then for the rest narrow ones, which are fast only with several channels."""
        k, lanes = self.k, self.machine.lanes
        narrow = self.height >= _CHAINS
        count = named(k, "count", (block.rows - 1) * blocking.pitch + block.columns)
        whole = div_down(count, self.width) if narrow else div_up(count, self.width)
        with k.serial(whole) as tile:
            self._tile(blocking, g, b, patch, sums, named(k, "first", tile * self.width), self.width)
        if narrow:
            with k.serial(div_up(count - whole * self.width, lanes)) as tile:
                self._tile(blocking, g, b, patch, sums, named(k, "first", whole * self.width + tile * lanes), lanes)

    def _tile(
        self, blocking: Blocking, g: Index, b: Index, patch: Buffer, sums: Buffer, first: Index, width: int
    ) -> None:
        """A register tile: `height` channels by `width` results from number `first`."""
        k, lanes = self.k, self.machine.lanes
        tile = k.local("tile", (self.height * width,), self.conv.dtype)
        spots = [(r, v) for r in range(self.height) for v in range(0, width, lanes)]
        for r, v in spots:
            with k.vectorized(lanes) as lane:
                k.store(tile, (r * width + v + lane,), 0)
        with k.serial(self.depth) as c:

            def step(taps: Indices) -> None:
                start = c * (blocking.planes * blocking.plane) + blocking.tap(taps) + first
                self._multiply(tile, self.weights, (g, b, c, *taps), lambda v: patch[start + v], width)

            each_tap(k, blocking.axes, step)
        for r, v in spots:
            with k.vectorized(lanes) as lane:
                k.store(sums, (r, first + (v + lane)), tile[r * width + v + lane])

    def _multiply(self, tile: Buffer, weights: Buffer, place: Indices, x: Callable[[Index], Expr], width: int) -> None:
        """One channel and tap: every weight times every vector."""
        k, lanes = self.k, self.machine.lanes
        for r in range(self.height):
            weight = k.let("weight", weights[(*place, r)])
            for v in range(0, width, lanes):
                with k.vectorized(lanes) as lane:
                    at = r * width + v + lane
                    k.store(tile, (at,), tile[at] + weight * x(v + lane))
