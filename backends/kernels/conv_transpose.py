"""Transposed convolution as a plain one: the results of one residue of the stride are a channel of their own.

Result y = s * j + phase sums the taps k with y + before - k * dilation = s * i, for inputs i whose distance from j
depends on phase and k alone. So each phase is a convolution of stride 1, and all phases are one with s times the
channels, whose results are interleaved when they are stored ("sub-pixel convolution", Shi et al., 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tvm import tirx

from tilewright.backends.kernels.conv import Conv, Load, Store, emit_conv
from tilewright.backends.kernels.conv_last import Ask, Results, emit_conv_last, emit_conv_last_tiles
from tilewright.backends.kernels.conv_last import Store as StoreLast
from tilewright.backends.kernels.conv_last_sizes import ConvLast
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, index, minimum
from tilewright.backends.kernels.packing_conv import Spread
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.ranges import Indices, div_down, maximum, named, product, remainder
from tilewright.backends.kernels.tile import Tile, Vectors

_FEW = 8  # channels of results that are stored together with those of the neighbours


@dataclass(frozen=True)
class ConvTranspose:
    """Input of `sizes` and `channels`, result of `outputs` channels; `spreads` has one entry per spatial axis."""

    batch: Index
    channels: int
    outputs: int
    groups: int
    sizes: tuple[Index, ...]
    spreads: tuple[Spread, ...]

    @property
    def conv(self) -> Conv:
        """The plain convolution of all phases; its weights are `spread_weights`, then packed as usual."""
        return Conv(self.batch, self.channels, self.outputs * self.phases, self.groups, self._axes)

    @property
    def conv_last(self) -> ConvLast:
        """The same with channels last, where each phase has its own kernel."""
        return ConvLast(self.batch, self.channels, self.outputs, self.groups, self._axes, self.phases)

    @property
    def merged(self) -> ConvLast | None:
        """The same with the channels of all phases as those of one kernel, where a phase's are too few for vectors."""
        if self.groups > 1 or self.outputs >= _FEW or self._axes[-1].is_trivial:
            return None
        return ConvLast(self.batch, self.channels, self.outputs * self.phases, 1, self._axes)

    @property
    def phases(self) -> int:
        return product([spread.stride for spread in self.spreads])

    @property
    def _axes(self) -> tuple[Axis, ...]:
        return tuple(self._axis(size, spread) for size, spread in zip(self.sizes, self.spreads, strict=True))

    def _axis(self, size: Index, spread: Spread) -> Axis:
        taps = spread.last - spread.first + 1
        before = -spread.first
        return Axis(size, taps, before=before, after=spread.extra + taps - 1 - before)


def emit_conv_transpose(
    k: Loops, machine: Vectors, transposed: ConvTranspose, load: Load, weights: Buffer, store: Store
) -> None:
    """`store(n, o, places, value)` for every result; operands as for `emit_conv` of `transposed.conv`."""
    phases = transposed.phases

    def stored(n: Index, channel: Index, places: Indices, value: Expr) -> None:
        where = _interleaved(transposed, places, remainder(channel, phases))
        with k.when(_exists(where, transposed.sizes, transposed.spreads)):
            store(n, div_down(channel, phases), where, value)

    emit_conv(k, machine, transposed.conv, load, weights, stored)


def emit_conv_transpose_last(
    k: Loops,
    tile: Tile,
    transposed: ConvTranspose,
    image: Buffer,
    weights: Buffer,
    store: Store,
    ask: Ask | None = None,
) -> None:
    """`store(n, o, places, value)` for every result; operands as for `emit_conv_last` of `transposed.conv_last`."""
    stored, asked = interleaved(k, transposed, store), interleaved_ask(transposed, ask)
    emit_conv_last(k, tile, transposed.conv_last, image, weights, stored, asked)


def emit_conv_transpose_merged(
    k: Loops, tile: Tile, transposed: ConvTranspose, image: Buffer, weights: Buffer, store: Store
) -> None:
    """`store(n, o, places, value)` for every result; operands as for `emit_conv_last` of `transposed.merged`.

    Neighbouring results have their phases of the last axis, and the channels of these, side by side in the result: all
    are stored as one run. `tile` has all channels of `transposed.merged` in one block.
    """
    outer, along, channels = transposed.spreads[:-1], transposed.spreads[-1], transposed.outputs
    merged, run = transposed.merged, channels * along.stride
    assert merged is not None

    def keep(found: Results) -> None:
        *_, first = at = found.places(0)
        origin = named(k, "origin", index(first) * along.stride - along.skipped)
        low, high = _clipped(k, transposed, origin, found.height * along.stride)
        with k.serial(product([spread.stride for spread in outer])) as number:
            where = _interleaved(transposed, at, index(number) * along.stride)[:-1]
            start = named(k, "start", number * run)

            def element(i: Expr) -> None:
                place = i + low * channels
                r, x = div_down(place, run), div_down(place, channels)
                value = found.sums.parts[0][r * found.tile.columns + start + (place - r * run)]
                store(found.n, place - x * channels, (*where, origin + x), value)

            with k.when(_exists(where, transposed.sizes[:-1], outer)):
                k.lanes((high - low) * channels, found.tile.dots or found.tile.lanes, element)

    emit_conv_last_tiles(k, tile, merged, image, weights, keep, whole=True)


def _clipped(k: Loops, transposed: ConvTranspose, origin: Index, count: Index) -> tuple[Index, Index]:
    """Which of `count` results along the last axis exist, of which number i is at origin + i."""
    along, size = transposed.spreads[-1], transposed.sizes[-1]
    low = named(k, "low", maximum(0, -origin)) if along.skipped else 0
    high = count if along.is_whole else minimum(count, size * along.stride + along.growth - origin)
    return low, named(k, "high", high)


def interleaved(k: Loops, transposed: ConvTranspose, store: Store) -> StoreLast:
    """What stores the results of `transposed.conv_last` by `store(n, o, places, value)`, if there are such."""

    def stored(n: Index, phase: Index, places: Indices, o: Expr, value: Expr) -> None:
        where = _interleaved(transposed, places, phase)
        with k.when(_exists(where, transposed.sizes, transposed.spreads)):
            store(n, o, where, value)

    return stored


def interleaved_ask(transposed: ConvTranspose, ask: Ask | None) -> Ask | None:
    """What asks for the results of `transposed.conv_last`, even for some that do not exist."""
    if ask is None:
        return None
    return lambda n, phase, places, o: ask(n, 0, _interleaved(transposed, places, phase), o)


def _interleaved(transposed: ConvTranspose, places: Indices, phase: Index) -> Indices:
    """The place of a phase's result."""
    digits = _digits(phase, [spread.stride for spread in transposed.spreads])
    found = zip(places, transposed.spreads, digits, strict=True)
    return tuple(j * spread.stride + (digit - spread.skipped) for j, spread, digit in found)


def _exists(where: Indices, sizes: Indices, spreads: Sequence[Spread]) -> Condition:
    """Whether there is such a result: some phases' first or last may lie before the beginning or beyond the end."""
    inside: list[Condition] = []
    for place, size, spread in zip(where, sizes, spreads, strict=True):
        inside += [index(place) >= 0] if spread.skipped else []
        inside += [] if spread.is_whole else [place < size * spread.stride + spread.growth]
    return tirx.all(*inside) if inside else True


def _digits(number: Index, bases: Sequence[int]) -> list[Index]:
    digits: list[Index] = []
    for base in reversed(bases):
        digits.append(remainder(number, base))
        number = div_down(number, base)
    return digits[::-1]
