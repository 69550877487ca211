"""QAttention of com.microsoft, compiled, beside onnxruntime at two sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

import tilewright as tw
from tilewright.frontend import read

DEPTH, HEADS = 16, 2
WIDTH = DEPTH // HEADS
CASES = [
    pytest.param(np.uint8, False, False, 0, id="plain"),
    pytest.param(np.int8, True, False, 0, id="masked"),
    pytest.param(np.uint8, True, False, 1, id="masked and causal"),
    pytest.param(np.uint8, False, True, 1, id="with a cache"),
]


def constants(weights: Any) -> list[TensorProto]:
    random = np.random.default_rng(0)
    signed = weights is np.int8
    kind = TensorProto.INT8 if signed else TensorProto.UINT8
    numbers = random.integers(-63 if signed else 0, 64 if signed else 127, (DEPTH, 3 * DEPTH)).astype(weights)
    return [
        helper.make_tensor("w", kind, numbers.shape, numbers.tobytes(), raw=True),
        helper.make_tensor("b", TensorProto.FLOAT, [3 * DEPTH], random.standard_normal(3 * DEPTH)),
        helper.make_tensor("xs", TensorProto.FLOAT, [], [0.02]),
        helper.make_tensor("ws", TensorProto.FLOAT, [], [0.01]),
        helper.make_tensor("xz", TensorProto.UINT8, [], [120]),
        helper.make_tensor("wz", kind, [], [0 if signed else 60]),
    ]


def quantized_attention(weights: Any, masked: bool, cached: bool, causal: int) -> ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", "s", DEPTH])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    if masked:
        inputs.append(helper.make_tensor_value_info("m", TensorProto.INT32, ["n", "s"]))
    if cached:
        inputs.append(helper.make_tensor_value_info("p", TensorProto.FLOAT, [2, "n", HEADS, "q", WIDTH]))
        outputs.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    names = ["x", "w", "b", "xs", "ws", "m" if masked else "", "xz", "wz", *["p"] * cached]
    node = helper.make_node(
        "QAttention", names, [o.name for o in outputs], domain="com.microsoft", num_heads=HEADS, unidirectional=causal
    )
    graph = helper.make_graph([node], "test", inputs, outputs, constants(weights))
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


@pytest.mark.parametrize(("weights", "masked", "cached", "causal"), CASES)
def test_agrees_with_onnxruntime(weights: Any, masked: bool, cached: bool, causal: int) -> None:
    proto = quantized_attention(weights, masked, cached, causal)
    compiled, original = tw.compile(proto, check=False, strict=True), read(proto).original
    random = np.random.default_rng(1)
    for batch, length in ((1, 5), (2, 8)):
        feed = {"x": random.integers(0, 128, (batch, length, DEPTH)).astype(np.uint8)}
        if masked:
            feed["m"] = np.ones((batch, length), np.int32)
            feed["m"][:, -1] = 0
        if cached:
            feed["p"] = random.standard_normal((2, batch, HEADS, 3, WIDTH), np.float32)
        for ours, theirs in zip(compiled.run(feed).values(), original(feed), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
