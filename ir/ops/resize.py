"""Resize: images and signals sampled at another spacing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.op import REQUIRED, Array, Attrs, Kind, Op, Sample
from tilewright.ir.ops.checks import require, require_dtype, require_lengths, require_sizes
from tilewright.ir.ops.interpolation import COORDINATES, MODES, NEAREST, NUMPY, Resized, nearest, neighbours, outside
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


_TABLE = 16  # entries of a table that is searched faster than its entries are computed


def _infer(types: Sequence[TensorType], attrs: Attrs) -> tuple[TensorType, ...]:
    x, sizes, scales = types[0], attrs["sizes"], attrs["scales"]
    require_lengths(x.rank, sizes=sizes, scales=scales or sizes)
    require_sizes(sizes, "sizes")
    require(all(s is None or s > 0 for s in scales or ()), f"scales {scales} must be positive")
    for name, choices in (("mode", MODES), ("coordinates", COORDINATES), ("nearest", NEAREST)):
        require(attrs[name] in choices, f"{name} {attrs[name]!r} is not one of {', '.join(choices)}")
    require(all(old != 0 or new == 0 for old, new in zip(x.shape, sizes, strict=True)), f"{x} has no places to resize")
    if attrs["mode"] != "nearest":
        require_dtype(x, FLOATS, "the input")
    _check_operands(types, attrs)
    return (x.with_shape(sizes),)


def _check_operands(types: Sequence[TensorType], attrs: Attrs) -> None:
    """`operands` names the inputs after the first."""
    names, rank = attrs["operands"], types[0].rank
    require(names in ((), ("scales",), ("roi",), ("scales", "roi")), f"operands {names} are not scales and roi")
    require(len(types) == 1 + len(names), f"there are {len(types) - 1} operands, not {len(names)}")
    for name, type in zip(names, types[1:], strict=True):
        wanted = TensorType("float32", (rank if name == "scales" else 2 * rank,))
        require(type == wanted, f"{name} must be {wanted}, not {type}")
    crops = attrs["coordinates"] == "tf_crop_and_resize"
    require(crops == ("roi" in names), "a roi belongs to the coordinates tf_crop_and_resize")


def resized_axes(attrs: Attrs, shape: Sequence[Dim]) -> list[int]:
    """The axes to work on: those named, or all that change."""
    if attrs["axes"] is not None:
        return list(attrs["axes"])
    scales = attrs["scales"] or (None,) * len(shape)
    same = [dims.equal(old, new) for old, new in zip(shape, attrs["sizes"], strict=True)]
    return [axis for axis, scale in enumerate(scales) if scale not in (None, 1.0) or not same[axis]]


def _resized(attrs: Attrs, axis: int, old: Any, new: Any, operands: Sequence[Callable[[int], Any]]) -> Resized:
    """One axis, whose scale and region come from the attributes or from operands."""
    given = dict(zip(attrs["operands"], operands, strict=True))
    scale = given["scales"](axis) if "scales" in given else (attrs["scales"] or {axis: None})[axis]
    rank = len(attrs["sizes"])
    return Resized(old, new, scale, (given["roi"](axis), given["roi"](rank + axis)) if "roi" in given else None)


def _ref(attrs: Attrs, x: Array, *operands: Array) -> Array:
    """One axis after the other."""
    result = x if attrs["mode"] == "nearest" else exact(x)
    for number in resized_axes(attrs, x.shape):
        readers = [operand.__getitem__ for operand in operands]
        axis = _resized(attrs, number, x.shape[number], attrs["sizes"][number], readers)
        places, column = np.arange(attrs["sizes"][number]), (-1, *[1] * (x.ndim - 1 - number))
        missing = outside(NUMPY, attrs, places, axis)
        if attrs["mode"] == "nearest":
            result = np.take(result, nearest(NUMPY, attrs, places, axis), axis=number)
        else:
            found = neighbours(NUMPY, attrs, places, axis)
            result = sum(np.take(result, p, axis=number) * w.reshape(column) for p, w in found)
        if missing is not None:
            result = np.where(missing.reshape(column), np.asarray(attrs["extrapolation"], x.dtype), result)
    return np.asarray(result).astype(x.dtype)


def _compute(b: Any, node: Node, x: Any, *operands: Any) -> Any:
    axes = resized_axes(node.attrs, node.inputs[0].shape)
    if node.attrs["mode"] == "nearest":
        return _compute_nearest(b, node, x, axes, operands)
    result = x
    for axis in axes:
        result = _interpolated(b, node, result, axis, operands)
    return narrowed(b, result, x.dtype)


def _compute_nearest(b: Any, node: Node, x: Any, axes: Sequence[int], operands: Sequence[Any]) -> Any:
    old, new = node.inputs[0].shape, node.results[0].shape
    finders = {axis: _nearest_finder(b, node.attrs, axis, old[axis], new[axis], operands) for axis in axes}

    def element(*index: Any) -> Any:
        found = x(*(finders[axis](i) if axis in finders else i for axis, i in enumerate(index)))
        for axis in axes:
            resized = _resized(node.attrs, axis, b.dim(old[axis]), b.dim(new[axis]), operands)
            found = _filled(b, node.attrs, index[axis], resized, found, x.dtype)
        return found

    return b.stage(b.shape(node.results[0]), x.dtype, element)


def _filled(b: Any, attrs: Attrs, place: Any, axis: Resized, found: Any, dtype: str) -> Any:
    """`found`, or what stands for places outside."""
    missing = outside(b, attrs, place, axis)
    return found if missing is None else b.select(missing, b.const(attrs["extrapolation"], dtype), found)


def _nearest_finder(
    b: Any, attrs: Attrs, axis: int, old: Dim, new: Dim, operands: Sequence[Any]
) -> Callable[[Any], Any]:
    """From a result place to the nearest place: by a whole factor or a small table where the sizes allow it."""
    if operands:
        return lambda i: nearest(b, attrs, i, _resized(attrs, axis, b.dim(old), b.dim(new), operands))
    scale, factor = (attrs["scales"] or {axis: None})[axis], _whole_factor(old, new)
    if isinstance(old, int) and isinstance(new, int):
        table = nearest(NUMPY, attrs, np.arange(new), Resized(old, new, scale))
        if factor and np.array_equal(table, np.arange(new) // factor):
            return lambda i: i // factor
        if new < _TABLE:
            finder: Callable[[Any], Any] = b.tensor_const(table)
            return finder
    if factor and attrs["coordinates"] != "align_corners" and scale in (None, factor):
        table = nearest(NUMPY, attrs, np.arange(4 * factor), Resized(4, 4 * factor, scale))
        if np.array_equal(table, np.arange(4 * factor) // factor):  # and so on: the pattern repeats with the places
            return lambda i: i // factor
    return lambda i: nearest(b, attrs, i, Resized(b.dim(old), b.dim(new), scale))


def _whole_factor(old: Dim, new: Dim) -> int | None:
    """The number of result places for each place, where that is a whole number for all sizes."""
    factor = dims.floordiv(new, old)
    return factor if isinstance(factor, int) and factor > 0 and dims.equal(dims.product((factor, old)), new) else None


def _interpolated(b: Any, node: Node, x: Any, axis: int, operands: Sequence[Any]) -> Any:
    """`x` resized along one axis."""
    attrs, wide = node.attrs, accumulator(node.inputs[0].dtype)
    new = b.shape(node.results[0])[axis]
    resized = [_resized(attrs, axis, x.shape[axis], new, operands)] if not operands else []

    def element(*index: Any) -> Any:
        how = resized[0] if resized else _resized(attrs, axis, x.shape[axis], new, operands)
        found = neighbours(b, attrs, index[axis], how)
        terms = [b.cast(x(*index[:axis], p, *index[axis + 1 :]), wide) * b.cast(w, wide) for p, w in found]
        return _filled(b, attrs, index[axis], how, sum(terms[1:], terms[0]), wide)

    return b.stage((*x.shape[:axis], new, *x.shape[axis + 1 :]), wide, element)


def _samples() -> Sequence[Sample]:
    image = tensor("float32", 1, 2, 4, 5)
    sizes = {"sizes": (1, 2, 7, 3)}
    symbolic = tensor("float32", "n", 2, "h", "w")
    double = {"sizes": tensor("float32", "n", 2, "2*h", "2*w").shape, "scales": (1.0, 1.0, 2.0, 2.0)}
    scales, by_data = np.array([1, 1, 1.8, 0.7], np.float32), {"operands": ("scales",), "axes": (2, 3), **sizes}
    roi = np.array([0, 0, 0.2, -0.3, 1, 1, 0.7, 1.2], np.float32)
    crop = {"operands": ("roi",), "axes": (2, 3), "coordinates": "tf_crop_and_resize"}
    free = {"sizes": tensor("float32", "n", 2, "p", "m").shape}
    return [
        Sample((symbolic,), {**double, "mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}),
        Sample((symbolic,), {**double, "mode": "linear"}),
        Sample((symbolic,), {**free, "mode": "linear", "coordinates": "align_corners"}),
        Sample((symbolic,), {**free, "mode": "nearest", "coordinates": "half_pixel_symmetric"}),
        Sample((image,), {**sizes, "mode": "cubic", "exclude_outside": True, "coordinates": "pytorch_half_pixel"}),
        Sample((image, scales), {**by_data, "mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}),
        Sample((image, scales), {**by_data, "mode": "cubic", "coordinates": "align_corners"}),
        Sample((image, roi), {**crop, **sizes, "mode": "linear"}),
        Sample((symbolic, roi), {**crop, **free, "mode": "nearest", "extrapolation": -2.0}),
        *(
            Sample((image,), {**sizes, "mode": "nearest", "coordinates": c, "nearest": n})
            for c, n in itertools.product(COORDINATES[:3], NEAREST)
        ),
    ]


ROWS: tuple[Op, ...] = (
    Op(
        "resize",
        Kind.INJECTIVE,
        _infer,
        _ref,
        _compute,
        (1, 3),
        {
            "sizes": REQUIRED,
            "scales": None,
            "mode": REQUIRED,
            "coordinates": "half_pixel",
            "nearest": "round_prefer_floor",
            "cubic_a": -0.75,
            "exclude_outside": False,
            "extrapolation": 0.0,
            "axes": None,
            "operands": (),
        },
        _samples,
        doc="x resized to the shape `sizes`. `scales` holds, for each axis, the factor that the model gives, or None "
        "for the ratio of the sizes; `axes` are those to work on (None: all that change). `operands` names further "
        "inputs: scales, and for tf_crop_and_resize roi (all starts, then all ends), outside of which is "
        "`extrapolation`.",
    ),
)
