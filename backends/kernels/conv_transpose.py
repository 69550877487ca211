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
from tilewright.backends.kernels.loops import Buffer, Condition, Expr, Index, Loops
from tilewright.backends.kernels.packing_conv import Spread
from tilewright.backends.kernels.patches import Axis
from tilewright.backends.kernels.ranges import Indices, div_down, product, remainder
from tilewright.backends.kernels.tile import Vectors


@dataclass(frozen=True)
class ConvTranspose:
    """Input [batch, channels, *sizes], result [batch, outputs, *results]; `spreads` has one entry per spatial axis."""

    batch: Index
    channels: int
    outputs: int
    groups: int
    sizes: tuple[Index, ...]
    spreads: tuple[Spread, ...]

    @property
    def conv(self) -> Conv:
        """The plain convolution of all phases; its weights are `spread_weights`, then packed as usual."""
        axes = tuple(self._axis(size, spread) for size, spread in zip(self.sizes, self.spreads, strict=True))
        phases = product([spread.stride for spread in self.spreads])
        return Conv(self.batch, self.channels, self.outputs * phases, self.groups, axes)

    def _axis(self, size: Index, spread: Spread) -> Axis:
        taps = spread.last - spread.first + 1
        grown = -(-spread.growth // spread.stride)
        before = -spread.first
        return Axis(size, taps, before=before, after=grown + taps - 1 - before)


def emit_conv_transpose(
    k: Loops, machine: Vectors, transposed: ConvTranspose, load: Load, weights: Buffer, store: Store
) -> None:
    """`store(n, o, places, value)` for every result; operands as for `emit_conv` of `transposed.conv`."""
    strides = [spread.stride for spread in transposed.spreads]
    phases = product(strides)

    def interleaved(n: Index, channel: Index, places: Indices, value: Expr) -> None:
        digits = _digits(remainder(channel, phases), strides)
        where = tuple(j * s + d for j, s, d in zip(places, strides, digits, strict=True))
        with k.when(_exists(transposed, where)):
            store(n, div_down(channel, phases), where, value)

    emit_conv(k, machine, transposed.conv, load, weights, interleaved)


def _exists(transposed: ConvTranspose, where: Indices) -> Condition:
    """Whether there is such a result: the last of some phases may lie beyond the end."""
    inside = [
        place < size * spread.stride + spread.growth
        for place, size, spread in zip(where, transposed.sizes, transposed.spreads, strict=True)
        if spread.growth % spread.stride
    ]
    return tirx.all(*inside) if inside else True


def _digits(number: Index, bases: Sequence[int]) -> list[Index]:
    digits: list[Index] = []
    for base in reversed(bases):
        digits.append(remainder(number, base))
        number = div_down(number, base)
    return digits[::-1]
