"""Whether a convolution of float32 images, channels last, is for AMX or for the vector units, and in which form.

By what both cost, about, as measured on networks (Intel, 3.5 GHz). Where result channels are few, several neighbouring
results are computed as one on AMX, with a window wide enough for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tilewright.backends.kernels.amx_gemm import COSTS, float_tile
from tilewright.backends.kernels.amx_image import width_in_tiles
from tilewright.backends.kernels.conv_last_sizes import ConvLast, reads, run_of, tile_of
from tilewright.backends.kernels.loops import Condition, Index, index
from tilewright.backends.kernels.packing import packed_b_shape
from tilewright.backends.kernels.packing_pieces import DEPTH, PIECES, ROWS, SIDE, packed_runs_shape
from tilewright.backends.kernels.patches import Axis, normalised
from tilewright.backends.kernels.ranges import div_down, div_up, maximum, product
from tilewright.backends.kernels.tile import Tile, Vectors

LEAST_VECTOR = 4  # lanes, in which results are stored
_LEAST_PLACES = 64  # of an image, where they are known
_SIZE = 100  # of an image, where it is not known
_FEW = 32  # results of such an image that the vector units compute faster than AMX starts
_NUMBERS = 1 << 17  # that a task splits, about: their pieces stay in the second-level cache
_PLACES = 256  # of a task, at least, unless it splits too many numbers for them
_TASKS = 4  # for each core, if they are large enough
_FAR = 1 << 18  # pieces of weights that the second-level cache does not keep

_MULTIPLY, _MULTIPLY_HALF, _FINISH, _SPLIT = 175, 100, 55, 10
"""Nanoseconds, about: to multiply a pair of tiles by a block in a step, or by half of one, to finish that, and to split
the numbers of a step."""
_FETCH, _FETCH_ON_VECTORS = 160, 450  # to wait for a step of a block of weights that lies in the third-level cache
_MORE_COLUMNS = 2.5  # as which adding up a vector for each sum counts, on the vector units
_BETTER = 1.05  # so much faster AMX must be


@dataclass(frozen=True)
class OnAmx:
    """How a convolution is computed: as `conv`.

    That is the convolution itself, but with two axes, or what `widened` makes of it for several `neighbours`.
    """

    tile: Tile
    conv: ConvLast
    neighbours: int = 1

    @property
    def run(self) -> int:
        """By which the weights are packed."""
        return run_of(self.conv)

    @property
    def serves_vectors(self) -> bool:
        """Whether images may be so small that the vector units are better; they take the same weights."""
        known = all(isinstance(axis.results, int) for axis in self.conv.axes)
        return not known and self.conv.phases == 1

    def is_for_amx(self) -> Condition:
        """Whether an image has results enough."""
        return index(product([axis.results for axis in self.conv.axes])) >= _FEW if self.serves_vectors else True

    @property
    def in_pieces(self) -> bool:
        """Whether the weights are stored so: not those that no cache keeps, which would take half as much again."""
        return not self.serves_vectors and not _is_far(
            -(-self.conv.phases * self.conv.outputs // SIDE) * steps_of(self.conv)
        )

    @property
    def packed_shape(self) -> tuple[int, ...]:
        """That of the weights, as `pack_sums` makes them."""
        columns = self.conv.phases * self.conv.outputs
        if self.in_pieces:
            return packed_runs_shape(columns, self.conv.terms, self.run)
        return packed_b_shape(self.conv.terms, columns, SIDE)

    @property
    def packed_dtype(self) -> str:
        return "uint16" if self.in_pieces else "float32"


def choose_on_amx(machine: Vectors, conv: ConvLast, *, widens: bool = True) -> OnAmx | None:
    """How AMX computes a convolution best, or None where the vector units are better.

    `widens`: whether neighbouring results may be computed as one.
    """
    axes = normalised(conv.axes)[0]
    if not machine.amx or conv.groups > 1 or len(axes) != 2 or conv.work == 0:
        return None
    places = [axis.results for axis in axes]
    if all(isinstance(size, int) for size in places) and product(places) < _LEAST_PLACES:
        return None
    conv = replace(conv, axes=axes)
    counts = _neighbours(conv) if widens else [1]
    costs = {count: _cost(widened(conv, count), machine.amx, count) / count for count in counts}
    best = min(costs, key=lambda count: costs[count])
    if costs[best] * _BETTER > _cost_on_vectors(machine, conv):
        return None
    return OnAmx(float_tile(machine), widened(conv, best), best)


def _neighbours(conv: ConvLast) -> list[int]:
    """How many results may be computed as one: such that their channels are vectors, and all fit into a block.

    Single channels are vectors with those of the neighbours.
    """
    wide = conv.axes[-1]
    if conv.phases > 1 or wide.dilation > 1 or (conv.outputs % LEAST_VECTOR and conv.outputs > 1):
        return [1]
    return list(range(1, max(1, SIDE // conv.outputs) + 1))


def widened(conv: ConvLast, count: int) -> ConvLast:
    """With so many neighbouring results of a row as the phases of one, along the last of its axes."""
    if count == 1:
        return conv
    *high, wide = conv.axes
    kernel, stride = wide.kernel + wide.stride * (count - 1), wide.stride * count
    wider = Axis(wide.size, kernel, stride, 1, wide.before, wide.after, div_up(wide.results, count), overhangs=True)
    return replace(conv, axes=(*high, wider), phases=count)


def _cost(conv: ConvLast, cores: int, neighbours: int) -> float:
    """Nanoseconds for `SIDE` results, about."""
    high, wide = (
        a if isinstance(a.results, int) else replace(a, size=_SIZE, before=0, after=0, count=-(-_SIZE // count))
        for a, count in zip(conv.axes, (1, neighbours), strict=True)
    )
    rows, columns = (int(size) for size in part_of(_parts, conv, high, wide, cores))
    pairs = -(-int(width_in_tiles(high, wide, columns)) * rows // SIDE)
    blocks, steps = -(-conv.phases * conv.outputs // SIDE), steps_of(conv)
    split_right = COSTS[PIECES].split_right + _FETCH if _is_far(blocks * steps) else 0
    multiply = _MULTIPLY_HALF if is_half(conv) else _MULTIPLY
    multiplied = blocks * ((multiply * pairs + split_right) * steps + _FINISH * pairs)
    split = _SPLIT * int(reads(high, rows) * reads(wide, columns)) * conv.channels / DEPTH
    return (multiplied + split) * SIDE / (rows * columns)


def _cost_on_vectors(machine: Vectors, conv: ConvLast) -> float:
    """Nanoseconds for `SIDE` results, about.

    Where vectors lie along the sums, few columns cost about as much as if there were some more.
    """
    costs = COSTS[PIECES]
    columns: float = -(-conv.outputs // ROWS) * ROWS
    if tile_of(machine, conv, "float32").dots:
        columns = conv.outputs + _MORE_COLUMNS
    blocks, steps = conv.phases * columns / SIDE, conv.terms / DEPTH
    known = [axis.results if isinstance(axis.results, int) else _SIZE for axis in conv.axes]
    fetched = _FETCH_ON_VECTORS * SIDE / math.prod(known) if _is_far(int(blocks * steps)) else 0
    return blocks * ((costs.on_vectors + fetched) * steps + costs.finish_on_vectors)


def steps_of(conv: ConvLast) -> int:
    """Of a sum."""
    run = run_of(conv)
    return conv.terms // run * -(-run // DEPTH)


def is_half(conv: ConvLast) -> bool:
    """Whether one tile of columns is enough."""
    return conv.phases * conv.outputs <= ROWS


def _is_far(steps: int) -> bool:
    """Whether the second-level cache does not keep the weights of so many steps of blocks."""
    return steps * PIECES * SIDE * DEPTH > _FAR


def part_of(
    parts: Callable[[Index, Index], Index], conv: ConvLast, high: Axis, wide: Axis, cores: int
) -> tuple[Index, Index]:
    """Rows and columns of results of a task: whole rows if they fit, unless the cores would have too few tasks.

    `parts` gives the size of equal parts of at most so many.
    """
    results, budget = product((high.results, wide.results)), max(SIDE, _NUMBERS // (conv.channels * wide.stride))
    if isinstance(results, int):
        budget = min(budget, max(_PLACES, results // (_TASKS * cores)))
    columns = parts(wide.results, budget)
    return parts(high.results, maximum(1, div_down(budget, columns * high.stride))), columns


def _parts(total: Index, most: Index) -> Index:
    """As `patches.even`, of numbers that are known."""
    return maximum(1, div_up(total, maximum(1, div_up(total, most))))
