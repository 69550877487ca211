"""Where a resized axis is sampled, and with what weights: the rules of ONNX's Resize.

Coordinates are float32, as in ONNX Runtime: where one falls between two places, its last bit decides which is nearest.
Each formula is written once, over a namespace `m`: `NUMPY` for the reference, the backend's for kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from tilewright.ir.op import Attrs

MODES = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

NUMPY = SimpleNamespace(
    abs=np.abs,
    select=np.where,
    floor=np.floor,
    ceil=np.ceil,
    round=np.rint,
    equal=np.equal,
    logical_xor=np.logical_xor,
    minimum=np.minimum,
    maximum=np.maximum,
    logical_and=np.logical_and,
    let=lambda x: x,
    cast=lambda x, dtype: np.asarray(x).astype(dtype),
    const=lambda value, dtype: np.dtype(dtype).type(value),
)


def coordinate(m: Any, mode: str, place: Any, scale: float | None, old: Any, new: Any) -> Any:
    """The coordinate in an axis of size `old` that result `place` of `new` samples."""
    place, old, new = m.cast(place, "float32"), _float(m, old), _float(m, new)
    ratio = new / old if scale is None else m.const(scale, "float32")
    if mode == "asymmetric":
        return place / ratio
    if mode == "align_corners":
        return place * (old - 1.0) / m.maximum(new - 1.0, m.const(1.0, "float32"))
    centre = (place + 0.5) / ratio - 0.5
    if mode == "pytorch_half_pixel":
        return m.select(new > 1.0, centre, m.const(0.0, "float32"))
    if mode == "half_pixel_symmetric":
        return old / 2.0 * (1.0 - new / (ratio * old)) + centre
    return centre


def _float(m: Any, size: Any) -> Any:
    return m.const(size, "float32") if isinstance(size, int) else m.cast(size, "float32")


def nearest(m: Any, attrs: Attrs, place: Any, scale: float | None, old: Any, new: Any) -> Any:
    """The place in an axis of size `old` that is nearest to what result `place` of `new` samples."""
    at = coordinate(m, attrs["coordinates"], place, scale, old, new)
    match attrs["nearest"]:
        case "floor":
            at = m.floor(at)
        case "ceil":
            at = m.ceil(at)
        case "round_prefer_floor":
            at = m.ceil(at - 0.5)
        case _:
            at = m.floor(at + 0.5)
    return _clamp(m, m.cast(at, "int64"), old)


def _clamp(m: Any, place: Any, size: Any) -> Any:
    return m.maximum(m.minimum(place, size - 1), 0)


def neighbours(m: Any, attrs: Attrs, place: Any, scale: float | None, old: Any, new: Any) -> list[tuple[Any, Any]]:
    """The places in an axis of size `old` that make up result `place` of `new`, with their float32 weights."""
    at = coordinate(m, attrs["coordinates"], place, scale, old, new)
    shrink = shrinking(attrs, scale, old, new)
    if attrs["mode"] == "linear" and shrink == 1.0:
        at = m.maximum(m.minimum(at, _float(m, old) - 1.0), m.const(0.0, "float32"))
    low = m.floor(at)
    offsets = reach(attrs["mode"], shrink)
    places = [m.cast(low, "int64") + offset for offset in offsets]
    weights = [_weight(m, attrs, offset, at - low, shrink) for offset in offsets]
    if attrs["exclude_outside"]:
        weights = _inside_only(m, places, weights, old)
    if attrs["exclude_outside"] or shrink < 1.0:
        total = sum(weights[1:], weights[0])
        weights = [w / total for w in weights]
    return [(_clamp(m, p, old), w) for p, w in zip(places, weights, strict=True)]


def shrinking(attrs: Attrs, scale: float | None, old: Any, new: Any) -> float:
    """How much wider than its result's spacing the filter is: less than 1 only where an antialiased axis shrinks."""
    return min(1.0, scale or new / old) if attrs["antialias"] else 1.0


def reach(mode: str, shrink: float) -> range:
    """The places that a filter covers, relative to the one before its centre."""
    first = math.floor(-(1 if mode == "linear" else 2) / shrink) + 1
    return range(first, 2 - first)


def _weight(m: Any, attrs: Attrs, offset: int, t: Any, shrink: float) -> Any:
    """The filter at the place `offset`, when its centre is at `t`, between 0 and 1."""
    a = attrs["cubic_a"]
    if shrink == 1.0:
        distance = t - float(offset) if offset <= 0 else float(offset) - t
        if attrs["mode"] == "linear":
            return 1.0 - distance
        return near(distance, a) if offset in (0, 1) else far(distance, a)
    zero, distance = m.const(0.0, "float32"), m.abs(t - float(offset)) * shrink
    if attrs["mode"] == "linear":
        return m.maximum(1.0 - distance, zero)
    return m.select(distance < 1.0, near(distance, a), m.select(distance < 2.0, far(distance, a), zero))


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
