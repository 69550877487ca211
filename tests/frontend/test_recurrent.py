"""LSTM, GRU and RNN against onnxruntime, for many attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import tilewright as tw
from tilewright.frontend import read
from tilewright.ir.errors import ImportModelError
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUT, HIDDEN = 3, 6
ALL = "B sequence_lens initial_h initial_c P"
OPTIONAL = ("B", "sequence_lens", "initial_h", "initial_c", "P")
MORE = [
    "Relu", "Tanh", "Sigmoid", "Affine", "LeakyRelu", "ThresholdedRelu", "ScaledTanh", "HardSigmoid", "Elu", "Softsign",
    "Softplus",
]  # fmt: skip
NO_DEFAULT = ("Affine", "ScaledTanh", "ThresholdedRelu")  # or not the one that onnxruntime takes
ALPHA = {"Affine": 0.5, "LeakyRelu": 0.3, "ThresholdedRelu": 0.2, "ScaledTanh": 0.7, "HardSigmoid": 0.3, "Elu": 0.6}
BETA = {"Affine": 0.1, "ScaledTanh": 0.8, "HardSigmoid": 0.4}

CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("LSTM", "", {}),
    ("LSTM", ALL, {}),
    ("LSTM", ALL, {"direction": "reverse"}),
    ("LSTM", ALL, {"direction": "bidirectional"}),
    ("LSTM", "B P", {"input_forget": 1}),
    ("LSTM", "B", {"clip": 0.3}),
    ("LSTM", "B P initial_c", {"clip": 0.2, "direction": "bidirectional"}),
    ("LSTM", "B initial_h", {"activations": ["HardSigmoid", "Softsign", "Relu"], "activation_alpha": [0.3]}),
    ("GRU", "", {}),
    ("GRU", "B sequence_lens initial_h", {"direction": "bidirectional"}),
    ("GRU", "B sequence_lens initial_h", {"direction": "reverse", "linear_before_reset": 1}),
    ("GRU", "initial_h", {"linear_before_reset": 1}),
    ("GRU", "B", {"clip": 0.3}),
    ("GRU", "B", {"clip": 0.3, "linear_before_reset": 1, "direction": "bidirectional"}),
    ("RNN", "", {}),
    ("RNN", "B sequence_lens initial_h", {"direction": "bidirectional"}),
    ("RNN", "B", {"clip": 0.3, "direction": "reverse"}),
    *(("RNN", "B", {"activations": [name]}) for name in MORE if name not in NO_DEFAULT),
    *(
        ("RNN", "B", {
            "activations": [name, other],
            "direction": "bidirectional",
            "activation_alpha": [ALPHA[n] for n in (name, other) if n in ALPHA],
            "activation_beta": [BETA[n] for n in (name, other) if n in BETA],
        })
        for name, other in zip(MORE, MORE[3:] + MORE[:3], strict=True)
    ),
    ("GRU", "B", {"activations": ["HardSigmoid", "ScaledTanh"], "activation_alpha": [0.3, 0.7],
                  "activation_beta": [0.4, 0.8]}),
    ("GRU", "B", {"activations": ["Sigmoid", "LeakyRelu"], "activation_alpha": [0.2]}),
]  # fmt: skip


def recurrent(
    op: str,
    optional: str,
    attributes: dict[str, Any],
    *,
    opset: int = 17,
    dtype: type = np.float32,
    batch_first: int = 0,
    hidden: int = HIDDEN,
) -> ModelProto:
    """A model with symbolic steps and batch; what is in `optional` is given."""
    random = np.random.default_rng(1)
    d, g = 2 if attributes.get("direction") == "bidirectional" else 1, GATES[op]
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    shapes = {
        "W": (d, g * hidden, INPUT),
        "R": (d, g * hidden, hidden),
        "B": (d, 2 * g * hidden),
        "P": (d, 3 * hidden),
    }
    weights = [
        numpy_helper.from_array(random.normal(size=shape, scale=0.5).astype(dtype), name)
        for name, shape in shapes.items()
        if name in f"W R {optional}".split()
    ]
    state = ["b", d, hidden] if batch_first else [d, "b", hidden]
    inputs = [helper.make_tensor_value_info("X", code, ["b", "s", INPUT] if batch_first else ["s", "b", INPUT])]
    for name in optional.split():
        if name.startswith("initial"):
            inputs.append(helper.make_tensor_value_info(name, code, state))
        elif name == "sequence_lens":
            inputs.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["b"]))
    names = [
        "X",
        "W",
        "R",
        *(name if name in optional.split() else "" for name in OPTIONAL[: 5 if op == "LSTM" else 3]),
    ]
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    given = {name: value for name, value in attributes.items() if value != []}
    node = helper.make_node(op, names, outputs, hidden_size=hidden, **given)
    infos = [helper.make_tensor_value_info(name, code, None) for name in outputs]
    graph = helper.make_graph([node], "recurrent", inputs, infos, weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def drawn(model: ModelProto, steps: int, batch: int) -> dict[str, Array]:
    random = np.random.default_rng(steps)
    arrays: dict[str, Array] = {}
    for info in model.graph.input:
        named = {"s": steps, "b": batch}
        shape = [named[x.dim_param] if x.dim_param else x.dim_value for x in info.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        if info.name == "sequence_lens":
            arrays[info.name] = random.integers(1, steps + 1, shape).astype(dtype)
        else:
            arrays[info.name] = random.normal(size=shape).astype(dtype)
    return arrays


@pytest.mark.parametrize(("op", "optional", "attributes"), CASES, ids=str)
def test_agrees_with_onnxruntime(op: str, optional: str, attributes: dict[str, Any]) -> None:
    model = recurrent(op, optional, attributes)
    imported = read(model)
    for steps, batch in ((5, 3), (1, 1)):
        arrays = drawn(model, steps, batch)
        for ours, theirs in zip(run(imported.graph, arrays), imported.original(arrays), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


COMPILED = [
    ("LSTM", ALL, {"direction": "bidirectional"}),
    ("GRU", "B sequence_lens initial_h", {"direction": "bidirectional", "linear_before_reset": 1}),
    ("RNN", "B", {"direction": "reverse", "activations": ["Softplus"]}),
]


@pytest.mark.parametrize(("op", "optional", "attributes"), COMPILED, ids=str)
def test_compiled_agrees_with_onnxruntime(op: str, optional: str, attributes: dict[str, Any]) -> None:
    model = recurrent(op, optional, attributes)
    inputs = [drawn(model, steps, batch) for steps, batch in ((7, 5), (1, 1), (20, 2))]
    compiled = tw.compile(model, strict=True, inputs=inputs)
    assert "recurrent" in {row.origin for row in compiled.report().rows}


@pytest.mark.parametrize("opset", [7, 14, 22])
@pytest.mark.parametrize("op", GATES)
def test_every_opset(op: str, opset: int) -> None:
    model = recurrent(op, "B", {}, opset=opset)
    arrays = drawn(model, 4, 2)
    imported = read(model)
    np.testing.assert_allclose(run(imported.graph, arrays)[0], imported.original(arrays)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", GATES)
def test_batch_first_swaps_the_axes(op: str) -> None:
    optional = "B initial_h"
    first, second = recurrent(op, optional, {"layout": 1}, batch_first=1), recurrent(op, optional, {})
    arrays = drawn(second, 4, 3)
    swapped = {name: np.swapaxes(array, 0, 1) for name, array in arrays.items()}
    every, *last = run(read(first).graph, swapped)
    wanted, *wanted_last = run(read(second).graph, arrays)
    np.testing.assert_array_equal(every, wanted.transpose(2, 0, 1, 3))
    for ours, theirs in zip(last, wanted_last, strict=True):
        np.testing.assert_array_equal(ours, theirs.transpose(1, 0, 2))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-6), (np.float16, 5e-3)])
def test_other_floats(dtype: type, tolerance: float) -> None:
    """onnxruntime has none but float32: the same layer in float32 is the measure."""
    model, single = (recurrent("LSTM", "B initial_h", {}, dtype=d) for d in (dtype, np.float32))
    arrays = drawn(model, 5, 2)
    found = run(read(model).graph, arrays)
    wanted = read(single).original({name: array.astype(np.float32) for name, array in arrays.items()})
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours.astype(np.float64), theirs, atol=tolerance)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"direction": "sideways"}, "direction"),
        ({"activations": ["Tanh", "Cosine", "Tanh"]}, "Cosine"),
        ({"activations": ["Tanh"]}, "1 activations instead of 3"),
    ],
)
def test_what_makes_no_sense_is_refused(attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(ImportModelError, match=message):
        read(recurrent("LSTM", "B", attributes))
