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
from tilewright.ir.ops.interpolation import COORDINATES, MODES, NEAREST, NUMPY, nearest, neighbours
from tilewright.ir.ops.precision import accumulator, exact, narrowed
from tilewright.ir.types import FLOATS, TensorType, tensor

if TYPE_CHECKING:
    from tilewright.ir.graph import Node


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
    for axis, scale in _moved_axes(attrs, x.shape) if attrs["antialias"] else ():
        known = scale is not None or (isinstance(x.shape[axis], int) and isinstance(sizes[axis], int))
        require(known, f"antialias needs a known ratio, but axis {axis} goes from {x.shape[axis]} to {sizes[axis]}")
    return (x.with_shape(sizes),)


def _moved_axes(attrs: Attrs, shape: Sequence[Dim]) -> list[tuple[int, float | None]]:
    """The axes that change, each with the scale that the model gives it, if any."""
    scales = attrs["scales"] or (None,) * len(shape)
    same = [dims.equal(old, new) for old, new in zip(shape, attrs["sizes"], strict=True)]
    return [(axis, scale) for axis, scale in enumerate(scales) if scale not in (None, 1.0) or not same[axis]]


def _ref(attrs: Attrs, x: Array) -> Array:
    """One axis after the other."""
    result = x if attrs["mode"] == "nearest" else exact(x)
    for axis, scale in _moved_axes(attrs, x.shape):
        old, new = x.shape[axis], attrs["sizes"][axis]
        arguments = (NUMPY, attrs, np.arange(new), scale, old, new)
        if attrs["mode"] == "nearest":
            result = np.take(result, nearest(*arguments), axis=axis)
        else:
            column = (-1, *[1] * (x.ndim - 1 - axis))
            result = sum(np.take(result, p, axis=axis) * w.reshape(column) for p, w in neighbours(*arguments))
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
        table = nearest(NUMPY, attrs, np.arange(new), scale, old, new)
        if factor and np.array_equal(table, np.arange(new) // factor):
            return lambda i: i // factor
        finder: Callable[[Any], Any] = b.tensor_const(table)
        return finder
    if factor and attrs["coordinates"] != "align_corners" and scale in (None, factor):
        table = nearest(NUMPY, attrs, np.arange(4 * factor), scale, 4, 4 * factor)
        if np.array_equal(table, np.arange(4 * factor) // factor):  # and so on: the pattern repeats with the places
            return lambda i: i // factor
    return lambda i: nearest(b, attrs, i, scale, b.dim(old), b.dim(new))


def _whole_factor(old: Dim, new: Dim) -> int | None:
    """The number of result places for each place, where that is a whole number for all sizes."""
    factor = dims.floordiv(new, old)
    return factor if isinstance(factor, int) and factor > 0 and dims.equal(dims.product((factor, old)), new) else None


def _interpolated(b: Any, node: Node, x: Any, axis: int, scale: float | None) -> Any:
    """`x` resized along one axis."""
    wide, old, new = accumulator(node.inputs[0].dtype), x.shape[axis], b.shape(node.results[0])[axis]

    def element(*index: Any) -> Any:
        found = neighbours(b, node.attrs, index[axis], scale, old, new)
        terms = [b.cast(x(*index[:axis], p, *index[axis + 1 :]), wide) * b.cast(w, wide) for p, w in found]
        return sum(terms[1:], terms[0])

    return b.stage((*x.shape[:axis], new, *x.shape[axis + 1 :]), wide, element)


def _samples() -> Sequence[Sample]:
    image = tensor("float32", 1, 2, 4, 5)
    sizes = {"sizes": (1, 2, 7, 3)}
    symbolic = tensor("float32", "n", 2, "h", "w")
    double = {"sizes": tensor("float32", "n", 2, "2*h", "2*w").shape, "scales": (1.0, 1.0, 2.0, 2.0)}
    free = {"sizes": tensor("float32", "n", 2, "p", "m").shape}
    return [
        Sample((symbolic,), {**double, "mode": "nearest", "coordinates": "asymmetric", "nearest": "floor"}),
        Sample((symbolic,), {**double, "mode": "linear"}),
        Sample((symbolic,), {**free, "mode": "linear", "coordinates": "align_corners"}),
        Sample((symbolic,), {**free, "mode": "nearest", "coordinates": "half_pixel_symmetric"}),
        Sample((image,), {**sizes, "mode": "cubic", "exclude_outside": True, "coordinates": "pytorch_half_pixel"}),
        Sample((image,), {**sizes, "mode": "linear", "antialias": True}),
        Sample((image,), {"sizes": (1, 2, 2, 2), "mode": "cubic", "antialias": True}),
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
        (1, 1),
        {
            "sizes": REQUIRED,
            "scales": None,
            "mode": REQUIRED,
            "coordinates": "half_pixel",
            "nearest": "round_prefer_floor",
            "cubic_a": -0.75,
            "exclude_outside": False,
            "antialias": False,
        },
        _samples,
        doc="x resized to the shape `sizes`. `scales` holds, for each axis, the factor that the model gives, or None "
        "for the ratio of the sizes.",
    ),
)
