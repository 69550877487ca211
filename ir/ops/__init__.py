"""The table of operators: each is declared once, in a row of its family's module."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from tilewright.ir.errors import UnsupportedError
from tilewright.ir.op import Op, table
from tilewright.ir.ops import (
    attention,
    binary,
    bits,
    contraction,
    control,
    deform_patches,
    detection,
    gather,
    grid_sample,
    linear_algebra,
    linear_attention,
    max_roi_pool,
    movement,
    ngrams,
    normalization,
    onnx_node,
    pool_places,
    pooling,
    quantization,
    quantized_recurrent,
    random,
    recurrent,
    reduction,
    region,
    resize,
    resize_axis,
    roi_align,
    scan,
    selection,
    source,
    trees,
    unary,
)

FAMILIES = (
    unary,
    binary,
    bits,
    reduction,
    normalization,
    recurrent,
    quantized_recurrent,
    scan,
    selection,
    trees,
    ngrams,
    contraction,
    deform_patches,
    attention,
    linear_attention,
    pooling,
    pool_places,
    movement,
    gather,
    grid_sample,
    resize,
    resize_axis,
    roi_align,
    max_roi_pool,
    linear_algebra,
    detection,
    quantization,
    random,
    source,
    region,
    control,
    onnx_node,
)

TABLE: Mapping[str, Op] = MappingProxyType(table(*(row for family in FAMILIES for row in family.ROWS)))


def lookup(name: str) -> Op:
    """The row called `name`. Raises UnsupportedError, with the closest names, when there is none."""
    if name in TABLE:
        return TABLE[name]
    close = difflib.get_close_matches(name, TABLE)
    hint = f"Did you mean {' or '.join(close)}?" if close else "tilewright.ir.ops.TABLE lists all operators."
    raise UnsupportedError(f"there is no operator {name}", hint=hint)
