"""The sizes of a convolution with channels last, and how its results are shared out among tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.backends.kernels.dots import choose_dots
from tilewright.backends.kernels.loops import Condition, Index, Loops, minimum
from tilewright.backends.kernels.patches import Axis, Grid, even, normalised
from tilewright.backends.kernels.ranges import Indices, div_down, div_up, maximum, product
from tilewright.backends.kernels.tile import Tile, Vectors, choose_tile

_CACHE = 1 << 15  # elements of input that a task may read: a share of the second-level cache
_RESULTS = (24, 384)  # places a task, at least (each reads all weights) and at most
_RESULTS_OF_DOTS = (24, 1 << 13)  # of few channels: copying what they read takes as long as computing them
_WEIGHTS = 1 << 15  # that the second-level cache keeps beside what a task reads
_TASKS = 16  # enough to balance the threads
_TASK_WORK = 100_000  # multiply-adds a task, at least
_FORK_WORK = 300_000  # multiply-adds that take longer than waking the threads
_FAR_APART = 2  # times as many rows from the first tap to the last as all taps read by themselves
_WIDTH = 32  # places in a row, where they are not known
_MUCH = 2_000  # multiply-adds a place that make even a small image worth it


@dataclass(frozen=True)
class ConvLast:
    """Input [batch, *axes, channels], result [batch, *axes' results, outputs], once for each of `phases` kernels."""

    batch: Index
    channels: int
    outputs: int
    groups: int
    axes: tuple[Axis, ...]
    phases: int = 1

    @property
    def depth(self) -> int:
        """Input channels that a result channel sees."""
        return self.channels // self.groups

    @property
    def per_group(self) -> int:
        return self.outputs // self.groups

    @property
    def work(self) -> int:
        """Multiply-adds for each place."""
        return self.phases * self.outputs * self.terms

    @property
    def terms(self) -> int:
        """Products in the sum of one result."""
        return self.depth * product([axis.kernel for axis in self.axes])

    @property
    def places(self) -> Index:
        return product((self.batch, *(axis.results for axis in self.axes)))

    def worth(self) -> Condition:
        """Whether the work needs all threads; taken for granted if sizes are unknown and each place is much work."""
        if self.work >= _MUCH and not isinstance(self.places, int):
            return True
        return self.places * self.work >= _FORK_WORK


def tile_of(machine: Vectors, conv: ConvLast, dtype: str, least: int = 0) -> Tile:
    """The register tile for a convolution of images of that dtype, of `least` columns as `choose_tile` has them."""
    axes = normalised(conv.axes)[0]
    dots = choose_dots(machine, conv.per_group, conv.terms, run_of(conv)) if dtype == "float32" else None
    return dots or choose_tile(machine, conv.per_group, dtype, rows=axes[-1].results, least=least)


def run_of(conv: ConvLast) -> int:
    """Products of a sum whose inputs lie side by side: those of the taps of a row, or of the channels of a tap."""
    wide = normalised(conv.axes)[0][-1]
    return conv.depth * (wide.kernel if conv.groups == 1 and wide.dilation == 1 else 1)


def reads(axis: Axis, results: Index) -> Index:
    """How many neighbouring elements, with the padding, so many results read."""
    return (results - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1


def grid_of(k: Loops, conv: ConvLast, tile: Tile) -> Grid:
    """Blocks of places whose inputs fit into the cache, whole rows if they fit, all of about the same size.

    There are as many as `_least_parts` wants, unless a task would have little to do.
    """
    *_, high, wide = conv.axes
    budget = _CACHE // conv.channels  # places of the input
    least, most = _RESULTS_OF_DOTS if tile.dots else _RESULTS
    across = min(max(budget // (high.kernel * wide.stride), least), most)
    down = min(max(budget // (high.stride * wide.stride), least), most)

    parts, least = _least_parts(conv, tile), max(least, _TASK_WORK // max(1, conv.work))
    of_a_row = div_up(parts, max(1, high.results)) if isinstance(high.results, int) else 1
    if of_a_row > 1:
        columns = even(k, wide.results, minimum(across, maximum(least, div_up(wide.results, of_a_row))))
    else:
        columns = even(k, wide.results, across)
    rows = maximum(1, div_down(down, columns))
    if parts > 1:
        rows = minimum(rows, maximum(div_up(least, columns), div_down(high.results, parts)))
    return Grid(conv.axes, even(k, high.results, rows), columns)


def _least_parts(conv: ConvLast, tile: Tile) -> int:
    """How many parts the places of an image fall into, at least: enough tasks, with those of the result channels.

    Each part reads all weights, so that it pays where the cache keeps them.
    """
    if conv.work > _WEIGHTS:  # a multiply-add for each weight
        return 1
    tasks = conv.groups * conv.phases * div_up(conv.per_group, tile.columns)
    for count in (conv.batch, *(axis.results for axis in conv.axes[:-2])):
        tasks *= count if isinstance(count, int) else 1
    return -(-_TASKS // max(1, tasks))


def chunk_of(blocks: int, tasks_without: Index) -> int:
    """Blocks of result channels a task: all, unless there would be too few tasks.

    Rather too few blocks than too many: of three tasks of two blocks, one of two threads takes four blocks.
    """
    wanted = int(div_up(_TASKS, tasks_without)) if isinstance(tasks_without, int) else _TASKS // 4
    return max(1, blocks // wanted)


def spread(
    axes: tuple[Axis, ...], restored: Callable[[Indices], Indices], channels: int
) -> tuple[tuple[Axis, ...], Callable[[Indices], Indices]]:
    """Rows whose taps are far apart as a leading axis: a task then copies those that it reads, and none between.

    Else a task copies all rows from its first tap to its last, which is less where it has several rows of results.
    """
    *_, high, wide = axes
    width = wide.results if isinstance(wide.results, int) else _WIDTH
    rows = max(1, max(_CACHE // channels, _RESULTS[0]) // max(1, width))
    if (high.kernel - 1) * high.dilation < _FAR_APART * high.kernel * rows:
        return axes, restored
    return (*axes[:-1], Axis(1), wide), lambda places: restored((*places[:-2], places[-1]))
