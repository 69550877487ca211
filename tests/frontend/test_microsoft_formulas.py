"""Operators of com.microsoft that onnxruntime has no kernel for on processors, against their formulas in numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.frontend.onnx_text import SIZES, inputs_for, model
from tilewright.frontend import read
from tilewright.ir.errors import ImportModelError, UnsupportedError
from tilewright.ir.interpret import run
from tilewright.ir.op import Array

erf = np.vectorize(math.erf)


def gelu(x: Array) -> Array:
    return np.asarray(x * (1 + erf(x / math.sqrt(2))) / 2)


def group_norm(x: Array, gamma: Array, beta: Array) -> Array:
    """Two groups of channels, which are last."""
    split = x.reshape(*x.shape[:3], 2, -1).astype(np.float64)
    mean = split.mean((1, 2, 4), keepdims=True)
    normal = (split - mean) / np.sqrt(split.var((1, 2, 4), keepdims=True) + 1e-5)
    return np.asarray(normal.reshape(x.shape) * gamma + beta)


def silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(-x)))


def channels_first(x: Array) -> Array:
    return x.transpose(0, 2, 3, 1)


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def nhwc_conv(x: Array, w: Array) -> Array:
    """Kernels of 1 x 2."""
    return np.asarray(x[:, :, :-1] @ w[:, :, 0, 0].T + x[:, :, 1:] @ w[:, :, 0, 1].T)


def attended(q: Array, k: Array, v: Array, bias: Any = 0.0) -> Array:
    """[B, S, H * D] of [B, length, H, D]."""
    scores = np.einsum("bshd,bthd->bhst", q, k) / math.sqrt(q.shape[3]) + bias
    mixed = np.einsum("bhst,bthd->bshd", softmax(scores), v)
    return np.asarray(mixed.reshape(*mixed.shape[:2], -1))


def in_parts(x: Array) -> Array:
    return np.stack([x.real, x.imag], -1).astype(np.float32)


def from_parts(x: Array) -> Array:
    return np.asarray(x[..., 0] + 1j * x[..., 1])


CASES: dict[str, Callable[..., Any]] = {
    "(float[n, s, 6] x, float[6] b, float[n, s, 6] k) => (float[] y) { y = com.microsoft.BiasAdd(x, b, k) }": (
        lambda x, b, k: x + b + k
    ),
    "(float[n, s, 6] x, float[6] b) => (float[] y) { y = com.microsoft.BiasSplitGelu(x, b) }": (
        lambda x, b: (x + b)[..., :3] * gelu((x + b)[..., 3:])
    ),
    "(float[n, 2, h, s] x, float[n, 1, 1, s] b) => (float[] y) { y = com.microsoft.BiasSoftmax <axis = 3> (x, b) }": (
        lambda x, b: softmax(x + b)
    ),
    "(float[n, h, s] x, float[n, s] b) => (float[] y) { y = com.microsoft.BiasSoftmax <axis = 2> (x, b) }": (
        lambda x, b: softmax(x + b[:, None])
    ),
    "(float[n, h, s] x, float[h, s] b) => (float[] y)"
    " { y = com.microsoft.BiasSoftmax <axis = 2, is_inner_broadcast = 0> (x, b) }": lambda x, b: softmax(x + b),
    "(float[n, h, w, 6] x, float[6] g, float[6] b) => (float[] y)"
    " { y = com.microsoft.GroupNorm <groups = 2> (x, g, b) }": group_norm,
    "(float[n, 6, h, w] x, float[6] g, float[6] b) => (float[] y)"
    " { y = com.microsoft.GroupNorm <groups = 2, channels_last = 0, activation = 1> (x, g, b) }": (
        lambda x, g, b: silu(group_norm(channels_first(x), g, b)).transpose(0, 3, 1, 2)
    ),
    "(float[n, h, w, 6] x, float[6] g, float[6] b, float[n, 6] k, float[6] a) => (float[] y, float[] s)"
    " { y, s = com.microsoft.SkipGroupNorm <groups = 2, activation = 1> (x, g, b, k, a) }": (
        lambda x, g, b, k, a: (silu(group_norm(x + k[:, None, None] + a, g, b)), x + k[:, None, None] + a)
    ),
    "(float[n, s, 2, 3, 4] q, float[1, 2, s, s] a) => (float[] y)"
    ' { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, "", "", "", "", a) }': (
        lambda q, a: attended(*np.moveaxis(q, 3, 0), a)
    ),
    "(float[n, s, 8] q, float[n, h, 2, 2, 4] k) => (float[] y)"
    " { y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k) }": (
        lambda q, k: attended(q.reshape(*q.shape[:2], 2, 4), *np.moveaxis(k, 3, 0))
    ),
    "(float[n, h, w, 3] x, float[4, 3, 1, 2] k) => (float[] y) { y = com.microsoft.NhwcConv(x, k) }": nhwc_conv,
    "(float[n, s, 3] q, float[4, 3] w) => (float[] y)"
    ' { y = com.microsoft.FusedMatMulActivation <transB = 1, activation = "Relu"> (q, w) }': (
        lambda q, w: np.maximum(q @ w.T, 0)
    ),
    "(float[n, s] x) => (float[] y) { y = com.microsoft.Rfft(x) }": lambda x: in_parts(np.fft.rfft(x)),
    "(float[n, s, 7] x) => (float[] y) { y = com.microsoft.Rfft <signal_ndim = 2> (x) }": (
        lambda x: in_parts(np.fft.rfftn(x, axes=(1, 2)))
    ),
    "(float[n, s, 2] x) => (float[] y) { y = com.microsoft.Irfft <signal_ndim = 1> (x) }": (
        lambda x: np.fft.irfft(from_parts(x))
    ),
    "(float[n, h, w, s, 2] x) => (float[] y) { y = com.microsoft.Irfft <signal_ndim = 3> (x) }": (
        lambda x: np.fft.irfftn(from_parts(x), axes=(1, 2, 3))
    ),
}


@pytest.mark.parametrize("text", CASES, ids=lambda text: text[text.index("{ ") :])
def test_is_its_formula(text: str) -> None:
    graph = read(model(text, domains={"com.microsoft": 1})).graph
    for sizes in SIZES:
        inputs = inputs_for(graph, sizes)
        wanted = CASES[text](*(inputs[v.name] for v in graph.inputs))
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        for ours, theirs in zip(run(graph, inputs), wanted, strict=True):
            assert ours.dtype == np.float32
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_signals_of_more_axes_than_there_are_are_refused() -> None:
    text = "(float[n, s] x) => (float[] y) { y = com.microsoft.Rfft <signal_ndim = 3> (x) }"
    with pytest.raises(ImportModelError, match="Rfft has signals of 3 axes"):
        read(model(text, domains={"com.microsoft": 1}))


@pytest.mark.parametrize("attribute", ["normalized = 1", "onesided = 0"])
def test_what_the_definition_excludes_is_refused(attribute: str) -> None:
    text = f"(float[n, s] x) => (float[] y) {{ y = com.microsoft.Rfft <{attribute}> (x) }}"
    with pytest.raises(UnsupportedError, match="onesided = 1 and normalized = 0"):
        read(model(text, domains={"com.microsoft": 1}))
