"""Each operator, in the opsets where its form changed, against onnxruntime at two sizes from one import."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.frontend.onnx_text import SIZES, inputs_for, model, name_of, written
from tilewright.frontend import read
from tilewright.ir.interpret import run

UNARY = {
    13: "Abs Ceil Erf Exp Floor Neg Reciprocal Sigmoid Sign Tanh Relu Elu Selu LeakyRelu Softplus Softsign HardSigmoid "
    "Sin Cos Tan Atan Sinh Cosh Asinh Round Identity ThresholdedRelu Celu Shrink Dropout",
    20: "Gelu HardSwish Mish",
}
BINARY = "Add Sub Mul Div Max Min Mean Sum PRelu"
COMPARE = "Equal Less Greater LessOrEqual GreaterOrEqual"
REDUCE = "L1 L2 LogSumExp Max Mean Min Prod Sum SumSquare"

SIMPLE = [
    *((f"(float[n, s] x) => (float[] y) {{ y = {op}(x) }}", v) for v, ops in UNARY.items() for op in ops.split()),
    *((f"(float[n, s] x, float[s] z) => (float[] y) {{ y = {op}(x, z) }}", 13) for op in BINARY.split()),
    *((f"(int64[n, s] x, int64[s] z) => (bool[] y) {{ y = {op}(x, z) }}", 16) for op in COMPARE.split()),
    *((f"(bool[n, s] x, bool[s] z) => (bool[] y) {{ y = {op}(x, z) }}", 13) for op in ("And", "Or", "Xor")),
    *((f"(float[n, s, 3] x) => (float[] y) {{ y = Reduce{op} <axes = [-1, 0]> (x) }}", 11) for op in REDUCE.split()),
    *((f"(float[n, s, 3] x) => (float[] y) {{ y = Reduce{op} <keepdims = 0> (x) }}", 13) for op in REDUCE.split()),
    *((f"(float[n, s, 3] x) => (int64[] y) {{ y = {op} <axis = -2> (x) }}", 13) for op in ("ArgMax", "ArgMin")),
    *((f"(float[n, s, 3] x) => (float[] y) {{ y = {op}(x) }}", 11) for op in ("Softmax", "LogSoftmax", "Hardmax")),
    *((f"(float[n, s, 3] x) => (float[] y) {{ y = {op}(x) }}", 13) for op in ("Softmax", "LogSoftmax", "Hardmax")),
]


CASES = [*SIMPLE, *written(Path(__file__).parent / "onnx_ops.txt")]


@pytest.mark.parametrize(("text", "opset"), CASES, ids=map(name_of, CASES))
def test_agrees_with_onnxruntime(text: str, opset: int) -> None:
    imported = read(model(text, opset))
    for sizes in SIZES:
        inputs = inputs_for(imported.graph, sizes)
        for ours, theirs in zip(run(imported.graph, inputs), imported.original(inputs), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
