"""Reading a tensor between its places: coordinates, what lies outside, and the weights of the neighbours.

Each formula is written once, over a namespace `m`: `interpolation.NUMPY` for the reference, the backend's for kernels.
Coordinates are floats that count places from 0; `size` is how many places an axis has.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tilewright.ir.ops.interpolation import far, near

PADDING = ("zeros", "border", "reflection")
TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
_CUBIC = -0.75


@dataclass(frozen=True)
class Tap:
    """One place that a sample reads, its weight (None: 1), and whether it is inside (None: always)."""

    place: Any
    weight: Any
    inside: Any

    def of(self, m: Any, dtype: str) -> Tap:
        """The same with the weight in another float type."""
        return self if self.weight is None else Tap(self.place, m.cast(self.weight, dtype), self.inside)


@dataclass(frozen=True)
class Axis:
    """An axis to sample: how, and its size. `dtype` is that of its coordinates."""

    mode: str
    padding: str
    align_corners: bool
    size: Any
    dtype: str

    def tap(self, m: Any, at: Any, number: Any) -> Tap:
        """The tap `number` of a sample at the normalized coordinate `at`, which goes from -1 to 1."""
        at = m.let(self._settled(m, self._scaled(m, at)))
        if self.mode == "nearest":
            return self._read(m, at, None)
        low = m.let(m.floor(at))
        rest, place = m.let(at - low), low + m.cast(number, self.dtype)
        if self.mode == "linear":
            return self._read(m, place, m.select(m.equal(number, 0), 1.0 - rest, rest))
        distance = m.let(m.abs(rest - (m.cast(number, self.dtype) - 1.0)))
        return self._read(m, place - 1.0, m.select(distance <= 1.0, near(distance, _CUBIC), far(distance, _CUBIC)))

    def _scaled(self, m: Any, at: Any) -> Any:
        size = m.cast(self.size, self.dtype)
        at = (at + 1.0) / 2.0 * (size - 1.0) if self.align_corners else ((at + 1.0) * size - 1.0) / 2.0
        return m.round(at) if self.mode == "nearest" else at

    def _settled(self, m: Any, at: Any) -> Any:
        """The coordinate brought back by the padding; in any case one that an int64 can hold."""
        size = m.cast(self.size, self.dtype)
        if self.padding == "zeros":
            return bounded(m, at, m.const(-4.0, self.dtype), size + 4.0)
        low, high = self._borders(m)
        at = m.let(at)
        if self.padding == "reflection":
            return reflected(m, at, low, high)
        outside = m.select(at < low, m.const(0.0, self.dtype), m.select(at > high, size - 1.0, at))
        return bounded(m, outside, low, high)

    def _borders(self, m: Any) -> tuple[Any, Any]:
        margin, size = (0.0 if self.align_corners else 0.5), m.cast(self.size, self.dtype)
        return m.const(-margin, self.dtype), size - 1.0 + margin

    def _read(self, m: Any, place: Any, weight: Any) -> Tap:
        """The tap at a whole number `place`, which may lie outside."""
        if self.padding == "reflection":
            place = reflected(m, m.let(place), *self._borders(m))
        place = m.let(m.cast(place, "int64"))
        inside = m.logical_and(place >= 0, place < self.size) if self.padding == "zeros" else None
        return Tap(m.let(m.maximum(m.minimum(place, self.size - 1), 0)), weight, inside)


def bounded(m: Any, x: Any, low: Any, high: Any) -> Any:
    """x within low..high; NaN becomes low."""
    x = m.let(x)
    return m.select(x >= low, m.select(x <= high, x, high), low)


def reflected(m: Any, x: Any, low: Any, high: Any) -> Any:
    """x mirrored at the borders until it lies between them; NaN becomes low."""
    span = high - low
    span = m.let(m.select(span > 0.0, span, span + 1.0))
    below = x < low
    past = m.let(m.select(below, low - x, x - high))
    turns = m.let(m.floor(past / span))
    rest = m.let(past - turns * span)
    even = m.equal(turns, m.floor(turns / 2.0) * 2.0)
    inner = m.select(m.logical_xor(below, even), high - rest, low + rest)
    return bounded(m, m.select(past > 0.0, inner, x), low, high)


def weighted(m: Any, value: Any, taps: Sequence[Tap], zero: Any) -> Any:
    """`value` times all weights, or zero where a tap is outside."""
    weights = [tap.weight for tap in taps if tap.weight is not None]
    inside = [tap.inside for tap in taps if tap.inside is not None]
    result = functools.reduce(lambda a, b: a * b, weights, value) if weights else value
    return m.select(functools.reduce(m.logical_and, inside), result, zero) if inside else result
