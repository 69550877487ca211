"""Where a resized axis is sampled, and with what weights: the rules of ONNX's Resize.

Coordinates are float32, as in ONNX Runtime: where one falls between two places, its last bit decides which is nearest.
Each formula is written once, over a namespace `m`: `NUMPY` for the reference, the backend's for kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from tilewright.ir.op import Attrs

MODES = ("nearest", "linear", "cubic")
COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

NUMPY = SimpleNamespace(
    abs=np.abs,
    select=np.where,
    floor=np.floor,
    ceil=np.ceil,
    round=np.rint,
    equal=np.equal,
    logical_xor=np.logical_xor,
    logical_or=np.logical_or,
    minimum=np.minimum,
    maximum=np.maximum,
    logical_and=np.logical_and,
    let=lambda x: x,
    dim=lambda size: size,
    cast=lambda x, dtype: np.asarray(x).astype(dtype),
    const=lambda value, dtype: np.dtype(dtype).type(value),
)


@dataclass(frozen=True)
class Resized:
    """An axis of size `old` that gets the size `new`. Numbers or scalar expressions, None for what is not given.

    `scale` is the factor that the model gives, `roi` the start and end of what is to be seen, where 0 and 1 are the
    first place and the last. Floats are float32.
    """

    old: Any
    new: Any
    scale: Any = None
    roi: tuple[Any, Any] | None = None

    def sizes(self, m: Any) -> tuple[Any, Any]:
        return _float(m, self.old), _float(m, self.new)

    def ratio(self, m: Any) -> Any:
        """New places for each old one."""
        old, new = self.sizes(m)
        return new / old if self.scale is None else m.cast(self.scale, "float32")

    def width(self, m: Any) -> Any:
        """The new size before it was rounded down, which is what ONNX aligns corners by; ONNX Runtime rounds first."""
        old, new = self.sizes(m)
        return new if self.scale is None else m.cast(self.scale, "float32") * old


def coordinate(m: Any, mode: str, place: Any, axis: Resized) -> Any:
    """The coordinate in the old axis that the result `place` samples."""
    place, (old, new), one = m.cast(place, "float32"), axis.sizes(m), m.const(1.0, "float32")
    if mode == "asymmetric":
        return place / axis.ratio(m)
    if mode == "align_corners":
        return place * (old - 1.0) / m.maximum(axis.width(m) - 1.0, one)
    if mode == "tf_crop_and_resize":
        return _cropped(m, place, axis)
    ratio = axis.ratio(m)
    if mode == "tf_half_pixel_for_nn":
        return (place + 0.5) / ratio
    centre = (place + 0.5) / ratio - 0.5
    if mode == "pytorch_half_pixel":
        return m.select(new > 1.0, centre, m.const(0.0, "float32"))
    if mode == "half_pixel_symmetric":
        return old / 2.0 * (1.0 - new / (ratio * old)) + centre
    return centre


def _cropped(m: Any, place: Any, axis: Resized) -> Any:
    """Results lie evenly in the region, from its start to its end; a single one lies in its middle."""
    assert axis.roi is not None
    start, end = (m.cast(bound, "float32") for bound in axis.roi)
    (old, new), one = axis.sizes(m), m.const(1.0, "float32")
    spread = place * (end - start) * (old - 1.0) / m.maximum(new - 1.0, one)
    return start * (old - 1.0) + m.select(new > 1.0, spread, (end - start) * (old - 1.0) / 2.0)


def outside(m: Any, attrs: Attrs, place: Any, axis: Resized) -> Any:
    """Whether a result lies outside the old axis: None for modes where that changes nothing."""
    if attrs["coordinates"] != "tf_crop_and_resize":
        return None
    at = m.let(coordinate(m, attrs["coordinates"], place, axis))
    return m.logical_or(at < 0.0, at > axis.sizes(m)[0] - 1.0)


def _float(m: Any, size: Any) -> Any:
    return m.const(size, "float32") if isinstance(size, int) else m.cast(size, "float32")


def nearest(m: Any, attrs: Attrs, place: Any, axis: Resized) -> Any:
    """The old place that is nearest to what the result `place` samples."""
    at = coordinate(m, attrs["coordinates"], place, axis)
    match attrs["nearest"]:
        case "floor":
            at = m.floor(at)
        case "ceil":
            at = m.ceil(at)
        case "round_prefer_floor":
            at = m.ceil(at - 0.5)
        case _:
            at = m.floor(at + 0.5)
    return clamp(m, m.cast(at, "int64"), axis.old)


def clamp(m: Any, place: Any, size: Any) -> Any:
    """`place`, or the nearest one inside an axis."""
    return m.maximum(m.minimum(place, size - 1), 0)


def neighbours(m: Any, attrs: Attrs, place: Any, axis: Resized) -> list[tuple[Any, Any]]:
    """The old places that make up the result `place`, with their float32 weights."""
    at = coordinate(m, attrs["coordinates"], place, axis)
    if attrs["mode"] == "linear":
        at = m.maximum(m.minimum(at, axis.sizes(m)[0] - 1.0), m.const(0.0, "float32"))
    low = m.floor(at)
    offsets = (0, 1) if attrs["mode"] == "linear" else (-1, 0, 1, 2)
    places = [m.cast(low, "int64") + offset for offset in offsets]
    weights = [_weight(attrs, offset, at - low) for offset in offsets]
    if attrs["exclude_outside"]:
        weights = _inside_only(m, places, weights, axis.old)
        total = sum(weights[1:], weights[0])
        weights = [w / total for w in weights]
    return [(clamp(m, p, axis.old), w) for p, w in zip(places, weights, strict=True)]


def _weight(attrs: Attrs, offset: int, t: Any) -> Any:
    """The filter at the place `offset`, when its centre is at `t`, between 0 and 1."""
    distance = t - float(offset) if offset <= 0 else float(offset) - t
    if attrs["mode"] == "linear":
        return 1.0 - distance
    return near(distance, attrs["cubic_a"]) if offset in (0, 1) else far(distance, attrs["cubic_a"])


def near(d: Any, a: float) -> Any:
    """Keys' cubic convolution with parameter `a` at distances up to 1."""
    return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0


def far(d: Any, a: float) -> Any:
    """The same at distances from 1 to 2."""
    return ((d - 5.0) * d + 8.0) * d * a - 4.0 * a


def _inside_only(m: Any, places: Sequence[Any], weights: Sequence[Any], size: Any) -> list[Any]:
    """The weights, but zero for places outside the axis."""
    zero = m.const(0.0, "float32")
    return [m.select(m.logical_and(p >= 0, p < size), w, zero) for p, w in zip(places, weights, strict=True)]
