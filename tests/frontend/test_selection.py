"""Results whose sizes depend on data, and operators that go on with them, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.op import Array
from tilewright.ir.parse import parse

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


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("most", [0, 3, 2**62])
def test_boxes_with_equal_scores(most: int, center: int) -> None:
    """Of equal scores the first box wins; boxes may be empty, or have their corners in either order."""
    proto = model(
        "(float[n, s, 4] b, float[n, 3, s] p, int64[1] m, float[1] i, float[1] t) => (int64[] y) "
        f"{{ y = NonMaxSuppression <center_point_box = {center}> (b, p, m, i, t) }}"
    )
    rng = np.random.default_rng(most % 7)
    boxes = rng.integers(0, 6, (2, 40, 4)).astype(np.float32)
    feed = {"b": boxes, "p": rng.integers(0, 4, (2, 3, 40)).astype(np.float32) / 4, "m": np.array([most])}
    feed |= {"i": np.float32([0.4]), "t": np.float32([0.2])}
    compiled = tw.compile(proto, check=False, strict=True)
    (theirs,) = read(proto).original(feed)
    np.testing.assert_array_equal(compiled.run(feed)["y"], theirs)
    assert (len(theirs) > 0) == (most > 0)


CONDITIONS = {
    "longer": "(float[2, 3] x) => (float[] y) <bool[4] c = {1, 0, 1, 1}> { y = Compress <axis = 0> (x, c) }",
    "longer, at run time": "(float[n, 3] x, bool[m] c) => (float[] y) { y = Compress <axis = 0> (x, c) }",
    "shorter": "(float[n, 3] x) => (float[] y) <bool[1] c = {1}> { y = Compress <axis = 1> (x, c) }",
    "for nothing": "(float[0, 3] x) => (float[] y) <bool[1] c = {1}> { y = Compress <axis = 0> (x, c) }",
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions_of_another_length_than_the_axis(name: str) -> None:
    proto = model(CONDITIONS[name])
    feed = {"x": np.ones((0 if "nothing" in name else 2, 3), np.float32) * np.float32([1, 2, 3])}
    if "run time" in name:
        feed["c"] = np.array([False, True, True, False])
    (ours,) = tw.compile(proto, check=False, strict=True).run(feed).values()
    np.testing.assert_array_equal(ours, read(proto).original(feed)[0])


def test_another_number_of_places_than_was_said() -> None:
    graph = parse("graph(x: float32[n]) { %0 = nonzero(x) {size=3}  return y=%0 }")
    compiled = tw.compile(graph, check=False)
    np.testing.assert_array_equal(compiled(np.float32([0, 1, 1, 0, 1])), [[1, 2, 4]])
    for x in ([1, 0, 1], [1, 1, 1, 1]):
        with pytest.raises(tw.errors.InputError, match="is not the number of elements"):
            compiled(np.float32(x))
