"""ONNX's backend interface, and ONNX's own runner on top of it."""

from __future__ import annotations

import unittest
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import helper
from onnx.backend.test import BackendTest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

import tilewright.onnx_backend as backend
from tests.onnx_suite.cases import load_cases
from tilewright.ir.errors import InputError, TargetError

MODEL = """
    <ir_version: 8, opset_import: ["" : 17]>
    two (float[n, 2] a, float[2] w, float[2] b) => (float[n, 2] sum, float[n, 2] product) <float[2] w = {2, 3}> {
        sum = Add(a, b)
        product = Mul(a, w)
    }
"""
A, B = np.array([[1, 2], [3, 4]], np.float32), np.array([10, 20], np.float32)
RUN = ("test_abs_cpu", "test_single_relu_model_cpu", "test_operator_repeat_cpu", "test_PixelShuffle_cpu")


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.parser.parse_model(MODEL)


def test_inputs_come_by_position_or_name_and_outputs_too(model: onnx.ModelProto) -> None:
    prepared = backend.prepare(model)
    for inputs in ([A, B], (A, B), {"b": B, "a": A}):
        got: Any = prepared.run(inputs)
        np.testing.assert_array_equal(got[0], A + B)
        np.testing.assert_array_equal(got["product"], A * np.array([2, 3], np.float32))
    with pytest.raises(InputError, match="takes 2"):
        prepared.run([A])


def test_options_are_those_of_compile(model: onnx.ModelProto) -> None:
    prepared = backend.prepare(model, "CPU", shapes={"n": 2}, threads=1, rtol=0.1)
    assert prepared.model.inputs[0].shape == (2, 2) and prepared.model.threads == 1
    assert prepared.model.check_report is None
    assert backend.prepare(model, check=True).model.check_report is not None


def test_one_node() -> None:
    node = helper.make_node("Clip", ["x", "", "most"], ["y"])
    np.testing.assert_array_equal(backend.run_node(node, [A, np.float32(2)])[0], [[1, 2], [2, 2]])
    relu = helper.make_node("Relu", ["x"], ["y"])
    for options in ({}, {"opset_version": 13}, {"outputs_info": [(np.float32, (2, 2))]}):
        np.testing.assert_array_equal(backend.run_node(relu, A, **options)[0], A)
    with pytest.raises(InputError, match="2 inputs were given; Relu has 1"):
        backend.run_node(relu, [A, A])


def test_models_of_one_node_have_types_and_versions() -> None:
    node = helper.make_node("Binarizer", ["x"], ["y"], domain="ai.onnx.ml", threshold=1.0)
    model = backend.model_of(node, [A], None, None)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {"", "ai.onnx.ml"}
    assert backend.model_of(node, [A], None, 1).opset_import[1].version == 1
    sequence = helper.make_node("SequenceLength", ["s"], ["n"])
    assert backend.model_of(sequence, [[A, B]], None, None).graph.input[0].type.WhichOneof("value") == "sequence_type"
    with pytest.raises(InputError, match="one element type"):
        backend.model_of(sequence, [[A, B.astype(np.float64)]], None, None)


def test_devices(model: onnx.ModelProto) -> None:
    assert [backend.supports_device(d) for d in ("CPU", "CPU:0", "CUDA", "CUDA:1", "TPU", "")] == [True] * 2 + [
        False
    ] * 4
    assert backend.is_compatible(model) and not backend.is_compatible(model, "CUDA")
    with pytest.raises(TargetError, match="CUDA"):
        backend.prepare(model, "CUDA")


def test_models_that_are_not_supported_are_not_compatible() -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Nonsense(x) }'
    assert not backend.is_compatible(onnx.parser.parse_model(text))


def test_onnx_runs_its_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner generates all node cases when it is made; here it gets one, and the others from its own files."""
    node = next(case for case in load_cases() if case.name == "test_abs")
    given = TestCase(node.name, node.name, None, None, node.model, node.data_sets, "node", node.rtol, node.atol)

    def load(kind: str) -> list[TestCase]:
        return [given] if kind == "node" else load_model_tests(kind=kind)

    monkeypatch.setattr("onnx.backend.test.runner.load_model_tests", load)
    tests = BackendTest(backend.TilewrightBackend, __name__)
    for name in RUN:
        tests.include(f"^{name}$")
    outcome = unittest.TestResult()
    tests.test_suite.run(outcome)
    assert outcome.errors == outcome.failures == []
    ran = outcome.testsRun - len(outcome.skipped)
    assert ran == len(RUN)
