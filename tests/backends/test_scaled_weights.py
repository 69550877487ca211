"""Quantized weights stay 8 bits wide in the compiled model, and give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import tilewright as tw
from tests.frontend.onnx_text import model

DEPTH, COLUMNS = 512, 300
TEXT = f"""(float[n, {DEPTH}] x) => (float[n, {COLUMNS}] y)
    {{ m = DequantizeLinear<axis = 1>(w, s, z) y = MatMul(x, m) }}"""


def quantized(zero: int, dtype: str) -> ModelProto:
    random = np.random.default_rng(0)
    limits = np.iinfo(dtype)
    proto = model(TEXT, 13)
    arrays = {
        "w": random.integers(limits.min, limits.max + 1, (DEPTH, COLUMNS)).astype(dtype),
        "s": random.uniform(0.001, 0.1, COLUMNS).astype(np.float32),
        "z": np.full(COLUMNS, zero, dtype),
    }
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return proto


@pytest.mark.parametrize(
    ("dtype", "zero", "narrow"), [("int8", 0, True), ("uint8", 128, True), ("int8", 3, False), ("uint8", 0, False)]
)
def test_weights(dtype: str, zero: int, narrow: bool) -> None:
    """Those that do not fit into 8 bits with a sign, once their zero is subtracted, become float32."""
    compiled = tw.compile(quantized(zero, dtype))
    assert compiled.check_report is not None
    assert compiled.check_report.passed
    (weights,) = compiled.weights.values()
    assert weights.dtype == (np.int8 if narrow else np.float32)
    assert "packed gemm" in str(compiled.report())
