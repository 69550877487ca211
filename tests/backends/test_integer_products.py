"""Integer products compiled: exact, also where sums pass 2**24 and where the products are fused with what follows."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import tilewright as tw
from tests.backends.compiling import TARGET
from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.op import Array

RANDOM = np.random.default_rng(0)


def octets(dtype: str, *shape: int) -> Array:
    """All values of an 8-bit type, in random places."""
    limits = np.iinfo(dtype)
    return RANDOM.integers(limits.min, limits.max + 1, shape).astype(dtype)


def with_weights(text: str, weights: Array, opset: int = 10) -> ModelProto:
    """The model with `w` as an initializer."""
    proto = model(text, opset)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    return proto


def weighted(text: str, weights: Array) -> tw.CompiledModel:
    return tw.compile(with_weights(text, weights), check=False)


def rules(compiled: tw.CompiledModel) -> str:
    return str(compiled.report())


@pytest.mark.parametrize(
    ("left", "right", "depth", "zero"),
    [
        ("uint8", "int8", 600, 0),
        ("uint8", "int8", 600, 3),
        ("uint8", "uint8", 599, 3),
        ("int8", "int8", 2, 0),
        ("int8", "uint8", 600, 3),
    ],
)
def test_matmul_integer_is_exact(left: str, right: str, depth: int, zero: int) -> None:
    """Of an even number of products in pairs of 16-bit numbers, else in 32 bits."""
    a, w = octets(left, 9, depth), octets(right, depth, 37)
    text = f"""({left}[n, {depth}] a) => (int32[] y) <{left} z = {{100}}, {right} v = {{{zero}}}>
        {{ y = MatMulInteger(a, w, z, v) }}"""
    compiled = weighted(text, w)
    assert "packed gemm" in rules(compiled)
    np.testing.assert_array_equal(compiled(a), (a.astype(np.int32) - 100) @ (w.astype(np.int32) - zero))


def test_two_activations_are_exact() -> None:
    a, b = octets("uint8", 3, 5, 70), octets("int8", 3, 70, 9)
    compiled = tw.compile(
        model("(uint8[n, s, k] a, int8[n, k, m] b) => (int32[] y) { y = MatMulInteger(a, b) }", 10), check=False
    )
    y = compiled(a, b)
    assert "batched gemm" in rules(compiled)
    np.testing.assert_array_equal(y, a.astype(np.int32) @ b.astype(np.int32))


@pytest.mark.parametrize("size", [1, 11])
def test_conv_integer_is_exact(size: int) -> None:
    kernel = min(size, 3)
    x, w = octets("uint8", 2, 40, size, size), octets("uint8", 6, 40, kernel, kernel)
    pads = kernel // 2
    text = f"""(uint8[n, 40, {size}, {size}] x) => (int32[] y) <uint8 z = {{7}}, uint8 v = {{128}}>
        {{ y = ConvInteger <pads = [{pads}, {pads}, {pads}, {pads}]> (x, w, z, v) }}"""
    compiled = weighted(text, w)
    padded = np.pad(x.astype(np.int64) - 7, ((0, 0), (0, 0), (pads, pads), (pads, pads)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), (2, 3))
    y = compiled(x)
    assert "fallback" not in rules(compiled)
    np.testing.assert_array_equal(y, np.einsum("nchwij,ocij->nohw", seen, w.astype(np.int64) - 128))


@pytest.mark.parametrize("size", [1, 9])
def test_quantized_convolution_rounds_as_onnxruntime_does(size: int) -> None:
    """Sums of up to 600 products, where float32 sums would round before the result does."""
    kernel = min(size, 3)
    w = octets("int8", 6, 64, kernel, kernel)
    text = f"""(uint8[n, 64, {size}, {size}] x) => (uint8[] y) <float d = {{0.02}}, uint8 z = {{120}}, int8 v = {{0}},
        float[6] e = {{0.1, 0.2, 0.3, 0.4, 0.5, 0.6}}, float o = {{9.0}}, int32[6] b = {{5, -60, 700, 1, 2, 3}}>
        {{ y = QLinearConv <pads = [{kernel // 2}, {kernel // 2}, {kernel // 2}, {kernel // 2}]>
        (x, d, z, w, e, v, o, z, b) }}"""
    proto = with_weights(text, w // 2)  # within 7 bits: no 16-bit sum of onnxruntime's saturates
    x = octets("uint8", 3, 64, size, size)
    theirs = read(proto).original({"x": x})[0]
    assert len(np.unique(theirs)) > 10
    np.testing.assert_array_equal(tw.compile(proto, check=False)(x), theirs)


@pytest.mark.parametrize("channels", [3, 64])
@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_between_dequantize_and_quantize_rounds_as_onnxruntime_does(channels: int, relu: bool) -> None:
    zero, last = (0, "r = Relu(c)") if relu else (7, "r = Identity(c)")
    text = f"""(uint8[n, {channels}, 9, 9] x) => (float[] y) <float s = {{0.02}}, uint8 z = {{120}}, float o = {{9.0}},
        float[6] t = {{0.1, 0.2, 0.3, 0.4, 0.5, 0.6}}, int8[6] u = {{0, 0, 0, 0, 0, 0}}, uint8 p = {{{zero}}},
        float[6] v = {{0.002, 0.004, 0.006, 0.008, 0.01, 0.012}}, int32[6] q = {{0, 0, 0, 0, 0, 0}},
        int32[6] b = {{5, -60, 700, 1, 2, 3}}> {{
            d = DequantizeLinear(x, s, z)
            e = DequantizeLinear <axis = 0> (w, t, u)
            f = DequantizeLinear <axis = 0> (b, v, q)
            c = Conv <pads = [1, 1, 1, 1]> (d, e, f)
            {last}
            g = QuantizeLinear(r, o, p)
            y = DequantizeLinear(g, o, p)
        }}"""
    proto = with_weights(text, octets("int8", 6, channels, 3, 3) // 2, 13)
    x = octets("uint8", 3, channels, 9, 9)
    theirs = read(proto).original({"x": x})[0]
    assert len(np.unique(theirs)) > 10
    np.testing.assert_array_equal(tw.compile(proto, check=False)(x), theirs)


@pytest.mark.skipif(not TARGET.has("fma"), reason="onnxruntime's last bits are others without multiply-adds")
@pytest.mark.parametrize("function", ["Sigmoid", "Tanh"])
@pytest.mark.parametrize("last", ["p = Mul(f, g)", "p = Add(f, g)", "h = Transpose <perm = [1, 0]> (f)  p = Sub(g, h)"])
def test_what_is_rounded_next_has_the_last_bits_of_onnxruntime(function: str, last: str) -> None:
    text = f"""(uint8[n, 64] a, float[n, m] s) => (float[] p, uint8[] y, float[] d, uint8[] z) {{
        t = MatMulInteger(a, w)  c = Cast <to = 1> (t)  f = Mul(c, s)  g = {function}(f)  {last}
        y, d, z = DynamicQuantizeLinear(p)
    }}"""
    proto = with_weights(text, octets("int8", 64, 200) // 2, 11)
    feed = {"a": octets("uint8", 200, 64), "s": RANDOM.uniform(1e-5, 1e-4, (200, 200)).astype(np.float32)}
    compiled = tw.compile(proto, check=False)
    for ours, theirs in zip(compiled.run(feed).values(), read(proto).original(feed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_sum_that_is_read_twice_before_it_is_rounded() -> None:
    """TVM's vector loops lose its variable."""
    proto = model(
        """(float[n, 64] x) => (float[n, 8] y) {
            p = MatMul(x, w)  f = Mul(p, c)  g = Floor(f)  r = Sub(f, g)
            q = QuantizeLinear(r, s, z)  y = DequantizeLinear(q, s, z)
        }""",
        13,
    )
    scales = {"c": np.array(0.25, np.float32), "s": np.array(0.125, np.float32), "z": np.array(3, np.uint8)}
    weights = {"w": np.random.default_rng(0).integers(-3, 4, (64, 8)).astype(np.float32), **scales}
    proto.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    assert tw.compile(proto, strict=True).check_report is not None
