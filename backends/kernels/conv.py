"""Convolution of float32 images as a matrix product: weights times the patches of `patches.py`, never stored as a matrix.

A register tile holds a block of result channels by a few vectors of neighbouring results. Depthwise and pointwise
convolutions are the same loops with other extents.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, const, minimum
from tilewright.backends.kernels.packing_conv import conv_block
from tilewright.backends.kernels.patches import Axis, Block, Blocking, block_results, fill_patch, normalised
from tilewright.backends.kernels.ranges import Indices, cover, div_down, div_up, named, nested, product, tasks
from tilewright.backends.kernels.tile import Vectors

_CACHE = 1 << 16  # float32 of input that a block may read: a quarter of a megabyte
_BLOCKS = (96, 1024)  # results a block, at least and at most
_TASKS = 16  # enough to balance the threads
_REUSE = 64  # multiply-adds with each element copied that make the copy cheap
_UNROLL = 9  # taps
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

    @property
    def taps(self) -> int:
        return product([axis.kernel for axis in self.axes])

    def block(self, machine: Vectors) -> int:
        """The block of result channels that the weights are packed for."""
        return conv_block(self.outputs // self.groups, machine.registers)


def emit_conv(k: Loops, machine: Vectors, conv: Conv, load: Load, weights: Buffer, store: Store) -> None:
    """`store(n, o, places, value)` for every result: the sum over channels c and taps of input times weight.

    `load(n, c, *places)` gives the input, float32. `weights` is float32, packed by `pack_conv` for `conv.block(machine)`.
    `store` must be idempotent; it is called with vectors along the last axis, or of result channels if all axes are 1.
    """
    if all(axis.is_trivial for axis in conv.axes):
        _emit_points(k, conv, conv.block(machine), load, weights, store)
        return
    axes, restored = normalised(conv.axes)
    packed = k.view(weights, (*weights.shape[:3], *(axis.kernel for axis in axes), weights.shape[-1]))
    _Emitter(
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
        sums = [k.local("sum", (height,)) for _ in range(_CHAINS)]
        for each in sums:
            with k.vectorized(height) as r:
                k.store(each, (r,), 0.0)

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


class _Emitter:
    def __init__(
        self, k: Loops, machine: Vectors, conv: Conv, load: Callable[[Index, Index, Indices], Expr], weights: Buffer, store: Store
    ) -> None:
        self.k, self.machine, self.conv, self.load, self.weights, self.store = k, machine, conv, load, weights, store
        self.height = conv.block(machine)
        self.width = _tile_vectors(self.height, machine.registers) * machine.lanes
        self.depth = conv.channels // conv.groups
        self.per_group = conv.outputs // conv.groups
        self.blocks = div_up(self.per_group, self.height)

    def emit(self) -> None:
        k, conv = self.k, self.conv
        planes = Blocking(conv.axes, 0, 0, 0, 0).planes
        limit = min(max(_CACHE // (self.depth * planes), _BLOCKS[0]), _BLOCKS[1])
        self.blocking = block_results(k, conv.axes, limit)
        spatial = self.blocking.blocks
        chunk = self._chunk(product((conv.batch, conv.groups, *spatial)))
        extents = (conv.batch, conv.groups, *spatial, div_up(self.blocks, chunk))
        with tasks(k, extents, self._worth()) as (n, g, *place, part):
            block = Block.at(k, self.blocking, tuple(place))
            patch = self._patch(n, g, block)
            with k.serial(minimum(chunk, self.blocks - part * chunk)) as b:
                self._channels(n, g, k.let("channels", part * chunk + b), block, patch)

    def _chunk(self, tasks_without: Index) -> int:
        """Blocks of result channels a task: all, unless there would be too few tasks."""
        wanted = div_up(_TASKS, tasks_without) if isinstance(tasks_without, int) else _TASKS // 4
        least = div_up(_REUSE, self.conv.taps * self.height)
        return min(self.blocks, max(least, div_up(self.blocks, wanted)))

    def _worth(self) -> Condition:
        """Whether the work needs all threads; taken for granted if the sizes are unknown and each result is much work."""
        each = self.conv.outputs * self.depth * self.conv.taps
        results = product((self.conv.batch, *(axis.results for axis in self.conv.axes)))
        return True if each >= _MUCH and not isinstance(results, int) else results * each >= _FORK_WORK

    def _patch(self, n: Index, g: Index, block: Block) -> Buffer:
        k = self.k
        size = self.depth * self.blocking.planes * self.blocking.plane + self.width
        patch = k.scratch("patch", (size,))
        zero = const(0, "float32")
        fill_patch(
            k, self.machine.lanes, self.blocking, block, patch, self.depth, zero,
            lambda c, places: self.load(n, g * self.depth + c, places),
        )  # fmt: skip
        return patch

    def _channels(self, n: Index, g: Index, b: Index, block: Block, patch: Buffer) -> None:
        """All results of a block of channels: sums to a scratch buffer, then what follows, row by row."""
        k, lanes = self.k, self.machine.lanes
        length = self.blocking.rows * self.blocking.pitch + self.width
        sums = k.scratch("sums", (self.height, length))
        count = named(k, "count", (block.rows - 1) * self.blocking.pitch + block.columns)
        whole = div_down(count, self.width) if self.height >= 4 else div_up(count, self.width)
        with k.serial(whole) as tile:
            self._tile(g, b, patch, sums, k.let("first", tile * self.width), self.width)
        if self.height >= 4:
            with k.serial(div_up(count - whole * self.width, lanes)) as tile:
                self._tile(g, b, patch, sums, k.let("first", whole * self.width + tile * lanes), lanes)
        with k.serial(minimum(self.height, self.per_group - b * self.height)) as r, k.serial(block.rows) as i:
            o = g * self.per_group + b * self.height + r
            cover(
                k, block.columns, lanes,
                lambda j: self.store(n, o, (*block.lead, block.row + i, block.column + j), sums[r, i * self.blocking.pitch + j]),
            )  # fmt: skip

    def _tile(self, g: Index, b: Index, patch: Buffer, sums: Buffer, first: Index, width: int) -> None:
        """A register tile: `height` channels by `width` results from number `first`."""
        k, lanes = self.k, self.machine.lanes
        spots = [(r, v) for r in range(self.height) for v in range(0, width, lanes)]
        tile = k.local("tile", (self.height * width,))
        for r, v in spots:
            with k.vectorized(lanes) as lane:
                k.store(tile, (r * width + v + lane,), 0.0)
        *outer, last = [axis.kernel for axis in self.conv.axes]
        with k.serial(self.depth) as c, nested(k, outer) as taps:
            if last <= _UNROLL:
                for tap in range(last):
                    self._step(tile, g, b, patch, first, c, (*taps, tap), width)
            else:
                with k.serial(last) as tap:
                    self._step(tile, g, b, patch, first, c, (*taps, tap), width)
        for r, v in spots:
            with k.vectorized(lanes) as lane:
                k.store(sums, (r, first + (v + lane)), tile[r * width + v + lane])

    def _step(
        self, tile: Buffer, g: Index, b: Index, patch: Buffer, first: Index, c: Index, taps: Indices, width: int
    ) -> None:
        """One channel and tap: every weight times every vector."""
        k, lanes = self.k, self.machine.lanes
        start = c * (self.blocking.planes * self.blocking.plane) + self.blocking.tap(taps) + first
        for r in range(self.height):
            weight = k.let("weight", self.weights[(g, b, c, *taps, r)])
            for v in range(0, width, lanes):
                with k.vectorized(lanes) as lane:
                    at = r * width + v + lane
                    k.store(tile, (at,), tile[at] + weight * patch[start + (v + lane)])


def _tile_vectors(height: int, registers: int) -> int:
    """Vectors beside each other: all registers but one for a weight and one row of inputs; at least enough for latency."""
    return max(1, min((registers - 2) // (height + 1), 4 if registers >= 32 else 3))
