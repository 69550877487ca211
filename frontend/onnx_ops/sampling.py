"""Operators that read images between their places: grids, regions, deformed windows."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value
from tilewright.ir.types import FLOATS

_GRID_MODES = {"bilinear": "linear", "bicubic": "cubic", "linear": "linear", "cubic": "cubic", "nearest": "nearest"}


def grid_sample(c: Call) -> Value:
    """Version 16 calls the modes bilinear and bicubic. What is no float is sampled as one, unless nearest."""
    mode = c.text("mode", "linear")
    if mode not in _GRID_MODES:
        raise c.malformed(f"has the unknown mode '{mode}'")
    x = c[0]
    if x.dtype == "bool":
        wide = c.cast(x, "uint8")
    else:
        wide = x if mode == "nearest" or x.dtype in FLOATS else c.cast(x, "float32")
    sampled = c.apply(
        "grid_sample",
        wide,
        c[1],
        mode=_GRID_MODES[mode],
        padding=c.text("padding_mode", "zeros"),
        align_corners=c.flag("align_corners"),
    )
    return c.cast(sampled, x.dtype)


def roi_align_10(c: Call) -> Value:
    """Before opset 16 the corners of regions were those of pixels."""
    return aligned(c, half_pixel=False)


def roi_align(c: Call) -> Value:
    mode = c.text("coordinate_transformation_mode", "half_pixel")
    if mode not in ("half_pixel", "output_half_pixel"):
        raise c.malformed(f"has the unknown coordinate_transformation_mode '{mode}'")
    return aligned(c, half_pixel=mode == "half_pixel")


def aligned(c: Call, *, half_pixel: bool) -> Value:
    return c.apply(
        "roi_align",
        c[0],
        c[1],
        c[2],
        size=(c.integer("output_height", 1), c.integer("output_width", 1)),
        scale=c.real("spatial_scale", 1.0),
        samples=c.integer("sampling_ratio", 0),
        half_pixel=half_pixel,
        kind=c.text("mode", "avg"),
    )


def max_roi_pool(c: Call) -> Value:
    size = c.required(c.integers("pooled_shape"), "pooled_shape")
    return c.apply("max_roi_pool", c[0], c[1], size=size, scale=c.real("spatial_scale", 1.0))


TABLE = {
    "GridSample": grid_sample,
    "MaxRoiPool": max_roi_pool,
    "RoiAlign": {10: roi_align_10, 16: roi_align},
}
