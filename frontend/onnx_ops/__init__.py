"""How each ONNX operator is written in the IR: one table a family, merged here.

An operator of another domain than ONNX's own has the domain before its name: `com.microsoft.FusedMatMul`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tilewright.frontend.onnx_ops import (
    activation,
    attention,
    control,
    detection,
    elementwise,
    fourier,
    group_query,
    indexing,
    loss,
    microsoft_activation,
    microsoft_attention,
    microsoft_normalization,
    microsoft_quantization,
    ml_features,
    ml_kernels,
    ml_linear,
    ml_trees,
    ngrams,
    normalization,
    packed_weights,
    product,
    quantization,
    quantized_attention,
    quantized_recurrent,
    random,
    recurrence,
    recurrent,
    reduction,
    resizing,
    rotary,
    sampling,
    selection,
    shape,
    slicing,
    source,
    spectral,
    training,
    unpooling,
    window,
)
from tilewright.frontend.onnx_ops.call import Call
from tilewright.ir.graph import Value

Converter: TypeAlias = Callable[[Call], Value | Sequence[Value]]

FAMILIES = (
    activation,
    control,
    attention,
    detection,
    elementwise,
    fourier,
    group_query,
    indexing,
    microsoft_activation,
    microsoft_attention,
    microsoft_normalization,
    microsoft_quantization,
    loss,
    ml_features,
    ml_kernels,
    ml_linear,
    ml_trees,
    ngrams,
    normalization,
    packed_weights,
    product,
    quantization,
    quantized_attention,
    quantized_recurrent,
    recurrence,
    random,
    recurrent,
    reduction,
    resizing,
    rotary,
    selection,
    sampling,
    shape,
    slicing,
    source,
    spectral,
    unpooling,
    training,
    window,
)
TABLE: Mapping[str, Converter | Mapping[int, Converter]] = {
    name: row for family in FAMILIES for name, row in family.TABLE.items()
}


def converter(op_type: str, version: int) -> Converter | None:
    """What converts `op_type` of version `version` of its domain, or None where nothing does.

    A row with several versions maps the opset from which each holds.
    """
    row = TABLE.get(op_type)
    if row is None or callable(row):
        return row
    since = [v for v in row if v <= version]
    return row[max(since)] if since else None
