"""A small model, compiled once."""

from __future__ import annotations

from pathlib import Path

import onnx.parser
import pytest

from tilewright.cli import main

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
test (float[n, 4] x, int64[n] ids) => (float[n, 3] y, int64[n] best) <
    float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12},
    float[5, 3] table = {0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 3, 0, 1, 1, 1}
> {
    a = MatMul(x, w)  b = Gather(table, ids)  c = Add(a, b)
    y = Softmax(c)  best = ArgMax <axis = 1, keepdims = 0> (c)
}"""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


@pytest.fixture(scope="session")
def saved(model: Path) -> Path:
    assert main(["compile", str(model), "--json"]) == 0
    return model.with_suffix(".tw")
