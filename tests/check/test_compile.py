"""`tw.compile`, `tw.check` and `tw.load` with all that they take, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

import tilewright as tw
from tilewright import frontend
from tilewright.backends.compiled import CompiledModel
from tilewright.ir.errors import BuildError, CheckError, CompilerError, ImportModelError, InputError, TargetError
from tilewright.ir.op import Array
from tilewright.ir.parse import parse

GRAPH = parse("""graph(x: float32[n, 4]) {
  w = constant float32[4, 3] random(7)
  %0 = matmul(x, w)
  %1 = softmax(%0) {axis=1}
  return y=%1
}""")
ONNX = onnx.parser.parse_model(
    '<ir_version: 8, opset_import: ["" : 17]> test (float[n, 4] x) => (float[n, 3] y) '
    "<float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}> { y = MatMul(x, w) }"
)
X = np.ones((2, 4), np.float32)


@pytest.fixture(scope="module")
def compiled() -> CompiledModel:
    return tw.compile(GRAPH)


def test_a_graph_is_checked_against_the_interpreter(compiled: CompiledModel) -> None:
    assert compiled.check_report is not None
    assert compiled.check_report.passed
    assert compiled.check_report.runs == 3
    assert compiled.graph is GRAPH


@pytest.mark.parametrize("kind", ["proto", "bytes", "path", "text"])
def test_kinds_of_models(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_CACHE", str(tmp_path))  # where no kind was compiled before
    path = tmp_path / "model.onnx"
    path.write_bytes(ONNX.SerializeToString())
    models: dict[str, Any] = {"proto": ONNX, "bytes": path.read_bytes(), "path": path, "text": str(path)}
    model = tw.compile(models[kind])
    np.testing.assert_allclose(model(X), [[22, 26, 30]] * 2)
    assert tw.check(model, ONNX).passed


@pytest.mark.parametrize("model", [None, 3, X, ["model.onnx"]])
def test_what_is_no_model(model: Any) -> None:
    with pytest.raises(ImportModelError, match="cannot read a model from"):
        tw.compile(model)


def test_progress() -> None:
    lines: list[str] = []
    graph = parse("graph(x: float32[n, 4]) { %0 = exp(x)  %1 = cumsum(%0) {axis=1}  return %1 }")
    tw.compile(graph, progress=lines.append)
    assert lines[0] == "reading the model"
    assert lines[-1] == "checking against the original"


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"precision": "int3"}, CompilerError, "supported: fp32"),
        ({"database": "tuned.json"}, CompilerError, "not supported yet"),
        ({"threads": 0}, InputError, "threads=0"),
        ({"threads": "two"}, InputError, "threads=two"),
        ({"target": "quantum"}, TargetError, "llvm -mcpu=native"),
        ({"shapes": {"m": 3}}, ImportModelError, "Its symbolic sizes are: n"),
        ({"inputs": []}, InputError, "at least one"),
        ({"inputs": {"z": X}}, InputError, "x"),
        ({"inputs": {"x": X.astype(np.float64)}}, InputError, "float64"),
    ],
)
def test_refusals(options: dict[str, Any], error: type[CompilerError], expected: str) -> None:
    with pytest.raises(error, match=expected):
        tw.compile(GRAPH, **options)


@pytest.mark.parametrize("inputs", [{"z": X}, {"x": X.astype(np.float64)}, {"x": X[:, :3]}, {"x": X[0]}])
def test_onnxruntime_refuses_in_our_words(inputs: dict[str, Array]) -> None:
    with pytest.raises(InputError, match="onnxruntime does not take the inputs") as raised:
        tw.compile(ONNX, inputs=inputs)
    assert "\n" not in str(raised.value)


def test_onnxruntime_cannot_load_it() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(ONNX)
    model.ir_version = 99
    assert tw.compile(model, check=False)(X).shape == (2, 3)
    with pytest.raises(ImportModelError, match=r"onnxruntime, whose results .* cannot load it"):
        tw.compile(model)


def test_the_original_on_a_number_of_threads() -> None:
    original = frontend.read(ONNX).original
    np.testing.assert_array_equal(original.with_threads(1)({"x": X})[0], original({"x": X})[0])
    assert frontend.read(GRAPH).original.with_threads(1)({"x": X})[0].shape == (2, 3)


def test_fixed_sizes() -> None:
    model = tw.compile(GRAPH, shapes={"n": 2})
    assert model.inputs[0].shape == (2, 4)
    assert model.check_report is not None
    assert model.check_report.outputs[0].inputs == "x [2, 4]"
    assert tw.check(model, GRAPH).passed
    with pytest.raises(InputError, match="its axis 0 must be 2"):
        model(X[:1])


def test_strict_refuses_the_host() -> None:
    graph = parse("graph(x: float32[n]) { %0, %1, %2, %3 = unique(x) {size=_found, axis=0}  return %0 }")
    assert tw.compile(graph).report({"x": X[0]}).host_rows()
    with pytest.raises(BuildError, match="unique"):
        tw.compile(graph, strict=True)


def test_a_difference_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = CompiledModel.run
    monkeypatch.setattr(CompiledModel, "run", lambda self, feed: {k: 2 * v for k, v in wrong(self, feed).items()})
    with pytest.raises(CheckError, match=r"not the same function .*'y': error 1.00e\+00 .*bug of the compiler"):
        tw.compile(GRAPH)
    assert tw.compile(GRAPH, check=False).check_report is None


def test_checking_against_another_model(compiled: CompiledModel) -> None:
    with pytest.raises(CheckError, match="its inputs are x, the original's z"):
        tw.check(compiled, parse("graph(z: float32[n, 4]) { %0 = exp(z)  return y=%0 }"))
    with pytest.raises(CheckError, match="its outputs are y, the original's other"):
        tw.check(compiled, parse("graph(x: float32[n, 4]) { %0 = exp(x)  return other=%0 }"))
    report = tw.check(compiled, parse("graph(x: float32[n, 4]) { %0 = exp(x)  return y=%0 }"))
    assert "is float32[1, 3] instead of float32[1, 4]" in str(report)


def test_a_saved_model_is_the_same_model(compiled: CompiledModel, tmp_path: Path) -> None:
    compiled.save(tmp_path / "model.tw")
    loaded = tw.load(tmp_path / "model.tw", threads=1)
    assert tw.check(loaded, GRAPH).passed
    assert loaded.check_report is None
    np.testing.assert_array_equal(loaded(X), compiled(X))
    assert [dataclasses.astuple(p) for p in loaded.inputs] == [dataclasses.astuple(p) for p in compiled.inputs]
