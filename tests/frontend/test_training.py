"""What training needs, against ONNX's reference: onnxruntime has none of it for inference."""

from __future__ import annotations

import numpy as np
import onnx.reference
import pytest

from tests.frontend.onnx_text import inputs_for, model
from tilewright.frontend import read
from tilewright.ir.interpret import run

DOMAIN = "ai.onnx.preview.training"
PAIR = "float r, int64 t, float[n, s] a, float[s] b, float[n, s] ga, float[s] gb"
CASES = {
    "Adagrad": (
        f"({PAIR}, float[n, s] ha, float[s] hb) => (float[] xa, float[] xb, float[] ya, float[] yb) "
        f"{{ xa, xb, ya, yb = {DOMAIN}.Adagrad "
        "<decay_factor = 0.1, epsilon = 0.5, norm_coefficient = 0.2> (r, t, a, b, ga, gb, ha, hb) }"
    ),
    "Adam": (
        f"({PAIR}, float[n, s] va, float[s] vb, float[n, s] ha, float[s] hb) => "
        "(float[] xa, float[] xb, float[] ya, float[] yb, float[] za, float[] zb) { xa, xb, ya, yb, za, zb = "
        f"{DOMAIN}.Adam <norm_coefficient_post = 0.1, epsilon = 0.5> (r, t, a, b, ga, gb, va, vb, ha, hb) }}"
    ),
    "Momentum": (
        f"({PAIR}, float[n, s] va, float[s] vb) => (float[] xa, float[] xb, float[] ya, float[] yb) "
        f'{{ xa, xb, ya, yb = {DOMAIN}.Momentum <alpha = 0.9, beta = 0.4, mode = "nesterov", norm_coefficient = 0.1> '
        "(r, t, a, b, ga, gb, va, vb) }"
    ),
    "BatchNormalization": (
        "(float[n, 3, s] x, float[3] g, float[3] b, float[3] m, float[3] v) => (float[] y, float[] p, float[] q) "
        "{ y, p, q = BatchNormalization <training_mode = 1, momentum = 0.7> (x, g, b, m, v) }"
    ),
}


@pytest.mark.parametrize("taken", [0, 3])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_reference(name: str, taken: int) -> None:
    proto = model(CASES[name], 15, domains={DOMAIN: 1})
    graph = read(proto).graph
    inputs = inputs_for(graph, {"n": 2, "s": 5})
    for squared in inputs.keys() & {"ha", "hb", "v"}:
        inputs[squared] = np.abs(inputs[squared])
    if "t" in inputs:
        inputs["t"] = np.array(taken)
    wanted = onnx.reference.ReferenceEvaluator(proto).run(None, inputs)
    for ours, theirs in zip(run(graph, inputs), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
