"""Results whose sizes depend on data, and operators that go on with them, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.op import Array

X = np.array([[1.0, 0.0, 3.0, 0.0], [0.0, 3.0, 1.0, 1.0]], np.float32)
CASES = {
    "the places of what is not zero": "(float[n, s] x) => (int64[] y) { y = NonZero(x) }",
    "what is not zero": (
        "(float[n, s] x) => (float[] y) { i = NonZero(x) t = Transpose(i) g = GatherND(x, t) y = Exp(g) }"
    ),
    "how many are not zero": "(float[n, s] x) => (int64[] y, int64[] z) { i = NonZero(x) y = Shape(i) z = Size(i) }",
    "two selections": (
        "(float[n, s] x) => (float[] y) <bool[3] c = {1, 0, 1}, bool[2] d = {0, 1}> "
        "{ a = Compress <axis = 1> (x, c) b = Compress(a, d) y = Neg(b) }"
    ),
    "different numbers": "(float[n, s] x) => (float[] y, int64[] a, int64[] b, int64[] c) { y, a, b, c = Unique(x) }",
    "different columns as they come": (
        "(float[n, s] x) => (float[] y, int64[] a, int64[] b) { y, a, b = Unique <axis = 1, sorted = 0> (x) }"
    ),
    "different numbers as they come": (
        "(float[n, s] x) => (float[] y, int64[] a, int64[] b) <int64[1] m = {-1}> "
        "{ f = Reshape(x, m) y, a, b = com.microsoft.Unique(f) }"
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("x", [X, X[:1, ::-1] * 0, X[::-1, 1:]], ids=["some", "none", "fewer"])
def test_agrees_with_onnxruntime(name: str, x: Array) -> None:
    proto = model(CASES[name], domains={"com.microsoft": 1})
    compiled = tw.compile(proto, check=False)
    feed = {"x": np.ascontiguousarray(x)}
    for ours, theirs in zip(compiled.run(feed).values(), read(proto).original(feed), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
