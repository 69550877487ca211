"""What a task of a convolution on AMX reads of an image with channels last, in pieces of bfloat16, as tiles.

All of it is split once, with the padding, pixel behind pixel. The inputs of a run of products, which are those of the
neighbouring taps of a row, then lie there side by side, and those of neighbouring results the results' stride apart: a
tile of them is loaded as it lies there. The last step of a run ends where the run does. Behind a run that is shorter
than a step lie numbers that do not belong to it; their weights are 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels import amx
from tilewright.backends.kernels.amx import Tiles
from tilewright.backends.kernels.amx_right import vector
from tilewright.backends.kernels.conv_last_sizes import ConvLast, reads, run_of
from tilewright.backends.kernels.loops import Buffer, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS
from tilewright.backends.kernels.patches import Axis, Block, Grid
from tilewright.backends.kernels.ranges import div_down, div_up, maximum, named, noted

Element = Callable[[Index], Expr]
"""That of all images at a place of row-major order."""


def width_in_tiles(high: Axis, wide: Axis, columns: Index) -> Index:
    """Results of a row, with those that stand for nothing: what is read beyond it, or the rest of its last tile."""
    return reads(wide, columns) if _is_linear(high, wide, columns) else div_up(columns, ROWS) * ROWS


def _is_linear(high: Axis, wide: Axis, columns: Index) -> bool:
    """Whether tiles go on from row to row: what results read is equally far apart all along, but for strides."""
    if high.stride > 1 or wide.stride > 1:
        return False
    return not isinstance(columns, int) or int(reads(wide, columns)) < -(-columns // ROWS) * ROWS


@dataclass(frozen=True)
class SplitImage:
    """From the first piece of a number to the second are `plane` elements, and `pitch` from row to row.

    To the tiles, a row of results has `width` of them (see `width_in_tiles`), of which `columns` are some, at most.
    `conv` has two axes.
    """

    k: Loops
    conv: ConvLast
    columns: Index
    pitch: Index
    plane: Index
    width: Index
    pieces: Buffer

    @classmethod
    def of(cls, k: Loops, conv: ConvLast, grid: Grid) -> SplitImage:
        """With scratch memory for a block of the grid."""
        high, wide = conv.axes
        pitch = named(k, "pitch", reads(wide, grid.columns) * conv.channels)
        behind = (ROWS * wide.stride + reads(wide, 1)) * conv.channels + 2 * DEPTH  # read or cleared, for nothing
        plane = named(k, "plane", div_up(reads(high, grid.rows) * pitch + behind, DEPTH) * DEPTH)
        width = named(k, "width", width_in_tiles(high, wide, grid.columns))
        return cls(k, conv, grid.columns, pitch, plane, width, k.scratch("pieces", (PIECES * plane,), "uint16"))

    def split(self, image: Element, n: Index, block: Block) -> None:
        """All that the block reads of image `n`, row by row; zeros outside of it, and for a step behind each row.

        Numbers go there by whole steps, and so beyond a row's end, where the next row is written later.
        """
        k, (high, wide), channels = self.k, self.conv.axes, self.conv.channels
        length = named(k, "length", reads(wide, block.columns))
        column = named(k, "column", wide.source(block.column, 0))
        first: Index = 0
        end = length
        if wide.is_padded:
            first = named(k, "first", minimum(maximum(0, -column), length))
            end = named(k, "end", maximum(first, minimum(length, wide.size - column)))
        with k.serial(reads(high, block.rows), name="y") as y:
            row = named(k, "row", high.source(block.row, 0) + y)
            source = named(k, "source", ((n * high.size + row) * wide.size + column + first) * channels)
            to = named(k, "to", y * self.pitch)

            def copy() -> None:
                self._clear(to, first * channels)
                self._copy(image, source, to + first * channels, end - first)
                self._clear(to + end * channels, (length - end) * channels + DEPTH)

            inside = tirx.all(index(row) >= 0, index(row) < index(high.size)) if high.is_padded else True
            k.branch(inside, copy, lambda: self._clear(to, length * channels + DEPTH))

    def _copy(self, image: Element, source: Index, to: Index, count: Index) -> None:
        """So many pixels, from the element `source` of the image on."""
        k = self.k
        extent = named(k, "extent", count * self.conv.channels)
        whole = named(k, "whole", div_down(extent, DEPTH))
        rest = named(k, "rest", extent - whole * DEPTH)

        def store(number: Index, x: Expr, y: Expr) -> None:
            amx.store_row_of_pieces(k, x, y, self.pieces[to + number * DEPTH], 2 * self.plane)

        def element(number: Index, half: int) -> Callable[[Expr], Expr]:
            return lambda lane: image(source + number * DEPTH + half + lane)

        with k.serial(whole, name="c") as c:
            store(c, *(vector(k, element(c, half)) for half in (0, ROWS)))
        with k.when(rest > 0):
            store(whole, *amx.load_rest(k, element(whole, 0), rest))

    def _clear(self, to: Index, count: Index) -> None:
        """So many numbers, or some more."""
        k, steps = self.k, div_up(count, DEPTH)
        with k.serial(steps, name="c") as c, k.serial(PIECES, name="p") as p, k.vectorized(DEPTH) as lane:
            k.store(self.pieces, (p * self.plane + to + c * DEPTH + lane,), 0)

    def tiles(self, t: Index, places: Index, start: Index) -> Callable[[Expr], Tiles]:
        """tiles(d): pair `t` of tiles, of so many places, for step start + d of the sums."""
        last = div_up(places, ROWS) - 1
        first, second = (self._half(minimum(2 * t + half, last)) for half in range(2))
        stride, apart = (
            2 * self.conv.axes[1].stride * self.conv.channels,
            noted(self.k, index(2 * (second - first)), "apart"),
        )
        return lambda d: Tiles(self.pieces[first + self._step(start + d)], stride, apart, 2 * self.plane)

    def _half(self, half: Index) -> Expr:
        """Where what the first tap of `ROWS` results reads begins."""
        high, wide = self.conv.axes
        step = wide.stride * self.conv.channels
        if _is_linear(high, wide, self.columns):
            return noted(self.k, index(half * (ROWS * step)), "half")
        row = div_down(half * ROWS, self.width)
        return noted(self.k, index(row * (high.stride * self.pitch) + (half * ROWS - row * self.width) * step), "half")

    def _step(self, step: Expr) -> Index:
        """How far from the first tap the inputs of a step lie."""
        high, wide = self.conv.axes
        length = run_of(self.conv)
        per_run, per_row = -(-length // DEPTH), self.conv.terms // high.kernel // length
        run = div_down(step, per_run)
        down = div_down(run, per_row)
        across = (run - down * per_row) * (wide.dilation * self.conv.channels)
        within = (step - run * per_run) * DEPTH
        if length > DEPTH and length % DEPTH:
            within = minimum(within, length - DEPTH)
        return down * high.dilation * self.pitch + across + within
