"""Convolution of small images with many channels, channels last, as one matrix product whose rows are places.

Tiles of neighbouring results in a row would read all weights again for each row of the image. Here a piece of the
weights stays in a near cache while the places of some images pass by. Images with padding are copied first, so
that each tap of each place is there to read.
"""

from __future__ import annotations

from dataclasses import replace

from tilewright.backends.kernels.conv_last import copy_row
from tilewright.backends.kernels.conv_last_sizes import ConvLast, reads
from tilewright.backends.kernels.gemm import PIECE, Load, Store, gemm_in_steps
from tilewright.backends.kernels.loops import TURN, Buffer, Index, Loops, index, quotient, remainder
from tilewright.backends.kernels.patches import Axis, Block
from tilewright.backends.kernels.ranges import tasks
from tilewright.backends.kernels.tile import Ahead, Tile

_COPY_WORK = 100_000  # elements whose copying takes longer than a fork


def step_of(conv: ConvLast, tile: Tile) -> int:
    """Products of neighbouring channels that are summed at once, which all lie side by side in the image; 0: too few.

    They are at most as many as a piece of the weights has rows.
    """
    run = _run(conv)
    found = [step for step in range(TURN, PIECE // tile.columns + 1, TURN) if run % step == 0]
    return max(found, default=0)


def _run(conv: ConvLast) -> int:
    """Products of a sum whose inputs are neighbours: the taps of a row, or the channels of a tap."""
    wide = conv.axes[-1]
    return conv.channels * (wide.kernel if wide.dilation == 1 else 1)


def emit_conv_deep(
    k: Loops, tile: Tile, conv: ConvLast, image: Buffer, weights: Buffer, store: Store, ahead: Ahead | None
) -> None:
    """store(place, o, value) for every result: the sum over taps and channels of input times weight.

    `image` is [batch, *axes, channels] with two axes of known sizes, `conv` has one group and one phase;
    `pack_conv_last` made `weights` for `tile.columns`. Places count the results of all images, in row-major order;
    `ahead(place, o)` asks for what finishing one needs. `step_of` must not be 0.
    """
    high, wide = conv.axes
    flat = k.view(image, (conv.batch * high.size * wide.size * conv.channels,))
    if high.is_padded or wide.is_padded:
        flat, high, wide = _padded(k, tile.lanes, tile.dtype, conv, flat)
    depth, step = conv.terms, step_of(conv, tile)
    blocks, width = (int(size) for size in (weights.shape[1], weights.shape[-1]))
    pitch = int(wide.size) * conv.channels
    run = _run(conv)

    def taken(start: Index) -> Index:
        """Where the products from `start` on read, counted from the first."""
        tap, rest = quotient(start, run), remainder(start, run)
        if wide.dilation == 1:
            return tap * (high.dilation * pitch) + rest
        row, column = quotient(tap, wide.kernel), remainder(tap, wide.kernel)
        return row * (high.dilation * pitch) + column * (wide.dilation * conv.channels) + rest

    def left(start: Index) -> Load:
        first = k.let("tap", index(taken(start)))
        return lambda place, d: flat[_first(place, high, wide, conv.channels) + first + d]

    packed = k.view(weights, (blocks, depth // tile.steps, width))
    gemm_in_steps(k, tile, conv.places, conv.outputs, depth, step, left, packed, store, ahead)


def _first(place: Index, high: Axis, wide: Axis, channels: int) -> Index:
    """Where the first tap's first channel of a place lies."""
    across, down = int(wide.results), int(high.results)
    row, column = quotient(place, across), remainder(place, across)
    image, row = quotient(row, down), remainder(row, down)
    line = image * int(high.size) + row * high.stride
    return line * (int(wide.size) * channels) + column * (wide.stride * channels)


def _padded(k: Loops, lanes: int, dtype: str, conv: ConvLast, image: Buffer) -> tuple[Buffer, Axis, Axis]:
    """A copy of the images with their padding, and its axes."""
    high, wide = conv.axes
    down, across = reads(high, high.results), reads(wide, wide.results)
    pitch = across * conv.channels
    copy = k.scratch("padded", (conv.batch * down * pitch,), dtype)
    block = Block((), 0, 0, high.results, wide.results)
    with tasks(k, (conv.batch, down), conv.batch * (down * pitch) >= _COPY_WORK) as (n, y):
        start = (n * down + y) * pitch
        copy_row(k, lanes, conv, image, n, [high.source(0, 0) + y], block, copy, start)
    sizes = (replace(axis, size=size, before=0, after=0) for axis, size in ((high, down), (wide, across)))
    return copy, *sizes
