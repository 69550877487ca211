"""Resizing one axis, by scales or regions that are data, or with a filter as wide as the new places are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_axis, require_dtype, require_sizes
from tilewright.ir.ops.interpolation import COORDINATES, NUMPY, Resized, clamp, coordinate, far, near, outside
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.ops.sampling import bounded
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

_OPERANDS: dict[str, tuple[int, ...]] = {"scale": (), "roi": (2,)}
_NARROWEST = 2.0**-20
_ROUNDING = 2.0**-20  # so that 1 / (1 / 3) is not a bit more than 3, which would add a tap of no weight


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, axis, size = types[0], attrs["axis"], attrs["size"]
    require_dtype(x, FLOATS, "the input")
    require_axis(axis, x.rank)
    require_sizes((size,), "size")
    require(attrs["mode"] in ("linear", "cubic"), f"mode {attrs['mode']!r} is neither linear nor cubic")
    require(attrs["coordinates"] in COORDINATES, f"the coordinates cannot be {attrs['coordinates']!r}")
    require(attrs["scale"] is None or attrs["scale"] > 0, f"the scale {attrs['scale']} must be positive")
    wanted = [TensorType("float32", _OPERANDS[name]) for name in attrs["operands"] if name in _OPERANDS]
    require(list(types[1:]) == wanted, f"the operands must be {', '.join(map(str, wanted)) or 'none'}")
    crops = attrs["coordinates"] == "tf_crop_and_resize"
    require(crops == ("roi" in attrs["operands"]), "a roi belongs to the coordinates tf_crop_and_resize")
    require(x.shape[axis] != 0 or size == 0, f"{x} has no places to resize")
    return (x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])),)


def _axis(attrs: Attrs, old: Any, new: Any, operands: Sequence[Callable[..., Any]]) -> Resized:
    given = dict(zip(attrs["operands"], operands, strict=True))
    scale = given["scale"]() if "scale" in given else attrs["scale"]
    return Resized(old, new, scale, (given["roi"](0), given["roi"](1)) if "roi" in given else None)


def _shrink(m: Any, attrs: Attrs, axis: Resized) -> Any:
    """How many times wider than a place the filter's unit is, inverted: at most 1."""
    if not attrs["antialias"]:
        return m.const(1.0, "float32")
    return m.let(bounded(m, axis.ratio(m), m.const(_NARROWEST, "float32"), m.const(1.0, "float32")))


def _first(m: Any, attrs: Attrs, shrink: Any) -> Any:
    """The first place that the filter reaches, relative to the one before its centre: a float."""
    radius = 1.0 if attrs["mode"] == "linear" else 2.0
    return m.let(1.0 - m.ceil(radius / shrink - _ROUNDING))


def _weight(m: Any, attrs: Attrs, place: Any, number: Any, axis: Resized) -> tuple[Any, Any]:
    """The old place and the float32 weight of tap `number` of the result `place`."""
    shrink = _shrink(m, attrs, axis)
    at = m.let(coordinate(m, attrs["coordinates"], place, axis))
    low = m.let(m.floor(at))
    offset = m.let(_first(m, attrs, shrink) + m.cast(number, "float32"))
    distance, zero = m.let(m.abs(at - low - offset) * shrink), m.const(0.0, "float32")
    if attrs["mode"] == "linear":
        weight = m.maximum(1.0 - distance, zero)
    else:
        outer = m.select(distance < 2.0, far(distance, attrs["cubic_a"]), zero)
        weight = m.select(distance < 1.0, near(distance, attrs["cubic_a"]), outer)
    source = m.let(m.cast(low + offset, "int64"))
    if attrs["exclude_outside"]:
        weight = m.select(m.logical_and(source >= 0, source < axis.old), weight, zero)
    return clamp(m, source, axis.old), weight


def _taps(m: Any, attrs: Attrs, axis: Resized) -> Any:
    """How many places the filter reaches."""
    return m.cast(2.0 - 2.0 * _first(m, attrs, _shrink(m, attrs, axis)), "int64")


def _ref(attrs: Attrs, x: Array, *operands: Array) -> Array:
    number = attrs["axis"]
    readers = [lambda *i, operand=operand: operand[i] for operand in operands]
    axis = _axis(attrs, x.shape[number], attrs["size"], readers)
    places, column = np.arange(attrs["size"]), (-1, *[1] * (x.ndim - 1 - number))
    source = exact(x)
    shape = (*x.shape[:number], attrs["size"], *x.shape[number + 1 :])
    total, norm = np.zeros(shape), np.zeros(attrs["size"])
    for k in range(int(_taps(NUMPY, attrs, axis))):
        seen, weight = _weight(NUMPY, attrs, places, k, axis)
        total += np.take(source, seen, axis=number) * weight.astype(np.float64).reshape(column)
        norm += weight
    missing, result = outside(NUMPY, attrs, places, axis), total / norm.reshape(column)
    if missing is not None:
        result = np.where(missing.reshape(column), attrs["extrapolation"], result)
    return np.asarray(result).astype(x.dtype)


def _compute(b: Any, node: Node, x: Any, *operands: Any) -> Any:
    attrs, number, shape = node.attrs, node.attrs["axis"], b.shape(node.results[0])
    wide = accumulator(x.dtype)

    def axis() -> Resized:
        return _axis(attrs, x.shape[number], shape[number], operands)

    def extents(index: Sequence[Any]) -> tuple[Any, ...]:
        return (b.let(_taps(b, attrs, axis())),)

    def weight(index: Sequence[Any], k: Sequence[Any]) -> Any:
        return b.cast(_weight(b, attrs, index[0], k[0], axis())[1], wide)

    def term(index: Sequence[Any], k: Sequence[Any]) -> Any:
        seen, share = _weight(b, attrs, index[number], k[0], axis())
        return b.cast(x(*index[:number], seen, *index[number + 1 :]), wide) * b.cast(share, wide)

    def element(*index: Any) -> Any:
        found, missing = total(*index) / norm(index[number]), outside(b, attrs, index[number], axis())
        return found if missing is None else b.select(missing, b.const(attrs["extrapolation"], wide), found)

    norm = b.reduce("sum", (shape[number],), extents, wide, weight)
    total = b.reduce("sum", shape, extents, wide, term)
    return narrowed(b, b.stage(shape, wide, element), x.dtype)


def _samples() -> Sequence[Sample]:
    image, symbolic = tensor("float32", 1, 2, 8, 5), tensor("float32", "n", "h", 3)
    size = tensor("float32", "m").shape[0]
    smooth = {"antialias": True, "mode": "cubic"}
    crop = {"operands": ("roi",), "coordinates": "tf_crop_and_resize", "extrapolation": 3.0}
    roi = np.array([-0.2, 0.9], np.float32)
    return [
        Sample((image,), {"axis": 2, "size": 3, "mode": "linear", "antialias": True}),
        Sample((image,), {"axis": 2, "size": 4, **smooth, "scale": 0.6, "exclude_outside": True}),
        Sample((image,), {"axis": 3, "size": 9, **smooth, "coordinates": "align_corners", "cubic_a": -0.5}),
        Sample((symbolic,), {"axis": 1, "size": size, "mode": "linear", "coordinates": "pytorch_half_pixel"}),
        Sample((symbolic, np.array(0.4, np.float32)), {"axis": 1, "size": 2, **smooth, "operands": ("scale",)}),
        Sample((image, np.array(0.7, np.float32)), {"axis": 3, "size": 3, "mode": "linear", "operands": ("scale",)}),
        Sample((image, roi), {"axis": 2, "size": 6, "mode": "linear", **crop}),
        Sample((symbolic, roi), {"axis": 1, "size": size, "mode": "cubic", **crop}),
        Sample((tensor("float16", 7),), {"axis": 0, "size": 3, **smooth, "coordinates": "asymmetric"}),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "resize_axis",
        Kind.CONTRACTION,
        _infer,
        _ref,
        _compute,
        (1, 3),
        {
            "axis": REQUIRED,
            "size": REQUIRED,
            "mode": REQUIRED,
            "scale": None,
            "coordinates": "half_pixel",
            "cubic_a": -0.75,
            "exclude_outside": False,
            "extrapolation": 0.0,
            "antialias": False,
            "operands": (),
        },
        _samples,
        doc="x with `axis` resized to `size` as resize does it; with `antialias`, where it shrinks, by a filter that "
        "is wider by as much. `operands` names further inputs: the scale, and the roi of this axis.",
    ),
)
