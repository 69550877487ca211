"""Resize: images and signals sampled at another spacing, after the coordinate rules of ONNX's Resize.

Coordinates are float32, as in ONNX Runtime: where a coordinate falls between two places, its last bit decides which is nearest.
The formulas are written once, over a namespace that is numpy for the reference and the backend's for kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_lengths, require_sizes
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node

MODES = ("nearest", "linear", "cubic")
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")

_NUMPY = SimpleNamespace(
    select=np.where,
    floor=np.floor,
    ceil=np.ceil,
    minimum=np.minimum,
    maximum=np.maximum,
    logical_and=np.logical_and,
    cast=lambda x, dtype: np.asarray(x).astype(dtype),
    const=lambda value, dtype: np.dtype(dtype).type(value),
)


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, sizes, scales = types[0], attrs["sizes"], attrs["scales"]
    require_lengths(x.rank, sizes=sizes, scales=scales or sizes)
    require_sizes(sizes, "sizes")
    require(all(s is None or s > 0 for s in scales or ()), f"scales {scales} must be positive")
    for name, known in (("mode", MODES), ("coordinates", COORDINATES), ("nearest", NEAREST)):
        require(attrs[name] in known, f"{name} {attrs[name]!r} is not one of {', '.join(known)}")
    require(all(old != 0 or new == 0 for old, new in zip(x.shape, sizes, strict=True)), f"{x} has no places to resize")
    if attrs["mode"] != "nearest":
        require_dtype(x, FLOATS, "the input")
    return (x.with_shape(sizes),)


def _moved_axes(attrs: Attrs, shape: Sequence[Dim]) -> list[tuple[int, float | None]]:
    """The axes that change, each with the scale that the model gives it, if any."""
    scales = attrs["scales"] or (None,) * len(shape)
    columns = enumerate(zip(shape, attrs["sizes"], scales, strict=True))
    return [(axis, scale) for axis, (old, new, scale) in columns if scale not in (None, 1.0) or not dims.equal(old, new)]


def _coordinate(m: Any, mode: str, place: Any, scale: float | None, old: Any, new: Any) -> Any:
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


def _nearest(m: Any, attrs: Attrs, place: Any, scale: float | None, old: Any, new: Any) -> Any:
    """The place in an axis of size `old` that is nearest to what result `place` of `new` samples."""
    at = _coordinate(m, attrs["coordinates"], place, scale, old, new)
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


def _neighbours(m: Any, attrs: Attrs, place: Any, scale: float | None, old: Any, new: Any) -> list[tuple[Any, Any]]:
    """The places in an axis of size `old` that make up result `place` of `new`, with their float32 weights."""
    at = _coordinate(m, attrs["coordinates"], place, scale, old, new)
    if attrs["mode"] == "linear":
        at = m.maximum(m.minimum(at, _float(m, old) - 1.0), m.const(0.0, "float32"))
        offsets, weigh = (0, 1), _linear_weights
    else:
        offsets, weigh = (-1, 0, 1, 2), _cubic_weights
    low = m.floor(at)
    places = [m.cast(low, "int64") + offset for offset in offsets]
    weights = weigh(at - low, attrs["cubic_a"])
    if attrs["exclude_outside"]:
        weights = _inside_only(m, places, weights, old)
    return [(_clamp(m, p, old), w) for p, w in zip(places, weights, strict=True)]


def _linear_weights(t: Any, a: float) -> list[Any]:
    return [1.0 - t, t]


def _cubic_weights(t: Any, a: float) -> list[Any]:
    """Keys' cubic convolution with parameter `a`, for the places at distances 1 + t, t, 1 - t and 2 - t."""

    def near(d: Any) -> Any:
        return ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0

    def far(d: Any) -> Any:
        return ((d - 5.0) * d + 8.0) * d * a - 4.0 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def _inside_only(m: Any, places: Sequence[Any], weights: Sequence[Any], size: Any) -> list[Any]:
    """Weights of places outside the axis dropped, the others scaled to a sum of 1."""
    zero = m.const(0.0, "float32")
    kept = [m.select(m.logical_and(p >= 0, p < size), w, zero) for p, w in zip(places, weights, strict=True)]
    total = sum(kept[1:], kept[0])
    return [w / total for w in kept]


def _ref(attrs: Attrs, x: Array) -> Array:
    """One axis after the other."""
    result = x if attrs["mode"] == "nearest" else exact(x)
    for axis, scale in _moved_axes(attrs, x.shape):
        old, new = x.shape[axis], attrs["sizes"][axis]
        arguments = (_NUMPY, attrs, np.arange(new), scale, old, new)
        if attrs["mode"] == "nearest":
            result = np.take(result, _nearest(*arguments), axis=axis)
        else:
            column = (-1, *[1] * (x.ndim - 1 - axis))
            result = sum(np.take(result, p, axis=axis) * w.reshape(column) for p, w in _neighbours(*arguments))
    return np.asarray(result).astype(x.dtype)


def _compute(b: Any, node: Node, x: Any) -> Any:
    axes = _moved_axes(node.attrs, node.inputs[0].shape)
    if node.attrs["mode"] == "nearest":
        return _compute_nearest(b, node, x, axes)
    result = x
    for axis, scale in axes:
        result = _interpolated(b, node, result, axis, scale)
    return narrowed(b, result, x.dtype)


def _compute_nearest(b: Any, node: Node, x: Any, axes: Sequence[tuple[int, float | None]]) -> Any:
    old, new = node.inputs[0].shape, node.results[0].shape
    finders = {axis: _nearest_finder(b, node.attrs, scale, old[axis], new[axis]) for axis, scale in axes}

    def element(*index: Any) -> Any:
        return x(*(finders[axis](i) if axis in finders else i for axis, i in enumerate(index)))

    return b.stage(b.shape(node.results[0]), x.dtype, element)


def _nearest_finder(b: Any, attrs: Attrs, scale: float | None, old: Dim, new: Dim) -> Callable[[Any], Any]:
    """From a result place to the nearest place: by a whole factor or a small table where the sizes allow it."""
    factor = _whole_factor(old, new)
    if isinstance(old, int) and isinstance(new, int):
        table = _nearest(_NUMPY, attrs, np.arange(new), scale, old, new)
        if factor and np.array_equal(table, np.arange(new) // factor):
            return lambda i: i // factor
        return b.tensor_const(table)
    if factor and attrs["coordinates"] != "align_corners" and scale in (None, factor):
        table = _nearest(_NUMPY, attrs, np.arange(4 * factor), scale, 4, 4 * factor)
        if np.array_equal(table, np.arange(4 * factor) // factor):  # and so on: the pattern repeats with the places
            return lambda i: i // factor
    return lambda i: _nearest(b, attrs, i, scale, b.dim(old), b.dim(new))


def _whole_factor(old: Dim, new: Dim) -> int | None:
    """The number of result places for each place, where that is a whole number for all sizes."""
    factor = dims.floordiv(new, old)
    return factor if isinstance(factor, int) and factor > 0 and dims.equal(dims.product((factor, old)), new) else None


def _interpolated(b: Any, node: Node, x: Any, axis: int, scale: float | None) -> Any:
    """`x` resized along one axis."""
    wide, old, new = accumulator(node.inputs[0].dtype), x.shape[axis], b.shape(node.results[0])[axis]

    def element(*index: Any) -> Any:
        found = _neighbours(b, node.attrs, index[axis], scale, old, new)
        terms = [b.cast(x(*index[:axis], p, *index[axis + 1 :]), wide) * b.cast(w, wide) for p, w in found]
        return sum(terms[1:], terms[0])

    return b.stage((*x.shape[:axis], new, *x.shape[axis + 1 :]), wide, element)


def _samples() -> Sequence[Sample]:
    image = tensor("float32", 1, 2, 4, 5)
    sizes = {"sizes": (1, 2, 7, 3)}
    symbolic = tensor("float32", "n", 2, "h", "w")
    double = {"sizes": tensor("float32", "n", 2, "2*h", "2*w").shape, "scales": (1.0, 1.0, 2.0, 2.0)}
    free = {"sizes": tensor("float32", "n", 2, "p", "q").shape}
    return [
        Sample((symbolic,), {**double, "mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}),
        Sample((symbolic,), {**double, "mode": "linear"}),
        Sample((symbolic,), {**free, "mode": "linear", "coordinates": "align_corners"}),
        Sample((symbolic,), {**free, "mode": "nearest", "coordinates": "half_pixel_symmetric"}),
        Sample((image,), {**sizes, "mode": "cubic", "exclude_outside": True, "coordinates": "pytorch_half_pixel"}),
        *(Sample((image,), {**sizes, "mode": "nearest", "coordinates": c, "nearest": n}) for c, n in
          itertools.product(COORDINATES[:3], NEAREST)),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "resize", Kind.INJECTIVE, _infer, _ref, _compute, (1, 1),
        {
            "sizes": REQUIRED,
            "scales": None,
            "mode": REQUIRED,
            "coordinates": "half_pixel",
            "nearest": "round_prefer_floor",
            "cubic_a": -0.75,
            "exclude_outside": False,
        },
        _samples,
        doc="x resized to the shape `sizes`. `scales` holds, for each axis, the factor that the model gives, or None for "
        "the ratio of the sizes.",
    ),
)
