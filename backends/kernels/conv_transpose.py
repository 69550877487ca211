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
from tilewright.backends.kernels.conv_last import Ask, ConvLast, emit_conv_last
from tilewright.backends.kernels.conv_last import Store as StoreLast
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops, index
from tilewright.backends.kernels.packing_conv import Spread
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.ranges import Indices, div_down, product, remainder
from tilewright.backends.kernels.tile import Tile, Vectors


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
        with k.when(_exists(transposed, where)):
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


def interleaved(k: Loops, transposed: ConvTranspose, store: Store) -> StoreLast:
    """What stores the results of `transposed.conv_last` by `store(n, o, places, value)`, if there are such."""

    def stored(n: Index, phase: Index, places: Indices, o: Expr, value: Expr) -> None:
        where = _interleaved(transposed, places, phase)
        with k.when(_exists(transposed, where)):
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


def _exists(transposed: ConvTranspose, where: Indices) -> Condition:
    """Whether there is such a result: some phases' first or last may lie before the beginning or beyond the end."""
    inside: list[Condition] = []
    for place, size, spread in zip(where, transposed.sizes, transposed.spreads, strict=True):
        inside += [index(place) >= 0] if spread.skipped else []
        inside += [] if spread.is_whole else [place < size * spread.stride + spread.growth]
    return tirx.all(*inside) if inside else True


def _digits(number: Index, bases: Sequence[int]) -> list[Index]:
    digits: list[Index] = []
    for base in reversed(bases):
        digits.append(remainder(number, base))
        number = div_down(number, base)
    return digits[::-1]
