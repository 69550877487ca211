"""onnxruntime's quantized operators against onnxruntime, at two sizes from one import."""

from __future__ import annotations

import numpy as np
import pytest

from tests.frontend.onnx_text import SIZES, inputs_for, model
from tilewright.frontend import read
from tilewright.ir.interpret import run

HALF = "float d = {0.5}, uint8 z = {1}, float o = {0.1}, uint8 v = {9}"
UNARY = [
    "QLinearSigmoid",
    "QLinearLeakyRelu <alpha = 0.3>",
    "QLinearSoftmax <axis = 2, opset = 13>",
    "QLinearSoftmax <axis = 1, opset = 12>",
    "QLinearGlobalAveragePool",
    "QLinearGlobalAveragePool <channels_last = 1>",
    "QLinearAveragePool <kernel_shape = [3, 2], pads = [1, 0, 1, 1], strides = [2, 1]>",
]
CASES = [
    *(f"(uint8[n, 3, h, w] x) => (uint8[] y) <{HALF}> {{ y = com.microsoft.{op}(x, d, z, o, v) }}" for op in UNARY),
    *(
        f"(uint8[n, s] x, uint8[s] e) => (uint8[] y) <{HALF}> {{ y = com.microsoft.{op}(x, d, z, e, o, v, o, v) }}"
        for op in ("QLinearAdd", "QLinearMul")
    ),
    (
        f"(uint8[n, s] x, uint8[n, 3] e) => (uint8[] y) <{HALF}> {{ y = com.microsoft.QLinearConcat <axis = 1>"
        " (o, v, x, d, z, e, o, v) }"
    ),
    (
        f"(bool[n, s] c, uint8[n, s] x, uint8[s] e) => (uint8[] y) <{HALF}> {{ y = com.microsoft.QLinearWhere"
        " (c, x, d, z, e, o, v, o, v) }"
    ),
    (
        "(float[n, s] x) => (int8[] q, float[] y) <float d = {0.05}, int8 z = {3}> { q = com.microsoft.QuantizeLinear"
        "(x, d, z) y = com.microsoft.DequantizeLinear(q, d, z) }"
    ),
    (
        "(uint8[n, 4] a, uint8[4, 3] b, float[3] c) => (float[] y) <float d = {0.5}, float[3] e = {0.1, 0.2, 0.3}, "
        "uint8 z = {1}, uint8[3] w = {1, 0, 2}> { y = com.microsoft.MatMulIntegerToFloat(a, b, d, e, z, w, c) }"
    ),
    (
        "(uint8[n, s, 4] a, int8[4, 3] b) => (float[] y) <float d = {0.5}, float e = {0.1}>"
        " { y = com.microsoft.MatMulIntegerToFloat(a, b, d, e) }"
    ),
    (
        "(float[n, s, 4] a, int8[4, 3] b, float[3] c) => (float[] y) <float e = {0.1}, int8 z = {1}>"
        " { y = com.microsoft.DynamicQuantizeMatMul(a, b, e, z, c) }"
    ),
    (
        "(float[n, 4] a, uint8[4, 3] b) => (float[] y) <float[3] e = {0.1, 0.2, 0.3}, uint8[3] w = {1, 0, 2}>"
        " { y = com.microsoft.DynamicQuantizeMatMul(a, b, e, w) }"
    ),
    (
        f"(uint8[n, 4] a, int8[3, 4] b) => (uint8[] y) <{HALF}, int8 u = {{2}}, int32[3] c = {{5, -6, 7}}>"
        " { y = com.microsoft.QGemm <transB = 1, alpha = 0.5> (a, d, z, b, d, u, c, o, v) }"
    ),
    (
        "(uint8[n, 4] a, int8[3, 4] b) => (float[] y) <float d = {0.5}, uint8 z = {1}, float[3] e = {0.1, 0.2, 0.3},"
        " int8[3] u = {2, 1, 0}> { y = com.microsoft.QGemm <transB = 1> (a, d, z, b, e, u) }"
    ),
    (
        "(uint8[4, n] a, int8[4, 3] b) => (float[] y) <float d = {0.5}, uint8 z = {1}, float[3] e = {0.1, 0.2, 0.3},"
        " int8[3] u = {2, 1, 0}> { y = com.microsoft.QGemm <transA = 1> (a, d, z, b, e, u) }"
    ),
]


@pytest.mark.parametrize("text", CASES, ids=lambda text: text[text.index("{ y") if "{ y" in text else 0 :])
def test_agrees_with_onnxruntime(text: str) -> None:
    imported = read(model(text, 17, domains={"com.microsoft": 1}))
    for sizes in SIZES:
        inputs = inputs_for(imported.graph, sizes)
        for ours, theirs in zip(run(imported.graph, inputs), imported.original(inputs), strict=True):
            assert ours.dtype == theirs.dtype
            # Half a step of the quantized result may be rounded either way.
            step = 1 if ours.dtype.kind in "iu" else 1e-5
            np.testing.assert_allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=1e-5, atol=step)


def test_mean_of_quantized() -> None:
    """onnxruntime declares QLinearReduceMean and has no kernel for it."""
    body = "y = com.microsoft.QLinearReduceMean <axes = [1, -1], keepdims = 0> (x, d, z, o, v)"
    text = f"(uint8[n, 3, h, w] x) => (uint8[] y) <{HALF}> {{ {body} }}"
    graph = read(model(text, 13, domains={"com.microsoft": 1})).graph
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5)).astype(np.uint8)
    mean = (0.5 * (x.astype(np.float64) - 1)).mean((1, 3))
    expected = np.clip(np.rint(mean / 0.1) + 9, 0, 255)
    np.testing.assert_allclose(run(graph, {"x": x})[0], expected, atol=1)
