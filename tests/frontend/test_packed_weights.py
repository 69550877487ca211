"""Weights of few bits against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from tests.frontend.onnx_text import model
from tilewright.frontend import read
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

RANDOM = np.random.default_rng(0)
N, K, BLOCK = 5, 80, 32  # three blocks of rows, the last half full


def compare(text: str, weights: dict[str, Array], **inputs: Array) -> None:
    proto = model(text, 17, domains={"com.microsoft": 1})
    proto.graph.initializer.extend(numpy_helper.from_array(w, name) for name, w in weights.items())
    imported = read(proto)
    theirs = imported.original(inputs)[0]
    np.testing.assert_allclose(run(imported.graph, inputs)[0], theirs, rtol=1e-4, atol=1e-4)


def octets(*shape: int) -> Array:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


KINDS = [(bits, zero) for bits in (2, 4, 8) for zero in ("none", "packed", "float") if (bits, zero) != (8, "float")]


@pytest.mark.parametrize(("bits", "zero"), KINDS)
def test_matmul_nbits(bits: int, zero: str) -> None:
    weights = {
        "b": octets(N, 3, BLOCK * bits // 8),
        "s": RANDOM.random((N, 3), np.float32),
        "c": np.ones(N, np.float32),
    }
    if zero == "packed":
        weights["z"] = octets(N, -(-3 * bits // 8))
    if zero == "float":
        weights["z"] = RANDOM.random((N, 3), np.float32)
    inputs = f'a, b, s, {"z" if "z" in weights else chr(34) * 2}, "", c'
    attributes = f"N = {N}, K = {K}, block_size = {BLOCK}, bits = {bits}"
    text = f"(float[n, s0, {K}] a) => (float[] y) {{ y = com.microsoft.MatMulNBits <{attributes}> ({inputs}) }}"
    compare(text, weights, a=RANDOM.normal(size=(2, 3, K)).astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero", [False, True])
def test_gather_block_quantized(bits: int, zero: bool) -> None:
    weights = {"b": octets(N, 64 * bits // 8), "s": RANDOM.random((N, 2), np.float32)}
    if zero:
        weights["z"] = octets(N, 2 * bits // 8)
    attributes = f"gather_axis = 0, quantize_axis = 1, block_size = 32, bits = {bits}"
    call = f"com.microsoft.GatherBlockQuantized <{attributes}> (b, i, s{', z' if zero else ''})"
    compare(f"(int64[n, m] i) => (float[] y) {{ y = {call} }}", weights, i=np.array([[0, 4, 2], [1, 1, 3]]))
