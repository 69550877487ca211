"""Shapes, axes and bounds that are inputs of the model: one compile serves whatever they turn out to be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import InputError

X = np.random.default_rng(0).standard_normal((4, 6, 5), np.float32)
Numbers = Mapping[str, object]

CASES: Mapping[str, tuple[str, list[Numbers]]] = {
    "reshape": (
        "(float[a, 6, 5] x, int64[2] t) => (float[] y) { y = Reshape(x, t) }",
        [{"t": [20, 6]}, {"t": [-1, 8]}, {"t": [0, -1]}],
    ),
    "reshape, one number of several": (
        (
            "(float[a, 6, 5] x, int64[1] t) => (float[] y) <int64[1] m = {-1}> "
            "{ s = Concat <axis = 0> (t, m) y = Reshape(x, s) }"
        ),
        [{"t": [20]}, {"t": [0]}],
    ),
    "slice": (
        (
            "(float[a, b, 5] x, int64[2] s, int64[2] e, int64[2] axes, int64[2] by) => (float[] y) "
            "{ y = Slice(x, s, e, axes, by) }"
        ),
        [
            {"s": [1, 0], "e": [3, 100], "axes": [0, 2], "by": [1, 2]},
            {"s": [-1, -1], "e": [-100, 0], "axes": [-2, 0], "by": [-2, -1]},
            {"s": [3, 2], "e": [1, 2], "axes": [0, 1], "by": [1, 1]},
        ],
    ),
    "slice of a known axis": (
        "(float[a, b, 5] x, int64[1] s, int64[1] e) => (float[] y) <int64[1] axes = {1}> { y = Slice(x, s, e, axes) }",
        [{"s": [1], "e": [4]}, {"s": [-3], "e": [-1]}],
    ),
    "reduction": (
        "(float[a, b, 5] x, int64[2] axes) => (float[] y) { y = ReduceMean(x, axes) }",
        [{"axes": [0, 2]}, {"axes": [-2, 0]}],
    ),
    "reduction without its axes": (
        "(float[a, b, 5] x, int64[1] axes) => (float[] y) { y = ReduceLogSumExp <keepdims = 0> (x, axes) }",
        [{"axes": [0]}, {"axes": [1]}, {"axes": [-1]}],
    ),
    "squeeze and unsqueeze": (
        "(float[a, b, 5] x, int64[2] axes) => (float[] y) { u = Unsqueeze(x, axes) n = Neg(u) y = Squeeze(n, axes) }",
        [{"axes": [0, 2]}, {"axes": [4, -2]}],
    ),
    "padding": (
        "(float[a, b, 5] x, int64[4] p, float v, int64[2] axes) => (float[] y) { y = Pad(x, p, v, axes) }",
        [{"p": [1, 0, 2, 3], "v": 7.0, "axes": [0, 2]}, {"p": [-1, 2, 0, -2], "v": -1.0, "axes": [2, 1]}],
    ),
    "tile": ("(float[a, b, 5] x, int64[3] t) => (float[] y) { y = Tile(x, t) }", [{"t": [1, 2, 1]}, {"t": [2, 1, 3]}]),
    "expand": (
        "(float[a, b, 5] x, int64[4] t) => (float[] y) { y = Expand(x, t) }",
        [{"t": [2, 1, 6, 1]}, {"t": [1, 4, 1, 5]}],
    ),
    "range": (
        "(int64 s, int64 e, int64 by) => (int64[] y) { y = Range(s, e, by) }",
        [{"s": 2, "e": 9, "by": 3}, {"s": 2, "e": -9, "by": -4}, {"s": 2, "e": 1, "by": 1}],
    ),
    "range of floats": (
        "(float s, float e, float by) => (float[] y) { y = Range(s, e, by) }",
        [{"s": 0.5, "e": 3.0, "by": 0.5}, {"s": 1.0, "e": -1.0, "by": -0.3}],
    ),
    "constant of shape": ("(int64[2] t) => (float[] y) { y = ConstantOfShape(t) }", [{"t": [2, 3]}, {"t": [4, 1]}]),
    "running sum": (
        "(float[a, b, 5] x, int64 axis) => (float[] y) { y = CumSum <reverse = 1> (x, axis) }",
        [{"axis": 0}, {"axis": -1}],
    ),
    "split": (
        "(float[a, b, 5] x, int64[2] t) => (float[] y, float[] z) { y, z = Split <axis = 1> (x, t) }",
        [{"t": [2, 4]}, {"t": [5, 1]}],
    ),
    "a size that is used again": (
        (
            "(float[a, b, 5] x, int64[1] t) => (float[] y) <int64[1] o = {1}, int64[1] z = {0}> "
            "{ s = Slice(x, z, t, o) n = Shape(s) c = ConstantOfShape(n) y = Add(s, c) }"
        ),
        [{"t": [2]}, {"t": [5]}],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_known_only_at_run_time(name: str) -> None:
    text, numbers = CASES[name]
    proto = model(text, 18)
    compiled = tw.compile(proto, check=False, strict=True)
    original = read(proto).original
    types = {info.name: info.dtype for info in compiled.inputs}
    for given in numbers:
        feed = {n: X if n == "x" else np.array(given[n], dtype) for n, dtype in types.items()}
        for ours, theirs in zip(compiled.run(feed).values(), original(feed), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_shape_that_does_not_fit_is_an_error() -> None:
    compiled = tw.compile(model(CASES["reshape"][0], 18), check=False)
    with pytest.raises(InputError, match="could not run"):
        compiled.run({"x": X, "t": np.array([7, 7])})


def test_a_negative_size_is_an_error() -> None:
    compiled = tw.compile(model(CASES["constant of shape"][0], 18), check=False)
    with pytest.raises(InputError):
        compiled.run({"t": np.array([-5, 3])})


def test_a_size_of_many_symbols_gets_one_of_its_own() -> None:
    """sympy takes seconds over long sums: of the places that ten operators found, one after the other."""
    steps = " ".join(
        f"t{i} = Constant <value_float = {i / 10}> () g{i} = Greater(x, t{i}) n{i} = NonZero(g{i})" for i in range(10)
    )
    joined = ", ".join(f"n{i}" for i in range(10))
    proto = model(f"(float[n] x) => (int64[] y, int64[] z) {{ {steps} y = Concat <axis = 1> ({joined}) z = Shape(y) }}")
    imported = read(proto)
    (_, size) = imported.graph.outputs[0].shape
    assert size.is_Symbol
    feed = {"x": np.random.default_rng(0).random(20, np.float32)}
    compiled = tw.compile(proto, check=False, strict=True)
    for ours, theirs in zip(compiled.run(feed).values(), imported.original(feed), strict=True):
        np.testing.assert_array_equal(ours, theirs)
