"""Operators that read images between their places: grids, regions, deformed windows."""

from __future__ import annotations

from tilewright.frontend.onnx_ops.call import Call
from tilewright.frontend.onnx_ops.window import windows
from tilewright.ir import dims
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


def deform_conv(c: Call) -> Value:
    """Windows with moved taps, and a matrix product with the weights of each group."""
    x, w, bias, mask = c[0], c[1], c.optional(3), c.optional(4)
    window, groups = windows(c, x, w.shape[2:]), c.integer("group", 1)
    columns = c.apply(
        "deform_patches",
        x,
        c[2],
        *(() if mask is None else (mask,)),
        kernel=window.kernel,
        strides=window.strides,
        pads=window.pads,
        dilations=window.dilations,
        offset_groups=c.integer("offset_group", 1),
    )
    if groups < 1:
        raise c.malformed(f"has {groups} groups")
    outputs, depth = w.shape[0], dims.product(w.shape[1:])
    kernel = c.reshape(w, (groups, dims.floordiv(outputs, groups), depth))
    result = c.apply("matmul", kernel, c.reshape(columns, (x.shape[0], groups, depth, columns.shape[2])))
    result = c.reshape(result, (x.shape[0], outputs, *c[2].shape[2:]))
    return result if bias is None else c.apply("add", result, c.reshape(bias, (outputs, *[1] * (x.rank - 2))))


TABLE = {
    "DeformConv": deform_conv,
    "GridSample": grid_sample,
    "MaxRoiPool": max_roi_pool,
    "RoiAlign": {10: roi_align_10, 16: roi_align},
}
