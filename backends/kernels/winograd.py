"""Convolution of float32 images, channels last, by windows of 3 x 3 in minimal filtering F(4 x 4, 3 x 3).

The method is Winograd's, as Lavin and Gray (2015) use it: for a tile of 4 x 4 results, each pair of channels needs 36
products, where the plain sums have 144. A task transforms the patches of its tiles to their values at 36 points. Then,
for each block of result channels, it makes a matrix product for each point, and transforms the sums back. As channels
come last, the transforms are sums of whole vectors.

On random images, of both signs or positive, the error of a result is below 2.5e-6 of the largest result for 8 to 1024
channels, and mostly about 1e-6, as it is of sums of products that are added up one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tvm import tirx

from tilewright.backends.kernels.loops import FORK_WORK, Buffer, Expr, Index, Loops, const, index, minimum
from tilewright.backends.kernels.made import Columns
from tilewright.backends.kernels.multiply import multiply
from tilewright.backends.kernels.packing_winograd import POINTS, SIDE, SIZE, polynomial
from tilewright.backends.kernels.ranges import Indices, cover, div_up, maximum, named, product, unravel
from tilewright.backends.kernels.tile import Share, Tile, ask_meanwhile, lines_a_turn

Store = Callable[[Index, Index, Index, Index, Expr], None]

_FEW = 4  # tiles, of an image of 8 x 8 at most, that are a smaller group than others
_TILES = 24  # of a task: enough for the weights that are read for them, few enough for the cache
_TASKS = 8  # enough to balance the threads
_BLOCKS = 2  # of result channels, at least, for which a task transforms its patches
_DEPTH = 64  # channels that are added up one by one: sums of such sums have smaller errors
_LINE = 16  # float32 of a cache line, which keeps the points from falling into the same sets of the cache


@dataclass(frozen=True)
class Winograd:
    """Input [batch, rows, columns, channels], result [batch, *results, outputs]; `top` and `left` are the padding."""

    batch: Index
    rows: Index
    columns: Index
    channels: int
    outputs: int
    top: Index
    left: Index
    results: tuple[Index, Index]

    @property
    def tiles(self) -> Indices:
        """Of how many tiles the results consist, along each axis."""
        return self.batch, *(div_up(size, SIZE) for size in self.results)


def winograd(k: Loops, tile: Tile, conv: Winograd, images: Sequence[Columns], weights: Buffer, store: Store) -> None:
    """store(n, y, x, o, sum over channels c and taps of input times weight) for every result.

    `images` give the input in vectors of `tile.lanes` channels; each has at least as many. `pack_winograd` made
    `weights` for `tile.columns`. `store` is called with vectors of result channels.
    """
    extents = tuple(named(k, "tiles", extent) for extent in conv.tiles)
    count, blocks = product(extents), div_up(conv.outputs, tile.columns)
    chunks = named(k, "chunks", maximum(div_up(count, _TILES), 1))  # not 0, by which none could be divided
    each = named(k, "each", div_up(count, chunks))
    tile = tile.for_rows(each)
    share = named(k, "share", div_up(blocks, minimum(div_up(_TASKS, chunks), max(1, blocks // _BLOCKS))))
    splits = named(k, "splits", div_up(blocks, share))
    work = count * (SIDE**2 * conv.channels * conv.outputs)
    worth = work >= FORK_WORK if isinstance(work, int) else True  # images whose size is not known are seldom tiny
    with k.parallel(chunks * splits, worth=worth, name="task") as task:
        chunk, split = unravel(k, task, (chunks, splits))
        first = named(k, "first", chunk * each)
        even = isinstance(count, int) and isinstance(each, int) and count % each == 0
        held = each if even else named(k, "held", minimum(each, count - first))
        part = _Part(k, tile, conv, extents, first, held)
        part.transform_patches(images)
        with k.serial(minimum(share, blocks - split * share)) as b:
            block = named(k, "block", split * share + b)
            part.multiply(weights, block)
            part.finish(block, store)


class _Part:
    """The tiles `first` .. first + count, of `extents` tiles, and the scratch that a task has for them."""

    def __init__(self, k: Loops, tile: Tile, conv: Winograd, extents: Indices, first: Index, count: Index) -> None:
        self.k, self.tile, self.conv, self.extents, self.first, self.count = k, tile, conv, extents, first, count
        most = div_up(_TILES, tile.rows) * tile.rows
        self.patches = k.scratch("patches", (SIDE**2, most * conv.channels + _LINE))
        self.sums = k.scratch("sums", (SIDE**2, most * tile.columns + _LINE))
        self.lines = k.scratch("lines", (SIDE, SIDE, tile.lanes))
        self.results = k.scratch("results", (SIZE, SIZE, tile.columns))

    def transform_patches(self, images: Sequence[Columns]) -> None:
        """patches[point, tile, channel]. Patches within the image are read without tests."""
        k, conv = self.k, self.conv
        with k.serial(self.count, name="t") as t:
            n, down, across = unravel(k, self.first + t, self.extents)
            y, x = named(k, "y", down * SIZE - conv.top), named(k, "x", across * SIZE - conv.left)

            def read(image: Columns, i: Index, j: Index, c: Index) -> Expr:
                return image.load(n, y + i, x + j, c)

            def read_if_inside(image: Columns, i: Index, j: Index, c: Index) -> Expr:
                inside = tirx.all(y + i >= 0, y + i < conv.rows, x + j >= 0, x + j < conv.columns)
                return tirx.if_then_else(inside, read(image, i, j, c), const(0.0, "float32"))

            def patch(read: Callable[[Columns, Index, Index, Index], Expr]) -> None:
                for image in images:
                    self._patch(t, image, partial(read, image))

            whole = tirx.all(y >= 0, y + SIDE <= conv.rows, x >= 0, x + SIDE <= conv.columns)
            k.branch(whole, lambda: patch(read), lambda: patch(read_if_inside))
        self._clear_rest()

    def _clear_rest(self) -> None:
        """Zeros for the tiles of the last group that do not count: what was there may be denormal, which is slow."""
        k, channels, rows = self.k, self.conv.channels, self.tile.rows
        if isinstance(self.count, int) and self.count % rows == 0:
            return
        first = named(k, "first", self.count * channels)
        extent = named(k, "extent", div_up(self.count, rows) * (rows * channels) - first)
        with k.serial(SIDE**2, name="p") as p:
            cover(k, extent, self.tile.lanes, lambda i: k.store(self.patches, (p, first + i), 0))

    def _patch(self, t: Expr, image: Columns, read: Callable[[Index, Index, Index], Expr]) -> None:
        """The channels of an image: read(i, j, c) is a vector of those of row i and column j."""
        k, lanes = self.k, self.tile.lanes
        first = t * self.conv.channels + image.first

        def vector(c: Index) -> None:
            with k.serial(SIDE, name="j") as j, k.vectorized(lanes) as lane:
                for p, value in enumerate(_at_points(k, [read(i, j, c + lane) for i in range(SIDE)])):
                    k.store(self.lines, (p, j, lane), value)
            with k.serial(SIDE, name="p") as p, k.vectorized(lanes) as lane:
                for q, value in enumerate(_at_points(k, [self.lines[p, j, lane] for j in range(SIDE)])):
                    k.store(self.patches, (p * SIDE + q, first + c + lane), value)

        with k.serial(div_up(image.count, lanes), name="c") as block:
            vector(k.let("c", index(minimum(block * lanes, image.count - lanes))))

    def multiply(self, weights: Buffer, block: Index) -> None:
        """sums[point, tile, column] for a block of result channels."""
        whole = self.tile
        if isinstance(self.count, int) or whole.rows <= _FEW:
            self._multiply(whole, weights, block)
            return
        few = whole.for_rows(_FEW)
        self.k.branch(
            self.count <= _FEW,
            lambda: self._multiply(few, weights, block, asks=False),  # one group: it waits for all weights in turn
            lambda: self._multiply(whole, weights, block),
        )

    def _multiply(self, tile: Tile, weights: Buffer, block: Index, *, asks: bool = True) -> None:
        """In whole groups of tiles, of which the last may have some that do not count."""
        k, channels = self.k, self.conv.channels
        parts = div_up(channels, _DEPTH)
        depth = div_up(channels, parts)
        tiles = named(k, "tiles", div_up(self.count, tile.rows))
        flat = k.view(weights, (product([int(size) for size in weights.shape]),))
        with (
            k.serial(SIDE**2, name="p") as p,
            k.serial(parts, name="part") as part,
            k.serial(tiles, name="row") as row,
        ):
            start, top = k.let("start", index(part * depth)), k.let("top", index(row * tile.rows))
            length = depth if channels % depth == 0 else minimum(depth, channels - start)
            following = ((block * SIDE**2 + p) * channels + start + length) * tile.columns
            share = Share(row, tiles)
            lines = lines_a_turn(flat, tile.columns)
            meanwhile = ask_meanwhile(k, flat, following, length * tile.columns, length, share, lines)

            def out(r: Expr, v: int, lane: Expr, value: Expr) -> None:
                place = (p, (top + r) * tile.columns + (lane + v * tile.lanes))
                before = tirx.Select(part > 0, self.sums[place], const(0.0, "float32"))
                k.store(self.sums, place, value if parts == 1 else before + value)

            multiply(
                k, tile, tile.rows, length,
                lambda r, d: self.patches[p, (top + r) * channels + start + d],
                lambda d, column: weights[block, p, start + d, column],
                out,
                meanwhile=meanwhile if asks else None,
            )  # fmt: skip

    def finish(self, block: Index, store: Store) -> None:
        """Transforms the sums of a block back, and stores those results that exist."""
        k, conv, tile = self.k, self.conv, self.tile
        o = block * tile.columns
        with k.serial(self.count, name="t") as t:
            n, down, across = unravel(k, self.first + t, self.extents)
            y, x = named(k, "y", down * SIZE), named(k, "x", across * SIZE)
            with k.serial(tile.vectors, name="v") as v:
                self._results(t, v * tile.lanes)
            height, width = (minimum(SIZE, size - at) for size, at in zip(conv.results, (y, x), strict=True))
            columns = tile.columns if conv.outputs % tile.columns == 0 else minimum(tile.columns, conv.outputs - o)
            with k.serial(height, name="i") as i, k.serial(width, name="j") as j:
                k.lanes(columns, tile.lanes, lambda c: store(n, y + i, x + j, o + c, self.results[i, j, c]))

    def _results(self, t: Expr, column: Index) -> None:
        """results[row, column, channel] of a tile, for a vector of channels."""
        k, tile = self.k, self.tile
        with k.serial(SIDE, name="q") as q, k.vectorized(tile.lanes) as lane:
            place = t * tile.columns + column + lane
            for i, value in enumerate(_from_points(k, [self.sums[p * SIDE + q, place] for p in range(SIDE)])):
                k.store(self.lines, (i, q, lane), value)
        with k.serial(SIZE, name="i") as i, k.vectorized(tile.lanes) as lane:
            for j, value in enumerate(_from_points(k, [self.lines[i, q, lane] for q in range(SIDE)])):
                k.store(self.results, (i, j, column + lane), value)


def _at_points(k: Loops, line: Sequence[Expr]) -> list[Expr]:
    """What a line of a patch contributes at each point: its product with the coefficients of the other points' roots.

    The polynomials for p and -p differ in the sign of the odd coefficients, those for 0 and infinity in a factor x.
    """
    line = [k.let("element", element) for element in line]
    squares = [p * p for p in POINTS]
    values = [_dot(polynomial(squares), line[0::2])]
    for p in POINTS:
        others = polynomial([square for square in squares if square != p * p])
        even, odd = k.let("even", _dot(others, line[2::2])), k.let("odd", _dot(others, line[1:-1:2]))
        values += [even + _times(p, odd), even - _times(p, odd)]
    return [*values, _dot(polynomial(squares), line[1::2])]


def _from_points(k: Loops, products: Sequence[Expr]) -> list[Expr]:
    """A line of results: number j is the sum over the points of p**j times the product there."""
    origin, *finite, infinity = (k.let("product", product) for product in products)
    pairs = list(zip(finite[::2], finite[1::2], strict=True))
    sums, differences = [k.let("sum", a + b) for a, b in pairs], [k.let("difference", a - b) for a, b in pairs]
    results = [_dot([p**j for p in POINTS], differences if j % 2 else sums) for j in range(SIZE)]
    return [results[0] + origin, *results[1:-1], results[-1] + infinity]


def _dot(factors: Sequence[float], values: Sequence[Expr]) -> Expr:
    first, *others = (_times(factor, value) for factor, value in zip(factors, values, strict=True))
    return sum(others, first)


def _times(factor: float, value: Expr) -> Expr:
    return value if factor == 1 else value * const(factor, "float32")
