"""Where the kernels lie in the picture of their graph: in layers, each below all that it reads.

After K. Sugiyama, S. Tagawa and M. Toda, IEEE Transactions on Systems, Man, and Cybernetics 11, 1981. What reads over
several layers gets a bend in each, shared by all readers of one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT, LAYER, GAP, BEND = 236.0, 28.0, 52.0, 16.0, 6.0
_SWEEPS = 6


@dataclass(eq=False)
class Item:
    """A kernel, `row`, or a bend (`row` is None) of the lines from one; `x` is its middle."""

    row: int | None
    layer: int
    x: float = 0.0
    above: list[Item] = field(default_factory=list)
    below: list[Item] = field(default_factory=list)

    @property
    def half(self) -> float:
        return (BEND if self.row is None else WIDTH) / 2

    @property
    def top(self) -> float:
        return self.layer * LAYER

    @property
    def bottom(self) -> float:
        return self.top + HEIGHT


@dataclass(frozen=True)
class Layout:
    layers: Sequence[Sequence[Item]]
    width: float
    height: float


def layout(reads: Sequence[Sequence[int]]) -> Layout:
    """For each kernel the positions of those whose results it reads, which must not go in circles."""
    layers = _layers(reads)
    _order(layers)
    _place(layers)
    left = min((item.x - item.half for layer in layers for item in layer), default=0.0)
    right = max((item.x + item.half for layer in layers for item in layer), default=0.0)
    for layer in layers:
        for item in layer:
            item.x -= left
    return Layout(layers, right - left, max(len(layers) * LAYER - LAYER + HEIGHT, 0.0))


def _layers(reads: Sequence[Sequence[int]]) -> list[list[Item]]:
    """Kernels and bends, layer by layer, joined to their neighbours."""
    heights = _heights(reads)
    layers: list[list[Item]] = [[] for _ in range(max(heights, default=-1) + 1)]
    kernels = [Item(row, height) for row, height in enumerate(heights)]
    for item in kernels:
        layers[item.layer].append(item)
    lines = [[item] for item in kernels]
    for item, sources in zip(kernels, reads, strict=True):
        for source in sources:
            line = lines[source]
            while line[-1].layer < item.layer - 1:
                line.append(_join(line[-1], Item(None, line[-1].layer + 1)))
                layers[line[-1].layer].append(line[-1])
            _join(line[item.layer - 1 - line[0].layer], item)
    return layers


def _join(upper: Item, lower: Item) -> Item:
    upper.below.append(lower)
    lower.above.append(upper)
    return lower


def _heights(reads: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each kernel: right below the lowest that it reads, or right above its first reader."""
    readers: list[list[int]] = [[] for _ in reads]
    for reader, sources in enumerate(reads):
        for source in sources:
            readers[source].append(reader)
    order = _topological(reads, readers)
    heights = [0] * len(reads)
    for row in order:
        heights[row] = max((heights[source] + 1 for source in reads[row]), default=0)
    for row, sources in enumerate(reads):
        if not sources and readers[row]:
            heights[row] = min(heights[reader] for reader in readers[row]) - 1
    return heights


def _topological(reads: Sequence[Sequence[int]], readers: Sequence[Sequence[int]]) -> list[int]:
    missing = [len(sources) for sources in reads]
    order = [row for row, count in enumerate(missing) if not count]
    for row in order:
        for reader in readers[row]:
            missing[reader] -= 1
            if not missing[reader]:
                order.append(reader)
    return order


def _order(layers: list[list[Item]]) -> None:
    """Sort each layer by where the neighbours are, down and up again, so that few lines cross."""
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        places: dict[Item, float] = {}
        for layer in layers if down else reversed(layers):
            keys = {
                item: _mean([places[n] for n in (item.above if down else item.below)], place)
                for place, item in enumerate(layer)
            }
            layer.sort(key=keys.__getitem__)
            places.update((item, float(place)) for place, item in enumerate(layer))


def _place(layers: Sequence[Sequence[Item]]) -> None:
    """Move each item below, then above its neighbours, as far as the others in its layer leave room."""
    for layer in layers:
        _settle(layer, dict.fromkeys(layer, 0.0))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else list(reversed(layers)):
            _settle(layer, {i: _mean([n.x for n in (i.above if down else i.below)], i.x) for i in layer})


def _settle(layer: Sequence[Item], wanted: Mapping[Item, float]) -> None:
    """In order and without overlap: the middle between pushing all to the right and all to the left."""
    right = _pushed(layer, [wanted[item] for item in layer])
    left = [-x for x in reversed(_pushed(layer[::-1], [-wanted[item] for item in reversed(layer)]))]
    for item, low, high in zip(layer, left, right, strict=True):
        item.x = (low + high) / 2


def _pushed(layer: Sequence[Item], wanted: Sequence[float]) -> list[float]:
    xs: list[float] = []
    for number, (item, x) in enumerate(zip(layer, wanted, strict=True)):
        nearest = xs[-1] + layer[number - 1].half + GAP + item.half if number else x
        xs.append(max(x, nearest))
    return xs


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise
