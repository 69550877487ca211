"""Resize and its predecessor Upsample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir import dims
from tilewright.ir.dims import Dim
from tilewright.ir.graph import Value

_COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
_NEAREST = ("round_prefer_floor", "floor", "ceil", "round_prefer_ceil")


def upsample(c: Call) -> Value:
    """Scales are an attribute before opset 9, then an input."""
    given = c.optional(1)
    scales = c.required(c.reals("scales"), "scales") if given is None else numbers(c, given)
    return resized(c, sizes_by(c, scales), scales, coordinates="asymmetric", nearest="floor")


def resize_10(c: Call) -> Value:
    scales = numbers(c, c[1])
    return resized(c, sizes_by(c, scales), scales, coordinates="asymmetric", nearest="floor")


def resize(c: Call) -> Value:
    """From opset 11 on: by scales or to sizes, of all axes or of some."""
    if c.flag("antialias"):
        raise c.unsupported("smooths before it shrinks (antialias), which is not supported yet")
    sizes, scales = targets(c)
    return resized(
        c,
        sizes,
        scales,
        coordinates=chosen(c, "coordinate_transformation_mode", _COORDINATES),
        nearest=chosen(c, "nearest_mode", _NEAREST),
        cubic_a=c.real("cubic_coeff_a", -0.75),
        exclude_outside=c.flag("exclude_outside"),
    )


def targets(c: Call) -> tuple[tuple[Dim, ...], tuple[float | None, ...]]:
    """The whole result shape, and the scales as given (None where a size was)."""
    x = c[0]
    axes = c.axes(c.integers("axes") or tuple(range(x.rank)), x.rank)
    by, to = filled(c.optional(2)), filled(c.optional(3))
    if (by is None) == (to is None):
        raise c.malformed("needs either scales or sizes")
    if to is not None:
        whole = spread(c, axes, fitted(c, axes, c.sizes(to, "sizes")), x.shape)
        return whole, (None,) * x.rank
    assert by is not None
    scales = spread(c, axes, numbers(c, by), (1.0,) * x.rank)
    return sizes_by(c, scales), scales


def filled(value: Value | None) -> Value | None:
    """An empty tensor stands for an input that is not there."""
    return None if value is None or value.shape == (0,) else value


def spread(c: Call, axes: Sequence[int], values: Sequence[Any], default: Sequence[Any]) -> tuple[Any, ...]:
    """Values of some axes, in place among the defaults of all."""
    if len(values) != len(axes):
        raise c.malformed(f"has {len(values)} scales or sizes for {len(axes)} axes")
    given = dict(zip(axes, values, strict=True))
    return tuple(given.get(i, d) for i, d in enumerate(default))


def fitted(c: Call, axes: Sequence[int], sizes: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Sizes that keep the aspect ratio, where that is asked for."""
    policy = c.text("keep_aspect_ratio_policy", "stretch")
    if policy == "stretch":
        return sizes
    if policy not in ("not_larger", "not_smaller"):
        raise c.malformed(f"has the unknown policy '{policy}'")
    old = [c.static(c[0].shape[axis], "a size") for axis in axes]
    ratios = [c.static(new, "a size") / size for new, size in zip(sizes, old, strict=True)]
    scale = min(ratios) if policy == "not_larger" else max(ratios)
    return tuple(int(scale * size + 0.5) for size in old)


def numbers(c: Call, value: Value) -> tuple[Any, ...]:
    """Scales: numbers, or expressions where they are computed from symbolic sizes."""
    return tuple(c.known(value, "scales").reshape(-1).tolist())


def sizes_by(c: Call, scales: Sequence[Any]) -> tuple[Dim, ...]:
    if len(scales) != c[0].rank:
        raise c.malformed(f"has {len(scales)} scales for {c[0].rank} axes")
    if any(isinstance(s, (int, float)) and not 0 < s < 1e6 for s in scales):
        raise c.malformed(f"has scales out of range: {list(scales)}")
    return tuple(scaled_size(d, s) for d, s in zip(c[0].shape, scales, strict=True))


def scaled_size(size: Dim, scale: Any) -> Dim:
    """floor(size * scale), the scale taken as the fraction that its float is."""
    if isinstance(scale, (int, float)):
        numerator, denominator = float(scale).as_integer_ratio()
        return dims.floordiv(dims.product([size, numerator]), denominator)
    import sympy

    numerator, denominator = sympy.fraction(sympy.cancel(size * scale))
    return dims.floordiv(dims.as_dim(numerator), dims.as_dim(denominator))


def chosen(c: Call, name: str, known: Sequence[str]) -> str:
    value = c.text(name, known[0])
    if value not in known:
        raise c.unsupported(f"has the {name} '{value}', which is not supported")
    return value


def resized(c: Call, sizes: tuple[Dim, ...], scales: Sequence[Any], **attrs: Any) -> Value:
    mode = c.text("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise c.unsupported(f"has the mode '{mode}', which is not supported")
    plain = tuple(float(s) if isinstance(s, (int, float)) else None for s in scales)
    return c.apply("resize", c[0], sizes=sizes, scales=plain, mode=mode, **attrs)


TABLE = {"Resize": {10: resize_10, 11: resize}, "Upsample": upsample}
