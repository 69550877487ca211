"""DynamicQuantizeLSTM gives what onnxruntime gives, bit for bit: a last bit decides how a state is rounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, helper, numpy_helper

import tilewright as tw
from tests.frontend.test_recurrent import drawn, recurrent
from tilewright.backends import parse_target
from tilewright.frontend import read
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

pytestmark = pytest.mark.skipif(
    not parse_target("llvm -mcpu=native").has("fma"), reason="onnxruntime's last bits are others without multiply-adds"
)
CASES: list[tuple[str, dict[str, Any], type, bool]] = [
    ("B", {"direction": "bidirectional"}, np.uint8, False),
    ("B initial_h initial_c P", {}, np.int8, False),
    ("B initial_h", {"direction": "reverse"}, np.int8, True),
    ("initial_c", {"input_forget": 1}, np.int8, False),
    ("B P initial_h", {"clip": 0.4}, np.uint8, True),
]


def quantized(
    optional: str, attributes: dict[str, Any], dtype: type = np.int8, *, per_column: bool = False, hidden: int = 6
) -> ModelProto:
    """The LSTM of `recurrent` with weights of 8 bits."""
    model = recurrent("LSTM", optional, attributes, hidden=hidden)
    graph, node = model.graph, model.graph.node[0]
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    names = [*node.input, *[""] * (8 - len(node.input))]
    for name in ("W", "R"):
        weights = tensors.pop(name).transpose(0, 2, 1)
        scale = np.abs(weights).max(axis=1 if per_column else (1, 2)) / 127
        zero = np.full(scale.shape, 128 if dtype is np.uint8 else 0, dtype)
        wide = scale[:, None, :] if per_column else scale[:, None, None]
        tensors[name] = (np.rint(weights / wide) + int(zero.flat[0])).astype(dtype)
        tensors |= {f"{name}_scale": scale.astype(np.float32), f"{name}_zero": zero}
        names += [f"{name}_scale", f"{name}_zero"]
    made = helper.make_node("DynamicQuantizeLSTM", names, list(node.output), domain="com.microsoft")
    made.attribute.extend(node.attribute)
    weights = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    whole = helper.make_graph([made], "quantized", list(graph.input), list(graph.output), weights)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(whole, ir_version=8, opset_imports=domains)


def original(model: ModelProto, arrays: dict[str, Array]) -> Sequence[Array]:
    """With a thread for each sequence, onnxruntime has our scales."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 4
    options.add_session_config_entry("session.x64quantprecision", "1")
    results: Sequence[Array] = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, arrays)
    return results


def assert_equal(model: ModelProto, arrays: dict[str, Array]) -> Sequence[Array]:
    """Interpreted and compiled, the model gives what the original gives."""
    wanted = original(model, arrays)
    compiled = tw.compile(model, strict=True, check=False)
    assert "recurrent" in {row.origin for row in compiled.report().rows}
    for found in (run(read(model).graph, arrays), compiled.run(arrays).values()):
        for ours, theirs in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    return wanted


@pytest.mark.parametrize(("optional", "attributes", "dtype", "per_column"), CASES, ids=str)
@pytest.mark.parametrize(("steps", "batch"), [(9, 3), (4, 1)])
def test_every_bit(
    optional: str, attributes: dict[str, Any], dtype: type, per_column: bool, steps: int, batch: int
) -> None:
    model = quantized(optional, attributes, dtype, per_column=per_column)
    assert_equal(model, drawn(model, steps, batch))


@pytest.mark.parametrize(("hidden", "dtype"), [(37, np.int8), (256, np.uint8), (520, np.int8)])
def test_states_that_almost_lie_between_two_steps(hidden: int, dtype: type) -> None:
    """Of that many, one is within a few last bits of a tie. The sums of 520 products may be more than float32 holds."""
    model = quantized("B", {}, dtype, hidden=hidden)
    states = assert_equal(model, drawn(model, 100_000 // hidden**2 + 30, 1))[0][:-1, 0, 0]
    widths = states.max(axis=1, initial=0) - states.min(axis=1, initial=0)
    places = states / (widths / np.float32(255))[:, None]
    assert np.abs(np.abs(places - np.rint(places)) - 0.5).min() < 1e-3


@pytest.mark.parametrize("hidden", [24, 37, 256])
def test_weights_of_which_few_are_large(hidden: int) -> None:
    """Products are summed in fours, and a few are multiplied twice."""
    model = quantized("B initial_h", {"direction": "bidirectional"}, hidden=hidden)
    weights = next(t for t in model.graph.initializer if t.name == "R")
    array = numpy_helper.to_array(weights) // 2
    array[:, 4, 1], array[:, 5, 1] = 127, -128  # of whose products onnxruntime's 16-bit sums do not saturate
    weights.CopyFrom(numpy_helper.from_array(array, "R"))
    assert_equal(model, drawn(model, 30, 3))


def test_states_between_two_steps_go_to_the_even_one() -> None:
    model = quantized("B initial_h", {})
    arrays = drawn(model, 3, 1)
    arrays["initial_h"] = np.array([[[255, 0.5, 1.5, 2.5, 100.5, 253.5]]], np.float32) / 256
    assert_equal(model, arrays)
    arrays["initial_h"] -= np.float32(100.5 / 256)
    assert_equal(model, arrays)


def test_no_state_at_all() -> None:
    model = quantized("B initial_h", {})
    arrays = drawn(model, 3, 1)
    arrays["initial_h"] = np.zeros_like(arrays["initial_h"])
    assert_equal(model, arrays)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_what_comes_after_the_longest_sequence_has_no_part_in_the_scale(direction: str) -> None:
    model = quantized("B sequence_lens", {"direction": direction})
    arrays = drawn(model, 6, 2)
    arrays["sequence_lens"][:] = 4, 2
    arrays["X"][4:] *= 100
    assert_equal(model, arrays)


@pytest.mark.parametrize(("dtype", "expected"), [(np.int8, "int8"), (np.uint8, "int16")])
def test_weights_stay_as_narrow_as_their_zero_points_let_them(dtype: type, expected: str) -> None:
    graph = read(quantized("", {}, dtype, hidden=5)).graph
    assert [n.inputs[1].dtype for n in graph.nodes if n.op.name == "quantized_lstm"] == [expected]
