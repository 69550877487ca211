"""Control flow, functions and host nodes where they meet, compared with onnxruntime or with what is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx.parser
import pytest

import tilewright as tw
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.errors import ImportModelError

X = np.linspace(0, 1, 6, dtype=np.float32)
TRUE, FALSE = np.array(True), np.array(False)

CASES: Mapping[str, tuple[str, list[dict[str, Any]]]] = {
    "a branch hands on a value whose memory is used again": (
        """(float[6] x, bool b) => (float[6] y) { a = Exp(x)
            o = If(b) <then_branch = t () => (float[6] p) { p = Identity(a) },
                       else_branch = e () => (float[6] q) { q = Neg(a) }>
            s1 = Softmax(o) s2 = Softmax(s1) s3 = Softmax(s2) y = Sub(s3, o) }""",
        [{"x": X, "b": TRUE}, {"x": X, "b": FALSE}],
    ),
    "a loop, with trips and without": (
        """(float[6] x, int64 t) => (float[6] y, float[] rows) <bool c = {1}> { a = Exp(x)
            y, rows = Loop(t, c, a) <body = b (int64 i, bool g, float[6] s) => (bool h, float[6] z, float[6] r)
              { h = Identity(g) z = Mul(s, x) r = Sub(z, a) }> }""",
        [{"x": X, "t": np.array(3)}, {"x": X, "t": np.array(0)}],
    ),
    "a loop that ends early": (
        """(float[6] x) => (float[6] y, float[] rows) <int64 t = {10}, bool c = {1}, float most = {20.0}> {
            y, rows = Loop(t, c, x) <body = b (int64 i, bool g, float[6] s) => (bool h, float[6] z, float[6] r)
              { z = Add(s, s) r = Identity(z) n = ReduceSum(z) h0 = Less(n, most) q = Shape(h0) h = Squeeze(h0) }> }""",
        [{"x": X}],
    ),
    "a carried value whose size grows, from one that depends on data": (
        """(float[n] x, bool[n] k, int64 t) => (float[m] y) <bool c = {1}> { s = Compress <axis = 0> (x, k)
            y = Loop(t, c, s) <body = b (int64 i, bool g, float[q] v) => (bool h, float[r] w)
              { h = Identity(g) w = Concat <axis = 0> (v, v) }> }""",
        [{"x": X, "k": X > 0.5, "t": np.array(2)}],
    ),
    "branches within branches, of different sizes": (
        """(float[n] x, bool a, bool b) => (float[m] y) { y = If(a) <
            then_branch = t () => (float[m1] p) { p = If(b) <
              then_branch = u () => (float[m2] p1) { p1 = Concat <axis = 0> (x, x) },
              else_branch = v () => (float[m3] p2) { p2 = Neg(x) }> },
            else_branch = e () => (float[m4] q) { q = Concat <axis = 0> (x, x, x) }> }""",
        [{"x": X, "a": a, "b": b} for a in (TRUE, FALSE) for b in (TRUE, FALSE)],
    ),
    "a scan backwards, its rows along the last axis": (
        """(float[n, 3] x) => (float[3] s, float[3, n] y) <float[3] z = {0, 0, 0}> {
            s, y = Scan <num_scan_inputs = 1, scan_input_directions = [1], scan_output_axes = [1],
              body = b (float[3] t, float[3] e) => (float[3] u, float[3] o) { u = Add(t, e) o = Mul(u, e) }>
              (z, x) }""",
        [{"x": np.arange(12, dtype=np.float32).reshape(4, 3)}],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str) -> None:
    text, feeds = CASES[name]
    proto = model(text, 12 if "ends early" in name else 16)
    compiled, original = tw.compile(proto, check=False), read(proto).original
    for feed in feeds:
        for ours, theirs in zip(compiled.run(feed).values(), original(feed), strict=True):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def whole(text: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18, "l" : 1]> {text}')


def test_sizes_that_a_node_on_the_host_tells() -> None:
    text = """g (string[n] x) => (float[m] y) { s = StringNormalizer <stopwords = ["a"], is_case_sensitive = 1> (x)
        z = Shape(s) y = ConstantOfShape(z) }"""
    assert tw.compile(whole(text), check=False).run({"x": np.array(["a", "b", "c"], object)})["y"].shape == (2,)


def test_a_function_has_opsets_of_its_own() -> None:
    text = """g (string[n] x) => (int64[n] y) { y = l.F(x) } <domain: "l", opset_import: ["" : 18, "ai.onnx.ml" : 3]>
        F (x) => (y) {
          y = ai.onnx.ml.LabelEncoder <keys_strings = ["a"], values_int64s = [1], default_int64 = -1> (x) }"""
    found = tw.compile(whole(text), check=False).run({"x": np.array(["a", "z"], object)})["y"]
    assert found.tolist() == [1, -1]


def test_an_input_left_out_and_read_in_a_branch() -> None:
    text = """g (float[2] x, bool c) => (float[2] y) { y = l.F(x, c) } <domain: "l", opset_import: ["" : 18]>
        F (x, c, lo) => (y) { y = If(c) <then_branch = t () => (float[2] p) { p = Clip(x, lo) },
                                         else_branch = e () => (float[2] q) { q = Neg(x) }> }"""
    compiled = tw.compile(whole(text), check=False)
    for condition, sign in ((TRUE, 1), (FALSE, -1)):
        assert compiled.run({"x": X[:2], "c": condition})["y"].tolist() == (sign * X[:2]).tolist()


def test_functions_without_end() -> None:
    text = """g (float[2] x) => (float[2] y) { y = l.F(x) } <domain: "l", opset_import: ["" : 18, "l" : 1]>
        F (x) => (y) { a = l.F(x) b = l.F(x) y = Add(a, b) }"""
    with pytest.raises(ImportModelError, match=r"l\.F calls itself"):
        read(whole(text))


def test_outputs_never_lie_in_the_callers_memory() -> None:
    compiled = tw.compile(
        model("(string[n] s) => (string[a, b] z) <int64[2] t = {1, -1}> { z = Reshape(s, t) }"), check=False
    )
    given = np.array(["a", "b"], object)
    assert not np.shares_memory(compiled.run({"s": given})["z"], given)


def test_an_optional_tensor_comes_out_as_it_went_in() -> None:
    text = """(float[6] x) => (float[6] y, bool h) { o = Optional(x) y = OptionalGetElement(o)
        h = OptionalHasElement(o) }"""
    found = tw.compile(model(text, 18), check=False).run({"x": X})
    assert found["y"].tolist() == X.tolist()
    assert found["h"]


def test_branches_seventeen_deep() -> None:
    inner = "p17 = Neg(x)"
    for i in reversed(range(17)):
        inner = f"""p{i} = If(c) <then_branch = t{i} () => (float[6] p{i + 1}) {{ {inner} }},
            else_branch = e{i} () => (float[6] q{i}) {{ q{i} = Abs(x) }}>"""
    compiled = tw.compile(model(f"(float[6] x, bool c) => (float[6] p0) {{ {inner} }}"), check=False)
    assert compiled.run({"x": X, "c": TRUE})["p0"].tolist() == (-X).tolist()
