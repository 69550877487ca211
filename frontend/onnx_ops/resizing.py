"""Resize and its predecessor Upsample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.scaling import scaled_sizes, spread_values, whole_vector
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value
from tilewright.ir.ops.interpolation import COORDINATES, MODES, NEAREST
from tilewright.ir.types import FLOATS, INTEGERS


@dataclass(frozen=True)
class Target:
    """What a tensor is resized to: its whole shape, and the scale of each axis where it is given.

    `computed` holds the scales (float32, one for each axis) where they depend on data, `roi` the region to be seen.
    """

    sizes: tuple[Dim, ...]
    scales: tuple[float | None, ...]
    computed: Value | None = None
    roi: Value | None = None

    def changes(self, c: Call, axis: int) -> bool:
        """Whether resizing `axis` may do anything."""
        if self.roi is not None and not sees_all(c, self.roi, axis):
            return True
        unscaled = self.computed is None and self.scales[axis] in (None, 1.0)
        return not unscaled or not dims.equal(c[0].shape[axis], self.sizes[axis])


def sees_all(c: Call, roi: Value, axis: int) -> bool:
    """Whether a region is known to be all of `axis`."""
    known = c.maybe_known(roi)
    return known is not None and (known[axis], known[c[0].rank + axis]) == (0, 1)


def upsample(c: Call) -> Value:
    """Scales are an attribute before opset 9, then an input."""
    given = c.optional(1)
    scales = c.constant(c.required(c.reals("scales"), "scales"), "float32") if given is None else given
    return resized(c, by_scales(c, scales, range(c[0].rank)), coordinates="asymmetric", nearest="floor")


def resize_10(c: Call) -> Value:
    return resized(c, by_scales(c, c[1], range(c[0].rank)), coordinates="asymmetric", nearest="floor")


def resize(c: Call) -> Value:
    """From opset 11 on: by scales or to sizes, of all axes or of some."""
    return resized(
        c,
        target(c),
        antialias=c.flag("antialias"),
        coordinates=chosen(c, "coordinate_transformation_mode", COORDINATES),
        nearest=chosen(c, "nearest_mode", NEAREST),
        cubic_a=c.real("cubic_coeff_a", -0.75),
        exclude_outside=c.flag("exclude_outside"),
    )


def target(c: Call) -> Target:
    x = c[0]
    axes = c.axes(c.integers("axes") or tuple(range(x.rank)), x.rank)
    by, to = filled(c.optional(2)), filled(c.optional(3))
    if (by is None) == (to is None):
        raise c.malformed("needs either scales or sizes")
    found = by_scales(c, by, axes) if by is not None else to_sizes(c, c.sizes(c[3], "sizes"), axes)
    if c.text("coordinate_transformation_mode", COORDINATES[0]) != "tf_crop_and_resize":
        return found
    roi = filled(c.optional(1))
    if roi is None or roi.shape != (2 * len(axes),):
        raise c.malformed(f"crops, but has no roi of {2 * len(axes)} numbers")
    halves = (c.slice(c.cast(roi, "float32"), 0, first, len(axes)) for first in (0, len(axes)))
    whole = (whole_vector(c, half, axes, x.rank, default) for half, default in zip(halves, (0.0, 1.0), strict=True))
    return Target(found.sizes, found.scales, found.computed, c.apply("concat", *whole, axis=0))


def filled(value: Value | None) -> Value | None:
    """An empty tensor stands for an input that is not there."""
    return None if value is None or value.shape == (0,) else value


def by_scales(c: Call, scales: Value, axes: Sequence[int]) -> Target:
    x = c[0]
    if scales.shape != (len(axes),):
        raise c.malformed(f"has scales {scales.type} for {len(axes)} axes")
    known = c.maybe_known(scales)
    if known is None:
        whole = whole_vector(c, c.cast(scales, "float32"), axes, x.rank, 1.0)
        return Target(scaled_sizes(c, x, whole), (None,) * x.rank, whole)
    listed = spread_values(axes, known.tolist(), (1.0,) * x.rank)
    if any(isinstance(s, (int, float)) and not 0 < s < 1e6 for s in listed):
        raise c.malformed(f"has scales out of range: {list(listed)}")
    plain = tuple(float(s) if isinstance(s, (int, float)) else None for s in listed)
    return Target(tuple(scaled_size(d, s) for d, s in zip(x.shape, listed, strict=True)), plain)


def scaled_size(size: Dim, scale: Any) -> Dim:
    """floor(size * scale), in float32 as ONNX has it; of a symbolic size, by the simplest fraction that it may be."""
    if isinstance(scale, (int, float)):
        if isinstance(size, int):
            return int(np.floor(np.float32(scale) * np.float32(size)))
        simple = Fraction(float(scale)).limit_denominator(1 << 12)
        fraction = simple if np.float32(float(simple)) == np.float32(scale) else Fraction(float(scale))
        return dims.floordiv(dims.product([size, fraction.numerator]), fraction.denominator)
    import sympy

    numerator, denominator = sympy.fraction(sympy.cancel(size * scale))
    return dims.floordiv(dims.as_dim(numerator), dims.as_dim(denominator))


def to_sizes(c: Call, sizes: Sequence[Dim], axes: Sequence[int]) -> Target:
    x, policy = c[0], c.text("keep_aspect_ratio_policy", "stretch")
    if len(sizes) != len(axes):
        raise c.malformed(f"has {len(sizes)} sizes for {len(axes)} axes")
    nothing: tuple[float | None, ...] = (None,) * x.rank
    if policy == "stretch":
        return Target(spread_values(axes, sizes, x.shape), nothing)
    if policy not in ("not_larger", "not_smaller"):
        raise c.malformed(f"has the unknown policy '{policy}'")
    old = [x.shape[axis] for axis in axes]
    fitted = spread_values(axes, [fitted_size(d, old, sizes, policy) for d in old], x.shape)
    if all(isinstance(d, int) for d in (*old, *sizes)):
        ratios = [int(new) / int(size) for new, size in zip(sizes, old, strict=True)]
        scale = min(ratios) if policy == "not_larger" else max(ratios)
        return Target(fitted, spread_values(axes, [scale] * len(axes), nothing))
    counts = (c.cast(c.sizes_value(values), "float32") for values in (sizes, old))
    ratio = c.reduce("min" if policy == "not_larger" else "max", c.apply("div", *counts), (0,))
    return Target(fitted, nothing, whole_vector(c, c.expand(ratio, (len(axes),)), axes, x.rank, 1.0))


def fitted_size(size: Dim, old: Sequence[Dim], new: Sequence[Dim], policy: str) -> Dim:
    """round(size * scale), where the scale is the least or the greatest of new / old."""
    choose = dims.minimum if policy == "not_larger" else dims.maximum
    found: Dim | None = None
    for before, after in zip(old, new, strict=True):
        numerator = dims.add(dims.product([2, size, after]), before)
        rounded = dims.floordiv(numerator, dims.product([2, before]))
        found = rounded if found is None else choose(found, rounded)
    assert found is not None
    return found


def chosen(c: Call, name: str, known: Sequence[str]) -> str:
    value = c.text(name, known[0])
    if value not in known:
        raise c.malformed(f"has the unknown {name} '{value}'")
    return value


def resized(c: Call, to: Target, *, nearest: str, antialias: bool = False, **how: Any) -> Value:
    """Integers are interpolated as floats, and cut off."""
    x, mode = c[0], c.text("mode", "nearest")
    if mode not in MODES:
        raise c.malformed(f"has the unknown mode '{mode}'")
    if mode == "nearest" and antialias:
        raise c.malformed("smooths before it shrinks (antialias), but takes the nearest element")
    how = {**how, "mode": mode, "extrapolation": c.real("extrapolation_value", 0.0)}
    wide = x if mode == "nearest" or x.dtype in FLOATS else c.cast(x, "float32")
    if mode != "nearest" and (antialias or to.computed is not None or to.roi is not None):
        return as_before(c, one_by_one(c, wide, to, antialias=antialias, **how), x.dtype)
    axes = tuple(axis for axis in range(x.rank) if to.changes(c, axis))
    operands = {name: v for name, v in (("scales", to.computed), ("roi", to.roi)) if v is not None}
    named = {"operands": tuple(operands), "axes": axes} if operands else {}
    result = c.apply(
        "resize", wide, *operands.values(), sizes=to.sizes, scales=to.scales, nearest=nearest, **named, **how
    )
    return as_before(c, result, x.dtype)


def one_by_one(c: Call, x: Value, to: Target, **how: Any) -> Value:
    """Interpolates one axis after the other."""
    for axis in range(x.rank):
        if not to.changes(c, axis):
            continue
        operands: dict[str, Value] = {}
        if to.computed is not None:
            operands["scale"] = c.reshape(c.slice(to.computed, 0, axis, 1), ())
        if to.roi is not None:
            ends = (c.slice(to.roi, 0, place, 1) for place in (axis, c[0].rank + axis))
            operands["roi"] = c.apply("concat", *ends, axis=0)
        x = c.apply(
            "resize_axis",
            x,
            *operands.values(),
            axis=axis,
            size=to.sizes[axis],
            scale=to.scales[axis],
            operands=tuple(operands),
            **how,
        )
    return x


def as_before(c: Call, x: Value, dtype: str) -> Value:
    """In element type `dtype`; what a small integer cannot hold becomes its least or greatest value."""
    if x.dtype != dtype and dtype in INTEGERS and not dtype.endswith(("32", "64")):
        limits = np.iinfo(dtype)
        x = c.apply("minimum", c.apply("maximum", x, float(limits.min)), float(limits.max))
    return c.cast(x, dtype)


TABLE = {"Resize": {10: resize_10, 11: resize}, "Upsample": upsample}
